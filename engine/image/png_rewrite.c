/* SPDX-License-Identifier: MIT */
/*
 * A PNG written anew: one filter, zlib's matcher at level 6, the same bytes everywhere and for ever; and another
 * picture in a PNG's clothes, its chunks in their order and embedded pictures redrawn. Left out: chunks that are bound
 * to the old bytes (dSIG, caBX), and profiles that are kept as compressed text, where a thumbnail could hide.
 */
#include <stdlib.h>
#include <string.h>

#include "deflate.h"
#include "exif.h"
#include "png_recipe.h"

#define IDAT_BYTES (1u << 20)
#define FILTER_PAETH 4
#define PALETTE 3 /* colour type */

static void put_chunk(struct lethe_buf *out, const char *type, const uint8_t *data, size_t len)
{
    uint8_t word[4];

    lethe_set_u32be(word, (uint32_t)len);
    lethe_buf_put(out, word, 4);
    lethe_buf_put(out, type, 4);
    lethe_buf_put(out, data, len);
    lethe_set_u32be(word, lethe_png_crc(lethe_png_crc(0, (const uint8_t *)type, 4), data, len));
    lethe_buf_put(out, word, 4);
}

static enum lethe_err put_pixels(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                 struct lethe_buf *out)
{
    const struct lethe_deflate_params params = {.level = 6, .mem_level = 8, .window_bits = 15};
    struct lethe_buf zlib = {0};
    uint8_t *data = NULL, *types = NULL, word[4];
    size_t size, rows;
    enum lethe_err err;

    if (!lethe_png_shape_size(shape, &size, &rows) || size > SIZE_MAX - LETHE_DEFLATE_SLACK) {
        return LETHE_ERR_UNSUPPORTED;
    }
    data = malloc(size + LETHE_DEFLATE_SLACK);
    types = malloc(rows);
    err = data && types ? LETHE_OK : LETHE_ERR_NOMEM;
    if (!err) {
        memset(types, FILTER_PAETH, rows);
        memset(data + size, 0, LETHE_DEFLATE_SLACK);
        err = lethe_png_filter(shape, raster, types, NULL, data);
    }
    if (!err) {
        lethe_buf_put(&zlib, (const uint8_t[2]){0x78, 0x9c}, 2);
        err = lethe_deflate_encode(&params, data, size, &zlib);
    }
    if (!err) {
        lethe_set_u32be(word, lethe_png_adler(data, size));
        lethe_buf_put(&zlib, word, 4);
        err = lethe_buf_status(&zlib);
    }
    for (size_t at = 0; at < zlib.len && !err; at += IDAT_BYTES) {
        put_chunk(out, "IDAT", zlib.data + at, zlib.len - at < IDAT_BYTES ? zlib.len - at : IDAT_BYTES);
    }
    free(data);
    free(types);
    lethe_buf_release(&zlib);
    return err ? err : lethe_buf_status(out);
}

static enum lethe_err begin(const struct lethe_raster *raster, unsigned interlace, struct lethe_png_shape *shape,
                            struct lethe_buf *out)
{
    static const uint8_t colours[5] = {0, 0, 4, 2, 6};
    uint8_t ihdr[13] = {0};

    *shape = (struct lethe_png_shape){.width = raster->width,
                                      .height = raster->height,
                                      .depth = raster->depth,
                                      .colour = colours[raster->channels],
                                      .interlace = interlace};
    if (!lethe_png_shape_set(shape)) {
        return LETHE_ERR_UNSUPPORTED;
    }
    lethe_buf_put(out, lethe_png_signature, 8);
    lethe_set_u32be(ihdr, shape->width);
    lethe_set_u32be(ihdr + 4, shape->height);
    ihdr[8] = (uint8_t)shape->depth;
    ihdr[9] = (uint8_t)shape->colour;
    ihdr[12] = (uint8_t)interlace;
    put_chunk(out, "IHDR", ihdr, sizeof ihdr);
    return LETHE_OK;
}

enum lethe_err lethe_png_make(const struct lethe_raster *raster, unsigned interlace, const uint8_t *chunks,
                              size_t chunks_len, struct lethe_buf *out)
{
    struct lethe_png_shape shape;
    size_t start = out->len;
    enum lethe_err err = begin(raster, interlace, &shape, out);

    if (!err) {
        lethe_buf_put(out, chunks, chunks_len);
        err = put_pixels(&shape, raster, out);
    }
    if (!err) {
        put_chunk(out, "IEND", NULL, 0);
        err = lethe_buf_status(out);
    }
    if (err) {
        out->len = start;
    }
    return err;
}

static bool is(const uint8_t *type, const char *name)
{
    return memcmp(type, name, 4) == 0;
}

/* A text chunk whose text is deflated. */
static bool is_packed_text(const uint8_t *type, const uint8_t *data, size_t len)
{
    const uint8_t *end = memchr(data, 0, len);

    return is(type, "zTXt") || (is(type, "iTXt") && end && end + 1 < data + len && end[1] == 1);
}

/* Hexadecimal profiles, as ImageMagick writes them. */
static bool is_raw_profile(const uint8_t *type, const uint8_t *data, size_t len)
{
    static const char name[] = "Raw profile type ";

    return (is(type, "tEXt") || is(type, "zTXt")) && len > sizeof name && memcmp(data, name, sizeof name - 1) == 0;
}

static enum lethe_err keep(const uint8_t *type, const uint8_t *data, size_t len, const struct lethe_raster *picture,
                           struct lethe_buf *out)
{
    uint8_t *copy;
    bool open;
    enum lethe_err err = LETHE_OK;

    if (is(type, "dSIG") || is(type, "caBX") || is_raw_profile(type, data, len) ||
        (is_packed_text(type, data, len) && len > 1024)) {
        return LETHE_OK;
    }
    copy = malloc(len ? len : 1);
    if (!copy) {
        return LETHE_ERR_NOMEM;
    }
    if (len > 0) {
        memcpy(copy, data, len);
    }
    if (is(type, "eXIf")) {
        err = lethe_exif_redraw(copy, len, picture);
    }
    if (!err) {
        err = lethe_redraw(copy, len, picture, &open);
    }
    if (!err) {
        put_chunk(out, (const char *)type, copy, len);
    }
    free(copy);
    return err;
}

enum lethe_err lethe_png_rewrite(const uint8_t *file, size_t len, const struct lethe_raster *raster,
                                 const struct lethe_raster *picture, struct lethe_buf *out)
{
    struct lethe_png_shape shape = {0};
    size_t start = out->len, at = 33, tail;
    bool pixels = false, open, indexed;
    enum lethe_err err = len > 33 ? begin(raster, file[28], &shape, out) : LETHE_ERR_UNSUPPORTED;

    if (!err && shape.colour != file[25] && file[25] != PALETTE) {
        err = LETHE_ERR_UNSUPPORTED;
    }
    indexed = !err && (file[25] == PALETTE || file[24] < 8);
    while (!err) {
        const uint8_t *type = file + at + 4, *data = file + at + 8;
        size_t size;

        if (len - at < 12 || (size = lethe_get_u32be(file + at)) > len - at - 12) {
            err = LETHE_ERR_UNSUPPORTED;
        } else if (is(type, "IEND")) {
            at += 12 + size;
            break;
        } else if (indexed && (is(type, "PLTE") || is(type, "hIST") || is(type, "sBIT") || is(type, "bKGD") ||
                               (is(type, "tRNS") && file[25] == PALETTE))) {
            /* It speaks of the old values; what tRNS says is in the samples. */
        } else if (is(type, "acTL") || is(type, "fdAT") || is(type, "tRNS")) {
            err = LETHE_ERR_UNSUPPORTED; /* an animation; a colour that must be hit exactly */
        } else if (is(type, "IDAT")) {
            err = pixels ? LETHE_OK : put_pixels(&shape, raster, out);
            pixels = true;
        } else {
            err = keep(type, data, size, picture, out);
        }
        at += 12 + size;
    }
    if (!err && !pixels) {
        err = LETHE_ERR_UNSUPPORTED;
    }
    if (!err) {
        put_chunk(out, "IEND", NULL, 0);
        tail = out->len;
        lethe_buf_put(out, file + at, len - at);
        err = lethe_buf_status(out);
        if (!err) {
            err = lethe_redraw(out->data + tail, out->len - tail, picture, &open);
        }
    }
    if (err) {
        out->len = start;
    }
    return err;
}
