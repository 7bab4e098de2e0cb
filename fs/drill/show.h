/* SPDX-License-Identifier: MIT */
/* The report as one HTML file: no network, no script. It is a view of the JSON report, and holds pictures
 * besides. */
#ifndef LETHE_FS_DRILL_SHOW_H
#define LETHE_FS_DRILL_SHOW_H

#include <jansson.h>

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"

#define DRILL_SHOWN 3   /* photos */
#define DRILL_COLUMNS 8 /* pictures of each */

struct drill_show {
    struct {
        const char *title; /* static */
        struct lethe_raster pictures[DRILL_SHOWN];
    } columns[DRILL_COLUMNS];
    size_t count;
};

/* A new column of pictures, to be filled by the caller; owned by the show. The last one again when all are
 * taken. */
struct lethe_raster *drill_show_column(struct drill_show *show, const char *title);
/* The same for what lies in the vault, which is shown as noise is. */
struct lethe_raster *drill_show_vault(struct drill_show *show);
void drill_show_release(struct drill_show *show);

/* Appends the page. */
enum lethe_err drill_show_page(const struct drill_show *show, const json_t *report,
                               struct lethe_buf *out) LETHE_MUST_CHECK;

#endif
