/* SPDX-License-Identifier: MIT */
/* Where things lie: whether one place holds another, whatever names lead to them, and whether a folder is free. */
#ifndef LETHE_FS_PLACE_H
#define LETHE_FS_PLACE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Is inner the same place as outer, or below it? Each is a location (a path, file:///path or s3://bucket/prefix) or
 * any path; links, "." and ".." are followed as far as the path is there. A bucket and a folder never hold each other.
 * False also for want of memory.
 */
bool lethe_place_within(const char *inner, const char *outer);
/* The path that a location of a folder names, borrowed from it. */
const char *lethe_place_path(const char *location);
/* Does a folder hold anything but entries of these names? Not a bucket, nor what is not there. */
bool lethe_place_holds_others(const char *location, const char *const *names, size_t count);

#endif
