/* SPDX-License-Identifier: MIT */
/* The runner: opens the vault for reading, runs the attacks in order, and draws the verdicts from their
 * figures. */
#include "fs/drill/drill.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/drill/owner.h"
#include "fs/drill/photos.h"
#include "fs/drill/show.h"
#include "fs/mount/session.h"
#include "fs/vault/restore.h"
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
    return json_pack("{s:f, s:f, s:f}", "value", interval->value, "low", interval->low, "high",
                     interval->high);
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

static void add_verdict(json_t *adversaries, const char *name, enum claim claim, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add_verdict(json_t *adversaries, const char *name, enum claim claim, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)json_array_append_new(
        adversaries,
        json_pack("{s:s, s:o, s:s}", "name", name, "holds",
                  claim == CLAIM_NONE ? json_null() : json_boolean(claim == CLAIM_HOLDS), "verdict", text));
}

/* What who has the keys has of this vault, before anything is tried. */
static void say_what_is_there(const struct drill *drill, char out[200])
{
    const json_t *stored = json_object_get(json_object_get(drill->report, "keys_leaked"), "stored_artifacts");
    double psnr = number_at(json_object_get(stored, "psnr"), "value");

    if (lethe_vault_file_settings(drill->file)->fidelity == LETHE_FIDELITY_EXACT) {
        snprintf(out, 200,
                 "Has every byte: fidelity exact keeps artifact, residual and recipe together, on purpose.");
    } else if (json_is_object(stored)) {
        snprintf(out, 200,
                 "Has the lossy picture of each photo, %.1f dB from it (mean of %lld), and not the photo.",
                 psnr, json_integer_value(json_object_get(stored, "photos")));
    } else {
        snprintf(out, 200, "Has the lossy picture of each photo, and not the photo.");
    }
}

static void judge_keys(struct drill *drill, json_t *adversaries)
{
    const json_t *one = row_of(drill, "least squares", 1), *most = row_of(drill, "own network", 2);
    const json_t *public = row_of(drill, "the public base pair", 0),
                 *own = row_of(drill, "the vault's own pair", 0);
    const json_t *mean = row_of(drill, "no artifact: mean picture", 0);
    const char *truth =
        json_string_value(json_object_get(json_object_get(drill->report, "keys_leaked"), "judged_by"));
    char has[200];

    say_what_is_there(drill, has);
    most = most ? most : row_of(drill, "least squares", 0);
    if (!one || !most || !public) {
        add_verdict(adversaries, "bucket and keys", CLAIM_NONE,
                    "%s The vault holds too few photos to try thieves on.", has);
        return;
    }
    add_verdict(
        adversaries, "bucket and keys", CLAIM_NONE,
        "%s From the artifacts alone, against %s: %.1f dB with one known photo, %.1f dB with %lld, %.1f dB "
        "with the"
        " public pair (%.1f dB with no artifact at all); %.0f %% of photos are found among %lld.",
        has, truth, number_at(one, "psnr"), number_at(most, "psnr"),
        json_integer_value(json_object_get(most, "known")), number_at(public, "psnr"),
        number_at(mean, "psnr"), 100 * number_at(most, "rank1"),
        json_integer_value(json_object_get(json_object_get(drill->report, "keys_leaked"), "gallery")));
    if (own) {
        add_verdict(adversaries, "bucket, keys and model pair", CLAIM_NONE,
                    "%s The pair itself makes %.1f dB of an artifact alone.", has, number_at(own, "psnr"));
    }
}

/* One sentence for each adversary that was played; "holds" is whether what is claimed against it held, null
 * for nothing. */
static void judge(struct drill *drill)
{
    const json_t *guessing = json_object_get(drill->report, "guessing");
    const json_t *device = json_object_get(drill->report, "device");
    const json_t *tampering = json_object_get(drill->report, "tampering");
    /* Weaknesses that are not the bucket's. */
    static const char *const elsewhere[] = {"weak KDF", "device secret not needed", "plaintext on the device",
                                            "no noise on the device", "tampering undetected"};
    json_t *adversaries = json_array();
    bool opened = weakness_named(drill, "device secret not needed") != NULL;
    size_t others = json_array_size(drill->weaknesses);

    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        others -= weakness_named(drill, elsewhere[i]) != NULL;
    }

    add_verdict(
        adversaries, "bucket alone", others == 0 ? CLAIM_HOLDS : CLAIM_BROKEN,
        others == 0
            ? "Learns how many objects there are, their padded sizes, and when they came; nothing could be"
              " told from noise."
            : "Learns more than counts, padded sizes and times: see the weaknesses.");
    add_verdict(adversaries, "bucket and passphrase", opened ? CLAIM_BROKEN : CLAIM_HOLDS,
                opened ? "Opens the vault." : "Opens nothing: the device secret of 256 bits is missing.");
    if (drill->options->leak == DRILL_LEAK_KEYS || drill->options->leak == DRILL_LEAK_MODEL) {
        judge_keys(drill, adversaries);
    }
    if (device) {
        bool clean = !weakness_named(drill, "plaintext on the device") &&
                     !weakness_named(drill, "no noise on the device");

        add_verdict(adversaries, "unmounted device alone", clean ? CLAIM_HOLDS : CLAIM_BROKEN,
                    clean ? "%lld files of state and cache: no mark of plaintext, and nothing but noise "
                            "beside the device"
                            " secret."
                          : "%lld files of state and cache, and they are not all noise: see the weaknesses.",
                    json_integer_value(json_object_get(device, "files")));
    }
    if (tampering) {
        add_verdict(adversaries, "who changes the vault",
                    weakness_named(drill, "tampering undetected") ? CLAIM_BROKEN : CLAIM_HOLDS,
                    "Of %lld changes to a copy a device noticed %lld; %lld had no effect on anything that is "
                    "read, %lld went"
                    " unnoticed.",
                    json_integer_value(json_object_get(tampering, "changes")),
                    json_integer_value(json_object_get(tampering, "detected")),
                    json_integer_value(json_object_get(tampering, "without_effect")),
                    json_integer_value(json_object_get(tampering, "undetected")));
    }
    add_verdict(adversaries, "bucket and unmounted device",
                weakness_named(drill, "weak KDF") ? CLAIM_BROKEN : CLAIM_HOLDS,
                "Guesses the passphrase, at %.2f guesses a second on one core of this machine: %.2g core "
                "years for one of 40"
                " bits.",
                number_at(guessing, "guesses_a_second"),
                number_at(json_array_get(json_object_get(guessing, "with_device_secret"), 1), "core_years"));
    (void)json_object_set_new(drill->report, "adversaries", adversaries);
    (void)json_object_set_new(drill->report, "ok", json_boolean(json_array_size(drill->weaknesses) == 0));
}

/* The artifacts of the photos that are shown, as they lie in the vault. */
static enum lethe_err show_vault(struct drill *drill, const struct drill_owner *owner,
                                 const struct drill_photos *photos, struct drill_show *show)
{
    struct lethe_raster *pictures = drill_show_column(show, "in the vault");
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < DRILL_SHOWN && i < photos->tests && !err; i++) {
        struct lethe_record record = {0};
        struct lethe_buf png = {0};
        const struct lethe_piece *piece;

        err = lethe_record_load(owner->db, &photos->ids[i], &record);
        piece = err ? NULL : lethe_restore_find(&record, LETHE_PIECE_ARTIFACT);
        if (piece) {
            char key[LETHE_STORE_KEY_MAX + 1];

            lethe_vault_object_key(LETHE_OBJECT_ARTIFACT, &piece->object, key);
            err = lethe_store_get(drill->store, key, 0, UINT64_MAX, &png, NULL);
            err = err ? err : lethe_png_read(png.data, png.len, &lethe_image_limits_default, &pictures[i]);
        }
        lethe_buf_release(&png);
        lethe_record_release(&record);
    }
    return err;
}

/* What the keys open. */
static enum lethe_err run_leaked(struct drill *drill, struct drill_show *show)
{
    struct drill_owner *owner = NULL;
    struct drill_photos photos = {0};
    enum lethe_err err = drill_owner_open(drill, &owner);

    err = err ? err : drill_photos_open(drill, owner, &photos);
    if (!err && show && photos.count) {
        struct lethe_raster *originals = drill_show_column(show, "the original, which the device restores");

        for (size_t i = 0; i < DRILL_SHOWN && i < photos.tests && !err; i++) {
            err = drill_picture_from_ycc(&photos.pairs[i].picture, &originals[i]);
        }
        err = err ? err : show_vault(drill, owner, &photos, show);
    }
    err = err ? err : drill_sizes(drill, &photos);
    err = err ? err : drill_leaked(drill, &photos, show);
    err = err ? err : drill_exact(drill, owner);
    err = err ? err : drill_tampering(drill, owner);
    drill_photos_release(&photos);
    drill_owner_free(owner);
    return err;
}

enum lethe_err drill_run(const struct drill_options *options, struct drill_show *show, json_t **report)
{
    static const char *const leaks[] = {"none", "keys", "model", "device"};
    static enum lethe_err (*const attacks[])(struct drill *) = {
        drill_inventory, drill_statistics, drill_sealing, drill_apart, drill_controls, drill_guessing};
    struct drill drill = {.options = options, .random = {.state = options->seed}};
    enum lethe_err err = lethe_seal_start();

    *report = NULL;
    drill.report =
        json_pack("{s:s, s:s, s:I, s:s, s:[]}", "version", LETHE_VERSION, "vault", options->location, "seed",
                  (json_int_t)options->seed, "leak", leaks[options->leak], "weaknesses");
    drill.weaknesses = json_object_get(drill.report, "weaknesses");
    err = err ? err : drill.weaknesses ? LETHE_OK : LETHE_ERR_NOMEM;
    err = err ? err : lethe_pool_new(0, &drill.pool);
    err = err ? err : steal(&drill);
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks && !err; i++) {
        err = attacks[i](&drill);
    }
    if (!err && (options->leak == DRILL_LEAK_KEYS || options->leak == DRILL_LEAK_MODEL)) {
        err = run_leaked(&drill, show);
    }
    if (!err && options->leak == DRILL_LEAK_DEVICE) {
        err = drill_device(&drill);
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
