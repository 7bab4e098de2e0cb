/* SPDX-License-Identifier: MIT */
/* The integer inverse DCT against the sum of cosines, colours there and back, sizes there and back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/codec/photo_private.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static double cosine(unsigned x, unsigned u)
{
    return (u ? 1.0 : sqrt(0.5)) / 2 * cos((2 * x + 1) * u * acos(-1.0) / 16);
}

static void idct_is_near(void **unused)
{
    uint64_t seed = 1;
    uint16_t quant[64];

    (void)unused;
    for (unsigned n = 0; n < 400; n++) {
        int16_t coefs[64] = {0};
        uint8_t out[64];

        for (unsigned i = 0; i < 64; i++) {
            quant[i] = (uint16_t)(1 + next(&seed) % 8);
            if (i == 0 || next(&seed) % 8 < n % 8) {
                coefs[i] = (int16_t)((int)(next(&seed) % (i ? 41 : 201)) - (i ? 20 : 100));
            }
        }
        lethe_photo_idct(coefs, quant, out);
        for (unsigned y = 0; y < 8; y++) {
            for (unsigned x = 0; x < 8; x++) {
                double sum = 128;

                for (unsigned i = 0; i < 64; i++) {
                    sum += coefs[i] * quant[i] * cosine(x, i % 8) * cosine(y, i / 8);
                }
                sum = sum < 0 ? 0 : sum > 255 ? 255 : sum;
                assert_true(fabs(sum - out[8 * y + x]) < 0.75);
            }
        }
    }
}

/* What no encoder writes stays inside integers (a sanitizer watches) and inside a byte. */
static void idct_extremes(void **unused)
{
    uint64_t seed = 2;

    (void)unused;
    for (unsigned n = 0; n < 200; n++) {
        int16_t coefs[64];
        uint16_t quant[64];
        uint8_t out[64];

        for (unsigned i = 0; i < 64; i++) {
            coefs[i] = n < 2 ? INT16_MIN : (int16_t)(next(&seed) & 1 ? INT16_MAX : INT16_MIN);
            quant[i] = n % 2 ? 65535 : 1;
        }
        lethe_photo_idct(coefs, quant, out);
    }
}

static void colours_return(void **unused)
{
    enum { COUNT = 200000 };
    uint8_t *planes[3], *copy[3];
    uint64_t seed = 3;

    (void)unused;
    for (unsigned c = 0; c < 3; c++) {
        planes[c] = malloc(COUNT);
        copy[c] = malloc(COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            planes[c][i] = i < 512 ? (i >> (3 * c) & 7) * 255 / 7 : (uint8_t)next(&seed);
        }
        memcpy(copy[c], planes[c], COUNT);
    }
    lethe_colour_to_ycc(planes, COUNT, NULL);
    lethe_colour_from_ycc(planes, COUNT, NULL);
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned i = 0; i < COUNT; i++) {
            assert_in_range(abs(planes[c][i] - copy[c][i]), 0, 2);
        }
        free(planes[c]);
        free(copy[c]);
    }
}

static void sizes_return(void **unused)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 8, 17, 100, 131};
    uint64_t seed = 4;

    (void)unused;
    for (unsigned i = 0; i < 8 * 16 * 4; i++) {
        struct lethe_sampling s = {.width = sizes[i % 8], .height = sizes[i / 8 % 8]};
        uint32_t width, height, padded_w, padded_h;
        uint8_t *small, *large, *again;

        s.h = 1 + i / 8 % 4;
        s.hmax = s.h + i / 32 % (5 - s.h);
        s.v = 1 + i / 128;
        s.vmax = s.v + i / 3 % (5 - s.v);
        width = lethe_sampling_width(&s);
        height = lethe_sampling_height(&s);
        padded_w = (width + 15) / 8 * 8;
        padded_h = (height + 7) / 8 * 8;
        small = malloc((size_t)width * height);
        large = malloc((size_t)s.width * s.height);
        again = malloc((size_t)padded_w * padded_h);
        for (size_t j = 0; j < (size_t)width * height; j++) {
            small[j] = (uint8_t)next(&seed);
        }
        lethe_colour_enlarge(&s, small, large, NULL);
        lethe_colour_shrink(&s, large, again, padded_w, padded_h, NULL);
        for (uint32_t y = 0; y < padded_h; y++) {
            for (uint32_t x = 0; x < padded_w; x++) {
                uint32_t sx = x < width ? x : width - 1, sy = y < height ? y : height - 1;
                /* the last may have no sample of its own in the picture, and then takes its neighbour's */
                bool own = (uint64_t)sx * s.hmax < (uint64_t)s.width * s.h &&
                           ((uint64_t)sx * s.hmax + s.h - 1) / s.h < s.width &&
                           ((uint64_t)sy * s.vmax + s.v - 1) / s.v < s.height;

                if (own) {
                    assert_int_equal(again[(size_t)y * padded_w + x], small[(size_t)sy * width + sx]);
                }
            }
        }
        free(small);
        free(large);
        free(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(idct_is_near), cmocka_unit_test(idct_extremes),
                                       cmocka_unit_test(colours_return), cmocka_unit_test(sizes_return)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
