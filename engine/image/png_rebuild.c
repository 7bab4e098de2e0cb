/* SPDX-License-Identifier: MIT */
/* Samples and recipe to the file. The recipe was sealed, but may be malformed all the same. */
#include "deflate.h"
#include "png_recipe.h"

#include <stdlib.h>
#include <string.h>

struct rebuilder {
    const struct lethe_raster *raster;
    unsigned version;
    struct lethe_png_shape shape;
    struct lethe_reader layout;
    bool ihdr_wrong;
    uint8_t ihdr_crc[4];
    struct lethe_buf zlib; /* what the IDATs hold together */
    size_t zlib_at;        /* how much of it is written */
    struct lethe_buf *out;
    size_t max_len;
    const struct lethe_png_feed *feed;
};

/* The filtered picture, as far as the deflate stream has come. */
struct filtering {
    const struct rebuilder *r;
    const struct lethe_raster *values;
    const uint8_t *types;
    uint8_t *data;
    size_t row;    /* bytes, with the filter's */
    uint32_t rows; /* filtered */
};

/* False when out would outgrow max_len. */
static bool fits(const struct rebuilder *r, size_t bytes)
{
    return r->out->len <= r->max_len && bytes <= r->max_len - r->out->len;
}

/* crc: NULL for the right one. */
static enum lethe_err put_chunk(struct rebuilder *r, const uint8_t type[4], const uint8_t *data, size_t size,
                                const uint8_t *crc)
{
    uint8_t word[4];

    if (size > INT32_MAX || !fits(r, size + 12)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_set_u32be(word, (uint32_t)size);
    lethe_buf_put(r->out, word, 4);
    lethe_buf_put(r->out, type, 4);
    lethe_buf_put(r->out, data, size);
    if (!crc) {
        lethe_set_u32be(word, lethe_png_crc(lethe_png_crc(0, type, 4), data, size));
        crc = word;
    }
    lethe_buf_put(r->out, crc, 4);
    return lethe_buf_status(r->out);
}

static enum lethe_err read_head(struct rebuilder *r)
{
    const struct lethe_raster *raster = r->raster;
    uint64_t width = lethe_read_varint(&r->layout), height = lethe_read_varint(&r->layout);

    r->shape.depth = lethe_read_u8(&r->layout);
    r->shape.colour = lethe_read_u8(&r->layout);
    r->shape.interlace = lethe_read_u8(&r->layout);
    r->ihdr_wrong = lethe_read_u8(&r->layout);
    if (r->ihdr_wrong) {
        lethe_read_bytes(&r->layout, r->ihdr_crc, 4);
    }
    r->shape.width = raster->width;
    r->shape.height = raster->height;
    if (lethe_reader_status(&r->layout, false) || width != raster->width || height != raster->height ||
        !lethe_png_shape_set(&r->shape) || lethe_png_is_plain(&r->shape) != (r->version == 1)) {
        return LETHE_ERR_FORMAT;
    }
    if (r->version == 1 && (r->shape.channels != raster->channels || r->shape.depth != raster->depth)) {
        return LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

static enum lethe_err put_ihdr(struct rebuilder *r)
{
    uint8_t data[13];

    if (!fits(r, sizeof lethe_png_signature)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_buf_put(r->out, lethe_png_signature, sizeof lethe_png_signature);
    lethe_set_u32be(data, r->shape.width);
    lethe_set_u32be(data + 4, r->shape.height);
    data[8] = (uint8_t)r->shape.depth;
    data[9] = (uint8_t)r->shape.colour;
    data[10] = data[11] = 0;
    data[12] = (uint8_t)r->shape.interlace;
    return put_chunk(r, (const uint8_t *)"IHDR", data, sizeof data, r->ihdr_wrong ? r->ihdr_crc : NULL);
}

/* The first chunks PLTE and tRNS among the items that are left in layout. */
static enum lethe_err find_palette(struct lethe_reader layout, const struct lethe_png_shape *shape,
                                   struct lethe_png_palette *palette)
{
    const uint8_t *plte = NULL, *trns = NULL;
    size_t plte_len = 0, trns_len = 0;

    for (uint8_t tag = lethe_read_u8(&layout); tag != LETHE_PNG_END && !layout.bad; tag = lethe_read_u8(&layout)) {
        const uint8_t *type, *data;
        size_t size;

        switch (tag & ~LETHE_PNG_BAD_CRC) {
        case LETHE_PNG_IDATS:
            if (lethe_read_varint(&layout) > 1) {
                (void)lethe_read_varint(&layout);
            }
            break;
        case LETHE_PNG_IDAT:
            (void)lethe_read_varint(&layout);
            break;
        case LETHE_PNG_CHUNK:
            type = lethe_read_view(&layout, 4);
            data = lethe_read_block(&layout, &size);
            if (!layout.bad && !plte && memcmp(type, "PLTE", 4) == 0) {
                plte = data;
                plte_len = size;
            } else if (!layout.bad && !trns && memcmp(type, "tRNS", 4) == 0) {
                trns = data;
                trns_len = size;
            }
            break;
        case LETHE_PNG_IEND:
            break;
        default:
            return LETHE_ERR_FORMAT;
        }
        if (tag & LETHE_PNG_BAD_CRC) {
            (void)lethe_read_view(&layout, 4);
        }
    }
    return !layout.bad && lethe_png_palette_set(palette, shape, plte, plte_len, trns, trns_len) ? LETHE_OK
                                                                                               : LETHE_ERR_FORMAT;
}

/* The values that the file holds, where they are not the raster's samples. layout stands before the items. */
static enum lethe_err find_values(const struct rebuilder *r, struct lethe_reader *recipe, struct lethe_raster *values)
{
    struct lethe_png_palette palette;
    struct lethe_buf choices = {0};
    enum lethe_err err;

    if (r->shape.colour != 3) {
        return lethe_png_collapse(&r->shape, NULL, r->raster, NULL, 0, values);
    }
    err = lethe_png_meta_get(recipe, (size_t)r->shape.width * r->shape.height, &choices);
    if (!err) {
        err = find_palette(r->layout, &r->shape, &palette);
    }
    if (!err) {
        err = lethe_png_collapse(&r->shape, &palette, r->raster, choices.data, choices.len, values);
    }
    lethe_buf_release(&choices);
    return err;
}

#define ROWS 16u /* to filter at once, so that they are read again while they are near */

static enum lethe_err need_data(void *context, size_t bytes, size_t *ready)
{
    struct filtering *f = context;
    uint32_t height = f->r->shape.height, most = height;
    uint64_t rows = ((uint64_t)bytes + f->row - 1) / f->row;
    enum lethe_err err = LETHE_OK;

    rows = rows > height ? height : rows;
    if (f->r->feed && rows > f->rows) {
        err = f->r->feed->need(f->r->feed->context, (uint32_t)rows, &most);
    }
    if (!err && f->rows < most) {
        rows = rows > f->rows + ROWS ? rows : f->rows + ROWS;
        rows = rows < most ? rows : most;
        err = lethe_png_filter_rows(&f->r->shape, f->values, f->types, f->rows, (uint32_t)rows, f->data);
        f->rows = (uint32_t)rows;
    }
    *ready = f->rows * f->row;
    return err;
}

/* All rows of a raster that is still coming. */
static enum lethe_err need_all(const struct rebuilder *r)
{
    uint32_t ready;

    return r->feed ? r->feed->need(r->feed->context, r->shape.height, &ready) : LETHE_OK;
}

/* The zlib stream: header and tail from the layout, deflate from the picture and its description. */
static enum lethe_err make_zlib(struct rebuilder *r, struct lethe_reader *recipe)
{
    struct lethe_raster values = {0};
    struct lethe_buf padding = {0};
    uint8_t *data = NULL, *types = NULL, word[4];
    const uint8_t *description, *tail = NULL;
    size_t size, rows, description_len, tail_len = 0;
    unsigned kind;
    struct filtering filtering;
    bool whole = r->version > 1 || r->shape.interlace; /* all of the picture before its first byte */
    const struct lethe_deflate_feed feed = {.need = whole ? NULL : need_data,
                                            .context = &filtering,
                                            .pool = r->feed ? r->feed->pool : NULL};
    enum lethe_err err;

    if (!lethe_png_shape_size(&r->shape, &size, &rows) || size > SIZE_MAX - LETHE_DEFLATE_SLACK) {
        return LETHE_ERR_FORMAT;
    }
    data = malloc(size + LETHE_DEFLATE_SLACK);
    types = malloc(rows);
    if (!data || !types) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    memset(data + size, 0, LETHE_DEFLATE_SLACK);
    err = lethe_png_types_get(recipe, types, rows);
    if (err) {
        goto out;
    }
    description = lethe_read_block(recipe, &description_len);
    lethe_read_bytes(&r->layout, word, 2);
    kind = lethe_read_u8(&r->layout);
    if (kind != LETHE_PNG_TAIL_ADLER) {
        tail = lethe_read_block(&r->layout, &tail_len);
    }
    if (lethe_reader_status(&r->layout, false) || kind > LETHE_PNG_TAIL_VERBATIM) {
        err = LETHE_ERR_FORMAT;
        goto out;
    }
    if (whole) {
        err = need_all(r);
    }
    if (!err && r->version > 1) {
        err = find_values(r, recipe, &values);
    }
    if (!err && r->shape.depth < 8 && lethe_reader_left(recipe) > 0) {
        err = lethe_png_meta_get(recipe, rows, &padding);
        err = err || padding.len == rows ? err : LETHE_ERR_FORMAT;
    }
    if (!err && lethe_reader_status(recipe, true)) {
        err = LETHE_ERR_FORMAT;
    }
    if (err) {
        goto out;
    }
    if (whole) {
        err = lethe_png_filter(&r->shape, r->version > 1 ? &values : r->raster, types, padding.data, data);
        lethe_raster_release(&values); /* not needed beside what follows */
    }
    if (err) {
        goto out;
    }
    filtering = (struct filtering){
        .r = r, .values = r->raster, .types = types, .data = data, .row = size / r->shape.height};
    lethe_buf_put(&r->zlib, word, 2);
    err = lethe_deflate_replay(description, description_len, data, size, &feed, r->max_len, &r->zlib);
    if (err) {
        goto out;
    }
    if (kind != LETHE_PNG_TAIL_VERBATIM) {
        lethe_set_u32be(word, lethe_png_adler(data, size));
        lethe_buf_put(&r->zlib, word, 4);
    }
    lethe_buf_put(&r->zlib, tail, tail_len);
    err = lethe_buf_status(&r->zlib);
out:
    lethe_raster_release(&values);
    lethe_buf_release(&padding);
    free(data);
    free(types);
    return err;
}

static enum lethe_err put_idat(struct rebuilder *r, uint64_t size, const uint8_t *crc)
{
    const uint8_t *data = r->zlib.data + r->zlib_at;

    if (size > r->zlib.len - r->zlib_at) {
        return LETHE_ERR_FORMAT;
    }
    r->zlib_at += (size_t)size;
    return put_chunk(r, (const uint8_t *)"IDAT", data, (size_t)size, crc);
}

static enum lethe_err put_idats(struct rebuilder *r)
{
    uint64_t count = lethe_read_varint(&r->layout), size = 0;
    enum lethe_err err = LETHE_OK;

    if (count > 1) {
        size = lethe_read_varint(&r->layout);
    }
    if (lethe_reader_status(&r->layout, false) || count == 0) {
        return LETHE_ERR_FORMAT;
    }
    for (uint64_t i = 1; i < count && !err; i++) { /* every one makes out longer, so max_len ends this */
        err = put_idat(r, size, NULL);
    }
    return err ? err : put_idat(r, r->zlib.len - r->zlib_at, NULL);
}

static enum lethe_err put_item(struct rebuilder *r, uint8_t tag)
{
    const uint8_t *type = NULL, *data = NULL, *crc = NULL;
    size_t size = 0;
    uint64_t idat_size = 0;

    switch (tag & ~LETHE_PNG_BAD_CRC) {
    case LETHE_PNG_IDATS:
        return tag & LETHE_PNG_BAD_CRC ? LETHE_ERR_FORMAT : put_idats(r);
    case LETHE_PNG_IDAT:
        idat_size = lethe_read_varint(&r->layout);
        break;
    case LETHE_PNG_CHUNK:
        type = lethe_read_view(&r->layout, 4);
        data = lethe_read_block(&r->layout, &size);
        break;
    case LETHE_PNG_IEND:
        type = (const uint8_t *)"IEND";
        break;
    default:
        return LETHE_ERR_FORMAT;
    }
    if (tag & LETHE_PNG_BAD_CRC) {
        crc = lethe_read_view(&r->layout, 4);
    }
    if (lethe_reader_status(&r->layout, false)) {
        return LETHE_ERR_FORMAT;
    }
    return type ? put_chunk(r, type, data, size, crc) : put_idat(r, idat_size, crc);
}

static enum lethe_err put_file(struct rebuilder *r)
{
    enum lethe_err err = put_ihdr(r);
    const uint8_t *rest;
    size_t rest_len;
    uint8_t tag;

    while (!err) {
        tag = lethe_read_u8(&r->layout);
        if (tag == LETHE_PNG_END) {
            break;
        }
        err = put_item(r, tag);
    }
    if (err) {
        return err;
    }
    rest = lethe_read_block(&r->layout, &rest_len);
    if (lethe_reader_status(&r->layout, true) || r->zlib_at != r->zlib.len || !fits(r, rest_len)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_buf_put(r->out, rest, rest_len);
    return lethe_buf_status(r->out);
}

static bool sound(const struct lethe_raster *raster)
{
    if (raster->channels < 1 || raster->channels > 4) {
        return false;
    }
    for (unsigned c = 0; c < raster->channels; c++) {
        if (!raster->planes[c]) {
            return false;
        }
    }
    return true;
}

enum lethe_err lethe_png_rebuild(const struct lethe_raster *raster, const uint8_t *recipe, size_t recipe_len,
                                 size_t max_len, struct lethe_buf *out)
{
    return lethe_png_rebuild_fed(raster, recipe, recipe_len, max_len, NULL, out);
}

enum lethe_err lethe_png_rebuild_fed(const struct lethe_raster *raster, const uint8_t *recipe, size_t recipe_len,
                                     size_t max_len, const struct lethe_png_feed *feed, struct lethe_buf *out)
{
    struct lethe_reader reader;
    struct lethe_buf layout = {0}, file = {0};
    struct rebuilder r = {.raster = raster, .out = &file, .max_len = max_len, .feed = feed};
    uint8_t version;
    enum lethe_err err;

    if (!sound(raster)) {
        return LETHE_ERR_FORMAT;
    }
    lethe_reader_init(&reader, recipe, recipe_len);
    version = lethe_read_u8(&reader);
    if (reader.bad || version == 0) {
        return LETHE_ERR_FORMAT;
    }
    if (version > LETHE_PNG_RECIPE_VERSION) {
        return LETHE_ERR_VERSION;
    }
    r.version = version;
    /* Whatever the layout holds ends up in the file, but for a few bytes an item. */
    err = lethe_png_meta_get(&reader, max_len > SIZE_MAX / 2 ? max_len : max_len + 4096, &layout);
    if (!err) {
        lethe_reader_init(&r.layout, layout.data, layout.len);
        err = read_head(&r);
    }
    if (!err) {
        err = make_zlib(&r, &reader);
    }
    if (!err) {
        err = put_file(&r);
    }
    if (!err) {
        lethe_buf_put(out, file.data, file.len);
        err = lethe_buf_status(out);
    }
    lethe_buf_release(&file);
    lethe_buf_release(&layout);
    lethe_buf_release(&r.zlib);
    return err;
}
