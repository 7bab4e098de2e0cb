/* SPDX-License-Identifier: MIT */
/* Which call fails, and how. All but rec_fault and rec_fault_met are called with the lock held. */
#include "tests/crash/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/recorder_private.h"

static struct {
    bool armed, on, met;
    uint64_t left;
    enum rec_fault kind;
    dev_t dev; /* of the folder */
    char folder[PATH_MAX];
} fault;

void rec_fault(const char *folder, uint64_t nth, enum rec_fault kind, bool on)
{
    struct stat root;

    pthread_mutex_lock(&rec_lock);
    rec_need(stat(folder, &root) == 0);
    snprintf(fault.folder, sizeof fault.folder, "%s", folder);
    fault.dev = root.st_dev;
    fault.kind = kind;
    fault.left = nth;
    fault.on = on;
    fault.met = false;
    fault.armed = nth > 0;
    pthread_mutex_unlock(&rec_lock);
}

bool rec_fault_met(void)
{
    bool met;

    pthread_mutex_lock(&rec_lock);
    met = fault.met;
    fault.armed = false;
    pthread_mutex_unlock(&rec_lock);
    return met;
}

bool rec_fault_armed(void)
{
    return fault.armed;
}

/* This call is hit. */
static bool struck(void)
{
    if (fault.left > 0) {
        fault.left--;
    }
    if (fault.left > 0 || (fault.met && !fault.on)) {
        return false;
    }
    fault.met = true;
    return true;
}

static bool below(const char *path)
{
    size_t len = strlen(fault.folder);

    return strncmp(path, fault.folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

bool rec_hit_sync(int fd)
{
    char link[64], path[PATH_MAX];
    struct stat stat;
    ssize_t len;

    if (!fault.armed || fstat(fd, &stat) != 0 || stat.st_dev != fault.dev) {
        return false;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof path - 1);
    if (len < 0) {
        return false;
    }
    path[len] = '\0';
    return below(path) && struck();
}

bool rec_hit_fd(int fd)
{
    return fault.kind != REC_FAULT_SYNC && rec_hit_sync(fd);
}

bool rec_hit_path(int at, const char *path)
{
    return fault.armed && fault.kind != REC_FAULT_SYNC &&
           (path[0] == '/' ? below(path) && struck() : at != AT_FDCWD && rec_hit_fd(at));
}

int rec_failure(bool writes)
{
    return writes && fault.kind == REC_FAULT_ENOSPC ? ENOSPC : EIO;
}

/* Reads and writes: how much of len to do, or -1 and *error. */
ssize_t rec_share(int fd, size_t len, bool writes, int *error)
{
    *error = 0;
    if (!rec_hit_fd(fd)) {
        return (ssize_t)len;
    }
    switch (fault.kind) {
    case REC_FAULT_SHORT:
        return (ssize_t)(len > 1 ? len / 2 : len);
    case REC_FAULT_EINTR:
        fault.on = false; /* for ever would be for ever */
        *error = EINTR;
        return -1;
    case REC_FAULT_TORN:
        *error = EIO;
        return writes ? (ssize_t)(len / 2) : -1;
    default:
        *error = rec_failure(writes);
        return -1;
    }
}
