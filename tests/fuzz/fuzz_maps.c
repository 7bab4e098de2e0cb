/* SPDX-License-Identifier: MIT */
/*
 * Rows of the device's database as somebody might have made them: a chunk's map (first byte even: refused, or
 * stored again and the same when read back), or the counts of a group of slots (odd: refused, or they can be
 * worked with).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/device/content_private.h"
#include "lethe/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lethe_db *db;
static struct lethe_contents *store;

static void be_quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static void start(void)
{
    static const uint8_t bytes[LETHE_KEY_BYTES] = {5};
    char folder[] = "/tmp/lethe-fuzz-XXXXXX", path[64];
    struct lethe_secret *key;

    lethe_log_set_sink(be_quiet, NULL);
    if (lethe_seal_start() || !mkdtemp(folder) || lethe_secret_new(bytes, &key)) {
        abort();
    }
    snprintf(path, sizeof path, "%s/db", folder);
    store = calloc(1, sizeof *store);
    if (!store || lethe_db_open(path, key, true, &db)) {
        abort();
    }
    for (const char *const *suffix = (const char *const[]){"", "-wal", ".lock", NULL}; *suffix; suffix++) {
        snprintf(path, sizeof path, "%s/db%s", folder, *suffix);
        (void)unlink(path); /* nothing is ever committed */
    }
    (void)rmdir(folder);
    /* As much of a store as maps need. */
    store->db = db;
    store->generation = 1;
    pthread_mutex_init(&store->lock, NULL);
}

/* Runs sql with three parameters: the zero id or arena 0, a number, the bytes. */
static void insert(const char *sql, bool chunk, int64_t number, const uint8_t *bytes, size_t len)
{
    static const struct lethe_id id;
    sqlite3_stmt *statement;

    if (lethe_db_statement(db, sql, &statement)) {
        abort();
    }
    if (chunk) {
        sqlite3_bind_blob(statement, 1, id.bytes, sizeof id.bytes, SQLITE_STATIC);
    } else {
        sqlite3_bind_int64(statement, 1, 0);
    }
    sqlite3_bind_int64(statement, 2, number);
    sqlite3_bind_blob64(statement, 3, len ? bytes : (const uint8_t *)"", len, SQLITE_STATIC);
    if (lethe_db_run(db, statement)) {
        abort();
    }
}

static void forget(struct lethe_content *content)
{
    pthread_mutex_lock(&store->lock);
    lethe_map_forget(content);
    pthread_mutex_unlock(&store->lock);
}

static void try_map(struct lethe_content *content)
{
    struct lethe_entry before[LETHE_CHUNK_BLOCKS], old;
    struct lethe_chunk *chunk;

    if (lethe_map_pin(content, 0, &chunk)) {
        return;
    }
    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS; i++) {
        before[i] = lethe_map_entry(chunk, i);
        if (before[i].kind > KIND_ABSENT ||
            (before[i].kind == KIND_SLOT && (before[i].length == 0 || before[i].length > BLOCK))) {
            abort();
        }
        (void)lethe_block_is_data(chunk, i);
    }
    if (lethe_map_writable(chunk, false)) {
        abort();
    }
    lethe_map_set(chunk, 0, &before[0], &old);
    before[0] = lethe_map_entry(chunk, 0);
    if (lethe_map_store(chunk)) {
        abort();
    }
    lethe_map_unpin(chunk);
    forget(content);
    if (lethe_map_pin(content, 0, &chunk)) {
        abort();
    }
    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS; i++) {
        struct lethe_entry after = lethe_map_entry(chunk, i);

        if (after.kind != before[i].kind || after.arena != before[i].arena ||
            after.length != before[i].length || after.slot != before[i].slot ||
            after.sequence != before[i].sequence || memcmp(after.tag, before[i].tag, sizeof after.tag) != 0) {
            abort();
        }
    }
    lethe_map_unpin(chunk);
}

static void try_slots(void)
{
    struct lethe_slots *slots;
    uint32_t first = 0, count, refs;

    if (lethe_slots_open(db, 0, true, &slots)) {
        return;
    }
    if (lethe_slots_take(slots, 7, &first, &count) == LETHE_OK) {
        if (lethe_slots_refs(slots, first, &refs) || refs != 1) {
            abort();
        }
        (void)!lethe_slots_share(slots, first);
        lethe_slots_drop(slots, first);
        lethe_slots_drop(slots, first);
        lethe_slots_drop(slots, 1023);
        if (lethe_slots_store(slots)) {
            abort();
        }
        (void)lethe_slots_committed(slots);
    }
    lethe_slots_close(slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lethe_content *content;

    if (!db) {
        start();
    }
    if (size < 2) {
        return 0;
    }
    lethe_db_lock(db);
    if (lethe_db_begin(db)) {
        abort();
    }
    if (data[0] & 1) {
        insert("INSERT INTO slots(arena, grp, free, refs) VALUES(?, 0, ?, ?)", false, 4 * (int64_t)data[1],
               data + 2, size - 2);
    } else {
        insert("INSERT INTO chunk(content, idx, map) VALUES(?, ?, ?)", true, 0, data + 2, size - 2);
    }
    lethe_db_unlock(db);
    if (data[0] & 1) {
        try_slots();
    } else {
        content = calloc(1, sizeof *content);
        if (!content) {
            abort();
        }
        content->store = store;
        content->limit = data[1] % (LETHE_CHUNK_BLOCKS + 1);
        try_map(content);
        forget(content);
        free(content);
    }
    lethe_db_lock(db);
    if (lethe_db_end(db, false)) {
        abort();
    }
    lethe_db_unlock(db);
    return 0;
}
