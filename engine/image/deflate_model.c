/* SPDX-License-Identifier: MIT */
/*
 * A deflate stream as the difference from what a model of its encoder would have written (the idea of
 * preflate, D. Steinke: a deterministic encoder plus corrections).
 *
 * Description: u8 method, u8 level | strategy << 4, u8 mem_level | window_bits << 4, then a range-coded
 * stream with one record for each block and the padding behind the last.
 */
#include "deflate_coder.h"
#include "deflate_guess.h"

#include <stdlib.h>
#include <string.h>

enum method { METHOD_ZLIB = 0, METHOD_OPTIMAL = 1, METHOD_COUNT };

#define NEGLIGIBLE 100u /* bytes: a description that needs no second try */
#define DEAR(len) ((len) / 32u + 4096u) /* bytes: a description that another method is likely to undercut */
#define BELIEVE_SHARE 16u /* of the data: what an encoder must have foreseen to be believed */
#define MAX_DATA (UINT32_MAX - 65536u)

struct model {
    enum method method;
    struct lethe_zlib_model *zlib;
    struct lethe_optimal_model *optimal;
};

static enum lethe_err model_init(struct model *model, enum method method,
                                 const struct lethe_deflate_params *params, const uint8_t *data, size_t len,
                                 struct lethe_pool *pool)
{
    *model = (struct model){.method = method};
    if (method == METHOD_OPTIMAL) {
        model->optimal = lethe_optimal_model_new(data, len, pool);
    } else {
        model->zlib = lethe_zlib_model_new(params, data, len);
    }
    return model->zlib || model->optimal ? LETHE_OK : LETHE_ERR_NOMEM;
}

static void model_release(struct model *model)
{
    lethe_zlib_model_free(model->zlib);
    lethe_optimal_model_free(model->optimal);
}

static enum lethe_err model_block(struct model *model, struct lethe_deflate_state *state)
{
    return model->optimal ? lethe_optimal_model_block(model->optimal, state)
                          : lethe_zlib_model_block(model->zlib, state);
}

static enum lethe_err add_to_sample(struct lethe_deflate_sample *sample,
                                    const struct lethe_deflate_block *block,
                                    const struct lethe_tokens *tokens)
{
    size_t full = tokens->count + 1;
    enum lethe_err err = LETHE_OK;

    if (block->kind == LETHE_DEFLATE_STORED) {
        return lethe_tokens_push(&sample->tokens,
                                 lethe_token_match((unsigned)block->bytes, LETHE_DEFLATE_SKIP));
    }
    if (sample->coded == 0 && !block->final && full >= 128 && full <= 32768 && (full & (full - 1)) == 0) {
        sample->mem_level = (unsigned)__builtin_ctzll(full) - 6;
    }
    for (size_t i = 0; i < tokens->count && sample->tokens.count < LETHE_DEFLATE_SAMPLE && !err; i++) {
        err = lethe_tokens_push(&sample->tokens, tokens->at[i]);
        sample->coded++;
    }
    return err;
}

enum lethe_err lethe_deflate_unpack(const uint8_t *in, size_t in_len, uint8_t *data, size_t len,
                                    struct lethe_deflate_sample *sample)
{
    struct lethe_inflater inflater;
    struct lethe_deflate_block block = {.final = false};
    struct lethe_tokens tokens = {0};
    size_t pos = 0;
    enum lethe_err err = lethe_inflate_init(&inflater, in, in_len);

    *sample = (struct lethe_deflate_sample){.coded = 0};
    while (!err && !block.final) {
        bool more = sample->tokens.count < LETHE_DEFLATE_SAMPLE;

        err = lethe_inflate_block(&inflater, data, len, &pos, &block, more ? &tokens : NULL);
        if (!err && more) {
            err = add_to_sample(sample, &block, &tokens);
        }
    }
    if (!err && pos != len) {
        err = LETHE_ERR_FORMAT;
    }
    if (err) {
        lethe_tokens_release(&sample->tokens);
    }
    lethe_tokens_release(&tokens);
    lethe_inflate_release(&inflater);
    return err;
}

#define BELIEVE SIZE_MAX

/* proof: give up, with LETHE_ERR_BUSY, when one of so many tokens is not as foreseen. BELIEVE: that all are. */
static enum lethe_err describe_as(enum method method, const struct lethe_deflate_params *params, size_t proof,
                                  const uint8_t *in, size_t in_len, const uint8_t *data, size_t len,
                                  size_t max_cost, struct lethe_pool *pool, struct lethe_buf *out, size_t *used)
{
    struct lethe_deflate_state state = {.data = data, .len = len, .ready = len};
    struct lethe_inflater inflater;
    struct model model;
    size_t pos = 0, begin = out->len, tokens = 0;
    unsigned padding;
    enum lethe_err err;

    err = model_init(&model, method, params, data, len, pool);
    if (err) {
        return err;
    }
    err = lethe_inflate_init(&inflater, in, in_len);
    if (err) {
        goto out;
    }
    lethe_buf_put_u8(out, (uint8_t)method);
    lethe_buf_put_u8(out, (uint8_t)(params->level | params->strategy << 4));
    lethe_buf_put_u8(out, (uint8_t)(params->mem_level | params->window_bits << 4));
    lethe_bits_init(state.padded, 2);
    lethe_range_encoder_init(&state.coder.encoder, out);
    if (proof == BELIEVE) {
        lethe_zlib_model_believe(model.zlib);
    }
    do {
        err = lethe_inflate_block(&inflater, NULL, len, &pos, &state.block, &state.tokens);
        if (!err) {
            err = model_block(&model, &state);
        }
        if (!err && tokens < proof && lethe_zlib_model_misses(model.zlib) > 0) {
            err = LETHE_ERR_BUSY;
        }
        if (!err && out->len - begin > max_cost) {
            err = LETHE_ERR_UNSUPPORTED;
        }
        if (err) {
            goto out;
        }
        tokens += state.tokens.count;
    } while (!state.block.final);
    lethe_inflate_end(&inflater, &padding, used);
    lethe_code_padding(&state, padding);
    lethe_range_encoder_finish(&state.coder.encoder);
    err = lethe_buf_status(out);
    if (!err && out->len - begin > max_cost) {
        err = LETHE_ERR_UNSUPPORTED;
    }
out:
    if (err) {
        out->len = begin < out->len ? begin : out->len;
    }
    lethe_tokens_release(&state.tokens);
    lethe_inflate_release(&inflater);
    model_release(&model);
    return err;
}

/* What a sample says of an encoder. */
enum likeness {
    OTHER,   /* nothing like zlib */
    SIMILAR, /* so many tokens are zlib's that it may be cheaper to tell the others */
    ZLIB,    /* nearly all */
};

static enum likeness likeness(uint64_t misses, size_t count)
{
    return misses > count / 8 ? OTHER : misses > count / 64 ? SIMILAR : ZLIB;
}

/* The cheaper of both methods; the dear one is tried only when zlib's is not next to nothing. */
static enum lethe_err describe_best(const struct lethe_deflate_params *params, enum likeness like, size_t proof,
                                    const uint8_t *in, size_t in_len, const uint8_t *data, size_t len,
                                    size_t max_cost, struct lethe_pool *pool, struct lethe_buf *out, size_t *used)
{
    struct lethe_deflate_params other;
    struct lethe_buf zlib = {0}, optimal = {0};
    size_t dear = like == SIMILAR && DEAR(in_len) < max_cost ? DEAR(in_len) : max_cost;
    enum lethe_err err = LETHE_ERR_UNSUPPORTED;

    if (like != OTHER) {
        err = describe_as(METHOD_ZLIB, params, proof, in, in_len, data, len, dear, NULL, &zlib, used);
    }
    /* A sample may not tell neighbouring levels apart: the dearer one is tried when the cheaper one errs
     * later on. */
    other = *params;
    while (!err && other.level >= 1 && other.level < 9 && zlib.len > NEGLIGIBLE) {
        struct lethe_buf again = {0};
        enum lethe_err tried;

        other.level++;
        tried = describe_as(METHOD_ZLIB, &other, 0, in, in_len, data, len, zlib.len - 1, NULL, &again, used);
        if (!tried) {
            lethe_buf_release(&zlib);
            zlib = again;
            continue;
        }
        lethe_buf_release(&again);
        if (tried != LETHE_ERR_UNSUPPORTED) {
            err = tried;
        }
        break;
    }
    if (err == LETHE_ERR_UNSUPPORTED || (!err && zlib.len > in_len / 256 + 128)) {
        size_t most = err ? max_cost : zlib.len - 1;

        err = describe_as(METHOD_OPTIMAL, params, 0, in, in_len, data, len, most, pool, &optimal, used);
        if (err == LETHE_ERR_UNSUPPORTED && zlib.len > 0) {
            err = LETHE_OK;
        } else if (dear < max_cost && zlib.len == 0 &&
                   (err == LETHE_ERR_UNSUPPORTED || (!err && optimal.len > dear))) { /* what was given up is less dear? */
            enum lethe_err tried = describe_as(METHOD_ZLIB, params, 0, in, in_len, data, len,
                                               err ? max_cost : optimal.len - 1, NULL, &zlib, used);

            if (!tried) {
                lethe_buf_release(&optimal);
            }
            err = tried == LETHE_ERR_UNSUPPORTED ? err : tried;
        }
    }
    if (!err) {
        const struct lethe_buf *best = optimal.len > 0 ? &optimal : &zlib;

        lethe_buf_put(out, best->data, best->len);
        err = lethe_buf_status(out);
    }
    lethe_buf_release(&zlib);
    lethe_buf_release(&optimal);
    return err;
}

enum lethe_err lethe_deflate_describe(const uint8_t *in, size_t in_len, const uint8_t *data, size_t data_len,
                                      const struct lethe_deflate_sample *sample, unsigned hint, unsigned window_bits,
                                      size_t max_cost, bool *believed, struct lethe_pool *pool, struct lethe_buf *out,
                                      size_t *used)
{
    size_t count = sample->tokens.count, least = data_len / BELIEVE_SHARE, negligible = in_len / 256 + NEGLIGIBLE;
    struct lethe_deflate_params params;
    bool unproven = false;
    uint64_t misses;
    enum lethe_err err;

    if (believed) {
        *believed = false;
    }
    if (data_len > MAX_DATA) {
        return LETHE_ERR_UNSUPPORTED;
    }
    misses = lethe_deflate_guess(sample, data, data_len, hint, window_bits, &unproven, &params);
    if (believed && unproven && lethe_deflate_foresees(sample, &params, data, data_len, least) &&
        !describe_as(METHOD_ZLIB, &params, BELIEVE, in, in_len, data, data_len, negligible, NULL, out,
                     used)) {
        *believed = true;
        return LETHE_OK;
    }
    err = describe_best(&params, likeness(misses, count), unproven ? count : 0, in, in_len, data, data_len, max_cost, pool,
                        out, used);
    if (err == LETHE_ERR_BUSY) {
        misses = lethe_deflate_guess(sample, data, data_len, hint, window_bits, NULL, &params);
        err = describe_best(&params, likeness(misses, count), 0, in, in_len, data, data_len, max_cost, pool, out, used);
    }
    return err;
}

enum lethe_err lethe_deflate_replay(const uint8_t *description, size_t description_len, const uint8_t *data,
                                    size_t data_len, const struct lethe_deflate_feed *feed, size_t max_len,
                                    struct lethe_buf *out)
{
    struct lethe_deflate_state state = {
        .data = data, .len = data_len, .feed = feed, .ready = feed && feed->need ? 0 : data_len, .coder = {.decode = true}};
    struct lethe_deflate_params params;
    struct lethe_bit_writer writer;
    struct model model;
    enum lethe_err err;
    uint8_t byte;

    if (description_len < 3 || description[0] >= METHOD_COUNT || data_len > MAX_DATA) {
        return LETHE_ERR_FORMAT;
    }
    byte = description[1];
    params.level = byte & 15;
    params.strategy = byte >> 4;
    byte = description[2];
    params.mem_level = byte & 15;
    params.window_bits = byte >> 4;
    if (params.level > 9 || params.strategy > LETHE_DEFLATE_RLE || params.mem_level < 1 ||
        params.mem_level > 9 || params.window_bits < 8) {
        return LETHE_ERR_FORMAT;
    }
    err = model_init(&model, (enum method)description[0], &params, data, data_len, feed ? feed->pool : NULL);
    if (err) {
        return err;
    }
    if (model.optimal) { /* it looks at everything */
        err = lethe_deflate_await(&state, data_len);
    }
    lethe_bits_init(state.padded, 2);
    lethe_range_decoder_init(&state.coder.decoder, description + 3, description_len - 3);
    lethe_bit_writer_init(&writer, out, max_len);
    while (!err && !state.block.final) {
        state.block.start = state.pos;
        err = model_block(&model, &state);
        if (!err && lethe_coder_cut(&state.coder)) {
            err = LETHE_ERR_FORMAT;
        }
        if (!err) {
            err = lethe_deflate_write_block(&writer, &state.block, data, state.tokens.at, state.tokens.count);
        }
    }
    if (!err) {
        err = lethe_deflate_write_end(&writer, lethe_code_padding(&state, 0));
    }
    if (!err && state.pos != data_len) {
        err = LETHE_ERR_FORMAT;
    }
    lethe_tokens_release(&state.tokens);
    model_release(&model);
    return err;
}
