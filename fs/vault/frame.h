/* SPDX-License-Identifier: MIT */
/*
 * Sequences of records cut into compressed parts of a few MiB, each an object of its own: the bodies of journal
 * segments and snapshots. A part's payload is u32 length of the raw bytes, then a zstd frame.
 */
#ifndef LETHE_FS_VAULT_FRAME_H
#define LETHE_FS_VAULT_FRAME_H

#include "fs/vault/journal.h"

#define LETHE_FRAME_BYTES (4u << 20)
#define LETHE_FRAME_MAX (1u << 30)   /* raw bytes of one part: a record is not cut, and SQLite's blobs end before that */

/* Compresses raw into a part's payload, appended to out once it was decompressed again and compared. */
enum lethe_err lethe_frame_pack(const struct lethe_buf *raw, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_frame_unpack(const uint8_t *payload, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;

/* Seals a payload as part number index of the object owner, puts it and appends its reference to the list. */
enum lethe_err lethe_frame_put(struct lethe_vault *vault, enum lethe_object_kind kind, const struct lethe_id *owner,
                               uint64_t index, const struct lethe_buf *payload, struct lethe_segment_part **parts,
                               size_t *count, uint64_t *bytes) LETHE_MUST_CHECK;
/* Gets part number index and unpacks it into out (which is reset first). */
enum lethe_err lethe_frame_get(struct lethe_vault *vault, enum lethe_object_kind kind, const struct lethe_id *owner,
                               uint64_t index, const struct lethe_segment_part *part, struct lethe_buf *out)
    LETHE_MUST_CHECK;

/* The list of parts inside a root object's payload. */
void lethe_frame_list_write(struct lethe_buf *out, const struct lethe_segment_part *parts, size_t count);
enum lethe_err lethe_frame_list_read(struct lethe_reader *reader, struct lethe_segment_part **parts, size_t *count)
    LETHE_MUST_CHECK;

#endif
