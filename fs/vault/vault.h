/* SPDX-License-Identifier: MIT */
/*
 * An opened vault: the backend, the keys, and objects by name. Knows the key paths of the format
 * (lethefs-format(5)) and nothing of the tree. Thread-safe after opening.
 */
#ifndef LETHE_FS_VAULT_VAULT_H
#define LETHE_FS_VAULT_VAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/device/db.h"
#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/model.h"
#include "lethe/seal.h"
#include "lethe/store.h"

struct lethe_vault;

/*
 * Takes store, file, master and device (also on failure). json_hash is BLAKE2b-256 of vault.json's bytes.
 * pairs_dir: the folder of pairs in the device's state, or NULL for none.
 */
enum lethe_err lethe_vault_new(struct lethe_store *store, struct lethe_vault_file *file, const uint8_t json_hash[32],
                               struct lethe_secret *master, struct lethe_secret *device, const char *pairs_dir,
                               struct lethe_vault **out) LETHE_MUST_CHECK;
void lethe_vault_free(struct lethe_vault *vault);

const struct lethe_vault_settings *lethe_vault_settings(const struct lethe_vault *vault);
const struct lethe_secret *lethe_vault_master(const struct lethe_vault *vault);
const struct lethe_secret *lethe_vault_device(const struct lethe_vault *vault);
struct lethe_store *lethe_vault_store(const struct lethe_vault *vault);
/* Fidelity split: where residuals, recipes and what is no photo go. Takes second. Before any other use. */
void lethe_vault_set_second(struct lethe_vault *vault, struct lethe_store *second);
/* NULL but in fidelity split. */
struct lethe_store *lethe_vault_second(const struct lethe_vault *vault);
/* The store that holds objects of this kind; NULL when it is a second one that was not set. */
struct lethe_store *lethe_vault_store_of(const struct lethe_vault *vault, enum lethe_object_kind kind);
uint64_t lethe_vault_generation(const struct lethe_vault *vault);
const uint8_t *lethe_vault_json_hash(const struct lethe_vault *vault);

/* --- who may move the head (fs/vault/bound.c) --- */

/* The head names one device where the store has no conditional writes (lethefs-format(5), HEAD). */
enum lethe_binding { LETHE_BINDING_NONE, LETHE_BINDING_OURS, LETHE_BINDING_OTHERS };

/* This device's id as a writer. Before anything else is done with the vault; else it is nobody's. */
void lethe_vault_set_writer(struct lethe_vault *vault, const struct lethe_id *writer);
/* As the head that was read or written last says. */
enum lethe_binding lethe_vault_binding(struct lethe_vault *vault);
void lethe_vault_see_writer(struct lethe_vault *vault, const struct lethe_id *writer);
/* LETHE_ERR_BUSY, logged, when the vault is bound to another device. */
enum lethe_err lethe_vault_refuse_others(struct lethe_vault *vault) LETHE_MUST_CHECK;
/*
 * As lethe_store_replace, for head and vault.json. On the device that the vault is bound to it works without conditional
 * writes as well: by reading before (LETHE_ERR_CONFLICT) and after (LETHE_ERR_UNREACHABLE: not seen to have happened).
 */
enum lethe_err lethe_vault_replace(struct lethe_vault *vault, const char *key, const uint8_t *bytes, size_t len,
                                   const struct lethe_store_version *expected,
                                   struct lethe_store_version *version) LETHE_MUST_CHECK;
/* Binds the vault to this device if its store has no conditional writes, else to none. Errors have been logged. */
enum lethe_err lethe_vault_take_over(struct lethe_vault *vault) LETHE_MUST_CHECK;

/* Takes another vault.json of the same vault, unlocked, in place of the one it was made with. */
void lethe_vault_renew_file(struct lethe_vault *vault, struct lethe_vault_file *file, const uint8_t json_hash[32]);

/* Memory for sealed objects, borrowed: NULL, as at first, keeps none. Not while other threads use the vault. */
struct lethe_spares;
void lethe_vault_use_spares(struct lethe_vault *vault, struct lethe_spares *spares);
struct lethe_spares *lethe_vault_spares(const struct lethe_vault *vault);

/* A fresh random id. */
void lethe_vault_new_id(struct lethe_id *out);

/* The backend key of an object: "a/xx/ID.png" for artifacts, "o/xx/ID" for the rest. */
void lethe_vault_object_key(enum lethe_object_kind kind, const struct lethe_id *id, char out[LETHE_STORE_KEY_MAX + 1]);
/* "j/EPOCH-ID", the epoch as 16 hexadecimal digits. */
void lethe_vault_journal_key(uint64_t epoch, const struct lethe_id *id, char out[LETHE_STORE_KEY_MAX + 1]);

/*
 * Seals plaintext for (kind, id, content, position); the sealed bytes are appended to out, once they have been opened
 * again and compared (LETHE_ERR_DIFFERS). Artifacts become pictures, members of packs are not padded, all others are.
 */
enum lethe_err lethe_vault_seal(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                                const uint8_t *plaintext, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* The same, opening it again into scratch, whose memory serves the next call. */
enum lethe_err lethe_vault_seal_with(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                     const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                                     const uint8_t *plaintext, size_t len, struct lethe_buf *scratch,
                                     struct lethe_buf *out) LETHE_MUST_CHECK;
/* The inverse, appended to out. LETHE_ERR_INTEGRITY. */
enum lethe_err lethe_vault_unseal(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                  const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                                  const uint8_t *sealed, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;

/* Stores sealed bytes under the object's key. LETHE_ERR_EXISTS counts as done only when ours (the same bytes). */
enum lethe_err lethe_vault_put(struct lethe_vault *vault, enum lethe_object_kind kind, const struct lethe_id *id,
                               const uint8_t *sealed, size_t len) LETHE_MUST_CHECK;
/*
 * Gets [offset, offset + stored) of an object and opens it; appended to out. A missing or short object is
 * LETHE_ERR_INTEGRITY: whoever names it relies on it.
 */
enum lethe_err lethe_vault_get(struct lethe_vault *vault, enum lethe_object_kind kind, const struct lethe_id *id,
                               const struct lethe_id *content, uint64_t position, uint64_t offset, uint64_t stored,
                               struct lethe_buf *out) LETHE_MUST_CHECK;

/*
 * Two members of a pack, side by side, in one request: the first at offset, the second right behind it. Appends to
 * first and second.
 */
enum lethe_err lethe_vault_get_neighbours(struct lethe_vault *vault, const struct lethe_id *pack,
                                    const struct lethe_id *content, uint64_t offset, uint64_t stored,
                                    const struct lethe_id *next_content, uint64_t next_stored, struct lethe_buf *first,
                                    struct lethe_buf *second) LETHE_MUST_CHECK;

/* --- model pairs (fs/vault/pairs.c) --- */

/* The pair of this id: from memory, the shipped ones, the device, or the vault (then kept on the device). Owned by
 * the vault. LETHE_ERR_NOT_FOUND when it is nowhere. */
enum lethe_err lethe_vault_pair(struct lethe_vault *vault, const struct lethe_id *id,
                                const struct lethe_pair **out) LETHE_MUST_CHECK;
/* Adds a pair to the device and, unless pairs stay off the vault, to the vault. Idempotent. */
enum lethe_err lethe_vault_pair_add(struct lethe_vault *vault, const uint8_t *bytes, size_t len, struct lethe_id *id)
    LETHE_MUST_CHECK;

/* Enters the pair's object into the table object, so that gc keeps it; nothing when pairs stay off the vault. */
enum lethe_err lethe_vault_pair_record(struct lethe_vault *vault, struct lethe_db *db, const struct lethe_id *id)
    LETHE_MUST_CHECK;

/* Gets and authenticates the vault's own copy of a pair. LETHE_ERR_NOT_FOUND when it keeps none. */
enum lethe_err lethe_vault_pair_verify(struct lethe_vault *vault, const struct lethe_id *id) LETHE_MUST_CHECK;

#endif
