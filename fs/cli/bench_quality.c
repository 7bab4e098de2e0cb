/* SPDX-License-Identifier: MIT */
/*
 * What the artifact alone gives: PSNR over all 8-bit samples of grey or RGB, and SSIM (Z. Wang et al., "Image
 * quality assessment: from error visibility to structural similarity", IEEE TIP 13, 2004) of the mean of the
 * channels, in windows of 8x8 at steps of 4; against progressive 4:2:0 JPEG of the same decoded picture at
 * the same rates, whole files on both sides. Between measured rates PSNR is interpolated over the logarithm
 * of the rate.
 */
#include "fs/cli/bench.h"

#include <math.h>
#include <string.h>

#include "lethe/seal.h"

#define POINTS_MAX 32

struct point {
    double bpp, psnr, ssim;
};

struct curve {
    struct point point[POINTS_MAX]; /* by growing rate */
    unsigned count;
};

struct mean {
    struct point sum;
    unsigned count;
};

static const double targets[] = {0.15, 0.3, 0.6, 1.0};
#define TARGETS (sizeof targets / sizeof *targets)
static const double grid[] = {0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2};
#define GRID (sizeof grid / sizeof *grid)
static const int qualities[] = {1, 2, 3, 4, 6, 8, 10, 13, 17, 22, 28, 35, 45, 55, 65, 75, 82, 88, 93, 96};
#define QUALITIES (sizeof qualities / sizeof *qualities)

static unsigned colours_of(const struct lethe_raster *raster)
{
    return raster->channels < 3 ? 1 : 3;
}

static double psnr(const struct lethe_raster *a, const struct lethe_raster *b)
{
    size_t pixels = (size_t)a->width * a->height;
    double sum = 0;

    for (unsigned c = 0; c < colours_of(a); c++) {
        for (size_t i = 0; i < pixels; i++) {
            double d = (double)(a->planes[c][i] >> (a->depth - 8)) - (b->planes[c][i] >> (b->depth - 8));

            sum += d * d;
        }
    }
    return sum > 0 ? 10 * log10(255.0 * 255.0 * (double)pixels * colours_of(a) / sum) : 99;
}

static double grey_at(const struct lethe_raster *raster, size_t i)
{
    double sum = 0;
    unsigned colours = colours_of(raster);

    for (unsigned c = 0; c < colours; c++) {
        sum += raster->planes[c][i] >> (raster->depth - 8);
    }
    return sum / colours;
}

static double ssim_at(const struct lethe_raster *a, const struct lethe_raster *b, uint32_t left, uint32_t top)
{
    const double c1 = 0.01 * 255 * 0.01 * 255, c2 = 0.03 * 255 * 0.03 * 255;
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0;

    for (uint32_t j = 0; j < 8; j++) {
        for (uint32_t i = 0; i < 8; i++) {
            size_t at = (size_t)(top + j) * a->width + left + i;
            double p = grey_at(a, at), q = grey_at(b, at);

            x += p;
            y += q;
            xx += p * p;
            yy += q * q;
            xy += p * q;
        }
    }
    x /= 64;
    y /= 64;
    xx = xx / 64 - x * x;
    yy = yy / 64 - y * y;
    xy = xy / 64 - x * y;
    return (2 * x * y + c1) * (2 * xy + c2) / ((x * x + y * y + c1) * (xx + yy + c2));
}

static double ssim(const struct lethe_raster *a, const struct lethe_raster *b)
{
    double sum = 0;
    size_t count = 0;

    for (uint32_t y = 0; y + 8 <= a->height; y += 4) {
        for (uint32_t x = 0; x + 8 <= a->width; x += 4) {
            sum += ssim_at(a, b, x, y);
            count++;
        }
    }
    return count ? sum / (double)count : 1;
}

static struct point measure(const struct lethe_raster *original, const struct lethe_raster *other,
                            size_t bytes)
{
    return (struct point){8.0 * (double)bytes / ((double)original->width * original->height),
                          psnr(original, other), ssim(original, other)};
}

/* Keeps a curve by growing rate; a point that is no better than a cheaper one is left out. */
static void insert(struct curve *curve, struct point point)
{
    if (curve->count < POINTS_MAX &&
        (curve->count == 0 || (point.bpp > curve->point[curve->count - 1].bpp))) {
        curve->point[curve->count++] = point;
    }
}

static bool at_rate(const struct curve *curve, double bpp, struct point *out)
{
    for (unsigned i = 1; i < curve->count; i++) {
        const struct point *a = &curve->point[i - 1], *b = &curve->point[i];

        if (a->bpp <= bpp && bpp <= b->bpp) {
            double t = (log(bpp) - log(a->bpp)) / (log(b->bpp) - log(a->bpp));

            *out = (struct point){bpp, a->psnr + t * (b->psnr - a->psnr), a->ssim + t * (b->ssim - a->ssim)};
            return true;
        }
    }
    return false;
}

static void gather(struct mean *mean, struct point point)
{
    mean->sum.bpp += point.bpp;
    mean->sum.psnr += point.psnr;
    mean->sum.ssim += point.ssim;
    mean->count++;
}

static struct point mean_of(const struct mean *mean)
{
    double n = mean->count ? mean->count : 1;

    return (struct point){mean->sum.bpp / n, mean->sum.psnr / n, mean->sum.ssim / n};
}

struct quality {
    struct mean strength[BENCH_STRENGTHS];
    struct mean curve[2][GRID]; /* ours, JPEG; over pictures whose curves both reach the rate */
    struct mean target[2][TARGETS];
    unsigned pictures;
};

static enum lethe_err artifact_point(const struct bench *bench, const struct lethe_photo *photo,
                                     const struct lethe_raster *original, unsigned strength, unsigned rate,
                                     struct lethe_pool *pool, struct point *point)
{
    struct lethe_buf artifact = {0};
    struct lethe_raster picture = {0};
    enum lethe_err err =
        lethe_photo_encrypt_at(photo, bench->pair, strength, rate, lethe_random_system(), pool, &artifact);

    if (!err) {
        err = lethe_artifact_picture(bench->pair, artifact.data, artifact.len, &lethe_image_limits_default,
                                     pool, &picture);
    }
    if (!err) {
        *point = measure(original, &picture, artifact.len);
    }
    lethe_raster_release(&picture);
    lethe_buf_release(&artifact);
    return err;
}

static enum lethe_err jpeg_curve(const struct lethe_raster *original, struct curve *curve)
{
    for (unsigned i = 0; i < QUALITIES; i++) {
        struct lethe_buf file = {0};
        struct lethe_raster picture = {0};
        enum lethe_err err = lethe_jpeg_write(original, qualities[i], true, &file);

        err = err ? err : lethe_jpeg_read(file.data, file.len, &lethe_image_limits_default, &picture);
        if (!err) {
            insert(curve, measure(original, &picture, file.len));
        }
        lethe_raster_release(&picture);
        lethe_buf_release(&file);
        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

static enum lethe_err add_picture(const struct bench *bench, const struct lethe_photo *photo,
                                  const struct lethe_raster *original, struct lethe_pool *pool,
                                  struct quality *quality)
{
    struct curve curves[2] = {0};
    struct point point, other;
    enum lethe_err err = LETHE_OK;

    for (unsigned s = 0; s < BENCH_STRENGTHS && !err; s++) {
        err = artifact_point(bench, photo, original, s, lethe_pair_rate(bench->pair, s), pool, &point);
        if (!err) {
            gather(&quality->strength[s], point);
        }
    }
    for (unsigned rate = LETHE_RATES; rate-- > 0 && !err;) {
        err = artifact_point(bench, photo, original, 0, rate, pool, &point);
        if (!err) {
            insert(&curves[0], point);
        }
    }
    err = err ? err : jpeg_curve(original, &curves[1]);
    for (unsigned i = 0; i < GRID && !err; i++) {
        if (at_rate(&curves[0], grid[i], &point) && at_rate(&curves[1], grid[i], &other)) {
            gather(&quality->curve[0][i], point);
            gather(&quality->curve[1][i], other);
        }
    }
    for (unsigned i = 0; i < TARGETS && !err; i++) {
        if (at_rate(&curves[0], targets[i], &point) && at_rate(&curves[1], targets[i], &other)) {
            gather(&quality->target[0][i], point);
            gather(&quality->target[1][i], other);
        }
    }
    quality->pictures += !err;
    return err;
}

static json_t *json_of(struct point point)
{
    return json_pack("{s:f, s:f, s:f}", "bpp", point.bpp, "psnr", point.psnr, "ssim", point.ssim);
}

static json_t *report(const struct quality *quality)
{
    json_t *object = json_object(), *strengths = json_array(), *gains = json_array();

    for (unsigned s = 0; s < BENCH_STRENGTHS; s++) {
        json_t *entry = json_of(mean_of(&quality->strength[s]));

        json_object_set_new(entry, "strength", json_integer(s));
        json_array_append_new(strengths, entry);
    }
    for (unsigned i = 0; i < TARGETS; i++) {
        struct point ours = mean_of(&quality->target[0][i]), jpeg = mean_of(&quality->target[1][i]);

        if (quality->target[0][i].count) {
            json_array_append_new(
                gains, json_pack("{s:f, s:i, s:f, s:f, s:f, s:f}", "bpp", targets[i], "pictures",
                                 (int)quality->target[0][i].count, "psnr", ours.psnr, "jpeg_psnr", jpeg.psnr,
                                 "gain", ours.psnr - jpeg.psnr, "ssim_gain", ours.ssim - jpeg.ssim));
        }
    }
    json_object_set_new(object, "pictures", json_integer(quality->pictures));
    json_object_set_new(object, "strengths", strengths);
    json_object_set_new(object, "gain_over_progressive_jpeg", gains);
    for (unsigned which = 0; which < 2; which++) {
        json_t *curve = json_array();

        for (unsigned i = 0; i < GRID; i++) {
            if (quality->curve[which][i].count) {
                json_array_append_new(curve, json_of(mean_of(&quality->curve[which][i])));
            }
        }
        json_object_set_new(object, which ? "jpeg_curve" : "artifact_curve", curve);
    }
    return object;
}

enum lethe_err lethe_bench_quality(struct bench *bench, struct lethe_pool *pool, json_t *object)
{
    struct quality quality[BENCH_KINDS] = {0};
    json_t *all = json_object();
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file file;
        struct lethe_photo *photo = NULL;
        struct lethe_raster original = {0};
        enum lethe_reason reason;

        lethe_progress_update(&bench->progress, i, bench->paths.count);
        err = lethe_bench_read(bench->paths.path[i], &file);
        if (!err && !lethe_bench_raster(&file, &original) &&
            !lethe_photo_parse(file.bytes.data, file.bytes.len, &lethe_image_limits_default, &photo,
                               &reason) &&
            lethe_photo_info(photo)->channels >= colours_of(&original)) {
            err = add_picture(bench, photo, &original, pool, &quality[file.kind]);
        }
        lethe_photo_free(photo);
        lethe_raster_release(&original);
        lethe_bench_file_release(&file);
    }
    for (unsigned kind = 0; kind < BENCH_KINDS; kind++) {
        if (quality[kind].pictures) {
            json_object_set_new(all, lethe_bench_kinds[kind], report(&quality[kind]));
        }
    }
    json_object_set_new(object, "quality", all);
    return err;
}
