/* SPDX-License-Identifier: MIT */
/*
 * A decorator that watches a store: how many requests of each sort were made, and since when it has not answered.
 * It stands below retry, so that every attempt counts and an absence is known at its first failure. Thread-safe.
 */
#ifndef LETHE_FS_VAULT_WATCH_H
#define LETHE_FS_VAULT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/store.h"

struct lethe_watch_status {
    uint64_t gets, puts, replaces, removes, lists, stats; /* attempts */
    uint64_t bytes_in, bytes_out;                         /* of bodies: got, and put or replaced */
    uint64_t answers, failures;                           /* attempts that found it there, and away */
    bool away;                                            /* the last attempt found no answer, or no admission */
    enum lethe_err why;
    int64_t since;      /* nanoseconds since 1970: the first failure after the last answer; 0 when not away */
    unsigned quiet_ms;  /* for how long nothing was heard while requests are under way */
    uint64_t away_ms;   /* how long ago that was, by a clock that nobody sets */
};

/* Takes inner, also on failure. */
enum lethe_err lethe_watch_new(struct lethe_store *inner, struct lethe_store **out) LETHE_MUST_CHECK;
void lethe_watch_status(struct lethe_store *watch, struct lethe_watch_status *out);
/*
 * Somebody waited for so long, in vain, since status said answers: when none has come meanwhile, the store is away,
 * though the requests under way have not given up yet.
 */
void lethe_watch_waited(struct lethe_store *watch, uint64_t answers, uint64_t ms);
/* Calls back, from the thread that got the answer and with no lock held, when a store that was away answers again. */
void lethe_watch_on_return(struct lethe_store *watch, void (*back)(void *context), void *context);

#endif
