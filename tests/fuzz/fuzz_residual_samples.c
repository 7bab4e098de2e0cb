/* SPDX-License-Identifier: MIT */
/* Any bytes as a stream of samples: refused or decoded, never out of bounds. Five bytes give the shape. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/residual.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lethe_raster raster = {0};
    uint8_t *xhat[4] = {0};
    size_t samples;

    if (size < 5) {
        return 0;
    }
    raster.width = 1 + data[0] % 80;
    raster.height = 1 + data[1] % 200;
    raster.channels = 1 + data[2] % 4;
    raster.depth = data[3] % 2 ? 16 : 8;
    samples = (size_t)raster.width * raster.height;
    for (unsigned c = 0; c < raster.channels; c++) {
        raster.planes[c] = calloc(samples, sizeof(uint16_t));
        xhat[c] = malloc(samples);
        if (!raster.planes[c] || !xhat[c]) {
            abort();
        }
        memset(xhat[c], data[4], samples);
    }
    (void)!lethe_residual_samples_decode(data + 5, size - 5, (const uint8_t *const *)xhat, NULL, &raster);
    for (unsigned c = 0; c < 4; c++) {
        free(raster.planes[c]);
        free(xhat[c]);
    }
    return 0;
}
