/* SPDX-License-Identifier: MIT */
/*
 * What zlib's matchers decide, as a predictor: given all tokens before a position, the token that zlib would
 * emit there. The method is zlib's as its documentation describes it (hash chains of three bytes; greedy at
 * levels 1 to 3, lazy evaluation by one byte at 4 to 9, with the four tuning numbers of each level); what its
 * window, its look-ahead and its reserved position 0 forbid is forbidden here too. Positions are absolute, 0
 * ends a chain.
 */
#include "deflate.h"
#include "deflate_quick.h"

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
#define LONG_BITS 16

/*
 * zlib's chains hold all that begins with three bytes of one hash, and it looks at so many of a chain. Longer matches
 * are found faster in chains of four bytes and of five: rank tells where in zlib's chain they stand, so how far zlib
 * would have looked.
 */
struct lethe_matcher {
    const uint8_t *data;
    size_t len;
    size_t ready; /* bytes of data that are there */
    struct tuning tuning;
    enum lethe_deflate_strategy strategy;
    unsigned hash_shift;
    uint32_t hash_mask;
    uint32_t window_mask;
    uint32_t max_distance;
    uint32_t most_three; /* the same for a match of three bytes; the filtered strategy wants none */
    struct lethe_quick *quick; /* instead of all chains, or NULL */
    uint32_t *head;            /* newest position by hash */
    uint16_t *back;  /* from a position to the one before it in its chain, by position & window_mask; FAR at most */
    uint16_t *count; /* by hash: how many were put into the chain */
    uint16_t *rank;  /* by position & window_mask: that count when this one was */
    uint32_t *head4; /* the same for four bytes, and for five */
    uint16_t *back4;
    uint32_t *head5;
    uint16_t *back5;
    void *memory;
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

static size_t chains_size(const struct lethe_matcher *m)
{
    size_t hashes = (size_t)m->hash_mask + 1, window = (size_t)m->window_mask + 1;

    return (hashes + (2u << LONG_BITS)) * sizeof(uint32_t) + (hashes + 4 * window) * sizeof(uint16_t);
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
    m->len = m->ready = len;
    m->tuning = tunings[params->level];
    m->strategy = (enum lethe_deflate_strategy)params->strategy;
    m->hash_shift = (bits + MIN_MATCH - 1) / MIN_MATCH;
    m->hash_mask = (1u << bits) - 1;
    m->window_mask = (1u << window) - 1;
    m->max_distance = (1u << window) - MIN_LOOKAHEAD;
    m->most_three = m->max_distance;
    if (!m->tuning.greedy) {
        m->most_three = m->strategy == LETHE_DEFLATE_FILTERED ? 0
                        : m->max_distance < TOO_FAR           ? m->max_distance
                                                              : TOO_FAR;
    }
    if (m->strategy > LETHE_DEFLATE_FILTERED) { /* nothing is searched */
        return m;
    }
    if (m->tuning.chain == LETHE_QUICK_CHAIN) {
        m->quick = lethe_quick_new(bits);
        if (!m->quick) {
            lethe_matcher_free(m);
            return NULL;
        }
        return m;
    }
    m->memory = calloc(1, chains_size(m));
    if (!m->memory) {
        lethe_matcher_free(m);
        return NULL;
    }
    m->head = m->memory;
    m->head4 = m->head + m->hash_mask + 1;
    m->head5 = m->head4 + (1u << LONG_BITS);
    m->count = (uint16_t *)(m->head5 + (1u << LONG_BITS));
    m->back = m->count + m->hash_mask + 1;
    m->rank = m->back + m->window_mask + 1;
    m->back4 = m->rank + m->window_mask + 1;
    m->back5 = m->back4 + m->window_mask + 1;
    return m;
}

void lethe_matcher_free(struct lethe_matcher *m)
{
    if (m) {
        lethe_quick_free(m->quick);
        free(m->memory);
        free(m);
    }
}

static inline uint32_t hash_of(const struct lethe_matcher *m, const uint8_t *p)
{
    return (((uint32_t)p[0] << m->hash_shift ^ p[1]) << m->hash_shift ^ p[2]) & m->hash_mask;
}

/* Five bytes that can be compared. */
static inline uint64_t first_five(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word << 24;
#else
    return word >> 24;
#endif
}

static inline uint32_t put(uint32_t *heads, uint16_t *back, uint32_t hash, size_t pos, size_t slot)
{
    uint32_t head = heads[hash];

    back[slot] = (uint16_t)(pos - head < FAR ? pos - head : FAR);
    heads[hash] = (uint32_t)pos;
    return head;
}

/* Puts pos in its chains and returns the head before it. At least three bytes are left at pos. */
static inline uint32_t insert(struct lethe_matcher *m, size_t pos)
{
    const uint8_t *p = m->data + pos;
    uint32_t hash = hash_of(m, p), head, four;
    size_t slot = pos & m->window_mask;

    head = put(m->head, m->back, hash, pos, slot);
    m->rank[slot] = m->count[hash]++;
    memcpy(&four, p, 4);
    put(m->head4, m->back4, four * 0x9e3779b1u >> (32 - LONG_BITS), pos, slot);
    put(m->head5, m->back5, (uint32_t)(first_five(p) * 0x9e3779b97f4a7c15ull >> (64 - LONG_BITS)), pos, slot);
    return head;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FIRST_THREE 0x00ffffffu
#else
#define FIRST_THREE 0xffffff00u
#endif

/* What a search is bound by. */
struct bounds {
    unsigned most;  /* length */
    unsigned nice;
    unsigned chain; /* candidates */
};

/*
 * The first match along the chain that is longer than any before it and than length; length when there is none. The
 * specification of look_longer, look_four and look_three together.
 */
static unsigned search(const struct lethe_matcher *m, size_t pos, uint32_t candidate, const struct bounds *bounds,
                       unsigned length, unsigned *distance)
{
    const uint8_t *here = m->data + pos;
    unsigned chain = bounds->chain;
    uint32_t limit = pos > m->max_distance ? (uint32_t)(pos - m->max_distance) : 0;
    uint32_t step, last, its, mask = length >= 3 ? UINT32_MAX : FIRST_THREE;
    unsigned probe = length >= 3 ? length - 3 : 0; /* four bytes that every longer match has in common */

    memcpy(&last, here + probe, 4);
    do {
        const uint8_t *there = m->data + candidate;

        memcpy(&its, there + probe, 4);
        if (((its ^ last) & mask) == 0) {
            unsigned n = lethe_deflate_common(here, there, bounds->most);

            if (n > length) {
                *distance = (unsigned)(pos - candidate);
                length = n;
                if (n >= bounds->nice) {
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

/* Whether zlib would not look so far as to the candidate, which begins with the same three bytes. */
static inline bool beyond(const struct lethe_matcher *m, size_t pos, size_t far, unsigned chain)
{
    unsigned ahead = (uint16_t)(m->rank[pos & m->window_mask] - m->rank[(pos - far) & m->window_mask]);

    return ahead > chain || (far == m->max_distance && ahead > 1);
}

/*
 * Matches of five bytes and more. Nearly all candidates end at the first comparison. False when the chain is too full
 * of other strings: then search must do.
 */
static inline bool look_longer(const struct lethe_matcher *m, size_t pos, const struct bounds *bounds, unsigned *length,
                               unsigned *distance)
{
    const uint8_t *here = m->data + pos;
    unsigned steps = 0, best = *length;
    uint32_t last, its, probe = best >= 3 ? best - 3 : 0;
    uint64_t five = first_five(here);
    size_t far = 0;

    memcpy(&last, here + probe, 4);
    for (;;) {
        const uint8_t *there;
        unsigned n;

        far += m->back5[(pos - far) & m->window_mask];
        if (far > m->max_distance || far >= pos) { /* position 0 is no candidate */
            break;
        }
        there = here - far;
        if (__builtin_expect(++steps > bounds->chain, 0)) { /* time to see how far zlib would be */
            if (first_five(there) == five && beyond(m, pos, far, bounds->chain)) {
                break;
            }
            if (steps > 2 * bounds->chain) {
                return false;
            }
        }
        memcpy(&its, there + probe, 4);
        if (its != last || first_five(there) != five) {
            continue;
        }
        if (beyond(m, pos, far, bounds->chain)) {
            break;
        }
        n = lethe_deflate_common(here, there, bounds->most);
        if (n > best) {
            *distance = (unsigned)far;
            best = n;
            if (n >= bounds->nice) {
                break;
            }
            probe = best - 3;
            memcpy(&last, here + probe, 4);
        }
    }
    *length = best;
    return true;
}

/* The nearest match of four bytes: its length, or 0. False as above. */
static inline bool look_four(const struct lethe_matcher *m, size_t pos, unsigned chain, unsigned *length,
                             unsigned *distance)
{
    const uint8_t *here = m->data + pos;
    unsigned steps = 0;
    uint32_t mine, its;
    size_t far = 0;

    memcpy(&mine, here, 4);
    for (;;) {
        far += m->back4[(pos - far) & m->window_mask];
        if (far > m->max_distance || far >= pos) {
            return true;
        }
        memcpy(&its, here - far, 4);
        if (its == mine) {
            if (!beyond(m, pos, far, chain)) {
                *distance = (unsigned)far;
                *length = 4;
            }
            return true;
        }
        if (++steps > chain) {
            return false;
        }
    }
}

/* The nearest match of three bytes, where one is wanted. */
static inline unsigned look_three(const struct lethe_matcher *m, size_t pos, unsigned chain, unsigned *distance)
{
    const uint8_t *here = m->data + pos;
    uint32_t mine, its;
    size_t far = 0;
    unsigned ahead = 0;

    memcpy(&mine, here, 4);
    do {
        far += m->back[(pos - far) & m->window_mask];
        if (far > m->most_three || far >= pos || (far == m->max_distance && ahead > 0)) {
            break;
        }
        memcpy(&its, here - far, 4);
        if (((its ^ mine) & FIRST_THREE) == 0) {
            *distance = (unsigned)far;
            return MIN_MATCH;
        }
    } while (++ahead < chain);
    return MIN_MATCH - 1;
}

/*
 * What zlib finds at pos, which is in the chains behind head, when it looks for more than length: the longest match
 * that it comes to, the nearest of equal ones.
 */
static inline unsigned find(const struct lethe_matcher *m, size_t pos, uint32_t head, unsigned length,
                            unsigned *distance)
{
    size_t left = m->len - pos;
    struct bounds bounds = {.most = left < MAX_MATCH ? (unsigned)left : MAX_MATCH,
                            .chain = length >= m->tuning.good ? m->tuning.chain >> 2 : m->tuning.chain};
    unsigned longer = length;

    bounds.nice = m->tuning.nice < bounds.most ? m->tuning.nice : bounds.most;
    if (length >= bounds.most) { /* nothing longer fits */
        return length;
    }
    if ((bounds.most > 4 && !look_longer(m, pos, &bounds, &longer, distance)) ||
        (bounds.most >= 4 && longer < 4 && !look_four(m, pos, bounds.chain, &longer, distance))) {
        return search(m, pos, head, &bounds, length, distance);
    }
    return longer >= MIN_MATCH ? longer : look_three(m, pos, bounds.chain, distance);
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

static uint32_t predict_quick(struct lethe_matcher *m, size_t pos)
{
    size_t left = m->len - pos;
    unsigned length = MIN_MATCH - 1, distance = 0, most = (unsigned)left;
    uint64_t bucket;
    uint32_t hash;

    if (left < MIN_MATCH) {
        return m->data[pos];
    }
    hash = hash_of(m, m->data + pos);
    if (left >= MAX_MATCH) {
        return lethe_quick_find(m->quick, m->data, pos, hash, m->max_distance);
    }
    if (pos - m->quick->origin >= LETHE_QUICK_TURN) {
        lethe_quick_turn(m->quick);
    }
    bucket = m->quick->bucket[hash].word;
    lethe_quick_insert(m->quick, pos, hash);
    for (unsigned i = 0; i < LETHE_QUICK_CHAIN && length < LETHE_QUICK_NICE && length < most; i++) {
        size_t at = bucket >> i * 16 & 0xffff, far = pos - m->quick->origin - at;
        unsigned n;

        if (at == 0 || far > m->max_distance - (i > 0)) {
            break;
        }
        n = lethe_deflate_common(m->data + pos, m->data + pos - far, most);
        if (n > length) {
            length = n;
            distance = (unsigned)far;
        }
    }
    return distance ? lethe_token_match(length, distance) : m->data[pos];
}

static uint32_t predict_greedy(struct lethe_matcher *m, size_t pos)
{
    unsigned length = MIN_MATCH - 1, distance = 0;
    uint32_t head;

    if (m->len - pos >= MIN_MATCH) {
        head = insert(m, pos);
        if (head != 0 && pos - head <= m->max_distance) {
            length = find(m, pos, head, length, &distance);
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
        length = find(m, pos, head, before, distance);
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
    if (m->quick) {
        return m->predicted = predict_quick(m, pos);
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
                if (m->quick) {
                    lethe_quick_insert(m->quick, p, hash_of(m, m->data + p));
                } else {
                    insert(m, p);
                }
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

void lethe_matcher_ready(struct lethe_matcher *m, size_t ready)
{
    m->ready = ready;
}

/* Where lethe_matcher_run stops. */
static size_t end_of_run(const struct lethe_matcher *m)
{
    return m->ready == m->len ? m->len : m->ready < LETHE_DEFLATE_AHEAD ? 0 : m->ready - LETHE_DEFLATE_AHEAD;
}

/* lethe_matcher_run for the quick chains, but for the end of the data. */
static size_t run_quick(struct lethe_matcher *m, size_t *pos, size_t most, uint32_t *tokens)
{
    const struct lethe_matcher own = *m; /* what the compiler then knows not to change */
    size_t at = *pos, n = 0, end = end_of_run(m), last = m->len < 2 * MAX_MATCH ? 0 : m->len - 2 * MAX_MATCH;

    end = end < last ? end : last;
    while (n < most && at < end) {
        const uint8_t *p = own.data + at;
        uint32_t token = lethe_quick_find(own.quick, own.data, at, hash_of(&own, p), own.max_distance);

        tokens[n++] = token;
        /* By cases, so that the processor goes on with the likeliest while it waits for the length. */
        switch (lethe_token_length(token)) {
        case 1:
            at++;
            break;
        case 3:
            lethe_quick_insert(own.quick, at + 1, hash_of(&own, p + 1));
            lethe_quick_insert(own.quick, at + 2, hash_of(&own, p + 2));
            at += 3;
            break;
        case 4:
            lethe_quick_insert(own.quick, at + 1, hash_of(&own, p + 1));
            lethe_quick_insert(own.quick, at + 2, hash_of(&own, p + 2));
            lethe_quick_insert(own.quick, at + 3, hash_of(&own, p + 3));
            at += 4;
            break;
        default:
            at += lethe_token_length(token);
            break;
        }
    }
    *pos = at;
    return n;
}

size_t lethe_matcher_run(struct lethe_matcher *m, size_t *pos, size_t most, uint32_t *tokens)
{
    size_t at, n = m->quick ? run_quick(m, pos, most, tokens) : 0, end = end_of_run(m);

    at = *pos;
    while (n < most && at < end) {
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
    if (m->quick) {
        lethe_quick_reset(m->quick, first);
    } else {
        memset(m->memory, 0, chains_size(m));
    }
    for (size_t p = first; p < pos && m->len - p >= MIN_MATCH; p++) {
        if (m->quick) {
            lethe_quick_insert(m->quick, p, hash_of(m, m->data + p));
        } else {
            insert(m, p);
        }
    }
    m->inserted = pos;
}
