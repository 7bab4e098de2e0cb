/* SPDX-License-Identifier: MIT */
/* The order of blocks in a scan, and the notes on a scan as bytes. */
#include <stdlib.h>

#include "jpeg_private.h"

void lethe_jpeg_walk_init(struct jpeg_walk *walk, const struct jpeg_state *state,
                          const struct lethe_jpeg *jpeg)
{
    *walk = (struct jpeg_walk){.interval = state->restart};
    if (state->count == 1) { /* T.81 A.2.2: only the blocks that cover the picture */
        const struct lethe_jpeg_component *component = &jpeg->component[state->component[0]];

        walk->in_mcu = 1;
        walk->mcus_w = component->real_w;
        walk->mcus_h = component->real_h;
    } else {
        for (unsigned i = 0; i < state->count; i++) {
            const struct lethe_jpeg_component *component = &jpeg->component[state->component[i]];

            walk->mcus_w = component->blocks_w / component->h;
            walk->mcus_h = component->blocks_h / component->v;
            for (unsigned y = 0; y < component->v; y++) {
                for (unsigned x = 0; x < component->h; x++) {
                    walk->slot[walk->in_mcu] = (uint8_t)i;
                    walk->dx[walk->in_mcu] = (uint8_t)x;
                    walk->dy[walk->in_mcu] = (uint8_t)y;
                    walk->in_mcu++;
                }
            }
        }
    }
    walk->blocks = (uint64_t)walk->in_mcu * walk->mcus_w * walk->mcus_h;
}

void lethe_jpeg_scan_release(struct jpeg_scan *scan)
{
    free(scan->pad);
    free(scan->tail);
    free(scan->run);
    free(scan->mark);
    *scan = (struct jpeg_scan){0};
}

/*
 * flags (bit 0 cut, 1 no restarts, 2..3 pad mode, 4..5 EOB mode, 6 any list of deviations follows); when cut:
 * blocks, bits, value, of which bit 7 tells of the marker; pads; tails, runs, marks, each a count and entries
 * with their index as the difference to the last.
 */
void lethe_jpeg_scan_put(const struct jpeg_scan *scan, struct lethe_buf *out)
{
    bool lists = scan->tails || scan->runs || scan->marks;
    uint32_t last = 0;

    lethe_buf_put_u8(out, (uint8_t)(scan->cut | scan->no_restarts << 1 | scan->pad_mode << 2 |
                                    scan->eob_mode << 4 | lists << 6));
    if (scan->cut) {
        lethe_buf_put_varint(out, scan->blocks);
        lethe_buf_put_u8(out, scan->cut_bits);
        lethe_buf_put_u8(out, (uint8_t)(scan->cut_value | scan->cut_marked << 7));
    }
    if (scan->pad_mode == JPEG_PAD_LIST) {
        lethe_buf_put_block(out, scan->pad, scan->pads);
    }
    if (!lists) {
        return;
    }
    lethe_buf_put_varint(out, scan->tails);
    for (size_t i = 0; i < scan->tails; i++) {
        const struct jpeg_tail *tail = &scan->tail[i];

        lethe_buf_put_varint(out, tail->block - last);
        last = tail->block;
        lethe_buf_put_u8(out, (uint8_t)(tail->zrl << 2 | tail->end));
        if (tail->end == JPEG_END_ODD) {
            lethe_buf_put_u8(out, tail->symbol);
            lethe_buf_put_u16(out, tail->extra);
        }
    }
    lethe_buf_put_varint(out, scan->runs);
    last = 0;
    for (size_t i = 0; i < scan->runs; i++) {
        lethe_buf_put_varint(out, scan->run[i].index - last);
        lethe_buf_put_varint(out, scan->run[i].length);
        last = scan->run[i].index;
    }
    lethe_buf_put_varint(out, scan->marks);
    last = 0;
    for (size_t i = 0; i < scan->marks; i++) {
        lethe_buf_put_varint(out, scan->mark[i].index - last);
        lethe_buf_put_u8(out, scan->mark[i].number);
        last = scan->mark[i].index;
    }
}

/* A count of entries of at least two bytes, and room for them. */
static void *get_list(struct lethe_reader *reader, size_t size, size_t *count, enum lethe_err *err)
{
    uint64_t n = lethe_read_varint(reader);
    void *list;

    *count = 0;
    if (n > lethe_reader_left(reader) / 2) {
        reader->bad = true;
        return NULL;
    }
    if (n == 0) {
        return NULL;
    }
    list = calloc((size_t)n, size);
    if (!list) {
        *err = LETHE_ERR_NOMEM;
        return NULL;
    }
    *count = (size_t)n;
    return list;
}

static uint32_t get_index(struct lethe_reader *reader, uint32_t last)
{
    uint64_t step = lethe_read_varint(reader);

    if (step > UINT32_MAX - last) {
        reader->bad = true;
        return last;
    }
    return last + (uint32_t)step;
}

enum lethe_err lethe_jpeg_scan_get(struct lethe_reader *reader, struct jpeg_scan *scan)
{
    uint8_t flags = lethe_read_u8(reader);
    enum lethe_err err = LETHE_OK;
    uint32_t last = 0;

    *scan = (struct jpeg_scan){.cut = flags & 1,
                               .no_restarts = flags >> 1 & 1,
                               .pad_mode = flags >> 2 & 3,
                               .eob_mode = flags >> 4 & 3};
    if (flags >> 7 || scan->pad_mode > JPEG_PAD_LIST || scan->eob_mode >= JPEG_EOB_MODES) {
        return LETHE_ERR_FORMAT;
    }
    if (scan->cut) {
        scan->blocks = get_index(reader, 0);
        scan->cut_bits = lethe_read_u8(reader);
        scan->cut_value = lethe_read_u8(reader);
        scan->cut_marked = scan->cut_value >> 7;
        scan->cut_value &= 127;
        if (scan->cut_bits > 7 || scan->cut_value >> scan->cut_bits) {
            return LETHE_ERR_FORMAT;
        }
    }
    if (scan->pad_mode == JPEG_PAD_LIST) {
        size_t pads;
        const uint8_t *view = lethe_read_block(reader, &pads);

        scan->pad = malloc(pads + 1);
        if (!scan->pad) {
            return LETHE_ERR_NOMEM;
        }
        for (size_t i = 0; i < pads; i++) {
            scan->pad[i] = view[i];
        }
        scan->pads = pads;
    }
    if (flags >> 6 & 1) {
        scan->tail = get_list(reader, sizeof *scan->tail, &scan->tails, &err);
        for (size_t i = 0; i < scan->tails; i++) {
            struct jpeg_tail *tail = &scan->tail[i];
            uint8_t how;

            tail->block = last = get_index(reader, last);
            how = lethe_read_u8(reader);
            tail->zrl = how >> 2;
            tail->end = how & 3;
            if (tail->zrl > 4 || tail->end > JPEG_END_ODD) {
                reader->bad = true;
            }
            if (tail->end == JPEG_END_ODD) {
                tail->symbol = lethe_read_u8(reader);
                tail->extra = lethe_read_u16(reader);
            }
        }
        scan->run = get_list(reader, sizeof *scan->run, &scan->runs, &err);
        last = 0;
        for (size_t i = 0; i < scan->runs; i++) {
            scan->run[i].index = last = get_index(reader, last);
            scan->run[i].length = get_index(reader, 0);
            if (scan->run[i].length < 1 || scan->run[i].length > JPEG_EOB_MAX) {
                reader->bad = true;
            }
        }
        scan->mark = get_list(reader, sizeof *scan->mark, &scan->marks, &err);
        last = 0;
        for (size_t i = 0; i < scan->marks; i++) {
            scan->mark[i].index = last = get_index(reader, last);
            scan->mark[i].number = lethe_read_u8(reader);
            if (scan->mark[i].number > 7) {
                reader->bad = true;
            }
        }
    }
    return err ? err : lethe_reader_status(reader, false);
}
