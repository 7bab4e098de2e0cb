/* SPDX-License-Identifier: MIT */
/*
 * Memory of large buffers that is used again: to the system, fresh pages cost as much as sealing what goes into them.
 * Threads: any number.
 */
#ifndef LETHE_FS_SPARES_H
#define LETHE_FS_SPARES_H

#include "lethe/bytes.h"

struct lethe_spares;

/* Keeps at most so many bytes. NULL when memory is out; all others take NULL for spares that keep nothing. */
struct lethe_spares *lethe_spares_new(size_t most);
void lethe_spares_free(struct lethe_spares *spares);
/* An empty buffer, with memory where some was kept. */
void lethe_spares_take(struct lethe_spares *spares, struct lethe_buf *out);
/* Takes buf, which is empty afterwards. */
void lethe_spares_give(struct lethe_spares *spares, struct lethe_buf *buf);
/* From time to time: lets go, wiped, what nobody needed since the last call. */
void lethe_spares_tick(struct lethe_spares *spares);

#endif
