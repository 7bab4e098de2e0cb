/* SPDX-License-Identifier: MIT */
/* The linker sends the allocations of lethefs here, sqlite3_config those of SQLite. */
#include "tests/fault/scarce_memory.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool armed, on;
    bool by_place;
    uint64_t place; /* 0: none */
    uint64_t left;
    uint64_t met;
} scarce;

/* --- places --- */

#define PLACES 16384u
#define DEPTH 8  /* calls that make a place */
#define REACH 160 /* words of the stack that are looked through for them */

static struct {
    pthread_mutex_t lock; /* guards what follows */
    uint64_t list[PLACES], table[4 * PLACES];
    size_t count;
} places = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Code of the program and of SQLite. */
static struct {
    uintptr_t from, to;
} code[2];
static unsigned code_count;

static int find_code(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    for (int i = 0; i < info->dlpi_phnum && code_count < 2; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) &&
            (!info->dlpi_name[0] || strstr(info->dlpi_name, "sqlite"))) {
            code[code_count].from = info->dlpi_addr + part->p_vaddr;
            code[code_count++].to = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        }
    }
    return 0;
}

/* Where in the code the call before this address is, counted from its start; 0: it follows no call. */
static uint64_t call_before(uintptr_t address)
{
    for (unsigned i = 0; i < code_count; i++) {
        if (address >= code[i].from + 8 && address < code[i].to) {
            const uint8_t *at = (const uint8_t *)address;
            bool is = at[-5] == 0xe8 || (at[-2] == 0xff && (at[-1] & 0x38) == 0x10) ||
                      (at[-3] == 0xff && (at[-2] & 0x38) == 0x10) || (at[-6] == 0xff && (at[-5] & 0x38) == 0x10);

            return is ? (address - code[i].from) * 2 + i : 0;
        }
    }
    return 0;
}

/* There are no frame pointers: what looks like a return address is taken for one. */
__attribute__((no_sanitize("address"), noinline)) static uint64_t place_here(void)
{
    const uintptr_t *word = __builtin_frame_address(0);
    uint64_t hash = 1469598103934665603u;

    for (unsigned i = 0, found = 0; i < REACH && found < DEPTH; i++) {
        uint64_t call = call_before(word[i]);

        if (call) {
            hash = (hash ^ call) * 1099511628211u;
            hash ^= hash >> 29;
            found++;
        }
    }
    return hash;
}

static void note_place(uint64_t place)
{
    size_t at = place % (4 * PLACES);

    pthread_mutex_lock(&places.lock);
    while (places.table[at] && places.table[at] != place) {
        at = (at + 1) % (4 * PLACES);
    }
    if (!places.table[at] && places.count < PLACES) {
        places.table[at] = places.list[places.count++] = place;
    }
    pthread_mutex_unlock(&places.lock);
}

const uint64_t *scarce_places(size_t *count)
{
    *count = places.count;
    return places.list;
}

static bool refused_here(void)
{
    uint64_t place = place_here();

    note_place(place);
    if (place == scarce.place) {
        return __atomic_fetch_add(&scarce.met, 1, __ATOMIC_RELAXED) == 0 || scarce.on;
    }
    return scarce.on && __atomic_load_n(&scarce.met, __ATOMIC_RELAXED) > 0;
}

static bool refused(void)
{
    if (!__atomic_load_n(&scarce.armed, __ATOMIC_RELAXED)) {
        return false;
    }
    if (scarce.by_place) {
        return refused_here();
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
    scarce.by_place = false;
    scarce.left = nth;
    scarce.met = 0;
    scarce.on = on;
    __atomic_store_n(&scarce.armed, nth > 0, __ATOMIC_SEQ_CST);
}

void scarce_arm_place(uint64_t place, bool on)
{
    if (code_count == 0) {
        (void)dl_iterate_phdr(find_code, NULL);
    }
    scarce.by_place = true;
    scarce.place = place;
    scarce.met = 0;
    scarce.on = on;
    __atomic_store_n(&scarce.armed, true, __ATOMIC_SEQ_CST);
}

bool scarce_disarm(void)
{
    __atomic_store_n(&scarce.armed, false, __ATOMIC_SEQ_CST);
    return scarce.met > 0;
}
