/* SPDX-License-Identifier: MIT */
#include "lethe/check.h"

#include <xxhash.h>

uint64_t lethe_check64(const void *bytes, size_t len)
{
    return XXH3_64bits(bytes, len);
}
