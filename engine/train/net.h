/* SPDX-License-Identifier: MIT */
/*
 * The pair's network in floating point: parameters, forward and backward pass of one crop.
 *
 * Picture values are v - 128. The convolutions see the picture as (v / 2 - 64) / 32 and hidden values in [0,
 * 127 / 16], of which the integer network keeps exactly the steps of 1/16. Rates enter as t in [-1, 1],
 * through curves a + b t + c t^2. Hidden widths are padded to 48 for the matrix product; the padding stays
 * zero.
 */
#ifndef LETHE_TRAIN_NET_H
#define LETHE_TRAIN_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/train/gemm.h"
#include "lethe/err.h"
#include "lethe/nn.h"

#define PIXELS 192 /* values of a block: 64 of Y, then Cb, then Cr */
#define LATENTS 64
#define HIDDEN 40
#define WIDE 48   /* HIDDEN as stored */
#define INPUTS 65 /* the Decrypter's first convolution: the latents and what latent 0 has beyond 63 */
#define SIDE 12   /* blocks along a crop */
#define CELLS (SIDE * SIDE)
#define CROP (SIDE * 8)
#define TAPS1 (9 * INPUTS)
#define TAPS2 (9 * HIDDEN)

#define HIDDEN_STEP 16.0f /* integer steps in 1.0 of a hidden value */
#define ENC_OUT 32.0f     /* scale of the Encrypter's last convolution */
#define DEC_OUT 16.0f

/* All trained numbers; a flat array of floats to the optimiser. Matrices are [in][out]. */
struct params {
    float enc_lin[PIXELS][LATENTS];
    float enc_bias[LATENTS];
    float e1[PIXELS][WIDE];
    float e1_gain[WIDE]; /* logarithm */
    float e1_bias[WIDE];
    float e2[TAPS2][WIDE];
    float e2_gain[WIDE];
    float e2_bias[WIDE];
    float e3[HIDDEN][LATENTS];
    float enc_gain[3][LATENTS]; /* log gain of a latent before it is divided by q: a curve */
    float dec_gain[3][LATENTS]; /* and after it was multiplied by q */
    float dec_lin[LATENTS][PIXELS];
    float dec_bias[PIXELS];
    float d1[TAPS1][WIDE];
    float d1_gain[3][WIDE];
    float d1_bias[3][WIDE];
    float d2[TAPS2][WIDE];
    float d2_gain[3][WIDE];
    float d2_bias[3][WIDE];
    float d3[HIDDEN][PIXELS];
    float d3_gain[3][16]; /* element 0 counts */
};

#define PARAM_COUNT (sizeof(struct params) / sizeof(float))
/* The index of the first float that belongs to the Decrypter. */
#define DECRYPTER_AT (offsetof(struct params, dec_gain) / sizeof(float))

/* Transposed matrices for the backward pass, [out][in padded to 16]. */
struct transposed {
    float e2[WIDE][368];
    float e3[LATENTS][WIDE];
    float dec_lin[PIXELS][LATENTS];
    float d1[WIDE][592];
    float d2[WIDE][368];
    float d3[PIXELS][WIDE];
};

/* The step of the quantiser and the place on the curves of each rate. */
float rate_step(unsigned rate);
float rate_place(unsigned rate);
/*
 * The width of the stochastic rounding, as a share of a step. Over half a step it still changes one in eight of the
 * latents that are not zero from write to write, and costs half a decibel less than over a whole one; the coarsest rates,
 * which are for hiding, get all of it.
 */
float rate_dither(unsigned rate);

#define CONTEXTS 8
/* The training's entropy model: mean magnitude of a latent in its context, as a decaying average. */
struct magnitudes {
    float sum[LATENTS][CONTEXTS];
    float count[LATENTS][CONTEXTS];
};

struct net_options {
    bool quantised; /* weights arrive rounded to the integer grid, and hidden values are rounded too */
    bool train_encrypter;
    float lambda; /* weight of a bit, in units of q^2 */
    /* Not NULL: CELLS rows of given latents; the Encrypter is then neither run nor trained. */
    const float (*latents)[LATENTS];
};

struct crop_result {
    double loss;
    double squared_error; /* RGB, summed over the crop */
    double bits;
};

struct workspace;
enum lethe_err workspace_new(struct workspace **out) LETHE_MUST_CHECK;
void workspace_free(struct workspace *space);

void net_transpose(const struct params *p, struct transposed *out);

/*
 * One crop forward and backward. pixels are CELLS * PIXELS bytes, block by block. gradient is overwritten
 * (its Encrypter part is left alone when that is not trained). seen receives the magnitudes of this crop.
 */
void net_crop(struct workspace *space, lethe_gemm_fn gemm, const struct params *p,
              const struct transposed *pt, const struct net_options *options, const struct magnitudes *model,
              unsigned rate, const uint8_t *pixels, uint64_t seed, struct params *gradient,
              struct magnitudes *seen, struct crop_result *result);

/* SplitMix64 (Steele, Lea and Flood, 2014), the trainer's only source of chance. */
static inline uint64_t mix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline float mix_unit(uint64_t *state)
{
    return (float)(mix64(state) >> 40) * (1.0f / 16777216.0f);
}

#endif
