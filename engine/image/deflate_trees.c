/* SPDX-License-Identifier: MIT */
/*
 * Huffman codes of deflate blocks, made the way zlib makes them: which of many equally good codes an encoder
 * sends depends on the order in which its heap breaks ties and on how it shortens codes that are too long, so
 * those orders are part of this model. Method: RFC 1951; the length-limiting repair is the one described with
 * zlib.
 */
#include "deflate.h"

#include <string.h>

const uint16_t lethe_deflate_length_base[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                                15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                                67, 83, 99, 115, 131, 163, 195, 227, 258};
const uint8_t lethe_deflate_length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                                2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
const uint16_t lethe_deflate_distance_base[30] = {
    1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
    193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
const uint8_t lethe_deflate_distance_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                                  6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
const uint8_t lethe_deflate_clen_order[LETHE_DEFLATE_CLENS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                               11, 4,  12, 3, 13, 2, 14, 1, 15};

unsigned lethe_deflate_length_symbol(unsigned length)
{
    unsigned x = length - 3, log;

    if (length == 258) {
        return 285;
    }
    if (x < 8) {
        return 257 + x;
    }
    log = 31 - (unsigned)__builtin_clz(x); /* 3 to 7: four symbols for every doubling */
    return 257 + (log - 1) * 4 + (x >> (log - 2) & 3);
}

void lethe_deflate_fixed(uint8_t lit[LETHE_DEFLATE_LITLENS], uint8_t dist[LETHE_DEFLATE_DISTS])
{
    memset(lit, 8, 144);
    memset(lit + 144, 9, 112);
    memset(lit + 256, 7, 24);
    memset(lit + 280, 8, 8);
    memset(dist, 5, LETHE_DEFLATE_DISTS);
}

/* Without branches, which nobody could foresee; neighbours apart: the same symbol twice would wait for itself. */
void lethe_deflate_count(const uint32_t *tokens, size_t count, struct lethe_deflate_freqs *freqs)
{
    uint32_t n[2][256 + LETHE_DEFLATE_MAX_MATCH + 1] = {0}; /* literals, and lengths from 256 on */
    uint32_t dist[2][64] = {0};                             /* 63 for a literal's 0 */

    memset(freqs, 0, sizeof *freqs);
    for (size_t i = 0; i < count; i++) {
        unsigned distance = lethe_token_distance(tokens[i]);

        n[i & 1][(tokens[i] & 0xffff) + ((distance != 0) << 8)]++;
        dist[i & 1][lethe_deflate_distance_symbol(distance)]++;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        freqs->lit[byte] = n[0][byte] + n[1][byte];
    }
    for (unsigned length = LETHE_DEFLATE_MIN_MATCH; length <= LETHE_DEFLATE_MAX_MATCH; length++) {
        freqs->lit[lethe_deflate_length_symbol(length)] += n[0][256 + length] + n[1][256 + length];
    }
    for (unsigned sym = 0; sym < 30; sym++) {
        freqs->dist[sym] = dist[0][sym] + dist[1][sym];
    }
    freqs->lit[256] = 1;
}

#define MAX_NODES (2 * LETHE_DEFLATE_LITLENS + 1)

struct builder {
    uint32_t weight[MAX_NODES];
    uint8_t depth[MAX_NODES];
    uint16_t parent[MAX_NODES];
    uint8_t length[MAX_NODES];
    uint16_t heap[MAX_NODES]; /* from 1 */
    unsigned heap_len;
    uint16_t order[MAX_NODES]; /* nodes as taken from the heap, lightest first */
    unsigned ordered;
};

static bool lighter(const struct builder *b, unsigned n, unsigned m)
{
    return b->weight[n] < b->weight[m] || (b->weight[n] == b->weight[m] && b->depth[n] <= b->depth[m]);
}

static void sift(struct builder *b, unsigned hole)
{
    unsigned node = b->heap[hole], child = hole * 2;

    while (child <= b->heap_len) {
        if (child < b->heap_len && lighter(b, b->heap[child + 1], b->heap[child])) {
            child++;
        }
        if (lighter(b, node, b->heap[child])) {
            break;
        }
        b->heap[hole] = b->heap[child];
        hole = child;
        child *= 2;
    }
    b->heap[hole] = (uint16_t)node;
}

/* Lengths from parents, the root first; then codes beyond max_bits are repaired, the lightest leaves longest.
 */
static void assign_lengths(struct builder *b, unsigned leaves, unsigned max_bits)
{
    unsigned per_length[16] = {0}, at = 0;
    int overflow = 0;

    b->length[b->order[b->ordered - 1]] = 0;
    for (unsigned i = b->ordered - 1; i-- > 0;) {
        unsigned n = b->order[i], bits = b->length[b->parent[n]] + 1u;

        if (bits > max_bits) {
            bits = max_bits;
            overflow++;
        }
        b->length[n] = (uint8_t)bits;
        if (n < leaves) {
            per_length[bits]++;
        }
    }
    if (overflow == 0) {
        return;
    }
    while (overflow > 0) {
        unsigned bits = max_bits - 1;

        while (per_length[bits] == 0) {
            bits--;
        }
        per_length[bits]--;
        per_length[bits + 1] += 2;
        per_length[max_bits]--;
        overflow -= 2;
    }
    for (unsigned bits = max_bits; bits > 0; bits--) {
        for (unsigned n = per_length[bits]; n > 0; at++) {
            if (b->order[at] < leaves) {
                b->length[b->order[at]] = (uint8_t)bits;
                n--;
            }
        }
    }
}

/*
 * Lengths for freq[0..n), at most max_bits. Returns the highest symbol that has a code; there are always two
 * codes, for which symbols without occurrence are taken.
 */
static unsigned build(const uint32_t *freq, unsigned n, unsigned max_bits, uint8_t *lengths)
{
    struct builder b = {.heap_len = 0};
    unsigned highest = 0, next = n;
    bool any = false;

    memset(lengths, 0, n);
    for (unsigned i = 0; i < n; i++) {
        if (freq[i]) {
            b.weight[i] = freq[i];
            b.heap[++b.heap_len] = (uint16_t)i;
            highest = i;
            any = true;
        }
    }
    while (b.heap_len < 2) {
        unsigned extra = !any ? 0 : highest < 2 ? highest + 1 : 0;

        b.weight[extra] = 1;
        b.heap[++b.heap_len] = (uint16_t)extra;
        highest = extra > highest ? extra : highest;
        any = true;
    }
    for (unsigned i = b.heap_len / 2; i > 0; i--) {
        sift(&b, i);
    }
    while (b.heap_len > 1) {
        unsigned first = b.heap[1], second;

        b.heap[1] = b.heap[b.heap_len--];
        sift(&b, 1);
        second = b.heap[1];
        b.order[b.ordered++] = (uint16_t)first;
        b.order[b.ordered++] = (uint16_t)second;
        b.weight[next] = b.weight[first] + b.weight[second];
        b.depth[next] = (uint8_t)((b.depth[first] > b.depth[second] ? b.depth[first] : b.depth[second]) + 1);
        b.parent[first] = b.parent[second] = (uint16_t)next;
        b.heap[1] = (uint16_t)next++;
        sift(&b, 1);
    }
    b.order[b.ordered++] = b.heap[1];
    assign_lengths(&b, n, max_bits);
    for (unsigned i = 0; i < b.ordered; i++) {
        if (b.order[i] < n) {
            lengths[b.order[i]] = b.length[b.order[i]];
        }
    }
    return highest;
}

/* One run-length description of lengths[0..n), as zlib scans them. */
static void describe(struct lethe_deflate_trees *trees, const uint8_t *lengths, unsigned n)
{
    unsigned previous = 256;

    for (unsigned i = 0; i < n;) {
        unsigned length = lengths[i], run = 1, most;

        most = length == 0 ? 138 : length == previous ? 6 : 7;
        while (run < most && i + run < n && lengths[i + run] == length) {
            run++;
        }
        i += run;
        if (length == 0 && run >= 11) {
            trees->ops[trees->op_count++] = (uint16_t)(18 | (run - 11) << 8);
        } else if (length == 0 && run >= 3) {
            trees->ops[trees->op_count++] = (uint16_t)(17 | (run - 3) << 8);
        } else if (length != 0 && run >= (length == previous ? 3u : 4u)) {
            if (length != previous) {
                trees->ops[trees->op_count++] = (uint16_t)length;
                run--;
            }
            trees->ops[trees->op_count++] = (uint16_t)(16 | (run - 3) << 8);
        } else {
            while (run-- > 0) {
                trees->ops[trees->op_count++] = (uint16_t)length;
            }
        }
        previous = length;
    }
}

void lethe_deflate_trees_ops(struct lethe_deflate_trees *trees)
{
    trees->op_count = 0;
    describe(trees, trees->lit, trees->lits);
    describe(trees, trees->dist, trees->dists);
}

void lethe_deflate_trees_clens(struct lethe_deflate_trees *trees)
{
    uint32_t freq[LETHE_DEFLATE_CLENS] = {0};

    for (unsigned i = 0; i < trees->op_count; i++) {
        freq[trees->ops[i] & 255]++;
    }
    build(freq, LETHE_DEFLATE_CLENS, 7, trees->clen);
    trees->clens = LETHE_DEFLATE_CLENS;
    while (trees->clens > 4 && trees->clen[lethe_deflate_clen_order[trees->clens - 1]] == 0) {
        trees->clens--;
    }
}

void lethe_deflate_trees_build(const struct lethe_deflate_freqs *freqs, struct lethe_deflate_trees *trees)
{
    memset(trees, 0, sizeof *trees);
    trees->lits = build(freqs->lit, 286, 15, trees->lit) + 1;
    trees->dists = build(freqs->dist, 30, 15, trees->dist) + 1;
    lethe_deflate_trees_ops(trees);
    lethe_deflate_trees_clens(trees);
}

static uint64_t symbol_bits(const struct lethe_deflate_freqs *freqs, const uint8_t *lit, const uint8_t *dist)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < 286; i++) {
        bits += (uint64_t)freqs->lit[i] * (lit[i] + (i > 256 ? lethe_deflate_length_extra[i - 257] : 0u));
    }
    for (unsigned i = 0; i < 30; i++) {
        bits += (uint64_t)freqs->dist[i] * (dist[i] + (unsigned)lethe_deflate_distance_extra[i]);
    }
    return bits;
}

uint64_t lethe_deflate_fixed_bits(const struct lethe_deflate_freqs *freqs)
{
    uint8_t lit[LETHE_DEFLATE_LITLENS], dist[LETHE_DEFLATE_DISTS];

    lethe_deflate_fixed(lit, dist);
    return symbol_bits(freqs, lit, dist);
}

uint64_t lethe_deflate_dynamic_bits(const struct lethe_deflate_freqs *freqs,
                                    const struct lethe_deflate_trees *trees)
{
    static const uint8_t op_extra[LETHE_DEFLATE_CLENS] = {[16] = 2, [17] = 3, [18] = 7};
    uint64_t bits = symbol_bits(freqs, trees->lit, trees->dist) + 14 + 3 * trees->clens;

    for (unsigned i = 0; i < trees->op_count; i++) {
        bits += trees->clen[trees->ops[i] & 255] + (unsigned)op_extra[trees->ops[i] & 255];
    }
    return bits;
}
