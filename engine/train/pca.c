/* SPDX-License-Identifier: MIT */
#include "engine/train/pca.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double to_rgb[3][3] = {{1, 0, 1.402}, {1, -0.344136, -0.714136}, {1, 1.772, 0}};
static const double to_ycc[3][3] = {
    {0.299, 0.587, 0.114}, {-0.168736, -0.331264, 0.5}, {0.5, -0.418688, -0.081312}};

/* One rotation that brings matrix[i][j] to zero (G. H. Golub and C. F. Van Loan, "Matrix Computations", 8.5).
 */
static void rotate(double matrix[PIXELS][PIXELS], double vectors[PIXELS][PIXELS], size_t i, size_t j)
{
    double theta = (matrix[j][j] - matrix[i][i]) / (2 * matrix[i][j]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;

    for (size_t k = 0; k < PIXELS; k++) {
        double a = matrix[i][k], b = matrix[j][k];

        matrix[i][k] = c * a - s * b;
        matrix[j][k] = s * a + c * b;
    }
    for (size_t k = 0; k < PIXELS; k++) {
        double a = matrix[k][i], b = matrix[k][j];

        matrix[k][i] = c * a - s * b;
        matrix[k][j] = s * a + c * b;
    }
    for (size_t k = 0; k < PIXELS; k++) {
        double a = vectors[i][k], b = vectors[j][k];

        vectors[i][k] = c * a - s * b;
        vectors[j][k] = s * a + c * b;
    }
}

void eigen(double matrix[PIXELS][PIXELS], double values[PIXELS], double vectors[PIXELS][PIXELS])
{
    double trace = 0;

    memset(vectors, 0, PIXELS * sizeof vectors[0]);
    for (size_t i = 0; i < PIXELS; i++) {
        vectors[i][i] = 1;
        trace += fabs(matrix[i][i]);
    }
    for (int sweep = 0; sweep < 12; sweep++) {
        for (size_t i = 0; i + 1 < PIXELS; i++) {
            for (size_t j = i + 1; j < PIXELS; j++) {
                if (fabs(matrix[i][j]) > 1e-12 * trace) {
                    rotate(matrix, vectors, i, j);
                }
            }
        }
    }
    for (size_t i = 0; i < PIXELS; i++) {
        values[i] = matrix[i][i];
    }
    for (size_t i = 0; i < PIXELS; i++) {
        size_t best = i;

        for (size_t j = i + 1; j < PIXELS; j++) {
            best = values[j] > values[best] ? j : best;
        }
        if (best != i) {
            double value = values[i], row[PIXELS];

            values[i] = values[best];
            values[best] = value;
            memcpy(row, vectors[i], sizeof row);
            memcpy(vectors[i], vectors[best], sizeof row);
            memcpy(vectors[best], row, sizeof row);
        }
    }
}

enum lethe_err pca_start(double second_moment[PIXELS][PIXELS], struct params *p)
{
    double(*matrix)[PIXELS] = malloc(2 * sizeof(double[PIXELS][PIXELS]));
    double(*vectors)[PIXELS] = matrix ? matrix + PIXELS : NULL;
    double values[PIXELS];

    if (!matrix) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t a = 0; a < PIXELS; a++) {
        for (size_t b = 0; b < PIXELS; b++) {
            double sum = 0;

            for (size_t i = 0; i < 3; i++) {
                for (size_t j = 0; j < 3; j++) {
                    sum += to_rgb[a / 64][i] * to_rgb[b / 64][j] *
                           second_moment[i * 64 + a % 64][j * 64 + b % 64];
                }
            }
            matrix[a][b] = sum;
        }
    }
    eigen(matrix, values, vectors);
    for (size_t k = 0; k < LATENTS; k++) {
        for (size_t i = 0; i < PIXELS; i++) {
            double in = 0, out = 0;

            for (size_t c = 0; c < 3; c++) {
                in += vectors[k][c * 64 + i % 64] * to_rgb[c][i / 64];
                out += vectors[k][c * 64 + i % 64] * to_ycc[i / 64][c];
            }
            p->enc_lin[i][k] = (float)in;
            p->dec_lin[k][i] = (float)out;
        }
    }
    free(matrix);
    return LETHE_OK;
}
