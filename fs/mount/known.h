/* SPDX-License-Identifier: MIT */
/*
 * What a device keeps of a vault in a bucket so that it can be mounted without it: vault.json as it was when it was last
 * found right, and a hash of where it was. Neither is believed before the keys have opened it. With them whoever has the
 * unmounted device has something to try passphrases on (lethefs-threats(7), E2): so they are kept only where the owner
 * asks for it, and go again when he does not.
 */
#ifndef LETHE_FS_MOUNT_KNOWN_H
#define LETHE_FS_MOUNT_KNOWN_H

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/store.h"

/* Whether vaults at this location are remembered at all. */
bool lethe_known_kind(const char *location);
/* Keeps json in the state folder. Nothing is written when it is the same as before. */
enum lethe_err lethe_known_save(const char *state_dir, const char *location, const struct lethe_store_options *store,
                                const struct lethe_buf *json) LETHE_MUST_CHECK;
void lethe_known_forget(const char *state_dir);
/*
 * The vault.json that is kept of the vault at this location, among all whose state is in the folder states; appended.
 * LETHE_ERR_NOT_FOUND when there is none, or more than one.
 */
enum lethe_err lethe_known_find(const char *states, const char *location, const struct lethe_store_options *store,
                                struct lethe_buf *json) LETHE_MUST_CHECK;

#endif
