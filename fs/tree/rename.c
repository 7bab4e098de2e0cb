/* SPDX-License-Identifier: MIT */
/*
 * Rename. An entry that stays in its directory keeps its cookie, so that a program that renames while it
 * lists meets no entry twice; a replaced entry's name keeps its own.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"
#include "fs/tree/names.h"

/* One end of a rename. */
struct end {
    struct lethe_inode *parent;
    const char *name;
    struct lethe_name entry;
    struct lethe_inode *inode; /* NULL: no such entry */
};

/* Whether the directory ino is ancestor itself or lies below it. Directories name their parents in rdev. */
static int lies_below(struct lethe_tree *tree, uint64_t ino, uint64_t ancestor, bool *below)
{
    /* Under names no directory moves, so this ends at the root, unless rows were damaged. */
    for (unsigned depth = 0; depth < 100000; depth++) {
        struct lethe_inode *inode;
        int error;

        if (ino == ancestor || ino == LETHE_TREE_ROOT) {
            *below = ino == ancestor;
            return 0;
        }
        error = lethe_inode_acquire(tree, ino, &inode);
        if (error) {
            return error;
        }
        ino = inode->rdev;
        lethe_inode_release(tree, inode);
    }
    return -EIO;
}

/* What must hold of a plain rename over to->inode. All are locked. */
static int check_replace(struct lethe_tree *tree, const struct end *from, const struct end *to)
{
    if (S_ISDIR(from->inode->mode) && !S_ISDIR(to->inode->mode)) {
        return -ENOTDIR;
    }
    if (!S_ISDIR(from->inode->mode) && S_ISDIR(to->inode->mode)) {
        return -EISDIR;
    }
    return S_ISDIR(to->inode->mode) ? lethe_name_empty(tree, to->inode->ino) : 0;
}

/* What takes the old name after RENAME_WHITEOUT: overlayfs hides a name of a lower layer by it. */
struct whiteout {
    const struct lethe_owner *owner; /* NULL: none is wanted */
    struct lethe_inode *inode;       /* locked */
    uint64_t cookie;
};

static int make_whiteout(struct lethe_tree *tree, const struct lethe_inode *parent, int64_t now,
                         struct whiteout *whiteout)
{
    struct lethe_inode *inode;
    uint64_t ino;
    int error = lethe_tree_next_ino(tree, &ino);

    if (!error) {
        error = lethe_tree_next_cookie(tree, &whiteout->cookie);
    }
    inode = error ? NULL : lethe_inode_new(tree, ino);
    if (!inode) {
        return error ? error : -ENOMEM;
    }
    inode->mode = S_IFCHR;
    inode->uid = whiteout->owner->uid;
    inode->gid = parent->mode & S_ISGID ? parent->gid : whiteout->owner->gid;
    inode->nlink = 1;
    inode->atime = inode->mtime = inode->ctime = inode->row_mtime = inode->row_ctime = now;
    inode->no_xattrs = true;
    whiteout->inode = inode;
    return 0;
}

/* The statements of a plain rename. The database is locked. */
static enum lethe_err write_move(struct lethe_tree *tree, const struct end *from, const struct end *to,
                                 uint64_t cookie, const struct whiteout *whiteout)
{
    enum lethe_err err = lethe_name_delete(tree, from->parent->ino, from->name);

    if (!err && whiteout->inode) {
        err = lethe_row_insert(tree->db, whiteout->inode, NULL);
        if (!err) {
            err = lethe_name_put(tree, from->parent->ino, from->name, whiteout->inode->ino, whiteout->cookie);
        }
    }

    if (!err) {
        err = lethe_name_put(tree, to->parent->ino, to->name, from->inode->ino, cookie);
    }
    if (!err && to->inode && lethe_name_dies(to->inode)) {
        err = lethe_row_delete(tree->db, to->inode->ino);
    }
    return err;
}

static enum lethe_err write_exchange(struct lethe_tree *tree, const struct end *from, const struct end *to)
{
    enum lethe_err err =
        lethe_name_put(tree, from->parent->ino, from->name, to->inode->ino, from->entry.cookie);

    if (!err) {
        err = lethe_name_put(tree, to->parent->ino, to->name, from->inode->ino, to->entry.cookie);
    }
    return err;
}

/* Moves the directory's link from one parent to the other. */
static void move_parent(struct lethe_inode *inode, struct lethe_inode *from, struct lethe_inode *to)
{
    if (S_ISDIR(inode->mode) && from != to) {
        inode->rdev = to->ino;
        from->nlink--;
        to->nlink++;
    }
}

/* Everything is locked and checked. */
static int commit_rename(struct lethe_tree *tree, struct end *from, struct end *to, bool exchange,
                         struct whiteout *whiteout)
{
    uint64_t cookie = to->inode ? to->entry.cookie : from->entry.cookie;
    int64_t now = lethe_tree_now();
    enum lethe_err err;

    if (!exchange && !to->inode && from->parent != to->parent) {
        int error = lethe_tree_next_cookie(tree, &cookie);

        if (error) {
            return error;
        }
    }
    if (whiteout->owner) {
        int error = make_whiteout(tree, from->parent, now, whiteout);

        if (error) {
            return error;
        }
    }
    lethe_db_lock(tree->db);
    err = lethe_db_begin(tree->db);
    if (!err) {
        err = exchange ? write_exchange(tree, from, to) : write_move(tree, from, to, cookie, whiteout);
        err = lethe_row_end(tree->db, err);
    }
    if (!err) {
        lethe_tree_counted(tree, (whiteout->inode != NULL) - (!exchange && to->inode && lethe_name_dies(to->inode)));
    }
    lethe_db_unlock(tree->db);
    if (whiteout->inode) {
        if (err) {
            lethe_inode_fail(tree, whiteout->inode, -lethe_errno_of_bytes(err));
        }
        lethe_inode_release(tree, whiteout->inode);
    }
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    move_parent(from->inode, from->parent, to->parent);
    if (exchange) {
        move_parent(to->inode, to->parent, from->parent);
        to->inode->settled = true;
        lethe_attr_touch_ctime(tree, to->inode, now);
    } else if (to->inode) {
        if (S_ISDIR(to->inode->mode)) {
            to->parent->nlink--;
        }
        lethe_name_lost(tree, to->inode, now);
    }
    from->inode->settled = true;
    lethe_attr_touch_ctime(tree, from->inode, now);
    lethe_attr_touch_dir(tree, from->parent, now);
    if (from->parent != to->parent) {
        lethe_attr_touch_dir(tree, to->parent, now);
    }
    return 0;
}

/* Everything is locked. */
static int rename_locked(struct lethe_tree *tree, struct end *from, struct end *to, unsigned flags,
                         struct whiteout *whiteout)
{
    bool exchange = flags == RENAME_EXCHANGE;
    int error = lethe_name_parent(from->parent);

    if (!error) {
        error = lethe_name_parent(to->parent);
    }
    if (error) {
        return error;
    }
    if (exchange && !to->inode) {
        return -ENOENT;
    }
    if (flags == RENAME_NOREPLACE && to->inode) {
        return -EEXIST;
    }
    if (from->inode == to->inode) {
        return 0; /* two names of one file, or one name: nothing happens, POSIX says */
    }
    if (to->inode && !exchange) {
        error = check_replace(tree, from, to);
        if (error) {
            return error;
        }
    }
    return commit_rename(tree, from, to, exchange, whiteout);
}

/* A directory must not come to lie below itself. Under names. */
static int check_loops(struct lethe_tree *tree, const struct end *from, const struct end *to, bool exchange)
{
    bool below = false;
    int error;

    if (from->parent == to->parent) {
        return 0;
    }
    error = lies_below(tree, to->parent->ino, from->inode->ino, &below);
    if (error || below) {
        return error ? error : -EINVAL;
    }
    if (!to->inode) {
        return 0;
    }
    error = lies_below(tree, from->parent->ino, to->inode->ino, &below);
    return error ? error : !below ? 0 : exchange ? -EINVAL : -ENOTEMPTY;
}

static int find_end(struct lethe_tree *tree, uint64_t parent, struct end *end)
{
    int error = lethe_name_find(tree, parent, end->name, &end->entry);

    if (error && error != -ENOENT) {
        return error;
    }
    end->parent = lethe_inode_ref(tree, parent);
    end->inode = error ? NULL : lethe_inode_ref(tree, end->entry.ino);
    return end->parent && (error || end->inode) ? 0 : -ENOMEM;
}

/* owner: of the whiteout that is wanted, or NULL. */
static int rename_name(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                       const char *new_name, unsigned flags, const struct lethe_owner *owner)
{
    struct end from = {.name = name}, to = {.name = new_name};
    struct whiteout whiteout = {.owner = owner};
    int error = lethe_name_check(name);

    if (!error) {
        error = lethe_name_check(new_name);
    }
    if (!error && flags != 0 && flags != RENAME_NOREPLACE && (flags != RENAME_EXCHANGE || owner)) {
        error = -EINVAL;
    }
    if (!error && !lethe_tree_writable(tree)) {
        error = -EROFS;
    }
    if (error) {
        return error;
    }
    lethe_tree_enter(tree);
    pthread_mutex_lock(&tree->names);
    error = find_end(tree, parent, &from);
    if (!error && !from.inode) {
        error = -ENOENT;
    }
    if (!error) {
        error = find_end(tree, new_parent, &to);
    }
    if (!error) {
        error = check_loops(tree, &from, &to, flags == RENAME_EXCHANGE);
    }
    if (!error) {
        struct lethe_inode *all[4] = {from.parent, to.parent, from.inode, to.inode};

        error = lethe_inode_lock_all(tree, all, 4);
        if (!error) {
            error = rename_locked(tree, &from, &to, flags, &whiteout);
            lethe_inode_unlock_all(all, 4);
        }
    }
    lethe_inode_put(tree, from.parent);
    lethe_inode_put(tree, from.inode);
    lethe_inode_put(tree, to.parent);
    lethe_inode_put(tree, to.inode);
    pthread_mutex_unlock(&tree->names);
    lethe_tree_leave(tree, !error);
    return error;
}

int lethe_tree_rename(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                      const char *new_name, unsigned flags)
{
    return rename_name(tree, parent, name, new_parent, new_name, flags, NULL);
}

int lethe_tree_rename_whiteout(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                               const char *new_name, unsigned flags, const struct lethe_owner *owner)
{
    return rename_name(tree, parent, name, new_parent, new_name, flags, owner);
}
