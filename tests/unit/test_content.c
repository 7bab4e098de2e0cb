/* SPDX-License-Identifier: MIT */
/*
 * The content store against a plain model in memory: random operations, commits, crashes (the store is closed
 * without a commit, and must be what the last commit said), cache folders that vanish, and what must hold at
 * every moment. LETHE_TEST_SEED repeats a run; LETHE_TEST_STEPS makes it longer.
 */
#include "tests/unit/test_content_env.h"

#define MOST_CONTENTS 10
#define MOST_BYTES (200u * 16384u)

/* --- the model --- */

struct twin {
    bool used;
    struct lethe_id id;
    enum lethe_content_state state;
    uint64_t size;
    uint8_t *bytes; /* MOST_BYTES, zeros behind size */
};

struct world {
    struct twin twins[MOST_CONTENTS];
};

static struct world now, durable;
static struct lethe_content *handles[MOST_CONTENTS];

static void world_copy(struct world *to, const struct world *from)
{
    for (int i = 0; i < MOST_CONTENTS; i++) {
        uint8_t *bytes = to->twins[i].bytes;

        if (!bytes) {
            bytes = malloc(MOST_BYTES);
            assert_non_null(bytes);
        }
        to->twins[i] = from->twins[i];
        to->twins[i].bytes = bytes;
        memcpy(bytes, from->twins[i].bytes, MOST_BYTES);
    }
}

static void world_clear(struct world *world)
{
    for (int i = 0; i < MOST_CONTENTS; i++) {
        world->twins[i].used = false;
        world->twins[i].size = 0;
        if (!world->twins[i].bytes) {
            world->twins[i].bytes = malloc(MOST_BYTES);
            assert_non_null(world->twins[i].bytes);
        }
        memset(world->twins[i].bytes, 0, MOST_BYTES);
    }
}

static void world_free(struct world *world)
{
    for (int i = 0; i < MOST_CONTENTS; i++) {
        free(world->twins[i].bytes);
        world->twins[i].bytes = NULL;
    }
}

/* What a base says after no file names it any more: the vault has it all the same. */
#define MOST_OLD 4096
static struct twin old[MOST_OLD];
static size_t old_count;

static const struct twin *vault_find(const struct lethe_id *id)
{
    for (int i = 0; i < MOST_CONTENTS; i++) {
        if (now.twins[i].used && lethe_id_equal(&now.twins[i].id, id)) {
            return &now.twins[i];
        }
    }
    for (size_t i = 0; i < old_count; i++) {
        if (lethe_id_equal(&old[i].id, id)) {
            return &old[i];
        }
    }
    return NULL;
}

/* The vault keeps what was vaulted last under this id: a crash may have undone an earlier time. */
static void vault_keep(const struct twin *twin)
{
    size_t i = 0;

    while (i < old_count && !lethe_id_equal(&old[i].id, &twin->id)) {
        i++;
    }
    if (i == old_count) {
        assert_true(old_count < MOST_OLD);
        old_count++;
    } else {
        free(old[i].bytes);
    }
    old[i] = *twin;
    old[i].state = LETHE_CONTENT_VAULTED;
    old[i].bytes = malloc(twin->size + 1);
    assert_non_null(old[i].bytes);
    memcpy(old[i].bytes, twin->bytes, twin->size);
}

static void hydrate(struct env *env, const struct lethe_absent *absent)
{
    const struct twin *twin = vault_find(&absent->content);
    struct lethe_content *content;
    uint64_t len;

    assert_non_null(twin);
    assert_int_equal(twin->state, LETHE_CONTENT_VAULTED);
    assert_int_equal(absent->offset % BLOCK, 0);
    assert_true(absent->length >= BLOCK && absent->offset < twin->size);
    len = absent->length < twin->size - absent->offset ? absent->length : twin->size - absent->offset;
    assert_int_equal(lethe_content_get(env->store, &absent->content, twin->size, &content), LETHE_OK);
    assert_int_equal(lethe_content_fill(content, absent->offset, twin->bytes + absent->offset, len),
                     LETHE_OK);
    lethe_content_put(content);
}

/* --- checks --- */

static void check_range(struct env *env, int n, uint64_t offset, size_t len)
{
    static uint8_t buffer[MOST_BYTES];
    struct twin *twin = &now.twins[n];
    uint64_t want = offset >= twin->size ? 0 : twin->size - offset;
    size_t got;
    enum lethe_err err;

    want = want < len ? want : len;
    for (int tries = 0; tries < 400; tries++) {
        struct lethe_absent absent;

        memset(buffer, 0xee, want + 1 < MOST_BYTES ? want + 1 : MOST_BYTES);
        err = lethe_content_read(handles[n], offset, buffer, len, &got, &absent);
        if (err != LETHE_ERR_ABSENT) {
            break;
        }
        hydrate(env, &absent);
    }
    assert_int_equal(err, LETHE_OK);
    assert_int_equal(got, want);
    assert_memory_equal(buffer, twin->bytes + offset, want);
    if (want < MOST_BYTES) {
        assert_int_equal(buffer[want], 0xee);
    }
}

static void check_seek(int n)
{
    struct twin *twin = &now.twins[n];
    uint64_t at = 0;

    for (int rounds = 0; rounds < 1000 && at < twin->size; rounds++) {
        uint64_t hole, data;

        assert_int_equal(lethe_content_seek(handles[n], at, false, &hole), LETHE_OK);
        assert_true(hole >= at && hole <= twin->size);
        if (hole >= twin->size) {
            break;
        }
        if (lethe_content_seek(handles[n], hole, true, &data) != LETHE_OK) {
            data = twin->size;
        }
        assert_true(data > hole && data <= twin->size);
        for (uint64_t i = hole; i < data; i++) {
            assert_int_equal(twin->bytes[i], 0);
        }
        at = data;
    }
}

/* What a content says of its data is what its maps say. */
static void check_data(int n)
{
    uint64_t blocks = (now.twins[n].size + BLOCK - 1) / BLOCK, data = 0;

    for (uint64_t block = 0; block < blocks; block++) {
        struct lethe_chunk *chunk;

        assert_int_equal(lethe_map_pin(handles[n], block / LETHE_CHUNK_BLOCKS, &chunk), LETHE_OK);
        data += lethe_block_is_data(chunk, block % LETHE_CHUNK_BLOCKS);
        lethe_map_unpin(chunk);
    }
    assert_int_equal(handles[n]->data, data);
    assert_true(handles[n]->limit <= blocks);
}

static void check_all(struct env *env)
{
    for (int n = 0; n < MOST_CONTENTS; n++) {
        if (now.twins[n].used) {
            assert_int_equal(lethe_content_size(handles[n]), now.twins[n].size);
            assert_int_equal(lethe_content_state(handles[n]), now.twins[n].state);
            check_range(env, n, 0, MOST_BYTES);
            check_seek(n);
            check_data(n);
        }
    }
}

/* After a commit: the rows' slots are counted exactly, and each content's own counts are right. */
static void check_counts(struct env *env)
{
    uint32_t *refs[2] = {calloc(1 << 16, 4), calloc(1 << 16, 4)};
    sqlite3_stmt *statement;
    bool row;

    lethe_db_lock(env->db);
    assert_int_equal(lethe_db_statement(env->db, "SELECT map FROM chunk WHERE idx >= 0", &statement),
                     LETHE_OK);
    while (lethe_db_step(env->db, statement, &row) == LETHE_OK && row) {
        const uint8_t *map = sqlite3_column_blob(statement, 0);
        int len = sqlite3_column_bytes(statement, 0);

        for (int i = 0; len > 1 && i < len / 36; i++) {
            const uint8_t *entry = map + 36 * i;

            if (entry[0] == KIND_SLOT &&
                (entry[1] == 0 || lethe_get_u32(entry + 4) == env->store->generation)) {
                refs[entry[1]][lethe_get_u32(entry + 8)]++;
            }
        }
    }
    lethe_db_unlock(env->db);
    refs[1][0]++; /* the cache file's identity */
    for (unsigned a = 0; a < 2; a++) {
        uint64_t used = 0;

        for (uint32_t slot = 0; slot < lethe_slots_end(env->store->slots[a]); slot++) {
            uint32_t counted;

            assert_int_equal(lethe_slots_refs(env->store->slots[a], slot, &counted), LETHE_OK);
            assert_int_equal(counted, refs[a][slot]);
            used += counted > 0;
        }
        assert_int_equal(lethe_slots_used(env->store->slots[a]), used);
        free(refs[a]);
    }
}

/* --- operations --- */

static int pick(unsigned states)
{
    int found[MOST_CONTENTS], count = 0;

    for (int n = 0; n < MOST_CONTENTS; n++) {
        if (now.twins[n].used && (states >> now.twins[n].state & 1)) {
            found[count++] = n;
        }
    }
    return count ? found[below((uint64_t)count)] : -1;
}

static int pick_free(void)
{
    for (int n = 0; n < MOST_CONTENTS; n++) {
        if (!now.twins[n].used) {
            return n;
        }
    }
    return -1;
}

static uint64_t some_offset(uint64_t most)
{
    uint64_t offset = below(most + 1);

    switch (below(4)) {
    case 0:
        return offset / BLOCK * BLOCK;
    case 1:
        return offset / 4096 * 4096;
    default:
        return offset;
    }
}

static uint64_t some_length(uint64_t most)
{
    uint64_t len;

    switch (below(5)) {
    case 0:
        len = below(100) + 1;
        break;
    case 1:
        len = 4096;
        break;
    case 2:
        len = BLOCK * (1 + below(40));
        break;
    default:
        len = 1 + below(5 * BLOCK);
        break;
    }
    return len < most ? len : most;
}

static void do_write(struct env *env, int n)
{
    static uint8_t bytes[MOST_BYTES];
    struct twin *twin = &now.twins[n];
    uint64_t offset = below(2) ? below(twin->size + 1) : some_offset(MOST_BYTES - 1);
    size_t len = (size_t)some_length(MOST_BYTES - offset);
    struct lethe_absent absent;
    enum lethe_err err;

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)random_next();
    }
    assert_int_equal(lethe_contents_reserve(env->store, len, 0), LETHE_OK);
    while ((err = lethe_content_write(handles[n], offset, bytes, len, &absent)) == LETHE_ERR_ABSENT) {
        hydrate(env, &absent);
    }
    lethe_contents_unreserve(env->store, len);
    assert_int_equal(err, LETHE_OK);
    memcpy(twin->bytes + offset, bytes, len);
    twin->size = twin->size > offset + len ? twin->size : offset + len;
}

static void do_resize(struct env *env, int n)
{
    struct twin *twin = &now.twins[n];
    uint64_t size = below(6) == 0 ? 0 : some_offset(below(2) ? twin->size : MOST_BYTES);
    struct lethe_absent absent;
    enum lethe_err err;

    while ((err = lethe_content_resize(handles[n], size, &absent)) == LETHE_ERR_ABSENT) {
        hydrate(env, &absent);
    }
    assert_int_equal(err, LETHE_OK);
    if (size < twin->size) {
        memset(twin->bytes + size, 0, twin->size - size);
    }
    twin->size = size;
}

static void do_punch(struct env *env, int n)
{
    struct twin *twin = &now.twins[n];
    uint64_t offset = some_offset(twin->size), len = below(3) ? some_length(MOST_BYTES) : below(MOST_BYTES);
    struct lethe_absent absent;
    enum lethe_err err;

    while ((err = lethe_content_punch(handles[n], offset, len, &absent)) == LETHE_ERR_ABSENT) {
        hydrate(env, &absent);
    }
    assert_int_equal(err, LETHE_OK);
    if (offset < twin->size) {
        memset(twin->bytes + offset, 0, len < twin->size - offset ? len : twin->size - offset);
    }
}

static void do_clone(int from, int to)
{
    uint8_t *bytes = now.twins[to].bytes;

    assert_int_equal(lethe_content_clone(handles[from], &handles[to]), LETHE_OK);
    now.twins[to] = now.twins[from];
    now.twins[to].bytes = bytes;
    now.twins[to].state = LETHE_CONTENT_MUTABLE;
    now.twins[to].id = *lethe_content_id(handles[to]);
    memcpy(bytes, now.twins[from].bytes, MOST_BYTES);
}

static void do_copy(struct env *env, int from, int to)
{
    struct twin *a = &now.twins[from], *b = &now.twins[to];
    bool aligned = below(3) > 0;
    uint64_t x = some_offset(a->size), y = some_offset(MOST_BYTES / 2), len, done, total = 0;

    if (aligned) {
        x = x / BLOCK * BLOCK;
        y = y / BLOCK * BLOCK;
    }
    len = below(2) ? MOST_BYTES : some_length(MOST_BYTES);
    len = len < a->size - x ? len : a->size - x;
    len = len < MOST_BYTES - y ? len : MOST_BYTES - y;
    if (len == 0 || (from == to && x < y + len && y < x + len)) {
        return;
    }
    while (total < len) {
        struct lethe_absent absent;
        enum lethe_err err =
            lethe_content_copy(handles[from], x + total, handles[to], y + total, len - total, &done, &absent);

        total += done;
        if (err == LETHE_ERR_ABSENT) {
            hydrate(env, &absent);
        } else {
            assert_int_equal(err, LETHE_OK);
            assert_true(done > 0);
        }
    }
    memmove(b->bytes + y, a->bytes + x, len);
    b->size = b->size > y + len ? b->size : y + len;
}

static void do_abandon(int n)
{
    assert_int_equal(lethe_content_abandon(handles[n]), LETHE_OK);
    lethe_content_put(handles[n]);
    handles[n] = NULL;
    now.twins[n].used = false;
    memset(now.twins[n].bytes, 0, MOST_BYTES);
    now.twins[n].size = 0;
}

static void put_all(void)
{
    for (int n = 0; n < MOST_CONTENTS; n++) {
        lethe_content_put(handles[n]);
        handles[n] = NULL;
    }
}

static void get_all(struct env *env)
{
    for (int n = 0; n < MOST_CONTENTS; n++) {
        if (now.twins[n].used) {
            assert_int_equal(lethe_content_get(env->store, &now.twins[n].id, now.twins[n].size, &handles[n]),
                             LETHE_OK);
        }
    }
}

static void do_crash(struct env *env)
{
    bool lost = below(4) == 0;

    put_all();
    env_down(env);
    world_copy(&now, &durable);
    if (lost) {
        lose_cache(env);
    }
    env_up(env, false);
    get_all(env);
    check_all(env);
}

static void step(struct env *env)
{
    int a, b;

    switch (below(22)) {
    case 0:
        a = pick_free();
        if (a >= 0) {
            assert_int_equal(lethe_content_new(env->store, &handles[a]), LETHE_OK);
            now.twins[a].used = true;
            now.twins[a].state = LETHE_CONTENT_MUTABLE;
            now.twins[a].id = *lethe_content_id(handles[a]);
            now.twins[a].size = 0;
        }
        break;
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        a = pick(1);
        if (a >= 0) {
            do_write(env, a);
        }
        break;
    case 6:
        a = pick(1);
        if (a >= 0) {
            do_resize(env, a);
            if (below(2)) {
                do_resize(env, a); /* what grows again is zeros */
            }
        }
        break;
    case 7:
        a = pick(1);
        if (a >= 0) {
            do_punch(env, a);
        }
        break;
    case 8:
    case 9:
        a = pick(7);
        b = pick_free();
        if (a >= 0 && b >= 0) {
            do_clone(a, b);
        }
        break;
    case 10:
    case 11:
        a = pick(7);
        b = pick(1);
        if (a >= 0 && b >= 0) {
            do_copy(env, a, b);
        }
        break;
    case 12:
        a = pick(1);
        if (a >= 0 && below(4) == 0) {
            assert_int_equal(lethe_content_freeze(handles[a], 3), LETHE_OK);
            now.twins[a].state = LETHE_CONTENT_FROZEN;
        }
        break;
    case 13:
        a = pick(2);
        if (a >= 0) {
            check_range(env, a, 0, MOST_BYTES);
            assert_int_equal(lethe_content_vaulted(handles[a]), LETHE_OK);
            now.twins[a].state = LETHE_CONTENT_VAULTED;
            vault_keep(&now.twins[a]);
        }
        break;
    case 14:
        (void)lethe_contents_evict(env->store, below(100), NULL);
        lethe_contents_trim(env->store, 0);
        break;
    case 15:
        a = pick(7);
        if (a >= 0) {
            do_abandon(a);
        }
        break;
    case 16:
        assert_int_equal(lethe_contents_flush(env->store), LETHE_OK);
        break;
    case 17:
    case 18:
        commit(env);
        world_copy(&durable, &now);
        if (below(4) == 0) {
            check_counts(env);
        }
        break;
    case 19:
        if (below(4) == 0) {
            do_crash(env);
        }
        break;
    default:
        a = pick(7);
        if (a >= 0) {
            check_range(env, a, some_offset(now.twins[a].size), (size_t)some_length(MOST_BYTES));
        }
        break;
    }
}

static void test_model(void **unused)
{
    const char *text = getenv("LETHE_TEST_STEPS");
    unsigned steps = text ? (unsigned)strtoul(text, NULL, 10) : 3000;
    struct env env;

    (void)unused;
    text = getenv("LETHE_TEST_SEED");
    random_state = text ? strtoull(text, NULL, 10) : 88172645463325252ull;
    print_message("seed %llu\n", (unsigned long long)random_state);
    env_make(&env, 512 << 20);
    world_clear(&now);
    world_clear(&durable);
    for (unsigned i = 0; i < steps; i++) {
        step(&env);
        if (i % 100 == 99) {
            check_all(&env);
        }
    }
    commit(&env);
    check_all(&env);
    commit(&env);
    check_counts(&env);
    put_all();
    env_end(&env);
    world_free(&now);
    world_free(&durable);
    while (old_count > 0) {
        free(old[--old_count].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
