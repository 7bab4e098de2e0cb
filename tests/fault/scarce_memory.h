/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail. A program that links scarce_memory.c, with the options of tests/CMakeLists.txt, has those of
 * lethefs and of SQLite sent through it.
 */
#ifndef LETHE_TESTS_FAULT_SCARCE_MEMORY_H
#define LETHE_TESTS_FAULT_SCARCE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before SQLite's first use. */
void scarce_init(void);
/* The nth allocation from now on fails (0: none), and all later ones when on. */
void scarce_arm(uint64_t nth, bool on);
/*
 * The first allocation that comes from this place fails, and all later ones when on. A place is a hash of the innermost
 * calls that lead to an allocation: most allocations are the same few calls in a loop. 0: none fails, places are noted.
 */
void scarce_arm_place(uint64_t place, bool on);
/* Whether it was met. Ends it. */
bool scarce_disarm(void);
/* The places that were noted since the process began, of which there are count. */
const uint64_t *scarce_places(size_t *count);

#endif
