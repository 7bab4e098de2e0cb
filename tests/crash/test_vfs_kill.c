/* SPDX-License-Identifier: MIT */
/*
 * The database under kill -9: a child commits in a loop and tells each commit that returned; it is killed at
 * a random one. Whatever was told must be there, in whole transactions, again and again on the same files.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/device/db.h"
#include "lethe/log.h"

#define ROUNDS 30
#define ROWS 7

static char folder[64];
static char path[96];
static struct lethe_secret *key;

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static enum lethe_err put(struct lethe_db *db, int64_t ino, int64_t n, int padding)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(
        db, "INSERT OR REPLACE INTO inode VALUES(?1, 33188, 0, 0, 1, 0, ?2, 0, 0, 0, NULL, zeroblob(?3))",
        &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, ino);
    sqlite3_bind_int64(statement, 2, n);
    sqlite3_bind_int(statement, 3, padding);
    return lethe_db_run(db, statement);
}

/* Transaction n sets the first rows to n and adds one; sizes make checkpoints fall into every few rounds. */
static enum lethe_err transact(struct lethe_db *db, int64_t n, uint64_t *seed)
{
    enum lethe_err err = LETHE_OK;

    for (int64_t i = 1; i <= ROWS && !err; i++) {
        err = put(db, i, n, (int)(next(seed) % 60000));
    }
    if (!err) {
        err = lethe_db_begin(db);
    }
    if (!err) {
        err = put(db, 1, -1, 100);
    }
    if (!err) {
        err = lethe_db_end(db, false);
    }
    if (!err) {
        err = put(db, 1000 + n, n, (int)(next(seed) % 300));
    }
    return err ? err : lethe_db_commit(db);
}

static void commit_until_killed(int64_t n, uint64_t seed, int tell)
{
    struct lethe_db *db;

    if (lethe_db_open(path, key, true, &db) != LETHE_OK) {
        _exit(1);
    }
    lethe_db_lock(db);
    for (;;) {
        n++;
        if (transact(db, n, &seed) != LETHE_OK || write(tell, &n, sizeof n) != sizeof n) {
            _exit(1);
        }
    }
}

static int64_t number(struct lethe_db *db, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value;
    bool row;

    assert_int_equal(lethe_db_statement(db, sql, &statement), LETHE_OK);
    assert_int_equal(lethe_db_step(db, statement, &row), LETHE_OK);
    assert_true(row);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return value;
}

/* The number of the last transaction. */
static int64_t verify(int64_t told)
{
    struct lethe_db *db;
    sqlite3_stmt *statement;
    int64_t last;
    bool row;

    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_OK);
    lethe_db_lock(db);
    last = number(db, "SELECT coalesce(max(size), 0) FROM inode WHERE ino > 1000");
    if (last < told || last > told + 1) {
        fail_msg("transaction %lld was told, %lld is the last", (long long)told, (long long)last);
    }
    assert_int_equal(number(db, "SELECT count(*) FROM inode WHERE ino > 1000"), last);
    assert_int_equal(number(db, "SELECT count(*) FROM changeset"), last);
    if (last > 0) {
        assert_int_equal(number(db, "SELECT min(size) FROM inode WHERE ino <= 7"), last);
        assert_int_equal(number(db, "SELECT max(size) FROM inode WHERE ino <= 7"), last);
    }
    assert_int_equal(lethe_db_statement(db, "PRAGMA integrity_check", &statement), LETHE_OK);
    assert_int_equal(lethe_db_step(db, statement, &row), LETHE_OK);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
    sqlite3_reset(statement);
    lethe_db_unlock(db);
    lethe_db_close(db);
    return last;
}

static int64_t one_round(int64_t last, uint64_t *seed)
{
    int64_t told = last, n;
    uint32_t commits = next(seed) % 25, moment = next(seed) % 20000;
    uint64_t child_seed = next(seed);
    int ends[2], status;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        commit_until_killed(last, child_seed, ends[1]);
    }
    close(ends[1]);
    for (uint32_t i = 0; i < commits; i++) {
        assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
    }
    /* Somewhere inside of the next commit. */
    for (volatile uint32_t i = 0; i < moment * 10; i++) {
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(ends[0], &n, sizeof n) == sizeof n) {
        told = n;
    }
    close(ends[0]);
    return verify(told);
}

static void nothing_told_is_lost(void **unused)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {1};
    const char *given = getenv("LETHE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 9;
    char command[128];
    int64_t last = 0;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    strcpy(folder, "/tmp/lethe-kill-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/meta", folder);
    assert_int_equal(lethe_secret_new(bytes, &key), LETHE_OK);
    for (int round = 0; round < ROUNDS; round++) {
        last = one_round(last, &seed);
    }
    print_message("%lld transactions in %d lives\n", (long long)last, ROUNDS);
    lethe_secret_free(key);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_told_is_lost)};

    if (lethe_seal_start() != LETHE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
