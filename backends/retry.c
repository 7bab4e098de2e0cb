/* SPDX-License-Identifier: MIT */
/*
 * Tries again what was LETHE_ERR_UNREACHABLE: exponential back-off with full jitter (wait anything up to the
 * bound, double the bound), as in Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015,
 * until the deadline.
 *
 * An answer that was lost is not a failure that happened. A put that meets LETHE_ERR_EXISTS, or a replace
 * that meets LETHE_ERR_CONFLICT, reads back: the very bytes that were sent mean that it was ours. That holds
 * for the first attempt too, since what lies on the way repeats requests by itself (libcurl does, when a kept
 * connection dies before an answer). A list is repeated only while nothing was reported: a key is never reported twice.
 *
 * After an absence the first answer, to whomever, ends the waits of all others: they were chosen when nobody could know.
 * While some requests are answered it does not, so that a store which is merely too busy is given its time.
 *
 * Threads: waits and answers meet under the lock; otherwise no state but the arguments.
 */
#include "backends/retry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FIRST_WAIT_MS 50
#define LONGEST_WAIT_MS 8000
#define ABSENCE_MS 2000 /* without an answer to anybody */

struct retry_store {
    struct lethe_store base;
    struct lethe_store *inner;
    unsigned deadline_ms;
    struct lethe_retry_clock clock;
    pthread_mutex_t lock;
    pthread_cond_t back;
    uint64_t answered_ms; /* guarded by lock, as is: */
    uint64_t returns;     /* answers after an absence */
};

/* One call with its attempts. */
struct attempts {
    struct retry_store *store;
    uint64_t start;
    uint64_t bound;
    uint64_t seen; /* returns before the attempt: a later one means that it need not wait */
};

static uint64_t system_now(void *context)
{
    struct timespec now;

    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t system_random(void *context)
{
    uint64_t value;

    if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value) {
        return system_now(context);
    }
    return value;
}

static const struct lethe_retry_clock system_clock = {.now_ms = system_now, .random = system_random};

static struct retry_store *retry_of(struct lethe_store *store)
{
    return (struct retry_store *)store;
}

static uint64_t first_bound(const struct retry_store *store)
{
    return store->clock.first_wait_ms ? store->clock.first_wait_ms : FIRST_WAIT_MS;
}

static uint64_t returns_of(struct retry_store *store)
{
    uint64_t returns;

    pthread_mutex_lock(&store->lock);
    returns = store->returns;
    pthread_mutex_unlock(&store->lock);
    return returns;
}

static struct attempts begin(struct retry_store *store)
{
    return (struct attempts){.store = store,
                             .start = store->clock.now_ms(store->clock.context),
                             .bound = first_bound(store),
                             .seen = returns_of(store)};
}

static void note_answer(struct retry_store *store)
{
    uint64_t now = store->clock.now_ms(store->clock.context);

    pthread_mutex_lock(&store->lock);
    if (now - store->answered_ms >= ABSENCE_MS) {
        store->returns++;
        pthread_cond_broadcast(&store->back);
    }
    store->answered_ms = now;
    pthread_mutex_unlock(&store->lock);
}

/* True when the store's return ended the wait. */
static bool wait_for_return(struct attempts *attempts, uint64_t ms)
{
    struct retry_store *store = attempts->store;
    struct timespec until;
    bool back;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&store->lock);
    while (store->returns == attempts->seen &&
           pthread_cond_clockwait(&store->back, &store->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT) {
    }
    back = store->returns != attempts->seen;
    attempts->seen = store->returns;
    pthread_mutex_unlock(&store->lock);
    return back;
}

/* Whether to try again after err; waits before it says yes. */
static bool again(struct attempts *attempts, enum lethe_err err)
{
    const struct lethe_retry_clock *clock = &attempts->store->clock;
    uint64_t passed, left, wait;

    if (err != LETHE_ERR_UNREACHABLE) {
        note_answer(attempts->store);
        return false;
    }
    passed = clock->now_ms(clock->context) - attempts->start;
    if (passed >= attempts->store->deadline_ms) {
        return false;
    }
    left = attempts->store->deadline_ms - passed;
    wait = clock->random(clock->context) % (attempts->bound + 1);
    wait = wait < left ? wait : left;
    if (clock->wait_ms) {
        clock->wait_ms(clock->context, wait);
    } else if (wait_for_return(attempts, wait)) {
        attempts->bound = first_bound(attempts->store);
        return true;
    }
    attempts->bound = attempts->bound * 2 < LONGEST_WAIT_MS ? attempts->bound * 2 : LONGEST_WAIT_MS;
    return true;
}

static enum lethe_err retry_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                struct lethe_buf *out, struct lethe_store_version *version)
{
    struct attempts attempts = begin(retry_of(store));
    size_t start = out->len;
    enum lethe_err err;

    do {
        out->len = start;
        err = lethe_store_get(attempts.store->inner, key, offset, len, out, version);
    } while (again(&attempts, err));
    return err;
}

/* Whether the object holds these bytes; then *version is its version. Fails as get does. */
static enum lethe_err read_back(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                bool *ours, struct lethe_store_version *version)
{
    struct lethe_buf found = {0};
    enum lethe_err err = retry_get(store, key, 0, (uint64_t)len + 1, &found, version);

    *ours = !err && found.len == len && (len == 0 || memcmp(found.data, bytes, len) == 0);
    lethe_buf_release(&found);
    return err;
}

static enum lethe_err retry_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct attempts attempts = begin(retry_of(store));
    bool ours;
    enum lethe_err err;

    do {
        err = lethe_store_put(attempts.store->inner, key, bytes, len);
    } while (again(&attempts, err));
    if (err == LETHE_ERR_EXISTS) {
        enum lethe_err read = read_back(store, key, bytes, len, &ours, NULL);

        if (read == LETHE_ERR_UNREACHABLE) {
            return read;
        }
        return ours ? LETHE_OK : LETHE_ERR_EXISTS;
    }
    return err;
}

static enum lethe_err retry_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                    size_t len, const struct lethe_store_version *expected,
                                    struct lethe_store_version *version)
{
    struct attempts attempts = begin(retry_of(store));
    struct lethe_store_version found;
    bool ours;
    enum lethe_err err;

    do {
        err = lethe_store_replace(attempts.store->inner, key, bytes, len, expected, version);
    } while (again(&attempts, err));
    if (err == LETHE_ERR_CONFLICT) {
        enum lethe_err read = read_back(store, key, bytes, len, &ours, &found);

        if (read == LETHE_ERR_UNREACHABLE) {
            return read;
        }
        if (ours) {
            *version = found;
            return LETHE_OK;
        }
    }
    return err;
}

/* Repeated it has the effect of once, as far as nobody else writes: what overwrite is for. */
static enum lethe_err retry_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                      size_t len)
{
    struct attempts attempts = begin(retry_of(store));
    enum lethe_err err;

    do {
        err = lethe_store_overwrite(attempts.store->inner, key, bytes, len);
    } while (again(&attempts, err));
    return err;
}

static enum lethe_err retry_remove(struct lethe_store *store, const char *key)
{
    struct attempts attempts = begin(retry_of(store));
    enum lethe_err err;

    do {
        err = lethe_store_remove(attempts.store->inner, key);
    } while (again(&attempts, err));
    return err;
}

struct listing {
    enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat);
    void *context;
    bool begun;
};

static enum lethe_err listed(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct listing *listing = context;

    listing->begun = true;
    return listing->each(listing->context, key, stat);
}

static enum lethe_err retry_list(struct lethe_store *store, const char *prefix,
                                 enum lethe_err (*each)(void *context, const char *key,
                                                        const struct lethe_store_stat *stat),
                                 void *context)
{
    struct attempts attempts = begin(retry_of(store));
    struct listing listing = {.each = each, .context = context};
    enum lethe_err err;

    do {
        err = lethe_store_list(attempts.store->inner, prefix, listed, &listing);
    } while (!listing.begun && again(&attempts, err));
    return err;
}

static enum lethe_err retry_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct attempts attempts = begin(retry_of(store));
    enum lethe_err err;

    do {
        err = lethe_store_stat(attempts.store->inner, key, out);
    } while (again(&attempts, err));
    return err;
}

static unsigned retry_quiet_ms(struct lethe_store *store)
{
    return lethe_store_quiet_ms(retry_of(store)->inner);
}

static void retry_hurry(struct lethe_store *store)
{
    lethe_store_hurry(retry_of(store)->inner);
}

static void retry_close(struct lethe_store *store)
{
    struct retry_store *retry = (struct retry_store *)store;

    lethe_store_close(retry->inner);
    pthread_cond_destroy(&retry->back);
    pthread_mutex_destroy(&retry->lock);
    free(retry);
}

static const struct lethe_store_ops retry_ops = {
    .get = retry_get,
    .put = retry_put,
    .replace = retry_replace,
    .overwrite = retry_overwrite,
    .remove = retry_remove,
    .list = retry_list,
    .stat = retry_stat,
    .quiet_ms = retry_quiet_ms,
    .hurry = retry_hurry,
    .close = retry_close,
};

enum lethe_err lethe_store_retry_new_with(struct lethe_store *inner, unsigned deadline_ms,
                                          const struct lethe_retry_clock *clock, struct lethe_store **out)
{
    struct retry_store *store = calloc(1, sizeof *store);

    *out = NULL;
    if (!store) {
        lethe_store_close(inner);
        return LETHE_ERR_NOMEM;
    }
    store->base.ops = &retry_ops;
    store->inner = inner;
    store->deadline_ms = deadline_ms;
    store->clock = *clock;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->back, NULL);
    *out = &store->base;
    return LETHE_OK;
}

enum lethe_err lethe_store_retry_new(struct lethe_store *inner, unsigned deadline_ms,
                                     struct lethe_store **out)
{
    return lethe_store_retry_new_with(inner, deadline_ms, &system_clock, out);
}

enum lethe_err lethe_store_get_patiently(struct lethe_store *store, const char *key, uint64_t max_len,
                                         unsigned deadline_ms, struct lethe_buf *out,
                                         struct lethe_store_version *version)
{
    struct retry_store patient = {
        .base.ops = &retry_ops, .inner = store, .deadline_ms = deadline_ms, .clock = system_clock,
        .lock = PTHREAD_MUTEX_INITIALIZER, .back = PTHREAD_COND_INITIALIZER};

    return retry_get(&patient.base, key, 0, max_len, out, version);
}
