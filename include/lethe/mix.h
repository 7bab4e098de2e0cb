/* SPDX-License-Identifier: MIT */
/*
 * Logistic mixing of adaptive binary models, in integers (M. Mahoney, "Adaptive weighing of context models
 * for lossless data compression", Florida Tech. CS-2005-16). Each model gives the chance of a 1 that its own
 * context has seen; the mixer adds them in the logistic domain under weights that follow the coding cost down
 * its gradient. Encoder and decoder compute the same integers on every machine.
 *
 * Everything here is inline, because it runs for every binary decision. lethe_mix_prepare must have been
 * called once before; it may be called again and from several threads.
 */
#ifndef LETHE_MIX_H
#define LETHE_MIX_H

#include <stddef.h>
#include <stdint.h>

#define LETHE_LOGIT_MAX 2815 /* logits are in units of 1/256: the chance of 1 in 60000 */
#define LETHE_COIN_LIMIT_MAX 1023

/* A chance of a 1 that adapts as 1 / (times seen), down to a limit: 22 bits of chance, 10 bits of count. */
struct lethe_coin {
    uint32_t state;
};

struct lethe_mix_tables {
    uint16_t chance[2 * LETHE_LOGIT_MAX + 1]; /* by logit + LETHE_LOGIT_MAX, in 1/65536 */
    int16_t logit[4096];                      /* by chance >> 4 */
    uint32_t rate[LETHE_COIN_LIMIT_MAX + 1];  /* 65536 / (n + 1.6) */
};
extern struct lethe_mix_tables lethe_mix_tables;

void lethe_mix_prepare(void);
void lethe_coins_init(struct lethe_coin *coins, size_t count);

/* The chance of a 1 in units of 1/65536, in [0, 65535]. */
static inline uint32_t lethe_coin_p1(const struct lethe_coin *coin)
{
    return coin->state >> 16;
}

/* limit at most LETHE_COIN_LIMIT_MAX: the coin becomes an average over about the last limit values. */
static inline void lethe_coin_update(struct lethe_coin *coin, unsigned value, unsigned limit)
{
    uint32_t count = coin->state & 1023;
    int32_t p = (int32_t)(coin->state >> 10);
    int32_t target = (int32_t)(0u - value) & ((1 << 22) - 1); /* value is 0 or 1 */

    /* |target - p| < 2^22 and rate < 2^16, and the step never overshoots the target. */
    p += (int32_t)(((int64_t)(target - p) * lethe_mix_tables.rate[count]) >> 16);
    coin->state = (uint32_t)p << 10 | (count < limit ? count + 1 : limit);
}

static inline int32_t lethe_logit(uint32_t p1)
{
    return lethe_mix_tables.logit[p1 >> 4];
}

static inline uint32_t lethe_chance(int32_t logit)
{
    logit = logit > LETHE_LOGIT_MAX ? LETHE_LOGIT_MAX : logit < -LETHE_LOGIT_MAX ? -LETHE_LOGIT_MAX : logit;
    return lethe_mix_tables.chance[logit + LETHE_LOGIT_MAX];
}

/*
 * The logit of count models under weights in units of 1/65536. |weight| < 2^22 (see lethe_mix_learn) and
 * |logit| < 2^12, so the sum of up to 16 fits in 38 bits.
 */
static inline int32_t lethe_mix_dot(const int32_t *weights, const int32_t *logits, unsigned count)
{
    int64_t sum = 1 << 15;

    for (unsigned i = 0; i < count; i++) {
        sum += (int64_t)weights[i] * logits[i];
    }
    sum >>= 16;
    return sum > LETHE_LOGIT_MAX ? LETHE_LOGIT_MAX : sum < -LETHE_LOGIT_MAX ? -LETHE_LOGIT_MAX : (int32_t)sum;
}

/* One step down the gradient: error is (value << 16) - p1, step the learning rate in units of 2^-20. */
static inline void lethe_mix_learn(int32_t *weights, const int32_t *logits, unsigned count, int32_t error,
                                   int32_t step)
{
    for (unsigned i = 0; i < count; i++) {
        /* |error| <= 2^16, |logit| < 2^12, step <= 2^7: below 2^35. */
        int32_t w = weights[i] + (int32_t)(((int64_t)error * step * logits[i] + (1 << 19)) >> 20);

        weights[i] = w > (1 << 21) ? 1 << 21 : w < -(1 << 21) ? -(1 << 21) : w;
    }
}

#endif
