/* SPDX-License-Identifier: MIT */
/* Between the trainer's floating point and the integers of a pair. */
#ifndef LETHE_TRAIN_EXPORT_H
#define LETHE_TRAIN_EXPORT_H

#include "engine/train/net.h"
#include "lethe/bytes.h"
#include "lethe/model.h"

/* The step of a column's integer weights: its largest magnitude over 63. */
float column_step(const float *column, size_t rows, size_t stride);

/* The rate that a strength stands for. */
unsigned strength_rate(unsigned strength);

/* Appends the pair's file. */
enum lethe_err export_pair(const struct params *p, struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
