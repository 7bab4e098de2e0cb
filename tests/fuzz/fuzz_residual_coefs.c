/* SPDX-License-Identifier: MIT */
/* Any bytes as a stream of coefficients: refused or decoded, never out of bounds. Eight bytes give the shape.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/residual.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned components[4] = {1, 3, 4, 3};
    struct lethe_jpeg jpeg = {0};
    uint8_t *xhat[4] = {0};

    if (size < 8) {
        return 0;
    }
    jpeg.components = components[data[2] % 4];
    for (unsigned c = 0; c < jpeg.components; c++) {
        struct lethe_jpeg_component *k = &jpeg.component[c];
        size_t blocks;

        k->h = 1 + data[4 + c] % 4;
        k->v = 1 + data[4 + c] / 4 % 4;
        k->blocks_w = k->real_w = (1 + data[0] % 3) * k->h;
        k->blocks_h = k->real_h = (1 + data[1] % 24) * k->v;
        for (unsigned i = 0; i < 64; i++) {
            k->quant[i] = (uint16_t)(data[3] * i);
        }
        blocks = (size_t)k->blocks_w * k->blocks_h;
        k->coefs = calloc(blocks * 64, sizeof *k->coefs);
        xhat[c] = malloc(blocks * 64);
        if (!k->coefs || !xhat[c]) {
            abort();
        }
        memset(xhat[c], data[3], blocks * 64);
    }
    (void)!lethe_residual_coefs_decode(data + 8, size - 8, (const uint8_t *const *)xhat, NULL, &jpeg);
    for (unsigned c = 0; c < 4; c++) {
        free(jpeg.component[c].coefs);
        free(xhat[c]);
    }
    return 0;
}
