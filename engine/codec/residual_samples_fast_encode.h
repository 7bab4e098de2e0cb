/* SPDX-License-Identifier: MIT */
/*
 * The encoder's part of residual_samples_fast_body.h, which includes it: fits the model of each channel, then codes its
 * errors backwards. It has all samples before it begins, so that it may go over them as often as it pays.
 */

/* A block's features and targets by rows; what is beyond its samples is 0. */
struct FAST(fit_rows) {
    int16_t f[FAST_FEATURES + 1][FAST_BLOCK * FAST_BLOCK];
};

/* Sums of products over a whole block at once, so that few sums across a vector are needed. */
static void FAST(fit_block)(const struct FAST(fit_rows) *rows, unsigned features, uint32_t count,
                            struct fast_fit_block *block)
{
    enum { SAMPLES = FAST_BLOCK * FAST_BLOCK };
    const int16_t *target = rows->f[FAST_FEATURES];
    int32_t *moment = block->moment;
    int32_t sum;

    for (unsigned i = 0; i < features; i++) {
        for (unsigned j = 0; j <= i; j++) {
            sum = 0;
            for (unsigned x = 0; x < SAMPLES; x++) {
                sum += (int32_t)rows->f[i][x] * rows->f[j][x];
            }
            *moment++ = sum;
        }
    }
    for (unsigned i = 0; i < features; i++) {
        sum = 0;
        for (unsigned x = 0; x < SAMPLES; x++) {
            sum += (int32_t)rows->f[i][x] * target[x];
        }
        *moment++ = sum;
    }
    sum = 0;
    for (unsigned x = 0; x < SAMPLES; x++) {
        sum += (int32_t)target[x] * target[x];
    }
    block->square = sum;
    block->count = count;
}

/* One row of features of a block. */
FAST_INLINE void FAST(fit_row)(const struct FAST_ROWS_OF *r, unsigned before, uint32_t at, uint32_t count,
                               int16_t (*f)[FAST_BLOCK * FAST_BLOCK], size_t to)
{
    unsigned i = 0;

#define FEATURE(a, da, b, db)                                                                                 \
    do {                                                                                                      \
        for (uint32_t j = 0; j < count; j++) {                                                                \
            f[i][to + j] = (int16_t)(((a)[(int64_t)(at + j) + (da)] - (b)[(int64_t)(at + j) + (db)]) >> FAST_SHIFT); \
        }                                                                                                     \
        i++;                                                                                                  \
    } while (0)
    FEATURE(r->x, -1, r->h, 0);
    FEATURE(r->n, 0, r->h, 0);
    FEATURE(r->n, -1, r->h, 0);
    FEATURE(r->n, 1, r->h, 0);
    FEATURE(r->x, -2, r->h, 0);
    FEATURE(r->nn, 0, r->h, 0);
    FEATURE(r->h, -1, r->h, 0);
    FEATURE(r->hn, 0, r->h, 0);
    FEATURE(r->h, 1, r->h, 0);
    FEATURE(r->hs, 0, r->h, 0);
    if (before == 0) {
        FEATURE(r->n, 2, r->h, 0);
        FEATURE(r->nn, 1, r->h, 0);
    } else {
        FEATURE(r->o[0], 0, r->oh[0], 0);
        FEATURE(r->o[0], 0, r->o[0], -1);
        FEATURE(r->o[0], 0, r->on[0], 0);
        FEATURE(r->o[0], 0, r->o[0], 1);
    }
    if (before == 2) {
        FEATURE(r->o[1], 0, r->oh[1], 0);
        FEATURE(r->o[1], 0, r->o[1], -1);
        FEATURE(r->o[1], 0, r->on[1], 0);
    }
    i = FAST_FEATURES;
    FEATURE(r->x, 0, r->h, 0);
#undef FEATURE
}

static int64_t FAST(fit_dot)(const int32_t *a, const int32_t *b)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < FIT_MOMENTS; i++) {
        sum += (int64_t)a[i] * b[i];
    }
    return sum;
}

static void FAST(fit_gather)(int64_t *sum, const int32_t *a, int32_t gain)
{
    for (unsigned i = 0; i < FIT_MOMENTS; i++) {
        sum[i] += (int64_t)a[i] * gain;
    }
}

/* What the fit needs to know of a channel. */
static enum lethe_err FAST(fit)(struct FAST(band) *s, unsigned k)
{
    static const struct fast_fit_sums sums = {FAST(fit_dot), FAST(fit_gather)};
    struct FAST(channel) *c = &s->channel[k];
    unsigned n = fast_features(c->model.before);
    struct fast_fit_block *blocks = calloc((size_t)s->blocks_w * s->blocks_h, sizeof *blocks), *block = blocks;
    struct FAST(fit_rows) rows;
    enum lethe_err err;

    if (!blocks) {
        return LETHE_ERR_NOMEM;
    }
    for (uint32_t top = 0; top < s->rows; top += FAST_BLOCK) {
        uint32_t height = s->rows - top < FAST_BLOCK ? s->rows - top : FAST_BLOCK;
        struct FAST_ROWS_OF r[FAST_BLOCK];

        for (uint32_t row = 0; row < height; row++) {
            FAST(view)(s, k, top + row, &r[row]);
        }
        for (uint32_t b = 0; b < s->blocks_w; b++, block++) {
            uint32_t at = b * FAST_BLOCK, width = s->width - at < FAST_BLOCK ? s->width - at : FAST_BLOCK;

            if (height < FAST_BLOCK || width < FAST_BLOCK) {
                memset(&rows, 0, sizeof rows);
                for (uint32_t row = 0; row < height; row++) {
                    FAST(fit_row)(&r[row], c->model.before, at, width, rows.f, (size_t)row * FAST_BLOCK);
                }
            } else {
                for (uint32_t row = 0; row < FAST_BLOCK; row++) {
                    FAST(fit_row)(&r[row], c->model.before, at, FAST_BLOCK, rows.f, (size_t)row * FAST_BLOCK);
                }
            }
            FAST(fit_block)(&rows, n, width * height, block);
        }
    }
    err = lethe_fast_fit(blocks, (size_t)s->blocks_w * s->blocks_h, &sums, &c->model);
    free(blocks);
    return err;
}

/*
 * Errors of a channel: their magnitudes, and in records z | fraction class << 22. Whole blocks are reckoned with, to
 * where a row's padding is: records have room for that behind the last one.
 */
static void FAST(errors)(struct FAST(band) *s, unsigned k, uint32_t *records)
{
    struct FAST(channel) *c = &s->channel[k];
    int32_t low = c->low, high = c->high;

    for (uint32_t row = 0; row < s->rows; row++, records += s->width) {
        FAST_MAGNITUDE *magnitudes = c->e + ((size_t)row + 2) * s->stride + FAST_PAD;
        const uint8_t *map = c->model.map + (size_t)(row / FAST_BLOCK) * s->blocks_w;
        struct FAST_ROWS_OF r;

        FAST(view)(s, k, row, &r);
        FAST(predict)(s, k, row, &r);
        for (uint32_t b = 0; b < s->blocks_w; b++) {
            const int16_t *w = c->model.weights[map[b]].w;
            FAST_SUM w0 = w[0], w4 = w[4];
            const FAST_SAMPLE *x = r.x + (size_t)b * FAST_BLOCK;
            const FAST_SUM *sum = c->sum + (size_t)b * FAST_BLOCK;
            FAST_MAGNITUDE *restrict m = magnitudes + (size_t)b * FAST_BLOCK;
            uint32_t *restrict to = records + (size_t)b * FAST_BLOCK;

            for (unsigned j = 0; j < FAST_BLOCK; j++) {
                FAST_SUM p = (FAST_SUM)((FAST_WRAP)sum[j] + (FAST_WRAP)(w0 * x[(int)j - 1]) +
                                        (FAST_WRAP)(w4 * x[(int)j - 2]));
                int32_t rounded = (int32_t)(p >> FAST_UNIT);
                int32_t fraction = (int32_t)(p & ((1 << FAST_UNIT) - 1)) - (1 << (FAST_UNIT - 1));
                int32_t flip = fraction >> 31, e;
                uint32_t fine = (uint32_t)((fraction ^ flip) * 3) >> (FAST_UNIT - 1);

                rounded = rounded < low ? low : rounded > high ? high : rounded;
                e = x[j] - rounded;
                m[j] = (FAST_MAGNITUDE)(e < 0 ? -e : e);
                e = (e ^ flip) - flip;
                to[j] = ((uint32_t)(e * 2) ^ (uint32_t)(e >> 31)) | fine << 22;
            }
        }
        for (uint32_t i = s->width; i < s->blocks_w * FAST_BLOCK; i++) {
            magnitudes[i] = 0; /* as a decoder has it */
        }
    }
}

/*
 * Weights of the energy by least squares on the magnitudes of every 15th sample, each counting as the inverse of its
 * energy squared.
 */
static void FAST(fit_energy)(struct FAST(band) *s, unsigned k)
{
    static const uint8_t first[FAST_ENERGIES] = {19, 16, 8, 8, 5, 5, 10, 1};
    struct FAST(channel) *c = &s->channel[k];
    int64_t a[FAST_ENERGIES * (FAST_ENERGIES + 1) / 2] = {0}, b[FAST_ENERGIES] = {0};
    int32_t weights[FAST_ENERGIES];

    memcpy(c->model.energy, first, sizeof first);
    for (uint32_t row = 0; row < s->rows; row += 5) {
        const FAST_MAGNITUDE *e = c->e + ((size_t)row + 2) * s->stride + FAST_PAD;
        struct FAST_ROWS_OF r;

        FAST(view)(s, k, row, &r);
        FAST(energies)(s, k, &r);
        for (uint32_t i = row % 3; i < s->width; i += 3) {
            int64_t at = i;
            int32_t dx = r.h[at + 1] - r.h[at - 1], dy = r.hs[i] - r.hn[i];
            uint32_t cross = c->model.before == 0   ? (uint32_t)((dx < 0 ? -dx : dx) + (dy < 0 ? -dy : dy)) >> 1
                             : c->model.before == 1 ? r.oe[0][i]
                                                    : r.oe[0][i] + (uint32_t)(r.oe[1][i] >> 1);
            const uint32_t f[FAST_ENERGIES] = {e[at - 1], r.en[i], r.en[at - 1], r.en[i + 1],
                                               e[at - 2], r.enn[i], cross, 1};
            uint64_t energy = (c->energy[i] + 19 * f[0] + 5 * f[4]) / 16 + 2;
            int64_t gain = (int64_t)((1u << 24) / (energy * energy) + 1), *product = a;

            for (unsigned m = 0; m < FAST_ENERGIES; m++) {
                int64_t scaled = gain * f[m];

                for (unsigned n = 0; n <= m; n++) {
                    *product++ += scaled * f[n];
                }
                b[m] += scaled * e[i];
            }
        }
    }
    lethe_fast_solve(a, b, FAST_ENERGIES, weights);
    for (unsigned m = 0; m < FAST_ENERGIES; m++) {
        int32_t w = (weights[m] + 32) >> (FAST_UNIT - 6);

        c->model.energy[m] = (uint8_t)(w < 0 ? 0 : w > 255 ? 255 : w);
    }
}

/* Adds the level to every record (<< 24) and counts. */
static void FAST(levels)(struct FAST(band) *s, unsigned k, uint32_t *records,
                         uint32_t (*counts)[FAST_FRACTIONS][LETHE_RANS_TOKENS])
{
    struct FAST(channel) *c = &s->channel[k];
    const uint32_t e0 = c->model.energy[0], e4 = c->model.energy[4];
    uint32_t *restrict energy = c->energy;

    for (uint32_t row = 0; row < s->rows; row++) {
        const FAST_MAGNITUDE *e = c->e + ((size_t)row + 2) * s->stride + FAST_PAD;
        struct FAST_ROWS_OF r;

        FAST(view)(s, k, row, &r);
        FAST(energies)(s, k, &r);
        for (uint32_t i = 0; i < s->width; i++) {
            energy[i] += e0 * e[(int64_t)i - 1] + e4 * e[(int64_t)i - 2];
        }
        for (uint32_t i = 0; i < s->width; i++) {
            unsigned level = fast_level(energy[i]), raw_bits;
            uint32_t raw, fine = level < FAST_FINE_LEVELS ? *records >> 22 : 0;

            counts[level][fine][fast_token(*records & ((1u << 22) - 1), &raw, &raw_bits)]++;
            *records++ |= level << 24;
        }
    }
}

/* A channel on its way from the last sample to the first. */
struct FAST(put_lane) {
    const struct lethe_rans_coder *coders;
    const uint8_t (*table)[4];
    const uint32_t *records;
    uint16_t *words;
    uint32_t state;
};

FAST_INLINE void FAST(put_sample)(struct FAST(put_lane) *l, size_t i)
{
    uint32_t record = l->records[i], raw;
    unsigned raw_bits, token = fast_token(record & ((1u << 22) - 1), &raw, &raw_bits);

    if (__builtin_expect(raw_bits > 0, 0)) {
        if (raw_bits > 16) {
            l->state = lethe_rans_encode_raw(l->state, raw >> 16, raw_bits - 16, &l->words);
            raw &= 0xffff;
            raw_bits = 16;
        }
        l->state = lethe_rans_encode_raw(l->state, raw, raw_bits, &l->words);
    }
    l->state = lethe_rans_encode(l->state, &l->coders[l->table[record >> 24][record >> 22 & 3]], token, &l->words);
}

/* The channels side by side, as a decoder walks them: each waits for its own last state alone. */
FAST_INLINE void FAST(put_lanes)(struct FAST(put_lane) *lanes, unsigned lane_count, size_t count)
{
    struct FAST(put_lane) l[4];

    for (unsigned k = 0; k < lane_count; k++) {
        l[k] = lanes[k];
    }
    while (count-- > 0) {
        for (unsigned k = 0; k < lane_count; k++) {
            FAST(put_sample)(&l[k], count);
        }
    }
    for (unsigned k = 0; k < lane_count; k++) {
        lanes[k] = l[k];
    }
}

static struct lethe_rans_coder *FAST(coders)(const struct fast_channel_model *model)
{
    struct lethe_rans_coder *coders = malloc(model->tables * sizeof *coders);

    for (unsigned i = 0; coders && i < model->tables; i++) {
        struct lethe_rans_table table;

        lethe_rans_table_init(&table, model->freq[i]);
        lethe_rans_coder_init(&coders[i], &table, model->freq[i]);
    }
    return coders;
}

/* The samples of all channels; a stream of each is appended to streams. records: see encode_channels. */
static enum lethe_err FAST(put_channels)(struct FAST(band) *s, const uint32_t *records, size_t stride,
                                         struct lethe_buf *streams)
{
    size_t count = (size_t)s->width * s->rows;
    struct lethe_rans_coder *coders[4] = {NULL};
    uint16_t *memory[4] = {NULL};
    struct FAST(put_lane) lanes[4];
    enum lethe_err err = LETHE_OK;

    for (unsigned k = 0; k < s->count && !err; k++) {
        coders[k] = FAST(coders)(&s->channel[k].model);
        memory[k] = malloc((count * 3 + 1) * sizeof *memory[k]);
        err = coders[k] && memory[k] ? LETHE_OK : LETHE_ERR_NOMEM;
        if (!err) {
            lanes[k] = (struct FAST(put_lane)){coders[k], s->channel[k].model.table, records + k * stride,
                                               memory[k] + count * 3 + 1, LETHE_RANS_START};
        }
    }
    if (!err && s->count == 3) {
        FAST(put_lanes)(lanes, 3, count);
    } else if (!err && s->count == 4) {
        FAST(put_lanes)(lanes, 4, count);
    } else if (!err) {
        for (unsigned k = 0; k < s->count; k++) {
            FAST(put_lanes)(&lanes[k], 1, count);
        }
    }
    for (unsigned k = 0; k < s->count; k++) {
        const uint16_t *end = memory[k] + count * 3 + 1;

        if (!err && !lethe_buf_reserve(&streams[k], 4 + (size_t)(end - lanes[k].words) * 2)) {
            lethe_buf_put_u32(&streams[k], lanes[k].state);
            for (const uint16_t *word = lanes[k].words; word < end; word++) {
                lethe_set_u16(streams[k].data + streams[k].len, *word);
                streams[k].len += 2;
            }
        }
        err = err ? err : lethe_buf_status(&streams[k]);
        free(coders[k]);
        free(memory[k]);
    }
    return err;
}

/* records: of each channel stride, a record for every sample. */
static enum lethe_err FAST(encode_channels)(struct FAST(band) *s, uint32_t *records, size_t stride,
                                            struct lethe_buf *streams, struct lethe_range_encoder *encoder)
{
    uint32_t(*counts)[FAST_FRACTIONS][LETHE_RANS_TOKENS] = malloc(FAST_LEVELS * sizeof *counts);
    enum lethe_err err = counts ? LETHE_OK : LETHE_ERR_NOMEM;

    for (unsigned k = 0; k < s->count && !err; k++) {
        struct FAST(channel) *c = &s->channel[k];

        err = FAST(fit)(s, k);
        if (err) {
            break;
        }
        FAST(errors)(s, k, records + k * stride);
        FAST(fit_energy)(s, k);
        memset(counts, 0, FAST_LEVELS * sizeof *counts);
        FAST(levels)(s, k, records + k * stride, counts);
        err = lethe_fast_distribute((const uint32_t(*)[FAST_FRACTIONS][LETHE_RANS_TOKENS])counts, &c->model);
        if (!err) {
            lethe_fast_model_encode(encoder, &c->model, s->blocks_w, s->blocks_h);
        }
    }
    free(counts);
    return err ? err : FAST(put_channels)(s, records, stride, streams);
}

void FAST_ENCODE(struct lethe_samples_band *band)
{
    struct FAST(band) s;
    struct lethe_buf streams[4] = {{0}}, header = {0};
    struct lethe_range_encoder encoder;
    size_t stride = (size_t)band->rows * band->raster->width + FAST_BLOCK; /* whole blocks are written */
    uint32_t *records = malloc(stride * band->raster->channels * sizeof *records);
    enum lethe_err err = FAST(init)(&s, band, (size_t)band->rows + 2, (size_t)band->rows + 3, SIZE_MAX, SIZE_MAX);

    err = records ? err : LETHE_ERR_NOMEM;
    for (uint32_t row = 0; row < s.rows && !err; row++) {
        FAST(load_xhat)(&s, row + 1);
        FAST(load_samples)(&s, row);
    }
    lethe_range_encoder_init(&encoder, &header);
    if (!err) {
        err = FAST(encode_channels)(&s, records, stride, streams, &encoder);
    }
    lethe_range_encoder_finish(&encoder);
    lethe_buf_put_block(&band->out, header.data, header.len);
    for (unsigned k = 0; k < s.count; k++) {
        lethe_buf_put_varint(&band->out, streams[k].len);
    }
    for (unsigned k = 0; k < s.count; k++) {
        lethe_buf_put(&band->out, streams[k].data, streams[k].len);
        lethe_buf_release(&streams[k]);
    }
    err = err ? err : lethe_buf_status(&header);
    band->err = err ? err : lethe_buf_status(&band->out);
    lethe_buf_release(&header);
    free(records);
    FAST(release)(&s);
}
