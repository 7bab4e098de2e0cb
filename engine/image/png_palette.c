/* SPDX-License-Identifier: MIT */
/*
 * Pictures whose values are no samples of 8 or 16 bits: grey of less bits, and indices of a palette. The codec sees the
 * colours that they stand for, since an Encrypter must see a picture; the way back is exact. Where a palette holds a
 * colour twice, the recipe's fourth block says which index each pixel of such a colour has (unless all have the
 * lowest). An index that the palette does not define stands for opaque black.
 */
#include "png_recipe.h"

#include <string.h>

#define SLOTS 1024u /* of the table of colours: four times as many as there can be */
#define NONE 256u

bool lethe_png_palette_set(struct lethe_png_palette *palette, const struct lethe_png_shape *shape,
                           const uint8_t *plte, size_t plte_len, const uint8_t *trns, size_t trns_len)
{
    unsigned count = 1u << shape->depth;
    bool grey = true, opaque = true;

    *palette = (struct lethe_png_palette){0};
    if (!plte || plte_len == 0 || plte_len % 3 != 0 || plte_len > 3 * 256u || trns_len > 256) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        uint8_t *colour = palette->colour[i];

        if (i < plte_len / 3) {
            memcpy(colour, plte + 3 * (size_t)i, 3);
        }
        colour[3] = i < trns_len ? trns[i] : 255;
        grey = grey && colour[0] == colour[1] && colour[1] == colour[2];
        opaque = opaque && colour[3] == 255;
    }
    palette->channels = (grey ? 1u : 3u) + !opaque;
    for (unsigned i = 0; i < count; i++) {
        uint8_t *colour = palette->colour[i];

        if (palette->channels == 2) { /* as the raster has its channels */
            colour[1] = colour[3];
        }
        memset(colour + palette->channels, 0, 4 - palette->channels);
        palette->first[i] = (uint8_t)i;
        for (unsigned j = 0; j < i; j++) {
            if (memcmp(palette->colour[j], colour, 4) == 0) {
                palette->first[i] = (uint8_t)j;
                palette->shared[i] = palette->shared[j] = true;
                break;
            }
        }
    }
    return true;
}

enum lethe_err lethe_png_expand(const struct lethe_png_shape *shape, const struct lethe_png_palette *palette,
                                const struct lethe_raster *values, struct lethe_raster *raster,
                                struct lethe_buf *choices)
{
    size_t pixels = (size_t)shape->width * shape->height;
    unsigned scale = 255u / ((1u << shape->depth) - 1), channels = palette ? palette->channels : 1;
    const uint16_t *in = values->planes[0];
    enum lethe_err err = lethe_raster_init(raster, shape->width, shape->height, channels, 8);
    bool lowest = true;

    if (err) {
        return err;
    }
    for (size_t i = 0; i < pixels && !palette; i++) {
        raster->planes[0][i] = (uint16_t)(in[i] * scale);
    }
    for (unsigned c = 0; c < channels && palette; c++) {
        for (size_t i = 0; i < pixels; i++) {
            raster->planes[c][i] = palette->colour[in[i]][c];
        }
    }
    for (size_t i = 0; i < pixels && palette && lowest; i++) {
        lowest = palette->first[in[i]] == in[i];
    }
    for (size_t i = 0; i < pixels && !lowest; i++) {
        if (palette->shared[in[i]]) {
            lethe_buf_put_u8(choices, (uint8_t)in[i]);
        }
    }
    return lethe_buf_status(choices);
}

static uint32_t key_of(const uint8_t colour[4])
{
    return lethe_get_u32(colour);
}

static unsigned slot_of(uint32_t key)
{
    return key * 0x9e3779b1u >> 22;
}

/* Index by colour; the colours' lowest ones. */
static void make_table(const struct lethe_png_palette *palette, unsigned count, uint16_t table[SLOTS])
{
    for (unsigned i = 0; i < SLOTS; i++) {
        table[i] = NONE;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned slot = slot_of(key_of(palette->colour[i]));

        if (palette->first[i] != i) {
            continue;
        }
        while (table[slot] != NONE) {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = (uint16_t)i;
    }
}

static enum lethe_err find_indices(const struct lethe_png_shape *shape, const struct lethe_png_palette *palette,
                                   const struct lethe_raster *raster, const uint8_t *choices, size_t choices_len,
                                   uint16_t *out)
{
    size_t pixels = (size_t)shape->width * shape->height, chosen = 0;
    unsigned count = 1u << shape->depth;
    uint16_t table[SLOTS];

    make_table(palette, count, table);
    for (size_t i = 0; i < pixels; i++) {
        uint8_t colour[4] = {0};
        unsigned slot;

        for (unsigned c = 0; c < raster->channels; c++) {
            if (raster->planes[c][i] > 255) {
                return LETHE_ERR_FORMAT;
            }
            colour[c] = (uint8_t)raster->planes[c][i];
        }
        slot = slot_of(key_of(colour));
        while (table[slot] != NONE && memcmp(palette->colour[table[slot]], colour, 4) != 0) {
            slot = (slot + 1) % SLOTS;
        }
        out[i] = table[slot];
        if (out[i] == NONE) {
            return LETHE_ERR_FORMAT;
        }
        if (choices_len > 0 && palette->shared[out[i]]) {
            if (chosen == choices_len || choices[chosen] >= count || palette->first[choices[chosen]] != out[i]) {
                return LETHE_ERR_FORMAT;
            }
            out[i] = choices[chosen++];
        }
    }
    return chosen == choices_len ? LETHE_OK : LETHE_ERR_FORMAT;
}

enum lethe_err lethe_png_collapse(const struct lethe_png_shape *shape, const struct lethe_png_palette *palette,
                                  const struct lethe_raster *raster, const uint8_t *choices, size_t choices_len,
                                  struct lethe_raster *values)
{
    size_t pixels = (size_t)shape->width * shape->height;
    unsigned scale = 255u / ((1u << shape->depth) - 1);
    enum lethe_err err;

    *values = (struct lethe_raster){0};
    if (raster->depth != 8 || raster->channels != (palette ? palette->channels : 1)) {
        return LETHE_ERR_FORMAT;
    }
    err = lethe_raster_init(values, shape->width, shape->height, 1, 8);
    if (!err && palette) {
        err = find_indices(shape, palette, raster, choices, choices_len, values->planes[0]);
    }
    for (size_t i = 0; i < pixels && !err && !palette; i++) {
        uint16_t v = raster->planes[0][i];

        values->planes[0][i] = (uint16_t)(v / scale);
        err = v > 255 || v % scale ? LETHE_ERR_FORMAT : LETHE_OK;
    }
    if (err) {
        lethe_raster_release(values);
    }
    return err;
}
