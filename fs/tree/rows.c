/* SPDX-License-Identifier: MIT */
/* The SQL of the tables inode and working. */
#include <string.h>

#include "fs/tree/internal.h"

static void read_id(sqlite3_stmt *statement, int column, struct lethe_id *out)
{
    const void *blob = sqlite3_column_blob(statement, column);

    memset(out, 0, sizeof(*out));
    if (blob && sqlite3_column_bytes(statement, column) == (int)sizeof(out->bytes)) {
        memcpy(out->bytes, blob, sizeof(out->bytes));
    }
}

/* The row came from a journal, perhaps: a negative size or a strange number must not become a huge one. */
static uint64_t read_size(sqlite3_stmt *statement, int column)
{
    sqlite3_int64 size = sqlite3_column_int64(statement, column);

    return size < 0 ? 0 : (uint64_t)size > LETHE_CONTENT_MAX ? LETHE_CONTENT_MAX : (uint64_t)size;
}

void lethe_row_read(sqlite3_stmt *statement, int first, struct lethe_row *out)
{
    out->ino = (uint64_t)sqlite3_column_int64(statement, first);
    out->mode = (uint32_t)sqlite3_column_int64(statement, first + 1);
    out->uid = (uint32_t)sqlite3_column_int64(statement, first + 2);
    out->gid = (uint32_t)sqlite3_column_int64(statement, first + 3);
    out->nlink = (uint32_t)sqlite3_column_int64(statement, first + 4);
    out->rdev = (uint64_t)sqlite3_column_int64(statement, first + 5);
    out->size = read_size(statement, first + 6);
    out->atime = sqlite3_column_int64(statement, first + 7);
    out->mtime = sqlite3_column_int64(statement, first + 8);
    out->ctime = sqlite3_column_int64(statement, first + 9);
    read_id(statement, first + 10, &out->content);
    out->working = sqlite3_column_type(statement, first + 11) != SQLITE_NULL;
    out->live_size = read_size(statement, first + 12);
    out->live_mtime = sqlite3_column_int64(statement, first + 13);
    out->live_ctime = sqlite3_column_int64(statement, first + 14);
    read_id(statement, first + 15, &out->live_content);
}

enum lethe_err lethe_row_load(struct lethe_db *db, uint64_t ino, struct lethe_row *out)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = false;

    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT " LETHE_ROW_COLUMNS " FROM inode i LEFT JOIN working w ON w.ino = i.ino WHERE i.ino = ?1",
        &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
        err = lethe_db_step(db, statement, &row);
        if (!err && row) {
            lethe_row_read(statement, 0, out);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err ? err : row ? LETHE_OK : LETHE_ERR_NOT_FOUND;
}

enum lethe_err lethe_row_end(struct lethe_db *db, enum lethe_err err)
{
    enum lethe_err end = lethe_db_end(db, err == LETHE_OK);

    return err ? err : end;
}

static void bind_id(sqlite3_stmt *statement, int index, const struct lethe_id *id)
{
    if (lethe_id_is_zero(id)) {
        sqlite3_bind_null(statement, index);
    } else {
        sqlite3_bind_blob(statement, index, id->bytes, sizeof(id->bytes), SQLITE_STATIC);
    }
}

static void bind_attributes(sqlite3_stmt *statement, const struct lethe_inode *inode)
{
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)inode->ino);
    sqlite3_bind_int64(statement, 2, inode->mode);
    sqlite3_bind_int64(statement, 3, inode->uid);
    sqlite3_bind_int64(statement, 4, inode->gid);
    sqlite3_bind_int64(statement, 5, inode->nlink);
    sqlite3_bind_int64(statement, 6, (sqlite3_int64)inode->rdev);
    sqlite3_bind_int64(statement, 7, (sqlite3_int64)inode->row_size);
    sqlite3_bind_int64(statement, 8, inode->atime);
    sqlite3_bind_int64(statement, 9, inode->row_mtime);
    sqlite3_bind_int64(statement, 10, inode->row_ctime);
    bind_id(statement, 11, &inode->row_content);
}

enum lethe_err lethe_row_insert(struct lethe_db *db, const struct lethe_inode *inode, const char *target)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    err = lethe_db_statement(
        db,
        "INSERT INTO inode(ino, mode, uid, gid, nlink, rdev, size, atime, mtime, ctime, content,"
        " target) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &statement);
    if (err) {
        return err;
    }
    bind_attributes(statement, inode);
    if (target) {
        sqlite3_bind_blob(statement, 12, target, (int)strlen(target), SQLITE_STATIC);
    }
    return lethe_db_run(db, statement);
}

enum lethe_err lethe_row_update(struct lethe_db *db, const struct lethe_inode *inode)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    err =
        lethe_db_statement(db,
                           "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, nlink = ?5, rdev = ?6, size = ?7,"
                           " atime = ?8, mtime = ?9, ctime = ?10, content = ?11 WHERE ino = ?1",
                           &statement);
    if (err) {
        return err;
    }
    bind_attributes(statement, inode);
    return lethe_db_run(db, statement);
}

static enum lethe_err run_with_ino(struct lethe_db *db, const char *sql, uint64_t ino)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db, sql, &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    return lethe_db_run(db, statement);
}

enum lethe_err lethe_row_delete(struct lethe_db *db, uint64_t ino)
{
    enum lethe_err err = run_with_ino(db, "DELETE FROM inode WHERE ino = ?1", ino);

    if (!err) {
        err = run_with_ino(db, "DELETE FROM xattr WHERE ino = ?1", ino);
    }
    if (!err) {
        err = lethe_row_work_delete(db, ino);
    }
    return err;
}

enum lethe_err lethe_row_work_store(struct lethe_db *db, const struct lethe_inode *inode)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    err = lethe_db_statement(
        db, "INSERT OR REPLACE INTO working(ino, content, size, mtime, ctime) VALUES(?1, ?2, ?3, ?4, ?5)",
        &statement);
    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)inode->ino);
    bind_id(statement, 2, &inode->content_id);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)inode->size);
    sqlite3_bind_int64(statement, 4, inode->mtime);
    sqlite3_bind_int64(statement, 5, inode->ctime);
    return lethe_db_run(db, statement);
}

enum lethe_err lethe_row_work_delete(struct lethe_db *db, uint64_t ino)
{
    return run_with_ino(db, "DELETE FROM working WHERE ino = ?1", ino);
}
