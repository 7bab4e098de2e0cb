/* SPDX-License-Identifier: MIT */
/* Any bytes as coded latents: they are refused, or give latents that code and decode to themselves. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct lethe_reader reader;
    struct lethe_latents first, second;
    struct lethe_buf out = {0};

    lethe_reader_init(&reader, bytes, len);
    if (lethe_latents_decode(&reader, 1 << 16, &first)) {
        return 0;
    }
    if (lethe_latents_encode(&first, &out)) {
        abort();
    }
    lethe_reader_init(&reader, out.data, out.len);
    if (lethe_latents_decode(&reader, 1 << 16, &second) || lethe_reader_left(&reader) ||
        memcmp(first.values, second.values, (size_t)first.blocks_w * first.blocks_h * LETHE_LATENTS)) {
        abort();
    }
    lethe_latents_release(&first);
    lethe_latents_release(&second);
    lethe_buf_release(&out);
    return 0;
}
