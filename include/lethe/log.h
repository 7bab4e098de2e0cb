/* SPDX-License-Identifier: MIT */
/*
 * Logging: one line to standard error (or to the function set below), once, where a fault is first seen.
 * Never log names, keys or plaintext. Thread-safe.
 */
#ifndef LETHE_LOG_H
#define LETHE_LOG_H

enum lethe_log_level { LETHE_LOG_ERROR, LETHE_LOG_WARN, LETHE_LOG_INFO, LETHE_LOG_DEBUG };

/* Lines of a level above max are dropped. The default is LETHE_LOG_WARN. */
void lethe_log_set_level(enum lethe_log_level max);

/* Sends lines to sink (NULL: standard error, prefixed "lethefs: "). The text has no newline. */
void lethe_log_set_sink(void (*sink)(void *context, enum lethe_log_level level, const char *text), void *context);

void lethe_log(enum lethe_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
