/* SPDX-License-Identifier: MIT */
#include "deflate_quick.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* one loop, worth vectors */
#endif

#include <stdlib.h>

void lethe_quick_reset(struct lethe_quick *quick, size_t pos)
{
    quick->origin = pos; /* that position alone is lost; before 0 nothing may begin there */
    memset(quick->bucket, 0, quick->buckets * sizeof quick->bucket[0]);
}

struct lethe_quick *lethe_quick_new(unsigned hash_bits)
{
    size_t buckets = (size_t)1 << hash_bits;
    struct lethe_quick *quick = calloc(1, sizeof *quick + buckets * sizeof quick->bucket[0]);

    if (quick) {
        quick->buckets = buckets;
    }
    return quick;
}

void lethe_quick_free(struct lethe_quick *quick)
{
    free(quick);
}

void lethe_quick_turn(struct lethe_quick *quick)
{
    for (size_t i = 0; i < quick->buckets; i++) {
        for (unsigned place = 0; place < LETHE_QUICK_CHAIN; place++) {
            unsigned at = quick->bucket[i].lane[place];

            quick->bucket[i].lane[place] = (uint16_t)(at > LETHE_DEFLATE_MAX_DIST ? at - LETHE_DEFLATE_MAX_DIST : 0);
        }
    }
    quick->origin += LETHE_DEFLATE_MAX_DIST;
}
