/* SPDX-License-Identifier: MIT */
#include "fs/vault/journal.h"

#include <stdlib.h>
#include <string.h>

/* One segment of the way back from the head. */
struct step {
    struct lethe_id id;
    struct lethe_segment segment;
};

struct way {
    struct step *steps; /* newest first */
    size_t count;
};

static void release(struct way *way)
{
    for (size_t i = 0; i < way->count; i++) {
        lethe_segment_release(&way->steps[i].segment);
    }
    free(way->steps);
}

/* Follows the chain from the head until the segment that its target's snapshot belongs to, or the first one. */
static enum lethe_err walk(struct lethe_vault *vault, const struct lethe_head *head, int64_t time, struct way *way,
                           size_t *target)
{
    uint64_t epoch = head->epoch;
    struct lethe_id id = head->segment;
    uint64_t lowest = 0; /* the oldest snapshot that a segment named */
    uint8_t chain[32];
    bool found = false;

    memcpy(chain, head->chain, sizeof chain);
    while (epoch > 0) {
        struct step *steps = reallocarray(way->steps, way->count + 1, sizeof *steps);
        struct step *step;
        enum lethe_err err;

        if (!steps) {
            return LETHE_ERR_NOMEM;
        }
        way->steps = steps;
        step = &steps[way->count];
        step->id = id;
        /* Behind its oldest snapshot the history may have been collected: the target is older than what is kept. */
        if (!found && epoch < lowest && lethe_segment_is_missing(vault, epoch, &id)) {
            return LETHE_ERR_NOT_FOUND;
        }
        err = lethe_segment_get(vault, epoch, &id, chain, &step->segment);
        if (err) {
            return err;
        }
        way->count++;
        lowest = step->segment.snapshot.epoch;
        if (!found && step->segment.time <= time) {
            found = true;
            *target = way->count - 1;
        }
        if (found && step->segment.epoch == way->steps[*target].segment.snapshot.epoch) {
            return LETHE_OK;
        }
        id = step->segment.previous;
        memcpy(chain, step->segment.previous_chain, sizeof chain);
        epoch--;
    }
    if (!found) {
        return LETHE_ERR_NOT_FOUND;
    }
    {
        uint8_t start[32];

        lethe_journal_chain_start(&lethe_vault_settings(vault)->id, start);
        return memcmp(start, chain, sizeof start) == 0 ? LETHE_OK : LETHE_ERR_INTEGRITY;
    }
}

enum lethe_err lethe_journal_replay(struct lethe_vault *vault, struct lethe_db *db, const struct lethe_head *head,
                                    int64_t time, struct lethe_segment *last)
{
    struct way way = {0};
    size_t target = 0;
    uint64_t after = 0;
    enum lethe_err err;

    *last = (struct lethe_segment){0};
    if (head->epoch == 0) {
        return time == INT64_MAX ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    }
    err = walk(vault, head, time, &way, &target);
    if (err) {
        goto out;
    }
    lethe_db_lock(db);
    lethe_db_sessions_enable(db, false);
    lethe_db_unlock(db);
    if (way.steps[target].segment.snapshot.epoch > 0) {
        after = way.steps[target].segment.snapshot.seq;
        err = lethe_snapshot_load(vault, db, &way.steps[target].segment.snapshot);
    }
    for (size_t i = way.count; i > target && !err; i--) {
        err = lethe_segment_apply(vault, db, &way.steps[i - 1].segment, &way.steps[i - 1].id, after);
    }
    lethe_db_lock(db);
    lethe_db_sessions_enable(db, true);
    lethe_db_unlock(db);
    if (!err) {
        *last = way.steps[target].segment;
        last->parts = NULL; /* the way keeps the list and frees it */
        last->count = 0;
    }
out:
    release(&way);
    return err;
}

enum lethe_err lethe_journal_settle_sizes(struct lethe_db *db)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db,
                             "UPDATE inode SET size = c.size FROM content c"
                             " WHERE c.id = inode.content AND c.size != inode.size",
                             &statement);
    err = err ? err : lethe_db_run(db, statement);
    lethe_db_unlock(db);
    return err;
}
