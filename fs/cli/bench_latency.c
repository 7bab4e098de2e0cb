/* SPDX-License-Identifier: MIT */
/* A large JPEG: what the set has, or else the largest picture of it repeated as tiles, mirrored at the seams. */
#include "fs/cli/bench.h"

#include <inttypes.h>
#include <string.h>

#include "lethe/seal.h"

#define WIDTH 4000u
#define HEIGHT 3000u
#define QUALITY 90
#define ROUNDS 5

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

enum lethe_err lethe_bench_latency(struct bench *bench, struct lethe_pool *pool, json_t *object)
{
    struct bench_file file;
    int64_t whole_ns = 0;
    enum lethe_err err = large_jpeg(bench, &file);

    for (unsigned i = 0; i < ROUNDS && !err; i++) {
        struct bench_run run;

        lethe_progress_update(&bench->progress, i, ROUNDS);
        err = lethe_bench_engine(bench, &file, pool, &run);
        if (!err && run.learned && (whole_ns == 0 || run.decode_ns < whole_ns)) {
            whole_ns = run.decode_ns;
        }
    }
    if (!err) {
        json_object_set_new(object, "large_jpeg",
                            json_pack("{s:i, s:i, s:I, s:i, s:f}", "width", (int)WIDTH, "height", (int)HEIGHT, "bytes",
                                      (json_int_t)file.bytes.len, "threads", (int)lethe_pool_threads(pool), "whole_ms",
                                      (double)whole_ns / 1e6));
    }
    lethe_bench_file_release(&file);
    return err;
}
