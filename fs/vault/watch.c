/* SPDX-License-Identifier: MIT */
#include "fs/vault/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct watch {
    struct lethe_store base;
    struct lethe_store *inner;
    pthread_mutex_t lock; /* guards all below */
    struct lethe_watch_status status;
    int64_t away_at; /* monotonic, ns */
    void (*back)(void *context);
    void *context;
};

static struct watch *watch_of(struct lethe_store *store)
{
    return (struct watch *)store;
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether err says that the store cannot be used now, rather than something about the object. */
static bool means_away(enum lethe_err err)
{
    return err == LETHE_ERR_UNREACHABLE || err == LETHE_ERR_DENIED || err == LETHE_ERR_KEY;
}

/* Away since so many ms ago, unless it is known for longer. The lock is held. */
static void mark_away(struct watch *watch, uint64_t ms, enum lethe_err why)
{
    if (!watch->status.away) {
        watch->status.away = true;
        watch->status.since = now_ns(CLOCK_REALTIME) - (int64_t)ms * 1000000;
        watch->away_at = now_ns(CLOCK_MONOTONIC) - (int64_t)ms * 1000000;
    }
    watch->status.why = why;
}

/* Counts one attempt under *counter and takes note of how it went. */
static enum lethe_err note(struct watch *watch, uint64_t *counter, uint64_t in, uint64_t out, enum lethe_err err)
{
    void (*back)(void *context) = NULL;
    void *context = NULL;

    pthread_mutex_lock(&watch->lock);
    ++*counter;
    watch->status.bytes_in += in;
    watch->status.bytes_out += out;
    if (means_away(err)) {
        mark_away(watch, 0, err);
        watch->status.failures++;
    } else if (err != LETHE_ERR_NOMEM) {
        watch->status.answers++;
        if (watch->status.away) {
            watch->status.away = false;
            watch->status.why = LETHE_OK;
            watch->status.since = 0;
            back = watch->back;
            context = watch->context;
        }
    }
    pthread_mutex_unlock(&watch->lock);
    if (back) {
        back(context);
    }
    return err;
}

static enum lethe_err watch_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                struct lethe_buf *out, struct lethe_store_version *version)
{
    struct watch *watch = watch_of(store);
    size_t before = out->len;
    enum lethe_err err = lethe_store_get(watch->inner, key, offset, len, out, version);

    return note(watch, &watch->status.gets, err ? 0 : out->len - before, 0, err);
}

static enum lethe_err watch_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_put(watch->inner, key, bytes, len);

    return note(watch, &watch->status.puts, 0, len, err);
}

static enum lethe_err watch_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                    const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_replace(watch->inner, key, bytes, len, expected, version);

    return note(watch, &watch->status.replaces, 0, len, err);
}

static enum lethe_err watch_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_overwrite(watch->inner, key, bytes, len);

    /* What the store has no need of was not asked of it. */
    return err == LETHE_ERR_UNSUPPORTED ? err : note(watch, &watch->status.replaces, 0, len, err);
}

static enum lethe_err watch_remove(struct lethe_store *store, const char *key)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_remove(watch->inner, key);

    return note(watch, &watch->status.removes, 0, 0, err);
}

/* A listing may take many requests of the backend; its callback's errors are not the store's. */
static enum lethe_err watch_list(struct lethe_store *store, const char *prefix,
                                 enum lethe_err (*each)(void *context, const char *key,
                                                        const struct lethe_store_stat *stat),
                                 void *context)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_list(watch->inner, prefix, each, context);

    return note(watch, &watch->status.lists, 0, 0, err);
}

static enum lethe_err watch_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct watch *watch = watch_of(store);
    enum lethe_err err = lethe_store_stat(watch->inner, key, out);

    return note(watch, &watch->status.stats, 0, 0, err);
}

static void watch_hurry(struct lethe_store *store)
{
    lethe_store_hurry(watch_of(store)->inner);
}

static void watch_close(struct lethe_store *store)
{
    struct watch *watch = watch_of(store);

    lethe_store_close(watch->inner);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

static const struct lethe_store_ops watch_ops = {
    .get = watch_get,
    .put = watch_put,
    .replace = watch_replace,
    .overwrite = watch_overwrite,
    .remove = watch_remove,
    .list = watch_list,
    .stat = watch_stat,
    .hurry = watch_hurry,
    .close = watch_close,
};

enum lethe_err lethe_watch_new(struct lethe_store *inner, struct lethe_store **out)
{
    struct watch *watch = calloc(1, sizeof *watch);

    *out = NULL;
    if (!watch) {
        lethe_store_close(inner);
        return LETHE_ERR_NOMEM;
    }
    watch->base.ops = &watch_ops;
    watch->inner = inner;
    pthread_mutex_init(&watch->lock, NULL);
    *out = &watch->base;
    return LETHE_OK;
}

void lethe_watch_status(struct lethe_store *store, struct lethe_watch_status *out)
{
    struct watch *watch = watch_of(store);

    pthread_mutex_lock(&watch->lock);
    *out = watch->status;
    if (out->away) {
        out->away_ms = (uint64_t)((now_ns(CLOCK_MONOTONIC) - watch->away_at) / 1000000);
    }
    pthread_mutex_unlock(&watch->lock);
    out->quiet_ms = lethe_store_quiet_ms(watch->inner);
}

void lethe_watch_waited(struct lethe_store *store, uint64_t answers, uint64_t ms)
{
    struct watch *watch = watch_of(store);

    pthread_mutex_lock(&watch->lock);
    if (watch->status.answers == answers) {
        mark_away(watch, ms, LETHE_ERR_UNREACHABLE);
    }
    pthread_mutex_unlock(&watch->lock);
}

void lethe_watch_on_return(struct lethe_store *store, void (*back)(void *context), void *context)
{
    struct watch *watch = watch_of(store);

    pthread_mutex_lock(&watch->lock);
    watch->back = back;
    watch->context = context;
    pthread_mutex_unlock(&watch->lock);
}
