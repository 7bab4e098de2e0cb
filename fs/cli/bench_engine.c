/* SPDX-License-Identifier: MIT */
/* The engine on one file, and the sums over all of them. */
#include "fs/cli/bench.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "fs/file.h"
#include "lethe/seal.h"

const char *const lethe_bench_kinds[BENCH_KINDS] = {"png", "png-zlib", "jpeg", "png-zlib-1", "png-zlib-9"};

int64_t lethe_bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t lethe_bench_own_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t clock_ns(bool own)
{
    return own ? lethe_bench_own_ns() : lethe_bench_now_ns();
}

void lethe_bench_file_release(struct bench_file *file)
{
    lethe_buf_release(&file->bytes);
}

enum lethe_err lethe_bench_read(const char *path, struct bench_file *file)
{
    static const uint8_t png[4] = {0x89, 'P', 'N', 'G'};
    enum lethe_err err;

    *file = (struct bench_file){0};
    err = lethe_file_read(path, BENCH_FILE_MAX, &file->bytes);
    if (!err && file->bytes.len > 8 && memcmp(file->bytes.data, png, sizeof png) == 0) {
        file->kind = BENCH_PNG;
        return LETHE_OK;
    }
    if (!err && file->bytes.len > 8 && file->bytes.data[0] == 0xff && file->bytes.data[1] == 0xd8) {
        file->kind = BENCH_JPEG;
        return LETHE_OK;
    }
    lethe_bench_file_release(file);
    return err ? err : LETHE_ERR_UNSUPPORTED;
}

enum lethe_err lethe_bench_raster(const struct bench_file *file, struct lethe_raster *raster)
{
    return file->kind == BENCH_JPEG
               ? lethe_jpeg_read(file->bytes.data, file->bytes.len, &lethe_image_limits_default, raster)
               : lethe_png_read(file->bytes.data, file->bytes.len, &lethe_image_limits_default, raster);
}

enum lethe_err lethe_bench_zlib_copy(const struct lethe_raster *raster, enum bench_kind kind, bool own,
                                     struct bench_file *file, int64_t *ns)
{
    unsigned level = kind == BENCH_PNG_ZLIB_1 ? 1 : kind == BENCH_PNG_ZLIB_9 ? 9 : BENCH_ZLIB_LEVEL;
    int64_t start = clock_ns(own);
    enum lethe_err err;

    *file = (struct bench_file){.kind = kind};
    err = lethe_png_write(raster, level, &file->bytes);
    *ns = clock_ns(own) - start;
    return err;
}

/* What the container alone takes: the file's samples or coefficients and its recipe to bytes. */
static enum lethe_err time_container(const struct bench_file *file, bool own, int64_t *ns)
{
    const struct lethe_image_limits *limits = &lethe_image_limits_default;
    struct lethe_buf recipe = {0}, out = {0};
    struct lethe_raster raster = {0};
    struct lethe_jpeg jpeg = {0};
    enum lethe_reason reason;
    int64_t start;
    enum lethe_err err =
        file->kind == BENCH_JPEG
            ? lethe_jpeg_parse(file->bytes.data, file->bytes.len, limits, &jpeg, &recipe, &reason)
            : lethe_png_parse(file->bytes.data, file->bytes.len, limits, &raster, &recipe, &reason);

    start = clock_ns(own);
    if (!err) {
        err = file->kind == BENCH_JPEG
                  ? lethe_jpeg_rebuild(&jpeg, recipe.data, recipe.len, file->bytes.len, &out)
                  : lethe_png_rebuild(&raster, recipe.data, recipe.len, file->bytes.len, &out);
    }
    *ns = clock_ns(own) - start;
    lethe_buf_release(&recipe);
    lethe_buf_release(&out);
    lethe_raster_release(&raster);
    lethe_jpeg_release(&jpeg);
    return err;
}

enum lethe_err lethe_bench_engine(const struct bench *bench, const struct bench_file *file,
                                  struct lethe_pool *pool, struct bench_run *run)
{
    struct lethe_buf artifact = {0}, residual = {0}, back = {0};
    struct lethe_photo *photo = NULL;
    const uint8_t *recipe = NULL;
    size_t recipe_len = 0;
    enum lethe_reason reason;
    bool own = lethe_pool_threads(pool) == 1;
    int64_t start = clock_ns(own), parsed, middle;
    enum lethe_err err;

    *run = (struct bench_run){0};
    err = lethe_photo_parse_to_encode(file->bytes.data, file->bytes.len, &lethe_image_limits_default, pool, &photo,
                                      &reason);
    parsed = clock_ns(own);
    if (err == LETHE_ERR_UNSUPPORTED) {
        return LETHE_OK;
    }
    if (!err) {
        const struct lethe_photo_info *info = lethe_photo_info(photo);
        const struct lethe_photo_coding how = {.strength = bench->strength,
                                               .rate = lethe_photo_exact_rate(photo, bench->pair, bench->strength),
                                               .effort = bench->effort,
                                               .random = lethe_random_system()};

        run->pixels = (uint64_t)info->width * info->height;
        err = lethe_photo_encode(photo, file->bytes.data, file->bytes.len, bench->pair, &how, pool, &artifact,
                                 &residual, NULL);
        recipe = lethe_photo_recipe(photo, &recipe_len);
    }
    middle = clock_ns(own);
    run->encode_ns = middle - start;
    run->parse_ns = parsed - start;
    if (!err) {
        err =
            lethe_photo_restore(bench->pair, artifact.data, artifact.len, residual.data, residual.len, recipe,
                                recipe_len, &lethe_image_limits_default, pool, file->bytes.len, &back);
    }
    run->decode_ns = clock_ns(own) - middle;
    run->learned = !err && back.len == file->bytes.len && memcmp(back.data, file->bytes.data, back.len) == 0;
    run->artifact = artifact.len;
    run->residual = residual.len;
    run->recipe = recipe_len;
    if (err == LETHE_ERR_FORMAT || err == LETHE_ERR_DIFFERS || !run->learned) { /* it would be stored as segments */
        *run = (struct bench_run){0};
        err = err == LETHE_ERR_FORMAT || err == LETHE_ERR_DIFFERS ? LETHE_OK : err;
    } else if (!err) {
        err = time_container(file, own, &run->container_ns);
    }
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    lethe_buf_release(&back);
    return err;
}

struct sums {
    uint64_t files, learned;
    uint64_t bytes, pixels; /* of the learned files */
    uint64_t artifact, residual, recipe;
    uint64_t worth,
        kept; /* of them, files that are smaller as a photo, and what all learned files take at best */
};

static void add(struct sums *sums, const struct bench_file *file, const struct bench_run *run)
{
    uint64_t all = run->artifact + run->residual + run->recipe;

    sums->files++;
    if (run->learned) {
        sums->learned++;
        sums->bytes += file->bytes.len;
        sums->pixels += run->pixels;
        sums->artifact += run->artifact;
        sums->residual += run->residual;
        sums->recipe += run->recipe;
        sums->worth += all < file->bytes.len;
        sums->kept += all < file->bytes.len ? all : file->bytes.len;
    }
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

enum lethe_err lethe_bench_totals(struct bench *bench, struct lethe_pool *pool, json_t *object)
{
    struct sums sums[BENCH_KINDS] = {0};
    json_t *totals = json_object();
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file file, copy;
        struct bench_run run;
        struct lethe_raster raster;
        int64_t ns;

        lethe_progress_update(&bench->progress, i, bench->paths.count);
        err = lethe_bench_read(bench->paths.path[i], &file);
        err = err ? err : lethe_bench_engine(bench, &file, pool, &run);
        if (!err) {
            add(&sums[file.kind], &file, &run);
        }
        if (!err && file.kind == BENCH_PNG && !lethe_bench_raster(&file, &raster)) {
            err = lethe_bench_zlib_copy(&raster, BENCH_PNG_ZLIB, false, &copy, &ns);
            err = err ? err : lethe_bench_engine(bench, &copy, pool, &run);
            if (!err) {
                add(&sums[BENCH_PNG_ZLIB], &copy, &run);
            }
            lethe_bench_file_release(&copy);
            lethe_raster_release(&raster);
        }
        lethe_bench_file_release(&file);
    }
    for (unsigned kind = 0; kind < BENCH_KINDS; kind++) {
        const struct sums *s = &sums[kind];

        if (s->files) {
            json_object_set_new(totals, lethe_bench_kinds[kind],
                                json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "files",
                                          (json_int_t)s->files, "learned", (json_int_t)s->learned, "smaller",
                                          (json_int_t)s->worth, "bytes", (json_int_t)s->bytes,
                                          "artifact_bytes", (json_int_t)s->artifact, "residual_bytes",
                                          (json_int_t)s->residual, "recipe_bytes", (json_int_t)s->recipe,
                                          "pixels", (json_int_t)s->pixels, "ratio",
                                          share(s->artifact + s->residual + s->recipe, s->bytes),
                                          "ratio_when_smaller", share(s->kept, s->bytes), "bpp",
                                          8 * share(s->artifact + s->residual + s->recipe, s->pixels)));
        }
    }
    json_object_set_new(object, "totals", totals);
    return err;
}
