/* SPDX-License-Identifier: MIT */
/* What a pair does with photos, and whether it does better than another. */
#ifndef LETHE_FS_CLI_TRAIN_MEASURE_H
#define LETHE_FS_CLI_TRAIN_MEASURE_H

#include "fs/cli/paths.h"
#include "lethe/codec.h"
#include "lethe/weights.h"

#define LETHE_TRAIN_FILE_MAX (512u << 20) /* bytes of a photo's file */

struct lethe_train_figures {
    unsigned photos;
    double psnr[LETHE_STRENGTHS]; /* dB over RGB, mean of the photos */
    double bpp[LETHE_STRENGTHS];  /* bits per pixel of the artifacts, over all pixels */
};

/* Up to most of the photos in paths, spread over the list; files that have no recipe are passed over. */
void lethe_train_measure(const struct lethe_paths *paths, size_t most, const struct lethe_pair *pair,
                         struct lethe_pool *pool, struct lethe_train_figures *out);
/*
 * How much better the figures are than before at the same bits per pixel, dB, at a strength: before's are
 * read off the line through its two nearest strengths, over the logarithm of the rate (as G. Bjontegaard,
 * 2001, with lines).
 */
double lethe_train_gain(const struct lethe_train_figures *figures, const struct lethe_train_figures *before,
                        unsigned strength);

#endif
