/* SPDX-License-Identifier: MIT */
/* Fetching ahead: everything arrives in order and whole, however the fetches end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/vault/ahead.h"

#define COUNT 1000

struct source {
    size_t fails; /* the one that cannot be fetched */
    atomic_size_t fetched;
};

static enum lethe_err fetch(void *context, size_t index, struct lethe_buf *out)
{
    struct source *source = context;

    atomic_fetch_add(&source->fetched, 1);
    lethe_buf_put_u64(out, index);
    return index == source->fails ? LETHE_ERR_UNREACHABLE : LETHE_OK;
}

static void all_come_in_order(void **state)
{
    struct source source = {.fails = 700};
    struct lethe_buf bytes = {0};
    struct lethe_ahead *ahead;

    (void)state;
    assert_int_equal(lethe_ahead_new(fetch, &source, NULL, COUNT, &ahead), LETHE_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(lethe_ahead_take(ahead, i, &bytes), i == 700 ? LETHE_ERR_UNREACHABLE : LETHE_OK);
        if (i != 700) {
            assert_int_equal(bytes.len, 8);
            assert_int_equal(lethe_get_u64(bytes.data), i);
        }
    }
    lethe_ahead_free(ahead);
    lethe_buf_release(&bytes);
    assert_int_equal(source.fetched, COUNT);
}

static void some_are_passed_by(void **state)
{
    struct source source = {.fails = COUNT};
    struct lethe_buf bytes = {0};
    struct lethe_ahead *ahead;

    (void)state;
    assert_int_equal(lethe_ahead_new(fetch, &source, NULL, COUNT, &ahead), LETHE_OK);
    for (size_t i = 0; i < COUNT; i += 1 + i % 97) {
        assert_int_equal(lethe_ahead_take(ahead, i, &bytes), LETHE_OK);
        assert_int_equal(lethe_get_u64(bytes.data), i);
    }
    lethe_ahead_free(ahead);
    lethe_buf_release(&bytes);
}

/* What is dear waits until what came before it has been taken. */
static void costs_bound_what_waits(void **state)
{
    struct source source = {.fails = COUNT};
    struct lethe_buf bytes = {0};
    struct lethe_ahead *ahead;
    uint64_t costs[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        costs[i] = 1u << 30;
    }
    assert_int_equal(lethe_ahead_new(fetch, &source, costs, COUNT, &ahead), LETHE_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(source.fetched <= i + 1);
        assert_int_equal(lethe_ahead_take(ahead, i, &bytes), LETHE_OK);
        assert_int_equal(lethe_get_u64(bytes.data), i);
    }
    lethe_ahead_free(ahead);
    lethe_buf_release(&bytes);
}

static void it_may_end_early(void **state)
{
    struct source source = {.fails = COUNT};
    struct lethe_buf bytes = {0};
    struct lethe_ahead *ahead;

    (void)state;
    for (size_t count = 0; count < 40; count++) {
        assert_int_equal(lethe_ahead_new(fetch, &source, NULL, count, &ahead), LETHE_OK);
        if (count > 0) {
            assert_int_equal(lethe_ahead_take(ahead, count / 2, &bytes), LETHE_OK);
            assert_int_equal(lethe_get_u64(bytes.data), count / 2);
        }
        lethe_ahead_free(ahead);
    }
    lethe_buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_in_order),
        cmocka_unit_test(some_are_passed_by),
        cmocka_unit_test(costs_bound_what_waits),
        cmocka_unit_test(it_may_end_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
