/* SPDX-License-Identifier: MIT */
/*
 * Read-ahead: what is about to be read is fetched from the vault before it is asked for. A large file that is read from
 * front to back gets its next segments; a directory whose files are opened one after the other, in the order of the
 * listing or of the names, gets its next files. It begins with the first read that had to wait for the vault, and ends
 * by itself when nothing more is found to be absent, so that what lies on the device is read at no cost.
 *
 * Bounded: what was fetched and not read yet is at most an eighth of the cache (128 MiB at most), and dirty bytes have
 * precedence. A wrong guess costs what was under way, and the next guess begins small.
 */
#ifndef LETHE_FS_MOUNT_READAHEAD_H
#define LETHE_FS_MOUNT_READAHEAD_H

#include <stdbool.h>

#include "fs/tree/tree.h"
#include "fs/vault/restorer.h"

struct lethe_readahead;

/* Borrows all; starts a thread. */
enum lethe_err lethe_readahead_new(struct lethe_tree *tree, struct lethe_contents *contents,
                                   struct lethe_restorer *restorer, struct lethe_readahead **out) LETHE_MUST_CHECK;
void lethe_readahead_free(struct lethe_readahead *readahead); /* NULL does nothing */

/* A directory was listed, or a name looked up in it. NULL does nothing. */
void lethe_readahead_directory(struct lethe_readahead *readahead, uint64_t ino);
/* A file is read. Cheap, never waits. false: it was of no interest (yet). NULL does nothing. */
bool lethe_readahead_read(struct lethe_readahead *readahead, uint64_t ino, uint64_t offset, uint64_t len);
/* Returns when everything told so far has been thought about. For tests. */
void lethe_readahead_settle(struct lethe_readahead *readahead);

#endif
