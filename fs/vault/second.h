/* SPDX-License-Identifier: MIT */
/*
 * The second store of a vault of fidelity split: residuals, recipes and all that is no photo, under the same keys as
 * in a vault. A marker names the vault's second id, so that an empty mount point or another vault's store is never
 * taken for it. The store may be away when it is opened, and at any time.
 */
#ifndef LETHE_FS_VAULT_SECOND_H
#define LETHE_FS_VAULT_SECOND_H

#include "fs/vault/vault.h"
#include "lethe/store.h"

/*
 * Makes the store at location the one of this id. LETHE_ERR_EXISTS when it holds residuals already; errors are logged.
 */
enum lethe_err lethe_second_init(const char *location, const struct lethe_store_options *options,
                                 const struct lethe_id *id) LETHE_MUST_CHECK;
/*
 * A store that reaches the real one when it is first asked, and looks at the marker then; LETHE_ERR_UNREACHABLE until
 * it can. Tries for a while, but once it has been away that long each call tries once. location NULL: not known; it is
 * away then. options is borrowed. *watch (fs/vault/watch.h) belongs to the store.
 */
enum lethe_err lethe_second_new(const char *location, const struct lethe_store_options *options,
                                const struct lethe_id *id, struct lethe_store **out,
                                struct lethe_store **watch) LETHE_MUST_CHECK;

/* Where the second store is, as a sealed file in the device's state. Replaces what was there. */
enum lethe_err lethe_second_remember(const struct lethe_vault *vault, const char *state_dir,
                                     const char *location) LETHE_MUST_CHECK;
/* *location is freed by the caller. LETHE_ERR_NOT_FOUND when this device does not know. */
enum lethe_err lethe_second_recall(const struct lethe_vault *vault, const char *state_dir,
                                   char **location) LETHE_MUST_CHECK;
/* The location as it can be found from any folder: URLs as they are, paths absolute. Freed by the caller. */
enum lethe_err lethe_second_absolute(const char *location, char **out) LETHE_MUST_CHECK;

#endif
