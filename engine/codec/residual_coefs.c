/* SPDX-License-Identifier: MIT */
/*
 * Quantised DCT coefficients given xhat: the stream around the bands.
 *
 *   u8      effort   0 fast, 1 strong
 *   varint  rows     MCU rows of a band; at least 1, at most all; unless it is all, a band MUST hold 1024
 * blocks varint  length   for each of the ceil(MCU rows / rows) bands bytes            the bands, in order;
 * nothing follows
 *
 * The shape is not stored: the caller knows it. MCU rows here are the largest ceil(blocks_h / v) of any
 * component; the band from MCU row m to n holds block rows m * v to n * v - 1 of each component, as far as
 * they exist. A band is one range-coder stream (range.h) that MUST end where its length says; what it holds
 * is defined by residual_coefs_band.c. Bands share nothing, so they are coded in any order on any number of
 * threads.
 */
#include "lethe/residual.h"

#include <stdlib.h>

#include "engine/codec/residual_coefs.h"
#include "lethe/mix.h"

#define MIN_BLOCKS 1024u
#define FIRST_BLOCKS 12288u /* half a megapixel of 4:2:0: more than the first 64 KiB of most files hold */
#define FIRST_BITS (68u * 1024 * 8) /* enough of a file: these 64 KiB, and a header */
#define VALUE_BITS 5u /* what a coefficient takes in a JPEG, seldom less */
#define BAND_BLOCKS 24576u

struct shape {
    uint32_t mcu_rows;
    uint64_t row_blocks; /* blocks of all components in an MCU row */
};

static bool shape_of(const struct lethe_jpeg *jpeg, const uint8_t *const xhat[4], struct shape *shape)
{
    *shape = (struct shape){0};
    if (jpeg->components < 1 || jpeg->components > 4) {
        return false;
    }
    for (unsigned c = 0; c < jpeg->components; c++) {
        const struct lethe_jpeg_component *k = &jpeg->component[c];
        uint32_t rows;

        if (k->v < 1 || k->v > 4 || k->blocks_w < 1 || k->blocks_h < 1 || k->blocks_w > 1u << 24 ||
            k->blocks_h > 1u << 24 || !k->coefs || !xhat[c]) {
            return false;
        }
        rows = (k->blocks_h + k->v - 1) / k->v;
        shape->mcu_rows = rows > shape->mcu_rows ? rows : shape->mcu_rows;
        shape->row_blocks += (uint64_t)k->v * k->blocks_w;
    }
    return true;
}

struct cuts {
    uint32_t first;
    uint32_t rows; /* 0: one band */
};

static uint32_t at_least_one(uint64_t rows)
{
    return rows ? (uint32_t)rows : 1;
}

/* MCU rows that hold the first 64 KiB of the JPEG, roughly; at most most. */
static uint32_t first_rows(const struct lethe_jpeg *jpeg, uint32_t most)
{
    uint64_t bits = 0;
    uint32_t row = 0;

    while (row < most && bits < FIRST_BITS) {
        for (unsigned c = 0; c < jpeg->components; c++) {
            const struct lethe_jpeg_component *k = &jpeg->component[c];
            size_t width = (size_t)k->blocks_w * 64, from = (size_t)row * k->v, to = from + k->v;

            from = from < k->blocks_h ? from : k->blocks_h;
            to = to < k->blocks_h ? to : k->blocks_h;
            for (size_t i = from * width; i < to * width; i++) {
                bits += k->coefs[i] ? VALUE_BITS : 0;
            }
        }
        row++;
    }
    return row;
}

/* A first band of its size and equal ones of about theirs; one alone when that would leave a scrap. */
static struct cuts choose_cuts(const struct lethe_jpeg *jpeg, const struct shape *shape)
{
    uint32_t least = at_least_one((MIN_BLOCKS + shape->row_blocks - 1) / shape->row_blocks);
    uint32_t first = at_least_one(FIRST_BLOCKS / shape->row_blocks);
    uint32_t rows = at_least_one(BAND_BLOCKS / shape->row_blocks);
    uint32_t left, bands;

    first = first_rows(jpeg, first);
    first = first < least ? least : first;
    if (shape->mcu_rows < first + first / 2 + least) {
        return (struct cuts){shape->mcu_rows, 0};
    }
    left = shape->mcu_rows - first;
    bands = at_least_one((left + (uint64_t)rows / 2) / rows);
    rows = (left + bands - 1) / bands;
    return (struct cuts){first, rows < least ? least : rows};
}

static bool cuts_are_good(const struct shape *shape, uint64_t first, uint64_t rows)
{
    if (first == shape->mcu_rows) {
        return rows == 0;
    }
    return first >= 1 && rows >= 1 && first < shape->mcu_rows && rows <= shape->mcu_rows &&
           first * shape->row_blocks >= MIN_BLOCKS && rows * shape->row_blocks >= MIN_BLOCKS;
}

static void encode_band(void *context, size_t index)
{
    struct lethe_coefs_band *bands = context;

    lethe_coefs_band_encode(&bands[index]);
}

static void decode_band(void *context, size_t index)
{
    struct lethe_coefs_band *bands = context;

    lethe_coefs_band_decode(&bands[index]);
}

/* The bands of a picture, to be freed with free(). */
static struct lethe_coefs_band *make_bands(const struct lethe_jpeg *jpeg, const uint8_t *const xhat[4],
                                           const struct shape *shape, bool strong, struct cuts cuts,
                                           size_t *count)
{
    size_t n = cuts.rows ? 1 + ((size_t)shape->mcu_rows - cuts.first + cuts.rows - 1) / cuts.rows : 1;
    struct lethe_coefs_band *bands = calloc(n, sizeof *bands);

    *count = n;
    for (size_t i = 0; bands && i < n; i++) {
        bands[i] = (struct lethe_coefs_band){.jpeg = jpeg, .xhat = xhat, .strong = strong};
        for (unsigned c = 0; c < jpeg->components; c++) {
            const struct lethe_jpeg_component *k = &jpeg->component[c];
            uint64_t end = (cuts.first + (uint64_t)i * cuts.rows) * k->v;

            bands[i].first[c] = i > 0 ? bands[i - 1].end[c] : 0;
            bands[i].end[c] = end < k->blocks_h ? (uint32_t)end : k->blocks_h;
        }
    }
    return bands;
}

enum lethe_err lethe_residual_coefs_encode(const struct lethe_jpeg *jpeg, const uint8_t *const xhat[4],
                                           enum lethe_effort effort, struct lethe_pool *pool,
                                           struct lethe_buf *out)
{
    struct lethe_coefs_band *bands;
    struct shape shape;
    enum lethe_err err = LETHE_OK;
    bool strong = effort == LETHE_EFFORT_STRONG;
    struct cuts cuts;
    size_t count;

    if (!shape_of(jpeg, xhat, &shape)) {
        return LETHE_ERR_ARG;
    }
    lethe_mix_prepare();
    cuts = choose_cuts(jpeg, &shape);
    bands = make_bands(jpeg, xhat, &shape, strong, cuts, &count);
    if (!bands) {
        return LETHE_ERR_NOMEM;
    }
    lethe_pool_run(pool, count, encode_band, bands);
    lethe_buf_put_u8(out, strong);
    lethe_buf_put_varint(out, cuts.first);
    lethe_buf_put_varint(out, cuts.rows);
    for (size_t i = 0; i < count; i++) {
        err = err ? err : bands[i].err;
        lethe_buf_put_varint(out, bands[i].out.len);
    }
    for (size_t i = 0; i < count; i++) {
        lethe_buf_put(out, bands[i].out.data, bands[i].out.len);
        lethe_buf_release(&bands[i].out);
    }
    free(bands);
    return err ? err : lethe_buf_status(out);
}

struct lethe_coefs_decoder {
    struct lethe_coefs_band *bands;
    size_t count;
    struct cuts cuts;
    const uint8_t *xhat[4];
};

enum lethe_err lethe_coefs_decoder_new(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                       struct lethe_jpeg *jpeg, struct lethe_coefs_decoder **out)
{
    struct lethe_coefs_decoder *decoder;
    struct lethe_reader reader;
    struct shape shape;
    enum lethe_err err;
    uint64_t first, rows;
    uint8_t effort;

    *out = NULL;
    if (!shape_of(jpeg, xhat, &shape)) {
        return LETHE_ERR_ARG;
    }
    lethe_reader_init(&reader, bytes, len);
    effort = lethe_read_u8(&reader);
    first = lethe_read_varint(&reader);
    rows = lethe_read_varint(&reader);
    if (reader.bad || effort > 1 || !cuts_are_good(&shape, first, rows)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_mix_prepare();
    decoder = calloc(1, sizeof *decoder);
    if (!decoder) {
        return LETHE_ERR_NOMEM;
    }
    decoder->cuts = (struct cuts){(uint32_t)first, (uint32_t)rows};
    for (unsigned c = 0; c < jpeg->components; c++) {
        decoder->xhat[c] = xhat[c];
    }
    decoder->bands = make_bands(jpeg, decoder->xhat, &shape, effort, decoder->cuts, &decoder->count);
    if (!decoder->bands) {
        free(decoder);
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < decoder->count; i++) {
        uint64_t n = lethe_read_varint(&reader);

        decoder->bands[i].len = n > lethe_reader_left(&reader) ? 0 : (size_t)n;
        reader.bad |= n > lethe_reader_left(&reader);
    }
    for (size_t i = 0; i < decoder->count; i++) {
        decoder->bands[i].bytes = lethe_read_view(&reader, decoder->bands[i].len);
    }
    err = lethe_reader_status(&reader, true);
    if (err) {
        lethe_coefs_decoder_free(decoder);
        return err;
    }
    *out = decoder;
    return LETHE_OK;
}

void lethe_coefs_decoder_free(struct lethe_coefs_decoder *decoder)
{
    if (decoder) {
        free(decoder->bands);
        free(decoder);
    }
}

size_t lethe_coefs_decoder_bands(const struct lethe_coefs_decoder *decoder)
{
    return decoder->count;
}

uint32_t lethe_coefs_decoder_rows(const struct lethe_coefs_decoder *decoder, size_t bands)
{
    if (bands == decoder->count) {
        return UINT32_MAX;
    }
    return bands ? decoder->cuts.first + (uint32_t)(bands - 1) * decoder->cuts.rows : 0;
}

enum lethe_err lethe_coefs_decoder_run(struct lethe_coefs_decoder *decoder, size_t from, size_t to,
                                       struct lethe_pool *pool)
{
    enum lethe_err err = LETHE_OK;

    lethe_pool_run(pool, to - from, decode_band, decoder->bands + from);
    for (size_t i = from; i < to; i++) {
        err = err ? err : decoder->bands[i].err;
    }
    return err;
}

enum lethe_err lethe_residual_coefs_decode(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                           struct lethe_pool *pool, struct lethe_jpeg *jpeg)
{
    struct lethe_coefs_decoder *decoder;
    enum lethe_err err = lethe_coefs_decoder_new(bytes, len, xhat, jpeg, &decoder);

    if (!err) {
        err = lethe_coefs_decoder_run(decoder, 0, decoder->count, pool);
        lethe_coefs_decoder_free(decoder);
    }
    return err;
}
