/* SPDX-License-Identifier: MIT */
/*
 * How a block is sealed: XChaCha20-Poly1305 (IETF), tag apart. Nonce: the sequence number (8 bytes,
 * little-endian) and the random salt of the mount that handed it out (16 bytes): the number and the salt are
 * committed before the first block of a mount is sealed, so no crash repeats a nonce, and neither does a
 * state folder that was restored from an old copy. Associated data: sequence and length, nothing of the slot,
 * so that a sealed block may move.
 */
#include "engine/seal/primitives.h"
#include "fs/device/content_private.h"

#include <string.h>

static void fill_nonce(const struct lethe_contents *store, uint64_t sequence,
                       uint8_t nonce[LETHE_NONCE_BYTES])
{
    lethe_set_u64(nonce, sequence);
    memcpy(nonce + 8, store->salts[sequence >> 40], 16);
}

static void fill_data(uint64_t sequence, size_t len, uint8_t data[12])
{
    lethe_set_u64(data, sequence);
    lethe_set_u32(data + 8, (uint32_t)len);
}

void lethe_block_seal(const struct lethe_contents *store, uint64_t sequence, const uint8_t *plain, size_t len,
                      uint8_t *cipher, uint8_t tag[LETHE_TAG_BYTES])
{
    uint8_t nonce[LETHE_NONCE_BYTES], data[12];

    fill_nonce(store, sequence, nonce);
    fill_data(sequence, len, data);
    lethe_aead_seal_apart(lethe_secret_bytes(store->key), nonce, data, sizeof data, plain, len, cipher, tag);
}

enum lethe_err lethe_block_open(const struct lethe_contents *store, const struct lethe_entry *entry,
                                uint8_t *bytes)
{
    uint8_t nonce[LETHE_NONCE_BYTES], data[12];

    if (entry->sequence >> 40 >= store->mounts) {
        return LETHE_ERR_INTEGRITY;
    }
    fill_nonce(store, entry->sequence, nonce);
    fill_data(entry->sequence, entry->length, data);
    return lethe_aead_open_apart(lethe_secret_bytes(store->key), nonce, data, sizeof data, bytes, entry->length,
                                 entry->tag, bytes);
}
