/* SPDX-License-Identifier: MIT */
/*
 * One band of samples given xhat, in the strong mode. Row after row, and inside a row channel after channel
 * (alpha first, so that what lies under transparent pixels is known), each sample is predicted from its causal
 * neighbours, from the Decrypter's picture (which is known on all sides), and from the channels already coded in
 * this row. Several predictions are blended by how well each did nearby (the self-correcting predictor of JPEG XL,
 * ISO/IEC 18181-1, is of this kind); one of them is a local least-squares fit. The rounded error is written in
 * binary decisions: zero, sign, exponent in unary, mantissa. Several adaptive chances are mixed for each (mix.h).
 *
 * Encoder and decoder are the same code with a constant argument, so they cannot drift apart. Every state
 * starts afresh in each band.
 */
#include "engine/codec/residual_samples.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/mix.h"
#include "lethe/range.h"

#define INLINE static inline __attribute__((always_inline))

#define PAD 4     /* columns beside a row that may be read */
#define UNIT 8    /* predictions are in eighths of a sample */
#define LEVELS 40 /* of level(): 2^19 is level 38 */
#define SUBS 6    /* predictions that are blended; the last is the least squares one */
#define TRUSTS 88 /* of trust_index */
#define BLOCK 16  /* columns that share least-squares weights */
#define MODELS 7  /* models of a decision */
#define CONTEXTS 1024 /* of each model, at most */
#define INPUTS (MODELS + 1)
#define BIAS_CONTEXTS 640
#define MIX_STEP 14
#define COIN_LIMIT 500

/* Decisions of one error in one context; the commonest fill the first cache line. */
#define EXPONENTS 22 /* |error| < 2^21 */
#define SLOT_ZERO 0
#define SLOT_SIGN 1
#define SLOT_EXPONENT 2
#define SLOT_MANTISSA (SLOT_EXPONENT + EXPONENTS)
#define SLOTS 48

struct channel {
    int32_t *x[3];    /* samples: this row, the one above, the one above that */
    int32_t *h[3];    /* xhat: the row above, this row, the row below */
    int32_t *e[3];    /* errors in samples, rows as x */
    uint32_t *sub[2]; /* errors of the blended predictions: this row, the one above; SUBS a column */
    struct lethe_lsq_sums *sums;              /* one for each block of columns */
    struct lethe_coin *coins;                 /* [model][context][slot] */
    int32_t *weights;                         /* [slot][5][INPUTS] */
    struct lethe_coin low_bits[EXPONENTS][4]; /* the second mantissa bit */
    struct lethe_coin flat[16];               /* a sample in even surroundings repeats its neighbour */
    struct lethe_coin hidden[4];              /* a sample under a transparent pixel repeats the last such */
    int32_t bias_sum[BIAS_CONTEXTS];
    int32_t bias_count[BIAS_CONTEXTS];
    int32_t low, high; /* the range of a sample */
    int32_t last_hidden;
    bool colour; /* not alpha */
};

struct state {
    struct lethe_samples_band *band;
    struct channel channels[4]; /* in coding order */
    unsigned plane[4];          /* coding order to raster plane (or its transform) */
    unsigned count;
    uint32_t width;
    unsigned shift;    /* brings differences into the range that contexts and least squares use */
    uint8_t *flat_row; /* by column: how this pixel's earlier channels went: see code_sample */
    struct lethe_range_encoder encoder;
    struct lethe_range_decoder decoder;
    uint32_t trust[TRUSTS];    /* weights of a blend by summed errors in eighths; see trust_index */
    uint32_t reciprocal[1024]; /* 2^22 / n */
    void *memory;
};

INLINE uint32_t magnitude(int32_t v)
{
    return (uint32_t)(v < 0 ? -v : v);
}

INLINE int32_t clamp(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* About twice the logarithm: 0, 1, 2, 3, 4 (4..5), 5 (6..7), 6 (8..11), ... */
INLINE unsigned level(uint32_t v)
{
    unsigned bits;

    if (v < 2) {
        return v;
    }
    bits = 31 - (unsigned)__builtin_clz(v);
    return 2 * bits + (v >> (bits - 1) & 1);
}

INLINE unsigned level_to(uint32_t v, unsigned most)
{
    unsigned l = level(v);

    return l < most ? l : most;
}

/* A signed level in [0, 2 * most]. */
INLINE unsigned signed_level(int32_t v, unsigned most)
{
    unsigned l = level_to(magnitude(v), most);

    return v < 0 ? most - l : most + l;
}

INLINE unsigned code(struct state *s, bool decoding, uint32_t p1, unsigned value)
{
    p1 = p1 < 16 ? 16 : p1 > 65520 ? 65520 : p1;
    if (decoding) {
        return lethe_range_decode(&s->decoder, p1);
    }
    lethe_range_encode(&s->encoder, p1, value);
    return value;
}

INLINE unsigned code_coin(struct state *s, bool decoding, struct lethe_coin *coin, unsigned value)
{
    value = code(s, decoding, lethe_coin_p1(coin), value);
    lethe_coin_update(coin, value, COIN_LIMIT);
    return value;
}

/* One decision, seen by all models at their contexts. */
INLINE unsigned code_slot(struct state *s, struct channel *c, bool decoding,
                          struct lethe_coin *const *contexts, unsigned slot, unsigned set, unsigned value)
{
    int32_t logits[INPUTS];
    int32_t *weights = c->weights + (slot * 5 + set) * INPUTS;
    uint32_t p1;
    int32_t error;

    for (unsigned i = 0; i < MODELS; i++) {
        logits[i] = lethe_logit(lethe_coin_p1(&contexts[i][slot]));
    }
    logits[MODELS] = 256;
    p1 = lethe_chance(lethe_mix_dot(weights, logits, INPUTS));
    value = code(s, decoding, p1, value);
    error = (int32_t)(value << 16) - (int32_t)p1;
    lethe_mix_learn(weights, logits, INPUTS, error, MIX_STEP);
    for (unsigned i = 0; i < MODELS; i++) {
        lethe_coin_update(&contexts[i][slot], value, COIN_LIMIT);
    }
    return value;
}

/* A signed error; |error| < 2^21 when encoding, and whatever the stream holds below 2^22 when decoding. */
INLINE int32_t code_error(struct state *s, struct channel *c, bool decoding,
                          struct lethe_coin *const *contexts, unsigned set, int32_t error)
{
    uint32_t m = 0;
    unsigned negative = error < 0, bits = 0;

    if (!code_slot(s, c, decoding, contexts, SLOT_ZERO, set, error != 0)) {
        return 0;
    }
    negative = code_slot(s, c, decoding, contexts, SLOT_SIGN, set, negative);
    if (!decoding) {
        m = magnitude(error);
        bits = 31 - (unsigned)__builtin_clz(m);
    }
    /* m in [2^bits, 2^(bits + 1)) */
    for (unsigned i = 0;; i++) {
        if (i == EXPONENTS - 1 ||
            !code_slot(s, c, decoding, contexts, SLOT_EXPONENT + i, set, i < bits)) {
            bits = i;
            break;
        }
    }
    if (bits > 0) {
        uint32_t top = m >> (bits - 1) & 1, value;

        top = code_slot(s, c, decoding, contexts, SLOT_MANTISSA + bits, set, top);
        value = 2 | top;
        if (bits > 1) {
            unsigned next = m >> (bits - 2) & 1;

            next = code_coin(s, decoding, &c->low_bits[bits][top], next);
            value = value << 1 | next;
        }
        if (bits > 2) {
            unsigned rest = bits - 2;

            if (decoding) {
                value = value << rest | lethe_range_decode_raw(&s->decoder, rest);
            } else {
                lethe_range_encode_raw(&s->encoder, m & ((1u << rest) - 1), rest);
            }
        }
        m = decoding ? value : m;
    } else {
        m = 1;
    }
    return negative ? -(int32_t)m : (int32_t)m;
}

/* The features of least squares: what is known around the sample, relative to xhat. Returns how many. */
INLINE unsigned features(const struct state *s, unsigned k, uint32_t i, int32_t *f)
{
    const struct channel *c = &s->channels[k];
    const int32_t *x = c->x[0] + i, *n = c->x[1] + i, *nn = c->x[2] + i;
    const int32_t *h = c->h[1] + i, *hn = c->h[0] + i, *hs = c->h[2] + i;
    int32_t here = h[0];
    unsigned count = 0;

    f[count++] = x[-1] - here;
    f[count++] = n[0] - here;
    f[count++] = n[-1] - here;
    f[count++] = n[1] - here;
    f[count++] = x[-2] - here;
    f[count++] = nn[0] - here;
    f[count++] = h[-1] - here;
    f[count++] = hn[0] - here;
    f[count++] = h[1] - here;
    f[count++] = hs[0] - here;
    if (k > 0 && s->channels[k - 1].colour) {
        for (unsigned back = 1; back <= 2 && back <= k && s->channels[k - back].colour; back++) {
            const struct channel *o = &s->channels[k - back];
            int32_t other = o->x[0][i];

            f[count++] = other - o->h[1][i];
            f[count++] = other - o->x[0][(int64_t)i - 1];
            f[count++] = other - o->x[1][i];
            if (back == 1) {
                f[count++] = other - o->x[0][i + 1];
            }
        }
    } else {
        f[count++] = n[2] - here;
        f[count++] = nn[1] - here;
        f[count++] = hs[-1] - here;
        f[count++] = hs[1] - here;
    }
    return count;
}

static unsigned feature_count(const struct state *s, unsigned k)
{
    return k > 0 && s->channels[k - 1].colour ? k > 1 && s->channels[k - 2].colour ? 17 : 14 : 14;
}

/* The median of w, n and w + n - nw (the predictor of LOCO-I, ISO/IEC 14495-1). */
INLINE int32_t median(int32_t w, int32_t n, int32_t nw)
{
    return clamp(w + n - nw, w < n ? w : n, w < n ? n : w);
}

/* Where in state.trust a summed error belongs: eight steps an octave of error + 8. */
INLINE unsigned trust_index(uint32_t error)
{
    unsigned bits = 31 - (unsigned)__builtin_clz(error + 8);

    bits = bits < 13 ? bits : 13;
    return (bits - 3) * 8 + ((error + 8) >> (bits - 3) & 7);
}

/*
 * Codes the sample of channel k at column i. lsq are the least-squares weights of its block. Returns false on
 * a sample out of range, which only a malformed stream can hold.
 */
INLINE bool code_sample(struct state *s, unsigned k, uint32_t i, bool decoding,
                        const int32_t *lsq, struct lethe_lsq_sums *sums, unsigned lsq_count)
{
    struct channel *c = &s->channels[k];
    int32_t *x = c->x[0] + i;
    const int32_t *n = c->x[1] + i, *nn = c->x[2] + i;
    int32_t *e = c->e[0] + i;
    const int32_t *en = c->e[1] + i;
    const int32_t here = c->h[1][i], hw = c->h[1][(int64_t)i - 1], hn = c->h[0][i],
                  hnw = c->h[0][(int64_t)i - 1];
    uint32_t *sub = c->sub[0] + (size_t)i * SUBS;
    const uint32_t *sub_n = c->sub[1] + (size_t)i * SUBS;
    const unsigned first = k == 0 || !s->channels[k - 1].colour; /* no colour before */
    int32_t p[SUBS], f[LETHE_LSQ_MAX];
    uint32_t trust[SUBS], total = 0;
    int64_t blend = 0;
    int32_t prediction, rounded, error, actual = x[0];
    unsigned cut_bits, texture, bias, act, cross_level, set, flat_context;
    int32_t cross = 0;
    uint32_t activity;
    struct lethe_coin *contexts[MODELS];

    /* Under a transparent pixel the colour is most often the same everywhere. */
    if (c->colour && !s->channels[0].colour && s->channels[0].x[0][i] == 0) {
        struct lethe_coin *coin =
            &c->hidden[(s->channels[0].x[0][(int64_t)i - 1] == 0) + 2 * (s->channels[0].x[1][i] == 0)];

        if (code_coin(s, decoding, coin, actual == c->last_hidden)) {
            x[0] = c->last_hidden;
            e[0] = 0;
            memset(sub, 0, SUBS * sizeof *sub);
            s->flat_row[i] = 1;
            return true;
        }
    }
    /* In even surroundings a sample most often repeats its neighbours: flat areas cost next to nothing. */
    flat_context = s->flat_row[i];
    if (x[-1] == n[0] && n[0] == n[-1] && n[0] == n[1] && n[0] == x[-2] && n[0] == nn[0]) {
        if (code_coin(s, decoding, &c->flat[flat_context + 4 * first], actual == n[0])) {
            x[0] = n[0];
            e[0] = 0;
            memset(sub, 0, SUBS * sizeof *sub);
            s->flat_row[i] = 1;
            return true;
        }
        s->flat_row[i] = 2;
    } else {
        s->flat_row[i] = 3;
    }

    /* Predictions relative to xhat, in eighths. Where xhat tells how the picture goes on, half of it is
     * believed. */
    p[0] = UNIT * (x[-1] - here) + UNIT / 2 * (here - hw);
    p[1] = UNIT * (n[0] - here) + UNIT / 2 * (here - hn);
    p[2] = UNIT * (x[-1] + n[0] - n[-1] - here);
    p[3] = UNIT * (x[-1] + n[1] - n[0] - here);
    p[4] = UNIT / 2 * (median(x[-1], n[0], n[-1]) - here + median(x[-1] - hw, n[0] - hn, n[-1] - hnw));
    int64_t sum = 0;

    (void)features(s, k, i, f);
    for (unsigned j = 0; j < lsq_count; j++) {
        sum += (int64_t)lsq[j] * f[j];
    }
    p[5] = clamp((int32_t)((sum + (1 << 12)) >> 13), UNIT * (c->low - here), UNIT * (c->high - here));
    for (unsigned j = 0; j < SUBS; j++) {
        uint32_t near = sub_n[j] + *(sub + j - SUBS) + sub_n[(size_t)j + SUBS] + *(sub_n + j - SUBS);

        trust[j] = s->trust[trust_index(near >> s->shift)] << (j == 5 ? 2 : 0);
        total += trust[j];
    }
    /* Cut to ten bits together, so that a table divides: total < 2^24 before. */
    cut_bits = total < 1024 ? 0 : 22 - (unsigned)__builtin_clz(total);
    total = 0;
    for (unsigned j = 0; j < SUBS; j++) {
        trust[j] >>= cut_bits;
        total += trust[j];
        blend += (int64_t)trust[j] * p[j];
    }
    prediction = (int32_t)((blend * s->reciprocal[total]) >> 22) + UNIT * here;

    activity = 2 * magnitude(e[-1]) + 2 * magnitude(en[0]) + magnitude(en[-1]) + magnitude(en[1]) +
               magnitude(e[-2]) + magnitude(c->e[2][i]);
    act = level_to(activity, LEVELS - 1);
    if (!first) {
        cross = s->channels[k - 1].e[0][i];
    }
    texture = (unsigned)(UNIT * x[-1] > prediction) | (unsigned)(UNIT * n[0] > prediction) << 1 |
              (unsigned)(UNIT * n[-1] > prediction) << 2 | (unsigned)(UNIT * n[1] > prediction) << 3 |
              (unsigned)(UNIT * here > prediction) << 4 |
              (unsigned)(UNIT * (2 * n[0] - nn[0]) > prediction) << 5;
    bias = texture * 10 + act / 4;
    prediction += (int32_t)(((int64_t)c->bias_sum[bias] * s->reciprocal[c->bias_count[bias] + 1]) >> 22);
    prediction = clamp(prediction, UNIT * c->low, UNIT * c->high);
    rounded = (prediction + UNIT / 2) >> 3;

    cross_level =
        first ? level_to((magnitude(c->h[1][i + 1] - hw) + magnitude(c->h[2][i] - hn)) >> s->shift, 19)
              : level_to(magnitude(cross), 19);
    struct lethe_coin *base = c->coins;
    unsigned fraction = (unsigned)(prediction + UNIT / 2) & 7;
    int32_t spread = p[5] + UNIT * here - prediction;

    contexts[0] = base + (act * 8 + fraction) * SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[1] = base + (level_to(magnitude(e[-1]) + magnitude(e[-2]), 19) * 20 +
                          level_to(magnitude(en[0]) + magnitude(en[1]), 19)) *
                             SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[2] = base + (signed_level((here - rounded) >> s->shift, 7) * 20 + act / 2) * SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[3] = base + (signed_level(e[-1] >> s->shift, 4) * 81 +
                          signed_level(en[0] >> s->shift, 4) * 9 + signed_level(cross >> s->shift, 4)) *
                             SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[4] = base + (signed_level(spread >> s->shift, 7) * 20 + act / 2) * SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[5] = base + (texture * 10 + act / 4) * SLOTS;
    base += CONTEXTS * SLOTS;
    contexts[6] = base + (cross_level * 20 + act / 2) * SLOTS;
    set = act >= 20 ? 4 : act / 5;
    error = code_error(s, c, decoding, contexts, set, actual - rounded);
    if (decoding) {
        actual = rounded + error;
        if (actual < c->low || actual > c->high) {
            return false;
        }
        x[0] = actual;
    }
    e[0] = error;
    if (c->colour && !s->channels[0].colour && s->channels[0].x[0][i] == 0) {
        c->last_hidden = actual;
    }

    /* Learn. */
    for (unsigned j = 0; j < SUBS; j++) {
        sub[j] = magnitude(UNIT * (actual - here) - p[j]);
    }
    c->bias_sum[bias] += clamp(UNIT * actual - prediction, -(1 << 14), 1 << 14);
    if (++c->bias_count[bias] == 255) {
        c->bias_sum[bias] /= 2;
        c->bias_count[bias] /= 2;
    }
    int16_t small[LETHE_LSQ_MAX];

    /* Where errors are small they say more: each sample weighs about as the inverse of the local
     * variance. */
    int32_t gain = (int32_t)(640 / (10 + (activity >> s->shift)));

    for (unsigned j = 0; j < lsq_count; j++) {
        small[j] = (int16_t)clamp((f[j] >> s->shift) * gain / 16, -LETHE_LSQ_RANGE, LETHE_LSQ_RANGE);
    }
    lethe_lsq_add(
        sums, lsq_count, small,
        (int16_t)clamp(((actual - here) >> s->shift) * gain / 16, -LETHE_LSQ_RANGE, LETHE_LSQ_RANGE));
    return true;
}

static const int32_t lsq_prior[LETHE_LSQ_MAX] = {49152, 49152, -32768};

INLINE bool code_row(struct state *s, unsigned k, bool decoding)
{
    struct channel *c = &s->channels[k];
    unsigned count = feature_count(s, k);
    uint32_t blocks = (s->width + BLOCK - 1) / BLOCK;
    int32_t lsq[LETHE_LSQ_MAX] = {0};

    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t end = (b + 1) * BLOCK < s->width ? (b + 1) * BLOCK : s->width;

        const struct lethe_lsq_sums *near[4] = {b > 0 ? &c->sums[b - 1] : NULL, &c->sums[b],
                                                b + 1 < blocks ? &c->sums[b + 1] : NULL,
                                                b > 1 ? &c->sums[b - 2] : NULL};

        lethe_lsq_solve(near, 4, count, lsq_prior, lsq);
        lethe_lsq_decay(&c->sums[b], count);
        for (uint32_t i = b * BLOCK; i < end; i++) {
            if (!code_sample(s, k, i, decoding, lsq, &c->sums[b], count)) {
                return false;
            }
        }
    }
    return true;
}

/* What is read beside a row: the edge repeated; left of the row, the first sample of the row above. */
static void pad_right(int32_t *row, uint32_t width)
{
    for (uint32_t i = 0; i < PAD; i++) {
        row[width + i] = row[width - 1];
    }
}

static void pad_left(int32_t *row, int32_t value)
{
    for (int i = 1; i <= PAD; i++) {
        row[-i] = value;
    }
}

/* xhat of a picture row, in the coded colours and depth, for each channel at h[slot]. */
static void load_xhat(struct state *s, uint32_t row, unsigned slot)
{
    const struct lethe_samples_band *band = s->band;
    const struct lethe_raster *raster = band->raster;
    size_t at = (size_t)(row < raster->height ? row : raster->height - 1) * s->width;
    int32_t scale = raster->depth == 16 ? 257 : 1;

    for (unsigned k = 0; k < s->count; k++) {
        int32_t *h = s->channels[k].h[slot];
        unsigned plane = s->plane[k];

        if (band->colour == LETHE_COLOUR_YCOCG && plane < 3) {
            for (uint32_t i = 0; i < s->width; i++) {
                int32_t v[3];

                lethe_ycocg_forward(band->xhat[0][at + i] * scale, band->xhat[1][at + i] * scale,
                                    band->xhat[2][at + i] * scale, &v[0], &v[1], &v[2]);
                h[i] = v[plane];
            }
        } else {
            for (uint32_t i = 0; i < s->width; i++) {
                h[i] = band->xhat[plane][at + i] * scale;
            }
        }
        pad_left(h, h[0]);
        pad_right(h, s->width);
    }
}

static void load_samples(struct state *s, uint32_t row)
{
    const struct lethe_samples_band *band = s->band;
    size_t at = (size_t)row * s->width;

    for (unsigned k = 0; k < s->count; k++) {
        int32_t *x = s->channels[k].x[0];
        unsigned plane = s->plane[k];

        if (band->colour == LETHE_COLOUR_YCOCG && plane < 3) {
            uint16_t *const *planes = band->raster->planes;

            for (uint32_t i = 0; i < s->width; i++) {
                int32_t v[3];

                lethe_ycocg_forward(planes[0][at + i], planes[1][at + i], planes[2][at + i], &v[0], &v[1],
                                    &v[2]);
                x[i] = v[plane];
            }
        } else {
            for (uint32_t i = 0; i < s->width; i++) {
                x[i] = band->raster->planes[plane][at + i];
            }
        }
    }
}

/* False when three colours make a sample out of range. */
static bool store_samples(struct state *s, uint32_t row)
{
    const struct lethe_samples_band *band = s->band;
    size_t at = (size_t)row * s->width;
    uint32_t most = (1u << band->raster->depth) - 1;
    const int32_t *colours[3] = {0};

    for (unsigned k = 0; k < s->count; k++) {
        unsigned plane = s->plane[k];

        if (band->colour == LETHE_COLOUR_YCOCG && plane < 3) {
            colours[plane] = s->channels[k].x[0];
        } else {
            for (uint32_t i = 0; i < s->width; i++) {
                band->raster->planes[plane][at + i] = (uint16_t)s->channels[k].x[0][i];
            }
        }
    }
    if (band->colour == LETHE_COLOUR_YCOCG) {
        for (uint32_t i = 0; i < s->width; i++) {
            int32_t v[3];

            lethe_ycocg_inverse(colours[0][i], colours[1][i], colours[2][i], &v[0], &v[1], &v[2]);
            if ((uint32_t)v[0] > most || (uint32_t)v[1] > most || (uint32_t)v[2] > most) {
                return false;
            }
            for (unsigned plane = 0; plane < 3; plane++) {
                band->raster->planes[plane][at + i] = (uint16_t)v[plane];
            }
        }
    }
    return true;
}

/* Cuts size * count bytes off the memory that follows at; with memory NULL it only counts. */
static void *cut(uint8_t *memory, size_t *at, size_t count, size_t size)
{
    void *piece = memory ? memory + *at : NULL;

    *at += (count * size + 63) & ~(size_t)63;
    return piece;
}

/* width is below 2^31 / (depth and channels) by the caller's checks; see residual_samples.c. */
static size_t lay_out(struct state *s, uint8_t *memory)
{
    size_t at = 0, row = s->width + 2 * PAD;

    for (unsigned k = 0; k < s->count; k++) {
        struct channel *c = &s->channels[k];

        for (unsigned j = 0; j < 3; j++) {
            int32_t *x = cut(memory, &at, row, sizeof *x), *h = cut(memory, &at, row, sizeof *h);
            int32_t *e = cut(memory, &at, row, sizeof *e);

            if (memory) {
                c->x[j] = x + PAD;
                c->h[j] = h + PAD;
                c->e[j] = e + PAD;
            }
        }
        for (unsigned j = 0; j < 2; j++) {
            uint32_t *sub = cut(memory, &at, row, SUBS * sizeof *sub);

            c->sub[j] = memory ? sub + (size_t)PAD * SUBS : NULL;
        }
        c->coins = cut(memory, &at, (size_t)MODELS * CONTEXTS * SLOTS, sizeof *c->coins);
        c->sums = cut(memory, &at, (s->width + BLOCK - 1) / BLOCK, sizeof *c->sums);
        c->weights = cut(memory, &at, (size_t)SLOTS * 5 * INPUTS, sizeof *c->weights);
    }
    s->flat_row = cut(memory, &at, s->width, 1);
    return at;
}

static enum lethe_err state_init(struct state *s, struct lethe_samples_band *band)
{
    const struct lethe_raster *raster = band->raster;
    bool alpha = raster->channels % 2 == 0;
    int32_t most = (1 << raster->depth) - 1;

    *s = (struct state){.band = band, .count = raster->channels, .width = raster->width};
    s->shift = raster->depth == 16 ? 6 : 0;
    for (uint32_t i = 0; i < TRUSTS; i++) { /* about the inverse square of the error */
        uint32_t error = ((8 + i % 8) << i / 8) - 4 + (1u << i / 8 >> 1);

        s->trust[i] = (1u << 23) / (error * error) + 1;
    }
    for (uint32_t i = 1; i < 1024; i++) {
        s->reciprocal[i] = (1u << 22) / i;
    }
    for (unsigned k = 0; k < s->count; k++) {
        struct channel *c = &s->channels[k];

        s->plane[k] = alpha ? (k == 0 ? s->count - 1 : k - 1) : k;
        c->colour = !(alpha && k == 0);
        c->high = most;
        c->low = band->colour == LETHE_COLOUR_YCOCG && (s->plane[k] == 1 || s->plane[k] == 2) ? -most : 0;
    }
    s->memory = calloc(1, lay_out(s, NULL));
    if (!s->memory) {
        return LETHE_ERR_NOMEM;
    }
    (void)lay_out(s, s->memory);
    for (unsigned k = 0; k < s->count; k++) {
        struct channel *c = &s->channels[k];

        lethe_coins_init(c->coins, (size_t)MODELS * CONTEXTS * SLOTS);
        lethe_coins_init(&c->low_bits[0][0], sizeof c->low_bits / sizeof(struct lethe_coin));
        lethe_coins_init(c->flat, 16);
        lethe_coins_init(c->hidden, 4);
        for (size_t i = 0; i < (size_t)SLOTS * 5 * INPUTS; i++) {
            c->weights[i] = i % INPUTS == MODELS ? 0 : 65536 * 3 / (2 * MODELS);
        }
    }
    return LETHE_OK;
}

static void rotate(int32_t **rows)
{
    int32_t *last = rows[2];

    rows[2] = rows[1];
    rows[1] = rows[0];
    rows[0] = last;
}

INLINE enum lethe_err run(struct state *s, bool decoding)
{
    struct lethe_samples_band *band = s->band;

    /* Above the band there is only xhat. */
    load_xhat(s, band->first_row, 0);
    load_xhat(s, band->first_row, 1);
    for (unsigned k = 0; k < s->count; k++) {
        struct channel *c = &s->channels[k];

        for (unsigned j = 1; j < 3; j++) {
            memcpy(c->x[j] - PAD, c->h[1] - PAD, (s->width + 2 * PAD) * sizeof(int32_t));
        }
    }
    for (uint32_t row = band->first_row; row < band->first_row + band->rows; row++) {
        load_xhat(s, row + 1, 2);
        if (!decoding) {
            load_samples(s, row);
        }
        memset(s->flat_row, 0, s->width);
        for (unsigned k = 0; k < s->count; k++) {
            struct channel *c = &s->channels[k];

            pad_left(c->x[0], c->x[1][0]);
            pad_left(c->x[1], c->x[1][0]);
            if (!code_row(s, k, decoding)) {
                return LETHE_ERR_FORMAT;
            }
            pad_right(c->x[0], s->width);
            pad_right(c->e[0], s->width);
        }
        if (decoding && !store_samples(s, row)) {
            return LETHE_ERR_FORMAT;
        }
        if (decoding && s->decoder.overrun) {
            return LETHE_ERR_FORMAT;
        }
        for (unsigned k = 0; k < s->count; k++) {
            struct channel *c = &s->channels[k];
            uint32_t *sub = c->sub[0];
            int32_t *h = c->h[0];

            rotate(c->x);
            rotate(c->e);
            if (row == band->first_row) { /* the row that was not there continues the first */
                memcpy(c->x[2] - PAD, c->x[1] - PAD, (s->width + 2 * PAD) * sizeof(int32_t));
            }
            c->sub[0] = c->sub[1];
            c->sub[1] = sub;
            c->h[0] = c->h[1];
            c->h[1] = c->h[2];
            c->h[2] = h;
        }
    }
    return LETHE_OK;
}

void lethe_samples_band_encode(struct lethe_samples_band *band)
{
    struct state s;

    band->err = state_init(&s, band);
    if (band->err) {
        return;
    }
    lethe_range_encoder_init(&s.encoder, &band->out);
    band->err = run(&s, false);
    lethe_range_encoder_finish(&s.encoder);
    if (!band->err) {
        band->err = lethe_buf_status(&band->out);
    }
    free(s.memory);
}

void lethe_samples_band_decode(struct lethe_samples_band *band)
{
    struct state s;

    band->err = state_init(&s, band);
    if (band->err) {
        return;
    }
    lethe_range_decoder_init(&s.decoder, band->bytes, band->len);
    band->err = run(&s, true);
    /* The decoder takes exactly what the encoder wrote: fewer or more bytes mean another stream. */
    if (!band->err && (s.decoder.overrun || s.decoder.at != s.decoder.end)) {
        band->err = LETHE_ERR_FORMAT;
    }
    free(s.memory);
}
