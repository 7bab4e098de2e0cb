/* SPDX-License-Identifier: MIT */
/* The files below folders, in the order of their paths. */
#ifndef LETHE_FS_CLI_PATHS_H
#define LETHE_FS_CLI_PATHS_H

#include <stddef.h>

#include "lethe/err.h"

struct lethe_paths {
    char **path;
    size_t count;
    size_t room;
};

/* Adds the regular files that are not empty below folder (or folder itself, when it is one), unsorted. Errors
 * have been said. */
enum lethe_err lethe_paths_add(struct lethe_paths *paths, const char *folder) LETHE_MUST_CHECK;
void lethe_paths_sort(struct lethe_paths *paths);
void lethe_paths_release(struct lethe_paths *paths);

#endif
