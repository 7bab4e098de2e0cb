/* SPDX-License-Identifier: MIT */
#include "tests/crash/recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/crash/recorder_private.h"

struct rec rec;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool armed, on, met;
    uint64_t left;
    enum rec_fault kind;
    dev_t dev; /* of the folder */
    char folder[PATH_MAX];
} fault;

static void need(bool condition)
{
    if (!condition) {
        static const char text[] = "recorder: a call that it cannot follow\n";

        (void)syscall(SYS_write, 2, text, sizeof text - 1);
        abort();
    }
}

/* --- the record --- */

static uint32_t rec_new_file(bool folder)
{
    if (rec.file_count == rec.file_room) {
        rec.file_room = rec.file_room ? 2 * rec.file_room : 64;
        rec.files = realloc(rec.files, rec.file_room * sizeof *rec.files);
        need(rec.files != NULL);
    }
    rec.files[rec.file_count] = (struct rec_file){.folder = folder};
    return rec.file_count++;
}

/* One number for each (folder, name). */
static uint32_t rec_key(uint32_t folder, const char *name)
{
    for (uint32_t i = 0; i < rec.key_count; i++) {
        if (rec.keys[i].folder == folder && strcmp(rec.keys[i].name, name) == 0) {
            return i;
        }
    }
    if (rec.key_count == rec.key_room) {
        rec.key_room = rec.key_room ? 2 * rec.key_room : 64;
        rec.keys = realloc(rec.keys, rec.key_room * sizeof *rec.keys);
        need(rec.keys != NULL);
    }
    rec.keys[rec.key_count] = (struct rec_key){.folder = folder, .name = strdup(name), .base = REC_NONE};
    need(rec.keys[rec.key_count].name != NULL);
    return rec.key_count++;
}

static void append(struct rec_op op, const void *bytes)
{
    if (bytes) {
        op.data = malloc(op.len ? op.len : 1);
        need(op.data != NULL);
        memcpy(op.data, bytes, op.len);
    }
    if (rec.op_count == rec.op_room) {
        rec.op_room = rec.op_room ? 2 * rec.op_room : 1024;
        rec.ops = realloc(rec.ops, rec.op_room * sizeof *rec.ops);
        need(rec.ops != NULL);
    }
    rec.ops[rec.op_count++] = op;
}

/* Numbers of inodes come again: a file is known by its number from its first name to its last. */
static uint32_t file_of(const struct stat *stat)
{
    for (uint32_t i = rec.file_count; i-- > 0;) {
        if (rec.files[i].ino == stat->st_ino && rec.files[i].dev == stat->st_dev && rec.files[i].alive) {
            return i;
        }
    }
    return REC_NONE;
}

static void bind_file(uint32_t file, const struct stat *stat)
{
    uint32_t old = file_of(stat);

    if (old != REC_NONE) {
        rec.files[old].alive = false;
    }
    rec.files[file].dev = stat->st_dev;
    rec.files[file].ino = stat->st_ino;
    rec.files[file].alive = true;
}

static uint32_t file_of_fd(int fd)
{
    struct stat stat;

    return rec.recording && fstat(fd, &stat) == 0 ? file_of(&stat) : REC_NONE;
}

/* The folder of a path, and its last part; REC_NONE when it is not ours. */
static uint32_t folder_of(int at, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    struct stat stat;

    if (!rec.recording) {
        return REC_NONE;
    }
    *name = slash ? slash + 1 : path;
    if (!slash) {
        strcpy(parent, ".");
    } else if (slash == path) {
        strcpy(parent, "/");
    } else {
        need((size_t)(slash - path) < sizeof parent);
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = '\0';
    }
    if (!slash && at != AT_FDCWD) {
        return fstat(at, &stat) == 0 ? file_of(&stat) : REC_NONE;
    }
    return fstatat(at, parent, &stat, 0) == 0 ? file_of(&stat) : REC_NONE;
}

static void scan(uint32_t folder, const char *path)
{
    DIR *stream = opendir(path);
    const struct dirent *entry;

    need(stream != NULL);
    while ((entry = readdir(stream)) != NULL) {
        char below[PATH_MAX];
        struct stat stat;
        uint32_t file, key;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        need(snprintf(below, sizeof below, "%s/%s", path, entry->d_name) < (int)sizeof below);
        need(lstat(below, &stat) == 0);
        if (S_ISSOCK(stat.st_mode)) {
            continue;
        }
        need(S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode));
        file = file_of(&stat);
        if (file == REC_NONE) {
            file = rec_new_file(S_ISDIR(stat.st_mode));
            bind_file(file, &stat);
            if (S_ISDIR(stat.st_mode)) {
                scan(file, below);
            } else {
                FILE *stream_in = fopen(below, "rb");

                rec.files[file].base = malloc((size_t)stat.st_size + 1);
                rec.files[file].base_size = (size_t)stat.st_size;
                need(stream_in && rec.files[file].base);
                need(fread(rec.files[file].base, 1, (size_t)stat.st_size, stream_in) == (size_t)stat.st_size);
                fclose(stream_in);
            }
        }
        key = rec_key(folder, entry->d_name);
        rec.keys[key].base = file;
    }
    closedir(stream);
}

void rec_start(const char *folder)
{
    struct stat root;

    rec_forget();
    pthread_mutex_lock(&lock);
    need(stat(folder, &root) == 0);
    snprintf(rec.folder, sizeof rec.folder, "%s", folder);
    bind_file(rec_new_file(true), &root);
    scan(0, folder);
    rec.recording = true;
    pthread_mutex_unlock(&lock);
}

void rec_stop(void)
{
    pthread_mutex_lock(&lock);
    rec.recording = false;
    pthread_mutex_unlock(&lock);
}

size_t rec_count(void)
{
    size_t count;

    pthread_mutex_lock(&lock);
    count = rec.op_count;
    pthread_mutex_unlock(&lock);
    return count;
}

bool rec_is_sync(size_t i)
{
    return i < rec.op_count && rec.ops[i].kind == REC_SYNC;
}

void rec_forget(void)
{
    for (size_t i = 0; i < rec.op_count; i++) {
        free(rec.ops[i].data);
    }
    for (uint32_t i = 0; i < rec.file_count; i++) {
        free(rec.files[i].base);
    }
    for (uint32_t i = 0; i < rec.key_count; i++) {
        free(rec.keys[i].name);
    }
    free(rec.ops);
    free(rec.files);
    free(rec.keys);
    rec = (struct rec){0};
}

/* --- faults --- */

void rec_fault(const char *folder, uint64_t nth, enum rec_fault kind, bool on)
{
    struct stat root;

    pthread_mutex_lock(&lock);
    need(stat(folder, &root) == 0);
    snprintf(fault.folder, sizeof fault.folder, "%s", folder);
    fault.dev = root.st_dev;
    fault.kind = kind;
    fault.left = nth;
    fault.on = on;
    fault.met = false;
    fault.armed = nth > 0;
    pthread_mutex_unlock(&lock);
}

bool rec_fault_met(void)
{
    bool met;

    pthread_mutex_lock(&lock);
    met = fault.met;
    fault.armed = false;
    pthread_mutex_unlock(&lock);
    return met;
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

static bool hit_any(int fd)
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

static bool hit_fd(int fd)
{
    return fault.kind != REC_FAULT_SYNC && hit_any(fd);
}

static bool hit_path(int at, const char *path)
{
    return fault.armed && fault.kind != REC_FAULT_SYNC &&
           (path[0] == '/' ? below(path) && struck() : at != AT_FDCWD && hit_fd(at));
}

static int failure(bool writes)
{
    return writes && fault.kind == REC_FAULT_ENOSPC ? ENOSPC : EIO;
}

/* Reads and writes: how much of len to do, or -1 and *error. */
static ssize_t share(int fd, size_t len, bool writes, int *error)
{
    *error = 0;
    if (!hit_fd(fd)) {
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
        *error = failure(writes);
        return -1;
    }
}

/* --- the calls --- */

/* Made outside of recording and faults too: the two flags are read without the lock, and set between runs. */
static bool watched(void)
{
    return rec.recording || fault.armed;
}

static int fail_with(int error)
{
    pthread_mutex_unlock(&lock);
    errno = error;
    return -1;
}

static int done(long result)
{
    int error = errno;

    pthread_mutex_unlock(&lock);
    errno = error;
    return (int)result;
}

static void record_new(uint32_t folder, const char *name, const struct stat *stat)
{
    uint32_t file = rec_new_file(S_ISDIR(stat->st_mode));

    bind_file(file, stat);
    append((struct rec_op){.kind = REC_NAME, .file = file, .key = rec_key(folder, name), .key2 = REC_NONE},
           NULL);
}

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    const char *name = NULL;
    struct stat stat;
    uint32_t folder = REC_NONE;
    bool made = false;
    int fd;

    if (!watched()) {
        return (int)syscall(SYS_openat, at, path, flags, mode);
    }
    pthread_mutex_lock(&lock);
    if (hit_path(at, path)) {
        return fail_with(failure(flags & O_CREAT));
    }
    if (flags & O_CREAT) {
        folder = folder_of(at, path, &name);
        made = folder != REC_NONE && fstatat(at, path, &stat, AT_SYMLINK_NOFOLLOW) != 0;
    }
    fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && made) {
        need(fstat(fd, &stat) == 0);
        record_new(folder, name, &stat);
    } else if (fd >= 0 && (flags & O_TRUNC) && file_of_fd(fd) != REC_NONE) {
        append((struct rec_op){.kind = REC_TRUNCATE, .file = file_of_fd(fd)}, NULL);
    }
    return done(fd);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & O_CREAT ? (mode_t)va_arg(arguments, int) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(at, path, flags, mode);
}

/* The last six characters of path become a name that is not taken. */
static void random_name(char *end)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    uint8_t bytes[6];

    need(syscall(SYS_getrandom, bytes, sizeof bytes, 0) == sizeof bytes);
    for (int i = 0; i < 6; i++) {
        end[i] = letters[bytes[i] % 26];
    }
}

int mkostemp(char *path, int flags)
{
    int fd;

    do {
        random_name(path + strlen(path) - 6);
        fd = open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

static int make_folder(int at, const char *path, mode_t mode)
{
    const char *name = NULL;
    uint32_t folder;
    struct stat stat;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_mkdirat, at, path, mode);
    }
    pthread_mutex_lock(&lock);
    if (hit_path(at, path)) {
        return fail_with(failure(true));
    }
    folder = folder_of(at, path, &name);
    result = (int)syscall(SYS_mkdirat, at, path, mode);
    if (result == 0 && folder != REC_NONE) {
        need(fstatat(at, path, &stat, AT_SYMLINK_NOFOLLOW) == 0);
        record_new(folder, name, &stat);
    }
    return done(result);
}

int mkdir(const char *path, mode_t mode)
{
    return make_folder(AT_FDCWD, path, mode);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    return make_folder(at, path, mode);
}

char *mkdtemp(char *path)
{
    int result;

    do {
        random_name(path + strlen(path) - 6);
        result = make_folder(AT_FDCWD, path, 0700);
    } while (result != 0 && errno == EEXIST);
    return result == 0 ? path : NULL;
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t offset, bool here)
{
    ssize_t result;
    uint32_t file;
    int error;

    if (!watched()) {
        return here ? syscall(SYS_write, fd, bytes, len) : syscall(SYS_pwrite64, fd, bytes, len, offset);
    }
    pthread_mutex_lock(&lock);
    file = file_of_fd(fd);
    result = share(fd, len, true, &error);
    if (result < 0) {
        return fail_with(error);
    }
    if (file != REC_NONE && here) {
        need(!(syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND));
        offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    }
    result = here ? syscall(SYS_write, fd, bytes, (size_t)result)
                  : syscall(SYS_pwrite64, fd, bytes, (size_t)result, offset);
    if (result > 0 && file != REC_NONE) {
        append(
            (struct rec_op){
                .kind = REC_WRITE, .file = file, .offset = (uint64_t)offset, .len = (size_t)result},
            bytes);
    }
    return error ? fail_with(error) : done(result);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    return write_at(fd, bytes, len, 0, true);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return write_at(fd, bytes, len, offset, false);
}

static ssize_t read_at(int fd, void *bytes, size_t len, off_t offset, bool here)
{
    ssize_t result = (ssize_t)len;
    int error = 0;

    if (fault.armed) {
        pthread_mutex_lock(&lock);
        result = share(fd, len, false, &error);
        pthread_mutex_unlock(&lock);
    }
    if (result < 0) {
        errno = error;
        return -1;
    }
    return here ? syscall(SYS_read, fd, bytes, (size_t)result)
                : syscall(SYS_pread64, fd, bytes, (size_t)result, offset);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    return read_at(fd, bytes, len, 0, true);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t offset)
{
    return read_at(fd, bytes, len, offset, false);
}

int ftruncate(int fd, off_t size)
{
    uint32_t file;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_ftruncate, fd, size);
    }
    pthread_mutex_lock(&lock);
    if (hit_fd(fd)) {
        return fail_with(failure(true));
    }
    file = file_of_fd(fd);
    result = (int)syscall(SYS_ftruncate, fd, size);
    if (result == 0 && file != REC_NONE) {
        append((struct rec_op){.kind = REC_TRUNCATE, .file = file, .offset = (uint64_t)size}, NULL);
    }
    return done(result);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    uint32_t file;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_fallocate, fd, mode, offset, len);
    }
    pthread_mutex_lock(&lock);
    if (hit_fd(fd)) {
        return fail_with(failure(true));
    }
    file = file_of_fd(fd);
    result = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (result == 0 && file != REC_NONE) {
        need(mode == FALLOC_FL_KEEP_SIZE || mode == (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE));
        if (mode & FALLOC_FL_PUNCH_HOLE) {
            append(
                (struct rec_op){
                    .kind = REC_PUNCH, .file = file, .offset = (uint64_t)offset, .len = (size_t)len},
                NULL);
        }
    }
    return done(result);
}

/* Nothing is made durable: the recorder alone knows what would be. */
static int sync_file(int fd)
{
    uint32_t file;

    if (!watched()) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    file = file_of_fd(fd);
    if (hit_any(fd)) {
        /* The kernel forgets what it could not write: a later sync does not try again. */
        for (size_t i = rec.op_count; file != REC_NONE && i-- > 0;) {
            if (rec.ops[i].file == file && rec.ops[i].kind == REC_SYNC) {
                break;
            }
            rec.ops[i].lost |= rec.ops[i].file == file && rec.ops[i].kind == REC_WRITE;
        }
        return fail_with(EIO);
    }
    if (file != REC_NONE) {
        append((struct rec_op){.kind = REC_SYNC, .file = file}, NULL);
    }
    return done(0);
}

int fsync(int fd)
{
    return sync_file(fd);
}

int fdatasync(int fd)
{
    return sync_file(fd);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    const char *from_name = NULL, *to_name = NULL;
    uint32_t from_folder, to_folder;
    struct stat before, replaced;
    bool replaces;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    }
    pthread_mutex_lock(&lock);
    if (hit_path(from_at, from)) {
        return fail_with(failure(true));
    }
    from_folder = folder_of(from_at, from, &from_name);
    to_folder = folder_of(to_at, to, &to_name);
    replaces = fstatat(to_at, to, &replaced, AT_SYMLINK_NOFOLLOW) == 0;
    result = fstatat(from_at, from, &before, AT_SYMLINK_NOFOLLOW);
    result = result ? result : (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (result == 0 && from_folder != REC_NONE && !(replaces && replaced.st_ino == before.st_ino)) {
        need(to_folder != REC_NONE);
        append((struct rec_op){.kind = flags & RENAME_EXCHANGE ? REC_EXCHANGE : REC_RENAME,
                               .file = flags & RENAME_EXCHANGE ? REC_NONE : file_of(&before),
                               .key = rec_key(from_folder, from_name),
                               .key2 = rec_key(to_folder, to_name)},
               NULL);
    }
    return done(result);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    return renameat2(from_at, from, to_at, to, 0);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    const char *name = NULL;
    uint32_t folder;
    struct stat stat;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    }
    pthread_mutex_lock(&lock);
    if (hit_path(to_at, to)) {
        return fail_with(failure(true));
    }
    folder = folder_of(to_at, to, &name);
    result = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (result == 0 && folder != REC_NONE) {
        need(fstatat(to_at, to, &stat, AT_SYMLINK_NOFOLLOW) == 0 && file_of(&stat) != REC_NONE);
        append(
            (struct rec_op){
                .kind = REC_NAME, .file = file_of(&stat), .key = rec_key(folder, name), .key2 = REC_NONE},
            NULL);
    }
    return done(result);
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags)
{
    const char *name = NULL;
    uint32_t folder;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_unlinkat, at, path, flags);
    }
    pthread_mutex_lock(&lock);
    if (hit_path(at, path)) {
        return fail_with(EIO);
    }
    folder = folder_of(at, path, &name);
    result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (result == 0 && folder != REC_NONE) {
        append(
            (struct rec_op){
                .kind = REC_UNNAME, .file = REC_NONE, .key = rec_key(folder, name), .key2 = REC_NONE},
            NULL);
    }
    return done(result);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int result = unlinkat(AT_FDCWD, path, 0);

    return result != 0 && (errno == EISDIR || errno == EPERM) ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR)
                                                              : result;
}

/* Under the names that libraries with large files use. The declarations of glibc's headers are not wanted
 * here. */
#define ALSO(name, as) extern __typeof__(name) as __attribute__((alias(#name)))
ALSO(open, open64);
ALSO(openat, openat64);
ALSO(mkostemp, mkostemp64);
ALSO(pwrite, pwrite64);
ALSO(pread, pread64);
ALSO(ftruncate, ftruncate64);
ALSO(fallocate, fallocate64);
