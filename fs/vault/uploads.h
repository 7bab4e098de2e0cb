/* SPDX-License-Identifier: MIT */
/*
 * Puts that go on while the next object is being made: a bounded number of requests under way, and a bounded number of
 * bytes in memory. Threads start when there is something to put, and end when there is not.
 */
#ifndef LETHE_FS_VAULT_UPLOADS_H
#define LETHE_FS_VAULT_UPLOADS_H

#include "fs/vault/vault.h"

struct lethe_uploads;

/* Called once for each put, from any thread, with the bytes that it took. */
typedef void (*lethe_upload_done)(void *context, enum lethe_err err, size_t stored);

/* in_flight: requests at once; 0: 32; 1: lethe_uploads_put does the work itself and returns when it is done. */
enum lethe_err lethe_uploads_new(struct lethe_vault *vault, unsigned in_flight, struct lethe_uploads **out)
    LETHE_MUST_CHECK;
/* Nothing may be under way any more. NULL does nothing. */
void lethe_uploads_free(struct lethe_uploads *uploads);
/* Puts the sealed bytes (taken; sealed is empty afterwards) of an object. Waits while too much is waiting. */
void lethe_uploads_put(struct lethe_uploads *uploads, enum lethe_object_kind kind, const struct lethe_id *id,
                       struct lethe_buf *sealed, lethe_upload_done done, void *context);
/* Returns when every put has been done. */
void lethe_uploads_wait(struct lethe_uploads *uploads);
/* What has not begun, and all that comes until it is cleared, is done with LETHE_ERR_CANCELLED. */
void lethe_uploads_cancel(struct lethe_uploads *uploads, bool cancel);

#endif
