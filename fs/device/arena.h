/* SPDX-License-Identifier: MIT */
/*
 * An arena: one sparse file of slots of 16 KiB that hold sealed blocks. It has no header: what a slot holds
 * is known to the sealed database alone, so every byte of the file is ciphertext or part of a hole.
 * Thread-safe: nothing here has state but the file.
 */
#ifndef LETHE_FS_DEVICE_ARENA_H
#define LETHE_FS_DEVICE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/err.h"

#define LETHE_SLOT_BYTES 16384u

struct lethe_arena;

/*
 * Opens dir/blocks, made when missing (the entry in dir is then durable). A link or what else is no regular
 * file of ours is replaced when replace is set, else LETHE_ERR_IO. make_dir also makes dir and its parents.
 */
enum lethe_err lethe_arena_open(const char *dir, bool make_dir, bool replace,
                                struct lethe_arena **out) LETHE_MUST_CHECK;
void lethe_arena_close(struct lethe_arena *arena);
bool lethe_arena_same(const struct lethe_arena *a, const struct lethe_arena *b);

/* Whole bytes from the start of the slot on, over as many slots. LETHE_ERR_NOT_FOUND past the end of the
 * file. */
enum lethe_err lethe_arena_read(struct lethe_arena *arena, uint32_t slot, void *bytes,
                                size_t len) LETHE_MUST_CHECK;
/* The same if the system holds all of it in memory. LETHE_ERR_BUSY: it does not, or there is less of it. */
enum lethe_err lethe_arena_read_cached(struct lethe_arena *arena, uint32_t slot, void *bytes,
                                       size_t len) LETHE_MUST_CHECK;
enum lethe_err lethe_arena_write(struct lethe_arena *arena, uint32_t slot, const void *bytes,
                                 size_t len) LETHE_MUST_CHECK;
/* What was written before the call is durable afterwards. */
enum lethe_err lethe_arena_sync(struct lethe_arena *arena) LETHE_MUST_CHECK;
/* Has the system begin to write what it holds in memory, so that the next sync has less to wait for; promises nothing. */
void lethe_arena_push(struct lethe_arena *arena);
/* Gives the space of slots back to the file system, as far as that can. */
void lethe_arena_punch(struct lethe_arena *arena, uint32_t slot, uint32_t count);
/* Shortens the file to this many slots; nothing when it is shorter. */
enum lethe_err lethe_arena_truncate(struct lethe_arena *arena, uint64_t slots) LETHE_MUST_CHECK;
/* Somebody has deleted the file. */
bool lethe_arena_is_gone(struct lethe_arena *arena);
/* Bytes that the file takes on the disk. */
uint64_t lethe_arena_allocated(struct lethe_arena *arena);

/* For tests: called before each operation; an errno value other than 0 makes it fail. NULL ends it. */
enum lethe_arena_op { LETHE_ARENA_READ, LETHE_ARENA_WRITE, LETHE_ARENA_SYNC };
void lethe_arena_set_fault(int (*fault)(void *context, enum lethe_arena_op op), void *context);

#endif
