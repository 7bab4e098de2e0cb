/* SPDX-License-Identifier: MIT */
/*
 * The Decrypter's picture as a file. In the photo's container it keeps size, sampling, tables and metadata, holds no
 * embedded picture of the original, and comes back from artifact and recipe alone; from the artifact alone it is a file
 * of the same format and size. What the writers make is fixed by hashes: files rest on it for decades.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lethe/codec.h"
#include "lethe/seal.h"

#define LIMITS &lethe_image_limits_default

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static void fill(void *context, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)next(context);
    }
}

static const struct lethe_pair *pair(void)
{
    const struct lethe_pair *shipped = lethe_pair_shipped(0);

    assert_non_null(shipped);
    return shipped;
}

/* Slopes, with noise of the given amplitude. */
static uint8_t sample(uint32_t x, uint32_t y, unsigned c, unsigned noise, uint64_t *seed)
{
    unsigned value = 30 + (x * 2 + y + c * 40) % 180;

    return (uint8_t)(noise ? value + next(seed) % noise : value);
}

static uint32_t blocks(uint32_t size, unsigned factor, unsigned most)
{
    return (size + 8 * most - 1) / (8 * most) * factor;
}

static void make_jpeg(uint32_t width, uint32_t height, enum lethe_jpeg_colour colour, unsigned h, unsigned v,
                      unsigned noise, const struct lethe_buf *segments, struct lethe_buf *out)
{
    struct lethe_jpeg jpeg = {.width = width, .height = height, .colour = colour};
    uint64_t seed = 5;

    jpeg.components = colour == LETHE_JPEG_GREY ? 1 : colour < LETHE_JPEG_CMYK ? 3 : 4;
    for (unsigned c = 0; c < jpeg.components; c++) {
        struct lethe_jpeg_component *component = &jpeg.component[c];
        bool full = c == 0 || c == 3;

        component->h = full ? h : 1;
        component->v = full ? v : 1;
        component->blocks_w = blocks(width, component->h, h);
        component->blocks_h = blocks(height, component->v, v);
        component->real_w = ((width * component->h + h - 1) / h + 7) / 8;
        component->real_h = ((height * component->v + v - 1) / v + 7) / 8;
        lethe_jpeg_quality(80, !full, component->quant);
        component->coefs = calloc((size_t)component->blocks_w * component->blocks_h, 64 * sizeof(int16_t));
        for (uint32_t b = 0; b < component->blocks_w * component->blocks_h; b++) {
            uint8_t block[64];

            for (uint32_t i = 0; i < 64; i++) {
                block[i] = sample(b % component->blocks_w * 8 + i % 8, b / component->blocks_w * 8 + i / 8, c, noise,
                                  &seed);
            }
            lethe_jpeg_fdct(block, 8, component->quant, component->coefs + (size_t)b * 64);
        }
    }
    assert_int_equal(lethe_jpeg_compose(&jpeg, NULL, segments ? segments->data : NULL, segments ? segments->len : 0, out),
                     LETHE_OK);
    lethe_jpeg_release(&jpeg);
}

static void make_raster(uint32_t width, uint32_t height, unsigned channels, unsigned depth, unsigned noise,
                        struct lethe_raster *raster)
{
    uint64_t seed = 6;

    assert_int_equal(lethe_raster_init(raster, width, height, channels, depth), LETHE_OK);
    for (unsigned c = 0; c < channels; c++) {
        for (size_t i = 0; i < (size_t)width * height; i++) {
            raster->planes[c][i] = (uint16_t)(sample((uint32_t)(i % width), (uint32_t)(i / width), c, noise, &seed)
                                              << (depth - 8));
        }
    }
}

/* A noisy picture that must not be found again. */
static void make_thumbnail(struct lethe_buf *out)
{
    make_jpeg(64, 48, LETHE_JPEG_GREY, 1, 1, 70, NULL, out);
}

/* TIFF with orientation 6 in IFD0 and a JPEG thumbnail in IFD1. */
static void make_tiff(const struct lethe_buf *thumbnail, struct lethe_buf *out)
{
    static const uint8_t head[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0,
                                   26, 0, 0, 0, 2, 0, 1, 2, 4, 0, 1, 0, 0, 0, 56, 0, 0, 0, 2, 2, 4, 0, 1, 0, 0, 0};

    lethe_buf_put(out, head, sizeof head);
    lethe_buf_put_u32(out, (uint32_t)thumbnail->len);
    lethe_buf_put_u32(out, 0);
    lethe_buf_put(out, thumbnail->data, thumbnail->len);
}

static void put_segment(struct lethe_buf *out, uint8_t marker, const char *name, size_t name_len,
                        const struct lethe_buf *bytes)
{
    size_t size = 2 + name_len + bytes->len;

    assert_true(size < 65536);
    lethe_buf_put(out, (const uint8_t[4]){0xff, marker, (uint8_t)(size >> 8), (uint8_t)size}, 4);
    lethe_buf_put(out, name, name_len);
    lethe_buf_put(out, bytes->data, bytes->len);
}

static void put_base64(struct lethe_buf *out, const struct lethe_buf *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i + 3 <= bytes->len; i += 3) {
        uint32_t word = (uint32_t)bytes->data[i] << 16 | (uint32_t)bytes->data[i + 1] << 8 | bytes->data[i + 2];

        if (i % 57 == 0 && i > 0) {
            lethe_buf_put(out, "&#xA;", 5);
        }
        for (int shift = 18; shift >= 0; shift -= 6) {
            lethe_buf_put_u8(out, (uint8_t)digits[word >> shift & 63]);
        }
    }
}

static bool holds(const struct lethe_buf *file, const uint8_t *bytes, size_t len)
{
    return memmem(file->data, file->len, bytes, len) != NULL;
}

/* No piece of the original's embedded picture. */
static void assert_gone(const struct lethe_buf *file, const struct lethe_buf *embedded)
{
    for (size_t at = 700; at + 12 <= embedded->len; at += 12) { /* behind the tables, which all have */
        assert_false(holds(file, embedded->data + at, 12));
    }
}

static double psnr(const struct lethe_raster *a, const struct lethe_raster *b)
{
    struct lethe_photo_quality quality = {0};

    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->channels, b->channels);
    for (unsigned c = 0; c < a->channels; c++) {
        for (size_t i = 0; i < (size_t)a->width * a->height; i++) {
            int d = (a->planes[c][i] >> (a->depth - 8)) - (b->planes[c][i] >> (b->depth - 8));

            quality.squared_error += (uint64_t)(d * d);
        }
        quality.samples += (uint64_t)a->width * a->height;
    }
    return lethe_quality_psnr(&quality);
}

static void read_picture(const struct lethe_buf *file, struct lethe_raster *raster)
{
    if (file->data[0] == 0xff) {
        assert_int_equal(lethe_jpeg_read(file->data, file->len, LIMITS, raster), LETHE_OK);
    } else {
        assert_int_equal(lethe_png_read(file->data, file->len, LIMITS, raster), LETHE_OK);
    }
}

static void parse(const struct lethe_buf *file, struct lethe_photo **photo)
{
    enum lethe_reason reason;

    assert_int_equal(lethe_photo_parse(file->data, file->len, LIMITS, photo, &reason), LETHE_OK);
}

/* Through artifact and back; lossy receives the file, which the caller looks at. */
static void degrade(const struct lethe_buf *file, double at_least, struct lethe_buf *lossy)
{
    uint64_t seed = 1;
    const struct lethe_random random = {fill, &seed};
    struct lethe_buf artifact = {0}, again = {0};
    struct lethe_photo *photo, *second;
    struct lethe_raster before, after;
    const uint8_t *recipe;
    size_t recipe_len;

    parse(file, &photo);
    assert_int_equal(lethe_photo_encrypt(photo, pair(), 0, &random, NULL, &artifact), LETHE_OK);
    assert_int_equal(
        lethe_photo_degrade(photo, file->data, file->len, pair(), artifact.data, artifact.len, NULL, lossy), LETHE_OK);
    parse(lossy, &second);
    assert_int_equal(lethe_photo_info(second)->width, lethe_photo_info(photo)->width);
    assert_int_equal(lethe_photo_info(second)->height, lethe_photo_info(photo)->height);
    assert_int_equal(lethe_photo_info(second)->channels, lethe_photo_info(photo)->channels);
    /* From two parts. */
    recipe = lethe_photo_recipe(second, &recipe_len);
    assert_int_equal(lethe_photo_restore(pair(), artifact.data, artifact.len, NULL, 0, recipe, recipe_len, LIMITS, NULL,
                                         lossy->len, &again),
                     LETHE_OK);
    assert_int_equal(again.len, lossy->len);
    assert_memory_equal(again.data, lossy->data, again.len);
    /* Once more changes nothing. */
    lethe_buf_reset(&again);
    assert_int_equal(
        lethe_photo_degrade(second, lossy->data, lossy->len, pair(), artifact.data, artifact.len, NULL, &again),
        LETHE_OK);
    assert_int_equal(again.len, lossy->len);
    assert_memory_equal(again.data, lossy->data, again.len);
    /* Other programs see the picture. */
    read_picture(file, &before);
    read_picture(lossy, &after);
    assert_true(psnr(&before, &after) >= at_least);
    lethe_raster_release(&after);
    /* And from the artifact alone. */
    assert_int_equal(lethe_photo_view(photo, file->data, file->len, &artifact), LETHE_OK);
    lethe_buf_reset(&again);
    assert_int_equal(lethe_artifact_file(pair(), artifact.data, artifact.len, LIMITS, NULL, &again), LETHE_OK);
    read_picture(&again, &after);
    assert_true(psnr(&before, &after) >= at_least - 1);
    lethe_raster_release(&before);
    lethe_raster_release(&after);
    lethe_photo_free(photo);
    lethe_photo_free(second);
    lethe_buf_release(&artifact);
    lethe_buf_release(&again);
}

static void jpegs(void **unused)
{
    static const unsigned factors[][2] = {{1, 1}, {2, 2}, {2, 1}, {4, 4}};

    (void)unused;
    for (unsigned i = 0; i < 5 * 4; i++) {
        static const uint8_t adobe[] = {0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0};
        enum lethe_jpeg_colour colour = (enum lethe_jpeg_colour)(i % 5);
        struct lethe_buf segments = {0}, file = {0}, lossy = {0};

        if (colour >= LETHE_JPEG_RGB) {
            lethe_buf_put(&segments, adobe, sizeof adobe);
            lethe_buf_put_u8(&segments, colour == LETHE_JPEG_YCCK ? 2 : 0);
        }
        make_jpeg(75 + i, 41 + i, colour, factors[i / 5][0], factors[i / 5][1], 0, &segments, &file);
        degrade(&file, 22, &lossy);
        lethe_buf_release(&segments);
        lethe_buf_release(&file);
        lethe_buf_release(&lossy);
    }
}

static void pngs(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 8; i++) {
        struct lethe_buf file = {0}, lossy = {0};
        struct lethe_raster raster;

        make_raster(61 + i, 43, 1 + i % 4, i < 4 ? 8 : 16, 0, &raster);
        assert_int_equal(lethe_png_make(&raster, i % 2, NULL, 0, &file), LETHE_OK);
        lethe_raster_release(&raster);
        degrade(&file, 24, &lossy);
        assert_memory_equal(file.data, lossy.data, 33); /* IHDR: kind and interlace are kept */
        lethe_buf_release(&file);
        lethe_buf_release(&lossy);
    }
}

/* Offset and size of the picture behind the first, in a big-endian multi-picture index. */
static void make_index(uint32_t offset, uint32_t size, struct lethe_buf *out)
{
    static const uint8_t head[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0xb0, 2, 0, 7, 0, 0, 0, 32, 0, 0, 0, 26, 0, 0, 0, 0};
    uint8_t entries[32] = {0};

    lethe_set_u32be(entries + 20, size);
    lethe_set_u32be(entries + 24, offset);
    lethe_buf_put(out, head, sizeof head);
    lethe_buf_put(out, entries, sizeof entries);
}

static void metadata_of_jpegs(void **unused)
{
    struct lethe_buf thumbnail = {0}, tiff = {0}, xmp = {0}, profile = {0}, index = {0}, segments = {0}, file = {0},
                     lossy = {0};
    struct lethe_raster preview;
    const uint8_t *at, *mpf;
    size_t index_at, tail;

    (void)unused;
    make_thumbnail(&thumbnail);
    make_tiff(&thumbnail, &tiff);
    lethe_buf_put(&xmp, "<xmpGImg:image>", 15);
    put_base64(&xmp, &thumbnail);
    lethe_buf_put(&xmp, "</xmpGImg:image><dc:title>title</dc:title>", 42);
    lethe_buf_put(&profile, "a colour profile", 16);
    put_segment(&segments, 0xe1, "Exif\0", 6, &tiff);
    put_segment(&segments, 0xe1, "http://ns.adobe.com/xap/1.0/", 29, &xmp);
    put_segment(&segments, 0xed, "Photoshop 3.0", 14, &thumbnail);
    put_segment(&segments, 0xe2, "ICC_PROFILE\0\1\1", 14, &profile);
    put_segment(&segments, 0xfe, "a comment", 9, &(struct lethe_buf){0});
    index_at = 2 + segments.len + 8;
    make_index(0, 0, &index);
    put_segment(&segments, 0xe2, "MPF", 4, &index);
    make_jpeg(160, 120, LETHE_JPEG_YCC, 2, 2, 0, &segments, &file);
    tail = file.len;
    lethe_buf_reset(&index);
    make_index((uint32_t)(tail - index_at), (uint32_t)thumbnail.len, &index);
    memcpy(file.data + index_at, index.data, index.len);
    lethe_buf_put(&file, thumbnail.data, thumbnail.len);
    lethe_buf_put(&file, "motion", 6);

    degrade(&file, 20, &lossy);
    assert_gone(&lossy, &thumbnail);
    lethe_buf_reset(&xmp);
    put_base64(&xmp, &thumbnail);
    assert_false(holds(&lossy, xmp.data + 1000, 24));
    assert_true(holds(&lossy, (const uint8_t *)"<dc:title>title", 15));
    assert_true(holds(&lossy, profile.data, profile.len));
    assert_true(holds(&lossy, (const uint8_t *)"a comment", 9));
    assert_true(holds(&lossy, (const uint8_t *)"motion", 6));
    at = memmem(lossy.data, lossy.len, "Exif\0", 6); /* as it was, up to the thumbnail, which is one again */
    assert_non_null(at);
    assert_memory_equal(at + 6, tiff.data, 56);
    assert_int_equal(lethe_jpeg_read(at + 6 + 56, thumbnail.len, LIMITS, &preview), LETHE_OK);
    assert_int_equal(preview.channels, 3);
    lethe_raster_release(&preview);
    /* The picture behind the end is where the index says. */
    mpf = memmem(lossy.data, lossy.len, "MPF", 4);
    assert_non_null(mpf);
    mpf += 4;
    at = mpf + lethe_get_u32be(mpf + 26 + 24);
    assert_int_equal(lossy.data + lethe_get_u32be(mpf + 26 + 4) - at, 0);
    assert_int_equal(lethe_jpeg_read(at, lethe_get_u32be(mpf + 26 + 20), LIMITS, &preview), LETHE_OK);
    assert_int_equal(preview.width, 64);
    lethe_raster_release(&preview);

    lethe_buf_release(&thumbnail);
    lethe_buf_release(&tiff);
    lethe_buf_release(&xmp);
    lethe_buf_release(&profile);
    lethe_buf_release(&index);
    lethe_buf_release(&segments);
    lethe_buf_release(&file);
    lethe_buf_release(&lossy);
}

static void metadata_of_pngs(void **unused)
{
    struct lethe_buf thumbnail = {0}, tiff = {0}, chunks = {0}, file = {0}, lossy = {0};
    struct lethe_raster raster;
    uint8_t word[4];

    (void)unused;
    make_thumbnail(&thumbnail);
    make_tiff(&thumbnail, &tiff);
    lethe_set_u32be(word, (uint32_t)tiff.len);
    lethe_buf_put(&chunks, word, 4);
    lethe_buf_put(&chunks, "eXIf", 4);
    lethe_buf_put(&chunks, tiff.data, tiff.len);
    lethe_buf_put(&chunks, "\0\0\0", 4); /* a CRC that nobody checked */
    make_raster(80, 60, 3, 8, 0, &raster);
    assert_int_equal(lethe_png_make(&raster, 0, chunks.data, chunks.len, &file), LETHE_OK);
    lethe_raster_release(&raster);
    lethe_buf_put(&file, thumbnail.data, thumbnail.len);
    degrade(&file, 24, &lossy);
    assert_gone(&lossy, &thumbnail);
    assert_true(holds(&lossy, tiff.data, 56));
    lethe_buf_release(&thumbnail);
    lethe_buf_release(&tiff);
    lethe_buf_release(&chunks);
    lethe_buf_release(&file);
    lethe_buf_release(&lossy);
}

/* The view says which way is up, and nothing of the thumbnail. */
static void views(void **unused)
{
    struct lethe_buf thumbnail = {0}, tiff = {0}, segments = {0}, file = {0}, view = {0};

    (void)unused;
    make_thumbnail(&thumbnail);
    make_tiff(&thumbnail, &tiff);
    put_segment(&segments, 0xe1, "Exif\0", 6, &tiff);
    make_jpeg(40, 40, LETHE_JPEG_YCC, 1, 1, 0, &segments, &file);
    assert_int_equal(lethe_jpeg_view(file.data, file.len, &view), LETHE_OK);
    assert_int_equal(view.len, 4 + 6 + 26);
    assert_int_equal(view.data[10 + 19], 6);
    lethe_buf_release(&thumbnail);
    lethe_buf_release(&tiff);
    lethe_buf_release(&segments);
    lethe_buf_release(&file);
    lethe_buf_release(&view);
}

/* Metadata cut and flipped at random: no crash, no change of length, no original picture left over. */
static void hostile(void **unused)
{
    struct lethe_buf thumbnail = {0}, tiff = {0};
    struct lethe_raster picture;
    uint64_t seed = 11;

    (void)unused;
    make_thumbnail(&thumbnail);
    make_tiff(&thumbnail, &tiff);
    make_raster(64, 64, 3, 8, 0, &picture);
    for (unsigned i = 0; i < 300; i++) {
        size_t len = next(&seed) % tiff.len;
        uint8_t *bytes = malloc(len ? len : 1); /* of its own, so that a sanitizer sees its end */
        bool open;

        memcpy(bytes, tiff.data, len);
        for (unsigned k = 0; k < 4 && len > 0; k++) {
            bytes[next(&seed) % len] = (uint8_t)next(&seed);
        }
        assert_int_equal(lethe_redraw(bytes, len, &picture, &open), LETHE_OK);
        free(bytes);
    }
    lethe_raster_release(&picture);
    lethe_buf_release(&thumbnail);
    lethe_buf_release(&tiff);
}

static void assert_hash(const struct lethe_buf *bytes, const char *expected)
{
    uint8_t hash[32];
    char hex[65];

    lethe_hash(bytes->data, bytes->len, hash);
    lethe_hex(hash, 16, hex);
    assert_string_equal(hex, expected);
}

static void fixed_for_ever(void **unused)
{
    struct lethe_buf jpeg = {0}, png = {0}, small = {0};
    struct lethe_raster raster;

    (void)unused;
    make_jpeg(75, 41, LETHE_JPEG_YCC, 2, 2, 60, NULL, &jpeg);
    make_raster(75, 41, 3, 8, 60, &raster);
    assert_int_equal(lethe_png_make(&raster, 1, NULL, 0, &png), LETHE_OK);
    assert_int_equal(lethe_preview_write(&raster, 40, 30, 1500, &small), LETHE_OK);
    assert_true(small.len <= 1500);
    assert_hash(&jpeg, "791714f0c82cad4d99f915a121e9c89d");
    assert_hash(&png, "f74efea92ce13f884c6ee039e34b3f66");
    assert_hash(&small, "5150754c129fea331969c27c8815bc08");
    lethe_raster_release(&raster);
    lethe_buf_release(&jpeg);
    lethe_buf_release(&png);
    lethe_buf_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpegs),            cmocka_unit_test(pngs),  cmocka_unit_test(metadata_of_jpegs),
        cmocka_unit_test(metadata_of_pngs), cmocka_unit_test(views), cmocka_unit_test(hostile),
        cmocka_unit_test(fixed_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
