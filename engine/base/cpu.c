/* SPDX-License-Identifier: MIT */
#include "lethe/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static struct lethe_cpu features;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void detect(void)
{
    const char *wish = getenv("LETHE_CPU");

    if (wish && strcmp(wish, "scalar") == 0) {
        return;
    }
#if defined(__x86_64__)
    unsigned a, b, c, d;

    features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                    __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 5 & 1); /* LZCNT */
    features.avx512_vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (features.avx2) {
        features.avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
    }
#elif defined(__aarch64__)
    features.neon = true;
#endif
}

const struct lethe_cpu *lethe_cpu(void)
{
    pthread_once(&once, detect);
    return &features;
}
