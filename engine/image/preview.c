/* SPDX-License-Identifier: MIT */
/* Small pictures of a picture: what stands in metadata. Integers only, so the same bytes everywhere. */
#include <stdlib.h>
#include <string.h>

#include "jpeg_private.h"

#define PREVIEW_SIDE 4096 /* a preview is never larger */

/* T.81 tables K.1 and K.2, natural order. */
static const uint8_t luma[64] = {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
                                 14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
                                 18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
                                 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};
static const uint8_t chroma_table[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
                                         24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
                                         99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                                         99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

void lethe_jpeg_quality(unsigned quality, bool chroma, uint16_t quant[64])
{
    unsigned scale = quality < 50 ? 5000 / (quality ? quality : 1) : 200 - 2 * quality;

    for (unsigned i = 0; i < 64; i++) {
        unsigned value = ((chroma ? chroma_table[i] : luma[i]) * scale + 50) / 100;

        quant[i] = (uint16_t)(value < 1 ? 1 : value > 255 ? 255 : value);
    }
}

void lethe_preview_scale(const struct lethe_raster *picture, unsigned channel, uint32_t width, uint32_t height,
                         uint8_t *out)
{
    const uint16_t *plane = picture->planes[channel];

    for (uint32_t y = 0; y < height; y++) {
        uint32_t y0 = (uint32_t)((uint64_t)y * picture->height / height);
        uint32_t y1 = (uint32_t)(((uint64_t)y + 1) * picture->height / height);

        y1 = y1 > y0 ? y1 : y0 + 1;
        for (uint32_t x = 0; x < width; x++) {
            uint32_t x0 = (uint32_t)((uint64_t)x * picture->width / width);
            uint32_t x1 = (uint32_t)(((uint64_t)x + 1) * picture->width / width);
            uint64_t sum = 0, count;

            x1 = x1 > x0 ? x1 : x0 + 1;
            for (uint32_t v = y0; v < y1; v++) {
                for (uint32_t u = x0; u < x1; u++) {
                    sum += plane[(size_t)v * picture->width + u];
                }
            }
            count = (uint64_t)(y1 - y0) * (x1 - x0);
            out[(size_t)y * width + x] = (uint8_t)((sum + count / 2) / count);
        }
    }
}

/* R, G, B to Y, Cb, Cr (ITU-T T.871), 16-bit fixed point. */
static void to_ycc(uint8_t *const planes[3], size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        int r = planes[0][i], g = planes[1][i], b = planes[2][i];
        int y = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
        int cb = ((-11059 * r - 21709 * g + 32768 * b + 32767) >> 16) + 128;
        int cr = ((32768 * r - 27439 * g - 5329 * b + 32767) >> 16) + 128;

        planes[0][i] = (uint8_t)y;
        planes[1][i] = (uint8_t)cb;
        planes[2][i] = (uint8_t)cr;
    }
}

/* The blocks of a plane of width * height samples, edges replicated. */
static void plane_coefs(const uint8_t *plane, struct lethe_jpeg_component *component, uint32_t width,
                        uint32_t height)
{
    for (uint32_t by = 0; by < component->blocks_h; by++) {
        for (uint32_t bx = 0; bx < component->blocks_w; bx++) {
            uint8_t block[64];

            for (unsigned i = 0; i < 64; i++) {
                uint32_t y = by * 8 + i / 8, x = bx * 8 + i % 8;

                y = y < height ? y : height - 1;
                x = x < width ? x : width - 1;
                block[i] = plane[(size_t)y * width + x];
            }
            lethe_jpeg_fdct(block, 8, component->quant,
                            component->coefs + ((size_t)by * component->blocks_w + bx) * 64);
        }
    }
}

static enum lethe_err write_scaled(uint8_t *const planes[3], unsigned colours, uint32_t width, uint32_t height,
                                   unsigned quality, struct lethe_buf *out)
{
    struct lethe_jpeg jpeg = {.width = width,
                              .height = height,
                              .components = colours,
                              .colour = colours == 1 ? LETHE_JPEG_GREY : LETHE_JPEG_YCC};
    enum lethe_err err;

    for (unsigned c = 0; c < colours; c++) {
        struct lethe_jpeg_component *component = &jpeg.component[c];

        component->h = component->v = 1;
        component->blocks_w = component->real_w = (width + 7) / 8;
        component->blocks_h = component->real_h = (height + 7) / 8;
        lethe_jpeg_quality(quality, c > 0, component->quant);
    }
    err = lethe_jpeg_alloc(&jpeg);
    for (unsigned c = 0; c < colours && !err; c++) {
        plane_coefs(planes[c], &jpeg.component[c], width, height);
    }
    if (!err) {
        err = lethe_jpeg_compose(&jpeg, NULL, NULL, 0, out);
    }
    lethe_jpeg_release(&jpeg);
    return err;
}

/* planes is one allocation. */
static enum lethe_err scaled(const struct lethe_raster *picture, unsigned colours, uint32_t width, uint32_t height,
                             uint8_t *planes[3])
{
    size_t pixels = (size_t)width * height; /* at most PREVIEW_SIDE^2 */

    planes[0] = malloc(pixels * colours);
    if (!planes[0]) {
        return LETHE_ERR_NOMEM;
    }
    for (unsigned c = 0; c < colours; c++) {
        planes[c] = planes[0] + c * pixels;
        lethe_preview_scale(picture, c, width, height, planes[c]);
    }
    if (colours == 3) {
        to_ycc(planes, pixels);
    }
    return LETHE_OK;
}

enum lethe_err lethe_preview_write(const struct lethe_raster *picture, uint32_t width, uint32_t height,
                                   size_t max_len, struct lethe_buf *out)
{
    static const uint8_t qualities[] = {85, 60, 30, 10};
    unsigned colours = picture->channels < 3 ? 1 : 3;
    enum lethe_err err = LETHE_OK;

    if (width == 0 || height == 0 || width > PREVIEW_SIDE || height > PREVIEW_SIDE) {
        return LETHE_ERR_NOSPACE;
    }
    for (; width >= 8 && height >= 8 && !err; width /= 2, height /= 2) {
        uint8_t *planes[3] = {NULL, NULL, NULL};

        err = scaled(picture, colours, width, height, planes);
        for (size_t i = 0; i < sizeof qualities && !err; i++) {
            struct lethe_buf small = {0};

            err = write_scaled(planes, colours, width, height, qualities[i], &small);
            if (!err && small.len <= max_len) {
                lethe_buf_put(out, small.data, small.len);
                lethe_buf_release(&small);
                free(planes[0]);
                return lethe_buf_status(out);
            }
            lethe_buf_release(&small);
        }
        free(planes[0]);
    }
    return err ? err : LETHE_ERR_NOSPACE;
}
