/* SPDX-License-Identifier: MIT */
/*
 * A small thread pool for data-parallel work inside the engine. The caller takes part in the work, so a pool of
 * zero threads is valid and runs everything in the caller. Calls from several threads at once are allowed.
 */
#ifndef LETHE_POOL_H
#define LETHE_POOL_H

#include <stddef.h>

#include "lethe/err.h"

struct lethe_pool;

/* threads counts the callers too: 1 starts no thread, 0 means one for each online processor. */
enum lethe_err lethe_pool_new(unsigned threads, struct lethe_pool **out) LETHE_MUST_CHECK;
void lethe_pool_free(struct lethe_pool *pool);
unsigned lethe_pool_threads(const struct lethe_pool *pool);

/*
 * Calls work(context, index) for every index in [0, count), in any order, on several threads, and returns when all
 * are done. pool may be NULL (all in the caller). work must not call lethe_pool_run on the same pool.
 */
void lethe_pool_run(struct lethe_pool *pool, size_t count, void (*work)(void *context, size_t index), void *context);

#endif
