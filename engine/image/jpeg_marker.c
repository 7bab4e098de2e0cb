/* SPDX-License-Identifier: MIT */
/* The marker segments of a JPEG (T.81 annex B), read with the leniency of libjpeg and no trust. */
#include <string.h>
#include <stdlib.h>

#include "jpeg_private.h"

enum {
    SOF0 = 0xc0,
    DHT = 0xc4,
    RST0 = 0xd0,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    DQT = 0xdb,
    DNL = 0xdc,
    DRI = 0xdd
};
enum { APP0 = 0xe0, APP14 = 0xee, TEM = 0x01 };

static unsigned be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

void lethe_jpeg_state_init(struct jpeg_state *state)
{
    memset(state, 0, sizeof *state);
    memset(state->progress, JPEG_UNSEEN, sizeof state->progress);
    lethe_jpeg_huff_standard(state->dc, state->ac);
}

static enum lethe_err read_dht(struct jpeg_state *state, const uint8_t *p, size_t len)
{
    while (len > 0) {
        unsigned total = 0;
        struct jpeg_huff *huff;
        enum lethe_err err;

        if (len < 17 || p[0] >> 4 > 1 || (p[0] & 15) > 3) {
            return LETHE_ERR_FORMAT;
        }
        for (unsigned i = 1; i <= 16; i++) {
            total += p[i];
        }
        if (total > 256 || len < 17 + total) {
            return LETHE_ERR_FORMAT;
        }
        huff = p[0] >> 4 ? &state->ac[p[0] & 15] : &state->dc[p[0] & 15];
        err = lethe_jpeg_huff_build(huff, p, p + 17, total);
        if (err) {
            return err;
        }
        p += 17 + total;
        len -= 17 + total;
    }
    return LETHE_OK;
}

static enum lethe_err read_dqt(struct jpeg_state *state, const uint8_t *p, size_t len)
{
    while (len > 0) {
        unsigned wide = p[0] >> 4, table = p[0] & 15;
        size_t size = wide ? 129 : 65;

        if (wide > 1 || table > 3 || len < size) {
            return LETHE_ERR_FORMAT;
        }
        for (unsigned k = 0; k < 64; k++) {
            unsigned value = wide ? be16(p + 1 + 2 * k) : p[1 + k];

            state->quant[table][lethe_jpeg_natural[k]] = (uint16_t)(value ? value : 1);
        }
        state->quant_set[table] = true;
        p += size;
        len -= size;
    }
    return LETHE_OK;
}

static uint32_t ceil_div(uint64_t a, uint32_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

static enum lethe_err read_sof(struct jpeg_state *state, unsigned marker, const uint8_t *p, size_t len,
                               struct lethe_jpeg *jpeg, enum lethe_reason *reason)
{
    unsigned hmax = 1, vmax = 1;

    *reason = LETHE_REASON_MALFORMED;
    if (len < 6 || len != 6 + 3 * (size_t)p[5]) {
        return LETHE_ERR_UNSUPPORTED;
    }
    jpeg->height = be16(p + 1);
    jpeg->width = be16(p + 3);
    jpeg->components = p[5];
    if (marker > SOF0 + 2 || p[0] != 8 || jpeg->height == 0 ||
        (jpeg->components != 1 && jpeg->components != 3 && jpeg->components != 4)) {
        *reason = LETHE_REASON_KIND; /* lossless, hierarchical, arithmetic, 12 bits, height in a DNL */
        return LETHE_ERR_UNSUPPORTED;
    }
    if (jpeg->width == 0) {
        return LETHE_ERR_UNSUPPORTED;
    }
    for (unsigned c = 0; c < jpeg->components; c++) {
        struct lethe_jpeg_component *component = &jpeg->component[c];

        state->id[c] = p[6 + 3 * c];
        component->h = p[7 + 3 * c] >> 4;
        component->v = p[7 + 3 * c] & 15;
        state->table[c] = p[8 + 3 * c];
        if (component->h < 1 || component->h > 4 || component->v < 1 || component->v > 4 ||
            state->table[c] > 3) {
            return LETHE_ERR_UNSUPPORTED;
        }
        hmax = component->h > hmax ? component->h : hmax;
        vmax = component->v > vmax ? component->v : vmax;
    }
    for (unsigned c = 0; c < jpeg->components; c++) {
        struct lethe_jpeg_component *component = &jpeg->component[c];

        component->blocks_w = ceil_div(jpeg->width, 8 * hmax) * component->h;
        component->blocks_h = ceil_div(jpeg->height, 8 * vmax) * component->v;
        component->real_w = ceil_div(ceil_div((uint64_t)jpeg->width * component->h, hmax), 8);
        component->real_h = ceil_div(ceil_div((uint64_t)jpeg->height * component->v, vmax), 8);
        for (unsigned k = 0; k < 64; k++) {
            component->quant[k] = 1;
        }
    }
    state->progressive = marker == SOF0 + 2;
    state->frame = true;
    return LETHE_OK;
}

/* Whether a scan may tell what it says it tells, and the note that it did. */
static enum lethe_err advance(struct jpeg_state *state)
{
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < state->count; i++) {
            uint8_t *progress = state->progress[state->component[i]];

            for (unsigned k = state->ss; k <= state->se; k++) {
                if (pass == 0 && progress[k] != (state->ah ? state->ah : JPEG_UNSEEN)) {
                    return LETHE_ERR_FORMAT;
                }
                if (pass == 1) {
                    progress[k] = (uint8_t)state->al;
                }
            }
        }
    }
    return LETHE_OK;
}

static enum lethe_err read_sos(struct jpeg_state *state, const uint8_t *p, size_t len,
                               const struct lethe_jpeg *jpeg)
{
    unsigned blocks = 0;

    if (len < 1 || p[0] < 1 || p[0] > jpeg->components || len != 4 + 2 * (size_t)p[0]) {
        return LETHE_ERR_FORMAT;
    }
    state->count = p[0];
    for (unsigned i = 0; i < state->count; i++) {
        unsigned c = 0;

        for (;; c++) { /* the first component of that id that the scan does not have yet */
            bool taken = false;

            if (c == jpeg->components) {
                return LETHE_ERR_FORMAT;
            }
            for (unsigned j = 0; j < i; j++) {
                taken = taken || state->component[j] == c;
            }
            if (!taken && state->id[c] == p[1 + 2 * i]) {
                break;
            }
        }
        state->component[i] = c;
        state->dc_table[i] = p[2 + 2 * i] >> 4;
        state->ac_table[i] = p[2 + 2 * i] & 15;
        blocks += jpeg->component[c].h * jpeg->component[c].v;
        if (state->dc_table[i] > 3 || state->ac_table[i] > 3) {
            return LETHE_ERR_FORMAT;
        }
    }
    p += 1 + 2 * state->count;
    state->ss = p[0];
    state->se = p[1];
    state->ah = p[2] >> 4;
    state->al = p[2] & 15;
    if (!state->progressive) { /* some writers put nonsense here, and every reader ignores it */
        state->ss = 0;
        state->se = 63;
        state->ah = 0;
        state->al = 0;
    } else if (state->se > 63 || state->al > 13 || (state->ah && state->ah != state->al + 1) ||
               (state->ss == 0 ? state->se != 0 : state->se < state->ss || state->count != 1)) {
        return LETHE_ERR_FORMAT;
    }
    if (state->count > 1 && blocks > 64) {
        return LETHE_ERR_FORMAT;
    }
    for (unsigned i = 0; i < state->count; i++) {
        if ((state->ss == 0 && state->ah == 0 && !state->dc[state->dc_table[i]].present) ||
            (state->se > 0 && !state->ac[state->ac_table[i]].present)) {
            return LETHE_ERR_FORMAT;
        }
    }
    return advance(state);
}

static enum lethe_err read_segment(struct jpeg_state *state, unsigned marker, const uint8_t *p, size_t len)
{
    switch (marker) {
    case DHT:
        return read_dht(state, p, len);
    case DQT:
        return read_dqt(state, p, len);
    case DRI:
        if (len != 2) {
            return LETHE_ERR_FORMAT;
        }
        state->restart = be16(p);
        return LETHE_OK;
    case DNL:
        return LETHE_ERR_FORMAT;
    case APP0:
        state->jfif = state->jfif || (len >= 14 && memcmp(p, "JFIF", 5) == 0);
        return LETHE_OK;
    case APP14:
        if (len >= 12 && memcmp(p, "Adobe", 5) == 0) {
            state->adobe = true;
            state->adobe_transform = p[11];
        }
        return LETHE_OK;
    default:
        return LETHE_OK;
    }
}

static bool is_sof(unsigned marker)
{
    return marker >= SOF0 && marker <= SOF0 + 15 && marker != DHT && marker != 0xc8 && marker != 0xcc;
}

enum lethe_err lethe_jpeg_next_scan(struct jpeg_state *state, const uint8_t *bytes, size_t len, size_t *at,
                                    struct lethe_jpeg *jpeg, enum jpeg_step *step, enum lethe_reason *reason)
{
    size_t p = *at;

    *step = JPEG_STEP_END;
    *reason = LETHE_REASON_MALFORMED;
    for (;;) {
        unsigned marker;
        size_t size;

        while (p < len && !(bytes[p] == 0xff && p + 1 < len && bytes[p + 1] != 0 && bytes[p + 1] != 0xff)) {
            p++;
        }
        if (p >= len) {
            break;
        }
        marker = bytes[p + 1];
        p += 2;
        if (marker == EOI) {
            break;
        }
        if (marker == SOI || marker == TEM || (marker >= RST0 && marker < SOI)) {
            continue;
        }
        if (len - p < 2) {
            break;
        }
        size = be16(bytes + p);
        if (size < 2 || size > len - p) {
            break;
        }
        if (is_sof(marker)) {
            enum lethe_err err;

            if (state->frame) {
                break;
            }
            err = read_sof(state, marker, bytes + p + 2, size - 2, jpeg, reason);
            if (err) {
                return err;
            }
        } else if (marker == SOS) {
            if (!state->frame || read_sos(state, bytes + p + 2, size - 2, jpeg)) {
                break;
            }
            *at = p + size;
            *step = JPEG_STEP_SCAN;
            *reason = LETHE_REASON_NONE;
            return LETHE_OK;
        } else if (read_segment(state, marker, bytes + p + 2, size - 2)) {
            break;
        }
        p += size;
    }
    return state->frame ? LETHE_OK : LETHE_ERR_UNSUPPORTED;
}

void lethe_jpeg_latch(struct jpeg_state *state, struct lethe_jpeg *jpeg)
{
    for (unsigned i = 0; i < state->count; i++) {
        unsigned c = state->component[i];

        if (!state->latched[c] && state->quant_set[state->table[c]]) {
            memcpy(jpeg->component[c].quant, state->quant[state->table[c]], sizeof jpeg->component[c].quant);
            state->latched[c] = true;
        }
    }
}

enum lethe_jpeg_colour lethe_jpeg_colour_of(const struct jpeg_state *state, const struct lethe_jpeg *jpeg)
{
    const uint8_t *id = state->id;

    if (jpeg->components == 1) {
        return LETHE_JPEG_GREY;
    }
    if (jpeg->components == 4) {
        return state->adobe && state->adobe_transform == 2 ? LETHE_JPEG_YCCK : LETHE_JPEG_CMYK;
    }
    if (state->jfif) {
        return LETHE_JPEG_YCC;
    }
    if (state->adobe) {
        return state->adobe_transform == 0 ? LETHE_JPEG_RGB : LETHE_JPEG_YCC;
    }
    return id[0] == 'R' && id[1] == 'G' && id[2] == 'B' ? LETHE_JPEG_RGB : LETHE_JPEG_YCC;
}

uint64_t lethe_jpeg_measure(const struct lethe_jpeg *jpeg, const struct lethe_image_limits *limits, size_t file_len)
{
    uint64_t pixels = (uint64_t)jpeg->width * jpeg->height;
    uint64_t blocks = 0; /* at most 4 * 2^13.. squared: far from overflow */

    for (unsigned c = 0; c < jpeg->components; c++) {
        blocks += (uint64_t)jpeg->component[c].blocks_w * jpeg->component[c].blocks_h;
    }
    if (pixels > limits->max_pixels || blocks > limits->max_bytes / 128 || blocks > UINT32_MAX / 2 ||
        (limits->max_memory && lethe_jpeg_memory(pixels, blocks, file_len) > limits->max_memory)) {
        return 0;
    }
    return blocks;
}

enum lethe_err lethe_jpeg_alloc(struct lethe_jpeg *jpeg)
{
    for (unsigned c = 0; c < jpeg->components; c++) {
        struct lethe_jpeg_component *component = &jpeg->component[c];
        size_t blocks;

        if (!lethe_mul_size(component->blocks_w, component->blocks_h, &blocks)) {
            return LETHE_ERR_NOMEM;
        }
        component->coefs = calloc(blocks, 64 * sizeof *component->coefs);
        if (!component->coefs) {
            return LETHE_ERR_NOMEM;
        }
    }
    return LETHE_OK;
}

void lethe_jpeg_release(struct lethe_jpeg *jpeg)
{
    for (unsigned c = 0; c < 4; c++) {
        free(jpeg->component[c].coefs);
    }
    *jpeg = (struct lethe_jpeg){0};
}
