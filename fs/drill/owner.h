/* SPDX-License-Identifier: MIT */
/*
 * The vault opened with its owner's keys, for the adversaries who have them: read-only, its tree replayed
 * into a scratch folder that goes away again. Neither the vault nor the device's state is written.
 */
#ifndef LETHE_FS_DRILL_OWNER_H
#define LETHE_FS_DRILL_OWNER_H

#include "fs/drill/drill.h"
#include "fs/vault/record.h"
#include "fs/vault/vault.h"

struct drill_owner {
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_secret *device_root;
    char *state_dir; /* of the vault on this device */
    char scratch[64];
};

/* Needs options->passphrase and the device secret in the state folder. Errors have been said. */
enum lethe_err drill_owner_open(const struct drill *drill, struct drill_owner **out) LETHE_MUST_CHECK;
void drill_owner_free(struct drill_owner *owner); /* NULL does nothing */

/*
 * A vault over store with the owner's keys: vault.json is read, and must verify. second: its second store in
 * fidelity split, else NULL. Both are taken, also on failure.
 */
enum lethe_err drill_owner_vault(const struct drill_owner *owner, struct lethe_store *store,
                                 struct lethe_store *second, struct lethe_vault **out) LETHE_MUST_CHECK;
/* Fills a fresh database in the scratch folder from the vault's newest epoch; *db is owned by the caller. */
enum lethe_err drill_owner_replay(const struct drill_owner *owner, struct lethe_vault *vault,
                                  const char *name, struct lethe_db **db) LETHE_MUST_CHECK;
/* The ids of contents that files have and sql (a condition on the table content) selects, at most most of
 * them. */
enum lethe_err drill_owner_contents(const struct drill_owner *owner, const char *sql, size_t most,
                                    struct lethe_id **ids, size_t *count) LETHE_MUST_CHECK;
/* Where a file with this content lies in the tree, "" for nowhere: the first of its names. */
enum lethe_err drill_owner_path(const struct drill_owner *owner, const struct lethe_id *content,
                                char path[4096]) LETHE_MUST_CHECK;

#endif
