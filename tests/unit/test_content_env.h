/* SPDX-License-Identifier: MIT */
/* What the tests of the content store share: a store in a folder of its own, and a source of random numbers.
 */
#ifndef LETHE_TEST_CONTENT_ENV_H
#define LETHE_TEST_CONTENT_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/device/content_private.h"

static uint64_t random_state = 88172645463325252ull;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}

__attribute__((unused)) static uint64_t below(uint64_t n)
{
    return n ? (random_next() >> 11) % n : 0;
}

struct env {
    char dir[64], state[96], cache[96], database[128];
    uint64_t limit;
    struct lethe_secret *key;
    struct lethe_db *db;
    struct lethe_contents *store;
};

static void env_up(struct env *env, bool create)
{
    struct lethe_contents_options options = {
        .state_dir = env->state, .cache_dir = env->cache, .limit = env->limit, .reserve = 1 << 20};

    assert_int_equal(lethe_db_open(env->database, env->key, create, &env->db), LETHE_OK);
    assert_int_equal(lethe_contents_open(env->db, env->key, &options, &env->store), LETHE_OK);
}

static void env_down(struct env *env)
{
    lethe_contents_close(env->store);
    lethe_db_close(env->db);
    env->store = NULL;
    env->db = NULL;
}

static void env_make(struct env *env, uint64_t limit)
{
    uint8_t key[LETHE_KEY_BYTES] = {7};

    memset(env, 0, sizeof *env);
    snprintf(env->dir, sizeof env->dir, "/tmp/lethe-content-XXXXXX");
    assert_non_null(mkdtemp(env->dir));
    snprintf(env->state, sizeof env->state, "%s/state", env->dir);
    snprintf(env->cache, sizeof env->cache, "%s/cache/deep", env->dir);
    snprintf(env->database, sizeof env->database, "%s/state/db", env->dir);
    assert_int_equal(mkdir(env->state, 0700), 0);
    env->limit = limit;
    assert_int_equal(lethe_seal_start(), LETHE_OK);
    assert_int_equal(lethe_secret_new(key, &env->key), LETHE_OK);
    env_up(env, true);
}

__attribute__((unused)) static void lose_cache(const struct env *env)
{
    char path[160];

    snprintf(path, sizeof path, "%s/blocks", env->cache);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(env->cache), 0);
}

static void env_end(struct env *env)
{
    char command[128];

    if (env->db) {
        env_down(env);
    }
    lethe_secret_free(env->key);
    snprintf(command, sizeof command, "rm -rf '%s'", env->dir);
    assert_int_equal(system(command), 0);
}

__attribute__((unused)) static void commit(struct env *env)
{
    assert_int_equal(lethe_contents_flush(env->store), LETHE_OK);
    assert_int_equal(lethe_contents_prepare(env->store), LETHE_OK);
    lethe_db_lock(env->db);
    assert_int_equal(lethe_db_commit(env->db), LETHE_OK);
    lethe_db_unlock(env->db);
    lethe_contents_committed(env->store);
}

#endif
