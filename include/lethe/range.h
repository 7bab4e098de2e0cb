/* SPDX-License-Identifier: MIT */
/*
 * Binary adaptive range coder, 32-bit range with carry propagation (G. N. N. Martin, "Range encoding", 1979; the carry
 * scheme is the one that LZMA made well known). Probabilities are 16 bits: the chance of a 1 in units of 1/65536.
 * Encoder and decoder are exact inverses in integers on every machine. A decoder reads zeros past its end and notes
 * it in overrun; it never reads outside.
 */
#ifndef LETHE_RANGE_H
#define LETHE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"

/* An adaptive bit: two estimates of different speed, averaged. 0 is not a valid state; see lethe_bit_init. */
struct lethe_bit {
    uint16_t fast;
    uint16_t slow;
};

static inline void lethe_bit_init(struct lethe_bit *bit)
{
    bit->fast = 1u << 15;
    bit->slow = 1u << 15;
}

void lethe_bits_init(struct lethe_bit *bits, size_t count);

/* The chance of a 1, in [32, 65504]. */
static inline uint32_t lethe_bit_p1(const struct lethe_bit *bit)
{
    uint32_t p = ((uint32_t)bit->fast + bit->slow) >> 1;

    return p < 32 ? 32 : p > 65504 ? 65504 : p;
}

static inline void lethe_bit_update(struct lethe_bit *bit, unsigned value)
{
    if (value) {
        bit->fast = (uint16_t)(bit->fast + ((65535 - bit->fast) >> 4));
        bit->slow = (uint16_t)(bit->slow + ((65535 - bit->slow) >> 7));
    } else {
        bit->fast = (uint16_t)(bit->fast - (bit->fast >> 4));
        bit->slow = (uint16_t)(bit->slow - (bit->slow >> 7));
    }
}

struct lethe_range_encoder {
    struct lethe_buf *out;
    uint64_t low;
    uint32_t range;
    uint8_t cache;
    uint64_t pending; /* bytes held back for a carry, the cached one included */
};

/* Appends to out, which the caller owns and whose status the caller checks at the end. */
void lethe_range_encoder_init(struct lethe_range_encoder *encoder, struct lethe_buf *out);
/* Moves the top byte of low out; lethe_range_encode alone calls it. */
void lethe_range_shift_low(struct lethe_range_encoder *encoder);

#define LETHE_RANGE_TOP (1u << 24)

/* p1 is the chance of a 1 in (0, 65536). Inline, as its inverse: both run for every binary decision. */
static inline void lethe_range_encode(struct lethe_range_encoder *encoder, uint32_t p1, unsigned value)
{
    /* range >= 2^24 and 0 < p1 < 2^16, so both parts are at least 2^8. */
    uint32_t bound = (encoder->range >> 16) * p1;

    if (value) {
        encoder->range = bound;
    } else {
        encoder->low += bound;
        encoder->range -= bound;
    }
    while (encoder->range < LETHE_RANGE_TOP) {
        encoder->range <<= 8;
        lethe_range_shift_low(encoder);
    }
}

/* count (at most 32) equally likely bits of value, most significant first. */
void lethe_range_encode_raw(struct lethe_range_encoder *encoder, uint32_t value, unsigned count);
/* Writes what is held back. The encoder is finished. */
void lethe_range_encoder_finish(struct lethe_range_encoder *encoder);

struct lethe_range_decoder {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t code;
    uint32_t range;
    uint32_t overrun; /* bytes asked for past the end; over 4 means that the stream was cut */
};

void lethe_range_decoder_init(struct lethe_range_decoder *decoder, const uint8_t *bytes, size_t len);

static inline uint8_t lethe_range_next_byte(struct lethe_range_decoder *decoder)
{
    if (decoder->at == decoder->end) {
        decoder->overrun += decoder->overrun < UINT32_MAX;
        return 0;
    }
    return *decoder->at++;
}

static inline unsigned lethe_range_decode(struct lethe_range_decoder *decoder, uint32_t p1)
{
    uint32_t bound = (decoder->range >> 16) * p1;
    unsigned value = decoder->code < bound;
    uint32_t one = 0u - value; /* no branch: what is worth coding cannot be predicted */

    decoder->code -= bound & ~one;
    decoder->range = (bound & one) | ((decoder->range - bound) & ~one);
    while (decoder->range < LETHE_RANGE_TOP) {
        decoder->range <<= 8;
        decoder->code = decoder->code << 8 | lethe_range_next_byte(decoder);
    }
    return value;
}

uint32_t lethe_range_decode_raw(struct lethe_range_decoder *decoder, unsigned count);

/* Codes value with the adaptive bit and updates it. */
void lethe_range_encode_bit(struct lethe_range_encoder *encoder, struct lethe_bit *bit, unsigned value);
unsigned lethe_range_decode_bit(struct lethe_range_decoder *decoder, struct lethe_bit *bit);

/* A value of depth bits through a binary tree of (1 << depth) adaptive bits, most significant first. */
void lethe_range_encode_tree(struct lethe_range_encoder *encoder, struct lethe_bit *tree, unsigned depth,
                             uint32_t value);
uint32_t lethe_range_decode_tree(struct lethe_range_decoder *decoder, struct lethe_bit *tree, unsigned depth);

/* An unsigned integer by adaptive Exp-Golomb: 34 bits of exponent context, then 32 of first mantissa bits. */
struct lethe_number {
    struct lethe_bit exponent[34];
    struct lethe_bit mantissa[34];
};
void lethe_number_init(struct lethe_number *number);
void lethe_range_encode_number(struct lethe_range_encoder *encoder, struct lethe_number *number, uint32_t value);
uint32_t lethe_range_decode_number(struct lethe_range_decoder *decoder, struct lethe_number *number);

#endif
