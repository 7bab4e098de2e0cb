/* SPDX-License-Identifier: MIT */
#include "fs/drill/known.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS (3 * LETHE_BLOCK * LETHE_BLOCK)
#define TERMS (LETHE_LATENTS + 1)
#define LEAST 32
#define BRIGHTNESS 118.0 /* of ordinary photos: mean and deviation of the means of blocks */
#define SPREAD 55.0

/* The sides of the middle that is looked at: whole blocks. */
static void middle(const struct lethe_raster *picture, uint32_t *width, uint32_t *height)
{
    *width = picture->width < DRILL_CROP ? picture->width / LETHE_BLOCK * LETHE_BLOCK : DRILL_CROP;
    *height = picture->height < DRILL_CROP ? picture->height / LETHE_BLOCK * LETHE_BLOCK : DRILL_CROP;
}

static enum lethe_err crop_to_ycc(const struct lethe_raster *picture, struct lethe_ycc *out,
                                  float sketch[DRILL_SKETCH])
{
    struct lethe_raster crop = {0};
    uint32_t width, height;
    enum lethe_err err;

    middle(picture, &width, &height);
    if (width < LEAST || height < LEAST) {
        return LETHE_ERR_ARG;
    }
    err = drill_picture_crop(picture, width, height, &crop);
    err = err ? err : drill_picture_to_ycc(&crop, out);
    if (!err && sketch) {
        drill_picture_sketch(&crop, sketch);
    }
    lethe_raster_release(&crop);
    return err;
}

enum lethe_err drill_pair_init(struct drill_pair *pair, const struct lethe_raster *picture)
{
    memset(pair, 0, sizeof *pair);
    return crop_to_ycc(picture, &pair->picture, pair->sketch);
}

enum lethe_err drill_pair_restored(struct drill_pair *pair, const struct lethe_raster *original,
                                   const struct lethe_raster *restored)
{
    if (original->width != restored->width || original->height != restored->height) {
        return LETHE_ERR_ARG;
    }
    return crop_to_ycc(restored, &pair->restored, NULL);
}

enum lethe_err drill_pair_latents(struct drill_pair *pair, const struct lethe_raster *picture,
                                  const struct lethe_latents *whole)
{
    uint32_t width, height, x, y;
    enum lethe_err err;

    if (whole->width != picture->width || whole->height != picture->height) {
        return LETHE_ERR_ARG;
    }
    middle(picture, &width, &height);
    x = drill_picture_middle(picture->width, width) / LETHE_BLOCK;
    y = drill_picture_middle(picture->height, height) / LETHE_BLOCK;
    lethe_latents_release(&pair->latents);
    err = lethe_latents_init(&pair->latents, width, height, whole->rate);
    for (uint32_t row = 0; row < height / LETHE_BLOCK && !err; row++) {
        memcpy(pair->latents.values + (size_t)row * (width / LETHE_BLOCK) * LETHE_LATENTS,
               whole->values + ((size_t)(y + row) * whole->blocks_w + x) * LETHE_LATENTS,
               (size_t)(width / LETHE_BLOCK) * LETHE_LATENTS);
    }
    return err;
}

void drill_pair_release(struct drill_pair *pair)
{
    lethe_ycc_release(&pair->picture);
    lethe_ycc_release(&pair->restored);
    lethe_latents_release(&pair->latents);
}

/* The 192 values of a block of a picture whose sides are multiples of 8. */
static void get_block(const struct lethe_ycc *picture, size_t block, double *out)
{
    size_t across = picture->width / LETHE_BLOCK, x = block % across * LETHE_BLOCK,
           y = block / across * LETHE_BLOCK;

    for (size_t i = 0; i < PIXELS; i++) {
        out[i] = picture->planes[i / 64][(y + i % 64 / LETHE_BLOCK) * picture->width + x + i % LETHE_BLOCK];
    }
}

static void put_block(struct lethe_ycc *picture, size_t block, const double *values)
{
    size_t across = picture->width / LETHE_BLOCK, x = block % across * LETHE_BLOCK,
           y = block / across * LETHE_BLOCK;

    for (size_t i = 0; i < PIXELS; i++) {
        double v = values[i];

        picture->planes[i / 64][(y + i % 64 / LETHE_BLOCK) * picture->width + x + i % LETHE_BLOCK] =
            (uint8_t)(v <= 0     ? 0
                      : v >= 255 ? 255
                                 : v + 0.5);
    }
}

static size_t blocks_of(const struct drill_pair *pair)
{
    return (size_t)pair->latents.blocks_w * pair->latents.blocks_h;
}

/* In place: a becomes its Cholesky factor, b the solution of a x = b for all columns. a is positive definite.
 */
static void solve(double a[TERMS][TERMS], double b[TERMS][PIXELS])
{
    for (size_t i = 0; i < TERMS; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i][j];

            for (size_t k = 0; k < j; k++) {
                sum -= a[i][k] * a[j][k];
            }
            a[i][j] = i == j ? sqrt(sum) : sum / a[j][j];
        }
    }
    for (size_t i = 0; i < TERMS; i++) {
        for (size_t c = 0; c < PIXELS; c++) {
            for (size_t k = 0; k < i; k++) {
                b[i][c] -= a[i][k] * b[k][c];
            }
            b[i][c] /= a[i][i];
        }
    }
    for (size_t i = TERMS; i-- > 0;) {
        for (size_t c = 0; c < PIXELS; c++) {
            for (size_t k = i + 1; k < TERMS; k++) {
                b[i][c] -= a[k][i] * b[k][c];
            }
            b[i][c] /= a[i][i];
        }
    }
}

enum lethe_err drill_linear_fit(const struct drill_pair *pairs, size_t count, size_t blocks_max,
                                struct drill_linear *out)
{
    double(*a)[TERMS] = calloc(TERMS, sizeof *a);
    size_t total = 0, seen = 0;

    if (!a) {
        return LETHE_ERR_NOMEM;
    }
    memset(out, 0, sizeof *out);
    for (size_t n = 0; n < count; n++) {
        total += blocks_of(&pairs[n]);
    }
    for (size_t n = 0; n < count; n++) {
        for (size_t block = 0; block < blocks_of(&pairs[n]); block++, seen++) {
            const int8_t *z = pairs[n].latents.values + block * LETHE_LATENTS;
            double values[PIXELS];

            if (total > blocks_max && seen * blocks_max / total == (seen + 1) * blocks_max / total) {
                continue;
            }
            get_block(&pairs[n].picture, block, values);
            for (size_t i = 0; i < TERMS; i++) {
                double zi = i < LETHE_LATENTS ? z[i] : 1;

                if (zi == 0) { /* most latents are */
                    continue;
                }
                for (size_t j = 0; j <= i; j++) {
                    a[i][j] += zi * (j < LETHE_LATENTS ? z[j] : 1);
                }
                for (size_t c = 0; c < PIXELS; c++) {
                    out->weight[i][c] += zi * values[c];
                }
            }
        }
    }
    for (size_t i = 0; i < TERMS; i++) {
        a[i][i] += 1;
    }
    solve(a, out->weight);
    free(a);
    return LETHE_OK;
}

enum lethe_err drill_linear_run(const struct drill_linear *linear, const float *latents, uint32_t width,
                                uint32_t height, struct lethe_ycc *out)
{
    enum lethe_err err = lethe_ycc_init(out, width, height);

    for (size_t block = 0; !err && block < (size_t)(width / LETHE_BLOCK) * (height / LETHE_BLOCK); block++) {
        double values[PIXELS];

        memcpy(values, linear->weight[LETHE_LATENTS], sizeof values);
        for (size_t k = 0; k < LETHE_LATENTS; k++) {
            double z = (double)latents[block * LETHE_LATENTS + k];

            for (size_t c = 0; z != 0 && c < PIXELS; c++) {
                values[c] += z * linear->weight[k][c];
            }
        }
        put_block(out, block, values);
    }
    return err;
}

enum lethe_err drill_nearest_run(const struct drill_pair *known, size_t count, size_t blocks_max,
                                 const struct lethe_latents *latents, struct lethe_ycc *out)
{
    size_t total = 0, step;
    enum lethe_err err = lethe_ycc_init(out, latents->width, latents->height);

    for (size_t n = 0; n < count; n++) {
        total += blocks_of(&known[n]);
    }
    step = total / blocks_max + 1;
    for (size_t block = 0; !err && block < (size_t)latents->blocks_w * latents->blocks_h; block++) {
        const int8_t *mine = latents->values + block * LETHE_LATENTS;
        int32_t least = INT32_MAX;
        size_t best = 0, best_block = 0, at = 0;
        double values[PIXELS];

        for (size_t n = 0; n < count; n++) {
            size_t blocks = blocks_of(&known[n]);

            for (; at < blocks; at += step) {
                const int8_t *z = known[n].latents.values + at * LETHE_LATENTS;
                int32_t sum = 0;

                for (size_t k = 0; k < LETHE_LATENTS; k++) {
                    int32_t d = z[k] - mine[k];

                    sum += d * d;
                }
                if (sum < least) {
                    least = sum;
                    best = n;
                    best_block = at;
                }
            }
            at -= blocks;
        }
        get_block(&known[best].picture, best_block, values);
        put_block(out, block, values);
    }
    return err;
}

enum lethe_err drill_blind_run(const struct lethe_latents *latents, const struct lethe_ycc *truth,
                               struct lethe_ycc *out)
{
    size_t blocks = (size_t)latents->blocks_w * latents->blocks_h, best = 0;
    double most = -1, mean = 0, agree = 0, truth_mean = 0;
    enum lethe_err err = lethe_ycc_init(out, latents->width, latents->height);

    for (size_t k = 0; k < LETHE_LATENTS && !err; k++) {
        double sum = 0, squares = 0, n = (double)blocks;

        for (size_t block = 0; block < blocks; block++) {
            double z = latents->values[block * LETHE_LATENTS + k];

            sum += z / n;
            squares += z * z / n;
        }
        if (squares - sum * sum > most) {
            most = squares - sum * sum;
            mean = sum;
            best = k;
        }
    }
    for (size_t i = 0; i < (size_t)truth->width * truth->height && !err; i++) {
        truth_mean += truth->planes[0][i] / ((double)truth->width * truth->height);
    }
    for (size_t block = 0; block < blocks && !err; block++) {
        double values[PIXELS], sum = 0;

        get_block(truth, block, values);
        for (size_t i = 0; i < 64; i++) {
            sum += values[i] / 64;
        }
        agree += (sum - truth_mean) * (latents->values[block * LETHE_LATENTS + best] - mean);
    }
    for (size_t block = 0; block < blocks && !err; block++) {
        double z = latents->values[block * LETHE_LATENTS + best] - mean, values[PIXELS];
        double y = BRIGHTNESS + (most > 0 ? (agree < 0 ? -z : z) / sqrt(most) * SPREAD : 0);

        for (size_t i = 0; i < PIXELS; i++) {
            values[i] = i < 64 ? y : 128;
        }
        put_block(out, block, values);
    }
    return err;
}
