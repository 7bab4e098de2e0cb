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

/*
 * Two words for each bucket of 64 slots: of the token of the bucket's number, which has the slots below cut, and of the
 * other one, which has the rest. From the lowest bit on a word holds the token (6 bits), its chance (13) and the rank
 * that it has at cut (13), which for the first is cut itself.
 */
struct lethe_rans_table {
    uint32_t bucket[LETHE_RANS_TOKENS][2];
};

#define LETHE_RANS_WORD(token, freq, rank) ((uint32_t)(token) | (uint32_t)(freq) << 6 | (uint32_t)(rank) << 19)

static inline uint32_t lethe_rans_token(uint32_t word)
{
    return word & (LETHE_RANS_TOKENS - 1);
}

static inline uint32_t lethe_rans_freq(uint32_t word)
{
    return word >> 6 & 0x1fff;
}

static inline uint32_t lethe_rans_rank(uint32_t word)
{
    return word >> 19;
}

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

/* a < b ? yes : no, where nobody can foresee which: a branch, which compilers like, would cost more than all the rest. */
static inline uint32_t lethe_rans_below(uint32_t a, uint32_t b, uint32_t yes, uint32_t no)
{
#if defined(__x86_64__)
    __asm__("cmp %2, %1\n\tcmovb %3, %0" : "+r"(no) : "r"(a), "ri"(b), "r"(yes) : "cc");
    return no;
#else
    return no ^ ((no ^ yes) & (0u - (a < b)));
#endif
}

static inline uint32_t lethe_rans_renew(uint32_t state, const uint8_t **at)
{
    uint32_t longer = state << 16 | (uint32_t)(*at)[1] << 8 | (*at)[0];
    unsigned low = state < LETHE_RANS_START;

    *at += low * 2;
    return lethe_rans_below(state, LETHE_RANS_START, longer, state);
}

/* bucket: of the table that holds, by the state. */
static inline unsigned lethe_rans_decode_from(uint32_t *state, const uint32_t bucket[2], const uint8_t **at)
{
    uint32_t x = *state, place = x % LETHE_RANS_SLOTS, cut = lethe_rans_rank(bucket[0]);
    uint32_t word = lethe_rans_below(place, cut, bucket[0], bucket[1]);

    x = lethe_rans_freq(word) * (x >> LETHE_RANS_BITS) + (lethe_rans_rank(word) + (place - cut));
    *state = lethe_rans_renew(x, at);
    return lethe_rans_token(word);
}

static inline unsigned lethe_rans_decode(uint32_t *state, const struct lethe_rans_table *table, const uint8_t **at)
{
    return lethe_rans_decode_from(state, table->bucket[*state / LETHE_RANS_SLOTS % LETHE_RANS_TOKENS], at);
}

static inline uint32_t lethe_rans_decode_raw(uint32_t *state, unsigned count, const uint8_t **at)
{
    uint32_t value = *state & ((1u << count) - 1);

    *state = lethe_rans_renew(*state >> count, at);
    return value;
}

#endif
