/* SPDX-License-Identifier: MIT */
/*
 * The bytes of files. A change goes to a mutable content: a new one for an empty file, a clone where the live
 * content is frozen or in the vault. Bytes that are not on this device are brought without any lock, and the
 * change is tried again: it is all or nothing in the content store, so nothing was done before.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

/* Each try after the first followed a successful hydration of other bytes; more than these must be a fault.
 */
#define RETRIES 64
/* Bytes that one call of copy moves at most when it cannot share blocks. */
#define COPY_AT_ONCE (16u << 20)

int lethe_bytes_hydrate(struct lethe_tree *tree, const struct lethe_absent *absent)
{
    if (!tree->options.hydrate) {
        return -EIO;
    }
    return -lethe_errno_of_bytes(tree->options.hydrate(tree->options.context, absent));
}

/* What a change of live content leaves behind: the row may still name the old one. */
static void replace_content(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_content *content)
{
    struct lethe_id old = inode->content_id;
    uint64_t old_size = inode->size;

    if (!inode->working) {
        /* The row keeps what the live view was. */
        assert(lethe_id_equal(&old, &inode->row_content));
    }
    lethe_content_put(inode->content);
    inode->content = content;
    inode->content_id = content ? *lethe_content_id(content) : (struct lethe_id){0};
    if (!lethe_id_equal(&old, &inode->row_content)) {
        lethe_tree_abandon(tree, &old, old_size);
    }
}

/* A content that may be changed. */
static int make_mutable(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_content **out)
{
    struct lethe_content *content = NULL, *fresh = NULL;
    enum lethe_err err;
    int64_t ctime;
    int error = lethe_inode_content(tree, inode, &content);

    if (error) {
        return error;
    }
    if (content && lethe_content_state(content) == LETHE_CONTENT_MUTABLE) {
        *out = content;
        return 0;
    }
    err = content ? lethe_content_clone(content, &fresh) : lethe_content_new(tree->options.contents, &fresh);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    replace_content(tree, inode, fresh);
    /* From here on the live view differs, even should the change itself fail: the store holds a row for it.
     */
    ctime = inode->ctime;
    lethe_attr_touch_bytes(tree, inode, inode->mtime);
    inode->ctime = ctime; /* a commit may come before the change does: nothing has been changed so far */
    *out = fresh;
    return 0;
}

/* 0, 1 for absent bytes, or a negative errno. */
static int outcome(enum lethe_err err)
{
    return err == LETHE_ERR_ABSENT ? 1 : -lethe_errno_of_bytes(err);
}

int lethe_bytes_resize(struct lethe_tree *tree, struct lethe_inode *inode, uint64_t size,
                       struct lethe_absent *absent)
{
    struct lethe_content *content;
    int error;

    if (size == inode->size) {
        return 0;
    }
    if (inode->gone) {
        return -ESTALE;
    }
    if (size == 0) {
        replace_content(tree, inode, NULL);
        inode->size = 0;
        return 0;
    }
    error = make_mutable(tree, inode, &content);
    if (!error) {
        error = outcome(lethe_content_resize(content, size, absent));
    }
    if (!error) {
        inode->size = size;
    }
    return error;
}

int lethe_tree_open_file(struct lethe_tree *tree, uint64_t ino, int flags, struct lethe_file **out)
{
    struct lethe_file *file = calloc(1, sizeof(*file));
    bool writer = (flags & O_ACCMODE) != O_RDONLY, truncates = (flags & O_TRUNC) != 0;
    struct lethe_inode *inode = NULL;
    int error;

    *out = NULL;
    if (!file) {
        return -ENOMEM;
    }
    if ((writer || truncates) && !lethe_tree_writable(tree)) {
        free(file);
        return -EROFS;
    }
    if (truncates) {
        lethe_tree_enter(tree);
    }
    error = lethe_inode_acquire(tree, ino, &inode);
    if (!error && inode->gone) {
        error = -ESTALE;
    }
    if (!error && !S_ISREG(inode->mode)) {
        error = S_ISDIR(inode->mode) ? -EISDIR : -EINVAL;
    }
    if (!error && truncates) {
        struct lethe_absent absent;

        error = lethe_bytes_resize(tree, inode, 0, &absent);
        if (!error) {
            lethe_attr_touch_bytes(tree, inode, lethe_tree_now());
        }
    }
    if (!error) {
        inode->opens++;
        inode->writers += writer;
        lethe_inode_unlock(inode);
        *file = (struct lethe_file){
            .tree = tree, .inode = inode, .writer = writer, .no_atime = (flags & O_NOATIME) != 0};
        pthread_mutex_lock(&tree->cache);
        tree->open_files++;
        file->next = tree->files;
        if (file->next) {
            file->next->previous = file;
        }
        tree->files = file;
        pthread_mutex_unlock(&tree->cache);
        *out = file;
        file = NULL;
    } else {
        lethe_inode_release(tree, inode);
    }
    if (truncates) {
        lethe_tree_leave(tree, !error);
    }
    free(file);
    return error;
}

void lethe_tree_tag(struct lethe_file *file, bool tag)
{
    file->tag = tag;
}

bool lethe_tree_tag_of(const struct lethe_file *file)
{
    return file->tag;
}

void lethe_tree_release_file(struct lethe_file *file)
{
    struct lethe_tree *tree;
    struct lethe_inode *inode;
    bool orphan;

    if (!file) {
        return;
    }
    tree = file->tree;
    inode = file->inode;
    pthread_mutex_lock(&inode->lock);
    inode->writers -= file->writer;
    orphan = --inode->opens == 0 && inode->nlink == 0 && !inode->gone;
    if (inode->opens == 0 && !orphan && !inode->work_dirty) {
        lethe_inode_drop_content(inode);
    }
    pthread_mutex_unlock(&inode->lock);
    if (orphan) {
        lethe_tree_enter(tree);
        pthread_mutex_lock(&inode->lock);
        /* It may have been opened again meanwhile, or given a name. Should this fail, the next lethe_tree_open finds it. */
        if (inode->opens == 0 && inode->nlink == 0 && !inode->gone && lethe_tree_reclaim(tree, inode)) {
            lethe_inode_dirty(tree, inode, true, true);
        }
        pthread_mutex_unlock(&inode->lock);
        lethe_tree_leave(tree, true);
    }
    pthread_mutex_lock(&tree->cache);
    tree->open_files--;
    *(file->previous ? &file->previous->next : &tree->files) = file->next;
    if (file->next) {
        file->next->previous = file->previous;
    }
    pthread_mutex_unlock(&tree->cache);
    lethe_inode_put(tree, inode);
    free(file);
}

static bool is_live(struct lethe_inode *inode, const struct lethe_id *content)
{
    bool live;

    pthread_mutex_lock(&inode->lock);
    live = lethe_id_equal(&inode->content_id, content);
    pthread_mutex_unlock(&inode->lock);
    return live;
}

int lethe_tree_read(struct lethe_file *file, uint64_t offset, void *buffer, size_t len, size_t *got)
{
    struct lethe_tree *tree = file->tree;
    struct lethe_inode *inode = file->inode;
    int error = 0;

    *got = 0;
    if (offset > LETHE_CONTENT_MAX) {
        return 0;
    }
    for (unsigned tries = 0;; tries++) {
        struct lethe_content *content = NULL;
        struct lethe_absent absent;
        struct lethe_id id;
        enum lethe_err err;

        error = lethe_inode_lock(tree, inode);
        if (error) {
            return error;
        }
        error = lethe_inode_content(tree, inode, &content);
        if (content) {
            lethe_content_ref(content);
        }
        id = inode->content_id;
        lethe_inode_unlock(inode);
        if (error || !content) {
            break;
        }
        /*
         * Without the inode's lock: a change meanwhile is a race of the programs; the store keeps blocks whole. A
         * content that lost its place may be dropped here and in the vault at any time: what took it is read then.
         */
        err = lethe_content_read(content, offset, buffer, len, got, &absent);
        lethe_content_put(content);
        if (err != LETHE_ERR_ABSENT && err != LETHE_ERR_NOT_FOUND) {
            error = -lethe_errno_of_bytes(err);
            break;
        }
        *got = 0;
        error = tries >= RETRIES ? -EIO : err == LETHE_ERR_ABSENT ? lethe_bytes_hydrate(tree, &absent) : 0;
        if (error && (tries >= RETRIES || is_live(inode, &id))) {
            break;
        }
    }
    if (!error && !file->no_atime) {
        (void)lethe_attr_accessed(tree, inode);
    }
    return error;
}

bool lethe_tree_accessed(struct lethe_file *file)
{
    return !file->no_atime && lethe_attr_accessed(file->tree, file->inode);
}

/* Whole blocks that a change of this range dirties. */
static uint64_t room_for(uint64_t offset, uint64_t len)
{
    uint64_t first = offset / LETHE_BLOCK_BYTES, last = (offset + len - 1) / LETHE_BLOCK_BYTES;

    return (last - first + 1) * LETHE_BLOCK_BYTES;
}

/* The inode is locked. own_times: the kernel keeps mtime and ctime of these bytes, and sends them itself. */
static void touch_written(struct lethe_tree *tree, struct lethe_inode *inode, bool own_times)
{
    int64_t mtime = inode->mtime, ctime = inode->ctime;

    lethe_attr_touch_bytes(tree, inode, lethe_tree_now());
    if (own_times) {
        inode->mtime = mtime;
        inode->ctime = ctime;
    }
}

static int write_bytes(struct lethe_file *file, uint64_t offset, const void *bytes, size_t len, bool kill_suid,
                       bool own_times)
{
    struct lethe_tree *tree = file->tree;
    struct lethe_inode *inode = file->inode;
    uint64_t room;
    enum lethe_err err;
    int error;

    if (len == 0) {
        return 0;
    }
    if (offset > LETHE_CONTENT_MAX || len > LETHE_CONTENT_MAX - offset) {
        return -EFBIG;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    room = room_for(offset, len);
    err = lethe_contents_reserve(tree->options.contents, room, LETHE_TREE_STALL_MS);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    for (unsigned tries = 0;; tries++) {
        struct lethe_content *content = NULL;
        struct lethe_absent absent;
        struct lethe_sealed_ahead ahead = {NULL, 0};
        struct lethe_unread unread;

        err = LETHE_OK;
        lethe_tree_enter(tree);
        /* Most of the work. Should it fail, the write does it again, and tells. */
        (void)!lethe_content_seal_ahead(tree->options.contents, offset, bytes, len, &ahead);
        error = lethe_inode_lock(tree, inode);
        if (!error) {
            error = make_mutable(tree, inode, &content);
            if (!error) {
                /* The disk has its time without our locks: others find out what they need of it meanwhile. */
                err = lethe_content_write_at_once(content, offset, bytes, len, &absent, tries == 0 ? &unread : NULL,
                                                  &ahead);
                error = outcome(err);
            }
            if (!error) {
                inode->size = offset + len > inode->size ? offset + len : inode->size;
                touch_written(tree, inode, own_times);
                if (kill_suid && (inode->mode & (S_ISUID | S_ISGID))) {
                    lethe_attr_kill(inode, false);
                    lethe_inode_dirty(tree, inode, true, true);
                }
            }
            lethe_inode_unlock(inode);
        }
        lethe_content_unseal_ahead(tree->options.contents, &ahead);
        lethe_tree_leave(tree, true);
        if (tries == 0 && err == LETHE_ERR_BUSY) {
            lethe_contents_fetch(tree->options.contents, &unread);
            continue;
        }
        if (error <= 0) {
            break;
        }
        error = tries < RETRIES ? lethe_bytes_hydrate(tree, &absent) : -EIO;
        if (error) {
            break;
        }
    }
    lethe_contents_unreserve(tree->options.contents, room);
    return error;
}

int lethe_tree_write(struct lethe_file *file, uint64_t offset, const void *bytes, size_t len, bool kill_suid)
{
    return write_bytes(file, offset, bytes, len, kill_suid, false);
}

int lethe_tree_write_back(struct lethe_file *file, uint64_t offset, const void *bytes, size_t len, bool kill_suid)
{
    return write_bytes(file, offset, bytes, len, kill_suid, true);
}

/* One try of fallocate: 0, 1 for absent bytes, or a negative errno. In the gate, locked. */
static int allocate(struct lethe_tree *tree, struct lethe_inode *inode, int mode, uint64_t offset,
                    uint64_t len, struct lethe_absent *absent)
{
    bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0, zeros = (mode & ~FALLOC_FL_KEEP_SIZE) != 0;
    uint64_t end = offset + len;
    struct lethe_content *content;
    int error = 0;

    if (zeros && offset < inode->size) {
        uint64_t inside = end < inode->size ? len : inode->size - offset;

        error = make_mutable(tree, inode, &content);
        if (!error) {
            error = outcome(lethe_content_punch(content, offset, inside, absent));
        }
    }
    if (!error && !keep && end > inode->size) {
        error = lethe_bytes_resize(tree, inode, end, absent);
    }
    if (!error) {
        lethe_attr_touch_bytes(tree, inode, lethe_tree_now());
    }
    return error;
}

int lethe_tree_fallocate(struct lethe_file *file, int mode, uint64_t offset, uint64_t len)
{
    struct lethe_tree *tree = file->tree;
    const uint64_t room = 2 * (uint64_t)LETHE_BLOCK_BYTES; /* the two ends of a hole */
    enum lethe_err err;
    int error;

    if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
        mode != FALLOC_FL_ZERO_RANGE && mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)) {
        return -EOPNOTSUPP;
    }
    if (len == 0) {
        return -EINVAL;
    }
    if (offset > LETHE_CONTENT_MAX || len > LETHE_CONTENT_MAX - offset) {
        return -EFBIG;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    err = lethe_contents_reserve(tree->options.contents, room, LETHE_TREE_STALL_MS);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    for (unsigned tries = 0;; tries++) {
        struct lethe_absent absent;

        lethe_tree_enter(tree);
        error = lethe_inode_lock(tree, file->inode);
        if (!error) {
            error = allocate(tree, file->inode, mode, offset, len, &absent);
            lethe_inode_unlock(file->inode);
        }
        lethe_tree_leave(tree, true);
        if (error <= 0) {
            break;
        }
        error = tries < RETRIES ? lethe_bytes_hydrate(tree, &absent) : -EIO;
        if (error) {
            break;
        }
    }
    lethe_contents_unreserve(tree->options.contents, room);
    return error;
}

bool lethe_tree_has_writers(struct lethe_file *file)
{
    bool writers;

    pthread_mutex_lock(&file->inode->lock);
    writers = file->inode->writers > 0;
    pthread_mutex_unlock(&file->inode->lock);
    return writers;
}

int lethe_tree_seek(struct lethe_file *file, uint64_t offset, int whence, uint64_t *out)
{
    struct lethe_content *content = NULL;
    struct lethe_inode *inode = file->inode;
    enum lethe_err err = LETHE_ERR_NOT_FOUND;
    uint64_t size;
    int error;

    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        return -EINVAL;
    }
    error = lethe_inode_lock(file->tree, inode);
    if (error) {
        return error;
    }
    size = inode->size;
    if (offset < size) {
        error = lethe_inode_content(file->tree, inode, &content);
        if (!error && content) {
            err = lethe_content_seek(content, offset, whence == SEEK_DATA, out);
        }
    }
    lethe_inode_unlock(inode);
    if (error) {
        return error;
    }
    if (offset >= size) {
        return -ENXIO;
    }
    if (err == LETHE_ERR_NOT_FOUND) {
        if (whence == SEEK_DATA) {
            return -ENXIO;
        }
        *out = size;
        return 0;
    }
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    if (whence == SEEK_HOLE && *out > size) {
        *out = size;
    }
    return 0;
}

/* One try of copy; both inodes are locked (they may be one). */
static int copy_once(struct lethe_tree *tree, struct lethe_inode *from, uint64_t from_offset,
                     struct lethe_inode *to, uint64_t to_offset, uint64_t len, uint64_t *done,
                     struct lethe_absent *absent)
{
    struct lethe_content *source = NULL, *target = NULL;
    enum lethe_err err;
    int error;

    if (from_offset >= from->size) {
        return 0;
    }
    len = len < from->size - from_offset ? len : from->size - from_offset;
    if (from == to && from_offset < to_offset + len && to_offset < from_offset + len) {
        return -EINVAL;
    }
    error = lethe_inode_content(tree, from, &source);
    if (error || !source) {
        return error;
    }
    if (from != to && to->size == 0 && from_offset == 0 && to_offset == 0 && len == from->size) {
        err = lethe_content_clone(source, &target);
        if (err) {
            return -lethe_errno_of_bytes(err);
        }
        replace_content(tree, to, target);
        *done = len;
    } else {
        error = make_mutable(tree, to, &target);
        if (!error && from == to) {
            error = lethe_inode_content(tree, from, &source);
        }
        if (error) {
            return error;
        }
        error = outcome(lethe_content_copy(source, from_offset, target, to_offset, len, done, absent));
    }
    if (*done > 0) {
        to->size = to_offset + *done > to->size ? to_offset + *done : to->size;
        lethe_attr_touch_bytes(tree, to, lethe_tree_now());
        error = 0; /* a short copy */
    }
    return error;
}

int lethe_tree_copy(struct lethe_file *from, uint64_t from_offset, struct lethe_file *to, uint64_t to_offset,
                    uint64_t len, uint64_t *done)
{
    struct lethe_tree *tree = to->tree;
    bool shares = from_offset % LETHE_BLOCK_BYTES == to_offset % LETHE_BLOCK_BYTES;
    uint64_t room;
    enum lethe_err err;
    int error;

    *done = 0;
    if (len == 0) {
        return 0;
    }
    if (from_offset > LETHE_CONTENT_MAX || to_offset > LETHE_CONTENT_MAX) {
        return -EFBIG;
    }
    len = len < LETHE_CONTENT_MAX - to_offset ? len : LETHE_CONTENT_MAX - to_offset;
    len = len < LETHE_CONTENT_MAX - from_offset ? len : LETHE_CONTENT_MAX - from_offset;
    if (len == 0) {
        return -EFBIG;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    if (!shares && len > COPY_AT_ONCE) {
        len = COPY_AT_ONCE; /* a short copy: the program asks for the rest */
    }
    room = shares ? 2 * (uint64_t)LETHE_BLOCK_BYTES : room_for(to_offset, len);
    err = lethe_contents_reserve(tree->options.contents, room, LETHE_TREE_STALL_MS);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    for (unsigned tries = 0;; tries++) {
        struct lethe_inode *both[2] = {from->inode, to->inode};
        struct lethe_absent absent;

        lethe_tree_enter(tree);
        error = lethe_inode_lock_all(tree, both, 2);
        if (!error) {
            error = copy_once(tree, from->inode, from_offset, to->inode, to_offset, len, done, &absent);
            lethe_inode_unlock_all(both, 2);
        }
        lethe_tree_leave(tree, true);
        if (error <= 0) {
            break;
        }
        error = tries < RETRIES ? lethe_bytes_hydrate(tree, &absent) : -EIO;
        if (error) {
            break;
        }
    }
    lethe_contents_unreserve(tree->options.contents, room);
    if (!error && !from->no_atime) {
        (void)lethe_attr_accessed(tree, from->inode);
    }
    return error;
}

int lethe_tree_fsync(struct lethe_file *file)
{
    struct lethe_tree *tree = file->tree;

    if (!lethe_tree_writable(tree)) {
        return 0;
    }
    pthread_mutex_lock(&file->inode->lock);
    file->inode->settled = true;
    pthread_mutex_unlock(&file->inode->lock);
    return -lethe_errno_of_bytes(lethe_commit_promise(tree->options.committer));
}
