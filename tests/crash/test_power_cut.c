/* SPDX-License-Identifier: MIT */
/*
 * Power cuts of the whole device and its vault. All that a random life does to state, cache and vault is
 * recorded; at many points the folders are rebuilt as a power cut (or kill) could have left them, and opened:
 * the tree is one moment of that life, not older than what was made durable; the vault holds a moment that
 * was published; both go on from there. Some of the lives after a crash are recorded and cut as well.
 *
 * Every third life publishes beside its work, every fourth has a second store, every fourth is lossy. LETHE_TEST_SEED repeats a run,
 * LETHE_LONG=1 makes 10,000 crashes of it.
 */
#include "tests/crash/crash_life.h"
#include "tests/crash/recorder_private.h"
#include "tests/long.h"
#include "tests/remove_folder.h"

#include <sys/statvfs.h>

#define POINTS_QUICK 200
#define POINTS_LONG 10000
#define POINTS_OF_A_LIFE 70
#define STEPS 60
#define AGAIN_STEPS 8
#define AGAIN_POINTS 4

struct point {
    size_t k;
    enum rec_crash how;
    uint64_t seed;
    bool no_cache;
};

static char log_lines[8][256];
static unsigned log_count;
static unsigned crashes, published_after, vaults_seen;
static uint64_t life_seed;

static void keep_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    snprintf(log_lines[__atomic_fetch_add(&log_count, 1, __ATOMIC_RELAXED) % 8], sizeof log_lines[0], "%s",
             text);
}

/* Says where, keeps the image as it was before it was opened, and ends the test. */
static void failed(const struct point *point, const char *what)
{
    char kept[64] = "/tmp/lethe-power-cut-XXXXXX", image[96];

    fprintf(stderr, "%s\n", what); /* cmocka would cut it short */
    print_error("life %llu of %zu operations, crash at %zu of kind %d, seed %llu%s\n",
                (unsigned long long)life_seed, rec.op_count, point->k, (int)point->how,
                (unsigned long long)point->seed, point->no_cache ? ", without cache" : "");
    for (unsigned i = 0; i < 8; i++) {
        if (log_lines[(log_count + i) % 8][0]) {
            print_error("log: %s\n", log_lines[(log_count + i) % 8]);
        }
    }
    if (mkdtemp(kept)) {
        snprintf(image, sizeof image, "%s/image", kept);
        rec_crash(point->k, point->how, point->seed, image);
        print_error("kept in %s\n", image);
    }
    fail();
}

/* The moment that text is, among those allowed; SIZE_MAX: none. */
static size_t moment_of(const struct life *life, size_t k, const char *text, char *why, size_t room)
{
    size_t low = 0, high = 0, elsewhere = SIZE_MAX;

    for (size_t i = 0; i + 1 < life->durable_count; i += 2) {
        if (life->durable[i] <= k && life->durable[i + 1] > low) {
            low = life->durable[i + 1];
        }
    }
    for (size_t i = 0; i < life->count; i++) {
        if (life->moments[i].begun <= k) {
            high = i;
        }
    }
    for (size_t i = 0; i < life->count; i++) {
        if (strcmp(life->moments[i].text, text) == 0) {
            if (i >= low && i <= high) {
                return i;
            }
            elsewhere = i;
        }
    }
    if (elsewhere != SIZE_MAX) {
        snprintf(why, room, "the tree is moment %zu, only %zu to %zu may be\n", elsewhere, low, high);
    } else {
        snprintf(why, room,
                 "the tree is no moment of this life (%zu to %zu may be):\n%s--- moment %zu was\n%s", low,
                 high, text, low, life->moments[low].text);
    }
    return SIZE_MAX;
}

static bool may_be_published(const struct life *life, size_t k, const char *text)
{
    size_t last = 0;

    for (size_t i = 0; i < life->published_count; i++) {
        if (life->published[i].done <= k) {
            last = i;
        }
    }
    for (size_t i = last; i < life->published_count; i++) {
        const struct published *published = &life->published[i];

        if (published->begun > k) {
            continue;
        }
        if (published->text && strcmp(published->text, text) == 0) {
            return true;
        }
        for (size_t m = published->first; !published->text && m <= published->last && m < life->count; m++) {
            if (strcmp(life->moments[m].text, text) == 0) {
                return true;
            }
        }
    }
    return false;
}

static char *vault_text(struct fixture *fixture, struct lethe_check_result *result, enum lethe_err *err)
{
    struct lethe_session_options options = fixture_options(fixture);
    struct lethe_session *session = NULL;
    char *text = NULL;

    options.at = LETHE_SESSION_NEWEST;
    *err = lethe_session_open(&options, &session);
    if (!*err) {
        *err = lethe_check_run(&(struct lethe_check_options){.vault = session->vault,
                                                             .db = session->db,
                                                             .pool = session->pool,
                                                             .deep = true,
                                                             .fault = fixture_fault},
                               result);
    }
    if (!*err) {
        text = life_text(session->tree, NULL);
    }
    if (lethe_session_close(session)) {
        *err = LETHE_ERR_IO;
    }
    return text;
}

static void assert_vault(struct fixture *fixture, const struct life *life, const struct point *point,
                         char **out)
{
    struct lethe_check_result result;
    enum lethe_err err;
    char why[128], *text = vault_text(fixture, &result, &err);

    vaults_seen++;
    if (err) {
        snprintf(why, sizeof why, "the vault alone: %s", lethe_err_str(err));
        failed(point, why);
    }
    if (!may_be_published(life, point->k, text)) {
        print_error("in the vault:\n%s", text);
        failed(point, "the vault holds no moment that was published");
    }
    if (out) {
        *out = text;
    } else {
        free(text);
    }
}

/* It goes on: something is written, published, and then it is what the vault holds. */
static void go_on(struct fixture *fixture, const struct point *point)
{
    struct lethe_check_result result;
    struct lethe_buf bytes = {0};
    enum lethe_err err;
    char *here, *there;

    fixture_noise(point->seed, &bytes, 5000);
    fixture_put(fixture, "after the crash", &bytes);
    lethe_buf_release(&bytes);
    err = fixture_publish(fixture);
    if (err) {
        failed(point, "it cannot publish after the crash");
    }
    fixture_assert_refs(fixture->session);
    here = life_text(life_tree(&(struct life){.fixture = fixture}), NULL);
    fixture_close(fixture);
    there = vault_text(fixture, &result, &err);
    if (err || strcmp(here, there) != 0) {
        print_error("%s---\n%s", here, there ? there : lethe_err_str(err));
        failed(point, "what was published after the crash is not the tree");
    }
    free(here);
    free(there);
    published_after++;
}

/* Memory, if there is plenty: nothing here has to outlive the test. */
static void make_fixture(struct fixture *fixture)
{
    struct statvfs memory;
    bool plenty = statvfs("/dev/shm", &memory) == 0 && access("/dev/shm", W_OK) == 0 &&
                  memory.f_bavail > (1u << 30) / memory.f_frsize;

    fixture_make_in(fixture, plenty ? "/dev/shm" : "/tmp");
    fixture->timeout_ms = FIXTURE_PATIENT_MS;
}

static struct life *life_new(struct fixture *fixture, uint64_t seed)
{
    struct life *life = calloc(1, sizeof *life);

    assert_non_null(life);
    life->fixture = fixture;
    life->seed = seed;
    life->concurrent = seed % 3 == 2;
    pthread_mutex_init(&life->lock, NULL);
    return life;
}

/* The vault holds this moment, or (done is SIZE_MAX) gets it from a cut that was made before. Takes text. */
static void life_was_published(struct life *life, size_t done, char *text)
{
    assert_non_null(text);
    life->published[life->published_count++] = (struct published){.done = done, .text = text};
}

/* From the fixture's folders as they are. */
static void live(struct life *life, unsigned steps)
{
    life_open_device(life);
    life->durable[life->durable_count++] = 0;
    life->durable[life->durable_count++] = 0;
    for (unsigned i = 0; i < steps; i++) {
        life_step(life);
    }
    life_close_device(life);
    rec_stop();
    if (!rec_complete()) {
        fail_msg("life %llu: not all of it was recorded", (unsigned long long)life_seed);
    }
}

static void crash(const struct life *life, unsigned points, unsigned again, uint64_t *seed);

/* The life after this crash, and its own crashes. */
static void live_again(struct fixture *fixture, const struct life *before, const struct point *point,
                       uint64_t *seed)
{
    struct life *life = life_new(fixture, *seed);
    char *text, why[8192];
    struct rec outer = rec;

    assert_vault(fixture, before, point, &text);
    life_was_published(life, 0, text);
    for (size_t i = 0; i < before->published_count; i++) {
        const struct published *published = &before->published[i];

        if (published->begun <= point->k && published->done > point->k) {
            if (published->text) {
                life_was_published(life, SIZE_MAX, strdup(published->text));
            }
            for (size_t m = published->first; !published->text && m <= published->last && m < before->count;
                 m++) {
                life_was_published(life, SIZE_MAX, strdup(before->moments[m].text));
            }
        }
    }
    rec = (struct rec){0};
    rec_start(fixture->folder);
    live(life, AGAIN_STEPS);
    if (moment_of(before, point->k, life->moments[0].text, why, sizeof why) == SIZE_MAX) {
        rec_forget();
        rec = outer;
        failed(point, why);
    }
    crash(life, AGAIN_POINTS, 0, seed);
    rec_forget();
    rec = outer;
    life_release(life);
}

/* The folders as the crash leaves them, beside those of the life. */
static void make_image(const struct fixture *fixture, const struct point *point, const char *suffix,
                       struct fixture *image)
{
    *image = *fixture;
    snprintf(image->folder, sizeof image->folder, "%.60s%s", fixture->folder, suffix);
    snprintf(image->vault, sizeof image->vault, "%s/vault", image->folder);
    snprintf(image->state, sizeof image->state, "%s/state", image->folder);
    snprintf(image->cache, sizeof image->cache, "%s/cache", image->folder);
    snprintf(image->second, sizeof image->second, "%s/second", image->folder);
    image->session = NULL;
    image->sealer = NULL;
    rec_crash(point->k, point->how, point->seed, image->folder);
    if (point->no_cache && access(image->cache, F_OK) == 0) {
        remove_folder(image->cache);
    }
    crashes++;
}

static void crash_once(const struct life *life, const struct point *point, unsigned again, uint64_t *seed)
{
    struct fixture image;
    char *text, why[8192];
    enum lethe_err err;

    make_image(life->fixture, point, again ? "-i" : "-j", &image);
    if (again && fixture_random(seed) % 24 == 0) {
        live_again(&image, life, point, seed);
        remove_folder(image.folder);
        return;
    }
    if (fixture_random(seed) % 4 == 0) {
        assert_vault(&image, life, point, NULL);
    }
    err = fixture_open(&image);
    if (err) {
        snprintf(why, sizeof why, "it does not open: %s", lethe_err_str(err));
        failed(point, why);
    }
    text = life_text(image.session->tree, NULL);
    if (moment_of(life, point->k, text, why, sizeof why) == SIZE_MAX) {
        failed(point, why);
    }
    free(text);
    fixture_assert_refs(image.session);
    fixture_assert_slots(image.session);
    if (fixture_random(seed) % 4 == 0) {
        go_on(&image, point);
    } else {
        fixture_close(&image);
    }
    remove_folder(image.folder);
}

/* again: how deep crashes of crashes go. Half of the crashes are at a sync, where promises begin. */
static void crash(const struct life *life, unsigned points, unsigned again, uint64_t *seed)
{
    for (unsigned i = 0; i < points; i++) {
        struct point point = {.k = fixture_random(seed) % (rec.op_count + 1),
                              .how = fixture_random(seed) % REC_CRASHES,
                              .seed = fixture_random(seed),
                              .no_cache = fixture_random(seed) % 3 == 0};

        if (fixture_random(seed) % 2) {
            while (point.k < rec.op_count && !rec_is_sync(point.k)) {
                point.k++;
            }
            point.k += point.k < rec.op_count && fixture_random(seed) % 2;
        }
        crash_once(life, &point, again, seed);
    }
}

static void test_power_cut(void **state)
{
    const char *given = getenv("LETHE_TEST_SEED"), *points = getenv("LETHE_TEST_POINTS");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    unsigned wanted = points ? (unsigned)atoi(points) : test_is_long() ? POINTS_LONG : POINTS_QUICK;
    size_t operations = 0;
    unsigned lives = 0;

    (void)state;
    while (crashes < wanted) {
        struct fixture fixture;
        struct life *life;
        enum lethe_err err;
        struct lethe_check_result result;
        uint64_t random;

        life_seed = random = seed + lives++;
        make_fixture(&fixture);
        fixture.fidelity = life_seed % 4 == 3   ? LETHE_FIDELITY_SPLIT
                           : life_seed % 4 == 1 ? LETHE_FIDELITY_LOSSY
                                                : LETHE_FIDELITY_EXACT;
        life_lossy = fixture.fidelity == LETHE_FIDELITY_LOSSY;
        assert_int_equal(fixture_init(&fixture), LETHE_OK);
        assert_int_equal(fixture_open(&fixture), LETHE_OK);
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        fixture_close(&fixture);
        life = life_new(&fixture, random);
        life_was_published(life, 0, vault_text(&fixture, &result, &err));
        rec_start(fixture.folder);
        live(life, STEPS);
        operations += rec.op_count;
        crash(life, wanted - crashes < POINTS_OF_A_LIFE ? wanted - crashes : POINTS_OF_A_LIFE, 1, &random);
        rec_forget();
        life_release(life);
        fixture_remove(&fixture);
        if (lives % 10 == 0) {
            print_message("%u crashes\n", crashes);
        }
    }
    print_message(
        "seed %llu: %u crashes in %u lives of %zu operations; %u vaults opened alone, %u published after\n",
        (unsigned long long)seed, crashes, lives, operations, vaults_seen, published_after);
}

/* Where a command is cut: in the long run everywhere and in every way, else here and there, and at its end.
 */
static bool next_point(struct point *point)
{
    bool last = point->k == rec.op_count;

    point->seed += 7919;
    if (test_is_long() || last) {
        point->k += ++point->how == REC_CRASHES;
    } else {
        size_t steps = rec.op_count / 24 + 1;

        point->k = point->k + steps < rec.op_count ? point->k + steps : rec.op_count;
        point->how = point->k == rec.op_count ? REC_KILLED : point->how + 1;
    }
    point->how %= REC_CRASHES;
    return point->k <= rec.op_count;
}

/* Until vault.json is there, init can be called again; then the vault opens. */
static void test_init(void **state)
{
    struct point point = {.how = REC_KILLED};
    struct fixture fixture, image;

    (void)state;
    make_fixture(&fixture);
    rec_start(fixture.folder);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    rec_stop();
    assert_true(rec_complete());
    do {
        enum lethe_err err;

        make_image(&fixture, &point, "-i", &image);
        err = fixture_open(&image);
        if (err && point.k < rec.op_count) {
            err = fixture_init(&image);
            err = err ? err : fixture_open(&image);
        }
        if (err) {
            failed(&point, "init was cut, and there is no vault");
        }
        go_on(&image, &point);
        remove_folder(image.folder);
    } while (next_point(&point));
    print_message("%u crashes in %zu operations of init\n", crashes, rec.op_count);
    crashes = 0;
    rec_forget();
    fixture_remove(&fixture);
}

/* A recovery over a device that has more than the vault: the old state or the new one, at every moment. */
static void test_recover(void **state)
{
    struct point point = {.how = REC_KILLED};
    struct fixture fixture, image;
    struct lethe_buf bytes = {0};
    char *old, *new;

    (void)state;
    make_fixture(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_noise(1, &bytes, 1000);
    fixture_put(&fixture, "published", &bytes);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    new = life_text(fixture.session->tree, NULL);
    fixture_put(&fixture, "only here", &bytes);
    old = life_text(fixture.session->tree, NULL);
    fixture_close(&fixture);
    rec_start(fixture.folder);
    assert_int_equal(fixture_recover(&fixture, fixture.state), LETHE_OK);
    rec_stop();
    assert_true(rec_complete());
    do {
        char *text;

        make_image(&fixture, &point, "-i", &image);
        if (fixture_open(&image)) {
            failed(&point, "a recovery was cut, and the device has neither the old state nor the new one");
        }
        text = life_text(image.session->tree, NULL);
        if (strcmp(text, new) != 0 && (point.k == rec.op_count || strcmp(text, old) != 0)) {
            print_error("%s", text);
            failed(&point, "the tree is neither the one before the recovery nor the one after it");
        }
        free(text);
        fixture_close(&image);
        remove_folder(image.folder);
    } while (next_point(&point));
    print_message("%u crashes in %zu operations of recover\n", crashes, rec.op_count);
    crashes = 0;
    rec_forget();
    free(old);
    free(new);
    lethe_buf_release(&bytes);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_recover),
        cmocka_unit_test(test_power_cut),
    };

    lethe_log_set_sink(keep_log, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
