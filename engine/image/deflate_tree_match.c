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

static inline unsigned extend(const uint8_t *a, const uint8_t *b, unsigned from, unsigned most)
{
    while (from + 8 <= most) {
        uint64_t x, y;

        memcpy(&x, a + from, 8);
        memcpy(&y, b + from, 8);
        if (x != y) {
            break;
        }
        from += 8;
    }
    while (from < most && a[from] == b[from]) {
        from++;
    }
    return from;
}

enum lethe_err lethe_tree_matcher_next(struct lethe_tree_matcher *m, size_t pos, struct lethe_tokens *matches)
{
    const uint8_t *here = m->data + pos;
    size_t left = m->len - pos;
    unsigned most = left < LETHE_DEFLATE_MAX_MATCH ? (unsigned)left : LETHE_DEFLATE_MAX_MATCH;
    unsigned best = LETHE_DEFLATE_MIN_MATCH - 1, smaller_len = 0, larger_len = 0, depth = DEPTH;
    uint32_t hash, node, *smaller, *larger;

    if (most < LETHE_DEFLATE_MIN_MATCH) {
        return LETHE_OK;
    }
    hash = ((uint32_t)here[0] | (uint32_t)here[1] << 8 | (uint32_t)here[2] << 16) * 0x9e3779b1u >>
           (32 - HASH_BITS);
    node = m->root[hash];
    m->root[hash] = (uint32_t)pos + 1;
    smaller = &m->child[pos % WINDOW][0];
    larger = &m->child[pos % WINDOW][1];
    while (node != NONE && pos - (node - 1) <= WINDOW && depth-- > 0) {
        size_t there = node - 1;
        uint32_t *children = m->child[there % WINDOW];
        unsigned n;

        if (pos - there == WINDOW) { /* its slot is ours now: its children are lost */
            n = extend(m->data + there, here, 0, most);
            if (n > best) {
                enum lethe_err err = lethe_tokens_push(matches, lethe_token_match(n, WINDOW));

                if (err) {
                    return err;
                }
            }
            break;
        }
        n = extend(m->data + there, here, smaller_len < larger_len ? smaller_len : larger_len, most);
        if (n > best) {
            enum lethe_err err = lethe_tokens_push(matches, lethe_token_match(n, (unsigned)(pos - there)));

            if (err) {
                return err;
            }
            best = n;
        }
        if (n == most) { /* equal as far as it matters: take its place */
            *smaller = children[0];
            *larger = children[1];
            return LETHE_OK;
        }
        if (m->data[there + n] < here[n]) {
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
    return LETHE_OK;
}
