/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/mount/setup.h"
#include "fs/place.h"

#define ASIDE_NAMES 60 /* seconds ahead that are tried */

/* The only copy of another vault's phrase may stand in the file: moved to a name that tells when. */
static enum lethe_err set_aside(const char *path)
{
    long long when = (long long)time(NULL);
    enum lethe_err err = LETHE_ERR_EXISTS;

    for (long long later = 0; later < ASIDE_NAMES && err == LETHE_ERR_EXISTS; later++) { /* two in one second */
        char *aside;

        if (asprintf(&aside, "%s.before-%lld", path, when + later) < 0) {
            return LETHE_ERR_NOMEM;
        }
        err = link(path, aside) ? lethe_err_from_errno(errno) : LETHE_OK;
        if (!err) {
            printf("What was in %s is in %s now.\n", path, aside);
        }
        free(aside);
    }
    return err;
}

static enum lethe_err write_phrase(const char *path, const char *line)
{
    struct stat stat_buf;
    enum lethe_err err = LETHE_OK;

    if (!lstat(path, &stat_buf)) {
        if (!S_ISREG(stat_buf.st_mode)) {
            return lethe_file_append(path, line, strlen(line));
        }
        err = stat_buf.st_size > 0 ? set_aside(path) : LETHE_OK;
    }
    return err ? err : lethe_file_write_durably(path, line, strlen(line), 0400);
}

/* Where the recovery phrase goes: the file, else the terminal. */
static enum lethe_err keep_phrase(void *context, const char *phrase)
{
    const char *path = context;
    char line[LETHE_PHRASE_MAX + 1];
    enum lethe_err err;

    if (!path) {
        printf("Recovery phrase (write it down; with the passphrase it opens the vault on another device,\n"
               "and nobody can restore it for you):\n\n    %s\n\n",
               phrase);
        return fflush(stdout) ? LETHE_ERR_IO : LETHE_OK;
    }
    snprintf(line, sizeof line, "%s\n", phrase);
    err = write_phrase(path, line);
    explicit_bzero(line, sizeof line);
    if (err) {
        (void)lethe_cli_fail(err, "the recovery phrase cannot be written to %s: %s", path,
                             lethe_err_str(err));
    }
    return err;
}

static bool parse_fidelity(const char *text, enum lethe_fidelity *out)
{
    static const char *const names[] = {"exact", "split", "lossy"};

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum lethe_fidelity)i;
            return true;
        }
    }
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Whoever steals the vault shall find neither the residuals nor the phrase in it. */
static int check_places(const char *vault, const struct lethe_store_options *store, const char *residuals,
                        const struct lethe_store_options *second, const char *recovery)
{
    if (residuals && same_text(store->endpoint, second->endpoint) &&
        (lethe_place_within(residuals, vault) || lethe_place_within(vault, residuals))) {
        return lethe_cli_usage("init: the residuals need another place than the vault, and neither may lie in the other");
    }
    if (recovery && (lethe_place_within(recovery, vault) || (residuals && lethe_place_within(recovery, residuals)))) {
        return lethe_cli_usage("init: the recovery phrase may not lie in the vault: give another --recovery-file");
    }
    return -1;
}

/* A vault has its folder alone. What an init that was broken off left is no hindrance; a vault is found later. */
static int check_empty(const char *vault)
{
    static const char *const ours[] = {"o", "j", "tmp"};
    char file[PATH_MAX];

    if (!lethe_place_holds_others(vault, ours, sizeof ours / sizeof *ours) ||
        snprintf(file, sizeof file, "%s/vault.json", lethe_place_path(vault)) >= (int)sizeof file ||
        access(file, F_OK) == 0) {
        return -1;
    }
    return lethe_cli_usage("init: %s holds other files: give the vault a folder of its own", vault);
}

int lethe_cmd_init(int argc, char **argv)
{
    static const unsigned strengths[] = {2, 3, 0}; /* by fidelity */
    const char *fidelity = "exact", *residuals = NULL, *pairs = "vault", *passfile = NULL, *extpass = NULL;
    const char *recovery = NULL, *state_dir = NULL, *model = NULL, *args[1];
    struct lethe_store_options store = {0}, second = {0};
    uint64_t strength = UINT64_MAX, memory = 256;
    const struct lethe_option options[] = {
        {"fidelity", LETHE_OPTION_TEXT, &fidelity, 0, 0, "MODE exact (default), split or lossy"},
        {"residuals", LETHE_OPTION_TEXT, &residuals, 0, 0, "STORE the second store of --fidelity split"},
        {"strength", LETHE_OPTION_NUMBER, &strength, 0, 3, "0..3 noise of the artifacts (exact 2, split 3, lossy 0)"},
        {"kdf-mem", LETHE_OPTION_NUMBER, &memory, 16, 4096, "MIB memory of Argon2id (256)"},
        {"pairs", LETHE_OPTION_TEXT, &pairs, 0, 0, "WHERE model pairs: vault (default, sealed) or device"},
        {"model", LETHE_OPTION_TEXT, &model, 0, 0, "FILE a model pair of your own"},
        {"passfile", LETHE_OPTION_TEXT, &passfile, 0, 0, "FILE passphrase from its first bytes"},
        {"extpass", LETHE_OPTION_TEXT, &extpass, 0, 0, "COMMAND passphrase from its output"},
        {"recovery-file", LETHE_OPTION_TEXT, &recovery, 0, 0, "FILE write the recovery phrase there"},
        {"state-dir", LETHE_OPTION_TEXT, &state_dir, 0, 0, "DIR instead of the state folder"},
        LETHE_CLI_STORE_OPTIONS("", store),
        LETHE_CLI_STORE_OPTIONS("residuals-", second),
        {NULL, LETHE_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    const struct lethe_command command = {.name = "init",
                                          .usage = "VAULT [OPTION]...",
                                          .about = "Makes a vault in a folder or a bucket: a path, file:///path or s3://bucket/prefix.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    struct lethe_init_options init = {.cost = {.passes = 3}};
    struct lethe_cli_secret secret = {0};
    struct lethe_buf pair = {0};
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (!parse_fidelity(fidelity, &init.fidelity)) {
        return lethe_cli_usage("init: --fidelity is exact, split or lossy, not '%s'", fidelity);
    }
    if ((init.fidelity == LETHE_FIDELITY_SPLIT) != (residuals != NULL)) {
        return lethe_cli_usage("%s", residuals ? "init: --residuals is for --fidelity split"
                                               : "init: --fidelity split needs --residuals STORE");
    }
    code = check_empty(args[0]);
    if (code >= 0) {
        return code;
    }
    code = check_places(args[0], &store, residuals, &second, recovery);
    if (code >= 0) {
        return code;
    }
    if (strcmp(pairs, "vault") != 0 && strcmp(pairs, "device") != 0) {
        return lethe_cli_usage("init: --pairs is vault or device, not '%s'", pairs);
    }
    if (!recovery && !isatty(STDOUT_FILENO)) {
        return lethe_cli_usage(
            "init: there is no terminal to show the recovery phrase: give --recovery-file FILE");
    }
    if (model) {
        err = lethe_file_read(model, 64u << 20, &pair);
        if (err) {
            lethe_buf_release(&pair);
            return lethe_cli_fail(err, "the model %s cannot be read: %s", model, lethe_err_str(err));
        }
    }
    err = lethe_cli_passphrase(passfile, extpass, "New passphrase", true, &secret);
    if (!err) {
        init.location = args[0];
        init.store = store;
        init.state_root = state_dir;
        init.residuals = residuals;
        init.residuals_store = second;
        init.strength = strength == UINT64_MAX ? strengths[init.fidelity] : (unsigned)strength;
        init.cost.memory_mib = (uint32_t)memory;
        init.pairs_in_vault = strcmp(pairs, "vault") == 0;
        init.passphrase = secret.text;
        init.passphrase_len = secret.len;
        init.pair = model ? pair.data : NULL;
        init.pair_len = pair.len;
        err = lethe_setup_init(&init, keep_phrase, (void *)(uintptr_t)recovery);
    }
    lethe_cli_secret_free(&secret);
    lethe_buf_release(&pair);
    return lethe_exit_code(err);
}
