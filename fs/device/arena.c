/* SPDX-License-Identifier: MIT */
#include "fs/device/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lethe/log.h"

struct lethe_arena {
    int fd;
    atomic_bool no_punch; /* the file system cannot: said once */
    atomic_bool no_peek;  /* nor can it tell what it holds in memory */
};

static int (*fault_function)(void *context, enum lethe_arena_op op);
static void *fault_context;

void lethe_arena_set_fault(int (*fault)(void *context, enum lethe_arena_op op), void *context)
{
    fault_function = fault;
    fault_context = context;
}

static int injected(enum lethe_arena_op op)
{
    return fault_function ? fault_function(fault_context, op) : 0;
}

static enum lethe_err failed(const char *what, int error_number)
{
    lethe_log(LETHE_LOG_ERROR, "block file: cannot %s: %s", what, strerror(error_number));
    return lethe_err_from_errno(error_number);
}

static enum lethe_err make_folders(const char *dir)
{
    char path[PATH_MAX];
    size_t len = strlen(dir);

    if (len == 0 || len >= sizeof path) {
        return LETHE_ERR_ARG;
    }
    memcpy(path, dir, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            path[i] = '\0';
            if (mkdir(path, 0700) != 0 && errno != EEXIST) {
                return failed("make its folder", errno);
            }
            path[i] = i == len ? '\0' : '/';
        }
    }
    return LETHE_OK;
}

enum lethe_err lethe_arena_open(const char *dir, bool make_dir, bool replace, struct lethe_arena **out)
{
    struct lethe_arena *arena = NULL;
    enum lethe_err err = LETHE_OK;
    int folder = -1, fd = -1;
    struct stat st;

    *out = NULL;
    if (make_dir) {
        err = make_folders(dir);
        if (err) {
            return err;
        }
    }
    folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return failed("open its folder", errno);
    }
    for (int attempt = 0;; attempt++) {
        fd = openat(folder, "blocks", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            break;
        }
        if (fd >= 0) {
            close(fd);
            fd = -1;
            errno = EINVAL;
        }
        if (!replace || attempt > 0) {
            err = failed("open it", errno);
            goto out;
        }
        if (unlinkat(folder, "blocks", 0) != 0 && unlinkat(folder, "blocks", AT_REMOVEDIR) != 0) {
            err = failed("replace a stranger's file", errno);
            goto out;
        }
    }
    if (fsync(folder) != 0 && errno != EINVAL) {
        err = failed("make it durable", errno);
        goto out;
    }
    arena = calloc(1, sizeof *arena);
    if (!arena) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    arena->fd = fd;
    fd = -1;
    *out = arena;
out:
    if (fd >= 0) {
        close(fd);
    }
    close(folder);
    return err;
}

void lethe_arena_close(struct lethe_arena *arena)
{
    if (arena) {
        close(arena->fd);
        free(arena);
    }
}

bool lethe_arena_same(const struct lethe_arena *a, const struct lethe_arena *b)
{
    struct stat x, y;

    return fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

enum lethe_err lethe_arena_read(struct lethe_arena *arena, uint32_t slot, void *bytes, size_t len)
{
    uint8_t *at = bytes;
    off_t offset = (off_t)slot * LETHE_SLOT_BYTES;
    int error_number = injected(LETHE_ARENA_READ);

    if (error_number) {
        return failed("read it", error_number);
    }
    while (len > 0) {
        ssize_t got = pread(arena->fd, at, len, offset);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return failed("read it", errno);
        }
        if (got == 0) {
            return LETHE_ERR_NOT_FOUND;
        }
        at += got;
        offset += got;
        len -= (size_t)got;
    }
    return LETHE_OK;
}

enum lethe_err lethe_arena_read_cached(struct lethe_arena *arena, uint32_t slot, void *bytes, size_t len)
{
    struct iovec part = {.iov_base = bytes, .iov_len = len};
    ssize_t got;

    if (injected(LETHE_ARENA_READ)) {
        return LETHE_ERR_BUSY; /* an error is for who waits for the bytes */
    }
    if (atomic_load_explicit(&arena->no_peek, memory_order_relaxed)) {
        return lethe_arena_read(arena, slot, bytes, len);
    }
    got = preadv2(arena->fd, &part, 1, (off_t)slot * LETHE_SLOT_BYTES, RWF_NOWAIT);
    if (got == (ssize_t)len) {
        return LETHE_OK;
    }
    if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        atomic_store(&arena->no_peek, true);
        return lethe_arena_read(arena, slot, bytes, len);
    }
    return LETHE_ERR_BUSY;
}

enum lethe_err lethe_arena_write(struct lethe_arena *arena, uint32_t slot, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    off_t offset = (off_t)slot * LETHE_SLOT_BYTES;
    int error_number = injected(LETHE_ARENA_WRITE);

    if (error_number) {
        return failed("write it", error_number);
    }
    while (len > 0) {
        ssize_t done = pwrite(arena->fd, at, len, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return failed("write it", errno);
        }
        at += done;
        offset += done;
        len -= (size_t)done;
    }
    return LETHE_OK;
}

enum lethe_err lethe_arena_sync(struct lethe_arena *arena)
{
    int error_number = injected(LETHE_ARENA_SYNC);

    if (!error_number && fdatasync(arena->fd) != 0) {
        error_number = errno;
    }
    return error_number ? failed("make it durable", error_number) : LETHE_OK;
}

void lethe_arena_push(struct lethe_arena *arena)
{
    /* What cannot be written is told by the next sync: this call takes no error away from it. */
    (void)!sync_file_range(arena->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

void lethe_arena_punch(struct lethe_arena *arena, uint32_t slot, uint32_t count)
{
    int result;

    do {
        result = fallocate(arena->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           (off_t)slot * LETHE_SLOT_BYTES, (off_t)count * LETHE_SLOT_BYTES);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && !atomic_exchange(&arena->no_punch, true)) {
        lethe_log(LETHE_LOG_WARN, "block file: the file system keeps freed space until it is used again: %s",
                  strerror(errno));
    }
}

enum lethe_err lethe_arena_truncate(struct lethe_arena *arena, uint64_t slots)
{
    struct stat st;

    if (slots > UINT32_MAX) {
        return LETHE_ERR_ARG;
    }
    if (fstat(arena->fd, &st) != 0) {
        return failed("look at it", errno);
    }
    if (st.st_size <= (off_t)(slots * LETHE_SLOT_BYTES)) {
        return LETHE_OK;
    }
    return ftruncate(arena->fd, (off_t)(slots * LETHE_SLOT_BYTES)) == 0 ? LETHE_OK
                                                                        : failed("shorten it", errno);
}

uint64_t lethe_arena_allocated(struct lethe_arena *arena)
{
    struct stat st;

    return fstat(arena->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

bool lethe_arena_is_gone(struct lethe_arena *arena)
{
    struct stat st;

    return fstat(arena->fd, &st) == 0 && st.st_nlink == 0;
}
