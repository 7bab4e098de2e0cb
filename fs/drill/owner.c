/* SPDX-License-Identifier: MIT */
#include "fs/drill/owner.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/mount/session.h"
#include "fs/vault/journal.h"
#include "fs/vault/second.h"
#include "lethe/log.h"

#define PAIR_FILE_MAX (64u << 20)

/* The device's sealed pairs, copied: what is found in the vault is kept beside them, and that must not be the
 * state. */
static enum lethe_err copy_pairs(const struct drill_owner *owner, const char *to)
{
    char from[4096], path[4400];
    struct lethe_buf bytes = {0};
    DIR *folder;
    const struct dirent *entry;
    enum lethe_err err = LETHE_OK;

    snprintf(from, sizeof from, "%s/pairs", owner->state_dir);
    if (mkdir(to, 0700)) {
        return lethe_err_from_errno(errno);
    }
    folder = opendir(from);
    while (folder && !err && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        lethe_buf_reset(&bytes);
        snprintf(path, sizeof path, "%s/%s", from, entry->d_name);
        err = lethe_file_read(path, PAIR_FILE_MAX, &bytes);
        snprintf(path, sizeof path, "%s/%s", to, entry->d_name);
        err = err ? err : lethe_file_write_durably(path, bytes.data, bytes.len, 0600);
    }
    if (folder) {
        closedir(folder);
    }
    lethe_buf_release(&bytes);
    return err;
}

enum lethe_err drill_owner_replay(const struct drill_owner *owner, struct lethe_vault *vault,
                                  const char *name, struct lethe_db **db)
{
    struct lethe_segment last = {0};
    struct lethe_head head;
    char path[128];
    enum lethe_err err;

    snprintf(path, sizeof path, "%s/%s", owner->scratch, name);
    err = lethe_db_open(path, owner->device_root, true, db);
    err = err ? err : lethe_head_get(vault, &head, NULL);
    err = err ? err : lethe_journal_replay(vault, *db, &head, INT64_MAX, &last);
    if (!err) {
        lethe_db_lock(*db);
        err = lethe_db_commit(*db);
        lethe_db_unlock(*db);
    }
    lethe_segment_release(&last);
    return err;
}

/* The second store of fidelity split, where this device remembers it, for reading: it tells what the photos
 * were. */
static enum lethe_err open_second(const struct drill_owner *owner, struct lethe_vault *vault)
{
    const struct lethe_store_options options = {.read_only = true};
    struct lethe_store *second = NULL;
    char *location = NULL;
    enum lethe_err err = LETHE_OK;

    if (lethe_vault_settings(vault)->fidelity == LETHE_FIDELITY_SPLIT) {
        err = lethe_second_recall(vault, owner->state_dir, &location);
        err = err        ? err
              : location ? lethe_store_open_with(location, false, &options, &second)
                         : LETHE_ERR_NOT_FOUND;
        if (err) {
            lethe_log(LETHE_LOG_ERROR,
                      "the second store is not at hand (%s): without it nobody knows what the photos were,"
                      " and no thief can be judged; mount once with --residuals",
                      lethe_err_str(err));
        } else {
            lethe_vault_set_second(vault, second);
        }
    }
    free(location);
    return err;
}

enum lethe_err drill_owner_vault(const struct drill_owner *owner, struct lethe_store *store,
                                 struct lethe_store *second, struct lethe_vault **out)
{
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *master = NULL, *device = NULL;
    uint8_t hash[32];
    char pairs[128];
    enum lethe_err err = lethe_session_vault_file(store, "the copy", &file, hash, NULL);

    *out = NULL;
    err = err ? err : lethe_vault_file_verify(file, lethe_vault_master(owner->vault));
    err = err ? err : lethe_secret_new(lethe_secret_bytes(lethe_vault_master(owner->vault)), &master);
    err = err ? err : lethe_secret_new(lethe_secret_bytes(lethe_vault_device(owner->vault)), &device);
    if (err) {
        lethe_store_close(store);
        lethe_store_close(second);
        lethe_vault_file_free(file);
        lethe_secret_free(master);
        lethe_secret_free(device);
        return err;
    }
    snprintf(pairs, sizeof pairs, "%s/pairs", owner->scratch);
    err = lethe_vault_new(store, file, hash, master, device, pairs, out);
    if (!err && second) {
        lethe_vault_set_second(*out, second);
    } else {
        lethe_store_close(second);
    }
    return err;
}

/* The first vault: unlocked with both secrets. */
static enum lethe_err unlock(const struct drill *drill, struct drill_owner *owner)
{
    const struct drill_options *options = drill->options;
    struct lethe_store_options access = options->store;
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *device = NULL, *master = NULL;
    struct lethe_id id = lethe_vault_file_settings(drill->file)->id;
    uint8_t hash[32];
    char pairs[128];
    enum lethe_err err = lethe_session_folder(options->state_root, false, &id, &owner->state_dir);

    access.read_only = true;
    err = err ? err : lethe_session_device_secret(owner->state_dir, &device);
    err = err ? err : lethe_store_open_with(options->location, false, &access, &store);
    err = err ? err : lethe_session_vault_file(store, options->location, &file, hash, NULL);
    if (!err) {
        err = lethe_vault_file_unlock(file, options->passphrase, options->passphrase_len, device, &master);
        if (err) {
            lethe_log(LETHE_LOG_ERROR, "%s does not open with this passphrase on this device: %s",
                      options->location, lethe_err_str(err));
        }
    }
    err = err ? err : lethe_session_device_root(master, &id, &owner->device_root);
    snprintf(pairs, sizeof pairs, "%s/pairs", owner->scratch);
    err = err ? err : copy_pairs(owner, pairs);
    if (err) {
        lethe_store_close(store);
        lethe_vault_file_free(file);
        lethe_secret_free(device);
        lethe_secret_free(master);
        return err;
    }
    return lethe_vault_new(store, file, hash, master, device, pairs, &owner->vault);
}

enum lethe_err drill_owner_open(const struct drill *drill, struct drill_owner **out)
{
    const char *tmp = getenv("TMPDIR");
    struct drill_owner *owner = calloc(1, sizeof *owner);
    enum lethe_err err;

    *out = NULL;
    if (!owner) {
        return LETHE_ERR_NOMEM;
    }
    if (snprintf(owner->scratch, sizeof owner->scratch, "%s/lethefs-drill-XXXXXX", tmp ? tmp : "/tmp") >=
            (int)sizeof owner->scratch ||
        !mkdtemp(owner->scratch)) {
        err = LETHE_ERR_IO;
        lethe_log(LETHE_LOG_ERROR, "no temporary folder can be made: set TMPDIR");
        owner->scratch[0] = '\0';
    } else {
        err = unlock(drill, owner);
        err = err ? err : open_second(owner, owner->vault);
        err = err ? err : lethe_session_check_file(owner->vault);
        err = err ? err : drill_owner_replay(owner, owner->vault, "meta", &owner->db);
    }
    if (err) {
        drill_owner_free(owner);
        return err;
    }
    *out = owner;
    return LETHE_OK;
}

void drill_owner_free(struct drill_owner *owner)
{
    if (!owner) {
        return;
    }
    lethe_db_close(owner->db);
    lethe_vault_free(owner->vault);
    lethe_secret_free(owner->device_root);
    if (owner->scratch[0]) {
        lethe_file_remove_folder(owner->scratch);
    }
    free(owner->state_dir);
    free(owner);
}

enum lethe_err drill_owner_contents(const struct drill_owner *owner, const char *sql, size_t most,
                                    struct lethe_id **ids, size_t *count)
{
    sqlite3_stmt *statement;
    char query[512];
    bool row = false;
    enum lethe_err err;

    *count = 0;
    *ids = calloc(most ? most : 1, sizeof **ids);
    if (!*ids) {
        return LETHE_ERR_NOMEM;
    }
    snprintf(query, sizeof query,
             "SELECT id FROM content WHERE %s AND id IN (SELECT content FROM inode WHERE content IS NOT "
             "NULL) ORDER BY id",
             sql);
    lethe_db_lock(owner->db);
    err = lethe_db_statement(owner->db, query, &statement);
    while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
        if (*count < most && sqlite3_column_bytes(statement, 0) == (int)sizeof **ids) {
            memcpy(&(*ids)[(*count)++], sqlite3_column_blob(statement, 0), sizeof **ids);
        }
    }
    lethe_db_unlock(owner->db);
    return err;
}

enum lethe_err drill_owner_path(const struct drill_owner *owner, const struct lethe_id *content,
                                char path[4096])
{
    static const char query[] =
        "WITH RECURSIVE up(parent, path) AS (SELECT parent, CAST(name AS TEXT) FROM (SELECT parent, name "
        "FROM dentry"
        " WHERE ino IN (SELECT ino FROM inode WHERE content = ?) ORDER BY parent, name LIMIT 1)"
        " UNION ALL SELECT d.parent, CAST(d.name AS TEXT) || '/' || up.path FROM up JOIN dentry d ON d.ino = "
        "up.parent)"
        " SELECT path FROM up ORDER BY length(path) DESC LIMIT 1";
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    path[0] = '\0';
    lethe_db_lock(owner->db);
    err = lethe_db_statement(owner->db, query, &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, content->bytes, sizeof content->bytes, SQLITE_STATIC);
        err = lethe_db_step(owner->db, statement, &row);
    }
    if (!err && row && sqlite3_column_bytes(statement, 0) < 4096) {
        snprintf(path, 4096, "%s", (const char *)sqlite3_column_text(statement, 0));
    }
    if (!err) {
        sqlite3_reset(statement);
    }
    lethe_db_unlock(owner->db);
    return err;
}
