/* SPDX-License-Identifier: MIT */
/* What db.c (work and commits) and db_open.c (making, opening, closing) share, and what commit.c alone may
 * ask. */
#ifndef LETHE_FS_DEVICE_DB_PRIVATE_H
#define LETHE_FS_DEVICE_DB_PRIVATE_H

/* The session extension hides its declarations without these. */
#ifndef SQLITE_ENABLE_SESSION
#define SQLITE_ENABLE_SESSION 1
#endif
#ifndef SQLITE_ENABLE_PREUPDATE_HOOK
#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#endif
#include <sqlite3.h>

#include <pthread.h>
#include <stdatomic.h>

#include "fs/device/db.h"
#include "fs/device/vfs.h"

/* Pages that SQLite keeps; dirty ones come on top, since they never spill. */
#define LETHE_DB_CACHE_BYTES (16u << 20)

struct lethe_db_statement {
    const char *sql; /* NULL: a free entry */
    sqlite3_stmt *statement;
};

struct lethe_db {
    pthread_mutex_t mutex; /* guards everything below but load */
    sqlite3 *handle;
    struct lethe_vfs *vfs;
    int lock_fd;
    int log_fd;        /* a second descriptor of the log, to set space aside; -1 where that does not work */
    uint64_t log_room; /* bytes of the log's file that the disk has promised */
    struct lethe_db_statement *statements; /* open addressing by the literal's address */
    size_t statements_used;
    size_t statements_room; /* a power of two */
    sqlite3_session *tree;
    sqlite3_session *vault;
    bool recording;
    bool committing; /* the committer works: it may use the space that is kept for it */
    bool failed;     /* SQLite gave up the open transaction: memory is ahead of the database, nothing may be
                        committed */
    bool checkpoint_failed; /* and it was logged */
    unsigned depth;         /* of lethe_db_begin */
    int64_t next_seq;
    bool seq_told; /* lethe_db_seq told next_seq for the open transaction: its commit uses it up in any case */
    _Atomic size_t load; /* bytes of pages in memory after the last operation */
};

/* Makes both sessions anew; what they had recorded is forgotten. */
enum lethe_err lethe_db_sessions_start(struct lethe_db *db) LETHE_MUST_CHECK;
void lethe_db_sessions_stop(struct lethe_db *db);
/* The error for a result code, without a look at the transaction and without a log line. */
enum lethe_err lethe_db_error_of(const struct lethe_db *db, int result);
/* Frees the cached statements. */
void lethe_db_statements_release(struct lethe_db *db);

/* Without the lock. Grows with the open transaction: a commit is due when it is well above
 * LETHE_DB_CACHE_BYTES. */
size_t lethe_db_load(const struct lethe_db *db);
/* With the lock: operations are those of the committer from here on (or no longer). */
void lethe_db_set_committing(struct lethe_db *db, bool committing);

#endif
