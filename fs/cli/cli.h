/* SPDX-License-Identifier: MIT */
/*
 * The command line: what the commands share. Each command is one file cmd_NAME.c with one function that takes its own
 * arguments (argv[0] is the command's name) and returns an exit code. Errors go to standard error, one line each.
 */
#ifndef LETHE_FS_CLI_CLI_H
#define LETHE_FS_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/store.h"

/* Exit codes: a contract (see lethefs(1)). */
enum lethe_exit {
    LETHE_EXIT_DONE = 0,
    LETHE_EXIT_FAILED = 1,
    LETHE_EXIT_USAGE = 2,
    LETHE_EXIT_KEY = 3,
    LETHE_EXIT_INTEGRITY = 4,
    LETHE_EXIT_UNREACHABLE = 5,
    LETHE_EXIT_BUSY = 6,
};
int lethe_exit_code(enum lethe_err err);

/* Prints "lethefs: text" and returns LETHE_EXIT_USAGE, with a pointer to --help. */
int lethe_cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints "lethefs: text" and returns the exit code of err. */
int lethe_cli_fail(enum lethe_err err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Options. A command lists what it takes; lethe_cli_parse fills the targets and gathers the other arguments.
 * "--name VALUE", "--name=VALUE"; a one-letter name is also "-n VALUE". "--" ends options.
 */
enum lethe_option_kind {
    LETHE_OPTION_FLAG,   /* target: bool */
    LETHE_OPTION_TEXT,   /* target: const char * */
    LETHE_OPTION_NUMBER, /* target: uint64_t, within min..max */
    LETHE_OPTION_SIZE,   /* target: uint64_t bytes, with K, M, G, T (of 1024) */
    LETHE_OPTION_LIST,   /* target: struct lethe_cli_list: every value up to the next option */
};

struct lethe_cli_list {
    const char *values[256];
    size_t count;
};

struct lethe_option {
    const char *name;
    enum lethe_option_kind kind;
    void *target;
    uint64_t min, max; /* NUMBER */
    const char *help;  /* with the value's name first for options that take one: "DIR where ..." */
};

struct lethe_command {
    const char *name;
    const char *usage; /* arguments: "VAULT MOUNTPOINT [OPTION]..." */
    const char *about; /* one line */
    size_t min_args, max_args;
    const struct lethe_option *options; /* ends with a NULL name */
};

/*
 * Parses argv[1..]; arguments that are no options are moved to args (room for max_args). *count receives their number.
 * Returns -1 to go on, or an exit code: usage errors, or 0 after --help.
 */
int lethe_cli_parse(const struct lethe_command *command, int argc, char **argv, const char **args, size_t *count);

/* --- the passphrase (fs/cli/passphrase.c) --- */

struct lethe_cli_secret {
    char *text; /* locked memory */
    size_t len;
};
/*
 * From the file, the command's standard output, or the terminal (with the prompt; twice when confirm). One trailing
 * newline is stripped. At most 4096 bytes, not empty. Errors are logged: LETHE_ERR_ARG, LETHE_ERR_NOT_FOUND, ...
 */
enum lethe_err lethe_cli_passphrase(const char *passfile, const char *extpass, const char *prompt, bool confirm,
                                    struct lethe_cli_secret *out) LETHE_MUST_CHECK;
void lethe_cli_secret_free(struct lethe_cli_secret *secret);

/* --- progress (fs/cli/progress.c) --- */

/* A bar on standard error when that is a terminal, drawn once a second at most and only after the first second. */
struct lethe_progress {
    const char *what;
    int64_t started, drawn; /* monotonic milliseconds */
    bool shown;
};
void lethe_progress_start(struct lethe_progress *progress, const char *what);
void lethe_progress_update(struct lethe_progress *progress, uint64_t done, uint64_t total);
void lethe_progress_end(struct lethe_progress *progress);

/* 2026-01-31, 2026-01-31T12:00:00 (local) or ...Z, @SECONDS, or NUMBER with s, m, h, d before now. Nanoseconds. */
enum lethe_err lethe_cli_time(const char *text, int64_t *out) LETHE_MUST_CHECK;
/* 30d, 12h, 90m, 45s, or plain seconds. */
enum lethe_err lethe_cli_duration(const char *text, int64_t *seconds) LETHE_MUST_CHECK;
/* 512, 64K, 10M, 2G, 1T. */
enum lethe_err lethe_cli_size(const char *text, uint64_t *out) LETHE_MUST_CHECK;

/* --- what several commands do with a vault or a mount (fs/cli/access.c) --- */

/* The options that open a vault; cache_dir only where a command takes it. */
struct lethe_cli_access {
    const char *passfile, *extpass, *state_dir;
    struct lethe_store_options store;
    const char *residuals; /* the second store; NULL: where this device remembers it */
    struct lethe_store_options residuals_store;
};
/* The options that reach a store; prefix ("" for the vault's) tells those of several stores apart. */
#define LETHE_CLI_STORE_OPTIONS(prefix, store) \
    {prefix "endpoint", LETHE_OPTION_TEXT, &(store).endpoint, 0, 0, "URL of the S3 service"}, \
        {prefix "region", LETHE_OPTION_TEXT, &(store).region, 0, 0, "NAME of the bucket's region"}, \
        {prefix "path-style", LETHE_OPTION_FLAG, &(store).path_style, 0, 0, "the bucket stands in the path"}, \
        {prefix "host-style", LETHE_OPTION_FLAG, &(store).host_style, 0, 0, "the bucket stands in the host name"}, \
        {prefix "cacert", LETHE_OPTION_TEXT, &(store).ca_file, 0, 0, "FILE certificates that the service may have"}, \
        {prefix "credentials", LETHE_OPTION_TEXT, &(store).credentials, 0, 0, "FILE instead of ~/.aws/credentials"}, \
        {prefix "profile", LETHE_OPTION_TEXT, &(store).profile, 0, 0, "NAME of the credentials' section"}, \
        {prefix "requests", LETHE_OPTION_NUMBER, &(store).in_flight, 1, 256, "N requests at once (32)"}
#define LETHE_CLI_RATE_OPTIONS(store) \
    {"up-limit", LETHE_OPTION_SIZE, &(store).up_limit, 0, 0, "RATE of uploads, bytes a second: 500K, 2M"}, \
        {"down-limit", LETHE_OPTION_SIZE, &(store).down_limit, 0, 0, "RATE of downloads"}
#define LETHE_CLI_RESIDUALS_OPTIONS(residuals, store) \
    {"residuals", LETHE_OPTION_TEXT, &(residuals), 0, 0, "STORE the second store of fidelity split"}, \
        LETHE_CLI_STORE_OPTIONS("residuals-", store)
#define LETHE_CLI_PASS_OPTIONS(access) \
    {"passfile", LETHE_OPTION_TEXT, &(access).passfile, 0, 0, "FILE passphrase from its first bytes"}, \
        {"extpass", LETHE_OPTION_TEXT, &(access).extpass, 0, 0, "COMMAND passphrase from its output"}
#define LETHE_CLI_STATE_OPTION(access) \
    {"state-dir", LETHE_OPTION_TEXT, &(access).state_dir, 0, 0, "DIR instead of the state folder"}
#define LETHE_CLI_OPTIONS_END {NULL, LETHE_OPTION_FLAG, NULL, 0, 0, NULL}

struct lethe_session;
struct json_t;

/* Moments for lethe_cli_session. PUBLISHED replays the newest epoch beside a mount and takes no lock. */
enum lethe_cli_moment { LETHE_CLI_PUBLISHED, LETHE_CLI_PRESENT };

/* Asks for the passphrase and opens a session (for publishing when PRESENT). Errors have been said. */
enum lethe_err lethe_cli_session(const char *location, const struct lethe_cli_access *access,
                                 enum lethe_cli_moment moment, struct lethe_session **out) LETHE_MUST_CHECK;
/* The state folder of the vault at location; freed by the caller. Needs no passphrase. Errors have been said. */
enum lethe_err lethe_cli_state_dir(const char *location, const struct lethe_cli_access *access, char **out)
    LETHE_MUST_CHECK;

/*
 * Asks the daemon of the mount that path lies in (lethe_control_call), and says errors. Returns an exit code: 0 with
 * *answer owned by the caller. A path in no mount gives LETHE_EXIT_USAGE.
 */
int lethe_cli_ask(const char *path, const char *request, struct json_t **answer, struct lethe_buf *extra);
/*
 * Flushes the kernel's pages of the file system that path lies in, then has the daemon bring all of it to the vault.
 * Draws progress. An exit code; errors have been said. patience: seconds that a vault which does not answer is waited
 * for, 0 for ever.
 */
int lethe_cli_sync(const char *path, int64_t patience);
/* syncfs on the file system of path: LETHE_OK also when the caller may not open it. */
enum lethe_err lethe_cli_flush(const char *path) LETHE_MUST_CHECK;

/* Prints object as one JSON document on standard output and frees it. Returns code, or failed. */
int lethe_cli_print_json(struct json_t *object, int code);
/* "12 bytes", "3.4 MiB". */
const char *lethe_cli_bytes(uint64_t bytes, char out[32]);

/* The commands. */
int lethe_cmd_init(int argc, char **argv);
int lethe_cmd_mount(int argc, char **argv);
int lethe_cmd_umount(int argc, char **argv);
int lethe_cmd_sync(int argc, char **argv);
int lethe_cmd_status(int argc, char **argv);
int lethe_cmd_inspect(int argc, char **argv);
int lethe_cmd_check(int argc, char **argv);
int lethe_cmd_gc(int argc, char **argv);
int lethe_cmd_passwd(int argc, char **argv);
int lethe_cmd_recover(int argc, char **argv);
int lethe_cmd_key(int argc, char **argv);
int lethe_cmd_model(int argc, char **argv);
int lethe_cmd_train(int argc, char **argv);
int lethe_cmd_bench(int argc, char **argv);
int lethe_cmd_encrypt(int argc, char **argv);
int lethe_cmd_decrypt(int argc, char **argv);
int lethe_cmd_drill(int argc, char **argv);

#endif
