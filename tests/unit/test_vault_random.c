/* SPDX-License-Identifier: MIT */
/*
 * Random work on a vault: files written, patched, cloned, renamed, removed while open, held open over cuts;
 * epochs published with calls that fail, the device closed and opened, its cache lost, garbage collected.
 * References stay right throughout, and what was published comes back.
 */
#include "vault_fixture.h"

#define STEPS 500
#define NAMES 8
#define HELD 3

static uint64_t seed;
static struct lethe_file *held[HELD];

static unsigned dice(unsigned n)
{
    return fixture_random(&seed) % n;
}

static const char *name_of(unsigned i)
{
    static const char *const names[NAMES] = {"a", "b", "c.png", "d.png", "e", "f.png", "g", "h"};

    return names[i % NAMES];
}

static bool exists(struct fixture *fixture, const char *name)
{
    struct stat attr;

    if (lethe_tree_lookup(fixture->session->tree, 1, name, &attr)) {
        return false;
    }
    lethe_tree_forget(fixture->session->tree, attr.st_ino, 1);
    return true;
}

static void let_go(void)
{
    for (unsigned i = 0; i < HELD; i++) {
        lethe_tree_release_file(held[i]);
        held[i] = NULL;
    }
}

static void write_some(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};
    unsigned kind = dice(4);

    if (kind == 0) {
        fixture_noise(seed, &bytes, 1 + dice(300000));
    } else if (kind == 1) {
        fixture_noise(seed, &bytes, (4u << 20) + dice(1u << 20));
    } else {
        fixture_photo(dice(3), 96, dice(2) ? dice(50) : 0, &bytes); /* few pictures, often the same */
    }
    fixture_put(fixture, name_of(dice(NAMES)), &bytes);
    lethe_buf_release(&bytes);
}

static void copy_some(struct fixture *fixture)
{
    struct lethe_file *from, *to;
    bool whole = dice(2) != 0;
    uint64_t done;
    unsigned a = dice(NAMES), b = dice(NAMES);

    if (a == b) {
        return;
    }
    from = fixture_file(fixture, name_of(a), O_RDONLY);
    to = fixture_file(fixture, name_of(b), whole ? O_RDWR | O_TRUNC : O_RDWR);
    assert_int_equal(lethe_tree_copy(from, whole ? 0 : 16384 * dice(40), to, whole ? 0 : 16384 * dice(40),
                                     whole ? UINT32_MAX : 1 + dice(500000), &done),
                     0);
    lethe_tree_release_file(from);
    lethe_tree_release_file(to);
}

static void work_once(struct fixture *fixture)
{
    struct lethe_tree *tree = fixture->session->tree;
    const char *name = name_of(dice(NAMES));
    unsigned i = dice(HELD);

    switch (dice(9)) {
    case 0:
    case 1:
        write_some(fixture);
        break;
    case 2:
    case 3:
        fixture_patch(fixture, name, dice(400000), "patched here");
        break;
    case 4:
        copy_some(fixture);
        break;
    case 5:
        if (exists(fixture, name)) {
            assert_int_equal(lethe_tree_unlink(tree, 1, name), 0);
        }
        break;
    case 6:
        if (exists(fixture, name)) {
            assert_int_equal(lethe_tree_rename(tree, 1, name, 1, name_of(dice(NAMES)), 0), 0);
        }
        break;
    case 7: /* held open, and perhaps removed by somebody meanwhile */
        lethe_tree_release_file(held[i]);
        held[i] = fixture_file(fixture, name, O_RDWR);
        break;
    default:
        if (held[i]) {
            assert_int_equal(lethe_tree_write(held[i], dice(200000), "held", 4, false), 0);
        }
        break;
    }
}

/* The next epoch is cut, and perhaps sealed, while one is on its way; it stays pending. */
static void cut_next(struct fixture *fixture)
{
    struct lethe_epoch next;
    enum lethe_err err;

    if (fixture_number(fixture->session, "SELECT count(*) FROM epoch WHERE state < 2") > 1) {
        return; /* it was before */
    }
    for (unsigned i = dice(4); i > 0; i--) {
        work_once(fixture);
    }
    err = lethe_epoch_cut(&fixture->publisher, dice(2) != 0, &next);
    if (!err && dice(2)) {
        err = lethe_epoch_seal(&fixture->publisher, &next);
        assert_true(!err || fixture->trouble.hit);
    }
    assert_true(!err || err == LETHE_ERR_NOT_FOUND || fixture->trouble.hit);
    lethe_epoch_release(&next);
}

/* A cut that leaves open pictures out, or none; calls of its publication may fail, for which it stays
 * pending. */
static void publish_some(struct fixture *fixture)
{
    struct lethe_epoch epoch;
    enum lethe_err err;

    if (dice(3) == 0) {
        static const enum trouble_kind kinds[] = {TROUBLE_FAIL, TROUBLE_FAIL_ON, TROUBLE_LOST,
                                                  TROUBLE_LOST_ON};

        fixture_arm(fixture, kinds[dice(4)], 1 + dice(25));
    }
    err = lethe_epoch_pending(fixture->session->db, 0, &epoch);
    if (err == LETHE_ERR_NOT_FOUND) {
        err = lethe_epoch_cut(&fixture->publisher, dice(2) != 0, &epoch);
    }
    if (!err) {
        err = lethe_epoch_seal(&fixture->publisher, &epoch);
        if (!err && !epoch.snapshot && dice(3) == 0) {
            cut_next(fixture);
        }
        err = err ? err : lethe_epoch_conclude(&fixture->publisher, &epoch);
        err = err ? err : lethe_epoch_sweep(&fixture->publisher, epoch.n);
        lethe_epoch_release(&epoch);
    }
    assert_true(!err || err == LETHE_ERR_NOT_FOUND || fixture->trouble.hit);
    fixture_arm(fixture, TROUBLE_NONE, 0);
}

static void assert_whole(struct fixture *fixture, bool recovers)
{
    char *found, *again;

    let_go();
    found = fixture_describe(fixture->session);
    assert_null(strstr(found, "unreadable"));
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    fixture_assert_refs(fixture->session);
    assert_int_equal(fixture_number(fixture->session, "SELECT count(*) FROM local WHERE state = 1"), 0);
    fixture_close(fixture);
    if (dice(2)) {
        fixture_run("rm -rf %s", fixture->cache);
    }
    fixture_assert_vault(fixture, LETHE_SESSION_NEWEST, found);
    if (recovers) {
        fixture_assert_recovers(fixture, found);
    }
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    again = fixture_describe(fixture->session);
    assert_string_equal(found, again);
    free(again);
    free(found);
}

static void run(uint64_t first)
{
    struct lethe_gc_result result;
    struct fixture fixture;

    seed = first;
    print_message("seed %llu\n", (unsigned long long)first);
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    for (unsigned step = 1; step <= STEPS; step++) {
        work_once(&fixture);
        if (dice(6) == 0) {
            publish_some(&fixture);
            fixture_assert_refs(fixture.session);
        }
        if (dice(40) == 0) {
            assert_int_equal(lethe_gc_run(&(struct lethe_gc_options){.vault = fixture.session->vault,
                                                                     .db = fixture.session->db,
                                                                     .committer = fixture.session->committer},
                                          &result),
                             LETHE_OK);
        }
        if (step % 125 == 0) {
            assert_whole(&fixture, step % 250 == 0);
        }
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static void test_random(void **state)
{
    (void)state;
    run(1);
    run(20261);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
