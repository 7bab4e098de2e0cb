/* SPDX-License-Identifier: MIT */
/*
 * The requests of the kernel, each one call of the tree. The kernel checks permissions (default_permissions)
 * and keeps locks; it owns size, mtime and ctime of the regular files in its cache (writeback), so what
 * getattr says of these is used for others alone. Entries and attributes are good for an hour, as nobody else
 * changes the tree; what does (the sealer, in lossy vaults) calls lethe_fuse_invalidate, on a mount that writes
 * through: a kernel that writes back takes nobody's word for a size. There is no flush
 * and no opendir: the kernel then stops asking, and a close costs one message less.
 */
#include "fs/mount/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "lethe/log.h"

#define TIMEOUT 3600.0

static struct lethe_fuse *fuse_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct lethe_tree *tree_of(fuse_req_t req)
{
    return fuse_of(req)->options.tree;
}

static struct lethe_owner owner_of(fuse_req_t req)
{
    const struct fuse_ctx *context = fuse_req_ctx(req);

    return (struct lethe_owner){.uid = context->uid, .gid = context->gid, .umask = context->umask};
}

static struct lethe_file *file_of(const struct fuse_file_info *info)
{
    return (struct lethe_file *)(uintptr_t)info->fh;
}

static void reply_error(fuse_req_t req, int error)
{
    fuse_reply_err(req, error < 0 ? -error : error);
}

static struct fuse_entry_param entry_for(const struct stat *attr)
{
    return (struct fuse_entry_param){.ino = attr->st_ino,
                                     .generation = 1, /* inode numbers are never used again */
                                     .attr = *attr,
                                     .attr_timeout = TIMEOUT,
                                     .entry_timeout = TIMEOUT};
}

static void reply_entry(fuse_req_t req, int error, const struct stat *attr)
{
    struct fuse_entry_param entry;

    if (error) {
        reply_error(req, error);
        return;
    }
    entry = entry_for(attr);
    fuse_reply_entry(req, &entry);
}

/* Without the flag of the wire, a guess: whoever is not root has no CAP_FSETID. */
static bool must_kill(fuse_req_t req, const struct fuse_file_info *info)
{
    if (lethe_fuse_wire_killpriv()) {
        return lethe_fuse_wire_kills();
    }
    return !(info && info->writepage) && fuse_req_ctx(req)->uid != 0;
}

/* Which set-id bits a change by the caller takes, when it takes any (must_kill). */
static unsigned kills(fuse_req_t req, fuse_ino_t ino)
{
    return LETHE_SET_KILL_SUID | (lethe_fuse_loses_sgid(req, ino) ? LETHE_SET_KILL_SGID : 0);
}

/*
 * After a change of bytes for which the kernel asks nothing about set-id bits, or not all: whoever is not root has no
 * CAP_FSETID.
 */
static void kill_after(fuse_req_t req, fuse_ino_t ino)
{
    struct stat attr;

    if (fuse_req_ctx(req)->uid == 0 || lethe_tree_getattr(tree_of(req), ino, &attr) ||
        !(attr.st_mode & (S_ISUID | S_ISGID))) {
        return;
    }
    if (!lethe_tree_setattr(tree_of(req), ino, kills(req, ino), &attr, &attr)) {
        (void)fuse_lowlevel_notify_inval_inode(fuse_of(req)->session, ino, -1, 0);
    }
}

static void op_init(void *context, struct fuse_conn_info *conn)
{
    static const unsigned wanted[] = {
        FUSE_CAP_ASYNC_READ,          FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_WRITEBACK_CACHE,
        FUSE_CAP_PARALLEL_DIROPS,     FUSE_CAP_READDIRPLUS,    FUSE_CAP_NO_OPENDIR_SUPPORT,
        FUSE_CAP_CACHE_SYMLINKS,      FUSE_CAP_EXPLICIT_INVAL_DATA,
        FUSE_CAP_HANDLE_KILLPRIV,     FUSE_CAP_POSIX_ACL,      FUSE_CAP_DONT_MASK,
        FUSE_CAP_EXPORT_SUPPORT};
    /*
     * Not ASYNC_DIO: who reads through the page cache would see pages as they were before a direct write that did not wait
     * (generic/451 of xfstests).
     * Not READDIRPLUS_AUTO: programs like find and ls read a whole folder before they look at what it holds, which the
     * kernel takes for no interest in it, and then asks for each entry.
     */
    static const unsigned unwanted[] = {
        FUSE_CAP_READDIRPLUS_AUTO,
        FUSE_CAP_SPLICE_READ,     FUSE_CAP_SPLICE_WRITE, FUSE_CAP_SPLICE_MOVE,
        FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_POSIX_LOCKS,  FUSE_CAP_FLOCK_LOCKS,
        FUSE_CAP_ASYNC_DIO};
    struct lethe_fuse *fuse = context;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        conn->want |= conn->capable & wanted[i];
    }
    for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++) {
        conn->want &= ~unwanted[i];
    }
    if (fuse->options.write_through) {
        conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
    }
    if (fuse->options.plain) {
        if (lethe_fuse_wire_ask_passthrough()) {
            conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE; /* the kernel has not both */
            lethe_plain_begin(fuse->options.plain);
        } else {
            lethe_log(LETHE_LOG_WARN, "cache=plain needs Linux 6.9 or later and libfuse 3.14: going on with ordinary reads");
        }
    }
    conn->max_write = LETHE_FUSE_MAX_IO;
    conn->max_read = LETHE_FUSE_MAX_IO;
    /* Pages written back count among these as well: reads that wait for the vault must leave them room. */
    conn->max_background = 256;
    conn->congestion_threshold = 192;
    conn->time_gran = 1;
    if (fuse->ready) {
        fuse->ready(fuse->ready_context);
    }
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    bool up = strcmp(name, "..") == 0;
    struct stat attr;
    int error;

    if (up || strcmp(name, ".") == 0) { /* a file handle of an inode that the kernel forgot */
        reply_entry(req, lethe_tree_lookup_number(tree_of(req), parent, up, &attr), &attr);
        return;
    }
    error = lethe_tree_lookup(tree_of(req), parent, name, &attr);
    lethe_readahead_directory(fuse_of(req)->options.readahead, parent);
    if (error == -ENOENT) {
        /* Remembered by the kernel: nobody but it makes names. */
        struct fuse_entry_param none = {.ino = 0, .entry_timeout = TIMEOUT};

        fuse_reply_entry(req, &none);
        return;
    }
    reply_entry(req, error, &attr);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    lethe_tree_forget(tree_of(req), ino, count);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++) {
        lethe_tree_forget(tree_of(req), forgets[i].ino, forgets[i].nlookup);
    }
    fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    struct stat attr;
    int error = lethe_tree_getattr(tree_of(req), ino, &attr);

    (void)info;
    if (error) {
        reply_error(req, error);
    } else {
        fuse_reply_attr(req, &attr, TIMEOUT);
    }
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int valid,
                       struct fuse_file_info *info)
{
    static const struct {
        int fuse;
        unsigned tree;
    } bits[] = {{FUSE_SET_ATTR_MODE, LETHE_SET_MODE},       {FUSE_SET_ATTR_UID, LETHE_SET_UID},
                {FUSE_SET_ATTR_GID, LETHE_SET_GID},         {FUSE_SET_ATTR_SIZE, LETHE_SET_SIZE},
                {FUSE_SET_ATTR_ATIME, LETHE_SET_ATIME},     {FUSE_SET_ATTR_MTIME, LETHE_SET_MTIME},
                {FUSE_SET_ATTR_ATIME_NOW, LETHE_SET_ATIME}, {FUSE_SET_ATTR_MTIME_NOW, LETHE_SET_MTIME},
                {FUSE_SET_ATTR_CTIME, LETHE_SET_CTIME}};
    struct timespec now;
    struct stat attr;
    unsigned mask = 0;
    int error;

    (void)info;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        mask |= valid & bits[i].fuse ? bits[i].tree : 0;
    }
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (valid & FUSE_SET_ATTR_ATIME_NOW) {
        want->st_atim = now;
    }
    if (valid & FUSE_SET_ATTR_MTIME_NOW) {
        want->st_mtim = now;
    }
    if (lethe_fuse_wire_killpriv() ? lethe_fuse_wire_kills()
                                   : (mask & LETHE_SET_SIZE) && fuse_req_ctx(req)->uid != 0) {
        mask |= LETHE_SET_KILL_SUID;
    }
    if (mask & (LETHE_SET_KILL_SUID | LETHE_SET_UID | LETHE_SET_GID)) {
        mask |= lethe_fuse_loses_sgid(req, ino) ? LETHE_SET_KILL_SGID : 0;
    }
    lethe_fuse_serving(req);
    error = lethe_tree_setattr(tree_of(req), ino, mask, want, &attr);
    lethe_fuse_serving(NULL);
    if (error) {
        reply_error(req, error);
    } else {
        fuse_reply_attr(req, &attr, TIMEOUT);
    }
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char *target;
    int error = lethe_tree_readlink(tree_of(req), ino, &target);

    if (error) {
        reply_error(req, error);
        return;
    }
    fuse_reply_readlink(req, target);
    free(target);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct lethe_owner owner = owner_of(req);
    struct stat attr;
    int error = lethe_tree_mknod(tree_of(req), parent, name, mode, rdev, &owner, &attr);

    reply_entry(req, error, &attr);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct lethe_owner owner = owner_of(req);
    struct stat attr;
    int error = lethe_tree_mkdir(tree_of(req), parent, name, mode, &owner, &attr);

    reply_entry(req, error, &attr);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct lethe_owner owner = owner_of(req);
    struct stat attr;
    int error = lethe_tree_symlink(tree_of(req), target, parent, name, &owner, &attr);

    reply_entry(req, error, &attr);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct stat attr;
    int error = lethe_tree_link(tree_of(req), ino, parent, name, &attr);

    reply_entry(req, error, &attr);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_error(req, lethe_tree_unlink(tree_of(req), parent, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_error(req, lethe_tree_rmdir(tree_of(req), parent, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    struct lethe_owner owner = owner_of(req);

    reply_error(req, flags & RENAME_WHITEOUT
                         ? lethe_tree_rename_whiteout(tree_of(req), parent, name, new_parent, new_name,
                                                      flags & ~(unsigned)RENAME_WHITEOUT, &owner)
                         : lethe_tree_rename(tree_of(req), parent, name, new_parent, new_name, flags));
}

static void release(fuse_req_t req, fuse_ino_t ino, struct lethe_file *file)
{
    lethe_plain_release(fuse_of(req)->options.plain, ino, lethe_tree_tag_of(file));
    lethe_tree_release_file(file);
}

static int open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    struct lethe_file *file;
    int error = lethe_tree_open_file(tree_of(req), ino, info->flags, &file);

    if (error) {
        return error;
    }
    if ((info->flags & O_TRUNC) && must_kill(req, NULL)) {
        struct stat attr = {0};

        error = lethe_tree_setattr(tree_of(req), ino, kills(req, ino), &attr, &attr);
        if (error) {
            lethe_tree_release_file(file);
            return error;
        }
    }
    info->fh = (uint64_t)(uintptr_t)file;
    info->keep_cache = 1;
    return 0;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    struct lethe_plain *plain = fuse_of(req)->options.plain;
    int32_t number;
    int error = plain && (info->flags & O_ACCMODE) != O_RDONLY ? -EROFS : open_file(req, ino, info);

    /* Reads may be served by the page cache: this is the last that is heard of them. */
    if (!error && (info->flags & O_ACCMODE) == O_RDONLY && lethe_tree_accessed(file_of(info))) {
        (void)fuse_lowlevel_notify_inval_inode(fuse_of(req)->session, ino, -1, 0);
    }
    if (error) {
        reply_error(req, error);
        return;
    }
    number = lethe_plain_open(plain, ino);
    if (number < 0) {
        lethe_tree_release_file(file_of(info));
        reply_error(req, number);
        return;
    }
    lethe_tree_tag(file_of(info), number > 0);
    lethe_fuse_wire_pass(number);
    if (fuse_reply_open(req, info)) {
        release(req, ino, file_of(info)); /* interrupted: the kernel will not release it */
    }
}

static void reply_created(fuse_req_t req, const struct stat *attr, struct lethe_file *file, struct fuse_file_info *info)
{
    struct fuse_entry_param entry = entry_for(attr);
    struct lethe_tree *tree = tree_of(req);

    info->fh = (uint64_t)(uintptr_t)file;
    info->keep_cache = 1;
    if (fuse_reply_create(req, &entry, info)) {
        /* Interrupted: the kernel will neither release nor, where it has no name, forget it. */
        lethe_tree_release_file(file);
        lethe_tree_forget(tree, attr->st_ino, 1);
    }
}

static void create_nameless(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *info)
{
    struct lethe_owner owner = owner_of(req);
    struct lethe_file *file;
    struct stat attr;
    int error = lethe_tree_tmpfile(tree_of(req), parent, mode, info->flags & ~O_TRUNC, &owner, &attr, &file);

    if (error) {
        reply_error(req, error);
    } else {
        reply_created(req, &attr, file, info);
    }
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *info)
{
    struct lethe_owner owner = owner_of(req);
    struct stat attr;
    int error;

    if (lethe_fuse_wire_tmpfile()) {
        create_nameless(req, parent, mode, info);
        return;
    }
    error = lethe_tree_mknod(tree_of(req), parent, name, S_IFREG | (mode & 07777), 0, &owner, &attr);

    if (error == -EEXIST && !(info->flags & O_EXCL)) {
        error = lethe_tree_lookup(tree_of(req), parent, name, &attr);
    } else if (!error) {
        info->flags &= ~O_TRUNC; /* nothing there yet */
    }
    if (!error) {
        error = open_file(req, attr.st_ino, info);
    }
    if (error) {
        reply_error(req, error);
        return;
    }
    reply_created(req, &attr, file_of(info), info);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    release(req, ino, file_of(info));
    fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    struct lethe_readahead *readahead = fuse_of(req)->options.readahead;
    size_t got;
    void *own = NULL, *buffer = size <= LETHE_FUSE_MAX_IO ? lethe_fuse_scratch() : NULL;
    bool told = lethe_readahead_read(readahead, ino, (uint64_t)offset, size);
    int error;

    if (!buffer) {
        buffer = own = malloc(size ? size : 1);
    }
    lethe_fuse_serving(req);
    error = buffer ? lethe_tree_read(file_of(info), (uint64_t)offset, buffer, size, &got) : -ENOMEM;
    lethe_fuse_serving(NULL);
    if (!told && !error) { /* it may have been the first to wait for the vault */
        (void)lethe_readahead_read(readahead, ino, (uint64_t)offset, size);
    }
    if (error) {
        reply_error(req, error);
    } else {
        fuse_reply_buf(req, buffer, got);
    }
    free(own);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                     struct fuse_file_info *info)
{
    int (*write_bytes)(struct lethe_file *, uint64_t, const void *, size_t, bool) =
        info->writepage ? lethe_tree_write_back : lethe_tree_write;
    bool kill = must_kill(req, info);
    int error;

    lethe_fuse_serving(req);
    error = write_bytes(file_of(info), (uint64_t)offset, bytes, size, kill);
    lethe_fuse_serving(NULL);
    if (kill && !error) {
        kill_after(req, ino);
    }
    if (error) {
        reply_error(req, error);
    } else {
        fuse_reply_write(req, size);
    }
}

static int wait_for_vault(fuse_req_t req)
{
    struct lethe_fuse *fuse = fuse_of(req);
    int error;

    if (!fuse->options.sync_vault || !fuse->options.sync) {
        return 0;
    }
    lethe_fuse_serving(req);
    error = -lethe_errno_of_bytes(fuse->options.sync(fuse->options.context));
    lethe_fuse_serving(NULL);
    return error;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    int error = lethe_tree_fsync(file_of(info));

    (void)ino;
    (void)data_only; /* a commit takes all */
    reply_error(req, error ? error : wait_for_vault(req));
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
    struct lethe_fuse *fuse = fuse_of(req);
    int error = 0;

    (void)ino;
    (void)data_only;
    (void)info;
    if (fuse->options.committer) {
        error = -lethe_errno_of_bytes(lethe_commit_promise(fuse->options.committer));
    }
    reply_error(req, error ? error : wait_for_vault(req));
}

struct listing {
    fuse_req_t req;
    char *buffer;
    size_t size, used;
    bool plus;
};

static bool list_entry(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct listing *listing = context;
    size_t left = listing->size - listing->used, need;
    char *at = listing->buffer + listing->used;

    if (listing->plus) {
        struct fuse_entry_param param = entry_for(attr);

        if (entry->cookie <= 2) {
            param.ino = 0; /* . and .. are no lookups */
        }
        need = fuse_add_direntry_plus(listing->req, at, left, entry->name, &param, (off_t)entry->cookie);
    } else {
        need = fuse_add_direntry(listing->req, at, left, entry->name, attr, (off_t)entry->cookie);
    }
    if (need > left) {
        return false;
    }
    listing->used += need;
    return true;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    struct listing listing = {.req = req, .size = size, .plus = plus};
    int error;

    lethe_readahead_directory(fuse_of(req)->options.readahead, ino);
    listing.buffer = malloc(size ? size : 1);
    error = listing.buffer
                ? lethe_tree_readdir(tree_of(req), ino, (uint64_t)offset, plus, list_entry, &listing)
                : -ENOMEM;
    /* What was listed before an error is good; the error comes with the next request. */
    if (error && listing.used == 0) {
        reply_error(req, error);
    } else {
        fuse_reply_buf(req, listing.buffer, listing.used);
    }
    free(listing.buffer);
}

/*
 * Not there, says this: the kernel then asks for no folder any more, whether to open or to close it, and keeps lists until
 * it changes the folder itself. (Without this function libfuse would say yes each time.)
 */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    (void)ino;
    (void)info;
    fuse_reply_err(req, ENOSYS);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)info;
    list(req, ino, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *info)
{
    (void)info;
    list(req, ino, size, offset, true);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct lethe_fuse *fuse = fuse_of(req);
    struct statvfs out = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

    (void)ino;
    if (fuse->options.statfs) {
        fuse->options.statfs(fuse->options.context, &out);
    } else {
        struct lethe_contents_usage usage;

        lethe_contents_usage(fuse->options.contents, &usage);
        out.f_blocks = usage.limit / out.f_frsize;
        out.f_bfree = out.f_bavail = usage.free / out.f_frsize;
    }
    fuse_reply_statfs(req, &out);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len,
                         struct fuse_file_info *info)
{
    int error = offset < 0 || len < 0
                    ? -EINVAL
                    : lethe_tree_fallocate(file_of(info), mode, (uint64_t)offset, (uint64_t)len);

    if (!error) {
        kill_after(req, ino);
    }
    reply_error(req, error);
}

/*
 * The kernel asks for data and holes without writing its dirty pages first, and a program that copies a file
 * by holes (cp) would take what is still in the page cache for nothing. Dropping the cached pages makes the
 * kernel write them, which other threads serve meanwhile. One at a time, so that threads are left for that;
 * who comes second is told EINVAL, upon which programs read everything.
 */
static int write_back_first(struct lethe_fuse *fuse, fuse_ino_t ino)
{
    int error;

    if (pthread_mutex_trylock(&fuse->write_back)) {
        return -EINVAL;
    }
    error = fuse_lowlevel_notify_inval_inode(fuse->session, ino, 0, 0);
    pthread_mutex_unlock(&fuse->write_back);
    return error && error != -ENOENT ? -EINVAL : 0;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
    uint64_t at = 0;
    int error = offset < 0 ? -ENXIO : 0;

    if (!error && lethe_tree_has_writers(file_of(info))) {
        error = write_back_first(fuse_of(req), ino);
    }
    if (!error) {
        error = lethe_tree_seek(file_of(info), (uint64_t)offset, whence, &at);
    }
    if (error) {
        reply_error(req, error);
    } else {
        fuse_reply_lseek(req, (off_t)at);
    }
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset,
                               struct fuse_file_info *from_info, fuse_ino_t to, off_t to_offset,
                               struct fuse_file_info *to_info, size_t len, int flags)
{
    uint64_t done = 0;
    int error = flags || from_offset < 0 || to_offset < 0
                    ? -EINVAL
                    : lethe_tree_copy(file_of(from_info), (uint64_t)from_offset, file_of(to_info),
                                      (uint64_t)to_offset, len, &done);

    (void)from;
    if (error) {
        reply_error(req, error);
    } else {
        kill_after(req, to);
        fuse_reply_write(req, (size_t)done);
    }
}

const struct fuse_lowlevel_ops lethe_fuse_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .open = op_open,
    .create = op_create,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fsyncdir = op_fsyncdir,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .getxattr = lethe_fuse_getxattr,
    .listxattr = lethe_fuse_listxattr,
    .setxattr = lethe_fuse_setxattr,
    .removexattr = lethe_fuse_removexattr,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy_file_range,
};
