/* SPDX-License-Identifier: MIT */
/* A key slot of vault.json: the master key wrapped under a passphrase and the device secret. slot.c has the
 * layout. */
#ifndef LETHE_SEAL_SLOT_H
#define LETHE_SEAL_SLOT_H

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

#define LETHE_WRAPPED_BYTES (LETHE_NONCE_BYTES + LETHE_KEY_BYTES + LETHE_TAG_BYTES)
#define LETHE_SLOT_LABEL_MAX 64

struct lethe_slot {
    struct lethe_id id;
    char label[LETHE_SLOT_LABEL_MAX + 1];
    int64_t created;
    struct lethe_kdf_cost cost;
    uint8_t salt[LETHE_SALT_BYTES];
    uint8_t wrapped[LETHE_WRAPPED_BYTES];
    uint8_t commitment[32];
};

/* Between the floors and caps of seal.h. */
bool lethe_kdf_cost_valid(const struct lethe_kdf_cost *cost);
/* At most 64 bytes of printable ASCII. */
bool lethe_slot_label_valid(const char *label);
/* Fills salt, wrapped and commitment; id and cost are set and valid. LETHE_ERR_ARG for an empty or huge
 * passphrase. */
enum lethe_err lethe_slot_wrap(struct lethe_slot *slot, const struct lethe_id *vault, const char *passphrase,
                               size_t passphrase_len, const struct lethe_secret *device,
                               const struct lethe_secret *master,
                               const struct lethe_random *random) LETHE_MUST_CHECK;
/* LETHE_ERR_KEY when passphrase or device secret are not this slot's; LETHE_ERR_INTEGRITY when they are and
 * the rest is not. */
enum lethe_err lethe_slot_unwrap(const struct lethe_slot *slot, const struct lethe_id *vault,
                                 const char *passphrase, size_t passphrase_len,
                                 const struct lethe_secret *device,
                                 struct lethe_secret **master) LETHE_MUST_CHECK;

#endif
