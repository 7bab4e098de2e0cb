/* SPDX-License-Identifier: MIT */
/*
 * A PNG restored by two threads at a time: one decodes its samples, another writes the deflate stream behind it, which
 * takes about as long, and cannot be cut. The decoder is begun first, and waits for nobody, so the writer may.
 */
#include <pthread.h>
#include <stdlib.h>

#include "photo_private.h"

struct rows {
    struct lethe_raster raster;
    struct lethe_pool *pool;
    const struct lethe_reader *residual;
    const uint8_t *xhat[4];
    const uint8_t *recipe;
    size_t recipe_len;
    size_t max_len;
    struct lethe_buf *out;
    pthread_mutex_t lock; /* guards what follows but written */
    pthread_cond_t moved;
    bool *there;          /* by row: decoded */
    uint32_t ready;       /* rows before the first that is not */
    bool ended;
    enum lethe_err decoded;
    enum lethe_err written;
};

static void told(void *context, uint32_t first, uint32_t count)
{
    struct rows *rows = context;

    pthread_mutex_lock(&rows->lock);
    for (uint32_t i = 0; i < count; i++) {
        rows->there[first + i] = true;
    }
    while (rows->ready < rows->raster.height && rows->there[rows->ready]) {
        rows->ready++;
    }
    pthread_cond_broadcast(&rows->moved);
    pthread_mutex_unlock(&rows->lock);
}

static enum lethe_err need(void *context, uint32_t count, uint32_t *ready)
{
    struct rows *rows = context;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&rows->lock);
    while (rows->ready < count && !rows->ended) {
        pthread_cond_wait(&rows->moved, &rows->lock);
    }
    *ready = rows->ready;
    if (rows->ready < count) {
        err = rows->decoded ? rows->decoded : LETHE_ERR_FORMAT;
    }
    pthread_mutex_unlock(&rows->lock);
    return err;
}

static void work(void *context, size_t index)
{
    struct rows *rows = context;
    const struct lethe_rows_told tell = {told, rows};
    const struct lethe_png_feed feed = {need, rows, rows->pool};

    if (index == 0) {
        enum lethe_err err =
            lethe_residual_samples_decode_told(rows->residual->at, lethe_reader_left(rows->residual), rows->xhat,
                                               rows->pool, &tell, &rows->raster);

        pthread_mutex_lock(&rows->lock);
        rows->decoded = err;
        rows->ended = true;
        pthread_cond_broadcast(&rows->moved);
        pthread_mutex_unlock(&rows->lock);
    } else {
        rows->written = lethe_png_rebuild_fed(&rows->raster, rows->recipe, rows->recipe_len, rows->max_len, &feed,
                                              rows->out);
    }
}

enum lethe_err lethe_photo_restore_samples(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                           const struct lethe_reader *residual, struct lethe_pool *pool,
                                           struct lethe_raster *raster)
{
    const struct photo_shape *shape = &parts->shape;
    struct photo_planes planes;
    const uint8_t *xhat[4] = {0};
    enum lethe_err err = lethe_photo_planes(pair, parts, NULL, pool, &planes);

    *raster = (struct lethe_raster){0};
    if (err) {
        return err;
    }
    for (unsigned c = 0; c < shape->channels; c++) {
        xhat[c] = planes.plane[c];
    }
    err = lethe_raster_init(raster, shape->width, shape->height, shape->channels, shape->depth);
    err = err ? err
              : lethe_residual_samples_decode(residual->at, lethe_reader_left(residual), xhat, pool, raster);
    if (err) {
        lethe_raster_release(raster);
    }
    lethe_photo_planes_release(&planes);
    return err;
}

enum lethe_err lethe_photo_restore_rows(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                        const struct lethe_reader *residual, const uint8_t *recipe, size_t recipe_len,
                                        struct lethe_pool *pool, size_t max_len, struct lethe_buf *out)
{
    const struct photo_shape *shape = &parts->shape;
    struct rows rows = {.pool = pool,
                        .residual = residual,
                        .recipe = recipe,
                        .recipe_len = recipe_len,
                        .max_len = max_len,
                        .out = out,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .moved = PTHREAD_COND_INITIALIZER};
    struct photo_planes planes;
    enum lethe_err err = lethe_photo_planes(pair, parts, NULL, pool, &planes);

    if (err) {
        return err;
    }
    for (unsigned c = 0; c < shape->channels; c++) {
        rows.xhat[c] = planes.plane[c];
    }
    err = lethe_raster_init(&rows.raster, shape->width, shape->height, shape->channels, shape->depth);
    rows.there = calloc(shape->height, sizeof *rows.there);
    err = err || rows.there ? err : LETHE_ERR_NOMEM;
    if (!err) {
        lethe_pool_run(pool, 2, work, &rows);
        err = rows.decoded ? rows.decoded : rows.written;
    }
    free(rows.there);
    lethe_raster_release(&rows.raster);
    lethe_photo_planes_release(&planes);
    pthread_cond_destroy(&rows.moved);
    pthread_mutex_destroy(&rows.lock);
    return err;
}
