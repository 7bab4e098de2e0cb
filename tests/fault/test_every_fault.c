/* SPDX-License-Identifier: MIT */
/*
 * The Nth allocation fails, the Nth call on a file, the Nth call of the backend: once, and from then on, for
 * every N until a run meets no fault. The run writes, syncs, saves as editors do, reads what only the vault
 * has, publishes, collects; or it recovers a device. Nothing ends the process, hangs or leaks
 * (AddressSanitizer's build says so). Afterwards, without faults, the device opens and holds what was
 * acknowledged, each file whole, old or new; so does the vault once it is published. After file faults this
 * is asked of what a power cut leaves too: a sync that failed may have lost anything.
 *
 * The quick form takes some of the N, other ones with another LETHE_TEST_SEED; LETHE_LONG=1 takes every one,
 * from LETHE_TEST_FROM on. LETHE_TEST_PLACES=1 takes of the allocations one from each place in the program that makes
 * any, until no new place comes up. What fails says how to repeat it. An argument chooses one of the tests.
 */
#include "tests/crash/recorder.h"
#include "tests/fault/scarce_memory.h"
#include "tests/fault/versions.h"
#include "tests/long.h"
#include "tests/remove_folder.h"
#include "tests/unit/vault_fixture.h"

#include <signal.h>
#include <sys/statvfs.h>

#define IMPATIENT 200     /* ms */

/* --- which fault --- */

enum source { FILES, MEMORY, BACKEND };

struct plan {
    enum source source;
    int kind; /* enum rec_fault or enum trouble_kind; of MEMORY: 1: nth is a place */
    bool on;
    uint64_t nth; /* 0: none */
    int what;     /* which run: 0, 1 a recovery, 2 a failed sync */
};

static struct plan current;
static const char *const sources[] = {"file call", "allocation", "backend call"};

/* When the process ends, or hangs: says where. */
static void say_where(int signal_number)
{
    char line[160];
    int len = snprintf(line, sizeof line, "\nsignal %d with a fault at %s %llu, kind %d%s\n", signal_number,
                       sources[current.source], (unsigned long long)current.nth, current.kind,
                       current.on ? ", and from then on" : "");

    (void)!write(2, line, (size_t)len);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void arm(struct fixture *fixture, const struct plan *plan)
{
    current = *plan;
    alarm(3600);
    if (plan->source == FILES) {
        rec_fault(fixture->folder, plan->nth, (enum rec_fault)plan->kind, plan->on);
    } else if (plan->source == MEMORY && plan->kind == 1) {
        scarce_arm_place(plan->nth, plan->on);
    } else if (plan->source == MEMORY) {
        scarce_arm(plan->nth, plan->on);
    } else {
        fixture->trouble.error = plan->nth % 2 ? LETHE_ERR_UNREACHABLE : LETHE_ERR_IO;
        fixture_arm(fixture, (enum trouble_kind)plan->kind, (unsigned)plan->nth);
    }
}

/* Whether the fault was met. */
static bool disarm(struct fixture *fixture)
{
    bool met;

    alarm(0);
    if (current.source == FILES) {
        return rec_fault_met();
    }
    if (current.source == MEMORY) {
        return scarce_disarm();
    }
    met = fixture->trouble.hit;
    fixture_arm(fixture, TROUBLE_NONE, 0);
    return met;
}

static void blame(const char *what, const char *name)
{
    fail_msg("%s%s%s", what, *name ? ": " : "", name);
}

/* Whatever assertion failed: after which fault, and how to repeat it. */
static int say_fault(void **state)
{
    (void)state;
    if (current.nth > 0) {
        print_error("the last fault was at %s %llu, kind %d%s (LETHE_TEST_FAULT=%d,%d,%d,%d,%llu)\n",
                    sources[current.source], (unsigned long long)current.nth, current.kind,
                    current.on ? ", and from then on" : "", current.what, (int)current.source, current.kind,
                    (int)current.on, (unsigned long long)current.nth);
    }
    return 0;
}

/* --- the run, every step of which may fail --- */

static const struct lethe_owner owner = {.uid = 1000, .gid = 100};

/* timeout_ms: for reads of what the vault has; 0: as long as it takes. */
static enum lethe_err open_device(struct fixture *fixture, unsigned timeout_ms)
{
    struct lethe_session_options options = fixture_options(fixture);
    enum lethe_err err;

    options.timeout_ms = timeout_ms ? timeout_ms : FIXTURE_PATIENT_MS;
    options.decorate = current.source == BACKEND ? trouble_decorate : NULL;
    err = lethe_session_open(&options, &fixture->session);
    if (!err) {
        struct lethe_session *session = fixture->session;
        struct lethe_sealer_options sealer = fixture_sealer_options(fixture);
        struct lethe_epoch pending;
        int64_t epoch = 0;

        lethe_db_lock(session->db);
        err = lethe_db_get_int(session->db, LETHE_CONFIG_EPOCH, 0, &epoch);
        lethe_db_unlock(session->db);
        if (!err && !lethe_epoch_pending(session->db, 0, &pending) && (int64_t)pending.n > epoch) {
            epoch = (int64_t)pending.n;
        }
        lethe_contents_set_next_epoch(session->contents, (uint64_t)epoch + 1);
        err = err ? err : lethe_sealer_new(&sealer, &fixture->sealer);
        fixture->publisher = (struct lethe_publisher_options){.vault = session->vault,
                                                              .db = session->db,
                                                              .contents = session->contents,
                                                              .committer = session->committer,
                                                              .tree = session->tree,
                                                              .sealer = fixture->sealer};
        if (err) {
            (void)!lethe_session_close(session);
            fixture->session = NULL;
        }
    }
    return err;
}

static enum lethe_err close_device(struct fixture *fixture)
{
    enum lethe_err err;

    lethe_sealer_free(fixture->sealer);
    fixture->sealer = NULL;
    err = lethe_session_close(fixture->session);
    fixture->session = NULL;
    return err;
}

static struct lethe_file *open_file(struct fixture *fixture, struct model *model, int which)
{
    struct lethe_tree *tree = fixture->session->tree;
    const char *name = model->files[which].name;
    struct lethe_file *file = NULL;
    struct stat attr;
    int error = lethe_tree_lookup(tree, 1, name, &attr);

    if (error == -ENOENT) {
        unsigned version = note(model, which, EMPTY);

        error = lethe_tree_mknod(tree, 1, name, S_IFREG | 0644, 0, &owner, &attr);
        settle(model, which, version, !error);
    }
    if (!error) {
        error = lethe_tree_open_file(tree, attr.st_ino, O_RDWR, &file);
        lethe_tree_forget(tree, attr.st_ino, 1);
    }
    return error ? NULL : file;
}

/* Another version, of the same length when there is one (so that it is there or not, in one call). */
static bool put_file(struct fixture *fixture, struct model *model, int which, uint32_t version, bool fsync)
{
    static uint8_t bytes[FILE_BYTES];
    struct lethe_file *file = open_file(fixture, model, which);
    size_t len = version_bytes(version, bytes);
    unsigned noted;
    int error;

    if (!file) {
        return false;
    }
    noted = note(model, which, version);
    error = lethe_tree_write(file, 0, bytes, len, false);
    settle(model, which, noted, !error);
    if (!error && fsync) {
        error = lethe_tree_fsync(file);
        if (!error) {
            acknowledged(model);
        }
    }
    lethe_tree_release_file(file);
    return !error;
}

static void save_file(struct fixture *fixture, struct model *model, uint32_t version)
{
    if (put_file(fixture, model, SAVE, version, true)) {
        unsigned from = note(model, SAVE, ABSENT), to = note(model, TEXT, version);
        int error = lethe_tree_rename(fixture->session->tree, 1, model->files[SAVE].name, 1,
                                      model->files[TEXT].name, 0);

        settle(model, SAVE, from, !error);
        settle(model, TEXT, to, !error);
    }
}

/* What can be read is right. */
static void read_file(struct fixture *fixture, struct model *model, int which, bool must)
{
    static uint8_t bytes[FILE_BYTES + 1];
    struct lethe_tree *tree = fixture->session->tree;
    struct known *known = &model->files[which];
    struct lethe_file *file = NULL;
    size_t at = 0, got = 1;
    struct stat attr;
    int error = lethe_tree_lookup(tree, 1, known->name, &attr);
    bool may_be_absent = false, found = false;
    uint32_t version;

    for (unsigned v = known->base; v < known->count; v++) {
        may_be_absent |= known->versions[v] == ABSENT;
    }
    if (error == -ENOENT && !may_be_absent && must) {
        blame("a file is gone", known->name);
    }
    if (error) {
        if (must && error != -ENOENT) {
            blame("a file cannot be found", known->name);
        }
        return;
    }
    error = lethe_tree_open_file(tree, attr.st_ino, O_RDONLY, &file);
    while (!error && got > 0 && at < sizeof bytes) {
        error = lethe_tree_read(file, at, bytes + at, sizeof bytes - at, &got);
        at += error ? 0 : got;
    }
    if (file) {
        lethe_tree_release_file(file);
    }
    lethe_tree_forget(tree, attr.st_ino, 1);
    if (error) {
        if (must) {
            blame("a file cannot be read", known->name);
        }
        return;
    }
    version = version_of(known, bytes, at);
    if (version == ABSENT - 1) {
        blame("a file has bytes that were never its own", known->name);
    }
    for (unsigned v = known->base; v < known->count && must; v++) {
        found |= known->versions[v] == version;
    }
    if (must && !found) {
        blame("a file is not what was acknowledged", known->name);
    }
}

static void run(struct fixture *fixture, struct model *model)
{
    struct lethe_gc_result result;
    unsigned version;
    int error;

    if (open_device(fixture, IMPATIENT) && open_device(fixture, IMPATIENT)) {
        return;
    }
    for (int i = 0; i < NAMES; i++) {
        read_file(fixture, model, i, false);
    }
    (void)put_file(fixture, model, OLD, 7, true);
    save_file(fixture, model, 14);
    version = note(model, GONE, ABSENT);
    error = lethe_tree_unlink(fixture->session->tree, 1, model->files[GONE].name);
    settle(model, GONE, version, !error);
    if (!fixture_publish(fixture)) {
        acknowledged(model);
    }
    (void)put_file(fixture, model, NEW, 21, false);
    (void)put_file(fixture, model, OLD, 28, true);
    (void)!lethe_gc_run(&(struct lethe_gc_options){.vault = fixture->session->vault,
                                                   .db = fixture->session->db,
                                                   .committer = fixture->session->committer},
                        &result);
    if (!fixture_publish(fixture)) {
        acknowledged(model);
    }
    save_file(fixture, model, 35);
    for (int i = 0; i < NAMES; i++) {
        read_file(fixture, model, i, false);
    }
    if (!close_device(fixture)) {
        acknowledged(model);
    }
}

/* --- what must hold afterwards --- */

static void assert_all(struct fixture *fixture, struct model *model)
{
    char *here;

    if (open_device(fixture, 0)) {
        blame("the device does not open", "");
    }
    for (int i = 0; i < NAMES; i++) {
        read_file(fixture, model, i, true);
    }
    fixture_assert_refs(fixture->session);
    if (fixture_publish(fixture)) {
        blame("it cannot publish", "");
    }
    fixture_assert_refs(fixture->session);
    fixture_assert_slots(fixture->session);
    here = fixture_describe(fixture->session);
    assert_int_equal(close_device(fixture), LETHE_OK);
    fixture_assert_vault(fixture, LETHE_SESSION_NEWEST, here);
    free(here);
}

static void place(struct fixture *fixture, const struct fixture *base, const char *suffix)
{
    *fixture = *base;
    snprintf(fixture->folder, sizeof fixture->folder, "%.60s%s", base->folder, suffix);
    snprintf(fixture->vault, sizeof fixture->vault, "%s/vault", fixture->folder);
    snprintf(fixture->state, sizeof fixture->state, "%s/state", fixture->folder);
    snprintf(fixture->cache, sizeof fixture->cache, "%s/cache", fixture->folder);
}

static struct fixture base;
static struct model base_model;

/* A vault with three files, that nothing is cached of, and one more file that is only on the device. */
static int make_base(void **state)
{
    static const char *const names[NAMES] = {"old", "text", "photo.png", "gone", "save.tmp", "new"};
    struct lethe_buf bytes = {0};
    struct statvfs memory;
    bool plenty = statvfs("/dev/shm", &memory) == 0 && access("/dev/shm", W_OK) == 0 &&
                  memory.f_bavail > (1u << 30) / memory.f_frsize;

    (void)state;
    fixture_make_in(&base, plenty ? "/dev/shm" : "/tmp");
    base.timeout_ms = FIXTURE_PATIENT_MS;
    assert_int_equal(fixture_init(&base), LETHE_OK);
    assert_int_equal(open_device(&base, 0), LETHE_OK);
    fixture_photo(4, 64, 0, &bytes);
    assert_true(bytes.len < sizeof photo);
    memcpy(photo, bytes.data, bytes.len);
    photo_len = bytes.len;
    lethe_buf_release(&bytes);
    for (int i = 0; i < NAMES; i++) {
        base_model.files[i].name = names[i];
        settle(&base_model, i, note(&base_model, i, ABSENT), true);
    }
    assert_true(put_file(&base, &base_model, OLD, 70, false));
    assert_true(put_file(&base, &base_model, TEXT, 77, false));
    assert_true(put_file(&base, &base_model, PHOTO, 999, false));
    assert_int_equal(fixture_publish(&base), LETHE_OK);
    assert_true(put_file(&base, &base_model, GONE, 84, true));
    assert_int_equal(close_device(&base), LETHE_OK);
    acknowledged(&base_model);
    remove_folder(base.cache);
    return 0;
}

static int remove_base(void **state)
{
    (void)state;
    remove_folder(base.folder);
    return 0;
}

/* The folders of the base in a new place. */
static void copy_base(struct fixture *fixture)
{
    place(fixture, &base, "-r");
    if (access(fixture->folder, F_OK) == 0) { /* of a run that failed */
        remove_folder(fixture->folder);
    }
    rec_start(base.folder);
    rec_stop();
    rec_crash(0, REC_KILLED, 0, fixture->folder);
    rec_forget();
}

/* One run with a fault; whether it was met. */
static bool one(const struct plan *plan)
{
    struct fixture fixture, image;
    struct model model = base_model;
    bool met;

    copy_base(&fixture);
    if (plan->source == FILES) {
        rec_start(fixture.folder);
    }
    arm(&fixture, plan);
    run(&fixture, &model);
    met = disarm(&fixture);
    if (plan->source == FILES) {
        rec_stop();
        place(&image, &fixture, "-p");
        if (access(image.folder, F_OK) == 0) {
            remove_folder(image.folder);
        }
        rec_crash(rec_count(), (enum rec_crash)(plan->nth % REC_CRASHES), plan->nth, image.folder);
        assert_all(&image, &model);
        remove_folder(image.folder);
        rec_forget();
    }
    assert_all(&fixture, &model);
    remove_folder(fixture.folder);
    return met;
}

/*
 * A sync fails, the device is opened again and goes on: the kernel shows bytes that are not on the disk. Then
 * the power goes.
 */
static bool one_sync(const struct plan *plan)
{
    struct fixture fixture, image;
    struct model model = base_model;
    bool met;

    copy_base(&fixture);
    rec_start(fixture.folder);
    arm(&fixture, plan);
    if (!open_device(&fixture, IMPATIENT)) {
        (void)put_file(&fixture, &model, OLD, 7, true);
        (void)put_file(&fixture, &model, NEW, 14, true);
        if (close_device(&fixture)) {
            unsettle(&model);
        }
    }
    met = disarm(&fixture);
    assert_int_equal(open_device(&fixture, 0), LETHE_OK);
    if (!put_file(&fixture, &model, OLD, 21, true)) {
        blame("it does not go on", "");
    }
    place(&image, &fixture, "-p");
    rec_stop();
    rec_crash(rec_count(), plan->nth % 2 ? REC_LEAST : REC_NAMES_FIRST, plan->nth, image.folder);
    assert_all(&image, &model);
    remove_folder(image.folder);
    rec_forget();
    assert_int_equal(close_device(&fixture), LETHE_OK);
    remove_folder(fixture.folder);
    return met;
}

/* A recovery with a fault leaves the old state or the new one. */
static bool one_recovery(const struct plan *plan)
{
    struct fixture fixture;
    struct model model = base_model;
    struct lethe_secret *device = NULL;
    char *aside = NULL;
    enum lethe_err err;
    bool met;

    copy_base(&fixture);
    assert_int_equal(lethe_phrase_read(fixture.phrase, strlen(fixture.phrase), &device), LETHE_OK);
    arm(&fixture, plan);
    err = lethe_setup_recover(
        &(struct lethe_recover_options){.location = fixture.vault,
                                        .state_root = fixture.state,
                                        .passphrase = FIXTURE_PASS,
                                        .passphrase_len = sizeof FIXTURE_PASS - 1,
                                        .device = device,
                                        .decorate = plan->source == BACKEND ? trouble_decorate : NULL,
                                        .decorate_context = &fixture.trouble},
        &aside);
    met = disarm(&fixture);
    free(aside);
    lethe_secret_free(device);
    if (!met && err) {
        blame("it does not recover", "");
    }
    /* What was on the device alone is in the state that was set aside, if it came so far before it failed. */
    model.files[GONE].base = 0;
    assert_all(&fixture, &model);
    remove_folder(fixture.folder);
    return met;
}

/* Whether one fault is asked for by LETHE_TEST_FAULT, which is met when it is one of these. */
static bool again(struct plan plan, bool (*attempt)(const struct plan *plan))
{
    const char *given = getenv("LETHE_TEST_FAULT");
    unsigned long long wanted[5] = {0};

    if (!given) {
        return false;
    }
    assert_int_equal(sscanf(given, "%llu,%llu,%llu,%llu,%llu", &wanted[0], &wanted[1], &wanted[2], &wanted[3],
                            &wanted[4]),
                     5);
    plan.nth = wanted[4];
    if (wanted[0] == (unsigned)plan.what && wanted[1] == plan.source && wanted[2] == (unsigned)plan.kind &&
        wanted[3] == plan.on) {
        (void)attempt(&plan);
    }
    return true;
}

/* Every N in the long form; in the quick one the first and then others, further and further apart. */
static void every(enum source source, int kind, bool on, bool (*attempt)(const struct plan *plan))
{
    const char *given = getenv("LETHE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    struct plan plan = {.source = source,
                        .kind = kind,
                        .on = on,
                        .what = attempt == one_recovery ? 1
                                : attempt == one_sync   ? 2
                                                        : 0};
    const char *from = getenv("LETHE_TEST_FROM");
    unsigned runs = 0;

    if (again(plan, attempt)) {
        return;
    }
    plan.nth = from ? strtoull(from, NULL, 10) - 1 : 0;
    seed += (uint64_t)source * 64 + (uint64_t)kind * 2 + on;
    do {
        uint64_t stride =
            test_is_long() || plan.what == 2 ? 1 : 1 + fixture_random(&seed) % (1 + plan.nth * 3);

        plan.nth += stride;
        runs++;
    } while (attempt(&plan));
    current.nth = 0;
    print_message("%s, kind %d%s: %u runs, clean from %llu on\n", sources[source], kind, on ? " and on" : "",
                  runs, (unsigned long long)plan.nth);
}

/* Every place once, those too that came up while others failed. */
static void every_place(bool on, bool (*attempt)(const struct plan *plan))
{
    struct plan plan = {.source = MEMORY, .kind = 1, .on = on, .what = attempt == one_recovery};
    const char *from = getenv("LETHE_TEST_FROM");
    size_t tried = from ? strtoull(from, NULL, 10) : 0, met = 0, count;
    const uint64_t *places;

    if (again(plan, attempt)) {
        return;
    }
    (void)attempt(&plan); /* which are there? */
    places = scarce_places(&count);
    for (; tried < count; tried++) {
        plan.nth = places[tried];
        met += attempt(&plan);
        if (tried % 100 == 0) {
            print_message("place %zu of %zu, %zu met\n", tried, count, met);
        }
        places = scarce_places(&count);
    }
    current.nth = 0;
    print_message("allocations%s: %zu places, %zu met\n", on ? " and on" : "", count, met);
}

static void test_file_calls(void **state)
{
    (void)state;
    for (int kind = 0; kind < REC_FAULTS; kind++) {
        every(FILES, kind, false, one);
        if (kind == REC_FAULT_EIO || kind == REC_FAULT_ENOSPC) {
            every(FILES, kind, true, one);
        }
    }
}

static void test_syncs(void **state)
{
    (void)state;
    every(FILES, REC_FAULT_SYNC, false, one_sync);
    every(FILES, REC_FAULT_SYNC, true, one_sync);
}

static void test_allocations(void **state)
{
    (void)state;
    if (getenv("LETHE_TEST_PLACES")) {
        every_place(true, one);
        every_place(false, one);
        return;
    }
    every(MEMORY, 0, false, one);
    every(MEMORY, 0, true, one);
}

static void test_backend_calls(void **state)
{
    (void)state;
    every(BACKEND, TROUBLE_FAIL, false, one);
    every(BACKEND, TROUBLE_FAIL_ON, true, one);
    every(BACKEND, TROUBLE_LOST, false, one);
}

static void test_recovery(void **state)
{
    (void)state;
    every(FILES, REC_FAULT_EIO, false, one_recovery);
    every(FILES, REC_FAULT_ENOSPC, true, one_recovery);
    every(MEMORY, 0, false, one_recovery);
    every(MEMORY, 0, true, one_recovery);
    every(BACKEND, TROUBLE_FAIL, false, one_recovery);
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    if (getenv("LETHE_TEST_LOG")) {
        fprintf(stderr, "%s\n", text);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_backend_calls, say_fault),
        cmocka_unit_test_teardown(test_syncs, say_fault),
        cmocka_unit_test_teardown(test_file_calls, say_fault),
        cmocka_unit_test_teardown(test_recovery, say_fault),
        cmocka_unit_test_teardown(test_allocations, say_fault),
    };

    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    scarce_init();
    signal(SIGSEGV, say_where);
    signal(SIGABRT, say_where);
    signal(SIGALRM, say_where);
    lethe_log_set_sink(quiet, NULL);
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
