/* SPDX-License-Identifier: MIT */
/* Cached blocks make way, those of the contents that were used longest ago first. */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

static uint64_t evict_chunk(struct lethe_chunk *chunk, uint64_t want)
{
    struct lethe_entry old[LETHE_CHUNK_BLOCKS] = {{0}}, absent = {.kind = KIND_ABSENT};
    size_t count = 0;
    unsigned same = 1;

    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS && chunk->entries && count < want; i++) {
        if (chunk->entries[i].kind == KIND_SLOT && chunk->entries[i].arena == ARENA_CACHE) {
            lethe_map_set(chunk, i, &absent, &old[count++]);
        }
    }
    lethe_entries_drop(chunk->content->store, old, count);
    if (count > 0) {
        while (same < LETHE_CHUNK_BLOCKS && chunk->entries[same].kind == chunk->entries[0].kind) {
            same++;
        }
        if (same == LETHE_CHUNK_BLOCKS && chunk->entries[0].kind != KIND_SLOT) {
            lethe_map_fill_kind(chunk, chunk->entries[0].kind);
        }
    }
    return count;
}

uint64_t lethe_content_evict(struct lethe_content *content, uint64_t want)
{
    uint64_t freed = 0, idx = 0;
    bool found;

    for (; freed < want && content->cached > 0; idx++) {
        struct lethe_chunk *chunk;

        if (lethe_map_next(content, idx, &found, &idx) || !found) {
            content->cached =
                found ? content->cached : 0; /* the row counted what was lost with the cache folder */
            break;
        }
        if (lethe_map_pin(content, idx, &chunk)) {
            break;
        }
        freed += evict_chunk(chunk, want - freed);
        lethe_map_unpin(chunk);
    }
    lethe_content_mark(content);
    return freed;
}

/* Skips a content that someone reads or fills at this moment. */
static uint64_t evict_content(struct lethe_content *content, uint64_t want)
{
    uint64_t freed = 0;

    if (pthread_rwlock_trywrlock(&content->lock) == 0) {
        if (content->state == LETHE_CONTENT_VAULTED && !content->gone && content->cached > 0) {
            freed = lethe_content_evict(content, want);
        }
        pthread_rwlock_unlock(&content->lock);
    }
    return freed;
}

struct victim {
    uint64_t used;
    struct lethe_content *content; /* owned reference, or NULL: id */
    struct lethe_id id;
};

#define PAGE 64u

static int compare(const void *a, const void *b)
{
    const struct victim *x = a, *y = b;

    return (x->used > y->used) - (x->used < y->used);
}

/* Rows of contents that are not in memory, after the cursor. *more: there may be others after the last one.
 */
static size_t stored_victims(struct lethe_contents *store, struct victim *victims, uint64_t *last, bool *more)
{
    sqlite3_stmt *statement;
    size_t count = 0, seen = 0;
    enum lethe_err err;
    bool row;

    lethe_db_lock(store->db);
    err = lethe_db_statement(
        store->db,
        "SELECT content, used FROM local WHERE cached > 0 AND used > ? AND used >= ? ORDER BY used LIMIT ?",
        &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)store->evict_cursor);
        sqlite3_bind_int64(statement, 2, (int64_t)store->clock_floor);
        sqlite3_bind_int(statement, 3, (int)PAGE);
        for (;;) {
            err = lethe_db_step(store->db, statement, &row);
            if (err || !row) {
                break;
            }
            seen++;
            *last = (uint64_t)sqlite3_column_int64(statement, 1);
            if (sqlite3_column_bytes(statement, 0) == sizeof victims->id.bytes) {
                victims[count].used = *last;
                victims[count].content = NULL;
                memcpy(victims[count].id.bytes, sqlite3_column_blob(statement, 0), sizeof victims->id.bytes);
                count++;
            }
        }
    }
    lethe_db_unlock(store->db);
    *more = !err && seen == PAGE;
    return count;
}

static bool in_memory(struct lethe_contents *store, const struct lethe_id *id)
{
    struct lethe_content *content = store->contents[lethe_get_u64(id->bytes) % CONTENT_BUCKETS];

    while (content && !lethe_id_equal(&content->id, id)) {
        content = content->hash_next;
    }
    return content != NULL;
}

/* One round: the oldest of memory and of a page of rows. *more: another round may free more. */
static uint64_t evict_round(struct lethe_contents *store, uint64_t want, const struct lethe_content *except,
                            bool *more)
{
    struct victim stored[PAGE], *all = NULL;
    uint64_t last = UINT64_MAX, freed = 0;
    size_t loaded = 0, count = 0, kept;

    pthread_mutex_lock(&store->lock);
    kept = stored_victims(store, stored, &last, more);
    for (size_t i = 0; i < CONTENT_BUCKETS; i++) {
        for (struct lethe_content *content = store->contents[i]; content; content = content->hash_next) {
            loaded++;
        }
    }
    all = malloc((loaded + kept + 1) * sizeof *all);
    for (size_t i = 0; all && i < CONTENT_BUCKETS; i++) {
        for (struct lethe_content *content = store->contents[i]; content; content = content->hash_next) {
            uint64_t used = atomic_load(&content->used);

            /* Idle ones are found by their rows again, or here by reference. */
            if (content != except && !content->gone && (!*more || used <= last)) {
                all[count++] = (struct victim){.used = used, .content = content};
            }
        }
    }
    for (size_t i = 0; all && i < kept; i++) {
        if (!in_memory(store, &stored[i].id)) {
            all[count++] = stored[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (all[i].content) {
            struct lethe_content *content = lethe_content_find_locked(store, &all[i].content->id);

            all[i].content = content;
        }
    }
    if (*more) {
        store->evict_cursor = last;
    }
    pthread_mutex_unlock(&store->lock);
    if (!all) {
        *more = false;
        return 0;
    }
    qsort(all, count, sizeof *all, compare);
    for (size_t i = 0; i < count; i++) {
        struct lethe_content *content = all[i].content;

        if (!content && freed < want && lethe_content_get(store, &all[i].id, 0, &content)) {
            continue;
        }
        if (content && content != except && freed < want) {
            freed += evict_content(content, want - freed);
        }
        lethe_content_put(content);
    }
    free(all);
    return freed;
}

uint64_t lethe_contents_evict(struct lethe_contents *store, uint64_t count,
                              const struct lethe_content *except)
{
    uint64_t share = store->limit / BLOCK / 32, want = share < 256 ? share : 256, freed = 0;
    bool more = true;

    want = want > count ? want : count;
    while (freed < want && more) {
        freed += evict_round(store, want - freed, except, &more);
    }
    if (freed < want) {
        pthread_mutex_lock(&store->lock);
        store->evict_cursor = 0;
        pthread_mutex_unlock(&store->lock);
    }
    return freed;
}
