/* SPDX-License-Identifier: MIT */
/* A cache full of what is not in the vault yet: what lies in the vault can be read, changed and sealed all
 * the same. */
#include "vault_fixture.h"

#define LIMIT (64u << 20)

static void reopen(struct fixture *fixture)
{
    struct lethe_session_options options = fixture_options(fixture);

    options.cache_size = LIMIT;
    assert_int_equal(lethe_session_open(&options, &fixture->session), LETHE_OK);
    fixture_ready(fixture);
}

/* New bytes until less than room is left. They are of one file, which stays open. */
static struct lethe_file *fill_up(struct fixture *fixture, uint64_t room)
{
    struct lethe_file *file = fixture_file(fixture, "filler", O_RDWR);
    struct lethe_contents_usage usage;
    struct lethe_buf bytes = {0};
    uint64_t at = 0;

    fixture_noise(77, &bytes, 65536);
    for (;;) {
        lethe_contents_usage(fixture->session->contents, &usage);
        if (usage.free < room + 3 * 65536) {
            break;
        }
        assert_int_equal(lethe_tree_write(file, at, bytes.data, bytes.len, false), 0);
        at += bytes.len;
    }
    lethe_buf_release(&bytes);
    assert_true(at > LIMIT / 2);
    assert_true(usage.free < (2u << 20));
    return file;
}

/* By zeros; and a read that begins among them. */
static void lengthen(struct fixture *fixture, const char *name, struct lethe_buf *bytes, uint64_t by)
{
    struct lethe_file *file = fixture_file(fixture, name, O_RDWR);
    size_t end = bytes->len, got;
    uint8_t byte;

    assert_int_equal(lethe_tree_fallocate(file, 0, end, by), 0);
    assert_int_equal(lethe_tree_read(file, end + 1, &byte, 1, &got), 0);
    assert_true(got == 1 && byte == 0);
    lethe_tree_release_file(file);
    assert_int_equal(lethe_buf_resize(bytes, end + by), LETHE_OK);
    memset(bytes->data + end, 0, by);
}

static void assert_reads(struct fixture *fixture, const char *name, const struct lethe_buf *expected)
{
    struct lethe_file *file = fixture_file(fixture, name, O_RDONLY);
    uint8_t *bytes = malloc(expected->len);

    assert_non_null(bytes);
    for (size_t at = 0, got; at < expected->len; at += got) {
        size_t n = expected->len - at < 131072 ? expected->len - at : 131072;

        assert_int_equal(lethe_tree_read(file, at, bytes + at, n, &got), 0);
        assert_true(got > 0);
    }
    assert_memory_equal(bytes, expected->data, expected->len);
    free(bytes);
    lethe_tree_release_file(file);
}

static void test_full(void **state)
{
    struct lethe_buf large = {0}, photo = {0}, small = {0};
    struct lethe_file *filler;
    struct fixture fixture;
    struct lethe_contents_usage usage;
    char *expected;

    (void)state;
    fixture_noise(1, &large, (9u << 20) + 4321);
    fixture_photo(2, 900, 0, &photo);
    fixture_noise(3, &small, 5000);
    assert_true(photo.len > 1u << 20);
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    reopen(&fixture);
    fixture_put(&fixture, "large", &large);
    fixture_put(&fixture, "photo.png", &photo);
    fixture_put(&fixture, "small", &small);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    fixture_run("rm -rf %s", fixture.cache);

    reopen(&fixture);
    filler = fill_up(&fixture, 0);
    assert_reads(&fixture, "large", &large);
    assert_reads(&fixture, "photo.png", &photo);
    assert_reads(&fixture, "small", &small);
    assert_reads(&fixture, "large", &large);
    /* Where the bytes in the vault end in the middle of a block, zeros follow that nothing brings. */
    lengthen(&fixture, "large", &large, 100000);
    assert_reads(&fixture, "large", &large);
    lethe_contents_usage(fixture.session->contents, &usage);
    assert_true(usage.dirty + usage.cached + usage.database <= LIMIT);
    lethe_tree_release_file(filler);
    fixture_close(&fixture);
    fixture_run("rm -rf %s", fixture.cache);

    /* The middle of blocks is overwritten, whose rest must first be brought; then both versions are sealed.
     */
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    assert_int_equal(lethe_tree_unlink(fixture.session->tree, 1, "filler"), 0);
    assert_int_equal(lethe_commit_wait(fixture.session->committer), LETHE_OK);
    fixture_close(&fixture);
    reopen(&fixture);
    filler = fill_up(&fixture, 1u << 20); /* nobody publishes here: the database grows as well */
    fixture_patch(&fixture, "large", 5000001, "patched");
    fixture_patch(&fixture, "photo.png", photo.len / 2, "no photo any more");
    memcpy(large.data + 5000001, "patched", 7);
    memcpy(photo.data + photo.len / 2, "no photo any more", 17);
    assert_reads(&fixture, "large", &large);
    assert_reads(&fixture, "photo.png", &photo);
    lethe_tree_release_file(filler);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    assert_reads(&fixture, "large", &large);
    assert_reads(&fixture, "photo.png", &photo);
    fixture_assert_refs(fixture.session);
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    free(expected);
    fixture_remove(&fixture);
    lethe_buf_release(&large);
    lethe_buf_release(&photo);
    lethe_buf_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
