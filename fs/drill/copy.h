/* SPDX-License-Identifier: MIT */
/*
 * A copy of a vault for tampering: a store that reads through to a read-only one, and keeps what is changed
 * in memory. Only such a store can be tampered with, and it refuses a base that could be written.
 */
#ifndef LETHE_FS_DRILL_COPY_H
#define LETHE_FS_DRILL_COPY_H

#include "lethe/store.h"

struct drill_copy;

/* Borrows base, which must outlive it; LETHE_ERR_DENIED when base is not a read-only store. */
enum lethe_err drill_copy_new(struct lethe_store *base, struct drill_copy **out) LETHE_MUST_CHECK;
void drill_copy_free(struct drill_copy *copy);
/* The store to be opened as a vault; a new one for each opening, closed by its user; the copy outlives it. */
enum lethe_err drill_copy_store(struct drill_copy *copy, struct lethe_store **out) LETHE_MUST_CHECK;
/* Back to the base. */
void drill_copy_reset(struct drill_copy *copy);
/* The key's bytes from now on; bytes NULL: it is gone. */
enum lethe_err drill_copy_set(struct drill_copy *copy, const char *key, const uint8_t *bytes,
                              size_t len) LETHE_MUST_CHECK;
enum lethe_err drill_copy_get(struct drill_copy *copy, const char *key,
                              struct lethe_buf *out) LETHE_MUST_CHECK;
/* How listings lie: one key is left out; every size, in listings and asked for, is one too many; or a key is
 * made up. */
enum drill_lie { DRILL_LIE_NONE, DRILL_LIE_HIDE, DRILL_LIE_SIZES, DRILL_LIE_MADE_UP };
void drill_copy_lie(struct drill_copy *copy, enum drill_lie lie, const char *key);

#endif
