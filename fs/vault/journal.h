/* SPDX-License-Identifier: MIT */
/*
 * The journal: what the vault knows of the tree. Each epoch is one segment, chained by hash to the one before; the
 * head names the newest. A segment holds the changesets of the tree up to its cut and of the vault's own tables up to
 * its publication, each with its sequence number; a snapshot holds all rows up to one sequence number.
 * Byte layouts: lethefs-format(5).
 */
#ifndef LETHE_FS_VAULT_JOURNAL_H
#define LETHE_FS_VAULT_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/device/db.h"
#include "fs/vault/vault.h"

/* What helps when a part of it is missing or damaged. */
#define LETHE_JOURNAL_REMEDY \
    "run 'lethefs check --repair' on a device that knows the vault, or restore it from a copy of the vault"

struct lethe_head {
    uint64_t epoch;            /* 0: nothing was ever published */
    struct lethe_id segment;   /* of the epoch; zero for epoch 0 */
    uint8_t chain[32];
    uint64_t generation;       /* of vault.json */
    uint8_t json_hash[32];
    int64_t time;              /* nanoseconds since 1970 */
    struct lethe_id pair;      /* for new artifacts */
    struct lethe_id writer;    /* the only device that may move the head; zero: any */
};

/* The chain's hash before the first segment. */
void lethe_journal_chain_start(const struct lethe_id *vault, uint8_t out[32]);

/* Reads and opens the head. A missing head is LETHE_ERR_INTEGRITY. version may be NULL. */
enum lethe_err lethe_head_get(struct lethe_vault *vault, struct lethe_head *head, struct lethe_store_version *version)
    LETHE_MUST_CHECK;
/*
 * Seals and moves the head if it still has the version expected; LETHE_ERR_CONFLICT, LETHE_ERR_UNREACHABLE;
 * LETHE_ERR_UNSUPPORTED, without conditional writes and not bound to this device.
 */
enum lethe_err lethe_head_move(struct lethe_vault *vault, const struct lethe_head *head,
                               const struct lethe_store_version *expected, struct lethe_store_version *version)
    LETHE_MUST_CHECK;

/* Writes the first head; the store decides whether head->writer binds it to this device. */
enum lethe_err lethe_vault_first_head(struct lethe_vault *vault, struct lethe_head *head) LETHE_MUST_CHECK;

struct lethe_snapshot_ref {
    uint64_t epoch;      /* the epoch of whose cut it is; 0: none */
    uint64_t seq;        /* the last sequence number in it */
    struct lethe_id id;  /* its root object */
};

struct lethe_segment_part {
    struct lethe_id id;
    uint64_t stored;
};

struct lethe_segment {
    uint64_t epoch;
    int64_t time;
    uint64_t cut_seq;  /* the last changeset of the tree */
    uint64_t pub_seq;  /* the last changeset of the vault's tables */
    struct lethe_id previous; /* the segment of epoch - 1; zero before the first */
    uint8_t previous_chain[32];
    struct lethe_snapshot_ref snapshot; /* the newest one that this segment can be applied on */
    struct lethe_segment_part *parts;   /* owned */
    size_t count;
};

void lethe_segment_release(struct lethe_segment *segment);

/*
 * Builds the parts of the segment from the table changeset (tree: (tree_from, cut_seq], vault: (vault_from, pub_seq]),
 * puts them, and then the segment itself under the fresh id. chain receives the new chain hash, bytes the bytes put.
 */
enum lethe_err lethe_segment_put(struct lethe_vault *vault, struct lethe_db *db, struct lethe_segment *segment,
                                 uint64_t tree_from, uint64_t vault_from, const struct lethe_id *id, uint8_t chain[32],
                                 uint64_t *bytes) LETHE_MUST_CHECK;
/* Gets and checks a segment against the chain hash that names it. */
enum lethe_err lethe_segment_get(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id,
                                 const uint8_t chain[32], struct lethe_segment *out) LETHE_MUST_CHECK;
/*
 * The same in two steps: its sealed bytes, into an empty buffer (LETHE_ERR_NOT_FOUND; LETHE_ERR_FORMAT for more than most),
 * and what they hold; errors as above.
 */
enum lethe_err lethe_segment_fetch(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id, uint64_t most,
                                   struct lethe_buf *sealed) LETHE_MUST_CHECK;
enum lethe_err lethe_segment_open(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id,
                                  const uint8_t chain[32], const struct lethe_buf *sealed, struct lethe_segment *out)
    LETHE_MUST_CHECK;
/* LETHE_OK when the vault has the segment, LETHE_ERR_NOT_FOUND when not, or why that cannot be told. */
enum lethe_err lethe_segment_stat(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id) LETHE_MUST_CHECK;
/* Whether the vault has no such segment (any more); false also when it does not answer. */
bool lethe_segment_is_missing(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id);
/*
 * After a replay: in a vault of fidelity lossy a photo gets its size when it is sealed, and the inode says so one epoch
 * later; sizes here become those of the contents.
 */
enum lethe_err lethe_journal_settle_sizes(struct lethe_db *db) LETHE_MUST_CHECK;
struct lethe_frame_reader;
/*
 * Applies its changesets with sequence numbers above after to the database (sessions are off meanwhile); commits now
 * and then. Its parts come next from the reader (fs/vault/frame.h).
 */
enum lethe_err lethe_segment_apply(struct lethe_db *db, const struct lethe_segment *segment,
                                   struct lethe_frame_reader *parts, uint64_t after) LETHE_MUST_CHECK;

/* A snapshot being made: rows are dumped under the exclusive gate, sealed and put later. */
struct lethe_snapshot;
enum lethe_err lethe_snapshot_dump(struct lethe_db *db, uint64_t epoch, uint64_t seq, struct lethe_snapshot **out)
    LETHE_MUST_CHECK;
void lethe_snapshot_free(struct lethe_snapshot *snapshot);
enum lethe_err lethe_snapshot_put(struct lethe_vault *vault, struct lethe_snapshot *snapshot,
                                  struct lethe_snapshot_ref *ref, uint64_t *bytes) LETHE_MUST_CHECK;
/* Fills the journaled tables, which must be empty; commits now and then. */
enum lethe_err lethe_snapshot_load(struct lethe_vault *vault, struct lethe_db *db,
                                   const struct lethe_snapshot_ref *ref) LETHE_MUST_CHECK;
struct lethe_frame_ref;
/* Reads the list of its parts, in order, which the caller frees (fs/vault/frame.h). LETHE_ERR_INTEGRITY, logged, when its root is missing or damaged. */
enum lethe_err lethe_snapshot_parts(struct lethe_vault *vault, const struct lethe_snapshot_ref *ref,
                                    struct lethe_frame_ref **parts, size_t *count) LETHE_MUST_CHECK;
/* Objects of a snapshot (root and parts), for gc. */
enum lethe_err lethe_snapshot_objects(struct lethe_vault *vault, const struct lethe_snapshot_ref *ref,
                                      enum lethe_err (*each)(void *context, const struct lethe_id *object),
                                      void *context) LETHE_MUST_CHECK;

/*
 * Walks from the head to the newest snapshot (or the beginning), then fills an empty database with the tree of the
 * newest epoch not after time (INT64_MAX: the head's). Every hash of the chain is checked. *last receives the segment.
 * LETHE_ERR_NOT_FOUND when the vault keeps no epoch as old as that.
 */
enum lethe_err lethe_journal_replay(struct lethe_vault *vault, struct lethe_db *db, const struct lethe_head *head,
                                    int64_t time, struct lethe_segment *last) LETHE_MUST_CHECK;
/*
 * Whether a new device could replay this head: every segment since the snapshot, and the parts of both. All of them are
 * read when full, or when they are few; else the many are only asked for by name and size. LETHE_ERR_INTEGRITY, logged;
 * LETHE_ERR_CANCELLED once go_on is false.
 */
enum lethe_err lethe_journal_verify(struct lethe_vault *vault, const struct lethe_head *head, bool full,
                                    bool (*go_on)(void *context), void *context) LETHE_MUST_CHECK;

#endif
