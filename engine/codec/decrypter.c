/* SPDX-License-Identifier: MIT */
/*
 * The Decrypter. Its integers, exactly:
 *
 *   input     u[k] = clamp(z[k], -63, 63) + 64 for the 64 latents, u[64] = clamp(z[0] - clamp(z[0], -63, 63),
 * -63, 63)
 *             + 64, three inputs of 64; outside the picture the nearest cell's
 *   hidden 1  requant1(conv1(u)), 3x3, 68 to 40; outside the picture the nearest cell's
 *   hidden 2  requant2(conv2(hidden 1)), 3x3, 40 to 40
 *   v         clip8((linear(z) + bias + (conv3(hidden 2) * mult >> shift)) >> bits), 1x1, to 192 values: 64
 * of Y, Cb, Cr
 *
 * with requant and the last line as in engine/nn/layers.h, and for each rate its own requant, linear weights
 * (base times gain, see pack), mult, shift and bits. Accumulators: conv1 has 9 * 68 products of at most 127 *
 * 63, below 2^23; conv3 40, at most 320040, and times mult (at most 6700) below 2^31; linear 64 of at most
 * 127 * 16384, below 2^28.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/codec/pair.h"
#include "engine/codec/tile.h"

#define IN LETHE_DEC_INPUTS
#define WIDE_RIM (LETHE_TILE + 4) /* of the input: two convolutions reach two cells */

struct scratch {
    uint8_t in[WIDE_RIM][WIDE_RIM][IN];
    uint8_t hidden1[LETHE_TILE_RIM][LETHE_TILE_RIM][LETHE_HIDDEN];
    uint8_t hidden2[LETHE_TILE][LETHE_HIDDEN];
    int16_t z[LETHE_TILE][LETHE_LATENTS];
    int32_t acc[LETHE_TILE_RIM][LETHE_HIDDEN];
    int32_t linear[LETHE_TILE][LETHE_PIXELS];
    int32_t conv[LETHE_TILE][LETHE_PIXELS];
    uint8_t out[LETHE_TILE][LETHE_PIXELS];
};

struct run {
    const struct lethe_pair *pair;
    const struct lethe_nn_kernels *kernels;
    const struct lethe_latents *latents;
    struct lethe_ycc *picture;
    bool linear_only;
    size_t first; /* tile */
    uint32_t end; /* the block row where all tiles end; 0: their own */
    atomic_bool failed; /* no memory for a tile */
};

enum lethe_err lethe_decrypter_pack(struct lethe_pair *pair)
{
    const struct lethe_weights *w = &pair->weights;
    int16_t *linear = malloc(sizeof w->dec_linear);

    if (!linear) {
        return LETHE_ERR_NOMEM;
    }
    lethe_nn_pack_bytes(w->dec_conv1[0][0], LETHE_HIDDEN, 9 * IN, pair->dec_conv1);
    lethe_nn_pack_bytes(w->dec_conv2[0][0], LETHE_HIDDEN, 9 * LETHE_HIDDEN, pair->dec_conv2);
    lethe_nn_pack_bytes(w->dec_conv3[0], LETHE_PIXELS, LETHE_HIDDEN, pair->dec_conv3);
    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        unsigned bits = w->dec_bits[rate];

        for (size_t i = 0; i < LETHE_PIXELS; i++) {
            /* 128 for the middle of a byte, and a half to round; dec_bias has 16 bits of fraction, more than
             * bits. */
            pair->dec_bias[rate][i] = (w->dec_bias[i] >> (16 - bits)) + (128 << bits) + (1 << (bits - 1));
            pair->dec_mult[rate][i] = w->dec_mult[rate][i];
            for (size_t k = 0; k < LETHE_LATENTS; k++) {
                linear[i * LETHE_LATENTS + k] =
                    (int16_t)(((int64_t)w->dec_linear[i][k] * w->dec_gain[rate][k] + 32768) >> 16);
            }
        }
        lethe_nn_pack_words(linear, LETHE_PIXELS, LETHE_LATENTS, pair->dec_linear[rate]);
    }
    free(linear);
    return LETHE_OK;
}

static uint32_t clamp_index(int64_t index, uint32_t count)
{
    return index < 0 ? 0 : index >= count ? count - 1 : (uint32_t)index;
}

static void load_cell(const int8_t *z, uint8_t *u)
{
    int overflow;

    for (size_t k = 0; k < LETHE_LATENTS; k++) {
        int value = z[k];

        u[k] = (uint8_t)((value < -63 ? -63 : value > 63 ? 63 : value) + 64);
    }
    overflow = z[0] - (u[0] - 64);
    u[64] = (uint8_t)((overflow < -63 ? -63 : overflow > 63 ? 63 : overflow) + 64);
    memset(u + 65, 64, IN - 65);
}

static void load_tile(const struct lethe_latents *latents, const struct lethe_tile *tile, struct scratch *s)
{
    for (uint32_t y = 0; y < tile->h + 4; y++) {
        size_t row = clamp_index((int64_t)tile->y + y - 2, tile->grid_h);

        for (uint32_t x = 0; x < tile->w + 4; x++) {
            size_t column = clamp_index((int64_t)tile->x + x - 2, tile->grid_w);

            load_cell(latents->values + (row * tile->grid_w + column) * LETHE_LATENTS, s->in[y][x]);
        }
    }
}

static void run_hidden1(const struct run *run, const struct lethe_tile *tile, struct scratch *s)
{
    const struct lethe_requant *requant = &run->pair->weights.dec_requant1[run->latents->rate];

    for (uint32_t y = 0; y < tile->h + 2; y++) {
        run->kernels->bytes(&(struct lethe_nn_bytes){.in = {s->in[y][0], s->in[y + 1][0], s->in[y + 2][0]},
                                                     .segments = 3,
                                                     .len = 3 * IN,
                                                     .stride = IN,
                                                     .weights = run->pair->dec_conv1,
                                                     .outs = LETHE_HIDDEN,
                                                     .cells = tile->w + 2,
                                                     .out = s->acc[0]});
        run->kernels->requant(&(struct lethe_nn_requant){.acc = s->acc[0],
                                                         .mult = requant->mult,
                                                         .bias = requant->bias,
                                                         .channels = LETHE_HIDDEN,
                                                         .cells = tile->w + 2,
                                                         .out = s->hidden1[y][0]});
    }
    lethe_tile_fill_rim(tile, s->hidden1[0][0], LETHE_HIDDEN);
}

/* One row of cells from the second hidden layer to the convolution's part of the picture. */
static void run_branch(const struct run *run, const struct lethe_tile *tile, uint32_t y, struct scratch *s)
{
    const struct lethe_requant *requant = &run->pair->weights.dec_requant2[run->latents->rate];

    run->kernels->bytes(
        &(struct lethe_nn_bytes){.in = {s->hidden1[y][0], s->hidden1[y + 1][0], s->hidden1[y + 2][0]},
                                 .segments = 3,
                                 .len = 3 * LETHE_HIDDEN,
                                 .stride = LETHE_HIDDEN,
                                 .weights = run->pair->dec_conv2,
                                 .outs = LETHE_HIDDEN,
                                 .cells = tile->w,
                                 .out = s->acc[0]});
    run->kernels->requant(&(struct lethe_nn_requant){.acc = s->acc[0],
                                                     .mult = requant->mult,
                                                     .bias = requant->bias,
                                                     .channels = LETHE_HIDDEN,
                                                     .cells = tile->w,
                                                     .out = s->hidden2[0]});
    run->kernels->bytes(&(struct lethe_nn_bytes){.in = {s->hidden2[0]},
                                                 .segments = 1,
                                                 .len = LETHE_HIDDEN,
                                                 .stride = LETHE_HIDDEN,
                                                 .weights = run->pair->dec_conv3,
                                                 .outs = LETHE_PIXELS,
                                                 .cells = tile->w,
                                                 .out = s->conv[0]});
}

/* Writes one row of cells to the planes; what lies beyond the picture is dropped. */
static void store_row(const struct lethe_tile *tile, uint32_t y, const struct scratch *s,
                      struct lethe_ycc *picture)
{
    uint32_t top = (tile->y + y) * LETHE_BLOCK;
    uint32_t rows = picture->height - top < LETHE_BLOCK ? picture->height - top : LETHE_BLOCK;

    for (unsigned plane = 0; plane < 3; plane++) {
        for (uint32_t i = 0; i < rows; i++) {
            uint8_t *to = picture->planes[plane] + (size_t)(top + i) * picture->width;

            for (uint32_t x = 0; x < tile->w; x++) {
                uint32_t left = (tile->x + x) * LETHE_BLOCK;
                const uint8_t *from = &s->out[x][plane * 64 + i * LETHE_BLOCK];

                if (picture->width - left >= LETHE_BLOCK) {
                    memcpy(to + left, from, LETHE_BLOCK);
                } else {
                    memcpy(to + left, from, picture->width - left);
                }
            }
        }
    }
}

static void run_tile(void *context, size_t index)
{
    struct run *run = context;
    const struct lethe_latents *latents = run->latents;
    unsigned rate = latents->rate;
    struct lethe_tile tile = lethe_tile_at(latents->blocks_w, latents->blocks_h, run->first + index);
    struct scratch *s = malloc(sizeof *s);

    if (!s) {
        atomic_store(&run->failed, true);
        return;
    }
    if (run->end && tile.y + tile.h > run->end) {
        tile.h = run->end - tile.y;
    }
    if (!run->linear_only) {
        load_tile(latents, &tile, s);
        run_hidden1(run, &tile, s);
    }
    for (uint32_t y = 0; y < tile.h; y++) {
        const int8_t *z = latents->values + ((size_t)(tile.y + y) * tile.grid_w + tile.x) * LETHE_LATENTS;

        for (size_t i = 0; i < (size_t)tile.w * LETHE_LATENTS; i++) {
            s->z[i / LETHE_LATENTS][i % LETHE_LATENTS] = z[i];
        }
        run->kernels->words(&(struct lethe_nn_words){.in = s->z[0],
                                                     .len = LETHE_LATENTS,
                                                     .weights = run->pair->dec_linear[rate],
                                                     .outs = LETHE_PIXELS,
                                                     .cells = tile.w,
                                                     .out = s->linear[0]});
        if (!run->linear_only) {
            run_branch(run, &tile, y, s);
        }
        run->kernels->finish(&(struct lethe_nn_finish){.linear = s->linear[0],
                                                       .conv = run->linear_only ? NULL : s->conv[0],
                                                       .bias = run->pair->dec_bias[rate],
                                                       .mult = run->pair->dec_mult[rate],
                                                       .shift = run->pair->weights.dec_shift[rate],
                                                       .bits = run->pair->weights.dec_bits[rate],
                                                       .outs = LETHE_PIXELS,
                                                       .cells = tile.w,
                                                       .out = s->out[0]});
        store_row(&tile, y, s, run->picture);
    }
    free(s);
}

static enum lethe_err decrypt(const struct lethe_pair *pair, const struct lethe_latents *latents,
                              struct lethe_pool *pool, bool linear_only, struct lethe_ycc *picture)
{
    struct run run = {.pair = pair,
                      .kernels = lethe_nn_best(),
                      .latents = latents,
                      .picture = picture,
                      .linear_only = linear_only};
    enum lethe_err err;

    *picture = (struct lethe_ycc){0};
    if (latents->rate >= LETHE_RATES) {
        return LETHE_ERR_ARG;
    }
    err = lethe_ycc_init(picture, latents->width, latents->height);
    if (err) {
        return err;
    }
    lethe_pool_run(pool, lethe_tile_count(latents->blocks_w, latents->blocks_h), run_tile, &run);
    if (atomic_load(&run.failed)) {
        lethe_ycc_release(picture);
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}

enum lethe_err lethe_decrypter_run(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                   struct lethe_pool *pool, struct lethe_ycc *picture)
{
    return decrypt(pair, latents, pool, false, picture);
}

enum lethe_err lethe_decrypter_run_linear(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                          struct lethe_pool *pool, struct lethe_ycc *picture)
{
    return decrypt(pair, latents, pool, true, picture);
}

enum lethe_err lethe_decrypter_rows(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                    struct lethe_pool *pool, uint32_t from, uint32_t to, struct lethe_ycc *picture)
{
    struct run run = {.pair = pair, .kernels = lethe_nn_best(), .latents = latents, .picture = picture};
    size_t across = ((size_t)latents->blocks_w + LETHE_TILE - 1) / LETHE_TILE;
    uint32_t first = from / LETHE_DECRYPTER_ROWS, end = to / LETHE_DECRYPTER_ROWS + (to % LETHE_DECRYPTER_ROWS != 0);

    static_assert(LETHE_DECRYPTER_ROWS == LETHE_TILE * LETHE_BLOCK, "a row of tiles");
    if (latents->rate >= LETHE_RATES || picture->width != latents->width || picture->height != latents->height ||
        to > picture->height || from > to || from % LETHE_DECRYPTER_ROWS) {
        return LETHE_ERR_ARG;
    }
    run.first = first * across;
    run.end = (to + LETHE_BLOCK - 1) / LETHE_BLOCK;
    lethe_pool_run(pool, (end - first) * across, run_tile, &run);
    return atomic_load(&run.failed) ? LETHE_ERR_NOMEM : LETHE_OK;
}
