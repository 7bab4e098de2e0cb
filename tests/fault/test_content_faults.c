/* SPDX-License-Identifier: MIT */
/*
 * The Nth operation on the block files fails, for every N until a pass meets no fault: nothing that was said
 * to be done is lost, what failed changed nothing, and trying again works once the fault is gone.
 */
#include "tests/unit/test_content_env.h"

#include <errno.h>

#include "lethe/log.h"

#define SIZE (70u * 16384u)

struct fault {
    uint64_t left; /* operations until the fault */
    int error_number;
    bool met;
    enum lethe_arena_op op;
};

static int inject(void *context, enum lethe_arena_op op)
{
    struct fault *fault = context;

    if (op == fault->op && fault->left > 0 && --fault->left == 0) {
        fault->met = true;
        return fault->error_number;
    }
    return 0;
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static uint8_t model[SIZE], fresh[SIZE], back[SIZE];

static void check(struct lethe_content *content)
{
    struct lethe_absent absent;
    size_t got;

    assert_int_equal(lethe_content_read(content, 0, back, sizeof back, &got, &absent), LETHE_OK);
    assert_int_equal(got, sizeof back);
    assert_memory_equal(back, model, sizeof back);
}

static enum lethe_err try_commit(struct env *env)
{
    enum lethe_err err = lethe_contents_flush(env->store);

    if (!err) {
        err = lethe_contents_prepare(env->store);
    }
    if (!err) {
        lethe_db_lock(env->db);
        err = lethe_db_commit(env->db);
        lethe_db_unlock(env->db);
    }
    if (!err) {
        lethe_contents_committed(env->store);
    }
    return err;
}

static void pass(struct fault *fault)
{
    struct lethe_content *content, *clone;
    struct lethe_absent absent;
    struct lethe_id id;
    struct env env;
    enum lethe_err err;

    env_make(&env, 64 << 20);
    for (size_t i = 0; i < SIZE; i++) {
        model[i] = (uint8_t)random_next();
        fresh[i] = (uint8_t)random_next();
    }
    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    id = *lethe_content_id(content);
    assert_int_equal(lethe_content_write(content, 0, model, SIZE, &absent), LETHE_OK);
    commit(&env);
    lethe_arena_set_fault(inject, fault);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t offset = below(SIZE - 1);
        size_t len = (size_t)below(SIZE - offset) + 1;

        err = lethe_content_write(content, offset, fresh, len, &absent);
        if (!err) {
            memcpy(model + offset, fresh, len);
        } else {
            assert_true(fault->met && err == lethe_err_from_errno(fault->error_number));
        }
        if (i % 4 == 3) {
            err = try_commit(&env);
            assert_true(!err || fault->met);
        }
    }
    err = lethe_content_clone(content, &clone);
    if (!err) {
        assert_int_equal(lethe_content_abandon(clone), LETHE_OK);
        lethe_content_put(clone);
    }
    lethe_arena_set_fault(NULL, NULL);
    check(content);
    assert_int_equal(try_commit(&env), LETHE_OK);
    lethe_content_put(content);
    env_down(&env);
    env_up(&env, false);
    assert_int_equal(lethe_content_get(env.store, &id, 0, &content), LETHE_OK);
    check(content);
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]), SIZE / BLOCK);
    lethe_content_put(content);
    env_end(&env);
}

static void every(enum lethe_arena_op op, int error_number)
{
    struct fault fault = {.error_number = error_number, .op = op};
    uint64_t n = 0;

    lethe_log_set_sink(quiet, NULL);
    do {
        /* Each of the first ones, then in growing strides. */
        n += 1 + n / 12;
        fault.left = n;
        fault.met = false;
        pass(&fault);
    } while (fault.met);
    lethe_log_set_sink(NULL, NULL);
    assert_true(n > 3);
}

static void test_write_fails(void **unused)
{
    (void)unused;
    every(LETHE_ARENA_WRITE, ENOSPC);
}

static void test_sync_fails(void **unused)
{
    (void)unused;
    every(LETHE_ARENA_SYNC, EIO);
}

static void test_read_fails(void **unused)
{
    (void)unused;
    every(LETHE_ARENA_READ, EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_sync_fails),
        cmocka_unit_test(test_read_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
