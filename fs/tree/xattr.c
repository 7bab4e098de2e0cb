/* SPDX-License-Identifier: MIT */
/* Extended attributes: plain storage by inode and name, in the table xattr. */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/errno.h"
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

/*
 * Access control lists are refused for now: stored as plain bytes they would say one thing and the mode another.
 * Programs then fall back to the mode (cp, tar, rsync do).
 */
static int check_name(const char *name)
{
    size_t len = strlen(name);

    if (strncmp(name, "system.posix_acl_", 17) == 0) {
        return -EOPNOTSUPP;
    }
    return len == 0 || len > LETHE_XATTR_NAME_MAX ? -ERANGE : 0;
}

int lethe_tree_getxattr(struct lethe_tree *tree, uint64_t ino, const char *name, void *value, size_t size,
                        size_t *needed)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;
    int error = check_name(name);

    *needed = 0;
    if (error) {
        return error;
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

static enum lethe_err store_value(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value,
                                  size_t size)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(
        tree->db, "INSERT OR REPLACE INTO xattr(ino, name, value) VALUES(?1, ?2, ?3)", &statement);

    if (err) {
        return err;
    }
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

/* value NULL: removes. */
static int change(struct lethe_tree *tree, uint64_t ino, const char *name, const void *value, size_t size,
                  int flags)
{
    struct lethe_inode *inode;
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row;
    int error;

    if (!lethe_tree_writable(tree)) {
        return -EROFS;
    }
    lethe_tree_enter(tree);
    error = lethe_inode_acquire(tree, ino, &inode);
    if (!error && inode->gone) {
        error = -ESTALE;
        lethe_inode_release(tree, inode);
        inode = NULL;
    }
    if (!error) {
        lethe_db_lock(tree->db);
        err = select_value(tree, ino, name, &statement, &row);
        if (statement) {
            sqlite3_reset(statement);
        }
        if (err) {
            error = -lethe_errno_of_bytes(err);
        } else if (row && (flags & XATTR_CREATE)) {
            error = -EEXIST;
        } else if (!row && (!value || (flags & XATTR_REPLACE))) {
            error = -ENODATA;
        } else {
            error = -lethe_errno_of_bytes(value ? store_value(tree, ino, name, value, size)
                                                : delete_value(tree, ino, name));
        }
        lethe_db_unlock(tree->db);
        if (!error) {
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
    if (size > LETHE_XATTR_SIZE_MAX) {
        return -E2BIG;
    }
    if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) || flags == (XATTR_CREATE | XATTR_REPLACE)) {
        return -EINVAL;
    }
    return change(tree, ino, name, value ? value : "", size, flags);
}

int lethe_tree_removexattr(struct lethe_tree *tree, uint64_t ino, const char *name)
{
    int error = check_name(name);

    return error ? error : change(tree, ino, name, NULL, 0, 0);
}
