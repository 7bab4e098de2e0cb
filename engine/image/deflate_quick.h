/* SPDX-License-Identifier: MIT */
/*
 * Private to the deflate model. Chains of at most four candidates, which is as far as zlib looks at level 1: the four
 * newest positions of a hash are one word, and all are compared at once, without a branch.
 */
#ifndef LETHE_IMAGE_DEFLATE_QUICK_H
#define LETHE_IMAGE_DEFLATE_QUICK_H

#include "deflate.h"

#include <string.h>

#define LETHE_QUICK_CHAIN 4
#define LETHE_QUICK_NICE 8      /* a match of so many bytes ends the search */
#define LETHE_QUICK_TURN 65530u /* where the origin moves: MAX_DIST less than that is farther than zlib looks */

union lethe_quick_bucket {
    uint64_t word; /* the newest position lowest, in 16 bits */
    uint16_t lane[LETHE_QUICK_CHAIN];
};

struct lethe_quick {
    size_t origin; /* positions are kept less this; they are below LETHE_QUICK_TURN + a few, 0 is none */
    size_t buckets;
    union lethe_quick_bucket bucket[];
};

struct lethe_quick *lethe_quick_new(unsigned hash_bits);
void lethe_quick_free(struct lethe_quick *quick);
/* Empties it; positions from pos on follow. */
void lethe_quick_reset(struct lethe_quick *quick, size_t pos);
/* Moves the origin on. */
void lethe_quick_turn(struct lethe_quick *quick);

/* How many of most bytes two strings have in common. */
static inline unsigned lethe_deflate_common(const uint8_t *a, const uint8_t *b, unsigned most)
{
    unsigned n = 0;

    while (n + 8 <= most) {
        uint64_t x, y;

        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return n + (unsigned)(__builtin_ctzll(x ^ y) >> 3);
#else
            return n + (unsigned)(__builtin_clzll(x ^ y) >> 3);
#endif
        }
        n += 8;
    }
    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* How many of the 8 bytes in x, as they lie in memory, are 0 before the first that is not: at most 8. */
static inline unsigned lethe_zero_bytes(uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return ((unsigned)__builtin_ctzll(x | 1ull << 63) >> 3) + (x == 0);
#else
    return ((unsigned)__builtin_clzll(x | 1) >> 3) + (x == 0);
#endif
}

static inline void lethe_quick_insert(struct lethe_quick *quick, size_t pos, uint32_t hash)
{
    quick->bucket[hash].word = quick->bucket[hash].word << 16 | (pos - quick->origin);
}

/* What a candidate is worth: its length up to 8, and its place, the newest best; 0 when there is none. */
static inline __attribute__((always_inline)) unsigned lethe_quick_value(const uint8_t *here, uint64_t mine, unsigned now,
                                                                        uint64_t bucket, unsigned place,
                                                                        uint32_t max_distance)
{
    unsigned at = (unsigned)(bucket >> place * 16) & 0xffff, far = now - at;
    /* zlib takes the farthest distance at the head of a chain alone */
    unsigned there = (at != 0) & (far <= max_distance - (place > 0));
    uint64_t its;

    memcpy(&its, here - far, 8); /* at 0: the origin */
    return (lethe_zero_bytes(its ^ mine) * LETHE_QUICK_CHAIN + (LETHE_QUICK_CHAIN - 1 - place)) & (0u - there);
}

/*
 * The longest match among the four candidates, the newest of equal ones, or the first of LETHE_QUICK_NICE bytes: a
 * token. Inserts pos as well. At least LETHE_DEFLATE_MAX_MATCH bytes are left at pos.
 */
static inline __attribute__((always_inline)) uint32_t lethe_quick_find(struct lethe_quick *quick, const uint8_t *data,
                                                                       size_t pos, uint32_t hash,
                                                                       uint32_t max_distance)
{
    const uint8_t *here = data + pos;
    unsigned value[LETHE_QUICK_CHAIN], best, length, distance, now;
    uint64_t mine, bucket;

    if (__builtin_expect(pos - quick->origin >= LETHE_QUICK_TURN, 0)) {
        lethe_quick_turn(quick);
    }
    now = (unsigned)(pos - quick->origin);
    bucket = quick->bucket[hash].word;
    quick->bucket[hash].word = bucket << 16 | now;
    memcpy(&mine, here, 8);
    value[0] = lethe_quick_value(here, mine, now, bucket, 0, max_distance);
    value[1] = lethe_quick_value(here, mine, now, bucket, 1, max_distance);
    value[2] = lethe_quick_value(here, mine, now, bucket, 2, max_distance);
    value[3] = lethe_quick_value(here, mine, now, bucket, 3, max_distance);
    value[0] = value[0] > value[1] ? value[0] : value[1];
    value[2] = value[2] > value[3] ? value[2] : value[3];
    best = value[0] > value[2] ? value[0] : value[2];
    length = best / LETHE_QUICK_CHAIN;
    if (length < LETHE_DEFLATE_MIN_MATCH) {
        return here[0];
    }
    distance = now - ((unsigned)(bucket >> (LETHE_QUICK_CHAIN - 1 - best % LETHE_QUICK_CHAIN) * 16) & 0xffff);
    if (__builtin_expect(length == LETHE_QUICK_NICE, 0)) {
        length += lethe_deflate_common(here + length, here + length - distance, LETHE_DEFLATE_MAX_MATCH - length);
    }
    return lethe_token_match(length, distance);
}

#endif
