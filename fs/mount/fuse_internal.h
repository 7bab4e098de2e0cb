/* SPDX-License-Identifier: MIT */
/* What the files of the FUSE session share: fuse.c (session), fuse_ops.c and fuse_xattr.c (requests), fuse_wire.c (what
 * libfuse has no words for). */
#ifndef LETHE_FS_MOUNT_FUSE_INTERNAL_H
#define LETHE_FS_MOUNT_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>

#include "fs/mount/fuse.h"

#define LETHE_FUSE_MAX_IO (1u << 20)
/* Four requests: the disk, the processors and the program have something to do at all times. */
#define LETHE_FUSE_READ_AHEAD (4 * LETHE_FUSE_MAX_IO)
#define LETHE_FUSE_DIRTY_PERCENT 10u

enum lethe_fuse_worker_state {
    LETHE_WORKER_NONE,
    LETHE_WORKER_RUNNING,
    LETHE_WORKER_ENDED /* to be joined */
};

struct lethe_fuse_worker {
    struct lethe_fuse *fuse;
    pthread_t thread;
    enum lethe_fuse_worker_state state; /* guarded by lethe_fuse.lock */
    atomic_bool receiving;              /* in, or about to be in, the wait for a request */
    struct fuse_buf request;
    void *scratch; /* LETHE_FUSE_MAX_IO bytes for replies, made when first needed */
};

/* Reads of what lies in a vault that does not answer keep theirs until they time out. */
#define LETHE_FUSE_THREADS 128u
#define LETHE_FUSE_IDLE_THREADS 6u
#define LETHE_FUSE_RETIRE_MS 100 /* between the ends of two threads that are more than that */

struct lethe_fuse {
    struct lethe_fuse_options options; /* the strings are not kept */
    struct fuse_session *session;
    bool mounted, device_known;
    unsigned device_major, device_minor; /* of the mount, when device_known */
    int wake; /* eventfd: written to end lethe_fuse_serve */
    void (*ready)(void *context);
    void *ready_context;

    pthread_mutex_t write_back; /* held by the one thread that makes the kernel write a file's pages */
    pthread_mutex_t lock;
    struct lethe_fuse_worker workers[LETHE_FUSE_THREADS]; /* state, and what follows up to stopping, are guarded by lock */
    unsigned running, idle;
    int64_t retired; /* when the last thread ended for want of work: monotonic milliseconds */
    bool greeted; /* the kernel's first request was answered */
    bool stopping;
    atomic_bool stopped; /* the same for those who do not hold lock */
    enum lethe_err result;
};

extern const struct fuse_lowlevel_ops lethe_fuse_ops;

/* --- fuse.c --- */
/* The request that this thread serves, for lethe_fuse_interrupted; NULL when it is answered. */
void lethe_fuse_serving(fuse_req_t req);
/* LETHE_FUSE_MAX_IO bytes of this thread, or NULL. */
void *lethe_fuse_scratch(void);

/* --- fuse_xattr.c: requests --- */
void lethe_fuse_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void lethe_fuse_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void lethe_fuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void lethe_fuse_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
/*
 * Whether the caller must lose a file's set-group-id bit with a change of its permissions or bytes: neither root nor in
 * its group.
 */
bool lethe_fuse_loses_sgid(fuse_req_t req, fuse_ino_t ino);

/* --- fuse_wire.c: what libfuse has no words for, on the bytes of requests and replies --- */
/* Negotiates FUSE_HANDLE_KILLPRIV_V2 where libfuse can be hooked. After the mount, before the first request.
 */
void lethe_fuse_wire_install(struct fuse_session *session);
/* Whether that was agreed with the kernel. */
bool lethe_fuse_wire_killpriv(void);
/* After the kernel's INIT: whether it offers passthrough of opens (Linux 6.9); asks it for that. */
bool lethe_fuse_wire_ask_passthrough(void);
/* The reply to an open that this thread sends next hands it to the file with this number. */
void lethe_fuse_wire_pass(int32_t number);
/* Whether the create request that this thread read last stands for O_TMPFILE. */
bool lethe_fuse_wire_tmpfile(void);
/* Whether the request that this thread read last asks for set-id bits to be cleared (only then). */
bool lethe_fuse_wire_kills(void);

#endif
