/* SPDX-License-Identifier: MIT */
/* A deflate stream unpacked and described, for the tests that replay it. */
#ifndef LETHE_TESTS_DEFLATE_DESCRIBE_H
#define LETHE_TESTS_DEFLATE_DESCRIBE_H

#include "engine/image/deflate.h"

/* Unpacks, which must give len bytes, and describes. */
static inline enum lethe_err describe(const uint8_t *packed, size_t packed_len, uint8_t *data, size_t len, unsigned hint,
                                      unsigned window_bits, struct lethe_buf *out, size_t *used)
{
    struct lethe_deflate_sample sample;
    enum lethe_err err = lethe_deflate_unpack(packed, packed_len, data, len, &sample);

    if (!err) {
        err = lethe_deflate_describe(packed, packed_len, data, len, &sample, hint, window_bits, SIZE_MAX, NULL, NULL,
                                     out, used);
        lethe_tokens_release(&sample.tokens);
    }
    return err;
}

#endif
