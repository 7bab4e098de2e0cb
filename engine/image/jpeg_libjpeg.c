/* SPDX-License-Identifier: MIT */
/*
 * The adapter of libjpeg-turbo: ordinary decoding for training and reports, ordinary encoding to measure
 * against. No stored byte comes from here.
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

/* As struct reading. */
struct writing {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf leave;
    enum lethe_err err;
    unsigned char *bytes;
    unsigned long len;
    uint8_t *row;
};

static void on_write_error(j_common_ptr info)
{
    struct writing *w = info->client_data;

    w->err = info->err->msg_code == JERR_OUT_OF_MEMORY ? LETHE_ERR_NOMEM : LETHE_ERR_ARG;
    longjmp(w->leave, 1);
}

static enum lethe_err encode(struct writing *w, const struct lethe_raster *raster, int quality, bool progressive)
{
    unsigned colours = raster->channels < 3 ? 1 : 3;

    if (setjmp(w->leave)) {
        return w->err;
    }
    jpeg_create_compress(&w->info);
    jpeg_mem_dest(&w->info, &w->bytes, &w->len);
    w->info.image_width = raster->width;
    w->info.image_height = raster->height;
    w->info.input_components = (int)colours;
    w->info.in_color_space = colours == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&w->info); /* 4:2:0 */
    jpeg_set_quality(&w->info, quality, TRUE);
    w->info.optimize_coding = TRUE;
    if (progressive) {
        jpeg_simple_progression(&w->info);
    }
    jpeg_start_compress(&w->info, TRUE);
    w->row = malloc((size_t)raster->width * colours);
    if (!w->row) {
        return LETHE_ERR_NOMEM;
    }
    while (w->info.next_scanline < w->info.image_height) {
        size_t from = (size_t)w->info.next_scanline * raster->width;
        JSAMPROW rows[1] = {w->row};

        for (size_t x = 0; x < raster->width; x++) {
            for (unsigned c = 0; c < colours; c++) {
                w->row[x * colours + c] = (uint8_t)(raster->planes[c][from + x] >> (raster->depth - 8));
            }
        }
        (void)jpeg_write_scanlines(&w->info, rows, 1);
    }
    jpeg_finish_compress(&w->info);
    return LETHE_OK;
}

enum lethe_err lethe_jpeg_write(const struct lethe_raster *raster, int quality, bool progressive,
                                struct lethe_buf *out)
{
    struct writing *w = calloc(1, sizeof *w);
    enum lethe_err err;

    if (!w) {
        return LETHE_ERR_NOMEM;
    }
    w->info.err = jpeg_std_error(&w->errors);
    w->info.client_data = w;
    w->errors.error_exit = on_write_error;
    w->errors.output_message = on_message;
    err = encode(w, raster, quality, progressive);
    jpeg_destroy_compress(&w->info);
    if (!err) {
        lethe_buf_put(out, w->bytes, w->len);
        err = lethe_buf_status(out);
    }
    free(w->bytes);
    free(w->row);
    free(w);
    return err;
}
