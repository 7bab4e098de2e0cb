/* SPDX-License-Identifier: MIT */
/* The listing of the directory backend: keys as they were given, whatever the files are called. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/dir.h"

struct walk {
    struct lethe_dir *dir;
    const char *prefix;
    enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat);
    void *context;
    char key[LETHE_STORE_KEY_MAX + 1];
    char **keys; /* of the files in the root folder, versions stripped, with repetitions */
    size_t count;
    size_t cap;
};

/* Whether a key that begins with the first len characters of key may begin with prefix. */
static bool may_match(const char *key, size_t len, const char *prefix)
{
    size_t prefix_len = strlen(prefix);

    return strncmp(key, prefix, len < prefix_len ? len : prefix_len) == 0;
}

static enum lethe_err report(const struct walk *walk, const struct stat *stat)
{
    struct lethe_store_stat out = {.size = (uint64_t)stat->st_size, .modified = stat->st_mtime};

    if (strncmp(walk->key, walk->prefix, strlen(walk->prefix)) != 0) {
        return LETHE_OK;
    }
    return walk->each(walk->context, walk->key, &out);
}

/* A file of the root folder: its key is reported at the end, once, however many numbers it has. */
static enum lethe_err add_root_key(struct walk *walk, char *key)
{
    uint64_t number;
    size_t len;

    if (lethe_dir_version_parse(key, &len, &number)) {
        key[len] = '\0';
    }
    if (walk->count == walk->cap) {
        size_t cap = walk->cap ? walk->cap * 2 : 8, size;
        char **grown;

        if (!lethe_mul_size(cap, sizeof *grown, &size) || !(grown = realloc(walk->keys, size))) {
            return LETHE_ERR_NOMEM;
        }
        walk->keys = grown;
        walk->cap = cap;
    }
    walk->keys[walk->count] = strdup(key);
    if (!walk->keys[walk->count]) {
        return LETHE_ERR_NOMEM;
    }
    walk->count++;
    return LETHE_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum lethe_err report_root_keys(struct walk *walk, int root)
{
    if (walk->count > 0) {
        qsort(walk->keys, walk->count, sizeof *walk->keys, compare_keys);
    }
    for (size_t i = 0; i < walk->count; i++) {
        struct stat stat;
        uint64_t number;
        int fd;
        enum lethe_err err;

        if (i > 0 && strcmp(walk->keys[i], walk->keys[i - 1]) == 0) {
            continue;
        }
        err = lethe_dir_current(walk->dir, root, walk->keys[i], &fd, &number);
        if (err == LETHE_ERR_NOT_FOUND) {
            continue; /* removed since */
        }
        if (err) {
            return err;
        }
        if (fstat(fd, &stat) != 0) {
            err = lethe_dir_error(walk->dir, errno, "list");
        }
        close(fd);
        if (!err) {
            memcpy(walk->key, walk->keys[i],
                   strlen(walk->keys[i]) + 1); /* both have LETHE_STORE_KEY_MAX + 1 bytes at most */
            err = report(walk, &stat);
        }
        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

/* key[0..len) is the folder's path with its slash; fd is taken. Keys have 200 bytes, so this ends. */
static enum lethe_err walk_folder(struct walk *walk, int fd, size_t len)
{
    DIR *stream = fdopendir(fd);
    const struct dirent *entry;
    enum lethe_err err = LETHE_OK;

    if (!stream) {
        err = lethe_dir_error(walk->dir, errno, "list");
        close(fd);
        return err;
    }
    while (!err && (errno = 0, entry = readdir(stream)) != NULL) {
        size_t name_len = strlen(entry->d_name);
        struct stat stat;
        int next;

        if (len + name_len > LETHE_STORE_KEY_MAX || (len == 0 && strcmp(entry->d_name, LETHE_DIR_TMP) == 0)) {
            continue;
        }
        memcpy(walk->key + len, entry->d_name, name_len + 1);
        if (!lethe_store_key_valid(walk->key) || !may_match(walk->key, len + name_len, walk->prefix)) {
            continue;
        }
        if (fstatat(fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
            err = errno == ENOENT ? LETHE_OK : lethe_dir_error(walk->dir, errno, "list");
            continue;
        }
        if (S_ISREG(stat.st_mode)) {
            err = len > 0 ? report(walk, &stat) : add_root_key(walk, walk->key);
        } else if (S_ISDIR(stat.st_mode) && len + name_len < LETHE_STORE_KEY_MAX) {
            next = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (next < 0) {
                err = errno == ENOENT ? LETHE_OK : lethe_dir_error(walk->dir, errno, "list");
                continue;
            }
            walk->key[len + name_len] = '/';
            walk->key[len + name_len + 1] = '\0';
            err = walk_folder(walk, next, len + name_len + 1);
        }
    }
    if (!err && errno != 0) {
        err = lethe_dir_error(walk->dir, errno, "list");
    }
    closedir(stream);
    return err;
}

enum lethe_err lethe_dir_list(struct lethe_store *store, const char *prefix,
                              enum lethe_err (*each)(void *context, const char *key,
                                                     const struct lethe_store_stat *stat),
                              void *context)
{
    struct walk walk = {.dir = (struct lethe_dir *)store, .prefix = prefix, .each = each, .context = context};
    int root, copy;
    enum lethe_err err = lethe_dir_root(walk.dir, &root);

    if (err) {
        return err;
    }
    err = lethe_dir_missing(walk.dir, root);
    if (err != LETHE_ERR_NOT_FOUND) {
        goto out;
    }
    copy = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) {
        err = lethe_dir_error(walk.dir, errno, "list");
        goto out;
    }
    err = walk_folder(&walk, copy, 0);
    if (!err) {
        err = report_root_keys(&walk, root);
    }
out:
    for (size_t i = 0; i < walk.count; i++) {
        free(walk.keys[i]);
    }
    free(walk.keys);
    close(root);
    return err;
}
