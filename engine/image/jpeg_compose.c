/* SPDX-License-Identifier: MIT */
/*
 * Coefficients to a plain JPEG: sequential, the tables of T.81 annex K.3, all components in one scan where the standard
 * allows it. The bytes are a function of the arguments alone, for ever: files that are remade from their coefficients
 * rest on it (tests/unit/test_lossy.c holds hashes).
 */
#include <stdlib.h>
#include <string.h>

#include "jpeg_private.h"

#define MCU_BLOCKS 10 /* T.81 B.2.3 */

static void put16(struct lethe_buf *out, unsigned value)
{
    lethe_buf_put_u8(out, (uint8_t)(value >> 8));
    lethe_buf_put_u8(out, (uint8_t)value);
}

/* One DQT of each component's own table, equal ones once; table[c] is its number. *wide when one needs 16 bits. */
static void put_dqt(const struct lethe_jpeg *jpeg, uint8_t table[4], bool *wide, struct lethe_buf *out)
{
    *wide = false;
    for (unsigned c = 0; c < jpeg->components; c++) {
        const uint16_t *quant = jpeg->component[c].quant;
        unsigned first = 0;
        bool words = false;

        while (memcmp(jpeg->component[first].quant, quant, sizeof jpeg->component[first].quant) != 0) {
            first++; /* c itself at last */
        }
        table[c] = (uint8_t)first;
        if (first != c) {
            continue;
        }
        for (unsigned k = 0; k < 64; k++) {
            words |= quant[k] > 255;
        }
        *wide |= words;
        put16(out, 0xffdb);
        put16(out, words ? 131 : 67);
        lethe_buf_put_u8(out, (uint8_t)((words ? 0x10 : 0) | c));
        for (unsigned k = 0; k < 64; k++) {
            unsigned value = quant[lethe_jpeg_natural[k]];

            if (words) {
                put16(out, value);
            } else {
                lethe_buf_put_u8(out, (uint8_t)value);
            }
        }
    }
}

static void put_sof(const struct lethe_jpeg *jpeg, const uint8_t *ids, const uint8_t table[4], bool wide,
                    struct lethe_buf *out)
{
    put16(out, wide ? 0xffc1 : 0xffc0);
    put16(out, 8 + 3 * jpeg->components);
    lethe_buf_put_u8(out, 8);
    put16(out, jpeg->height);
    put16(out, jpeg->width);
    lethe_buf_put_u8(out, (uint8_t)jpeg->components);
    for (unsigned c = 0; c < jpeg->components; c++) {
        lethe_buf_put_u8(out, ids[c]);
        lethe_buf_put_u8(out, (uint8_t)(jpeg->component[c].h << 4 | jpeg->component[c].v));
        lethe_buf_put_u8(out, table[c]);
    }
}

/* Components first to first + count - 1 in one scan. */
static enum lethe_err put_scan(struct jpeg_state *state, const struct lethe_jpeg *jpeg, const uint8_t *ids,
                               unsigned first, unsigned count, struct lethe_buf *out)
{
    const struct jpeg_scan plain = {0};

    put16(out, 0xffda);
    put16(out, 6 + 2 * count);
    lethe_buf_put_u8(out, (uint8_t)count);
    state->count = count;
    for (unsigned i = 0; i < count; i++) {
        unsigned c = first + i, second = jpeg->components >= 3 && (c == 1 || c == 2);

        state->component[i] = c;
        state->dc_table[i] = state->ac_table[i] = second;
        lethe_buf_put_u8(out, ids[c]);
        lethe_buf_put_u8(out, (uint8_t)(second << 4 | second));
    }
    lethe_buf_put(out, (const uint8_t[3]){0, 63, 0}, 3);
    state->ss = 0;
    state->se = 63;
    return lethe_jpeg_scan_encode(state, jpeg, &plain, SIZE_MAX / 2, NULL, out);
}

enum lethe_err lethe_jpeg_compose(const struct lethe_jpeg *jpeg, const uint8_t *ids, const uint8_t *segments,
                                size_t segments_len, struct lethe_buf *out)
{
    static const uint8_t plain_ids[4] = {1, 2, 3, 4};
    struct jpeg_state *state = calloc(1, sizeof *state); /* its tables are large */
    unsigned in_mcu = 0, tables = jpeg->components >= 3 ? 4 : 2;
    uint8_t table[4];
    bool wide;
    enum lethe_err err = LETHE_OK;

    if (!state) {
        return LETHE_ERR_NOMEM;
    }
    ids = ids ? ids : plain_ids;
    lethe_jpeg_state_init(state);
    lethe_jpeg_huff_standard(state->dc, state->ac);
    put16(out, 0xffd8);
    lethe_buf_put(out, segments, segments_len);
    put_dqt(jpeg, table, &wide, out);
    put_sof(jpeg, ids, table, wide, out);
    for (unsigned i = 0; i < tables; i++) {
        size_t len;
        const uint8_t *bytes = lethe_jpeg_huff_standard_bytes(i, &len);

        lethe_buf_put(out, bytes, len);
    }
    for (unsigned c = 0; c < jpeg->components; c++) {
        in_mcu += jpeg->component[c].h * jpeg->component[c].v;
    }
    if (jpeg->components == 1 || in_mcu <= MCU_BLOCKS) {
        err = put_scan(state, jpeg, ids, 0, jpeg->components, out);
    } else {
        for (unsigned c = 0; c < jpeg->components && !err; c++) {
            err = put_scan(state, jpeg, ids, c, 1, out);
        }
    }
    put16(out, 0xffd9);
    free(state);
    return err ? err : lethe_buf_status(out);
}
