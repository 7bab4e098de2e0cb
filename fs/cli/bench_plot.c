/* SPDX-License-Identifier: MIT */
/* Rate against distortion as one SVG file: PSNR over the logarithm of bits per pixel. */
#include "fs/cli/bench.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 900
#define HEIGHT 560
#define LEFT 70
#define RIGHT 30
#define TOP 50
#define BOTTOM 60

struct frame {
    double low_bpp, high_bpp, low_db, high_db;
};

static double number(const json_t *point, const char *name)
{
    return json_number_value(json_object_get(point, name));
}

static double x_of(const struct frame *frame, double bpp)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (log(bpp) - log(frame->low_bpp)) /
                      (log(frame->high_bpp) - log(frame->low_bpp));
}

static double y_of(const struct frame *frame, double db)
{
    return HEIGHT - BOTTOM -
           (HEIGHT - TOP - BOTTOM) * (db - frame->low_db) / (frame->high_db - frame->low_db);
}

static void widen(struct frame *frame, const json_t *curve)
{
    json_t *point;
    size_t i;

    json_array_foreach(curve, i, point)
    {
        frame->low_bpp = fmin(frame->low_bpp, number(point, "bpp"));
        frame->high_bpp = fmax(frame->high_bpp, number(point, "bpp"));
        frame->low_db = fmin(frame->low_db, floor(number(point, "psnr") - 0.5));
        frame->high_db = fmax(frame->high_db, ceil(number(point, "psnr") + 0.5));
    }
}

static void line(struct lethe_buf *out, const struct frame *frame, const json_t *curve, const char *style)
{
    json_t *point;
    size_t i;

    lethe_buf_print(out, "<polyline fill=\"none\" stroke-width=\"2.5\" %s points=\"", style);
    json_array_foreach(curve, i, point)
    {
        lethe_buf_print(out, "%.1f,%.1f ", x_of(frame, number(point, "bpp")),
                        y_of(frame, number(point, "psnr")));
    }
    lethe_buf_print(out, "\"/>\n");
}

static void axes(struct lethe_buf *out, const struct frame *frame)
{
    static const double marks[] = {0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1, 1.5, 2, 3};
    double step = frame->high_db - frame->low_db > 16 ? 4 : 2;

    for (unsigned i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (marks[i] >= frame->low_bpp * 0.999 && marks[i] <= frame->high_bpp * 1.001) {
            double x = x_of(frame, marks[i]);

            lethe_buf_print(out, "<line class=\"g\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, TOP, x,
                            HEIGHT - BOTTOM);
            lethe_buf_print(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x,
                            HEIGHT - BOTTOM + 20, marks[i]);
        }
    }
    for (double db = ceil(frame->low_db / step) * step; db <= frame->high_db; db += step) {
        double y = y_of(frame, db);

        lethe_buf_print(out, "<line class=\"g\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", LEFT, y,
                        WIDTH - RIGHT, y);
        lethe_buf_print(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, y + 4,
                        db);
    }
    lethe_buf_print(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">bits per pixel</text>\n",
                    (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15);
    lethe_buf_print(
        out,
        "<text x=\"20\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 20 %d)\">PSNR, dB</text>\n",
        HEIGHT / 2, HEIGHT / 2);
}

void lethe_bench_plot(const json_t *object, struct lethe_buf *out)
{
    const json_t *quality = json_object_get(object, "quality"), *set = json_object_get(quality, "png");
    const char *kind = "PNG";
    struct frame frame = {1e9, 0, 1e9, 0};
    const json_t *ours, *jpeg, *strengths;
    json_t *point;
    size_t i;

    if (!set) {
        set = json_object_get(quality, "jpeg");
        kind = "JPEG";
    }
    ours = json_object_get(set, "artifact_curve");
    jpeg = json_object_get(set, "jpeg_curve");
    strengths = json_object_get(set, "strengths");
    lethe_buf_print(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
        "font-size=\"14\">\n<style>.g{stroke:#ddd}</style><rect width=\"100%%\" height=\"100%%\" "
        "fill=\"#fff\"/>\n",
        WIDTH, HEIGHT);
    if (json_array_size(ours) > 1) {
        widen(&frame, ours);
        widen(&frame, jpeg);
        widen(&frame, strengths);
        axes(out, &frame);
        line(out, &frame, ours, "stroke=\"#1f5fbf\"");
        line(out, &frame, jpeg, "stroke=\"#b3541e\" stroke-dasharray=\"7 5\"");
        json_array_foreach(strengths, i, point)
        {
            double x = x_of(&frame, number(point, "bpp")), y = y_of(&frame, number(point, "psnr"));

            lethe_buf_print(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" fill=\"#1f5fbf\"/>", x, y);
            lethe_buf_print(out, "<text x=\"%.1f\" y=\"%.1f\">%zu</text>\n", x + 7, y + 15, i);
        }
    }
    lethe_buf_print(
        out,
        "<text x=\"%d\" y=\"30\">Mean of %d %s pictures: <tspan fill=\"#1f5fbf\">the artifact alone (dots: "
        "strengths)"
        "</tspan>, <tspan fill=\"#b3541e\">progressive 4:2:0 JPEG</tspan></text>\n</svg>\n",
        LEFT, (int)json_integer_value(json_object_get(set, "pictures")), kind);
}
