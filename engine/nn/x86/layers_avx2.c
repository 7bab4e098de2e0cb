/* SPDX-License-Identifier: MIT */
/*
 * The layers on AVX2. A vector holds eight outputs; an input of four bytes (or two words) is broadcast to all
 * of them. Within the bounds of layers.h pmaddubsw does not saturate: two products make at most 16002, and
 * the sum of two such pairs 32004. So two groups of four inputs share one widening pmaddwd.
 */
#include "engine/nn/x86/layers_avx2.h"

#include <immintrin.h>
#include <string.h>

static inline __m256i broadcast4(const void *bytes)
{
    int32_t four;

    memcpy(&four, bytes, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline __m256i load(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

/* cells (1 to 2) by vectors (1 to 5) outputs, whose accumulators stay in registers. */
static inline __attribute__((always_inline)) void bytes_tile(const struct lethe_nn_bytes *job, size_t cell,
                                                             size_t o, int cells, int vectors)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int8_t *weights = job->weights + 4 * o;
    size_t step = 4 * job->outs;
    __m256i acc[2][5];

#pragma GCC unroll 2
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++) {
            acc[c][v] = _mm256_setzero_si256();
        }
    }
    for (unsigned s = 0; s < job->segments; s++) {
        const uint8_t *in = job->in[s] + cell * job->stride;
        size_t i = 0;

        for (; i + 8 <= job->len; i += 8) {
#pragma GCC unroll 2
            for (int c = 0; c < cells; c++) {
                __m256i x0 = broadcast4(in + (size_t)c * job->stride + i);
                __m256i x1 = broadcast4(in + (size_t)c * job->stride + i + 4);

#pragma GCC unroll 5
                for (int v = 0; v < vectors; v++) {
                    __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(x0, load(weights + 32 * v)),
                                                   _mm256_maddubs_epi16(x1, load(weights + step + 32 * v)));

                    acc[c][v] = _mm256_add_epi32(acc[c][v], _mm256_madd_epi16(sum, ones));
                }
            }
            weights += 2 * step;
        }
        if (i < job->len) {
#pragma GCC unroll 2
            for (int c = 0; c < cells; c++) {
                __m256i x = broadcast4(in + (size_t)c * job->stride + i);

#pragma GCC unroll 5
                for (int v = 0; v < vectors; v++) {
                    __m256i sum = _mm256_maddubs_epi16(x, load(weights + 32 * v));

                    acc[c][v] = _mm256_add_epi32(acc[c][v], _mm256_madd_epi16(sum, ones));
                }
            }
            weights += step;
        }
    }
#pragma GCC unroll 2
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++) {
            _mm256_storeu_si256((__m256i *)(job->out + (cell + (size_t)c) * job->outs + o + 8 * (size_t)v),
                                acc[c][v]);
        }
    }
}

static void bytes_avx2(const struct lethe_nn_bytes *job)
{
    size_t o = 0;

    for (; o + 40 <= job->outs; o += 40) {
        size_t cell = 0;

        for (; cell + 2 <= job->cells; cell += 2) {
            bytes_tile(job, cell, o, 2, 5);
        }
        if (cell < job->cells) {
            bytes_tile(job, cell, o, 1, 5);
        }
    }
    for (; o + 32 <= job->outs; o += 32) {
        size_t cell = 0;

        for (; cell + 2 <= job->cells; cell += 2) {
            bytes_tile(job, cell, o, 2, 4);
        }
        if (cell < job->cells) {
            bytes_tile(job, cell, o, 1, 4);
        }
    }
    for (; o < job->outs; o += 8) {
        for (size_t cell = 0; cell < job->cells; cell++) {
            bytes_tile(job, cell, o, 1, 1);
        }
    }
}

static inline __attribute__((always_inline)) void words_tile(const struct lethe_nn_words *job, size_t cell,
                                                             size_t o, int cells, int vectors)
{
    const int16_t *in = job->in + cell * job->len;
    const int16_t *weights = job->weights + 2 * o;
    __m256i acc[4][3];

#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            acc[c][v] = _mm256_setzero_si256();
        }
    }
    for (size_t i = 0; i < job->len; i += 2) {
#pragma GCC unroll 4
        for (int c = 0; c < cells; c++) {
            __m256i x = broadcast4(in + (size_t)c * job->len + i);

#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                acc[c][v] = _mm256_add_epi32(acc[c][v], _mm256_madd_epi16(x, load(weights + 16 * v)));
            }
        }
        weights += 2 * job->outs;
    }
#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            _mm256_storeu_si256((__m256i *)(job->out + (cell + (size_t)c) * job->outs + o + 8 * (size_t)v),
                                acc[c][v]);
        }
    }
}

static void words_avx2(const struct lethe_nn_words *job)
{
    size_t o = 0;

    for (; o + 24 <= job->outs; o += 24) {
        size_t cell = 0;

        for (; cell + 4 <= job->cells; cell += 4) {
            words_tile(job, cell, o, 4, 3);
        }
        for (; cell < job->cells; cell++) {
            words_tile(job, cell, o, 1, 3);
        }
    }
    for (; o < job->outs; o += 8) {
        size_t cell = 0;

        for (; cell + 4 <= job->cells; cell += 4) {
            words_tile(job, cell, o, 4, 1);
        }
        for (; cell < job->cells; cell++) {
            words_tile(job, cell, o, 1, 1);
        }
    }
}

/* Eight values in [0, 255] of 32 bits to bytes. */
static inline void store_bytes(uint8_t *out, __m256i values)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));

    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
}

void lethe_nn_requant_avx2(const struct lethe_nn_requant *job)
{
    const __m256i half = _mm256_set1_epi32(1 << 22);
    const __m256i most = _mm256_set1_epi32(LETHE_NN_BYTE_MAX);

    for (size_t c = 0; c < job->channels; c += 8) {
        __m256i mult = load(job->mult + c);
        __m256i bias = load(job->bias + c);
        int32_t limits[8];
        __m256i limit;

        for (size_t i = 0; i < 8; i++) {
            limits[i] = (INT32_MAX - (1 << 22)) / job->mult[c + i];
        }
        limit = load(limits);
        for (size_t cell = 0; cell < job->cells; cell++) {
            __m256i value = _mm256_add_epi32(load(job->acc + cell * job->channels + c), bias);

            value = _mm256_min_epi32(_mm256_max_epi32(value, _mm256_setzero_si256()), limit);
            value = _mm256_srli_epi32(_mm256_add_epi32(_mm256_mullo_epi32(value, mult), half), 23);
            store_bytes(job->out + cell * job->channels + c, _mm256_min_epi32(value, most));
        }
    }
}

void lethe_nn_finish_avx2(const struct lethe_nn_finish *job)
{
    const __m128i shift = _mm_cvtsi32_si128((int)job->shift);
    const __m128i bits = _mm_cvtsi32_si128((int)job->bits);
    const __m256i most = _mm256_set1_epi32(255);

    for (size_t cell = 0; cell < job->cells; cell++) {
        for (size_t o = 0; o < job->outs; o += 8) {
            size_t at = cell * job->outs + o;
            __m256i value = _mm256_add_epi32(load(job->linear + at), load(job->bias + o));

            if (job->conv) {
                __m256i conv = _mm256_mullo_epi32(load(job->conv + at), load(job->mult + o));

                value = _mm256_add_epi32(value, _mm256_sra_epi32(conv, shift));
            }
            value = _mm256_max_epi32(_mm256_sra_epi32(value, bits), _mm256_setzero_si256());
            store_bytes(job->out + at, _mm256_min_epi32(value, most));
        }
    }
}

const struct lethe_nn_kernels lethe_nn_avx2 = {
    .name = "avx2",
    .bytes = bytes_avx2,
    .words = words_avx2,
    .requant = lethe_nn_requant_avx2,
    .finish = lethe_nn_finish_avx2,
};
