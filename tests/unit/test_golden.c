/* SPDX-License-Identifier: MIT */
/*
 * The golden vectors (tests/tools/golden.h) and today's code: what was stored is restored to the very bytes, and what
 * is stored today is what was stored then. A vector that changes is a change of the format, or of what an encoder
 * chooses; lethe-golden makes it anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/tools/golden.h"

static struct lethe_pair *pair;
static struct lethe_pool *pool;

static void same(const char *name, const char *what, const struct lethe_buf *a, const struct lethe_buf *b)
{
    if (a->len != b->len || (a->len && memcmp(a->data, b->data, a->len) != 0)) {
        fail_msg("%s: another %s than the golden one", name, what);
    }
}

static void restored(const char *name, const struct lethe_buf *artifact, const struct lethe_buf *residual,
                     const struct lethe_buf *recipe, const struct lethe_buf *file)
{
    struct lethe_buf out = {0};

    assert_int_equal(lethe_photo_restore(pair, artifact->data, artifact->len, residual->data, residual->len,
                                         recipe->data, recipe->len, &lethe_image_limits_default, pool, file->len, &out),
                     LETHE_OK);
    same(name, "file", &out, file);
    lethe_buf_release(&out);
}

/* The latents of the artifact are coded as they were. */
static void latents(const char *name, const struct lethe_buf *artifact)
{
    for (unsigned group = 0; group < 2; group++) {
        struct lethe_latents values;
        struct lethe_buf coded = {0};
        enum lethe_err err =
            lethe_artifact_latents(artifact->data, artifact->len, &lethe_image_limits_default, group, &values);

        if (group == 1 && err == LETHE_ERR_NOT_FOUND) {
            return;
        }
        assert_int_equal(err, LETHE_OK);
        assert_int_equal(lethe_latents_encode(&values, &coded), LETHE_OK);
        if (!memmem(artifact->data, artifact->len, coded.data, coded.len)) {
            fail_msg("%s: its latents are coded otherwise", name);
        }
        lethe_buf_release(&coded);
        lethe_latents_release(&values);
    }
}

static void photo(const char *name)
{
    struct golden golden = {.reason = LETHE_REASON_NONE}, then = {.reason = LETHE_REASON_NONE};
    struct lethe_photo *photo = NULL;
    struct lethe_buf file = {0}, reason = {0}, none = {0};
    enum lethe_err err;

    assert_int_equal(golden_read("photos", name, "", &file), LETHE_OK);
    err = lethe_photo_parse(file.data, file.len, &lethe_image_limits_default, &photo, &then.reason);
    if (golden_read("vectors", name, "reason", &reason) == LETHE_OK) {
        assert_int_equal(err, LETHE_ERR_UNSUPPORTED);
        lethe_buf_put_u8(&reason, 0);
        assert_string_equal(lethe_reason_name(then.reason), (const char *)reason.data);
        goto out;
    }
    assert_int_equal(err, LETHE_OK);
    for (int i = 0; i < GOLDEN_PARTS; i++) {
        err = golden_read("vectors", name, golden_suffix[i], &golden.part[i]);
        assert_true(err == LETHE_OK || (err == LETHE_ERR_NOT_FOUND && (i == VIEW || i >= LOSSY)));
    }
    for (enum golden_part effort = FAST; effort <= STRONG; effort++) {
        restored(name, &golden.part[ARTIFACT], &golden.part[effort], &golden.part[RECIPE], &file);
    }
    if (golden.part[VIEW].len) {
        restored(name, &golden.part[VIEW], &golden.part[STRONG], &golden.part[RECIPE], &file);
    }
    if (golden.part[LOSSY].len) {
        restored(name, &golden.part[ARTIFACT], &none, &golden.part[LOSSY_RECIPE], &golden.part[LOSSY]);
    }
    lethe_buf_put(&then.part[ARTIFACT], golden.part[ARTIFACT].data, golden.part[ARTIFACT].len);
    assert_int_equal(golden_derive(name, photo, pair, &file, &then), LETHE_OK);
    for (int i = 0; i < GOLDEN_PARTS; i++) {
        same(name, golden_suffix[i], &then.part[i], &golden.part[i]);
    }
    latents(name, &golden.part[ARTIFACT]);
out:
    lethe_photo_free(photo);
    lethe_buf_release(&file);
    lethe_buf_release(&reason);
    golden_release(&golden);
    golden_release(&then);
}

static void photos(void **unused)
{
    struct dirent **list;
    int count = golden_photos(&list);

    (void)unused;
    assert_true(count > 30);
    for (int i = 0; i < count; i++) {
        photo(list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

static int start(void **unused)
{
    (void)unused;
    return chdir("tests/golden") != 0 || golden_pair(&pair) != LETHE_OK || lethe_pool_new(2, &pool) != LETHE_OK;
}

static int stop(void **unused)
{
    (void)unused;
    lethe_pair_free(pair);
    lethe_pool_free(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(photos)};

    return cmocka_run_group_tests(tests, start, stop);
}
