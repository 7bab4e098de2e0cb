/* SPDX-License-Identifier: MIT */
/* The FUSE session: libfuse3's low-level operations over the tree. Nothing else in the project includes libfuse. */
#ifndef LETHE_FS_MOUNT_FUSE_H
#define LETHE_FS_MOUNT_FUSE_H

#include <stdbool.h>
#include <sys/statvfs.h>

#include "fs/mount/plain.h"
#include "fs/mount/readahead.h"
#include "fs/tree/tree.h"

struct lethe_fuse;

struct lethe_fuse_options {
    const char *mountpoint;
    const char *source;       /* shown in the mount table */
    bool read_only;
    bool allow_other;
    const char *more;         /* further -o options for the kernel or libfuse, comma-separated; may be NULL */
    bool write_through;       /* sizes of files may change from below: no writeback cache */
    bool sync_vault;          /* fsync waits for the vault too (through sync below) */
    struct lethe_tree *tree;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_readahead *readahead; /* told of reads and listings; may be NULL */
    struct lethe_plain *plain;         /* decides which opens the kernel serves itself; may be NULL */
    struct lethe_passer *passer;       /* with plain: told of the connection */
    /* user.lethefs.NAME of an inode: appends text to out; LETHE_ERR_NOT_FOUND when there is no such. */
    enum lethe_err (*virtual_xattr)(void *context, uint64_t ino, const char *name, struct lethe_buf *out);
    /* Waits until everything written so far is in the vault (for sync_vault). */
    enum lethe_err (*sync)(void *context);
    void (*statfs)(void *context, struct statvfs *out);
    /* No request will come any more; those under way are waited for: sync must not keep them. May be NULL. */
    void (*stopping)(void *context);
    void *context;
};

/* Mounts. LETHE_ERR_DENIED, LETHE_ERR_NOT_FOUND (mount point), LETHE_ERR_BUSY; one log line says why. */
enum lethe_err lethe_fuse_mount(const struct lethe_fuse_options *options, struct lethe_fuse **out) LETHE_MUST_CHECK;
/*
 * Serves requests on several threads until unmounted or lethe_fuse_stop; ready(context) is called once the kernel has
 * been answered (INIT). The calling thread must be the one that forked last (threads do not survive fork).
 */
enum lethe_err lethe_fuse_serve(struct lethe_fuse *fuse, void (*ready)(void *context), void *context) LETHE_MUST_CHECK;
/* Whether the program whose request this thread serves does not wait for it any more (a signal came). */
bool lethe_fuse_interrupted(void);
/* Async-signal-safe: makes lethe_fuse_serve return. */
void lethe_fuse_stop(struct lethe_fuse *fuse);
/* Drops what the kernel caches of this inode's bytes and attributes. */
void lethe_fuse_invalidate(struct lethe_fuse *fuse, uint64_t ino);
void lethe_fuse_unmount(struct lethe_fuse *fuse);

#endif
