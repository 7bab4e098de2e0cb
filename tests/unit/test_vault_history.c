/* SPDX-License-Identifier: MIT */
/* Many epochs, a snapshot among them: every kept moment comes back, before and after collection. */
#include "vault_fixture.h"

#define MOMENTS 40

struct moment {
    int64_t time;
    char *tree;
};

static struct moment moments[MOMENTS];
static unsigned count;

static int64_t newest_time(struct lethe_session *session)
{
    return fixture_number(session, "SELECT time FROM epoch WHERE state = 2 ORDER BY n DESC LIMIT 1");
}

static void publish(struct fixture *fixture)
{
    assert_true(count < MOMENTS);
    moments[count].tree = fixture_describe(fixture->session);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    fixture_assert_refs(fixture->session);
    moments[count++].time = newest_time(fixture->session);
}

/* A file whose extended attribute brings 60000 bytes into the journal that do not compress. */
static void add_weight(struct fixture *fixture, unsigned i)
{
    struct lethe_tree *tree = fixture->session->tree;
    struct lethe_buf bytes = {0};
    struct stat attr;
    char name[32];

    snprintf(name, sizeof name, "weight %u", i % 30);
    fixture_noise(100 + i, &bytes, 50 + i);
    fixture_put(fixture, name, &bytes);
    fixture_noise(1000 + i, &bytes, 60000);
    assert_int_equal(lethe_tree_lookup(tree, 1, name, &attr), 0);
    assert_int_equal(lethe_tree_setxattr(tree, attr.st_ino, "user.weight", bytes.data, bytes.len, 0), 0);
    lethe_tree_forget(tree, attr.st_ino, 1);
    lethe_buf_release(&bytes);
}

/* Rewrites, clones, deletions, renames; the same for each i. */
static void stir(struct fixture *fixture, unsigned i)
{
    struct lethe_tree *tree = fixture->session->tree;
    struct lethe_file *from, *to;
    struct lethe_buf bytes = {0};
    uint64_t done;
    char name[32], other[32];

    fixture_photo(7, 128, i, &bytes); /* the same pixels each time */
    fixture_put(fixture, "again.png", &bytes);
    fixture_patch(fixture, "large", (uint64_t)(i % 5) << 20, "stirred");
    snprintf(name, sizeof name, "pair %u", i % 3);
    fixture_photo(20 + i, 128, 0, &bytes);
    fixture_put(fixture, name, &bytes);
    snprintf(other, sizeof other, "clone %u", i % 3);
    from = fixture_file(fixture, "large", O_RDONLY);
    to = fixture_file(fixture, other, O_RDWR | O_TRUNC);
    assert_int_equal(lethe_tree_copy(from, 0, to, 0, UINT32_MAX, &done), 0);
    lethe_tree_release_file(from);
    lethe_tree_release_file(to);
    if (i % 4 == 3) {
        assert_int_equal(lethe_tree_unlink(tree, 1, other), 0);
        assert_int_equal(lethe_tree_rename(tree, 1, name, 1, "moved.png", 0), 0);
    }
    lethe_buf_release(&bytes);
}

static enum lethe_err collect(struct fixture *fixture, int64_t keep, struct lethe_gc_result *result)
{
    return lethe_gc_run(&(struct lethe_gc_options){.vault = fixture->session->vault,
                                                   .db = fixture->session->db,
                                                   .committer = fixture->session->committer,
                                                   .keep_seconds = keep},
                        result);
}

static void make_history(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};
    unsigned i = 0;

    count = 0;
    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    fixture_noise(3, &bytes, (9u << 19) + 77);
    fixture_put(fixture, "large", &bytes);
    lethe_buf_release(&bytes);
    publish(fixture);
    for (; i < 19; i++) {
        add_weight(fixture, i);
        if (i % 5 == 0) {
            stir(fixture, i);
            publish(fixture);
        }
    }
    assert_int_equal(fixture_number(fixture->session, "SELECT value FROM config WHERE key = 'snap_epoch'"),
                     0);
    publish(fixture); /* the cut that finds enough since the beginning */
    add_weight(fixture, i++);
    publish(fixture);
    assert_true(fixture_number(fixture->session, "SELECT value FROM config WHERE key = 'snap_epoch'") > 3);
    for (unsigned k = 0; k < 4; k++) {
        stir(fixture, k + 40);
        publish(fixture);
    }
}

static void release(struct fixture *fixture)
{
    for (unsigned i = 0; i < count; i++) {
        free(moments[i].tree);
    }
    fixture_remove(fixture);
}

static void test_moments(void **state)
{
    struct fixture fixture;

    (void)state;
    make_history(&fixture);
    fixture_close(&fixture);
    for (unsigned i = 0; i < count; i++) {
        fixture_assert_vault(&fixture, moments[i].time, moments[i].tree);
    }
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, moments[count - 1].tree);
    fixture_assert_recovers(&fixture, moments[count - 1].tree);
    release(&fixture);
}

static void test_collect_all(void **state)
{
    struct lethe_gc_result result;
    struct lethe_session_options options;
    struct lethe_session *session;
    struct fixture fixture;
    const char *newest;

    (void)state;
    make_history(&fixture);
    newest = moments[count - 1].tree;
    assert_int_equal(collect(&fixture, 0, &result), LETHE_OK);
    assert_true(result.objects > 10);
    fixture_assert_refs(fixture.session);
    /* What was collected is not published yet: the vault must be well all the same. */
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, newest);
    fixture_assert_vault(&fixture, moments[count - 1].time, newest);
    fixture_assert_recovers(&fixture, newest);
    options = fixture_options(&fixture);
    options.at = moments[0].time;
    assert_int_equal(lethe_session_open(&options, &session), LETHE_ERR_ARG);
    /* Again, with less and with more to keep than there is. */
    assert_int_equal(collect(&fixture, 0, &result), LETHE_OK);
    assert_int_equal(result.objects, 0);
    assert_int_equal(collect(&fixture, 1 << 30, &result), LETHE_OK);
    assert_int_equal(result.objects, 0);
    for (unsigned k = 0; k < 3; k++) {
        stir(&fixture, k + 60);
        publish(&fixture);
        newest = moments[count - 1].tree;
        assert_int_equal(collect(&fixture, 0, &result), LETHE_OK);
        fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, newest);
    }
    fixture_close(&fixture);
    fixture_run("rm -rf %s", fixture.cache);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    {
        char *found = fixture_describe(fixture.session);

        assert_string_equal(found, newest);
        free(found);
    }
    fixture_close(&fixture);
    fixture_assert_recovers(&fixture, newest);
    release(&fixture);
}

/*
 * A collection that is cut short at any call leaves a vault that is well, and the next one goes on, on a device that was
 * opened again or in the same session. Every call up to dense, then each stride's. Takes the fixture.
 */
static void collect_cut_short(struct fixture *fixture, unsigned dense, unsigned stride, bool reopen)
{
    const char *newest = moments[count - 1].tree;
    struct lethe_gc_result result;
    bool hit = true;

    fixture_close(fixture);
    fixture_save(fixture);
    for (unsigned nth = 1; hit; nth += nth < dense ? 1 : stride) {
        enum lethe_err err;

        fixture_load(fixture);
        assert_int_equal(fixture_open(fixture), LETHE_OK);
        fixture_arm(fixture, nth % 2 ? TROUBLE_LOST_ON : TROUBLE_FAIL_ON, nth);
        err = collect(fixture, 0, &result);
        hit = fixture->trouble.hit;
        assert_true(hit == (err != LETHE_OK));
        fixture_arm(fixture, TROUBLE_NONE, 0);
        if (reopen) {
            fixture_close(fixture);
        }
        fixture_assert_vault(fixture, LETHE_SESSION_NEWEST, newest);
        if (reopen) {
            assert_int_equal(fixture_open(fixture), LETHE_OK);
        }
        assert_int_equal(collect(fixture, 0, &result), LETHE_OK);
        fixture_assert_refs(fixture->session);
        fixture_close(fixture);
    }
    fixture_assert_vault(fixture, LETHE_SESSION_NEWEST, newest);
    release(fixture);
}

static void test_collect_faults(void **state)
{
    struct fixture fixture;

    (void)state;
    make_history(&fixture);
    collect_cut_short(&fixture, 12, 9, false);
}

static void publish_meanwhile(void *context)
{
    assert_int_equal(fixture_publish(context), LETHE_OK);
}

/* An epoch is published between any two calls of a collection, as by the publisher's thread. */
static void test_collect_beside_publishing(void **state)
{
    struct lethe_gc_result result;
    struct fixture fixture;
    bool hit = true;

    (void)state;
    make_history(&fixture);
    fixture_close(&fixture);
    fixture_save(&fixture);
    for (unsigned nth = 1; hit; nth += nth < 8 ? 1 : 11) {
        char *expected;

        fixture_load(&fixture);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        stir(&fixture, nth);
        expected = fixture_describe(fixture.session);
        fixture.trouble.meanwhile = publish_meanwhile;
        fixture.trouble.meanwhile_context = &fixture;
        fixture_arm(&fixture, TROUBLE_NONE, nth);
        assert_int_equal(collect(&fixture, 0, &result), LETHE_OK);
        hit = !fixture.trouble.meanwhile;
        fixture.trouble.meanwhile = NULL;
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        fixture_assert_refs(fixture.session);
        fixture_close(&fixture);
        fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
        free(expected);
    }
    release(&fixture);
}

#define PACKS "SELECT %s FROM object WHERE kind = 4 AND refs > 0"

static int64_t packs(struct fixture *fixture, const char *what)
{
    char sql[128];

    snprintf(sql, sizeof sql, PACKS, what);
    return fixture_number(fixture->session, sql);
}

/* Sixty files in packs, of which every sixth is left, and two that share their bytes with one. */
static void make_sparse(struct fixture *fixture)
{
    struct lethe_tree *tree;
    struct lethe_buf bytes = {0};
    struct lethe_file *from, *to;
    uint64_t done;
    char name[32];

    count = 0;
    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    tree = fixture->session->tree;
    for (unsigned i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "packed %u", i);
        fixture_noise(500 + i, &bytes, 9000 + 10 * i);
        fixture_put(fixture, name, &bytes);
    }
    publish(fixture);
    bytes.len = 0;
    fixture_put(fixture, "clone", &bytes);
    from = fixture_file(fixture, "packed 6", O_RDONLY);
    to = fixture_file(fixture, "clone", O_RDWR);
    assert_int_equal(lethe_tree_copy(from, 0, to, 0, UINT32_MAX, &done), 0);
    lethe_tree_release_file(from);
    lethe_tree_release_file(to);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "packed %u", i);
        if (i % 6 != 0) {
            assert_int_equal(lethe_tree_unlink(tree, 1, name), 0);
        }
    }
    publish(fixture);
    lethe_buf_release(&bytes);
}

/* A pack that is mostly dead is emptied into a fresh one, and goes when no kept epoch names it. */
static void test_repack(void **state)
{
    struct lethe_gc_result result;
    struct lethe_buf bytes = {0};
    struct fixture fixture;
    const char *newest;
    int64_t before;

    (void)state;
    make_sparse(&fixture);
    before = packs(&fixture, "sum(size)");
    assert_true(before > 500000);
    assert_int_equal(collect(&fixture, 1 << 30, &result), LETHE_OK);
    fixture_assert_refs(fixture.session);
    assert_true(packs(&fixture, "sum(size)") < before / 3);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, moments[count - 1].tree);
    fixture_noise(1, &bytes, 100);
    for (unsigned i = 0; i < 2; i++) {
        fixture_put(&fixture, "more", &bytes);
        publish(&fixture);
    }
    newest = moments[count - 1].tree;
    fixture_assert_vault(&fixture, moments[1].time, moments[1].tree);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, newest);
    assert_int_equal(collect(&fixture, 0, &result), LETHE_OK);
    assert_true(result.bytes > (uint64_t)before / 2);
    assert_int_equal(packs(&fixture, "count(*)"), fixture_number(fixture.session, "SELECT count(*) FROM object WHERE kind = 4"));
    fixture_close(&fixture);
    fixture_run("rm -rf %s", fixture.cache);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, newest);
    fixture_assert_recovers(&fixture, newest);
    lethe_buf_release(&bytes);
    release(&fixture);
}

static void test_repack_faults(void **state)
{
    struct fixture fixture;

    (void)state;
    make_sparse(&fixture);
    collect_cut_short(&fixture, 0, 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_collect_all),
        cmocka_unit_test(test_collect_faults),
        cmocka_unit_test(test_collect_beside_publishing),
        cmocka_unit_test(test_repack),
        cmocka_unit_test(test_repack_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
