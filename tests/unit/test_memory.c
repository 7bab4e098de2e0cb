/* SPDX-License-Identifier: MIT */
/*
 * What the engine may be made to allocate. Each measurement is a child process that is given a file, codes it, restores
 * it and tells its high-water mark: that of any picture stays below what lethe_png_memory and lethe_jpeg_memory say,
 * which the limits hold to 1 GiB. What only claims to be large is refused while nothing was allocated.
 *
 * With LETHE_LONG=1 a file of 100 MB of noise as well, the worst that there is, and a JPEG of 49 megapixels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <malloc.h>

#include "fs/cli/drawn.h"
#include "lethe/codec.h"
#include "lethe/seal.h"
#include "tests/long.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOWED true /* memory is counted otherwise */
#else
#define SHADOWED false
#endif

#define SIDE 1200u
#define STARTING (24u << 20) /* for what is refused */
/* What does not grow with a picture: stacks of the pool, tables, tiles of the net, a band for each of two threads. */
#define CONSTANT (48u << 20) /* below 2 megapixels */
#define CONSTANT_LARGE (96u << 20)

/* Parses, encodes and proves as the sealer does, then restores. */
static enum lethe_err code(const struct lethe_buf *file, enum lethe_reason *reason)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_buf artifact = {0}, residual = {0}, again = {0};
    struct lethe_photo *photo = NULL;
    struct lethe_pool *pool;
    const uint8_t *recipe;
    size_t len;
    enum lethe_err err = lethe_pool_new(2, &pool);

    err = err ? err
              : lethe_photo_parse_to_encode(file->data, file->len, &lethe_image_limits_default, pool, &photo, reason);
    if (!err) {
        const struct lethe_photo_coding how = {
            .strength = 2, .rate = lethe_pair_rate(pair, 2), .effort = LETHE_EFFORT_FAST, .random = lethe_random_system()};

        err = lethe_photo_encode(photo, file->data, file->len, pair, &how, pool, &artifact, &residual, NULL);
        recipe = lethe_photo_recipe(photo, &len);
        err = err ? err
                  : lethe_photo_restore(pair, artifact.data, artifact.len, residual.data, residual.len, recipe, len,
                                        &lethe_image_limits_default, pool, file->len, &again);
        if (!err && (again.len != file->len || memcmp(again.data, file->data, again.len) != 0)) {
            err = LETHE_ERR_DIFFERS;
        }
    }
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    lethe_buf_release(&again);
    lethe_pool_free(pool);
    return err;
}

struct outcome {
    enum lethe_err err;
    enum lethe_reason reason;
    uint64_t bytes; /* more than before the file was there */
};

static uint64_t high_water(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_maxrss << 10;
}

/* The file counts as well: it is made in the child. */
static struct outcome measure(void (*make)(const void *how, struct lethe_buf *file), const void *how)
{
    struct outcome *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct outcome outcome;
    int status;
    pid_t child;

    assert_true(shared != MAP_FAILED);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct lethe_buf file = {0};
        uint64_t before;

        mallopt(M_MMAP_THRESHOLD, 65536); /* what is freed goes back at once, as the large pieces of large pictures do */
        before = high_water();

        make(how, &file);
        shared->reason = LETHE_REASON_NONE;
        shared->err = code(&file, &shared->reason);
        shared->bytes = high_water() - before;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    outcome = *shared;
    munmap(shared, sizeof *shared);
    return outcome;
}

/* --- pictures of noise --- */

struct kind {
    const char *name;
    unsigned channels, depth;
    uint32_t side;
    bool jpeg;
};

static void make_noise(const void *how, struct lethe_buf *file)
{
    const struct kind *kind = how;
    struct lethe_raster raster;
    uint64_t state = 7;
    size_t count = (size_t)kind->side * kind->side;

    if (lethe_raster_init(&raster, kind->side, kind->side, kind->channels, kind->depth)) {
        abort();
    }
    for (unsigned c = 0; c < kind->channels; c++) {
        for (size_t i = 0; i < count; i++) {
            raster.planes[c][i] = (uint16_t)(lethe_drawn_next(&state) >> (64 - kind->depth));
        }
    }
    if (kind->jpeg ? lethe_jpeg_write(&raster, 90, false, file) : lethe_png_write(&raster, 1, file)) {
        abort();
    }
    lethe_raster_release(&raster);
}

static void bounded(const struct kind *kind)
{
    struct lethe_buf file = {0};
    struct outcome outcome = measure(make_noise, kind);
    uint64_t pixels = (uint64_t)kind->side * kind->side, most;

    make_noise(kind, &file);
    most = kind->jpeg ? lethe_jpeg_memory(pixels, pixels / 64 * (kind->channels == 1 ? 2 : 3) / 2, file.len)
                      : lethe_png_memory(pixels, kind->channels, kind->depth, file.len);
    lethe_buf_release(&file);
    print_message("%s, %u: %.1f MB of %.1f\n", kind->name, kind->side, (double)outcome.bytes / 1e6, (double)most / 1e6);
    assert_int_equal(outcome.err, LETHE_OK);
    assert_true(outcome.bytes <= most + (kind->side > SIDE ? CONSTANT_LARGE : CONSTANT));
    assert_true(outcome.bytes <= (uint64_t)1 << 30);
}

static void pictures(void **unused)
{
    static const struct kind kinds[] = {
        {"grey", 1, 8, SIDE, false},
        {"RGB and alpha", 4, 8, SIDE, false},
        {"RGB of 16 bits", 3, 16, SIDE, false},
        {"JPEG", 3, 8, SIDE, true},
    };

    (void)unused;
    if (SHADOWED) {
        skip();
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bounded(&kinds[i]);
    }
    if (test_is_long()) {
        bounded(&(struct kind){"100 MB of RGB", 3, 8, 5770, false});
        bounded(&(struct kind){"JPEG", 3, 8, 7000, true});
    }
}

/* --- what claims to be large --- */

struct claim {
    uint32_t width, height;
    uint8_t depth, colour; /* colour 255: a JPEG */
    size_t padding;        /* bytes of data, so that it is not too little for the claim */
};

static void put32(struct lethe_buf *out, uint32_t value)
{
    uint8_t bytes[4];

    lethe_set_u32be(bytes, value);
    lethe_buf_put(out, bytes, 4);
}

static void put_chunk(struct lethe_buf *out, const char *type, const void *data, size_t len)
{
    put32(out, (uint32_t)len);
    lethe_buf_put(out, type, 4);
    lethe_buf_put(out, data, len);
    put32(out, 0); /* a wrong checksum is no reason to refuse */
}

static void make_claim(const void *how, struct lethe_buf *file)
{
    const struct claim *claim = how;
    uint8_t ihdr[13], *data = calloc(1, claim->padding + 2);

    if (!data) {
        abort();
    }
    if (claim->colour == 255) {
        const uint8_t w[2] = {(uint8_t)(claim->width >> 8), (uint8_t)claim->width};
        const uint8_t h[2] = {(uint8_t)(claim->height >> 8), (uint8_t)claim->height};

        lethe_buf_put(file, "\xff\xd8\xff\xc0\0\x11\x08", 7);
        lethe_buf_put(file, h, 2);
        lethe_buf_put(file, w, 2);
        lethe_buf_put(file, "\3\1\x11\0\2\x11\0\3\x11\0\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0", 24);
        lethe_buf_put(file, data, claim->padding);
        free(data);
        return;
    }
    lethe_buf_put(file, "\x89PNG\r\n\x1a\n", 8);
    lethe_set_u32be(ihdr, claim->width);
    lethe_set_u32be(ihdr + 4, claim->height);
    memcpy(ihdr + 8, (const uint8_t[5]){claim->depth, claim->colour}, 5);
    put_chunk(file, "IHDR", ihdr, sizeof ihdr);
    memcpy(data, "\x78\x9c", 2);
    put_chunk(file, "IDAT", data, claim->padding + 2);
    put_chunk(file, "IEND", "", 0);
    free(data);
}

static void claims(void **unused)
{
    static const struct claim list[] = {
        {100000, 100000, 8, 2, 0},  {1u << 30, 1, 16, 6, 0},   {13000, 13000, 8, 2, 600000}, {11000, 11000, 16, 6, 1000000},
        {14100, 14100, 1, 0, 30000}, {9000, 9000, 8, 3, 90000}, {65500, 65500, 0, 255, 0},    {12000, 12000, 0, 255, 4000000},
    };

    (void)unused;
    if (SHADOWED) {
        skip();
    }
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct outcome outcome = measure(make_claim, &list[i]);

        assert_int_equal(outcome.err, LETHE_ERR_UNSUPPORTED);
        assert_int_equal(outcome.reason, LETHE_REASON_TOO_LARGE);
        assert_true(outcome.bytes < STARTING + 2 * list[i].padding);
    }
}

/* Artifacts that claim as much. */
static void artifacts(void **unused)
{
    static const struct {
        uint8_t container, channels, depth;
        uint32_t width, height;
    } list[] = {{1, 3, 8, 13000, 13000}, {1, 4, 16, 11000, 11000}, {1, 1, 8, INT32_MAX, 1}, {2, 3, 8, 12000, 12000}};
    struct lethe_id id = *lethe_pair_id(lethe_pair_shipped(0));

    (void)unused;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct lethe_buf bytes = {0};
        struct lethe_raster picture;

        lethe_buf_put_u8(&bytes, 1);
        lethe_buf_put_u8(&bytes, list[i].container);
        lethe_buf_put_varint(&bytes, list[i].width);
        lethe_buf_put_varint(&bytes, list[i].height);
        lethe_buf_put_u8(&bytes, list[i].channels);
        lethe_buf_put_u8(&bytes, list[i].depth);
        if (list[i].container == 2) {
            lethe_buf_put(&bytes, "\1\x11\x11\x11", 4);
        }
        lethe_buf_put(&bytes, id.bytes, sizeof id.bytes);
        lethe_buf_put_u8(&bytes, 0);
        lethe_buf_put_block(&bytes, "", 0);
        if (list[i].channels % 2 == 0) {
            lethe_buf_put_block(&bytes, "", 0);
        }
        assert_int_equal(lethe_artifact_picture(lethe_pair_shipped(0), bytes.data, bytes.len,
                                                &lethe_image_limits_default, NULL, &picture),
                         LETHE_ERR_FORMAT);
        lethe_buf_release(&bytes);
    }
}

static int start(void **unused)
{
    (void)unused;
    return lethe_seal_start() != LETHE_OK || !lethe_pair_shipped(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures), cmocka_unit_test(claims),
                                       cmocka_unit_test(artifacts)};

    return cmocka_run_group_tests(tests, start, NULL);
}
