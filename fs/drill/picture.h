/* SPDX-License-Identifier: MIT */
/* Pictures as the attacks handle them: 8-bit RGB rasters, how near two are, and through the engine and back.
 */
#ifndef LETHE_FS_DRILL_PICTURE_H
#define LETHE_FS_DRILL_PICTURE_H

#include "fs/drill/stats.h"
#include "lethe/bytes.h"
#include "lethe/codec.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/model.h"

/* A PNG or JPEG file as 8-bit RGB; grey is spread, alpha dropped, 16 bits cut. */
enum lethe_err drill_picture_read(const uint8_t *file, size_t len, struct lethe_raster *out) LETHE_MUST_CHECK;
/* Where the middle of a side begins: at a multiple of 8, so that it is whole blocks of the picture. */
uint32_t drill_picture_middle(uint32_t side, uint32_t part);
/* width and height of the middle of in, at most its own. */
enum lethe_err drill_picture_crop(const struct lethe_raster *in, uint32_t width, uint32_t height,
                                  struct lethe_raster *out) LETHE_MUST_CHECK;

/* Over R, G, B (or as many channels as both have, at most 3); 99 when equal. Same size. */
double drill_picture_psnr(const struct lethe_raster *a, const struct lethe_raster *b);
/*
 * Structural similarity of the luma (Z. Wang and others, 2004), windows of 8x8 every 4 pixels, uniform
 * weights. Same size, at least 8x8.
 */
double drill_picture_ssim(const struct lethe_raster *a, const struct lethe_raster *b);

/* RGB to the planes of the networks and back (full-range BT.601). */
enum lethe_err drill_picture_to_ycc(const struct lethe_raster *in, struct lethe_ycc *out) LETHE_MUST_CHECK;
enum lethe_err drill_picture_from_ycc(const struct lethe_ycc *in, struct lethe_raster *out) LETHE_MUST_CHECK;

/* A picture taken apart as the sealer would, any channels; freed by the caller. */
enum lethe_err drill_picture_photo(const struct lethe_raster *in, struct lethe_photo **out) LETHE_MUST_CHECK;
/* The payload of a fresh artifact of it, appended to out. */
enum lethe_err drill_picture_encrypt(const struct lethe_raster *in, const struct lethe_pair *pair,
                                     unsigned strength, struct drill_random *random,
                                     struct lethe_buf *out) LETHE_MUST_CHECK;

/* What a picture is recognised by: means over a grid of 8x8 in Y, Cb, Cr, centred and scaled to length 1. */
#define DRILL_SKETCH 192
void drill_picture_sketch(const struct lethe_raster *in, float out[DRILL_SKETCH]);
/* The index of the sketch nearest to mine among count. */
size_t drill_sketch_nearest(const float *mine, const float (*sketches)[DRILL_SKETCH], size_t count);

#endif
