/* SPDX-License-Identifier: MIT */
/* A vault or a mount, as several commands come to it. */
#include "fs/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "fs/mount/control.h"
#include "fs/mount/session.h"
#include "lethe/log.h"
#include "lethe/store.h"

enum lethe_err lethe_cli_session(const char *location, const struct lethe_cli_access *access,
                                 enum lethe_cli_moment moment, struct lethe_session **out)
{
    struct lethe_session_options options = {
        .location = location,
        .store = access->store,
        .residuals = access->residuals,
        .residuals_store = access->residuals_store,
        .state_root = access->state_dir,
        .effort = LETHE_EFFORT_FAST,
        .publish = moment == LETHE_CLI_PRESENT,
        .at = moment == LETHE_CLI_PRESENT ? INT64_MAX : LETHE_SESSION_NEWEST,
        .owner = {.uid = getuid(), .gid = getgid()},
    };
    struct lethe_cli_secret secret = {0};
    enum lethe_err err =
        lethe_cli_passphrase(access->passfile, access->extpass, "Passphrase", false, &secret);

    *out = NULL;
    if (!err) {
        options.passphrase = secret.text;
        options.passphrase_len = secret.len;
        err = lethe_session_open(&options, out);
    }
    lethe_cli_secret_free(&secret);
    return err;
}

enum lethe_err lethe_cli_state_dir(const char *location, const struct lethe_cli_access *access, char **out)
{
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    uint8_t hash[32];
    enum lethe_err err = lethe_seal_start();

    *out = NULL;
    err = err ? err : lethe_store_open_with(location, false, &access->store, &store);
    if (err) {
        return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_UNREACHABLE : err;
    }
    err = lethe_session_vault_file(store, location, &file, hash, NULL);
    if (!err) {
        err = lethe_session_folder(access->state_dir, false, &lethe_vault_file_settings(file)->id, out);
    }
    lethe_vault_file_free(file);
    lethe_store_close(store);
    return err;
}

/* Whether path lies in a mount whose daemon has ended. (Attributes may still be cached: stat does not tell.)
 */
static bool is_dead(const char *path)
{
    return getxattr(path, "user.lethefs.pid", NULL, 0) < 0 && errno == ENOTCONN;
}

/* Why the daemon of a mount gave no answer at all. */
static int no_answer(const char *path, enum lethe_err err)
{
    struct stat stat_buf;

    if (is_dead(path)) {
        return lethe_cli_fail(
            LETHE_ERR_IO, "%s: the mount's daemon has ended; run 'lethefs umount' on it, then mount again",
            path);
    }
    if (stat(path, &stat_buf)) {
        return lethe_cli_fail(errno == ENOENT ? LETHE_ERR_ARG : LETHE_ERR_IO, "%s: %s", path,
                              strerror(errno));
    }
    if (err == LETHE_ERR_NOT_FOUND) {
        if (getxattr(path, "user.lethefs.pid", NULL, 0) >= 0) {
            return lethe_cli_fail(LETHE_ERR_ARG, "%s lies in a mount of the past: nothing is pending there",
                                  path);
        }
        return lethe_cli_fail(LETHE_ERR_ARG, "%s lies in no mount of lethefs: give a path inside one", path);
    }
    if (err == LETHE_ERR_DENIED) {
        return lethe_cli_fail(err, "%s: only the user who mounted it may ask", path);
    }
    return lethe_cli_fail(LETHE_ERR_IO, "%s: the mount's daemon does not answer", path);
}

int lethe_cli_ask(const char *path, const char *request, json_t **answer, struct lethe_buf *extra)
{
    enum lethe_err err = lethe_control_call(path, request, NULL, NULL, answer, extra);

    if (err && !*answer) {
        return no_answer(path, err);
    }
    if (err) {
        json_decref(*answer);
        *answer = NULL;
        return lethe_cli_fail(err, "%s: %s", path, lethe_err_str(err));
    }
    (void)json_object_del(*answer, "err");
    return LETHE_EXIT_DONE;
}

enum lethe_err lethe_cli_flush(const char *path)
{
    char copy[4096];
    struct stat stat_buf;
    enum lethe_err err = LETHE_OK;
    int fd;

    if (strlen(path) >= sizeof copy) {
        return LETHE_ERR_ARG;
    }
    strcpy(copy, path);
    if (!stat(path, &stat_buf) && !S_ISDIR(stat_buf.st_mode)) { /* a fifo must not be opened */
        path = dirname(copy);
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES ? LETHE_OK : lethe_err_from_errno(errno);
    }
    if (syncfs(fd)) {
        err = lethe_err_from_errno(errno);
    }
    close(fd);
    return err;
}

struct waiting {
    struct lethe_progress progress;
    const char *path;
    int64_t patience; /* milliseconds */
    int64_t since;    /* monotonic milliseconds since when the vault has not answered; 0: it does */
};

static void on_progress(void *context, const json_t *object)
{
    struct waiting *waiting = context;
    const char *error = json_string_value(json_object_get(object, "last_error"));
    struct timespec clock;
    int64_t now;

    lethe_progress_update(&waiting->progress, (uint64_t)json_integer_value(json_object_get(object, "done")),
                          (uint64_t)json_integer_value(json_object_get(object, "total")));
    if (!error) {
        waiting->since = 0;
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &clock);
    now = (int64_t)clock.tv_sec * 1000 + clock.tv_nsec / 1000000;
    if (waiting->since == 0) {
        waiting->since = now;
    }
    if (waiting->patience && now - waiting->since >= waiting->patience) {
        lethe_progress_end(&waiting->progress);
        /* The daemon goes on trying; only this command gives up. */
        exit(lethe_cli_fail(LETHE_ERR_UNREACHABLE,
                            "%s: the vault does not answer (%s); everything is safe on this"
                            " device and goes there once it does",
                            waiting->path, error));
    }
}

int lethe_cli_sync(const char *path, int64_t patience)
{
    struct waiting waiting = {.path = path, .patience = patience * 1000};
    json_t *answer = NULL;
    enum lethe_err err = lethe_cli_flush(path);

    if (err) {
        if (is_dead(path) || access(path, F_OK)) {
            return no_answer(path, err);
        }
        return lethe_cli_fail(err, "%s: what programs wrote last cannot be stored: %s", path,
                              lethe_err_str(err));
    }
    lethe_progress_start(&waiting.progress, "to the vault");
    err = lethe_control_call(path, "sync 0", on_progress, &waiting, &answer, NULL);
    lethe_progress_end(&waiting.progress);
    if (err && !answer) {
        return no_answer(path, err);
    }
    json_decref(answer);
    if (err == LETHE_ERR_CONFLICT) {
        return lethe_cli_fail(
            err,
            "%s: another device has published to the vault or taken it over: everything is kept on this device,"
            " nothing more is published; see 'lethefs recover'",
            path);
    }
    if (err == LETHE_ERR_INTEGRITY) {
        return lethe_cli_fail(err,
                              "%s: not everything is in the vault: something on this device or in the vault is damaged;"
                              " 'lethefs status' and the log tell more",
                              path);
    }
    if (err) {
        return lethe_cli_fail(
            err, "%s: not everything is in the vault: %s; it is safe on this device and tried again", path,
            lethe_err_str(err));
    }
    return LETHE_EXIT_DONE;
}

int lethe_cli_print_json(json_t *object, int code)
{
    bool bad =
        !object || json_dumpf(object, stdout, JSON_INDENT(2)) || putchar('\n') == EOF || fflush(stdout);

    json_decref(object);
    if (bad) {
        return lethe_cli_fail(LETHE_ERR_IO, "standard output cannot be written");
    }
    return code;
}

const char *lethe_cli_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(out, 32, "%" PRIu64 " bytes", bytes);
        return out;
    }
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, "%.1f %s", value, units[unit]);
    return out;
}
