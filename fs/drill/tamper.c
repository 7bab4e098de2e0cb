/* SPDX-License-Identifier: MIT */
/*
 * Tampering, the run: every kind of change in turn, each judged, counted by its kind. Where the keys are
 * needed to make a change that a thief could have kept from earlier (an older head), they are used.
 */
#include "fs/drill/tamper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

static const struct {
    const char *const *names;
    size_t count;
    enum lethe_err (*make)(struct drill_tamper *t, size_t how);
} rooms[] = {
    {drill_object_changes, DRILL_OBJECT_CHANGES, drill_change_object},
    {drill_piece_changes, DRILL_PIECE_CHANGES, drill_change_piece},
    {drill_history_changes, DRILL_HISTORY_CHANGES, drill_change_history},
    {drill_settings_changes, DRILL_SETTINGS_CHANGES, drill_change_settings},
};
#define ROOMS (sizeof rooms / sizeof *rooms)
#define KINDS (DRILL_OBJECT_CHANGES + DRILL_PIECE_CHANGES + DRILL_HISTORY_CHANGES + DRILL_SETTINGS_CHANGES)

static const char *name_of(size_t kind)
{
    size_t room = 0;

    while (kind >= rooms[room].count) {
        kind -= rooms[room++].count;
    }
    return rooms[room].names[kind];
}

static enum lethe_err make(struct drill_tamper *t, size_t kind)
{
    size_t room = 0;

    while (kind >= rooms[room].count) {
        kind -= rooms[room++].count;
    }
    return rooms[room].make(t, kind);
}

static enum lethe_err reset(struct drill_tamper *t)
{
    enum lethe_err err = t->device_back ? drill_tamper_remember(t, &t->seen) : LETHE_OK;

    drill_copy_reset(t->vault);
    if (t->second) {
        drill_copy_reset(t->second);
    }
    t->touched_count = 0;
    t->first[0] = '\0';
    t->device_back = false;
    return err;
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static enum lethe_err run(struct drill_tamper *t, size_t counts[KINDS][3])
{
    size_t rounds = t->drill->options->mutations;
    enum lethe_err err = LETHE_OK;

    for (size_t done = 0, kind = 0; done < rounds && !err; kind = (kind + 1) % KINDS) {
        enum drill_outcome outcome = DRILL_DETECTED;
        char detail[320];

        if (done % 16 == 0) {
            drill_progress(t->drill, "tampering", done, rounds);
        }
        err = reset(t);
        err = err ? err : make(t, kind);
        if (err == LETHE_ERR_NOT_FOUND) { /* nothing here to do that to; flipping a bit always works */
            err = LETHE_OK;
            continue;
        }
        err = err ? err : drill_tamper_judge(t, &outcome);
        counts[kind][outcome] += !err;
        if (!err && outcome == DRILL_UNDETECTED) {
            snprintf(detail, sizeof detail,
                     "%s (change %zu of seed %llu, %s) was not noticed, and changed what is read",
                     name_of(kind), done, (unsigned long long)t->drill->options->seed, t->first);
            drill_weakness(t->drill, "tampering undetected", detail);
        }
        done++;
    }
    return err;
}

enum lethe_err drill_tampering(struct drill *drill, const struct drill_owner *owner)
{
    struct drill_tamper t = {
        .drill = drill, .owner = owner, .random = {.state = drill->options->seed ^ 0x74616d706572u}};
    size_t counts[KINDS][3] = {{0}}, totals[3] = {0};
    json_t *kinds = json_array();
    enum lethe_err err;

    lethe_log_set_sink(quiet, NULL); /* every detected change would be logged as damage of the vault */
    err = drill->count ? drill_tamper_prepare(&t) : LETHE_OK;
    err = err || !drill->count ? err : run(&t, counts);
    lethe_log_set_sink(NULL, NULL);
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (int outcome = 0; outcome < 3; outcome++) {
            totals[outcome] += counts[kind][outcome];
        }
        (void)json_array_append_new(kinds,
                                    json_pack("{s:s, s:I, s:I, s:I}", "change", name_of(kind), "detected",
                                              (json_int_t)counts[kind][DRILL_DETECTED], "without_effect",
                                              (json_int_t)counts[kind][DRILL_WITHOUT_EFFECT], "undetected",
                                              (json_int_t)counts[kind][DRILL_UNDETECTED]));
    }
    (void)json_object_set_new(drill->report, "tampering",
                              json_pack("{s:I, s:I, s:I, s:I, s:o}", "changes",
                                        (json_int_t)(totals[0] + totals[1] + totals[2]), "detected",
                                        (json_int_t)totals[DRILL_DETECTED], "without_effect",
                                        (json_int_t)totals[DRILL_WITHOUT_EFFECT], "undetected",
                                        (json_int_t)totals[DRILL_UNDETECTED], "kinds", kinds));
    lethe_db_close(t.told);
    drill_copy_free(t.vault);
    drill_copy_free(t.second);
    lethe_buf_release(&t.a);
    lethe_buf_release(&t.b);
    lethe_buf_release(&t.foreign);
    free(t.objects);
    free(t.structural);
    return err;
}
