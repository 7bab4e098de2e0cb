/* SPDX-License-Identifier: MIT */
/* VNNI as processors without AVX-512 have it: 16 vector registers, so tiles of two cells. */
#define DOT_BYTES(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#define DOT_WORDS(sum, x, w) _mm256_dpwssd_avx_epi32(sum, x, w)
#define CELLS_BY_FIVE 2
#define CELLS_BY_FOUR 2
#include "engine/nn/x86/layers_vnni.h"

const struct lethe_nn_kernels lethe_nn_avxvnni = {
    .name = "avxvnni",
    .bytes = bytes_vnni,
    .words = words_vnni,
    .requant = lethe_nn_requant_avx2,
    .finish = lethe_nn_finish_avx2,
};
