/* SPDX-License-Identifier: MIT */
/*
 * The canonical picture around m bytes, 1 <= m <= 2^30, of which there is exactly one:
 *
 *   w = ceil(sqrt(m / 3)), h = ceil(m / (3 w)), so that h is w or w - 1, and m must be the capacity 3 w h
 *   89 50 4e 47 0d 0a 1a 0a
 *   IHDR: w, h, depth 8, colour type 2 (RGB), compression 0, filter method 0, no interlace
 *   IDAT, one chunk: 78 01, stored deflate blocks of 65535 bytes and a last, shorter one (never empty),
 * Adler-32 of the raw rows; a raw row is a filter byte 0 and 3 w bytes IEND
 *
 * PNG, third edition (W3C); RFC 1950 (zlib), RFC 1951 (deflate). The reader takes w and h from the header,
 * makes the picture again from the pixels, and refuses any other byte: nothing can hide in the wrapping.
 */
#include <pthread.h>
#include <string.h>

#include "lethe/seal.h"

#define PIXEL_BYTES_MAX (UINT64_C(1) << 30)
#define STORED_MAX 65535
#define HEAD_BYTES (8 + 25 + 8 + 2) /* signature, IHDR, the beginning of IDAT, zlib's header */
#define TAIL_BYTES (4 + 4 + 12)     /* Adler-32, CRC of IDAT, IEND */
#define BLOCK_HEAD 5

static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;

        for (int bit = 0; bit < 8; bit++) {
            value = value & 1 ? value >> 1 ^ 0xedb88320U : value >> 1;
        }
        crc_table[i] = value;
    }
}

static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0xffffffffU;

    for (size_t i = 0; i < len; i++) {
        crc = crc_table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    }
    return crc ^ 0xffffffffU;
}

/* RFC 1950, section 8. The sums are reduced every 5552 bytes, the most for which they stay below 2^32. */
static void adler_add(uint32_t *a, uint32_t *b, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t run = len < 5552 ? len : 5552;

        for (size_t i = 0; i < run; i++) {
            *a += bytes[i];
            *b += *a;
        }
        *a %= 65521;
        *b %= 65521;
        bytes += run;
        len -= run;
    }
}

/* The least w with w * w >= n, for n below 2^32. */
static uint64_t ceil_sqrt(uint64_t n)
{
    uint64_t low = 0, high = UINT64_C(1) << 16;

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (middle * middle >= n) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void picture_size(uint64_t len, uint64_t *width, uint64_t *height)
{
    uint64_t pixels = (len + 2) / 3;

    *width = ceil_sqrt(pixels);
    *height = (pixels + *width - 1) / *width;
}

uint64_t lethe_noise_png_capacity(uint64_t len)
{
    uint64_t width, height;

    if (len > PIXEL_BYTES_MAX) {
        return 0;
    }
    picture_size(len ? len : 1, &width, &height);
    return 3 * width * height > PIXEL_BYTES_MAX ? 0 : 3 * width * height;
}

/* The bytes of the whole file. Width and height are below 2^15, so nothing overflows. */
static size_t file_size(size_t width, size_t height)
{
    size_t raw = height * (1 + 3 * width);
    size_t blocks = (raw + STORED_MAX - 1) / STORED_MAX;

    return HEAD_BYTES + blocks * BLOCK_HEAD + raw + TAIL_BYTES;
}

/* Where the deflate blocks are written: raw bytes in, block headers put between them. */
struct stored {
    uint8_t *at;
    size_t left;  /* raw bytes to come */
    size_t block; /* room in the current block */
    uint32_t a, b;
};

static void stored_put(struct stored *stored, const uint8_t *bytes, size_t len)
{
    adler_add(&stored->a, &stored->b, bytes, len);
    while (len > 0) {
        size_t run;

        if (stored->block == 0) {
            stored->block = stored->left < STORED_MAX ? stored->left : STORED_MAX;
            stored->at[0] = stored->block == stored->left;
            lethe_set_u16(stored->at + 1, (uint16_t)stored->block);
            lethe_set_u16(stored->at + 3, (uint16_t)~stored->block);
            stored->at += BLOCK_HEAD;
        }
        run = len < stored->block ? len : stored->block;
        memcpy(stored->at, bytes, run);
        stored->at += run;
        stored->block -= run;
        stored->left -= run;
        bytes += run;
        len -= run;
    }
}

/* Writes the file of file_size(width, height) bytes around 3 * width * height pixel bytes. */
static void write_picture(const uint8_t *pixels, size_t width, size_t height, uint8_t *out)
{
    static const uint8_t filter = 0;
    size_t size = file_size(width, height), raw = height * (1 + 3 * width);
    size_t idat_len = size - 8 - 25 - 12 - 12;
    struct stored stored = {.at = out + HEAD_BYTES, .left = raw, .a = 1};
    uint8_t *idat = out + 8 + 25;

    pthread_once(&crc_once, crc_prepare);
    memcpy(out, signature, 8);
    lethe_set_u32be(out + 8, 13);
    memcpy(out + 12, "IHDR", 4);
    lethe_set_u32be(out + 16, (uint32_t)width);
    lethe_set_u32be(out + 20, (uint32_t)height);
    memcpy(out + 24, (const uint8_t[5]){8, 2, 0, 0, 0}, 5);
    lethe_set_u32be(out + 29, crc32_of(out + 12, 17));
    lethe_set_u32be(idat, (uint32_t)idat_len);
    memcpy(idat + 4, "IDAT\x78\x01", 6);
    for (size_t y = 0; y < height; y++) {
        stored_put(&stored, &filter, 1);
        stored_put(&stored, pixels + y * 3 * width, 3 * width);
    }
    lethe_set_u32be(stored.at, stored.b << 16 | stored.a);
    lethe_set_u32be(stored.at + 4, crc32_of(idat + 4, 4 + idat_len));
    memcpy(stored.at + 8, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
}

enum lethe_err lethe_noise_png_wrap(const uint8_t *bytes, size_t len, struct lethe_buf *out)
{
    uint64_t width, height;
    size_t size;
    enum lethe_err err;

    if (len == 0 || lethe_noise_png_capacity(len) != len) {
        return LETHE_ERR_ARG;
    }
    picture_size(len, &width, &height);
    size = file_size((size_t)width, (size_t)height);
    err = lethe_buf_reserve(out, size);
    if (err) {
        return err;
    }
    write_picture(bytes, (size_t)width, (size_t)height, out->data + out->len);
    out->len += size;
    return LETHE_OK;
}

/* The raw bytes without the blocks' headers and the filter bytes; what is skipped is compared afterwards. */
static void take_pixels(const uint8_t *png, size_t width, size_t height, uint8_t *pixels)
{
    const uint8_t *at = png + HEAD_BYTES;
    size_t block = 0;

    for (size_t y = 0; y < height; y++) {
        size_t left = 1 + 3 * width;
        bool first = true;

        while (left > 0) {
            size_t run;

            if (block == 0) {
                at += BLOCK_HEAD;
                block = STORED_MAX;
            }
            if (first) {
                at++;
                left--;
                block--;
                first = false;
                continue;
            }
            run = left < block ? left : block;
            memcpy(pixels, at, run);
            pixels += run;
            at += run;
            left -= run;
            block -= run;
        }
    }
}

enum lethe_err lethe_noise_png_unwrap(const uint8_t *png, size_t len, struct lethe_buf *out)
{
    struct lethe_buf again = {0};
    size_t width, height, pixels, start = out->len;
    enum lethe_err err;

    if (len < HEAD_BYTES + TAIL_BYTES) {
        return LETHE_ERR_INTEGRITY;
    }
    width = lethe_get_u32be(png + 16);
    height = lethe_get_u32be(png + 20);
    if (width == 0 || height == 0 || width > 1U << 15 || (height != width && height + 1 != width)) {
        return LETHE_ERR_INTEGRITY;
    }
    pixels = 3 * width * height;
    if (pixels > PIXEL_BYTES_MAX || file_size(width, height) != len) {
        return LETHE_ERR_INTEGRITY;
    }
    err = lethe_buf_reserve(out, pixels);
    if (!err) {
        err = lethe_buf_reserve(&again, len);
    }
    if (err) {
        goto out;
    }
    take_pixels(png, width, height, out->data + start);
    write_picture(out->data + start, width, height, again.data);
    if (memcmp(again.data, png, len) != 0) {
        err = LETHE_ERR_INTEGRITY;
        goto out;
    }
    out->len = start + pixels;
out:
    lethe_buf_release(&again);
    return err;
}
