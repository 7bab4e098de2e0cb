/* SPDX-License-Identifier: MIT */
/* Latents come back as they were, whatever they are; hostile bytes fail cleanly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lethe/model.h"
#include "lethe/pool.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

enum kind { KIND_ZERO, KIND_SPARSE, KIND_SMOOTH, KIND_WILD, KIND_ENDS, KIND_COUNT };

static struct lethe_latents make(uint32_t width, uint32_t height, enum kind kind, uint64_t seed)
{
    struct lethe_latents latents;

    assert_int_equal(lethe_latents_init(&latents, width, height, (unsigned)seed % LETHE_RATES), LETHE_OK);
    for (size_t i = 0; i < (size_t)latents.blocks_w * latents.blocks_h; i++) {
        for (size_t k = 0; k < LETHE_LATENTS; k++) {
            uint32_t r = next(&seed);
            int value = 0;

            if (kind == KIND_SPARSE && r % (2 + 2 * k) == 0) {
                value = (int)(r >> 16) % 5 - 2;
            } else if (kind == KIND_SMOOTH) {
                value = k < 3 ? (int)(i % latents.blocks_w) % 100 + (int)(r % 5) - 50 : (int)(r % 3) - 1;
            } else if (kind == KIND_WILD) {
                value = (int)(r % 255) - 127;
            } else if (kind == KIND_ENDS) {
                value = r & 1 ? 127 : -127;
            }
            latents.values[i * LETHE_LATENTS + k] = (int8_t)value;
        }
    }
    return latents;
}

static void check_round_trip(const struct lethe_latents *latents, struct lethe_pool *pool)
{
    struct lethe_buf one = {0}, two = {0};
    struct lethe_reader reader;
    struct lethe_latents got;

    lethe_buf_put_u8(&one, 0x77); /* encoding appends */
    lethe_buf_put_u8(&two, 0x77);
    assert_int_equal(lethe_latents_encode(latents, &one), LETHE_OK);
    assert_int_equal(lethe_latents_encode_on(latents, pool, &two), LETHE_OK);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    lethe_buf_put_u8(&one, 0x88); /* and decoding leaves what follows */
    lethe_reader_init(&reader, one.data + 1, one.len - 1);
    assert_int_equal(lethe_latents_decode_on(&reader, 1 << 28, pool, &got), LETHE_OK);
    assert_int_equal(lethe_reader_left(&reader), 1);
    assert_int_equal(got.width, latents->width);
    assert_int_equal(got.height, latents->height);
    assert_int_equal(got.blocks_w, latents->blocks_w);
    assert_int_equal(got.blocks_h, latents->blocks_h);
    assert_int_equal(got.rate, latents->rate);
    assert_memory_equal(got.values, latents->values, (size_t)got.blocks_w * got.blocks_h * LETHE_LATENTS);
    lethe_latents_release(&got);
    lethe_buf_release(&one);
    lethe_buf_release(&two);
}

static void test_round_trip(void **unused)
{
    static const uint32_t sizes[][2] = {{1, 1}, {8, 8}, {9, 17}, {160, 96}, {1, 900}, {900, 1}};
    struct lethe_pool *pool;

    (void)unused;
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
            struct lethe_latents latents = make(sizes[i][0], sizes[i][1], kind, 3 * i + kind);

            check_round_trip(&latents, pool);
            lethe_latents_release(&latents);
        }
    }
    lethe_pool_free(pool);
}

/* More than one band. */
static void test_bands(void **unused)
{
    struct lethe_latents latents = make(1600, 1200, KIND_SPARSE, 4);
    struct lethe_pool *pool;

    (void)unused;
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    check_round_trip(&latents, pool);
    lethe_pool_free(pool);
    lethe_latents_release(&latents);
}

static void test_zero_is_small(void **unused)
{
    struct lethe_latents latents = make(640, 480, KIND_ZERO, 0);
    struct lethe_buf out = {0};

    (void)unused;
    assert_int_equal(lethe_latents_encode(&latents, &out), LETHE_OK);
    assert_true(out.len < 100);
    lethe_buf_release(&out);
    lethe_latents_release(&latents);
}

static void decode_any(const uint8_t *bytes, size_t len)
{
    struct lethe_reader reader;
    struct lethe_latents got;
    enum lethe_err err;

    lethe_reader_init(&reader, bytes, len);
    err = lethe_latents_decode(&reader, 1 << 18, &got);
    if (err) {
        assert_null(got.values);
    } else {
        for (size_t i = 0; i < (size_t)got.blocks_w * got.blocks_h * LETHE_LATENTS; i++) {
            assert_true(got.values[i] >= -LETHE_LATENT_MAX);
        }
    }
    lethe_latents_release(&got);
}

static void test_hostile(void **unused)
{
    struct lethe_latents latents = make(200, 136, KIND_SPARSE, 9);
    struct lethe_buf out = {0};
    uint64_t state = 21;

    (void)unused;
    assert_int_equal(lethe_latents_encode(&latents, &out), LETHE_OK);
    for (size_t cut = 0; cut < out.len; cut += 1 + cut / 8) {
        struct lethe_reader reader;
        struct lethe_latents got;

        lethe_reader_init(&reader, out.data, cut);
        assert_int_not_equal(lethe_latents_decode(&reader, 1 << 28, &got), LETHE_OK);
        assert_null(got.values);
    }
    for (int i = 0; i < 400; i++) {
        uint8_t *copy = malloc(out.len);

        assert_non_null(copy);
        memcpy(copy, out.data, out.len);
        for (int n = 0; n < 3; n++) {
            copy[i < 200 ? next(&state) % 24 : next(&state) % out.len] = (uint8_t)next(&state);
        }
        decode_any(copy, out.len);
        free(copy);
    }
    for (int i = 0; i < 400; i++) {
        uint8_t noise[64];

        for (size_t n = 0; n < sizeof noise; n++) {
            noise[n] = (uint8_t)next(&state);
        }
        decode_any(noise, next(&state) % sizeof noise);
    }
    lethe_buf_release(&out);
    lethe_latents_release(&latents);
}

static void test_limits(void **unused)
{
    struct lethe_buf bytes = {0};
    struct lethe_reader reader;
    struct lethe_latents got;

    (void)unused;
    lethe_buf_put_varint(&bytes, 1 << 20);
    lethe_buf_put_varint(&bytes, 1 << 20);
    lethe_buf_put_u8(&bytes, 0);
    lethe_reader_init(&reader, bytes.data, bytes.len);
    assert_int_equal(lethe_latents_decode(&reader, 1 << 28, &got), LETHE_ERR_NOMEM);
    /* Within the limit, but far too short for its bands. */
    lethe_reader_init(&reader, bytes.data, bytes.len);
    assert_int_equal(lethe_latents_decode(&reader, UINT64_MAX, &got), LETHE_ERR_FORMAT);
    lethe_buf_reset(&bytes);
    lethe_buf_put_varint(&bytes, 0);
    lethe_buf_put_varint(&bytes, 5);
    lethe_buf_put_u8(&bytes, 0);
    lethe_reader_init(&reader, bytes.data, bytes.len);
    assert_int_equal(lethe_latents_decode(&reader, 1 << 28, &got), LETHE_ERR_FORMAT);
    lethe_buf_reset(&bytes);
    lethe_buf_put_varint(&bytes, 5);
    lethe_buf_put_varint(&bytes, 5);
    lethe_buf_put_u8(&bytes, LETHE_RATES);
    lethe_buf_put_u8(&bytes, 0);
    lethe_reader_init(&reader, bytes.data, bytes.len);
    assert_int_equal(lethe_latents_decode(&reader, 1 << 28, &got), LETHE_ERR_FORMAT);
    lethe_buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_bands),
        cmocka_unit_test(test_zero_is_small), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
