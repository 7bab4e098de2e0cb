/* SPDX-License-Identifier: MIT */
/*
 * Bytes that came from the vault stay in memory for who waits for them: reads need not wait for the cache nor open there
 * what was sealed a moment ago, and find them where the cache has no room. They are of vaulted contents, which never
 * change, so a run is right for as long as it is kept: what is in the cache as well until it was read, or for a second or
 * two; what is not, as long as newer runs leave room.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#include "fs/spares.h"

#define CACHED_BYTES (48u << 20) /* of runs that the cache has, too */
#define LENT_BYTES (64u << 20)   /* of those that it has not */
#define LENT_LEAST                                                                                           \
    4u /* so many are kept whatever they take: a read may span two segments, and others read too */
#define LENT_MOST 128u /* runs of either kind */

struct lethe_lent {
    struct lethe_id content;
    uint64_t offset;
    struct lethe_buf bytes; /* owned, never changed */
    /* The store lock guards the rest. */
    unsigned references; /* the list's, and of those who use the bytes without the lock */
    bool settled, cached;
    size_t read;     /* bytes that were read, each once if nobody reads twice */
    unsigned ticks;  /* since it was settled */
    struct lethe_lent *next; /* older */
};

/* The store lock is held; the run's bytes are the caller's to let go once it is let go. */
static struct lethe_lent *unref(struct lethe_lent *lent)
{
    return --lent->references == 0 ? lent : NULL;
}

static void release(struct lethe_contents *store, struct lethe_lent *lent)
{
    while (lent) {
        struct lethe_lent *next = lent->next;

        lethe_spares_give(store->spares, &lent->bytes);
        free(lent);
        lent = next;
    }
}

/* Off the list, onto surplus if nobody uses it. */
static void unlist(struct lethe_lent **link, struct lethe_lent **surplus)
{
    struct lethe_lent *lent = *link;

    *link = lent->next;
    lent->next = NULL;
    if (unref(lent)) {
        lent->next = *surplus;
        *surplus = lent;
    }
}

/*
 * Takes off the list what is too much, and what the cache has and nobody is likely to read from here. Of what the cache
 * has, the newest goes first, for programs read in the order in which it was fetched; of the rest, the oldest.
 */
static struct lethe_lent *cut_list(struct lethe_contents *store)
{
    struct lethe_lent **link = &store->lent, *surplus = NULL;
    size_t cached = 0, count = 0, only = 0, only_count = 0;

    while (*link) {
        struct lethe_lent *lent = *link;
        size_t len = lent->bytes.len;
        bool over = only_count >= LENT_LEAST && (only_count >= LENT_MOST || len > LENT_BYTES || only > LENT_BYTES - len);

        if (lent->settled && (lent->cached ? lent->read >= len || lent->ticks > 1 : over)) {
            unlist(link, &surplus);
            continue;
        }
        *(lent->cached ? &cached : &only) += len;
        *(lent->cached ? &count : &only_count) += 1;
        link = &lent->next;
    }
    for (link = &store->lent; *link && (cached > CACHED_BYTES || count > LENT_MOST);) {
        if ((*link)->cached && (*link)->settled) {
            cached -= (*link)->bytes.len;
            count--;
            unlist(link, &surplus);
        } else {
            link = &(*link)->next;
        }
    }
    return surplus;
}

/* Takes the same run off the list: two may have fetched it at once. */
static struct lethe_lent *cut_same(struct lethe_contents *store, const struct lethe_lent *newest)
{
    struct lethe_lent *surplus = NULL;

    for (struct lethe_lent **link = &store->lent; *link;) {
        if (*link != newest && (*link)->settled && (*link)->offset == newest->offset &&
            lethe_id_equal(&(*link)->content, &newest->content)) {
            unlist(link, &surplus);
        } else {
            link = &(*link)->next;
        }
    }
    return surplus;
}

enum lethe_err lethe_content_lend(struct lethe_content *content, uint64_t offset, struct lethe_buf *bytes,
                                  struct lethe_lent **out)
{
    struct lethe_contents *store = content->store;
    struct lethe_lent *lent;

    *out = NULL;
    if (offset % BLOCK || bytes->len == 0) {
        return LETHE_ERR_ARG;
    }
    lent = malloc(sizeof *lent);
    if (!lent) {
        return LETHE_ERR_NOMEM;
    }
    *lent = (struct lethe_lent){
        .content = content->id, .offset = offset, .bytes = *bytes, .references = 2};
    *bytes = (struct lethe_buf){0};
    pthread_mutex_lock(&store->lock);
    lent->next = store->lent;
    store->lent = lent;
    pthread_mutex_unlock(&store->lock);
    atomic_store(&store->lending, true);
    *out = lent;
    return LETHE_OK;
}

const uint8_t *lethe_lent_bytes(const struct lethe_lent *lent, size_t *len)
{
    *len = lent->bytes.len;
    return lent->bytes.data;
}

void lethe_content_lent(struct lethe_content *content, struct lethe_lent *lent, bool cached, bool keep)
{
    struct lethe_contents *store = content->store;
    struct lethe_lent *surplus, *same, *last;

    pthread_mutex_lock(&store->lock);
    lent->settled = true;
    lent->cached = cached;
    same = cut_same(store, lent);
    if (!keep) {
        lent->cached = true;
        lent->read = lent->bytes.len; /* so that it goes now */
    }
    surplus = cut_list(store);
    last = unref(lent);
    pthread_mutex_unlock(&store->lock);
    release(store, same);
    release(store, surplus);
    release(store, last);
}

void lethe_lent_tick(struct lethe_contents *store)
{
    struct lethe_lent *surplus;

    if (!atomic_load(&store->lending)) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    for (struct lethe_lent *lent = store->lent; lent; lent = lent->next) {
        lent->ticks += lent->settled;
    }
    surplus = cut_list(store);
    if (!store->lent) {
        atomic_store(&store->lending, false);
    }
    pthread_mutex_unlock(&store->lock);
    release(store, surplus);
}

bool lethe_lent_copy(struct lethe_contents *store, const struct lethe_id *content, uint64_t offset,
                     uint8_t *out, size_t len)
{
    struct lethe_lent *lent, *surplus = NULL, *last;

    if (!atomic_load(&store->lending)) {
        return false;
    }
    pthread_mutex_lock(&store->lock);
    for (lent = store->lent; lent; lent = lent->next) {
        if (offset >= lent->offset && offset - lent->offset < lent->bytes.len &&
            len <= lent->bytes.len - (size_t)(offset - lent->offset) &&
            lethe_id_equal(&lent->content, content)) {
            lent->references++;
            break;
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (!lent) {
        return false;
    }
    memcpy(out, lent->bytes.data + (size_t)(offset - lent->offset), len);
    pthread_mutex_lock(&store->lock);
    lent->read += len;
    if (lent->settled && lent->cached && lent->read >= lent->bytes.len) {
        surplus = cut_list(store);
    }
    last = unref(lent);
    pthread_mutex_unlock(&store->lock);
    release(store, surplus);
    release(store, last);
    return true;
}

void lethe_lent_release(struct lethe_contents *store)
{
    release(store, store->lent);
    store->lent = NULL;
}
