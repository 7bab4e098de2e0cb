/* SPDX-License-Identifier: MIT */
/* The metadata database: opening, transactions, changesets, damage, failing writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/device/db_private.h"
#include "fs/device/schema.h"
#include "lethe/log.h"

static char folder[64];
static char path[96];
static struct lethe_secret *key;

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static int setup(void **unused)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {1};

    (void)unused;
    strcpy(folder, "/tmp/lethe-db-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/meta", folder);
    lethe_log_set_sink(quiet, NULL);
    return lethe_secret_new(bytes, &key);
}

static int teardown(void **unused)
{
    static const char *const suffixes[] = {"", "-wal", "-mark", ".lock", ".new", ".new-wal",
                                           "-copy", "-copy-wal", "-copy-mark"};
    char name[128];

    (void)unused;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
    lethe_secret_free(key);
    return rmdir(folder); /* fails when another file was left */
}

static struct lethe_db *open_db(void)
{
    struct lethe_db *db;

    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_OK);
    lethe_db_lock(db);
    return db;
}

static void close_db(struct lethe_db *db)
{
    lethe_db_unlock(db);
    lethe_db_close(db);
}

static enum lethe_err add_inode(struct lethe_db *db, int64_t ino, const char *target)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(
        db, "INSERT INTO inode VALUES(?1, 33188, 0, 0, 1, 0, 0, 1, 2, 3, NULL, ?2)", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, ino);
    sqlite3_bind_blob(statement, 2, target, (int)strlen(target), SQLITE_STATIC);
    return lethe_db_run(db, statement);
}

static int64_t number(struct lethe_db *db, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = -1;
    bool row;

    assert_int_equal(lethe_db_statement(db, sql, &statement), LETHE_OK);
    assert_int_equal(lethe_db_step(db, statement, &row), LETHE_OK);
    if (row) {
        value = sqlite3_column_int64(statement, 0);
    }
    sqlite3_reset(statement);
    return value;
}

static void copy_file(const char *from_suffix, const char *to_suffix)
{
    char from[128], to[128];
    FILE *in, *out;
    int c;

    snprintf(from, sizeof from, "%s%s", path, from_suffix);
    snprintf(to, sizeof to, "%s%s", path, to_suffix);
    in = fopen(from, "rb");
    out = fopen(to, "wb");
    assert_true(in && out);
    while ((c = getc(in)) != EOF) {
        putc(c, out);
    }
    fclose(in);
    fclose(out);
}

static uint8_t *load(const char *suffix, size_t *len)
{
    char name[128];
    struct stat about;
    uint8_t *bytes;
    FILE *in;

    snprintf(name, sizeof name, "%s%s", path, suffix);
    assert_int_equal(stat(name, &about), 0);
    *len = (size_t)about.st_size;
    bytes = malloc(*len + 1);
    assert_non_null(bytes);
    in = fopen(name, "rb");
    assert_non_null(in);
    assert_int_equal(fread(bytes, 1, *len, in), *len);
    fclose(in);
    return bytes;
}

static void flip(const char *suffix, long at)
{
    char name[128];
    FILE *file;
    int c;

    snprintf(name, sizeof name, "%s%s", path, suffix);
    file = fopen(name, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    c = getc(file);
    fseek(file, at, SEEK_SET);
    putc(c ^ 1, file);
    fclose(file);
}

static void opens_as_it_should(void **unused)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {2};
    struct lethe_secret *other;
    struct lethe_db *db, *second;

    (void)unused;
    assert_int_equal(lethe_db_open(path, key, false, &db), LETHE_ERR_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    db = open_db();
    assert_int_equal(lethe_db_open(path, key, true, &second), LETHE_ERR_BUSY);
    assert_null(second);
    assert_int_equal(add_inode(db, 1, "kept"), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(add_inode(db, 2, "not kept"), LETHE_OK);
    close_db(db);
    assert_int_equal(lethe_secret_new(bytes, &other), LETHE_OK);
    assert_int_equal(lethe_db_open(path, other, true, &db), LETHE_ERR_INTEGRITY);
    lethe_secret_free(other);
    assert_int_equal(lethe_db_open(path, key, false, &db), LETHE_OK);
    lethe_db_lock(db);
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 1);
    assert_int_equal(sqlite3_exec(lethe_db_handle(db), "PRAGMA user_version=99", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    close_db(db);
    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_ERR_VERSION);
}

static void a_wrong_key_harms_no_log(void **unused)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {2};
    struct lethe_secret *other;
    struct lethe_db *db = open_db(), *wrong;

    (void)unused;
    assert_int_equal(add_inode(db, 1, "in the log"), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    copy_file("", "-copy");
    copy_file("-wal", "-copy-wal");
    close_db(db);
    assert_int_equal(rename(strcat(strcpy((char[128]){0}, path), "-copy"), path), 0);
    copy_file("-copy-wal", "-wal");
    assert_int_equal(lethe_secret_new(bytes, &other), LETHE_OK);
    assert_int_equal(lethe_db_open(path, other, true, &wrong), LETHE_ERR_INTEGRITY);
    lethe_secret_free(other);
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 1);
    close_db(db);
}

static void operations_nest(void **unused)
{
    struct lethe_db *db = open_db();

    (void)unused;
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(add_inode(db, 1, "a"), LETHE_OK);
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(add_inode(db, 2, "b"), LETHE_OK);
    assert_int_equal(lethe_db_end(db, false), LETHE_OK);
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(add_inode(db, 3, "c"), LETHE_OK);
    assert_int_equal(add_inode(db, 3, "twice"), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_db_end(db, true), LETHE_OK);
    assert_int_equal(lethe_db_end(db, true), LETHE_OK);
    assert_int_equal(number(db, "SELECT sum(ino) FROM inode"), 4);
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(add_inode(db, 5, "d"), LETHE_OK);
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(lethe_db_end(db, true), LETHE_OK);
    assert_int_equal(lethe_db_end(db, false), LETHE_OK);
    assert_int_equal(number(db, "SELECT sum(ino) FROM inode"), 4);
    close_db(db);
}

static void settings_are_kept(void **unused)
{
    struct lethe_db *db = open_db();
    struct lethe_buf buf = {0};
    int64_t value;

    (void)unused;
    assert_int_equal(lethe_db_get_int(db, "a", -7, &value), LETHE_OK);
    assert_int_equal(value, -7);
    assert_int_equal(lethe_db_get_blob(db, "b", &buf), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_db_set_int(db, "a", INT64_MIN), LETHE_OK);
    assert_int_equal(lethe_db_set_blob(db, "b", "x\0y", 3), LETHE_OK);
    assert_int_equal(lethe_db_set_blob(db, "empty", NULL, 0), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    close_db(db);
    db = open_db();
    assert_int_equal(lethe_db_get_int(db, "a", 0, &value), LETHE_OK);
    assert_true(value == INT64_MIN);
    assert_int_equal(lethe_db_get_blob(db, "b", &buf), LETHE_OK);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "x\0y", 3);
    assert_int_equal(lethe_db_get_blob(db, "empty", &buf), LETHE_OK);
    assert_int_equal(buf.len, 3);
    lethe_buf_release(&buf);
    close_db(db);
}

static int refuse(void *context, int conflict, sqlite3_changeset_iter *iterator)
{
    (void)context;
    (void)conflict;
    (void)iterator;
    return SQLITE_CHANGESET_ABORT;
}

/* Replays every changeset of db's column into plain tables and counts the rows of a table. */
static int64_t replay(struct lethe_db *db, const char *changesets, const char *count)
{
    sqlite3 *plain;
    sqlite3_stmt *statement;
    int64_t value;

    assert_int_equal(sqlite3_open(":memory:", &plain), SQLITE_OK);
    assert_int_equal(sqlite3_exec(plain, LETHE_SCHEMA_TREE LETHE_SCHEMA_VAULT, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(db), changesets, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        void *bytes = (void *)(uintptr_t)sqlite3_column_blob(statement, 0);
        int len = sqlite3_column_bytes(statement, 0);

        assert_int_equal(sqlite3changeset_apply(plain, len, bytes, NULL, refuse, NULL), SQLITE_OK);
    }
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_prepare_v2(plain, count, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(plain);
    return value;
}

static void run(struct lethe_db *db, const char *sql)
{
    sqlite3_stmt *statement;

    assert_int_equal(lethe_db_statement(db, sql, &statement), LETHE_OK);
    assert_int_equal(lethe_db_run(db, statement), LETHE_OK);
}

static void changesets_tell_every_change_once(void **unused)
{
    struct lethe_db *db = open_db();
    int64_t value;

    (void)unused;
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    run(db, "INSERT INTO working VALUES(1, NULL, 0, 0, 0)"); /* the device's own */
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM changeset"), 0);

    assert_int_equal(add_inode(db, 1, "one"), LETHE_OK);
    assert_int_equal(lethe_db_begin(db), LETHE_OK);
    assert_int_equal(add_inode(db, 2, "taken back"), LETHE_OK);
    run(db, "DELETE FROM inode WHERE ino = 1");
    assert_int_equal(lethe_db_end(db, false), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    run(db, "INSERT INTO object VALUES(x'00', 1, 2, 3, 0)");
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(number(db, "SELECT count(tree) * 10 + count(vault) FROM changeset"), 11);
    assert_int_equal(number(db, "SELECT max(seq) FROM changeset"), 2);
    run(db, "UPDATE inode SET size = 77 WHERE ino = 1");
    assert_int_equal(add_inode(db, 3, "three"), LETHE_OK);
    run(db, "DELETE FROM object");
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(replay(db, "SELECT tree FROM changeset WHERE tree IS NOT NULL ORDER BY seq",
                            "SELECT count(*) * 1000 + sum(size) FROM inode"),
                     2077);
    assert_int_equal(replay(db, "SELECT vault FROM changeset WHERE vault IS NOT NULL ORDER BY seq",
                            "SELECT count(*) FROM object"),
                     0);

    /* A recovery brings rows that the journal has already. */
    lethe_db_sessions_enable(db, false);
    assert_int_equal(add_inode(db, 4, "from the journal"), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(add_inode(db, 5, "from the journal"), LETHE_OK);
    lethe_db_sessions_enable(db, true);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM changeset"), 3);

    /* Numbers are not used again when the rows are gone. */
    run(db, "DELETE FROM changeset");
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    close_db(db);
    db = open_db();
    assert_int_equal(add_inode(db, 6, "six"), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    assert_int_equal(number(db, "SELECT seq FROM changeset"), 4);
    assert_int_equal(lethe_db_get_int(db, "changeset_seq", 0, &value), LETHE_OK);
    assert_int_equal(value, 4);
    close_db(db);
}

static const char marker[] = "a name that must not be seen, IMG_2041.JPG";

static void fill(struct lethe_db *db, int from, int to)
{
    for (int i = from; i < to; i++) {
        assert_int_equal(add_inode(db, i, marker), LETHE_OK);
    }
}

/* Chi-square of the byte counts, 255 degrees of freedom: 400 lies eight deviations above what noise gives. */
static void expect_noise(const char *suffix, size_t least)
{
    size_t len, counts[256] = {0};
    uint8_t *bytes = load(suffix, &len);
    double square = 0, expected = (double)len / 256;

    assert_true(len >= least);
    assert_null(memmem(bytes, len, marker, 8));
    assert_null(memmem(bytes, len, "SQLite", 6));
    assert_null(memmem(bytes, len, "inode", 5));
    for (size_t i = 0; i < len; i++) {
        counts[bytes[i]]++;
    }
    for (int i = 0; i < 256; i++) {
        double difference = (double)counts[i] - expected;

        square += difference * difference / expected;
    }
    if (square > 400) {
        fail_msg("%s: chi-square %.0f", suffix, square);
    }
    free(bytes);
}

static void nothing_is_readable(void **unused)
{
    struct lethe_db *db = open_db();

    (void)unused;
    fill(db, 1, 2000);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    expect_noise("-wal", 100000);
    expect_noise("", 60000);
    close_db(db);
    expect_noise("", 100000);
    expect_noise("-wal", 0);
}

/* Reads all there is. */
static enum lethe_err read_all(void)
{
    struct lethe_db *db;
    sqlite3_stmt *statement;
    bool row = true, sound = false;
    enum lethe_err err = lethe_db_open(path, key, false, &db);

    if (err) {
        return err;
    }
    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT sum(length(target)) FROM inode", &statement);
    if (!err) {
        err = lethe_db_step(db, statement, &row);
    }
    if (!err) {
        err = lethe_db_statement(db, "PRAGMA integrity_check", &statement);
    }
    if (!err) {
        err = lethe_db_step(db, statement, &row);
        sound = !err && row && strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
    }
    close_db(db);
    return err || sound ? err : LETHE_ERR_INTEGRITY;
}

static void a_flipped_byte_is_found(void **unused)
{
    struct lethe_db *db = open_db();
    struct stat about;
    unsigned seed = 3;

    (void)unused;
    fill(db, 1, 300);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    close_db(db);
    assert_int_equal(read_all(), LETHE_OK);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size % 4096, 0);
    for (long page = 0; page < about.st_size / 4096; page++) {
        long at = page * 4096 + (long)((seed = seed * 1103515245 + 12345) >> 16) % 4096;

        flip("", at);
        assert_int_equal(read_all(), LETHE_ERR_INTEGRITY);
        flip("", at);
    }
    assert_int_equal(read_all(), LETHE_OK);
    /* Pages that change places, and a file cut at a page's end. */
    copy_file("", "-copy");
    assert_int_equal(truncate(path, about.st_size - 4096), 0);
    assert_int_equal(read_all(), LETHE_ERR_INTEGRITY);
    copy_file("-copy", "");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(read_all(), LETHE_ERR_INTEGRITY);
    copy_file("-copy", "");
    assert_int_equal(read_all(), LETHE_OK);
}

static void a_damaged_log_ends_or_is_refused(void **unused)
{
    struct lethe_db *db = open_db();
    struct stat about;
    char log[128];

    (void)unused;
    snprintf(log, sizeof log, "%s-wal", path);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(add_inode(db, i, marker), LETHE_OK);
        assert_int_equal(lethe_db_commit(db), LETHE_OK);
    }
    assert_int_equal(stat(log, &about), 0);
    copy_file("", "-copy");
    copy_file("-wal", "-copy-wal");
    close_db(db);

    /* The tail: the last transaction is torn, those before it stay. */
    copy_file("-copy", "");
    copy_file("-copy-wal", "-wal");
    flip("-wal", about.st_size - 100);
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 4);
    close_db(db);

    /* The middle: later frames tell that this one was durable. */
    copy_file("-copy", "");
    copy_file("-copy-wal", "-wal");
    flip("-wal", 100);
    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_ERR_INTEGRITY);
    copy_file("-copy-wal", "-wal");
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 5);
    close_db(db);
}

static enum lethe_err open_again(void)
{
    struct lethe_db *db = NULL;
    enum lethe_err err = lethe_db_open(path, key, true, &db);

    lethe_db_close(db);
    return err;
}

/* As a kill leaves it: the log and its mark, before a clean end has emptied them. */
static void restore(void)
{
    copy_file("-copy", "");
    copy_file("-copy-wal", "-wal");
    copy_file("-copy-mark", "-mark");
}

static void a_log_that_lost_something_is_refused(void **unused)
{
    struct lethe_db *db = open_db();
    struct stat about;
    char log[128], mark[128];

    (void)unused;
    snprintf(log, sizeof log, "%s-wal", path);
    snprintf(mark, sizeof mark, "%s-mark", path);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(add_inode(db, i, marker), LETHE_OK);
        assert_int_equal(lethe_db_commit(db), LETHE_OK);
    }
    assert_int_equal(stat(log, &about), 0);
    copy_file("", "-copy");
    copy_file("-wal", "-copy-wal");
    copy_file("-mark", "-copy-mark");
    close_db(db);

    /* Cut anywhere, even where a transaction ends; gone; its header, its first frame, its last. */
    for (off_t size = 0; size < about.st_size; size += about.st_size / 23) {
        restore();
        assert_int_equal(truncate(log, size), 0);
        assert_int_equal(open_again(), LETHE_ERR_INTEGRITY);
        assert_int_equal(open_again(), LETHE_ERR_INTEGRITY);
    }
    restore();
    assert_int_equal(unlink(log), 0);
    assert_int_equal(open_again(), LETHE_ERR_INTEGRITY);
    for (off_t at = 10; at < about.st_size; at += about.st_size / 23) {
        restore();
        flip("-wal", at);
        assert_int_equal(open_again(), LETHE_ERR_INTEGRITY);
    }
    restore();
    flip("-wal", about.st_size - 1);
    assert_int_equal(open_again(), LETHE_ERR_INTEGRITY);

    /* Without its mark, or with one that does not open, a log is taken for what it shows. */
    restore();
    assert_int_equal(unlink(mark), 0);
    assert_int_equal(truncate(log, about.st_size - 1), 0);
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 4);
    close_db(db);
    restore();
    flip("-mark", 40);
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 5);
    close_db(db);

    /* A mark that lags behind, as a power cut may leave it: of this log, and of the one before. */
    restore();
    db = open_db();
    assert_int_equal(add_inode(db, 6, marker), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    copy_file("", "-copy");
    copy_file("-wal", "-copy-wal");
    close_db(db);
    restore();
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 6);
    close_db(db);
    db = open_db();
    assert_int_equal(add_inode(db, 7, marker), LETHE_OK);
    assert_int_equal(lethe_db_commit(db), LETHE_OK);
    copy_file("", "-copy");
    copy_file("-wal", "-copy-wal");
    close_db(db);
    restore();
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 7);
    close_db(db);

    /* A clean end takes its promise back before the log is emptied: then a log may be missing. */
    assert_int_equal(unlink(log), 0);
    db = open_db();
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 7);
    close_db(db);
}

/* --- a disk that fails --- */

static struct {
    sqlite3_vfs *real;
    /* Of the database and of its log: the real ones differ in how they lock. */
    sqlite3_io_methods methods[2];
    const sqlite3_io_methods *real_methods[2];
    int countdown; /* writes and syncs until one fails; -1: none */
    int result;
} fault = {.countdown = -1};

static bool fails(void)
{
    if (fault.countdown > 0) {
        fault.countdown--;
    }
    return fault.countdown == 0;
}

static const sqlite3_io_methods *real_methods(const sqlite3_file *file)
{
    return fault.real_methods[file->pMethods == &fault.methods[1]];
}

static int fault_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    return fails() ? fault.result : real_methods(file)->xWrite(file, bytes, len, at);
}

static int fault_sync(sqlite3_file *file, int flags)
{
    return fails() ? SQLITE_IOERR_FSYNC : real_methods(file)->xSync(file, flags);
}

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    int result = fault.real->xOpen(fault.real, name, file, flags, out);

    (void)vfs;
    if (result == SQLITE_OK) {
        int kind = (flags & SQLITE_OPEN_WAL) != 0;

        fault.real_methods[kind] = file->pMethods;
        fault.methods[kind] = *file->pMethods;
        fault.methods[kind].xWrite = fault_write;
        fault.methods[kind].xSync = fault_sync;
        file->pMethods = &fault.methods[kind];
    }
    return result;
}

static void failing_writes_lose_nothing_durable(void **unused)
{
    static sqlite3_vfs vfs;
    bool clean = false;

    (void)unused;
    fault.real = sqlite3_vfs_find(NULL);
    vfs = *fault.real;
    vfs.zName = "fault";
    vfs.xOpen = fault_open;
    vfs.pNext = NULL;
    sqlite3_vfs_register(&vfs, 1);
    close_db(open_db());
    for (int nth = 1; !clean; nth++) {
        struct lethe_db *db = open_db();
        int64_t before = number(db, "SELECT count(*) FROM inode");
        enum lethe_err err;

        fault.countdown = nth;
        fault.result = nth % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        assert_int_equal(add_inode(db, nth, marker), LETHE_OK);
        assert_int_equal(add_inode(db, 1000 + nth, marker), LETHE_OK);
        err = lethe_db_commit(db);
        clean = fault.countdown > 0;
        fault.countdown = -1;
        if (err) {
            sqlite3_stmt *statement;

            /* SQLite has given up the transaction: nothing can be committed any more. */
            assert_int_equal(lethe_db_begin(db), LETHE_ERR_IO);
            assert_int_equal(lethe_db_statement(db, "SELECT 1", &statement), LETHE_ERR_IO);
            assert_int_equal(lethe_db_commit(db), LETHE_ERR_IO);
        }
        close_db(db);
        db = open_db();
        /* When only the sync failed, the transaction may be there nevertheless: all of it. */
        if (!err || number(db, "SELECT count(*) FROM inode") != before) {
            assert_int_equal(number(db, "SELECT count(*) FROM inode"), before + 2);
        }
        assert_int_equal(number(db, "SELECT count(*) FROM inode"),
                         2 * number(db, "SELECT count(*) FROM changeset"));
        close_db(db);
        assert_int_equal(read_all(), LETHE_OK);
        assert_true(nth < 100);
    }
    sqlite3_vfs_unregister(&vfs);
    sqlite3_vfs_register(fault.real, 1);
}

static void the_log_begins_anew(void **unused)
{
    struct lethe_db *db = open_db();
    struct stat about;
    char log[128];

    (void)unused;
    snprintf(log, sizeof log, "%s-wal", path);
    for (int i = 0; i < 60; i++) {
        fill(db, 1 + i * 4000, 1 + i * 4000 + 4000);
        assert_int_equal(lethe_db_commit(db), LETHE_OK);
    }
    assert_int_equal(stat(log, &about), 0);
    assert_true(about.st_size < 12 << 20);
    assert_int_equal(number(db, "SELECT count(*) FROM inode"), 240000);
    close_db(db);
    assert_int_equal(stat(log, &about), 0);
    assert_int_equal(about.st_size, 0);
    assert_int_equal(read_all(), LETHE_OK);
}

/* --- a disk that is full --- */

#define SKIPPED 77
#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static bool write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* A small disk of our own over the folder, in a mount namespace that only this process sees. */
static bool small_disk(void)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();

    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
        return false;
    }
    if (uid != 0) {
        snprintf(map, sizeof map, "%u %u 1", uid, uid);
        if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", map)) {
            return false;
        }
        snprintf(map, sizeof map, "%u %u 1", gid, gid);
        if (!write_file("/proc/self/gid_map", map)) {
            return false;
        }
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=48m,mode=700") == 0;
}

/* Works in the child: cmocka's assertions would unwind into the parent's tests. */
static void fill_the_disk(void)
{
    struct lethe_db *db;
    enum lethe_err err;
    char ballast[128];
    int64_t n = 0, committed, refused = 0;
    int fd;

    if (!small_disk()) {
        _exit(SKIPPED);
    }
    EXPECT(lethe_db_open(path, key, true, &db) == LETHE_OK);
    lethe_db_lock(db);
    snprintf(ballast, sizeof ballast, "%s/ballast", folder);
    fd = open(ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT(fd >= 0 && fallocate(fd, 0, 0, 24 << 20) == 0);
    /* Until operations are refused; and every commit on the way works, for its space was set aside. */
    do {
        err = lethe_db_begin(db);
        if (!err) {
            EXPECT(add_inode(db, ++n, marker) == LETHE_OK);
            EXPECT(lethe_db_end(db, true) == LETHE_OK);
        }
        if (!err && n % 500 == 0) {
            EXPECT(lethe_db_commit(db) == LETHE_OK);
        }
        EXPECT(n < 10000000);
    } while (!err);
    EXPECT(err == LETHE_ERR_NOSPACE);
    EXPECT(lethe_db_commit(db) == LETHE_OK);
    committed = n;
    /* Reading goes on, and so does work when there is room again. */
    EXPECT(number(db, "SELECT count(*) FROM inode") == n);
    while (lethe_db_begin(db) == LETHE_OK) {
        EXPECT(add_inode(db, ++n, marker) == LETHE_OK && lethe_db_end(db, true) == LETHE_OK);
        EXPECT(lethe_db_commit(db) == LETHE_OK && refused++ < 1000000);
        committed = n;
    }
    /* The committer's own work is not refused; a commit that has no room leaves all as it was. */
    lethe_db_set_committing(db, true);
    do {
        for (int i = 0; i < 1000; i++) {
            EXPECT(add_inode(db, ++n, marker) == LETHE_OK);
        }
        err = lethe_db_commit(db);
        EXPECT(err == LETHE_OK || err == LETHE_ERR_NOSPACE);
        EXPECT(n < 10000000);
    } while (!err);
    lethe_db_set_committing(db, false);
    EXPECT(lethe_db_commit(db) == LETHE_ERR_NOSPACE);
    EXPECT(ftruncate(fd, 0) == 0);
    EXPECT(add_inode(db, ++n, marker) == LETHE_OK);
    EXPECT(lethe_db_commit(db) == LETHE_OK);
    EXPECT(n > committed);
    EXPECT(number(db, "SELECT count(*) FROM changeset") == number(db, "SELECT max(seq) FROM changeset"));
    lethe_db_unlock(db);
    lethe_db_close(db);
    EXPECT(lethe_db_open(path, key, false, &db) == LETHE_OK);
    lethe_db_lock(db);
    EXPECT(number(db, "SELECT count(*) FROM inode") == n);
    EXPECT(number(db, "SELECT max(ino) FROM inode") == n);
    EXPECT(replay(db, "SELECT tree FROM changeset ORDER BY seq", "SELECT count(*) FROM inode") == n);
    lethe_db_unlock(db);
    lethe_db_close(db);
    _exit(0);
}

static void a_full_disk_refuses_and_forgets_nothing(void **unused)
{
    pid_t child = fork();
    int status;

    (void)unused;
    assert_true(child >= 0);
    if (child == 0) {
        fill_the_disk();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("no permission to mount a small disk: skipped\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(opens_as_it_should),
        CASE(a_wrong_key_harms_no_log),
        CASE(operations_nest),
        CASE(settings_are_kept),
        CASE(changesets_tell_every_change_once),
        CASE(nothing_is_readable),
        CASE(a_flipped_byte_is_found),
        CASE(a_damaged_log_ends_or_is_refused),
        CASE(a_log_that_lost_something_is_refused),
        CASE(failing_writes_lose_nothing_durable),
        CASE(the_log_begins_anew),
        CASE(a_full_disk_refuses_and_forgets_nothing),
    };

    if (lethe_seal_start() != LETHE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
