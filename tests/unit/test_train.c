/* SPDX-License-Identifier: MIT */
/* Training lowers its loss, gives a pair that works, and the same bytes from the same seed on any number of
 * threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lethe/codec.h"
#include "lethe/model.h"
#include "lethe/seal.h"
#include "lethe/train.h"
#include "tests/tsan.h"

#define STEPS (TEST_TSAN ? 8 : 24)
#define REPORT (STEPS / 4)

struct losses {
    double loss[STEPS / REPORT];
    size_t count;
    size_t stop_after;
};

static bool note(void *context, const struct lethe_train_progress *progress)
{
    struct losses *losses = context;

    assert_true(progress->step <= progress->steps);
    assert_true(losses->count < STEPS / REPORT);
    losses->loss[losses->count++] = progress->loss;
    return losses->count != losses->stop_after;
}

static struct lethe_raster draw(unsigned channels, unsigned depth, uint32_t side)
{
    struct lethe_raster raster;

    assert_int_equal(lethe_raster_init(&raster, side, side, channels, depth), LETHE_OK);
    for (uint32_t y = 0; y < side; y++) {
        for (uint32_t x = 0; x < side; x++) {
            for (unsigned c = 0; c < channels; c++) {
                unsigned value = (x * (c + 1) + y * 2 + (x / 16 ^ y / 24) % 2 * 60) % 256;

                raster.planes[c][(size_t)y * side + x] = (uint16_t)(depth == 16 ? value * 257 : value);
            }
        }
    }
    return raster;
}

static enum lethe_err train(uint64_t seed, unsigned threads, size_t stop_after, struct losses *losses,
                            struct lethe_buf *out)
{
    struct lethe_train_options options = {.seed = seed,
                                          .steps = STEPS,
                                          .report = REPORT,
                                          .synthetic = true,
                                          .progress = note,
                                          .context = losses};
    struct lethe_trainer *trainer;
    struct lethe_pool *pool;
    enum lethe_err err;

    *losses = (struct losses){.stop_after = stop_after};
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_pool_new(threads, &pool), LETHE_OK);
    for (unsigned i = 0; i < 4; i++) {
        struct lethe_raster raster = draw(1 + i, i == 2 ? 16 : 8, 200);
        bool used;

        assert_int_equal(lethe_trainer_add(trainer, &raster, i % 2, &used), LETHE_OK);
        assert_true(used);
        lethe_raster_release(&raster);
    }
    err = lethe_trainer_run(trainer, pool, out);
    lethe_pool_free(pool);
    lethe_trainer_free(trainer);
    return err;
}

static void test_learns_and_repeats(void **unused)
{
    struct lethe_buf one = {0}, two = {0}, other = {0};
    struct losses losses;
    struct lethe_pair *pair;

    (void)unused;
    assert_int_equal(train(5, 1, 0, &losses, &one), LETHE_OK);
    assert_int_equal(losses.count, STEPS / REPORT);
    assert_true(TEST_TSAN || losses.loss[1] < losses.loss[0]); /* so few steps may not tell */
    assert_int_equal(train(5, 2, 0, &losses, &two), LETHE_OK);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    assert_int_equal(train(6, 2, 0, &losses, &other), LETHE_OK);
    assert_memory_not_equal(one.data, other.data, one.len);
    assert_int_equal(lethe_pair_parse(one.data, one.len, &pair), LETHE_OK);
    lethe_pair_free(pair);
    lethe_buf_release(&one);
    lethe_buf_release(&two);
    lethe_buf_release(&other);
}

/* Ended half way, saved and gone on with: the pair is the one that a whole training gives. */
static void test_resumes(void **unused)
{
    struct lethe_train_options options = {
        .seed = 5, .steps = STEPS / 2, .report = REPORT / 2, .synthetic = true, .progress = note};
    struct lethe_buf whole = {0}, state = {0}, out = {0};
    struct lethe_train_about about;
    struct lethe_trainer *trainer;
    struct losses losses;

    (void)unused;
    TEST_IN_ONE_THREAD();
    options.context = &losses;
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_save(trainer, &state), LETHE_ERR_ARG);
    losses = (struct losses){0};
    assert_int_equal(lethe_trainer_run(trainer, NULL, &whole), LETHE_OK);
    lethe_trainer_free(trainer);

    losses = (struct losses){.stop_after = 2};
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_run(trainer, NULL, &out), LETHE_ERR_CANCELLED);
    assert_int_equal(lethe_trainer_save(trainer, &state), LETHE_OK);
    lethe_trainer_free(trainer);
    assert_int_equal(lethe_train_about_read(state.data, state.len, &about), LETHE_OK);
    assert_int_equal(about.step, REPORT);
    assert_int_equal(about.seed, 5);

    losses = (struct losses){0};
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_resume(trainer, state.data, state.len), LETHE_OK);
    assert_int_equal(lethe_trainer_run(trainer, NULL, &out), LETHE_OK);
    assert_int_equal(out.len, whole.len);
    assert_memory_equal(out.data, whole.data, whole.len);
    lethe_trainer_free(trainer);

    /* Another seed, another picture, another byte. */
    options.seed = 6;
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_resume(trainer, state.data, state.len), LETHE_ERR_ARG);
    lethe_trainer_free(trainer);
    options.seed = 5;
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    {
        struct lethe_raster raster = draw(3, 8, 200);

        assert_int_equal(lethe_trainer_add(trainer, &raster, false, NULL), LETHE_OK);
        lethe_raster_release(&raster);
    }
    assert_int_equal(lethe_trainer_resume(trainer, state.data, state.len), LETHE_ERR_ARG);
    state.data[state.len / 2] ^= 1;
    assert_int_equal(lethe_trainer_resume(trainer, state.data, state.len), LETHE_ERR_INTEGRITY);
    for (size_t len = 0; len < 200; len++) {
        assert_int_not_equal(lethe_train_about_read(state.data, len, &about), LETHE_OK);
    }
    lethe_trainer_free(trainer);
    lethe_buf_release(&whole);
    lethe_buf_release(&state);
    lethe_buf_release(&out);
}

static double psnr_of(const struct lethe_pair *pair, const struct lethe_ycc *picture, unsigned strength)
{
    struct lethe_latents latents;
    struct lethe_ycc restored;
    double squares = 0;
    size_t size = (size_t)picture->width * picture->height;

    assert_int_equal(lethe_encrypter_run(pair, picture, strength, lethe_random_system(), NULL, &latents),
                     LETHE_OK);
    assert_int_equal(lethe_decrypter_run(pair, &latents, NULL, &restored), LETHE_OK);
    for (unsigned plane = 0; plane < 3; plane++) {
        for (size_t i = 0; i < size; i++) {
            double d = (double)picture->planes[plane][i] - restored.planes[plane][i];

            squares += d * d;
        }
    }
    lethe_latents_release(&latents);
    lethe_ycc_release(&restored);
    return 10 * log10(255.0 * 255.0 * 3 * (double)size / squares);
}

/* A pair taken into floating point and put out again, after one step too small to matter, is as good as it
 * was. */
static void test_goes_on_from_a_pair(void **unused)
{
    const struct lethe_pair *shipped = lethe_pair_shipped(0);
    struct lethe_train_options options = {.seed = 1, .steps = 1, .synthetic = true, .init = shipped};
    struct lethe_raster raster = draw(3, 8, 192);
    struct lethe_trainer *trainer;
    struct lethe_pair *pair;
    struct lethe_buf out = {0};
    struct lethe_ycc picture;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_run(trainer, NULL, &out), LETHE_OK);
    lethe_trainer_free(trainer);
    assert_int_equal(lethe_pair_parse(out.data, out.len, &pair), LETHE_OK);
    assert_int_equal(lethe_ycc_init(&picture, 192, 192), LETHE_OK);
    for (unsigned plane = 0; plane < 3; plane++) {
        for (size_t i = 0; i < (size_t)192 * 192; i++) {
            picture.planes[plane][i] = (uint8_t)raster.planes[plane][i];
        }
    }
    for (unsigned strength = 0; strength < LETHE_STRENGTHS; strength++) {
        double before = psnr_of(shipped, &picture, strength), after = psnr_of(pair, &picture, strength);

        print_message("strength %u: %.2f dB, then %.2f dB\n", strength, before, after);
        assert_true(fabs(after - before) < 0.5);
    }
    lethe_pair_free(pair);
    lethe_ycc_release(&picture);
    lethe_raster_release(&raster);
    lethe_buf_release(&out);
}

static void test_stops(void **unused)
{
    struct lethe_buf out = {0};
    struct losses losses;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(train(5, 1, 1, &losses, &out), LETHE_ERR_CANCELLED);
    assert_int_equal(losses.count, 1);
    assert_int_equal(out.len, 0);
}

static void test_small_and_nothing(void **unused)
{
    struct lethe_train_options options = {.seed = 1, .steps = 1};
    struct lethe_raster raster = draw(3, 8, 100);
    struct lethe_trainer *trainer;
    struct lethe_buf out = {0};
    bool used = true;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(lethe_trainer_new(&options, &trainer), LETHE_OK);
    assert_int_equal(lethe_trainer_add(trainer, &raster, true, &used), LETHE_OK);
    assert_false(used);
    assert_int_equal(lethe_trainer_run(trainer, NULL, &out), LETHE_ERR_ARG);
    assert_int_equal(lethe_trainer_add(trainer, &raster, false, &used), LETHE_OK);
    assert_true(used);
    assert_int_equal(lethe_trainer_run(trainer, NULL, &out), LETHE_OK);
    lethe_trainer_free(trainer);
    lethe_raster_release(&raster);
    lethe_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_and_repeats),  cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_goes_on_from_a_pair), cmocka_unit_test(test_stops),
        cmocka_unit_test(test_small_and_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
