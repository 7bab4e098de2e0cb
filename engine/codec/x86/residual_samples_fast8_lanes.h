/* SPDX-License-Identifier: MIT */
/*
 * Part of residual_samples_fast8_avx2.c: three or four channels walk their rows as the lanes of one vector, but for what
 * reads tables and streams. A step does what fast8v_decode_sample does for each of them; that is the specification.
 * What makes 16 bits wide enough: samples of a row are within 255 of 0 before an error is added, and an error of 512
 * and more (bad is set) counts as 0.
 */
#include <immintrin.h>

/* Columns of four samples, from rows of them in four channels. */
FAST_INLINE void fast8v_turn(const __m128i row[4], __m128i column[4])
{
    __m128i ab = _mm_unpacklo_epi32(row[0], row[1]), cd = _mm_unpacklo_epi32(row[2], row[3]);
    __m128i ab2 = _mm_unpackhi_epi32(row[0], row[1]), cd2 = _mm_unpackhi_epi32(row[2], row[3]);

    column[0] = _mm_unpacklo_epi64(ab, cd);
    column[1] = _mm_unpackhi_epi64(ab, cd);
    column[2] = _mm_unpacklo_epi64(ab2, cd2);
    column[3] = _mm_unpackhi_epi64(ab2, cd2);
}

/* energy: (that + 8) << 2, and the fraction of a prediction below the unit's middle, as it is near 0: 2. */
FAST_INLINE void fast8v_turn_in(const struct fast8v_lane *l, unsigned count, uint32_t at, __m128i sum[FAST_BLOCK],
                                __m128i energy[FAST_BLOCK])
{
    for (unsigned j = 0; j < FAST_BLOCK; j += 4) {
        __m128i rows[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};

        for (unsigned k = 0; k < count; k++) {
            rows[k] = _mm_loadu_si128((const void *)(l[k].sum + at + j));
        }
        fast8v_turn(rows, sum + j);
        for (unsigned k = 0; k < count; k++) {
            rows[k] = _mm_loadu_si128((const void *)(l[k].energy + at + j));
            rows[k] = _mm_add_epi32(_mm_slli_epi32(rows[k], 2), _mm_set1_epi32(4 * 8 + 2));
        }
        fast8v_turn(rows, energy + j);
    }
}

/* done: in each lane a sample, and above it the magnitude of its error. */
FAST_INLINE void fast8v_turn_out(const __m128i done[FAST_BLOCK], const struct fast8v_lane *l, unsigned count,
                                 uint32_t at)
{
    const __m128i low = _mm_set1_epi32(0xffff);
    __m128i columns[4][4]; /* by four samples, then by channel */

    for (unsigned j = 0; j < 4; j++) {
        fast8v_turn(done + 4 * j, columns[j]);
    }
    for (unsigned k = 0; k < count; k++) {
        for (unsigned j = 0; j < 2; j++) {
            __m128i a = columns[2 * j][k], b = columns[2 * j + 1][k];

            _mm_storeu_si128((void *)(l[k].e + at + 8 * j),
                             _mm_packus_epi32(_mm_srli_epi32(a, 16), _mm_srli_epi32(b, 16)));
            _mm_storeu_si128((void *)(l[k].x + at + 8 * j),
                             _mm_packus_epi32(_mm_and_si128(a, low), _mm_and_si128(b, low)));
        }
    }
}

#define FAST8V_WAYS (26 * 16) /* less 16 for each leading zero of the energy's 32 bits */

struct fast8v_stream {
    const uint8_t *tables; /* of distributions */
    const uint32_t *ways;  /* at FAST8V_WAYS: by level and fraction, where the table is, in bytes */
    const uint8_t *at;
    uint32_t state;
};

/* energy << 2 | fraction to a token. In this order little is left to do once the energy is known. */
FAST_INLINE uint32_t fast8v_token(struct fast8v_stream *s, uint32_t energy)
{
    const uint8_t *bucket = s->tables + s->state / LETHE_RANS_SLOTS % LETHE_RANS_TOKENS * 8;
    uint64_t zeros = (uint64_t)__builtin_clz(energy), top = energy << zeros >> 29; /* 4 to 7 */
    const uint32_t *way = s->ways + (energy & 3) - 16 * zeros;

    __asm__("" : "+r"(bucket), "+r"(way)); /* or the compiler adds in another order */
    return lethe_rans_decode_from(&s->state, (const void *)(bucket + way[4 * top - 16]), &s->at);
}

static void fast8v_prepare(const struct fast8v_band *s, const struct fast8v_lane *l, uint32_t b)
{
    fast8v_predict_at(s, l->k, l->row, &l->around, b);
    fast8v_energy_at(l->c, &l->around, b);
}

FAST_INLINE bool fast8v_decode_wide(struct fast8v_band *s, struct fast8v_lane *l, unsigned count)
{
    const __m128i one = _mm_set1_epi32(1), whole = _mm_set1_epi32((1 << FAST_UNIT) - 1);
    /* fractions of a unit, below and above its middle, where the error's distribution changes */
    const __m128i middle = _mm_set1_epi32(1 << (FAST_UNIT - 1));
    const __m128i low2 = _mm_set1_epi32(681), low1 = _mm_set1_epi32(1364);
    const __m128i high1 = _mm_set1_epi32(2730), high2 = _mm_set1_epi32(3413);
    struct fast8v_stream stream[4];
    uint32_t pairs[4] = {0};
    __m128i low, high, near, west, around; /* pairs in each lane: sample W, WW; magnitude W, WW; its weights */
    bool bad = false;

    for (unsigned k = 0; k < count; k++) {
        const struct fast8v_channel *c = l[k].c;

        stream[k] = (struct fast8v_stream){(const uint8_t *)c->tables, c->way + FAST8V_WAYS, l[k].at,
                                         l[k].state};
        pairs[k] = (uint16_t)l[k].west | (uint32_t)(uint16_t)l[k].wwest << 16;
    }
    west = _mm_loadu_si128((const void *)pairs);
    around = _mm_setzero_si128();
    for (unsigned k = 0; k < count; k++) {
        pairs[k] = l[k].e0 * 4 | l[k].e4 * 4 << 16;
    }
    near = _mm_loadu_si128((const void *)pairs);
    low = _mm_setr_epi32(l[0].low, l[1].low, l[2].low, count > 3 ? l[3].low : 0);
    high = _mm_setr_epi32(l[0].high, l[1].high, l[2].high, count > 3 ? l[3].high : 0);
    for (unsigned k = 0; k < count; k++) {
        fast8v_prepare(s, &l[k], 0);
    }
    for (uint32_t b = 0; b < s->blocks_w; b++) {
        uint32_t at = b * FAST_BLOCK, n = s->width - at < FAST_BLOCK ? s->width - at : FAST_BLOCK;
        __m128i sum[FAST_BLOCK], energy[FAST_BLOCK], done[FAST_BLOCK], weights;

        for (unsigned k = 0; k < count; k++) {
            const int16_t *w = l[k].c->model.weights[l[k].map[b]].w;

            pairs[k] = (uint16_t)w[0] | (uint32_t)(uint16_t)w[4] << 16;
        }
        weights = _mm_loadu_si128((const void *)pairs);
        fast8v_turn_in(l, count, at, sum, energy);
        for (uint32_t i = 0; i < n; i++) {
            __m128i p = _mm_add_epi32(sum[i], _mm_madd_epi16(weights, west));
            __m128i v = _mm_add_epi32(energy[i], _mm_madd_epi16(near, around));
            __m128i part = _mm_and_si128(p, whole), r, z, e, sign;
            __m128i below = _mm_add_epi32(_mm_cmpgt_epi32(part, low2), _mm_cmpgt_epi32(part, low1));
            __m128i above = _mm_add_epi32(_mm_cmpgt_epi32(part, high1), _mm_cmpgt_epi32(part, high2));
            __m128i flip = _mm_cmpgt_epi32(middle, part);
            uint32_t token[4];

            v = _mm_add_epi32(v, _mm_sub_epi32(below, above)); /* what holds is -1 */
            token[0] = fast8v_token(&stream[0], (uint32_t)_mm_cvtsi128_si32(v));
            token[1] = fast8v_token(&stream[1], (uint32_t)_mm_extract_epi32(v, 1));
            token[2] = fast8v_token(&stream[2], (uint32_t)_mm_extract_epi32(v, 2));
            token[3] = count > 3 ? fast8v_token(&stream[3], (uint32_t)_mm_extract_epi32(v, 3)) : 0;
            if (__builtin_expect((token[0] | token[1] | token[2] | token[3]) >= 32, 0)) {
                for (unsigned k = 0; k < count; k++) {
                    struct fast8v_stream own = stream[k]; /* what nobody points to stays in registers */

                    token[k] = fast8v_long_error(token[k], &own.state, &own.at, &bad);
                    stream[k] = own;
                }
            }
            r = _mm_min_epi32(_mm_max_epi32(_mm_srai_epi32(p, FAST_UNIT), low), high);
            z = _mm_insert_epi32(_mm_cvtsi32_si128((int)token[0]), (int)token[1], 1);
            z = _mm_insert_epi32(z, (int)token[2], 2);
            z = count > 3 ? _mm_insert_epi32(z, (int)token[3], 3) : z;
            e = _mm_srli_epi32(_mm_add_epi32(z, one), 1);
            sign = _mm_xor_si128(_mm_srai_epi32(_mm_slli_epi32(z, 31), 31), flip);
            r = _mm_add_epi32(r, _mm_sub_epi32(_mm_xor_si128(e, sign), sign));
            done[i] = _mm_blend_epi16(r, _mm_slli_epi32(e, 16), 0xaa);
            west = _mm_blend_epi16(r, _mm_slli_epi32(west, 16), 0xaa);
            around = _mm_blend_epi16(e, _mm_slli_epi32(around, 16), 0xaa);
            if (i % 4 == 2 && i / 4 < count && b + 1 < s->blocks_w) { /* nothing that a step waits for */
                fast8v_prepare(s, &l[i / 4], b + 1);
            }
        }
        for (uint32_t i = n; i < FAST_BLOCK; i++) {
            done[i] = _mm_setzero_si128();
        }
        fast8v_turn_out(done, l, count, at);
    }
    for (unsigned k = 0; k < count; k++) {
        l[k].at = stream[k].at;
        l[k].state = stream[k].state;
    }
    return !bad;
}
