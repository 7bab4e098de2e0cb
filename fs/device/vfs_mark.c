/* SPDX-License-Identifier: MIT */
#include "fs/device/vfs_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/seal/primitives.h"
#include "lethe/bytes.h"
#include "lethe/log.h"

#define PLAIN (LETHE_MARK_SALT + 8)
#define RECORD (PLAIN + LETHE_SEAL_OVERHEAD)
_Static_assert(RECORD <= 512, "one sector, so that no power cut tears it");

static const uint8_t aad[] = "mark";

static enum lethe_err write_record(struct lethe_mark *mark, bool durable)
{
    const struct lethe_random *random = lethe_random_system();
    uint8_t plain[PLAIN], record[RECORD];
    ssize_t done;

    memcpy(plain, mark->salt, sizeof mark->salt);
    lethe_set_u64(plain + LETHE_MARK_SALT, mark->frames);
    random->fill(random->context, record, LETHE_NONCE_BYTES);
    lethe_aead_seal(mark->key, record, aad, sizeof aad, plain, sizeof plain, record + LETHE_NONCE_BYTES);
    mark->known = false;
    do {
        done = pwrite(mark->fd, record, sizeof record, 0);
    } while (done < 0 && errno == EINTR);
    if (done < 0 || (durable && fdatasync(mark->fd) != 0)) {
        return lethe_err_from_errno(errno);
    }
    if (done != (ssize_t)sizeof record) {
        return LETHE_ERR_IO;
    }
    mark->known = true;
    return LETHE_OK;
}

static void read_record(struct lethe_mark *mark)
{
    uint8_t plain[PLAIN], record[RECORD];
    ssize_t got;

    do {
        got = pread(mark->fd, record, sizeof record, 0);
    } while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof record &&
        lethe_aead_open(mark->key, record, aad, sizeof aad, record + LETHE_NONCE_BYTES, RECORD - LETHE_NONCE_BYTES,
                        plain) == LETHE_OK) {
        memcpy(mark->salt, plain, sizeof mark->salt);
        mark->frames = lethe_get_u64(plain + LETHE_MARK_SALT);
    }
}

void lethe_mark_init(struct lethe_mark *mark)
{
    *mark = (struct lethe_mark){.fd = -1};
}

enum lethe_err lethe_mark_open(struct lethe_mark *mark, const char *path, const uint8_t key[LETHE_KEY_BYTES])
{
    *mark = (struct lethe_mark){.key = key};
    mark->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (mark->fd < 0) {
        lethe_log(LETHE_LOG_ERROR, "metadata database: cannot open the mark of its log: %s", strerror(errno));
        return lethe_err_from_errno(errno);
    }
    read_record(mark);
    /* One whose sync failed is shown by the kernel all the same. Without room for it the mark says less. */
    if (mark->frames > 0) {
        (void)!write_record(mark, true);
    }
    return LETHE_OK;
}

void lethe_mark_close(struct lethe_mark *mark)
{
    if (mark->fd >= 0) {
        close(mark->fd);
    }
    mark->fd = -1;
}

uint64_t lethe_mark_frames(const struct lethe_mark *mark, const uint8_t salt[LETHE_MARK_SALT])
{
    return mark->fd >= 0 && memcmp(mark->salt, salt, sizeof mark->salt) == 0 ? mark->frames : 0;
}

void lethe_mark_raise(struct lethe_mark *mark, const uint8_t salt[LETHE_MARK_SALT], uint64_t frames)
{
    if (mark->fd < 0 || frames <= lethe_mark_frames(mark, salt)) {
        return;
    }
    memcpy(mark->salt, salt, sizeof mark->salt);
    mark->frames = frames;
    (void)!write_record(mark, false);
}

enum lethe_err lethe_mark_lower(struct lethe_mark *mark, uint64_t frames, bool durable)
{
    enum lethe_err err;

    if (mark->fd < 0 || (mark->known && mark->frames <= frames)) {
        return LETHE_OK;
    }
    mark->frames = mark->frames < frames ? mark->frames : frames;
    err = write_record(mark, durable);
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "metadata database: the mark of its log cannot be written: %s", lethe_err_str(err));
    }
    return err;
}
