/* SPDX-License-Identifier: MIT */
#include "fs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum lethe_err lethe_file_read(const char *path, size_t max, struct lethe_buf *out)
{
    size_t start = out->len;
    enum lethe_err err = LETHE_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return lethe_err_from_errno(errno);
    }
    for (;;) {
        ssize_t got;

        err = lethe_buf_reserve(out, 65536);
        if (err) {
            break;
        }
        got = read(fd, out->data + out->len, 65536);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            err = lethe_err_from_errno(errno);
            break;
        }
        if (got == 0) {
            break;
        }
        out->len += (size_t)got;
        if (out->len - start > max) {
            err = LETHE_ERR_ARG;
            break;
        }
    }
    if (err) {
        out->len = start;
    }
    close(fd);
    return err;
}

static enum lethe_err write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return lethe_err_from_errno(errno);
        }
        bytes += done;
        len -= (size_t)done;
    }
    return LETHE_OK;
}

static enum lethe_err sync_folder_of(const char *path)
{
    char *folder = strdup(path);
    enum lethe_err err = LETHE_OK;
    char *slash;
    int fd;

    if (!folder) {
        return LETHE_ERR_NOMEM;
    }
    slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = '\0';
    }
    fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd)) {
        err = lethe_err_from_errno(errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(folder);
    return err;
}

enum lethe_err lethe_file_write_durably(const char *path, const void *bytes, size_t len, mode_t mode)
{
    enum lethe_err err = LETHE_OK;
    char *temporary = NULL;
    int fd;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        return LETHE_ERR_NOMEM;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        err = lethe_err_from_errno(errno);
        goto out;
    }
    err = write_all(fd, bytes, len);
    if (!err && (fchmod(fd, mode) || fsync(fd))) {
        err = lethe_err_from_errno(errno);
    }
    if (close(fd) && !err) {
        err = lethe_err_from_errno(errno);
    }
    if (!err && rename(temporary, path)) {
        err = lethe_err_from_errno(errno);
    }
    if (err) {
        unlink(temporary);
        goto out;
    }
    err = sync_folder_of(path);
out:
    free(temporary);
    return err;
}

enum lethe_err lethe_file_append(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
    enum lethe_err err;

    if (fd < 0) {
        return lethe_err_from_errno(errno);
    }
    err = write_all(fd, bytes, len);
    if (close(fd) && !err) {
        err = lethe_err_from_errno(errno);
    }
    return err;
}

enum lethe_err lethe_file_write_output(const char *path, const void *bytes, size_t len, mode_t mode)
{
    struct stat about;
    enum lethe_err err;
    char *target;

    if (stat(path, &about)) {
        return lethe_file_write_durably(path, bytes, len, mode);
    }
    if (!S_ISREG(about.st_mode)) {
        return lethe_file_append(path, bytes, len);
    }
    target = realpath(path, NULL);
    if (!target) {
        return lethe_err_from_errno(errno);
    }
    err = lethe_file_write_durably(target, bytes, len, mode);
    free(target);
    return err;
}

enum lethe_err lethe_file_make_folders(const char *path, mode_t mode)
{
    char *copy = strdup(path);
    enum lethe_err err = LETHE_OK;

    if (!copy) {
        return LETHE_ERR_NOMEM;
    }
    for (char *at = copy + 1; !err; at++) {
        if (*at == '/' || *at == '\0') {
            char c = *at;

            *at = '\0';
            if (mkdir(copy, mode) == 0) {
                err = sync_folder_of(copy);
            } else if (errno != EEXIST) {
                err = lethe_err_from_errno(errno);
            }
            *at = c;
            if (c == '\0') {
                break;
            }
        }
    }
    free(copy);
    return err;
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *where)
{
    (void)stat;
    (void)type;
    (void)where;
    return remove(path);
}

void lethe_file_remove_folder(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
