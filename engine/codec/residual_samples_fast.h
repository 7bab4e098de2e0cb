/* SPDX-License-Identifier: MIT */
/*
 * Private to the fast mode of the samples coder (residual_samples_fast.c says how it works).
 *
 * What is known around a sample are its features, each a difference, in this order:
 *   W N NW NE WW NN less xhat here; xhat W, N, E, S less xhat here; then, in the first colour and in alpha,
 *   NEE and NNE less xhat here; in the second colour, o being the first at this place, o less its xhat, less
 *   its W, less its N, less its E; in the third these four of the second, and o less its xhat, W, N of the first.
 */
#ifndef LETHE_ENGINE_CODEC_RESIDUAL_SAMPLES_FAST_H
#define LETHE_ENGINE_CODEC_RESIDUAL_SAMPLES_FAST_H

#include "engine/codec/residual_samples.h"
#include "lethe/range.h"
#include "lethe/rans.h"

#define FAST_PAD 16     /* samples beside a row that may be read; what they hold is told at fast_pad */
#define FAST_BLOCK 16   /* a square of samples that shares one class */
#define FAST_CLASSES 8
#define FAST_FEATURES 17
#define FAST_UNIT 12    /* bits of a weight's fraction */
#define FAST_WEIGHT_STEP 8    /* weights are multiples of it */
#define FAST_WEIGHT_MAX 16376 /* 17 of them times 2^10 (8 bits) stay below 2^28, times 2^18 (16 bits) below 2^36 */
#define FAST_ENERGIES 8 /* weights of the local energy, in 64ths: |e| at W, N, NW, NE, WW, NN, cross, constant */
#define FAST_LEVELS 120 /* of an energy: four for every doubling of energy + 8 */
#define FAST_FINE_LEVELS 18 /* levels below are told apart by how the prediction was rounded as well */
#define FAST_FRACTIONS 3
#define FAST_TABLES 255 /* distributions of a channel, at most */

/* The rows around a row of one channel; [0] is column 0. Magnitudes are those of errors. */
#define FAST_ROWS(name, sample, magnitude)                                                                    \
    struct name {                                                                                             \
        const sample *x, *n, *nn;          /* samples of this row and of those above */                       \
        const sample *h, *hn, *hs;         /* xhat: this row, above, below */                                 \
        const magnitude *en, *enn;         /* magnitudes of the rows above */                                 \
        const sample *o[2], *on[2], *oh[2]; /* the colour before and the one before that: x, n, h */          \
        const magnitude *oe[2];            /* their magnitudes in this row */                                 \
    }
FAST_ROWS(fast_rows8, int16_t, uint16_t);
FAST_ROWS(fast_rows16, int32_t, uint32_t);

struct fast_weights {
    int16_t w[FAST_FEATURES];
};

/* All that the stream says about one channel before its samples. */
struct fast_channel_model {
    unsigned before;  /* colours before it that its features see: 0, 1, 2 */
    unsigned classes; /* 1 to FAST_CLASSES */
    uint8_t *map;     /* class of each block, row after row of blocks */
    struct fast_weights weights[FAST_CLASSES];
    uint8_t energy[FAST_ENERGIES];
    uint8_t table[FAST_LEVELS][4]; /* distribution by level and fraction (the fourth is never asked for) */
    unsigned tables;
    uint16_t (*freq)[LETHE_RANS_TOKENS];
};

static inline unsigned fast_features(unsigned before)
{
    return before == 0 ? 12 : before == 1 ? 14 : 17;
}

static inline unsigned fast_level(uint32_t energy)
{
    uint64_t v = (uint64_t)energy + 8;
    unsigned bits = 63 - (unsigned)__builtin_clzll(v); /* 3 to 32 */

    return (bits - 3) * 4 + (unsigned)(v >> (bits - 2) & 3);
}

/*
 * Tokens of an error: z = 2e or -2e - 1. Below 32 z itself; up to 10 bits 4 tokens for each number of bits (the
 * second bit and the last one, the sign, are in the token); above, one for each number of bits.
 */
static inline unsigned fast_token(uint32_t z, uint32_t *raw, unsigned *raw_bits)
{
    unsigned bits;

    if (z < 32) {
        *raw_bits = 0;
        *raw = 0;
        return z;
    }
    bits = 31 - (unsigned)__builtin_clz(z);
    if (bits < 10) {
        *raw_bits = bits - 2;
        *raw = z >> 1 & ((1u << (bits - 2)) - 1);
        return 32 + (bits - 5) * 4 + (z >> (bits - 1) & 1) * 2 + (z & 1);
    }
    *raw_bits = bits;
    *raw = z & ((1u << bits) - 1);
    return 52 + bits - 10;
}

/* --- residual_samples_fast8.c and 16.c, both residual_samples_fast_body.h: a band of that depth --- */

void lethe_fast8_encode(struct lethe_samples_band *band);
void lethe_fast8_decode(struct lethe_samples_band *band);
/* The same from x86/, for processors with AVX2. */
void lethe_fast8_avx2_encode(struct lethe_samples_band *band);
void lethe_fast8_avx2_decode(struct lethe_samples_band *band);
void lethe_fast16_encode(struct lethe_samples_band *band);
void lethe_fast16_decode(struct lethe_samples_band *band);

/* --- residual_samples_fast_fit.c (encoding) --- */

#define FIT_MOMENTS 176 /* room for the moments of FAST_FEATURES, in whole vectors */

/* What the fit sees of a channel: all its features and targets, block by block, brought into 12 bits. */
struct fast_fit_block {
    int32_t moment[FIT_MOMENTS]; /* products of features (packed lower triangle), of features and target, then 0 */
    int32_t square;              /* of the targets */
    uint32_t count;
};
/* The sums over FIT_MOMENTS that it spends its time on, for one instruction set. */
struct fast_fit_sums {
    int64_t (*dot)(const int32_t *a, const int32_t *b);
    void (*gather)(int64_t *sum, const int32_t *a, int32_t gain); /* sum += a * gain */
};
/* Fills model->classes, map and weights. */
enum lethe_err lethe_fast_fit(const struct fast_fit_block *blocks, size_t count, const struct fast_fit_sums *sums,
                              struct fast_channel_model *model) LETHE_MUST_CHECK;
/*
 * Solves the least squares system of n unknowns (packed lower triangle a, right side b) into weights in units of
 * 2^-FAST_UNIT, within FAST_WEIGHT_MAX.
 */
void lethe_fast_solve(const int64_t *a, const int64_t *b, unsigned n, int32_t *weights);

/* --- residual_samples_fast_model.c --- */

/*
 * Distributions for the tokens counted by level and fraction: neighbouring levels share one where that is cheaper.
 * Fills table, tables and freq (allocated).
 */
enum lethe_err lethe_fast_distribute(const uint32_t (*counts)[FAST_FRACTIONS][LETHE_RANS_TOKENS],
                                     struct fast_channel_model *model) LETHE_MUST_CHECK;
void lethe_fast_model_encode(struct lethe_range_encoder *encoder, const struct fast_channel_model *model,
                             uint32_t blocks_w, uint32_t blocks_h);
/* before is set by the caller; map has room. LETHE_ERR_FORMAT, LETHE_ERR_NOMEM; release in any case. */
enum lethe_err lethe_fast_model_decode(struct lethe_range_decoder *decoder, struct fast_channel_model *model,
                                       uint32_t blocks_w, uint32_t blocks_h) LETHE_MUST_CHECK;
void lethe_fast_model_release(struct fast_channel_model *model);

#endif
