/* SPDX-License-Identifier: MIT */
/*
 * Private to the deflate model. One piece of code both writes and reads a description: every lethe_code_*
 * takes the true value when encoding and ignores it when decoding, and returns the true value in both cases.
 */
#ifndef LETHE_IMAGE_DEFLATE_CODER_H
#define LETHE_IMAGE_DEFLATE_CODER_H

#include "deflate.h"
#include "lethe/range.h"

struct lethe_coder {
    bool decode;
    struct lethe_range_encoder encoder;
    struct lethe_range_decoder decoder;
};

static inline unsigned lethe_code_bit(struct lethe_coder *coder, struct lethe_bit *bit, unsigned value)
{
    if (coder->decode) {
        return lethe_range_decode_bit(&coder->decoder, bit);
    }
    lethe_range_encode_bit(&coder->encoder, bit, value);
    return value;
}

static inline uint32_t lethe_code_raw(struct lethe_coder *coder, uint32_t value, unsigned count)
{
    if (coder->decode) {
        return lethe_range_decode_raw(&coder->decoder, count);
    }
    lethe_range_encode_raw(&coder->encoder, value, count);
    return value;
}

static inline uint32_t lethe_code_tree(struct lethe_coder *coder, struct lethe_bit *tree, unsigned depth,
                                       uint32_t value)
{
    if (coder->decode) {
        return lethe_range_decode_tree(&coder->decoder, tree, depth);
    }
    lethe_range_encode_tree(&coder->encoder, tree, depth, value);
    return value;
}

static inline uint32_t lethe_code_number(struct lethe_coder *coder, struct lethe_number *number,
                                         uint32_t value)
{
    if (coder->decode) {
        return lethe_range_decode_number(&coder->decoder, number);
    }
    lethe_range_encode_number(&coder->encoder, number, value);
    return value;
}

/* Whether a decoder has run out of bytes. */
static inline bool lethe_coder_cut(const struct lethe_coder *coder)
{
    return coder->decode && coder->decoder.overrun > 4;
}

/* Adaptive state for the headers of dynamic blocks. */
struct lethe_trees_model {
    struct lethe_bit same[3]; /* lengths, ops, code-length code as foreseen */
    struct lethe_bit counts[3][64];
    struct lethe_bit length[16][16][16]; /* by the foreseen length and the length before */
    struct lethe_bit op[17][32];
    struct lethe_bit extra[3][128];
    struct lethe_bit clen[8][8];
};

void lethe_trees_model_init(struct lethe_trees_model *model);
/*
 * Codes trees given what was foreseen. LETHE_ERR_FORMAT (decoding only) when they are not a header that could
 * stand in a stream.
 */
enum lethe_err lethe_code_trees(struct lethe_coder *coder, struct lethe_trees_model *model,
                                const struct lethe_deflate_trees *foreseen,
                                struct lethe_deflate_trees *trees) LETHE_MUST_CHECK;

/* What is known of a stream while it is described or replayed. */
struct lethe_deflate_state {
    struct lethe_coder coder;
    const uint8_t *data;
    size_t len;
    const struct lethe_deflate_feed *feed; /* decoding; may be NULL */
    size_t ready;                          /* bytes of data that are there: len without a feed */
    size_t pos;                       /* bytes that earlier blocks hold */
    struct lethe_deflate_block block; /* encoding: the true block; decoding: filled by the model */
    struct lethe_tokens tokens;       /* the same for its tokens */
    struct lethe_bit padded[2];
};

/* Waits until so many bytes of the data are there, or all. */
static inline enum lethe_err lethe_deflate_await(struct lethe_deflate_state *state, size_t bytes)
{
    if (bytes <= state->ready || state->ready == state->len) {
        return LETHE_OK;
    }
    return state->feed->need(state->feed->context, bytes < state->len ? bytes : state->len, &state->ready);
}

unsigned lethe_code_padding(struct lethe_deflate_state *state, unsigned padding);

/* deflate_zlib.c: blocks of an encoder that works like zlib. */
struct lethe_zlib_model;
struct lethe_zlib_model *lethe_zlib_model_new(const struct lethe_deflate_params *params, const uint8_t *data,
                                              size_t len);
void lethe_zlib_model_free(struct lethe_zlib_model *model);
enum lethe_err lethe_zlib_model_block(struct lethe_zlib_model *model,
                                      struct lethe_deflate_state *state) LETHE_MUST_CHECK;
/* Believes from now on that tokens are as foreseen, and looks for none; encoding, and not for stored blocks (BUSY). */
void lethe_zlib_model_believe(struct lethe_zlib_model *model);
/* Tokens that were not as foreseen so far, and stored blocks that were not. */
uint64_t lethe_zlib_model_misses(const struct lethe_zlib_model *model);

/* deflate_optimal.c: blocks of an encoder that looks for the cheapest parse. */
struct lethe_optimal_model;
/* pool: who may help; NULL for nobody. */
struct lethe_optimal_model *lethe_optimal_model_new(const uint8_t *data, size_t len, struct lethe_pool *pool);
void lethe_optimal_model_free(struct lethe_optimal_model *model);
enum lethe_err lethe_optimal_model_block(struct lethe_optimal_model *model,
                                         struct lethe_deflate_state *state) LETHE_MUST_CHECK;

#endif
