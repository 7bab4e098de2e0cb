/* SPDX-License-Identifier: MIT */
/*
 * Fetches things of a known list in several threads ahead of the one who takes them in order: over a line
 * that is long rather than thin, waiting for one at a time takes most of the time.
 */
#ifndef LETHE_FS_VAULT_AHEAD_H
#define LETHE_FS_VAULT_AHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"

struct lethe_ahead;

/* Appends thing number index to out, which is empty. From several threads at once. */
typedef enum lethe_err (*lethe_ahead_fetch)(void *context, size_t index, struct lethe_buf *out);

/*
 * costs: bytes that each will take, copied; NULL: next to nothing. What was fetched and not yet taken stays
 * below a few MiB by it. context is borrowed until lethe_ahead_free.
 */
enum lethe_err lethe_ahead_new(lethe_ahead_fetch fetch, void *context, const uint64_t *costs, size_t count,
                               struct lethe_ahead **out) LETHE_MUST_CHECK;
/*
 * Takes thing number index into out (what it held before is freed), or the error of fetching it. Indices only
 * grow: what they pass by is dropped. By one thread.
 */
enum lethe_err lethe_ahead_take(struct lethe_ahead *ahead, size_t index,
                                struct lethe_buf *out) LETHE_MUST_CHECK;
/* Returns once the fetches under way have ended. NULL does nothing. */
void lethe_ahead_free(struct lethe_ahead *ahead);

#endif
