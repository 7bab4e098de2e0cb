/* SPDX-License-Identifier: MIT */
/*
 * What the files of the JPEG recipe share. A JPEG is a row of marker segments with entropy-coded scans
 * between them (ITU-T T.81). The recipe keeps every byte that is not entropy-coded as it is, so that the
 * rebuilder learns tables and scan script by reading the same markers as the parser did, and for each scan
 * what its encoder did otherwise than the one described in jpeg_encode.c.
 */
#ifndef LETHE_JPEG_PRIVATE_H
#define LETHE_JPEG_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/image.h"

#define JPEG_LOOKUP 10   /* bits that the fast decoding table looks at */
#define JPEG_SCANS 400   /* scans of a file, at most */
#define JPEG_UNSEEN 0xff /* in struct jpeg_state.progress */

/* Zigzag index to natural order (T.81 figure 5). */
extern const uint8_t lethe_jpeg_natural[64];

/* A Huffman table, both ways. */
struct jpeg_huff {
    bool present;
    bool doubled;                      /* a symbol has several codes; all but the first are no codes to a decoder */
    uint16_t lookup[1 << JPEG_LOOKUP]; /* length << 8 | symbol; 0: longer than JPEG_LOOKUP bits, or no code */
    int32_t maxcode[17];               /* the largest code of each length, -1 when there is none */
    int32_t offset[17];                /* index into symbols of a code of that length, minus the code */
    uint8_t symbols[256];
    uint16_t code[256];
    uint8_t size[256]; /* 0: the symbol has no code */
};

/* counts[1..16] and symbols; LETHE_ERR_FORMAT when they are no prefix code. */
enum lethe_err lethe_jpeg_huff_build(struct jpeg_huff *huff, const uint8_t *counts, const uint8_t *symbols,
                                     unsigned total) LETHE_MUST_CHECK;
/* The tables of T.81 annex K.3, which some writers of motion JPEG take for granted. */
void lethe_jpeg_huff_standard(struct jpeg_huff dc[2], struct jpeg_huff ac[2]);
/* The four DHT segments of annex K.3 as most encoders write them, for priming; len bytes. */
const uint8_t *lethe_jpeg_huff_standard_bytes(unsigned table, size_t *len);

/* What the markers have said so far. */
struct jpeg_state {
    bool frame;
    bool progressive;
    bool jfif;
    bool adobe;
    uint8_t adobe_transform;
    uint32_t restart; /* MCUs between restart markers, 0 none */
    uint8_t id[4];
    uint8_t table[4]; /* quantisation table of each component */
    bool latched[4];  /* its values were taken, at the component's first scan */
    bool quant_set[4];
    uint16_t quant[4][64]; /* natural order */
    struct jpeg_huff dc[4];
    struct jpeg_huff ac[4];
    uint8_t progress[4][64]; /* the bit that each coefficient is known down to */
    /* the scan at hand */
    unsigned count;
    unsigned component[4];
    unsigned dc_table[4];
    unsigned ac_table[4];
    unsigned ss, se, ah, al;
};

enum jpeg_step { JPEG_STEP_SCAN, JPEG_STEP_END };

void lethe_jpeg_state_init(struct jpeg_state *state);
/*
 * Reads markers from *at on. JPEG_STEP_SCAN: a scan whose header is valid ends at *at. JPEG_STEP_END: what
 * follows *at is no further scan that can be decoded. The frame's geometry goes to jpeg (no coefficients).
 * Fails only when there is no frame to speak of: LETHE_ERR_UNSUPPORTED with *reason.
 */
enum lethe_err lethe_jpeg_next_scan(struct jpeg_state *state, const uint8_t *bytes, size_t len, size_t *at,
                                    struct lethe_jpeg *jpeg, enum jpeg_step *step,
                                    enum lethe_reason *reason) LETHE_MUST_CHECK;
/* Latches the quantisation tables of the scan's components. */
void lethe_jpeg_latch(struct jpeg_state *state, struct lethe_jpeg *jpeg);
/* The rules of libjpeg: JFIF, Adobe, component ids. */
enum lethe_jpeg_colour lethe_jpeg_colour_of(const struct jpeg_state *state, const struct lethe_jpeg *jpeg);
/* Total blocks, or 0 when the picture is beyond limits; file_len 0 when it is only to be restored. */
uint64_t lethe_jpeg_measure(const struct lethe_jpeg *jpeg, const struct lethe_image_limits *limits, size_t file_len);
/* Zeroed coefficients for the shape at hand. */
enum lethe_err lethe_jpeg_alloc(struct lethe_jpeg *jpeg) LETHE_MUST_CHECK;

/* How a block's AC coefficients ended, where the plain way is one end of block at once, or none after the
 * last. */
enum jpeg_end { JPEG_END_NONE, JPEG_END_EOB, JPEG_END_ODD };
struct jpeg_tail {
    uint32_t block; /* in coding order */
    uint8_t zrl;    /* runs of 16 zeros after the last non-zero coefficient, at most 4 */
    uint8_t end;
    uint8_t symbol; /* JPEG_END_ODD: it carries no coefficient */
    uint16_t extra; /* its value bits */
};

/* An EOB run that ended elsewhere than the mode says. */
struct jpeg_run {
    uint32_t index;
    uint32_t length;
};

struct jpeg_mark {
    uint32_t index;
    uint8_t number;
};

enum jpeg_eob_mode {
    JPEG_EOB_LIBJPEG = 0, /* up to 32767 blocks, cut when over 937 correction bits are waiting */
    JPEG_EOB_LONG = 1,    /* up to 32767 blocks */
    JPEG_EOB_SINGLE = 2,  /* every block on its own */
    JPEG_EOB_MODES = 3
};
#define JPEG_EOB_MAX 32767
#define JPEG_EOB_BITS 937

enum jpeg_pad_mode { JPEG_PAD_ONES = 0, JPEG_PAD_ZEROS = 1, JPEG_PAD_LIST = 2 };

/* What one scan's encoder did otherwise. Lists are in coding order; the arrays belong to the struct. */
struct jpeg_scan {
    uint32_t blocks;  /* blocks coded; fewer than the scan's own when it was cut */
    bool cut;         /* the scan ends after blocks, in the midst of a byte */
    bool cut_marked;  /* a restart marker after those blocks is still part of it */
    uint8_t cut_bits; /* bits of that byte that follow, below 8, and their value */
    uint8_t cut_value;
    bool no_restarts; /* the interval is defined but never used */
    uint8_t pad_mode;
    uint8_t eob_mode;
    size_t pads;
    uint8_t *pad;
    size_t tails;
    struct jpeg_tail *tail;
    size_t runs;
    struct jpeg_run *run;
    size_t marks;
    struct jpeg_mark *mark; /* restart markers with another number than index mod 8 */
};

void lethe_jpeg_scan_release(struct jpeg_scan *scan);
void lethe_jpeg_scan_put(const struct jpeg_scan *scan, struct lethe_buf *out);
enum lethe_err lethe_jpeg_scan_get(struct lethe_reader *reader, struct jpeg_scan *scan) LETHE_MUST_CHECK;

/* The order of blocks in a scan. */
struct jpeg_walk {
    unsigned in_mcu;                  /* blocks of an MCU, at most 64 */
    uint8_t slot[64], dx[64], dy[64]; /* index in the scan, offset of the block in its MCU */
    uint32_t mcus_w, mcus_h;
    uint64_t blocks;   /* in_mcu * mcus_w * mcus_h */
    uint32_t interval; /* MCUs, 0 never */
};
void lethe_jpeg_walk_init(struct jpeg_walk *walk, const struct jpeg_state *state,
                          const struct lethe_jpeg *jpeg);

/*
 * Decodes the scan that begins at *at into the coefficients; *at moves past what scan describes. A scan that
 * breaks off is not an error: scan->cut. LETHE_ERR_NOMEM.
 */
enum lethe_err lethe_jpeg_scan_decode(const struct jpeg_state *state, const uint8_t *bytes, size_t len,
                                      size_t *at, struct lethe_jpeg *jpeg,
                                      struct jpeg_scan *scan) LETHE_MUST_CHECK;
/* The inverse; appends at most until out holds max_len bytes. LETHE_ERR_FORMAT, LETHE_ERR_NOMEM, and what feed, which
 * may be NULL, fails with. */
enum lethe_err lethe_jpeg_scan_encode(const struct jpeg_state *state, const struct lethe_jpeg *jpeg,
                                      const struct jpeg_scan *scan, size_t max_len,
                                      const struct lethe_jpeg_feed *feed, struct lethe_buf *out) LETHE_MUST_CHECK;

/* A picture among other bytes (redraw.c). */
struct jpeg_found {
    size_t len;             /* of it, or of what there is of it */
    uint32_t width, height; /* 0: not known */
    bool whole;             /* its end was there */
    bool blank;             /* it is none of the picture itself (gain map, depth) */
};
/* bytes begin with SOI; up to the EOI that ends it. False when no marker segment follows. */
bool lethe_jpeg_find_end(const uint8_t *bytes, size_t len, struct jpeg_found *found);

/* Header bytes, compressed by context mixing (jpeg_pack.c). Unpack refuses more than max_len bytes. */
enum lethe_err lethe_jpeg_pack(const uint8_t *bytes, size_t len, struct lethe_buf *out) LETHE_MUST_CHECK;
enum lethe_err lethe_jpeg_unpack(struct lethe_reader *reader, size_t max_len,
                                 struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
