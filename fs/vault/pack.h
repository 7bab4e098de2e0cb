/* SPDX-License-Identifier: MIT */
/*
 * Packs: several small pieces in one object of about 4 MiB. Each member is sealed on its own, so that a ranged get
 * reads it alone; the pack ends in a sealed run of zeros that brings it to a Padmé length. Pieces of one record that
 * are added together lie side by side: one ranged get brings them.
 */
#ifndef LETHE_FS_VAULT_PACK_H
#define LETHE_FS_VAULT_PACK_H

#include "fs/vault/record.h"
#include "fs/vault/uploads.h"

#define LETHE_PACK_BYTES (4u << 20)
#define LETHE_PACK_PIECE_MAX (1u << 20) /* a larger piece is an object of its own */

struct lethe_pack;

/*
 * Called once for each member that was added: its pack is in the vault, or could not be put. stored: the bytes that it
 * takes there, all the members' together being the pack's. From any thread.
 */
typedef void (*lethe_pack_done)(void *owner, enum lethe_err err, size_t stored);

/* Not thread-safe. */
enum lethe_err lethe_pack_new(struct lethe_vault *vault, lethe_pack_done done, struct lethe_pack **out)
    LETHE_MUST_CHECK;
void lethe_pack_free(struct lethe_pack *pack); /* members that were not flushed are done with LETHE_ERR_CANCELLED */
/*
 * Adds payload as the last piece of record (its kind, start and length from piece; the rest is filled in when the pack
 * is sealed, until when nothing else may be done with the record). On failure neither pack nor owner know of it.
 */
enum lethe_err lethe_pack_add(struct lethe_pack *pack, void *owner, struct lethe_record *record,
                              const struct lethe_piece *piece, const uint8_t *payload, size_t len) LETHE_MUST_CHECK;
/* Sealed bytes waiting. */
size_t lethe_pack_size(const struct lethe_pack *pack);
/* Seals the pack and puts it. Takes it, also on failure: the members hear of it. */
void lethe_pack_flush(struct lethe_pack *pack, struct lethe_uploads *uploads);

#endif
