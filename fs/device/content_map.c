/* SPDX-License-Identifier: MIT */
/*
 * Chunk maps: rows of the table chunk, cached in memory. Clean chunks that nobody pins form one list, least
 * recently used first, which is bounded; dirty ones stay until prepare writes them. Pin and unpin with the
 * content lock held (or the maps lock alone), so that two threads never disagree about what a chunk says.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

#define ENTRY_BYTES 36u
#define KEEP_FULL 6144u   /* clean chunks with entries: 12 MiB, the maps of 6 GiB */
#define KEEP_EMPTY 16384u /* clean chunks without: 2 MiB */

static size_t bucket_of(const struct lethe_content *content, uint64_t idx)
{
    uint64_t x = ((uintptr_t)content >> 6) * 0x9e3779b97f4a7c15ull ^ (idx + 1) * 0xd6e8feb86659fd93ull;

    return (x ^ x >> 32) % CHUNK_BUCKETS;
}

static void lru_remove(struct lethe_contents *store, struct lethe_chunk *chunk)
{
    *(chunk->lru_previous ? &chunk->lru_previous->lru_next : &store->lru_oldest) = chunk->lru_next;
    *(chunk->lru_next ? &chunk->lru_next->lru_previous : &store->lru_newest) = chunk->lru_previous;
    chunk->lru_previous = chunk->lru_next = NULL;
    store->lru_count--;
    store->lru_full -= chunk->entries != NULL;
}

static void lru_append(struct lethe_contents *store, struct lethe_chunk *chunk)
{
    chunk->lru_previous = store->lru_newest;
    chunk->lru_next = NULL;
    *(store->lru_newest ? &store->lru_newest->lru_next : &store->lru_oldest) = chunk;
    store->lru_newest = chunk;
    store->lru_count++;
    store->lru_full += chunk->entries != NULL;
}

/* Out of every list; the caller has taken it out of the least recently used ones. Store lock held. */
static void chunk_free(struct lethe_contents *store, struct lethe_chunk *chunk)
{
    struct lethe_chunk **link = &store->chunks[bucket_of(chunk->content, chunk->idx)];

    while (*link != chunk) {
        link = &(*link)->hash_next;
    }
    *link = chunk->hash_next;
    *(chunk->mate_previous ? &chunk->mate_previous->mate_next : &chunk->content->chunks) = chunk->mate_next;
    if (chunk->mate_next) {
        chunk->mate_next->mate_previous = chunk->mate_previous;
    }
    for (unsigned i = 0; chunk->buffers && i < LETHE_CHUNK_BLOCKS; i++) {
        lethe_block_release(store->pool, chunk->buffers[i]);
    }
    free(chunk->buffers);
    free(chunk->entries);
    free(chunk);
}

static enum lethe_err decode(const struct lethe_contents *store, const struct lethe_content *content,
                             const uint8_t *bytes, size_t len, struct lethe_chunk *chunk)
{
    struct lethe_reader reader;

    if (len == 1 && (bytes[0] == KIND_HOLE || bytes[0] == KIND_ABSENT)) {
        chunk->uniform = bytes[0];
        return LETHE_OK;
    }
    if (len % ENTRY_BYTES != 0 || len / ENTRY_BYTES > LETHE_CHUNK_BLOCKS) {
        return LETHE_ERR_FORMAT;
    }
    chunk->entries = calloc(LETHE_CHUNK_BLOCKS, sizeof *chunk->entries);
    if (!chunk->entries) {
        return LETHE_ERR_NOMEM;
    }
    lethe_reader_init(&reader, bytes, len);
    for (size_t i = 0; i < len / ENTRY_BYTES; i++) {
        struct lethe_entry *entry = &chunk->entries[i];
        uint32_t generation;

        entry->kind = lethe_read_u8(&reader);
        entry->arena = lethe_read_u8(&reader);
        entry->length = lethe_read_u16(&reader);
        generation = lethe_read_u32(&reader);
        entry->slot = lethe_read_u32(&reader);
        entry->sequence = lethe_read_u64(&reader);
        lethe_read_bytes(&reader, entry->tag, sizeof entry->tag);
        if (entry->kind > KIND_ABSENT) {
            return LETHE_ERR_FORMAT;
        }
        if (entry->kind != KIND_SLOT) {
            *entry = (struct lethe_entry){.kind = entry->kind};
            continue;
        }
        if (entry->arena > ARENA_CACHE || entry->length == 0 || entry->length > BLOCK ||
            entry->length % UNIT != 0) {
            return LETHE_ERR_FORMAT;
        }
        if (entry->arena == ARENA_CACHE && generation != store->generation) {
            /* The cache folder was lost since: the vault has the block. */
            bool below = chunk->idx * LETHE_CHUNK_BLOCKS + i < content->limit;

            *entry = (struct lethe_entry){.kind = below ? KIND_NONE : KIND_ABSENT};
        }
    }
    return LETHE_OK;
}

static enum lethe_err read_row(struct lethe_content *content, struct lethe_chunk *chunk)
{
    struct lethe_db *db = content->store->db;
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT map FROM chunk WHERE content = ? AND idx = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)chunk->idx);
        err = lethe_db_step(db, statement, &row);
        if (!err && row) {
            err = decode(content->store, content, sqlite3_column_blob(statement, 0),
                         (size_t)sqlite3_column_bytes(statement, 0), chunk);
            sqlite3_reset(statement);
        }
    }
    lethe_db_unlock(db);
    if (err == LETHE_ERR_FORMAT) {
        lethe_log(LETHE_LOG_ERROR, "device database: a chunk map is malformed");
        err = LETHE_ERR_INTEGRITY;
    }
    return err;
}

static struct lethe_chunk *find(struct lethe_contents *store, const struct lethe_content *content,
                                uint64_t idx)
{
    struct lethe_chunk *chunk = store->chunks[bucket_of(content, idx)];

    while (chunk && (chunk->content != content || chunk->idx != idx)) {
        chunk = chunk->hash_next;
    }
    return chunk;
}

static void pin_found(struct lethe_contents *store, struct lethe_chunk *chunk)
{
    if (chunk->pins == 0 && !chunk->dirty) {
        lru_remove(store, chunk);
    }
    chunk->pins++;
}

enum lethe_err lethe_map_pin(struct lethe_content *content, uint64_t idx, struct lethe_chunk **out)
{
    struct lethe_contents *store = content->store;
    struct lethe_chunk *chunk, *fresh;
    size_t bucket = bucket_of(content, idx);
    enum lethe_err err;

    pthread_mutex_lock(&store->lock);
    chunk = find(store, content, idx);
    if (chunk) {
        pin_found(store, chunk);
    }
    pthread_mutex_unlock(&store->lock);
    if (chunk) {
        *out = chunk;
        return LETHE_OK;
    }
    fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        return LETHE_ERR_NOMEM;
    }
    fresh->content = content;
    fresh->idx = idx;
    err = read_row(content, fresh);
    if (err) {
        free(fresh->entries);
        free(fresh);
        return err;
    }
    pthread_mutex_lock(&store->lock);
    chunk = find(store, content, idx);
    if (chunk) {
        pin_found(store, chunk);
    } else {
        chunk = fresh;
        fresh = NULL;
        chunk->pins = 1;
        chunk->hash_next = store->chunks[bucket];
        store->chunks[bucket] = chunk;
        chunk->mate_next = content->chunks;
        if (content->chunks) {
            content->chunks->mate_previous = chunk;
        }
        content->chunks = chunk;
    }
    pthread_mutex_unlock(&store->lock);
    if (fresh) {
        free(fresh->entries);
        free(fresh);
    }
    *out = chunk;
    return LETHE_OK;
}

void lethe_map_unpin(struct lethe_chunk *chunk)
{
    struct lethe_contents *store;

    if (!chunk) {
        return;
    }
    store = chunk->content->store;
    pthread_mutex_lock(&store->lock);
    if (--chunk->pins == 0 && !chunk->dirty) {
        lru_append(store, chunk);
        while (store->lru_full > KEEP_FULL || store->lru_count > KEEP_FULL + KEEP_EMPTY) {
            struct lethe_chunk *oldest = store->lru_oldest;

            lru_remove(store, oldest);
            chunk_free(store, oldest);
        }
    }
    pthread_mutex_unlock(&store->lock);
}

enum lethe_err lethe_map_writable(struct lethe_chunk *chunk, bool buffers)
{
    if (!chunk->entries) {
        chunk->entries = calloc(LETHE_CHUNK_BLOCKS, sizeof *chunk->entries);
        if (!chunk->entries) {
            return LETHE_ERR_NOMEM;
        }
        for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS; i++) {
            chunk->entries[i].kind = chunk->uniform;
        }
    }
    if (buffers && !chunk->buffers) {
        chunk->buffers = calloc(LETHE_CHUNK_BLOCKS, sizeof *chunk->buffers);
        if (!chunk->buffers) {
            return LETHE_ERR_NOMEM;
        }
    }
    return LETHE_OK;
}

struct lethe_entry lethe_map_entry(const struct lethe_chunk *chunk, unsigned i)
{
    return chunk->entries ? chunk->entries[i] : (struct lethe_entry){.kind = chunk->uniform};
}

uint8_t *lethe_map_buffer(const struct lethe_chunk *chunk, unsigned i)
{
    return chunk->buffers ? chunk->buffers[i] : NULL;
}

bool lethe_block_is_data(const struct lethe_chunk *chunk, unsigned i)
{
    uint8_t kind = lethe_map_entry(chunk, i).kind;

    if (lethe_map_buffer(chunk, i)) {
        return true;
    }
    return kind == KIND_NONE ? chunk->idx * LETHE_CHUNK_BLOCKS + i < chunk->content->limit
                             : kind != KIND_HOLE;
}

static void drop_buffer(struct lethe_chunk *chunk, unsigned i)
{
    if (lethe_map_buffer(chunk, i)) {
        lethe_block_release(chunk->content->store->pool, chunk->buffers[i]);
        chunk->buffers[i] = NULL;
        chunk->buffered--;
        atomic_fetch_sub(&chunk->content->buffered, 1);
    }
}

static bool in_cache(const struct lethe_entry *entry)
{
    return entry->kind == KIND_SLOT && entry->arena == ARENA_CACHE;
}

void lethe_map_set(struct lethe_chunk *chunk, unsigned i, const struct lethe_entry *entry,
                   struct lethe_entry *old)
{
    struct lethe_content *content = chunk->content;
    bool below = chunk->idx * LETHE_CHUNK_BLOCKS + i < content->limit, was = lethe_block_is_data(chunk, i);
    struct lethe_entry value = *entry;

    if ((value.kind == KIND_HOLE && !below) || (value.kind == KIND_ABSENT && below && !content->base)) {
        value = (struct lethe_entry){.kind = KIND_NONE};
    }
    drop_buffer(chunk, i);
    *old = chunk->entries[i];
    chunk->entries[i] = value;
    chunk->dirty = true;
    content->data += lethe_block_is_data(chunk, i);
    content->data -= was;
    content->cached += in_cache(&value);
    content->cached -= in_cache(old);
}

void lethe_map_set_buffer(struct lethe_chunk *chunk, unsigned i, uint8_t *buffer)
{
    struct lethe_content *content = chunk->content;
    bool was = lethe_block_is_data(chunk, i);

    drop_buffer(chunk, i);
    chunk->buffers[i] = buffer;
    chunk->buffered++;
    atomic_fetch_add(&content->buffered, 1);
    chunk->dirty = true;
    content->data += !was;
}

void lethe_map_fill_kind(struct lethe_chunk *chunk, uint8_t kind)
{
    free(chunk->entries);
    chunk->entries = NULL;
    chunk->uniform = kind;
    chunk->dirty = true;
}

enum lethe_err lethe_map_next(struct lethe_content *content, uint64_t from, bool *found, uint64_t *idx)
{
    struct lethe_contents *store = content->store;
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    *found = false;
    pthread_mutex_lock(&store->lock);
    if (find(store, content, from)) {
        *found = true;
        *idx = from;
    }
    pthread_mutex_unlock(&store->lock);
    if (*found) {
        return LETHE_OK;
    }
    lethe_db_lock(store->db);
    err = lethe_db_statement(
        store->db, "SELECT idx FROM chunk WHERE content = ? AND idx >= ? ORDER BY idx LIMIT 1", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)from);
        err = lethe_db_step(store->db, statement, &row);
        if (!err && row) {
            *found = true;
            *idx = (uint64_t)sqlite3_column_int64(statement, 0);
            sqlite3_reset(statement);
        }
    }
    lethe_db_unlock(store->db);
    if (err || (*found && *idx == from)) {
        return err;
    }
    pthread_mutex_lock(&store->lock);
    for (const struct lethe_chunk *chunk = content->chunks; chunk; chunk = chunk->mate_next) {
        if (chunk->idx >= from && (!*found || chunk->idx < *idx)) {
            *found = true;
            *idx = chunk->idx;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return LETHE_OK;
}

/* The length of the row's blob, 0 for none. */
static size_t encode(const struct lethe_chunk *chunk, uint8_t bytes[ENTRY_BYTES * LETHE_CHUNK_BLOCKS])
{
    unsigned end = LETHE_CHUNK_BLOCKS, same = 1;

    if (!chunk->entries) {
        bytes[0] = chunk->uniform;
        return chunk->uniform != KIND_NONE;
    }
    while (end > 0 && chunk->entries[end - 1].kind == KIND_NONE) {
        end--;
    }
    while (same < LETHE_CHUNK_BLOCKS && chunk->entries[same].kind == chunk->entries[0].kind) {
        same++;
    }
    if (same == LETHE_CHUNK_BLOCKS && chunk->entries[0].kind != KIND_SLOT) {
        bytes[0] = chunk->entries[0].kind;
        return bytes[0] != KIND_NONE;
    }
    for (unsigned i = 0; i < end; i++) {
        const struct lethe_entry *entry = &chunk->entries[i];
        uint8_t *at = bytes + i * ENTRY_BYTES;

        memset(at, 0, ENTRY_BYTES);
        at[0] = entry->kind;
        if (entry->kind == KIND_SLOT) {
            at[1] = entry->arena;
            lethe_set_u16(at + 2, entry->length);
            lethe_set_u32(at + 4, entry->arena == ARENA_CACHE ? chunk->content->store->generation : 0);
            lethe_set_u32(at + 8, entry->slot);
            lethe_set_u64(at + 12, entry->sequence);
            memcpy(at + 20, entry->tag, sizeof entry->tag);
        }
    }
    return (size_t)end * ENTRY_BYTES;
}

enum lethe_err lethe_map_store(struct lethe_chunk *chunk)
{
    struct lethe_content *content = chunk->content;
    struct lethe_contents *store = content->store;
    uint8_t bytes[ENTRY_BYTES * LETHE_CHUNK_BLOCKS];
    size_t len = encode(chunk, bytes);
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(store->db);
    if (len == 0) {
        err = lethe_db_statement(store->db, "DELETE FROM chunk WHERE content = ? AND idx = ?", &statement);
    } else {
        err = lethe_db_statement(store->db, "INSERT OR REPLACE INTO chunk(content, idx, map) VALUES(?, ?, ?)",
                                 &statement);
    }
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)chunk->idx);
        if (len > 0) {
            sqlite3_bind_blob(statement, 3, bytes, (int)len, SQLITE_TRANSIENT);
        }
        err = lethe_db_run(store->db, statement);
    }
    lethe_db_unlock(store->db);
    if (err) {
        return err;
    }
    pthread_mutex_lock(&store->lock);
    if (chunk->dirty && chunk->buffered == 0) {
        chunk->dirty = false;
        if (chunk->pins == 0) {
            lru_append(store, chunk);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return LETHE_OK;
}

void lethe_map_forget(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    while (content->chunks) {
        struct lethe_chunk *chunk = content->chunks;

        if (!chunk->dirty && chunk->pins == 0) {
            lru_remove(store, chunk);
        }
        atomic_fetch_sub(&content->buffered, chunk->buffered);
        chunk_free(store, chunk);
    }
}
