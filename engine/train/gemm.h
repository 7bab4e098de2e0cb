/* SPDX-License-Identifier: MIT */
/*
 * The one matrix product that training needs: C (m x n) = or += A (m x k) B (k x n), single precision.
 * Every element is accumulated over k in order with fused multiply-adds, so all versions agree bit for bit
 * and a pair does not depend on the processor that trained it.
 */
#ifndef LETHE_TRAIN_GEMM_H
#define LETHE_TRAIN_GEMM_H

#include <stdbool.h>
#include <stddef.h>

struct lethe_gemm {
    size_t m, n, k; /* n is a multiple of 16 */
    const float *a; /* element (i, p) at a[i * a_row + p * a_col] */
    size_t a_row, a_col;
    const float *b; /* element (p, j) at b[p * b_row + j] */
    size_t b_row;
    float *c; /* element (i, j) at c[i * c_row + j] */
    size_t c_row;
    bool add; /* start from what C holds, instead of zero */
};

typedef void (*lethe_gemm_fn)(const struct lethe_gemm *g);

void lethe_gemm_scalar(const struct lethe_gemm *g);
void lethe_gemm_avx2(const struct lethe_gemm *g);
void lethe_gemm_avx512(const struct lethe_gemm *g);

/* The fastest version for this processor. */
lethe_gemm_fn lethe_gemm_best(void);

#endif
