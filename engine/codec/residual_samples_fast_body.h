/* SPDX-License-Identifier: MIT */
/*
 * The fast mode: one band of samples given xhat. It is made so that a decoder has little to do for a sample, and most of
 * that for whole rows at once. Each channel is predicted linearly from its surroundings (residual_samples_fast.h lists
 * them) with weights that the encoder has fitted to the classes of blocks in this band and sends; only the two samples
 * to the left are not known before a row is begun. The error is one token of a static distribution, chosen by the
 * local energy (weighted magnitudes of the errors around) and, where that is low, by how far the prediction was from
 * a whole number; its sign is taken relative to the side on which it lay. Each channel has its own rANS stream, and the
 * decoder walks the channels side by side, each one row behind the one before it.
 *
 * A band: block header (range-coded, the models of all channels in coding order: residual_samples_fast_model.c), varint
 * length of each channel's stream, the streams. A stream: u32 state, u16 words; the state MUST end at 2^16 and
 * the words where the stream does.
 *
 * This is the work on samples, for one type of sample and one instruction set: a file that defines
 *   FAST(name)           the names here
 *   FAST_ROWS_OF         struct fast_rows8 or fast_rows16
 *   FAST_SAMPLE, FAST_MAGNITUDE, FAST_SUM, FAST_WRAP
 *                        types of a sample, of an error's magnitude, of a sum of products, and that sum's unsigned
 *                        type, in which it may wrap when a hostile stream holds samples out of range
 *   FAST_SHIFT           what brings differences into 12 bits for the fit
 *   FAST_ENCODE, FAST_DECODE   the two functions that it exports
 *   FAST_PREDICT         if it has a predict_block of its own
 *   FAST_WIDE            if it has one, the file with its own way along the rows of three and four channels
 * includes this. All of them compute the same integers.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/codec/residual_samples_fast.h"

#define FAST_INLINE static inline __attribute__((always_inline))

struct FAST(channel) {
    FAST_SAMPLE *x, *h;    /* rows of stride samples, row r at (r + 2) & mask */
    FAST_MAGNITUDE *e;
    FAST_SUM *sum;         /* of one row: what is known of predictions and energies before its samples are */
    uint32_t *energy;
    struct fast_channel_model model;
    struct lethe_rans_table *tables;
    uint32_t way[FAST_LEVELS * 4]; /* decoding: by level and fraction, where the table is, in bytes */
    uint8_t *stream;       /* decoding: the words, with zeros behind them that a row may read */
    const uint8_t *at, *end;
    uint32_t state;
    int32_t low, high;
};

struct FAST(band) {
    struct lethe_samples_band *band;
    struct FAST(channel) channel[4]; /* in coding order: alpha first */
    unsigned plane[4];
    unsigned count;
    bool alpha;
    uint32_t width, rows, blocks_w, blocks_h;
    size_t stride;
    size_t mask_x, mask_h;
    void *memory;
};

FAST_INLINE FAST_SAMPLE *FAST(row)(FAST_SAMPLE *base, size_t stride, size_t mask, int64_t row)
{
    return base + ((size_t)(row + 2) & mask) * stride + FAST_PAD;
}

static void FAST(view)(const struct FAST(band) *s, unsigned k, int64_t row, struct FAST_ROWS_OF *r)
{
    const struct FAST(channel) *c = &s->channel[k];

    *r = (struct FAST_ROWS_OF){
        .x = FAST(row)(c->x, s->stride, s->mask_x, row),
        .n = FAST(row)(c->x, s->stride, s->mask_x, row - 1),
        .nn = FAST(row)(c->x, s->stride, s->mask_x, row - 2),
        .h = FAST(row)(c->h, s->stride, s->mask_h, row),
        .hn = FAST(row)(c->h, s->stride, s->mask_h, row - 1),
        .hs = FAST(row)(c->h, s->stride, s->mask_h, row + 1),
        .en = c->e + ((size_t)(row + 1) & s->mask_x) * s->stride + FAST_PAD,
        .enn = c->e + ((size_t)row & s->mask_x) * s->stride + FAST_PAD,
    };
    for (unsigned i = 0; i < c->model.before; i++) {
        const struct FAST(channel) *o = &s->channel[k - 1 - i];

        r->o[i] = FAST(row)(o->x, s->stride, s->mask_x, row);
        r->on[i] = FAST(row)(o->x, s->stride, s->mask_x, row - 1);
        r->oh[i] = FAST(row)(o->h, s->stride, s->mask_h, row);
        r->oe[i] = o->e + ((size_t)(row + 2) & s->mask_x) * s->stride + FAST_PAD;
    }
}

#ifndef FAST_PREDICT
#define TERM(i, a, b) sum[j] += (FAST_WRAP)((FAST_SUM)w[i] * (FAST_SAMPLE)((a) - (b)))

/* A block's predictions in 2^-FAST_UNIT, half a unit added, without the terms of the two samples to the left. */
FAST_INLINE void FAST(predict_block)(const struct FAST_ROWS_OF *r, const int16_t *w, unsigned before, uint32_t at,
                                     FAST_SUM *out)
{
    const FAST_SAMPLE *n = r->n + at, *nn = r->nn + at, *h = r->h + at, *hn = r->hn + at, *hs = r->hs + at;
    FAST_WRAP sum[FAST_BLOCK];

    for (unsigned j = 0; j < FAST_BLOCK; j++) {
        sum[j] = ((FAST_WRAP)(FAST_SUM)h[j] << FAST_UNIT) + (1u << (FAST_UNIT - 1)) -
                 (FAST_WRAP)((FAST_SUM)w[0] * h[j]) - (FAST_WRAP)((FAST_SUM)w[4] * h[j]);
        TERM(1, n[j], h[j]);
        TERM(2, n[(int)j - 1], h[j]);
        TERM(3, n[j + 1], h[j]);
        TERM(5, nn[j], h[j]);
        TERM(6, h[(int)j - 1], h[j]);
        TERM(7, hn[j], h[j]);
        TERM(8, h[j + 1], h[j]);
        TERM(9, hs[j], h[j]);
    }
    if (before == 0) {
        for (unsigned j = 0; j < FAST_BLOCK; j++) {
            TERM(10, n[j + 2], h[j]);
            TERM(11, nn[j + 1], h[j]);
        }
    } else {
        const FAST_SAMPLE *o = r->o[0] + at, *on = r->on[0] + at, *oh = r->oh[0] + at;

        for (unsigned j = 0; j < FAST_BLOCK; j++) {
            TERM(10, o[j], oh[j]);
            TERM(11, o[j], o[(int)j - 1]);
            TERM(12, o[j], on[j]);
            TERM(13, o[j], o[j + 1]);
        }
    }
    if (before == 2) {
        const FAST_SAMPLE *o = r->o[1] + at, *on = r->on[1] + at, *oh = r->oh[1] + at;

        for (unsigned j = 0; j < FAST_BLOCK; j++) {
            TERM(14, o[j], oh[j]);
            TERM(15, o[j], o[(int)j - 1]);
            TERM(16, o[j], on[j]);
        }
    }
    for (unsigned j = 0; j < FAST_BLOCK; j++) {
        out[j] = (FAST_SUM)sum[j];
    }
}
#undef TERM
#endif

/* The energies of a block in 64ths without the terms of the two samples to the left. */
FAST_INLINE void FAST(energy_block)(const struct FAST_ROWS_OF *r, const uint8_t *weight, unsigned before, uint32_t at,
                                    uint32_t *out)
{
    const uint32_t w1 = weight[1], w2 = weight[2], w3 = weight[3], w5 = weight[5], w6 = weight[6], w7 = weight[7];
    const FAST_MAGNITUDE *en = r->en + at, *enn = r->enn + at;
    uint32_t sum[FAST_BLOCK];

    for (unsigned j = 0; j < FAST_BLOCK; j++) {
        sum[j] = w1 * en[j] + w2 * en[(int)j - 1] + w3 * en[j + 1] + w5 * enn[j] + w7;
    }
    if (before == 0) {
        const FAST_SAMPLE *h = r->h + at, *hn = r->hn + at, *hs = r->hs + at;

        for (unsigned j = 0; j < FAST_BLOCK; j++) {
            int32_t a = h[j + 1] - h[(int)j - 1], b = hs[j] - hn[j];

            sum[j] += w6 * ((uint32_t)((a < 0 ? -a : a) + (b < 0 ? -b : b)) >> 1);
        }
    } else {
        const FAST_MAGNITUDE *oe = r->oe[0] + at, *oe1 = before == 2 ? r->oe[1] + at : NULL;

        for (unsigned j = 0; j < FAST_BLOCK; j++) {
            sum[j] += w6 * (oe[j] + (before == 2 ? (uint32_t)(oe1[j] >> 1) : 0));
        }
    }
    for (unsigned j = 0; j < FAST_BLOCK; j++) {
        out[j] = sum[j];
    }
}

/* The same for block b of a row whose surroundings are r, into the channel's own. */
static void FAST(predict_at)(const struct FAST(band) *s, unsigned k, int64_t row, const struct FAST_ROWS_OF *r,
                             uint32_t b)
{
    const struct FAST(channel) *c = &s->channel[k];
    const int16_t *w = c->model.weights[c->model.map[(size_t)row / FAST_BLOCK * s->blocks_w + b]].w;
    uint32_t at = b * FAST_BLOCK;

    if (c->model.before == 0) {
        FAST(predict_block)(r, w, 0, at, c->sum + at);
    } else if (c->model.before == 1) {
        FAST(predict_block)(r, w, 1, at, c->sum + at);
    } else {
        FAST(predict_block)(r, w, 2, at, c->sum + at);
    }
}

static void FAST(energy_at)(const struct FAST(channel) *c, const struct FAST_ROWS_OF *r, uint32_t b)
{
    uint32_t at = b * FAST_BLOCK;

    if (c->model.before == 0) {
        FAST(energy_block)(r, c->model.energy, 0, at, c->energy + at);
    } else if (c->model.before == 1) {
        FAST(energy_block)(r, c->model.energy, 1, at, c->energy + at);
    } else {
        FAST(energy_block)(r, c->model.energy, 2, at, c->energy + at);
    }
}

/* Whole rows. */
static void FAST(predict)(const struct FAST(band) *s, unsigned k, int64_t row, const struct FAST_ROWS_OF *r)
{
    for (uint32_t b = 0; b < s->blocks_w; b++) {
        FAST(predict_at)(s, k, row, r, b);
    }
}

static void FAST(energies)(const struct FAST(band) *s, unsigned k, const struct FAST_ROWS_OF *r)
{
    for (uint32_t b = 0; b < s->blocks_w; b++) {
        FAST(energy_at)(&s->channel[k], r, b);
    }
}

/* --- rows in and out --- */

static void FAST(pad)(const struct FAST(band) *s, FAST_SAMPLE *row, FAST_SAMPLE left)
{
    for (int i = 1; i <= FAST_PAD; i++) {
        row[-i] = left;
    }
    for (uint32_t i = s->width; i < s->stride - FAST_PAD; i++) {
        row[i] = row[s->width - 1];
    }
}

/* Rows to YCoCg-R and back, in functions of their own: so the compiler believes that they do not overlap. */
static void FAST(forward_xhat)(const uint8_t *restrict r, const uint8_t *restrict g, const uint8_t *restrict b,
                               FAST_SAMPLE scale, uint32_t width, FAST_SAMPLE *restrict luma, FAST_SAMPLE *restrict co,
                               FAST_SAMPLE *restrict cg)
{
    for (uint32_t i = 0; i < width; i++) {
        int32_t v[3];

        lethe_ycocg_forward(r[i] * scale, g[i] * scale, b[i] * scale, &v[0], &v[1], &v[2]);
        luma[i] = (FAST_SAMPLE)v[0];
        co[i] = (FAST_SAMPLE)v[1];
        cg[i] = (FAST_SAMPLE)v[2];
    }
}

static void FAST(forward)(const uint16_t *restrict r, const uint16_t *restrict g, const uint16_t *restrict b,
                          uint32_t width, FAST_SAMPLE *restrict luma, FAST_SAMPLE *restrict co,
                          FAST_SAMPLE *restrict cg)
{
    for (uint32_t i = 0; i < width; i++) {
        int32_t v[3];

        lethe_ycocg_forward(r[i], g[i], b[i], &v[0], &v[1], &v[2]);
        luma[i] = (FAST_SAMPLE)v[0];
        co[i] = (FAST_SAMPLE)v[1];
        cg[i] = (FAST_SAMPLE)v[2];
    }
}

/* Returns all bits that are set in any of r, g and b before they are cut to 16. */
static uint32_t FAST(inverse)(const FAST_SAMPLE *restrict luma, const FAST_SAMPLE *restrict co,
                              const FAST_SAMPLE *restrict cg, uint32_t width, uint16_t *restrict r,
                              uint16_t *restrict g, uint16_t *restrict b)
{
    uint32_t any = 0;

    for (uint32_t i = 0; i < width; i++) {
        int32_t v[3];

        lethe_ycocg_inverse(luma[i], co[i], cg[i], &v[0], &v[1], &v[2]);
        r[i] = (uint16_t)v[0];
        g[i] = (uint16_t)v[1];
        b[i] = (uint16_t)v[2];
        any |= (uint32_t)v[0] | (uint32_t)v[1] | (uint32_t)v[2];
    }
    return any;
}

/* xhat of a row of the band (or of the ones before and behind it). */
static void FAST(load_xhat)(struct FAST(band) *s, int64_t row)
{
    const struct lethe_samples_band *band = s->band;
    const struct lethe_raster *raster = band->raster;
    int64_t y = (int64_t)band->first_row + row;
    size_t from = (size_t)(y < 0 ? 0 : y >= raster->height ? raster->height - 1 : y) * s->width;
    FAST_SAMPLE scale = raster->depth == 16 ? 257 : 1;
    FAST_SAMPLE *rows[4] = {0};

    for (unsigned k = 0; k < s->count; k++) {
        const uint8_t *in = band->xhat[s->plane[k]] + from;

        rows[s->plane[k]] = FAST(row)(s->channel[k].h, s->stride, s->mask_h, row);
        if (band->colour == LETHE_COLOUR_NONE || s->plane[k] > 2) {
            for (uint32_t i = 0; i < s->width; i++) {
                rows[s->plane[k]][i] = (FAST_SAMPLE)(in[i] * scale);
            }
        }
    }
    if (band->colour == LETHE_COLOUR_YCOCG) {
        FAST(forward_xhat)(band->xhat[0] + from, band->xhat[1] + from, band->xhat[2] + from, scale, s->width, rows[0],
                           rows[1], rows[2]);
    }
    for (unsigned k = 0; k < s->count; k++) {
        FAST_SAMPLE *h = rows[s->plane[k]];

        FAST(pad)(s, h, h[0]);
    }
}

static void FAST(load_samples)(struct FAST(band) *s, int64_t row)
{
    const struct lethe_samples_band *band = s->band;
    uint16_t *const *planes = band->raster->planes;
    size_t from = ((size_t)band->first_row + (size_t)row) * s->width;
    FAST_SAMPLE *rows[4] = {0};

    for (unsigned k = 0; k < s->count; k++) {
        FAST_SAMPLE *x = rows[s->plane[k]] = FAST(row)(s->channel[k].x, s->stride, s->mask_x, row);

        if (band->colour == LETHE_COLOUR_NONE || s->plane[k] > 2) {
            for (uint32_t i = 0; i < s->width; i++) {
                x[i] = (FAST_SAMPLE)planes[s->plane[k]][from + i];
            }
        }
    }
    if (band->colour == LETHE_COLOUR_YCOCG) {
        FAST(forward)(planes[0] + from, planes[1] + from, planes[2] + from, s->width, rows[0], rows[1], rows[2]);
    }
    for (unsigned k = 0; k < s->count; k++) {
        FAST_SAMPLE *x = rows[s->plane[k]];

        FAST(pad)(s, x, FAST(row)(s->channel[k].x, s->stride, s->mask_x, row - 1)[0]);
    }
}

/* False when a sample is out of range. */
static bool FAST(store_samples)(struct FAST(band) *s, int64_t row)
{
    const struct lethe_samples_band *band = s->band;
    size_t from = ((size_t)band->first_row + (size_t)row) * s->width;
    uint32_t most = (1u << band->raster->depth) - 1, wrong = 0;
    const FAST_SAMPLE *rows[4] = {0};

    for (unsigned k = 0; k < s->count; k++) {
        const FAST_SAMPLE *x = rows[s->plane[k]] = FAST(row)(s->channel[k].x, s->stride, s->mask_x, row);
        uint16_t *to = band->raster->planes[s->plane[k]] + from;

        if (band->colour == LETHE_COLOUR_NONE || s->plane[k] > 2) {
            for (uint32_t i = 0; i < s->width; i++) {
                to[i] = (uint16_t)x[i];
                wrong |= (uint32_t)x[i];
            }
        }
    }
    if (band->colour == LETHE_COLOUR_YCOCG) {
        uint16_t *const *planes = band->raster->planes;

        wrong |= FAST(inverse)(rows[0], rows[1], rows[2], s->width, planes[0] + from, planes[1] + from,
                               planes[2] + from);
    }
    return (wrong & ~most) == 0;
}

/* --- what both directions begin with --- */

static size_t FAST(lay_out)(struct FAST(band) *s, size_t rows_x, size_t rows_h, uint8_t *memory)
{
    size_t at = 0, row = s->stride;

    for (unsigned k = 0; k < s->count; k++) {
        struct FAST(channel) *c = &s->channel[k];
        size_t sizes[5] = {rows_x * row * sizeof *c->x, rows_h * row * sizeof *c->h, rows_x * row * sizeof *c->e,
                           row * sizeof *c->sum, row * sizeof *c->energy};
        void *pieces[5];

        for (unsigned i = 0; i < 5; i++) {
            pieces[i] = memory ? memory + at : NULL;
            at += (sizes[i] + 63) & ~(size_t)63;
        }
        c->x = pieces[0];
        c->h = pieces[1];
        c->e = pieces[2];
        c->sum = pieces[3];
        c->energy = pieces[4];
    }
    return at;
}

/* rows_x, rows_h: of the planes; masks: see struct channel. */
static enum lethe_err FAST(init)(struct FAST(band) *s, struct lethe_samples_band *band, size_t rows_x, size_t rows_h,
                                 size_t mask_x, size_t mask_h)
{
    const struct lethe_raster *raster = band->raster;
    int32_t most = (int32_t)(1u << raster->depth) - 1;

    *s = (struct FAST(band)){.band = band, .count = raster->channels, .alpha = raster->channels % 2 == 0};
    s->width = raster->width;
    s->rows = band->rows;
    s->blocks_w = (s->width + FAST_BLOCK - 1) / FAST_BLOCK;
    s->blocks_h = (s->rows + FAST_BLOCK - 1) / FAST_BLOCK;
    s->stride = (size_t)s->blocks_w * FAST_BLOCK + 2 * FAST_PAD;
    s->mask_x = mask_x;
    s->mask_h = mask_h;
    s->memory = calloc(1, FAST(lay_out)(s, rows_x, rows_h, NULL));
    if (!s->memory) {
        return LETHE_ERR_NOMEM;
    }
    (void)FAST(lay_out)(s, rows_x, rows_h, s->memory);
    for (unsigned k = 0; k < s->count; k++) {
        struct FAST(channel) *c = &s->channel[k];
        unsigned colour = s->alpha ? k - 1 : k; /* huge for alpha */

        s->plane[k] = !s->alpha ? k : k == 0 ? s->count - 1 : k - 1;
        c->model.before = colour > 2 ? 0 : colour;
        c->high = most;
        c->low = band->colour == LETHE_COLOUR_YCOCG && (s->plane[k] == 1 || s->plane[k] == 2) ? -most : 0;
        c->model.map = calloc(s->blocks_w, s->blocks_h);
        if (!c->model.map) {
            return LETHE_ERR_NOMEM;
        }
    }
    FAST(load_xhat)(s, -1);
    FAST(load_xhat)(s, 0);
    for (unsigned k = 0; k < s->count; k++) { /* above the band there is only xhat */
        const FAST_SAMPLE *h = FAST(row)(s->channel[k].h, s->stride, mask_h, 0) - FAST_PAD;

        for (int row = -2; row < 0; row++) {
            memcpy(FAST(row)(s->channel[k].x, s->stride, mask_x, row) - FAST_PAD, h, s->stride * sizeof *h);
        }
    }
    return LETHE_OK;
}

static void FAST(release)(struct FAST(band) *s)
{
    for (unsigned k = 0; k < 4; k++) {
        lethe_fast_model_release(&s->channel[k].model);
        free(s->channel[k].tables);
        free(s->channel[k].stream);
    }
    free(s->memory);
}

#include "engine/codec/residual_samples_fast_decode.h"
#include "engine/codec/residual_samples_fast_encode.h"
