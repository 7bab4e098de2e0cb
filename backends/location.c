/* SPDX-License-Identifier: MIT */
/* From what a person types to the backend that it names. */
#include <string.h>

#include "backends/dir.h"
#include "backends/s3.h"
#include "lethe/log.h"
#include "lethe/store.h"

static enum lethe_err open_dir(const char *path, bool create, bool read_only, struct lethe_store **out)
{
    return read_only ? lethe_dir_open_untouched(path, out) : lethe_store_dir_open(path, create, out);
}

static enum lethe_err open_any(const char *location, bool create, const struct lethe_store_options *options,
                               struct lethe_store **out)
{
    const char *scheme = strstr(location, "://");
    bool read_only = options && options->read_only;

    if (location[0] == '\0' || (create && read_only)) {
        return LETHE_ERR_ARG;
    }
    if (strncmp(location, "file:///", 8) == 0) {
        return open_dir(location + 7, create, read_only, out);
    }
    if (strncmp(location, "s3://", 5) == 0) {
        return lethe_s3_open(location, options, out);
    }
    /* A path may hold "://" after a slash; a scheme may not. */
    if (scheme && !memchr(location, '/', (size_t)(scheme - location))) {
        return LETHE_ERR_UNSUPPORTED;
    }
    return open_dir(location, create, read_only, out);
}

static enum lethe_err open_location(const char *location, bool create,
                                     const struct lethe_store_options *options, struct lethe_store **out)
{
    struct lethe_store *store = NULL;
    enum lethe_err err;

    *out = NULL;
    err = open_any(location, create, options, &store);
    if (!err && options && (options->up_limit || options->down_limit)) {
        err = lethe_store_throttle_new(store, options->up_limit, options->down_limit, &store);
    }
    if (!err && options && options->read_only) {
        return lethe_store_read_only_new(store, out);
    }
    *out = store;
    return err;
}

static const char *why(enum lethe_err err)
{
    switch ((int)err) {
    case LETHE_ERR_UNSUPPORTED:
        return "this version has no backend for that (a path, file:///path or s3://bucket/prefix works)";
    case LETHE_ERR_NOT_FOUND:
        return "there is no such folder";
    default:
        return lethe_err_str(err);
    }
}

bool lethe_store_told(const char *location, enum lethe_err err)
{
    return strncmp(location, "s3://", 5) == 0 &&
           (err == LETHE_ERR_KEY || err == LETHE_ERR_DENIED || err == LETHE_ERR_UNREACHABLE ||
            err == LETHE_ERR_ARG || err == LETHE_ERR_NOSPACE);
}

enum lethe_err lethe_store_open_with(const char *location, bool create,
                                     const struct lethe_store_options *options, struct lethe_store **out)
{
    enum lethe_err err = open_location(location, create, options, out);

    if (err && !lethe_store_told(location, err)) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be %s: %s", location, create ? "made" : "opened", why(err));
    }
    return err;
}

enum lethe_err lethe_store_open(const char *location, bool create, struct lethe_store **out)
{
    return lethe_store_open_with(location, create, NULL, out);
}

