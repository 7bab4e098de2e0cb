/* SPDX-License-Identifier: MIT */
/* Samples of 16 bits in the fast mode. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* most of it is loops of independent sums: worth vectors, which -O2 leaves out */
#endif

#define FAST(name) fast16_##name
#define FAST_ROWS_OF fast_rows16
#define FAST_SAMPLE int32_t
#define FAST_MAGNITUDE uint32_t
#define FAST_SUM int64_t
#define FAST_WRAP uint64_t
#define FAST_SHIFT 6
#define FAST_ENCODE lethe_fast16_encode
#define FAST_DECODE lethe_fast16_decode
#include "residual_samples_fast_body.h"
