/* SPDX-License-Identifier: MIT */
/*
 * Samples given xhat: the stream around the bands.
 *
 *   u8      effort   0 fast, 1 strong
 *   u8      colour   0 channels as they are, 1 YCoCg-R on the first three (MUST be 0 with fewer than 3
 * channels) varint  rows     rows of a band; MUST be at least 64 or the height, and at most the height varint
 * length   for each of the ceil(height / rows) bands bytes            the bands, in order; nothing follows
 *
 * Width, height, channels and depth are not stored: the caller knows them. What a band holds is defined by
 * residual_samples_band.c (strong) and residual_samples_fast_body.h (fast, at most 2^17 samples wide).
 * Bands share nothing, so they are coded in any order on any number of threads, to the same bytes.
 */
#include "lethe/residual.h"

#include <stdlib.h>

#include "engine/codec/residual_samples.h"
#include "engine/codec/residual_samples_fast.h"
#include "lethe/cpu.h"
#include "lethe/mix.h"

#define MIN_ROWS 64u
#define FAST_WIDTH (1u << 17) /* a wider picture is coded in the strong mode, whose memory does not grow with bands */
#define BAND_PIXELS_FAST (1u << 18)
#define BAND_PIXELS_STRONG (1u << 19)

static bool shape_is_good(const struct lethe_raster *raster, const uint8_t *const xhat[4])
{
    if (raster->width == 0 || raster->height == 0 || raster->width > 1u << 26 || raster->channels < 1 ||
        raster->channels > 4 || (raster->depth != 8 && raster->depth != 16)) {
        return false;
    }
    for (unsigned c = 0; c < raster->channels; c++) {
        if (!raster->planes[c] || !xhat[c]) {
            return false;
        }
    }
    return true;
}

/* Rows of a band: enough pixels to learn from, and bands of equal height. */
static uint32_t rows_of_band(const struct lethe_raster *raster, bool strong)
{
    uint32_t pixels = strong ? BAND_PIXELS_STRONG : BAND_PIXELS_FAST;
    uint64_t rows = (pixels + raster->width - 1) / raster->width;
    uint64_t bands;

    rows = rows < MIN_ROWS ? MIN_ROWS : rows;
    bands = (raster->height + rows / 2) / rows;
    bands = bands ? bands : 1;
    rows = (raster->height + bands - 1) / bands;
    rows = rows < MIN_ROWS ? MIN_ROWS : rows;
    return rows > raster->height ? raster->height : (uint32_t)rows;
}

/* log2 of the magnitude of a gradient prediction's error, the price of a sample, roughly. */
static unsigned price(int32_t w, int32_t n, int32_t nw, int32_t x)
{
    int32_t low = w < n ? w : n, high = w < n ? n : w, p = w + n - nw;

    p = p < low ? low : p > high ? high : p;
    p = x > p ? x - p : p - x;
    return p ? 2 * (32 - (unsigned)__builtin_clz((uint32_t)p)) + 1 : 1;
}

/* The colours in which a sparse set of rows is cheaper. */
static enum lethe_residual_colour choose_colour(const struct lethe_raster *raster)
{
    uint16_t *const *p = raster->planes;
    uint64_t plain = 0, ycocg = 0;

    if (raster->channels < 3) {
        return LETHE_COLOUR_NONE;
    }
    for (uint32_t y = 1; y < raster->height; y += 5) {
        for (uint32_t x = 1; x < raster->width; x += 2) {
            size_t at[4] = {(size_t)y * raster->width + x - 1, (size_t)(y - 1) * raster->width + x,
                            (size_t)(y - 1) * raster->width + x - 1, (size_t)y * raster->width + x};
            int32_t v[4][3];

            for (unsigned c = 0; c < 3; c++) {
                plain += price(p[c][at[0]], p[c][at[1]], p[c][at[2]], p[c][at[3]]);
            }
            for (unsigned i = 0; i < 4; i++) {
                lethe_ycocg_forward(p[0][at[i]], p[1][at[i]], p[2][at[i]], &v[i][0], &v[i][1], &v[i][2]);
            }
            for (unsigned c = 0; c < 3; c++) {
                ycocg += price(v[0][c], v[1][c], v[2][c], v[3][c]);
            }
        }
    }
    return plain < ycocg ? LETHE_COLOUR_NONE : LETHE_COLOUR_YCOCG;
}

static void encode_band(void *context, size_t index)
{
    struct lethe_samples_band *bands = context;

    if (bands[index].strong) {
        lethe_samples_band_encode(&bands[index]);
    } else if (bands[index].raster->depth == 16) {
        lethe_fast16_encode(&bands[index]);
#if defined(__x86_64__)
    } else if (lethe_cpu()->avx2) {
        lethe_fast8_avx2_encode(&bands[index]);
#endif
    } else {
        lethe_fast8_encode(&bands[index]);
    }
}

static void decode_band(void *context, size_t index)
{
    struct lethe_samples_band *bands = context;

    if (bands[index].strong) {
        lethe_samples_band_decode(&bands[index]);
        if (!bands[index].err && bands[index].told) {
            bands[index].told->told(bands[index].told->context, bands[index].first_row, bands[index].rows);
        }
    } else if (bands[index].raster->depth == 16) {
        lethe_fast16_decode(&bands[index]);
#if defined(__x86_64__)
    } else if (lethe_cpu()->avx2) {
        lethe_fast8_avx2_decode(&bands[index]);
#endif
    } else {
        lethe_fast8_decode(&bands[index]);
    }
}

/* The bands of a picture, to be freed with free(). */
static struct lethe_samples_band *make_bands(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                             bool strong, enum lethe_residual_colour colour, uint32_t rows,
                                             size_t *count)
{
    size_t n = ((size_t)raster->height + rows - 1) / rows;
    struct lethe_samples_band *bands = calloc(n, sizeof *bands);

    *count = n;
    for (size_t i = 0; bands && i < n; i++) {
        uint32_t first = (uint32_t)(i * rows);

        bands[i] = (struct lethe_samples_band){
            .raster = raster,
            .xhat = xhat,
            .colour = colour,
            .strong = strong,
            .first_row = first,
            .rows = rows < raster->height - first ? rows : raster->height - first,
        };
    }
    return bands;
}

enum lethe_err lethe_residual_samples_encode(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                             enum lethe_effort effort, struct lethe_pool *pool,
                                             struct lethe_buf *out)
{
    struct lethe_samples_band *bands;
    enum lethe_residual_colour colour;
    enum lethe_err err = LETHE_OK;
    bool strong = effort == LETHE_EFFORT_STRONG || raster->width > FAST_WIDTH;
    uint32_t rows;
    size_t count;

    if (!shape_is_good(raster, xhat)) {
        return LETHE_ERR_ARG;
    }
    lethe_mix_prepare();
    colour = choose_colour(raster);
    rows = rows_of_band(raster, strong);
    bands = make_bands(raster, xhat, strong, colour, rows, &count);
    if (!bands) {
        return LETHE_ERR_NOMEM;
    }
    lethe_pool_run(pool, count, encode_band, bands);
    lethe_buf_put_u8(out, strong);
    lethe_buf_put_u8(out, (uint8_t)colour);
    lethe_buf_put_varint(out, rows);
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

enum lethe_err lethe_residual_samples_decode(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                             struct lethe_pool *pool, struct lethe_raster *raster)
{
    return lethe_residual_samples_decode_told(bytes, len, xhat, pool, NULL, raster);
}

enum lethe_err lethe_residual_samples_decode_told(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                                  struct lethe_pool *pool, const struct lethe_rows_told *told,
                                                  struct lethe_raster *raster)
{
    struct lethe_samples_band *bands;
    struct lethe_reader reader;
    enum lethe_err err;
    uint64_t rows;
    uint8_t effort, colour;
    size_t count;

    if (!shape_is_good(raster, xhat)) {
        return LETHE_ERR_ARG;
    }
    lethe_reader_init(&reader, bytes, len);
    effort = lethe_read_u8(&reader);
    colour = lethe_read_u8(&reader);
    rows = lethe_read_varint(&reader);
    if (reader.bad || effort > 1 || (effort == 0 && raster->width > FAST_WIDTH) || colour >= LETHE_COLOUR_COUNT || (colour && raster->channels < 3) ||
        rows > raster->height || (rows < MIN_ROWS && rows != raster->height)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_mix_prepare();
    bands = make_bands(raster, xhat, effort, (enum lethe_residual_colour)colour, (uint32_t)rows, &count);
    if (!bands) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t n = lethe_read_varint(&reader);

        bands[i].len = n > lethe_reader_left(&reader) ? 0 : (size_t)n;
        reader.bad |= n > lethe_reader_left(&reader);
    }
    for (size_t i = 0; i < count; i++) {
        bands[i].bytes = lethe_read_view(&reader, bands[i].len);
        bands[i].told = told;
    }
    err = lethe_reader_status(&reader, true);
    if (!err) {
        lethe_pool_run(pool, count, decode_band, bands);
    }
    for (size_t i = 0; i < count; i++) {
        err = err ? err : bands[i].err;
    }
    free(bands);
    return err;
}
