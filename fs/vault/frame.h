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
/* Parts that are read one after the other, and fetched ahead of that. */
struct lethe_frame_ref {
    enum lethe_object_kind kind;
    struct lethe_id owner;
    uint64_t index;
    struct lethe_segment_part part;
};
struct lethe_frame_reader;
/* refs are borrowed until lethe_frame_reader_free. */
enum lethe_err lethe_frame_reader_new(struct lethe_vault *vault, const struct lethe_frame_ref *refs, size_t count,
                                      struct lethe_frame_reader **out) LETHE_MUST_CHECK;
/* Unpacks the next part into out (which is reset first). */
enum lethe_err lethe_frame_reader_next(struct lethe_frame_reader *reader, struct lethe_buf *out) LETHE_MUST_CHECK;
void lethe_frame_reader_free(struct lethe_frame_reader *reader); /* NULL does nothing */

/* The list of parts inside a root object's payload. */
void lethe_frame_list_write(struct lethe_buf *out, const struct lethe_segment_part *parts, size_t count);
enum lethe_err lethe_frame_list_read(struct lethe_reader *reader, struct lethe_segment_part **parts, size_t *count)
    LETHE_MUST_CHECK;

#endif
