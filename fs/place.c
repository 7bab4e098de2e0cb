/* SPDX-License-Identifier: MIT */
#include "fs/place.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Appends what follows the part of a path that is there, name by name; place has room for it all. */
static void follow(char *place, const char *rest)
{
    while (*rest) {
        size_t len = strcspn(rest, "/");

        if (len == 2 && rest[0] == '.' && rest[1] == '.') {
            char *slash = strrchr(place, '/');

            if (slash) {
                *slash = '\0';
            }
        } else if (len > 0 && !(len == 1 && rest[0] == '.')) {
            strcat(place, "/");
            strncat(place, rest, len);
        }
        rest += len + (rest[len] == '/');
    }
}

/* Without links and dots, and without a slash at its end; the root is empty. The caller frees it; NULL: no memory. */
static char *resolve(const char *path)
{
    char here[PATH_MAX] = "", *whole, *place = NULL;
    size_t len;

    if (path[0] != '/' && !getcwd(here, sizeof here)) {
        return NULL;
    }
    if (asprintf(&whole, "%s/%s", here, path) < 0) {
        return NULL;
    }
    /* The longest part that is there, then the names behind it. */
    for (len = strlen(whole);; len--) {
        if (whole[len] == '/' || whole[len] == '\0') {
            char c = whole[len], *there;

            whole[len] = '\0';
            there = realpath(len ? whole : "/", NULL);
            whole[len] = c;
            if (there || len == 0) {
                const char *start = there && strcmp(there, "/") != 0 ? there : "";

                place = malloc(strlen(start) + strlen(whole + len) + 2);
                if (place) {
                    strcpy(place, start);
                    follow(place, whole + len);
                }
                free(there);
                break;
            }
        }
    }
    free(whole);
    return place;
}

const char *lethe_place_path(const char *location)
{
    return strncmp(location, "file://", 7) == 0 ? location + 7 : location;
}

static char *find(const char *location)
{
    if (strncmp(location, "s3://", 5) == 0) {
        char *bucket = strdup(location);

        for (size_t len = bucket ? strlen(bucket) : 0; len > 5 && bucket[len - 1] == '/'; len--) {
            bucket[len - 1] = '\0';
        }
        return bucket;
    }
    return resolve(lethe_place_path(location));
}

bool lethe_place_within(const char *inner, const char *outer)
{
    char *in = find(inner), *out = find(outer);
    size_t len = out ? strlen(out) : 0;
    bool within = in && out && strncmp(in, out, len) == 0 && (in[len] == '\0' || in[len] == '/');

    free(in);
    free(out);
    return within;
}

bool lethe_place_holds_others(const char *location, const char *const *names, size_t count)
{
    DIR *folder = opendir(lethe_place_path(location));
    struct dirent *entry;
    bool others = false;

    while (folder && !others && (entry = readdir(folder)) != NULL) {
        others = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        for (size_t i = 0; i < count && others; i++) {
            others = strcmp(entry->d_name, names[i]) != 0;
        }
    }
    if (folder) {
        closedir(folder);
    }
    return others;
}
