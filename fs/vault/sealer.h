/* SPDX-License-Identifier: MIT */
/*
 * The sealer: frozen contents into objects of the vault, on all cores. Nothing is put that has not been opened again
 * from the very bytes that are put, and compared with the original, byte for byte.
 *
 * What it makes of a photo is the vault's fidelity. exact and split: an artifact, a residual and a recipe; split also
 * takes what costs more as a photo than as a file, and gives the artifact what it takes to look at it alone. lossy: the
 * Decrypter's picture in the photo's container becomes the content (its size with it), and is kept as artifact and
 * recipe.
 *
 * A photo gives an artifact, a residual and a recipe; the recipe and a small residual go into a pack. Small files go
 * into packs whole. Objects are put while the next ones are made (fs/vault/uploads.h).
 * Everything else becomes segments of at most 4 MiB, holes left out, unchanged ones of the version before reused.
 */
#ifndef LETHE_FS_VAULT_SEALER_H
#define LETHE_FS_VAULT_SEALER_H

#include <stdint.h>

#include "fs/tree/tree.h"
#include "fs/vault/restorer.h"
#include "lethe/residual.h"

struct lethe_sealer;

/*
 * Added to the nice value of the mount: programs go first where processors are short; not by far, as what they wait for
 * may be locked here.
 */
#define LETHE_SEALER_NICE 5

struct lethe_sealer_options {
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_restorer *restorer;
    struct lethe_pool *pool;
    const struct lethe_pair *pair; /* for new artifacts */
    unsigned strength;
    enum lethe_fidelity fidelity;
    struct lethe_tree *tree; /* of lossy: shows the new sizes */
    /* Fidelity lossy: the bytes of this file are others now. No locks are held. May be NULL. */
    void (*changed)(void *context, uint64_t ino);
    void *context;
    enum lethe_effort effort;
    unsigned workers; /* threads; 0: one a processor */
    unsigned uploads; /* puts at once, beside sealing; 0: 32; 1: each in turn, by the worker itself */
};

struct lethe_sealer_progress {
    uint64_t total; /* contents of this run */
    uint64_t done;
    uint64_t bytes; /* original bytes sealed since the sealer was made */
    uint64_t stored; /* bytes put for them */
};

enum lethe_err lethe_sealer_new(const struct lethe_sealer_options *options, struct lethe_sealer **out) LETHE_MUST_CHECK;
void lethe_sealer_free(struct lethe_sealer *sealer);
/*
 * Seals every frozen content of epochs up to this one. On an error the rest stays frozen and the call is repeated
 * later; what was sealed is kept.
 */
enum lethe_err lethe_sealer_run(struct lethe_sealer *sealer, uint64_t epoch) LETHE_MUST_CHECK;
/* Makes a running lethe_sealer_run return LETHE_ERR_CANCELLED soon; later runs too until cleared. */
void lethe_sealer_cancel(struct lethe_sealer *sealer, bool cancel);
void lethe_sealer_progress(struct lethe_sealer *sealer, struct lethe_sealer_progress *out);

#endif
