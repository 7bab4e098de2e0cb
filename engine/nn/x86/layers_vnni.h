/* SPDX-License-Identifier: MIT */
/*
 * The dot products with VNNI, on vectors of eight outputs; included by the files that say which of the two encodings:
 *
 *   DOT_BYTES(sum, u8, s8)     adds four products of bytes to each 32-bit number (vpdpbusd)
 *   DOT_WORDS(sum, s16, s16)   adds two products of words (vpdpwssd)
 *
 * Neither saturates. Four times the cells of a weight's load share it, in registers.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/nn/layers.h"
#include "engine/nn/x86/layers_avx2.h"

static inline __m256i broadcast4(const void *bytes)
{
    int32_t four;

    memcpy(&four, bytes, sizeof four);
    return _mm256_set1_epi32(four);
}

/* cells (1 to 4) by vectors (1 to 5) outputs. */
static inline __attribute__((always_inline)) void bytes_tile(const struct lethe_nn_bytes *job, size_t cell,
                                                             size_t o, int cells, int vectors)
{
    const int8_t *weights = job->weights + 4 * o;
    __m256i acc[4][5];

#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++) {
            acc[c][v] = _mm256_setzero_si256();
        }
    }
    for (unsigned s = 0; s < job->segments; s++) {
        const uint8_t *in = job->in[s] + cell * job->stride;

        for (size_t i = 0; i < job->len; i += 4) {
            __m256i w[5];

#pragma GCC unroll 5
            for (int v = 0; v < vectors; v++) {
                w[v] = _mm256_loadu_si256((const __m256i *)(weights + 32 * v));
            }
#pragma GCC unroll 4
            for (int c = 0; c < cells; c++) {
                __m256i x = broadcast4(in + (size_t)c * job->stride + i);

#pragma GCC unroll 5
                for (int v = 0; v < vectors; v++) {
                    acc[c][v] = DOT_BYTES(acc[c][v], x, w[v]);
                }
            }
            weights += 4 * job->outs;
        }
    }
#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++) {
            _mm256_storeu_si256((__m256i *)(job->out + (cell + (size_t)c) * job->outs + o + 8 * (size_t)v),
                                acc[c][v]);
        }
    }
}

static inline __attribute__((always_inline)) void bytes_columns(const struct lethe_nn_bytes *job, size_t o,
                                                                int cells, int vectors)
{
    size_t cell = 0;

    for (; cell + (size_t)cells <= job->cells; cell += (size_t)cells) {
        bytes_tile(job, cell, o, cells, vectors);
    }
    for (; cell < job->cells; cell++) {
        bytes_tile(job, cell, o, 1, vectors);
    }
}

static void bytes_vnni(const struct lethe_nn_bytes *job)
{
    size_t o = 0;

    for (; o + 40 <= job->outs && (job->outs - o) % 32 != 0; o += 40) {
        bytes_columns(job, o, CELLS_BY_FIVE, 5);
    }
    for (; o + 32 <= job->outs; o += 32) {
        bytes_columns(job, o, CELLS_BY_FOUR, 4);
    }
    for (; o < job->outs; o += 8) {
        bytes_columns(job, o, 4, 1);
    }
}

static inline __attribute__((always_inline)) void words_tile(const struct lethe_nn_words *job, size_t cell,
                                                             size_t o, int cells, int vectors)
{
    const int16_t *in = job->in + cell * job->len;
    const int16_t *weights = job->weights + 2 * o;
    __m256i acc[4][4];

#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            acc[c][v] = _mm256_setzero_si256();
        }
    }
    for (size_t i = 0; i < job->len; i += 2) {
        __m256i w[4];

#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            w[v] = _mm256_loadu_si256((const __m256i *)(weights + 16 * v));
        }
#pragma GCC unroll 4
        for (int c = 0; c < cells; c++) {
            __m256i x = broadcast4(in + (size_t)c * job->len + i);

#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                acc[c][v] = DOT_WORDS(acc[c][v], x, w[v]);
            }
        }
        weights += 2 * job->outs;
    }
#pragma GCC unroll 4
    for (int c = 0; c < cells; c++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            _mm256_storeu_si256((__m256i *)(job->out + (cell + (size_t)c) * job->outs + o + 8 * (size_t)v),
                                acc[c][v]);
        }
    }
}

static inline __attribute__((always_inline)) void words_columns(const struct lethe_nn_words *job, size_t o,
                                                                int cells, int vectors)
{
    size_t cell = 0;

    for (; cell + (size_t)cells <= job->cells; cell += (size_t)cells) {
        words_tile(job, cell, o, cells, vectors);
    }
    for (; cell < job->cells; cell++) {
        words_tile(job, cell, o, 1, vectors);
    }
}

static void words_vnni(const struct lethe_nn_words *job)
{
    size_t o = 0;

    for (; o + 32 <= job->outs; o += 32) {
        words_columns(job, o, CELLS_BY_FOUR, 4);
    }
    for (; o < job->outs; o += 8) {
        words_columns(job, o, 4, 1);
    }
}
