/* SPDX-License-Identifier: MIT */
/*
 * Each segment names the one before it, so that following the chain takes a request after the other. A listing tells
 * which segments there are: they are fetched ahead by it. It is a hint and no more: what it lacks is asked for by name, and
 * the chain's hashes judge all of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/vault/ahead.h"
#include "fs/vault/frame.h"
#include "lethe/log.h"

#define FEW 4               /* segments that are not worth a listing */
#define HINTS_MAX (1u << 20)
#define FEW_BYTES (4u << 20) /* parts that are read rather than asked for */

/* One segment of the way back from the head. */
struct step {
    struct lethe_id id;
    struct lethe_segment segment;
};

/* A segment that the store lists. */
struct hint {
    uint64_t epoch;
    uint64_t size;
    struct lethe_id id;
};

struct way {
    struct lethe_vault *vault;
    struct step *steps; /* newest first */
    size_t count;
    /* The hints of epochs from floor on, newest first; those before next have been passed by. */
    uint64_t floor, top;
    struct hint *hints;
    size_t hint_count, hint_room, next;
    struct lethe_ahead *ahead;
    bool (*go_on)(void *context); /* NULL: to the end */
    void *context;
};

static void forget_hints(struct way *way)
{
    lethe_ahead_free(way->ahead);
    free(way->hints);
    way->ahead = NULL;
    way->hints = NULL;
    way->hint_count = way->hint_room = way->next = 0;
}

static void release(struct way *way)
{
    forget_hints(way);
    for (size_t i = 0; i < way->count; i++) {
        lethe_segment_release(&way->steps[i].segment);
    }
    free(way->steps);
}

static enum lethe_err add_hint(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct way *way = context;
    unsigned long long epoch;
    struct hint hint;

    if (strlen(key) != 2 + 16 + 1 + 32 || sscanf(key, "j/%16llx-", &epoch) != 1 || epoch < way->floor ||
        epoch > way->top || lethe_unhex(key + 19, 32, hint.id.bytes, sizeof hint.id.bytes)) {
        return LETHE_OK;
    }
    if (way->hint_count == way->hint_room) {
        size_t room = way->hint_room ? way->hint_room * 2 : 256;
        struct hint *hints = room <= HINTS_MAX ? reallocarray(way->hints, room, sizeof *hints) : NULL;

        if (!hints) {
            return LETHE_ERR_NOMEM;
        }
        way->hints = hints;
        way->hint_room = room;
    }
    hint.epoch = epoch;
    hint.size = stat->size;
    way->hints[way->hint_count++] = hint;
    return LETHE_OK;
}

static int newest_first(const void *a, const void *b)
{
    const struct hint *one = a, *other = b;

    return one->epoch < other->epoch   ? 1
           : one->epoch > other->epoch ? -1
                                       : memcmp(one->id.bytes, other->id.bytes, sizeof one->id.bytes);
}

static enum lethe_err fetch_hint(void *context, size_t index, struct lethe_buf *out)
{
    const struct way *way = context;
    const struct hint *hint = &way->hints[index];

    return lethe_segment_fetch(way->vault, hint->epoch, &hint->id, hint->size, out);
}

/* Fetches the segments of epochs from floor to top ahead, as far as a listing tells of them. */
static void look_ahead(struct way *way, uint64_t floor, uint64_t top)
{
    char prefix[3 + 16], last[17];
    uint64_t *costs;
    size_t same = 0;

    forget_hints(way);
    way->floor = floor;
    way->top = top;
    snprintf(prefix, sizeof prefix, "j/%016llx", (unsigned long long)floor);
    snprintf(last, sizeof last, "%016llx", (unsigned long long)top);
    while (same < 16 && prefix[2 + same] == last[same]) {
        same++;
    }
    prefix[2 + same] = '\0';
    if (lethe_store_list(lethe_vault_store(way->vault), prefix, add_hint, way) || way->hint_count == 0) {
        forget_hints(way);
        return;
    }
    qsort(way->hints, way->hint_count, sizeof *way->hints, newest_first);
    costs = calloc(way->hint_count, sizeof *costs);
    for (size_t i = 0; i < way->hint_count && costs; i++) {
        costs[i] = way->hints[i].size;
    }
    if (!costs || lethe_ahead_new(fetch_hint, way, costs, way->hint_count, &way->ahead)) {
        forget_hints(way);
    }
    free(costs);
}

/* The segment as it was fetched ahead; false when it was not. */
static bool take_ahead(struct way *way, uint64_t epoch, const struct lethe_id *id, struct lethe_buf *sealed)
{
    for (; way->next < way->hint_count && way->hints[way->next].epoch >= epoch; way->next++) {
        const struct hint *hint = &way->hints[way->next];

        if (hint->epoch == epoch && lethe_id_equal(&hint->id, id)) {
            return lethe_ahead_take(way->ahead, way->next++, sealed) == LETHE_OK;
        }
    }
    return false;
}

static enum lethe_err get_segment(struct way *way, uint64_t epoch, const struct lethe_id *id, const uint8_t chain[32],
                                  struct lethe_segment *out)
{
    struct lethe_buf sealed = {0};
    enum lethe_err err = take_ahead(way, epoch, id, &sealed)
                             ? lethe_segment_open(way->vault, epoch, id, chain, &sealed, out)
                             : lethe_segment_get(way->vault, epoch, id, chain, out);

    lethe_buf_release(&sealed);
    return err;
}

/* Follows the chain from the head until the segment that its target's snapshot belongs to, or the first one. */
static enum lethe_err walk(struct way *way, const struct lethe_head *head, int64_t time, size_t *target)
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
        if (way->go_on && !way->go_on(way->context)) {
            return LETHE_ERR_CANCELLED;
        }
        step = &steps[way->count];
        step->id = id;
        /* Behind its oldest snapshot the history may have been collected: the target is older than what is kept. */
        if (!found && epoch < lowest && lethe_segment_is_missing(way->vault, epoch, &id)) {
            return LETHE_ERR_NOT_FOUND;
        }
        if (way->count > 0 && epoch < way->floor && epoch > lowest + FEW) {
            look_ahead(way, lowest, epoch);
        }
        err = get_segment(way, epoch, &id, chain, &step->segment);
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

        lethe_journal_chain_start(&lethe_vault_settings(way->vault)->id, start);
        return memcmp(start, chain, sizeof start) == 0 ? LETHE_OK : LETHE_ERR_INTEGRITY;
    }
}

/* The parts of the segments from the oldest on the way to the target, in order. *refs is freed by the caller. */
static enum lethe_err list_parts(const struct way *way, size_t target, struct lethe_frame_ref **refs, size_t *count)
{
    size_t room = 0;

    for (size_t i = way->count; i > target; i--) {
        room += way->steps[i - 1].segment.count;
    }
    *refs = calloc(room ? room : 1, sizeof **refs);
    *count = 0;
    for (size_t i = way->count; i > target && *refs; i--) {
        const struct step *step = &way->steps[i - 1];

        for (size_t k = 0; k < step->segment.count; k++) {
            (*refs)[(*count)++] = (struct lethe_frame_ref){
                .kind = LETHE_OBJECT_JOURNAL, .owner = step->id, .index = k + 1, .part = step->segment.parts[k]};
        }
    }
    return *refs ? LETHE_OK : LETHE_ERR_NOMEM;
}

/* The segments from the oldest on the way to the target, on top of the snapshot that was loaded. */
static enum lethe_err apply(const struct way *way, struct lethe_db *db, size_t target, uint64_t after)
{
    struct lethe_frame_reader *reader = NULL;
    struct lethe_frame_ref *refs;
    size_t count;
    enum lethe_err err = list_parts(way, target, &refs, &count);

    if (err) {
        return err;
    }
    err = lethe_frame_reader_new(way->vault, refs, count, &reader);
    for (size_t i = way->count; i > target && !err; i--) {
        err = lethe_segment_apply(db, &way->steps[i - 1].segment, reader, after);
    }
    lethe_frame_reader_free(reader);
    free(refs);
    return err;
}

enum lethe_err lethe_journal_replay(struct lethe_vault *vault, struct lethe_db *db, const struct lethe_head *head,
                                    int64_t time, struct lethe_segment *last)
{
    struct way way = {.vault = vault, .floor = UINT64_MAX};
    size_t target = 0;
    uint64_t after = 0;
    enum lethe_err err;

    *last = (struct lethe_segment){0};
    if (head->epoch == 0) {
        return time == INT64_MAX ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    }
    err = walk(&way, head, time, &target);
    if (err) {
        goto out;
    }
    forget_hints(&way);
    lethe_db_lock(db);
    lethe_db_sessions_enable(db, false);
    lethe_db_unlock(db);
    if (way.steps[target].segment.snapshot.epoch > 0) {
        after = way.steps[target].segment.snapshot.seq;
        err = lethe_snapshot_load(vault, db, &way.steps[target].segment.snapshot);
    }
    err = err ? err : apply(&way, db, target, after);
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

/* Every byte of the parts. */
static enum lethe_err read_parts(const struct way *way, const struct lethe_frame_ref *refs, size_t count)
{
    struct lethe_frame_reader *reader = NULL;
    struct lethe_buf raw = {0};
    enum lethe_err err = lethe_frame_reader_new(way->vault, refs, count, &reader);

    for (size_t i = 0; i < count && !err; i++) {
        err = way->go_on && !way->go_on(way->context) ? LETHE_ERR_CANCELLED : lethe_frame_reader_next(reader, &raw);
    }
    lethe_frame_reader_free(reader);
    lethe_buf_release(&raw);
    return err;
}

/* Their names and sizes. */
static enum lethe_err stat_parts(const struct way *way, const struct lethe_frame_ref *refs, size_t count)
{
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < count && !err; i++) {
        char key[LETHE_STORE_KEY_MAX + 1];
        struct lethe_store_stat stat;

        if (way->go_on && !way->go_on(way->context)) {
            return LETHE_ERR_CANCELLED;
        }
        lethe_vault_object_key(refs[i].kind, &refs[i].part.id, key);
        err = lethe_store_stat(lethe_vault_store(way->vault), key, &stat);
        if (err == LETHE_ERR_NOT_FOUND || (!err && stat.size != refs[i].part.stored)) {
            lethe_log(LETHE_LOG_ERROR, "object %s of the journal is missing or damaged: " LETHE_JOURNAL_REMEDY, key);
            err = LETHE_ERR_INTEGRITY;
        }
    }
    return err;
}

static enum lethe_err verify_parts(const struct way *way, const struct lethe_frame_ref *refs, size_t count, bool full)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += refs[i].part.stored;
    }
    return full || bytes <= FEW_BYTES ? read_parts(way, refs, count) : stat_parts(way, refs, count);
}

static enum lethe_err verify_snapshot(const struct way *way, const struct lethe_snapshot_ref *ref, bool full)
{
    struct lethe_frame_ref *refs;
    size_t count;
    enum lethe_err err = lethe_snapshot_parts(way->vault, ref, &refs, &count);

    err = err ? err : verify_parts(way, refs, count, full);
    free(refs);
    return err;
}

enum lethe_err lethe_journal_verify(struct lethe_vault *vault, const struct lethe_head *head, bool full,
                                    bool (*go_on)(void *context), void *context)
{
    struct way way = {.vault = vault, .floor = UINT64_MAX, .go_on = go_on, .context = context};
    struct lethe_frame_ref *refs = NULL;
    size_t target = 0, count;
    enum lethe_err err = head->epoch ? walk(&way, head, INT64_MAX, &target) : LETHE_OK;

    forget_hints(&way);
    if (!err && head->epoch && way.steps[target].segment.snapshot.epoch > 0) {
        err = verify_snapshot(&way, &way.steps[target].segment.snapshot, full);
    }
    if (!err && head->epoch) {
        err = list_parts(&way, target, &refs, &count);
        err = err ? err : verify_parts(&way, refs, count, full);
    }
    free(refs);
    release(&way);
    return err == LETHE_ERR_FORMAT ? LETHE_ERR_INTEGRITY : err;
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
