/* SPDX-License-Identifier: MIT */
/* The runner: opens the vault for reading, runs the attacks in order, and draws the verdicts from their
 * figures. */
#include "fs/drill/drill.h"

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

/* The artifacts of the photos that are shown, as they lie in the vault. */
static enum lethe_err show_vault(struct drill *drill, const struct drill_owner *owner,
                                 const struct drill_photos *photos, struct drill_show *show)
{
    struct lethe_raster *pictures = drill_show_vault(show);
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

/* What the thieves are after, and what the device gives its owner where that is something else. */
static enum lethe_err show_truth(const struct drill_photos *photos, struct drill_show *show)
{
    static const char *const titles[] = {"the photo, as the device restores it", "the photo as it was",
                                         "what the device restores"};
    struct lethe_raster *truth = drill_show_column(show, titles[photos->truth]), *restored = NULL;
    enum lethe_err err = LETHE_OK;

    if (photos->truth == DRILL_TRUTH_ORIGINALS) {
        restored = drill_show_column(show, titles[DRILL_TRUTH_RESTORED]);
    }
    for (size_t i = 0; i < DRILL_SHOWN && i < photos->tests && !err; i++) {
        err = drill_picture_from_ycc(&photos->pairs[i].picture, &truth[i]);
        if (!err && restored) {
            err = drill_picture_from_ycc(&photos->pairs[i].restored, &restored[i]);
        }
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
        err = show_truth(&photos, show);
        err = err ? err : show_vault(drill, owner, &photos, show);
    }
    err = err ? err : drill_sizes(drill, &photos);
    err = err ? err : drill_leaked(drill, &photos, show);
    err = err ? err : drill_exact(drill, owner);
    err = err ? err : drill_pairs(drill, owner);
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
        drill_judge(&drill);
        *report = json_incref(drill.report);
    }
    json_decref(drill.report);
    free(drill.objects);
    lethe_vault_file_free(drill.file);
    lethe_store_close(drill.store);
    lethe_pool_free(drill.pool);
    return err;
}
