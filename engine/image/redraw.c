/* SPDX-License-Identifier: MIT */
/*
 * Pictures inside metadata, redrawn in place: the thumbnails of EXIF and Photoshop, the previews of maker notes and of
 * multi-picture files are whole JPEGs among other bytes; XMP carries them in base64. Each is found by its first
 * markers, wherever it stands, and overwritten with a small JPEG of another picture and zeros, so that no offset in
 * the metadata moves. What begins like a picture and is none is overwritten too: better a hole than a leak.
 */
#include <stdlib.h>
#include <string.h>

#include "jpeg_private.h"

static bool contains(const uint8_t *bytes, size_t len, const char *text)
{
    return memmem(bytes, len, text, strlen(text)) != NULL;
}

bool lethe_jpeg_find_end(const uint8_t *bytes, size_t len, struct jpeg_found *found)
{
    size_t at = 2;
    unsigned segments = 0;

    *found = (struct jpeg_found){.len = len};
    while (at + 2 <= len && bytes[at] == 0xff) {
        unsigned marker = bytes[at + 1], size;

        if (marker == 0xd9) {
            found->len = at + 2;
            found->whole = true;
            return segments > 0;
        }
        if (marker == 0xff) { /* fill */
            at++;
            continue;
        }
        if (at + 4 > len) {
            break;
        }
        size = (unsigned)bytes[at + 2] << 8 | bytes[at + 3];
        if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8) || size < 2) {
            break;
        }
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc &&
            at + 9 <= len) {
            found->height = (uint32_t)bytes[at + 5] << 8 | bytes[at + 6];
            found->width = (uint32_t)bytes[at + 7] << 8 | bytes[at + 8];
        }
        segments++;
        found->blank |= marker >= 0xe0 && size > 8 && at + 2 + size <= len &&
                        (contains(bytes + at, size, "hdrgm:") || contains(bytes + at, size, "urn:com:"));
        at += 2 + size;
        if (marker == 0xda) { /* the scan ends at the next marker that is none of its own */
            while (at + 2 <= len &&
                   !(bytes[at] == 0xff && bytes[at + 1] != 0 && (bytes[at + 1] < 0xd0 || bytes[at + 1] > 0xd7) &&
                     bytes[at + 1] != 0xff)) {
                at++;
            }
        }
    }
    return segments > 0;
}

static enum lethe_err draw(uint8_t *bytes, const struct jpeg_found *found, const struct lethe_raster *picture)
{
    struct lethe_buf small = {0};
    uint32_t width = found->width ? found->width : 160, height = found->height ? found->height : 120;
    enum lethe_err err =
        found->blank ? LETHE_OK : lethe_preview_write(picture, width, height, found->len, &small);

    memset(bytes, 0, found->len);
    if (err == LETHE_ERR_NOSPACE) {
        err = LETHE_OK;
    } else if (!err && small.len > 0) {
        memcpy(bytes, small.data, small.len);
    }
    lethe_buf_release(&small);
    return err;
}

/* --- base64 --- */

static int sextet(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* How many bytes at p stand between lines of base64 in XML: white space and its references. */
static size_t gap(const uint8_t *p, size_t len)
{
    if (*p == '\n' || *p == '\r' || *p == ' ' || *p == '\t') {
        return 1;
    }
    for (size_t i = 3; len >= 4 && p[0] == '&' && p[1] == '#' && i < len && i < 8; i++) {
        if (p[i] == ';') {
            return i + 1;
        }
    }
    return 0;
}

/*
 * The run of base64 from p on; appends what it decodes to to out. *used is its length. Padding ends it.
 */
static void decode_run(const uint8_t *p, size_t len, struct lethe_buf *out, size_t *used)
{
    unsigned hold = 0, held = 0;
    size_t at = 0, last = 0, skip;

    while (at < len) {
        int value = sextet(p[at]);

        if (value >= 0) {
            hold = (hold << 6 | (unsigned)value) & 0xffffff;
            held += 6;
            if (held >= 8) {
                held -= 8;
                lethe_buf_put_u8(out, (uint8_t)(hold >> held));
            }
            last = ++at;
        } else if ((skip = gap(p + at, len - at)) > 0) {
            at += skip;
        } else {
            break;
        }
    }
    *used = last;
}

static void encode_run(uint8_t *p, size_t len, const struct lethe_buf *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bit = 0, at = 0, skip;

    while (at < len) {
        if (sextet(p[at]) < 0) {
            skip = gap(p + at, len - at);
            at += skip ? skip : 1;
            continue;
        }
        {
            size_t byte = bit / 8;
            unsigned word = (byte < bytes->len ? (unsigned)bytes->data[byte] << 8 : 0) |
                            (byte + 1 < bytes->len ? bytes->data[byte + 1] : 0);

            p[at++] = (uint8_t)digits[word >> (10 - bit % 8) & 63];
            bit += 6;
        }
    }
}

/* "/9j/" begins a JPEG in base64, "iVBORw0KGgo" a PNG. */
static enum lethe_err redraw_base64(uint8_t *bytes, size_t len, const struct lethe_raster *picture, size_t *used)
{
    struct lethe_buf inside = {0};
    struct jpeg_found found;
    enum lethe_err err;

    decode_run(bytes, len, &inside, used);
    err = lethe_buf_status(&inside);
    if (!err && inside.len > 0) {
        if (!lethe_jpeg_find_end(inside.data, inside.len, &found)) {
            found = (struct jpeg_found){.blank = true};
        }
        found.len = inside.len;
        err = draw(inside.data, &found, picture);
        if (!err) {
            encode_run(bytes, *used, &inside);
        }
    }
    lethe_buf_release(&inside);
    return err;
}

enum lethe_err lethe_redraw(uint8_t *bytes, size_t len, const struct lethe_raster *picture, bool *open)
{
    static const uint8_t png[4] = {0x89, 'P', 'N', 'G'};
    enum lethe_err err = LETHE_OK;
    size_t at = 0;

    *open = false;
    while (at + 4 <= len && !err) {
        struct jpeg_found found;
        size_t used;

        if (bytes[at] == 0xff && bytes[at + 1] == 0xd8 && bytes[at + 2] == 0xff &&
            lethe_jpeg_find_end(bytes + at, len - at, &found)) {
            *open |= !found.whole;
            err = draw(bytes + at, &found, picture);
            at += found.len;
        } else if (memcmp(bytes + at, png, 4) == 0) {
            const uint8_t *end = memmem(bytes + at, len - at, "IEND\xae\x42\x60\x82", 8);

            found = (struct jpeg_found){.len = end ? (size_t)(end - bytes) + 8 - at : len - at, .blank = true};
            *open |= !end;
            err = draw(bytes + at, &found, picture);
            at += found.len;
        } else if (memcmp(bytes + at, "/9j/", 4) == 0 ||
                   (len - at >= 11 && memcmp(bytes + at, "iVBORw0KGgo", 11) == 0)) {
            err = redraw_base64(bytes + at, len - at, picture, &used);
            *open |= at + used == len;
            at += used;
        } else {
            at++;
        }
    }
    return err;
}
