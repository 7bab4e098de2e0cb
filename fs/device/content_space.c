/* SPDX-License-Identifier: MIT */
/*
 * Space: what counts against the limit, and waiting for room. Counted are: slots in use, slots that wait for
 * a commit, free slots that still have space in the file, buffers (each needs a slot), and the database with
 * its log. A disk that has less than the limit to give is a lower limit.
 */
#include "fs/device/content_private.h"

#include "fs/spares.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define RUNS 64u
#define KEEP_FAT 16384u /* 256 MiB */
#define LOOK_UP_EVERY 32u
#define LOOK_AGAIN_MS 250 /* a writer that waits for room */
#define PUSH (UINT64_C(8) << 20) /* so much new is worth a start of the disk */

static uint64_t slots_with_space(struct lethe_contents *store)
{
    uint64_t slots = 0;

    for (unsigned a = 0; a < 2; a++) {
        slots += lethe_slots_used(store->slots[a]) + lethe_slots_pending(store->slots[a]) +
                 lethe_slots_fat(store->slots[a]);
    }
    return slots;
}

void lethe_contents_look_up_database(struct lethe_contents *store)
{
    struct statvfs disk;
    struct stat st;
    uint64_t bytes = 0;

    if (store->database_path && stat(store->database_path, &st) == 0) {
        bytes += (uint64_t)st.st_blocks * 512;
    }
    if (store->log_path && stat(store->log_path, &st) == 0) {
        bytes += (uint64_t)st.st_blocks * 512;
    }
    store->database = bytes;
    store->database_age = 0;
    store->disk = UINT64_MAX;
    store->lacking = 0;
    store->promised = store->reserved + lethe_blocks_in_use(store->pool) * BLOCK;
    if (store->database_path && statvfs(store->database_path, &disk) == 0) {
        uint64_t all = (uint64_t)disk.f_blocks * disk.f_frsize, free = (uint64_t)disk.f_bavail * disk.f_frsize;
        uint64_t reserve = store->reserve < all / 4 ? store->reserve : all / 4;

        store->disk = free > reserve ? free - reserve : 0;
        store->lacking = free < reserve ? reserve - free : 0;
    }
}

uint64_t lethe_contents_taken(struct lethe_contents *store)
{
    return (lethe_blocks_in_use(store->pool) + slots_with_space(store)) * BLOCK + store->database + store->beside;
}

/* Store lock held. */
static uint64_t left(struct lethe_contents *store)
{
    uint64_t taken = lethe_contents_taken(store) + store->reserved + store->reserve;
    uint64_t limit = taken < store->limit ? store->limit - taken : 0;
    /*
     * Whether a slot that is taken, or free, has its space from the disk by now only who writes or trims it knows: what was
     * promised counts until the disk is asked again.
     */
    uint64_t disk = store->promised < store->disk ? store->disk - store->promised : 0;

    return limit < disk ? limit : disk;
}

/* Gives back the space of at most one batch of runs of an arena; false: no more than keep are left. */
static bool trim_batch(struct lethe_contents *store, unsigned arena, uint64_t keep)
{
    struct lethe_slot_run runs[RUNS];
    size_t n;

    pthread_mutex_lock(&store->lock);
    n = lethe_slots_trim(store->slots[arena], keep, runs, RUNS);
    pthread_mutex_unlock(&store->lock);
    if (n == 0) {
        return false;
    }
    for (size_t r = 0; r < n; r++) {
        lethe_arena_punch(store->arenas[arena], runs[r].first, runs[r].count);
    }
    pthread_mutex_lock(&store->lock);
    lethe_slots_trimmed(store->slots[arena], runs, n);
    pthread_mutex_unlock(&store->lock);
    return true;
}

void lethe_contents_trim(struct lethe_contents *store, uint64_t keep)
{
    for (unsigned a = 0; a < 2; a++) {
        while (trim_batch(store, a, keep)) {
        }
    }
}

/*
 * Free slots that keep their space until it is wanted: a rewrite takes them again, while giving one back costs
 * milliseconds (each is a transaction of the file system below). Bounded, as their groups stay in memory.
 */
static uint64_t fat_to_keep(const struct lethe_contents *store)
{
    uint64_t share = store->limit / BLOCK / 8;

    return share < KEEP_FAT ? share : KEEP_FAT;
}

/* Blocks of the cache that are beyond the limit, or in the way of the metadata, store lock held. */
static uint64_t surplus(struct lethe_contents *store)
{
    uint64_t taken, over;

    lethe_contents_look_up_database(store);
    taken = lethe_contents_taken(store);
    over = taken > store->limit ? taken - store->limit : 0;
    return ((over > store->lacking ? over : store->lacking) + BLOCK - 1) / BLOCK;
}

bool lethe_contents_shrink(struct lethe_contents *store)
{
    uint64_t count, freed = 0;

    pthread_mutex_lock(&store->lock);
    count = surplus(store);
    pthread_mutex_unlock(&store->lock);
    if (count > 0) {
        pthread_rwlock_rdlock(&store->maps);
        freed = lethe_contents_evict(store, count, NULL);
        pthread_rwlock_unlock(&store->maps);
        lethe_contents_trim(store, 0);
    }
    return freed > 0;
}

bool lethe_contents_tidy(struct lethe_contents *store)
{
    bool more = false;

    lethe_lent_tick(store);
    lethe_spares_tick(store->spares);
    (void)lethe_contents_shrink(store);
    for (unsigned a = 0; a < 2; a++) {
        more |= trim_batch(store, a, fat_to_keep(store));
    }
    return more;
}

/* Gives space of free slots back until there is room for need bytes, or none of them is left. */
static void give_back(struct lethe_contents *store, uint64_t need)
{
    for (unsigned a = 0; a < 2; a++) {
        bool more = true;

        while (more) {
            pthread_mutex_lock(&store->lock);
            lethe_contents_look_up_database(store);
            more = left(store) < need;
            pthread_mutex_unlock(&store->lock);
            more = more && trim_batch(store, a, 0);
        }
    }
}

bool lethe_contents_beside_take(struct lethe_contents *store, uint64_t bytes)
{
    bool room;

    pthread_mutex_lock(&store->lock);
    lethe_contents_look_up_database(store);
    room = left(store) >= bytes;
    store->beside += room ? bytes : 0;
    store->promised += room ? bytes : 0;
    pthread_mutex_unlock(&store->lock);
    return room;
}

void lethe_contents_beside_give(struct lethe_contents *store, uint64_t bytes)
{
    pthread_mutex_lock(&store->lock);
    store->beside -= bytes;
    pthread_mutex_unlock(&store->lock);
}

void lethe_contents_set_beside(struct lethe_contents *store, void (*give_way)(void *context, uint64_t bytes),
                               void *context)
{
    pthread_mutex_lock(&store->lock);
    store->give_way = give_way;
    store->give_way_context = context;
    pthread_mutex_unlock(&store->lock);
}

/* What others keep goes before cached blocks do. */
static void ask_others(struct lethe_contents *store, uint64_t need)
{
    void (*give_way)(void *context, uint64_t bytes);
    void *context;
    uint64_t have;

    pthread_mutex_lock(&store->lock);
    give_way = store->beside ? store->give_way : NULL;
    context = store->give_way_context;
    have = left(store);
    pthread_mutex_unlock(&store->lock);
    if (give_way && have < need) {
        give_way(context, need - have);
    }
}

/* What is left, looked up anew if it seems to be less than need. Store lock held. */
static uint64_t left_after_look(struct lethe_contents *store, uint64_t need)
{
    if (left(store) < need) {
        lethe_contents_look_up_database(store);
    }
    return left(store);
}

/* Store lock held. */
static void promise(struct lethe_contents *store, uint64_t bytes)
{
    store->reserved += bytes;
    store->promised += bytes;
}

uint64_t lethe_contents_room(struct lethe_contents *store, uint64_t count, const struct lethe_content *except)
{
    uint64_t available;

    pthread_mutex_lock(&store->lock);
    available = left_after_look(store, count * BLOCK) / BLOCK;
    if (available < count) {
        pthread_mutex_unlock(&store->lock);
        ask_others(store, count * BLOCK);
        give_back(store, count * BLOCK);
        pthread_mutex_lock(&store->lock);
        available = left(store) / BLOCK;
    }
    if (available < count) {
        pthread_mutex_unlock(&store->lock);
        (void)lethe_contents_evict(store, count, except);
        give_back(store, count * BLOCK);
        pthread_mutex_lock(&store->lock);
        available = left(store) / BLOCK;
    }
    available = available < count ? available : count;
    promise(store, available * BLOCK);
    pthread_mutex_unlock(&store->lock);
    return available;
}

void lethe_contents_room_back(struct lethe_contents *store, uint64_t count)
{
    pthread_mutex_lock(&store->lock);
    store->reserved -= count * BLOCK;
    pthread_mutex_unlock(&store->lock);
}

/* What len bytes may take: their blocks, and one more in part at each end. */
static uint64_t need_of(uint64_t len)
{
    return (len / BLOCK + 2) * BLOCK;
}

/* A moment ms later on the monotonic clock. */
static struct timespec later(unsigned ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Makes room by eviction; store lock held before and after, released meanwhile. */
static void make_room(struct lethe_contents *store, uint64_t need)
{
    pthread_mutex_unlock(&store->lock);
    ask_others(store, need);
    give_back(store, need);
    pthread_mutex_lock(&store->lock);
    lethe_contents_look_up_database(store);
    if (left(store) < need) {
        uint64_t count = (need - left(store)) / BLOCK + 1;

        pthread_mutex_unlock(&store->lock);
        pthread_rwlock_rdlock(&store->maps);
        (void)lethe_contents_evict(store, count, NULL);
        pthread_rwlock_unlock(&store->maps);
        give_back(store, need);
        pthread_mutex_lock(&store->lock);
    }
    lethe_contents_look_up_database(store);
}

enum lethe_err lethe_contents_reserve(struct lethe_contents *store, uint64_t len, unsigned stall_ms)
{
    uint64_t need, progress;
    struct timespec end = later(stall_ms);
    enum lethe_err err = LETHE_OK;

    if (len > store->limit) {
        return LETHE_ERR_NOSPACE;
    }
    need = need_of(len);
    pthread_mutex_lock(&store->lock);
    progress = store->progress;
    if (++store->database_age >= LOOK_UP_EVERY) {
        lethe_contents_look_up_database(store);
    }
    while (left_after_look(store, need) < need) {
        uint64_t wakes = store->wakes;
        bool (*pressure)(void *context) = store->pressure;
        void *context = store->pressure_context;
        bool under_way = false;
        struct timespec turn;

        make_room(store, need);
        if (left(store) >= need) {
            break;
        }
        if (need + store->reserve + store->database > store->limit || stall_ms == 0) {
            err = LETHE_ERR_NOSPACE; /* no waiting helps */
            break;
        }
        if (pressure) {
            pthread_mutex_unlock(&store->lock);
            under_way = pressure(context);
            pthread_mutex_lock(&store->lock);
        }
        turn = later(0);
        if (under_way || progress != store->progress) {
            progress = store->progress;
            end = later(stall_ms);
        } else if (is_before(&end, &turn)) {
            err = LETHE_ERR_NOSPACE;
            break;
        }
        turn = later(stall_ms < LOOK_AGAIN_MS ? stall_ms : LOOK_AGAIN_MS);
        while (wakes == store->wakes && pthread_cond_timedwait(&store->moved, &store->lock, &turn) != ETIMEDOUT) {
        }
        /* What a commit or a checkpoint gives back, or others do, wakes nobody: it is looked for. */
    }
    if (!err) {
        promise(store, need);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

void lethe_contents_unreserve(struct lethe_contents *store, uint64_t len)
{
    void (*plenty)(void *context) = NULL;
    void *context;
    bool push;

    pthread_mutex_lock(&store->lock);
    store->reserved -= need_of(len);
    push = store->written / PUSH != (store->written + len) / PUSH;
    if (store->written < store->plenty_at && len >= store->plenty_at - store->written) {
        plenty = store->plenty;
    }
    store->written += len;
    context = store->plenty_context;
    store->wakes++;
    pthread_cond_broadcast(&store->moved);
    pthread_mutex_unlock(&store->lock);
    if (push) {
        lethe_arena_push(store->arenas[ARENA_STATE]);
    }
    if (plenty) {
        plenty(context);
    }
}

void lethe_contents_set_plenty(struct lethe_contents *store, uint64_t bytes, void (*plenty)(void *context), void *context)
{
    pthread_mutex_lock(&store->lock);
    store->plenty_at = bytes;
    store->plenty = plenty;
    store->plenty_context = context;
    pthread_mutex_unlock(&store->lock);
}

void lethe_contents_hold_moves(struct lethe_contents *store, bool hold)
{
    pthread_mutex_lock(&store->lock);
    store->hold_moves = hold;
    pthread_mutex_unlock(&store->lock);
}

bool lethe_contents_moves_wait(struct lethe_contents *store)
{
    bool wait;

    pthread_mutex_lock(&store->lock);
    wait = store->hold_moves && left(store) >= store->limit / 2;
    pthread_mutex_unlock(&store->lock);
    return wait;
}

bool lethe_contents_want_commit(struct lethe_contents *store)
{
    bool want;

    pthread_mutex_lock(&store->lock);
    want = store->moving_first != NULL || lethe_slots_pending(store->slots[ARENA_STATE]) > 0;
    pthread_mutex_unlock(&store->lock);
    return want;
}

void lethe_contents_moving(struct lethe_contents *store)
{
    pthread_mutex_lock(&store->lock);
    store->progress++;
    pthread_mutex_unlock(&store->lock);
}

void lethe_contents_progress(struct lethe_contents *store)
{
    pthread_mutex_lock(&store->lock);
    store->progress++;
    store->wakes++;
    pthread_cond_broadcast(&store->moved);
    pthread_mutex_unlock(&store->lock);
}

void lethe_contents_usage(struct lethe_contents *store, struct lethe_contents_usage *out)
{
    const struct lethe_slots *state, *cache;

    pthread_mutex_lock(&store->lock);
    lethe_contents_look_up_database(store);
    state = store->slots[ARENA_STATE];
    cache = store->slots[ARENA_CACHE];
    out->limit = store->limit;
    out->dirty = (lethe_slots_used(state) + lethe_slots_pending(state) + lethe_slots_fat(state) +
                  lethe_blocks_in_use(store->pool)) *
                 BLOCK;
    out->cached = (lethe_slots_used(cache) + lethe_slots_fat(cache)) * BLOCK + store->beside;
    out->database = store->database;
    out->reserve = store->reserve;
    out->free = left(store);
    pthread_mutex_unlock(&store->lock);
}
