/* SPDX-License-Identifier: MIT */
/*
 * First byte even: the rest is a raw deflate stream; if it inflates, its description must give it back. First
 * byte odd: u8 count, that many bytes of data, and a description, which must do no harm.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/image/deflate.h"
#include "tests/deflate_describe.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define MOST (1u << 16)

/* How much the stream holds, or SIZE_MAX. */
static size_t inflated(const uint8_t *in, size_t len, uint8_t *out)
{
    struct lethe_inflater inflater;
    struct lethe_deflate_block block = {.final = false};
    size_t pos = 0;
    enum lethe_err err = lethe_inflate_init(&inflater, in, len);

    while (!err && !block.final) {
        err = lethe_inflate_block(&inflater, out, MOST, &pos, &block, NULL);
    }
    lethe_inflate_release(&inflater);
    return err ? SIZE_MAX : pos;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static uint8_t data[MOST + LETHE_DEFLATE_SLACK];
    struct lethe_buf description = {0}, out = {0};
    size_t size, used;

    if (len < 2) {
        return 0;
    }
    memset(data, 0, sizeof data);
    if (bytes[0] & 1) {
        size = bytes[1] < len - 2 ? bytes[1] : len - 2;
        memcpy(data, bytes + 2, size);
        if (!lethe_deflate_replay(bytes + 2 + size, len - 2 - size, data, size, NULL, MOST, &out) &&
            out.len > MOST) {
            abort();
        }
    } else {
        size = inflated(bytes + 1, len - 1, data);
        if (size != SIZE_MAX &&
            describe(bytes + 1, len - 1, data, size, bytes[0] >> 6, 15, &description, &used) == LETHE_OK) {
            if (lethe_deflate_replay(description.data, description.len, data, size, NULL, used, &out) ||
                out.len != used || memcmp(out.data, bytes + 1, used) != 0) {
                abort();
            }
        }
    }
    lethe_buf_release(&out);
    lethe_buf_release(&description);
    return 0;
}
