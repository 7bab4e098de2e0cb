/* SPDX-License-Identifier: MIT */
/*
 * What the shipped pair promises, on photographs that it was not trained on (../shared/photos/dev/photo;
 * skipped where they are missing): the artifact alone restores a good picture at strength 0, the network adds
 * to its own linear path, artifact, residual and recipe together are smaller than the PNG, as given and as
 * zlib writes it at levels 1, 6 and 9, and the file comes back.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/codec/colour.h"
#include "fs/file.h"
#include "lethe/codec.h"
#include "lethe/seal.h"
#include "lethe/weights.h"
#include "tests/long.h"

#define FOLDER "../shared/photos/dev/photo"
#define FILE_MAX (64u << 20)

struct names {
    char name[64][256];
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int list(void **state)
{
    static struct names names;
    struct dirent *entry;
    DIR *folder = opendir(FOLDER);

    *state = &names;
    assert_int_equal(lethe_seal_start(), LETHE_OK);
    if (!folder) {
        return 0;
    }
    while ((entry = readdir(folder)) && names.count < 64) {
        if (strstr(entry->d_name, ".png")) {
            snprintf(names.name[names.count++], 256, "%s", entry->d_name);
        }
    }
    closedir(folder);
    qsort(names.name, names.count, sizeof names.name[0], by_name);
    return 0;
}

static void read_photo(const struct names *names, size_t i, struct lethe_buf *file)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", FOLDER, names->name[i]);
    assert_int_equal(lethe_file_read(path, FILE_MAX, file), LETHE_OK);
}

/* PSNR over RGB of a picture in YCbCr, which becomes RGB, against the raster. */
static double psnr_of(struct lethe_ycc *picture, const struct lethe_raster *raster)
{
    size_t count = (size_t)raster->width * raster->height;
    double sum = 0;

    lethe_colour_from_ycc(picture->planes, count, NULL);
    for (int c = 0; c < 3; c++) {
        for (size_t i = 0; i < count; i++) {
            double difference = (double)picture->planes[c][i] - raster->planes[c][i];

            sum += difference * difference;
        }
    }
    return 10 * log10(255.0 * 255.0 * 3.0 * (double)count / sum);
}

struct figures {
    double psnr, linear; /* sums over the photos, dB */
    double bits, pixels;
    double set,
        differing; /* latents that are not zero, and those of them that a second artifact has otherwise */
};

static void add_photo(const struct names *names, size_t i, unsigned strength, struct figures *sum)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_buf file = {0}, artifact[2] = {{0}, {0}};
    struct lethe_photo *photo = NULL;
    struct lethe_raster raster = {0};
    struct lethe_latents latents[2] = {{0}, {0}};
    struct lethe_ycc whole = {0}, path = {0};
    enum lethe_reason reason;

    read_photo(names, i, &file);
    assert_int_equal(lethe_photo_parse(file.data, file.len, &lethe_image_limits_default, &photo, &reason),
                     LETHE_OK);
    assert_int_equal(lethe_png_read(file.data, file.len, &lethe_image_limits_default, &raster), LETHE_OK);
    for (int twice = 0; twice < 2; twice++) {
        struct lethe_buf *one = &artifact[twice];

        assert_int_equal(lethe_photo_encrypt(photo, pair, strength, lethe_random_system(), NULL, one),
                         LETHE_OK);
        assert_int_equal(
            lethe_artifact_latents(one->data, one->len, &lethe_image_limits_default, 0, &latents[twice]),
            LETHE_OK);
    }
    assert_int_equal(lethe_decrypter_run(pair, &latents[0], NULL, &whole), LETHE_OK);
    assert_int_equal(lethe_decrypter_run_linear(pair, &latents[0], NULL, &path), LETHE_OK);
    sum->psnr += psnr_of(&whole, &raster);
    sum->linear += psnr_of(&path, &raster);
    sum->bits += 8.0 * (double)artifact[0].len;
    sum->pixels += (double)raster.width * raster.height;
    for (size_t k = 0; k < (size_t)latents[0].blocks_w * latents[0].blocks_h * LETHE_LATENTS; k++) {
        sum->set += latents[0].values[k] != 0;
        sum->differing += latents[0].values[k] != 0 && latents[0].values[k] != latents[1].values[k];
    }
    lethe_ycc_release(&whole);
    lethe_ycc_release(&path);
    lethe_raster_release(&raster);
    lethe_photo_free(photo);
    lethe_buf_release(&file);
    for (int twice = 0; twice < 2; twice++) {
        lethe_latents_release(&latents[twice]);
        lethe_buf_release(&artifact[twice]);
    }
}

/* The figures of base-1.txt are what LETHE_LONG=1 prints. */
static void artifact_alone(void **state)
{
    const struct names *names = *state;
    unsigned strengths = test_is_long() ? LETHE_STRENGTHS : 1;

    if (names->count == 0) {
        skip();
    }
    for (unsigned strength = 0; strength < strengths; strength++) {
        struct figures sum = {0};
        double count = (double)names->count;

        for (size_t i = 0; i < names->count; i++) {
            add_photo(names, i, strength, &sum);
        }
        printf("%zu photos, strength %u: %.2f dB, linear path alone %.2f dB, %.3f bits per pixel, %.0f %% of "
               "the latents "
               "that are not zero differ between two writes\n",
               names->count, strength, sum.psnr / count, sum.linear / count, sum.bits / sum.pixels,
               100 * sum.differing / sum.set);
        assert_true(sum.psnr >= sum.linear + 0.3 * count);
        assert_true(sum.differing >= 0.1 * sum.set);
        if (strength == 0) {
            assert_true(sum.psnr >= 31 * count);
            assert_true(sum.bits / sum.pixels <= 1.1);
        }
    }
}

/* Through the learned path and back; what it costs. */
static uint64_t cost_of(const struct lethe_buf *file)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    struct lethe_buf artifact = {0}, residual = {0}, again = {0};
    struct lethe_photo *photo = NULL;
    enum lethe_reason reason;
    const uint8_t *recipe;
    size_t recipe_len;
    uint64_t cost;

    assert_int_equal(lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &photo, &reason),
                     LETHE_OK);
    recipe = lethe_photo_recipe(photo, &recipe_len);
    assert_int_equal(lethe_photo_encrypt(photo, pair, 2, lethe_random_system(), NULL, &artifact), LETHE_OK);
    assert_int_equal(lethe_photo_residual(photo, pair, artifact.data, artifact.len, LETHE_EFFORT_FAST, NULL,
                                          &residual, NULL),
                     LETHE_OK);
    assert_int_equal(lethe_photo_restore(pair, artifact.data, artifact.len, residual.data, residual.len,
                                         recipe, recipe_len, &lethe_image_limits_default, NULL, file->len,
                                         &again),
                     LETHE_OK);
    assert_int_equal(again.len, file->len);
    assert_memory_equal(again.data, file->data, file->len);
    cost = artifact.len + residual.len + recipe_len;
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    lethe_buf_release(&again);
    return cost;
}

static void whole_file(void **state)
{
    static const int levels[4] = {0, 1, 6, 9}; /* 0: as given */
    const struct names *names = *state;

    if (names->count == 0) {
        skip();
    }
    for (int k = 0; k < 4; k++) {
        uint64_t before = 0, after = 0;

        for (size_t i = (size_t)k; i < names->count; i += 5) { /* a fifth of them for each level */
            struct lethe_buf file = {0}, copy = {0};
            struct lethe_raster raster = {0};

            read_photo(names, i, &file);
            if (levels[k] > 0) {
                assert_int_equal(lethe_png_read(file.data, file.len, &lethe_image_limits_default, &raster),
                                 LETHE_OK);
                assert_int_equal(lethe_png_write(&raster, levels[k], &copy), LETHE_OK);
            }
            before += levels[k] ? copy.len : file.len;
            after += cost_of(levels[k] ? &copy : &file);
            lethe_raster_release(&raster);
            lethe_buf_release(&file);
            lethe_buf_release(&copy);
        }
        printf("zlib level %d: %.4f of the PNG\n", levels[k], (double)after / (double)before);
        assert_true(after < before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(artifact_alone), cmocka_unit_test(whole_file)};

    return cmocka_run_group_tests(tests, list, NULL);
}
