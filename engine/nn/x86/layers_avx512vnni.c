/* SPDX-License-Identifier: MIT */
/* VNNI as processors with AVX-512 have it: 32 vector registers, so tiles of four cells. */
#define DOT_BYTES(sum, x, w) _mm256_dpbusd_epi32(sum, x, w)
#define DOT_WORDS(sum, x, w) _mm256_dpwssd_epi32(sum, x, w)
#define CELLS_BY_FIVE 4
#define CELLS_BY_FOUR 4
#include "engine/nn/x86/layers_vnni.h"

const struct lethe_nn_kernels lethe_nn_avx512vnni = {
    .name = "avx512vnni",
    .bytes = bytes_vnni,
    .words = words_vnni,
    .requant = lethe_nn_requant_avx2,
    .finish = lethe_nn_finish_avx2,
};
