/* SPDX-License-Identifier: MIT */
/* The shipped pair: its file, its damage, and what its networks do to a picture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "engine/codec/pair.h"
#include "lethe/model.h"
#include "lethe/pool.h"
#include "lethe/weights.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static void fill(void *context, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)next(context);
    }
}

/* Slopes, an edge, a disc and some grain. */
static struct lethe_ycc draw(uint32_t width, uint32_t height)
{
    struct lethe_ycc picture;
    uint64_t state = 7;

    assert_int_equal(lethe_ycc_init(&picture, width, height), LETHE_OK);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            size_t at = (size_t)y * width + x;
            int dx = (int)x - (int)width / 2, dy = (int)y - (int)height / 3;
            int disc = dx * dx + dy * dy < (int)(width * height / 16);
            int edge = (x * 3 + y * 7) / 90 % 2;

            picture.planes[0][at] = (uint8_t)(40 + x * 100 / width + 50 * (unsigned)disc +
                                              20 * (unsigned)edge + next(&state) % 12);
            picture.planes[1][at] = (uint8_t)(100 + y * 40 / height + (disc ? 20 : 0));
            picture.planes[2][at] = (uint8_t)(150 - x * 30 / width);
        }
    }
    return picture;
}

static uint64_t squared_error(const struct lethe_ycc *a, const struct lethe_ycc *b)
{
    uint64_t sum = 0;

    for (unsigned p = 0; p < 3; p++) {
        for (size_t i = 0; i < (size_t)a->width * a->height; i++) {
            int d = a->planes[p][i] - b->planes[p][i];

            sum += (uint64_t)(d * d);
        }
    }
    return sum;
}

static size_t block_values(const struct lethe_latents *latents)
{
    return (size_t)latents->blocks_w * latents->blocks_h * LETHE_LATENTS;
}

static void test_shipped(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_pair *again;
    const uint8_t *bytes;
    size_t len;

    (void)unused;
    assert_non_null(pair);
    assert_null(lethe_pair_shipped(1));
    bytes = lethe_pair_bytes(pair, &len);
    assert_int_equal(lethe_pair_parse(bytes, len, &again), LETHE_OK);
    assert_true(lethe_id_equal(lethe_pair_id(pair), lethe_pair_id(again)));
    assert_false(lethe_id_is_zero(lethe_pair_id(pair)));
    for (unsigned s = 1; s < LETHE_STRENGTHS; s++) {
        assert_true(lethe_pair_rate(pair, s) > lethe_pair_rate(pair, s - 1));
    }
    lethe_pair_free(again);
    lethe_pair_free(NULL);
}

static void test_serialise(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_buf out = {0};
    const uint8_t *bytes;
    size_t len;

    (void)unused;
    bytes = lethe_pair_bytes(pair, &len);
    assert_int_equal(lethe_weights_serialise(lethe_pair_weights(pair), &out), LETHE_OK);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, bytes, len);
    lethe_buf_release(&out);
}

static void test_damage(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_pair *got;
    const uint8_t *bytes;
    uint8_t *copy;
    size_t len;
    uint64_t state = 1;

    (void)unused;
    bytes = lethe_pair_bytes(pair, &len);
    copy = malloc(len + 1);
    assert_non_null(copy);
    for (int i = 0; i < 300; i++) {
        size_t at = i < 48 ? (size_t)i : next(&state) % len;

        memcpy(copy, bytes, len);
        copy[at] ^= (uint8_t)(1 + next(&state) % 255);
        assert_int_not_equal(lethe_pair_parse(copy, len, &got), LETHE_OK);
        assert_null(got);
    }
    memcpy(copy, bytes, len);
    copy[len] = 0;
    assert_int_not_equal(lethe_pair_parse(copy, len + 1, &got), LETHE_OK);
    for (size_t cut = 0; cut < len; cut += cut < 64 ? 1 : 9973) {
        assert_int_not_equal(lethe_pair_parse(bytes, cut, &got), LETHE_OK);
    }
    memcpy(copy, bytes, len);
    copy[8] = 2; /* a newer version */
    assert_int_equal(lethe_pair_parse(copy, len, &got), LETHE_ERR_VERSION);
    free(copy);
}

/* Random weights under a valid hash: accepted within the bounds, refused outside, never a fault. */
static void test_wild_weights(void **unused)
{
    const uint8_t *bytes;
    uint8_t *copy;
    size_t len, refused = 0;
    uint64_t state = 5;

    (void)unused;
    bytes = lethe_pair_bytes(lethe_pair_shipped(0), &len);
    copy = malloc(len);
    assert_non_null(copy);
    for (int i = 0; i < 60; i++) {
        struct lethe_pair *got;
        enum lethe_err err;

        memcpy(copy, bytes, len);
        for (int n = 0; n < 8; n++) {
            copy[16 + next(&state) % (len - 48)] ^= (uint8_t)(1u << next(&state) % 8);
        }
        crypto_generichash(copy + len - 32, 32, copy, len - 32, NULL, 0);
        err = lethe_pair_parse(copy, len, &got);
        assert_true(err == LETHE_OK || err == LETHE_ERR_FORMAT);
        refused += err != LETHE_OK;
        if (!err) {
            struct lethe_latents latents;
            struct lethe_ycc picture;

            assert_int_equal(lethe_latents_init(&latents, 31, 17, 3), LETHE_OK);
            for (size_t k = 0; k < block_values(&latents); k++) {
                latents.values[k] = (int8_t)(next(&state) % 255 - 127);
            }
            assert_int_equal(lethe_decrypter_run(got, &latents, NULL, &picture), LETHE_OK);
            lethe_ycc_release(&picture);
            lethe_latents_release(&latents);
        }
        lethe_pair_free(got);
    }
    assert_true(refused > 0);
    free(copy);
}

static void test_fresh_noise(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_ycc picture = draw(203, 150);
    uint64_t seed = 11;
    struct lethe_random random = {.fill = fill, .context = &seed};

    (void)unused;
    for (unsigned strength = 0; strength < LETHE_STRENGTHS; strength++) {
        struct lethe_latents a, b;
        size_t differ = 0, set = 0;

        assert_int_equal(lethe_encrypter_run(pair, &picture, strength, &random, NULL, &a), LETHE_OK);
        assert_int_equal(lethe_encrypter_run(pair, &picture, strength, &random, NULL, &b), LETHE_OK);
        for (size_t i = 0; i < block_values(&a); i++) {
            set += a.values[i] || b.values[i];
            differ += a.values[i] != b.values[i];
        }
        assert_true(set > 100);
        assert_true(differ * 10 >= set);
        lethe_latents_release(&a);
        lethe_latents_release(&b);
    }
    lethe_ycc_release(&picture);
}

static void test_restores(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_ycc picture = draw(264, 200), full, linear;
    uint64_t seed = 3, before = 0;
    struct lethe_random random = {.fill = fill, .context = &seed};

    (void)unused;
    for (unsigned strength = 0; strength < LETHE_STRENGTHS; strength++) {
        struct lethe_latents latents;
        uint64_t error;

        assert_int_equal(lethe_encrypter_run(pair, &picture, strength, &random, NULL, &latents), LETHE_OK);
        assert_int_equal(lethe_decrypter_run(pair, &latents, NULL, &full), LETHE_OK);
        assert_int_equal(lethe_decrypter_run_linear(pair, &latents, NULL, &linear), LETHE_OK);
        error = squared_error(&picture, &full);
        assert_true(error < squared_error(&picture, &linear));
        assert_true(error > before); /* a greater strength keeps less */
        before = error;
        if (strength == 0) { /* over 31 dB */
            assert_true(error < 51ull * 3 * 264 * 200);
        }
        lethe_ycc_release(&full);
        lethe_ycc_release(&linear);
        lethe_latents_release(&latents);
    }
    lethe_ycc_release(&picture);
}

static void test_threads_and_sizes(void **unused)
{
    static const uint32_t sizes[][2] = {{1, 1},     {8, 8},    {9, 7},    {257, 255},
                                        {256, 264}, {1000, 3}, {3, 1000}, {520, 300}};
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_pool *pool;

    (void)unused;
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct lethe_ycc picture = draw(sizes[i][0], sizes[i][1]), one, two;
        struct lethe_latents a, b;
        uint64_t seed1 = 9, seed2 = 9;

        assert_int_equal(
            lethe_encrypter_run(pair, &picture, 1, &(struct lethe_random){fill, &seed1}, NULL, &a), LETHE_OK);
        assert_int_equal(
            lethe_encrypter_run(pair, &picture, 1, &(struct lethe_random){fill, &seed2}, pool, &b), LETHE_OK);
        assert_memory_equal(a.values, b.values, block_values(&a));
        assert_int_equal(lethe_decrypter_run(pair, &a, NULL, &one), LETHE_OK);
        assert_int_equal(lethe_decrypter_run(pair, &a, pool, &two), LETHE_OK);
        assert_int_equal(squared_error(&one, &two), 0);
        lethe_ycc_release(&one);
        lethe_ycc_release(&two);
        lethe_ycc_release(&picture);
        lethe_latents_release(&a);
        lethe_latents_release(&b);
    }
    lethe_pool_free(pool);
}

/* An altered weight of the Decrypter changes its picture. */
static void test_altered_weight(void **unused)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_ycc picture = draw(128, 128), one, two;
    struct lethe_weights *weights = malloc(sizeof *weights);
    struct lethe_pair *altered;
    struct lethe_latents latents;
    struct lethe_buf file = {0};
    uint64_t seed = 2;

    (void)unused;
    assert_non_null(weights);
    *weights = *lethe_pair_weights(pair);
    for (size_t i = 0; i < LETHE_HIDDEN; i++) {
        weights->dec_conv2[i][4][i] = (int8_t)(weights->dec_conv2[i][4][i] > 0 ? -20 : 20);
    }
    assert_int_equal(lethe_weights_serialise(weights, &file), LETHE_OK);
    assert_int_equal(lethe_pair_parse(file.data, file.len, &altered), LETHE_OK);
    assert_false(lethe_id_equal(lethe_pair_id(pair), lethe_pair_id(altered)));
    assert_int_equal(
        lethe_encrypter_run(pair, &picture, 0, &(struct lethe_random){fill, &seed}, NULL, &latents),
        LETHE_OK);
    assert_int_equal(lethe_decrypter_run(pair, &latents, NULL, &one), LETHE_OK);
    assert_int_equal(lethe_decrypter_run(altered, &latents, NULL, &two), LETHE_OK);
    assert_true(squared_error(&one, &two) > 0);
    lethe_ycc_release(&one);
    lethe_ycc_release(&two);
    lethe_ycc_release(&picture);
    lethe_latents_release(&latents);
    lethe_pair_free(altered);
    lethe_buf_release(&file);
    free(weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_serialise),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_wild_weights),
        cmocka_unit_test(test_fresh_noise),
        cmocka_unit_test(test_restores),
        cmocka_unit_test(test_threads_and_sizes),
        cmocka_unit_test(test_altered_weight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
