/* SPDX-License-Identifier: MIT */
/* Small whole files: read with a cap, written durably by a temporary file and a rename. */
#ifndef LETHE_FS_FILE_H
#define LETHE_FS_FILE_H

#include <sys/types.h>

#include "lethe/bytes.h"
#include "lethe/err.h"

/* Appends the file's bytes to out. LETHE_ERR_NOT_FOUND, LETHE_ERR_ARG when it is larger than max, ... */
enum lethe_err lethe_file_read(const char *path, size_t max, struct lethe_buf *out) LETHE_MUST_CHECK;
/* Replaces path atomically; file and folder are synced. */
enum lethe_err lethe_file_write_durably(const char *path, const void *bytes, size_t len, mode_t mode) LETHE_MUST_CHECK;
/*
 * For a path that a person named: the target of a link is replaced, not the link; a pipe, terminal or device is written
 * to.
 */
enum lethe_err lethe_file_write_output(const char *path, const void *bytes, size_t len, mode_t mode) LETHE_MUST_CHECK;
/* Appends to what is there: a file, pipe, terminal or device. */
enum lethe_err lethe_file_append(const char *path, const void *bytes, size_t len) LETHE_MUST_CHECK;
/* mkdir -p with this mode for what is made, each durable in the one above. */
enum lethe_err lethe_file_make_folders(const char *path, mode_t mode) LETHE_MUST_CHECK;
/* Removes a folder with all below, as far as that can be done; follows no links. */
void lethe_file_remove_folder(const char *path);

#endif
