/* SPDX-License-Identifier: MIT */
#include "fs/cli/train_measure.h"

#include <math.h>
#include <string.h>

#include "fs/cli/cli.h"
#include "fs/file.h"

/* One key of the noise for all pairs: of two that are compared, only what they make of it differs. */
static void fixed_fill(void *context, void *out, size_t len)
{
    (void)context;
    memset(out, 0, len);
}

static const struct lethe_random fixed_random = {fixed_fill, NULL};

/* One photo at one strength: the artifact's bits, 0 when it has no recipe. */
static double measure_photo(const struct lethe_buf *file, const struct lethe_pair *pair, unsigned strength,
                            struct lethe_pool *pool, double *psnr, double *pixels)
{
    struct lethe_photo *photo = NULL;
    struct lethe_photo_quality quality = {0};
    struct lethe_buf artifact = {0}, residual = {0};
    enum lethe_reason reason;
    double bits = 0;

    if (!lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &photo, &reason) &&
        !lethe_photo_encrypt(photo, pair, strength, &fixed_random, pool, &artifact) &&
        !lethe_photo_residual(photo, pair, artifact.data, artifact.len, LETHE_EFFORT_FAST, pool, &residual,
                              &quality)) {
        bits = 8.0 * (double)artifact.len;
        *psnr = lethe_quality_psnr(&quality);
        *pixels = (double)lethe_photo_info(photo)->width * lethe_photo_info(photo)->height;
    }
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    return bits;
}

void lethe_train_measure(const struct lethe_paths *paths, size_t most, const struct lethe_pair *pair,
                         struct lethe_pool *pool, struct lethe_train_figures *out)
{
    size_t stride = paths->count / most + 1;
    double pixels = 0;

    *out = (struct lethe_train_figures){0};
    for (size_t i = 0; i < paths->count; i += stride) {
        struct lethe_buf file = {0};
        double psnr[LETHE_STRENGTHS], bits[LETHE_STRENGTHS] = {0}, size = 0;

        if (!lethe_file_read(paths->path[i], LETHE_TRAIN_FILE_MAX, &file)) {
            for (unsigned s = 0; s < LETHE_STRENGTHS && (s == 0 || bits[s - 1] > 0); s++) {
                bits[s] = measure_photo(&file, pair, s, pool, &psnr[s], &size);
            }
        }
        if (bits[LETHE_STRENGTHS - 1] > 0) {
            for (unsigned s = 0; s < LETHE_STRENGTHS; s++) {
                out->psnr[s] += psnr[s];
                out->bpp[s] += bits[s];
            }
            pixels += size;
            out->photos++;
        }
        lethe_buf_release(&file);
    }
    for (unsigned s = 0; s < LETHE_STRENGTHS && out->photos; s++) {
        out->psnr[s] /= out->photos;
        out->bpp[s] /= pixels;
    }
}

double lethe_train_gain(const struct lethe_train_figures *figures, const struct lethe_train_figures *before,
                        unsigned strength)
{
    double rate = log(figures->bpp[strength]);
    unsigned right = 0, left;
    double slope;

    /* bpp falls with the strength. Beyond the ends their line goes on. */
    while (right + 2 < LETHE_STRENGTHS && log(before->bpp[right + 1]) > rate) {
        right++;
    }
    left = right + 1;
    slope = (before->psnr[right] - before->psnr[left]) / (log(before->bpp[right]) - log(before->bpp[left]));
    return figures->psnr[strength] - (before->psnr[left] + slope * (rate - log(before->bpp[left])));
}
