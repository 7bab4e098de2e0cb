/* SPDX-License-Identifier: MIT */
/* Samples of 8 bits in the fast mode, for AVX2: the same text, another instruction set. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* most of it is loops of independent sums: worth vectors, which -O2 leaves out */
#endif

#define FAST(name) fast8v_##name
#define FAST_ROWS_OF fast_rows8
#define FAST_SAMPLE int16_t
#define FAST_MAGNITUDE uint16_t
#define FAST_SUM int32_t
#define FAST_WRAP uint32_t
#define FAST_SHIFT 0
#define FAST_ENCODE lethe_fast8_avx2_encode
#define FAST_DECODE lethe_fast8_avx2_decode
#define FAST_WIDE "engine/codec/x86/residual_samples_fast8_lanes.h"
#include "engine/codec/residual_samples_fast_body.h"
