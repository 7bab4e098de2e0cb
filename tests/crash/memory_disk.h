/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory below the sealed VFS: it records every write, truncation and sync, and rebuilds what a
 * crash could have left. SQLite's VFS "memory-disk" reads and writes the one global disk. For tests of one
 * thread.
 *
 * Two kinds of crash. A killed process leaves every write that it made. A power cut leaves, of what was not
 * synced, any subset of the writes, each of them any subset of its 512-byte sectors.
 */
#ifndef LETHE_TESTS_CRASH_MEMORY_DISK_H
#define LETHE_TESTS_CRASH_MEMORY_DISK_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DISK_FILES 2 /* 0 the database, 1 its log */
#define DISK_SECTOR 512

struct disk_image {
    uint8_t *data;
    size_t size;
    size_t room;
    bool exists;
};

enum disk_kind { DISK_WRITE, DISK_TRUNCATE, DISK_SYNC, DISK_CREATE };

struct disk_op {
    enum disk_kind kind;
    int file;
    size_t offset; /* of a truncation: the size */
    size_t len;
    uint8_t *data;
};

static struct {
    struct disk_image files[DISK_FILES];
    struct disk_op *ops;
    size_t count;
    size_t room;
    bool recording;
} disk;

static inline uint32_t disk_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static inline void disk_need(bool condition)
{
    if (!condition) {
        abort();
    }
}

static inline void image_resize(struct disk_image *image, size_t size)
{
    if (size > image->room) {
        image->room = size * 2;
        image->data = realloc(image->data, image->room);
        disk_need(image->data != NULL);
    }
    if (size > image->size) {
        memset(image->data + image->size, 0, size - image->size);
    }
    image->size = size;
}

static inline void image_copy(struct disk_image *to, const struct disk_image *from)
{
    to->size = 0;
    to->exists = from->exists;
    image_resize(to, from->size);
    if (from->size > 0) {
        memcpy(to->data, from->data, from->size);
    }
}

static inline void image_write(struct disk_image *image, size_t offset, const uint8_t *bytes, size_t len)
{
    if (offset + len > image->size) {
        image_resize(image, offset + len);
    }
    memcpy(image->data + offset, bytes, len);
}

static inline void image_apply(struct disk_image *image, const struct disk_op *op)
{
    if (op->kind == DISK_WRITE) {
        image_write(image, op->offset, op->data, op->len);
    } else if (op->kind == DISK_TRUNCATE) {
        image_resize(image, op->offset);
    } else if (op->kind == DISK_CREATE) {
        image->exists = true;
    }
}

/* As image_apply, but some sectors stay as they were: all from the first random cut on (ordered), or any of
 * them. */
static inline void image_apply_torn(struct disk_image *image, const struct disk_op *op, bool ordered,
                                    uint64_t *seed)
{
    size_t at = op->offset, end = op->offset + op->len, cut;

    if (op->kind != DISK_WRITE) {
        image_apply(image, op);
        return;
    }
    cut = op->offset + disk_random(seed) % (op->len + 1);
    while (at < end) {
        size_t next = (at / DISK_SECTOR + 1) * DISK_SECTOR;

        next = next < end ? next : end;
        if (ordered ? next <= cut : disk_random(seed) % 2) {
            image_write(image, at, op->data + (at - op->offset), next - at);
        }
        at = next;
    }
}

static inline void disk_forget_ops(void)
{
    for (size_t i = 0; i < disk.count; i++) {
        free(disk.ops[i].data);
    }
    free(disk.ops);
    disk.ops = NULL;
    disk.count = disk.room = 0;
}

static inline void disk_do(struct disk_op op, const void *bytes)
{
    if (bytes) {
        op.data = malloc(op.len ? op.len : 1);
        disk_need(op.data != NULL);
        memcpy(op.data, bytes, op.len);
    }
    image_apply(&disk.files[op.file], &op);
    if (!disk.recording) {
        free(op.data);
        return;
    }
    if (disk.count == disk.room) {
        disk.room = disk.room ? disk.room * 2 : 64;
        disk.ops = realloc(disk.ops, disk.room * sizeof *disk.ops);
        disk_need(disk.ops != NULL);
    }
    disk.ops[disk.count++] = op;
}

/* --- SQLite's side --- */

struct disk_file {
    sqlite3_file base;
    int file;
};

static inline int disk_of(sqlite3_file *base)
{
    return ((struct disk_file *)base)->file;
}

static inline int disk_close(sqlite3_file *base)
{
    (void)base;
    return SQLITE_OK;
}

static inline int disk_read(sqlite3_file *base, void *out, int len, sqlite3_int64 offset)
{
    const struct disk_image *image = &disk.files[disk_of(base)];
    size_t at = (size_t)offset, want = (size_t)len, have = at < image->size ? image->size - at : 0;

    have = have < want ? have : want;
    memset(out, 0, want);
    if (have > 0) {
        memcpy(out, image->data + at, have);
    }
    return have < want ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static inline int disk_write(sqlite3_file *base, const void *bytes, int len, sqlite3_int64 offset)
{
    disk_do(
        (struct disk_op){
            .kind = DISK_WRITE, .file = disk_of(base), .offset = (size_t)offset, .len = (size_t)len},
        bytes);
    return SQLITE_OK;
}

static inline int disk_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    disk_do((struct disk_op){.kind = DISK_TRUNCATE, .file = disk_of(base), .offset = (size_t)size}, NULL);
    return SQLITE_OK;
}

static inline int disk_sync(sqlite3_file *base, int flags)
{
    (void)flags;
    disk_do((struct disk_op){.kind = DISK_SYNC, .file = disk_of(base)}, NULL);
    return SQLITE_OK;
}

static inline int disk_size(sqlite3_file *base, sqlite3_int64 *out)
{
    *out = (sqlite3_int64)disk.files[disk_of(base)].size;
    return SQLITE_OK;
}

static inline int disk_lock(sqlite3_file *base, int level)
{
    (void)base;
    (void)level;
    return SQLITE_OK;
}

static inline int disk_check_lock(sqlite3_file *base, int *out)
{
    (void)base;
    *out = 0;
    return SQLITE_OK;
}

static inline int disk_control(sqlite3_file *base, int operation, void *argument)
{
    (void)base;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static inline int disk_sector(sqlite3_file *base)
{
    (void)base;
    return DISK_SECTOR;
}

static inline int disk_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods disk_methods = {
    .iVersion = 1,
    .xClose = disk_close,
    .xRead = disk_read,
    .xWrite = disk_write,
    .xTruncate = disk_truncate,
    .xSync = disk_sync,
    .xFileSize = disk_size,
    .xLock = disk_lock,
    .xUnlock = disk_lock,
    .xCheckReservedLock = disk_check_lock,
    .xFileControl = disk_control,
    .xSectorSize = disk_sector,
    .xDeviceCharacteristics = disk_characteristics,
};

static inline int disk_file_of(const char *path)
{
    size_t len = strlen(path);

    return len > 4 && strcmp(path + len - 4, "-wal") == 0;
}

static inline int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *out, int flags, int *out_flags)
{
    struct disk_file *file = (struct disk_file *)out;

    (void)vfs;
    file->file = disk_file_of(path);
    file->base.pMethods = &disk_methods;
    if (!disk.files[file->file].exists) {
        disk_do((struct disk_op){.kind = DISK_CREATE, .file = file->file}, NULL);
    }
    if (out_flags) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

static inline int disk_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    (void)vfs;
    (void)path;
    (void)sync_directory;
    abort(); /* the sealed VFS never deletes */
}

static inline int disk_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    (void)flags;
    *out = disk.files[disk_file_of(path)].exists;
    return SQLITE_OK;
}

static inline int disk_full_pathname(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    sqlite3_snprintf(size, out, "%s", path);
    return SQLITE_OK;
}

static inline int disk_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    static uint64_t state = 7;

    (void)vfs;
    for (int i = 0; i < size; i++) {
        out[i] = (char)disk_random(&state);
    }
    return size;
}

static inline int disk_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static inline int disk_time(sqlite3_vfs *vfs, double *out)
{
    (void)vfs;
    *out = 2460000.5;
    return SQLITE_OK;
}

static inline int disk_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    (void)size;
    (void)out;
    return 0;
}

static inline void disk_register(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(struct disk_file),
        .mxPathname = 256,
        .zName = "memory-disk",
        .xOpen = disk_open,
        .xDelete = disk_delete,
        .xAccess = disk_access,
        .xFullPathname = disk_full_pathname,
        .xRandomness = disk_randomness,
        .xSleep = disk_sleep,
        .xCurrentTime = disk_time,
        .xGetLastError = disk_last_error,
    };

    sqlite3_vfs_register(&vfs, 0);
}

static inline void disk_release(void)
{
    disk_forget_ops();
    for (int i = 0; i < DISK_FILES; i++) {
        free(disk.files[i].data);
        disk.files[i] = (struct disk_image){0};
    }
}

#endif
