/* SPDX-License-Identifier: MIT */
/*
 * Range variants of asymmetric numeral systems (J. Duda, "Asymmetric numeral systems", arXiv:1311.2540) with static
 * distributions over 64 tokens: a 32-bit state, renewed by 16-bit words, chances in units of 1/4096. Tokens are
 * found by the alias method (A. Walker, 1974), so that a table takes 512 bytes. A state holds what was coded last at
 * its top: an encoder runs backwards.
 *
 * Decoding is inline, because it runs for every sample. The caller sees to it that words can be read: a token or a
 * run of up to 16 bits takes at most one, and one more is looked at.
 */
#ifndef LETHE_RANS_H
#define LETHE_RANS_H

#include <stddef.h>
#include <stdint.h>

#define LETHE_RANS_BITS 12
#define LETHE_RANS_SUM (1u << LETHE_RANS_BITS)
#define LETHE_RANS_TOKENS 64
#define LETHE_RANS_SLOTS (LETHE_RANS_SUM / LETHE_RANS_TOKENS) /* of a bucket */
#define LETHE_RANS_START (1u << 16)                           /* of an encoder; where a decoder ends */

/* A bucket of 64 slots: those below cut belong to the token of the bucket's number, the others to another. */
struct lethe_rans_bucket {
    uint16_t freq[2];
    uint16_t offset; /* of the other token: its place in that token's range, less its place in the bucket */
    uint8_t cut;
    uint8_t other;
};

struct lethe_rans_table {
    struct lethe_rans_bucket bucket[LETHE_RANS_TOKENS];
};

/* freq sums to LETHE_RANS_SUM. */
void lethe_rans_table_init(struct lethe_rans_table *table, const uint16_t freq[LETHE_RANS_TOKENS]);

/*
 * The inverse for an encoder. It divides by multiplying: with m = ceil(2^44 / freq) and x below freq * 2^20, so that
 * x * (m * freq - 2^44) is below 2^44, x * m >> 44 is exactly x / freq, and the product stays below 2^64.
 */
struct lethe_rans_coder {
    struct {
        uint64_t inverse;
        uint32_t freq;
        uint32_t start;
    } token[LETHE_RANS_TOKENS];
    uint16_t slot[LETHE_RANS_SUM];
};
void lethe_rans_coder_init(struct lethe_rans_coder *coder, const struct lethe_rans_table *table,
                           const uint16_t freq[LETHE_RANS_TOKENS]);

/*
 * Words come in the reverse of the order in which they are read; they are written below *words, which moves down. Two
 * bytes there may be written without that.
 */
static inline uint32_t lethe_rans_encode(uint32_t state, const struct lethe_rans_coder *coder, unsigned token,
                                         uint16_t **words)
{
    uint32_t freq = coder->token[token].freq, quotient, low = state >> 20 >= freq; /* the new state would pass 2^32 */

    (*words)[-1] = (uint16_t)state; /* no branch: it is as likely as not */
    *words -= low;
    state = low ? state >> 16 : state;
    quotient = (uint32_t)(state * coder->token[token].inverse >> 44);
    return (quotient << LETHE_RANS_BITS) + coder->slot[coder->token[token].start + state - quotient * freq];
}

/* count (at most 16) equally likely bits. */
static inline uint32_t lethe_rans_encode_raw(uint32_t state, uint32_t value, unsigned count, uint16_t **words)
{
    if ((uint64_t)state << count >> 32) {
        *--*words = (uint16_t)state;
        state >>= 16;
    }
    return state << count | value;
}

static inline uint32_t lethe_rans_renew(uint32_t state, const uint8_t **at)
{
    uint32_t longer = state << 16 | (uint32_t)(*at)[1] << 8 | (*at)[0];
    unsigned low = state < LETHE_RANS_START;

    *at += low * 2;
    return state ^ ((state ^ longer) & (0u - low)); /* nobody can foresee it: no branch */
}

static inline unsigned lethe_rans_decode(uint32_t *state, const struct lethe_rans_table *table, const uint8_t **at)
{
    uint32_t x = *state, slot = x & (LETHE_RANS_SUM - 1), place = slot % LETHE_RANS_SLOTS;
    unsigned number = slot / LETHE_RANS_SLOTS;
    const struct lethe_rans_bucket *bucket = &table->bucket[number];
    unsigned other = place >= bucket->cut;

    x = bucket->freq[other] * (x >> LETHE_RANS_BITS) + ((place + (bucket->offset & (0u - other))) & 0xffff);
    *state = lethe_rans_renew(x, at);
    return number ^ ((number ^ bucket->other) & (0u - other));
}

static inline uint32_t lethe_rans_decode_raw(uint32_t *state, unsigned count, const uint8_t **at)
{
    uint32_t value = *state & ((1u << count) - 1);

    *state = lethe_rans_renew(*state >> count, at);
    return value;
}

#endif
