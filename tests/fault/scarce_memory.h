/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail. A program that links scarce_memory.c, with the options of tests/CMakeLists.txt, has those of
 * lethefs and of SQLite sent through it.
 */
#ifndef LETHE_TESTS_FAULT_SCARCE_MEMORY_H
#define LETHE_TESTS_FAULT_SCARCE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Before SQLite's first use. */
void scarce_init(void);
/* The nth allocation from now on fails (0: none), and all later ones when on. */
void scarce_arm(uint64_t nth, bool on);
/* Whether it was met. Ends it. */
bool scarce_disarm(void);

#endif
