/* SPDX-License-Identifier: MIT */
/*
 * Which slots of an arena are in use, and by how many map entries: reference counts in groups of 1024 slots,
 * one row of the table slots each. In memory: a few bytes for each group, and the groups that changed since
 * the last commit plus a bounded number of others.
 *
 * A slot is free to take when nothing counts it, the committed maps do not name it (arena 0 only: a cached
 * block that was overwritten fails its tag and counts as absent), and its space is not being given back at
 * this moment. A free slot is fat while the file still has space for it; trim finds those for punching.
 *
 * Not thread-safe: the store lock guards all of it. May take the database lock.
 */
#ifndef LETHE_FS_DEVICE_SLOTS_H
#define LETHE_FS_DEVICE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/device/db.h"
#include "lethe/err.h"

#define LETHE_SLOTS_GROUP 1024u
#define LETHE_SLOT_REFS_MAX 65535u

struct lethe_slots;

/* ordered: a slot that the committed rows count is not free before the next commit (arena 0). Borrows db. */
enum lethe_err lethe_slots_open(struct lethe_db *db, unsigned arena, bool ordered,
                                struct lethe_slots **out) LETHE_MUST_CHECK;
void lethe_slots_close(struct lethe_slots *slots);

/* Takes between 1 and want neighbouring free slots, the lowest there are, counted once each. */
enum lethe_err lethe_slots_take(struct lethe_slots *slots, uint32_t want, uint32_t *first,
                                uint32_t *count) LETHE_MUST_CHECK;
/* One more reference. LETHE_ERR_UNSUPPORTED when the count is full: the caller copies the block. */
enum lethe_err lethe_slots_share(struct lethe_slots *slots, uint32_t slot) LETHE_MUST_CHECK;
/*
 * One reference less. What cannot be done for want of memory is done by lethe_slots_store, or that fails. What the
 * database does not tell leaks the slot, and is logged.
 */
void lethe_slots_drop(struct lethe_slots *slots, uint32_t slot);
enum lethe_err lethe_slots_refs(struct lethe_slots *slots, uint32_t slot, uint32_t *out) LETHE_MUST_CHECK;

/* The slots in use that no committed row names, in an array for free(). */
enum lethe_err lethe_slots_unnamed(struct lethe_slots *slots, uint32_t **out, size_t *count) LETHE_MUST_CHECK;

/* Writes the changed groups into the open transaction. */
enum lethe_err lethe_slots_store(struct lethe_slots *slots) LETHE_MUST_CHECK;
/* The COMMIT after lethe_slots_store succeeded. Returns how many slots came free. */
uint64_t lethe_slots_committed(struct lethe_slots *slots);
/* Whether anything was not stored yet. */
bool lethe_slots_changed(const struct lethe_slots *slots);

/* All are free from now on, and the rows are deleted in the open transaction: the file was lost. */
enum lethe_err lethe_slots_clear(struct lethe_slots *slots) LETHE_MUST_CHECK;

struct lethe_slot_run {
    uint32_t first, count;
};
/*
 * Up to max runs of fat free slots, while more than keep of them are left: they are withheld from take until
 * lethe_slots_trimmed says that their space was given back. Returns the number of runs.
 */
size_t lethe_slots_trim(struct lethe_slots *slots, uint64_t keep, struct lethe_slot_run *runs, size_t max);
void lethe_slots_trimmed(struct lethe_slots *slots, const struct lethe_slot_run *runs, size_t count);
/* Marks every free slot below the end fat: after a crash nobody knows which ones still have space. */
enum lethe_err lethe_slots_fatten(struct lethe_slots *slots) LETHE_MUST_CHECK;

uint64_t lethe_slots_used(const struct lethe_slots *slots);    /* counted at least once */
uint64_t lethe_slots_pending(const struct lethe_slots *slots); /* free after the next commit */
uint64_t
lethe_slots_fat(const struct lethe_slots *slots); /* free, or being trimmed, with space in the file */
uint64_t lethe_slots_end(const struct lethe_slots *slots); /* above every slot ever counted */

#endif
