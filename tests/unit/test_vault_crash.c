/* SPDX-License-Identifier: MIT */
/*
 * The process ends, or the backend fails, at every single call of a publication: nothing is lost, device and
 * vault agree afterwards, and the vault always is a whole moment of the tree.
 */
#include "vault_fixture.h"

/* What the first epoch holds. */
static void furnish(struct fixture *fixture)
{
    static const struct lethe_owner owner = {.uid = 1000, .gid = 100};
    struct lethe_buf bytes = {0};
    struct stat attr;

    fixture_noise(1, &bytes, 1000);
    fixture_put(fixture, "small", &bytes);
    fixture_noise(2, &bytes, 2000);
    fixture_put(fixture, "gone soon", &bytes);
    fixture_noise(3, &bytes, (9u << 19) + 77); /* two segments */
    fixture_put(fixture, "large", &bytes);
    fixture_photo(4, 160, 0, &bytes);
    fixture_put(fixture, "photo.png", &bytes);
    fixture_photo(5, 160, 0, &bytes);
    fixture_put(fixture, "rewritten.png", &bytes);
    assert_int_equal(lethe_tree_symlink(fixture->session->tree, "large", 1, "link", &owner, &attr), 0);
    lethe_tree_forget(fixture->session->tree, attr.st_ino, 1);
    lethe_buf_release(&bytes);
}

/* What the second one changes: every way a content may live on, change, die or be reused. */
static void change(struct fixture *fixture)
{
    struct lethe_tree *tree = fixture->session->tree;
    struct lethe_buf bytes = {0};

    fixture_noise(11, &bytes, 1500);
    fixture_put(fixture, "small", &bytes);
    assert_int_equal(lethe_tree_unlink(tree, 1, "gone soon"), 0);
    fixture_patch(fixture, "large", 5u << 20 >> 1, "a new middle"); /* the second segment stays as it is */
    fixture_photo(5, 160, 40, &bytes); /* the same pixels: artifact and residual serve again */
    fixture_put(fixture, "rewritten.png", &bytes);
    fixture_photo(6, 160, 0, &bytes);
    fixture_put(fixture, "new.png", &bytes);
    assert_int_equal(lethe_tree_rename(tree, 1, "photo.png", 1, "renamed.png", 0), 0);
    lethe_buf_release(&bytes);
}

static void make_vault(struct fixture *fixture)
{
    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    furnish(fixture);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    fixture_assert_refs(fixture->session);
    assert_true(fixture_number(fixture->session, "SELECT count(*) FROM content WHERE kind = 1") == 2);
    change(fixture);
    assert_int_equal(lethe_commit_wait(fixture->session->committer), LETHE_OK);
    fixture_close(fixture);
    fixture_save(fixture);
}

static void assert_all_well(struct fixture *fixture, const char *expected)
{
    char *found;

    assert_int_equal(fixture_open(fixture), LETHE_OK);
    found = fixture_describe(fixture->session);
    assert_string_equal(found, expected);
    free(found);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    fixture_assert_refs(fixture->session);
    assert_int_equal(fixture_number(fixture->session, "SELECT count(*) FROM local WHERE state = 1"), 0);
    fixture_close(fixture);
    fixture_assert_vault(fixture, LETHE_SESSION_NEWEST, expected);
}

static char *expected_tree(struct fixture *fixture)
{
    char *expected;

    assert_int_equal(fixture_open(fixture), LETHE_OK);
    expected = fixture_describe(fixture->session);
    fixture_close(fixture);
    return expected;
}

static bool crash_at(struct fixture *fixture, enum trouble_kind kind, unsigned nth)
{
    int status;
    pid_t child;

    fixture_load(fixture);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (fixture_open(fixture)) {
            _exit(1);
        }
        fixture_arm(fixture, kind, nth);
        _exit(fixture_publish(fixture) ? 2 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FIXTURE_CRASHED);
    return WEXITSTATUS(status) == FIXTURE_CRASHED;
}

static void test_crash(void **state)
{
    struct fixture fixture;
    char *expected;

    (void)state;
    make_vault(&fixture);
    expected = expected_tree(&fixture);
    for (enum trouble_kind kind = TROUBLE_CRASH_BEFORE; kind <= TROUBLE_CRASH_AFTER; kind++) {
        for (unsigned nth = 1; crash_at(&fixture, kind, nth); nth++) {
            assert_all_well(&fixture, expected);
        }
    }
    fixture_assert_recovers(&fixture, expected);
    free(expected);
    fixture_remove(&fixture);
}

/* In one process: the call fails, then the publisher tries again. */
static bool fail_at(struct fixture *fixture, enum trouble_kind kind, unsigned nth, const char *expected)
{
    enum lethe_err err;
    bool hit;

    fixture_load(fixture);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    fixture_arm(fixture, kind, nth);
    err = fixture_publish(fixture);
    hit = fixture->trouble.hit;
    assert_true(hit || !err);
    fixture_arm(fixture, TROUBLE_NONE, 0);
    if (err) {
        err = fixture_publish(fixture);
        if (err) {
            print_error("kind %d, call %u: the second try failed: %s\n", (int)kind, nth, lethe_err_str(err));
        }
        assert_int_equal(err, LETHE_OK);
    }
    fixture_assert_refs(fixture->session);
    fixture_close(fixture);
    if (hit) {
        assert_all_well(fixture, expected);
    }
    return hit;
}

static void test_faults(void **state)
{
    static const enum lethe_err errors[] = {LETHE_ERR_UNREACHABLE, LETHE_ERR_IO, LETHE_ERR_NOSPACE};
    struct fixture fixture;
    char *expected;

    (void)state;
    make_vault(&fixture);
    expected = expected_tree(&fixture);
    for (enum trouble_kind kind = TROUBLE_FAIL; kind <= TROUBLE_LOST_ON; kind++) {
        for (unsigned nth = 1;; nth++) {
            fixture.trouble.error = errors[nth % 3];
            if (!fail_at(&fixture, kind, nth, expected)) {
                break;
            }
        }
    }
    fixture_assert_recovers(&fixture, expected);
    free(expected);
    fixture_remove(&fixture);
}

/* A file that was open and nameless when the power went, while the cut that still knows it waits for the
 * vault. */
static void test_orphan(void **state)
{
    struct lethe_gc_result result;
    struct fixture fixture;
    char *expected;
    int status;
    pid_t child;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    furnish(&fixture);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct lethe_epoch epoch;

        if (fixture_open(&fixture) || !fixture_file(&fixture, "large", O_RDONLY) ||
            lethe_tree_unlink(fixture.session->tree, 1, "large") ||
            lethe_epoch_cut(&fixture.publisher, true, &epoch)) {
            _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    {
        struct lethe_epoch pending;

        assert_int_equal(lethe_epoch_pending(fixture.session->db, 0, &pending), LETHE_OK);
        assert_int_equal(lethe_epoch_publish(&fixture.publisher, &pending), LETHE_OK);
        lethe_epoch_release(&pending);
    }
    assert_int_equal(lethe_gc_run(&(struct lethe_gc_options){.vault = fixture.session->vault,
                                                             .db = fixture.session->db,
                                                             .committer = fixture.session->committer},
                                  &result),
                     LETHE_OK);
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    fixture_assert_recovers(&fixture, expected);
    free(expected);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_orphan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
