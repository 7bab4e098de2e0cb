/* SPDX-License-Identifier: MIT */
/*
 * Work on the open transaction, and its commit.
 *
 * Invariants
 * 1. Outside of lethe_db_commit a write transaction is open, or failed is set.
 * 2. SQLite rolls the whole transaction back on its own when a write fails (full disk, I/O error, no memory).
 * Then what the layers above hold in memory was never stored, and committing anything later would store a
 * torn picture: failed is set, and every call fails from there on. Nothing durable is lost.
 * 3. A full disk is no such case as far as can be helped: the transaction lives in memory until COMMIT (the
 * cache does not spill), and the log's space for all of it is set aside before the operation begins (admit)
 * and before COMMIT.
 * 4. A session's recordings are thrown away only after the COMMIT that stored its changeset.
 */
#include "fs/device/db_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lethe/log.h"

/* A commit leaves a log of this size to be written back into the database. */
#define CHECKPOINT_BYTES (8u << 20)
/* Space in the log that one operation and the committer's own work may need beyond the pages in memory. */
#define ROOM_SLACK (2u << 20)
#define ROOM_STEP (2u << 20)

void lethe_db_lock(struct lethe_db *db)
{
    pthread_mutex_lock(&db->mutex);
}

void lethe_db_unlock(struct lethe_db *db)
{
    pthread_mutex_unlock(&db->mutex);
}

sqlite3 *lethe_db_handle(struct lethe_db *db)
{
    return db->handle;
}

bool lethe_db_damaged(const struct lethe_db *db)
{
    return lethe_vfs_damaged(db->vfs);
}

static bool is_deleted(int fd)
{
    struct stat about;

    return fd >= 0 && fstat(fd, &about) == 0 && about.st_nlink == 0;
}

bool lethe_db_is_gone(const struct lethe_db *db)
{
    return is_deleted(db->lock_fd) || is_deleted(db->log_fd);
}

size_t lethe_db_load(const struct lethe_db *db)
{
    return atomic_load_explicit(&db->load, memory_order_relaxed);
}

void lethe_db_set_committing(struct lethe_db *db, bool committing)
{
    db->committing = committing;
}

/* --- errors --- */

enum lethe_err lethe_db_error_of(const struct lethe_db *db, int result)
{
    if (lethe_vfs_damaged(db->vfs)) {
        return LETHE_ERR_INTEGRITY;
    }
    if (result == SQLITE_IOERR_NOMEM) {
        return LETHE_ERR_NOMEM;
    }
    switch (result & 0xff) {
    case SQLITE_NOMEM:
        return LETHE_ERR_NOMEM;
    case SQLITE_FULL:
        return LETHE_ERR_NOSPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return LETHE_ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return LETHE_ERR_INTEGRITY;
    case SQLITE_CONSTRAINT:
        return LETHE_ERR_EXISTS;
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
        return LETHE_ERR_ARG;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return LETHE_ERR_DENIED;
    default:
        return LETHE_ERR_IO;
    }
}

static void give_up(struct lethe_db *db)
{
    if (!db->failed && lethe_vfs_damaged(db->vfs)) {
        db->failed = true; /* and that was logged */
    } else if (!db->failed) {
        db->failed = true;
        lethe_log(LETHE_LOG_ERROR,
                  "the metadata database could not be written; changes since the last commit are "
                  "lost: unmount, see that the disk has room and works, and mount again");
    }
}

enum lethe_err lethe_db_error(struct lethe_db *db, int result)
{
    enum lethe_err err = lethe_db_error_of(db, result);

    lethe_log(err == LETHE_ERR_EXISTS ? LETHE_LOG_DEBUG : LETHE_LOG_ERROR, "metadata database: %s (%d)",
              sqlite3_errstr(result), result);
    if (sqlite3_get_autocommit(db->handle)) {
        give_up(db);
    }
    return err;
}

/* --- space --- */

static size_t pages_in_memory(struct lethe_db *db)
{
    int now = 0, high = 0;

    (void)sqlite3_db_status(db->handle, SQLITE_DBSTATUS_CACHE_USED, &now, &high, 0);
    return now > 0 ? (size_t)now : 0;
}

/*
 * Sees to it that the log can take every page in memory and slack more bytes, whatever others do to the disk.
 * File systems that cannot promise space are taken at their word when they write.
 */
static enum lethe_err make_room(struct lethe_db *db, size_t slack)
{
    size_t pages = pages_in_memory(db);
    /* A frame is 72 bytes longer than its page. */
    uint64_t need = lethe_vfs_log_bytes(db->vfs) + pages + pages / 32 + slack;

    atomic_store_explicit(&db->load, pages, memory_order_relaxed);
    if (db->log_fd < 0 || need <= db->log_room) {
        return LETHE_OK;
    }
    need = (need + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
    while (fallocate(db->log_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)need) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno == ENOSPC || errno == EDQUOT) {
            return LETHE_ERR_NOSPACE;
        }
        close(db->log_fd);
        db->log_fd = -1;
        return LETHE_OK;
    }
    db->log_room = need;
    return LETHE_OK;
}

/* Whether an operation may begin. */
static enum lethe_err admit(struct lethe_db *db)
{
    if (db->failed) {
        return LETHE_ERR_IO;
    }
    return db->depth > 0 || db->committing ? LETHE_OK : make_room(db, ROOM_SLACK);
}

/* --- statements --- */

static size_t slot_of(const struct lethe_db *db, const char *sql)
{
    size_t mask = db->statements_room - 1;
    size_t at = (size_t)(((uintptr_t)sql * 0x9e3779b97f4a7c15u) >> 32) & mask;

    while (db->statements[at].sql && db->statements[at].sql != sql) {
        at = (at + 1) & mask;
    }
    return at;
}

static enum lethe_err grow_statements(struct lethe_db *db)
{
    size_t old_room = db->statements_room, room = old_room ? old_room * 2 : 64;
    struct lethe_db_statement *old = db->statements, *entries = calloc(room, sizeof *entries);

    if (!entries) {
        return LETHE_ERR_NOMEM;
    }
    db->statements = entries;
    db->statements_room = room;
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].sql) {
            entries[slot_of(db, old[i].sql)] = old[i];
        }
    }
    free(old);
    return LETHE_OK;
}

enum lethe_err lethe_db_statement(struct lethe_db *db, const char *sql, sqlite3_stmt **out)
{
    struct lethe_db_statement *entry;
    int result;

    *out = NULL;
    if (db->failed) {
        return LETHE_ERR_IO;
    }
    if (db->statements_used * 2 >= db->statements_room) {
        enum lethe_err err = grow_statements(db);

        if (err) {
            return err;
        }
    }
    entry = &db->statements[slot_of(db, sql)];
    if (entry->sql) {
        sqlite3_reset(entry->statement);
        sqlite3_clear_bindings(entry->statement);
        *out = entry->statement;
        return LETHE_OK;
    }
    result = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &entry->statement, NULL);
    if (result != SQLITE_OK) {
        return lethe_db_error(db, result);
    }
    entry->sql = sql;
    db->statements_used++;
    *out = entry->statement;
    return LETHE_OK;
}

void lethe_db_statements_release(struct lethe_db *db)
{
    for (size_t i = 0; i < db->statements_room; i++) {
        sqlite3_finalize(db->statements[i].statement);
    }
    free(db->statements);
    db->statements = NULL;
    db->statements_used = db->statements_room = 0;
}

/* Rows that a caller did not read to the end would keep the old transaction's snapshot. */
static void reset_statements(struct lethe_db *db)
{
    for (size_t i = 0; i < db->statements_room; i++) {
        if (db->statements[i].statement && sqlite3_stmt_busy(db->statements[i].statement)) {
            sqlite3_reset(db->statements[i].statement);
        }
    }
}

static enum lethe_err step(struct lethe_db *db, sqlite3_stmt *statement, bool *row)
{
    enum lethe_err err = LETHE_OK;
    int result = sqlite3_step(statement);

    *row = result == SQLITE_ROW;
    if (result == SQLITE_ROW) {
        return LETHE_OK;
    }
    if (result != SQLITE_DONE) {
        err = lethe_db_error(db, result);
    }
    sqlite3_reset(statement);
    return err;
}

enum lethe_err lethe_db_step(struct lethe_db *db, sqlite3_stmt *statement, bool *row)
{
    *row = false;
    return db->failed ? LETHE_ERR_IO : step(db, statement, row);
}

void lethe_db_bind_id(sqlite3_stmt *statement, int index, const struct lethe_id *id)
{
    sqlite3_bind_blob(statement, index, id->bytes, sizeof id->bytes, SQLITE_STATIC);
}

bool lethe_db_column_id(sqlite3_stmt *statement, int column, struct lethe_id *out)
{
    if (sqlite3_column_bytes(statement, column) != (int)sizeof out->bytes) {
        return false;
    }
    memcpy(out->bytes, sqlite3_column_blob(statement, column), sizeof out->bytes);
    return true;
}

enum lethe_err lethe_db_run(struct lethe_db *db, sqlite3_stmt *statement)
{
    bool row = false;
    enum lethe_err err = admit(db);

    if (err) {
        sqlite3_reset(statement);
        return err;
    }
    err = step(db, statement, &row);
    if (row) {
        sqlite3_reset(statement);
        return LETHE_ERR_ARG;
    }
    return err;
}

/* For the verbs of transactions, which need no room. */
static enum lethe_err execute(struct lethe_db *db, const char *sql)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err = lethe_db_statement(db, sql, &statement);

    return err ? err : step(db, statement, &row);
}

enum lethe_err lethe_db_begin(struct lethe_db *db)
{
    enum lethe_err err = admit(db);

    if (!err) {
        err = execute(db, "SAVEPOINT operation");
    }
    if (!err) {
        db->depth++;
    }
    return err;
}

enum lethe_err lethe_db_end(struct lethe_db *db, bool keep)
{
    enum lethe_err err = LETHE_OK;

    assert(db->depth > 0);
    db->depth--;
    if (!keep) {
        err = execute(db, "ROLLBACK TO operation");
    }
    if (!err) {
        err = execute(db, "RELEASE operation");
    }
    return err;
}

/* --- sessions --- */

void lethe_db_sessions_stop(struct lethe_db *db)
{
    if (db->tree) {
        sqlite3session_delete(db->tree);
    }
    if (db->vault) {
        sqlite3session_delete(db->vault);
    }
    db->tree = db->vault = NULL;
}

static int session_start(struct lethe_db *db, const char *const *tables, sqlite3_session **out)
{
    int result = sqlite3session_create(db->handle, "main", out);

    for (size_t i = 0; result == SQLITE_OK && tables[i]; i++) {
        result = sqlite3session_attach(*out, tables[i]);
    }
    if (result == SQLITE_OK) {
        sqlite3session_enable(*out, db->recording);
    }
    return result;
}

enum lethe_err lethe_db_sessions_start(struct lethe_db *db)
{
    static const char *const tree[] = {"inode", "dentry", "xattr", NULL};
    static const char *const vault[] = {"content", "piece", "object", NULL};
    int result;

    lethe_db_sessions_stop(db);
    result = session_start(db, tree, &db->tree);
    if (result == SQLITE_OK) {
        result = session_start(db, vault, &db->vault);
    }
    return result == SQLITE_OK ? LETHE_OK : lethe_db_error_of(db, result);
}

void lethe_db_sessions_enable(struct lethe_db *db, bool enable)
{
    db->recording = enable;
    if (db->tree) {
        sqlite3session_enable(db->tree, enable);
    }
    if (db->vault) {
        sqlite3session_enable(db->vault, enable);
    }
}

/* --- the commit --- */

static enum lethe_err insert_changeset(struct lethe_db *db, int64_t seq, const void *tree, int tree_len,
                                       const void *vault, int vault_len)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err =
        lethe_db_statement(db, "INSERT INTO changeset(seq, tree, vault) VALUES(?1, ?2, ?3)", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, seq);
    if (tree_len > 0) {
        sqlite3_bind_blob(statement, 2, tree, tree_len, SQLITE_STATIC);
    }
    if (vault_len > 0) {
        sqlite3_bind_blob(statement, 3, vault, vault_len, SQLITE_STATIC);
    }
    err = step(db, statement, &row);
    sqlite3_clear_bindings(statement);
    /* Rows are pruned once they are published: the number must outlive them. */
    return err ? err : lethe_db_set_int(db, "changeset_seq", seq);
}

/* Inside the savepoint. *stored tells whether the sequence number was used up. */
static enum lethe_err capture(struct lethe_db *db, bool *stored)
{
    void *tree = NULL, *vault = NULL;
    int tree_len = 0, vault_len = 0, result;
    enum lethe_err err = LETHE_OK;

    *stored = false;
    result = sqlite3session_changeset(db->tree, &tree_len, &tree);
    if (result == SQLITE_OK) {
        result = sqlite3session_changeset(db->vault, &vault_len, &vault);
    }
    if (result != SQLITE_OK) {
        err = lethe_db_error(db, result);
    } else if (tree_len > 0 || vault_len > 0) {
        err = insert_changeset(db, db->next_seq, tree, tree_len, vault, vault_len);
        *stored = !err;
    } else if (db->seq_told) {
        err = lethe_db_set_int(db, "changeset_seq", db->next_seq);
        *stored = !err;
    }
    sqlite3_free(tree);
    sqlite3_free(vault);
    return err;
}

/* Between two transactions: brings the log's pages home, so that it begins anew with the next commit. */
static void checkpoint(struct lethe_db *db)
{
    int result;

    if (lethe_vfs_log_bytes(db->vfs) < CHECKPOINT_BYTES) {
        return;
    }
    result = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (result != SQLITE_OK && !db->checkpoint_failed) {
        lethe_log(LETHE_LOG_WARN, "the metadata database cannot grow (%s): its log grows instead",
                  sqlite3_errstr(result));
    }
    db->checkpoint_failed = result != SQLITE_OK;
}

enum lethe_err lethe_db_commit(struct lethe_db *db)
{
    bool stored = false, committing = db->committing;
    enum lethe_err err;

    if (db->failed) {
        return LETHE_ERR_IO;
    }
    assert(db->depth == 0);
    reset_statements(db);
    db->committing = true;
    err = execute(db, "SAVEPOINT capture");
    if (err) {
        goto out;
    }
    err = capture(db, &stored);
    if (!err) {
        err = make_room(db, 0);
    }
    if (!err) {
        err = execute(db, "COMMIT");
    }
    if (err) {
        if (!db->failed && (execute(db, "ROLLBACK TO capture") || execute(db, "RELEASE capture"))) {
            give_up(db);
        }
        goto out;
    }
    db->next_seq += stored;
    db->seq_told = false;
    checkpoint(db);
    /* What was committed stays so; but without these two nothing more may be done. */
    if (lethe_db_sessions_start(db) || execute(db, "BEGIN IMMEDIATE")) {
        give_up(db);
    }
    atomic_store_explicit(&db->load, pages_in_memory(db), memory_order_relaxed);
out:
    db->committing = committing;
    return err;
}

uint64_t lethe_db_seq(struct lethe_db *db)
{
    db->seq_told = true;
    return (uint64_t)db->next_seq;
}

enum lethe_err lethe_db_set_seq(struct lethe_db *db, uint64_t next)
{
    if (next > INT64_MAX || (int64_t)next < db->next_seq) {
        return LETHE_ERR_ARG;
    }
    db->next_seq = (int64_t)next;
    return lethe_db_set_int(db, "changeset_seq", (int64_t)next - 1);
}

/* --- settings --- */

enum lethe_err lethe_db_get_int(struct lethe_db *db, const char *key, int64_t missing, int64_t *out)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err = lethe_db_statement(db, "SELECT value FROM config WHERE key = ?1", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    err = lethe_db_step(db, statement, &row);
    if (!err) {
        *out = row ? sqlite3_column_int64(statement, 0) : missing;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

enum lethe_err lethe_db_set_int(struct lethe_db *db, const char *key, int64_t value)
{
    sqlite3_stmt *statement;
    enum lethe_err err =
        lethe_db_statement(db, "INSERT OR REPLACE INTO config(key, value) VALUES(?1, ?2)", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, value);
    err = lethe_db_run(db, statement);
    sqlite3_clear_bindings(statement);
    return err;
}

enum lethe_err lethe_db_get_blob(struct lethe_db *db, const char *key, struct lethe_buf *out)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err = lethe_db_statement(db, "SELECT value FROM config WHERE key = ?1", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    err = lethe_db_step(db, statement, &row);
    if (!err && !row) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (!err) {
        lethe_buf_put(out, sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0));
        err = lethe_buf_status(out);
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

enum lethe_err lethe_db_set_blob(struct lethe_db *db, const char *key, const void *bytes, size_t len)
{
    sqlite3_stmt *statement;
    enum lethe_err err =
        lethe_db_statement(db, "INSERT OR REPLACE INTO config(key, value) VALUES(?1, ?2)", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 2, len > 0 ? bytes : "", len, SQLITE_STATIC);
    err = lethe_db_run(db, statement);
    sqlite3_clear_bindings(statement);
    return err;
}
