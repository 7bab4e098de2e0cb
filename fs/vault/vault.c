/* SPDX-License-Identifier: MIT */
#include "fs/vault/vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/spares.h"
#include "fs/vault/vault_private.h"
#include "lethe/log.h"

enum lethe_err lethe_vault_new(struct lethe_store *store, struct lethe_vault_file *file,
                               const uint8_t json_hash[32], struct lethe_secret *master,
                               struct lethe_secret *device, const char *pairs_dir, struct lethe_vault **out)
{
    struct lethe_vault *vault = calloc(1, sizeof *vault);
    enum lethe_err err = LETHE_ERR_NOMEM;

    *out = NULL;
    if (!vault) {
        lethe_store_close(store);
        lethe_vault_file_free(file);
        lethe_secret_free(master);
        lethe_secret_free(device);
        return err;
    }
    pthread_mutex_init(&vault->lock, NULL);
    vault->store = store;
    vault->file = file;
    vault->master = master;
    vault->device = device;
    memcpy(vault->json_hash, json_hash, sizeof vault->json_hash);
    if (pairs_dir) {
        vault->pairs_dir = strdup(pairs_dir);
        if (!vault->pairs_dir) {
            goto out;
        }
    }
    if (device) {
        err = lethe_secret_combine(master, device, "lethefs pair", &vault->pair_root);
        if (err) {
            goto out;
        }
    }
    *out = vault;
    return LETHE_OK;
out:
    lethe_vault_free(vault);
    return err;
}

void lethe_vault_free(struct lethe_vault *vault)
{
    if (!vault) {
        return;
    }
    while (vault->pairs) {
        struct lethe_vault_pair *pair = vault->pairs;

        vault->pairs = pair->next;
        lethe_pair_free(pair->pair);
        free(pair);
    }
    lethe_store_close(vault->store);
    lethe_store_close(vault->second);
    lethe_vault_file_free(vault->file);
    lethe_secret_free(vault->pair_root);
    lethe_secret_free(vault->master);
    lethe_secret_free(vault->device);
    pthread_mutex_destroy(&vault->lock);
    free(vault->pairs_dir);
    free(vault);
}

const struct lethe_vault_settings *lethe_vault_settings(const struct lethe_vault *vault)
{
    return lethe_vault_file_settings(vault->file);
}

const struct lethe_secret *lethe_vault_master(const struct lethe_vault *vault)
{
    return vault->master;
}

const struct lethe_secret *lethe_vault_device(const struct lethe_vault *vault)
{
    return vault->device;
}

struct lethe_store *lethe_vault_store(const struct lethe_vault *vault)
{
    return vault->store;
}

void lethe_vault_set_second(struct lethe_vault *vault, struct lethe_store *second)
{
    lethe_store_close(vault->second);
    vault->second = second;
}

struct lethe_store *lethe_vault_second(const struct lethe_vault *vault)
{
    return vault->second;
}

struct lethe_store *lethe_vault_store_of(const struct lethe_vault *vault, enum lethe_object_kind kind)
{
    bool apart = kind == LETHE_OBJECT_RESIDUAL || kind == LETHE_OBJECT_SEGMENT || kind == LETHE_OBJECT_PACK;

    return apart && lethe_vault_settings(vault)->fidelity == LETHE_FIDELITY_SPLIT ? vault->second : vault->store;
}

void lethe_vault_renew_file(struct lethe_vault *vault, struct lethe_vault_file *file, const uint8_t json_hash[32])
{
    lethe_vault_file_free(vault->file);
    vault->file = file;
    memcpy(vault->json_hash, json_hash, sizeof vault->json_hash);
}

void lethe_vault_use_spares(struct lethe_vault *vault, struct lethe_spares *spares)
{
    vault->spares = spares;
}

struct lethe_spares *lethe_vault_spares(const struct lethe_vault *vault)
{
    return vault->spares;
}

uint64_t lethe_vault_generation(const struct lethe_vault *vault)
{
    return lethe_vault_file_generation(vault->file);
}

const uint8_t *lethe_vault_json_hash(const struct lethe_vault *vault)
{
    return vault->json_hash;
}

void lethe_vault_new_id(struct lethe_id *out)
{
    const struct lethe_random *random = lethe_random_system();

    random->fill(random->context, out->bytes, sizeof out->bytes);
}

void lethe_vault_object_key(enum lethe_object_kind kind, const struct lethe_id *id,
                            char out[LETHE_STORE_KEY_MAX + 1])
{
    char hex[33];
    bool artifact = kind == LETHE_OBJECT_ARTIFACT;

    lethe_hex(id->bytes, sizeof id->bytes, hex);
    snprintf(out, LETHE_STORE_KEY_MAX + 1, "%c/%.2s/%s%s", artifact ? 'a' : 'o', hex, hex,
             artifact ? ".png" : "");
}

void lethe_vault_journal_key(uint64_t epoch, const struct lethe_id *id, char out[LETHE_STORE_KEY_MAX + 1])
{
    char hex[33];

    lethe_hex(id->bytes, sizeof id->bytes, hex);
    snprintf(out, LETHE_STORE_KEY_MAX + 1, "j/%016llx-%s", (unsigned long long)epoch, hex);
}

static struct lethe_object_name object_name(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                            const struct lethe_id *id, const struct lethe_id *content,
                                            uint64_t position)
{
    struct lethe_object_name name = {
        .kind = kind, .vault = lethe_vault_settings(vault)->id, .position = position};

    if (id) {
        name.id = *id;
    }
    if (content) {
        name.content = *content;
    }
    return name;
}

/* Opens what was just sealed and compares: a broken machine must not write what nobody can read. */
static enum lethe_err prove(const struct lethe_vault *vault, const struct lethe_object_name *name,
                            const uint8_t *plaintext, size_t len, const uint8_t *sealed, size_t sealed_len,
                            struct lethe_buf *opened)
{
    enum lethe_err err;

    lethe_buf_reset(opened);
    err = lethe_vault_unseal(vault, name->kind, &name->id, &name->content, name->position, sealed, sealed_len, opened);
    if (err == LETHE_ERR_INTEGRITY ||
        (!err && (opened->len != len || (len && memcmp(opened->data, plaintext, len))))) {
        lethe_log(LETHE_LOG_ERROR,
                  "an object did not open again after sealing: this machine's memory or processor is"
                  " not to be trusted");
        err = LETHE_ERR_DIFFERS;
    }
    return err;
}

enum lethe_err lethe_vault_seal_with(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                     const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                                     const uint8_t *plaintext, size_t len, struct lethe_buf *scratch,
                                     struct lethe_buf *out)
{
    struct lethe_object_name name = object_name(vault, kind, id, content, position);
    const struct lethe_secret *root = kind == LETHE_OBJECT_PAIR ? vault->pair_root : vault->master;
    size_t start = out->len;
    enum lethe_err err;

    if (!root) {
        return LETHE_ERR_KEY;
    }
    if (kind == LETHE_OBJECT_ARTIFACT) {
        err = lethe_artifact_seal(root, &name, plaintext, len, lethe_random_system(), out);
    } else {
        err = lethe_object_seal(root, &name, kind != LETHE_OBJECT_PACK, plaintext, len, lethe_random_system(),
                                out);
    }
    if (!err) {
        err = prove(vault, &name, plaintext, len, out->data + start, out->len - start, scratch);
    }
    if (err) {
        out->len = start;
    }
    return err;
}

enum lethe_err lethe_vault_seal(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                                const uint8_t *plaintext, size_t len, struct lethe_buf *out)
{
    struct lethe_buf scratch = {0};
    enum lethe_err err = lethe_vault_seal_with(vault, kind, id, content, position, plaintext, len, &scratch, out);

    lethe_buf_release(&scratch);
    return err;
}

enum lethe_err lethe_vault_unseal(const struct lethe_vault *vault, enum lethe_object_kind kind,
                                  const struct lethe_id *id, const struct lethe_id *content,
                                  uint64_t position, const uint8_t *sealed, size_t len, struct lethe_buf *out)
{
    struct lethe_object_name name = object_name(vault, kind, id, content, position);
    const struct lethe_secret *root = kind == LETHE_OBJECT_PAIR ? vault->pair_root : vault->master;

    if (!root) { /* a pair's object, and no device secret at hand */
        return LETHE_ERR_KEY;
    }
    if (kind == LETHE_OBJECT_ARTIFACT) {
        return lethe_artifact_open(root, &name, sealed, len, out);
    }
    return lethe_object_open(root, &name, kind != LETHE_OBJECT_PACK, sealed, len, out);
}

enum lethe_err lethe_vault_put(struct lethe_vault *vault, enum lethe_object_kind kind,
                               const struct lethe_id *id, const uint8_t *sealed, size_t len)
{
    struct lethe_store *store = lethe_vault_store_of(vault, kind);
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf there = {0};
    enum lethe_err err;

    lethe_vault_object_key(kind, id, key);
    if (!store) {
        return LETHE_ERR_UNREACHABLE;
    }
    err = lethe_store_put(store, key, sealed, len);
    if (err == LETHE_ERR_EXISTS) { /* an earlier try whose answer was lost, or somebody's injection */
        err = lethe_store_get(store, key, 0, UINT64_MAX, &there, NULL);
        if (!err && (there.len != len || memcmp(there.data, sealed, len) != 0)) {
            err = LETHE_ERR_INTEGRITY;
        }
        lethe_buf_release(&there);
    }
    return err;
}

/* Sealed bytes of an object that is relied on: a missing or short one is LETHE_ERR_INTEGRITY. Appended to out. */
static enum lethe_err get_sealed(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                 bool to_the_end, struct lethe_buf *out)
{
    size_t start = out->len;
    /* One byte more than expected of a whole object: bytes appended behind it are a violation too. */
    enum lethe_err err =
        store ? lethe_store_get(store, key, offset, to_the_end ? len + 1 : len, out, NULL) : LETHE_ERR_UNREACHABLE;

    if (err == LETHE_ERR_NOT_FOUND) {
        lethe_log(LETHE_LOG_ERROR, "object %s is missing from the vault: restore it from a copy of the vault",
                  key);
        return LETHE_ERR_INTEGRITY;
    }
    if (!err && out->len - start != len) {
        lethe_log(LETHE_LOG_ERROR, "object %s is damaged: restore it from a copy of the vault", key);
        err = LETHE_ERR_INTEGRITY;
    }
    return err;
}

static enum lethe_err unseal_logged(struct lethe_vault *vault, enum lethe_object_kind kind, const struct lethe_id *id,
                                    const char *key, const struct lethe_id *content, uint64_t position,
                                    const uint8_t *sealed, size_t len, struct lethe_buf *out)
{
    enum lethe_err err = lethe_vault_unseal(vault, kind, id, content, position, sealed, len, out);

    if (err == LETHE_ERR_INTEGRITY) {
        lethe_log(LETHE_LOG_ERROR, "object %s is damaged: restore it from a copy of the vault", key);
    }
    return err;
}

enum lethe_err lethe_vault_get(struct lethe_vault *vault, enum lethe_object_kind kind,
                               const struct lethe_id *id, const struct lethe_id *content, uint64_t position,
                               uint64_t offset, uint64_t stored, struct lethe_buf *out)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf sealed;
    enum lethe_err err;

    lethe_vault_object_key(kind, id, key);
    lethe_spares_take(vault->spares, &sealed);
    err = get_sealed(lethe_vault_store_of(vault, kind), key, offset, stored, kind != LETHE_OBJECT_PACK, &sealed);
    if (!err) {
        err = unseal_logged(vault, kind, id, key, content, position, sealed.data, sealed.len, out);
    }
    lethe_spares_give(vault->spares, &sealed);
    return err;
}

enum lethe_err lethe_vault_get_neighbours(struct lethe_vault *vault, const struct lethe_id *pack,
                                          const struct lethe_id *content, uint64_t offset, uint64_t stored,
                                          const struct lethe_id *next_content, uint64_t next_stored,
                                          struct lethe_buf *first, struct lethe_buf *second)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf sealed = {0};
    enum lethe_err err;

    lethe_vault_object_key(LETHE_OBJECT_PACK, pack, key);
    err = get_sealed(lethe_vault_store_of(vault, LETHE_OBJECT_PACK), key, offset, stored + next_stored, false, &sealed);
    if (!err) {
        err = unseal_logged(vault, LETHE_OBJECT_PACK, pack, key, content, offset, sealed.data, (size_t)stored, first);
    }
    if (!err) {
        err = unseal_logged(vault, LETHE_OBJECT_PACK, pack, key, next_content, offset + stored, sealed.data + stored,
                            (size_t)next_stored, second);
    }
    lethe_buf_release(&sealed);
    return err;
}
