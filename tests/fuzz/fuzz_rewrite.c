/* SPDX-License-Identifier: MIT */
/*
 * Picture files, hostile, in whose clothes another picture is put: metadata is walked, embedded pictures are redrawn in
 * place, and what comes out must be a picture of the same size again. Also the views, and redrawing of any bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "lethe/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_picture(struct lethe_raster *picture)
{
    if (lethe_raster_init(picture, 40, 30, 3, 8)) {
        abort();
    }
    for (size_t i = 0; i < 40 * 30; i++) {
        picture->planes[0][i] = i % 40;
        picture->planes[1][i] = i / 30;
    }
}

static void rewrite_jpeg(const uint8_t *data, size_t size, const struct lethe_image_limits *limits,
                         const struct lethe_raster *picture)
{
    struct lethe_buf recipe = {0}, out = {0}, again = {0};
    struct lethe_jpeg jpeg, second;
    enum lethe_reason reason;

    if (lethe_jpeg_parse(data, size, limits, &jpeg, &recipe, &reason)) {
        return;
    }
    for (unsigned c = 0; c < jpeg.components; c++) { /* what 8-bit tables have codes for */
        size_t count = (size_t)jpeg.component[c].blocks_w * jpeg.component[c].blocks_h * 64;

        for (size_t i = 0; i < count; i++) {
            int value = jpeg.component[c].coefs[i];

            jpeg.component[c].coefs[i] = (int16_t)(value < -1023 ? -1023 : value > 1023 ? 1023 : value);
        }
    }
    if (!lethe_jpeg_rewrite(data, size, &jpeg, picture, &out)) {
        if (lethe_jpeg_parse(out.data, out.len, limits, &second, &again, &reason) || second.width != jpeg.width ||
            second.height != jpeg.height || second.components != jpeg.components || second.colour != jpeg.colour) {
            abort();
        }
        lethe_jpeg_release(&second);
    }
    lethe_jpeg_release(&jpeg);
    lethe_buf_release(&recipe);
    lethe_buf_release(&out);
    lethe_buf_release(&again);
}

static void rewrite_png(const uint8_t *data, size_t size, const struct lethe_image_limits *limits,
                        const struct lethe_raster *picture)
{
    struct lethe_buf recipe = {0}, out = {0}, again = {0};
    struct lethe_raster raster, second;
    enum lethe_reason reason;

    if (lethe_png_parse(data, size, limits, &raster, &recipe, &reason)) {
        return;
    }
    if (!lethe_png_rewrite(data, size, &raster, picture, &out)) {
        if (lethe_png_parse(out.data, out.len, limits, &second, &again, &reason) || second.width != raster.width ||
            second.height != raster.height || second.channels != raster.channels || second.depth != raster.depth) {
            abort();
        }
        lethe_raster_release(&second);
    }
    lethe_raster_release(&raster);
    lethe_buf_release(&recipe);
    lethe_buf_release(&out);
    lethe_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lethe_image_limits limits = {1u << 14, 1u << 20, 0};
    struct lethe_raster picture;
    struct lethe_buf view = {0};
    uint8_t *copy = malloc(size ? size : 1);
    bool open;

    if (!copy) {
        return 0;
    }
    make_picture(&picture);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    if (lethe_redraw(copy, size, &picture, &open)) {
        abort();
    }
    free(copy);
    if (size > 8 && (lethe_jpeg_view(data, size, &view) || lethe_png_view(data, size, &view))) {
        abort();
    }
    rewrite_jpeg(data, size, &limits, &picture);
    rewrite_png(data, size, &limits, &picture);
    lethe_raster_release(&picture);
    lethe_buf_release(&view);
    return 0;
}
