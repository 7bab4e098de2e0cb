/* SPDX-License-Identifier: MIT */
/* Blocks of plaintext: slabs of 1 MiB, locked where RLIMIT_MEMLOCK allows, left out of core dumps, wiped. */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SLAB_BLOCKS 64u
#define SLAB_BYTES ((size_t)SLAB_BLOCKS * LETHE_BLOCK_BYTES)
#define SPARE_SLABS 8u /* of which no block is in use, kept: writes come in bursts */

struct slab {
    struct slab *next;
    uint8_t *bytes;
    unsigned used;
    bool locked;
    uint64_t free; /* bit i: block i may be given out */
};

struct lethe_pool {
    pthread_mutex_t lock;
    struct slab *slabs;
    size_t in_use, most;
    unsigned spare;  /* slabs of which no block is in use */
    size_t lockable; /* bytes that may still be locked */
};

struct lethe_pool *lethe_pool_of_blocks(size_t most)
{
    struct lethe_pool *pool = calloc(1, sizeof *pool);
    struct rlimit limit;

    if (pool) {
        pthread_mutex_init(&pool->lock, NULL);
        pool->most = most;
        /* Half of what the process may lock: keys come first, and the limit is often 8 MiB. */
        if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
            pool->lockable = limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur / 2;
        }
    }
    return pool;
}

static void slab_free(struct lethe_pool *pool, struct slab *slab)
{
    pool->lockable += slab->locked ? SLAB_BYTES : 0;
    if (slab->used > 0) { /* else each block was wiped when it came back */
        explicit_bzero(slab->bytes, SLAB_BYTES);
    }
    munmap(slab->bytes, SLAB_BYTES);
    free(slab);
}

void lethe_blocks_free(struct lethe_pool *pool)
{
    if (!pool) {
        return;
    }
    while (pool->slabs) {
        struct slab *slab = pool->slabs;

        pool->slabs = slab->next;
        slab_free(pool, slab);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static struct slab *slab_new(struct lethe_pool *pool)
{
    struct slab *slab = calloc(1, sizeof *slab);

    if (!slab) {
        return NULL;
    }
    slab->bytes = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab->bytes == MAP_FAILED) {
        free(slab);
        return NULL;
    }
    if (pool->lockable >= SLAB_BYTES && mlock(slab->bytes, SLAB_BYTES) == 0) {
        slab->locked = true;
        pool->lockable -= SLAB_BYTES;
    }
    (void)madvise(slab->bytes, SLAB_BYTES, MADV_DONTDUMP);
    slab->free = UINT64_MAX;
    return slab;
}

uint8_t *lethe_block_new(struct lethe_pool *pool)
{
    struct slab *slab;
    uint8_t *block = NULL;

    pthread_mutex_lock(&pool->lock);
    for (slab = pool->slabs; slab && !slab->free; slab = slab->next) {
    }
    if (!slab) {
        slab = slab_new(pool);
        if (slab) {
            slab->next = pool->slabs;
            pool->slabs = slab;
            pool->spare++;
        }
    }
    if (slab) {
        unsigned i = (unsigned)__builtin_ctzll(slab->free);

        pool->spare -= slab->used == 0;
        slab->free &= slab->free - 1;
        slab->used++;
        pool->in_use++;
        block = slab->bytes + (size_t)i * LETHE_BLOCK_BYTES;
    }
    pthread_mutex_unlock(&pool->lock);
    return block;
}

void lethe_block_release(struct lethe_pool *pool, uint8_t *block)
{
    if (!block) {
        return;
    }
    explicit_bzero(block, LETHE_BLOCK_BYTES);
    pthread_mutex_lock(&pool->lock);
    for (struct slab **link = &pool->slabs; *link; link = &(*link)->next) {
        struct slab *slab = *link;

        if (block >= slab->bytes && block < slab->bytes + SLAB_BYTES) {
            slab->free |= 1ull << ((size_t)(block - slab->bytes) / LETHE_BLOCK_BYTES);
            slab->used--;
            pool->in_use--;
            if (slab->used == 0 && ++pool->spare > SPARE_SLABS) {
                *link = slab->next;
                slab_free(pool, slab);
                pool->spare--;
            }
            break;
        }
    }
    pthread_mutex_unlock(&pool->lock);
}

size_t lethe_blocks_in_use(struct lethe_pool *pool)
{
    size_t in_use;

    pthread_mutex_lock(&pool->lock);
    in_use = pool->in_use;
    pthread_mutex_unlock(&pool->lock);
    return in_use;
}

size_t lethe_blocks_most(const struct lethe_pool *pool)
{
    return pool->most;
}
