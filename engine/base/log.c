/* SPDX-License-Identifier: MIT */
#include "lethe/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int max_level = LETHE_LOG_WARN;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_sink)(void *, enum lethe_log_level, const char *); /* guarded by lock */
static void *log_context;                                            /* guarded by lock */

void lethe_log_set_level(enum lethe_log_level max)
{
    atomic_store(&max_level, (int)max);
}

void lethe_log_set_sink(void (*sink)(void *, enum lethe_log_level, const char *), void *context)
{
    pthread_mutex_lock(&lock);
    log_sink = sink;
    log_context = context;
    pthread_mutex_unlock(&lock);
}

void lethe_log(enum lethe_log_level level, const char *format, ...)
{
    char text[1024];
    va_list args;

    if ((int)level > atomic_load(&max_level)) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    if (log_sink) {
        log_sink(log_context, level, text);
    } else {
        fprintf(stderr, "lethefs: %s\n", text);
    }
    pthread_mutex_unlock(&lock);
}
