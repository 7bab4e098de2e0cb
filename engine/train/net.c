/* SPDX-License-Identifier: MIT */
#include "engine/train/net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN_MAX (127.0f / HIDDEN_STEP)

/* Everything that the forward pass keeps for the backward one. Row strides of matrix operands are multiples
 * of 16. */
struct workspace {
    float x[CELLS][PIXELS];
    float half[CELLS][PIXELS];
    float a1[CELLS][WIDE], h1[CELLS][WIDE];
    float c2[CELLS][368];
    float a2[CELLS][WIDE], h2[CELLS][WIDE];
    float y[CELLS][LATENTS], y_conv[CELLS][LATENTS];
    float v[CELLS][LATENTS], z[CELLS][LATENTS], bit_slope[CELLS][LATENTS];
    float scaled[CELLS][LATENTS];
    float u[CELLS][80];
    float cu[CELLS][592];
    float b1[CELLS][WIDE], g1[CELLS][WIDE];
    float cg[CELLS][368];
    float b2[CELLS][WIDE], g2[CELLS][WIDE];
    float out[CELLS][PIXELS], conv[CELLS][PIXELS];
    float d_out[CELLS][PIXELS], d_conv[CELLS][PIXELS];
    float d_hidden[CELLS][WIDE], d_acc[CELLS][WIDE];
    float d_col[CELLS][592];
    float d_u[CELLS][80];
    float d_z[CELLS][LATENTS], d_y[CELLS][LATENTS], d_y_conv[CELLS][LATENTS];
};

float rate_step(unsigned rate)
{
    return 14.0f * exp2f(0.295f * (float)rate);
}

float rate_place(unsigned rate)
{
    return ((float)rate - 7.5f) / 7.5f;
}

float rate_dither(unsigned rate)
{
    return rate < 13 ? 0.5f : 1;
}

enum lethe_err workspace_new(struct workspace **out)
{
    *out = NULL;
    if (posix_memalign((void **)out, 64, sizeof **out)) {
        *out = NULL;
        return LETHE_ERR_NOMEM;
    }
    memset(*out, 0, sizeof **out);
    return LETHE_OK;
}

void workspace_free(struct workspace *space)
{
    free(space);
}

static void transpose(const float *in, size_t rows, size_t columns, size_t in_row, float *out, size_t out_row)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            out[j * out_row + i] = in[i * in_row + j];
        }
    }
}

void net_transpose(const struct params *p, struct transposed *out)
{
    memset(out, 0, sizeof *out);
    transpose(p->e2[0], TAPS2, WIDE, WIDE, out->e2[0], 368);
    transpose(p->e3[0], HIDDEN, LATENTS, LATENTS, out->e3[0], WIDE);
    transpose(p->dec_lin[0], LATENTS, PIXELS, PIXELS, out->dec_lin[0], LATENTS);
    transpose(p->d1[0], TAPS1, WIDE, WIDE, out->d1[0], 592);
    transpose(p->d2[0], TAPS2, WIDE, WIDE, out->d2[0], 368);
    transpose(p->d3[0], HIDDEN, PIXELS, PIXELS, out->d3[0], WIDE);
}

/* C = A B for all cells. */
static void product(lethe_gemm_fn gemm, const float *a, size_t a_row, size_t k, const float *b, size_t n,
                    float *c, size_t c_row, bool add)
{
    gemm(&(struct lethe_gemm){.m = CELLS,
                              .n = n,
                              .k = k,
                              .a = a,
                              .a_row = a_row,
                              .a_col = 1,
                              .b = b,
                              .b_row = n,
                              .c = c,
                              .c_row = c_row,
                              .add = add});
}

/* C = A^T B summed over the cells: the gradient of a matrix. */
static void product_t(lethe_gemm_fn gemm, const float *a, size_t a_row, size_t m, const float *b, size_t n,
                      float *c)
{
    gemm(&(struct lethe_gemm){.m = m,
                              .n = n,
                              .k = CELLS,
                              .a = a,
                              .a_row = 1,
                              .a_col = a_row,
                              .b = b,
                              .b_row = n,
                              .c = c,
                              .c_row = n});
}

/* The cell under tap (0..8) of the 3x3 window around cell; beyond the edge the nearest. */
static size_t neighbour(size_t cell, size_t tap)
{
    size_t y = cell / SIDE + tap / 3;
    size_t x = cell % SIDE + tap % 3;

    y = y == 0 ? 0 : y > SIDE ? SIDE - 1 : y - 1;
    x = x == 0 ? 0 : x > SIDE ? SIDE - 1 : x - 1;
    return y * SIDE + x;
}

static void gather(const float *in, size_t in_row, size_t channels, float *out, size_t out_row)
{
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t tap = 0; tap < 9; tap++) {
            memcpy(out + cell * out_row + tap * channels, in + neighbour(cell, tap) * in_row,
                   channels * sizeof *in);
        }
    }
}

static void scatter(const float *in, size_t in_row, size_t channels, float *out, size_t out_row)
{
    memset(out, 0, CELLS * out_row * sizeof *out);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t tap = 0; tap < 9; tap++) {
            const float *from = in + cell * in_row + tap * channels;
            float *to = out + neighbour(cell, tap) * out_row;

            for (size_t c = 0; c < channels; c++) {
                to[c] += from[c];
            }
        }
    }
}

/* h = clip(a * gain + bias). */
static void activate(float a[][WIDE], const float *gain, const float *bias, bool quantised, float h[][WIDE])
{
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t c = 0; c < WIDE; c++) {
            float value = a[cell][c] * gain[c] + bias[c];

            value = value < 0 ? 0 : value > HIDDEN_MAX ? HIDDEN_MAX : value;
            if (quantised) {
                value = (float)(int)(value * HIDDEN_STEP + 0.5f) * (1.0f / HIDDEN_STEP);
            }
            h[cell][c] = value;
        }
    }
}

/* The gradients of activate: d_a, and those of the log gain and the bias. */
static void activate_back(float a[][WIDE], const float *gain, const float *bias, float d_h[][WIDE],
                          float d_a[][WIDE], float *d_gain, float *d_bias)
{
    memset(d_gain, 0, WIDE * sizeof *d_gain);
    memset(d_bias, 0, WIDE * sizeof *d_bias);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t c = 0; c < WIDE; c++) {
            float value = a[cell][c] * gain[c] + bias[c];
            float d = value > 0 && value < HIDDEN_MAX ? d_h[cell][c] : 0;

            d_a[cell][c] = d * gain[c];
            d_gain[c] += d * a[cell][c] * gain[c];
            d_bias[c] += d;
        }
    }
}

static float curve(const float *c, size_t stride, float t)
{
    return c[0] + t * (c[stride] + t * c[2 * stride]);
}

static void curve_back(float d, float *c, size_t stride, float t)
{
    c[0] += d;
    c[stride] += d * t;
    c[2 * stride] += d * t * t;
}

static void wide_curves(float gain[3][WIDE], float bias[3][WIDE], float t, float scale, float *out_gain,
                        float *out_bias)
{
    for (size_t c = 0; c < WIDE; c++) {
        out_gain[c] = scale * expf(curve(&gain[0][c], WIDE, t));
        out_bias[c] = curve(&bias[0][c], WIDE, t);
    }
}

static void wide_curves_back(const float *d_gain, const float *d_bias, float t, float gain[3][WIDE],
                             float bias[3][WIDE])
{
    for (size_t c = 0; c < WIDE; c++) {
        curve_back(d_gain[c], &gain[0][c], WIDE, t);
        curve_back(d_bias[c], &bias[0][c], WIDE, t);
    }
}

/*
 * The stochastic quantiser: nothing below 0.6, stochastic rounding above. Its slope is that of the expected
 * output, smoothed over the jump: 0, then 1.5 between 0.3 and 0.9, then 1.
 */
static float quantise(float v, float dither, uint64_t *state)
{
    float u = 0.5f + dither * (mix_unit(state) - 0.5f);
    float z;

    if (v < 0.6f && v > -0.6f) {
        return 0;
    }
    z = floorf(v + u);
    return z < -127 ? -127 : z > 127 ? 127 : z;
}

static float quantise_slope(float v)
{
    float a = fabsf(v);

    return a < 0.3f ? 0 : a < 0.9f ? 1.5f : a > 127.0f ? 0.1f : 1;
}

static unsigned context_of(float z[][LATENTS], size_t cell, size_t k)
{
    float m = 0;

    if (cell % SIDE) {
        m += 2 * fabsf(z[cell - 1][k]);
    }
    if (cell >= SIDE) {
        m += 2 * fabsf(z[cell - SIDE][k]);
    }
    if (cell % SIDE && cell >= SIDE) {
        m += fabsf(z[cell - SIDE - 1][k]);
    }
    if (k) {
        m += fabsf(z[cell][k - 1]);
    }
    if (k > 1) {
        m += fabsf(z[cell][k - 2]);
    }
    return m < 1 ? 0 : m < 2 ? 1 : m < 3 ? 2 : m < 5 ? 3 : m < 8 ? 4 : m < 14 ? 5 : m < 28 ? 6 : 7;
}

/*
 * Bits of all latents under two-sided geometric distributions with the mean magnitude of each context. The
 * bits are linear in the magnitude; bit_slope keeps the slope. Latent 0 is seen as its difference from the
 * cell to the left.
 */
static double count_bits(struct workspace *s, const struct magnitudes *model, struct magnitudes *seen)
{
    float slope[LATENTS][CONTEXTS];
    float base[LATENTS][CONTEXTS];
    double bits = 0;

    memset(seen, 0, sizeof *seen);
    for (size_t k = 0; k < LATENTS; k++) {
        for (size_t c = 0; c < CONTEXTS; c++) {
            float m = (model->sum[k][c] + 0.02f) / (model->count[k][c] + 0.1f);
            float theta;

            m = m < 0.002f ? 0.002f : m;
            theta = (sqrtf(1 + m * m) - 1) / m;
            slope[k][c] = -log2f(theta);
            base[k][c] = -log2f((1 - theta) / (1 + theta));
        }
    }
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t k = 0; k < LATENTS; k++) {
            unsigned c = context_of(s->z, cell, k);
            float z = s->z[cell][k];
            float a;

            if (k == 0 && cell % SIDE) {
                z -= s->z[cell - 1][0];
            }
            a = fabsf(z);
            bits += (double)(base[k][c] + slope[k][c] * a);
            s->bit_slope[cell][k] = k == 0 ? 0 : s->v[cell][k] < 0 ? -slope[k][c] : slope[k][c];
            seen->sum[k][c] += a;
            seen->count[k][c] += 1;
        }
    }
    return bits;
}

static void load_pixels(struct workspace *s, const uint8_t *pixels)
{
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t i = 0; i < PIXELS; i++) {
            unsigned v = pixels[cell * PIXELS + i];

            s->x[cell][i] = (float)v - 128.0f;
            s->half[cell][i] = ((float)(v >> 1) - 64.0f) * (1.0f / 32.0f);
        }
    }
}

static void encrypt(struct workspace *s, lethe_gemm_fn gemm, const struct params *p,
                    const struct net_options *options, float *gain1, float *gain2)
{
    for (size_t c = 0; c < WIDE; c++) {
        gain1[c] = expf(p->e1_gain[c]);
        gain2[c] = expf(p->e2_gain[c]);
    }
    product(gemm, s->half[0], PIXELS, PIXELS, p->e1[0], WIDE, s->a1[0], WIDE, false);
    activate(s->a1, gain1, p->e1_bias, options->quantised, s->h1);
    gather(s->h1[0], WIDE, HIDDEN, s->c2[0], 368);
    product(gemm, s->c2[0], 368, TAPS2, p->e2[0], WIDE, s->a2[0], WIDE, false);
    activate(s->a2, gain2, p->e2_bias, options->quantised, s->h2);
    product(gemm, s->x[0], PIXELS, PIXELS, p->enc_lin[0], LATENTS, s->y[0], LATENTS, false);
    product(gemm, s->h2[0], WIDE, HIDDEN, p->e3[0], LATENTS, s->y_conv[0], LATENTS, false);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t k = 0; k < LATENTS; k++) {
            s->y[cell][k] += ENC_OUT * s->y_conv[cell][k] + p->enc_bias[k];
        }
    }
}

static void encrypt_back(struct workspace *s, lethe_gemm_fn gemm, const struct params *p,
                         const struct transposed *pt, const float *gain1, const float *gain2,
                         struct params *g)
{
    memset(g->enc_bias, 0, sizeof g->enc_bias);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t k = 0; k < LATENTS; k++) {
            g->enc_bias[k] += s->d_y[cell][k];
            s->d_y_conv[cell][k] = ENC_OUT * s->d_y[cell][k];
        }
    }
    product_t(gemm, s->x[0], PIXELS, PIXELS, s->d_y[0], LATENTS, g->enc_lin[0]);
    product_t(gemm, s->h2[0], WIDE, HIDDEN, s->d_y_conv[0], LATENTS, g->e3[0]);
    product(gemm, s->d_y_conv[0], LATENTS, LATENTS, pt->e3[0], WIDE, s->d_hidden[0], WIDE, false);
    activate_back(s->a2, gain2, p->e2_bias, s->d_hidden, s->d_acc, g->e2_gain, g->e2_bias);
    product_t(gemm, s->c2[0], 368, TAPS2, s->d_acc[0], WIDE, g->e2[0]);
    product(gemm, s->d_acc[0], WIDE, WIDE, pt->e2[0], 368, s->d_col[0], 592, false);
    scatter(s->d_col[0], 592, HIDDEN, s->d_hidden[0], WIDE);
    activate_back(s->a1, gain1, p->e1_bias, s->d_hidden, s->d_acc, g->e1_gain, g->e1_bias);
    product_t(gemm, s->half[0], PIXELS, PIXELS, s->d_acc[0], WIDE, g->e1[0]);
}

/* JFIF's inverse colour transform applied to an error, and its transpose to the gradient. */
static double colour_error(struct workspace *s, float weight)
{
    double sum = 0;

    for (size_t cell = 0; cell < CELLS; cell++) {
        float part = 0;

        for (size_t i = 0; i < 64; i++) {
            float y = s->out[cell][i] - s->x[cell][i];
            float cb = s->out[cell][64 + i] - s->x[cell][64 + i];
            float cr = s->out[cell][128 + i] - s->x[cell][128 + i];
            float r = y + 1.402f * cr;
            float g = y - 0.344136f * cb - 0.714136f * cr;
            float b = y + 1.772f * cb;

            part += r * r + g * g + b * b;
            s->d_out[cell][i] = 2 * weight * (r + g + b);
            s->d_out[cell][64 + i] = 2 * weight * (1.772f * b - 0.344136f * g);
            s->d_out[cell][128 + i] = 2 * weight * (1.402f * r - 0.714136f * g);
        }
        sum += (double)part;
    }
    return sum;
}

void net_crop(struct workspace *space, lethe_gemm_fn gemm, const struct params *p,
              const struct transposed *pt, const struct net_options *options, const struct magnitudes *model,
              unsigned rate, const uint8_t *pixels, uint64_t seed, struct params *gradient,
              struct magnitudes *seen, struct crop_result *result)
{
    struct workspace *s = space;
    struct params *g = gradient;
    float q = rate_step(rate);
    float t = rate_place(rate);
    float weight = 1.0f / (q * q * CELLS);
    float egain1[WIDE], egain2[WIDE], gain1[WIDE], gain2[WIDE], bias1[WIDE], bias2[WIDE];
    float enc_gain[LATENTS], dec_gain[LATENTS], d_gain[WIDE], d_bias[WIDE];
    float out_gain = DEC_OUT * expf(curve(&p->d3_gain[0][0], 16, t));
    float d_out_gain = 0;

    load_pixels(s, pixels);
    if (!options->latents) {
        encrypt(s, gemm, p, options, egain1, egain2);
    }
    for (size_t k = 0; k < LATENTS; k++) {
        enc_gain[k] = expf(curve(&p->enc_gain[0][k], LATENTS, t)) / q;
        dec_gain[k] = expf(curve(&p->dec_gain[0][k], LATENTS, t)) * q;
    }
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t k = 0; k < LATENTS; k++) {
            float v = options->latents ? options->latents[cell][k] : s->y[cell][k] * enc_gain[k];
            float z = options->latents ? v : quantise(v, rate_dither(rate), &seed);

            s->v[cell][k] = v;
            s->z[cell][k] = z;
            s->scaled[cell][k] = z * dec_gain[k];
            s->u[cell][k] = z < -63 ? -63 : z > 63 ? 63 : z;
        }
        s->u[cell][64] = s->z[cell][0] - s->u[cell][0];
    }
    result->bits = count_bits(s, model, seen);

    /* The Decrypter. */
    wide_curves((float(*)[WIDE])p->d1_gain, (float(*)[WIDE])p->d1_bias, t, q / 64, gain1, bias1);
    wide_curves((float(*)[WIDE])p->d2_gain, (float(*)[WIDE])p->d2_bias, t, 1, gain2, bias2);
    gather(s->u[0], 80, INPUTS, s->cu[0], 592);
    product(gemm, s->cu[0], 592, TAPS1, p->d1[0], WIDE, s->b1[0], WIDE, false);
    activate(s->b1, gain1, bias1, options->quantised, s->g1);
    gather(s->g1[0], WIDE, HIDDEN, s->cg[0], 368);
    product(gemm, s->cg[0], 368, TAPS2, p->d2[0], WIDE, s->b2[0], WIDE, false);
    activate(s->b2, gain2, bias2, options->quantised, s->g2);
    product(gemm, s->scaled[0], LATENTS, LATENTS, p->dec_lin[0], PIXELS, s->out[0], PIXELS, false);
    product(gemm, s->g2[0], WIDE, HIDDEN, p->d3[0], PIXELS, s->conv[0], PIXELS, false);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t i = 0; i < PIXELS; i++) {
            s->out[cell][i] += p->dec_bias[i] + out_gain * s->conv[cell][i];
        }
    }
    result->squared_error = colour_error(s, weight);
    result->loss = (result->squared_error / (double)(q * q) + (double)options->lambda * result->bits) / CELLS;

    /* And backward. */
    memset(&g->dec_gain, 0, sizeof g->dec_gain);
    memset(&g->dec_bias, 0, sizeof g->dec_bias);
    memset(&g->d1_gain, 0, sizeof g->d1_gain);
    memset(&g->d1_bias, 0, sizeof g->d1_bias);
    memset(&g->d2_gain, 0, sizeof g->d2_gain);
    memset(&g->d2_bias, 0, sizeof g->d2_bias);
    memset(&g->d3_gain, 0, sizeof g->d3_gain);
    for (size_t cell = 0; cell < CELLS; cell++) {
        float sum = 0;

        for (size_t i = 0; i < PIXELS; i++) {
            float d = s->d_out[cell][i];

            g->dec_bias[i] += d;
            sum += d * s->conv[cell][i];
            s->d_conv[cell][i] = d * out_gain;
        }
        d_out_gain += sum;
    }
    curve_back(d_out_gain * out_gain, &g->d3_gain[0][0], 16, t);
    product_t(gemm, s->scaled[0], LATENTS, LATENTS, s->d_out[0], PIXELS, g->dec_lin[0]);
    product_t(gemm, s->g2[0], WIDE, HIDDEN, s->d_conv[0], PIXELS, g->d3[0]);
    product(gemm, s->d_conv[0], PIXELS, PIXELS, pt->d3[0], WIDE, s->d_hidden[0], WIDE, false);
    activate_back(s->b2, gain2, bias2, s->d_hidden, s->d_acc, d_gain, d_bias);
    wide_curves_back(d_gain, d_bias, t, g->d2_gain, g->d2_bias);
    product_t(gemm, s->cg[0], 368, TAPS2, s->d_acc[0], WIDE, g->d2[0]);
    product(gemm, s->d_acc[0], WIDE, WIDE, pt->d2[0], 368, s->d_col[0], 592, false);
    scatter(s->d_col[0], 592, HIDDEN, s->d_hidden[0], WIDE);
    activate_back(s->b1, gain1, bias1, s->d_hidden, s->d_acc, d_gain, d_bias);
    wide_curves_back(d_gain, d_bias, t, g->d1_gain, g->d1_bias);
    product_t(gemm, s->cu[0], 592, TAPS1, s->d_acc[0], WIDE, g->d1[0]);

    product(gemm, s->d_out[0], PIXELS, PIXELS, pt->dec_lin[0], LATENTS, s->d_z[0], LATENTS, false);
    for (size_t k = 0; k < LATENTS; k++) {
        float d = 0;

        for (size_t cell = 0; cell < CELLS; cell++) {
            d += s->d_z[cell][k] * s->scaled[cell][k];
        }
        curve_back(d, &g->dec_gain[0][k], LATENTS, t);
    }
    if (!options->train_encrypter) {
        return;
    }
    product(gemm, s->d_acc[0], WIDE, WIDE, pt->d1[0], 592, s->d_col[0], 592, false);
    scatter(s->d_col[0], 592, INPUTS, s->d_u[0], 80);
    memset(&g->enc_gain, 0, sizeof g->enc_gain);
    for (size_t cell = 0; cell < CELLS; cell++) {
        for (size_t k = 0; k < LATENTS; k++) {
            float through = k == 0 && fabsf(s->z[cell][0]) > 63 ? s->d_u[cell][64] : s->d_u[cell][k];
            float d = s->d_z[cell][k] * dec_gain[k] + through +
                      options->lambda * s->bit_slope[cell][k] * (1.0f / CELLS);

            d *= quantise_slope(s->v[cell][k]);
            s->d_z[cell][k] = d;
            s->d_y[cell][k] = d * enc_gain[k];
        }
    }
    for (size_t k = 0; k < LATENTS; k++) {
        float d = 0;

        for (size_t cell = 0; cell < CELLS; cell++) {
            d += s->d_z[cell][k] * s->v[cell][k];
        }
        curve_back(d, &g->enc_gain[0][k], LATENTS, t);
    }
    encrypt_back(s, gemm, p, pt, egain1, egain2, g);
}
