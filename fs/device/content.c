/* SPDX-License-Identifier: MIT */
/* clang-format off */
/*
 * The content store: opening and closing. (The life of contents: content_refs.c. Their rows: content_rows.c.)
 *
 * Layout of chunk.map (integers little-endian), for the 64 blocks of 16 KiB of chunk idx >= 0:
 *   one byte, 1 or 3: all 64 entries are of this kind; else n entries of 36 bytes, n <= 64, the others are kind 0:
 *     kind u8 | arena u8 | length u16 | generation u32 | slot u32 | sequence u64 | tag 16 bytes
 *   kind 0: nothing of its own. Below the content's limit the block is the base's (mutable, frozen) or in the vault
 *           (vaulted); from the limit on it is a hole.
 *   kind 1: a hole: reads as zeros. kind 3: absent, in the vault. For these two all other bytes are zero.
 *   kind 2: length sealed bytes (a multiple of 4096) at the start of that slot; what lies behind reads as zeros.
 *           generation: which cache file it is (arena 1), 0 for arena 0.
 * chunk.map of idx -1: limit u64 (in blocks) | number of blocks that are no holes u64. Without this row both are the
 *   number of blocks of the size for a vaulted content, and 0 for others.
 * slots.refs: 1 or 2, the bytes of each count | counts of the slots of the group, zeros at the end left out.
 * local.cached: blocks in the cache arena. local.used: a clock that ticks with every use.
 * local.epoch of a vaulted content: 1 while some of its blocks are still in arena 0, else 0.
 * Config: blocks.mounts (how many mounts there were), blocks.salts.N (16 bytes for each of mounts 256 N and on),
 *   cache.generation, cache.identity (sequence and tag of slot 0 of the cache arena), cache.floor (used values below
 *   it are from before the present generation: nothing of those is cached).
 *
 * Invariants
 *   1. Bytes of the last block behind the size are zeros; blocks behind it have no entry; limit is not above it.
 *   2. A slot that a committed map names is not written before the commit that drops it (arena 0).
 *   3. Slots that the transaction names are durable before COMMIT (arena 0).
 *   4. Mutable and frozen contents name slots of arena 0 alone. Slots of arena 1 are never shared.
 *   5. A base is vaulted, so it has no base itself: content locks are taken child first, then base.
 *   6. Whoever changes maps holds the maps lock shared; prepare holds it alone: what it writes is one moment.
 *   7. Rows are written under the gate only: fill, eviction and flush work without it and change memory alone.
 * Locks, in order: gate, maps, content, store, database. Nobody calls in here with the database lock held.
 */
/* clang-format on */
#include "fs/device/content_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "fs/spares.h"
#include "lethe/log.h"

#define SPARE_BYTES (64u << 20)
#define POOL_BLOCKS 2048u /* 32 MiB of plaintext */
#define SALTS_ROW 256u
#define MOUNT_BITS 40

static void random_bytes(void *out, size_t len)
{
    const struct lethe_random *random = lethe_random_system();

    random->fill(random->context, out, len);
}

/* --- opening --- */

static enum lethe_err load_salts(struct lethe_contents *store)
{
    struct lethe_buf buf = {0};
    int64_t mounts;
    char name[40];
    enum lethe_err err = lethe_db_get_int(store->db, "blocks.mounts", 0, &mounts);

    if (err) {
        return err;
    }
    if (mounts < 0 || mounts >= (int64_t)1 << (63 - MOUNT_BITS)) {
        return LETHE_ERR_FORMAT;
    }
    store->mounts = (size_t)mounts + 1;
    store->salts = calloc(store->mounts, sizeof *store->salts);
    if (!store->salts) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t at = 0; at <= (size_t)mounts && !err; at += SALTS_ROW) {
        size_t n = store->mounts - at < SALTS_ROW ? store->mounts - at : SALTS_ROW;
        bool last = at + n == store->mounts;

        snprintf(name, sizeof name, "blocks.salts.%zu", at / SALTS_ROW);
        lethe_buf_reset(&buf);
        if (!(last && n == 1)) {
            err = lethe_db_get_blob(store->db, name, &buf);
        }
        if (!err && buf.len != (n - last) * 16) {
            err = LETHE_ERR_FORMAT;
        }
        if (!err && buf.len > 0) {
            memcpy(store->salts[at], buf.data, buf.len);
        }
        if (!err && last) {
            random_bytes(store->salts[mounts], 16);
            err = lethe_db_set_blob(store->db, name, store->salts[at], n * 16);
        }
    }
    lethe_buf_release(&buf);
    atomic_store(&store->sequence, (uint64_t)mounts << MOUNT_BITS);
    return err ? err : lethe_db_set_int(store->db, "blocks.mounts", mounts + 1);
}

static enum lethe_err load_clock(struct lethe_contents *store)
{
    sqlite3_stmt *statement;
    int64_t floor_value;
    bool row;
    enum lethe_err err = lethe_db_get_int(store->db, "cache.floor", 0, &floor_value);

    if (!err) {
        err = lethe_db_statement(store->db, "SELECT max(used) FROM local WHERE cached > 0", &statement);
    }
    if (!err) {
        err = lethe_db_step(store->db, statement, &row);
    }
    if (!err && row) {
        int64_t used = sqlite3_column_int64(statement, 0);

        store->clock_floor = (uint64_t)floor_value;
        atomic_store(&store->clock, (uint64_t)(used > floor_value ? used : floor_value) + 1);
        sqlite3_reset(statement);
    }
    return err;
}

/* Slot 0 of the cache arena holds a sealed block that the database knows: another file is no cache of ours.
 */
static enum lethe_err check_identity(struct lethe_contents *store, bool *ours)
{
    uint8_t bytes[UNIT];
    struct lethe_buf buf = {0};
    struct lethe_entry entry = {.kind = KIND_SLOT, .arena = ARENA_CACHE, .length = UNIT};
    int64_t generation;
    enum lethe_err err = lethe_db_get_int(store->db, "cache.generation", 0, &generation);

    *ours = false;
    if (!err && (generation < 0 || generation > UINT32_MAX)) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        store->generation = (uint32_t)generation;
        err = lethe_db_get_blob(store->db, "cache.identity", &buf);
        if (err == LETHE_ERR_NOT_FOUND) {
            return LETHE_OK;
        }
    }
    if (!err && buf.len != 8 + LETHE_TAG_BYTES) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        entry.sequence = lethe_get_u64(buf.data);
        memcpy(entry.tag, buf.data + 8, LETHE_TAG_BYTES);
        *ours = lethe_arena_read(store->arenas[ARENA_CACHE], 0, bytes, UNIT) == LETHE_OK &&
                lethe_block_open(store, &entry, bytes) == LETHE_OK;
    }
    lethe_buf_release(&buf);
    return err;
}

static enum lethe_err new_identity(struct lethe_contents *store)
{
    uint8_t plain[UNIT] = {0}, cipher[UNIT], identity[8 + LETHE_TAG_BYTES];
    uint64_t sequence = atomic_fetch_add(&store->sequence, 1);
    enum lethe_err err = lethe_arena_truncate(store->arenas[ARENA_CACHE], 0);

    lethe_set_u64(identity, sequence);
    lethe_block_seal(store, sequence, plain, UNIT, cipher, identity + 8);
    if (!err) {
        err = lethe_arena_write(store->arenas[ARENA_CACHE], 0, cipher, UNIT);
    }
    if (!err) {
        err = lethe_arena_sync(store->arenas[ARENA_CACHE]);
    }
    lethe_db_lock(store->db);
    store->generation++;
    store->clock_floor = atomic_load(&store->clock);
    if (!err) {
        err = lethe_db_set_int(store->db, "cache.generation", store->generation);
    }
    if (!err) {
        err = lethe_db_set_int(store->db, "cache.floor", (int64_t)store->clock_floor);
    }
    if (!err) {
        err = lethe_db_set_blob(store->db, "cache.identity", identity, sizeof identity);
    }
    lethe_db_unlock(store->db);
    return err;
}

/* Slot 0 of the cache arena is the identity's. */
static enum lethe_err open_slots(struct lethe_contents *store, bool ours)
{
    uint32_t first, count;
    enum lethe_err err = lethe_slots_open(store->db, ARENA_STATE, true, &store->slots[ARENA_STATE]);

    if (!err) {
        err = lethe_slots_open(store->db, ARENA_CACHE, false, &store->slots[ARENA_CACHE]);
    }
    if (!err && !ours) {
        err = lethe_slots_clear(store->slots[ARENA_CACHE]);
        if (!err) {
            err = lethe_slots_take(store->slots[ARENA_CACHE], 1, &first, &count);
        }
        if (!err) {
            err = lethe_slots_store(store->slots[ARENA_CACHE]);
        }
    }
    /* After a crash slots may have space that nothing counts. */
    for (unsigned a = 0; a < 2 && !err; a++) {
        err = lethe_arena_truncate(store->arenas[a], lethe_slots_end(store->slots[a]));
        if (!err && lethe_arena_allocated(store->arenas[a]) > lethe_slots_used(store->slots[a]) * BLOCK) {
            err = lethe_slots_fatten(store->slots[a]);
        }
    }
    return err;
}

static enum lethe_err copy_paths(struct lethe_contents *store)
{
    const char *path = sqlite3_db_filename(lethe_db_handle(store->db), "main");

    if (path && *path) {
        size_t len = strlen(path);

        store->database_path = malloc(len + 1);
        store->log_path = malloc(len + 5);
        if (!store->database_path || !store->log_path) {
            return LETHE_ERR_NOMEM;
        }
        memcpy(store->database_path, path, len + 1);
        memcpy(store->log_path, path, len);
        memcpy(store->log_path + len, "-wal", 5);
    }
    return LETHE_OK;
}

/* Vaulted contents whose blocks a former mount did not get to move. */
static enum lethe_err list_moving(struct lethe_contents *store)
{
    struct lethe_buf ids = {0};
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    lethe_db_lock(store->db);
    err =
        lethe_db_statement(store->db, "SELECT content FROM local WHERE state = 2 AND epoch > 0", &statement);
    while (!err) {
        err = lethe_db_step(store->db, statement, &row);
        if (err || !row) {
            break;
        }
        if (sqlite3_column_bytes(statement, 0) == sizeof(struct lethe_id)) {
            lethe_buf_put(&ids, sqlite3_column_blob(statement, 0), sizeof(struct lethe_id));
        }
    }
    lethe_db_unlock(store->db);
    if (!err) {
        err = lethe_buf_status(&ids);
    }
    for (size_t at = 0; at < ids.len && !err; at += sizeof(struct lethe_id)) {
        struct lethe_content *content;
        struct lethe_id id;

        memcpy(id.bytes, ids.data + at, sizeof id.bytes);
        err = lethe_content_get(store, &id, 0, &content);
        if (!err) {
            pthread_mutex_lock(&store->lock);
            lethe_content_list_moving(content);
            lethe_content_put_locked(content);
            pthread_mutex_unlock(&store->lock);
        }
    }
    lethe_buf_release(&ids);
    return err;
}

enum lethe_err lethe_contents_open(struct lethe_db *db, const struct lethe_secret *key,
                                   const struct lethe_contents_options *options, struct lethe_contents **out)
{
    struct lethe_contents *store = calloc(1, sizeof *store);
    pthread_condattr_t attributes;
    enum lethe_err err;
    bool ours = false;

    *out = NULL;
    if (!store) {
        return LETHE_ERR_NOMEM;
    }
    store->db = db;
    store->limit = options->limit;
    store->reserve = options->reserve;
    pthread_rwlock_init(&store->maps, NULL);
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&store->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    err = lethe_secret_derive(key, "lethefs device blocks", NULL, 0, &store->key);
    store->spares = lethe_spares_new(SPARE_BYTES);
    if (!err) {
        store->pool = lethe_pool_of_blocks(POOL_BLOCKS);
        err = store->pool ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    if (!err) {
        err = lethe_arena_open(options->state_dir, false, false, &store->arenas[ARENA_STATE]);
    }
    if (!err) {
        err = lethe_arena_open(options->cache_dir, true, true, &store->arenas[ARENA_CACHE]);
    }
    if (!err && lethe_arena_same(store->arenas[ARENA_STATE], store->arenas[ARENA_CACHE])) {
        lethe_log(LETHE_LOG_ERROR, "the state folder and the cache folder must not be the same");
        err = LETHE_ERR_ARG;
    }
    if (err) {
        goto out;
    }
    lethe_db_lock(db);
    err = copy_paths(store);
    if (!err) {
        err = load_salts(store);
    }
    if (!err) {
        err = load_clock(store);
    }
    if (!err) {
        err = check_identity(store, &ours);
    }
    /* Durable before the first block is sealed: see content_seal.c. */
    if (!err) {
        err = lethe_db_commit(db);
    }
    lethe_db_unlock(db);
    if (!err && !ours) {
        err = new_identity(store);
    }
    if (!err) {
        err = open_slots(store, ours);
    }
    if (!err && !ours) {
        lethe_db_lock(db);
        err = lethe_db_commit(db);
        lethe_db_unlock(db);
    }
    if (err) {
        goto out;
    }
    err = list_moving(store);
    if (err) {
        goto out;
    }
    pthread_mutex_lock(&store->lock);
    lethe_contents_look_up_database(store);
    pthread_mutex_unlock(&store->lock);
    *out = store;
    store = NULL;
out:
    lethe_contents_close(store);
    return err;
}

void lethe_contents_close(struct lethe_contents *store)
{
    if (!store) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < CONTENT_BUCKETS; i++) {
        while (store->contents[i]) {
            struct lethe_content *content = store->contents[i];

            store->contents[i] = content->hash_next;
            lethe_map_forget(content);
            lethe_content_free(content);
        }
    }
    pthread_mutex_unlock(&store->lock);
    lethe_lent_release(store);
    lethe_slots_close(store->slots[ARENA_STATE]);
    lethe_slots_close(store->slots[ARENA_CACHE]);
    lethe_arena_close(store->arenas[ARENA_STATE]);
    lethe_arena_close(store->arenas[ARENA_CACHE]);
    lethe_spares_free(store->spares);
    lethe_blocks_free(store->pool);
    lethe_secret_free(store->key);
    while (store->scratch_count > 0) {
        free(store->scratch[--store->scratch_count]);
    }
    free(store->salts);
    free(store->database_path);
    free(store->log_path);
    pthread_cond_destroy(&store->moved);
    pthread_mutex_destroy(&store->lock);
    pthread_rwlock_destroy(&store->maps);
    free(store);
}

struct lethe_spares *lethe_contents_spares(const struct lethe_contents *store)
{
    return store->spares;
}

void lethe_contents_set_pressure(struct lethe_contents *store, bool (*pressure)(void *context), void *context)
{
    pthread_mutex_lock(&store->lock);
    store->pressure = pressure;
    store->pressure_context = context;
    pthread_mutex_unlock(&store->lock);
}

void lethe_contents_set_next_epoch(struct lethe_contents *store, uint64_t epoch)
{
    pthread_mutex_lock(&store->lock);
    store->next_epoch = epoch;
    store->written = 0;
    pthread_mutex_unlock(&store->lock);
}

bool lethe_contents_are_gone(struct lethe_contents *store)
{
    return lethe_arena_is_gone(store->arenas[ARENA_STATE]);
}

uint64_t lethe_contents_next_epoch(struct lethe_contents *store)
{
    uint64_t epoch;

    pthread_mutex_lock(&store->lock);
    epoch = store->next_epoch;
    pthread_mutex_unlock(&store->lock);
    return epoch;
}
