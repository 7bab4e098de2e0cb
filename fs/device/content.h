/* SPDX-License-Identifier: MIT */
/*
 * The content store: the bytes of file versions on this device, sealed in blocks of 16 KiB, copy-on-write.
 *
 * A content is mutable until a cut freezes it; afterwards its bytes never change, the sealer reads it, and once it is
 * in the vault its blocks move to the cache arena and may be dropped at any time (they then read as absent).
 * Blocks lie in slots of two files: arena 0 in the state folder (mutable and frozen contents: the only copy), arena 1
 * in the cache folder (vaulted contents; the whole folder may vanish between mounts). A slot that a committed chunk
 * map names is never written again: rewrites go to a fresh slot, and the old one is free only after the commit.
 * The block's tag lies in the sealed database, so an old or swapped block never authenticates.
 *
 * Crash rule: slots are made durable before the COMMIT that names them (lethe_contents_prepare).
 * Lock order: gate (fs/device/commit.h), content lock, store lock, database lock.
 */
#ifndef LETHE_FS_DEVICE_CONTENT_H
#define LETHE_FS_DEVICE_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/device/db.h"
#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/seal.h"

#define LETHE_BLOCK_BYTES 16384u
#define LETHE_CHUNK_BLOCKS 64u
#define LETHE_CONTENT_MAX (8ull << 40) /* 8 TiB */

enum lethe_content_state { LETHE_CONTENT_MUTABLE = 0, LETHE_CONTENT_FROZEN = 1, LETHE_CONTENT_VAULTED = 2 };

struct lethe_contents; /* the store */
struct lethe_content;  /* one content, reference-counted; one struct for an id at any time */

/* What a read found missing: the caller brings it (fs/vault/hydrate.h) and tries again. */
struct lethe_absent {
    struct lethe_id content; /* the content itself, or the base that its blocks come from */
    uint64_t offset;         /* first absent byte, a multiple of the block size */
    uint64_t length;         /* absent bytes from there on that the same read would meet next, at least one block */
};

struct lethe_contents_options {
    const char *state_dir; /* arena 0: state_dir/blocks */
    const char *cache_dir; /* arena 1: cache_dir/blocks; made when missing; a stranger's or lost file is replaced */
    uint64_t limit;        /* bytes of both arenas and the database together, hard */
    uint64_t reserve;      /* of limit, kept for metadata */
};

/* key: blocks are sealed under subkeys of it. db, key and options' strings are borrowed for the call / lifetime (db). */
enum lethe_err lethe_contents_open(struct lethe_db *db, const struct lethe_secret *key,
                                   const struct lethe_contents_options *options, struct lethe_contents **out)
    LETHE_MUST_CHECK;
/* All contents must have been put back. Does not commit. */
void lethe_contents_close(struct lethe_contents *contents);

/*
 * Called when space runs low, and again and again while a writer waits for it (from any thread, no locks held but possibly
 * the gate): asks for a cut and uploads, and tells whether they are under way, which is worth waiting for.
 */
void lethe_contents_set_pressure(struct lethe_contents *contents, bool (*pressure)(void *context), void *context);
/* Whether a commit would free space of what is in the vault, or was overwritten. */
bool lethe_contents_want_commit(struct lethe_contents *contents);

/*
 * While held, blocks of vaulted contents stay where they are as long as half of the limit is free, instead of moving to the
 * cache arena with the next flush: for while others wait for what the processors and the disk are needed for.
 */
void lethe_contents_hold_moves(struct lethe_contents *contents, bool hold);
/* Called once, from a thread that writes, without locks, when so many bytes were written since the last cut. */
void lethe_contents_set_plenty(struct lethe_contents *contents, uint64_t bytes, void (*plenty)(void *context), void *context);

/* --- one content --- */

/* A new, empty, mutable content with a fresh random id. */
enum lethe_err lethe_content_new(struct lethe_contents *contents, struct lethe_content **out) LETHE_MUST_CHECK;
/*
 * The content of this id. One that the device has no row for is taken for vaulted and absent, with the given size
 * (from the inode); a row is made. Otherwise size is ignored.
 */
enum lethe_err lethe_content_get(struct lethe_contents *contents, const struct lethe_id *id, uint64_t size,
                                 struct lethe_content **out) LETHE_MUST_CHECK;
struct lethe_content *lethe_content_ref(struct lethe_content *content);
void lethe_content_put(struct lethe_content *content); /* NULL does nothing */
const struct lethe_id *lethe_content_id(const struct lethe_content *content);
uint64_t lethe_content_size(struct lethe_content *content);
enum lethe_content_state lethe_content_state(struct lethe_content *content);

/*
 * Reads up to len bytes; *got is less only at the end of the content. LETHE_ERR_ABSENT fills absent (nothing is
 * promised of buffer). LETHE_ERR_INTEGRITY when a block of arena 0 fails its tag; one of arena 1 counts as absent.
 * LETHE_ERR_NOT_FOUND when the content was abandoned or dropped meanwhile: the caller finds out what took its place.
 */
enum lethe_err lethe_content_read(struct lethe_content *content, uint64_t offset, void *buffer, size_t len,
                                  size_t *got, struct lethe_absent *absent) LETHE_MUST_CHECK;
/*
 * Writes all or nothing; grows the content. Only while mutable, under the shared gate, after lethe_contents_reserve.
 * LETHE_ERR_ABSENT when a partly overwritten block must first be brought. Not durable before a commit.
 */
enum lethe_err lethe_content_write(struct lethe_content *content, uint64_t offset, const void *bytes, size_t len,
                                   struct lethe_absent *absent) LETHE_MUST_CHECK;
/*
 * Seals the whole blocks of a write before any lock of the file is taken, so that several threads do so for one file.
 * Under the same shared gate as the write, which gets the same offset, bytes and len, and takes the blocks over when it
 * succeeds: what no content names must be released before the gate is left, or a commit would count it for good.
 */
struct lethe_entry;
struct lethe_sealed_ahead {
    struct lethe_entry *entries; /* owned; NULL: none */
    size_t count;
};
enum lethe_err lethe_content_seal_ahead(struct lethe_contents *store, uint64_t offset, const void *bytes, size_t len,
                                        struct lethe_sealed_ahead *out) LETHE_MUST_CHECK;
void lethe_content_unseal_ahead(struct lethe_contents *store, struct lethe_sealed_ahead *ahead); /* none is nothing */
/*
 * lethe_content_write without waiting for the disk under the locks of caller and content: LETHE_ERR_BUSY when a block that is
 * changed in part is not in the system's memory. Nothing was done then; lethe_contents_fetch, without locks, reads it,
 * and the next try (which waits, should it be gone again) is with unread NULL. ahead: as above, or NULL.
 */
struct lethe_unread { /* where it lies */
    unsigned arena;
    uint32_t slot;
    size_t len;
};
enum lethe_err lethe_content_write_at_once(struct lethe_content *content, uint64_t offset, const void *bytes, size_t len,
                                           struct lethe_absent *absent, struct lethe_unread *unread,
                                           struct lethe_sealed_ahead *ahead) LETHE_MUST_CHECK;
/* Has the system read a slot; what it holds by now, and whether that fails, is of no matter. */
void lethe_contents_fetch(struct lethe_contents *store, const struct lethe_unread *unread);
/* Sets the size; what is new reads as zeros. May need the last block (LETHE_ERR_ABSENT). */
enum lethe_err lethe_content_resize(struct lethe_content *content, uint64_t size, struct lethe_absent *absent)
    LETHE_MUST_CHECK;
/* Makes a hole (reads as zeros) inside the size; the size stays. */
enum lethe_err lethe_content_punch(struct lethe_content *content, uint64_t offset, uint64_t len,
                                   struct lethe_absent *absent) LETHE_MUST_CHECK;
/* SEEK_DATA (data true) or SEEK_HOLE. LETHE_ERR_NOT_FOUND past the last data. Absent blocks count as data. */
enum lethe_err lethe_content_seek(struct lethe_content *content, uint64_t offset, bool data, uint64_t *out)
    LETHE_MUST_CHECK;
/* 512-byte units of data, for st_blocks. */
uint64_t lethe_content_blocks512(struct lethe_content *content);

/*
 * A new mutable content with the same bytes, sharing every block that is on the device (chunk maps are copied, slots
 * counted); for absent ones base is kept. from may be in any state; later writes to either do not show in the other.
 */
enum lethe_err lethe_content_clone(struct lethe_content *from, struct lethe_content **out) LETHE_MUST_CHECK;
/*
 * copy_file_range between contents (to mutable; may be the same with ranges apart): shares whole blocks where both
 * offsets are block-aligned, copies bytes elsewhere. *done is short only on an error after some bytes.
 */
enum lethe_err lethe_content_copy(struct lethe_content *from, uint64_t from_offset, struct lethe_content *to,
                                  uint64_t to_offset, uint64_t len, uint64_t *done, struct lethe_absent *absent)
    LETHE_MUST_CHECK;

/* Mutable to frozen for the cut of this epoch; under the exclusive gate. */
enum lethe_err lethe_content_freeze(struct lethe_content *content, uint64_t epoch) LETHE_MUST_CHECK;
/*
 * Frozen to vaulted, in the caller's open database operation or its own; blocks move to arena 1; base is dropped, and
 * leaves its cached blocks when no file names it any more.
 */
enum lethe_err lethe_content_vaulted(struct lethe_content *content) LETHE_MUST_CHECK;
/*
 * Frozen to vaulted, as a content of other bytes: those that the vault holds for it (fidelity lossy), size of them, all
 * absent here. As lethe_content_vaulted otherwise; the caller tells the tree (lethe_tree_replace).
 */
enum lethe_err lethe_content_replaced(struct lethe_content *content, uint64_t size) LETHE_MUST_CHECK;
/* Bytes from the vault for absent blocks of a vaulted content. offset is block-aligned; to the end or whole blocks.
 * When the cache has no room even after eviction: LETHE_ERR_NOSPACE, and the caller serves the bytes itself. */
enum lethe_err lethe_content_fill(struct lethe_content *content, uint64_t offset, const uint8_t *bytes, size_t len)
    LETHE_MUST_CHECK;
/* true when [offset, offset + len) is the same, block by block, as in the content's base (nothing of its own). */
bool lethe_content_same_as_base(struct lethe_content *content, uint64_t offset, uint64_t len, struct lethe_id *base);

/*
 * No live inode names this content any more (call once, then put it). Mutable: its blocks are freed; where that fails they
 * are with the next epoch. Otherwise it is listed in the table dead with the number of the next cut, and its cached blocks
 * may go at once.
 */
enum lethe_err lethe_content_abandon(struct lethe_content *content) LETHE_MUST_CHECK;
/* Forgets rows and blocks of a content that nothing needs (published without it). */
enum lethe_err lethe_contents_drop(struct lethe_contents *contents, const struct lethe_id *id) LETHE_MUST_CHECK;

/* --- the whole store --- */

/* The number of the next cut, for lethe_content_abandon. */
void lethe_contents_set_next_epoch(struct lethe_contents *contents, uint64_t epoch);
uint64_t lethe_contents_next_epoch(struct lethe_contents *contents);

/*
 * Room for len more dirty bytes: waits while sealing and uploading free some (calling pressure), at most stall_ms
 * since they were under way or anything moved; then LETHE_ERR_NOSPACE. Call without the gate. Give back what was
 * reserved after the write.
 */
enum lethe_err lethe_contents_reserve(struct lethe_contents *contents, uint64_t len, unsigned stall_ms)
    LETHE_MUST_CHECK;
void lethe_contents_unreserve(struct lethe_contents *contents, uint64_t len);

/* The state folder's block file was deleted: what is written to it lasts as long as this process. */
bool lethe_contents_are_gone(struct lethe_contents *contents);

/* Commit, part 1, without the gate: seals buffered blocks into slots and makes them durable, as far as they go. */
enum lethe_err lethe_contents_flush(struct lethe_contents *contents) LETHE_MUST_CHECK;
/* Part 2, under the exclusive gate: the rest, durable; then chunk maps, slots and local rows into the transaction. */
enum lethe_err lethe_contents_prepare(struct lethe_contents *contents) LETHE_MUST_CHECK;
/* Part 3, after COMMIT: slots that the old maps named are free now. */
void lethe_contents_committed(struct lethe_contents *contents);
/*
 * From time to time, without locks: gives some of the space of free slots back to the file system, a fraction of a
 * second's worth; true when there is more to do. What is free and wanted elsewhere is given back at once, by reserve.
 */
bool lethe_contents_tidy(struct lethe_contents *contents);

struct lethe_contents_usage {
    uint64_t limit;
    uint64_t dirty;    /* bytes of slots that hold the only copy */
    uint64_t cached;   /* bytes of slots in the cache arena, and of what is kept beside it */
    uint64_t database; /* bytes of database and log on disk */
    uint64_t reserve;  /* of limit, kept for metadata */
    uint64_t free;     /* limit less all of these, or what the disk has left, less as much, if that is less */
};
void lethe_contents_usage(struct lethe_contents *contents, struct lethe_contents_usage *out);
/* Tells waiting writers that something came free, or may have. */
void lethe_contents_progress(struct lethe_contents *contents);
/* Nothing came free yet, but bytes reached the vault: their time to wait begins anew. */
void lethe_contents_moving(struct lethe_contents *contents);

/*
 * Bytes that somebody else keeps in the cache folder (fs/mount/plain.h) count against the limit too. take: false when
 * there is no room for them. give_way is called when room is wanted, perhaps with locks of contents held, and frees about
 * that many if it can; NULL ends it.
 */
bool lethe_contents_beside_take(struct lethe_contents *contents, uint64_t bytes);
void lethe_contents_beside_give(struct lethe_contents *contents, uint64_t bytes);
void lethe_contents_set_beside(struct lethe_contents *contents, void (*give_way)(void *context, uint64_t bytes),
                               void *context);

/*
 * Bytes of a vaulted content, just brought, for the reads to come: takes bytes (not on failure; len > 0). offset is
 * block-aligned; to the end or whole blocks. The caller puts them into the cache meanwhile (lethe_lent_bytes) and then says
 * with lethe_content_lent how that went, after which *out is no longer his: cached, or, with keep, the only copy here.
 */
struct lethe_lent;
enum lethe_err lethe_content_lend(struct lethe_content *content, uint64_t offset, struct lethe_buf *bytes,
                                  struct lethe_lent **out) LETHE_MUST_CHECK;
const uint8_t *lethe_lent_bytes(const struct lethe_lent *lent, size_t *len);
void lethe_content_lent(struct lethe_content *content, struct lethe_lent *lent, bool cached, bool keep);

/* Memory for what comes from the vault and goes to it (fs/spares.h); borrowed. */
struct lethe_spares *lethe_contents_spares(const struct lethe_contents *contents);

#endif
