/* SPDX-License-Identifier: MIT */
/* How a content lies in the vault: the rows of the tables content, piece and object. */
#ifndef LETHE_FS_VAULT_RECORD_H
#define LETHE_FS_VAULT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/device/db.h"
#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/seal.h"

enum lethe_piece_kind {
    LETHE_PIECE_ARTIFACT = 1,
    LETHE_PIECE_RESIDUAL = 2,
    LETHE_PIECE_RECIPE = 3,
    LETHE_PIECE_RAW = 4,
    LETHE_PIECE_ZSTD = 5,
    LETHE_PIECE_LOST = 6, /* bytes that could not be read on the device when it was sealed: the object is empty */
};

struct lethe_piece {
    enum lethe_piece_kind kind;
    uint64_t start; /* the range of the content's bytes (RAW, ZSTD and LOST) */
    uint64_t length;
    struct lethe_id object;
    enum lethe_object_kind object_kind;
    uint64_t object_size; /* in the backend */
    uint64_t offset;      /* where the sealed bytes lie in the object */
    uint64_t stored;
    struct lethe_id origin; /* associated data: the content that it was sealed for, and the position */
    uint64_t position;
};

enum lethe_record_kind { LETHE_RECORD_SEGMENTS = 0, LETHE_RECORD_PHOTO = 1, LETHE_RECORD_PACKED = 2 };

struct lethe_record {
    struct lethe_id content;
    uint64_t size;
    enum lethe_record_kind kind;
    enum lethe_reason reason; /* why it is no photo */
    bool has_photo;           /* the fields below hold */
    uint8_t digest[32];
    uint32_t width, height;
    uint64_t error, samples; /* struct lethe_photo_quality */
    struct lethe_id pair;
    uint64_t alone;             /* size of the file that the artifact alone makes (fidelity split), 0 not known */
    struct lethe_buf file;      /* not stored. Fidelity lossy: the bytes that the content has from now on, if kept */
    bool replaced;              /* not stored. Fidelity lossy: size is that of other bytes than were sealed */
    struct lethe_piece *pieces; /* owned, in order of seq */
    size_t count;
    size_t room;
};

/* A zeroed record is valid and empty. */
void lethe_record_release(struct lethe_record *record);
enum lethe_err lethe_record_add(struct lethe_record *record, const struct lethe_piece *piece) LETHE_MUST_CHECK;

/* All take the database's lock themselves. */
enum lethe_err lethe_record_store(struct lethe_db *db, const struct lethe_record *record) LETHE_MUST_CHECK;
/* LETHE_ERR_NOT_FOUND when the content is not in the vault. */
enum lethe_err lethe_record_load(struct lethe_db *db, const struct lethe_id *content, struct lethe_record *record)
    LETHE_MUST_CHECK;
/* Its kind alone. LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_record_kind(struct lethe_db *db, const struct lethe_id *content, enum lethe_record_kind *kind)
    LETHE_MUST_CHECK;
bool lethe_record_exists(struct lethe_db *db, const struct lethe_id *content);
/* Some of its bytes are lost. */
bool lethe_record_is_damaged(const struct lethe_record *record);
/* Contents of live files on this device that lost bytes, as far as they were sealed. */
enum lethe_err lethe_record_count_damaged(struct lethe_db *db, uint64_t *out) LETHE_MUST_CHECK;
/* The lowest inode number that names the content, 0 when none does. */
uint64_t lethe_record_inode(struct lethe_db *db, const struct lethe_id *content);
/*
 * A photo of these pixels that no live file names any more (it was just overwritten or renamed over): its artifact and
 * residual serve the new version. LETHE_ERR_NOT_FOUND.
 */
enum lethe_err lethe_record_find_replaced(struct lethe_db *db, const uint8_t digest[32], struct lethe_record *record)
    LETHE_MUST_CHECK;
/* Any photo of these pixels. LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_record_find_photo(struct lethe_db *db, const uint8_t digest[32], struct lethe_record *record)
    LETHE_MUST_CHECK;
/*
 * One segment of a content that is not recorded yet: its object is in the vault. lethe_record_store and lethe_record_remove
 * forget it.
 */
enum lethe_err lethe_record_note(struct lethe_db *db, const struct lethe_id *content, const struct lethe_piece *piece)
    LETHE_MUST_CHECK;
/* The segment that was noted for this range. LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_record_noted(struct lethe_db *db, const struct lethe_id *content, uint64_t start, uint64_t length,
                                  struct lethe_piece *piece) LETHE_MUST_CHECK;
/* Takes the rows back and counts the objects down; those that nothing names die with the given epoch. */
enum lethe_err lethe_record_remove(struct lethe_db *db, const struct lethe_id *content, uint64_t epoch)
    LETHE_MUST_CHECK;

#endif
