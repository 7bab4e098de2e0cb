/* SPDX-License-Identifier: MIT */
/*
 * Blocks of an encoder that works like zlib: tokens are foreseen by its matcher, the end of a block by its
 * buffer of symbols, its kind and its codes by its own reckoning. What is as foreseen costs a vanishing
 * fraction of a bit.
 */
#include "deflate_coder.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STORED 65535u

struct lethe_zlib_model {
    struct lethe_matcher *matcher;
    unsigned level;
    size_t limit; /* symbols of a full block */
    bool lazy;
    bool believing;
    uint64_t misses;
    unsigned restarts;
    uint32_t last_stored; /* level 0: the length of the stored block before */
    unsigned was_stored;
    struct lethe_bit stored[2], full, final[2], fixed[2];
    struct lethe_bit stored_same;
    struct lethe_number stored_bytes, count, gap;
    struct lethe_bit more, literal, same_length, same_distance;
    struct lethe_bit length[256];
    struct lethe_number distance;
    struct lethe_trees_model trees;
};

struct lethe_zlib_model *lethe_zlib_model_new(const struct lethe_deflate_params *params, const uint8_t *data,
                                              size_t len)
{
    struct lethe_zlib_model *m = calloc(1, sizeof *m);
    struct lethe_deflate_params own = *params;

    if (!m) {
        return NULL;
    }
    if (own.level == 0) { /* nothing is searched */
        own.level = 1;
        own.strategy = LETHE_DEFLATE_HUFFMAN;
    }
    m->level = params->level;
    m->limit = lethe_matcher_block(&own);
    m->lazy = lethe_matcher_lazy(&own);
    m->last_stored = MAX_STORED;
    m->matcher = lethe_matcher_new(&own, data, len);
    if (!m->matcher) {
        free(m);
        return NULL;
    }
    lethe_bits_init(m->stored, 2);
    lethe_bit_init(&m->full);
    lethe_bits_init(m->final, 2);
    lethe_bits_init(m->fixed, 2);
    lethe_bit_init(&m->stored_same);
    lethe_number_init(&m->stored_bytes);
    lethe_number_init(&m->count);
    lethe_number_init(&m->gap);
    lethe_bit_init(&m->more);
    lethe_bit_init(&m->literal);
    lethe_bit_init(&m->same_length);
    lethe_bit_init(&m->same_distance);
    lethe_bits_init(m->length, 256);
    lethe_number_init(&m->distance);
    lethe_trees_model_init(&m->trees);
    return m;
}

void lethe_zlib_model_free(struct lethe_zlib_model *m)
{
    if (m) {
        lethe_matcher_free(m->matcher);
        free(m);
    }
}

void lethe_zlib_model_believe(struct lethe_zlib_model *m)
{
    m->believing = true;
}

uint64_t lethe_zlib_model_misses(const struct lethe_zlib_model *m)
{
    return m->misses + m->restarts;
}

/* A lazy matcher holds its last literal back, so a block that it fills at the very end is the last one. */
static bool foresee_final(const struct lethe_zlib_model *m, size_t pos, size_t len, size_t count,
                          uint32_t last)
{
    return pos == len && (count < m->limit || (m->lazy && lethe_token_distance(last) == 0));
}

/* Waits until the matcher can be at pos. */
static enum lethe_err await(struct lethe_zlib_model *m, struct lethe_deflate_state *s, size_t pos)
{
    enum lethe_err err = lethe_deflate_await(s, pos < s->len - 1 ? pos + LETHE_DEFLATE_AHEAD : s->len);

    lethe_matcher_ready(m->matcher, s->ready);
    return err;
}

/*
 * A stored block took the place of tokens that only the encoder saw: those of its matcher. Follows them from
 * pos to where the block would be full, but not beyond stop.
 */
static size_t follow(struct lethe_zlib_model *m, const struct lethe_deflate_state *state, size_t stop,
                     size_t *count, uint32_t *last)
{
    size_t pos = state->pos, n = 0;

    while (n < m->limit && pos < stop) {
        *last = lethe_matcher_predict(m->matcher, pos);
        lethe_matcher_commit(m->matcher, pos, *last);
        pos += lethe_token_length(*last);
        n++;
    }
    *count = n;
    return pos;
}

static enum lethe_err stored_block(struct lethe_zlib_model *m, struct lethe_deflate_state *s)
{
    struct lethe_deflate_block *block = &s->block;
    size_t left = s->len - s->pos, end, count = 0;
    uint32_t last = 0, guess = (uint32_t)(left < m->last_stored ? left : m->last_stored);
    bool final;
    enum lethe_err err = m->believing && m->level > 0 ? LETHE_ERR_BUSY : await(m, s, s->len);

    if (err) {
        return err;
    }
    if (m->level > 0) {
        /* The decoder may follow only once it knows that the guess is right: a restart forgets the detour. */
        end = 0;
        if (!s->coder.decode) {
            end = follow(m, s, s->pos + block->bytes, &count, &last);
            guess = end == s->pos + block->bytes && (count == m->limit || end == s->len)
                        ? (uint32_t)block->bytes
                        : UINT32_MAX;
        }
        if (lethe_code_bit(&s->coder, &m->stored_same, guess == block->bytes)) {
            if (s->coder.decode) {
                end = follow(m, s, s->len, &count, &last);
                block->bytes = end - s->pos;
            }
            final = foresee_final(m, end, s->len, count, last);
        } else {
            block->bytes = lethe_code_number(&s->coder, &m->stored_bytes, (uint32_t)block->bytes);
            if (block->bytes > left || m->restarts++ > 64 + s->len / 4096) {
                return LETHE_ERR_FORMAT;
            }
            lethe_matcher_restart(m->matcher, s->pos + block->bytes);
            final = s->pos + block->bytes == s->len;
        }
    } else {
        if (lethe_code_bit(&s->coder, &m->stored_same, guess == block->bytes)) {
            block->bytes = guess;
        } else {
            block->bytes = lethe_code_number(&s->coder, &m->stored_bytes, (uint32_t)block->bytes);
        }
        m->last_stored = (uint32_t)block->bytes;
        final = block->bytes == left;
    }
    if (block->bytes > left || block->bytes > MAX_STORED) {
        return LETHE_ERR_FORMAT;
    }
    block->padding = (uint8_t)lethe_code_padding(s, block->padding);
    block->final = lethe_code_bit(&s->coder, &m->final[final], block->final);
    s->pos += block->bytes;
    return LETHE_OK;
}

/* A token that is not the foreseen one. */
static uint32_t code_miss(struct lethe_zlib_model *m, struct lethe_coder *coder, uint32_t guess,
                          uint32_t token, uint8_t literal)
{
    unsigned length, distance;

    if (lethe_token_distance(guess) != 0 &&
        lethe_code_bit(coder, &m->literal, lethe_token_distance(token) == 0)) {
        return literal;
    }
    length = lethe_token_length(token);
    distance = lethe_token_distance(token);
    if (lethe_token_distance(guess) != 0 &&
        lethe_code_bit(coder, &m->same_length, length == lethe_token_length(guess))) {
        length = lethe_token_length(guess);
    } else {
        length = 3 + lethe_code_tree(coder, m->length, 8, (length - 3) & 255);
    }
    if (lethe_token_distance(guess) != 0 &&
        lethe_code_bit(coder, &m->same_distance, distance == lethe_token_distance(guess))) {
        distance = lethe_token_distance(guess);
    } else {
        distance = lethe_code_number(coder, &m->distance, distance - 1) + 1;
    }
    return lethe_token_match(length, distance & 0xffff);
}

static bool possible(uint32_t token, size_t pos, size_t len)
{
    unsigned distance = lethe_token_distance(token);

    if (token < 256) {
        return true;
    }
    return distance >= 1 && distance <= LETHE_DEFLATE_MAX_DIST && distance <= pos &&
           lethe_token_length(token) <= len - pos;
}

#define BATCH 4096u

/* Tokens that are as foreseen: no coding, so they come in batches. *count tokens at most, to the end at most.
 */
static enum lethe_err take_foreseen(struct lethe_zlib_model *m, struct lethe_deflate_state *s, size_t *count)
{
    size_t left = *count;

    while (left > 0 && s->pos < s->len) {
        size_t n = left < BATCH ? left : BATCH;
        enum lethe_err err = lethe_tokens_reserve(&s->tokens, n);

        err = err ? err : await(m, s, s->pos + 1);
        if (err) {
            return err;
        }
        n = lethe_matcher_run(m->matcher, &s->pos, n, s->tokens.at + s->tokens.count);
        s->tokens.count += n;
        left -= n;
    }
    *count -= left;
    return LETHE_OK;
}

static enum lethe_err decode_tokens(struct lethe_zlib_model *m, struct lethe_deflate_state *s, size_t limit)
{
    struct lethe_coder *coder = &s->coder;
    size_t n = 0;
    enum lethe_err err;

    s->tokens.count = 0;
    while (lethe_code_bit(coder, &m->more, 0)) {
        size_t gap = lethe_code_number(coder, &m->gap, 0), took;
        uint32_t token;

        took = gap < limit - n ? gap : limit - n;
        err = take_foreseen(m, s, &took);
        if (err) {
            return err;
        }
        n += took;
        if (took != gap || n == limit || s->pos == s->len) { /* the miss must be inside the block */
            return LETHE_ERR_FORMAT;
        }
        err = await(m, s, s->pos);
        if (err) {
            return err;
        }
        token = code_miss(m, coder, lethe_matcher_predict(m->matcher, s->pos), 0, s->data[s->pos]);
        if (lethe_coder_cut(coder) || !possible(token, s->pos, s->len)) {
            return LETHE_ERR_FORMAT;
        }
        err = lethe_tokens_push(&s->tokens, token);
        if (err) {
            return err;
        }
        lethe_matcher_commit(m->matcher, s->pos, token);
        s->pos += lethe_token_length(token);
        n++;
    }
    n = limit - n;
    return take_foreseen(m, s, &n);
}

static enum lethe_err encode_tokens(struct lethe_zlib_model *m, struct lethe_deflate_state *s)
{
    struct lethe_coder *coder = &s->coder;
    uint32_t gap = 0;

    if (m->believing) {
        s->pos = s->block.start + s->block.bytes;
    }
    for (size_t n = 0; n < s->tokens.count && !m->believing; n++) {
        uint32_t token = s->tokens.at[n], guess = lethe_matcher_predict(m->matcher, s->pos);

        if (token == guess) {
            gap++;
        } else {
            lethe_code_bit(coder, &m->more, 1);
            lethe_code_number(coder, &m->gap, gap);
            code_miss(m, coder, guess, token, s->data[s->pos]);
            gap = 0;
            m->misses++;
        }
        lethe_matcher_commit(m->matcher, s->pos, token);
        s->pos += lethe_token_length(token);
    }
    lethe_code_bit(coder, &m->more, 0);
    return LETHE_OK;
}

static enum lethe_err coded_block(struct lethe_zlib_model *m, struct lethe_deflate_state *s)
{
    struct lethe_deflate_block *block = &s->block;
    struct lethe_deflate_freqs freqs;
    struct lethe_deflate_trees trees;
    size_t count = s->tokens.count, limit = m->limit;
    bool full, final, fixed;
    enum lethe_err err;

    full = count == limit || (count < limit && block->start + block->bytes == s->len);
    if (!lethe_code_bit(&s->coder, &m->full, full)) {
        limit = lethe_code_number(&s->coder, &m->count, (uint32_t)count);
    }
    err = s->coder.decode ? decode_tokens(m, s, limit) : encode_tokens(m, s);
    if (err) {
        return err;
    }
    count = s->tokens.count;
    final = foresee_final(m, s->pos, s->len, count, count ? s->tokens.at[count - 1] : 0);
    block->final = lethe_code_bit(&s->coder, &m->final[final], block->final);
    lethe_deflate_count(s->tokens.at, count, &freqs);
    lethe_deflate_trees_build(&freqs, &trees);
    fixed =
        (lethe_deflate_fixed_bits(&freqs) + 10) / 8 <= (lethe_deflate_dynamic_bits(&freqs, &trees) + 10) / 8;
    fixed = lethe_code_bit(&s->coder, &m->fixed[fixed], block->kind == LETHE_DEFLATE_FIXED);
    if (fixed) {
        block->kind = LETHE_DEFLATE_FIXED;
        return LETHE_OK;
    }
    block->kind = LETHE_DEFLATE_DYNAMIC;
    return lethe_code_trees(&s->coder, &m->trees, &trees, &block->trees);
}

enum lethe_err lethe_zlib_model_block(struct lethe_zlib_model *m, struct lethe_deflate_state *s)
{
    unsigned stored = s->block.kind == LETHE_DEFLATE_STORED;

    m->was_stored = stored = lethe_code_bit(&s->coder, &m->stored[m->was_stored], stored);
    if (stored) {
        s->block.kind = LETHE_DEFLATE_STORED;
        s->tokens.count = 0;
        return stored_block(m, s);
    }
    return coded_block(m, s);
}
