/* SPDX-License-Identifier: MIT */
#include "lethe/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* One call of lethe_pool_run, on its caller's stack and in the pool's list while it has indices to hand out. */
struct job {
    void (*work)(void *context, size_t index);
    void *context;
    size_t count;
    size_t next;    /* the first index not handed out; guarded by the pool's lock */
    size_t running; /* indices handed out and not finished; guarded by the pool's lock */
    struct job *link;
};

struct lethe_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* a job was added, or stop was set */
    pthread_cond_t done; /* a job has finished its last index */
    struct job *jobs;    /* guarded by lock */
    bool stop;           /* guarded by lock */
    unsigned started;
    pthread_t threads[];
};

/* Hands out one index of job and runs it, with the lock held on entry and on return. */
static void run_one(struct lethe_pool *pool, struct job *job)
{
    size_t index = job->next++;

    job->running++;
    if (job->next == job->count) {
        struct job **at = &pool->jobs;

        while (*at != job) {
            at = &(*at)->link;
        }
        *at = job->link;
    }
    pthread_mutex_unlock(&pool->lock);
    job->work(job->context, index);
    pthread_mutex_lock(&pool->lock);
    job->running--;
    if (job->running == 0 && job->next == job->count) {
        pthread_cond_broadcast(&pool->done);
    }
}

static void *thread_main(void *argument)
{
    struct lethe_pool *pool = argument;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->jobs && !pool->stop) {
            pthread_cond_wait(&pool->wake, &pool->lock);
        }
        if (!pool->jobs) {
            break;
        }
        run_one(pool, pool->jobs);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum lethe_err lethe_pool_new(unsigned threads, struct lethe_pool **out)
{
    struct lethe_pool *pool;

    *out = NULL;
    if (threads == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        threads = online < 1 ? 1 : (unsigned)online;
    }
    if (threads > 256) {
        threads = 256;
    }
    pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);
    if (!pool) {
        return LETHE_ERR_NOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    while (pool->started + 1 < threads) {
        if (pthread_create(&pool->threads[pool->started], NULL, thread_main, pool)) {
            break; /* fewer threads are slower, not wrong */
        }
        pool->started++;
    }
    *out = pool;
    return LETHE_OK;
}

void lethe_pool_free(struct lethe_pool *pool)
{
    if (!pool) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->started; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

unsigned lethe_pool_threads(const struct lethe_pool *pool)
{
    return pool ? pool->started + 1 : 1;
}

void lethe_pool_run(struct lethe_pool *pool, size_t count, void (*work)(void *, size_t), void *context)
{
    struct job job = {.work = work, .context = context, .count = count};

    if (!pool || count < 2) {
        for (size_t i = 0; i < count; i++) {
            work(context, i);
        }
        return;
    }
    pthread_mutex_lock(&pool->lock);
    job.link = pool->jobs;
    pool->jobs = &job;
    pthread_cond_broadcast(&pool->wake);
    while (job.next < job.count) {
        run_one(pool, &job);
    }
    while (job.running > 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}
