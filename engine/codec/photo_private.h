/* SPDX-License-Identifier: MIT */
/*
 * What the photo files of the codec share. The networks see groups: full-size YCbCr pictures. Group 0 holds
 * the colour, group 1, where there is one, alpha or the fourth component of a JPEG, as a grey picture.
 */
#ifndef LETHE_PHOTO_PRIVATE_H
#define LETHE_PHOTO_PRIVATE_H

#include "lethe/codec.h"
#include "colour.h"

#define PHOTO_ARTIFACT_VERSION 1
#define PHOTO_RESIDUAL_VERSION 1
#define PHOTO_GROUPS 2

/* All that decoding a picture alone takes. */
struct photo_shape {
    enum lethe_container container;
    uint32_t width;
    uint32_t height;
    unsigned channels; /* of a PNG, or components of a JPEG */
    unsigned depth;
    enum lethe_jpeg_colour colour; /* of a JPEG */
    uint8_t h[4], v[4];            /* sampling of a JPEG's components; 1 for a PNG */
};

struct lethe_photo {
    struct lethe_photo_info info;
    struct photo_shape shape;
    struct lethe_raster raster; /* one of the two */
    struct lethe_jpeg jpeg;
    struct lethe_buf recipe;
    bool believed; /* the recipe of a PNG is right if its encoder went on as it began */
};

void lethe_photo_shape_of_raster(const struct lethe_raster *raster, struct photo_shape *shape);
void lethe_photo_shape_of_jpeg(const struct lethe_jpeg *jpeg, struct photo_shape *shape);
bool lethe_photo_shape_equal(const struct photo_shape *a, const struct photo_shape *b);
unsigned lethe_photo_groups(const struct photo_shape *shape);
/* Channels of group 0: 1 or 3. */
unsigned lethe_photo_colours(const struct photo_shape *shape);
/* Whether group 0's channels are red, green and blue (or their like: C, M, Y of a JPEG), so must be
 * converted. */
bool lethe_photo_is_rgb(const struct photo_shape *shape);
void lethe_photo_sampling(const struct photo_shape *shape, unsigned channel, struct lethe_sampling *sampling);

/* An artifact's payload taken apart; stream points into it. */
struct photo_artifact {
    struct photo_shape shape;
    struct lethe_id pair;
    unsigned strength;
    const uint8_t *stream[PHOTO_GROUPS];
    size_t stream_len[PHOTO_GROUPS];
    size_t own_len;      /* of the payload, without the view */
    const uint8_t *view; /* segments or chunks for lethe_artifact_file, NULL none */
    size_t view_len;
};

void lethe_photo_artifact_put(const struct photo_shape *shape, const struct lethe_id *pair, unsigned strength,
                              struct lethe_buf *out);
/* limits may be NULL: the shape is then not measured. */
enum lethe_err lethe_photo_artifact_parse(const uint8_t *bytes, size_t len,
                                          const struct lethe_image_limits *limits,
                                          struct photo_artifact *artifact) LETHE_MUST_CHECK;
enum lethe_err lethe_photo_latents(const struct photo_artifact *artifact, unsigned group,
                                   struct lethe_pool *pool, struct lethe_latents *latents) LETHE_MUST_CHECK;
/* The same by rows (lethe_latents_decoder_run). */
enum lethe_err lethe_photo_latents_open(const struct photo_artifact *artifact, unsigned group,
                                        struct lethe_latents_decoder **out) LETHE_MUST_CHECK;
/* The Decrypter's picture of a group, its colours converted to the file's where they are RGB. */
enum lethe_err lethe_photo_group(const struct lethe_pair *pair, const struct photo_artifact *artifact,
                                 unsigned group, struct lethe_pool *pool,
                                 struct lethe_ycc *picture) LETHE_MUST_CHECK;

/* The Decrypter's idea of each channel or component. width and height of a plane as residual.h wants them. */
struct photo_planes {
    uint8_t *plane[4];
    uint32_t width[4];
    uint32_t height[4];
};
void lethe_photo_planes_release(struct photo_planes *planes);
/* jpeg gives the padded sizes for a JPEG (its shape was compared with the artifact's), NULL for a PNG. */
enum lethe_err lethe_photo_planes(const struct lethe_pair *pair, const struct photo_artifact *artifact,
                                  const struct lethe_jpeg *jpeg, struct lethe_pool *pool,
                                  struct photo_planes *planes) LETHE_MUST_CHECK;

/* The Decrypter's picture as the coefficients of jpeg (its shape and tables are set, coefs allocated), or as samples. */
enum lethe_err lethe_photo_own_coefs(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                     struct lethe_pool *pool, struct lethe_jpeg *jpeg) LETHE_MUST_CHECK;
enum lethe_err lethe_photo_own_samples(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                       struct lethe_pool *pool, struct lethe_raster *raster) LETHE_MUST_CHECK;

/* A JPEG of the artifact's shape, whose coefficients are all zero, from its parts (photo_stages.c). watch may be NULL. */
enum lethe_err lethe_photo_restore_stages(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                          const struct lethe_reader *residual, struct lethe_jpeg *jpeg,
                                          const uint8_t *recipe, size_t recipe_len, struct lethe_pool *pool,
                                          const struct lethe_photo_watch *watch, size_t max_len,
                                          struct lethe_buf *out) LETHE_MUST_CHECK;

/* A PNG from its parts, its stream written while its rows are decoded (photo_rows.c). */
enum lethe_err lethe_photo_restore_rows(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                        const struct lethe_reader *residual, const uint8_t *recipe, size_t recipe_len,
                                        struct lethe_pool *pool, size_t max_len,
                                        struct lethe_buf *out) LETHE_MUST_CHECK;

/* The samples alone (photo_rows.c). raster is initialised here. */
enum lethe_err lethe_photo_restore_samples(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                           const struct lethe_reader *residual, struct lethe_pool *pool,
                                           struct lethe_raster *raster) LETHE_MUST_CHECK;
/* Artifact and residual taken apart and found to belong together (photo.c). residual_len may be 0. */
enum lethe_err lethe_photo_parts(const uint8_t *artifact, size_t artifact_len, const uint8_t *residual,
                                 size_t residual_len, const struct lethe_image_limits *limits,
                                 struct photo_artifact *parts, struct lethe_reader *reader) LETHE_MUST_CHECK;

/* One block: samples of 8 bits from quantised coefficients (photo_idct.c). */
void lethe_photo_idct(const int16_t *coefs, const uint16_t *quant, uint8_t out[64]);
/* A component's own width * height samples; all 8x8 blocks of them must be there. */
void lethe_photo_component_pixels(const struct lethe_jpeg_component *component, uint32_t width,
                                  uint32_t height, uint8_t *out, struct lethe_pool *pool);

/* Digests: BLAKE2b-256 over the shape and the BLAKE2b-256 of each MiB of samples or coefficients,
 * little-endian. */
enum lethe_err lethe_photo_digest_raster(const struct lethe_raster *raster,
                                         uint8_t digest[32]) LETHE_MUST_CHECK;
enum lethe_err lethe_photo_digest_jpeg(const struct lethe_jpeg *jpeg, uint8_t digest[32]) LETHE_MUST_CHECK;

#endif
