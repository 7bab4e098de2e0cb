/* SPDX-License-Identifier: MIT */
/*
 * One band of samples given xhat, for pictures that were drawn: screenshots, diagrams, palettes. A pixel is one colour,
 * and mostly one that stands nearby, or that stood where the surroundings were the same; so colours are guessed, most
 * likely first, and each guess costs one mixed decision. A colour that was not guessed is named by its index among those
 * of the band so far, or told sample by sample. xhat is a context of every decision.
 *
 * Encoder and decoder are the same code with a constant argument, as in residual_samples_band.c, and every state starts
 * afresh in each band.
 */
#include "engine/codec/residual_samples.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/mix.h"
#include "lethe/range.h"

#define INLINE static inline __attribute__((always_inline))

#define PAD 3            /* columns beside a row that may be read */
#define HASH_MIN 10      /* bits of the tables of surroundings, which have at least as many places as the band pixels, */
#define HASH_MAX 17      /* up to this */
#define TABLES 3         /* surroundings of ten, six and two pixels */
#define GUESSES 9        /* the tables', then W, N, NW, NE, WW, NN */
#define COLOURS 256u     /* of a band that have an index */
#define SLOTS 1024u      /* of the table of indices */
#define MODELS 6         /* of a guess: three by place, three by surroundings */
#define PLACES 8192
#define INPUTS (MODELS + 1)
#define MIX_STEP 24
#define COIN_LIMIT 80
#define INDEX_MODELS 4
#define SAMPLE_MODELS 3
#define EXPONENTS 17 /* |error| < 2^16 */
#define SAMPLE_SLOTS (2 + 2 * EXPONENTS)
#define MISSED 9         /* in place of the number of the right guess */

typedef uint64_t colour; /* 16 bits a channel */

/* What followed surroundings, and how often in a row it did (at most 15, 0 when nothing is known). */
struct memory {
    colour *guess;
    uint8_t *sure;
};

struct state {
    struct lethe_samples_band *band;
    unsigned channels;
    uint32_t width;
    unsigned shift;   /* brings differences down to 8 bits */
    colour *x[3];     /* this row, the one above, the one above that */
    colour *h;        /* xhat of this row */
    uint8_t *rank[2]; /* which guess was right, MISSED for none: this row, the one above */
    colour *rows;     /* the memory of these */
    uint8_t *ranks;
    struct memory tables[TABLES];
    struct lethe_coin placed[3][PLACES];
    struct lethe_coin *coins[3];
    uint32_t hash_mask;
    void *hashed; /* the memory of these and of the tables */
    int32_t weights[8][64][INPUTS];
    struct lethe_coin even[16][4][16];
    colour colours[COLOURS]; /* in the order in which they came */
    unsigned count;
    uint16_t slots[SLOTS]; /* index + 1 by colour, 0 for none */
    struct lethe_coin fresh[2];
    unsigned was_fresh;
    struct lethe_coin index[INDEX_MODELS][COLOURS][COLOURS]; /* [context][node] */
    int32_t index_weights[COLOURS][INDEX_MODELS];
    struct lethe_coin sample[SAMPLE_MODELS][4][32][SAMPLE_SLOTS];
    int32_t sample_weights[4][SAMPLE_SLOTS][SAMPLE_MODELS];
    struct lethe_range_encoder encoder;
    struct lethe_range_decoder decoder;
};

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

/* One decision mixed of count coins, at most INPUTS - 1, and with one more weight of a constant. */
INLINE unsigned code_mixed(struct state *s, bool decoding, struct lethe_coin *const *coins, unsigned count, bool constant,
                           int32_t *weights, unsigned value)
{
    int32_t logits[INPUTS];
    uint32_t p1;

    for (unsigned i = 0; i < count; i++) {
        logits[i] = lethe_logit(lethe_coin_p1(coins[i]));
    }
    logits[count] = 256;
    p1 = lethe_chance(lethe_mix_dot(weights, logits, count + constant));
    value = code(s, decoding, p1, value);
    lethe_mix_learn(weights, logits, count + constant, (int32_t)(value << 16) - (int32_t)p1, MIX_STEP);
    for (unsigned i = 0; i < count; i++) {
        lethe_coin_update(coins[i], value, COIN_LIMIT);
    }
    return value;
}

/* As in residual_samples_band.c. */
INLINE unsigned level_to(uint32_t v, unsigned most)
{
    unsigned bits, l = v;

    if (v >= 2) {
        bits = 31 - (unsigned)__builtin_clz(v);
        l = 2 * bits + (v >> (bits - 1) & 1);
    }
    return l < most ? l : most;
}

INLINE int32_t lane(colour a, unsigned c)
{
    return (int32_t)(a >> 16 * c & 0xffff);
}

INLINE uint32_t apart(int32_t a, int32_t b)
{
    return (uint32_t)(a < b ? b - a : a - b);
}

INLINE uint64_t stir(uint64_t hash, uint64_t v)
{
    hash = (hash ^ v) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

INLINE unsigned place(const struct state *s, uint64_t hash)
{
    return (unsigned)hash & s->hash_mask;
}

/* How far a colour is from xhat's, in 16 steps. */
INLINE unsigned distance(const struct state *s, colour a, colour h)
{
    uint32_t sum = 0;

    for (unsigned c = 0; c < s->channels; c++) {
        sum += apart(lane(a, c), lane(h, c)) >> s->shift;
    }
    return level_to(sum, 15);
}

/* The index + 1 of a colour, 0 when it has none; *slot is where it stands or would stand. */
static unsigned find_index(const struct state *s, colour a, unsigned *slot)
{
    unsigned at = (unsigned)(stir(1, a) % SLOTS);

    while (s->slots[at] && s->colours[s->slots[at] - 1] != a) {
        at = (at + 1) % SLOTS;
    }
    *slot = at;
    return s->slots[at];
}

/* Of a colour that was not guessed, by its index: at the contexts of three neighbours and none. */
static unsigned code_index(struct state *s, bool decoding, uint32_t i, unsigned value)
{
    const colour *x = s->x[0] + i, *n = s->x[1] + i, around[3] = {x[-1], n[0], n[1]};
    unsigned contexts[INDEX_MODELS] = {0}, slot, node = 1;

    for (unsigned m = 0; m < 3; m++) {
        unsigned index = find_index(s, around[m], &slot);

        contexts[m] = index ? index - 1 : COLOURS - 1;
    }
    for (int bit = 7; bit >= 0; bit--) {
        struct lethe_coin *coins[INDEX_MODELS];

        for (unsigned m = 0; m < INDEX_MODELS; m++) {
            coins[m] = &s->index[m][contexts[m]][node];
        }
        node = node << 1 | code_mixed(s, decoding, coins, INDEX_MODELS, false, s->index_weights[node], value >> bit & 1);
    }
    return node - COLOURS;
}

/* A signed error of channel c below 2^17. */
static int32_t code_error(struct state *s, bool decoding, unsigned c, const unsigned contexts[SAMPLE_MODELS], int32_t error)
{
    uint32_t m = apart(error, 0), value = 1;
    unsigned negative = error < 0, bits = m ? 31 - (unsigned)__builtin_clz(m) : 0;
    struct lethe_coin *coins[SAMPLE_MODELS];

#define CODE(slot, v)                                                                                                  \
    (coins[0] = &s->sample[0][c][contexts[0]][slot], coins[1] = &s->sample[1][c][contexts[1]][slot],                    \
     coins[2] = &s->sample[2][c][contexts[2]][slot],                                                                    \
     code_mixed(s, decoding, coins, SAMPLE_MODELS, false, s->sample_weights[c][slot], v))
    if (!CODE(0, error != 0)) {
        return 0;
    }
    negative = CODE(1, negative);
    for (unsigned i = 0;; i++) {
        if (i == EXPONENTS - 1 || !CODE(2 + i, i < bits)) {
            bits = i;
            break;
        }
    }
    if (bits > 0) {
        value = 2 | CODE(2 + EXPONENTS + bits, m >> (bits - 1) & 1);
    }
#undef CODE
    if (bits > 1 && decoding) {
        value = value << (bits - 1) | lethe_range_decode_raw(&s->decoder, bits - 1);
    } else if (bits > 1) {
        lethe_range_encode_raw(&s->encoder, m & ((1u << (bits - 1)) - 1), bits - 1);
        value = m;
    }
    return negative ? -(int32_t)value : (int32_t)value;
}

/* A colour told sample by sample, around the median of its neighbours. False on a sample out of range. */
static bool code_samples(struct state *s, bool decoding, uint32_t i, colour *value)
{
    const colour *x = s->x[0] + i, *n = s->x[1] + i;
    int32_t before = 0, most = s->shift ? 65535 : 255;
    colour made = 0;

    for (unsigned c = 0; c < s->channels; c++) {
        int32_t W = lane(x[-1], c), N = lane(n[0], c), NW = lane(n[-1], c), h = lane(s->h[i], c);
        int32_t low = W < N ? W : N, high = W < N ? N : W, p = W + N - NW, error, v;
        unsigned contexts[SAMPLE_MODELS], aside;

        p = p < low ? low : p > high ? high : p;
        aside = level_to(apart(h, p) >> s->shift, 7);
        contexts[0] = level_to((apart(W, NW) + apart(N, NW)) >> s->shift, 15) + 16 * (before == 0);
        contexts[1] = (h < p ? 7 - aside : 7 + aside) + 16 * (before == 0);
        contexts[2] = level_to(apart(before, 0) >> s->shift, 15) + 16 * (before < 0);
        error = code_error(s, decoding, c, contexts, lane(*value, c) - p);
        v = p + error;
        if (v < 0 || v > most) {
            return false;
        }
        made |= (colour)v << 16 * c;
        before = error;
    }
    *value = made;
    return true;
}

static bool code_unguessed(struct state *s, bool decoding, uint32_t i, colour *value)
{
    unsigned slot, index = decoding ? 0 : find_index(s, *value, &slot);

    if (s->count > 0) {
        s->was_fresh = code_coin(s, decoding, &s->fresh[s->was_fresh], index == 0);
        if (!s->was_fresh) {
            index = code_index(s, decoding, i, index - 1);
            if (index >= s->count) {
                return false;
            }
            *value = s->colours[index];
            return true;
        }
    }
    if (!code_samples(s, decoding, i, value)) {
        return false;
    }
    if (s->count < COLOURS && find_index(s, *value, &slot) == 0) {
        s->colours[s->count++] = *value;
        s->slots[slot] = (uint16_t)s->count;
    }
    return true;
}

INLINE void learn(struct memory *table, unsigned at, colour value)
{
    uint8_t *sure = &table->sure[at];

    if (*sure && table->guess[at] == value) {
        *sure += *sure < 15;
        return;
    }
    *sure >>= 2;
    if (*sure == 0) {
        table->guess[at] = value;
        *sure = 1;
    }
}

/* Trust in a table's guess: 0 none, 1 once, 2 up to three times, 3 more. */
INLINE unsigned trust(unsigned sure)
{
    return sure < 2 ? sure : sure < 4 ? 2 : 3;
}

/* The guesses of a pixel in turn. False on a stream that is malformed. */
INLINE bool code_guessed(struct state *s, bool decoding, uint32_t i, bool even)
{
    colour *x = s->x[0] + i;
    const colour *n = s->x[1] + i, *nn = s->x[2] + i;
    const uint64_t near2 = stir(stir(1, x[-1]), n[0]), near4 = stir(stir(near2, n[-1]), n[1]),
                   near6 = stir(stir(near4, x[-2]), nn[0]),
                   near10 = stir(stir(stir(stir(near6, nn[1]), nn[-1]), n[2]), n[-2]);
    const unsigned at[TABLES] = {place(s, near10), place(s, near6), place(s, near2)};
    colour guesses[GUESSES] = {s->tables[0].guess[at[0]], s->tables[1].guess[at[1]], s->tables[2].guess[at[2]],
                               x[-1], n[0], n[-1], n[1], x[-2], nn[0]};
    const unsigned sure[TABLES] = {trust(s->tables[0].sure[at[0]]), trust(s->tables[1].sure[at[1]]),
                                   trust(s->tables[2].sure[at[2]])};
    const unsigned trusts = sure[0] * 16 + sure[1] * 4 + sure[2];
    const uint8_t *rank = s->rank[0] + i, *rank_n = s->rank[1] + i;
    const unsigned ranks = (rank[-1] * 10u + rank_n[0]) * 10u + rank_n[1];
    const colour north = n[0];
    unsigned tried = 0, order = 0;
    colour value = x[0];
    bool found = false;

    for (unsigned k = 0; k < GUESSES && !found; k++) {
        colour guess = guesses[k];
        struct lethe_coin *coins[MODELS];
        unsigned same, capped = order < 7 ? order : 7;
        bool known = (k < TABLES && sure[k] == 0) || (even && guess == north);

        for (unsigned j = 0; j < tried && !known; j++) {
            known = guesses[j] == guess;
        }
        if (known) {
            continue;
        }
        same = (guess == x[-1]) | (guess == n[0]) << 1 | (guess == n[-1]) << 2 | (guess == n[1]) << 3;
        coins[0] = &s->placed[0][(k * 8 + capped) * 64 + trusts];
        coins[1] = &s->coins[0][place(s, stir(near10, order))];
        coins[2] = &s->coins[1][place(s, stir(near6, order))];
        coins[3] = &s->coins[2][place(s, stir(near4, order * 16 + same))];
        coins[4] = &s->placed[1][(distance(s, guess, s->h[i]) * 16 + k) * 16 + same];
        coins[5] = &s->placed[2][ranks * 8 + capped];
        found = code_mixed(s, decoding, coins, MODELS, true, s->weights[capped][trusts], value == guess);
        if (found) {
            value = guess;
        } else {
            guesses[tried++] = guess;
            order++;
        }
    }
    if (!found && !code_unguessed(s, decoding, i, &value)) {
        return false;
    }
    s->rank[0][i] = found ? (uint8_t)order : MISSED;
    x[0] = value;
    for (unsigned t = 0; t < TABLES; t++) {
        learn(&s->tables[t], at[t], value);
    }
    return true;
}

INLINE bool code_pixel(struct state *s, bool decoding, uint32_t i)
{
    colour *x = s->x[0] + i;
    const colour *n = s->x[1] + i, *nn = s->x[2] + i, value = n[0];
    struct lethe_coin *coin;

    if (!(x[-1] == value && n[-1] == value && n[1] == value && x[-2] == value && nn[0] == value)) {
        return code_guessed(s, decoding, i, false);
    }
    coin = &s->even[distance(s, value, s->h[i])][(n[2] == value) + 2 * (nn[1] == value)][stir(1, value) & 15];
    if (!code_coin(s, decoding, coin, x[0] == value)) {
        return code_guessed(s, decoding, i, true);
    }
    x[0] = value;
    s->rank[0][i] = 0;
    return true;
}

static void load(const struct state *s, uint32_t row)
{
    size_t from = (size_t)row * s->width;

    for (uint32_t i = 0; i < s->width; i++) {
        colour h = 0;

        for (unsigned c = 0; c < s->channels; c++) {
            h |= (colour)(s->band->xhat[c][from + i] * (s->shift ? 257u : 1u)) << 16 * c;
        }
        s->h[i] = h;
    }
}

static void load_samples(const struct state *s, uint32_t row)
{
    size_t from = (size_t)row * s->width;

    for (uint32_t i = 0; i < s->width; i++) {
        colour x = 0;

        for (unsigned c = 0; c < s->channels; c++) {
            x |= (colour)s->band->raster->planes[c][from + i] << 16 * c;
        }
        s->x[0][i] = x;
    }
}

static void store_samples(const struct state *s, uint32_t row)
{
    size_t from = (size_t)row * s->width;

    for (unsigned c = 0; c < s->channels; c++) {
        for (uint32_t i = 0; i < s->width; i++) {
            s->band->raster->planes[c][from + i] = (uint16_t)(s->x[0][i] >> 16 * c);
        }
    }
}

INLINE enum lethe_err run(struct state *s, bool decoding)
{
    struct lethe_samples_band *band = s->band;

    for (uint32_t row = band->first_row; row < band->first_row + band->rows; row++) {
        colour *last = s->x[2];
        uint8_t *rank = s->rank[1];

        load(s, row);
        if (!decoding) {
            load_samples(s, row);
        }
        for (uint32_t i = 0; i < s->width; i++) {
            if (!code_pixel(s, decoding, i)) {
                return LETHE_ERR_FORMAT;
            }
        }
        if (decoding) {
            store_samples(s, row);
            if (s->decoder.overrun) {
                return LETHE_ERR_FORMAT;
            }
        }
        s->x[2] = s->x[1];
        s->x[1] = s->x[0];
        s->x[0] = last;
        s->rank[1] = s->rank[0];
        s->rank[0] = rank;
    }
    return LETHE_OK;
}

static void fill(int32_t *weights, size_t count, int32_t value)
{
    for (size_t i = 0; i < count; i++) {
        weights[i] = value;
    }
}

/* The tables and coins that are found by hashes, as many as the band has use for. False when out of memory. */
static bool make_hashed(struct state *s)
{
    uint64_t pixels = (uint64_t)s->width * s->band->rows;
    unsigned bits = HASH_MIN;
    size_t places;
    uint8_t *at;

    while (bits < HASH_MAX && pixels > 1u << bits) {
        bits++;
    }
    places = (size_t)1 << bits;
    s->hash_mask = (1u << bits) - 1;
    s->hashed = at = calloc(places, TABLES * (sizeof(colour) + 1) + 3 * sizeof(struct lethe_coin));
    if (!at) {
        return false;
    }
    for (unsigned i = 0; i < TABLES; i++, at += places * sizeof(colour)) {
        s->tables[i].guess = (colour *)(void *)at;
    }
    for (unsigned i = 0; i < 3; i++, at += places * sizeof(struct lethe_coin)) {
        s->coins[i] = (struct lethe_coin *)(void *)at;
        lethe_coins_init(s->coins[i], places);
    }
    for (unsigned i = 0; i < TABLES; i++, at += places) {
        s->tables[i].sure = at;
    }
    return true;
}

static void state_free(struct state *s)
{
    if (s) {
        free(s->rows);
        free(s->ranks);
        free(s->hashed);
        free(s);
    }
}

static struct state *state_new(struct lethe_samples_band *band)
{
    const struct lethe_raster *raster = band->raster;
    size_t width = raster->width, row = width + 2 * PAD;
    struct state *s = calloc(1, sizeof *s);

    if (!s) {
        return NULL;
    }
    s->band = band;
    s->channels = raster->channels;
    s->width = raster->width;
    s->shift = raster->depth - 8;
    s->rows = calloc(3 * row + width, sizeof *s->rows);
    s->ranks = calloc(2, row);
    if (!s->rows || !s->ranks || !make_hashed(s)) {
        state_free(s);
        return NULL;
    }
    for (unsigned i = 0; i < 3; i++) {
        s->x[i] = s->rows + i * row + PAD;
    }
    s->h = s->rows + 3 * row;
    for (unsigned i = 0; i < 2; i++) {
        s->rank[i] = s->ranks + i * row + PAD;
    }
    lethe_coins_init(s->placed[0], sizeof s->placed / sizeof(struct lethe_coin));
    lethe_coins_init(s->even[0][0], sizeof s->even / sizeof(struct lethe_coin));
    lethe_coins_init(s->fresh, sizeof s->fresh / sizeof(struct lethe_coin));
    lethe_coins_init(s->index[0][0], sizeof s->index / sizeof(struct lethe_coin));
    lethe_coins_init(s->sample[0][0][0], sizeof s->sample / sizeof(struct lethe_coin));
    fill(s->weights[0][0], sizeof s->weights / sizeof(int32_t), 65536 * 3 / 10);
    for (unsigned i = 0; i < 8 * 64; i++) {
        s->weights[i / 64][i % 64][MODELS] = 0;
    }
    fill(s->index_weights[0], sizeof s->index_weights / sizeof(int32_t), 65536 * 3 / 10);
    fill(s->sample_weights[0][0], sizeof s->sample_weights / sizeof(int32_t), 65536 * 4 / 10);
    return s;
}

void lethe_screen_band_encode(struct lethe_samples_band *band)
{
    struct state *s = state_new(band);

    if (!s) {
        band->err = LETHE_ERR_NOMEM;
        return;
    }
    lethe_range_encoder_init(&s->encoder, &band->out);
    band->err = run(s, false);
    lethe_range_encoder_finish(&s->encoder);
    band->err = band->err ? band->err : lethe_buf_status(&band->out);
    state_free(s);
}

void lethe_screen_band_decode(struct lethe_samples_band *band)
{
    struct state *s = state_new(band);

    if (!s) {
        band->err = LETHE_ERR_NOMEM;
        return;
    }
    lethe_range_decoder_init(&s->decoder, band->bytes, band->len);
    band->err = run(s, true);
    if (!band->err && (s->decoder.overrun || s->decoder.at != s->decoder.end)) {
        band->err = LETHE_ERR_FORMAT;
    }
    state_free(s);
}
