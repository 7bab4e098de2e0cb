/* SPDX-License-Identifier: MIT */
/*
 * Private to engine/image. Deflate (RFC 1951) as a sequence of decisions: an inflater that records what the
 * encoder chose, models that foresee it, and a coder for the difference, so that the very same stream can be
 * written again from the bytes that it holds. Everything is in integers and independent of any library.
 */
#ifndef LETHE_IMAGE_DEFLATE_H
#define LETHE_IMAGE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/pool.h"

enum {
    LETHE_DEFLATE_MIN_MATCH = 3,
    LETHE_DEFLATE_MAX_MATCH = 258,
    LETHE_DEFLATE_MAX_DIST = 32768,
    LETHE_DEFLATE_LITLENS = 288,
    LETHE_DEFLATE_DISTS = 32,
    LETHE_DEFLATE_CLENS = 19,
    LETHE_DEFLATE_AHEAD = 1024, /* more than a matcher looks beyond the token that it is at */
    LETHE_DEFLATE_SLACK = 16, /* readable bytes that callers keep behind the data, for comparisons by words */
};

/* A token: a literal is its byte; a match is distance << 16 | length. */
static inline uint32_t lethe_token_match(unsigned length, unsigned distance)
{
    return (uint32_t)distance << 16 | length;
}

static inline unsigned lethe_token_distance(uint32_t token)
{
    return token >> 16;
}

/* How many bytes a token stands for. */
static inline unsigned lethe_token_length(uint32_t token)
{
    return token >> 16 ? token & 0xffff : 1;
}

struct lethe_tokens {
    uint32_t *at;
    size_t count;
    size_t cap;
};

void lethe_tokens_release(struct lethe_tokens *tokens);
/* Makes room for at least one more; LETHE_ERR_NOMEM. */
enum lethe_err lethe_tokens_grow(struct lethe_tokens *tokens) LETHE_MUST_CHECK;

/* The same for more. */
enum lethe_err lethe_tokens_reserve(struct lethe_tokens *tokens, size_t more) LETHE_MUST_CHECK;

static inline enum lethe_err lethe_tokens_push(struct lethe_tokens *tokens, uint32_t token)
{
    if (tokens->count == tokens->cap) {
        enum lethe_err err = lethe_tokens_grow(tokens);

        if (err) {
            return err;
        }
    }
    tokens->at[tokens->count++] = token;
    return LETHE_OK;
}

/* The header of a dynamic block as it stands in the stream. */
struct lethe_deflate_trees {
    uint8_t lit[LETHE_DEFLATE_LITLENS]; /* code lengths; zero from lits on */
    uint8_t dist[LETHE_DEFLATE_DISTS];
    unsigned lits;                     /* how many are sent: 257 to 286 */
    unsigned dists;                    /* 1 to 30 */
    uint8_t clen[LETHE_DEFLATE_CLENS]; /* lengths of the code-length code, by symbol */
    unsigned clens;                    /* how many are sent, in the order of RFC 1951: 4 to 19 */
    uint16_t ops[LETHE_DEFLATE_LITLENS + LETHE_DEFLATE_DISTS]; /* symbol | extra value << 8 */
    unsigned op_count;
};

enum lethe_deflate_kind { LETHE_DEFLATE_STORED = 0, LETHE_DEFLATE_FIXED = 1, LETHE_DEFLATE_DYNAMIC = 2 };

struct lethe_deflate_block {
    enum lethe_deflate_kind kind;
    bool final;
    uint8_t padding; /* of a stored block: the bits before its length */
    size_t start;    /* the bytes that it holds */
    size_t bytes;
    struct lethe_deflate_trees trees; /* of a dynamic block */
};

/* --- inflate.c: hostile bytes in, bounded by the caller's buffer --- */

struct lethe_inflater {
    const uint8_t *in;
    size_t len;
    size_t at;
    uint64_t hold;
    unsigned held;
    struct lethe_inflate_tables *tables;
};

enum lethe_err lethe_inflate_init(struct lethe_inflater *inflater, const uint8_t *in,
                                  size_t len) LETHE_MUST_CHECK;
void lethe_inflate_release(struct lethe_inflater *inflater);
/*
 * One block: its bytes to out + *pos, never past cap (NULL: nowhere, as who has them may wish); its tokens to tokens
 * (emptied first; NULL: not recorded). LETHE_ERR_FORMAT when malformed, cut, or larger than cap; LETHE_ERR_UNSUPPORTED for a form that
 * has no token (length 258 written with symbol 284).
 */
enum lethe_err lethe_inflate_block(struct lethe_inflater *inflater, uint8_t *out, size_t cap, size_t *pos,
                                   struct lethe_deflate_block *block,
                                   struct lethe_tokens *tokens) LETHE_MUST_CHECK;
/* After the final block: the bits up to the next whole byte, and where that byte is. */
void lethe_inflate_end(struct lethe_inflater *inflater, unsigned *padding, size_t *at);

/* --- deflate_trees.c: symbols, codes and zlib's way of building them --- */

struct lethe_deflate_freqs {
    uint32_t lit[LETHE_DEFLATE_LITLENS];
    uint32_t dist[LETHE_DEFLATE_DISTS];
};

unsigned lethe_deflate_length_symbol(unsigned length);     /* 257 to 285 */
/* 0 to 29; its extra bits are the lowest of distance - 1. */
static inline unsigned lethe_deflate_distance_symbol(unsigned distance)
{
    unsigned x = distance - 1, log = 31 - (unsigned)__builtin_clz(x | 1);

    return x < 4 ? x : log * 2 + (x >> (log - 1) & 1);
}
extern const uint16_t lethe_deflate_length_base[29];
extern const uint8_t lethe_deflate_length_extra[29];
extern const uint16_t lethe_deflate_distance_base[30];
extern const uint8_t lethe_deflate_distance_extra[30];
extern const uint8_t lethe_deflate_clen_order[LETHE_DEFLATE_CLENS];
/* Lengths of the fixed code. */
void lethe_deflate_fixed(uint8_t lit[LETHE_DEFLATE_LITLENS], uint8_t dist[LETHE_DEFLATE_DISTS]);

void lethe_deflate_count(const uint32_t *tokens, size_t count, struct lethe_deflate_freqs *freqs);
/* What zlib sends for these counts: lengths, their description, and its code; the end of block is counted
 * here. */
void lethe_deflate_trees_build(const struct lethe_deflate_freqs *freqs, struct lethe_deflate_trees *trees);
/* The description (ops) of given lengths, and the code-length code for given ops, both as zlib makes them. */
void lethe_deflate_trees_ops(struct lethe_deflate_trees *trees);
void lethe_deflate_trees_clens(struct lethe_deflate_trees *trees);
/* Bits of a block's symbols and header with the fixed code and with trees (three header bits not counted). */
uint64_t lethe_deflate_fixed_bits(const struct lethe_deflate_freqs *freqs);
uint64_t lethe_deflate_dynamic_bits(const struct lethe_deflate_freqs *freqs,
                                    const struct lethe_deflate_trees *trees);

/* --- deflate_write.c --- */

struct lethe_bit_writer {
    struct lethe_buf *out;
    size_t max_len; /* out never grows past this */
    uint64_t hold;
    unsigned held;
    bool full;
};

void lethe_bit_writer_init(struct lethe_bit_writer *writer, struct lethe_buf *out, size_t max_len);
/* LETHE_ERR_FORMAT when the stream would outgrow max_len. tokens unused for stored blocks. */
enum lethe_err lethe_deflate_write_block(struct lethe_bit_writer *writer,
                                         const struct lethe_deflate_block *block, const uint8_t *data,
                                         const uint32_t *tokens, size_t count) LETHE_MUST_CHECK;
/* Fills the last byte with padding. */
enum lethe_err lethe_deflate_write_end(struct lethe_bit_writer *writer, unsigned padding) LETHE_MUST_CHECK;

/* --- deflate_match.c: the decisions of zlib's matchers --- */

enum lethe_deflate_strategy {
    LETHE_DEFLATE_DEFAULT,
    LETHE_DEFLATE_FILTERED,
    LETHE_DEFLATE_HUFFMAN,
    LETHE_DEFLATE_RLE,
};

struct lethe_deflate_params {
    uint8_t level; /* 1 to 9 */
    uint8_t strategy;
    uint8_t mem_level;   /* 1 to 9 */
    uint8_t window_bits; /* 8 to 15; 8 is 9, as in zlib */
};

struct lethe_matcher;

/* data has LETHE_DEFLATE_SLACK readable bytes behind len; len < 2^32 - 1024. NULL when out of memory. */
struct lethe_matcher *lethe_matcher_new(const struct lethe_deflate_params *params, const uint8_t *data,
                                        size_t len);
void lethe_matcher_free(struct lethe_matcher *matcher);
/* The token that zlib would emit at pos (< len), given all that was committed before. */
uint32_t lethe_matcher_predict(struct lethe_matcher *matcher, size_t pos);
/* The token that was really emitted at pos, after lethe_matcher_predict on the same pos. */
void lethe_matcher_commit(struct lethe_matcher *matcher, size_t pos, uint32_t token);
/* Predicts and commits up to most tokens from *pos on, to the end of the data at most; returns how many. */
size_t lethe_matcher_run(struct lethe_matcher *matcher, size_t *pos, size_t most, uint32_t *tokens);
/* Forgets everything but the bytes before pos. */
void lethe_matcher_restart(struct lethe_matcher *matcher, size_t pos);
/*
 * How many bytes of the data are there so far, all of them at first. lethe_matcher_run stops LETHE_DEFLATE_AHEAD before
 * their end; what else is called must not come nearer to it either, unless it is the end of all data.
 */
void lethe_matcher_ready(struct lethe_matcher *matcher, size_t ready);
/* Symbols in a full block. */
unsigned lethe_matcher_block(const struct lethe_deflate_params *params);
/* Whether this matcher holds a literal back (lazy evaluation): it decides how a stream ends. */
bool lethe_matcher_lazy(const struct lethe_deflate_params *params);

/* --- deflate_encode.c --- */

/* Appends a raw deflate stream of data (with slack behind len). */
enum lethe_err lethe_deflate_encode(const struct lethe_deflate_params *params, const uint8_t *data, size_t len,
                                    struct lethe_buf *out) LETHE_MUST_CHECK;

/* --- deflate_model.c: a raw deflate stream, given its bytes --- */

/* The first tokens of a stream, stored blocks among them. */
struct lethe_deflate_sample {
    struct lethe_tokens tokens;
    size_t coded;       /* those that are no stored blocks */
    unsigned mem_level; /* as the size of the first coded block tells, or 0 */
};

/*
 * Inflates a raw deflate stream, which must give len bytes (data has slack behind them), and keeps a sample, to be
 * released as its tokens are.
 */
enum lethe_err lethe_deflate_unpack(const uint8_t *in, size_t in_len, uint8_t *data, size_t len,
                                    struct lethe_deflate_sample *sample) LETHE_MUST_CHECK;
/*
 * Describes the stream in, which was unpacked to data and sample, and appends the description to out. *used is where
 * the stream ends in in. hint is zlib's FLEVEL (0 to 3), window_bits its window. believed: set when the encoder was taken
 * to go on as in the sample, without a look at the rest, which saves most of the time: then the description may be wrong,
 * and who replays it must compare; NULL forbids that. pool may be NULL. LETHE_ERR_UNSUPPORTED when the description would be larger than
 * max_cost bytes.
 */
enum lethe_err lethe_deflate_describe(const uint8_t *in, size_t in_len, const uint8_t *data, size_t data_len,
                                      const struct lethe_deflate_sample *sample, unsigned hint, unsigned window_bits,
                                      size_t max_cost, bool *believed, struct lethe_pool *pool, struct lethe_buf *out,
                                      size_t *used) LETHE_MUST_CHECK;
/*
 * Data that is still coming while its stream is written: need returns when at least bytes of it are there, and in *ready
 * how many are; NULL: all is. pool: who may help, or NULL.
 */
struct lethe_deflate_feed {
    enum lethe_err (*need)(void *context, size_t bytes, size_t *ready);
    void *context;
    struct lethe_pool *pool;
};
/* Appends the stream to out, whose length stays within max_len. feed: NULL for all data and no pool. LETHE_ERR_FORMAT when
 * description is malformed. */
enum lethe_err lethe_deflate_replay(const uint8_t *description, size_t description_len, const uint8_t *data,
                                    size_t data_len, const struct lethe_deflate_feed *feed, size_t max_len,
                                    struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
