/* SPDX-License-Identifier: MIT */
/* The uncompressed thumbnail of EXIF (IFD1 of TIFF 6.0, as CIPA DC-008 has it), redrawn; JPEGs are redraw.c's. */
#include "exif.h"

#include <stdlib.h>
#include <string.h>

struct tiff {
    uint8_t *bytes;
    size_t len;
    bool big;
};

static uint32_t get(const struct tiff *tiff, size_t at, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint32_t)tiff->bytes[at + i] << 8 * (tiff->big ? size - 1 - i : i);
    }
    return value;
}

static bool inside(const struct tiff *tiff, uint64_t at, uint64_t size)
{
    return at <= tiff->len && size <= tiff->len - at;
}

bool lethe_tiff_entry(const uint8_t *bytes, size_t len, uint32_t ifd, unsigned tag, struct lethe_tiff_entry *entry)
{
    struct tiff tiff = {(uint8_t *)(uintptr_t)bytes, len, len > 0 && bytes[0] == 'M'};
    unsigned count;

    *entry = (struct lethe_tiff_entry){0};
    if (!inside(&tiff, ifd, 2)) {
        return false;
    }
    count = get(&tiff, ifd, 2);
    for (unsigned i = 0; i < count && inside(&tiff, (uint64_t)ifd + 2 + 12 * i, 12); i++) {
        static const uint8_t sizes[14] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
        size_t at = (size_t)ifd + 2 + 12 * i;
        unsigned type;
        uint64_t bytes_of;

        if (get(&tiff, at, 2) != tag) {
            continue;
        }
        type = get(&tiff, at + 2, 2);
        entry->count = get(&tiff, at + 4, 4);
        entry->size = type < sizeof sizes ? sizes[type] : 0;
        bytes_of = (uint64_t)entry->count * entry->size;
        entry->at = bytes_of <= 4 ? (uint32_t)(at + 8) : get(&tiff, at + 8, 4);
        return entry->size > 0 && inside(&tiff, entry->at, bytes_of);
    }
    return false;
}

bool lethe_tiff_start(const uint8_t *bytes, size_t len, uint32_t *ifd0, uint32_t *ifd1)
{
    struct tiff tiff = {(uint8_t *)(uintptr_t)bytes, len, false};
    unsigned count;

    *ifd0 = *ifd1 = 0;
    if (len < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0)) {
        return false;
    }
    tiff.big = bytes[0] == 'M';
    *ifd0 = get(&tiff, 4, 4);
    if (!inside(&tiff, *ifd0, 2)) {
        return false;
    }
    count = get(&tiff, *ifd0, 2);
    if (inside(&tiff, (uint64_t)*ifd0 + 2 + 12 * count, 4)) {
        *ifd1 = get(&tiff, (size_t)*ifd0 + 2 + 12 * count, 4);
    }
    return true;
}

uint32_t lethe_tiff_value(const uint8_t *bytes, size_t len, const struct lethe_tiff_entry *entry, uint32_t index)
{
    struct tiff tiff = {(uint8_t *)(uintptr_t)bytes, len, bytes[0] == 'M'};

    return index < entry->count && entry->size <= 4 ? get(&tiff, entry->at + (size_t)index * entry->size, entry->size)
                                                    : 0;
}

void lethe_tiff_set32(uint8_t *bytes, size_t at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[at + i] = (uint8_t)(value >> 8 * (bytes[0] == 'M' ? 3 - i : i));
    }
}

static uint32_t one(const uint8_t *bytes, size_t len, uint32_t ifd, unsigned tag, uint32_t otherwise)
{
    struct lethe_tiff_entry entry;

    return lethe_tiff_entry(bytes, len, ifd, tag, &entry) ? lethe_tiff_value(bytes, len, &entry, 0) : otherwise;
}

unsigned lethe_exif_orientation(const uint8_t *bytes, size_t len)
{
    uint32_t ifd0, ifd1, value;

    if (!lethe_tiff_start(bytes, len, &ifd0, &ifd1)) {
        return 1;
    }
    value = one(bytes, len, ifd0, 0x0112, 1);
    return value >= 1 && value <= 8 ? value : 1;
}

/* R, G, B, R, ... where the picture has colours, or grey thrice. */
static enum lethe_err draw_rgb(uint8_t *out, uint32_t width, uint32_t height, const struct lethe_raster *picture)
{
    size_t pixels = (size_t)width * height;
    uint8_t *plane = malloc(pixels);

    if (!plane) {
        return LETHE_ERR_NOMEM;
    }
    for (unsigned c = 0; c < 3; c++) {
        lethe_preview_scale(picture, picture->channels < 3 ? 0 : c, width, height, plane);
        for (size_t i = 0; i < pixels; i++) {
            out[3 * i + c] = plane[i];
        }
    }
    free(plane);
    return LETHE_OK;
}

enum lethe_err lethe_exif_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture)
{
    struct lethe_tiff_entry offsets, counts;
    uint32_t ifd0, ifd1, width, height;
    enum lethe_err err = LETHE_OK;

    if (!lethe_tiff_start(bytes, len, &ifd0, &ifd1) || ifd1 == 0 || one(bytes, len, ifd1, 0x0103, 6) != 1 ||
        !lethe_tiff_entry(bytes, len, ifd1, 0x0111, &offsets) || !lethe_tiff_entry(bytes, len, ifd1, 0x0117, &counts)) {
        return LETHE_OK;
    }
    width = one(bytes, len, ifd1, 0x0100, 0);
    height = one(bytes, len, ifd1, 0x0101, 0);
    for (uint32_t i = 0; i < offsets.count && i < counts.count && !err; i++) {
        uint64_t at = lethe_tiff_value(bytes, len, &offsets, i), size = lethe_tiff_value(bytes, len, &counts, i);

        if (at >= len) {
            continue;
        }
        size = size < len - at ? size : len - at;
        if (offsets.count == 1 && width > 0 && height > 0 && (uint64_t)width * height * 3 == size &&
            one(bytes, len, ifd1, 0x0106, 2) == 2) {
            err = draw_rgb(bytes + at, width, height, picture);
        } else {
            memset(bytes + at, 128, (size_t)size);
        }
    }
    return err;
}

enum lethe_err lethe_jfif_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture)
{
    uint32_t width, height;

    if (len < 14) {
        return LETHE_OK;
    }
    width = bytes[12];
    height = bytes[13];
    if (width == 0 || height == 0) {
        return LETHE_OK;
    }
    if ((uint64_t)width * height * 3 > len - 14) {
        memset(bytes + 14, 128, len - 14);
        return LETHE_OK;
    }
    return draw_rgb(bytes + 14, width, height, picture);
}
