/* SPDX-License-Identifier: MIT */
/* From a pair's integers back to the trainer's floating point: export_pair's inverse, but for what rounding
 * took. */
#ifndef LETHE_TRAIN_IMPORT_H
#define LETHE_TRAIN_IMPORT_H

#include "engine/train/net.h"
#include "lethe/weights.h"

/* Overwrites p. weights have passed lethe_weights_check. */
void import_pair(const struct lethe_weights *weights, struct params *p);

#endif
