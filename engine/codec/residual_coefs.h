/* SPDX-License-Identifier: MIT */
/* Private to the coefficients coder: the job of one band, and xhat's transform. */
#ifndef LETHE_ENGINE_CODEC_RESIDUAL_COEFS_H
#define LETHE_ENGINE_CODEC_RESIDUAL_COEFS_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"

/* One band of MCU rows, coded on its own. */
struct lethe_coefs_band {
    const struct lethe_jpeg *jpeg; /* read when encoding, its coefficients are written when decoding */
    const uint8_t *const *xhat;
    bool strong;
    uint32_t first[4];    /* first block row of each component */
    uint32_t end[4];      /* one past the last */
    struct lethe_buf out; /* encoding: the stream; owned by the caller */
    const uint8_t *bytes; /* decoding: the stream, borrowed */
    size_t len;
    enum lethe_err err;
};

void lethe_coefs_band_encode(struct lethe_coefs_band *band);
void lethe_coefs_band_decode(struct lethe_coefs_band *band);

/*
 * The forward DCT of JPEG (level shift included) of 8x8 samples at stride: out in natural order, in eighths,
 * |out| < 2^14. A fixed integer transform: what it returns is part of the stream's definition.
 */
void lethe_fdct(const uint8_t *samples, size_t stride, int32_t out[64]);

#endif
