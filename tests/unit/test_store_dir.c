/* SPDX-License-Identifier: MIT */
/* What the directory backend leaves on the disk, and what it makes of a damaged, full, absent or forbidden
 * one. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lethe/log.h"
#include "lethe/store.h"

struct fixture {
    char path[64];
    int at; /* the folder, for the test's own looks */
    struct lethe_store *store;
};

static unsigned lines; /* that were logged */

static void count_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
    lines++;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    lethe_log_set_sink(count_log, NULL);
    snprintf(fixture->path, sizeof fixture->path, "/tmp/lethe-dir-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    fixture->at = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fixture->at >= 0);
    assert_int_equal(lethe_store_dir_open(fixture->path, true, &fixture->store), LETHE_OK);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    pid_t child;

    lethe_store_close(fixture->store);
    close(fixture->at);
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

static void make_file(int at, const char *name, const char *text)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool is_there(int at, const char *name)
{
    struct stat stat;

    return fstatat(at, name, &stat, AT_SYMLINK_NOFOLLOW) == 0;
}

static enum lethe_err read_key(struct lethe_store *store, const char *key, const char *expected)
{
    struct lethe_buf buf = {0};
    enum lethe_err err = lethe_store_get(store, key, 0, UINT64_MAX, &buf, NULL);

    if (!err) {
        assert_int_equal(buf.len, strlen(expected));
        assert_memory_equal(buf.data, expected, buf.len);
    } else {
        assert_int_equal(buf.len, 0);
    }
    lethe_buf_release(&buf);
    return err;
}

static enum lethe_err count_key(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)key;
    (void)stat;
    (*(unsigned *)context)++;
    return LETHE_OK;
}

static void versions_are_numbered_files(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}};
    struct stat plain, numbered;

    for (int i = 0; i < 4; i++) {
        assert_int_equal(lethe_store_replace(fixture->store, "vault.json", bytes_of("abcd"), (size_t)i + 1,
                                             &version, &version),
                         LETHE_OK);
    }
    assert_false(is_there(fixture->at, "vault.json.00000000000000000002"));
    assert_true(is_there(fixture->at, "vault.json.00000000000000000003"));
    /* Who edits the file that he sees edits the version that counts. */
    assert_int_equal(fstatat(fixture->at, "vault.json", &plain, 0), 0);
    assert_int_equal(fstatat(fixture->at, "vault.json.00000000000000000004", &numbered, 0), 0);
    assert_int_equal(plain.st_ino, numbered.st_ino);
    make_file(fixture->at, "vault.json", "edited");
    assert_int_equal(read_key(fixture->store, "vault.json", "edited"), LETHE_OK);
    assert_int_equal(lethe_store_replace(fixture->store, "vault.json", bytes_of("x"), 1, &version, &version),
                     LETHE_ERR_CONFLICT);
    /* The plain name is only a courtesy while a number is there. */
    assert_int_equal(unlinkat(fixture->at, "vault.json", 0), 0);
    assert_int_equal(read_key(fixture->store, "vault.json", "edited"), LETHE_OK);
    assert_int_equal(lethe_store_remove(fixture->store, "vault.json"), LETHE_OK);
    assert_false(is_there(fixture->at, "vault.json.00000000000000000004"));
    assert_int_equal(read_key(fixture->store, "vault.json", ""), LETHE_ERR_NOT_FOUND);
}

static void a_copied_vault_has_plain_names(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}};
    struct lethe_buf buf = {0};
    unsigned count = 0;

    make_file(fixture->at, "head", "copied");
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("x"), 1, &version, &version),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_put(fixture->store, "head", bytes_of("x"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_get(fixture->store, "head", 0, 99, &buf, &version), LETHE_OK);
    assert_int_equal(lethe_store_list(fixture->store, "", count_key, &count), LETHE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("next"), 4, &version, &version),
                     LETHE_OK);
    assert_int_equal(read_key(fixture->store, "head", "next"), LETHE_OK);
    assert_int_equal(lethe_store_list(fixture->store, "", count_key, &count), LETHE_OK);
    assert_int_equal(count, 2);
    lethe_buf_release(&buf);
}

/* Numbers that this backend would never write. */
static void hostile_numbers(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}};
    struct lethe_buf buf = {0};

    make_file(fixture->at, "head.99999999999999999999", "over");
    make_file(fixture->at, "head.0000000000000000000x", "letter");
    make_file(fixture->at, "head.00000000000000000000", "zero");
    make_file(fixture->at, "head.1", "short");
    assert_int_equal(read_key(fixture->store, "head", ""), LETHE_ERR_NOT_FOUND);
    make_file(fixture->at, "head.18446744073709551615", "last");
    assert_int_equal(lethe_store_get(fixture->store, "head", 0, 99, &buf, &version), LETHE_OK);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("x"), 1, &version, &version),
                     LETHE_ERR_INTEGRITY);
    lethe_buf_release(&buf);
}

static void own_names_are_refused(void **state)
{
    static const char *const names[] = {"tmp", "tmp/x", "head.00000000000000000001"};
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(lethe_store_put(fixture->store, names[i], bytes_of("x"), 1), LETHE_ERR_ARG);
        assert_int_equal(lethe_store_remove(fixture->store, names[i]), LETHE_ERR_ARG);
        assert_int_equal(read_key(fixture->store, names[i], ""), LETHE_ERR_NOT_FOUND);
    }
    assert_int_equal(lethe_store_replace(fixture->store, "o/00/x", bytes_of("x"), 1, &version, NULL),
                     LETHE_ERR_ARG);
}

static void links_are_not_followed(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_buf buf = {0};
    unsigned count = 0;

    assert_int_equal(mkdirat(fixture->at, "o", 0700), 0);
    assert_int_equal(symlinkat("/etc", fixture->at, "o/ab"), 0);
    assert_int_equal(symlinkat("/etc/passwd", fixture->at, "o/file"), 0);
    assert_int_equal(symlinkat("/etc/passwd", fixture->at, "head.00000000000000000001"), 0);
    assert_int_equal(mkfifoat(fixture->at, "o/fifo", 0600), 0);
    assert_int_equal(mkdirat(fixture->at, "o/folder", 0700), 0);
    assert_int_equal(read_key(fixture->store, "o/ab/passwd", ""), LETHE_ERR_INTEGRITY);
    assert_int_equal(read_key(fixture->store, "o/file", ""), LETHE_ERR_INTEGRITY);
    assert_int_equal(read_key(fixture->store, "o/fifo", ""), LETHE_ERR_INTEGRITY);
    assert_int_equal(read_key(fixture->store, "o/folder", ""), LETHE_ERR_INTEGRITY);
    assert_int_equal(read_key(fixture->store, "head", ""), LETHE_ERR_INTEGRITY);
    assert_int_equal(lethe_store_put(fixture->store, "o/ab/new", bytes_of("x"), 1), LETHE_ERR_INTEGRITY);
    assert_int_equal(lethe_store_list(fixture->store, "", count_key, &count), LETHE_OK);
    assert_int_equal(count, 0);
    lethe_buf_release(&buf);
}

static void old_temporary_files_go(void **state)
{
    struct fixture *fixture = *state;
    struct timespec old[2] = {{.tv_sec = time(NULL) - 90000}, {.tv_sec = time(NULL) - 90000}};
    struct lethe_store *again;
    unsigned count = 0;

    make_file(fixture->at, "tmp/1-old", "x");
    make_file(fixture->at, "tmp/2-new", "x");
    assert_int_equal(utimensat(fixture->at, "tmp/1-old", old, 0), 0);
    assert_int_equal(lethe_store_dir_open(fixture->path, false, &again), LETHE_OK);
    assert_false(is_there(fixture->at, "tmp/1-old"));
    assert_true(is_there(fixture->at, "tmp/2-new"));
    assert_int_equal(lethe_store_list(again, "", count_key, &count), LETHE_OK);
    assert_int_equal(count, 0);
    lethe_store_close(again);
}

static void an_absent_disk_is_unreachable(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}};
    struct lethe_store_stat stat;
    char aside[80];
    unsigned count = 0;

    assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of("x"), 1), LETHE_OK);
    snprintf(aside, sizeof aside, "%s.aside", fixture->path);
    assert_int_equal(rename(fixture->path, aside), 0);
    for (int empty = 0; empty < 2; empty++) {
        lines = 0;
        assert_int_equal(read_key(fixture->store, "o/00/x", ""), LETHE_ERR_UNREACHABLE);
        assert_int_equal(read_key(fixture->store, "head", ""), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_stat(fixture->store, "o/00/x", &stat), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_put(fixture->store, "o/00/y", bytes_of("y"), 1), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("y"), 1, &version, NULL),
                         LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_remove(fixture->store, "o/00/x"), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_remove(fixture->store, "head"), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_list(fixture->store, "", count_key, &count), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lines, empty ? 0 : 1);
        if (!empty) {
            assert_int_equal(mkdir(fixture->path, 0700), 0); /* where the disk was mounted */
        }
    }
    assert_int_equal(rmdir(fixture->path), 0); /* nothing was written there */
    assert_int_equal(rename(aside, fixture->path), 0);
    assert_int_equal(read_key(fixture->store, "o/00/x", "x"), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/y", bytes_of("y"), 1), LETHE_OK);
}

/* A child on a file system of its own that no one else sees; 77 when that is not permitted. */
static int in_small_disk(const char *path, int (*body)(const char *path))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", path, "tmpfs", 0, "size=256k") != 0) {
            _exit(77);
        }
        _exit(body(path));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int fill_disk(const char *path)
{
    static uint8_t bytes[40000];
    struct lethe_store_version version = {{0}};
    struct lethe_store *store;
    struct lethe_buf buf = {0};
    char key[32];
    unsigned stored = 0, count = 0;
    enum lethe_err err = LETHE_OK;

    if (lethe_store_dir_open(path, true, &store) ||
        lethe_store_replace(store, "head", bytes, 100, &version, &version)) {
        return 1;
    }
    for (; stored < 100; stored++) {
        snprintf(key, sizeof key, "o/00/%u", stored);
        err = lethe_store_put(store, key, bytes, sizeof bytes);
        if (err) {
            break;
        }
    }
    if (err != LETHE_ERR_NOSPACE || stored < 3) {
        return 2;
    }
    /* What failed left nothing behind, and what was there stays. */
    if (lethe_store_get(store, key, 0, 1, &buf, NULL) != LETHE_ERR_NOT_FOUND ||
        lethe_store_replace(store, "head", bytes, sizeof bytes, &version, NULL) != LETHE_ERR_NOSPACE ||
        lethe_store_get(store, "head", 0, UINT64_MAX, &buf, NULL) || buf.len != 100) {
        return 3;
    }
    if (lethe_store_list(store, "", count_key, &count) || count != stored + 1) {
        return 4;
    }
    if (lethe_store_remove(store, "o/00/0") || lethe_store_put(store, key, bytes, sizeof bytes)) {
        return 5;
    }
    if (mount("none", path, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) {
        return 77;
    }
    if (lethe_store_put(store, "o/00/z", bytes, 1) != LETHE_ERR_DENIED ||
        lethe_store_get(store, key, 0, 1, &buf, NULL)) {
        return 6;
    }
    lethe_store_close(store);
    if (lethe_store_dir_open(path, false, &store) || lethe_store_get(store, key, 0, 1, &buf, NULL)) {
        return 7;
    }
    lethe_store_close(store);
    lethe_buf_release(&buf);
    return 0;
}

static void a_full_disk_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    int status = in_small_disk(fixture->path, fill_disk);

    if (status == 77) {
        skip();
    }
    assert_int_equal(status, 0);
}

static int without_permission(const char *path)
{
    struct lethe_store *store;
    struct lethe_buf buf = {0};

    if (lethe_store_dir_open(path, false, &store)) {
        return 1;
    }
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) {
        return 77;
    }
    if (lethe_store_get(store, "o/00/x", 0, 1, &buf, NULL) != LETHE_ERR_DENIED ||
        lethe_store_put(store, "o/00/y", bytes_of("x"), 1) != LETHE_ERR_DENIED) {
        return 2;
    }
    lethe_store_close(store);
    return 0;
}

static void a_forbidden_folder_is_denied(void **state)
{
    struct fixture *fixture = *state;
    pid_t child;
    int status;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of("x"), 1), LETHE_OK);
    child = fork();
    if (child == 0) {
        _exit(without_permission(fixture->path));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(versions_are_numbered_files),
        TEST(a_copied_vault_has_plain_names),
        TEST(hostile_numbers),
        TEST(own_names_are_refused),
        TEST(links_are_not_followed),
        TEST(old_temporary_files_go),
        TEST(an_absent_disk_is_unreachable),
        TEST(a_full_disk_loses_nothing),
        TEST(a_forbidden_folder_is_denied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
