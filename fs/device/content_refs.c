/* SPDX-License-Identifier: MIT */
/*
 * The life of contents in memory: one struct for an id at any time, found by hash, counted references. Those that nobody
 * holds stay for a while, least recently used first out; changed ones are held by the list of dirty ones until prepare.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>

#include "lethe/log.h"

#define KEEP_IDLE 4096u
#define COARSE 1024u

static size_t bucket_of(const struct lethe_id *id)
{
    return lethe_get_u64(id->bytes) % CONTENT_BUCKETS;
}

void lethe_content_free(struct lethe_content *content)
{
    pthread_rwlock_destroy(&content->lock);
    free(content);
}

static void idle_remove(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    *(content->idle_previous ? &content->idle_previous->idle_next : &store->idle_first) = content->idle_next;
    *(content->idle_next ? &content->idle_next->idle_previous : &store->idle_last) = content->idle_previous;
    content->idle_previous = content->idle_next = NULL;
    store->idle_count--;
}

static void unhash(struct lethe_content *content)
{
    struct lethe_content **link = &content->store->contents[bucket_of(&content->id)];

    while (*link != content) {
        link = &(*link)->hash_next;
    }
    *link = content->hash_next;
}

/* Refs are 0 and it is in no list but the hash. */
static void destroy(struct lethe_content *content)
{
    struct lethe_content *base = content->base;

    unhash(content);
    lethe_map_forget(content);
    lethe_content_free(content);
    if (base) {
        base->children--;
        lethe_content_put_locked(base);
    }
}

void lethe_content_put_locked(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    if (--content->refs > 0) {
        return;
    }
    if (content->gone) {
        destroy(content);
        return;
    }
    content->idle_previous = store->idle_last;
    *(store->idle_last ? &store->idle_last->idle_next : &store->idle_first) = content;
    store->idle_last = content;
    store->idle_count++;
    if (store->idle_count > KEEP_IDLE) {
        struct lethe_content *oldest = store->idle_first;

        idle_remove(oldest);
        destroy(oldest);
    }
}

struct lethe_content *lethe_content_ref(struct lethe_content *content)
{
    pthread_mutex_lock(&content->store->lock);
    content->refs++;
    pthread_mutex_unlock(&content->store->lock);
    return content;
}

void lethe_content_put(struct lethe_content *content)
{
    if (content) {
        struct lethe_contents *store = content->store;

        pthread_mutex_lock(&store->lock);
        lethe_content_put_locked(content);
        pthread_mutex_unlock(&store->lock);
    }
}

struct lethe_content *lethe_content_find_locked(struct lethe_contents *store, const struct lethe_id *id)
{
    struct lethe_content *content = store->contents[bucket_of(id)];

    while (content && !(lethe_id_equal(&content->id, id) && !content->gone)) {
        content = content->hash_next;
    }
    if (content) {
        if (content->refs == 0) {
            idle_remove(content);
        }
        content->refs++;
    }
    return content;
}

static struct lethe_content *allocate(struct lethe_contents *store, const struct lethe_id *id)
{
    struct lethe_content *content = calloc(1, sizeof *content);
    pthread_rwlockattr_t attributes;

    if (!content) {
        return NULL;
    }
    content->store = store;
    content->id = *id;
    content->refs = 1;
    pthread_rwlockattr_init(&attributes);
    /* Nobody takes it twice for reading, and a stream of readers must not starve a writer. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&content->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return content;
}

static void hash_locked(struct lethe_content *content)
{
    size_t bucket = bucket_of(&content->id);

    content->hash_next = content->store->contents[bucket];
    content->store->contents[bucket] = content;
}

static void mark_locked(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    if (!content->listed) {
        content->listed = true;
        content->refs++;
        content->dirty_previous = store->dirty_last;
        content->dirty_next = NULL;
        *(store->dirty_last ? &store->dirty_last->dirty_next : &store->dirty_first) = content;
        store->dirty_last = content;
    }
    if (atomic_load(&content->buffered) > 0 && !content->buffer_listed) {
        content->buffer_listed = true;
        content->buffer_previous = store->buffer_last;
        content->buffer_next = NULL;
        *(store->buffer_last ? &store->buffer_last->buffer_next : &store->buffer_first) = content;
        store->buffer_last = content;
    }
}

void lethe_content_mark(struct lethe_content *content)
{
    pthread_mutex_lock(&content->store->lock);
    mark_locked(content);
    pthread_mutex_unlock(&content->store->lock);
}

void lethe_content_touch(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    uint64_t now = atomic_fetch_add(&store->clock, 1) + 1;

    atomic_store(&content->used, now);
    /* Coarse: a use is written down with the next commit only when the row is far behind. */
    if (now - atomic_load(&content->used_stored) > COARSE) {
        atomic_store(&content->used_stored, now);
        lethe_content_mark(content);
    }
}

void lethe_content_set_base(struct lethe_content *content, struct lethe_content *base)
{
    struct lethe_contents *store = content->store;
    struct lethe_content *old = content->base;

    pthread_mutex_lock(&store->lock);
    content->base = base;
    if (base) {
        base->refs++;
        base->children++;
    }
    if (old) {
        old->children--;
        lethe_content_put_locked(old);
    }
    pthread_mutex_unlock(&store->lock);
}

enum lethe_err lethe_content_new(struct lethe_contents *store, struct lethe_content **out)
{
    const struct lethe_random *random = lethe_random_system();
    struct lethe_content *content;
    struct lethe_id id;

    *out = NULL;
    random->fill(random->context, id.bytes, sizeof id.bytes);
    content = allocate(store, &id);
    if (!content) {
        return LETHE_ERR_NOMEM;
    }
    content->state = LETHE_CONTENT_MUTABLE;
    pthread_mutex_lock(&store->lock);
    hash_locked(content);
    mark_locked(content);
    pthread_mutex_unlock(&store->lock);
    lethe_content_touch(content);
    *out = content;
    return LETHE_OK;
}

static enum lethe_err get_locked(struct lethe_contents *store, const struct lethe_id *id, uint64_t size,
                                 bool is_base, struct lethe_content **out)
{
    struct lethe_content *content = lethe_content_find_locked(store, id), *base = NULL;
    struct lethe_id base_id;
    enum lethe_err err;
    bool found;

    if (content) {
        *out = content;
        return LETHE_OK;
    }
    content = allocate(store, id);
    if (!content) {
        return LETHE_ERR_NOMEM;
    }
    lethe_db_lock(store->db);
    err = lethe_content_row_load(content, &found, &base_id);
    lethe_db_unlock(store->db);
    if (!err && is_base && found && content->state != LETHE_CONTENT_VAULTED) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err && !lethe_id_is_zero(&base_id)) {
        /* One level deep: a base has none. */
        err = get_locked(store, &base_id, content->limit * BLOCK, true, &base);
    }
    if (err) {
        if (err == LETHE_ERR_FORMAT) {
            lethe_log(LETHE_LOG_ERROR, "device database: the row of a content is malformed");
            err = LETHE_ERR_INTEGRITY;
        }
        lethe_content_free(content);
        return err;
    }
    if (base) {
        base->children++;
        content->base = base;
    }
    if (!found) {
        content->state = LETHE_CONTENT_VAULTED;
        atomic_store(&content->size, size);
        content->limit = content->data = blocks_of(size);
    }
    hash_locked(content);
    if (!found) {
        mark_locked(content);
    }
    *out = content;
    return LETHE_OK;
}

enum lethe_err lethe_content_get(struct lethe_contents *store, const struct lethe_id *id, uint64_t size,
                                 struct lethe_content **out)
{
    enum lethe_err err;

    *out = NULL;
    if (size > LETHE_CONTENT_MAX) {
        return LETHE_ERR_ARG;
    }
    pthread_mutex_lock(&store->lock);
    err = get_locked(store, id, size, false, out);
    pthread_mutex_unlock(&store->lock);
    return err;
}

const struct lethe_id *lethe_content_id(const struct lethe_content *content)
{
    return &content->id;
}

uint64_t lethe_content_size(struct lethe_content *content)
{
    return atomic_load(&content->size);
}

enum lethe_content_state lethe_content_state(struct lethe_content *content)
{
    enum lethe_content_state state;

    pthread_rwlock_rdlock(&content->lock);
    state = content->state;
    pthread_rwlock_unlock(&content->lock);
    return state;
}
