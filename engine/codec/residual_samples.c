/* SPDX-License-Identifier: MIT */
/*
 * Samples given xhat: the stream around the bands.
 *
 *   u8      kind     0 fast, 1 strong, 2 screen; + 4 when all samples of 16 bits are 257 times, + 8 when they are 256
 *                    times those of 8 bits, which are coded
 *   u8      colour   0 channels as they are, 1 YCoCg-R on the first three (MUST be 0 with fewer than 3
 * channels) varint  rows     rows of a band; MUST be at least 64 or the height, and at most the height varint
 * length   for each of the ceil(height / rows) bands bytes            the bands, in order; nothing follows
 *
 * Width, height, channels and depth are not stored: the caller knows them. What a band holds is defined by
 * residual_samples_band.c (strong), residual_samples_fast_body.h (fast, at most 2^17 samples wide) and
 * residual_samples_screen.c (screen, whose colour MUST be 0).
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
#define BAND_PIXELS_SCREEN (1u << 20) /* what was drawn repeats itself over long ways */

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
static uint32_t rows_of_band(const struct lethe_raster *raster, enum lethe_samples_kind kind)
{
    static const uint32_t most[LETHE_SAMPLES_KINDS] = {BAND_PIXELS_FAST, BAND_PIXELS_STRONG, BAND_PIXELS_SCREEN};
    uint32_t pixels = most[kind];
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

#define WIDENING_SHIFT 2 /* in the byte of the kind */
static const uint16_t widened[3] = {1, 257, 256};

/* The samples of 8 bits for which those of raster stand; narrow is initialised when this gives a widening. */
static enum lethe_err narrowed(const struct lethe_raster *raster, struct lethe_raster *narrow, unsigned *widening)
{
    size_t pixels = (size_t)raster->width * raster->height;
    bool twice = raster->depth == 16, high = twice; /* both bytes are the same; the lower one is 0 */
    enum lethe_err err;

    *widening = 0;
    for (unsigned c = 0; c < raster->channels && (twice || high); c++) {
        for (size_t i = 0; i < pixels && (twice || high); i++) {
            uint16_t v = raster->planes[c][i];

            twice = twice && v >> 8 == (v & 255);
            high = high && (v & 255) == 0;
        }
    }
    if (!twice && !high) {
        return LETHE_OK;
    }
    err = lethe_raster_init(narrow, raster->width, raster->height, raster->channels, 8);
    for (unsigned c = 0; c < raster->channels && !err; c++) {
        for (size_t i = 0; i < pixels; i++) {
            narrow->planes[c][i] = raster->planes[c][i] >> 8;
        }
    }
    *widening = twice ? 1 : 2;
    return err;
}

static void widen(const struct lethe_samples_band *band)
{
    size_t from = (size_t)band->first_row * band->raster->width, count = (size_t)band->rows * band->raster->width;

    for (unsigned c = 0; c < band->raster->channels; c++) {
        uint16_t *samples = band->raster->planes[c] + from;

        for (size_t i = 0; i < count; i++) {
            samples[i] = (uint16_t)(samples[i] * widened[band->widening]);
        }
    }
}

static void encode_band(void *context, size_t index)
{
    struct lethe_samples_band *bands = context;

    if (bands[index].kind == LETHE_SAMPLES_SCREEN) {
        lethe_screen_band_encode(&bands[index]);
    } else if (bands[index].kind == LETHE_SAMPLES_STRONG) {
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

static void decode_samples(struct lethe_samples_band *band)
{
    if (band->kind == LETHE_SAMPLES_SCREEN) {
        lethe_screen_band_decode(band);
    } else if (band->kind == LETHE_SAMPLES_STRONG) {
        lethe_samples_band_decode(band);
    } else if (band->raster->depth == 16) {
        lethe_fast16_decode(band);
#if defined(__x86_64__)
    } else if (lethe_cpu()->avx2) {
        lethe_fast8_avx2_decode(band);
#endif
    } else {
        lethe_fast8_decode(band);
    }
}

static void decode_band(void *context, size_t index)
{
    struct lethe_samples_band *band = (struct lethe_samples_band *)context + index;
    const struct lethe_rows_told *told = band->told;
    bool tells = band->kind == LETHE_SAMPLES_FAST && !band->widening; /* fast bands tell of every row themselves */

    band->told = tells ? told : NULL;
    decode_samples(band);
    if (!band->err && band->widening) {
        widen(band);
    }
    if (!band->err && told && !tells) {
        told->told(told->context, band->first_row, band->rows);
    }
}

/* The bands of a picture, to be freed with free(). */
static struct lethe_samples_band *make_bands(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                             enum lethe_samples_kind kind, enum lethe_residual_colour colour,
                                             uint32_t rows, size_t *count)
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
            .kind = kind,
            .first_row = first,
            .rows = rows < raster->height - first ? rows : raster->height - first,
        };
    }
    return bands;
}

#define COLOURS 256u /* of a palette */
#define COLOUR_SLOTS 1024u

/* Whether the picture has at most as many colours as a palette. */
static bool has_few_colours(const struct lethe_raster *raster)
{
    size_t pixels = (size_t)raster->width * raster->height;
    uint64_t seen[COLOUR_SLOTS], last = UINT64_MAX;
    bool taken[COLOUR_SLOTS] = {false};
    unsigned count = 0;

    for (size_t i = 0; i < pixels && count <= COLOURS; i++) {
        uint64_t colour = 0;
        unsigned slot;

        for (unsigned c = 0; c < raster->channels; c++) {
            colour |= (uint64_t)raster->planes[c][i] << 16 * c;
        }
        if (colour == last && count > 0) {
            continue;
        }
        last = colour;
        slot = (unsigned)(colour * 0x9e3779b97f4a7c15u >> 54);
        while (taken[slot] && seen[slot] != colour) {
            slot = (slot + 1) % COLOUR_SLOTS;
        }
        count += !taken[slot];
        taken[slot] = true;
        seen[slot] = colour;
    }
    return count <= COLOURS;
}

bool lethe_residual_samples_drawn(const struct lethe_raster *raster)
{
    uint64_t repeats = 0, pixels = 0;
    unsigned step = raster->height / 256 + 1;

    for (uint32_t y = 1; y < raster->height; y += step) {
        for (uint32_t x = 1; x < raster->width; x++) {
            size_t at = (size_t)y * raster->width + x;
            bool west = true, north = true;

            for (unsigned c = 0; c < raster->channels; c++) {
                const uint16_t *p = raster->planes[c] + at;

                west = west && p[0] == p[-1];
                north = north && p[0] == p[-(ptrdiff_t)raster->width];
            }
            repeats += west || north;
            pixels++;
        }
    }
    return repeats * 2 > pixels || (raster->channels > 2 && has_few_colours(raster));
}

/* A picture all of one kind, appended to out. */
static enum lethe_err encode_as(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                enum lethe_samples_kind kind, struct lethe_pool *pool, struct lethe_buf *out)
{
    enum lethe_residual_colour colour = kind == LETHE_SAMPLES_SCREEN ? LETHE_COLOUR_NONE : choose_colour(raster);
    uint32_t rows = rows_of_band(raster, kind);
    enum lethe_err err = LETHE_OK;
    size_t count;
    struct lethe_samples_band *bands = make_bands(raster, xhat, kind, colour, rows, &count);

    if (!bands) {
        return LETHE_ERR_NOMEM;
    }
    lethe_pool_run(pool, count, encode_band, bands);
    lethe_buf_put_u8(out, (uint8_t)kind);
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

static enum lethe_err encode_smallest(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                      enum lethe_effort effort, struct lethe_pool *pool, struct lethe_buf *out)
{
    bool strong = effort == LETHE_EFFORT_STRONG || raster->width > FAST_WIDTH;
    struct lethe_buf screen = {0}, other = {0}, *smaller;
    enum lethe_samples_kind kind;
    enum lethe_err err;

    kind = strong ? LETHE_SAMPLES_STRONG : LETHE_SAMPLES_FAST;
    if (!lethe_residual_samples_drawn(raster)) {
        return encode_as(raster, xhat, kind, pool, out);
    }
    err = encode_as(raster, xhat, LETHE_SAMPLES_SCREEN, pool, &screen);
    if (!err) { /* slopes and shades may still be better told by samples */
        err = encode_as(raster, xhat, kind, pool, &other);
    }
    smaller = other.len < screen.len ? &other : &screen;
    if (!err) {
        lethe_buf_put(out, smaller->data, smaller->len);
        err = lethe_buf_status(out);
    }
    lethe_buf_release(&screen);
    lethe_buf_release(&other);
    return err;
}

enum lethe_err lethe_residual_samples_encode(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                             enum lethe_effort effort, struct lethe_pool *pool,
                                             struct lethe_buf *out)
{
    struct lethe_raster narrow = {0};
    size_t start = out->len;
    unsigned widening;
    enum lethe_err err;

    if (!shape_is_good(raster, xhat)) {
        return LETHE_ERR_ARG;
    }
    lethe_mix_prepare();
    err = narrowed(raster, &narrow, &widening);
    err = err ? err : encode_smallest(widening ? &narrow : raster, xhat, effort, pool, out);
    if (!err) {
        out->data[start] |= (uint8_t)(widening << WIDENING_SHIFT);
    }
    lethe_raster_release(&narrow);
    return err;
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
    struct lethe_raster coded = *raster; /* of 8 bits where these are widened; its planes are the raster's */
    struct lethe_samples_band *bands;
    struct lethe_reader reader;
    enum lethe_err err;
    uint64_t rows;
    uint8_t kind, colour, widening;
    size_t count;

    if (!shape_is_good(raster, xhat)) {
        return LETHE_ERR_ARG;
    }
    lethe_reader_init(&reader, bytes, len);
    kind = lethe_read_u8(&reader);
    colour = lethe_read_u8(&reader);
    rows = lethe_read_varint(&reader);
    widening = kind >> WIDENING_SHIFT;
    kind &= (1u << WIDENING_SHIFT) - 1;
    if (reader.bad || widening > (raster->depth == 16 ? 2 : 0) || kind >= LETHE_SAMPLES_KINDS || (kind == LETHE_SAMPLES_FAST && raster->width > FAST_WIDTH) ||
        colour >= LETHE_COLOUR_COUNT || (colour && (raster->channels < 3 || kind == LETHE_SAMPLES_SCREEN)) ||
        rows > raster->height || (rows < MIN_ROWS && rows != raster->height)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_mix_prepare();
    coded.depth = widening ? 8 : raster->depth;
    bands = make_bands(&coded, xhat, (enum lethe_samples_kind)kind, (enum lethe_residual_colour)colour, (uint32_t)rows, &count);
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
        bands[i].widening = widening;
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
