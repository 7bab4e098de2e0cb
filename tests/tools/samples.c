/* SPDX-License-Identifier: MIT */
/*
 * Draws a handful of pictures, so that the project demonstrates and tests itself without anybody's
 * photographs: lethe-samples FOLDER [SEED [small|COUNT]] photo-like ones as JPEG (with an EXIF block and a
 * comment) and PNG at several zlib levels, and RGBA sprites; with "small" the photos have a third of the width
 * and height, for tests of what happens to files and not to pixels. With a COUNT that many JPEGs instead, of a
 * few sizes and qualities, named photo-0001.jpg and so on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> /* needs stdio.h before it */

#include "fs/cli/drawn.h"
#include "lethe/image.h"

static int write_file(const char *folder, const char *name, const void *bytes, size_t len)
{
    char path[4096];
    FILE *file;
    int failed;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file) {
        perror(path);
        return 1;
    }
    failed = fwrite(bytes, 1, len, file) != len;
    failed |= fclose(file) != 0;
    if (failed) {
        perror(path);
    }
    return failed;
}

static int write_png(const char *folder, const char *name, const struct lethe_raster *raster, int level)
{
    struct lethe_buf png = {0};
    int failed =
        lethe_png_write(raster, level, &png) != LETHE_OK || write_file(folder, name, png.data, png.len);

    lethe_buf_release(&png);
    return failed;
}

static int write_jpeg(const char *folder, const char *name, const struct lethe_raster *raster, int quality,
                      bool progressive)
{
    /* TIFF header, one IFD with an ImageDescription. */
    static const uint8_t exif[] =
        "Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x0f\0\0\0\x1a\0\0\0\0\0\0\0lethefs sample";
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    JSAMPLE *row = malloc((size_t)raster->width * 3);
    int failed;

    if (!row) {
        return 1;
    }
    jpeg.err = jpeg_std_error(&errors); /* exits on an error: good enough for a tool */
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &len);
    jpeg.image_width = raster->width;
    jpeg.image_height = raster->height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    if (progressive) {
        jpeg_simple_progression(&jpeg);
    }
    jpeg_start_compress(&jpeg, TRUE);
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    jpeg_write_marker(&jpeg, JPEG_COM, (const JOCTET *)"a drawn landscape", 17);
    while (jpeg.next_scanline < jpeg.image_height) {
        size_t start = (size_t)jpeg.next_scanline * raster->width;

        for (uint32_t x = 0; x < raster->width; x++) {
            for (int c = 0; c < 3; c++) {
                row[3 * x + (unsigned)c] = (JSAMPLE)raster->planes[c][start + x];
            }
        }
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    failed = write_file(folder, name, bytes, len);
    jpeg_destroy_compress(&jpeg);
    free(bytes);
    free(row);
    return failed;
}

static int write_many(const char *folder, uint64_t seed, unsigned count)
{
    static const uint32_t sizes[4][2] = {{400, 533}, {533, 400}, {480, 480}, {640, 427}};
    struct lethe_raster photo = {0};
    int failed = 0;

    for (unsigned i = 0; i < count && !failed; i++) {
        char name[64];

        failed = lethe_raster_init(&photo, sizes[i % 4][0], sizes[i % 4][1], 3, 8) != LETHE_OK;
        if (!failed) {
            lethe_drawn_landscape(&photo, seed * 1000000 + i);
            snprintf(name, sizeof name, "photo-%04u.jpg", i + 1);
            failed = write_jpeg(folder, name, &photo, 75 + (int)(i % 5) * 5, i % 8 == 7);
        }
        lethe_raster_release(&photo);
    }
    return failed;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    bool small = argc > 3 && strcmp(argv[3], "small") == 0;
    uint32_t shrink = small ? 3 : 1;
    struct lethe_raster photo = {0}, sprite = {0};
    int failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: lethe-samples FOLDER [SEED [small|COUNT]]\n");
        return 2;
    }
    if (argc > 3 && !small) {
        return write_many(argv[1], seed, (unsigned)strtoul(argv[3], NULL, 10));
    }
    for (unsigned i = 0; i < 4 && !failed; i++) {
        static const uint32_t sizes[4][2] = {{640, 427}, {800, 600}, {333, 501}, {512, 512}};
        static const int levels[4] = {6, 1, 9, 6};
        char name[64];

        failed = lethe_raster_init(&photo, sizes[i][0] / shrink, sizes[i][1] / shrink, 3, 8) != LETHE_OK;
        if (!failed) {
            lethe_drawn_landscape(&photo, seed * 1000 + i);
            snprintf(name, sizeof name, "landscape-%u.png", i + 1);
            failed = write_png(argv[1], name, &photo, levels[i]);
            snprintf(name, sizeof name, "landscape-%u.jpg", i + 1);
            failed |= write_jpeg(argv[1], name, &photo, 75 + 6 * (int)i, i % 2);
        }
        lethe_raster_release(&photo);
    }
    for (unsigned i = 0; i < 4 && !failed; i++) {
        char name[64];

        failed = lethe_raster_init(&sprite, 96 + 32 * i, 96 + 32 * i, 4, 8) != LETHE_OK;
        if (!failed) {
            lethe_drawn_sprite(&sprite, seed * 2000 + i);
            snprintf(name, sizeof name, "sprite-%u.png", i + 1);
            failed = write_png(argv[1], name, &sprite, 6);
        }
        lethe_raster_release(&sprite);
    }
    return failed;
}
