/* SPDX-License-Identifier: MIT */
/*
 * JPEG recipes. A recipe is, behind a version byte, one packed string: the count of scans; the length of the
 * plain bytes; the plain bytes (all of the file but its entropy-coded scans, in order); the notes on each
 * scan. What follows the last scan, EOI and trailers of any kind included, is the rest of the plain bytes.
 */
#include <stdlib.h>

#include "jpeg_private.h"

#define RECIPE_VERSION 1
#define SCAN_WORK 24 /* times that the blocks of the picture may be gone over by all scans together */

/* More blocks than this from so short a file are no picture: each costs at least a bit, a cut scan allowed
 * for. */
static bool plausible(uint64_t blocks, size_t len)
{
    return blocks <= 64 * (uint64_t)len + 65536;
}

static enum lethe_err parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                            struct jpeg_state *state, struct lethe_jpeg *jpeg, struct lethe_buf *plain,
                            struct lethe_buf *notes, unsigned *scans, enum lethe_reason *reason)
{
    size_t at = 0, from = 0;
    uint64_t budget = 0;

    for (*scans = 0; *scans < JPEG_SCANS; ++*scans) {
        enum jpeg_step step;
        struct jpeg_scan scan;
        struct jpeg_walk walk;
        enum lethe_err err = lethe_jpeg_next_scan(state, file, len, &at, jpeg, &step, reason);

        if (err) {
            return err;
        }
        if (step == JPEG_STEP_END) {
            break;
        }
        if (*scans == 0) {
            uint64_t blocks = lethe_jpeg_measure(jpeg, limits, len);

            if (blocks == 0 || !plausible(blocks, len)) {
                *reason = blocks ? LETHE_REASON_MALFORMED : LETHE_REASON_TOO_LARGE;
                return LETHE_ERR_UNSUPPORTED;
            }
            err = lethe_jpeg_alloc(jpeg);
            if (err) {
                return err;
            }
            budget = blocks * SCAN_WORK;
        }
        lethe_jpeg_walk_init(&walk, state, jpeg);
        if (walk.blocks > budget) {
            *reason = LETHE_REASON_TOO_LARGE;
            return LETHE_ERR_UNSUPPORTED;
        }
        budget -= walk.blocks;
        lethe_jpeg_latch(state, jpeg);
        jpeg->colour = lethe_jpeg_colour_of(state, jpeg);
        lethe_buf_put(plain, file + from, at - from);
        err = lethe_jpeg_scan_decode(state, file, len, &at, jpeg, &scan);
        if (err) {
            return err;
        }
        from = at;
        lethe_jpeg_scan_put(&scan, notes);
        lethe_jpeg_scan_release(&scan);
    }
    if (*scans == 0) {
        *reason = LETHE_REASON_MALFORMED;
        return LETHE_ERR_UNSUPPORTED;
    }
    lethe_buf_put(plain, file + from, len - from);
    return LETHE_OK;
}

enum lethe_err lethe_jpeg_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                struct lethe_jpeg *jpeg, struct lethe_buf *recipe, enum lethe_reason *reason)
{
    struct jpeg_state *state = NULL;
    struct lethe_buf plain = {0}, notes = {0}, body = {0};
    size_t start = recipe->len;
    unsigned scans = 0;
    enum lethe_err err = LETHE_ERR_NOMEM;

    *jpeg = (struct lethe_jpeg){0};
    *reason = LETHE_REASON_NONE;
    if (len < 4 || file[0] != 0xff || file[1] != 0xd8) {
        *reason = LETHE_REASON_NO_PICTURE;
        return LETHE_ERR_UNSUPPORTED;
    }
    state = malloc(sizeof *state);
    if (!state) {
        goto out;
    }
    lethe_jpeg_state_init(state);
    err = parse(file, len, limits, state, jpeg, &plain, &notes, &scans, reason);
    if (err) {
        goto out;
    }
    lethe_buf_put_varint(&body, scans);
    lethe_buf_put_block(&body, plain.data, plain.len);
    lethe_buf_put(&body, notes.data, notes.len);
    if (plain.failed || notes.failed || body.failed) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    lethe_buf_put_u8(recipe, RECIPE_VERSION);
    err = lethe_jpeg_pack(body.data, body.len, recipe);
out:
    if (err) {
        lethe_jpeg_release(jpeg);
        recipe->len = start < recipe->len ? start : recipe->len;
    }
    lethe_buf_release(&plain);
    lethe_buf_release(&notes);
    lethe_buf_release(&body);
    free(state);
    return err;
}

/* The recipe taken apart. plain and notes point into body. */
struct recipe {
    struct lethe_buf body;
    uint64_t scans;
    const uint8_t *plain;
    size_t plain_len;
    struct lethe_reader notes;
};

static enum lethe_err open_recipe(const uint8_t *bytes, size_t len, size_t max_len, struct recipe *recipe)
{
    struct lethe_reader reader;
    enum lethe_err err;
    uint8_t version;

    *recipe = (struct recipe){0};
    lethe_reader_init(&reader, bytes, len);
    version = lethe_read_u8(&reader);
    if (version != RECIPE_VERSION) {
        return version > RECIPE_VERSION ? LETHE_ERR_VERSION : LETHE_ERR_FORMAT;
    }
    err = lethe_jpeg_unpack(&reader, max_len, &recipe->body);
    if (!err) {
        err = lethe_reader_status(&reader, true);
    }
    if (!err) {
        lethe_reader_init(&recipe->notes, recipe->body.data, recipe->body.len);
        recipe->scans = lethe_read_varint(&recipe->notes);
        recipe->plain = lethe_read_block(&recipe->notes, &recipe->plain_len);
        err = lethe_reader_status(&recipe->notes, false);
    }
    if (!err && (recipe->scans == 0 || recipe->scans > JPEG_SCANS || recipe->plain_len == 0)) {
        err = LETHE_ERR_FORMAT;
    }
    if (err) {
        lethe_buf_release(&recipe->body);
    }
    return err;
}

/* The next scan's header out of the plain bytes; anything else than one is malformed. */
static enum lethe_err next_scan(const struct recipe *recipe, struct jpeg_state *state, size_t *at,
                                struct lethe_jpeg *shape)
{
    enum jpeg_step step;
    enum lethe_reason reason;
    enum lethe_err err =
        lethe_jpeg_next_scan(state, recipe->plain, recipe->plain_len, at, shape, &step, &reason);

    if (err == LETHE_ERR_UNSUPPORTED || (!err && step == JPEG_STEP_END)) {
        return LETHE_ERR_FORMAT;
    }
    return err;
}

static bool same_shape(const struct lethe_jpeg *a, const struct lethe_jpeg *b)
{
    bool same = a->width == b->width && a->height == b->height && a->components == b->components;

    for (unsigned c = 0; same && c < a->components; c++) {
        same = a->component[c].h == b->component[c].h && a->component[c].v == b->component[c].v &&
               a->component[c].blocks_w == b->component[c].blocks_w &&
               a->component[c].blocks_h == b->component[c].blocks_h;
    }
    return same;
}

enum lethe_err lethe_jpeg_rebuild(const struct lethe_jpeg *jpeg, const uint8_t *recipe, size_t recipe_len,
                                  size_t max_len, struct lethe_buf *out)
{
    return lethe_jpeg_rebuild_fed(jpeg, recipe, recipe_len, max_len, NULL, out);
}

enum lethe_err lethe_jpeg_rebuild_fed(const struct lethe_jpeg *jpeg, const uint8_t *recipe, size_t recipe_len,
                                      size_t max_len, const struct lethe_jpeg_feed *feed, struct lethe_buf *out)
{
    struct jpeg_state *state = NULL;
    struct lethe_jpeg shape = {0}; /* as the plain bytes have it; no coefficients */
    struct recipe parts;
    size_t at = 0, limit, notes_limit;
    uint64_t budget = 0;
    enum lethe_err err;

    /* Notes cost the file at least a bit each, and take at most 9 bytes here. */
    if (!lethe_add_size(out->len, max_len, &limit) || !lethe_mul_size(max_len, 73, &notes_limit) ||
        !lethe_add_size(notes_limit, 65536, &notes_limit)) {
        return LETHE_ERR_ARG;
    }
    err = open_recipe(recipe, recipe_len, notes_limit, &parts);
    if (err) {
        return err;
    }
    state = malloc(sizeof *state);
    if (!state) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    lethe_jpeg_state_init(state);
    for (uint64_t i = 0; i < parts.scans; i++) {
        struct jpeg_scan scan;
        struct jpeg_walk walk;
        size_t from = at;

        err = next_scan(&parts, state, &at, &shape);
        if (err) {
            goto out;
        }
        if (i == 0) {
            if (!same_shape(&shape, jpeg)) {
                err = LETHE_ERR_FORMAT;
                goto out;
            }
            for (unsigned c = 0; c < shape.components; c++) {
                budget += (uint64_t)shape.component[c].blocks_w * shape.component[c].blocks_h * SCAN_WORK;
            }
        }
        lethe_jpeg_walk_init(&walk, state, jpeg);
        if (at - from > limit - out->len || walk.blocks > budget) {
            err = LETHE_ERR_FORMAT;
            goto out;
        }
        budget -= walk.blocks;
        lethe_buf_put(out, parts.plain + from, at - from);
        err = lethe_jpeg_scan_get(&parts.notes, &scan);
        if (!err) {
            err = lethe_jpeg_scan_encode(state, jpeg, &scan, limit, feed, out);
        }
        lethe_jpeg_scan_release(&scan);
        if (!err && out->len > limit) {
            err = LETHE_ERR_FORMAT;
        }
        if (err) {
            goto out;
        }
    }
    err = lethe_reader_status(&parts.notes, true);
    if (!err && parts.plain_len - at > limit - out->len) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        lethe_buf_put(out, parts.plain + at, parts.plain_len - at);
        err = lethe_buf_status(out);
    }
out:
    lethe_buf_release(&parts.body);
    free(state);
    return err;
}

enum lethe_err lethe_jpeg_shape(const uint8_t *recipe, size_t recipe_len,
                                const struct lethe_image_limits *limits, struct lethe_jpeg *jpeg)
{
    struct jpeg_state *state = NULL;
    struct recipe parts;
    size_t at = 0;
    enum lethe_err err;

    *jpeg = (struct lethe_jpeg){0};
    err = open_recipe(recipe, recipe_len, limits->max_bytes > SIZE_MAX ? SIZE_MAX : (size_t)limits->max_bytes,
                      &parts);
    if (err) {
        return err;
    }
    state = malloc(sizeof *state);
    if (!state) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    lethe_jpeg_state_init(state);
    for (uint64_t i = 0; i < parts.scans; i++) {
        err = next_scan(&parts, state, &at, jpeg);
        if (err) {
            goto out;
        }
        lethe_jpeg_latch(state, jpeg);
        jpeg->colour = lethe_jpeg_colour_of(state, jpeg);
    }
    err = lethe_jpeg_measure(jpeg, limits, 0) ? lethe_jpeg_alloc(jpeg) : LETHE_ERR_FORMAT;
out:
    if (err) {
        lethe_jpeg_release(jpeg);
    }
    lethe_buf_release(&parts.body);
    free(state);
    return err;
}
