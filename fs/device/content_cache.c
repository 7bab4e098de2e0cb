/* SPDX-License-Identifier: MIT */
/* What becomes of contents: frozen by a cut, vaulted, filled from the vault, abandoned, dropped. */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

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

void lethe_content_doom(struct lethe_content *content)
{
    content->dead = true;
    lethe_content_mark(content);
}

enum lethe_err lethe_content_list_dead(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;
    uint64_t epoch = lethe_contents_next_epoch(store);
    sqlite3_stmt *statement;
    enum lethe_err err;

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
        err = LETHE_OK;
        if (lethe_content_discard(content)) {
            lethe_content_doom(content);
        }
    } else {
        err = lethe_content_list_dead(content);
        if (!err) {
            content->dead = true;
            if (content->state == LETHE_CONTENT_VAULTED && !has_children(content)) {
                (void)lethe_content_evict(content, UINT64_MAX);
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
