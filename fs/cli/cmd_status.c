/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <errno.h>
#include <time.h>

#include "fs/mount/control.h"
#include "fs/mount/session.h"
#include "fs/mount/status.h"
#include "fs/vault/journal.h"
#include "lethe/store.h"

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *when(int64_t ns, char out[32])
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;

    if (ns == 0 || !localtime_r(&seconds, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm)) {
        return "never";
    }
    return out;
}

static void print_line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print_line(const char *name, const char *format, ...)
{
    va_list arguments;

    printf("%-12s ", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* One line for each member of an object of {files, bytes}. */
static void print_counts(const json_t *object, const char *what)
{
    json_t *counts = json_object_get(object, what);
    const char *name;
    json_t *entry;

    json_object_foreach(counts, name, entry)
    {
        char bytes[32];

        print_line(name, "%" PRIu64 " files, %s", number(entry, "files"),
                   lethe_cli_bytes(number(entry, "bytes"), bytes));
    }
}

/* Pictures that lie in the vault as exact segments, by reason, as a share of all pictures. */
static void print_pictures(const json_t *object)
{
    json_t *segments = json_object_get(object, "pictures_as_segments");
    uint64_t artifacts = number(json_object_get(json_object_get(object, "stored"), "artifact"), "files");
    uint64_t all = artifacts, exact = 0;
    const char *reason;
    json_t *entry;

    json_object_foreach(segments, reason, entry)
    {
        exact += number(entry, "files");
    }
    all += exact;
    if (all == 0) {
        return;
    }
    print_line("pictures",
               "%" PRIu64 ", of them %" PRIu64 " (%.1f %%) as artifacts, %" PRIu64 " (%.1f %%) as segments",
               all, artifacts, 100.0 * (double)artifacts / (double)all, exact,
               100.0 * (double)exact / (double)all);
    json_object_foreach(segments, reason, entry)
    {
        print_line("", "%s: %" PRIu64 " (%.1f %%)", reason, number(entry, "files"),
                   100.0 * (double)number(entry, "files") / (double)all);
    }
}

static void print_pending(const json_t *object)
{
    json_t *pending = json_object_get(object, "pending");
    const char *error = json_string_value(json_object_get(object, "last_error"));
    char text[32];

    print_line("published", "epoch %" PRIu64 ", %s", number(object, "epoch"),
               when((int64_t)number(object, "epoch_time"), text));
    if (!pending) {
        return;
    }
    print_line("pending", "%" PRIu64 " files, %s%s%s", number(pending, "files"),
               lethe_cli_bytes(number(pending, "bytes"), text), number(pending, "changes") ? ", changes of the tree" : "",
               json_is_true(json_object_get(pending, "busy")) ? ", an epoch is under way" : "");
    if (json_is_true(json_object_get(object, "stopped"))) {
        print_line("stopped", "another device has published to the vault or taken it over; see 'lethefs recover'");
    }
    if (error) {
        print_line("last error", "%s, since %s", error, when((int64_t)number(object, "error_since"), text));
    } else {
        print_line("last error", "none");
    }
    if (json_is_true(json_object_get(object, "database_damaged"))) {
        print_line("database", "damaged on this device: copy out what the vault lacks, unmount, and run 'lethefs recover'");
    }
    if (json_is_true(json_object_get(object, "journal_damaged"))) {
        print_line("journal", "damaged in the vault: the tree is written anew from this device");
    } else if (number(object, "journal_mended") > 0) {
        print_line("journal", "was damaged in the vault, and is written anew since epoch %llu: past moments before that"
                   " are lost", (unsigned long long)number(object, "journal_mended"));
    }
    if (number(object, "damaged") > 0) {
        print_line("damaged", "%llu files lost bytes on this device: delete them, or replace them by copies",
                   (unsigned long long)number(object, "damaged"));
    }
}

/* When the vault's store does not answer: since when, and why. */
static void print_second(const json_t *object)
{
    json_t *store = json_object_get(object, "second_store");
    const char *location = json_string_value(json_object_get(store, "location"));
    char text[32];

    if (!store) {
        return;
    }
    if (json_is_true(json_object_get(store, "away"))) {
        print_line("residuals", "in %s, away since %s: %s; nothing is published until it is back",
                   location ? location : "a place that this device does not know",
                   when((int64_t)number(store, "away_since"), text), json_string_value(json_object_get(store, "why")));
    } else {
        print_line("residuals", "in %s", location ? location : "a place that this device does not know");
    }
}

static void print_store(const json_t *object)
{
    json_t *store = json_object_get(object, "store");
    char text[32];

    if (json_is_true(json_object_get(store, "away"))) {
        print_line("store", "away since %s: %s; what is on this device can be used, the rest waits",
                   when((int64_t)number(store, "away_since"), text), json_string_value(json_object_get(store, "why")));
    } else {
        print_line("store", "answers");
    }
}

static void print_session(const json_t *object)
{
    const char *bound = json_string_value(json_object_get(object, "bound_to"));
    json_t *cache = json_object_get(object, "cache");
    char limit[32], dirty[32], cached[32];

    print_line("vault", "%s", json_string_value(json_object_get(object, "vault")));
    print_line("at", "%s", json_string_value(json_object_get(object, "location")));
    print_line("fidelity", "%s, strength %" PRIu64, json_string_value(json_object_get(object, "fidelity")),
               number(object, "strength"));
    if (json_is_false(json_object_get(object, "pairs_in_vault"))) {
        print_line("pairs",
                   "on this device alone: export them with 'lethefs model export', or the photos go with it");
    }
    print_store(object);
    if (bound) {
        print_line("bound to", "%s, the only one that may write: the store has no conditional writes; see 'lethefs"
                   " mount --take-over'", bound);
    }
    print_second(object);
    print_pending(object);
    print_line("cache", "%s of dirty and %s of clean content, limit %s",
               lethe_cli_bytes(number(cache, "dirty"), dirty),
               lethe_cli_bytes(number(cache, "cached"), cached),
               lethe_cli_bytes(number(cache, "limit"), limit));
    print_counts(object, "states");
    print_line("objects", "%" PRIu64 ", %s", number(object, "objects"),
               lethe_cli_bytes(number(object, "object_bytes"), limit));
    print_counts(object, "stored");
    print_pictures(object);
}

/* Without a passphrase: what vault.json and the keys in the backend tell. */
struct listing {
    uint64_t artifacts, artifact_bytes, others, other_bytes, segments;
};

static enum lethe_err count_key(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct listing *listing = context;

    if (strncmp(key, "a/", 2) == 0) {
        listing->artifacts++;
        listing->artifact_bytes += stat->size;
    } else if (strncmp(key, "o/", 2) == 0) {
        listing->others++;
        listing->other_bytes += stat->size;
    } else if (strncmp(key, "j/", 2) == 0) {
        listing->segments++;
    }
    return LETHE_OK;
}

static json_t *describe(const struct lethe_vault_file *file, const struct listing *listing, bool known)
{
    static const char *const fidelities[] = {"exact", "split", "lossy"};
    const struct lethe_vault_settings *settings = lethe_vault_file_settings(file);
    char hex[33];

    lethe_hex(settings->id.bytes, sizeof settings->id.bytes, hex);
    return json_pack(
        "{s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "vault", hex, "fidelity",
        fidelities[settings->fidelity], "strength", (json_int_t)settings->strength, "pairs_in_vault",
        settings->pairs_in_vault, "created", (json_int_t)settings->created, "generation",
        (json_int_t)lethe_vault_file_generation(file), "slots", (json_int_t)lethe_vault_file_slots(file),
        "mounted", false, "known_to_device", known, "artifacts", (json_int_t)listing->artifacts,
        "artifact_bytes", (json_int_t)listing->artifact_bytes, "other_objects", (json_int_t)listing->others,
        "other_bytes", (json_int_t)listing->other_bytes, "journal_segments", (json_int_t)listing->segments);
}

static int status_closed(const char *location, const struct lethe_cli_access *access, bool json)
{
    struct lethe_store *store = NULL;
    struct lethe_vault_file *file = NULL;
    struct listing listing = {0};
    struct stat stat_buf;
    json_t *object = NULL;
    char *state_dir = NULL;
    uint8_t hash[32];
    char text[32];
    int code = LETHE_EXIT_DONE;
    enum lethe_err err = lethe_store_open_with(location, false, &access->store, &store);

    if (err) {
        return lethe_exit_code(err);
    }
    err = lethe_session_vault_file(store, location, &file, hash, NULL);
    err =
        err ? err : lethe_session_folder(access->state_dir, false, &lethe_vault_file_settings(file)->id, &state_dir);
    if (err) {
        code = lethe_exit_code(err);
        goto out;
    }
    err = lethe_store_list(store, "", count_key, &listing);
    if (err) {
        code = lethe_cli_fail(err, "%s cannot be listed: %s", location, lethe_err_str(err));
        goto out;
    }
    object = describe(file, &listing, stat(state_dir, &stat_buf) == 0);
    if (json) {
        code = lethe_cli_print_json(object, code);
        object = NULL;
        goto out;
    }
    print_line("vault", "%s, not mounted on this device%s",
               json_string_value(json_object_get(object, "vault")),
               json_is_true(json_object_get(object, "known_to_device")) ? "" : " and not known to it");
    print_line("fidelity", "%s, strength %" PRIu64, json_string_value(json_object_get(object, "fidelity")),
               number(object, "strength"));
    print_line("key slots", "%" PRIu64, number(object, "slots"));
    print_line("artifacts", "%" PRIu64 ", %s", listing.artifacts,
               lethe_cli_bytes(listing.artifact_bytes, text));
    print_line("other", "%" PRIu64 " objects, %s", listing.others,
               lethe_cli_bytes(listing.other_bytes, text));
    print_line("journal", "%" PRIu64 " segments", listing.segments);
    printf("Give --passfile or --extpass, or mount it, to see more.\n");
out:
    json_decref(object);
    free(state_dir);
    lethe_vault_file_free(file);
    lethe_store_close(store);
    return code;
}

/* Opened for this command alone. */
static int status_opened(const char *location, const struct lethe_cli_access *access, json_t **out)
{
    struct lethe_session *session = NULL;
    struct lethe_head head;
    enum lethe_err closing, err = lethe_cli_session(location, access, LETHE_CLI_PUBLISHED, &session);

    if (err) {
        return lethe_exit_code(err);
    }
    err = lethe_head_get(session->vault, &head, NULL);
    if (!err) {
        *out = lethe_status_session(session);
        (void)json_object_set_new(*out, "epoch", json_integer((json_int_t)head.epoch));
        (void)json_object_set_new(*out, "epoch_time", json_integer(head.time));
    }
    closing = lethe_session_close(session);
    return lethe_exit_code(err ? err : closing);
}

int lethe_cmd_status(int argc, char **argv)
{
    struct lethe_cli_access access = {0};
    const char *args[1];
    bool json = false;
    const struct lethe_option options[] = {
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "status",
                                          .usage = "PATH|VAULT [OPTION]...",
                                          .about = "Tells what is pending, published and cached.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    json_t *object = NULL;
    char *state_dir = NULL;
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (!strstr(args[0], "://") &&
        (getxattr(args[0], "user.lethefs.pid", NULL, 0) >= 0 || errno == ENOTCONN)) {
        code = lethe_cli_ask(args[0], "status", &object, NULL);
    } else {
        err = lethe_cli_state_dir(args[0], &access, &state_dir);
        if (err) {
            return lethe_exit_code(err);
        }
        err = lethe_control_call_state(state_dir, "status", NULL, NULL, &object, NULL);
        free(state_dir);
        if (object) {
            (void)json_object_del(object, "err");
            code = lethe_exit_code(err);
        } else if (access.passfile || access.extpass) {
            code = status_opened(args[0], &access, &object);
        } else {
            return status_closed(args[0], &access, json);
        }
    }
    if (code > 0 || !object) {
        json_decref(object);
        return code;
    }
    if (json) {
        return lethe_cli_print_json(object, LETHE_EXIT_DONE);
    }
    print_session(object);
    json_decref(object);
    return LETHE_EXIT_DONE;
}
