/* SPDX-License-Identifier: MIT */
/*
 * cache=plain: copies in the clear of files that are whole on this device and in the vault, so that the kernel reads them
 * without the daemon (FUSE passthrough, Linux 6.9 and later). They lie in the cache folder as files without a name: nobody
 * opens them, and they end with the daemon, however it ends; their bytes on the disk are not wiped. They count against the
 * cache's limit, half of it at most, and make way first.
 *
 * For mounts that are read-only. The kernel wants every open of an inode to pass, or none, and a shared mapping outlives the
 * release of the file that it was made from: nothing would tell the daemon of what a program writes through such a mapping.
 *
 * Thread-safe. No lock of the tree or the content store is taken with the lock here held, as those come first: give_way.
 */
#ifndef LETHE_FS_MOUNT_PLAIN_H
#define LETHE_FS_MOUNT_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/mount/passer.h"
#include "fs/tree/tree.h"

struct lethe_plain;

/* A file of the state folder, empty: this device has kept copies in the clear. */
#define LETHE_PLAIN_MARK "plain"

/* Everything is borrowed. Makes the mark, starts a thread. */
enum lethe_err lethe_plain_new(struct lethe_tree *tree, struct lethe_contents *contents, struct lethe_passer *passer,
                               const char *state_dir, const char *cache_dir, struct lethe_plain **out) LETHE_MUST_CHECK;
/* After the last release. NULL does nothing. */
void lethe_plain_free(struct lethe_plain *plain);
/* The kernel agreed. Before that, and with NULL, no open passes, and nothing is copied. */
void lethe_plain_begin(struct lethe_plain *plain);

/* An open for reading: the number of the copy that it passes to, 0, or a negative errno. Each has its release, but then. */
int32_t lethe_plain_open(struct lethe_plain *plain, uint64_t ino);
void lethe_plain_release(struct lethe_plain *plain, uint64_t ino, bool passed);

#endif
