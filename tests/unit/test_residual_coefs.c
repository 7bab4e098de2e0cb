/* SPDX-License-Identifier: MIT */
/* Coefficients given xhat come back exactly, whatever they are; threads change nothing; bad streams are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lethe/residual.h"
#include "tests/tsan.h"

enum kind { NOISE, ZERO, SPARSE, EXTREMES, PHOTO, KINDS };

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

struct picture {
    struct lethe_jpeg jpeg;
    uint8_t *xhat[4];
};

static int16_t coefficient(enum kind kind, unsigned position, uint64_t *seed)
{
    uint32_t r = next(seed);

    switch (kind) {
    case NOISE:
        return (int16_t)(r & 0xffff);
    case ZERO:
        return 0;
    case SPARSE:
        return (int16_t)(r % 50 == 0 ? (int)(r >> 8) % 9 - 4 : 0);
    case EXTREMES:
        return r & 1 ? INT16_MAX : r & 2 ? INT16_MIN : 0;
    default:
        r %= 1 + 400 / (1 + position * position / 4);
        return (int16_t)(next(seed) & 1 ? (int)r : -(int)r);
    }
}

/* form: sampling factors of each component, two digits for each (hv), in the order of components. */
static void picture_init(struct picture *p, uint32_t mcus_w, uint32_t mcus_h, unsigned components,
                         const unsigned *form, enum kind kind, uint64_t seed)
{
    *p = (struct picture){.jpeg = {.width = mcus_w * 8, .height = mcus_h * 8, .components = components}};
    for (unsigned c = 0; c < components; c++) {
        struct lethe_jpeg_component *k = &p->jpeg.component[c];
        size_t blocks;

        k->h = form[c] / 10;
        k->v = form[c] % 10;
        k->blocks_w = k->real_w = mcus_w * k->h;
        k->blocks_h = k->real_h = mcus_h * k->v;
        blocks = (size_t)k->blocks_w * k->blocks_h;
        for (unsigned i = 0; i < 64; i++) {
            k->quant[i] = (uint16_t)(kind == EXTREMES ? (i % 2 ? 65535 : 0) : 3 + i);
        }
        k->coefs = calloc(blocks * 64, sizeof *k->coefs);
        p->xhat[c] = calloc(blocks, 64);
        assert_non_null(k->coefs);
        assert_non_null(p->xhat[c]);
        for (size_t i = 0; i < blocks * 64; i++) {
            k->coefs[i] = coefficient(kind, i % 8 + i / 8 % 8, &seed);
            p->xhat[c][i] = (uint8_t)(kind == EXTREMES ? (i & 1) * 255 : 100 + next(&seed) % 50);
        }
    }
}

static void picture_release(struct picture *p)
{
    for (unsigned c = 0; c < 4; c++) {
        free(p->jpeg.component[c].coefs);
        free(p->xhat[c]);
    }
}

static const uint8_t *const *xhat_of(const struct picture *p)
{
    return (const uint8_t *const *)p->xhat;
}

/* The same shape with no coefficients yet: all ones, which the decoder must overwrite. */
static void blank(const struct lethe_jpeg *jpeg, struct lethe_jpeg *out)
{
    *out = *jpeg;
    for (unsigned c = 0; c < jpeg->components; c++) {
        size_t bytes = (size_t)jpeg->component[c].blocks_w * jpeg->component[c].blocks_h * 128;

        out->component[c].coefs = malloc(bytes);
        assert_non_null(out->component[c].coefs);
        memset(out->component[c].coefs, 1, bytes);
    }
}

static void coefs_free(struct lethe_jpeg *jpeg)
{
    for (unsigned c = 0; c < jpeg->components; c++) {
        free(jpeg->component[c].coefs);
    }
}

static size_t round_trip(const struct picture *p, enum lethe_effort effort, struct lethe_pool *pool)
{
    struct lethe_buf one = {0}, many = {0};
    struct lethe_jpeg back;
    size_t len;

    assert_int_equal(lethe_residual_coefs_encode(&p->jpeg, xhat_of(p), effort, NULL, &one), LETHE_OK);
    assert_int_equal(lethe_residual_coefs_encode(&p->jpeg, xhat_of(p), effort, pool, &many), LETHE_OK);
    assert_int_equal(one.len, many.len);
    assert_memory_equal(one.data, many.data, one.len);
    blank(&p->jpeg, &back);
    assert_int_equal(lethe_residual_coefs_decode(one.data, one.len, xhat_of(p), pool, &back), LETHE_OK);
    for (unsigned c = 0; c < back.components; c++) {
        const struct lethe_jpeg_component *k = &p->jpeg.component[c];

        assert_memory_equal(back.component[c].coefs, k->coefs, (size_t)k->blocks_w * k->blocks_h * 128);
    }
    coefs_free(&back);
    len = one.len;
    lethe_buf_release(&one);
    lethe_buf_release(&many);
    return len;
}

static void every_form_and_kind(void **unused)
{
    static const unsigned forms[][4] = {
        {11},         {22},         {11, 11, 11}, {22, 11, 11},     {21, 11, 11},    {12, 11, 11},
        {41, 11, 11}, {44, 21, 12}, {11, 22, 11}, {11, 11, 11, 11}, {22, 11, 11, 22}};
    static const unsigned components[] = {1, 1, 3, 3, 3, 3, 3, 3, 3, 4, 4};
    static const uint32_t sizes[][2] = {{1, 1}, {1, 5}, {6, 1}, {5, 7}};
    struct lethe_pool *pool;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    for (size_t form = 0; form < sizeof components / sizeof *components; form++) {
        for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
            for (unsigned kind = 0; kind < KINDS; kind++) {
                struct picture p;

                picture_init(&p, sizes[size][0], sizes[size][1], components[form], forms[form],
                             (enum kind)kind, kind + 1);
                (void)round_trip(&p, LETHE_EFFORT_FAST, pool);
                (void)round_trip(&p, LETHE_EFFORT_STRONG, pool);
                picture_release(&p);
            }
        }
    }
    lethe_pool_free(pool);
}

/* Large enough for several bands, so that two threads have something to share; the other pictures are of one. */
static void threads_change_nothing(void **unused)
{
    static const unsigned form[] = {22, 11, 11};
    struct lethe_pool *pool;
    const uint32_t mcus_h = TEST_TSAN ? 60 : 100;
    struct picture p;

    (void)unused;
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    picture_init(&p, 64, mcus_h, 3, form, PHOTO, 5);
    (void)round_trip(&p, LETHE_EFFORT_FAST, pool);
    picture_release(&p);
    picture_init(&p, 64, mcus_h, 3, form, SPARSE, 6);
    (void)round_trip(&p, LETHE_EFFORT_STRONG, pool);
    picture_release(&p);
    lethe_pool_free(pool);
}

static void nothing_costs_next_to_nothing(void **unused)
{
    static const unsigned form[] = {22, 11, 11};
    struct picture p;

    (void)unused;
    TEST_IN_ONE_THREAD();
    picture_init(&p, 32, 32, 3, form, ZERO, 1);
    assert_true(round_trip(&p, LETHE_EFFORT_FAST, NULL) < 800); /* 6144 blocks; xhat is noise here */
    picture_release(&p);
}

static void bad_streams_are_refused(void **unused)
{
    static const unsigned form[] = {22, 11, 11};
    struct picture p;
    struct lethe_buf good = {0};
    struct lethe_jpeg back;
    uint64_t seed = 9;

    (void)unused;
    TEST_IN_ONE_THREAD();
    picture_init(&p, 3, 3, 3, form, PHOTO, 3);
    assert_int_equal(lethe_residual_coefs_encode(&p.jpeg, xhat_of(&p), LETHE_EFFORT_FAST, NULL, &good),
                     LETHE_OK);
    blank(&p.jpeg, &back);
    for (size_t len = 0; len < good.len; len += 1 + len / 8) {
        assert_int_equal(lethe_residual_coefs_decode(good.data, len, xhat_of(&p), NULL, &back),
                         LETHE_ERR_FORMAT);
    }
    lethe_buf_put_u8(&good, 0);
    assert_int_equal(lethe_residual_coefs_decode(good.data, good.len, xhat_of(&p), NULL, &back),
                     LETHE_ERR_FORMAT);
    good.len--;
    for (int i = 0; i < 200; i++) {
        size_t at = i < 70 ? next(&seed) % 8 : next(&seed) % good.len;
        uint8_t keep = good.data[at];
        enum lethe_err err;

        good.data[at] ^= (uint8_t)(1 + next(&seed) % 255);
        err = lethe_residual_coefs_decode(good.data, good.len, xhat_of(&p), NULL, &back);
        assert_true(err == LETHE_OK || err == LETHE_ERR_FORMAT);
        good.data[at] = keep;
    }
    back.component[1].v = 0;
    assert_int_equal(lethe_residual_coefs_decode(good.data, good.len, xhat_of(&p), NULL, &back),
                     LETHE_ERR_ARG);
    coefs_free(&back);
    lethe_buf_release(&good);
    picture_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_and_kind),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(nothing_costs_next_to_nothing),
        cmocka_unit_test(bad_streams_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
