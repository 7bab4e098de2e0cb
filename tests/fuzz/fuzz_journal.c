/* SPDX-License-Identifier: MIT */
/*
 * What the vault tells of the tree, behind a seal whose key the fuzzer has. The first byte chooses: the head,
 * a segment's header, the records of a segment, a snapshot's root, its rows, a segment of a file. Records,
 * rows and frames may also come as the compressed payload itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/vault/frame.h"
#include "fs/vault/restore.h"
#include "tests/fuzz/memory_vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct lethe_id root_id = {{3}}, part_id = {{4}};

static struct lethe_vault *vault;
static struct memory_store *memory;
static struct lethe_db *db;

static void make_database(void)
{
    static const uint8_t bytes[LETHE_KEY_BYTES] = {5};
    char folder[] = "/tmp/lethe-fuzz-XXXXXX", path[64];
    struct lethe_secret *key;

    if (!mkdtemp(folder) || lethe_secret_new(bytes, &key)) {
        abort();
    }
    snprintf(path, sizeof path, "%s/db", folder);
    if (lethe_db_open(path, key, true, &db)) {
        abort();
    }
    for (const char *const *suffix = (const char *const[]){"", "-wal", ".lock", NULL}; *suffix; suffix++) {
        snprintf(path, sizeof path, "%s/db%s", folder, *suffix);
        (void)unlink(path); /* it lives on without names */
    }
    (void)rmdir(folder);
    lethe_db_lock(db);
    lethe_db_sessions_enable(db, false);
    lethe_db_unlock(db);
}

static void put(const char *key, enum lethe_object_kind kind, const struct lethe_id *id,
                const struct lethe_id *content, uint64_t position, const uint8_t *bytes, size_t len)
{
    struct lethe_buf sealed = {0};

    if (lethe_vault_seal(vault, kind, id, content, position, bytes, len, &sealed) ||
        lethe_store_put(lethe_vault_store(vault), key, sealed.data, sealed.len)) {
        abort();
    }
    lethe_buf_release(&sealed);
}

static void put_object(enum lethe_object_kind kind, const struct lethe_id *id, const struct lethe_id *content,
                       uint64_t position, const uint8_t *bytes, size_t len)
{
    char key[LETHE_STORE_KEY_MAX + 1];

    lethe_vault_object_key(kind, id, key);
    put(key, kind, id, content, position, bytes, len);
}

static void try_head(const uint8_t *bytes, size_t len)
{
    struct lethe_head head;

    put("head", LETHE_OBJECT_HEAD, NULL, NULL, 0, bytes, len);
    (void)!lethe_head_get(vault, &head, NULL);
}

/* The chain's hash is made to fit. */
static void try_header(const uint8_t *bytes, size_t len)
{
    const uint64_t epoch = len >= 9 ? lethe_get_u64(bytes + 1) : 1;
    struct lethe_segment segment;
    char key[LETHE_STORE_KEY_MAX + 1];
    uint8_t both[64] = {0}, chain[32];

    lethe_vault_journal_key(epoch, &root_id, key);
    put(key, LETHE_OBJECT_JOURNAL, &root_id, NULL, epoch, bytes, len);
    if (len >= 81) {
        memcpy(both, bytes + 49, 32); /* previous_chain */
    }
    lethe_hash(memory->objects[0].data, memory->objects[0].len, both + 32);
    lethe_hash(both, sizeof both, chain);
    if (lethe_segment_get(vault, epoch, &root_id, chain, &segment) == LETHE_OK) {
        if (segment.epoch != epoch) {
            abort();
        }
        lethe_segment_release(&segment);
    }
}

/* One part, of raw bytes or (choice odd) as its payload. */
static struct lethe_segment_part put_part(enum lethe_object_kind kind, uint8_t choice, const uint8_t *bytes,
                                          size_t len)
{
    struct lethe_buf raw = {0}, payload = {0};
    struct lethe_segment_part part = {.id = part_id};

    lethe_buf_put(&raw, bytes, len);
    if (choice & 1 || len == 0) { /* nobody packs nothing */
        lethe_buf_put(&payload, bytes, len);
    } else if (lethe_frame_pack(&raw, &payload)) {
        abort();
    }
    put_object(kind, &part_id, &root_id, 1, payload.data, payload.len);
    part.stored = memory->objects[memory->count - 1].len;
    lethe_buf_release(&raw);
    lethe_buf_release(&payload);
    return part;
}

/* Whatever came of it, the next input finds empty tables. */
static void empty_tables(void)
{
    lethe_db_lock(db);
    if (sqlite3_exec(lethe_db_handle(db),
                     "DELETE FROM inode; DELETE FROM dentry; DELETE FROM xattr; DELETE FROM content;"
                     "DELETE FROM piece; DELETE FROM object",
                     NULL, NULL, NULL) != SQLITE_OK) {
        abort();
    }
    lethe_db_unlock(db);
}

static void try_records(uint8_t choice, const uint8_t *bytes, size_t len)
{
    struct lethe_segment_part part = put_part(LETHE_OBJECT_JOURNAL, choice, bytes, len);
    const struct lethe_segment segment = {.epoch = 1, .parts = &part, .count = 1};

    const struct lethe_frame_ref ref = {.kind = LETHE_OBJECT_JOURNAL, .owner = root_id, .index = 1, .part = part};
    struct lethe_frame_reader *reader;

    if (lethe_frame_reader_new(vault, &ref, 1, &reader)) {
        abort();
    }
    (void)!lethe_segment_apply(db, &segment, reader, 0);
    lethe_frame_reader_free(reader);
    empty_tables();
}

static enum lethe_err count_object(void *context, const struct lethe_id *object)
{
    (void)object;
    ++*(size_t *)context;
    return LETHE_OK;
}

static void try_root(const uint8_t *bytes, size_t len)
{
    const struct lethe_snapshot_ref ref = {.epoch = len >= 9 ? lethe_get_u64(bytes + 1) : 0,
                                           .seq = len >= 17 ? lethe_get_u64(bytes + 9) : 0,
                                           .id = root_id};
    size_t count = 0;

    put_object(LETHE_OBJECT_SNAPSHOT, &root_id, NULL, 0, bytes, len);
    if (lethe_snapshot_objects(vault, &ref, count_object, &count) == LETHE_OK && count > len) {
        abort();
    }
}

/* Whatever rows there are then, contents that they name are looked up. */
static void look_up(void)
{
    sqlite3_stmt *statement;
    struct lethe_record record;
    struct lethe_id id = {{0}};
    bool row = false;

    lethe_db_lock(db);
    if (!lethe_db_statement(db, "SELECT id FROM content LIMIT 1", &statement) &&
        !lethe_db_step(db, statement, &row) && row) {
        row = sqlite3_column_bytes(statement, 0) == (int)sizeof id.bytes;
        if (row) {
            memcpy(id.bytes, sqlite3_column_blob(statement, 0), sizeof id.bytes);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    if (row && lethe_record_load(db, &id, &record) == LETHE_OK) {
        struct lethe_buf out = {0};

        for (size_t i = 0; i < record.count; i++) {
            (void)!lethe_restore_piece(vault, &record.pieces[i], &out);
        }
        lethe_buf_release(&out);
        lethe_record_release(&record);
    }
}

static void try_rows(uint8_t choice, const uint8_t *bytes, size_t len)
{
    const struct lethe_snapshot_ref ref = {.epoch = 1, .seq = 1, .id = root_id};
    struct lethe_segment_part part = put_part(LETHE_OBJECT_SNAPSHOT, choice, bytes, len);
    struct lethe_buf root = {0};

    lethe_buf_put_u8(&root, 1);
    lethe_buf_put_u64(&root, ref.epoch);
    lethe_buf_put_u64(&root, ref.seq);
    lethe_frame_list_write(&root, &part, 1);
    put_object(LETHE_OBJECT_SNAPSHOT, &root_id, NULL, 0, root.data, root.len);
    lethe_buf_release(&root);
    if (lethe_snapshot_load(vault, db, &ref) == LETHE_OK) {
        look_up();
    }
    empty_tables();
}

static void try_segment(uint8_t choice, const uint8_t *bytes, size_t len)
{
    struct lethe_buf out = {0};
    uint64_t length = len >= 4 ? lethe_get_u32(bytes) : 0;

    if (len >= 4 &&
        lethe_restore_segment(choice & 1 ? LETHE_PIECE_ZSTD : LETHE_PIECE_RAW, bytes + 4, len - 4, length,
                              &out) == LETHE_OK &&
        out.len != length) {
        abort();
    }
    lethe_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *bytes = data + 1;
    size_t len = size - 1;

    if (size < 1) {
        return 0;
    }
    if (!vault) {
        memory = memory_vault(&vault);
        make_database();
    }
    switch (data[0] / 2 % 6) {
    case 0:
        try_head(bytes, len);
        break;
    case 1:
        try_header(bytes, len);
        break;
    case 2:
        try_records(data[0], bytes, len);
        break;
    case 3:
        try_root(bytes, len);
        break;
    case 4:
        try_rows(data[0], bytes, len);
        break;
    default:
        try_segment(data[0], bytes, len);
        break;
    }
    memory_clear(memory);
    return 0;
}
