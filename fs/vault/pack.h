/* SPDX-License-Identifier: MIT */
/*
 * Packs: several small pieces in one object of about 4 MiB. Each member is sealed on its own, so that a ranged get
 * reads it alone; the pack ends in a sealed run of zeros that brings it to a Padmé length.
 */
#ifndef LETHE_FS_VAULT_PACK_H
#define LETHE_FS_VAULT_PACK_H

#include "fs/vault/record.h"
#include "fs/vault/vault.h"

#define LETHE_PACK_BYTES (4u << 20)

struct lethe_pack;

/* Called for each member once its pack is in the vault (err 0) or could not be put. Takes record. */
typedef enum lethe_err (*lethe_pack_done)(void *context, struct lethe_record *record, enum lethe_err err);

/* Not thread-safe. done runs inside lethe_pack_flush. */
enum lethe_err lethe_pack_new(struct lethe_vault *vault, lethe_pack_done done, void *context,
                              struct lethe_pack **out) LETHE_MUST_CHECK;
void lethe_pack_free(struct lethe_pack *pack); /* members that were not flushed are dropped */
/*
 * Adds payload as the last piece of record (its kind, start and length from piece; the rest is filled in when the pack
 * is put) and takes the record over, also on failure. stats as the sealer counts them.
 */
enum lethe_err lethe_pack_add(struct lethe_pack *pack, struct lethe_record *record, const struct lethe_piece *piece,
                              const uint8_t *payload, size_t len) LETHE_MUST_CHECK;
/* Sealed bytes waiting. */
size_t lethe_pack_size(const struct lethe_pack *pack);
/* Seals, puts, and calls done for every member; the pack is empty afterwards. The first error. */
enum lethe_err lethe_pack_flush(struct lethe_pack *pack, uint64_t *stored) LETHE_MUST_CHECK;

#endif
