/* SPDX-License-Identifier: MIT */
/*
 * What vault.json means: settings, key slots, generation, and the MAC over all of them.
 *
 *   mac key = BLAKE2b-256(key: master, u8 21 | "lethefs vault file v1" | vault[16])
 *   mac     = BLAKE2b-256(key: mac key, encoding)
 *   encoding (little-endian):
 *     u32 version (1) | id[16] | u64 generation | i64 created | u8 fidelity (0 exact, 1 split, 2 lossy) |
 *     u8 strength | u8 pairs (1 vault, 0 device) | second[16] | u8 number of slots |
 *     for each slot: id[16] | u8 length of label | label | i64 created | u32 memory in MiB | u32 passes |
 *                    salt[16] | wrapped[72] | commitment[32]
 *
 * Two states are kept: the stored one, which the MAC covers, and the current one with changes not yet
 * written. Writing, and every change that has the master key at hand, first checks the MAC of the stored
 * state, so that no path gives a fresh MAC to bytes that someone else altered. Threads: const functions from
 * any number; the others from one at a time.
 */
#include "engine/seal/vault_file.h"

#include <stdlib.h>
#include <string.h>

struct lethe_vault_file {
    struct lethe_vault_state stored;
    struct lethe_vault_state now;
};

static enum lethe_err state_mac(const struct lethe_vault_state *state, const struct lethe_secret *master,
                                uint8_t out[32])
{
    const struct lethe_vault_settings *settings = &state->settings;
    const struct lethe_part vault = {settings->id.bytes, 16};
    uint8_t key[LETHE_KEY_BYTES];
    struct lethe_buf buf = {0};
    enum lethe_err err;

    lethe_buf_put_u32(&buf, LETHE_VAULT_VERSION);
    lethe_buf_put(&buf, settings->id.bytes, 16);
    lethe_buf_put_u64(&buf, state->generation);
    lethe_buf_put_u64(&buf, (uint64_t)settings->created);
    lethe_buf_put_u8(&buf, (uint8_t)settings->fidelity);
    lethe_buf_put_u8(&buf, (uint8_t)settings->strength);
    lethe_buf_put_u8(&buf, settings->pairs_in_vault);
    lethe_buf_put(&buf, settings->second.bytes, 16);
    lethe_buf_put_u8(&buf, (uint8_t)state->count);
    for (size_t i = 0; i < state->count; i++) {
        const struct lethe_slot *slot = &state->slots[i];

        lethe_buf_put(&buf, slot->id.bytes, 16);
        lethe_buf_put_u8(&buf, (uint8_t)strlen(slot->label));
        lethe_buf_put(&buf, slot->label, strlen(slot->label));
        lethe_buf_put_u64(&buf, (uint64_t)slot->created);
        lethe_buf_put_u32(&buf, slot->cost.memory_mib);
        lethe_buf_put_u32(&buf, slot->cost.passes);
        lethe_buf_put(&buf, slot->salt, sizeof slot->salt);
        lethe_buf_put(&buf, slot->wrapped, sizeof slot->wrapped);
        lethe_buf_put(&buf, slot->commitment, sizeof slot->commitment);
    }
    err = lethe_buf_status(&buf);
    if (!err) {
        const struct lethe_part part = {buf.data, buf.len};

        lethe_subkey(lethe_secret_bytes(master), "lethefs vault file v1", &vault, 1, key);
        lethe_blake2b(key, &part, 1, out);
        lethe_wipe(key, sizeof key);
    }
    lethe_buf_release(&buf);
    return err;
}

enum lethe_err lethe_vault_file_verify(const struct lethe_vault_file *file, const struct lethe_secret *master)
{
    uint8_t mac[32];
    enum lethe_err err = state_mac(&file->stored, master, mac);

    if (err) {
        return err;
    }
    return lethe_equal32(mac, file->stored.mac) ? LETHE_OK : LETHE_ERR_INTEGRITY;
}

static enum lethe_err add_slot(struct lethe_vault_state *state, const struct lethe_secret *master,
                               const struct lethe_kdf_cost *cost, const char *passphrase,
                               size_t passphrase_len, const struct lethe_secret *device, const char *label,
                               int64_t created, const struct lethe_random *random)
{
    struct lethe_slot slot = {.created = created, .cost = *cost};
    enum lethe_err err;

    if (state->count >= LETHE_VAULT_SLOTS || !lethe_slot_label_valid(label)) {
        return LETHE_ERR_ARG;
    }
    memcpy(slot.label, label, strlen(label) + 1); /* its length was checked above */
    random->fill(random->context, slot.id.bytes, sizeof slot.id.bytes);
    err = lethe_slot_wrap(&slot, &state->settings.id, passphrase, passphrase_len, device, master, random);
    if (err) {
        return err;
    }
    state->slots[state->count++] = slot;
    return LETHE_OK;
}

enum lethe_err lethe_vault_file_new(const struct lethe_vault_settings *settings,
                                    const struct lethe_kdf_cost *cost, const char *passphrase,
                                    size_t passphrase_len, const struct lethe_secret *device,
                                    const struct lethe_random *random, struct lethe_vault_file **out,
                                    struct lethe_secret **master)
{
    struct lethe_vault_file *file = calloc(1, sizeof *file);
    struct lethe_secret *key = NULL;
    enum lethe_err err;

    *out = NULL;
    *master = NULL;
    if (!file) {
        return LETHE_ERR_NOMEM;
    }
    file->now.settings = *settings;
    err = lethe_secret_random(random, &key);
    if (!err) {
        err = add_slot(&file->now, key, cost, passphrase, passphrase_len, device, "first", settings->created,
                       random);
    }
    if (!err && !lethe_vault_state_valid(&file->now)) {
        err = LETHE_ERR_ARG;
    }
    if (!err) {
        err = state_mac(&file->now, key, file->now.mac);
    }
    if (err) {
        lethe_secret_free(key);
        free(file);
        return err;
    }
    file->stored = file->now;
    *out = file;
    *master = key;
    return LETHE_OK;
}

enum lethe_err lethe_vault_file_parse(const uint8_t *json, size_t len, struct lethe_vault_file **out)
{
    struct lethe_vault_file *file = calloc(1, sizeof *file);
    enum lethe_err err;

    *out = NULL;
    if (!file) {
        return LETHE_ERR_NOMEM;
    }
    err = lethe_vault_json_read(json, len, &file->stored);
    if (err) {
        free(file);
        return err;
    }
    file->now = file->stored;
    *out = file;
    return LETHE_OK;
}

void lethe_vault_file_free(struct lethe_vault_file *file)
{
    free(file);
}

const struct lethe_vault_settings *lethe_vault_file_settings(const struct lethe_vault_file *file)
{
    return &file->now.settings;
}

uint64_t lethe_vault_file_generation(const struct lethe_vault_file *file)
{
    return file->now.generation;
}

/* The slot that opens, and its key. */
static enum lethe_err find_slot(const struct lethe_vault_file *file, const char *passphrase,
                                size_t passphrase_len, const struct lethe_secret *device,
                                const struct lethe_slot **slot, struct lethe_secret **master)
{
    for (size_t i = 0; i < file->now.count; i++) {
        enum lethe_err err = lethe_slot_unwrap(&file->now.slots[i], &file->now.settings.id, passphrase,
                                               passphrase_len, device, master);

        if (err != LETHE_ERR_KEY) {
            *slot = &file->now.slots[i];
            return err;
        }
    }
    return LETHE_ERR_KEY;
}

enum lethe_err lethe_vault_file_unlock(const struct lethe_vault_file *file, const char *passphrase,
                                       size_t passphrase_len, const struct lethe_secret *device,
                                       struct lethe_secret **master)
{
    const struct lethe_slot *slot;
    struct lethe_secret *key = NULL;
    enum lethe_err err;

    *master = NULL;
    err = find_slot(file, passphrase, passphrase_len, device, &slot, &key);
    if (!err) {
        err = lethe_vault_file_verify(file, key);
    }
    if (err) {
        lethe_secret_free(key);
        return err;
    }
    *master = key;
    return LETHE_OK;
}

enum lethe_err lethe_vault_file_slot_find(const struct lethe_vault_file *file, const char *passphrase,
                                          size_t passphrase_len, const struct lethe_secret *device,
                                          struct lethe_id *slot)
{
    const struct lethe_slot *found;
    struct lethe_secret *key = NULL;
    enum lethe_err err;

    err = find_slot(file, passphrase, passphrase_len, device, &found, &key);
    if (!err) {
        *slot = found->id;
    }
    lethe_secret_free(key);
    return err;
}

enum lethe_err lethe_vault_file_write(struct lethe_vault_file *file, const struct lethe_secret *master,
                                      struct lethe_buf *out)
{
    struct lethe_vault_state next = file->now;
    struct lethe_buf text = {0};
    enum lethe_err err;

    err = lethe_vault_file_verify(file, master);
    if (err) {
        return err;
    }
    if (next.generation >= INT64_MAX) {
        return LETHE_ERR_ARG;
    }
    next.generation++;
    err = state_mac(&next, master, next.mac);
    if (err) {
        return err;
    }
    lethe_vault_json_write(&next, &text);
    err = lethe_buf_status(&text);
    if (!err) {
        lethe_buf_put(out, text.data, text.len);
        err = lethe_buf_status(out);
    }
    lethe_buf_release(&text);
    if (!err) {
        file->now = next;
        file->stored = next;
    }
    return err;
}

enum lethe_err lethe_vault_file_slot_add(struct lethe_vault_file *file, const struct lethe_secret *master,
                                         const struct lethe_kdf_cost *cost, const char *passphrase,
                                         size_t passphrase_len, const struct lethe_secret *device,
                                         const char *label, const struct lethe_random *random,
                                         struct lethe_id *slot)
{
    enum lethe_err err = lethe_vault_file_verify(file, master);

    if (!err) {
        err = add_slot(&file->now, master, cost, passphrase, passphrase_len, device, label, 0, random);
    }
    if (!err) {
        *slot = file->now.slots[file->now.count - 1].id;
    }
    return err;
}

static struct lethe_slot *slot_by_id(struct lethe_vault_file *file, const struct lethe_id *id)
{
    for (size_t i = 0; i < file->now.count; i++) {
        if (lethe_id_equal(&file->now.slots[i].id, id)) {
            return &file->now.slots[i];
        }
    }
    return NULL;
}

enum lethe_err lethe_vault_file_slot_remove(struct lethe_vault_file *file, const struct lethe_id *slot)
{
    struct lethe_slot *found = slot_by_id(file, slot);
    size_t after;

    if (!found) {
        return LETHE_ERR_NOT_FOUND;
    }
    if (file->now.count == 1) {
        return LETHE_ERR_ARG;
    }
    after = file->now.count - (size_t)(found - file->now.slots) - 1;
    memmove(found, found + 1, after * sizeof *found);
    file->now.count--;
    file->now.slots[file->now.count] = (struct lethe_slot){0};
    return LETHE_OK;
}

enum lethe_err lethe_vault_file_slot_date(struct lethe_vault_file *file, const struct lethe_id *slot,
                                          int64_t created)
{
    struct lethe_slot *found = slot_by_id(file, slot);

    if (!found) {
        return LETHE_ERR_NOT_FOUND;
    }
    found->created = created;
    return LETHE_OK;
}

size_t lethe_vault_file_slots(const struct lethe_vault_file *file)
{
    return file->now.count;
}

enum lethe_err lethe_vault_file_slot(const struct lethe_vault_file *file, size_t index,
                                     struct lethe_slot_info *out)
{
    const struct lethe_slot *slot;

    if (index >= file->now.count) {
        return LETHE_ERR_NOT_FOUND;
    }
    slot = &file->now.slots[index];
    *out = (struct lethe_slot_info){.id = slot->id, .cost = slot->cost, .created = slot->created};
    memcpy(out->label, slot->label, sizeof out->label);
    return LETHE_OK;
}
