/* SPDX-License-Identifier: MIT */
/* What a pair is in memory: its file, its weights, and the weights once more in the order that the kernels
 * read. */
#ifndef LETHE_CODEC_PAIR_H
#define LETHE_CODEC_PAIR_H

#include <stddef.h>
#include <stdint.h>

#include "engine/nn/layers.h"
#include "lethe/model.h"
#include "lethe/weights.h"

struct lethe_pair {
    struct lethe_id id;
    uint8_t *bytes;
    size_t len;
    struct lethe_weights weights;

    /* Packed for lethe_nn_kernels (see layers.h): alignment 64. */
    int16_t enc_linear[LETHE_PIXELS * LETHE_LATENTS] __attribute__((aligned(64)));
    int8_t enc_conv1[LETHE_PIXELS * LETHE_HIDDEN] __attribute__((aligned(64)));
    int8_t enc_conv2[9 * LETHE_HIDDEN * LETHE_HIDDEN] __attribute__((aligned(64)));
    int8_t enc_conv3[LETHE_HIDDEN * LETHE_LATENTS] __attribute__((aligned(64)));
    int32_t enc_mult[LETHE_LATENTS] __attribute__((aligned(64)));
    int16_t dec_linear[LETHE_RATES][LETHE_LATENTS * LETHE_PIXELS] __attribute__((aligned(64)));
    int8_t dec_conv1[9 * LETHE_DEC_INPUTS * LETHE_HIDDEN] __attribute__((aligned(64)));
    int8_t dec_conv2[9 * LETHE_HIDDEN * LETHE_HIDDEN] __attribute__((aligned(64)));
    int8_t dec_conv3[LETHE_HIDDEN * LETHE_PIXELS] __attribute__((aligned(64)));
    int32_t dec_bias[LETHE_RATES][LETHE_PIXELS] __attribute__((aligned(64)));
    int32_t dec_mult[LETHE_RATES][LETHE_PIXELS] __attribute__((aligned(64)));
};

/* Fill the packed members from the weights, which were checked. */
enum lethe_err lethe_encrypter_pack(struct lethe_pair *pair) LETHE_MUST_CHECK;
enum lethe_err lethe_decrypter_pack(struct lethe_pair *pair) LETHE_MUST_CHECK;

#endif
