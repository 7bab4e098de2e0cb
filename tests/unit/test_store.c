/* SPDX-License-Identifier: MIT */
/*
 * What every backend promises, asked of the directory and of the decorators around it; and of S3, where
 * LETHE_S3_BUCKET names a bucket that the AWS_* variables lead to.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/retry.h"
#include "lethe/log.h"
#include "lethe/store.h"

#define THREADS 8

enum sort { SORT_DIR, SORT_FAULT, SORT_RETRY, SORT_S3, SORT_S3_RETRY };

struct fixture {
    char path[256];
    enum sort sort;
    struct lethe_store *store;
    _Atomic uint64_t now; /* the retry clock: waiting is what makes time pass */
    _Atomic uint64_t random;
};

static void drop_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static uint64_t clock_now(void *context)
{
    return atomic_load(&((struct fixture *)context)->now);
}

static void clock_wait(void *context, uint64_t ms)
{
    atomic_fetch_add(&((struct fixture *)context)->now, ms);
}

static uint64_t clock_random(void *context)
{
    return atomic_fetch_add(&((struct fixture *)context)->random, 0x9e3779b97f4a7c15U) >> 7;
}

static struct lethe_store *open_sort(struct fixture *fixture)
{
    const struct lethe_retry_clock clock = {.now_ms = clock_now, .wait_ms = clock_wait, .random = clock_random, .context = fixture};
    const struct lethe_fault_plan calm = {.seed = 1};
    const struct lethe_fault_plan rough = {.seed = 7, .permille = 300, .lost_answer_permille = 200};
    struct lethe_store *store, *outer;

    assert_int_equal(lethe_store_open(fixture->path, true, &store), LETHE_OK);
    if (fixture->sort == SORT_FAULT) {
        assert_int_equal(lethe_store_fault_new(store, &calm, &outer), LETHE_OK);
        store = outer;
    } else if (fixture->sort == SORT_RETRY || fixture->sort == SORT_S3_RETRY) {
        assert_int_equal(lethe_store_fault_new(store, &rough, &outer), LETHE_OK);
        assert_int_equal(lethe_store_retry_new_with(outer, 100000000, &clock, &store), LETHE_OK);
    }
    return store;
}

static int setup_sort(void **state, enum sort sort)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    lethe_log_set_sink(drop_log, NULL);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/lethe-store-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    fixture->sort = sort;
    fixture->store = open_sort(fixture);
    *state = fixture;
    return 0;
}

static int setup_s3_sort(void **state, enum sort sort)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    uint8_t name[8];
    char hex[2 * sizeof name + 1];

    assert_non_null(fixture);
    lethe_log_set_sink(drop_log, NULL);
    *state = fixture;
    if (!getenv("LETHE_S3_BUCKET") || !*getenv("LETHE_S3_BUCKET")) {
        return 0; /* the test is skipped */
    }
    assert_int_equal(getrandom(name, sizeof name, 0), sizeof name);
    lethe_hex(name, sizeof name, hex);
    snprintf(fixture->path, sizeof fixture->path, "s3://%s/contract/%s", getenv("LETHE_S3_BUCKET"), hex);
    fixture->sort = sort;
    fixture->store = open_sort(fixture);
    return 0;
}

static int setup_s3(void **state)
{
    return setup_s3_sort(state, SORT_S3);
}

static int setup_s3_retry(void **state)
{
    return setup_s3_sort(state, SORT_S3_RETRY);
}

static enum lethe_err sweep(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)stat;
    return lethe_store_remove(context, key);
}

static int teardown_s3(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->store) {
        assert_int_equal(lethe_store_list(fixture->store, "", sweep, fixture->store), LETHE_OK);
        lethe_store_close(fixture->store);
    }
    free(fixture);
    return 0;
}

static int setup_dir(void **state)
{
    return setup_sort(state, SORT_DIR);
}

static int setup_fault(void **state)
{
    return setup_sort(state, SORT_FAULT);
}

static int setup_retry(void **state)
{
    return setup_sort(state, SORT_RETRY);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    pid_t child;

    lethe_store_close(fixture->store);
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

static void keys_have_a_form(void **state)
{
    static const char *const good[] = {"head", "vault.json", "a/3f/0123.png", "j/1-ff", "..a", "a..b/c"};
    static const char *const bad[] = {"",   "/",     "/a", "a/",  "a//b", ".",        "..", "a/..",
                                      "./", "a/./b", "A",  "a b", "a\n",  "\xc3\xa9", "a_b"};
    struct fixture *fixture = *state;
    char longest[LETHE_STORE_KEY_MAX + 2];
    struct lethe_buf buf = {0};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(lethe_store_key_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(lethe_store_key_valid(bad[i]));
        assert_int_equal(lethe_store_put(fixture->store, bad[i], bytes_of("x"), 1), LETHE_ERR_ARG);
        assert_int_equal(lethe_store_get(fixture->store, bad[i], 0, 1, &buf, NULL), LETHE_ERR_ARG);
    }
    memset(longest, 'a', sizeof longest);
    longest[LETHE_STORE_KEY_MAX] = '\0';
    assert_true(lethe_store_key_valid(longest));
    longest[LETHE_STORE_KEY_MAX] = 'a';
    longest[LETHE_STORE_KEY_MAX + 1] = '\0';
    assert_false(lethe_store_key_valid(longest));
}

static void objects_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *store = fixture->store;
    struct lethe_store_stat stat;
    struct lethe_buf buf = {0};
    uint8_t *large = malloc(1000000);

    assert_non_null(large);
    for (size_t i = 0; i < 1000000; i++) {
        large[i] = (uint8_t)(i * i >> 3);
    }
    assert_int_equal(lethe_store_get(store, "o/00/a", 0, UINT64_MAX, &buf, NULL), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_store_stat(store, "o/00/a", &stat), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_store_put(store, "o/00/a", large, 1000000), LETHE_OK);
    assert_int_equal(lethe_store_put(store, "o/00/a", bytes_of("other"), 5), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_put(store, "o/00/empty", NULL, 0), LETHE_OK);
    assert_int_equal(lethe_store_stat(store, "o/00/a", &stat), LETHE_OK);
    assert_int_equal(stat.size, 1000000);
    assert_true(stat.modified > 1500000000);
    lethe_buf_put(&buf, "kept", 4);
    assert_int_equal(lethe_store_get(store, "o/00/a", 0, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 1000004);
    assert_memory_equal(buf.data, "kept", 4);
    assert_memory_equal(buf.data + 4, large, 1000000);
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_store_get(store, "o/00/a", 1000, 50, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 50);
    assert_memory_equal(buf.data, large + 1000, 50);
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_store_get(store, "o/00/a", 999990, 50, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 10);
    assert_int_equal(lethe_store_get(store, "o/00/a", 1000000, 50, &buf, NULL), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "o/00/a", UINT64_MAX, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "o/00/empty", 0, 1, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 10);
    assert_int_equal(lethe_store_remove(store, "o/00/a"), LETHE_OK);
    assert_int_equal(lethe_store_remove(store, "o/00/a"), LETHE_OK);
    assert_int_equal(lethe_store_remove(store, "never/was"), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "o/00/a", 0, 1, &buf, NULL), LETHE_ERR_NOT_FOUND);
    assert_int_equal(buf.len, 10);
    lethe_buf_release(&buf);
    free(large);
}

static void replaces_are_conditional(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *store = fixture->store;
    const struct lethe_store_version none = {{0}};
    struct lethe_store_version first, second, version = {{0}};
    struct lethe_buf buf = {0};

    assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, &version), LETHE_ERR_NOT_FOUND);
    assert_string_equal(version.text, "");
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("one"), 3, &none, &first), LETHE_OK);
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("two"), 3, &none, &second),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_put(store, "head", bytes_of("two"), 3), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, &version), LETHE_OK);
    assert_string_equal(version.text, first.text);
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("second"), 6, &first, &second), LETHE_OK);
    assert_string_not_equal(first.text, second.text);
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("third"), 5, &first, &version),
                     LETHE_ERR_CONFLICT);
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_store_get(store, "head", 2, 3, &buf, &version), LETHE_OK);
    assert_string_equal(version.text, second.text);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "con", 3);
    for (int i = 0; i < 20; i++) {
        char text[32];

        snprintf(text, sizeof text, "number %d", i);
        assert_int_equal(lethe_store_replace(store, "head", bytes_of(text), strlen(text), &second, &second),
                         LETHE_OK);
    }
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_memory_equal(buf.data, "number 19", 9);
    assert_int_equal(lethe_store_remove(store, "head"), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, NULL), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("x"), 1, &second, &version),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_put(store, "head", bytes_of("again"), 5), LETHE_OK);
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, &version), LETHE_OK);
    assert_memory_equal(buf.data, "again", 5);
    assert_int_equal(lethe_store_replace(store, "head", bytes_of("after"), 5, &version, &version), LETHE_OK);
    lethe_buf_release(&buf);
}

struct listing {
    char keys[16][LETHE_STORE_KEY_MAX + 1];
    size_t count;
    uint64_t bytes;
    size_t stop_after;
};

static enum lethe_err collect(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct listing *listing = context;

    assert_true(listing->count < 16);
    strcpy(listing->keys[listing->count++], key);
    listing->bytes += stat->size;
    return listing->count == listing->stop_after ? LETHE_ERR_CANCELLED : LETHE_OK;
}

static bool listed(const struct listing *listing, const char *key)
{
    size_t found = 0;

    for (size_t i = 0; i < listing->count; i++) {
        found += strcmp(listing->keys[i], key) == 0;
    }
    assert_true(found <= 1);
    return found == 1;
}

static void lists_show_plain_keys(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *store = fixture->store;
    struct lethe_store_version version = {{0}};
    struct listing all = {0}, some = {0}, none = {0}, stopped = {.stop_after = 2};

    assert_int_equal(lethe_store_list(store, "", collect, &none), LETHE_OK);
    assert_int_equal(none.count, 0);
    assert_int_equal(lethe_store_put(store, "o/0a/one", bytes_of("12"), 2), LETHE_OK);
    assert_int_equal(lethe_store_put(store, "o/0b/two", bytes_of("345"), 3), LETHE_OK);
    assert_int_equal(lethe_store_put(store, "a/0a/x.png", bytes_of("6"), 1), LETHE_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lethe_store_replace(store, "vault.json", bytes_of("7890"), 4, &version, &version),
                         LETHE_OK);
    }
    assert_int_equal(lethe_store_list(store, "", collect, &all), LETHE_OK);
    assert_int_equal(all.count, 4);
    assert_int_equal(all.bytes, 10);
    assert_true(listed(&all, "o/0a/one") && listed(&all, "o/0b/two") && listed(&all, "a/0a/x.png") &&
                listed(&all, "vault.json"));
    assert_int_equal(lethe_store_list(store, "o/0", collect, &some), LETHE_OK);
    assert_int_equal(some.count, 2);
    assert_int_equal(lethe_store_list(store, "o/0b/", collect, &some), LETHE_OK);
    assert_int_equal(some.count, 3);
    assert_int_equal(lethe_store_list(store, "vault.jso", collect, &some), LETHE_OK);
    assert_int_equal(some.count, 4);
    assert_int_equal(lethe_store_list(store, "vault.json.", collect, &none), LETHE_OK);
    assert_int_equal(lethe_store_list(store, "x", collect, &none), LETHE_OK);
    assert_int_equal(lethe_store_list(store, "tmp", collect, &none), LETHE_OK);
    assert_int_equal(none.count, 0);
    assert_int_equal(lethe_store_list(store, "", collect, &stopped), LETHE_ERR_CANCELLED);
    assert_int_equal(stopped.count, 2);
}

struct racer {
    struct fixture *fixture;
    struct lethe_store *store; /* its own: as if on another device */
    pthread_barrier_t *barrier;
    unsigned index;
    atomic_int *wins; /* by round or counter */
    atomic_int *unknown;
};

#define ROUNDS 20

static void run_race(struct fixture *fixture, void *(*body)(void *), atomic_int *wins, atomic_int *unknown)
{
    struct racer racers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){fixture, open_sort(fixture), &barrier, i, wins, unknown};
        assert_int_equal(pthread_create(&threads[i], NULL, body, &racers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        lethe_store_close(racers[i].store);
    }
    pthread_barrier_destroy(&barrier);
}

static void *race_put(void *argument)
{
    struct racer *racer = argument;

    for (unsigned round = 0; round < ROUNDS; round++) {
        char key[32], text[8];
        enum lethe_err err;

        snprintf(key, sizeof key, "o/%02x/race", round);
        snprintf(text, sizeof text, "%u", racer->index);
        pthread_barrier_wait(racer->barrier);
        err = lethe_store_put(racer->store, key, bytes_of(text), 1);
        if (!err) {
            atomic_fetch_add(&racer->wins[round], 1);
        } else if (err != LETHE_ERR_EXISTS) {
            atomic_fetch_add(racer->unknown, 1);
        }
    }
    return NULL;
}

static void one_put_wins(void **state)
{
    atomic_int wins[ROUNDS] = {0}, unknown = 0;

    run_race(*state, race_put, wins, &unknown);
    assert_int_equal(unknown, 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(wins[i], 1);
    }
}

/* Everyone counts up one number; a number that two made would be an update lost. */
static void *race_replace(void *argument)
{
    struct racer *racer = argument;

    pthread_barrier_wait(racer->barrier);
    for (;;) {
        struct lethe_store_version version;
        struct lethe_buf buf = {0};
        uint8_t next[5];
        uint32_t count = 0;
        enum lethe_err err = lethe_store_get(racer->store, "count", 0, UINT64_MAX, &buf, &version);

        if (!err && buf.len == sizeof next) {
            count = lethe_get_u32(buf.data);
        } else if (err != LETHE_ERR_NOT_FOUND) {
            atomic_fetch_add(racer->unknown, 1000);
        }
        lethe_buf_release(&buf);
        if (count >= ROUNDS) {
            return NULL;
        }
        lethe_set_u32(next, count + 1);
        next[4] = (uint8_t)racer->index;
        err = lethe_store_replace(racer->store, "count", next, sizeof next, &version, NULL);
        if (!err) {
            atomic_fetch_add(&racer->wins[count], 1);
        } else if (err == LETHE_ERR_UNREACHABLE) {
            atomic_fetch_add(racer->unknown, 1); /* allowed: somebody else was very quick */
        } else if (err != LETHE_ERR_CONFLICT) {
            atomic_fetch_add(racer->unknown, 1000);
        }
    }
}

static void one_replace_wins_per_version(void **state)
{
    struct fixture *fixture = *state;
    atomic_int wins[ROUNDS] = {0}, unknown = 0;
    struct lethe_buf buf = {0};
    int missing = 0;

    run_race(fixture, race_replace, wins, &unknown);
    assert_true(unknown < 1000);
    for (int i = 0; i < ROUNDS; i++) {
        assert_true(wins[i] <= 1);
        missing += wins[i] == 0;
    }
    /* A retry whose answer was lost sees a conflict when others built on its version, and cannot tell. */
    if (fixture->sort != SORT_RETRY && fixture->sort != SORT_S3_RETRY) {
        assert_true(missing <= unknown);
    }
    assert_int_equal(lethe_store_get(fixture->store, "count", 0, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_int_equal(lethe_get_u32(buf.data), ROUNDS);
    lethe_buf_release(&buf);
}

static void locations(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store *store;
    struct lethe_buf buf = {0};
    char text[512];

    assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of("x"), 1), LETHE_OK);
    snprintf(text, sizeof text, "file://%s", fixture->path);
    assert_int_equal(lethe_store_open(text, false, &store), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "o/00/x", 0, 1, &buf, NULL), LETHE_OK);
    lethe_store_close(store);
    snprintf(text, sizeof text, "%s/not/there", fixture->path);
    assert_int_equal(lethe_store_open(text, false, &store), LETHE_ERR_NOT_FOUND);
    assert_null(store);
    assert_int_equal(lethe_store_open(text, true, &store), LETHE_OK);
    lethe_store_close(store);
    assert_int_equal(lethe_store_open(text, false, &store), LETHE_OK);
    lethe_store_close(store);
    assert_int_equal(lethe_store_open("gopher://bucket/prefix", true, &store), LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_store_open("file://relative", true, &store), LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_store_open("", true, &store), LETHE_ERR_ARG);
    lethe_store_close(NULL);
    lethe_buf_release(&buf);
}

#define S3_TEST(test)                                                                                        \
    static void s3_##test(void **state)                                                                      \
    {                                                                                                        \
        if (!((struct fixture *)*state)->store) {                                                            \
            skip();                                                                                          \
        }                                                                                                    \
        test(state);                                                                                         \
    }

S3_TEST(keys_have_a_form)
S3_TEST(objects_come_back)
S3_TEST(replaces_are_conditional)
S3_TEST(lists_show_plain_keys)
S3_TEST(one_put_wins)
S3_TEST(one_replace_wins_per_version)

#define CONTRACT(test)                                                                                       \
    {#test " (dir)", test, setup_dir, teardown, NULL},                                                       \
        {#test " (fault)", test, setup_fault, teardown, NULL},                                               \
    {                                                                                                        \
#test " (retry)", test, setup_retry, teardown, NULL                                                  \
    }

#define S3_CONTRACT(test)                                                                                    \
    {#test " (s3)", s3_##test, setup_s3, teardown_s3, NULL},                                                 \
    {                                                                                                        \
#test " (s3, retry)", s3_##test, setup_s3_retry, teardown_s3, NULL                                   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(keys_have_a_form),
        CONTRACT(objects_come_back),
        CONTRACT(replaces_are_conditional),
        CONTRACT(lists_show_plain_keys),
        CONTRACT(one_put_wins),
        CONTRACT(one_replace_wins_per_version),
        CONTRACT(locations),
        S3_CONTRACT(keys_have_a_form),
        S3_CONTRACT(objects_come_back),
        S3_CONTRACT(replaces_are_conditional),
        S3_CONTRACT(lists_show_plain_keys),
        S3_CONTRACT(one_put_wins),
        S3_CONTRACT(one_replace_wins_per_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
