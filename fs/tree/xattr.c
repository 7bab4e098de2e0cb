/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes: plain storage by inode and name, in the table xattr. Access control lists are among them, and
 * go with the mode.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/errno.h"
#include "fs/tree/acl.h"
#include "fs/tree/internal.h"

/* The database is locked. The statement stands on the row when *row. */
static enum lethe_err select_value(struct lethe_tree *tree, uint64_t ino, const char *name,
                                   sqlite3_stmt **out, bool *row)
{
    enum lethe_err err =
        lethe_db_statement(tree->db, "SELECT value FROM xattr WHERE ino = ?1 AND name = ?2", out);

    *row = false;
    if (err) {
        *out = NULL;
        return err;
    }
    sqlite3_bind_int64(*out, 1, (sqlite3_int64)ino);
    sqlite3_bind_blob(*out, 2, name, (int)strlen(name), SQLITE_STATIC);
    return lethe_db_step(tree->db, *out, row);
}

/* Attributes have the names that they may have on ext4. */
static int check_name(const char *name)
{
    static const char *const spaces[] = {"user.", "trusted.", "security."};
    size_t len = strlen(name);

    if (len == 0 || len > LETHE_XATTR_NAME_MAX) {
        return -ERANGE;
    }
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        if (strncmp(name, spaces[i], strlen(spaces[i])) == 0) {
            return name[strlen(spaces[i])] ? 0 : -EINVAL;
        }
    }
    return lethe_acl_is(name) ? 0 : -EOPNOTSUPP;
}

enum lethe_err lethe_xattr_open(struct lethe_tree *tree)
{
    sqlite3_stmt *statement;
    bool row = true;
    enum lethe_err err;

    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT 1 FROM xattr LIMIT 1", &statement);
    if (!err) {
        err = lethe_db_step(tree->db, statement, &row);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    atomic_store(&tree->xattrs, row);
    return err;
}

/*
 * Whether an inode has none, for sure. The kernel asks for one of every file that it opens for the first time, and ls for
 * one of every file that it lists: most have none, and most trees have none at all.
 */
static bool has_none(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode;
    bool none = !atomic_load(&tree->xattrs);

    if (!none && (inode = lethe_inode_peek(tree, ino))) {
        pthread_mutex_lock(&inode->lock);
        none = inode->loaded && inode->no_xattrs;
        pthread_mutex_unlock(&inode->lock);
        lethe_inode_put(tree, inode);
    }
    return none;
}

int lethe_tree_getxattr(struct lethe_tree *tree, uint64_t ino, const char *name, void *value, size_t size,
                        size_t *needed)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;
    int error = check_name(name);

    *needed = 0;
    if (error || has_none(tree, ino)) {
        return error ? error : -ENODATA;
    }
    lethe_db_lock(tree->db);
    err = select_value(tree, ino, name, &statement, &row);
    if (err) {
        error = -lethe_errno_of_bytes(err);
    } else if (!row) {
        error = -ENODATA;
    } else {
        *needed = (size_t)sqlite3_column_bytes(statement, 0);
        if (size > 0 && *needed > size) {
            error = -ERANGE;
        } else if (size > 0 && *needed > 0) {
            memcpy(value, sqlite3_column_blob(statement, 0), *needed);
        }
    }
    if (statement) {
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return error;
}

int lethe_tree_listxattr(struct lethe_tree *tree, uint64_t ino, char *list, size_t size, size_t *needed)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = true;

    *needed = 0;
    if (has_none(tree, ino)) {
        return 0;
    }
    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT name FROM xattr WHERE ino = ?1 ORDER BY name", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
        while (!err && row) {
            err = lethe_db_step(tree->db, statement, &row);
            if (!err && row) {
                size_t len = (size_t)sqlite3_column_bytes(statement, 0);

                if (*needed + len + 1 <= size) {
                    if (len > 0) {
                        memcpy(list + *needed, sqlite3_column_blob(statement, 0), len);
                    }
                    list[*needed + len] = '\0';
                }
                *needed += len + 1;
            }
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err ? -lethe_errno_of_bytes(err) : size > 0 && *needed > size ? -ERANGE : 0;
}

enum lethe_err lethe_xattr_store(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value,
                                 size_t size)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(
        tree->db, "INSERT OR REPLACE INTO xattr(ino, name, value) VALUES(?1, ?2, ?3)", &statement);

    if (err) {
        return err;
    }
    atomic_store(&tree->xattrs, true);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_blob(statement, 2, name, (int)strlen(name), SQLITE_STATIC);
    if (size > 0) {
        sqlite3_bind_blob(statement, 3, value, (int)size, SQLITE_STATIC);
    } else {
        sqlite3_bind_zeroblob(statement, 3, 0);
    }
    return lethe_db_run(tree->db, statement);
}

static enum lethe_err delete_value(struct lethe_tree *tree, uint64_t ino, const char *name)
{
    sqlite3_stmt *statement;
    enum lethe_err err =
        lethe_db_statement(tree->db, "DELETE FROM xattr WHERE ino = ?1 AND name = ?2", &statement);

    if (err) {
        return err;
    }
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_blob(statement, 2, name, (int)strlen(name), SQLITE_STATIC);
    return lethe_db_run(tree->db, statement);
}

int lethe_xattr_read(struct lethe_tree *tree, uint64_t ino, const char *name, uint8_t **value, size_t *len)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;
    int error = 0;

    *value = NULL;
    lethe_db_lock(tree->db);
    err = select_value(tree, ino, name, &statement, &row);
    if (err) {
        error = -lethe_errno_of_bytes(err);
    } else if (!row) {
        error = -ENODATA;
    } else {
        *len = (size_t)sqlite3_column_bytes(statement, 0);
        *value = malloc(*len + 1);
        if (!*value) {
            error = -ENOMEM;
        } else if (*len > 0) {
            memcpy(*value, sqlite3_column_blob(statement, 0), *len);
        }
    }
    if (statement) {
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return error;
}

int lethe_xattr_follow_mode(struct lethe_tree *tree, struct lethe_inode *inode, mode_t mode)
{
    uint8_t *acl;
    size_t len;
    int error;

    if (inode->gone || inode->no_xattrs || S_ISLNK(inode->mode)) {
        return 0;
    }
    error = lethe_xattr_read(tree, inode->ino, LETHE_ACL_ACCESS, &acl, &len);
    if (error) {
        return error == -ENODATA ? 0 : error;
    }
    if (lethe_acl_check(acl, len)) {
        lethe_acl_chmod(acl, len, mode);
        lethe_db_lock(tree->db);
        error = -lethe_errno_of_bytes(lethe_xattr_store(tree, inode->ino, LETHE_ACL_ACCESS, acl, len));
        lethe_db_unlock(tree->db);
    }
    free(acl);
    return error;
}

/*
 * What becomes of the row, in the transaction; the database is locked. value NULL: removes. A list that is not there
 * may be removed all the same.
 */
static int change_row(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size,
                      int flags)
{
    sqlite3_stmt *statement;
    bool row;
    enum lethe_err err = select_value(tree, ino, name, &statement, &row);

    if (statement) {
        sqlite3_reset(statement);
    }
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    if (row && (flags & XATTR_CREATE)) {
        return -EEXIST;
    }
    if (!row && (!value || (flags & XATTR_REPLACE))) {
        return lethe_acl_is(name) ? 0 : -ENODATA;
    }
    return -lethe_errno_of_bytes(value ? lethe_xattr_store(tree, ino, name, value, size)
                                       : delete_value(tree, ino, name));
}

/* What an access list makes of the mode. */
struct access {
    mode_t mode; /* permission bits */
    bool kill_sgid;
};

static int check_bearer(const struct lethe_inode *inode, const char *name)
{
    if (S_ISLNK(inode->mode)) {
        return -EOPNOTSUPP;
    }
    return strcmp(name, LETHE_ACL_DEFAULT) == 0 && !S_ISDIR(inode->mode) ? -EACCES : 0;
}

/* access: for an access list, else NULL. */
static int change(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size, int flags,
                  const struct access *access)
{
    struct lethe_inode *inode;
    int error;

    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    lethe_tree_enter(tree);
    error = lethe_inode_acquire(tree, ino, &inode);
    if (!error) {
        error = inode->gone ? -ESTALE : lethe_acl_is(name) ? check_bearer(inode, name) : 0;
        if (!error) {
            inode->no_xattrs = false;
            lethe_db_lock(tree->db);
            error = change_row(tree, ino, name, value, size, flags);
            lethe_db_unlock(tree->db);
        }
        if (!error) {
            inode->no_default = false;
            if (access) {
                inode->mode = (inode->mode & ~(mode_t)0777) | access->mode;
                inode->mode &= access->kill_sgid ? ~(mode_t)S_ISGID : ~(mode_t)0;
            }
            lethe_attr_touch_ctime(tree, inode, lethe_tree_now());
        }
        lethe_inode_release(tree, inode);
    }
    lethe_tree_leave(tree, !error);
    return error;
}

int lethe_tree_setxattr(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value,
                        size_t size, int flags)
{
    int error = check_name(name);

    if (error) {
        return error;
    }
    if (lethe_acl_is(name)) {
        return -EINVAL; /* lethe_tree_set_acl */
    }
    if (size > LETHE_XATTR_SIZE_MAX) {
        return -E2BIG;
    }
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) {
        return -EINVAL;
    }
    return change(tree, ino, name, value ? value : "", size, flags, NULL);
}

int lethe_tree_set_acl(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size,
                       bool kill_sgid)
{
    struct access access = {.kill_sgid = kill_sgid};
    bool extended;

    if (size > LETHE_XATTR_SIZE_MAX || !lethe_acl_check(value, size)) {
        return -EINVAL;
    }
    if (strcmp(name, LETHE_ACL_ACCESS) != 0) {
        return change(tree, ino, name, value, size, 0, NULL);
    }
    access.mode = lethe_acl_mode(value, size, 0, &extended);
    return change(tree, ino, name, extended ? value : NULL, size, 0, &access);
}

int lethe_tree_removexattr(struct lethe_tree *tree, uint64_t ino, const char *name)
{
    int error = check_name(name);

    return error ? error : change(tree, ino, name, NULL, 0, 0, NULL);
}
