/* SPDX-License-Identifier: MIT */
/*
 * The model pairs that the vault keeps, for who has the master key and no device secret: their objects are
 * opened with the owner's two secrets, which must work, and with the master key and a guessed device secret,
 * which must not.
 */
#include <string.h>

#include "fs/drill/copy.h"
#include "fs/drill/drill.h"
#include "fs/drill/owner.h"
#include "fs/mount/session.h"
#include "fs/vault/journal.h"

#define PAIR_MAX (64u << 20)

/* The vault with the owner's master key and a device secret drawn anew. */
static enum lethe_err without_device_secret(struct drill *drill, const struct drill_owner *owner,
                                            struct drill_copy *copy, struct lethe_vault **out)
{
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *master = NULL, *device = NULL;
    uint8_t hash[32];
    enum lethe_err err = drill_copy_store(copy, &store);

    *out = NULL;
    err = err ? err : lethe_session_vault_file(store, drill->options->location, &file, hash, NULL);
    err = err ? err : lethe_secret_new(lethe_secret_bytes(lethe_vault_master(owner->vault)), &master);
    err = err ? err : lethe_secret_random(lethe_random_system(), &device);
    if (err) {
        lethe_store_close(store);
        lethe_vault_file_free(file);
        lethe_secret_free(master);
        lethe_secret_free(device);
        return err;
    }
    return lethe_vault_new(store, file, hash, master, device, NULL, out);
}

struct pairs {
    struct lethe_vault *owner, *thief;
    struct lethe_id newest; /* the pair for new artifacts, which the associated data names */
    size_t kept, opened, stolen;
};

static enum lethe_err try_pair(struct pairs *pairs, const struct lethe_id *object)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf sealed = {0}, bytes = {0};
    enum lethe_err err;

    lethe_vault_object_key(LETHE_OBJECT_PAIR, object, key);
    err = lethe_store_get(lethe_vault_store(pairs->owner), key, 0, PAIR_MAX, &sealed, NULL);
    if (!err) {
        pairs->kept++;
        pairs->opened += !lethe_vault_unseal(pairs->owner, LETHE_OBJECT_PAIR, object, &pairs->newest, 0,
                                             sealed.data, sealed.len, &bytes);
        pairs->stolen += !lethe_vault_unseal(pairs->thief, LETHE_OBJECT_PAIR, object, &pairs->newest, 0,
                                             sealed.data, sealed.len, &bytes);
    }
    lethe_buf_release(&sealed);
    lethe_buf_release(&bytes);
    return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
}

enum lethe_err drill_pairs(struct drill *drill, const struct drill_owner *owner)
{
    struct pairs pairs = {.owner = owner->vault};
    struct drill_copy *copy = NULL;
    struct lethe_head head;
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err = drill_copy_new(drill->store, &copy);

    err = err ? err : without_device_secret(drill, owner, copy, &pairs.thief);
    err = err ? err : lethe_head_get(owner->vault, &head, NULL);
    if (!err) {
        pairs.newest = head.pair;
        lethe_db_lock(owner->db);
        err = lethe_db_statement(owner->db, "SELECT id FROM object WHERE kind = ? AND length(id) = 16",
                                 &statement);
        if (!err) {
            sqlite3_bind_int(statement, 1, LETHE_OBJECT_PAIR);
        }
        while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
            struct lethe_id object;

            memcpy(object.bytes, sqlite3_column_blob(statement, 0), sizeof object.bytes);
            err = try_pair(&pairs, &object);
        }
        lethe_db_unlock(owner->db);
    }
    if (pairs.stolen) {
        drill_weakness(drill, "model pair without its secret",
                       "the master key alone opens a model pair of the vault");
    }
    (void)json_object_set_new(drill->report, "pairs",
                              json_pack("{s:I, s:I, s:I}", "kept_in_vault", (json_int_t)pairs.kept,
                                        "opened_with_both_secrets", (json_int_t)pairs.opened,
                                        "opened_without_device_secret", (json_int_t)pairs.stolen));
    lethe_vault_free(pairs.thief);
    drill_copy_free(copy);
    return err;
}
