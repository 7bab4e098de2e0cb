/* SPDX-License-Identifier: MIT */
/* Shared by vault.c, pairs.c and bound.c alone. */
#ifndef LETHE_FS_VAULT_VAULT_PRIVATE_H
#define LETHE_FS_VAULT_VAULT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/vault/vault.h"

struct lethe_vault_pair {
    struct lethe_pair *pair;
    struct lethe_vault_pair *next;
};

struct lethe_vault {
    struct lethe_store *store;
    struct lethe_store *second; /* of fidelity split; NULL when there is none, or it was not set */
    struct lethe_vault_file *file;
    struct lethe_secret *master;
    struct lethe_secret *device;    /* NULL when it is not at hand: pairs of the vault cannot be opened then */
    struct lethe_secret *pair_root; /* of master and device */
    uint8_t json_hash[32];
    char *pairs_dir;
    struct lethe_id writer; /* this device; set before any head is read */
    atomic_int binding;     /* enum lethe_binding, by the head that was seen last */
    struct lethe_spares *spares; /* borrowed; set before there are threads; NULL: none are kept */
    pthread_mutex_t lock;            /* guards pairs */
    struct lethe_vault_pair *pairs; /* loaded ones; never removed while the vault is open */
};

#endif
