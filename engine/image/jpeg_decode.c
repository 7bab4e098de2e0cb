/* SPDX-License-Identifier: MIT */
/*
 * Entropy-coded scans to coefficients (T.81 annexes F and G), with notes on whatever the encoder of
 * jpeg_encode.c would not do by itself. A scan that breaks off (bad code, marker or end of file inside a
 * block, missing restart marker) is cut before the block in question; the caller keeps what follows as plain
 * bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "jpeg_private.h"

/* Bits ahead, left-aligned in acc: count of them, the last fake of which are zeros past the end of the data.
 */
struct bits {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t acc;
    int count;
    int fake;
};

/* What a block's decoding tells beside its coefficients. */
struct outcome {
    uint32_t eob;        /* length of the EOB run that began in this block, 0 none */
    uint32_t correction; /* correction bits that belong to the EOB run at hand */
    bool bare;           /* the EOB was the first symbol of the block */
    bool odd_tail;
    struct jpeg_tail tail;
};

enum { ALL_MODES = (1 << JPEG_EOB_MODES) - 1, LIBJPEG = 1 << JPEG_EOB_LIBJPEG, LONG = 1 << JPEG_EOB_LONG };
enum { SINGLE = 1 << JPEG_EOB_SINGLE };

/* The EOB run at hand or just ended; index: runs begun so far; bad: the modes whose rule does not give it. */
struct tracker {
    bool any;
    uint32_t index;
    uint32_t length;
    uint32_t done;
    uint32_t waiting; /* correction bits */
    unsigned bad;
};

struct noted_run {
    struct jpeg_run run;
    unsigned bad;
};

struct list {
    void *items;
    size_t count;
    size_t room;
};

struct decode {
    const struct jpeg_state *state;
    struct lethe_jpeg *jpeg;
    struct jpeg_scan *scan;
    struct bits bits;
    int last_dc[4];
    uint32_t eob_left;
    struct tracker run;
    size_t bad_runs[JPEG_EOB_MODES];
    bool pad_seen[2]; /* a pad with a 0, with a 1 */
    uint64_t marked;  /* blocks done at the last restart marker, 0 none */
    struct list pads, tails, runs, marks;
    bool failed; /* out of memory */
};

static void push(struct decode *d, struct list *list, size_t size, const void *item)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 16, bytes;
        void *items = lethe_mul_size(room, size, &bytes) ? realloc(list->items, bytes) : NULL;

        if (!items) {
            d->failed = true;
            return;
        }
        list->items = items;
        list->room = room;
    }
    memcpy((uint8_t *)list->items + list->count * size, item, size);
    list->count++;
}

static inline void refill(struct bits *b)
{
    if (b->end - b->at >= 8) {
        uint64_t word;

        memcpy(&word, b->at, 8);
        /* no byte is 0xff: none of the complement is zero */
        if (((~word - 0x0101010101010101u) & word & 0x8080808080808080u) == 0) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            word = __builtin_bswap64(word);
#endif
            b->acc |= word >> b->count;
            b->at += (63 - b->count) >> 3;
            b->count |= 56;
            return;
        }
    }
    while (b->count <= 56) {
        uint64_t byte = 0;

        if (b->at == b->end || (*b->at == 0xff && (b->end - b->at < 2 || b->at[1] != 0))) {
            b->fake += 8;
        } else {
            byte = *b->at;
            b->at += byte == 0xff ? 2 : 1;
        }
        b->acc = (b->acc & ~(UINT64_MAX >> b->count)) | byte << (56 - b->count);
        b->count += 8;
    }
}

static inline void need(struct bits *b)
{
    if (b->count < 32) {
        refill(b);
    }
}

static inline uint32_t take(struct bits *b, unsigned n) /* 1 to 16 bits */
{
    uint32_t value = (uint32_t)(b->acc >> (64 - n));

    b->acc <<= n;
    b->count -= (int)n;
    return value;
}

/* A symbol whose code is not in the lookup table, of one that has two codes for some: -1 for the second. */
static int doubled_symbol(struct bits *b, const struct jpeg_huff *huff)
{
    for (int length = 1; length <= 16; length++) {
        int32_t code = (int32_t)(b->acc >> (64 - length));

        if (code <= huff->maxcode[length]) {
            uint8_t found = huff->symbols[code + huff->offset[length]];

            if (huff->size[found] != length || huff->code[found] != code) {
                return -1;
            }
            b->acc <<= length;
            b->count -= length;
            return found;
        }
    }
    return -1;
}

/* A symbol, or -1; leaves at least 16 bits in place. */
static inline int symbol(struct bits *b, const struct jpeg_huff *huff)
{
    uint32_t entry;

    need(b);
    entry = huff->lookup[b->acc >> (64 - JPEG_LOOKUP)];
    if (entry) {
        b->acc <<= entry >> 8;
        b->count -= (int)(entry >> 8);
        return (int)(entry & 255);
    }
    if (huff->doubled) {
        return doubled_symbol(b, huff);
    }
    for (int length = JPEG_LOOKUP + 1; length <= 16; length++) {
        int32_t code = (int32_t)(b->acc >> (64 - length));

        if (code <= huff->maxcode[length]) {
            b->acc <<= length;
            b->count -= length;
            return huff->symbols[code + huff->offset[length]];
        }
    }
    return -1;
}

static inline int extend(uint32_t value, unsigned size)
{
    return value >> (size - 1) ? (int)value : (int)value - (1 << size) + 1;
}

static inline bool overrun(const struct bits *b)
{
    return b->count < b->fake;
}

/* The difference of DC and its sum with the last; false when it makes no sense. */
static inline bool read_dc(struct bits *b, const struct jpeg_huff *huff, int *last, int al)
{
    int size = symbol(b, huff);
    int value;

    if (size < 0 || size > 15) {
        return false;
    }
    value = *last + (size ? extend(take(b, (unsigned)size), (unsigned)size) : 0);
    if (value * (1 << al) > INT16_MAX || value * (1 << al) < INT16_MIN) {
        return false;
    }
    *last = value;
    return true;
}

static bool block_sequential(struct bits *b, const struct jpeg_huff *dc, const struct jpeg_huff *ac,
                             int *last, int16_t *coefs, struct outcome *out)
{
    unsigned k = 1, zrl = 0;

    if (!read_dc(b, dc, last, 0)) {
        return false;
    }
    coefs[0] = (int16_t)*last;
    while (k < 64) {
        int rs = symbol(b, ac);
        unsigned size = (unsigned)rs & 15;

        if (rs < 0) {
            return false;
        }
        if (size) {
            uint32_t bits = take(b, size);

            k += (unsigned)rs >> 4;
            if (k > 63) { /* past the block: readers drop it */
                out->odd_tail = true;
                out->tail.end = JPEG_END_ODD;
                out->tail.symbol = (uint8_t)rs;
                out->tail.extra = (uint16_t)bits;
                break;
            }
            coefs[lethe_jpeg_natural[k++]] = (int16_t)extend(bits, size);
            zrl = 0;
        } else if (rs == 0xf0) {
            k += 16;
            zrl++;
            out->odd_tail = out->odd_tail || k > 63;
        } else {
            out->tail.end = JPEG_END_EOB;
            if (rs) {
                out->odd_tail = true;
                out->tail.end = JPEG_END_ODD;
                out->tail.symbol = (uint8_t)rs;
            }
            out->odd_tail = out->odd_tail || zrl;
            break;
        }
    }
    out->tail.zrl = (uint8_t)zrl;
    return !overrun(b);
}

static bool block_ac_first(struct bits *b, const struct jpeg_state *state, int16_t *coefs,
                           struct outcome *out)
{
    const struct jpeg_huff *ac = &state->ac[state->ac_table[0]];
    unsigned k = state->ss, zrl = 0;

    while (k <= state->se) {
        int rs = symbol(b, ac);
        unsigned run = (unsigned)rs >> 4, size = (unsigned)rs & 15;

        if (rs < 0) {
            return false;
        }
        if (size) {
            int value = extend(take(b, size), size);

            k += run;
            if (k > state->se || value * (1 << state->al) > INT16_MAX ||
                value * (1 << state->al) < -INT16_MAX) {
                return false;
            }
            coefs[lethe_jpeg_natural[k++]] = (int16_t)(value * (1 << state->al));
            zrl = 0;
        } else if (run == 15) {
            k += 16;
            zrl++;
            out->odd_tail = k > state->se;
        } else {
            out->eob = (1u << run) + (run ? take(b, run) : 0);
            out->bare = k == state->ss;
            out->odd_tail = zrl > 0;
            out->tail.end = JPEG_END_EOB;
            break;
        }
    }
    out->tail.zrl = (uint8_t)zrl;
    return !overrun(b);
}

/* One more bit for a coefficient that is not zero. */
static inline bool correct(struct bits *b, int16_t *coef, int bit)
{
    need(b);
    if (take(b, 1)) {
        int value = *coef + (*coef > 0 ? bit : -bit);

        if (value > INT16_MAX || value < -INT16_MAX) {
            return false;
        }
        *coef = (int16_t)value;
    }
    return true;
}

/* block is a copy: the caller keeps the original in case that this fails. in_run: an EOB run covers the
 * block. */
static bool block_ac_refine(struct bits *b, const struct jpeg_state *state, bool in_run, int16_t *block,
                            struct outcome *out)
{
    const struct jpeg_huff *ac = &state->ac[state->ac_table[0]];
    unsigned k = state->ss, zrl = 0;
    int bit = 1 << state->al;

    while (!in_run && k <= state->se) {
        int rs = symbol(b, ac);
        unsigned run = (unsigned)rs >> 4, size = (unsigned)rs & 15;
        int value = 0;
        bool found = false;

        if (rs < 0 || size > 1) {
            return false;
        }
        if (size) {
            value = take(b, 1) ? bit : -bit;
        } else if (run < 15) {
            out->eob = (1u << run) + (run ? take(b, run) : 0);
            out->bare = k == state->ss;
            out->odd_tail = zrl > 0;
            out->tail.end = JPEG_END_EOB;
            in_run = true;
            break;
        }
        for (; k <= state->se && !found; k++) {
            int16_t *coef = &block[lethe_jpeg_natural[k]];

            if (*coef) {
                if (!correct(b, coef, bit)) {
                    return false;
                }
            } else if (run-- == 0) {
                *coef = (int16_t)value;
                found = true;
            }
        }
        if (size) {
            if (!found) {
                return false;
            }
            zrl = 0;
            out->odd_tail = false;
        } else {
            zrl++;
            out->odd_tail = k > state->se;
        }
    }
    if (in_run) {
        for (; k <= state->se; k++) {
            int16_t *coef = &block[lethe_jpeg_natural[k]];

            if (*coef) {
                if (!correct(b, coef, bit)) {
                    return false;
                }
                out->correction++;
            }
        }
    }
    out->tail.zrl = (uint8_t)zrl;
    return !overrun(b);
}

static void close_run(struct decode *d)
{
    struct tracker *run = &d->run;

    if (!run->any) {
        return;
    }
    if (run->done < run->length) {
        run->bad = ALL_MODES;
    }
    if (run->bad) {
        struct noted_run noted = {{run->index - 1, run->length}, run->bad};

        for (unsigned mode = 0; mode < JPEG_EOB_MODES; mode++) {
            d->bad_runs[mode] += run->bad >> mode & 1;
        }
        if (run->bad & (LIBJPEG | LONG)) {
            push(d, &d->runs, sizeof noted, &noted);
        }
    }
    run->any = false;
}

/* Keeps account of the EOB runs as a block was decoded. */
static void track(struct decode *d, const struct outcome *out)
{
    struct tracker *run = &d->run;
    bool last;

    if (d->eob_left == 0 && !out->eob) {
        close_run(d);
        return;
    }
    if (out->eob) {
        if (run->any && out->bare) { /* the run before could have gone on */
            bool full = run->length == JPEG_EOB_MAX;

            run->bad |= full || run->waiting > JPEG_EOB_BITS ? 0 : LIBJPEG;
            run->bad |= full ? 0 : LONG;
        }
        close_run(d);
        run->any = true;
        run->length = out->eob;
        run->done = 0;
        run->waiting = 0;
        run->bad = out->eob > 1 ? SINGLE : 0;
        d->eob_left = out->eob;
    }
    run->done++;
    d->eob_left--;
    run->waiting += out->correction;
    last = d->eob_left == 0;
    if (!last && run->waiting > JPEG_EOB_BITS) {
        run->bad |= LIBJPEG;
    }
    if (out->eob) {
        run->index++;
    }
}

static unsigned real_bits(const struct bits *b)
{
    return (unsigned)(b->count - b->fake);
}

/* Gives unread whole bytes back. Every 0xff of the data is followed by a 0, so the way back is clear. */
static const uint8_t *unread(const struct bits *b)
{
    const uint8_t *at = b->at;

    for (unsigned i = real_bits(b) / 8; i > 0; i--) {
        at -= at[-1] == 0 && at[-2] == 0xff ? 2 : 1;
    }
    return at;
}

static void note_pad(struct decode *d)
{
    unsigned n = real_bits(&d->bits) & 7;
    uint8_t value = n ? (uint8_t)(d->bits.acc >> (64 - n)) : 0;

    d->pad_seen[0] = d->pad_seen[0] || value != (1u << n) - 1;
    d->pad_seen[1] = d->pad_seen[1] || value != 0;
    push(d, &d->pads, 1, &value);
}

static void start_bits(struct bits *b, const uint8_t *at)
{
    *b = (struct bits){.at = at, .end = b->end};
}

/* A restart marker before the MCU: false when it is missing. */
static bool restart(struct decode *d, uint32_t index)
{
    const uint8_t *at = unread(&d->bits);

    if (d->bits.end - at < 2 || at[0] != 0xff || (at[1] & 0xf8) != 0xd0) {
        return false;
    }
    note_pad(d);
    close_run(d);
    d->eob_left = 0;
    if ((at[1] & 7u) != (index & 7)) {
        struct jpeg_mark mark = {index, at[1] & 7};

        push(d, &d->marks, sizeof mark, &mark);
    }
    memset(d->last_dc, 0, sizeof d->last_dc);
    start_bits(&d->bits, at + 2);
    return true;
}

static bool block(struct decode *d, unsigned slot, int16_t *coefs, struct outcome *out)
{
    const struct jpeg_state *state = d->state;
    struct bits b = d->bits; /* written back when the block is good */
    bool good = true;

    if (!state->progressive) {
        int last = d->last_dc[slot];

        good = block_sequential(&b, &state->dc[state->dc_table[slot]], &state->ac[state->ac_table[slot]],
                                &last, coefs, out);
        d->last_dc[slot] = last;
        if (!good) {
            memset(coefs, 0, 64 * sizeof *coefs);
        }
    } else if (state->ss == 0 && state->ah == 0) {
        int last = d->last_dc[slot];

        good = read_dc(&b, &state->dc[state->dc_table[slot]], &last, (int)state->al) && !overrun(&b);
        if (good) {
            d->last_dc[slot] = last;
            coefs[0] = (int16_t)(last * (1 << state->al));
        }
    } else if (state->ss == 0) {
        need(&b);
        if (take(&b, 1) && b.count >= b.fake) {
            coefs[0] = (int16_t)(coefs[0] | 1 << state->al);
        }
        good = !overrun(&b);
    } else if (state->ah == 0) {
        if (d->eob_left == 0) {
            good = block_ac_first(&b, state, coefs, out);
            for (unsigned k = state->ss; !good && k <= state->se; k++) {
                coefs[lethe_jpeg_natural[k]] = 0;
            }
        }
    } else {
        int16_t copy[64];

        memcpy(copy, coefs, sizeof copy);
        good = block_ac_refine(&b, state, d->eob_left > 0, copy, out);
        if (good) {
            memcpy(coefs, copy, sizeof copy);
        }
    }
    if (good) {
        d->bits = b;
    }
    return good;
}

/* Decodes all blocks, or up to the one where the scan breaks off; tells how many. */
static uint64_t blocks(struct decode *d, struct jpeg_walk *walk)
{
    bool ac_scan = d->state->progressive && d->state->ss > 0;
    uint32_t until_restart = walk->interval, restarts = 0;
    uint64_t done = 0;

    for (uint32_t row = 0; row < walk->mcus_h; row++) {
        for (uint32_t column = 0; column < walk->mcus_w; column++) {
            if (walk->interval && until_restart-- == 0) {
                until_restart = walk->interval - 1;
                if (!d->scan->no_restarts) {
                    if (restart(d, restarts++)) {
                        d->marked = done;
                    } else if (restarts > 1) {
                        return done;
                    } else {
                        d->scan->no_restarts = true;
                    }
                }
            }
            for (unsigned i = 0; i < walk->in_mcu; i++) {
                unsigned slot = walk->slot[i];
                struct lethe_jpeg_component *component = &d->jpeg->component[d->state->component[slot]];
                unsigned h = walk->in_mcu == 1 ? 1 : component->h, v = walk->in_mcu == 1 ? 1 : component->v;
                size_t y = (size_t)row * v + walk->dy[i], x = (size_t)column * h + walk->dx[i];
                struct outcome out = {0};

                if (d->failed ||
                    !block(d, slot, component->coefs + (y * component->blocks_w + x) * 64, &out)) {
                    return done;
                }
                if (ac_scan) {
                    track(d, &out);
                }
                if (out.odd_tail) {
                    out.tail.block = (uint32_t)done;
                    push(d, &d->tails, sizeof out.tail, &out.tail);
                }
                done++;
            }
        }
    }
    return done;
}

/* Moves the lists into scan, with the EOB mode and the pad mode that need the fewest notes. */
static enum lethe_err settle(struct decode *d)
{
    struct jpeg_scan *scan = d->scan;
    const struct noted_run *noted = d->runs.items;

    if (d->bad_runs[JPEG_EOB_LIBJPEG] == 0) {
        scan->eob_mode = JPEG_EOB_LIBJPEG;
    } else if (d->bad_runs[JPEG_EOB_SINGLE] == 0) {
        scan->eob_mode = JPEG_EOB_SINGLE;
    } else {
        scan->eob_mode =
            d->bad_runs[JPEG_EOB_LONG] < d->bad_runs[JPEG_EOB_LIBJPEG] ? JPEG_EOB_LONG : JPEG_EOB_LIBJPEG;
    }
    if (d->bad_runs[scan->eob_mode]) {
        scan->run = malloc(d->bad_runs[scan->eob_mode] * sizeof *scan->run);
        if (!scan->run) {
            return LETHE_ERR_NOMEM;
        }
        for (size_t i = 0; i < d->runs.count; i++) {
            if (noted[i].bad >> scan->eob_mode & 1) {
                scan->run[scan->runs++] = noted[i].run;
            }
        }
    }
    scan->pad_mode = !d->pad_seen[0] ? JPEG_PAD_ONES : !d->pad_seen[1] ? JPEG_PAD_ZEROS : JPEG_PAD_LIST;
    if (scan->pad_mode == JPEG_PAD_LIST) {
        scan->pad = d->pads.items;
        scan->pads = d->pads.count;
        d->pads.items = NULL;
    }
    scan->tail = d->tails.items;
    scan->tails = d->tails.count;
    scan->mark = d->marks.items;
    scan->marks = d->marks.count;
    d->tails.items = NULL;
    d->marks.items = NULL;
    return LETHE_OK;
}

enum lethe_err lethe_jpeg_scan_decode(const struct jpeg_state *state, const uint8_t *bytes, size_t len,
                                      size_t *at, struct lethe_jpeg *jpeg, struct jpeg_scan *scan)
{
    struct decode d = {.state = state, .jpeg = jpeg, .scan = scan};
    struct jpeg_walk walk;
    uint64_t done;
    enum lethe_err err;

    *scan = (struct jpeg_scan){0};
    lethe_jpeg_walk_init(&walk, state, jpeg);
    d.bits.end = bytes + len;
    start_bits(&d.bits, bytes + *at);
    done = blocks(&d, &walk);
    close_run(&d);
    if (done < walk.blocks) {
        scan->cut = true;
        scan->blocks = (uint32_t)done;
        scan->cut_marked = done > 0 && d.marked == done;
        scan->cut_bits = real_bits(&d.bits) & 7;
        scan->cut_value = scan->cut_bits ? (uint8_t)(d.bits.acc >> (64 - scan->cut_bits)) : 0;
    } else {
        scan->blocks = (uint32_t)walk.blocks;
        note_pad(&d);
    }
    *at = (size_t)(unread(&d.bits) - bytes);
    err = d.failed ? LETHE_ERR_NOMEM : settle(&d);
    free(d.pads.items);
    free(d.tails.items);
    free(d.runs.items);
    free(d.marks.items);
    if (err) {
        lethe_jpeg_scan_release(scan);
    }
    return err;
}
