/* SPDX-License-Identifier: MIT */
/*
 * ChaCha20-Poly1305 (RFC 8439) of OpenSSL: the bytes that libsodium makes, two to three times as fast on processors with
 * wide vectors. Only for what is long: a call costs as much as sealing a kilobyte. A context lies in ordinary memory,
 * so it gets keys of one message alone (XChaCha20's subkeys), and is wiped at once.
 */
#ifndef LETHE_SEAL_CHACHA_H
#define LETHE_SEAL_CHACHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/seal.h"

#define LETHE_CHACHA_NONCE_BYTES 12

struct lethe_chacha_message {
    const uint8_t *key;   /* LETHE_KEY_BYTES */
    const uint8_t *nonce; /* LETHE_CHACHA_NONCE_BYTES */
    const void *aad;
    size_t aad_len;
};

/* Looks for it, once. Thread-safe afterwards. */
void lethe_chacha_start(void);
/* In place or apart. false: it is not there, or memory is out; nothing was written. */
bool lethe_chacha_seal(const struct lethe_chacha_message *message, const uint8_t *plain, size_t len, uint8_t *out,
                       uint8_t tag[LETHE_TAG_BYTES]);
/* The same, and *valid says whether the tag is right; when it is not, out is wiped. */
bool lethe_chacha_open(const struct lethe_chacha_message *message, const uint8_t *sealed, size_t len,
                       const uint8_t tag[LETHE_TAG_BYTES], uint8_t *out, bool *valid);

#endif
