/* SPDX-License-Identifier: MIT */
#include "engine/nn/layers.h"

static void bytes_scalar(const struct lethe_nn_bytes *job)
{
    for (size_t cell = 0; cell < job->cells; cell++) {
        int32_t *out = job->out + cell * job->outs;

        for (size_t o = 0; o < job->outs; o++) {
            const int8_t *weights = job->weights + 4 * o;
            int32_t sum = 0;

            for (unsigned s = 0; s < job->segments; s++) {
                const uint8_t *in = job->in[s] + cell * job->stride;

                for (size_t i = 0; i < job->len; i += 4) {
                    for (size_t j = 0; j < 4; j++) {
                        sum += in[i + j] * weights[j];
                    }
                    weights += 4 * job->outs;
                }
            }
            out[o] = sum;
        }
    }
}

static void words_scalar(const struct lethe_nn_words *job)
{
    for (size_t cell = 0; cell < job->cells; cell++) {
        const int16_t *in = job->in + cell * job->len;
        int32_t *out = job->out + cell * job->outs;

        for (size_t o = 0; o < job->outs; o++) {
            const int16_t *weights = job->weights + 2 * o;
            int32_t sum = 0;

            for (size_t i = 0; i < job->len; i += 2) {
                sum += in[i] * weights[0] + in[i + 1] * weights[1];
                weights += 2 * job->outs;
            }
            out[o] = sum;
        }
    }
}

static void requant_scalar(const struct lethe_nn_requant *job)
{
    for (size_t c = 0; c < job->channels; c++) {
        int32_t mult = job->mult[c];
        int32_t limit = (INT32_MAX - (1 << 22)) / mult;

        for (size_t cell = 0; cell < job->cells; cell++) {
            int32_t value = job->acc[cell * job->channels + c] + job->bias[c];

            value = value < 0 ? 0 : value > limit ? limit : value;
            value = (value * mult + (1 << 22)) >> 23;
            job->out[cell * job->channels + c] = (uint8_t)(value > 127 ? 127 : value);
        }
    }
}

static void finish_scalar(const struct lethe_nn_finish *job)
{
    for (size_t cell = 0; cell < job->cells; cell++) {
        for (size_t o = 0; o < job->outs; o++) {
            size_t at = cell * job->outs + o;
            int32_t value = job->linear[at] + job->bias[o];

            if (job->conv) {
                value += (job->conv[at] * job->mult[o]) >> job->shift;
            }
            value >>= job->bits;
            job->out[at] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}

const struct lethe_nn_kernels lethe_nn_scalar = {
    .name = "scalar",
    .bytes = bytes_scalar,
    .words = words_scalar,
    .requant = requant_scalar,
    .finish = finish_scalar,
};

void lethe_nn_pack_bytes(const int8_t *weights, size_t outs, size_t ins, int8_t *packed)
{
    for (size_t o = 0; o < outs; o++) {
        for (size_t i = 0; i < ins; i++) {
            packed[(i / 4 * outs + o) * 4 + i % 4] = weights[o * ins + i];
        }
    }
}

void lethe_nn_pack_words(const int16_t *weights, size_t outs, size_t ins, int16_t *packed)
{
    for (size_t o = 0; o < outs; o++) {
        for (size_t i = 0; i < ins; i++) {
            packed[(i / 2 * outs + o) * 2 + i % 2] = weights[o * ins + i];
        }
    }
}
