/* SPDX-License-Identifier: MIT */
/* One file that needs nothing else: no script, no network, pictures as data URIs. */
#include "fs/cli/report.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/cli.h"
#include "fs/file.h"
#include "lethe/image.h"

#define FILE_MAX_BYTES (1ull << 30)
#define WIDTH_MAX 1200

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>lethefs: what the vault "
    "holds</title>\n<style>\n"
    ":root{--ink:#1d1f21;--soft:#5b6166;--paper:#fbfaf7;--card:#fff;--line:#dedbd3}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a3a8ac;--paper:#17181a;--card:#202225;"
    "--line:#36393d}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;padding:clamp(1rem,4vw,3rem);background:var(--paper);color:var(--ink);"
    "font:1.0625rem/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n"
    "main{max-width:90rem;margin:0 auto}\n"
    "h1{font-size:clamp(1.5rem,4vw,2.2rem);line-height:1.2;margin:0 0 .5rem}\n"
    "h2{font-size:1.2rem;margin:0 0 .75rem;overflow-wrap:anywhere}\n"
    "p{max-width:46rem;margin:.5rem 0}\n"
    "section{margin:2.5rem 0;padding-top:1.5rem;border-top:1px solid var(--line)}\n"
    ".row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1rem;"
    "align-items:start}\n"
    "figure{margin:0;background:var(--card);border:1px solid "
    "var(--line);border-radius:.5rem;overflow:hidden}\n"
    "figure img{display:block;width:100%;height:auto}\n"
    "figure img.noise{image-rendering:pixelated}\n"
    "figcaption{padding:.75rem 1rem 1rem}\nfigcaption b{display:block}\n"
    ".soft,figcaption span{color:var(--soft);font-size:.95rem}\n"
    "code{font-size:.9em;overflow-wrap:anywhere}\n"
    "</style>\n</head>\n<body>\n<main>\n";

/* Names are bytes: what HTML or UTF-8 would not take is escaped or shown as a question mark. */
static void say_name(struct lethe_buf *out, const char *name)
{
    json_t *text = json_string(name);
    bool valid = text != NULL;

    json_decref(text);
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;

        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'') {
            lethe_buf_print(out, "&#%u;", c);
        } else if (c < 32 || c == 127 || (c >= 128 && !valid)) {
            lethe_buf_put_u8(out, '?');
        } else {
            lethe_buf_put_u8(out, c);
        }
    }
}

/* RFC 4648, section 4. */
static void say_base64(struct lethe_buf *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        char text[4];

        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? bytes[i + 2] : 0;
        text[0] = digits[group >> 18];
        text[1] = digits[group >> 12 & 63];
        text[2] = i + 1 < len ? digits[group >> 6 & 63] : '=';
        text[3] = i + 2 < len ? digits[group & 63] : '=';
        lethe_buf_put(out, text, sizeof text);
    }
}

/* Means of whole squares, to 8 bits, so that it is at most WIDTH_MAX wide. */
static enum lethe_err shrink(const struct lethe_raster *in, struct lethe_raster *out)
{
    uint32_t factor = (in->width + WIDTH_MAX - 1) / WIDTH_MAX;
    uint32_t width, height;
    enum lethe_err err;

    factor = factor > in->height ? in->height : factor;
    width = in->width / factor;
    height = in->height / factor;
    err = lethe_raster_init(out, width, height, in->channels, 8);
    for (unsigned c = 0; c < in->channels && !err; c++) {
        for (uint32_t y = 0; y < height; y++) {
            for (uint32_t x = 0; x < width; x++) {
                uint64_t sum = 0, count = (uint64_t)factor * factor;

                for (uint32_t j = 0; j < factor; j++) {
                    const uint16_t *row =
                        in->planes[c] + (size_t)(y * factor + j) * in->width + (size_t)x * factor;

                    for (uint32_t i = 0; i < factor; i++) {
                        sum += in->depth == 16 ? row[i] >> 8 : row[i];
                    }
                }
                out->planes[c][(size_t)y * width + x] = (uint16_t)((sum + count / 2) / count);
            }
        }
    }
    return err;
}

/* A picture file of any size as a PNG for the page. */
static enum lethe_err to_page_png(const uint8_t *file, size_t len, struct lethe_buf *out)
{
    struct lethe_raster raster = {0}, small = {0};
    bool jpeg = len > 2 && file[0] == 0xff && file[1] == 0xd8;
    enum lethe_err err = jpeg ? lethe_jpeg_read(file, len, &lethe_image_limits_default, &raster)
                              : lethe_png_read(file, len, &lethe_image_limits_default, &raster);

    err = err ? err : shrink(&raster, &small);
    err = err ? err : lethe_png_write(&small, 6, out);
    lethe_raster_release(&raster);
    lethe_raster_release(&small);
    return err;
}

static void begin_figure(struct lethe_buf *out, const struct lethe_buf *png, const char *alt,
                         const char *class)
{
    lethe_buf_print(out, "<figure>");
    if (png && png->len) {
        lethe_buf_print(out, "<img class=\"%s\" alt=\"%s\" src=\"data:image/png;base64,", class, alt);
        say_base64(out, png->data, png->len);
        lethe_buf_print(out, "\">");
    }
    lethe_buf_print(out, "<figcaption>");
}

/* The artifact's name in the vault, or NULL. */
static const char *artifact_key(const json_t *file)
{
    const json_t *objects = json_object_get(file, "objects"), *object;
    const char *key = NULL;
    size_t i;

    json_array_foreach(objects, i, object)
    {
        const char *kind = json_string_value(json_object_get(object, "kind"));

        if (kind && strcmp(kind, "artifact") == 0) {
            key = json_string_value(json_object_get(object, "object"));
        }
    }
    return key;
}

static void add_original(struct lethe_buf *out, const struct lethe_buf *picture, const json_t *file,
                         bool photo)
{
    char text[32];

    begin_figure(out, picture, "the original", "");
    lethe_buf_print(out, "<b>Original</b><span>%s",
                    lethe_cli_bytes((uint64_t)json_integer_value(json_object_get(file, "size")), text));
    if (photo) {
        lethe_buf_print(out, ", %" JSON_INTEGER_FORMAT " × %" JSON_INTEGER_FORMAT " pixels",
                        json_integer_value(json_object_get(file, "width")),
                        json_integer_value(json_object_get(file, "height")));
    }
    lethe_buf_print(out, "</span></figcaption></figure>\n");
}

static void add_artifact(struct lethe_buf *out, const struct lethe_buf *artifact, const char *key,
                         const json_t *file)
{
    char text[32];

    begin_figure(out, artifact, "noise", "noise");
    lethe_buf_print(
        out,
        "<b>In the vault</b><span>The artifact, %s, as it is stored: <code>%s</code>. %.2f bits per pixel of "
        "the"
        " photo are kept in it; ",
        lethe_cli_bytes(artifact->len, text), key,
        json_real_value(json_object_get(file, "artifact_bits_per_pixel")));
    if (json_is_real(json_object_get(file, "withheld_bits_per_pixel"))) {
        lethe_buf_print(out, "the other %.2f lie sealed in the residual, which is of no use without it.",
                        json_real_value(json_object_get(file, "withheld_bits_per_pixel")));
    } else {
        lethe_buf_print(out, "the rest is gone.");
    }
    lethe_buf_print(out, "</span></figcaption></figure>\n");
}

void lethe_report_begin(struct lethe_buf *out, size_t count)
{
    lethe_buf_put(out, head, sizeof head - 1);
    lethe_buf_print(
        out,
        "<h1>What the vault holds</h1>\n<p>For %s: the photo as programs see it, the object that lies in its "
        "place"
        " in the vault, and what the Decrypter alone makes of that object. With the residual, the mount "
        "gives back the"
        " file itself, byte for byte.</p>\n",
        count == 1 ? "one photo" : "each photo");
}

enum lethe_err lethe_report_add(struct lethe_buf *out, const char *path, const json_t *file,
                                const struct lethe_buf *artifact, const struct lethe_buf *preview)
{
    const char *kind = json_string_value(json_object_get(file, "kind"));
    const char *reason = json_string_value(json_object_get(file, "reason")), *key = artifact_key(file);
    bool photo = kind && strcmp(kind, "artifact") == 0;
    struct lethe_buf bytes = {0}, original = {0}, restored = {0};
    char name[4096];
    enum lethe_err err = lethe_file_read(path, FILE_MAX_BYTES, &bytes);

    if (err) {
        (void)lethe_cli_fail(err, "%s cannot be read: %s", path, lethe_err_str(err));
        goto out;
    }
    if (to_page_png(bytes.data, bytes.len, &original)) {
        lethe_buf_reset(&original); /* no picture: the page says what it is */
    }
    snprintf(name, sizeof name, "%s", path);
    lethe_buf_print(out, "<section>\n<h2>");
    say_name(out, basename(name));
    lethe_buf_print(out, "</h2>\n<div class=\"row\">\n");
    add_original(out, &original, file, photo);
    if (!photo) {
        begin_figure(out, NULL, "", "");
        lethe_buf_print(out, "<b>In the vault</b><span>%s</span></figcaption></figure>\n",
                        !kind || strcmp(kind, "none") == 0
                            ? "Not yet, or nothing: the file is empty or on its way."
                            : "Sealed segments: ciphertext without a picture.");
        lethe_buf_print(out, "</div>\n");
        if (reason) {
            lethe_buf_print(
                out,
                "<p class=\"soft\">It did not become an artifact: %s. It comes back byte for byte all the "
                "same."
                "</p>\n",
                reason);
        }
        lethe_buf_print(out, "</section>\n");
        goto out;
    }
    err = key ? to_page_png(preview->data, preview->len, &restored) : LETHE_ERR_NOT_FOUND;
    if (err) {
        (void)lethe_cli_fail(err, "%s: the pictures for the report cannot be made: %s", path,
                             lethe_err_str(err));
        goto out;
    }
    add_artifact(out, artifact, key, file);
    begin_figure(out, &restored, "restored from the artifact alone", "");
    lethe_buf_print(
        out,
        "<b>Restored</b><span>By the Decrypter from the artifact alone: %.2f dB PSNR. With the residual it "
        "is the"
        " original, byte for byte.</span></figcaption></figure>\n</div>\n</section>\n",
        json_real_value(json_object_get(file, "psnr")));
out:
    lethe_buf_release(&bytes);
    lethe_buf_release(&original);
    lethe_buf_release(&restored);
    return err ? err : lethe_buf_status(out);
}

void lethe_report_end(struct lethe_buf *out)
{
    lethe_buf_print(out, "<p class=\"soft\">lethefs %s</p>\n</main>\n</body>\n</html>\n", LETHE_VERSION);
}
