/* SPDX-License-Identifier: MIT */
#include "lethe/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool lethe_mul_size(size_t a, size_t b, size_t *out)
{
    size_t result;

    if (__builtin_mul_overflow(a, b, &result)) {
        return false;
    }
    *out = result;
    return true;
}

bool lethe_add_size(size_t a, size_t b, size_t *out)
{
    size_t result;

    if (__builtin_add_overflow(a, b, &result)) {
        return false;
    }
    *out = result;
    return true;
}

void lethe_buf_init(struct lethe_buf *buf)
{
    *buf = (struct lethe_buf){0};
}

void lethe_buf_release(struct lethe_buf *buf)
{
    free(buf->data);
    *buf = (struct lethe_buf){0};
}

void lethe_buf_reset(struct lethe_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

enum lethe_err lethe_buf_reserve(struct lethe_buf *buf, size_t extra)
{
    size_t need, cap;
    uint8_t *data;

    if (buf->failed || !lethe_add_size(buf->len, extra, &need)) {
        buf->failed = true;
        return LETHE_ERR_NOMEM;
    }
    if (need <= buf->cap && buf->data) {
        return LETHE_OK;
    }
    cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need) {
        if (!lethe_mul_size(cap, 2, &cap)) {
            cap = need;
        }
    }
    data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return LETHE_ERR_NOMEM;
    }
    buf->data = data;
    buf->cap = cap;
    return LETHE_OK;
}

enum lethe_err lethe_buf_resize(struct lethe_buf *buf, size_t len)
{
    enum lethe_err err;

    if (len > buf->len) {
        err = lethe_buf_reserve(buf, len - buf->len);
        if (err) {
            return err;
        }
        memset(buf->data + buf->len, 0, len - buf->len);
    }
    buf->len = len;
    return LETHE_OK;
}

void lethe_buf_put(struct lethe_buf *buf, const void *bytes, size_t len)
{
    if (len == 0 || lethe_buf_reserve(buf, len)) {
        return;
    }
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void lethe_buf_print(struct lethe_buf *buf, const char *format, ...)
{
    va_list arguments;
    char text[2048];
    int len;

    va_start(arguments, format);
    len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (len > 0) {
        lethe_buf_put(buf, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
    }
}

void lethe_buf_put_u8(struct lethe_buf *buf, uint8_t value)
{
    lethe_buf_put(buf, &value, 1);
}

void lethe_buf_put_u16(struct lethe_buf *buf, uint16_t value)
{
    uint8_t p[2];

    lethe_set_u16(p, value);
    lethe_buf_put(buf, p, sizeof p);
}

void lethe_buf_put_u32(struct lethe_buf *buf, uint32_t value)
{
    uint8_t p[4];

    lethe_set_u32(p, value);
    lethe_buf_put(buf, p, sizeof p);
}

void lethe_buf_put_u64(struct lethe_buf *buf, uint64_t value)
{
    uint8_t p[8];

    lethe_set_u64(p, value);
    lethe_buf_put(buf, p, sizeof p);
}

void lethe_buf_put_varint(struct lethe_buf *buf, uint64_t value)
{
    uint8_t p[10];
    size_t n = 0;

    while (value >= 0x80) {
        p[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    p[n++] = (uint8_t)value;
    lethe_buf_put(buf, p, n);
}

void lethe_buf_put_block(struct lethe_buf *buf, const void *bytes, size_t len)
{
    lethe_buf_put_varint(buf, len);
    lethe_buf_put(buf, bytes, len);
}

enum lethe_err lethe_buf_status(const struct lethe_buf *buf)
{
    return buf->failed ? LETHE_ERR_NOMEM : LETHE_OK;
}

void lethe_buf_take(struct lethe_buf *buf, uint8_t **data, size_t *len)
{
    *data = buf->data;
    *len = buf->len;
    *buf = (struct lethe_buf){0};
}

void lethe_reader_init(struct lethe_reader *reader, const void *bytes, size_t len)
{
    static const uint8_t nothing[1]; /* an empty buffer is NULL, and nothing may be added to NULL, not even zero */

    reader->at = bytes ? bytes : nothing;
    reader->end = reader->at + len;
    reader->bad = false;
}

size_t lethe_reader_left(const struct lethe_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

const uint8_t *lethe_read_view(struct lethe_reader *reader, size_t len)
{
    const uint8_t *view = reader->at;

    if (len > lethe_reader_left(reader)) {
        reader->bad = true;
        reader->at = reader->end;
        return NULL;
    }
    reader->at += len;
    return view;
}

void lethe_read_bytes(struct lethe_reader *reader, void *out, size_t len)
{
    const uint8_t *view = lethe_read_view(reader, len);

    if (len == 0) {
        return;
    }
    if (view) {
        memcpy(out, view, len);
    } else {
        memset(out, 0, len);
    }
}

uint8_t lethe_read_u8(struct lethe_reader *reader)
{
    uint8_t p[1];

    lethe_read_bytes(reader, p, sizeof p);
    return p[0];
}

uint16_t lethe_read_u16(struct lethe_reader *reader)
{
    uint8_t p[2];

    lethe_read_bytes(reader, p, sizeof p);
    return lethe_get_u16(p);
}

uint32_t lethe_read_u32(struct lethe_reader *reader)
{
    uint8_t p[4];

    lethe_read_bytes(reader, p, sizeof p);
    return lethe_get_u32(p);
}

uint64_t lethe_read_u64(struct lethe_reader *reader)
{
    uint8_t p[8];

    lethe_read_bytes(reader, p, sizeof p);
    return lethe_get_u64(p);
}

uint64_t lethe_read_varint(struct lethe_reader *reader)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = lethe_read_u8(reader);

        if (reader->bad || (shift == 63 && byte > 1) || (shift > 0 && byte == 0)) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return value;
        }
    }
    reader->bad = true;
    return 0;
}

const uint8_t *lethe_read_block(struct lethe_reader *reader, size_t *len)
{
    uint64_t n = lethe_read_varint(reader);
    const uint8_t *view;

    *len = 0;
    if (reader->bad || n > lethe_reader_left(reader)) {
        reader->bad = true;
        return NULL;
    }
    view = lethe_read_view(reader, (size_t)n);
    *len = (size_t)n;
    return view;
}

enum lethe_err lethe_reader_status(const struct lethe_reader *reader, bool whole)
{
    if (reader->bad || (whole && reader->at != reader->end)) {
        return LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

uint32_t lethe_get_u32be(const uint8_t *p)
{
    return (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

void lethe_set_u32be(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

void lethe_hex(const void *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

enum lethe_err lethe_unhex(const char *text, size_t text_len, void *out, size_t len)
{
    uint8_t *p = out;

    if (text_len / 2 != len || text_len % 2 != 0) {
        return LETHE_ERR_FORMAT;
    }
    for (size_t i = 0; i < text_len; i++) {
        if (hex_digit(text[i]) < 0) {
            return LETHE_ERR_FORMAT;
        }
    }
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    }
    return LETHE_OK;
}

bool lethe_id_equal(const struct lethe_id *a, const struct lethe_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool lethe_id_is_zero(const struct lethe_id *id)
{
    static const struct lethe_id zero;

    return lethe_id_equal(id, &zero);
}
