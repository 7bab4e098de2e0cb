/* SPDX-License-Identifier: MIT */
/*
 * An inflater (RFC 1951) that records the encoder's decisions. Input is hostile: every read is bounded, every
 * write stays below the caller's cap, codes that are over-subscribed or used though undefined are refused.
 */
#include "deflate.h"

#include <stdlib.h>
#include <string.h>

#define FAST_BITS 10
#define MAX_BITS 15
#define BAD 0xffffu

/* A canonical code: a table for codes of up to FAST_BITS, first codes and offsets for longer ones. */
struct code {
    uint16_t fast[1u << FAST_BITS]; /* symbol << 4 | length, 0: longer or undefined */
    uint16_t count[MAX_BITS + 1];
    uint16_t symbols[LETHE_DEFLATE_LITLENS];
};

struct lethe_inflate_tables {
    struct code lit;
    struct code dist;
    struct code clen;
};

void lethe_tokens_release(struct lethe_tokens *tokens)
{
    free(tokens->at);
    *tokens = (struct lethe_tokens){0};
}

enum lethe_err lethe_tokens_grow(struct lethe_tokens *tokens)
{
    size_t cap = tokens->cap ? tokens->cap : 8192, bytes;
    uint32_t *at;

    if (!lethe_mul_size(cap, 2, &cap) || !lethe_mul_size(cap, sizeof *at, &bytes)) {
        return LETHE_ERR_NOMEM;
    }
    at = realloc(tokens->at, bytes);
    if (!at) {
        return LETHE_ERR_NOMEM;
    }
    tokens->at = at;
    tokens->cap = cap;
    return LETHE_OK;
}

enum lethe_err lethe_tokens_reserve(struct lethe_tokens *tokens, size_t more)
{
    while (tokens->cap - tokens->count < more) {
        enum lethe_err err = lethe_tokens_grow(tokens);

        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

enum lethe_err lethe_inflate_init(struct lethe_inflater *inflater, const uint8_t *in, size_t len)
{
    *inflater = (struct lethe_inflater){.in = in, .len = len};
    inflater->tables = malloc(sizeof *inflater->tables);
    return inflater->tables ? LETHE_OK : LETHE_ERR_NOMEM;
}

void lethe_inflate_release(struct lethe_inflater *inflater)
{
    free(inflater->tables);
    inflater->tables = NULL;
}

/* At least 48 bits, or all that is left. Bits past the end are zeros and held does not count them. */
static inline void refill(struct lethe_inflater *s)
{
    if (s->len - s->at >= 8) {
        uint64_t word = lethe_get_u64(s->in + s->at);
        unsigned bytes = (63 - s->held) >> 3;

        s->hold |= word << s->held;
        s->at += bytes;
        s->held += bytes * 8;
        s->hold &= s->held == 64 ? UINT64_MAX : ((uint64_t)1 << s->held) - 1;
        return;
    }
    while (s->held <= 56 && s->at < s->len) {
        s->hold |= (uint64_t)s->in[s->at++] << s->held;
        s->held += 8;
    }
}

/* count <= 32 bits; false at the end of the input. */
static inline bool take(struct lethe_inflater *s, unsigned count, unsigned *value)
{
    if (s->held < count) {
        refill(s);
        if (s->held < count) {
            return false;
        }
    }
    *value = (unsigned)(s->hold & (((uint64_t)1 << count) - 1));
    s->hold >>= count;
    s->held -= count;
    return true;
}

static unsigned reverse(unsigned code, unsigned length)
{
    unsigned out = 0;

    while (length-- > 0) {
        out = out << 1 | (code & 1);
        code >>= 1;
    }
    return out;
}

/* False when over-subscribed. Incomplete codes are kept: their missing words are refused when met. */
static bool make_code(struct code *code, const uint8_t *lengths, unsigned n)
{
    uint16_t offset[MAX_BITS + 2], next[MAX_BITS + 2];
    int left = 1;

    memset(code, 0, sizeof *code);
    for (unsigned i = 0; i < n; i++) {
        code->count[lengths[i]]++;
    }
    code->count[0] = 0;
    offset[1] = next[1] = 0;
    for (unsigned bits = 1; bits <= MAX_BITS; bits++) {
        left = left * 2 - code->count[bits];
        if (left < 0) {
            return false;
        }
        offset[bits + 1] = (uint16_t)(offset[bits] + code->count[bits]);
        next[bits + 1] = (uint16_t)((next[bits] + code->count[bits]) << 1);
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned bits = lengths[i];

        if (bits == 0) {
            continue;
        }
        code->symbols[offset[bits]++] = (uint16_t)i;
        if (bits <= FAST_BITS) {
            unsigned step = 1u << bits;

            for (unsigned k = reverse(next[bits], bits); k < 1u << FAST_BITS; k += step) {
                code->fast[k] = (uint16_t)(i << 4 | bits);
            }
        }
        next[bits]++;
    }
    return true;
}

/* A code longer than the table, bit by bit. */
static unsigned slow_symbol(struct lethe_inflater *s, const struct code *code)
{
    unsigned word = 0, first = 0, index = 0;

    for (unsigned bits = 1; bits <= MAX_BITS && bits <= s->held; bits++) {
        word |= (unsigned)(s->hold >> (bits - 1)) & 1;
        if (word < first + code->count[bits]) {
            s->hold >>= bits;
            s->held -= bits;
            return code->symbols[index + word - first];
        }
        index += code->count[bits];
        first = (first + code->count[bits]) << 1;
        word <<= 1;
    }
    return BAD;
}

/* Needs a refill before: BAD when undefined or cut. */
static inline unsigned symbol(struct lethe_inflater *s, const struct code *code)
{
    unsigned entry = code->fast[s->hold & ((1u << FAST_BITS) - 1)];

    if (entry && (entry & 15) <= s->held) {
        s->hold >>= entry & 15;
        s->held -= entry & 15;
        return entry >> 4;
    }
    return slow_symbol(s, code);
}

static enum lethe_err read_trees(struct lethe_inflater *s, struct lethe_deflate_trees *trees)
{
    uint8_t lengths[LETHE_DEFLATE_LITLENS + LETHE_DEFLATE_DISTS] = {0};
    unsigned lits, dists, clens, value, total, n = 0;

    memset(trees, 0, sizeof *trees);
    if (!take(s, 5, &lits) || !take(s, 5, &dists) || !take(s, 4, &clens)) {
        return LETHE_ERR_FORMAT;
    }
    trees->lits = lits + 257;
    trees->dists = dists + 1;
    trees->clens = clens + 4;
    total = trees->lits + trees->dists;
    if (trees->lits > 286 || trees->dists > 30) {
        return LETHE_ERR_FORMAT;
    }
    for (unsigned i = 0; i < trees->clens; i++) {
        if (!take(s, 3, &value)) {
            return LETHE_ERR_FORMAT;
        }
        trees->clen[lethe_deflate_clen_order[i]] = (uint8_t)value;
    }
    if (!make_code(&s->tables->clen, trees->clen, LETHE_DEFLATE_CLENS)) {
        return LETHE_ERR_FORMAT;
    }
    while (n < total) {
        unsigned op, repeat = 1, extra = 0;
        uint8_t length;

        refill(s);
        op = symbol(s, &s->tables->clen);
        if (op < 16) {
            length = (uint8_t)op;
        } else if (op == 16) {
            if (n == 0 || !take(s, 2, &extra)) {
                return LETHE_ERR_FORMAT;
            }
            length = lengths[n - 1];
            repeat = 3 + extra;
        } else if (op == 17 || op == 18) {
            if (!take(s, op == 17 ? 3 : 7, &extra)) {
                return LETHE_ERR_FORMAT;
            }
            length = 0;
            repeat = (op == 17 ? 3 : 11) + extra;
        } else {
            return LETHE_ERR_FORMAT;
        }
        if (repeat > total - n) {
            return LETHE_ERR_FORMAT;
        }
        trees->ops[trees->op_count++] = (uint16_t)(op | extra << 8);
        memset(lengths + n, length, repeat);
        n += repeat;
    }
    memcpy(trees->lit, lengths, trees->lits);
    memcpy(trees->dist, lengths + trees->lits, trees->dists);
    if (trees->lit[256] == 0) {
        return LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

static enum lethe_err read_stored(struct lethe_inflater *s, uint8_t *out, size_t cap, size_t *pos,
                                  struct lethe_deflate_block *block)
{
    unsigned padding, length, check;

    if (!take(s, s->held & 7, &padding) || !take(s, 16, &length) || !take(s, 16, &check) ||
        (length ^ check) != 0xffff || length > cap - *pos) {
        return LETHE_ERR_FORMAT;
    }
    block->padding = (uint8_t)padding;
    block->bytes = length;
    while (length > 0 && s->held > 0) {
        if (out) {
            out[*pos] = (uint8_t)s->hold;
        }
        (*pos)++;
        s->hold >>= 8;
        s->held -= 8;
        length--;
    }
    if (length > s->len - s->at) {
        return LETHE_ERR_FORMAT;
    }
    if (length > 0) {
        if (out) {
            memcpy(out + *pos, s->in + s->at, length);
        }
        s->at += length;
        *pos += length;
    }
    return LETHE_OK;
}

static void copy_match(uint8_t *to, unsigned length, unsigned distance)
{
    const uint8_t *from = to - distance;

    if (distance >= length) {
        memcpy(to, from, length);
        return;
    }
    while (length-- > 0) {
        *to++ = *from++;
    }
}

static enum lethe_err read_symbols(struct lethe_inflater *s, uint8_t *out, size_t cap, size_t *pos,
                                   struct lethe_tokens *tokens)
{
    const struct code *lit = &s->tables->lit, *dist = &s->tables->dist;
    size_t at = *pos;
    enum lethe_err err;

    for (;;) {
        unsigned sym, length, distance, extra;
        uint32_t token;

        if (s->held < 48) {
            refill(s);
        }
        sym = symbol(s, lit);
        if (sym < 256) {
            if (at == cap) {
                return LETHE_ERR_FORMAT;
            }
            if (out) {
                out[at] = (uint8_t)sym;
            }
            at++;
            token = sym;
        } else if (sym == 256) {
            *pos = at;
            return LETHE_OK;
        } else {
            if (sym > 285 || !take(s, lethe_deflate_length_extra[sym - 257], &extra)) {
                return LETHE_ERR_FORMAT;
            }
            length = lethe_deflate_length_base[sym - 257] + extra;
            if (sym == 284 && extra == 31) {
                return LETHE_ERR_UNSUPPORTED;
            }
            refill(s);
            sym = symbol(s, dist);
            if (sym > 29 || !take(s, lethe_deflate_distance_extra[sym], &extra)) {
                return LETHE_ERR_FORMAT;
            }
            distance = lethe_deflate_distance_base[sym] + extra;
            if (distance > at || length > cap - at) {
                return LETHE_ERR_FORMAT;
            }
            if (out) {
                copy_match(out + at, length, distance);
            }
            at += length;
            token = lethe_token_match(length, distance);
        }
        if (tokens) {
            err = lethe_tokens_push(tokens, token);
            if (err) {
                return err;
            }
        }
    }
}

enum lethe_err lethe_inflate_block(struct lethe_inflater *s, uint8_t *out, size_t cap, size_t *pos,
                                   struct lethe_deflate_block *block, struct lethe_tokens *tokens)
{
    unsigned final, kind;
    enum lethe_err err;

    if (tokens) {
        tokens->count = 0;
    }
    if (!take(s, 1, &final) || !take(s, 2, &kind) || kind == 3) {
        return LETHE_ERR_FORMAT;
    }
    block->kind = (enum lethe_deflate_kind)kind;
    block->final = final;
    block->padding = 0;
    block->start = *pos;
    if (kind == LETHE_DEFLATE_STORED) {
        return read_stored(s, out, cap, pos, block);
    }
    if (kind == LETHE_DEFLATE_FIXED) {
        lethe_deflate_fixed(block->trees.lit, block->trees.dist);
        block->trees.lits = LETHE_DEFLATE_LITLENS;
        block->trees.dists = LETHE_DEFLATE_DISTS;
    } else {
        err = read_trees(s, &block->trees);
        if (err) {
            return err;
        }
    }
    if (!make_code(&s->tables->lit, block->trees.lit, LETHE_DEFLATE_LITLENS) ||
        !make_code(&s->tables->dist, block->trees.dist, LETHE_DEFLATE_DISTS)) {
        return LETHE_ERR_FORMAT;
    }
    err = read_symbols(s, out, cap, pos, tokens);
    if (err) {
        return err;
    }
    block->bytes = *pos - block->start;
    return LETHE_OK;
}

void lethe_inflate_end(struct lethe_inflater *s, unsigned *padding, size_t *at)
{
    *padding = (unsigned)(s->hold & ((1u << (s->held & 7)) - 1));
    *at = s->at - s->held / 8;
}
