/* SPDX-License-Identifier: MIT */
/*
 * JPEG recipes give back every byte: files of libjpeg in every mode it writes, files whose encoder had other
 * habits (made here with the scan encoder and notes of its own), cut and damaged ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <cmocka.h>
#include <jpeglib.h>

#include "engine/image/jpeg_private.h"
#include "lethe/image.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

struct how {
    uint32_t width, height;
    int components; /* 1 grey, 3 YCbCr, 4 CMYK */
    int h, v;       /* of the first component */
    bool progressive, optimised, rgb;
    unsigned restart; /* MCUs */
    int quality;
};

/* A picture with edges, slopes and noise, by libjpeg. */
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
    jpeg_set_quality(&info, how->quality, TRUE);
    info.comp_info[0].h_samp_factor = how->h;
    info.comp_info[0].v_samp_factor = how->v;
    info.restart_interval = how->restart;
    info.optimize_coding = how->optimised;
    if (how->progressive) {
        jpeg_simple_progression(&info);
    }
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
        JSAMPROW rows[1] = {row};
        uint32_t y = info.next_scanline;

        for (uint32_t x = 0; x < how->width; x++) {
            for (int c = 0; c < how->components; c++) {
                unsigned value = x * 3 + y * 2 + (unsigned)c * 40 + (next(&seed) & 15);

                value += ((x / 13) ^ (y / 17)) & 1 ? 70 : 0;
                row[x * (uint32_t)how->components + (uint32_t)c] =
                    (uint8_t)(y > how->height / 2 ? value : 90);
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

/* Takes apart and rebuilds; true when the same bytes came back. With strict, anything else fails the test. */
static bool round_trip(const uint8_t *file, size_t len, bool strict)
{
    struct lethe_jpeg jpeg, shape;
    struct lethe_buf recipe = {0}, out = {0};
    enum lethe_reason reason;
    enum lethe_err err = lethe_jpeg_parse(file, len, &lethe_image_limits_default, &jpeg, &recipe, &reason);
    bool same;

    if (err) {
        assert_false(strict);
        assert_true(err == LETHE_ERR_UNSUPPORTED && reason != LETHE_REASON_NONE);
        assert_int_equal(recipe.len, 0);
        lethe_buf_release(&recipe);
        return true;
    }
    err = lethe_jpeg_rebuild(&jpeg, recipe.data, recipe.len, len, &out);
    same = !err && out.len == len && memcmp(out.data, file, len) == 0;
    if (strict) {
        assert_true(same);
        assert_int_equal(lethe_jpeg_shape(recipe.data, recipe.len, &lethe_image_limits_default, &shape),
                         LETHE_OK);
        assert_int_equal(shape.width, jpeg.width);
        assert_int_equal(shape.height, jpeg.height);
        assert_int_equal(shape.colour, jpeg.colour);
        assert_int_equal(shape.components, jpeg.components);
        for (unsigned c = 0; c < jpeg.components; c++) {
            assert_int_equal(shape.component[c].blocks_w, jpeg.component[c].blocks_w);
            assert_int_equal(shape.component[c].blocks_h, jpeg.component[c].blocks_h);
            assert_memory_equal(shape.component[c].quant, jpeg.component[c].quant,
                                sizeof jpeg.component[c].quant);
            assert_non_null(shape.component[c].coefs);
        }
        lethe_jpeg_release(&shape);
        /* too small a limit is an error, never more bytes than asked for */
        lethe_buf_reset(&out);
        assert_int_not_equal(lethe_jpeg_rebuild(&jpeg, recipe.data, recipe.len, len - 1, &out), LETHE_OK);
    }
    lethe_jpeg_release(&jpeg);
    lethe_buf_release(&recipe);
    lethe_buf_release(&out);
    return same;
}

static void every_mode(void **unused)
{
    static const int factors[][2] = {{1, 1}, {2, 2}, {2, 1}, {1, 2}, {4, 1}};
    static const uint32_t sizes[][2] = {{1, 1}, {8, 8}, {17, 33}, {100, 61}};

    (void)unused;
    for (unsigned i = 0; i < 4 * 5 * 3 * 2 * 2 * 2; i++) {
        unsigned n = i;
        struct how how = {.quality = 80};

        how.width = sizes[n % 4][0];
        how.height = sizes[n % 4][1];
        n /= 4;
        how.h = factors[n % 5][0];
        how.v = factors[n % 5][1];
        n /= 5;
        how.components = n % 3 == 0 ? 1 : n % 3 == 1 ? 3 : 4;
        how.rgb = n % 3 == 1 && i % 7 == 0;
        n /= 3;
        how.progressive = n % 2;
        how.optimised = n / 2 % 2;
        how.restart = n / 4 ? 3 : 0;
        how.quality = i % 2 ? 95 : 40;

        struct lethe_buf file = {0};

        write_jpeg(&how, &file);
        assert_true(round_trip(file.data, file.len, true));
        lethe_buf_release(&file);
    }
}

static void colours(void **unused)
{
    static const enum lethe_jpeg_colour expected[] = {LETHE_JPEG_GREY, LETHE_JPEG_YCC, LETHE_JPEG_CMYK,
                                                      LETHE_JPEG_RGB};

    (void)unused;
    for (unsigned i = 0; i < 4; i++) {
        struct how how = {.width = 20, .height = 20, .h = 1, .v = 1, .quality = 80};
        struct lethe_buf file = {0}, recipe = {0};
        struct lethe_jpeg jpeg;
        enum lethe_reason reason;

        how.components = i == 0 ? 1 : i == 2 ? 4 : 3;
        how.rgb = i == 3;
        write_jpeg(&how, &file);
        assert_int_equal(
            lethe_jpeg_parse(file.data, file.len, &lethe_image_limits_default, &jpeg, &recipe, &reason),
            LETHE_OK);
        assert_int_equal(jpeg.colour, expected[i]);
        lethe_jpeg_release(&jpeg);
        lethe_buf_release(&file);
        lethe_buf_release(&recipe);
    }
}

/* A DHT segment with a code for every symbol, so that any habit can be written; and the same in state. */
static void all_symbols(struct jpeg_state *state, struct lethe_buf *out)
{
    uint8_t segment[4 + 2 * (17 + 16) + 2 * (17 + 256)] = {0xff, 0xc4}, *p = segment + 4;

    segment[2] = (uint8_t)((sizeof segment - 2) >> 8);
    segment[3] = (uint8_t)(sizeof segment - 2);
    for (unsigned table = 0; table < 4; table++) {
        unsigned total = table < 2 ? 16 : 256;

        p[0] = (uint8_t)((table < 2 ? 0 : 0x10) | table % 2);
        if (table < 2) {
            p[5] = 16;
        } else {
            p[8] = 128;
            p[9] = 128;
        }
        for (unsigned i = 0; i < total; i++) {
            p[17 + i] = (uint8_t)i;
        }
        assert_int_equal(
            lethe_jpeg_huff_build(table < 2 ? &state->dc[table] : &state->ac[table - 2], p, p + 17, total),
            LETHE_OK);
        p += 17 + total;
    }
    lethe_buf_put(out, segment, sizeof segment);
}

/* Writes the file of how again with every scan's notes changed: a file of an encoder with other habits. */
static void rewrite(const struct how *how,
                    void (*change)(struct jpeg_scan *, const struct jpeg_state *, uint64_t),
                    struct lethe_buf *out)
{
    struct lethe_buf file = {0};
    struct jpeg_state *state = malloc(sizeof *state);
    struct lethe_jpeg jpeg = {0};
    size_t at = 0, from = 0;
    enum lethe_reason reason;
    struct jpeg_scan scans[64];
    size_t starts[64][2], count = 0;

    write_jpeg(how, &file);
    lethe_jpeg_state_init(state);
    for (;;) { /* all coefficients first: a scan of few bits is written from their final values */
        enum jpeg_step step;

        assert_int_equal(lethe_jpeg_next_scan(state, file.data, file.len, &at, &jpeg, &step, &reason),
                         LETHE_OK);
        if (step == JPEG_STEP_END) {
            break;
        }
        if (count == 0) {
            assert_int_equal(lethe_jpeg_alloc(&jpeg), LETHE_OK);
        }
        starts[count][0] = at;
        assert_int_equal(lethe_jpeg_scan_decode(state, file.data, file.len, &at, &jpeg, &scans[count]),
                         LETHE_OK);
        starts[count++][1] = at;
    }
    lethe_jpeg_state_init(state);
    at = 0;
    jpeg.components = 0;
    for (size_t i = 0; i < count; i++) {
        struct lethe_jpeg shape = jpeg;
        enum jpeg_step step;
        struct jpeg_walk walk;
        size_t sos;

        assert_int_equal(lethe_jpeg_next_scan(state, file.data, file.len, &at, &shape, &step, &reason),
                         LETHE_OK);
        jpeg = shape;
        sos = 8 + 2 * state->count; /* bytes of the scan's header */
        lethe_buf_put(out, file.data + from, at - from - sos);
        all_symbols(state, out);
        lethe_buf_put(out, file.data + at - sos, sos);
        lethe_jpeg_walk_init(&walk, state, &jpeg);
        change(&scans[i], state, walk.blocks);
        assert_int_equal(lethe_jpeg_scan_encode(state, &jpeg, &scans[i], SIZE_MAX / 4, NULL, out), LETHE_OK);
        lethe_jpeg_scan_release(&scans[i]);
        from = at = starts[i][1];
    }
    lethe_buf_put(out, file.data + from, file.len - from);
    lethe_jpeg_release(&jpeg);
    lethe_buf_release(&file);
    free(state);
}

static void pads_zero(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    (void)state;
    (void)blocks;
    scan->pad_mode = JPEG_PAD_ZEROS;
}

static void single_runs(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    (void)state;
    (void)blocks;
    scan->eob_mode = JPEG_EOB_SINGLE;
}

static void long_runs(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    (void)state;
    (void)blocks;
    scan->eob_mode = JPEG_EOB_LONG;
}

static void odd_runs(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    (void)blocks;
    if (state->progressive && state->ss > 0) {
        scan->run = calloc(3, sizeof *scan->run);
        scan->runs = 3;
        for (uint32_t i = 0; i < 3; i++) {
            scan->run[i] = (struct jpeg_run){i, 1 + i % 2};
        }
    }
}

static void odd_marks(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    (void)blocks;
    if (state->restart) {
        scan->mark = calloc(1, sizeof *scan->mark);
        scan->marks = 1;
        scan->mark[0] = (struct jpeg_mark){1, 5};
    }
}

/* A zero run before the end of each third block: the blocks at the top of the picture are flat. */
static void zero_runs(struct jpeg_scan *scan, const struct jpeg_state *state, uint64_t blocks)
{
    size_t n = (size_t)(blocks < 12 ? blocks : 12);

    if (state->se < 20 || (state->progressive && state->ah)) {
        return;
    }
    scan->tail = calloc(n, sizeof *scan->tail);
    for (size_t i = 0; i < n; i += 3) {
        scan->tail[scan->tails++] = (struct jpeg_tail){.block = (uint32_t)i,
                                                       .zrl = (uint8_t)(i % 2 ? 1 : 4),
                                                       .end = i % 2 ? JPEG_END_EOB : JPEG_END_NONE};
    }
}

static void odd_encoders(void **unused)
{
    static void (*const changes[])(struct jpeg_scan *, const struct jpeg_state *, uint64_t) = {
        pads_zero, single_runs, long_runs, odd_runs, odd_marks, zero_runs};

    (void)unused;
    for (unsigned i = 0; i < 6 * 4; i++) {
        struct how how = {.width = 200, .height = 130, .components = 3, .h = 2, .v = 2, .quality = 85};
        struct lethe_buf file = {0};

        how.progressive = i / 6 % 2;
        how.restart = i / 12 ? 40 : 0;
        rewrite(&how, changes[i % 6], &file);
        assert_true(round_trip(file.data, file.len, true));
        lethe_buf_release(&file);
    }
}

static void trailers(void **unused)
{
    static const uint8_t extra[] = {0xff, 0xd3, 0xff, 0xd9, 0, 1, 2, 0xff, 0xd8, 0xff, 0xc0, 0, 3, 9};
    struct how how = {
        .width = 64, .height = 64, .components = 3, .h = 2, .v = 2, .quality = 85, .restart = 2};
    struct lethe_buf file = {0};

    (void)unused;
    write_jpeg(&how, &file);
    lethe_buf_put(&file, extra, sizeof extra); /* after the end */
    assert_true(round_trip(file.data, file.len, true));
    memmove(file.data + file.len - 2 * sizeof extra, file.data + file.len - sizeof extra, sizeof extra);
    assert_true(round_trip(file.data, file.len - sizeof extra, true)); /* instead of the scan's end */
    lethe_buf_release(&file);
}

static void cut_anywhere(void **unused)
{
    (void)unused;
    for (unsigned progressive = 0; progressive < 2; progressive++) {
        struct how how = {
            .width = 60, .height = 40, .components = 3, .h = 2, .v = 1, .quality = 70, .restart = 5};
        struct lethe_buf file = {0};

        how.progressive = progressive;
        write_jpeg(&how, &file);
        for (size_t len = 0; len < file.len; len += len < 600 ? 7 : 1) {
            uint8_t *copy = malloc(len + 1); /* so that a sanitizer sees a read past the end */

            memcpy(copy, file.data, len);
            assert_true(round_trip(copy, len, false));
            free(copy);
        }
        lethe_buf_release(&file);
    }
}

/* Damage: a clean refusal, or the same bytes; only two codes for one symbol may come out otherwise. */
static void damage(void **unused)
{
    uint64_t seed = 3;
    unsigned differ = 0;

    (void)unused;
    for (unsigned i = 0; i < 1000; i++) {
        static struct lethe_buf files[2];
        struct how how = {
            .width = 60, .height = 40, .components = 3, .h = 2, .v = 2, .quality = 70, .restart = 3};
        struct lethe_buf *file = &files[i % 2];
        uint8_t *copy;

        if (file->len == 0) {
            how.progressive = i % 2;
            write_jpeg(&how, file);
        }
        copy = malloc(file->len);
        memcpy(copy, file->data, file->len);
        for (unsigned j = 0; j <= i % 4; j++) {
            copy[next(&seed) % file->len] = (uint8_t)next(&seed);
        }
        differ += !round_trip(copy, file->len, false);
        free(copy);
        if (i >= 998) {
            lethe_buf_release(file);
        }
    }
    assert_in_range(differ, 0, 20);
    if (differ) {
        print_message("%u of 1000 damaged files would be stored as segments\n", differ);
    }
}

/* A hostile recipe never harms, and never writes more than it may. */
static void damaged_recipes(void **unused)
{
    uint64_t seed = 5;

    (void)unused;
    for (unsigned progressive = 0; progressive < 2; progressive++) {
        struct how how = {
            .width = 60, .height = 40, .components = 3, .h = 2, .v = 2, .quality = 70, .restart = 3};
        struct lethe_buf file = {0}, recipe = {0};
        struct lethe_jpeg jpeg;
        enum lethe_reason reason;

        how.progressive = progressive;
        write_jpeg(&how, &file);
        assert_int_equal(
            lethe_jpeg_parse(file.data, file.len, &lethe_image_limits_default, &jpeg, &recipe, &reason),
            LETHE_OK);
        for (unsigned i = 0; i < 400; i++) {
            size_t len = i % 5 == 0 ? next(&seed) % recipe.len : recipe.len;
            uint8_t *copy = malloc(len + 1);
            struct lethe_buf out = {0};
            struct lethe_image_limits small = {1u << 20, 1u << 24, 0};
            struct lethe_jpeg shape;

            memcpy(copy, recipe.data, len);
            if (len == recipe.len) {
                copy[next(&seed) % len] ^= (uint8_t)(1u << next(&seed) % 8);
            }
            if (lethe_jpeg_rebuild(&jpeg, copy, len, file.len, &out) == LETHE_OK) {
                assert_in_range(out.len, 0, file.len);
            }
            if (lethe_jpeg_shape(copy, len, &small, &shape) == LETHE_OK) {
                lethe_jpeg_release(&shape);
            }
            lethe_buf_release(&out);
            free(copy);
        }
        lethe_jpeg_release(&jpeg);
        lethe_buf_release(&file);
        lethe_buf_release(&recipe);
    }
}

static void limits(void **unused)
{
    struct how how = {.width = 100, .height = 100, .components = 3, .h = 1, .v = 1, .quality = 70};
    const struct lethe_image_limits pixels = {9999, 1u << 30, 0}, bytes = {1u << 30, 169 * 3 * 128 - 1, 0};
    struct lethe_buf file = {0}, recipe = {0};
    struct lethe_jpeg jpeg;
    enum lethe_reason reason;

    (void)unused;
    write_jpeg(&how, &file);
    assert_int_equal(lethe_jpeg_parse(file.data, file.len, &pixels, &jpeg, &recipe, &reason),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, LETHE_REASON_TOO_LARGE);
    assert_int_equal(lethe_jpeg_parse(file.data, file.len, &bytes, &jpeg, &recipe, &reason),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, LETHE_REASON_TOO_LARGE);
    for (size_t i = 0; i + 8 < file.len; i++) { /* 65535 x 65535 */
        if (file.data[i] == 0xff && file.data[i + 1] == 0xc0) {
            memset(file.data + i + 5, 0xff, 4);
            break;
        }
    }
    assert_int_equal(
        lethe_jpeg_parse(file.data, file.len, &lethe_image_limits_default, &jpeg, &recipe, &reason),
        LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_jpeg_parse((const uint8_t *)"GIF89a..", 8, &lethe_image_limits_default, &jpeg,
                                      &recipe, &reason),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(reason, LETHE_REASON_NO_PICTURE);
    lethe_buf_release(&file);
    lethe_buf_release(&recipe);
}

static void packed_bytes(void **unused)
{
    uint64_t seed = 11;

    (void)unused;
    for (size_t len = 0; len < 300000; len = len < 3000 ? len * 2 + 1 : len * 3 + 7) {
        struct lethe_buf in = {0}, packed = {0}, out = {0};
        struct lethe_reader reader;

        for (size_t i = 0; i < len; i++) {
            lethe_buf_put_u8(&in, (uint8_t)(len % 3 ? next(&seed) : i / 40000 % 2 ? next(&seed) : i % 5));
        }
        assert_int_equal(lethe_jpeg_pack(in.data, in.len, &packed), LETHE_OK);
        lethe_reader_init(&reader, packed.data, packed.len);
        assert_int_equal(lethe_jpeg_unpack(&reader, len, &out), LETHE_OK);
        assert_int_equal(lethe_reader_status(&reader, true), LETHE_OK);
        assert_int_equal(out.len, len);
        if (len) {
            assert_memory_equal(out.data, in.data, len);
            lethe_reader_init(&reader, packed.data, packed.len);
            assert_int_equal(lethe_jpeg_unpack(&reader, len - 1, &out), LETHE_ERR_FORMAT);
        }
        lethe_buf_release(&in);
        lethe_buf_release(&packed);
        lethe_buf_release(&out);
    }
}

static void library_reader(void **unused)
{
    (void)unused;
    for (int components = 1; components <= 4; components += components == 1 ? 2 : 1) {
        struct how how = {.width = 50, .height = 30, .components = components, .h = 1, .v = 1, .quality = 90};
        struct lethe_buf file = {0};
        struct lethe_raster raster;

        write_jpeg(&how, &file);
        assert_int_equal(lethe_jpeg_read(file.data, file.len, &lethe_image_limits_default, &raster),
                         LETHE_OK);
        assert_int_equal(raster.width, 50);
        assert_int_equal(raster.height, 30);
        assert_int_equal(raster.channels, components == 1 ? 1 : 3);
        lethe_raster_release(&raster);
        assert_int_equal(lethe_jpeg_read(file.data, 30, &lethe_image_limits_default, &raster),
                         LETHE_ERR_FORMAT);
        lethe_buf_release(&file);
    }
}

/* The collection of hard files, where it is at hand: all but the arithmetic one. */
static void hard_files(void **unused)
{
    static const char folder[] = "../shared/photos/jpeg";
    DIR *dir = opendir(folder);
    struct dirent *entry;
    unsigned count = 0, arithmetic = 0;

    (void)unused;
    if (!dir) {
        skip();
    }
    while ((entry = readdir(dir))) {
        char path[512];
        struct lethe_buf file = {0};
        uint8_t part[65536];
        size_t n;
        FILE *in;

        if (!strstr(entry->d_name, ".jpg")) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        in = fopen(path, "rb");
        assert_non_null(in);
        while ((n = fread(part, 1, sizeof part, in)) > 0) {
            lethe_buf_put(&file, part, n);
        }
        fclose(in);
        if (strcmp(entry->d_name, "arithmetic.jpg") == 0) {
            assert_true(round_trip(file.data, file.len, false));
            arithmetic++;
        } else {
            assert_true(round_trip(file.data, file.len, true));
            count++;
        }
        lethe_buf_release(&file);
    }
    closedir(dir);
    assert_true(count >= 14 || arithmetic == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode),      cmocka_unit_test(colours),      cmocka_unit_test(odd_encoders),
        cmocka_unit_test(trailers),        cmocka_unit_test(cut_anywhere), cmocka_unit_test(damage),
        cmocka_unit_test(damaged_recipes), cmocka_unit_test(limits),       cmocka_unit_test(packed_bytes),
        cmocka_unit_test(library_reader),  cmocka_unit_test(hard_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
