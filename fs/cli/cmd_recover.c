/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mount/setup.h"

int lethe_cmd_recover(int argc, char **argv)
{
    struct lethe_cli_access access = {0};
    const char *recovery = NULL, *args[1];
    const struct lethe_option options[] = {
        {"recovery-file", LETHE_OPTION_TEXT, &recovery, 0, 0, "FILE the recovery phrase"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        {"residuals", LETHE_OPTION_TEXT, &access.residuals, 0, 0, "STORE the second store of fidelity split"},
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "recover",
        .usage = "VAULT [OPTION]...",
        .about = "Makes a vault known to this device, from passphrase and phrase.",
        .min_args = 1,
        .max_args = 1,
        .options = options};
    struct lethe_cli_secret phrase = {0}, secret = {0};
    struct lethe_secret *device = NULL;
    char *aside = NULL;
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    err = lethe_seal_start();
    err = err ? err : lethe_cli_passphrase(recovery, NULL, "Recovery phrase", false, &phrase);
    if (!err) {
        err = lethe_phrase_read(phrase.text, phrase.len, &device);
        if (err) {
            err = err == LETHE_ERR_FORMAT ? LETHE_ERR_KEY : err;
            (void)lethe_cli_fail(err,
                                 "the recovery phrase%s%s is not right: its checksum does not fit; look for a"
                                 " mistyped character",
                                 recovery ? " in " : "", recovery ? recovery : "");
        }
    }
    err = err ? err : lethe_cli_passphrase(access.passfile, access.extpass, "Passphrase", false, &secret);
    if (!err) {
        struct lethe_recover_options recover = {.location = args[0],
                                                .store = access.store,
                                                .state_root = access.state_dir,
                                                .passphrase = secret.text,
                                                .passphrase_len = secret.len,
                                                .device = device,
                                                .residuals = access.residuals};

        err = lethe_setup_recover(&recover, &aside);
    }
    if (aside) {
        printf("An older state of this device was set aside: %s\n"
               "It may hold files that never reached the vault: 'lethefs mount %s FOLDER -o ro --state-dir %s' shows them."
               "\nDelete it once you have found everything in the recovered vault.\n",
               aside, args[0], aside);
    }
    free(aside);
    lethe_secret_free(device);
    lethe_cli_secret_free(&phrase);
    lethe_cli_secret_free(&secret);
    return lethe_exit_code(err);
}
