/* SPDX-License-Identifier: MIT */
/* What becomes of contents: frozen by a cut, vaulted, filled from the vault, evicted, abandoned, dropped. */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

static uint64_t blocks_of(uint64_t size)
{
    return size / BLOCK + (size % BLOCK != 0);
}

enum lethe_err lethe_content_freeze(struct lethe_content *content, uint64_t epoch)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err = LETHE_ERR_ARG;

    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (content->state == LETHE_CONTENT_MUTABLE && !content->gone) {
        content->state = LETHE_CONTENT_FROZEN;
        content->epoch = epoch;
        lethe_content_mark(content);
        err = LETHE_OK;
    }
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    return err;
}

/* --- frozen to vaulted --- */

/* local.epoch of a vaulted content, some of whose blocks are still to be moved to the cache arena. */
#define MOVING 1u
#define MOVE_CHUNKS 256u /* of 1 MiB, in one flush */

/* Moves up to count entries, all of arena 0, to the cache; those that cannot be moved become absent. */
static void move_batch(struct lethe_chunk *chunk, const unsigned *which, size_t count, uint64_t *room)
{
    struct lethe_contents *store = chunk->content->store;
    struct lethe_entry from[BATCH] = {{0}}, to[BATCH], old[BATCH];
    bool moved;

    for (size_t n = 0; n < count; n++) {
        from[n] = lethe_map_entry(chunk, which[n]);
    }
    moved = *room >= count && lethe_blocks_move(store, from, count, ARENA_CACHE, to) == LETHE_OK;
    if (moved) {
        *room -= count;
        lethe_contents_room_back(store, count);
    }
    for (size_t n = 0; n < count; n++) {
        struct lethe_entry absent = {.kind = KIND_ABSENT};

        lethe_map_set(chunk, which[n], moved ? &to[n] : &absent, &old[n]);
    }
    lethe_entries_drop(store, old, count);
}

static void move_chunk(struct lethe_chunk *chunk, uint64_t *room)
{
    unsigned which[BATCH];
    size_t count = 0;

    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS && chunk->entries; i++) {
        if (chunk->entries[i].kind == KIND_SLOT && chunk->entries[i].arena == ARENA_STATE) {
            which[count++] = i;
        }
        if (count == BATCH || (count > 0 && i == LETHE_CHUNK_BLOCKS - 1)) {
            move_batch(chunk, which, count, room);
            count = 0;
        }
    }
}

/* What chunk idx of a dead base has in the cache and its successor shares becomes the successor's. Both are locked. */
static enum lethe_err inherit_chunk(struct lethe_content *content, struct lethe_content *base, uint64_t idx)
{
    const struct lethe_entry absent = {.kind = KIND_ABSENT};
    struct lethe_chunk *mine = NULL, *theirs = NULL;
    struct lethe_entry entry, ignored;
    enum lethe_err err = lethe_map_pin(base, idx, &theirs);

    if (!err && theirs->entries) {
        err = lethe_map_pin(content, idx, &mine);
    }
    if (mine && !err) {
        err = lethe_map_writable(mine, false);
    }
    for (unsigned i = 0; mine && !err && i < LETHE_CHUNK_BLOCKS; i++) {
        entry = lethe_map_entry(theirs, i);
        if (idx * LETHE_CHUNK_BLOCKS + i < content->limit && entry.kind == KIND_SLOT && entry.arena == ARENA_CACHE &&
            lethe_map_entry(mine, i).kind == KIND_NONE) {
            lethe_map_set(mine, i, &entry, &ignored);
            lethe_map_set(theirs, i, &absent, &ignored);
        }
    }
    lethe_map_unpin(mine);
    lethe_map_unpin(theirs);
    return err;
}

/*
 * A version that no file names any more leaves its cached blocks to the one that was made from it: otherwise every epoch of
 * a large file that is changed here and there would bring all the rest from the vault again. The content is vaulted by now
 * (slots of arena 1 are for such alone), without buffers, and locked. Maps shared: the next commit writes both maps.
 */
static enum lethe_err inherit(struct lethe_content *content)
{
    struct lethe_content *base = content->base;
    enum lethe_err err = LETHE_OK;
    uint64_t idx = 0;
    bool found;

    if (!base) {
        return LETHE_OK;
    }
    pthread_rwlock_wrlock(&base->lock);
    for (; !err && base->dead && base->cached > 0; idx++) {
        err = lethe_map_next(base, idx, &found, &idx);
        if (err || !found || idx * LETHE_CHUNK_BLOCKS >= content->limit) {
            break;
        }
        err = inherit_chunk(content, base, idx);
    }
    lethe_content_mark(base);
    pthread_rwlock_unlock(&base->lock);
    return err;
}

enum lethe_err lethe_content_vaulted(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err = LETHE_OK;

    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (content->state == LETHE_CONTENT_MUTABLE || content->gone) {
        err = LETHE_ERR_ARG;
    } else if (content->state == LETHE_CONTENT_FROZEN) {
        err = lethe_content_seal_buffers(content, SIZE_MAX);
    }
    if (!err && content->state == LETHE_CONTENT_FROZEN) {
        uint64_t blocks = blocks_of(atomic_load(&content->size));

        /* From here on every block may be absent. The blocks are moved without the gate, by the next flush.
         */
        content->state = LETHE_CONTENT_VAULTED;
        if (inherit(content)) {
            lethe_log(LETHE_LOG_DEBUG, "a new version begins without cached blocks of the old one");
        }
        lethe_content_set_base(content, NULL);
        if (content->data == blocks) {
            content->limit = blocks; /* no holes: the usual row */
        }
        content->epoch = MOVING;
        content->move_at = 0;
        lethe_content_mark(content);
        pthread_mutex_lock(&store->lock);
        lethe_content_list_moving(content);
        pthread_mutex_unlock(&store->lock);
        /* Now, so that a base that nobody needs any more may be dropped at once. */
        err = lethe_content_row_store(content);
    }
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    if (!err) {
        lethe_content_touch(content);
        lethe_contents_progress(store);
    }
    return err;
}

enum lethe_err lethe_content_replaced(struct lethe_content *content, uint64_t size)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err;

    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    err = content->state == LETHE_CONTENT_FROZEN && !content->gone ? LETHE_OK : LETHE_ERR_ARG;
    if (!err) {
        err = lethe_content_cut(content, 0, UINT64_MAX);
    }
    if (!err) {
        uint64_t blocks = blocks_of(size);

        content->state = LETHE_CONTENT_VAULTED;
        lethe_content_set_base(content, NULL);
        atomic_store(&content->size, size);
        content->limit = content->data = blocks; /* what has no entry comes from the vault */
        content->epoch = 0;
        lethe_content_mark(content);
        err = lethe_content_row_store(content);
    }
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    if (!err) {
        lethe_content_touch(content);
        lethe_contents_progress(store);
    }
    return err;
}

void lethe_content_list_moving(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    if (!content->moving) {
        content->moving = true;
        content->refs++;
        content->moving_next = NULL;
        *(store->moving_last ? &store->moving_last->moving_next : &store->moving_first) = content;
        store->moving_last = content;
    }
}

/* The next chunk of a content; *finished when there is none. Maps shared. */
static enum lethe_err move_next(struct lethe_content *content, bool *finished)
{
    struct lethe_contents *store = content->store;
    struct lethe_chunk *chunk = NULL;
    uint64_t room = lethe_contents_room(store, LETHE_CHUNK_BLOCKS, content);
    bool found = false;
    enum lethe_err err = LETHE_OK;

    pthread_rwlock_wrlock(&content->lock);
    if (!content->gone) {
        err = lethe_map_next(content, content->move_at, &found, &content->move_at);
    }
    if (!err && found) {
        err = lethe_map_pin(content, content->move_at, &chunk);
    }
    if (!err && found) {
        if (content->dead) {
            /* A version that no file names any more is not worth the space. */
            lethe_contents_room_back(store, room);
            room = 0;
        }
        move_chunk(chunk, &room);
        content->move_at++;
        lethe_content_mark(content);
    }
    if (!err && !found && !content->gone) {
        content->epoch = 0;
        lethe_content_mark(content);
    }
    lethe_map_unpin(chunk);
    pthread_rwlock_unlock(&content->lock);
    lethe_contents_room_back(store, room);
    *finished = !err && !found;
    return err;
}

enum lethe_err lethe_contents_move(struct lethe_contents *store)
{
    enum lethe_err err = LETHE_OK;

    for (unsigned chunks = 0; chunks < MOVE_CHUNKS && !err;) {
        struct lethe_content *content;
        bool finished = false;

        /* Off the list while it is worked on, so that two threads never move the same one. */
        pthread_mutex_lock(&store->lock);
        content = store->moving_first;
        if (content) {
            store->moving_first = content->moving_next;
            if (!store->moving_first) {
                store->moving_last = NULL;
            }
            content->moving = false;
        }
        pthread_mutex_unlock(&store->lock);
        if (!content) {
            break;
        }
        for (; chunks < MOVE_CHUNKS && !finished && !err; chunks += !finished) {
            pthread_rwlock_rdlock(&store->maps);
            err = move_next(content, &finished);
            pthread_rwlock_unlock(&store->maps);
        }
        pthread_mutex_lock(&store->lock);
        if (!finished) {
            lethe_content_list_moving(content);
        }
        lethe_content_put_locked(content);
        pthread_mutex_unlock(&store->lock);
    }
    return err;
}

/* --- filling --- */

static bool is_absent(const struct lethe_chunk *chunk, uint64_t block)
{
    uint8_t kind = lethe_map_entry(chunk, block % LETHE_CHUNK_BLOCKS).kind;

    return kind == KIND_ABSENT || (kind == KIND_NONE && block < chunk->content->limit);
}

/* Blocks [block, block + count) of one chunk, at most BATCH; the last one may be short. */
static enum lethe_err fill_batch(struct lethe_content *content, uint64_t block, const uint8_t *bytes,
                                 size_t len)
{
    struct lethe_contents *store = content->store;
    const uint8_t *blocks[BATCH];
    uint16_t lengths[BATCH];
    struct lethe_entry fresh[BATCH], old[BATCH];
    unsigned which[BATCH];
    size_t count = 0, wanted = (len + BLOCK - 1) / BLOCK;
    uint64_t room = lethe_contents_room(store, wanted, content);
    struct lethe_chunk *chunk = NULL;
    uint8_t *padded = NULL;
    bool full = false;
    enum lethe_err err;

    pthread_rwlock_wrlock(&content->lock);
    err = content->state == LETHE_CONTENT_VAULTED && !content->gone ? LETHE_OK : LETHE_ERR_ARG;
    if (!err) {
        err = lethe_map_pin(content, block / LETHE_CHUNK_BLOCKS, &chunk);
    }
    if (!err) {
        err = lethe_map_writable(chunk, false);
    }
    for (size_t n = 0; n < wanted && !err; n++) {
        if (!is_absent(chunk, block + n)) {
            continue;
        }
        if (count == room) {
            full = true;
            break;
        }
        blocks[count] = bytes + n * BLOCK;
        lengths[count] = lethe_sealed_length(len - n * BLOCK);
        which[count] = (unsigned)((block + n) % LETHE_CHUNK_BLOCKS);
        if (len - n * BLOCK < BLOCK) {
            padded = lethe_block_new(store->pool);
            if (!padded) {
                err = LETHE_ERR_NOMEM;
                break;
            }
            memset(padded, 0, BLOCK);
            memcpy(padded, blocks[count], len - n * BLOCK);
            blocks[count] = padded;
        }
        count++;
    }
    if (!err && count > 0) {
        err = lethe_blocks_put(store, ARENA_CACHE, blocks, lengths, count, fresh);
        for (size_t n = 0; n < count && !err; n++) {
            lethe_map_set(chunk, which[n], &fresh[n], &old[n]);
        }
        if (!err) {
            lethe_entries_drop(store, old, count);
            lethe_content_mark(content);
        }
    }
    lethe_map_unpin(chunk);
    pthread_rwlock_unlock(&content->lock);
    lethe_block_release(store->pool, padded);
    lethe_contents_room_back(store, room);
    return !err && full ? LETHE_ERR_NOSPACE : err;
}

enum lethe_err lethe_content_fill(struct lethe_content *content, uint64_t offset, const uint8_t *bytes,
                                  size_t len)
{
    struct lethe_contents *store = content->store;
    uint64_t size = lethe_content_size(content);
    enum lethe_err err = LETHE_OK;

    if (offset % BLOCK || offset > size || len > size - offset || (len % BLOCK && offset + len != size)) {
        return LETHE_ERR_ARG;
    }
    lethe_content_touch(content);
    while (len > 0 && !err) {
        uint64_t block = offset / BLOCK;
        size_t n = (size_t)((BATCH - block % BATCH) * BLOCK);

        n = len < n ? len : n;
        pthread_rwlock_rdlock(&store->maps);
        err = fill_batch(content, block, bytes, n);
        pthread_rwlock_unlock(&store->maps);
        bytes += n;
        offset += n;
        len -= n;
    }
    return err;
}

/* --- evicting --- */

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

/* Content lock held for writing. */
static uint64_t evict_blocks(struct lethe_content *content, uint64_t want)
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
            freed = evict_blocks(content, want);
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

/* --- the end of a content --- */

enum lethe_err lethe_content_discard(struct lethe_content *content)
{
    enum lethe_err err = lethe_content_cut(content, 0, UINT64_MAX);

    if (!err) {
        err = lethe_content_rows_delete(content);
    }
    if (!err) {
        content->gone = true;
        if (content->base) {
            lethe_content_set_base(content, NULL);
        }
        lethe_content_mark(content);
    }
    return err;
}

static enum lethe_err list_dead(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    uint64_t epoch;
    sqlite3_stmt *statement;
    enum lethe_err err;

    pthread_mutex_lock(&store->lock);
    epoch = store->next_epoch;
    pthread_mutex_unlock(&store->lock);
    lethe_db_lock(store->db);
    err =
        lethe_db_statement(store->db, "INSERT OR REPLACE INTO dead(content, epoch) VALUES(?, ?)", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)epoch);
        err = lethe_db_run(store->db, statement);
    }
    lethe_db_unlock(store->db);
    return err;
}

static bool has_children(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    sqlite3_stmt *statement;
    bool row = true;

    pthread_mutex_lock(&store->lock);
    if (content->children == 0) {
        lethe_db_lock(store->db);
        if (lethe_db_statement(store->db, "SELECT 1 FROM local WHERE base = ? LIMIT 1", &statement) ==
            LETHE_OK) {
            sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
            if (lethe_db_step(store->db, statement, &row) == LETHE_OK && row) {
                sqlite3_reset(statement);
            }
        }
        lethe_db_unlock(store->db);
    }
    pthread_mutex_unlock(&store->lock);
    return row;
}

enum lethe_err lethe_content_abandon(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err;

    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (content->gone) {
        err = LETHE_OK;
    } else if (content->state == LETHE_CONTENT_MUTABLE) {
        err = lethe_content_discard(content);
    } else {
        err = list_dead(content);
        if (!err) {
            content->dead = true;
            if (content->state == LETHE_CONTENT_VAULTED && !has_children(content)) {
                (void)evict_blocks(content, UINT64_MAX);
            }
        }
    }
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    return err;
}

enum lethe_err lethe_contents_drop(struct lethe_contents *store, const struct lethe_id *id)
{
    struct lethe_content *content;
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_content_get(store, id, 0, &content);

    if (err) {
        return err;
    }
    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (has_children(content)) {
        err = LETHE_ERR_BUSY;
    } else {
        err = lethe_content_discard(content);
    }
    if (!err) {
        lethe_db_lock(store->db);
        err = lethe_db_statement(store->db, "DELETE FROM dead WHERE content = ?", &statement);
        if (!err) {
            sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
            err = lethe_db_run(store->db, statement);
        }
        lethe_db_unlock(store->db);
    }
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    lethe_content_put(content);
    return err;
}
