/* SPDX-License-Identifier: MIT */
/*
 * A helper process that keeps CAP_SYS_ADMIN, so that the daemon can do without it: it registers files for FUSE
 * passthrough (Linux 6.9 and later), and takes the mount away at the end. It does nothing else, and ends with the daemon.
 */
#ifndef LETHE_FS_MOUNT_PASSER_H
#define LETHE_FS_MOUNT_PASSER_H

#include <stddef.h>
#include <stdint.h>

#include "lethe/err.h"

struct lethe_passer;

/*
 * Forks, so no thread may have been started. secret (len bytes) is wiped in the helper. also is a file that the helper
 * closes, or -1. LETHE_ERR_DENIED, without a word, when this process lacks the capability itself.
 */
enum lethe_err lethe_passer_new(const char *mountpoint, const char *secret, size_t len, int also,
                                struct lethe_passer **out) LETHE_MUST_CHECK;
/* NULL does nothing. */
void lethe_passer_free(struct lethe_passer *passer);
/* The connection to the kernel that everything else is about, once. */
enum lethe_err lethe_passer_connect(struct lethe_passer *passer, int fuse_fd) LETHE_MUST_CHECK;
/* fd becomes one that opens may be passed to: its positive number, or a negative errno. */
int32_t lethe_passer_register(struct lethe_passer *passer, int fd);
void lethe_passer_unregister(struct lethe_passer *passer, int32_t number);
/* Takes the mount away, unless it is gone. */
void lethe_passer_unmount(struct lethe_passer *passer);
/* This thread, and those that it starts, have the capability no more. */
enum lethe_err lethe_passer_renounce(void) LETHE_MUST_CHECK;

#endif
