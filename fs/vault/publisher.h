/* SPDX-License-Identifier: MIT */
/*
 * Epochs. One thread cuts the tree (every few seconds of activity, under pressure, or when asked to sync), has the
 * frozen contents sealed, puts the journal segment, records the intent durably, and moves the head. The epoch under
 * way is frozen; everything later waits for the next cut, so that steady writing cannot starve publication. Once an
 * epoch's contents are in the vault, a second thread does the rest, one epoch after the other, while the first cuts and
 * seals the next.
 *
 * States of an epoch's row: 0 cut -> 1 intent (segment put, head about to move) -> 2 published. After a crash, 0 is
 * sealed and published again; 1 is settled by reading the head: ours, or done again.
 * A head that somebody else moved stops publishing for good (until recover); nothing on the device is lost.
 */
#ifndef LETHE_FS_VAULT_PUBLISHER_H
#define LETHE_FS_VAULT_PUBLISHER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/tree/tree.h"
#include "fs/vault/journal.h"
#include "fs/vault/sealer.h"

struct lethe_publisher;

/*
 * Whether the publisher looks, before anything else, if a new device could still read the journal
 * (lethe_journal_verify); where it could not, the next epoch comes with a snapshot of this device's tables.
 */
enum lethe_publisher_verify { LETHE_VERIFY_NOT, LETHE_VERIFY_QUICKLY, LETHE_VERIFY_FULLY };

struct lethe_publisher_options {
    enum lethe_publisher_verify verify;
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_tree *tree;
    struct lethe_sealer *sealer;
    unsigned interval_ms; /* of activity between cuts; 0: 5000 */
    uint64_t cut_bytes;   /* dirty bytes that bring the cut forward; 0: a quarter of the cache limit */
    /*
     * For a vault that was opened without its store: called, again while it is LETHE_ERR_UNREACHABLE, until it is LETHE_OK,
     * before anything is published; another error stops publishing. NULL: there is no need.
     */
    enum lethe_err (*meet)(void *context);
    void *context;
};

/* Names of the settings in the table config. */
#define LETHE_CONFIG_EPOCH "epoch"          /* newest published epoch that this device saw */
#define LETHE_CONFIG_TIME "epoch_time"      /* when it was cut, nanoseconds since 1970 */
#define LETHE_CONFIG_CHAIN "chain"          /* its chain hash */
#define LETHE_CONFIG_SEGMENT "segment"      /* its segment's id */
#define LETHE_CONFIG_TREE_SEQ "tree_seq"    /* the last changeset of the tree in it */
#define LETHE_CONFIG_VAULT_SEQ "vault_seq"  /* the last changeset of the vault's tables in it */
#define LETHE_CONFIG_INTENT_SEQ "intent_seq" /* what VAULT_SEQ becomes once the head has moved to the intent */
#define LETHE_CONFIG_PAIR "pair"            /* the pair for new artifacts */
#define LETHE_CONFIG_SNAP_EPOCH "snap_epoch" /* the newest snapshot */
#define LETHE_CONFIG_SNAP_SEQ "snap_seq"
#define LETHE_CONFIG_SNAP_ID "snap_id"
#define LETHE_CONFIG_SNAP_BYTES "snap_bytes"       /* its size */
#define LETHE_CONFIG_JOURNAL_BYTES "journal_bytes" /* segments since */

/*
 * Compares the vault's head with what this device saw: LETHE_ERR_INTEGRITY for an older or different history,
 * LETHE_ERR_CONFLICT when another device published since, LETHE_ERR_UNREACHABLE. One log line says why. When the
 * intent of this device turns out to have happened, its row is settled. In a vault that is bound to this device an older
 * head of its own is no violation; mend: it is moved to the newest epoch again.
 */
enum lethe_err lethe_publisher_check(struct lethe_vault *vault, struct lethe_db *db, bool mend) LETHE_MUST_CHECK;

/* The epochs of a vault that this device's state does not go on from. */
struct lethe_publisher_difference {
    uint64_t shown; /* by the vault's head */
    uint64_t known; /* on this device */
    bool differs;
};
/* The same without the log line; difference->differs when the histories are why. */
enum lethe_err lethe_publisher_compare(struct lethe_vault *vault, struct lethe_db *db, bool mend,
                                       struct lethe_publisher_difference *difference) LETHE_MUST_CHECK;

/* Starts the thread. Borrows everything. */
enum lethe_err lethe_publisher_new(const struct lethe_publisher_options *options, struct lethe_publisher **out)
    LETHE_MUST_CHECK;
/* Stops it where it is; the device goes on from there at the next mount. */
void lethe_publisher_free(struct lethe_publisher *publisher);

/*
 * Returns when everything done before the call is in the vault, or with the error that stops it. An unreachable
 * backend is retried until timeout_ms have passed (0: for ever).
 */
enum lethe_err lethe_publisher_sync(struct lethe_publisher *publisher, unsigned timeout_ms) LETHE_MUST_CHECK;
/*
 * The same in two steps, for who wants to look up in between: a ticket, and then LETHE_ERR_BUSY while its answer is
 * still to come after ms.
 */
uint64_t lethe_publisher_ask(struct lethe_publisher *publisher);
enum lethe_err lethe_publisher_await(struct lethe_publisher *publisher, uint64_t ticket, unsigned ms) LETHE_MUST_CHECK;
/* From here on nothing more is begun, and whoever waits gets LETHE_ERR_CANCELLED. lethe_publisher_free comes later. */
void lethe_publisher_stop(struct lethe_publisher *publisher);
/* Looks at the whole journal (LETHE_VERIFY_FULLY) before the next sync is answered. */
void lethe_publisher_verify(struct lethe_publisher *publisher);
/* What failed is tried again at once: the store, which was away, answers. */
void lethe_publisher_retry(struct lethe_publisher *publisher);
/*
 * Asks for a cut soon: space is low. What failed is tried again within a second. Whether bytes are on their way to the vault,
 * and the last try did not fail.
 */
bool lethe_publisher_press(struct lethe_publisher *publisher);
/* The same where there is no hurry: much was written, and sealing it may as well begin. */
void lethe_publisher_suggest(struct lethe_publisher *publisher);

struct lethe_publisher_status {
    uint64_t epoch;      /* newest published */
    int64_t epoch_time;  /* nanoseconds since 1970 */
    bool busy;           /* an epoch is under way */
    uint64_t sealing_total, sealing_done;
    uint64_t original_bytes, stored_bytes; /* sealed since mount, and what was put for it */
    enum lethe_err last_error; /* of the last try; LETHE_OK when it went well */
    int64_t error_since;       /* nanoseconds since 1970 */
    bool stopped;              /* the head was moved by another device */
    bool journal_damaged;      /* a new device could not read the vault: the next epoch mends that */
    uint64_t mended;           /* the epoch that did so since the mount; 0: none */
    uint64_t damaged;          /* files that lost bytes on this device: the vault has them without */
};
void lethe_publisher_status(struct lethe_publisher *publisher, struct lethe_publisher_status *out);

#endif
