/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzzer where there is no libFuzzer: every file of the folders named on the command line, and then
 * mutations of them for about two seconds (in the environment, LETHE_FUZZ_MS: so many milliseconds, and
 * LETHE_LONG=1: thirty seconds whatever that says). SEED in the environment, or the first argument after
 * "--seed", repeats a run; it is printed. An input that kills the program is left as crash-SEED-N in the working
 * folder: give it, as a file or in a folder, to see it again.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/long.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1u << 16)
#define SEEDS_MAX 4096

struct input {
    uint8_t *bytes;
    size_t len;
};

static struct input seeds[SEEDS_MAX];
static size_t seed_count;
static uint64_t state, first_state;
static uint64_t round_number;
static struct input current;

static uint32_t next(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? (uint32_t)(state * 0x2545f4914f6cdd1dull >> 33) % below : 0;
}

static void keep_input(void)
{
    char name[64];
    int fd;

    snprintf(name, sizeof name, "crash-%llu-%llu", (unsigned long long)first_state,
             (unsigned long long)round_number);
    fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0) {
        if (write(fd, current.bytes, current.len) == (ssize_t)current.len) {
            fprintf(stderr, "the input is in %s\n", name);
        }
        close(fd);
    }
}

static void died(int signal_number)
{
    keep_input();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* A sanitizer ends the program without a signal. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1); /* of the exact size, so that a read past the end is seen */

    if (!copy) {
        abort();
    }
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    current = (struct input){copy, len};
    (void)LLVMFuzzerTestOneInput(copy, len);
    current = (struct input){NULL, 0};
    free(copy);
    round_number++;
}

static void add_file(const char *path)
{
    uint8_t *bytes = malloc(INPUT_MAX);
    FILE *file = fopen(path, "rb");

    if (!file || !bytes) {
        perror(path);
        exit(1);
    }
    if (seed_count < SEEDS_MAX) {
        seeds[seed_count].bytes = bytes;
        seeds[seed_count].len = fread(bytes, 1, INPUT_MAX, file);
        seed_count++;
    } else {
        free(bytes);
    }
    fclose(file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of their names: the same seed means the same run everywhere. */
static void add_folder(const char *path)
{
    DIR *folder = opendir(path);
    char *names[SEEDS_MAX];
    size_t count = 0;
    struct dirent *entry;

    while (folder && count < SEEDS_MAX && (entry = readdir(folder))) {
        size_t len = strlen(path) + strlen(entry->d_name) + 2;

        if (entry->d_name[0] != '.' && (names[count] = malloc(len))) {
            snprintf(names[count++], len, "%s/%s", path, entry->d_name);
        }
    }
    if (folder) {
        closedir(folder);
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        add_file(names[i]);
        free(names[i]);
    }
}

static size_t erase(uint8_t *bytes, size_t len)
{
    size_t at = next((uint32_t)len), count = 1 + next(16);

    if (count > len - at) {
        count = len - at;
    }
    memmove(bytes + at, bytes + at + count, len - at - count);
    return len - count;
}

/* Puts a run of bytes, random or out of another seed, at a place: inserted or written over. */
static size_t place(uint8_t *bytes, size_t len, bool insert)
{
    const struct input *other = &seeds[next((uint32_t)seed_count)];
    uint8_t run_bytes[64];
    size_t count = 1 + next(sizeof run_bytes), at = next((uint32_t)len + 1);

    if (other->len > 0 && next(2)) {
        size_t from = next((uint32_t)other->len);

        count = count > other->len - from ? other->len - from : count;
        memcpy(run_bytes, other->bytes + from, count);
    } else {
        count = 1 + count % 8;
        for (size_t i = 0; i < count; i++) {
            run_bytes[i] = (uint8_t)next(256);
        }
    }
    if (insert && len + count <= INPUT_MAX) {
        memmove(bytes + at + count, bytes + at, len - at);
        memcpy(bytes + at, run_bytes, count);
        return len + count;
    }
    memcpy(bytes + at, run_bytes, count > len - at ? len - at : count);
    return len;
}

static size_t mutate(uint8_t *bytes, size_t len)
{
    static const uint8_t telling[] = {0, 1, 2, 15, 16, 31, 32, 63, 64, 127, 128, 129, 254, 255};

    if (len == 0) {
        return place(bytes, len, true);
    }
    switch (next(8)) {
    case 0:
        bytes[next((uint32_t)len)] ^= (uint8_t)(1u << next(8));
        return len;
    case 1:
        bytes[next((uint32_t)len)] = (uint8_t)next(256);
        return len;
    case 2:
        bytes[next((uint32_t)len)] = telling[next(sizeof telling)];
        return len;
    case 3:
        bytes[next((uint32_t)len)] += (uint8_t)(next(9) - 4);
        return len;
    case 4:
        return erase(bytes, len);
    case 5:
        return next(4) ? len : next((uint32_t)len + 1);
    case 6:
        return place(bytes, len, true);
    default:
        return place(bytes, len, false);
    }
}

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    const char *wish = getenv("SEED"), *brief = getenv("LETHE_FUZZ_MS");
    double end, seconds = test_is_long() ? 30 : brief ? strtod(brief, NULL) / 1000 : 2;
    static uint8_t bytes[INPUT_MAX];

    /* The quick form is the same every time, so that nobody's change is held up by another's fault. */
    state = wish           ? strtoull(wish, NULL, 10)
            : seconds < 30 ? 1
                           : (uint64_t)time(NULL) * 2654435761u ^ (uint64_t)getpid();
    for (int i = 1; i < argc; i++) {
        struct stat about;

        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            state = strtoull(argv[++i], NULL, 10);
        } else if (stat(argv[i], &about) == 0) {
            (S_ISDIR(about.st_mode) ? add_folder : add_file)(argv[i]);
        }
    }
    state = state ? state : 1;
    first_state = state;
    printf("seed %llu, %zu inputs\n", (unsigned long long)first_state, seed_count);
    fflush(stdout);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(keep_input);
    } else {
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
            signal(deadly[i], died);
        }
    }
    for (size_t i = 0; i < seed_count; i++) {
        run(seeds[i].bytes, seeds[i].len);
    }
    if (seed_count == 0) {
        seed_count = 1; /* from nothing */
    }
    for (end = now() + seconds; now() < end;) {
        const struct input *seed = &seeds[next((uint32_t)seed_count)];
        size_t len = seed->len;

        if (len > 0) {
            memcpy(bytes, seed->bytes, len);
        }
        for (uint32_t i = 0, times = 1 + next(6); i < times; i++) {
            len = mutate(bytes, len);
        }
        run(bytes, len);
    }
    printf("%llu runs\n", (unsigned long long)round_number);
    for (size_t i = 0; i < seed_count; i++) {
        free(seeds[i].bytes);
    }
    return 0;
}
