/* SPDX-License-Identifier: MIT */
#include "fs/spares.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 64u
#define LEAST (256u << 10) /* what is smaller malloc keeps itself, */
#define LARGEST (8u << 20) /* and what is larger is rare */

struct lethe_spares {
    size_t most;
    pthread_mutex_t lock; /* guards all below */
    struct lethe_buf kept[COUNT]; /* the first so many: */
    unsigned count;
    unsigned least; /* the fewest that were kept since the last tick */
    size_t bytes;
};

struct lethe_spares *lethe_spares_new(size_t most)
{
    struct lethe_spares *spares = calloc(1, sizeof *spares);

    if (spares) {
        spares->most = most;
        pthread_mutex_init(&spares->lock, NULL);
    }
    return spares;
}

static void drop(struct lethe_buf *buf)
{
    if (buf->data) {
        explicit_bzero(buf->data, buf->cap);
    }
    lethe_buf_release(buf);
}

void lethe_spares_free(struct lethe_spares *spares)
{
    if (!spares) {
        return;
    }
    while (spares->count > 0) {
        drop(&spares->kept[--spares->count]);
    }
    pthread_mutex_destroy(&spares->lock);
    free(spares);
}

void lethe_spares_take(struct lethe_spares *spares, struct lethe_buf *out)
{
    *out = (struct lethe_buf){0};
    if (!spares) {
        return;
    }
    pthread_mutex_lock(&spares->lock);
    if (spares->count > 0) {
        *out = spares->kept[--spares->count];
        spares->bytes -= out->cap;
        spares->least = spares->count < spares->least ? spares->count : spares->least;
    }
    pthread_mutex_unlock(&spares->lock);
}

void lethe_spares_give(struct lethe_spares *spares, struct lethe_buf *buf)
{
    if (spares && buf->cap >= LEAST && buf->cap <= LARGEST) {
        pthread_mutex_lock(&spares->lock);
        if (spares->count < COUNT && buf->cap <= spares->most - spares->bytes) {
            lethe_buf_reset(buf);
            spares->bytes += buf->cap;
            spares->kept[spares->count++] = *buf;
            *buf = (struct lethe_buf){0};
        }
        pthread_mutex_unlock(&spares->lock);
    }
    drop(buf);
}

void lethe_spares_tick(struct lethe_spares *spares)
{
    struct lethe_buf idle[COUNT];
    unsigned count = 0;

    if (!spares) {
        return;
    }
    pthread_mutex_lock(&spares->lock);
    for (; spares->least > 0; spares->least--) {
        idle[count] = spares->kept[--spares->count];
        spares->bytes -= idle[count++].cap;
    }
    spares->least = spares->count;
    pthread_mutex_unlock(&spares->lock);
    while (count > 0) {
        drop(&idle[--count]);
    }
}
