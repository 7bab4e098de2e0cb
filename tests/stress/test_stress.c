/* SPDX-License-Identifier: MIT */
/*
 * Sixteen threads in one session that publishes all the while: twelve that each know what their own files
 * hold, and fight for names in one folder; one that walks the tree; one that syncs to the vault; one that
 * collects and asks for figures; one that reads photos whose bytes were dropped. Meant for ThreadSanitizer.
 *
 * A fixed number of operations each; LETHE_LONG=1: ten minutes, and files that outgrow the cache.
 */
#include "tests/long.h"
#include "tests/unit/vault_fixture.h"

#include <linux/falloc.h>
#include <stdatomic.h>
#include <time.h>

#define WORKERS 12
#define FILES 12
#define OPERATIONS 150
#define LONG_SECONDS 600
#define SHARED_NAMES 8
#define PHOTOS 3

struct own {
    uint64_t ino;
    uint8_t *bytes;
    size_t size;
    char name[24];
};

struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t seed, folder, operations;
    struct own files[FILES];
};

static struct fixture fixture;
static struct lethe_session *session;
static uint64_t shared_folder, run_seed;
static struct worker workers[WORKERS];
static struct lethe_buf photos[PHOTOS];
static atomic_uint working;
static time_t end;
static size_t max_size = 60000;
static const struct lethe_owner owner = {.uid = 1000, .gid = 100};

static void need_done(int error, const char *what)
{
    if (error) {
        fprintf(stderr, "stress, seed %llu: %s: %s\n", (unsigned long long)run_seed, what, strerror(-error));
        abort();
    }
}

/* In threads: cmocka's own checks are for the first one. */
static void need(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "stress, seed %llu: %s\n", (unsigned long long)run_seed, what);
        abort();
    }
}

static uint32_t below(struct worker *worker, uint32_t n)
{
    return fixture_random(&worker->seed) % n;
}

static bool goes_on(uint64_t done)
{
    return end ? time(NULL) < end : done < OPERATIONS;
}

/* --- a worker's own files --- */

static void check_own(const struct own *own, const char *what)
{
    struct lethe_file *file = NULL;
    uint8_t *bytes = malloc(own->size + 1);
    size_t at = 0, got = 1;

    need(bytes && !lethe_tree_open_file(session->tree, own->ino, O_RDONLY, &file), "a file cannot be opened");
    while (at < own->size && got > 0) {
        need(lethe_tree_read(file, at, bytes + at, own->size - at, &got) == 0, "a file cannot be read");
        at += got;
    }
    need(at == own->size && (at == 0 || memcmp(bytes, own->bytes, at) == 0), what);
    lethe_tree_release_file(file);
    free(bytes);
}

static void make_own(struct worker *worker, struct own *own)
{
    struct stat attr;

    snprintf(own->name, sizeof own->name, "f%u", below(worker, 1u << 30));
    need(lethe_tree_mknod(session->tree, worker->folder, own->name, S_IFREG | 0644, 0, &owner, &attr) == 0,
         "a file cannot be made");
    own->ino = attr.st_ino;
}

static void resize_own(struct own *own, size_t size)
{
    own->bytes = realloc(own->bytes, size + 1);
    need(own->bytes != NULL, "no memory");
    if (size > own->size) {
        memset(own->bytes + own->size, 0, size - own->size);
    }
    own->size = size;
}

static void write_own(struct worker *worker, struct own *own, const uint8_t *bytes, size_t offset, size_t len)
{
    struct lethe_file *file = NULL;

    if (offset + len > own->size) {
        resize_own(own, offset + len);
    }
    if (len > 0) {
        memcpy(own->bytes + offset, bytes, len);
    }
    need(lethe_tree_open_file(session->tree, own->ino, O_RDWR, &file) == 0, "a file cannot be opened");
    need(lethe_tree_write(file, offset, bytes, len, false) == 0, "a file cannot be written");
    if (below(worker, 12) == 0) {
        need(lethe_tree_fsync(file) == 0, "a file cannot be synced");
    }
    lethe_tree_release_file(file);
}

static void copy_own(struct worker *worker, const struct own *from, struct own *to)
{
    struct lethe_file *in = NULL, *out = NULL;
    size_t len = from->size ? 1 + below(worker, (uint32_t)from->size) : 0;
    uint64_t done = 0;

    if (from == to || len == 0) {
        return;
    }
    need(lethe_tree_open_file(session->tree, from->ino, O_RDONLY, &in) == 0 &&
             lethe_tree_open_file(session->tree, to->ino, O_RDWR, &out) == 0,
         "a file cannot be opened");
    need(lethe_tree_copy(in, 0, out, 0, len, &done) == 0, "a file cannot be copied");
    if (done > to->size) {
        resize_own(to, (size_t)done);
    }
    memcpy(to->bytes, from->bytes, (size_t)done);
    lethe_tree_release_file(in);
    lethe_tree_release_file(out);
}

static void change_own(struct worker *worker, struct own *own)
{
    struct lethe_buf noise = {0};
    uint32_t what = below(worker, 10);
    struct stat want = {0}, attr;

    if (what < 4) {
        size_t offset = below(worker, (uint32_t)own->size + 1);

        fixture_noise(worker->seed, &noise, 1 + below(worker, (uint32_t)max_size / 4));
        if (offset + noise.len <= max_size) {
            write_own(worker, own, noise.data, offset, noise.len);
        }
        lethe_buf_release(&noise);
    } else if (what == 4) {
        want.st_size = below(worker, (uint32_t)max_size);
        need(lethe_tree_setattr(session->tree, own->ino, LETHE_SET_SIZE, &want, &attr) == 0,
             "a size cannot be set");
        resize_own(own, (size_t)want.st_size);
    } else if (what == 5) {
        const struct lethe_buf *photo = &photos[below(worker, PHOTOS)];

        need(lethe_tree_setattr(session->tree, own->ino, LETHE_SET_SIZE, &want, &attr) == 0,
             "a size cannot be set");
        resize_own(own, 0);
        write_own(worker, own, photo->data, 0, photo->len);
    } else if (what == 6) {
        copy_own(worker, &worker->files[below(worker, FILES)], own);
    } else if (what == 7) {
        char name[24];

        snprintf(name, sizeof name, "r%u", below(worker, 1u << 30));
        need(lethe_tree_rename(session->tree, worker->folder, own->name, worker->folder, name, 0) == 0,
             "a file cannot be renamed");
        memcpy(own->name, name, sizeof name);
    } else if (what == 8) {
        need(lethe_tree_unlink(session->tree, worker->folder, own->name) == 0, "a file cannot be removed");
        lethe_tree_forget(session->tree, own->ino, 1);
        resize_own(own, 0);
        make_own(worker, own);
    } else {
        check_own(own, "a file holds other bytes");
    }
}

/* Names that everybody makes, moves and removes; any outcome that POSIX knows. */
static void fight(struct worker *worker)
{
    struct lethe_tree *tree = session->tree;
    char name[16], other[16];
    struct stat attr = {0};
    int error = 0;

    snprintf(name, sizeof name, "s%u", below(worker, SHARED_NAMES));
    snprintf(other, sizeof other, "s%u", below(worker, SHARED_NAMES));
    switch (below(worker, 7)) {
    case 0:
        error = lethe_tree_mknod(tree, shared_folder, name, S_IFREG | 0600, 0, &owner, &attr);
        break;
    case 1:
        error = lethe_tree_mkdir(tree, shared_folder, name, 0700, &owner, &attr);
        break;
    case 2:
        error = lethe_tree_unlink(tree, shared_folder, name);
        break;
    case 3:
        error = lethe_tree_rmdir(tree, shared_folder, name);
        break;
    case 4:
        error = lethe_tree_rename(tree, shared_folder, name, shared_folder, other, 0);
        break;
    case 5:
        error = lethe_tree_link(tree, worker->files[0].ino, shared_folder, name, &attr);
        break;
    default:
        error = lethe_tree_lookup(tree, shared_folder, name, &attr);
    }
    if (!error && attr.st_ino) {
        lethe_tree_forget(tree, attr.st_ino, 1);
    }
    need(error == 0 || error == -EEXIST || error == -ENOENT || error == -EISDIR || error == -ENOTDIR ||
             error == -ENOTEMPTY || error == -EINVAL,
         "a change of names ends in an error that it cannot have");
}

static void *work(void *context)
{
    struct worker *worker = context;

    for (; goes_on(worker->operations); worker->operations++) {
        if (below(worker, 4) == 0) {
            fight(worker);
        } else {
            change_own(worker, &worker->files[below(worker, FILES)]);
        }
    }
    atomic_fetch_sub(&working, 1);
    return NULL;
}

/* --- the others --- */

static bool seen(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    uint64_t *inodes = context;

    if (attr && strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
        inodes[++inodes[0]] = attr->st_ino;
    }
    return inodes[0] < 60;
}

static void *walk(void *context)
{
    (void)context;
    for (unsigned turn = 0; atomic_load(&working) > 0; turn++) {
        uint64_t inodes[64] = {0}, folder = turn % 4 == 0   ? 1
                                            : turn % 4 == 1 ? shared_folder
                                                            : workers[turn % WORKERS].folder;
        struct stat attr;

        need(lethe_tree_readdir(session->tree, folder, 0, true, seen, inodes) == 0,
             "a folder cannot be read");
        for (uint64_t i = 1; i <= inodes[0]; i++) {
            int error = lethe_tree_getattr(session->tree, inodes[i], &attr);

            /* Another thread may have removed and forgotten it; the kernel would have waited for us. */
            need_done(error == -ESTALE ? 0 : error, "an inode cannot be looked at");
            lethe_tree_forget(session->tree, inodes[i], 1);
        }
    }
    return NULL;
}

static void *publish(void *context)
{
    (void)context;
    while (atomic_load(&working) > 0) {
        need(lethe_publisher_sync(session->publisher, 0) == LETHE_OK, "a sync to the vault fails");
    }
    return NULL;
}

static void *collect(void *context)
{
    (void)context;
    while (atomic_load(&working) > 0) {
        struct lethe_gc_result result;
        struct lethe_tree_counts counts;
        struct lethe_contents_usage usage;
        struct lethe_publisher_status status;
        enum lethe_err err = lethe_gc_run(&(struct lethe_gc_options){.vault = session->vault,
                                                                     .db = session->db,
                                                                     .committer = session->committer},
                                          &result);

        need(err == LETHE_OK || err == LETHE_ERR_BUSY || err == LETHE_ERR_CONFLICT, "gc fails");
        lethe_tree_count(session->tree, &counts);
        lethe_contents_usage(session->contents, &usage);
        lethe_publisher_status(session->publisher, &status);
        need(status.last_error == LETHE_OK, "the publisher is in trouble");
    }
    return NULL;
}

/* Whole contents of others, while they change: any bytes, but no error. */
static void *read_others(void *context)
{
    static uint8_t bytes[131072];

    (void)context;
    for (unsigned turn = 0; atomic_load(&working) > 0; turn++) {
        uint64_t inodes[64] = {0};

        need(lethe_tree_readdir(session->tree, workers[turn % WORKERS].folder, 0, true, seen, inodes) == 0,
             "a folder cannot be read");
        for (uint64_t i = 1; i <= inodes[0]; i++) {
            struct lethe_file *file = NULL;
            size_t got;

            if (lethe_tree_open_file(session->tree, inodes[i], O_RDONLY, &file) == 0) {
                need(lethe_tree_read(file, 0, bytes, sizeof bytes, &got) == 0,
                     "a file of others cannot be read");
                lethe_tree_release_file(file);
            }
            lethe_tree_forget(session->tree, inodes[i], 1);
        }
    }
    return NULL;
}

static void open_session(bool publishes)
{
    struct lethe_session_options options = fixture_options(&fixture);

    options.decorate = NULL;
    options.publish = publishes;
    options.epoch_ms = 100;
    options.cache_size = 64u << 20;
    assert_int_equal(lethe_session_open(&options, &session), LETHE_OK);
}

static void furnish(void)
{
    struct stat attr;

    for (unsigned i = 0; i < PHOTOS; i++) {
        fixture_photo(run_seed + i, 48 + 16 * i, 0, &photos[i]);
    }
    assert_int_equal(lethe_tree_mkdir(session->tree, 1, "shared", 0755, &owner, &attr), 0);
    shared_folder = attr.st_ino;
    for (unsigned w = 0; w < WORKERS; w++) {
        struct worker *worker = &workers[w];
        char name[16];

        worker->number = w;
        worker->seed = run_seed * 1000 + w;
        snprintf(name, sizeof name, "w%u", w);
        assert_int_equal(lethe_tree_mkdir(session->tree, 1, name, 0755, &owner, &attr), 0);
        worker->folder = attr.st_ino;
        for (unsigned i = 0; i < FILES; i++) {
            make_own(worker, &worker->files[i]);
        }
    }
}

static void test_stress(void **state)
{
    static void *(*const others[])(void *) = {walk, publish, collect, read_others};
    pthread_t threads[4];
    struct lethe_session_options past;
    struct lethe_check_result result;
    const char *given = getenv("LETHE_TEST_SEED");
    uint64_t operations = 0;

    (void)state;
    run_seed = given ? strtoull(given, NULL, 10) : 1;
    print_message("seed %llu\n", (unsigned long long)run_seed);
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    open_session(true);
    furnish();
    if (test_is_long()) {
        end = time(NULL) + LONG_SECONDS;
        max_size = 600000;
    }
    atomic_store(&working, WORKERS);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, others[i], NULL), 0);
    }
    for (unsigned w = 0; w < WORKERS; w++) {
        assert_int_equal(pthread_create(&workers[w].thread, NULL, work, &workers[w]), 0);
    }
    for (unsigned w = 0; w < WORKERS; w++) {
        assert_int_equal(pthread_join(workers[w].thread, NULL), 0);
        operations += workers[w].operations;
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(lethe_publisher_sync(session->publisher, 0), LETHE_OK);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    open_session(false);
    for (unsigned w = 0; w < WORKERS; w++) {
        for (unsigned i = 0; i < FILES; i++) {
            check_own(&workers[w].files[i], "a file holds other bytes after all");
            free(workers[w].files[i].bytes);
        }
    }
    fixture_assert_refs(session);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    past = fixture_options(&fixture);
    past.at = LETHE_SESSION_NEWEST;
    past.decorate = NULL;
    assert_int_equal(lethe_session_open(&past, &session), LETHE_OK);
    assert_int_equal(lethe_check_run(&(struct lethe_check_options){.vault = session->vault,
                                                                   .db = session->db,
                                                                   .pool = session->pool,
                                                                   .deep = true,
                                                                   .fault = fixture_fault},
                                     &result),
                     LETHE_OK);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    for (unsigned i = 0; i < PHOTOS; i++) {
        lethe_buf_release(&photos[i]);
    }
    fixture_remove(&fixture);
    print_message("%llu operations\n", (unsigned long long)operations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
