/* SPDX-License-Identifier: MIT */
/* The verdicts: one sentence for each adversary, drawn from the figures of the report. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/drill/drill.h"

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

static double number_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The row of a thief at the vault's strength with the most known photos. */
static const json_t *row_of(const struct drill *drill, const char *thief, long long least_known)
{
    const json_t *rows = json_object_get(json_object_get(drill->report, "keys_leaked"), "thieves"), *row,
                 *found = NULL;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (json_integer_value(json_object_get(row, "strength")) ==
                (json_int_t)lethe_vault_file_settings(drill->file)->strength &&
            strcmp(json_string_value(json_object_get(row, "thief")), thief) == 0 &&
            json_integer_value(json_object_get(row, "known")) >= least_known) {
            found = row;
            if (least_known == 1) { /* the first is asked for */
                break;
            }
        }
    }
    return found;
}

/* What was claimed against an adversary: nothing, and whether it held. */
enum claim { CLAIM_BROKEN, CLAIM_HOLDS, CLAIM_NONE };

static void add_verdict(json_t *adversaries, const char *name, enum claim claim, const char *verdict,
                        const char *figures, ...) __attribute__((format(printf, 5, 6)));

/* figures: printf's. */
static void add_verdict(json_t *adversaries, const char *name, enum claim claim, const char *verdict,
                        const char *figures, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, figures);
    vsnprintf(text, sizeof text, figures, arguments);
    va_end(arguments);
    (void)json_array_append_new(
        adversaries, json_pack("{s:s, s:o, s:s, s:s}", "name", name, "holds",
                               claim == CLAIM_NONE ? json_null() : json_boolean(claim == CLAIM_HOLDS),
                               "verdict", verdict, "figures", text));
}

static long long count_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Distinguishers of the statistics, and those at chance. */
static void count_distinguishers(const json_t *value, size_t *all, size_t *at_chance)
{
    const json_t *test;
    json_t *inner;
    const char *key;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)value, key, inner)
    {
        if (strcmp(key, "distinguishers") == 0) {
            json_array_foreach(inner, i, test)
            {
                ++*all;
                *at_chance += json_is_true(json_object_get(test, "chance"));
            }
        } else if (json_is_object(inner)) {
            count_distinguishers(inner, all, at_chance);
        }
    }
}

static void judge_bucket(struct drill *drill, json_t *adversaries)
{
    /* Weaknesses that are not the bucket's. */
    static const char *const elsewhere[] = {"weak KDF",
                                            "device secret not needed",
                                            "plaintext on the device",
                                            "no noise on the device",
                                            "key slots on the device",
                                            "model pair without its secret",
                                            "tampering undetected"};
    const json_t *inventory = json_object_get(drill->report, "inventory");
    size_t weaknesses = json_array_size(drill->weaknesses), all = 0, at_chance = 0;
    bool opened = weakness_named(drill, "device secret not needed") != NULL;

    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        weaknesses -= weakness_named(drill, elsewhere[i]) != NULL;
    }
    count_distinguishers(json_object_get(drill->report, "statistics"), &all, &at_chance);
    count_distinguishers(json_object_get(drill->report, "photo_a_or_b"), &all, &at_chance);
    add_verdict(adversaries, "bucket alone", weaknesses == 0 ? CLAIM_HOLDS : CLAIM_BROKEN,
                weaknesses == 0
                    ? "Sees noise: how many objects there are, their padded sizes, and when they came."
                    : "Learns more than how many objects there are, their padded sizes, and when they came.",
                "%lld objects, %lld of them artifacts. Of %zu ways to tell them from random bytes, or photo "
                "A from photo B,"
                " %zu do no better than chance.",
                count_at(inventory, "objects"), count_at(json_object_get(inventory, "artifacts"), "count"),
                all, at_chance);
    add_verdict(adversaries, "bucket and passphrase", opened ? CLAIM_BROKEN : CLAIM_HOLDS,
                opened ? "Opens the vault." : "Opens nothing, for the device secret is missing.",
                "It has 256 bits, and never was in the vault.");
}

/* What who has the keys has of this vault, before anything is tried. */
static void say_what_is_there(const struct drill *drill, char out[200])
{
    const json_t *stored = json_object_get(json_object_get(drill->report, "keys_leaked"), "stored_artifacts");
    double psnr = number_at(json_object_get(stored, "psnr"), "value");

    if (lethe_vault_file_settings(drill->file)->fidelity == LETHE_FIDELITY_EXACT) {
        snprintf(out, 200,
                 "Has every photo to the byte: fidelity exact keeps all of it in the vault, on purpose.");
    } else if (json_is_object(stored)) {
        snprintf(
            out, 200,
            "Has the lossy picture of each photo, %.1f dB from it in the mean of %lld, and not the photo.",
            psnr, count_at(stored, "photos"));
    } else {
        snprintf(out, 200, "Has the lossy picture of each photo, and not the photo.");
    }
}

static void judge_keys(struct drill *drill, json_t *adversaries)
{
    const json_t *leaked = json_object_get(drill->report, "keys_leaked");
    const json_t *one = row_of(drill, "least squares", 1), *most = row_of(drill, "own network", 2);
    const json_t *public = row_of(drill, "the public base pair", 0),
                 *own = row_of(drill, "the vault's own pair", 0);
    const json_t *mean = row_of(drill, "no artifact: mean picture", 0);
    char has[200];

    say_what_is_there(drill, has);
    most = most ? most : row_of(drill, "least squares", 0);
    if (!one || !most || !public) {
        add_verdict(adversaries, "bucket and keys", CLAIM_NONE, has,
                    "There are too few photos to try thieves on.");
        return;
    }
    add_verdict(adversaries, "bucket and keys", CLAIM_NONE, has,
                "From the artifacts alone, against %s: %.1f dB with one known photo, %.1f dB with %lld, %.1f "
                "dB with the"
                " public pair (%.1f dB with no artifact at all); %.0f %% of photos are found among %lld.",
                json_string_value(json_object_get(leaked, "judged_by")), number_at(one, "psnr"),
                number_at(most, "psnr"), count_at(most, "known"), number_at(public, "psnr"),
                number_at(mean, "psnr"), 100 * number_at(most, "rank1"), count_at(leaked, "gallery"));
    if (own) {
        add_verdict(adversaries, "bucket, keys and model pair", CLAIM_NONE, has,
                    "The pair itself makes %.1f dB of an artifact alone.", number_at(own, "psnr"));
    }
}

static void judge_device(struct drill *drill, const json_t *device, json_t *adversaries)
{
    bool clean = !weakness_named(drill, "plaintext on the device") &&
                 !weakness_named(drill, "no noise on the device") &&
                 !weakness_named(drill, "key slots on the device");
    bool offline = json_is_true(json_object_get(device, "kept_for_offline"));
    bool plain = json_is_true(json_object_get(device, "kept_in_the_clear"));

    add_verdict(adversaries, "unmounted device alone", clean ? CLAIM_HOLDS : CLAIM_BROKEN,
                !clean    ? "Finds something to read, or files that are no noise."
                : plain   ? "Finds nothing to read in files. But mounting with -o cache=plain has kept photos in the "
                            "clear in the cache folder: what a disk keeps of deleted files can be read, unless it is "
                            "encrypted below."
                : offline ? "Has to guess the passphrase: mounting with --offline keeps the key slots here. "
                            "The rest is noise."
                          : "Finds nothing to read: state and cache are noise, but for the device secret.",
                "%lld files of state and cache were searched for marks of plaintext, and for anything to try "
                "a passphrase on.",
                count_at(device, "files"));
}

static void judge_tampering(struct drill *drill, const json_t *tampering, json_t *adversaries)
{
    bool noticed = !weakness_named(drill, "tampering undetected");

    add_verdict(adversaries, "who changes the vault", noticed ? CLAIM_HOLDS : CLAIM_BROKEN,
                noticed ? "Is found out: no change passed that made a difference to what is read."
                        : "Can change what is read, and is not found out.",
                "Of %lld changes to a copy a device noticed %lld; %lld had no effect on anything that is "
                "read; %lld went"
                " unnoticed.",
                count_at(tampering, "changes"), count_at(tampering, "detected"),
                count_at(tampering, "without_effect"), count_at(tampering, "undetected"));
}

void drill_judge(struct drill *drill)
{
    const json_t *guessing = json_object_get(drill->report, "guessing");
    const json_t *device = json_object_get(drill->report, "device");
    const json_t *tampering = json_object_get(drill->report, "tampering");
    json_t *adversaries = json_array();
    bool weak = weakness_named(drill, "weak KDF") != NULL;

    judge_bucket(drill, adversaries);
    if (drill->options->leak == DRILL_LEAK_KEYS || drill->options->leak == DRILL_LEAK_MODEL) {
        judge_keys(drill, adversaries);
    }
    if (device) {
        judge_device(drill, device, adversaries);
    }
    if (tampering) {
        judge_tampering(drill, tampering, adversaries);
    }
    add_verdict(
        adversaries, "bucket and unmounted device", weak ? CLAIM_BROKEN : CLAIM_HOLDS,
        weak ? "Has to guess the passphrase, and each guess is cheap."
             : "Has to guess the passphrase, and each guess is dear.",
        "%.2f guesses a second on one core of this machine: %.0f core years for a passphrase of 40 bits.",
        number_at(guessing, "guesses_a_second"),
        number_at(json_array_get(json_object_get(guessing, "with_device_secret"), 1), "core_years"));
    (void)json_object_set_new(drill->report, "adversaries", adversaries);
    (void)json_object_set_new(drill->report, "ok", json_boolean(json_array_size(drill->weaknesses) == 0));
}
