/* SPDX-License-Identifier: MIT */
/*
 * Files and folders of the directory backend: opened without following links, written beside and linked into
 * place, and made durable together with the folders above them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backends/dir.h"
#include "lethe/check.h"
#include "lethe/log.h"

#define TEMP_NAME_MAX 64
#define SWEEP_AGE 86400 /* seconds */

static enum lethe_err away(struct lethe_dir *dir)
{
    if (!atomic_exchange(&dir->away, true)) {
        lethe_log(LETHE_LOG_ERROR, "the folder %s of the vault is not there: is its disk mounted?",
                  dir->root);
    }
    return LETHE_ERR_UNREACHABLE;
}

enum lethe_err lethe_dir_error(struct lethe_dir *dir, int e, const char *doing)
{
    enum lethe_err err;
    char text[128];

    switch (e) {
    case ENODEV:
    case ENXIO:
    case ESTALE:
    case ENOTCONN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return away(dir);
    case ELOOP:
    case ENOTDIR:
        lethe_log(LETHE_LOG_ERROR,
                  "in the vault's folder %s a link or file lies where an object or folder belongs",
                  dir->root);
        return LETHE_ERR_INTEGRITY;
    default:
        err = lethe_err_from_errno(e);
        lethe_log(LETHE_LOG_ERROR, "cannot %s in the vault's folder %s: %s", doing, dir->root,
                  strerror_r(e, text, sizeof text));
        return err;
    }
}

enum lethe_err lethe_dir_root(struct lethe_dir *dir, int *fd)
{
    *fd = open(dir->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0) {
        return LETHE_OK;
    }
    return errno == ENOENT || errno == ENOTDIR ? away(dir) : lethe_dir_error(dir, errno, "look");
}

enum lethe_err lethe_dir_missing(struct lethe_dir *dir, int root)
{
    struct stat stat;

    if (atomic_load(&dir->tmp) && fstatat(root, LETHE_DIR_TMP, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        return away(dir);
    }
    atomic_store(&dir->away, false);
    return LETHE_ERR_NOT_FOUND;
}

enum lethe_err lethe_dir_fsync(struct lethe_dir *dir, int fd)
{
    if (fsync(fd) == 0) {
        return LETHE_OK;
    }
    /* Some network file systems have no fsync of a folder; they make its entries durable at once. */
    return errno == EINVAL || errno == ENOTSUP ? LETHE_OK
                                               : lethe_dir_error(dir, errno, "make a folder durable");
}

/*
 * Makes the entry of the folder at path durable, which lies in parent. Once in the life of this process: a
 * folder that was there already may have been made by a process that was killed before its fsync.
 */
static enum lethe_err folder_durable(struct lethe_dir *dir, int parent, const char *path, size_t len)
{
    uint64_t hash = lethe_check64(path, len) | 1;
    enum lethe_err err;
    bool known = false;

    pthread_mutex_lock(&dir->lock);
    for (size_t i = 0; i < LETHE_DIR_KNOWN; i++) {
        uint64_t slot = dir->known[(hash + i) % LETHE_DIR_KNOWN];

        if (slot == hash || slot == 0) {
            known = slot == hash;
            break;
        }
    }
    pthread_mutex_unlock(&dir->lock);
    if (known) {
        return LETHE_OK;
    }
    err = lethe_dir_fsync(dir, parent);
    if (err) {
        return err;
    }
    pthread_mutex_lock(&dir->lock);
    for (size_t i = 0; i < LETHE_DIR_KNOWN; i++) {
        uint64_t *slot = &dir->known[(hash + i) % LETHE_DIR_KNOWN];

        if (*slot == hash || *slot == 0) {
            *slot = hash; /* a full table only means more fsyncs */
            break;
        }
    }
    pthread_mutex_unlock(&dir->lock);
    return LETHE_OK;
}

enum lethe_err lethe_dir_parent(struct lethe_dir *dir, int root, const char *key, bool create, int *fd,
                                const char **name)
{
    const char *at = key, *slash;
    int here = dup(root);
    enum lethe_err err = LETHE_OK;

    *fd = -1;
    if (here < 0) {
        return lethe_dir_error(dir, errno, "open a folder");
    }
    while ((slash = strchr(at, '/')) != NULL) {
        char part[LETHE_STORE_KEY_MAX + 1];
        int next;

        memcpy(part, at, (size_t)(slash - at));
        part[slash - at] = '\0';
        next = openat(here, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && errno == ENOENT && create) {
            if (mkdirat(here, part, 0700) != 0 && errno != EEXIST) {
                err = errno == ENOENT ? lethe_dir_missing(dir, root)
                                      : lethe_dir_error(dir, errno, "make a folder");
                break;
            }
            next = openat(here, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        if (next < 0) {
            err =
                errno == ENOENT ? lethe_dir_missing(dir, root) : lethe_dir_error(dir, errno, "open a folder");
            break;
        }
        if (create) {
            err = folder_durable(dir, here, key, (size_t)(slash - key));
        }
        close(here);
        here = next;
        if (err) {
            break;
        }
        at = slash + 1;
    }
    if (err) {
        close(here);
        return err;
    }
    *fd = here;
    *name = at;
    return LETHE_OK;
}

enum lethe_err lethe_dir_open_file(struct lethe_dir *dir, int at, const char *name, int *fd)
{
    struct stat stat;

    /* O_NONBLOCK: a fifo that was put there does not hold us. */
    *fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) {
        return errno == ENOENT ? LETHE_ERR_NOT_FOUND : lethe_dir_error(dir, errno, "open an object");
    }
    if (fstat(*fd, &stat) != 0 || !S_ISREG(stat.st_mode)) {
        close(*fd);
        *fd = -1;
        return lethe_dir_error(dir, ELOOP, "open an object");
    }
    atomic_store(&dir->away, false);
    return LETHE_OK;
}

enum lethe_err lethe_dir_read(struct lethe_dir *dir, int fd, uint64_t offset, uint64_t len,
                              struct lethe_buf *out)
{
    struct stat stat;
    uint64_t size;
    enum lethe_err err;

    if (fstat(fd, &stat) != 0) {
        return lethe_dir_error(dir, errno, "read an object");
    }
    size = (uint64_t)stat.st_size;
    if (offset >= size || len == 0) {
        return LETHE_OK;
    }
    len = len < size - offset ? len : size - offset;
    if (len > SIZE_MAX) {
        return LETHE_ERR_NOMEM;
    }
    err = lethe_buf_reserve(out, (size_t)len);
    if (err) {
        return err;
    }
    while (len > 0) {
        ssize_t got = pread(fd, out->data + out->len, (size_t)len, (off_t)offset);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return lethe_dir_error(dir, errno, "read an object");
        }
        if (got == 0) {
            break; /* it was cut while we read */
        }
        out->len += (size_t)got;
        offset += (uint64_t)got;
        len -= (uint64_t)got;
    }
    return LETHE_OK;
}

static void temp_name(char out[TEMP_NAME_MAX])
{
    uint64_t random;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now); /* unique enough: the file is made with O_EXCL */
        random = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30;
    }
    snprintf(out, TEMP_NAME_MAX, "%ld-%016" PRIx64, (long)getpid(), random);
}

static enum lethe_err write_all(struct lethe_dir *dir, int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, bytes, len);

        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return lethe_dir_error(dir, errno, "write an object");
        }
        bytes += put;
        len -= (size_t)put;
    }
    return fsync(fd) == 0 ? LETHE_OK : lethe_dir_error(dir, errno, "make an object durable");
}

/* The folder of temporary files. It is made on the first write only: later, its absence means an absent disk.
 */
static enum lethe_err open_tmp(struct lethe_dir *dir, int root, int *fd)
{
    if (!atomic_load(&dir->tmp)) {
        if (mkdirat(root, LETHE_DIR_TMP, 0700) != 0 && errno != EEXIST) {
            return lethe_dir_error(dir, errno, "make a folder");
        }
        atomic_store(&dir->tmp, true);
    }
    *fd = openat(root, LETHE_DIR_TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0) {
        return errno == ENOENT ? away(dir) : lethe_dir_error(dir, errno, "open a folder");
    }
    atomic_store(&dir->away, false);
    return LETHE_OK;
}

/* Gives a temporary file its name unless that is taken. The temporary name is gone, or removed by the caller.
 */
static enum lethe_err link_new(struct lethe_dir *dir, int tmp, const char *temp, int at, const char *name)
{
    struct stat stat;
    int e;

    if (linkat(tmp, temp, at, name, 0) == 0) {
        return LETHE_OK;
    }
    e = errno;
    if (e == EEXIST) {
        /* An answer lost on NFS makes our own link look taken; the count of links tells. */
        return fstatat(tmp, temp, &stat, AT_SYMLINK_NOFOLLOW) == 0 && stat.st_nlink == 2 ? LETHE_OK
                                                                                         : LETHE_ERR_EXISTS;
    }
    if (e != EPERM && e != ENOTSUP && e != ENOSYS && e != EMLINK) {
        return e == ENOENT ? away(dir) : lethe_dir_error(dir, e, "name an object");
    }
    /* No hard links (FAT, exFAT): a rename that replaces nothing is as good. */
    if (renameat2(tmp, temp, at, name, RENAME_NOREPLACE) == 0) {
        return LETHE_OK;
    }
    if (errno == EEXIST) {
        return LETHE_ERR_EXISTS;
    }
    if (errno == EINVAL || errno == ENOSYS) {
        lethe_log(LETHE_LOG_ERROR, "the file system of %s can neither link nor rename without replacing",
                  dir->root);
        return LETHE_ERR_UNSUPPORTED;
    }
    return lethe_dir_error(dir, errno, "name an object");
}

enum lethe_err lethe_dir_publish(struct lethe_dir *dir, int root, int at, const char *name,
                                 const uint8_t *bytes, size_t len)
{
    char temp[TEMP_NAME_MAX];
    int tmp = -1, fd = -1;
    enum lethe_err err;

    err = open_tmp(dir, root, &tmp);
    if (err) {
        return err;
    }
    temp_name(temp);
    fd = openat(tmp, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = lethe_dir_error(dir, errno, "write an object");
        goto out;
    }
    err = write_all(dir, fd, bytes, len);
    if (close(fd) != 0 && !err) {
        err = lethe_dir_error(dir, errno, "write an object");
    }
    if (!err) {
        err = link_new(dir, tmp, temp, at, name);
    }
    (void)unlinkat(tmp, temp, 0); /* what stays is swept a day later */
out:
    close(tmp);
    return err;
}

void lethe_dir_show(struct lethe_dir *dir, int root, const char *versioned, const char *key)
{
    char temp[TEMP_NAME_MAX];
    int tmp;

    if (open_tmp(dir, root, &tmp)) {
        return;
    }
    temp_name(temp);
    if (linkat(root, versioned, tmp, temp, 0) == 0) {
        (void)renameat(tmp, temp, root, key);
        (void)unlinkat(tmp, temp, 0); /* a rename between two links of one file does nothing */
    }
    close(tmp);
}

void lethe_dir_sweep(int root)
{
    int fd = openat(root, LETHE_DIR_TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    time_t now = time(NULL);

    if (!stream) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    while ((entry = readdir(stream)) != NULL) {
        struct stat stat;

        if (fstatat(fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode) &&
            now - stat.st_mtime > SWEEP_AGE) {
            (void)unlinkat(fd, entry->d_name, 0);
        }
    }
    closedir(stream);
}
