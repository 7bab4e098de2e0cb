/* SPDX-License-Identifier: MIT */
/*
 * Listing. Entries are read in batches by cookie, which only grows, so a position stays good whatever comes
 * and goes. The callback runs without any lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

#define BATCH 128

struct entry {
    uint64_t ino, cookie;
    mode_t type;
    char name[LETHE_NAME_MAX + 1];
    struct lethe_row row;
};

static void read_entry(sqlite3_stmt *statement, bool plus, struct entry *out)
{
    const void *name = sqlite3_column_blob(statement, 0);
    int len = sqlite3_column_bytes(statement, 0);

    len = !name || len < 0 ? 0 : len > (int)LETHE_NAME_MAX ? (int)LETHE_NAME_MAX : len;
    if (len > 0) {
        memcpy(out->name, name, (size_t)len);
    }
    out->name[len] = '\0';
    out->cookie = (uint64_t)sqlite3_column_int64(statement, 1);
    out->ino = (uint64_t)sqlite3_column_int64(statement, 2);
    out->type = (mode_t)sqlite3_column_int64(statement, 3) & S_IFMT;
    if (plus) {
        lethe_row_read(statement, 4, &out->row);
    }
}

static enum lethe_err read_batch(struct lethe_tree *tree, uint64_t ino, uint64_t after, bool plus,
                                 struct entry *entries, size_t *count)
{
    static const char with_rows[] = "SELECT d.name, d.cookie, d.ino, i.mode, " LETHE_ROW_COLUMNS
                                    " FROM dentry d JOIN inode i ON i.ino = d.ino"
                                    " LEFT JOIN working w ON w.ino = d.ino WHERE d.parent = ?1 AND d.cookie "
                                    "> ?2 ORDER BY d.cookie LIMIT 128";
    static const char plain[] =
        "SELECT d.name, d.cookie, d.ino, i.mode FROM dentry d JOIN inode i ON i.ino = d.ino"
        " WHERE d.parent = ?1 AND d.cookie > ?2 ORDER BY d.cookie LIMIT 128";
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = true;

    *count = 0;
    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, plus ? with_rows : plain, &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)after);
        while (!err && row && *count < BATCH) {
            err = lethe_db_step(tree->db, statement, &row);
            if (!err && row) {
                read_entry(statement, plus, &entries[(*count)++]);
            }
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err;
}

/* . and .. */
static bool list_dots(const struct lethe_inode *inode, uint64_t after,
                      bool (*each)(void *context, const struct lethe_dirent *entry, const struct stat *attr),
                      void *context)
{
    const struct lethe_dirent dots[2] = {{.ino = inode->ino, .cookie = 1, .type = S_IFDIR, .name = "."},
                                         {.ino = inode->rdev, .cookie = 2, .type = S_IFDIR, .name = ".."}};

    for (size_t i = 0; i < 2; i++) {
        const struct stat attr = {.st_ino = dots[i].ino, .st_mode = S_IFDIR};

        if (dots[i].cookie > after && !each(context, &dots[i], &attr)) {
            return false;
        }
    }
    return true;
}

int lethe_tree_readdir(struct lethe_tree *tree, uint64_t ino, uint64_t after, bool plus,
                       bool (*each)(void *context, const struct lethe_dirent *entry, const struct stat *attr),
                       void *context)
{
    struct entry *entries = NULL;
    struct lethe_inode *inode, dots;
    size_t count = BATCH;
    bool more;
    int error = lethe_inode_acquire(tree, ino, &inode);

    if (error) {
        return error;
    }
    if (!S_ISDIR(inode->mode)) {
        lethe_inode_release(tree, inode);
        return -ENOTDIR;
    }
    dots = (struct lethe_inode){.ino = ino, .rdev = inode->rdev};
    lethe_inode_unlock(inode);
    if (after < 2) {
        (void)lethe_attr_accessed(tree, inode);
    }
    more = list_dots(&dots, after, each, context);
    if (more) {
        entries = malloc(BATCH * sizeof(*entries));
        error = entries ? 0 : -ENOMEM;
    }
    while (!error && more && count == BATCH) {
        uint64_t written = atomic_load(&tree->rows_written);

        error = -lethe_errno_of_bytes(read_batch(tree, ino, after, plus, entries, &count));
        for (size_t i = 0; !error && more && i < count; i++) {
            struct lethe_dirent entry = {.ino = entries[i].ino,
                                         .cookie = entries[i].cookie,
                                         .type = entries[i].type,
                                         .name = entries[i].name};
            struct stat attr = {.st_ino = entry.ino, .st_mode = entry.type};

            if (plus) {
                lethe_attr_stat_found(tree, &entries[i].row, written, &attr);
            }
            more = each(context, &entry, &attr);
            after = entry.cookie;
        }
    }
    free(entries);
    lethe_inode_put(tree, inode);
    return error;
}
