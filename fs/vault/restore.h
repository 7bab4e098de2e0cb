/* SPDX-License-Identifier: MIT */
/* Bytes out of the vault: pieces and whole photos. fs/vault/restorer.h brings them to the content store. */
#ifndef LETHE_FS_VAULT_RESTORE_H
#define LETHE_FS_VAULT_RESTORE_H

#include "fs/vault/record.h"
#include "fs/vault/vault.h"
#include "lethe/codec.h"
#include "lethe/pool.h"

/* Gets and opens one piece: the artifact's or residual's payload, the recipe, or a segment's bytes. Appends to out. */
enum lethe_err lethe_restore_piece(struct lethe_vault *vault, const struct lethe_piece *piece, struct lethe_buf *out)
    LETHE_MUST_CHECK;
/* The piece of this kind, or NULL. */
const struct lethe_piece *lethe_restore_find(const struct lethe_record *record, enum lethe_piece_kind kind);
/* The three payloads of a photo: artifact, residual, recipe. A zeroed one is valid. */
struct lethe_restore_parts {
    struct lethe_buf payloads[3];
};
void lethe_restore_parts_release(struct lethe_restore_parts *parts);
/*
 * A photo's file in two steps: what takes the network, and what takes the processor. The first has checked all that the
 * second works on, so the bytes that watch (may be NULL) is told of are as good as the last. The second appends to out.
 */
enum lethe_err lethe_restore_fetch(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_restore_parts *parts) LETHE_MUST_CHECK;
enum lethe_err lethe_restore_assemble(struct lethe_vault *vault, const struct lethe_record *record,
                                      const struct lethe_restore_parts *parts, struct lethe_pool *pool,
                                      const struct lethe_photo_watch *watch, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Both. Appends to out. */
enum lethe_err lethe_restore_photo(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_pool *pool, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Decompresses and checks a segment's opened payload: appends exactly length bytes to out. */
enum lethe_err lethe_restore_segment(enum lethe_piece_kind kind, const uint8_t *payload, size_t len, uint64_t length,
                                     struct lethe_buf *out) LETHE_MUST_CHECK;

/* The Decrypter's picture as a file of the photo's format, from the artifact alone (fidelity split). Appends to out. */
enum lethe_err lethe_restore_alone(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_pool *pool, struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
