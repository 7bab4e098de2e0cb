/* SPDX-License-Identifier: MIT */
#include "tests/unit/test_content_env.h"

#include "lethe/log.h"

#define MOST 5000u

static void db_commit(struct env *env)
{
    lethe_db_lock(env->db);
    assert_int_equal(lethe_db_commit(env->db), LETHE_OK);
    lethe_db_unlock(env->db);
}

static void env_reopen_db(struct env *env)
{
    lethe_db_close(env->db);
    assert_int_equal(lethe_db_open(env->database, env->key, false, &env->db), LETHE_OK);
}

/* Against a plain array: what is counted, what waits for a commit, what may be taken. */
static void test_model(void **unused)
{
    static uint32_t refs[MOST], named[MOST];
    struct lethe_slots *slots;
    struct env env;
    uint64_t used;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)random_state);
    env_make(&env, 64 << 20);
    lethe_contents_close(env.store);
    env.store = NULL;
    memset(refs, 0, sizeof refs);
    memset(named, 0, sizeof named);
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    for (unsigned step = 0; step < 20000; step++) {
        uint32_t slot = (uint32_t)below(MOST), first, count;

        switch (below(8)) {
        case 0:
        case 1:
            assert_int_equal(lethe_slots_take(slots, (uint32_t)below(20) + 1, &first, &count), LETHE_OK);
            for (uint32_t s = first; s < first + count; s++) {
                assert_true(s < MOST);
                assert_int_equal(refs[s] + named[s], 0);
                refs[s] = 1;
            }
            break;
        case 2:
            if (refs[slot]) {
                assert_int_equal(lethe_slots_share(slots, slot), LETHE_OK);
                refs[slot]++;
            }
            break;
        case 3:
        case 4:
        case 5:
            for (uint32_t s = slot; s < slot + 30 && s < MOST; s++) {
                if (refs[s]) {
                    lethe_slots_drop(slots, s);
                    refs[s]--;
                }
            }
            break;
        case 6: {
            struct lethe_slot_run runs[8];
            size_t n = lethe_slots_trim(slots, below(50), runs, 8);

            for (size_t r = 0; r < n; r++) {
                for (uint32_t s = runs[r].first; s < runs[r].first + runs[r].count; s++) {
                    assert_int_equal(refs[s] + named[s], 0);
                }
            }
            lethe_slots_trimmed(slots, runs, n);
            break;
        }
        default:
            if (below(20)) {
                break;
            }
            assert_int_equal(lethe_slots_store(slots), LETHE_OK);
            if (below(3) == 0) {
                /* A commit that fails changes nothing that is named. */
                break;
            }
            db_commit(&env);
            (void)lethe_slots_committed(slots);
            memcpy(named, refs, sizeof named);
            if (below(2)) {
                lethe_slots_close(slots);
                assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
            }
            break;
        }
        used = 0;
        for (uint32_t s = 0; s < MOST && step % 100 == 0; s++) {
            uint32_t counted = 0;

            if (s < lethe_slots_end(slots)) {
                assert_int_equal(lethe_slots_refs(slots, s, &counted), LETHE_OK);
            }
            assert_int_equal(counted, refs[s]);
            used += counted > 0;
        }
        assert_true(step % 100 || used == lethe_slots_used(slots));
    }
    lethe_slots_close(slots);
    env_end(&env);
}

/* Between store and commit: what the row that is being committed names is not free, whoever drops it. */
static void test_drop_while_committing(void **unused)
{
    struct lethe_slots *slots;
    struct env env;
    uint32_t first, other, count;

    (void)unused;
    env_make(&env, 64 << 20);
    lethe_contents_close(env.store);
    env.store = NULL;
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    assert_int_equal(lethe_slots_take(slots, 1, &first, &count), LETHE_OK);
    assert_int_equal(lethe_slots_store(slots), LETHE_OK);
    lethe_slots_drop(slots, first);
    assert_int_equal(lethe_slots_take(slots, 1, &other, &count), LETHE_OK);
    assert_int_not_equal(first, other);
    db_commit(&env);
    assert_int_equal(lethe_slots_committed(slots), 0);
    assert_int_equal(lethe_slots_store(slots), LETHE_OK);
    db_commit(&env);
    assert_int_equal(lethe_slots_committed(slots), 1);
    lethe_slots_close(slots);
    env_end(&env);
}

static void test_full_count(void **unused)
{
    struct lethe_slots *slots;
    struct env env;
    uint32_t first, count, refs;

    (void)unused;
    env_make(&env, 64 << 20);
    lethe_contents_close(env.store);
    env.store = NULL;
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    assert_int_equal(lethe_slots_take(slots, 1, &first, &count), LETHE_OK);
    for (uint32_t i = 1; i < LETHE_SLOT_REFS_MAX; i++) {
        assert_int_equal(lethe_slots_share(slots, first), LETHE_OK);
    }
    assert_int_equal(lethe_slots_share(slots, first), LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_slots_store(slots), LETHE_OK);
    db_commit(&env);
    lethe_slots_close(slots);
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    assert_int_equal(lethe_slots_refs(slots, first, &refs), LETHE_OK);
    assert_int_equal(refs, LETHE_SLOT_REFS_MAX);
    lethe_slots_close(slots);
    env_end(&env);
}

static void quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

/* While SQLite gets no memory, what is dropped waits. */
static void test_drop_without_memory(void **unused)
{
    struct lethe_slots *slots;
    struct env env;
    uint32_t first, count, refs;

    (void)unused;
    env_make(&env, 64 << 20);
    lethe_contents_close(env.store);
    env.store = NULL;
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    assert_int_equal(lethe_slots_take(slots, 1000, &first, &count), LETHE_OK);
    assert_int_equal(count, 1000);
    assert_int_equal(lethe_slots_store(slots), LETHE_OK);
    db_commit(&env);
    lethe_slots_close(slots);
    env_reopen_db(&env);
    assert_int_equal(lethe_slots_open(env.db, 0, true, &slots), LETHE_OK);
    lethe_log_set_sink(quiet, NULL);
    (void)sqlite3_hard_heap_limit64(1);
    assert_int_equal(lethe_slots_refs(slots, first, &refs), LETHE_ERR_NOMEM);
    for (uint32_t slot = first; slot < first + count; slot++) {
        lethe_slots_drop(slots, slot);
    }
    assert_true(lethe_slots_changed(slots));
    assert_int_equal(lethe_slots_used(slots), 1000);
    assert_int_equal(lethe_slots_store(slots), LETHE_ERR_NOMEM);
    (void)sqlite3_hard_heap_limit64(0);
    lethe_log_set_sink(NULL, NULL);
    assert_int_equal(lethe_slots_store(slots), LETHE_OK);
    db_commit(&env);
    assert_int_equal(lethe_slots_committed(slots), 1000);
    assert_int_equal(lethe_slots_used(slots), 0);
    assert_false(lethe_slots_changed(slots));
    lethe_slots_close(slots);
    env_end(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_drop_while_committing),
        cmocka_unit_test(test_full_count),
        cmocka_unit_test(test_drop_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
