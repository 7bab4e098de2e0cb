/* SPDX-License-Identifier: MIT */
/*
 * Collects what no kept epoch names: objects that died before the oldest kept epoch, journal segments behind the
 * snapshot that it stands on, and what cut-off uploads left behind (found by listing; what is younger than a day is
 * left alone, because it may be on its way). Packs of which less than half is in use are emptied into fresh ones; they go
 * with a later run, as any object does that died.
 */
#ifndef LETHE_FS_VAULT_GC_H
#define LETHE_FS_VAULT_GC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/device/commit.h"
#include "fs/vault/vault.h"

struct lethe_gc_options {
    struct lethe_vault *vault;
    struct lethe_db *db; /* of this device, up to date with the head */
    struct lethe_committer *committer;
    int64_t keep_seconds; /* epochs younger than that stay mountable with --at; 0: only the newest */
    bool leave_packs;     /* do not move what lives in packs that are mostly dead */
    const atomic_bool *stop; /* borrowed, or NULL: once it is true, packs that were not begun wait for the next time */
};

struct lethe_gc_result {
    uint64_t objects;
    uint64_t bytes;
    bool broken; /* the history that is to be kept is damaged behind a snapshot: nothing was collected */
};

/* *result counts what was removed, also when an error ends it early. */
enum lethe_err lethe_gc_run(const struct lethe_gc_options *options, struct lethe_gc_result *result) LETHE_MUST_CHECK;

#endif
