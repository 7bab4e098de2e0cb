/* SPDX-License-Identifier: MIT */
/*
 * The one forward DCT of this project (T.81 annex A.3.3), separable, in 32-bit integers. Constants are
 * round(4096 * cos(k * pi / 16)), and 4096 * sqrt(1 / 2) for the DC; rows first, kept to 1/8, then columns. Inputs are
 * within 128, so a sum of the first pass is below 8 * 128 * 4096 = 2^22, one of the second below
 * 8 * 4096 * 4096 = 2^27, and half of it fits.
 */
#include "jpeg_private.h"

enum { C1 = 4017, C2 = 3784, C3 = 3406, C4 = 2896, C5 = 2276, C6 = 1567, C7 = 799 };

static const int16_t basis[8][8] = {
    {C4, C4, C4, C4, C4, C4, C4, C4},     {C1, C3, C5, C7, -C7, -C5, -C3, -C1},
    {C2, C6, -C6, -C2, -C2, -C6, C6, C2}, {C3, -C7, -C1, -C5, C5, C1, C7, -C3},
    {C4, -C4, -C4, C4, C4, -C4, -C4, C4}, {C5, -C1, C7, C3, -C3, -C7, C1, -C5},
    {C6, -C2, C2, -C6, -C6, C2, -C2, C6}, {C7, -C5, C3, -C1, C1, -C3, C5, -C7},
};

void lethe_jpeg_fdct(const uint8_t *samples, size_t stride, const uint16_t quant[64], int16_t coefs[64])
{
    int work[8][8]; /* by row of samples, column of coefficients; 8 times too large */

    for (unsigned y = 0; y < 8; y++) {
        for (unsigned u = 0; u < 8; u++) {
            int sum = 0;

            for (unsigned x = 0; x < 8; x++) {
                sum += basis[u][x] * (samples[y * stride + x] - 128);
            }
            work[y][u] = (sum + 512) >> 10; /* a basis is 2 * 4096 too large */
        }
    }
    for (unsigned v = 0; v < 8; v++) {
        for (unsigned u = 0; u < 8; u++) {
            unsigned i = v * 8 + u;
            int64_t step = (int64_t)quant[i] << 16, value = 0, magnitude;
            int most = i ? 1023 : 1024, level;

            for (unsigned y = 0; y < 8; y++) {
                value += basis[v][y] * work[y][u];
            }
            magnitude = ((value < 0 ? -value : value) + step / 2) / step;
            level = magnitude > most ? most : (int)magnitude; /* what a Huffman table of 8 bits has codes for */
            coefs[i] = (int16_t)(value < 0 ? -level : level);
        }
    }
}
