/* SPDX-License-Identifier: MIT */
/*
 * Picture files drawn from the bytes of a fuzzer: every choice takes one of them, and when they are used up the rest
 * comes from a generator that they seed. So short inputs are whole files, and a changed byte is another choice.
 */
#ifndef TESTS_FUZZ_DRAW_H
#define TESTS_FUZZ_DRAW_H

#include <stdbool.h>

#include "lethe/bytes.h"

struct draw {
    const uint8_t *at;
    size_t left;
    uint64_t state;
};

void draw_init(struct draw *draw, const uint8_t *bytes, size_t len);
/* In [0, n), n from 1 to 65536. */
uint32_t draw_below(struct draw *draw, uint32_t n);
/* True about once in n times; a byte of 0 of the input means false. */
bool draw_rarely(struct draw *draw, uint32_t n);
/* Bytes that take nothing from the input. */
uint32_t draw_noise(struct draw *draw);
void draw_bytes(struct draw *draw, struct lethe_buf *out, size_t len);

/* A picture of some style: flat, slopes, noise, few values, runs. */
struct scene {
    unsigned style, noise;
    uint32_t salt;
};
void scene_draw(struct draw *draw, struct scene *scene);
/* 16 bits at a place of channel c. */
uint32_t scene_at(const struct scene *scene, uint32_t x, uint32_t y, unsigned c);

struct drawn {
    struct lethe_buf file;
    struct lethe_buf icc;     /* empty: none */
    unsigned orientation;     /* 1 when nothing is said */
    bool learned;             /* the codec must take it */
    bool lossy;               /* and there is the Decrypter's picture in its container */
    char text[200];           /* what it is, for people */
};

bool draw_png(struct draw *draw, struct drawn *out) LETHE_MUST_CHECK;
bool draw_jpeg(struct draw *draw, struct drawn *out) LETHE_MUST_CHECK;
/* A TIFF of EXIF that tells the orientation, and may have a maker's note. */
void draw_tiff(struct draw *draw, unsigned orientation, struct lethe_buf *out);
/* Flips, cuts and repeats bytes of the file behind the first start ones. */
void draw_damage(struct draw *draw, size_t start, struct lethe_buf *file);

#endif
