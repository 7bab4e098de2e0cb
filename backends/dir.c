/* SPDX-License-Identifier: MIT */
/*
 * The directory backend: a vault as a folder, on a disk or on a share.
 *
 *   a/3f/..., o/1c/..., j/...     keys with a folder: one immutable file each, made once by link(2)
 *   head.00000000000000000007     keys without a folder: replaceable, one file for each version
 *   head                          the same file under its plain name, for people; not read while a number
 * exists tmp/<pid>-<random>            files being written; swept on opening when older than a day
 *
 * Durability. Bytes go to tmp/, fsync; then link(2) gives the name or fails because it is taken; then fsync
 * of the folder, and, once in the life of a process, of the folders above it. Where there are no hard links
 * (FAT), a rename that replaces nothing stands in.
 *
 * Replaceable objects. A rename is no compare-and-swap: of two devices that read version 7 both would rename,
 * and one change would vanish. So version n + 1 is a new file, made by link(2), of which exactly one can
 * succeed. The highest number is the current version; a file under the plain name alone counts as number 0 (a
 * vault that was copied from elsewhere). Lower numbers are removed in ascending order once the new one is
 * durable, all but the last before it, so that a listing that runs beside a replace meets one of the two.
 *
 * Number n + 1 can have existed and been removed only when n + 3 was made. So whoever made n + 1 and then
 * sees nothing above n + 2 has won. Whoever sees more cannot know (it slept between looking and linking, or
 * others were very quick), and answers LETHE_ERR_UNREACHABLE, "unknown whether it happened: read back". A
 * number that was made so by mistake is below the current one: nobody reads it, and the next replace removes
 * it. A version's text is its number and the XXH3 of its bytes, so that a removed and remade object is
 * another version.
 *
 * The plain name is a hard link to the newest version, remade after each replace as best it can: a person
 * sees a file called vault.json, and whoever edits it in place has edited the version that counts.
 *
 * Invariants: nothing is followed out of the root (no links on the way, none at the end); no name in the
 * vault is ever written in place; the root is looked up at every call, and tmp/ tells an absent disk from an
 * empty vault. Threads: any number; the known table and replacing are guarded by their mutexes.
 */
#include "backends/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lethe/check.h"
#include "lethe/log.h"

static struct lethe_dir *dir_of(struct lethe_store *store)
{
    return (struct lethe_dir *)store;
}

static bool replaceable(const char *key)
{
    return strchr(key, '/') == NULL;
}

/* Names that this backend uses itself. */
static bool reserved(const char *key)
{
    size_t len;
    uint64_t number;

    return strcmp(key, LETHE_DIR_TMP) == 0 ||
           strncmp(key, LETHE_DIR_TMP "/", strlen(LETHE_DIR_TMP) + 1) == 0 ||
           (replaceable(key) && lethe_dir_version_parse(key, &len, &number));
}

/* Opens the current file of a key of either sort. root stays the caller's. */
static enum lethe_err open_key(struct lethe_dir *dir, int root, const char *key, int *fd, uint64_t *number)
{
    const char *name;
    int parent;
    enum lethe_err err;

    *number = 0;
    *fd = -1;
    if (replaceable(key)) {
        return lethe_dir_current(dir, root, key, fd, number);
    }
    err = lethe_dir_parent(dir, root, key, false, &parent, &name);
    if (err) {
        return err;
    }
    err = lethe_dir_open_file(dir, parent, name, fd);
    close(parent);
    return err == LETHE_ERR_NOT_FOUND ? lethe_dir_missing(dir, root) : err;
}

static enum lethe_err version_of(struct lethe_dir *dir, int fd, uint64_t number,
                                 struct lethe_store_version *out)
{
    struct lethe_buf whole = {0};
    enum lethe_err err = lethe_dir_read(dir, fd, 0, UINT64_MAX, &whole);

    if (!err) {
        snprintf(out->text, sizeof out->text, "%" PRIu64 "-%016" PRIx64, number,
                 lethe_check64(whole.data, whole.len));
    }
    lethe_buf_release(&whole);
    return err;
}

static enum lethe_err dir_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                              struct lethe_buf *out, struct lethe_store_version *version)
{
    struct lethe_dir *dir = dir_of(store);
    int root, fd = -1;
    uint64_t number;
    enum lethe_err err;

    if (reserved(key)) {
        return LETHE_ERR_NOT_FOUND;
    }
    err = lethe_dir_root(dir, &root);
    if (err) {
        return err;
    }
    err = open_key(dir, root, key, &fd, &number);
    if (!err) {
        err = lethe_dir_read(dir, fd, offset, len, out);
    }
    if (!err && version) {
        err = version_of(dir, fd, number, version);
    }
    if (fd >= 0) {
        close(fd);
    }
    close(root);
    return err;
}

/* Lower versions than the one before number go, the lowest first. Best effort: the next replace tries again.
 */
static void remove_older(int root, const char *key, const struct lethe_dir_versions *versions,
                         uint64_t number)
{
    for (size_t i = 0; i < versions->count && versions->numbers[i] + 1 < number; i++) {
        char name[LETHE_STORE_KEY_MAX + 32];

        lethe_dir_version_name(key, versions->numbers[i], name);
        if (unlinkat(root, name, 0) != 0 && errno != ENOENT) {
            break;
        }
    }
}

/* Makes version number, when the one before it is current. See the top of the file for what each answer
 * means. */
static enum lethe_err make_version(struct lethe_dir *dir, int root, const char *key, uint64_t number,
                                   const uint8_t *bytes, size_t len)
{
    struct lethe_dir_versions versions;
    char name[LETHE_STORE_KEY_MAX + 32];
    uint64_t newest;
    enum lethe_err err;

    lethe_dir_version_name(key, number, name);
    err = lethe_dir_publish(dir, root, root, name, bytes, len);
    if (err) {
        return err == LETHE_ERR_EXISTS ? LETHE_ERR_CONFLICT : err;
    }
    if (lethe_dir_fsync(dir, root)) {
        (void)unlinkat(root, name, 0); /* a power cut might take it: it must not be read back as if it were done */
        return LETHE_ERR_UNREACHABLE;
    }
    if (lethe_dir_versions(dir, root, key, &versions)) {
        return LETHE_ERR_UNREACHABLE; /* the name is there; whether it stays, nobody knows */
    }
    newest = versions.count > 0 ? versions.numbers[versions.count - 1] : number;
    if (newest > number && newest - number >= 2) {
        err = LETHE_ERR_UNREACHABLE;
    } else if (newest <= number) {
        lethe_dir_show(dir, root, name, key);
        remove_older(root, key, &versions, number);
    }
    lethe_dir_versions_release(&versions);
    return err;
}

static enum lethe_err dir_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                  size_t len, const struct lethe_store_version *expected,
                                  struct lethe_store_version *version)
{
    struct lethe_dir *dir = dir_of(store);
    struct lethe_store_version now = {{0}};
    int root = -1, fd = -1;
    uint64_t number = 0;
    enum lethe_err err;

    if (!replaceable(key) || reserved(key)) {
        return LETHE_ERR_ARG;
    }
    pthread_mutex_lock(&dir->replacing);
    err = lethe_dir_root(dir, &root);
    if (err) {
        goto out;
    }
    err = lethe_dir_current(dir, root, key, &fd, &number);
    if (!err) {
        err = version_of(dir, fd, number, &now);
    } else if (err == LETHE_ERR_NOT_FOUND) {
        err = LETHE_OK;
    }
    if (!err && strcmp(now.text, expected->text) != 0) {
        err = LETHE_ERR_CONFLICT;
    }
    if (!err && number >= UINT64_MAX - 8) {
        lethe_log(LETHE_LOG_ERROR, "in the vault's folder %s a version number was set to its limit",
                  dir->root);
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        err = make_version(dir, root, key, number + 1, bytes, len);
    }
    if (!err) {
        snprintf(version->text, sizeof version->text, "%" PRIu64 "-%016" PRIx64, number + 1,
                 lethe_check64(bytes, len));
    }
out:
    if (fd >= 0) {
        close(fd);
    }
    if (root >= 0) {
        close(root);
    }
    pthread_mutex_unlock(&dir->replacing);
    return err;
}

static enum lethe_err dir_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct lethe_dir *dir = dir_of(store);
    const char *name = NULL;
    int root, parent = -1;
    enum lethe_err err;

    if (reserved(key)) {
        return LETHE_ERR_ARG;
    }
    if (replaceable(key)) {
        const struct lethe_store_version none = {{0}};
        struct lethe_store_version made;

        err = dir_replace(store, key, bytes, len, &none, &made);
        return err == LETHE_ERR_CONFLICT ? LETHE_ERR_EXISTS : err;
    }
    err = lethe_dir_root(dir, &root);
    if (err) {
        return err;
    }
    /* Before anything is made: a folder must not appear in the place where a disk was mounted. */
    err = lethe_dir_missing(dir, root);
    if (err == LETHE_ERR_NOT_FOUND) {
        err = lethe_dir_parent(dir, root, key, true, &parent, &name);
    }
    if (!err) {
        err = lethe_dir_publish(dir, root, parent, name, bytes, len);
    }
    if (!err) {
        err = lethe_dir_fsync(dir, parent);
        if (err) {
            (void)unlinkat(parent, name, 0); /* so that trying again does not meet LETHE_ERR_EXISTS */
        }
    }
    if (parent >= 0) {
        close(parent);
    }
    close(root);
    return err;
}

/* The plain name first: alone it would count as a version. Then the numbers from below: the last one still
 * counts. */
static enum lethe_err remove_versions(struct lethe_dir *dir, int root, const char *key)
{
    struct lethe_dir_versions versions;
    enum lethe_err err = lethe_dir_versions(dir, root, key, &versions);

    if (err) {
        return err;
    }
    if (versions.count == 0 && !versions.plain) {
        err = lethe_dir_missing(dir, root);
        return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
    }
    if (unlinkat(root, key, 0) != 0 && errno != ENOENT) {
        err = lethe_dir_error(dir, errno, "remove an object");
    }
    for (size_t i = 0; i < versions.count && !err; i++) {
        char name[LETHE_STORE_KEY_MAX + 32];

        lethe_dir_version_name(key, versions.numbers[i], name);
        if (unlinkat(root, name, 0) != 0 && errno != ENOENT) {
            err = lethe_dir_error(dir, errno, "remove an object");
        }
    }
    lethe_dir_versions_release(&versions);
    return err ? err : lethe_dir_fsync(dir, root);
}

static enum lethe_err dir_remove(struct lethe_store *store, const char *key)
{
    struct lethe_dir *dir = dir_of(store);
    const char *name = NULL;
    int root, parent = -1;
    enum lethe_err err;

    if (reserved(key)) {
        return LETHE_ERR_ARG;
    }
    err = lethe_dir_root(dir, &root);
    if (err) {
        return err;
    }
    if (replaceable(key)) {
        err = remove_versions(dir, root, key);
    } else {
        err = lethe_dir_parent(dir, root, key, false, &parent, &name);
        if (!err && unlinkat(parent, name, 0) != 0) {
            err = errno == ENOENT ? lethe_dir_missing(dir, root)
                                  : lethe_dir_error(dir, errno, "remove an object");
        }
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
    }
    if (parent >= 0) {
        close(parent);
    }
    close(root);
    return err;
}

static enum lethe_err dir_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct lethe_dir *dir = dir_of(store);
    struct stat stat;
    uint64_t number;
    int root, fd = -1;
    enum lethe_err err;

    if (reserved(key)) {
        return LETHE_ERR_NOT_FOUND;
    }
    err = lethe_dir_root(dir, &root);
    if (err) {
        return err;
    }
    err = open_key(dir, root, key, &fd, &number);
    if (!err && fstat(fd, &stat) != 0) {
        err = lethe_dir_error(dir, errno, "look at an object");
    }
    if (!err) {
        *out = (struct lethe_store_stat){.size = (uint64_t)stat.st_size, .modified = stat.st_mtime};
    }
    if (fd >= 0) {
        close(fd);
    }
    close(root);
    return err;
}

static void dir_close(struct lethe_store *store)
{
    struct lethe_dir *dir = dir_of(store);

    pthread_mutex_destroy(&dir->lock);
    pthread_mutex_destroy(&dir->replacing);
    free(dir->root);
    free(dir);
}

static const struct lethe_store_ops dir_ops = {
    .get = dir_get,
    .put = dir_put,
    .replace = dir_replace,
    .remove = dir_remove,
    .list = lethe_dir_list,
    .stat = dir_stat,
    .close = dir_close,
};

/* Makes the folder and those above it, each durable in the one above. */
static enum lethe_err make_root(const char *path)
{
    char *copy = strdup(path);
    enum lethe_err err = LETHE_OK;

    if (!copy) {
        return LETHE_ERR_NOMEM;
    }
    for (char *at = copy + 1;; at++) {
        char kept = *at;

        if (kept != '/' && kept != '\0') {
            continue;
        }
        *at = '\0';
        if (mkdir(copy, 0700) == 0) {
            char *slash = strrchr(copy, '/');
            int above;

            /* "x" lies in ".", "/x" in "/", and "x/y" in "x". */
            if (slash) {
                *slash = '\0';
            }
            above = open(!slash ? "." : slash == copy ? "/" : copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (above < 0 || (fsync(above) != 0 && errno != EINVAL && errno != ENOTSUP)) {
                err = lethe_err_from_errno(errno);
            }
            if (above >= 0) {
                close(above);
            }
            if (slash) {
                *slash = '/';
            }
        } else if (errno != EEXIST) {
            err = lethe_err_from_errno(errno);
        }
        *at = kept;
        if (err || kept == '\0') {
            break;
        }
    }
    free(copy);
    return err;
}

static enum lethe_err open_folder(const char *path, bool create, bool sweep, struct lethe_store **out)
{
    struct lethe_dir *dir = NULL;
    struct stat stat_buf;
    int root = -1;
    enum lethe_err err = LETHE_OK;

    *out = NULL;
    if (path[0] == '\0') {
        return LETHE_ERR_ARG;
    }
    if (create) {
        err = make_root(path);
        if (err) {
            return err;
        }
    }
    dir = calloc(1, sizeof *dir);
    if (!dir) {
        return LETHE_ERR_NOMEM;
    }
    dir->base.ops = &dir_ops;
    pthread_mutex_init(&dir->lock, NULL);
    pthread_mutex_init(&dir->replacing, NULL);
    dir->root = realpath(path, NULL);
    if (!dir->root) {
        err = lethe_err_from_errno(errno);
        goto out;
    }
    if (stat(dir->root, &stat_buf) != 0 || !S_ISDIR(stat_buf.st_mode)) {
        err = LETHE_ERR_NOT_FOUND;
        goto out;
    }
    err = lethe_dir_root(dir, &root);
    if (err) {
        err = err == LETHE_ERR_UNREACHABLE ? LETHE_ERR_NOT_FOUND : err;
        goto out;
    }
    /*
     * tmp/ marks the folder as ours. An empty folder that we were not asked to make may be the place where a
     * disk should be mounted, and a vault may be read-only: then it is made by the first write, if there is
     * one.
     */
    if (create && mkdirat(root, LETHE_DIR_TMP, 0700) != 0 && errno != EEXIST) {
        err = lethe_dir_error(dir, errno, "make a folder");
        goto out;
    }
    atomic_store(&dir->tmp,
                 fstatat(root, LETHE_DIR_TMP, &stat_buf, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(stat_buf.st_mode));
    if (sweep) {
        lethe_dir_sweep(root);
    }
    *out = &dir->base;
    dir = NULL;
out:
    if (root >= 0) {
        close(root);
    }
    if (dir) {
        dir_close(&dir->base);
    }
    return err;
}

enum lethe_err lethe_store_dir_open(const char *path, bool create, struct lethe_store **out)
{
    return open_folder(path, create, true, out);
}

enum lethe_err lethe_dir_open_untouched(const char *path, struct lethe_store **out)
{
    return open_folder(path, false, false, out);
}
