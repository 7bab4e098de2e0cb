/* SPDX-License-Identifier: MIT */
/*
 * Photo A or photo B? A thief who suspects two photos has sealed artifacts of each, and is given others: does
 * any score tell which photo they are of? With a key that the drill draws, on two photos that it draws. What
 * he sees beside bytes is the size; that part is told, and is no weakness (a photo's artifact is as long as
 * it is rich). The same question of the latents under the seal is the control: there the answer must be easy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/drawn.h"
#include "fs/drill/drill.h"
#include "fs/drill/noise.h"
#include "fs/drill/picture.h"
#include "lethe/codec.h"

#define WIDTH 160
#define HEIGHT 120
#define LABELLED 24 /* artifacts of each photo that the thief knows to be so */
#define TRIED 120
#define ALL (LABELLED + TRIED)

struct artifact {
    struct lethe_buf pixels; /* sealed */
    struct lethe_latents latents;
};

struct apart {
    struct drill *drill;
    struct lethe_secret *key;
    struct artifact artifacts[2][ALL];
    double scores[2][TRIED];
    size_t least; /* pixels that all have */
};

static enum lethe_err make(struct apart *lab, const struct lethe_pair *pair, const struct lethe_photo *photo,
                           struct artifact *out)
{
    struct lethe_random random = drill_engine_random(&lab->drill->random);
    struct lethe_object_name name = {.kind = LETHE_OBJECT_ARTIFACT};
    struct lethe_buf payload = {0}, png = {0};
    enum lethe_err err;

    drill_fill(&lab->drill->random, name.id.bytes, sizeof name.id.bytes);
    err = lethe_photo_encrypt(photo, pair, lethe_vault_file_settings(lab->drill->file)->strength, &random,
                              NULL, &payload);
    err = err ? err
              : lethe_artifact_seal(lab->key, &name, payload.data, payload.len, lethe_random_system(), &png);
    err = err ? err : lethe_noise_png_unwrap(png.data, png.len, &out->pixels);
    err = err ? err
              : lethe_artifact_latents(payload.data, payload.len, &lethe_image_limits_default, 0,
                                       &out->latents);
    lab->least = !err && out->pixels.len < lab->least ? out->pixels.len : lab->least;
    lethe_buf_release(&payload);
    lethe_buf_release(&png);
    return err;
}

static double equal_share(const uint8_t *a, const uint8_t *b, size_t len)
{
    size_t equal = 0;

    for (size_t i = 0; i < len; i++) {
        equal += a[i] == b[i];
    }
    return (double)equal / (double)len;
}

/* How much more it is like those of photo A than like those of photo B, byte by byte or latent by latent. */
static double likeness(const struct apart *lab, const struct artifact *artifact, bool latents)
{
    size_t count = latents ? (size_t)artifact->latents.blocks_w * artifact->latents.blocks_h * LETHE_LATENTS
                           : lab->least;
    double more = 0;

    for (size_t i = 0; i < LABELLED; i++) {
        const struct artifact *a = &lab->artifacts[0][i], *b = &lab->artifacts[1][i];

        more += latents ? equal_share((const uint8_t *)artifact->latents.values,
                                      (const uint8_t *)a->latents.values, count) -
                              equal_share((const uint8_t *)artifact->latents.values,
                                          (const uint8_t *)b->latents.values, count)
                        : equal_share(artifact->pixels.data, a->pixels.data, count) -
                              equal_share(artifact->pixels.data, b->pixels.data, count);
    }
    return more;
}

/* Of the latents that are not zero in both, the share that differs between two artifacts of one photo: the
 * mean. */
static double differing(const struct apart *lab)
{
    double sum = 0;

    for (size_t n = 0; n < ALL; n++) {
        const struct lethe_latents *a = &lab->artifacts[0][n].latents,
                                   *b = &lab->artifacts[0][(n + 1) % ALL].latents;
        size_t count = (size_t)a->blocks_w * a->blocks_h * LETHE_LATENTS, any = 0, other = 0;

        for (size_t i = 0; i < count; i++) {
            any += a->values[i] || b->values[i];
            other += a->values[i] != b->values[i];
        }
        sum += any ? (double)other / (double)any / ALL : 0;
    }
    return sum;
}

static json_t *compare(struct apart *lab, const char *name, bool *chance)
{
    return drill_noise_compare(name, lab->scores[0], TRIED, lab->scores[1], TRIED, chance);
}

static double by_likeness(const struct apart *lab, const struct artifact *artifact)
{
    return likeness(lab, artifact, false);
}

static double by_latents(const struct apart *lab, const struct artifact *artifact)
{
    return likeness(lab, artifact, true);
}

static double by_size(const struct apart *lab, const struct artifact *artifact)
{
    (void)lab;
    return (double)artifact->pixels.len;
}

static json_t *compare_by(struct apart *lab, double (*score)(const struct apart *, const struct artifact *),
                          const char *name, bool *chance)
{
    for (int photo = 0; photo < 2; photo++) {
        for (size_t i = 0; i < TRIED; i++) {
            lab->scores[photo][i] = score(lab, &lab->artifacts[photo][LABELLED + i]);
        }
    }
    return compare(lab, name, chance);
}

static enum lethe_err judge(struct apart *lab, json_t *out)
{
    json_t *tests = json_array(), *size, *unsealed;
    double by_bytes[2][TRIED][DRILL_SCORES];
    bool chance, told = false, size_chance, control;
    enum lethe_err err = LETHE_OK;

    for (int photo = 0; photo < 2 && !err; photo++) {
        for (size_t i = 0; i < TRIED && !err; i++) {
            err = drill_noise_score(lab->artifacts[photo][LABELLED + i].pixels.data, lab->least, 0,
                                    by_bytes[photo][i], NULL);
        }
    }
    for (unsigned s = 0; s < DRILL_SCORES && !err; s++) {
        if (strcmp(drill_score_names[s], "adjacent") == 0) {
            continue; /* of bytes without a width it is nothing */
        }
        for (int photo = 0; photo < 2; photo++) {
            for (size_t i = 0; i < TRIED; i++) {
                lab->scores[photo][i] = by_bytes[photo][i][s];
            }
        }
        (void)json_array_append_new(tests, compare(lab, drill_score_names[s], &chance));
        told = told || !chance;
    }
    (void)json_array_append_new(tests, compare_by(lab, by_likeness, "likeness to labelled ones", &chance));
    told = told || !chance;
    size = compare_by(lab, by_size, "padded size", &size_chance);
    unsealed = compare_by(lab, by_latents, "likeness of latents, unsealed", &control);
    if (told) {
        drill_weakness(lab->drill, "photos told apart",
                       "sealed artifacts of two photos can be told from each other");
    }
    if (control && !err) {
        drill_weakness(lab->drill, "control survived", "latents of two photos were not told from each other");
    }
    (void)json_object_update_new(
        out, json_pack("{s:i, s:i, s:b, s:f, s:o, s:o, s:o}", "labelled", LABELLED, "tried", TRIED, "told",
                       told, "latents_that_differ_between_writes", differing(lab), "distinguishers", tests,
                       "by_size", size, "control", unsealed));
    return err;
}

enum lethe_err drill_apart(struct drill *drill)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct apart *lab = calloc(1, sizeof *lab);
    struct lethe_raster raster = {0};
    struct lethe_photo *photos[2] = {NULL, NULL};
    json_t *out = json_object();
    enum lethe_err err = !lab   ? LETHE_ERR_NOMEM
                         : pair ? lethe_secret_random(lethe_random_system(), &lab->key)
                                : LETHE_ERR_NOT_FOUND;

    err = err ? err : lethe_raster_init(&raster, WIDTH, HEIGHT, 3, 8);
    for (unsigned photo = 0; photo < 2 && !err; photo++) {
        lethe_drawn_landscape(&raster, drill->options->seed + 100 * (photo + 1));
        err = drill_picture_photo(&raster, &photos[photo]);
    }
    if (!err) {
        lab->drill = drill;
        lab->least = SIZE_MAX;
    }
    for (size_t i = 0; i < ALL && !err; i++) { /* in turn: the drill's chance is no tell */
        drill_progress(drill, "photo A or B", i, ALL);
        err = make(lab, pair, photos[0], &lab->artifacts[0][i]);
        err = err ? err : make(lab, pair, photos[1], &lab->artifacts[1][i]);
    }
    err = err ? err : judge(lab, out);
    (void)json_object_set_new(drill->report, "photo_a_or_b", out);
    for (int photo = 0; lab && photo < 2; photo++) {
        for (size_t i = 0; i < ALL; i++) {
            lethe_buf_release(&lab->artifacts[photo][i].pixels);
            lethe_latents_release(&lab->artifacts[photo][i].latents);
        }
        lethe_photo_free(photos[photo]);
    }
    lethe_raster_release(&raster);
    if (lab) {
        lethe_secret_free(lab->key);
    }
    free(lab);
    return err;
}
