/* SPDX-License-Identifier: MIT */
/*
 * Between the planes of a file and the full-size YCbCr planes of the networks, in integers only: the restorer
 * must come to the very samples that the residual was coded against.
 */
#ifndef LETHE_COLOUR_H
#define LETHE_COLOUR_H

#include <stddef.h>
#include <stdint.h>

#include "lethe/pool.h"

/*
 * Full-range BT.601 (ITU-T T.871), 16-bit fixed point, rounded to nearest, in place: planes are R, G, B
 * before and Y, Cb, Cr after, or the other way round. pixels is the length of each.
 */
void lethe_colour_to_ycc(uint8_t *const planes[3], size_t pixels, struct lethe_pool *pool);
void lethe_colour_from_ycc(uint8_t *const planes[3], size_t pixels, struct lethe_pool *pool);

/* How a component lies in the picture: sampling factors of the component and the largest of all. */
struct lethe_sampling {
    uint32_t width; /* of the picture */
    uint32_t height;
    unsigned h, hmax;
    unsigned v, vmax;
};
/* The component's own size: ceil(width * h / hmax). */
uint32_t lethe_sampling_width(const struct lethe_sampling *s);
uint32_t lethe_sampling_height(const struct lethe_sampling *s);

/* Component to picture size: sample x of the picture is sample x * h / hmax (rounded down) of the component.
 */
void lethe_colour_enlarge(const struct lethe_sampling *s, const uint8_t *component, uint8_t *picture,
                          struct lethe_pool *pool);
/*
 * The way back: the mean, rounded to nearest, of the samples that enlarging would make of one. The result has
 * padded_w columns and padded_h rows (at least the component's size); its last column and row are replicated.
 */
void lethe_colour_shrink(const struct lethe_sampling *s, const uint8_t *picture, uint8_t *component,
                         uint32_t padded_w, uint32_t padded_h, struct lethe_pool *pool);
/* Its rows from to to alone, up to padded_h; what they cover of the picture must be there, and row height - 1 before. */
void lethe_colour_shrink_rows(const struct lethe_sampling *s, const uint8_t *picture, uint8_t *component,
                              uint32_t padded_w, uint32_t from, uint32_t to, struct lethe_pool *pool);

#endif
