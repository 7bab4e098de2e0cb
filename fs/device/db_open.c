/* SPDX-License-Identifier: MIT */
/*
 * The database's life: made whole under another name and renamed into place, so that a half-made one is never
 * seen; locked against a second process; opened, with its log recovered; closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/device/db_private.h"
#include "fs/device/schema.h"
#include "lethe/log.h"

#define STRING(x) #x
#define STRING_OF(x) STRING(x)

static enum lethe_err system_error(const char *what)
{
    enum lethe_err err = lethe_err_from_errno(errno);

    lethe_log(LETHE_LOG_ERROR, "metadata database: cannot %s: %s", what, strerror(errno));
    return err;
}

static enum lethe_err join(char out[PATH_MAX], const char *path, const char *suffix)
{
    int len = snprintf(out, PATH_MAX, "%s%s", path, suffix);

    return len > 0 && len < PATH_MAX - 16 ? LETHE_OK : LETHE_ERR_ARG;
}

static enum lethe_err take_lock(const char *path, int *out)
{
    char name[PATH_MAX];
    enum lethe_err err = join(name, path, ".lock");
    int fd;

    if (err) {
        return err;
    }
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return system_error("open its lock");
    }
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        err = errno == EWOULDBLOCK ? LETHE_ERR_BUSY : system_error("lock it");
        close(fd);
        return err;
    }
    *out = fd;
    return LETHE_OK;
}

static enum lethe_err sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    enum lethe_err err = join(copy, path, "");
    int fd;

    if (err) {
        return err;
    }
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        err = system_error("make its folder durable");
    }
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

static int execute(sqlite3 *handle, const char *sql)
{
    return sqlite3_exec(handle, sql, NULL, NULL, NULL);
}

/* Settings that must stand before the first access. */
static int connect(struct lethe_vfs *vfs, const char *path, sqlite3 **out)
{
    int result = sqlite3_open_v2(
        path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, lethe_vfs_name(vfs));

    /* When no key fits, a checkpoint on close would throw the log away: it is done by hand (lethe_db_close).
     */
    if (result == SQLITE_OK) {
        result = sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    }
    if (result == SQLITE_OK) {
        result = sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    }
    if (result == SQLITE_OK) {
        result = execute(*out, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                               "PRAGMA cache_spill=OFF; PRAGMA foreign_keys=OFF");
    }
    return result;
}

static int expect_text(sqlite3 *handle, const char *sql, const char *text)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL);

    if (result == SQLITE_OK) {
        result = sqlite3_step(statement);
    }
    if (result == SQLITE_ROW) {
        const char *got = (const char *)sqlite3_column_text(statement, 0);

        result = got && strcmp(got, text) == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
    }
    sqlite3_finalize(statement);
    return result;
}

static int use_log(sqlite3 *handle)
{
    int result = expect_text(handle, "PRAGMA journal_mode=WAL", "wal");

    if (result == SQLITE_OK) {
        result = execute(handle, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
                                 "PRAGMA cache_size=-16384");
    }
    return result;
}

static int fill_new(sqlite3 *handle)
{
    int reserve = LETHE_VFS_RESERVED;
    int result = sqlite3_file_control(handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);

    if (result == SQLITE_OK) {
        result = execute(handle,
                         "PRAGMA page_size=" STRING_OF(LETHE_VFS_PAGE_BYTES) "; PRAGMA journal_mode=MEMORY");
    }
    if (result == SQLITE_OK) {
        result = use_log(handle);
    }
    if (result == SQLITE_OK) {
        result = execute(handle, "BEGIN IMMEDIATE;" LETHE_SCHEMA_TREE LETHE_SCHEMA_VAULT LETHE_SCHEMA_DEVICE
                                 "PRAGMA user_version=" STRING_OF(LETHE_SCHEMA_VERSION) "; COMMIT");
    }
    if (result == SQLITE_OK) {
        result = sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    return result;
}

/* Everything but the log goes by name.new and a rename; a log or mark that is there belongs to a database that is
 * gone. */
static enum lethe_err make(struct lethe_db *db, const char *path)
{
    char name[PATH_MAX], log[PATH_MAX];
    sqlite3 *handle = NULL;
    enum lethe_err err = join(name, path, ".new");
    int fd, result;

    if (!err) {
        err = join(log, path, ".new-wal");
    }
    if (err) {
        return err;
    }
    (void)unlink(name);
    (void)unlink(log);
    fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return system_error("make it");
    }
    close(fd);
    result = connect(db->vfs, name, &handle);
    if (result == SQLITE_OK) {
        result = fill_new(handle);
    }
    if (result != SQLITE_OK) {
        err = lethe_db_error_of(db, result);
        lethe_log(LETHE_LOG_ERROR, "metadata database: cannot make it: %s (%d)", sqlite3_errstr(result),
                  result);
    }
    sqlite3_close(handle);
    (void)unlink(log);
    if (!err) {
        err = join(log, path, "-wal");
    }
    if (!err && unlink(log) != 0 && errno != ENOENT) {
        err = system_error("remove an old log");
    }
    if (!err) {
        err = join(log, path, "-mark");
    }
    if (!err && unlink(log) != 0 && errno != ENOENT) {
        err = system_error("remove the mark of an old log");
    }
    if (!err) {
        err = sync_folder_of(path); /* the old log is gone before the new database has the name */
    }
    if (!err && rename(name, path) != 0) {
        err = system_error("give it its name");
    }
    if (!err) {
        err = sync_folder_of(path);
    }
    if (err) {
        (void)unlink(name);
    }
    return err;
}

/* The number of the next changeset, whether or not earlier ones are still there. */
static enum lethe_err find_seq(struct lethe_db *db)
{
    enum lethe_err err = lethe_db_get_int(db, "changeset_seq", 0, &db->next_seq);

    db->next_seq++;
    return err;
}

static enum lethe_err check_version(struct lethe_db *db)
{
    sqlite3_stmt *statement = NULL;
    int64_t version = 0;
    int result = sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &statement, NULL);

    if (result == SQLITE_OK) {
        result = sqlite3_step(statement);
    }
    if (result == SQLITE_ROW) {
        version = sqlite3_column_int64(statement, 0);
        result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    if (result != SQLITE_OK) {
        return lethe_db_error_of(db, result);
    }
    if (version > LETHE_SCHEMA_VERSION) {
        lethe_log(LETHE_LOG_ERROR, "the metadata database was written by a newer lethefs: update this one");
        return LETHE_ERR_VERSION;
    }
    return version == LETHE_SCHEMA_VERSION ? LETHE_OK : LETHE_ERR_FORMAT;
}

static enum lethe_err open_handle(struct lethe_db *db, const char *path)
{
    int result = connect(db->vfs, path, &db->handle);

    if (result == SQLITE_OK) {
        result = use_log(db->handle);
    }
    if (result != SQLITE_OK) {
        enum lethe_err err = lethe_db_error_of(db, result);

        lethe_log(LETHE_LOG_ERROR, "metadata database: cannot open it: %s (%d)", sqlite3_errstr(result),
                  result);
        return err;
    }
    return check_version(db);
}

/*
 * A log that was not brought home is from a life that was cut off, perhaps because a sync had failed. Then the kernel
 * shows bytes that are not on the disk, and no later sync will bring them there; frames that came behind them would
 * be durable without them. So what it shows is written again before anything is built on it.
 */
static enum lethe_err rewrite_log(const char *path)
{
    char log[PATH_MAX], bytes[65536];
    enum lethe_err err = join(log, path, "-wal");
    off_t at = 0;
    int fd;

    if (err) {
        return err;
    }
    fd = open(log, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? LETHE_OK : system_error("open its log");
    }
    for (;;) {
        ssize_t got = pread(fd, bytes, sizeof bytes, at), put = 0;

        for (ssize_t done = 0; got > 0 && done < got; done += put) {
            do {
                put = pwrite(fd, bytes + done, (size_t)(got - done), at + done);
            } while (put < 0 && errno == EINTR);
            if (put < 0) {
                break;
            }
        }
        if ((got < 0 || put < 0) && errno == EINTR) {
            continue;
        }
        if (got < 0 || put < 0) {
            err = system_error("write its log again");
        }
        if (got <= 0 || put < 0) {
            break;
        }
        at += got;
    }
    if (!err && at > 0 && fdatasync(fd) != 0) {
        err = system_error("make its log durable");
    }
    close(fd);
    /* A file system that needs room to write anew: most logs are whole all the same. */
    return err == LETHE_ERR_NOSPACE ? LETHE_OK : err;
}

static enum lethe_err start(struct lethe_db *db, const char *path)
{
    char log[PATH_MAX];
    enum lethe_err err = join(log, path, "-wal");
    int result;

    if (err) {
        return err;
    }
    db->recording = true;
    err = lethe_db_sessions_start(db);
    if (err) {
        return err;
    }
    result = execute(db->handle, "BEGIN IMMEDIATE");
    if (result != SQLITE_OK) {
        return lethe_db_error_of(db, result);
    }
    db->log_fd = open(log, O_RDWR | O_CLOEXEC);
    return find_seq(db);
}

enum lethe_err lethe_db_open(const char *path, const struct lethe_secret *key, bool create,
                             struct lethe_db **out)
{
    struct stat about;
    char mark[PATH_MAX];
    struct lethe_db *db;
    enum lethe_err err = join(mark, path, "-mark");

    *out = NULL;
    if (err) {
        return err;
    }
    if (stat(path, &about) != 0 && (errno != ENOENT || !create)) {
        return errno == ENOENT ? LETHE_ERR_NOT_FOUND : system_error("find it");
    }
    db = calloc(1, sizeof *db);
    if (!db) {
        return LETHE_ERR_NOMEM;
    }
    db->lock_fd = db->log_fd = -1;
    pthread_mutex_init(&db->mutex, NULL);
    err = lethe_vfs_new(key, NULL, &db->vfs);
    if (!err) {
        err = take_lock(path, &db->lock_fd);
    }
    if (!err && stat(path, &about) != 0) {
        err = errno == ENOENT ? make(db, path) : system_error("find it");
    } else if (!err && about.st_size < LETHE_VFS_PAGE_BYTES) {
        lethe_log(LETHE_LOG_ERROR, "the metadata database was cut short");
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        err = rewrite_log(path);
    }
    if (!err) {
        err = lethe_vfs_mark(db->vfs, mark);
    }
    if (!err) {
        err = open_handle(db, path);
    }
    if (!err) {
        err = start(db, path);
    }
    if (err) {
        db->failed = true; /* close must not touch the files */
        lethe_db_close(db);
        return err;
    }
    *out = db;
    return LETHE_OK;
}

void lethe_db_close(struct lethe_db *db)
{
    if (!db) {
        return;
    }
    lethe_db_sessions_stop(db);
    lethe_db_statements_release(db);
    if (db->handle && !sqlite3_get_autocommit(db->handle)) {
        (void)execute(db->handle, "ROLLBACK");
    }
    if (db->handle && !db->failed && !lethe_vfs_damaged(db->vfs)) {
        /* A clean end leaves an empty log. If this fails the log keeps what it has. */
        (void)sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    sqlite3_close(db->handle);
    lethe_vfs_free(db->vfs);
    if (db->log_fd >= 0) {
        close(db->log_fd);
    }
    if (db->lock_fd >= 0) {
        close(db->lock_fd);
    }
    pthread_mutex_destroy(&db->mutex);
    free(db);
}
