/* SPDX-License-Identifier: MIT */
/*
 * What a picture needs besides its pixels to be looked at, as bytes of its own container: which way is up, and what its
 * colours mean. Nothing else of the metadata: this goes where the photo's metadata must not.
 */
#include <string.h>

#include "exif.h"
#include "png_recipe.h"

#define VIEW_MAX (1u << 20)

/* An EXIF block that tells the orientation and nothing more. */
#define EXIF_BYTES 26
static void make_exif(unsigned orientation, uint8_t out[EXIF_BYTES])
{
    static const uint8_t plain[EXIF_BYTES] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3,
                                              0,   0,   0, 1,  0, 1, 0, 0, 0, 0, 0, 0};

    memcpy(out, plain, EXIF_BYTES);
    out[19] = (uint8_t)orientation;
}

enum lethe_err lethe_jpeg_view(const uint8_t *file, size_t len, struct lethe_buf *out)
{
    uint8_t exif[EXIF_BYTES];
    unsigned orientation = 1;
    size_t at = 2, start = out->len;

    while (at + 4 <= len && file[at] == 0xff && file[at + 1] != 0xda) {
        size_t size = 2 + ((size_t)file[at + 2] << 8 | file[at + 3]);
        const uint8_t *payload = file + at + 4;

        if (file[at + 1] == 0xff) {
            at++;
            continue;
        }
        if (size < 4 || size > len - at) {
            break;
        }
        if (file[at + 1] == 0xe1 && size > 10 && memcmp(payload, "Exif\0", 6) == 0 && orientation == 1) {
            orientation = lethe_exif_orientation(payload + 6, size - 10);
        } else if (file[at + 1] == 0xe2 && size > 18 && memcmp(payload, "ICC_PROFILE", 12) == 0) {
            lethe_buf_put(out, file + at, size);
        }
        at += size;
    }
    if (out->len - start > VIEW_MAX) {
        out->len = start;
    }
    if (orientation != 1) {
        make_exif(orientation, exif);
        lethe_buf_put(out, (const uint8_t[10]){0xff, 0xe1, 0, 8 + EXIF_BYTES, 'E', 'x', 'i', 'f', 0, 0}, 10);
        lethe_buf_put(out, exif, EXIF_BYTES);
    }
    return lethe_buf_status(out);
}

enum lethe_err lethe_png_view(const uint8_t *file, size_t len, struct lethe_buf *out)
{
    static const char *const kept[] = {"iCCP", "sRGB", "gAMA", "cHRM", "cICP", "pHYs"};
    uint8_t chunk[8 + EXIF_BYTES] = {0, 0, 0, EXIF_BYTES, 'e', 'X', 'I', 'f'}, word[4];
    unsigned orientation = 1;
    size_t at = 8, start = out->len;

    while (len - at >= 12) {
        size_t size = lethe_get_u32be(file + at);
        const uint8_t *type = file + at + 4;

        if (size > len - at - 12 || memcmp(type, "IEND", 4) == 0) {
            break;
        }
        if (memcmp(type, "eXIf", 4) == 0) {
            orientation = lethe_exif_orientation(file + at + 8, size);
        }
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
            if (memcmp(type, kept[i], 4) == 0) {
                lethe_buf_put(out, file + at, size + 12);
            }
        }
        at += size + 12;
    }
    if (out->len - start > VIEW_MAX) {
        out->len = start;
    }
    if (orientation != 1) {
        make_exif(orientation, chunk + 8);
        lethe_set_u32be(word, lethe_png_crc(0, chunk + 4, 4 + EXIF_BYTES));
        lethe_buf_put(out, chunk, sizeof chunk);
        lethe_buf_put(out, word, 4);
    }
    return lethe_buf_status(out);
}
