/* SPDX-License-Identifier: MIT */
/* Attributes: stat, setattr, and the rules of time stamps and set-id bits (POSIX, and Linux where POSIX is
 * silent). */
#include <errno.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

#define NS 1000000000ll
#define DAY_NS (86400 * NS)
#define BLOCK_OF_STAT 4096u
/* Up to this size an unloaded content is taken for free of holes in st_blocks: asking costs more than it
 * tells. */
#define ASSUME_DENSE (64ull << 20)
#define RETRIES 64

int64_t lethe_attr_from_timespec(const struct timespec *time)
{
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)time->tv_sec, NS, &ns) ||
        __builtin_add_overflow(ns, (int64_t)time->tv_nsec, &ns)) {
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    }
    return ns;
}

static struct timespec to_timespec(int64_t ns)
{
    struct timespec time = {.tv_sec = ns / NS, .tv_nsec = ns % NS};

    if (time.tv_nsec < 0) {
        time.tv_nsec += NS;
        time.tv_sec--;
    }
    return time;
}

static uint64_t dense_blocks(uint64_t size)
{
    return (size + BLOCK_OF_STAT - 1) / BLOCK_OF_STAT * (BLOCK_OF_STAT / 512);
}

static void fill(uint64_t ino, mode_t mode, uint32_t nlink, uint64_t rdev, uint64_t size, struct stat *attr)
{
    memset(attr, 0, sizeof(*attr));
    attr->st_ino = ino;
    attr->st_mode = mode;
    attr->st_nlink = nlink;
    attr->st_rdev = S_ISCHR(mode) || S_ISBLK(mode) ? (dev_t)rdev : 0;
    attr->st_size = S_ISDIR(mode) ? BLOCK_OF_STAT : (off_t)size;
    attr->st_blksize = LETHE_BLOCK_BYTES;
    attr->st_blocks = S_ISREG(mode) ? (blkcnt_t)dense_blocks(size) : S_ISDIR(mode) ? BLOCK_OF_STAT / 512 : 0;
}

static void stat_row(const struct lethe_row *row, struct stat *attr)
{
    fill(row->ino, row->mode, row->nlink, row->rdev, row->working ? row->live_size : row->size, attr);
    attr->st_uid = row->uid;
    attr->st_gid = row->gid;
    attr->st_atim = to_timespec(row->atime);
    attr->st_mtim = to_timespec(row->working ? row->live_mtime : row->mtime);
    attr->st_ctim = to_timespec(row->working ? row->live_ctime : row->ctime);
}

void lethe_attr_stat(struct lethe_tree *tree, struct lethe_inode *inode, struct stat *attr)
{
    struct lethe_content *content = NULL;

    fill(inode->ino, inode->mode, inode->nlink, inode->rdev, inode->size, attr);
    attr->st_uid = inode->uid;
    attr->st_gid = inode->gid;
    attr->st_atim = to_timespec(inode->atime);
    attr->st_mtim = to_timespec(inode->mtime);
    attr->st_ctim = to_timespec(inode->ctime);
    if (!S_ISREG(inode->mode) || inode->gone || inode->size == 0) {
        return;
    }
    if (inode->content) {
        attr->st_blocks = (blkcnt_t)lethe_content_blocks512(inode->content);
    } else if (!inode->no_blocks) {
        attr->st_blocks = (blkcnt_t)inode->blocks;
    } else if (inode->size > ASSUME_DENSE && !lethe_inode_content(tree, inode, &content) && content) {
        attr->st_blocks = (blkcnt_t)lethe_content_blocks512(content);
        if (inode->opens == 0 && !inode->work_dirty) {
            lethe_inode_drop_content(inode);
        }
    }
}

void lethe_attr_stat_found(struct lethe_tree *tree, const struct lethe_row *row, uint64_t written, struct stat *attr)
{
    uint64_t size = row->working ? row->live_size : row->size;
    bool load = S_ISREG(row->mode) && size > ASSUME_DENSE; /* its holes are not in the row */
    struct lethe_inode *inode = load ? lethe_inode_ref(tree, row->ino) : lethe_inode_peek(tree, row->ino);

    if (!inode && atomic_load(&tree->rows_written) != written) {
        inode = lethe_inode_ref(tree, row->ino); /* it may have been changed, written and let go since */
    }
    if (inode && !lethe_inode_lock(tree, inode)) {
        lethe_attr_stat(tree, inode, attr);
        lethe_inode_unlock(inode);
    } else {
        stat_row(row, attr);
    }
    lethe_inode_put(tree, inode);
}

void lethe_attr_touch_ctime(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now)
{
    inode->ctime = inode->row_ctime = now;
    lethe_inode_dirty(tree, inode, true, inode->working);
}

void lethe_attr_touch_dir(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now)
{
    inode->mtime = inode->row_mtime = now;
    lethe_attr_touch_ctime(tree, inode, now);
}

void lethe_attr_touch_bytes(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now)
{
    inode->mtime = inode->ctime = now;
    inode->no_blocks = true;
    if (!inode->working && inode->size == inode->row_size &&
        lethe_id_equal(&inode->content_id, &inode->row_content)) {
        inode->row_mtime = inode->row_ctime = now; /* a truncation to the size that it had */
        lethe_inode_dirty(tree, inode, true, false);
        return;
    }
    if (!inode->working) {
        inode->working = true;
        inode->settled = false;
        inode->first_write = tree->monotonic();
    }
    lethe_inode_dirty(tree, inode, false, true);
}

void lethe_attr_kill(struct lethe_inode *inode, bool sgid)
{
    if (S_ISDIR(inode->mode)) {
        return;
    }
    inode->mode &= ~(mode_t)S_ISUID;
    if (sgid || (inode->mode & S_IXGRP)) {
        inode->mode &= ~(mode_t)S_ISGID;
    }
}

bool lethe_attr_accessed(struct lethe_tree *tree, struct lethe_inode *inode)
{
    int64_t now = lethe_tree_now();
    bool due;

    if (!tree->options.update_atime || !lethe_tree_writable(tree) || lethe_inode_lock(tree, inode)) {
        return false;
    }
    due = tree->options.strict_atime || inode->atime <= inode->mtime || inode->atime <= inode->ctime ||
          now - inode->atime >= DAY_NS;
    due &= !inode->gone && inode->atime != now && !(tree->options.no_dir_atime && S_ISDIR(inode->mode));
    lethe_inode_unlock(inode);
    if (!due) {
        return false;
    }
    lethe_tree_enter(tree);
    due = !lethe_inode_lock(tree, inode);
    if (due) {
        inode->atime = now;
        lethe_inode_dirty(tree, inode, true, false);
        lethe_inode_unlock(inode);
    }
    lethe_tree_leave(tree, true);
    return due;
}

int lethe_tree_getattr(struct lethe_tree *tree, uint64_t ino, struct stat *attr)
{
    struct lethe_inode *inode;
    int error = lethe_inode_acquire(tree, ino, &inode);

    if (error) {
        return error;
    }
    lethe_attr_stat(tree, inode, attr);
    lethe_inode_release(tree, inode);
    return 0;
}

/* Everything but the size. The inode is locked, the gate entered. */
static void apply(struct lethe_tree *tree, struct lethe_inode *inode, unsigned mask, const struct stat *want)
{
    int64_t now = lethe_tree_now();

    if (mask & LETHE_SET_MODE) {
        inode->mode = (inode->mode & S_IFMT) | (want->st_mode & 07777);
    } else if (mask & (LETHE_SET_KILL_SUID | LETHE_SET_KILL_SGID | LETHE_SET_UID | LETHE_SET_GID)) {
        lethe_attr_kill(inode, mask & LETHE_SET_KILL_SGID);
    }
    if (mask & LETHE_SET_UID) {
        inode->uid = want->st_uid;
    }
    if (mask & LETHE_SET_GID) {
        inode->gid = want->st_gid;
    }
    if (mask & LETHE_SET_ATIME) {
        inode->atime = lethe_attr_from_timespec(&want->st_atim);
    }
    if (mask & LETHE_SET_MTIME) {
        inode->mtime = lethe_attr_from_timespec(&want->st_mtim);
        if (!inode->working) {
            inode->row_mtime = inode->mtime;
        }
    }
    lethe_attr_touch_ctime(tree, inode,
                           mask & LETHE_SET_CTIME ? lethe_attr_from_timespec(&want->st_ctim) : now);
}

int lethe_tree_setattr(struct lethe_tree *tree, uint64_t ino, unsigned mask, const struct stat *want,
                       struct stat *attr)
{
    struct lethe_inode *inode = NULL;
    struct lethe_absent absent;
    bool room = false;
    int error;

    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    if ((mask & LETHE_SET_SIZE) && (want->st_size < 0 || (uint64_t)want->st_size > LETHE_CONTENT_MAX)) {
        return want->st_size < 0 ? -EINVAL : -EFBIG;
    }
    if ((mask & LETHE_SET_SIZE) && want->st_size > 0) {
        enum lethe_err err =
            lethe_contents_reserve(tree->options.contents, LETHE_BLOCK_BYTES, LETHE_TREE_STALL_MS);

        if (err) {
            return -lethe_errno_of_bytes(err);
        }
        room = true;
    }
    for (unsigned tries = 0;; tries++) {
        lethe_tree_enter(tree);
        error = lethe_inode_acquire(tree, ino, &inode);
        if (!error && (mask & LETHE_SET_SIZE)) {
            error = S_ISDIR(inode->mode) ? -EISDIR
                    : !S_ISREG(inode->mode)
                        ? -EINVAL
                        : lethe_bytes_resize(tree, inode, (uint64_t)want->st_size, &absent);
        }
        if (!error && (mask & LETHE_SET_MODE)) {
            error = lethe_xattr_follow_mode(tree, inode, want->st_mode);
        }
        if (!error) {
            if (mask & LETHE_SET_SIZE) {
                lethe_attr_touch_bytes(tree, inode, lethe_tree_now());
            }
            apply(tree, inode, mask, want);
            lethe_attr_stat(tree, inode, attr);
        }
        lethe_inode_release(tree, inode);
        inode = NULL;
        lethe_tree_leave(tree, !error);
        if (error <= 0) {
            break;
        }
        error = tries < RETRIES ? lethe_bytes_hydrate(tree, &absent) : -EIO;
        if (error) {
            break;
        }
    }
    if (room) {
        lethe_contents_unreserve(tree->options.contents, LETHE_BLOCK_BYTES);
    }
    return error;
}
