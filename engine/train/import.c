/* SPDX-License-Identifier: MIT */
/*
 * Scales that the integers leave open (a column's weights against its gain, latents against the quantiser's)
 * are set to what a training from the start begins with, so that Adam's steps mean the same. Curves over the
 * rates are fitted to the integers of all rates by least squares.
 */
#include "engine/train/import.h"

#include <math.h>
#include <string.h>

#define REQUANT (1.0 / (1 << LETHE_REQUANT_BITS))

/* c[0] + c[1] t + c[2] t^2 through the values of all rates; t are the rates' places, which are symmetric
 * about 0. */
static void fit_curve(const double values[LETHE_RATES], float *c, size_t stride)
{
    double t2 = 0, t4 = 0, v = 0, tv = 0, t2v = 0, n = LETHE_RATES, square;

    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        double t = (double)rate_place(rate);

        t2 += t * t;
        t4 += t * t * t * t;
        v += values[rate];
        tv += t * values[rate];
        t2v += t * t * values[rate];
    }
    square = (t2v - t2 * v / n) / (t4 - t2 * t2 / n);
    c[0] = (float)((v - square * t2) / n);
    c[stride] = (float)(tv / t2);
    c[2 * stride] = (float)square;
}

static double safe_log(double value)
{
    return log(value > 1e-12 ? value : 1e-12);
}

/* Puts a column's integers, scaled to the spread that training starts from; returns the size of an integer
 * step. */
static double take_column(const int8_t *in, size_t rows, float *column, size_t stride)
{
    double squares = 0, step;

    for (size_t i = 0; i < rows; i++) {
        squares += (double)in[i] * in[i];
    }
    step = squares > 0 ? sqrt(2.0 / squares) : 0;
    for (size_t i = 0; i < rows; i++) {
        column[i * stride] = (float)(step * in[i]);
    }
    return step;
}

static int32_t sum_of(const int8_t *in, size_t rows)
{
    int32_t sum = 0;

    for (size_t i = 0; i < rows; i++) {
        sum += in[i];
    }
    return sum;
}

static double bias_of(const struct lethe_requant *requant, size_t c, int32_t offset)
{
    return ((double)requant->bias[c] + offset) * requant->mult[c] * REQUANT / (double)HIDDEN_STEP;
}

static void take_encrypter(const struct lethe_weights *w, struct params *p)
{
    double unit = 0;

    for (size_t k = 0; k < LATENTS; k++) {
        double squares = 0;

        for (size_t i = 0; i < PIXELS; i++) {
            squares += (double)w->enc_linear[k][i] * w->enc_linear[k][i];
        }
        unit += sqrt(squares) / LATENTS;
    }
    unit = unit > 1 ? unit : 1;
    for (size_t k = 0; k < LATENTS; k++) {
        double step = ldexp(w->enc_mult[k], -w->enc_shift) * (double)(HIDDEN_STEP / ENC_OUT) / unit;
        double gains[LETHE_RATES];

        for (size_t i = 0; i < PIXELS; i++) {
            p->enc_lin[i][k] = (float)(w->enc_linear[k][i] / unit);
        }
        p->enc_bias[k] = (float)(w->enc_bias[k] / unit);
        for (size_t i = 0; i < HIDDEN; i++) {
            p->e3[i][k] = (float)(step * w->enc_conv3[k][i]);
        }
        for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
            gains[rate] = safe_log(w->enc_scale[rate][k] * unit * ldexp(1, -40) * (double)rate_step(rate));
        }
        fit_curve(gains, &p->enc_gain[0][k], LATENTS);
    }
    for (size_t c = 0; c < HIDDEN; c++) {
        double step1 = take_column(w->enc_conv1[c], PIXELS, &p->e1[0][c], WIDE);
        double step2 = take_column(w->enc_conv2[c][0], TAPS2, &p->e2[0][c], WIDE);

        p->e1_gain[c] = step1 > 0 ? (float)log(w->enc_requant1.mult[c] * REQUANT / (0.5 * step1)) : 0;
        p->e1_bias[c] = (float)bias_of(&w->enc_requant1, c, 64 * sum_of(w->enc_conv1[c], PIXELS));
        p->e2_gain[c] = step2 > 0 ? (float)log(w->enc_requant2.mult[c] * REQUANT / step2) : 0;
        p->e2_bias[c] = (float)bias_of(&w->enc_requant2, c, 0);
    }
}

static void take_decrypter_linear(const struct lethe_weights *w, struct params *p)
{
    double unit = 0;

    for (size_t k = 0; k < LATENTS; k++) {
        double squares = 0;

        for (size_t i = 0; i < PIXELS; i++) {
            squares += (double)w->dec_linear[i][k] * w->dec_linear[i][k];
        }
        unit += sqrt(squares) / LATENTS;
    }
    unit = unit > 1 ? unit : 1;
    for (size_t k = 0; k < LATENTS; k++) {
        double gains[LETHE_RATES];

        for (size_t i = 0; i < PIXELS; i++) {
            p->dec_lin[k][i] = (float)(w->dec_linear[i][k] / unit);
        }
        for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
            gains[rate] = safe_log(ldexp(w->dec_gain[rate][k], -16 - w->dec_bits[rate]) * unit /
                                   (double)rate_step(rate));
        }
        fit_curve(gains, &p->dec_gain[0][k], LATENTS);
    }
    for (size_t i = 0; i < PIXELS; i++) {
        p->dec_bias[i] = (float)w->dec_bias[i] / 65536;
    }
}

static void take_hidden(const struct lethe_weights *w, struct params *p)
{
    for (size_t c = 0; c < HIDDEN; c++) {
        double gains1[LETHE_RATES], gains2[LETHE_RATES], biases1[LETHE_RATES], biases2[LETHE_RATES], step1,
            step2;
        int8_t column[TAPS1];

        for (size_t tap = 0; tap < 9; tap++) {
            memcpy(column + tap * INPUTS, w->dec_conv1[c][tap], INPUTS);
        }
        step1 = take_column(column, TAPS1, &p->d1[0][c], WIDE);
        step2 = take_column(w->dec_conv2[c][0], TAPS2, &p->d2[0][c], WIDE);
        for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
            const struct lethe_requant *one = &w->dec_requant1[rate], *two = &w->dec_requant2[rate];

            gains1[rate] =
                step1 > 0 ? log(4 * one->mult[c] * REQUANT / (step1 * (double)rate_step(rate))) : 0;
            gains2[rate] = step2 > 0 ? log(two->mult[c] * REQUANT / step2) : 0;
            biases1[rate] = bias_of(one, c, 64 * sum_of(column, TAPS1));
            biases2[rate] = bias_of(two, c, 0);
        }
        fit_curve(gains1, &p->d1_gain[0][c], WIDE);
        fit_curve(gains2, &p->d2_gain[0][c], WIDE);
        fit_curve(biases1, &p->d1_bias[0][c], WIDE);
        fit_curve(biases2, &p->d2_bias[0][c], WIDE);
    }
}

/* The last layer's factors are a gain of the rate times a step of the value: their logarithms, taken apart by
 * means. */
static void take_decrypter_out(const struct lethe_weights *w, struct params *p)
{
    double gains[LETHE_RATES] = {0}, mean = 0;

    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        size_t count = 0;

        for (size_t i = 0; i < PIXELS; i++) {
            if (w->dec_mult[rate][i] > 0) {
                gains[rate] += log(ldexp(w->dec_mult[rate][i], -w->dec_shift[rate] - w->dec_bits[rate]));
                count++;
            }
        }
        gains[rate] /= count ? (double)count : 1;
        mean += gains[rate] / LETHE_RATES;
    }
    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        gains[rate] -= mean;
    }
    fit_curve(gains, &p->d3_gain[0][0], 16);
    for (size_t i = 0; i < PIXELS; i++) {
        double step = 0;
        size_t count = 0;

        for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
            if (w->dec_mult[rate][i] > 0) {
                step +=
                    log(ldexp(w->dec_mult[rate][i], -w->dec_shift[rate] - w->dec_bits[rate])) - gains[rate];
                count++;
            }
        }
        step = count ? exp(step / (double)count) * (double)(HIDDEN_STEP / DEC_OUT) : 0;
        for (size_t j = 0; j < HIDDEN; j++) {
            p->d3[j][i] = (float)(step * w->dec_conv3[i][j]);
        }
    }
}

void import_pair(const struct lethe_weights *weights, struct params *p)
{
    memset(p, 0, sizeof *p);
    take_encrypter(weights, p);
    take_decrypter_linear(weights, p);
    take_hidden(weights, p);
    take_decrypter_out(weights, p);
}
