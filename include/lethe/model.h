/* SPDX-License-Identifier: MIT */
/*
 * A model pair: the weights of one Encrypter and its Decrypter. The file is versioned and ends in a hash; its id is
 * the first 16 bytes of BLAKE2b-256 over the file. A pair is immutable and may be used from many threads.
 */
#ifndef LETHE_MODEL_H
#define LETHE_MODEL_H

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/nn.h"
#include "lethe/pool.h"

struct lethe_pair;

/* Copies what it needs. LETHE_ERR_FORMAT, LETHE_ERR_VERSION, LETHE_ERR_INTEGRITY (hash), LETHE_ERR_NOMEM. */
enum lethe_err lethe_pair_parse(const uint8_t *bytes, size_t len, struct lethe_pair **out) LETHE_MUST_CHECK;
void lethe_pair_free(struct lethe_pair *pair);
const struct lethe_id *lethe_pair_id(const struct lethe_pair *pair);
/* The file's bytes, owned by the pair. */
const uint8_t *lethe_pair_bytes(const struct lethe_pair *pair, size_t *len);

/* The pairs shipped with this program, newest first; NULL past the end. Parsed once, never freed. */
const struct lethe_pair *lethe_pair_shipped(unsigned index);

/* The rate index that strength 0..3 stands for in this pair. */
unsigned lethe_pair_rate(const struct lethe_pair *pair, unsigned strength);

/*
 * The Encrypter: picture to quantised latents, by stochastic rounding outside the dead zone with bytes from random.
 * Runs in floating point or integers as it likes: nothing but the latents is kept. noise is the strength's extra
 * diffusion noise and comes from the pair. latents is initialised here.
 */
enum lethe_err lethe_encrypter_run(const struct lethe_pair *pair, const struct lethe_ycc *picture, unsigned strength,
                                   const struct lethe_random *random, struct lethe_pool *pool,
                                   struct lethe_latents *latents) LETHE_MUST_CHECK;

/* The same at another rate than the strength's own; dither and noise remain the strength's. */
enum lethe_err lethe_encrypter_run_at(const struct lethe_pair *pair, const struct lethe_ycc *picture,
                                      unsigned strength, unsigned rate, const struct lethe_random *random,
                                      struct lethe_pool *pool, struct lethe_latents *latents) LETHE_MUST_CHECK;

/* The Decrypter, in integers, bit for bit the same everywhere. picture is initialised here. */
enum lethe_err lethe_decrypter_run(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                   struct lethe_pool *pool, struct lethe_ycc *picture) LETHE_MUST_CHECK;
/*
 * A part of it: the rows from (a multiple of LETHE_DECRYPTER_ROWS) to at least to, at most the height, of a picture that
 * the caller has initialised with the latents' size. It reads two rows of blocks of the latents beyond.
 */
#define LETHE_DECRYPTER_ROWS 256u
enum lethe_err lethe_decrypter_rows(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                    struct lethe_pool *pool, uint32_t from, uint32_t to,
                                    struct lethe_ycc *picture) LETHE_MUST_CHECK;
/* The same with the convolutional branch left out: the pair's own linear path, for measuring what the net adds. */
enum lethe_err lethe_decrypter_run_linear(const struct lethe_pair *pair, const struct lethe_latents *latents,
                                          struct lethe_pool *pool, struct lethe_ycc *picture) LETHE_MUST_CHECK;

/* Entropy coding of latents (appends to out), and its hostile-safe inverse (initialises latents). */
enum lethe_err lethe_latents_encode(const struct lethe_latents *latents, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_latents_decode(struct lethe_reader *reader, uint64_t max_pixels, struct lethe_latents *latents)
    LETHE_MUST_CHECK;

/* The same bytes and the same latents, with the bands of a large picture coded on the pool. */
enum lethe_err lethe_latents_encode_on(const struct lethe_latents *latents, struct lethe_pool *pool,
                                       struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_latents_decode_on(struct lethe_reader *reader, uint64_t max_pixels, struct lethe_pool *pool,
                                       struct lethe_latents *latents) LETHE_MUST_CHECK;

/*
 * Decoding by rows, for who wants the first rows first. The reader's bytes are borrowed until the decoder is freed; the
 * latents are the decoder's, complete down to the blocks' row that a run was told to reach.
 */
struct lethe_latents_decoder;
enum lethe_err lethe_latents_decoder_new(struct lethe_reader *reader, uint64_t max_pixels,
                                         struct lethe_latents_decoder **out) LETHE_MUST_CHECK;
void lethe_latents_decoder_free(struct lethe_latents_decoder *decoder);
const struct lethe_latents *lethe_latents_decoder_latents(const struct lethe_latents_decoder *decoder);
enum lethe_err lethe_latents_decoder_run(struct lethe_latents_decoder *decoder, uint32_t rows,
                                         struct lethe_pool *pool) LETHE_MUST_CHECK;
/* The first rows alone, sooner, where nothing has been decoded yet: a run does it again. */
enum lethe_err lethe_latents_decoder_head(struct lethe_latents_decoder *decoder, uint32_t rows) LETHE_MUST_CHECK;

#endif
