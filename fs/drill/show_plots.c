/* SPDX-License-Identifier: MIT */
/* The two plots of the page, as SVG. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fs/drill/show_private.h"

#define LEFT 56
#define TOP 36
#define PLOT_W 372
#define PLOT_H 220

/* One curve: the rows of a thief at one strength (or all: -1), x by known photos or by strength. */
struct series {
    const char *thief;
    int strength; /* -1: of every strength the row with the most known photos */
    const char *legend;
    int colour; /* of the page's style; negative: a baseline, grey and dashed */
};

struct plot {
    const char *title, *x, *y;
    bool by_known; /* x: log10 of the number of known photos; else the strength */
    const char *value;
    double most_x, least, most;
    int ticks; /* between least and most */
};

static double place_x(const struct plot *plot, double x)
{
    return LEFT + x / plot->most_x * PLOT_W;
}

static double place_y(const struct plot *plot, double y)
{
    y = y < plot->least ? plot->least : y > plot->most ? plot->most : y;
    return TOP + PLOT_H - (y - plot->least) / (plot->most - plot->least) * PLOT_H;
}

static long long count_at(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

/* Whether the row lies on the curve. */
static bool is_of(const json_t *rows, const json_t *row, const struct plot *plot, const struct series *series)
{
    const json_t *other;
    size_t i;

    if (strcmp(drill_show_string(row, "thief"), series->thief) != 0) {
        return false;
    }
    if (plot->by_known) {
        return count_at(row, "strength") == series->strength && count_at(row, "known") >= 1;
    }
    json_array_foreach(rows, i, other)
    {
        if (strcmp(drill_show_string(other, "thief"), series->thief) == 0 &&
            count_at(other, "strength") == count_at(row, "strength") &&
            count_at(other, "known") > count_at(row, "known")) {
            return false;
        }
    }
    return true;
}

static void draw_axes(const struct plot *plot, unsigned lines, struct lethe_buf *out)
{
    bool shares = plot->most <= 1;

    lethe_buf_print(out,
                    "<figure class=\"plot\"><figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" "
                    "role=\"img\" aria-label=\"%s\">\n",
                    plot->title, LEFT + PLOT_W + 24, TOP + PLOT_H + 52 + 22 * (int)((lines + 1) / 2),
                    plot->title);
    for (int i = 0; i <= plot->ticks; i++) {
        double value = plot->least + (plot->most - plot->least) * i / plot->ticks, at = place_y(plot, value);

        lethe_buf_print(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"var(--line)\"/>",
                        LEFT, LEFT + PLOT_W, at, at);
        lethe_buf_print(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g%s</text>\n", LEFT - 8,
                        at + 4.5, shares ? 100 * value : value, shares ? " %" : "");
    }
    lethe_buf_print(out, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"var(--soft)\"/>\n", LEFT, TOP,
                    TOP + PLOT_H, LEFT + PLOT_W);
    for (int n = 0; n <= (int)plot->most_x; n++) {
        lethe_buf_print(out,
                        "<path d=\"M%.1f %dv5\" stroke=\"var(--soft)\"/><text x=\"%.1f\" y=\"%d\" "
                        "text-anchor=\"middle\">%g</text>\n",
                        place_x(plot, n), TOP + PLOT_H, place_x(plot, n), TOP + PLOT_H + 20,
                        plot->by_known ? pow(10, n) : n);
    }
    lethe_buf_print(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" class=\"axis\">%s</text>\n",
                    LEFT + PLOT_W / 2, TOP + PLOT_H + 39, plot->x);
    lethe_buf_print(out, "<text x=\"%d\" y=\"%d\" class=\"axis\">%s</text>\n", LEFT - 44, TOP - 18, plot->y);
}

static void draw_series(const json_t *rows, const struct plot *plot, const struct series *series,
                        unsigned line, struct lethe_buf *out)
{
    char colour[24];
    struct lethe_buf marks = {0};
    const json_t *row;
    size_t i;
    int x = LEFT + (int)(line % 2) * 190, y = TOP + PLOT_H + 66 + 22 * (int)(line / 2);

    if (series->colour < 0) {
        snprintf(colour, sizeof colour, "var(--soft)");
    } else {
        snprintf(colour, sizeof colour, "var(--c%d)", series->colour);
    }
    lethe_buf_print(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"", colour,
                    series->colour < 0 ? " stroke-dasharray=\"5 4\"" : "");
    json_array_foreach(rows, i, row)
    {
        if (is_of(rows, row, plot, series)) {
            double at =
                plot->by_known ? log10((double)count_at(row, "known")) : (double)count_at(row, "strength");
            double value = json_real_value(json_object_get(row, plot->value));

            lethe_buf_print(out, "%.1f,%.1f ", place_x(plot, at), place_y(plot, value));
            lethe_buf_print(&marks, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n",
                            place_x(plot, at), place_y(plot, value), colour);
        }
    }
    lethe_buf_print(out, "\"/>\n");
    lethe_buf_put(out, marks.data, marks.len);
    lethe_buf_print(
        out, "<path d=\"M%d %dh18\" stroke=\"%s\" stroke-width=\"3\"%s/><text x=\"%d\" y=\"%d\">%s</text>\n",
        x, y - 4, colour, series->colour < 0 ? " stroke-dasharray=\"5 4\"" : "", x + 24, y, series->legend);
    lethe_buf_release(&marks);
}

/* least and most of the values on the curves, to multiples of step; the tens of the known photos. */
static void fit(const json_t *rows, struct plot *plot, const struct series *series, unsigned count,
                double step)
{
    const json_t *row;
    size_t i;
    double least = INFINITY, most = -INFINITY, x = 1;

    json_array_foreach(rows, i, row)
    {
        for (unsigned s = 0; s < count; s++) {
            if (is_of(rows, row, plot, &series[s])) {
                double value = json_real_value(json_object_get(row, plot->value));

                least = fmin(least, value);
                most = fmax(most, value);
                x = fmax(x, ceil(log10((double)count_at(row, "known")) - 1e-9));
            }
        }
    }
    plot->most_x = x;
    plot->least = least <= most ? floor(least / step) * step : 0;
    plot->most = least <= most ? fmax(ceil(most / step) * step, plot->least + step) : step;
    plot->ticks = (int)((plot->most - plot->least) / step + 0.5);
}

static bool has_thief(const json_t *rows, const char *thief)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (strcmp(drill_show_string(row, "thief"), thief) == 0) {
            return true;
        }
    }
    return false;
}

void drill_show_plots(const json_t *report, struct lethe_buf *out)
{
    static const char mean[] = "no artifact: mean picture", fitted[] = "least squares";
    const json_t *rows = json_object_get(json_object_get(report, "keys_leaked"), "thieves");
    struct plot known = {.title = "The more photos a thief knows, the better he restores others",
                         .x = "known photos",
                         .y = "PSNR, dB",
                         .by_known = true,
                         .value = "psnr"};
    struct plot found = {.title = "Photos that are recognised among all, by strength",
                         .x = "strength",
                         .y = "recognised",
                         .value = "rank1",
                         .most_x = 3,
                         .most = 1,
                         .ticks = 4};
    const struct series by_strength[] = {{fitted, -1, "least squares", 0},
                                         {"own network", -1, "own network", 1},
                                         {"the public base pair", -1, "the public pair", 2},
                                         {"no weights: brightness guessed", -1, "no weights at all", 3},
                                         {mean, -1, "no artifact", -1}};
    struct series by_known[5];
    unsigned strengths = 0, line = 0;
    const json_t *row;
    size_t i;

    if (json_array_size(rows) == 0) {
        return;
    }
    for (int strength = 0; strength < 4; strength++) {
        static const char *const names[] = {"strength 0", "strength 1", "strength 2", "strength 3"};

        json_array_foreach(rows, i, row)
        {
            if (count_at(row, "strength") == strength) {
                by_known[strengths++] = (struct series){fitted, strength, names[strength], strength};
                break;
            }
        }
    }
    by_known[strengths] = (struct series){mean, by_known[0].strength, "no artifact", -1};
    lethe_buf_print(
        out,
        "<section>\n<h2>With the keys: what known photos are worth, and what strength takes away</h2>\n"
        "<p class=\"soft\">At 30 dB and more a picture looks like the photo, at 20 dB it shows what the photo"
        " is of, at 12 dB it is a guess. The dashed line is who has no artifact at all: only what is above"
        " it comes from the vault.</p>\n<div class=\"plots\">\n");
    fit(rows, &known, by_known, strengths + 1, 5);
    draw_axes(&known, strengths + 1, out);
    for (unsigned s = 0; s <= strengths; s++) {
        draw_series(rows, &known, &by_known[s], s, out);
    }
    lethe_buf_print(out, "</svg></figure>\n");
    draw_axes(&found, sizeof by_strength / sizeof *by_strength, out);
    for (unsigned s = 0; s < sizeof by_strength / sizeof *by_strength; s++) {
        if (has_thief(rows, by_strength[s].thief)) {
            draw_series(rows, &found, &by_strength[s], line++, out);
        }
    }
    lethe_buf_print(out, "</svg></figure>\n</div>\n</section>\n");
}
