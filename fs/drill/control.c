/* SPDX-License-Identifier: MIT */
/*
 * Positive controls: schemes that are known to be broken, and the drill's own attacks on them. An attack that fails
 * here says nothing when it fails on the vault; so a control that survives makes the whole drill fail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/drawn.h"
#include "fs/drill/diffusion.h"
#include "fs/drill/drill.h"
#include "fs/drill/noise.h"
#include "fs/drill/picture.h"
#include "lethe/codec.h"

#define PICTURES 48
#define SIDE 64
#define SAMPLES ((size_t)SIDE * SIDE * 3)

struct control {
    struct drill *drill;
    struct lethe_raster sprites[PICTURES];
    uint8_t (*rgb)[SIDE * SIDE * 3]; /* PICTURES photos, samples interleaved */
    json_t *out;
};

static void tell(struct control *control, const char *name, const char *attack, bool broken, json_t *figures)
{
    char detail[160];

    if (!broken) {
        snprintf(detail, sizeof detail, "%s survived: %s", name, attack);
        drill_weakness(control->drill, "control survived", detail);
    }
    (void)json_array_append_new(control->out, json_pack("{s:s, s:s, s:b, s:o}", "control", name, "attack", attack, "broken",
                                                        broken, "figures", figures));
}

/* The noise attack on PICTURES strings; xored: on pairs of neighbours. */
static enum lethe_err noise_attack(struct control *control, uint8_t (*bytes)[SIDE * SIDE * 3], bool xored, bool *told,
                                   json_t **figures)
{
    struct drill_noise noise = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t i = xored ? 1 : 0; i < PICTURES && !err; i++) {
        uint8_t mixed[SIDE * SIDE * 3];

        for (size_t j = 0; j < SAMPLES; j++) {
            mixed[j] = bytes[i][j] ^ (xored ? bytes[i - 1][j] : 0);
        }
        err = drill_noise_add(&noise, mixed, SAMPLES, SIDE, &control->drill->random);
    }
    *figures = drill_noise_json(&noise, told);
    drill_noise_release(&noise);
    return err;
}

/* Pictures as they are: the statistics must see them. */
static enum lethe_err in_clear(struct control *control)
{
    json_t *figures;
    bool told;
    enum lethe_err err = noise_attack(control, control->rgb, false, &told, &figures);

    tell(control, "photo in the clear", "statistics of single objects", told, figures);
    return err;
}

/* One noise field for all: single objects are perfect noise, two together are not, and one known photo opens all. */
static enum lethe_err fixed_field(struct control *control)
{
    uint8_t (*hidden)[SIDE * SIDE * 3] = calloc(PICTURES, sizeof *hidden);
    uint8_t *field = malloc(SAMPLES);
    json_t *figures;
    size_t exact = 0;
    bool told;
    enum lethe_err err = hidden && field ? LETHE_OK : LETHE_ERR_NOMEM;

    if (!err) {
        drill_fill(&control->drill->random, field, SAMPLES);
        for (size_t i = 0; i < PICTURES; i++) {
            for (size_t j = 0; j < SAMPLES; j++) {
                hidden[i][j] = control->rgb[i][j] ^ field[j];
            }
        }
        err = noise_attack(control, hidden, true, &told, &figures);
        tell(control, "xor with a fixed noise field", "two objects xored", told, figures);
        for (size_t i = 1; i < PICTURES; i++) { /* the first is the known one */
            size_t right = 0;

            for (size_t j = 0; j < SAMPLES; j++) {
                right += (uint8_t)(hidden[i][j] ^ hidden[0][j] ^ control->rgb[0][j]) == control->rgb[i][j];
            }
            exact += right == SAMPLES;
        }
        tell(control, "xor with a fixed noise field", "one known photo", exact == PICTURES - 1,
             json_pack("{s:I, s:I}", "restored_exactly", (json_int_t)exact, "of", (json_int_t)PICTURES - 1));
    }
    free(hidden);
    free(field);
    return err;
}

/*
 * The published prototype at T: RGB through the forward process with one fixed noise field, alpha copied. The colours
 * are gone, but the shape is not, and every object carries the same field.
 */
static enum lethe_err prototype(struct control *control)
{
    size_t count = (size_t)SIDE * SIDE, right = 0, equal = 0;
    uint8_t *rgb = malloc(count), *field = malloc(count), *first = malloc(count);
    struct drill_interval rank;
    enum lethe_err err = rgb && field && first ? LETHE_OK : LETHE_ERR_NOMEM;

    for (size_t i = 0; i < PICTURES && !err; i++) {
        const struct lethe_raster *sprite = &control->sprites[i];
        struct drill_random fixed = {.state = 1};
        size_t best = 0, least = SIZE_MAX;

        for (size_t j = 0; j < count; j++) {
            rgb[j] = (uint8_t)sprite->planes[0][j];
        }
        drill_diffuse(rgb, count, DRILL_DIFFUSION_STEPS, &fixed, field);
        if (i == 0) {
            memcpy(first, field, count);
        }
        equal += memcmp(first, field, count) == 0;
        for (size_t k = 0; k < PICTURES; k++) { /* whose outline is it? */
            size_t off = 0;

            for (size_t j = 0; j < count; j++) {
                off += (size_t)abs(sprite->planes[3][j] - control->sprites[k].planes[3][j]);
            }
            if (off < least) {
                least = off;
                best = k;
            }
        }
        right += best == i;
    }
    rank = drill_wilson(right, PICTURES, DRILL_Z95);
    tell(control, "the published prototype: fixed seed, alpha kept", "identification by the outline",
         rank.low > 2.0 / PICTURES,
         json_pack("{s:o, s:f}", "rank1", drill_interval_json(&rank), "chance", 1.0 / PICTURES));
    tell(control, "the published prototype: fixed seed, alpha kept", "colours of two objects compared", equal > 1,
         json_pack("{s:I, s:I}", "with_equal_colours", (json_int_t)equal, "of", (json_int_t)PICTURES));
    free(rgb);
    free(field);
    free(first);
    return err;
}

/* The pixels of an artifact whose sealing was left out: statistics see it, and the public pair shows the picture. */
static enum lethe_err without_seal(struct control *control)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct drill_noise noise = {0};
    struct lethe_buf payload = {0};
    double psnr = 0, grey = 0;
    bool told;
    json_t *figures;
    enum lethe_err err = pair ? LETHE_OK : LETHE_ERR_NOT_FOUND;

    for (size_t i = 0; i < PICTURES && !err; i++) {
        struct lethe_raster photo = {0}, seen = {0}, mean = {0};
        size_t len;

        err = lethe_raster_init(&photo, SIDE, SIDE, 3, 8);
        err = err ? err : lethe_raster_init(&mean, SIDE, SIDE, 3, 8);
        for (size_t j = 0; j < SAMPLES && !err; j++) {
            photo.planes[j % 3][j / 3] = control->rgb[i][j];
            mean.planes[j % 3][j / 3] = 128;
        }
        lethe_buf_reset(&payload);
        err = err ? err : drill_picture_encrypt(&photo, pair, 0, &control->drill->random, &payload);
        len = payload.len;
        err = err ? err : lethe_artifact_picture(pair, payload.data, len, &lethe_image_limits_default, NULL, &seen);
        if (!err) {
            psnr += drill_picture_psnr(&photo, &seen) / PICTURES;
            grey += drill_picture_psnr(&photo, &mean) / PICTURES;
            err = lethe_buf_resize(&payload, (size_t)lethe_noise_png_capacity(lethe_padme(len)));
        }
        err = err ? err : drill_noise_add(&noise, payload.data, payload.len, 0, &control->drill->random);
        lethe_raster_release(&photo);
        lethe_raster_release(&seen);
        lethe_raster_release(&mean);
    }
    figures = drill_noise_json(&noise, &told);
    tell(control, "artifact without its seal", "statistics of single objects", told, figures);
    tell(control, "artifact without its seal", "the public pair's Decrypter", psnr > grey + 3,
         json_pack("{s:f, s:f}", "psnr", psnr, "psnr_of_grey", grey));
    drill_noise_release(&noise);
    lethe_buf_release(&payload);
    return err;
}

enum lethe_err drill_controls(struct drill *drill)
{
    struct control control = {.drill = drill, .out = json_array()};
    struct lethe_raster photo = {0};
    enum lethe_err err = LETHE_OK;

    control.rgb = calloc(PICTURES, sizeof *control.rgb);
    err = control.rgb ? lethe_raster_init(&photo, SIDE, SIDE, 3, 8) : LETHE_ERR_NOMEM;
    for (size_t i = 0; i < PICTURES && !err; i++) {
        drill_progress(drill, "controls", i, PICTURES);
        lethe_drawn_landscape(&photo, drill->options->seed * 1000 + i);
        for (size_t j = 0; j < SAMPLES; j++) {
            control.rgb[i][j] = (uint8_t)photo.planes[j % 3][j / 3];
        }
        err = lethe_raster_init(&control.sprites[i], SIDE, SIDE, 4, 8);
        if (!err) {
            lethe_drawn_sprite(&control.sprites[i], drill->options->seed * 1000 + i);
        }
    }
    err = err ? err : in_clear(&control);
    err = err ? err : fixed_field(&control);
    err = err ? err : prototype(&control);
    err = err ? err : without_seal(&control);
    (void)json_object_set_new(drill->report, "controls", control.out);
    for (size_t i = 0; i < PICTURES; i++) {
        lethe_raster_release(&control.sprites[i]);
    }
    lethe_raster_release(&photo);
    free(control.rgb);
    return err;
}
