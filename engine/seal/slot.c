/* SPDX-License-Identifier: MIT */
/*
 * Key slots.
 *
 *   parameters = vault[16] | slot[16] | u32 memory in MiB | u32 passes | salt[16]            56 bytes
 *   stretched  = Argon2id 1.3 (RFC 9106), one lane, 32 bytes: passphrase, salt, memory, passes
 *   kek        = BLAKE2b-256(key: device secret, u8 15 | "lethefs slot v1" | stretched | parameters)
 *   wrapped    = nonce[24] | ciphertext[32] | tag[16]  of the master key, XChaCha20-Poly1305
 *                key BLAKE2b-256(key: kek, u8 20 | "lethefs slot wrap v1"), associated data: parameters
 *   commitment = BLAKE2b-256(key: kek, u8 26 | "lethefs slot commitment v1")
 *
 * The commitment binds the slot to one kek: XChaCha20-Poly1305 alone would let an attacker make a ciphertext
 * that opens under many keys, and so test many passphrases with one answer (Len, Grubbs, Ristenpart:
 * "Partitioning Oracle Attacks", USENIX Security 2021). Without the device secret no passphrase can be tested
 * at all.
 */
#include "engine/seal/slot.h"

#include <string.h>

#define PARAMETER_BYTES 56
#define PASSPHRASE_MAX 65536

/* Everything secret of one wrapping, in locked memory. */
struct slot_keys {
    uint8_t stretched[32];
    uint8_t kek[LETHE_KEY_BYTES];
    uint8_t wrap[LETHE_KEY_BYTES];
    uint8_t master[LETHE_KEY_BYTES];
};

bool lethe_kdf_cost_valid(const struct lethe_kdf_cost *cost)
{
    return cost->memory_mib >= 16 && cost->memory_mib <= 4096 && cost->passes >= 1 && cost->passes <= 16;
}

bool lethe_slot_label_valid(const char *label)
{
    size_t len = strnlen(label, LETHE_SLOT_LABEL_MAX + 1);

    for (size_t i = 0; i < len; i++) {
        if (label[i] < 0x20 || label[i] > 0x7e) {
            return false;
        }
    }
    return len <= LETHE_SLOT_LABEL_MAX;
}

static void slot_parameters(const struct lethe_slot *slot, const struct lethe_id *vault,
                            uint8_t out[PARAMETER_BYTES])
{
    memcpy(out, vault->bytes, 16);
    memcpy(out + 16, slot->id.bytes, 16);
    lethe_set_u32(out + 32, slot->cost.memory_mib);
    lethe_set_u32(out + 36, slot->cost.passes);
    memcpy(out + 40, slot->salt, LETHE_SALT_BYTES);
}

/* Fills stretched, kek and wrap, and gives the commitment. */
static enum lethe_err slot_keys_derive(const struct lethe_slot *slot,
                                       const uint8_t parameters[PARAMETER_BYTES], const char *passphrase,
                                       size_t passphrase_len, const struct lethe_secret *device,
                                       struct slot_keys *keys, uint8_t commitment[32])
{
    const struct lethe_part parts[2] = {{keys->stretched, sizeof keys->stretched},
                                        {parameters, PARAMETER_BYTES}};
    enum lethe_err err;

    err = lethe_argon2id(passphrase, passphrase_len, slot->salt, &slot->cost, keys->stretched);
    if (err) {
        return err;
    }
    lethe_subkey(lethe_secret_bytes(device), "lethefs slot v1", parts, 2, keys->kek);
    lethe_subkey(keys->kek, "lethefs slot wrap v1", NULL, 0, keys->wrap);
    lethe_subkey(keys->kek, "lethefs slot commitment v1", NULL, 0, commitment);
    return LETHE_OK;
}

enum lethe_err lethe_slot_wrap(struct lethe_slot *slot, const struct lethe_id *vault, const char *passphrase,
                               size_t passphrase_len, const struct lethe_secret *device,
                               const struct lethe_secret *master, const struct lethe_random *random)
{
    uint8_t parameters[PARAMETER_BYTES];
    struct slot_keys *keys;
    enum lethe_err err;

    if (!lethe_kdf_cost_valid(&slot->cost) || passphrase_len == 0 || passphrase_len > PASSPHRASE_MAX) {
        return LETHE_ERR_ARG;
    }
    keys = lethe_locked_alloc(sizeof *keys);
    if (!keys) {
        return LETHE_ERR_NOMEM;
    }
    random->fill(random->context, slot->salt, sizeof slot->salt);
    slot_parameters(slot, vault, parameters);
    err = slot_keys_derive(slot, parameters, passphrase, passphrase_len, device, keys, slot->commitment);
    if (!err) {
        random->fill(random->context, slot->wrapped, LETHE_NONCE_BYTES);
        lethe_aead_seal(keys->wrap, slot->wrapped, parameters, sizeof parameters, lethe_secret_bytes(master),
                        LETHE_KEY_BYTES, slot->wrapped + LETHE_NONCE_BYTES);
    }
    lethe_locked_free(keys);
    return err;
}

enum lethe_err lethe_slot_unwrap(const struct lethe_slot *slot, const struct lethe_id *vault,
                                 const char *passphrase, size_t passphrase_len,
                                 const struct lethe_secret *device, struct lethe_secret **master)
{
    uint8_t parameters[PARAMETER_BYTES], commitment[32];
    struct slot_keys *keys;
    enum lethe_err err;

    *master = NULL;
    if (!lethe_kdf_cost_valid(&slot->cost)) {
        return LETHE_ERR_FORMAT;
    }
    if (passphrase_len == 0 || passphrase_len > PASSPHRASE_MAX) {
        return LETHE_ERR_KEY;
    }
    keys = lethe_locked_alloc(sizeof *keys);
    if (!keys) {
        return LETHE_ERR_NOMEM;
    }
    slot_parameters(slot, vault, parameters);
    err = slot_keys_derive(slot, parameters, passphrase, passphrase_len, device, keys, commitment);
    if (!err && !lethe_equal32(commitment, slot->commitment)) {
        err = LETHE_ERR_KEY;
    }
    if (!err) {
        err = lethe_aead_open(keys->wrap, slot->wrapped, parameters, sizeof parameters,
                              slot->wrapped + LETHE_NONCE_BYTES, LETHE_KEY_BYTES + LETHE_TAG_BYTES,
                              keys->master);
    }
    if (!err) {
        err = lethe_secret_new(keys->master, master);
    }
    lethe_locked_free(keys);
    return err;
}
