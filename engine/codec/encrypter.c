/* SPDX-License-Identifier: MIT */
/*
 * The Encrypter, in integers too, though only the latents are kept:
 *
 *   hidden 1  requant1(conv1(v / 2)), 1x1, 192 to 40; outside the picture the nearest cell's
 *   hidden 2  requant2(conv2(hidden 1)), 3x3, 40 to 40
 *   y         linear(v - 128) + bias + (conv3(hidden 2) * mult >> shift), 1x1, to 64
 *   a         y * scale / 2^32: 1/256 of the rate's quantiser step
 *   z         0 while |a| < 0.6 steps, else stochastic rounding of a, plus diffusion noise at strengths that
 * have it, clipped to [-127, 127]. Noise on latents near zero would cost most of the rate and hide little.
 *
 * Blocks that reach beyond the picture repeat its last column and row. |linear| is at most 192 * 128 * 32767
 * < 2^30, bias 2^28, the convolution's part 320040 * 6700 / 8 < 2^28: y fits 31 bits.
 *
 * Randomness: 32 fresh bytes for each picture key a ChaCha20 stream (RFC 8439) for each tile, so that the
 * draw does not depend on the number of threads.
 */
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/codec/pair.h"
#include "engine/codec/tile.h"

#define DEAD_ZONE 154 /* 0.6 of a step in 1/256 */
#define DRAWS 5       /* random bytes for one latent: one to round, four for the diffusion noise */

struct scratch {
    uint8_t half[LETHE_TILE_RIM][LETHE_PIXELS];
    uint8_t hidden1[LETHE_TILE_RIM][LETHE_TILE_RIM][LETHE_HIDDEN];
    uint8_t hidden2[LETHE_TILE][LETHE_HIDDEN];
    int16_t pixels[LETHE_TILE][LETHE_PIXELS];
    int32_t acc[LETHE_TILE_RIM][LETHE_HIDDEN];
    int32_t linear[LETHE_TILE][LETHE_LATENTS];
    int32_t conv[LETHE_TILE][LETHE_LATENTS];
    uint8_t random[LETHE_TILE * LETHE_LATENTS * DRAWS];
};

struct run {
    const struct lethe_pair *pair;
    const struct lethe_nn_kernels *kernels;
    const struct lethe_ycc *picture;
    struct lethe_latents *latents;
    unsigned strength;
    uint8_t key[crypto_stream_chacha20_ietf_KEYBYTES];
    atomic_bool failed;
};

enum lethe_err lethe_encrypter_pack(struct lethe_pair *pair)
{
    const struct lethe_weights *w = &pair->weights;

    lethe_nn_pack_words(w->enc_linear[0], LETHE_LATENTS, LETHE_PIXELS, pair->enc_linear);
    lethe_nn_pack_bytes(w->enc_conv1[0], LETHE_HIDDEN, LETHE_PIXELS, pair->enc_conv1);
    lethe_nn_pack_bytes(w->enc_conv2[0][0], LETHE_HIDDEN, 9 * LETHE_HIDDEN, pair->enc_conv2);
    lethe_nn_pack_bytes(w->enc_conv3[0], LETHE_LATENTS, LETHE_HIDDEN, pair->enc_conv3);
    for (size_t k = 0; k < LETHE_LATENTS; k++) {
        pair->enc_mult[k] = w->enc_mult[k];
    }
    return LETHE_OK;
}

/* The 192 values of the block at cell (x, y). */
static void load_block(const struct lethe_ycc *picture, uint32_t x, uint32_t y, uint8_t *out)
{
    uint32_t left = x * LETHE_BLOCK, top = y * LETHE_BLOCK;
    uint32_t columns = picture->width - left < LETHE_BLOCK ? picture->width - left : LETHE_BLOCK;

    for (unsigned plane = 0; plane < 3; plane++) {
        for (uint32_t i = 0; i < LETHE_BLOCK; i++) {
            uint32_t row = picture->height - top <= i ? picture->height - 1 : top + i;
            const uint8_t *from = picture->planes[plane] + (size_t)row * picture->width + left;
            uint8_t *to = out + plane * 64 + i * LETHE_BLOCK;

            if (columns == LETHE_BLOCK) {
                memcpy(to, from, LETHE_BLOCK);
            } else {
                memcpy(to, from, columns);
                memset(to + columns, from[columns - 1], LETHE_BLOCK - columns);
            }
        }
    }
}

/* Row y of the rim (the tile's row y - 1) of the first hidden layer, for the cells within the picture. */
static void run_hidden1(const struct run *run, const struct lethe_tile *tile, uint32_t y, struct scratch *s)
{
    const struct lethe_requant *requant = &run->pair->weights.enc_requant1;
    uint32_t first = tile->x == 0;
    uint32_t end = tile->x + tile->w == tile->grid_w ? tile->w + 1 : tile->w + 2;

    for (uint32_t x = first; x < end; x++) {
        load_block(run->picture, tile->x + x - 1, tile->y + y - 1, s->half[x]);
        for (size_t i = 0; i < LETHE_PIXELS; i++) {
            s->half[x][i] >>= 1;
        }
    }
    run->kernels->bytes(&(struct lethe_nn_bytes){.in = {s->half[first]},
                                                 .segments = 1,
                                                 .len = LETHE_PIXELS,
                                                 .stride = LETHE_PIXELS,
                                                 .weights = run->pair->enc_conv1,
                                                 .outs = LETHE_HIDDEN,
                                                 .cells = end - first,
                                                 .out = s->acc[0]});
    run->kernels->requant(&(struct lethe_nn_requant){.acc = s->acc[0],
                                                     .mult = requant->mult,
                                                     .bias = requant->bias,
                                                     .channels = LETHE_HIDDEN,
                                                     .cells = end - first,
                                                     .out = s->hidden1[y][first]});
}

/* One row of cells from the second hidden layer to y, which is left in linear and conv. */
static void run_row(const struct run *run, const struct lethe_tile *tile, uint32_t y, struct scratch *s)
{
    const struct lethe_requant *requant = &run->pair->weights.enc_requant2;

    run->kernels->bytes(
        &(struct lethe_nn_bytes){.in = {s->hidden1[y][0], s->hidden1[y + 1][0], s->hidden1[y + 2][0]},
                                 .segments = 3,
                                 .len = 3 * LETHE_HIDDEN,
                                 .stride = LETHE_HIDDEN,
                                 .weights = run->pair->enc_conv2,
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
                                                 .weights = run->pair->enc_conv3,
                                                 .outs = LETHE_LATENTS,
                                                 .cells = tile->w,
                                                 .out = s->conv[0]});
    for (uint32_t x = 0; x < tile->w; x++) {
        uint8_t block[LETHE_PIXELS];

        load_block(run->picture, tile->x + x, tile->y + y, block);
        for (size_t i = 0; i < LETHE_PIXELS; i++) {
            s->pixels[x][i] = (int16_t)(block[i] - 128);
        }
    }
    run->kernels->words(&(struct lethe_nn_words){.in = s->pixels[0],
                                                 .len = LETHE_PIXELS,
                                                 .weights = run->pair->enc_linear,
                                                 .outs = LETHE_LATENTS,
                                                 .cells = tile->w,
                                                 .out = s->linear[0]});
}

/* Four bytes make a bell of variance 4 * (256^2 - 1) / 12, a deviation of 147.8; the result has deviation. */
static int32_t diffusion(const uint8_t *bytes, int32_t deviation)
{
    int32_t sum = bytes[0] + bytes[1] + bytes[2] + bytes[3] - 510;

    return sum * deviation / 148;
}

static int8_t quantise(int32_t a, unsigned random, int32_t dither)
{
    /* dither 256: the low 8 bits decide with their own value as the chance; 0: plain rounding. */
    int32_t z = (a + 128 + ((((int32_t)random - 128) * dither) >> 8)) >> 8;

    return (int8_t)(z < -LETHE_LATENT_MAX ? -LETHE_LATENT_MAX : z > LETHE_LATENT_MAX ? LETHE_LATENT_MAX : z);
}

static void quantise_row(const struct run *run, const struct lethe_tile *tile, uint32_t y,
                         const struct scratch *s)
{
    const struct lethe_weights *w = &run->pair->weights;
    const uint32_t *scale = w->enc_scale[run->latents->rate];
    int32_t dither = w->dither[run->strength], noise = w->noise[run->strength];
    int8_t *values = run->latents->values + ((size_t)(tile->y + y) * tile->grid_w + tile->x) * LETHE_LATENTS;

    for (uint32_t x = 0; x < tile->w; x++) {
        for (size_t k = 0; k < LETHE_LATENTS; k++) {
            const uint8_t *random = s->random + (x * LETHE_LATENTS + k) * (noise ? DRAWS : 1);
            int32_t sum =
                s->linear[x][k] + w->enc_bias[k] + ((s->conv[x][k] * w->enc_mult[k]) >> w->enc_shift);
            int64_t wide = ((int64_t)sum * scale[k]) >> 32;
            int32_t a = (int32_t)(wide < -32768 ? -32768 : wide > 32767 ? 32767 : wide);

            values[x * LETHE_LATENTS + k] =
                a > -DEAD_ZONE && a < DEAD_ZONE
                    ? 0
                    : quantise(noise ? a + diffusion(random + 1, noise) : a, random[0], dither);
        }
    }
}

static void run_tile(void *context, size_t index)
{
    struct run *run = context;
    struct lethe_tile tile = lethe_tile_at(run->latents->blocks_w, run->latents->blocks_h, index);
    size_t draw = LETHE_LATENTS * (run->pair->weights.noise[run->strength] ? DRAWS : 1);
    struct scratch *s = malloc(sizeof *s);
    uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = {0};

    if (!s) {
        atomic_store(&run->failed, true);
        return;
    }
    for (uint32_t y = tile.y == 0; y < (tile.y + tile.h == tile.grid_h ? tile.h + 1 : tile.h + 2); y++) {
        run_hidden1(run, &tile, y, s);
    }
    lethe_tile_fill_rim(&tile, s->hidden1[0][0], LETHE_HIDDEN);
    lethe_set_u64(nonce, index);
    for (uint32_t y = 0; y < tile.h; y++) {
        run_row(run, &tile, y, s);
        lethe_set_u32(nonce + 8, y);
        crypto_stream_chacha20_ietf(s->random, tile.w * draw, nonce, run->key);
        quantise_row(run, &tile, y, s);
    }
    sodium_memzero(s->random, sizeof s->random);
    free(s);
}

enum lethe_err lethe_encrypter_run(const struct lethe_pair *pair, const struct lethe_ycc *picture,
                                   unsigned strength, const struct lethe_random *random,
                                   struct lethe_pool *pool, struct lethe_latents *latents)
{
    return lethe_encrypter_run_at(pair, picture, strength, lethe_pair_rate(pair, strength), random, pool,
                                  latents);
}

enum lethe_err lethe_encrypter_run_at(const struct lethe_pair *pair, const struct lethe_ycc *picture,
                                      unsigned strength, unsigned rate, const struct lethe_random *random,
                                      struct lethe_pool *pool, struct lethe_latents *latents)
{
    struct run run = {.pair = pair,
                      .kernels = lethe_nn_best(),
                      .picture = picture,
                      .latents = latents,
                      .strength = strength};
    enum lethe_err err;

    *latents = (struct lethe_latents){0};
    if (strength >= LETHE_STRENGTHS || rate >= LETHE_RATES) {
        return LETHE_ERR_ARG;
    }
    err = lethe_latents_init(latents, picture->width, picture->height, rate);
    if (err) {
        return err;
    }
    random->fill(random->context, run.key, sizeof run.key);
    lethe_pool_run(pool, lethe_tile_count(latents->blocks_w, latents->blocks_h), run_tile, &run);
    sodium_memzero(run.key, sizeof run.key);
    if (atomic_load(&run.failed)) {
        lethe_latents_release(latents);
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}
