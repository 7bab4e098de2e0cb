/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for an unknown Decrypter: the same architecture, fitted to known latents and pictures of one
 * rate, from the least-squares linear map that the caller gives and a convolutional branch at random. Adam,
 * as in trainer.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/export.h"
#include "engine/train/net.h"
#include "lethe/train.h"

#define BATCH 8
#define PEAK 2e-3

struct surrogate {
    const struct lethe_known *known;
    size_t count;
    unsigned rate;
    uint64_t seed;
    uint32_t step;
    lethe_gemm_fn gemm;
    struct params *params, *first, *second;
    struct params *gradients; /* BATCH */
    struct transposed *transposed;
    struct magnitudes *unused; /* BATCH + 1: net_crop wants somewhere to write */
    struct workspace *spaces[BATCH];
    struct crop_result results[BATCH];
    float latents[BATCH][CELLS][LATENTS];
    uint8_t pixels[BATCH][CELLS * PIXELS];
};

/* A crop of SIDE x SIDE blocks; pictures that are smaller repeat their last blocks. */
static void take_crop(struct surrogate *s, size_t index, uint64_t *state)
{
    const struct lethe_known *known = &s->known[mix64(state) % s->count];
    const struct lethe_latents *z = known->latents;
    const struct lethe_ycc *picture = known->picture;
    size_t x0 = z->blocks_w > SIDE ? mix64(state) % (z->blocks_w - SIDE + 1) : 0;
    size_t y0 = z->blocks_h > SIDE ? mix64(state) % (z->blocks_h - SIDE + 1) : 0;

    for (size_t cell = 0; cell < CELLS; cell++) {
        size_t x = x0 + cell % SIDE, y = y0 + cell / SIDE;

        x = x < z->blocks_w ? x : z->blocks_w - 1;
        y = y < z->blocks_h ? y : z->blocks_h - 1;
        for (size_t k = 0; k < LATENTS; k++) {
            s->latents[index][cell][k] = z->values[(y * z->blocks_w + x) * LATENTS + k];
        }
        for (size_t i = 0; i < PIXELS; i++) {
            size_t row = y * 8 + i % 64 / 8, column = x * 8 + i % 8;

            row = row < picture->height ? row : picture->height - 1;
            column = column < picture->width ? column : picture->width - 1;
            s->pixels[index][cell * PIXELS + i] = picture->planes[i / 64][row * picture->width + column];
        }
    }
}

static void crop_work(void *context, size_t index)
{
    struct surrogate *s = context;
    struct net_options options = {.latents = s->latents[index]};
    uint64_t state = s->seed * 0x9e3779b97f4a7c15ull + ((uint64_t)s->step * BATCH + index);

    mix64(&state);
    take_crop(s, index, &state);
    net_crop(s->spaces[index], s->gemm, s->params, s->transposed, &options, &s->unused[BATCH], s->rate,
             s->pixels[index], 0, &s->gradients[index], &s->unused[index], &s->results[index]);
}

static void descend(struct surrogate *s, uint32_t steps)
{
    double done = (double)s->step / steps, warm = s->step < 50 ? (s->step + 1) / 50.0 : 1;
    float rate = (float)(warm * PEAK * (0.02 + 0.98 * 0.5 * (1 + cos(3.14159265 * done))));
    float correct1 = (float)(1 / (1 - pow(0.9, s->step + 1))),
          correct2 = (float)(1 / (1 - pow(0.999, s->step + 1)));
    float *p = (float *)s->params, *m = (float *)s->first, *v = (float *)s->second;
    const float *g = (const float *)s->gradients;
    size_t linear = offsetof(struct params, dec_lin) / sizeof(float),
           bias = offsetof(struct params, dec_bias) / sizeof(float);

    for (size_t at = DECRYPTER_AT; at < PARAM_COUNT; at++) {
        float sum = 0, share = at < linear ? 0.5f : at < bias ? 0.1f : 1;

        for (size_t b = 0; b < BATCH; b++) {
            sum += g[b * PARAM_COUNT + at] * (1.0f / BATCH);
        }
        m[at] += 0.1f * (sum - m[at]);
        v[at] += 0.001f * (sum * sum - v[at]);
        p[at] -= rate * share * (m[at] * correct1) / (sqrtf(v[at] * correct2) + 1e-8f);
    }
}

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

static void start(struct surrogate *s, const double (*linear)[PIXELS])
{
    struct params *p = s->params;
    float q = rate_step(s->rate);
    uint64_t state = s->seed ^ 0x737572726fu;

    for (size_t i = 0; i < PIXELS; i++) {
        for (size_t k = 0; k < LATENTS; k++) {
            p->dec_lin[k][i] = (float)linear[k][i] / q;
        }
        p->dec_bias[i] = (float)linear[LATENTS][i] - 128;
    }
    fill_weights(p->d1[0], TAPS1, WIDE, HIDDEN, 1, &state);
    fill_weights(p->d2[0], TAPS2, WIDE, HIDDEN, 1, &state);
    fill_weights(p->d3[0], HIDDEN, PIXELS, PIXELS, 0.02f, &state);
    /* An Encrypter that is never run: a pair's file has one. */
    fill_weights(p->enc_lin[0], PIXELS, LATENTS, LATENTS, 1, &state);
    fill_weights(p->e1[0], PIXELS, WIDE, HIDDEN, 1, &state);
    fill_weights(p->e2[0], TAPS2, WIDE, HIDDEN, 1, &state);
    fill_weights(p->e3[0], HIDDEN, LATENTS, LATENTS, 0.02f, &state);
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

enum lethe_err lethe_train_surrogate(const struct lethe_known *known, size_t count,
                                     const double (*linear)[LETHE_PIXELS], uint64_t seed, uint32_t steps,
                                     struct lethe_pool *pool, struct lethe_buf *out)
{
    struct surrogate *s = zeroed(1, sizeof *s);
    enum lethe_err err = s ? LETHE_OK : LETHE_ERR_NOMEM;

    if (!s || count == 0) {
        free(s);
        return s ? LETHE_ERR_ARG : err;
    }
    s->known = known;
    s->count = count;
    s->rate = known[0].latents->rate;
    s->seed = seed;
    s->gemm = lethe_gemm_best();
    s->params = zeroed(1, sizeof *s->params);
    s->first = zeroed(1, sizeof *s->first);
    s->second = zeroed(1, sizeof *s->second);
    s->gradients = zeroed(BATCH, sizeof *s->gradients);
    s->transposed = zeroed(1, sizeof *s->transposed);
    s->unused = zeroed(BATCH + 1, sizeof *s->unused);
    if (!s->params || !s->first || !s->second || !s->gradients || !s->transposed || !s->unused) {
        err = LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < BATCH && !err; i++) {
        err = workspace_new(&s->spaces[i]);
    }
    if (!err) {
        start(s, linear);
        for (s->step = 0; s->step < steps; s->step++) {
            net_transpose(s->params, s->transposed);
            lethe_pool_run(pool, BATCH, crop_work, s);
            descend(s, steps);
        }
        err = export_pair(s->params, out);
    }
    free(s->params);
    free(s->first);
    free(s->second);
    free(s->gradients);
    free(s->transposed);
    free(s->unused);
    for (size_t i = 0; i < BATCH; i++) {
        workspace_free(s->spaces[i]);
    }
    free(s);
    return err;
}
