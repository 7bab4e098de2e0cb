/* SPDX-License-Identifier: MIT */
/* The photos that the keys open: for the attacks of thieves who know some of them, and to judge all attacks
 * by. */
#ifndef LETHE_FS_DRILL_PHOTOS_H
#define LETHE_FS_DRILL_PHOTOS_H

#include "fs/drill/drill.h"
#include "fs/drill/known.h"
#include "fs/drill/owner.h"

#define DRILL_PHOTOS 1000
#define DRILL_TESTS 32

struct drill_sizes {
    uint64_t artifact, residual; /* bytes */
};

/* What the thieves' pictures are judged by. */
enum drill_truth {
    DRILL_TRUTH_PHOTOS,    /* what the device restores, to the byte */
    DRILL_TRUTH_ORIGINALS, /* fidelity lossy: options->originals_dir, and beside it what the device restores
                            */
    DRILL_TRUTH_RESTORED,  /* fidelity lossy without originals: latents are those of the vault itself, at its
                              strength */
};

struct drill_photos {
    /* tests of them first: never known to the thief; then others of the vault, from first_known on the known
     * ones */
    struct drill_pair *pairs;
    struct lethe_id *ids;        /* of the contents; zero for photos of --pairs */
    struct drill_sizes *plain;   /* payloads, as the vault has them */
    struct drill_sizes *guessed; /* payloads that the thief comes to by himself, from the photo's file */
    size_t count, tests, first_known, in_vault;
    enum drill_truth truth;
    double *stored_psnr; /* of stored artifacts alone against the photos, as measured when they were sealed */
    size_t stored;
    const struct lethe_pair *own; /* the vault's pair for new artifacts */
};

/*
 * Restores up to DRILL_PHOTOS photos of the vault by chance, and takes the middle of each. With
 * options->pairs_dir the known ones are that folder's instead. With options->originals_dir, in fidelity
 * lossy, only photos are taken whose original is there. Fewer than two: count is 0.
 */
enum lethe_err drill_photos_open(struct drill *drill, const struct drill_owner *owner,
                                 struct drill_photos *out) LETHE_MUST_CHECK;
void drill_photos_release(struct drill_photos *photos);
/* Identification of a known photo by the sizes of its objects, with and without padding: report.sizes. */
enum lethe_err drill_sizes(struct drill *drill, const struct drill_photos *photos) LETHE_MUST_CHECK;

#endif
