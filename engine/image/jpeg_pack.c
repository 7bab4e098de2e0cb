/* SPDX-License-Identifier: MIT */
/*
 * Header bytes, a few hundred to a few million: bitwise context mixing of orders 0 to 6 and a match model, in
 * the manner of M. Mahoney, "Adaptive Weighing of Context Models for Lossless Data Compression" (2005). All
 * in integers. The model first learns a text of what JPEG headers commonly contain, the standard Huffman
 * tables above all, so that these cost next to nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "lethe/range.h"
#include "jpeg_private.h"

#define ORDERS 7           /* 0, 1, 2, 3, 4, 6 and the match */
#define BLOCK 32768u       /* bytes that are coded or stored together */
#define MIXED (16 * BLOCK) /* bytes that go through the model, a second of work; the rest is stored */
#define MATCH_BITS 16
#define MATCH_MIN 5
#define RATE 11  /* of the mixer: shift of input times error */
#define LIMIT 30 /* bits after which a slot's estimate moves no slower */

/* Slots: a bit's probability of 1 in 22 bits above a count of what it has seen in 10. */
struct model {
    uint8_t *history; /* the priming text, then the data */
    size_t len;
    uint32_t *slots[ORDERS - 1];
    unsigned slot_bits;
    uint32_t base[ORDERS - 1];
    uint32_t *last; /* position after each hash of MATCH_MIN bytes */
    size_t match;   /* position of the predicted byte, 0 none */
    unsigned match_len;
    uint32_t match_slots[64][2];
    int32_t weights[3][256][ORDERS + 1];
    int16_t stretch[4096];
    int inputs[ORDERS + 1];
    uint32_t *used[ORDERS]; /* slots that predict this bit; NULL none */
    int32_t *weight;
    unsigned mixed; /* the mixer's probability, 12 bits */
};

static const char priming_text[] =
    "\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x43\0\xff\xc0\0\x11\x08\3\1\x22\0\2\x11\1\3\x11"
    "\1"
    "\xff\xd8\xff\xe1\0\0Exif\0\0II*\0\x08\0\0\0Exif\0\0MM\0*\0\0\0\x08\xff\xd8\xff\xdb"
    "0230\0\0\0\0100\0\0\0\0\x01\x02\x03\0R98\0ASCII\0\0\0Photoshop 3.0\0008BIM\4\4Adobe\0d\0\0\0\0"
    "http://ns.adobe.com/xap/1.0/\0<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\" x:xmptk=\"XMP Core 5.6.0\">\n <rdf:RDF "
    "xmlns:rdf=\"http://www.w3.org/"
    "1999/02/22-rdf-syntax-ns#\">\n  <rdf:Description rdf:about=\"\"\n    "
    "xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\""
    "\n    xmlns:dc=\"http://purl.org/dc/elements/1.1/\"\n    "
    "xmlns:photoshop=\"http://ns.adobe.com/photoshop/1.0/\""
    "\n   xmp:CreateDate=\"2015-01-01T00:00:00\"/>\n </rdf:RDF>\n</x:xmpmeta>\n         \n<?xpacket "
    "end=\"w\"?>"
    "\xff\xe2ICC_PROFILE\0\1\1acspmntrRGB XYZ descwtptbkptrXYZgXYZbXYZrTRCgTRCbTRCcurvtext"
    "\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0";

/* 4096 / (1 + exp(-x / 256)), linear between 33 points 128 apart. */
static int squash(int x)
{
    static const uint16_t points[33] = {1,    2,    4,    6,    10,   17,   27,   45,   74,   120,  194,
                                        311,  488,  747,  1102, 1546, 2048, 2550, 2994, 3349, 3608, 3785,
                                        3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095};
    int at;

    if (x > 2047) {
        return 4095;
    }
    if (x < -2047) {
        return 1;
    }
    at = (x + 2048) >> 7;
    return points[at] + (((points[at + 1] - points[at]) * ((x + 2048) & 127) + 64) >> 7);
}

static uint32_t hash(uint32_t a, uint32_t b)
{
    uint32_t h = a * 0x2c1b3c6du + b * 0x9e3779b1u + 0x7f4a7c15u;

    h ^= h >> 15;
    h *= 0x85ebca6bu;
    return h ^ h >> 13;
}

static void model_free(struct model *m)
{
    if (m) {
        for (unsigned i = 0; i < ORDERS - 1; i++) {
            free(m->slots[i]);
        }
        free(m->history);
        free(m->last);
        free(m);
    }
}

static size_t priming(uint8_t *out)
{
    size_t len = 0, n;

    for (unsigned table = 0; table < 4; table++) {
        const uint8_t *bytes = lethe_jpeg_huff_standard_bytes(table, &n);

        if (out) {
            memcpy(out + len, bytes, n);
        }
        len += n;
    }
    if (out) {
        memcpy(out + len, priming_text, sizeof priming_text - 1);
    }
    return len + sizeof priming_text - 1;
}

static struct model *model_new(size_t len)
{
    struct model *m = calloc(1, sizeof *m);
    size_t room = priming(NULL) + len + 1;
    bool short_of = !m;
    int reach = -2047;

    if (!m) {
        return NULL;
    }
    m->slot_bits = 15;
    while (m->slot_bits < 22 && (size_t)1 << m->slot_bits < 4 * room) {
        m->slot_bits++;
    }
    for (unsigned i = 0; i < ORDERS - 1; i++) {
        m->slots[i] = malloc(sizeof *m->slots[i] << m->slot_bits);
        short_of = short_of || !m->slots[i];
        for (size_t j = 0; m->slots[i] && j < (size_t)1 << m->slot_bits; j++) {
            m->slots[i][j] = 1u << 31;
        }
    }
    m->history = malloc(room);
    m->last = calloc((size_t)1 << MATCH_BITS, sizeof *m->last);
    if (short_of || !m->history || !m->last) {
        model_free(m);
        return NULL;
    }
    for (unsigned i = 0; i < 64; i++) {
        m->match_slots[i][0] = m->match_slots[i][1] = 1u << 31;
    }
    for (unsigned set = 0; set < 3; set++) {
        for (unsigned i = 0; i < 256; i++) {
            for (unsigned j = 0; j <= ORDERS; j++) {
                m->weights[set][i][j] = 1 << 14;
            }
        }
    }
    for (int p = 0; p < 4096; p++) { /* the inverse of squash */
        while (reach < 2047 && squash(reach) < p) {
            reach++;
        }
        m->stretch[p] = (int16_t)reach;
    }
    return m;
}

/* Contexts of the byte that follows the history. */
static void start_byte(struct model *m)
{
    const uint8_t *p = m->history + m->len;
    uint32_t word = 0, more = 0;

    for (unsigned i = 1; i <= 6 && i <= m->len; i++) {
        if (i <= 4) {
            word |= (uint32_t)p[-(int)i] << (8 * (i - 1));
        } else {
            more |= (uint32_t)p[-(int)i] << (8 * (i - 5));
        }
    }
    m->base[0] = 0;
    m->base[1] = hash(word & 0xff, 1);
    m->base[2] = hash(word & 0xffff, 2);
    m->base[3] = hash(word & 0xffffff, 3);
    m->base[4] = hash(word, 4);
    m->base[5] = hash(word, more + 5);
    if (m->match_len > 0 && m->history[m->match] == p[-1]) {
        m->match++;
        m->match_len += m->match_len < 63;
    } else {
        m->match_len = 0;
    }
    if (m->len >= MATCH_MIN) {
        uint32_t h = hash(word, p[-5]) >> (32 - MATCH_BITS);

        if (m->match_len == 0 && m->last[h]) {
            m->match = m->last[h];
            while (m->match_len < 32 && m->match_len < m->match &&
                   m->history[m->match - 1 - m->match_len] == p[-1 - (int)m->match_len]) {
                m->match_len++;
            }
        }
        m->last[h] = (uint32_t)m->len;
    }
}

/* The chance of a 1 for the next bit of a byte whose bits so far are node (with a leading 1). */
static unsigned predict(struct model *m, uint32_t node, unsigned depth)
{
    unsigned expected = m->match_len ? m->history[m->match] + 256u : 0;
    bool matching = m->match_len > 0 && expected >> (8 - depth) == node;
    unsigned set = !matching ? 0 : m->match_len < 16 ? 1 : 2;
    int64_t sum = 0;

    for (unsigned i = 0; i < ORDERS - 1; i++) {
        uint32_t slot = i == 0 ? node : hash(m->base[i], node) >> (32 - m->slot_bits);

        m->used[i] = &m->slots[i][slot];
        m->inputs[i] = m->stretch[*m->used[i] >> 20];
        if ((*m->used[i] & 1023) == 0 && i > 0) {
            m->inputs[i] = 0; /* never seen: no opinion */
        }
    }
    m->used[ORDERS - 1] = NULL;
    m->inputs[ORDERS - 1] = 0;
    if (matching) {
        unsigned bit = expected >> (7 - depth) & 1;

        m->used[ORDERS - 1] = &m->match_slots[m->match_len][bit];
        m->inputs[ORDERS - 1] = m->stretch[*m->used[ORDERS - 1] >> 20];
    }
    m->inputs[ORDERS] = 256;
    m->weight = m->weights[set][node & 255];
    for (unsigned i = 0; i <= ORDERS; i++) {
        sum += (int64_t)m->weight[i] * m->inputs[i];
    }
    sum >>= 16;
    m->mixed = (unsigned)squash(sum > 2047 ? 2047 : sum < -2047 ? -2047 : (int)sum);
    return m->mixed;
}

static void update(struct model *m, unsigned bit)
{
    int error = (int)(bit << 12) - (int)m->mixed;

    for (unsigned i = 0; i <= ORDERS; i++) {
        m->weight[i] += (m->inputs[i] * error + (1 << (RATE - 1))) >> RATE;
    }
    for (unsigned i = 0; i < ORDERS; i++) {
        if (m->used[i]) {
            uint32_t slot = *m->used[i], count = slot & 1023;
            int32_t p = (int32_t)(slot >> 10);
            int32_t target = bit ? (1 << 22) - 1 : 0;
            int32_t move = (target - p) * 2 / (int32_t)(2 * count + 3);

            p += move;
            *m->used[i] = (uint32_t)p << 10 | (count < LIMIT ? count + 1 : count);
        }
    }
}

static unsigned chance(unsigned p12)
{
    return p12 * 16 + 8;
}

/* Learns a byte without coding it. */
static void learn(struct model *m, uint8_t byte)
{
    uint32_t node = 1;

    start_byte(m);
    for (unsigned depth = 0; depth < 8; depth++) {
        unsigned bit = byte >> (7 - depth) & 1;

        (void)predict(m, node, depth);
        update(m, bit);
        node = node << 1 | bit;
    }
    m->history[m->len++] = byte;
}

static struct model *primed(size_t len)
{
    struct model *m = model_new(len);
    size_t n = priming(NULL);
    uint8_t *text = malloc(n);

    if (!m || !text) {
        free(text);
        model_free(m);
        return NULL;
    }
    (void)priming(text);
    for (size_t i = 0; i < n; i++) {
        learn(m, text[i]);
    }
    free(text);
    return m;
}

/*
 * Whether a whole block looks like noise, as compressed video and pictures do: its chance of two equal bytes
 * is within an eighth of that of uniform bytes. Only the writer asks; the reader is told.
 */
static bool is_noise(const uint8_t *bytes, size_t len)
{
    uint32_t counts[256] = {0};
    uint64_t pairs = 0, uniform = (uint64_t)len * len / 256 + len;

    for (size_t i = 0; i < len; i++) {
        counts[bytes[i]]++;
    }
    for (unsigned i = 0; i < 256; i++) {
        pairs += (uint64_t)counts[i] * counts[i];
    }
    return len == BLOCK && pairs < uniform + uniform / 8;
}

static size_t block_len(size_t len, size_t block)
{
    return len - block * BLOCK < BLOCK ? len - block * BLOCK : BLOCK;
}

static void encode_block(struct model *m, struct lethe_range_encoder *encoder, const uint8_t *bytes,
                         size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint32_t node = 1;

        start_byte(m);
        for (unsigned depth = 0; depth < 8; depth++) {
            unsigned bit = bytes[i] >> (7 - depth) & 1;

            lethe_range_encode(encoder, chance(predict(m, node, depth)), bit);
            update(m, bit);
            node = node << 1 | bit;
        }
        m->history[m->len++] = bytes[i];
    }
}

/*
 * Varint length; a bit for each BLOCK of it, least significant first, 1 where the block is stored as it is;
 * varint length and bytes of the coded stream; the stored blocks. At most MIXED bytes are coded.
 */
enum lethe_err lethe_jpeg_pack(const uint8_t *bytes, size_t len, struct lethe_buf *out)
{
    size_t blocks = (len + BLOCK - 1) / BLOCK, mixed = 0;
    struct model *m = NULL;
    struct lethe_range_encoder encoder;
    struct lethe_buf stream = {0}, flags = {0};
    enum lethe_err err = lethe_buf_resize(&flags, (blocks + 7) / 8);

    if (err) {
        goto out;
    }
    for (size_t i = 0; i < blocks; i++) {
        size_t n = block_len(len, i);

        if (n > MIXED - mixed || is_noise(bytes + i * BLOCK, n)) {
            flags.data[i / 8] = (uint8_t)(flags.data[i / 8] | 1u << i % 8);
        } else {
            mixed += n;
        }
    }
    err = LETHE_ERR_NOMEM;
    m = primed(mixed);
    if (!m) {
        goto out;
    }
    lethe_range_encoder_init(&encoder, &stream);
    for (size_t i = 0; i < blocks; i++) {
        if (!(flags.data[i / 8] >> i % 8 & 1)) {
            encode_block(m, &encoder, bytes + i * BLOCK, block_len(len, i));
        }
    }
    lethe_range_encoder_finish(&encoder);
    lethe_buf_put_varint(out, len);
    lethe_buf_put(out, flags.data, flags.len);
    lethe_buf_put_block(out, stream.data, stream.len);
    for (size_t i = 0; i < blocks; i++) {
        if (flags.data[i / 8] >> i % 8 & 1) {
            lethe_buf_put(out, bytes + i * BLOCK, block_len(len, i));
        }
    }
    err = lethe_buf_status(&stream);
    err = err ? err : lethe_buf_status(out);
out:
    model_free(m);
    lethe_buf_release(&stream);
    lethe_buf_release(&flags);
    return err;
}

static void decode_block(struct model *m, struct lethe_range_decoder *decoder, size_t len,
                         struct lethe_buf *out)
{
    for (size_t i = 0; i < len && decoder->overrun <= 4; i++) {
        uint32_t node = 1;

        start_byte(m);
        for (unsigned depth = 0; depth < 8; depth++) {
            unsigned bit = lethe_range_decode(decoder, chance(predict(m, node, depth)));

            update(m, bit);
            node = node << 1 | bit;
        }
        m->history[m->len++] = (uint8_t)node;
        lethe_buf_put_u8(out, (uint8_t)node);
    }
}

enum lethe_err lethe_jpeg_unpack(struct lethe_reader *reader, size_t max_len, struct lethe_buf *out)
{
    uint64_t total = lethe_read_varint(reader);
    size_t len, blocks, stream_len, mixed = 0, stored = 0;
    const uint8_t *flags, *stream, *rest;
    struct lethe_range_decoder decoder;
    struct model *m;

    if (reader->bad || total > max_len || total > MIXED + lethe_reader_left(reader)) {
        return LETHE_ERR_FORMAT;
    }
    len = (size_t)total;
    blocks = (len + BLOCK - 1) / BLOCK;
    flags = lethe_read_view(reader, (blocks + 7) / 8);
    stream = lethe_read_block(reader, &stream_len);
    for (size_t i = 0; i < blocks && !reader->bad; i++) {
        if (flags[i / 8] >> i % 8 & 1) {
            stored += block_len(len, i);
        } else {
            mixed += block_len(len, i);
        }
    }
    rest = lethe_read_view(reader, stored);
    if (reader->bad || mixed > MIXED) {
        return LETHE_ERR_FORMAT;
    }
    m = primed(mixed);
    if (!m) {
        return LETHE_ERR_NOMEM;
    }
    lethe_range_decoder_init(&decoder, stream, stream_len);
    for (size_t i = 0; i < blocks && decoder.overrun <= 4; i++) {
        size_t n = block_len(len, i);

        if (flags[i / 8] >> i % 8 & 1) {
            lethe_buf_put(out, rest, n);
            rest += n;
        } else {
            decode_block(m, &decoder, n, out);
        }
    }
    model_free(m);
    return decoder.overrun > 4 || decoder.at != decoder.end ? LETHE_ERR_FORMAT : lethe_buf_status(out);
}
