/* SPDX-License-Identifier: MIT */
/*
 * Both networks work in tiles of 32x32 cells, so that memory does not grow with the picture. A hidden layer
 * that a 3x3 convolution reads is computed with a rim of one cell around the tile; beyond the picture's edge
 * it repeats the nearest cell.
 */
#ifndef LETHE_CODEC_TILE_H
#define LETHE_CODEC_TILE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LETHE_TILE 32
#define LETHE_TILE_RIM (LETHE_TILE + 2)

struct lethe_tile {
    uint32_t x, y;           /* the first cell */
    uint32_t w, h;           /* cells, at most LETHE_TILE */
    uint32_t grid_w, grid_h; /* of the picture */
};

static inline struct lethe_tile lethe_tile_at(uint32_t grid_w, uint32_t grid_h, size_t index)
{
    size_t across = ((size_t)grid_w + LETHE_TILE - 1) / LETHE_TILE;
    struct lethe_tile tile = {.grid_w = grid_w, .grid_h = grid_h};

    tile.x = (uint32_t)(index % across) * LETHE_TILE;
    tile.y = (uint32_t)(index / across) * LETHE_TILE;
    tile.w = grid_w - tile.x < LETHE_TILE ? grid_w - tile.x : LETHE_TILE;
    tile.h = grid_h - tile.y < LETHE_TILE ? grid_h - tile.y : LETHE_TILE;
    return tile;
}

static inline size_t lethe_tile_count(uint32_t grid_w, uint32_t grid_h)
{
    return (((size_t)grid_w + LETHE_TILE - 1) / LETHE_TILE) *
           (((size_t)grid_h + LETHE_TILE - 1) / LETHE_TILE);
}

/*
 * values holds LETHE_TILE_RIM rows of LETHE_TILE_RIM cells of size bytes; cell (0, 0) of the tile is at (1,
 * 1). Fills those rim cells that lie beyond the picture.
 */
static inline void lethe_tile_fill_rim(const struct lethe_tile *tile, uint8_t *values, size_t size)
{
    size_t row = LETHE_TILE_RIM * size;

    for (uint32_t y = 0; y < tile->h + 2; y++) {
        if (tile->x == 0) {
            memcpy(values + y * row, values + y * row + size, size);
        }
        if (tile->x + tile->w == tile->grid_w) {
            memcpy(values + y * row + (tile->w + 1) * size, values + y * row + tile->w * size, size);
        }
    }
    if (tile->y == 0) {
        memcpy(values, values + row, row);
    }
    if (tile->y + tile->h == tile->grid_h) {
        memcpy(values + (tile->h + 1) * row, values + tile->h * row, row);
    }
}

#endif
