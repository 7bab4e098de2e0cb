/* SPDX-License-Identifier: MIT */
/* Descriptions of deflate streams: next to nothing for zlib's own, exact for any, safe on damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <png.h>

#include "engine/image/deflate.h"
#include "tests/deflate_describe.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Bytes with repetitions of many lengths and distances, runs, and stretches of noise. */
static uint8_t *make_data(size_t len, uint64_t seed)
{
    uint8_t *data = calloc(1, len + LETHE_DEFLATE_SLACK);
    size_t at = 0;

    assert_non_null(data);
    while (at < len) {
        size_t run = 1 + next(&seed) % (next(&seed) % 16 ? 24 : 400), from = at ? next(&seed) % at : 0;
        unsigned kind = next(&seed) % 4;

        for (; run > 0 && at < len; run--, at++) {
            data[at] = kind == 0 && at > 0 ? data[from++]
                       : kind == 1         ? (uint8_t)(at / 64)
                       : kind == 2         ? (uint8_t)(next(&seed) & 3)
                                           : (uint8_t)(next(&seed) >> (next(&seed) % 8));
        }
    }
    return data;
}

/* zlib's strategies, which libpng passes through. */
enum { DEFAULT_STRATEGY, FILTERED, HUFFMAN_ONLY, RLE, FIXED };

static void collect(png_structp png, png_bytep bytes, size_t len)
{
    lethe_buf_put(png_get_io_ptr(png), bytes, len);
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

#define WIDTH 120

/*
 * The raw deflate stream of len bytes (a multiple of WIDTH + 1), by zlib through libpng: the rows of a grey
 * picture. flush: rows between sync flushes, 0 for none. data changes: every row begins with its filter type,
 * 0.
 */
static uint8_t *pack(uint8_t *data, size_t len, int level, int strategy, int mem_level, int window_bits,
                     int flush, size_t *packed)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    struct lethe_buf file = {0};
    uint8_t *out;
    size_t n = 0;

    assert_int_equal(len % (WIDTH + 1), 0);
    png_set_write_fn(png, &file, collect, flush_nothing);
    png_set_IHDR(png, info, WIDTH, (png_uint_32)(len / (WIDTH + 1)), 8, PNG_COLOR_TYPE_GRAY, 0, 0, 0);
    png_set_filter(png, 0, PNG_FILTER_NONE);
    png_set_compression_level(png, level);
    png_set_compression_strategy(png, strategy);
    png_set_compression_mem_level(png, mem_level);
    png_set_compression_window_bits(png, window_bits);
    png_set_flush(png, flush);
    png_write_info(png, info);
    for (size_t at = 0; at < len; at += WIDTH + 1) {
        data[at] = 0;
        png_write_row(png, data + at + 1);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(lethe_buf_status(&file), LETHE_OK);
    out = malloc(file.len);
    assert_non_null(out);
    for (size_t at = 8; at + 12 <= file.len;) {
        size_t size = lethe_get_u32be(file.data + at);

        if (memcmp(file.data + at + 4, "IDAT", 4) == 0) {
            memcpy(out + n, file.data + at + 8, size);
            n += size;
        }
        at += 12 + size;
    }
    lethe_buf_release(&file);
    assert_true(n > 6);
    *packed = n - 6; /* without zlib's header and checksum */
    memmove(out, out + 2, *packed);
    return out;
}

/* Describes, replays, compares; returns the size of the description. */
static size_t round_trip(const uint8_t *packed, size_t packed_len, uint8_t *data, size_t len, unsigned hint,
                         int window_bits)
{
    struct lethe_buf description = {0}, out = {0};
    size_t used, cost;

    assert_int_equal(describe(packed, packed_len, data, len, hint, (unsigned)window_bits, &description, &used),
                     LETHE_OK);
    assert_int_equal(used, packed_len);
    assert_int_equal(lethe_deflate_replay(description.data, description.len, data, len, NULL, packed_len, &out),
                     LETHE_OK);
    assert_int_equal(out.len, packed_len);
    assert_memory_equal(out.data, packed, packed_len);
    cost = description.len;
    lethe_buf_release(&out);
    if (packed_len > 8) { /* and never grows past what it was allowed */
        assert_int_not_equal(
            lethe_deflate_replay(description.data, description.len, data, len, NULL, packed_len / 2, &out),
            LETHE_OK);
        lethe_buf_release(&out);
    }
    lethe_buf_release(&description);
    return cost;
}

static unsigned hint_of(int level, int strategy)
{
    return strategy >= HUFFMAN_ONLY || level < 2 ? 0 : level < 6 ? 1 : level == 6 ? 2 : 3;
}

static void zlib_costs_nothing(void **unused)
{
    static const int mem_levels[] = {1, 8, 9}, windows[] = {9, 12, 15};
    size_t len = 400 * (WIDTH + 1);
    uint8_t *data = make_data(len, 7);

    (void)unused;
    for (int level = 0; level <= 9; level++) {
        for (int strategy = DEFAULT_STRATEGY; strategy <= FIXED; strategy++) {
            for (unsigned k = 0; k < 9; k++) {
                size_t packed_len, cost;
                uint8_t *packed =
                    pack(data, len, level, strategy, mem_levels[k % 3], windows[k / 3], 0, &packed_len);

                cost = round_trip(packed, packed_len, data, len, hint_of(level, strategy), windows[k / 3]);
                if (cost > packed_len / 50 + 200) {
                    fail_msg("level %d strategy %d mem %d window %d: %zu of %zu", level, strategy,
                             mem_levels[k % 3], windows[k / 3], cost, packed_len);
                }
                free(packed);
            }
        }
    }
    free(data);
}

static void zlib_of_every_size(void **unused)
{
    /* Small windows for small pictures; memLevel 1: a block has 127 symbols, so the end falls on every place
     * in one. */
    (void)unused;
    for (size_t rows = 1; rows < 150; rows += 1 + rows / 30) {
        for (int level = 0; level <= 9; level++) {
            size_t len = rows * (WIDTH + 1), packed_len, cost;
            uint8_t *data = make_data(len, rows), *packed;

            packed = pack(data, len, level, rows % 2, rows % 3 ? 1 : 8, 15, 0, &packed_len);
            cost = round_trip(packed, packed_len, data, len, hint_of(level, 0), 15);
            assert_true(cost < 60);
            free(packed);
            free(data);
        }
    }
}

static void flushes_between(void **unused)
{
    size_t len = 300 * (WIDTH + 1);
    uint8_t *data = make_data(len, 11);

    (void)unused;
    for (int level = 0; level <= 9; level++) {
        size_t packed_len;
        uint8_t *packed = pack(data, len, level, DEFAULT_STRATEGY, 8, 15, 7, &packed_len);

        round_trip(packed, packed_len, data, len, hint_of(level, 0), 15);
        free(packed);
    }
    free(data);
}

/* Tokens that no encoder with a plan would choose, in blocks of every kind and size. */
static void random_parse(uint8_t *data, size_t len, uint64_t seed, struct lethe_buf *out)
{
    struct lethe_bit_writer writer;
    struct lethe_tokens tokens = {0};
    size_t pos = 0;

    lethe_bit_writer_init(&writer, out, SIZE_MAX / 2);
    while (pos < len || next(&seed) % 2) {
        struct lethe_deflate_block block = {.kind = (enum lethe_deflate_kind)(next(&seed) % 3), .start = pos};
        struct lethe_deflate_freqs freqs;
        size_t most = pos + next(&seed) % 6000, end = most < len ? most : len;

        tokens.count = 0;
        while (pos < end && block.kind != LETHE_DEFLATE_STORED) {
            size_t distance = pos ? 1 + next(&seed) % (pos < 32768 ? pos : 32768) : 0, n = 0;
            uint32_t token = data[pos];

            while (distance && n < 258 && pos + n < end && data[pos + n] == data[pos + n - distance]) {
                n++;
            }
            if (n >= 3) {
                token = lethe_token_match(3 + next(&seed) % (unsigned)(n - 2), (unsigned)distance);
            }
            assert_int_equal(lethe_tokens_push(&tokens, token), LETHE_OK);
            pos += lethe_token_length(token);
        }
        pos = end;
        block.bytes = end - block.start;
        block.padding = (uint8_t)next(&seed);
        lethe_deflate_count(tokens.at, tokens.count, &freqs);
        for (int i = 0; i < 20; i++) { /* codes that fit the counts badly */
            freqs.lit[next(&seed) % 286]++;
            freqs.dist[next(&seed) % 30]++;
        }
        lethe_deflate_trees_build(&freqs, &block.trees);
        if (next(&seed) % 2) {
            block.trees.clens = 19;
        }
        assert_int_equal(lethe_deflate_write_block(&writer, &block, data, tokens.at, tokens.count), LETHE_OK);
    }
    assert_int_equal(
        lethe_deflate_write_block(
            &writer, &(struct lethe_deflate_block){.kind = LETHE_DEFLATE_FIXED, .final = true, .start = pos},
            data, NULL, 0),
        LETHE_OK);
    assert_int_equal(lethe_deflate_write_end(&writer, (unsigned)next(&seed)), LETHE_OK);
    lethe_tokens_release(&tokens);
}

static void any_parse(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed < 40; seed++) {
        size_t len = seed * 1777;
        uint8_t *data = make_data(len, seed);
        struct lethe_buf packed = {0};

        random_parse(data, len, seed, &packed);
        assert_int_equal(lethe_buf_status(&packed), LETHE_OK);
        round_trip(packed.data, packed.len, data, len, seed & 3, 15);
        lethe_buf_release(&packed);
        free(data);
    }
}

static void damaged_streams(void **unused)
{
    size_t len = 30 * (WIDTH + 1), packed_len;
    uint8_t *data = make_data(len, 9), *room = malloc(len + LETHE_DEFLATE_SLACK);
    uint8_t *packed = pack(data, len, 6, DEFAULT_STRATEGY, 2, 15, 0, &packed_len);
    uint64_t seed = 1;

    (void)unused;
    assert_non_null(room);
    memset(room, 0, len + LETHE_DEFLATE_SLACK);
    for (int i = 0; i < 1500; i++) {
        uint8_t *copy = malloc(packed_len);
        struct lethe_buf description = {0}, out = {0};
        size_t used, cut = i % 3 ? packed_len : next(&seed) % packed_len;
        enum lethe_err err;

        assert_non_null(copy);
        memcpy(copy, packed, packed_len);
        for (unsigned k = next(&seed) % 4; k > 0; k--) {
            copy[next(&seed) % packed_len] ^= (uint8_t)(1u << next(&seed) % 8);
        }
        err = describe(copy, cut, room, len, 2, 15, &description, &used);
        if (!err) { /* still a stream of len bytes: then it must come back */
            assert_int_equal(
                lethe_deflate_replay(description.data, description.len, room, len, NULL, packed_len, &out),
                LETHE_OK);
            assert_memory_equal(out.data, copy, used);
        }
        lethe_buf_release(&out);
        lethe_buf_release(&description);
        free(copy);
    }
    free(packed);
    free(room);
    free(data);
}

static void damaged_descriptions(void **unused)
{
    size_t len = 40 * (WIDTH + 1), packed_len, used;
    uint8_t *data = make_data(len, 13);
    uint64_t seed = 2;

    (void)unused;
    for (int kind = 0; kind < 3; kind++) {
        struct lethe_buf description = {0};
        uint8_t *packed = pack(data, len, kind * 4, kind == 2 ? FIXED : DEFAULT_STRATEGY, 3, 15,
                               kind == 1 ? 3 : 0, &packed_len);

        assert_int_equal(
            describe(packed, packed_len, data, len, 2, 15, &description, &used),
            LETHE_OK);
        for (int i = 0; i < 1500; i++) {
            uint8_t *copy = malloc(description.len);
            struct lethe_buf out = {0};
            size_t cut = i % 4 ? description.len : next(&seed) % description.len;

            assert_non_null(copy);
            memcpy(copy, description.data, description.len);
            copy[0] ^= i % 2; /* the other method, too */
            for (unsigned k = next(&seed) % 3; k > 0; k--) {
                copy[1 + next(&seed) % (description.len - 1)] ^= (uint8_t)(1u << next(&seed) % 8);
            }
            if (lethe_deflate_replay(copy, cut, data, len, NULL, 20000, &out) == LETHE_OK) {
                assert_true(out.len <= 20000);
            }
            lethe_buf_release(&out);
            free(copy);
        }
        lethe_buf_release(&description);
        free(packed);
    }
    free(data);
}

/* Where an encoder's first thousands of tokens could be anyone's, the rest still tells its level. */
static void a_level_shows_late(void **unused)
{
    size_t len = 400 * (WIDTH + 1), noise = 100 * (WIDTH + 1);
    uint8_t *data = make_data(len, 11);
    uint64_t seed = 5;

    (void)unused;
    for (size_t i = 0; i < noise; i++) {
        data[i] = (uint8_t)next(&seed);
    }
    for (int level = 1; level <= 9; level++) {
        struct lethe_buf description = {0}, out = {0};
        size_t packed_len, used;
        uint8_t *packed = pack(data, len, level, DEFAULT_STRATEGY, 8, 15, 0, &packed_len);

        assert_int_equal(
            describe(packed, packed_len, data, len, hint_of(level, DEFAULT_STRATEGY), 15, &description, &used),
            LETHE_OK);
        assert_true(description.len < 64);
        assert_int_equal(lethe_deflate_replay(description.data, description.len, data, len, NULL, packed_len, &out),
                         LETHE_OK);
        assert_int_equal(out.len, packed_len);
        assert_memory_equal(out.data, packed, packed_len);
        lethe_buf_release(&description);
        lethe_buf_release(&out);
        free(packed);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zlib_costs_nothing),
        cmocka_unit_test(a_level_shows_late), cmocka_unit_test(zlib_of_every_size),
        cmocka_unit_test(flushes_between),    cmocka_unit_test(any_parse),
        cmocka_unit_test(damaged_streams),    cmocka_unit_test(damaged_descriptions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
