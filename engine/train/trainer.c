/* SPDX-License-Identifier: MIT */
/*
 * The optimiser's loop: sixteen crops a step, one for each rate, forward and backward on the pool; gradients
 * added in the order of the crops, whoever computed them; Adam (D. P. Kingma and J. Ba, 2015). Three phases:
 * joint in floating point, joint with weights and hidden values rounded as the integer network will have
 * them, and the Decrypter alone. From a given pair the first is left out.
 */
#include "lethe/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/checkpoint.h"
#include "engine/train/data.h"
#include "engine/train/export.h"
#include "engine/train/import.h"
#include "engine/train/net.h"
#include "engine/train/pca.h"
#include "lethe/check.h"

#define BATCH LETHE_RATES
#define DEFAULT_STEPS 64000
#define RANGES 32 /* pieces of the parameters, for the pool */
#define PCA_CROPS 512
#define TUNING_PEAK 0.2 /* the largest learning rate from a given pair, as a share of that from nothing */

struct lethe_trainer {
    struct lethe_train_options options;
    struct gallery gallery;
    lethe_gemm_fn gemm;
    struct params *params;
    struct params *rounded; /* what the network computes with */
    struct params *first;   /* Adam's moments */
    struct params *second;
    struct params *gradients; /* BATCH of them */
    struct transposed *transposed;
    struct magnitudes *model; /* LETHE_RATES */
    struct magnitudes *seen;  /* BATCH */
    struct workspace *spaces[BATCH];
    struct crop_result results[BATCH];
    double second_moment[PIXELS][PIXELS];
    uint8_t crops[BATCH][CELLS * PIXELS];
    float crop_values[CELLS * PIXELS];
    float moment[PIXELS * PIXELS];

    struct net_options net;
    uint32_t step;
    uint32_t steps;
    bool ran;           /* once */
    size_t first_param; /* the optimiser leaves those before it alone */
    float rate;         /* learning rate of this step */
    float correct1, correct2;
    float usual[BATCH]; /* loss at each rate, as a decaying average */
    uint64_t pictures;  /* hash of those added */
    float weight[BATCH];
};

/* The learning rate of each part, as a share of the step's. */
struct part {
    size_t end;
    float share;
};
#define AFTER(member)                                                                                        \
    ((offsetof(struct params, member) + sizeof(((struct params *)0)->member)) / sizeof(float))
static const struct part parts[] = {
    {AFTER(enc_lin), 0.03f}, {AFTER(enc_bias), 3},    {AFTER(e1), 0.3f},      {AFTER(e1_bias), 0.3f},
    {AFTER(e3), 0.3f},       {AFTER(dec_gain), 0.5f}, {AFTER(dec_lin), 0.1f}, {AFTER(dec_bias), 3},
    {AFTER(d3), 1},          {AFTER(d3_gain), 0.5f},
};

enum lethe_err lethe_trainer_new(const struct lethe_train_options *options, struct lethe_trainer **out)
{
    struct lethe_trainer *trainer;

    *out = NULL;
    if (posix_memalign((void **)&trainer, 64, sizeof *trainer)) {
        return LETHE_ERR_NOMEM;
    }
    memset(trainer, 0, sizeof *trainer);
    trainer->options = *options;
    trainer->steps = options->steps ? options->steps : options->init ? DEFAULT_STEPS / 16 : DEFAULT_STEPS;
    trainer->gemm = lethe_gemm_best();
    *out = trainer;
    return LETHE_OK;
}

void lethe_trainer_free(struct lethe_trainer *trainer)
{
    if (!trainer) {
        return;
    }
    gallery_release(&trainer->gallery);
    free(trainer->params);
    free(trainer->rounded);
    free(trainer->first);
    free(trainer->second);
    free(trainer->gradients);
    free(trainer->transposed);
    free(trainer->model);
    free(trainer->seen);
    for (size_t i = 0; i < BATCH; i++) {
        workspace_free(trainer->spaces[i]);
    }
    free(trainer);
}

enum lethe_err lethe_trainer_add(struct lethe_trainer *trainer, const struct lethe_raster *raster, bool halve,
                                 bool *used)
{
    const struct lethe_ycc *picture;
    bool taken;
    enum lethe_err err = gallery_add(&trainer->gallery, raster, halve, &taken);

    if (!err && taken) {
        picture = &trainer->gallery.pictures[trainer->gallery.count - 1];
        for (unsigned plane = 0; plane < 3; plane++) {
            uint64_t link[4] = {
                trainer->pictures, picture->width, picture->height,
                lethe_check64(picture->planes[plane], (size_t)picture->width * picture->height)};

            trainer->pictures = lethe_check64(link, sizeof link);
        }
    }
    if (used) {
        *used = !err && taken;
    }
    return err;
}

static void *zeroed(size_t count, size_t size)
{
    void *memory;

    if (posix_memalign(&memory, 64, count * size)) {
        return NULL;
    }
    memset(memory, 0, count * size);
    return memory;
}

static enum lethe_err allocate(struct lethe_trainer *t)
{
    t->params = zeroed(1, sizeof *t->params);
    t->rounded = zeroed(1, sizeof *t->rounded);
    t->first = zeroed(1, sizeof *t->first);
    t->second = zeroed(1, sizeof *t->second);
    t->gradients = zeroed(BATCH, sizeof *t->gradients);
    t->transposed = zeroed(1, sizeof *t->transposed);
    t->model = zeroed(LETHE_RATES, sizeof *t->model);
    t->seen = zeroed(BATCH, sizeof *t->seen);
    if (!t->params || !t->rounded || !t->first || !t->second || !t->gradients || !t->transposed ||
        !t->model || !t->seen) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < BATCH; i++) {
        enum lethe_err err = workspace_new(&t->spaces[i]);

        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

static void draw_crop(const struct lethe_trainer *t, uint64_t *state, uint8_t *out)
{
    bool synthetic = t->options.synthetic && (t->gallery.count == 0 || mix64(state) % 6 == 0);

    if (synthetic) {
        synthetic_crop(state, out);
    } else {
        gallery_crop(&t->gallery, state, out);
    }
}

/* Weights with a spread of sqrt(2 / fan_in), after He et al., 2015; uniform. */
static void fill_weights(float *weights, size_t rows, size_t columns, size_t used, float scale,
                         uint64_t *state)
{
    float spread = scale * sqrtf(6.0f / (float)rows);

    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < used; j++) {
            weights[i * columns + j] = spread * (2 * mix_unit(state) - 1);
        }
    }
}

static enum lethe_err start(struct lethe_trainer *t)
{
    uint64_t state = t->options.seed ^ 0x6c65746865ull;
    struct params *p = t->params;

    if (t->options.init) {
        import_pair(lethe_pair_weights(t->options.init), p);
        return LETHE_OK;
    }
    for (size_t n = 0; n < PCA_CROPS; n++) {
        draw_crop(t, &state, t->crops[0]);
        for (size_t i = 0; i < CELLS * PIXELS; i++) {
            t->crop_values[i] = (float)t->crops[0][i] - 128.0f;
        }
        t->gemm(&(struct lethe_gemm){.m = PIXELS,
                                     .n = PIXELS,
                                     .k = CELLS,
                                     .a = t->crop_values,
                                     .a_row = 1,
                                     .a_col = PIXELS,
                                     .b = t->crop_values,
                                     .b_row = PIXELS,
                                     .c = t->moment,
                                     .c_row = PIXELS});
        for (size_t i = 0; i < PIXELS * PIXELS; i++) {
            t->second_moment[i / PIXELS][i % PIXELS] += (double)t->moment[i] / (PCA_CROPS * CELLS);
        }
    }
    fill_weights(p->e1[0], PIXELS, WIDE, HIDDEN, 1, &state);
    fill_weights(p->e2[0], TAPS2, WIDE, HIDDEN, 1, &state);
    fill_weights(p->e3[0], HIDDEN, LATENTS, LATENTS, 0.02f, &state);
    fill_weights(p->d1[0], TAPS1, WIDE, HIDDEN, 1, &state);
    fill_weights(p->d2[0], TAPS2, WIDE, HIDDEN, 1, &state);
    fill_weights(p->d3[0], HIDDEN, PIXELS, PIXELS, 0.02f, &state);
    return pca_start(t->second_moment, p);
}

/* Rounds each column (an output channel) to 63 steps of its largest weight. */
static void round_columns(const float *in, size_t rows, size_t columns, float *out)
{
    for (size_t j = 0; j < columns; j++) {
        float step = column_step(in + j, rows, columns);

        for (size_t i = 0; i < rows; i++) {
            out[i * columns + j] = step > 0 ? step * rintf(in[i * columns + j] / step) : 0;
        }
    }
}

static void round_params(struct lethe_trainer *t)
{
    const struct params *p = t->params;
    struct params *r = t->rounded;

    *r = *p;
    if (t->net.quantised) {
        round_columns(p->e1[0], PIXELS, WIDE, r->e1[0]);
        round_columns(p->e2[0], TAPS2, WIDE, r->e2[0]);
        round_columns(p->e3[0], HIDDEN, LATENTS, r->e3[0]);
        round_columns(p->d1[0], TAPS1, WIDE, r->d1[0]);
        round_columns(p->d2[0], TAPS2, WIDE, r->d2[0]);
        round_columns(p->d3[0], HIDDEN, PIXELS, r->d3[0]);
    }
}

static void crop_work(void *context, size_t index)
{
    struct lethe_trainer *t = context;
    uint64_t state = t->options.seed * 0x9e3779b97f4a7c15ull + ((uint64_t)t->step * BATCH + index);

    mix64(&state);
    draw_crop(t, &state, t->crops[index]);
    net_crop(t->spaces[index], t->gemm, t->rounded, t->transposed, &t->net, &t->model[index], (unsigned)index,
             t->crops[index], mix64(&state), &t->gradients[index], &t->seen[index], &t->results[index]);
}

static void adam_work(void *context, size_t index)
{
    struct lethe_trainer *t = context;
    size_t count = PARAM_COUNT - t->first_param;
    size_t at = t->first_param + count * index / RANGES;
    size_t end = t->first_param + count * (index + 1) / RANGES;
    float *p = (float *)t->params, *m = (float *)t->first, *v = (float *)t->second;
    const float *g = (const float *)t->gradients;
    size_t part = 0;

    for (; at < end; at++) {
        float sum = 0;

        while (at >= parts[part].end) {
            part++;
        }
        for (size_t b = 0; b < BATCH; b++) {
            sum += t->weight[b] * g[b * PARAM_COUNT + at];
        }
        sum *= 1.0f / BATCH;
        m[at] += 0.1f * (sum - m[at]);
        v[at] += 0.001f * (sum * sum - v[at]);
        p[at] -= t->rate * parts[part].share * (m[at] * t->correct1) / (sqrtf(v[at] * t->correct2) + 1e-8f);
    }
}

/* Where this step stands: phase, learning rate. Returns the phase's name. */
static const char *schedule(struct lethe_trainer *t)
{
    double done = (double)t->step / t->steps;
    double warm = t->step < 200 ? (t->step + 1) / 200.0 : 1;
    double peak = 2e-3;
    double joint = 0.5;

    if (t->options.init) {
        peak *= TUNING_PEAK;
    }
    t->net = (struct net_options){.lambda = 0.17f};
    t->net.quantised = t->options.init || done >= 0.25;
    t->net.train_encrypter = done < joint;
    t->first_param = t->net.train_encrypter ? 0 : DECRYPTER_AT;
    if (done < joint) {
        t->rate = (float)(warm * peak * (0.1 + 0.9 * 0.5 * (1 + cos(3.14159265 * done / joint))));
        return t->net.quantised ? "quantised" : "joint";
    }
    done = (done - joint) / (1 - joint);
    t->rate = (float)(0.5 * peak * (0.005 + 0.5 * (1 + cos(3.14159265 * done))));
    return "decrypter";
}

/*
 * Plain crops weigh more than their loss: quality is judged picture by picture in decibels, and a sum of
 * squares would be all about the few crops that are full of detail.
 */
static void weigh_crops(struct lethe_trainer *t)
{
    for (size_t i = 0; i < BATCH; i++) {
        float loss = (float)t->results[i].loss;

        t->usual[i] += (t->step ? 0.01f : 1.0f) * (loss - t->usual[i]);
        t->weight[i] = 1.5f / (loss / t->usual[i] + 0.5f);
    }
}

static void learn_magnitudes(struct lethe_trainer *t)
{
    for (size_t r = 0; r < BATCH; r++) {
        float *sum = t->model[r].sum[0], *count = t->model[r].count[0];
        const float *new_sum = t->seen[r].sum[0], *new_count = t->seen[r].count[0];

        for (size_t i = 0; i < (size_t)LATENTS * CONTEXTS; i++) {
            sum[i] = 0.995f * sum[i] + new_sum[i];
            count[i] = 0.995f * count[i] + new_count[i];
        }
    }
}

struct tally {
    double loss;
    double squared_error[BATCH];
    double bits[BATCH];
    uint32_t steps;
};

static bool report(struct lethe_trainer *t, struct tally *tally, const char *phase)
{
    struct lethe_train_progress progress = {.step = t->step, .steps = t->steps, .phase = phase};
    bool go_on;

    progress.loss = tally->loss / tally->steps / BATCH;
    for (unsigned s = 0; s < 3; s++) {
        unsigned rate = strength_rate(s);
        double pixels = (double)tally->steps * CELLS * 64;

        progress.bpp[s] = tally->bits[rate] / pixels;
        progress.psnr[s] = 10 * log10(255.0 * 255.0 * 3 * pixels / (tally->squared_error[rate] + 1e-9));
    }
    go_on = t->options.progress(t->options.context, &progress);
    *tally = (struct tally){0};
    return go_on;
}

static struct lethe_train_about about(const struct lethe_trainer *t)
{
    struct lethe_train_about about = {.seed = t->options.seed,
                                      .steps = t->steps,
                                      .step = t->step,
                                      .synthetic = t->options.synthetic,
                                      .pictures = t->pictures};

    if (t->options.init) {
        about.init = *lethe_pair_id(t->options.init);
    }
    return about;
}

#define STATE_PARTS 5
static void state_of(const struct lethe_trainer *t, struct checkpoint_part state[STATE_PARTS])
{
    state[0] = (struct checkpoint_part){(float *)t->params, PARAM_COUNT};
    state[1] = (struct checkpoint_part){(float *)t->first, PARAM_COUNT};
    state[2] = (struct checkpoint_part){(float *)t->second, PARAM_COUNT};
    state[3] = (struct checkpoint_part){(float *)t->model, LETHE_RATES * sizeof *t->model / sizeof(float)};
    state[4] = (struct checkpoint_part){(float *)(uintptr_t)t->usual, BATCH};
}

enum lethe_err lethe_trainer_save(const struct lethe_trainer *trainer, struct lethe_buf *out)
{
    struct checkpoint_part state[STATE_PARTS];
    struct lethe_train_about now = about(trainer);

    if (!trainer->params) {
        return LETHE_ERR_ARG;
    }
    state_of(trainer, state);
    return checkpoint_write(&now, state, STATE_PARTS, out);
}

enum lethe_err lethe_trainer_resume(struct lethe_trainer *trainer, const void *bytes, size_t len)
{
    struct checkpoint_part state[STATE_PARTS];
    struct lethe_train_about saved, ours = about(trainer);
    enum lethe_err err = lethe_train_about_read(bytes, len, &saved);

    if (err) {
        return err;
    }
    if (trainer->params || saved.seed != ours.seed || saved.steps != ours.steps ||
        saved.synthetic != ours.synthetic || memcmp(&saved.init, &ours.init, sizeof ours.init) != 0 ||
        saved.pictures != ours.pictures) {
        return LETHE_ERR_ARG;
    }
    err = allocate(trainer);
    if (!err) {
        state_of(trainer, state);
        err = checkpoint_read(bytes, len, state, STATE_PARTS);
    }
    trainer->step = saved.step;
    return err;
}

enum lethe_err lethe_trainer_run(struct lethe_trainer *trainer, struct lethe_pool *pool,
                                 struct lethe_buf *out)
{
    struct lethe_trainer *t = trainer;
    struct tally tally = {0};
    enum lethe_err err;

    if (t->ran || (t->gallery.count == 0 && !t->options.synthetic)) {
        return LETHE_ERR_ARG;
    }
    t->ran = true;
    if (!t->params) { /* else it was resumed */
        err = allocate(t);
        err = err ? err : start(t);
        if (err) {
            return err;
        }
    }
    while (t->step < t->steps) {
        const char *phase = schedule(t);

        round_params(t);
        net_transpose(t->rounded, t->transposed);
        lethe_pool_run(pool, BATCH, crop_work, t);
        t->correct1 = (float)(1 / (1 - pow(0.9, t->step + 1)));
        t->correct2 = (float)(1 / (1 - pow(0.999, t->step + 1)));
        weigh_crops(t);
        lethe_pool_run(pool, RANGES, adam_work, t);
        learn_magnitudes(t);
        for (size_t i = 0; i < BATCH; i++) {
            tally.loss += t->results[i].loss;
            tally.squared_error[i] += t->results[i].squared_error;
            tally.bits[i] += t->results[i].bits;
        }
        tally.steps++;
        t->step++;
        if (t->options.progress && t->options.report && t->step % t->options.report == 0 &&
            !report(t, &tally, phase)) {
            return LETHE_ERR_CANCELLED;
        }
    }
    return export_pair(t->params, out);
}
