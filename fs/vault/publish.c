/* SPDX-License-Identifier: MIT */
#include "fs/vault/publish.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/vault/record.h"
#include "lethe/log.h"

#define SNAPSHOT_MIN (1u << 20) /* no snapshot before the segments since the last have this size, */
#define MANY_EPOCHS 512         /* or are so many: then an eighth of what is asked of few is enough */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void lethe_epoch_release(struct lethe_epoch *epoch)
{
    lethe_snapshot_free(epoch->snapshot);
    *epoch = (struct lethe_epoch){0};
}

/* --- settings --- all with the lock held --- */

static enum lethe_err get_u64(struct lethe_db *db, const char *key, uint64_t *out)
{
    int64_t value;
    enum lethe_err err = lethe_db_get_int(db, key, 0, &value);

    if (!err) {
        *out = (uint64_t)value;
    }
    return err;
}

/* A blob of exactly len bytes; zeros when it was never set. */
static enum lethe_err get_fixed(struct lethe_db *db, const char *key, void *out, size_t len)
{
    struct lethe_buf blob = {0};
    enum lethe_err err = lethe_db_get_blob(db, key, &blob);

    memset(out, 0, len);
    if (err == LETHE_ERR_NOT_FOUND) {
        return LETHE_OK;
    }
    if (!err && blob.len != len) {
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        memcpy(out, blob.data, len);
    }
    lethe_buf_release(&blob);
    return err;
}

enum lethe_err lethe_epoch_pending(struct lethe_db *db, uint64_t after, struct lethe_epoch *epoch)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    *epoch = (struct lethe_epoch){0};
    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT n, state, cut_seq, time, segment, hash FROM epoch WHERE n > ? AND state < 2 ORDER BY n LIMIT 1",
        &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)after);
        err = lethe_db_step(db, statement, &row);
    }
    if (!err && row) {
        epoch->n = (uint64_t)sqlite3_column_int64(statement, 0);
        epoch->state = sqlite3_column_int(statement, 1);
        epoch->cut_seq = (uint64_t)sqlite3_column_int64(statement, 2);
        epoch->time = sqlite3_column_int64(statement, 3);
        if (epoch->state == 1 && sqlite3_column_bytes(statement, 4) == (int)sizeof epoch->segment &&
            sqlite3_column_bytes(statement, 5) == (int)sizeof epoch->hash) {
            memcpy(&epoch->segment, sqlite3_column_blob(statement, 4), sizeof epoch->segment);
            memcpy(epoch->hash, sqlite3_column_blob(statement, 5), sizeof epoch->hash);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err ? err : row ? LETHE_OK : LETHE_ERR_NOT_FOUND;
}

/* --- the cut --- */

struct cut {
    const struct lethe_publisher_options *options;
    struct lethe_epoch *epoch;
    bool force;
    bool anew; /* with a snapshot, whatever has changed */
};

static enum lethe_err snapshot_due(struct lethe_db *db, uint64_t epoch, bool *due)
{
    uint64_t journal = 0, snapshot = 0, before = 0;
    enum lethe_err err;

    lethe_db_lock(db);
    err = get_u64(db, LETHE_CONFIG_JOURNAL_BYTES, &journal);
    if (!err) {
        err = get_u64(db, LETHE_CONFIG_SNAP_BYTES, &snapshot);
    }
    if (!err) {
        err = get_u64(db, LETHE_CONFIG_SNAP_EPOCH, &before);
    }
    lethe_db_unlock(db);
    journal *= epoch > before + MANY_EPOCHS ? 8 : 1;
    *due = journal >= SNAPSHOT_MIN && journal >= snapshot / 4;
    return err;
}

/*
 * The newest epoch that was cut, published or not, and the last changeset of the tree in it. With the lock held; the row of
 * the epoch n does not count.
 */
static enum lethe_err last_cut(struct lethe_db *db, uint64_t n, uint64_t *epoch, uint64_t *cut_seq)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err = get_u64(db, LETHE_CONFIG_EPOCH, epoch);

    err = err ? err : get_u64(db, LETHE_CONFIG_TREE_SEQ, cut_seq);
    err = err ? err : lethe_db_statement(db, "SELECT n, cut_seq FROM epoch WHERE n < ? ORDER BY n DESC LIMIT 1", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)n);
        err = lethe_db_step(db, statement, &row);
    }
    if (!err && row) {
        if ((uint64_t)sqlite3_column_int64(statement, 0) > *epoch) {
            *epoch = (uint64_t)sqlite3_column_int64(statement, 0);
            *cut_seq = (uint64_t)sqlite3_column_int64(statement, 1);
        }
        sqlite3_reset(statement);
    }
    return err;
}

/* Inside the commit, under the exclusive gate. */
static enum lethe_err cut_inside(void *context)
{
    struct cut *cut = context;
    struct lethe_db *db = cut->options->db;
    struct lethe_epoch *epoch = cut->epoch;
    sqlite3_stmt *statement;
    uint64_t before = 0;
    size_t deferred;
    bool due = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = last_cut(db, INT64_MAX, &epoch->n, &before);
    epoch->cut_seq = lethe_db_seq(db);
    lethe_db_unlock(db);
    if (err) {
        return err;
    }
    epoch->n++;
    epoch->time = now_ns();
    err = lethe_tree_cut(cut->options->tree, epoch->n, cut->force, &deferred);
    if (err) {
        return err;
    }
    lethe_contents_set_next_epoch(cut->options->contents, epoch->n + 1);
    lethe_db_lock(db);
    err = lethe_db_statement(db, "INSERT INTO epoch(n, state, cut_seq, time) VALUES(?, 0, ?, ?)", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)epoch->n);
        sqlite3_bind_int64(statement, 2, (int64_t)epoch->cut_seq);
        sqlite3_bind_int64(statement, 3, epoch->time);
        err = lethe_db_run(db, statement);
    }
    lethe_db_unlock(db);
    if (!err) {
        err = snapshot_due(db, epoch->n, &due);
    }
    if (!err && (due || cut->anew) && lethe_snapshot_dump(db, epoch->n, epoch->cut_seq, &epoch->snapshot)) {
        lethe_log(LETHE_LOG_WARN, "no snapshot this time: out of memory");
    }
    return err;
}

/* Whether the tree has changed since the last cut; when not, the row of the new epoch goes again. */
static enum lethe_err has_changes(struct lethe_db *db, const struct lethe_epoch *epoch, bool *changed)
{
    sqlite3_stmt *statement;
    uint64_t before, from = 0;
    enum lethe_err err;

    lethe_db_lock(db);
    err = last_cut(db, epoch->n, &before, &from);
    if (!err) {
        err = lethe_db_statement(
            db, "SELECT 1 FROM changeset WHERE seq > ? AND seq <= ? AND tree IS NOT NULL LIMIT 1", &statement);
    }
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)from);
        sqlite3_bind_int64(statement, 2, (int64_t)epoch->cut_seq);
        err = lethe_db_step(db, statement, changed);
        sqlite3_reset(statement);
    }
    if (!err && !*changed) {
        err = lethe_db_statement(db, "DELETE FROM epoch WHERE n = ?", &statement);
        if (!err) {
            sqlite3_bind_int64(statement, 1, (int64_t)epoch->n);
            err = lethe_db_run(db, statement);
        }
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err make_cut(struct cut *cut)
{
    const struct lethe_publisher_options *options = cut->options;
    struct lethe_epoch *epoch = cut->epoch;
    bool changed;
    enum lethe_err err;

    *epoch = (struct lethe_epoch){0};
    err = lethe_commit_with(options->committer, cut_inside, cut);
    changed = cut->anew && epoch->snapshot;
    if (!err && !changed) {
        err = has_changes(options->db, epoch, &changed);
    }
    if (!err && !changed) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (err) {
        lethe_epoch_release(epoch);
    }
    return err;
}

enum lethe_err lethe_epoch_cut(const struct lethe_publisher_options *options, bool force, struct lethe_epoch *epoch)
{
    struct cut cut = {.options = options, .epoch = epoch, .force = force};

    return make_cut(&cut);
}

enum lethe_err lethe_epoch_cut_anew(const struct lethe_publisher_options *options, bool force,
                                    struct lethe_epoch *epoch)
{
    struct cut cut = {.options = options, .epoch = epoch, .force = force, .anew = true};
    enum lethe_err err = make_cut(&cut);

    if (!err && !epoch->snapshot) { /* as it was said; what the tree has become is published without */
        return LETHE_OK;
    }
    return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_NOMEM : err;
}

/* --- publication --- */

/* What the journal needs to know of the past, read in one go. */
struct past {
    uint64_t epoch, tree_seq, vault_seq, journal_bytes;
    struct lethe_id segment;
    uint8_t chain[32];
    struct lethe_snapshot_ref snapshot;
    struct lethe_id pair;
};

static enum lethe_err read_past(const struct lethe_publisher_options *options, struct past *past)
{
    struct lethe_db *db = options->db;
    enum lethe_err err;

    lethe_db_lock(db);
    err = get_u64(db, LETHE_CONFIG_EPOCH, &past->epoch);
    err = err ? err : get_u64(db, LETHE_CONFIG_TREE_SEQ, &past->tree_seq);
    err = err ? err : get_u64(db, LETHE_CONFIG_VAULT_SEQ, &past->vault_seq);
    err = err ? err : get_u64(db, LETHE_CONFIG_JOURNAL_BYTES, &past->journal_bytes);
    err = err ? err : get_fixed(db, LETHE_CONFIG_SEGMENT, &past->segment, sizeof past->segment);
    err = err ? err : get_fixed(db, LETHE_CONFIG_CHAIN, past->chain, sizeof past->chain);
    err = err ? err : get_u64(db, LETHE_CONFIG_SNAP_EPOCH, &past->snapshot.epoch);
    err = err ? err : get_u64(db, LETHE_CONFIG_SNAP_SEQ, &past->snapshot.seq);
    err = err ? err : get_fixed(db, LETHE_CONFIG_SNAP_ID, &past->snapshot.id, sizeof past->snapshot.id);
    err = err ? err : get_fixed(db, LETHE_CONFIG_PAIR, &past->pair, sizeof past->pair);
    lethe_db_unlock(db);
    if (!err && past->epoch == 0) {
        lethe_journal_chain_start(&lethe_vault_settings(options->vault)->id, past->chain);
    }
    return err;
}

static enum lethe_err record_snapshot(struct lethe_db *db, const struct lethe_snapshot_ref *ref, uint64_t bytes)
{
    enum lethe_err err, end;

    lethe_db_lock(db);
    err = lethe_db_begin(db);
    if (!err) {
        err = lethe_db_set_int(db, LETHE_CONFIG_SNAP_EPOCH, (int64_t)ref->epoch);
        err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_SNAP_SEQ, (int64_t)ref->seq);
        err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_SNAP_ID, &ref->id, sizeof ref->id);
        err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_SNAP_BYTES, (int64_t)bytes);
        err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_JOURNAL_BYTES, 0);
        end = lethe_db_end(db, !err);
        err = err ? err : end;
    }
    lethe_db_unlock(db);
    return err;
}

static enum lethe_err record_intent(struct lethe_db *db, struct lethe_epoch *epoch, uint64_t journal_bytes)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "UPDATE epoch SET state = 1, segment = ?, hash = ? WHERE n = ?", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, &epoch->segment, sizeof epoch->segment, SQLITE_STATIC);
        sqlite3_bind_blob(statement, 2, epoch->hash, sizeof epoch->hash, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 3, (int64_t)epoch->n);
        err = lethe_db_run(db, statement);
    }
    /* The settling after a crash needs it. */
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_INTENT_SEQ, (int64_t)epoch->pub_seq);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_JOURNAL_BYTES, (int64_t)journal_bytes);
    lethe_db_unlock(db);
    epoch->state = 1;
    return err;
}

static bool is_ours(const struct lethe_head *head, const struct lethe_epoch *epoch)
{
    return head->epoch == epoch->n && lethe_id_equal(&head->segment, &epoch->segment) &&
           memcmp(head->chain, epoch->hash, sizeof head->chain) == 0;
}

static bool is_past(const struct lethe_head *head, const struct past *past)
{
    return head->epoch == past->epoch && memcmp(head->chain, past->chain, sizeof head->chain) == 0;
}

/*
 * Without conditional writes a write of ours may arrive late and undo a later one, and a store may show what was. Nobody
 * else writes there: the older head is known, and is moved on from. Unless the newest segment is gone as well: then the
 * whole vault is an older one, and a head that named the segment would name nothing.
 */
static enum lethe_err was_set_back(struct lethe_vault *vault, const struct lethe_head *head, const struct past *past,
                                   bool *set_back)
{
    enum lethe_err err;

    *set_back = false;
    if (lethe_vault_binding(vault) != LETHE_BINDING_OURS || head->epoch >= past->epoch) {
        return LETHE_OK;
    }
    err = lethe_segment_stat(vault, past->epoch, &past->segment);
    *set_back = !err;
    return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
}

/* Moves the head from the past to this epoch; an answer that was lost is found by reading back. */
static enum lethe_err move_head(struct lethe_vault *vault, const struct past *past, const struct lethe_epoch *epoch)
{
    struct lethe_store_version version;
    struct lethe_head head;
    bool set_back;
    enum lethe_err err = LETHE_OK;

    for (int attempt = 0; attempt < 4; attempt++) {
        err = lethe_head_get(vault, &head, &version);
        if (err) {
            return err;
        }
        if (is_ours(&head, epoch)) {
            return LETHE_OK;
        }
        if (lethe_vault_refuse_others(vault)) {
            return LETHE_ERR_CONFLICT;
        }
        err = was_set_back(vault, &head, past, &set_back);
        if (err) {
            return err;
        }
        if (!is_past(&head, past) && !set_back) {
            lethe_log(LETHE_LOG_ERROR,
                      "the vault's head was moved by another device (epoch %llu, this device knows %llu): nothing is"
                      " published from here; mount it with -o ro and copy out what only this device has, then run"
                      " 'lethefs recover' to go on from there",
                      (unsigned long long)head.epoch, (unsigned long long)past->epoch);
            return LETHE_ERR_CONFLICT;
        }
        head.epoch = epoch->n;
        head.segment = epoch->segment;
        memcpy(head.chain, epoch->hash, sizeof head.chain);
        head.time = epoch->time;
        head.pair = past->pair;
        /* Who changes vault.json moves the head too; had he been cut off in between, it is done for him here. */
        if (lethe_vault_generation(vault) > head.generation) {
            head.generation = lethe_vault_generation(vault);
            memcpy(head.json_hash, lethe_vault_json_hash(vault), sizeof head.json_hash);
        }
        err = lethe_head_move(vault, &head, &version, &version);
        if (err == LETHE_ERR_UNSUPPORTED) {
            lethe_log(LETHE_LOG_ERROR, "the vault's store has no conditional writes, and the vault is bound to no device:"
                                       " unmount it, then run 'lethefs mount --take-over'");
        }
        if (!err || (err != LETHE_ERR_CONFLICT && err != LETHE_ERR_UNREACHABLE)) {
            return err;
        }
    }
    return LETHE_ERR_UNREACHABLE; /* somebody keeps changing the keys, or no answer came: later */
}

enum lethe_err lethe_epoch_settle(struct lethe_db *db, const struct lethe_epoch *epoch)
{
    static const char *const steps[] = {
        "DELETE FROM changeset WHERE seq <= ?1",
        "UPDATE changeset SET vault = NULL WHERE seq > ?1 AND seq <= ?2",
        "UPDATE epoch SET state = 2 WHERE n = ?3",
    };
    enum lethe_err err, end;

    lethe_db_lock(db);
    err = lethe_db_begin(db);
    if (err) {
        goto out;
    }
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !err; i++) {
        sqlite3_stmt *statement;

        err = lethe_db_statement(db, steps[i], &statement);
        if (!err) {
            const uint64_t values[3] = {epoch->cut_seq, epoch->pub_seq, epoch->n};

            for (int k = 1; k <= sqlite3_bind_parameter_count(statement); k++) {
                sqlite3_bind_int64(statement, k, (int64_t)values[k - 1]);
            }
            err = lethe_db_run(db, statement);
        }
    }
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_EPOCH, (int64_t)epoch->n);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_TIME, epoch->time);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_CHAIN, epoch->hash, sizeof epoch->hash);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_SEGMENT, &epoch->segment, sizeof epoch->segment);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_TREE_SEQ, (int64_t)epoch->cut_seq);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_VAULT_SEQ, (int64_t)epoch->pub_seq);
    end = lethe_db_end(db, !err);
    err = err ? err : end;
out:
    lethe_db_unlock(db);
    return err;
}

/* The next content after *id that died up to epoch n and that no other content is built on. */
static enum lethe_err next_dead(struct lethe_db *db, uint64_t n, struct lethe_id *id, bool *found)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db,
                             "SELECT content FROM dead WHERE content > ? AND epoch <= ?"
                             " AND NOT EXISTS(SELECT 1 FROM local WHERE base = dead.content) ORDER BY content LIMIT 1",
                             &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, id);
        sqlite3_bind_int64(statement, 2, (int64_t)n);
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

/* In the gate, so that blocks and rows go in one commit. */
static enum lethe_err sweep_one(const struct lethe_publisher_options *options, const struct lethe_id *id, uint64_t n)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_contents_drop(options->contents, id);

    /* Only now that nothing is built on it: its record is what brings its bytes. Epochs from n on do not name it. */
    if (err || !(err = lethe_record_remove(options->db, id, n))) {
        return err;
    }
    lethe_db_lock(options->db);
    if (!lethe_db_statement(options->db, "INSERT OR REPLACE INTO dead(content, epoch) VALUES(?, ?)", &statement)) {
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)n);
        (void)!lethe_db_run(options->db, statement); /* else a recovery finds it */
    }
    lethe_db_unlock(options->db);
    return err;
}

enum lethe_err lethe_epoch_sweep(const struct lethe_publisher_options *options, uint64_t n)
{
    struct lethe_id id = {{0}};
    bool found = true;
    enum lethe_err err = LETHE_OK;

    while (!err) {
        err = next_dead(options->db, n, &id, &found);
        if (err || !found) {
            break;
        }
        lethe_gate_enter(options->committer);
        err = sweep_one(options, &id, n);
        lethe_gate_leave(options->committer, true);
        if (err == LETHE_ERR_BUSY) { /* a content made since the last commit is built on it: next time */
            err = LETHE_OK;
        }
    }
    if (!err) {
        /* Nobody waits for the commit: until it is made, a crash leaves the intent, which the head settles. */
        lethe_contents_progress(options->contents);
        lethe_commit_due(options->committer);
    }
    return err;
}

/* The journal's part: snapshot when one was dumped, then the segment; durable intent at the end. */
static enum lethe_err put_segment(const struct lethe_publisher_options *options, struct lethe_epoch *epoch,
                                  struct past *past)
{
    struct lethe_segment segment = {.epoch = epoch->n, .time = epoch->time, .cut_seq = epoch->cut_seq};
    uint64_t bytes = 0;
    enum lethe_err err;

    if (epoch->snapshot) {
        err = lethe_snapshot_put(options->vault, epoch->snapshot, &past->snapshot, &bytes);
        err = err ? err : record_snapshot(options->db, &past->snapshot, bytes);
        if (err) {
            return err;
        }
        past->journal_bytes = 0;
        lethe_snapshot_free(epoch->snapshot);
        epoch->snapshot = NULL;
    }
    segment.pub_seq = epoch->pub_seq;
    segment.previous = past->segment;
    memcpy(segment.previous_chain, past->chain, sizeof segment.previous_chain);
    segment.snapshot = past->snapshot;
    lethe_vault_new_id(&epoch->segment);
    err = lethe_segment_put(options->vault, options->db, &segment, past->tree_seq, past->vault_seq, &epoch->segment,
                            epoch->hash, &bytes);
    lethe_segment_release(&segment);
    if (!err) {
        err = record_intent(options->db, epoch, past->journal_bytes + bytes);
    }
    return err ? err : lethe_commit_wait(options->committer);
}

/*
 * An intent whose head move was not seen to happen: it may have happened, or may yet (a request on its way). So the
 * head goes to this very segment; a second one for the epoch would look like another device's. Unless the segment is
 * there no more: then nobody can have gone to it.
 */
static enum lethe_err resume_intent(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
{
    struct lethe_segment segment;
    int64_t seq = 0;
    enum lethe_err err;

    if (lethe_segment_is_missing(options->vault, epoch->n, &epoch->segment)) {
        epoch->state = 0;
        return LETHE_OK;
    }
    err = lethe_segment_get(options->vault, epoch->n, &epoch->segment, epoch->hash, &segment);
    if (err) {
        return err;
    }
    lethe_segment_release(&segment);
    lethe_db_lock(options->db);
    err = lethe_db_get_int(options->db, LETHE_CONFIG_INTENT_SEQ, 0, &seq);
    lethe_db_unlock(options->db);
    epoch->pub_seq = (uint64_t)seq;
    return err ? err : lethe_commit_wait(options->committer); /* the intent itself, had its commit failed */
}

/* What was sealed for the epoch, and nothing of one that was cut after it before the power went. */
static enum lethe_err find_pub_seq(struct lethe_db *db, struct lethe_epoch *epoch)
{
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    epoch->pub_seq = lethe_db_seq(db) - 1;
    err = lethe_db_statement(db, "SELECT cut_seq FROM epoch WHERE n > ? ORDER BY n LIMIT 1", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)epoch->n);
        err = lethe_db_step(db, statement, &row);
    }
    if (!err && row) {
        epoch->pub_seq = (uint64_t)sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err;
}

enum lethe_err lethe_epoch_seal(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
{
    enum lethe_err err = epoch->state == 1 ? resume_intent(options, epoch) : LETHE_OK;

    if (err || epoch->state == 1) {
        return err;
    }
    err = lethe_sealer_run(options->sealer, epoch->n);
    err = err ? err : lethe_commit_wait(options->committer); /* the changesets of what was sealed */
    return err ? err : find_pub_seq(options->db, epoch);
}

enum lethe_err lethe_epoch_conclude(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
{
    struct past past = {0};
    enum lethe_err err = read_past(options, &past);

    if (!err && epoch->state == 0) {
        err = put_segment(options, epoch, &past);
    }
    if (!err) {
        err = move_head(options->vault, &past, epoch);
    }
    return err ? err : lethe_epoch_settle(options->db, epoch);
}

enum lethe_err lethe_epoch_publish(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
{
    enum lethe_err err = lethe_epoch_seal(options, epoch);

    err = err ? err : lethe_epoch_conclude(options, epoch);
    return err ? err : lethe_epoch_sweep(options, epoch->n);
}

enum lethe_err lethe_epoch_verify(const struct lethe_publisher_options *options, bool full,
                                  bool (*go_on)(void *context), void *context)
{
    struct lethe_head head;
    struct past past = {0};
    enum lethe_err err = read_past(options, &past);

    err = err ? err : lethe_head_get(options->vault, &head, NULL);
    if (err || !is_past(&head, &past)) { /* of another history, others judge */
        return err;
    }
    return lethe_journal_verify(options->vault, &head, full, go_on, context);
}

/* The newest head once more, from what the device knows. */
static enum lethe_err mend_head(struct lethe_vault *vault, struct lethe_db *db, const struct past *past)
{
    struct lethe_store_version version;
    struct lethe_head head;
    int64_t time = 0;
    bool set_back = false;
    enum lethe_err err = lethe_head_get(vault, &head, &version);

    err = err ? err : was_set_back(vault, &head, past, &set_back);
    if (!err && !set_back) {
        return LETHE_ERR_UNREACHABLE; /* it changes while we look: the publisher settles it */
    }
    lethe_db_lock(db);
    err = err ? err : lethe_db_get_int(db, LETHE_CONFIG_TIME, 0, &time);
    lethe_db_unlock(db);
    if (err) {
        return err;
    }
    lethe_log(LETHE_LOG_WARN, "the vault's head was set back to epoch %llu (a write that came late): moving it to epoch"
              " %llu again", (unsigned long long)head.epoch, (unsigned long long)past->epoch);
    head.epoch = past->epoch;
    head.segment = past->segment;
    memcpy(head.chain, past->chain, sizeof head.chain);
    head.time = time;
    head.pair = past->pair;
    if (lethe_vault_generation(vault) > head.generation) {
        head.generation = lethe_vault_generation(vault);
        memcpy(head.json_hash, lethe_vault_json_hash(vault), sizeof head.json_hash);
    }
    return lethe_head_move(vault, &head, &version, &version);
}

enum lethe_err lethe_publisher_compare(struct lethe_vault *vault, struct lethe_db *db, bool mend,
                                       struct lethe_publisher_difference *difference)
{
    struct lethe_publisher_options options = {.vault = vault, .db = db};
    struct lethe_epoch pending = {0};
    struct lethe_head head;
    struct past past = {0};
    int64_t pub_seq = 0;
    bool set_back;
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    *difference = (struct lethe_publisher_difference){0};
    if (!err) {
        err = read_past(&options, &past);
    }
    if (err) {
        return err;
    }
    if (is_past(&head, &past)) {
        return LETHE_OK;
    }
    err = lethe_epoch_pending(db, 0, &pending);
    if (!err && pending.state == 1 && is_ours(&head, &pending)) {
        lethe_db_lock(db);
        err = lethe_db_get_int(db, LETHE_CONFIG_INTENT_SEQ, 0, &pub_seq);
        lethe_db_unlock(db);
        pending.pub_seq = (uint64_t)pub_seq;
        return err ? err : lethe_epoch_settle(db, &pending);
    }
    if (err && err != LETHE_ERR_NOT_FOUND) {
        return err;
    }
    err = was_set_back(vault, &head, &past, &set_back);
    if (err) {
        return err;
    }
    if (set_back) {
        return mend ? mend_head(vault, db, &past) : LETHE_OK;
    }
    *difference = (struct lethe_publisher_difference){.shown = head.epoch, .known = past.epoch, .differs = true};
    return head.epoch <= past.epoch ? LETHE_ERR_INTEGRITY : LETHE_ERR_CONFLICT;
}

enum lethe_err lethe_publisher_check(struct lethe_vault *vault, struct lethe_db *db, bool mend)
{
    struct lethe_publisher_difference difference;
    enum lethe_err err = lethe_publisher_compare(vault, db, mend, &difference);

    if (!difference.differs) {
        return err;
    }
    if (err == LETHE_ERR_INTEGRITY) {
        lethe_log(LETHE_LOG_ERROR,
                  "the vault was rolled back or replaced: it shows epoch %llu, this device has seen epoch %llu;"
                  " restore the newer vault, or copy out of 'lethefs mount -o ro' what it lacks and run 'lethefs recover' to"
                  " accept the loss",
                  (unsigned long long)difference.shown, (unsigned long long)difference.known);
    } else if (err == LETHE_ERR_CONFLICT) {
        lethe_log(LETHE_LOG_ERROR,
                  "another device published to this vault (epoch %llu, this device knows %llu), or this device's state is"
                  " an old copy: 'lethefs mount -o ro' shows what is on this device, to be copied out; then run 'lethefs"
                  " recover' to go on from there",
                  (unsigned long long)difference.shown, (unsigned long long)difference.known);
    }
    return err;
}
