/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 30

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void lethe_progress_start(struct lethe_progress *progress, const char *what)
{
    *progress = (struct lethe_progress){.what = what, .started = now_ms()};
    progress->drawn = progress->started;
}

void lethe_progress_update(struct lethe_progress *progress, uint64_t done, uint64_t total)
{
    int64_t now = now_ms();
    char bar[WIDTH + 1];
    unsigned filled;

    if (!isatty(STDERR_FILENO) || now - progress->drawn < 1000) {
        return;
    }
    done = done > total ? total : done;
    filled = total ? (unsigned)(done * WIDTH / total) : 0;
    for (unsigned i = 0; i < WIDTH; i++) {
        bar[i] = i < filled ? '#' : '.';
    }
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %" PRIu64 " of %" PRIu64 ", %" PRId64 " s ", progress->what, bar, done, total,
            (now - progress->started) / 1000);
    fflush(stderr);
    progress->drawn = now;
    progress->shown = true;
}

void lethe_progress_end(struct lethe_progress *progress)
{
    if (progress->shown) {
        fputs("\r\033[K", stderr);
        progress->shown = false;
    }
}
