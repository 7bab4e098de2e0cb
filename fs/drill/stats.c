/* SPDX-License-Identifier: MIT */
#include "fs/drill/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 1000

uint64_t drill_next(struct drill_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double drill_unit(struct drill_random *random)
{
    return (double)(drill_next(random) >> 11) / 9007199254740992.0;
}

size_t drill_below(struct drill_random *random, size_t count)
{
    return (size_t)(drill_unit(random) * (double)count);
}

double drill_normal(struct drill_random *random)
{
    double u = 1 - drill_unit(random), v = drill_unit(random);

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void drill_fill(struct drill_random *random, void *out, size_t len)
{
    uint8_t *bytes = out;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t value = drill_next(random);

        memcpy(bytes + i, &value, len - i < 8 ? len - i : 8);
    }
}

double drill_phi(double z)
{
    return 0.5 * erfc(-z / 1.4142135623730951);
}

double drill_phi_inverse(double p)
{
    double low = -40, high = 40;

    while (high - low > 1e-12) {
        double middle = (low + high) / 2;

        if (drill_phi(middle) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (low + high) / 2;
}

double drill_chi_square_p(double chi)
{
    const double k = 255, spread = 2 / (9 * k);

    return 1 - drill_phi((cbrt(chi / k) - (1 - spread)) / sqrt(spread));
}

/* Pearson's correlation of count pairs (bytes[i], bytes[i + step]) that lie in the same row of row bytes (0:
 * any). */
static double correlation(const uint8_t *bytes, size_t len, size_t step, size_t row)
{
    double n = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0, spread;

    for (size_t i = 0; i + step < len; i++) {
        double x = bytes[i], y = bytes[i + step];

        if (row && i % row + step >= row) {
            continue;
        }
        n++;
        sx += x;
        sy += y;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
    }
    spread = (n * sxx - sx * sx) * (n * syy - sy * sy);
    if (n > 1 && spread <= 0) {
        return 1; /* all the same: nothing could be less like noise */
    }
    return n > 1 ? (n * sxy - sx * sy) / sqrt(spread) : 0;
}

void drill_bytes_measure(const uint8_t *bytes, size_t len, size_t width, struct drill_bytes *out)
{
    uint64_t counts[256] = {0};
    double expected = (double)len / 256;

    *out = (struct drill_bytes){.chi_p = 1};
    if (len == 0) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        counts[bytes[i]]++;
    }
    for (size_t v = 0; v < 256; v++) {
        double off = (double)counts[v] - expected, share = (double)counts[v] / (double)len;

        out->chi_square += off * off / expected;
        out->entropy -= share > 0 ? share * log2(share) : 0;
    }
    out->chi_p = drill_chi_square_p(out->chi_square);
    out->serial = correlation(bytes, len, 1, 0);
    if (width) {
        out->adjacent_x = correlation(bytes, len, 3, 3 * width);
        out->adjacent_y = correlation(bytes, len, 3 * width, 0);
    }
}

void drill_npcr_measure(const uint8_t *a, const uint8_t *b, size_t count, double alpha,
                        struct drill_npcr *out)
{
    const double f = 255;
    double changed = 0, sum = 0, n = count ? (double)count : 1, mean, spread;

    for (size_t i = 0; i < count; i++) {
        changed += a[i] != b[i];
        sum += abs(a[i] - b[i]);
    }
    *out = (struct drill_npcr){.npcr = changed / n, .uaci = sum / (f * n)};
    out->npcr_least = (f + drill_phi_inverse(alpha) * sqrt(f / n)) / (f + 1);
    mean = (f + 2) / (3 * f + 3);
    spread = sqrt((f + 2) * (f * f + 2 * f + 3) / (18 * (f + 1) * (f + 1) * f * n));
    out->uaci_least = mean + drill_phi_inverse(alpha / 2) * spread;
    out->uaci_most = mean - drill_phi_inverse(alpha / 2) * spread;
    out->npcr_pass = out->npcr >= out->npcr_least;
    out->uaci_pass = out->uaci >= out->uaci_least && out->uaci <= out->uaci_most;
}

struct drill_interval drill_wilson(size_t hits, size_t tries, double z)
{
    double n = (double)tries, p = tries ? (double)hits / n : 0, middle, half;

    if (!tries) {
        return (struct drill_interval){0, 0, 1};
    }
    middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return (struct drill_interval){p, hits ? middle - half : 0, hits < tries ? middle + half : 1};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

struct drill_interval drill_auc(double *positives, size_t m, double *negatives, size_t n, double z)
{
    double wins = 0, a, q1, q2, spread;
    size_t below = 0, same = 0;

    if (!m || !n) {
        return (struct drill_interval){0.5, 0, 1};
    }
    qsort(positives, m, sizeof *positives, compare);
    qsort(negatives, n, sizeof *negatives, compare);
    for (size_t i = 0; i < m; i++) {
        while (below < n && negatives[below] < positives[i]) {
            below++;
        }
        same = same < below ? below : same;
        while (same < n && negatives[same] <= positives[i]) {
            same++;
        }
        wins += (double)below + 0.5 * (double)(same - below);
    }
    a = wins / ((double)m * (double)n);
    if (a <= 0 || a >= 1) {
        size_t least = m < n ? m : n;
        struct drill_interval end = drill_wilson(a >= 1 ? least : 0, least, z);

        end.value = a;
        return end;
    }
    q1 = a / (2 - a);
    q2 = 2 * a * a / (1 + a);
    spread = sqrt((a * (1 - a) + ((double)m - 1) * (q1 - a * a) + ((double)n - 1) * (q2 - a * a)) /
                  ((double)m * (double)n));
    return (struct drill_interval){a, fmax(0, a - z * spread), fmin(1, a + z * spread)};
}

double drill_auc_chance(size_t m, size_t n, double z)
{
    return m && n ? z * sqrt(((double)m + (double)n + 1) / (12 * (double)m * (double)n)) : 0.5;
}

struct drill_interval drill_bootstrap(const double *values, size_t count, struct drill_random *random)
{
    double means[DRAWS], sum = 0;

    if (count == 0) {
        return (struct drill_interval){0, 0, 0};
    }
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    for (size_t draw = 0; draw < DRAWS; draw++) {
        double total = 0;

        for (size_t i = 0; i < count; i++) {
            total += values[drill_below(random, count)];
        }
        means[draw] = total / (double)count;
    }
    qsort(means, DRAWS, sizeof *means, compare);
    return (struct drill_interval){sum / (double)count, means[DRAWS * 25 / 1000],
                                   means[DRAWS * 975 / 1000 - 1]};
}
