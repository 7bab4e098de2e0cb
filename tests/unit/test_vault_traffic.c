/* SPDX-License-Identifier: MIT */
/* What the vault costs in requests: how many, and how many at once. */
#include "vault_fixture.h"

#include <time.h>

#include "fs/vault/watch.h"

#define SMALL_FILES 10000
#define SMALL_PUTS 40
#define PHOTOS 24
#define AT_ONCE 8

static struct lethe_watch_status traffic(struct fixture *fixture)
{
    struct lethe_watch_status status;

    lethe_watch_status(fixture->session->watch, &status);
    return status;
}

static void put_small_files(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};
    char name[32];

    for (unsigned i = 0; i < SMALL_FILES; i++) {
        fixture_noise(i, &bytes, 200 + i % 1800);
        snprintf(name, sizeof name, "small-%u", i);
        fixture_put(fixture, name, &bytes);
    }
    lethe_buf_release(&bytes);
}

/* Packs of about 4 MiB, and what an epoch costs whatever lies in it. */
static void test_small_files_take_few_puts(void **state)
{
    struct lethe_watch_status before, after;
    struct fixture fixture;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    put_small_files(&fixture);
    before = traffic(&fixture);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    after = traffic(&fixture);
    print_message("%d small files: %llu puts, %llu replaces, %llu gets, %llu lists\n", SMALL_FILES,
                  (unsigned long long)(after.puts - before.puts), (unsigned long long)(after.replaces - before.replaces),
                  (unsigned long long)(after.gets - before.gets), (unsigned long long)(after.lists - before.lists));
    assert_true(after.puts - before.puts + after.replaces - before.replaces <= SMALL_PUTS);
    assert_true(after.puts > before.puts); /* they are there */
    assert_int_equal(after.lists, before.lists);
    assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM content WHERE kind = 2"), SMALL_FILES);
    fixture_assert_refs(fixture.session);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static void put_photos(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};
    char name[32];

    for (unsigned i = 0; i < PHOTOS; i++) {
        fixture_photo(100 + i, 128, 0, &bytes);
        snprintf(name, sizeof name, "photo-%02u.png", i);
        fixture_put(fixture, name, &bytes);
    }
    lethe_buf_release(&bytes);
}

/* An artifact is an object of its own; the residuals of all go into one pack, and each comes back with one more get. */
static void test_small_photos_share_packs(void **state)
{
    struct lethe_watch_status before, after;
    struct fixture fixture;
    char *expected, *found;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    put_photos(&fixture);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM content WHERE kind = 1"), PHOTOS);
    assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM object WHERE kind = 1"), PHOTOS);
    assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM object WHERE kind = 2"), 0);
    assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM object WHERE kind = 4"), 1);
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    fixture_run("rm -rf %s", fixture.cache);

    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    before = traffic(&fixture);
    found = fixture_describe(fixture.session);
    after = traffic(&fixture);
    assert_string_equal(found, expected);
    assert_int_equal(after.gets - before.gets, 2 * PHOTOS);
    fixture_close(&fixture);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    fixture_remove(&fixture);
    free(expected);
    free(found);
}

/* --- at once: a store whose puts each wait until so many are under way together --- */

struct gathering {
    struct lethe_store base;
    struct lethe_store *inner;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool armed;
    unsigned inside, most;
};

static struct gathering gathering;

static enum lethe_err gather_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct timespec until;
    int waited = 0;
    enum lethe_err err;

    (void)store;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 300;
    pthread_mutex_lock(&gathering.lock);
    gathering.inside++;
    gathering.most = gathering.inside > gathering.most ? gathering.inside : gathering.most;
    pthread_cond_broadcast(&gathering.moved);
    while (gathering.armed && gathering.most < AT_ONCE && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&gathering.moved, &gathering.lock, &until);
    }
    gathering.armed &= waited != ETIMEDOUT;
    pthread_mutex_unlock(&gathering.lock);
    err = lethe_store_put(gathering.inner, key, bytes, len);
    pthread_mutex_lock(&gathering.lock);
    gathering.inside--;
    pthread_mutex_unlock(&gathering.lock);
    return err;
}

static enum lethe_err gather_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                 struct lethe_buf *out, struct lethe_store_version *version)
{
    (void)store;
    return lethe_store_get(gathering.inner, key, offset, len, out, version);
}

static enum lethe_err gather_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                     const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    (void)store;
    return lethe_store_replace(gathering.inner, key, bytes, len, expected, version);
}

static void gather_close(struct lethe_store *store)
{
    (void)store;
    lethe_store_close(gathering.inner);
}

static const struct lethe_store_ops gather_ops = {
    .get = gather_get, .put = gather_put, .replace = gather_replace, .close = gather_close};

static struct lethe_store *gather(void *context, struct lethe_store *store)
{
    (void)context;
    gathering.base.ops = &gather_ops;
    gathering.inner = store;
    return &gathering.base;
}

static void test_puts_go_side_by_side(void **state)
{
    struct lethe_session_options options;
    struct fixture fixture;
    char *expected;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    pthread_mutex_init(&gathering.lock, NULL);
    pthread_cond_init(&gathering.moved, NULL);
    options = fixture_options(&fixture);
    options.decorate = gather;
    options.publish = true;
    assert_int_equal(lethe_session_open(&options, &fixture.session), LETHE_OK);
    gathering.armed = true;
    put_photos(&fixture);
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 0), LETHE_OK);
    print_message("%u puts at once\n", gathering.most);
    assert_true(gathering.most >= AT_ONCE);
    assert_true(gathering.most <= 32);
    expected = fixture_describe(fixture.session);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    free(expected);
    fixture_remove(&fixture);
    pthread_cond_destroy(&gathering.moved);
    pthread_mutex_destroy(&gathering.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small_files_take_few_puts),
                                       cmocka_unit_test(test_small_photos_share_packs),
                                       cmocka_unit_test(test_puts_go_side_by_side)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
