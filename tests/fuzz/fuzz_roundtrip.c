/* SPDX-License-Identifier: MIT */
/*
 * A picture file drawn from the input, sealed as it would be: the three parts must give it back byte for byte at both
 * efforts, and what no fault was put in must be taken. Then the Decrypter's picture in its place: the same container,
 * size, orientation and profile, seen by libpng and libjpeg, and made again from two parts. ROUNDTRIP_DUMP=FILE in the
 * environment writes the file that was drawn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"
#include "lethe/codec.h"
#include "lethe/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct lethe_image_limits limits = {1u << 20, 1u << 26, 0};

struct trial {
    const struct lethe_pair *pair;
    struct draw draw;
    struct drawn drawn;
    struct lethe_photo *photo;
};

static void fill(void *context, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(draw_noise(context) >> 9);
    }
}

_Noreturn static void fault(const struct trial *t, const char *what, int err)
{
    fprintf(stderr, "%s (%d): %s, %zu bytes\n", what, err, t->drawn.text, t->drawn.file.len);
    abort();
}

static void check_equal(const struct trial *t, const char *what, enum lethe_err err, const struct lethe_buf *a,
                        const struct lethe_buf *b)
{
    if (err || a->len != b->len || (a->len > 0 && memcmp(a->data, b->data, a->len) != 0)) {
        fault(t, what, (int)err);
    }
}

static void exact(struct trial *t, unsigned strength)
{
    const struct lethe_random random = {fill, &t->draw};
    const struct lethe_buf *file = &t->drawn.file;
    struct lethe_buf artifact = {0}, residual = {0}, again = {0};
    size_t recipe_len;
    const uint8_t *recipe = lethe_photo_recipe(t->photo, &recipe_len);
    enum lethe_err err = lethe_photo_encrypt(t->photo, t->pair, strength, &random, NULL, &artifact);

    for (enum lethe_effort effort = LETHE_EFFORT_FAST; !err && effort <= LETHE_EFFORT_STRONG; effort++) {
        lethe_buf_reset(&residual);
        lethe_buf_reset(&again);
        err = lethe_photo_residual(t->photo, t->pair, artifact.data, artifact.len, effort, NULL, &residual, NULL);
        err = err ? err
                  : lethe_photo_restore(t->pair, artifact.data, artifact.len, residual.data, residual.len, recipe,
                                        recipe_len, &limits, NULL, file->len, &again);
        check_equal(t, effort == LETHE_EFFORT_FAST ? "fast" : "strong", err, &again, file);
    }
    if (err) {
        fault(t, "encrypt", (int)err);
    }
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    lethe_buf_release(&again);
}

/* What other programs see of it. */
static void look(const struct trial *t, const struct lethe_buf *file, bool png)
{
    struct lethe_raster seen;
    enum lethe_err err = (png ? lethe_png_read : lethe_jpeg_read)(file->data, file->len, &limits, &seen);
    const struct lethe_photo_info *info = lethe_photo_info(t->photo);

    if (err || seen.width != info->width || seen.height != info->height) {
        fault(t, "others do not see it", (int)err);
    }
    lethe_raster_release(&seen);
}

static void check_view(const struct trial *t, const struct lethe_buf *lossy, bool png)
{
    struct lethe_buf before = {0}, after = {0};
    enum lethe_err (*view)(const uint8_t *, size_t, struct lethe_buf *) = png ? lethe_png_view : lethe_jpeg_view;
    enum lethe_err err = view(t->drawn.file.data, t->drawn.file.len, &before);

    err = err ? err : view(lossy->data, lossy->len, &after);
    check_equal(t, "orientation or profile", err, &after, &before);
    lethe_buf_release(&before);
    lethe_buf_release(&after);
}

static void lossy(struct trial *t, unsigned strength)
{
    const struct lethe_random random = {fill, &t->draw};
    const struct lethe_buf *file = &t->drawn.file;
    bool png = lethe_photo_info(t->photo)->container == LETHE_CONTAINER_PNG;
    struct lethe_buf artifact = {0}, out = {0}, again = {0};
    struct lethe_photo *second = NULL;
    enum lethe_reason reason;
    const uint8_t *recipe;
    size_t recipe_len;
    enum lethe_err err = lethe_photo_encrypt(t->photo, t->pair, strength, &random, NULL, &artifact);

    if (err) {
        fault(t, "encrypt", (int)err);
    }
    err = lethe_photo_degrade(t->photo, file->data, file->len, t->pair, artifact.data, artifact.len, NULL, &out);
    if (err == LETHE_ERR_UNSUPPORTED && !t->drawn.lossy) {
        goto out;
    }
    if (err || lethe_photo_parse(out.data, out.len, &limits, &second, &reason)) {
        fault(t, "degrade", (int)err);
    }
    if (lethe_photo_info(second)->container != lethe_photo_info(t->photo)->container ||
        lethe_photo_info(second)->width != lethe_photo_info(t->photo)->width ||
        lethe_photo_info(second)->height != lethe_photo_info(t->photo)->height) {
        fault(t, "another shape", 0);
    }
    recipe = lethe_photo_recipe(second, &recipe_len);
    err = lethe_photo_restore(t->pair, artifact.data, artifact.len, NULL, 0, recipe, recipe_len, &limits, NULL, out.len,
                              &again);
    check_equal(t, "two parts", err, &again, &out);
    if (t->drawn.learned) {
        look(t, &out, png);
        check_view(t, &out, png);
    }
    lethe_buf_reset(&again);
    err = lethe_photo_view(t->photo, file->data, file->len, &artifact);
    err = err ? err : lethe_artifact_file(t->pair, artifact.data, artifact.len, &limits, NULL, &again);
    if (err) {
        fault(t, "the artifact alone", (int)err);
    }
    look(t, &again, png);
out:
    lethe_photo_free(second);
    lethe_buf_release(&artifact);
    lethe_buf_release(&out);
    lethe_buf_release(&again);
}

static void dump(const struct lethe_buf *file)
{
    const char *path = getenv("ROUNDTRIP_DUMP");
    FILE *out = path ? fopen(path, "wb") : NULL;

    if (out) {
        (void)!fwrite(file->data, 1, file->len, out);
        fclose(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trial t = {.pair = lethe_pair_shipped(0)};
    enum lethe_reason reason;
    enum lethe_err err;
    bool png;

    if (!t.pair) {
        abort();
    }
    draw_init(&t.draw, data, size);
    png = draw_below(&t.draw, 2);
    if (!(png ? draw_png : draw_jpeg)(&t.draw, &t.drawn)) {
        goto out;
    }
    dump(&t.drawn.file);
    err = lethe_photo_parse(t.drawn.file.data, t.drawn.file.len, &limits, &t.photo, &reason);
    if (err == LETHE_ERR_UNSUPPORTED && !t.drawn.learned) {
        goto out;
    }
    if (err) {
        fault(&t, lethe_reason_name(reason), (int)err);
    }
    if (draw_below(&t.draw, 2)) {
        exact(&t, draw_below(&t.draw, 4));
    } else {
        lossy(&t, draw_below(&t.draw, 4));
    }
out:
    lethe_photo_free(t.photo);
    lethe_buf_release(&t.drawn.file);
    lethe_buf_release(&t.drawn.icc);
    return 0;
}
