/* SPDX-License-Identifier: MIT */
/*
 * Coefficients to entropy-coded scans, the inverse of jpeg_decode.c: what libjpeg's encoder would write
 * (zeros at a block's end as one EOB, EOB runs as long as the mode allows, correction bits kept back with
 * them), but for the blocks, runs, pads and markers that the scan's notes name.
 */
#include <stdlib.h>
#include <string.h>

#include "jpeg_private.h"

#define BLOCK_BYTES 1024 /* more than a block can take: 64 * (16 + 16) bits, stuffed, and pending bits */

struct encode {
    const struct jpeg_state *state;
    const struct lethe_jpeg *jpeg;
    const struct jpeg_scan *scan;
    struct lethe_buf *out;
    size_t max_len;
    uint64_t acc;
    unsigned count; /* bits in acc, below 32 between calls */
    int last_dc[4];
    size_t next_tail, next_run, next_mark, next_pad;
    uint32_t eob;             /* blocks in the run that is being gathered */
    uint32_t run_index;       /* runs begun */
    uint32_t run_length;      /* forced length of that run, 0 none */
    struct lethe_buf waiting; /* its correction bits, one a byte */
    bool bad;
    enum lethe_err feed_err;
};

static inline void put_byte(struct lethe_buf *out, uint8_t byte)
{
    out->data[out->len++] = byte; /* room was made for the whole block */
    if (byte == 0xff) {
        out->data[out->len++] = 0;
    }
}

static inline void put(struct encode *e, uint32_t bits, unsigned n) /* at most 32 */
{
    e->acc = e->acc << n | bits;
    e->count += n;
    if (e->count >= 32) {
        uint32_t word = (uint32_t)(e->acc >> (e->count - 32));

        e->count -= 32;
        if (((~word - 0x01010101u) & word & 0x80808080u) == 0) {
            lethe_set_u32be(e->out->data + e->out->len, word);
            e->out->len += 4;
        } else {
            put_byte(e->out, (uint8_t)(word >> 24));
            put_byte(e->out, (uint8_t)(word >> 16));
            put_byte(e->out, (uint8_t)(word >> 8));
            put_byte(e->out, (uint8_t)word);
        }
    }
}

/* Bits up to a whole byte are in place; writes what is held. */
static void flush_bytes(struct encode *e)
{
    while (e->count >= 8) {
        e->count -= 8;
        put_byte(e->out, (uint8_t)(e->acc >> e->count));
    }
}

static bool make_room(struct encode *e)
{
    if (e->out->len > e->max_len ||
        (e->out->cap - e->out->len < BLOCK_BYTES && lethe_buf_reserve(e->out, BLOCK_BYTES))) {
        e->bad = true;
    }
    return !e->bad;
}

static inline void put_symbol(struct encode *e, const struct jpeg_huff *huff, unsigned symbol, uint32_t bits,
                              unsigned n)
{
    unsigned size = huff->size[symbol];

    if (size == 0 || n > 15) {
        e->bad = true;
        return;
    }
    put(e, (uint32_t)huff->code[symbol] << n | bits, size + n);
}

static inline unsigned bit_length(unsigned value)
{
    return value ? 32 - (unsigned)__builtin_clz(value) : 0;
}

static inline void put_dc(struct encode *e, unsigned slot, int value)
{
    int diff = value - e->last_dc[slot];
    unsigned size = bit_length((unsigned)abs(diff));
    uint32_t bits = (uint32_t)(diff < 0 ? diff - 1 : diff) & ((1u << size) - 1);

    e->last_dc[slot] = value;
    put_symbol(e, &e->state->dc[e->state->dc_table[slot]], size, bits, size);
}

/* The run of EOBs that was gathered, then the correction bits of its blocks. */
static void flush_eob(struct encode *e)
{
    uint32_t length = e->run_length ? e->run_length : e->eob;
    unsigned size;

    if (e->eob == 0 || !make_room(e)) {
        return;
    }
    size = bit_length(length) - 1;
    put_symbol(e, &e->state->ac[e->state->ac_table[0]], size << 4, length & ((1u << size) - 1), size);
    for (size_t i = 0; i < e->waiting.len; i++) {
        if (i % 1024 == 0 && !make_room(e)) {
            break;
        }
        put(e, e->waiting.data[i], 1);
    }
    lethe_buf_reset(&e->waiting);
    e->eob = 0;
}

/* The block at hand joins the EOB run, with its correction bits. */
static void join_eob(struct encode *e, const uint8_t *bits, size_t n)
{
    uint32_t most = e->scan->eob_mode == JPEG_EOB_SINGLE ? 1 : JPEG_EOB_MAX;

    if (e->eob == 0) {
        e->run_length = 0;
        if (e->next_run < e->scan->runs && e->scan->run[e->next_run].index == e->run_index) {
            e->run_length = e->scan->run[e->next_run++].length;
        }
        e->run_index++;
    }
    e->eob++;
    lethe_buf_put(&e->waiting, bits, n);
    if (e->run_length) {
        if (e->eob == e->run_length) {
            flush_eob(e);
        }
    } else if (e->eob == most || (e->scan->eob_mode == JPEG_EOB_LIBJPEG && e->waiting.len > JPEG_EOB_BITS)) {
        flush_eob(e);
    }
}

/* AC coefficients ss..se of a block as runs and values; tells the position after the last. */
static inline unsigned put_ac(struct encode *e, const struct jpeg_huff *ac, const int16_t *coefs, unsigned ss,
                              unsigned se, unsigned al)
{
    unsigned run = 0, after = ss;

    for (unsigned k = ss; k <= se; k++) {
        int value = coefs[lethe_jpeg_natural[k]];
        unsigned magnitude = (unsigned)abs(value) >> al, size;

        if (magnitude == 0) {
            run++;
            continue;
        }
        if (e->eob) {
            flush_eob(e);
        }
        for (; run > 15; run -= 16) {
            put_symbol(e, ac, 0xf0, 0, 0);
        }
        size = bit_length(magnitude);
        if (size > 15) {
            e->bad = true;
            return se + 1;
        }
        put_symbol(e, ac, run << 4 | size, value < 0 ? ~magnitude & ((1u << size) - 1) : magnitude, size);
        run = 0;
        after = k + 1;
    }
    return after;
}

static void put_sequential(struct encode *e, unsigned slot, const int16_t *coefs,
                           const struct jpeg_tail *tail)
{
    const struct jpeg_huff *ac = &e->state->ac[e->state->ac_table[slot]];
    unsigned after;

    put_dc(e, slot, coefs[0]);
    after = put_ac(e, ac, coefs, 1, 63, 0);
    if (!tail) {
        if (after < 64) {
            put_symbol(e, ac, 0, 0, 0);
        }
        return;
    }
    for (unsigned i = 0; i < tail->zrl; i++) {
        put_symbol(e, ac, 0xf0, 0, 0);
    }
    if (tail->end == JPEG_END_EOB) {
        put_symbol(e, ac, 0, 0, 0);
    } else if (tail->end == JPEG_END_ODD) {
        unsigned size = tail->symbol & 15;

        put_symbol(e, ac, tail->symbol, tail->extra & ((1u << size) - 1), size);
    }
}

static void put_ac_first(struct encode *e, const int16_t *coefs, const struct jpeg_tail *tail)
{
    const struct jpeg_state *state = e->state;
    const struct jpeg_huff *ac = &state->ac[state->ac_table[0]];
    unsigned after = put_ac(e, ac, coefs, state->ss, state->se, state->al);

    if (tail) {
        for (unsigned i = 0; i < tail->zrl; i++) {
            flush_eob(e);
            put_symbol(e, ac, 0xf0, 0, 0);
        }
        if (tail->end != JPEG_END_EOB) {
            return;
        }
    } else if (after > state->se) {
        return;
    }
    join_eob(e, NULL, 0);
}

static void put_ac_refine(struct encode *e, const int16_t *coefs, const struct jpeg_tail *tail)
{
    const struct jpeg_state *state = e->state;
    const struct jpeg_huff *ac = &state->ac[state->ac_table[0]];
    uint8_t bits[64];
    unsigned magnitude[64], after = state->ss, k = state->ss, zrl = tail ? tail->zrl : 0;
    size_t n = 0;

    for (unsigned i = state->ss; i <= state->se; i++) {
        magnitude[i] = (unsigned)abs(coefs[lethe_jpeg_natural[i]]) >> state->al;
        if (magnitude[i] == 1) {
            after = i + 1;
        }
    }
    while (k < after || (zrl && k <= state->se)) { /* a symbol, and the coefficients up to where it leads */
        unsigned run = 0, symbol = 0xf0;
        bool negative = false;

        if (k >= after) {
            zrl--;
        }
        n = 0;
        for (; k <= state->se; k++) {
            if (magnitude[k] > 1) {
                bits[n++] = magnitude[k] & 1;
            } else if (magnitude[k] == 1) {
                symbol = run << 4 | 1;
                negative = coefs[lethe_jpeg_natural[k]] < 0;
                k++;
                break;
            } else if (run++ == 15) {
                k++;
                break;
            }
        }
        flush_eob(e);
        put_symbol(e, ac, symbol, symbol & 1 ? !negative : 0, symbol & 1);
        for (size_t i = 0; i < n; i++) {
            put(e, bits[i], 1);
        }
    }
    if (tail ? tail->end == JPEG_END_EOB : k <= state->se) {
        for (n = 0; k <= state->se; k++) {
            if (magnitude[k] > 1) {
                bits[n++] = magnitude[k] & 1;
            }
        }
        join_eob(e, bits, n);
    }
}

static void put_block(struct encode *e, unsigned slot, const int16_t *coefs, const struct jpeg_tail *tail)
{
    const struct jpeg_state *state = e->state;

    if (!state->progressive) {
        put_sequential(e, slot, coefs, tail);
    } else if (state->ss == 0 && state->ah == 0) {
        put_dc(e, slot, coefs[0] >> state->al);
    } else if (state->ss == 0) {
        put(e, (uint32_t)(coefs[0] >> state->al) & 1, 1);
    } else if (state->ah == 0) {
        put_ac_first(e, coefs, tail);
    } else {
        put_ac_refine(e, coefs, tail);
    }
}

static void align(struct encode *e)
{
    unsigned n = (8 - e->count % 8) % 8;
    uint32_t pad = e->scan->pad_mode == JPEG_PAD_ONES ? (1u << n) - 1 : 0;

    if (e->scan->pad_mode == JPEG_PAD_LIST) {
        if (e->next_pad == e->scan->pads) {
            e->bad = true;
            return;
        }
        pad = e->scan->pad[e->next_pad++];
        if (pad >> n) {
            e->bad = true;
            return;
        }
    }
    put(e, pad, n);
    flush_bytes(e);
}

static void restart(struct encode *e, uint32_t index)
{
    unsigned number = index & 7;

    flush_eob(e);
    if (!make_room(e)) {
        return;
    }
    align(e);
    if (e->next_mark < e->scan->marks && e->scan->mark[e->next_mark].index == index) {
        number = e->scan->mark[e->next_mark++].number;
    }
    e->out->data[e->out->len++] = 0xff;
    e->out->data[e->out->len++] = (uint8_t)(0xd0 + number);
    memset(e->last_dc, 0, sizeof e->last_dc);
}

static void blocks(struct encode *e, const struct jpeg_walk *walk, const struct lethe_jpeg_feed *feed,
                   uint64_t count)
{
    uint32_t until_restart = walk->interval, restarts = 0;
    uint64_t done = 0;

    for (uint32_t row = 0; row < walk->mcus_h; row++) {
        if (feed && done < count) { /* the rows of a scan of one component are its own block rows */
            unsigned v = walk->in_mcu == 1 ? e->jpeg->component[e->state->component[0]].v : 1;

            e->feed_err = feed->need(feed->context, row / v);
            if (e->feed_err) {
                return;
            }
        }
        for (uint32_t column = 0; column < walk->mcus_w; column++) {
            if (done == count &&
                !e->scan->cut_marked) { /* a cut that falls on a restart: before the marker */
                return;
            }
            if (walk->interval && until_restart-- == 0) {
                until_restart = walk->interval - 1;
                if (!e->scan->no_restarts) {
                    restart(e, restarts++);
                }
            }
            for (unsigned i = 0; i < walk->in_mcu; i++) {
                unsigned slot = walk->slot[i];
                const struct lethe_jpeg_component *component = &e->jpeg->component[e->state->component[slot]];
                unsigned h = walk->in_mcu == 1 ? 1 : component->h, v = walk->in_mcu == 1 ? 1 : component->v;
                size_t y = (size_t)row * v + walk->dy[i], x = (size_t)column * h + walk->dx[i];
                const struct jpeg_tail *tail = NULL;

                if (done == count || !make_room(e)) {
                    return;
                }
                if (e->next_tail < e->scan->tails && e->scan->tail[e->next_tail].block == done) {
                    tail = &e->scan->tail[e->next_tail++];
                }
                put_block(e, slot, component->coefs + (y * component->blocks_w + x) * 64, tail);
                done++;
            }
        }
    }
}

enum lethe_err lethe_jpeg_scan_encode(const struct jpeg_state *state, const struct lethe_jpeg *jpeg,
                                      const struct jpeg_scan *scan, size_t max_len,
                                      const struct lethe_jpeg_feed *feed, struct lethe_buf *out)
{
    struct encode e = {.state = state, .jpeg = jpeg, .scan = scan, .out = out, .max_len = max_len};
    struct jpeg_walk walk;

    lethe_jpeg_walk_init(&walk, state, jpeg);
    if (scan->cut && scan->blocks > walk.blocks) {
        return LETHE_ERR_FORMAT;
    }
    blocks(&e, &walk, feed, scan->cut ? scan->blocks : walk.blocks);
    if (e.feed_err) {
        lethe_buf_release(&e.waiting);
        return e.feed_err;
    }
    flush_eob(&e);
    if (make_room(&e)) {
        if (scan->cut) {
            if ((e.count + scan->cut_bits) % 8 != 0) {
                e.bad = true;
            }
            put(&e, scan->cut_value, scan->cut_bits);
            flush_bytes(&e);
        } else {
            align(&e);
        }
    }
    if (e.waiting.failed || out->failed) {
        lethe_buf_release(&e.waiting);
        return LETHE_ERR_NOMEM;
    }
    lethe_buf_release(&e.waiting);
    return e.bad ? LETHE_ERR_FORMAT : LETHE_OK;
}
