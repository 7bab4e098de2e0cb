/* SPDX-License-Identifier: MIT */
/*
 * Which parameters an encoder like zlib had: those whose matcher foresees a sample of the tokens best. Only
 * the cost of a description depends on the answer, never its truth.
 */
#include "deflate_guess.h"

#include <string.h>

#define QUICK 4096u
#define CANDIDATES 24
#define STRANGE 8u   /* misses in so many tokens: some other kind of encoder */
#define PATIENCE 64u /* misses that tell nothing */

/* How much of a sample. */
struct extent {
    size_t tokens;
    size_t bytes;
};

static const struct extent all_of_it = {SIZE_MAX, SIZE_MAX}, beginning = {QUICK, SIZE_MAX};

/* A stored block hides the tokens that its encoder had found: those of the matcher, if they end where it
 * does. */
static size_t skip(struct lethe_matcher *m, size_t pos, size_t end)
{
    while (pos < end) {
        uint32_t token = lethe_matcher_predict(m, pos);

        lethe_matcher_commit(m, pos, token);
        pos += lethe_token_length(token);
    }
    return pos;
}

/*
 * Misses of params on the tokens of the sample before end; gives up at cap, and when they are so many that this must be
 * another kind of encoder (then UINT64_MAX).
 */
static uint64_t trial(const struct lethe_deflate_sample *sample, const struct lethe_deflate_params *params,
                      const uint8_t *data, size_t len, const struct extent *extent, uint64_t cap)
{
    struct lethe_matcher *m = lethe_matcher_new(params, data, len);
    uint64_t misses = 0;
    size_t pos = 0;

    if (!m) {
        return UINT64_MAX;
    }
    for (size_t i = 0; i < sample->tokens.count && i < extent->tokens && pos < extent->bytes && misses < cap; i++) {
        uint32_t token = sample->tokens.at[i];
        size_t end = pos + lethe_token_length(token);

        if (lethe_token_distance(token) != LETHE_DEFLATE_SKIP) {
            misses += lethe_matcher_predict(m, pos) != token;
            lethe_matcher_commit(m, pos, token);
        } else if (skip(m, pos, end) != end) {
            misses++;
            lethe_matcher_restart(m, end);
        }
        pos = end;
        if (misses > PATIENCE + i / STRANGE) {
            misses = UINT64_MAX;
            break;
        }
    }
    lethe_matcher_free(m);
    return misses;
}

bool lethe_deflate_foresees(const struct lethe_deflate_sample *sample, const struct lethe_deflate_params *params,
                            const uint8_t *data, size_t len, size_t bytes)
{
    return trial(sample, params, data, len, &(struct extent){SIZE_MAX, bytes}, 1) == 0;
}

/* Levels in the order in which zlib's FLEVEL suggests them, cheap ones before dear ones of the same FLEVEL.
 */
static unsigned list(unsigned hint, const struct lethe_deflate_params *base, struct lethe_deflate_params *out)
{
    static const uint8_t levels[4][9] = {
        {1, 2, 3, 4, 5, 6, 7, 8, 9},
        {2, 3, 4, 5, 6, 1, 7, 8, 9},
        {6, 5, 7, 4, 8, 9, 3, 2, 1},
        {7, 8, 9, 6, 5, 4, 3, 2, 1},
    };
    unsigned n = 0;

    for (unsigned i = 0; i < 9; i++) {
        out[n] = *base;
        out[n].level = levels[hint & 3][i];
        if (out[n].level >= 4) {
            out[n].strategy = LETHE_DEFLATE_FILTERED;
            out[n + 1] = out[n];
            out[n + 1].strategy = LETHE_DEFLATE_DEFAULT;
            n++;
        } else {
            out[n].strategy = LETHE_DEFLATE_DEFAULT;
        }
        n++;
    }
    return n;
}

/* Takes other over params when it foresees the sample better. */
static uint64_t improve(const struct lethe_deflate_sample *sample, struct lethe_deflate_params *params,
                        const struct lethe_deflate_params *other, const uint8_t *data, size_t len,
                        uint64_t best)
{
    uint64_t misses = best ? trial(sample, other, data, len, &all_of_it, best) : 0;

    if (misses < best) {
        *params = *other;
        best = misses;
    }
    return best;
}

uint64_t lethe_deflate_guess(const struct lethe_deflate_sample *sample, const uint8_t *data, size_t len,
                             unsigned hint, unsigned window_bits, bool *unproven,
                             struct lethe_deflate_params *params)
{
    struct lethe_deflate_params base = {.level = 1, .strategy = LETHE_DEFLATE_HUFFMAN, .mem_level = 8};
    struct lethe_deflate_params all[CANDIDATES], other;
    uint64_t misses[CANDIDATES], best;
    unsigned n;

    base.mem_level = (uint8_t)(sample->mem_level ? sample->mem_level : 8);
    base.window_bits = (uint8_t)(window_bits < 8 || window_bits > 15 ? 15 : window_bits);
    *params = base;
    if (sample->coded == 0) {
        params->level = sample->tokens.count > 0 ? 0 : 1;
        return 0;
    }
    best = trial(sample, &base, data, len, &all_of_it, UINT64_MAX);
    other = base;
    other.strategy = LETHE_DEFLATE_RLE;
    best = improve(sample, params, &other, data, len, best);
    if (best == 0) {
        return 0;
    }
    n = list(hint, &base, all);
    for (unsigned i = 0; i < n; i++) {
        misses[i] = trial(sample, &all[i], data, len, &beginning, QUICK / STRANGE);
        if (misses[i] == 0 && (unproven || trial(sample, &all[i], data, len, &all_of_it, 1) == 0)) {
            *params = all[i];
            if (unproven) {
                *unproven = true;
            }
            return 0;
        }
    }
    for (unsigned round = 0; round < 3; round++) {
        unsigned least = 0;

        for (unsigned i = 1; i < n; i++) {
            least = misses[i] < misses[least] ? i : least;
        }
        if (misses[least] >= QUICK / STRANGE) {
            break;
        }
        best = improve(sample, params, &all[least], data, len, best);
        misses[least] = UINT64_MAX;
    }
    if (best > sample->tokens.count / STRANGE) { /* some other kind of encoder */
        return best;
    }
    /* A header may name a smaller window than the encoder had (libpng mends it afterwards). */
    for (unsigned bits = base.window_bits + 1u; bits <= 15 && best > 0; bits++) {
        other = *params;
        other.window_bits = (uint8_t)bits;
        best = improve(sample, params, &other, data, len, best);
    }
    for (unsigned level = 9; level >= 1 && best > 0; level--) {
        other = *params;
        other.mem_level = (uint8_t)level;
        best = improve(sample, params, &other, data, len, best);
    }
    return best;
}
