/* SPDX-License-Identifier: MIT */
/* The attack that every ciphertext must stand: can these byte strings be told from random ones? */
#ifndef LETHE_FS_DRILL_NOISE_H
#define LETHE_FS_DRILL_NOISE_H

#include <jansson.h>

#include "fs/drill/stats.h"
#include "lethe/bytes.h"
#include "lethe/err.h"

#define DRILL_SCORES 5

/* Scores of byte strings, and of as many random ones of the same lengths. */
struct drill_noise {
    double *real[DRILL_SCORES];
    double *random[DRILL_SCORES];
    size_t count, room;
    size_t improbable; /* strings whose chi-square has a chance below DRILL_IMPROBABLE */
    double least_p;
    double sum_chi, sum_entropy, sum_ratio;
};

/* So small that noise does not come to it in any drill. */
#define DRILL_IMPROBABLE 1e-9
/* Artifacts and other objects, as they are and xored, by every score; and photo A against photo B, by one
 * more. */
#define DRILL_FAMILY (5 * DRILL_SCORES + 1)

extern const char *const drill_score_names[DRILL_SCORES];
/* The scores of one byte string; width as for drill_bytes_measure. measured may be NULL. */
enum lethe_err drill_noise_score(const uint8_t *bytes, size_t len, size_t width, double out[DRILL_SCORES],
                                 struct drill_bytes *measured) LETHE_MUST_CHECK;
/*
 * Whether m and n scores have one distribution, as {score, auc, low, high, chance}: the interval is at 95 %
 * for all the DRILL_FAMILY of a drill together (Bonferroni), chance is false when the AUC is as far from a
 * half as noise has it once in 1 / DRILL_IMPROBABLE drills. Sorts both.
 */
json_t *drill_noise_compare(const char *name, double *one, size_t m, double *other, size_t n, bool *chance);

enum lethe_err drill_noise_add(struct drill_noise *noise, const uint8_t *bytes, size_t len, size_t width,
                               struct drill_random *random) LETHE_MUST_CHECK;
/*
 * For every score real against random, compared as above. *told is set when the attack succeeded: an
 * improbable string, or a score that is not at chance.
 */
json_t *drill_noise_json(struct drill_noise *noise, bool *told);
void drill_noise_release(struct drill_noise *noise);

#endif
