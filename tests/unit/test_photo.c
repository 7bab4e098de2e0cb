/* SPDX-License-Identifier: MIT */
/*
 * The codec from end to end with the shipped pair: every kind of picture comes back exactly, the artifact
 * alone gives the picture that the quality figure speaks of, and parts that do not belong together are
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

#include "lethe/check.h"
#include "lethe/codec.h"
#include "lethe/seal.h"
#include "tests/tsan.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Repeatable bytes in place of the system's. */
static void fill(void *context, void *out, size_t len)
{
    uint8_t *p = out;

    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)next(context);
    }
}

/* Slopes, edges and a little noise in 16 bits. */
static unsigned sample(uint32_t x, uint32_t y, unsigned c, uint64_t *seed)
{
    unsigned value = x * 300 + y * 200 + c * 9000 + (next(seed) & 1023);

    return (value + ((x / 13 ^ y / 17) & 1 ? 20000 : 0)) & 0xffff;
}

struct how {
    uint32_t width, height;
    int components;
    int h, v;
    bool progressive, rgb;
    const char *comment;
};

static void write_jpeg(const struct how *how, struct lethe_buf *out)
{
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    uint64_t seed = 7;
    uint8_t *row = malloc((size_t)how->width * 4);

    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &len);
    info.image_width = how->width;
    info.image_height = how->height;
    info.input_components = how->components;
    info.in_color_space = how->components == 1 ? JCS_GRAYSCALE : how->components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    if (how->rgb) {
        jpeg_set_colorspace(&info, JCS_RGB);
    }
    jpeg_set_quality(&info, 85, TRUE);
    info.comp_info[0].h_samp_factor = how->h;
    info.comp_info[0].v_samp_factor = how->v;
    if (how->progressive) {
        jpeg_simple_progression(&info);
    }
    jpeg_start_compress(&info, TRUE);
    if (how->comment) {
        jpeg_write_marker(&info, JPEG_COM, (const JOCTET *)how->comment, (unsigned)strlen(how->comment));
    }
    while (info.next_scanline < info.image_height) {
        JSAMPROW rows[1] = {row};

        for (uint32_t x = 0; x < how->width; x++) {
            for (int c = 0; c < how->components; c++) {
                row[x * (uint32_t)how->components + (uint32_t)c] =
                    (uint8_t)(sample(x, info.next_scanline, (unsigned)c, &seed) >> 8);
            }
        }
        (void)jpeg_write_scanlines(&info, rows, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    lethe_buf_put(out, bytes, len);
    free(bytes);
    free(row);
}

static void append(png_structp png, png_bytep bytes, png_size_t len)
{
    lethe_buf_put(png_get_io_ptr(png), bytes, len);
}

static void write_png(uint32_t width, uint32_t height, int type, int depth, bool interlaced,
                      struct lethe_buf *out)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    uint64_t seed = 9;
    unsigned channels = type == PNG_COLOR_TYPE_RGB          ? 3
                        : type == PNG_COLOR_TYPE_RGBA       ? 4
                        : type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                            : 1;
    size_t stride = ((size_t)width * channels * (size_t)depth + 7) / 8;
    uint8_t *bytes = malloc(stride * height);
    png_bytep *rows = malloc(height * sizeof *rows);

    for (uint32_t y = 0; y < height; y++) {
        rows[y] = bytes + y * stride;
        for (size_t i = 0; i < stride; i++) {
            size_t wide = depth == 16 ? 2 : 1;
            unsigned value =
                sample((uint32_t)(i / wide / channels), y, (unsigned)(i / wide % channels), &seed);

            rows[y][i] = (uint8_t)(depth == 16 && i % 2 ? value : value >> 8);
        }
        if (depth < 8 && width * (unsigned)depth % 8) { /* nothing behind the last sample */
            rows[y][stride - 1] &= (uint8_t)(0xff00 >> width * (unsigned)depth % 8);
        }
    }
    png_set_write_fn(png, out, append, NULL);
    png_set_IHDR(png, info, width, height, depth, type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 0, 0);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[256];

        for (int i = 0; i < 256; i++) {
            palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), (png_byte)(i * 7)};
        }
        png_set_PLTE(png, info, palette, 1 << depth);
    }
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(rows);
    free(bytes);
}

/* A file's three parts. */
struct parts {
    struct lethe_photo *photo;
    struct lethe_buf artifact;
    struct lethe_buf residual;
    const uint8_t *recipe;
    size_t recipe_len;
    struct lethe_photo_quality quality;
};

static void parts_release(struct parts *parts)
{
    lethe_photo_free(parts->photo);
    lethe_buf_release(&parts->artifact);
    lethe_buf_release(&parts->residual);
}

static const struct lethe_pair *pair(void)
{
    const struct lethe_pair *shipped = lethe_pair_shipped(0);

    assert_non_null(shipped);
    return shipped;
}

static bool take_apart(const struct lethe_buf *file, unsigned strength, uint64_t seed, struct parts *parts)
{
    const struct lethe_random random = {fill, &seed};
    enum lethe_reason reason;

    memset(parts, 0, sizeof *parts);
    if (lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &parts->photo, &reason)) {
        assert_int_not_equal(reason, LETHE_REASON_NONE);
        return false;
    }
    assert_int_equal(lethe_photo_encrypt(parts->photo, pair(), strength, &random, NULL, &parts->artifact),
                     LETHE_OK);
    assert_int_equal(lethe_photo_residual(parts->photo, pair(), parts->artifact.data, parts->artifact.len,
                                          LETHE_EFFORT_FAST, NULL, &parts->residual, &parts->quality),
                     LETHE_OK);
    parts->recipe = lethe_photo_recipe(parts->photo, &parts->recipe_len);
    return true;
}

static enum lethe_err restore(const struct parts *parts, const struct lethe_pair *with, size_t max_len,
                              struct lethe_buf *out)
{
    return lethe_photo_restore(with, parts->artifact.data, parts->artifact.len, parts->residual.data,
                               parts->residual.len, parts->recipe, parts->recipe_len,
                               &lethe_image_limits_default, NULL, max_len, out);
}

static void assert_restores(const struct parts *parts, const struct lethe_buf *file)
{
    struct lethe_buf out = {0};

    assert_int_equal(restore(parts, pair(), file->len, &out), LETHE_OK);
    assert_int_equal(out.len, file->len);
    assert_memory_equal(out.data, file->data, file->len);
    lethe_buf_reset(&out);
    assert_int_not_equal(restore(parts, pair(), file->len - 1, &out), LETHE_OK);
    assert_int_equal(out.len, 0);
    lethe_buf_release(&out);
}

/* The picture of the artifact alone is the one that quality was measured on. */
static void assert_picture(const struct parts *parts, const struct lethe_buf *file, unsigned channels)
{
    struct lethe_raster picture, original;
    uint64_t error = 0;

    assert_int_equal(lethe_artifact_picture(pair(), parts->artifact.data, parts->artifact.len,
                                            &lethe_image_limits_default, NULL, &picture),
                     LETHE_OK);
    assert_int_equal(picture.width, lethe_photo_info(parts->photo)->width);
    assert_int_equal(picture.height, lethe_photo_info(parts->photo)->height);
    assert_int_equal(picture.channels, channels);
    assert_int_equal(picture.depth, 8);
    if (lethe_photo_info(parts->photo)->container == LETHE_CONTAINER_PNG) {
        assert_int_equal(lethe_png_read(file->data, file->len, &lethe_image_limits_default, &original),
                         LETHE_OK);
        if (original.channels == channels) {
            for (unsigned c = 0; c < channels; c++) {
                for (size_t i = 0; i < (size_t)picture.width * picture.height; i++) {
                    int d = picture.planes[c][i] - (original.planes[c][i] >> (original.depth - 8));

                    error += (uint64_t)(d * d);
                }
            }
            assert_int_equal(error, parts->quality.squared_error);
            assert_int_equal(parts->quality.samples, (uint64_t)channels * picture.width * picture.height);
        }
        lethe_raster_release(&original);
    }
    lethe_raster_release(&picture);
}

static void png_round_trips(void **unused)
{
    static const struct {
        int type;
        int depth;
        unsigned channels;
    } kinds[] = {
        {PNG_COLOR_TYPE_GRAY, 1, 1},       {PNG_COLOR_TYPE_GRAY, 2, 1},
        {PNG_COLOR_TYPE_GRAY, 4, 1},       {PNG_COLOR_TYPE_GRAY, 8, 1},
        {PNG_COLOR_TYPE_GRAY, 16, 1},       {PNG_COLOR_TYPE_RGB, 8, 3},
        {PNG_COLOR_TYPE_RGB, 16, 3},        {PNG_COLOR_TYPE_PALETTE, 1, 3},
        {PNG_COLOR_TYPE_PALETTE, 2, 3},    {PNG_COLOR_TYPE_PALETTE, 4, 3},
        {PNG_COLOR_TYPE_PALETTE, 8, 3},    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 2},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 2}, {PNG_COLOR_TYPE_RGBA, 8, 4},
        {PNG_COLOR_TYPE_RGBA, 16, 4},
    };

    (void)unused;
    TEST_IN_ONE_THREAD();
    for (size_t i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
        size_t kind = i / 2;
        struct lethe_buf file = {0};
        struct parts parts;

        write_png(61, 43, kinds[kind].type, kinds[kind].depth, i % 2, &file);
        assert_true(take_apart(&file, (unsigned)(i % 4), i, &parts));
        assert_restores(&parts, &file);
        assert_picture(&parts, &file, kinds[kind].channels);
        parts_release(&parts);
        lethe_buf_release(&file);
    }
}

static void jpeg_round_trips(void **unused)
{
    static const int factors[][2] = {{1, 1}, {2, 2}, {2, 1}, {1, 2}, {4, 1}};
    static const uint32_t sizes[][2] = {{1, 1}, {7, 50}, {75, 41}};

    (void)unused;
    TEST_IN_ONE_THREAD();
    for (unsigned i = 0; i < 5 * 4 * 3; i++) {
        unsigned kind = i / 5 % 4;
        struct how how = {.progressive = i % 2};
        struct lethe_buf file = {0};
        struct parts parts;

        how.width = sizes[i / 20][0];
        how.height = sizes[i / 20][1];
        how.h = factors[i % 5][0];
        how.v = factors[i % 5][1];
        how.components = kind == 0 ? 1 : kind == 3 ? 4 : 3;
        how.rgb = kind == 2;
        write_jpeg(&how, &file);
        assert_true(take_apart(&file, i % 4, i, &parts));
        assert_restores(&parts, &file);
        assert_picture(&parts, &file, kind == 0 ? 1 : 3);
        parts_release(&parts);
        lethe_buf_release(&file);
    }
}

/* With a pool and without, artifact and residual are proven, and the photo's recipe serves. */
static void encode(const struct lethe_buf *file, unsigned threads, bool *looked_again)
{
    uint64_t seed = threads;
    const struct lethe_random random = {fill, &seed};
    const struct lethe_photo_coding how = {.strength = 2,
                                           .rate = lethe_pair_rate(pair(), 2),
                                           .effort = LETHE_EFFORT_FAST,
                                           .view = true,
                                           .random = &random};
    struct parts parts = {0};
    struct lethe_buf believed = {0};
    struct lethe_pool *pool;
    enum lethe_reason reason;

    assert_int_equal(lethe_pool_new(threads, &pool), LETHE_OK);
    assert_int_equal(lethe_photo_parse_to_encode(file->data, file->len, &lethe_image_limits_default, pool, &parts.photo,
                                                 &reason),
                     LETHE_OK);
    parts.recipe = lethe_photo_recipe(parts.photo, &parts.recipe_len);
    lethe_buf_put(&believed, parts.recipe, parts.recipe_len);
    assert_int_equal(lethe_photo_encode(parts.photo, file->data, file->len, pair(), &how, pool, &parts.artifact,
                                        &parts.residual, &parts.quality),
                     LETHE_OK);
    parts.recipe = lethe_photo_recipe(parts.photo, &parts.recipe_len);
    *looked_again = parts.recipe_len != believed.len || memcmp(parts.recipe, believed.data, believed.len) != 0;
    assert_restores(&parts, file);
    lethe_buf_release(&believed);
    parts_release(&parts);
    lethe_pool_free(pool);
}

/* An encoder may begin like another one: what was believed of it is found out. */
static void encodes_what_it_proves(void **unused)
{
    struct lethe_raster raster;
    struct lethe_buf file = {0};
    bool looked_again;
    uint64_t seed = 3;

    (void)unused;
    assert_int_equal(lethe_raster_init(&raster, 256, 256, 1, 8), LETHE_OK);
    for (uint32_t i = 0; i < 256 * 256; i++) { /* a quarter of noise, then strings that a level finds or not */
        raster.planes[0][i] = (uint16_t)(i < 64 * 256 ? next(&seed) & 63 : (next(&seed) & 1) + (i >> 7 & 1));
    }
    for (int level = 1; level <= 9; level++) {
        lethe_buf_reset(&file);
        assert_int_equal(lethe_png_write(&raster, level, &file), LETHE_OK);
        encode(&file, level % 2 ? 2 : 1, &looked_again);
        /* Of the levels that the zlib header does not tell apart, the first is believed. */
        assert_true(looked_again == (level == 3 || level == 5 || level > 7));
    }
    lethe_raster_release(&raster);
    lethe_buf_release(&file);
    write_jpeg(&(struct how){.width = 61, .height = 43, .components = 3, .h = 2, .v = 2}, &file);
    encode(&file, 2, &looked_again);
    assert_false(looked_again);
    lethe_buf_release(&file);
}

/* A fine artifact of a smooth picture is a good picture of it. */
static void picture_resembles(void **unused)
{
    struct lethe_raster raster;
    struct lethe_buf file = {0};
    struct parts parts;

    (void)unused;
    TEST_IN_ONE_THREAD();
    assert_int_equal(lethe_raster_init(&raster, 96, 64, 4, 8), LETHE_OK);
    for (unsigned c = 0; c < 4; c++) {
        for (uint32_t i = 0; i < 96 * 64; i++) {
            raster.planes[c][i] = (uint16_t)(c * 20 + i % 96 + i / 96);
        }
    }
    assert_int_equal(lethe_png_write(&raster, 6, &file), LETHE_OK);
    lethe_raster_release(&raster);
    assert_true(take_apart(&file, 0, 1, &parts));
    assert_true(lethe_quality_psnr(&parts.quality) > 28.0);
    assert_restores(&parts, &file);
    parts_release(&parts);
    lethe_buf_release(&file);
}

static void encryptions_differ(void **unused)
{
    struct how how = {.width = 120, .height = 90, .components = 3, .h = 2, .v = 2};
    struct lethe_buf file = {0};
    struct parts a, b;
    struct lethe_latents la, lb;
    size_t nonzero = 0, differ = 0;

    (void)unused;
    TEST_IN_ONE_THREAD();
    write_jpeg(&how, &file);
    assert_true(take_apart(&file, 0, 1, &a));
    assert_true(take_apart(&file, 0, 2, &b));
    assert_int_equal(
        lethe_artifact_latents(a.artifact.data, a.artifact.len, &lethe_image_limits_default, 0, &la),
        LETHE_OK);
    assert_int_equal(
        lethe_artifact_latents(b.artifact.data, b.artifact.len, &lethe_image_limits_default, 0, &lb),
        LETHE_OK);
    assert_int_equal(la.blocks_w, 15);
    assert_int_equal(la.blocks_h, 12);
    for (size_t i = 0; i < (size_t)15 * 12 * LETHE_LATENTS; i++) {
        nonzero += la.values[i] || lb.values[i];
        differ += la.values[i] != lb.values[i];
    }
    assert_true(nonzero > 0 && differ * 10 >= nonzero);
    lethe_latents_release(&lb);
    assert_int_equal(
        lethe_artifact_latents(a.artifact.data, a.artifact.len, &lethe_image_limits_default, 1, &lb),
        LETHE_ERR_NOT_FOUND);
    lethe_latents_release(&la);
    lethe_latents_release(&lb);
    parts_release(&a);
    parts_release(&b);
    lethe_buf_release(&file);
}

/* A comment changes the recipe and nothing else: artifact and residual serve the new file as they are. */
static void tag_edit(void **unused)
{
    struct how how = {.width = 80, .height = 60, .components = 3, .h = 2, .v = 1};
    struct lethe_buf before = {0}, after = {0}, out = {0};
    struct parts a, b;
    const uint8_t *recipe;
    size_t recipe_len;

    (void)unused;
    TEST_IN_ONE_THREAD();
    write_jpeg(&how, &before);
    how.comment = "at the lake";
    write_jpeg(&how, &after);
    assert_true(take_apart(&before, 2, 1, &a));
    assert_true(take_apart(&after, 2, 2, &b));
    assert_memory_equal(lethe_photo_info(a.photo)->digest, lethe_photo_info(b.photo)->digest, 32);
    assert_true(a.recipe_len != b.recipe_len || memcmp(a.recipe, b.recipe, a.recipe_len) != 0);
    recipe = a.recipe;
    recipe_len = a.recipe_len;
    a.recipe = b.recipe;
    a.recipe_len = b.recipe_len;
    assert_restores(&a, &after);
    a.recipe = recipe;
    a.recipe_len = recipe_len;
    /* and a residual made anew for the old artifact */
    lethe_buf_reset(&b.residual);
    assert_int_equal(lethe_photo_residual(b.photo, pair(), a.artifact.data, a.artifact.len, LETHE_EFFORT_FAST,
                                          NULL, &b.residual, NULL),
                     LETHE_OK);
    lethe_buf_release(&b.artifact);
    lethe_buf_put(&b.artifact, a.artifact.data, a.artifact.len);
    assert_restores(&b, &after);
    /* other pixels, another digest */
    parts_release(&b);
    lethe_buf_reset(&after);
    how.width = 79;
    write_jpeg(&how, &after);
    assert_true(take_apart(&after, 2, 2, &b));
    assert_memory_not_equal(lethe_photo_info(a.photo)->digest, lethe_photo_info(b.photo)->digest, 32);
    parts_release(&a);
    parts_release(&b);
    lethe_buf_release(&before);
    lethe_buf_release(&after);
    lethe_buf_release(&out);
}

static void foreign_parts(void **unused)
{
    struct how how = {.width = 80, .height = 60, .components = 3, .h = 2, .v = 1};
    struct lethe_buf file = {0}, out = {0};
    struct parts a, b, mixed;

    (void)unused;
    TEST_IN_ONE_THREAD();
    write_jpeg(&how, &file);
    assert_true(take_apart(&file, 1, 1, &a));
    assert_true(take_apart(&file, 1, 2, &b));
    mixed = a;
    mixed.residual = b.residual;
    assert_int_equal(restore(&mixed, pair(), file.len, &out), LETHE_ERR_FORMAT);
    parts_release(&b);
    lethe_buf_reset(&file);
    how.height = 61;
    write_jpeg(&how, &file);
    assert_true(take_apart(&file, 1, 1, &b));
    mixed = a;
    mixed.recipe = b.recipe;
    mixed.recipe_len = b.recipe_len;
    assert_int_equal(restore(&mixed, pair(), file.len, &out), LETHE_ERR_FORMAT);
    assert_int_equal(lethe_photo_residual(b.photo, pair(), a.artifact.data, a.artifact.len, LETHE_EFFORT_FAST,
                                          NULL, &out, NULL),
                     LETHE_ERR_FORMAT);
    lethe_buf_reset(&file);
    write_png(80, 60, PNG_COLOR_TYPE_RGB, 8, false, &file);
    parts_release(&b);
    assert_true(take_apart(&file, 1, 1, &b));
    mixed = a;
    mixed.recipe = b.recipe;
    mixed.recipe_len = b.recipe_len;
    assert_int_not_equal(restore(&mixed, pair(), file.len, &out), LETHE_OK);
    parts_release(&a);
    parts_release(&b);
    lethe_buf_release(&file);
    lethe_buf_release(&out);
}

/* A pair with altered weights and a right hash, under whose id the parts then claim to be. */
static void altered_pair(void **unused)
{
    size_t len;
    const uint8_t *bytes = lethe_pair_bytes(pair(), &len);
    uint8_t *copy = malloc(len);
    struct lethe_pair *other = NULL;
    unsigned altered = 0;

    (void)unused;
    TEST_IN_ONE_THREAD();
    memcpy(copy, bytes, len);
    for (size_t at = len / 2; at < len - 32;
         at += len / 150) { /* the Decrypter's half; what parses stays altered */
        struct lethe_pair *tried = NULL;

        copy[at] ^= 1;
        lethe_hash(copy, len - 32, copy + len - 32);
        if (lethe_pair_parse(copy, len, &tried)) {
            copy[at] ^= 1;
            continue;
        }
        lethe_pair_free(other);
        other = tried;
        altered++;
    }
    assert_true(altered > 20);
    for (unsigned kind = 0; kind < 2; kind++) {
        struct lethe_buf file = {0}, out = {0};
        struct parts parts;
        bool patched = false;

        if (kind) {
            write_png(80, 60, PNG_COLOR_TYPE_RGB, 8, false, &file);
        } else {
            struct how how = {.width = 80, .height = 60, .components = 3, .h = 2, .v = 2};

            write_jpeg(&how, &file);
        }
        assert_true(take_apart(&file, 0, 1, &parts));
        assert_int_equal(restore(&parts, other, file.len, &out), LETHE_ERR_ARG);
        for (size_t i = 0; i + 16 <= parts.artifact.len && !patched; i++) {
            if (memcmp(parts.artifact.data + i, lethe_pair_id(pair())->bytes, 16) == 0) {
                memcpy(parts.artifact.data + i, lethe_pair_id(other)->bytes, 16);
                patched = true;
            }
        }
        assert_true(patched);
        lethe_set_u64(parts.residual.data + 2, lethe_check64(parts.artifact.data, parts.artifact.len));
        assert_true(restore(&parts, other, file.len, &out) || out.len != file.len ||
                    memcmp(out.data, file.data, file.len) != 0);
        parts_release(&parts);
        lethe_buf_release(&file);
        lethe_buf_release(&out);
    }
    lethe_pair_free(other);
    free(copy);
}

/* Any damage is an error or other bytes, which a comparison sees; damage to the artifact is always an error.
 */
static void mutations(void **unused)
{
    uint64_t seed = 21;

    (void)unused;
    TEST_IN_ONE_THREAD();
    for (unsigned kind = 0; kind < 2; kind++) {
        struct lethe_buf file = {0};
        struct parts parts;

        if (kind) {
            write_png(40, 30, PNG_COLOR_TYPE_RGBA, 8, false, &file);
        } else {
            struct how how = {.width = 40, .height = 30, .components = 3, .h = 2, .v = 2};

            write_jpeg(&how, &file);
        }
        assert_true(take_apart(&file, 1, 1, &parts));
        for (unsigned i = 0; i < 360; i++) {
            const uint8_t *part[3] = {parts.artifact.data, parts.residual.data, parts.recipe};
            size_t len[3] = {parts.artifact.len, parts.residual.len, parts.recipe_len};
            unsigned which = i % 3;
            uint8_t *copy = malloc(len[which] + 1);
            struct lethe_buf out = {0};
            struct lethe_raster picture;
            enum lethe_err err;

            memcpy(copy, part[which], len[which]);
            if (i % 5 == 0) {
                len[which] = next(&seed) % len[which];
            } else {
                copy[next(&seed) % len[which]] ^= (uint8_t)(1u << next(&seed) % 8);
            }
            part[which] = copy;
            err = lethe_photo_restore(pair(), part[0], len[0], part[1], len[1], part[2], len[2],
                                      &lethe_image_limits_default, NULL, file.len, &out);
            assert_false(err == LETHE_OK && which == 0);
            assert_true(err == LETHE_OK ? out.len <= file.len : out.len == 0);
            if (which == 0) {
                const struct lethe_image_limits small = {1u << 16, 1u << 22, 0};

                if (lethe_artifact_picture(pair(), copy, len[0], &small, NULL, &picture) == LETHE_OK) {
                    lethe_raster_release(&picture);
                }
            }
            lethe_buf_release(&out);
            free(copy);
        }
        parts_release(&parts);
        lethe_buf_release(&file);
    }
}

static void threads_do_not_matter(void **unused)
{
    struct lethe_pool *pool;
    struct how how = {.width = 300, .height = 280, .components = 3, .h = 2, .v = 2};
    struct lethe_buf file = {0}, residual = {0}, out = {0};
    struct lethe_photo_quality quality;
    struct parts parts;

    (void)unused;
    assert_int_equal(lethe_pool_new(3, &pool), LETHE_OK);
    write_jpeg(&how, &file);
    assert_true(take_apart(&file, 2, 1, &parts));
    assert_int_equal(lethe_photo_residual(parts.photo, pair(), parts.artifact.data, parts.artifact.len,
                                          LETHE_EFFORT_FAST, pool, &residual, &quality),
                     LETHE_OK);
    assert_int_equal(residual.len, parts.residual.len);
    assert_memory_equal(residual.data, parts.residual.data, residual.len);
    assert_int_equal(quality.squared_error, parts.quality.squared_error);
    assert_int_equal(lethe_photo_restore(pair(), parts.artifact.data, parts.artifact.len, residual.data,
                                         residual.len, parts.recipe, parts.recipe_len,
                                         &lethe_image_limits_default, pool, file.len, &out),
                     LETHE_OK);
    assert_int_equal(out.len, file.len);
    assert_memory_equal(out.data, file.data, file.len);
    parts_release(&parts);
    lethe_buf_release(&file);
    lethe_buf_release(&residual);
    lethe_buf_release(&out);
    lethe_pool_free(pool);
}

/* A restore under way against the whole file. */
struct growing {
    const struct lethe_buf *file;
    size_t len;
    unsigned calls;
};

static void on_ready(void *context, const uint8_t *bytes, size_t len)
{
    struct growing *growing = context;

    assert_true(len >= growing->len && len < growing->file->len);
    assert_memory_equal(bytes, growing->file->data, len);
    growing->len = len;
    growing->calls++;
}

/* The first bytes of a large JPEG are told of before the last rows are decoded; a small one comes whole. */
static void first_bytes(void **state)
{
    static const struct {
        struct how how;
        bool early;
    } cases[] = {
        {{1900, 1310, 3, 2, 2, false, false, NULL}, true},   {{1301, 1003, 3, 1, 1, false, true, NULL}, true},
        {{2100, 1499, 1, 1, 1, false, false, NULL}, true},   {{1100, 1003, 4, 1, 2, false, false, NULL}, true},
        {{1900, 1310, 3, 2, 1, true, false, NULL}, true},   {{120, 90, 3, 2, 2, false, false, NULL}, false},
    };
    struct lethe_pool *pool;

    (void)state;
    assert_int_equal(lethe_pool_new(3, &pool), LETHE_OK);
    /* The threads are the same for all of them: ThreadSanitizer sees the smallest that is early, and the last. */
    for (size_t i = TEST_TSAN ? 3 : 0; i < sizeof cases / sizeof *cases; i += TEST_TSAN ? 2 : 1) {
        struct lethe_buf file = {0}, out = {0};
        struct growing growing = {.file = &file};
        const struct lethe_photo_watch watch = {on_ready, &growing};
        struct parts parts;

        write_jpeg(&cases[i].how, &file);
        assert_true(take_apart(&file, 3, 5 + i, &parts));
        assert_int_equal(lethe_photo_restore_watched(pair(), parts.artifact.data, parts.artifact.len,
                                                     parts.residual.data, parts.residual.len, parts.recipe,
                                                     parts.recipe_len, &lethe_image_limits_default, pool, &watch,
                                                     file.len, &out),
                         LETHE_OK);
        assert_int_equal(out.len, file.len);
        assert_memory_equal(out.data, file.data, file.len);
        if (cases[i].early) {
            assert_true(growing.calls > 0 && growing.len > 1000);
        } else {
            assert_int_equal(growing.calls, 0);
        }
        parts_release(&parts);
        lethe_buf_release(&file);
        lethe_buf_release(&out);
    }
    lethe_pool_free(pool);
}

static void no_picture(void **unused)
{
    struct lethe_photo *photo;
    enum lethe_reason reason;

    (void)unused;
    assert_int_equal(
        lethe_photo_parse((const uint8_t *)"plain text", 10, &lethe_image_limits_default, &photo, &reason),
        LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, LETHE_REASON_NO_PICTURE);
    assert_null(photo);
    assert_int_equal(lethe_photo_parse(NULL, 0, &lethe_image_limits_default, &photo, &reason),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_photo_parse((const uint8_t *)"\xff\xd8\xff\xd9\0\0\0\0", 8,
                                       &lethe_image_limits_default, &photo, &reason),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, LETHE_REASON_MALFORMED);
    lethe_photo_free(NULL);
}

/* Real files, where they are at hand. */
static void real_files(void **unused)
{
    static const char *const names[] = {
        "jpeg/androidprogressive.jpg", "jpeg/badzerorun.jpg", "jpeg/nofsync.jpg",          "jpeg/gray2sf.jpg",
        "jpeg/colorswap.jpg",          "train/c0001.jpg",     "dev/photo/mc3-lossless.png"};
    unsigned found = 0;

    (void)unused;
    TEST_IN_ONE_THREAD();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        uint8_t part[65536];
        struct lethe_buf file = {0};
        struct parts parts;
        size_t n;
        FILE *in;

        snprintf(path, sizeof path, "../shared/photos/%s", names[i]);
        in = fopen(path, "rb");
        if (!in) {
            continue;
        }
        while ((n = fread(part, 1, sizeof part, in)) > 0) {
            lethe_buf_put(&file, part, n);
        }
        fclose(in);
        assert_true(take_apart(&file, 2, i, &parts));
        assert_restores(&parts, &file);
        print_message("%s: %zu + %zu + %zu of %zu, %.1f dB\n", names[i], parts.artifact.len,
                      parts.residual.len, parts.recipe_len, file.len, lethe_quality_psnr(&parts.quality));
        parts_release(&parts);
        if (strstr(names[i], ".png")) { /* by an encoder that optimises: segments whose matches another thread finds */
            bool looked_again;

            encode(&file, 3, &looked_again);
            assert_false(looked_again);
        }
        lethe_buf_release(&file);
        found++;
    }
    if (!found) {
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_round_trips),
        cmocka_unit_test(jpeg_round_trips),
        cmocka_unit_test(encodes_what_it_proves),
        cmocka_unit_test(picture_resembles),
        cmocka_unit_test(encryptions_differ),
        cmocka_unit_test(tag_edit),
        cmocka_unit_test(foreign_parts),
        cmocka_unit_test(altered_pair),
        cmocka_unit_test(mutations),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(first_bytes),
        cmocka_unit_test(no_picture),
        cmocka_unit_test(real_files),
    };

    if (lethe_seal_start()) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
