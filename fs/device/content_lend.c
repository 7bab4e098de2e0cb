/* SPDX-License-Identifier: MIT */
/*
 * Bytes that came from the vault and found no room in the cache: a few runs stay in memory, so that whoever
 * asked for them can read them. They are of vaulted contents, which never change, so a run is right for as
 * long as it is kept.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#define LENT_BYTES (64u << 20)
#define LENT_LEAST                                                                                           \
    4u /* so many are kept whatever they take: a read may span two segments, and others read too */

struct lethe_lent {
    struct lethe_id content;
    uint64_t offset;
    uint8_t *bytes; /* owned */
    size_t len;
    struct lethe_lent *next; /* older */
};

static void release(struct lethe_lent *lent)
{
    while (lent) {
        struct lethe_lent *next = lent->next;

        explicit_bzero(lent->bytes, lent->len);
        free(lent->bytes);
        free(lent);
        lent = next;
    }
}

/* Takes off the list what is too much, and what holds the same run already. */
static struct lethe_lent *cut_list(struct lethe_lent *newest)
{
    struct lethe_lent **link = &newest->next, *surplus = NULL;
    size_t total = newest->len, count = 1;

    while (*link) {
        struct lethe_lent *lent = *link;
        bool same = lent->offset == newest->offset && lethe_id_equal(&lent->content, &newest->content);

        if (same || (count >= LENT_LEAST && (lent->len > LENT_BYTES || total > LENT_BYTES - lent->len))) {
            *link = lent->next;
            lent->next = surplus;
            surplus = lent;
            continue;
        }
        total += lent->len;
        count++;
        link = &lent->next;
    }
    return surplus;
}

enum lethe_err lethe_content_lend(struct lethe_content *content, uint64_t offset, uint8_t *bytes, size_t len)
{
    struct lethe_contents *store = content->store;
    struct lethe_lent *lent, *surplus;

    if (offset % BLOCK || len == 0) {
        free(bytes);
        return LETHE_ERR_ARG;
    }
    lent = malloc(sizeof *lent);
    if (!lent) {
        explicit_bzero(bytes, len);
        free(bytes);
        return LETHE_ERR_NOMEM;
    }
    *lent = (struct lethe_lent){.content = content->id, .offset = offset, .bytes = bytes, .len = len};
    pthread_mutex_lock(&store->lock);
    lent->next = store->lent;
    store->lent = lent;
    surplus = cut_list(lent);
    pthread_mutex_unlock(&store->lock);
    atomic_store(&store->lending, true);
    release(surplus);
    return LETHE_OK;
}

bool lethe_lent_copy(struct lethe_contents *store, const struct lethe_id *content, uint64_t offset,
                     uint8_t *out, size_t len)
{
    const struct lethe_lent *lent;

    if (!atomic_load(&store->lending)) {
        return false;
    }
    pthread_mutex_lock(&store->lock);
    for (lent = store->lent; lent; lent = lent->next) {
        if (offset >= lent->offset && offset - lent->offset < lent->len &&
            lethe_id_equal(&lent->content, content)) {
            size_t at = (size_t)(offset - lent->offset), n = lent->len - at < len ? lent->len - at : len;

            memcpy(out, lent->bytes + at, n);
            memset(out + n, 0, len - n); /* the last block of the content ends in zeros */
            break;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return lent != NULL;
}

void lethe_lent_release(struct lethe_contents *store)
{
    release(store->lent);
    store->lent = NULL;
}
