/* SPDX-License-Identifier: MIT */
/*
 * The adapter to libpng: ordinary encoding and decoding for reports, tests and lossy output. Nothing that is
 * stored in a vault depends on it. libpng reports errors by longjmp; it never leaves this file.
 */
#include "lethe/image.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

static void on_error(png_structp png, png_const_charp message)
{
    (void)message;
    longjmp(*(jmp_buf *)png_get_error_ptr(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void write_bytes(png_structp png, png_bytep bytes, size_t len)
{
    lethe_buf_put(png_get_io_ptr(png), bytes, len);
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

struct source {
    const uint8_t *at;
    size_t left;
};

static void read_bytes(png_structp png, png_bytep bytes, size_t len)
{
    struct source *source = png_get_io_ptr(png);

    if (len > source->left) {
        png_error(png, "cut");
    }
    memcpy(bytes, source->at, len);
    source->at += len;
    source->left -= len;
}

static void pack_row(const struct lethe_raster *raster, uint32_t y, uint8_t *row)
{
    size_t base = (size_t)y * raster->width;

    for (size_t x = 0; x < raster->width; x++) {
        for (unsigned c = 0; c < raster->channels; c++) {
            uint16_t sample = raster->planes[c][base + x];

            if (raster->depth == 16) {
                *row++ = (uint8_t)(sample >> 8);
            }
            *row++ = (uint8_t)sample;
        }
    }
}

static void unpack_row(const uint8_t *row, uint32_t y, struct lethe_raster *raster)
{
    size_t base = (size_t)y * raster->width;

    for (size_t x = 0; x < raster->width; x++) {
        for (unsigned c = 0; c < raster->channels; c++) {
            uint16_t sample = *row++;

            if (raster->depth == 16) {
                sample = (uint16_t)(sample << 8 | *row++);
            }
            raster->planes[c][base + x] = sample;
        }
    }
}

enum lethe_err lethe_png_write(const struct lethe_raster *raster, int zlib_level, struct lethe_buf *out)
{
    static const int colours[5] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                   PNG_COLOR_TYPE_RGB_ALPHA};
    png_structp png = NULL;
    png_infop info = NULL;
    uint8_t *volatile row = NULL;
    volatile enum lethe_err err = LETHE_ERR_NOMEM;
    struct lethe_buf made = {0};
    jmp_buf jump;

    if (raster->channels < 1 || raster->channels > 4 || (raster->depth != 8 && raster->depth != 16)) {
        return LETHE_ERR_ARG;
    }
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &jump, on_error, on_warning);
    info = png ? png_create_info_struct(png) : NULL;
    row = calloc(raster->width, (size_t)raster->channels * (raster->depth / 8));
    if (!png || !info || !row) {
        goto out;
    }
    if (setjmp(jump)) {
        err = LETHE_ERR_ARG;
        goto out;
    }
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_write_fn(png, &made, write_bytes, flush_nothing);
    png_set_IHDR(png, info, raster->width, raster->height, (int)raster->depth, colours[raster->channels],
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, zlib_level);
    png_write_info(png, info);
    for (uint32_t y = 0; y < raster->height; y++) {
        pack_row(raster, y, row);
        png_write_row(png, row);
    }
    png_write_end(png, info);
    lethe_buf_put(out, made.data, made.len);
    err = lethe_buf_status(&made) ? LETHE_ERR_NOMEM : lethe_buf_status(out);
out:
    free(row);
    lethe_buf_release(&made);
    png_destroy_write_struct(&png, &info);
    return err;
}

/* Header, limits and conversion to one of the eight shapes of a raster. May jump. */
static enum lethe_err start_read(png_structp png, png_infop info, const struct lethe_image_limits *limits,
                                 struct lethe_raster *raster)
{
    uint64_t pixels;
    unsigned channels;

    png_read_info(png, info);
    pixels = (uint64_t)png_get_image_width(png, info) * png_get_image_height(png, info);
    if (pixels > limits->max_pixels) {
        return LETHE_ERR_UNSUPPORTED;
    }
    png_set_expand(png);
    (void)png_set_interlace_handling(png);
    png_read_update_info(png, info);
    channels = png_get_channels(png, info);
    if (pixels > limits->max_bytes / (channels * sizeof(uint16_t))) {
        return LETHE_ERR_UNSUPPORTED;
    }
    return lethe_raster_init(raster, png_get_image_width(png, info), png_get_image_height(png, info),
                             channels, png_get_bit_depth(png, info));
}

enum lethe_err lethe_png_read(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                              struct lethe_raster *raster)
{
    struct source source = {.at = file, .left = len};
    struct lethe_raster made = {0};
    png_structp png = NULL;
    png_infop info = NULL;
    uint8_t *volatile pixels = NULL;
    uint8_t **volatile rows = NULL;
    volatile enum lethe_err err = LETHE_ERR_NOMEM;
    jmp_buf jump;
    size_t row_bytes;

    *raster = (struct lethe_raster){0};
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &jump, on_error, on_warning);
    info = png ? png_create_info_struct(png) : NULL;
    if (!png || !info) {
        goto out;
    }
    if (setjmp(jump)) {
        err = LETHE_ERR_FORMAT;
        goto out;
    }
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_read_fn(png, &source, read_bytes);
    err = start_read(png, info, limits, &made);
    if (err) {
        goto out;
    }
    row_bytes = png_get_rowbytes(png, info);
    pixels = calloc(made.height, row_bytes);
    rows = calloc(made.height, sizeof *rows);
    if (!pixels || !rows) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    for (uint32_t y = 0; y < made.height; y++) {
        rows[y] = pixels + y * row_bytes;
    }
    png_read_image(png, rows);
    for (uint32_t y = 0; y < made.height; y++) {
        unpack_row(rows[y], y, &made);
    }
    *raster = made;
    made = (struct lethe_raster){0};
out:
    free(rows);
    free(pixels);
    lethe_raster_release(&made);
    png_destroy_read_struct(&png, &info, NULL);
    return err;
}
