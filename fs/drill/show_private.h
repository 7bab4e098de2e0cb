/* SPDX-License-Identifier: MIT */
/* What the files of the page share: text into it (show.c), plots (show_plots.c) and tables (show_tables.c).
 */
#ifndef LETHE_FS_DRILL_SHOW_PRIVATE_H
#define LETHE_FS_DRILL_SHOW_PRIVATE_H

#include "fs/drill/show.h"

/* Text of the report, escaped: names of the bucket may stand in it. jansson holds only valid UTF-8. */
void drill_show_text(struct lethe_buf *out, const char *text);
/* The string of a key; "" where there is none. */
const char *drill_show_string(const json_t *object, const char *key);

/* PSNR against known photos, identification against strength; nothing where no keys leaked. */
void drill_show_plots(const json_t *report, struct lethe_buf *out);
/* Every figure of the report, each part under a heading that opens. */
void drill_show_tables(const json_t *report, struct lethe_buf *out);

#endif
