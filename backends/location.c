/* SPDX-License-Identifier: MIT */
/* From what a person types to the backend that it names. */
#include <string.h>

#include "backends/s3.h"
#include "lethe/store.h"

enum lethe_err lethe_store_open_with(const char *location, bool create,
                                     const struct lethe_store_options *options, struct lethe_store **out)
{
    const char *scheme = strstr(location, "://");

    *out = NULL;
    if (location[0] == '\0') {
        return LETHE_ERR_ARG;
    }
    if (strncmp(location, "file:///", 8) == 0) {
        return lethe_store_dir_open(location + 7, create, out);
    }
    if (strncmp(location, "s3://", 5) == 0) {
        return lethe_s3_open(location, options, out);
    }
    /* A path may hold "://" after a slash; a scheme may not. */
    if (scheme && !memchr(location, '/', (size_t)(scheme - location))) {
        return LETHE_ERR_UNSUPPORTED;
    }
    return lethe_store_dir_open(location, create, out);
}

enum lethe_err lethe_store_open(const char *location, bool create, struct lethe_store **out)
{
    return lethe_store_open_with(location, create, NULL, out);
}

const char *lethe_store_why(enum lethe_err err)
{
    switch ((int)err) {
    case LETHE_ERR_UNSUPPORTED:
        return "this version has no backend for that (a path, file:///path or s3://bucket/prefix works)";
    case LETHE_ERR_NOT_FOUND:
        return "there is no such folder or bucket";
    case LETHE_ERR_KEY: /* a passphrase comes later */
        return "the store wants credentials that it knows";
    default:
        return lethe_err_str(err);
    }
}
