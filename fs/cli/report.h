/* SPDX-License-Identifier: MIT */
/* The report of inspect --html: for each photo, side by side, the original, what is in the vault, and the
 * restored. */
#ifndef LETHE_FS_CLI_REPORT_H
#define LETHE_FS_CLI_REPORT_H

#include <jansson.h>

#include "lethe/bytes.h"
#include "lethe/err.h"

/* The page up to the first photo. count: photos that follow. */
void lethe_report_begin(struct lethe_buf *out, size_t count);
/*
 * One file: its path, what the daemon said of it (inspect), its artifact and the Decrypter's picture (PNGs;
 * empty when there are none). Reads the file. Errors have been said.
 */
enum lethe_err lethe_report_add(struct lethe_buf *out, const char *path, const json_t *file,
                                const struct lethe_buf *artifact,
                                const struct lethe_buf *preview) LETHE_MUST_CHECK;
void lethe_report_end(struct lethe_buf *out);

#endif
