/* SPDX-License-Identifier: MIT */
/*
 * Power cuts of a real mount. The daemon runs in this process, so that the recorder sees all that it does to state,
 * cache and vault; another process works in the mount (fuse_life.h). At many points the folders are rebuilt as a power
 * cut (or kill) could have left them, and opened: what was fsynced is there, a rename is whole or not at all, a file that
 * was being written has in each block one of its versions (or, where it grew, zeros), every file counts its names.
 *
 * Every second life has a second store. LETHE_TEST_SEED repeats the work, though not the order of the daemon's threads;
 * LETHE_LONG=1 makes 2,000 crashes of it. Without /dev/fuse, or without the right to mount, nothing is tested.
 */
#include "fs/mount/daemon.h"
#include "tests/crash/fuse_life.h"
#include "tests/crash/recorder.h"
#include "tests/long.h"
#include "tests/remove_folder.h"

#define POINTS_OF_A_LIFE 20
#define POINTS_LONG 2000

static unsigned crashes;

/* --- the daemon --- */

/* The daemon sees to it that it ends soon after an unmount; here it is a thread that goes on. */
void __real__exit(int code) __attribute__((noreturn)); /* NOLINT: names that the linker gives */
void __wrap__exit(int code) __attribute__((noreturn)); /* NOLINT */

static pthread_t main_thread;
static pid_t main_process;

void __wrap__exit(int code) /* NOLINT */
{
    if (getpid() == main_process && !pthread_equal(pthread_self(), main_thread)) {
        pthread_exit(NULL);
    }
    __real__exit(code);
}

static void *run_daemon(void *context)
{
    static enum lethe_err err;
    char pass[] = FIXTURE_PASS;
    struct lethe_daemon_options options = {
        .session = fixture_options(context), .mountpoint = work->mountpoint, .foreground = true};

    options.session.passphrase = pass; /* it is wiped */
    options.session.decorate = NULL;
    options.session.publish = true;
    options.session.epoch_ms = 200;
    err = lethe_daemon_run(&options);
    return &err;
}

/* --- judgement --- */

/* Tells what was done to the path, and ends the test. */
static void blame(const struct event *event, size_t k, const char *what)
{
    for (size_t i = 0; i < work->count; i++) {
        const struct event *each = &work->events[i];

        if (each->path == event->path) {
            print_error("%s of %zu bytes%s%s: begun at %zu, done at %zd, durable at %zd\n",
                        each->absent ? "nothing" : "a version", each->size, each->torn ? ", torn" : "",
                        each->mixed ? ", mixed" : "", each->begun,
                        (ssize_t)each->done, (ssize_t)each->durable);
        }
    }
    fail_msg("%s: %s, cut at %zu of %zu", paths[event->path], what, k, rec_count());
}

static bool same_block(const struct event *event, const uint8_t *block, size_t offset, size_t len)
{
    size_t have = event->absent || event->size <= offset ? 0 : event->size - offset;

    have = have < len ? have : len;
    for (size_t i = have; i < len; i++) {
        if (block[i] != 0) {
            return false;
        }
    }
    return memcmp(event->bytes + offset, block, have) == 0;
}

/* Any byte is that of a version, or zero. */
static bool same_bytes(const struct event *const *allowed, size_t count, const uint8_t *block, size_t offset, size_t len)
{
    for (size_t i = offset; i < offset + len; i++) {
        bool found = block[i - offset] == 0;

        for (size_t v = 0; v < count && !found; v++) {
            found = !allowed[v]->absent && i < allowed[v]->size && allowed[v]->bytes[i] == block[i - offset];
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

/* The versions of one path from low on that had begun at k. */
static void judge(int path, size_t k, bool absent, const uint8_t *bytes, size_t size)
{
    static const struct event nothing = {.absent = true};
    const struct event *allowed[EVENTS + 1] = {&nothing};
    size_t count = 1, most = 0;
    bool torn = false, mixed = false;

    for (size_t i = 0; i < work->count; i++) {
        const struct event *event = &work->events[i];

        if (event->path != path || event->begun > k) {
            continue;
        }
        if (event->durable <= k) {
            count = 0;
        }
        allowed[count++] = event;
    }
    for (size_t i = 0; i < count; i++) {
        const struct event *event = allowed[i];

        torn |= event->torn && event->durable > k;
        mixed |= event->mixed && event->durable > k;
        most = !event->absent && event->size > most ? event->size : most;
        if (event->absent == absent && (absent || (event->size == size && memcmp(event->bytes, bytes, size) == 0))) {
            return;
        }
    }
    if (absent) {
        blame(allowed[0], k, "it is gone");
    }
    if (!torn || size > most) {
        blame(allowed[count - 1], k, "it is none of its versions");
    }
    for (size_t offset = 0; offset < size; offset += BLOCK) {
        size_t len = size - offset < BLOCK ? size - offset : BLOCK;
        bool found = false;

        for (size_t i = 0; i < count && !found; i++) {
            found = same_block(allowed[i], bytes + offset, offset, len);
        }
        if (!found && same_block(&nothing, bytes + offset, offset, len)) {
            found = true; /* it grew */
        }
        if (!found && !(mixed && same_bytes(allowed, count, bytes + offset, offset, len))) {
            blame(allowed[count - 1], k, "a block is none of its versions");
        }
    }
}

static void judge_path(struct fixture *image, int path, size_t k)
{
    static uint8_t bytes[ROOM + 1];
    struct lethe_tree *tree = image->session->tree;
    const char *name = paths[path];
    struct lethe_file *file = NULL;
    struct stat attr;
    uint64_t folder = 1;
    size_t have = 0, got = 1;
    int error = 0;

    if (strncmp(name, "d/", 2) == 0) {
        name += 2;
        error = lethe_tree_lookup(tree, 1, "d", &attr);
        folder = error ? 0 : attr.st_ino;
    }
    if (!error) {
        error = lethe_tree_lookup(tree, folder, name, &attr);
    }
    if (error == -ENOENT) {
        judge(path, k, true, NULL, 0);
        return;
    }
    assert_int_equal(error, 0);
    assert_int_equal(lethe_tree_open_file(tree, attr.st_ino, O_RDONLY, &file), 0);
    while (got > 0 && have < sizeof bytes) {
        assert_int_equal(lethe_tree_read(file, have, bytes + have, sizeof bytes - have, &got), 0);
        have += got;
    }
    lethe_tree_release_file(file);
    lethe_tree_forget(tree, attr.st_ino, 1);
    judge(path, k, false, bytes, have);
}

static void cut(const struct fixture *fixture, size_t k, enum rec_crash how, uint64_t seed)
{
    struct fixture image = *fixture;
    char *here;

    snprintf(image.folder, sizeof image.folder, "%.50s-i", fixture->folder);
    snprintf(image.vault, sizeof image.vault, "%s/vault", image.folder);
    snprintf(image.state, sizeof image.state, "%s/state", image.folder);
    snprintf(image.cache, sizeof image.cache, "%s/cache", image.folder);
    snprintf(image.second, sizeof image.second, "%s/second", image.folder);
    rec_crash(k, how, seed, image.folder);
    if (seed % 3 == 0 && access(image.cache, F_OK) == 0) {
        remove_folder(image.cache);
    }
    assert_int_equal(fixture_open(&image), LETHE_OK);
    for (int path = 0; path < PATHS; path++) {
        judge_path(&image, path, k);
    }
    assert_int_equal(fixture_number(image.session, "SELECT count(*) FROM inode i WHERE (mode & 61440) = 32768 AND nlink"
                                                   " != (SELECT count(*) FROM dentry WHERE ino = i.ino)"),
                     0);
    fixture_assert_refs(image.session);
    fixture_assert_slots(image.session);
    if (seed % 4 == 0) {
        assert_int_equal(fixture_publish(&image), LETHE_OK);
        here = fixture_describe(image.session);
        fixture_close(&image);
        fixture_assert_vault(&image, LETHE_SESSION_NEWEST, here);
        free(here);
    } else {
        fixture_close(&image);
    }
    remove_folder(image.folder);
    crashes++;
}

static void one_life(uint64_t seed, unsigned points)
{
    struct fixture fixture;
    pthread_t daemon;
    void *result;
    int status;
    pid_t child;
    char ask;

    fixture_make_in(&fixture, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fixture.timeout_ms = FIXTURE_PATIENT_MS;
    fixture.fidelity = seed % 2 ? LETHE_FIDELITY_SPLIT : LETHE_FIDELITY_EXACT;
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    snprintf(work->mountpoint, sizeof work->mountpoint, "%.60s-m", fixture.folder);
    assert_int_equal(mkdir(work->mountpoint, 0700), 0);
    work->count = 0;
    work->seed = seed;
    assert_int_equal(pipe(asks), 0);
    assert_int_equal(pipe(answers), 0);
    child = fork();
    if (child == 0) {
        live();
    }
    close(asks[1]);
    close(answers[0]);
    rec_start(fixture.folder);
    assert_int_equal(pthread_create(&daemon, NULL, run_daemon, &fixture), 0);
    while (read(asks[0], &ask, 1) == 1) {
        size_t count = rec_count();

        assert_int_equal(write(answers[1], &count, sizeof count), sizeof count);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0) {
        (void)umount2(work->mountpoint, MNT_DETACH);
    }
    assert_int_equal(pthread_join(daemon, &result), 0);
    rec_stop();
    close(asks[0]);
    close(answers[1]);
    rmdir(work->mountpoint);
    assert_int_equal(status, 0);
    assert_int_equal(*(enum lethe_err *)result, LETHE_OK);
    assert_true(rec_complete());
    for (unsigned i = 0; i < points; i++) {
        size_t k = fixture_random(&seed) % (rec_count() + 1);

        while (i % 2 && k < rec_count() && !rec_is_sync(k)) {
            k++;
        }
        k += i % 4 == 1 && k < rec_count();
        cut(&fixture, k, (enum rec_crash)(fixture_random(&seed) % REC_CRASHES), fixture_random(&seed));
    }
    rec_forget();
    fixture_remove(&fixture);
}

static void test_fuse_cut(void **state)
{
    const char *given = getenv("LETHE_TEST_SEED"), *points = getenv("LETHE_TEST_POINTS");
    uint64_t first = given ? strtoull(given, NULL, 10) : 1, seed = first;
    unsigned wanted = points ? (unsigned)atoi(points) : test_is_long() ? POINTS_LONG : POINTS_OF_A_LIFE;

    (void)state;
    if (access("/dev/fuse", R_OK | W_OK) != 0 || geteuid() != 0) {
        print_message("no right to mount: nothing was tested\n");
        return;
    }
    while (crashes < wanted) {
        unsigned rest = wanted - crashes;

        one_life(seed++, rest < POINTS_OF_A_LIFE ? rest : POINTS_OF_A_LIFE);
    }
    print_message("seed %llu: %u crashes in %llu lives\n", (unsigned long long)first, crashes,
                  (unsigned long long)(seed - first));
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    if (getenv("LETHE_TEST_LOG") || level == LETHE_LOG_ERROR) {
        fprintf(stderr, "%s\n", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuse_cut)};

    main_thread = pthread_self();
    main_process = getpid();
    work = mmap(NULL, sizeof *work, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (work == MAP_FAILED) {
        return 1;
    }
    lethe_log_set_sink(quiet, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
