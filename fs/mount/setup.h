/* SPDX-License-Identifier: MIT */
/* A vault's first day (init), and a device's (recover). */
#ifndef LETHE_FS_MOUNT_SETUP_H
#define LETHE_FS_MOUNT_SETUP_H

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/seal.h"
#include "lethe/store.h"

struct lethe_init_options {
    const char *location;
    struct lethe_store_options store;
    const char *state_root; /* NULL: the default */
    enum lethe_fidelity fidelity;
    const char *residuals; /* the second store of fidelity split, else NULL */
    struct lethe_store_options residuals_store;
    unsigned strength;
    struct lethe_kdf_cost cost;
    bool pairs_in_vault;
    const char *passphrase;
    size_t passphrase_len;
    /* The pair for new artifacts; NULL: the newest shipped one. */
    const uint8_t *pair;
    size_t pair_len;
    /* As in struct lethe_session_options. */
    struct lethe_store *(*decorate)(void *context, struct lethe_store *store);
    void *decorate_context;
};

/*
 * Makes the vault and this device's state. The device secret is durable on the device, and phrase has been given to
 * keep (which writes the recovery file), before the vault comes to be. LETHE_ERR_EXISTS when there is a vault.
 */
enum lethe_err lethe_setup_init(const struct lethe_init_options *options,
                                enum lethe_err (*keep)(void *context, const char *phrase), void *context)
    LETHE_MUST_CHECK;

struct lethe_recover_options {
    const char *location;
    struct lethe_store_options store;
    const char *state_root;
    const char *passphrase;
    size_t passphrase_len;
    const struct lethe_secret *device; /* from the phrase */
    const char *residuals;             /* where the second store of fidelity split is now; NULL: unknown */
    /* As in struct lethe_session_options. */
    struct lethe_store *(*decorate)(void *context, struct lethe_store *store);
    void *decorate_context;
};

/*
 * Makes this device's state from the vault. A state that is there already is kept beside it under another name, which
 * *set_aside tells (freed by the caller; NULL when there was none). On an error the device is as it was.
 */
enum lethe_err lethe_setup_recover(const struct lethe_recover_options *options, char **set_aside) LETHE_MUST_CHECK;

#endif
