/* SPDX-License-Identifier: MIT */
#include "fs/cli/keys.h"

#include <stdio.h>

/* The new slot first, then the old one goes; a full table makes room the other way round. */
static enum lethe_err exchange(struct lethe_keys *keys, const struct lethe_cli_secret *fresh, uint64_t memory)
{
    char label[65] = "";
    bool full = lethe_vault_file_slots(keys->file) >= 16;
    struct lethe_slot_info info;
    struct lethe_id slot;
    enum lethe_err err = lethe_keys_own_slot(keys);

    for (size_t i = 0; !err && i < lethe_vault_file_slots(keys->file); i++) {
        err = lethe_vault_file_slot(keys->file, i, &info);
        if (!err && lethe_id_equal(&info.id, &keys->slot)) {
            memory = memory ? memory : info.cost.memory_mib;
            snprintf(label, sizeof label, "%s", info.label);
        }
    }
    if (!err && full) {
        err = lethe_vault_file_slot_remove(keys->file, &keys->slot);
    }
    if (err) {
        (void)lethe_cli_fail(err, "%s: the key slot of this passphrase cannot be changed: %s", keys->location,
                             lethe_err_str(err));
        return err;
    }
    err = lethe_keys_add(keys, fresh, memory, label, &slot);
    if (!err && !full) {
        err = lethe_vault_file_slot_remove(keys->file, &keys->slot);
    }
    return err ? err : lethe_keys_write(keys, fresh);
}

int lethe_cmd_passwd(int argc, char **argv)
{
    struct lethe_cli_access access = {0};
    const char *new_passfile = NULL, *args[1];
    uint64_t memory = 0;
    const struct lethe_option options[] = {
        {"new-passfile", LETHE_OPTION_TEXT, &new_passfile, 0, 0, "FILE the new passphrase"},
        {"kdf-mem", LETHE_OPTION_NUMBER, &memory, 16, 4096, "MIB memory of Argon2id (as before)"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "passwd",
                                          .usage = "VAULT [OPTION]...",
                                          .about = "Changes the passphrase. Works beside a mount.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    struct lethe_cli_secret fresh = {0};
    struct lethe_keys keys;
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    err = lethe_keys_open(args[0], &access, &keys);
    if (!err) {
        err = lethe_cli_passphrase(new_passfile, NULL, "New passphrase", true, &fresh);
        if (!err) {
            err = exchange(&keys, &fresh, memory);
        }
        lethe_keys_release(&keys);
    }
    lethe_cli_secret_free(&fresh);
    return lethe_exit_code(err);
}
