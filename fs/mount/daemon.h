/* SPDX-License-Identifier: MIT */
/* The mount's process: a session, the FUSE session over it, and the control socket. */
#ifndef LETHE_FS_MOUNT_DAEMON_H
#define LETHE_FS_MOUNT_DAEMON_H

#include <stdbool.h>

#include "fs/mount/session.h"

struct lethe_daemon_options {
    struct lethe_session_options session; /* passphrase is wiped once it was used */
    const char *mountpoint;
    bool foreground;
    bool read_only;
    bool allow_other;
    bool sync_vault;
    bool no_readahead;
    bool plain; /* cache=plain, where this machine can */
    const char *more; /* further mount options, or NULL */
};

/*
 * Mounts. In the background (a fork) it returns once the tree answers, or with the error that kept it from that; in
 * the foreground once unmounted. Errors have been logged.
 */
enum lethe_err lethe_daemon_run(const struct lethe_daemon_options *options) LETHE_MUST_CHECK;

#endif
