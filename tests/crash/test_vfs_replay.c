/* SPDX-License-Identifier: MIT */
/*
 * The sealed VFS under every crash: a workload is recorded below it, and after each recorded write the
 * database is opened as a killed process, a torn write, and a power cut with writes out of order would have
 * left it. Every transaction whose COMMIT had returned must be there, no other but whole, and nothing may
 * count as damage.
 */
#include "sealed_database.h"

#define TRANSACTIONS 60
#define AGAIN 6 /* transactions after a crash, crashed again */

struct history {
    uint64_t digests[TRANSACTIONS + AGAIN + 2]; /* by transaction */
    size_t done_at[TRANSACTIONS + AGAIN +
                   2]; /* the number of recorded operations when its COMMIT had returned */
    size_t begun_at[TRANSACTIONS + AGAIN + 2];
    int first;
    int last;
};

static unsigned opened;

static void record(struct sealed *sealed, struct history *history, int first, int last, uint64_t *seed)
{
    static const char *const checkpoints[] = {"PRAGMA wal_checkpoint(PASSIVE)",
                                              "PRAGMA wal_checkpoint(RESTART)",
                                              "PRAGMA wal_checkpoint(TRUNCATE)"};

    history->first = first;
    history->last = last;
    history->digests[first] = sealed_digest(sealed);
    history->done_at[first] = history->begun_at[first] = 0;
    disk.recording = true;
    for (int n = first + 1; n <= last; n++) {
        history->begun_at[n] = disk.count;
        if (disk_random(seed) % 8 == 0) {
            sealed_work(sealed, -1, seed);
            sealed_exec(sealed, "ROLLBACK");
        }
        sealed_work(sealed, n, seed);
        history->digests[n] = sealed_digest(sealed);
        sealed_exec(sealed, "COMMIT");
        history->done_at[n] = disk.count;
        if (disk_random(seed) % 6 == 0) {
            sealed_exec(sealed, checkpoints[disk_random(seed) % 3]);
        }
    }
    disk.recording = false;
}

/* Opens what the disk holds after a crash with the first ops operations begun. */
static int verify(const struct history *history, size_t ops, struct sealed *sealed)
{
    int64_t n;
    int result = sealed_open(sealed, 1);

    opened++;
    if (result != SQLITE_OK) {
        fail_msg("operation %zu: opening gives %d", ops, result);
    }
    n = sealed_number(sealed, "SELECT n FROM n");
    assert_in_range(n, history->first, history->last);
    if (n < history->last && history->done_at[n + 1] <= ops) {
        fail_msg("operation %zu: transaction %d is lost", ops, (int)n + 1);
    }
    assert_true(history->begun_at[n] <= ops);
    assert_true(sealed_digest(sealed) == history->digests[n]);
    sealed_check(sealed);
    return (int)n;
}

static void crash_everywhere(const struct disk_image start[DISK_FILES], const struct history *history,
                             unsigned stride, bool again, uint64_t *seed);

/* Life goes on after the crash: more transactions, and a second crash among them. */
static void go_on(struct sealed *sealed, int n, uint64_t *seed)
{
    struct disk_image start[DISK_FILES] = {{0}};
    struct history *history = calloc(1, sizeof *history);
    struct disk_op *ops = disk.ops;
    size_t count = disk.count, room = disk.room;

    assert_non_null(history);
    disk.ops = NULL;
    disk.count = disk.room = 0;
    for (int i = 0; i < DISK_FILES; i++) {
        image_copy(&start[i], &disk.files[i]);
    }
    record(sealed, history, n, n + AGAIN, seed);
    sealed_close(sealed);
    crash_everywhere(start, history, 5, false, seed);
    disk_forget_ops();
    disk.ops = ops;
    disk.count = count;
    disk.room = room;
    for (int i = 0; i < DISK_FILES; i++) {
        free(start[i].data);
    }
    free(history);
}

static void crash_everywhere(const struct disk_image start[DISK_FILES], const struct history *history,
                             unsigned stride, bool again, uint64_t *seed)
{
    struct disk_image written[DISK_FILES] = {{0}}, synced[DISK_FILES] = {{0}};
    size_t synced_to[DISK_FILES] = {0};
    struct sealed sealed = {0};

    for (int i = 0; i < DISK_FILES; i++) {
        image_copy(&written[i], &start[i]);
        image_copy(&synced[i], &start[i]);
    }
    for (size_t op = 0; op <= disk.count; op++) {
        const struct disk_op *next = op < disk.count ? &disk.ops[op] : NULL;

        for (int variant = 0; variant < 4 && op % stride == 0; variant++) {
            int n;

            if (variant == 1 && (!next || next->kind != DISK_WRITE)) {
                continue;
            }
            for (int i = 0; i < DISK_FILES; i++) {
                image_copy(&disk.files[i], variant < 2 ? &written[i] : &synced[i]);
                disk.files[i].exists = true;
                for (size_t k = synced_to[i]; variant >= 2 && k < op; k++) {
                    /* A truncation, once seen by later writes, is not undone: a journaling file system orders
                     * sizes. */
                    if (disk.ops[k].file == i && (variant == 3 || disk_random(seed) % 2)) {
                        image_apply_torn(&disk.files[i], &disk.ops[k], false, seed);
                    }
                }
            }
            if (variant == 1) {
                image_apply_torn(&disk.files[next->file], next, true, seed);
            }
            n = verify(history, op + (variant == 1), &sealed);
            if (again && disk_random(seed) % 64 == 0) {
                go_on(&sealed, n, seed);
            } else {
                sealed_close(&sealed);
            }
        }
        if (!next) {
            break;
        }
        image_apply(&written[next->file], next);
        if (next->kind == DISK_SYNC) {
            for (size_t k = synced_to[next->file]; k < op; k++) {
                if (disk.ops[k].file == next->file) {
                    image_apply(&synced[next->file], &disk.ops[k]);
                }
            }
            synced_to[next->file] = op;
        }
    }
    for (int i = 0; i < DISK_FILES; i++) {
        free(written[i].data);
        free(synced[i].data);
    }
}

static void every_crash_keeps_what_was_committed(void **unused)
{
    static struct history history;
    struct disk_image start[DISK_FILES] = {{0}};
    struct sealed sealed = {0};
    const char *given = getenv("LETHE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    sealed_setup(&sealed);
    for (int i = 0; i < DISK_FILES; i++) {
        image_copy(&start[i], &disk.files[i]);
    }
    record(&sealed, &history, 0, TRANSACTIONS, &seed);
    sealed_close(&sealed);
    crash_everywhere(start, &history, 1, true, &seed);
    print_message("%zu operations recorded, %u crashes opened\n", disk.count, opened);
    for (int i = 0; i < DISK_FILES; i++) {
        free(start[i].data);
    }
    disk_release();
}

/* See fs/device/vfs_log.h: SQLite 3.40 would lose the next commit after this. */
static void a_rewritten_frame_is_refused(void **unused)
{
    struct sealed sealed = {0};
    uint64_t seed = 1, digest;
    int result = SQLITE_OK;

    (void)unused;
    sealed_setup(&sealed);
    sealed_work(&sealed, 1, &seed);
    sealed_exec(&sealed, "COMMIT; PRAGMA cache_spill=ON; PRAGMA cache_size=10");
    digest = sealed_digest(&sealed);
    sealed_exec(&sealed, "BEGIN IMMEDIATE");
    for (int i = 0; result == SQLITE_OK && i < 100; i++) {
        result = sqlite3_exec(sealed.db,
                              "INSERT OR REPLACE INTO t VALUES(100 + abs(random() % 9), zeroblob(20000))",
                              NULL, NULL, NULL);
    }
    if (result == SQLITE_OK) {
        result = sqlite3_exec(sealed.db, "COMMIT", NULL, NULL, NULL);
    }
    assert_int_equal(result, SQLITE_IOERR_WRITE);
    sealed_close(&sealed);
    assert_int_equal(sealed_open(&sealed, 1), SQLITE_OK);
    assert_true(sealed_digest(&sealed) == digest);
    sealed_check(&sealed);
    sealed_close(&sealed);
    disk_release();
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_crash_keeps_what_was_committed),
                                       cmocka_unit_test(a_rewritten_frame_is_refused)};

    lethe_log_set_sink(quiet, NULL);
    if (lethe_seal_start() != LETHE_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
