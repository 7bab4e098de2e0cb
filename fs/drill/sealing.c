/* SPDX-License-Identifier: MIT */
/*
 * The sealing on its own, with a key that the drill draws, on pictures that it draws: is anything left of the same
 * photo written twice, of one changed pixel, of flat against busy? NPCR and UACI of Wu, Noonan and Agaian (2011). The
 * latents under the seal are measured beside it: they are not expected to pass.
 */
#include <stdio.h>
#include <string.h>

#include "fs/cli/drawn.h"
#include "fs/drill/drill.h"
#include "fs/drill/noise.h"
#include "fs/drill/picture.h"

#define REPEATS 24
/*
 * The published critical values are for 0.05, and rest on the normal distribution; of an artifact's few bytes so few
 * are equal by chance that its tail is wrong further out. So the verdict is on all repeats together.
 */
#define STRICT 1e-8

struct lab {
    struct drill *drill;
    struct lethe_secret *key;
    const struct lethe_pair *pair;
    unsigned strength;
};

/* The sealed pixels of a picture, and what was sealed. */
static enum lethe_err seal(struct lab *lab, const struct lethe_photo *photo, struct lethe_buf *payload,
                           struct lethe_buf *pixels)
{
    struct lethe_random random = drill_engine_random(&lab->drill->random);
    struct lethe_object_name name = {.kind = LETHE_OBJECT_ARTIFACT};
    struct lethe_buf png = {0};
    enum lethe_err err;

    drill_fill(&lab->drill->random, name.id.bytes, sizeof name.id.bytes);
    lethe_buf_reset(payload);
    lethe_buf_reset(pixels);
    err = lethe_photo_encrypt(photo, lab->pair, lab->strength, &random, NULL, payload);
    err = err ? err
              : lethe_artifact_seal(lab->key, &name, payload->data, payload->len, lethe_random_system(), &png);
    err = err ? err : lethe_noise_png_unwrap(png.data, png.len, pixels);
    lethe_buf_release(&png);
    return err;
}

/* REPEATS times: a sealed against b sealed. */
static enum lethe_err compare(struct lab *lab, const char *name, const struct lethe_photo *a,
                              const struct lethe_photo *b, json_t *out)
{
    struct lethe_buf payload[2] = {{0}, {0}}, pixels[2] = {{0}, {0}};
    size_t npcr_pass = 0, uaci_pass = 0, same = 0;
    double npcr = 0, uaci = 0, bare = 0;
    struct drill_npcr usual = {0}, strict, before;
    struct lethe_buf all[2] = {{0}, {0}};
    char detail[160];
    bool told;
    enum lethe_err err = LETHE_OK;

    for (unsigned i = 0; i < REPEATS && !err; i++) {
        size_t len;

        err = seal(lab, a, &payload[0], &pixels[0]);
        err = err ? err : seal(lab, b, &payload[1], &pixels[1]);
        if (err) {
            break;
        }
        same += pixels[0].len == pixels[1].len;
        len = pixels[0].len < pixels[1].len ? pixels[0].len : pixels[1].len;
        drill_npcr_measure(pixels[0].data, pixels[1].data, len, 0.05, &usual);
        lethe_buf_put(&all[0], pixels[0].data, len);
        lethe_buf_put(&all[1], pixels[1].data, len);
        npcr += usual.npcr / REPEATS;
        uaci += usual.uaci / REPEATS;
        npcr_pass += usual.npcr_pass;
        uaci_pass += usual.uaci_pass;
        len = payload[0].len < payload[1].len ? payload[0].len : payload[1].len;
        drill_npcr_measure(payload[0].data, payload[1].data, len, 0.05, &before);
        bare += before.npcr / REPEATS;
    }
    err = err ? err : lethe_buf_status(&all[0]);
    err = err ? err : lethe_buf_status(&all[1]);
    drill_npcr_measure(all[0].data, all[1].data, err ? 0 : all[0].len, STRICT, &strict);
    told = !err && !(strict.npcr_pass && strict.uaci_pass);
    if (told) {
        snprintf(detail, sizeof detail, "%s: sealed artifacts are nearer to each other than noise is", name);
        drill_weakness(lab->drill, "related artifacts", detail);
    }
    (void)json_array_append_new(
        out, json_pack("{s:s, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:I, s:I, s:f, s:b}", "pair", name, "repeats", REPEATS,
                       "npcr", npcr, "npcr_least", usual.npcr_least, "npcr_pass", (json_int_t)npcr_pass, "uaci", uaci,
                       "uaci_least", usual.uaci_least, "uaci_most", usual.uaci_most, "uaci_pass", (json_int_t)uaci_pass,
                       "same_size", (json_int_t)same, "npcr_before_sealing", bare, "told", told));
    for (int i = 0; i < 2; i++) {
        lethe_buf_release(&payload[i]);
        lethe_buf_release(&pixels[i]);
        lethe_buf_release(&all[i]);
    }
    return err;
}

enum lethe_err drill_sealing(struct drill *drill)
{
    struct lab lab = {.drill = drill,
                      .pair = lethe_pair_shipped(0),
                      .strength = lethe_vault_file_settings(drill->file)->strength};
    struct lethe_raster photo = {0}, changed = {0}, flat = {0};
    struct lethe_photo *photos[3] = {NULL, NULL, NULL};
    json_t *out = json_array();
    enum lethe_err err = lab.pair ? lethe_secret_random(lethe_random_system(), &lab.key) : LETHE_ERR_NOT_FOUND;

    err = err ? err : lethe_raster_init(&photo, 256, 192, 3, 8);
    err = err ? err : lethe_raster_init(&changed, 256, 192, 3, 8);
    err = err ? err : lethe_raster_init(&flat, 256, 192, 3, 8);
    if (!err) {
        lethe_drawn_landscape(&photo, drill->options->seed);
        for (unsigned c = 0; c < 3; c++) {
            memcpy(changed.planes[c], photo.planes[c], (size_t)256 * 192 * sizeof **photo.planes);
            for (size_t i = 0; i < (size_t)256 * 192; i++) {
                flat.planes[c][i] = 128;
            }
        }
        changed.planes[1][(size_t)96 * 256 + 128] ^= 1;
        drill_progress(drill, "sealing", 0, 3);
        err = drill_picture_photo(&photo, &photos[0]);
        err = err ? err : drill_picture_photo(&changed, &photos[1]);
        err = err ? err : drill_picture_photo(&flat, &photos[2]);
        err = err ? err : compare(&lab, "one photo twice", photos[0], photos[0], out);
        drill_progress(drill, "sealing", 1, 3);
        err = err ? err : compare(&lab, "one pixel changed", photos[0], photos[1], out);
        drill_progress(drill, "sealing", 2, 3);
        err = err ? err : compare(&lab, "flat and busy", photos[2], photos[0], out);
    }
    (void)json_object_set_new(drill->report, "sealing", out);
    for (int i = 0; i < 3; i++) {
        lethe_photo_free(photos[i]);
    }
    lethe_raster_release(&photo);
    lethe_raster_release(&changed);
    lethe_raster_release(&flat);
    lethe_secret_free(lab.key);
    return err;
}
