/* SPDX-License-Identifier: MIT */
/*
 * JPEG recipes: any bytes as a file (taken apart, and rebuilt to no more bytes than it had), and as a recipe.
 * The first byte chooses.
 */
#include <stdlib.h>
#include <string.h>

#include "lethe/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lethe_image_limits limits = {1u << 16, 1u << 20, 0};
    struct lethe_jpeg jpeg;
    struct lethe_buf recipe = {0}, out = {0};
    enum lethe_reason reason;

    if (size < 1) {
        return 0;
    }
    if (data[0] & 1) {
        if (lethe_jpeg_shape(data + 1, size - 1, &limits, &jpeg) == LETHE_OK) {
            if (lethe_jpeg_rebuild(&jpeg, data + 1, size - 1, 1u << 16, &out) == LETHE_OK &&
                out.len > 1u << 16) {
                abort();
            }
            lethe_jpeg_release(&jpeg);
        }
    } else if (lethe_jpeg_parse(data + 1, size - 1, &limits, &jpeg, &recipe, &reason) == LETHE_OK) {
        struct lethe_jpeg shape;

        if (lethe_jpeg_rebuild(&jpeg, recipe.data, recipe.len, size - 1, &out) == LETHE_OK &&
            out.len > size - 1) {
            abort();
        }
        if (lethe_jpeg_shape(recipe.data, recipe.len, &limits, &shape) != LETHE_OK ||
            shape.components != jpeg.components || shape.width != jpeg.width) {
            abort();
        }
        lethe_jpeg_release(&shape);
        lethe_jpeg_release(&jpeg);
    }
    lethe_buf_release(&recipe);
    lethe_buf_release(&out);
    return 0;
}
