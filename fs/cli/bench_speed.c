/* SPDX-License-Identifier: MIT */
/*
 * Megapixels a second by kernel table and number of threads. The table is chosen once in a process, so each
 * is measured in a child of its own (LETHE_CPU tells it what to choose), which sends its figures as JSON
 * through a pipe. Several threads are measured twice: on one file at a time, which is what somebody waits for, and on a
 * file each, side by side, which is what many files take.
 */
#include "fs/cli/bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lethe/seal.h"

#define ROUNDS 2 /* of each file; the better time counts */

/* zlib's copies of a PNG; the first alone with any table but the best. */
static const enum bench_kind copies[] = {BENCH_PNG_ZLIB, BENCH_PNG_ZLIB_1, BENCH_PNG_ZLIB_9};
#define COPIES (sizeof copies / sizeof *copies)

struct speeds {
    uint64_t files, pixels;
    int64_t encode_ns, parse_ns, decode_ns, container_ns, zlib_ns;
};

static void add(struct speeds *speeds, const struct bench_run *run)
{
    speeds->files++;
    speeds->pixels += run->pixels;
    speeds->encode_ns += run->encode_ns;
    speeds->parse_ns += run->parse_ns;
    speeds->decode_ns += run->decode_ns;
    speeds->container_ns += run->container_ns;
}

static int64_t better(int64_t a, int64_t b)
{
    return a == 0 || b < a ? b : a;
}

static enum lethe_err time_file(const struct bench *bench, const struct bench_file *file,
                                struct lethe_pool *pool, int64_t zlib_ns, struct speeds *speeds)
{
    struct bench_run best = {0};
    enum lethe_err err = LETHE_OK;

    for (unsigned round = 0; round < ROUNDS && !err; round++) {
        struct bench_run run;

        err = lethe_bench_engine(bench, file, pool, &run);
        if (err || !run.learned) {
            return err;
        }
        best.pixels = run.pixels;
        best.encode_ns = better(best.encode_ns, run.encode_ns);
        best.parse_ns = better(best.parse_ns, run.parse_ns);
        best.decode_ns = better(best.decode_ns, run.decode_ns);
        best.container_ns = better(best.container_ns, run.container_ns);
    }
    add(speeds, &best);
    speeds->zlib_ns += zlib_ns;
    return err;
}

static double rate(uint64_t pixels, int64_t ns)
{
    return ns > 0 ? (double)pixels * 1e3 / (double)ns : 0;
}

/*
 * workers: on so many files at once. Samples and container are told apart where one thread does both, one after the
 * other.
 */
static json_t *json_of(enum bench_kind kind, const struct speeds *s, unsigned workers, bool apart)
{
    uint64_t pixels = s->pixels * workers;
    json_t *object = json_pack("{s:I, s:I, s:f, s:f, s:f}", "files", (json_int_t)s->files, "pixels",
                               (json_int_t)s->pixels, "encode_verified_mp_s", rate(pixels, s->encode_ns),
                               "decode_file_mp_s", rate(pixels, s->decode_ns), "container_mp_s",
                               rate(pixels, s->container_ns));

    if (kind != BENCH_JPEG && apart) {
        json_object_set_new(object, "decode_pixels_mp_s", json_real(rate(pixels, s->decode_ns - s->container_ns)));
        json_object_set_new(object, "encode_pixels_mp_s",
                            json_real(rate(pixels, s->encode_ns - s->parse_ns - s->container_ns)));
    }
    if (s->zlib_ns) {
        json_object_set_new(object, "zlib_mp_s", json_real(rate(pixels, s->zlib_ns)));
        json_object_set_new(object, "decode_of_zlib", json_real((double)s->zlib_ns / (double)s->decode_ns));
    }
    return object;
}

/* All files, a thread each. */
struct side {
    const struct bench *bench;
    size_t copies; /* kinds of them */
    struct speeds speeds[BENCH_KINDS]; /* guarded by lock, as is err */
    enum lethe_err err;
    pthread_mutex_t lock;
};

static void time_beside(struct side *side, const struct bench_file *file)
{
    struct bench_run run;
    enum lethe_err err = lethe_bench_engine(side->bench, file, NULL, &run);

    pthread_mutex_lock(&side->lock);
    side->err = side->err ? side->err : err;
    if (!err && run.learned) {
        add(&side->speeds[file->kind], &run);
    }
    pthread_mutex_unlock(&side->lock);
}

static void beside(void *context, size_t index)
{
    struct side *side = context;
    struct bench_file file, copy;
    struct lethe_raster raster;
    int64_t ns;

    if (lethe_bench_read(side->bench->paths.path[index], &file)) {
        return; /* it was read before */
    }
    time_beside(side, &file);
    if (file.kind == BENCH_PNG && !lethe_bench_raster(&file, &raster)) {
        for (size_t k = 0; k < side->copies; k++) {
            if (!lethe_bench_zlib_copy(&raster, copies[k], true, &copy, &ns)) {
                time_beside(side, &copy);
            }
            lethe_bench_file_release(&copy);
        }
        lethe_raster_release(&raster);
    }
    lethe_bench_file_release(&file);
}

/* Megapixels of all threads together: what each does in its own time. */
static enum lethe_err time_side_by_side(struct bench *bench, size_t kinds, struct lethe_pool *pool, json_t *object)
{
    struct side side = {.bench = bench, .copies = kinds, .lock = PTHREAD_MUTEX_INITIALIZER};

    lethe_pool_run(pool, bench->paths.count, beside, &side);
    pthread_mutex_destroy(&side.lock);
    for (unsigned kind = 0; kind < BENCH_KINDS; kind++) {
        if (side.speeds[kind].files) {
            json_object_set_new(object, lethe_bench_kinds[kind],
                                json_of((enum bench_kind)kind, &side.speeds[kind], lethe_pool_threads(pool), true));
        }
    }
    return side.err;
}

/* The zlib copies of one file. */
static enum lethe_err time_copies(const struct bench *bench, const struct lethe_raster *raster, size_t kinds,
                                  struct lethe_pool *pool, struct speeds *speeds)
{
    bool own = lethe_pool_threads(pool) == 1;
    enum lethe_err err = LETHE_OK;

    for (size_t k = 0; k < kinds && !err; k++) {
        struct bench_file copy;
        int64_t ns = 0, again;

        for (unsigned round = 0; round < ROUNDS && !err; round++) {
            if (round > 0) {
                lethe_bench_file_release(&copy);
            }
            err = lethe_bench_zlib_copy(raster, copies[k], own, &copy, &again);
            ns = better(ns, again);
        }
        err = err ? err : time_file(bench, &copy, pool, ns, &speeds[copies[k]]);
        lethe_bench_file_release(&copy);
    }
    return err;
}

/* kinds: of zlib copies. */
static enum lethe_err time_all(struct bench *bench, size_t kinds, unsigned threads, json_t **out)
{
    struct speeds speeds[BENCH_KINDS] = {0};
    struct lethe_pool *pool = NULL;
    json_t *object, *side;
    enum lethe_err err = lethe_pool_new(threads, &pool);

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file file;
        struct lethe_raster raster;

        lethe_progress_update(&bench->progress, i, bench->paths.count);
        err = lethe_bench_read(bench->paths.path[i], &file);
        err = err ? err : time_file(bench, &file, pool, 0, &speeds[file.kind]);
        if (!err && file.kind == BENCH_PNG && !lethe_bench_raster(&file, &raster)) {
            err = time_copies(bench, &raster, kinds, pool, speeds);
            lethe_raster_release(&raster);
        }
        lethe_bench_file_release(&file);
    }
    side = json_object();
    if (!err && threads > 1) {
        err = time_side_by_side(bench, kinds, pool, side);
    }
    lethe_pool_free(pool);
    if (err) {
        json_decref(side);
        return err;
    }
    object = json_pack("{s:s, s:i}", "kernel", lethe_nn_kernel(), "threads", (int)threads);
    for (unsigned kind = 0; kind < BENCH_KINDS; kind++) {
        if (speeds[kind].files) {
            json_object_set_new(object, lethe_bench_kinds[kind],
                                json_of((enum bench_kind)kind, &speeds[kind], 1, threads == 1));
        }
    }
    if (threads > 1) {
        json_object_set(object, "side_by_side", side);
    }
    json_decref(side);
    *out = object;
    return LETHE_OK;
}

/* The child: a JSON array on fd, unless the table of this choice was measured already. */
static int child(struct bench *bench, const char *choice, const json_t *known, int fd)
{
    json_t *array = json_array(), *entry;
    enum lethe_err err;
    size_t i;
    int failed;

    if (choice) {
        setenv("LETHE_CPU", choice, 1);
    }
    json_array_foreach(known, i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "kernel")), lethe_nn_kernel()) == 0) {
            return json_dumpfd(array, fd, 0) != 0;
        }
    }
    err = lethe_seal_start();
    bench->pair = err ? NULL : lethe_pair_shipped(0);
    err = err || bench->pair ? err : LETHE_ERR_NOT_FOUND;
    for (unsigned threads = 1; threads <= bench->threads && !err;
         threads = threads < bench->threads && threads * 2 > bench->threads ? bench->threads : threads * 2) {
        json_t *object;

        err = time_all(bench, choice ? 1 : COPIES, threads, &object);
        if (!err) {
            json_array_append_new(array, object);
        }
    }
    failed = err || json_dumpfd(array, fd, 0) != 0;
    if (err) {
        (void)lethe_cli_fail(err, "the engine failed while its speed was measured: %s", lethe_err_str(err));
    }
    json_decref(array);
    return failed;
}

static enum lethe_err measure(struct bench *bench, const char *choice, json_t *all)
{
    json_t *array = NULL;
    int ends[2], status = 0;
    pid_t pid;

    if (pipe(ends)) {
        return LETHE_ERR_IO;
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        _exit(child(bench, choice, all, ends[1]));
    }
    close(ends[1]);
    if (pid > 0) {
        array = json_loadfd(ends[0], 0, NULL);
        (void)waitpid(pid, &status, 0);
    }
    close(ends[0]);
    if (!array || !WIFEXITED(status) || WEXITSTATUS(status)) {
        json_decref(array);
        return LETHE_ERR_IO;
    }
    json_array_extend(all, array);
    json_decref(array);
    return LETHE_OK;
}

enum lethe_err lethe_bench_speed(struct bench *bench, json_t *object)
{
    static const char *const choices[] = {NULL, "avx2", "scalar"}; /* what is unknown chooses the best */
    json_t *all = json_array();
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < sizeof choices / sizeof *choices && !err; i++) {
        err = measure(bench, choices[i], all);
    }
    json_object_set_new(object, "speed", all);
    return err;
}
