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
    bool away;           /* hydrate finds no vault */
    unsigned hydrations; /* calls of hydrate */
    void (*meanwhile)(const struct lethe_id *content); /* what happens once while hydrate is under way */
};

static const struct lethe_owner fixture_owner = {.uid = 1000, .gid = 100};

/* The vault: one file for each content, beside the state. */
static inline FILE *fixture_vault(const struct fixture *fixture, const struct lethe_id *id, const char *mode)
{
    char path[160], hex[2 * sizeof(id->bytes) + 1];

    lethe_hex(id->bytes, sizeof(id->bytes), hex);
    snprintf(path, sizeof(path), "%s/vault-%s", fixture->folder, hex);
    return fopen(path, mode);
}

static inline enum lethe_err fixture_hydrate(void *context, const struct lethe_absent *absent)
{
    struct fixture *fixture = context;
    struct lethe_content *content;
    enum lethe_err err;
    uint8_t *bytes;
    size_t len;
    FILE *file;

    fixture->hydrations++;
    if (fixture->meanwhile) {
        void (*meanwhile)(const struct lethe_id *content) = fixture->meanwhile;

        fixture->meanwhile = NULL;
        meanwhile(&absent->content);
        return LETHE_ERR_NOT_FOUND;
    }
    file = fixture->away ? NULL : fixture_vault(fixture, &absent->content, "rb");
    if (!file) {
        return LETHE_ERR_UNREACHABLE;
    }
    fseek(file, 0, SEEK_END);
    len = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(len + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, len, file), len);
    fclose(file);
    err = lethe_content_get(fixture->contents, &absent->content, len, &content);
    if (!err) {
        err = lethe_content_fill(content, 0, bytes, len);
        lethe_content_put(content);
    }
    free(bytes);
    return err;
}

/* As the sealer would: the bytes of a frozen content into the vault. */
static inline void fixture_upload(struct fixture *fixture, struct lethe_content *content)
{
    size_t len = (size_t)lethe_content_size(content), done = 0;
    uint8_t *bytes = malloc(len + 1);
    FILE *file = fixture_vault(fixture, lethe_content_id(content), "wb");

    assert_non_null(bytes);
    assert_non_null(file);
    while (done < len) {
        struct lethe_absent absent;
        size_t got;
        enum lethe_err err = lethe_content_read(content, done, bytes + done, len - done, &got, &absent);

        if (err == LETHE_ERR_ABSENT) {
            err = fixture_hydrate(fixture, &absent);
            got = 0;
        }
        assert_int_equal(err, LETHE_OK);
        done += got;
    }
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    free(bytes);
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

/* Every frozen content into the vault. The table local may lag behind what the store knows. */
static inline void fixture_publish(struct fixture *fixture)
{
    struct lethe_id id = {0};
    bool row = true;

    while (row) {
        struct lethe_content *content;
        sqlite3_stmt *statement;

        lethe_db_lock(fixture->db);
        assert_int_equal(lethe_db_statement(fixture->db,
                                            "SELECT content FROM local WHERE state = 1 AND content > ?1"
                                            " ORDER BY content LIMIT 1",
                                            &statement),
                         LETHE_OK);
        sqlite3_bind_blob(statement, 1, id.bytes, sizeof(id.bytes), SQLITE_TRANSIENT);
        assert_int_equal(lethe_db_step(fixture->db, statement, &row), LETHE_OK);
        if (row) {
            memcpy(id.bytes, sqlite3_column_blob(statement, 0), sizeof(id.bytes));
        }
        sqlite3_reset(statement);
        lethe_db_unlock(fixture->db);
        if (!row) {
            break;
        }
        assert_int_equal(lethe_content_get(fixture->contents, &id, 0, &content), LETHE_OK);
        if (lethe_content_state(content) == LETHE_CONTENT_FROZEN) {
            fixture_upload(fixture, content);
            lethe_gate_enter(fixture->committer);
            assert_int_equal(lethe_content_vaulted(content), LETHE_OK);
            lethe_gate_leave(fixture->committer, true);
        }
        lethe_content_put(content);
    }
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
