/* SPDX-License-Identifier: MIT */
/* Group commit: what was done before lethe_commit_wait is durable, operations are whole, failures can be
 * repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/device/commit.h"
#include "fs/device/db_private.h"
#include "lethe/log.h"

#define THREADS 4
#define OPERATIONS 150

static char folder[64];
static char path[96];
static char cache[96];
static struct lethe_secret *key;
static struct lethe_db *db;
static struct lethe_contents *contents;
static struct lethe_committer *committer;

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static void start(void)
{
    const struct lethe_contents_options options = {
        .state_dir = folder, .cache_dir = cache, .limit = 64 << 20, .reserve = 4 << 20};

    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_OK);
    assert_int_equal(lethe_contents_open(db, key, &options, &contents), LETHE_OK);
    assert_int_equal(lethe_committer_new(db, contents, &committer), LETHE_OK);
}

static void stop(void)
{
    assert_int_equal(lethe_committer_close(committer), LETHE_OK);
    lethe_contents_close(contents);
    lethe_db_close(db);
}

static int setup(void **unused)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {1};

    (void)unused;
    strcpy(folder, "/tmp/lethe-commit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/meta", folder);
    snprintf(cache, sizeof cache, "%s/cache", folder);
    lethe_log_set_sink(quiet, NULL);
    assert_int_equal(lethe_secret_new(bytes, &key), LETHE_OK);
    start();
    return 0;
}

static int teardown(void **unused)
{
    char command[128];

    (void)unused;
    stop();
    lethe_secret_free(key);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static enum lethe_err insert(const char *table_sql, int64_t number)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db, table_sql, &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, number);
    return lethe_db_run(db, statement);
}

static const char add_working[] = "INSERT INTO working VALUES(?1, NULL, 0, 0, 0)";
static const char add_dead[] = "INSERT INTO dead VALUES(CAST(?1 AS BLOB), 0)";

/* One operation in two steps, with the database lock let go between them: no commit may fall there. */
static void operate(int64_t number)
{
    lethe_gate_enter(committer);
    lethe_db_lock(db);
    assert_int_equal(insert(add_working, number), LETHE_OK);
    lethe_db_unlock(db);
    lethe_db_lock(db);
    assert_int_equal(insert(add_dead, number), LETHE_OK);
    lethe_db_unlock(db);
    lethe_gate_leave(committer, true);
}

static int64_t count(const char *sql)
{
    sqlite3_stmt *statement;
    bool row;
    int64_t value;

    lethe_db_lock(db);
    assert_int_equal(lethe_db_statement(db, sql, &statement), LETHE_OK);
    assert_int_equal(lethe_db_step(db, statement, &row), LETHE_OK);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    lethe_db_unlock(db);
    return value;
}

static const char count_working[] = "SELECT count(*) FROM working";
static const char count_dead[] = "SELECT count(*) FROM dead";

static atomic_int commits;
static atomic_bool torn;

static enum lethe_err observe(void *unused)
{
    (void)unused;
    atomic_fetch_add(&commits, 1);
    if (count(count_working) != count(count_dead)) {
        atomic_store(&torn, true);
    }
    return LETHE_OK;
}

static void *work(void *first)
{
    for (int i = 0; i < OPERATIONS; i++) {
        operate((int64_t)(intptr_t)first + i);
        if (i % 3 == 0 && lethe_commit_wait(committer) != LETHE_OK) {
            return first;
        }
    }
    return NULL;
}

static void threads_share_commits(void **unused)
{
    const struct lethe_commit_hooks hooks = {.prepare = observe};
    pthread_t threads[THREADS];

    (void)unused;
    atomic_store(&commits, 0);
    lethe_committer_set_hooks(committer, &hooks);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)(1 + i * 1000)), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_false(atomic_load(&torn));
    assert_in_range(atomic_load(&commits), 1, THREADS * OPERATIONS);
    assert_int_equal(lethe_commit_wait(committer), LETHE_OK);
    stop();
    start();
    assert_int_equal(count(count_working), THREADS * OPERATIONS);
    assert_int_equal(count(count_dead), THREADS * OPERATIONS);
}

static void the_thread_commits_by_itself(void **unused)
{
    const struct lethe_commit_hooks hooks = {.prepare = observe};

    (void)unused;
    atomic_store(&commits, 0);
    lethe_committer_set_hooks(committer, &hooks);
    operate(1);
    while (atomic_load(&commits) == 0) {
        sched_yield();
    }
}

static enum lethe_err answer;
static int calls;

static enum lethe_err prepare(void *unused)
{
    (void)unused;
    calls++;
    return answer;
}

static enum lethe_err extra(void *context)
{
    /* The gate is held alone: hooks were called, and the database can be used. */
    lethe_db_lock(db);
    assert_int_equal(insert(add_working, 100 + *(int *)context), LETHE_OK);
    lethe_db_unlock(db);
    calls += 100;
    return *(int *)context ? LETHE_ERR_CONFLICT : LETHE_OK;
}

static void failures_can_be_repeated(void **unused)
{
    const struct lethe_commit_hooks hooks = {.prepare = prepare};
    int context = 0;

    (void)unused;
    calls = 0;
    answer = LETHE_ERR_NOSPACE;
    lethe_committer_set_hooks(committer, &hooks);
    operate(1);
    assert_int_equal(lethe_commit_wait(committer), LETHE_ERR_NOSPACE);
    assert_int_equal(lethe_commit_with(committer, extra, &context), LETHE_ERR_NOSPACE);
    assert_true(calls >= 2 && calls < 100);
    answer = LETHE_OK;
    assert_int_equal(lethe_commit_with(committer, extra, &context), LETHE_OK);
    context = 1;
    assert_int_equal(lethe_commit_with(committer, extra, &context), LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_commit_with(committer, NULL, NULL), LETHE_OK);
    stop();
    start();
    assert_int_equal(count(count_working), 3);
}

/* The open transaction lives in memory: operations wait for a commit before it grows without bound. */
static void large_transactions_are_committed_early(void **unused)
{
    static const char sql[] = "INSERT INTO changeset VALUES(?1, zeroblob(1000000), NULL)";

    (void)unused;
    for (int i = 1; i <= 120; i++) {
        lethe_gate_enter(committer);
        lethe_db_lock(db);
        assert_int_equal(insert(sql, i), LETHE_OK);
        assert_true(lethe_db_load(db) < 64u << 20);
        lethe_db_unlock(db);
        lethe_gate_leave(committer, true);
    }
    assert_int_equal(lethe_commit_wait(committer), LETHE_OK);
    assert_int_equal(count("SELECT count(*) FROM changeset"), 120);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(threads_share_commits),
        CASE(the_thread_commits_by_itself),
        CASE(failures_can_be_repeated),
        CASE(large_transactions_are_committed_early),
    };

    if (lethe_seal_start() != LETHE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
