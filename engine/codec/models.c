/* SPDX-License-Identifier: MIT */
/*
 * The shipped model pairs, as they are, in read-only data. LETHE_MODELS is the folder that holds them; the
 * build sets it, and without it the assembler looks from the folder that it runs in.
 */
#ifndef LETHE_MODELS
#define LETHE_MODELS "engine/codec/models"
#endif

__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl lethe_model_base_1\n"
        ".globl lethe_model_base_1_end\n"
        "lethe_model_base_1:\n"
        ".incbin \"" LETHE_MODELS "/base-1.pair\"\n"
        "lethe_model_base_1_end:\n"
        ".byte 0\n"
        ".popsection\n");
