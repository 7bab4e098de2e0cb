/* SPDX-License-Identifier: MIT */
/*
 * Padmé: a length keeps only about log2(log2(L)) + 1 significant bits, so that a padded size tells little
 * more than its order of magnitude, for at most 12 % and typically 3 %. Nikitin, Barman, Lueks, Underwood,
 * Hubaux, Ford: "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PoPETs 2019,
 * section 4.
 */
#include "lethe/seal.h"

static unsigned floor_log2(uint64_t value)
{
    return 63U - (unsigned)__builtin_clzll(value);
}

uint64_t lethe_padme(uint64_t len)
{
    unsigned exponent, kept;
    uint64_t mask;

    if (len < 2) {
        return len;
    }
    exponent = floor_log2(len);
    kept = exponent == 0 ? 0 : floor_log2(exponent) + 1;
    if (kept >= exponent) {
        return len;
    }
    mask = (UINT64_C(1) << (exponent - kept)) - 1;
    if (len > UINT64_MAX - mask) {
        return UINT64_MAX; /* no such object exists; callers refuse it by its size */
    }
    return (len + mask) & ~mask;
}
