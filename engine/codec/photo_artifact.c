/* SPDX-License-Identifier: MIT */
/*
 * The artifact's payload: u8 version, u8 container, varint width, varint height, u8 channels, u8 depth; for a
 * JPEG u8 colour and one u8 of sampling factors (h << 4 | v) a component; the pair's id; u8 strength; the
 * latents of each group, a block (varint length, bytes) each; and, where the artifact must do without the rest of the
 * photo, a block of marker segments or chunks (orientation, colour profile). It decodes alone to the Decrypter's
 * picture.
 */
#include <stdlib.h>
#include <string.h>

#include "photo_private.h"

void lethe_photo_shape_of_raster(const struct lethe_raster *raster, struct photo_shape *shape)
{
    *shape = (struct photo_shape){.container = LETHE_CONTAINER_PNG,
                                  .width = raster->width,
                                  .height = raster->height,
                                  .channels = raster->channels,
                                  .depth = raster->depth};
    for (unsigned c = 0; c < shape->channels; c++) {
        shape->h[c] = shape->v[c] = 1;
    }
}

void lethe_photo_shape_of_jpeg(const struct lethe_jpeg *jpeg, struct photo_shape *shape)
{
    *shape = (struct photo_shape){.container = LETHE_CONTAINER_JPEG,
                                  .width = jpeg->width,
                                  .height = jpeg->height,
                                  .channels = jpeg->components,
                                  .depth = 8,
                                  .colour = jpeg->colour};
    for (unsigned c = 0; c < shape->channels; c++) {
        shape->h[c] = (uint8_t)jpeg->component[c].h;
        shape->v[c] = (uint8_t)jpeg->component[c].v;
    }
}

bool lethe_photo_shape_equal(const struct photo_shape *a, const struct photo_shape *b)
{
    return a->container == b->container && a->width == b->width && a->height == b->height &&
           a->channels == b->channels && a->depth == b->depth && a->colour == b->colour &&
           memcmp(a->h, b->h, sizeof a->h) == 0 && memcmp(a->v, b->v, sizeof a->v) == 0;
}

unsigned lethe_photo_groups(const struct photo_shape *shape)
{
    return shape->channels == 2 || shape->channels == 4 ? 2 : 1;
}

unsigned lethe_photo_colours(const struct photo_shape *shape)
{
    return shape->channels < 3 ? 1 : 3;
}

bool lethe_photo_is_rgb(const struct photo_shape *shape)
{
    return shape->channels >= 3 && (shape->container == LETHE_CONTAINER_PNG ||
                                    shape->colour == LETHE_JPEG_RGB || shape->colour == LETHE_JPEG_CMYK);
}

void lethe_photo_sampling(const struct photo_shape *shape, unsigned channel, struct lethe_sampling *sampling)
{
    *sampling = (struct lethe_sampling){
        .width = shape->width, .height = shape->height, .h = shape->h[channel], .v = shape->v[channel]};
    for (unsigned c = 0; c < shape->channels; c++) {
        sampling->hmax = shape->h[c] > sampling->hmax ? shape->h[c] : sampling->hmax;
        sampling->vmax = shape->v[c] > sampling->vmax ? shape->v[c] : sampling->vmax;
    }
}

void lethe_photo_artifact_put(const struct photo_shape *shape, const struct lethe_id *pair, unsigned strength,
                              struct lethe_buf *out)
{
    lethe_buf_put_u8(out, PHOTO_ARTIFACT_VERSION);
    lethe_buf_put_u8(out, (uint8_t)shape->container);
    lethe_buf_put_varint(out, shape->width);
    lethe_buf_put_varint(out, shape->height);
    lethe_buf_put_u8(out, (uint8_t)shape->channels);
    lethe_buf_put_u8(out, (uint8_t)shape->depth);
    if (shape->container == LETHE_CONTAINER_JPEG) {
        lethe_buf_put_u8(out, (uint8_t)shape->colour);
        for (unsigned c = 0; c < shape->channels; c++) {
            lethe_buf_put_u8(out, (uint8_t)(shape->h[c] << 4 | shape->v[c]));
        }
    }
    lethe_buf_put(out, pair->bytes, sizeof pair->bytes);
    lethe_buf_put_u8(out, (uint8_t)strength);
}

static bool valid_colour(const struct photo_shape *shape)
{
    switch (shape->colour) {
    case LETHE_JPEG_GREY:
        return shape->channels == 1;
    case LETHE_JPEG_YCC:
    case LETHE_JPEG_RGB:
        return shape->channels == 3;
    case LETHE_JPEG_CMYK:
    case LETHE_JPEG_YCCK:
        return shape->channels == 4;
    }
    return false;
}

static bool get_shape(struct lethe_reader *reader, struct photo_shape *shape)
{
    unsigned container = lethe_read_u8(reader);
    uint64_t width = lethe_read_varint(reader), height = lethe_read_varint(reader);

    *shape = (struct photo_shape){.channels = lethe_read_u8(reader), .depth = lethe_read_u8(reader)};
    if (reader->bad || width == 0 || height == 0 || width > INT32_MAX || height > INT32_MAX ||
        shape->channels < 1 || shape->channels > 4) {
        return false;
    }
    shape->width = (uint32_t)width;
    shape->height = (uint32_t)height;
    for (unsigned c = 0; c < shape->channels; c++) {
        shape->h[c] = shape->v[c] = 1;
    }
    if (container == LETHE_CONTAINER_PNG) {
        shape->container = LETHE_CONTAINER_PNG;
        return shape->depth == 8 || shape->depth == 16;
    }
    shape->container = LETHE_CONTAINER_JPEG;
    shape->colour = (enum lethe_jpeg_colour)lethe_read_u8(reader);
    for (unsigned c = 0; c < shape->channels; c++) {
        uint8_t byte = lethe_read_u8(reader);

        shape->h[c] = byte >> 4;
        shape->v[c] = byte & 15;
        if (shape->h[c] < 1 || shape->h[c] > 4 || shape->v[c] < 1 || shape->v[c] > 4) {
            return false;
        }
    }
    return container == LETHE_CONTAINER_JPEG && shape->depth == 8 && valid_colour(shape) && width <= 65535 &&
           height <= 65535;
}

/* What it takes to restore a picture of this shape; its pixels are within the limits. */
static uint64_t memory_of(const struct photo_shape *shape)
{
    uint64_t pixels = (uint64_t)shape->width * shape->height, blocks = 0;
    unsigned hmax = 1, vmax = 1;

    if (shape->container == LETHE_CONTAINER_PNG) {
        return lethe_png_memory(pixels, shape->channels, shape->depth, 0);
    }
    for (unsigned c = 0; c < shape->channels; c++) {
        hmax = shape->h[c] > hmax ? shape->h[c] : hmax;
        vmax = shape->v[c] > vmax ? shape->v[c] : vmax;
    }
    for (unsigned c = 0; c < shape->channels; c++) {
        blocks += (uint64_t)((shape->width + 8 * hmax - 1) / (8 * hmax)) * shape->h[c] *
                  ((shape->height + 8 * vmax - 1) / (8 * vmax)) * shape->v[c];
    }
    return lethe_jpeg_memory(pixels, blocks, 0);
}

enum lethe_err lethe_photo_artifact_parse(const uint8_t *bytes, size_t len,
                                          const struct lethe_image_limits *limits,
                                          struct photo_artifact *artifact)
{
    struct lethe_reader reader;
    uint8_t version;

    *artifact = (struct photo_artifact){0};
    lethe_reader_init(&reader, bytes, len);
    version = lethe_read_u8(&reader);
    if (version != PHOTO_ARTIFACT_VERSION) {
        return version > PHOTO_ARTIFACT_VERSION ? LETHE_ERR_VERSION : LETHE_ERR_FORMAT;
    }
    if (!get_shape(&reader, &artifact->shape)) {
        return LETHE_ERR_FORMAT;
    }
    if (limits) {
        uint64_t pixels = (uint64_t)artifact->shape.width * artifact->shape.height; /* below 2^62 */

        if (pixels > limits->max_pixels ||
            pixels > limits->max_bytes / (artifact->shape.channels * sizeof(uint16_t)) ||
            (limits->max_memory && memory_of(&artifact->shape) > limits->max_memory)) {
            return LETHE_ERR_FORMAT;
        }
    }
    lethe_read_bytes(&reader, artifact->pair.bytes, sizeof artifact->pair.bytes);
    artifact->strength = lethe_read_u8(&reader);
    for (unsigned group = 0; group < lethe_photo_groups(&artifact->shape); group++) {
        artifact->stream[group] = lethe_read_block(&reader, &artifact->stream_len[group]);
    }
    if (artifact->strength > 3) {
        return LETHE_ERR_FORMAT;
    }
    artifact->own_len = len - lethe_reader_left(&reader);
    if (lethe_reader_left(&reader) > 0) {
        artifact->view = lethe_read_block(&reader, &artifact->view_len);
    }
    return lethe_reader_status(&reader, true);
}

enum lethe_err lethe_photo_latents_open(const struct photo_artifact *artifact, unsigned group,
                                        struct lethe_latents_decoder **out)
{
    const struct photo_shape *shape = &artifact->shape;
    const struct lethe_latents *latents;
    struct lethe_reader reader;
    enum lethe_err err;

    lethe_reader_init(&reader, artifact->stream[group], artifact->stream_len[group]);
    err = lethe_latents_decoder_new(&reader, (uint64_t)shape->width * shape->height, out);
    if (err) {
        return err;
    }
    latents = lethe_latents_decoder_latents(*out);
    err = lethe_reader_status(&reader, true);
    if (!err && (latents->width != shape->width || latents->height != shape->height)) {
        err = LETHE_ERR_FORMAT;
    }
    if (err) {
        lethe_latents_decoder_free(*out);
        *out = NULL;
    }
    return err;
}

enum lethe_err lethe_photo_latents(const struct photo_artifact *artifact, unsigned group,
                                   struct lethe_pool *pool, struct lethe_latents *latents)
{
    const struct photo_shape *shape = &artifact->shape;
    struct lethe_reader reader;
    enum lethe_err err;

    lethe_reader_init(&reader, artifact->stream[group], artifact->stream_len[group]);
    err = lethe_latents_decode_on(&reader, (uint64_t)shape->width * shape->height, pool, latents);
    if (!err) {
        err = lethe_reader_status(&reader, true);
    }
    if (!err && (latents->width != shape->width || latents->height != shape->height)) {
        err = LETHE_ERR_FORMAT;
    }
    if (err) {
        lethe_latents_release(latents);
    }
    return err;
}

enum lethe_err lethe_photo_group(const struct lethe_pair *pair, const struct photo_artifact *artifact,
                                 unsigned group, struct lethe_pool *pool, struct lethe_ycc *picture)
{
    const struct photo_shape *shape = &artifact->shape;
    struct lethe_latents latents;
    enum lethe_err err;

    *picture = (struct lethe_ycc){0};
    if (!lethe_id_equal(&artifact->pair, lethe_pair_id(pair))) {
        return LETHE_ERR_ARG;
    }
    err = lethe_photo_latents(artifact, group, pool, &latents);
    if (err) {
        return err;
    }
    err = lethe_decrypter_run(pair, &latents, pool, picture);
    lethe_latents_release(&latents);
    if (!err && group == 0 && lethe_photo_is_rgb(shape)) {
        lethe_colour_from_ycc(picture->planes, (size_t)shape->width * shape->height, pool);
    }
    return err;
}

void lethe_photo_planes_release(struct photo_planes *planes)
{
    for (unsigned c = 0; c < 4; c++) {
        free(planes->plane[c]);
    }
    *planes = (struct photo_planes){0};
}

enum lethe_err lethe_photo_planes(const struct lethe_pair *pair, const struct photo_artifact *artifact,
                                  const struct lethe_jpeg *jpeg, struct lethe_pool *pool,
                                  struct photo_planes *planes)
{
    const struct photo_shape *shape = &artifact->shape;
    unsigned colours = lethe_photo_colours(shape);

    *planes = (struct photo_planes){0};
    for (unsigned c = 0; c < shape->channels; c++) {
        planes->width[c] = jpeg ? jpeg->component[c].blocks_w * 8 : shape->width;
        planes->height[c] = jpeg ? jpeg->component[c].blocks_h * 8 : shape->height;
    }
    for (unsigned group = 0, c = 0; group < lethe_photo_groups(shape); group++) {
        struct lethe_ycc picture;
        enum lethe_err err = lethe_photo_group(pair, artifact, group, pool, &picture);

        for (unsigned i = 0; !err && i < (group ? 1 : colours); i++, c++) {
            struct lethe_sampling sampling;
            size_t size;

            if (!jpeg) { /* the plane is what is wanted: take it */
                planes->plane[c] = picture.planes[i];
                picture.planes[i] = NULL;
                continue;
            }
            planes->plane[c] =
                lethe_mul_size(planes->width[c], planes->height[c], &size) ? malloc(size) : NULL;
            if (!planes->plane[c]) {
                err = LETHE_ERR_NOMEM;
                break;
            }
            lethe_photo_sampling(shape, c, &sampling);
            lethe_colour_shrink(&sampling, picture.planes[i], planes->plane[c], planes->width[c],
                                planes->height[c], pool);
        }
        lethe_ycc_release(&picture);
        if (err) {
            lethe_photo_planes_release(planes);
            return err;
        }
    }
    return LETHE_OK;
}
