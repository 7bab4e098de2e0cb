/* SPDX-License-Identifier: MIT */
/* The adapter of libsodium. Thread-safe after lethe_sodium_start. */
#include "engine/seal/chacha.h"
#include "engine/seal/primitives.h"

#include <string.h>

#include <sodium.h>

#include "lethe/log.h"

#define LONG 1024u /* bytes from which on lethe_chacha_seal pays */

_Static_assert(LETHE_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size");
_Static_assert(LETHE_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce size");
_Static_assert(LETHE_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag size");
_Static_assert(LETHE_SALT_BYTES == crypto_pwhash_argon2id_SALTBYTES, "salt size");

enum lethe_err lethe_sodium_start(void)
{
    if (sodium_init() < 0) {
        lethe_log(LETHE_LOG_ERROR, "the cryptographic library libsodium could not start");
        return LETHE_ERR_UNSUPPORTED;
    }
    lethe_chacha_start();
    return LETHE_OK;
}

void lethe_system_random(void *context, void *out, size_t len)
{
    (void)context;
    randombytes_buf(out, len);
}

void lethe_blake2b(const uint8_t *key, const struct lethe_part *parts, size_t count, uint8_t out[32])
{
    crypto_generichash_blake2b_state state;

    /* These calls fail only for sizes out of range, and ours are constants. */
    (void)crypto_generichash_blake2b_init(&state, key, key ? LETHE_KEY_BYTES : 0, 32);
    for (size_t i = 0; i < count; i++) {
        (void)crypto_generichash_blake2b_update(&state, parts[i].bytes, parts[i].len);
    }
    (void)crypto_generichash_blake2b_final(&state, out, 32);
    sodium_memzero(&state, sizeof state);
}

/* XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key that HChaCha20 makes of key and half of the nonce. */
struct subkey {
    uint8_t key[LETHE_KEY_BYTES];
    uint8_t nonce[LETHE_CHACHA_NONCE_BYTES];
};

static struct lethe_chacha_message message_of(const uint8_t *key, const uint8_t *nonce, const void *aad, size_t aad_len,
                                              struct subkey *sub)
{
    (void)crypto_core_hchacha20(sub->key, nonce, key, NULL);
    memset(sub->nonce, 0, 4);
    memcpy(sub->nonce + 4, nonce + 16, 8);
    return (struct lethe_chacha_message){.key = sub->key, .nonce = sub->nonce, .aad = aad, .aad_len = aad_len};
}

void lethe_aead_seal_apart(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                           const void *aad, size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out,
                           uint8_t tag[LETHE_TAG_BYTES])
{
    bool done = false;

    if (len >= LONG && aad_len <= LONG) {
        struct subkey sub;
        struct lethe_chacha_message message = message_of(key, nonce, aad, aad_len, &sub);

        done = lethe_chacha_seal(&message, plain, len, out, tag);
        sodium_memzero(&sub, sizeof sub);
    }
    if (!done) {
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt_detached(out, tag, NULL, plain, len, aad, aad_len, NULL, nonce,
                                                                  key);
    }
}

enum lethe_err lethe_aead_open_apart(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                                     const void *aad, size_t aad_len, const uint8_t *sealed, size_t len,
                                     const uint8_t tag[LETHE_TAG_BYTES], uint8_t *out)
{
    bool done = false, valid = false;

    if (len >= LONG && aad_len <= LONG) {
        struct subkey sub;
        struct lethe_chacha_message message = message_of(key, nonce, aad, aad_len, &sub);

        done = lethe_chacha_open(&message, sealed, len, tag, out, &valid);
        sodium_memzero(&sub, sizeof sub);
    }
    if (!done) {
        valid = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(out, NULL, sealed, len, tag, aad, aad_len, nonce,
                                                                    key) == 0;
    }
    return valid ? LETHE_OK : LETHE_ERR_INTEGRITY;
}

void lethe_aead_seal(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                     const void *aad, size_t aad_len, const uint8_t *plain, size_t len, uint8_t *out)
{
    lethe_aead_seal_apart(key, nonce, aad, aad_len, plain, len, out, out + len);
}

enum lethe_err lethe_aead_open(const uint8_t key[LETHE_KEY_BYTES], const uint8_t nonce[LETHE_NONCE_BYTES],
                               const void *aad, size_t aad_len, const uint8_t *sealed, size_t len,
                               uint8_t *out)
{
    return len < LETHE_TAG_BYTES ? LETHE_ERR_INTEGRITY
                                 : lethe_aead_open_apart(key, nonce, aad, aad_len, sealed, len - LETHE_TAG_BYTES,
                                                         sealed + len - LETHE_TAG_BYTES, out);
}

enum lethe_err lethe_argon2id(const char *passphrase, size_t passphrase_len,
                              const uint8_t salt[LETHE_SALT_BYTES], const struct lethe_kdf_cost *cost,
                              uint8_t out[32])
{
    size_t memory = (size_t)cost->memory_mib << 20;

    if (crypto_pwhash_argon2id(out, 32, passphrase, passphrase_len, salt, cost->passes, memory,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0) {
        lethe_log(LETHE_LOG_ERROR, "no memory for the passphrase's key: %u MiB must be free",
                  cost->memory_mib);
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}

void *lethe_locked_alloc(size_t size)
{
    void *memory = sodium_malloc(size);

    if (!memory) {
        lethe_log(LETHE_LOG_ERROR, "no guarded memory for a secret: raise the limits on memory and mappings");
        return NULL;
    }
    /* sodium_malloc of 1.0.18 does not say whether the pages were locked; asking again does. */
    if (sodium_mlock(memory, size) != 0) {
        lethe_log(LETHE_LOG_ERROR,
                  "no locked memory for a secret: raise the limit on locked memory (ulimit -l)");
        sodium_free(memory);
        return NULL;
    }
    return memory;
}

void lethe_locked_free(void *memory)
{
    sodium_free(memory);
}

void lethe_wipe(void *memory, size_t len)
{
    sodium_memzero(memory, len);
}

bool lethe_equal32(const uint8_t a[32], const uint8_t b[32])
{
    return sodium_memcmp(a, b, 32) == 0;
}
