/* SPDX-License-Identifier: MIT */
/*
 * The cipher open. Every thief makes pictures of the latents of photos that he has never seen; each is judged
 * by PSNR and SSIM against the photo, and by whether its sketch finds the photo among all of the vault. At
 * every strength, and beside those who have no artifact at all.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/drill/drill.h"
#include "fs/drill/photos.h"
#include "fs/drill/show.h"
#include "lethe/codec.h"
#include "lethe/residual.h"
#include "lethe/train.h"

#define LINEAR_BLOCKS 60000
#define NEAREST_BLOCKS 2048
#define NET_STEPS 400
#define NET_LEAST 10 /* known photos that a net is trained from */
#define AVERAGE_MOST 16
#define SHOWN 3

static const size_t knowns[] = {0, 1, 10, 100, 1000};

struct trial {
    struct drill *drill;
    const struct drill_photos *photos;
    unsigned strength;
    size_t known;                  /* N: of the pairs behind the tests */
    const struct lethe_pair *pair; /* of Decrypters */
    const struct drill_linear *linear;
    unsigned average; /* artifacts of one photo together */
    /* Makes the thief's picture of test number i. */
    enum lethe_err (*make)(const struct trial *trial, size_t i, struct lethe_ycc *out);
    struct lethe_raster *keep; /* the first SHOWN pictures go here; NULL: nowhere */
    double psnr[DRILL_TESTS], ssim[DRILL_TESTS];
    double restored[DRILL_TESTS]; /* PSNR against what the device restores */
    bool found[DRILL_TESTS];
    atomic_int err;
};

static const struct drill_pair *test_of(const struct trial *trial, size_t i)
{
    return &trial->photos->pairs[i];
}

static const struct drill_pair *known_of(const struct trial *trial)
{
    return trial->photos->pairs + trial->photos->first_known;
}

/* --- the thieves --- */

static enum lethe_err make_mean(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    const struct lethe_ycc *truth = &test_of(trial, i)->picture;
    enum lethe_err err = lethe_ycc_init(out, truth->width, truth->height);
    size_t size = (size_t)truth->width * truth->height;

    for (unsigned p = 0; p < 3 && !err; p++) {
        memset(out->planes[p], p ? 128 : 118, size);
        for (size_t at = 0; at < size && trial->known; at++) {
            size_t sum = 0, count = 0;

            for (size_t n = 0; n < trial->known; n++) {
                const struct lethe_ycc *other = &known_of(trial)[n].picture;

                if (other->width == truth->width && other->height == truth->height) {
                    sum += other->planes[p][at];
                    count++;
                }
            }
            out->planes[p][at] = count ? (uint8_t)(sum / count) : out->planes[p][at];
        }
    }
    return err;
}

static enum lethe_err copy(const struct lethe_ycc *in, struct lethe_ycc *out)
{
    enum lethe_err err = lethe_ycc_init(out, in->width, in->height);

    for (unsigned p = 0; p < 3 && !err; p++) {
        memcpy(out->planes[p], in->planes[p], (size_t)in->width * in->height);
    }
    return err;
}

/* The best that a prior can do: the known photo nearest to the true one, which an oracle points out. */
static enum lethe_err make_gallery(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    const struct lethe_ycc *truth = &test_of(trial, i)->picture;
    const struct drill_pair *best = NULL;
    double least = INFINITY;

    for (size_t n = 0; n < trial->known; n++) {
        const struct drill_pair *other = &known_of(trial)[n];
        double sum = 0;

        if (other->picture.width != truth->width || other->picture.height != truth->height) {
            continue;
        }
        for (size_t at = 0; at < (size_t)truth->width * truth->height; at += 7) {
            double d = (double)truth->planes[0][at] - other->picture.planes[0][at];

            sum += d * d;
        }
        if (sum < least) {
            least = sum;
            best = other;
        }
    }
    return best ? copy(&best->picture, out) : make_mean(trial, i, out);
}

static enum lethe_err make_blind(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    return drill_blind_run(&test_of(trial, i)->latents, &test_of(trial, i)->picture, out);
}

static enum lethe_err make_nearest(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    return drill_nearest_run(known_of(trial), trial->known, NEAREST_BLOCKS, &test_of(trial, i)->latents, out);
}

static enum lethe_err make_decrypter(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    return lethe_decrypter_run(trial->pair, &test_of(trial, i)->latents, NULL, out);
}

/* The mean of the latents of several artifacts of one photo, or of the one there is. */
static enum lethe_err make_linear(const struct trial *trial, size_t i, struct lethe_ycc *out)
{
    const struct lethe_latents *z = &test_of(trial, i)->latents;
    size_t count = (size_t)z->blocks_w * z->blocks_h * LETHE_LATENTS;
    float *values = malloc(count * sizeof *values);
    enum lethe_err err = values ? LETHE_OK : LETHE_ERR_NOMEM;

    for (size_t at = 0; at < count && !err; at++) {
        values[at] = z->values[at];
    }
    for (unsigned k = 1; k < trial->average && !err; k++) {
        struct drill_random random = {.state =
                                          trial->drill->options->seed + 7919 * (k + AVERAGE_MOST * (i + 1))};
        struct lethe_random engine = drill_engine_random(&random);
        struct lethe_latents more;

        err = lethe_encrypter_run(trial->photos->own, &test_of(trial, i)->picture, trial->strength, &engine,
                                  NULL, &more);
        for (size_t at = 0; at < count && !err; at++) {
            values[at] += more.values[at];
        }
        lethe_latents_release(&more);
    }
    for (size_t at = 0; at < count && !err && trial->average; at++) {
        values[at] /= (float)trial->average;
    }
    err = err ? err : drill_linear_run(trial->linear, values, z->width, z->height, out);
    free(values);
    return err;
}

/* --- the judge --- */

static void judge_work(void *context, size_t i)
{
    struct trial *trial = context;
    const struct drill_photos *photos = trial->photos;
    struct lethe_raster truth = {0}, seen = {0};
    struct lethe_ycc made = {0};
    float(*sketches)[DRILL_SKETCH] = calloc(photos->count, sizeof *sketches), mine[DRILL_SKETCH];
    enum lethe_err err = sketches ? trial->make(trial, i, &made) : LETHE_ERR_NOMEM;

    err = err ? err : drill_picture_from_ycc(&made, &seen);
    err = err ? err : drill_picture_from_ycc(&test_of(trial, i)->picture, &truth);
    if (!err) {
        trial->psnr[i] = drill_picture_psnr(&truth, &seen);
        trial->ssim[i] = drill_picture_ssim(&truth, &seen);
        trial->restored[i] = trial->psnr[i];
        if (test_of(trial, i)->restored.width) {
            lethe_raster_release(&truth);
            err = drill_picture_from_ycc(&test_of(trial, i)->restored, &truth);
            trial->restored[i] = err ? 0 : drill_picture_psnr(&truth, &seen);
        }
    }
    if (!err) {
        drill_picture_sketch(&seen, mine);
        for (size_t n = 0; n < photos->count; n++) {
            memcpy(sketches[n], photos->pairs[n].sketch, sizeof mine);
        }
        trial->found[i] =
            drill_sketch_nearest(mine, (const float(*)[DRILL_SKETCH])sketches, photos->count) == i;
        if (trial->keep && i < SHOWN) {
            trial->keep[i] = seen;
            seen = (struct lethe_raster){0};
        }
    } else {
        atomic_store(&trial->err, (int)err);
    }
    free(sketches);
    lethe_ycc_release(&made);
    lethe_raster_release(&truth);
    lethe_raster_release(&seen);
}

static enum lethe_err try_all(struct trial *trial, const char *thief, json_t *rows)
{
    size_t tests = trial->photos->tests, found = 0;
    struct drill_interval psnr, rank;
    double ssim = 0, restored = 0;
    json_t *row;

    lethe_pool_run(trial->drill->pool, tests, judge_work, trial);
    for (size_t i = 0; i < tests; i++) {
        ssim += trial->ssim[i] / (double)tests;
        restored += trial->restored[i] / (double)tests;
        found += trial->found[i];
    }
    psnr = drill_bootstrap(trial->psnr, tests, &trial->drill->random);
    rank = drill_wilson(found, tests, DRILL_Z95);
    row = json_pack("{s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "strength",
                    (json_int_t)trial->strength, "thief", thief, "known", (json_int_t)trial->known, "psnr",
                    psnr.value, "psnr_low", psnr.low, "psnr_high", psnr.high, "ssim", ssim, "rank1",
                    rank.value, "rank1_low", rank.low, "rank1_high", rank.high);
    if (trial->photos->truth == DRILL_TRUTH_ORIGINALS) {
        (void)json_object_set_new(row, "psnr_to_lossy", json_real(restored));
    }
    (void)json_array_append_new(rows, row);
    trial->make = NULL;
    return (enum lethe_err)atomic_load(&trial->err);
}

/* --- the order of things --- */

struct encrypting {
    struct drill *drill;
    const struct drill_photos *photos;
    unsigned strength;
    atomic_int err;
};

static void encrypt_work(void *context, size_t i)
{
    struct encrypting *e = context;
    struct drill_pair *pair = &e->photos->pairs[i];
    struct drill_random random = {.state = e->drill->options->seed * 31 + i * 4 + e->strength};
    struct lethe_random engine = drill_engine_random(&random);
    enum lethe_err err;

    if (e->photos->truth == DRILL_TRUTH_RESTORED && !lethe_id_is_zero(&e->photos->ids[i])) {
        return; /* what the vault holds: of the photo itself nobody can make another */
    }
    lethe_latents_release(&pair->latents);
    err = lethe_encrypter_run(e->photos->own, &pair->picture, e->strength, &engine, NULL, &pair->latents);
    if (err) {
        atomic_store(&e->err, (int)err);
    }
}

static enum lethe_err train_net(struct trial *trial, const struct drill_linear *linear,
                                struct lethe_pair **out)
{
    struct lethe_known *known = calloc(trial->known, sizeof *known);
    struct lethe_buf bytes = {0};
    enum lethe_err err = known ? LETHE_OK : LETHE_ERR_NOMEM;

    *out = NULL;
    for (size_t n = 0; n < trial->known && !err; n++) {
        known[n] = (struct lethe_known){&known_of(trial)[n].latents, &known_of(trial)[n].picture};
    }
    err = err ? err
              : lethe_train_surrogate(known, trial->known, linear->weight, trial->drill->options->seed,
                                      NET_STEPS, trial->drill->pool, &bytes);
    err = err ? err : lethe_pair_parse(bytes.data, bytes.len, out);
    free(known);
    lethe_buf_release(&bytes);
    return err;
}

/* What the artifact keeps and what it leaves to the residual, in bits a pixel, at this strength. */
static enum lethe_err count_bits(struct trial *trial, json_t *out)
{
    double artifact = 0, residual = 0, pixels = 0;
    double alone = 0, other = 0;
    size_t refused = 0, tests = trial->photos->tests < 8 ? trial->photos->tests : 8;
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < tests && !err; i++) {
        const struct drill_pair *pair = test_of(trial, i);
        struct lethe_raster truth = {0}, seen = {0}, wrong = {0};
        struct lethe_ycc made = {0};
        struct lethe_buf coded = {0}, rest = {0};
        size_t size = (size_t)pair->picture.width * pair->picture.height;
        uint8_t *planes = malloc(3 * size);

        err = planes ? lethe_latents_encode(&pair->latents, &coded) : LETHE_ERR_NOMEM;
        err = err ? err : lethe_decrypter_run(trial->photos->own, &pair->latents, trial->drill->pool, &made);
        err = err ? err : drill_picture_from_ycc(&made, &seen);
        err = err ? err : drill_picture_from_ycc(&pair->picture, &truth);
        err = err ? err : lethe_raster_init(&wrong, truth.width, truth.height, 3, 8);
        if (!err) {
            const uint8_t *const xhat[4] = {planes, planes + size, planes + 2 * size, NULL};

            for (size_t at = 0; at < 3 * size; at++) {
                planes[at] = (uint8_t)seen.planes[at / size][at % size];
            }
            err = lethe_residual_samples_encode(&truth, xhat, LETHE_EFFORT_FAST, trial->drill->pool, &rest);
            /* And now the residual by a thief who has to put grey in the artifact's place. */
            memset(planes, 128, 3 * size);
            if (!err &&
                lethe_residual_samples_decode(rest.data, rest.len, xhat, trial->drill->pool, &wrong)) {
                refused++;
            } else if (!err) {
                struct lethe_raster mean = {0};
                struct lethe_ycc prior = {0};

                alone += drill_picture_psnr(&truth, &wrong);
                err = make_mean(trial, i, &prior);
                err = err ? err : drill_picture_from_ycc(&prior, &mean);
                other += err ? 0 : drill_picture_psnr(&truth, &mean);
                lethe_raster_release(&mean);
                lethe_ycc_release(&prior);
            }
            artifact += 8 * (double)coded.len;
            residual += 8 * (double)rest.len;
            pixels += (double)size;
        }
        free(planes);
        lethe_ycc_release(&made);
        lethe_raster_release(&truth);
        lethe_raster_release(&seen);
        lethe_raster_release(&wrong);
        lethe_buf_release(&coded);
        lethe_buf_release(&rest);
    }
    if (!err) {
        double decoded = (double)(tests - refused);

        (void)json_array_append_new(
            out, json_pack("{s:I, s:f, s:f, s:o, s:o, s:I}", "strength", (json_int_t)trial->strength,
                           "artifact_bpp", artifact / pixels, "residual_bpp", residual / pixels,
                           "residual_alone_psnr", decoded > 0 ? json_real(alone / decoded) : json_null(),
                           "mean_picture_psnr", decoded > 0 ? json_real(other / decoded) : json_null(),
                           "residual_alone_refused", (json_int_t)refused));
    }
    return err;
}

/* All thieves at one strength. */
static enum lethe_err attack(struct drill *drill, const struct drill_photos *photos, unsigned strength,
                             struct drill_show *show, json_t *rows, json_t *bits)
{
    struct encrypting encrypting = {.drill = drill, .photos = photos, .strength = strength};
    size_t known = photos->count - photos->first_known;
    unsigned own = lethe_vault_file_settings(drill->file)->strength;
    struct drill_linear *linear = malloc(sizeof *linear);
    struct trial *trial = calloc(1, sizeof *trial);
    enum lethe_err err = linear && trial ? LETHE_OK : LETHE_ERR_NOMEM;

    lethe_pool_run(drill->pool, photos->count, encrypt_work, &encrypting);
    err = err ? err : (enum lethe_err)atomic_load(&encrypting.err);
    if (err) {
        goto out;
    }
    trial->drill = drill;
    trial->photos = photos;
    trial->strength = strength;
    for (size_t i = 0; i < sizeof knowns / sizeof *knowns && !err; i++) {
        bool shown = show && strength == own, last;

        drill_progress(drill, "thieves", strength * 5 + i, 20);
        trial->known = knowns[i] < known ? knowns[i] : known;
        last = trial->known == known;
        if (i > 0 && knowns[i - 1] >= known) {
            break;
        }
        trial->keep = shown && last ? drill_show_column(show, "a thief with the mean of his photos") : NULL;
        trial->make = make_mean;
        err = try_all(trial, "no artifact: mean picture", rows);
        trial->keep = NULL;
        if (trial->known == 0) {
            trial->make = make_blind;
            err = err ? err : try_all(trial, "no weights: brightness guessed", rows);
            continue;
        }
        trial->make = make_gallery;
        err = err ? err : try_all(trial, "no artifact: nearest known photo (oracle)", rows);
        trial->make = make_nearest;
        err = err ? err : try_all(trial, "nearest known block", rows);
        err = err ? err : drill_linear_fit(known_of(trial), trial->known, LINEAR_BLOCKS, linear);
        trial->linear = linear;
        trial->make = make_linear;
        trial->keep = shown && i == 1 ? drill_show_column(show, "keys, and one known photo") : NULL;
        err = err ? err : try_all(trial, "least squares", rows);
        trial->keep = NULL;
        if (trial->known >= NET_LEAST && !err) {
            struct lethe_pair *net = NULL;

            err = train_net(trial, linear, &net);
            trial->pair = net;
            trial->make = make_decrypter;
            trial->keep =
                shown && last ? drill_show_column(show, "keys, and a net trained on his photos") : NULL;
            err = err ? err : try_all(trial, "own network", rows);
            trial->keep = NULL;
            lethe_pair_free(net);
        }
    }
    for (unsigned k = 4; k <= AVERAGE_MOST && !err && photos->truth != DRILL_TRUTH_RESTORED; k *= 4) {
        char thief[64];

        snprintf(thief, sizeof thief, "least squares, mean of %u artifacts", k);
        trial->average = k;
        trial->make = make_linear;
        err = try_all(trial, thief, rows);
        trial->average = 0;
    }
    trial->known = 0;
    trial->pair = lethe_pair_shipped(0);
    if (trial->pair && !err) {
        trial->make = make_decrypter;
        trial->keep = show && strength == own ? drill_show_column(show, "keys and the public pair") : NULL;
        err = try_all(trial, "the public base pair", rows);
        trial->keep = NULL;
    }
    if (drill->options->leak == DRILL_LEAK_MODEL && !err) {
        trial->pair = photos->own;
        trial->make = make_decrypter;
        trial->keep =
            show && strength == own ? drill_show_column(show, "keys and the vault's own pair") : NULL;
        err = try_all(trial, "the vault's own pair", rows);
        trial->keep = NULL;
    }
    trial->known = known;
    if (!err && photos->truth != DRILL_TRUTH_RESTORED) {
        err = count_bits(trial, bits);
    }
out:
    free(linear);
    free(trial);
    return err;
}

/* What the artifacts that lie in the vault are worth to who has the pair, against the photos that they were
 * made of. */
static json_t *stored_artifacts(struct drill *drill, const struct drill_photos *photos)
{
    struct drill_interval psnr;

    if (photos->stored == 0) {
        return json_null();
    }
    psnr = drill_bootstrap(photos->stored_psnr, photos->stored, &drill->random);
    return json_pack("{s:I, s:o}", "photos", (json_int_t)photos->stored, "psnr", drill_interval_json(&psnr));
}

enum lethe_err drill_leaked(struct drill *drill, const struct drill_photos *photos, struct drill_show *show)
{
    static const char *const truths[] = {"the photos", "the originals", "the lossy pictures"};
    unsigned own = lethe_vault_file_settings(drill->file)->strength;
    json_t *rows = json_array(), *bits = json_array();
    enum lethe_err err = LETHE_OK;

    for (unsigned strength = 0; strength < LETHE_STRENGTHS && photos->count && !err; strength++) {
        if (photos->truth != DRILL_TRUTH_RESTORED || strength == own) {
            err = attack(drill, photos, strength, show, rows, bits);
        }
    }
    (void)json_object_set_new(
        drill->report, "keys_leaked",
        json_pack("{s:I, s:I, s:I, s:f, s:b, s:s, s:o, s:o, s:o}", "tests", (json_int_t)photos->tests,
                  "known", (json_int_t)(photos->count - photos->first_known), "gallery",
                  (json_int_t)photos->count, "chance", photos->count ? 1.0 / (double)photos->count : 0.0,
                  "own_pair_is_public",
                  photos->own && lethe_pair_shipped(0) &&
                      lethe_id_equal(lethe_pair_id(photos->own), lethe_pair_id(lethe_pair_shipped(0))),
                  "judged_by", truths[photos->truth], "stored_artifacts", stored_artifacts(drill, photos),
                  "thieves", rows, "bits", bits));
    return err;
}
