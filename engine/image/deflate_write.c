/* SPDX-License-Identifier: MIT */
/* Blocks and tokens to bits (RFC 1951). */
#include "deflate.h"

#include <string.h>

void lethe_bit_writer_init(struct lethe_bit_writer *writer, struct lethe_buf *out, size_t max_len)
{
    *writer = (struct lethe_bit_writer){.out = out, .max_len = max_len};
}

/* Room for bytes more, whole words included; false (and full) when max_len would be passed. */
static bool make_room(struct lethe_bit_writer *writer, size_t bytes)
{
    struct lethe_buf *out = writer->out;

    if (writer->full || lethe_buf_reserve(out, bytes + 16)) {
        writer->full = true;
    }
    return !writer->full;
}

/* count <= 32; the caller has made room. */
static inline void put(struct lethe_bit_writer *writer, uint32_t bits, unsigned count)
{
    writer->hold |= (uint64_t)bits << writer->held;
    writer->held += count;
    if (writer->held >= 32) {
        lethe_set_u32(writer->out->data + writer->out->len, (uint32_t)writer->hold);
        writer->out->len += 4;
        writer->hold >>= 32;
        writer->held -= 32;
    }
}

static enum lethe_err status(const struct lethe_bit_writer *writer)
{
    if (lethe_buf_status(writer->out)) {
        return LETHE_ERR_NOMEM;
    }
    return writer->full || writer->out->len > writer->max_len ? LETHE_ERR_FORMAT : LETHE_OK;
}

/* Words as they are sent, first bit lowest: word << 4 | length. */
static void make_words(const uint8_t *lengths, unsigned n, uint32_t *words)
{
    unsigned count[16] = {0}, next[16] = {0};

    for (unsigned i = 0; i < n; i++) {
        count[lengths[i] & 15]++;
    }
    count[0] = 0;
    for (unsigned bits = 1; bits < 16; bits++) {
        next[bits] = (next[bits - 1] + count[bits - 1]) << 1;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned bits = lengths[i] & 15, word = 0;

        if (bits == 0) {
            words[i] = 0;
            continue;
        }
        for (unsigned k = 0, code = next[bits]++; k < bits; k++) {
            word = word << 1 | (code >> k & 1);
        }
        words[i] = word << 4 | bits;
    }
}

static void put_trees(struct lethe_bit_writer *writer, const struct lethe_deflate_trees *trees)
{
    static const uint8_t extra[LETHE_DEFLATE_CLENS] = {[16] = 2, [17] = 3, [18] = 7};
    uint32_t words[LETHE_DEFLATE_CLENS];

    put(writer, trees->lits - 257, 5);
    put(writer, trees->dists - 1, 5);
    put(writer, trees->clens - 4, 4);
    for (unsigned i = 0; i < trees->clens; i++) {
        put(writer, trees->clen[lethe_deflate_clen_order[i]], 3);
    }
    make_words(trees->clen, LETHE_DEFLATE_CLENS, words);
    for (unsigned i = 0; i < trees->op_count; i++) {
        unsigned op = trees->ops[i] & 255;

        put(writer, words[op] >> 4, words[op] & 15);
        put(writer, trees->ops[i] >> 8, extra[op]);
    }
}

static enum lethe_err write_stored(struct lethe_bit_writer *writer, const struct lethe_deflate_block *block,
                                   const uint8_t *data)
{
    unsigned fill = (8 - (writer->held & 7)) & 7;

    if (block->bytes > 0xffff || !make_room(writer, block->bytes + 16)) {
        return block->bytes > 0xffff ? LETHE_ERR_FORMAT : status(writer);
    }
    put(writer, block->padding & ((1u << fill) - 1), fill);
    put(writer, (uint32_t)block->bytes, 16);
    put(writer, (uint32_t)block->bytes ^ 0xffff, 16);
    for (; writer->held > 0; writer->held -= 8) { /* whole bytes now */
        writer->out->data[writer->out->len++] = (uint8_t)writer->hold;
        writer->hold >>= 8;
    }
    memcpy(writer->out->data + writer->out->len, data + block->start, block->bytes);
    writer->out->len += block->bytes;
    return status(writer);
}

/* What a token begins with: bits << 8 | how many; by literal, and from 256 on by length with its extra bits. */
static void make_starts(const uint32_t lit[LETHE_DEFLATE_LITLENS],
                        uint32_t start[256 + LETHE_DEFLATE_MAX_MATCH + 1])
{
    for (unsigned byte = 0; byte < 256; byte++) {
        start[byte] = (lit[byte] >> 4) << 8 | (lit[byte] & 15);
    }
    for (unsigned length = LETHE_DEFLATE_MIN_MATCH; length <= LETHE_DEFLATE_MAX_MATCH; length++) {
        unsigned sym = lethe_deflate_length_symbol(length), bits = lit[sym] & 15;
        uint32_t extra = length - lethe_deflate_length_base[sym - 257];

        start[256 + length] =
            ((lit[sym] >> 4) | extra << bits) << 8 | (bits + lethe_deflate_length_extra[sym - 257]);
    }
}

/* The caller has made room. Whole words are stored, and what of them is whole bytes is kept: no branch for it. */
static void put_tokens(struct lethe_bit_writer *writer, const uint32_t *start, const uint32_t *dist,
                       const uint32_t *tokens, size_t count)
{
    uint8_t *to = writer->out->data + writer->out->len;
    uint64_t hold = writer->hold;
    unsigned held = writer->held;

    for (size_t i = 0; i <= count; i++) {
        uint32_t first;

        lethe_set_u64(to, hold);
        to += held >> 3;
        hold >>= held & 56;
        held &= 7;
        if (i == count) {
            break;
        }
        if (lethe_token_distance(tokens[i]) == 0) {
            first = start[tokens[i] & 255];
            hold |= (uint64_t)(first >> 8) << held;
            held += first & 255;
        } else { /* at most 7 + 15 + 5 + 15 + 13 bits */
            unsigned distance = lethe_token_distance(tokens[i]), sym = lethe_deflate_distance_symbol(distance);

            first = start[256 + lethe_token_length(tokens[i])];
            hold |= (uint64_t)(first >> 8) << held;
            held += first & 255;
            hold |= (uint64_t)(dist[sym] >> 4) << held;
            held += dist[sym] & 15;
            hold |= (uint64_t)(distance - lethe_deflate_distance_base[sym]) << held;
            held += lethe_deflate_distance_extra[sym];
        }
    }
    writer->out->len = (size_t)(to - writer->out->data);
    writer->hold = hold;
    writer->held = held;
}

enum lethe_err lethe_deflate_write_block(struct lethe_bit_writer *writer,
                                         const struct lethe_deflate_block *block, const uint8_t *data,
                                         const uint32_t *tokens, size_t count)
{
    uint32_t lit[LETHE_DEFLATE_LITLENS], dist[LETHE_DEFLATE_DISTS], start[256 + LETHE_DEFLATE_MAX_MATCH + 1];
    uint8_t lit_lengths[LETHE_DEFLATE_LITLENS], dist_lengths[LETHE_DEFLATE_DISTS];

    if (!make_room(writer, 1024)) { /* a header has at most 14 + 57 + 320 * 14 bits */
        return status(writer);
    }
    put(writer, block->final, 1);
    put(writer, block->kind, 2);
    if (block->kind == LETHE_DEFLATE_STORED) {
        return write_stored(writer, block, data);
    }
    if (block->kind == LETHE_DEFLATE_FIXED) {
        lethe_deflate_fixed(lit_lengths, dist_lengths);
        make_words(lit_lengths, LETHE_DEFLATE_LITLENS, lit);
        make_words(dist_lengths, LETHE_DEFLATE_DISTS, dist);
    } else {
        put_trees(writer, &block->trees);
        make_words(block->trees.lit, LETHE_DEFLATE_LITLENS, lit);
        make_words(block->trees.dist, LETHE_DEFLATE_DISTS, dist);
    }
    make_starts(lit, start);
    while (count > 0) {
        size_t some = count < 4096 ? count : 4096;

        /* A token has at most 15 + 5 + 15 + 13 = 48 bits. */
        if (!make_room(writer, some * 6 + 16) || writer->out->len > writer->max_len) {
            return status(writer);
        }
        put_tokens(writer, start, dist, tokens, some);
        tokens += some;
        count -= some;
    }
    put(writer, lit[256] >> 4, lit[256] & 15);
    return status(writer);
}

enum lethe_err lethe_deflate_write_end(struct lethe_bit_writer *writer, unsigned padding)
{
    unsigned fill = (8 - (writer->held & 7)) & 7;

    if (!make_room(writer, 16)) {
        return status(writer);
    }
    put(writer, padding & ((1u << fill) - 1), fill);
    for (; writer->held > 0; writer->held -= 8) {
        writer->out->data[writer->out->len++] = (uint8_t)writer->hold;
        writer->hold >>= 8;
    }
    return status(writer);
}
