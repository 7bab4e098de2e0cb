/* SPDX-License-Identifier: MIT */
/* Part of residual_samples_fast_body.h: what only a decoder does. */

/* A channel's way along a row. */
struct FAST(lane) {
    const FAST_SUM *sum;
    const uint32_t *energy;
    FAST_SAMPLE *x;
    FAST_MAGNITUDE *e;
    const uint8_t *map;
    const struct FAST(channel) *c;
    unsigned k;
    int64_t row;
    struct FAST_ROWS_OF around;
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
#endif
    for (unsigned k = 0; k < count; k++) {
        FAST(predict)(s, lanes[k].k, lanes[k].row, &lanes[k].around);
        FAST(energies)(s, lanes[k].k, &lanes[k].around);
    }
#ifndef FAST_WIDE
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
    const struct FAST(channel) *c = &s->channel[k];
    FAST_SAMPLE *x = FAST(row)(c->x, s->stride, s->mask_x, row);
    FAST_SAMPLE left = FAST(row)(c->x, s->stride, s->mask_x, row - 1)[0];

    for (int i = 1; i <= FAST_PAD; i++) {
        x[-i] = left;
    }
    *lane = (struct FAST(lane)){
        .sum = c->sum,
        .energy = c->energy,
        .x = x,
        .e = c->e + ((size_t)(row + 2) & s->mask_x) * s->stride + FAST_PAD,
        .map = c->model.map + (size_t)row / FAST_BLOCK * s->blocks_w,
        .c = c,
        .k = k,
        .row = row,
        .at = c->at,
        .state = c->state,
        .e0 = c->model.energy[0],
        .e4 = c->model.energy[4],
        .west = x[-1],
        .wwest = x[-2],
        .low = c->low,
        .high = c->high,
    };
    FAST(view)(s, k, row, &lane->around);
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
