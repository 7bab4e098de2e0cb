/* SPDX-License-Identifier: MIT */
/*
 * Keeps uploads and downloads below a rate: a call waits until the bytes of those before it have had their time. How
 * much a get brings is known only afterwards, so it takes an estimate first.
 * Threads: the buckets are guarded by lock. Waits end at once when the owner leaves (hurry).
 */
#include "backends/throttle.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "lethe/store.h"

#define ESTIMATE (256u << 10) /* of a get that does not say how much it wants */

struct throttle {
    struct lethe_store base;
    struct lethe_store *inner;
    pthread_mutex_t lock;
    pthread_cond_t leaving;
    bool hurry;
    struct lethe_bucket up, down;
};

static uint64_t time_of(const struct lethe_bucket *bucket, uint64_t bytes)
{
    /* A rate is a byte a second at least, and what passes 2^40 bytes is no object. */
    bytes = bytes < UINT64_C(1) << 40 ? bytes : UINT64_C(1) << 40;
    return bytes * 1000000 / bucket->rate;
}

uint64_t lethe_bucket_take(struct lethe_bucket *bucket, uint64_t now, uint64_t bytes)
{
    uint64_t turn;

    if (bucket->rate == 0) {
        return now;
    }
    turn = bucket->ready > now ? bucket->ready : now;
    bucket->ready = turn + time_of(bucket, bytes);
    return turn;
}

void lethe_bucket_correct(struct lethe_bucket *bucket, uint64_t estimate, uint64_t bytes)
{
    if (bucket->rate == 0) {
        return;
    }
    bucket->ready += time_of(bucket, bytes);
    bucket->ready -= time_of(bucket, estimate) < bucket->ready ? time_of(bucket, estimate) : bucket->ready;
}

static struct throttle *throttle_of(struct lethe_store *store)
{
    return (struct throttle *)store;
}

static void wait_for_turn(struct throttle *throttle, struct lethe_bucket *bucket, uint64_t bytes)
{
    struct timespec until;
    uint64_t turn;

    clock_gettime(CLOCK_MONOTONIC, &until);
    pthread_mutex_lock(&throttle->lock);
    turn = lethe_bucket_take(bucket, (uint64_t)until.tv_sec * 1000000 + (uint64_t)until.tv_nsec / 1000, bytes);
    until = (struct timespec){.tv_sec = (time_t)(turn / 1000000), .tv_nsec = (long)(turn % 1000000) * 1000};
    while (!throttle->hurry &&
           pthread_cond_timedwait(&throttle->leaving, &throttle->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&throttle->lock);
}

static enum lethe_err throttle_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                   struct lethe_buf *out, struct lethe_store_version *version)
{
    struct throttle *throttle = throttle_of(store);
    uint64_t estimate = len < ESTIMATE ? len : ESTIMATE;
    size_t before = out->len;
    enum lethe_err err;

    wait_for_turn(throttle, &throttle->down, estimate);
    err = lethe_store_get(throttle->inner, key, offset, len, out, version);
    pthread_mutex_lock(&throttle->lock);
    lethe_bucket_correct(&throttle->down, estimate, out->len - before);
    pthread_mutex_unlock(&throttle->lock);
    return err;
}

static enum lethe_err throttle_put(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                   size_t len)
{
    wait_for_turn(throttle_of(store), &throttle_of(store)->up, len);
    return lethe_store_put(throttle_of(store)->inner, key, bytes, len);
}

static enum lethe_err throttle_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                       size_t len, const struct lethe_store_version *expected,
                                       struct lethe_store_version *version)
{
    wait_for_turn(throttle_of(store), &throttle_of(store)->up, len);
    return lethe_store_replace(throttle_of(store)->inner, key, bytes, len, expected, version);
}

static enum lethe_err throttle_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                         size_t len)
{
    wait_for_turn(throttle_of(store), &throttle_of(store)->up, len);
    return lethe_store_overwrite(throttle_of(store)->inner, key, bytes, len);
}

static enum lethe_err throttle_remove(struct lethe_store *store, const char *key)
{
    return lethe_store_remove(throttle_of(store)->inner, key);
}

static enum lethe_err throttle_list(struct lethe_store *store, const char *prefix,
                                    enum lethe_err (*each)(void *context, const char *key,
                                                           const struct lethe_store_stat *stat),
                                    void *context)
{
    return lethe_store_list(throttle_of(store)->inner, prefix, each, context);
}

static enum lethe_err throttle_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    return lethe_store_stat(throttle_of(store)->inner, key, out);
}

static unsigned throttle_quiet_ms(struct lethe_store *store)
{
    return lethe_store_quiet_ms(throttle_of(store)->inner);
}

static void throttle_hurry(struct lethe_store *store)
{
    struct throttle *throttle = throttle_of(store);

    pthread_mutex_lock(&throttle->lock);
    throttle->hurry = true;
    pthread_cond_broadcast(&throttle->leaving);
    pthread_mutex_unlock(&throttle->lock);
    lethe_store_hurry(throttle->inner);
}

static void throttle_close(struct lethe_store *store)
{
    struct throttle *throttle = throttle_of(store);

    lethe_store_close(throttle->inner);
    pthread_cond_destroy(&throttle->leaving);
    pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}

static const struct lethe_store_ops throttle_ops = {
    .get = throttle_get,
    .put = throttle_put,
    .replace = throttle_replace,
    .overwrite = throttle_overwrite,
    .remove = throttle_remove,
    .list = throttle_list,
    .stat = throttle_stat,
    .quiet_ms = throttle_quiet_ms,
    .hurry = throttle_hurry,
    .close = throttle_close,
};

enum lethe_err lethe_store_throttle_new(struct lethe_store *inner, uint64_t up, uint64_t down,
                                        struct lethe_store **out)
{
    struct throttle *throttle = calloc(1, sizeof *throttle);
    pthread_condattr_t monotonic;

    *out = NULL;
    if (!throttle) {
        lethe_store_close(inner);
        return LETHE_ERR_NOMEM;
    }
    throttle->base.ops = &throttle_ops;
    throttle->inner = inner;
    throttle->up.rate = up;
    throttle->down.rate = down;
    pthread_mutex_init(&throttle->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&throttle->leaving, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = &throttle->base;
    return LETHE_OK;
}
