/* SPDX-License-Identifier: MIT */
/* Private to engine/image: what png_parse.c and png_rebuild.c share. PNG: W3C Recommendation, third edition.
 */
#ifndef LETHE_IMAGE_PNG_RECIPE_H
#define LETHE_IMAGE_PNG_RECIPE_H

#include "lethe/image.h"

extern const uint8_t lethe_png_signature[8];

/* The version of the recipe. Palettes and samples under 8 bits have 2, all else 1. */
#define LETHE_PNG_RECIPE_VERSION 2

/*
 * A recipe: u8 version, then three blocks (varint length, bytes): layout (as lethe_png_meta_put packs it),
 * filters, deflate description; in version 2 what png_palette.c says of the values, and the padding of rows when it is not
 * 0, both packed like the layout. That, unpacked: varint width, varint height, u8 depth, u8 colour type, u8 interlace, u8 1 if IHDR's CRC is wrong [u32be CRC] u8 x 2 zlib header, u8 tail kind, [block tail]
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
    unsigned colour;    /* 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha */
    unsigned interlace; /* 0 or 1 (Adam7) */
    unsigned channels;    /* in the file: 1 with a palette */
    unsigned bits;        /* of a pixel */
    unsigned pixel_bytes; /* the same in whole bytes */
};

/* False when this is no shape that PNG knows. Sets channels, bits and pixel_bytes. */
bool lethe_png_shape_set(struct lethe_png_shape *shape);
/* Bytes of the filtered picture, and its rows in all passes; false when they do not fit. */
bool lethe_png_shape_size(const struct lethe_png_shape *shape, size_t *bytes, size_t *rows);

/* --- png_filter.c: rasters here hold the values of the file, of any depth, indices with a palette --- */

/*
 * data: all rows of all passes with their filter bytes. types: one for each row; padding: with a depth below 8, the bits
 * behind the last sample of each row (else not used). FORMAT: a filter above 4.
 */
enum lethe_err lethe_png_unfilter(const struct lethe_png_shape *shape, const uint8_t *data,
                                  struct lethe_raster *raster, uint8_t *types, uint8_t *padding) LETHE_MUST_CHECK;
/* The inverse, of rows from to to - 1 alone (not interlaced); data begins at row 0. */
enum lethe_err lethe_png_filter_rows(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                     const uint8_t *types, uint32_t from, uint32_t to, uint8_t *data) LETHE_MUST_CHECK;
/* The inverse. types are in [0, 4]; padding may be NULL where all of it is 0. */
enum lethe_err lethe_png_filter(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                const uint8_t *types, const uint8_t *padding, uint8_t *data) LETHE_MUST_CHECK;

/* --- png_palette.c: the values of a file that are no samples of 8 or 16 bits --- */

static inline bool lethe_png_is_plain(const struct lethe_png_shape *shape)
{
    return shape->colour != 3 && shape->depth >= 8;
}

/* A palette: what each index stands for, in the channels of the raster. */
struct lethe_png_palette {
    uint8_t colour[256][4];
    unsigned channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha: the fewest that hold all of it */
    uint8_t first[256];  /* the lowest index of the same colour */
    bool shared[256];    /* whether another index has the same colour */
};

/* plte and trns are the data of the first chunks of these names; trns may be NULL. False when plte is no palette. */
bool lethe_png_palette_set(struct lethe_png_palette *palette, const struct lethe_png_shape *shape,
                           const uint8_t *plte, size_t plte_len, const uint8_t *trns, size_t trns_len);
/*
 * The raster of 8 bits for the values of a file: grey spread over 0 to 255, or colours. palette is NULL without one;
 * with one, choices becomes the index of each pixel whose colour has several, or nothing when all are the lowest.
 */
enum lethe_err lethe_png_expand(const struct lethe_png_shape *shape, const struct lethe_png_palette *palette,
                                const struct lethe_raster *values, struct lethe_raster *raster,
                                struct lethe_buf *choices) LETHE_MUST_CHECK;
/* The inverse; values is initialised here. LETHE_ERR_FORMAT when raster holds what no value stands for. */
enum lethe_err lethe_png_collapse(const struct lethe_png_shape *shape, const struct lethe_png_palette *palette,
                                  const struct lethe_raster *raster, const uint8_t *choices, size_t choices_len,
                                  struct lethe_raster *values) LETHE_MUST_CHECK;

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
