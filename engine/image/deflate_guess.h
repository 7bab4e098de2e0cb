/* SPDX-License-Identifier: MIT */
/* Private to the deflate model: from a sample of tokens to the parameters of an encoder like zlib. */
#ifndef LETHE_IMAGE_DEFLATE_GUESS_H
#define LETHE_IMAGE_DEFLATE_GUESS_H

#include "deflate.h"

#define LETHE_DEFLATE_SAMPLE 65536u /* tokens */
#define LETHE_DEFLATE_SKIP 0xffffu  /* as a distance: a stored block of that length */

/*
 * Sets *params and returns how many tokens of the sample they miss. hint: zlib's FLEVEL, window_bits: its window.
 * unproven: set when *params foresee the beginning of the sample: whether they foresee the rest of it is left to who
 * describes the stream, and may ask again; NULL for parameters that were tried on all of it.
 */
uint64_t lethe_deflate_guess(const struct lethe_deflate_sample *sample, const uint8_t *data, size_t len,
                             unsigned hint, unsigned window_bits, bool *unproven,
                             struct lethe_deflate_params *params);

/* Whether params foresee the tokens of the sample that stand for its first so many bytes. */
bool lethe_deflate_foresees(const struct lethe_deflate_sample *sample, const struct lethe_deflate_params *params,
                            const uint8_t *data, size_t len, size_t bytes);

#endif
