/* SPDX-License-Identifier: MIT */
/* The adapter to libsodium for this room: SHA-256 and HMAC (FIPS 180-4, RFC 2104), and memory for secrets. */
#ifndef LETHE_BACKENDS_SIGV4_SODIUM_H
#define LETHE_BACKENDS_SIGV4_SODIUM_H

#include <stddef.h>
#include <stdint.h>

#define LETHE_SIGV4_HASH_BYTES 32

void lethe_sigv4_sha256(const void *bytes, size_t len, uint8_t out[LETHE_SIGV4_HASH_BYTES]);
/* out may be key. */
void lethe_sigv4_hmac(const uint8_t *key, size_t key_len, const void *bytes, size_t len,
                      uint8_t out[LETHE_SIGV4_HASH_BYTES]);
void lethe_sigv4_wipe(void *bytes, size_t len);

/* Zeroed, locked where the system allows it, and out of core dumps; NULL when there is no memory. */
void *lethe_sigv4_secret_alloc(size_t size);
/* Wipes and frees. NULL does nothing. */
void lethe_sigv4_secret_free(void *secret);

#endif
