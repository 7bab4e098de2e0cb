/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: all rows of the journaled tables. A row in the body: u8 table, then its columns in order, each
 * as u8 type (0 NULL, 1 integer as zigzag varint, 2 blob or text as block).
 */
#include "fs/vault/frame.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

#define SNAPSHOT_FORMAT 1
#define SNAPSHOT_ROOT_MAX (16u << 20)

struct table {
    const char *select;
    const char *insert;
    int columns;
};

static const struct table tables[] = {
    {"SELECT ino, mode, uid, gid, nlink, rdev, size, atime, mtime, ctime, content, target FROM inode",
     "INSERT INTO inode(ino, mode, uid, gid, nlink, rdev, size, atime, mtime, ctime, content, target)"
     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
     12},
    {"SELECT parent, name, ino, cookie FROM dentry",
     "INSERT INTO dentry(parent, name, ino, cookie) VALUES(?, ?, ?, ?)", 4},
    {"SELECT ino, name, value FROM xattr", "INSERT INTO xattr(ino, name, value) VALUES(?, ?, ?)", 3},
    {"SELECT id, size, kind, reason, digest, width, height, error, samples, pair, alone FROM content",
     "INSERT INTO content(id, size, kind, reason, digest, width, height, error, samples, pair, alone)"
     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
     11},
    {"SELECT content, seq, kind, start, length, object, offset, stored, origin, position FROM piece",
     "INSERT INTO piece(content, seq, kind, start, length, object, offset, stored, origin, position)"
     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
     10},
    {"SELECT id, kind, size, refs, dead FROM object",
     "INSERT INTO object(id, kind, size, refs, dead) VALUES(?, ?, ?, ?, ?)", 5},
};
#define TABLES (sizeof tables / sizeof *tables)

/* The dumped parts, compressed, in memory until they are put. */
struct lethe_snapshot {
    uint64_t epoch, seq;
    struct lethe_buf *payloads;
    size_t count;
};

void lethe_snapshot_free(struct lethe_snapshot *snapshot)
{
    if (snapshot) {
        for (size_t i = 0; i < snapshot->count; i++) {
            lethe_buf_release(&snapshot->payloads[i]);
        }
        free(snapshot->payloads);
        free(snapshot);
    }
}

static enum lethe_err dump_part(struct lethe_snapshot *snapshot, struct lethe_buf *raw)
{
    struct lethe_buf *payloads;
    enum lethe_err err = lethe_buf_status(raw);

    if (err || raw->len == 0) {
        return err;
    }
    payloads = reallocarray(snapshot->payloads, snapshot->count + 1, sizeof *payloads);
    if (!payloads) {
        return LETHE_ERR_NOMEM;
    }
    snapshot->payloads = payloads;
    lethe_buf_init(&payloads[snapshot->count]);
    err = lethe_frame_pack(raw, &payloads[snapshot->count]);
    snapshot->count++;
    lethe_buf_reset(raw);
    return err;
}

static void dump_row(struct lethe_buf *raw, unsigned table, sqlite3_stmt *statement)
{
    lethe_buf_put_u8(raw, (uint8_t)table);
    for (int i = 0; i < tables[table].columns; i++) {
        int type = sqlite3_column_type(statement, i);

        if (type == SQLITE_NULL) {
            lethe_buf_put_u8(raw, 0);
        } else if (type == SQLITE_INTEGER) {
            int64_t value = sqlite3_column_int64(statement, i);

            lethe_buf_put_u8(raw, 1);
            lethe_buf_put_varint(raw, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
        } else {
            const void *bytes = sqlite3_column_blob(statement, i);

            lethe_buf_put_u8(raw, 2);
            lethe_buf_put_block(raw, bytes, (size_t)sqlite3_column_bytes(statement, i));
        }
    }
}

enum lethe_err lethe_snapshot_dump(struct lethe_db *db, uint64_t epoch, uint64_t seq,
                                   struct lethe_snapshot **out)
{
    struct lethe_snapshot *snapshot = calloc(1, sizeof *snapshot);
    struct lethe_buf raw = {0};
    enum lethe_err err = snapshot ? LETHE_OK : LETHE_ERR_NOMEM;

    *out = NULL;
    if (err) {
        return err;
    }
    snapshot->epoch = epoch;
    snapshot->seq = seq;
    lethe_db_lock(db);
    for (unsigned table = 0; table < TABLES && !err; table++) {
        sqlite3_stmt *statement;
        bool row;

        err = lethe_db_statement(db, tables[table].select, &statement);
        while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
            dump_row(&raw, table, statement);
            if (raw.len >= LETHE_FRAME_BYTES) {
                err = dump_part(snapshot, &raw);
                if (err) {
                    sqlite3_reset(statement);
                }
            }
        }
    }
    lethe_db_unlock(db);
    if (!err) {
        err = dump_part(snapshot, &raw);
    }
    lethe_buf_release(&raw);
    if (err) {
        lethe_snapshot_free(snapshot);
        return err;
    }
    *out = snapshot;
    return LETHE_OK;
}

enum lethe_err lethe_snapshot_put(struct lethe_vault *vault, struct lethe_snapshot *snapshot,
                                  struct lethe_snapshot_ref *ref, uint64_t *bytes)
{
    struct lethe_segment_part *parts = NULL;
    struct lethe_buf root = {0}, sealed = {0};
    size_t count = 0;
    enum lethe_err err = LETHE_OK;

    *bytes = 0;
    ref->epoch = snapshot->epoch;
    ref->seq = snapshot->seq;
    lethe_vault_new_id(&ref->id);
    for (size_t i = 0; i < snapshot->count && !err; i++) {
        err = lethe_frame_put(vault, LETHE_OBJECT_SNAPSHOT, &ref->id, i + 1, &snapshot->payloads[i], &parts,
                              &count, bytes);
    }
    if (!err) {
        lethe_buf_put_u8(&root, SNAPSHOT_FORMAT);
        lethe_buf_put_u64(&root, snapshot->epoch);
        lethe_buf_put_u64(&root, snapshot->seq);
        lethe_frame_list_write(&root, parts, count);
        err = lethe_buf_status(&root);
    }
    if (!err) {
        err = lethe_vault_seal(vault, LETHE_OBJECT_SNAPSHOT, &ref->id, NULL, 0, root.data, root.len, &sealed);
    }
    if (!err) {
        err = lethe_vault_put(vault, LETHE_OBJECT_SNAPSHOT, &ref->id, sealed.data, sealed.len);
        *bytes += sealed.len;
    }
    free(parts);
    lethe_buf_release(&root);
    lethe_buf_release(&sealed);
    return err;
}

static enum lethe_err read_root(struct lethe_vault *vault, const struct lethe_snapshot_ref *ref,
                                struct lethe_segment_part **parts, size_t *count)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf sealed = {0}, root = {0};
    struct lethe_reader reader;
    enum lethe_err err;

    *parts = NULL;
    *count = 0;
    lethe_vault_object_key(LETHE_OBJECT_SNAPSHOT, &ref->id, key);
    err = lethe_store_get(lethe_vault_store(vault), key, 0, SNAPSHOT_ROOT_MAX, &sealed, NULL);
    if (!err) {
        err = lethe_vault_unseal(vault, LETHE_OBJECT_SNAPSHOT, &ref->id, NULL, 0, sealed.data, sealed.len,
                                 &root);
    }
    if (!err) {
        uint8_t format;

        lethe_reader_init(&reader, root.data, root.len);
        format = lethe_read_u8(&reader);
        if (format != SNAPSHOT_FORMAT) {
            err = format > SNAPSHOT_FORMAT ? LETHE_ERR_VERSION : LETHE_ERR_INTEGRITY;
        } else if (lethe_read_u64(&reader) != ref->epoch || lethe_read_u64(&reader) != ref->seq) {
            err = LETHE_ERR_INTEGRITY;
        } else {
            err = lethe_frame_list_read(&reader, parts, count);
            err = err ? err : lethe_reader_status(&reader, true);
        }
    }
    if (err == LETHE_ERR_NOT_FOUND || err == LETHE_ERR_FORMAT || err == LETHE_ERR_INTEGRITY) {
        lethe_log(LETHE_LOG_ERROR, "snapshot %s is missing or damaged: " LETHE_JOURNAL_REMEDY, key);
        err = LETHE_ERR_INTEGRITY;
    }
    if (err) {
        free(*parts);
        *parts = NULL;
        *count = 0;
    }
    lethe_buf_release(&sealed);
    lethe_buf_release(&root);
    return err;
}

enum lethe_err lethe_snapshot_parts(struct lethe_vault *vault, const struct lethe_snapshot_ref *ref,
                                    struct lethe_frame_ref **parts, size_t *count)
{
    struct lethe_segment_part *list;
    enum lethe_err err = read_root(vault, ref, &list, count);

    *parts = err ? NULL : calloc(*count ? *count : 1, sizeof **parts);
    if (!err && !*parts) {
        err = LETHE_ERR_NOMEM;
        *count = 0;
    }
    for (size_t i = 0; i < *count; i++) {
        (*parts)[i] = (struct lethe_frame_ref){
            .kind = LETHE_OBJECT_SNAPSHOT, .owner = ref->id, .index = i + 1, .part = list[i]};
    }
    free(list);
    return err;
}

static enum lethe_err load_row(struct lethe_db *db, struct lethe_reader *reader)
{
    unsigned table = lethe_read_u8(reader);
    sqlite3_stmt *statement;
    enum lethe_err err;

    if (reader->bad || table >= TABLES) {
        return LETHE_ERR_INTEGRITY;
    }
    err = lethe_db_statement(db, tables[table].insert, &statement);
    if (err) {
        return err;
    }
    for (int i = 1; i <= tables[table].columns && !reader->bad; i++) {
        uint8_t type = lethe_read_u8(reader);

        if (type == 1) {
            uint64_t value = lethe_read_varint(reader);

            sqlite3_bind_int64(statement, i, (int64_t)(value >> 1 ^ (0 - (value & 1))));
        } else if (type == 2) {
            size_t len;
            const uint8_t *bytes = lethe_read_block(reader, &len);

            sqlite3_bind_blob64(statement, i, bytes ? (const void *)bytes : "", len, SQLITE_STATIC);
        } else if (type != 0) {
            reader->bad = true;
        }
    }
    return reader->bad ? LETHE_ERR_INTEGRITY : lethe_db_run(db, statement);
}

static enum lethe_err load_parts(struct lethe_frame_reader *reader, struct lethe_db *db, size_t count)
{
    struct lethe_buf raw = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < count && !err; i++) {
        struct lethe_reader rows;

        err = lethe_frame_reader_next(reader, &raw);
        if (err) {
            break;
        }
        lethe_reader_init(&rows, raw.data, raw.len);
        lethe_db_lock(db);
        while (!err && lethe_reader_left(&rows) > 0) {
            err = load_row(db, &rows);
        }
        err = err ? err : lethe_db_commit(db); /* a transaction lives in memory, and a tree may be large */
        lethe_db_unlock(db);
    }
    lethe_buf_release(&raw);
    return err;
}

enum lethe_err lethe_snapshot_load(struct lethe_vault *vault, struct lethe_db *db,
                                   const struct lethe_snapshot_ref *ref)
{
    struct lethe_frame_reader *reader = NULL;
    struct lethe_frame_ref *refs;
    size_t count;
    enum lethe_err err = lethe_snapshot_parts(vault, ref, &refs, &count);

    err = err ? err : lethe_frame_reader_new(vault, refs, count, &reader);
    err = err ? err : load_parts(reader, db, count);
    lethe_frame_reader_free(reader);
    free(refs);
    return err == LETHE_ERR_FORMAT ? LETHE_ERR_INTEGRITY : err;
}

enum lethe_err lethe_snapshot_objects(struct lethe_vault *vault, const struct lethe_snapshot_ref *ref,
                                      enum lethe_err (*each)(void *context, const struct lethe_id *object),
                                      void *context)
{
    struct lethe_frame_ref *refs;
    size_t count;
    enum lethe_err err = lethe_snapshot_parts(vault, ref, &refs, &count);

    if (!err) {
        err = each(context, &ref->id);
    }
    for (size_t i = 0; i < count && !err; i++) {
        err = each(context, &refs[i].part.id);
    }
    free(refs);
    return err;
}
