/* SPDX-License-Identifier: MIT */
/*
 * Which kernels this processor runs. A table is used only after it has given the scalar one's bits here, on this
 * machine: a picture restored by a kernel that differs in one bit would be another picture.
 */
#include "engine/nn/layers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/cpu.h"
#include "lethe/log.h"
#include "lethe/nn.h"

#define MOST_TABLES 5 /* with the NULL at the end */
#define CELLS 5
#define INS 20 /* not a multiple of 8: the odd group of four is tried too */
#define OUTS 48

static const struct lethe_nn_kernels *supported[MOST_TABLES];
static const struct lethe_nn_kernels *best = &lethe_nn_scalar;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct trial {
    uint8_t bytes[3][CELLS * INS];
    int8_t weights[3 * INS * OUTS];
    int16_t words[CELLS * INS];
    int16_t word_weights[INS * OUTS];
    int32_t mult[OUTS];
    int32_t bias[OUTS];
    int32_t numbers[2][CELLS * OUTS];
    int32_t want[CELLS * OUTS];
    int32_t got[CELLS * OUTS];
    uint8_t want_bytes[CELLS * OUTS];
    uint8_t got_bytes[CELLS * OUTS];
};

/* Numbers in [-most, most]; in the extreme round the two ends alone. (A 64-bit linear congruential generator.) */
static int32_t draw(uint64_t *state, int32_t most, bool extreme)
{
    uint32_t high;

    *state = *state * 6364136223846793005u + 1442695040888963407u;
    high = (uint32_t)(*state >> 33);
    if (extreme) {
        return high & 1 ? most : -most;
    }
    return (int32_t)(high % (2 * (uint32_t)most + 1)) - most;
}

static void fill(struct trial *t, bool extreme)
{
    uint64_t state = 7;

    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < sizeof t->bytes[0]; i++) {
            t->bytes[s][i] = (uint8_t)((draw(&state, 127, extreme) + 127) / 2);
        }
    }
    for (size_t i = 0; i < sizeof t->weights; i++) {
        t->weights[i] = (int8_t)draw(&state, 63, extreme);
    }
    for (size_t i = 0; i < CELLS * INS; i++) {
        t->words[i] = (int16_t)draw(&state, 127, extreme);
    }
    for (size_t i = 0; i < INS * OUTS; i++) {
        t->word_weights[i] = (int16_t)draw(&state, 32767, extreme);
    }
    for (size_t i = 0; i < OUTS; i++) {
        t->mult[i] = draw(&state, 6700, extreme);
        t->bias[i] = draw(&state, (1 << 20), extreme);
    }
    for (size_t i = 0; i < CELLS * OUTS; i++) {
        t->numbers[0][i] = draw(&state, 1 << 22, extreme);
        t->numbers[1][i] = draw(&state, 320040, extreme);
    }
}

static bool agrees(const struct lethe_nn_kernels *table, struct trial *t)
{
    struct lethe_nn_bytes bytes = {.in = {t->bytes[0], t->bytes[1], t->bytes[2]},
                                   .segments = 3,
                                   .len = INS,
                                   .stride = INS,
                                   .weights = t->weights,
                                   .outs = OUTS,
                                   .cells = CELLS};
    struct lethe_nn_words words = {
        .in = t->words, .len = INS, .weights = t->word_weights, .outs = OUTS, .cells = CELLS};
    struct lethe_nn_finish finish = {.linear = t->numbers[0],
                                     .conv = t->numbers[1],
                                     .bias = t->bias,
                                     .mult = t->mult,
                                     .shift = 5,
                                     .bits = 14,
                                     .outs = OUTS,
                                     .cells = CELLS};
    struct lethe_nn_requant requant = {
        .acc = t->numbers[0], .bias = t->bias, .channels = OUTS, .cells = CELLS};
    int32_t mult[OUTS];

    bytes.out = t->want;
    lethe_nn_scalar.bytes(&bytes);
    bytes.out = t->got;
    table->bytes(&bytes);
    if (memcmp(t->want, t->got, sizeof t->want) != 0) {
        return false;
    }
    words.out = t->want;
    lethe_nn_scalar.words(&words);
    words.out = t->got;
    table->words(&words);
    if (memcmp(t->want, t->got, sizeof t->want) != 0) {
        return false;
    }
    finish.out = t->want_bytes;
    lethe_nn_scalar.finish(&finish);
    finish.out = t->got_bytes;
    table->finish(&finish);
    if (memcmp(t->want_bytes, t->got_bytes, sizeof t->want_bytes) != 0) {
        return false;
    }
    for (size_t i = 0; i < OUTS; i++) {
        mult[i] = t->mult[i] < 0 ? 1 - t->mult[i] : 1 + t->mult[i];
    }
    requant.mult = mult;
    requant.out = t->want_bytes;
    lethe_nn_scalar.requant(&requant);
    requant.out = t->got_bytes;
    table->requant(&requant);
    return memcmp(t->want_bytes, t->got_bytes, sizeof t->want_bytes) == 0;
}

bool lethe_nn_agrees(const struct lethe_nn_kernels *table)
{
    struct trial *trial = malloc(sizeof *trial);
    bool same = trial != NULL;

    for (int extreme = 0; extreme < 2 && same; extreme++) {
        fill(trial, extreme);
        same = agrees(table, trial);
    }
    free(trial);
    return same;
}

static void choose(void)
{
    const char *wish = getenv("LETHE_CPU");
    size_t count = 0;

#if defined(__x86_64__)
    if (lethe_cpu()->avx512_vnni) {
        supported[count++] = &lethe_nn_avx512vnni;
    }
    if (lethe_cpu()->avx_vnni) {
        supported[count++] = &lethe_nn_avxvnni;
    }
    if (lethe_cpu()->avx2) {
        supported[count++] = &lethe_nn_avx2;
    }
#elif defined(__aarch64__)
    if (lethe_cpu()->neon) {
        supported[count++] = &lethe_nn_neon;
    }
#endif
    supported[count] = &lethe_nn_scalar;
    for (size_t i = 0; i <= count; i++) {
        if (wish && strcmp(wish, supported[i]->name) != 0) {
            continue;
        }
        if (i == count || lethe_nn_agrees(supported[i])) {
            best = supported[i];
            return;
        }
        lethe_log(LETHE_LOG_WARN,
                  "the %s kernels give wrong results on this machine and are not used; please report this",
                  supported[i]->name);
    }
}

const struct lethe_nn_kernels *lethe_nn_best(void)
{
    pthread_once(&once, choose);
    return best;
}

const char *lethe_nn_kernel(void)
{
    return lethe_nn_best()->name;
}

const struct lethe_nn_kernels *const *lethe_nn_supported(void)
{
    pthread_once(&once, choose);
    return supported;
}
