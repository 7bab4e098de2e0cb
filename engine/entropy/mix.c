/* SPDX-License-Identifier: MIT */
/* The tables of the logistic mixer, made once in integers so that they are the same everywhere. */
#include "lethe/mix.h"

#include <pthread.h>

struct lethe_mix_tables lethe_mix_tables;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* round(exp(-1/256) * 2^62) */
#define DECAY 4593706758521714574ull

static void fill(void)
{
    struct lethe_mix_tables *t = &lethe_mix_tables;
    uint64_t power = 1ull << 62; /* exp(-k/256) in units of 2^-62 */
    unsigned at = 0;

    for (int k = 0; k <= LETHE_LOGIT_MAX; k++) {
        /* 1 / (1 + exp(-k/256)) in units of 2^-16, kept off the ends. */
        uint64_t below = ((1ull << 62) + power) >> 16;
        uint64_t p = ((1ull << 62) + below / 2) / below;

        p = p > 65535 ? 65535 : p;
        t->chance[LETHE_LOGIT_MAX + k] = (uint16_t)p;
        t->chance[LETHE_LOGIT_MAX - k] = (uint16_t)(65536 - p);
        power = (uint64_t)(((unsigned __int128)power * DECAY) >> 62);
    }
    for (int i = 0; i < 4096; i++) { /* the first logit whose chance reaches the middle of the step */
        while (at < 2 * LETHE_LOGIT_MAX && t->chance[at] < (unsigned)i * 16 + 8) {
            at++;
        }
        t->logit[i] = (int16_t)((int)at - LETHE_LOGIT_MAX);
    }
    for (unsigned n = 0; n <= LETHE_COIN_LIMIT_MAX; n++) {
        t->rate[n] = 655360u / (10 * n + 16);
    }
}

void lethe_mix_prepare(void)
{
    (void)pthread_once(&once, fill);
}

void lethe_coins_init(struct lethe_coin *coins, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        coins[i].state = 1u << 31;
    }
}
