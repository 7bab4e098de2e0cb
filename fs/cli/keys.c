/* SPDX-License-Identifier: MIT */
#include "fs/cli/keys.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/mount/newest.h"
#include "fs/mount/session.h"
#include "fs/vault/journal.h"
#include "lethe/log.h"

#define VAULT_JSON "vault.json"
#define DEADLINE_MS 30000
#define TRIES 50

/* vault.json must be what the head names, or newer: nobody may have an old one renewed here. */
static enum lethe_err check_generation(const struct lethe_keys *keys)
{
    struct lethe_head head;
    enum lethe_err err = lethe_head_get(keys->vault, &head, NULL);

    if (!err && memcmp(head.json_hash, lethe_vault_json_hash(keys->vault), sizeof head.json_hash) != 0 &&
        lethe_vault_generation(keys->vault) <= head.generation) {
        err = LETHE_ERR_INTEGRITY;
        (void)lethe_cli_fail(
            err, "vault.json of %s is not the one that the vault's head names: restore the newer one, or mount the vault once on"
            " the device that it is bound to",
            keys->location);
    }
    return err;
}

/* Without conditional writes, a mount and this command would undo each other's heads. */
static enum lethe_err check_binding(struct lethe_keys *keys, const char *state_dir)
{
    enum lethe_err err = lethe_vault_refuse_others(keys->vault);

    return err || lethe_vault_binding(keys->vault) == LETHE_BINDING_NONE
               ? err
               : lethe_session_lock(state_dir, &keys->lock_fd);
}

static enum lethe_err unlock(const struct lethe_keys *keys, const struct lethe_vault_file *file,
                             const struct lethe_secret *device, struct lethe_secret **master)
{
    enum lethe_err err = lethe_vault_file_unlock(file, keys->secret.text, keys->secret.len, device, master);

    if (err == LETHE_ERR_KEY) {
        (void)lethe_cli_fail(err, "wrong passphrase for %s", keys->location);
    } else if (err == LETHE_ERR_INTEGRITY) {
        (void)lethe_cli_fail(
            err, "vault.json of %s was changed by somebody without the key: restore it from a copy",
            keys->location);
    } else if (err) {
        (void)lethe_cli_fail(err, "%s cannot be opened: %s", keys->location, lethe_err_str(err));
    }
    return err;
}

enum lethe_err lethe_keys_open(const char *location, const struct lethe_cli_access *access,
                               struct lethe_keys *keys)
{
    struct lethe_store *store = NULL, *retrying = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *device = NULL, *master = NULL;
    char *state_dir = NULL;
    struct lethe_id writer;
    uint8_t hash[32];
    enum lethe_err err;

    *keys = (struct lethe_keys){.location = location, .lock_fd = -1};
    err = lethe_cli_state_dir(location, access, &state_dir);
    err = err ? err : lethe_session_device_secret(state_dir, &device);
    err = err ? err : lethe_session_writer(state_dir, &writer);
    err = err ? err : lethe_store_open_with(location, false, &access->store, &store);
    if (err) {
        goto out;
    }
    err = lethe_store_retry_new(store, DEADLINE_MS, &retrying);
    store = NULL;
    /* Twice: one copy belongs to the vault, the other is edited. The second must be what its version says. */
    err = err ? err : lethe_session_vault_file(retrying, location, &file, hash, NULL);
    err = err ? err : lethe_session_vault_file(retrying, location, &keys->file, hash, &keys->version);
    err = err ? err
              : lethe_cli_passphrase(access->passfile, access->extpass, "Passphrase", false, &keys->secret);
    err = err ? err : unlock(keys, keys->file, device, &master);
    if (err) {
        goto out;
    }
    err = lethe_vault_new(retrying, file, hash, master, device, NULL, &keys->vault);
    retrying = NULL;
    file = NULL;
    master = NULL;
    device = NULL;
    if (!err) {
        lethe_vault_set_writer(keys->vault, &writer);
        err = check_generation(keys);
    }
    err = err ? err : check_binding(keys, state_dir);
out:
    lethe_store_close(retrying);
    lethe_vault_file_free(file);
    lethe_secret_free(master);
    lethe_secret_free(device);
    keys->state_dir = state_dir;
    if (err) {
        lethe_keys_release(keys);
    }
    return err;
}

void lethe_keys_release(struct lethe_keys *keys)
{
    lethe_vault_free(keys->vault);
    lethe_vault_file_free(keys->file);
    lethe_cli_secret_free(&keys->secret);
    if (keys->lock_fd >= 0) {
        close(keys->lock_fd);
    }
    free(keys->state_dir);
    *keys = (struct lethe_keys){.lock_fd = -1};
}

enum lethe_err lethe_keys_own_slot(struct lethe_keys *keys)
{
    return lethe_vault_file_slot_find(keys->file, keys->secret.text, keys->secret.len,
                                      lethe_vault_device(keys->vault), &keys->slot);
}

enum lethe_err lethe_keys_add(struct lethe_keys *keys, const struct lethe_cli_secret *passphrase,
                              uint64_t memory_mib, const char *label, struct lethe_id *slot)
{
    struct lethe_kdf_cost cost = {.memory_mib = 256, .passes = 3};
    struct lethe_slot_info info;
    enum lethe_err err;

    if (lethe_vault_file_slots(keys->file) > 0 &&
        !lethe_vault_file_slot(keys->file, lethe_vault_file_slots(keys->file) - 1, &info)) {
        cost = info.cost;
    }
    if (memory_mib) {
        cost.memory_mib = (uint32_t)memory_mib;
    }
    err = lethe_vault_file_slot_add(keys->file, lethe_vault_master(keys->vault), &cost, passphrase->text,
                                    passphrase->len, lethe_vault_device(keys->vault), label,
                                    lethe_random_system(), slot);
    if (!err) {
        err = lethe_vault_file_slot_date(keys->file, slot, (int64_t)time(NULL));
    }
    if (err) {
        (void)lethe_cli_fail(err, "%s: the key slot cannot be added: %s", keys->location,
                             err == LETHE_ERR_ARG
                                 ? "labels have at most 64 printable ASCII characters, and a vault has at most 16 slots"
                                 : lethe_err_str(err));
    }
    return err;
}

/* Whether these bytes, as they will be stored, open with the passphrase. */
static enum lethe_err prove(const struct lethe_keys *keys, const struct lethe_buf *json,
                            const struct lethe_cli_secret *passphrase, uint64_t *generation)
{
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *master = NULL;
    enum lethe_err err = lethe_vault_file_parse(json->data, json->len, &file);

    if (!err) {
        *generation = lethe_vault_file_generation(file);
        err = lethe_vault_file_unlock(file, passphrase->text, passphrase->len,
                                      lethe_vault_device(keys->vault), &master);
    }
    lethe_secret_free(master);
    lethe_vault_file_free(file);
    return err;
}

/* An answer that was lost is settled by reading back. */
static enum lethe_err replace_file(struct lethe_keys *keys, const struct lethe_buf *json)
{
    struct lethe_store *store = lethe_vault_store(keys->vault);
    struct lethe_buf there = {0};
    struct lethe_store_version version;
    enum lethe_err err =
        lethe_vault_replace(keys->vault, VAULT_JSON, json->data, json->len, &keys->version, &version);

    if (err == LETHE_ERR_UNREACHABLE || err == LETHE_ERR_CONFLICT) {
        enum lethe_err reading = lethe_store_get(store, VAULT_JSON, 0, json->len + 1, &there, NULL);

        if (!reading && there.len == json->len && memcmp(there.data, json->data, json->len) == 0) {
            err = LETHE_OK;
        }
    }
    lethe_buf_release(&there);
    return err;
}

/* The mount of this device may move the head at the same time: read again, and move again. */
static enum lethe_err name_file(struct lethe_keys *keys, const struct lethe_buf *json, uint64_t generation)
{
    enum lethe_err err = LETHE_ERR_CONFLICT;

    for (unsigned i = 0; i < TRIES && (err == LETHE_ERR_CONFLICT || err == LETHE_ERR_UNREACHABLE); i++) {
        struct lethe_store_version version;
        struct lethe_head head;

        err = lethe_head_get(keys->vault, &head, &version);
        if (err) {
            continue;
        }
        if (head.generation >= generation) {
            return LETHE_OK;
        }
        head.generation = generation;
        lethe_hash(json->data, json->len, head.json_hash);
        err = lethe_head_move(keys->vault, &head, &version, &version);
    }
    return err;
}

enum lethe_err lethe_keys_write(struct lethe_keys *keys, const struct lethe_cli_secret *passphrase)
{
    struct lethe_buf json = {0};
    uint64_t generation = 0;
    enum lethe_err err = lethe_vault_file_write(keys->file, lethe_vault_master(keys->vault), &json);

    err = err ? err : prove(keys, &json, passphrase, &generation);
    if (err) {
        (void)lethe_cli_fail(err, "%s: the new vault.json does not open: %s; nothing was changed",
                             keys->location, lethe_err_str(err));
        goto out;
    }
    err = replace_file(keys, &json);
    if (err) {
        (void)lethe_cli_fail(err, "%s: vault.json cannot be written: %s; nothing was changed", keys->location,
                             err == LETHE_ERR_CONFLICT ? "somebody else changed it meanwhile, try again"
                                                       : lethe_err_str(err));
        goto out;
    }
    err = name_file(keys, &json, generation);
    if (err) {
        (void)lethe_cli_fail(
            err,
            "%s: the keys are changed, but the head does not name the new vault.json yet: %s; run"
            " any key command again",
            keys->location, lethe_err_str(err));
    } else if (lethe_newest_keep(keys->vault, keys->state_dir, &json)) {
        lethe_log(LETHE_LOG_WARN, "%s/newest cannot be written: a vault.json that comes late could not be mended",
                  keys->state_dir);
    }
out:
    lethe_buf_release(&json);
    return err;
}
