/* SPDX-License-Identifier: MIT */
#include "lethe/nn.h"

#include <stdlib.h>

#include "lethe/bytes.h"

enum lethe_err lethe_ycc_init(struct lethe_ycc *picture, uint32_t width, uint32_t height)
{
    size_t size;

    *picture = (struct lethe_ycc){0};
    if (width == 0 || height == 0 || !lethe_mul_size(width, height, &size)) {
        return LETHE_ERR_ARG;
    }
    for (int i = 0; i < 3; i++) {
        picture->planes[i] = malloc(size);
        if (!picture->planes[i]) {
            lethe_ycc_release(picture);
            return LETHE_ERR_NOMEM;
        }
    }
    picture->width = width;
    picture->height = height;
    return LETHE_OK;
}

void lethe_ycc_release(struct lethe_ycc *picture)
{
    for (int i = 0; i < 3; i++) {
        free(picture->planes[i]);
    }
    *picture = (struct lethe_ycc){0};
}

enum lethe_err lethe_latents_init(struct lethe_latents *latents, uint32_t width, uint32_t height,
                                  unsigned rate)
{
    uint32_t blocks_w = width / LETHE_BLOCK + (width % LETHE_BLOCK != 0);
    uint32_t blocks_h = height / LETHE_BLOCK + (height % LETHE_BLOCK != 0);
    size_t blocks;

    *latents = (struct lethe_latents){0};
    if (width == 0 || height == 0 || rate >= LETHE_RATES || !lethe_mul_size(blocks_w, blocks_h, &blocks)) {
        return LETHE_ERR_ARG;
    }
    latents->values = calloc(blocks, LETHE_LATENTS);
    if (!latents->values) {
        return LETHE_ERR_NOMEM;
    }
    latents->width = width;
    latents->height = height;
    latents->blocks_w = blocks_w;
    latents->blocks_h = blocks_h;
    latents->rate = rate;
    return LETHE_OK;
}

void lethe_latents_release(struct lethe_latents *latents)
{
    free(latents->values);
    *latents = (struct lethe_latents){0};
}
