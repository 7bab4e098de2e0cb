/* SPDX-License-Identifier: MIT */
/* A PNG that parses must come back byte for byte; a recipe (first byte odd: of a small raster) must do no
 * harm. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const struct lethe_image_limits limits = {.max_pixels = 1u << 16, .max_bytes = 1u << 20};

static void try_recipe(const uint8_t *bytes, size_t len)
{
    struct lethe_raster raster;
    struct lethe_buf out = {0};

    if (len < 3 || lethe_raster_init(&raster, 1 + bytes[0] % 64u, 1 + bytes[1] % 64u, 1 + bytes[2] % 4u,
                                     bytes[2] & 128 ? 16 : 8)) {
        return;
    }
    if (lethe_png_rebuild(&raster, bytes + 3, len - 3, 1u << 16, &out) == LETHE_OK && out.len > 1u << 16) {
        abort();
    }
    lethe_buf_release(&out);
    lethe_raster_release(&raster);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct lethe_raster raster;
    struct lethe_buf recipe, out = {0};
    enum lethe_reason reason;

    if (len > 0 && bytes[0] == 1) {
        try_recipe(bytes + 1, len - 1);
        return 0;
    }
    if (lethe_png_parse(bytes, len, &limits, &raster, &recipe, &reason)) {
        return 0;
    }
    if (lethe_png_rebuild(&raster, recipe.data, recipe.len, len, &out) || out.len != len ||
        memcmp(out.data, bytes, len) != 0) {
        abort();
    }
    lethe_buf_release(&out);
    lethe_buf_release(&recipe);
    lethe_raster_release(&raster);
    return 0;
}
