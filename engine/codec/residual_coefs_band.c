/* SPDX-License-Identifier: MIT */
/*
 * One band of quantised DCT coefficients given xhat. Component after component, block after block: how many
 * coefficients of the inner 7x7 are not zero, those coefficients in zigzag order until none is left, then
 * first column and first row (count, then values), then DC. Neighbouring blocks tell what to expect: their
 * magnitudes at the same frequency, and, since a picture goes on across the edge between two blocks, what the
 * first row and column and DC must be for that edge to match (D. Horn et al., "The design, implementation,
 * and deployment of a system to transparently compress hundreds of petabytes of image files", NSDI 2017; M.
 * Stirner, G. Seelmann, "Improved redundancy reduction for JPEG files", PCS 2007). xhat's own transform is
 * known on all sides. Every decision is seen by several models, mixed (mix.h).
 *
 * Encoder and decoder are the same code with a constant argument, so they cannot drift apart. Every state
 * starts afresh in each band.
 */
#include "engine/codec/residual_coefs.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/mix.h"
#include "lethe/range.h"

#define INLINE static inline __attribute__((always_inline))

#define CLASSES 3     /* of components: the first, the second, the others */
#define MODELS 5      /* of a magnitude */
#define FAST_MODELS 3 /* of them in the fast mode, the first ones */
#define SIGN_MODELS 3
#define COUNT_MODELS 4
#define INPUTS 6 /* models and a constant, at most */
#define INNER_CONTEXTS 6300
#define EDGE_CONTEXTS 2240
#define DC_CONTEXTS 320
#define EXPONENTS 16      /* |coefficient| < 2^16 */
#define MIXED_EXPONENTS 7 /* larger ones are too rare for the models */
#define HINTS 16 /* levels of what a magnitude is expected to be */
#define COIN_LIMIT 250
#define MIX_STEP 12         /* of a mixer's learning, at last */
#define MIX_EXTRA 110       /* added to it at first */
#define VALUE_MAX (1 << 24) /* dequantised coefficients are clamped to it, so that sums of 16 fit */

/* Decisions of one magnitude in one context: half a line of the processor's cache. */
#define SLOT_ZERO 0
#define SLOT_EXPONENT 1
#define SLOTS 8

enum kind { INNER, COLUMN, ROW, DC, KINDS };

/* The chances of a class of components. */
struct coins {
    struct lethe_coin inner[MODELS][INNER_CONTEXTS][SLOTS];
    struct lethe_coin edge[2][MODELS][EDGE_CONTEXTS][SLOTS];
    struct lethe_coin dc[MODELS][DC_CONTEXTS][SLOTS];
    struct lethe_coin high_exponents[KINDS][EXPONENTS];
    struct lethe_coin first_bits[KINDS][EXPONENTS][HINTS]; /* the first mantissa bit, by what is expected */
    struct lethe_coin low_bits[KINDS][EXPONENTS][2];       /* the second, by the first */
    struct lethe_coin sign[KINDS][SIGN_MODELS][1024];
    struct lethe_coin inner_count[COUNT_MODELS][512][64];
    struct lethe_coin edge_count[2][COUNT_MODELS][512][8];
};

/* Its mixers. */
struct weights {
    int32_t magnitude[KINDS][16][SLOTS][INPUTS];
    int32_t sign[KINDS][64][INPUTS];
    int32_t inner_count[64][INPUTS];
    int32_t edge_count[2][8][INPUTS];
};

struct class
{
    struct coins coins;
    struct weights weights;
};

/* What a coded block leaves for its neighbours. */
struct trace {
    int32_t right[8];     /* by vertical frequency: the row transform's value at the right edge */
    int32_t bottom[8];    /* by horizontal frequency: the column transform's value at the bottom edge */
    int32_t dc_off;       /* DC less xhat's DC, in eighths of a quantum */
    uint32_t dc_error[3]; /* of each prediction of DC, in eighths */
    uint32_t dc_missed;   /* |DC - prediction| */
    uint8_t inner;        /* counts of coefficients that are not zero */
    uint8_t edge[2];
};

struct state {
    struct lethe_coefs_band *band;
    struct class *classes;
    struct trace *traces[2]; /* this row of blocks, the one above; one more on the left */
    struct lethe_range_encoder encoder;
    struct lethe_range_decoder decoder;
};

/* Inner coefficients in zigzag order, as positions in natural order. */
static const uint8_t inner_order[49] = {
    9,  10, 17, 25, 18, 11, 12, 19, 26, 33, 41, 34, 27, 20, 13, 14, 21, 28, 35, 42, 49, 57, 50, 43, 36,
    29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

/* Always constants, so that the compiler makes one function for each. */
struct mode {
    bool decoding;
    bool strong;
};

INLINE uint32_t magnitude_of(int32_t v)
{
    return (uint32_t)(v < 0 ? -v : v);
}

INLINE int32_t clamp(int64_t v, int32_t limit)
{
    return v < -limit ? -limit : v > limit ? limit : (int32_t)v;
}

/* About twice the logarithm, at most most. */
INLINE unsigned level(uint32_t v, unsigned most)
{
    unsigned bits, l = v;

    if (v >= 2) {
        bits = 31 - (unsigned)__builtin_clz(v);
        l = 2 * bits + (v >> (bits - 1) & 1);
    }
    return l < most ? l : most;
}

/* In [0, 2 * most]. */
INLINE unsigned signed_level(int32_t v, unsigned most)
{
    unsigned l = level(magnitude_of(v), most);

    return v < 0 ? most - l : most + l;
}

INLINE unsigned sign_of(int32_t v)
{
    return v < 0 ? 0 : v > 0 ? 2 : 1;
}

INLINE unsigned code(struct state *s, struct mode mode, uint32_t p1, unsigned value)
{
    p1 = p1 < 16 ? 16 : p1 > 65520 ? 65520 : p1;
    if (mode.decoding) {
        return lethe_range_decode(&s->decoder, p1);
    }
    lethe_range_encode(&s->encoder, p1, value);
    return value;
}

INLINE unsigned code_coin(struct state *s, struct mode mode, struct lethe_coin *coin, unsigned value)
{
    value = code(s, mode, lethe_coin_p1(coin), value);
    lethe_coin_update(coin, value, COIN_LIMIT);
    return value;
}

/* One decision, seen by count models. */
INLINE unsigned code_mixed(struct state *s, struct mode mode, struct lethe_coin *const *coins, unsigned count,
                           int32_t *weights, unsigned value)
{
    int32_t logits[INPUTS], step;
    uint32_t p1;

    for (unsigned i = 0; i < count; i++) {
        logits[i] = lethe_logit(lethe_coin_p1(coins[i]));
    }
    p1 = lethe_chance(lethe_mix_dot(weights, logits, count));
    value = code(s, mode, p1, value);
    step = MIX_STEP + MIX_EXTRA * 16 / (weights[INPUTS - 1] + 16);
    weights[INPUTS - 1] += weights[INPUTS - 1] < 4096;
    lethe_mix_learn(weights, logits, count, (int32_t)(value << 16) - (int32_t)p1, step);
    for (unsigned i = 0; i < count; i++) {
        lethe_coin_update(coins[i], value, COIN_LIMIT);
    }
    return value;
}

INLINE unsigned code_slot(struct state *s, struct mode mode, struct lethe_coin *const *contexts,
                          int32_t (*weights)[INPUTS], unsigned slot, unsigned value)
{
    const unsigned models = mode.strong ? MODELS : FAST_MODELS;
    struct lethe_coin *coins[MODELS];

    for (unsigned i = 0; i < models; i++) {
        coins[i] = &contexts[i][slot];
    }
    return code_mixed(s, mode, coins, models, weights[slot], value);
}

/* A count below 2^bits, by a binary tree. */
INLINE unsigned code_tree(struct state *s, struct mode mode, struct lethe_coin *const *trees, unsigned bits,
                          int32_t (*weights)[INPUTS], unsigned value)
{
    unsigned node = 1;

    for (unsigned i = bits; i-- > 0;) {
        struct lethe_coin *coins[COUNT_MODELS];

        for (unsigned j = 0; j < COUNT_MODELS; j++) {
            coins[j] = &trees[j][node];
        }
        node = node << 1 | code_mixed(s, mode, coins, COUNT_MODELS, weights[node], value >> i & 1);
    }
    return node - (1u << bits);
}

/* A value of up to EXPONENTS bits; with sure, it is known not to be zero. */
INLINE int32_t code_value(struct state *s, struct class *class, struct mode mode, enum kind kind, bool sure,
                          struct lethe_coin *const *contexts, struct lethe_coin *const *signs, unsigned group,
                          unsigned sign_group, unsigned hint, int32_t value)
{
    int32_t(*weights)[INPUTS] = class->weights.magnitude[kind][group];
    uint32_t m = magnitude_of(value);
    unsigned bits = m ? 31 - (unsigned)__builtin_clz(m) : 0, negative;

    if (!sure && !code_slot(s, mode, contexts, weights, SLOT_ZERO, m != 0)) {
        return 0;
    }
    negative = code_mixed(s, mode, signs, SIGN_MODELS, class->weights.sign[kind][sign_group], value < 0);
    for (unsigned i = 0;; i++) {
        if (i == EXPONENTS - 1 ||
            !(i < MIXED_EXPONENTS ? code_slot(s, mode, contexts, weights, SLOT_EXPONENT + i, i < bits)
                                  : code_coin(s, mode, &class->coins.high_exponents[kind][i], i < bits))) {
            bits = i;
            break;
        }
    }
    if (bits > 0) {
        unsigned first = m >> (bits - 1) & 1;
        uint32_t got;

        got = 2 | code_coin(s, mode, &class->coins.first_bits[kind][bits][hint], first);
        if (bits > 1) {
            got = got << 1 |
                  code_coin(s, mode, &class->coins.low_bits[kind][bits][got & 1], m >> (bits - 2) & 1);
        }
        if (bits > 2) {
            if (mode.decoding) {
                got = got << (bits - 2) | lethe_range_decode_raw(&s->decoder, bits - 2);
            } else {
                lethe_range_encode_raw(&s->encoder, m & ((1u << (bits - 2)) - 1), bits - 2);
            }
        }
        m = mode.decoding ? got : m;
    } else {
        m = 1;
    }
    return negative ? -(int32_t)m : (int32_t)m;
}

/* The surroundings of the block being coded. Blocks that do not exist are all zero. */
struct around {
    const int16_t *left, *above, *corner; /* coefficients */
    const int16_t *twin;                  /* of the component before, at the same place */
    const struct trace *left_trace, *above_trace;
    const uint16_t *quant;
    bool has_left, has_above;
    int32_t expect[64]; /* xhat's coefficients in eighths of a quantum */
};

static const int16_t no_block[64];

INLINE int32_t dequantise(int32_t value, uint16_t quant)
{
    return clamp((int64_t)value * quant, VALUE_MAX);
}

/* value * sqrt(2) / quant in eighths, within 2^18. */
INLINE int32_t matching(int64_t value, uint16_t quant)
{
    return clamp(value * 1448 / (128 * (int64_t)quant), 1 << 18);
}

/* Weighted magnitude of the neighbours at position k, in sixteenths. */
INLINE uint32_t nearby(const struct around *a, unsigned k)
{
    uint32_t sum =
        6 * (magnitude_of(a->left[k]) + magnitude_of(a->above[k])) + 4 * magnitude_of(a->corner[k]);

    return sum;
}

INLINE bool code_inner(struct state *s, struct class *class, const struct around *a, struct mode mode,
                       int16_t *block, struct trace *trace, int32_t *row_sum, int32_t *column_sum)
{
    unsigned count = 0, expected = 0, left = a->left_trace->inner, above = a->above_trace->inner, twin = 0,
             both;
    struct lethe_coin *trees[COUNT_MODELS];

    for (unsigned i = 0; i < 49; i++) {
        expected += magnitude_of(a->expect[inner_order[i]]) >= 4;
        twin += a->twin[inner_order[i]] != 0;
        count += block[inner_order[i]] != 0;
    }
    both = a->has_left && a->has_above ? (left + above + 1) / 2 : left + above;
    trees[0] = class->coins.inner_count[0][both + 50 * (a->has_left + a->has_above)];
    trees[1] = class->coins.inner_count[1][expected * 8 + level(both, 7)];
    trees[2] = class->coins.inner_count[2][level(left, 11) * 12 + level(above, 11)];
    trees[3] = class->coins.inner_count[3][twin * 8 + level(both, 7)];
    count = code_tree(s, mode, trees, 6, class->weights.inner_count, count);
    if (count > 49) {
        return false;
    }
    trace->inner = (uint8_t)count;
    for (unsigned i = 0; i < 49 && count > 0; i++) {
        unsigned k = inner_order[i], u = k & 7, v = k >> 3;
        uint32_t near = nearby(a, k), inside, hint = magnitude_of(a->expect[k]);
        struct lethe_coin *contexts[MODELS], *signs[SIGN_MODELS];
        unsigned near_level = level(near >> 2, 11), hint_level = level(hint >> 2, 15), inside_level,
                 left_level, twin_level;
        int32_t value;

        inside = (u > 1 ? magnitude_of(block[k - 1]) * 2 : 0) + (v > 1 ? magnitude_of(block[k - 8]) * 2 : 0) +
                 (u > 1 && v > 1 ? magnitude_of(block[k - 9]) : 0);
        inside_level = level(inside, 7);
        left_level = level(count, 9);
        contexts[0] = class->coins.inner[0][(i * 10 + left_level) * 12 + near_level];
        contexts[1] = class->coins.inner[1][(i * 16 + hint_level) * 8 + level(near >> 2, 7)];
        contexts[2] = class->coins.inner[2][count * 49 + i];
        contexts[3] = class->coins.inner[3][(i * 8 + inside_level) * 10 + left_level];
        twin_level = level(magnitude_of(a->twin[k]), 3);
        contexts[4] =
            class->coins.inner[4][((near_level * 4 + twin_level) * 16 + hint_level) * 8 + inside_level];
        signs[0] = &class->coins.sign[INNER][0][i * 17 + signed_level(a->expect[k], 8)];
        signs[1] = &class->coins.sign[INNER][1][(i * 3 + sign_of(a->left[k])) * 3 + sign_of(a->above[k])];
        signs[2] =
            &class->coins.sign[INNER][2][(sign_of(a->twin[k]) * 49 + i) * 3 + sign_of(a->expect[k] / 4)];
        value = code_value(s, class, mode, INNER, count == 49 - i, contexts, signs, left_level, i, hint_level, block[k]);
        if (value == 0) {
            continue;
        }
        if (mode.decoding) {
            if (value > INT16_MAX || value < INT16_MIN) {
                return false;
            }
            block[k] = (int16_t)value;
        }
        count--;
        value = dequantise(value, a->quant[k]);
        row_sum[v] += value;
        column_sum[u] += value;
        trace->right[v] += u & 1 ? -value : value;
        trace->bottom[u] += v & 1 ? -value : value;
    }
    return count == 0;
}

/* The first column (F[v][0], kind COLUMN) or row (F[0][u], kind ROW). */
INLINE bool code_edge(struct state *s, struct class *class, const struct around *a, struct mode mode,
                      enum kind kind, int16_t *block, struct trace *trace, const int32_t *sums,
                      int32_t *edge_sum)
{
    const unsigned column = kind == COLUMN, step = column ? 8 : 1, which = column ? 0 : 1;
    const bool known = column ? a->has_left : a->has_above;
    const int32_t *across = column ? a->left_trace->right : a->above_trace->bottom;
    unsigned count = 0, expected = 0, twin = 0, left = a->left_trace->edge[which],
             above = a->above_trace->edge[which];
    struct lethe_coin *trees[COUNT_MODELS];

    for (unsigned i = 1; i < 8; i++) {
        expected += magnitude_of(a->expect[i * step]) >= 4;
        twin += a->twin[i * step] != 0;
        count += block[i * step] != 0;
    }
    trees[0] = class->coins.edge_count[which][0][trace->inner * 8 + (left + above + 1) / 2];
    trees[1] = class->coins.edge_count[which][1][(expected * 8 + left) * 8 + above];
    trees[2] = class->coins.edge_count[which][2][(level(trace->inner, 7) * 8 + expected) * 8 +
                                                 (column ? twin : trace->edge[0])];
    trees[3] =
        class->coins.edge_count[which][3][(twin * 8 + (left + above + 1) / 2) * 8 + level(trace->inner, 7)];
    count = code_tree(s, mode, trees, 3, class->weights.edge_count[which], count);
    trace->edge[which] = (uint8_t)count;
    for (unsigned i = 1; i < 8 && count > 0; i++) {
        unsigned k = i * step, near_level, hint_level, match_level;
        int32_t match = known ? matching(across[i] - sums[i], a->quant[k]) : 0, hint = a->expect[k], value;
        struct lethe_coin *contexts[MODELS], *signs[SIGN_MODELS];

        near_level = level(nearby(a, k) >> 1, 11);
        match_level = level(magnitude_of(match) >> 2, 15);
        hint_level = level(magnitude_of(hint) >> 2, 15);
        contexts[0] = class->coins.edge[which][0][(i * 16 + match_level) * 8 + count];
        contexts[1] = class->coins.edge[which][1][(i * 16 + hint_level) * 12 + near_level];
        contexts[2] = class->coins.edge[which][2][(i * 16 + match_level) * 16 + hint_level];
        contexts[3] = class->coins.edge[which][3][(i * 12 + near_level) * 8 + count];
        contexts[4] = class->coins.edge[which][4][((i - 1) * 5 + level(magnitude_of(a->twin[k]), 4)) * 64 +
                                                  level(trace->inner, 7) * 8 + count];
        signs[0] = &class->coins.sign[kind][0][i * 25 + signed_level(match / 2, 12)];
        signs[1] = &class->coins.sign[kind][1][i * 17 + signed_level(hint, 8)];
        signs[2] =
            &class->coins.sign[kind][2][(i * 9 + signed_level(match / 4, 4)) * 9 + signed_level(hint / 2, 4)];
        value = code_value(s, class, mode, kind, count == 8 - i, contexts, signs, level(trace->inner, 7), i,
                           hint_level, block[k]);
        if (value == 0) {
            continue;
        }
        if (mode.decoding) {
            if (value > INT16_MAX || value < INT16_MIN) {
                return false;
            }
            block[k] = (int16_t)value;
        }
        count--;
        value = dequantise(value, a->quant[k]);
        *edge_sum += value;
        if (column) {
            trace->right[i] += (int32_t)((int64_t)value * 181 / 256);
            trace->bottom[0] += i & 1 ? -value : value;
        } else {
            trace->bottom[i] += (int32_t)((int64_t)value * 181 / 256);
            trace->right[0] += i & 1 ? -value : value;
        }
    }
    return count == 0;
}

INLINE bool code_dc(struct state *s, struct class *class, const struct around *a, struct mode mode,
                    int16_t *block, struct trace *trace, int32_t row_sum, int32_t column_sum)
{
    const struct trace *l = a->left_trace, *t = a->above_trace;
    int32_t p[3], off, prediction, value, low, high, rounded;
    uint64_t total = 0;
    int64_t blend = 0;
    struct lethe_coin *contexts[MODELS], *signs[SIGN_MODELS];
    unsigned spread, missed;

    off = a->has_left && a->has_above ? (l->dc_off + t->dc_off) / 2 : l->dc_off + t->dc_off;
    p[2] = a->expect[0] + off;
    p[0] = a->has_left ? matching((int64_t)l->right[0] - row_sum, a->quant[0]) : p[2];
    p[1] = a->has_above ? matching((int64_t)t->bottom[0] - column_sum, a->quant[0]) : p[2];
    low = high = p[0];
    for (unsigned i = 0; i < 3; i++) {
        uint64_t error = (uint64_t)l->dc_error[i] + t->dc_error[i] + 8;
        uint64_t weight;

        error = error < 1 << 16 ? error : 1 << 16;
        weight = (1ull << 34) / (error * error) + 1;
        total += weight;
        blend += (int64_t)weight * p[i];
        low = p[i] < low ? p[i] : low;
        high = p[i] > high ? p[i] : high;
    }
    prediction = (int32_t)(blend / (int64_t)total);
    rounded = clamp((prediction + 4) >> 3, 32767);
    spread = level((uint32_t)(high - low) >> 1, 19);
    missed = level(l->dc_missed + t->dc_missed, 15);
    contexts[0] = class->coins.dc[0][spread];
    contexts[1] = class->coins.dc[1][missed * 8 + level(trace->inner, 7)];
    contexts[2] = class->coins.dc[2][spread * 16 + missed];
    contexts[3] = class->coins.dc[3][signed_level((p[2] - prediction) / 2, 7) * 8 + missed / 2];
    contexts[4] = class->coins.dc[4][level((uint32_t)trace->edge[0] + trace->edge[1], 6) * 20 + spread];
    signs[0] = &class->coins.sign[DC][0][signed_level((p[2] - prediction) / 2, 9)];
    signs[1] = &class->coins.sign[DC][1][signed_level((p[0] - prediction) / 2, 7) * 15 +
                                         signed_level((p[1] - prediction) / 2, 7)];
    signs[2] = &class->coins.sign[DC][2][(unsigned)(prediction + 4) & 7];
    /* Both within int16, so the difference is within 17 bits: its top exponent is folded by wrapping to 16.
     */
    value = (int16_t)(uint16_t)(block[0] - rounded);
    value = code_value(s, class, mode, DC, false, contexts, signs, missed, 0, missed, value);
    if (mode.decoding) {
        block[0] = (int16_t)(uint16_t)(value + rounded);
    }
    trace->dc_missed = magnitude_of(value);
    trace->dc_off = clamp(8 * block[0] - a->expect[0], 1 << 20);
    for (unsigned i = 0; i < 3; i++) {
        trace->dc_error[i] = magnitude_of(8 * block[0] - p[i]);
    }
    value = (int32_t)((int64_t)dequantise(block[0], a->quant[0]) * 181 / 256);
    trace->right[0] += value;
    trace->bottom[0] += value;
    return true;
}

INLINE bool code_component(struct state *s, unsigned c, struct mode mode)
{
    struct lethe_coefs_band *band = s->band;
    const struct lethe_jpeg_component *k = &band->jpeg->component[c];
    const struct lethe_jpeg_component *before = c > 0 ? &band->jpeg->component[c - 1] : NULL;
    struct class *class = &s->classes[c < CLASSES ? c : CLASSES - 1];
    const bool twin = before && before->blocks_w == k->blocks_w && before->blocks_h == k->blocks_h;
    size_t stride = (size_t)k->blocks_w * 8;
    uint16_t quant[64];
    int32_t inverse[64]; /* 2^16 / quant */

    for (unsigned i = 0; i < 64; i++) {
        quant[i] = k->quant[i] ? k->quant[i] : 1;
        inverse[i] = (1 << 16) / quant[i];
    }
    memset(s->traces[0], 0, ((size_t)k->blocks_w + 1) * sizeof **s->traces);
    memset(s->traces[1], 0, ((size_t)k->blocks_w + 1) * sizeof **s->traces);
    for (uint32_t y = band->first[c]; y < band->end[c]; y++) {
        struct trace *swap = s->traces[0];

        s->traces[0] = s->traces[1];
        s->traces[1] = swap;
        for (uint32_t x = 0; x < k->blocks_w; x++) {
            size_t at = (size_t)y * k->blocks_w + x;
            int16_t *block = k->coefs + at * 64;
            struct trace *trace = &s->traces[0][x + 1];
            int32_t row_sum[8] = {0}, column_sum[8] = {0};
            struct around a = {.quant = quant, .has_left = x > 0, .has_above = y > band->first[c]};

            a.left = a.has_left ? block - 64 : no_block;
            a.above = a.has_above ? block - (size_t)k->blocks_w * 64 : no_block;
            a.corner = a.has_left && a.has_above ? block - ((size_t)k->blocks_w + 1) * 64 : no_block;
            a.twin = twin ? before->coefs + at * 64 : no_block;
            a.left_trace = &s->traces[0][x];
            a.above_trace = &s->traces[1][x + 1];
            lethe_fdct(band->xhat[c] + (size_t)y * 8 * stride + (size_t)x * 8, stride, a.expect);
            for (unsigned i = 0; i < 64; i++) {
                a.expect[i] = (a.expect[i] * inverse[i] + (1 << 15)) >> 16; /* below 2^14 * 2^16 */
            }
            *trace = (struct trace){0};
            if (mode.decoding) {
                memset(block, 0, 64 * sizeof *block);
            }
            if (!code_inner(s, class, &a, mode, block, trace, row_sum, column_sum) ||
                !code_edge(s, class, &a, mode, COLUMN, block, trace, row_sum, &column_sum[0]) ||
                !code_edge(s, class, &a, mode, ROW, block, trace, column_sum, &row_sum[0]) ||
                !code_dc(s, class, &a, mode, block, trace, row_sum[0], column_sum[0])) {
                return false;
            }
        }
        if (mode.decoding && s->decoder.overrun) {
            return false;
        }
    }
    return true;
}

static void weights_init(int32_t *weights, size_t count, int32_t models)
{
    for (size_t i = 0; i < count; i++) {
        weights[i] = i % INPUTS == INPUTS - 1 ? 0 : 65536 * 5 / (4 * models);
    }
}

static enum lethe_err state_init(struct state *s, struct lethe_coefs_band *band)
{
    unsigned classes = band->jpeg->components < CLASSES ? band->jpeg->components : CLASSES;
    size_t width = 0;

    *s = (struct state){.band = band};
    for (unsigned c = 0; c < band->jpeg->components; c++) {
        width = band->jpeg->component[c].blocks_w > width ? band->jpeg->component[c].blocks_w : width;
    }
    s->classes = malloc(classes * sizeof *s->classes);
    s->traces[0] = calloc(2 * (width + 1), sizeof **s->traces);
    if (!s->classes || !s->traces[0]) {
        free(s->classes);
        free(s->traces[0]);
        return LETHE_ERR_NOMEM;
    }
    s->traces[1] = s->traces[0] + width + 1;
    for (unsigned i = 0; i < classes; i++) {
        struct class *c = &s->classes[i];

        lethe_coins_init(&c->coins.inner[0][0][0], sizeof c->coins / sizeof(struct lethe_coin));
        weights_init(&c->weights.magnitude[0][0][0][0], sizeof c->weights.magnitude / sizeof(int32_t),
                     band->strong ? MODELS : FAST_MODELS);
        weights_init(&c->weights.sign[0][0][0], sizeof c->weights.sign / sizeof(int32_t), SIGN_MODELS);
        weights_init(&c->weights.inner_count[0][0], sizeof c->weights.inner_count / sizeof(int32_t),
                     COUNT_MODELS);
        weights_init(&c->weights.edge_count[0][0][0], sizeof c->weights.edge_count / sizeof(int32_t),
                     COUNT_MODELS);
    }
    return LETHE_OK;
}

static void state_release(struct state *s)
{
    free(s->classes);
    free(s->traces[0] < s->traces[1] ? s->traces[0] : s->traces[1]);
}

void lethe_coefs_band_encode(struct lethe_coefs_band *band)
{
    struct state s;

    band->err = state_init(&s, band);
    if (band->err) {
        return;
    }
    lethe_range_encoder_init(&s.encoder, &band->out);
    for (unsigned c = 0; c < band->jpeg->components && !band->err; c++) {
        band->err = (band->strong ? code_component(&s, c, (struct mode){false, true})
                                  : code_component(&s, c, (struct mode){false, false}))
                        ? LETHE_OK
                        : LETHE_ERR_FORMAT;
    }
    lethe_range_encoder_finish(&s.encoder);
    if (!band->err) {
        band->err = lethe_buf_status(&band->out);
    }
    state_release(&s);
}

void lethe_coefs_band_decode(struct lethe_coefs_band *band)
{
    struct state s;

    band->err = state_init(&s, band);
    if (band->err) {
        return;
    }
    lethe_range_decoder_init(&s.decoder, band->bytes, band->len);
    for (unsigned c = 0; c < band->jpeg->components && !band->err; c++) {
        band->err = (band->strong ? code_component(&s, c, (struct mode){true, true})
                                  : code_component(&s, c, (struct mode){true, false}))
                        ? LETHE_OK
                        : LETHE_ERR_FORMAT;
    }
    /* The decoder takes exactly what the encoder wrote: fewer or more bytes mean another stream. */
    if (!band->err && (s.decoder.overrun || s.decoder.at != s.decoder.end)) {
        band->err = LETHE_ERR_FORMAT;
    }
    state_release(&s);
}
