/* SPDX-License-Identifier: MIT */
/* What makes two pictures the same one: shape and samples, or shape, quantisation and coefficients. */
#include <stdlib.h>

#include "lethe/seal.h"
#include "photo_private.h"

#define CHUNK ((size_t)1 << 20)

/* Appends the hash of each chunk of count values of size bytes (1 takes the low byte of each). */
static enum lethe_err hash_values(const uint16_t *values, size_t count, unsigned size, struct lethe_buf *out)
{
    uint8_t *bytes = malloc(CHUNK), hash[32];

    if (!bytes) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t from = 0; from < count;) {
        size_t n = count - from < CHUNK / size ? count - from : CHUNK / size;

        for (size_t i = 0; i < n; i++) {
            if (size == 1) {
                bytes[i] = (uint8_t)values[from + i];
            } else {
                bytes[2 * i] = (uint8_t)values[from + i];
                bytes[2 * i + 1] = (uint8_t)(values[from + i] >> 8);
            }
        }
        lethe_hash(bytes, n * size, hash);
        lethe_buf_put(out, hash, sizeof hash);
        from += n;
    }
    free(bytes);
    return lethe_buf_status(out);
}

static enum lethe_err finish(enum lethe_err err, struct lethe_buf *text, uint8_t digest[32])
{
    if (!err) {
        err = lethe_buf_status(text);
    }
    if (!err) {
        lethe_hash(text->data, text->len, digest);
    }
    lethe_buf_release(text);
    return err;
}

enum lethe_err lethe_photo_digest_raster(const struct lethe_raster *raster, uint8_t digest[32])
{
    struct lethe_buf text = {0};
    enum lethe_err err = LETHE_OK;

    lethe_buf_put_u8(&text, LETHE_CONTAINER_PNG);
    lethe_buf_put_u32(&text, raster->width);
    lethe_buf_put_u32(&text, raster->height);
    lethe_buf_put_u8(&text, (uint8_t)raster->channels);
    lethe_buf_put_u8(&text, (uint8_t)raster->depth);
    for (unsigned c = 0; c < raster->channels && !err; c++) {
        err =
            hash_values(raster->planes[c], (size_t)raster->width * raster->height, raster->depth / 8, &text);
    }
    return finish(err, &text, digest);
}

enum lethe_err lethe_photo_digest_jpeg(const struct lethe_jpeg *jpeg, uint8_t digest[32])
{
    struct lethe_buf text = {0};
    enum lethe_err err = LETHE_OK;

    lethe_buf_put_u8(&text, LETHE_CONTAINER_JPEG);
    lethe_buf_put_u32(&text, jpeg->width);
    lethe_buf_put_u32(&text, jpeg->height);
    lethe_buf_put_u8(&text, (uint8_t)jpeg->colour);
    lethe_buf_put_u8(&text, (uint8_t)jpeg->components);
    for (unsigned c = 0; c < jpeg->components && !err; c++) {
        const struct lethe_jpeg_component *component = &jpeg->component[c];

        lethe_buf_put_u8(&text, (uint8_t)(component->h << 4 | component->v));
        for (unsigned k = 0; k < 64; k++) {
            lethe_buf_put_u16(&text, component->quant[k]);
        }
        /* int16_t may be read as uint16_t (C17 6.5 paragraph 7), which is two's complement. */
        err = hash_values((const uint16_t *)component->coefs,
                          (size_t)component->blocks_w * component->blocks_h * 64, 2, &text);
    }
    return finish(err, &text, digest);
}
