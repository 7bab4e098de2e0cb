/* SPDX-License-Identifier: MIT */
/*
 * Integer layers over cells (8x8 blocks of a picture). The scalar versions are the specification; every other
 * version gives the same bits for all inputs within the stated bounds.
 *
 * Hidden values and other 8-bit inputs lie in [0, 127], 8-bit weights in [-63, 63]. So a product is at most
 * 8001, the sum of four of them 32004: a kernel may add four in 16 bits (two pairwise multiply-adds). With at
 * most 65536 inputs an accumulator stays below 2^30.
 */
#ifndef LETHE_NN_LAYERS_H
#define LETHE_NN_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LETHE_NN_BYTE_MAX 127

/*
 * Dot products of bytes. Cell x reads, in each of segments (1 or 3) rows, the len bytes at in[s] + x *
 * stride: a 1x1 convolution with one segment, or a 3x3 one with three segments of three cells each. weights:
 * [segment][len / 4][outs][4]. out: [cell][outs]. len is a multiple of 4, outs of 8.
 */
struct lethe_nn_bytes {
    const uint8_t *in[3];
    unsigned segments;
    size_t len;
    size_t stride;
    const int8_t *weights;
    size_t outs;
    size_t cells;
    int32_t *out;
};

/*
 * Dot products of 16-bit numbers: in [cell][len], weights [len / 2][outs][2], out [cell][outs]. len is a
 * multiple of 2, outs of 8. The caller bounds the inputs so that all partial sums fit 32 bits.
 */
struct lethe_nn_words {
    const int16_t *in;
    size_t len;
    const int16_t *weights;
    size_t outs;
    size_t cells;
    int32_t *out;
};

/*
 * Accumulators to hidden values: out = min(127, (min(max(acc + bias, 0), limit) * mult + 2^22) / 2^23), with
 * limit = (2^31 - 1 - 2^22) / mult, so that the product fits 31 bits. |acc| < 2^30, |bias| <= 2^30,
 * 1 <= mult <= 2^30. channels is a multiple of 8.
 */
struct lethe_nn_requant {
    const int32_t *acc; /* [cell][channels] */
    const int32_t *mult;
    const int32_t *bias;
    size_t channels;
    size_t cells;
    uint8_t *out; /* [cell][channels] */
};

/*
 * The end of the Decrypter: out = clip8((linear + bias + (conv * mult >> shift)) >> bits), arithmetic shifts.
 * conv may be NULL (the linear path alone). |linear| < 2^28, |bias| < 2^28, |conv * mult| < 2^31, shift >= 3:
 * the sum is below 2^28 + 2^28 + 2^28. outs is a multiple of 8.
 */
struct lethe_nn_finish {
    const int32_t *linear; /* [cell][outs] */
    const int32_t *conv;
    const int32_t *bias;
    const int32_t *mult;
    unsigned shift;
    unsigned bits;
    size_t outs;
    size_t cells;
    uint8_t *out; /* [cell][outs] */
};

struct lethe_nn_kernels {
    const char *name;
    void (*bytes)(const struct lethe_nn_bytes *job);
    void (*words)(const struct lethe_nn_words *job);
    void (*requant)(const struct lethe_nn_requant *job);
    void (*finish)(const struct lethe_nn_finish *job);
};

extern const struct lethe_nn_kernels lethe_nn_scalar;
#if defined(__x86_64__)
extern const struct lethe_nn_kernels lethe_nn_avx2;
extern const struct lethe_nn_kernels lethe_nn_avxvnni;
extern const struct lethe_nn_kernels lethe_nn_avx512vnni;
#elif defined(__aarch64__)
extern const struct lethe_nn_kernels lethe_nn_neon;
#endif

/*
 * The fastest table for this processor that has just given the scalar one's bits here; one that has not is logged and
 * passed over. LETHE_CPU=NAME in the environment asks for the table of that name.
 */
const struct lethe_nn_kernels *lethe_nn_best(void);
/* All that this processor can run, the fastest first, the scalar one last, then NULL. Static. */
const struct lethe_nn_kernels *const *lethe_nn_supported(void);
/* Whether the table gives the scalar one's bits for some inputs, random and extreme. False too without memory. */
bool lethe_nn_agrees(const struct lethe_nn_kernels *table);

/* From [out][in] to the orders above. */
void lethe_nn_pack_bytes(const int8_t *weights, size_t outs, size_t ins, int8_t *packed);
void lethe_nn_pack_words(const int16_t *weights, size_t outs, size_t ins, int16_t *packed);

#endif
