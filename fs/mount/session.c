/* SPDX-License-Identifier: MIT */
#include "fs/mount/session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/mount/control.h"
#include "fs/mount/known.h"
#include "fs/mount/newest.h"
#include "fs/place.h"
#include "fs/vault/second.h"
#include "fs/vault/watch.h"
#include "lethe/log.h"
#include "lethe/model.h"

#define VAULT_JSON "vault.json"
#define WRITER_MAX 64
#define VAULT_JSON_MAX (64u << 10)
#define STORE_DEADLINE_MS 30000
#define CACHE_DEFAULT (10ull << 30)
#define CACHE_MIN (64ull << 20)
#define CACHE_RESERVE (8ull << 20)
#define EARLY_CUT (32u << 20)  /* bytes written: sealing and uploading begin while a program goes on writing */
#define ROOT_NAMES "4096"      /* that a mount reads before it says that the tree answers */
#define LOCK_NAPS 25           /* of 20 ms: for a daemon that may be leaving */
#define LOCK_NAPS_LEAVING 1500 /* for one that is, or was killed */

/* Whether root is no folder of states, but a state of this vault that recover set aside. */
static bool is_set_aside(const char *root, const char hex[33])
{
    size_t len = strlen(root);
    const char *name;

    while (len > 0 && root[len - 1] == '/') {
        len--;
    }
    name = memrchr(root, '/', len);
    name = name ? name + 1 : root;
    return (size_t)(root + len - name) > 32 + sizeof LETHE_SESSION_ASIDE - 1 && memcmp(name, hex, 32) == 0 &&
           memcmp(name + 32, LETHE_SESSION_ASIDE, sizeof LETHE_SESSION_ASIDE - 1) == 0;
}

enum lethe_err lethe_session_folder(const char *root, bool cache, const struct lethe_id *vault, char **out)
{
    const char *xdg = getenv(cache ? "XDG_CACHE_HOME" : "XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char hex[33];
    int done;

    *out = NULL;
    lethe_hex(vault->bytes, sizeof vault->bytes, hex);
    if (root && !cache && is_set_aside(root, hex)) {
        done = asprintf(out, "%s", root);
    } else if (root) {
        done = asprintf(out, "%s/%s", root, hex);
    } else if (xdg && xdg[0] == '/') {
        done = asprintf(out, "%s/lethefs/%s", xdg, hex);
    } else if (home && home[0] == '/') {
        done = asprintf(out, "%s/%s/lethefs/%s", home, cache ? ".cache" : ".local/state", hex);
    } else {
        lethe_log(LETHE_LOG_ERROR, "no home folder: set HOME, or give --state-dir and --cache-dir");
        return LETHE_ERR_ARG;
    }
    if (done < 0) {
        *out = NULL;
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}

enum lethe_err lethe_session_apart(const char *folder, const char *location)
{
    if (!lethe_place_within(folder, location)) {
        return LETHE_OK;
    }
    lethe_log(LETHE_LOG_ERROR, "the folder %s lies in the vault: what belongs to this device alone must lie elsewhere",
              folder);
    return LETHE_ERR_ARG;
}

static enum lethe_err parse_file(const struct lethe_buf *json, const char *location, struct lethe_vault_file **file,
                                 uint8_t json_hash[32])
{
    enum lethe_err err = lethe_vault_file_parse(json->data, json->len, file);

    if (err == LETHE_ERR_VERSION) {
        lethe_log(LETHE_LOG_ERROR, "%s was written by a newer lethefs: install that version", location);
    } else if (err) {
        lethe_log(LETHE_LOG_ERROR, "vault.json of %s is damaged: restore it from a copy of the vault", location);
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        lethe_hash(json->data, json->len, json_hash);
    }
    return err;
}

/* LETHE_ERR_NOT_FOUND when there is none; else errors have been logged. */
static enum lethe_err fetch_file(struct lethe_store *store, const char *location, struct lethe_buf *json,
                                 struct lethe_store_version *version)
{
    enum lethe_err err = lethe_store_get_patiently(store, VAULT_JSON, VAULT_JSON_MAX + 1,
                                                   LETHE_SESSION_PATIENCE_MS, json, version);

    if (err && err != LETHE_ERR_NOT_FOUND && !lethe_store_told(location, err)) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be read: %s", location, lethe_err_str(err));
    }
    return err;
}

static enum lethe_err no_vault(const char *location)
{
    lethe_log(LETHE_LOG_ERROR, "%s holds no vault: make one with 'lethefs init', or check the path", location);
    return LETHE_ERR_UNREACHABLE;
}

enum lethe_err lethe_session_vault_file(struct lethe_store *store, const char *location, struct lethe_vault_file **file,
                                        uint8_t json_hash[32], struct lethe_store_version *version)
{
    struct lethe_buf json = {0};
    enum lethe_err err = fetch_file(store, location, &json, version);

    *file = NULL;
    err = err == LETHE_ERR_NOT_FOUND ? no_vault(location) : err;
    err = err ? err : parse_file(&json, location, file, json_hash);
    lethe_buf_release(&json);
    return err;
}

/* The vault.json that this device keeps of a vault that does not answer. */
static enum lethe_err recall_file(struct lethe_session *session, const struct lethe_session_options *options,
                                  struct lethe_buf *json)
{
    const struct lethe_id none = {{0}};
    char *states = NULL;
    enum lethe_err err = lethe_session_folder(options->state_root, false, &none, &states);

    if (!err) {
        *strrchr(states, '/') = '\0';
        err = lethe_known_find(states, options->location, &options->store, json);
    }
    free(states);
    if (err) {
        return LETHE_ERR_UNREACHABLE;
    }
    session->unseen = true;
    lethe_log(LETHE_LOG_WARN, "%s does not answer: going on with what is on this device", options->location);
    return LETHE_OK;
}

/* The vault's, or the one that is kept. */
static enum lethe_err find_file(struct lethe_session *session, const struct lethe_session_options *options,
                                struct lethe_store *store, struct lethe_vault_file **file, uint8_t hash[32],
                                struct lethe_buf *json)
{
    enum lethe_err err = fetch_file(store, options->location, json, NULL);

    if (err == LETHE_ERR_UNREACHABLE && options->offline == LETHE_OFFLINE_KEEP && options->at == INT64_MAX &&
        !options->take_over && lethe_known_kind(options->location)) {
        err = recall_file(session, options, json);
    }
    err = err == LETHE_ERR_NOT_FOUND ? no_vault(options->location) : err;
    return err ? err : parse_file(json, options->location, file, hash);
}

/* What was found right is kept, or nothing is. */
static enum lethe_err keep_file(const struct lethe_session *session, const struct lethe_session_options *options,
                                const struct lethe_buf *json)
{
    enum lethe_err err = LETHE_OK;

    if (options->offline == LETHE_OFFLINE_FORGET) {
        lethe_known_forget(session->state_dir);
    } else if (options->offline == LETHE_OFFLINE_KEEP && lethe_known_kind(options->location)) {
        err = lethe_known_save(session->state_dir, options->location, &options->store, json);
    }
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be written: %s", session->state_dir, lethe_err_str(err));
    }
    return err;
}

/*
 * A daemon whose mount has just been taken away still brings its last changes to disk: it has removed its control
 * socket by then, or is about to. One that was killed has left it, and holds the lock until the kernel is done with it.
 * Whoever stays, and answers, is not waited for.
 */
static int lock_patiently(int fd, const char *state_dir)
{
    const struct timespec nap = {.tv_nsec = 20000000};
    int result;

    for (unsigned naps = 0; (result = flock(fd, LOCK_EX | LOCK_NB)) != 0; naps++) {
        if (errno != EWOULDBLOCK || naps >= LOCK_NAPS_LEAVING ||
            (naps > 0 && naps % LOCK_NAPS == 0 && lethe_control_answers(state_dir))) {
            break;
        }
        nanosleep(&nap, NULL);
    }
    return result;
}

enum lethe_err lethe_session_lock(const char *state_dir, int *fd)
{
    char path[4096];

    *fd = -1;
    if (snprintf(path, sizeof path, "%s/lock", state_dir) >= (int)sizeof path) {
        return LETHE_ERR_ARG;
    }
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be opened: %s", path, strerror(errno));
        return lethe_err_from_errno(errno);
    }
    if (lock_patiently(*fd, state_dir)) {
        close(*fd);
        *fd = -1;
        lethe_log(LETHE_LOG_ERROR, "the vault is in use on this device: unmount it first, or use the existing mount");
        return LETHE_ERR_BUSY;
    }
    return LETHE_OK;
}

enum lethe_err lethe_session_device_root(const struct lethe_secret *master, const struct lethe_id *vault,
                                         struct lethe_secret **out)
{
    return lethe_secret_derive(master, "lethefs device", vault->bytes, sizeof vault->bytes, out);
}

enum lethe_err lethe_session_device_secret(const char *state_dir, struct lethe_secret **out)
{
    struct lethe_buf bytes = {0};
    char path[4096];
    enum lethe_err err;

    *out = NULL;
    snprintf(path, sizeof path, "%s/device-secret", state_dir);
    err = lethe_file_read(path, LETHE_KEY_BYTES, &bytes);
    if (err == LETHE_ERR_NOT_FOUND) {
        lethe_log(LETHE_LOG_ERROR, "this device does not know the vault: run 'lethefs recover' with the recovery phrase");
        err = LETHE_ERR_KEY;
    } else if (!err && bytes.len != LETHE_KEY_BYTES) {
        lethe_log(LETHE_LOG_ERROR, "the device secret in %s is damaged: run 'lethefs recover'", state_dir);
        err = LETHE_ERR_KEY;
    } else if (err) {
        lethe_log(LETHE_LOG_ERROR, "the device secret in %s cannot be read: %s", state_dir, lethe_err_str(err));
    }
    if (!err) {
        err = lethe_secret_new(bytes.data, out);
    }
    if (bytes.data) {
        explicit_bzero(bytes.data, bytes.cap);
    }
    lethe_buf_release(&bytes);
    return err;
}

enum lethe_err lethe_session_writer(const char *state_dir, struct lethe_id *out)
{
    struct lethe_buf bytes = {0};
    char path[4096];
    enum lethe_err err;

    snprintf(path, sizeof path, "%s/writer", state_dir);
    err = lethe_file_read(path, WRITER_MAX, &bytes);
    if (!err && bytes.len == sizeof out->bytes) {
        memcpy(out->bytes, bytes.data, sizeof out->bytes);
    } else if (!err || err == LETHE_ERR_NOT_FOUND || err == LETHE_ERR_ARG || err == LETHE_ERR_FORMAT) { /* or damaged */
        lethe_vault_new_id(out);
        err = lethe_file_write_durably(path, out->bytes, sizeof out->bytes, 0600);
    }
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be read or made: %s", path, lethe_err_str(err));
    }
    lethe_buf_release(&bytes);
    return err;
}

/* Whether vault.json, authentic as it is, is an earlier one than the head names. */
static enum lethe_err is_earlier(struct lethe_vault *vault, bool *earlier)
{
    struct lethe_head head;
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    *earlier = !err && lethe_vault_generation(vault) < head.generation;
    return err;
}

/*
 * An earlier vault.json in a vault that is bound to this device: its writer has the newest, and puts it back. What let him
 * in was the earlier one, so the passphrase must open the newest, too.
 */
static enum lethe_err mend_file(struct lethe_session *session, const struct lethe_session_options *options,
                                struct lethe_buf *json)
{
    struct lethe_vault *vault = session->vault;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *master = NULL;
    struct lethe_buf newest = {0};
    uint8_t hash[32];
    bool earlier;
    enum lethe_err err = is_earlier(vault, &earlier);

    if (err || !earlier) {
        return err;
    }
    err = lethe_newest_mend(vault, session->state_dir, &newest);
    if (err == LETHE_ERR_NOT_FOUND) {
        err = LETHE_OK; /* the check that follows says what is wrong */
        goto out;
    }
    err = err ? err : parse_file(&newest, options->location, &file, hash);
    err = err ? err
              : lethe_vault_file_unlock(file, options->passphrase, options->passphrase_len,
                                        lethe_vault_device(vault), &master);
    if (err == LETHE_ERR_KEY) {
        lethe_log(LETHE_LOG_ERROR, "the passphrase for %s was changed since: give the present one", options->location);
    }
    if (!err) {
        lethe_vault_renew_file(vault, file, hash);
        file = NULL;
        lethe_buf_release(json);
        *json = newest;
        newest = (struct lethe_buf){0};
    }
out:
    lethe_secret_free(master);
    lethe_vault_file_free(file);
    lethe_buf_release(&newest);
    return err;
}

enum lethe_err lethe_session_check_file(struct lethe_vault *vault)
{
    struct lethe_head head;
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    if (err) {
        return err;
    }
    if (memcmp(head.json_hash, lethe_vault_json_hash(vault), sizeof head.json_hash) != 0 &&
        lethe_vault_generation(vault) <= head.generation) {
        lethe_log(LETHE_LOG_ERROR, "vault.json is not the one that the vault's head names: it was rolled back or"
                  " replaced; restore the newer one");
        return LETHE_ERR_INTEGRITY;
    }
    return LETHE_OK;
}

/*
 * Fidelity split: the second store, wherever it is just now. A location that was given and found right is remembered.
 */
static enum lethe_err open_second(struct lethe_session *session, const struct lethe_session_options *options)
{
    const struct lethe_vault_settings *settings = lethe_vault_settings(session->vault);
    struct lethe_store *second = NULL;
    struct lethe_store_stat stat;
    enum lethe_err err = LETHE_OK;

    if (settings->fidelity != LETHE_FIDELITY_SPLIT) {
        if (options->degraded || options->residuals) {
            lethe_log(LETHE_LOG_ERROR, "%s is for vaults of fidelity split",
                      options->degraded ? "-o degraded" : "--residuals");
            return LETHE_ERR_ARG;
        }
        return LETHE_OK;
    }
    if (options->residuals) {
        err = lethe_second_absolute(options->residuals, &session->second_location);
    } else {
        err = lethe_second_recall(session->vault, session->state_dir, &session->second_location);
        err = err == LETHE_ERR_NOT_FOUND || err == LETHE_ERR_INTEGRITY ? LETHE_OK : err; /* then it is away */
    }
    err = err ? err
              : lethe_second_new(session->second_location, &options->residuals_store, &settings->second, &second,
                                 &session->second_watch);
    if (err) {
        return err;
    }
    lethe_vault_set_second(session->vault, second);
    if (options->residuals && !lethe_store_stat(session->second_watch, "second", &stat)) {
        err = lethe_second_remember(session->vault, session->state_dir, session->second_location);
    }
    return err;
}

/* Store, vault.json, device secret, master key: everything up to an opened vault. */
static enum lethe_err open_vault(struct lethe_session *session, const struct lethe_session_options *options)
{
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *device = NULL, *master = NULL;
    struct lethe_buf json = {0};
    struct lethe_id id, writer;
    uint8_t hash[32];
    char pairs[4096];
    enum lethe_err err = lethe_store_open_with(options->location, false, &options->store, &store);

    if (err) {
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_UNREACHABLE : err;
        goto out;
    }
    session->location = strstr(options->location, "://") ? strdup(options->location) : realpath(options->location, NULL);
    err = session->location ? find_file(session, options, store, &file, hash, &json) : LETHE_ERR_NOMEM;
    if (err) {
        goto out;
    }
    id = lethe_vault_file_settings(file)->id;
    err = lethe_session_folder(options->state_root, false, &id, &session->state_dir);
    if (!err && options->state_root && strcmp(options->state_root, session->state_dir) == 0) {
        if (options->publish) {
            lethe_log(LETHE_LOG_ERROR, "%s was set aside: mount it with -o ro", session->state_dir);
            err = LETHE_ERR_ARG;
        } else if (asprintf(&session->cache_dir, "%s/cache", session->state_dir) < 0) { /* the other is in use */
            session->cache_dir = NULL;
            err = LETHE_ERR_NOMEM;
        }
    } else if (!err) {
        err = lethe_session_folder(options->cache_root, true, &id, &session->cache_dir);
    }
    err = err ? err : lethe_session_apart(session->state_dir, session->location);
    err = err ? err : lethe_session_apart(session->cache_dir, session->location);
    if (!err) {
        err = lethe_session_device_secret(session->state_dir, &device);
    }
    err = err ? err : lethe_session_writer(session->state_dir, &writer);
    if (!err && options->at == INT64_MAX) {
        err = lethe_session_lock(session->state_dir, &session->lock_fd);
    }
    if (err) {
        goto out;
    }
    err = lethe_vault_file_unlock(file, options->passphrase, options->passphrase_len, device, &master);
    if (err == LETHE_ERR_KEY) {
        lethe_log(LETHE_LOG_ERROR, "wrong passphrase for %s (or this device's secret is of another vault)%s",
                  options->location,
                  lethe_newest_is_other(session->state_dir, hash)
                      ? "; its vault.json is not the one that this device saw last: if the passphrase was changed, mount"
                        " with the former one, which mends that"
                      : "");
    } else if (err == LETHE_ERR_INTEGRITY) {
        lethe_log(LETHE_LOG_ERROR, "vault.json of %s was changed by somebody without the key: restore it from a copy",
                  options->location);
    }
    if (!err) {
        err = lethe_session_device_root(master, &id, &session->device_root);
    }
    if (!err) {
        struct lethe_store *inner = store;

        store = NULL;
        err = lethe_watch_new(inner, &session->watch);
        err = err ? err : lethe_store_retry_new(session->watch, STORE_DEADLINE_MS, &store);
        session->watch = err ? NULL : session->watch;
    }
    if (err) {
        goto out;
    }
    if (options->decorate) {
        store = options->decorate(options->decorate_context, store);
    }
    snprintf(pairs, sizeof pairs, "%s/pairs", session->state_dir);
    err = lethe_vault_new(store, file, hash, master, device, pairs, &session->vault);
    store = NULL;
    file = NULL;
    master = NULL;
    device = NULL;
    if (!err) {
        lethe_vault_set_writer(session->vault, &writer);
    }
    if (!err) {
        err = open_second(session, options);
    }
    if (!err && !session->unseen) {
        err = options->publish ? mend_file(session, options, &json) : LETHE_OK;
        err = err ? err : lethe_session_check_file(session->vault);
        err = err ? err : keep_file(session, options, &json);
    }
    if (!err && !session->unseen && options->publish && lethe_newest_keep(session->vault, session->state_dir, &json)) {
        lethe_log(LETHE_LOG_WARN, "%s/newest cannot be written: a vault.json that comes late could not be mended",
                  session->state_dir);
    }
out:
    lethe_buf_release(&json);
    lethe_store_close(store);
    lethe_vault_file_free(file);
    lethe_secret_free(master);
    lethe_secret_free(device);
    return err;
}

static uint64_t cache_size(const struct lethe_session_options *options, const char *folder)
{
    struct statvfs disk;
    uint64_t size = options->cache_size;

    if (size == 0) {
        size = CACHE_DEFAULT;
        if (!statvfs(folder, &disk) && (uint64_t)disk.f_blocks * disk.f_frsize / 10 < size) {
            size = (uint64_t)disk.f_blocks * disk.f_frsize / 10;
        }
    }
    return size < CACHE_MIN ? CACHE_MIN : size;
}

/* In a scratch database: photos are what their artifacts make alone. */
static enum lethe_err degrade_sizes(struct lethe_db *db)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(db, "UPDATE content SET size = alone WHERE kind = 1 AND alone > 0", &statement);
    err = err ? err : lethe_db_run(db, statement);
    lethe_db_unlock(db);
    return err;
}

/* The database of a past epoch, replayed into a scratch folder. */
static enum lethe_err open_past(struct lethe_session *session, int64_t at, bool degraded)
{
    struct lethe_segment last = {0};
    struct lethe_head head;
    char path[4096];
    enum lethe_err err;

    if (asprintf(&session->scratch_dir, "%s/at-XXXXXX", session->state_dir) < 0) {
        session->scratch_dir = NULL;
        return LETHE_ERR_NOMEM;
    }
    if (!mkdtemp(session->scratch_dir)) {
        err = lethe_err_from_errno(errno);
        free(session->scratch_dir);
        session->scratch_dir = NULL;
        return err;
    }
    snprintf(path, sizeof path, "%s/meta", session->scratch_dir);
    err = lethe_db_open(path, session->device_root, true, &session->db);
    if (!err) {
        err = lethe_head_get(session->vault, &head, NULL);
    }
    if (!err) {
        err = lethe_journal_replay(session->vault, session->db, &head, at == LETHE_SESSION_NEWEST ? INT64_MAX : at,
                                   &last);
    }
    if (err == LETHE_ERR_NOT_FOUND) {
        lethe_log(LETHE_LOG_ERROR, "the vault keeps no epoch as old as that: give a later --at");
        err = LETHE_ERR_ARG;
    }
    if (!err && degraded) {
        err = degrade_sizes(session->db);
    }
    if (!err && (degraded || lethe_vault_settings(session->vault)->fidelity == LETHE_FIDELITY_LOSSY)) {
        err = lethe_journal_settle_sizes(session->db);
    }
    if (!err) {
        lethe_db_lock(session->db);
        err = lethe_db_commit(session->db);
        lethe_db_unlock(session->db);
    }
    lethe_segment_release(&last);
    return err;
}

static void say_unusable(const struct lethe_session *session, enum lethe_err err)
{
    lethe_log(LETHE_LOG_ERROR, "the database in %s cannot be opened: %s; 'lethefs recover' makes a new one from the"
              " vault and sets this folder aside", session->state_dir, lethe_err_str(err));
}

/*
 * Without publishing, nothing of this device goes on from the vault: a state whose history is another than the vault's is
 * shown as well, for it may hold the only copy of what never got there.
 */
static enum lethe_err compare_read_only(const struct lethe_session *session)
{
    struct lethe_publisher_difference difference;
    enum lethe_err err = lethe_publisher_compare(session->vault, session->db, false, &difference);

    if (!difference.differs) {
        return err;
    }
    lethe_log(LETHE_LOG_WARN, "the vault shows epoch %llu, which does not go on from epoch %llu that this device knows: this"
              " is what is on this device, read-only; copy out what the vault lacks, then 'lethefs recover'",
              (unsigned long long)difference.shown, (unsigned long long)difference.known);
    return LETHE_OK;
}

static enum lethe_err open_present(struct lethe_session *session, const struct lethe_session_options *options)
{
    char path[4096];
    enum lethe_err err;

    snprintf(path, sizeof path, "%s/meta", session->state_dir);
    err = lethe_db_open(path, session->device_root, false, &session->db);
    if (err) {
        say_unusable(session, err);
        return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
    }
    if (session->unseen) { /* the publisher makes up for it */
        return LETHE_OK;
    }
    err = options->diverged ? compare_read_only(session)
                            : lethe_publisher_check(session->vault, session->db, options->publish);
    if (!err && options->publish) {
        err = options->take_over ? lethe_vault_take_over(session->vault) : lethe_vault_refuse_others(session->vault);
    }
    if (err == LETHE_ERR_UNREACHABLE && !options->take_over) {
        lethe_log(LETHE_LOG_WARN, "the vault does not answer: going on with what is on this device");
        err = LETHE_OK;
    }
    return err;
}

static enum lethe_err hydrate(void *context, const struct lethe_absent *absent)
{
    struct lethe_session *session = context;

    return lethe_restorer_hydrate(session->restorer, absent);
}

static enum lethe_err prepare(void *context)
{
    struct lethe_session *session = context;

    return lethe_tree_prepare(session->tree);
}

/* Space is low: what is in the vault already goes with a commit, the rest has to get there. */
static bool press(void *context)
{
    struct lethe_session *session = context;

    if (lethe_contents_want_commit(session->contents)) {
        lethe_commit_early(session->committer);
    }
    return session->publisher && lethe_publisher_press(session->publisher);
}

static void suggest(void *context)
{
    struct lethe_session *session = context;

    lethe_publisher_suggest(session->publisher);
}

static void store_is_back(void *context)
{
    struct lethe_session *session = context;

    lethe_publisher_retry(session->publisher);
}

/* The sealer has replaced a file's bytes. */
static void changed(void *context, uint64_t ino)
{
    struct lethe_session *session = context;
    void (*tell)(void *, uint64_t) = atomic_load(&session->changed);

    if (tell) {
        tell(session->changed_context, ino);
    }
}

static enum lethe_err open_sealer(struct lethe_session *session, const struct lethe_session_options *options)
{
    struct lethe_sealer_options sealer = {
        .vault = session->vault,
        .db = session->db,
        .contents = session->contents,
        .committer = session->committer,
        .restorer = session->restorer,
        .pool = session->sealing_pool,
        .strength = lethe_vault_settings(session->vault)->strength,
        .fidelity = lethe_vault_settings(session->vault)->fidelity,
        .tree = session->tree,
        .changed = changed,
        .context = session,
        .effort = options->effort,
    };
    struct lethe_buf id = {0};
    struct lethe_id pair;
    enum lethe_err err;

    lethe_db_lock(session->db);
    err = lethe_db_get_blob(session->db, LETHE_CONFIG_PAIR, &id);
    lethe_db_unlock(session->db);
    if (!err && id.len == sizeof pair) {
        memcpy(&pair, id.data, sizeof pair);
        err = lethe_vault_pair(session->vault, &pair, &sealer.pair);
    }
    /* Without it the photos that need it cannot be read, but all else can, and 'model add' must be possible. */
    if ((err == LETHE_ERR_NOT_FOUND || err == LETHE_ERR_INTEGRITY) && (sealer.pair = lethe_pair_shipped(0))) {
        err = LETHE_OK;
    }
    lethe_buf_release(&id);
    if (!err && sealer.fidelity == LETHE_FIDELITY_LOSSY) {
        err = lethe_tree_index_contents(session->tree);
    }
    return err ? err : lethe_sealer_new(&sealer, &session->sealer);
}

/* A pool whose threads go behind programs, as the sealer's own do: readers who wait for the vault have another. */
struct pool_behind {
    struct lethe_pool *pool;
    enum lethe_err err;
};

static void *make_pool(void *argument)
{
    struct pool_behind *made = argument;

    /* Threads begin with the priority of who starts them. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + LETHE_SEALER_NICE);
    made->err = lethe_pool_new(0, &made->pool);
    return NULL;
}

static enum lethe_err new_pool_behind(struct lethe_pool **out)
{
    struct pool_behind made = {NULL, LETHE_OK};
    pthread_t thread;

    if (pthread_create(&thread, NULL, make_pool, &made)) {
        return LETHE_ERR_NOMEM;
    }
    pthread_join(thread, NULL);
    *out = made.pool;
    return made.err;
}

/* Everything above the database. */
static enum lethe_err open_device(struct lethe_session *session, const struct lethe_session_options *options)
{
    bool past = options->at != INT64_MAX;
    struct lethe_contents_options contents = {
        .state_dir = past ? session->scratch_dir : session->state_dir,
        .cache_dir = past ? session->scratch_dir : session->cache_dir,
        .reserve = CACHE_RESERVE,
    };
    struct lethe_tree_options tree = {.hydrate = hydrate,
                                      .context = session,
                                      .update_atime = !past && !options->no_atime,
                                      .strict_atime = options->strict_atime,
                                      .no_dir_atime = options->no_dir_atime};
    char scratch_cache[4096];
    enum lethe_err err;

    if (past) {
        snprintf(scratch_cache, sizeof scratch_cache, "%s/cache", session->scratch_dir);
        contents.cache_dir = scratch_cache;
    }
    err = lethe_file_make_folders(contents.cache_dir, 0700);
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "the cache folder %s cannot be made: %s", contents.cache_dir, lethe_err_str(err));
        return err;
    }
    contents.limit = cache_size(options, contents.cache_dir);
    err = lethe_contents_open(session->db, session->device_root, &contents, &session->contents);
    if (!err) {
        lethe_vault_use_spares(session->vault, lethe_contents_spares(session->contents));
        err = lethe_committer_new(session->db, session->contents, &session->committer);
    }
    if (!err) {
        err = lethe_pool_new(0, &session->pool);
    }
    if (!err) {
        err = new_pool_behind(&session->sealing_pool);
    }
    if (!err) {
        struct lethe_restorer_options restorer = {.vault = session->vault,
                                                  .db = session->db,
                                                  .contents = session->contents,
                                                  .committer = session->committer,
                                                  .pool = session->pool,
                                                  .watch = session->watch,
                                                  .second = session->second_watch,
                                                  .timeout_ms = options->timeout_ms,
                                                  .degraded = options->degraded,
                                                  .persistent = options->persistent,
                                                  .interrupted = options->interrupted};

        err = lethe_restorer_new(&restorer, &session->restorer);
    }
    if (!err) {
        tree.db = session->db;
        tree.contents = session->contents;
        tree.committer = session->committer;
        err = lethe_tree_open(&tree, &options->owner, &session->tree);
    }
    if (!err) {
        struct lethe_commit_hooks hooks = {.prepare = prepare, .context = session};

        lethe_committer_set_hooks(session->committer, &hooks);
        err = lethe_commit_wait(session->committer);
    }
    return err;
}

/*
 * The vault answers whose keys were taken from this device: its vault.json is the one that the head names, be it a newer
 * one, and its history goes on from what this device saw.
 */
static enum lethe_err meet(void *context)
{
    struct lethe_session *session = context;
    struct lethe_vault *vault = session->vault;
    struct lethe_buf json = {0};
    struct lethe_head head;
    uint8_t hash[32];
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    if (!err && lethe_vault_generation(vault) < head.generation) {
        err = lethe_store_get(lethe_vault_store(vault), VAULT_JSON, 0, VAULT_JSON_MAX + 1, &json, NULL);
        if (!err) {
            lethe_hash(json.data, json.len, hash);
        }
        if (err == LETHE_ERR_NOT_FOUND || (!err && memcmp(hash, head.json_hash, sizeof hash) != 0)) {
            lethe_log(LETHE_LOG_ERROR, "vault.json is not the one that the vault's head names: it was rolled back or"
                      " replaced; restore the newer one");
            err = LETHE_ERR_INTEGRITY;
        }
    } else if (!err) {
        err = lethe_session_check_file(vault);
    }
    lethe_buf_release(&json);
    err = err ? err : lethe_publisher_check(vault, session->db, true);
    err = err ? err : lethe_vault_refuse_others(vault);
    return err == LETHE_ERR_BUSY ? LETHE_ERR_CONFLICT : err;
}

static enum lethe_err open_publisher(struct lethe_session *session, const struct lethe_session_options *options)
{
    struct lethe_publisher_options publisher = {
        .vault = session->vault,
        .db = session->db,
        .contents = session->contents,
        .committer = session->committer,
        .tree = session->tree,
        .interval_ms = options->epoch_ms,
        .meet = session->unseen ? meet : NULL,
        .verify = options->verify,
        .context = session,
    };
    int64_t epoch = 0;
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err = open_sealer(session, options);

    if (err) {
        return err;
    }
    /* The next cut is after the newest epoch that was cut, published or not. */
    lethe_db_lock(session->db);
    err = lethe_db_get_int(session->db, LETHE_CONFIG_EPOCH, 0, &epoch);
    err = err ? err : lethe_db_statement(session->db, "SELECT max(n) FROM epoch", &statement);
    err = err ? err : lethe_db_step(session->db, statement, &row);
    if (!err && row) {
        if (sqlite3_column_int64(statement, 0) > epoch) {
            epoch = sqlite3_column_int64(statement, 0);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(session->db);
    if (err) {
        return err;
    }
    lethe_contents_set_next_epoch(session->contents, (uint64_t)epoch + 1);
    publisher.sealer = session->sealer;
    err = lethe_publisher_new(&publisher, &session->publisher);
    if (!err) {
        lethe_contents_set_pressure(session->contents, press, session);
        if (lethe_known_kind(session->location)) { /* a line has room beside programs, a disk and processors do not */
            lethe_contents_set_plenty(session->contents, EARLY_CUT, suggest, session);
        }
        lethe_watch_on_return(session->watch, store_is_back, session);
        if (session->second_watch) {
            lethe_watch_on_return(session->second_watch, store_is_back, session);
        }
    }
    return err;
}

/* What the first ls reads: a database that is damaged there is refused, rather than shown as a folder that gives EIO. */
static enum lethe_err read_root(struct lethe_session *session)
{
    static const char *const queries[] = {
        "SELECT mode, mtime FROM inode WHERE ino = 1",
        "SELECT name, value FROM xattr WHERE ino = 1", /* the kernel asks for access control lists */
        "SELECT d.name, d.cookie, i.mode FROM dentry d JOIN inode i ON i.ino = d.ino WHERE d.parent = 1"
        " ORDER BY d.cookie LIMIT " ROOT_NAMES,
    };
    enum lethe_err err = LETHE_OK;

    lethe_db_lock(session->db);
    for (size_t i = 0; i < sizeof queries / sizeof *queries && !err; i++) {
        sqlite3_stmt *statement;
        bool row;

        err = lethe_db_statement(session->db, queries[i], &statement);
        while (!err && !(err = lethe_db_step(session->db, statement, &row)) && row) {
        }
    }
    lethe_db_unlock(session->db);
    return err;
}

enum lethe_err lethe_session_open(const struct lethe_session_options *options, struct lethe_session **out)
{
    struct lethe_session *session = calloc(1, sizeof *session);
    enum lethe_err err;

    *out = NULL;
    if (!session) {
        return LETHE_ERR_NOMEM;
    }
    session->lock_fd = -1;
    err = lethe_seal_start();
    if (!err) {
        err = open_vault(session, options);
    }
    if (!err) {
        err = options->at == INT64_MAX ? open_present(session, options) : open_past(session, options->at, options->degraded);
    }
    if (!err) {
        err = open_device(session, options);
    }
    if (!err && options->at == INT64_MAX) {
        err = read_root(session);
    }
    if (!err && options->publish && options->at == INT64_MAX) {
        err = open_publisher(session, options);
    }
    if (err && options->at == INT64_MAX && session->db && lethe_db_damaged(session->db)) {
        say_unusable(session, err = LETHE_ERR_INTEGRITY);
    }
    if (err) {
        (void)lethe_session_close(session);
        return err;
    }
    *out = session;
    return LETHE_OK;
}

enum lethe_err lethe_session_close(struct lethe_session *session)
{
    enum lethe_err err = LETHE_OK;

    if (!session) {
        return LETHE_OK;
    }
    if (session->contents) {
        lethe_contents_set_pressure(session->contents, NULL, NULL);
        lethe_contents_set_plenty(session->contents, 0, NULL, NULL);
    }
    if (session->watch) {
        lethe_watch_on_return(session->watch, NULL, NULL);
    }
    if (session->vault) {
        lethe_store_hurry(lethe_vault_store(session->vault));
        if (lethe_vault_second(session->vault)) {
            lethe_store_hurry(lethe_vault_second(session->vault));
        }
    }
    if (session->second_watch) {
        lethe_watch_on_return(session->second_watch, NULL, NULL);
    }
    if (session->restorer) {
        lethe_restorer_stop(session->restorer);
    }
    lethe_publisher_free(session->publisher);
    if (session->restorer) {
        lethe_restorer_drain(session->restorer); /* flights use the committer's gate */
    }
    if (session->committer) {
        err = lethe_committer_close(session->committer);
    }
    lethe_sealer_free(session->sealer);
    if (session->tree) {
        lethe_tree_close(session->tree);
    }
    lethe_restorer_free(session->restorer);
    if (session->contents) {
        lethe_vault_use_spares(session->vault, NULL);
        lethe_contents_close(session->contents);
    }
    lethe_pool_free(session->pool);
    lethe_pool_free(session->sealing_pool);
    lethe_db_close(session->db);
    lethe_vault_free(session->vault);
    lethe_secret_free(session->device_root);
    if (session->scratch_dir) {
        lethe_file_remove_folder(session->scratch_dir);
        free(session->scratch_dir);
    }
    if (session->lock_fd >= 0) {
        close(session->lock_fd);
    }
    free(session->location);
    free(session->second_location);
    free(session->state_dir);
    free(session->cache_dir);
    free(session);
    return err;
}
