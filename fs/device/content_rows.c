/* SPDX-License-Identifier: MIT */
/* The rows of contents: the table local, and limit and data in the table chunk (idx -1). */
#include "fs/device/content_private.h"

#include <string.h>

static enum lethe_err read_attributes(struct lethe_content *content)
{
    struct lethe_db *db = content->store->db;
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err =
        lethe_db_statement(db, "SELECT map FROM chunk WHERE content = ? AND idx = -1", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
    err = lethe_db_step(db, statement, &row);
    if (!err && row) {
        const uint8_t *map = sqlite3_column_blob(statement, 0);

        if (sqlite3_column_bytes(statement, 0) != 16) {
            err = LETHE_ERR_FORMAT;
        } else {
            content->limit = lethe_get_u64(map);
            content->data = lethe_get_u64(map + 8);
        }
        sqlite3_reset(statement);
    }
    return err;
}

enum lethe_err lethe_content_row_load(struct lethe_content *content, bool *found, struct lethe_id *base)
{
    struct lethe_db *db = content->store->db;
    sqlite3_stmt *statement;
    uint64_t used;
    bool row;
    enum lethe_err err = lethe_db_statement(
        db, "SELECT state, size, base, epoch, used, cached FROM local WHERE content = ?", &statement);

    *found = false;
    *base = (struct lethe_id){{0}};
    if (err) {
        return err;
    }
    sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
    err = lethe_db_step(db, statement, &row);
    if (err || !row) {
        return err;
    }
    *found = true;
    content->state = (enum lethe_content_state)sqlite3_column_int(statement, 0);
    atomic_store(&content->size, (uint64_t)sqlite3_column_int64(statement, 1));
    content->epoch = (uint64_t)sqlite3_column_int64(statement, 3);
    used = (uint64_t)sqlite3_column_int64(statement, 4);
    atomic_store(&content->used_stored, used);
    atomic_store(&content->used, used);
    content->cached = (uint64_t)sqlite3_column_int64(statement, 5);
    if (sqlite3_column_type(statement, 2) == SQLITE_BLOB) {
        if (sqlite3_column_bytes(statement, 2) != sizeof base->bytes) {
            err = LETHE_ERR_FORMAT;
        } else {
            memcpy(base->bytes, sqlite3_column_blob(statement, 2), sizeof base->bytes);
        }
    }
    sqlite3_reset(statement);
    if (used < content->store->clock_floor) {
        content->cached = 0;
    }
    if (content->state < LETHE_CONTENT_MUTABLE || content->state > LETHE_CONTENT_VAULTED ||
        atomic_load(&content->size) > LETHE_CONTENT_MAX ||
        (content->state == LETHE_CONTENT_VAULTED && !lethe_id_is_zero(base))) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err && content->state == LETHE_CONTENT_VAULTED) {
        content->limit = content->data = blocks_of(atomic_load(&content->size));
    }
    return err ? err : read_attributes(content);
}

static enum lethe_err write_attributes(struct lethe_content *content)
{
    struct lethe_db *db = content->store->db;
    uint64_t all = content->state == LETHE_CONTENT_VAULTED ? blocks_of(atomic_load(&content->size)) : 0;
    bool usual = content->limit == all && content->data == all;
    sqlite3_stmt *statement;
    uint8_t map[16];
    enum lethe_err err;

    if (usual) {
        err = lethe_db_statement(db, "DELETE FROM chunk WHERE content = ? AND idx = -1", &statement);
    } else {
        err = lethe_db_statement(db, "INSERT OR REPLACE INTO chunk(content, idx, map) VALUES(?, -1, ?)",
                                 &statement);
    }
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        if (!usual) {
            lethe_set_u64(map, content->limit);
            lethe_set_u64(map + 8, content->data);
            sqlite3_bind_blob(statement, 2, map, sizeof map, SQLITE_TRANSIENT);
        }
        err = lethe_db_run(db, statement);
    }
    return err;
}

enum lethe_err lethe_content_row_store(struct lethe_content *content)
{
    struct lethe_db *db = content->store->db;
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db,
                             "INSERT OR REPLACE INTO local(content, state, size, base, epoch, used, cached)"
                             " VALUES(?, ?, ?, ?, ?, ?, ?)",
                             &statement);
    if (!err) {
        uint64_t used = atomic_load(&content->used);

        atomic_store(&content->used_stored, used);
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        sqlite3_bind_int(statement, 2, (int)content->state);
        sqlite3_bind_int64(statement, 3, (int64_t)atomic_load(&content->size));
        if (content->base) {
            sqlite3_bind_blob(statement, 4, content->base->id.bytes, sizeof content->base->id.bytes,
                              SQLITE_STATIC);
        }
        sqlite3_bind_int64(statement, 5, (int64_t)content->epoch);
        sqlite3_bind_int64(statement, 6, (int64_t)used);
        sqlite3_bind_int64(statement, 7, (int64_t)content->cached);
        err = lethe_db_run(db, statement);
    }
    if (!err) {
        err = write_attributes(content);
    }
    lethe_db_unlock(db);
    return err;
}

enum lethe_err lethe_content_rows_delete(struct lethe_content *content)
{
    struct lethe_db *db = content->store->db;
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "DELETE FROM local WHERE content = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        err = lethe_db_run(db, statement);
    }
    if (!err) {
        err = lethe_db_statement(db, "DELETE FROM chunk WHERE content = ?", &statement);
    }
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->id.bytes, sizeof content->id.bytes, SQLITE_STATIC);
        err = lethe_db_run(db, statement);
    }
    lethe_db_unlock(db);
    return err;
}
