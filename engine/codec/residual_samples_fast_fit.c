/* SPDX-License-Identifier: MIT */
/*
 * Weights for the fast mode: linear predictions by least squares, one for each class of blocks, and the class of
 * each block, in turn, as in vector quantisation (classified least squares: I. Matsuda and others, "Lossless coding
 * using variable block-size adaptive prediction optimized for each image", EUSIPCO 2005). The decoder is told the
 * result, so nothing here is part of the format; it is in integers all the same, so that an encoder writes the
 * same bytes everywhere.
 */
#include "engine/codec/residual_samples_fast.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 5

static int64_t clamp64(int64_t value, int64_t limit)
{
    return value > limit ? limit : value < -limit ? -limit : value;
}

/*
 * LDL of the system brought to a largest diagonal of about 2^44, with a ridge of 2^-20 of it, so that L is below 2^10
 * (2^32 in fixed point) and every product below 2^78. The clamps only matter where rounding has spoilt it.
 */
void lethe_fast_solve(const int64_t *a, const int64_t *b, unsigned n, int32_t *weights)
{
    int64_t d[FAST_FEATURES][FAST_FEATURES], l[FAST_FEATURES][FAST_FEATURES], y[FAST_FEATURES];
    int64_t w[FAST_FEATURES], largest = 1;
    int shift;

    for (unsigned i = 0; i < n; i++) {
        int64_t diagonal = a[i * (i + 3) / 2];

        largest = diagonal > largest ? diagonal : largest;
    }
    shift = 43 - (63 - __builtin_clzll((uint64_t)largest));
    for (unsigned i = 0; i < n; i++) {
        for (unsigned j = 0; j <= i; j++) {
            int64_t v = a[i * (i + 1) / 2 + j];

            d[i][j] = shift >= 0 ? v * (1ll << shift) : v >> -shift;
        }
        y[i] = shift >= 0 ? b[i] * (1ll << shift) : b[i] >> -shift;
        d[i][i] += 1ll << 24;
    }
    for (unsigned j = 0; j < n; j++) {
        for (unsigned i = j; i < n; i++) {
            __int128 sum = 0;

            for (unsigned k = 0; k < j; k++) {
                sum += (__int128)l[i][k] * d[j][k];
            }
            d[i][j] = clamp64(d[i][j] - (int64_t)(sum >> 22), 1ll << 46);
        }
        d[j][j] = d[j][j] < 1 << 24 ? 1 << 24 : d[j][j];
        for (unsigned i = j + 1; i < n; i++) {
            l[i][j] = clamp64((int64_t)(((__int128)d[i][j] * (1 << 22)) / d[j][j]), 1ll << 34);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        __int128 sum = 0;

        for (unsigned k = 0; k < i; k++) {
            sum += (__int128)l[i][k] * y[k];
        }
        y[i] = clamp64(y[i] - (int64_t)(sum >> 22), 1ll << 58);
    }
    for (unsigned i = n; i-- > 0;) {
        __int128 sum = 0;

        for (unsigned k = i + 1; k < n; k++) {
            sum += (__int128)l[k][i] * w[k];
        }
        w[i] = clamp64((int64_t)(((__int128)y[i] * (1 << 24)) / d[i][i] - (sum >> 22)), 1ll << 40);
    }
    for (unsigned i = 0; i < n; i++) { /* from 2^-24 */
        int64_t v = (w[i] + (1 << 11)) >> (24 - FAST_UNIT);

        weights[i] = (int32_t)clamp64(v, FAST_WEIGHT_MAX);
    }
}

struct fit {
    const struct fast_fit_block *blocks;
    size_t count;
    const struct fast_fit_sums *sums;
    unsigned n;
    struct fast_channel_model *model;
    uint32_t *error; /* of each block under its class: mean square, in 16ths */
};

/* Weights of all classes: each block counts as the inverse of its error, so that smooth ones are heard. */
static void solve_classes(const struct fit *fit, unsigned classes)
{
    int64_t sum[FAST_CLASSES][FIT_MOMENTS] = {{0}};
    unsigned size = fit->n * (fit->n + 1) / 2;
    bool any[FAST_CLASSES] = {false};

    for (size_t i = 0; i < fit->count; i++) {
        unsigned class = fit->model->map[i];

        any[class] = true;
        fit->sums->gather(sum[class], fit->blocks[i].moment, (int32_t)(4096 / (fit->error[i] + 8) + 1));
    }
    for (unsigned c = 0; c < classes; c++) {
        int32_t weights[FAST_FEATURES];

        if (!any[c]) {
            continue;
        }
        lethe_fast_solve(sum[c], sum[c] + size, fit->n, weights);
        for (unsigned k = 0; k < fit->n; k++) {
            int32_t steps = (weights[k] + FAST_WEIGHT_STEP / 2) >> 3;

            fit->model->weights[c].w[k] = (int16_t)(steps * FAST_WEIGHT_STEP);
        }
    }
}

/* The class whose weights leave the least, and what they leave. */
static void choose_classes(struct fit *fit, unsigned classes)
{
    int32_t factor[FAST_CLASSES][FIT_MOMENTS] = {{0}}; /* of each moment, in 2^-20: below 2^26 */

    for (unsigned c = 0; c < classes; c++) {
        const int16_t *w = fit->model->weights[c].w;
        unsigned at = 0;

        for (unsigned i = 0; i < fit->n; i++) {
            for (unsigned j = 0; j <= i; j++) {
                factor[c][at++] = (w[i] * w[j] * (i == j ? 1 : 2)) >> 4;
            }
        }
        for (unsigned i = 0; i < fit->n; i++) {
            factor[c][at++] = -w[i] * (2 << 8);
        }
    }
    for (size_t i = 0; i < fit->count; i++) {
        const struct fast_fit_block *block = &fit->blocks[i];
        int64_t least = INT64_MAX;

        for (unsigned c = 0; c < classes; c++) {
            int64_t sum = ((int64_t)block->square << 20) + fit->sums->dot(block->moment, factor[c]);

            if (sum < least) {
                least = sum;
                fit->model->map[i] = (uint8_t)c;
            }
        }
        least = least < 0 ? 0 : least >> 16;
        least /= block->count;
        fit->error[i] = least > 1 << 24 ? 1 << 24 : (uint32_t)least;
    }
}

/* Leaves out classes that no block is in; returns how many are left. */
static unsigned drop_empty(struct fit *fit, unsigned classes)
{
    uint8_t number[FAST_CLASSES];
    bool used[FAST_CLASSES] = {false};
    unsigned left = 0;

    for (size_t i = 0; i < fit->count; i++) {
        used[fit->model->map[i]] = true;
    }
    for (unsigned c = 0; c < classes; c++) {
        number[c] = (uint8_t)left;
        if (used[c]) {
            fit->model->weights[left++] = fit->model->weights[c];
        }
    }
    for (size_t i = 0; i < fit->count; i++) {
        fit->model->map[i] = number[fit->model->map[i]];
    }
    return left;
}

static int by_error(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

enum lethe_err lethe_fast_fit(const struct fast_fit_block *blocks, size_t count, const struct fast_fit_sums *sums,
                              struct fast_channel_model *model)
{
    struct fit fit = {
        .blocks = blocks, .count = count, .sums = sums, .n = fast_features(model->before), .model = model};
    unsigned classes = count / 32 < FAST_CLASSES ? (unsigned)(count / 32) : FAST_CLASSES;
    uint64_t *order = malloc(count * sizeof *order);

    fit.error = calloc(count, sizeof *fit.error);
    if (!fit.error || !order) {
        free(fit.error);
        free(order);
        return LETHE_ERR_NOMEM;
    }
    memset(model->map, 0, count);
    memset(model->weights, 0, sizeof model->weights);
    for (unsigned round = 0; round < 2; round++) {
        solve_classes(&fit, 1);
        choose_classes(&fit, 1);
    }
    classes = classes ? classes : 1;
    if (classes > 1) { /* begin with classes of like errors */
        for (size_t i = 0; i < count; i++) {
            order[i] = (uint64_t)fit.error[i] << 32 | (uint32_t)i;
        }
        qsort(order, count, sizeof *order, by_error);
        for (size_t i = 0; i < count; i++) {
            model->map[(uint32_t)order[i]] = (uint8_t)(i * classes / count);
        }
        for (unsigned round = 0; round < ROUNDS; round++) {
            solve_classes(&fit, classes);
            if (round + 1 < ROUNDS) {
                choose_classes(&fit, classes);
            }
        }
    }
    model->classes = drop_empty(&fit, classes);
    free(fit.error);
    free(order);
    return LETHE_OK;
}
