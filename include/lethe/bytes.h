/* SPDX-License-Identifier: MIT */
/*
 * Byte strings: a growable buffer with a cap, and a bounded reader for hostile bytes. All stored integers are
 * little-endian. No struct is ever overlaid on bytes.
 */
#ifndef LETHE_BYTES_H
#define LETHE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/err.h"

/* An owned, growable byte string. {0} is a valid empty buffer. data is NULL while nothing was appended. */
struct lethe_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed; /* an append ran out of memory: all later appends do nothing; see lethe_buf_status */
};

void lethe_buf_init(struct lethe_buf *buf);
/* Frees and zeroes the struct. Does nothing on an empty one. Secrets do not belong in a lethe_buf. */
void lethe_buf_release(struct lethe_buf *buf);
/* Sets len to 0 and keeps the memory; clears failed. */
void lethe_buf_reset(struct lethe_buf *buf);
/* Makes room for extra more bytes. On failure the content is unchanged and failed is set. */
enum lethe_err lethe_buf_reserve(struct lethe_buf *buf, size_t extra) LETHE_MUST_CHECK;
/* Sets the length; bytes that are new are zero. */
enum lethe_err lethe_buf_resize(struct lethe_buf *buf, size_t len) LETHE_MUST_CHECK;
/* Appends never need a check one by one: a failure is remembered and lethe_buf_status tells it at the end. */
void lethe_buf_put(struct lethe_buf *buf, const void *bytes, size_t len);
/* Appends formatted text, of at most 2047 bytes: what is longer is cut. */
void lethe_buf_print(struct lethe_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void lethe_buf_put_u8(struct lethe_buf *buf, uint8_t value);
void lethe_buf_put_u16(struct lethe_buf *buf, uint16_t value);
void lethe_buf_put_u32(struct lethe_buf *buf, uint32_t value);
void lethe_buf_put_u64(struct lethe_buf *buf, uint64_t value);
/* LEB128: seven bits a byte, least significant first, at most 10 bytes. */
void lethe_buf_put_varint(struct lethe_buf *buf, uint64_t value);
/* A varint length, then the bytes. */
void lethe_buf_put_block(struct lethe_buf *buf, const void *bytes, size_t len);
/* LETHE_OK, or LETHE_ERR_NOMEM when any append since the last reset failed. */
enum lethe_err lethe_buf_status(const struct lethe_buf *buf) LETHE_MUST_CHECK;
/* Moves the bytes out: *data is freed by the caller with free(). The buffer is empty afterwards. */
void lethe_buf_take(struct lethe_buf *buf, uint8_t **data, size_t *len);

/* A cursor over borrowed bytes. Reading past the end returns zeros and sets bad; check once at the end. */
struct lethe_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

void lethe_reader_init(struct lethe_reader *reader, const void *bytes, size_t len);
size_t lethe_reader_left(const struct lethe_reader *reader);
uint8_t lethe_read_u8(struct lethe_reader *reader);
uint16_t lethe_read_u16(struct lethe_reader *reader);
uint32_t lethe_read_u32(struct lethe_reader *reader);
uint64_t lethe_read_u64(struct lethe_reader *reader);
uint64_t lethe_read_varint(struct lethe_reader *reader); /* over-long or over-large forms set bad */
/* Copies len bytes to out (zeros when short). */
void lethe_read_bytes(struct lethe_reader *reader, void *out, size_t len);
/* A borrowed view of the next len bytes, or NULL (and bad) when there are fewer. */
const uint8_t *lethe_read_view(struct lethe_reader *reader, size_t len);
/* A varint length and a borrowed view of that many bytes; *len is 0 and NULL is returned when bad. */
const uint8_t *lethe_read_block(struct lethe_reader *reader, size_t *len);
/* LETHE_OK when nothing was bad and, if whole, nothing is left; else LETHE_ERR_FORMAT. */
enum lethe_err lethe_reader_status(const struct lethe_reader *reader, bool whole) LETHE_MUST_CHECK;

/* Inline, for compilers make one instruction of each. */
static inline uint16_t lethe_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t lethe_get_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t lethe_get_u64(const uint8_t *p)
{
    return lethe_get_u32(p) | (uint64_t)lethe_get_u32(p + 4) << 32;
}

static inline void lethe_set_u16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void lethe_set_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

static inline void lethe_set_u64(uint8_t *p, uint64_t value)
{
    lethe_set_u32(p, (uint32_t)value);
    lethe_set_u32(p + 4, (uint32_t)(value >> 32));
}

uint32_t lethe_get_u32be(const uint8_t *p);
void lethe_set_u32be(uint8_t *p, uint32_t value);

/* Lower-case hexadecimal; out has room for 2 * len + 1 characters. */
void lethe_hex(const void *bytes, size_t len, char *out);
/* The inverse for exactly 2 * len characters of text; LETHE_ERR_FORMAT on anything else. Upper case is refused. */
enum lethe_err lethe_unhex(const char *text, size_t text_len, void *out, size_t len) LETHE_MUST_CHECK;

/* Memory-safe multiplication and addition: false when the result does not fit; *out is then untouched. */
bool lethe_mul_size(size_t a, size_t b, size_t *out) LETHE_MUST_CHECK;
bool lethe_add_size(size_t a, size_t b, size_t *out) LETHE_MUST_CHECK;

/* A 128-bit id: objects, contents, vaults, model pairs. All zero means none. */
struct lethe_id {
    uint8_t bytes[16];
};

bool lethe_id_equal(const struct lethe_id *a, const struct lethe_id *b);
bool lethe_id_is_zero(const struct lethe_id *id);

/* Fresh random bytes arrive in the engine as an argument. fill never fails (it aborts the process if it must). */
struct lethe_random {
    void (*fill)(void *context, void *out, size_t len);
    void *context;
};

#endif
