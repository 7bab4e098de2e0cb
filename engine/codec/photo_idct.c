/* SPDX-License-Identifier: MIT */
/*
 * The one inverse DCT of this project (T.81 annex A.3.3), separable, in 32-bit integers. Constants are
 * round(4096 * cos(k * pi / 16)); columns first, rounded to 1/8, then rows. Even and odd inputs are summed
 * apart, so that each pair of outputs shares them. Clamping of what is dequantised and of what lies between
 * the passes to 16 bits changes nothing in a real picture and bounds every sum: 32768 * (2 * 2896 + 3784 +
 * 1567 + 4017 + 3406 + 2276 + 799) < 2^30.
 */
#include "photo_private.h"

enum { C1 = 4017, C2 = 3784, C3 = 3406, C4 = 2896, C5 = 2276, C6 = 1567, C7 = 799 };

static inline int clamp16(int value)
{
    return value < -32768 ? -32768 : value > 32767 ? 32767 : value;
}

/* Eight inputs and outputs, step apart; outputs are the sums before any shift, twice 4096 too large. */
static inline void pass(const int *in, int *out, unsigned step)
{
    int x0 = in[0], x1 = in[step], x2 = in[2 * step], x3 = in[3 * step];
    int x4 = in[4 * step], x5 = in[5 * step], x6 = in[6 * step], x7 = in[7 * step];
    int a = C4 * (x0 + x4), b = C4 * (x0 - x4), c = C2 * x2 + C6 * x6, d = C6 * x2 - C2 * x6;
    int even[4] = {a + c, b + d, b - d, a - c};
    int odd[4] = {C1 * x1 + C3 * x3 + C5 * x5 + C7 * x7, C3 * x1 - C7 * x3 - C1 * x5 - C5 * x7,
                  C5 * x1 - C1 * x3 + C7 * x5 + C3 * x7, C7 * x1 - C5 * x3 + C3 * x5 - C1 * x7};

    for (unsigned n = 0; n < 4; n++) {
        out[n * step] = even[n] + odd[n];
        out[(7 - n) * step] = even[n] - odd[n];
    }
}

void lethe_photo_idct(const int16_t *coefs, const uint16_t *quant, uint8_t out[64])
{
    int work[64], nonzero = 0;

    for (unsigned i = 0; i < 64; i++) {
        work[i] = clamp16(coefs[i] * quant[i]); /* 2^15 * 2^16 fits, the sign included */
        nonzero |= i ? work[i] : 0;
    }
    if (nonzero == 0) { /* what the passes below make of a lone DC */
        int value = clamp16((C4 * work[0] + 512) >> 10);

        value = ((C4 * value + 32768) >> 16) + 128;
        for (unsigned i = 0; i < 64; i++) {
            out[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
        return;
    }
    for (unsigned x = 0; x < 8; x++) {
        pass(work + x, work + x, 8);
    }
    for (unsigned i = 0; i < 64; i++) {
        work[i] = clamp16((work[i] + 512) >> 10);
    }
    for (unsigned y = 0; y < 8; y++) {
        pass(work + 8 * y, work + 8 * y, 1);
    }
    for (unsigned i = 0; i < 64; i++) {
        int value = ((work[i] + 32768) >> 16) + 128;

        out[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

struct pixels {
    const struct lethe_jpeg_component *component;
    uint32_t width;
    uint32_t height;
    uint8_t *out;
};

static void row_of_blocks(void *context, size_t row)
{
    const struct pixels *work = context;
    const struct lethe_jpeg_component *component = work->component;
    uint32_t top = (uint32_t)row * 8, rows = work->height - top < 8 ? work->height - top : 8;

    for (uint32_t left = 0; left < work->width; left += 8) {
        uint32_t columns = work->width - left < 8 ? work->width - left : 8;
        uint8_t block[64];

        lethe_photo_idct(component->coefs + ((size_t)row * component->blocks_w + left / 8) * 64,
                         component->quant, block);
        for (uint32_t y = 0; y < rows; y++) {
            uint8_t *out = work->out + (size_t)(top + y) * work->width + left;

            for (uint32_t x = 0; x < columns; x++) {
                out[x] = block[8 * y + x];
            }
        }
    }
}

void lethe_photo_component_pixels(const struct lethe_jpeg_component *component, uint32_t width,
                                  uint32_t height, uint8_t *out, struct lethe_pool *pool)
{
    struct pixels work = {component, width, height, out};

    lethe_pool_run(pool, (height + 7) / 8, row_of_blocks, &work);
}
