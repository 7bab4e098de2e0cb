/* SPDX-License-Identifier: MIT */
#include "fs/drill/photos.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file.h"
#include "fs/vault/journal.h"
#include "fs/vault/restore.h"
#include "lethe/codec.h"
#include "lethe/log.h"

#define FILE_MAX (256u << 20)
#define PIXELS_MAX (16u << 20) /* larger photos are passed over: the drill has minutes */

struct gathering {
    struct drill *drill;
    const struct drill_owner *owner;
    struct drill_photos *photos;
    size_t first;      /* of the slots being filled */
    bool *used;        /* of each slot */
    char (*paths)[4096]; /* for those of a folder */
    pthread_mutex_t lock; /* guards done and err */
    size_t done;
    enum lethe_err err;
};

/* What the thief would come to with the photo's file and the public program. */
static enum lethe_err guess(struct gathering *g, size_t slot, const struct lethe_buf *file)
{
    struct drill_random random = {.state = g->drill->options->seed ^ (slot * 0x9e3779b97f4a7c15u + 1)};
    struct lethe_random engine = drill_engine_random(&random);
    const struct lethe_vault_settings *settings = lethe_vault_file_settings(g->drill->file);
    unsigned strength = settings->strength;
    struct lethe_photo *photo = NULL;
    struct lethe_buf payload = {0}, residual = {0};
    enum lethe_reason reason;
    enum lethe_err err = lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &photo, &reason);

    if (!err && settings->fidelity == LETHE_FIDELITY_EXACT) {
        err = lethe_photo_encrypt_at(photo, g->photos->own, strength,
                                     lethe_photo_exact_rate(photo, g->photos->own, strength), &engine, NULL, &payload);
    } else if (!err) {
        err = lethe_photo_encrypt(photo, g->photos->own, strength, &engine, NULL, &payload);
    }
    err = err ? err
              : lethe_photo_residual(photo, g->photos->own, payload.data, payload.len, LETHE_EFFORT_FAST, NULL, &residual,
                                     NULL);
    g->photos->guessed[slot] = (struct drill_sizes){payload.len, residual.len};
    lethe_photo_free(photo);
    lethe_buf_release(&payload);
    lethe_buf_release(&residual);
    return err;
}

static enum lethe_err look_at_pieces(struct gathering *g, size_t slot, const struct lethe_record *record)
{
    static const enum lethe_piece_kind kinds[2] = {LETHE_PIECE_ARTIFACT, LETHE_PIECE_RESIDUAL};
    struct lethe_buf payload = {0};
    enum lethe_err err = LETHE_OK;

    for (int i = 0; i < 2 && !err; i++) {
        const struct lethe_piece *piece = lethe_restore_find(record, kinds[i]);

        lethe_buf_reset(&payload);
        err = piece ? lethe_restore_piece(g->owner->vault, piece, &payload) : LETHE_OK;
        if (piece && i == 0) {
            g->photos->plain[slot].artifact = payload.len;
        } else if (piece) {
            g->photos->plain[slot].residual = payload.len;
        }
    }
    lethe_buf_release(&payload);
    return err;
}

static enum lethe_err take(struct gathering *g, size_t slot)
{
    struct lethe_record record = {0};
    struct lethe_buf file = {0};
    struct lethe_raster raster = {0};
    bool mine = g->paths == NULL;
    enum lethe_err err = LETHE_OK;

    if (mine) {
        err = lethe_record_load(g->owner->db, &g->photos->ids[slot], &record);
        if (!err && (uint64_t)record.width * record.height > PIXELS_MAX) {
            err = LETHE_ERR_ARG;
        }
        err = err ? err : lethe_restore_photo(g->owner->vault, &record, NULL, &file);
    } else {
        err = lethe_file_read(g->paths[slot - g->first], FILE_MAX, &file);
    }
    err = err ? err : drill_picture_read(file.data, file.len, &raster);
    err = err ? err : drill_pair_init(&g->photos->pairs[slot], &raster);
    if (!err && mine) {
        err = look_at_pieces(g, slot, &record);
        err = err ? err : guess(g, slot, &file);
    }
    g->used[slot] = !err;
    lethe_raster_release(&raster);
    lethe_buf_release(&file);
    lethe_record_release(&record);
    return err;
}

static void take_work(void *context, size_t index)
{
    struct gathering *g = context;
    enum lethe_err err = take(g, g->first + index);

    pthread_mutex_lock(&g->lock);
    /* What is no picture, or too small or too large a one, is passed over; damage is for check to tell. */
    if (err == LETHE_ERR_NOMEM || err == LETHE_ERR_UNREACHABLE) {
        g->err = err;
    }
    drill_progress(g->drill, "photos", ++g->done, g->photos->count);
    pthread_mutex_unlock(&g->lock);
}

/* Closes the gaps that photos which were passed over leave. */
static void close_up(struct gathering *g, size_t end)
{
    struct drill_photos *p = g->photos;
    size_t to = g->first;

    for (size_t i = g->first; i < end; i++) {
        if (!g->used[i]) {
            drill_pair_release(&p->pairs[i]);
            continue;
        }
        if (to != i) {
            p->pairs[to] = p->pairs[i];
            p->ids[to] = p->ids[i];
            p->plain[to] = p->plain[i];
            p->guessed[to] = p->guessed[i];
        }
        to++;
    }
    p->count = to;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Files of a folder, not of those below it, in the order of their names. */
static enum lethe_err list_folder(const char *folder, char (**paths)[4096], size_t *count)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;

    *count = 0;
    *paths = calloc(DRILL_PHOTOS, sizeof **paths);
    if (!stream || !*paths) {
        enum lethe_err err = *paths ? LETHE_ERR_NOT_FOUND : LETHE_ERR_NOMEM;

        lethe_log(LETHE_LOG_ERROR, "the folder of known photos %s cannot be read", folder);
        if (stream) {
            closedir(stream);
        }
        return err;
    }
    while (*count < DRILL_PHOTOS && (entry = readdir(stream))) {
        if (entry->d_name[0] != '.' &&
            snprintf((*paths)[*count], sizeof **paths, "%s/%s", folder, entry->d_name) < (int)sizeof **paths) {
            ++*count;
        }
    }
    closedir(stream);
    qsort(*paths, *count, sizeof **paths, compare_paths);
    return LETHE_OK;
}

static enum lethe_err find_pair(const struct drill_owner *owner, struct drill_photos *photos)
{
    struct lethe_head head;
    enum lethe_err err = lethe_head_get(owner->vault, &head, NULL);

    err = err ? err : lethe_vault_pair(owner->vault, &head.pair, &photos->own);
    if (err == LETHE_ERR_NOT_FOUND && (photos->own = lethe_pair_shipped(0))) {
        err = LETHE_OK;
    }
    return err;
}

enum lethe_err drill_photos_open(struct drill *drill, const struct drill_owner *owner, struct drill_photos *out)
{
    struct gathering g = {.drill = drill, .owner = owner, .photos = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct lethe_id *ids = NULL;
    size_t all = 0, most = 2 * DRILL_PHOTOS, listed = 0;
    enum lethe_err err;

    *out = (struct drill_photos){0};
    err = find_pair(owner, out);
    err = err ? err : drill_owner_contents(owner, "kind = 1", 1000000, &ids, &all);
    out->pairs = calloc(most, sizeof *out->pairs);
    out->ids = calloc(most, sizeof *out->ids);
    out->plain = calloc(most, sizeof *out->plain);
    out->guessed = calloc(most, sizeof *out->guessed);
    g.used = calloc(most, sizeof *g.used);
    if (!out->pairs || !out->ids || !out->plain || !out->guessed || !g.used) {
        err = LETHE_ERR_NOMEM;
    }
    if (err) {
        goto out;
    }
    for (size_t i = 0; i + 1 < all; i++) { /* Fisher, Yates */
        size_t j = i + drill_below(&drill->random, all - i);
        struct lethe_id swap = ids[i];

        ids[i] = ids[j];
        ids[j] = swap;
    }
    out->count = all < DRILL_PHOTOS ? all : DRILL_PHOTOS;
    memcpy(out->ids, ids, out->count * sizeof *ids);
    lethe_pool_run(drill->pool, out->count, take_work, &g);
    close_up(&g, out->count);
    out->tests = out->count / 4 < DRILL_TESTS ? out->count / 4 : DRILL_TESTS;
    out->tests = out->tests ? out->tests : out->count > 1;
    if (!g.err && drill->options->pairs_dir) {
        err = list_folder(drill->options->pairs_dir, &g.paths, &listed);
        g.first = out->count;
        g.done = 0;
        if (!err) {
            out->count += listed;
            lethe_pool_run(drill->pool, listed, take_work, &g);
            close_up(&g, out->count);
        }
    }
    err = err ? err : g.err;
    if (out->tests == 0) {
        out->count = 0;
    }
out:
    free(ids);
    free(g.used);
    free(g.paths);
    return err;
}

void drill_photos_release(struct drill_photos *photos)
{
    for (size_t i = 0; photos->pairs && i < photos->count; i++) {
        drill_pair_release(&photos->pairs[i]);
    }
    free(photos->pairs);
    free(photos->ids);
    free(photos->plain);
    free(photos->guessed);
    *photos = (struct drill_photos){0};
}

static struct drill_sizes sealed(const struct drill_sizes *plain)
{
    return (struct drill_sizes){lethe_noise_png_capacity(lethe_padme(8 + plain->artifact) + LETHE_SEAL_OVERHEAD),
                                lethe_padme(8 + plain->residual)};
}

/* What of the sizes is seen: residuals that travel in packs, or lie in a second store, are not. */
enum sight { ARTIFACT_PADDED, BOTH_PADDED, BOTH_PLAIN, SIGHTS };
static const char *const sights[SIGHTS] = {"artifact, padded", "artifact and residual, padded",
                                           "artifact and residual, without padding"};

static double apart(enum sight sight, const struct drill_sizes *a, const struct drill_sizes *b)
{
    struct drill_sizes x = sight == BOTH_PLAIN ? *a : sealed(a), y = sight == BOTH_PLAIN ? *b : sealed(b);
    double d = fabs(log((double)(x.artifact + 1) / (double)(y.artifact + 1)));

    return sight == ARTIFACT_PADDED ? d : d + fabs(log((double)(x.residual + 1) / (double)(y.residual + 1)));
}

/*
 * For each photo of the vault: is its own guess the nearest of all guesses? Ties share. And the AUC of how near a
 * photo's guess is against those of others.
 */
static json_t *identify(struct drill *drill, const struct drill_photos *photos, enum sight sight)
{
    size_t n = 0, pairs = 0;
    double right = 0, *own = calloc(photos->count, sizeof *own), *others = calloc(photos->count, sizeof *others);
    struct drill_interval rank, auc;

    for (size_t i = 0; own && others && i < photos->count; i++) {
        double least = INFINITY, to_own = 0;
        size_t ties = 0;
        bool hit = false;

        if (lethe_id_is_zero(&photos->ids[i])) {
            continue; /* the thief's own: not in the vault */
        }
        for (size_t j = 0; j < photos->count; j++) {
            double d;

            if (lethe_id_is_zero(&photos->ids[j])) {
                continue;
            }
            d = apart(sight, &photos->plain[i], &photos->guessed[j]);
            if (d < least) {
                least = d;
                ties = 0;
                hit = false;
            }
            ties += d <= least;
            hit = hit || (d <= least && i == j);
            to_own = i == j ? d : to_own;
        }
        right += hit ? 1.0 / (double)ties : 0;
        own[n] = -to_own;
        n++;
        if (photos->count > 1) {
            size_t j = drill_below(&drill->random, photos->count);

            if (j != i && !lethe_id_is_zero(&photos->ids[j])) {
                others[pairs++] = -apart(sight, &photos->plain[i], &photos->guessed[j]);
            }
        }
    }
    rank = drill_wilson((size_t)(right + 0.5), n, DRILL_Z95);
    auc = drill_auc(own, n, others, pairs, DRILL_Z95);
    free(own);
    free(others);
    return json_pack("{s:s, s:I, s:o, s:o, s:f}", "seen", sights[sight], "photos", (json_int_t)n, "rank1",
                     drill_interval_json(&rank), "auc", drill_interval_json(&auc), "chance", n ? 1.0 / (double)n : 0.0);
}

enum lethe_err drill_sizes(struct drill *drill, const struct drill_photos *photos)
{
    json_t *sizes = json_array();

    for (int sight = 0; sight < SIGHTS && photos->count; sight++) {
        (void)json_array_append_new(sizes, identify(drill, photos, (enum sight)sight));
    }
    (void)json_object_set_new(drill->report, "sizes", sizes);
    return LETHE_OK;
}
