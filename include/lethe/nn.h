/* SPDX-License-Identifier: MIT */
/*
 * What the networks see. Both work on blocks of 8x8 pixels of a three-plane 8-bit picture in Y, Cb, Cr (full-range
 * BT.601 as in JFIF, integers). Grey pictures have Cb = Cr = 128. The Decrypter runs in integers only: its picture
 * is the same on every CPU, thread count and compiler, because exactness rests on it.
 */
#ifndef LETHE_NN_H
#define LETHE_NN_H

#include <stdint.h>

#include "lethe/err.h"

#define LETHE_BLOCK 8       /* pixels along the side of a block */
#define LETHE_LATENTS 64    /* latents of a block */
#define LETHE_LATENT_MAX 127 /* quantised latents lie in [-127, 127] */
#define LETHE_RATES 16      /* quantiser steps that one network serves, 0 the finest */

/* A picture in YCbCr: three planes of width * height bytes, row by row. */
struct lethe_ycc {
    uint32_t width;
    uint32_t height;
    uint8_t *planes[3];
};

enum lethe_err lethe_ycc_init(struct lethe_ycc *picture, uint32_t width, uint32_t height) LETHE_MUST_CHECK;
void lethe_ycc_release(struct lethe_ycc *picture);

/* Quantised latents: values[block * LETHE_LATENTS + k], block = row * blocks_w + column; blocks_w = ceil(width / 8). */
struct lethe_latents {
    uint32_t width;    /* of the picture, pixels */
    uint32_t height;
    uint32_t blocks_w;
    uint32_t blocks_h;
    unsigned rate;     /* index of the quantiser step, below LETHE_RATES */
    int8_t *values;
};

enum lethe_err lethe_latents_init(struct lethe_latents *latents, uint32_t width, uint32_t height, unsigned rate)
    LETHE_MUST_CHECK;
void lethe_latents_release(struct lethe_latents *latents);

/* The name of the kernels in use on this processor ("scalar", "avx2", ...). */
const char *lethe_nn_kernel(void);

#endif
