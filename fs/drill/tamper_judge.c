/* SPDX-License-Identifier: MIT */
/* Tampering: what is there to be changed, and what a device makes of a change. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/drill/tamper.h"
#include "fs/mount/session.h"
#include "fs/vault/publisher.h"
#include "fs/vault/restore.h"

/* Everything that the journal says, as one digest. */
static enum lethe_err digest_tree(struct lethe_db *db, uint8_t digest[32])
{
    static const char *const queries[] = {
        "SELECT * FROM inode ORDER BY 1",    "SELECT parent, name, ino FROM dentry ORDER BY 1, 2",
        "SELECT * FROM xattr ORDER BY 1, 2", "SELECT * FROM content ORDER BY 1",
        "SELECT * FROM piece ORDER BY 1, 2",
    };
    struct lethe_buf all = {0};
    enum lethe_err err = LETHE_OK;

    lethe_db_lock(db);
    for (size_t i = 0; i < sizeof queries / sizeof *queries && !err; i++) {
        sqlite3_stmt *statement;
        bool row = false;

        err = lethe_db_statement(db, queries[i], &statement);
        while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
            for (int c = 0; c < sqlite3_column_count(statement); c++) {
                lethe_buf_put_block(&all, sqlite3_column_blob(statement, c),
                                    (size_t)sqlite3_column_bytes(statement, c));
            }
        }
    }
    lethe_db_unlock(db);
    err = err ? err : lethe_buf_status(&all);
    if (!err) {
        lethe_hash(all.data, all.len, digest);
    }
    lethe_buf_release(&all);
    return err;
}

static bool id_of_key(const char *key, struct lethe_id *id)
{
    return (key[0] == 'a' || key[0] == 'o') && key[1] == '/' && strlen(key) >= 37 &&
           !lethe_unhex(key + 5, 32, id->bytes, sizeof id->bytes);
}

/* --- the objects --- */

static int compare_keys(const void *key, const void *object)
{
    return strcmp(key, ((const struct drill_object *)object)->key);
}

static int compare_objects(const void *a, const void *b)
{
    return strcmp(((const struct drill_object *)a)->key, ((const struct drill_object *)b)->key);
}

static struct drill_copy *copy_of(struct drill_tamper *t, const char *key)
{
    return t->second && bsearch(key, t->objects + t->in_vault, t->count - t->in_vault, sizeof *t->objects,
                                compare_keys)
               ? t->second
               : t->vault;
}

enum lethe_err drill_tamper_get(struct drill_tamper *t, const char *key, struct lethe_buf *out)
{
    return drill_copy_get(copy_of(t, key), key, out);
}

enum lethe_err drill_tamper_set(struct drill_tamper *t, const char *key, const uint8_t *bytes, size_t len)
{
    if (t->touched_count == 0) {
        snprintf(t->first, sizeof t->first, "%s", key);
    }
    if (t->touched_count < DRILL_TOUCHED && id_of_key(key, &t->touched[t->touched_count])) {
        t->touched_count++;
    }
    return drill_copy_set(copy_of(t, key), key, bytes, len);
}

const struct drill_object *drill_tamper_pick(struct drill_tamper *t)
{
    if (t->structural_count && drill_below(&t->random, 3) == 0) {
        return &t->objects[t->structural[drill_below(&t->random, t->structural_count)]];
    }
    return &t->objects[drill_below(&t->random, t->count)];
}

const struct drill_object *drill_tamper_like(struct drill_tamper *t, const struct drill_object *like)
{
    for (int i = 0; i < 200; i++) {
        const struct drill_object *other = &t->objects[drill_below(&t->random, t->count)];

        if (other != like && other->key[0] == like->key[0]) {
            return other;
        }
    }
    return &t->objects[drill_below(&t->random, t->count)];
}

static enum lethe_err add_object(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct drill_tamper *t = context;
    struct drill_object *grown = realloc(t->objects, (t->count + 1) * sizeof *grown);

    if (!grown) {
        return LETHE_ERR_NOMEM;
    }
    t->objects = grown;
    snprintf(grown[t->count].key, sizeof grown->key, "%s", key);
    grown[t->count].size = stat->size;
    grown[t->count++].modified = stat->modified;
    return LETHE_OK;
}

/* Those that no piece lies in: vault.json, head, journal, snapshots, pairs, what nothing names. */
static enum lethe_err find_structural(struct drill_tamper *t)
{
    enum lethe_err err = LETHE_OK;

    t->structural = calloc(t->count ? t->count : 1, sizeof *t->structural);
    if (!t->structural) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < t->count && !err; i++) {
        struct lethe_id id;
        sqlite3_stmt *statement;
        bool row = false;

        if (id_of_key(t->objects[i].key, &id)) {
            lethe_db_lock(t->owner->db);
            err =
                lethe_db_statement(t->owner->db, "SELECT 1 FROM piece WHERE object = ? LIMIT 1", &statement);
            if (!err) {
                sqlite3_bind_blob(statement, 1, id.bytes, sizeof id.bytes, SQLITE_STATIC);
                err = lethe_db_step(t->owner->db, statement, &row);
                sqlite3_reset(statement);
            }
            lethe_db_unlock(t->owner->db);
        }
        if (!row) {
            t->structural[t->structural_count++] = i;
        }
    }
    return err;
}

enum lethe_err drill_tamper_remember(struct drill_tamper *t, const struct lethe_head *head)
{
    enum lethe_err err;

    lethe_db_lock(t->told);
    err = lethe_db_set_int(t->told, LETHE_CONFIG_EPOCH, (int64_t)head->epoch);
    err = err ? err : lethe_db_set_blob(t->told, LETHE_CONFIG_CHAIN, head->chain, sizeof head->chain);
    err = err ? err : lethe_db_commit(t->told);
    lethe_db_unlock(t->told);
    return err;
}

enum lethe_err drill_tamper_prepare(struct drill_tamper *t)
{
    struct lethe_store *second = lethe_vault_second(t->owner->vault);
    char path[128];
    enum lethe_err err = digest_tree(t->owner->db, t->tree);

    snprintf(path, sizeof path, "%s/told", t->owner->scratch);
    err = err ? err : lethe_head_get(t->owner->vault, &t->seen, NULL);
    err = err ? err : lethe_db_open(path, t->owner->device_root, true, &t->told);
    err = err ? err : drill_tamper_remember(t, &t->seen);
    t->pair_kept = !err && !lethe_vault_pair_verify(t->owner->vault, &t->seen.pair);
    err = err ? err : drill_copy_new(t->drill->store, &t->vault);
    t->objects = calloc(t->drill->count, sizeof *t->objects);
    if (!t->objects) {
        return LETHE_ERR_NOMEM;
    }
    memcpy(t->objects, t->drill->objects, t->drill->count * sizeof *t->objects);
    t->count = t->in_vault = t->drill->count;
    if (second) {
        err = err ? err : drill_copy_new(second, &t->second);
        err = err ? err : lethe_store_list(second, "", add_object, t);
        qsort(t->objects + t->in_vault, t->count - t->in_vault, sizeof *t->objects, compare_objects);
    }
    return err ? err : find_structural(t);
}

/* --- the judge --- */

static bool fatal(enum lethe_err err)
{
    return err == LETHE_ERR_NOMEM || err == LETHE_ERR_UNREACHABLE || err == LETHE_ERR_NOSPACE;
}

enum lethe_err drill_tamper_open(struct drill_tamper *t, struct lethe_vault **out)
{
    struct lethe_store *store = NULL, *second = NULL;
    enum lethe_err err = drill_copy_store(t->vault, &store);

    *out = NULL;
    if (!err && t->second) {
        err = drill_copy_store(t->second, &second);
    }
    if (err) {
        lethe_store_close(store);
        return err;
    }
    return drill_owner_vault(t->owner, store, second, out);
}

/* The vault as a whole; *vault is left open when it could be. */
static enum lethe_err judge_whole(struct drill_tamper *t, struct lethe_vault **vault,
                                  enum drill_outcome *outcome)
{
    struct lethe_db *db = NULL;
    uint8_t tree[32];
    char path[128];
    enum lethe_err err = drill_tamper_open(t, vault);

    if (err == LETHE_ERR_UNREACHABLE &&
        drill_copy_get(t->vault, "vault.json", &t->a) == LETHE_ERR_NOT_FOUND) {
        err = LETHE_ERR_NOT_FOUND; /* there is no vault: said so, but no outage */
    }
    err = err ? err : lethe_session_check_file(*vault);
    err = err ? err : lethe_publisher_check(*vault, t->told, false);
    err = err ? err : drill_owner_replay(t->owner, *vault, "tampered", &db);
    err = err ? err : digest_tree(db, tree);
    err = err || !t->pair_kept ? err : lethe_vault_pair_verify(*vault, &t->seen.pair);
    *outcome = err                                       ? DRILL_DETECTED
               : memcmp(tree, t->tree, sizeof tree) == 0 ? DRILL_WITHOUT_EFFECT
                                                         : DRILL_UNDETECTED;
    lethe_db_close(db);
    snprintf(path, sizeof path, "%s/tampered", t->owner->scratch);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/tampered-wal", t->owner->scratch);
    (void)unlink(path);
    return fatal(err) ? err : LETHE_OK;
}

/* One piece out of the tampered vault: refused, or the same bytes, or wrong. */
static enum lethe_err judge_piece(struct drill_tamper *t, struct lethe_vault *vault,
                                  const struct lethe_piece *piece, bool *refused, bool *wrong)
{
    enum lethe_err one;

    lethe_buf_reset(&t->a);
    lethe_buf_reset(&t->b);
    if (lethe_restore_piece(t->owner->vault, piece,
                            &t->a)) { /* it was damaged before: that is for check to tell */
        return LETHE_OK;
    }
    one = lethe_restore_piece(vault, piece, &t->b);
    *refused = *refused || one;
    *wrong = *wrong ||
             (!one && (t->a.len != t->b.len || (t->a.len && memcmp(t->a.data, t->b.data, t->a.len) != 0)));
    *wrong = *wrong || (one && t->b.len); /* bytes that were released all the same */
    return fatal(one) ? one : LETHE_OK;
}

/* The contents with pieces in the object; freed by the caller. */
static enum lethe_err contents_in(struct lethe_db *db, const struct lethe_id *object,
                                  struct lethe_id **contents, size_t *count)
{
    sqlite3_stmt *statement;
    size_t room = 0;
    bool row = false;
    enum lethe_err err;

    *contents = NULL;
    *count = 0;
    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT DISTINCT content FROM piece WHERE object = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, object->bytes, sizeof object->bytes, SQLITE_STATIC);
    }
    while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
        if (*count == room) {
            struct lethe_id *grown = realloc(*contents, (room ? 2 * room : 16) * sizeof *grown);

            if (!grown) {
                sqlite3_reset(statement);
                err = LETHE_ERR_NOMEM;
                break;
            }
            *contents = grown;
            room = room ? 2 * room : 16;
        }
        if (sqlite3_column_bytes(statement, 0) == (int)sizeof **contents) {
            memcpy(&(*contents)[(*count)++], sqlite3_column_blob(statement, 0), sizeof **contents);
        }
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err judge_object(struct drill_tamper *t, struct lethe_vault *vault,
                                   const struct lethe_id *object, bool *refused, bool *wrong)
{
    struct lethe_id *contents = NULL;
    size_t count = 0;
    enum lethe_err err = contents_in(t->owner->db, object, &contents, &count);

    for (size_t i = 0; i < count && !err; i++) {
        struct lethe_record record = {0};

        err = lethe_record_load(t->owner->db, &contents[i], &record);
        for (size_t p = 0; p < record.count && !err; p++) {
            if (lethe_id_equal(&record.pieces[p].object, object)) {
                err = judge_piece(t, vault, &record.pieces[p], refused, wrong);
            }
        }
        lethe_record_release(&record);
    }
    free(contents);
    return err;
}

enum lethe_err drill_tamper_judge(struct drill_tamper *t, enum drill_outcome *outcome)
{
    struct lethe_vault *vault = NULL;
    bool refused = false, wrong = false;
    enum lethe_err err = judge_whole(t, &vault, outcome);

    for (size_t i = 0; i < t->touched_count && vault && !err && *outcome != DRILL_UNDETECTED; i++) {
        err = judge_object(t, vault, &t->touched[i], &refused, &wrong);
    }
    *outcome = wrong || *outcome == DRILL_UNDETECTED ? DRILL_UNDETECTED : refused ? DRILL_DETECTED : *outcome;
    lethe_vault_free(vault);
    return err;
}
