/* SPDX-License-Identifier: MIT */
#include "fs/cli/keys.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct key_options {
    struct lethe_cli_access access;
    const char *new_passfile, *label;
    uint64_t memory;
    bool json;
};

static enum lethe_err add(struct lethe_keys *keys, const struct key_options *options)
{
    struct lethe_cli_secret fresh = {0};
    struct lethe_id slot;
    char hex[33];
    enum lethe_err err = lethe_cli_passphrase(options->new_passfile, NULL, "New passphrase", true, &fresh);

    err = err ? err
              : lethe_keys_add(keys, &fresh, options->memory, options->label ? options->label : "", &slot);
    err = err ? err : lethe_keys_write(keys, &fresh);
    if (!err) {
        lethe_hex(slot.bytes, sizeof slot.bytes, hex);
        printf("%s\n", hex);
    }
    lethe_cli_secret_free(&fresh);
    return err;
}

static enum lethe_err drop(struct lethe_keys *keys, const char *text)
{
    struct lethe_id slot;
    enum lethe_err err = lethe_unhex(text, strlen(text), slot.bytes, sizeof slot.bytes);

    if (err) {
        (void)lethe_cli_usage("key: '%s' is no slot id: 'lethefs key list' shows them", text);
        return LETHE_ERR_ARG;
    }
    err = lethe_keys_own_slot(keys);
    if (!err && lethe_id_equal(&slot, &keys->slot)) {
        (void)lethe_cli_usage(
            "key: %s is the slot of the passphrase that was given: give another one, or use 'lethefs"
            " passwd'",
            text);
        return LETHE_ERR_ARG;
    }
    err = err ? err : lethe_vault_file_slot_remove(keys->file, &slot);
    if (err) {
        (void)lethe_cli_fail(err, "%s: slot %s cannot be removed: %s", keys->location, text,
                             err == LETHE_ERR_NOT_FOUND ? "there is no such slot" : lethe_err_str(err));
        return err;
    }
    return lethe_keys_write(keys, &keys->secret);
}

static int list(const struct lethe_keys *keys, bool json)
{
    json_t *slots = json_array();

    for (size_t i = 0; i < lethe_vault_file_slots(keys->file); i++) {
        struct lethe_slot_info info;
        char hex[33], date[32] = "-";
        struct tm tm;
        time_t at;

        if (lethe_vault_file_slot(keys->file, i, &info)) {
            continue;
        }
        lethe_hex(info.id.bytes, sizeof info.id.bytes, hex);
        at = (time_t)info.created;
        if (at && gmtime_r(&at, &tm)) {
            strftime(date, sizeof date, "%Y-%m-%d", &tm);
        }
        if (!json) {
            printf("%s  %s  Argon2id %" PRIu32 " MiB, %" PRIu32 " passes  %s\n", hex, date,
                   info.cost.memory_mib, info.cost.passes, info.label);
        }
        (void)json_array_append_new(slots, json_pack("{s:s, s:s, s:I, s:I, s:I}", "id", hex, "label",
                                                     info.label, "created", (json_int_t)info.created,
                                                     "memory_mib", (json_int_t)info.cost.memory_mib, "passes",
                                                     (json_int_t)info.cost.passes));
    }
    if (json) {
        return lethe_cli_print_json(json_pack("{s:o}", "slots", slots), LETHE_EXIT_DONE);
    }
    json_decref(slots);
    return LETHE_EXIT_DONE;
}

int lethe_cmd_key(int argc, char **argv)
{
    struct key_options words = {0};
    const char *args[3] = {0};
    const struct lethe_option options[] = {
        {"new-passfile", LETHE_OPTION_TEXT, &words.new_passfile, 0, 0,
         "FILE the passphrase of the slot to add"},
        {"label", LETHE_OPTION_TEXT, &words.label, 0, 0, "TEXT a name for the slot to add"},
        {"kdf-mem", LETHE_OPTION_NUMBER, &words.memory, 16, 4096,
         "MIB memory of Argon2id (as the last slot)"},
        {"json", LETHE_OPTION_FLAG, &words.json, 0, 0, "list as one JSON object"},
        LETHE_CLI_PASS_OPTIONS(words.access),
        LETHE_CLI_STATE_OPTION(words.access),
        LETHE_CLI_STORE_OPTIONS("", words.access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "key",
                                          .usage = "add|list|remove VAULT [SLOT-ID] [OPTION]...",
                                          .about = "Adds, lists and removes key slots. Works beside a mount.",
                                          .min_args = 2,
                                          .max_args = 3,
                                          .options = options};
    struct lethe_keys keys;
    size_t count, wanted;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (strcmp(args[0], "add") != 0 && strcmp(args[0], "list") != 0 && strcmp(args[0], "remove") != 0) {
        return lethe_cli_usage("key: '%s' is none of add, list and remove", args[0]);
    }
    wanted = strcmp(args[0], "remove") == 0 ? 3 : 2;
    if (count != wanted) {
        return lethe_cli_usage("usage: lethefs key %s VAULT%s [OPTION]...", args[0],
                               wanted == 3 ? " SLOT-ID" : "");
    }
    err = lethe_keys_open(args[1], &words.access, &keys);
    if (err) {
        return lethe_exit_code(err);
    }
    if (strcmp(args[0], "list") == 0) {
        code = list(&keys, words.json);
    } else {
        code = lethe_exit_code(strcmp(args[0], "add") == 0 ? add(&keys, &words) : drop(&keys, args[2]));
    }
    lethe_keys_release(&keys);
    return code;
}
