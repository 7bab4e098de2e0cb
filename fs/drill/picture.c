/* SPDX-License-Identifier: MIT */
#include "fs/drill/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fs/drill/drill.h"

enum lethe_err drill_picture_read(const uint8_t *file, size_t len, struct lethe_raster *out)
{
    struct lethe_raster raster = {0};
    bool jpeg = len > 2 && file[0] == 0xff && file[1] == 0xd8;
    enum lethe_err err = jpeg ? lethe_jpeg_read(file, len, &lethe_image_limits_default, &raster)
                              : lethe_png_read(file, len, &lethe_image_limits_default, &raster);

    *out = (struct lethe_raster){0};
    err = err ? err : lethe_raster_init(out, raster.width, raster.height, 3, 8);
    for (unsigned c = 0; c < 3 && !err; c++) {
        const uint16_t *from = raster.planes[raster.channels < 3 ? 0 : c];

        for (size_t i = 0; i < (size_t)raster.width * raster.height; i++) {
            out->planes[c][i] = raster.depth == 16 ? from[i] >> 8 : from[i];
        }
    }
    lethe_raster_release(&raster);
    return err;
}

uint32_t drill_picture_middle(uint32_t side, uint32_t part)
{
    return (side - part) / 2 / LETHE_BLOCK * LETHE_BLOCK;
}

enum lethe_err drill_picture_crop(const struct lethe_raster *in, uint32_t width, uint32_t height,
                                  struct lethe_raster *out)
{
    uint32_t w = width < in->width ? width : in->width, h = height < in->height ? height : in->height;
    uint32_t x = drill_picture_middle(in->width, w), y = drill_picture_middle(in->height, h);
    enum lethe_err err = lethe_raster_init(out, w, h, in->channels, in->depth);

    for (unsigned c = 0; c < in->channels && !err; c++) {
        for (uint32_t row = 0; row < h; row++) {
            memcpy(out->planes[c] + (size_t)row * w, in->planes[c] + (size_t)(y + row) * in->width + x,
                   w * sizeof *out->planes[c]);
        }
    }
    return err;
}

double drill_picture_psnr(const struct lethe_raster *a, const struct lethe_raster *b)
{
    unsigned channels = a->channels < 3 || b->channels < 3 ? 1 : 3;
    size_t count = (size_t)a->width * a->height;
    double error = 0;

    for (unsigned c = 0; c < channels; c++) {
        for (size_t i = 0; i < count; i++) {
            double d = (double)a->planes[c][i] - b->planes[c][i];

            error += d * d;
        }
    }
    return error > 0 ? 10 * log10(255.0 * 255.0 * channels * (double)count / error) : 99;
}

static double luma(const struct lethe_raster *raster, size_t i)
{
    return raster->channels < 3
               ? raster->planes[0][i]
               : 0.299 * raster->planes[0][i] + 0.587 * raster->planes[1][i] + 0.114 * raster->planes[2][i];
}

double drill_picture_ssim(const struct lethe_raster *a, const struct lethe_raster *b)
{
    const double c1 = 6.5025, c2 = 58.5225, n = 64; /* (0.01 * 255)^2, (0.03 * 255)^2 */
    double sum = 0, windows = 0;

    for (uint32_t y = 0; y + 8 <= a->height; y += 4) {
        for (uint32_t x = 0; x + 8 <= a->width; x += 4) {
            double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0, va, vb, cov;

            for (uint32_t j = 0; j < 8; j++) {
                for (uint32_t i = 0; i < 8; i++) {
                    size_t at = (size_t)(y + j) * a->width + x + i;
                    double p = luma(a, at), q = luma(b, at);

                    sa += p;
                    sb += q;
                    saa += p * p;
                    sbb += q * q;
                    sab += p * q;
                }
            }
            sa /= n;
            sb /= n;
            va = saa / n - sa * sa;
            vb = sbb / n - sb * sb;
            cov = sab / n - sa * sb;
            sum += (2 * sa * sb + c1) * (2 * cov + c2) / ((sa * sa + sb * sb + c1) * (va + vb + c2));
            windows++;
        }
    }
    return windows > 0 ? sum / windows : 0;
}

static uint8_t clip(double value)
{
    return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5);
}

enum lethe_err drill_picture_to_ycc(const struct lethe_raster *in, struct lethe_ycc *out)
{
    enum lethe_err err = lethe_ycc_init(out, in->width, in->height);

    for (size_t i = 0; i < (size_t)in->width * in->height && !err; i++) {
        double r = in->planes[0][i], g = in->planes[1][i], b = in->planes[2][i];
        double y = 0.299 * r + 0.587 * g + 0.114 * b;

        out->planes[0][i] = clip(y);
        out->planes[1][i] = clip(128 + (b - y) / 1.772);
        out->planes[2][i] = clip(128 + (r - y) / 1.402);
    }
    return err;
}

enum lethe_err drill_picture_from_ycc(const struct lethe_ycc *in, struct lethe_raster *out)
{
    enum lethe_err err = lethe_raster_init(out, in->width, in->height, 3, 8);

    for (size_t i = 0; i < (size_t)in->width * in->height && !err; i++) {
        double y = in->planes[0][i], cb = in->planes[1][i] - 128.0, cr = in->planes[2][i] - 128.0;

        out->planes[0][i] = clip(y + 1.402 * cr);
        out->planes[1][i] = clip(y - 0.344136 * cb - 0.714136 * cr);
        out->planes[2][i] = clip(y + 1.772 * cb);
    }
    return err;
}

enum lethe_err drill_picture_photo(const struct lethe_raster *in, struct lethe_photo **out)
{
    struct lethe_buf png = {0};
    enum lethe_reason reason;
    enum lethe_err err = lethe_png_write(in, 1, &png);

    *out = NULL;
    err = err ? err : lethe_photo_parse(png.data, png.len, &lethe_image_limits_default, out, &reason);
    lethe_buf_release(&png);
    return err;
}

enum lethe_err drill_picture_encrypt(const struct lethe_raster *in, const struct lethe_pair *pair,
                                     unsigned strength, struct drill_random *random, struct lethe_buf *out)
{
    struct lethe_random engine = drill_engine_random(random);
    struct lethe_photo *photo;
    enum lethe_err err = drill_picture_photo(in, &photo);

    err = err ? err : lethe_photo_encrypt(photo, pair, strength, &engine, NULL, out);
    lethe_photo_free(photo);
    return err;
}

void drill_picture_sketch(const struct lethe_raster *in, float out[DRILL_SKETCH])
{
    double sums[3][64] = {{0}}, counts[64] = {0}, length = 0;

    for (uint32_t y = 0; y < in->height; y++) {
        for (uint32_t x = 0; x < in->width; x++) {
            size_t cell = (size_t)y * 8 / in->height * 8 + (size_t)x * 8 / in->width,
                   i = (size_t)y * in->width + x;
            double grey = luma(in, i);

            sums[0][cell] += grey;
            sums[1][cell] += in->channels < 3 ? 0 : (in->planes[2][i] - grey) / 1.772;
            sums[2][cell] += in->channels < 3 ? 0 : (in->planes[0][i] - grey) / 1.402;
            counts[cell]++;
        }
    }
    for (unsigned p = 0; p < 3; p++) {
        double mean = 0;

        for (unsigned cell = 0; cell < 64; cell++) {
            sums[p][cell] /= counts[cell] > 0 ? counts[cell] : 1;
            mean += sums[p][cell] / 64;
        }
        for (unsigned cell = 0; cell < 64; cell++) {
            /* The luma without its mean: brightness is the easiest to lose. Colour as it is. */
            sums[p][cell] -= p == 0 ? mean : 0;
            length += sums[p][cell] * sums[p][cell];
        }
    }
    length = length > 0 ? sqrt(length) : 1;
    for (unsigned i = 0; i < DRILL_SKETCH; i++) {
        out[i] = (float)(sums[i / 64][i % 64] / length);
    }
}

size_t drill_sketch_nearest(const float *mine, const float (*sketches)[DRILL_SKETCH], size_t count)
{
    size_t best = 0;
    float least = INFINITY;

    for (size_t n = 0; n < count; n++) {
        float sum = 0;

        for (size_t i = 0; i < DRILL_SKETCH; i++) {
            float d = mine[i] - sketches[n][i];

            sum += d * d;
        }
        if (sum < least) {
            least = sum;
            best = n;
        }
    }
    return best;
}
