/* SPDX-License-Identifier: MIT */
/*
 * Integer least squares for prediction: sums of products over a neighbourhood that encoder and decoder both
 * know, solved by an LDL factorisation in fixed point. (X. Li, M. Orchard, "Edge-directed prediction for
 * lossless compression of natural images", IEEE Trans. Image Processing 10(6), 2001.) The solution is only
 * approximately the minimum, but the same integers everywhere, which is all that a lossless coder needs.
 */
#include "engine/codec/residual_samples.h"

#define L_BITS 20   /* fixed point of the factor L */
#define INV_BITS 48 /* fixed point of 1 / D */
#define WEIGHT_MAX (1 << 20)

void lethe_lsq_decay(struct lethe_lsq_sums *sums, unsigned count)
{
    for (unsigned i = 0; i < count * (count + 1) / 2; i++) {
        sums->product[i] -= sums->product[i] >> 2;
    }
    for (unsigned i = 0; i < count; i++) {
        sums->target[i] -= sums->target[i] >> 2;
    }
}

/* One call adds below 2^20; 32 calls a row and the decay of 1/4 keep every sum below 2^25 * 4 + 4 < 2^28. */
void lethe_lsq_add(struct lethe_lsq_sums *sums, unsigned count, const int16_t *features, int16_t target)
{
    int32_t *product = sums->product;

    for (unsigned i = 0; i < count; i++) {
        int32_t f = features[i];

        for (unsigned j = 0; j <= i; j++) {
            product[j] += f * features[j];
        }
        product += i + 1;
        sums->target[i] += f * target;
    }
}

static int64_t clamp64(int64_t value, int64_t limit)
{
    return value > limit ? limit : value < -limit ? -limit : value;
}

void lethe_lsq_solve(const struct lethe_lsq_sums *const *blocks, unsigned blocks_count, unsigned count,
                     const int32_t *prior, int32_t *weights)
{
    int64_t m[LETHE_LSQ_MAX][LETHE_LSQ_MAX]; /* below the diagonal L * D, then used with l */
    int64_t l[LETHE_LSQ_MAX][LETHE_LSQ_MAX];
    int64_t inv[LETHE_LSQ_MAX], y[LETHE_LSQ_MAX], w[LETHE_LSQ_MAX];
    int64_t largest = 1, ridge;
    int shift;

    /* Sums of four blocks stay below 2^30. */
    for (unsigned i = 0, at = 0; i < count; i++) {
        for (unsigned j = 0; j <= i; j++, at++) {
            m[i][j] = 0;
            for (unsigned k = 0; k < blocks_count; k++) {
                m[i][j] += blocks[k] ? blocks[k]->product[at] : 0;
            }
        }
        y[i] = 0;
        for (unsigned k = 0; k < blocks_count; k++) {
            y[i] += blocks[k] ? blocks[k]->target[i] : 0;
        }
        m[i][i] += 64;
        largest = m[i][i] > largest ? m[i][i] : largest;
    }
    /* Brings the largest diagonal into [2^29, 2^30), so that off-diagonals (Cauchy-Schwarz) are below 2^30
     * too. */
    shift = 29 - (63 - __builtin_clzll((uint64_t)largest));
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j <= i; j++) {
            m[i][j] = shift >= 0 ? m[i][j] * (1ll << shift) : m[i][j] >> -shift;
        }
        y[i] = shift >= 0 ? y[i] * (1ll << shift) : y[i] >> -shift;
    }
    /* The pull towards the prior: (R + ridge) w = b + ridge * prior. */
    ridge = (1 << 19) + (shift > 0 ? 64ll << (shift < 22 ? shift : 22) : 0);
    for (unsigned i = 0; i < count; i++) {
        m[i][i] += ridge;
        y[i] = clamp64(y[i] + ((ridge * prior[i]) >> 16), 1ll << 34);
    }
    /*
     * LDL: D in [2^19, 2^31), |L| <= sqrt(largest / D) < 2^6 in exact arithmetic; the clamps only matter when
     * rounding breaks positive definiteness. 18 products of 2^27 * 2^31 stay below 2^63.
     */
    for (unsigned j = 0; j < count; j++) {
        for (unsigned i = j; i < count; i++) {
            int64_t s = 0;

            for (unsigned k = 0; k < j; k++) {
                s += l[i][k] * m[j][k];
            }
            m[i][j] = clamp64(m[i][j] - (s >> L_BITS), (1ll << 31) - 1);
        }
        m[j][j] = m[j][j] < ridge ? ridge : m[j][j];
        inv[j] = (1ll << INV_BITS) / m[j][j]; /* in (2^17, 2^29] */
        for (unsigned i = j + 1; i < count; i++) {
            l[i][j] = clamp64((m[i][j] * inv[j]) >> (INV_BITS - L_BITS), 1 << (L_BITS + 7));
        }
    }
    for (unsigned i = 0; i < count; i++) {
        int64_t s = 0;

        for (unsigned k = 0; k < i; k++) {
            s += (l[i][k] * y[k]) >> L_BITS;
        }
        y[i] = clamp64(y[i] - s, 1ll << 33);
    }
    for (unsigned i = count; i-- > 0;) {
        int64_t s = 0;

        for (unsigned k = i + 1; k < count; k++) {
            s += l[k][i] * w[k];
        }
        /* y * inv is below 2^62. */
        w[i] = clamp64(((y[i] * inv[i]) >> (INV_BITS - 16)) - (s >> L_BITS), WEIGHT_MAX);
    }
    for (unsigned i = 0; i < count; i++) {
        weights[i] = (int32_t)w[i];
    }
}
