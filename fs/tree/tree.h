/* SPDX-License-Identifier: MIT */
/*
 * The tree: inodes, names, extended attributes, and which content each file has; POSIX semantics over the tables of
 * fs/device/schema.h, with an inode cache in memory. The kernel checks permissions (default_permissions); the tree
 * keeps the rules of time stamps, link counts, set-group-id inheritance and clearing of set-id bits.
 *
 * Live and published view: while a file's bytes change, its live size, mtime, ctime and content are in memory and (at
 * each commit) in the table working; its inode row keeps what the next epoch may show. lethe_tree_cut moves the live
 * view into the rows and freezes the contents. A picture (by its first bytes: PNG or JPEG signature) that is open for
 * writing is left out of a cut until it is closed, at most 60 seconds from its first write, unless it was fsynced,
 * renamed or linked since, or force is set. The first write to a frozen or vaulted content goes to a clone of it.
 *
 * Operations take the shared gate themselves, and call hydrate (without the gate) when bytes are absent.
 * Errors are negative errno values here, because POSIX defines them: 0 is success. Inode 1 is the root.
 * Thread-safe.
 */
#ifndef LETHE_FS_TREE_TREE_H
#define LETHE_FS_TREE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "fs/device/commit.h"
#include "fs/device/content.h"
#include "fs/device/db.h"
#include "lethe/err.h"

struct lethe_tree;

struct lethe_tree_options {
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer; /* NULL only in tools that read (no gate is taken then) */
    /* Brings absent bytes (see content.h); LETHE_ERR_UNREACHABLE, LETHE_ERR_INTEGRITY ... become EIO. */
    enum lethe_err (*hydrate)(void *context, const struct lethe_absent *absent);
    void *context;
    /* Sets atime as relatime does when true; at each access with strict_atime; never a folder's with no_dir_atime. */
    bool update_atime, strict_atime, no_dir_atime;
};

struct lethe_owner {
    uid_t uid;
    gid_t gid;
    mode_t umask; /* taken from the mode of what is made, unless its folder has a default access control list */
};

/* Opens the tree of the database; makes the root directory (mode 0755, owner) when the tables are empty. */
enum lethe_err lethe_tree_open(const struct lethe_tree_options *options, const struct lethe_owner *owner,
                               struct lethe_tree **out) LETHE_MUST_CHECK;
void lethe_tree_close(struct lethe_tree *tree);

/* --- names --- (name: any bytes but '/' and NUL, 1 to 255 of them) */
/* A successful lookup, create, mknod, mkdir, symlink or link counts one reference for the kernel; see forget. */
int lethe_tree_lookup(struct lethe_tree *tree, uint64_t parent, const char *name, struct stat *attr);
/* By number, as a file handle has it: the inode itself, or (of a folder) its parent. ESTALE when it has no name any more. */
int lethe_tree_lookup_number(struct lethe_tree *tree, uint64_t ino, bool parent, struct stat *attr);
void lethe_tree_forget(struct lethe_tree *tree, uint64_t ino, uint64_t count);
int lethe_tree_mknod(struct lethe_tree *tree, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
                     const struct lethe_owner *owner, struct stat *attr); /* files, fifos, sockets, devices */
int lethe_tree_mkdir(struct lethe_tree *tree, uint64_t parent, const char *name, mode_t mode,
                     const struct lethe_owner *owner, struct stat *attr);
int lethe_tree_symlink(struct lethe_tree *tree, const char *target, uint64_t parent, const char *name,
                       const struct lethe_owner *owner, struct stat *attr);
int lethe_tree_link(struct lethe_tree *tree, uint64_t ino, uint64_t parent, const char *name, struct stat *attr);
int lethe_tree_unlink(struct lethe_tree *tree, uint64_t parent, const char *name);
int lethe_tree_rmdir(struct lethe_tree *tree, uint64_t parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE (linux/fs.h), else EINVAL. */
int lethe_tree_rename(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                      const char *new_name, unsigned flags);
/* RENAME_WHITEOUT: the same (flags: RENAME_NOREPLACE or 0), and a whiteout of this owner takes the old name. */
int lethe_tree_rename_whiteout(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                               const char *new_name, unsigned flags, const struct lethe_owner *owner);
/* *target is freed by the caller. */
int lethe_tree_readlink(struct lethe_tree *tree, uint64_t ino, char **target);

/* --- attributes --- */
int lethe_tree_getattr(struct lethe_tree *tree, uint64_t ino, struct stat *attr);
#define LETHE_SET_MODE 1u
#define LETHE_SET_UID 2u
#define LETHE_SET_GID 4u
#define LETHE_SET_SIZE 8u
#define LETHE_SET_ATIME 16u
#define LETHE_SET_MTIME 32u
#define LETHE_SET_CTIME 64u
#define LETHE_SET_KILL_SUID 128u /* clear set-id bits as a write or truncation by a non-owner must */
#define LETHE_SET_KILL_SGID 256u /* the set-group-id bit too: the caller is not in the file's group */
/* want: the wished values in the fields that mask names. attr receives the result. */
int lethe_tree_setattr(struct lethe_tree *tree, uint64_t ino, unsigned mask, const struct stat *want,
                       struct stat *attr);

/* --- directories --- */
struct lethe_dirent {
    uint64_t ino;
    uint64_t cookie; /* the offset after this entry; stable while other entries come and go */
    mode_t type;     /* S_IFMT bits */
    const char *name;
};
/*
 * Calls each for "." (cookie 1), ".." (cookie 2) and then the entries with a larger cookie than after, in cookie order,
 * until it returns false. attr is filled when plus is true (then every accepted entry but . and .. counts a kernel
 * reference).
 */
int lethe_tree_readdir(struct lethe_tree *tree, uint64_t ino, uint64_t after, bool plus,
                       bool (*each)(void *context, const struct lethe_dirent *entry, const struct stat *attr),
                       void *context);

/* --- extended attributes --- (user.lethefs.* are not stored: fs/mount answers them) */
/* size 0: *needed alone. ERANGE when too small. */
int lethe_tree_getxattr(struct lethe_tree *tree, uint64_t ino, const char *name, void *value, size_t size,
                        size_t *needed);
int lethe_tree_listxattr(struct lethe_tree *tree, uint64_t ino, char *list, size_t size, size_t *needed);
int lethe_tree_setxattr(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size,
                        int flags);
/*
 * system.posix_acl_access and system.posix_acl_default: an access list sets the mode too, and is stored only where it
 * says more than that; chmod changes it, what is made inherits the default list of its folder. EINVAL for a list that
 * is none. kill_sgid: the caller may not keep the set-group-id bit.
 */
int lethe_tree_set_acl(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size,
                       bool kill_sgid);
int lethe_tree_removexattr(struct lethe_tree *tree, uint64_t ino, const char *name);

/* --- files --- */
struct lethe_file; /* an open file */
int lethe_tree_open_file(struct lethe_tree *tree, uint64_t ino, int flags, struct lethe_file **out);
/*
 * A program is about to read: sets atime where relatime would (and O_NOATIME does not forbid it), as its reads may never
 * come here. true when it was set.
 */
bool lethe_tree_accessed(struct lethe_file *file);
/* O_TMPFILE: a file without a name, open, with what parent hands down. lethe_tree_link may give it one until its close. */
int lethe_tree_tmpfile(struct lethe_tree *tree, uint64_t parent, mode_t mode, int flags, const struct lethe_owner *owner,
                       struct stat *attr, struct lethe_file **out);
void lethe_tree_release_file(struct lethe_file *file);
/* A mark of the caller's, false at first; set before anybody else has the file. */
void lethe_tree_tag(struct lethe_file *file, bool tag);
bool lethe_tree_tag_of(const struct lethe_file *file);
int lethe_tree_read(struct lethe_file *file, uint64_t offset, void *buffer, size_t len, size_t *got);
/* kill_suid as FUSE says. Waits for room in the content store first (ENOSPC when nothing moves). */
int lethe_tree_write(struct lethe_file *file, uint64_t offset, const void *bytes, size_t len, bool kill_suid);
/*
 * The same for pages that the kernel writes back: it keeps mtime and ctime of these bytes itself and sends them with a
 * setattr of its own, which may come before the bytes (syncfs does not wait in between).
 */
int lethe_tree_write_back(struct lethe_file *file, uint64_t offset, const void *bytes, size_t len, bool kill_suid);
int lethe_tree_fallocate(struct lethe_file *file, int mode, uint64_t offset, uint64_t len);
int lethe_tree_seek(struct lethe_file *file, uint64_t offset, int whence, uint64_t *out); /* SEEK_DATA, SEEK_HOLE */
int lethe_tree_copy(struct lethe_file *from, uint64_t from_offset, struct lethe_file *to, uint64_t to_offset,
                    uint64_t len, uint64_t *done);
/* Durable on this device; ends the deferral of an open picture. */
int lethe_tree_fsync(struct lethe_file *file);

/* --- commits and cuts --- */
/* The commit hook: dirty inodes (and live views) into their rows. Under the exclusive gate. */
enum lethe_err lethe_tree_prepare(struct lethe_tree *tree) LETHE_MUST_CHECK;
/*
 * Under the exclusive gate, after lethe_tree_prepare: moves every live view that may go into its inode row and freezes
 * its content for this epoch (lethe_content_freeze). force: also pictures that are open. *deferred counts the rest.
 */
enum lethe_err lethe_tree_cut(struct lethe_tree *tree, uint64_t epoch, bool force, size_t *deferred) LETHE_MUST_CHECK;
/*
 * The content of this id, frozen so far, is in the vault as other bytes, size of them (fidelity lossy): it becomes so
 * here, and the files that show it get its size; times stay. A file that is open for writing goes on with the bytes
 * that it has, as a content of its own. In the gate. changed, once for each file whose bytes are others now, is called
 * with locks held: it only takes note.
 */
enum lethe_err lethe_tree_replace(struct lethe_tree *tree, struct lethe_content *content, uint64_t size,
                                  void (*changed)(void *context, uint64_t ino), void *context) LETHE_MUST_CHECK;
/* Finds files by their content quickly; for trees where lethe_tree_replace will be called. */
enum lethe_err lethe_tree_index_contents(struct lethe_tree *tree) LETHE_MUST_CHECK;
/* The inode's current content id (zero for an empty file) and live size. For status, inspect and xattrs. */
int lethe_tree_content(struct lethe_tree *tree, uint64_t ino, struct lethe_id *content, uint64_t *size);

struct lethe_tree_counts {
    uint64_t inodes;
    uint64_t open_files;
};
void lethe_tree_count(struct lethe_tree *tree, struct lethe_tree_counts *out);
/* Whether somebody has the file open for writing (the kernel may hold bytes of it that were not written here yet). */
bool lethe_tree_has_writers(struct lethe_file *file);

#endif
