/* SPDX-License-Identifier: MIT */
#include "fs/cli/drawn.h"

#include <math.h>
#include <stdbool.h>

uint64_t lethe_drawn_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double lethe_drawn_uniform(uint64_t *state)
{
    return (double)(lethe_drawn_next(state) >> 11) / 9007199254740992.0;
}

static double lattice(uint64_t seed, int x, int y)
{
    uint64_t state = seed ^ (uint64_t)(uint32_t)x << 32 ^ (uint32_t)y;

    return lethe_drawn_uniform(&state);
}

static double smooth(double t)
{
    return t * t * (3 - 2 * t);
}

double lethe_drawn_noise(uint64_t seed, double x, double y)
{
    int ix = (int)floor(x), iy = (int)floor(y);
    double fx = smooth(x - ix), fy = smooth(y - iy);
    double top = lattice(seed, ix, iy) * (1 - fx) + lattice(seed, ix + 1, iy) * fx;
    double low = lattice(seed, ix, iy + 1) * (1 - fx) + lattice(seed, ix + 1, iy + 1) * fx;

    return top * (1 - fy) + low * fy;
}

static double clouds(uint64_t seed, double x, double y)
{
    double sum = 0, weight = 0.5;

    for (int octave = 0; octave < 6; octave++) {
        sum += weight * lethe_drawn_noise(seed + (uint64_t)octave, x, y);
        x *= 2.03;
        y *= 2.03;
        weight *= 0.5;
    }
    return sum;
}

static uint16_t clip(double value)
{
    return value <= 0 ? 0 : value >= 255 ? 255 : (uint16_t)(value + 0.5);
}

void lethe_drawn_landscape(struct lethe_raster *raster, uint64_t seed)
{
    double w = raster->width, h = raster->height;
    uint64_t state = seed;
    double sun_x = lethe_drawn_uniform(&state) * w, sun_y = (0.1 + 0.25 * lethe_drawn_uniform(&state)) * h,
           warm = lethe_drawn_uniform(&state);

    for (uint32_t y = 0; y < raster->height; y++) {
        for (uint32_t x = 0; x < raster->width; x++) {
            double v = y / h, cloud = clouds(seed + 100, x / w * 6, v * 9);
            double distance = hypot(x - sun_x, y - sun_y) / h;
            double glow = 120 * exp(-distance * 7);
            double rgb[3] = {120 + 70 * warm + 60 * cloud + glow, 150 + 50 * cloud + 0.8 * glow,
                             215 - 60 * v + 30 * cloud + 0.3 * glow};

            for (int ridge = 0; ridge < 4; ridge++) {
                double line = 0.42 + 0.14 * ridge -
                              0.22 * clouds(seed + 7u * (unsigned)ridge, x / w * (2 + ridge), 0.5);

                if (v > line) {
                    double texture = clouds(seed + 900 + (unsigned)ridge, x / w * (20 + 30 * ridge),
                                            v * (40 + 50 * ridge));
                    double far = 1 - ridge / 4.0;

                    rgb[0] = 40 + 90 * far * 0.8 + 90 * (texture - 0.4) + 25 * warm;
                    rgb[1] = 60 + 80 * far + 110 * (texture - 0.4);
                    rgb[2] = 35 + 120 * far + 60 * (texture - 0.4);
                }
            }
            for (int c = 0; c < 3; c++) {
                double grain = lethe_drawn_uniform(&state) + lethe_drawn_uniform(&state) +
                               lethe_drawn_uniform(&state) - 1.5;

                raster->planes[c][(size_t)y * raster->width + x] = clip(rgb[c] + 3.2 * grain);
            }
        }
    }
}

void lethe_drawn_sprite(struct lethe_raster *raster, uint64_t seed)
{
    uint64_t state = seed;
    double base[3], centre = raster->width / 2.0;

    for (int c = 0; c < 3; c++) {
        base[c] = 60 + 180 * lethe_drawn_uniform(&state);
    }
    for (uint32_t y = 0; y < raster->height; y++) {
        for (uint32_t x = 0; x < raster->width; x++) {
            size_t at = (size_t)y * raster->width + x;
            double dx = fabs(x + 0.5 - centre) / centre, dy = (y + 0.5 - centre) / centre;
            double edge = 0.55 + 0.35 * lethe_drawn_noise(seed, dx * 3, dy * 3 + 10);
            double r = hypot(dx, dy), grain = 0.3 * lethe_drawn_noise(seed + 1, dx * 5, dy * 5);
            double shade = floor(4 * (1 - (dy + 1) / 2 + grain)) / 4;
            double alpha = r < edge ? 255 : r < edge + 0.03 ? 255 * (edge + 0.03 - r) / 0.03 : 0;
            bool outline = r > edge - 0.06;

            for (int c = 0; c < 3; c++) {
                raster->planes[c][at] = alpha <= 0 ? 0 : outline ? 24 : clip(base[c] * (0.5 + 0.6 * shade));
            }
            raster->planes[3][at] = clip(alpha);
        }
    }
}
