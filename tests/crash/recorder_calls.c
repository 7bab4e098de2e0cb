/* SPDX-License-Identifier: MIT */
/* The C library's calls on files, in the place of its own. */
#include "tests/crash/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/recorder_private.h"

/* Made outside of recording and faults too: the two flags are read without the lock, and set between runs. */
static bool watched(void)
{
    return rec.recording || rec_fault_armed();
}

static int fail_with(int error)
{
    pthread_mutex_unlock(&rec_lock);
    errno = error;
    return -1;
}

static int done(long result)
{
    int error = errno;

    pthread_mutex_unlock(&rec_lock);
    errno = error;
    return (int)result;
}

static void record_new(uint32_t folder, const char *name, const struct stat *stat)
{
    uint32_t file = rec_new_file(S_ISDIR(stat->st_mode));

    rec_bind_file(file, stat);
    rec_append((struct rec_op){.kind = REC_NAME, .file = file, .key = rec_key(folder, name), .key2 = REC_NONE},
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_path(at, path)) {
        return fail_with(rec_failure(flags & O_CREAT));
    }
    if (flags & O_CREAT) {
        folder = rec_folder_of(at, path, &name);
        made = folder != REC_NONE && fstatat(at, path, &stat, AT_SYMLINK_NOFOLLOW) != 0;
    }
    fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && made) {
        rec_need(fstat(fd, &stat) == 0);
        record_new(folder, name, &stat);
    } else if (fd >= 0 && (flags & O_TRUNC) && rec_file_of_fd(fd) != REC_NONE) {
        rec_append((struct rec_op){.kind = REC_TRUNCATE, .file = rec_file_of_fd(fd)}, NULL);
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

    rec_need(syscall(SYS_getrandom, bytes, sizeof bytes, 0) == sizeof bytes);
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_path(at, path)) {
        return fail_with(rec_failure(true));
    }
    folder = rec_folder_of(at, path, &name);
    result = (int)syscall(SYS_mkdirat, at, path, mode);
    if (result == 0 && folder != REC_NONE) {
        rec_need(fstatat(at, path, &stat, AT_SYMLINK_NOFOLLOW) == 0);
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
    pthread_mutex_lock(&rec_lock);
    file = rec_file_of_fd(fd);
    result = rec_share(fd, len, true, &error);
    if (result < 0) {
        return fail_with(error);
    }
    if (file != REC_NONE && here) {
        rec_need(!(syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND));
        offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    }
    result = here ? syscall(SYS_write, fd, bytes, (size_t)result)
                  : syscall(SYS_pwrite64, fd, bytes, (size_t)result, offset);
    if (result > 0 && file != REC_NONE) {
        rec_append(
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

    if (rec_fault_armed()) {
        pthread_mutex_lock(&rec_lock);
        result = rec_share(fd, len, false, &error);
        pthread_mutex_unlock(&rec_lock);
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

/* Of one part, which is all that is asked for. */
ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    ssize_t result = (ssize_t)parts[0].iov_len;
    int error = 0;

    (void)count;
    if (rec_fault_armed()) {
        pthread_mutex_lock(&rec_lock);
        result = rec_share(fd, parts[0].iov_len, false, &error);
        pthread_mutex_unlock(&rec_lock);
    }
    if (result < 0) {
        errno = error;
        return -1;
    }
    return syscall(SYS_preadv2, fd, &(struct iovec){parts[0].iov_base, (size_t)result}, 1ul, (unsigned long)offset, 0ul,
                   flags);
}

int ftruncate(int fd, off_t size)
{
    uint32_t file;
    int result;

    if (!watched()) {
        return (int)syscall(SYS_ftruncate, fd, size);
    }
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_fd(fd)) {
        return fail_with(rec_failure(true));
    }
    file = rec_file_of_fd(fd);
    result = (int)syscall(SYS_ftruncate, fd, size);
    if (result == 0 && file != REC_NONE) {
        rec_append((struct rec_op){.kind = REC_TRUNCATE, .file = file, .offset = (uint64_t)size}, NULL);
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_fd(fd)) {
        return fail_with(rec_failure(true));
    }
    file = rec_file_of_fd(fd);
    result = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (result == 0 && file != REC_NONE) {
        rec_need(mode == FALLOC_FL_KEEP_SIZE || mode == (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE));
        if (mode & FALLOC_FL_PUNCH_HOLE) {
            rec_append(
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
    pthread_mutex_lock(&rec_lock);
    file = rec_file_of_fd(fd);
    if (rec_hit_sync(fd)) {
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
        rec_append((struct rec_op){.kind = REC_SYNC, .file = file}, NULL);
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_path(from_at, from)) {
        return fail_with(rec_failure(true));
    }
    from_folder = rec_folder_of(from_at, from, &from_name);
    to_folder = rec_folder_of(to_at, to, &to_name);
    replaces = fstatat(to_at, to, &replaced, AT_SYMLINK_NOFOLLOW) == 0;
    result = fstatat(from_at, from, &before, AT_SYMLINK_NOFOLLOW);
    result = result ? result : (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (result == 0 && from_folder != REC_NONE && !(replaces && replaced.st_ino == before.st_ino)) {
        rec_need(to_folder != REC_NONE);
        rec_append((struct rec_op){.kind = flags & RENAME_EXCHANGE ? REC_EXCHANGE : REC_RENAME,
                               .file = flags & RENAME_EXCHANGE ? REC_NONE : rec_file_of(&before),
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_path(to_at, to)) {
        return fail_with(rec_failure(true));
    }
    folder = rec_folder_of(to_at, to, &name);
    result = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (result == 0 && folder != REC_NONE) {
        rec_need(fstatat(to_at, to, &stat, AT_SYMLINK_NOFOLLOW) == 0 && rec_file_of(&stat) != REC_NONE);
        rec_append(
            (struct rec_op){
                .kind = REC_NAME, .file = rec_file_of(&stat), .key = rec_key(folder, name), .key2 = REC_NONE},
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
    pthread_mutex_lock(&rec_lock);
    if (rec_hit_path(at, path)) {
        return fail_with(EIO);
    }
    folder = rec_folder_of(at, path, &name);
    result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (result == 0 && folder != REC_NONE) {
        rec_append(
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
ALSO(preadv2, preadv64v2);
ALSO(ftruncate, ftruncate64);
ALSO(fallocate, fallocate64);
