/* SPDX-License-Identifier: MIT */
/* PNGs of every kind, put together by hand around a stream of zlib's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "draw.h"

struct image {
    uint32_t width, height;
    unsigned colour, depth, channels, interlace, entries; /* entries: of the palette */
    struct scene scene[2]; /* the second of the opacity */
    bool odd_padding;
    unsigned widening; /* samples of 16 bits hold 8: 1 in both bytes, 2 in the upper one */
};

static unsigned value_at(const struct image *image, uint32_t x, uint32_t y, unsigned c)
{
    bool opacity = (image->colour == 4 && c == 1) || (image->colour == 6 && c == 3);
    uint32_t v = scene_at(&image->scene[opacity], x, y, c);

    if (image->colour == 3) {
        return v % image->entries;
    }
    return image->depth == 16 && image->widening ? (v >> 8) * (image->widening == 1 ? 257 : 256) : v >> (16 - image->depth);
}

/* One row of a pass, packed. */
static void pack_row(const struct image *image, struct draw *draw, uint32_t x, uint32_t step, uint32_t width, uint32_t y,
                     uint8_t *out, size_t len)
{
    size_t bit = 0;

    memset(out, 0, len);
    for (uint32_t i = 0; i < width; i++, x += step) {
        for (unsigned c = 0; c < image->channels; c++, bit += image->depth) {
            unsigned v = value_at(image, x, y, c);

            if (image->depth == 16) {
                out[bit / 8] = (uint8_t)(v >> 8);
                out[bit / 8 + 1] = (uint8_t)v;
            } else {
                out[bit / 8] |= (uint8_t)(v << (8 - image->depth - bit % 8));
            }
        }
    }
    if (image->odd_padding && bit % 8) {
        out[len - 1] |= (uint8_t)(draw_noise(draw) & (0xffu >> bit % 8));
    }
}

static uint8_t paeth(int a, int b, int c)
{
    int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);

    return (uint8_t)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

static void filter(unsigned type, const uint8_t *row, const uint8_t *above, size_t len, size_t unit, struct lethe_buf *out)
{
    lethe_buf_put_u8(out, (uint8_t)type);
    for (size_t i = 0; i < len; i++) {
        int a = i < unit ? 0 : row[i - unit], b = above[i], c = i < unit ? 0 : above[i - unit];

        lethe_buf_put_u8(out, (uint8_t)(row[i] - (type == 1   ? a
                                                  : type == 2 ? b
                                                  : type == 3 ? (a + b) / 2
                                                  : type == 4 ? paeth(a, b, c)
                                                              : 0)));
    }
}

/* All rows with their filters. */
static bool rows(const struct image *image, struct draw *draw, struct lethe_buf *out)
{
    static const uint8_t passes[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                         {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    static const uint8_t whole[4] = {0, 0, 1, 1};
    size_t bits = (size_t)image->channels * image->depth, most = (image->width * bits + 7) / 8;
    uint8_t *row = calloc(2, most + 1), *above = row ? row + most + 1 : NULL;
    unsigned mode = draw_below(draw, 7); /* 0 to 4: one filter; 5: any; 6: none, then paeth */

    for (unsigned p = 0; row && p < (image->interlace ? 7 : 1); p++) {
        const uint8_t *pass = image->interlace ? passes[p] : whole;
        uint32_t w = image->width > pass[0] ? (image->width - pass[0] + pass[2] - 1u) / pass[2] : 0;
        size_t len = (w * bits + 7) / 8;

        memset(above, 0, most);
        for (uint32_t y = pass[1]; w > 0 && y < image->height; y += pass[3]) {
            unsigned type = mode < 5 ? mode : mode == 5 ? draw_noise(draw) % 5 : y < image->height / 2 ? 0 : 4;

            pack_row(image, draw, pass[0], pass[2], w, y, row, len);
            filter(type, row, above, len, bits < 8 ? 1 : bits / 8, out);
            memcpy(above, row, len);
        }
    }
    free(row);
    return row && !lethe_buf_status(out);
}

/* zlib at any setting, with its settings changed and its stream flushed on the way. */
static bool deflate_rows(struct draw *draw, const struct lethe_buf *raw, struct lethe_buf *out, struct drawn *drawn)
{
    int level = (int)draw_below(draw, 10), window = 9 + (int)draw_below(draw, 7), memory = 1 + (int)draw_below(draw, 9);
    int strategy = (int)draw_below(draw, 5);
    bool restless = draw_rarely(draw, 4);
    static const int flushes[] = {Z_NO_FLUSH, Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH, Z_BLOCK};
    z_stream z = {0};
    uint8_t room[4096];
    size_t left = raw->len;
    int done = Z_OK;

    if (draw_below(draw, 2)) {
        window = 15;
        memory = 8;
    }
    if (deflateInit2(&z, level, Z_DEFLATED, window, memory, strategy)) {
        return false;
    }
    drawn->learned = !restless; /* what it takes to tell of may be more than the picture */
    snprintf(drawn->text, sizeof drawn->text, "level %d, window %d, memory %d, strategy %d%s", level, window, memory, strategy,
             restless ? ", restless" : "");
    z.next_in = raw->data;
    while (done == Z_OK) {
        size_t some = restless ? 1 + draw_noise(draw) % (1 + raw->len / 3) : left;
        int flush;

        some = some < left ? some : left;
        left -= some;
        z.avail_in = (uInt)some;
        flush = left == 0 ? Z_FINISH : flushes[draw_noise(draw) % 5];
        do {
            z.next_out = room;
            z.avail_out = sizeof room;
            done = deflate(&z, flush);
            lethe_buf_put(out, room, sizeof room - z.avail_out);
        } while (done == Z_OK && z.avail_out == 0);
        done = done == Z_BUF_ERROR ? Z_OK : done;
        if (restless && left > 0 && draw_noise(draw) % 3 == 0) {
            z.next_out = room;
            z.avail_out = sizeof room;
            (void)deflateParams(&z, (int)(draw_noise(draw) % 10), (int)(draw_noise(draw) % 5));
            lethe_buf_put(out, room, sizeof room - z.avail_out);
        }
    }
    deflateEnd(&z);
    if (out->len > 2 && draw_rarely(draw, 8)) { /* another level in the header than the one that was used */
        unsigned head = out->data[0] << 8 | (draw_below(draw, 4) << 6);

        out->data[1] = (uint8_t)((head & 0xc0) + 31 - head % 31);
    }
    return done == Z_STREAM_END && !lethe_buf_status(out);
}

static void put_be(struct lethe_buf *out, uint32_t value)
{
    uint8_t word[4];

    lethe_set_u32be(word, value);
    lethe_buf_put(out, word, 4);
}

static void put_chunk(struct lethe_buf *out, const char *type, const uint8_t *data, size_t len, bool wrong)
{
    size_t at = out->len + 4;

    put_be(out, (uint32_t)len);
    lethe_buf_put(out, type, 4);
    lethe_buf_put(out, data, len);
    if (!lethe_buf_status(out)) {
        put_be(out, (uint32_t)crc32(0, out->data + at, (uInt)(len + 4)) ^ (wrong ? 0x5a : 0));
    }
}

static void put_some(struct draw *draw, const char *type, size_t len, struct lethe_buf *out)
{
    struct lethe_buf bytes = {0};

    draw_bytes(draw, &bytes, len);
    put_chunk(out, type, bytes.data, bytes.len, false);
    lethe_buf_release(&bytes);
}

static bool put_packed(struct draw *draw, const char *type, const char *head, size_t head_len,
                       const struct lethe_buf *text, struct lethe_buf *out)
{
    uint8_t packed[4096];
    uLongf len = sizeof packed;
    struct lethe_buf bytes = {0};
    bool good = compress2(packed, &len, text->data, text->len, (int)draw_below(draw, 10)) == Z_OK;

    lethe_buf_put(&bytes, head, head_len);
    lethe_buf_put(&bytes, packed, good ? len : 0);
    put_chunk(out, type, bytes.data, bytes.len, false);
    lethe_buf_release(&bytes);
    return good;
}

/* A profile that libpng takes: header, one tag of no consequence. */
static void make_icc(struct draw *draw, struct lethe_buf *icc)
{
    size_t len = 128 + 4 + 12 + 4 * (size_t)(1 + draw_below(draw, 100));
    static const uint8_t date[12] = {7, 0xe0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0};

    put_be(icc, (uint32_t)len);
    lethe_buf_put(icc, "lcms\2\20\0\0mntrRGB XYZ ", 20);
    lethe_buf_put(icc, date, 12);
    lethe_buf_put(icc, "acsp", 4);
    while (icc->len < 68) {
        lethe_buf_put_u8(icc, 0);
    }
    lethe_buf_put(icc, "\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d", 12);
    while (icc->len < 128) {
        lethe_buf_put_u8(icc, 0);
    }
    put_be(icc, 1);
    lethe_buf_put(icc, "cprt", 4);
    put_be(icc, 144);
    put_be(icc, (uint32_t)len - 144);
    draw_bytes(draw, icc, len - 144);
}

static void put_ancillary(struct draw *draw, const struct image *image, struct drawn *drawn, struct lethe_buf *out)
{
    static const uint8_t bkgd[5] = {6, 0, 2, 1, 6};
    struct lethe_buf text = {0};

    for (unsigned n = draw_below(draw, 4); n > 0; n--) {
        switch (draw_below(draw, 11)) {
        case 0:
            put_chunk(out, "gAMA", (const uint8_t[4]){0, 0, 0xb1, 0x8f}, 4, false);
            break;
        case 1:
            if (drawn->icc.len == 0 && image->colour & 2) {
                make_icc(draw, &drawn->icc);
                drawn->learned &= put_packed(draw, "iCCP", "a profile\0\0", 11, &drawn->icc, out);
            }
            break;
        case 2:
            put_chunk(out, "pHYs", (const uint8_t[9]){0, 0, 0x0b, 0x13, 0, 0, 0x0b, 0x13, 1}, 9, false);
            break;
        case 3:
            put_chunk(out, "tEXt", (const uint8_t *)"Comment\0seen on a walk", 22, draw_rarely(draw, 8));
            break;
        case 4:
            lethe_buf_reset(&text);
            draw_bytes(draw, &text, draw_below(draw, 300));
            (void)put_packed(draw, "zTXt", "Comment\0\0", 9, &text, out);
            break;
        case 5:
            put_chunk(out, "iTXt", (const uint8_t *)"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>", 34, false);
            break;
        case 6:
            if (drawn->orientation == 0) {
                lethe_buf_reset(&text);
                drawn->orientation = 1 + draw_below(draw, 8);
                draw_tiff(draw, drawn->orientation, &text);
                put_chunk(out, "eXIf", text.data, text.len, false);
            }
            break;
        case 7:
            put_some(draw, "juNk", draw_below(draw, 600), out);
            break;
        case 8:
            put_some(draw, "prVt", draw_below(draw, 40), out);
            break;
        case 9:
            put_chunk(out, "bKGD", (const uint8_t[6]){0}, bkgd[image->colour % 5], false);
            break;
        default:
            put_some(draw, "vpAg", 9, out);
            break;
        }
    }
    lethe_buf_release(&text);
}

static void put_idats(struct draw *draw, const struct lethe_buf *zlib, struct lethe_buf *out)
{
    unsigned mode = draw_below(draw, 6);
    size_t at = 0, fixed = 1 + draw_noise(draw) % (zlib->len + 1);

    if (mode > 3) {
        put_chunk(out, "IDAT", zlib->data, zlib->len, mode == 5 && draw_rarely(draw, 8));
        return;
    }
    while (at < zlib->len) {
        size_t some = mode == 0 ? fixed : mode == 1 ? draw_noise(draw) % 5 : draw_noise(draw) % (zlib->len + 1);

        some = some < zlib->len - at ? some : zlib->len - at;
        put_chunk(out, "IDAT", zlib->data + at, some, mode == 2 && draw_noise(draw) % 8 == 0);
        if (mode == 3 && draw_noise(draw) % 8 == 0) {
            put_some(draw, "seEn", 3, out);
        }
        at += some;
    }
    if (draw_rarely(draw, 4)) {
        put_chunk(out, "IDAT", NULL, 0, false);
    }
}

static void put_animation(struct draw *draw, const struct image *image, uint32_t number, struct lethe_buf *out)
{
    struct lethe_buf bytes = {0};

    put_be(&bytes, number);
    put_be(&bytes, image->width);
    put_be(&bytes, image->height);
    put_be(&bytes, 0);
    put_be(&bytes, 0);
    put_be(&bytes, 0x00640064);
    lethe_buf_put_u16(&bytes, 0);
    put_chunk(out, "fcTL", bytes.data, bytes.len, false);
    if (number > 0) {
        lethe_buf_reset(&bytes);
        put_be(&bytes, number + 1);
        draw_bytes(draw, &bytes, 40);
        put_chunk(out, "fdAT", bytes.data, bytes.len, false);
    }
    lethe_buf_release(&bytes);
}

static void put_colours(struct draw *draw, const struct image *image, struct drawn *drawn, struct lethe_buf *out)
{
    struct lethe_buf bytes = {0};
    bool transparent = draw_rarely(draw, 3);

    if (image->colour == 3) {
        unsigned kinds = draw_below(draw, 3); /* colours, greys, with equal ones */

        for (unsigned i = 0; i < image->entries; i++) {
            uint8_t grey = (uint8_t)(kinds == 2 ? i / 3 * 7 : draw_noise(draw) >> 9);

            for (unsigned c = 0; c < 3; c++) {
                lethe_buf_put_u8(&bytes, kinds == 0 ? (uint8_t)(draw_noise(draw) >> 8) : grey);
            }
        }
        put_chunk(out, "PLTE", bytes.data, bytes.len, draw_rarely(draw, 16));
        lethe_buf_reset(&bytes);
        draw_bytes(draw, &bytes, 1 + draw_below(draw, image->entries));
    } else if (image->colour == 2 && draw_rarely(draw, 6)) { /* a suggestion */
        put_some(draw, "PLTE", 3 * (size_t)(1 + draw_below(draw, 256)), out);
    }
    if (transparent && (image->colour == 0 || image->colour == 2)) {
        drawn->lossy = false; /* a colour that must be hit exactly */
        for (unsigned c = 0; c < image->channels; c++) {
            unsigned v = value_at(image, 0, 0, c);

            lethe_buf_put_u8(&bytes, (uint8_t)(v >> 8));
            lethe_buf_put_u8(&bytes, (uint8_t)v);
        }
    }
    if (transparent && image->colour < 4) {
        put_chunk(out, "tRNS", bytes.data, bytes.len, false);
    }
    lethe_buf_release(&bytes);
}

bool draw_png(struct draw *draw, struct drawn *out)
{
    static const uint8_t kinds[15][2] = {{0, 1}, {0, 2}, {0, 4}, {0, 8}, {0, 16}, {2, 8},  {2, 16}, {3, 1},
                                         {3, 2}, {3, 4}, {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    static const uint8_t channels[7] = {1, 0, 3, 1, 2, 0, 4};
    const uint8_t *kind = kinds[draw_below(draw, 15)];
    struct image image = {.colour = kind[0], .depth = kind[1], .channels = channels[kind[0]]};
    bool tiny = draw_rarely(draw, 4), large = draw_rarely(draw, 24), animated = draw_rarely(draw, 10), damaged;
    struct lethe_buf raw = {0}, zlib = {0}, header = {0};
    uint32_t most = tiny ? 9 : large ? 400 : 72;
    size_t behind_header;
    bool good;

    image.width = 1 + draw_below(draw, most);
    image.height = 1 + draw_below(draw, most);
    image.interlace = draw_rarely(draw, 3);
    image.entries = image.colour == 3 ? 1 + draw_below(draw, 1u << image.depth) : 0;
    image.odd_padding = draw_rarely(draw, 12);
    image.widening = draw_below(draw, 6) % 3;
    scene_draw(draw, &image.scene[0]);
    scene_draw(draw, &image.scene[1]);
    *out = (struct drawn){.learned = true, .lossy = !animated};
    good = rows(&image, draw, &raw) && deflate_rows(draw, &raw, &zlib, out);
    lethe_buf_put(&out->file, "\x89PNG\r\n\x1a\n", 8);
    put_be(&header, image.width);
    put_be(&header, image.height);
    lethe_buf_put(&header, (const uint8_t[5]){(uint8_t)image.depth, (uint8_t)image.colour, 0, 0, (uint8_t)image.interlace},
                  5);
    put_chunk(&out->file, "IHDR", header.data, header.len, draw_rarely(draw, 40));
    behind_header = out->file.len;
    put_ancillary(draw, &image, out, &out->file);
    put_colours(draw, &image, out, &out->file);
    if (animated) {
        put_chunk(&out->file, "acTL", (const uint8_t[8]){0, 0, 0, 2, 0, 0, 0, 0}, 8, false);
        put_animation(draw, &image, 0, &out->file);
    }
    if (good && draw_rarely(draw, 12)) { /* more than the picture, or a wrong checksum */
        if (draw_below(draw, 2)) {
            draw_bytes(draw, &zlib, draw_below(draw, 30));
        } else {
            zlib.data[zlib.len - 1] ^= 1;
        }
    }
    put_idats(draw, &zlib, &out->file);
    if (animated) {
        put_animation(draw, &image, 1, &out->file);
    }
    if (draw_rarely(draw, 3)) {
        put_some(draw, "laTe", draw_below(draw, 90), &out->file);
    }
    if (draw_rarely(draw, 20)) {
        out->lossy = false; /* no end */
    } else {
        put_chunk(&out->file, "IEND", NULL, 0, draw_rarely(draw, 20));
    }
    if (draw_rarely(draw, 5)) {
        draw_bytes(draw, &out->file, draw_below(draw, 400));
    }
    damaged = draw_rarely(draw, 8);
    if (damaged) {
        draw_damage(draw, draw_below(draw, 4) ? behind_header : 8, &out->file);
    }
    good = good && !lethe_buf_status(&out->file);
    out->learned = out->learned && good && !damaged;
    out->lossy = out->lossy && out->learned;
    out->orientation = out->orientation ? out->orientation : 1;
    snprintf(out->text + strlen(out->text), sizeof out->text - strlen(out->text),
             ", png %ux%u, colour %u, depth %u%s%s%s%s", image.width, image.height, image.colour, image.depth,
             image.interlace ? ", interlaced" : "", animated ? ", animated" : "", damaged ? ", damaged" : "",
             image.odd_padding ? ", odd padding" : "");
    lethe_buf_release(&raw);
    lethe_buf_release(&zlib);
    lethe_buf_release(&header);
    return good;
}
