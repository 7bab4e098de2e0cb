/* SPDX-License-Identifier: MIT */
#include "fs/device/slots.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

#define WORDS (LETHE_SLOTS_GROUP / 64)
#define MAX_GROUPS (1u << 21) /* 32 TiB of blocks */
#define KEEP_LOADED 512u      /* unchanged groups in memory: about 1.3 MiB */
#define OWED 256u             /* for which there is always room */

/*
 * held(slot) = named or saved. Exactly one of these holds for each slot of a loaded group:
 *   used (refs > 0) | pending (refs == 0, held) | busy (being punched) | free to take (perhaps fat).
 */
struct group {
    struct group *previous, *next; /* least recently used first */
    uint32_t index;
    uint32_t fat_count, busy_count, pending_count;
    bool dirty;            /* differs from its row */
    bool stored;           /* its row waits for the COMMIT */
    uint64_t named[WORDS]; /* the committed row counts it */
    uint64_t saved[WORDS]; /* the row that waits for the COMMIT counts it */
    uint64_t pending[WORDS];
    uint64_t fat[WORDS];
    uint64_t busy[WORDS];
    uint16_t refs[LETHE_SLOTS_GROUP];
};

struct summary {
    struct group *group; /* NULL: not loaded; then all that is not used is free */
    uint32_t free;       /* slots that may be taken */
};

struct lethe_slots {
    struct lethe_db *db;
    unsigned arena;
    bool ordered;
    struct summary *groups;
    uint32_t count, cap;
    uint32_t hint; /* no group below it has a free slot */
    struct group *oldest, *newest;
    uint32_t loaded;
    uint64_t used, pending, fat;
    uint32_t *owed; /* slots that were dropped while there was no memory for their group: store does it */
    size_t owed_count, owed_room;
};

static bool bit(const uint64_t *map, uint32_t i)
{
    return map[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *map, uint32_t i)
{
    map[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *map, uint32_t i)
{
    map[i / 64] &= ~(1ull << (i % 64));
}

static void unlink_group(struct lethe_slots *slots, struct group *group)
{
    *(group->previous ? &group->previous->next : &slots->oldest) = group->next;
    *(group->next ? &group->next->previous : &slots->newest) = group->previous;
    group->previous = group->next = NULL;
}

static void link_newest(struct lethe_slots *slots, struct group *group)
{
    group->previous = slots->newest;
    group->next = NULL;
    *(slots->newest ? &slots->newest->next : &slots->oldest) = group;
    slots->newest = group;
}

static enum lethe_err grow(struct lethe_slots *slots, uint32_t count)
{
    if (count > MAX_GROUPS) {
        return LETHE_ERR_NOSPACE;
    }
    if (count > slots->cap) {
        uint32_t cap = slots->cap ? slots->cap : 64;
        struct summary *groups;

        while (cap < count) {
            cap *= 2;
        }
        groups = realloc(slots->groups, cap * sizeof *groups);
        if (!groups) {
            return LETHE_ERR_NOMEM;
        }
        slots->groups = groups;
        slots->cap = cap;
    }
    for (; slots->count < count; slots->count++) {
        slots->groups[slots->count] = (struct summary){NULL, LETHE_SLOTS_GROUP};
    }
    return LETHE_OK;
}

static void shrink_loaded(struct lethe_slots *slots)
{
    struct group *group = slots->oldest;

    for (unsigned looked = 0; group && slots->loaded > KEEP_LOADED && looked < 32; looked++) {
        struct group *next = group->next;

        unlink_group(slots, group);
        if (!group->dirty && !group->stored && group->fat_count == 0 && group->busy_count == 0 &&
            group->pending_count == 0) {
            slots->groups[group->index].group = NULL;
            slots->loaded--;
            free(group);
        } else {
            link_newest(slots, group);
        }
        group = next;
    }
}

/* Row: one byte for each slot, or two (little-endian) when a count is above 255; zeros at the end are left
 * out. */
static enum lethe_err decode_refs(const uint8_t *bytes, size_t len, unsigned width, struct group *group)
{
    if (len % width != 0 || len / width > LETHE_SLOTS_GROUP) {
        return LETHE_ERR_FORMAT;
    }
    for (size_t i = 0; i < len / width; i++) {
        group->refs[i] = width == 1 ? bytes[i] : lethe_get_u16(bytes + 2 * i);
    }
    return LETHE_OK;
}

static enum lethe_err read_row(struct lethe_slots *slots, struct group *group)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    lethe_db_lock(slots->db);
    err = lethe_db_statement(slots->db, "SELECT refs FROM slots WHERE arena = ? AND grp = ?", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, slots->arena);
        sqlite3_bind_int64(statement, 2, group->index);
        err = lethe_db_step(slots->db, statement, &row);
        if (!err && row) {
            const uint8_t *blob = sqlite3_column_blob(statement, 0);
            int len = sqlite3_column_bytes(statement, 0);

            /* The first byte says how wide the counts are. */
            if (len < 1 || (blob[0] != 1 && blob[0] != 2)) {
                err = LETHE_ERR_FORMAT;
            } else {
                err = decode_refs(blob + 1, (size_t)len - 1, blob[0], group);
            }
            sqlite3_reset(statement);
        }
    }
    lethe_db_unlock(slots->db);
    if (err == LETHE_ERR_FORMAT) {
        lethe_log(LETHE_LOG_ERROR, "device database: a row of slot counts is malformed");
    }
    return err;
}

static enum lethe_err load(struct lethe_slots *slots, uint32_t index, struct group **out)
{
    struct group *group = slots->groups[index].group;
    enum lethe_err err;

    if (!group) {
        group = calloc(1, sizeof *group);
        if (!group) {
            return LETHE_ERR_NOMEM;
        }
        group->index = index;
        err = read_row(slots, group);
        if (err) {
            free(group);
            return err;
        }
        if (slots->ordered) {
            for (uint32_t i = 0; i < LETHE_SLOTS_GROUP; i++) {
                if (group->refs[i]) {
                    bit_set(group->named, i);
                }
            }
        }
        slots->groups[index].group = group;
        slots->loaded++;
        link_newest(slots, group);
        shrink_loaded(slots);
    } else if (group != slots->newest) {
        unlink_group(slots, group);
        link_newest(slots, group);
    }
    *out = group;
    return LETHE_OK;
}

enum lethe_err lethe_slots_open(struct lethe_db *db, unsigned arena, bool ordered, struct lethe_slots **out)
{
    struct lethe_slots *slots = calloc(1, sizeof *slots);
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;

    *out = NULL;
    if (!slots) {
        return LETHE_ERR_NOMEM;
    }
    slots->db = db;
    slots->arena = arena;
    slots->ordered = ordered;
    slots->owed = malloc(OWED * sizeof *slots->owed);
    slots->owed_room = OWED;
    if (!slots->owed) {
        free(slots);
        return LETHE_ERR_NOMEM;
    }
    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT grp, free FROM slots WHERE arena = ? ORDER BY grp", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, arena);
        for (;;) {
            int64_t index, free_count;

            err = lethe_db_step(db, statement, &row);
            if (err || !row) {
                break;
            }
            index = sqlite3_column_int64(statement, 0);
            free_count = sqlite3_column_int64(statement, 1);
            if (index < 0 || index >= MAX_GROUPS || free_count < 0 || free_count > LETHE_SLOTS_GROUP) {
                err = LETHE_ERR_FORMAT;
            } else {
                err = grow(slots, (uint32_t)index + 1);
            }
            if (err) {
                sqlite3_reset(statement);
                break;
            }
            slots->groups[index].free = (uint32_t)free_count;
            slots->used += LETHE_SLOTS_GROUP - (uint32_t)free_count;
        }
    }
    lethe_db_unlock(db);
    if (err) {
        lethe_slots_close(slots);
        return err;
    }
    *out = slots;
    return LETHE_OK;
}

static void forget_all(struct lethe_slots *slots)
{
    while (slots->oldest) {
        struct group *group = slots->oldest;

        unlink_group(slots, group);
        free(group);
    }
    slots->loaded = slots->count = slots->hint = 0;
    slots->used = slots->pending = slots->fat = 0;
    slots->owed_count = 0;
}

void lethe_slots_close(struct lethe_slots *slots)
{
    if (slots) {
        forget_all(slots);
        free(slots->groups);
        free(slots->owed);
        free(slots);
    }
}

static bool takeable(const struct group *group, uint32_t i)
{
    return group->refs[i] == 0 && !bit(group->pending, i) && !bit(group->busy, i);
}

enum lethe_err lethe_slots_take(struct lethe_slots *slots, uint32_t want, uint32_t *first, uint32_t *count)
{
    struct group *group;
    enum lethe_err err;
    uint32_t start, n = 0;

    while (slots->hint < slots->count && slots->groups[slots->hint].free == 0) {
        slots->hint++;
    }
    if (slots->hint == slots->count) {
        err = grow(slots, slots->count + 1);
        if (err) {
            return err;
        }
    }
    err = load(slots, slots->hint, &group);
    if (err) {
        return err;
    }
    for (start = 0; start < LETHE_SLOTS_GROUP && !takeable(group, start); start++) {
    }
    while (n < want && start + n < LETHE_SLOTS_GROUP && takeable(group, start + n)) {
        if (bit(group->fat, start + n)) {
            bit_clear(group->fat, start + n);
            group->fat_count--;
            slots->fat--;
        }
        group->refs[start + n] = 1;
        n++;
    }
    if (n == 0) {
        /* The row's own count of free slots was wrong. */
        lethe_log(LETHE_LOG_ERROR, "device database: slot counts disagree");
        return LETHE_ERR_FORMAT;
    }
    group->dirty = true;
    slots->groups[slots->hint].free -= n;
    slots->used += n;
    *first = slots->hint * LETHE_SLOTS_GROUP + start;
    *count = n;
    return LETHE_OK;
}

static enum lethe_err find(struct lethe_slots *slots, uint32_t slot, struct group **out)
{
    if (slot / LETHE_SLOTS_GROUP >= slots->count) {
        return LETHE_ERR_FORMAT;
    }
    return load(slots, slot / LETHE_SLOTS_GROUP, out);
}

enum lethe_err lethe_slots_share(struct lethe_slots *slots, uint32_t slot)
{
    struct group *group;
    enum lethe_err err = find(slots, slot, &group);
    uint32_t i = slot % LETHE_SLOTS_GROUP;

    if (err) {
        return err;
    }
    if (group->refs[i] == 0) {
        return LETHE_ERR_FORMAT;
    }
    if (group->refs[i] == LETHE_SLOT_REFS_MAX) {
        return LETHE_ERR_UNSUPPORTED;
    }
    group->refs[i]++;
    group->dirty = true;
    return LETHE_OK;
}

static void make_free(struct lethe_slots *slots, struct group *group, uint32_t i)
{
    bit_set(group->fat, i);
    group->fat_count++;
    slots->fat++;
    slots->groups[group->index].free++;
    if (group->index < slots->hint) {
        slots->hint = group->index;
    }
}

static void not_released(const char *why)
{
    lethe_log(LETHE_LOG_ERROR, "block file: a slot could not be released: %s", why);
}

static void drop(struct lethe_slots *slots, struct group *group, uint32_t i)
{
    if (group->refs[i] == 0) {
        not_released("it was free");
        return;
    }
    group->dirty = true;
    if (--group->refs[i] > 0) {
        return;
    }
    slots->used--;
    if (slots->ordered && (bit(group->named, i) || bit(group->saved, i))) {
        bit_set(group->pending, i);
        group->pending_count++;
        slots->pending++;
    } else {
        make_free(slots, group, i);
    }
}

static bool owe(struct lethe_slots *slots, uint32_t slot)
{
    if (slots->owed_count == slots->owed_room) {
        uint32_t *more = realloc(slots->owed, 2 * slots->owed_room * sizeof *more);

        if (!more) {
            return false;
        }
        slots->owed = more;
        slots->owed_room *= 2;
    }
    slots->owed[slots->owed_count++] = slot;
    return true;
}

void lethe_slots_drop(struct lethe_slots *slots, uint32_t slot)
{
    struct group *group;
    enum lethe_err err = find(slots, slot, &group);

    if (!err) {
        drop(slots, group, slot % LETHE_SLOTS_GROUP);
    } else if (err != LETHE_ERR_NOMEM || !owe(slots, slot)) {
        not_released(lethe_err_str(err));
    }
}

static enum lethe_err drop_owed(struct lethe_slots *slots)
{
    while (slots->owed_count > 0) {
        uint32_t slot = slots->owed[slots->owed_count - 1];
        struct group *group;
        enum lethe_err err = find(slots, slot, &group);

        if (err == LETHE_ERR_NOMEM) {
            return err;
        }
        if (err) {
            not_released(lethe_err_str(err));
        } else {
            drop(slots, group, slot % LETHE_SLOTS_GROUP);
        }
        slots->owed_count--;
    }
    return LETHE_OK;
}

enum lethe_err lethe_slots_refs(struct lethe_slots *slots, uint32_t slot, uint32_t *out)
{
    struct group *group;
    enum lethe_err err = find(slots, slot, &group);

    if (!err) {
        *out = group->refs[slot % LETHE_SLOTS_GROUP];
    }
    return err;
}

enum lethe_err lethe_slots_unnamed(struct lethe_slots *slots, uint32_t **out, size_t *count)
{
    uint32_t *found = NULL;
    size_t n = 0, room = 0;

    *out = NULL;
    *count = 0;
    /* A group with such slots differs from its committed row, so it is in memory. */
    for (const struct group *group = slots->oldest; group; group = group->next) {
        for (uint32_t i = 0; i < LETHE_SLOTS_GROUP; i++) {
            if (group->refs[i] == 0 || bit(group->named, i)) {
                continue;
            }
            if (n == room) {
                uint32_t *more = realloc(found, (room * 2 + LETHE_SLOTS_GROUP) * sizeof *more);

                if (!more) {
                    free(found);
                    return LETHE_ERR_NOMEM;
                }
                found = more;
                room = room * 2 + LETHE_SLOTS_GROUP;
            }
            found[n++] = group->index * LETHE_SLOTS_GROUP + i;
        }
    }
    *out = found;
    *count = n;
    return LETHE_OK;
}

/* What is neither named nor saved any more is free. Returns how many came free. */
static uint64_t settle(struct lethe_slots *slots, struct group *group)
{
    uint64_t freed = 0;

    for (uint32_t w = 0; w < WORDS; w++) {
        uint64_t loose = group->pending[w] & ~(group->named[w] | group->saved[w]);

        group->pending[w] &= ~loose;
        for (; loose; loose &= loose - 1) {
            group->pending_count--;
            slots->pending--;
            make_free(slots, group, w * 64 + (uint32_t)__builtin_ctzll(loose));
            freed++;
        }
    }
    return freed;
}

static enum lethe_err write_row(struct lethe_slots *slots, const struct group *group)
{
    uint8_t bytes[1 + 2 * LETHE_SLOTS_GROUP];
    uint32_t end = LETHE_SLOTS_GROUP, used = 0, width = 1;
    sqlite3_stmt *statement;
    enum lethe_err err;

    while (end > 0 && group->refs[end - 1] == 0) {
        end--;
    }
    for (uint32_t i = 0; i < end; i++) {
        used += group->refs[i] > 0;
        width = group->refs[i] > 255 ? 2 : width;
    }
    bytes[0] = (uint8_t)width;
    for (uint32_t i = 0; i < end; i++) {
        if (width == 1) {
            bytes[1 + i] = (uint8_t)group->refs[i];
        } else {
            lethe_set_u16(bytes + 1 + 2 * i, group->refs[i]);
        }
    }
    lethe_db_lock(slots->db);
    if (end == 0) {
        err = lethe_db_statement(slots->db, "DELETE FROM slots WHERE arena = ? AND grp = ?", &statement);
    } else {
        err = lethe_db_statement(
            slots->db, "INSERT OR REPLACE INTO slots(arena, grp, free, refs) VALUES(?, ?, ?, ?)", &statement);
    }
    if (!err) {
        sqlite3_bind_int64(statement, 1, slots->arena);
        sqlite3_bind_int64(statement, 2, group->index);
        if (end > 0) {
            sqlite3_bind_int64(statement, 3, LETHE_SLOTS_GROUP - used);
            sqlite3_bind_blob(statement, 4, bytes, (int)(1 + width * end), SQLITE_TRANSIENT);
        }
        err = lethe_db_run(slots->db, statement);
    }
    lethe_db_unlock(slots->db);
    return err;
}

enum lethe_err lethe_slots_store(struct lethe_slots *slots)
{
    enum lethe_err err = drop_owed(slots);

    if (err) {
        return err;
    }
    for (struct group *group = slots->oldest; group; group = group->next) {
        if (!group->dirty) {
            continue;
        }
        err = write_row(slots, group);
        if (err) {
            return err;
        }
        group->dirty = false;
        if (slots->ordered) {
            group->stored = true;
            memset(group->saved, 0, sizeof group->saved);
            for (uint32_t i = 0; i < LETHE_SLOTS_GROUP; i++) {
                if (group->refs[i]) {
                    bit_set(group->saved, i);
                }
            }
            (void)settle(slots, group);
        }
    }
    return LETHE_OK;
}

uint64_t lethe_slots_committed(struct lethe_slots *slots)
{
    uint64_t freed = 0;

    for (struct group *group = slots->oldest; group; group = group->next) {
        if (group->stored) {
            group->stored = false;
            memcpy(group->named, group->saved, sizeof group->named);
            memset(group->saved, 0, sizeof group->saved);
            freed += settle(slots, group);
        }
    }
    shrink_loaded(slots);
    return freed;
}

bool lethe_slots_changed(const struct lethe_slots *slots)
{
    if (slots->owed_count > 0) {
        return true;
    }
    for (const struct group *group = slots->oldest; group; group = group->next) {
        if (group->dirty) {
            return true;
        }
    }
    return false;
}

enum lethe_err lethe_slots_clear(struct lethe_slots *slots)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(slots->db);
    err = lethe_db_statement(slots->db, "DELETE FROM slots WHERE arena = ?", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, slots->arena);
        err = lethe_db_run(slots->db, statement);
    }
    lethe_db_unlock(slots->db);
    if (!err) {
        forget_all(slots);
    }
    return err;
}

/* Moves the fat free slots of a group to busy, as runs. */
static size_t trim_group(struct lethe_slots *slots, struct group *group, struct lethe_slot_run *runs,
                         size_t max)
{
    size_t n = 0;

    for (uint32_t i = 0; i < LETHE_SLOTS_GROUP && group->fat_count > 0; i++) {
        uint32_t slot = group->index * LETHE_SLOTS_GROUP + i;

        if (!bit(group->fat, i)) {
            continue;
        }
        if (n > 0 && runs[n - 1].first + runs[n - 1].count == slot) {
            runs[n - 1].count++;
        } else if (n < max) {
            runs[n++] = (struct lethe_slot_run){slot, 1};
        } else {
            break;
        }
        bit_clear(group->fat, i);
        bit_set(group->busy, i);
        group->fat_count--;
        group->busy_count++;
        slots->groups[group->index].free--;
    }
    return n;
}

size_t lethe_slots_trim(struct lethe_slots *slots, uint64_t keep, struct lethe_slot_run *runs, size_t max)
{
    size_t n = 0;
    uint64_t left = slots->fat;

    /* From the high end: low slots are taken again first. */
    for (uint32_t index = slots->count; index-- > 0 && left > keep && n < max;) {
        struct group *group = slots->groups[index].group;

        if (group && group->fat_count > 0) {
            left -= group->fat_count;
            n += trim_group(slots, group, runs + n, max - n);
        }
    }
    return n;
}

void lethe_slots_trimmed(struct lethe_slots *slots, const struct lethe_slot_run *runs, size_t count)
{
    for (size_t r = 0; r < count; r++) {
        for (uint32_t s = runs[r].first; s < runs[r].first + runs[r].count; s++) {
            struct summary *summary = &slots->groups[s / LETHE_SLOTS_GROUP];

            bit_clear(summary->group->busy, s % LETHE_SLOTS_GROUP);
            summary->group->busy_count--;
            summary->free++;
            slots->fat--;
            if (summary->group->index < slots->hint) {
                slots->hint = summary->group->index;
            }
        }
    }
}

enum lethe_err lethe_slots_fatten(struct lethe_slots *slots)
{
    for (uint32_t index = 0; index < slots->count; index++) {
        struct group *group;
        enum lethe_err err = load(slots, index, &group);

        if (err) {
            return err;
        }
        for (uint32_t i = 0; i < LETHE_SLOTS_GROUP; i++) {
            if (takeable(group, i) && !bit(group->fat, i)) {
                bit_set(group->fat, i);
                group->fat_count++;
                slots->fat++;
            }
        }
    }
    return LETHE_OK;
}

uint64_t lethe_slots_used(const struct lethe_slots *slots)
{
    return slots->used;
}

uint64_t lethe_slots_pending(const struct lethe_slots *slots)
{
    return slots->pending;
}

uint64_t lethe_slots_fat(const struct lethe_slots *slots)
{
    return slots->fat;
}

uint64_t lethe_slots_end(const struct lethe_slots *slots)
{
    return (uint64_t)slots->count * LETHE_SLOTS_GROUP;
}
