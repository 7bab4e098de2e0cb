/* SPDX-License-Identifier: MIT */
/*
 * The primitives that the room is built from. sodium.c alone includes libsodium, and chacha.c libcrypto: their types,
 * names and return codes stop there.
 */
#ifndef LETHE_SEAL_PRIMITIVES_H
#define LETHE_SEAL_PRIMITIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/seal.h"

/* One stretch of a message that is hashed as if all were joined. */
struct lethe_part {
    const void *bytes;
    size_t len;
};

/* BLAKE2b-256 (RFC 7693), keyed with 32 bytes; unkeyed when key is NULL. No state stays behind. */
void lethe_blake2b(const uint8_t *key, const struct lethe_part *parts, size_t count, uint8_t out[32]);

/*
 * Subkey of key: lethe_blake2b(key, u8 length of label | label | parts). The label has 1 to 255 bytes: a
 * first byte of zero is left for lethe_secret_combine.
 */
void lethe_subkey(const uint8_t key[LETHE_KEY_BYTES], const char *label, const struct lethe_part *parts,
                  size_t count, uint8_t out[LETHE_KEY_BYTES]);
/* At most this many parts. */
#define LETHE_SUBKEY_PARTS 6

/* XChaCha20-Poly1305 (IETF). out has room for len + 16 bytes: ciphertext, then tag. plain may be equal to
 * out. */
void lethe_aead_seal(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                     const void *aad, size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out);
/* len counts the tag; out has room for len - 16 bytes. LETHE_ERR_INTEGRITY, and then out holds nothing
 * readable. */
enum lethe_err lethe_aead_open(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                               const void *aad, size_t aad_len, const uint8_t *sealed, size_t len,
                               uint8_t *out) LETHE_MUST_CHECK;

/* The same with the tag apart; out has room for len bytes and may be equal to the input. */
void lethe_aead_seal_apart(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                           const void *aad, size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out,
                           uint8_t tag[LETHE_TAG_BYTES]);
enum lethe_err lethe_aead_open_apart(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                                     const void *aad, size_t aad_len, const uint8_t *sealed, size_t len,
                                     const uint8_t tag[LETHE_TAG_BYTES], uint8_t *out) LETHE_MUST_CHECK;

#define LETHE_SALT_BYTES 16
/* Argon2id version 1.3 (RFC 9106) with one lane. LETHE_ERR_NOMEM when the memory is not there (logged). */
enum lethe_err lethe_argon2id(const char *passphrase, size_t passphrase_len,
                              const uint8_t salt[LETHE_SALT_BYTES], const struct lethe_kdf_cost *cost,
                              uint8_t out[32]) LETHE_MUST_CHECK;

/* Guarded memory that is locked and excluded from dumps; wiped when freed. NULL on failure (logged). */
void *lethe_locked_alloc(size_t size);
void lethe_locked_free(void *memory);
/* Overwrites in a way that the compiler keeps. */
void lethe_wipe(void *memory, size_t len);
/* Whether 32 bytes are equal, in constant time. */
bool lethe_equal32(const uint8_t a[32], const uint8_t b[32]);

void lethe_system_random(void *context, void *out, size_t len);
enum lethe_err lethe_sodium_start(void) LETHE_MUST_CHECK;

#endif
