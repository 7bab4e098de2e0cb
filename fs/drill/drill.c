/* SPDX-License-Identifier: MIT */
/* The runner: opens the vault for reading, runs the attacks in order, and draws the verdicts from their figures. */
#include "fs/drill/drill.h"

#include <stdlib.h>
#include <string.h>

#include "fs/mount/session.h"
#include "lethe/log.h"

void drill_progress(const struct drill *drill, const char *what, uint64_t done, uint64_t total)
{
    if (drill->options->progress) {
        drill->options->progress(drill->options->context, what, done, total);
    }
}

void drill_weakness(struct drill *drill, const char *name, const char *detail)
{
    json_t *weakness;
    size_t i;

    json_array_foreach(drill->weaknesses, i, weakness)
    {
        if (strcmp(json_string_value(json_object_get(weakness, "name")), name) == 0) {
            json_t *count = json_object_get(weakness, "count");

            (void)json_integer_set(count, json_integer_value(count) + 1);
            return;
        }
    }
    (void)json_array_append_new(drill->weaknesses,
                                json_pack("{s:s, s:s, s:i}", "name", name, "detail", detail, "count", 1));
}

json_t *drill_interval_json(const struct drill_interval *interval)
{
    return json_pack("{s:f, s:f, s:f}", "value", interval->value, "low", interval->low, "high", interval->high);
}

static void fill(void *context, void *out, size_t len)
{
    drill_fill(context, out, len);
}

struct lethe_random drill_engine_random(struct drill_random *random)
{
    return (struct lethe_random){.fill = fill, .context = random};
}

static enum lethe_err steal(struct drill *drill)
{
    struct lethe_store_options options = drill->options->store;
    const char *location = drill->options->location;
    uint8_t hash[32];
    enum lethe_err err;

    options.read_only = true;
    err = lethe_store_open_with(location, false, &options, &drill->store);
    if (err) {
        return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_UNREACHABLE : err;
    }
    return lethe_session_vault_file(drill->store, location, &drill->file, hash, NULL);
}

static const json_t *weakness_named(const struct drill *drill, const char *name)
{
    const json_t *weakness;
    size_t i;

    json_array_foreach(drill->weaknesses, i, weakness)
    {
        if (strcmp(json_string_value(json_object_get(weakness, "name")), name) == 0) {
            return weakness;
        }
    }
    return NULL;
}

/* One sentence for each adversary that was played; "holds" is whether what is claimed against it held. */
static void judge(struct drill *drill)
{
    json_t *adversaries = json_array();
    bool holds = json_array_size(drill->weaknesses) == 0 ||
                 (json_array_size(drill->weaknesses) == 1 && weakness_named(drill, "weak KDF"));

    (void)json_array_append_new(
        adversaries,
        json_pack("{s:s, s:b, s:s}", "name", "bucket alone", "holds", holds, "verdict",
                  holds ? "Learns how many objects there are, their padded sizes, and when they came; nothing could be"
                          " told from noise."
                        : "Learns more than counts, padded sizes and times: see the weaknesses."));
    (void)json_object_set_new(drill->report, "adversaries", adversaries);
    (void)json_object_set_new(drill->report, "ok", json_boolean(json_array_size(drill->weaknesses) == 0));
}

enum lethe_err drill_run(const struct drill_options *options, json_t **report)
{
    static const char *const leaks[] = {"none", "keys", "model", "device"};
    static enum lethe_err (*const attacks[])(struct drill *) = {drill_inventory, drill_statistics, drill_sealing,
                                                                 drill_controls};
    struct drill drill = {.options = options, .random = {.state = options->seed}};
    enum lethe_err err = lethe_seal_start();

    *report = NULL;
    drill.report = json_pack("{s:s, s:s, s:I, s:s, s:[]}", "version", LETHE_VERSION, "vault", options->location, "seed",
                             (json_int_t)options->seed, "leak", leaks[options->leak], "weaknesses");
    drill.weaknesses = json_object_get(drill.report, "weaknesses");
    err = err ? err : drill.weaknesses ? LETHE_OK : LETHE_ERR_NOMEM;
    err = err ? err : lethe_pool_new(0, &drill.pool);
    err = err ? err : steal(&drill);
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks && !err; i++) {
        err = attacks[i](&drill);
    }
    if (!err) {
        judge(&drill);
        *report = json_incref(drill.report);
    }
    json_decref(drill.report);
    free(drill.objects);
    lethe_vault_file_free(drill.file);
    lethe_store_close(drill.store);
    lethe_pool_free(drill.pool);
    return err;
}
