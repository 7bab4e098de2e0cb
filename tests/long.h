/* SPDX-License-Identifier: MIT */
/* LETHE_LONG=1 asks for the long forms of tests; empty and 0 are as if it were not set. */
#ifndef LETHE_TESTS_LONG_H
#define LETHE_TESTS_LONG_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool test_is_long(void)
{
    const char *wish = getenv("LETHE_LONG");

    return wish && *wish && strcmp(wish, "0") != 0;
}

#endif
