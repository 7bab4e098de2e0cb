/* SPDX-License-Identifier: MIT */
/* The entries of directories, shared by names.c, rename.c and dir.c. Names are checked and end in NUL. */
#ifndef LETHE_FS_TREE_NAMES_H
#define LETHE_FS_TREE_NAMES_H

#include "fs/tree/internal.h"

struct lethe_name {
    uint64_t ino;
    uint64_t cookie;
};

/* 0, -ENAMETOOLONG, -ENOENT for the empty name, -EINVAL for . and .. and what holds a slash. */
int lethe_name_check(const char *name);
/* -ENOENT when there is none. */
int lethe_name_find(struct lethe_tree *tree, uint64_t parent, const char *name, struct lethe_name *out);
/* With the database locked: makes or replaces, removes. */
enum lethe_err lethe_name_put(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t ino,
                              uint64_t cookie) LETHE_MUST_CHECK;
enum lethe_err lethe_name_delete(struct lethe_tree *tree, uint64_t parent, const char *name) LETHE_MUST_CHECK;
/* -ENOTEMPTY when the directory has entries. */
int lethe_name_empty(struct lethe_tree *tree, uint64_t ino);
/* Whether entries may be made in or taken from it: -ENOTDIR, -ENOENT for one that was removed. Locked. */
int lethe_name_parent(const struct lethe_inode *parent);
/* Whether losing one name ends it at once, so that its rows must go in the same savepoint. Locked. */
bool lethe_name_dies(const struct lethe_inode *inode);
/* One name went (in the tables, and if it dies its rows too): counts, contents, memory. In the gate, locked.
 */
void lethe_name_lost(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now);

#endif
