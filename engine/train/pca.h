/* SPDX-License-Identifier: MIT */
#ifndef LETHE_TRAIN_PCA_H
#define LETHE_TRAIN_PCA_H

#include "engine/train/net.h"

/*
 * Eigenvectors of the symmetric matrix (destroyed) by cyclic Jacobi rotations; vectors[i] belongs to
 * values[i], which fall.
 */
void eigen(double matrix[PIXELS][PIXELS], double values[PIXELS], double vectors[PIXELS][PIXELS]);

/*
 * Sets the linear paths of p to the principal components of blocks, taken in RGB, so that errors count as
 * they will be measured. second_moment is that of YCbCr blocks around 128.
 */
enum lethe_err pca_start(double second_moment[PIXELS][PIXELS], struct params *p) LETHE_MUST_CHECK;

#endif
