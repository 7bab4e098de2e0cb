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

static void FAST(predict)(const struct FAST(band) *s, unsigned k, int64_t row, const struct FAST_ROWS_OF *r)
{
    const struct FAST(channel) *c = &s->channel[k];
    const uint8_t *map = c->model.map + (size_t)row / FAST_BLOCK * s->blocks_w;

    for (uint32_t b = 0; b < s->blocks_w; b++) {
        const int16_t *w = c->model.weights[map[b]].w;
        uint32_t at = b * FAST_BLOCK;

        if (c->model.before == 0) {
            FAST(predict_block)(r, w, 0, at, c->sum + at);
        } else if (c->model.before == 1) {
            FAST(predict_block)(r, w, 1, at, c->sum + at);
        } else {
            FAST(predict_block)(r, w, 2, at, c->sum + at);
        }
    }
}

/* Energies in 64ths without the terms of the two samples to the left. */
static void FAST(energies)(const struct FAST(band) *s, unsigned k, const struct FAST_ROWS_OF *r)
{
    const struct FAST(channel) *c = &s->channel[k];
    const uint32_t w1 = c->model.energy[1], w2 = c->model.energy[2], w3 = c->model.energy[3],
                   w5 = c->model.energy[5], w6 = c->model.energy[6], w7 = c->model.energy[7];
    const FAST_MAGNITUDE *en = r->en, *enn = r->enn;
    uint32_t *restrict out = c->energy;
    uint32_t width = s->blocks_w * FAST_BLOCK;

    for (uint32_t i = 0; i < width; i++) {
        out[i] = w1 * en[i] + w2 * en[(int64_t)i - 1] + w3 * en[i + 1] + w5 * enn[i] + w7;
    }
    if (c->model.before == 0) {
        for (uint32_t i = 0; i < width; i++) {
            int32_t a = r->h[i + 1] - r->h[(int64_t)i - 1], b = r->hs[i] - r->hn[i];

            out[i] += w6 * ((uint32_t)((a < 0 ? -a : a) + (b < 0 ? -b : b)) >> 1);
        }
    } else if (c->model.before == 1) {
        for (uint32_t i = 0; i < width; i++) {
            out[i] += w6 * r->oe[0][i];
        }
    } else {
        for (uint32_t i = 0; i < width; i++) {
            out[i] += w6 * (r->oe[0][i] + (uint32_t)(r->oe[1][i] >> 1));
        }
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

/* xhat of a row of the band (or of the ones before and behind it). */
static void FAST(load_xhat)(struct FAST(band) *s, int64_t row)
{
    const struct lethe_samples_band *band = s->band;
    const struct lethe_raster *raster = band->raster;
    int64_t y = (int64_t)band->first_row + row;
    size_t from = (size_t)(y < 0 ? 0 : y >= raster->height ? raster->height - 1 : y) * s->width;
    FAST_SAMPLE scale = raster->depth == 16 ? 257 : 1;
    FAST_SAMPLE *rows[4];

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
        const uint8_t *r = band->xhat[0] + from, *g = band->xhat[1] + from, *b = band->xhat[2] + from;

        for (uint32_t i = 0; i < s->width; i++) {
            int32_t v[3];

            lethe_ycocg_forward(r[i] * scale, g[i] * scale, b[i] * scale, &v[0], &v[1], &v[2]);
            rows[0][i] = (FAST_SAMPLE)v[0];
            rows[1][i] = (FAST_SAMPLE)v[1];
            rows[2][i] = (FAST_SAMPLE)v[2];
        }
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
    FAST_SAMPLE *rows[4];

    for (unsigned k = 0; k < s->count; k++) {
        FAST_SAMPLE *x = rows[s->plane[k]] = FAST(row)(s->channel[k].x, s->stride, s->mask_x, row);

        if (band->colour == LETHE_COLOUR_NONE || s->plane[k] > 2) {
            for (uint32_t i = 0; i < s->width; i++) {
                x[i] = (FAST_SAMPLE)planes[s->plane[k]][from + i];
            }
        }
    }
    for (uint32_t i = 0; band->colour == LETHE_COLOUR_YCOCG && i < s->width; i++) {
        int32_t v[3];

        lethe_ycocg_forward(planes[0][from + i], planes[1][from + i], planes[2][from + i], &v[0], &v[1], &v[2]);
        rows[0][i] = (FAST_SAMPLE)v[0];
        rows[1][i] = (FAST_SAMPLE)v[1];
        rows[2][i] = (FAST_SAMPLE)v[2];
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
    const FAST_SAMPLE *rows[4];

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
        uint16_t *restrict r = band->raster->planes[0] + from, *restrict g = band->raster->planes[1] + from;
        uint16_t *restrict b = band->raster->planes[2] + from;

        for (uint32_t i = 0; i < s->width; i++) {
            int32_t v[3];

            lethe_ycocg_inverse(rows[0][i], rows[1][i], rows[2][i], &v[0], &v[1], &v[2]);
            r[i] = (uint16_t)v[0];
            g[i] = (uint16_t)v[1];
            b[i] = (uint16_t)v[2];
            wrong |= (uint32_t)v[0] | (uint32_t)v[1] | (uint32_t)v[2];
        }
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

/* --- decoding --- */

/* A channel's way along a row. */
struct FAST(lane) {
    const FAST_SUM *sum;
    const uint32_t *energy;
    FAST_SAMPLE *x;
    FAST_MAGNITUDE *e;
    const uint8_t *map;
    const struct FAST(channel) *c;
    const uint8_t *at;
    uint32_t state;
    int32_t w0, w4;          /* weights of the samples to the left in this block */
    uint32_t e0, e4;         /* weights of their magnitudes */
    FAST_SAMPLE west, wwest; /* the last two samples, and their magnitudes */
    FAST_MAGNITUDE ewest, ewwest;
    int32_t low, high;
    bool bad;                /* an error was seen that cannot be */
};

/* What a token from 32 on stands for. With 8 bits no error takes 10: such a sample would be out of range. */
static uint32_t FAST(long_error)(uint32_t token, uint32_t *state, const uint8_t **at, bool *bad)
{
    unsigned bits = token < 52 ? 5 + (token - 32) / 4 : token - 52 + 10, low = bits > 16 ? 16 : bits;
    uint32_t raw;

    if (token < 32) {
        return token;
    }
    if (token < 52) {
        raw = lethe_rans_decode_raw(state, bits - 2, at) << 1;
        return 1u << bits | (token & 2) << (bits - 2) | (token & 1) | raw;
    }
    raw = lethe_rans_decode_raw(state, low, at);
    if (bits > low) {
        raw |= lethe_rans_decode_raw(state, bits - low, at) << low;
    }
    if (sizeof(FAST_SAMPLE) == sizeof(int16_t)) {
        *bad = true;
        return 0;
    }
    return 1u << bits | raw;
}

FAST_INLINE void FAST(decode_sample)(struct FAST(lane) *l, uint32_t i)
{
    const struct FAST(channel) *c = l->c;
    FAST_SUM p = (FAST_SUM)((FAST_WRAP)l->sum[i] + (FAST_WRAP)((FAST_SUM)l->w0 * l->west) +
                            (FAST_WRAP)((FAST_SUM)l->w4 * l->wwest));
    int32_t r = (int32_t)(p >> FAST_UNIT), fraction = (int32_t)(p & ((1 << FAST_UNIT) - 1)) - (1 << (FAST_UNIT - 1));
    int32_t flip = fraction >> 31, e;
    unsigned fine = (unsigned)((fraction ^ flip) * 3) >> (FAST_UNIT - 1);
    unsigned level = fast_level(l->energy[i] + l->e0 * l->ewest + l->e4 * l->ewwest);
    uint32_t z = lethe_rans_decode(&l->state, &c->tables[c->model.table[level][fine]], &l->at);

    if (__builtin_expect(z >= 32, 0)) {
        z = FAST(long_error)(z, &l->state, &l->at, &l->bad);
    }
    r = r < l->low ? l->low : r > l->high ? l->high : r;
    e = (int32_t)(z >> 1) ^ -(int32_t)(z & 1);
    e = (e ^ flip) - flip;
    l->wwest = l->west;
    l->west = (FAST_SAMPLE)(r + e);
    l->ewwest = l->ewest;
    l->ewest = (FAST_MAGNITUDE)(e < 0 ? -e : e);
    l->x[i] = l->west;
    l->e[i] = l->ewest;
}

/* The channels of lanes walk their rows side by side: their chains of dependent steps overlap in the processor. */
FAST_INLINE void FAST(decode_lanes)(struct FAST(band) *s, struct FAST(lane) *lanes, unsigned count)
{
    struct FAST(lane) l[4];

    for (unsigned k = 0; k < count; k++) {
        l[k] = lanes[k];
    }
    for (uint32_t b = 0; b < s->blocks_w; b++) {
        uint32_t end = (b + 1) * FAST_BLOCK < s->width ? (b + 1) * FAST_BLOCK : s->width;

        for (unsigned k = 0; k < count; k++) {
            const int16_t *w = l[k].c->model.weights[l[k].map[b]].w;

            l[k].w0 = w[0];
            l[k].w4 = w[4];
        }
        for (uint32_t i = b * FAST_BLOCK; i < end; i++) {
#pragma GCC unroll 4
            for (unsigned k = 0; k < count; k++) {
                FAST(decode_sample)(&l[k], i);
            }
        }
    }
    for (unsigned k = 0; k < count; k++) {
        lanes[k] = l[k];
    }
}

#ifdef FAST_WIDE
#include FAST_WIDE
#endif

/* False when an error was seen that cannot be. */
static bool FAST(decode_row)(struct FAST(band) *s, struct FAST(lane) *lanes, unsigned count)
{
    bool bad = false;

#ifdef FAST_WIDE
    if (count == 3) {
        return FAST(decode_wide)(s, lanes, 3);
    }
    if (count == 4) {
        return FAST(decode_wide)(s, lanes, 4);
    }
#else
    if (count == 3) {
        FAST(decode_lanes)(s, lanes, 3);
    } else if (count == 4) {
        FAST(decode_lanes)(s, lanes, 4);
    } else
#endif
    {
        for (unsigned k = 0; k < count; k++) {
            FAST(decode_lanes)(s, &lanes[k], 1);
        }
    }
    for (unsigned k = 0; k < count; k++) {
        bad = bad || lanes[k].bad;
    }
    return !bad;
}

static void FAST(begin_lane)(struct FAST(band) *s, unsigned k, int64_t row, struct FAST(lane) *lane)
{
    struct FAST(channel) *c = &s->channel[k];
    struct FAST_ROWS_OF r;
    FAST_SAMPLE *x = FAST(row)(c->x, s->stride, s->mask_x, row);

    FAST(view)(s, k, row, &r);
    FAST(predict)(s, k, row, &r);
    FAST(energies)(s, k, &r);
    for (int i = 1; i <= FAST_PAD; i++) {
        x[-i] = r.n[0];
    }
    *lane = (struct FAST(lane)){
        .sum = c->sum,
        .energy = c->energy,
        .x = x,
        .e = c->e + ((size_t)(row + 2) & s->mask_x) * s->stride + FAST_PAD,
        .map = c->model.map + (size_t)row / FAST_BLOCK * s->blocks_w,
        .c = c,
        .at = c->at,
        .state = c->state,
        .e0 = c->model.energy[0],
        .e4 = c->model.energy[4],
        .west = x[-1],
        .wwest = x[-2],
        .low = c->low,
        .high = c->high,
    };
}

/* In step t channel k is at row t - k, so that what it needs of the channels before it is known. */
static enum lethe_err FAST(decode_rows)(struct FAST(band) *s)
{
    for (int64_t t = 0; t < (int64_t)s->rows + s->count - 1; t++) {
        struct FAST(lane) lanes[4];
        unsigned first = t < s->rows ? 0 : (unsigned)(t - s->rows + 1);
        unsigned last = t < (int64_t)s->count ? (unsigned)t + 1 : s->count, count = last - first;

        if (t < s->rows) {
            FAST(load_xhat)(s, t + 1);
        }
        for (unsigned k = first; k < last; k++) {
            FAST(begin_lane)(s, k, t - k, &lanes[k - first]);
        }
        if (!FAST(decode_row)(s, lanes, count)) {
            return LETHE_ERR_FORMAT;
        }
        for (unsigned k = first; k < last; k++) {
            struct FAST(channel) *c = &s->channel[k];
            FAST_SAMPLE *x = lanes[k - first].x;

            for (uint32_t i = s->width; i < s->stride - FAST_PAD; i++) {
                x[i] = x[s->width - 1];
            }
            c->at = lanes[k - first].at;
            c->state = lanes[k - first].state;
            if (c->at > c->end) {
                return LETHE_ERR_FORMAT;
            }
        }
        if (last == s->count) {
            uint32_t row = (uint32_t)(t - s->count + 1);

            if (!FAST(store_samples)(s, row)) {
                return LETHE_ERR_FORMAT;
            }
            if (s->band->told && (row % FAST_BLOCK == FAST_BLOCK - 1 || row == s->rows - 1)) {
                s->band->told->told(s->band->told->context, s->band->first_row + row / FAST_BLOCK * FAST_BLOCK,
                                    row % FAST_BLOCK + 1);
            }
        }
    }
    for (unsigned k = 0; k < s->count; k++) {
        const struct FAST(channel) *c = &s->channel[k];

        if (c->at != c->end || c->state != LETHE_RANS_START) {
            return LETHE_ERR_FORMAT;
        }
    }
    return LETHE_OK;
}

/* A row reads at most three words a sample, so with that many zeros behind it a look at its end is enough. */
static enum lethe_err FAST(begin_stream)(const struct FAST(band) *s, struct FAST(channel) *c, const uint8_t *bytes,
                                         size_t len)
{
    struct fast_channel_model *model = &c->model;

    if (len < 4 || len % 2) {
        return LETHE_ERR_FORMAT;
    }
    c->state = lethe_get_u32(bytes);
    c->tables = malloc(model->tables * sizeof *c->tables);
    c->stream = malloc(len + (size_t)s->width * 6 + 2);
    if (!c->tables || !c->stream) {
        return LETHE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < model->tables; i++) {
        lethe_rans_table_init(&c->tables[i], model->freq[i]);
    }
    for (unsigned level = 0; level < FAST_LEVELS; level++) {
        for (unsigned fraction = 0; fraction < FAST_FRACTIONS; fraction++) {
            c->way[level * 4 + fraction] = (uint32_t)(model->table[level][fraction] * sizeof *c->tables);
        }
    }
    memcpy(c->stream, bytes + 4, len - 4);
    memset(c->stream + len - 4, 0, (size_t)s->width * 6 + 2);
    c->at = c->stream;
    c->end = c->stream + len - 4;
    return c->state < LETHE_RANS_START ? LETHE_ERR_FORMAT : LETHE_OK;
}

void FAST_DECODE(struct lethe_samples_band *band)
{
    struct FAST(band) s;
    struct lethe_range_decoder decoder;
    struct lethe_reader reader;
    const uint8_t *header;
    size_t header_len, len[4] = {0};
    enum lethe_err err = FAST(init)(&s, band, 4, 8, 3, 7);

    lethe_reader_init(&reader, band->bytes, band->len);
    header = lethe_read_block(&reader, &header_len);
    lethe_range_decoder_init(&decoder, header, header_len);
    for (unsigned k = 0; k < s.count && !err; k++) {
        uint64_t n = lethe_read_varint(&reader);

        len[k] = n > band->len ? band->len : (size_t)n;
        err = reader.bad ? LETHE_ERR_FORMAT
                         : lethe_fast_model_decode(&decoder, &s.channel[k].model, s.blocks_w, s.blocks_h);
    }
    if (!err && (decoder.overrun || decoder.at != decoder.end)) {
        err = LETHE_ERR_FORMAT;
    }
    for (unsigned k = 0; k < s.count && !err; k++) {
        const uint8_t *bytes = lethe_read_view(&reader, len[k]);

        err = bytes ? FAST(begin_stream)(&s, &s.channel[k], bytes, len[k]) : LETHE_ERR_FORMAT;
    }
    if (!err) {
        err = lethe_reader_status(&reader, true);
    }
    if (!err) {
        err = FAST(decode_rows)(&s);
    }
    FAST(release)(&s);
    band->err = err;
}

#include "engine/codec/residual_samples_fast_encode.h"
