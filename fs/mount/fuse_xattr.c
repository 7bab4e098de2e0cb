/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes. user.lethefs.* are answered here and never stored or listed; labels of SELinux, trusted.* and
 * access control lists have rules of their own.
 */
#include "fs/mount/fuse_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/acl.h"

#define VIRTUAL_PREFIX "user.lethefs."
#define XATTR_MAX 65536u

static struct lethe_tree *tree_of(fuse_req_t req)
{
    return ((struct lethe_fuse *)fuse_req_userdata(req))->options.tree;
}

static void reply_error(fuse_req_t req, int error)
{
    fuse_reply_err(req, -error);
}

/*
 * Labels of SELinux: the kernel gives one to the whole mount where it is in use. "Not supported" says so, and a program
 * like ls asks but once; "no such attribute" would bring it back for every file.
 */
static int without_label(const char *name, int error)
{
    return error == -ENODATA && strcmp(name, "security.selinux") == 0 ? -EOPNOTSUPP : error;
}

static bool is_virtual(const char *name)
{
    return strncmp(name, VIRTUAL_PREFIX, strlen(VIRTUAL_PREFIX)) == 0;
}

static void reply_bytes(fuse_req_t req, size_t size, const void *bytes, size_t len)
{
    if (size == 0) {
        fuse_reply_xattr(req, len);
    } else if (len > size) {
        fuse_reply_err(req, ERANGE);
    } else {
        fuse_reply_buf(req, bytes, len);
    }
}

static void get_virtual(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct lethe_fuse *fuse = fuse_req_userdata(req);
    struct lethe_buf value = {0};
    enum lethe_err err = LETHE_ERR_NOT_FOUND;

    if (fuse->options.virtual_xattr) {
        err = fuse->options.virtual_xattr(fuse->options.context, ino, name + strlen(VIRTUAL_PREFIX), &value);
    }
    if (!err) {
        err = lethe_buf_status(&value);
    }
    if (err) {
        fuse_reply_err(req, err == LETHE_ERR_NOT_FOUND ? ENODATA : lethe_errno_of_bytes(err));
    } else {
        reply_bytes(req, size, value.data, value.len);
    }
    lethe_buf_release(&value);
}

void lethe_fuse_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    void *value = NULL;
    size_t needed, room = size < XATTR_MAX ? size : XATTR_MAX;
    int error;

    if (is_virtual(name)) {
        get_virtual(req, ino, name, size);
        return;
    }
    if (room > 0) {
        value = malloc(room);
        if (!value) {
            fuse_reply_err(req, ENOMEM);
            return;
        }
    }
    error = without_label(name, lethe_tree_getxattr(tree_of(req), ino, name, value, room, &needed));
    if (error) {
        reply_error(req, error);
    } else {
        reply_bytes(req, size, value, needed);
    }
    free(value);
}

/* Names of trusted.* are for root alone; the kernel leaves it to us to keep them from a list. */
static size_t drop_trusted(char *names, size_t len)
{
    size_t kept = 0;

    for (size_t at = 0, n; at < len; at += n) {
        n = strlen(names + at) + 1;
        if (strncmp(names + at, "trusted.", 8) != 0) {
            memmove(names + kept, names + at, n);
            kept += n;
        }
    }
    return kept;
}

void lethe_fuse_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    bool root = fuse_req_ctx(req)->uid == 0;
    size_t needed, room = root ? size : XATTR_MAX;
    char *names = room > 0 ? malloc(room) : NULL;
    int error;

    if (room > 0 && !names) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    error = lethe_tree_listxattr(tree_of(req), ino, names, room, &needed);
    if (error) {
        reply_error(req, error);
    } else {
        reply_bytes(req, size, names, root ? needed : drop_trusted(names, needed));
    }
    free(names);
}

bool lethe_fuse_loses_sgid(fuse_req_t req, fuse_ino_t ino)
{
    gid_t *groups;
    struct stat attr;
    bool member;
    int count;

    if (fuse_req_ctx(req)->uid == 0 || lethe_tree_getattr(tree_of(req), ino, &attr) || !(attr.st_mode & S_ISGID)) {
        return false;
    }
    member = fuse_req_ctx(req)->gid == attr.st_gid;
    count = fuse_req_getgroups(req, 0, NULL);
    groups = member || count <= 0 ? NULL : calloc((size_t)count, sizeof(*groups));
    if (groups) {
        int got = fuse_req_getgroups(req, count, groups);

        for (int i = 0; i < got && i < count; i++) {
            member |= groups[i] == attr.st_gid;
        }
    }
    free(groups);
    return !member;
}

void lethe_fuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    int error;

    if (is_virtual(name)) {
        error = -EPERM;
    } else if (lethe_acl_is(name)) {
        error = lethe_tree_set_acl(tree_of(req), ino, name, value, size, lethe_fuse_loses_sgid(req, ino));
    } else {
        error = lethe_tree_setxattr(tree_of(req), ino, name, value, size, flags);
    }
    reply_error(req, error);
}

void lethe_fuse_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    reply_error(req, is_virtual(name) ? -EPERM : lethe_tree_removexattr(tree_of(req), ino, name));
}
