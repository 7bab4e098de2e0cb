/* SPDX-License-Identifier: MIT */
/*
 * SQLite's write-ahead log, sealed record by record. SQLite sees a header of 32 bytes and frames of 24 + 4096
 * bytes; the file holds
 *
 *   header record   nonce 24 | sealed(SQLite's header 32 | salt 16) | tag 16                       =   88
 * bytes frame record    nonce 24 | sealed(SQLite's frame 24 + 4096 | u64 synced) | tag 16              = 4168
 * bytes each
 *
 * The salt is fresh whenever SQLite writes a new header, which begins the log anew; it and the frame's number
 * are the associated data of a frame, so that neither an older log's frames nor moved ones ever open. synced
 * is the number of frames that were durable when this one was written.
 *
 * Reading. SQLite reads frames whole, from their header on, only while it recovers the log (and frames that
 * it wrote itself): there a frame that does not open reads as zeros, which ends the log, as a torn write
 * must. But when a later frame opens and says that this one had been durable, then it was damaged, not torn:
 * an error, since transactions that were promised would vanish. Everywhere else SQLite reads the page inside
 * a frame that it knows to be good: a frame that does not open is an error.
 *
 * Writing. SQLite writes a frame's header, then its page; the header is held until the record is whole.
 * Nothing else is accepted. When its cache spills, SQLite rewrites frames of the open transaction in place;
 * after a ROLLBACK TO, SQLite 3.40 then leaves frames without checksums in the log, and a committed
 * transaction vanishes with a kill (tests/crash/test_vfs_replay.c found it; later versions reset iReCksum in
 * sqlite3WalSavepointUndo). So the connection must use cache_spill=OFF, and a rewrite is an error rather than
 * a loss.
 */
#ifndef LETHE_FS_DEVICE_VFS_LOG_H
#define LETHE_FS_DEVICE_VFS_LOG_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/device/vfs.h"
#include "fs/device/vfs_mark.h"

#define LETHE_LOG_SALT LETHE_MARK_SALT

/* Embedded in the VFS's file. Borrows key, under and mark. All functions return SQLite result codes. */
struct lethe_log {
    const uint8_t *key;
    sqlite3_file *under;
    struct lethe_mark *mark; /* may be one that is not open */
    uint8_t *frame;   /* the frame that SQLite is writing */
    uint8_t *scratch; /* a record as it lies in the file, then room for a frame in clear */
    uint8_t salt[LETHE_LOG_SALT];
    bool salt_known;
    uint64_t index;  /* of the frame that is being written */
    int filled;      /* bytes of it so far */
    uint64_t known;  /* frames below this number were written or opened here: they must open */
    uint64_t last;   /* one more than the number of the frame written last */
    uint64_t synced; /* frames that are durable */
    bool damaged;
};

/* log->damaged when it has less than its mark promises: then the result is SQLITE_IOERR_DATA. */
int lethe_log_init(struct lethe_log *log, const uint8_t key[LETHE_KEY_BYTES], sqlite3_file *under,
                   struct lethe_mark *mark);
void lethe_log_release(struct lethe_log *log);
int lethe_log_read(struct lethe_log *log, uint8_t *out, int len, sqlite3_int64 offset);
int lethe_log_write(struct lethe_log *log, const uint8_t *bytes, int len, sqlite3_int64 offset);
int lethe_log_truncate(struct lethe_log *log, sqlite3_int64 size);
int lethe_log_sync(struct lethe_log *log, int flags);
int lethe_log_size(struct lethe_log *log, sqlite3_int64 *size);
/* The file's bytes up to the end of the frame written last. */
uint64_t lethe_log_bytes(const struct lethe_log *log);

#endif
