/* SPDX-License-Identifier: MIT */
/*
 * The Decrypter's picture as a file: in the photo's own container and metadata (fidelity lossy), or from the artifact
 * alone (fidelity split without its second store). Decrypter, forward DCT and both writers are in integers, so the
 * same artifact gives the same bytes everywhere and for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "photo_private.h"

#define VIEW_QUALITY 90

struct transform {
    const struct photo_planes *planes;
    struct lethe_jpeg_component *component;
    unsigned c;
};

static void transform_row(void *context, size_t row)
{
    const struct transform *work = context;
    size_t stride = work->planes->width[work->c]; /* 8 times blocks_w */

    for (uint32_t x = 0; x < work->component->blocks_w; x++) {
        lethe_jpeg_fdct(work->planes->plane[work->c] + row * 8 * stride + (size_t)x * 8, stride,
                        work->component->quant,
                        work->component->coefs + (row * work->component->blocks_w + x) * 64);
    }
}

enum lethe_err lethe_photo_own_coefs(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                     struct lethe_pool *pool, struct lethe_jpeg *jpeg)
{
    struct photo_planes planes;
    enum lethe_err err = lethe_photo_planes(pair, parts, jpeg, pool, &planes);

    if (err) {
        return err;
    }
    for (unsigned c = 0; c < jpeg->components; c++) {
        struct transform work = {&planes, &jpeg->component[c], c};

        lethe_pool_run(pool, jpeg->component[c].blocks_h, transform_row, &work);
    }
    lethe_photo_planes_release(&planes);
    return LETHE_OK;
}

enum lethe_err lethe_photo_own_samples(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                       struct lethe_pool *pool, struct lethe_raster *raster)
{
    const struct photo_shape *shape = &parts->shape;
    size_t pixels = (size_t)shape->width * shape->height;
    struct photo_planes planes;
    enum lethe_err err = lethe_photo_planes(pair, parts, NULL, pool, &planes);

    *raster = (struct lethe_raster){0};
    if (err) {
        return err;
    }
    err = lethe_raster_init(raster, shape->width, shape->height, shape->channels, shape->depth);
    for (unsigned c = 0; c < shape->channels && !err; c++) {
        for (size_t i = 0; i < pixels; i++) {
            raster->planes[c][i] = (uint16_t)(planes.plane[c][i] * (shape->depth == 16 ? 257u : 1u));
        }
    }
    lethe_photo_planes_release(&planes);
    return err;
}

/* A JPEG of the same shape and tables, its coefficients zeroed. */
static enum lethe_err same_shape(const struct lethe_jpeg *from, struct lethe_jpeg *to)
{
    *to = *from;
    for (unsigned c = 0; c < from->components; c++) {
        size_t blocks = (size_t)from->component[c].blocks_w * from->component[c].blocks_h;

        to->component[c].coefs = calloc(blocks, 64 * sizeof(int16_t)); /* from holds as many */
    }
    for (unsigned c = 0; c < from->components; c++) {
        if (!to->component[c].coefs) {
            lethe_jpeg_release(to);
            return LETHE_ERR_NOMEM;
        }
    }
    return LETHE_OK;
}

enum lethe_err lethe_photo_degrade(const struct lethe_photo *photo, const uint8_t *file, size_t len,
                                   const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                   struct lethe_pool *pool, struct lethe_buf *out)
{
    struct lethe_raster picture = {0}, samples = {0};
    struct lethe_jpeg jpeg = {0};
    struct photo_artifact parts;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, NULL, &parts);

    if (!err && !lethe_photo_shape_equal(&parts.shape, &photo->shape)) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        err = lethe_artifact_picture(pair, artifact, artifact_len, &lethe_image_limits_default, pool, &picture);
    }
    if (!err && parts.shape.container == LETHE_CONTAINER_JPEG) {
        err = same_shape(&photo->jpeg, &jpeg);
        err = err ? err : lethe_photo_own_coefs(pair, &parts, pool, &jpeg);
        err = err ? err : lethe_jpeg_rewrite(file, len, &jpeg, &picture, out);
    } else if (!err) {
        err = lethe_photo_own_samples(pair, &parts, pool, &samples);
        err = err ? err : lethe_png_rewrite(file, len, &samples, &picture, out);
    }
    lethe_raster_release(&picture);
    lethe_raster_release(&samples);
    lethe_jpeg_release(&jpeg);
    return err;
}

enum lethe_err lethe_photo_view(const struct lethe_photo *photo, const uint8_t *file, size_t len,
                                struct lethe_buf *artifact)
{
    struct lethe_buf view = {0};
    struct photo_artifact parts;
    enum lethe_err err = lethe_photo_artifact_parse(artifact->data, artifact->len, NULL, &parts);

    if (!err) {
        err = photo->shape.container == LETHE_CONTAINER_JPEG ? lethe_jpeg_view(file, len, &view)
                                                             : lethe_png_view(file, len, &view);
    }
    if (!err) {
        artifact->len = parts.own_len;
        if (view.len > 0) {
            lethe_buf_put_block(artifact, view.data, view.len);
        }
        err = lethe_buf_status(artifact);
    }
    lethe_buf_release(&view);
    return err;
}

static uint32_t ceil_div(uint64_t a, uint32_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

/* The geometry of T.81 A.1.1 and A.2.4, with tables of our own. */
static enum lethe_err view_jpeg(const struct photo_shape *shape, struct lethe_jpeg *jpeg)
{
    struct lethe_sampling sampling;
    bool chroma = shape->colour == LETHE_JPEG_YCC || shape->colour == LETHE_JPEG_YCCK;

    struct lethe_jpeg geometry = {
        .width = shape->width, .height = shape->height, .colour = shape->colour, .components = shape->channels};

    for (unsigned c = 0; c < shape->channels; c++) {
        struct lethe_jpeg_component *component = &geometry.component[c];

        lethe_photo_sampling(shape, c, &sampling);
        component->h = sampling.h;
        component->v = sampling.v;
        component->blocks_w = ceil_div(shape->width, 8 * sampling.hmax) * sampling.h;
        component->blocks_h = ceil_div(shape->height, 8 * sampling.vmax) * sampling.v;
        component->real_w = ceil_div(lethe_sampling_width(&sampling), 8);
        component->real_h = ceil_div(lethe_sampling_height(&sampling), 8);
        lethe_jpeg_quality(VIEW_QUALITY, chroma && (c == 1 || c == 2), component->quant);
    }
    return same_shape(&geometry, jpeg);
}

/* The markers that say what the components are. */
static void put_colour(enum lethe_jpeg_colour colour, struct lethe_buf *out)
{
    static const uint8_t jfif[] = {0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0};
    static const uint8_t adobe[] = {0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0};

    if (colour == LETHE_JPEG_GREY || colour == LETHE_JPEG_YCC) {
        lethe_buf_put(out, jfif, sizeof jfif);
    } else {
        lethe_buf_put(out, adobe, sizeof adobe);
        lethe_buf_put_u8(out, colour == LETHE_JPEG_YCCK ? 2 : 0);
    }
}

enum lethe_err lethe_artifact_file(const struct lethe_pair *pair, const uint8_t *artifact, size_t artifact_len,
                                   const struct lethe_image_limits *limits, struct lethe_pool *pool,
                                   struct lethe_buf *out)
{
    struct lethe_buf segments = {0};
    struct lethe_raster samples = {0};
    struct lethe_jpeg jpeg = {0};
    struct photo_artifact parts;
    size_t start = out->len;
    enum lethe_err err = lethe_photo_artifact_parse(artifact, artifact_len, limits, &parts);

    if (!err && parts.shape.container == LETHE_CONTAINER_PNG) {
        err = lethe_photo_own_samples(pair, &parts, pool, &samples);
        err = err ? err : lethe_png_make(&samples, 0, parts.view, parts.view_len, out);
    } else if (!err) {
        put_colour(parts.shape.colour, &segments);
        lethe_buf_put(&segments, parts.view, parts.view_len);
        err = lethe_buf_status(&segments);
        err = err ? err : view_jpeg(&parts.shape, &jpeg);
        err = err ? err : lethe_photo_own_coefs(pair, &parts, pool, &jpeg);
        err = err ? err : lethe_jpeg_compose(&jpeg, NULL, segments.data, segments.len, out);
    }
    if (err) {
        out->len = start;
    }
    lethe_buf_release(&segments);
    lethe_raster_release(&samples);
    lethe_jpeg_release(&jpeg);
    return err;
}
