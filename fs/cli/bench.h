/* SPDX-License-Identifier: MIT */
/*
 * What the files of lethefs bench share. Every figure is measured when it is asked for. Pictures are of these kinds:
 * PNG as given, the same samples as zlib writes them at level 6, JPEG; and, for speeds alone, zlib's levels 1 and 9.
 */
#ifndef LETHE_FS_CLI_BENCH_H
#define LETHE_FS_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "fs/cli/cli.h"
#include "fs/cli/paths.h"
#include "lethe/bytes.h"
#include "lethe/codec.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/model.h"
#include "lethe/pool.h"
#include "lethe/store.h"

#define BENCH_FILE_MAX (512u << 20)
#define BENCH_ZLIB_LEVEL 6
#define BENCH_STRENGTHS 4

enum bench_kind { BENCH_PNG, BENCH_PNG_ZLIB, BENCH_JPEG, BENCH_PNG_ZLIB_1, BENCH_PNG_ZLIB_9, BENCH_KINDS };
extern const char *const lethe_bench_kinds[BENCH_KINDS];

struct bench {
    struct lethe_paths paths; /* of pictures alone */
    const struct lethe_pair *pair;
    unsigned strength; /* of totals and speeds */
    enum lethe_effort effort;
    unsigned threads; /* processors */
    struct lethe_progress progress;
};

int64_t lethe_bench_now_ns(void);
/* The processor's time of this thread alone, for what it does by itself: others on the machine do not matter. */
int64_t lethe_bench_own_ns(void);

/* One file in memory. */
struct bench_file {
    enum bench_kind kind;
    struct lethe_buf bytes;
};
void lethe_bench_file_release(struct bench_file *file);
/* What the path holds: BENCH_PNG or BENCH_JPEG; LETHE_ERR_UNSUPPORTED when neither. */
enum lethe_err lethe_bench_read(const char *path, struct bench_file *file) LETHE_MUST_CHECK;
/* An 8-bit (or 16-bit) raster by the ordinary decoder of its kind. */
enum lethe_err lethe_bench_raster(const struct bench_file *file,
                                  struct lethe_raster *raster) LETHE_MUST_CHECK;
/* A zlib copy of a PNG, of kind; *ns is what writing it took, own: of this thread's time. */
enum lethe_err lethe_bench_zlib_copy(const struct lethe_raster *raster, enum bench_kind kind, bool own,
                                     struct bench_file *file, int64_t *ns) LETHE_MUST_CHECK;

/* The engine on one file, verified: the restored bytes were compared. Times without a pool are the thread's own. */
struct bench_run {
    bool learned; /* it has a recipe and came back exactly; all below is 0 otherwise */
    uint64_t pixels;
    uint64_t artifact, residual, recipe;
    int64_t encode_ns;    /* parse, encrypt, residual, proof */
    int64_t parse_ns;     /* of it, taking the container apart */
    int64_t decode_ns;    /* restore alone */
    int64_t container_ns; /* of it, what writing the container takes: deflate or Huffman coding */
};
enum lethe_err lethe_bench_engine(const struct bench *bench, const struct bench_file *file,
                                  struct lethe_pool *pool, struct bench_run *run) LETHE_MUST_CHECK;

/* The parts of the report; each adds to object, or fails with the error said. */
enum lethe_err lethe_bench_totals(struct bench *bench, struct lethe_pool *pool,
                                  json_t *object) LETHE_MUST_CHECK;
enum lethe_err lethe_bench_quality(struct bench *bench, struct lethe_pool *pool,
                                   json_t *object) LETHE_MUST_CHECK;
/* Forks a child for each kernel table: to be called before this process has threads or has looked at its
 * processor. */
enum lethe_err lethe_bench_speed(struct bench *bench, json_t *object) LETHE_MUST_CHECK;
enum lethe_err lethe_bench_latency(struct bench *bench, struct lethe_pool *pool,
                                   json_t *object) LETHE_MUST_CHECK;
/* Programs that are not installed are left out. */
enum lethe_err lethe_bench_rivals(struct bench *bench, struct lethe_pool *pool,
                                  json_t *object) LETHE_MUST_CHECK;

/* A store in a bucket beside other programs: bench_store.c. */
struct bench_store_options {
    const char *location; /* s3://... */
    struct lethe_store_options store;
    uint64_t objects, object_size;
    unsigned rounds; /* of which the median counts; at most 9 */
};
enum lethe_err lethe_bench_store(const struct bench_store_options *options, struct lethe_progress *progress,
                                 json_t *object) LETHE_MUST_CHECK;

/* The curves of lethe_bench_quality as a picture. */
void lethe_bench_plot(const json_t *object, struct lethe_buf *out);

#endif
