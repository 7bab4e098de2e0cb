/* SPDX-License-Identifier: MIT */
#define LANES 8
#define VECTORS 2
#define ROWS 6
#define GEMM_NAME lethe_gemm_avx2
#include "engine/train/gemm_body.h"
