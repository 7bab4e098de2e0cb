/* SPDX-License-Identifier: MIT */
/* The numbered files of a replaceable object; dir.c says why there are such. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/dir.h"
#include "lethe/log.h"

bool lethe_dir_version_parse(const char *name, size_t *key_len, uint64_t *number)
{
    size_t len = strlen(name);
    const char *digits;
    uint64_t value = 0;

    if (len < LETHE_DIR_DIGITS + 2 || name[len - LETHE_DIR_DIGITS - 1] != '.') {
        return false;
    }
    digits = name + len - LETHE_DIR_DIGITS;
    for (int i = 0; i < LETHE_DIR_DIGITS; i++) {
        if (digits[i] < '0' || digits[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digits[i] - '0'), &value)) {
            return false;
        }
    }
    if (value == 0) {
        return false; /* number 0 is the plain name */
    }
    *key_len = len - LETHE_DIR_DIGITS - 1;
    *number = value;
    return true;
}

void lethe_dir_version_name(const char *key, uint64_t number, char out[LETHE_STORE_KEY_MAX + 32])
{
    snprintf(out, LETHE_STORE_KEY_MAX + 32, "%s.%020" PRIu64, key, number);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static enum lethe_err add_number(struct lethe_dir_versions *versions, uint64_t number)
{
    if (versions->count == versions->cap) {
        size_t cap = versions->cap ? versions->cap * 2 : 8, size;
        uint64_t *grown;

        if (!lethe_mul_size(cap, sizeof *grown, &size) || !(grown = realloc(versions->numbers, size))) {
            return LETHE_ERR_NOMEM;
        }
        versions->numbers = grown;
        versions->cap = cap;
    }
    versions->numbers[versions->count++] = number;
    return LETHE_OK;
}

enum lethe_err lethe_dir_versions(struct lethe_dir *dir, int root, const char *key,
                                  struct lethe_dir_versions *out)
{
    size_t key_len = strlen(key), len;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    uint64_t number;
    enum lethe_err err = LETHE_OK;

    *out = (struct lethe_dir_versions){0};
    if (!stream) {
        err = lethe_dir_error(dir, errno, "list");
        if (fd >= 0) {
            close(fd);
        }
        return err;
    }
    while (!err && (errno = 0, entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, key) == 0) {
            out->plain = true;
        } else if (strncmp(entry->d_name, key, key_len) == 0 &&
                   lethe_dir_version_parse(entry->d_name, &len, &number) && len == key_len) {
            err = add_number(out, number);
        }
    }
    if (!err && errno != 0) {
        err = lethe_dir_error(dir, errno, "list");
    }
    closedir(stream);
    if (err) {
        lethe_dir_versions_release(out);
        return err;
    }
    if (out->count > 0) {
        qsort(out->numbers, out->count, sizeof *out->numbers, compare_numbers);
    }
    return LETHE_OK;
}

void lethe_dir_versions_release(struct lethe_dir_versions *versions)
{
    free(versions->numbers);
    *versions = (struct lethe_dir_versions){0};
}

enum lethe_err lethe_dir_current(struct lethe_dir *dir, int root, const char *key, int *fd, uint64_t *number)
{
    int empty = 0;

    /*
     * A version that was listed may be gone when it is opened, and a listing that runs beside two replaces
     * may miss the old and the new one: look again. Nothing found three times is nothing; a file that is
     * listed and never there to open is a broken folder.
     */
    for (int attempt = 0; attempt < 100; attempt++) {
        struct lethe_dir_versions versions;
        char name[LETHE_STORE_KEY_MAX + 32];
        enum lethe_err err = lethe_dir_versions(dir, root, key, &versions);

        if (err) {
            return err;
        }
        *number = versions.count > 0 ? versions.numbers[versions.count - 1] : 0;
        if (versions.count == 0 && !versions.plain) {
            if (++empty == 3) {
                return lethe_dir_missing(dir, root);
            }
            continue;
        }
        if (*number > 0) {
            lethe_dir_version_name(key, *number, name);
        } else {
            snprintf(name, sizeof name, "%s", key);
        }
        lethe_dir_versions_release(&versions);
        err = lethe_dir_open_file(dir, root, name, fd);
        if (err != LETHE_ERR_NOT_FOUND) {
            return err;
        }
    }
    lethe_log(LETHE_LOG_ERROR, "the vault's folder %s lists a file that cannot be opened", dir->root);
    return LETHE_ERR_IO;
}
