/* SPDX-License-Identifier: MIT */
/*
 * Every formula here is the float network of net.c rewritten for integer inputs: pictures v in [0, 255],
 * hidden values in sixteenths, latents as coded. What is computed in double precision here ends as integers
 * in the pair's file.
 */
#include "engine/train/export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/weights.h"

/* Chosen on photographs: about 1, 0.5, 0.15 and 0.05 bits per pixel. */
static const uint8_t strength_rates[LETHE_STRENGTHS] = {2, 5, 10, 15};
static const uint16_t strength_noise[LETHE_STRENGTHS] = {0, 0, 0, 64};

unsigned strength_rate(unsigned strength)
{
    return strength_rates[strength];
}

float column_step(const float *column, size_t rows, size_t stride)
{
    float most = 0;

    for (size_t i = 0; i < rows; i++) {
        float a = fabsf(column[i * stride]);

        most = a > most ? a : most;
    }
    return most / LETHE_WEIGHT_MAX;
}

static double limit(double value, double most)
{
    return value < -most ? -most : value > most ? most : value;
}

static double curve(const float *c, size_t stride, unsigned rate)
{
    double t = (double)rate_place(rate);

    return (double)c[0] + t * ((double)c[stride] + t * (double)c[2 * stride]);
}

/* The integers of one column of a matrix [in][out]; returns the sum of them. */
static int32_t put_column(const float *column, size_t rows, size_t stride, int8_t *out)
{
    float step = column_step(column, rows, stride);
    int32_t sum = 0;

    for (size_t i = 0; i < rows; i++) {
        out[i] = step > 0 ? (int8_t)rintf(column[i * stride] / step) : 0;
        sum += out[i];
    }
    return sum;
}

/*
 * hidden sixteenths = accumulator * factor + 16 * bias, where the accumulator still holds offset too much. A
 * channel without weights keeps its bias under an arbitrary multiplier.
 */
static void put_requant(struct lethe_requant *requant, size_t channel, double factor, double bias,
                        int32_t offset)
{
    double mult = rint(factor * (1 << LETHE_REQUANT_BITS));

    mult = factor <= 0 ? 1 << 14 : mult < 1 ? 1 : mult > 1 << 30 ? 1 << 30 : mult;
    requant->mult[channel] = (int32_t)mult;
    requant->bias[channel] =
        (int32_t)limit(rint(16 * bias * (1 << LETHE_REQUANT_BITS) / mult) - offset, LETHE_REQUANT_BIAS);
}

/* Multipliers with the largest shift that keeps them all within bounds. */
static uint8_t put_mults(const double *factors, size_t count, int16_t *mults)
{
    double most = 0;
    int shift = LETHE_OUT_SHIFT_MAX;

    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(factors[i]));
    }
    while (shift > LETHE_OUT_SHIFT_MIN && most * ldexp(1, shift) > LETHE_OUT_MULT_MAX - 1) {
        shift--;
    }
    for (size_t i = 0; i < count; i++) {
        mults[i] = (int16_t)limit(rint(factors[i] * ldexp(1, shift)), LETHE_OUT_MULT_MAX);
    }
    return (uint8_t)shift;
}

static double largest(const float *values, size_t count)
{
    double most = 1e-9;

    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)values[i]));
    }
    return most;
}

static void put_encrypter(const struct params *p, struct lethe_weights *w)
{
    int bits = (int)floor(log2(32767 / largest(p->enc_lin[0], PIXELS * LATENTS)));
    double unit, factors[LATENTS];

    bits = bits < 8 ? 8 : bits > 18 ? 18 : bits;
    unit = ldexp(1, bits);
    for (size_t k = 0; k < LATENTS; k++) {
        for (size_t i = 0; i < PIXELS; i++) {
            w->enc_linear[k][i] = (int16_t)limit(rint((double)p->enc_lin[i][k] * unit), 32767);
        }
        w->enc_bias[k] = (int32_t)limit(rint((double)p->enc_bias[k] * unit), 1 << 28);
    }
    for (size_t c = 0; c < HIDDEN; c++) {
        double step = (double)column_step(&p->e1[0][c], PIXELS, WIDE);
        int32_t sum = put_column(&p->e1[0][c], PIXELS, WIDE, w->enc_conv1[c]);

        put_requant(&w->enc_requant1, c, 0.5 * step * exp((double)p->e1_gain[c]), (double)p->e1_bias[c],
                    64 * sum);
        step = (double)column_step(&p->e2[0][c], TAPS2, WIDE);
        put_column(&p->e2[0][c], TAPS2, WIDE, w->enc_conv2[c][0]);
        put_requant(&w->enc_requant2, c, step * exp((double)p->e2_gain[c]), (double)p->e2_bias[c], 0);
    }
    for (size_t k = 0; k < LATENTS; k++) {
        put_column(&p->e3[0][k], HIDDEN, LATENTS, w->enc_conv3[k]);
        factors[k] = (double)(ENC_OUT / HIDDEN_STEP * column_step(&p->e3[0][k], HIDDEN, LATENTS)) * unit;
    }
    w->enc_shift = put_mults(factors, LATENTS, w->enc_mult);
    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        for (size_t k = 0; k < LATENTS; k++) {
            double scale = exp(curve(&p->enc_gain[0][k], LATENTS, rate)) / (double)rate_step(rate);

            w->enc_scale[rate][k] = (uint32_t)limit(rint(scale * ldexp(256, 32 - bits)), 4294967295.0);
        }
    }
}

static void put_decrypter_linear(const struct params *p, struct lethe_weights *w)
{
    int bits = (int)floor(log2(32767 / largest(p->dec_lin[0], PIXELS * LATENTS)));

    for (size_t i = 0; i < PIXELS; i++) {
        for (size_t k = 0; k < LATENTS; k++) {
            w->dec_linear[i][k] = (int16_t)limit(rint(ldexp((double)p->dec_lin[k][i], bits)), 32767);
        }
        w->dec_bias[i] = (int32_t)limit(rint(65536 * (double)p->dec_bias[i]), 1 << 27);
    }
    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        double gains[LATENTS], most = 0;
        int fraction = 14;

        for (size_t k = 0; k < LATENTS; k++) {
            gains[k] = exp(curve(&p->dec_gain[0][k], LATENTS, rate)) * (double)rate_step(rate);
            most = fmax(most, gains[k] * largest(p->dec_lin[k], PIXELS));
        }
        while (fraction > 1 && ldexp(most, fraction) > LETHE_LINEAR_MAX - 2) {
            fraction--;
        }
        w->dec_bits[rate] = (uint8_t)fraction;
        for (size_t k = 0; k < LATENTS; k++) {
            w->dec_gain[rate][k] = (uint32_t)limit(rint(ldexp(gains[k], fraction - bits + 16)), 4294967295.0);
        }
    }
}

static void put_decrypter_conv(const struct params *p, struct lethe_weights *w)
{
    for (size_t c = 0; c < HIDDEN; c++) {
        double step1 = (double)column_step(&p->d1[0][c], TAPS1, WIDE);
        double step2 = (double)column_step(&p->d2[0][c], TAPS2, WIDE);
        int8_t column[TAPS1];
        int32_t sum = put_column(&p->d1[0][c], TAPS1, WIDE, column);

        for (size_t tap = 0; tap < 9; tap++) {
            memcpy(w->dec_conv1[c][tap], column + tap * INPUTS, INPUTS);
        }
        put_column(&p->d2[0][c], TAPS2, WIDE, w->dec_conv2[c][0]);
        for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
            double gain1 = exp(curve(&p->d1_gain[0][c], WIDE, rate)) * (double)rate_step(rate) / 64;
            double gain2 = exp(curve(&p->d2_gain[0][c], WIDE, rate));

            put_requant(&w->dec_requant1[rate], c, 16 * step1 * gain1, curve(&p->d1_bias[0][c], WIDE, rate),
                        64 * sum);
            put_requant(&w->dec_requant2[rate], c, step2 * gain2, curve(&p->d2_bias[0][c], WIDE, rate), 0);
        }
    }
    for (size_t i = 0; i < PIXELS; i++) {
        put_column(&p->d3[0][i], HIDDEN, PIXELS, w->dec_conv3[i]);
    }
    for (unsigned rate = 0; rate < LETHE_RATES; rate++) {
        double gain = exp(curve(&p->d3_gain[0][0], 16, rate)) * (double)(DEC_OUT / HIDDEN_STEP);
        double factors[PIXELS];

        for (size_t i = 0; i < PIXELS; i++) {
            factors[i] = ldexp(gain * (double)column_step(&p->d3[0][i], HIDDEN, PIXELS), w->dec_bits[rate]);
        }
        w->dec_shift[rate] = put_mults(factors, PIXELS, w->dec_mult[rate]);
    }
}

enum lethe_err export_pair(const struct params *p, struct lethe_buf *out)
{
    struct lethe_weights *w = calloc(1, sizeof *w);
    enum lethe_err err;

    if (!w) {
        return LETHE_ERR_NOMEM;
    }
    put_encrypter(p, w);
    put_decrypter_linear(p, w);
    put_decrypter_conv(p, w);
    memcpy(w->rate, strength_rates, sizeof w->rate);
    for (size_t i = 0; i < LETHE_STRENGTHS; i++) {
        w->dither[i] = (uint16_t)lrintf(256 * rate_dither(strength_rates[i]));
    }
    memcpy(w->noise, strength_noise, sizeof w->noise);
    err = lethe_weights_serialise(w, out);
    free(w);
    return err;
}
