/* SPDX-License-Identifier: MIT */
/*
 * Where a model pair is found: among those loaded, those shipped, on the device (sealed under the master key), in the
 * vault (sealed under a key that the device secret enters). The object id of a pair in the vault is derived from the
 * master key and the pair's id, so that a new device finds it by the id that an artifact names.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/vault/vault_private.h"
#include "lethe/log.h"

#define PAIR_FILE_MAX (64u << 20)

static enum lethe_err pair_object_id(const struct lethe_vault *vault, const struct lethe_id *pair,
                                     struct lethe_id *out)
{
    struct lethe_secret *derived = NULL;
    enum lethe_err err = lethe_secret_derive(vault->master, "lethefs pair id", pair->bytes, sizeof pair->bytes,
                                             &derived);

    if (!err) {
        memcpy(out->bytes, lethe_secret_bytes(derived), sizeof out->bytes);
    }
    lethe_secret_free(derived);
    return err;
}

static struct lethe_object_name device_name(const struct lethe_vault *vault, const struct lethe_id *pair)
{
    return (struct lethe_object_name){
        .kind = LETHE_OBJECT_DEVICE, .vault = lethe_vault_settings(vault)->id, .id = *pair};
}

static void pair_path(const struct lethe_vault *vault, const struct lethe_id *id, char *out, size_t size)
{
    char hex[33];

    lethe_hex(id->bytes, sizeof id->bytes, hex);
    snprintf(out, size, "%s/%s", vault->pairs_dir, hex);
}

static enum lethe_err device_load(const struct lethe_vault *vault, const struct lethe_id *id, struct lethe_buf *out)
{
    struct lethe_object_name name = device_name(vault, id);
    struct lethe_buf sealed = {0};
    char path[4096];
    enum lethe_err err;

    if (!vault->pairs_dir) {
        return LETHE_ERR_NOT_FOUND;
    }
    pair_path(vault, id, path, sizeof path);
    err = lethe_file_read(path, PAIR_FILE_MAX, &sealed);
    if (!err) {
        err = lethe_object_open(vault->master, &name, true, sealed.data, sealed.len, out);
    }
    lethe_buf_release(&sealed);
    return err;
}

static enum lethe_err device_save(const struct lethe_vault *vault, const struct lethe_id *id, const uint8_t *bytes,
                                  size_t len)
{
    struct lethe_object_name name = device_name(vault, id);
    struct lethe_buf sealed = {0};
    char path[4096];
    enum lethe_err err;

    if (!vault->pairs_dir) {
        return LETHE_OK;
    }
    err = lethe_file_make_folders(vault->pairs_dir, 0700);
    if (err) {
        return err;
    }
    err = lethe_object_seal(vault->master, &name, true, bytes, len, lethe_random_system(), &sealed);
    if (!err) {
        pair_path(vault, id, path, sizeof path);
        err = lethe_file_write_durably(path, sealed.data, sealed.len, 0600);
    }
    lethe_buf_release(&sealed);
    return err;
}

static enum lethe_err vault_load(struct lethe_vault *vault, const struct lethe_id *id, struct lethe_buf *out)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf sealed = {0};
    struct lethe_id object;
    enum lethe_err err;

    if (!vault->pair_root) {
        return LETHE_ERR_NOT_FOUND;
    }
    err = pair_object_id(vault, id, &object);
    if (err) {
        return err;
    }
    lethe_vault_object_key(LETHE_OBJECT_PAIR, &object, key);
    err = lethe_store_get(vault->store, key, 0, PAIR_FILE_MAX, &sealed, NULL);
    if (!err) {
        err = lethe_vault_unseal(vault, LETHE_OBJECT_PAIR, &object, id, 0, sealed.data, sealed.len, out);
    }
    lethe_buf_release(&sealed);
    return err;
}

/* Parses bytes and files the pair under the vault; with the lock held. */
static enum lethe_err keep(struct lethe_vault *vault, const uint8_t *bytes, size_t len, const struct lethe_id *expected,
                           const struct lethe_pair **out)
{
    struct lethe_vault_pair *entry = calloc(1, sizeof *entry);
    enum lethe_err err;

    if (!entry) {
        return LETHE_ERR_NOMEM;
    }
    err = lethe_pair_parse(bytes, len, &entry->pair);
    if (!err && expected && !lethe_id_equal(lethe_pair_id(entry->pair), expected)) {
        err = LETHE_ERR_INTEGRITY;
    }
    if (err) {
        lethe_pair_free(entry->pair);
        free(entry);
        return err;
    }
    entry->next = vault->pairs;
    vault->pairs = entry;
    *out = entry->pair;
    return LETHE_OK;
}

static const struct lethe_pair *loaded(const struct lethe_vault *vault, const struct lethe_id *id)
{
    const struct lethe_pair *pair;

    for (const struct lethe_vault_pair *entry = vault->pairs; entry; entry = entry->next) {
        if (lethe_id_equal(lethe_pair_id(entry->pair), id)) {
            return entry->pair;
        }
    }
    for (unsigned i = 0; (pair = lethe_pair_shipped(i)); i++) {
        if (lethe_id_equal(lethe_pair_id(pair), id)) {
            return pair;
        }
    }
    return NULL;
}

enum lethe_err lethe_vault_pair(struct lethe_vault *vault, const struct lethe_id *id, const struct lethe_pair **out)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = LETHE_OK;
    char hex[33];

    pthread_mutex_lock(&vault->lock);
    *out = loaded(vault, id);
    if (!*out) {
        err = device_load(vault, id, &bytes);
        if (err) {
            err = vault_load(vault, id, &bytes);
            if (!err && device_save(vault, id, bytes.data, bytes.len)) {
                lethe_log(LETHE_LOG_WARN, "a model pair could not be kept on this device: it is fetched when needed");
            }
        }
        if (!err) {
            err = keep(vault, bytes.data, bytes.len, id, out);
        }
        if (err == LETHE_ERR_NOT_FOUND) {
            lethe_hex(id->bytes, sizeof id->bytes, hex);
            lethe_log(LETHE_LOG_ERROR, "model pair %s is nowhere: add it with 'lethefs model add'", hex);
        }
    }
    pthread_mutex_unlock(&vault->lock);
    lethe_buf_release(&bytes);
    return err;
}

enum lethe_err lethe_vault_pair_add(struct lethe_vault *vault, const uint8_t *bytes, size_t len, struct lethe_id *id)
{
    const struct lethe_pair *pair = NULL;
    struct lethe_pair *parsed = NULL;
    struct lethe_buf sealed = {0};
    struct lethe_id object;
    char key[LETHE_STORE_KEY_MAX + 1];
    enum lethe_err err = lethe_pair_parse(bytes, len, &parsed);

    if (err) {
        return err;
    }
    *id = *lethe_pair_id(parsed);
    lethe_pair_free(parsed);
    err = device_save(vault, id, bytes, len);
    if (!err && lethe_vault_settings(vault)->pairs_in_vault) {
        if (!vault->pair_root) {
            err = LETHE_ERR_KEY;
            goto out;
        }
        err = pair_object_id(vault, id, &object);
        if (!err) {
            err = lethe_vault_seal(vault, LETHE_OBJECT_PAIR, &object, id, 0, bytes, len, &sealed);
        }
        if (!err) {
            lethe_vault_object_key(LETHE_OBJECT_PAIR, &object, key);
            err = lethe_store_put(vault->store, key, sealed.data, sealed.len);
            err = err == LETHE_ERR_EXISTS ? LETHE_OK : err;
        }
    }
    if (!err) {
        pthread_mutex_lock(&vault->lock);
        if (!loaded(vault, id)) {
            err = keep(vault, bytes, len, id, &pair);
        }
        pthread_mutex_unlock(&vault->lock);
    }
out:
    lethe_buf_release(&sealed);
    return err;
}

enum lethe_err lethe_vault_pair_record(struct lethe_vault *vault, struct lethe_db *db, const struct lethe_id *id)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_store_stat stat;
    struct lethe_id object;
    sqlite3_stmt *statement;
    enum lethe_err err;

    if (!lethe_vault_settings(vault)->pairs_in_vault) {
        return LETHE_OK;
    }
    err = pair_object_id(vault, id, &object);
    if (!err) {
        lethe_vault_object_key(LETHE_OBJECT_PAIR, &object, key);
        err = lethe_store_stat(vault->store, key, &stat);
    }
    if (err) {
        return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
    }
    lethe_db_lock(db);
    err = lethe_db_statement(db, "INSERT OR IGNORE INTO object(id, kind, size, refs, dead) VALUES(?, ?, ?, 1, 0)",
                             &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, object.bytes, sizeof object.bytes, SQLITE_STATIC);
        sqlite3_bind_int(statement, 2, LETHE_OBJECT_PAIR);
        sqlite3_bind_int64(statement, 3, (int64_t)stat.size);
        err = lethe_db_run(db, statement);
    }
    lethe_db_unlock(db);
    return err;
}

enum lethe_err lethe_vault_pair_verify(struct lethe_vault *vault, const struct lethe_id *id)
{
    struct lethe_pair *pair = NULL;
    struct lethe_buf bytes = {0};
    enum lethe_err err = vault_load(vault, id, &bytes);

    err = err ? err : lethe_pair_parse(bytes.data, bytes.len, &pair);
    if (err == LETHE_ERR_FORMAT || (!err && !lethe_id_equal(lethe_pair_id(pair), id))) {
        err = LETHE_ERR_INTEGRITY;
    }
    lethe_pair_free(pair);
    lethe_buf_release(&bytes);
    return err;
}
