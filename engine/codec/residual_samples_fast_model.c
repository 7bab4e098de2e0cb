/* SPDX-License-Identifier: MIT */
/*
 * What the fast mode says about a channel before its samples, range-coded:
 *   3 bits      classes - 1
 *   class       of each block, row after row: a tree of 3 bits by the class above and whether the left one is the
 *               same (outside the band: class 0)
 *   weights     of each class: numbers, w / 8 less that of the class before, 0 before the first, folded
 *               (0, -1, 1, -2, ...)
 *   8 bytes     energy weights
 *   starts      by fraction and level: a bit, whether a distribution begins here (level 0: always). Fraction 0 has
 *               120 levels, fractions 1 and 2 only the fine ones: above, fraction 0 stands for all.
 *   each distribution:
 *     6 bits the token that has what is left of 4096, 6 bits the last token that can come, then for each token up to
 *     that but the first one: how many bits its chance has (a tree of 4 bits by the number that the distribution
 *     before has there; in the first one, that the token before has), and two more bits of it by that number.
 */
#include "engine/codec/residual_samples_fast.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_BITS 110 /* about what a distribution costs */
#define LOG_UNIT 8

struct header {
    struct lethe_bit class[FAST_CLASSES][2][FAST_CLASSES];
    struct lethe_number weight;
    struct lethe_bit start[2];
    struct lethe_bit rest[LETHE_RANS_TOKENS], last[LETHE_RANS_TOKENS];
    struct lethe_bit bits[2][16][16];
    struct lethe_bit more[16][4];
};

static void header_init(struct header *h)
{
    lethe_bits_init(&h->class[0][0][0], sizeof h->class / sizeof(struct lethe_bit));
    lethe_number_init(&h->weight);
    lethe_bits_init(h->start, 2);
    lethe_bits_init(h->rest, LETHE_RANS_TOKENS);
    lethe_bits_init(h->last, LETHE_RANS_TOKENS);
    lethe_bits_init(&h->bits[0][0][0], sizeof h->bits / sizeof(struct lethe_bit));
    lethe_bits_init(&h->more[0][0], sizeof h->more / sizeof(struct lethe_bit));
}

void lethe_fast_model_release(struct fast_channel_model *model)
{
    free(model->map);
    free(model->freq);
    model->map = NULL;
    model->freq = NULL;
}

/* log2 in units of 1/256, to a hundredth: log2(1 + f) is about f + 0.344 f (1 - f). */
static uint32_t log_of(uint32_t v)
{
    unsigned bits = 31 - (unsigned)__builtin_clz(v);
    uint32_t f = (uint32_t)(((uint64_t)v << 16 >> bits) & 0xffff);

    return (bits << LOG_UNIT) + (f >> 8) + (uint32_t)((((uint64_t)f * (65536 - f)) >> 16) * 88 >> 16);
}

struct cluster {
    uint32_t count[LETHE_RANS_TOKENS];
    uint32_t total;
    unsigned first; /* level */
    uint64_t cost;
};

static uint64_t cost_of(const struct cluster *a, const struct cluster *b)
{
    uint32_t total = a->total + (b ? b->total : 0);
    uint64_t cost = 0;
    uint32_t whole;

    if (total == 0) {
        return 0;
    }
    whole = log_of(total);
    for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
        uint32_t n = a->count[t] + (b ? b->count[t] : 0);

        if (n > 0) {
            cost += (uint64_t)n * (whole - log_of(n));
        }
    }
    return cost;
}

/* Joins neighbours while that saves bits; returns how many are left. */
static unsigned join(struct cluster *clusters, unsigned count)
{
    uint64_t joined[FAST_LEVELS];

    for (unsigned i = 0; i < count; i++) {
        clusters[i].cost = cost_of(&clusters[i], NULL);
    }
    for (unsigned i = 0; i + 1 < count; i++) {
        joined[i] = cost_of(&clusters[i], &clusters[i + 1]);
    }
    while (count > 1) {
        int64_t least = INT64_MAX;
        unsigned at = 0;

        for (unsigned i = 0; i + 1 < count; i++) {
            int64_t more = (int64_t)(joined[i] - clusters[i].cost - clusters[i + 1].cost);

            if (more < least) {
                least = more;
                at = i;
            }
        }
        if (least > TABLE_BITS << LOG_UNIT) {
            break;
        }
        for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
            clusters[at].count[t] += clusters[at + 1].count[t];
        }
        clusters[at].total += clusters[at + 1].total;
        clusters[at].cost = joined[at];
        count--;
        memmove(&clusters[at + 1], &clusters[at + 2], (count - at - 1) * sizeof *clusters);
        memmove(&joined[at], &joined[at + 1], (count - at) * sizeof *joined);
        if (at + 1 < count) {
            joined[at] = cost_of(&clusters[at], &clusters[at + 1]);
        }
        if (at > 0) {
            joined[at - 1] = cost_of(&clusters[at - 1], &clusters[at]);
        }
    }
    return count;
}

/* To three leading bits. */
static uint32_t coarse(uint32_t v, bool nearest)
{
    unsigned bits = v < 8 ? 0 : 29 - (unsigned)__builtin_clz(v);

    return (v + (nearest && bits ? 1u << (bits - 1) : 0)) >> bits << bits;
}

static void normalise(const struct cluster *cluster, uint16_t freq[LETHE_RANS_TOKENS])
{
    unsigned rest = 0;

    memset(freq, 0, LETHE_RANS_TOKENS * sizeof *freq);
    for (unsigned t = 1; t < LETHE_RANS_TOKENS; t++) {
        rest = cluster->count[t] > cluster->count[rest] ? t : rest;
    }
    for (unsigned nearest = 2; nearest-- > 0;) { /* downwards when rounding takes too much off the commonest */
        uint32_t sum = 0, share = 0;

        for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
            uint64_t n = (uint64_t)cluster->count[t] * LETHE_RANS_SUM;
            uint32_t v = cluster->total ? (uint32_t)((n + cluster->total / 2) / cluster->total) : 0;

            if (t == rest) {
                share = v;
                continue;
            }
            v = coarse(v, nearest);
            freq[t] = (uint16_t)(v == 0 && n > 0 ? 1 : v);
            sum += freq[t];
        }
        freq[rest] = (uint16_t)(LETHE_RANS_SUM - (sum < LETHE_RANS_SUM ? sum : LETHE_RANS_SUM - 1));
        if (sum < LETHE_RANS_SUM && freq[rest] >= share - share / 8) {
            break;
        }
    }
}

enum lethe_err lethe_fast_distribute(const uint32_t (*counts)[FAST_FRACTIONS][LETHE_RANS_TOKENS],
                                     struct fast_channel_model *model)
{
    struct cluster *clusters = calloc(FAST_LEVELS, sizeof *clusters);

    model->freq = calloc(FAST_TABLES, sizeof *model->freq);
    model->tables = 0;
    if (!clusters || !model->freq) {
        free(clusters);
        return LETHE_ERR_NOMEM;
    }
    for (unsigned fraction = 0; fraction < FAST_FRACTIONS; fraction++) {
        unsigned levels = fraction ? FAST_FINE_LEVELS : FAST_LEVELS, count;

        memset(clusters, 0, levels * sizeof *clusters);
        for (unsigned i = 0; i < levels; i++) {
            clusters[i].first = i;
            for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
                clusters[i].count[t] = counts[i][fraction][t];
                clusters[i].total += counts[i][fraction][t];
            }
        }
        count = join(clusters, levels);
        for (unsigned i = 0; i < count; i++) {
            unsigned end = i + 1 < count ? clusters[i + 1].first : levels;

            for (unsigned level = clusters[i].first; level < end; level++) {
                model->table[level][fraction] = (uint8_t)model->tables;
            }
            normalise(&clusters[i], model->freq[model->tables++]);
        }
    }
    for (unsigned level = FAST_FINE_LEVELS; level < FAST_LEVELS; level++) {
        model->table[level][1] = model->table[level][2] = model->table[level][0];
    }
    free(clusters);
    return LETHE_OK;
}

static unsigned bits_of(uint32_t v)
{
    return v ? 32 - (unsigned)__builtin_clz(v) : 0;
}

/* What is foreseen for the bits of token t: see the format above. What rest has is known last: as if it had all. */
static struct lethe_bit *bits_model(struct header *h, const uint16_t *freq, const uint16_t *before, unsigned t,
                                    unsigned rest)
{
    if (before) {
        return h->bits[1][bits_of(before[t])];
    }
    return h->bits[0][t == 0 ? 0 : bits_of(t - 1 == rest ? LETHE_RANS_SUM : freq[t - 1])];
}

static void encode_distribution(struct lethe_range_encoder *encoder, struct header *h, const uint16_t *freq,
                                const uint16_t *before)
{
    unsigned rest = 0, last = 0;

    for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
        /* One at most has more than three leading bits, and only what is left can be written so. */
        if (coarse(freq[rest], false) == freq[rest] &&
            (freq[t] > freq[rest] || coarse(freq[t], false) != freq[t])) {
            rest = t;
        }
        last = freq[t] ? t : last;
    }
    lethe_range_encode_tree(encoder, h->rest, 6, rest);
    lethe_range_encode_tree(encoder, h->last, 6, last);
    for (unsigned t = 0; t <= last; t++) {
        unsigned bits = bits_of(freq[t]);

        if (t == rest) {
            continue;
        }
        lethe_range_encode_tree(encoder, bits_model(h, freq, before, t, rest), 4, bits);
        if (bits == 2) {
            lethe_range_encode_tree(encoder, h->more[bits], 1, freq[t] & 1);
        } else if (bits > 2) {
            lethe_range_encode_tree(encoder, h->more[bits], 2, freq[t] >> (bits - 3) & 3);
        }
    }
}

static bool decode_distribution(struct lethe_range_decoder *decoder, struct header *h, uint16_t *freq,
                                const uint16_t *before)
{
    unsigned rest = lethe_range_decode_tree(decoder, h->rest, 6), last = lethe_range_decode_tree(decoder, h->last, 6);
    uint32_t sum = 0;

    for (unsigned t = 0; t <= last; t++) {
        unsigned bits, value;

        if (t == rest) {
            continue;
        }
        bits = lethe_range_decode_tree(decoder, bits_model(h, freq, before, t, rest), 4);
        value = bits;
        if (bits == 2) {
            value = 2 + lethe_range_decode_tree(decoder, h->more[bits], 1);
        } else if (bits > 2) {
            value = (4 + lethe_range_decode_tree(decoder, h->more[bits], 2)) << (bits - 3);
        }
        if (value >= LETHE_RANS_SUM) {
            return false;
        }
        freq[t] = (uint16_t)value;
        sum += value;
    }
    freq[rest] = (uint16_t)(LETHE_RANS_SUM - sum);
    return rest <= last && sum < LETHE_RANS_SUM;
}

static struct lethe_bit *class_model(struct header *h, const uint8_t *map, uint32_t x, uint32_t y, uint32_t w)
{
    unsigned above = y ? map[-(ptrdiff_t)w] : 0, left = x ? map[-1] : 0;

    return h->class[above][above == left];
}

void lethe_fast_model_encode(struct lethe_range_encoder *encoder, const struct fast_channel_model *model,
                             uint32_t blocks_w, uint32_t blocks_h)
{
    struct header h;
    unsigned features = fast_features(model->before);
    const uint8_t *map = model->map;

    header_init(&h);
    lethe_range_encode_raw(encoder, model->classes - 1, 3);
    for (uint32_t y = 0; y < blocks_h && model->classes > 1; y++) {
        for (uint32_t x = 0; x < blocks_w; x++, map++) {
            lethe_range_encode_tree(encoder, class_model(&h, map, x, y, blocks_w), 3, *map);
        }
    }
    for (unsigned c = 0; c < model->classes; c++) {
        for (unsigned i = 0; i < features; i++) {
            int32_t delta = (model->weights[c].w[i] - (c ? model->weights[c - 1].w[i] : 0)) / FAST_WEIGHT_STEP;

            lethe_range_encode_number(encoder, &h.weight, (uint32_t)(delta < 0 ? -2 * delta - 1 : 2 * delta));
        }
    }
    for (unsigned i = 0; i < FAST_ENERGIES; i++) {
        lethe_range_encode_raw(encoder, model->energy[i], 8);
    }
    for (unsigned fraction = 0; fraction < FAST_FRACTIONS; fraction++) {
        for (unsigned level = 1; level < (fraction ? FAST_FINE_LEVELS : FAST_LEVELS); level++) {
            lethe_range_encode_bit(encoder, &h.start[level >= FAST_FINE_LEVELS],
                                   model->table[level][fraction] != model->table[level - 1][fraction]);
        }
    }
    for (unsigned i = 0; i < model->tables; i++) {
        encode_distribution(encoder, &h, model->freq[i], i ? model->freq[i - 1] : NULL);
    }
}

static bool decode_weights(struct lethe_range_decoder *decoder, struct header *h, struct fast_channel_model *model)
{
    for (unsigned c = 0; c < model->classes; c++) {
        for (unsigned i = 0; i < fast_features(model->before); i++) {
            uint32_t folded = lethe_range_decode_number(decoder, &h->weight);
            int64_t w = ((int64_t)(folded >> 1) ^ -(int64_t)(folded & 1)) * FAST_WEIGHT_STEP;

            w += c ? model->weights[c - 1].w[i] : 0;
            if (w > FAST_WEIGHT_MAX || w < -FAST_WEIGHT_MAX) {
                return false;
            }
            model->weights[c].w[i] = (int16_t)w;
        }
    }
    return true;
}

enum lethe_err lethe_fast_model_decode(struct lethe_range_decoder *decoder, struct fast_channel_model *model,
                                       uint32_t blocks_w, uint32_t blocks_h)
{
    struct header h;
    uint8_t *map = model->map;

    header_init(&h);
    model->classes = 1 + lethe_range_decode_raw(decoder, 3);
    memset(map, 0, (size_t)blocks_w * blocks_h);
    for (uint32_t y = 0; y < blocks_h && model->classes > 1; y++) {
        for (uint32_t x = 0; x < blocks_w; x++, map++) {
            *map = (uint8_t)lethe_range_decode_tree(decoder, class_model(&h, map, x, y, blocks_w), 3);
            if (*map >= model->classes) {
                return LETHE_ERR_FORMAT;
            }
        }
        if (decoder->overrun > 4) {
            return LETHE_ERR_FORMAT;
        }
    }
    if (!decode_weights(decoder, &h, model)) {
        return LETHE_ERR_FORMAT;
    }
    for (unsigned i = 0; i < FAST_ENERGIES; i++) {
        model->energy[i] = (uint8_t)lethe_range_decode_raw(decoder, 8);
    }
    model->tables = 0;
    for (unsigned fraction = 0; fraction < FAST_FRACTIONS; fraction++) {
        model->table[0][fraction] = (uint8_t)model->tables++;
        for (unsigned level = 1; level < (fraction ? FAST_FINE_LEVELS : FAST_LEVELS); level++) {
            model->tables += lethe_range_decode_bit(decoder, &h.start[level >= FAST_FINE_LEVELS]);
            model->table[level][fraction] = (uint8_t)(model->tables - 1);
        }
    }
    for (unsigned level = FAST_FINE_LEVELS; level < FAST_LEVELS; level++) {
        model->table[level][1] = model->table[level][2] = model->table[level][0];
    }
    model->freq = calloc(model->tables, sizeof *model->freq);
    if (!model->freq) {
        return LETHE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < model->tables; i++) {
        if (!decode_distribution(decoder, &h, model->freq[i], i ? model->freq[i - 1] : NULL)) {
            return LETHE_ERR_FORMAT;
        }
    }
    return decoder->overrun > 4 ? LETHE_ERR_FORMAT : LETHE_OK;
}
