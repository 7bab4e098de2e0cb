/* SPDX-License-Identifier: MIT */
/*
 * What the files of fs/tree share. An inode in memory is the truth; its row may lag behind until the next
 * prepare.
 *
 * Lock order (each before the next): gate, names, inode (several: by growing ino), cache, and beside cache:
 * content, store, database. The gate is entered at most once by a thread. Nobody waits for space, bytes of
 * the vault or a commit while holding any of them.
 *
 * gate    shared by whatever changes something, from the first change to the last
 * names   one change of dentries at a time; under it no dentry comes or goes
 * inode   the fields of one struct lethe_inode
 * cache   the hash of inodes, reference counts, the LRU list, the list of dirty inodes
 *
 * Views of a file. size, mtime, ctime and content are live: what programs see. row_* is what the table inode
 * holds or will hold after the next prepare: what the next epoch shows. They differ while working is true,
 * and then the table working holds the live ones after each prepare. A cut makes row_* equal to the live
 * view. A content named by row_content or by the table working of the last commit is abandoned only when
 * neither view names it any more. row_content is never mutable.
 *
 * Death. An inode whose last name goes while it is not open loses its rows at once and lives on in memory
 * ("gone") until the kernel forgets it. One that is open keeps its row with nlink 0 and a row in working, by
 * which lethe_tree_open finds it after a crash.
 */
#ifndef LETHE_FS_TREE_INTERNAL_H
#define LETHE_FS_TREE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/tree/tree.h"

#define LETHE_TREE_ROOT 1u
#define LETHE_NAME_MAX 255u
#define LETHE_XATTR_NAME_MAX 255u
#define LETHE_XATTR_SIZE_MAX 65536u
/* How long an open picture may be left out of cuts, from its first write. */
#define LETHE_TREE_DEFER_NS (60ll * 1000000000ll)
/* How long a writer waits for room while nothing is on its way to the vault, and nothing came free. */
#define LETHE_TREE_STALL_MS 30000u

struct lethe_inode {
    uint64_t ino;

    /* Guarded by cache. */
    struct lethe_inode *hash_next;
    struct lethe_inode *lru_prev, *lru_next;
    struct lethe_inode *dirty_next;
    unsigned refs;
    bool hashed;
    bool in_lru;
    bool in_dirty;  /* on the list of dirty inodes, which holds a reference */
    bool pinned;    /* gone, and the kernel has not forgotten it */
    bool orphan;    /* without a name, and open */
    bool forgotten; /* an orphan that the kernel forgot already */

    pthread_mutex_t lock;
    /* Guarded by lock. */
    bool loaded;
    bool gone;        /* no rows any more */
    bool working;     /* the live view differs from the row */
    bool work_stored; /* the table working has a row for it */
    bool row_dirty;   /* the row must be written by the next prepare */
    bool work_dirty;  /* the same for working */
    bool settled;     /* fsynced, renamed or linked since working began: not deferred any more */
    bool no_blocks;   /* blocks is not known */
    bool linkable;    /* made without a name, which may still get one */
    bool no_default;  /* has no default access control list, for sure */
    bool no_xattrs;   /* has no extended attribute at all, for sure */
    int broken;       /* loading failed: negative errno */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    uint32_t nlink;
    uint64_t rdev; /* of a directory: the inode number of its parent */
    uint64_t size;
    int64_t atime, mtime, ctime;
    struct lethe_id content_id;    /* zero: empty */
    struct lethe_content *content; /* NULL: not loaded, or empty */
    uint64_t row_size;
    int64_t row_mtime, row_ctime;
    struct lethe_id row_content;
    uint64_t blocks; /* 512-byte units of the live content, as it was when it was last in memory */
    int64_t first_write;
    unsigned opens, writers;
    char *target; /* of a symbolic link; NULL until read */
};

struct lethe_file {
    struct lethe_tree *tree;
    struct lethe_inode *inode; /* holds a reference */
    bool writer, no_atime, tag;
    struct lethe_file *previous, *next; /* all open files, guarded by cache */
};

struct lethe_tree {
    struct lethe_tree_options options;
    struct lethe_db *db;

    pthread_mutex_t names;
    uint64_t next_ino, end_ino; /* guarded by names; numbers up to end are reserved in the table config */
    uint64_t next_cookie, end_cookie; /* the same */

    pthread_mutex_t cache;
    struct lethe_inode **hash;
    size_t hash_size, hash_count;
    struct lethe_inode *lru_head, *lru_tail; /* head: used longest ago */
    size_t lru_count, lru_max;
    struct lethe_inode *dirty;
    uint64_t open_files;
    struct lethe_file *files;

    /* Grows whenever an inode's row changes, before the inode may leave the memory: who read a row and finds no inode for
     * it knows by it whether the row is still true. */
    _Atomic uint64_t rows_written;
    int64_t inodes; /* guarded by the database's lock: rows of the table inode, or less than 0: not counted yet */
    atomic_bool xattrs; /* there may be extended attributes */
    atomic_bool unreleased; /* a content that nothing names may be neither released nor listed as dead */

    int64_t (*monotonic)(void); /* nanoseconds; replaced by tests */
};

/* --- inode.c: the cache --- */
int lethe_inode_cache_init(struct lethe_tree *tree, size_t lru_max);
void lethe_inode_cache_release(struct lethe_tree *tree);
/* A reference to the inode in memory, loaded or not; NULL without memory. */
struct lethe_inode *lethe_inode_ref(struct lethe_tree *tree, uint64_t ino);
/* Only when it is in memory already. */
struct lethe_inode *lethe_inode_peek(struct lethe_tree *tree, uint64_t ino);
void lethe_inode_put(struct lethe_tree *tree, struct lethe_inode *inode);
/* Locks and loads the row; on an error nothing is locked. */
int lethe_inode_lock(struct lethe_tree *tree, struct lethe_inode *inode);
void lethe_inode_unlock(struct lethe_inode *inode);
/* ref and lock; release does both the other way round. */
int lethe_inode_acquire(struct lethe_tree *tree, uint64_t ino, struct lethe_inode **out);
void lethe_inode_release(struct lethe_tree *tree, struct lethe_inode *inode);
/* Locks up to count inodes (NULLs and repetitions are skipped) by growing number; all or none. Sorts the
 * array. */
int lethe_inode_lock_all(struct lethe_tree *tree, struct lethe_inode **inodes, size_t count);
void lethe_inode_unlock_all(struct lethe_inode **inodes, size_t count);
/* A new inode: in the hash, locked, referenced, loaded; its row is the caller's to make (or to fail). */
struct lethe_inode *lethe_inode_new(struct lethe_tree *tree, uint64_t ino);
/* Takes it out of the hash: it never came to be. Locked by the caller. */
void lethe_inode_fail(struct lethe_tree *tree, struct lethe_inode *inode, int error);
/* The row went; kept for the kernel until it forgets. Locked by the caller. */
void lethe_inode_mark_gone(struct lethe_tree *tree, struct lethe_inode *inode);
/* The last name went while it was open. Locked by the caller. */
void lethe_inode_mark_orphan(struct lethe_tree *tree, struct lethe_inode *inode);
/*
 * It has a name again (nlink says so). The table working may hold a row for it, which now must tell the live view. In the
 * gate, locked by the caller.
 */
void lethe_inode_revive(struct lethe_tree *tree, struct lethe_inode *inode);
/* On the list for prepare. row, work: what is dirty. Locked by the caller, who is in the gate. */
void lethe_inode_dirty(struct lethe_tree *tree, struct lethe_inode *inode, bool row, bool work);
/* The live content, loaded when need be (NULL for an empty file). Borrowed. Locked by the caller. */
int lethe_inode_content(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_content **out);
/* Lets go of the loaded content, remembering its blocks. Locked by the caller. */
void lethe_inode_drop_content(struct lethe_inode *inode);

/* --- rows.c: the statements --- (no lock of the database held by the caller unless said so) */
struct lethe_row {
    uint64_t ino, rdev, size;
    uint32_t mode, uid, gid, nlink;
    int64_t atime, mtime, ctime;
    struct lethe_id content;
    bool working;
    uint64_t live_size;
    int64_t live_mtime, live_ctime;
    struct lethe_id live_content;
};
#define LETHE_ROW_COLUMNS                                                                                    \
    "i.ino, i.mode, i.uid, i.gid, i.nlink, i.rdev, i.size, i.atime, i.mtime, i.ctime, i.content,"            \
    " w.ino, w.size, w.mtime, w.ctime, w.content"
/* Reads LETHE_ROW_COLUMNS from column first on. The database is locked. */
void lethe_row_read(sqlite3_stmt *statement, int first, struct lethe_row *out);
enum lethe_err lethe_row_load(struct lethe_db *db, uint64_t ino, struct lethe_row *out) LETHE_MUST_CHECK;
/* With the database locked: */
/* Ends what lethe_db_begin began: kept when err is LETHE_OK, else taken back. Returns err, or what went
 * wrong. */
enum lethe_err lethe_row_end(struct lethe_db *db, enum lethe_err err) LETHE_MUST_CHECK;
enum lethe_err lethe_row_insert(struct lethe_db *db, const struct lethe_inode *inode,
                                const char *target) LETHE_MUST_CHECK;
enum lethe_err lethe_row_update(struct lethe_db *db, const struct lethe_inode *inode) LETHE_MUST_CHECK;
enum lethe_err lethe_row_delete(struct lethe_db *db,
                                uint64_t ino) LETHE_MUST_CHECK; /* inode, working and xattrs */
enum lethe_err lethe_row_work_store(struct lethe_db *db, const struct lethe_inode *inode) LETHE_MUST_CHECK;
enum lethe_err lethe_row_work_delete(struct lethe_db *db, uint64_t ino) LETHE_MUST_CHECK;

/* --- tree.c --- */
int64_t
lethe_tree_now(void); /* wall clock, of the kernel's coarse kind, so that ours never runs ahead of it */
void lethe_tree_enter(struct lethe_tree *tree);
void lethe_tree_leave(struct lethe_tree *tree, bool changed);
bool lethe_tree_writable(const struct lethe_tree *tree);
/* Rows of inodes came or went. The database is locked. */
void lethe_tree_counted(struct lethe_tree *tree, int more);
/* Under names, outside the database lock. */
int lethe_tree_next_ino(struct lethe_tree *tree, uint64_t *out);
int lethe_tree_next_cookie(struct lethe_tree *tree, uint64_t *out);
/* Removes the rows and contents of an inode without names that is not open. In the gate, locked by the
 * caller. */
int lethe_tree_reclaim(struct lethe_tree *tree, struct lethe_inode *inode);
/* Abandons a content by id; nothing for a zero id. Errors are logged by the store and leave the content
 * behind. */
void lethe_tree_abandon(struct lethe_tree *tree, const struct lethe_id *id, uint64_t size);

/* --- attr.c --- */
int64_t lethe_attr_from_timespec(const struct timespec *time); /* saturates: years 1677 to 2262 */
/*
 * Of a row that was just read, without the inode in memory where that tells no more; where it is there, it is the truth.
 * written: the tree's rows_written from before the row was read.
 */
void lethe_attr_stat_found(struct lethe_tree *tree, const struct lethe_row *row, uint64_t written, struct stat *attr);
void lethe_attr_stat(struct lethe_tree *tree, struct lethe_inode *inode, struct stat *attr);
/* Sets ctime of both views, and marks the row. Locked by the caller. */
void lethe_attr_touch_ctime(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now);
/* mtime and ctime of a directory whose entries changed. */
void lethe_attr_touch_dir(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now);
/* Bytes changed: live mtime and ctime. */
void lethe_attr_touch_bytes(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now);
/* Clears set-user-id, and set-group-id where the group may execute, or anyhow. */
void lethe_attr_kill(struct lethe_inode *inode, bool sgid);
/* Sets atime as relatime says (true: it did); enters the gate itself; nothing may be locked. */
bool lethe_attr_accessed(struct lethe_tree *tree, struct lethe_inode *inode);

/* --- xattr.c --- */
/* A copy of the value, for free(); -ENODATA. Takes the database lock. */
int lethe_xattr_read(struct lethe_tree *tree, uint64_t ino, const char *name, uint8_t **value, size_t *len);
/* Whether the table has rows; before anything else looks. */
enum lethe_err lethe_xattr_open(struct lethe_tree *tree) LETHE_MUST_CHECK;
/* The database is locked. */
enum lethe_err lethe_xattr_store(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value,
                                 size_t size) LETHE_MUST_CHECK;
/* Brings the access control list in line with a new mode. The inode is locked, the gate entered. */
int lethe_xattr_follow_mode(struct lethe_tree *tree, struct lethe_inode *inode, mode_t mode);

/* --- bytes.c --- */
/*
 * The size of a file. In the gate, locked by the caller. Returns 1 with absent filled when bytes must be
 * brought first (outside all locks).
 */
int lethe_bytes_resize(struct lethe_tree *tree, struct lethe_inode *inode, uint64_t size,
                       struct lethe_absent *absent);
/* Brings absent bytes. No locks, no gate. */
int lethe_bytes_hydrate(struct lethe_tree *tree, const struct lethe_absent *absent);

#endif
