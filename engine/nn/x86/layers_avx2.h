/* SPDX-License-Identifier: MIT */
/* What the tables of newer processors take over from that of AVX2. */
#ifndef LETHE_NN_LAYERS_AVX2_H
#define LETHE_NN_LAYERS_AVX2_H

#include "engine/nn/layers.h"

void lethe_nn_requant_avx2(const struct lethe_nn_requant *job);
void lethe_nn_finish_avx2(const struct lethe_nn_finish *job);

#endif
