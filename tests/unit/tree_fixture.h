/* SPDX-License-Identifier: MIT */
/* A tree over a real database and content store in a temporary folder, for the tests of fs/tree. */
#ifndef LETHE_TESTS_TREE_FIXTURE_H
#define LETHE_TESTS_TREE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/device/commit.h"
#include "fs/tree/internal.h"
#include "fs/tree/tree.h"

struct fixture {
    char folder[64], path[96], cache[96];
    struct lethe_secret *key;
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_tree *tree;
    uint64_t epoch;
    /* Served by hydrate: one content's bytes; hydrations counts the calls. */
    const uint8_t *bytes;
    size_t len;
    unsigned hydrations;
};

static const struct lethe_owner fixture_owner = {.uid = 1000, .gid = 100};

static enum lethe_err fixture_hydrate(void *context, const struct lethe_absent *absent)
{
    struct fixture *fixture = context;
    struct lethe_content *content;
    enum lethe_err err;

    fixture->hydrations++;
    if (!fixture->bytes) {
        return LETHE_ERR_UNREACHABLE;
    }
    err = lethe_content_get(fixture->contents, &absent->content, fixture->len, &content);
    if (!err) {
        err = lethe_content_fill(content, 0, fixture->bytes, fixture->len);
        lethe_content_put(content);
    }
    return err;
}

static inline enum lethe_err fixture_prepare(void *context)
{
    return lethe_tree_prepare(context);
}

static inline void fixture_start(struct fixture *fixture)
{
    const struct lethe_contents_options contents = {
        .state_dir = fixture->folder, .cache_dir = fixture->cache, .limit = 256 << 20, .reserve = 4 << 20};
    struct lethe_tree_options options = {
        .hydrate = fixture_hydrate, .context = fixture, .update_atime = true};
    struct lethe_commit_hooks hooks = {.prepare = fixture_prepare};

    assert_int_equal(lethe_db_open(fixture->path, fixture->key, true, &fixture->db), LETHE_OK);
    assert_int_equal(lethe_contents_open(fixture->db, fixture->key, &contents, &fixture->contents), LETHE_OK);
    assert_int_equal(lethe_committer_new(fixture->db, fixture->contents, &fixture->committer), LETHE_OK);
    lethe_contents_set_next_epoch(fixture->contents, fixture->epoch);
    options.db = fixture->db;
    options.contents = fixture->contents;
    options.committer = fixture->committer;
    assert_int_equal(lethe_tree_open(&options, &fixture_owner, &fixture->tree), LETHE_OK);
    hooks.context = fixture->tree;
    lethe_committer_set_hooks(fixture->committer, &hooks);
}

static inline void fixture_stop(struct fixture *fixture)
{
    assert_int_equal(lethe_committer_close(fixture->committer), LETHE_OK);
    lethe_tree_close(fixture->tree);
    lethe_contents_close(fixture->contents);
    lethe_db_close(fixture->db);
}

static inline void fixture_new(struct fixture *fixture)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {1};

    *fixture = (struct fixture){.epoch = 1};
    strcpy(fixture->folder, "/tmp/lethe-tree-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof(fixture->path), "%s/meta", fixture->folder);
    snprintf(fixture->cache, sizeof(fixture->cache), "%s/cache", fixture->folder);
    assert_int_equal(lethe_seal_start(), LETHE_OK);
    assert_int_equal(lethe_secret_new(bytes, &fixture->key), LETHE_OK);
}

static inline void fixture_free(struct fixture *fixture)
{
    char command[128];

    lethe_secret_free(fixture->key);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->folder);
    assert_int_equal(system(command), 0);
}

struct fixture_cut {
    struct fixture *fixture;
    bool force;
    size_t deferred;
};

static inline enum lethe_err fixture_do_cut(void *context)
{
    struct fixture_cut *cut = context;
    enum lethe_err err = lethe_tree_cut(cut->fixture->tree, cut->fixture->epoch, cut->force, &cut->deferred);

    lethe_contents_set_next_epoch(cut->fixture->contents, ++cut->fixture->epoch);
    return err;
}

/* Cuts an epoch; returns how many files were left out. */
static inline size_t fixture_cut(struct fixture *fixture, bool force)
{
    struct fixture_cut cut = {.fixture = fixture, .force = force};

    assert_int_equal(lethe_commit_with(fixture->committer, fixture_do_cut, &cut), LETHE_OK);
    return cut.deferred;
}

/* As if every frozen content had been sealed and uploaded. */
static inline void fixture_publish(struct fixture *fixture)
{
    struct lethe_id ids[32];
    int count;

    do {
        sqlite3_stmt *statement;
        bool row = true;

        count = 0;
        lethe_gate_enter(fixture->committer);
        lethe_db_lock(fixture->db);
        assert_int_equal(
            lethe_db_statement(fixture->db, "SELECT content FROM local WHERE state = 1 LIMIT 32", &statement),
            LETHE_OK);
        while (count < 32 && lethe_db_step(fixture->db, statement, &row) == LETHE_OK && row) {
            memcpy(ids[count++].bytes, sqlite3_column_blob(statement, 0), 16);
        }
        sqlite3_reset(statement);
        lethe_db_unlock(fixture->db);
        for (int i = 0; i < count; i++) {
            struct lethe_content *content;

            assert_int_equal(lethe_content_get(fixture->contents, &ids[i], 0, &content), LETHE_OK);
            assert_int_equal(lethe_content_vaulted(content), LETHE_OK);
            lethe_content_put(content);
        }
        lethe_gate_leave(fixture->committer, count > 0);
    } while (count > 0);
}

static inline int64_t fixture_number(struct fixture *fixture, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t number;

    lethe_db_lock(fixture->db);
    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(fixture->db), sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    lethe_db_unlock(fixture->db);
    return number;
}

static inline uint64_t fixture_make(struct fixture *fixture, uint64_t parent, const char *name)
{
    struct stat attr;

    assert_int_equal(lethe_tree_mknod(fixture->tree, parent, name, S_IFREG | 0644, 0, &fixture_owner, &attr),
                     0);
    return attr.st_ino;
}

static inline struct lethe_file *fixture_open(struct fixture *fixture, uint64_t ino, int flags)
{
    struct lethe_file *file;

    assert_int_equal(lethe_tree_open_file(fixture->tree, ino, flags, &file), 0);
    return file;
}

#endif
