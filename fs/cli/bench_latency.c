/* SPDX-License-Identifier: MIT */
/* A large JPEG, the largest picture of the set repeated as tiles, mirrored at the seams: when its first bytes
 * come. */
#include "fs/cli/bench.h"

#include <inttypes.h>
#include <string.h>

#include "lethe/seal.h"

#define WIDTH 4000u
#define HEIGHT 3000u
#define QUALITY 90
#define ROUNDS 5
#define FIRST_BYTES 65536u

static uint32_t mirrored(uint32_t x, uint32_t size)
{
    uint32_t at = x % (2 * size);

    return at < size ? at : 2 * size - 1 - at;
}

static enum lethe_err tile(const struct lethe_raster *from, struct lethe_raster *to)
{
    enum lethe_err err = lethe_raster_init(to, WIDTH, HEIGHT, from->channels < 3 ? 1 : 3, 8);

    for (unsigned c = 0; !err && c < to->channels; c++) {
        for (uint32_t y = 0; y < HEIGHT; y++) {
            const uint16_t *in = from->planes[c] + (size_t)mirrored(y, from->height) * from->width;
            uint16_t *out = to->planes[c] + (size_t)y * WIDTH;

            for (uint32_t x = 0; x < WIDTH; x++) {
                out[x] = (uint16_t)(in[mirrored(x, from->width)] >> (from->depth - 8));
            }
        }
    }
    return err;
}

static enum lethe_err large_jpeg(struct bench *bench, struct bench_file *file)
{
    struct lethe_raster largest = {0}, tiled = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file one;
        struct lethe_raster raster = {0};

        err = lethe_bench_read(bench->paths.path[i], &one);
        if (!err && !lethe_bench_raster(&one, &raster) &&
            (uint64_t)raster.width * raster.height > (uint64_t)largest.width * largest.height) {
            lethe_raster_release(&largest);
            largest = raster;
            raster = (struct lethe_raster){0};
        }
        lethe_raster_release(&raster);
        lethe_bench_file_release(&one);
    }
    *file = (struct bench_file){.kind = BENCH_JPEG};
    if (!err && !largest.width) {
        err = LETHE_ERR_NOT_FOUND;
    }
    err = err ? err : tile(&largest, &tiled);
    err = err ? err : lethe_jpeg_write(&tiled, QUALITY, false, &file->bytes);
    lethe_raster_release(&largest);
    lethe_raster_release(&tiled);
    return err;
}

struct first {
    int64_t start, first_ns;
};

static void on_ready(void *context, const uint8_t *bytes, size_t len)
{
    struct first *first = context;

    (void)bytes;
    if (first->first_ns == 0 && len >= FIRST_BYTES) {
        first->first_ns = lethe_bench_now_ns() - first->start;
    }
}

/*
 * Artifact, residual and recipe to bytes, several times: the best of each figure. Who waits for the first bytes has the
 * last later than who does not.
 */
static enum lethe_err measure(struct bench *bench, const struct bench_file *file, struct lethe_pool *pool,
                              int64_t *first_ns, int64_t *whole_ns)
{
    struct lethe_buf artifact = {0}, residual = {0}, back = {0};
    struct lethe_photo *photo = NULL;
    const uint8_t *recipe = NULL;
    size_t recipe_len = 0;
    enum lethe_reason reason;
    enum lethe_err err =
        lethe_photo_parse(file->bytes.data, file->bytes.len, &lethe_image_limits_default, &photo, &reason);

    if (!err) {
        recipe = lethe_photo_recipe(photo, &recipe_len);
        err = lethe_photo_encrypt_at(photo, bench->pair, bench->strength,
                                     lethe_photo_exact_rate(photo, bench->pair, bench->strength),
                                     lethe_random_system(), pool, &artifact);
    }
    err = err ? err
              : lethe_photo_residual(photo, bench->pair, artifact.data, artifact.len, bench->effort, pool,
                                     &residual, NULL);
    *first_ns = *whole_ns = INT64_MAX;
    for (unsigned i = 0; i < 2 * ROUNDS && !err; i++) {
        struct first first = {.start = lethe_bench_now_ns()};
        const struct lethe_photo_watch watch = {on_ready, &first};
        int64_t whole;

        lethe_progress_update(&bench->progress, i, 2 * ROUNDS);
        lethe_buf_release(&back);
        err = lethe_photo_restore_watched(bench->pair, artifact.data, artifact.len, residual.data,
                                          residual.len, recipe, recipe_len, &lethe_image_limits_default, pool,
                                          i < ROUNDS ? &watch : NULL, file->bytes.len, &back);
        whole = lethe_bench_now_ns() - first.start;
        *whole_ns = whole < *whole_ns ? whole : *whole_ns;
        *first_ns = first.first_ns && first.first_ns < *first_ns ? first.first_ns : *first_ns;
        if (!err && (back.len != file->bytes.len || memcmp(back.data, file->bytes.data, back.len) != 0)) {
            err = LETHE_ERR_FORMAT;
        }
    }
    *first_ns = *first_ns == INT64_MAX ? *whole_ns : *first_ns;
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    lethe_buf_release(&back);
    return err;
}

enum lethe_err lethe_bench_latency(struct bench *bench, struct lethe_pool *pool, json_t *object)
{
    struct bench_file file;
    int64_t first_ns, whole_ns;
    enum lethe_err err = large_jpeg(bench, &file);

    err = err ? err : measure(bench, &file, pool, &first_ns, &whole_ns);
    if (!err) {
        json_object_set_new(object, "large_jpeg",
                            json_pack("{s:i, s:i, s:I, s:i, s:f, s:f, s:f}", "width", (int)WIDTH, "height",
                                      (int)HEIGHT, "bytes", (json_int_t)file.bytes.len, "threads",
                                      (int)lethe_pool_threads(pool), "first_64k_ms", (double)first_ns / 1e6,
                                      "whole_ms", (double)whole_ns / 1e6, "whole_mp_s",
                                      (double)WIDTH * HEIGHT * 1e3 / (double)whole_ns));
    }
    lethe_bench_file_release(&file);
    return err;
}
