/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "fs/drill/drill.h"

static void on_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
    struct lethe_progress *progress = context;

    progress->what = what;
    lethe_progress_update(progress, done, total);
}

static bool parse_leak(const char *text, enum drill_leak *leak)
{
    static const char *const names[] = {"none", "keys", "model", "device"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *leak = (enum drill_leak)i;
            return true;
        }
    }
    return false;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void print_report(const json_t *report)
{
    const json_t *item, *inventory = json_object_get(report, "inventory");
    size_t i, broken = 0, controls = json_array_size(json_object_get(report, "controls"));

    printf("%lld objects, %lld artifacts among them\n", json_integer_value(json_object_get(inventory, "objects")),
           json_integer_value(json_object_get(json_object_get(inventory, "artifacts"), "count")));
    json_array_foreach(json_object_get(report, "controls"), i, item)
    {
        broken += json_is_true(json_object_get(item, "broken"));
    }
    printf("%zu of %zu attacks on what must not survive them succeeded\n", broken, controls);
    json_array_foreach(json_object_get(report, "adversaries"), i, item)
    {
        printf("%s: %s\n", text_of(item, "name"), text_of(item, "verdict"));
    }
    json_array_foreach(json_object_get(report, "weaknesses"), i, item)
    {
        printf("weakness: %s: %s\n", text_of(item, "name"), text_of(item, "detail"));
    }
    fflush(stdout);
}

int lethe_cmd_drill(int argc, char **argv)
{
    const char *leak = "none", *args[1];
    struct drill_options drill = {.seed = 1};
    bool json = false, ok;
    const struct lethe_option options[] = {
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        {"leak", LETHE_OPTION_TEXT, &leak, 0, 0, "WHAT the thief has besides the bucket: none (default)"},
        {"seed", LETHE_OPTION_NUMBER, &drill.seed, 0, INT64_MAX, "N of the drill's chance (1)"},
        LETHE_CLI_STORE_OPTIONS("", drill.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "drill",
                                          .usage = "VAULT [OPTION]...",
                                          .about = "Plays the thief: what is a stolen copy of this vault worth?",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    struct lethe_progress progress;
    json_t *report = NULL;
    size_t count, weaknesses;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (!parse_leak(leak, &drill.leak) || drill.leak != DRILL_LEAK_NONE) {
        return lethe_cli_usage("drill: --leak is none, not '%s'", leak);
    }
    drill.location = args[0];
    drill.progress = on_progress;
    drill.context = &progress;
    lethe_progress_start(&progress, "drill");
    err = drill_run(&drill, &report);
    lethe_progress_end(&progress);
    if (err) {
        return lethe_exit_code(err);
    }
    ok = json_is_true(json_object_get(report, "ok"));
    weaknesses = json_array_size(json_object_get(report, "weaknesses"));
    if (json) {
        code = lethe_cli_print_json(report, LETHE_EXIT_DONE);
    } else {
        print_report(report);
        json_decref(report);
        code = LETHE_EXIT_DONE;
    }
    if (!ok && code == LETHE_EXIT_DONE) {
        code = lethe_cli_fail(LETHE_ERR_DIFFERS, "%s: %zu weaknesses, listed in the report", args[0], weaknesses);
    }
    return code;
}
