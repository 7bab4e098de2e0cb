/* SPDX-License-Identifier: MIT */
#include "fs/mount/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/mount/known.h"
#include "fs/mount/session.h"
#include "fs/place.h"
#include "fs/vault/record.h"
#include "fs/vault/second.h"
#include "lethe/log.h"

#define VAULT_JSON "vault.json"
#define PAIR_FILE_MAX (64u << 20)

static int64_t now_seconds(void)
{
    return (int64_t)time(NULL);
}

static enum lethe_err save_device_secret(const char *state_dir, const struct lethe_secret *device)
{
    char path[4096];
    enum lethe_err err = lethe_file_make_folders(state_dir, 0700);

    if (!err) {
        snprintf(path, sizeof path, "%s/device-secret", state_dir);
        err = lethe_file_write_durably(path, lethe_secret_bytes(device), LETHE_KEY_BYTES, 0400);
    }
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "the state folder %s cannot be written: %s", state_dir, lethe_err_str(err));
    }
    return err;
}

/* The settings of a database that has seen this head. */
static enum lethe_err settle_config(struct lethe_db *db, const struct lethe_head *head,
                                    const struct lethe_segment *last)
{
    uint64_t next = (last->cut_seq > last->pub_seq ? last->cut_seq : last->pub_seq) + 1;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_set_int(db, LETHE_CONFIG_EPOCH, (int64_t)head->epoch);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_TIME, head->time);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_CHAIN, head->chain, sizeof head->chain);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_SEGMENT, &head->segment, sizeof head->segment);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_PAIR, &head->pair, sizeof head->pair);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_TREE_SEQ, (int64_t)last->cut_seq);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_VAULT_SEQ, (int64_t)last->pub_seq);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_SNAP_EPOCH, (int64_t)last->snapshot.epoch);
    err = err ? err : lethe_db_set_int(db, LETHE_CONFIG_SNAP_SEQ, (int64_t)last->snapshot.seq);
    err = err ? err : lethe_db_set_blob(db, LETHE_CONFIG_SNAP_ID, &last->snapshot.id, sizeof last->snapshot.id);
    err = err ? err : lethe_db_set_seq(db, next);
    err = err ? err : lethe_db_commit(db);
    lethe_db_unlock(db);
    return err;
}

/*
 * Contents that no inode names any more: they died with the newest epoch, and the device that published it had yet to
 * take them out of the tables.
 */
static enum lethe_err forget_unnamed(struct lethe_db *db, uint64_t epoch)
{
    struct lethe_buf ids = {0};
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT id FROM content WHERE id NOT IN (SELECT content FROM inode WHERE content IS NOT NULL)", &statement);
    while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
        if (sqlite3_column_bytes(statement, 0) == (int)sizeof(struct lethe_id)) {
            lethe_buf_put(&ids, sqlite3_column_blob(statement, 0), sizeof(struct lethe_id));
        }
    }
    lethe_db_unlock(db);
    err = err ? err : lethe_buf_status(&ids);
    for (size_t at = 0; at < ids.len && !err; at += sizeof(struct lethe_id)) {
        struct lethe_id id;

        memcpy(&id, ids.data + at, sizeof id);
        err = lethe_record_remove(db, &id, epoch);
    }
    lethe_buf_release(&ids);
    return err;
}

static enum lethe_err make_database(struct lethe_vault *vault, const char *state_dir, const struct lethe_head *head,
                                    bool replay)
{
    const struct lethe_id *id = &lethe_vault_settings(vault)->id;
    struct lethe_segment last = {0};
    struct lethe_secret *root = NULL;
    struct lethe_db *db = NULL;
    char path[4096];
    enum lethe_err err = lethe_session_device_root(lethe_vault_master(vault), id, &root);

    if (!err) {
        snprintf(path, sizeof path, "%s/meta", state_dir);
        err = lethe_db_open(path, root, true, &db);
    }
    if (!err && replay) {
        err = lethe_journal_replay(vault, db, head, INT64_MAX, &last);
    }
    if (!err && replay) {
        err = forget_unnamed(db, head->epoch);
    }
    if (!err && replay && lethe_vault_settings(vault)->fidelity == LETHE_FIDELITY_LOSSY) {
        err = lethe_journal_settle_sizes(db);
    }
    if (!err) {
        err = lethe_vault_pair_record(vault, db, &head->pair);
    }
    if (!err) {
        err = settle_config(db, head, &last);
    }
    lethe_segment_release(&last);
    lethe_db_close(db);
    lethe_secret_free(root);
    return err;
}

static enum lethe_err found_one(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)context;
    (void)key;
    (void)stat;
    return LETHE_ERR_EXISTS;
}

static enum lethe_err exists(struct lethe_store *store, const char *key, bool *out)
{
    struct lethe_store_stat stat;
    enum lethe_err err = lethe_store_stat(store, key, &stat);

    *out = !err;
    return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
}

/*
 * Refuses a folder that is a vault, or what is left of one. A head alone, with no segment that it could name, is what
 * an init left that was cut off: it makes way.
 */
static enum lethe_err refuse_taken(struct lethe_store *store, const char *location)
{
    bool taken, head = false;
    enum lethe_err err = exists(store, VAULT_JSON, &taken);

    if (!err && !taken) {
        err = exists(store, "head", &head);
    }
    if (!err && head) {
        err = lethe_store_list(store, "j/", found_one, NULL);
        taken = err == LETHE_ERR_EXISTS;
        err = err == LETHE_ERR_EXISTS ? LETHE_OK : err;
    }
    if (!err && head && !taken) {
        err = lethe_store_remove(store, "head");
    }
    if (err && !lethe_store_told(location, err)) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be read: %s", location, lethe_err_str(err));
    } else if (taken) {
        lethe_log(LETHE_LOG_ERROR, "%s already holds a vault: choose another place, or mount it", location);
        err = LETHE_ERR_EXISTS;
    }
    return err;
}

/* The last step: vault.json. An answer that was lost is found by reading back. */
static enum lethe_err put_vault_file(struct lethe_vault *vault, const struct lethe_buf *json)
{
    struct lethe_store *store = lethe_vault_store(vault);
    const struct lethe_store_version none = {""};
    struct lethe_store_version version;
    struct lethe_buf there = {0};
    enum lethe_err err = lethe_vault_replace(vault, VAULT_JSON, json->data, json->len, &none, &version);

    if (err == LETHE_ERR_UNREACHABLE && !lethe_store_get(store, VAULT_JSON, 0, json->len + 1, &there, NULL) &&
        there.len == json->len && memcmp(there.data, json->data, json->len) == 0) {
        err = LETHE_OK;
    }
    lethe_buf_release(&there);
    return err;
}

/* Everything that stands in the vault before vault.json makes it one. */
static enum lethe_err furnish(struct lethe_vault *vault, const struct lethe_init_options *options,
                              struct lethe_head *head)
{
    const uint8_t *pair = options->pair;
    size_t len = options->pair_len;
    enum lethe_err err;

    if (!pair) {
        const struct lethe_pair *shipped = lethe_pair_shipped(0);

        if (!shipped) {
            return LETHE_ERR_NOT_FOUND;
        }
        pair = lethe_pair_bytes(shipped, &len);
    }
    err = lethe_vault_pair_add(vault, pair, len, &head->pair);
    if (err) {
        return err;
    }
    lethe_journal_chain_start(&lethe_vault_settings(vault)->id, head->chain);
    head->generation = lethe_vault_generation(vault);
    memcpy(head->json_hash, lethe_vault_json_hash(vault), sizeof head->json_hash);
    head->time = now_seconds() * 1000000000;
    return lethe_vault_first_head(vault, head);
}

/* A store whose odd refusal or broken connection does not end the command. */
static enum lethe_err open_patiently(const char *location, bool create, const struct lethe_store_options *options,
                                     struct lethe_store **out)
{
    struct lethe_store *store;
    enum lethe_err err = lethe_store_open_with(location, create, options, &store);

    *out = NULL;
    return err ? err : lethe_store_retry_new(store, LETHE_SESSION_PATIENCE_MS, out);
}

/* The first folder on the way to path, or path itself, that is not there: owned; NULL when all are. */
static char *first_absent(const char *path)
{
    char *copy = strdup(path);
    struct stat there;

    for (char *at = copy ? copy + 1 : NULL; at; at++) {
        char kept = *at;

        if (kept != '/' && kept != '\0') {
            continue;
        }
        *at = '\0';
        if (lstat(copy, &there) && errno == ENOENT) {
            return copy;
        }
        if (kept == '\0') {
            break;
        }
        *at = kept;
    }
    free(copy);
    return NULL;
}

/* Removes path and the folders above it, as far as they are empty, up to this one of them. NULL: none was made. */
static void remove_empty(const char *path, const char *up_to)
{
    char *copy = up_to ? strdup(path) : NULL;

    while (copy && strlen(copy) >= strlen(up_to) && (rmdir(copy) == 0 || errno == ENOENT) && strcmp(copy, up_to) != 0) {
        *strrchr(copy, '/') = '\0';
    }
    free(copy);
}

/* What an init has made when it fails before the vault holds anything. */
struct made {
    char *folder, *folder_from; /* the store's, and the first that was not there before; NULL */
    char *state_from;
};

static enum lethe_err note_absent(const char *location, struct made *made)
{
    *made = (struct made){0};
    if (lethe_known_kind(location)) {
        return LETHE_OK;
    }
    if (asprintf(&made->folder, "%s/tmp", lethe_place_path(location)) < 0) {
        made->folder = NULL;
        return LETHE_ERR_NOMEM;
    }
    made->folder_from = first_absent(made->folder);
    return LETHE_OK;
}

static void unmake(const struct made *made, const char *state_dir)
{
    if (made->state_from) { /* made last */
        lethe_file_remove_folder(state_dir);
        remove_empty(state_dir, made->state_from);
    }
    if (made->folder) {
        remove_empty(made->folder, made->folder_from);
    }
}

enum lethe_err lethe_setup_init(const struct lethe_init_options *options,
                                enum lethe_err (*keep)(void *context, const char *phrase), void *context)
{
    const struct lethe_random *random = lethe_random_system();
    struct lethe_vault_settings settings = {
        .fidelity = options->fidelity,
        .strength = options->strength,
        .pairs_in_vault = options->pairs_in_vault,
        .created = now_seconds(),
    };
    struct lethe_store *store = NULL;
    struct lethe_secret *device = NULL, *master = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_vault *vault = NULL;
    struct lethe_head head = {0};
    struct lethe_id writer;
    struct lethe_buf json = {0};
    char phrase[LETHE_PHRASE_MAX];
    char pairs[4096];
    char *state_dir = NULL, *second = NULL;
    uint8_t hash[32];
    bool begun = false;
    struct made made;
    enum lethe_err err = note_absent(options->location, &made);

    err = err ? err : lethe_seal_start();
    err = err ? err : open_patiently(options->location, true, &options->store, &store);
    if (err) {
        goto out;
    }
    if (options->decorate) {
        store = options->decorate(options->decorate_context, store);
    }
    err = refuse_taken(store, options->location);
    if (err) {
        goto out;
    }
    lethe_vault_new_id(&settings.id);
    if (options->fidelity == LETHE_FIDELITY_SPLIT) {
        lethe_vault_new_id(&settings.second);
        err = lethe_second_init(options->residuals, &options->residuals_store, &settings.second);
        err = err ? err : lethe_second_absolute(options->residuals, &second);
        if (err) {
            goto out;
        }
    }
    err = lethe_secret_random(random, &device);
    err = err ? err
              : lethe_vault_file_new(&settings, &options->cost, options->passphrase, options->passphrase_len, device,
                                     random, &file, &master);
    err = err ? err : lethe_vault_file_write(file, master, &json);
    err = err ? err : lethe_session_folder(options->state_root, false, &settings.id, &state_dir);
    err = err ? err : lethe_session_apart(state_dir, options->location);
    if (!err) {
        made.state_from = first_absent(state_dir);
        err = save_device_secret(state_dir, device);
    }
    err = err ? err : lethe_session_writer(state_dir, &writer);
    if (err) {
        goto out;
    }
    lethe_phrase_write(device, phrase);
    err = keep(context, phrase);
    if (err) {
        goto out;
    }
    lethe_hash(json.data, json.len, hash);
    snprintf(pairs, sizeof pairs, "%s/pairs", state_dir);
    err = lethe_vault_new(store, file, hash, master, device, pairs, &vault);
    store = NULL;
    file = NULL;
    master = NULL;
    device = NULL;
    if (!err) {
        lethe_vault_set_writer(vault, &writer);
    }
    if (!err && second) {
        err = lethe_second_remember(vault, state_dir, second);
    }
    begun = !err; /* from here on there may be a vault, whatever is heard of it */
    err = err ? err : furnish(vault, options, &head);
    err = err ? err : make_database(vault, state_dir, &head, false);
    err = err ? err : put_vault_file(vault, &json);
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "the vault in %s could not be made: %s", options->location, lethe_err_str(err));
    }
out:
    explicit_bzero(phrase, sizeof phrase);
    lethe_vault_free(vault);
    lethe_store_close(store);
    lethe_vault_file_free(file);
    lethe_secret_free(master);
    lethe_secret_free(device);
    lethe_buf_release(&json);
    if (err && !begun) {
        unmake(&made, state_dir);
    }
    free(made.folder);
    free(made.folder_from);
    free(made.state_from);
    free(state_dir);
    free(second);
    return err;
}

static enum lethe_err sync_parent(const char *path)
{
    char copy[4096];
    enum lethe_err err = LETHE_OK;
    int fd;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd)) {
        err = lethe_err_from_errno(errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

/*
 * Pairs that the device has and that the vault may not: sealed under the master key, they serve the new state as they
 * are. What cannot be read stays where it is, in the state that is set aside.
 */
static void keep_pairs(const char *state_dir, const char *fresh)
{
    char from[4096], to[4096];
    struct dirent *entry;
    DIR *folder;

    snprintf(from, sizeof from, "%s/pairs", state_dir);
    folder = opendir(from);
    if (!folder) {
        return;
    }
    snprintf(to, sizeof to, "%s/pairs", fresh);
    (void)!lethe_file_make_folders(to, 0700); /* the files say it too */
    while ((entry = readdir(folder)) != NULL) {
        struct lethe_buf bytes = {0};
        struct stat there;

        if (entry->d_name[0] == '.' || strlen(entry->d_name) != 32) {
            continue;
        }
        snprintf(from, sizeof from, "%s/pairs/%s", state_dir, entry->d_name);
        snprintf(to, sizeof to, "%s/pairs/%s", fresh, entry->d_name);
        if (stat(to, &there) && (lethe_file_read(from, PAIR_FILE_MAX, &bytes) ||
                                 lethe_file_write_durably(to, bytes.data, bytes.len, 0600))) {
            lethe_log(LETHE_LOG_WARN, "a model pair of the old state could not be taken over: %s", from);
        }
        lethe_buf_release(&bytes);
    }
    closedir(folder);
}

/* Where the second store is: as it was said just now, or as the old state knew. */
static enum lethe_err keep_second(const struct lethe_vault *vault, const char *given, const char *state_dir,
                                  const char *fresh)
{
    char *location = NULL;
    enum lethe_err err = given ? lethe_second_absolute(given, &location)
                               : lethe_second_recall(vault, state_dir, &location);

    if (!err) {
        err = lethe_second_remember(vault, fresh, location);
    } else if (!given && err != LETHE_ERR_NOMEM) {
        lethe_log(LETHE_LOG_WARN, "the tree is here, its contents need the second store as well: give it with"
                  " --residuals STORE when mounting");
        err = LETHE_OK;
    }
    free(location);
    return err;
}

/*
 * The finished state and the one that it replaces change places, in one step: a power cut leaves the device with one of
 * them. The finished one waits under the name where the old one belongs: so that is never taken for a cut-off recovery.
 */
static enum lethe_err exchange_states(const char *fresh, const char *state_dir, const char *aside)
{
    enum lethe_err err = LETHE_OK;

    if (rename(fresh, aside)) {
        return lethe_err_from_errno(errno);
    }
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, state_dir, RENAME_EXCHANGE) == 0) {
        return LETHE_OK;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) {
        err = lethe_err_from_errno(errno);
    }
    if (rename(aside, fresh)) {
        return err ? err : lethe_err_from_errno(errno);
    }
    /* A file system that has no exchange: two steps. */
    if (!err && rename(state_dir, aside)) {
        err = lethe_err_from_errno(errno);
    } else if (!err && rename(fresh, state_dir)) {
        err = lethe_err_from_errno(errno);
        (void)rename(aside, state_dir);
    }
    return err;
}

/* Puts the finished state into its place; one that is there already goes to a name that tells when. */
static enum lethe_err install_state(const char *fresh, const char *state_dir, char **aside)
{
    struct stat stat_buf;
    int lock = -1;
    enum lethe_err err = LETHE_OK;

    if (!stat(state_dir, &stat_buf)) {
        err = lethe_session_lock(state_dir, &lock);
        if (!err && asprintf(aside, "%s" LETHE_SESSION_ASIDE "%lld", state_dir, (long long)now_seconds()) < 0) {
            *aside = NULL;
            err = LETHE_ERR_NOMEM;
        }
        if (!err) {
            err = exchange_states(fresh, state_dir, *aside);
        }
        if (err) {
            free(*aside);
            *aside = NULL;
        }
    } else if (errno != ENOENT || rename(fresh, state_dir)) {
        err = lethe_err_from_errno(errno);
    }
    if (!err) {
        err = sync_parent(state_dir);
    }
    if (lock >= 0) {
        close(lock);
    }
    return err;
}

enum lethe_err lethe_setup_recover(const struct lethe_recover_options *options, char **set_aside)
{
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *master = NULL, *device = NULL;
    struct lethe_vault *vault = NULL;
    const struct lethe_pair *pair;
    struct lethe_head head;
    struct lethe_id writer;
    char pairs[4096];
    char *state_dir = NULL, *fresh = NULL;
    uint8_t hash[32];
    enum lethe_err err = lethe_seal_start();

    *set_aside = NULL;
    err = err ? err : open_patiently(options->location, false, &options->store, &store);
    if (err) {
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_UNREACHABLE : err;
        goto out;
    }
    if (options->decorate) {
        store = options->decorate(options->decorate_context, store);
    }
    err = lethe_session_vault_file(store, options->location, &file, hash, NULL);
    if (err) {
        goto out;
    }
    err = lethe_vault_file_unlock(file, options->passphrase, options->passphrase_len, options->device, &master);
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "%s: the passphrase and the recovery phrase do not open it together: %s",
                  options->location, lethe_err_str(err));
        goto out;
    }
    err = lethe_session_folder(options->state_root, false, &lethe_vault_file_settings(file)->id, &state_dir);
    err = err ? err : lethe_session_apart(state_dir, options->location);
    if (!err && asprintf(&fresh, "%s.recovering", state_dir) < 0) {
        fresh = NULL;
        err = LETHE_ERR_NOMEM;
    }
    if (!err) { /* of a recovery that was cut off */
        lethe_file_remove_folder(fresh);
    }
    err = err ? err : lethe_secret_new(lethe_secret_bytes(options->device), &device);
    err = err ? err : save_device_secret(fresh, device);
    err = err ? err : lethe_session_writer(fresh, &writer);
    if (err) {
        goto out;
    }
    snprintf(pairs, sizeof pairs, "%s/pairs", fresh);
    err = lethe_vault_new(store, file, hash, master, device, pairs, &vault);
    store = NULL;
    file = NULL;
    master = NULL;
    device = NULL;
    if (!err) {
        lethe_vault_set_writer(vault, &writer);
    }
    err = err ? err : lethe_session_check_file(vault);
    err = err ? err : lethe_head_get(vault, &head, NULL);
    err = err ? err : make_database(vault, fresh, &head, true);
    if (!err) {
        keep_pairs(state_dir, fresh);
    }
    if (!err && lethe_vault_binding(vault) == LETHE_BINDING_OTHERS) {
        lethe_log(LETHE_LOG_WARN, "the vault is bound to the device that wrote it last, for its store has no conditional"
                  " writes: mount it with --take-over to write from here");
    }
    if (!err && lethe_vault_settings(vault)->fidelity == LETHE_FIDELITY_SPLIT) {
        err = keep_second(vault, options->residuals, state_dir, fresh);
    } else if (!err && options->residuals) {
        lethe_log(LETHE_LOG_ERROR, "--residuals is for vaults of fidelity split");
        err = LETHE_ERR_ARG;
    }
    if (!err && lethe_vault_pair(vault, &head.pair, &pair)) {
        lethe_log(LETHE_LOG_WARN, "the vault's model pair is not in it: add it with 'lethefs model add' before reading");
    }
    /* Not before all of it is there: until then the device keeps what it has. */
    err = err ? err : install_state(fresh, state_dir, set_aside);
    if (err && err != LETHE_ERR_BUSY) { /* of which the lock has spoken */
        lethe_log(LETHE_LOG_ERROR, "%s could not be recovered: %s", options->location, lethe_err_str(err));
    }
out:
    lethe_vault_free(vault);
    lethe_store_close(store);
    lethe_vault_file_free(file);
    lethe_secret_free(master);
    lethe_secret_free(device);
    if (err && fresh) {
        lethe_file_remove_folder(fresh);
    }
    free(fresh);
    free(state_dir);
    return err;
}
