/* SPDX-License-Identifier: MIT */
/* The range coder gives back what it was given, for every kind of symbol, and survives cut streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lethe/range.h"
#include "lethe/rans.h"

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

/* Every token at its chance, the slots of a table shared out exactly, and streams that end where they began. */
static void rans_round_trip(void **unused)
{
    static struct lethe_rans_coder coder;
    static uint16_t memory[4 * COUNT + 1]; /* a decoder looks one word ahead */
    static uint8_t tokens[COUNT];
    uint32_t seed = 7;

    (void)unused;
    for (unsigned kind = 0; kind < 12; kind++) {
        struct lethe_rans_table table;
        uint16_t freq[LETHE_RANS_TOKENS] = {0}, *words = memory + 4 * COUNT;
        unsigned shares[LETHE_RANS_TOKENS] = {0}, spread = 1 + kind * 6;
        uint32_t state = LETHE_RANS_START;
        const uint8_t *at;

        for (unsigned i = 0; i < LETHE_RANS_SUM; i++) { /* from one token alone to all 64, the last ones rare */
            seed = seed * 1664525 + 1013904223;
            freq[(seed >> 16) % spread * ((seed >> 8) % spread) / spread % LETHE_RANS_TOKENS]++;
        }
        lethe_rans_table_init(&table, freq);
        lethe_rans_coder_init(&coder, &table, freq);
        for (unsigned i = 0; i < LETHE_RANS_SUM; i++) {
            const uint32_t *bucket = table.bucket[i / LETHE_RANS_SLOTS];

            shares[lethe_rans_token(bucket[i % LETHE_RANS_SLOTS >= lethe_rans_rank(bucket[0])])]++;
        }
        for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
            assert_int_equal(shares[t], freq[t]);
        }
        for (int i = 0; i < COUNT; i++) {
            seed = seed * 1664525 + 1013904223;
            tokens[i] = (uint8_t)(seed >> 20) % LETHE_RANS_TOKENS;
            while (freq[tokens[i]] == 0) {
                tokens[i] = (uint8_t)((tokens[i] + 1) % LETHE_RANS_TOKENS);
            }
        }
        for (int i = COUNT; i-- > 0;) {
            state = lethe_rans_encode_raw(state, tokens[i] & 7u, 3, &words);
            state = lethe_rans_encode_raw(state, 0xa000u | tokens[i], 16, &words);
            state = lethe_rans_encode(state, &coder, tokens[i], &words);
        }
        for (uint16_t *word = words; word < memory + 4 * COUNT; word++) { /* as they lie in a stream */
            lethe_set_u16((uint8_t *)word, *word);
        }
        at = (const uint8_t *)words;
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(lethe_rans_decode(&state, &table, &at), tokens[i]);
            assert_int_equal(lethe_rans_decode_raw(&state, 16, &at), 0xa000u | tokens[i]);
            assert_int_equal(lethe_rans_decode_raw(&state, 3, &at), tokens[i] & 7u);
        }
        assert_int_equal(state, LETHE_RANS_START);
        assert_ptr_equal(at, memory + 4 * COUNT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(cut_stream),
                                       cmocka_unit_test(rans_round_trip)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
