/* SPDX-License-Identifier: MIT */
/*
 * Another picture in a JPEG's clothes: its metadata segments in their order, then tables, frame and scan of
 * jpeg_compose.c, then what stood behind its end. Embedded pictures are redrawn. Left out: what speaks of the old
 * coding (DHT, DQT, DRI, DNL), FlashPix previews, APP11 (manifests that are bound to the old bytes), and segments that
 * carry the rest of an embedded picture.
 */
#include <stdlib.h>
#include <string.h>

#include "exif.h"
#include "jpeg_private.h"

#define MP_ENTRIES 0xb002
#define MP_ENTRY_BYTES 16

struct rewrite {
    const uint8_t *file;
    size_t len;
    const struct lethe_raster *picture;
    struct lethe_buf segments;
    uint8_t ids[4];
    uint8_t open; /* the marker whose last segment ended in the midst of a picture, 0 none */
    size_t index, index_new; /* where the TIFF of the multi-picture index stands; 0: none */
    size_t index_len;
};

static bool begins(const uint8_t *bytes, size_t len, const char *text, size_t text_len)
{
    return len >= text_len && memcmp(bytes, text, text_len) == 0;
}

static bool left_out(unsigned marker, const uint8_t *payload, size_t len)
{
    return marker == 0xeb || (marker == 0xe2 && begins(payload, len, "FPXR", 5)) ||
           (marker == 0xe0 && len > 5 && begins(payload, len, "JFXX", 5) && payload[5] != 0x10);
}

static enum lethe_err keep(struct rewrite *r, size_t at, size_t size)
{
    unsigned marker = r->file[at + 1];
    size_t start = r->segments.len, len = size - 4;
    uint8_t *payload;
    bool open;
    enum lethe_err err;

    if (left_out(marker, r->file + at + 4, len)) {
        return LETHE_OK;
    }
    if (r->open == marker) {
        return LETHE_OK;
    }
    lethe_buf_put(&r->segments, r->file + at, size);
    err = lethe_buf_status(&r->segments);
    if (err) {
        return err;
    }
    payload = r->segments.data + start + 4;
    if (marker == 0xe0 && begins(payload, len, "JFIF", 5)) {
        return lethe_jfif_redraw(payload, len, r->picture);
    }
    if (marker == 0xe1 && begins(payload, len, "Exif\0", 6)) {
        err = lethe_exif_redraw(payload + 6, len - 6, r->picture);
    }
    if (marker == 0xe2 && begins(payload, len, "MPF", 4) && !r->index) {
        r->index = at + 8;
        r->index_new = 2 + start + 8; /* behind SOI */
        r->index_len = len - 4;
    }
    if (!err) {
        err = lethe_redraw(payload, len, r->picture, &open);
    }
    if (!err && open) {
        r->open = (uint8_t)marker;
    }
    return err;
}

/* The markers before the first scan. */
static enum lethe_err gather(struct rewrite *r)
{
    size_t at = 2;
    enum lethe_err err = LETHE_OK;

    while (at + 4 <= r->len && !err) {
        unsigned marker = r->file[at + 1];
        size_t size = 2 + ((size_t)r->file[at + 2] << 8 | r->file[at + 3]);

        if (r->file[at] != 0xff) {
            return LETHE_ERR_UNSUPPORTED;
        }
        if (marker == 0xff) { /* fill */
            at++;
            continue;
        }
        if (marker == 0xda) {
            return LETHE_OK;
        }
        if (size < 4 || size > r->len - at || marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8)) {
            return LETHE_ERR_UNSUPPORTED;
        }
        if ((marker >= 0xc0 && marker <= 0xc2) && size >= 10) {
            for (unsigned c = 0; c < 4 && 10 + 3 * (size_t)c < size; c++) {
                r->ids[c] = r->file[at + 10 + 3 * c];
            }
        } else if ((marker >= 0xe0 && marker <= 0xef) || marker == 0xfe) {
            err = keep(r, at, size);
        }
        at += size;
    }
    return err ? err : LETHE_ERR_UNSUPPORTED;
}

/* The multi-picture index (CIPA DC-007) says where pictures behind the end lie: what stood at old stands at fresh. */
static void move_index(const struct rewrite *r, size_t old, size_t fresh, size_t start, struct lethe_buf *out)
{
    uint8_t *tiff = out->data + start + r->index_new;
    struct lethe_tiff_entry entries;
    uint32_t ifd0, ifd1;

    if (!r->index || !lethe_tiff_start(tiff, r->index_len, &ifd0, &ifd1) ||
        !lethe_tiff_entry(tiff, r->index_len, ifd0, MP_ENTRIES, &entries) || entries.size != 1) {
        return;
    }
    for (uint32_t i = 0; i < entries.count / MP_ENTRY_BYTES; i++) {
        size_t at = entries.at + (size_t)i * MP_ENTRY_BYTES;
        struct lethe_tiff_entry word = {.at = (uint32_t)at + 8, .count = 1, .size = 4};
        uint64_t offset = lethe_tiff_value(tiff, r->index_len, &word, 0);

        if (offset == 0) { /* the picture itself */
            lethe_tiff_set32(tiff, at + 4, (uint32_t)(fresh - start));
        } else if (offset + r->index >= old) {
            lethe_tiff_set32(tiff, at + 8,
                             (uint32_t)(offset + r->index - old + (fresh - start) - r->index_new));
        }
    }
}

enum lethe_err lethe_jpeg_rewrite(const uint8_t *file, size_t len, const struct lethe_jpeg *jpeg,
                                  const struct lethe_raster *picture, struct lethe_buf *out)
{
    struct rewrite r = {.file = file, .len = len, .picture = picture};
    struct jpeg_found whole;
    size_t start = out->len, tail;
    bool open;
    enum lethe_err err = len > 4 && lethe_jpeg_find_end(file, len, &whole) ? gather(&r) : LETHE_ERR_UNSUPPORTED;

    if (!err) {
        err = lethe_jpeg_compose(jpeg, r.ids, r.segments.data, r.segments.len, out);
    }
    if (!err) {
        tail = out->len;
        lethe_buf_put(out, file + whole.len, len - whole.len);
        err = lethe_buf_status(out);
        if (!err) {
            move_index(&r, whole.len, tail, start, out);
            err = lethe_redraw(out->data + tail, out->len - tail, picture, &open);
        }
    }
    if (err) {
        out->len = start;
    }
    lethe_buf_release(&r.segments);
    return err;
}
