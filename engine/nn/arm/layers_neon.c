/* SPDX-License-Identifier: MIT */
/*
 * The layers on NEON, as every 64-bit ARM has it. A vector of 16 weights holds four outputs of four inputs. Inputs lie in
 * [0, 127], so that they are signed bytes too; a product is at most 8001, and the two groups of four inputs that are
 * added in 16 bits make at most 16002. What vpadal gathers are halves of an output's sum, joined at the end.
 */
#include <arm_neon.h>
#include <string.h>

#include "engine/nn/layers.h"

static inline int8x8_t broadcast4(const uint8_t *bytes)
{
    uint32_t four;

    memcpy(&four, bytes, sizeof four);
    return vreinterpret_s8_u32(vdup_n_u32(four));
}

/* One cell by groups (1 or 2) of eight outputs. */
static inline __attribute__((always_inline)) void bytes_tile(const struct lethe_nn_bytes *job, size_t cell,
                                                             size_t o, int groups)
{
    const int8_t *weights = job->weights + 4 * o;
    size_t step = 4 * job->outs;
    int32x4_t acc[8];

    for (int v = 0; v < 4 * groups; v++) {
        acc[v] = vdupq_n_s32(0);
    }
    for (unsigned s = 0; s < job->segments; s++) {
        const uint8_t *in = job->in[s] + cell * job->stride;
        size_t i = 0;

        for (; i + 8 <= job->len; i += 8) {
            int8x8_t x0 = broadcast4(in + i), x1 = broadcast4(in + i + 4);

            for (int v = 0; v < 4 * groups; v++) {
                int16x8_t sum = vmull_s8(x0, vld1_s8(weights + 8 * v));

                sum = vmlal_s8(sum, x1, vld1_s8(weights + step + 8 * v));
                acc[v] = vpadalq_s16(acc[v], sum);
            }
            weights += 2 * step;
        }
        if (i < job->len) {
            int8x8_t x = broadcast4(in + i);

            for (int v = 0; v < 4 * groups; v++) {
                acc[v] = vpadalq_s16(acc[v], vmull_s8(x, vld1_s8(weights + 8 * v)));
            }
            weights += step;
        }
    }
    for (int v = 0; v < 4 * groups; v += 2) {
        vst1q_s32(job->out + cell * job->outs + o + 2 * (size_t)v, vpaddq_s32(acc[v], acc[v + 1]));
    }
}

static void bytes_neon(const struct lethe_nn_bytes *job)
{
    size_t o = 0;

    for (; o + 16 <= job->outs; o += 16) {
        for (size_t cell = 0; cell < job->cells; cell++) {
            bytes_tile(job, cell, o, 2);
        }
    }
    for (; o < job->outs; o += 8) {
        for (size_t cell = 0; cell < job->cells; cell++) {
            bytes_tile(job, cell, o, 1);
        }
    }
}

/* One cell, eight outputs: weights of two inputs are interleaved, which vld2q takes apart. */
static void words_neon(const struct lethe_nn_words *job)
{
    for (size_t o = 0; o < job->outs; o += 8) {
        for (size_t cell = 0; cell < job->cells; cell++) {
            const int16_t *in = job->in + cell * job->len;
            const int16_t *weights = job->weights + 2 * o;
            int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);

            for (size_t i = 0; i < job->len; i += 2) {
                int16x8x2_t w = vld2q_s16(weights);

                low = vmlal_n_s16(low, vget_low_s16(w.val[0]), in[i]);
                high = vmlal_n_s16(high, vget_high_s16(w.val[0]), in[i]);
                low = vmlal_n_s16(low, vget_low_s16(w.val[1]), in[i + 1]);
                high = vmlal_n_s16(high, vget_high_s16(w.val[1]), in[i + 1]);
                weights += 2 * job->outs;
            }
            vst1q_s32(job->out + cell * job->outs + o, low);
            vst1q_s32(job->out + cell * job->outs + o + 4, high);
        }
    }
}

static inline void store_bytes(uint8_t *out, int32x4_t low, int32x4_t high)
{
    vst1_u8(out, vqmovun_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
}

static inline int32x4_t requant4(const int32_t *acc, int32x4_t bias, int32x4_t mult, int32x4_t limit)
{
    int32x4_t value = vaddq_s32(vld1q_s32(acc), bias);

    value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(0)), limit);
    value = vshrq_n_s32(vaddq_s32(vmulq_s32(value, mult), vdupq_n_s32(1 << 22)), 23);
    return vminq_s32(value, vdupq_n_s32(LETHE_NN_BYTE_MAX));
}

static void requant_neon(const struct lethe_nn_requant *job)
{
    for (size_t c = 0; c < job->channels; c += 8) {
        int32x4_t mult[2], bias[2], limit[2];
        int32_t limits[8];

        for (size_t i = 0; i < 8; i++) {
            limits[i] = (INT32_MAX - (1 << 22)) / job->mult[c + i];
        }
        for (size_t h = 0; h < 2; h++) {
            mult[h] = vld1q_s32(job->mult + c + 4 * h);
            bias[h] = vld1q_s32(job->bias + c + 4 * h);
            limit[h] = vld1q_s32(limits + 4 * h);
        }
        for (size_t cell = 0; cell < job->cells; cell++) {
            const int32_t *acc = job->acc + cell * job->channels + c;

            store_bytes(job->out + cell * job->channels + c, requant4(acc, bias[0], mult[0], limit[0]),
                        requant4(acc + 4, bias[1], mult[1], limit[1]));
        }
    }
}

static inline int32x4_t finish4(const struct lethe_nn_finish *job, size_t cell, size_t o)
{
    size_t at = cell * job->outs + o;
    int32x4_t value = vaddq_s32(vld1q_s32(job->linear + at), vld1q_s32(job->bias + o));

    if (job->conv) {
        int32x4_t conv = vmulq_s32(vld1q_s32(job->conv + at), vld1q_s32(job->mult + o));

        value = vaddq_s32(value, vshlq_s32(conv, vdupq_n_s32(-(int32_t)job->shift)));
    }
    value = vshlq_s32(value, vdupq_n_s32(-(int32_t)job->bits));
    return vminq_s32(vmaxq_s32(value, vdupq_n_s32(0)), vdupq_n_s32(255));
}

static void finish_neon(const struct lethe_nn_finish *job)
{
    for (size_t cell = 0; cell < job->cells; cell++) {
        for (size_t o = 0; o < job->outs; o += 8) {
            store_bytes(job->out + cell * job->outs + o, finish4(job, cell, o), finish4(job, cell, o + 4));
        }
    }
}

const struct lethe_nn_kernels lethe_nn_neon = {
    .name = "neon",
    .bytes = bytes_neon,
    .words = words_neon,
    .requant = requant_neon,
    .finish = finish_neon,
};
