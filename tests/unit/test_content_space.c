/* SPDX-License-Identifier: MIT */
/* The content store: limits, waiting, the cache, damage, what lies on the disk, and huge sparse files. */
#include "tests/unit/test_content_env.h"

#include "lethe/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static uint64_t on_disk(const struct env *env)
{
    char path[200];
    struct stat st;
    uint64_t bytes = 0;

    snprintf(path, sizeof path, "%s-wal", env->database);
    bytes += stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    bytes += stat(env->database, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    return bytes + lethe_arena_allocated(env->store->arenas[0]) +
           lethe_arena_allocated(env->store->arenas[1]);
}

static void pattern(uint8_t *bytes, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)((i + seed) * 2654435761u >> 16);
    }
}

static void write_all(struct env *env, struct lethe_content *content, const uint8_t *bytes, size_t len)
{
    struct lethe_absent absent;

    assert_int_equal(lethe_contents_reserve(env->store, len, 0), LETHE_OK);
    assert_int_equal(lethe_content_write(content, 0, bytes, len, &absent), LETHE_OK);
    lethe_contents_unreserve(env->store, len);
}

/* A content of these bytes that the vault has; its blocks are in the cache after a commit. */
static struct lethe_content *vaulted(struct env *env, const uint8_t *bytes, size_t len)
{
    struct lethe_content *content;

    assert_int_equal(lethe_content_new(env->store, &content), LETHE_OK);
    write_all(env, content, bytes, len);
    assert_int_equal(lethe_content_freeze(content, 1), LETHE_OK);
    commit(env);
    assert_int_equal(lethe_content_vaulted(content), LETHE_OK);
    commit(env);
    return content;
}

static int fail_first_read(void *left, enum lethe_arena_op op)
{
    int *count = left;

    return op == LETHE_ARENA_READ && (*count)-- > 0 ? EIO : 0;
}

/* A change in part of a block that is not to be had at once does nothing, and goes through after a fetch. */
static void test_unread(void **unused)
{
    static uint8_t bytes[2 * BLOCK], got[2 * BLOCK];
    struct lethe_content *content;
    struct lethe_unread unread;
    struct lethe_absent absent;
    struct env env;
    size_t len;
    int left;

    (void)unused;
    env_make(&env, 24 << 20);
    pattern(bytes, sizeof bytes, 5);
    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    write_all(&env, content, bytes, sizeof bytes);
    commit(&env);
    lethe_arena_set_fault(fail_first_read, &left);
    for (uint64_t at = BLOCK - 100; at < BLOCK + 8192; at += 4196) {
        uint8_t change[4096];

        memset(change, (int)(at & 0x7f), sizeof change);
        left = 1;
        if (lethe_content_write_at_once(content, at, change, sizeof change, &absent, &unread, NULL) == LETHE_ERR_BUSY) {
            assert_int_equal(unread.len, BLOCK);
            assert_int_equal(lethe_content_read(content, 0, got, sizeof got, &len, &absent), LETHE_OK);
            assert_memory_equal(got, bytes, sizeof got);
            lethe_contents_fetch(env.store, &unread);
            assert_int_equal(lethe_content_write(content, at, change, sizeof change, &absent), LETHE_OK);
        } else {
            assert_true(at > BLOCK); /* a change before has opened this block */
        }
        memcpy(bytes + at, change, sizeof change);
    }
    /* Whole blocks need nothing of what was there. */
    left = 1;
    assert_int_equal(lethe_content_write_at_once(content, 0, bytes, BLOCK, &absent, &unread, NULL), LETHE_OK);
    assert_int_equal(left, 1);
    lethe_arena_set_fault(NULL, NULL);
    commit(&env);
    assert_int_equal(lethe_content_read(content, 0, got, sizeof got, &len, &absent), LETHE_OK);
    assert_memory_equal(got, bytes, sizeof got);
    lethe_content_put(content);
    env_end(&env);
}

/* Three times the limit passes through: each content is "uploaded" when space runs low. */
static void test_limit(void **unused)
{
    enum { FILE_BYTES = 3 << 20, FILES = 48 };
    static uint8_t bytes[FILE_BYTES];
    struct lethe_content *contents[FILES];
    struct lethe_contents_usage usage;
    struct env env;
    int next = 0;

    (void)unused;
    env_make(&env, 48 << 20);
    for (int i = 0; i < FILES; i++) {
        struct lethe_absent absent;

        assert_int_equal(lethe_content_new(env.store, &contents[i]), LETHE_OK);
        pattern(bytes, sizeof bytes, (uint64_t)i);
        for (size_t at = 0; at < sizeof bytes; at += 1 << 20) {
            while (lethe_contents_reserve(env.store, 1 << 20, 0) == LETHE_ERR_NOSPACE) {
                assert_true(next <= i);
                if (lethe_content_state(contents[next]) == LETHE_CONTENT_MUTABLE && next < i) {
                    assert_int_equal(lethe_content_freeze(contents[next], 1), LETHE_OK);
                    commit(&env);
                    assert_int_equal(lethe_content_vaulted(contents[next]), LETHE_OK);
                    next++;
                }
                commit(&env);
            }
            assert_int_equal(lethe_content_write(contents[i], at, bytes + at, 1 << 20, &absent), LETHE_OK);
            lethe_contents_unreserve(env.store, 1 << 20);
            assert_true(on_disk(&env) <= env.limit);
        }
    }
    assert_true(next > 10);
    commit(&env);
    assert_true(on_disk(&env) <= env.limit);
    lethe_contents_usage(env.store, &usage);
    assert_true(usage.dirty + usage.cached + usage.database <= usage.limit);
    /* What was evicted is asked for, everything else is here. */
    for (int i = 0; i < FILES; i++) {
        struct lethe_absent absent;
        size_t got;
        enum lethe_err err;

        pattern(bytes, sizeof bytes, (uint64_t)i);
        while ((err = lethe_content_read(contents[i], 0, (uint8_t[16384]){0}, 16384, &got, &absent)) ==
               LETHE_ERR_ABSENT) {
            assert_int_equal(lethe_content_state(contents[i]), LETHE_CONTENT_VAULTED);
            assert_int_equal(
                lethe_content_fill(contents[i], absent.offset, bytes + absent.offset, absent.length),
                LETHE_OK);
            assert_true(on_disk(&env) <= env.limit);
        }
        assert_int_equal(err, LETHE_OK);
        lethe_content_put(contents[i]);
    }
    env_end(&env);
}

/* A writer that finds no room waits until another thread says that something moved. */
struct waiting {
    struct env *env;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool pressed;
    enum lethe_err err;
};

static bool on_pressure(void *context)
{
    struct waiting *waiting = context;

    pthread_mutex_lock(&waiting->lock);
    waiting->pressed = true;
    pthread_cond_signal(&waiting->asked);
    pthread_mutex_unlock(&waiting->lock);
    return false;
}

/* Bytes are on their way a few times more, then none. */
static bool on_the_way(void *left)
{
    unsigned *times = left;

    return *times > 0 && (*times)-- > 0;
}

static void *wait_for_room(void *context)
{
    struct waiting *waiting = context;

    waiting->err = lethe_contents_reserve(waiting->env->store, 1 << 20, 60000);
    return NULL;
}

static void test_back_pressure(void **unused)
{
    static uint8_t bytes[1 << 20];
    struct lethe_content *content;
    struct waiting waiting = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER};
    struct lethe_absent absent;
    struct env env;
    pthread_t thread;
    unsigned times = 3;
    uint64_t at = 0;

    (void)unused;
    env_make(&env, 24 << 20);
    waiting.env = &env;
    lethe_contents_set_pressure(env.store, on_pressure, &waiting);
    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    while (lethe_contents_reserve(env.store, 1 << 20, 0) == LETHE_OK) {
        pattern(bytes, sizeof bytes, at);
        assert_int_equal(lethe_content_write(content, at, bytes, sizeof bytes, &absent), LETHE_OK);
        lethe_contents_unreserve(env.store, 1 << 20);
        at += 1 << 20;
    }
    assert_true(at >= 8 << 20);
    /* More than there will ever be is refused without waiting. */
    assert_int_equal(lethe_contents_reserve(env.store, 64 << 20, 60000), LETHE_ERR_NOSPACE);
    /* Nothing moves: it does not wait for ever. */
    assert_int_equal(lethe_contents_reserve(env.store, 1 << 20, 20), LETHE_ERR_NOSPACE);
    /* While something is on its way to the vault it waits on. */
    lethe_contents_set_pressure(env.store, on_the_way, &times);
    assert_int_equal(lethe_contents_reserve(env.store, 1 << 20, 20), LETHE_ERR_NOSPACE);
    assert_int_equal(times, 0);
    lethe_contents_set_pressure(env.store, on_pressure, &waiting);
    waiting.pressed = false;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_room, &waiting), 0);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.pressed) {
        pthread_cond_wait(&waiting.asked, &waiting.lock);
    }
    pthread_mutex_unlock(&waiting.lock);
    assert_int_equal(lethe_content_freeze(content, 1), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_content_vaulted(content), LETHE_OK);
    commit(&env);
    commit(&env);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiting.err, LETHE_OK);
    lethe_contents_unreserve(env.store, 1 << 20);
    lethe_content_put(content);
    env_end(&env);
}

/* Of the folder for temporary files that this process alone sees. */
static uint64_t free_bytes(void)
{
    struct statvfs disk;

    assert_int_equal(statvfs("/tmp", &disk), 0);
    return (uint64_t)disk.f_bavail * disk.f_frsize;
}

/* The writer's neighbour finds out what the disk has while the bytes are not there yet. */
static int look_before_write(void *context, enum lethe_arena_op op)
{
    struct env *env = context;
    struct lethe_contents_usage usage;

    if (op == LETHE_ARENA_WRITE) {
        lethe_contents_usage(env->store, &usage);
    }
    return 0;
}

static void others_take(uint64_t bytes)
{
    int fd = open("/tmp/other", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
    close(fd);
}

/* Writes until there is no room: of a disk that is smaller than the limit the reserve stays. */
static void fill_disk(struct env *env, struct lethe_content **out)
{
    static uint8_t bytes[1 << 20];
    struct lethe_absent absent;
    uint64_t at = 0;

    assert_int_equal(lethe_content_new(env->store, out), LETHE_OK);
    for (; lethe_contents_reserve(env->store, sizeof bytes, 0) == LETHE_OK; at += sizeof bytes) {
        pattern(bytes, sizeof bytes, at);
        assert_int_equal(lethe_content_write(*out, at, bytes, sizeof bytes, &absent), LETHE_OK);
        lethe_contents_unreserve(env->store, sizeof bytes);
        assert_true(free_bytes() >= env->store->reserve);
    }
    assert_true(at >= 4 << 20);
}

static void test_small_disk(void **unused)
{
    enum { SHORT = 600 };
    static struct lethe_content *contents[SHORT];
    struct lethe_content *large;
    uint8_t bytes[4096];
    struct env env;

    (void)unused;
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/tmp", "tmpfs", 0, "size=12m")) {
        skip();
    }
    env_make(&env, 64 << 20);
    /* Slots that were not filled to their end take more of the disk when they are used again. */
    for (int i = 0; i < SHORT; i++) {
        pattern(bytes, sizeof bytes, (uint64_t)i);
        assert_int_equal(lethe_content_new(env.store, &contents[i]), LETHE_OK);
        write_all(&env, contents[i], bytes, sizeof bytes);
        if (i % 100 == 99) {
            commit(&env);
        }
    }
    for (int i = 0; i < SHORT; i++) {
        assert_int_equal(lethe_content_abandon(contents[i]), LETHE_OK);
        lethe_content_put(contents[i]);
    }
    commit(&env);
    fill_disk(&env, &large);
    assert_int_equal(lethe_content_abandon(large), LETHE_OK);
    lethe_content_put(large);
    commit(&env);

    lethe_arena_set_fault(look_before_write, &env);
    fill_disk(&env, &large);
    lethe_arena_set_fault(NULL, NULL);

    /* What is cached makes way where others fill the disk. */
    commit(&env);
    assert_int_equal(lethe_content_freeze(large, 1), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_content_vaulted(large), LETHE_OK);
    commit(&env);
    commit(&env);
    others_take(free_bytes() - (env.store->reserve - 65536));
    (void)lethe_contents_tidy(env.store);
    assert_true(free_bytes() >= env.store->reserve);
    lethe_content_put(large);
    env_end(&env);
    assert_int_equal(umount("/tmp"), 0);
}

static void flip_everywhere(struct lethe_arena *arena, uint64_t slots)
{
    uint8_t bytes[4096];

    for (uint32_t slot = 0; slot < slots; slot++) {
        if (lethe_arena_read(arena, slot, bytes, sizeof bytes) == LETHE_OK) {
            bytes[slot % sizeof bytes] ^= 0x10;
            assert_int_equal(lethe_arena_write(arena, slot, bytes, sizeof bytes), LETHE_OK);
        }
    }
}

static void test_damage(void **unused)
{
    static uint8_t bytes[40 * 16384 + 77], back[sizeof bytes];
    struct lethe_content *dirty, *cached;
    struct lethe_absent absent;
    struct env env;
    size_t got;
    int rounds = 0;
    enum lethe_err err;

    (void)unused;
    env_make(&env, 64 << 20);
    pattern(bytes, sizeof bytes, 5);
    cached = vaulted(&env, bytes, sizeof bytes);
    assert_int_equal(lethe_content_new(env.store, &dirty), LETHE_OK);
    write_all(&env, dirty, bytes, sizeof bytes);
    commit(&env);
    assert_int_equal(lethe_content_read(cached, 0, back, sizeof back, &got, &absent), LETHE_OK);
    assert_memory_equal(bytes, back, sizeof bytes);
    flip_everywhere(env.store->arenas[ARENA_STATE], 64);
    flip_everywhere(env.store->arenas[ARENA_CACHE], 64);
    assert_int_equal(lethe_content_read(dirty, 0, back, sizeof back, &got, &absent), LETHE_ERR_INTEGRITY);
    assert_int_equal(lethe_content_read(dirty, sizeof back - 10, back, 10, &got, &absent),
                     LETHE_ERR_INTEGRITY);
    /* The vault brings the cached ones again; each was found damaged and is sealed anew. */
    while ((err = lethe_content_read(cached, 0, back, sizeof back, &got, &absent)) == LETHE_ERR_ABSENT) {
        uint64_t len =
            absent.length < sizeof bytes - absent.offset ? absent.length : sizeof bytes - absent.offset;

        assert_true(rounds++ < 100);
        assert_true(lethe_id_equal(&absent.content, lethe_content_id(cached)));
        assert_int_equal(lethe_content_fill(cached, absent.offset, bytes + absent.offset, len), LETHE_OK);
    }
    assert_int_equal(err, LETHE_OK);
    assert_true(rounds > 0);
    assert_memory_equal(bytes, back, sizeof bytes);
    lethe_content_put(dirty);
    lethe_content_put(cached);
    env_end(&env);
}

/* Chi-square of the bytes that the file has (holes and all-zero file system blocks aside): 255 degrees of
 * freedom. */
static void check_uniform(const char *path)
{
    uint64_t counts[256] = {0}, total = 0;
    uint8_t block[4096];
    FILE *file = fopen(path, "rb");
    static const uint8_t zeros[4096];
    uint64_t sum = 0;
    size_t n;

    assert_non_null(file);
    while ((n = fread(block, 1, sizeof block, file)) > 0) {
        if (n == sizeof block && memcmp(block, zeros, n) == 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            counts[block[i]]++;
        }
        total += n;
    }
    (void)fclose(file);
    assert_true(total > 100000);
    for (int i = 0; i < 256; i++) {
        uint64_t d = counts[i] * 256 > total ? counts[i] * 256 - total : total - counts[i] * 256;

        sum += d * d / 256;
    }
    /* Mean 255, standard deviation 22.6: eight of them. */
    assert_true(sum / total < 440);
}

static void test_at_rest(void **unused)
{
    static uint8_t bytes[100 * 1000];
    struct lethe_content *a, *b;
    struct lethe_absent absent;
    char path[160];
    struct env env;

    (void)unused;
    env_make(&env, 64 << 20);
    memset(bytes, 'A', sizeof bytes);
    a = vaulted(&env, bytes, sizeof bytes);
    assert_int_equal(lethe_content_new(env.store, &b), LETHE_OK);
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(lethe_content_write(b, i * 20000, bytes, 1 + (size_t)i * 40, &absent), LETHE_OK);
    }
    commit(&env);
    lethe_content_put(a);
    lethe_content_put(b);
    env_down(&env);
    snprintf(path, sizeof path, "%s/blocks", env.state);
    check_uniform(path);
    snprintf(path, sizeof path, "%s/blocks", env.cache);
    check_uniform(path);
    env_up(&env, false);
    env_end(&env);
}

static void test_sparse(void **unused)
{
    struct lethe_content *content, *copy;
    struct lethe_absent absent;
    uint8_t byte = 1, back[3];
    uint64_t at;
    struct env env;
    size_t got;

    (void)unused;
    env_make(&env, 64 << 20);
    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    assert_int_equal(lethe_content_resize(content, LETHE_CONTENT_MAX, &absent), LETHE_OK);
    assert_int_equal(lethe_content_resize(content, LETHE_CONTENT_MAX + 1, &absent), LETHE_ERR_ARG);
    assert_int_equal(lethe_content_write(content, LETHE_CONTENT_MAX, &byte, 1, &absent), LETHE_ERR_ARG);
    assert_int_equal(lethe_content_blocks512(content), 0);
    assert_int_equal(lethe_content_seek(content, 0, true, &at), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_content_write(content, 5ull << 40, &byte, 1, &absent), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_content_blocks512(content), 32);
    assert_int_equal(lethe_content_seek(content, 0, true, &at), LETHE_OK);
    assert_true(at == 5ull << 40);
    assert_int_equal(lethe_content_seek(content, at, false, &at), LETHE_OK);
    assert_true(at == (5ull << 40) + BLOCK);
    assert_int_equal(lethe_content_punch(content, 0, 5ull << 40, &absent), LETHE_OK);
    assert_int_equal(lethe_content_clone(content, &copy), LETHE_OK);
    assert_int_equal(lethe_content_resize(copy, (5ull << 40) + 1, &absent), LETHE_OK);
    assert_int_equal(lethe_content_resize(copy, 6ull << 40, &absent), LETHE_OK);
    assert_int_equal(lethe_content_read(copy, (5ull << 40) - 1, back, 3, &got, &absent), LETHE_OK);
    assert_int_equal(got, 3);
    assert_int_equal(back[0] | back[2] << 1, 0);
    assert_int_equal(back[1], 1);
    /* Vaulted and lost, the holes are still known. */
    assert_int_equal(lethe_content_freeze(content, 1), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_content_vaulted(content), LETHE_OK);
    commit(&env);
    (void)lethe_contents_evict(env.store, 100, NULL);
    assert_int_equal(lethe_content_read(content, 4ull << 40, back, 3, &got, &absent), LETHE_OK);
    assert_int_equal(lethe_content_read(content, 5ull << 40, back, 3, &got, &absent), LETHE_ERR_ABSENT);
    assert_true(absent.offset == 5ull << 40 && absent.length == BLOCK);
    assert_int_equal(lethe_content_resize(copy, 0, &absent), LETHE_OK);
    assert_int_equal(lethe_content_blocks512(copy), 0);
    lethe_content_put(content);
    lethe_content_put(copy);
    env_end(&env);
}

static void test_base(void **unused)
{
    static uint8_t bytes[200 * 16384], back[200 * 16384];
    struct lethe_content *base, *child;
    struct lethe_absent absent;
    struct lethe_id id, base_id;
    struct env env;
    uint8_t byte = 9;
    size_t got;

    (void)unused;
    env_make(&env, 64 << 20);
    pattern(bytes, sizeof bytes, 1);
    base = vaulted(&env, bytes, sizeof bytes);
    base_id = *lethe_content_id(base);
    assert_int_equal(lethe_content_clone(base, &child), LETHE_OK);
    assert_true(lethe_content_same_as_base(child, 0, sizeof bytes, &id));
    assert_true(lethe_id_equal(&id, &base_id));
    assert_int_equal(lethe_content_write(child, 70 * BLOCK + 5, &byte, 1, &absent), LETHE_OK);
    assert_true(lethe_content_same_as_base(child, 0, 70 * BLOCK, &id));
    assert_false(lethe_content_same_as_base(child, 69 * BLOCK, 2 * BLOCK, &id));
    assert_true(lethe_content_same_as_base(child, 71 * BLOCK, sizeof bytes - 71 * BLOCK, &id));
    /* Frozen contents refuse changes; a base that is needed is not dropped. */
    assert_int_equal(lethe_content_write(base, 0, &byte, 1, &absent), LETHE_ERR_ARG);
    assert_int_equal(lethe_contents_drop(env.store, &base_id), LETHE_ERR_BUSY);
    lethe_contents_set_next_epoch(env.store, 7);
    assert_int_equal(lethe_content_abandon(base), LETHE_OK);
    lethe_content_put(base);
    assert_int_equal(lethe_content_freeze(child, 7), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_contents_drop(env.store, &base_id), LETHE_ERR_BUSY);
    assert_int_equal(lethe_content_vaulted(child), LETHE_OK);
    assert_int_equal(lethe_contents_drop(env.store, &base_id), LETHE_OK);
    commit(&env);
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]), 0);
    /* The cached blocks that they shared are the child's now, in this mount and in the next. */
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_CACHE]), 1 + 200); /* and the identity */
    bytes[70 * BLOCK + 5] = byte;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(lethe_content_read(child, 0, back, sizeof back, &got, &absent), LETHE_OK);
        assert_int_equal(got, sizeof back);
        assert_memory_equal(back, bytes, sizeof bytes);
        if (round == 0) {
            id = *lethe_content_id(child);
            lethe_content_put(child);
            env_down(&env);
            env_up(&env, false);
            assert_int_equal(lethe_content_get(env.store, &id, sizeof bytes, &child), LETHE_OK);
        }
    }
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_CACHE]), 1 + 200);
    lethe_content_put(child);
    env_end(&env);
}

/* Who still holds a content that went gets no bytes of it, least of all zeros for what its holes look like now. */
static void test_gone(void **unused)
{
    static uint8_t bytes[40000], back[40000];
    struct lethe_content *content;
    struct lethe_absent absent;
    struct env env;
    size_t got = 1;

    (void)unused;
    env_make(&env, 64 << 20);
    pattern(bytes, sizeof bytes, 1);
    content = vaulted(&env, bytes, sizeof bytes);
    lethe_contents_set_next_epoch(env.store, 2);
    assert_int_equal(lethe_content_abandon(content), LETHE_OK);
    assert_int_equal(lethe_contents_drop(env.store, lethe_content_id(content)), LETHE_OK);
    assert_int_equal(lethe_content_read(content, 0, back, sizeof back, &got, &absent), LETHE_ERR_NOT_FOUND);
    assert_int_equal(got, 0);
    lethe_content_put(content);

    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    write_all(&env, content, bytes, sizeof bytes);
    assert_int_equal(lethe_content_abandon(content), LETHE_OK);
    assert_int_equal(lethe_content_read(content, 0, back, sizeof back, &got, &absent), LETHE_ERR_NOT_FOUND);
    lethe_content_put(content);
    env_end(&env);
}

/* Readers, writers, a committer and an evicter at once: for the sanitizers, and for deadlocks. */
struct crowd {
    struct env *env;
    struct lethe_content *shared;
    pthread_rwlock_t gate;
    const uint8_t *bytes;
    size_t len;
};

static void *crowd_writer(void *context)
{
    struct crowd *crowd = context;
    struct lethe_content *content;
    struct lethe_absent absent;
    uint8_t back[5000];
    size_t got;

    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = (uint64_t)i * 7919 % 300000;

        pthread_rwlock_rdlock(&crowd->gate);
        assert_int_equal(lethe_content_new(crowd->env->store, &content), LETHE_OK);
        assert_int_equal(lethe_content_write(content, offset, crowd->bytes, 5000, &absent), LETHE_OK);
        assert_int_equal(lethe_content_write(content, 0, crowd->bytes, 40000, &absent), LETHE_OK);
        pthread_rwlock_unlock(&crowd->gate);
        assert_int_equal(lethe_content_read(content, 0, back, 5000, &got, &absent), LETHE_OK);
        assert_memory_equal(back, crowd->bytes, 5000);
        pthread_rwlock_rdlock(&crowd->gate);
        assert_int_equal(lethe_content_abandon(content), LETHE_OK);
        pthread_rwlock_unlock(&crowd->gate);
        lethe_content_put(content);
    }
    return NULL;
}

static void *crowd_reader(void *context)
{
    struct crowd *crowd = context;
    struct lethe_absent absent;
    uint8_t back[40000];
    size_t got;

    for (unsigned i = 0; i < 150; i++) {
        uint64_t offset = (uint64_t)i * 104729 % (crowd->len - sizeof back);
        enum lethe_err err;

        while ((err = lethe_content_read(crowd->shared, offset, back, sizeof back, &got, &absent)) ==
               LETHE_ERR_ABSENT) {
            assert_int_equal(
                lethe_content_fill(crowd->shared, absent.offset, crowd->bytes + absent.offset, absent.length),
                LETHE_OK);
        }
        assert_int_equal(err, LETHE_OK);
        assert_memory_equal(back, crowd->bytes + offset, sizeof back);
    }
    return NULL;
}

static void *crowd_committer(void *context)
{
    struct crowd *crowd = context;

    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(lethe_contents_flush(crowd->env->store), LETHE_OK);
        pthread_rwlock_wrlock(&crowd->gate);
        assert_int_equal(lethe_contents_prepare(crowd->env->store), LETHE_OK);
        lethe_db_lock(crowd->env->db);
        assert_int_equal(lethe_db_commit(crowd->env->db), LETHE_OK);
        lethe_db_unlock(crowd->env->db);
        pthread_rwlock_unlock(&crowd->gate);
        lethe_contents_committed(crowd->env->store);
        pthread_rwlock_rdlock(&crowd->env->store->maps);
        (void)lethe_contents_evict(crowd->env->store, 20, NULL);
        pthread_rwlock_unlock(&crowd->env->store->maps);
        lethe_contents_trim(crowd->env->store, 0);
    }
    return NULL;
}

static void test_crowd(void **unused)
{
    static uint8_t bytes[100 * 16384];
    void *(*const parts[])(void *) = {crowd_writer, crowd_writer, crowd_reader, crowd_reader,
                                      crowd_committer};
    pthread_t threads[5];
    struct crowd crowd = {.gate = PTHREAD_RWLOCK_INITIALIZER, .bytes = bytes, .len = sizeof bytes};
    struct env env;

    (void)unused;
    env_make(&env, 64 << 20);
    pattern(bytes, sizeof bytes, 3);
    crowd.env = &env;
    crowd.shared = vaulted(&env, bytes, sizeof bytes);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, parts[i], &crowd), 0);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    commit(&env);
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]), 0);
    lethe_content_put(crowd.shared);
    env_end(&env);
}

static void hush(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

/* Drops what is listed as dead, as the sweep of an epoch does; returns how many there were. */
static unsigned drop_dead(struct env *env)
{
    struct lethe_id ids[8];
    sqlite3_stmt *statement;
    unsigned count = 0;
    bool row;

    lethe_db_lock(env->db);
    assert_int_equal(lethe_db_statement(env->db, "SELECT content FROM dead", &statement), LETHE_OK);
    while (lethe_db_step(env->db, statement, &row) == LETHE_OK && row) {
        assert_true(count < 8 && lethe_db_column_id(statement, 0, &ids[count]));
        count++;
    }
    lethe_db_unlock(env->db);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(lethe_contents_drop(env->store, &ids[i]), LETHE_OK);
    }
    commit(env);
    return count;
}

/* What cannot be taken back for want of memory (or of room in the database) is not lost: the next sweep does it. */
static void test_end_without_memory(void **unused)
{
    static uint8_t bytes[200 * BLOCK];
    struct lethe_content *content, *clone;
    struct lethe_absent absent;
    struct lethe_id id;
    struct env env;

    (void)unused;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)random_next();
    }
    env_make(&env, 64 << 20);
    assert_int_equal(lethe_content_new(env.store, &content), LETHE_OK);
    id = *lethe_content_id(content);
    assert_int_equal(lethe_content_write(content, 0, bytes, sizeof bytes, &absent), LETHE_OK);
    lethe_content_put(content);
    commit(&env);
    env_down(&env);
    env_up(&env, false);
    assert_int_equal(lethe_content_get(env.store, &id, 0, &content), LETHE_OK);
    /* No statement can be prepared; one that fails while it runs would end the transaction. */
    lethe_log_set_sink(hush, NULL);
    (void)sqlite3_hard_heap_limit64(1);
    assert_int_equal(lethe_content_clone(content, &clone), LETHE_ERR_NOMEM);
    assert_int_equal(lethe_content_abandon(content), LETHE_OK);
    (void)sqlite3_hard_heap_limit64(0);
    lethe_log_set_sink(NULL, NULL);
    lethe_content_put(content);
    commit(&env);
    env_down(&env);
    env_up(&env, false);
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]), sizeof bytes / BLOCK);
    assert_int_equal(drop_dead(&env), 2);
    assert_int_equal(lethe_slots_used(env.store->slots[ARENA_STATE]), 0);
    env_end(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_without_memory),
        cmocka_unit_test(test_limit),   cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_at_rest), cmocka_unit_test(test_sparse),        cmocka_unit_test(test_base),
        cmocka_unit_test(test_gone),    cmocka_unit_test(test_crowd),         cmocka_unit_test(test_unread),
        cmocka_unit_test(test_small_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
