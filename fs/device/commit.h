/* SPDX-License-Identifier: MIT */
/*
 * Group commit. Every operation that changes something holds the gate shared for its whole duration; a commit first
 * writes out the bulk without the gate, then takes the gate alone, writes the rest and COMMITs: what is on the disk is
 * always one moment of the whole device. fsync waits for the next commit that began after it was called.
 */
#ifndef LETHE_FS_DEVICE_COMMIT_H
#define LETHE_FS_DEVICE_COMMIT_H

#include <stdbool.h>

#include "fs/device/content.h"
#include "fs/device/db.h"
#include "lethe/err.h"

struct lethe_committer;

struct lethe_commit_hooks {
    /* Under the exclusive gate, before the store's own part: brings dirty inodes into their rows. */
    enum lethe_err (*prepare)(void *context);
    void *context;
};

/* Starts the thread that commits each second while there are changes. Borrows db and contents. */
enum lethe_err lethe_committer_new(struct lethe_db *db, struct lethe_contents *contents, struct lethe_committer **out)
    LETHE_MUST_CHECK;
/* Stops the thread after a last commit; its result. */
enum lethe_err lethe_committer_close(struct lethe_committer *committer) LETHE_MUST_CHECK;
void lethe_committer_set_hooks(struct lethe_committer *committer, const struct lethe_commit_hooks *hooks);

/* The gate, shared. Never wait for space, the network or a commit while holding it. */
void lethe_gate_enter(struct lethe_committer *committer);
/* changed: something was changed, so the next periodic commit is due. */
void lethe_gate_leave(struct lethe_committer *committer, bool changed);

/* A periodic commit is due though nothing was changed: there is other work for it. Never waits. */
void lethe_commit_due(struct lethe_committer *committer);
/* The same, and the commit is made at once, unless the last one failed: somebody waits for what it frees. */
void lethe_commit_early(struct lethe_committer *committer);

/* Returns when all that was done before the call is durable on this device. */
enum lethe_err lethe_commit_wait(struct lethe_committer *committer) LETHE_MUST_CHECK;
/* The state folder was deleted. Commits go on then, so that all can still be brought to the vault. Logged once. */
bool lethe_commit_is_in_vain(struct lethe_committer *committer);
/*
 * lethe_commit_wait for who is promised that it stays: LETHE_ERR_IO when the commit is in vain. With a damaged database,
 * LETHE_OK while nothing was changed since the last commit.
 */
enum lethe_err lethe_commit_promise(struct lethe_committer *committer) LETHE_MUST_CHECK;
/*
 * A commit now, in the caller's thread, with extra work done inside it under the exclusive gate after the hooks (the
 * cut of an epoch). When extra fails, the commit goes on and extra's error is returned.
 */
enum lethe_err lethe_commit_with(struct lethe_committer *committer, enum lethe_err (*extra)(void *context),
                                 void *context) LETHE_MUST_CHECK;

#endif
