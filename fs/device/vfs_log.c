/* SPDX-License-Identifier: MIT */
#include "fs/device/vfs_log.h"

#include <stdlib.h>
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/bytes.h"
#include "lethe/log.h"

/* As SQLite counts. */
#define HEADER 32
#define FRAME (24 + LETHE_VFS_PAGE_BYTES)
/* In the file. */
#define HEADER_PLAIN (HEADER + LETHE_LOG_SALT)
#define HEADER_RECORD (HEADER_PLAIN + LETHE_SEAL_OVERHEAD)
#define FRAME_PLAIN (FRAME + 8)
#define FRAME_RECORD (FRAME_PLAIN + LETHE_SEAL_OVERHEAD)

#define AAD_BYTES (LETHE_LOG_SALT + 8)

void lethe_log_release(struct lethe_log *log)
{
    if (log->frame) {
        lethe_wipe(log->frame, FRAME_PLAIN);
    }
    if (log->scratch) {
        lethe_wipe(log->scratch, FRAME_RECORD + FRAME_PLAIN);
    }
    free(log->frame);
    free(log->scratch);
    log->frame = log->scratch = NULL;
}

static sqlite3_int64 frame_place(uint64_t index)
{
    return HEADER_RECORD + (sqlite3_int64)index * FRAME_RECORD;
}

/* The header is number 0 with a salt of zeros, frame i is number i + 1. */
static void make_aad(const uint8_t *salt, uint64_t number, uint8_t aad[AAD_BYTES])
{
    if (salt) {
        memcpy(aad, salt, LETHE_LOG_SALT);
    } else {
        memset(aad, 0, LETHE_LOG_SALT);
    }
    lethe_set_u64(aad + LETHE_LOG_SALT, number);
}

static int write_record(struct lethe_log *log, const uint8_t *salt, uint64_t number, const uint8_t *plain,
                        size_t len, sqlite3_int64 place)
{
    const struct lethe_random *random = lethe_random_system();
    uint8_t aad[AAD_BYTES];

    make_aad(salt, number, aad);
    random->fill(random->context, log->scratch, LETHE_NONCE_BYTES);
    lethe_aead_seal(log->key, log->scratch, aad, sizeof aad, plain, len, log->scratch + LETHE_NONCE_BYTES);
    return log->under->pMethods->xWrite(log->under, log->scratch, (int)(len + LETHE_SEAL_OVERHEAD), place);
}

/* *opened is false when the record is short, torn, of another log or damaged; plain is then unspecified. */
static int read_record(struct lethe_log *log, const uint8_t *salt, uint64_t number, uint8_t *plain,
                       size_t len, sqlite3_int64 place, bool *opened)
{
    uint8_t aad[AAD_BYTES];
    int result;

    *opened = false;
    result = log->under->pMethods->xRead(log->under, log->scratch, (int)(len + LETHE_SEAL_OVERHEAD), place);
    if (result == SQLITE_IOERR_SHORT_READ) {
        return SQLITE_OK;
    }
    if (result != SQLITE_OK) {
        return result;
    }
    make_aad(salt, number, aad);
    *opened = lethe_aead_open(log->key, log->scratch, aad, sizeof aad, log->scratch + LETHE_NONCE_BYTES,
                              len + LETHE_TAG_BYTES, plain) == LETHE_OK;
    return SQLITE_OK;
}

static int read_header(struct lethe_log *log, uint8_t header[HEADER], bool *opened)
{
    uint8_t plain[HEADER_PLAIN];
    int result = read_record(log, NULL, 0, plain, sizeof plain, 0, opened);

    if (result == SQLITE_OK && *opened) {
        memcpy(header, plain, HEADER);
        memcpy(log->salt, plain + HEADER, LETHE_LOG_SALT);
        log->salt_known = true;
    }
    return result;
}

static int need_salt(struct lethe_log *log, bool *known)
{
    uint8_t header[HEADER];

    if (log->salt_known) {
        *known = true;
        return SQLITE_OK;
    }
    return read_header(log, header, known);
}

static int read_frame(struct lethe_log *log, uint64_t index, uint8_t plain[FRAME_PLAIN], bool *opened)
{
    int result = need_salt(log, opened);

    if (result != SQLITE_OK || !*opened) {
        return result;
    }
    return read_record(log, log->salt, index + 1, plain, FRAME_PLAIN, frame_place(index), opened);
}

static int from_mark(enum lethe_err err)
{
    return err == LETHE_OK ? SQLITE_OK : err == LETHE_ERR_NOSPACE ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

/* Seals and writes the pending frame, which is whole. */
static int write_pending(struct lethe_log *log)
{
    bool known;
    int result = need_salt(log, &known);

    if (result != SQLITE_OK) {
        return result;
    }
    if (!known) {
        return SQLITE_IOERR_WRITE;
    }
    /* What a rolled back transaction left behind may be durable, but it is no promise. */
    if (log->synced > log->index) {
        log->synced = log->index;
    }
    if (lethe_mark_frames(log->mark, log->salt) > log->index) {
        result = from_mark(lethe_mark_lower(log->mark, log->index, true));
        if (result != SQLITE_OK) {
            return result;
        }
    }
    lethe_set_u64(log->frame + FRAME, log->synced);
    result = write_record(log, log->salt, log->index + 1, log->frame, FRAME_PLAIN, frame_place(log->index));
    if (result == SQLITE_OK) {
        log->last = log->index + 1;
        if (log->known < log->last) {
            log->known = log->last;
        }
    }
    return result;
}

/* A new header begins the log anew: no frame of before will ever open again. SQLite writes it in one piece.
 */
static int write_header(struct lethe_log *log, const uint8_t *bytes, int len)
{
    const struct lethe_random *random = lethe_random_system();
    uint8_t plain[HEADER_PLAIN];
    int result;

    if (len < HEADER) {
        return SQLITE_IOERR_WRITE;
    }
    result = from_mark(lethe_mark_lower(log->mark, 0, false));
    if (result != SQLITE_OK) {
        return result;
    }
    random->fill(random->context, log->salt, sizeof log->salt);
    log->known = log->last = log->synced = 0;
    memcpy(plain, bytes, HEADER);
    memcpy(plain + HEADER, log->salt, sizeof log->salt);
    result = write_record(log, NULL, 0, plain, sizeof plain, 0);
    log->salt_known = result == SQLITE_OK;
    return result;
}

static int write_frame(struct lethe_log *log, uint64_t index, const uint8_t *bytes, int len, int at)
{
    if (at != (log->filled > 0 && index == log->index ? log->filled : 0)) {
        if (at > 0 && log->filled == 0) {
            lethe_log(LETHE_LOG_ERROR, "SQLite rewrites a frame of its log: it must not spill its cache");
        }
        return SQLITE_IOERR_WRITE;
    }
    log->index = index;
    memcpy(log->frame + at, bytes, (size_t)len);
    log->filled = at + len;
    if (log->filled < FRAME) {
        return SQLITE_OK;
    }
    log->filled = 0;
    return write_pending(log);
}

/* Divides SQLite's offset: *index is -1 for the header. Returns how many bytes of len lie in that part. */
static int locate(sqlite3_int64 offset, int len, sqlite3_int64 *index, int *at)
{
    int room;

    if (offset < HEADER) {
        *index = -1;
        *at = (int)offset;
        room = HEADER - *at;
    } else {
        *index = (offset - HEADER) / FRAME;
        *at = (int)((offset - HEADER) % FRAME);
        room = FRAME - *at;
    }
    return len < room ? len : room;
}

int lethe_log_write(struct lethe_log *log, const uint8_t *bytes, int len, sqlite3_int64 offset)
{
    while (len > 0) {
        sqlite3_int64 index;
        int at, part = locate(offset, len, &index, &at), result;

        if (index < 0) {
            result = write_header(log, bytes, part);
        } else {
            result = write_frame(log, (uint64_t)index, bytes, part, at);
        }
        if (result != SQLITE_OK) {
            return result;
        }
        bytes += part;
        offset += part;
        len -= part;
    }
    return SQLITE_OK;
}

static int file_frames(struct lethe_log *log, uint64_t *frames)
{
    sqlite3_int64 size;
    int result = log->under->pMethods->xFileSize(log->under, &size);

    if (result == SQLITE_OK) {
        *frames = size < HEADER_RECORD ? 0 : (uint64_t)((size - HEADER_RECORD) / FRAME_RECORD);
    }
    return result;
}

/* Frame index did not open in a recovery. A later frame that was written when it had been durable tells
 * damage. */
static int judge(struct lethe_log *log, uint64_t index)
{
    uint64_t frames;
    int result = file_frames(log, &frames);

    for (uint64_t i = index + 1; result == SQLITE_OK && i < frames; i++) {
        uint8_t *later = log->scratch + FRAME_RECORD;
        bool opened;

        result = read_frame(log, i, later, &opened);
        if (result == SQLITE_OK && opened && lethe_get_u64(later + FRAME) > index) {
            log->damaged = true;
            return SQLITE_IOERR_DATA;
        }
    }
    return result;
}

/* The header and the frames that were durable are there; whether each opens is seen as it is read. */
static int compare_with_mark(struct lethe_log *log)
{
    uint8_t header[HEADER];
    uint64_t frames = 0;
    bool opened;
    int result;

    if (log->mark->fd < 0 || log->mark->frames == 0) {
        return SQLITE_OK;
    }
    result = read_header(log, header, &opened);
    if (result == SQLITE_OK && opened) {
        log->known = lethe_mark_frames(log->mark, log->salt); /* 0 of another log, which came later */
        result = file_frames(log, &frames);
    }
    if (result == SQLITE_OK && (!opened || frames < log->known)) {
        lethe_log(LETHE_LOG_ERROR, "the log of the metadata database is gone or cut short: durable changes are missing");
        log->damaged = true;
        result = SQLITE_IOERR_DATA;
    }
    return result;
}

int lethe_log_init(struct lethe_log *log, const uint8_t key[LETHE_KEY_BYTES], sqlite3_file *under,
                   struct lethe_mark *mark)
{
    int result;

    *log = (struct lethe_log){.key = key, .under = under, .mark = mark};
    log->frame = malloc(FRAME_PLAIN);
    log->scratch = malloc(FRAME_RECORD + FRAME_PLAIN);
    result = log->frame && log->scratch ? compare_with_mark(log) : SQLITE_IOERR_NOMEM;
    if (result != SQLITE_OK) {
        lethe_log_release(log);
    }
    return result;
}

static int read_part(struct lethe_log *log, uint64_t index, uint8_t *out, int len, int at)
{
    bool opened;
    uint8_t *plain = log->scratch + FRAME_RECORD;
    int result = read_frame(log, index, plain, &opened);

    if (result != SQLITE_OK) {
        return result;
    }
    if (opened) {
        memcpy(out, plain + at, (size_t)len);
        if (at == 0 && log->known < index + 1) {
            log->known = index + 1;
        }
        return SQLITE_OK;
    }
    if (at > 0 || index < log->known) {
        log->damaged = true;
        return SQLITE_IOERR_DATA;
    }
    memset(out, 0, (size_t)len);
    return log->salt_known ? judge(log, index) : SQLITE_OK;
}

int lethe_log_read(struct lethe_log *log, uint8_t *out, int len, sqlite3_int64 offset)
{
    sqlite3_int64 size;
    bool cut = false;
    int result = lethe_log_size(log, &size);

    if (result != SQLITE_OK) {
        return result;
    }
    if (offset + len > size) {
        int have = offset < size ? (int)(size - offset) : 0;

        memset(out + have, 0, (size_t)(len - have));
        len = have;
        cut = true;
    }
    while (len > 0) {
        sqlite3_int64 index;
        int at, part = locate(offset, len, &index, &at);

        if (index < 0) {
            uint8_t header[HEADER];
            bool opened;

            result = read_header(log, header, &opened);
            if (result == SQLITE_OK && opened) {
                memcpy(out, header + at, (size_t)part);
            } else {
                memset(out, 0, (size_t)part);
            }
        } else {
            result = read_part(log, (uint64_t)index, out, part, at);
        }
        if (result != SQLITE_OK) {
            return result;
        }
        out += part;
        offset += part;
        len -= part;
    }
    return cut ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

int lethe_log_truncate(struct lethe_log *log, sqlite3_int64 size)
{
    uint64_t frames = size <= HEADER ? 0 : (uint64_t)((size - HEADER + FRAME - 1) / FRAME);
    sqlite3_int64 place = size > 0 ? frame_place(frames) : 0;
    int result = from_mark(lethe_mark_lower(log->mark, frames, true));

    if (result != SQLITE_OK) {
        return result;
    }
    log->filled = 0;
    if (size == 0) {
        log->salt_known = false;
        log->known = log->last = log->synced = 0;
    }
    return log->under->pMethods->xTruncate(log->under, place);
}

int lethe_log_sync(struct lethe_log *log, int flags)
{
    int result = log->under->pMethods->xSync(log->under, flags);

    if (result == SQLITE_OK) {
        log->synced = log->last;
        lethe_mark_raise(log->mark, log->salt, log->synced);
    }
    return result;
}

/* A torn record at the end does not count. */
int lethe_log_size(struct lethe_log *log, sqlite3_int64 *size)
{
    sqlite3_int64 place;
    int result = log->under->pMethods->xFileSize(log->under, &place);

    if (result == SQLITE_OK) {
        *size = place < HEADER_RECORD ? 0 : HEADER + (place - HEADER_RECORD) / FRAME_RECORD * FRAME;
    }
    return result;
}

uint64_t lethe_log_bytes(const struct lethe_log *log)
{
    return (uint64_t)frame_place(log->last > log->known ? log->last : log->known);
}
