/* SPDX-License-Identifier: MIT */
/*
 * The golden photos and what becomes of them: tests/golden/photos/NAME gives tests/golden/vectors/NAME.*
 *   artifact    the artifact's payload, with the pair golden.pair at a strength that depends on the name
 *   view        the same with a view behind it (where there is something to view)
 *   fast strong the residuals
 *   recipe      the recipe
 *   lossy       the file that fidelity lossy makes (of some), and
 *   lossy-recipe  its recipe
 *   reason      instead of all of these: why there is no learned path
 * All but the artifact are functions of the photo and the artifact. lethe-golden writes them, test_golden compares, and
 * tests/refdec restores the photos from them without this program's code.
 */
#ifndef LETHE_TESTS_GOLDEN_H
#define LETHE_TESTS_GOLDEN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/file.h"
#include "lethe/codec.h"

#define GOLDEN_PARTS 7
enum golden_part { ARTIFACT, VIEW, FAST, STRONG, RECIPE, LOSSY, LOSSY_RECIPE };
static const char *const golden_suffix[GOLDEN_PARTS] = {"artifact", "view",  "fast",        "strong",
                                                         "recipe",   "lossy", "lossy-recipe"};

struct golden {
    struct lethe_buf part[GOLDEN_PARTS]; /* empty: there is none */
    enum lethe_reason reason;
};

static void golden_release(struct golden *golden)
{
    for (int i = 0; i < GOLDEN_PARTS; i++) {
        lethe_buf_release(&golden->part[i]);
    }
}

/* Whether the vectors of this photo hold a lossy file as well. */
static bool golden_is_lossy(const char *name)
{
    static const char *const names[] = {"rgb8.png", "rgb16.png", "baseline.jpg", "cmyk.jpg"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* All parts but the artifact, which is there already, of a photo that has a recipe. */
static enum lethe_err golden_derive(const char *name, const struct lethe_photo *photo, const struct lethe_pair *pair,
                                    const struct lethe_buf *file, struct golden *golden)
{
    struct lethe_buf *part = golden->part;
    const uint8_t *recipe;
    size_t len;
    enum lethe_err err = lethe_photo_residual(photo, pair, part[ARTIFACT].data, part[ARTIFACT].len,
                                              LETHE_EFFORT_FAST, NULL, &part[FAST], NULL);

    err = err ? err
              : lethe_photo_residual(photo, pair, part[ARTIFACT].data, part[ARTIFACT].len, LETHE_EFFORT_STRONG, NULL,
                                     &part[STRONG], NULL);
    recipe = lethe_photo_recipe(photo, &len);
    lethe_buf_put(&part[RECIPE], recipe, len);
    lethe_buf_put(&part[VIEW], part[ARTIFACT].data, part[ARTIFACT].len);
    err = err ? err : lethe_photo_view(photo, file->data, file->len, &part[VIEW]);
    if (part[VIEW].len == part[ARTIFACT].len) {
        lethe_buf_release(&part[VIEW]);
    }
    if (!err && golden_is_lossy(name)) {
        struct lethe_photo *made = NULL;
        enum lethe_reason reason;

        err = lethe_photo_degrade(photo, file->data, file->len, pair, part[ARTIFACT].data, part[ARTIFACT].len, NULL,
                                  &part[LOSSY]);
        err = err ? err
                  : lethe_photo_parse(part[LOSSY].data, part[LOSSY].len, &lethe_image_limits_default, &made, &reason);
        if (!err) {
            recipe = lethe_photo_recipe(made, &len);
            lethe_buf_put(&part[LOSSY_RECIPE], recipe, len);
        }
        lethe_photo_free(made);
    }
    return err;
}

/* Of the working directory, which is tests/golden. */
static enum lethe_err golden_read(const char *folder, const char *name, const char *suffix, struct lethe_buf *out)
{
    char path[512];

    snprintf(path, sizeof path, "%.20s/%.256s%s%.20s", folder, name, *suffix ? "." : "", suffix);
    return lethe_file_read(path, 16u << 20, out);
}

static enum lethe_err golden_pair(struct lethe_pair **pair)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = golden_read(".", "golden.pair", "", &bytes);

    err = err ? err : lethe_pair_parse(bytes.data, bytes.len, pair);
    lethe_buf_release(&bytes);
    return err;
}

static int golden_is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Names of the photos, sorted; the caller frees them and the list. -1 without the folder. */
static int golden_photos(struct dirent ***list)
{
    return scandir("photos", list, golden_is_visible, alphasort);
}

#endif
