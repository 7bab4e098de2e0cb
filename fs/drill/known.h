/* SPDX-License-Identifier: MIT */
/*
 * With the cipher open: photos and the latents of their artifacts, and what a thief makes of latents whose
 * photos he has not got. Photos are cut to their middle, so that every surrogate can be tried at every
 * strength in minutes.
 */
#ifndef LETHE_FS_DRILL_KNOWN_H
#define LETHE_FS_DRILL_KNOWN_H

#include "fs/drill/picture.h"
#include "lethe/model.h"
#include "lethe/pool.h"

#define DRILL_CROP 192 /* pixels along the side, at most */

struct drill_pair {
    struct lethe_ycc picture;
    struct lethe_latents latents; /* of a fresh artifact at some strength; values NULL before */
    struct lethe_ycc restored; /* what the device restores where that is another picture; width 0 where not */
    float sketch[DRILL_SKETCH];
};

/* The middle of a picture; latents come later. LETHE_ERR_ARG for one below 32 pixels a side. */
enum lethe_err drill_pair_init(struct drill_pair *pair, const struct lethe_raster *picture) LETHE_MUST_CHECK;
/* What the device restores of it: the same middle of a picture of the same size, or LETHE_ERR_ARG. */
enum lethe_err drill_pair_restored(struct drill_pair *pair, const struct lethe_raster *original,
                                   const struct lethe_raster *restored) LETHE_MUST_CHECK;
/* The latents of the same middle out of those of the whole picture. LETHE_ERR_ARG when they are not of its
 * size. */
enum lethe_err drill_pair_latents(struct drill_pair *pair, const struct lethe_raster *picture,
                                  const struct lethe_latents *whole) LETHE_MUST_CHECK;
void drill_pair_release(struct drill_pair *pair);

/* A surrogate Decrypter: an affine map from the 64 latents of a block to its 192 values (Y, Cb, Cr). */
struct drill_linear {
    double weight[LETHE_LATENTS + 1][3 * LETHE_BLOCK * LETHE_BLOCK]; /* the last row is the constant */
};
/* Least squares over the blocks of count pairs, at most blocks_max of them evenly, with a ridge of one block.
 */
enum lethe_err drill_linear_fit(const struct drill_pair *pairs, size_t count, size_t blocks_max,
                                struct drill_linear *out) LETHE_MUST_CHECK;
/* latents as floats (means of several artifacts, say), blocks_w * blocks_h * 64 of them. */
enum lethe_err drill_linear_run(const struct drill_linear *linear, const float *latents, uint32_t width,
                                uint32_t height, struct lethe_ycc *out) LETHE_MUST_CHECK;

/* The block of the count known pairs whose latents are nearest, for every block: at most blocks_max are
 * looked at. */
enum lethe_err drill_nearest_run(const struct drill_pair *known, size_t count, size_t blocks_max,
                                 const struct lethe_latents *latents, struct lethe_ycc *out) LETHE_MUST_CHECK;

/*
 * Without a single pair: takes the latent of the largest variance for the brightness of the block, and gives
 * it the mean and deviation that photos have. Its sign is granted.
 */
enum lethe_err drill_blind_run(const struct lethe_latents *latents, const struct lethe_ycc *truth,
                               struct lethe_ycc *out) LETHE_MUST_CHECK;

#endif
