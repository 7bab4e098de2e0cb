/* SPDX-License-Identifier: MIT */
/* Drawn pictures, where there are no photographs: for lethefs bench, lethefs drill and the tests. */
#ifndef LETHE_FS_CLI_DRAWN_H
#define LETHE_FS_CLI_DRAWN_H

#include <stdint.h>

#include "lethe/image.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t lethe_drawn_next(uint64_t *state);
/* In [0, 1). */
double lethe_drawn_uniform(uint64_t *state);
/* Value noise on a lattice: smooth between the random values of the lattice's points, in [0, 1). */
double lethe_drawn_noise(uint64_t seed, double x, double y);
/* A landscape over an RGB raster of 8 bits: sky, sun, ridges, textured ground, and the sensor's noise. */
void lethe_drawn_landscape(struct lethe_raster *raster, uint64_t seed);
/* A sprite over a square raster of 4 channels, 8 bits: few colours, a dark outline, nothing outside. */
void lethe_drawn_sprite(struct lethe_raster *raster, uint64_t seed);

#endif
