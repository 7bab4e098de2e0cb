/* SPDX-License-Identifier: MIT */
/* A database on the memory disk through the sealed VFS, and a workload whose every state can be told. */
#ifndef LETHE_TESTS_CRASH_SEALED_DATABASE_H
#define LETHE_TESTS_CRASH_SEALED_DATABASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/device/vfs.h"
#include "lethe/check.h"
#include "lethe/log.h"
#include "memory_disk.h"

struct sealed {
    struct lethe_secret *key;
    struct lethe_vfs *vfs;
    sqlite3 *db;
};

static inline void sealed_exec(struct sealed *sealed, const char *sql)
{
    char *text = NULL;
    int result = sqlite3_exec(sealed->db, sql, NULL, NULL, &text);

    if (result != SQLITE_OK) {
        fail_msg("%s: %d %s", sql, sqlite3_extended_errcode(sealed->db), text);
    }
}

/* SQLite's result of opening and reading the schema; sealed is open (and to be closed) in any case. */
static inline int sealed_open(struct sealed *sealed, uint8_t key_byte)
{
    uint8_t bytes[LETHE_KEY_BYTES];
    int reserve = LETHE_VFS_RESERVED, result;

    memset(bytes, key_byte, sizeof bytes);
    assert_int_equal(lethe_secret_new(bytes, &sealed->key), LETHE_OK);
    assert_int_equal(lethe_vfs_new(sealed->key, "memory-disk", &sealed->vfs), LETHE_OK);
    result = sqlite3_open_v2("disk.db", &sealed->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE,
                             lethe_vfs_name(sealed->vfs));
    if (result != SQLITE_OK) {
        return result;
    }
    sqlite3_db_config(sealed->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    sealed_exec(sealed, "PRAGMA temp_store=MEMORY; PRAGMA locking_mode=EXCLUSIVE");
    if (disk.files[0].size == 0) {
        sqlite3_file_control(sealed->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
        sealed_exec(sealed, "PRAGMA page_size=4096; PRAGMA journal_mode=MEMORY");
    }
    result = sqlite3_exec(sealed->db,
                          "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
                          "PRAGMA cache_spill=OFF; SELECT count(*) FROM sqlite_master",
                          NULL, NULL, NULL);
    return result;
}

static inline void sealed_close(struct sealed *sealed)
{
    sqlite3_close(sealed->db);
    lethe_vfs_free(sealed->vfs);
    lethe_secret_free(sealed->key);
    *sealed = (struct sealed){0};
}

static inline int64_t sealed_number(struct sealed *sealed, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value;

    assert_int_equal(sqlite3_prepare_v2(sealed->db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* One number for all that the tables hold. */
static inline uint64_t sealed_digest(struct sealed *sealed)
{
    sqlite3_stmt *statement;
    uint64_t digest = 0;

    assert_int_equal(sqlite3_prepare_v2(sealed->db, "SELECT id, v FROM t ORDER BY id", -1, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        digest = digest * 1000003 + (uint64_t)sqlite3_column_int64(statement, 0);
        digest = digest * 1000003 +
                 lethe_check64(sqlite3_column_blob(statement, 1), (size_t)sqlite3_column_bytes(statement, 1));
    }
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    return digest;
}

static inline void sealed_check(struct sealed *sealed)
{
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(sealed->db, "PRAGMA integrity_check", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_finalize(statement);
    assert_false(lethe_vfs_damaged(sealed->vfs));
}

static inline void sealed_put(struct sealed *sealed, int64_t id, int size, uint64_t *seed)
{
    sqlite3_stmt *statement;
    uint8_t *bytes = malloc((size_t)size);

    assert_non_null(bytes);
    for (int i = 0; i < size; i++) {
        bytes[i] = (uint8_t)("plaintext marker"[i % 16] + (i % 64 == 0 ? disk_random(seed) % 16 : 0));
    }
    assert_int_equal(
        sqlite3_prepare_v2(sealed->db, "INSERT OR REPLACE INTO t VALUES(?, ?)", -1, &statement, NULL),
        SQLITE_OK);
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_blob(statement, 2, bytes, size, SQLITE_TRANSIENT);
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
    free(bytes);
}

/* Transaction n: a few rows, sometimes large ones that spill from the cache, sometimes a savepoint taken
 * back. */
static inline void sealed_work(struct sealed *sealed, int n, uint64_t *seed)
{
    int rows = 1 + (int)(disk_random(seed) % 4), size = disk_random(seed) % 5 == 0 ? 30000 : 900;
    char sql[80];

    sealed_exec(sealed, "BEGIN IMMEDIATE");
    for (int i = 0; i < rows; i++) {
        sealed_put(sealed, disk_random(seed) % 40, 1 + (int)(disk_random(seed) % (unsigned)size), seed);
    }
    if (disk_random(seed) % 3 == 0) {
        sealed_exec(sealed, "SAVEPOINT s");
        for (int i = 0; i < 3; i++) {
            sealed_put(sealed, disk_random(seed) % 40, 20000, seed);
        }
        sealed_exec(sealed, "ROLLBACK TO s; RELEASE s");
    }
    if (disk_random(seed) % 3 == 0) {
        sealed_exec(sealed, "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id LIMIT 2)");
    }
    snprintf(sql, sizeof sql, "UPDATE n SET n = %d", n);
    sealed_exec(sealed, sql);
}

static inline void sealed_setup(struct sealed *sealed)
{
    disk_register();
    assert_int_equal(sealed_open(sealed, 1), SQLITE_OK);
    sealed_exec(sealed,
                "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE TABLE n(n); INSERT INTO n VALUES(0)");
}

#endif
