/* SPDX-License-Identifier: MIT */
/* Private to the deflate model: every match that a position has. */
#ifndef LETHE_IMAGE_DEFLATE_TREE_MATCH_H
#define LETHE_IMAGE_DEFLATE_TREE_MATCH_H

#include "deflate.h"

struct lethe_tree_matcher;

/* data has LETHE_DEFLATE_SLACK readable bytes behind len; len < 2^32 - 1024. NULL when out of memory. */
struct lethe_tree_matcher *lethe_tree_matcher_new(const uint8_t *data, size_t len);
void lethe_tree_matcher_free(struct lethe_tree_matcher *matcher);
/*
 * To be called for every position in turn. Appends matches of growing length and distance (each the nearest
 * of its length) as match tokens.
 */
enum lethe_err lethe_tree_matcher_next(struct lethe_tree_matcher *matcher, size_t pos,
                                       struct lethe_tokens *matches) LETHE_MUST_CHECK;

#endif
