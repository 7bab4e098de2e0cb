/* SPDX-License-Identifier: MIT */
/* Training lowers its loss, gives a pair that works, and the same bytes from the same seed on any number of
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lethe/model.h"
#include "lethe/train.h"

#define STEPS 24
#define REPORT 6

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
    assert_true(losses.loss[1] < losses.loss[0]);
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

static void test_stops(void **unused)
{
    struct lethe_buf out = {0};
    struct losses losses;

    (void)unused;
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
        cmocka_unit_test(test_learns_and_repeats),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_small_and_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
