/* SPDX-License-Identifier: MIT */
/* What is fetched before it is asked for: the right things, once, and nothing when no order shows. */
#include "vault_fixture.h"

#include "fs/mount/readahead.h"
#include "fs/vault/watch.h"

#define FILES 40
#define FILE_BYTES 300000 /* one segment each */
#define LARGE_BYTES (40u << 20)

static void file_name(unsigned i, char out[32])
{
    snprintf(out, 32, "file-%03u", i);
}

/* Reads as the mount does; the bytes are those that were put. */
static void read_file(struct fixture *fixture, struct lethe_readahead *readahead, const char *name,
                      const struct lethe_buf *expected)
{
    struct lethe_tree *tree = fixture->session->tree;
    struct lethe_file *file = NULL;
    uint8_t *bytes = malloc(1u << 17);
    struct stat attr;

    assert_non_null(bytes);
    assert_int_equal(lethe_tree_lookup(tree, 1, name, &attr), 0);
    lethe_readahead_directory(readahead, 1);
    assert_int_equal(lethe_tree_open_file(tree, attr.st_ino, O_RDONLY, &file), 0);
    for (size_t at = 0, got; at < expected->len; at += got) {
        bool told = lethe_readahead_read(readahead, attr.st_ino, at, 1u << 17);

        assert_int_equal(lethe_tree_read(file, at, bytes, 1u << 17, &got), 0);
        assert_true(got > 0 && got <= expected->len - at);
        assert_memory_equal(bytes, expected->data + at, got);
        if (!told) {
            (void)lethe_readahead_read(readahead, attr.st_ino, at, 1u << 17);
        }
    }
    lethe_tree_release_file(file);
    lethe_tree_forget(tree, attr.st_ino, 1);
    lethe_readahead_settle(readahead);
    free(bytes);
}

static void read_number(struct fixture *fixture, struct lethe_readahead *readahead, unsigned i)
{
    struct lethe_buf expected = {0};
    char name[32];

    file_name(i, name);
    fixture_noise(i, &expected, FILE_BYTES);
    read_file(fixture, readahead, name, &expected);
    lethe_buf_release(&expected);
}

/* A vault with all files, nothing of them on the device. */
static void make(struct fixture *fixture)
{
    struct lethe_buf bytes = {0};
    char name[32];

    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    for (unsigned i = 0; i < FILES; i++) {
        file_name(i, name);
        fixture_noise(i, &bytes, FILE_BYTES);
        fixture_put(fixture, name, &bytes);
    }
    fixture_noise(1000, &bytes, LARGE_BYTES);
    fixture_put(fixture, "large", &bytes);
    lethe_buf_release(&bytes);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
}

static struct lethe_readahead *reopen(struct fixture *fixture)
{
    struct lethe_readahead *readahead;

    fixture_close(fixture);
    fixture_run("rm -rf %s", fixture->cache);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    assert_int_equal(lethe_readahead_new(fixture->session->tree, fixture->session->contents,
                                         fixture->session->restorer, &readahead),
                     LETHE_OK);
    return readahead;
}

static uint64_t ahead(struct fixture *fixture)
{
    struct lethe_restorer_status status;

    lethe_restorer_status(fixture->session->restorer, &status);
    return status.ahead;
}

static uint64_t gets(struct fixture *fixture)
{
    struct lethe_watch_status status;

    lethe_watch_status(fixture->session->watch, &status);
    return status.gets;
}

static void test_directory(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_readahead *readahead = reopen(fixture);
    uint64_t before = gets(fixture);

    read_number(fixture, readahead, 0);
    assert_int_equal(ahead(fixture), 0); /* one file is no order */
    read_number(fixture, readahead, 1);
    assert_true(ahead(fixture) > 0);
    for (unsigned i = 2; i < FILES; i++) {
        read_number(fixture, readahead, i);
    }
    print_message("%llu of %d files came ahead\n", (unsigned long long)ahead(fixture), FILES);
    assert_true(ahead(fixture) >= FILES / 2);
    lethe_readahead_free(readahead);
    lethe_restorer_drain(fixture->session->restorer);
    /* The first segment of "large", the next by name, may have come as well; the rest but by chance once. */
    assert_in_range(gets(fixture) - before, FILES, FILES + 2);
}

static void test_no_order(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_readahead *readahead = reopen(fixture);

    for (unsigned i = FILES; i-- > 0;) { /* backwards: in no order that is known */
        read_number(fixture, readahead, i);
    }
    assert_int_equal(ahead(fixture), 0);
    lethe_readahead_free(readahead);
}

static void test_front_to_back(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_readahead *readahead = reopen(fixture);
    struct lethe_buf expected = {0};
    uint64_t before = gets(fixture);

    fixture_noise(1000, &expected, LARGE_BYTES);
    read_file(fixture, readahead, "large", &expected);
    print_message("%llu of %u segments came ahead\n", (unsigned long long)ahead(fixture), LARGE_BYTES >> 22);
    assert_true(ahead(fixture) > 0);
    /* One may have come twice, had it arrived between the look and the decision. */
    assert_in_range(gets(fixture) - before, LARGE_BYTES >> 22, (LARGE_BYTES >> 22) + 1);

    /* On the device now: it costs nothing more. */
    before = gets(fixture);
    read_file(fixture, readahead, "large", &expected);
    assert_int_equal(gets(fixture), before);
    lethe_readahead_free(readahead);
    lethe_buf_release(&expected);
}

/* The first bytes of a large JPEG are there before the last ones, and all are right. */
static void test_first_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_buf jpeg = {0};
    struct lethe_raster raster;
    struct lethe_restorer_status status;
    struct lethe_readahead *readahead;
    uint32_t noise = 5;

    assert_int_equal(lethe_raster_init(&raster, 1600, 1280, 3, 8), LETHE_OK);
    for (unsigned c = 0; c < 3; c++) {
        for (size_t i = 0; i < (size_t)1600 * 1280; i++) {
            noise = noise * 1664525 + 1013904223;
            raster.planes[c][i] = (uint16_t)((i % 1600 / 8 * (c + 1) + i / 1600 / 5 + noise % 24 * 2) & 255);
        }
    }
    assert_int_equal(lethe_jpeg_write(&raster, 90, false, &jpeg), LETHE_OK);
    lethe_raster_release(&raster);
    fixture_put(fixture, "photo.jpg", &jpeg);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
    readahead = reopen(fixture);
    read_file(fixture, readahead, "photo.jpg", &jpeg);
    lethe_restorer_status(fixture->session->restorer, &status);
    assert_int_equal(status.early, 1);
    lethe_readahead_free(readahead);
    lethe_buf_release(&jpeg);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    make(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    fixture_close(fixture);
    fixture_remove(fixture);
    free(fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_directory), cmocka_unit_test(test_no_order),
                                       cmocka_unit_test(test_front_to_back), cmocka_unit_test(test_first_bytes)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
