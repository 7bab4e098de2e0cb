/* SPDX-License-Identifier: MIT */
/* One epoch from its cut to the vault: the steps that fs/vault/publisher.c runs in its thread. */
#ifndef LETHE_FS_VAULT_PUBLISH_H
#define LETHE_FS_VAULT_PUBLISH_H

#include "fs/vault/publisher.h"

struct lethe_epoch {
    uint64_t n;
    int state;
    uint64_t cut_seq;
    uint64_t pub_seq; /* once sealed: the last changeset of the vault's tables in it, before any later cut */
    int64_t time;
    struct lethe_id segment; /* of the intent */
    uint8_t hash[32];
    struct lethe_snapshot *snapshot; /* dumped at the cut, or NULL; owned */
};

/* The first epoch after this one that is cut but not published. LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_epoch_pending(struct lethe_db *db, uint64_t after, struct lethe_epoch *epoch) LETHE_MUST_CHECK;
/*
 * Cuts the tree and commits. LETHE_ERR_NOT_FOUND when nothing has changed since the last cut (then there is no new
 * epoch). force: with pictures that are open. An epoch before it may be on its way to the head, if it is sealed and has no
 * snapshot.
 */
enum lethe_err lethe_epoch_cut(const struct lethe_publisher_options *options, bool force, struct lethe_epoch *epoch)
    LETHE_MUST_CHECK;
/*
 * The same with a snapshot, so that the epoch needs nothing of the journal before it; also when nothing has changed.
 * LETHE_OK without one when memory does not allow it and the tree has changed, else LETHE_ERR_NOMEM.
 */
enum lethe_err lethe_epoch_cut_anew(const struct lethe_publisher_options *options, bool force,
                                    struct lethe_epoch *epoch) LETHE_MUST_CHECK;
/* lethe_journal_verify of the head, when that is the newest epoch that this device knows; else LETHE_OK. */
enum lethe_err lethe_epoch_verify(const struct lethe_publisher_options *options, bool full,
                                  bool (*go_on)(void *context), void *context) LETHE_MUST_CHECK;
/* Has every content that the epoch names in the vault. */
enum lethe_err lethe_epoch_seal(const struct lethe_publisher_options *options, struct lethe_epoch *epoch) LETHE_MUST_CHECK;
/*
 * Puts what was sealed into the journal, moves the head, settles. The epochs before it are settled.
 * LETHE_ERR_CONFLICT: another device moved the head.
 */
enum lethe_err lethe_epoch_conclude(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
    LETHE_MUST_CHECK;
/* The two, and the sweep. */
enum lethe_err lethe_epoch_publish(const struct lethe_publisher_options *options, struct lethe_epoch *epoch)
    LETHE_MUST_CHECK;
/* Marks the epoch published and forgets what nothing needs any more. */
enum lethe_err lethe_epoch_settle(struct lethe_db *db, const struct lethe_epoch *epoch) LETHE_MUST_CHECK;
/* Drops the contents that no epoch names since n was published. Not while something is sealed. */
enum lethe_err lethe_epoch_sweep(const struct lethe_publisher_options *options, uint64_t n) LETHE_MUST_CHECK;
void lethe_epoch_release(struct lethe_epoch *epoch);

#endif
