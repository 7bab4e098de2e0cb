/* SPDX-License-Identifier: MIT */
/* Checksums, and the coding of a recipe's small parts. */
#include "png_recipe.h"
#include "lethe/range.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++) {
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        }
        crc_table[0][i] = c;
    }
    for (unsigned t = 1; t < 8; t++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = crc_table[t - 1][i];

            crc_table[t][i] = crc_table[0][c & 255] ^ (c >> 8);
        }
    }
}

uint32_t lethe_png_crc(uint32_t crc, const uint8_t *bytes, size_t len)
{
    pthread_once(&crc_once, make_crc_table);
    crc = ~crc;
    for (; len >= 8; len -= 8, bytes += 8) {
        uint32_t a = crc ^ lethe_get_u32(bytes), b = lethe_get_u32(bytes + 4);

        crc = crc_table[7][a & 255] ^ crc_table[6][a >> 8 & 255] ^ crc_table[5][a >> 16 & 255] ^
              crc_table[4][a >> 24] ^ crc_table[3][b & 255] ^ crc_table[2][b >> 8 & 255] ^
              crc_table[1][b >> 16 & 255] ^ crc_table[0][b >> 24];
    }
    for (; len > 0; len--) {
        crc = crc_table[0][(crc ^ *bytes++) & 255] ^ (crc >> 8);
    }
    return ~crc;
}

#define LANES 16u
#define LANE_STEPS 256u /* most for which all sums stay below 2^32: 16 * 256 * 257 / 2 * 255 * 16 lanes is 2^31 */

/*
 * Every sixteenth byte together, for vectors: with s1 the sum of a lane's bytes and s2 that of its s1 after each step, byte k
 * of lane j out of n counts n - 16 k - j times.
 */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3")))
#endif
static void adler_lanes(const uint8_t *bytes, size_t steps, uint32_t *a, uint32_t *b)
{
    uint32_t s1[LANES] = {0}, s2[LANES] = {0}, sum1 = 0, sum2 = 0;

    for (size_t k = 0; k < steps; k++) {
        for (unsigned j = 0; j < LANES; j++) {
            s1[j] += bytes[k * LANES + j];
            s2[j] += s1[j];
        }
    }
    for (unsigned j = 0; j < LANES; j++) {
        sum1 += s1[j];
        sum2 += LANES * s2[j] - j * s1[j];
    }
    *b = (uint32_t)((*b + (uint64_t)*a * steps * LANES + sum2) % 65521);
    *a = (*a + sum1) % 65521;
}

uint32_t lethe_png_adler(const uint8_t *bytes, size_t len)
{
    uint32_t a = 1, b = 0;

    while (len >= LANES) {
        size_t steps = len / LANES < LANE_STEPS ? len / LANES : LANE_STEPS;

        adler_lanes(bytes, steps, &a, &b);
        bytes += steps * LANES;
        len -= steps * LANES;
    }
    for (; len > 0; len--) {
        a += *bytes++;
        b += a;
    }
    return b % 65521 << 16 | a % 65521;
}

/* --- blocks of any bytes: u8 0 raw or 1 packed, varint unpacked length, block --- */

#define MAX_PACKED 0xfffffff0u

void lethe_png_meta_put(struct lethe_buf *out, const uint8_t *bytes, size_t len)
{
    struct lethe_range_encoder encoder;
    struct lethe_buf packed = {0};
    struct lethe_bit *bits = len < 24 || len > MAX_PACKED ? NULL : malloc(65536 * sizeof *bits);

    if (bits) {
        uint8_t before = 0;

        lethe_bits_init(bits, 65536);
        lethe_range_encoder_init(&encoder, &packed);
        for (size_t i = 0; i < len; i++) {
            lethe_range_encode_tree(&encoder, bits + before * 256u, 8, bytes[i]);
            before = bytes[i];
        }
        lethe_range_encoder_finish(&encoder);
    }
    if (bits && !lethe_buf_status(&packed) && packed.len < len) {
        lethe_buf_put_u8(out, 1);
        lethe_buf_put_varint(out, len);
        lethe_buf_put_block(out, packed.data, packed.len);
    } else {
        lethe_buf_put_u8(out, 0);
        lethe_buf_put_varint(out, len);
        lethe_buf_put_block(out, bytes, len);
    }
    lethe_buf_release(&packed);
    free(bits);
}

enum lethe_err lethe_png_meta_get(struct lethe_reader *reader, size_t max_len, struct lethe_buf *out)
{
    uint8_t packed = lethe_read_u8(reader), before = 0;
    uint64_t len = lethe_read_varint(reader);
    struct lethe_range_decoder decoder;
    struct lethe_bit *bits;
    size_t have;
    const uint8_t *bytes = lethe_read_block(reader, &have);

    if (lethe_reader_status(reader, false) || packed > 1 || len > max_len || (!packed && len != have)) {
        return LETHE_ERR_FORMAT;
    }
    if (!packed) {
        lethe_buf_put(out, bytes, have);
        return lethe_buf_status(out);
    }
    bits = malloc(65536 * sizeof *bits);
    if (!bits) {
        return LETHE_ERR_NOMEM;
    }
    lethe_bits_init(bits, 65536);
    lethe_range_decoder_init(&decoder, bytes, have);
    for (uint64_t i = 0; i < len && decoder.overrun <= 4; i++) {
        before = (uint8_t)lethe_range_decode_tree(&decoder, bits + before * 256u, 8);
        lethe_buf_put_u8(out, before);
    }
    free(bits);
    if (decoder.overrun > 4) {
        return LETHE_ERR_FORMAT;
    }
    return lethe_buf_status(out);
}

/* --- filter types: five symbols in the context of the two before --- */

struct type_model {
    struct lethe_bit bits[5][5][8];
};

void lethe_png_types_put(struct lethe_buf *out, const uint8_t *types, size_t count)
{
    struct lethe_range_encoder encoder;
    struct type_model model;
    struct lethe_buf packed = {0};
    unsigned a = 0, b = 0;

    lethe_bits_init(model.bits[0][0], sizeof model / sizeof(struct lethe_bit));
    lethe_range_encoder_init(&encoder, &packed);
    for (size_t i = 0; i < count; i++) {
        lethe_range_encode_tree(&encoder, model.bits[a][b], 3, types[i]);
        a = b;
        b = types[i];
    }
    lethe_range_encoder_finish(&encoder);
    if (lethe_buf_status(&packed)) {
        out->failed = true;
    }
    lethe_buf_put_block(out, packed.data, packed.len);
    lethe_buf_release(&packed);
}

enum lethe_err lethe_png_types_get(struct lethe_reader *reader, uint8_t *types, size_t count)
{
    struct lethe_range_decoder decoder;
    struct type_model model;
    unsigned a = 0, b = 0;
    size_t len;
    const uint8_t *bytes = lethe_read_block(reader, &len);

    if (!bytes) {
        return LETHE_ERR_FORMAT;
    }
    lethe_bits_init(model.bits[0][0], sizeof model / sizeof(struct lethe_bit));
    lethe_range_decoder_init(&decoder, bytes, len);
    for (size_t i = 0; i < count; i++) {
        uint32_t type = lethe_range_decode_tree(&decoder, model.bits[a][b], 3);

        if (type > 4 || decoder.overrun > 4) {
            return LETHE_ERR_FORMAT;
        }
        types[i] = (uint8_t)type;
        a = b;
        b = type;
    }
    return LETHE_OK;
}
