/* SPDX-License-Identifier: MIT */
#include "fs/vault/record.h"

#include <stdlib.h>
#include <string.h>

void lethe_record_release(struct lethe_record *record)
{
    free(record->pieces);
    lethe_buf_release(&record->file);
    *record = (struct lethe_record){0};
}

enum lethe_err lethe_record_add(struct lethe_record *record, const struct lethe_piece *piece)
{
    if (record->count == record->room) {
        size_t room = record->room ? record->room * 2 : 4;
        struct lethe_piece *pieces = reallocarray(record->pieces, room, sizeof *pieces);

        if (!pieces) {
            return LETHE_ERR_NOMEM;
        }
        record->pieces = pieces;
        record->room = room;
    }
    record->pieces[record->count++] = *piece;
    return LETHE_OK;
}

static enum lethe_err store_content(struct lethe_db *db, const struct lethe_record *record)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db,
                                            "INSERT INTO content(id, size, kind, reason, digest, width, height,"
                                            " error, samples, pair, alone) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                            &statement);

    if (err) {
        return err;
    }
    lethe_db_bind_id(statement, 1, &record->content);
    sqlite3_bind_int64(statement, 2, (int64_t)record->size);
    sqlite3_bind_int(statement, 3, (int)record->kind);
    sqlite3_bind_int(statement, 4, (int)record->reason);
    if (record->has_photo) {
        sqlite3_bind_blob(statement, 5, record->digest, sizeof record->digest, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 6, record->width);
        sqlite3_bind_int64(statement, 7, record->height);
        sqlite3_bind_int64(statement, 8, (int64_t)record->error);
        sqlite3_bind_int64(statement, 9, (int64_t)record->samples);
        lethe_db_bind_id(statement, 10, &record->pair);
        if (record->alone > 0) {
            sqlite3_bind_int64(statement, 11, (int64_t)record->alone);
        }
    }
    return lethe_db_run(db, statement);
}

static enum lethe_err store_piece(struct lethe_db *db, const struct lethe_record *record, size_t seq)
{
    const struct lethe_piece *piece = &record->pieces[seq];
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db,
                                            "INSERT INTO piece(content, seq, kind, start, length, object, offset,"
                                            " stored, origin, position) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                            &statement);

    if (err) {
        return err;
    }
    lethe_db_bind_id(statement, 1, &record->content);
    sqlite3_bind_int64(statement, 2, (int64_t)seq);
    sqlite3_bind_int(statement, 3, (int)piece->kind);
    sqlite3_bind_int64(statement, 4, (int64_t)piece->start);
    sqlite3_bind_int64(statement, 5, (int64_t)piece->length);
    lethe_db_bind_id(statement, 6, &piece->object);
    sqlite3_bind_int64(statement, 7, (int64_t)piece->offset);
    sqlite3_bind_int64(statement, 8, (int64_t)piece->stored);
    lethe_db_bind_id(statement, 9, &piece->origin);
    sqlite3_bind_int64(statement, 10, (int64_t)piece->position);
    err = lethe_db_run(db, statement);
    if (err) {
        return err;
    }
    err = lethe_db_statement(db,
                             "INSERT INTO object(id, kind, size, refs, dead) VALUES(?, ?, ?, 1, 0)"
                             " ON CONFLICT(id) DO UPDATE SET refs = refs + 1, dead = 0",
                             &statement);
    if (err) {
        return err;
    }
    lethe_db_bind_id(statement, 1, &piece->object);
    sqlite3_bind_int(statement, 2, (int)piece->object_kind);
    sqlite3_bind_int64(statement, 3, (int64_t)piece->object_size);
    return lethe_db_run(db, statement);
}

/* The lock is held. */
static enum lethe_err forget(struct lethe_db *db, const struct lethe_id *content)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db, "DELETE FROM upload WHERE content = ?", &statement);

    if (!err) {
        lethe_db_bind_id(statement, 1, content);
        err = lethe_db_run(db, statement);
    }
    return err;
}

enum lethe_err lethe_record_store(struct lethe_db *db, const struct lethe_record *record)
{
    enum lethe_err err, end;

    lethe_db_lock(db);
    err = lethe_db_begin(db);
    if (err) {
        goto out;
    }
    err = store_content(db, record);
    for (size_t i = 0; i < record->count && !err; i++) {
        err = store_piece(db, record, i);
    }
    err = err ? err : forget(db, &record->content);
    end = lethe_db_end(db, !err);
    err = err ? err : end;
out:
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err load_pieces(struct lethe_db *db, struct lethe_record *record)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err = lethe_db_statement(db,
                                            "SELECT p.kind, p.start, p.length, p.object, o.kind, o.size, p.offset,"
                                            " p.stored, p.origin, p.position FROM piece p"
                                            " JOIN object o ON o.id = p.object WHERE p.content = ? ORDER BY p.seq",
                                            &statement);

    if (err) {
        return err;
    }
    lethe_db_bind_id(statement, 1, &record->content);
    while (!(err = lethe_db_step(db, statement, &row)) && row) {
        struct lethe_piece piece = {
            .kind = (enum lethe_piece_kind)sqlite3_column_int(statement, 0),
            .start = (uint64_t)sqlite3_column_int64(statement, 1),
            .length = (uint64_t)sqlite3_column_int64(statement, 2),
            .object_kind = (enum lethe_object_kind)sqlite3_column_int(statement, 4),
            .object_size = (uint64_t)sqlite3_column_int64(statement, 5),
            .offset = (uint64_t)sqlite3_column_int64(statement, 6),
            .stored = (uint64_t)sqlite3_column_int64(statement, 7),
            .position = (uint64_t)sqlite3_column_int64(statement, 9),
        };

        if (!lethe_db_column_id(statement, 3, &piece.object) || !lethe_db_column_id(statement, 8, &piece.origin)) {
            err = LETHE_ERR_INTEGRITY;
        } else {
            err = lethe_record_add(record, &piece);
        }
        if (err) {
            sqlite3_reset(statement);
            break;
        }
    }
    return err;
}

enum lethe_err lethe_record_load(struct lethe_db *db, const struct lethe_id *content, struct lethe_record *record)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    *record = (struct lethe_record){.content = *content};
    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT size, kind, reason, digest, width, height, error, samples, pair, alone FROM content WHERE id = ?",
        &statement);
    if (err) {
        goto out;
    }
    lethe_db_bind_id(statement, 1, content);
    err = lethe_db_step(db, statement, &row);
    if (!err && !row) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (err) {
        goto out;
    }
    record->size = (uint64_t)sqlite3_column_int64(statement, 0);
    record->kind = (enum lethe_record_kind)sqlite3_column_int(statement, 1);
    record->reason = (enum lethe_reason)sqlite3_column_int(statement, 2);
    if (sqlite3_column_bytes(statement, 3) == (int)sizeof record->digest) {
        record->has_photo = lethe_db_column_id(statement, 8, &record->pair);
        memcpy(record->digest, sqlite3_column_blob(statement, 3), sizeof record->digest);
        record->width = (uint32_t)sqlite3_column_int64(statement, 4);
        record->height = (uint32_t)sqlite3_column_int64(statement, 5);
        record->error = (uint64_t)sqlite3_column_int64(statement, 6);
        record->samples = (uint64_t)sqlite3_column_int64(statement, 7);
        record->alone = (uint64_t)sqlite3_column_int64(statement, 9);
    }
    sqlite3_reset(statement);
    err = load_pieces(db, record);
out:
    lethe_db_unlock(db);
    if (err) {
        lethe_record_release(record);
    }
    return err;
}

enum lethe_err lethe_record_kind(struct lethe_db *db, const struct lethe_id *content, enum lethe_record_kind *kind)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT kind FROM content WHERE id = ?", &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, content);
        err = lethe_db_step(db, statement, &row);
        if (!err && row) {
            *kind = (enum lethe_record_kind)sqlite3_column_int(statement, 0);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err ? err : row ? LETHE_OK : LETHE_ERR_NOT_FOUND;
}

bool lethe_record_exists(struct lethe_db *db, const struct lethe_id *content)
{
    enum lethe_record_kind kind;

    return lethe_record_kind(db, content, &kind) == LETHE_OK;
}

static enum lethe_err find_digest(struct lethe_db *db, const char *sql, const uint8_t digest[32],
                                  struct lethe_record *record)
{
    sqlite3_stmt *statement;
    struct lethe_id id;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, sql, &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, digest, 32, SQLITE_STATIC);
        err = lethe_db_step(db, statement, &row);
        if (!err && (!row || !lethe_db_column_id(statement, 0, &id))) {
            err = LETHE_ERR_NOT_FOUND;
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err ? err : lethe_record_load(db, &id, record);
}

enum lethe_err lethe_record_find_replaced(struct lethe_db *db, const uint8_t digest[32], struct lethe_record *record)
{
    return find_digest(
        db, "SELECT c.id FROM content c JOIN dead d ON d.content = c.id WHERE c.digest = ? AND c.kind = 1 LIMIT 1",
        digest, record);
}

enum lethe_err lethe_record_find_photo(struct lethe_db *db, const uint8_t digest[32], struct lethe_record *record)
{
    return find_digest(db, "SELECT id FROM content WHERE digest = ? AND kind = 1 LIMIT 1", digest, record);
}

static enum lethe_err remove_rows(struct lethe_db *db, const struct lethe_id *content, uint64_t epoch)
{
    static const char *const steps[] = {
        "UPDATE object SET refs = refs - (SELECT count(*) FROM piece WHERE content = ?1 AND object = object.id)"
        " WHERE id IN (SELECT object FROM piece WHERE content = ?1)",
        "UPDATE object SET dead = ?2 WHERE refs <= 0 AND dead = 0 AND id IN (SELECT object FROM piece WHERE content = ?1)",
        "DELETE FROM piece WHERE content = ?1",
        "DELETE FROM content WHERE id = ?1",
        "DELETE FROM upload WHERE content = ?1",
    };
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < sizeof steps / sizeof *steps && !err; i++) {
        sqlite3_stmt *statement;

        err = lethe_db_statement(db, steps[i], &statement);
        if (!err) {
            lethe_db_bind_id(statement, 1, content);
            if (sqlite3_bind_parameter_count(statement) > 1) {
                sqlite3_bind_int64(statement, 2, (int64_t)epoch);
            }
            err = lethe_db_run(db, statement);
        }
    }
    return err;
}

enum lethe_err lethe_record_remove(struct lethe_db *db, const struct lethe_id *content, uint64_t epoch)
{
    enum lethe_err err, end;

    lethe_db_lock(db);
    err = lethe_db_begin(db);
    if (!err) {
        err = remove_rows(db, content, epoch);
        end = lethe_db_end(db, !err);
        err = err ? err : end;
    }
    lethe_db_unlock(db);
    return err;
}

bool lethe_record_is_damaged(const struct lethe_record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        if (record->pieces[i].kind == LETHE_PIECE_LOST) {
            return true;
        }
    }
    return false;
}

/* One number; id is bound when it is not NULL. */
static enum lethe_err ask_number(struct lethe_db *db, const char *sql, const struct lethe_id *id, uint64_t *out)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    *out = 0;
    lethe_db_lock(db);
    err = lethe_db_statement(db, sql, &statement);
    if (!err && id) {
        lethe_db_bind_id(statement, 1, id);
    }
    if (!err) {
        err = lethe_db_step(db, statement, &row);
        *out = row ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err;
}

enum lethe_err lethe_record_count_damaged(struct lethe_db *db, uint64_t *out)
{
    return ask_number(db,
                      "SELECT count(*) FROM local l WHERE l.state = 1 AND EXISTS(SELECT 1 FROM piece WHERE content ="
                      " l.content AND kind = 6) AND NOT EXISTS(SELECT 1 FROM dead WHERE content = l.content)",
                      NULL, out);
}

uint64_t lethe_record_inode(struct lethe_db *db, const struct lethe_id *content)
{
    uint64_t ino = 0;

    return ask_number(db, "SELECT coalesce(min(ino), 0) FROM inode WHERE content = ?", content, &ino) ? 0 : ino;
}

enum lethe_err lethe_record_note(struct lethe_db *db, const struct lethe_id *content, const struct lethe_piece *piece)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db,
                             "INSERT OR REPLACE INTO upload(content, start, length, kind, object, stored)"
                             " VALUES(?, ?, ?, ?, ?, ?)",
                             &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, content);
        sqlite3_bind_int64(statement, 2, (int64_t)piece->start);
        sqlite3_bind_int64(statement, 3, (int64_t)piece->length);
        sqlite3_bind_int(statement, 4, (int)piece->kind);
        lethe_db_bind_id(statement, 5, &piece->object);
        sqlite3_bind_int64(statement, 6, (int64_t)piece->stored);
        err = lethe_db_run(db, statement);
    }
    lethe_db_unlock(db);
    return err;
}

enum lethe_err lethe_record_noted(struct lethe_db *db, const struct lethe_id *content, uint64_t start, uint64_t length,
                                  struct lethe_piece *piece)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT kind, object, stored FROM upload WHERE content = ? AND start = ? AND length = ?", &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, content);
        sqlite3_bind_int64(statement, 2, (int64_t)start);
        sqlite3_bind_int64(statement, 3, (int64_t)length);
        err = lethe_db_step(db, statement, &row);
    }
    if (!err && row) {
        *piece = (struct lethe_piece){.kind = (enum lethe_piece_kind)sqlite3_column_int(statement, 0),
                                      .start = start,
                                      .length = length,
                                      .object_kind = LETHE_OBJECT_SEGMENT,
                                      .stored = (uint64_t)sqlite3_column_int64(statement, 2),
                                      .object_size = (uint64_t)sqlite3_column_int64(statement, 2),
                                      .origin = *content};
        row = lethe_db_column_id(statement, 1, &piece->object);
    }
    if (!err) {
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err ? err : row ? LETHE_OK : LETHE_ERR_NOT_FOUND;
}
