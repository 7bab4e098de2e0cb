/* SPDX-License-Identifier: MIT */
/*
 * The forward process of the published prototype: y_t = sqrt(1 - beta_t) y_(t-1) + sqrt(beta_t) e_t with e_t standard
 * normal, T = 1000, beta_t rising evenly from 5e-4 to 0.1, then clipped to [0, 1] and quantised to 8 bits. In closed
 * form (J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", 2020):
 * y_t = sqrt(abar_t) y_0 + sqrt(1 - abar_t) e, abar_t the product of 1 - beta.
 */
#ifndef LETHE_FS_DRILL_DIFFUSION_H
#define LETHE_FS_DRILL_DIFFUSION_H

#include <stddef.h>
#include <stdint.h>

#include "fs/drill/stats.h"

#define DRILL_DIFFUSION_STEPS 1000

/* sqrt(abar_t): what is left of the picture's amplitude after t steps; 1 at t = 0. */
double drill_diffusion_left(unsigned t);
/* count samples through t steps; noise comes from random: fresh for every call, or the same seed again and again. */
void drill_diffuse(const uint8_t *in, size_t count, unsigned t, struct drill_random *random, uint8_t *out);

#endif
