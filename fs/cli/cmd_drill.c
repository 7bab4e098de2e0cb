/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "fs/drill/drill.h"
#include "fs/drill/show.h"
#include "fs/file.h"

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

    printf("%lld objects, %lld artifacts among them\n",
           json_integer_value(json_object_get(inventory, "objects")),
           json_integer_value(json_object_get(json_object_get(inventory, "artifacts"), "count")));
    json_array_foreach(json_object_get(report, "controls"), i, item)
    {
        broken += json_is_true(json_object_get(item, "broken"));
    }
    printf("%zu of %zu attacks on what must not survive them succeeded\n", broken, controls);
    json_array_foreach(json_object_get(report, "adversaries"), i, item)
    {
        printf("%s: %s %s\n", text_of(item, "name"), text_of(item, "verdict"), text_of(item, "figures"));
    }
    json_array_foreach(json_object_get(report, "weaknesses"), i, item)
    {
        printf("weakness: %s: %s\n", text_of(item, "name"), text_of(item, "detail"));
    }
    fflush(stdout);
}

int lethe_cmd_drill(int argc, char **argv)
{
    const char *leak = "none", *html = NULL, *args[1];
    struct drill_options drill = {.seed = 1, .mutations = 300};
    struct lethe_cli_access access = {0};
    struct lethe_cli_secret secret = {0};
    struct drill_show show = {0};
    struct lethe_buf page = {0};
    bool json = false, ok;
    const struct lethe_option options[] = {
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        {"report", LETHE_OPTION_TEXT, &html, 0, 0, "FILE write the report as a page"},
        {"leak", LETHE_OPTION_TEXT, &leak, 0, 0,
         "WHAT the thief has too: none (default), keys, model (and keys), device"},
        {"pairs", LETHE_OPTION_TEXT, &drill.pairs_dir, 0, 0,
         "DIR photos that the thief knows, instead of the vault's"},
        {"originals", LETHE_OPTION_TEXT, &drill.originals_dir, 0, 0,
         "DIR the tree before fidelity lossy, to judge thieves by"},
        {"seed", LETHE_OPTION_NUMBER, &drill.seed, 0, INT64_MAX, "N of the drill's chance (1)"},
        {"mutations", LETHE_OPTION_NUMBER, &drill.mutations, 0, 100000000, "N changes tried on a copy (300)"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        {"cache-dir", LETHE_OPTION_TEXT, &drill.cache_root, 0, 0, "DIR instead of the cache folder"},
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "drill",
                                          .usage = "VAULT [OPTION]...",
                                          .about =
                                              "Plays the thief: what is a stolen copy of this vault worth?",
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
    if (!parse_leak(leak, &drill.leak)) {
        return lethe_cli_usage("drill: --leak is none, keys, model or device, not '%s'", leak);
    }
    drill.location = args[0];
    drill.store = access.store;
    drill.state_root = access.state_dir;
    drill.progress = on_progress;
    drill.context = &progress;
    if (drill.leak == DRILL_LEAK_KEYS || drill.leak == DRILL_LEAK_MODEL) {
        err = lethe_cli_passphrase(access.passfile, access.extpass, "Passphrase", false, &secret);
        if (err) {
            return lethe_exit_code(err);
        }
        drill.passphrase = secret.text;
        drill.passphrase_len = secret.len;
    }
    lethe_progress_start(&progress, "drill");
    err = drill_run(&drill, html ? &show : NULL, &report);
    lethe_progress_end(&progress);
    lethe_cli_secret_free(&secret);
    if (!err && html) {
        err = drill_show_page(&show, report, &page);
        err = err ? err : lethe_file_write_output(html, page.data, page.len, 0600);
        if (err) {
            (void)lethe_cli_fail(err, "the report %s cannot be written: %s", html, lethe_err_str(err));
        }
    }
    drill_show_release(&show);
    lethe_buf_release(&page);
    if (err) {
        json_decref(report);
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
        code = lethe_cli_fail(LETHE_ERR_DIFFERS, "%s: %zu weaknesses, listed in the report", args[0],
                              weaknesses);
    }
    return code;
}
