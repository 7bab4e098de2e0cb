/* SPDX-License-Identifier: MIT */
/*
 * For every position the nearest match of each length, by binary search trees over the strings of the window:
 * newest string at the root, so that whatever shares a prefix with the current string meets its nearest copy
 * first (the method of Yann Collet's and Igor Pavlov's match finders, after T. Bell, "Better OPM/L text
 * compression", 1986).
 */
#include "deflate_tree_match.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW ((uint32_t)LETHE_DEFLATE_MAX_DIST)
#define HASH_BITS 16
#define DEPTH 512 /* nodes to visit: bounds the time on any data */
#define NONE 0    /* positions are kept plus one */

struct lethe_tree_matcher {
    const uint8_t *data;
    size_t len;
    uint32_t root[1u << HASH_BITS];
    uint32_t child[WINDOW][2]; /* smaller and larger strings, by position % WINDOW */
};

struct lethe_tree_matcher *lethe_tree_matcher_new(const uint8_t *data, size_t len)
{
    struct lethe_tree_matcher *m = calloc(1, sizeof *m);

    if (m) {
        m->data = data;
        m->len = len;
    }
    return m;
}

void lethe_tree_matcher_free(struct lethe_tree_matcher *m)
{
    free(m);
}

/* Eight bytes that compare as strings do. */
static inline uint64_t string(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

/*
 * How many of most bytes two strings share, when they share the first from; and whether a is smaller, if they differ.
 * Reads up to 7 bytes behind them.
 */
static inline unsigned extend(const uint8_t *a, const uint8_t *b, unsigned from, unsigned most, bool *smaller)
{
    uint64_t x = string(a + from), y = string(b + from);

    while (__builtin_expect(x == y, 0)) {
        from += 8;
        if (from >= most) {
            return most;
        }
        x = string(a + from);
        y = string(b + from);
    }
    *smaller = x < y;
    from += (unsigned)__builtin_clzll(x ^ y) >> 3;
    return from < most ? from : most;
}

enum lethe_err lethe_tree_matcher_next(struct lethe_tree_matcher *m, size_t pos, struct lethe_tokens *matches)
{
    const uint8_t *data = m->data, *here = data + pos;
    size_t left = m->len - pos;
    unsigned most = left < LETHE_DEFLATE_MAX_MATCH ? (unsigned)left : LETHE_DEFLATE_MAX_MATCH;
    unsigned best = LETHE_DEFLATE_MIN_MATCH - 1, smaller_len = 0, larger_len = 0, depth = DEPTH;
    uint32_t hash, node, *smaller, *larger, *found;

    if (most < LETHE_DEFLATE_MIN_MATCH) {
        return LETHE_OK;
    }
    if (matches->cap - matches->count < LETHE_DEFLATE_MAX_MATCH) { /* each is longer than the one before */
        enum lethe_err err = lethe_tokens_reserve(matches, LETHE_DEFLATE_MAX_MATCH);

        if (err) {
            return err;
        }
    }
    found = matches->at + matches->count;
    hash = ((uint32_t)here[0] | (uint32_t)here[1] << 8 | (uint32_t)here[2] << 16) * 0x9e3779b1u >>
           (32 - HASH_BITS);
    node = m->root[hash];
    m->root[hash] = (uint32_t)pos + 1;
    smaller = &m->child[pos % WINDOW][0];
    larger = &m->child[pos % WINDOW][1];
    while (node != NONE && pos - (node - 1) <= WINDOW && depth-- > 0) {
        size_t there = node - 1;
        uint32_t *children = m->child[there % WINDOW];
        bool below = false;
        unsigned n = extend(data + there, here, smaller_len < larger_len ? smaller_len : larger_len, most, &below);

        if (n > best) {
            *found++ = lethe_token_match(n, (unsigned)(pos - there));
            best = n;
        }
        if (pos - there == WINDOW) { /* its slot is ours now: its children are lost */
            break;
        }
        if (n == most) { /* equal as far as it matters: take its place */
            *smaller = children[0];
            *larger = children[1];
            matches->count = (size_t)(found - matches->at);
            return LETHE_OK;
        }
        if (below) {
            *smaller = node;
            smaller = &children[1];
            node = *smaller;
            smaller_len = n;
        } else {
            *larger = node;
            larger = &children[0];
            node = *larger;
            larger_len = n;
        }
    }
    *smaller = NONE;
    *larger = NONE;
    matches->count = (size_t)(found - matches->at);
    return LETHE_OK;
}
