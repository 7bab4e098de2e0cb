/* SPDX-License-Identifier: MIT */
#include "lethe/range.h"

void lethe_bits_init(struct lethe_bit *bits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        lethe_bit_init(&bits[i]);
    }
}

void lethe_range_encoder_init(struct lethe_range_encoder *encoder, struct lethe_buf *out)
{
    *encoder = (struct lethe_range_encoder){.out = out, .range = UINT32_MAX, .pending = 1};
}

/* Moves the top byte of low out, holding it back while a later carry could still change it. */
void lethe_range_shift_low(struct lethe_range_encoder *encoder)
{
    if (encoder->low < 0xff000000u || encoder->low > UINT32_MAX) {
        uint8_t carry = (uint8_t)(encoder->low >> 32);

        do {
            lethe_buf_put_u8(encoder->out, (uint8_t)(encoder->cache + carry));
            encoder->cache = 0xff;
        } while (--encoder->pending);
        encoder->cache = (uint8_t)(encoder->low >> 24);
    }
    encoder->pending++;
    encoder->low = (encoder->low << 8) & UINT32_MAX;
}

void lethe_range_encode_raw(struct lethe_range_encoder *encoder, uint32_t value, unsigned count)
{
    while (count > 0) {
        count--;
        lethe_range_encode(encoder, 1u << 15, value >> count & 1);
    }
}

void lethe_range_encoder_finish(struct lethe_range_encoder *encoder)
{
    for (int i = 0; i < 5; i++) {
        lethe_range_shift_low(encoder);
    }
}

void lethe_range_decoder_init(struct lethe_range_decoder *decoder, const uint8_t *bytes, size_t len)
{
    *decoder = (struct lethe_range_decoder){.at = bytes, .end = bytes + len, .range = UINT32_MAX};
    for (int i = 0; i < 5; i++) { /* the first byte is the encoder's empty cache */
        decoder->code = decoder->code << 8 | lethe_range_next_byte(decoder);
    }
}

uint32_t lethe_range_decode_raw(struct lethe_range_decoder *decoder, unsigned count)
{
    uint32_t value = 0;

    while (count > 0) {
        count--;
        value = value << 1 | lethe_range_decode(decoder, 1u << 15);
    }
    return value;
}

void lethe_range_encode_bit(struct lethe_range_encoder *encoder, struct lethe_bit *bit, unsigned value)
{
    lethe_range_encode(encoder, lethe_bit_p1(bit), value);
    lethe_bit_update(bit, value);
}

unsigned lethe_range_decode_bit(struct lethe_range_decoder *decoder, struct lethe_bit *bit)
{
    unsigned value = lethe_range_decode(decoder, lethe_bit_p1(bit));

    lethe_bit_update(bit, value);
    return value;
}

void lethe_range_encode_tree(struct lethe_range_encoder *encoder, struct lethe_bit *tree, unsigned depth,
                             uint32_t value)
{
    uint32_t node = 1;

    while (depth > 0) {
        unsigned bit = value >> --depth & 1;

        lethe_range_encode_bit(encoder, &tree[node], bit);
        node = node << 1 | bit;
    }
}

uint32_t lethe_range_decode_tree(struct lethe_range_decoder *decoder, struct lethe_bit *tree, unsigned depth)
{
    uint32_t node = 1;

    for (unsigned i = 0; i < depth; i++) {
        node = node << 1 | lethe_range_decode_bit(decoder, &tree[node]);
    }
    return node - (1u << depth);
}

void lethe_number_init(struct lethe_number *number)
{
    lethe_bits_init(number->exponent, 34);
    lethe_bits_init(number->mantissa, 34);
}

void lethe_range_encode_number(struct lethe_range_encoder *encoder, struct lethe_number *number, uint32_t value)
{
    uint64_t plus = (uint64_t)value + 1;
    unsigned bits = 63 - (unsigned)__builtin_clzll(plus); /* 0..32 */

    for (unsigned i = 0; i < bits; i++) {
        lethe_range_encode_bit(encoder, &number->exponent[i], 1);
    }
    if (bits < 32) {
        lethe_range_encode_bit(encoder, &number->exponent[bits], 0);
    }
    if (bits > 0) { /* the bit below the leading one is adaptive, the rest are raw */
        lethe_range_encode_bit(encoder, &number->mantissa[bits], plus >> (bits - 1) & 1);
        lethe_range_encode_raw(encoder, (uint32_t)(plus & ((1ull << (bits - 1)) - 1)), bits - 1);
    }
}

uint32_t lethe_range_decode_number(struct lethe_range_decoder *decoder, struct lethe_number *number)
{
    unsigned bits = 0;
    uint64_t plus = 1;

    while (bits < 32 && lethe_range_decode_bit(decoder, &number->exponent[bits])) {
        bits++;
    }
    if (bits > 0) {
        plus = plus << 1 | lethe_range_decode_bit(decoder, &number->mantissa[bits]);
        plus = plus << (bits - 1) | lethe_range_decode_raw(decoder, bits - 1);
    }
    return (uint32_t)(plus - 1);
}
