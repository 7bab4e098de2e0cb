/* SPDX-License-Identifier: MIT */
/*
 * The formal layer: keys, sealed objects, the noise pictures, and vault.json. Libsodium behind one adapter.
 * XChaCha20-Poly1305 (IETF) for sealing, keyed BLAKE2b-256 for derivation, Argon2id for passphrases.
 * Secrets live in locked memory that is excluded from dumps, and are wiped when freed.
 */
#ifndef LETHE_SEAL_H
#define LETHE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"

#define LETHE_KEY_BYTES 32
#define LETHE_NONCE_BYTES 24
#define LETHE_TAG_BYTES 16
#define LETHE_SEAL_OVERHEAD (LETHE_NONCE_BYTES + LETHE_TAG_BYTES)

/* Once, before anything else here. LETHE_ERR_UNSUPPORTED when libsodium cannot start. */
enum lethe_err lethe_seal_start(void) LETHE_MUST_CHECK;
/* Random bytes of the operating system, as the argument that the engine asks for. */
const struct lethe_random *lethe_random_system(void);

/* 32 secret bytes in guarded, locked memory. */
struct lethe_secret;
enum lethe_err lethe_secret_new(const uint8_t bytes[LETHE_KEY_BYTES], struct lethe_secret **out) LETHE_MUST_CHECK;
enum lethe_err lethe_secret_random(const struct lethe_random *random, struct lethe_secret **out) LETHE_MUST_CHECK;
void lethe_secret_free(struct lethe_secret *secret);
const uint8_t *lethe_secret_bytes(const struct lethe_secret *secret);
/* A subkey: keyed BLAKE2b-256 of parent over the label's length, the label and the context bytes. */
enum lethe_err lethe_secret_derive(const struct lethe_secret *parent, const char *label, const void *context,
                                   size_t context_len, struct lethe_secret **out) LETHE_MUST_CHECK;
/* A subkey of two secrets: neither alone gives it. */
enum lethe_err lethe_secret_combine(const struct lethe_secret *a, const struct lethe_secret *b, const char *label,
                                    struct lethe_secret **out) LETHE_MUST_CHECK;

/* BLAKE2b-256, unkeyed: chain hashes and digests. */
void lethe_hash(const void *bytes, size_t len, uint8_t out[32]);

/* The Padmé length (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", PoPETs 2019). */
uint64_t lethe_padme(uint64_t len);

enum lethe_object_kind {
    LETHE_OBJECT_ARTIFACT = 1,
    LETHE_OBJECT_RESIDUAL = 2,
    LETHE_OBJECT_SEGMENT = 3,
    LETHE_OBJECT_PACK = 4, /* each member is sealed on its own, at position = its offset in the pack */
    LETHE_OBJECT_SNAPSHOT = 5,
    LETHE_OBJECT_JOURNAL = 6,
    LETHE_OBJECT_HEAD = 7,
    LETHE_OBJECT_PAIR = 8,
    LETHE_OBJECT_DEVICE = 9, /* never in the vault: pairs and small files in the state folder */
};

/* The associated data. Every field enters the tag; kind, vault and id also enter the object's key. */
struct lethe_object_name {
    enum lethe_object_kind kind;
    struct lethe_id vault;
    struct lethe_id id;
    struct lethe_id content; /* the content it was written for; zero where there is none */
    uint64_t position;       /* segment or member position; 0 where there is none */
};

/*
 * Seals plaintext as nonce | ciphertext | tag under the key derived from root for this name, and appends it to out.
 * padded: the plaintext is preceded by its length and padded with zeros to the Padmé length inside the seal.
 */
enum lethe_err lethe_object_seal(const struct lethe_secret *root, const struct lethe_object_name *name, bool padded,
                                 const uint8_t *plaintext, size_t len, const struct lethe_random *random,
                                 struct lethe_buf *out) LETHE_MUST_CHECK;
/* The inverse; appends to out. LETHE_ERR_INTEGRITY on any difference, and then out is unchanged. */
enum lethe_err lethe_object_open(const struct lethe_secret *root, const struct lethe_object_name *name, bool padded,
                                 const uint8_t *sealed, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* The sealed size of a padded or unpadded plaintext of len bytes. */
uint64_t lethe_object_sealed_size(uint64_t len, bool padded);

/*
 * An artifact: sealed bytes (padded inside to fill the picture) as the pixels of a canonical PNG, 8-bit RGB, filter 0,
 * stored deflate blocks. Opening regenerates the PNG around the pixels and refuses any other byte with
 * LETHE_ERR_INTEGRITY.
 */
enum lethe_err lethe_artifact_seal(const struct lethe_secret *root, const struct lethe_object_name *name,
                                   const uint8_t *plaintext, size_t len, const struct lethe_random *random,
                                   struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_artifact_open(const struct lethe_secret *root, const struct lethe_object_name *name,
                                   const uint8_t *png, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* The PNG alone, for tools: pixels of a canonical picture around bytes, and back. root may not be needed. */
enum lethe_err lethe_noise_png_wrap(const uint8_t *bytes, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_noise_png_unwrap(const uint8_t *png, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
/* The number of bytes that a picture for at least len bytes holds: what lethe_noise_png_wrap must be given. */
uint64_t lethe_noise_png_capacity(uint64_t len);

/* The device secret as a phrase for people: Crockford base 32 in groups, with a checksum. */
#define LETHE_PHRASE_MAX 96
void lethe_phrase_write(const struct lethe_secret *secret, char out[LETHE_PHRASE_MAX]);
/* Forgives case, spaces, hyphens, line ends and O/0, I/L/1. LETHE_ERR_FORMAT when the checksum does not fit. */
enum lethe_err lethe_phrase_read(const char *text, size_t len, struct lethe_secret **out) LETHE_MUST_CHECK;

/* vault.json. */
enum lethe_fidelity { LETHE_FIDELITY_EXACT = 0, LETHE_FIDELITY_SPLIT = 1, LETHE_FIDELITY_LOSSY = 2 };

struct lethe_vault_settings {
    struct lethe_id id;
    enum lethe_fidelity fidelity;
    unsigned strength;       /* 0 to 3 */
    bool pairs_in_vault;     /* false: --pairs device */
    struct lethe_id second;  /* id of the store of residuals (split), else zero */
    int64_t created;         /* seconds since 1970 */
};

struct lethe_vault_file;

/* KDF cost: floors and caps are checked before Argon2id runs, whoever wrote them. */
struct lethe_kdf_cost {
    uint32_t memory_mib; /* 16 to 4096; default 256 */
    uint32_t passes;     /* 1 to 16; default 3 */
};

/*
 * A new vault file with one slot and a fresh master key. passphrase is borrowed; *master is owned by the caller.
 */
enum lethe_err lethe_vault_file_new(const struct lethe_vault_settings *settings, const struct lethe_kdf_cost *cost,
                                    const char *passphrase, size_t passphrase_len, const struct lethe_secret *device,
                                    const struct lethe_random *random, struct lethe_vault_file **out,
                                    struct lethe_secret **master) LETHE_MUST_CHECK;
/* Hostile JSON: LETHE_ERR_FORMAT, LETHE_ERR_VERSION. The MAC is checked by unlock. */
enum lethe_err lethe_vault_file_parse(const uint8_t *json, size_t len, struct lethe_vault_file **out) LETHE_MUST_CHECK;
void lethe_vault_file_free(struct lethe_vault_file *file);
const struct lethe_vault_settings *lethe_vault_file_settings(const struct lethe_vault_file *file);
/* Grows by one with every write. */
uint64_t lethe_vault_file_generation(const struct lethe_vault_file *file);
/* Tries every slot; LETHE_ERR_KEY when none opens, LETHE_ERR_INTEGRITY when one does and the MAC is wrong. */
enum lethe_err lethe_vault_file_unlock(const struct lethe_vault_file *file, const char *passphrase,
                                       size_t passphrase_len, const struct lethe_secret *device,
                                       struct lethe_secret **master) LETHE_MUST_CHECK;
/* Only the MAC, for a master key already at hand. */
enum lethe_err lethe_vault_file_verify(const struct lethe_vault_file *file, const struct lethe_secret *master)
    LETHE_MUST_CHECK;
/* JSON with a fresh MAC and the next generation, appended to out. */
enum lethe_err lethe_vault_file_write(struct lethe_vault_file *file, const struct lethe_secret *master,
                                      struct lethe_buf *out) LETHE_MUST_CHECK;
/* Slots: at most 16. The label is for people (at most 64 bytes of printable ASCII). */
enum lethe_err lethe_vault_file_slot_add(struct lethe_vault_file *file, const struct lethe_secret *master,
                                         const struct lethe_kdf_cost *cost, const char *passphrase,
                                         size_t passphrase_len, const struct lethe_secret *device, const char *label,
                                         const struct lethe_random *random, struct lethe_id *slot) LETHE_MUST_CHECK;
/* LETHE_ERR_NOT_FOUND; LETHE_ERR_ARG for the last slot. */
enum lethe_err lethe_vault_file_slot_remove(struct lethe_vault_file *file, const struct lethe_id *slot)
    LETHE_MUST_CHECK;
struct lethe_slot_info {
    struct lethe_id id;
    char label[65];
    struct lethe_kdf_cost cost;
    int64_t created;
};
size_t lethe_vault_file_slots(const struct lethe_vault_file *file);
enum lethe_err lethe_vault_file_slot(const struct lethe_vault_file *file, size_t index, struct lethe_slot_info *out)
    LETHE_MUST_CHECK;
/* Which slot this passphrase opens. */
enum lethe_err lethe_vault_file_slot_find(const struct lethe_vault_file *file, const char *passphrase,
                                          size_t passphrase_len, const struct lethe_secret *device,
                                          struct lethe_id *slot) LETHE_MUST_CHECK;
/* The engine has no clock: a slot that was added is dated by the caller (else 0). LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_vault_file_slot_date(struct lethe_vault_file *file, const struct lethe_id *slot, int64_t created)
    LETHE_MUST_CHECK;

#endif
