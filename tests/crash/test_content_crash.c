/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at any moment: a child writes numbered versions of some contents, commits, and says through a pipe
 * which version is durable; it is killed after a random number of messages. What the store says afterwards is
 * one version, not older than the last that was announced.
 */
#include "tests/unit/test_content_env.h"

#include <signal.h>
#include <sys/wait.h>

#define CONTENTS 4
#define SIZE (90u * 16384u + 123u)
#define ROUNDS 14

static struct lethe_id ids[CONTENTS];

/* The byte of content c at offset in version v: every version writes one stretch anew. */
static uint8_t byte_at(unsigned c, uint64_t offset, uint32_t v)
{
    uint64_t x = (offset * 31 + c) * 0x9e3779b97f4a7c15ull + (uint64_t)v * 0xd6e8feb86659fd93ull;

    return (uint8_t)(x >> 40);
}

static uint64_t stretch_start(unsigned c, uint32_t v)
{
    return ((uint64_t)v * 104729 + c * 7919) % (SIZE - 200000);
}

static uint64_t stretch_len(uint32_t v)
{
    return v % 3 == 0 ? 200000 : 3 + v * 331 % 40000;
}

static void apply(uint8_t *bytes, unsigned c, uint32_t v)
{
    uint64_t start = stretch_start(c, v), len = stretch_len(v);

    for (uint64_t i = start; i < start + len; i++) {
        bytes[i] = byte_at(c, i, v);
    }
}

static void child(struct env *env, uint32_t version, int pipe_fd)
{
    static uint8_t bytes[SIZE];

    env_up(env, false);
    for (;;) {
        version++;
        for (unsigned c = 0; c < CONTENTS; c++) {
            struct lethe_content *content;
            struct lethe_absent absent;
            uint64_t start = stretch_start(c, version);

            apply(bytes, c, version);
            if (lethe_content_get(env->store, &ids[c], 0, &content) ||
                lethe_content_write(content, start, bytes + start, stretch_len(version), &absent)) {
                _exit(1);
            }
            lethe_content_put(content);
        }
        commit(env);
        if (write(pipe_fd, &version, sizeof version) != sizeof version) {
            _exit(1);
        }
    }
}

static void build(uint8_t *bytes, unsigned c, uint32_t version)
{
    memset(bytes, 0, SIZE);
    for (uint32_t v = 1; v <= version; v++) {
        apply(bytes, c, v);
    }
}

static void test_kill(void **unused)
{
    static uint8_t want[SIZE], got[SIZE];
    struct env env;
    uint32_t version = 0;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)random_state);
    env_make(&env, 128 << 20);
    for (unsigned c = 0; c < CONTENTS; c++) {
        struct lethe_content *content;
        struct lethe_absent absent;

        assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
        assert_int_equal(lethe_content_resize(content, SIZE, &absent), LETHE_OK);
        ids[c] = *lethe_content_id(content);
        lethe_content_put(content);
    }
    commit(&env);
    env_down(&env);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t announced = version, last = version, wanted = version + 1 + (uint32_t)below(6);
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            child(&env, version, fds[1]);
        }
        close(fds[1]);
        while (announced < wanted && read(fds[0], &announced, sizeof announced) == sizeof announced) {
            last = announced;
        }
        assert_true(last >= wanted);
        /* Somewhere inside of the next version. */
        for (uint64_t spin = below(3000000); spin > 0; spin--) {
            __asm__ volatile("" ::: "memory");
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &announced, sizeof announced) == sizeof announced) {
            last = announced;
        }
        close(fds[0]);
        env_up(&env, false);
        version = 0;
        for (unsigned c = 0; c < CONTENTS; c++) {
            struct lethe_content *content;
            struct lethe_absent absent;
            size_t n;

            assert_int_equal(lethe_content_get(env.store, &ids[c], 0, &content), LETHE_OK);
            assert_int_equal(lethe_content_read(content, 0, got, SIZE, &n, &absent), LETHE_OK);
            assert_int_equal(n, SIZE);
            if (c == 0) {
                /* The commit may have been done and not announced. */
                build(want, c, last);
                version = memcmp(want, got, SIZE) == 0 ? last : last + 1;
            }
            build(want, c, version);
            assert_memory_equal(want, got, SIZE);
            lethe_content_put(content);
        }
        assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]) <= (uint64_t)CONTENTS * 91, 1);
        env_down(&env);
    }
    env_up(&env, false);
    env_end(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
