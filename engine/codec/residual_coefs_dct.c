/* SPDX-License-Identifier: MIT */
/*
 * The 8x8 forward DCT of ITU-T T.81, A.3.3, in integers: even and odd halves of each row and column by their
 * cosines in fixed point. It need not be fast to the last cycle, but the same everywhere.
 */
#include "engine/codec/residual_coefs.h"

#define BITS 12

/* cos(k pi / 16) / 2 in units of 2^-BITS; C4 also stands for the 1 / sqrt(8) of frequency 0. */
#define C1 2009
#define C2 1892
#define C3 1703
#define C4 1448
#define C5 1138
#define C6 784
#define C7 400

/* out[u * step] = sum of in[x] cos((2x + 1) u pi / 16) c(u) / 2, shifted down. */
static inline void transform(const int32_t in[8], int32_t *out, int step, int shift)
{
    int32_t s0 = in[0] + in[7], s1 = in[1] + in[6], s2 = in[2] + in[5], s3 = in[3] + in[4];
    int32_t d0 = in[0] - in[7], d1 = in[1] - in[6], d2 = in[2] - in[5], d3 = in[3] - in[4];
    int32_t a = s0 + s3, b = s1 + s2, c = s0 - s3, d = s1 - s2, half = 1 << (shift - 1);

    out[0 * step] = (C4 * (a + b) + half) >> shift;
    out[4 * step] = (C4 * (a - b) + half) >> shift;
    out[2 * step] = (C2 * c + C6 * d + half) >> shift;
    out[6 * step] = (C6 * c - C2 * d + half) >> shift;
    out[1 * step] = (C1 * d0 + C3 * d1 + C5 * d2 + C7 * d3 + half) >> shift;
    out[3 * step] = (C3 * d0 - C7 * d1 - C1 * d2 - C5 * d3 + half) >> shift;
    out[5 * step] = (C5 * d0 - C1 * d1 + C7 * d2 + C3 * d3 + half) >> shift;
    out[7 * step] = (C7 * d0 - C5 * d1 + C3 * d2 - C1 * d3 + half) >> shift;
}

void lethe_fdct(const uint8_t *samples, size_t stride, int32_t out[64])
{
    int32_t rows[64];

    /* |sample - 128| <= 128; a row's values in sixteenths are below 128 * sqrt(8) * 16 < 2^13, its sums below
     * 2^25. */
    for (int y = 0; y < 8; y++) {
        int32_t in[8];

        for (int x = 0; x < 8; x++) {
            in[x] = samples[(size_t)y * stride + (size_t)x] - 128;
        }
        transform(in, rows + y, 8, BITS - 4); /* transposed */
    }
    /* Below 2^13 * 8 * C1 < 2^28. Back to eighths. */
    for (int u = 0; u < 8; u++) {
        transform(rows + 8 * u, out + u, 8, BITS + 1);
    }
}
