/* SPDX-License-Identifier: MIT */
/* A PNG to samples and recipe. Every byte is hostile; limits are checked from IHDR before anything is
 * allocated. */
#include "deflate.h"
#include "png_recipe.h"

#include <stdlib.h>
#include <string.h>

const uint8_t lethe_png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

struct chunk {
    const uint8_t *type; /* 4 bytes, then the data */
    size_t size;
    uint32_t crc;
    bool crc_right;
};

struct parser {
    const uint8_t *file;
    size_t len;
    size_t at;
    struct lethe_png_shape shape;
    struct chunk ihdr;
    size_t idats; /* chunks, and their bytes */
    size_t idat_bytes;
    size_t idat_size; /* of all IDATs but the last, when regular */
    bool regular;
    const uint8_t *zlib; /* all IDATs in a row: borrowed, or owned by joined */
    uint8_t *joined;
};

/* Reads the chunk at *at and steps over it; false when no whole chunk is there. */
static bool next_chunk(const struct parser *p, size_t *at, struct chunk *chunk)
{
    size_t left = p->len - *at;

    if (left < 12) {
        return false;
    }
    chunk->size = lethe_get_u32be(p->file + *at);
    chunk->type = p->file + *at + 4;
    if (chunk->size > left - 12) {
        return false;
    }
    chunk->crc = lethe_get_u32be(chunk->type + 4 + chunk->size);
    chunk->crc_right = lethe_png_crc(0, chunk->type, 4 + chunk->size) == chunk->crc;
    *at += 12 + chunk->size;
    return true;
}

static bool is_type(const struct chunk *chunk, const char *type)
{
    return memcmp(chunk->type, type, 4) == 0;
}

static enum lethe_reason read_header(struct parser *p, const struct lethe_image_limits *limits)
{
    const uint8_t *data;
    uint64_t pixels;
    unsigned channels;

    p->at = sizeof lethe_png_signature;
    if (!next_chunk(p, &p->at, &p->ihdr) || !is_type(&p->ihdr, "IHDR") || p->ihdr.size != 13) {
        return LETHE_REASON_MALFORMED;
    }
    data = p->ihdr.type + 4;
    p->shape.width = lethe_get_u32be(data);
    p->shape.height = lethe_get_u32be(data + 4);
    p->shape.depth = data[8];
    p->shape.colour = data[9];
    p->shape.interlace = data[12];
    if (p->shape.width == 0 || p->shape.height == 0 || p->shape.width > INT32_MAX ||
        p->shape.height > INT32_MAX || data[10] != 0 || data[11] != 0) {
        return LETHE_REASON_MALFORMED;
    }
    if (!lethe_png_shape_set(&p->shape)) {
        return LETHE_REASON_MALFORMED;
    }
    pixels = (uint64_t)p->shape.width * p->shape.height; /* below 2^62 */
    channels = p->shape.colour == 3 ? 4 : p->shape.channels;
    if (pixels > limits->max_pixels || pixels > limits->max_bytes / (channels * sizeof(uint16_t)) ||
        (limits->max_memory &&
         lethe_png_memory(pixels, channels, p->shape.colour == 3 ? 4 : p->shape.depth, p->len) > limits->max_memory)) {
        return LETHE_REASON_TOO_LARGE;
    }
    return LETHE_REASON_NONE;
}

/* Finds all IDATs, and whether one rule tells their sizes. */
static enum lethe_reason scan_idats(struct parser *p)
{
    struct chunk chunk;
    bool last_was_idat = false;
    size_t last_size = 0;

    p->regular = true;
    for (size_t at = p->at; next_chunk(p, &at, &chunk);) {
        if (is_type(&chunk, "IEND")) {
            break;
        }
        if (!is_type(&chunk, "IDAT")) {
            last_was_idat = false;
            continue;
        }
        if (p->idats > 0 && (!last_was_idat || last_size != p->idat_size)) {
            p->regular = false;
        }
        if (p->idats == 0) {
            p->idat_size = chunk.size;
        }
        p->regular = p->regular && chunk.crc_right;
        last_was_idat = true;
        last_size = chunk.size;
        p->idats++;
        p->idat_bytes += chunk.size;
        p->zlib = chunk.type + 4;
    }
    return p->idat_bytes < 2 ? LETHE_REASON_MALFORMED : LETHE_REASON_NONE;
}

static enum lethe_err join_idats(struct parser *p)
{
    struct chunk chunk;
    size_t n = 0;

    if (p->idats == 1) {
        return LETHE_OK;
    }
    p->joined = malloc(p->idat_bytes);
    if (!p->joined) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t at = p->at; n < p->idat_bytes && next_chunk(p, &at, &chunk);) {
        if (is_type(&chunk, "IDAT")) {
            memcpy(p->joined + n, chunk.type + 4, chunk.size);
            n += chunk.size;
        }
    }
    p->zlib = p->joined;
    return LETHE_OK;
}

static void put_crc(struct lethe_buf *out, uint32_t crc)
{
    uint8_t bytes[4];

    lethe_set_u32be(bytes, crc);
    lethe_buf_put(out, bytes, 4);
}

static void put_tag(struct lethe_buf *out, enum lethe_png_item tag, const struct chunk *chunk)
{
    lethe_buf_put_u8(out, (uint8_t)(chunk->crc_right ? tag : tag | LETHE_PNG_BAD_CRC));
}

static void put_items(const struct parser *p, struct lethe_buf *out)
{
    struct chunk chunk;
    size_t at = p->at;
    bool idats_done = false;

    while (next_chunk(p, &at, &chunk)) {
        bool end = is_type(&chunk, "IEND");

        if (is_type(&chunk, "IDAT") && p->regular) {
            if (!idats_done) {
                lethe_buf_put_u8(out, LETHE_PNG_IDATS);
                lethe_buf_put_varint(out, p->idats);
                if (p->idats > 1) {
                    lethe_buf_put_varint(out, p->idat_size);
                }
            }
            idats_done = true;
            continue;
        }
        if (is_type(&chunk, "IDAT")) {
            put_tag(out, LETHE_PNG_IDAT, &chunk);
            lethe_buf_put_varint(out, chunk.size);
        } else if (end && chunk.size == 0) {
            put_tag(out, LETHE_PNG_IEND, &chunk);
        } else {
            put_tag(out, LETHE_PNG_CHUNK, &chunk);
            lethe_buf_put(out, chunk.type, 4);
            lethe_buf_put_block(out, chunk.type + 4, chunk.size);
        }
        if (!chunk.crc_right) {
            put_crc(out, chunk.crc);
        }
        if (end) {
            break;
        }
    }
    lethe_buf_put_u8(out, LETHE_PNG_END);
    lethe_buf_put_block(out, p->file + at, p->len - at);
}

static void put_layout(const struct parser *p, const uint8_t *tail, size_t tail_len, uint32_t adler,
                       struct lethe_buf *recipe)
{
    struct lethe_buf layout = {0};

    lethe_buf_put_varint(&layout, p->shape.width);
    lethe_buf_put_varint(&layout, p->shape.height);
    lethe_buf_put_u8(&layout, (uint8_t)p->shape.depth);
    lethe_buf_put_u8(&layout, (uint8_t)p->shape.colour);
    lethe_buf_put_u8(&layout, (uint8_t)p->shape.interlace);
    lethe_buf_put_u8(&layout, !p->ihdr.crc_right);
    if (!p->ihdr.crc_right) {
        put_crc(&layout, p->ihdr.crc);
    }
    lethe_buf_put(&layout, p->zlib, 2);
    if (tail_len < 4 || lethe_get_u32be(tail) != adler) {
        lethe_buf_put_u8(&layout, LETHE_PNG_TAIL_VERBATIM);
        lethe_buf_put_block(&layout, tail, tail_len);
    } else if (tail_len > 4) {
        lethe_buf_put_u8(&layout, LETHE_PNG_TAIL_ADLER_MORE);
        lethe_buf_put_block(&layout, tail + 4, tail_len - 4);
    } else {
        lethe_buf_put_u8(&layout, LETHE_PNG_TAIL_ADLER);
    }
    put_items(p, &layout);
    if (lethe_buf_status(&layout)) {
        recipe->failed = true;
    } else {
        lethe_png_meta_put(recipe, layout.data, layout.len);
    }
    lethe_buf_release(&layout);
}

/* The first chunk of a type; NULL when there is none. */
static const uint8_t *find_chunk(const struct parser *p, const char *type, size_t *size)
{
    struct chunk chunk;

    for (size_t at = p->at; next_chunk(p, &at, &chunk) && !is_type(&chunk, "IEND");) {
        if (is_type(&chunk, type)) {
            *size = chunk.size;
            return chunk.type + 4;
        }
    }
    *size = 0;
    return NULL;
}

/* From values to the raster. LETHE_ERR_FORMAT without a palette where there should be one. */
static enum lethe_err expand(const struct parser *p, const struct lethe_raster *values, struct lethe_raster *raster,
                             struct lethe_buf *choices)
{
    struct lethe_png_palette palette;
    size_t plte_len, trns_len;
    const uint8_t *plte, *trns;

    if (p->shape.colour != 3) {
        return lethe_png_expand(&p->shape, NULL, values, raster, choices);
    }
    plte = find_chunk(p, "PLTE", &plte_len);
    trns = find_chunk(p, "tRNS", &trns_len);
    if (!lethe_png_palette_set(&palette, &p->shape, plte, plte_len, trns, trns_len)) {
        return LETHE_ERR_FORMAT;
    }
    return lethe_png_expand(&p->shape, &palette, values, raster, choices);
}

/* A picture that is being taken apart: its bytes are there, and two threads make something else of them. */
struct picture {
    const struct parser *p;
    uint8_t *data;
    size_t size, rows;
    struct lethe_deflate_sample sample;
    bool *believed;
    struct lethe_pool *pool;
    /* what describes the stream */
    struct lethe_buf description;
    size_t used;
    enum lethe_err described;
    /* and what becomes of the rows */
    struct lethe_raster raster;
    struct lethe_buf choices;
    uint8_t *types, *padding;
    enum lethe_err made;
};

static void describe(struct picture *picture)
{
    const struct parser *p = picture->p;

    picture->described = lethe_deflate_describe(p->zlib + 2, p->idat_bytes - 2, picture->data, picture->size,
                                                &picture->sample, p->zlib[1] >> 6, (p->zlib[0] >> 4) + 8u,
                                                p->idat_bytes / 2 + 64, picture->believed, picture->pool,
                                                &picture->description, &picture->used);
}

static void make_raster(struct picture *picture)
{
    const struct parser *p = picture->p;
    struct lethe_raster values = {0};
    enum lethe_err err = lethe_raster_init(&values, p->shape.width, p->shape.height, p->shape.channels,
                                           p->shape.depth < 8 ? 8 : p->shape.depth);

    if (!err) {
        err = lethe_png_unfilter(&p->shape, picture->data, &values, picture->types, picture->padding);
    }
    if (!err && lethe_png_is_plain(&p->shape)) {
        picture->raster = values;
        values = (struct lethe_raster){0};
    } else if (!err) {
        err = expand(p, &values, &picture->raster, &picture->choices);
    }
    lethe_raster_release(&values);
    picture->made = err;
}

static void take_apart(void *context, size_t index)
{
    if (index == 0) {
        describe(context);
    } else {
        make_raster(context);
    }
}

static void put_recipe(const struct picture *picture, struct lethe_buf *recipe)
{
    const struct parser *p = picture->p;
    bool padded = false;

    for (size_t i = 0; i < picture->rows && !padded; i++) {
        padded = picture->padding[i] != 0;
    }
    lethe_buf_put_u8(recipe, lethe_png_is_plain(&p->shape) ? 1 : 2);
    put_layout(p, p->zlib + 2 + picture->used, p->idat_bytes - 2 - picture->used,
               lethe_png_adler(picture->data, picture->size), recipe);
    lethe_png_types_put(recipe, picture->types, picture->rows);
    lethe_buf_put_block(recipe, picture->description.data, picture->description.len);
    if (p->shape.colour == 3) {
        lethe_png_meta_put(recipe, picture->choices.data, picture->choices.len);
    }
    if (padded) {
        lethe_png_meta_put(recipe, picture->padding, picture->rows);
    }
}

/* The picture itself: needs the header and the IDATs. */
static enum lethe_err parse_picture(struct parser *p, struct lethe_pool *pool, bool *believed,
                                    struct lethe_raster *raster, struct lethe_buf *recipe, enum lethe_reason *reason)
{
    struct picture picture = {.p = p, .believed = believed, .pool = pool};
    enum lethe_err err;

    *reason = LETHE_REASON_MALFORMED;
    /* Deflate packs at most 1032 to 1: what claims more is refused before it is given memory. */
    if (!lethe_png_shape_size(&p->shape, &picture.size, &picture.rows) || picture.size / 1032 > p->idat_bytes) {
        return LETHE_ERR_UNSUPPORTED;
    }
    if ((p->zlib[0] & 15) != 8 || p->zlib[0] >> 4 > 7 || (p->zlib[0] << 8 | p->zlib[1]) % 31 != 0 ||
        (p->zlib[1] & 0x20)) {
        return LETHE_ERR_UNSUPPORTED;
    }
    if (picture.size > SIZE_MAX - LETHE_DEFLATE_SLACK) {
        return LETHE_ERR_UNSUPPORTED;
    }
    picture.data = malloc(picture.size + LETHE_DEFLATE_SLACK);
    picture.types = malloc(picture.rows);
    picture.padding = calloc(1, picture.rows);
    if (!picture.data || !picture.types || !picture.padding) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    memset(picture.data + picture.size, 0, LETHE_DEFLATE_SLACK);
    err = lethe_deflate_unpack(p->zlib + 2, p->idat_bytes - 2, picture.data, picture.size, &picture.sample);
    if (!err) {
        lethe_pool_run(pool, 2, take_apart, &picture);
        err = picture.described;
    }
    if (err == LETHE_ERR_UNSUPPORTED) {
        *reason = LETHE_REASON_DEFLATE;
    }
    err = err ? err : picture.made;
    if (!err) {
        put_recipe(&picture, recipe);
        err = lethe_buf_status(recipe);
    }
    if (!err) {
        *raster = picture.raster;
        picture.raster = (struct lethe_raster){0};
    }
out:
    free(picture.data);
    free(picture.types);
    free(picture.padding);
    lethe_raster_release(&picture.raster);
    lethe_tokens_release(&picture.sample.tokens);
    lethe_buf_release(&picture.description);
    lethe_buf_release(&picture.choices);
    return err == LETHE_ERR_FORMAT ? LETHE_ERR_UNSUPPORTED : err;
}

enum lethe_err lethe_png_parse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                               struct lethe_raster *raster, struct lethe_buf *recipe,
                               enum lethe_reason *reason)
{
    return lethe_png_parse_on(file, len, limits, NULL, NULL, raster, recipe, reason);
}

enum lethe_err lethe_png_parse_on(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                                  struct lethe_pool *pool, bool *believed, struct lethe_raster *raster,
                                  struct lethe_buf *recipe, enum lethe_reason *reason)
{
    struct parser parser = {.file = file, .len = len};
    struct lethe_raster made = {0};
    struct lethe_buf text = {0};
    enum lethe_err err = LETHE_ERR_UNSUPPORTED;

    *raster = (struct lethe_raster){0};
    *recipe = (struct lethe_buf){0};
    *reason = LETHE_REASON_NONE;
    if (believed) {
        *believed = false;
    }
    if (len < sizeof lethe_png_signature ||
        memcmp(file, lethe_png_signature, sizeof lethe_png_signature) != 0) {
        *reason = LETHE_REASON_NO_PICTURE;
        return LETHE_ERR_UNSUPPORTED;
    }
    *reason = read_header(&parser, limits);
    if (*reason == LETHE_REASON_NONE) {
        *reason = scan_idats(&parser);
    }
    if (*reason == LETHE_REASON_NONE) {
        err = join_idats(&parser);
        if (!err) {
            err = parse_picture(&parser, pool, believed, &made, &text, reason);
        }
    }
    free(parser.joined);
    if (err) {
        lethe_raster_release(&made);
        lethe_buf_release(&text);
        *reason = err == LETHE_ERR_UNSUPPORTED ? *reason : LETHE_REASON_NONE;
        return err;
    }
    *reason = LETHE_REASON_NONE;
    *raster = made;
    *recipe = text;
    return LETHE_OK;
}
