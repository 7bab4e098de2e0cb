/* SPDX-License-Identifier: MIT */
/* Sample planes, limits, and the names of the reasons. */
#include "lethe/image.h"

#include <stdlib.h>

const struct lethe_image_limits lethe_image_limits_default = {
    .max_pixels = 200000000u,
    .max_bytes = (uint64_t)1 << 30,
    .max_memory = ((uint64_t)1 << 30) - (96u << 20), /* the rest is for what does not grow with a picture */
};

/* Of the file itself, its copy that is rebuilt, and its parts. */
#define FILE_COPIES 3u

uint64_t lethe_png_memory(uint64_t pixels, unsigned channels, unsigned depth, size_t file_len)
{
    unsigned a_pixel = depth == 16 ? 8 * channels + 2 : 6 * channels + 1;

    a_pixel += depth < 8 ? 4 : 0;                     /* values beside samples */
    a_pixel += channels % 2 == 0 && depth < 16 ? 5 : 0; /* a group of latents for alpha */
    return pixels * a_pixel + (uint64_t)file_len * FILE_COPIES;
}

uint64_t lethe_jpeg_memory(uint64_t pixels, uint64_t blocks, size_t file_len)
{
    return pixels * 9 + blocks * 64 * 4 + (uint64_t)file_len * FILE_COPIES;
}

const char *lethe_reason_name(enum lethe_reason reason)
{
    switch (reason) {
    case LETHE_REASON_NONE:
        return "none";
    case LETHE_REASON_NO_PICTURE:
        return "no-picture";
    case LETHE_REASON_MALFORMED:
        return "malformed";
    case LETHE_REASON_KIND:
        return "kind";
    case LETHE_REASON_TOO_LARGE:
        return "too-large";
    case LETHE_REASON_DEFLATE:
        return "deflate";
    case LETHE_REASON_COST:
        return "cost";
    case LETHE_REASON_DIFFERS:
        return "differs";
    case LETHE_REASON_COUNT:
        break;
    }
    return "unknown";
}

void lethe_raster_release(struct lethe_raster *raster)
{
    for (unsigned c = 0; c < 4; c++) {
        free(raster->planes[c]);
    }
    *raster = (struct lethe_raster){0};
}

enum lethe_err lethe_raster_init(struct lethe_raster *raster, uint32_t width, uint32_t height,
                                 unsigned channels, unsigned depth)
{
    struct lethe_raster made = {.width = width, .height = height, .channels = channels, .depth = depth};
    size_t pixels, bytes;

    *raster = (struct lethe_raster){0};
    if (width == 0 || height == 0 || channels < 1 || channels > 4 || (depth != 8 && depth != 16) ||
        !lethe_mul_size(width, height, &pixels) || !lethe_mul_size(pixels, sizeof(uint16_t), &bytes)) {
        return LETHE_ERR_ARG;
    }
    for (unsigned c = 0; c < channels; c++) {
        made.planes[c] = calloc(pixels, sizeof(uint16_t));
        if (!made.planes[c]) {
            lethe_raster_release(&made);
            return LETHE_ERR_NOMEM;
        }
    }
    *raster = made;
    return LETHE_OK;
}
