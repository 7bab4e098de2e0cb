/* SPDX-License-Identifier: MIT */
/* The photos that the keys open: for the attacks of thieves who know some of them, and to judge all attacks by. */
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

struct drill_photos {
    struct drill_pair *pairs; /* tests of them first: never known to the thief; then the known ones */
    struct lethe_id *ids;     /* of the contents; zero for photos of --pairs */
    struct drill_sizes *plain;   /* payloads, as the vault has them */
    struct drill_sizes *guessed; /* payloads that the thief comes to by himself, from the photo's file */
    size_t count, tests;
    const struct lethe_pair *own; /* the vault's pair for new artifacts */
};

/*
 * Restores up to DRILL_PHOTOS photos of the vault by chance, and takes the middle of each. With options->pairs_dir the
 * known ones are that folder's instead. Fewer than two: count is 0.
 */
enum lethe_err drill_photos_open(struct drill *drill, const struct drill_owner *owner,
                                 struct drill_photos *out) LETHE_MUST_CHECK;
void drill_photos_release(struct drill_photos *photos);
/* Identification of a known photo by the sizes of its objects, with and without padding: report.sizes. */
enum lethe_err drill_sizes(struct drill *drill, const struct drill_photos *photos) LETHE_MUST_CHECK;

#endif
