/* SPDX-License-Identifier: MIT */
/* Headers of dynamic blocks as differences from foreseen ones. */
#include "deflate_coder.h"

#include <string.h>

#define ALL(a) lethe_bits_init((struct lethe_bit *)(a), sizeof(a) / sizeof(struct lethe_bit))

void lethe_trees_model_init(struct lethe_trees_model *model)
{
    ALL(model->same);
    ALL(model->counts);
    ALL(model->length);
    ALL(model->op);
    ALL(model->extra);
    ALL(model->clen);
}

static bool same_lengths(const struct lethe_deflate_trees *a, const struct lethe_deflate_trees *b)
{
    return a->lits == b->lits && a->dists == b->dists && memcmp(a->lit, b->lit, sizeof a->lit) == 0 &&
           memcmp(a->dist, b->dist, sizeof a->dist) == 0;
}

static void code_lengths(struct lethe_coder *coder, struct lethe_trees_model *model, const uint8_t *foreseen,
                         uint8_t *lengths, unsigned n)
{
    unsigned before = 0;

    for (unsigned i = 0; i < n; i++) {
        lengths[i] = (uint8_t)lethe_code_tree(coder, model->length[foreseen[i]][before], 4, lengths[i]);
        before = lengths[i];
    }
}

/* Ops must spell the lengths, so only the choice of the next op is coded. */
static enum lethe_err code_ops(struct lethe_coder *coder, struct lethe_trees_model *model,
                               struct lethe_deflate_trees *trees)
{
    static const uint8_t bits[3] = {2, 3, 7}, base[3] = {3, 3, 11};
    uint8_t lengths[LETHE_DEFLATE_LITLENS + LETHE_DEFLATE_DISTS];
    unsigned total = trees->lits + trees->dists, count = 0;

    memcpy(lengths, trees->lit, trees->lits);
    memcpy(lengths + trees->lits, trees->dist, trees->dists);
    for (unsigned n = 0; n < total; count++) {
        unsigned given = coder->decode ? 0 : trees->ops[count], op, extra, repeat;

        op = lethe_code_tree(coder, model->op[lengths[n]], 5, given & 255);
        if (op < 16) {
            trees->ops[count] = (uint16_t)op;
            n++;
            continue;
        }
        if (op > 18) {
            return LETHE_ERR_FORMAT;
        }
        extra = lethe_code_tree(coder, model->extra[op - 16], bits[op - 16], given >> 8);
        trees->ops[count] = (uint16_t)(op | extra << 8);
        repeat = base[op - 16] + extra;
        if (repeat > total - n) {
            return LETHE_ERR_FORMAT;
        }
        n += repeat;
    }
    trees->op_count = count;
    return LETHE_OK;
}

static enum lethe_err code_ops_or_foreseen(struct lethe_coder *coder, struct lethe_trees_model *model,
                                           struct lethe_deflate_trees *trees)
{
    struct lethe_deflate_trees guess = *trees;
    bool same;

    lethe_deflate_trees_ops(&guess);
    same = !coder->decode && guess.op_count == trees->op_count &&
           memcmp(guess.ops, trees->ops, guess.op_count * sizeof guess.ops[0]) == 0;
    if (!lethe_code_bit(coder, &model->same[1], same)) {
        return code_ops(coder, model, trees);
    }
    memcpy(trees->ops, guess.ops, sizeof trees->ops);
    trees->op_count = guess.op_count;
    return LETHE_OK;
}

enum lethe_err lethe_code_trees(struct lethe_coder *coder, struct lethe_trees_model *model,
                                const struct lethe_deflate_trees *foreseen, struct lethe_deflate_trees *trees)
{
    struct lethe_deflate_trees guess;
    enum lethe_err err;

    if (coder->decode) {
        memset(trees, 0, sizeof *trees);
    }
    if (lethe_code_bit(coder, &model->same[0], same_lengths(foreseen, trees))) {
        trees->lits = foreseen->lits;
        trees->dists = foreseen->dists;
        memcpy(trees->lit, foreseen->lit, sizeof trees->lit);
        memcpy(trees->dist, foreseen->dist, sizeof trees->dist);
    } else {
        trees->lits = 257 + lethe_code_tree(coder, model->counts[0], 5, trees->lits - 257);
        trees->dists = 1 + lethe_code_tree(coder, model->counts[1], 5, trees->dists - 1);
        if (trees->lits > LETHE_DEFLATE_LITLENS) {
            return LETHE_ERR_FORMAT;
        }
        code_lengths(coder, model, foreseen->lit, trees->lit, trees->lits);
        code_lengths(coder, model, foreseen->dist, trees->dist, trees->dists);
    }
    err = code_ops_or_foreseen(coder, model, trees);
    if (err) {
        return err;
    }
    guess = *trees;
    lethe_deflate_trees_clens(&guess);
    if (lethe_code_bit(coder, &model->same[2],
                       guess.clens == trees->clens &&
                           memcmp(guess.clen, trees->clen, sizeof guess.clen) == 0)) {
        *trees = guess;
        return LETHE_OK;
    }
    trees->clens = 4 + lethe_code_tree(coder, model->counts[2], 4, trees->clens - 4);
    for (unsigned i = 0; i < trees->clens && i < LETHE_DEFLATE_CLENS; i++) {
        unsigned sym = lethe_deflate_clen_order[i];

        trees->clen[sym] = (uint8_t)lethe_code_tree(coder, model->clen[guess.clen[sym]], 3, trees->clen[sym]);
    }
    return trees->clens > LETHE_DEFLATE_CLENS || lethe_coder_cut(coder) ? LETHE_ERR_FORMAT : LETHE_OK;
}

unsigned lethe_code_padding(struct lethe_deflate_state *state, unsigned padding)
{
    if (!lethe_code_bit(&state->coder, &state->padded[0], padding != 0)) {
        return 0;
    }
    return lethe_code_raw(&state->coder, padding, 7);
}
