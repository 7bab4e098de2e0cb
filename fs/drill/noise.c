/* SPDX-License-Identifier: MIT */
#include "fs/drill/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fs/vault/frame.h"

const char *const drill_score_names[DRILL_SCORES] = {"chi_square", "entropy", "serial", "adjacent",
                                                     "compressed"};

static enum lethe_err grow(struct drill_noise *noise)
{
    size_t room = noise->room ? noise->room * 2 : 64;

    for (unsigned s = 0; s < DRILL_SCORES; s++) {
        double *real = realloc(noise->real[s], room * sizeof *real), *random;

        if (!real) {
            return LETHE_ERR_NOMEM;
        }
        noise->real[s] = real;
        random = realloc(noise->random[s], room * sizeof *random);
        if (!random) {
            return LETHE_ERR_NOMEM;
        }
        noise->random[s] = random;
    }
    noise->room = room;
    return LETHE_OK;
}

/* The size that zstd brings it to, as a share. */
static enum lethe_err compressed(const uint8_t *bytes, size_t len, double *ratio)
{
    struct lethe_buf raw = {.data = (uint8_t *)(uintptr_t)bytes, .len = len}, packed = {0};
    enum lethe_err err = lethe_frame_pack(&raw, &packed);

    *ratio = (double)packed.len / (double)len;
    lethe_buf_release(&packed);
    return err;
}

enum lethe_err drill_noise_score(const uint8_t *bytes, size_t len, size_t width, double out[DRILL_SCORES],
                                 struct drill_bytes *measured)
{
    struct drill_bytes found;
    double ratio;
    enum lethe_err err = compressed(bytes, len, &ratio);

    drill_bytes_measure(bytes, len, width, &found);
    out[0] = found.chi_square;
    out[1] = -found.entropy;
    out[2] = fabs(found.serial);
    out[3] = fabs(found.adjacent_x) + fabs(found.adjacent_y);
    out[4] = -ratio;
    if (measured) {
        *measured = found;
    }
    return err;
}

enum lethe_err drill_noise_add(struct drill_noise *noise, const uint8_t *bytes, size_t len, size_t width,
                               struct drill_random *random)
{
    double real[DRILL_SCORES], fake[DRILL_SCORES];
    struct drill_bytes measured;
    uint8_t *other;
    enum lethe_err err;

    if (len == 0) {
        return LETHE_OK;
    }
    if (noise->count == noise->room && (err = grow(noise))) {
        return err;
    }
    other = malloc(len);
    if (!other) {
        return LETHE_ERR_NOMEM;
    }
    drill_fill(random, other, len);
    err = drill_noise_score(bytes, len, width, real, &measured);
    err = err ? err : drill_noise_score(other, len, width, fake, NULL);
    free(other);
    if (err) {
        return err;
    }
    for (unsigned s = 0; s < DRILL_SCORES; s++) {
        noise->real[s][noise->count] = real[s];
        noise->random[s][noise->count] = fake[s];
    }
    noise->least_p = noise->count && noise->least_p < measured.chi_p ? noise->least_p : measured.chi_p;
    noise->improbable += measured.chi_p < DRILL_IMPROBABLE;
    noise->sum_chi += measured.chi_square;
    noise->sum_entropy += measured.entropy;
    noise->sum_ratio -= real[4];
    noise->count++;
    return LETHE_OK;
}

json_t *drill_noise_compare(const char *name, double *one, size_t m, double *other, size_t n, bool *chance)
{
    double usual = drill_auc_chance(m, n, -drill_phi_inverse(0.05 / DRILL_FAMILY / 2));
    double sure = drill_auc_chance(m, n, -drill_phi_inverse(DRILL_IMPROBABLE / DRILL_FAMILY / 2));
    double auc = drill_auc(one, m, other, n, 0).value;

    *chance = fabs(auc - 0.5) <= sure;
    return json_pack("{s:s, s:f, s:f, s:f, s:b}", "score", name, "auc", auc, "low", fmax(0, auc - usual),
                     "high", fmin(1, auc + usual), "chance", *chance);
}

json_t *drill_noise_json(struct drill_noise *noise, bool *told)
{
    double n = noise->count ? (double)noise->count : 1;
    json_t *tests = json_array();

    *told = noise->improbable > 0;
    for (unsigned s = 0; s < DRILL_SCORES && noise->count; s++) {
        bool chance;

        (void)json_array_append_new(tests,
                                    drill_noise_compare(drill_score_names[s], noise->real[s], noise->count,
                                                        noise->random[s], noise->count, &chance));
        *told = *told || !chance;
    }
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:I, s:o}", "objects", (json_int_t)noise->count, "chi_square",
                     noise->sum_chi / n, "entropy", noise->sum_entropy / n, "compressed",
                     noise->sum_ratio / n, "least_p", noise->count ? noise->least_p : 1.0, "improbable",
                     (json_int_t)noise->improbable, "distinguishers", tests);
}

void drill_noise_release(struct drill_noise *noise)
{
    for (unsigned s = 0; s < DRILL_SCORES; s++) {
        free(noise->real[s]);
        free(noise->random[s]);
    }
    *noise = (struct drill_noise){0};
}
