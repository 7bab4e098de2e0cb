/* SPDX-License-Identifier: MIT */
#include "engine/train/gemm.h"

#include <math.h>

#include "lethe/cpu.h"

void lethe_gemm_scalar(const struct lethe_gemm *g)
{
    for (size_t i = 0; i < g->m; i++) {
        float *c = g->c + i * g->c_row;

        for (size_t j = 0; !g->add && j < g->n; j++) {
            c[j] = 0;
        }
        for (size_t p = 0; p < g->k; p++) {
            float a = g->a[i * g->a_row + p * g->a_col];
            const float *b = g->b + p * g->b_row;

            for (size_t j = 0; j < g->n; j++) {
                c[j] = fmaf(a, b[j], c[j]);
            }
        }
    }
}

lethe_gemm_fn lethe_gemm_best(void)
{
#if defined(__x86_64__)
    if (lethe_cpu()->avx512_vnni) {
        return lethe_gemm_avx512;
    }
    if (lethe_cpu()->avx2 && __builtin_cpu_supports("fma")) {
        return lethe_gemm_avx2;
    }
#endif
    return lethe_gemm_scalar;
}
