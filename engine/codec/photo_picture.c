/* SPDX-License-Identifier: MIT */
/* What an artifact tells by itself: its pair, its latents, and the Decrypter's picture. */
#include "photo_private.h"

enum lethe_err lethe_artifact_pair(const uint8_t *artifact, size_t artifact_len, struct lethe_id *pair)
{
    struct photo_artifact parts;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, NULL, &parts);

    if (!err) {
        *pair = parts.pair;
    }
    return err;
}

enum lethe_err lethe_artifact_latents(const uint8_t *artifact, size_t artifact_len,
                                      const struct lethe_image_limits *limits, unsigned index,
                                      struct lethe_latents *latents)
{
    struct photo_artifact parts;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, limits, &parts);

    *latents = (struct lethe_latents){0};
    if (err) {
        return err;
    }
    if (index >= lethe_photo_groups(&parts.shape)) {
        return LETHE_ERR_NOT_FOUND;
    }
    return lethe_photo_latents(&parts, index, NULL, latents);
}

struct widen {
    const struct lethe_ycc *colour;
    const struct lethe_ycc *key; /* the K of a CMYK picture, NULL none */
    struct lethe_raster *raster;
};

/* Samples of a CMYK JPEG are stored inverted, as Adobe does: white is 255. A pixel of red is then C * K /
 * 255. */
static void widen_row(void *context, size_t y)
{
    const struct widen *work = context;
    size_t width = work->raster->width, from = y * width;
    unsigned colours = work->raster->channels < 3 ? 1 : 3;

    for (unsigned c = 0; c < colours; c++) {
        uint16_t *out = work->raster->planes[c] + from;
        const uint8_t *in = work->colour->planes[c] + from;

        for (size_t x = 0; x < width; x++) {
            out[x] = work->key ? (uint16_t)((in[x] * work->key->planes[0][from + x] + 127) / 255) : in[x];
        }
    }
}

static void alpha_row(void *context, size_t y)
{
    const struct widen *work = context;
    size_t width = work->raster->width, from = y * width;
    uint16_t *out = work->raster->planes[work->raster->channels - 1] + from;

    for (size_t x = 0; x < width; x++) {
        out[x] = work->key->planes[0][from + x];
    }
}

enum lethe_err lethe_artifact_picture(const struct lethe_pair *pair, const uint8_t *artifact,
                                      size_t artifact_len, const struct lethe_image_limits *limits,
                                      struct lethe_pool *pool, struct lethe_raster *raster)
{
    struct photo_artifact parts;
    struct lethe_ycc colour = {0}, more = {0};
    struct widen work = {&colour, NULL, raster};
    bool is_jpeg, two;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, limits, &parts);

    *raster = (struct lethe_raster){0};
    if (err) {
        return err;
    }
    is_jpeg = parts.shape.container == LETHE_CONTAINER_JPEG;
    two = lethe_photo_groups(&parts.shape) == 2;
    err = lethe_photo_group(pair, &parts, 0, pool, &colour);
    if (!err && is_jpeg && parts.shape.colour != LETHE_JPEG_GREY && !lethe_photo_is_rgb(&parts.shape)) {
        lethe_colour_from_ycc(colour.planes, (size_t)parts.shape.width * parts.shape.height, pool);
    }
    if (!err && two) {
        err = lethe_photo_group(pair, &parts, 1, pool, &more);
    }
    if (!err) {
        err = lethe_raster_init(raster, parts.shape.width, parts.shape.height,
                                is_jpeg && two ? 3 : parts.shape.channels, 8);
    }
    if (!err) {
        work.key = is_jpeg && two ? &more : NULL;
        lethe_pool_run(pool, raster->height, widen_row, &work);
        if (two && !is_jpeg) {
            work.key = &more;
            lethe_pool_run(pool, raster->height, alpha_row, &work);
        }
    }
    lethe_ycc_release(&colour);
    lethe_ycc_release(&more);
    return err;
}
