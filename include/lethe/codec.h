/* SPDX-License-Identifier: MIT */
/*
 * The codec: one photo file becomes three byte strings.
 *   artifact  the latents that the Encrypter left, entropy-coded, with the id of the model pair
 *   residual  what the Decrypter's picture lacks, coded given that picture
 *   recipe    the container: headers, metadata, filters, deflate parse, trailing bytes
 * All three give the file back exactly; none is of use without the artifact. lethe_photo_encode alone
 * verifies: else the caller restores from the very bytes that it is about to store and compares. All calls are thread-safe on distinct objects.
 */
#ifndef LETHE_CODEC_H
#define LETHE_CODEC_H

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/model.h"
#include "lethe/pool.h"
#include "lethe/residual.h"

struct lethe_photo;

enum lethe_container { LETHE_CONTAINER_PNG = 1, LETHE_CONTAINER_JPEG = 2 };

struct lethe_photo_info {
    enum lethe_container container;
    uint32_t width;
    uint32_t height;
    unsigned channels;
    uint8_t digest[32]; /* BLAKE2b-256 of shape and samples or coefficients: equal pictures, equal digests */
};

/*
 * Takes a file apart (file is borrowed for the call only). LETHE_ERR_UNSUPPORTED with *reason when it is no photo that
 * has a recipe. effort FAST refuses deflate streams that would replay too slowly (LETHE_REASON_DEFLATE).
 */
enum lethe_err lethe_photo_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                 struct lethe_photo **out, enum lethe_reason *reason) LETHE_MUST_CHECK;
/*
 * The same on the threads of pool, for lethe_photo_encode: sooner, for it may believe that the encoder of a PNG went on
 * as it began. Only lethe_photo_encode, which proves it, or looks again, makes sure that the recipe is right.
 */
enum lethe_err lethe_photo_parse_to_encode(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                           struct lethe_pool *pool, struct lethe_photo **out,
                                           enum lethe_reason *reason) LETHE_MUST_CHECK;
void lethe_photo_free(struct lethe_photo *photo);
const struct lethe_photo_info *lethe_photo_info(const struct lethe_photo *photo);
/* Owned by the photo, as long as lethe_photo_encode is not called. */
const uint8_t *lethe_photo_recipe(const struct lethe_photo *photo, size_t *len);

/* Runs the Encrypter with fresh randomness and appends the artifact's payload to out. */
enum lethe_err lethe_photo_encrypt(const struct lethe_photo *photo, const struct lethe_pair *pair, unsigned strength,
                                   const struct lethe_random *random, struct lethe_pool *pool,
                                   struct lethe_buf *out) LETHE_MUST_CHECK;

/* The same at another rate (below LETHE_RATES, 0 the finest) than the strength's own. */
enum lethe_err lethe_photo_encrypt_at(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                      unsigned strength, unsigned rate, const struct lethe_random *random,
                                      struct lethe_pool *pool, struct lethe_buf *out) LETHE_MUST_CHECK;

/*
 * The rate of an artifact that is always stored beside its residual: the strength's own, but for a JPEG at strength 2,
 * the default, strength 3's (without its noise). A coefficient repays little of what the artifact tells of it, so the
 * thinnest artifact gives the smallest total.
 */
unsigned lethe_photo_exact_rate(const struct lethe_photo *photo, const struct lethe_pair *pair, unsigned strength);

/* What an artifact alone gives, as measured against the photo. */
struct lethe_photo_quality {
    uint64_t squared_error; /* summed over all 8-bit samples of all channels as the Decrypter sees them */
    uint64_t samples;
};
enum lethe_err lethe_photo_measure(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                   const uint8_t *artifact, size_t artifact_len, struct lethe_pool *pool,
                                   struct lethe_photo_quality *quality) LETHE_MUST_CHECK;
/* 10 * log10(255^2 * samples / squared_error); 99 when equal. */
double lethe_quality_psnr(const struct lethe_photo_quality *quality);

/*
 * Decodes the artifact and appends the residual to out. The artifact may be an older one of the same picture (same
 * digest). quality may be NULL.
 */
enum lethe_err lethe_photo_residual(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                    const uint8_t *artifact, size_t artifact_len, enum lethe_effort effort,
                                    struct lethe_pool *pool, struct lethe_buf *out,
                                    struct lethe_photo_quality *quality) LETHE_MUST_CHECK;

struct lethe_photo_coding {
    unsigned strength, rate; /* as lethe_photo_encrypt_at takes them */
    enum lethe_effort effort;
    bool view; /* put behind the artifact what lethe_photo_view does */
    const struct lethe_random *random;
};
/*
 * Artifact and residual (both empty before) of a photo that file was parsed to, proven: from them and the recipe, which
 * may be another one afterwards, the decoder has given the very bytes of file. LETHE_ERR_DIFFERS when it gave others;
 * both are empty after any error. quality may be NULL.
 */
enum lethe_err lethe_photo_encode(struct lethe_photo *photo, const uint8_t *file, size_t len,
                                  const struct lethe_pair *pair, const struct lethe_photo_coding *how,
                                  struct lethe_pool *pool, struct lethe_buf *artifact, struct lethe_buf *residual,
                                  struct lethe_photo_quality *quality) LETHE_MUST_CHECK;

/*
 * The Decrypter's picture in the photo's own container: file (which photo was parsed from) with its metadata, size in
 * pixels, tables and sample kind, embedded pictures made anew. Appended to out. Such a file has a recipe like any
 * other, and comes back from artifact and recipe without a residual. LETHE_ERR_UNSUPPORTED: not in this container.
 */
enum lethe_err lethe_photo_degrade(const struct lethe_photo *photo, const uint8_t *file, size_t len,
                                   const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                   struct lethe_pool *pool, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Puts behind an artifact's payload (in place of what may be there) what lethe_artifact_file needs to show it the right way up, in its colours. */
enum lethe_err lethe_photo_view(const struct lethe_photo *photo, const uint8_t *file, size_t len,
                                struct lethe_buf *artifact) LETHE_MUST_CHECK;
/* The Decrypter's picture from the artifact alone, as a file of the photo's format and size. Appended to out. */
enum lethe_err lethe_artifact_file(const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                   const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                   struct lethe_buf *out) LETHE_MUST_CHECK;

/* The file from its three parts, or from two of what lethe_photo_degrade made (residual_len 0); appended to out, at most max_len bytes (the known size of the content). */
enum lethe_err lethe_photo_restore(const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                   const uint8_t *residual, size_t residual_len, const uint8_t *recipe,
                                   size_t recipe_len, const struct lethe_image_limits *limits,
                                   struct lethe_pool *pool, size_t max_len, struct lethe_buf *out) LETHE_MUST_CHECK;

/*
 * The same, telling of the first bytes while the last rows are still decoded (of a JPEG; other files are told of by the
 * return alone). ready is called on the calling thread, a few times at most, with all of out: these bytes are
 * final, but the caller keeps none if the restore fails, and may move before the next call.
 */
struct lethe_photo_watch {
    void (*ready)(void *context, const uint8_t *bytes, size_t len);
    void *context;
};
enum lethe_err lethe_photo_restore_watched(const struct lethe_pair *pair, const uint8_t *artifact,
                                           size_t artifact_len, const uint8_t *residual, size_t residual_len,
                                           const uint8_t *recipe, size_t recipe_len,
                                           const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                           const struct lethe_photo_watch *watch, size_t max_len,
                                           struct lethe_buf *out) LETHE_MUST_CHECK;

/* The id of the pair that an artifact's payload needs. */
enum lethe_err lethe_artifact_pair(const uint8_t *artifact, size_t artifact_len, struct lethe_id *pair)
    LETHE_MUST_CHECK;
/* The Decrypter's picture: 8 bits, the photo's channels (CMYK as RGB). raster is initialised here. */
enum lethe_err lethe_artifact_picture(const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                      const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                      struct lethe_raster *raster) LETHE_MUST_CHECK;
/* The latents of the artifact's planes, one after the other; for measurements and tests. */
enum lethe_err lethe_artifact_latents(const uint8_t *artifact, size_t artifact_len,
                                      const struct lethe_image_limits *limits, unsigned index,
                                      struct lethe_latents *latents) LETHE_MUST_CHECK;

#endif
