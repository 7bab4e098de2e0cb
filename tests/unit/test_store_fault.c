/* SPDX-License-Identifier: MIT */
/* The decorators: faults come when the plan says, and retries meet them without losing or repeating anything.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/retry.h"
#include "backends/throttle.h"
#include "lethe/store.h"

struct fixture {
    char path[64];
    struct lethe_store *fault;
    uint64_t now;
    uint64_t waits;
    uint64_t longest;
    uint64_t random;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const struct lethe_fault_plan calm = {0};
    struct lethe_store *dir;

    assert_non_null(fixture);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/lethe-fault-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    assert_int_equal(lethe_store_dir_open(fixture->path, true, &dir), LETHE_OK);
    assert_int_equal(lethe_store_fault_new(dir, &calm, &fixture->fault), LETHE_OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    pid_t child;

    lethe_store_close(fixture->fault);
    child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", fixture->path, (char *)NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
    free(fixture);
    return 0;
}

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static enum lethe_err ignore_key(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)key;
    (void)stat;
    if (context) {
        (*(unsigned *)context)++;
    }
    return LETHE_OK;
}

/* One call of each kind; the number of the first that failed (1 to 6), or 0. */
static unsigned all_calls(struct lethe_store *store, unsigned run, enum lethe_err *err)
{
    struct lethe_store_version version = {{0}};
    struct lethe_store_stat stat;
    struct lethe_buf buf = {0};
    char key[32];
    unsigned at = 0;

    snprintf(key, sizeof key, "o/%u", run);
    do {
        at++;
        *err = lethe_store_put(store, key, bytes_of("x"), 1);
        if (*err) {
            break;
        }
        at++;
        *err = lethe_store_get(store, key, 0, 1, &buf, NULL);
        if (*err) {
            break;
        }
        at++;
        *err = lethe_store_stat(store, key, &stat);
        if (*err) {
            break;
        }
        at++;
        *err = lethe_store_list(store, key, ignore_key, NULL);
        if (*err) {
            break;
        }
        at++;
        snprintf(key, sizeof key, "h%u", run);
        *err = lethe_store_replace(store, key, bytes_of("y"), 1, &version, &version);
        if (*err) {
            break;
        }
        at++;
        *err = lethe_store_remove(store, key);
        if (*err) {
            break;
        }
        at = 0;
    } while (false);
    lethe_buf_release(&buf);
    return at;
}

static void every_call_fails_in_turn(void **state)
{
    struct fixture *fixture = *state;
    enum lethe_err err;
    unsigned nth = 1, run = 0, at;

    for (;; nth++) {
        const struct lethe_fault_plan plan = {.fail_nth = nth, .error = LETHE_ERR_NOSPACE};
        uint64_t before = lethe_store_fault_calls(fixture->fault);

        lethe_store_fault_set(fixture->fault, &plan);
        at = all_calls(fixture->fault, run++, &err);
        if (at == 0) {
            assert_int_equal(lethe_store_fault_calls(fixture->fault) - before, 6);
            break;
        }
        assert_int_equal(at, nth);
        assert_int_equal(err, LETHE_ERR_NOSPACE);
        assert_int_equal(lethe_store_fault_calls(fixture->fault) - before, nth);
        /* Only that one: the next run is clean. */
        assert_int_equal(all_calls(fixture->fault, run++, &err), 0);
    }
    assert_int_equal(nth, 7);
}

static void plans(void **state)
{
    struct fixture *fixture = *state;
    const struct lethe_fault_plan from_then_on = {.fail_nth = 3, .fail_from_then_on = true};
    const struct lethe_fault_plan half = {.seed = 5, .permille = 500};
    const struct lethe_fault_plan lost = {.lost_answer_permille = 1000};
    struct lethe_store_version version = {{0}};
    struct lethe_store_stat stat;
    enum lethe_err err;
    unsigned failed[2] = {0};

    lethe_store_fault_set(fixture->fault, &from_then_on);
    assert_int_equal(all_calls(fixture->fault, 1, &err), 3);
    assert_int_equal(err, LETHE_ERR_UNREACHABLE);
    assert_int_equal(lethe_store_stat(fixture->fault, "o/1", &stat), LETHE_ERR_UNREACHABLE);
    for (int i = 0; i < 2; i++) {
        lethe_store_fault_set(fixture->fault, &half);
        for (int j = 0; j < 1000; j++) {
            failed[i] += lethe_store_stat(fixture->fault, "o/1", &stat) == LETHE_ERR_UNREACHABLE;
        }
    }
    assert_int_equal(failed[0], failed[1]); /* the same plan, the same faults */
    assert_in_range(failed[0], 400, 600);
    /* A lost answer: it happened, and nobody was told. */
    lethe_store_fault_set(fixture->fault, &lost);
    assert_int_equal(lethe_store_put(fixture->fault, "o/2", bytes_of("x"), 1), LETHE_ERR_UNREACHABLE);
    assert_int_equal(lethe_store_put(fixture->fault, "o/2", bytes_of("x"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_replace(fixture->fault, "head", bytes_of("x"), 1, &version, &version),
                     LETHE_ERR_UNREACHABLE);
    assert_string_equal(version.text, "");
    assert_int_equal(lethe_store_replace(fixture->fault, "head", bytes_of("x"), 1, &version, &version),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_stat(fixture->fault, "head", &stat), LETHE_OK);
}

static uint64_t clock_now(void *context)
{
    return ((struct fixture *)context)->now;
}

static void clock_wait(void *context, uint64_t ms)
{
    struct fixture *fixture = context;

    fixture->now += ms;
    fixture->waits++;
    fixture->longest = ms > fixture->longest ? ms : fixture->longest;
}

static uint64_t clock_random(void *context)
{
    return ((struct fixture *)context)->random;
}

static struct lethe_store *make_retry(struct fixture *fixture, unsigned deadline_ms)
{
    const struct lethe_retry_clock clock = {.now_ms = clock_now, .wait_ms = clock_wait, .random = clock_random, .context = fixture};
    struct lethe_store *retry;

    assert_int_equal(lethe_store_retry_new_with(fixture->fault, deadline_ms, &clock, &retry), LETHE_OK);
    return retry;
}

/* libcurl sends a request again by itself when a kept connection dies: the answer is of the second. */
static void a_request_that_the_line_repeats_is_ours(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *retry = make_retry(fixture, 1000);
    struct lethe_store_version version = {{0}}, newer = {{0}}, read;
    struct lethe_buf buf = {0};

    assert_int_equal(lethe_store_put(fixture->fault, "o/3", bytes_of("x"), 1), LETHE_OK);
    assert_int_equal(lethe_store_put(retry, "o/3", bytes_of("x"), 1), LETHE_OK);
    assert_int_equal(lethe_store_put(retry, "o/3", bytes_of("y"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_put(retry, "o/3", bytes_of("xx"), 2), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_replace(fixture->fault, "head", bytes_of("1"), 1, &version, &newer), LETHE_OK);
    assert_int_equal(lethe_store_replace(retry, "head", bytes_of("1"), 1, &version, &version), LETHE_OK);
    assert_string_equal(version.text, newer.text);
    assert_int_equal(lethe_store_get(retry, "head", 0, UINT64_MAX, &buf, &read), LETHE_OK);
    assert_string_equal(version.text, read.text);
    memset(&version, 0, sizeof version);
    assert_int_equal(lethe_store_replace(retry, "head", bytes_of("2"), 1, &version, &version), LETHE_ERR_CONFLICT);
    lethe_buf_release(&buf);
    fixture->fault = retry; /* teardown closes both */
}

/* The first word with a store: one fault does not end it, and an absence is told as one. */
static void a_patient_get_meets_a_fault(void **state)
{
    struct fixture *fixture = *state;
    const struct lethe_fault_plan calm = {0}, once = {.fail_nth = 1},
                                  denied = {.fail_nth = 1, .error = LETHE_ERR_DENIED},
                                  away = {.fail_nth = 1, .fail_from_then_on = true};
    struct lethe_buf buf = {0};

    lethe_store_fault_set(fixture->fault, &calm);
    assert_int_equal(lethe_store_put(fixture->fault, "o/1", bytes_of("word"), 4), LETHE_OK);
    lethe_store_fault_set(fixture->fault, &once);
    assert_int_equal(lethe_store_get_patiently(fixture->fault, "o/1", 100, 10000, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "word", 4);
    lethe_store_fault_set(fixture->fault, &denied);
    assert_int_equal(lethe_store_get_patiently(fixture->fault, "o/1", 100, 10000, &buf, NULL), LETHE_ERR_DENIED);
    lethe_store_fault_set(fixture->fault, &away);
    assert_int_equal(lethe_store_get_patiently(fixture->fault, "o/1", 100, 10, &buf, NULL), LETHE_ERR_UNREACHABLE);
    assert_int_equal(buf.len, 4);
    lethe_buf_release(&buf);
}

struct waiter {
    struct lethe_store *retry;
    atomic_bool failed; /* its first attempt */
    enum lethe_err err;
};

static uint64_t waiter_now(void *context)
{
    (void)context;
    return 1000000; /* nobody was answered for long */
}

#define AN_HOUR_MS 3600000

static uint64_t waiter_random(void *context)
{
    atomic_store(&((struct waiter *)context)->failed, true);
    return AN_HOUR_MS;
}

static void *waiter_main(void *argument)
{
    struct waiter *waiter = argument;

    waiter->err = lethe_store_put(waiter->retry, "o/1", bytes_of("x"), 1);
    return NULL;
}

/* Who waits for an hour to try again tries again when somebody else is answered: or this test takes an hour. */
static void a_return_ends_the_waits(void **state)
{
    struct fixture *fixture = *state;
    struct waiter waiter = {.failed = false};
    const struct lethe_retry_clock clock = {
        .now_ms = waiter_now, .random = waiter_random, .context = &waiter, .first_wait_ms = AN_HOUR_MS};
    const struct lethe_fault_plan calm = {0}, away = {.fail_nth = 1, .fail_from_then_on = true};
    struct lethe_store_stat stat;
    pthread_t thread;

    assert_int_equal(lethe_store_retry_new_with(fixture->fault, 10 * AN_HOUR_MS, &clock, &waiter.retry), LETHE_OK);
    lethe_store_fault_set(fixture->fault, &away);
    assert_int_equal(pthread_create(&thread, NULL, waiter_main, &waiter), 0);
    while (!atomic_load(&waiter.failed)) {
        sched_yield();
    }
    lethe_store_fault_set(fixture->fault, &calm);
    assert_int_equal(lethe_store_stat(waiter.retry, "o/2", &stat), LETHE_ERR_NOT_FOUND);
    pthread_join(thread, NULL);
    assert_int_equal(waiter.err, LETHE_OK);
    fixture->fault = waiter.retry; /* teardown closes both */
}

static void retries_meet_single_faults(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *retry = make_retry(fixture, 1000);
    struct lethe_store_version version = {{0}}, read;
    struct lethe_buf buf = {0};
    enum lethe_err err;
    unsigned keys = 0;

    for (unsigned nth = 1; nth <= 6; nth++) {
        const struct lethe_fault_plan plan = {.fail_nth = nth};
        uint64_t waits = fixture->waits;

        lethe_store_fault_set(fixture->fault, &plan);
        assert_int_equal(all_calls(retry, nth, &err), 0);
        assert_int_equal(fixture->waits, waits + 1);
    }
    /* Other errors are not for repeating. */
    {
        const struct lethe_fault_plan plan = {.fail_nth = 1, .error = LETHE_ERR_DENIED};

        lethe_store_fault_set(fixture->fault, &plan);
        assert_int_equal(lethe_store_put(retry, "o/9", bytes_of("x"), 1), LETHE_ERR_DENIED);
    }
    /* Our own writing, seen again after a lost answer; and that of another. */
    for (unsigned seed = 0; seed < 20; seed++) {
        const struct lethe_fault_plan plan = {.seed = seed, .lost_answer_permille = 500, .permille = 200};
        char key[32];

        lethe_store_fault_set(fixture->fault, &plan);
        snprintf(key, sizeof key, "p/%u", seed);
        assert_int_equal(lethe_store_put(retry, key, bytes_of(key), strlen(key)), LETHE_OK);
        assert_int_equal(lethe_store_put(retry, key, bytes_of("other"), 5), LETHE_ERR_EXISTS);
        assert_int_equal(lethe_store_replace(retry, "count", bytes_of(key), strlen(key), &version, &version),
                         LETHE_OK);
        lethe_buf_reset(&buf);
        assert_int_equal(lethe_store_get(retry, "count", 0, UINT64_MAX, &buf, &read), LETHE_OK);
        assert_int_equal(buf.len, strlen(key));
        assert_memory_equal(buf.data, key, buf.len);
        assert_string_equal(read.text, version.text);
        assert_int_equal(lethe_store_list(retry, "p/", ignore_key, &keys), LETHE_OK);
        assert_int_equal(keys, (seed + 1) * (seed + 2) / 2);
    }
    lethe_buf_release(&buf);
    fixture->fault = retry; /* teardown closes both */
}

static void retries_end_at_the_deadline(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *retry = make_retry(fixture, 60000);
    const struct lethe_fault_plan never = {.fail_nth = 1, .fail_from_then_on = true};
    struct lethe_store_stat stat;
    uint64_t start = fixture->now;

    lethe_store_fault_set(fixture->fault, &never);
    fixture->random = 8000; /* the longest wait whenever the bound is the cap */
    assert_int_equal(lethe_store_stat(retry, "o/1", &stat), LETHE_ERR_UNREACHABLE);
    assert_true(fixture->now - start >= 60000 && fixture->now - start <= 60000 + fixture->longest);
    assert_true(fixture->longest <= 8000);
    assert_true(fixture->waits >= 7);
    assert_int_equal(lethe_store_fault_calls(fixture->fault), fixture->waits + 1);
    fixture->fault = retry;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The turn comes when what was taken before has been paid for; an estimate is corrected. */
static void throttle_arithmetic(void **state)
{
    struct lethe_bucket bucket = {.rate = 1000};
    struct lethe_bucket free_bucket = {0};

    (void)state;
    assert_int_equal(lethe_bucket_take(&bucket, 5000000, 500), 5000000);
    assert_int_equal(lethe_bucket_take(&bucket, 5000000, 1000), 5500000);
    assert_int_equal(lethe_bucket_take(&bucket, 5100000, 0), 6500000);
    assert_int_equal(lethe_bucket_take(&bucket, 9000000, 100), 9000000); /* what was not used is not saved */
    lethe_bucket_correct(&bucket, 100, 1100);
    assert_int_equal(lethe_bucket_take(&bucket, 9000000, 50), 10100000);
    lethe_bucket_correct(&bucket, 50, 0);
    assert_int_equal(lethe_bucket_take(&bucket, 9000000, UINT64_MAX), 10100000);
    assert_true(bucket.ready > 10100000);
    assert_int_equal(lethe_bucket_take(&free_bucket, 7, UINT64_MAX), 7);
    lethe_bucket_correct(&free_bucket, 5, 7);
    assert_int_equal(free_bucket.ready, 0);
}

static void *put_second(void *context)
{
    assert_int_equal(lethe_store_put(context, "o/00/second", bytes_of("x"), 1), LETHE_OK);
    return NULL;
}

/* At a byte a second the second put would wait a day for the first: until the owner leaves. */
static void throttle_hurries(void **state)
{
    static const uint8_t day[86400];
    struct fixture *fixture = *state;
    struct lethe_store *throttle;
    struct lethe_buf buf = {0};
    pthread_t thread;

    assert_int_equal(lethe_store_throttle_new(fixture->fault, 1, 1, &throttle), LETHE_OK);
    fixture->fault = throttle; /* teardown closes both */
    assert_int_equal(lethe_store_put(throttle, "o/00/first", day, sizeof day), LETHE_OK);
    assert_int_equal(pthread_create(&thread, NULL, put_second, throttle), 0);
    lethe_store_hurry(throttle);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(lethe_store_get(throttle, "o/00/first", 0, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, sizeof day);
    assert_int_equal(lethe_store_remove(throttle, "o/00/first"), LETHE_OK);
    lethe_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_call_fails_in_turn),
        TEST(plans),
        TEST(a_request_that_the_line_repeats_is_ours),
        TEST(a_patient_get_meets_a_fault),
        TEST(a_return_ends_the_waits),
        TEST(retries_meet_single_faults),
        TEST(retries_end_at_the_deadline),
        TEST(throttle_arithmetic),
        TEST(throttle_hurries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
