/* SPDX-License-Identifier: MIT */
/*
 * What zlib's matchers decide, as a predictor: given all tokens before a position, the token that zlib would
 * emit there. The method is zlib's as its documentation describes it (hash chains of three bytes; greedy at
 * levels 1 to 3, lazy evaluation by one byte at 4 to 9, with the four tuning numbers of each level); what its
 * window, its look-ahead and its reserved position 0 forbid is forbidden here too. Positions are absolute, 0
 * ends a chain.
 */
#include "deflate.h"

#include <stdlib.h>
#include <string.h>

#define MIN_MATCH LETHE_DEFLATE_MIN_MATCH
#define MAX_MATCH LETHE_DEFLATE_MAX_MATCH
#define MIN_LOOKAHEAD (MAX_MATCH + MIN_MATCH + 1)
#define TOO_FAR 4096 /* a match of three bytes from farther away is not worth its bits */

struct tuning {
    uint16_t good;  /* a previous match this long quarters the search */
    uint16_t lazy;  /* no search after a match this long; greedy: no insertion of a longer one */
    uint16_t nice;  /* long enough to stop searching */
    uint16_t chain; /* candidates to look at */
    bool greedy;
};

static const struct tuning tunings[10] = {
    [1] = {4, 4, 8, 4, true},       [2] = {4, 5, 16, 8, true},         [3] = {4, 6, 32, 32, true},
    [4] = {4, 4, 16, 16, false},    [5] = {8, 16, 32, 32, false},      [6] = {8, 16, 128, 128, false},
    [7] = {8, 32, 128, 256, false}, [8] = {32, 128, 258, 1024, false}, [9] = {32, 258, 258, 4096, false},
};

#define FAR 65535u /* beyond every window, so that it ends a chain */

struct lethe_matcher {
    const uint8_t *data;
    size_t len;
    struct tuning tuning;
    enum lethe_deflate_strategy strategy;
    unsigned hash_shift;
    uint32_t hash_mask;
    uint32_t window_mask;
    uint32_t max_distance;
    uint32_t *head; /* newest position by hash */
    uint16_t
        *back; /* from a position to the one before it in its chain, by position & window_mask; FAR at most */
    size_t inserted; /* lazy: all positions below are in the chains */
    /* lazy: the search at held_pos was already made, looking one byte ahead */
    bool held;
    size_t held_pos;
    unsigned held_length;
    unsigned held_distance;
    uint32_t predicted;
};

unsigned lethe_matcher_block(const struct lethe_deflate_params *params)
{
    return (1u << (params->mem_level + 6)) - 1;
}

bool lethe_matcher_lazy(const struct lethe_deflate_params *params)
{
    return params->strategy <= LETHE_DEFLATE_FILTERED && !tunings[params->level].greedy;
}

struct lethe_matcher *lethe_matcher_new(const struct lethe_deflate_params *params, const uint8_t *data,
                                        size_t len)
{
    struct lethe_matcher *m = calloc(1, sizeof *m);
    unsigned bits = params->mem_level + 7u, window = params->window_bits < 9 ? 9 : params->window_bits;

    if (!m) {
        return NULL;
    }
    m->data = data;
    m->len = len;
    m->tuning = tunings[params->level];
    m->strategy = (enum lethe_deflate_strategy)params->strategy;
    m->hash_shift = (bits + MIN_MATCH - 1) / MIN_MATCH;
    m->hash_mask = (1u << bits) - 1;
    m->window_mask = (1u << window) - 1;
    m->max_distance = (1u << window) - MIN_LOOKAHEAD;
    m->head = calloc((size_t)1 << bits, sizeof *m->head);
    m->back = calloc((size_t)1 << window, sizeof *m->back);
    if (!m->head || !m->back) {
        lethe_matcher_free(m);
        return NULL;
    }
    return m;
}

void lethe_matcher_free(struct lethe_matcher *m)
{
    if (m) {
        free(m->head);
        free(m->back);
        free(m);
    }
}

/* Puts pos in its chain and returns the head before it. At least three bytes are left at pos. */
static inline uint32_t insert(struct lethe_matcher *m, size_t pos)
{
    const uint8_t *p = m->data + pos;
    uint32_t hash = (((uint32_t)p[0] << m->hash_shift ^ p[1]) << m->hash_shift ^ p[2]) & m->hash_mask;
    uint32_t head = m->head[hash];

    m->back[pos & m->window_mask] = (uint16_t)(pos - head < FAR ? pos - head : FAR);
    m->head[hash] = (uint32_t)pos;
    return head;
}

static inline unsigned common(const uint8_t *a, const uint8_t *b, unsigned most)
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

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_THREE 0x00ffffffu
#else
#define FIRST_THREE 0xffffff00u
#endif

/* The first match along the chain that is longer than any before it and than length; length when there is
 * none. */
static inline unsigned search(const struct lethe_matcher *m, size_t pos, uint32_t candidate, unsigned length,
                              unsigned *distance)
{
    const uint8_t *here = m->data + pos;
    size_t left = m->len - pos;
    unsigned chain = length >= m->tuning.good ? m->tuning.chain >> 2 : m->tuning.chain;
    unsigned most = left < MAX_MATCH ? (unsigned)left : MAX_MATCH;
    unsigned nice = m->tuning.nice < most ? m->tuning.nice : most;
    uint32_t limit = pos > m->max_distance ? (uint32_t)(pos - m->max_distance) : 0;
    uint32_t step, last, its, mask = length >= 3 ? UINT32_MAX : FIRST_THREE;
    unsigned probe = length >= 3 ? length - 3 : 0; /* four bytes that every longer match has in common */

    if (length >= most) { /* nothing longer fits */
        return length;
    }
    memcpy(&last, here + probe, 4);
    do {
        const uint8_t *there = m->data + candidate;

        memcpy(&its, there + probe, 4);
        if (((its ^ last) & mask) == 0) {
            unsigned n = common(here, there, most);

            if (n > length) {
                *distance = (unsigned)(pos - candidate);
                length = n;
                if (n >= nice) {
                    break;
                }
                probe = length - 3;
                mask = UINT32_MAX;
                memcpy(&last, here + probe, 4);
            }
        }
        step = m->back[candidate & m->window_mask];
        if (step >= candidate - limit) {
            break;
        }
        candidate -= step;
    } while (--chain != 0);
    return length;
}

static uint32_t predict_run(const struct lethe_matcher *m, size_t pos)
{
    const uint8_t *p = m->data + pos;
    size_t left = m->len - pos;
    unsigned most = left < MAX_MATCH ? (unsigned)left : MAX_MATCH, n = 0;

    if (pos > 0) {
        while (n < most && p[n] == p[-1]) {
            n++;
        }
    }
    return n >= MIN_MATCH ? lethe_token_match(n, 1) : p[0];
}

static uint32_t predict_greedy(struct lethe_matcher *m, size_t pos)
{
    unsigned length = MIN_MATCH - 1, distance = 0;
    uint32_t head;

    if (m->len - pos >= MIN_MATCH) {
        head = insert(m, pos);
        if (head != 0 && pos - head <= m->max_distance) {
            length = search(m, pos, head, length, &distance);
        }
    }
    return length >= MIN_MATCH ? lethe_token_match(length, distance) : m->data[pos];
}

/* The search that lazy evaluation makes at pos when the byte before had a match of length before. */
static unsigned look(struct lethe_matcher *m, size_t pos, unsigned before, unsigned *distance)
{
    unsigned length = MIN_MATCH - 1;
    uint32_t head, step;

    if (pos >= m->len || m->len - pos < MIN_MATCH) {
        return length;
    }
    if (pos >= m->inserted) {
        head = insert(m, pos);
        m->inserted = pos + 1;
    } else {
        step = m->back[pos & m->window_mask];
        head = step < pos ? (uint32_t)(pos - step) : 0;
    }
    if (head != 0 && before < m->tuning.lazy && pos - head <= m->max_distance) {
        length = search(m, pos, head, before, distance);
        if (length <= 5 &&
            (m->strategy == LETHE_DEFLATE_FILTERED || (length == MIN_MATCH && *distance > TOO_FAR))) {
            length = MIN_MATCH - 1;
        }
    }
    return length;
}

static uint32_t predict_lazy(struct lethe_matcher *m, size_t pos)
{
    unsigned length, distance = 0, next, next_distance;

    if (m->held && m->held_pos == pos) {
        length = m->held_length;
        distance = m->held_distance;
    } else {
        length = look(m, pos, MIN_MATCH - 1, &distance);
    }
    m->held = false;
    if (length < MIN_MATCH) {
        return m->data[pos];
    }
    next_distance = distance;
    next = look(m, pos + 1, length, &next_distance);
    if (next <= length) {
        return lethe_token_match(length, distance);
    }
    m->held = true;
    m->held_pos = pos + 1;
    m->held_length = next;
    m->held_distance = next_distance;
    return m->data[pos];
}

static inline uint32_t predict(struct lethe_matcher *m, size_t pos)
{
    switch (m->strategy) {
    case LETHE_DEFLATE_HUFFMAN:
        return m->predicted = m->data[pos];
    case LETHE_DEFLATE_RLE:
        return m->predicted = predict_run(m, pos);
    case LETHE_DEFLATE_DEFAULT:
    case LETHE_DEFLATE_FILTERED:
        break;
    }
    return m->predicted = m->tuning.greedy ? predict_greedy(m, pos) : predict_lazy(m, pos);
}

static inline void commit(struct lethe_matcher *m, size_t pos, uint32_t token)
{
    size_t length = lethe_token_length(token), end = pos + length, stop;

    if (m->strategy > LETHE_DEFLATE_FILTERED) {
        return;
    }
    if (token != m->predicted) {
        m->held = false;
    }
    if (m->tuning.greedy) {
        if (length >= MIN_MATCH && length <= m->tuning.lazy && m->len - end >= MIN_MATCH) {
            for (size_t p = pos + 1; p < end; p++) {
                insert(m, p);
            }
        }
        return;
    }
    stop = m->len < MIN_MATCH ? 0 : m->len - MIN_MATCH + 1;
    stop = end < stop ? end : stop;
    for (size_t p = m->inserted; p < stop; p++) {
        insert(m, p);
    }
    m->inserted = m->inserted > stop ? m->inserted : stop;
}

uint32_t lethe_matcher_predict(struct lethe_matcher *m, size_t pos)
{
    return predict(m, pos);
}

void lethe_matcher_commit(struct lethe_matcher *m, size_t pos, uint32_t token)
{
    commit(m, pos, token);
}

size_t lethe_matcher_run(struct lethe_matcher *m, size_t *pos, size_t most, uint32_t *tokens)
{
    size_t at = *pos, n = 0;

    while (n < most && at < m->len) {
        uint32_t token = predict(m, at);

        commit(m, at, token);
        at += lethe_token_length(token);
        tokens[n++] = token;
    }
    *pos = at;
    return n;
}

void lethe_matcher_restart(struct lethe_matcher *m, size_t pos)
{
    size_t first = pos > m->window_mask ? pos - m->window_mask : 0;

    m->held = false;
    if (m->strategy > LETHE_DEFLATE_FILTERED) {
        return;
    }
    memset(m->head, 0, ((size_t)m->hash_mask + 1) * sizeof *m->head);
    memset(m->back, 0, ((size_t)m->window_mask + 1) * sizeof *m->back);
    for (size_t p = first; p < pos && m->len - p >= MIN_MATCH; p++) {
        insert(m, p);
    }
    m->inserted = pos;
}
