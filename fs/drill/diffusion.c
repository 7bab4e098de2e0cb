/* SPDX-License-Identifier: MIT */
#include "fs/drill/diffusion.h"

#include <math.h>

#define BETA_FIRST 5e-4
#define BETA_LAST 0.1

double drill_diffusion_left(unsigned t)
{
    double left = 1;

    for (unsigned i = 0; i < t; i++) {
        left *= 1 - (BETA_FIRST + (BETA_LAST - BETA_FIRST) * i / (DRILL_DIFFUSION_STEPS - 1));
    }
    return sqrt(left);
}

void drill_diffuse(const uint8_t *in, size_t count, unsigned t, struct drill_random *random, uint8_t *out)
{
    double left = drill_diffusion_left(t), noise = sqrt(1 - left * left);

    for (size_t i = 0; i < count; i++) {
        double y = left * in[i] / 255 + noise * drill_normal(random);

        out[i] = (uint8_t)(255 * (y < 0 ? 0 : y > 1 ? 1 : y) + 0.5);
    }
}
