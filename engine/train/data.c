/* SPDX-License-Identifier: MIT */
#include "engine/train/data.h"

#include <stdlib.h>
#include <string.h>

void gallery_release(struct gallery *gallery)
{
    for (size_t i = 0; i < gallery->count; i++) {
        lethe_ycc_release(&gallery->pictures[i]);
    }
    free(gallery->pictures);
    *gallery = (struct gallery){0};
}

/* One sample of 8 bits, or the rounded mean of four when halving. */
static int sample(const struct lethe_raster *raster, unsigned plane, uint32_t x, uint32_t y, bool halve)
{
    const uint16_t *samples = raster->planes[plane];
    unsigned shift = raster->depth - 8;
    size_t width = raster->width;

    if (!halve) {
        return samples[y * width + x] >> shift;
    }
    samples += 2 * (size_t)y * width + 2 * (size_t)x;
    return ((samples[0] >> shift) + (samples[1] >> shift) + (samples[width] >> shift) +
            (samples[width + 1] >> shift) + 2) >>
           2;
}

static uint8_t clip8(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* JFIF's forward transform in 16 fractional bits. */
static void to_ycc(int r, int g, int b, uint8_t *y, uint8_t *cb, uint8_t *cr)
{
    *y = clip8((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
    *cb = clip8((-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16);
    *cr = clip8((32768 * r - 27439 * g - 5329 * b + 8421375) >> 16);
}

enum lethe_err gallery_add(struct gallery *gallery, const struct lethe_raster *raster, bool halve, bool *used)
{
    uint32_t width = halve ? raster->width / 2 : raster->width;
    uint32_t height = halve ? raster->height / 2 : raster->height;
    struct lethe_ycc *picture;
    enum lethe_err err;

    *used = false;
    if (width < CROP || height < CROP) {
        return LETHE_OK;
    }
    if (gallery->count == gallery->room) {
        size_t room = gallery->room ? 2 * gallery->room : 64;
        struct lethe_ycc *grown = reallocarray(gallery->pictures, room, sizeof *grown);

        if (!grown) {
            return LETHE_ERR_NOMEM;
        }
        gallery->pictures = grown;
        gallery->room = room;
    }
    picture = &gallery->pictures[gallery->count];
    err = lethe_ycc_init(picture, width, height);
    if (err) {
        return err;
    }
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            size_t at = (size_t)y * width + x;
            int red = sample(raster, 0, x, y, halve);
            int green = raster->channels < 3 ? red : sample(raster, 1, x, y, halve);
            int blue = raster->channels < 3 ? red : sample(raster, 2, x, y, halve);

            to_ycc(red, green, blue, &picture->planes[0][at], &picture->planes[1][at],
                   &picture->planes[2][at]);
        }
    }
    gallery->count++;
    *used = true;
    return LETHE_OK;
}

/*
 * Half of the crops get other colours, so that the networks do not learn what colours their photos happen to
 * have: chroma turned and scaled, light scaled and shifted. In 8 bits of fraction.
 */
struct tint {
    int light, lift; /* of Y - 128 */
    int same, cross; /* of Cb and Cr - 128: a turn and a scale */
    int shift[2];
};

static struct tint random_tint(uint64_t *state)
{
    struct tint tint = {.light = 256, .same = 256};

    if (mix64(state) % 32 == 0) {
        tint.same = 0; /* grey */
    } else if (mix64(state) % 2 == 0) {
        float scale = 256 * (0.4f + 0.8f * mix_unit(state));
        float half = 2 * mix_unit(state) - 1; /* tan of half the angle of the turn */
        float norm = scale / (1 + half * half);

        tint.light = (int)(256 * (0.6f + 0.5f * mix_unit(state)));
        tint.lift = (int)(40 * (mix_unit(state) - 0.5f));
        tint.same = (int)(norm * (1 - half * half));
        tint.cross = (int)(norm * 2 * half);
        if (mix64(state) & 1) {
            tint.same = -tint.same;
            tint.cross = -tint.cross;
        }
        tint.shift[0] = (int)(30 * (mix_unit(state) - 0.5f));
        tint.shift[1] = (int)(30 * (mix_unit(state) - 0.5f));
    }
    return tint;
}

void gallery_crop(const struct gallery *gallery, uint64_t *state, uint8_t *out)
{
    const struct lethe_ycc *picture = &gallery->pictures[mix64(state) % gallery->count];
    uint32_t left = (uint32_t)(mix64(state) % (picture->width - CROP + 1));
    uint32_t top = (uint32_t)(mix64(state) % (picture->height - CROP + 1));
    uint64_t turn = mix64(state);
    struct tint tint = random_tint(state);

    for (uint32_t y = 0; y < CROP; y++) {
        for (uint32_t x = 0; x < CROP; x++) {
            uint32_t from_x = turn & 1 ? y : x;
            uint32_t from_y = turn & 1 ? x : y;
            uint8_t *to = out + (y / 8 * SIDE + x / 8) * PIXELS + y % 8 * 8 + x % 8;
            int luma, cb, cr;
            size_t at;

            from_x = turn & 2 ? CROP - 1 - from_x : from_x;
            from_y = turn & 4 ? CROP - 1 - from_y : from_y;
            at = (size_t)(top + from_y) * picture->width + left + from_x;
            luma = picture->planes[0][at] - 128;
            cb = picture->planes[1][at] - 128;
            cr = picture->planes[2][at] - 128;
            to[0] = clip8(128 + tint.lift + ((luma * tint.light + 128) >> 8));
            to[64] = clip8(128 + tint.shift[0] + ((cb * tint.same - cr * tint.cross + 128) >> 8));
            to[128] = clip8(128 + tint.shift[1] + ((cb * tint.cross + cr * tint.same + 128) >> 8));
        }
    }
}

/* Synthetic pictures are drawn at twice their size and halved, which gives edges their soft step. */
#define CANVAS (2 * CROP)

struct colour {
    float c[3];
};

static struct colour random_colour(uint64_t *state)
{
    float light = 255 * mix_unit(state);
    float spread = 120 * mix_unit(state) * mix_unit(state);
    struct colour colour;

    for (int i = 0; i < 3; i++) {
        colour.c[i] = light + spread * (2 * mix_unit(state) - 1);
    }
    return colour;
}

/* Noise on lattices of falling size, interpolated: clouds, skin, plaster. roughness is the weight of the next
 * octave. */
static void add_clouds(uint64_t *state, float canvas[3][CANVAS][CANVAS], float strength, float roughness,
                       bool coloured)
{
    for (int size = CANVAS / 2; size >= 2; size /= 2) {
        float lattice[3][CANVAS / 2 + 2][CANVAS / 2 + 2];
        int n = CANVAS / size + 2;

        n = n > CANVAS / 2 + 2 ? CANVAS / 2 + 2 : n;
        for (int y = 0; y < n; y++) {
            for (int x = 0; x < n; x++) {
                float common = 2 * mix_unit(state) - 1;

                for (int c = 0; c < 3; c++) {
                    lattice[c][y][x] =
                        strength * (coloured ? 0.7f * common + 0.6f * mix_unit(state) - 0.3f : common);
                }
            }
        }
        for (int c = 0; c < 3; c++) {
            for (int y = 0; y < CANVAS; y++) {
                float fy = (float)(y % size) / (float)size;

                for (int x = 0; x < CANVAS; x++) {
                    float fx = (float)(x % size) / (float)size;
                    float(*l)[CANVAS / 2 + 2] = &lattice[c][y / size];
                    int i = x / size;

                    canvas[c][y][x] += (1 - fy) * ((1 - fx) * l[0][i] + fx * l[0][i + 1]) +
                                       fy * ((1 - fx) * l[1][i] + fx * l[1][i + 1]);
                }
            }
        }
        strength *= roughness;
    }
}

/* Leaves fall on leaves (A. B. Lee, D. Mumford and J. Huang, "Occlusion models for natural images", 2001). */
static void add_leaves(uint64_t *state, float canvas[3][CANVAS][CANVAS], int leaves)
{
    for (int i = 0; i < leaves; i++) {
        float u = mix_unit(state);
        float radius = 3.0f / (0.03f + u * u);
        float cx = (float)CANVAS * mix_unit(state);
        float cy = (float)CANVAS * mix_unit(state);
        float slope = 2 * mix_unit(state) - 1;
        float squeeze = 1 + 2 * mix_unit(state);
        bool box = mix64(state) & 1;
        bool blend = mix64(state) % 4 == 0;
        struct colour one = random_colour(state);
        struct colour two = blend ? random_colour(state) : one;
        int top = (int)(cy - 1.5f * radius), bottom = (int)(cy + 1.5f * radius);

        top = top < 0 ? 0 : top;
        bottom = bottom > CANVAS ? CANVAS : bottom;
        for (int y = top; y < bottom; y++) {
            for (int x = 0; x < CANVAS; x++) {
                float dx = (float)x - cx, dy = (float)y - cy;
                float a = dx + slope * dy, b = squeeze * (dy - slope * dx);
                float far = a * a > b * b ? a * a : b * b;
                float mix;

                if (box ? far > radius * radius : a * a + b * b > radius * radius) {
                    continue;
                }
                mix = 0.5f + 0.5f * dx / radius;
                mix = mix < 0 ? 0 : mix > 1 ? 1 : mix;
                for (int c = 0; c < 3; c++) {
                    canvas[c][y][x] = mix * one.c[c] + (1 - mix) * two.c[c];
                }
            }
        }
    }
}

/* Rows of short upright, level and slanted strokes. */
static void add_writing(uint64_t *state, float canvas[3][CANVAS][CANVAS])
{
    struct colour ink = random_colour(state);
    int height = 10 + (int)(mix64(state) % 40);
    int pen = 1 + height / 12 + (int)(mix64(state) % 3);

    for (int top = (int)(mix64(state) % 20); top + height < CANVAS; top += height + height / 2) {
        for (int left = 4; left + height < CANVAS; left += height * 2 / 3) {
            if (mix64(state) % 6 == 0) {
                continue;
            }
            for (int stroke = 0; stroke < 3; stroke++) {
                int x0 = (int)(mix64(state) % 3) * height / 4, x1 = (int)(mix64(state) % 3) * height / 4;
                int y0 = (int)(mix64(state) % 3) * height / 2, y1 = (int)(mix64(state) % 3) * height / 2;

                for (int step = 0; step <= height; step++) {
                    int x = left + x0 + (x1 - x0) * step / height;
                    int y = top + y0 + (y1 - y0) * step / height;

                    for (int i = 0; i < pen * pen; i++) {
                        int px = x + i % pen, py = y + i / pen;

                        for (int c = 0; c < 3 && px < CANVAS && py < CANVAS; c++) {
                            canvas[c][py][px] = ink.c[c];
                        }
                    }
                }
            }
        }
    }
}

void synthetic_crop(uint64_t *state, uint8_t *out)
{
    static _Thread_local float canvas[3][CANVAS][CANVAS];
    struct colour paper = random_colour(state);
    uint64_t kind = mix64(state) % 4;

    for (int c = 0; c < 3; c++) {
        float across = 0.6f * (mix_unit(state) - 0.5f), down = 0.6f * (mix_unit(state) - 0.5f);

        for (int y = 0; y < CANVAS; y++) {
            for (int x = 0; x < CANVAS; x++) {
                canvas[c][y][x] = paper.c[c] + across * (float)(x - CROP) + down * (float)(y - CROP);
            }
        }
    }
    if (kind == 0) {
        add_clouds(state, canvas, 20 + 90 * mix_unit(state), 0.45f + 0.45f * mix_unit(state),
                   mix64(state) & 1);
    } else if (kind == 1) {
        add_leaves(state, canvas, 20 + (int)(mix64(state) % 200));
    } else if (kind == 2) {
        add_leaves(state, canvas, 10 + (int)(mix64(state) % 60));
        add_clouds(state, canvas, 3 + 20 * mix_unit(state), 0.6f + 0.35f * mix_unit(state), false);
    } else {
        add_leaves(state, canvas, (int)(mix64(state) % 8));
        add_writing(state, canvas);
    }
    for (int y = 0; y < CROP; y++) {
        for (int x = 0; x < CROP; x++) {
            int rgb[3];
            uint8_t *block = out + (y / 8 * SIDE + x / 8) * PIXELS + y % 8 * 8 + x % 8;

            for (int c = 0; c < 3; c++) {
                float sum = canvas[c][2 * y][2 * x] + canvas[c][2 * y][2 * x + 1] +
                            canvas[c][2 * y + 1][2 * x] + canvas[c][2 * y + 1][2 * x + 1];

                sum *= 0.25f;
                rgb[c] = sum < 0 ? 0 : sum > 255 ? 255 : (int)(sum + 0.5f);
            }
            to_ycc(rgb[0], rgb[1], rgb[2], block, block + 64, block + 128);
        }
    }
}
