/* SPDX-License-Identifier: MIT */
/*
 * The newest vault.json, as a device keeps it of a vault that is bound to it (fs/vault/bound.c). In a store without
 * conditional writes a PUT of an earlier one may arrive after a later one, and the vault's head then names another than the
 * store shows: that is told from a rollback by nothing, and mended by the writer alone, with the very bytes that the head
 * names. They are kept sealed under the master key: whoever has the unmounted device has nothing to try passphrases on.
 */
#ifndef LETHE_FS_MOUNT_NEWEST_H
#define LETHE_FS_MOUNT_NEWEST_H

#include "fs/vault/vault.h"

/* Keeps json, which the vault's head names. Nothing in a vault that is not bound to this device. */
enum lethe_err lethe_newest_keep(struct lethe_vault *vault, const char *state_dir, const struct lethe_buf *json)
    LETHE_MUST_CHECK;
/* Whether another vault.json than this one was kept: for who was told a wrong passphrase by an earlier one. */
bool lethe_newest_is_other(const char *state_dir, const uint8_t json_hash[32]);
/*
 * Puts the kept vault.json back in its place, if the head names it and the store shows an earlier one; appended to json.
 * LETHE_ERR_NOT_FOUND when there is nothing to mend with.
 */
enum lethe_err lethe_newest_mend(struct lethe_vault *vault, const char *state_dir, struct lethe_buf *json)
    LETHE_MUST_CHECK;

#endif
