/* SPDX-License-Identifier: MIT */
/*
 * Statistics of the drill: what tells bytes from noise, and how sure one can be of a share or an order. Floating
 * point; nothing here is ever stored. Pure functions.
 */
#ifndef LETHE_FS_DRILL_STATS_H
#define LETHE_FS_DRILL_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood, 2014): the drill's only source of chance, so that a seed repeats it. */
struct drill_random {
    uint64_t state;
};
uint64_t drill_next(struct drill_random *random);
double drill_unit(struct drill_random *random);                  /* in [0, 1) */
size_t drill_below(struct drill_random *random, size_t count);   /* in [0, count), count > 0 */
double drill_normal(struct drill_random *random);                /* mean 0, deviation 1 (Box, Muller, 1958) */
void drill_fill(struct drill_random *random, void *out, size_t len);

/* The standard normal distribution, and its inverse for p in (0, 1) (by bisection, to 1e-12). */
double drill_phi(double z);
double drill_phi_inverse(double p);
/* P(X >= chi) for 255 degrees of freedom (Wilson, Hilferty, 1931). */
double drill_chi_square_p(double chi);

struct drill_bytes {
    double chi_square;  /* of the 256 byte values against equal shares; 255 degrees of freedom */
    double chi_p;       /* the chance of at least that much from noise */
    double entropy;     /* bits a byte, of the byte values alone */
    double serial;      /* correlation of each byte with the next */
    double adjacent_x;  /* correlation of RGB samples with their right neighbours; 0 without a width */
    double adjacent_y;  /* and with those below */
};
/* width: of the RGB picture that the bytes are the samples of, or 0. */
void drill_bytes_measure(const uint8_t *bytes, size_t len, size_t width, struct drill_bytes *out);

/*
 * Number of pixels change rate and unified average changing intensity of two 8-bit pictures of count samples, with
 * the critical values of Y. Wu, J. P. Noonan, S. Agaian, "NPCR and UACI randomness tests for image encryption", 2011
 * (F = 255, L = count): NPCR passes from npcr_least on, UACI between the two.
 */
struct drill_npcr {
    double npcr, uaci; /* shares, 0 to 1 */
    double npcr_least, uaci_least, uaci_most;
    bool npcr_pass, uaci_pass;
};
void drill_npcr_measure(const uint8_t *a, const uint8_t *b, size_t count, double alpha, struct drill_npcr *out);

struct drill_interval {
    double value, low, high;
};
/* A share of hits in tries at z standard deviations (Wilson, 1927). tries 0: [0, 1]. */
struct drill_interval drill_wilson(size_t hits, size_t tries, double z);
/*
 * The chance that a score of positives exceeds one of negatives, ties counted half, with the interval of J. A. Hanley
 * and B. J. McNeil (1982) at z deviations; degenerate 0 and 1 get Wilson's. Sorts both arrays.
 */
struct drill_interval drill_auc(double *positives, size_t m, double *negatives, size_t n, double z);
/*
 * Half the width of an interval about such a chance, at z deviations, that holds a half as often as the rank test of
 * H. B. Mann and D. R. Whitney (1947) finds nothing: with the deviation of scores that do not differ, whose normal
 * approximation errs to the safe side for few.
 */
double drill_auc_chance(size_t m, size_t n, double z);
/* The mean of values, and its 95 % interval by bootstrap over them (percentiles of 1,000 draws; Efron, 1979). */
struct drill_interval drill_bootstrap(const double *values, size_t count, struct drill_random *random);

#define DRILL_Z95 1.959963984540054

#endif
