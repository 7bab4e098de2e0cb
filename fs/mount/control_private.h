/* SPDX-License-Identifier: MIT */
/* Shared by the two sides of the control socket. */
#ifndef LETHE_FS_MOUNT_CONTROL_PRIVATE_H
#define LETHE_FS_MOUNT_CONTROL_PRIVATE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define LETHE_CONTROL_NAME "control"
#define LETHE_CONTROL_WORD 16

/* Takes a request apart: a word and, where there is one, a number (else 0). false when it is no request. */
static inline bool lethe_control_parse(const char *line, char word[LETHE_CONTROL_WORD], uint64_t *argument)
{
    size_t len = strspn(line, "abcdefghijklmnopqrstuvwxyz");
    char *end;

    if (len == 0 || len >= LETHE_CONTROL_WORD) {
        return false;
    }
    memcpy(word, line, len);
    word[len] = '\0';
    *argument = 0;
    if (line[len] == '\0') {
        return true;
    }
    if (line[len] != ' ' || line[len + 1] < '0' || line[len + 1] > '9') {
        return false;
    }
    errno = 0;
    *argument = strtoull(line + len + 1, &end, 10);
    return *end == '\0' && errno == 0;
}

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
