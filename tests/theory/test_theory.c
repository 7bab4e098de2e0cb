/* SPDX-License-Identifier: MIT */
/*
 * The published experiment, and what its figure was made of. 809 RGBA sprites (drawn here) go through the forward
 * process of fs/drill/diffusion.h; a learner sees some of them with their artifacts, and restores the RGB of all. The
 * prototype reported 22.5 dB against 14.3 of a direct baseline: on its training images, with one noise field for all,
 * and alpha copied. Here each of the three is taken away in turn.
 *
 * The learner is least squares on 3x3 windows: of the artifact, its alpha, and the mean artifact at that place, which
 * is how a fixed noise field is learned; and the mean sprite at that place, which is the prior. Beside it a memory: the training sprite whose artifact is nearest.
 *
 * Quick: 160 sprites, three times; LETHE_LONG=1: all 809, more times. lethefs-theory(7) quotes the long form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/drawn.h"
#include "fs/drill/diffusion.h"
#include "fs/drill/drill.h"
#include "fs/drill/picture.h"
#include "tests/long.h"

#define SIDE 32
#define AREA (SIDE * SIDE)
#define MOST 809
#define FEATURES 67 /* 3x3 of three colours, alpha and three mean colours; the mean sprite there; and a constant */

struct world {
    size_t count, train; /* the first train of count are learned from */
    uint8_t (*sprites)[4][AREA];
    uint8_t (*artifacts)[4][AREA];
    double (*mean)[AREA];          /* artifacts of the training sprites, 3 colours */
    double (*mean_sprite)[AREA];   /* the baseline */
    double weights[FEATURES][3];
};

static void make_artifacts(struct world *w, unsigned t, bool fixed, bool keep_alpha)
{
    for (size_t n = 0; n < w->count; n++) {
        struct drill_random random = {.state = fixed ? 1 : 1000 + n};

        drill_diffuse(w->sprites[n][0], 3 * (size_t)AREA, t, &random, w->artifacts[n][0]);
        if (keep_alpha) {
            memcpy(w->artifacts[n][3], w->sprites[n][3], AREA);
        } else {
            drill_diffuse(w->sprites[n][3], AREA, t, &random, w->artifacts[n][3]);
        }
    }
    memset(w->mean, 0, 3 * sizeof *w->mean);
    for (size_t n = 0; n < w->train; n++) {
        for (size_t i = 0; i < 3 * (size_t)AREA; i++) {
            w->mean[i / AREA][i % AREA] += w->artifacts[n][i / AREA][i % AREA] / (double)w->train;
        }
    }
}

static void features(const struct world *w, size_t n, size_t at, double out[FEATURES])
{
    size_t y = at / SIDE, x = at % SIDE, f = 0;

    for (int tap = 0; tap < 9; tap++) {
        size_t v = y + (size_t)tap / 3, u = x + (size_t)tap % 3, place;

        v = v == 0 ? 0 : v > SIDE ? SIDE - 1 : v - 1;
        u = u == 0 ? 0 : u > SIDE ? SIDE - 1 : u - 1;
        place = v * SIDE + u;
        for (int c = 0; c < 4; c++) {
            out[f++] = w->artifacts[n][c][place] / 255.0;
        }
        for (int c = 0; c < 3; c++) {
            out[f++] = w->mean[c][place] / 255.0;
        }
    }
    for (int c = 0; c < 3; c++) {
        out[f++] = w->mean_sprite[c][at] / 255.0;
    }
    out[f] = 1;
}

/* Ridge regression by Cholesky. */
static void learn(struct world *w)
{
    static double a[FEATURES][FEATURES];
    double x[FEATURES];

    memset(a, 0, sizeof a);
    memset(w->weights, 0, sizeof w->weights);
    for (size_t n = 0; n < w->train; n++) {
        for (size_t at = n % 7; at < AREA; at += 7) { /* a seventh of the places of each */
            features(w, n, at, x);
            for (size_t i = 0; i < FEATURES; i++) {
                for (size_t j = 0; j <= i; j++) {
                    a[i][j] += x[i] * x[j];
                }
                for (int c = 0; c < 3; c++) {
                    w->weights[i][c] += x[i] * w->sprites[n][c][at];
                }
            }
        }
    }
    for (size_t i = 0; i < FEATURES; i++) {
        a[i][i] += 0.1;
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i][j];

            for (size_t k = 0; k < j; k++) {
                sum -= a[i][k] * a[j][k];
            }
            a[i][j] = i == j ? sqrt(sum) : sum / a[j][j];
        }
    }
    for (int c = 0; c < 3; c++) {
        for (size_t i = 0; i < FEATURES; i++) {
            for (size_t k = 0; k < i; k++) {
                w->weights[i][c] -= a[i][k] * w->weights[k][c];
            }
            w->weights[i][c] /= a[i][i];
        }
        for (size_t i = FEATURES; i-- > 0;) {
            for (size_t k = i + 1; k < FEATURES; k++) {
                w->weights[i][c] -= a[k][i] * w->weights[k][c];
            }
            w->weights[i][c] /= a[i][i];
        }
    }
}

enum restorer { LEARNED, MEAN, MEMORY };

/* The training sprite whose artifact is nearest to that of n. */
static size_t recall(const struct world *w, size_t n)
{
    size_t best = 0;
    uint64_t least = UINT64_MAX;

    for (size_t k = 0; k < w->train; k++) {
        uint64_t sum = 0;

        for (size_t i = 0; i < 4 * (size_t)AREA && sum < least; i++) {
            int d = w->artifacts[n][i / AREA][i % AREA] - w->artifacts[k][i / AREA][i % AREA];

            sum += (uint64_t)(d * d);
        }
        if (sum < least) {
            least = sum;
            best = k;
        }
    }
    return best;
}

struct figure {
    double psnr, ssim; /* means over the pictures */
};

static struct figure judge(const struct world *w, enum restorer restorer, size_t from, size_t to)
{
    struct lethe_raster truth = {0}, made = {0};
    struct figure out = {0};

    assert_int_equal(lethe_raster_init(&truth, SIDE, SIDE, 3, 8), LETHE_OK);
    assert_int_equal(lethe_raster_init(&made, SIDE, SIDE, 3, 8), LETHE_OK);
    for (size_t n = from; n < to; n++) {
        size_t like = restorer == MEMORY ? recall(w, n) : 0;

        for (size_t at = 0; at < AREA; at++) {
            double x[FEATURES];

            if (restorer == LEARNED) {
                features(w, n, at, x);
            }
            for (int c = 0; c < 3; c++) {
                double v = restorer == MEAN ? w->mean_sprite[c][at] : w->sprites[like][c][at];

                if (restorer == LEARNED) {
                    v = 0;
                    for (size_t i = 0; i < FEATURES; i++) {
                        v += x[i] * w->weights[i][c];
                    }
                }
                truth.planes[c][at] = w->sprites[n][c][at];
                made.planes[c][at] = (uint16_t)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5);
            }
        }
        out.psnr += drill_picture_psnr(&truth, &made) / (double)(to - from);
        out.ssim += drill_picture_ssim(&truth, &made) / (double)(to - from);
    }
    lethe_raster_release(&truth);
    lethe_raster_release(&made);
    return out;
}

static void open_world(struct world *w, size_t count)
{
    struct lethe_raster sprite = {0};

    *w = (struct world){.count = count, .train = count * 4 / 5};
    w->sprites = calloc(count, sizeof *w->sprites);
    w->artifacts = calloc(count, sizeof *w->artifacts);
    w->mean = calloc(3, sizeof *w->mean);
    w->mean_sprite = calloc(3, sizeof *w->mean_sprite);
    assert_true(w->sprites && w->artifacts && w->mean && w->mean_sprite);
    assert_int_equal(lethe_raster_init(&sprite, SIDE, SIDE, 4, 8), LETHE_OK);
    for (size_t n = 0; n < count; n++) {
        lethe_drawn_sprite(&sprite, 5000 + n);
        for (size_t i = 0; i < 4 * (size_t)AREA; i++) {
            w->sprites[n][i / AREA][i % AREA] = (uint8_t)sprite.planes[i / AREA][i % AREA];
        }
        for (size_t i = 0; i < 3 * (size_t)AREA && n < w->train; i++) {
            w->mean_sprite[i / AREA][i % AREA] += sprite.planes[i / AREA][i % AREA] / (double)w->train;
        }
    }
    lethe_raster_release(&sprite);
}

static void close_world(struct world *w)
{
    free(w->sprites);
    free(w->artifacts);
    free(w->mean);
    free(w->mean_sprite);
}

static void published_experiment(void **state)
{
    static const unsigned quick[] = {20, 100, 1000}, all[] = {1, 10, 20, 50, 100, 150, 200, 300, 400, 600, 1000};
    const unsigned *times = test_is_long() ? all : quick;
    size_t steps = test_is_long() ? sizeof all / sizeof *all : sizeof quick / sizeof *quick;
    static const struct {
        bool fixed, alpha;
        const char *name;
    } worlds[] = {{true, true, "one field, alpha kept"},
                  {true, false, "one field"},
                  {false, true, "fresh, alpha kept"},
                  {false, false, "fresh"}};
    double held_out[4][16] = {{0}};
    struct figure mean, seen, memory, recalled;
    struct world w;

    (void)state;
    open_world(&w, test_is_long() ? MOST : 160);
    mean = judge(&w, MEAN, w.train, w.count);
    print_message("%zu sprites, %zu of them learned from; the mean sprite: %.2f dB, SSIM %.3f\n", w.count, w.train, mean.psnr,
                  mean.ssim);
    print_message("noise                    t  left  held out dB  SSIM  training dB  memory: held out  training dB\n");
    for (int kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < steps; i++) {
            struct figure out;

            make_artifacts(&w, times[i], worlds[kind].fixed, worlds[kind].alpha);
            learn(&w);
            out = judge(&w, LEARNED, w.train, w.count);
            seen = judge(&w, LEARNED, 0, w.count - w.train);
            memory = judge(&w, MEMORY, w.train, w.count);
            recalled = judge(&w, MEMORY, 0, w.count - w.train);
            held_out[kind][i] = out.psnr;
            print_message("%-22s %4u %.3f %10.2f %7.3f %10.2f %13.2f %14.2f\n", worlds[kind].name, times[i],
                          drill_diffusion_left(times[i]), out.psnr, out.ssim, seen.psnr, memory.psnr, recalled.psnr);
            /* One field, alpha copied: what was learned by heart comes back exactly, at any time. */
            if (kind == 0) {
                assert_true(recalled.psnr > 60);
            }
        }
    }
    /* Fresh noise, alpha treated like the rest: less and less, and at T no more than the mean. */
    for (size_t i = 1; i < steps; i++) {
        assert_true(held_out[3][i] < held_out[3][i - 1] + 0.2);
    }
    assert_true(held_out[3][0] > mean.psnr + 2);
    assert_true(fabs(held_out[3][steps - 1] - mean.psnr) < 0.5);
    /* The shortcuts. At T colours are gone with any noise; the outline is what alpha gives away. */
    assert_true(held_out[0][0] > held_out[3][0] + 3);
    assert_true(held_out[0][steps - 1] > mean.psnr + 0.5);
    assert_true(held_out[2][steps - 1] > mean.psnr + 0.5);
    assert_true(fabs(held_out[1][steps - 1] - mean.psnr) < 0.5);
    close_world(&w);
}

/* The same sprites through lethefs's own Encrypter: strength is the time. */
static void own_encrypter(void **state)
{
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    double psnr[4] = {0}, ssim[4] = {0};
    enum { COUNT = 40, LARGE = 96 };

    (void)state;
    assert_non_null(pair);
    for (unsigned strength = 0; strength < 4; strength++) {
        for (size_t n = 0; n < COUNT; n++) {
            struct drill_random random = {.state = n * 4 + strength};
            struct lethe_random engine = drill_engine_random(&random);
            struct lethe_raster sprite = {0}, rgb = {0}, made = {0};
            struct lethe_ycc in = {0}, out = {0};
            struct lethe_latents latents = {0};

            assert_int_equal(lethe_raster_init(&sprite, LARGE, LARGE, 4, 8), LETHE_OK);
            lethe_drawn_sprite(&sprite, 5000 + n);
            assert_int_equal(lethe_raster_init(&rgb, LARGE, LARGE, 3, 8), LETHE_OK);
            for (unsigned c = 0; c < 3; c++) {
                memcpy(rgb.planes[c], sprite.planes[c], (size_t)LARGE * LARGE * sizeof **rgb.planes);
            }
            assert_int_equal(drill_picture_to_ycc(&rgb, &in), LETHE_OK);
            assert_int_equal(lethe_encrypter_run(pair, &in, strength, &engine, NULL, &latents), LETHE_OK);
            assert_int_equal(lethe_decrypter_run(pair, &latents, NULL, &out), LETHE_OK);
            assert_int_equal(drill_picture_from_ycc(&out, &made), LETHE_OK);
            psnr[strength] += drill_picture_psnr(&rgb, &made) / COUNT;
            ssim[strength] += drill_picture_ssim(&rgb, &made) / COUNT;
            lethe_raster_release(&sprite);
            lethe_raster_release(&rgb);
            lethe_raster_release(&made);
            lethe_ycc_release(&in);
            lethe_ycc_release(&out);
            lethe_latents_release(&latents);
        }
        print_message("strength %u: %.2f dB, SSIM %.3f\n", strength, psnr[strength], ssim[strength]);
        assert_true(strength == 0 || psnr[strength] < psnr[strength - 1]);
    }
    assert_true(psnr[3] > 15); /* strength 3 is far from T: no claim that it hides a picture */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_experiment), cmocka_unit_test(own_encrypter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
