/* SPDX-License-Identifier: MIT */
/*
 * The adapter between SQLite and the sealed files: the VFS object, its two kinds of file, and the database's
 * pages. Methods that only pass a call on to the VFS below stand together at the end of each half.
 */
#include "fs/device/vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/seal/primitives.h"
#include "fs/device/vfs_log.h"
#include "lethe/bytes.h"
#include "lethe/log.h"

#define PAGE LETHE_VFS_PAGE_BYTES
#define PAGE_PLAIN (PAGE - LETHE_VFS_RESERVED)
/* SQLite locks bytes from here on and so never uses the page that holds them. */
#define PENDING_BYTE 0x40000000

_Static_assert(LETHE_VFS_RESERVED == LETHE_SEAL_OVERHEAD, "a nonce and a tag fill the reserved bytes");

struct lethe_vfs {
    sqlite3_vfs base; /* first: SQLite hands it back */
    sqlite3_vfs *under;
    char name[32];
    struct lethe_secret *page_key;
    struct lethe_secret *log_key;
    struct lethe_mark mark;
    struct lethe_log *log; /* of the open log, or NULL */
    bool page1_torn;       /* when the database was opened */
    bool damaged;
};

struct sealed_file {
    sqlite3_file base; /* first: SQLite hands it back */
    struct lethe_vfs *vfs;
    sqlite3_file *under; /* its memory follows this struct */
    bool is_log;
    struct lethe_log log;
    uint8_t *page;          /* one page in clear */
    uint8_t *sealed;        /* one page as it lies in the file */
    uint32_t pages_claimed; /* the size of the database that page 1 gave on opening; 0 when it did not open */
};

#define FILE_BYTES ((sizeof(struct sealed_file) + 15) / 16 * 16)

/* --- pages --- */

static int fail_damaged(struct lethe_vfs *vfs)
{
    if (!vfs->damaged) {
        vfs->damaged = true;
        lethe_log(LETHE_LOG_ERROR,
                  "the metadata database is damaged or the key is wrong: a seal does not open");
    }
    return SQLITE_IOERR_DATA;
}

static int write_page(struct sealed_file *file, const uint8_t *plain, sqlite3_int64 place)
{
    const struct lethe_random *random = lethe_random_system();
    uint8_t aad[8];

    lethe_set_u64(aad, (uint64_t)(place / PAGE));
    random->fill(random->context, file->sealed, LETHE_NONCE_BYTES);
    lethe_aead_seal(lethe_secret_bytes(file->vfs->page_key), file->sealed, aad, sizeof aad, plain, PAGE_PLAIN,
                    file->sealed + LETHE_NONCE_BYTES);
    return file->under->pMethods->xWrite(file->under, file->sealed, PAGE, place);
}

/* Fills file->page, the reserved bytes with zeros. SQLITE_IOERR_SHORT_READ past the end of the file. */
static int read_page(struct sealed_file *file, sqlite3_int64 place, bool *opened)
{
    uint8_t aad[8];
    int result;

    *opened = false;
    result = file->under->pMethods->xRead(file->under, file->sealed, PAGE, place);
    if (result != SQLITE_OK) {
        return result;
    }
    lethe_set_u64(aad, (uint64_t)(place / PAGE));
    *opened =
        lethe_aead_open(lethe_secret_bytes(file->vfs->page_key), file->sealed, aad, sizeof aad,
                        file->sealed + LETHE_NONCE_BYTES, PAGE - LETHE_NONCE_BYTES, file->page) == LETHE_OK;
    memset(file->page + PAGE_PLAIN, 0, LETHE_VFS_RESERVED);
    return SQLITE_OK;
}

/* What SQLite peeks at before it opens the log: page size, format 2 (with a log), reserved bytes, payload
 * fractions. */
static void make_header(uint8_t *page)
{
    memset(page, 0, PAGE);
    memcpy(page, "SQLite format 3", 16);
    page[16] = PAGE >> 8;
    page[17] = PAGE & 255;
    page[18] = page[19] = 2;
    page[20] = LETHE_VFS_RESERVED;
    page[21] = 64;
    page[22] = page[23] = 32;
}

static int database_read_part(struct sealed_file *file, uint8_t *out, int len, sqlite3_int64 offset)
{
    sqlite3_int64 place = offset / PAGE * PAGE;
    int at = (int)(offset - place);
    bool opened;
    int result = read_page(file, place, &opened);

    if (result == SQLITE_IOERR_SHORT_READ) {
        /* Pages that page 1 counted when the database was opened are in the file or, never asked for here,
         * the log. */
        if (place > 0 && place / PAGE < file->pages_claimed) {
            return fail_damaged(file->vfs);
        }
        memset(out, 0, (size_t)len);
        return result;
    }
    if (result != SQLITE_OK) {
        return result;
    }
    if (!opened) {
        if (place > 0 || len == PAGE) {
            return fail_damaged(file->vfs);
        }
        make_header(file->page);
    }
    memcpy(out, file->page + at, (size_t)len);
    return SQLITE_OK;
}

static int database_read(struct sealed_file *file, uint8_t *out, int len, sqlite3_int64 offset)
{
    int outcome = SQLITE_OK;

    while (len > 0) {
        int part = PAGE - (int)(offset % PAGE), result;

        part = len < part ? len : part;
        result = database_read_part(file, out, part, offset);
        if (result == SQLITE_IOERR_SHORT_READ) {
            outcome = result;
        } else if (result != SQLITE_OK) {
            return result;
        }
        out += part;
        offset += part;
        len -= part;
    }
    return outcome;
}

static int database_write(struct sealed_file *file, const uint8_t *bytes, int len, sqlite3_int64 offset)
{
    if (len != PAGE || offset % PAGE != 0) {
        return SQLITE_IOERR_WRITE;
    }
    if (offset == PENDING_BYTE + PAGE) {
        /* SQLite leaves a hole here; nothing in the file may be anything but noise. */
        sqlite3_int64 size;
        int result = file->under->pMethods->xFileSize(file->under, &size);

        if (result == SQLITE_OK && size <= PENDING_BYTE) {
            memset(file->page, 0, PAGE);
            result = write_page(file, file->page, PENDING_BYTE);
        }
        if (result != SQLITE_OK) {
            return result;
        }
    }
    return write_page(file, bytes, offset);
}

/* Looks at page 1 once, before SQLite does. */
static int database_inspect(struct sealed_file *file)
{
    bool opened;
    int result = read_page(file, 0, &opened);

    if (result == SQLITE_IOERR_SHORT_READ) {
        return SQLITE_OK; /* empty: it is being made */
    }
    if (result == SQLITE_OK && opened) {
        file->pages_claimed = lethe_get_u32be(file->page + 28);
    }
    file->vfs->page1_torn = result == SQLITE_OK && !opened;
    return result;
}

/* --- files --- */

static struct sealed_file *as_file(sqlite3_file *base)
{
    return (struct sealed_file *)base;
}

static int file_close(sqlite3_file *base)
{
    struct sealed_file *file = as_file(base);
    int result = file->under->pMethods->xClose(file->under);

    if (file->is_log) {
        if (file->vfs->log == &file->log) {
            file->vfs->log = NULL;
        }
        lethe_log_release(&file->log);
    }
    if (file->page) {
        lethe_wipe(file->page, PAGE);
    }
    free(file->page);
    free(file->sealed);
    return result;
}

static int file_read(sqlite3_file *base, void *out, int len, sqlite3_int64 offset)
{
    struct sealed_file *file = as_file(base);
    int result;

    if (!file->is_log) {
        return database_read(file, out, len, offset);
    }
    result = lethe_log_read(&file->log, out, len, offset);
    /* Page 1 is torn only by a checkpoint, and that has a log whose header was durable before. */
    if (file->log.damaged || (result == SQLITE_OK && file->vfs->page1_torn && !file->log.salt_known)) {
        return fail_damaged(file->vfs);
    }
    return result;
}

static int file_write(sqlite3_file *base, const void *bytes, int len, sqlite3_int64 offset)
{
    struct sealed_file *file = as_file(base);

    return file->is_log ? lethe_log_write(&file->log, bytes, len, offset)
                        : database_write(file, bytes, len, offset);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct sealed_file *file = as_file(base);

    return file->is_log ? lethe_log_truncate(&file->log, size)
                        : file->under->pMethods->xTruncate(file->under, size);
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct sealed_file *file = as_file(base);

    return file->is_log ? lethe_log_sync(&file->log, flags)
                        : file->under->pMethods->xSync(file->under, flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct sealed_file *file = as_file(base);
    int result;

    if (file->is_log) {
        return lethe_log_size(&file->log, size);
    }
    result = file->under->pMethods->xFileSize(file->under, size);
    if (result == SQLITE_OK) {
        *size -= *size % PAGE;
    }
    return result;
}

static int file_control(sqlite3_file *base, int operation, void *argument)
{
    struct sealed_file *file = as_file(base);

    switch (operation) {
    case SQLITE_FCNTL_SIZE_HINT: /* would grow the file with zeros */
    case SQLITE_FCNTL_CHUNK_SIZE:
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE:
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
        return SQLITE_NOTFOUND;
    default:
        return file->under->pMethods->xFileControl(file->under, operation, argument);
    }
}

static int file_lock(sqlite3_file *base, int level)
{
    return as_file(base)->under->pMethods->xLock(as_file(base)->under, level);
}

static int file_unlock(sqlite3_file *base, int level)
{
    return as_file(base)->under->pMethods->xUnlock(as_file(base)->under, level);
}

static int file_check_reserved_lock(sqlite3_file *base, int *out)
{
    return as_file(base)->under->pMethods->xCheckReservedLock(as_file(base)->under, out);
}

static int file_sector_size(sqlite3_file *base)
{
    return as_file(base)->under->pMethods->xSectorSize(as_file(base)->under);
}

/* Of what the file below promises, only this one holds for sealed records too: they share no byte. */
static int file_characteristics(sqlite3_file *base)
{
    return as_file(base)->under->pMethods->xDeviceCharacteristics(as_file(base)->under) &
           SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* Version 1: no shared memory, no memory mapping. */
static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

/* --- the VFS --- */

static struct lethe_vfs *as_vfs(sqlite3_vfs *base)
{
    return (struct lethe_vfs *)base;
}

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags, int *out_flags)
{
    struct lethe_vfs *vfs = as_vfs(base);
    struct sealed_file *file = as_file(out);
    int result;

    memset(file, 0, sizeof *file);
    if (!path || !(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))) {
        return SQLITE_CANTOPEN;
    }
    file->vfs = vfs;
    file->under = (sqlite3_file *)((char *)out + FILE_BYTES);
    file->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    result = vfs->under->xOpen(vfs->under, path, file->under, flags, out_flags);
    if (result != SQLITE_OK) {
        return result; /* pMethods is NULL: SQLite will not close it */
    }
    file->base.pMethods = &file_methods;
    if (file->is_log) {
        result = lethe_log_init(&file->log, lethe_secret_bytes(vfs->log_key), file->under,
                                &vfs->mark);
        vfs->log = result == SQLITE_OK ? &file->log : NULL;
        vfs->damaged |= file->log.damaged;
    } else {
        file->page = malloc(PAGE);
        file->sealed = malloc(PAGE);
        result = file->page && file->sealed ? database_inspect(file) : SQLITE_IOERR_NOMEM;
    }
    if (result != SQLITE_OK) {
        (void)file_close(out);
        file->base.pMethods = NULL;
    }
    return result;
}

static bool ends_with(const char *path, const char *suffix)
{
    size_t len = strlen(path), suffix_len = strlen(suffix);

    return len >= suffix_len && strcmp(path + len - suffix_len, suffix) == 0;
}

/* SQLite has nothing to delete: the log's end is decided in fs/device/db.c, and there is no journal. */
static int vfs_delete(sqlite3_vfs *base, const char *path, int sync_directory)
{
    (void)base;
    (void)sync_directory;
    return ends_with(path, "-wal") ? SQLITE_IOERR_DELETE : SQLITE_IOERR_DELETE_NOENT;
}

static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *out)
{
    if (ends_with(path, "-journal")) {
        *out = 0;
        return SQLITE_OK;
    }
    return as_vfs(base)->under->xAccess(as_vfs(base)->under, path, flags, out);
}

static int vfs_full_pathname(sqlite3_vfs *base, const char *path, int size, char *out)
{
    return as_vfs(base)->under->xFullPathname(as_vfs(base)->under, path, size, out);
}

static int vfs_randomness(sqlite3_vfs *base, int size, char *out)
{
    return as_vfs(base)->under->xRandomness(as_vfs(base)->under, size, out);
}

static int vfs_sleep(sqlite3_vfs *base, int microseconds)
{
    return as_vfs(base)->under->xSleep(as_vfs(base)->under, microseconds);
}

static int vfs_current_time(sqlite3_vfs *base, double *out)
{
    return as_vfs(base)->under->xCurrentTime(as_vfs(base)->under, out);
}

static int vfs_get_last_error(sqlite3_vfs *base, int size, char *out)
{
    return as_vfs(base)->under->xGetLastError(as_vfs(base)->under, size, out);
}

enum lethe_err lethe_vfs_new(const struct lethe_secret *key, const char *under, struct lethe_vfs **out)
{
    struct lethe_vfs *vfs;
    enum lethe_err err = LETHE_ERR_NOMEM;

    *out = NULL;
    vfs = calloc(1, sizeof *vfs);
    if (!vfs) {
        return LETHE_ERR_NOMEM;
    }
    lethe_mark_init(&vfs->mark);
    vfs->under = sqlite3_vfs_find(under);
    if (!vfs->under) {
        err = LETHE_ERR_ARG;
        goto fail;
    }
    err = lethe_secret_derive(key, "lethefs database page", NULL, 0, &vfs->page_key);
    if (!err) {
        err = lethe_secret_derive(key, "lethefs database log", NULL, 0, &vfs->log_key);
    }
    if (err) {
        goto fail;
    }
    /* The address makes the name unique among those that are registered. */
    snprintf(vfs->name, sizeof vfs->name, "lethe-%p", (void *)vfs);
    vfs->base = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)FILE_BYTES + vfs->under->szOsFile,
        .mxPathname = vfs->under->mxPathname,
        .zName = vfs->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time,
        .xGetLastError = vfs_get_last_error,
    };
    if (sqlite3_vfs_register(&vfs->base, 0) != SQLITE_OK) {
        err = LETHE_ERR_NOMEM;
        goto fail;
    }
    *out = vfs;
    return LETHE_OK;
fail:
    lethe_secret_free(vfs->page_key);
    lethe_secret_free(vfs->log_key);
    free(vfs);
    return err;
}

enum lethe_err lethe_vfs_mark(struct lethe_vfs *vfs, const char *path)
{
    return lethe_mark_open(&vfs->mark, path, lethe_secret_bytes(vfs->log_key));
}

void lethe_vfs_free(struct lethe_vfs *vfs)
{
    if (!vfs) {
        return;
    }
    lethe_mark_close(&vfs->mark);
    sqlite3_vfs_unregister(&vfs->base);
    lethe_secret_free(vfs->page_key);
    lethe_secret_free(vfs->log_key);
    free(vfs);
}

const char *lethe_vfs_name(const struct lethe_vfs *vfs)
{
    return vfs->name;
}

bool lethe_vfs_damaged(const struct lethe_vfs *vfs)
{
    return vfs->damaged;
}

uint64_t lethe_vfs_log_bytes(const struct lethe_vfs *vfs)
{
    return vfs->log ? lethe_log_bytes(vfs->log) : 0;
}
