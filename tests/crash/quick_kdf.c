/* SPDX-License-Identifier: MIT */
/* In place of Argon2id, which would take half the time of a test that opens a device thousands of times. */
#include <string.h>

#include "lethe/seal.h"

enum lethe_err __wrap_lethe_argon2id(const char *passphrase, size_t passphrase_len, const uint8_t *salt,
                                     const struct lethe_kdf_cost *cost, uint8_t out[32]);

enum lethe_err __wrap_lethe_argon2id(const char *passphrase, size_t passphrase_len, const uint8_t *salt,
                                     const struct lethe_kdf_cost *cost, uint8_t out[32])
{
    uint8_t bytes[128] = {0};

    (void)cost;
    memcpy(bytes, salt, 16);
    memcpy(bytes + 16, passphrase, passphrase_len < 112 ? passphrase_len : 112);
    lethe_hash(bytes, sizeof bytes, out);
    return LETHE_OK;
}
