/* SPDX-License-Identifier: MIT */
#include "fs/vault/ahead.h"

#include <pthread.h>
#include <stdlib.h>

#define THREADS 32u
#define WINDOW 256u              /* fetched or being fetched, not yet taken, */
#define WINDOW_BYTES (12u << 20) /* and their costs; one may always go on */

struct slot {
    uint64_t cost;
    struct lethe_buf bytes;
    enum lethe_err err;
    bool done;
};

struct lethe_ahead {
    lethe_ahead_fetch fetch;
    void *context;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t moved;
    struct slot *slots;
    size_t count, next,
        taken; /* next: the first that nobody fetches yet; taken: the first that was not taken */
    uint64_t bytes;
    bool stop;
    pthread_t threads[THREADS];
    unsigned started;
};

static bool may_fetch(const struct lethe_ahead *ahead)
{
    size_t waiting = ahead->next - ahead->taken;

    return waiting == 0 ||
           (waiting < WINDOW && ahead->bytes + ahead->slots[ahead->next].cost <= WINDOW_BYTES);
}

/* The lock is held on entry and on return. */
static void fetch_next(struct lethe_ahead *ahead)
{
    size_t index = ahead->next++;
    struct lethe_buf bytes = {0};
    enum lethe_err err;

    ahead->bytes += ahead->slots[index].cost;
    pthread_mutex_unlock(&ahead->lock);
    err = ahead->fetch(ahead->context, index, &bytes);
    pthread_mutex_lock(&ahead->lock);
    ahead->slots[index].bytes = bytes;
    ahead->slots[index].err = err;
    ahead->slots[index].done = true;
    pthread_cond_broadcast(&ahead->moved);
}

static void *worker(void *argument)
{
    struct lethe_ahead *ahead = argument;

    pthread_mutex_lock(&ahead->lock);
    while (!ahead->stop && ahead->next < ahead->count) {
        if (may_fetch(ahead)) {
            fetch_next(ahead);
        } else {
            pthread_cond_wait(&ahead->moved, &ahead->lock);
        }
    }
    pthread_mutex_unlock(&ahead->lock);
    return NULL;
}

enum lethe_err lethe_ahead_new(lethe_ahead_fetch fetch, void *context, const uint64_t *costs, size_t count,
                               struct lethe_ahead **out)
{
    struct lethe_ahead *ahead = calloc(1, sizeof *ahead);

    *out = NULL;
    if (ahead) {
        ahead->slots = calloc(count ? count : 1, sizeof *ahead->slots);
    }
    if (!ahead || !ahead->slots) {
        free(ahead);
        return LETHE_ERR_NOMEM;
    }
    ahead->fetch = fetch;
    ahead->context = context;
    ahead->count = count;
    for (size_t i = 0; costs && i < count; i++) {
        ahead->slots[i].cost = costs[i];
    }
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->moved, NULL);
    /* Without any thread, and for one thing, the taker fetches. */
    while (count > 1 && ahead->started < THREADS && ahead->started < count &&
           !pthread_create(&ahead->threads[ahead->started], NULL, worker, ahead)) {
        ahead->started++;
    }
    *out = ahead;
    return LETHE_OK;
}

/* The lock is held. */
static void drop(struct lethe_ahead *ahead)
{
    struct slot *slot = &ahead->slots[ahead->taken++];

    lethe_buf_release(&slot->bytes);
    ahead->bytes -= slot->cost;
}

enum lethe_err lethe_ahead_take(struct lethe_ahead *ahead, size_t index, struct lethe_buf *out)
{
    struct slot *slot = &ahead->slots[index];
    enum lethe_err err;

    lethe_buf_release(out);
    pthread_mutex_lock(&ahead->lock);
    while (ahead->taken <= index) {
        slot = &ahead->slots[ahead->taken];
        while (!slot->done) {
            if (ahead->next == ahead->taken) {
                fetch_next(ahead);
            } else {
                pthread_cond_wait(&ahead->moved, &ahead->lock);
            }
        }
        if (ahead->taken == index) {
            *out = slot->bytes;
            slot->bytes = (struct lethe_buf){0};
        }
        drop(ahead);
    }
    err = slot->err;
    pthread_cond_broadcast(&ahead->moved);
    pthread_mutex_unlock(&ahead->lock);
    return err;
}

void lethe_ahead_free(struct lethe_ahead *ahead)
{
    if (!ahead) {
        return;
    }
    pthread_mutex_lock(&ahead->lock);
    ahead->stop = true;
    pthread_cond_broadcast(&ahead->moved);
    pthread_mutex_unlock(&ahead->lock);
    for (unsigned i = 0; i < ahead->started; i++) {
        pthread_join(ahead->threads[i], NULL);
    }
    for (size_t i = 0; i < ahead->count; i++) {
        lethe_buf_release(&ahead->slots[i].bytes);
    }
    pthread_cond_destroy(&ahead->moved);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead->slots);
    free(ahead);
}
