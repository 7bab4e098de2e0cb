/* SPDX-License-Identifier: MIT */
/*
 * Training of a model pair, in floating point, on the CPU. The same pictures in the same order with the same options
 * give the same bytes, whatever the number of threads. No I/O: the caller reads the files (in the order of their names)
 * and hands the pictures over one by one.
 */
#ifndef LETHE_TRAIN_H
#define LETHE_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/model.h"
#include "lethe/pool.h"
#include "lethe/weights.h"

struct lethe_trainer;

/* What the progress callback sees; the figures are means since its last call. */
struct lethe_train_progress {
    uint32_t step;       /* steps done */
    uint32_t steps;      /* of so many */
    const char *phase;   /* "joint", "quantised" or "decrypter"; static */
    double loss;         /* the training objective */
    double psnr[3];      /* dB over RGB of training crops at strengths 0, 1 and 2, without the clip to 8 bits */
    double bpp[3];       /* bits per pixel at these strengths, as the training's own entropy model estimates */
};

struct lethe_train_options {
    uint64_t seed;
    uint32_t steps;   /* 0: the default, which made the shipped pair; with init, a sixteenth of that */
    uint32_t report;  /* steps between two calls of progress; 0: never */
    bool synthetic;   /* mix in pictures that the trainer draws itself; without any added picture it must be true */
    /*
     * NULL, or the pair to go on from, borrowed until lethe_trainer_run ends: a shorter training in smaller steps, for a
     * pair of one's own photos.
     */
    const struct lethe_pair *init;
    /* May be NULL. Returning false stops: lethe_trainer_run then gives LETHE_ERR_CANCELLED. */
    bool (*progress)(void *context, const struct lethe_train_progress *progress);
    void *context;
};

/* options is copied. */
enum lethe_err lethe_trainer_new(const struct lethe_train_options *options, struct lethe_trainer **out)
    LETHE_MUST_CHECK;
void lethe_trainer_free(struct lethe_trainer *trainer);

/*
 * Adds one picture (alpha is ignored, 16 bits are cut to 8). halve brings it to half its size first, by means of
 * 2x2 samples: right for JPEG, whose block edges and ringing it removes. A picture that is then smaller than a training
 * crop (96x96) is left out, and *used (may be NULL) says so.
 */
enum lethe_err lethe_trainer_add(struct lethe_trainer *trainer, const struct lethe_raster *raster, bool halve,
                                 bool *used) LETHE_MUST_CHECK;

/* Trains and appends the pair's file to out. LETHE_ERR_ARG when there is nothing to train on. */
enum lethe_err lethe_trainer_run(struct lethe_trainer *trainer, struct lethe_pool *pool, struct lethe_buf *out)
    LETHE_MUST_CHECK;

/* What a training is: those that agree in all but step come to the same pair. */
struct lethe_train_about {
    uint64_t seed;
    uint32_t steps;
    uint32_t step; /* steps done */
    bool synthetic;
    struct lethe_id init; /* of the pair it went on from; zero for none */
    uint64_t pictures;    /* XXH3 of all that were added, in order */
};
/*
 * Appends the state of a training to out, for lethe_trainer_resume: within the progress callback, or after a run that it
 * ended. LETHE_ERR_ARG before there is any.
 */
enum lethe_err lethe_trainer_save(const struct lethe_trainer *trainer, struct lethe_buf *out) LETHE_MUST_CHECK;
/* What a saved training is. LETHE_ERR_FORMAT, _VERSION or _INTEGRITY for other bytes. */
enum lethe_err lethe_train_about_read(const void *bytes, size_t len, struct lethe_train_about *about) LETHE_MUST_CHECK;
/*
 * After all pictures and before lethe_trainer_run, which then goes on from there. LETHE_ERR_ARG when it was saved by a
 * training of other options or pictures.
 */
enum lethe_err lethe_trainer_resume(struct lethe_trainer *trainer, const void *bytes, size_t len) LETHE_MUST_CHECK;

/* A photo and the latents of its artifact, as somebody without the pair may know them. Borrowed. */
struct lethe_known {
    const struct lethe_latents *latents;
    const struct lethe_ycc *picture; /* of the same size */
};
/*
 * Fits a Decrypter to count known pairs, all of one rate, and appends it to out as a pair's file, whose Encrypter is of
 * no use. linear: the LETHE_LATENTS + 1 rows of an affine map from latents to the values of a block, to begin with (the
 * last row is the constant). The same bytes whatever the number of threads. LETHE_ERR_ARG when there is nothing known.
 */
enum lethe_err lethe_train_surrogate(const struct lethe_known *known, size_t count, const double (*linear)[LETHE_PIXELS],
                                     uint64_t seed, uint32_t steps, struct lethe_pool *pool,
                                     struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
