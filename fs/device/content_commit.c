/* SPDX-License-Identifier: MIT */
/* Commit: buffers into slots, slots onto the disk, maps and counts into the transaction, then what came free.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>

/* The next content with buffers, which moves to the end of the list; owned reference. */
static struct lethe_content *next_buffered(struct lethe_contents *store)
{
    struct lethe_content *content;

    pthread_mutex_lock(&store->lock);
    content = store->buffer_first;
    if (content) {
        content->refs++;
        if (content != store->buffer_last) {
            store->buffer_first = content->buffer_next;
            store->buffer_first->buffer_previous = NULL;
            content->buffer_previous = store->buffer_last;
            content->buffer_next = NULL;
            store->buffer_last->buffer_next = content;
            store->buffer_last = content;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return content;
}

enum lethe_err lethe_contents_flush(struct lethe_contents *store)
{
    enum lethe_err err = lethe_contents_moves_wait(store) ? LETHE_OK : lethe_contents_move(store);
    size_t rounds = 0;

    if (err) {
        return err;
    }

    pthread_mutex_lock(&store->lock);
    for (const struct lethe_content *content = store->buffer_first; content; content = content->buffer_next) {
        rounds += atomic_load(&content->buffered) / (4 * BATCH) + 1;
    }
    pthread_mutex_unlock(&store->lock);
    while (rounds-- > 0 && !err) {
        struct lethe_content *content = next_buffered(store);

        if (!content) {
            break;
        }
        pthread_rwlock_rdlock(&store->maps);
        pthread_rwlock_wrlock(&content->lock);
        err = lethe_content_seal_buffers(content, 4 * BATCH);
        pthread_rwlock_unlock(&content->lock);
        pthread_rwlock_unlock(&store->maps);
        lethe_content_put(content);
    }
    /* After a failed sync only prepare can tell what must be written again. */
    return err || atomic_load(&store->sync_failed) ? err : lethe_blocks_sync(store);
}

/* Maps lock held alone, so nobody makes more of them. */
static enum lethe_err seal_all(struct lethe_contents *store)
{
    enum lethe_err err = LETHE_OK;

    while (!err) {
        struct lethe_content *content = next_buffered(store);

        if (!content) {
            break;
        }
        pthread_rwlock_wrlock(&content->lock);
        err = lethe_content_seal_buffers(content, SIZE_MAX);
        pthread_rwlock_unlock(&content->lock);
        lethe_content_put(content);
    }
    return err;
}

/* The dirty chunks of a content. They stay while they are dirty, and only we make them clean. */
static enum lethe_err store_chunks(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    struct lethe_chunk **dirty = NULL;
    size_t count = 0, n = 0;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&store->lock);
    for (struct lethe_chunk *chunk = content->chunks; chunk; chunk = chunk->mate_next) {
        count += chunk->dirty;
    }
    if (count > 0) {
        dirty = malloc(count * sizeof *dirty);
        for (struct lethe_chunk *chunk = content->chunks; dirty && chunk; chunk = chunk->mate_next) {
            if (chunk->dirty) {
                dirty[n++] = chunk;
            }
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (count > 0 && !dirty) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < n && !err; i++) {
        err = lethe_map_store(dirty[i]);
    }
    free(dirty);
    return err;
}

static struct lethe_content *pop_dirty(struct lethe_contents *store)
{
    struct lethe_content *content = store->dirty_first;

    if (content) {
        store->dirty_first = content->dirty_next;
        *(content->dirty_next ? &content->dirty_next->dirty_previous : &store->dirty_last) = NULL;
        content->dirty_next = NULL;
        content->listed = false;
    }
    return content;
}

static enum lethe_err store_contents(struct lethe_contents *store)
{
    enum lethe_err err = LETHE_OK;
    size_t count = 0;

    pthread_mutex_lock(&store->lock);
    /* Readers may add to the list meanwhile (the time of the last use): that waits for the next commit. */
    for (const struct lethe_content *content = store->dirty_first; content; content = content->dirty_next) {
        count++;
    }
    while (count-- > 0 && !err) {
        struct lethe_content *content = pop_dirty(store);

        if (!content) {
            break;
        }
        pthread_mutex_unlock(&store->lock);
        if (!content->gone) {
            pthread_rwlock_rdlock(&content->lock);
            err = store_chunks(content);
            if (!err) {
                err = lethe_content_row_store(content);
            }
            if (!err && content->dead && content->state == LETHE_CONTENT_MUTABLE) {
                err = lethe_content_list_dead(content);
            }
            pthread_rwlock_unlock(&content->lock);
        }
        if (err) {
            lethe_content_mark(content);
        }
        pthread_mutex_lock(&store->lock);
        lethe_content_put_locked(content); /* the list's reference */
    }
    for (unsigned a = 0; a < 2 && !err; a++) {
        err = lethe_slots_store(store->slots[a]);
    }
    store->evict_cursor = 0;
    pthread_mutex_unlock(&store->lock);
    return err;
}

enum lethe_err lethe_contents_prepare(struct lethe_contents *store)
{
    enum lethe_err err;

    pthread_rwlock_wrlock(&store->maps);
    err = seal_all(store);
    if (!err && atomic_load(&store->sync_failed)) {
        err = lethe_blocks_rewrite(store);
    }
    if (!err) {
        err = lethe_blocks_sync(store);
    }
    if (!err) {
        atomic_store(&store->sync_failed, false);
        err = store_contents(store);
    }
    pthread_rwlock_unlock(&store->maps);
    return err;
}

void lethe_contents_committed(struct lethe_contents *store)
{
    uint64_t freed;
    bool shrunk;

    pthread_mutex_lock(&store->lock);
    freed =
        lethe_slots_committed(store->slots[ARENA_STATE]) + lethe_slots_committed(store->slots[ARENA_CACHE]);
    pthread_mutex_unlock(&store->lock);
    shrunk = lethe_contents_shrink(store);
    if (freed > 0 || shrunk) {
        lethe_contents_progress(store);
    }
}
