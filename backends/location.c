/* SPDX-License-Identifier: MIT */
/* From what a person types to the backend that it names. */
#include <string.h>

#include "lethe/store.h"

enum lethe_err lethe_store_open(const char *location, bool create, struct lethe_store **out)
{
    const char *scheme = strstr(location, "://");

    *out = NULL;
    if (location[0] == '\0') {
        return LETHE_ERR_ARG;
    }
    if (strncmp(location, "file:///", 8) == 0) {
        return lethe_store_dir_open(location + 7, create, out);
    }
    /* A path may hold "://" after a slash; a scheme may not. */
    if (scheme && !memchr(location, '/', (size_t)(scheme - location))) {
        return LETHE_ERR_UNSUPPORTED;
    }
    return lethe_store_dir_open(location, create, out);
}

const char *lethe_store_why(enum lethe_err err)
{
    if (err == LETHE_ERR_UNSUPPORTED) {
        return "this version has no backend for that (a path or file:///path works)";
    }
    return err == LETHE_ERR_NOT_FOUND ? "there is no such folder" : lethe_err_str(err);
}
