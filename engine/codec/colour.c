/* SPDX-License-Identifier: MIT */
/* Bands of rows or pixels are independent, so that a pool may do them in any order. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* loops over rows: worth vectors, which -O2 leaves out */
#endif

#include "colour.h"

#include <string.h>

#define PIXELS_BAND 65536u
#define ROWS_BAND 64u

struct convert {
    uint8_t *const *planes;
    size_t pixels;
};

static inline uint8_t clamp8(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* The sums stay below 2^25; 128 << 16 keeps what is shifted positive. */
static void row_to_ycc(uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int r = p0[i], g = p1[i], b = p2[i];

        p0[i] = (uint8_t)((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
        p1[i] = clamp8((-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 32768) >> 16);
        p2[i] = clamp8((32768 * r - 27439 * g - 5329 * b + (128 << 16) + 32768) >> 16);
    }
}

static void to_ycc(void *context, size_t index)
{
    const struct convert *work = context;
    size_t from = index * PIXELS_BAND, left = work->pixels - from;

    row_to_ycc(work->planes[0] + from, work->planes[1] + from, work->planes[2] + from,
               left < PIXELS_BAND ? left : PIXELS_BAND);
}

/* Offsets of 256 << 16 keep what is shifted positive. */
static void row_from_ycc(uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int y = p0[i] - 256, cb = p1[i] - 128, cr = p2[i] - 128;

        p0[i] = clamp8(y + ((91881 * cr + (256 << 16) + 32768) >> 16));
        p1[i] = clamp8(y + ((-22554 * cb - 46802 * cr + (256 << 16) + 32768) >> 16));
        p2[i] = clamp8(y + ((116130 * cb + (256 << 16) + 32768) >> 16));
    }
}

static void from_ycc(void *context, size_t index)
{
    const struct convert *work = context;
    size_t from = index * PIXELS_BAND, left = work->pixels - from;

    row_from_ycc(work->planes[0] + from, work->planes[1] + from, work->planes[2] + from,
                 left < PIXELS_BAND ? left : PIXELS_BAND);
}

void lethe_colour_to_ycc(uint8_t *const planes[3], size_t pixels, struct lethe_pool *pool)
{
    struct convert work = {planes, pixels};

    lethe_pool_run(pool, (pixels + PIXELS_BAND - 1) / PIXELS_BAND, to_ycc, &work);
}

void lethe_colour_from_ycc(uint8_t *const planes[3], size_t pixels, struct lethe_pool *pool)
{
    struct convert work = {planes, pixels};

    lethe_pool_run(pool, (pixels + PIXELS_BAND - 1) / PIXELS_BAND, from_ycc, &work);
}

static uint32_t scaled(uint32_t size, unsigned factor, unsigned most)
{
    return (uint32_t)(((uint64_t)size * factor + most - 1) / most);
}

uint32_t lethe_sampling_width(const struct lethe_sampling *s)
{
    return scaled(s->width, s->h, s->hmax);
}

uint32_t lethe_sampling_height(const struct lethe_sampling *s)
{
    return scaled(s->height, s->v, s->vmax);
}

struct resize {
    const struct lethe_sampling *s;
    const uint8_t *in;
    uint8_t *out;
    uint32_t padded_w;
    uint32_t from; /* rows of out, when shrinking */
    uint32_t to;
};

static void enlarge(void *context, size_t index)
{
    const struct resize *work = context;
    const struct lethe_sampling *s = work->s;
    uint32_t from = (uint32_t)index * ROWS_BAND,
             to = s->height - from < ROWS_BAND ? s->height : from + ROWS_BAND;
    uint32_t width = lethe_sampling_width(s);

    for (uint32_t y = from; y < to; y++) {
        const uint8_t *in = work->in + (size_t)((uint64_t)y * s->v / s->vmax) * width;
        uint8_t *out = work->out + (size_t)y * s->width;

        if (s->h == s->hmax) {
            memcpy(out, in, s->width);
        } else if (2 * s->h == s->hmax) {
            for (uint32_t x = 0; x < s->width; x++) {
                out[x] = in[x / 2];
            }
        } else {
            for (uint32_t x = 0; x < s->width; x++) {
                out[x] = in[(uint64_t)x * s->h / s->hmax];
            }
        }
    }
}

void lethe_colour_enlarge(const struct lethe_sampling *s, const uint8_t *component, uint8_t *picture,
                          struct lethe_pool *pool)
{
    struct resize work = {.s = s, .in = component, .out = picture};

    lethe_pool_run(pool, (s->height + ROWS_BAND - 1) / ROWS_BAND, enlarge, &work);
}

/* The samples of the picture that sample i of the component stands for; at least one. */
static void span(uint32_t i, unsigned factor, unsigned most, uint32_t size, uint32_t *from, uint32_t *to)
{
    uint64_t a = ((uint64_t)i * most + factor - 1) / factor,
             b = ((uint64_t)(i + 1) * most + factor - 1) / factor;

    *from = a < size ? (uint32_t)a : size - 1;
    *to = b < size ? (uint32_t)b : size;
}

static void shrink_row(const struct resize *work, uint32_t y, uint32_t width)
{
    const struct lethe_sampling *s = work->s;
    uint8_t *out = work->out + (size_t)y * work->padded_w;
    uint32_t top, bottom, x = 0;

    span(y, s->v, s->vmax, s->height, &top, &bottom);
    if (s->h == s->hmax && bottom - top == 1) {
        memcpy(out, work->in + (size_t)top * s->width, width);
        return;
    }
    if (2 * s->h == s->hmax && bottom - top <= 2) { /* the usual 4:2:0 and 4:2:2 */
        const uint8_t *a = work->in + (size_t)top * s->width, *b = work->in + (size_t)(bottom - 1) * s->width;

        for (; x < s->width / 2; x++) { /* with a single row, a == b: (2p + 2q + 2) / 4 = (p + q + 1) / 2 */
            out[x] = (uint8_t)((a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
        }
    }
    for (; x < width; x++) {
        uint32_t left, right, sum = 0, count;

        span(x, s->h, s->hmax, s->width, &left, &right);
        count = (right - left) * (bottom - top);
        for (uint32_t j = top; j < bottom; j++) {
            for (uint32_t i = left; i < right; i++) {
                sum += work->in[(size_t)j * s->width + i];
            }
        }
        out[x] = (uint8_t)((sum + count / 2) / count);
    }
}

static void shrink(void *context, size_t index)
{
    const struct resize *work = context;
    uint32_t width = lethe_sampling_width(work->s);
    uint32_t from = work->from + (uint32_t)index * ROWS_BAND;
    uint32_t to = work->to - from < ROWS_BAND ? work->to : from + ROWS_BAND;

    for (uint32_t y = from; y < to; y++) {
        uint8_t *out = work->out + (size_t)y * work->padded_w;

        shrink_row(work, y, width);
        memset(out + width, out[width - 1], work->padded_w - width);
    }
}

void lethe_colour_shrink_rows(const struct lethe_sampling *s, const uint8_t *picture, uint8_t *component,
                              uint32_t padded_w, uint32_t from, uint32_t to, struct lethe_pool *pool)
{
    uint32_t height = lethe_sampling_height(s), end = to < height ? to : height;
    struct resize work = {s, picture, component, padded_w, from, end};
    const uint8_t *last = component + (size_t)(height - 1) * padded_w;

    if (from < end) {
        lethe_pool_run(pool, (end - from + ROWS_BAND - 1) / ROWS_BAND, shrink, &work);
    }
    for (uint32_t y = from > height ? from : height; y < to; y++) {
        memcpy(component + (size_t)y * padded_w, last, padded_w);
    }
}

void lethe_colour_shrink(const struct lethe_sampling *s, const uint8_t *picture, uint8_t *component,
                         uint32_t padded_w, uint32_t padded_h, struct lethe_pool *pool)
{
    lethe_colour_shrink_rows(s, picture, component, padded_w, 0, padded_h, pool);
}
