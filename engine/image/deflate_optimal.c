/* SPDX-License-Identifier: MIT */
/*
 * Blocks of an encoder that optimises (zopfli, libdeflate, and what is built on them): it looks for the parse
 * that is cheapest under its codes. So the codes are described first; then the cheapest way from every
 * position to the end is computed backwards, by dynamic programming over the nearest match of each length,
 * and every token is coded as its rank among the choices that it had, in the context of how much dearer the
 * next choice would have been.
 *
 * Matches are found by chunks, which depend on the bytes alone: those of the next segment by another thread, where there is
 * one, while this one is decided.
 */
#include "deflate_coder.h"
#include "deflate_tree_match.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT 32768u   /* positions decided from one computation */
#define AHEAD 2048u      /* positions behind them that it takes into account */
#define UNIT 16u         /* cost of a bit */
#define NEVER (1u << 25) /* of what has no code: above SEGMENT + AHEAD literals of 15 bits */
#define CAP (1u << 28)   /* sums stop here, so that adding a few NEVERs cannot overflow */
#define RANKS 8u
#define LONG 16u /* lengths that are worth a vector */
#define MARGINS 16u
#define MAX_STORED 65535u
#define CHUNK 8192u /* positions whose matches are found at once */
#define CHUNKS 10u  /* that two segments and AHEAD touch at most */

_Static_assert((2 * SEGMENT + AHEAD + CHUNK - 2) / CHUNK + 1 <= CHUNKS, "chunks");

struct chunk {
    struct lethe_tokens matches;
    uint32_t first[CHUNK + 1]; /* of position i: from first[i] to first[i + 1] */
};

struct choice {
    uint32_t cost;
    uint32_t token;
};

struct lethe_optimal_model {
    const uint8_t *data;
    size_t len;
    struct lethe_pool *pool;
    struct lethe_tree_matcher *finder;
    size_t found;                /* positions below have been given to the finder: whole chunks, or all */
    struct chunk chunks[CHUNKS]; /* the last of them, by position / CHUNK % CHUNKS */
    size_t base;                 /* the position of to_end[0] */
    size_t ends;                 /* positions below are decided by to_end */
    size_t seen;                 /* positions below were taken into account */
    uint32_t to_end[SEGMENT + AHEAD + 1];
    uint32_t literal_cost[256];
    uint32_t length_cost[LETHE_DEFLATE_MAX_MATCH + 1];
    uint32_t distance_cost[LETHE_DEFLATE_DISTS];
    struct lethe_deflate_trees last;
    unsigned hit;
    struct lethe_bit kind[4], final[2];
    struct lethe_number bytes;
    struct lethe_trees_model trees;
    struct lethe_bit rank[RANKS][MARGINS][2][2];
    struct lethe_bit is_literal, is_nearest;
    struct lethe_bit length[256];
    struct lethe_number distance;
};

struct lethe_optimal_model *lethe_optimal_model_new(const uint8_t *data, size_t len, struct lethe_pool *pool)
{
    struct lethe_optimal_model *m = calloc(1, sizeof *m);

    if (!m) {
        return NULL;
    }
    m->data = data;
    m->len = len;
    m->pool = pool;
    m->finder = lethe_tree_matcher_new(data, len);
    if (!m->finder) {
        free(m);
        return NULL;
    }
    lethe_bits_init(m->kind, 4);
    lethe_bits_init(m->final, 2);
    lethe_number_init(&m->bytes);
    lethe_trees_model_init(&m->trees);
    lethe_bits_init(m->rank[0][0][0], sizeof m->rank / sizeof(struct lethe_bit));
    lethe_bit_init(&m->is_literal);
    lethe_bit_init(&m->is_nearest);
    lethe_bits_init(m->length, 256);
    lethe_number_init(&m->distance);
    return m;
}

void lethe_optimal_model_free(struct lethe_optimal_model *m)
{
    if (m) {
        lethe_tree_matcher_free(m->finder);
        for (unsigned i = 0; i < CHUNKS; i++) {
            lethe_tokens_release(&m->chunks[i].matches);
        }
        free(m);
    }
}

/* The matches of a position that was found: sets *count. */
static inline const uint32_t *matches_of(const struct lethe_optimal_model *m, size_t pos, unsigned *count)
{
    const struct chunk *chunk = &m->chunks[pos / CHUNK % CHUNKS];
    const uint32_t *first = chunk->first + pos % CHUNK;

    *count = first[1] - first[0];
    return chunk->matches.at + first[0];
}

/* Finds the matches of positions up to end, and of the rest of its chunk. */
static enum lethe_err find(struct lethe_optimal_model *m, size_t end)
{
    while (m->found < end) {
        struct chunk *chunk = &m->chunks[m->found / CHUNK % CHUNKS];
        size_t count = m->len - m->found < CHUNK ? m->len - m->found : CHUNK;

        chunk->matches.count = 0;
        chunk->first[0] = 0;
        for (size_t i = 0; i < count; i++) {
            enum lethe_err err = lethe_tree_matcher_next(m->finder, m->found + i, &chunk->matches);

            if (err) {
                return err;
            }
            chunk->first[i + 1] = (uint32_t)chunk->matches.count;
        }
        m->found += count;
    }
    return LETHE_OK;
}

static uint32_t symbol_cost(unsigned length, unsigned extra)
{
    return length ? (length + extra) * UNIT : NEVER;
}

static void set_costs(struct lethe_optimal_model *m, const struct lethe_deflate_block *block)
{
    struct lethe_deflate_trees fixed;
    const struct lethe_deflate_trees *trees = &block->trees;

    if (block->kind == LETHE_DEFLATE_FIXED) {
        lethe_deflate_fixed(fixed.lit, fixed.dist);
        trees = &fixed;
    }
    for (unsigned i = 0; i < 256; i++) {
        m->literal_cost[i] = symbol_cost(trees->lit[i], 0);
    }
    for (unsigned length = LETHE_DEFLATE_MIN_MATCH; length <= LETHE_DEFLATE_MAX_MATCH; length++) {
        unsigned sym = lethe_deflate_length_symbol(length);

        m->length_cost[length] = symbol_cost(trees->lit[sym], lethe_deflate_length_extra[sym - 257]);
    }
    for (unsigned i = 0; i < 30; i++) {
        m->distance_cost[i] = symbol_cost(trees->dist[i], lethe_deflate_distance_extra[i]);
    }
}

/* The least a[i] + b[i], for sums below 2^31: all compilers know how to make vectors of it. */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3")))
#endif
static uint32_t least_sum(const uint32_t *a, const uint32_t *b, unsigned count)
{
    int32_t best = INT32_MAX;

    for (unsigned i = 0; i < count; i++) {
        int32_t sum = (int32_t)(a[i] + b[i]);

        best = sum < best ? sum : best;
    }
    return (uint32_t)best;
}

static uint32_t cheapest(const struct lethe_optimal_model *m, size_t i, size_t most)
{
    const uint32_t *to_end = m->to_end + i;
    uint32_t best = m->literal_cost[m->data[m->base + i]] + to_end[1];
    unsigned length = LETHE_DEFLATE_MIN_MATCH, count;
    const uint32_t *matches = matches_of(m, m->base + i, &count);

    for (unsigned k = 0; k < count; k++) {
        uint32_t match = matches[k];
        uint32_t cost = m->distance_cost[lethe_deflate_distance_symbol(lethe_token_distance(match))];
        unsigned last = lethe_token_length(match) < most ? lethe_token_length(match) : (unsigned)most;

        if (last >= length + LONG) {
            uint32_t whole = cost + least_sum(m->length_cost + length, to_end + length, last + 1 - length);

            best = whole < best ? whole : best;
            length = last + 1;
        }
        for (; length <= last; length++) {
            uint32_t whole = cost + m->length_cost[length] + to_end[length];

            best = whole < best ? whole : best;
        }
    }
    return best < CAP ? best : CAP;
}

/* Makes to_end known for SEGMENT positions from pos (or to the block's end), whose matches are found. */
static void look_ahead(struct lethe_optimal_model *m, size_t pos, size_t end)
{
    size_t stop = end - pos < SEGMENT + AHEAD ? end : pos + SEGMENT + AHEAD, count = stop - pos;

    m->base = pos;
    m->seen = stop;
    m->to_end[count] = 0;
    for (size_t i = count; i-- > 0;) {
        m->to_end[i] = cheapest(m, i, count - i);
    }
    m->ends = stop == end ? end : pos + SEGMENT;
}

static void offer(struct choice *choices, unsigned *count, uint32_t cost, uint32_t token)
{
    unsigned i = *count;

    if (i == RANKS) {
        if (cost >= choices[RANKS - 1].cost) {
            return;
        }
        i--;
    } else {
        (*count)++;
    }
    for (; i > 0 && cost < choices[i - 1].cost; i--) {
        choices[i] = choices[i - 1];
    }
    choices[i] = (struct choice){cost, token};
}

static unsigned list_choices(const struct lethe_optimal_model *m, size_t pos, struct choice *choices)
{
    const uint32_t *to_end = m->to_end + (pos - m->base);
    unsigned count = 0, length = LETHE_DEFLATE_MIN_MATCH, found;
    const uint32_t *matches = matches_of(m, pos, &found);
    size_t most = m->seen - pos;

    offer(choices, &count, m->literal_cost[m->data[pos]] + to_end[1], m->data[pos]);
    for (unsigned k = 0; k < found; k++) {
        uint32_t match = matches[k];
        uint32_t cost = m->distance_cost[lethe_deflate_distance_symbol(lethe_token_distance(match))];
        unsigned last = lethe_token_length(match) < most ? lethe_token_length(match) : (unsigned)most;

        for (; length <= last; length++) {
            offer(choices, &count, cost + m->length_cost[length] + to_end[length],
                  lethe_token_match(length, lethe_token_distance(match)));
        }
    }
    while (count > 0 && choices[count - 1].cost >= NEVER) {
        count--;
    }
    return count;
}

static unsigned margin_class(uint32_t margin)
{
    unsigned log;

    if (margin < 4) {
        return margin;
    }
    log = 31 - (unsigned)__builtin_clz(margin); /* two classes for every doubling */
    log = log * 2 + (margin >> (log - 1) & 1);
    return log < MARGINS ? log : MARGINS - 1;
}

/* A token that is none of the first choices. */
static uint32_t code_other(struct lethe_optimal_model *m, struct lethe_coder *coder, size_t pos,
                           uint32_t token)
{
    unsigned length, distance, nearest = 0, count;
    const uint32_t *matches = matches_of(m, pos, &count);

    if (lethe_code_bit(coder, &m->is_literal, lethe_token_distance(token) == 0)) {
        return m->data[pos];
    }
    distance = lethe_token_distance(token);
    length =
        LETHE_DEFLATE_MIN_MATCH +
        lethe_code_tree(coder, m->length, 8, (lethe_token_length(token) - LETHE_DEFLATE_MIN_MATCH) & 255);
    for (unsigned k = 0; k < count && nearest == 0; k++) {
        if (lethe_token_length(matches[k]) >= length) {
            nearest = lethe_token_distance(matches[k]);
        }
    }
    if (lethe_code_bit(coder, &m->is_nearest, distance == nearest)) {
        distance = nearest;
    } else {
        distance = (lethe_code_number(coder, &m->distance, distance - 1) + 1) & 0xffff;
    }
    return lethe_token_match(length, distance);
}

static uint32_t code_token(struct lethe_optimal_model *m, struct lethe_coder *coder, size_t pos, uint32_t token)
{
    struct choice choices[RANKS];
    unsigned count = list_choices(m, pos, choices);

    for (unsigned r = 0; r < count; r++) {
        uint32_t margin = r + 1 < count ? choices[r + 1].cost - choices[r].cost : UINT32_MAX;
        unsigned literal = lethe_token_distance(choices[r].token) == 0;

        if (lethe_code_bit(coder, &m->rank[r][margin_class(margin)][literal][m->hit],
                           token == choices[r].token)) {
            m->hit = r == 0;
            return choices[r].token;
        }
    }
    m->hit = 0;
    return code_other(m, coder, pos, token);
}

/* What is done at a time. */
struct step {
    struct lethe_optimal_model *m;
    struct lethe_deflate_state *s;
    size_t end;    /* of the block */
    size_t n;      /* encoding: tokens of the block before s->pos */
    size_t target; /* find up to here */
    enum lethe_err coded, sought;
};

/* The tokens of one segment. */
static enum lethe_err code_segment(struct step *step)
{
    struct lethe_optimal_model *m = step->m;
    struct lethe_deflate_state *s = step->s;

    look_ahead(m, s->pos, step->end);
    while (s->pos < m->ends) {
        uint32_t token = code_token(m, &s->coder, s->pos, s->coder.decode ? 0 : s->tokens.at[step->n++]);
        unsigned distance = lethe_token_distance(token);

        if (lethe_token_length(token) > step->end - s->pos ||
            (token > 255 && (distance == 0 || distance > s->pos)) || lethe_coder_cut(&s->coder)) {
            return LETHE_ERR_FORMAT;
        }
        if (s->coder.decode) {
            enum lethe_err err = lethe_tokens_push(&s->tokens, token);

            if (err) {
                return err;
            }
        }
        s->pos += lethe_token_length(token);
    }
    return LETHE_OK;
}

static void take_step(void *context, size_t index)
{
    struct step *step = context;

    if (index == 0) {
        step->coded = code_segment(step);
    } else {
        step->sought = find(step->m, step->target);
    }
}

static enum lethe_err code_tokens(struct lethe_optimal_model *m, struct lethe_deflate_state *s, size_t end)
{
    struct step step = {.m = m, .s = s, .end = end};

    if (s->coder.decode) {
        s->tokens.count = 0;
    }
    while (s->pos < end) {
        size_t now = end - s->pos < SEGMENT + AHEAD ? end : s->pos + SEGMENT + AHEAD;
        enum lethe_err err = find(m, now);

        if (err) {
            return err;
        }
        /* Enough at a time to be worth another thread's waking up. */
        step.target = m->len - s->pos < 2 * SEGMENT + AHEAD ? m->len : s->pos + 2 * SEGMENT + AHEAD;
        lethe_pool_run(m->pool, m->found + SEGMENT / 2 < step.target ? 2 : 1, take_step, &step);
        err = step.coded ? step.coded : step.sought;
        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

enum lethe_err lethe_optimal_model_block(struct lethe_optimal_model *m, struct lethe_deflate_state *s)
{
    struct lethe_deflate_block *block = &s->block;
    struct lethe_coder *coder = &s->coder;
    size_t left = s->len - s->pos;
    bool last;
    enum lethe_err err;

    block->kind = (enum lethe_deflate_kind)lethe_code_tree(coder, m->kind, 2, block->kind);
    if (block->kind > LETHE_DEFLATE_DYNAMIC) {
        return LETHE_ERR_FORMAT;
    }
    block->bytes = lethe_code_number(coder, &m->bytes, (uint32_t)block->bytes);
    if (block->bytes > left || (block->kind == LETHE_DEFLATE_STORED && block->bytes > MAX_STORED)) {
        return LETHE_ERR_FORMAT;
    }
    last = block->bytes == left;
    block->final = lethe_code_bit(coder, &m->final[last], block->final);
    if (block->kind == LETHE_DEFLATE_STORED) {
        s->tokens.count = 0;
        block->padding = (uint8_t)lethe_code_padding(s, block->padding);
        s->pos += block->bytes;
        return LETHE_OK;
    }
    if (block->kind == LETHE_DEFLATE_DYNAMIC) {
        err = lethe_code_trees(coder, &m->trees, &m->last, &block->trees);
        if (err) {
            return err;
        }
        m->last = block->trees;
    }
    set_costs(m, block);
    return code_tokens(m, s, s->pos + block->bytes);
}
