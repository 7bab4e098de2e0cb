/* SPDX-License-Identifier: MIT */
/* The range coder gives back what it was given, for every kind of symbol, and survives cut streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lethe/range.h"

#define COUNT 20000

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static void round_trip(void **unused)
{
    struct lethe_buf buf = {0};
    struct lethe_range_encoder encoder;
    struct lethe_range_decoder decoder;
    struct lethe_bit bit, tree[256];
    struct lethe_number number;
    static uint32_t values[COUNT];
    uint64_t seed = 1;

    (void)unused;
    lethe_bit_init(&bit);
    lethe_bits_init(tree, 256);
    lethe_number_init(&number);
    lethe_range_encoder_init(&encoder, &buf);
    for (int i = 0; i < COUNT; i++) {
        values[i] = next(&seed) >> (next(&seed) % 32);
        lethe_range_encode_bit(&encoder, &bit, values[i] % 7 == 0);
        lethe_range_encode_tree(&encoder, tree, 8, values[i] & 255);
        lethe_range_encode_number(&encoder, &number, i == 5 ? UINT32_MAX : values[i]);
        lethe_range_encode(&encoder, i % 2 ? 1 : 65535, values[i] & 1);
    }
    lethe_range_encoder_finish(&encoder);
    assert_int_equal(lethe_buf_status(&buf), LETHE_OK);
    lethe_bit_init(&bit);
    lethe_bits_init(tree, 256);
    lethe_number_init(&number);
    lethe_range_decoder_init(&decoder, buf.data, buf.len);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(lethe_range_decode_bit(&decoder, &bit), values[i] % 7 == 0);
        assert_int_equal(lethe_range_decode_tree(&decoder, tree, 8), values[i] & 255);
        assert_int_equal(lethe_range_decode_number(&decoder, &number), i == 5 ? UINT32_MAX : values[i]);
        assert_int_equal(lethe_range_decode(&decoder, i % 2 ? 1 : 65535), values[i] & 1);
    }
    assert_true(decoder.overrun <= 4);
    lethe_buf_release(&buf);
}

static void cut_stream(void **unused)
{
    static const uint8_t bytes[3] = {0, 1, 2};
    struct lethe_range_decoder decoder;

    (void)unused;
    lethe_range_decoder_init(&decoder, bytes, sizeof bytes);
    for (int i = 0; i < 1000; i++) {
        (void)lethe_range_decode(&decoder, 300);
    }
    assert_true(decoder.overrun > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(cut_stream)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
