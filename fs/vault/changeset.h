/* SPDX-License-Identifier: MIT */
/*
 * Changesets of SQLite's session extension, checked before SQLite sees them: its own parser trusts lengths
 * enough to loop for hours on malformed ones.
 */
#ifndef LETHE_FS_VAULT_CHANGESET_H
#define LETHE_FS_VAULT_CHANGESET_H

#include <stddef.h>
#include <stdint.h>

#include "lethe/err.h"

/*
 * LETHE_OK when the bytes are a whole, well-formed changeset ("Changeset File Format" in SQLite's
 * session/session.c and sqlite3session.h), else LETHE_ERR_INTEGRITY. Says nothing of tables' names or
 * columns.
 */
enum lethe_err lethe_changeset_check(const uint8_t *bytes, size_t len) LETHE_MUST_CHECK;

#endif
