/* SPDX-License-Identifier: MIT */
/*
 * The tiled matrix product, included by files that are compiled for one vector width each. They define LANES
 * (floats in a vector), VECTORS (along n) and ROWS of a tile, and GEMM_NAME. The tile's accumulators stay in
 * registers.
 */
#include "engine/train/gemm.h"

#include <string.h>

/* In a struct, because compilers disagree on arrays of vectors without one. */
struct lanes {
    float v __attribute__((vector_size(4 * LANES)));
};

static inline __attribute__((always_inline)) void tile(const struct lethe_gemm *g, size_t i, size_t j,
                                                       int rows, int vectors)
{
    struct lanes acc[ROWS][VECTORS];
    const float *a = g->a + i * g->a_row;
    const float *b = g->b + j;
    float *c = g->c + i * g->c_row + j;

#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            if (g->add) {
                memcpy(&acc[r][v], c + (size_t)r * g->c_row + (size_t)v * LANES, sizeof acc[r][v]);
            } else {
                memset(&acc[r][v], 0, sizeof acc[r][v]);
            }
        }
    }
    for (size_t p = 0; p < g->k; p++) {
        struct lanes row[VECTORS];

#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            memcpy(&row[v], b + (size_t)v * LANES, sizeof row[v]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            float x = a[(size_t)r * g->a_row];

#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) {
                acc[r][v].v += x * row[v].v;
            }
        }
        a += g->a_col;
        b += g->b_row;
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            memcpy(c + (size_t)r * g->c_row + (size_t)v * LANES, &acc[r][v], sizeof acc[r][v]);
        }
    }
}

void GEMM_NAME(const struct lethe_gemm *g)
{
    size_t wide = VECTORS * LANES;
    size_t j = 0;

    for (; j + wide <= g->n; j += wide) {
        size_t i = 0;

        for (; i + ROWS <= g->m; i += ROWS) {
            tile(g, i, j, ROWS, VECTORS);
        }
        for (; i < g->m; i++) {
            tile(g, i, j, 1, VECTORS);
        }
    }
    for (; j < g->n; j += LANES) {
        size_t i = 0;

        for (; i + ROWS <= g->m; i += ROWS) {
            tile(g, i, j, ROWS, 1);
        }
        for (; i < g->m; i++) {
            tile(g, i, j, 1, 1);
        }
    }
}
