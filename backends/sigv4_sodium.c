/* SPDX-License-Identifier: MIT */
#include "backends/sigv4_sodium.h"

#include <string.h>

#include <sodium.h>

_Static_assert(LETHE_SIGV4_HASH_BYTES == crypto_hash_sha256_BYTES, "a digest has another size");
_Static_assert(LETHE_SIGV4_HASH_BYTES == crypto_auth_hmacsha256_BYTES, "a code has another size");

void lethe_sigv4_sha256(const void *bytes, size_t len, uint8_t out[LETHE_SIGV4_HASH_BYTES])
{
    crypto_hash_sha256(out, bytes, len);
}

void lethe_sigv4_hmac(const uint8_t *key, size_t key_len, const void *bytes, size_t len,
                      uint8_t out[LETHE_SIGV4_HASH_BYTES])
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, bytes, len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

void lethe_sigv4_wipe(void *bytes, size_t len)
{
    sodium_memzero(bytes, len);
}

void *lethe_sigv4_secret_alloc(size_t size)
{
    void *secret = sodium_init() < 0 ? NULL : sodium_malloc(size);

    if (secret) {
        memset(secret, 0, size);
    }
    return secret;
}

void lethe_sigv4_secret_free(void *secret)
{
    sodium_free(secret);
}
