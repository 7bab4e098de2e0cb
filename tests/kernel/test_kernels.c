/* SPDX-License-Identifier: MIT */
/* Every kernel against the scalar one, bit for bit, on random and extreme inputs of odd sizes; then a bench.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/nn/layers.h"

#define CELLS 37
#define INS 204
#define OUTS 192

static uint64_t state;

static uint32_t chance(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* Random numbers in [least, most], or only the two ends. */
static int32_t draw(int32_t least, int32_t most, int extreme)
{
    if (extreme) {
        return chance() & 1 ? least : most;
    }
    return (int32_t)(least + (int64_t)(chance() % ((uint64_t)most - (uint64_t)least + 1)));
}

/* Zero ended; the scalar one, which is the measure, is among them. */
static const struct lethe_nn_kernels *const *tables(void)
{
    return lethe_nn_supported();
}

/* The table that is used has passed; one that is wrong by a bit does not. */
static const struct lethe_nn_kernels *broken_from;

static void broken_words(const struct lethe_nn_words *job)
{
    broken_from->words(job);
    job->out[0] ^= 1;
}

static void test_self_test(void **unused)
{
    (void)unused;
    assert_true(lethe_nn_agrees(lethe_nn_best()));
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        struct lethe_nn_kernels broken = **table;

        assert_true(lethe_nn_agrees(*table));
        broken_from = *table;
        broken.words = broken_words;
        assert_false(lethe_nn_agrees(&broken));
    }
}

struct buffers {
    uint8_t bytes[3][CELLS * INS + 64];
    int8_t weights[3 * INS * OUTS + 64];
    int16_t words[CELLS * INS + 64];
    int16_t word_weights[INS * OUTS + 64];
    int32_t numbers[CELLS * OUTS + 64];
    int32_t more[CELLS * OUTS + 64];
    int32_t mult[OUTS];
    int32_t bias[OUTS];
    int32_t expected[CELLS * OUTS + 64];
    int32_t got[CELLS * OUTS + 64];
};

static struct buffers *fill(int extreme)
{
    struct buffers *b = malloc(sizeof *b);

    assert_non_null(b);
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < sizeof b->bytes[0]; i++) {
            b->bytes[s][i] = (uint8_t)draw(0, 127, extreme);
        }
    }
    for (size_t i = 0; i < sizeof b->weights; i++) {
        b->weights[i] = (int8_t)draw(-63, 63, extreme);
    }
    for (size_t i = 0; i < CELLS * INS + 64; i++) {
        b->words[i] = (int16_t)draw(-128, 127, extreme);
    }
    for (size_t i = 0; i < INS * OUTS + 64; i++) {
        b->word_weights[i] = (int16_t)draw(-32767, 32767, extreme);
    }
    memset(b->expected, 0x5a, sizeof b->expected);
    memset(b->got, 0x5a, sizeof b->got);
    return b;
}

static void test_bytes(void **unused)
{
    static const size_t lens[] = {4, 8, 40, 68, 120, 192, 204};
    static const size_t outs[] = {8, 16, 40, 48, 64, 72, 192};

    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        for (int extreme = 0; extreme < 2; extreme++) {
            struct buffers *b = fill(extreme);

            for (size_t round = 0; round < 400; round++) {
                size_t shift = chance() % 16;
                struct lethe_nn_bytes job = {
                    .in = {b->bytes[0] + shift, b->bytes[1] + shift, b->bytes[2] + shift},
                    .segments = chance() & 1 ? 1 : 3,
                    .len = lens[chance() % 7],
                    .weights = b->weights + chance() % 32,
                    .outs = outs[chance() % 7],
                    .cells = 1 + chance() % 9,
                    .out = b->expected};

                job.stride = chance() % (INS + 1);
                lethe_nn_scalar.bytes(&job);
                job.out = b->got;
                (*table)->bytes(&job);
                assert_memory_equal(b->expected, b->got, sizeof b->got);
            }
            free(b);
        }
    }
}

static void test_bytes_one_sign(void **unused)
{
    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            struct buffers *b = fill(0);
            struct lethe_nn_bytes job = {.in = {b->bytes[0], b->bytes[1], b->bytes[2]},
                                         .segments = 3,
                                         .len = INS,
                                         .stride = INS,
                                         .weights = b->weights,
                                         .outs = 40,
                                         .cells = CELLS,
                                         .out = b->expected};

            memset(b->bytes, 127, sizeof b->bytes);
            memset(b->weights, sign * 63, sizeof b->weights);
            lethe_nn_scalar.bytes(&job);
            assert_int_equal(b->expected[0], sign * 63 * 127 * 3 * INS);
            job.out = b->got;
            (*table)->bytes(&job);
            assert_memory_equal(b->expected, b->got, sizeof b->got);
            free(b);
        }
    }
}

static void test_words(void **unused)
{
    static const size_t lens[] = {2, 6, 64, 192};
    static const size_t outs[] = {8, 24, 40, 64, 192};

    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        for (int extreme = 0; extreme < 2; extreme++) {
            struct buffers *b = fill(extreme);

            for (size_t round = 0; round < 400; round++) {
                struct lethe_nn_words job = {.in = b->words + chance() % 16,
                                             .len = lens[chance() % 4],
                                             .weights = b->word_weights + chance() % 16,
                                             .outs = outs[chance() % 5],
                                             .cells = 1 + chance() % CELLS,
                                             .out = b->expected};

                lethe_nn_scalar.words(&job);
                job.out = b->got;
                (*table)->words(&job);
                assert_memory_equal(b->expected, b->got, sizeof b->got);
            }
            free(b);
        }
    }
}

static void test_requant(void **unused)
{
    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        for (size_t round = 0; round < 300; round++) {
            struct buffers *b = fill(0);
            int extreme = round % 3 == 0;
            int32_t span = extreme ? (1 << 30) - 1 : 1 << (4 + chance() % 26);
            struct lethe_nn_requant job = {.acc = b->numbers,
                                           .mult = b->mult,
                                           .bias = b->bias,
                                           .channels = 8 * (1 + chance() % 6),
                                           .cells = 1 + chance() % CELLS,
                                           .out = (uint8_t *)b->expected};

            for (size_t i = 0; i < CELLS * OUTS; i++) {
                b->numbers[i] = draw(-span, span, extreme);
            }
            for (size_t i = 0; i < OUTS; i++) {
                b->mult[i] = draw(1, extreme ? 1 << 30 : 1 << (chance() % 31), extreme);
                b->bias[i] = draw(-span, span, extreme);
            }
            lethe_nn_scalar.requant(&job);
            job.out = (uint8_t *)b->got;
            (*table)->requant(&job);
            assert_memory_equal(b->expected, b->got, sizeof b->got);
            free(b);
        }
    }
}

static void test_finish(void **unused)
{
    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        for (size_t round = 0; round < 300; round++) {
            struct buffers *b = fill(0);
            int extreme = round % 3 == 0;
            int32_t span = extreme ? (1 << 28) - 1 : 1 << (8 + chance() % 20);
            struct lethe_nn_finish job = {.linear = b->numbers,
                                          .conv = round % 5 ? b->more : NULL,
                                          .bias = b->bias,
                                          .mult = b->mult,
                                          .shift = 3 + chance() % 22,
                                          .bits = 1 + chance() % 14,
                                          .outs = 8 * (1 + chance() % 24),
                                          .cells = 1 + chance() % CELLS,
                                          .out = (uint8_t *)b->expected};

            for (size_t i = 0; i < CELLS * OUTS; i++) {
                b->numbers[i] = draw(-span, span, extreme);
                b->more[i] = draw(-320040, 320040, extreme);
            }
            for (size_t i = 0; i < OUTS; i++) {
                b->mult[i] = draw(-6700, 6700, extreme);
                b->bias[i] = draw(-span, span, extreme);
            }
            lethe_nn_scalar.finish(&job);
            job.out = (uint8_t *)b->got;
            (*table)->finish(&job);
            assert_memory_equal(b->expected, b->got, sizeof b->got);
            free(b);
        }
    }
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void bench_table(const struct lethe_nn_kernels *table)
{
    struct buffers *b = fill(0);
    struct lethe_nn_bytes bytes = {.in = {b->bytes[0], b->bytes[1], b->bytes[2]},
                                   .segments = 3,
                                   .len = 120,
                                   .stride = 40,
                                   .weights = b->weights,
                                   .outs = 40,
                                   .cells = 32,
                                   .out = b->got};
    struct lethe_nn_words words = {
        .in = b->words, .len = 64, .weights = b->word_weights, .outs = 192, .cells = 32, .out = b->got};
    size_t rounds = table == &lethe_nn_scalar ? 20 : 400;
    double start = seconds(), middle, end;

    for (size_t i = 0; i < rounds; i++) {
        table->bytes(&bytes);
    }
    middle = seconds();
    for (size_t i = 0; i < rounds; i++) {
        table->words(&words);
    }
    end = seconds();
    print_message("%s: bytes %.1f GMAC/s, words %.1f GMAC/s\n", table->name,
                  1e-9 * (double)rounds * 32 * 360 * 40 / (middle - start + 1e-9),
                  1e-9 * (double)rounds * 32 * 64 * 192 / (end - middle + 1e-9));
    free(b);
}

static void test_bench(void **unused)
{
    (void)unused;
    for (const struct lethe_nn_kernels *const *table = tables(); *table; table++) {
        bench_table(*table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self_test), cmocka_unit_test(test_bytes),   cmocka_unit_test(test_bytes_one_sign), cmocka_unit_test(test_words),
        cmocka_unit_test(test_requant), cmocka_unit_test(test_finish),         cmocka_unit_test(test_bench),
    };

    state = 0x9e3779b97f4a7c15u;
    print_message("seed %llx\n", (unsigned long long)state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
