/* SPDX-License-Identifier: MIT */
#include "fs/vault/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/vault/journal.h"
#include "lethe/codec.h"
#include "lethe/log.h"

struct check {
    const struct lethe_check_options *options;
    struct lethe_check_result *result;
};

static void report(struct check *check, const char *line)
{
    if (check->options->fault) {
        check->options->fault(check->options->context, line);
    }
}

/* Queries that must find nothing; the first column of a row is an inode number. */
static const struct {
    const char *sql;
    const char *what;
} tree_rules[] = {
    {"SELECT d.ino FROM dentry d LEFT JOIN inode i ON i.ino = d.ino WHERE i.ino IS NULL", "a name leads to no inode"},
    {"SELECT d.parent FROM dentry d LEFT JOIN inode i ON i.ino = d.parent WHERE i.ino IS NULL OR (i.mode & 61440) != 16384",
     "a name stands in no directory"},
    {"SELECT i.ino FROM inode i WHERE (i.mode & 61440) != 16384 AND i.nlink !="
     " (SELECT count(*) FROM dentry d WHERE d.ino = i.ino)",
     "the link count is wrong"},
    {"SELECT i.ino FROM inode i WHERE i.content IS NOT NULL AND NOT EXISTS(SELECT 1 FROM content c WHERE c.id = i.content)",
     "the content is recorded nowhere"},
    {"SELECT i.ino FROM inode i JOIN content c ON c.id = i.content WHERE c.size != i.size", "the size is not the content's"},
    {"SELECT 0 FROM object o WHERE o.kind != 8 AND o.refs != (SELECT count(*) FROM piece p WHERE p.object = o.id)",
     "an object counts its pieces wrongly"},
    {"SELECT 0 FROM object o WHERE o.kind != 8 AND o.refs > 0 AND o.dead != 0", "an object in use counts as dead"},
    {"SELECT x.ino FROM xattr x LEFT JOIN inode i ON i.ino = x.ino WHERE i.ino IS NULL",
     "an extended attribute belongs to no inode"},
};

static enum lethe_err check_tree(struct check *check)
{
    struct lethe_db *db = check->options->db;
    enum lethe_err err = LETHE_OK;

    lethe_db_lock(db);
    for (size_t i = 0; i < sizeof tree_rules / sizeof *tree_rules && !err; i++) {
        sqlite3_stmt *statement;
        bool row;

        err = lethe_db_statement(db, tree_rules[i].sql, &statement);
        while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
            char line[160];

            snprintf(line, sizeof line, "inode %lld: %s", (long long)sqlite3_column_int64(statement, 0),
                     tree_rules[i].what);
            check->result->tree_faults++;
            report(check, line);
        }
    }
    lethe_db_unlock(db);
    return err;
}

/* The next row of a one-column id query after *id (exclusive), in order. */
static enum lethe_err next_id(struct lethe_db *db, const char *sql, struct lethe_id *id, bool *found)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, sql, &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, id);
        err = lethe_db_step(db, statement, found);
    }
    if (!err && *found) {
        *found = sqlite3_column_bytes(statement, 0) == (int)sizeof *id;
        if (*found) {
            memcpy(id, sqlite3_column_blob(statement, 0), sizeof *id);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err;
}

/*
 * The contents that files have. Others may stand in the table content (they died with this epoch and are taken out of
 * the tables in the next) while their objects have been collected: nothing needs them.
 */
static enum lethe_err list_needed(struct check *check)
{
    static const char *const steps[] = {
        "CREATE TEMP TABLE IF NOT EXISTS needed(id BLOB PRIMARY KEY) WITHOUT ROWID",
        "DELETE FROM needed",
        "INSERT OR IGNORE INTO needed SELECT content FROM inode WHERE content IS NOT NULL",
    };
    struct lethe_db *db = check->options->db;
    enum lethe_err err = LETHE_OK;

    lethe_db_lock(db);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !err; i++) {
        sqlite3_stmt *statement;

        err = lethe_db_statement(db, steps[i], &statement);
        if (!err) {
            err = lethe_db_run(db, statement);
        }
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err check_objects(struct check *check)
{
    struct lethe_db *db = check->options->db;
    struct lethe_id id = {{0}};
    bool found = true;
    enum lethe_err err = LETHE_OK;

    while (!err && !(err = next_id(db,
                                   "SELECT id FROM object o WHERE id > ? AND refs > 0 AND (kind = 8 OR EXISTS(SELECT 1"
                                   " FROM piece p JOIN needed n ON n.id = p.content WHERE p.object = o.id))"
                                   " ORDER BY id LIMIT 1",
                                   &id, &found)) &&
           found) {
        enum lethe_object_kind kind = 0;
        char key[LETHE_STORE_KEY_MAX + 1], line[LETHE_STORE_KEY_MAX + 64];
        struct lethe_store_stat stat;
        struct lethe_store *store;
        sqlite3_stmt *statement;
        uint64_t size = 0;
        bool row = false;

        lethe_db_lock(db);
        err = lethe_db_statement(db, "SELECT kind, size FROM object WHERE id = ?", &statement);
        if (!err) {
            sqlite3_bind_blob(statement, 1, id.bytes, sizeof id.bytes, SQLITE_STATIC);
            err = lethe_db_step(db, statement, &row);
            kind = (enum lethe_object_kind)sqlite3_column_int(statement, 0);
            size = (uint64_t)sqlite3_column_int64(statement, 1);
            sqlite3_reset(statement);
        }
        lethe_db_unlock(db);
        if (err) {
            break;
        }
        lethe_vault_object_key(kind, &id, key);
        store = lethe_vault_store_of(check->options->vault, kind);
        err = store ? lethe_store_stat(store, key, &stat) : LETHE_ERR_UNREACHABLE;
        if (err == LETHE_ERR_NOT_FOUND || (!err && stat.size != size)) {
            snprintf(line, sizeof line, "object %s: %s", key, err ? "missing" : "wrong size");
            check->result->damaged++;
            report(check, line);
            err = LETHE_OK;
        }
        check->result->objects++;
        check->result->bytes += size;
    }
    return err;
}

/* Everything of one content, through the same path as a read. */
static enum lethe_err check_content(struct check *check, const struct lethe_id *id)
{
    struct lethe_record record = {0};
    struct lethe_buf bytes = {0};
    struct lethe_photo *photo = NULL;
    enum lethe_reason reason;
    enum lethe_err err = lethe_record_load(check->options->db, id, &record);

    if (err) {
        return err;
    }
    if (record.kind == LETHE_RECORD_PHOTO) {
        err = lethe_restore_photo(check->options->vault, &record, check->options->pool, &bytes);
        if (!err) {
            err = lethe_photo_parse(bytes.data, bytes.len, &lethe_image_limits_default, &photo, &reason);
        }
        if (!err && memcmp(lethe_photo_info(photo)->digest, record.digest, sizeof record.digest) != 0) {
            err = LETHE_ERR_INTEGRITY;
        }
        lethe_photo_free(photo);
    } else {
        for (size_t i = 0; i < record.count && !err; i++) {
            lethe_buf_reset(&bytes);
            err = lethe_restore_piece(check->options->vault, &record.pieces[i], &bytes);
        }
    }
    lethe_buf_release(&bytes);
    lethe_record_release(&record);
    return err;
}

static enum lethe_err report_content(struct check *check, const struct lethe_id *id, enum lethe_err why)
{
    sqlite3_stmt *statement;
    char line[160];
    bool row = false;
    enum lethe_err err;

    check->result->damaged++;
    lethe_db_lock(check->options->db);
    err = lethe_db_statement(check->options->db, "SELECT ino FROM inode WHERE content = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
        while (!(err = lethe_db_step(check->options->db, statement, &row)) && row) {
            snprintf(line, sizeof line, "inode %lld: its content does not come back: %s",
                     (long long)sqlite3_column_int64(statement, 0), lethe_err_str(why));
            report(check, line);
        }
    }
    lethe_db_unlock(check->options->db);
    return err;
}

static bool is_damage(enum lethe_err err)
{
    return err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_FORMAT || err == LETHE_ERR_NOT_FOUND ||
           err == LETHE_ERR_UNSUPPORTED || err == LETHE_ERR_DIFFERS;
}

static enum lethe_err check_contents(struct check *check)
{
    struct lethe_id id = {{0}};
    bool found = true;
    uint64_t done = 0;
    enum lethe_err err = LETHE_OK;

    while (!err && !(err = next_id(check->options->db,
                                   "SELECT id FROM content WHERE id > ? AND id IN (SELECT id FROM needed)"
                                   " ORDER BY id LIMIT 1",
                                   &id, &found)) &&
           found) {
        enum lethe_err one = check_content(check, &id);

        if (is_damage(one)) {
            err = report_content(check, &id, one);
        } else {
            err = one;
        }
        if (check->options->progress) {
            check->options->progress(check->options->context, ++done, check->result->files);
        }
    }
    return err;
}

/* The vault's copies of the pairs that photos or the head name: a device may long have them and never look. */
static enum lethe_err check_pairs(struct check *check)
{
    struct lethe_vault *vault = check->options->vault;
    struct lethe_head head;
    struct lethe_id id = {{0}};
    bool found = true;
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    if (!lethe_vault_settings(vault)->pairs_in_vault) {
        return err;
    }
    for (bool first = true; !err && found; first = false) {
        enum lethe_err one;
        char line[96], hex[33];

        if (first) {
            one = lethe_vault_pair_verify(vault, &head.pair);
            lethe_hex(head.pair.bytes, sizeof head.pair.bytes, hex);
        } else {
            err = next_id(check->options->db,
                          "SELECT pair FROM content WHERE pair > ? AND length(pair) = 16 ORDER BY pair LIMIT 1", &id,
                          &found);
            if (err || !found) {
                break;
            }
            if (lethe_id_equal(&id, &head.pair)) {
                continue;
            }
            one = lethe_vault_pair_verify(vault, &id);
            lethe_hex(id.bytes, sizeof id.bytes, hex);
        }
        if (is_damage(one)) {
            snprintf(line, sizeof line, "model pair %s: %s", hex, lethe_err_str(one));
            check->result->damaged++;
            report(check, line);
        } else {
            err = one;
        }
    }
    return err;
}

static enum lethe_err count_files(struct check *check)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(check->options->db);
    err = lethe_db_statement(check->options->db, "SELECT count(*) FROM needed", &statement);
    if (!err) {
        err = lethe_db_step(check->options->db, statement, &row);
        check->result->files = row ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
        sqlite3_reset(statement);
    }
    lethe_db_unlock(check->options->db);
    return err;
}

enum lethe_err lethe_check_run(const struct lethe_check_options *options, struct lethe_check_result *result)
{
    struct check check = {.options = options, .result = result};
    enum lethe_err err;

    *result = (struct lethe_check_result){0};
    err = list_needed(&check);
    if (!err) {
        err = count_files(&check);
    }
    if (!err) {
        err = check_tree(&check);
    }
    if (!err) {
        err = check_objects(&check);
    }
    if (!err && options->deep) {
        err = check_pairs(&check);
    }
    if (!err && options->deep) {
        err = check_contents(&check);
    }
    if (!err && (result->damaged || result->tree_faults)) {
        err = LETHE_ERR_INTEGRITY;
    }
    return err;
}
