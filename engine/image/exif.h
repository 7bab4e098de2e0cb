/* SPDX-License-Identifier: MIT */
/* Private to engine/image: the little of TIFF and EXIF that a file written anew needs. All bytes are hostile. */
#ifndef LETHE_IMAGE_EXIF_H
#define LETHE_IMAGE_EXIF_H

#include "lethe/image.h"

struct lethe_tiff_entry {
    uint32_t at; /* of its values; count * size bytes lie inside */
    uint32_t count;
    unsigned size; /* bytes of a value */
};

/* False when bytes are no TIFF. *ifd1 is 0 when there is none. */
bool lethe_tiff_start(const uint8_t *bytes, size_t len, uint32_t *ifd0, uint32_t *ifd1);
/* Of a TIFF that starts as one. */
bool lethe_tiff_entry(const uint8_t *bytes, size_t len, uint32_t ifd, unsigned tag, struct lethe_tiff_entry *entry);
uint32_t lethe_tiff_value(const uint8_t *bytes, size_t len, const struct lethe_tiff_entry *entry, uint32_t index);
void lethe_tiff_set32(uint8_t *bytes, size_t at, uint32_t value);

/* 1 to 8; 1 when it does not say. */
unsigned lethe_exif_orientation(const uint8_t *bytes, size_t len);
/* Redraws an uncompressed thumbnail. */
enum lethe_err lethe_exif_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture) LETHE_MUST_CHECK;
/* The same of JFIF, whose segment's payload bytes are. */
enum lethe_err lethe_jfif_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture) LETHE_MUST_CHECK;

#endif
