/* SPDX-License-Identifier: MIT */
/* Checks a vault as a fresh device would see it: history, tree, objects; deep: every byte of every file. */
#ifndef LETHE_FS_VAULT_CHECK_H
#define LETHE_FS_VAULT_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/vault/restore.h"

struct lethe_check_result {
    uint64_t files;     /* inodes with content */
    uint64_t objects;   /* that the tree needs */
    uint64_t bytes;     /* of them */
    uint64_t damaged;   /* contents that would not come back */
    uint64_t tree_faults;
};

struct lethe_check_options {
    struct lethe_vault *vault;
    struct lethe_db *db; /* replayed from the vault */
    struct lethe_pool *pool;
    bool deep;
    /* Each fault as one line: the file's inode or the object's key. */
    void (*fault)(void *context, const char *line);
    /* Contents checked of all. May be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* LETHE_OK when all is well, LETHE_ERR_INTEGRITY when anything is not (see result), else what kept it from looking. */
enum lethe_err lethe_check_run(const struct lethe_check_options *options, struct lethe_check_result *result)
    LETHE_MUST_CHECK;

#endif
