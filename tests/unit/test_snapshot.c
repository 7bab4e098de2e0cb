/* SPDX-License-Identifier: MIT */
/* A snapshot holds every column of every table that the journal tells of, whatever columns the schema gets. */
#include "fs/vault/journal.h"
#include "vault_fixture.h"

static const char *const names[] = {"inode", "dentry", "xattr", "content", "piece", "object"};
#define TABLES (sizeof names / sizeof *names)

/* The one column of the query, all rows behind one another. */
static void query(struct lethe_db *db, const char *sql, struct lethe_buf *out)
{
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(db), sql, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        lethe_buf_print(out, "%s%s", out->len ? "," : "", (const char *)sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    lethe_buf_put_u8(out, 0);
    out->len--;
}

/* A row in which no column is NULL, and no two are equal. */
static void add_row(struct lethe_db *db, const char *table)
{
    struct lethe_buf sql = {0}, values = {0};

    lethe_buf_print(&sql,
                    "SELECT iif(type = 'BLOB', printf('x''%%032x''', cid + 100), cid + 100) FROM pragma_table_info('%s')%c",
                    table, 0);
    query(db, (const char *)sql.data, &values);
    lethe_buf_reset(&sql);
    lethe_buf_print(&sql, "INSERT INTO %s VALUES(%s)%c", table, (const char *)values.data, 0);
    assert_int_equal(sqlite3_exec(lethe_db_handle(db), (const char *)sql.data, NULL, NULL, NULL), SQLITE_OK);
    lethe_buf_release(&sql);
    lethe_buf_release(&values);
}

/* The rows that are not there from the beginning, as text. */
static void describe(struct lethe_db *db, const char *table, struct lethe_buf *out)
{
    struct lethe_buf sql = {0}, columns = {0};

    lethe_buf_print(&sql, "SELECT printf('quote(%%s)', name) FROM pragma_table_info('%s')%c", table, 0);
    query(db, (const char *)sql.data, &columns);
    for (uint8_t *p = columns.data; *p; p++) {
        *p = *p == ',' ? '|' : *p;
    }
    lethe_buf_reset(&sql);
    lethe_buf_print(&sql, "SELECT ");
    for (const char *p = (const char *)columns.data; *p; p++) {
        lethe_buf_print(&sql, *p == '|' ? "||' '||" : "%c", *p);
    }
    lethe_buf_print(&sql, " FROM %s ORDER BY 1%c", table, 0);
    query(db, (const char *)sql.data, out);
    lethe_buf_release(&sql);
    lethe_buf_release(&columns);
}

static struct lethe_db *open_db(const struct fixture *fixture, const char *name, const struct lethe_secret *key)
{
    struct lethe_db *db;
    char path[128];

    snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
    assert_int_equal(lethe_db_open(path, key, true, &db), LETHE_OK);
    lethe_db_lock(db);
    lethe_db_sessions_enable(db, false);
    for (size_t i = 0; i < TABLES; i++) { /* what a new tree begins with */
        char sql[64];

        snprintf(sql, sizeof sql, "DELETE FROM %s", names[i]);
        assert_int_equal(sqlite3_exec(lethe_db_handle(db), sql, NULL, NULL, NULL), SQLITE_OK);
    }
    return db;
}

static void every_column(void **state)
{
    struct fixture fixture;
    struct lethe_secret *key;
    struct lethe_snapshot *snapshot;
    struct lethe_snapshot_ref ref;
    struct lethe_db *from, *to;
    uint64_t bytes;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    assert_int_equal(lethe_secret_random(lethe_random_system(), &key), LETHE_OK);
    from = open_db(&fixture, "from", key);
    to = open_db(&fixture, "to", key);
    for (size_t i = 0; i < TABLES; i++) {
        add_row(from, names[i]);
    }
    lethe_db_unlock(from);
    lethe_db_unlock(to);
    assert_int_equal(lethe_snapshot_dump(from, 3, 4, &snapshot), LETHE_OK);
    assert_int_equal(lethe_snapshot_put(fixture.session->vault, snapshot, &ref, &bytes), LETHE_OK);
    lethe_snapshot_free(snapshot);
    assert_int_equal(lethe_snapshot_load(fixture.session->vault, to, &ref), LETHE_OK);
    for (size_t i = 0; i < TABLES; i++) {
        struct lethe_buf a = {0}, b = {0};

        describe(from, names[i], &a);
        describe(to, names[i], &b);
        assert_true(a.len > 20);
        assert_string_equal((const char *)b.data, (const char *)a.data);
        lethe_buf_release(&a);
        lethe_buf_release(&b);
    }
    lethe_db_close(from);
    lethe_db_close(to);
    lethe_secret_free(key);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_column)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
