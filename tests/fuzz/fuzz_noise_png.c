/* SPDX-License-Identifier: MIT */
/* A picture from a stranger: refused, or the one form that its pixels have. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lethe_buf pixels = {0}, again = {0};
    size_t capacity;

    if (!lethe_noise_png_unwrap(data, size, &pixels) &&
        (lethe_noise_png_wrap(pixels.data, pixels.len, &again) || again.len != size ||
         memcmp(again.data, data, size) != 0)) {
        abort();
    }
    /* The input as pixels, and its own picture damaged at a place that it names. */
    lethe_buf_reset(&pixels);
    lethe_buf_reset(&again);
    lethe_buf_put(&pixels, data, size);
    capacity = (size_t)lethe_noise_png_capacity(size);
    if (lethe_buf_resize(&pixels, capacity) || lethe_noise_png_wrap(pixels.data, pixels.len, &again)) {
        abort();
    }
    if (size >= 4) {
        size_t at = lethe_get_u32(data) % again.len;

        again.data[at] ^= 1;
        lethe_buf_reset(&pixels);
        /* Only a pixel's change could pass, and its checksums then fail. */
        if (lethe_noise_png_unwrap(again.data, again.len, &pixels) != LETHE_ERR_INTEGRITY) {
            abort();
        }
    }
    lethe_buf_release(&pixels);
    lethe_buf_release(&again);
    return 0;
}
