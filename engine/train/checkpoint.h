/* SPDX-License-Identifier: MIT */
/* A training under way as bytes: what a resumed one needs to come to the same pair. */
#ifndef LETHE_TRAIN_CHECKPOINT_H
#define LETHE_TRAIN_CHECKPOINT_H

#include "lethe/train.h"

/* Floats of the trainer that go on from step to step. */
struct checkpoint_part {
    float *values;
    size_t count;
};

/* Appends the file: what the training is, the parts, a hash. */
enum lethe_err checkpoint_write(const struct lethe_train_about *about, const struct checkpoint_part *parts,
                                size_t count, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Fills the parts from a file that lethe_train_about_read takes. LETHE_ERR_FORMAT when their sizes differ. */
enum lethe_err checkpoint_read(const void *bytes, size_t len, const struct checkpoint_part *parts,
                               size_t count) LETHE_MUST_CHECK;

#endif
