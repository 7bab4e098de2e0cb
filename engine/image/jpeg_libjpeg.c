/* SPDX-License-Identifier: MIT */
/*
 * The adapter of libjpeg-turbo: ordinary decoding for training and reports. No stored byte comes from here.
 * The library's errors leave by longjmp, which ends in this file.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <jerror.h>

#include "lethe/image.h"

#define MOST_SCANS 400

/* All that must outlive a longjmp lies in here, not in locals. */
struct reading {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    enum lethe_err err;
    uint8_t *row;
};

static void on_error(j_common_ptr info)
{
    struct reading *r = info->client_data;

    r->err = info->err->msg_code == JERR_OUT_OF_MEMORY ? LETHE_ERR_NOMEM : LETHE_ERR_FORMAT;
    longjmp(r->leave, 1);
}

static void on_message(j_common_ptr info)
{
    (void)info;
}

static void on_warning(j_common_ptr info, int level)
{
    (void)level;
    info->err->num_warnings++;
}

/* A tiny file may ask for any number of passes over a large picture. */
static void on_progress(j_common_ptr info)
{
    if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > MOST_SCANS) {
        on_error(info);
    }
}

static void take_row(struct reading *r, struct lethe_raster *raster, size_t y)
{
    size_t from = y * raster->width;

    for (uint32_t x = 0; x < raster->width; x++) {
        const uint8_t *p = r->row + (size_t)x * (size_t)r->info.output_components;

        if (r->info.output_components == 4) { /* stored inverted, as Adobe does */
            for (unsigned c = 0; c < 3; c++) {
                raster->planes[c][from + x] = (uint16_t)((p[c] * p[3] + 127) / 255);
            }
        } else {
            for (unsigned c = 0; c < raster->channels; c++) {
                raster->planes[c][from + x] = p[c];
            }
        }
    }
}

static enum lethe_err decode(struct reading *r, const uint8_t *file, size_t len,
                             const struct lethe_image_limits *limits, struct lethe_raster *raster)
{
    if (setjmp(r->leave)) {
        return r->err;
    }
    jpeg_create_decompress(&r->info);
    r->info.progress = &r->progress;
    jpeg_mem_src(&r->info, file, (unsigned long)len);
    (void)jpeg_read_header(&r->info, TRUE);
    if ((uint64_t)r->info.image_width * r->info.image_height > limits->max_pixels ||
        (uint64_t)r->info.image_width * r->info.image_height * 8 > limits->max_bytes) {
        return LETHE_ERR_UNSUPPORTED;
    }
    r->info.out_color_space = r->info.num_components == 1   ? JCS_GRAYSCALE
                              : r->info.num_components == 4 ? JCS_CMYK
                                                            : JCS_RGB;
    (void)jpeg_start_decompress(&r->info);
    r->err = lethe_raster_init(raster, r->info.output_width, r->info.output_height,
                               r->info.output_components == 1 ? 1 : 3, 8);
    r->row = malloc((size_t)r->info.output_width * (size_t)r->info.output_components);
    if (r->err || !r->row) {
        return r->err ? r->err : LETHE_ERR_NOMEM;
    }
    while (r->info.output_scanline < r->info.output_height) {
        JSAMPROW rows[1] = {r->row};
        size_t y = r->info.output_scanline;

        (void)jpeg_read_scanlines(&r->info, rows, 1);
        take_row(r, raster, y);
    }
    (void)jpeg_finish_decompress(&r->info);
    return LETHE_OK;
}

enum lethe_err lethe_jpeg_read(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                               struct lethe_raster *raster)
{
    struct reading *r = calloc(1, sizeof *r);
    enum lethe_err err;

    *raster = (struct lethe_raster){0};
    if (!r) {
        return LETHE_ERR_NOMEM;
    }
    r->info.err = jpeg_std_error(&r->errors);
    r->info.client_data = r;
    r->errors.error_exit = on_error;
    r->errors.output_message = on_message;
    r->errors.emit_message = on_warning;
    r->progress.progress_monitor = on_progress;
    err = decode(r, file, len, limits, raster);
    jpeg_destroy_decompress(&r->info);
    free(r->row);
    free(r);
    if (err) {
        lethe_raster_release(raster);
    }
    return err;
}
