/* SPDX-License-Identifier: MIT */
/*
 * Tampering: seeded changes to a copy of the vault (see copy.h), each judged in process as a device judges a vault that
 * it has seen before: vault.json and its MAC, the head against the history that was seen, the whole chain and tree, and
 * every piece that lies in a changed object. A change is detected when one of these is refused; it is without effect
 * when all come out as before, to the byte. Anything else is a weakness.
 *
 * Where the keys are needed to make a change that a thief could have kept from earlier (an older head), they are used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/drill/copy.h"
#include "fs/drill/drill.h"
#include "fs/drill/owner.h"
#include "fs/mount/session.h"
#include "fs/vault/journal.h"
#include "fs/vault/publisher.h"
#include "fs/vault/restore.h"
#include "lethe/log.h"

#define PIECES_MAX 64 /* of a changed pack that are looked at */

enum outcome { DETECTED, WITHOUT_EFFECT, UNDETECTED };

struct tamper {
    struct drill *drill;
    const struct drill_owner *owner;
    struct drill_copy *copy;
    struct drill_random random;
    struct lethe_head seen;
    uint8_t tree[32];       /* digest of the tree as it is */
    struct lethe_db *told;  /* a device's memory of the newest epoch and nothing else */
    struct lethe_buf a, b;
    size_t structural_count, *structural; /* indices of objects that no piece lies in */
};

/* --- the judge --- */

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
                lethe_buf_put_block(&all, sqlite3_column_blob(statement, c), (size_t)sqlite3_column_bytes(statement, c));
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

static bool fatal(enum lethe_err err)
{
    return err == LETHE_ERR_NOMEM || err == LETHE_ERR_UNREACHABLE || err == LETHE_ERR_NOSPACE;
}

/* The vault as a whole: DETECTED, WITHOUT_EFFECT or UNDETECTED; *vault is left open when it could be. */
static enum lethe_err judge_whole(struct tamper *t, struct lethe_vault **vault, enum outcome *outcome)
{
    struct lethe_store *store = NULL;
    struct lethe_db *db = NULL;
    uint8_t tree[32];
    char path[128];
    enum lethe_err err = drill_copy_store(t->copy, &store);

    err = err ? err : drill_owner_vault(t->owner, store, vault);
    if (err == LETHE_ERR_UNREACHABLE && drill_copy_get(t->copy, "vault.json", &t->a) == LETHE_ERR_NOT_FOUND) {
        err = LETHE_ERR_NOT_FOUND; /* there is no vault: said so, but no outage */
    }
    err = err ? err : lethe_session_check_file(*vault);
    err = err ? err : lethe_publisher_check(*vault, t->told, false);
    err = err ? err : drill_owner_replay(t->owner, *vault, "tampered", &db);
    err = err ? err : digest_tree(db, tree);
    *outcome = err ? DETECTED : memcmp(tree, t->tree, sizeof tree) == 0 ? WITHOUT_EFFECT : UNDETECTED;
    lethe_db_close(db);
    snprintf(path, sizeof path, "%s/tampered", t->owner->scratch);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/tampered-wal", t->owner->scratch);
    (void)unlink(path);
    return fatal(err) ? err : LETHE_OK;
}

/* Every piece in the object (or PIECES_MAX of them): refused, or the same bytes. */
static enum lethe_err judge_object(struct tamper *t, struct lethe_vault *vault, const struct lethe_id *object, bool *refused,
                                   bool *wrong)
{
    struct lethe_id contents[PIECES_MAX];
    sqlite3_stmt *statement;
    size_t count = 0;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(t->owner->db);
    err = lethe_db_statement(t->owner->db, "SELECT DISTINCT content FROM piece WHERE object = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, object->bytes, sizeof object->bytes, SQLITE_STATIC);
    }
    while (!err && !(err = lethe_db_step(t->owner->db, statement, &row)) && row) {
        if (count < PIECES_MAX && sqlite3_column_bytes(statement, 0) == (int)sizeof *contents) {
            memcpy(&contents[count++], sqlite3_column_blob(statement, 0), sizeof *contents);
        }
    }
    lethe_db_unlock(t->owner->db);
    for (size_t i = 0; i < count && !err; i++) {
        struct lethe_record record = {0};

        err = lethe_record_load(t->owner->db, &contents[i], &record);
        for (size_t p = 0; p < record.count && !err; p++) {
            enum lethe_err one;

            if (!lethe_id_equal(&record.pieces[p].object, object)) {
                continue;
            }
            lethe_buf_reset(&t->a);
            lethe_buf_reset(&t->b);
            err = lethe_restore_piece(t->owner->vault, &record.pieces[p], &t->a);
            if (err) { /* it was damaged before: that is for check to tell */
                err = LETHE_OK;
                continue;
            }
            one = lethe_restore_piece(vault, &record.pieces[p], &t->b);
            *refused = *refused || one;
            *wrong = *wrong || (!one && (t->a.len != t->b.len || (t->a.len && memcmp(t->a.data, t->b.data, t->a.len))));
            *wrong = *wrong || (one && t->b.len); /* bytes that were released all the same */
            err = fatal(one) ? one : LETHE_OK;
        }
        lethe_record_release(&record);
    }
    return err;
}

static bool id_of_key(const char *key, struct lethe_id *id)
{
    return (key[0] == 'a' || key[0] == 'o') && key[1] == '/' && strlen(key) >= 37 &&
           !lethe_unhex(key + 5, 32, id->bytes, sizeof id->bytes);
}

static enum lethe_err judge(struct tamper *t, const char *const *keys, size_t count, enum outcome *outcome)
{
    struct lethe_vault *vault = NULL;
    bool refused = false, wrong = false;
    enum lethe_err err = judge_whole(t, &vault, outcome);

    for (size_t i = 0; i < count && vault && !err && *outcome != UNDETECTED; i++) {
        struct lethe_id id;

        if (id_of_key(keys[i], &id)) {
            err = judge_object(t, vault, &id, &refused, &wrong);
        }
    }
    *outcome = wrong || *outcome == UNDETECTED ? UNDETECTED : refused ? DETECTED : *outcome;
    lethe_vault_free(vault);
    return err;
}

/* --- the changes --- */

static const struct drill_object *pick(struct tamper *t)
{
    if (t->structural_count && drill_below(&t->random, 3) == 0) { /* few among many: they get a third */
        return &t->drill->objects[t->structural[drill_below(&t->random, t->structural_count)]];
    }
    return &t->drill->objects[drill_below(&t->random, t->drill->count)];
}

/* One of the same folder, another if there is one. */
static const struct drill_object *pick_like(struct tamper *t, const struct drill_object *like)
{
    for (int i = 0; i < 200; i++) {
        const struct drill_object *other = &t->drill->objects[drill_below(&t->random, t->drill->count)];

        if (other != like && other->key[0] == like->key[0]) {
            return other;
        }
    }
    return &t->drill->objects[drill_below(&t->random, t->drill->count)];
}

/* Changes of one object's bytes, in t->a. */
static const char *const edits[] = {"flip a bit", "zero some bytes", "truncate", "drop the head", "extend", "duplicate",
                                    "reorder halves", "random bytes", "empty"};
#define EDITS (sizeof edits / sizeof *edits)

static enum lethe_err edit(struct tamper *t, size_t how)
{
    struct lethe_buf *x = &t->a;
    size_t len = x->len, at = len ? drill_below(&t->random, len) : 0;
    enum lethe_err err = LETHE_OK;

    if (len == 0) {
        return LETHE_OK;
    }
    switch (how) {
    case 0:
        x->data[at] ^= (uint8_t)(1u << drill_below(&t->random, 8));
        break;
    case 1:
        memset(x->data + at, 0, len - at < 64 ? len - at : 64);
        break;
    case 2: /* at a boundary of 4 KiB, or anywhere */
        x->len = at > 4096 && at % 2 ? at / 4096 * 4096 : at;
        break;
    case 3:
        at = at % 64 + 1 < len ? at % 64 + 1 : len;
        memmove(x->data, x->data + at, len - at);
        x->len = len - at;
        break;
    case 4:
        err = lethe_buf_resize(x, len + 1 + drill_below(&t->random, 4096));
        break;
    case 5:
        err = lethe_buf_resize(x, 2 * len);
        if (!err) {
            memcpy(x->data + len, x->data, len);
        }
        break;
    case 6: {
        size_t half = len / 2;

        for (size_t i = 0; i < half; i++) {
            uint8_t swap = x->data[i];

            x->data[i] = x->data[len - half + i];
            x->data[len - half + i] = swap;
        }
        break;
    }
    case 7:
        drill_fill(&t->random, x->data, len);
        break;
    default:
        x->len = 0;
        break;
    }
    return err;
}

/* A field of vault.json as somebody without the key would rewrite it. */
static enum lethe_err edit_settings(struct tamper *t)
{
    static const char *const fields[] = {"\"salt\": \"",       "\"memory_mib\": ", "\"passes\": ",   "\"wrapped\": \"",
                                         "\"commitment\": \"", "\"version\": ",    "\"strength\": ", "\"generation\": ",
                                         "\"id\": \"",         "\"mac\": \""};
    const char *field = fields[drill_below(&t->random, sizeof fields / sizeof *fields)];
    enum lethe_err err = drill_copy_get(t->copy, "vault.json", &t->a);
    uint8_t *at = err ? NULL : memmem(t->a.data, t->a.len, field, strlen(field));

    if (at && at + strlen(field) < t->a.data + t->a.len) {
        at += strlen(field);
        *at = *at == '1' ? '2' : '1';
    }
    return err ? err : drill_copy_set(t->copy, "vault.json", t->a.data, t->a.len);
}

/* The head of an epoch before: the vault as it was, every object of today still there. */
static enum lethe_err roll_back(struct tamper *t)
{
    struct lethe_head head = t->seen;
    struct lethe_segment segment = {0};
    struct lethe_store *store = NULL;
    struct lethe_vault *vault = NULL;
    const struct lethe_store_version any = {{0}};
    enum lethe_err err = LETHE_OK;

    for (size_t back = 1 + drill_below(&t->random, 3); back > 0 && head.epoch > 0 && !err; back--) {
        lethe_segment_release(&segment);
        segment = (struct lethe_segment){0};
        err = lethe_segment_get(t->owner->vault, head.epoch, &head.segment, head.chain, &segment);
        if (!err) {
            head.epoch--;
            head.segment = segment.previous;
            memcpy(head.chain, segment.previous_chain, sizeof head.chain);
        }
    }
    lethe_segment_release(&segment);
    if (err == LETHE_ERR_INTEGRITY) { /* collected: as far back as the vault goes */
        err = LETHE_OK;
    }
    err = err ? err : drill_copy_store(t->copy, &store);
    err = err ? err : drill_owner_vault(t->owner, store, &vault);
    err = err ? err : lethe_head_move(vault, &head, &any, NULL);
    lethe_vault_free(vault);
    return err;
}

/* --- the run --- */

enum kind { SWAP = EDITS, REPLACE, REMOVE, INJECT_OBJECT, INJECT_SEGMENT, SETTINGS, ROLL_BACK, LIE, KINDS };
static const char *const others[] = {"swap two objects",  "replace by another", "remove", "inject an object",
                                     "inject a segment",  "rewrite vault.json", "roll back the head", "lie in listings"};

static const char *kind_name(size_t kind)
{
    return kind < EDITS ? edits[kind] : others[kind - EDITS];
}

static enum lethe_err change(struct tamper *t, size_t kind, const char *keys[2], size_t *count)
{
    const struct drill_object *one = pick(t), *other = pick_like(t, one);
    static char injected[LETHE_STORE_KEY_MAX + 1];
    uint8_t id[16];
    char hex[33];
    enum lethe_err err = drill_copy_get(t->copy, one->key, &t->a);

    keys[0] = one->key;
    keys[1] = other->key;
    *count = 1;
    drill_fill(&t->random, id, sizeof id);
    lethe_hex(id, sizeof id, hex);
    if (err) {
        return err;
    }
    if (kind < EDITS) {
        err = edit(t, kind);
        return err ? err : drill_copy_set(t->copy, one->key, t->a.data ? t->a.data : id, t->a.len);
    }
    switch ((enum kind)kind) {
    case SWAP:
        *count = 2;
        err = drill_copy_get(t->copy, other->key, &t->b);
        err = err ? err : drill_copy_set(t->copy, one->key, t->b.data, t->b.len);
        return err ? err : drill_copy_set(t->copy, other->key, t->a.data, t->a.len);
    case REPLACE:
        err = drill_copy_get(t->copy, other->key, &t->b);
        return err ? err : drill_copy_set(t->copy, one->key, t->b.data, t->b.len);
    case REMOVE:
        return drill_copy_set(t->copy, one->key, NULL, 0);
    case INJECT_OBJECT:
        snprintf(injected, sizeof injected, "o/%.2s/%s", hex, hex);
        *count = 0;
        return drill_copy_set(t->copy, injected, t->a.data, t->a.len);
    case INJECT_SEGMENT: /* of the epoch after the newest, as another device might publish */
        snprintf(injected, sizeof injected, "j/%016llx-%s", (unsigned long long)t->seen.epoch + 1, hex);
        *count = 0;
        return drill_copy_set(t->copy, injected, t->a.data, t->a.len);
    case SETTINGS:
        *count = 0;
        return edit_settings(t);
    case ROLL_BACK:
        *count = 0;
        return roll_back(t);
    case LIE:
        drill_copy_lie(t->copy, one->key);
        return LETHE_OK;
    case KINDS:
        break;
    }
    return LETHE_OK;
}

static enum lethe_err prepare(struct tamper *t)
{
    char path[128];
    enum lethe_err err = digest_tree(t->owner->db, t->tree);

    snprintf(path, sizeof path, "%s/told", t->owner->scratch);
    err = err ? err : lethe_head_get(t->owner->vault, &t->seen, NULL);
    err = err ? err : lethe_db_open(path, t->owner->device_root, true, &t->told);
    if (!err) {
        lethe_db_lock(t->told);
        err = lethe_db_set_int(t->told, LETHE_CONFIG_EPOCH, (int64_t)t->seen.epoch);
        err = err ? err : lethe_db_set_blob(t->told, LETHE_CONFIG_CHAIN, t->seen.chain, sizeof t->seen.chain);
        err = err ? err : lethe_db_commit(t->told);
        lethe_db_unlock(t->told);
    }
    err = err ? err : drill_copy_new(t->drill->store, &t->copy);
    t->structural = calloc(t->drill->count ? t->drill->count : 1, sizeof *t->structural);
    if (!t->structural) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < t->drill->count && !err; i++) {
        struct lethe_id id;
        sqlite3_stmt *statement;
        bool row = false;

        if (id_of_key(t->drill->objects[i].key, &id)) {
            lethe_db_lock(t->owner->db);
            err = lethe_db_statement(t->owner->db, "SELECT 1 FROM piece WHERE object = ? LIMIT 1", &statement);
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

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

enum lethe_err drill_tampering(struct drill *drill, const struct drill_owner *owner)
{
    struct tamper t = {.drill = drill, .owner = owner, .random = {.state = drill->options->seed ^ 0x74616d706572u}};
    size_t counts[KINDS][3] = {{0}}, totals[3] = {0}, rounds = drill->options->mutations;
    json_t *kinds = json_array();
    char detail[320];
    enum lethe_err err = drill->count ? prepare(&t) : LETHE_OK;

    lethe_log_set_sink(quiet, NULL); /* every detected change would be logged as damage of the vault */
    for (size_t i = 0; i < rounds && !err && drill->count; i++) {
        const char *keys[2];
        enum outcome outcome = DETECTED;
        size_t count = 0;

        if (i % 16 == 0) {
            drill_progress(drill, "tampering", i, rounds);
        }
        err = change(&t, i % KINDS, keys, &count);
        err = err ? err : judge(&t, keys, count, &outcome);
        counts[i % KINDS][outcome]++;
        totals[outcome]++;
        if (!err && outcome == UNDETECTED) {
            snprintf(detail, sizeof detail, "%s (change %zu of seed %llu, %s) was not noticed, and changed what is read",
                     kind_name(i % KINDS), i, (unsigned long long)drill->options->seed, keys[0]);
            drill_weakness(drill, "tampering undetected", detail);
        }
        drill_copy_reset(t.copy);
    }
    lethe_log_set_sink(NULL, NULL);
    for (size_t kind = 0; kind < KINDS; kind++) {
        (void)json_array_append_new(kinds, json_pack("{s:s, s:I, s:I, s:I}", "change", kind_name(kind), "detected",
                                                     (json_int_t)counts[kind][DETECTED], "without_effect",
                                                     (json_int_t)counts[kind][WITHOUT_EFFECT], "undetected",
                                                     (json_int_t)counts[kind][UNDETECTED]));
    }
    (void)json_object_set_new(drill->report, "tampering",
                              json_pack("{s:I, s:I, s:I, s:I, s:o}", "changes",
                                        (json_int_t)(totals[0] + totals[1] + totals[2]), "detected",
                                        (json_int_t)totals[DETECTED], "without_effect", (json_int_t)totals[WITHOUT_EFFECT],
                                        "undetected", (json_int_t)totals[UNDETECTED], "kinds", kinds));
    lethe_db_close(t.told);
    drill_copy_free(t.copy);
    lethe_buf_release(&t.a);
    lethe_buf_release(&t.b);
    free(t.structural);
    return err;
}
