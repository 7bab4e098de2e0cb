/* SPDX-License-Identifier: MIT */
/*
 * The device's metadata database: SQLite through a sealed VFS (fs/device/vfs.h), one connection, one write
 * transaction that is always open and is committed by fs/device/commit.h. All statements run under the lock.
 *
 * Two sessions watch the tables: "tree" (inode, dentry, xattr) and "vault" (content, piece, object). lethe_db_commit
 * stores both changesets in the table changeset, in the same COMMIT, so that nothing that the journal needs lives in
 * memory alone. All other tables belong to the device and never enter the journal.
 */
#ifndef LETHE_FS_DEVICE_DB_H
#define LETHE_FS_DEVICE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/seal.h"

struct lethe_db;

/*
 * Opens or (create) makes the database at path with the schema of fs/device/schema.c; the page key is derived from
 * key. LETHE_ERR_NOT_FOUND, LETHE_ERR_BUSY (another process has it), LETHE_ERR_INTEGRITY (a page's tag fails; also a
 * wrong key), LETHE_ERR_VERSION (newer schema), LETHE_ERR_IO, LETHE_ERR_NOSPACE.
 */
enum lethe_err lethe_db_open(const char *path, const struct lethe_secret *key, bool create, struct lethe_db **out)
    LETHE_MUST_CHECK;
/* Rolls back what was not committed. */
void lethe_db_close(struct lethe_db *db);
/* A seal of the database did not open, or its log lost something: it is of no use any more. */
bool lethe_db_damaged(const struct lethe_db *db);
/* Somebody has deleted its log or its lock: commits last as long as this process. */
bool lethe_db_is_gone(const struct lethe_db *db);

/* Recursive is not needed: the lock is a leaf, never held over a call out of fs/device or over backend I/O. */
void lethe_db_lock(struct lethe_db *db);
void lethe_db_unlock(struct lethe_db *db);

/* With the lock held, for all that follow. */
sqlite3 *lethe_db_handle(struct lethe_db *db);
/*
 * A prepared statement for sql (a string literal: the cache is keyed by its address), reset and with its bindings
 * cleared. Valid until the next call with the same sql. Owned by db.
 */
enum lethe_err lethe_db_statement(struct lethe_db *db, const char *sql, sqlite3_stmt **out) LETHE_MUST_CHECK;
/* An identifier as a parameter; borrowed until the statement is reset. */
void lethe_db_bind_id(sqlite3_stmt *statement, int index, const struct lethe_id *id);
/* A column of 16 bytes; false when the row holds something else. */
bool lethe_db_column_id(sqlite3_stmt *statement, int column, struct lethe_id *out);
/* Steps a statement that returns no row, and resets it. */
enum lethe_err lethe_db_run(struct lethe_db *db, sqlite3_stmt *statement) LETHE_MUST_CHECK;
/* Steps to the next row: *row is false at the end (then the statement was reset). */
enum lethe_err lethe_db_step(struct lethe_db *db, sqlite3_stmt *statement, bool *row) LETHE_MUST_CHECK;
/* The error for SQLite's result code; logs it once. */
enum lethe_err lethe_db_error(struct lethe_db *db, int result);

/* One operation of several statements: all of it or nothing. Savepoints; may nest. */
enum lethe_err lethe_db_begin(struct lethe_db *db) LETHE_MUST_CHECK;
/* keep: keeps what was done since begin, else takes it back. Returns the given err unless it fails itself. */
enum lethe_err lethe_db_end(struct lethe_db *db, bool keep) LETHE_MUST_CHECK;

/*
 * Captures the two changesets into the table changeset (with the next seq; nothing is inserted when both are empty),
 * commits durably and opens the next transaction. On failure everything is as before: the transaction stays open.
 */
enum lethe_err lethe_db_commit(struct lethe_db *db) LETHE_MUST_CHECK;
/*
 * The sequence number that the open transaction's changesets will get: every lethe_db_commit uses one up, also when it
 * has nothing to store. Numbers never come twice, whatever is deleted. With the lock held.
 */
uint64_t lethe_db_seq(struct lethe_db *db);
/* Begins at a later number: a recovered device goes on where the journal ends. */
enum lethe_err lethe_db_set_seq(struct lethe_db *db, uint64_t next) LETHE_MUST_CHECK;
/* While a recovery applies changesets of the journal, the sessions must not record them again. */
void lethe_db_sessions_enable(struct lethe_db *db, bool enable);

/* Small settings of the device, table config. */
enum lethe_err lethe_db_get_int(struct lethe_db *db, const char *key, int64_t missing, int64_t *out) LETHE_MUST_CHECK;
enum lethe_err lethe_db_set_int(struct lethe_db *db, const char *key, int64_t value) LETHE_MUST_CHECK;
/* LETHE_ERR_NOT_FOUND when absent; appends to out. */
enum lethe_err lethe_db_get_blob(struct lethe_db *db, const char *key, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_db_set_blob(struct lethe_db *db, const char *key, const void *bytes, size_t len) LETHE_MUST_CHECK;

#endif
