/* SPDX-License-Identifier: MIT */
/* XXH3 (xxHash): cheap change detection and in-memory checks; never security. */
#ifndef LETHE_CHECK_H
#define LETHE_CHECK_H

#include <stddef.h>
#include <stdint.h>

uint64_t lethe_check64(const void *bytes, size_t len);

#endif
