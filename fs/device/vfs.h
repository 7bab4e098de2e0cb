/* SPDX-License-Identifier: MIT */
/*
 * The sealed VFS: SQLite's files with nothing readable in them. It stands over another VFS (the unix one) and
 * opens two kinds of file only: the database, whose pages are sealed one by one in place, and its write-ahead
 * log (fs/device/vfs_log.h). Journals, temporary files and shared memory are refused: the connection must use
 * temp_store=MEMORY, locking_mode=EXCLUSIVE before its first access, journal_mode=WAL and cache_spill=OFF.
 *
 * A page on the disk is nonce (24) | ciphertext | tag (16), sealed with XChaCha20-Poly1305 under a subkey;
 * its number is the associated data. The 40 bytes come out of the page: SQLite must be told to leave them
 * free (SQLITE_FCNTL_RESERVE_BYTES before anything is written), and reads them as zeros.
 *
 * A page whose tag fails is an error (SQLITE_IOERR_DATA, and lethe_vfs_damaged). One exception: a power cut
 * during a checkpoint may tear page 1, which SQLite peeks at before it opens the log. A peek (a read of less
 * than a page) at a torn page 1 gives a made-up header, for SQLite then takes the page from the log, or reads
 * it whole and fails. When the log's header does not open either, nothing is torn: the key is wrong, and that
 * is an error.
 *
 * What is not detected: the whole database, log and mark (fs/device/vfs_mark.h) included, replaced by an older
 * state of itself.
 *
 * Threading: one connection at a time, under its owner's lock.
 */
#ifndef LETHE_FS_DEVICE_VFS_H
#define LETHE_FS_DEVICE_VFS_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/err.h"
#include "lethe/seal.h"

#define LETHE_VFS_PAGE_BYTES 4096
#define LETHE_VFS_RESERVED 40

struct lethe_vfs;

/*
 * Registers a sealed VFS with SQLite under a name of its own. under: the name of the VFS below, NULL for the
 * default. key is borrowed for the call. LETHE_ERR_NOMEM; LETHE_ERR_ARG when there is no such VFS.
 */
enum lethe_err lethe_vfs_new(const struct lethe_secret *key, const char *under,
                             struct lethe_vfs **out) LETHE_MUST_CHECK;
/* Before the database is opened: the file of its log's mark, if there is to be one. */
enum lethe_err lethe_vfs_mark(struct lethe_vfs *vfs, const char *path) LETHE_MUST_CHECK;
/* After the last connection that uses it was closed. NULL does nothing. */
void lethe_vfs_free(struct lethe_vfs *vfs);
/* For sqlite3_open_v2. */
const char *lethe_vfs_name(const struct lethe_vfs *vfs);
/* Whether a tag failed where that is no legitimate trace of a crash. Never goes back. */
bool lethe_vfs_damaged(const struct lethe_vfs *vfs);
/* Where the next frame of the log will end at the earliest: bytes of the log's file in use. 0 when there is
 * no log. */
uint64_t lethe_vfs_log_bytes(const struct lethe_vfs *vfs);

#endif
