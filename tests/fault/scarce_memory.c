/* SPDX-License-Identifier: MIT */
/* The linker sends the allocations of lethefs here, sqlite3_config those of SQLite. */
#include "tests/fault/scarce_memory.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    bool armed, on;
    uint64_t left;
    uint64_t met;
} scarce;

static bool refused(void)
{
    if (!__atomic_load_n(&scarce.armed, __ATOMIC_RELAXED)) {
        return false;
    }
    if (__atomic_load_n(&scarce.left, __ATOMIC_RELAXED) > 0 &&
        __atomic_sub_fetch(&scarce.left, 1, __ATOMIC_RELAXED) > 0) {
        return false;
    }
    return __atomic_fetch_add(&scarce.met, 1, __ATOMIC_RELAXED) == 0 || scarce.on;
}

/* NOLINTBEGIN: names that the linker gives */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t max);
char *__real_realpath(const char *path, char *out);
void *__real_sodium_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
char *__wrap_realpath(const char *path, char *out);
void *__wrap_sodium_malloc(size_t size);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *__wrap_malloc(size_t size)
{
    return refused() ? no_memory() : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? no_memory() : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return refused() ? no_memory() : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return refused() ? no_memory() : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t max)
{
    return refused() ? no_memory() : __real_strndup(text, max);
}

char *__wrap_realpath(const char *path, char *out)
{
    return refused() ? no_memory() : __real_realpath(path, out);
}

void *__wrap_sodium_malloc(size_t size)
{
    return refused() ? no_memory() : __real_sodium_malloc(size);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list arguments;
    int result;

    if (refused()) {
        errno = ENOMEM;
        return -1;
    }
    va_start(arguments, format);
    result = vasprintf(out, format, arguments);
    va_end(arguments);
    return result;
}
/* NOLINTEND */

static sqlite3_mem_methods sqlite_memory;

static void *sqlite_malloc(int size)
{
    return refused() ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_realloc(void *old, int size)
{
    return refused() ? NULL : sqlite_memory.xRealloc(old, size);
}

void scarce_init(void)
{
    sqlite3_mem_methods methods;
    int result = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory);

    methods = sqlite_memory;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    if (result != SQLITE_OK || sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) {
        abort();
    }
}

void scarce_arm(uint64_t nth, bool on)
{
    scarce.left = nth;
    scarce.met = 0;
    scarce.on = on;
    __atomic_store_n(&scarce.armed, nth > 0, __ATOMIC_SEQ_CST);
}

bool scarce_disarm(void)
{
    __atomic_store_n(&scarce.armed, false, __ATOMIC_SEQ_CST);
    return scarce.met > 0;
}
