/* SPDX-License-Identifier: MIT */
/*
 * Samples of 8 bits in the fast mode, for AVX2: the same text, another instruction set, but for predictions, whose terms
 * go in pairs, and for the way along the rows of several channels.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* most of it is loops of independent sums: worth vectors, which -O2 leaves out */
#endif

#include <immintrin.h>

#include "engine/codec/residual_samples_fast.h"

/* Two terms for 16 samples: a sum's lanes are samples 0 to 3 and 8 to 11, 4 to 7 and 12 to 15. */
static inline __attribute__((always_inline)) void pair(__m256i a, __m256i b, int wa, int wb, __m256i sum[2])
{
    __m256i w = _mm256_set1_epi32((int)((uint16_t)wa | (uint32_t)(uint16_t)wb << 16));

    sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), w));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), w));
}

static inline __attribute__((always_inline)) __m256i get(const int16_t *at)
{
    return _mm256_loadu_si256((const void *)at);
}

static inline __attribute__((always_inline)) __m256i less(const int16_t *at, __m256i what)
{
    return _mm256_sub_epi16(get(at), what);
}

static inline __attribute__((always_inline)) void fast8v_predict_block(const struct fast_rows8 *r, const int16_t *w,
                                                                       unsigned before, uint32_t at, int32_t *out)
{
    const int16_t *n = r->n + at, *nn = r->nn + at;
    const __m256i h = get(r->h + at), one = _mm256_set1_epi16(1);
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

    pair(h, one, 1 << FAST_UNIT, 1 << (FAST_UNIT - 1), sum);
    pair(h, h, -w[0], -w[4], sum);
    pair(less(n, h), less(n - 1, h), w[1], w[2], sum);
    pair(less(n + 1, h), less(nn, h), w[3], w[5], sum);
    pair(less(r->h + at - 1, h), less(r->hn + at, h), w[6], w[7], sum);
    pair(less(r->h + at + 1, h), less(r->hs + at, h), w[8], w[9], sum);
    if (before == 0) {
        pair(less(n + 2, h), less(nn + 1, h), w[10], w[11], sum);
    } else {
        const int16_t *o = r->o[0] + at;
        const __m256i x = get(o);

        pair(_mm256_sub_epi16(x, get(r->oh[0] + at)), _mm256_sub_epi16(x, get(o - 1)), w[10], w[11], sum);
        pair(_mm256_sub_epi16(x, get(r->on[0] + at)), _mm256_sub_epi16(x, get(o + 1)), w[12], w[13], sum);
    }
    if (before == 2) {
        const int16_t *o = r->o[1] + at;
        const __m256i x = get(o);

        pair(_mm256_sub_epi16(x, get(r->oh[1] + at)), _mm256_sub_epi16(x, get(o - 1)), w[14], w[15], sum);
        pair(_mm256_sub_epi16(x, get(r->on[1] + at)), one, w[16], 0, sum);
    }
    _mm256_storeu_si256((void *)out, _mm256_permute2x128_si256(sum[0], sum[1], 0x20));
    _mm256_storeu_si256((void *)(out + 8), _mm256_permute2x128_si256(sum[0], sum[1], 0x31));
}

#define FAST_PREDICT
#define FAST(name) fast8v_##name
#define FAST_ROWS_OF fast_rows8
#define FAST_SAMPLE int16_t
#define FAST_MAGNITUDE uint16_t
#define FAST_SUM int32_t
#define FAST_WRAP uint32_t
#define FAST_SHIFT 0
#define FAST_ENCODE lethe_fast8_avx2_encode
#define FAST_DECODE lethe_fast8_avx2_decode
#define FAST_WIDE "engine/codec/x86/residual_samples_fast8_lanes.h"
#include "engine/codec/residual_samples_fast_body.h"
