/* SPDX-License-Identifier: MIT */
/* Filters and interlace passes of PNG (W3C PNG, sections 8 and 9): rows of bytes to planes of samples and
 * back. */
#include "png_recipe.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* rows are loops of independent bytes: worth vectors, which -O2 leaves out */
#endif

#include <stdlib.h>
#include <string.h>

struct pass {
    uint32_t x0, y0, dx, dy;
    uint32_t width, height;
};

static const uint8_t adam7[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

/* False when the pass is empty. */
static bool get_pass(const struct lethe_png_shape *shape, unsigned index, struct pass *pass)
{
    if (!shape->interlace) {
        *pass = (struct pass){0, 0, 1, 1, shape->width, shape->height};
        return true;
    }
    *pass = (struct pass){adam7[index][0], adam7[index][1], adam7[index][2], adam7[index][3], 0, 0};
    if (shape->width <= pass->x0 || shape->height <= pass->y0) {
        return false;
    }
    pass->width = (shape->width - pass->x0 - 1) / pass->dx + 1;
    pass->height = (shape->height - pass->y0 - 1) / pass->dy + 1;
    return true;
}

static unsigned pass_count(const struct lethe_png_shape *shape)
{
    return shape->interlace ? 7 : 1;
}

bool lethe_png_shape_set(struct lethe_png_shape *shape)
{
    static const uint8_t channels[7] = {1, 0, 3, 1, 2, 0, 4};
    /* Depths by colour type, as the sum of the depths. */
    static const uint8_t depths[7] = {1 + 2 + 4 + 8 + 16, 0, 8 + 16, 1 + 2 + 4 + 8, 8 + 16, 0, 8 + 16};

    if (shape->colour > 6 || shape->depth == 0 || (shape->depth & (shape->depth - 1)) != 0 ||
        (depths[shape->colour] & shape->depth) == 0 || shape->interlace > 1 || shape->width == 0 ||
        shape->height == 0 || shape->width > INT32_MAX || shape->height > INT32_MAX) {
        return false;
    }
    shape->channels = channels[shape->colour];
    shape->bits = shape->channels * shape->depth;
    shape->pixel_bytes = (shape->bits + 7) / 8;
    return true;
}

/* Bytes of a row of width pixels, without its filter byte: width is below 2^31, a pixel has 64 bits at most. */
static size_t row_bytes(const struct lethe_png_shape *shape, uint32_t width)
{
    return (size_t)(((uint64_t)width * shape->bits + 7) / 8);
}

bool lethe_png_shape_size(const struct lethe_png_shape *shape, size_t *bytes, size_t *rows)
{
    size_t total = 0, count = 0, row;
    struct pass pass;

    for (unsigned i = 0; i < pass_count(shape); i++) {
        if (!get_pass(shape, i, &pass)) {
            continue;
        }
        if (!lethe_add_size(row_bytes(shape, pass.width), 1, &row) || !lethe_mul_size(row, pass.height, &row) ||
            !lethe_add_size(total, row, &total)) {
            return false;
        }
        count += pass.height;
    }
    *bytes = total;
    *rows = count;
    return true;
}

static inline uint8_t paeth(uint8_t a, uint8_t b, uint8_t c)
{
    int pa = b - c, pb = a - c, pc = pa + pb;

    pa = pa < 0 ? -pa : pa;
    pb = pb < 0 ? -pb : pb;
    pc = pc < 0 ? -pc : pc;
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/* row is the filtered row and becomes the raw one; above is the raw row before. Both have bpp zeros in front.
 */
static void unfilter_row(unsigned type, uint8_t *row, const uint8_t *above, size_t n, unsigned bpp)
{
    const uint8_t *left = row - bpp, *corner = above - bpp;

    switch (type) {
    case 1:
        for (size_t i = 0; i < n; i++) {
            row[i] = (uint8_t)(row[i] + left[i]);
        }
        break;
    case 2:
        for (size_t i = 0; i < n; i++) {
            row[i] = (uint8_t)(row[i] + above[i]);
        }
        break;
    case 3:
        for (size_t i = 0; i < n; i++) {
            row[i] = (uint8_t)(row[i] + ((left[i] + above[i]) >> 1));
        }
        break;
    case 4:
        for (size_t i = 0; i < n; i++) {
            row[i] = (uint8_t)(row[i] + paeth(left[i], above[i], corner[i]));
        }
        break;
    default:
        break;
    }
}

static void filter_row(unsigned type, const uint8_t *restrict row, const uint8_t *restrict above, size_t n,
                       unsigned bpp, uint8_t *restrict out)
{
    const uint8_t *left = row - bpp, *corner = above - bpp;

    switch (type) {
    case 1:
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(row[i] - left[i]);
        }
        break;
    case 2:
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(row[i] - above[i]);
        }
        break;
    case 3:
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(row[i] - ((left[i] + above[i]) >> 1));
        }
        break;
    case 4:
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(row[i] - paeth(left[i], above[i], corner[i]));
        }
        break;
    default:
        memcpy(out, row, n);
        break;
    }
}

/* Where a pass's row begins in a plane. */
static size_t first_of(const struct lethe_png_shape *shape, const struct pass *pass, uint32_t y)
{
    return (size_t)(pass->y0 + (uint64_t)y * pass->dy) * shape->width + pass->x0;
}

/* Samples of less than a byte, the first one highest. Returns the bits behind the last. */
static uint8_t scatter_bits(const struct lethe_png_shape *shape, const struct pass *pass, const uint8_t *row,
                            uint16_t *to)
{
    unsigned depth = shape->depth, mask = (1u << depth) - 1, used = (pass->width * depth) & 7;

    for (size_t x = 0; x < pass->width; x++) {
        size_t bit = x * depth;

        to[x * pass->dx] = (uint16_t)(row[bit / 8] >> (8 - depth - bit % 8) & mask);
    }
    return used ? row[row_bytes(shape, pass->width) - 1] & (0xffu >> used) : 0;
}

static void gather_bits(const struct lethe_png_shape *shape, const struct pass *pass, const uint16_t *from,
                        uint8_t padding, uint8_t *row)
{
    unsigned depth = shape->depth, used = (pass->width * depth) & 7;

    memset(row, 0, row_bytes(shape, pass->width));
    if (used) {
        row[row_bytes(shape, pass->width) - 1] = padding & (0xffu >> used);
    }
    for (size_t x = 0; x < pass->width; x++) {
        size_t bit = x * depth;

        row[bit / 8] |= (uint8_t)(from[x * pass->dx] << (8 - depth - bit % 8));
    }
}

static void scatter(const struct lethe_png_shape *shape, const struct pass *pass, uint32_t y,
                    const uint8_t *row, struct lethe_raster *raster)
{
    size_t base = first_of(shape, pass, y);
    unsigned step = shape->pixel_bytes, size = shape->depth / 8;

    for (unsigned c = 0; c < shape->channels; c++) {
        uint16_t *to = raster->planes[c] + base;
        const uint8_t *from = row + c * size;

        if (size == 1) {
            for (size_t x = 0; x < pass->width; x++) {
                to[x * pass->dx] = from[x * step];
            }
        } else {
            for (size_t x = 0; x < pass->width; x++) {
                to[x * pass->dx] = (uint16_t)(from[x * step] << 8 | from[x * step + 1]);
            }
        }
    }
}

static void gather(const struct lethe_png_shape *shape, const struct pass *pass, uint32_t y,
                   const struct lethe_raster *raster, uint8_t *row)
{
    size_t base = first_of(shape, pass, y);
    unsigned step = shape->pixel_bytes, size = shape->depth / 8;

    for (unsigned c = 0; c < shape->channels; c++) {
        const uint16_t *from = raster->planes[c] + base;
        uint8_t *to = row + c * size;

        if (size == 1) {
            for (size_t x = 0; x < pass->width; x++) {
                to[x * step] = (uint8_t)from[x * pass->dx];
            }
        } else {
            for (size_t x = 0; x < pass->width; x++) {
                to[x * step] = (uint8_t)(from[x * pass->dx] >> 8);
                to[x * step + 1] = (uint8_t)from[x * pass->dx];
            }
        }
    }
}

/* Two rows with eight zeros in front of each; NULL when out of memory. */
static uint8_t *two_rows(const struct lethe_png_shape *shape, uint8_t **row, uint8_t **above)
{
    size_t n = row_bytes(shape, shape->width) + 8;
    uint8_t *memory = calloc(2, n);

    if (memory) {
        *row = memory + 8;
        *above = memory + n + 8;
    }
    return memory;
}

static void swap(uint8_t **a, uint8_t **b)
{
    uint8_t *t = *a;

    *a = *b;
    *b = t;
}

enum lethe_err lethe_png_unfilter(const struct lethe_png_shape *shape, const uint8_t *data,
                                  struct lethe_raster *raster, uint8_t *types, uint8_t *padding)
{
    uint8_t *row, *above, *memory = two_rows(shape, &row, &above);
    struct pass pass;

    if (!memory) {
        return LETHE_ERR_NOMEM;
    }
    for (unsigned i = 0; i < pass_count(shape); i++) {
        size_t n;

        if (!get_pass(shape, i, &pass)) {
            continue;
        }
        n = row_bytes(shape, pass.width);
        memset(above, 0, n);
        for (uint32_t y = 0; y < pass.height; y++) {
            unsigned type = *data++;

            if (type > 4) {
                free(memory);
                return LETHE_ERR_FORMAT;
            }
            *types++ = (uint8_t)type;
            memcpy(row, data, n);
            data += n;
            unfilter_row(type, row, above, n, shape->pixel_bytes);
            if (shape->depth >= 8) {
                scatter(shape, &pass, y, row, raster);
            } else {
                *padding++ = scatter_bits(shape, &pass, row, raster->planes[0] + first_of(shape, &pass, y));
            }
            swap(&row, &above);
        }
    }
    free(memory);
    return LETHE_OK;
}

/* Rows of a pass; data, types and padding, which may be NULL, are where its first row is. */
static enum lethe_err filter_rows(const struct lethe_png_shape *shape, const struct pass *pass,
                                  const struct lethe_raster *raster, const uint8_t *types, const uint8_t *padding,
                                  uint32_t from, uint32_t to, uint8_t *data)
{
    uint8_t *row, *above, *memory = two_rows(shape, &row, &above);
    size_t n = row_bytes(shape, pass->width);

    if (!memory) {
        return LETHE_ERR_NOMEM;
    }
    for (uint32_t y = from > 0 ? from - 1 : 0; y < to; y++) {
        uint8_t *out = data + y * (n + 1);

        if (shape->depth >= 8) {
            gather(shape, pass, y, raster, row);
        } else {
            gather_bits(shape, pass, raster->planes[0] + first_of(shape, pass, y), padding ? padding[y] : 0, row);
        }
        if (y >= from) {
            out[0] = types[y];
            filter_row(types[y], row, above, n, shape->pixel_bytes, out + 1);
        }
        swap(&row, &above);
    }
    free(memory);
    return LETHE_OK;
}

enum lethe_err lethe_png_filter_rows(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                     const uint8_t *types, uint32_t from, uint32_t to, uint8_t *data)
{
    struct pass pass;

    (void)get_pass(shape, 0, &pass);
    return filter_rows(shape, &pass, raster, types, NULL, from, to, data);
}

enum lethe_err lethe_png_filter(const struct lethe_png_shape *shape, const struct lethe_raster *raster,
                                const uint8_t *types, const uint8_t *padding, uint8_t *data)
{
    enum lethe_err err = LETHE_OK;
    struct pass pass;

    for (unsigned i = 0; i < pass_count(shape) && !err; i++) {
        if (get_pass(shape, i, &pass)) {
            err = filter_rows(shape, &pass, raster, types, padding, 0, pass.height, data);
            types += pass.height;
            padding = padding ? padding + pass.height : NULL;
            data += pass.height * (row_bytes(shape, pass.width) + 1);
        }
    }
    return err;
}
