/* SPDX-License-Identifier: MIT */
/*
 * Entropy coding of latents.
 *
 *   varint    width, height of the picture in pixels
 *   u8        rate
 *   varint    length of each band, in the order of the bands
 *   bytes     the bands
 *
 * A band is a run of block rows, as many as make 16384 blocks (see band_rows), and is coded alone: contexts
 * do not reach over its edges. It begins with 8 bytes, little-endian: bit k is set when latent k is coded as
 * its difference from a prediction out of the blocks to the left and above. The rest is one range coder
 * stream: for each block in rows the number of groups of eight latents up to the last that is not zero, then
 * for each latent of these groups whether it is zero, its sign and its magnitude. Binary decisions are mixed
 * from several contexts (lethe/mix.h); all in integers.
 */
#include "lethe/model.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/mix.h"
#include "lethe/range.h"

#define BAND_BLOCKS 16384
#define GROUPS 8
#define MODELS 6
#define RUNS 18 /* magnitudes from 1 to RUNS are coded in unary, larger ones with an escape */
#define COIN_LIMIT 160
#define MIX_STEP 40

struct mixed {
    int32_t weights[MODELS];
};

/* The adaptive state of one band. */
struct models {
    struct lethe_coin groups[9][9][16]; /* by groups to the left and above; a tree of 9 leaves */
    struct lethe_coin zero_near[LETHE_LATENTS][12];
    struct lethe_coin zero_four[LETHE_LATENTS][81];
    struct lethe_coin zero_inside[LETHE_LATENTS][8];
    struct lethe_coin zero_shared[12][8][GROUPS];
    struct lethe_coin zero_groups[LETHE_LATENTS][GROUPS][3];
    struct lethe_coin zero_wide[LETHE_LATENTS][12];
    struct mixed zero_mix[LETHE_LATENTS];
    struct lethe_coin sign[LETHE_LATENTS][9];
    struct lethe_coin more[12][RUNS][12]; /* by magnitudes near, count, magnitudes inside */
    struct lethe_coin more_k[LETHE_LATENTS][RUNS];
    struct lethe_coin more_near[LETHE_LATENTS][12][3];
    struct mixed more_mix[RUNS];
    struct lethe_number escape;
};

/* What codes: an encoder, or a decoder when that is NULL. */
struct coder {
    struct lethe_range_encoder *encoder;
    struct lethe_range_decoder *decoder;
};

static void models_init(struct models *m)
{
    lethe_coins_init(&m->groups[0][0][0], sizeof m->groups / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_near[0][0], sizeof m->zero_near / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_four[0][0], sizeof m->zero_four / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_inside[0][0], sizeof m->zero_inside / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_shared[0][0][0], sizeof m->zero_shared / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_groups[0][0][0], sizeof m->zero_groups / sizeof(struct lethe_coin));
    lethe_coins_init(&m->zero_wide[0][0], sizeof m->zero_wide / sizeof(struct lethe_coin));
    lethe_coins_init(&m->sign[0][0], sizeof m->sign / sizeof(struct lethe_coin));
    lethe_coins_init(&m->more[0][0][0], sizeof m->more / sizeof(struct lethe_coin));
    lethe_coins_init(&m->more_k[0][0], sizeof m->more_k / sizeof(struct lethe_coin));
    lethe_coins_init(&m->more_near[0][0][0], sizeof m->more_near / sizeof(struct lethe_coin));
    for (size_t k = 0; k < LETHE_LATENTS; k++) {
        for (size_t i = 0; i < MODELS; i++) {
            m->zero_mix[k].weights[i] = 65536 * 3 / 10;
        }
    }
    for (size_t n = 0; n < RUNS; n++) {
        for (size_t i = 0; i < MODELS; i++) {
            m->more_mix[n].weights[i] = 65536 * 4 / 10;
        }
    }
    lethe_number_init(&m->escape);
}

static unsigned code(const struct coder *coder, uint32_t p1, unsigned value)
{
    p1 = p1 < 32 ? 32 : p1 > 65504 ? 65504 : p1;
    if (coder->encoder) {
        lethe_range_encode(coder->encoder, p1, value);
        return value;
    }
    return lethe_range_decode(coder->decoder, p1);
}

static unsigned code_coin(const struct coder *coder, struct lethe_coin *coin, unsigned value)
{
    value = code(coder, lethe_coin_p1(coin), value);
    lethe_coin_update(coin, value, COIN_LIMIT);
    return value;
}

static unsigned code_mixed(const struct coder *coder, struct mixed *mixed, struct lethe_coin *const *coins,
                           unsigned count, unsigned value)
{
    int32_t logits[MODELS];
    uint32_t p1;

    for (unsigned i = 0; i < count; i++) {
        logits[i] = lethe_logit(lethe_coin_p1(coins[i]));
    }
    p1 = lethe_chance(lethe_mix_dot(mixed->weights, logits, count));
    value = code(coder, p1, value);
    lethe_mix_learn(mixed->weights, logits, count, (int32_t)(value << 16) - (int32_t)p1, MIX_STEP);
    for (unsigned i = 0; i < count; i++) {
        lethe_coin_update(coins[i], value, COIN_LIMIT);
    }
    return value;
}

/* One of 12 classes of a sum of magnitudes. */
static unsigned class_of(unsigned sum)
{
    static const uint8_t classes[] = {0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8};

    return sum < sizeof classes ? classes[sum] : sum < 40 ? 9 : sum < 90 ? 10 : 11;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* A band while it is coded: what is coded (latents, or differences) as int16, with a frame of zeros. */
struct band {
    uint32_t columns;
    uint32_t rows;
    size_t row;      /* cells in a row of the frame: columns + 4 */
    int16_t *values; /* (rows + 2) * row cells of LETHE_LATENTS */
    uint8_t *groups; /* the same cells */
};

static enum lethe_err band_init(struct band *band, uint32_t columns, uint32_t rows)
{
    size_t cells;

    *band = (struct band){.columns = columns, .rows = rows, .row = (size_t)columns + 4};
    if (!lethe_mul_size(band->row, (size_t)rows + 2, &cells)) {
        return LETHE_ERR_ARG;
    }
    band->values = calloc(cells, LETHE_LATENTS * sizeof *band->values);
    band->groups = calloc(cells, 1);
    return band->values && band->groups ? LETHE_OK : LETHE_ERR_NOMEM;
}

static void band_release(struct band *band)
{
    free(band->values);
    free(band->groups);
}

/* The index of a cell in the frame. */
static size_t band_cell(const struct band *band, uint32_t x, uint32_t y)
{
    return ((size_t)y + 2) * band->row + x + 2;
}

static unsigned magnitude(int value)
{
    return (unsigned)(value < 0 ? -value : value);
}

/* 0, 1, 2 for zero, positive, negative. */
static unsigned sign_class(int value)
{
    return value == 0 ? 0 : value > 0 ? 1 : 2;
}

static int code_magnitude(const struct coder *coder, struct models *m, size_t k, unsigned near, unsigned wide,
                          unsigned inside, unsigned value)
{
    for (unsigned n = 1; n <= RUNS; n++) {
        struct lethe_coin *coins[] = {
            &m->more[class_of(near)][n - 1][class_of(inside)],
            &m->more_k[k][n - 1],
            &m->more_near[k][class_of(wide)][least(n - 1, 2)],
        };

        if (!code_mixed(coder, &m->more_mix[n - 1], coins, 3, value > n)) {
            return (int)n;
        }
    }
    if (coder->encoder) {
        lethe_range_encode_number(coder->encoder, &m->escape, value - RUNS - 1);
        return (int)value;
    }
    value = lethe_range_decode_number(coder->decoder, &m->escape);
    return value > 2 * LETHE_LATENT_MAX ? INT16_MAX : (int)(value + RUNS + 1);
}

/* Codes (or decodes into) the values of one cell. False when the decoded numbers cannot be. */
static bool code_cell(const struct coder *coder, struct models *m, struct band *band, size_t cell)
{
    const int16_t *left = band->values + (cell - 1) * LETHE_LATENTS;
    const int16_t *left2 = band->values + (cell - 2) * LETHE_LATENTS;
    const int16_t *top = band->values + (cell - band->row) * LETHE_LATENTS;
    const int16_t *top_left = top - LETHE_LATENTS;
    const int16_t *top_right = top + LETHE_LATENTS;
    const int16_t *top2 = band->values + (cell - 2 * band->row) * LETHE_LATENTS;
    int16_t *values = band->values + cell * LETHE_LATENTS;
    unsigned groups = 0;
    unsigned node = 1;
    unsigned one = 0, two = 0, three = 0; /* magnitudes of the latents just coded */
    struct lethe_coin *tree = m->groups[band->groups[cell - 1]][band->groups[cell - band->row]];

    if (coder->encoder) {
        for (size_t k = 0; k < LETHE_LATENTS; k++) {
            groups = values[k] ? (unsigned)k / 8 + 1 : groups;
        }
    }
    /* 0 to 8: first whether 8, then three bits. */
    if (code_coin(coder, &tree[15], groups == 8)) {
        groups = 8;
    } else {
        for (unsigned i = 0; i < 3; i++) {
            node = node << 1 | code_coin(coder, &tree[node], groups >> (2 - i) & 1);
        }
        groups = node - 8;
    }
    band->groups[cell] = (uint8_t)groups;
    for (size_t k = 0; k < groups * 8; k++) {
        unsigned l = magnitude(left[k]), t = magnitude(top[k]);
        unsigned tl = magnitude(top_left[k]), tr = magnitude(top_right[k]);
        unsigned near = 2 * l + 2 * t + tl + tr;
        unsigned wide = near + magnitude(left2[k]) + magnitude(top2[k]) + least(one, 2);
        unsigned inside = 2 * one + 2 * two + three;
        struct lethe_coin *coins[MODELS] = {
            &m->zero_near[k][class_of(near)],
            &m->zero_four[k][least(l, 2) * 27 + least(t, 2) * 9 + least(tl, 2) * 3 + least(tr, 2)],
            &m->zero_inside[k][least(class_of(inside), 7)],
            &m->zero_shared[class_of(near)][least(class_of(inside), 7)][k / 8],
            &m->zero_groups[k][groups - 1][least(one, 2)],
            &m->zero_wide[k][class_of(wide)],
        };
        int value = 0;

        if (code_mixed(coder, &m->zero_mix[k], coins, MODELS, values[k] != 0)) {
            unsigned negative =
                code_coin(coder, &m->sign[k][sign_class(left[k]) * 3 + sign_class(top[k])], values[k] < 0);

            value = code_magnitude(coder, m, k, near, wide, inside, magnitude(values[k]));
            if (value > 2 * LETHE_LATENT_MAX) {
                return false;
            }
            value = negative ? -value : value;
        }
        values[k] = (int16_t)value;
        three = two;
        two = one;
        one = magnitude(value);
    }
    return true;
}

/*
 * The prediction of a latent from its neighbours within the band: left and above, less what they share, kept
 * between them (the median of the LOCO-I predictor, M. Weinberger, G. Seroussi, G. Sapiro, 2000).
 */
static int predict(const int8_t *values, size_t stride, uint32_t x, uint32_t y)
{
    int left, top, both;

    if (x == 0) {
        return y ? values[-(ptrdiff_t)stride] : 0;
    }
    left = values[-LETHE_LATENTS];
    if (y == 0) {
        return left;
    }
    top = values[-(ptrdiff_t)stride];
    both = left + top - values[-(ptrdiff_t)stride - LETHE_LATENTS];
    if (left > top) {
        return both > left ? left : both < top ? top : both;
    }
    return both > top ? top : both < left ? left : both;
}

/* The latents that are cheaper as differences: those whose magnitudes fall clearly. */
static uint64_t choose_predicted(const struct lethe_latents *latents, uint32_t first, uint32_t rows)
{
    size_t stride = (size_t)latents->blocks_w * LETHE_LATENTS;
    uint64_t plain[LETHE_LATENTS] = {0}, differences[LETHE_LATENTS] = {0}, mask = 0;

    for (uint32_t y = 0; y < rows; y++) {
        const int8_t *values = latents->values + (first + y) * stride;

        for (uint32_t x = 0; x < latents->blocks_w; x++) {
            for (size_t k = 0; k < LETHE_LATENTS; k++, values++) {
                plain[k] += magnitude(*values);
                differences[k] += magnitude(*values - predict(values, stride, x, y));
            }
        }
    }
    for (size_t k = 0; k < LETHE_LATENTS; k++) {
        mask |= (uint64_t)(differences[k] * 10 < plain[k] * 9) << k;
    }
    return mask;
}

static uint32_t band_rows(uint32_t blocks_w)
{
    return 1 + (BAND_BLOCKS - 1) / blocks_w;
}

struct run {
    const struct lethe_latents *latents; /* decode: values are written */
    uint32_t rows;
    struct lethe_buf *outs;      /* encode: one for each band */
    size_t first;                /* decode: the band of index 0 */
    const uint8_t *const *views;
    const size_t *lens;
    uint32_t most;               /* decode: rows of a band, beyond which nobody looks; 0: all */
    atomic_int err;
};

static void encode_band(void *context, size_t index)
{
    struct run *run = context;
    const struct lethe_latents *latents = run->latents;
    uint32_t first = (uint32_t)index * run->rows;
    uint32_t rows = least(run->rows, latents->blocks_h - first);
    size_t stride = (size_t)latents->blocks_w * LETHE_LATENTS;
    uint64_t mask = choose_predicted(latents, first, rows);
    struct models *models = malloc(sizeof *models);
    struct lethe_range_encoder encoder;
    struct coder coder = {.encoder = &encoder};
    struct band band;
    enum lethe_err err = band_init(&band, latents->blocks_w, rows);

    if (err || !models) {
        atomic_store(&run->err, LETHE_ERR_NOMEM);
        goto out;
    }
    for (uint32_t y = 0; y < rows; y++) {
        const int8_t *values = latents->values + (first + y) * stride;

        for (uint32_t x = 0; x < latents->blocks_w; x++) {
            int16_t *to = band.values + band_cell(&band, x, y) * LETHE_LATENTS;

            for (size_t k = 0; k < LETHE_LATENTS; k++, values++) {
                to[k] = (int16_t)(mask >> k & 1 ? *values - predict(values, stride, x, y) : *values);
            }
        }
    }
    models_init(models);
    lethe_buf_put_u64(&run->outs[index], mask);
    lethe_range_encoder_init(&encoder, &run->outs[index]);
    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < latents->blocks_w; x++) {
            (void)code_cell(&coder, models, &band, band_cell(&band, x, y));
        }
    }
    lethe_range_encoder_finish(&encoder);
    err = lethe_buf_status(&run->outs[index]);
    if (err) {
        atomic_store(&run->err, (int)err);
    }
out:
    band_release(&band);
    free(models);
}

static void decode_band(void *context, size_t index)
{
    struct run *run = context;
    const struct lethe_latents *latents = run->latents;
    uint32_t first = (uint32_t)index * run->rows;
    uint32_t rows = least(run->most ? run->most : run->rows, latents->blocks_h - first);
    size_t stride = (size_t)latents->blocks_w * LETHE_LATENTS;
    struct models *models = malloc(sizeof *models);
    struct lethe_range_decoder decoder;
    struct coder coder = {.decoder = &decoder};
    struct band band;
    uint64_t mask;
    enum lethe_err err = band_init(&band, latents->blocks_w, rows);

    if (err || !models) {
        atomic_store(&run->err, LETHE_ERR_NOMEM);
        goto out;
    }
    if (run->lens[index] < 8) {
        atomic_store(&run->err, LETHE_ERR_FORMAT);
        goto out;
    }
    models_init(models);
    mask = lethe_get_u64(run->views[index]);
    lethe_range_decoder_init(&decoder, run->views[index] + 8, run->lens[index] - 8);
    for (uint32_t y = 0; y < rows; y++) {
        int8_t *values = latents->values + (first + y) * stride;

        for (uint32_t x = 0; x < latents->blocks_w; x++) {
            size_t cell = band_cell(&band, x, y);
            const int16_t *from = band.values + cell * LETHE_LATENTS;

            if (!code_cell(&coder, models, &band, cell) || decoder.overrun > 4) {
                atomic_store(&run->err, LETHE_ERR_FORMAT);
                goto out;
            }
            for (size_t k = 0; k < LETHE_LATENTS; k++, values++) {
                int value = from[k] + (mask >> k & 1 ? predict(values, stride, x, y) : 0);

                if (value < -LETHE_LATENT_MAX || value > LETHE_LATENT_MAX) {
                    atomic_store(&run->err, LETHE_ERR_FORMAT);
                    goto out;
                }
                *values = (int8_t)value;
            }
        }
    }
out:
    band_release(&band);
    free(models);
}

enum lethe_err lethe_latents_encode_on(const struct lethe_latents *latents, struct lethe_pool *pool,
                                       struct lethe_buf *out)
{
    struct run run = {.latents = latents, .rows = band_rows(latents->blocks_w)};
    size_t bands = (latents->blocks_h - 1) / run.rows + 1;
    enum lethe_err err;

    lethe_mix_prepare();
    run.outs = calloc(bands, sizeof *run.outs);
    if (!run.outs) {
        return LETHE_ERR_NOMEM;
    }
    lethe_pool_run(pool, bands, encode_band, &run);
    err = (enum lethe_err)atomic_load(&run.err);
    if (!err) {
        lethe_buf_put_varint(out, latents->width);
        lethe_buf_put_varint(out, latents->height);
        lethe_buf_put_u8(out, (uint8_t)latents->rate);
        for (size_t i = 0; i < bands; i++) {
            lethe_buf_put_varint(out, run.outs[i].len);
        }
        for (size_t i = 0; i < bands; i++) {
            lethe_buf_put(out, run.outs[i].data, run.outs[i].len);
        }
        err = lethe_buf_status(out);
    }
    for (size_t i = 0; i < bands; i++) {
        lethe_buf_release(&run.outs[i]);
    }
    free(run.outs);
    return err;
}

/* Where the bands lie; fails before anything as large as the picture is allocated. */
static enum lethe_err read_bands(struct lethe_reader *reader, size_t bands, const uint8_t **views,
                                 size_t *lens)
{
    for (size_t i = 0; i < bands; i++) {
        uint64_t len = lethe_read_varint(reader);

        if (len > lethe_reader_left(reader)) {
            return LETHE_ERR_FORMAT;
        }
        lens[i] = (size_t)len;
    }
    for (size_t i = 0; i < bands; i++) {
        views[i] = lethe_read_view(reader, lens[i]);
    }
    return lethe_reader_status(reader, false);
}

struct lethe_latents_decoder {
    struct lethe_latents latents;
    uint32_t rows; /* block rows of a band */
    size_t bands;
    size_t done;
    const uint8_t **views;
    size_t *lens;
};

enum lethe_err lethe_latents_decoder_new(struct lethe_reader *reader, uint64_t max_pixels,
                                         struct lethe_latents_decoder **out)
{
    uint64_t width = lethe_read_varint(reader);
    uint64_t height = lethe_read_varint(reader);
    unsigned rate = lethe_read_u8(reader);
    struct lethe_latents_decoder *decoder;
    uint32_t rows;
    size_t bands;
    enum lethe_err err;

    *out = NULL;
    err = lethe_reader_status(reader, false);
    if (err) {
        return err;
    }
    if (width == 0 || height == 0 || width > UINT32_MAX - 7 || height > UINT32_MAX - 7 ||
        rate >= LETHE_RATES) {
        return LETHE_ERR_FORMAT;
    }
    if (width > max_pixels / height) {
        return LETHE_ERR_NOMEM;
    }
    rows = band_rows((uint32_t)((width + 7) / 8));
    bands = (size_t)(((height + 7) / 8 - 1) / rows + 1);
    if (bands > lethe_reader_left(reader)) { /* each takes at least a byte for its length */
        return LETHE_ERR_FORMAT;
    }
    lethe_mix_prepare();
    decoder = calloc(1, sizeof *decoder);
    if (!decoder) {
        return LETHE_ERR_NOMEM;
    }
    decoder->rows = rows;
    decoder->bands = bands;
    decoder->views = calloc(bands, sizeof *decoder->views);
    decoder->lens = calloc(bands, sizeof *decoder->lens);
    err = decoder->views && decoder->lens ? read_bands(reader, bands, decoder->views, decoder->lens) : LETHE_ERR_NOMEM;
    if (!err) {
        err = lethe_latents_init(&decoder->latents, (uint32_t)width, (uint32_t)height, rate);
    }
    if (err) {
        lethe_latents_decoder_free(decoder);
        return err;
    }
    *out = decoder;
    return LETHE_OK;
}

void lethe_latents_decoder_free(struct lethe_latents_decoder *decoder)
{
    if (decoder) {
        lethe_latents_release(&decoder->latents);
        free(decoder->views);
        free(decoder->lens);
        free(decoder);
    }
}

const struct lethe_latents *lethe_latents_decoder_latents(const struct lethe_latents_decoder *decoder)
{
    return &decoder->latents;
}

static void decode_later_band(void *context, size_t index)
{
    struct run *run = context;

    decode_band(run, run->first + index);
}

enum lethe_err lethe_latents_decoder_run(struct lethe_latents_decoder *decoder, uint32_t rows, struct lethe_pool *pool)
{
    struct run run = {.latents = &decoder->latents,
                      .rows = decoder->rows,
                      .first = decoder->done,
                      .views = decoder->views,
                      .lens = decoder->lens};
    size_t end = ((size_t)rows + decoder->rows - 1) / decoder->rows;

    end = end < decoder->bands ? end : decoder->bands;
    if (end <= decoder->done) {
        return LETHE_OK;
    }
    lethe_pool_run(pool, end - decoder->done, decode_later_band, &run);
    decoder->done = end;
    return (enum lethe_err)atomic_load(&run.err);
}

enum lethe_err lethe_latents_decoder_head(struct lethe_latents_decoder *decoder, uint32_t rows)
{
    struct run run = {.latents = &decoder->latents,
                      .rows = decoder->rows,
                      .views = decoder->views,
                      .lens = decoder->lens,
                      .most = rows};

    if (rows >= decoder->rows || decoder->done > 0) {
        return lethe_latents_decoder_run(decoder, rows, NULL);
    }
    decode_band(&run, 0);
    return (enum lethe_err)atomic_load(&run.err);
}

enum lethe_err lethe_latents_decode_on(struct lethe_reader *reader, uint64_t max_pixels,
                                       struct lethe_pool *pool, struct lethe_latents *latents)
{
    struct lethe_latents_decoder *decoder;
    enum lethe_err err = lethe_latents_decoder_new(reader, max_pixels, &decoder);

    *latents = (struct lethe_latents){0};
    if (err) {
        return err;
    }
    err = lethe_latents_decoder_run(decoder, UINT32_MAX, pool);
    if (!err) {
        *latents = decoder->latents;
        decoder->latents = (struct lethe_latents){0};
    }
    lethe_latents_decoder_free(decoder);
    return err;
}

enum lethe_err lethe_latents_encode(const struct lethe_latents *latents, struct lethe_buf *out)
{
    return lethe_latents_encode_on(latents, NULL, out);
}

enum lethe_err lethe_latents_decode(struct lethe_reader *reader, uint64_t max_pixels,
                                    struct lethe_latents *latents)
{
    return lethe_latents_decode_on(reader, max_pixels, NULL, latents);
}
