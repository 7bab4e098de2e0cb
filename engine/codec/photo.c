/* SPDX-License-Identifier: MIT */
/*
 * One photo file to artifact, residual and recipe, and back. The residual's payload is u8 version, u8
 * container, the XXH3 of the artifact's payload without its view (so that parts which do not belong together are
 * refused, not a matter of security), and the coded samples or coefficients.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/check.h"
#include "photo_private.h"

static enum lethe_err parse_png(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                struct lethe_pool *pool, bool believe, struct lethe_photo *photo,
                                enum lethe_reason *reason)
{
    enum lethe_err err = lethe_png_parse_on(file, len, limits, pool, believe ? &photo->believed : NULL, &photo->raster,
                                            &photo->recipe, reason);

    if (err) {
        return err;
    }
    lethe_photo_shape_of_raster(&photo->raster, &photo->shape);
    return lethe_photo_digest_raster(&photo->raster, photo->info.digest);
}

static enum lethe_err parse_jpeg(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                 struct lethe_photo *photo, enum lethe_reason *reason)
{
    enum lethe_err err = lethe_jpeg_parse(file, len, limits, &photo->jpeg, &photo->recipe, reason);

    if (err) {
        return err;
    }
    lethe_photo_shape_of_jpeg(&photo->jpeg, &photo->shape);
    return lethe_photo_digest_jpeg(&photo->jpeg, photo->info.digest);
}

static enum lethe_err parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                            struct lethe_pool *pool, bool believe, struct lethe_photo **out, enum lethe_reason *reason)
{
    static const uint8_t png[4] = {0x89, 'P', 'N', 'G'};
    struct lethe_photo *photo;
    enum lethe_err err;

    *out = NULL;
    *reason = LETHE_REASON_NO_PICTURE;
    if (len < 8) {
        return LETHE_ERR_UNSUPPORTED;
    }
    photo = calloc(1, sizeof *photo);
    if (!photo) {
        *reason = LETHE_REASON_NONE;
        return LETHE_ERR_NOMEM;
    }
    if (memcmp(file, png, sizeof png) == 0) {
        err = parse_png(file, len, limits, pool, believe, photo, reason);
    } else if (file[0] == 0xff && file[1] == 0xd8) {
        err = parse_jpeg(file, len, limits, photo, reason);
    } else {
        err = LETHE_ERR_UNSUPPORTED;
    }
    /* What an artifact of this shape could not be restored from is refused now. */
    if (!err && (uint64_t)photo->shape.width * photo->shape.height >
                    limits->max_bytes / (photo->shape.channels * sizeof(uint16_t))) {
        *reason = LETHE_REASON_TOO_LARGE;
        err = LETHE_ERR_UNSUPPORTED;
    }
    if (err) {
        lethe_photo_free(photo);
        return err;
    }
    *reason = LETHE_REASON_NONE;
    photo->info.container = photo->shape.container;
    photo->info.width = photo->shape.width;
    photo->info.height = photo->shape.height;
    photo->info.channels = photo->shape.channels;
    *out = photo;
    return LETHE_OK;
}

enum lethe_err lethe_photo_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                 struct lethe_photo **out, enum lethe_reason *reason)
{
    return parse(file, len, limits, NULL, false, out, reason);
}

enum lethe_err lethe_photo_parse_to_encode(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                           struct lethe_pool *pool, struct lethe_photo **out,
                                           enum lethe_reason *reason)
{
    return parse(file, len, limits, pool, true, out, reason);
}

void lethe_photo_free(struct lethe_photo *photo)
{
    if (photo) {
        lethe_raster_release(&photo->raster);
        lethe_jpeg_release(&photo->jpeg);
        lethe_buf_release(&photo->recipe);
        free(photo);
    }
}

const struct lethe_photo_info *lethe_photo_info(const struct lethe_photo *photo)
{
    return &photo->info;
}

const uint8_t *lethe_photo_recipe(const struct lethe_photo *photo, size_t *len)
{
    *len = photo->recipe.len;
    return photo->recipe.data;
}

/* The top 8 bits of a raster's plane. */
struct narrow {
    const uint16_t *in;
    uint8_t *out;
    size_t pixels;
    unsigned shift;
};

#define PIXELS_BAND 65536u

static void narrow_band(void *context, size_t index)
{
    const struct narrow *work = context;
    size_t from = index * PIXELS_BAND,
           to = work->pixels - from < PIXELS_BAND ? work->pixels : from + PIXELS_BAND;

    for (size_t i = from; i < to; i++) {
        work->out[i] = (uint8_t)(work->in[i] >> work->shift);
    }
}

/* A channel at the size of the picture. */
static enum lethe_err full_channel(const struct lethe_photo *photo, unsigned c, struct lethe_pool *pool,
                                   uint8_t *out)
{
    const struct photo_shape *shape = &photo->shape;
    struct lethe_sampling sampling;
    uint32_t width, height;
    uint8_t *own;

    if (shape->container == LETHE_CONTAINER_PNG) {
        struct narrow work = {photo->raster.planes[c], out, (size_t)shape->width * shape->height,
                              shape->depth - 8};

        lethe_pool_run(pool, (work.pixels + PIXELS_BAND - 1) / PIXELS_BAND, narrow_band, &work);
        return LETHE_OK;
    }
    lethe_photo_sampling(shape, c, &sampling);
    width = lethe_sampling_width(&sampling);
    height = lethe_sampling_height(&sampling);
    if (width == shape->width && height == shape->height) {
        lethe_photo_component_pixels(&photo->jpeg.component[c], width, height, out, pool);
        return LETHE_OK;
    }
    own = malloc((size_t)width * height); /* at most the picture's own size */
    if (!own) {
        return LETHE_ERR_NOMEM;
    }
    lethe_photo_component_pixels(&photo->jpeg.component[c], width, height, own, pool);
    lethe_colour_enlarge(&sampling, own, out, pool);
    free(own);
    return LETHE_OK;
}

/* A group as the Encrypter sees it. */
static enum lethe_err group_picture(const struct lethe_photo *photo, unsigned group, struct lethe_pool *pool,
                                    struct lethe_ycc *picture)
{
    unsigned colours = lethe_photo_colours(&photo->shape), count = group ? 1 : colours;
    enum lethe_err err = lethe_ycc_init(picture, photo->shape.width, photo->shape.height);
    size_t pixels = (size_t)photo->shape.width * photo->shape.height;

    for (unsigned i = 0; !err && i < count; i++) {
        err = full_channel(photo, group ? colours : i, pool, picture->planes[i]);
    }
    if (err) {
        lethe_ycc_release(picture);
        return err;
    }
    if (count == 1) {
        memset(picture->planes[1], 128, pixels);
        memset(picture->planes[2], 128, pixels);
    } else if (lethe_photo_is_rgb(&photo->shape)) {
        lethe_colour_to_ycc(picture->planes, pixels, pool);
    }
    return LETHE_OK;
}

enum lethe_err lethe_photo_encrypt(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                   unsigned strength, const struct lethe_random *random,
                                   struct lethe_pool *pool, struct lethe_buf *out)
{
    if (strength > 3) {
        return LETHE_ERR_ARG;
    }
    return lethe_photo_encrypt_at(photo, pair, strength, lethe_pair_rate(pair, strength), random, pool, out);
}

unsigned lethe_photo_exact_rate(const struct lethe_photo *photo, const struct lethe_pair *pair, unsigned strength)
{
    unsigned own = lethe_pair_rate(pair, strength), thin = lethe_pair_rate(pair, 3);

    bool little = photo->shape.container == LETHE_CONTAINER_JPEG || lethe_residual_samples_drawn(&photo->raster);

    return little && strength == 2 && thin > own ? thin : own;
}

enum lethe_err lethe_photo_encrypt_at(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                      unsigned strength, unsigned rate, const struct lethe_random *random,
                                      struct lethe_pool *pool, struct lethe_buf *out)
{
    size_t start = out->len;

    if (strength > 3) {
        return LETHE_ERR_ARG;
    }
    lethe_photo_artifact_put(&photo->shape, lethe_pair_id(pair), strength, out);
    for (unsigned group = 0; group < lethe_photo_groups(&photo->shape); group++) {
        struct lethe_ycc picture = {0};
        struct lethe_latents latents = {0};
        struct lethe_buf stream = {0};
        enum lethe_err err = group_picture(photo, group, pool, &picture);

        if (!err) {
            err = lethe_encrypter_run_at(pair, &picture, strength, rate, random, pool, &latents);
            lethe_ycc_release(&picture);
        }
        if (!err) {
            err = lethe_latents_encode_on(&latents, pool, &stream);
            lethe_latents_release(&latents);
        }
        if (!err) {
            lethe_buf_put_block(out, stream.data, stream.len);
            err = lethe_buf_status(&stream);
        }
        lethe_buf_release(&stream);
        if (!err) {
            err = lethe_buf_status(out);
        }
        if (err) {
            out->len = start;
            return err;
        }
    }
    return LETHE_OK;
}

double lethe_quality_psnr(const struct lethe_photo_quality *quality)
{
    if (quality->squared_error == 0 || quality->samples == 0) {
        return 99.0;
    }
    return 10.0 * log10(255.0 * 255.0 * (double)quality->samples / (double)quality->squared_error);
}

static uint64_t row_error(const uint8_t *a, const uint8_t *b, uint32_t width)
{
    uint32_t sum = 0; /* 65025 * 65536 fits */
    uint64_t total = 0;

    for (uint32_t x = 0; x < width; x++) {
        int d = a[x] - b[x];

        sum += (uint32_t)(d * d);
        if ((x & 0xffff) == 0xffff) {
            total += sum;
            sum = 0;
        }
    }
    return total + sum;
}

static enum lethe_err measure(const struct lethe_photo *photo, const struct photo_planes *planes,
                              struct lethe_pool *pool, struct lethe_photo_quality *quality)
{
    struct lethe_photo_quality sum = {0};

    for (unsigned c = 0; c < photo->shape.channels; c++) {
        struct lethe_sampling sampling;
        uint32_t width, height;
        uint8_t *own;

        lethe_photo_sampling(&photo->shape, c, &sampling);
        width = lethe_sampling_width(&sampling);
        height = lethe_sampling_height(&sampling);
        own = malloc((size_t)width * height);
        if (!own) {
            return LETHE_ERR_NOMEM;
        }
        if (photo->shape.container == LETHE_CONTAINER_PNG) {
            enum lethe_err err = full_channel(photo, c, pool, own);

            if (err) {
                free(own);
                return err;
            }
        } else {
            lethe_photo_component_pixels(&photo->jpeg.component[c], width, height, own, pool);
        }
        for (uint32_t y = 0; y < height; y++) {
            sum.squared_error +=
                row_error(own + (size_t)y * width, planes->plane[c] + (size_t)y * planes->width[c], width);
        }
        sum.samples += (uint64_t)width * height;
        free(own);
    }
    *quality = sum;
    return LETHE_OK;
}

enum lethe_err lethe_photo_measure(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                   const uint8_t *artifact, size_t artifact_len, struct lethe_pool *pool,
                                   struct lethe_photo_quality *quality)
{
    struct photo_artifact parts;
    struct photo_planes planes;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, NULL, &parts);

    if (!err && !lethe_photo_shape_equal(&parts.shape, &photo->shape)) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        err = lethe_photo_planes(pair, &parts,
                                 photo->shape.container == LETHE_CONTAINER_JPEG ? &photo->jpeg : NULL, pool, &planes);
    }
    if (!err) {
        err = measure(photo, &planes, pool, quality);
        lethe_photo_planes_release(&planes);
    }
    return err;
}

enum lethe_err lethe_photo_residual(const struct lethe_photo *photo, const struct lethe_pair *pair,
                                    const uint8_t *artifact, size_t artifact_len, enum lethe_effort effort,
                                    struct lethe_pool *pool, struct lethe_buf *out,
                                    struct lethe_photo_quality *quality)
{
    bool is_jpeg = photo->shape.container == LETHE_CONTAINER_JPEG;
    struct photo_artifact parts;
    struct photo_planes planes;
    const uint8_t *xhat[4] = {0};
    size_t start = out->len;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, NULL, &parts);

    if (!err && !lethe_photo_shape_equal(&parts.shape, &photo->shape)) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        err = lethe_photo_planes(pair, &parts, is_jpeg ? &photo->jpeg : NULL, pool, &planes);
    }
    if (err) {
        return err;
    }
    for (unsigned c = 0; c < photo->shape.channels; c++) {
        xhat[c] = planes.plane[c];
    }
    lethe_buf_put_u8(out, PHOTO_RESIDUAL_VERSION);
    lethe_buf_put_u8(out, (uint8_t)photo->shape.container);
    lethe_buf_put_u64(out, lethe_check64(artifact, parts.own_len));
    err = is_jpeg ? lethe_residual_coefs_encode(&photo->jpeg, xhat, effort, pool, out)
                  : lethe_residual_samples_encode(&photo->raster, xhat, effort, pool, out);
    if (!err && quality) {
        err = measure(photo, &planes, pool, quality);
    }
    if (!err) {
        err = lethe_buf_status(out);
    }
    if (err) {
        out->len = start;
    }
    lethe_photo_planes_release(&planes);
    return err;
}

/* residual: NULL for a file that is the Decrypter's own picture. */
static enum lethe_err restore_png(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                  const struct lethe_reader *residual, const uint8_t *recipe,
                                  size_t recipe_len, struct lethe_pool *pool, size_t max_len,
                                  struct lethe_buf *out)
{
    struct lethe_raster raster = {0};
    enum lethe_err err;

    if (!residual) {
        err = lethe_photo_own_samples(pair, parts, pool, &raster);
        err = err ? err : lethe_png_rebuild(&raster, recipe, recipe_len, max_len, out);
        lethe_raster_release(&raster);
        return err;
    }
    return lethe_photo_restore_rows(pair, parts, residual, recipe, recipe_len, pool, max_len, out);
}

static enum lethe_err restore_jpeg(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                   const struct lethe_reader *residual, const uint8_t *recipe,
                                   size_t recipe_len, const struct lethe_image_limits *limits,
                                   struct lethe_pool *pool, const struct lethe_photo_watch *watch,
                                   size_t max_len, struct lethe_buf *out)
{
    struct photo_shape shape;
    struct lethe_jpeg jpeg;
    enum lethe_err err = lethe_jpeg_shape(recipe, recipe_len, limits, &jpeg);

    if (err) {
        return err;
    }
    lethe_photo_shape_of_jpeg(&jpeg, &shape);
    if (!lethe_photo_shape_equal(&shape, &parts->shape)) {
        err = LETHE_ERR_FORMAT;
    } else if (residual) {
        err = lethe_photo_restore_stages(pair, parts, residual, &jpeg, recipe, recipe_len, pool, watch,
                                         max_len, out);
    } else {
        err = lethe_photo_own_coefs(pair, parts, pool, &jpeg);
        err = err ? err : lethe_jpeg_rebuild(&jpeg, recipe, recipe_len, max_len, out);
    }
    lethe_jpeg_release(&jpeg);
    return err;
}

enum lethe_err lethe_photo_restore(const struct lethe_pair *pair, const uint8_t *artifact,
                                   size_t artifact_len, const uint8_t *residual, size_t residual_len,
                                   const uint8_t *recipe, size_t recipe_len,
                                   const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                   size_t max_len, struct lethe_buf *out)
{
    return lethe_photo_restore_watched(pair, artifact, artifact_len, residual, residual_len, recipe, recipe_len,
                                       limits, pool, NULL, max_len, out);
}

enum lethe_err lethe_photo_parts(const uint8_t *artifact, size_t artifact_len, const uint8_t *residual,
                                 size_t residual_len, const struct lethe_image_limits *limits,
                                 struct photo_artifact *parts, struct lethe_reader *reader)
{
    uint8_t version, container;
    uint64_t check;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, limits, parts);

    if (err) {
        return err;
    }
    lethe_reader_init(reader, residual, residual_len);
    version = lethe_read_u8(reader);
    container = lethe_read_u8(reader);
    check = lethe_read_u64(reader);
    if (residual_len > 0 && version > PHOTO_RESIDUAL_VERSION) {
        return LETHE_ERR_VERSION;
    }
    if (residual_len > 0 && (reader->bad || version != PHOTO_RESIDUAL_VERSION || container != parts->shape.container ||
                             check != lethe_check64(artifact, parts->own_len))) {
        return LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

enum lethe_err lethe_photo_restore_watched(const struct lethe_pair *pair, const uint8_t *artifact,
                                           size_t artifact_len, const uint8_t *residual, size_t residual_len,
                                           const uint8_t *recipe, size_t recipe_len,
                                           const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                           const struct lethe_photo_watch *watch, size_t max_len,
                                           struct lethe_buf *out)
{
    struct photo_artifact parts;
    struct lethe_reader reader;
    const struct lethe_reader *left = residual_len > 0 ? &reader : NULL;
    size_t start = out->len;
    enum lethe_err err =
        lethe_photo_parts(artifact, artifact_len, residual, residual_len, limits, &parts, &reader);

    if (err) {
        return err;
    }
    if (parts.shape.container == LETHE_CONTAINER_PNG) {
        err = restore_png(pair, &parts, left, recipe, recipe_len, pool, max_len, out);
    } else {
        err = restore_jpeg(pair, &parts, left, recipe, recipe_len, limits, pool, watch, max_len,
                           out);
    }
    if (err && out->len > start) {
        out->len = start;
    }
    return err;
}
