/* SPDX-License-Identifier: MIT */
/*
 * The oldest kept epoch k is the newest one that is at least keep_seconds old (or the first). It needs the snapshot
 * that its segment names, S, and the segments from S on: all before S may go. Objects with 0 < dead <= k are named by
 * no epoch from k on. The rows of collected objects go with the next epoch; until then a second run finds them gone,
 * which removal does not mind.
 */
#include "fs/vault/gc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/vault/journal.h"
#include "fs/vault/publish.h"
#include "fs/vault/repack.h"
#include "lethe/log.h"

#define GRACE_SECONDS (24 * 3600)

/* Ids of objects that the journal itself needs: parts of kept segments, snapshots. Sorted before it is searched. */
struct id_set {
    struct lethe_id *ids;
    size_t count, room;
};

struct gc {
    const struct lethe_gc_options *options;
    struct lethe_gc_result *result;
    int64_t now; /* seconds */
    uint64_t oldest; /* k */
    uint64_t floor;  /* epoch of S; segments before it go */
    struct id_set needed;
    struct id_set chain; /* ids of the kept segments */
    struct lethe_store *listed; /* the store whose keys are gone through */
    struct lethe_id noted; /* the snapshot whose objects were noted last */
};

static enum lethe_err add(struct id_set *set, const struct lethe_id *id)
{
    if (set->count == set->room) {
        size_t room = set->room ? set->room * 2 : 64;
        struct lethe_id *ids = reallocarray(set->ids, room, sizeof *ids);

        if (!ids) {
            return LETHE_ERR_NOMEM;
        }
        set->ids = ids;
        set->room = room;
    }
    set->ids[set->count++] = *id;
    return LETHE_OK;
}

static enum lethe_err add_needed(void *context, const struct lethe_id *id)
{
    return add(context, id);
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct lethe_id));
}

static bool has(const struct id_set *set, const struct lethe_id *id)
{
    return set->count && bsearch(id, set->ids, set->count, sizeof *id, compare);
}

/* Notes what one segment and the snapshot that it names need. */
static enum lethe_err note_segment(struct gc *gc, const struct lethe_id *id, const struct lethe_segment *segment)
{
    enum lethe_err err = add(&gc->chain, id);

    for (size_t i = 0; i < segment->count && !err; i++) {
        err = add(&gc->needed, &segment->parts[i].id);
    }
    if (!err && segment->snapshot.epoch > 0 && !lethe_id_equal(&segment->snapshot.id, &gc->noted)) {
        gc->noted = segment->snapshot.id;
        err = lethe_snapshot_objects(gc->options->vault, &segment->snapshot, add_needed, &gc->needed);
    }
    return err;
}

/*
 * What this device has put for an epoch that the head does not name yet, however long ago that was: the segment of an
 * intent, and a snapshot that the next segment will name.
 */
static enum lethe_err note_pending(struct gc *gc)
{
    struct lethe_vault *vault = gc->options->vault;
    struct lethe_db *db = gc->options->db;
    struct lethe_snapshot_ref snapshot = {0};
    struct lethe_epoch pending;
    struct lethe_segment segment;
    struct lethe_buf id = {0};
    int64_t epoch = 0, seq = 0;
    enum lethe_err err = lethe_epoch_pending(db, 0, &pending);

    if (!err && pending.state == 1) {
        err = lethe_segment_get(vault, pending.n, &pending.segment, pending.hash, &segment);
        if (!err) {
            err = note_segment(gc, &pending.segment, &segment);
            lethe_segment_release(&segment);
        }
    }
    if (err && err != LETHE_ERR_NOT_FOUND) {
        return err;
    }
    lethe_db_lock(db);
    err = lethe_db_get_int(db, LETHE_CONFIG_SNAP_EPOCH, 0, &epoch);
    err = err ? err : lethe_db_get_int(db, LETHE_CONFIG_SNAP_SEQ, 0, &seq);
    if (!err && epoch > 0) {
        err = lethe_db_get_blob(db, LETHE_CONFIG_SNAP_ID, &id);
    }
    lethe_db_unlock(db);
    if (!err && epoch > 0) {
        err = id.len == sizeof snapshot.id ? LETHE_OK : LETHE_ERR_INTEGRITY;
    }
    if (!err && epoch > 0) {
        snapshot.epoch = (uint64_t)epoch;
        snapshot.seq = (uint64_t)seq;
        memcpy(&snapshot.id, id.data, sizeof snapshot.id);
        if (!lethe_id_equal(&snapshot.id, &gc->noted)) {
            err = lethe_snapshot_objects(vault, &snapshot, add_needed, &gc->needed);
        }
    }
    lethe_buf_release(&id);
    return err;
}

/* Walks back from the head as far as epochs are kept, and notes what they need. */
static enum lethe_err walk(struct gc *gc)
{
    struct lethe_vault *vault = gc->options->vault;
    struct lethe_head head;
    struct lethe_id id;
    uint8_t chain[32];
    uint64_t lowest = 0; /* the oldest snapshot that a segment named */
    uint64_t base = 0;   /* the snapshot that the newest epoch stands on: a new device needs nothing behind it */
    bool found = false;
    uint64_t epoch = 0;
    int64_t known = 0;
    enum lethe_err err;

    /*
     * From an older head, what newer epochs need would look like garbage. Asked in this order: the publisher may move
     * the head while we look.
     */
    lethe_db_lock(gc->options->db);
    err = lethe_db_get_int(gc->options->db, LETHE_CONFIG_EPOCH, 0, &known);
    lethe_db_unlock(gc->options->db);
    err = err ? err : lethe_head_get(vault, &head, NULL);
    err = err ? err : lethe_vault_refuse_others(vault);
    epoch = err ? 0 : head.epoch;
    if (!err && epoch < (uint64_t)known) {
        lethe_log(LETHE_LOG_ERROR, "the vault's head is older than what this device published: nothing is collected");
        err = lethe_vault_binding(vault) == LETHE_BINDING_OURS ? LETHE_ERR_UNREACHABLE : LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        id = head.segment;
        memcpy(chain, head.chain, sizeof chain);
    }
    while (!err && epoch > 0) {
        struct lethe_segment segment;

        /* Behind its oldest snapshot the history may have been collected before. */
        if (!found && epoch < lowest && lethe_segment_is_missing(vault, epoch, &id)) {
            gc->oldest = gc->floor = lowest;
            break;
        }
        err = lethe_segment_get(vault, epoch, &id, chain, &segment);
        if (err) {
            break;
        }
        if (!found && segment.time / 1000000000 <= gc->now - gc->options->keep_seconds) {
            found = true;
            gc->oldest = epoch;
            gc->floor = segment.snapshot.epoch;
        }
        lowest = segment.snapshot.epoch;
        base = epoch == head.epoch ? lowest : base;
        err = note_segment(gc, &id, &segment);
        id = segment.previous;
        memcpy(chain, segment.previous_chain, sizeof chain);
        lethe_segment_release(&segment);
        /* The snapshot of S belongs to the cut of epoch S, whose segment is still applied on top of it. */
        if (found && epoch <= gc->floor) {
            break;
        }
        if (!found && epoch == 1) {
            gc->oldest = 0;
            gc->floor = 0;
        }
        epoch--;
    }
    if (err == LETHE_ERR_INTEGRITY && epoch < base) {
        lethe_log(LETHE_LOG_WARN, "the vault's history is damaged at epoch %llu: nothing is collected while what is kept"
                  " goes back further; 'lethefs gc --keep 0s' gives the past up", (unsigned long long)epoch);
        gc->result->broken = true;
        err = LETHE_OK;
    }
    if (!err) {
        err = note_pending(gc);
    }
    if (gc->needed.count) {
        qsort(gc->needed.ids, gc->needed.count, sizeof *gc->needed.ids, compare);
    }
    if (gc->chain.count) {
        qsort(gc->chain.ids, gc->chain.count, sizeof *gc->chain.ids, compare);
    }
    return err;
}

static enum lethe_err remove_key(struct gc *gc, struct lethe_store *store, const char *key, uint64_t size)
{
    enum lethe_err err = store ? lethe_store_remove(store, key) : LETHE_ERR_UNREACHABLE;

    if (!err) {
        gc->result->objects++;
        gc->result->bytes += size;
    }
    return err;
}

/* The next object whose last epoch is no longer kept; *found is false at the end. */
static enum lethe_err next_dead(struct gc *gc, struct lethe_id *id, enum lethe_object_kind *kind, uint64_t *size,
                                bool *found)
{
    struct lethe_db *db = gc->options->db;
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT id, kind, size FROM object WHERE dead > 0 AND dead <= ? AND refs <= 0 LIMIT 1",
                             &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)gc->oldest);
        err = lethe_db_step(db, statement, found);
    }
    if (!err && *found) {
        *found = sqlite3_column_bytes(statement, 0) == (int)sizeof *id;
        if (*found) {
            memcpy(id, sqlite3_column_blob(statement, 0), sizeof *id);
        }
        *kind = (enum lethe_object_kind)sqlite3_column_int(statement, 1);
        *size = (uint64_t)sqlite3_column_int64(statement, 2);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err forget_object(struct lethe_db *db, const struct lethe_id *id)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "DELETE FROM object WHERE id = ? AND refs <= 0", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
        err = lethe_db_run(db, statement);
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err collect_dead(struct gc *gc)
{
    enum lethe_err err;
    bool found = false;

    do {
        char key[LETHE_STORE_KEY_MAX + 1];
        enum lethe_object_kind kind = 0;
        struct lethe_id id = {{0}};
        uint64_t size = 0;

        lethe_gate_enter(gc->options->committer);
        err = next_dead(gc, &id, &kind, &size, &found);
        if (!err && found) {
            err = forget_object(gc->options->db, &id);
        }
        lethe_gate_leave(gc->options->committer, found);
        if (!err && found) {
            lethe_vault_object_key(kind, &id, key);
            err = remove_key(gc, lethe_vault_store_of(gc->options->vault, kind), key, size);
        }
    } while (!err && found);
    return err;
}

static bool in_object_table(struct lethe_db *db, const struct lethe_id *id)
{
    sqlite3_stmt *statement;
    bool row = true; /* when in doubt, it is needed */

    lethe_db_lock(db);
    if (!lethe_db_statement(db, "SELECT 1 FROM object WHERE id = ?1 UNION ALL SELECT 1 FROM upload WHERE object = ?1",
                            &statement)) {
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
        if (lethe_db_step(db, statement, &row)) {
            row = true;
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return row;
}

/* The object id in "a/xx/ID.png" or "o/xx/ID". */
static bool object_id_of(const char *key, struct lethe_id *id)
{
    size_t len = strlen(key);

    return (len == 37 || (len == 41 && strcmp(key + 37, ".png") == 0)) &&
           !lethe_unhex(key + 5, 32, id->bytes, sizeof id->bytes);
}

static enum lethe_err sweep_object(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct gc *gc = context;
    struct lethe_id id;

    if (!object_id_of(key, &id) || stat->modified > gc->now - GRACE_SECONDS || has(&gc->needed, &id) ||
        in_object_table(gc->options->db, &id)) {
        return LETHE_OK;
    }
    return remove_key(gc, gc->listed, key, stat->size);
}

static enum lethe_err sweep_segment(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct gc *gc = context;
    unsigned long long epoch;
    struct lethe_id id;

    if (strlen(key) != 2 + 16 + 1 + 32 || sscanf(key, "j/%16llx-", &epoch) != 1 ||
        lethe_unhex(key + 19, 32, id.bytes, sizeof id.bytes) || has(&gc->chain, &id)) {
        return LETHE_OK;
    }
    /* Behind the floor it is surely old; otherwise it may be an intent on its way. */
    if (epoch < gc->floor || stat->modified <= gc->now - GRACE_SECONDS) {
        return remove_key(gc, gc->listed, key, stat->size);
    }
    return LETHE_OK;
}

static enum lethe_err seen(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)context;
    (void)key;
    (void)stat;
    return LETHE_ERR_EXISTS;
}

/* Nothing is begun that cannot be ended: in fidelity split both stores must be there. */
static enum lethe_err second_answers(const struct lethe_vault *vault)
{
    struct lethe_store *second = lethe_vault_second(vault);
    enum lethe_err err;

    if (!second) {
        return lethe_vault_settings(vault)->fidelity == LETHE_FIDELITY_SPLIT ? LETHE_ERR_UNREACHABLE : LETHE_OK;
    }
    err = lethe_store_list(second, "o/", seen, NULL);
    return err == LETHE_ERR_EXISTS ? LETHE_OK : err;
}

enum lethe_err lethe_gc_run(const struct lethe_gc_options *options, struct lethe_gc_result *result)
{
    struct gc gc = {.options = options, .result = result, .now = (int64_t)time(NULL)};
    struct lethe_store *store = lethe_vault_store(options->vault);
    enum lethe_err err;

    *result = (struct lethe_gc_result){0};
    err = second_answers(options->vault);
    err = err ? err : walk(&gc);
    if (err || result->broken) {
        goto out;
    }
    if (!err) {
        err = collect_dead(&gc);
    }
    if (!err && !options->leave_packs) { /* what that frees goes once no kept epoch names it */
        err = lethe_repack(options->vault, options->db, options->committer, options->stop);
    }
    if (!err) {
        err = lethe_commit_wait(options->committer);
    }
    gc.listed = store;
    if (!err) {
        err = lethe_store_list(store, "j/", sweep_segment, &gc);
    }
    if (!err) {
        err = lethe_store_list(store, "o/", sweep_object, &gc);
    }
    if (!err) {
        err = lethe_store_list(store, "a/", sweep_object, &gc);
    }
    gc.listed = lethe_vault_second(options->vault);
    if (!err && gc.listed) {
        err = lethe_store_list(gc.listed, "o/", sweep_object, &gc);
    }
out:
    free(gc.needed.ids);
    free(gc.chain.ids);
    return err;
}
