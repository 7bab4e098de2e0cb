/* SPDX-License-Identifier: MIT */
#include "fs/cli/paths.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/cli/cli.h"

static struct lethe_paths *walking; /* nftw has no context */

static int visit(const char *path, const struct stat *stat_buf, int type, struct FTW *where)
{
    struct lethe_paths *paths = walking;

    (void)where;
    if (type != FTW_F || !S_ISREG(stat_buf->st_mode) || stat_buf->st_size == 0) {
        return 0;
    }
    if (paths->count == paths->room) {
        size_t room = paths->room ? paths->room * 2 : 64;
        char **wider = reallocarray(paths->path, room, sizeof *wider);

        if (!wider) {
            return 1;
        }
        paths->path = wider;
        paths->room = room;
    }
    paths->path[paths->count] = strdup(path);
    if (!paths->path[paths->count]) {
        return 1;
    }
    paths->count++;
    return 0;
}

enum lethe_err lethe_paths_add(struct lethe_paths *paths, const char *folder)
{
    int result;

    walking = paths;
    result = nftw(folder, visit, 32, FTW_PHYS);
    if (result > 0) {
        return LETHE_ERR_NOMEM;
    }
    if (result < 0) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "the folder %s cannot be read: %s", folder, strerror(errno));
        return LETHE_ERR_ARG;
    }
    return LETHE_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void lethe_paths_sort(struct lethe_paths *paths)
{
    if (paths->count) {
        qsort(paths->path, paths->count, sizeof *paths->path, by_name);
    }
}

void lethe_paths_release(struct lethe_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++) {
        free(paths->path[i]);
    }
    free(paths->path);
    *paths = (struct lethe_paths){0};
}
