/* SPDX-License-Identifier: MIT */
/* Shared by the two sides of the control socket. */
#ifndef LETHE_FS_MOUNT_CONTROL_PRIVATE_H
#define LETHE_FS_MOUNT_CONTROL_PRIVATE_H

#include <stdio.h>
#include <sys/un.h>

#define LETHE_CONTROL_NAME "control"

/*
 * The socket's address: the path itself, or, when that is too long, through the folder's descriptor. (Not always the
 * latter: a process that is not dumpable may not look into its own /proc/self/fd unless it is root.)
 */
static inline void lethe_control_address(struct sockaddr_un *address, const char *state_dir, int folder)
{
    int len = snprintf(address->sun_path, sizeof address->sun_path, "%s/" LETHE_CONTROL_NAME, state_dir);

    if (len < 0 || (size_t)len >= sizeof address->sun_path) {
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/" LETHE_CONTROL_NAME, folder);
    }
}

#endif
