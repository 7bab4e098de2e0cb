/* SPDX-License-Identifier: MIT */
/* Private to the samples coder: the job of one band, and the least-squares predictor. */
#ifndef LETHE_ENGINE_CODEC_RESIDUAL_SAMPLES_H
#define LETHE_ENGINE_CODEC_RESIDUAL_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/residual.h"

enum lethe_residual_colour { LETHE_COLOUR_NONE, LETHE_COLOUR_YCOCG, LETHE_COLOUR_COUNT };

/* How the bands of a picture are coded. */
enum lethe_samples_kind { LETHE_SAMPLES_FAST, LETHE_SAMPLES_STRONG, LETHE_SAMPLES_SCREEN, LETHE_SAMPLES_KINDS };

/* One band of rows, coded on its own. */
struct lethe_samples_band {
    const struct lethe_raster *raster; /* read when encoding, its samples are written when decoding */
    const uint8_t *const *xhat;
    enum lethe_residual_colour colour;
    enum lethe_samples_kind kind;
    uint32_t first_row;
    uint32_t rows;
    struct lethe_buf out; /* encoding: the stream; owned by the caller */
    const uint8_t *bytes; /* decoding: the stream, borrowed */
    size_t len;
    unsigned widening;    /* decoding: what samples are made of these when they are there */
    const struct lethe_rows_told *told; /* decoding; may be NULL */
    enum lethe_err err;
};

void lethe_samples_band_encode(struct lethe_samples_band *band);
void lethe_samples_band_decode(struct lethe_samples_band *band);
/* Of what was drawn (residual_samples_screen.c). */
void lethe_screen_band_encode(struct lethe_samples_band *band);
void lethe_screen_band_decode(struct lethe_samples_band *band);

/* Reversible YCoCg (H. Malvar, G. Sullivan, "YCoCg-R", JVT-I014, 2003). */
static inline void lethe_ycocg_forward(int32_t r, int32_t g, int32_t b, int32_t *y, int32_t *co, int32_t *cg)
{
    int32_t t;

    *co = r - b;
    t = b + (*co >> 1);
    *cg = g - t;
    *y = t + (*cg >> 1);
}

static inline void lethe_ycocg_inverse(int32_t y, int32_t co, int32_t cg, int32_t *r, int32_t *g, int32_t *b)
{
    int32_t t = y - (cg >> 1);

    *g = cg + t;
    *b = t - (co >> 1);
    *r = *b + co;
}

/* Least squares (residual_samples_lsq.c). */
#define LETHE_LSQ_MAX 18                                         /* features */
#define LETHE_LSQ_SUMS (LETHE_LSQ_MAX * (LETHE_LSQ_MAX + 1) / 2) /* the triangle of their products */
#define LETHE_LSQ_RANGE 1023                                     /* the largest value that is learned from */

/* Decayed sums of products over the samples of one block of columns. */
struct lethe_lsq_sums {
    int32_t product[LETHE_LSQ_SUMS]; /* feature i times feature j, j <= i, row after row */
    int32_t target[LETHE_LSQ_MAX];   /* feature i times the target */
};

/* Forgets a quarter of what was summed. */
void lethe_lsq_decay(struct lethe_lsq_sums *sums, unsigned count);
/* Adds one sample. All values within LETHE_LSQ_RANGE; at most 32 calls between decays, so that no sum
 * overflows. */
void lethe_lsq_add(struct lethe_lsq_sums *sums, unsigned count, const int16_t *features, int16_t target);
/*
 * Solves for the weights (units of 2^-16, within 16) that predict best over the sum of the given blocks;
 * blocks may hold NULL. prior are the weights that a weak pull leads to where there is nothing to learn from.
 */
void lethe_lsq_solve(const struct lethe_lsq_sums *const *blocks, unsigned blocks_count, unsigned count,
                     const int32_t *prior, int32_t *weights);

#endif
