/* SPDX-License-Identifier: MIT */
#define LANES 16
#define VECTORS 3
#define ROWS 8
#define GEMM_NAME lethe_gemm_avx512
#include "engine/train/gemm_body.h"
