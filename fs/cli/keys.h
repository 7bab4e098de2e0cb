/* SPDX-License-Identifier: MIT */
/*
 * Changing vault.json: opened, edited, and written back so that a crash at any point leaves a vault that
 * opens. The file is replaced first (only if nobody else did meanwhile), then the head is moved to name it: a
 * file that is newer than what the head names is accepted, an older or unknown one is not.
 */
#ifndef LETHE_FS_CLI_KEYS_H
#define LETHE_FS_CLI_KEYS_H

#include "fs/cli/cli.h"
#include "fs/vault/vault.h"
#include "lethe/seal.h"
#include "lethe/store.h"

struct lethe_keys {
    const char *location;
    struct lethe_vault *vault;     /* owns the store, for the head */
    struct lethe_vault_file *file; /* the copy to be edited */
    struct lethe_store_version version;
    struct lethe_cli_secret secret; /* the passphrase that opened it */
    char *state_dir;
    int lock_fd;                    /* the device's lock, where the vault is bound to it; else -1 */
    struct lethe_id slot;           /* the slot that it opened; zero until lethe_keys_own_slot */
};

/* Errors have been said. Works beside a mount. */
enum lethe_err lethe_keys_open(const char *location, const struct lethe_cli_access *access,
                               struct lethe_keys *keys) LETHE_MUST_CHECK;
void lethe_keys_release(struct lethe_keys *keys);

/* Finds the slot that the passphrase opened. */
enum lethe_err lethe_keys_own_slot(struct lethe_keys *keys) LETHE_MUST_CHECK;
/*
 * Adds a slot for the passphrase in new_passfile (NULL: asked for) and dates it. memory_mib 0: as the newest
 * slot has it. Errors have been said.
 */
enum lethe_err lethe_keys_add(struct lethe_keys *keys, const struct lethe_cli_secret *passphrase,
                              uint64_t memory_mib, const char *label, struct lethe_id *slot) LETHE_MUST_CHECK;
/* Proves that the file opens with passphrase, then writes it and moves the head. Errors have been said. */
enum lethe_err lethe_keys_write(struct lethe_keys *keys,
                                const struct lethe_cli_secret *passphrase) LETHE_MUST_CHECK;

#endif
