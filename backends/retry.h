/* SPDX-License-Identifier: MIT */
/* The clock of the retry decorator, so that tests wait for nothing. */
#ifndef LETHE_BACKENDS_RETRY_H
#define LETHE_BACKENDS_RETRY_H

#include "lethe/store.h"

struct lethe_retry_clock {
    uint64_t (*now_ms)(void *context);
    void (*wait_ms)(void *context, uint64_t ms); /* NULL: a real wait, which the store's return ends */
    uint64_t (*random)(void *context);
    void *context;
    uint64_t first_wait_ms; /* bound of the first wait; 0: 50 */
};

/* As lethe_store_retry_new, with a clock that outlives the store. Calls may come from many threads at once.
 */
enum lethe_err lethe_store_retry_new_with(struct lethe_store *inner, unsigned deadline_ms,
                                          const struct lethe_retry_clock *clock,
                                          struct lethe_store **out) LETHE_MUST_CHECK;

#endif
