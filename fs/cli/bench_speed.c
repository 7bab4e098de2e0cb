/* SPDX-License-Identifier: MIT */
/*
 * Megapixels a second by kernel table and number of threads. The table is chosen once in a process, so each
 * is measured in a child of its own (LETHE_CPU tells it what to choose), which sends its figures as JSON
 * through a pipe.
 */
#include "fs/cli/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lethe/seal.h"

#define ROUNDS 2 /* of each file; the better time counts */

struct speeds {
    uint64_t files, pixels;
    int64_t encode_ns, decode_ns, container_ns, zlib_ns;
};

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
        best.decode_ns = better(best.decode_ns, run.decode_ns);
        best.container_ns = better(best.container_ns, run.container_ns);
    }
    speeds->files++;
    speeds->pixels += best.pixels;
    speeds->encode_ns += best.encode_ns;
    speeds->decode_ns += best.decode_ns;
    speeds->container_ns += best.container_ns;
    speeds->zlib_ns += zlib_ns;
    return err;
}

static double rate(uint64_t pixels, int64_t ns)
{
    return ns > 0 ? (double)pixels * 1e3 / (double)ns : 0;
}

static json_t *json_of(enum bench_kind kind, const struct speeds *s)
{
    json_t *object =
        json_pack("{s:I, s:I, s:f, s:f, s:f}", "files", (json_int_t)s->files, "pixels", (json_int_t)s->pixels,
                  "encode_verified_mp_s", rate(s->pixels, s->encode_ns), "decode_file_mp_s",
                  rate(s->pixels, s->decode_ns), "container_mp_s", rate(s->pixels, s->container_ns));

    if (kind != BENCH_JPEG) {
        json_object_set_new(object, "decode_pixels_mp_s",
                            json_real(rate(s->pixels, s->decode_ns - s->container_ns)));
    }
    if (kind == BENCH_PNG_ZLIB) {
        json_object_set_new(object, "zlib_mp_s", json_real(rate(s->pixels, s->zlib_ns)));
    }
    return object;
}

static enum lethe_err time_all(struct bench *bench, unsigned threads, json_t **out)
{
    struct speeds speeds[BENCH_KINDS] = {0};
    struct lethe_pool *pool = NULL;
    json_t *object;
    enum lethe_err err = lethe_pool_new(threads, &pool);

    for (size_t i = 0; i < bench->paths.count && !err; i++) {
        struct bench_file file, copy;
        struct lethe_raster raster;
        int64_t ns, again;

        lethe_progress_update(&bench->progress, i, bench->paths.count);
        err = lethe_bench_read(bench->paths.path[i], &file);
        err = err ? err : time_file(bench, &file, pool, 0, &speeds[file.kind]);
        if (!err && file.kind == BENCH_PNG && !lethe_bench_raster(&file, &raster)) {
            err = lethe_bench_zlib_copy(&raster, &copy, &ns);
            if (!err) {
                lethe_bench_file_release(&copy);
                err = lethe_bench_zlib_copy(&raster, &copy, &again);
                ns = better(ns, again);
            }
            err = err ? err : time_file(bench, &copy, pool, ns, &speeds[BENCH_PNG_ZLIB]);
            lethe_bench_file_release(&copy);
            lethe_raster_release(&raster);
        }
        lethe_bench_file_release(&file);
    }
    lethe_pool_free(pool);
    if (err) {
        return err;
    }
    object = json_pack("{s:s, s:i}", "kernel", lethe_nn_kernel(), "threads", (int)threads);
    for (unsigned kind = 0; kind < BENCH_KINDS; kind++) {
        if (speeds[kind].files) {
            json_object_set_new(object, lethe_bench_kinds[kind],
                                json_of((enum bench_kind)kind, &speeds[kind]));
        }
    }
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

        err = time_all(bench, threads, &object);
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
