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
    size_t first;         /* of the slots being filled */
    bool *used;           /* of each slot */
    char (*paths)[4096];  /* for those of a folder */
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
    enum lethe_err err =
        lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &photo, &reason);

    if (!err && settings->fidelity == LETHE_FIDELITY_EXACT) {
        err = lethe_photo_encrypt_at(photo, g->photos->own, strength,
                                     lethe_photo_exact_rate(photo, g->photos->own, strength), &engine, NULL,
                                     &payload);
    } else if (!err) {
        err = lethe_photo_encrypt(photo, g->photos->own, strength, &engine, NULL, &payload);
    }
    if (!err && settings->fidelity == LETHE_FIDELITY_EXACT) { /* elsewhere it is not in the vault */
        err = lethe_photo_residual(photo, g->photos->own, payload.data, payload.len, LETHE_EFFORT_FAST, NULL,
                                   &residual, NULL);
    }
    g->photos->guessed[slot] = (struct drill_sizes){payload.len, residual.len};
    lethe_photo_free(photo);
    lethe_buf_release(&payload);
    lethe_buf_release(&residual);
    return err;
}

/* The payloads as the vault has them; and, where they are what thieves are judged on, the latents themselves.
 */
static enum lethe_err look_at_pieces(struct gathering *g, size_t slot, const struct lethe_record *record,
                                     const struct lethe_raster *raster)
{
    static const enum lethe_piece_kind kinds[2] = {LETHE_PIECE_ARTIFACT, LETHE_PIECE_RESIDUAL};
    struct lethe_latents whole = {0};
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
        if (piece && i == 0 && !err && g->photos->truth == DRILL_TRUTH_RESTORED) {
            err = lethe_artifact_latents(payload.data, payload.len, &lethe_image_limits_default, 0, &whole);
            err = err ? err : drill_pair_latents(&g->photos->pairs[slot], raster, &whole);
        }
    }
    lethe_latents_release(&whole);
    lethe_buf_release(&payload);
    return err;
}

/* The photo as it was before fidelity lossy, in the place of what the device restores. */
static enum lethe_err take_original(struct gathering *g, size_t slot, const struct lethe_raster *restored,
                                    struct lethe_buf *file, struct lethe_raster *original)
{
    char inner[4096], path[8200];
    enum lethe_err err = drill_owner_path(g->owner, &g->photos->ids[slot], inner);

    if (!err && !*inner) {
        return LETHE_ERR_NOT_FOUND;
    }
    snprintf(path, sizeof path, "%s/%s", g->drill->options->originals_dir, inner);
    lethe_buf_reset(file);
    err = err ? err : lethe_file_read(path, FILE_MAX, file);
    err = err ? err : drill_picture_read(file->data, file->len, original);
    err = err ? err : drill_pair_init(&g->photos->pairs[slot], original);
    return err ? err : drill_pair_restored(&g->photos->pairs[slot], original, restored);
}

static enum lethe_err take_own(struct gathering *g, size_t slot)
{
    struct lethe_record record = {0};
    struct lethe_buf file = {0};
    struct lethe_raster raster = {0}, original = {0};
    enum lethe_err err = lethe_record_load(g->owner->db, &g->photos->ids[slot], &record);

    if (!err && (uint64_t)record.width * record.height > PIXELS_MAX) {
        err = LETHE_ERR_ARG;
    }
    err = err ? err : lethe_restore_photo(g->owner->vault, &record, NULL, &file);
    err = err ? err : drill_picture_read(file.data, file.len, &raster);
    if (!err && g->photos->truth == DRILL_TRUTH_ORIGINALS) {
        err = take_original(g, slot, &raster, &file, &original);
    } else if (!err) {
        err = drill_pair_init(&g->photos->pairs[slot], &raster);
    }
    err = err ? err : look_at_pieces(g, slot, &record, &raster);
    err = err ? err : guess(g, slot, &file);
    lethe_raster_release(&raster);
    lethe_raster_release(&original);
    lethe_buf_release(&file);
    lethe_record_release(&record);
    return err;
}

static enum lethe_err take_known(struct gathering *g, size_t slot)
{
    struct lethe_buf file = {0};
    struct lethe_raster raster = {0};
    enum lethe_err err = lethe_file_read(g->paths[slot - g->first], FILE_MAX, &file);

    err = err ? err : drill_picture_read(file.data, file.len, &raster);
    err = err ? err : drill_pair_init(&g->photos->pairs[slot], &raster);
    lethe_raster_release(&raster);
    lethe_buf_release(&file);
    return err;
}

static void take_work(void *context, size_t index)
{
    struct gathering *g = context;
    size_t slot = g->first + index;
    enum lethe_err err = g->paths ? take_known(g, slot) : take_own(g, slot);

    g->used[slot] = !err;
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
            p->ids[i] = (struct lethe_id){{0}};
            continue;
        }
        if (to != i) {
            p->pairs[to] = p->pairs[i];
            p->ids[to] = p->ids[i];
            p->plain[to] = p->plain[i];
            p->guessed[to] = p->guessed[i];
            p->pairs[i] = (struct drill_pair){0}; /* --pairs go on from here */
            p->ids[i] = (struct lethe_id){{0}};
        }
        to++;
    }
    p->count = to;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Files of a folder, not of those below it, in the order of their names: the first DRILL_PHOTOS. */
static enum lethe_err list_folder(const char *folder, char (**paths)[4096], size_t *count)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    size_t room = 0;
    enum lethe_err err = stream ? LETHE_OK : LETHE_ERR_NOT_FOUND;

    *count = 0;
    *paths = NULL;
    if (!stream) {
        lethe_log(LETHE_LOG_ERROR, "the folder of known photos %s cannot be read", folder);
    }
    while (!err && (entry = readdir(stream))) {
        if (*count == room) {
            char(*grown)[4096] = realloc(*paths, (2 * room + 64) * sizeof *grown);

            if (!grown) {
                err = LETHE_ERR_NOMEM;
                break;
            }
            *paths = grown;
            room = 2 * room + 64;
        }
        if (entry->d_name[0] != '.' && snprintf((*paths)[*count], sizeof **paths, "%s/%s", folder,
                                                entry->d_name) < (int)sizeof **paths) {
            ++*count;
        }
    }
    if (stream) {
        closedir(stream);
    }
    if (*count) {
        qsort(*paths, *count, sizeof **paths, compare_paths);
    }
    *count = *count < DRILL_PHOTOS ? *count : DRILL_PHOTOS;
    return err;
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

/* Of every photo that a file has: what its artifact alone is worth. In fidelity lossy nobody but the sealer
 * saw both. */
static enum lethe_err measure_stored(const struct drill_owner *owner, struct drill_photos *out)
{
    sqlite3_stmt *statement;
    size_t room = 0;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(owner->db);
    err = lethe_db_statement(owner->db,
                             "SELECT error, samples FROM content WHERE kind = 1 AND samples > 0 AND id IN"
                             " (SELECT content FROM inode WHERE content IS NOT NULL) ORDER BY id",
                             &statement);
    while (!err && !(err = lethe_db_step(owner->db, statement, &row)) && row) {
        const struct lethe_photo_quality quality = {(uint64_t)sqlite3_column_int64(statement, 0),
                                                    (uint64_t)sqlite3_column_int64(statement, 1)};
        double *grown = out->stored < room ? out->stored_psnr
                                           : realloc(out->stored_psnr, (2 * room + 64) * sizeof *grown);

        if (!grown) {
            sqlite3_reset(statement);
            err = LETHE_ERR_NOMEM;
            break;
        }
        room = out->stored < room ? room : 2 * room + 64;
        out->stored_psnr = grown;
        out->stored_psnr[out->stored++] = lethe_quality_psnr(&quality);
    }
    lethe_db_unlock(owner->db);
    return err;
}

enum lethe_err drill_photos_open(struct drill *drill, const struct drill_owner *owner,
                                 struct drill_photos *out)
{
    struct gathering g = {.drill = drill, .owner = owner, .photos = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct lethe_id *ids = NULL;
    size_t all = 0, most = 2 * DRILL_PHOTOS, listed = 0;
    enum lethe_err err;

    *out = (struct drill_photos){0};
    if (lethe_vault_file_settings(drill->file)->fidelity == LETHE_FIDELITY_LOSSY) {
        out->truth = drill->options->originals_dir ? DRILL_TRUTH_ORIGINALS : DRILL_TRUTH_RESTORED;
    }
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
    err = err ? err : measure_stored(owner, out);
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
    out->in_vault = out->count;
    err = g.err;
    if (drill->options->pairs_dir && !err) { /* no photo of the vault is known: all are there to be tried */
        out->tests = out->count < DRILL_TESTS ? out->count : DRILL_TESTS;
        err = list_folder(drill->options->pairs_dir, &g.paths, &listed);
        out->first_known = g.first = out->count;
        g.done = 0;
        if (!err) {
            out->count += listed;
            lethe_pool_run(drill->pool, listed, take_work, &g);
            close_up(&g, out->count);
            err = g.err;
        }
    } else {
        out->tests = out->count / 4 < DRILL_TESTS ? out->count / 4 : DRILL_TESTS;
        out->tests = out->tests ? out->tests : out->count > 1;
        out->first_known = out->tests;
    }
    if (out->tests == 0 || out->count == out->first_known) {
        for (size_t i = 0; i < out->count; i++) {
            drill_pair_release(&out->pairs[i]);
        }
        out->count = out->tests = out->first_known = out->in_vault = 0;
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
    free(photos->stored_psnr);
    *photos = (struct drill_photos){0};
}

static struct drill_sizes sealed(const struct drill_sizes *plain)
{
    return (struct drill_sizes){
        lethe_noise_png_capacity(lethe_padme(8 + plain->artifact) + LETHE_SEAL_OVERHEAD),
        lethe_padme(8 + plain->residual)};
}

/* What of the sizes is seen: residuals that travel in packs, or lie in a second store, are not. */
enum sight { ARTIFACT_PADDED, ARTIFACT_PLAIN, BOTH_PADDED, BOTH_PLAIN, SIGHTS };
static const char *const sights[SIGHTS] = {"artifact, padded", "artifact, without padding",
                                           "artifact and residual, padded",
                                           "artifact and residual, without padding"};

static double apart(enum sight sight, const struct drill_sizes *a, const struct drill_sizes *b)
{
    bool plain = sight == BOTH_PLAIN || sight == ARTIFACT_PLAIN;
    struct drill_sizes x = plain ? *a : sealed(a), y = plain ? *b : sealed(b);
    double d = fabs(log((double)(x.artifact + 1) / (double)(y.artifact + 1)));

    return sight <= ARTIFACT_PLAIN ? d : d + fabs(log((double)(x.residual + 1) / (double)(y.residual + 1)));
}

/*
 * For each photo of the vault: is its own guess the nearest of all guesses? Ties share. And the AUC of how
 * near a photo's guess is against those of others.
 */
static json_t *identify(struct drill *drill, const struct drill_photos *photos, enum sight sight)
{
    size_t n = photos->in_vault;
    double right = 0, *own = calloc(n, sizeof *own), *others = calloc(n, sizeof *others);
    struct drill_interval rank, auc;

    for (size_t i = 0; own && others && i < n; i++) {
        size_t other = (i + 1 + drill_below(&drill->random, n - 1)) % n, ties = 0;
        double least = INFINITY;
        bool hit = false;

        for (size_t j = 0; j < n; j++) {
            double d = apart(sight, &photos->plain[i], &photos->guessed[j]);

            if (d < least) {
                least = d;
                ties = 0;
                hit = false;
            }
            ties += d <= least;
            hit = hit || (d <= least && i == j);
        }
        right += hit ? 1.0 / (double)ties : 0;
        own[i] = -apart(sight, &photos->plain[i], &photos->guessed[i]);
        others[i] = -apart(sight, &photos->plain[i], &photos->guessed[other]);
    }
    rank = drill_wilson((size_t)(right + 0.5), n, DRILL_Z95);
    auc = own && others ? drill_auc(own, n, others, n, DRILL_Z95) : (struct drill_interval){0.5, 0, 1};
    free(own);
    free(others);
    return json_pack("{s:s, s:I, s:o, s:o, s:f}", "seen", sights[sight], "photos", (json_int_t)n, "rank1",
                     drill_interval_json(&rank), "auc", drill_interval_json(&auc), "chance", 1.0 / (double)n);
}

enum lethe_err drill_sizes(struct drill *drill, const struct drill_photos *photos)
{
    /* In fidelity split the residuals lie elsewhere, in lossy nowhere. */
    int seen =
        lethe_vault_file_settings(drill->file)->fidelity == LETHE_FIDELITY_EXACT ? SIGHTS : BOTH_PADDED;
    json_t *sizes = json_array();

    for (int sight = 0; sight < seen && photos->in_vault > 1; sight++) {
        (void)json_array_append_new(sizes, identify(drill, photos, (enum sight)sight));
    }
    (void)json_object_set_new(drill->report, "sizes", sizes);
    return LETHE_OK;
}
