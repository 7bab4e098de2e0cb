/* SPDX-License-Identifier: MIT */
#include "fs/drill/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>lethefs: breach drill</title>\n<style>\n"
    ":root{--ink:#1d1f21;--soft:#5b6166;--paper:#fbfaf7;--card:#fff;--line:#dedbd3;--good:#1b6e3c;--bad:#"
    "a3241b;"
    "--c0:#1b5fa8;--c1:#b3541e;--c2:#2e7d4f;--c3:#7a3b93}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a3a8ac;--paper:#17181a;--card:#202225;"
    "--line:#36393d;--good:#6fcf97;--bad:#ff8a80;--c0:#7db7f0;--c1:#f0a36b;--c2:#7fd3a2;--c3:#cf9be6}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;padding:clamp(1rem,4vw,3rem);background:var(--paper);color:var(--ink);"
    "font:1.0625rem/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n"
    "main{max-width:72rem;margin:0 auto}\n"
    "h1{font-size:clamp(1.5rem,4vw,2.2rem);line-height:1.2;margin:0 0 .5rem}\n"
    "h2{font-size:1.25rem;margin:0 0 .75rem}\nh3{font-size:1rem;margin:1.5rem 0 .5rem}\n"
    "p{max-width:46rem;margin:.5rem 0}\n"
    "section{margin:2.5rem 0;padding-top:1.5rem;border-top:1px solid var(--line)}\n"
    ".verdicts{list-style:none;margin:0;padding:0;display:grid;gap:.75rem}\n"
    ".verdicts li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem "
    "1rem}\n"
    ".verdicts b{display:block}\n.good{color:var(--good)}\n.bad{color:var(--bad)}\n"
    ".soft{color:var(--soft);font-size:.95rem}\n"
    ".row{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(45%,10.5rem),1fr));gap:.75rem;"
    "margin:0 0 1.25rem;align-items:start}\n"
    "figure{margin:0;background:var(--card);border:1px solid "
    "var(--line);border-radius:.5rem;overflow:hidden}\n"
    "figure img{display:block;width:100%;height:auto;image-rendering:auto}\n"
    "figcaption{padding:.5rem .75rem;font-size:.875rem;line-height:1.35;color:var(--soft)}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem}\n"
    "svg{display:block;width:100%;height:auto;background:var(--card);border:1px solid var(--line);"
    "border-radius:.5rem}\nsvg text{fill:var(--ink);font:12px system-ui,sans-serif}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\n"
    "td.n{text-align:right}\n"
    "</style>\n</head>\n<body>\n<main>\n";

struct lethe_raster *drill_show_column(struct drill_show *show, const char *title)
{
    if (show->count < DRILL_COLUMNS) {
        show->columns[show->count++].title = title;
    }
    for (size_t i = 0; i < DRILL_SHOWN; i++) {
        lethe_raster_release(&show->columns[show->count - 1].pictures[i]);
    }
    return show->columns[show->count - 1].pictures;
}

void drill_show_release(struct drill_show *show)
{
    for (size_t c = 0; c < show->count; c++) {
        for (size_t i = 0; i < DRILL_SHOWN; i++) {
            lethe_raster_release(&show->columns[c].pictures[i]);
        }
    }
    show->count = 0;
}

/* Text of the report: names of the bucket may stand in it. jansson holds only valid UTF-8. */
static void say_text(struct lethe_buf *out, const char *text)
{
    for (; text && *text; text++) {
        if (strchr("<>&\"'", *text)) {
            lethe_buf_print(out, "&#%d;", *text);
        } else if ((unsigned char)*text < 32) {
            lethe_buf_put_u8(out, '?');
        } else {
            lethe_buf_put_u8(out, (uint8_t)*text);
        }
    }
}

static void say_key(struct lethe_buf *out, const char *key)
{
    for (; *key; key++) {
        lethe_buf_put_u8(out, *key == '_' ? ' ' : (uint8_t)*key);
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* --- pictures --- */

/* RFC 4648, section 4. */
static void say_base64(struct lethe_buf *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;

        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? bytes[i + 2] : 0;
        lethe_buf_put_u8(out, (uint8_t)digits[group >> 18]);
        lethe_buf_put_u8(out, (uint8_t)digits[group >> 12 & 63]);
        lethe_buf_put_u8(out, i + 1 < len ? (uint8_t)digits[group >> 6 & 63] : '=');
        lethe_buf_put_u8(out, i + 2 < len ? (uint8_t)digits[group & 63] : '=');
    }
}

static enum lethe_err say_pictures(const struct drill_show *show, struct lethe_buf *out)
{
    struct lethe_buf png = {0};
    enum lethe_err err = LETHE_OK;

    if (show->count == 0) {
        return LETHE_OK;
    }
    lethe_buf_print(out, "<section>\n<h2>Three photos, as each sees them</h2>\n<p class=\"soft\">The middle "
                         "of photos that no thief knew"
                         " before, at the vault's strength.</p>\n");
    for (size_t i = 0; i < DRILL_SHOWN && !err; i++) {
        lethe_buf_print(out, "<div class=\"row\">\n");
        for (size_t c = 0; c < show->count && !err; c++) {
            const struct lethe_raster *picture = &show->columns[c].pictures[i];

            if (!picture->width) {
                continue;
            }
            lethe_buf_reset(&png);
            err = lethe_png_write(picture, 6, &png);
            lethe_buf_print(out, "<figure><img alt=\"%s\" src=\"data:image/png;base64,",
                            show->columns[c].title);
            say_base64(out, png.data, png.len);
            lethe_buf_print(out, "\"><figcaption>%s</figcaption></figure>\n", show->columns[c].title);
        }
        lethe_buf_print(out, "</div>\n");
    }
    lethe_buf_print(out, "</section>\n");
    lethe_buf_release(&png);
    return err;
}

/* --- plots --- */

#define LEFT 48
#define TOP 16
#define PLOT_W 380
#define PLOT_H 220

static double place_x(double x, double least, double most)
{
    return LEFT + (x - least) / (most - least) * PLOT_W;
}

static double place_y(double y, double least, double most)
{
    y = y < least ? least : y > most ? most : y;
    return TOP + PLOT_H - (y - least) / (most - least) * PLOT_H;
}

static void begin_plot(struct lethe_buf *out, const char *title, const char *x, const char *y, double least,
                       double most)
{
    lethe_buf_print(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", LEFT + PLOT_W + 20,
                    TOP + PLOT_H + 96, title);
    for (int i = 0; i <= 4; i++) {
        double value = least + (most - least) * i / 4, at = place_y(value, least, most);

        lethe_buf_print(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"var(--line)\"/>",
                        LEFT, LEFT + PLOT_W, at, at);
        lethe_buf_print(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6, at + 4,
                        value);
    }
    lethe_buf_print(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>", LEFT + PLOT_W / 2,
                    TOP + PLOT_H + 36, x);
    lethe_buf_print(
        out, "<text x=\"12\" y=\"%d\" transform=\"rotate(-90 12 %d)\" text-anchor=\"middle\">%s</text>\n",
        TOP + PLOT_H / 2, TOP + PLOT_H / 2, y);
}

/* One line of a plot: thief's rows in their order, x either log10(known) or strength. */
static void plot_line(struct lethe_buf *out, const json_t *rows, const char *thief, int strength,
                      bool by_known, const char *value, double most_x, double least, double most, int colour,
                      const char *legend)
{
    const json_t *row;
    size_t i, points = 0;

    lethe_buf_print(out, "<polyline fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\" points=\"",
                    colour);
    json_array_foreach(rows, i, row)
    {
        double known = (double)json_integer_value(json_object_get(row, "known"));
        long long at = json_integer_value(json_object_get(row, "strength"));

        if (strcmp(text_of(row, "thief"), thief) != 0 || (by_known ? at != strength || known < 1 : false)) {
            continue;
        }
        if (!by_known && known > 0 &&
            i + 1 < json_array_size(rows)) { /* the last of a strength: all that is known */
            const json_t *later;
            size_t j;
            bool last = true;

            for (j = i + 1; j < json_array_size(rows); j++) {
                later = json_array_get(rows, j);
                last = last && !(strcmp(text_of(later, "thief"), thief) == 0 &&
                                 json_integer_value(json_object_get(later, "strength")) == at);
            }
            if (!last) {
                continue;
            }
        }
        lethe_buf_print(out, "%.1f,%.1f ", place_x(by_known ? log10(known) : (double)at, 0, most_x),
                        place_y(json_real_value(json_object_get(row, value)), least, most));
        points++;
    }
    lethe_buf_print(out, "\"/>\n");
    if (points) {
        int column = colour % 2, line = colour / 2;

        lethe_buf_print(out, "<text x=\"%d\" y=\"%d\" style=\"fill:var(--c%d)\">&#9632; %s</text>\n",
                        LEFT + column * 190, TOP + PLOT_H + 60 + 20 * line, colour, legend);
    }
}

static void say_plots(const json_t *report, struct lethe_buf *out)
{
    const json_t *rows = json_object_get(json_object_get(report, "keys_leaked"), "thieves");
    char legend[32];

    if (json_array_size(rows) == 0) {
        return;
    }
    lethe_buf_print(
        out,
        "<section>\n<h2>What known photos are worth, and what strength is</h2>\n<div class=\"plots\">\n");
    begin_plot(out, "PSNR of least squares against the number of known photos", "known photos", "PSNR, dB", 5,
               45);
    for (int n = 0; n <= 3; n++) {
        lethe_buf_print(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>", place_x(n, 0, 3),
                        TOP + PLOT_H + 18,
                        n == 0   ? 1
                        : n == 1 ? 10
                        : n == 2 ? 100
                                 : 1000);
    }
    for (int strength = 0; strength < 4; strength++) {
        snprintf(legend, sizeof legend, "strength %d", strength);
        plot_line(out, rows, "least squares", strength, true, "psnr", 3, 5, 45, strength, legend);
    }
    lethe_buf_print(out, "</svg>\n");
    begin_plot(out, "identification against strength", "strength", "found among all (rank 1)", 0, 1);
    for (int n = 0; n <= 3; n++) {
        lethe_buf_print(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>", place_x(n, 0, 3),
                        TOP + PLOT_H + 18, n);
    }
    plot_line(out, rows, "least squares", 0, false, "rank1", 3, 0, 1, 0, "least squares");
    plot_line(out, rows, "the public base pair", 0, false, "rank1", 3, 0, 1, 1, "public base pair");
    plot_line(out, rows, "no weights: brightness guessed", 0, false, "rank1", 3, 0, 1, 2, "no weights");
    plot_line(out, rows, "no artifact: mean picture", 0, false, "rank1", 3, 0, 1, 3, "mean picture");
    lethe_buf_print(out, "</svg>\n</div>\n</section>\n");
}

/* --- tables: whatever the report holds --- */

static void say_value(struct lethe_buf *out, const json_t *value)
{
    const char *key;
    json_t *inner;

    if (json_is_string(value)) {
        say_text(out, json_string_value(value));
    } else if (json_is_real(value)) {
        double v = json_real_value(value);

        lethe_buf_print(out, fabs(v) >= 100 ? "%.1f" : fabs(v) >= 0.001 || v == 0 ? "%.4g" : "%.2e", v);
    } else if (json_is_integer(value)) {
        lethe_buf_print(out, "%lld", json_integer_value(value));
    } else if (json_is_boolean(value)) {
        lethe_buf_print(out, json_is_true(value) ? "yes" : "no");
    } else if (json_object_get(value, "low") && json_object_size(value) == 3) {
        lethe_buf_print(out, "%.4g [%.4g, %.4g]", json_real_value(json_object_get(value, "value")),
                        json_real_value(json_object_get(value, "low")),
                        json_real_value(json_object_get(value, "high")));
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, inner)
        {
            say_key(out, key);
            lethe_buf_print(out, " ");
            if (json_is_array(inner)) {
                lethe_buf_print(out, "%zu", json_array_size(inner));
            } else {
                say_value(out, inner);
            }
            lethe_buf_print(out, "; ");
        }
    } else {
        lethe_buf_print(out, "&#8211;");
    }
}

static void say_rows(struct lethe_buf *out, const json_t *rows)
{
    const json_t *row;
    const char *key;
    json_t *value;
    size_t i;

    lethe_buf_print(out, "<div class=\"wide\"><table>\n<thead><tr>");
    json_object_foreach(json_array_get(rows, 0), key, value)
    {
        lethe_buf_print(out, "<th>");
        say_key(out, key);
        lethe_buf_print(out, "</th>");
    }
    lethe_buf_print(out, "</tr></thead>\n<tbody>\n");
    json_array_foreach(rows, i, row)
    {
        lethe_buf_print(out, "<tr>");
        json_object_foreach((json_t *)(uintptr_t)row, key, value)
        {
            lethe_buf_print(out, json_is_number(value) ? "<td class=\"n\">" : "<td>");
            say_value(out, value);
            lethe_buf_print(out, "</td>");
        }
        lethe_buf_print(out, "</tr>\n");
    }
    lethe_buf_print(out, "</tbody></table></div>\n");
}

static void say_object(struct lethe_buf *out, const json_t *object, const char *title, int depth)
{
    const char *key;
    json_t *value;
    bool open = false;

    if (title) {
        lethe_buf_print(out, depth ? "<h3>" : "<section>\n<h2>");
        say_key(out, title);
        lethe_buf_print(out, depth ? "</h3>\n" : "</h2>\n");
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_array(value) || (json_is_object(value) && !json_object_get(value, "low"))) {
            continue;
        }
        if (!open) {
            lethe_buf_print(out, "<div class=\"wide\"><table><tbody>\n");
            open = true;
        }
        lethe_buf_print(out, "<tr><th>");
        say_key(out, key);
        lethe_buf_print(out, "</th><td>");
        say_value(out, value);
        lethe_buf_print(out, "</td></tr>\n");
    }
    if (open) {
        lethe_buf_print(out, "</tbody></table></div>\n");
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_array(value) && json_array_size(value) && json_is_object(json_array_get(value, 0))) {
            lethe_buf_print(out, "<h3>");
            say_key(out, key);
            lethe_buf_print(out, "</h3>\n");
            say_rows(out, value);
        } else if (json_is_object(value) && !json_object_get(value, "low")) {
            say_object(out, value, key, depth + 1);
        }
    }
    if (title && !depth) {
        lethe_buf_print(out, "</section>\n");
    }
}

enum lethe_err drill_show_page(const struct drill_show *show, const json_t *report, struct lethe_buf *out)
{
    static const char *const sections[] = {"inventory", "key_slots", "statistics", "sealing",
                                           "photo_a_or_b", "controls", "sizes", "keys_leaked", "guessing",
                                           "device", "tampering", "contents", "outside_the_encrypter"};
    const json_t *item;
    size_t i;
    enum lethe_err err;

    lethe_buf_put(out, style, sizeof style - 1);
    lethe_buf_print(out, "<h1>What a stolen vault is worth</h1>\n<p>A breach drill of <b>");
    say_text(out, text_of(report, "vault"));
    lethe_buf_print(out, "</b>: the vault was read as a thief would read it, and attacked. Nothing in it was "
                         "changed.</p>\n<section>\n"
                         "<h2>Verdicts</h2>\n<ul class=\"verdicts\">\n");
    json_array_foreach(json_object_get(report, "adversaries"), i, item)
    {
        const json_t *holds = json_object_get(item, "holds");

        lethe_buf_print(out, "<li><b class=\"%s\">%s ",
                        json_is_true(holds)    ? "good"
                        : json_is_false(holds) ? "bad"
                                               : "soft",
                        json_is_true(holds)    ? "&#10003;"
                        : json_is_false(holds) ? "&#10007;"
                                               : "&#8211;");
        say_text(out, text_of(item, "name"));
        lethe_buf_print(out, "</b>");
        say_text(out, text_of(item, "verdict"));
        lethe_buf_print(out, "</li>\n");
    }
    lethe_buf_print(out, "</ul>\n");
    json_array_foreach(json_object_get(report, "weaknesses"), i, item)
    {
        lethe_buf_print(out, "<p class=\"bad\"><b>");
        say_text(out, text_of(item, "name"));
        lethe_buf_print(out, "</b>: ");
        say_text(out, text_of(item, "detail"));
        lethe_buf_print(out, "</p>\n");
    }
    lethe_buf_print(out, "</section>\n");
    err = say_pictures(show, out);
    say_plots(report, out);
    for (i = 0; i < sizeof sections / sizeof *sections; i++) {
        json_t *section = json_object_get(report, sections[i]);

        if (json_is_object(section)) {
            say_object(out, section, sections[i], 0);
        } else if (json_array_size(section)) {
            lethe_buf_print(out, "<section>\n<h2>");
            say_key(out, sections[i]);
            lethe_buf_print(out, "</h2>\n");
            say_rows(out, section);
            lethe_buf_print(out, "</section>\n");
        }
    }
    lethe_buf_print(
        out,
        "<p class=\"soft\">lethefs %s, seed %lld, leak: %s. Intervals are of 95 %%: Wilson's for "
        "shares, Hanley and McNeil's for the AUC of a known photo, bootstrap for PSNR; those about chance, "
        "of Mann and Whitney, are so for all together.</p>\n</main>\n</body>\n</html>\n",
        text_of(report, "version"), json_integer_value(json_object_get(report, "seed")),
        text_of(report, "leak"));
    return err ? err : lethe_buf_status(out);
}
