/* SPDX-License-Identifier: MIT */
/* The drill's tools: statistics against published values, controls, a store that cannot be written through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/drawn.h"
#include "fs/drill/copy.h"
#include "fs/drill/diffusion.h"
#include "fs/drill/drill.h"
#include "fs/drill/known.h"
#include "fs/drill/noise.h"
#include "fs/drill/picture.h"
#include "lethe/train.h"

#define NEAR(a, b, by) assert_true(fabs((a) - (b)) <= (by))

/* The critical values that Wu, Noonan and Agaian print for 256x256 grey pictures. */
static void published_thresholds(void **state)
{
    size_t count = (size_t)256 * 256;
    uint8_t *a = calloc(1, count), *b = calloc(1, count);
    struct drill_npcr npcr;
    struct drill_random random = {.state = 7};

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    drill_npcr_measure(a, b, count, 0.05, &npcr);
    NEAR(npcr.npcr_least, 0.995693, 5e-7);
    NEAR(npcr.uaci_least, 0.332824, 5e-7);
    NEAR(npcr.uaci_most, 0.336447, 5e-7);
    assert_false(npcr.npcr_pass);
    assert_false(npcr.uaci_pass);
    drill_npcr_measure(a, b, count, 0.01, &npcr);
    NEAR(npcr.npcr_least, 0.995527, 5e-7);
    NEAR(npcr.uaci_least, 0.332255, 5e-7);
    NEAR(npcr.uaci_most, 0.337016, 5e-7);
    drill_fill(&random, a, count);
    drill_fill(&random, b, count);
    drill_npcr_measure(a, b, count, 0.0001, &npcr);
    assert_true(npcr.npcr_pass && npcr.uaci_pass);
    b[0] = a[0];
    for (size_t i = 0; i < count; i += 64) { /* one sample in 64 the same */
        b[i] = a[i];
    }
    drill_npcr_measure(a, b, count, 0.0001, &npcr);
    assert_false(npcr.npcr_pass);
    free(a);
    free(b);
}

static void distributions(void **state)
{
    (void)state;
    NEAR(drill_phi(0), 0.5, 1e-15);
    NEAR(drill_phi_inverse(0.975), 1.959963984540054, 1e-10);
    NEAR(drill_chi_square_p(293.2478), 0.05, 5e-4); /* tables: 255 degrees of freedom */
    NEAR(drill_chi_square_p(310.4574), 0.01, 5e-4);
    struct drill_interval share = drill_wilson(81, 263, DRILL_Z95); /* Newcombe, 1998, table I: 0.2553 to 0.3662 */
    NEAR(share.low, 0.2553, 5e-5);
    NEAR(share.high, 0.3662, 5e-5);
    share = drill_wilson(0, 20, DRILL_Z95); /* ibid.: 0 to 0.1611 */
    NEAR(share.low, 0, 1e-12);
    NEAR(share.high, 0.1611, 5e-5);
}

static void curves(void **state)
{
    double better[] = {5, 3, 4}, worse[] = {1, 2, 3};
    struct drill_interval auc = drill_auc(better, 3, worse, 3, DRILL_Z95);
    struct drill_random random = {.state = 3};
    double values[200];

    (void)state;
    NEAR(auc.value, 8.5 / 9, 1e-12); /* of nine pairs eight are right and one is even */
    /* Tables of Mann and Whitney: at 8 and 8, 13 of 64 are beyond chance at 0.05, 14 are not. */
    assert_true(0.5 - drill_auc_chance(8, 8, DRILL_Z95) < 14 / 64.0);
    assert_true(0.5 - drill_auc_chance(8, 8, DRILL_Z95) > 12 / 64.0);
    assert_true(drill_auc_chance(5, 5, 6) > 0.5); /* so few never tell anything */
    NEAR(drill_auc_chance(0, 5, 1), 0.5, 0);
    for (size_t i = 0; i < 200; i++) {
        values[i] = 10 + 2 * drill_normal(&random);
    }
    auc = drill_bootstrap(values, 200, &random);
    NEAR(auc.value, 10, 0.5);
    NEAR(auc.high - auc.low, 2 * 1.96 * 2 / sqrt(200), 0.12);
}

static void bytes(void **state)
{
    enum { LEN = 3 * 100 * 50 };
    uint8_t *data = malloc(LEN);
    struct drill_random random = {.state = 11};
    struct drill_bytes out;

    (void)state;
    assert_non_null(data);
    drill_fill(&random, data, LEN);
    drill_bytes_measure(data, LEN, 100, &out);
    assert_true(out.chi_p > 1e-6 && out.entropy > 7.98);
    assert_true(fabs(out.serial) < 0.04 && fabs(out.adjacent_x) < 0.04 && fabs(out.adjacent_y) < 0.04);
    for (size_t i = 0; i < LEN; i++) { /* a slope across, the same in each row */
        data[i] = (uint8_t)(i % 300 / 3);
    }
    drill_bytes_measure(data, LEN, 100, &out);
    assert_true(out.chi_p < 1e-9 && out.adjacent_x > 0.99 && out.adjacent_y > 0.99);
    memset(data, 9, LEN);
    drill_bytes_measure(data, LEN, 100, &out);
    NEAR(out.entropy, 0, 1e-12);
    NEAR(out.serial, 1, 1e-12);
    free(data);
}

/* Noise is not told from noise, and as little as one bit in a hundred bytes is. */
static void noise_attack(void **state)
{
    struct drill_random random = {.state = 5}, other = {.state = 6};
    struct drill_noise noise = {0};
    uint8_t data[9000];
    bool told;

    (void)state;
    for (int biased = 0; biased < 2; biased++) {
        for (int i = 0; i < 60; i++) {
            drill_fill(&random, data, sizeof data);
            for (size_t j = 0; biased && j < sizeof data; j += 100) {
                data[j] = 0;
            }
            assert_int_equal(drill_noise_add(&noise, data, sizeof data, 50, &other), LETHE_OK);
        }
        json_decref(drill_noise_json(&noise, &told));
        assert_int_equal(told, biased);
        drill_noise_release(&noise);
    }
}

static void pictures(void **state)
{
    struct lethe_raster a = {0}, b = {0};

    (void)state;
    assert_int_equal(lethe_raster_init(&a, 64, 48, 3, 8), LETHE_OK);
    lethe_drawn_landscape(&a, 1);
    assert_int_equal(drill_picture_crop(&a, 64, 48, &b), LETHE_OK);
    NEAR(drill_picture_psnr(&a, &b), 99, 1e-12);
    NEAR(drill_picture_ssim(&a, &b), 1, 1e-12);
    for (size_t i = 0; i < (size_t)64 * 48; i++) {
        for (unsigned c = 0; c < 3; c++) {
            b.planes[c][i] ^= 1; /* off by one everywhere */
        }
    }
    NEAR(drill_picture_psnr(&a, &b), 48.1308, 1e-3);
    assert_true(drill_picture_ssim(&a, &b) < 1);
    lethe_raster_release(&a);
    lethe_raster_release(&b);
}

/* The closed form is the process: amplitude and noise after t single steps, by their moments. */
static void diffusion(void **state)
{
    uint8_t in[4096], out[4096];
    struct drill_random random = {.state = 1};
    double left = drill_diffusion_left(40), mean = 0;

    (void)state;
    NEAR(drill_diffusion_left(0), 1, 1e-15);
    NEAR(drill_diffusion_left(1), sqrt(1 - 5e-4), 1e-12);
    assert_true(drill_diffusion_left(1000) < 1e-10);
    memset(in, 128, sizeof in);
    drill_diffuse(in, sizeof in, 40, &random, out);
    for (size_t i = 0; i < sizeof out; i++) {
        mean += out[i] / (double)sizeof out;
    }
    NEAR(mean, left * 128, 4); /* clipping is nearly even around the middle */
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *where)
{
    (void)stat;
    (void)type;
    (void)where;
    return remove(path);
}

static void read_only_store(void **state)
{
    char folder[] = "/tmp/lethe-drill-XXXXXX";
    const struct lethe_store_options options = {.read_only = true};
    const struct lethe_store_version none = {{0}};
    struct lethe_store *store;
    struct lethe_buf out = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(lethe_store_open(folder, true, &store), LETHE_OK);
    assert_int_equal(lethe_store_put(store, "o/aa/b", (const uint8_t *)"abc", 3), LETHE_OK);
    assert_false(lethe_store_is_read_only(store));
    lethe_store_close(store);
    assert_int_equal(lethe_store_open_with(folder, false, &options, &store), LETHE_OK);
    assert_true(lethe_store_is_read_only(store));
    assert_int_equal(lethe_store_get(store, "o/aa/b", 0, UINT64_MAX, &out, NULL), LETHE_OK);
    assert_int_equal(out.len, 3);
    assert_int_equal(lethe_store_put(store, "o/aa/c", out.data, out.len), LETHE_ERR_DENIED);
    assert_int_equal(lethe_store_replace(store, "head", out.data, out.len, &none, NULL), LETHE_ERR_DENIED);
    assert_int_equal(lethe_store_remove(store, "o/aa/b"), LETHE_ERR_DENIED);
    assert_int_equal(lethe_store_get(store, "o/aa/b", 0, UINT64_MAX, &out, NULL), LETHE_OK);
    lethe_store_close(store);
    lethe_buf_release(&out);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A world whose latents fix the picture: least squares finds the map, the net does not lose it, neighbours come near. */
static void surrogates(void **state)
{
    struct drill_random random = {.state = 21};
    struct drill_pair pairs[6];
    struct drill_linear *linear = malloc(sizeof *linear);
    struct lethe_raster photo = {0}, made = {0}, truth = {0};
    struct lethe_known known[5];
    struct lethe_ycc out;
    struct lethe_buf bytes[2] = {{0}, {0}};
    struct lethe_pair *net;
    float latents[24 * 24 * 64];
    double psnr[3];

    (void)state;
    assert_non_null(linear);
    assert_int_equal(lethe_raster_init(&photo, 200, 210, 3, 8), LETHE_OK);
    for (int n = 0; n < 6; n++) {
        struct lethe_random engine = drill_engine_random(&random);

        lethe_drawn_landscape(&photo, (uint64_t)n + 1);
        assert_int_equal(drill_pair_init(&pairs[n], &photo), LETHE_OK);
        assert_int_equal(pairs[n].picture.width, 192);
        assert_int_equal(
            lethe_encrypter_run(lethe_pair_shipped(0), &pairs[n].picture, 0, &engine, NULL, &pairs[n].latents), LETHE_OK);
        if (n) {
            known[n - 1] = (struct lethe_known){&pairs[n].latents, &pairs[n].picture};
        }
    }
    assert_int_equal(drill_picture_from_ycc(&pairs[0].picture, &truth), LETHE_OK);
    assert_int_equal(drill_linear_fit(pairs + 1, 5, 100000, linear), LETHE_OK);
    for (size_t i = 0; i < sizeof latents / sizeof *latents; i++) {
        latents[i] = pairs[0].latents.values[i];
    }
    assert_int_equal(drill_linear_run(linear, latents, 192, 192, &out), LETHE_OK);
    assert_int_equal(drill_picture_from_ycc(&out, &made), LETHE_OK);
    psnr[0] = drill_picture_psnr(&truth, &made);
    lethe_ycc_release(&out);
    lethe_raster_release(&made);
    assert_int_equal(drill_nearest_run(pairs + 1, 5, 100000, &pairs[0].latents, &out), LETHE_OK);
    assert_int_equal(drill_picture_from_ycc(&out, &made), LETHE_OK);
    psnr[1] = drill_picture_psnr(&truth, &made);
    lethe_ycc_release(&out);
    lethe_raster_release(&made);
    assert_int_equal(lethe_train_surrogate(known, 5, linear->weight, 1, 60, NULL, &bytes[0]), LETHE_OK);
    assert_int_equal(lethe_train_surrogate(known, 5, linear->weight, 1, 60, NULL, &bytes[1]), LETHE_OK);
    assert_int_equal(bytes[0].len, bytes[1].len);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].len);
    assert_int_equal(lethe_pair_parse(bytes[0].data, bytes[0].len, &net), LETHE_OK);
    assert_int_equal(lethe_decrypter_run(net, &pairs[0].latents, NULL, &out), LETHE_OK);
    assert_int_equal(drill_picture_from_ycc(&out, &made), LETHE_OK);
    psnr[2] = drill_picture_psnr(&truth, &made);
    print_message("least squares %.2f dB, neighbours %.2f, net %.2f\n", psnr[0], psnr[1], psnr[2]);
    assert_true(psnr[0] > 27 && psnr[1] > 20 && psnr[2] > psnr[0] - 0.5);
    assert_int_equal(lethe_train_surrogate(known, 0, linear->weight, 1, 60, NULL, &bytes[0]), LETHE_ERR_ARG);
    for (int n = 0; n < 6; n++) {
        drill_pair_release(&pairs[n]);
    }
    lethe_pair_free(net);
    lethe_ycc_release(&out);
    lethe_raster_release(&made);
    lethe_raster_release(&truth);
    lethe_raster_release(&photo);
    lethe_buf_release(&bytes[0]);
    lethe_buf_release(&bytes[1]);
    free(linear);
}

/* A copy keeps its changes to itself, and is made of nothing that could be written through. */
static void tampering_needs_a_copy(void **state)
{
    char folder[] = "/tmp/lethe-drill-XXXXXX";
    const struct lethe_store_options options = {.read_only = true};
    struct lethe_store *store, *view;
    struct drill_copy *copy;
    struct lethe_buf out = {0};
    struct lethe_store_stat stat;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(lethe_store_open(folder, true, &store), LETHE_OK);
    assert_int_equal(lethe_store_put(store, "o/aa/b", (const uint8_t *)"abc", 3), LETHE_OK);
    assert_int_equal(drill_copy_new(store, &copy), LETHE_ERR_DENIED);
    assert_null(copy);
    lethe_store_close(store);
    assert_int_equal(lethe_store_open_with(folder, false, &options, &store), LETHE_OK);
    assert_int_equal(drill_copy_new(store, &copy), LETHE_OK);
    assert_int_equal(drill_copy_store(copy, &view), LETHE_OK);
    assert_int_equal(drill_copy_set(copy, "o/aa/b", (const uint8_t *)"xy", 2), LETHE_OK);
    assert_int_equal(lethe_store_put(view, "o/aa/c", (const uint8_t *)"z", 1), LETHE_OK);
    assert_int_equal(lethe_store_put(view, "o/aa/b", (const uint8_t *)"z", 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_get(view, "o/aa/b", 1, UINT64_MAX, &out, NULL), LETHE_OK);
    assert_int_equal(out.len, 1);
    assert_int_equal(lethe_store_stat(view, "o/aa/c", &stat), LETHE_OK);
    drill_copy_lie(copy, DRILL_LIE_SIZES, "");
    assert_int_equal(lethe_store_stat(view, "o/aa/c", &stat), LETHE_OK);
    assert_int_equal(stat.size, 2);
    assert_int_equal(lethe_store_remove(view, "o/aa/b"), LETHE_OK);
    assert_int_equal(drill_copy_get(copy, "o/aa/b", &out), LETHE_ERR_NOT_FOUND);
    assert_int_equal(lethe_store_stat(store, "o/aa/c", &stat), LETHE_ERR_NOT_FOUND);
    drill_copy_reset(copy);
    assert_int_equal(drill_copy_get(copy, "o/aa/b", &out), LETHE_OK);
    assert_int_equal(out.len, 3);
    lethe_store_close(view);
    drill_copy_free(copy);
    lethe_store_close(store);
    lethe_buf_release(&out);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Every control is broken, whatever the seed. */
static void controls(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct drill_options options = {.seed = seed};
        struct drill drill = {.options = &options, .random = {.state = seed}, .report = json_object()};

        drill.weaknesses = json_array();
        assert_int_equal(drill_controls(&drill), LETHE_OK);
        assert_int_equal(json_array_size(drill.weaknesses), 0);
        assert_int_equal(json_array_size(json_object_get(drill.report, "controls")), 7);
        json_decref(drill.weaknesses);
        json_decref(drill.report);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_thresholds), cmocka_unit_test(distributions),  cmocka_unit_test(curves),
        cmocka_unit_test(bytes),                cmocka_unit_test(noise_attack),   cmocka_unit_test(pictures),
        cmocka_unit_test(diffusion),            cmocka_unit_test(read_only_store), cmocka_unit_test(controls),
        cmocka_unit_test(surrogates),
        cmocka_unit_test(tampering_needs_a_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
