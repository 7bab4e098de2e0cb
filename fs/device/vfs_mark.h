/* SPDX-License-Identifier: MIT */
/*
 * The mark beside the database's log: which log it is (its salt) and how many of its frames are durable. A log that
 * lost its end, its header or itself looks like one that never had more; the mark, written behind every sync of the
 * log, tells them apart. It may lag behind the log but is never ahead of it: it grows without a sync of its own, and
 * is durable before anything that makes the log shorter.
 *
 * One record of 64 bytes, sealed, in one sector. A mark that is missing or does not open says nothing.
 */
#ifndef LETHE_FS_DEVICE_VFS_MARK_H
#define LETHE_FS_DEVICE_VFS_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/err.h"
#include "lethe/seal.h"

#define LETHE_MARK_SALT 16

struct lethe_mark {
    int fd;
    const uint8_t *key; /* borrowed */
    bool known;         /* salt and frames are what the file says */
    uint8_t salt[LETHE_MARK_SALT];
    uint64_t frames; /* 0: none is promised */
};

/* Makes the file if need be. What could be read is made durable again. The key outlives the mark. */
enum lethe_err lethe_mark_open(struct lethe_mark *mark, const char *path, const uint8_t key[LETHE_KEY_BYTES])
    LETHE_MUST_CHECK;
/* A mark that was never opened must be initialised by this. */
void lethe_mark_init(struct lethe_mark *mark);
void lethe_mark_close(struct lethe_mark *mark);
/* Frames of the log with this salt that are durable according to the file. */
uint64_t lethe_mark_frames(const struct lethe_mark *mark, const uint8_t salt[LETHE_MARK_SALT]);
/* That many are durable now. Should it fail the mark says less than it might. */
void lethe_mark_raise(struct lethe_mark *mark, const uint8_t salt[LETHE_MARK_SALT], uint64_t frames);
/* No more than that many are promised from here on, durably or (a new log begins) only for who comes after a kill. */
enum lethe_err lethe_mark_lower(struct lethe_mark *mark, uint64_t frames, bool durable) LETHE_MUST_CHECK;

#endif
