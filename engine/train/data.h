/* SPDX-License-Identifier: MIT */
/* What the trainer sees: crops of added pictures, and crops that it draws itself. */
#ifndef LETHE_TRAIN_DATA_H
#define LETHE_TRAIN_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/train/net.h"
#include "lethe/image.h"
#include "lethe/nn.h"

struct gallery {
    struct lethe_ycc *pictures;
    size_t count;
    size_t room;
};

void gallery_release(struct gallery *gallery);
/* *used is false for a picture that is smaller than a crop after halving. */
enum lethe_err gallery_add(struct gallery *gallery, const struct lethe_raster *raster, bool halve,
                           bool *used) LETHE_MUST_CHECK;

/* A crop by chance, turned, mirrored and recoloured by chance, as CELLS blocks of PIXELS bytes. The gallery
 * is not empty.
 */
void gallery_crop(const struct gallery *gallery, uint64_t *state, uint8_t *out);

/* A drawn crop: waves and clouds, dead leaves, or strokes like writing. */
void synthetic_crop(uint64_t *state, uint8_t *out);

#endif
