/* SPDX-License-Identifier: MIT */
/* The arithmetic of the throttle decorator, so that tests wait for nothing. */
#ifndef LETHE_BACKENDS_THROTTLE_H
#define LETHE_BACKENDS_THROTTLE_H

#include <stdint.h>

/* What one direction may move. rate 0: no limit. */
struct lethe_bucket {
    uint64_t rate;  /* bytes a second */
    uint64_t ready; /* microseconds of a monotonic clock: when all that was taken so far has been paid for */
};

/*
 * Takes bytes at the time now; returns when their turn comes: once what was taken before has been paid for. So the
 * average holds, and a burst is one object.
 */
uint64_t lethe_bucket_take(struct lethe_bucket *bucket, uint64_t now, uint64_t bytes);
/* Corrects an estimate that was taken by what it was. */
void lethe_bucket_correct(struct lethe_bucket *bucket, uint64_t estimate, uint64_t bytes);

#endif
