/* SPDX-License-Identifier: MIT */
/* Bytes to a deflate stream, by the decisions of zlib's matchers: the same stream everywhere and for ever. */
#include "deflate.h"

enum lethe_err lethe_deflate_encode(const struct lethe_deflate_params *params, const uint8_t *data, size_t len,
                                    struct lethe_buf *out)
{
    struct lethe_matcher *matcher = lethe_matcher_new(params, data, len);
    unsigned most = lethe_matcher_block(params);
    struct lethe_tokens tokens = {0};
    struct lethe_bit_writer writer;
    size_t pos = 0;
    enum lethe_err err = matcher ? lethe_tokens_reserve(&tokens, most) : LETHE_ERR_NOMEM;

    lethe_bit_writer_init(&writer, out, SIZE_MAX / 2);
    while (!err) {
        struct lethe_deflate_block block = {.kind = LETHE_DEFLATE_DYNAMIC, .start = pos};
        struct lethe_deflate_freqs freqs = {{0}, {0}};

        tokens.count = pos < len ? lethe_matcher_run(matcher, &pos, most, tokens.at) : 0;
        block.bytes = pos - block.start;
        block.final = pos == len;
        lethe_deflate_count(tokens.at, tokens.count, &freqs);
        lethe_deflate_trees_build(&freqs, &block.trees);
        if (lethe_deflate_fixed_bits(&freqs) <= lethe_deflate_dynamic_bits(&freqs, &block.trees)) {
            block.kind = LETHE_DEFLATE_FIXED;
        }
        err = lethe_deflate_write_block(&writer, &block, data, tokens.at, tokens.count);
        if (block.final) {
            break;
        }
    }
    if (!err) {
        err = lethe_deflate_write_end(&writer, 0);
    }
    lethe_tokens_release(&tokens);
    lethe_matcher_free(matcher);
    return err;
}
