/* SPDX-License-Identifier: MIT */
/* vault.json in memory, shared by vault_file.c (what it means) and vault_json.c (how it is written). */
#ifndef LETHE_SEAL_VAULT_FILE_H
#define LETHE_SEAL_VAULT_FILE_H

#include "engine/seal/slot.h"
#include "lethe/seal.h"

#define LETHE_VAULT_VERSION 1
#define LETHE_VAULT_SLOTS 16

struct lethe_vault_state {
    struct lethe_vault_settings settings;
    uint64_t generation; /* at most INT64_MAX: JSON's integers */
    struct lethe_slot slots[LETHE_VAULT_SLOTS];
    size_t count; /* 1 to LETHE_VAULT_SLOTS */
    uint8_t mac[32];
};

/* Whether every field is in its range. */
bool lethe_vault_state_valid(const struct lethe_vault_state *state);
/* The canonical text, mac included; appended to out. Check lethe_buf_status. */
void lethe_vault_json_write(const struct lethe_vault_state *state, struct lethe_buf *out);
/* Refuses every text but the canonical one. LETHE_ERR_FORMAT, LETHE_ERR_VERSION (logged), LETHE_ERR_NOMEM. */
enum lethe_err lethe_vault_json_read(const uint8_t *json, size_t len,
                                     struct lethe_vault_state *state) LETHE_MUST_CHECK;

#endif
