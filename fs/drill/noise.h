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
/* Artifacts and other objects, as they are and xored, by every score. */
#define DRILL_FAMILY (4 * DRILL_SCORES)

enum lethe_err drill_noise_add(struct drill_noise *noise, const uint8_t *bytes, size_t len, size_t width,
                               struct drill_random *random) LETHE_MUST_CHECK;
/*
 * For every score the AUC of real against random with its interval, at 95 % for all the DRILL_FAMILY intervals of a
 * drill together (Bonferroni). *told is set when the attack succeeded: an improbable string, or an AUC as far from a
 * half as noise has once in 1 / DRILL_IMPROBABLE drills.
 */
json_t *drill_noise_json(struct drill_noise *noise, bool *told);
void drill_noise_release(struct drill_noise *noise);

#endif
