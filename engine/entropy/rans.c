/* SPDX-License-Identifier: MIT */
#include "lethe/rans.h"

/*
 * Walker's construction: buckets that their own token does not fill are filled by one that overflows. Tokens in
 * increasing order, so that every machine builds the same table.
 */
void lethe_rans_table_init(struct lethe_rans_table *table, const uint16_t freq[LETHE_RANS_TOKENS])
{
    uint16_t left[LETHE_RANS_TOKENS];
    uint8_t small[LETHE_RANS_TOKENS], large[LETHE_RANS_TOKENS];
    unsigned smalls = 0, larges = 0;

    for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
        left[t] = freq[t];
        table->bucket[t][0] = table->bucket[t][1] =
            LETHE_RANS_WORD(t, freq[t], freq[t] < LETHE_RANS_SLOTS ? freq[t] : LETHE_RANS_SLOTS);
        if (freq[t] < LETHE_RANS_SLOTS) {
            small[smalls++] = (uint8_t)t;
        } else if (freq[t] > LETHE_RANS_SLOTS) {
            large[larges++] = (uint8_t)t;
        }
    }
    while (smalls > 0 && larges > 0) {
        unsigned from = large[larges - 1], to = small[--smalls], gap = LETHE_RANS_SLOTS - left[to];

        /* left[to] slots of the bucket are its own. What overflows is given away from the top of the range. */
        left[from] = (uint16_t)(left[from] - gap);
        table->bucket[to][0] = LETHE_RANS_WORD(to, freq[to], left[to]);
        table->bucket[to][1] = LETHE_RANS_WORD(from, freq[from], left[from]);
        if (left[from] <= LETHE_RANS_SLOTS) {
            larges--;
            if (left[from] < LETHE_RANS_SLOTS) {
                small[smalls++] = (uint8_t)from;
            }
        }
    }
}

void lethe_rans_coder_init(struct lethe_rans_coder *coder, const struct lethe_rans_table *table,
                           const uint16_t freq[LETHE_RANS_TOKENS])
{
    uint16_t sum = 0;

    for (unsigned t = 0; t < LETHE_RANS_TOKENS; t++) {
        coder->token[t].inverse = freq[t] ? ((1ull << 44) + freq[t] - 1) / freq[t] : 0;
        coder->token[t].freq = freq[t];
        coder->token[t].start = sum;
        sum = (uint16_t)(sum + freq[t]);
    }
    for (unsigned slot = 0; slot < LETHE_RANS_SUM; slot++) {
        unsigned number = slot / LETHE_RANS_SLOTS, place = slot % LETHE_RANS_SLOTS;
        unsigned cut = lethe_rans_rank(table->bucket[number][0]);
        uint32_t word = table->bucket[number][place >= cut];
        unsigned token = lethe_rans_token(word), rank = lethe_rans_rank(word) + place - cut;

        coder->slot[coder->token[token].start + rank] = (uint16_t)slot;
    }
}
