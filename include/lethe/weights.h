/* SPDX-License-Identifier: MIT */
/*
 * The integers of a model pair, as its file has them and the trainer writes them. The networks that they make up, in
 * full, are specified by engine/codec/encrypter.c and engine/codec/decrypter.c on the layers of engine/nn/layers.h.
 * Every bound below is checked when a pair is parsed; the proofs that no accumulator overflows rest on them.
 */
#ifndef LETHE_WEIGHTS_H
#define LETHE_WEIGHTS_H

#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/nn.h"

#define LETHE_PIXELS 192    /* values of a block: 64 of Y row by row, then 64 of Cb, then 64 of Cr */
#define LETHE_HIDDEN 40     /* channels of a hidden layer */
#define LETHE_DEC_INPUTS 68 /* of the Decrypter's first convolution: 64 latents, the overflow of latent 0, 3 unused */
#define LETHE_STRENGTHS 4

#define LETHE_WEIGHT_MAX 63          /* of 8-bit weights */
#define LETHE_REQUANT_BITS 23        /* fraction of the multipliers of hidden layers */
#define LETHE_REQUANT_BIAS (1 << 30) /* greatest magnitude of their biases; multipliers lie in [1, 2^30] */
#define LETHE_OUT_MULT_MAX 6700      /* greatest magnitude of the last layers' multipliers */
#define LETHE_OUT_SHIFT_MIN 3        /* their shifts lie in [3, 24] */
#define LETHE_OUT_SHIFT_MAX 24
#define LETHE_LINEAR_MAX 16384       /* greatest magnitude of a linear weight after its gain */

/* From an accumulator to a hidden value: bias is added first, then the multiplier applies. */
struct lethe_requant {
    int32_t mult[LETHE_HIDDEN];
    int32_t bias[LETHE_HIDDEN];
};

struct lethe_weights {
    /* The Encrypter. y = linear * (v - 128) + bias + conv, then 1/256 of a quantiser step = y * scale / 2^32. */
    int16_t enc_linear[LETHE_LATENTS][LETHE_PIXELS];
    int32_t enc_bias[LETHE_LATENTS];                     /* at most 2^28 */
    int8_t enc_conv1[LETHE_HIDDEN][LETHE_PIXELS];        /* 1x1, on v / 2 */
    struct lethe_requant enc_requant1;
    int8_t enc_conv2[LETHE_HIDDEN][9][LETHE_HIDDEN];     /* 3x3: [out][tap, row by row][in] */
    struct lethe_requant enc_requant2;
    int8_t enc_conv3[LETHE_LATENTS][LETHE_HIDDEN];       /* 1x1; its accumulator counts times mult, shifted right */
    int16_t enc_mult[LETHE_LATENTS];
    uint8_t enc_shift;
    uint32_t enc_scale[LETHE_RATES][LETHE_LATENTS];

    /* What a strength means. */
    uint8_t rate[LETHE_STRENGTHS];
    uint16_t dither[LETHE_STRENGTHS]; /* width of the stochastic rounding, 256 is a whole step; at most 256 */
    uint16_t noise[LETHE_STRENGTHS];  /* standard deviation of the diffusion noise in 1/256 steps; at most 1024 */

    /* The Decrypter. */
    int16_t dec_linear[LETHE_PIXELS][LETHE_LATENTS];
    uint32_t dec_gain[LETHE_RATES][LETHE_LATENTS];       /* linear weight of a rate = (dec_linear * gain + 2^15) / 2^16 */
    uint8_t dec_bits[LETHE_RATES];                       /* fraction of the result at a rate, in [1, 14] */
    int32_t dec_bias[LETHE_PIXELS];                      /* in 1/65536; at most 2^27 */
    int8_t dec_conv1[LETHE_HIDDEN][9][LETHE_DEC_INPUTS];
    struct lethe_requant dec_requant1[LETHE_RATES];
    int8_t dec_conv2[LETHE_HIDDEN][9][LETHE_HIDDEN];
    struct lethe_requant dec_requant2[LETHE_RATES];
    int8_t dec_conv3[LETHE_PIXELS][LETHE_HIDDEN];
    int16_t dec_mult[LETHE_RATES][LETHE_PIXELS];
    uint8_t dec_shift[LETHE_RATES];
};

/* LETHE_ERR_FORMAT when a bound does not hold. */
enum lethe_err lethe_weights_check(const struct lethe_weights *weights) LETHE_MUST_CHECK;
/* Appends the file of a pair: header, weights, hash. LETHE_ERR_ARG when lethe_weights_check fails. */
enum lethe_err lethe_weights_serialise(const struct lethe_weights *weights, struct lethe_buf *out) LETHE_MUST_CHECK;

struct lethe_pair;
/* Owned by the pair. */
const struct lethe_weights *lethe_pair_weights(const struct lethe_pair *pair);

#endif
