/* SPDX-License-Identifier: MIT */
/*
 * Containers. A picture file is taken apart into what the codec transforms (samples of a PNG, quantised DCT
 * coefficients of a JPEG) and a recipe: everything else that is needed to write the very same bytes again.
 * Samples or coefficients together with the recipe give back the file exactly; no library's compressor takes part.
 */
#ifndef LETHE_IMAGE_H
#define LETHE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/pool.h"

/* Why a file does not take the learned path; status and inspect show the names. */
enum lethe_reason {
    LETHE_REASON_NONE = 0,     /* it does */
    LETHE_REASON_NO_PICTURE,   /* neither PNG nor JPEG by its first bytes */
    LETHE_REASON_MALFORMED,    /* a PNG or JPEG by its first bytes that does not parse, or ends early */
    LETHE_REASON_KIND,         /* a kind of PNG or JPEG with no recipe (arithmetic coding, 12 bits, ...) */
    LETHE_REASON_TOO_LARGE,    /* beyond the limits on pixels, bytes or memory */
    LETHE_REASON_DEFLATE,      /* the PNG's deflate stream would cost too much to describe */
    LETHE_REASON_COST,         /* artifact and residual together would be larger than segments */
    LETHE_REASON_DIFFERS,      /* the reconstruction was not equal to the file */
    LETHE_REASON_COUNT
};

/* Static lower-case name with hyphens ("no-picture"); never NULL. */
const char *lethe_reason_name(enum lethe_reason reason);

/* Limits, checked against the headers before anything is allocated. */
struct lethe_image_limits {
    uint64_t max_pixels;   /* width * height */
    uint64_t max_bytes;    /* of all samples or coefficients as held in memory */
    uint64_t max_memory;   /* of all that it takes to code the picture, as the functions below say; 0: no matter */
};
/* 200 megapixels, 1 GiB, and what makes 1 GiB with two threads' bands and the like. */
extern const struct lethe_image_limits lethe_image_limits_default;

/*
 * What it takes at most to code a picture and restore it, the file and all else that grows with it included: rounded up
 * from what tests/unit/test_memory.c measures on noise. file_len 0: only to restore it.
 */
uint64_t lethe_png_memory(uint64_t pixels, unsigned channels, unsigned depth, size_t file_len);
uint64_t lethe_jpeg_memory(uint64_t pixels, uint64_t blocks, size_t file_len);

/* Samples in planes. All planes are width * height, row by row, no padding. */
struct lethe_raster {
    uint32_t width;
    uint32_t height;
    unsigned channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha */
    unsigned depth;    /* bits a sample: 8 or 16 */
    uint16_t *planes[4];
};

void lethe_raster_release(struct lethe_raster *raster);
/* Zeroed planes; LETHE_ERR_ARG on impossible sizes. */
enum lethe_err lethe_raster_init(struct lethe_raster *raster, uint32_t width, uint32_t height, unsigned channels,
                                 unsigned depth) LETHE_MUST_CHECK;

/*
 * Takes a PNG apart. On success raster holds the samples (8 or 16 bits: less bits are spread over 0 to 255, a palette
 * gives its colours, with alpha when it has any, grey when they are) and recipe the rest (chunk layout, ancillary chunks,
 * filters, deflate parse, trailing bytes), and lethe_png_rebuild on the two gives back the file.
 * Fails with LETHE_ERR_UNSUPPORTED and *reason when there is no recipe, LETHE_ERR_NOMEM otherwise; outputs are then
 * empty. Does not verify: the caller rebuilds and compares.
 */
enum lethe_err lethe_png_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                               struct lethe_raster *raster, struct lethe_buf *recipe,
                               enum lethe_reason *reason) LETHE_MUST_CHECK;
/*
 * The same on the threads of pool, and with believed (which is always set) sooner: when *believed becomes true, the
 * encoder was taken to go on as it began, and the recipe may be that of another file; the one above, which looks at all
 * of it, is then for who has rebuilt and compared in vain.
 */
enum lethe_err lethe_png_parse_on(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                  struct lethe_pool *pool, bool *believed, struct lethe_raster *raster,
                                  struct lethe_buf *recipe, enum lethe_reason *reason) LETHE_MUST_CHECK;
/* Appends the file to out. LETHE_ERR_FORMAT when the recipe is malformed or does not fit the raster. */
enum lethe_err lethe_png_rebuild(const struct lethe_raster *raster, const uint8_t *recipe, size_t recipe_len,
                                 size_t max_len, struct lethe_buf *out) LETHE_MUST_CHECK;

/*
 * need is called before a rebuilder reads the rows below rows: returns when they are there, and in *ready how many are.
 * pool: who may help with the deflate stream, or NULL.
 */
struct lethe_png_feed {
    enum lethe_err (*need)(void *context, uint32_t rows, uint32_t *ready);
    void *context;
    struct lethe_pool *pool;
};
/* The same while the samples are still coming. */
enum lethe_err lethe_png_rebuild_fed(const struct lethe_raster *raster, const uint8_t *recipe, size_t recipe_len,
                                     size_t max_len, const struct lethe_png_feed *feed,
                                     struct lethe_buf *out) LETHE_MUST_CHECK;

/* Encodes a raster as an ordinary PNG with libpng (reports, tests, lossy output). Not for stored bytes. */
enum lethe_err lethe_png_write(const struct lethe_raster *raster, int zlib_level, struct lethe_buf *out)
    LETHE_MUST_CHECK;
/* Decodes any PNG to an 8- or 16-bit raster with libpng (palettes expanded). */
enum lethe_err lethe_png_read(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                              struct lethe_raster *raster) LETHE_MUST_CHECK;

/* What the components of a JPEG mean, from its markers, by the rules of libjpeg. */
enum lethe_jpeg_colour { LETHE_JPEG_GREY, LETHE_JPEG_YCC, LETHE_JPEG_RGB, LETHE_JPEG_CMYK, LETHE_JPEG_YCCK };

struct lethe_jpeg_component {
    unsigned h, v;       /* sampling factors, 1 to 4 */
    uint32_t blocks_w;   /* blocks in a row of the coefficient array, padded to whole MCUs */
    uint32_t blocks_h;
    uint32_t real_w;     /* blocks that cover the picture: ceil(ceil(width * h / hmax) / 8) */
    uint32_t real_h;
    uint16_t quant[64];  /* natural (row) order */
    int16_t *coefs;      /* blocks_h * blocks_w * 64, natural order inside a block, quantised values, DC included */
};

/* The quantised coefficients of a JPEG. */
struct lethe_jpeg {
    uint32_t width;
    uint32_t height;
    enum lethe_jpeg_colour colour;
    unsigned components; /* 1, 3 or 4 */
    struct lethe_jpeg_component component[4];
};

void lethe_jpeg_release(struct lethe_jpeg *jpeg);

/* As lethe_png_parse, for baseline, extended and progressive Huffman JPEG, 8 bits. Own parser: hostile bytes. */
enum lethe_err lethe_jpeg_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                struct lethe_jpeg *jpeg, struct lethe_buf *recipe,
                                enum lethe_reason *reason) LETHE_MUST_CHECK;
enum lethe_err lethe_jpeg_rebuild(const struct lethe_jpeg *jpeg, const uint8_t *recipe, size_t recipe_len,
                                  size_t max_len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Called before a rebuilder reads the coefficients of this MCU row (component block rows v times it and on). */
struct lethe_jpeg_feed {
    enum lethe_err (*need)(void *context, uint32_t mcu_row);
    void *context;
};
/* The same while the coefficients are still coming; what out holds when feed is asked is final. */
enum lethe_err lethe_jpeg_rebuild_fed(const struct lethe_jpeg *jpeg, const uint8_t *recipe, size_t recipe_len,
                                      size_t max_len, const struct lethe_jpeg_feed *feed,
                                      struct lethe_buf *out) LETHE_MUST_CHECK;
/*
 * Everything of struct lethe_jpeg but the coefficient values, which are zeroed and allocated: from a recipe, so that
 * a residual decoder knows the shape. limits as above.
 */
enum lethe_err lethe_jpeg_shape(const uint8_t *recipe, size_t recipe_len, const struct lethe_image_limits *limits,
                                struct lethe_jpeg *jpeg) LETHE_MUST_CHECK;

/*
 * --- pictures written anew, the same bytes everywhere and for ever ---
 */

/* 8x8 samples, rows stride bytes apart, to quantised coefficients in natural order. */
void lethe_jpeg_fdct(const uint8_t *samples, size_t stride, const uint16_t quant[64], int16_t coefs[64]);
/*
 * Appends a plain sequential JPEG: SOI, segments (whole marker segments, as they are; may be NULL), tables, frame,
 * scan, EOI. ids: the components' ids, NULL for 1, 2, ...
 */
enum lethe_err lethe_jpeg_compose(const struct lethe_jpeg *jpeg, const uint8_t *ids, const uint8_t *segments,
                                size_t segments_len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* The quantisation table of T.81 annex K.1, scaled to quality 1 to 100 as libjpeg does; natural order. */
void lethe_jpeg_quality(unsigned quality, bool chroma, uint16_t quant[64]);
/*
 * The picture (1 or 3 colours and maybe alpha, 8 bits) scaled to width * height as a small JPEG of at most max_len
 * bytes, appended to out. LETHE_ERR_NOSPACE when none is that small.
 */
enum lethe_err lethe_preview_write(const struct lethe_raster *picture, uint32_t width, uint32_t height,
                                   size_t max_len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* One channel of the picture scaled to width * height samples by averaging. */
void lethe_preview_scale(const struct lethe_raster *picture, unsigned channel, uint32_t width, uint32_t height,
                         uint8_t *out);

/*
 * Redraws every picture that is embedded in metadata (EXIF, maker notes, XMP, trailers), in place: a small JPEG of
 * picture where it fits, nothing but zeros where not. No length changes. *open: a picture goes on behind the end.
 */
enum lethe_err lethe_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture, bool *open)
    LETHE_MUST_CHECK;

/*
 * Another picture in a file's container: coefficients of the same shape (jpeg) or samples of the same kind (raster) as
 * those of file, which was parsed before, written anew with file's metadata; embedded pictures are redrawn from
 * picture. Appended to out. LETHE_ERR_UNSUPPORTED when that cannot be said in this container.
 */
enum lethe_err lethe_jpeg_rewrite(const uint8_t *file, size_t len, const struct lethe_jpeg *jpeg,
                                  const struct lethe_raster *picture, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_png_rewrite(const uint8_t *file, size_t len, const struct lethe_raster *raster,
                                 const struct lethe_raster *picture, struct lethe_buf *out) LETHE_MUST_CHECK;
/*
 * What it takes to look at the picture, as marker segments or chunks of its own container: orientation and colour
 * profile, nothing else. Appended to out; nothing when there is nothing to say.
 */
enum lethe_err lethe_jpeg_view(const uint8_t *file, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_png_view(const uint8_t *file, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;

/* A raster as an ordinary PNG; chunks (whole ones, as they are; may be NULL) stand before the pixels. */
enum lethe_err lethe_png_make(const struct lethe_raster *raster, unsigned interlace, const uint8_t *chunks,
                              size_t chunks_len, struct lethe_buf *out) LETHE_MUST_CHECK;

/* Decodes a JPEG file to an 8-bit RGB or grey raster with libjpeg-turbo (training, reports). */
enum lethe_err lethe_jpeg_read(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                               struct lethe_raster *raster) LETHE_MUST_CHECK;

/*
 * Encodes a raster (alpha left out, 16 bits cut to 8) as a 4:2:0 or grey JPEG of quality 1 to 100 with libjpeg-turbo, its
 * Huffman tables optimised: to measure against, and for samples. Not for stored bytes.
 */
enum lethe_err lethe_jpeg_write(const struct lethe_raster *raster, int quality, bool progressive,
                                struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
