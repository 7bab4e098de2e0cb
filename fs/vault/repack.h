/* SPDX-License-Identifier: MIT */
/*
 * Packs that are mostly dead: their live members move to fresh packs, so that the old ones can be collected.
 *
 * Safe against an end at any moment: a fresh pack is in the vault before any row names it, and the rows move
 * in one commit. The old pack dies with an epoch that is yet to come, so that every epoch that names it finds
 * it, and whoever read its rows before they moved. A fresh pack that no row came to name is swept like any
 * upload that was cut off.
 */
#ifndef LETHE_FS_VAULT_REPACK_H
#define LETHE_FS_VAULT_REPACK_H

#include <stdatomic.h>

#include "fs/device/commit.h"
#include "fs/vault/vault.h"

/* stop: NULL, or what ends it after the pack under way once it is true; the others wait for the next time. */
enum lethe_err lethe_repack(struct lethe_vault *vault, struct lethe_db *db, struct lethe_committer *committer,
                            const atomic_bool *stop) LETHE_MUST_CHECK;

#endif
