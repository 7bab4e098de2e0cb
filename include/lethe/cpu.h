/* SPDX-License-Identifier: MIT */
/*
 * What the processor can do, asked once. LETHE_CPU=scalar in the environment turns every extension
 * off (tests).
 */
#ifndef LETHE_CPU_H
#define LETHE_CPU_H

#include <stdbool.h>

struct lethe_cpu {
    bool avx2;
    bool avx512_vnni; /* AVX-512 F, BW, VL and VNNI together */
    bool avx_vnni;
    bool neon;
};

/* Static storage, filled on the first call; thread-safe. */
const struct lethe_cpu *lethe_cpu(void);

#endif
