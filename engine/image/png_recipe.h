/* SPDX-License-Identifier: MIT */
/* Private to engine/image: what png_parse.c and png_rebuild.c share. PNG: W3C Recommendation, third edition.
 */
#ifndef LETHE_IMAGE_PNG_RECIPE_H
#define LETHE_IMAGE_PNG_RECIPE_H

#include "lethe/image.h"

extern const uint8_t lethe_png_signature[8];

/* The version of the recipe. Palettes and samples under 8 bits will come with a higher one. */
#define LETHE_PNG_RECIPE_VERSION 1

/*
 * A recipe: u8 version, then three blocks (varint length, bytes): layout (as lethe_png_meta_put packs it),
 * filters, deflate description. The layout, unpacked: varint width, varint height, u8 depth, u8 colour type,
 * u8 interlace, u8 1 if IHDR's CRC is wrong [u32be CRC] u8 x 2 zlib header, u8 tail kind, [block tail]
 * (below) items, each u8 tag; | LETHE_PNG_BAD_CRC: a u32be CRC follows the item after END: block, the bytes
 * behind the last item
 */
enum lethe_png_item {
    LETHE_PNG_END = 0,
    LETHE_PNG_IDATS = 1, /* varint count, then if over 1 varint size: all IDATs, the last one has the rest */
    LETHE_PNG_CHUNK = 2, /* 4 bytes of type, block data */
    LETHE_PNG_IDAT = 3,  /* varint size: one of several IDATs without a rule */
    LETHE_PNG_IEND = 4,  /* an empty one */
    LETHE_PNG_BAD_CRC = 0x80,
};

/* Behind the deflate stream inside the IDATs. */
enum lethe_png_tail {
    LETHE_PNG_TAIL_ADLER = 0,      /* the right Adler-32 and nothing else */
    LETHE_PNG_TAIL_ADLER_MORE = 1, /* the right Adler-32, then a block of other bytes */
    LETHE_PNG_TAIL_VERBATIM = 2,   /* a block of bytes */
};

struct lethe_png_shape {
    uint32_t width;
    uint32_t height;
    unsigned depth;
    unsigned colour;    /* 0 grey, 2 RGB, 4 grey + alpha, 6 RGB + alpha */
    unsigned interlace; /* 0 or 1 (Adam7) */
    unsigned channels;
    unsigned pixel_bytes;
};

/* False when this is no shape that the recipe knows. Sets channels and pixel_bytes. */
bool lethe_png_shape_set(struct lethe_png_shape *shape);
/* Bytes of the filtered picture, and its rows in all passes; false when they do not fit. */
bool lethe_png_shape_size(const struct lethe_png_shape *shape, size_t *bytes, size_t *rows);

/* --- png_filter.c --- */

/* data: all rows of all passes with their filter bytes. types: one for each row. FORMAT: a filter above 4. */
enum lethe_err lethe_png_unfilter(const struct lethe_png_shape *shape, const uint8_t *data,
                                  struct lethe_raster *raster, uint8_t *types) LETHE_MUST_CHECK;
/* The inverse. types are in [0, 4]. */
enum lethe_err lethe_png_filter(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                const uint8_t *types, uint8_t *data) LETHE_MUST_CHECK;

/* --- png_meta.c --- */

uint32_t lethe_png_crc(uint32_t crc, const uint8_t *bytes, size_t len); /* begin with 0 */
uint32_t lethe_png_adler(const uint8_t *bytes, size_t len);

/* Appends bytes as one block, compressed by an adaptive model of order 1 when that helps. */
void lethe_png_meta_put(struct lethe_buf *out, const uint8_t *bytes, size_t len);
/* Reads such a block of at most max_len unpacked bytes; appends them to out. */
enum lethe_err lethe_png_meta_get(struct lethe_reader *reader, size_t max_len,
                                  struct lethe_buf *out) LETHE_MUST_CHECK;
/* The same for filter types, each in [0, 4]; the reader must know their count. */
void lethe_png_types_put(struct lethe_buf *out, const uint8_t *types, size_t count);
enum lethe_err lethe_png_types_get(struct lethe_reader *reader, uint8_t *types,
                                   size_t count) LETHE_MUST_CHECK;

#endif
