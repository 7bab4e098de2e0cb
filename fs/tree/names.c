/* SPDX-License-Identifier: MIT */
/*
 * Names: lookup, making, linking and removing. Each change is one savepoint of statements, then the changes
 * in memory, which cannot fail. Parents' times and link counts reach their rows with the next prepare.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/acl.h"
#include "fs/tree/internal.h"
#include "fs/tree/names.h"

int lethe_name_check(const char *name)
{
    size_t len = strlen(name);

    if (len > LETHE_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (len == 0) {
        return -ENOENT;
    }
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    return 0;
}

static void bind_name(sqlite3_stmt *statement, int index, const char *name)
{
    sqlite3_bind_blob(statement, index, name, (int)strlen(name), SQLITE_STATIC);
}

int lethe_name_find(struct lethe_tree *tree, uint64_t parent, const char *name, struct lethe_name *out)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = false;

    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT ino, cookie FROM dentry WHERE parent = ?1 AND name = ?2",
                             &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)parent);
        bind_name(statement, 2, name);
        err = lethe_db_step(tree->db, statement, &row);
        if (!err && row) {
            out->ino = (uint64_t)sqlite3_column_int64(statement, 0);
            out->cookie = (uint64_t)sqlite3_column_int64(statement, 1);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err ? -lethe_errno_of_bytes(err) : row ? 0 : -ENOENT;
}

enum lethe_err lethe_name_put(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t ino,
                              uint64_t cookie)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(
        tree->db, "INSERT OR REPLACE INTO dentry(parent, name, ino, cookie) VALUES(?1, ?2, ?3, ?4)",
        &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)parent);
    bind_name(statement, 2, name);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)ino);
    sqlite3_bind_int64(statement, 4, (sqlite3_int64)cookie);
    return lethe_db_run(tree->db, statement);
}

enum lethe_err lethe_name_delete(struct lethe_tree *tree, uint64_t parent, const char *name)
{
    sqlite3_stmt *statement;
    enum lethe_err err =
        lethe_db_statement(tree->db, "DELETE FROM dentry WHERE parent = ?1 AND name = ?2", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)parent);
    bind_name(statement, 2, name);
    return lethe_db_run(tree->db, statement);
}

int lethe_name_empty(struct lethe_tree *tree, uint64_t ino)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = false;

    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT 1 FROM dentry WHERE parent = ?1 LIMIT 1", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
        err = lethe_db_step(tree->db, statement, &row);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err ? -lethe_errno_of_bytes(err) : row ? -ENOTEMPTY : 0;
}

int lethe_name_parent(const struct lethe_inode *parent)
{
    if (!S_ISDIR(parent->mode)) {
        return -ENOTDIR;
    }
    return parent->gone || parent->nlink == 0 ? -ENOENT : 0;
}

int lethe_tree_lookup(struct lethe_tree *tree, uint64_t parent, const char *name, struct stat *attr)
{
    sqlite3_stmt *statement;
    struct lethe_row found;
    enum lethe_err err;
    uint64_t written = atomic_load(&tree->rows_written);
    bool row = false;

    if (strlen(name) > LETHE_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db,
                             "SELECT " LETHE_ROW_COLUMNS " FROM dentry d JOIN inode i ON i.ino = d.ino"
                             " LEFT JOIN working w ON w.ino = d.ino WHERE d.parent = ?1 AND d.name = ?2",
                             &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)parent);
        bind_name(statement, 2, name);
        err = lethe_db_step(tree->db, statement, &row);
        if (!err && row) {
            lethe_row_read(statement, 0, &found);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    if (err || !row) {
        return err ? -lethe_errno_of_bytes(err) : -ENOENT;
    }
    lethe_attr_stat_found(tree, &found, written, attr);
    return 0;
}

int lethe_tree_lookup_number(struct lethe_tree *tree, uint64_t ino, bool parent, struct stat *attr)
{
    int error = lethe_tree_getattr(tree, ino, attr);

    if (!error && parent) {
        struct lethe_inode *inode;

        error = S_ISDIR(attr->st_mode) ? lethe_inode_acquire(tree, ino, &inode) : -ENOTDIR;
        if (error) {
            return error;
        }
        ino = inode->rdev;
        lethe_inode_release(tree, inode);
        error = lethe_tree_getattr(tree, ino, attr);
    }
    return !error && attr->st_nlink == 0 ? -ESTALE : error;
}

/* What is made: everything but the number. */
struct birth {
    mode_t mode;
    dev_t rdev;
    const char *target;
    const struct lethe_owner *owner;
};

/* The lists of something new; NULL: none. Both have the length of the folder's default list. */
struct inheritance {
    uint8_t *access, *folder;
    size_t len;
};

static void inheritance_release(struct inheritance *lists)
{
    free(lists->access);
    free(lists->folder);
}

/* Sets the mode of what is made in parent: by its default list, or by the umask. */
static int inherit(struct lethe_tree *tree, struct lethe_inode *parent, const struct birth *birth, mode_t *mode,
                   struct inheritance *lists)
{
    uint8_t *acl = NULL;
    size_t len = 0;
    bool extended;
    int error = parent->no_default ? -ENODATA : 0;

    *lists = (struct inheritance){0};
    if (S_ISLNK(*mode)) {
        return 0;
    }
    if (!error) {
        error = lethe_xattr_read(tree, parent->ino, LETHE_ACL_DEFAULT, &acl, &len);
        parent->no_default = error == -ENODATA;
    }
    if (error == -ENODATA || (!error && !lethe_acl_check(acl, len))) {
        *mode &= ~(birth->owner->umask & 0777);
        free(acl);
        return 0;
    }
    if (error) {
        return error;
    }
    lists->len = len;
    if (S_ISDIR(*mode)) {
        lists->folder = malloc(len);
        if (!lists->folder) {
            free(acl);
            return -ENOMEM;
        }
        memcpy(lists->folder, acl, len);
    }
    *mode = lethe_acl_inherit(acl, len, *mode, &extended);
    if (extended) {
        lists->access = acl;
    } else {
        free(acl);
    }
    return 0;
}

static enum lethe_err insert(struct lethe_tree *tree, uint64_t parent, const char *name, uint64_t cookie,
                             struct lethe_inode *inode, const char *target, const struct inheritance *lists)
{
    enum lethe_err err;

    lethe_db_lock(tree->db);
    err = lethe_db_begin(tree->db);
    if (!err) {
        err = lethe_row_insert(tree->db, inode, target);
        if (!err && name) {
            err = lethe_name_put(tree, parent, name, inode->ino, cookie);
        }
        if (!err && lists->access) {
            err = lethe_xattr_store(tree, inode->ino, LETHE_ACL_ACCESS, lists->access, lists->len);
        }
        if (!err && lists->folder) {
            err = lethe_xattr_store(tree, inode->ino, LETHE_ACL_DEFAULT, lists->folder, lists->len);
        }
        err = lethe_row_end(tree->db, err);
    }
    if (!err) {
        lethe_tree_counted(tree, 1);
    }
    lethe_db_unlock(tree->db);
    return err;
}

/* In the gate, names and the parent locked. name NULL: none; *out is the inode then, referenced. */
static int bear(struct lethe_tree *tree, struct lethe_inode *parent, const char *name,
                const struct birth *birth, struct stat *attr, struct lethe_inode **out)
{
    struct lethe_name found;
    struct inheritance lists = {0};
    struct lethe_inode *inode;
    uint64_t ino, cookie = 0;
    mode_t mode = birth->mode;
    enum lethe_err err;
    int64_t now = lethe_tree_now();
    int error = lethe_name_parent(parent);

    if (!error && name) {
        error = lethe_name_find(tree, parent->ino, name, &found);
        error = error == -ENOENT ? 0 : error ? error : -EEXIST;
    }
    if (!error) {
        error = lethe_tree_next_ino(tree, &ino);
    }
    if (!error && name) {
        error = lethe_tree_next_cookie(tree, &cookie);
    }
    if (!error) {
        error = inherit(tree, parent, birth, &mode, &lists);
    }
    if (error) {
        return error;
    }
    inode = lethe_inode_new(tree, ino);
    if (!inode) {
        inheritance_release(&lists);
        return -ENOMEM;
    }
    inode->mode = mode;
    inode->no_default = !lists.folder;
    inode->no_xattrs = !lists.folder && !lists.access;
    inode->uid = birth->owner->uid;
    inode->gid = birth->owner->gid;
    if (parent->mode & S_ISGID) {
        inode->gid = parent->gid;
        inode->mode |= S_ISDIR(birth->mode) ? S_ISGID : 0;
    }
    inode->nlink = !name ? 0 : S_ISDIR(birth->mode) ? 2 : 1;
    inode->rdev = S_ISDIR(birth->mode) ? parent->ino : (uint64_t)birth->rdev;
    inode->size = inode->row_size = birth->target ? strlen(birth->target) : 0;
    inode->atime = inode->mtime = inode->ctime = inode->row_mtime = inode->row_ctime = now;
    err = insert(tree, parent->ino, name, cookie, inode, birth->target, &lists);
    inheritance_release(&lists);
    if (err) {
        error = -lethe_errno_of_bytes(err);
        lethe_inode_fail(tree, inode, error);
    } else if (name) {
        parent->nlink += S_ISDIR(birth->mode) ? 1 : 0;
        lethe_attr_touch_dir(tree, parent, now);
        lethe_attr_stat(tree, inode, attr);
    } else {
        inode->linkable = true;
        lethe_inode_mark_orphan(tree, inode);
        lethe_inode_dirty(tree, inode, true, true); /* the table working tells the next run of it */
        lethe_attr_stat(tree, inode, attr);
        lethe_inode_unlock(inode);
        *out = inode;
        return 0;
    }
    lethe_inode_release(tree, inode);
    return error;
}

static int make(struct lethe_tree *tree, uint64_t parent, const char *name, const struct birth *birth,
                struct stat *attr, struct lethe_inode **out)
{
    struct lethe_inode *directory;
    int error = name ? lethe_name_check(name) : 0;

    if (error) {
        return error == -EINVAL ? -EEXIST : error;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    lethe_tree_enter(tree);
    pthread_mutex_lock(&tree->names);
    error = lethe_inode_acquire(tree, parent, &directory);
    if (!error) {
        error = bear(tree, directory, name, birth, attr, out);
        lethe_inode_release(tree, directory);
    }
    pthread_mutex_unlock(&tree->names);
    lethe_tree_leave(tree, !error);
    return error;
}

int lethe_tree_mknod(struct lethe_tree *tree, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
                     const struct lethe_owner *owner, struct stat *attr)
{
    struct birth birth = {.mode = mode & (S_IFMT | 07777), .owner = owner};

    if ((mode & S_IFMT) == 0) {
        birth.mode |= S_IFREG;
    }
    if (S_ISDIR(birth.mode) || S_ISLNK(birth.mode)) {
        return -EINVAL;
    }
    birth.rdev = S_ISCHR(birth.mode) || S_ISBLK(birth.mode) ? rdev : 0;
    return make(tree, parent, name, &birth, attr, NULL);
}

int lethe_tree_tmpfile(struct lethe_tree *tree, uint64_t parent, mode_t mode, int flags, const struct lethe_owner *owner,
                       struct stat *attr, struct lethe_file **out)
{
    struct birth birth = {.mode = S_IFREG | (mode & 07777), .owner = owner};
    struct lethe_inode *inode = NULL;
    int error = make(tree, parent, NULL, &birth, attr, &inode);

    *out = NULL;
    if (error) {
        return error;
    }
    error = lethe_tree_open_file(tree, inode->ino, flags, out);
    if (error) { /* the next lethe_tree_open finds it, should this fail too */
        lethe_tree_enter(tree);
        pthread_mutex_lock(&inode->lock);
        (void)!lethe_tree_reclaim(tree, inode);
        pthread_mutex_unlock(&inode->lock);
        lethe_tree_leave(tree, true);
        lethe_tree_forget(tree, inode->ino, 1);
    }
    lethe_inode_put(tree, inode);
    return error;
}

int lethe_tree_mkdir(struct lethe_tree *tree, uint64_t parent, const char *name, mode_t mode,
                     const struct lethe_owner *owner, struct stat *attr)
{
    struct birth birth = {.mode = S_IFDIR | (mode & 07777), .owner = owner};

    return make(tree, parent, name, &birth, attr, NULL);
}

int lethe_tree_symlink(struct lethe_tree *tree, const char *target, uint64_t parent, const char *name,
                       const struct lethe_owner *owner, struct stat *attr)
{
    struct birth birth = {.mode = S_IFLNK | 0777, .target = target, .owner = owner};

    if (target[0] == '\0') {
        return -ENOENT;
    }
    if (strlen(target) >= 4096) {
        return -ENAMETOOLONG;
    }
    return make(tree, parent, name, &birth, attr, NULL);
}

int lethe_tree_readlink(struct lethe_tree *tree, uint64_t ino, char **target)
{
    sqlite3_stmt *statement;
    struct lethe_inode *inode;
    enum lethe_err err;
    bool row = false;
    int error = lethe_inode_acquire(tree, ino, &inode);

    *target = NULL;
    if (error) {
        return error;
    }
    if (!S_ISLNK(inode->mode)) {
        error = -EINVAL;
    } else if (!inode->target && inode->gone) {
        error = -ESTALE;
    } else if (!inode->target) {
        lethe_db_lock(tree->db);
        err = lethe_db_statement(tree->db, "SELECT target FROM inode WHERE ino = ?1", &statement);
        if (!err) {
            sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
            err = lethe_db_step(tree->db, statement, &row);
            if (!err && row && sqlite3_column_bytes(statement, 0) > 0) {
                inode->target =
                    strndup(sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0));
            }
            sqlite3_reset(statement);
        }
        lethe_db_unlock(tree->db);
        error = err ? -lethe_errno_of_bytes(err) : inode->target ? 0 : -EIO;
    }
    if (!error) {
        *target = strdup(inode->target);
        error = *target ? 0 : -ENOMEM;
    }
    lethe_inode_unlock(inode);
    if (!error) {
        (void)lethe_attr_accessed(tree, inode);
    }
    lethe_inode_put(tree, inode);
    return error;
}

/* In the gate, names and both locked. */
static int add_link(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_inode *parent,
                    const char *name, struct stat *attr)
{
    struct lethe_name found;
    uint64_t cookie;
    enum lethe_err err;
    int64_t now = lethe_tree_now();
    int error = lethe_name_parent(parent);

    if (!error) {
        error = S_ISDIR(inode->mode)               ? -EPERM
                : inode->gone || (inode->nlink == 0 && !inode->linkable) ? -ENOENT
                : inode->nlink == UINT32_MAX       ? -EMLINK
                                                   : 0;
    }
    if (!error) {
        error = lethe_name_find(tree, parent->ino, name, &found);
        error = error == -ENOENT ? 0 : error ? error : -EEXIST;
    }
    if (!error) {
        error = lethe_tree_next_cookie(tree, &cookie);
    }
    if (error) {
        return error;
    }
    lethe_db_lock(tree->db);
    err = lethe_name_put(tree, parent->ino, name, inode->ino, cookie);
    lethe_db_unlock(tree->db);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    if (inode->nlink++ == 0) {
        inode->linkable = false;
        lethe_inode_revive(tree, inode);
    }
    inode->settled = true;
    lethe_attr_touch_ctime(tree, inode, now);
    lethe_attr_touch_dir(tree, parent, now);
    lethe_attr_stat(tree, inode, attr);
    return 0;
}

int lethe_tree_link(struct lethe_tree *tree, uint64_t ino, uint64_t parent, const char *name,
                    struct stat *attr)
{
    struct lethe_inode *inode, *directory, *both[2];
    int error = lethe_name_check(name);

    if (error) {
        return error == -EINVAL ? -EEXIST : error;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    lethe_tree_enter(tree);
    pthread_mutex_lock(&tree->names);
    inode = both[0] = lethe_inode_ref(tree, ino);
    directory = both[1] = lethe_inode_ref(tree, parent);
    error = inode && directory ? lethe_inode_lock_all(tree, both, 2) : -ENOMEM;
    if (!error) {
        error = add_link(tree, inode, directory, name, attr);
        lethe_inode_unlock_all(both, 2);
    }
    lethe_inode_put(tree, inode);
    lethe_inode_put(tree, directory);
    pthread_mutex_unlock(&tree->names);
    lethe_tree_leave(tree, !error);
    return error;
}

bool lethe_name_dies(const struct lethe_inode *inode)
{
    return (S_ISDIR(inode->mode) || inode->nlink <= 1) && inode->opens == 0;
}

void lethe_name_lost(struct lethe_tree *tree, struct lethe_inode *inode, int64_t now)
{
    struct lethe_id live = inode->content_id, row = inode->row_content;
    bool dies = lethe_name_dies(inode);

    inode->nlink = S_ISDIR(inode->mode) || inode->nlink == 0 ? 0 : inode->nlink - 1;
    if (!dies) {
        if (inode->nlink == 0) {
            lethe_inode_mark_orphan(tree, inode);
        }
        lethe_attr_touch_ctime(tree, inode, now);
        return;
    }
    inode->ctime = now;
    lethe_content_put(inode->content);
    inode->content = NULL;
    inode->content_id = inode->row_content = (struct lethe_id){0};
    lethe_tree_abandon(tree, &live, inode->size);
    if (!lethe_id_equal(&row, &live)) {
        lethe_tree_abandon(tree, &row, inode->row_size);
    }
    lethe_inode_mark_gone(tree, inode);
}

/* In the gate, names and both locked. */
static int take_name(struct lethe_tree *tree, struct lethe_inode *parent, const char *name,
                     struct lethe_inode *inode, bool directory)
{
    enum lethe_err err;
    int64_t now = lethe_tree_now();
    int error = lethe_name_parent(parent);

    if (!error && directory != S_ISDIR(inode->mode)) {
        error = directory ? -ENOTDIR : -EISDIR;
    }
    if (!error && directory) {
        error = lethe_name_empty(tree, inode->ino);
    }
    if (error) {
        return error;
    }
    lethe_db_lock(tree->db);
    err = lethe_db_begin(tree->db);
    if (!err) {
        err = lethe_name_delete(tree, parent->ino, name);
        if (!err && lethe_name_dies(inode)) {
            err = lethe_row_delete(tree->db, inode->ino);
        }
        err = lethe_row_end(tree->db, err);
    }
    if (!err && lethe_name_dies(inode)) {
        lethe_tree_counted(tree, -1);
    }
    lethe_db_unlock(tree->db);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    parent->nlink -= directory ? 1 : 0;
    lethe_attr_touch_dir(tree, parent, now);
    lethe_name_lost(tree, inode, now);
    return 0;
}

static int remove_name(struct lethe_tree *tree, uint64_t parent, const char *name, bool directory)
{
    struct lethe_inode *container = NULL, *inode = NULL, *both[2];
    struct lethe_name found;
    int error = lethe_name_check(name);

    if (error) {
        return error;
    }
    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    lethe_tree_enter(tree);
    pthread_mutex_lock(&tree->names);
    error = lethe_name_find(tree, parent, name, &found);
    if (!error) {
        container = both[0] = lethe_inode_ref(tree, parent);
        inode = both[1] = lethe_inode_ref(tree, found.ino);
        error = container && inode ? lethe_inode_lock_all(tree, both, 2) : -ENOMEM;
        if (!error) {
            error = take_name(tree, container, name, inode, directory);
            lethe_inode_unlock_all(both, 2);
        }
        lethe_inode_put(tree, container);
        lethe_inode_put(tree, inode);
    }
    pthread_mutex_unlock(&tree->names);
    lethe_tree_leave(tree, !error);
    return error;
}

int lethe_tree_unlink(struct lethe_tree *tree, uint64_t parent, const char *name)
{
    return remove_name(tree, parent, name, false);
}

int lethe_tree_rmdir(struct lethe_tree *tree, uint64_t parent, const char *name)
{
    return remove_name(tree, parent, name, true);
}
