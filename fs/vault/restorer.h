/* SPDX-License-Identifier: MIT */
/*
 * Absent bytes of contents, out of the vault into the content store. What is fetched is a flight: a whole photo or small
 * content, or one segment of 4 MiB. A flight has a thread of its own, so that whoever waits for it can give up: it goes
 * on, and the next one to ask joins it. Many are under way at once, asked for or ahead of being asked for.
 */
#ifndef LETHE_FS_VAULT_RESTORER_H
#define LETHE_FS_VAULT_RESTORER_H

#include "fs/device/commit.h"
#include "fs/device/content.h"
#include "fs/device/db.h"
#include "fs/vault/vault.h"
#include "lethe/pool.h"

#define LETHE_TIMEOUT_MS 60000u /* for a read that waits for the vault */

struct lethe_restorer;

struct lethe_restorer_options {
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer; /* NULL in tools */
    struct lethe_pool *pool;
    struct lethe_store *watch; /* fs/vault/watch.h; NULL: an absence of the store shows in failures alone */
    struct lethe_store *second; /* the same of the second store; NULL without one */
    unsigned timeout_ms;       /* how long lethe_restorer_hydrate waits; 0: 60 s */
    bool degraded;             /* photos come as lethe_restore_alone makes them; records and inodes have its sizes */
    bool persistent;           /* what fails for want of an answer is tried again until then */
    bool (*interrupted)(void); /* whether the program that waits in this thread was interrupted; may be NULL */
};

/* Borrows everything. */
enum lethe_err lethe_restorer_new(const struct lethe_restorer_options *options, struct lethe_restorer **out)
    LETHE_MUST_CHECK;
/* Drains it first. NULL does nothing. */
void lethe_restorer_free(struct lethe_restorer *restorer);
/* Whoever waits gets LETHE_ERR_UNREACHABLE, now and from here on. */
void lethe_restorer_stop(struct lethe_restorer *restorer);
/* Stops it, and returns when all flights have ended: the committer may go then. */
void lethe_restorer_drain(struct lethe_restorer *restorer);

/*
 * Brings absent bytes to the content store: at least the first of them, of a JPEG as soon as they are decoded. What the cache has no room for is lent to the
 * next reads from memory. LETHE_ERR_UNREACHABLE: not within the timeout; or the store had been away for that long, and
 * a new try failed as well. LETHE_ERR_CANCELLED: interrupted. Call without the gate.
 */
enum lethe_err lethe_restorer_hydrate(struct lethe_restorer *restorer, const struct lethe_absent *absent)
    LETHE_MUST_CHECK;

enum lethe_ahead {
    LETHE_AHEAD_HERE,  /* it is on this device, or on its way */
    LETHE_AHEAD_BEGUN,
    LETHE_AHEAD_LATER, /* too much is on its way already, or the store is away */
};
/*
 * Begins to bring what holds this offset of a content, and returns at once. What then finds no room in the cache is
 * dropped.
 */
enum lethe_ahead lethe_restorer_ahead(struct lethe_restorer *restorer, const struct lethe_id *content, uint64_t size,
                                      uint64_t offset);

struct lethe_restorer_status {
    uint64_t asked;  /* hydrations: reads that had to wait for the vault */
    uint64_t ahead;  /* flights begun before anybody asked */
    uint64_t joined; /* hydrations that found such a flight under way */
    uint64_t early;  /* photos whose first bytes could be read before the last were decoded */
};
void lethe_restorer_status(struct lethe_restorer *restorer, struct lethe_restorer_status *out);

/* Its asked, without a lock. */
uint64_t lethe_restorer_asked(struct lethe_restorer *restorer);

#endif
