/* SPDX-License-Identifier: MIT */
/* The backend fails at every call of init, recover and reading: a clean error, and it works once it answers
 * again. */
#include "vault_fixture.h"

static enum trouble_kind kind_of(unsigned nth)
{
    static const enum trouble_kind kinds[] = {TROUBLE_FAIL, TROUBLE_FAIL_ON, TROUBLE_LOST, TROUBLE_LOST_ON};

    return kinds[nth % 4];
}

static void furnish(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};

    fixture_noise(1, &bytes, 1000);
    fixture_put(fixture, "small", &bytes);
    fixture_noise(3, &bytes, (9u << 19) + 77);
    fixture_put(fixture, "large", &bytes);
    fixture_photo(4, 160, 0, &bytes);
    fixture_put(fixture, "photo.png", &bytes);
    lethe_buf_release(&bytes);
}

static void make_vault(struct fixture *fixture)
{
    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    furnish(fixture);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
}

static void test_init(void **state)
{
    bool hit = true;

    (void)state;
    for (unsigned step = 4; hit; step++) {
        struct fixture fixture;
        enum lethe_err err;

        fixture_make(&fixture);
        fixture_arm(&fixture, kind_of(step), step / 4);
        err = fixture_init(&fixture);
        hit = fixture.trouble.hit;
        assert_true(hit || !err);
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        if (err && (err = fixture_init(&fixture)) == LETHE_ERR_EXISTS) {
            err = LETHE_OK; /* only the last answer was lost: then it must open, as is seen below */
        }
        if (err) {
            print_error("init with trouble %d at call %u cannot be done again: %s\n", (int)kind_of(step),
                        step / 4, lethe_err_str(err));
        }
        assert_int_equal(err, LETHE_OK);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        furnish(&fixture);
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        fixture_close(&fixture);
        fixture_remove(&fixture);
    }
}

/* A vault whose vault.json was lost is not overwritten. */
static void test_init_spares_remains(void **state)
{
    struct fixture fixture;

    (void)state;
    make_vault(&fixture);
    fixture_close(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_ERR_EXISTS);
    fixture_run("rm -rf %s/vault.json*", fixture.vault);
    assert_int_equal(fixture_init(&fixture), LETHE_ERR_EXISTS);
    fixture_remove(&fixture);
}

static void test_recover(void **state)
{
    struct fixture fixture;
    char *expected, *found;
    bool hit = true;

    (void)state;
    make_vault(&fixture);
    fixture_patch(&fixture, "only here", 0, "never published");
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    for (unsigned step = 4; hit; step++) {
        enum lethe_err err;

        fixture_save(&fixture);
        fixture_arm(&fixture, kind_of(step), step / 4);
        err = fixture_recover(&fixture, fixture.state);
        hit = fixture.trouble.hit;
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        if (err) { /* then the device is as it was, unpublished file and all */
            assert_int_equal(fixture_open(&fixture), LETHE_OK);
            found = fixture_describe(fixture.session);
            assert_string_equal(found, expected);
            free(found);
            fixture_close(&fixture);
        }
        fixture_load(&fixture);
    }
    free(expected);
    fixture_remove(&fixture);
}

static void test_read(void **state)
{
    struct fixture fixture;
    char *expected, *found;
    bool hit = true;

    (void)state;
    make_vault(&fixture);
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    for (unsigned step = 4; hit; step++) {
        fixture_run("rm -rf %s", fixture.cache);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        fixture_arm(&fixture, kind_of(step), step / 4);
        found = fixture_describe(fixture.session);
        hit = fixture.trouble.hit;
        assert_true(hit ? strstr(found, "unreadable") != NULL : strcmp(found, expected) == 0);
        free(found);
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        found = fixture_describe(fixture.session);
        assert_string_equal(found, expected);
        free(found);
        fixture_close(&fixture);
    }
    free(expected);
    fixture_remove(&fixture);
}

/* How many segments lie in the vault, whoever needs them. */
static unsigned count_segments(const struct fixture *fixture)
{
    unsigned count = 0;
    char command[200];
    FILE *find;

    snprintf(command, sizeof command, "find %s/o -type f -size +2M | wc -l", fixture->vault);
    find = popen(command, "r");
    assert_non_null(find);
    assert_int_equal(fscanf(find, "%u", &count), 1);
    pclose(find);
    return count;
}

/* An upload that breaks off goes on at the segment that was missing, also after a restart. */
static void test_upload_goes_on(void **state)
{
    enum { SEGMENTS = 5 };
    static const char *const between[] = {
        "true",                                                        /* all is as it was */
        "rm $(find %s/o -type f -size +2M | head -n 1)",               /* somebody collected it */
        "truncate -s -1 $(find %s/o -type f -size +2M | head -n 1)",   /* or damaged it */
        "find %s/o -type f -size +2M | xargs touch -d '13 hours ago'", /* another may collect it soon */
    };
    static const unsigned expected[] = {SEGMENTS, SEGMENTS, SEGMENTS + 1, SEGMENTS + 3};
    struct lethe_buf bytes = {0};

    (void)state;
    fixture_noise(7, &bytes, SEGMENTS << 22);
    for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
        struct fixture fixture;
        char *tree;

        fixture_make(&fixture);
        assert_int_equal(fixture_init(&fixture), LETHE_OK);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        fixture_put(&fixture, "film", &bytes);
        fixture_arm(&fixture, TROUBLE_FAIL_ON, 4);
        assert_int_not_equal(fixture_publish(&fixture), LETHE_OK);
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        assert_int_equal(count_segments(&fixture), 3);
        tree = fixture_describe(fixture.session);
        fixture_close(&fixture);
        fixture_run(between[i], fixture.vault);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        assert_int_equal(count_segments(&fixture), expected[i]);
        fixture_close(&fixture);
        fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, tree);
        free(tree);
        fixture_remove(&fixture);
    }
    lethe_buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_spares_remains),
        cmocka_unit_test(test_recover),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_upload_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
