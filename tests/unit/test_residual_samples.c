/* SPDX-License-Identifier: MIT */
/* Samples given xhat come back exactly, whatever they are; threads change nothing; bad streams are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/codec/residual_samples_fast.h"
#include "lethe/cpu.h"
#include "lethe/residual.h"
#include "tests/tsan.h"

enum kind { NOISE, CONSTANT, GRADIENT, SPRITE, EXTREMES, PHOTO, TEXT, KINDS };

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

struct picture {
    struct lethe_raster raster;
    uint8_t *xhat[4];
};

static void picture_init(struct picture *p, uint32_t width, uint32_t height, unsigned channels,
                         unsigned depth, enum kind kind, uint64_t seed)
{
    uint32_t most = (1u << depth) - 1;
    size_t count = (size_t)width * height;

    *p = (struct picture){.raster = {.width = width, .height = height, .channels = channels, .depth = depth}};
    for (unsigned c = 0; c < channels; c++) {
        p->raster.planes[c] = calloc(count, sizeof(uint16_t));
        p->xhat[c] = calloc(count, 1);
        assert_non_null(p->raster.planes[c]);
        assert_non_null(p->xhat[c]);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t x = (uint32_t)(i % width), y = (uint32_t)(i / width);
        bool inside = (x % 40 - 20) * (x % 40 - 20) + (y % 40 - 20) * (y % 40 - 20) < 150;

        for (unsigned c = 0; c < channels; c++) {
            uint32_t v = 0;

            switch (kind) {
            case NOISE:
                v = next(&seed);
                break;
            case CONSTANT:
                v = 77 + c;
                break;
            case GRADIENT:
                v = x * 3 + y * (c + 1);
                break;
            case TEXT: /* glyphs of sixteen kinds on a ground, and a shade on top */
                v = ((x / 7 * 37 + y / 11 * 101) % 16 * 0x9e37 + x % 7 * 0x85eb + y % 11 * 0xca6b) % 5 == 0
                        ? (20 + 13 * c + x / 7 % 3) * (most / 255)
                        : y < 16 ? y * (c + 3) * (most / 255) : most - c;
                break;
            case SPRITE:
                v = inside ? (c == channels - 1 ? most : x * 9 + next(&seed) % 4) : 0;
                break;
            case EXTREMES:
                v = (x + y + c) % 2 ? most : 0;
                break;
            default:
                v = (most / 3 + x * (most / 600 + 1) + y / (c + 1)) + next(&seed) % (most / 32);
                v = v > most ? most : v;
                break;
            }
            p->raster.planes[c][i] = (uint16_t)(v & most);
            p->xhat[c][i] = (uint8_t)((v & most) >> (depth - 8));
            if (kind == NOISE || i % 7 == 0) {
                p->xhat[c][i] = (uint8_t)next(&seed);
            }
        }
    }
}

static void picture_release(struct picture *p)
{
    for (unsigned c = 0; c < 4; c++) {
        free(p->raster.planes[c]);
        free(p->xhat[c]);
    }
}

static const uint8_t *const *xhat_of(const struct picture *p)
{
    return (const uint8_t *const *)p->xhat;
}

static size_t round_trip(const struct picture *p, enum lethe_effort effort, struct lethe_pool *pool)
{
    struct lethe_buf one = {0}, many = {0};
    struct lethe_raster back = p->raster;
    size_t bytes = (size_t)back.width * back.height * sizeof(uint16_t), len;

    assert_int_equal(lethe_residual_samples_encode(&p->raster, xhat_of(p), effort, NULL, &one), LETHE_OK);
    assert_int_equal(lethe_residual_samples_encode(&p->raster, xhat_of(p), effort, pool, &many), LETHE_OK);
    assert_int_equal(one.len, many.len);
    assert_memory_equal(one.data, many.data, one.len);
    for (unsigned c = 0; c < back.channels; c++) {
        back.planes[c] = calloc(1, bytes);
        assert_non_null(back.planes[c]);
    }
    assert_int_equal(lethe_residual_samples_decode(one.data, one.len, xhat_of(p), pool, &back), LETHE_OK);
    for (unsigned c = 0; c < back.channels; c++) {
        assert_memory_equal(back.planes[c], p->raster.planes[c], bytes);
        free(back.planes[c]);
    }
    len = one.len;
    lethe_buf_release(&one);
    lethe_buf_release(&many);
    return len;
}

static void every_shape_and_kind(void **unused)
{
    static const uint32_t sizes[][2] = {{1, 1}, {1, 37}, {41, 1}, {2, 2}, {17, 16}, {33, 130}};
    struct lethe_pool *pool;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        for (unsigned channels = 1; channels <= 4; channels++) {
            for (unsigned depth = 8; depth <= 16; depth += 8) {
                for (unsigned kind = 0; kind < KINDS; kind++) {
                    struct picture p;

                    picture_init(&p, sizes[size][0], sizes[size][1], channels, depth, (enum kind)kind,
                                 kind + 1);
                    (void)round_trip(&p, LETHE_EFFORT_FAST, pool);
                    (void)round_trip(&p, LETHE_EFFORT_STRONG, pool);
                    picture_release(&p);
                }
            }
        }
    }
    lethe_pool_free(pool);
}

/* Wide enough for several bands, so that two threads have something to share; the other pictures are of one. */
static void threads_change_nothing(void **unused)
{
    struct lethe_pool *pool;
    struct picture p;

    (void)unused;
    assert_int_equal(lethe_pool_new(2, &pool), LETHE_OK);
    picture_init(&p, 4100, 200, 3, 8, PHOTO, 5);
    (void)round_trip(&p, LETHE_EFFORT_FAST, pool);
    picture_release(&p);
    picture_init(&p, 8200, 130, 1, 16, PHOTO, 6);
    (void)round_trip(&p, LETHE_EFFORT_STRONG, pool);
    picture_release(&p);
    lethe_pool_free(pool);
}

/* The text is compiled for several instruction sets: the same bytes from each, and the same samples in both directions. */
static void instruction_sets_agree(void **unused)
{
    (void)unused;
    TEST_IN_ONE_THREAD();
#if defined(__x86_64__)
    if (!lethe_cpu()->avx2) {
        skip();
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct picture p;
        struct lethe_samples_band plain = {.rows = 70}, wide;
        struct lethe_raster back;

        picture_init(&p, 83, 70, 1 + kind % 4, 8, (enum kind)kind, kind + 40);
        plain.raster = &p.raster;
        plain.xhat = xhat_of(&p);
        plain.colour = p.raster.channels < 3 ? LETHE_COLOUR_NONE : LETHE_COLOUR_YCOCG;
        wide = plain;
        lethe_fast8_encode(&plain);
        lethe_fast8_avx2_encode(&wide);
        assert_int_equal(plain.err, LETHE_OK);
        assert_int_equal(wide.err, LETHE_OK);
        assert_int_equal(plain.out.len, wide.out.len);
        assert_memory_equal(plain.out.data, wide.out.data, wide.out.len);
        assert_int_equal(lethe_raster_init(&back, 83, 70, p.raster.channels, 8), LETHE_OK);
        wide.raster = &back;
        wide.bytes = wide.out.data;
        wide.len = wide.out.len;
        lethe_fast8_avx2_decode(&wide);
        assert_int_equal(wide.err, LETHE_OK);
        for (unsigned c = 0; c < back.channels; c++) {
            assert_memory_equal(back.planes[c], p.raster.planes[c], 83 * 70 * sizeof(uint16_t));
        }
        for (size_t at = wide.len / 8; at < wide.len; at += wide.len / 16 + 1) { /* damaged: the same verdict, or samples */
            struct lethe_raster other;

            assert_int_equal(lethe_raster_init(&other, 83, 70, p.raster.channels, 8), LETHE_OK);
            wide.out.data[at] ^= (uint8_t)(1u << at % 8);
            plain.raster = &other;
            plain.bytes = wide.out.data;
            plain.len = wide.len;
            lethe_fast8_decode(&plain);
            lethe_fast8_avx2_decode(&wide);
            assert_int_equal(plain.err, wide.err);
            for (unsigned c = 0; c < back.channels && !plain.err; c++) {
                assert_memory_equal(back.planes[c], other.planes[c], 83 * 70 * sizeof(uint16_t));
            }
            wide.out.data[at] ^= (uint8_t)(1u << at % 8);
            lethe_raster_release(&other);
        }
        lethe_buf_release(&plain.out);
        lethe_buf_release(&wide.out);
        lethe_raster_release(&back);
        picture_release(&p);
    }
#else
    skip();
#endif
}

static void even_areas_cost_next_to_nothing(void **unused)
{
    struct picture p;

    (void)unused;
    TEST_IN_ONE_THREAD();
    picture_init(&p, 512, 512, 4, 8, CONSTANT, 1);
    assert_true(round_trip(&p, LETHE_EFFORT_FAST, NULL) < 3000); /* most of it weights */
    assert_true(round_trip(&p, LETHE_EFFORT_STRONG, NULL) < 2000);
    picture_release(&p);
    picture_init(&p, 512, 512, 4, 8, SPRITE,
                 1); /* a third of a byte for each pixel inside, nothing outside */
    assert_true(round_trip(&p, LETHE_EFFORT_STRONG, NULL) < 512 * 512 * 3 / 4);
    assert_true(round_trip(&p, LETHE_EFFORT_FAST, NULL) < 512 * 512);
    picture_release(&p);
}

/* What was drawn is told by its colours, also where they are more than a palette's: fewer bytes than as a PNG. */
static void drawn_pictures_beat_png(void **unused)
{
    (void)unused;
    TEST_IN_ONE_THREAD();
    for (unsigned k = 0; k < 12; k++) {
        unsigned channels = 1 + k % 4, depth = k % 3 == 2 ? 16 : 8;
        struct picture p, noisy;
        struct lethe_buf png = {0};

        picture_init(&p, 300, 200, channels, depth, TEXT, 1);
        assert_true(lethe_residual_samples_drawn(&p.raster));
        assert_int_equal(lethe_png_make(&p.raster, 0, NULL, 0, &png), LETHE_OK);
        assert_true(round_trip(&p, LETHE_EFFORT_FAST, NULL) * 2 < png.len);
        assert_true(round_trip(&p, LETHE_EFFORT_STRONG, NULL) * 2 < png.len);
        picture_init(&noisy, 300, 200, channels, depth, NOISE, 1);
        assert_int_equal(lethe_residual_samples_drawn(&noisy.raster), false);
        picture_release(&p);
        picture_release(&noisy);
        lethe_buf_release(&png);
    }
}

static void refuse_bad_streams(enum kind kind, enum lethe_effort effort)
{
    struct picture p;
    struct lethe_buf good = {0};
    struct lethe_raster back;
    uint64_t seed = 9;

    picture_init(&p, 70, 70, 4, 8, kind, 3);
    assert_int_equal(lethe_residual_samples_encode(&p.raster, xhat_of(&p), effort, NULL, &good),
                     LETHE_OK);
    back = p.raster;
    for (unsigned c = 0; c < 4; c++) {
        back.planes[c] = calloc(70 * 70, sizeof(uint16_t));
        assert_non_null(back.planes[c]);
    }
    for (size_t len = 0; len < good.len; len += 1 + len / 8) {
        assert_int_equal(lethe_residual_samples_decode(good.data, len, xhat_of(&p), NULL, &back),
                         LETHE_ERR_FORMAT);
    }
    lethe_buf_put_u8(&good, 0);
    assert_int_equal(lethe_residual_samples_decode(good.data, good.len, xhat_of(&p), NULL, &back),
                     LETHE_ERR_FORMAT);
    good.len--;
    for (int i = 0; i < 300; i++) {
        size_t at = i < 100 ? next(&seed) % 8 : next(&seed) % good.len;
        uint8_t keep = good.data[at];
        enum lethe_err err;

        good.data[at] ^= (uint8_t)(1 + next(&seed) % 255);
        err = lethe_residual_samples_decode(good.data, good.len, xhat_of(&p), NULL, &back);
        assert_true(err == LETHE_OK || err == LETHE_ERR_FORMAT);
        good.data[at] = keep;
    }
    back.depth = 12;
    assert_int_equal(lethe_residual_samples_decode(good.data, good.len, xhat_of(&p), NULL, &back),
                     LETHE_ERR_ARG);
    for (unsigned c = 0; c < 4; c++) {
        free(back.planes[c]);
    }
    lethe_buf_release(&good);
    picture_release(&p);
}

static void bad_streams_are_refused(void **unused)
{
    (void)unused;
    TEST_IN_ONE_THREAD();
    refuse_bad_streams(PHOTO, LETHE_EFFORT_STRONG);
    refuse_bad_streams(TEXT, LETHE_EFFORT_FAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_and_kind),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(even_areas_cost_next_to_nothing),
        cmocka_unit_test(drawn_pictures_beat_png),
        cmocka_unit_test(bad_streams_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
