/* SPDX-License-Identifier: MIT */
/*
 * A photo coded and proven. What a PNG's proof takes most of its time for, its deflate stream, does not need the coded
 * samples: from the samples that were parsed the container must give the file, and from artifact and residual the decoder
 * must give these samples; then all of them together give the file. So one thread proves the container while the others
 * code. Both run what restoring runs, on the very bytes that are stored.
 */
#include <stdlib.h>
#include <string.h>

#include "photo_private.h"

struct encoding {
    struct lethe_photo *photo;
    const uint8_t *file;
    size_t len;
    const struct lethe_pair *pair;
    const struct lethe_photo_coding *how;
    struct lethe_pool *pool;
    struct lethe_buf *artifact, *residual;
    struct lethe_photo_quality *quality;
    bool samples_first;
    enum lethe_err coded, rebuilt;
};

static enum lethe_err code(const struct encoding *e)
{
    const struct lethe_photo_coding *how = e->how;
    enum lethe_err err = lethe_photo_encrypt_at(e->photo, e->pair, how->strength, how->rate, how->random, e->pool,
                                                e->artifact);

    if (!err) {
        err = lethe_photo_residual(e->photo, e->pair, e->artifact->data, e->artifact->len, how->effort, e->pool,
                                   e->residual, e->quality);
    }
    if (!err && how->view) {
        err = lethe_photo_view(e->photo, e->file, e->len, e->artifact);
    }
    return err;
}

static bool same_samples(const struct lethe_raster *a, const struct lethe_raster *b)
{
    bool same = a->width == b->width && a->height == b->height && a->channels == b->channels && a->depth == b->depth;

    for (unsigned c = 0; same && c < a->channels; c++) {
        same = memcmp(a->planes[c], b->planes[c], (size_t)a->width * a->height * sizeof *a->planes[c]) == 0;
    }
    return same;
}

static enum lethe_err prove_samples(const struct encoding *e)
{
    struct lethe_raster again = {0};
    struct photo_artifact parts;
    struct lethe_reader reader;
    enum lethe_err err = lethe_photo_parts(e->artifact->data, e->artifact->len, e->residual->data, e->residual->len,
                                           &lethe_image_limits_default, &parts, &reader);

    err = err ? err : lethe_photo_restore_samples(e->pair, &parts, &reader, e->pool, &again);
    if (!err && !same_samples(&again, &e->photo->raster)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_raster_release(&again);
    return err;
}

/* All rows are there. */
static enum lethe_err all_rows(void *context, uint32_t rows, uint32_t *ready)
{
    const struct lethe_raster *raster = context;

    (void)rows;
    *ready = raster->height;
    return LETHE_OK;
}

static enum lethe_err prove_container(const struct encoding *e)
{
    const struct lethe_png_feed feed = {all_rows, &e->photo->raster, e->pool};
    struct lethe_buf again = {0};
    enum lethe_err err = lethe_png_rebuild_fed(&e->photo->raster, e->photo->recipe.data, e->photo->recipe.len, e->len,
                                               &feed, &again);

    if (!err && (again.len != e->len || memcmp(again.data, e->file, e->len) != 0)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&again);
    return err;
}

/* The recipe by a look at all of the file. The other thread reads the samples, which are left as they are. */
static enum lethe_err parse_again(const struct encoding *e)
{
    struct lethe_raster raster;
    struct lethe_buf recipe;
    enum lethe_reason reason;
    enum lethe_err err = lethe_png_parse(e->file, e->len, &lethe_image_limits_default, &raster, &recipe, &reason);

    if (!err) {
        lethe_raster_release(&raster);
        lethe_buf_release(&e->photo->recipe);
        e->photo->recipe = recipe;
        e->photo->believed = false;
    }
    return err;
}

static void work(void *context, size_t index)
{
    struct encoding *e = context;

    /* The caller, who takes the first, helps nobody when it has done: so it takes what takes longer. */
    if ((index == 0) == e->samples_first) {
        e->coded = code(e);
        e->coded = e->coded ? e->coded : prove_samples(e);
    } else {
        e->rebuilt = prove_container(e);
        if (e->rebuilt && e->photo->believed) {
            e->rebuilt = parse_again(e);
            e->rebuilt = e->rebuilt ? e->rebuilt : prove_container(e);
        }
    }
}

static enum lethe_err prove_whole(const struct encoding *e)
{
    struct lethe_buf again = {0};
    enum lethe_err err = lethe_photo_restore(e->pair, e->artifact->data, e->artifact->len, e->residual->data,
                                             e->residual->len, e->photo->recipe.data, e->photo->recipe.len,
                                             &lethe_image_limits_default, e->pool, e->len, &again);

    if (!err && (again.len != e->len || memcmp(again.data, e->file, e->len) != 0)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&again);
    return err;
}

enum lethe_err lethe_photo_encode(struct lethe_photo *photo, const uint8_t *file, size_t len,
                                  const struct lethe_pair *pair, const struct lethe_photo_coding *how,
                                  struct lethe_pool *pool, struct lethe_buf *artifact, struct lethe_buf *residual,
                                  struct lethe_photo_quality *quality)
{
    struct encoding e = {.photo = photo,
                         .file = file,
                         .len = len,
                         .pair = pair,
                         .how = how,
                         .pool = pool,
                         .artifact = artifact,
                         .residual = residual,
                         .quality = quality,
                         .samples_first = photo->believed};

    if (artifact->len > 0 || residual->len > 0) {
        return LETHE_ERR_ARG;
    }
    if (photo->shape.container == LETHE_CONTAINER_PNG) {
        lethe_pool_run(pool, 2, work, &e);
        e.coded = e.coded ? e.coded : e.rebuilt;
    } else {
        e.coded = code(&e);
        e.coded = e.coded ? e.coded : prove_whole(&e);
    }
    if (e.coded) {
        artifact->len = residual->len = 0;
    }
    return e.coded;
}
