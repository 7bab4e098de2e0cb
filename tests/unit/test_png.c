/* SPDX-License-Identifier: MIT */
/* PNGs come back byte for byte, ordinary or odd; what has no recipe is refused with its reason; damage is
 * survived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <png.h>

#include "engine/image/png_recipe.h"
#include "lethe/image.h"

#define SHARED "../shared/photos/dev/photo"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Gradients, edges and noise: filters of all kinds have their place. */
static struct lethe_raster make_raster(uint32_t width, uint32_t height, unsigned channels, unsigned depth)
{
    struct lethe_raster raster;
    uint64_t seed = width * 31u + height + channels * 7u + depth;

    assert_int_equal(lethe_raster_init(&raster, width, height, channels, depth), LETHE_OK);
    for (unsigned c = 0; c < channels; c++) {
        for (uint32_t y = 0; y < height; y++) {
            for (uint32_t x = 0; x < width; x++) {
                uint32_t v = x * (c + 1) + y * 2;

                if ((x / 16 + y / 16) % 3 == 0) {
                    v = 200 + c;
                } else if (y > height / 2) {
                    v += next(&seed) % 9;
                }
                v = depth == 16 ? v * 97 : v;
                raster.planes[c][(size_t)y * width + x] = (uint16_t)(depth == 16 ? v : v & 255);
            }
        }
    }
    return raster;
}

struct options {
    int level, strategy, mem_level, window_bits, filters, interlace;
    size_t buffer;
};

static const struct options plain = {6, -1, 8, 15, PNG_ALL_FILTERS, 0, 8192};

static void collect(png_structp png, png_bytep bytes, size_t len)
{
    lethe_buf_put(png_get_io_ptr(png), bytes, len);
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static struct lethe_buf make_file(const struct lethe_raster *raster, const struct options *o)
{
    static const int colours[5] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                   PNG_COLOR_TYPE_RGB_ALPHA};
    size_t row_bytes = (size_t)raster->width * raster->channels * (raster->depth / 8);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    uint8_t *pixels = calloc(raster->height, row_bytes), *at = pixels;
    uint8_t **rows = calloc(raster->height, sizeof *rows);
    struct lethe_buf file = {0};

    assert_non_null(pixels);
    assert_non_null(rows);
    for (uint32_t y = 0; y < raster->height; y++) {
        rows[y] = at;
        for (size_t x = 0; x < raster->width; x++) {
            for (unsigned c = 0; c < raster->channels; c++) {
                uint16_t v = raster->planes[c][(size_t)y * raster->width + x];

                if (raster->depth == 16) {
                    *at++ = (uint8_t)(v >> 8);
                }
                *at++ = (uint8_t)v;
            }
        }
    }
    png_set_write_fn(png, &file, collect, flush_nothing);
    png_set_IHDR(png, info, raster->width, raster->height, (int)raster->depth, colours[raster->channels],
                 o->interlace ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    png_set_compression_level(png, o->level);
    if (o->strategy >= 0) {
        png_set_compression_strategy(png, o->strategy);
    }
    png_set_compression_mem_level(png, o->mem_level);
    png_set_compression_window_bits(png, o->window_bits);
    png_set_compression_buffer_size(png, o->buffer);
    png_set_filter(png, 0, o->filters);
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(pixels);
    free(rows);
    assert_int_equal(lethe_buf_status(&file), LETHE_OK);
    return file;
}

/* Parses, rebuilds, compares; returns the size of the recipe. raster: what the samples must be, or NULL. */
static size_t round_trip(const uint8_t *file, size_t len, const struct lethe_raster *expected)
{
    struct lethe_raster raster;
    struct lethe_buf recipe, out = {0};
    enum lethe_reason reason;
    size_t cost;

    assert_int_equal(lethe_png_parse(file, len, &lethe_image_limits_default, &raster, &recipe, &reason),
                     LETHE_OK);
    assert_int_equal(reason, LETHE_REASON_NONE);
    if (expected) {
        assert_int_equal(raster.width, expected->width);
        assert_int_equal(raster.height, expected->height);
        assert_int_equal(raster.channels, expected->channels);
        assert_int_equal(raster.depth, expected->depth);
        for (unsigned c = 0; c < raster.channels; c++) {
            assert_memory_equal(raster.planes[c], expected->planes[c],
                                (size_t)raster.width * raster.height * sizeof(uint16_t));
        }
    }
    lethe_buf_put(&out, "before", 6);
    assert_int_equal(lethe_png_rebuild(&raster, recipe.data, recipe.len, len, &out), LETHE_OK);
    assert_int_equal(out.len, len + 6);
    assert_memory_equal(out.data, "before", 6);
    assert_memory_equal(out.data + 6, file, len);
    assert_int_equal(lethe_png_rebuild(&raster, recipe.data, recipe.len, len - 1, &out), LETHE_ERR_FORMAT);
    assert_int_equal(out.len, len + 6);
    cost = recipe.len;
    lethe_buf_release(&out);
    lethe_buf_release(&recipe);
    lethe_raster_release(&raster);
    return cost;
}

static void shapes(void **unused)
{
    static const uint32_t sizes[][2] = {{1, 1}, {2, 3}, {7, 9}, {33, 17}, {160, 120}};

    (void)unused;
    for (unsigned s = 0; s < 5; s++) {
        for (unsigned channels = 1; channels <= 4; channels++) {
            for (unsigned depth = 8; depth <= 16; depth += 8) {
                struct lethe_raster raster = make_raster(sizes[s][0], sizes[s][1], channels, depth);

                for (int interlace = 0; interlace <= 1; interlace++) {
                    struct options o = plain;
                    struct lethe_buf file;

                    o.interlace = interlace;
                    file = make_file(&raster, &o);
                    assert_true(round_trip(file.data, file.len, &raster) <= file.len / 50 + 200);
                    lethe_buf_release(&file);
                }
                lethe_raster_release(&raster);
            }
        }
    }
}

/* Indices into a palette of count colours: twice, alpha: whether some are there twice, or not opaque. */
static struct lethe_buf make_indexed(uint32_t width, uint32_t height, int depth, int count, bool grey, bool twice,
                                     bool alpha, int interlace, struct lethe_raster *expected)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color colours[256];
    png_byte opacity[256];
    struct lethe_buf file = {0};
    unsigned channels = (grey ? 1u : 3u) + alpha;
    uint64_t seed = width + (unsigned)count;
    uint8_t *pixels = calloc(height, width);
    uint8_t **rows = calloc(height, sizeof *rows);

    assert_non_null(pixels);
    assert_non_null(rows);
    for (int i = 0; i < count; i++) {
        png_byte v = (png_byte)((twice ? i / 2 : i) * 255 / count + 1);

        colours[i] = (png_color){v, grey ? v : (png_byte)(255 - v), grey ? v : 77};
        opacity[i] = i < 2 ? (png_byte)(100 * i) : 255;
    }
    assert_int_equal(lethe_raster_init(expected, width, height, channels, 8), LETHE_OK);
    for (uint32_t y = 0; y < height; y++) {
        rows[y] = pixels + (size_t)y * width;
        for (uint32_t x = 0; x < width; x++) {
            unsigned index = (x / 3 + y / 5 + next(&seed) % 3) % (unsigned)count;
            uint16_t all[4] = {colours[index].red, colours[index].green, colours[index].blue};

            all[channels - 1] = alpha ? opacity[index] : all[channels - 1];
            rows[y][x] = (uint8_t)index;
            for (unsigned c = 0; c < channels; c++) {
                expected->planes[c][(size_t)y * width + x] = all[c];
            }
        }
    }
    png_set_write_fn(png, &file, collect, flush_nothing);
    png_set_IHDR(png, info, width, height, depth, PNG_COLOR_TYPE_PALETTE, interlace, 0, 0);
    png_set_PLTE(png, info, colours, count);
    if (alpha) {
        png_set_tRNS(png, info, opacity, 2, NULL);
    }
    png_write_info(png, info);
    png_set_packing(png);
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(pixels);
    free(rows);
    assert_int_equal(lethe_buf_status(&file), LETHE_OK);
    return file;
}

static void palettes(void **unused)
{
    static const int counts[] = {2, 3, 4, 13, 16, 200, 256};

    (void)unused;
    for (unsigned k = 0; k < 7 * 16; k++) {
        int count = counts[k / 16], least = count <= 2 ? 1 : count <= 4 ? 2 : count <= 16 ? 4 : 8;
        struct lethe_raster expected;
        struct lethe_buf file = make_indexed(k % 16 < 8 ? 37 : 8, 21, k % 3 ? least : 8, count, k & 1, k & 2, k & 4,
                                             k & 8 ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, &expected);

        (void)round_trip(file.data, file.len, &expected);
        expected.planes[0][5] = 254; /* no colour of the palette */
        {
            struct lethe_raster raster;
            struct lethe_buf recipe, out = {0};
            enum lethe_reason reason;

            assert_int_equal(lethe_png_parse(file.data, file.len, &lethe_image_limits_default, &raster, &recipe,
                                             &reason),
                             LETHE_OK);
            assert_int_equal(lethe_png_rebuild(&expected, recipe.data, recipe.len, file.len, &out), LETHE_ERR_FORMAT);
            for (size_t at = 0; at < recipe.len; at++) { /* damage does no harm */
                recipe.data[at] ^= 0x55;
                (void)!lethe_png_rebuild(&raster, recipe.data, recipe.len, file.len, &out);
                recipe.data[at] ^= 0x55;
            }
            lethe_buf_release(&recipe);
            lethe_buf_release(&out);
            lethe_raster_release(&raster);
        }
        lethe_raster_release(&expected);
        lethe_buf_release(&file);
    }
}

static void encoders(void **unused)
{
    static const int filters[] = {PNG_FILTER_NONE, PNG_FILTER_SUB,   PNG_FILTER_UP,
                                  PNG_FILTER_AVG,  PNG_FILTER_PAETH, PNG_ALL_FILTERS};
    static const size_t buffers[] = {6, 100, 8192, 1u << 20};
    struct lethe_raster raster = make_raster(150, 130, 3, 8);

    (void)unused;
    for (int level = 0; level <= 9; level++) {
        for (int k = 0; k < 6; k++) {
            struct options o = {level,
                                k - 1,
                                k % 2 ? 8 : 9,
                                15 - k,
                                filters[(level + k) % 6],
                                k == 3,
                                buffers[(unsigned)(level + k) % 4]};
            struct lethe_buf file = make_file(&raster, &o);
            size_t cost = round_trip(file.data, file.len, &raster);

            if (cost > file.len / 50 + 200) {
                fail_msg("level %d strategy %d: %zu of %zu", level, o.strategy, cost, file.len);
            }
            lethe_buf_release(&file);
        }
    }
    lethe_raster_release(&raster);
}

/* --- hand-made files: chunks put together from those of an ordinary one --- */

static void put_be(struct lethe_buf *out, uint32_t value)
{
    uint8_t bytes[4];

    lethe_set_u32be(bytes, value);
    lethe_buf_put(out, bytes, 4);
}

static void put_chunk(struct lethe_buf *out, const char *type, const void *data, size_t len,
                      uint32_t crc_error)
{
    size_t at = out->len + 4;

    put_be(out, (uint32_t)len);
    lethe_buf_put(out, type, 4);
    lethe_buf_put(out, data, len);
    assert_int_equal(lethe_buf_status(out), LETHE_OK);
    put_be(out, lethe_png_crc(0, out->data + at, len + 4) ^ crc_error);
}

struct parts {
    struct lethe_raster raster;
    struct lethe_buf file;
    const uint8_t *ihdr; /* 13 bytes */
    const uint8_t *zlib;
    size_t zlib_len;
};

static struct parts make_parts(void)
{
    struct options o = plain;
    struct parts p = {.raster = make_raster(40, 30, 3, 8)};

    o.buffer = 1u << 20; /* one IDAT */
    p.file = make_file(&p.raster, &o);
    p.ihdr = p.file.data + 16;
    p.zlib_len = lethe_get_u32be(p.file.data + 33);
    p.zlib = p.file.data + 41;
    assert_memory_equal(p.zlib - 4, "IDAT", 4);
    return p;
}

static void free_parts(struct parts *p)
{
    lethe_buf_release(&p->file);
    lethe_raster_release(&p->raster);
}

static struct lethe_buf begin_file(const struct parts *p, uint32_t crc_error)
{
    struct lethe_buf file = {0};

    lethe_buf_put(&file, lethe_png_signature, 8);
    put_chunk(&file, "IHDR", p->ihdr, 13, crc_error);
    return file;
}

static void odd_layouts(void **unused)
{
    struct parts p = make_parts();
    static const char text[] =
        "Comment\0a text that tells something, and tells something more, in some words";

    (void)unused;
    for (int kind = 0; kind < 12; kind++) {
        struct lethe_buf file = begin_file(&p, kind == 9 ? 0x1234 : 0);
        size_t at = 0, third = p.zlib_len / 3;

        if (kind == 0) { /* IDATs of odd sizes, empty ones among them */
            for (size_t size = 0; at < p.zlib_len; size++) {
                size_t some = size < p.zlib_len - at ? size : p.zlib_len - at;

                put_chunk(&file, "IDAT", p.zlib + at, some, 0);
                at += some;
            }
            put_chunk(&file, "IDAT", NULL, 0, 0);
        } else if (kind == 1) { /* chunks in between */
            put_chunk(&file, "tEXt", text, sizeof text, 0);
            put_chunk(&file, "IDAT", p.zlib, third, 0);
            put_chunk(&file, "juNK", text, 5, 0);
            put_chunk(&file, "IDAT", p.zlib + third, p.zlib_len - third, 0);
        } else if (kind == 2) { /* wrong CRCs everywhere */
            put_chunk(&file, "tEXt", text, sizeof text, 1);
            put_chunk(&file, "IDAT", p.zlib, p.zlib_len, 0xffffffff);
        } else if (kind == 3) { /* a wrong Adler-32 */
            uint8_t *copy = malloc(p.zlib_len);

            assert_non_null(copy);
            memcpy(copy, p.zlib, p.zlib_len);
            copy[p.zlib_len - 1] ^= 1;
            put_chunk(&file, "IDAT", copy, p.zlib_len, 0);
            free(copy);
        } else if (kind == 4) { /* no Adler-32 */
            put_chunk(&file, "IDAT", p.zlib, p.zlib_len - 4, 0);
        } else if (kind == 5) { /* more behind it */
            put_chunk(&file, "IDAT", p.zlib, p.zlib_len, 0);
            put_chunk(&file, "IDAT", text, sizeof text, 0);
        } else if (kind == 6) { /* equal IDATs, and an empty last one */
            put_chunk(&file, "IDAT", p.zlib, p.zlib_len, 0);
            put_chunk(&file, "IDAT", NULL, 0, 0);
        } else {
            put_chunk(&file, "IDAT", p.zlib, p.zlib_len, 0);
        }
        if (kind == 7) { /* text behind the picture */
            put_chunk(&file, "tEXt", text, sizeof text, 0);
            put_chunk(&file, "eXIf", text, sizeof text, 0);
        }
        if (kind == 8) {
            put_chunk(&file, "IEND", text, 3, 0);
        } else if (kind != 10) { /* no IEND at all */
            put_chunk(&file, "IEND", NULL, 0, kind == 2);
        }
        if (kind == 11) { /* trailing bytes that look like chunks */
            put_chunk(&file, "IDAT", text, sizeof text, 0);
            put_chunk(&file, "IEND", NULL, 0, 0);
            lethe_buf_put(&file, text, 9);
        }
        assert_int_equal(lethe_buf_status(&file), LETHE_OK);
        round_trip(file.data, file.len, &p.raster);
        lethe_buf_release(&file);
    }
    free_parts(&p);
}

static void refuse(const uint8_t *file, size_t len, const struct lethe_image_limits *limits,
                   enum lethe_reason why)
{
    struct lethe_raster raster;
    struct lethe_buf recipe;
    enum lethe_reason reason;

    assert_int_equal(lethe_png_parse(file, len, limits, &raster, &recipe, &reason), LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, why);
    assert_null(raster.planes[0]);
    assert_null(recipe.data);
}

static void refusals(void **unused)
{
    struct parts p = make_parts();
    const struct lethe_image_limits *limits = &lethe_image_limits_default;
    struct lethe_image_limits few = {.max_pixels = 1199, .max_bytes = 1u << 20}, small = {1200, 7199, 0};
    uint8_t ihdr[13];
    const uint8_t *own = p.ihdr;
    struct lethe_buf file;

    (void)unused;
    refuse((const uint8_t *)"GIF89a..", 8, limits, LETHE_REASON_NO_PICTURE);
    refuse(p.file.data, 7, limits, LETHE_REASON_NO_PICTURE);
    refuse(p.file.data, 8, limits, LETHE_REASON_MALFORMED);
    refuse(p.file.data, p.file.len, &few, LETHE_REASON_TOO_LARGE);
    refuse(p.file.data, p.file.len, &small, LETHE_REASON_TOO_LARGE);
    for (int kind = 0; kind < 8; kind++) {
        static const struct {
            unsigned at;
            uint8_t value;
            enum lethe_reason why;
        } changes[8] = {
            {9, 3, LETHE_REASON_MALFORMED},    {8, 4, LETHE_REASON_MALFORMED},
            {0, 0x80, LETHE_REASON_MALFORMED}, {10, 1, LETHE_REASON_MALFORMED},
            {12, 2, LETHE_REASON_MALFORMED},   {1, 0x7f, LETHE_REASON_TOO_LARGE},
            {6, 1, LETHE_REASON_MALFORMED},    {7, 29, LETHE_REASON_MALFORMED},
        };

        memcpy(ihdr, own, 13);
        ihdr[changes[kind].at] = changes[kind].value;
        p.ihdr = ihdr;
        file = begin_file(&p, 0);
        put_chunk(&file, "IDAT", p.zlib, p.zlib_len, 0);
        put_chunk(&file, "IEND", NULL, 0, 0);
        refuse(file.data, file.len, limits, changes[kind].why);
        lethe_buf_release(&file);
    }
    p.ihdr = own;
    file = begin_file(&p, 0); /* a picture that promises more than its bytes could hold */
    put_chunk(&file, "IEND", NULL, 0, 0);
    refuse(file.data, file.len, limits, LETHE_REASON_MALFORMED);
    lethe_buf_release(&file);
    free_parts(&p);
}

/* Whatever parses must come back; nothing else may happen than a refusal. */
static void try_file(const uint8_t *file, size_t len)
{
    struct lethe_raster raster;
    struct lethe_buf recipe, out = {0};
    enum lethe_reason reason;

    if (lethe_png_parse(file, len, &lethe_image_limits_default, &raster, &recipe, &reason)) {
        assert_int_not_equal(reason, LETHE_REASON_NONE);
        return;
    }
    assert_int_equal(lethe_png_rebuild(&raster, recipe.data, recipe.len, len, &out), LETHE_OK);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, file, len);
    lethe_buf_release(&out);
    lethe_buf_release(&recipe);
    lethe_raster_release(&raster);
}

static void truncations_and_mutations(void **unused)
{
    struct parts p = make_parts();
    uint64_t seed = 42;

    (void)unused;
    for (size_t len = 0; len <= p.file.len; len++) {
        uint8_t *copy = malloc(len ? len : 1); /* exactly as long, so that a sanitizer sees every overrun */

        assert_non_null(copy);
        memcpy(copy, p.file.data, len);
        try_file(copy, len);
        free(copy);
    }
    for (int i = 0; i < 3000; i++) {
        uint8_t *copy = malloc(p.file.len);

        assert_non_null(copy);
        memcpy(copy, p.file.data, p.file.len);
        for (unsigned k = 1 + next(&seed) % 3; k > 0; k--) {
            size_t at = next(&seed) % p.file.len;

            at = next(&seed) % 2 ? at : at % 60;
            copy[at] = (uint8_t)(next(&seed) % 2 ? next(&seed) : copy[at] ^ 1u << next(&seed) % 8);
        }
        try_file(copy, p.file.len);
        free(copy);
    }
    free_parts(&p);
}

static void damaged_recipes(void **unused)
{
    struct parts p = make_parts();
    struct lethe_raster raster;
    struct lethe_buf recipe;
    enum lethe_reason reason;
    uint64_t seed = 4;

    (void)unused;
    assert_int_equal(
        lethe_png_parse(p.file.data, p.file.len, &lethe_image_limits_default, &raster, &recipe, &reason),
        LETHE_OK);
    for (int i = 0; i < 6000; i++) {
        size_t cut = i % 3 ? recipe.len : next(&seed) % recipe.len;
        uint8_t *copy = malloc(cut ? cut : 1);
        struct lethe_buf out = {0};
        enum lethe_err err;

        assert_non_null(copy);
        memcpy(copy, recipe.data, cut);
        for (unsigned k = next(&seed) % 4; k > 0 && cut > 0; k--) {
            copy[next(&seed) % cut] = (uint8_t)next(&seed);
        }
        err = lethe_png_rebuild(&raster, copy, cut, p.file.len + 50, &out);
        assert_true(err ? out.len == 0 : out.len <= p.file.len + 50);
        lethe_buf_release(&out);
        free(copy);
    }
    raster.height--; /* a recipe of another picture */
    {
        struct lethe_buf out = {0};

        assert_int_equal(lethe_png_rebuild(&raster, recipe.data, recipe.len, p.file.len, &out),
                         LETHE_ERR_FORMAT);
    }
    recipe.data[0] = LETHE_PNG_RECIPE_VERSION + 1;
    {
        struct lethe_buf out = {0};

        assert_int_equal(lethe_png_rebuild(&raster, recipe.data, recipe.len, p.file.len, &out),
                         LETHE_ERR_VERSION);
    }
    lethe_buf_release(&recipe);
    lethe_raster_release(&raster);
    free_parts(&p);
}

static void libpng_adapter(void **unused)
{
    struct lethe_image_limits few = {.max_pixels = 100, .max_bytes = 1u << 20};

    (void)unused;
    for (unsigned channels = 1; channels <= 4; channels++) {
        for (unsigned depth = 8; depth <= 16; depth += 8) {
            struct lethe_raster raster = make_raster(31, 17, channels, depth), read;
            struct lethe_buf file = {0};

            assert_int_equal(lethe_png_write(&raster, 6, &file), LETHE_OK);
            assert_int_equal(lethe_png_read(file.data, file.len, &lethe_image_limits_default, &read),
                             LETHE_OK);
            for (unsigned c = 0; c < channels; c++) {
                assert_memory_equal(raster.planes[c], read.planes[c], 31 * 17 * sizeof(uint16_t));
            }
            lethe_raster_release(&read);
            assert_int_not_equal(lethe_png_read(file.data, file.len, &few, &read), LETHE_OK);
            for (size_t len = 0; len < file.len - 30; len += 7) {
                assert_int_not_equal(lethe_png_read(file.data, len, &lethe_image_limits_default, &read),
                                     LETHE_OK);
                assert_null(read.planes[0]);
            }
            lethe_buf_release(&file);
            lethe_raster_release(&raster);
        }
    }
}

static void reasons_have_names(void **unused)
{
    (void)unused;
    for (int reason = 0; reason < LETHE_REASON_COUNT; reason++) {
        assert_string_not_equal(lethe_reason_name((enum lethe_reason)reason), "unknown");
    }
}

/* Optimised files as given: restored exactly, for a description well below what deflate can be charged. */
static void optimised_files(void **unused)
{
    static const char *const names[] = {"baby", "dog", "mc3", "sunset"};
    size_t total = 0, cost = 0;

    (void)unused;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200];
        uint8_t *bytes;
        size_t len;
        FILE *file;

        snprintf(path, sizeof path, SHARED "/%s-lossless.png", names[i]);
        file = fopen(path, "rb");
        if (!file) {
            skip();
        }
        fseek(file, 0, SEEK_END);
        len = (size_t)ftell(file);
        rewind(file);
        bytes = malloc(len);
        assert_non_null(bytes);
        assert_int_equal(fread(bytes, 1, len, file), len);
        fclose(file);
        cost += round_trip(bytes, len, NULL);
        total += len;
        free(bytes);
    }
    assert_true(cost < total / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes), cmocka_unit_test(palettes),          cmocka_unit_test(encoders),
        cmocka_unit_test(odd_layouts),     cmocka_unit_test(refusals),
        cmocka_unit_test(damaged_recipes), cmocka_unit_test(truncations_and_mutations),
        cmocka_unit_test(libpng_adapter),  cmocka_unit_test(reasons_have_names),
        cmocka_unit_test(optimised_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
