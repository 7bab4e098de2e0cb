/* SPDX-License-Identifier: MIT */
/*
 * The text of vault.json: JSON (RFC 8259), ASCII, two spaces a level, this order, nothing else, one newline
 * at the end. Bytes are lower-case hexadecimal; integers have no sign (but created), fraction or exponent.
 *
 *   {
 *     "format": "lethefs-vault",
 *     "version": 1,
 *     "id": 32 digits,                     the vault's id
 *     "generation": 1 to 2^63 - 1,         grows by one with every write
 *     "created": seconds since 1970,
 *     "fidelity": "exact" | "split" | "lossy",
 *     "strength": 0 to 3,
 *     "pairs": "vault" | "device",         whether model pairs are kept in the vault
 *     "second": 32 digits,                 id of the store of residuals; zeros without one
 *     "slots": [                           1 to 16, all ids different
 *       {
 *         "id": 32 digits,
 *         "label": at most 64 printable ASCII characters,
 *         "created": seconds since 1970, 0 when unknown,
 *         "kdf": "argon2id",
 *         "memory_mib": 16 to 4096,
 *         "passes": 1 to 16,
 *         "salt": 32 digits,
 *         "wrapped": 144 digits,           see slot.c
 *         "commitment": 64 digits
 *       }
 *     ],
 *     "mac": 64 digits                     see vault_file.c
 *   }
 *
 * A reader MUST refuse a version above its own before it looks at anything else, then any text that it would
 * not have written itself (other fields, order, spacing, escapes), and any text above 64 KiB. The text is
 * written here, not by jansson, which only parses: its layout must never change with a library.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/seal/vault_file.h"
#include "lethe/log.h"

#define JSON_MAX 65536

static const char *const fidelity_names[] = {"exact", "split", "lossy"};

bool lethe_vault_state_valid(const struct lethe_vault_state *state)
{
    const struct lethe_vault_settings *settings = &state->settings;

    if ((int)settings->fidelity < 0 || (int)settings->fidelity > 2 || settings->strength > 3 ||
        lethe_id_is_zero(&settings->id) || state->generation > INT64_MAX || state->count < 1 ||
        state->count > LETHE_VAULT_SLOTS) {
        return false;
    }
    for (size_t i = 0; i < state->count; i++) {
        const struct lethe_slot *slot = &state->slots[i];

        if (!lethe_kdf_cost_valid(&slot->cost) || !lethe_slot_label_valid(slot->label) ||
            lethe_id_is_zero(&slot->id)) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (lethe_id_equal(&slot->id, &state->slots[j].id)) {
                return false;
            }
        }
    }
    return true;
}

static void put_text(struct lethe_buf *out, const char *text)
{
    lethe_buf_put(out, text, strlen(text));
}

static void put_name(struct lethe_buf *out, const char *indent, const char *name)
{
    put_text(out, indent);
    put_text(out, "\"");
    put_text(out, name);
    put_text(out, "\": ");
}

static void put_string(struct lethe_buf *out, const char *indent, const char *name, const char *value)
{
    put_name(out, indent, name);
    put_text(out, "\"");
    for (; *value; value++) {
        if (*value == '"' || *value == '\\') {
            lethe_buf_put_u8(out, '\\');
        }
        lethe_buf_put_u8(out, (uint8_t)*value);
    }
    put_text(out, "\"");
}

static void put_integer(struct lethe_buf *out, const char *indent, const char *name, int64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64, value);
    put_name(out, indent, name);
    put_text(out, text);
}

static void put_bytes(struct lethe_buf *out, const char *indent, const char *name, const void *bytes,
                      size_t len)
{
    char text[2 * LETHE_WRAPPED_BYTES + 1];

    lethe_hex(bytes, len, text);
    put_string(out, indent, name, text);
}

void lethe_vault_json_write(const struct lethe_vault_state *state, struct lethe_buf *out)
{
    const struct lethe_vault_settings *settings = &state->settings;

    put_string(out, "{\n  ", "format", "lethefs-vault");
    put_integer(out, ",\n  ", "version", LETHE_VAULT_VERSION);
    put_bytes(out, ",\n  ", "id", settings->id.bytes, 16);
    put_integer(out, ",\n  ", "generation", (int64_t)state->generation);
    put_integer(out, ",\n  ", "created", settings->created);
    put_string(out, ",\n  ", "fidelity", fidelity_names[settings->fidelity]);
    put_integer(out, ",\n  ", "strength", settings->strength);
    put_string(out, ",\n  ", "pairs", settings->pairs_in_vault ? "vault" : "device");
    put_bytes(out, ",\n  ", "second", settings->second.bytes, 16);
    put_name(out, ",\n  ", "slots");
    put_text(out, "[");
    for (size_t i = 0; i < state->count; i++) {
        const struct lethe_slot *slot = &state->slots[i];

        put_bytes(out, i == 0 ? "\n    {\n      " : ",\n    {\n      ", "id", slot->id.bytes, 16);
        put_string(out, ",\n      ", "label", slot->label);
        put_integer(out, ",\n      ", "created", slot->created);
        put_string(out, ",\n      ", "kdf", "argon2id");
        put_integer(out, ",\n      ", "memory_mib", slot->cost.memory_mib);
        put_integer(out, ",\n      ", "passes", slot->cost.passes);
        put_bytes(out, ",\n      ", "salt", slot->salt, sizeof slot->salt);
        put_bytes(out, ",\n      ", "wrapped", slot->wrapped, sizeof slot->wrapped);
        put_bytes(out, ",\n      ", "commitment", slot->commitment, sizeof slot->commitment);
        put_text(out, "\n    }");
    }
    put_text(out, "\n  ]");
    put_bytes(out, ",\n  ", "mac", state->mac, sizeof state->mac);
    put_text(out, "\n}\n");
}

static bool read_bytes(const char *text, void *out, size_t len)
{
    return lethe_unhex(text, strlen(text), out, len) == LETHE_OK;
}

static bool read_slot(json_t *json, struct lethe_slot *slot)
{
    const char *id, *label, *kdf, *salt, *wrapped, *commitment;
    json_int_t created, memory, passes;

    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:s, s:I, s:I, s:s, s:s, s:s}", "id", &id,
                       "label", &label, "created", &created, "kdf", &kdf, "memory_mib", &memory, "passes",
                       &passes, "salt", &salt, "wrapped", &wrapped, "commitment", &commitment) != 0 ||
        strcmp(kdf, "argon2id") != 0 || strlen(label) > LETHE_SLOT_LABEL_MAX || memory < 0 ||
        memory > UINT32_MAX || passes < 0 || passes > UINT32_MAX) {
        return false;
    }
    memcpy(slot->label, label, strlen(label) + 1); /* its length was checked above */
    slot->created = created;
    slot->cost = (struct lethe_kdf_cost){(uint32_t)memory, (uint32_t)passes};
    return read_bytes(id, slot->id.bytes, 16) && read_bytes(salt, slot->salt, sizeof slot->salt) &&
           read_bytes(wrapped, slot->wrapped, sizeof slot->wrapped) &&
           read_bytes(commitment, slot->commitment, sizeof slot->commitment);
}

static bool read_state(json_t *json, struct lethe_vault_state *state)
{
    struct lethe_vault_settings *settings = &state->settings;
    const char *format, *id, *fidelity, *pairs, *second, *mac;
    json_int_t version, generation, created, strength;
    json_t *slots;
    int found = -1;

    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:I, s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:o, s:s}",
                       "format", &format, "version", &version, "id", &id, "generation", &generation,
                       "created", &created, "fidelity", &fidelity, "strength", &strength, "pairs", &pairs,
                       "second", &second, "slots", &slots, "mac", &mac) != 0 ||
        generation < 1 || strength < 0 || strength > 3 || !json_is_array(slots) ||
        json_array_size(slots) > LETHE_VAULT_SLOTS) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        if (strcmp(fidelity, fidelity_names[i]) == 0) {
            found = i;
        }
    }
    if (found < 0 || (strcmp(pairs, "vault") != 0 && strcmp(pairs, "device") != 0)) {
        return false;
    }
    settings->fidelity = (enum lethe_fidelity)found;
    settings->pairs_in_vault = strcmp(pairs, "vault") == 0;
    settings->strength = (unsigned)strength;
    settings->created = created;
    state->generation = (uint64_t)generation;
    state->count = json_array_size(slots);
    for (size_t i = 0; i < state->count; i++) {
        if (!read_slot(json_array_get(slots, i), &state->slots[i])) {
            return false;
        }
    }
    return read_bytes(id, settings->id.bytes, 16) && read_bytes(second, settings->second.bytes, 16) &&
           read_bytes(mac, state->mac, sizeof state->mac) && lethe_vault_state_valid(state);
}

enum lethe_err lethe_vault_json_read(const uint8_t *json, size_t len, struct lethe_vault_state *state)
{
    struct lethe_buf again = {0};
    json_t *root = NULL;
    const char *format;
    json_int_t version;
    enum lethe_err err = LETHE_ERR_FORMAT;

    *state = (struct lethe_vault_state){0};
    if (len > JSON_MAX) {
        return LETHE_ERR_FORMAT;
    }
    root = json_loadb((const char *)json, len, JSON_REJECT_DUPLICATES, NULL);
    if (!root || json_unpack(root, "{s:s, s:I}", "format", &format, "version", &version) != 0 ||
        strcmp(format, "lethefs-vault") != 0) {
        goto out;
    }
    if (version > LETHE_VAULT_VERSION) {
        lethe_log(LETHE_LOG_ERROR,
                  "vault.json has format version %" JSON_INTEGER_FORMAT "; this program reads %d", version,
                  LETHE_VAULT_VERSION);
        err = LETHE_ERR_VERSION;
        goto out;
    }
    if (version != LETHE_VAULT_VERSION || !read_state(root, state)) {
        goto out;
    }
    lethe_vault_json_write(state, &again);
    err = lethe_buf_status(&again);
    if (!err && (again.len != len || memcmp(again.data, json, len) != 0)) {
        err = LETHE_ERR_FORMAT;
    }
out:
    json_decref(root);
    lethe_buf_release(&again);
    return err;
}
