/* SPDX-License-Identifier: MIT */
/*
 * Contents whose bytes become others when they are sealed. The row of a file that shows such a content says its old
 * size until then, in the vault's journal even for one epoch longer: whoever replays a journal sets sizes right from
 * the table content (fs/vault/replay.c).
 */
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

#define AT_ONCE 16 /* files of one content; there is one, but for what a crash may have left */

enum lethe_err lethe_tree_index_contents(struct lethe_tree *tree)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(tree->db);
    err = lethe_db_statement(
        tree->db, "CREATE INDEX IF NOT EXISTS inode_content ON inode(content) WHERE content IS NOT NULL", &statement);
    err = err ? err : lethe_db_run(tree->db, statement);
    lethe_db_unlock(tree->db);
    return err;
}

static enum lethe_err find(struct lethe_tree *tree, const struct lethe_id *id, uint64_t inos[AT_ONCE], size_t *count)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = true;

    *count = 0;
    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT ino FROM inode WHERE content = ? LIMIT 16", &statement);
    if (!err) {
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
        while (!(err = lethe_db_step(tree->db, statement, &row)) && row && *count < AT_ONCE) {
            inos[(*count)++] = (uint64_t)sqlite3_column_int64(statement, 0);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err;
}

/* Whoever writes goes on with the bytes that are there. */
static enum lethe_err part(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_content *content, *own;
    int error = lethe_inode_content(tree, inode, &content);
    enum lethe_err err = error ? lethe_err_from_errno(-error) : lethe_content_clone(content, &own);

    if (err) {
        return err;
    }
    lethe_content_put(inode->content);
    inode->content = own;
    inode->content_id = *lethe_content_id(own);
    if (!inode->working) {
        inode->working = true;
        inode->first_write = tree->monotonic();
    }
    return LETHE_OK;
}

static enum lethe_err lock_error(int error)
{
    return error ? lethe_err_from_errno(-error) : LETHE_OK;
}

enum lethe_err lethe_tree_replace(struct lethe_tree *tree, struct lethe_content *content, uint64_t size,
                                  void (*changed)(void *context, uint64_t ino), void *context)
{
    const struct lethe_id *id = lethe_content_id(content);
    struct lethe_inode *inodes[AT_ONCE] = {NULL};
    uint64_t inos[AT_ONCE];
    size_t count;
    enum lethe_err err = find(tree, id, inos, &count);

    for (size_t i = 0; i < count && !err; i++) {
        inodes[i] = lethe_inode_ref(tree, inos[i]);
        err = inodes[i] ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    if (!err) {
        err = lock_error(lethe_inode_lock_all(tree, inodes, count));
    }
    if (err) {
        goto out;
    }
    for (size_t i = 0; i < count && !err; i++) {
        if (inodes[i]->writers > 0 && lethe_id_equal(&inodes[i]->content_id, id)) {
            err = part(tree, inodes[i]);
        }
    }
    if (!err) {
        err = lethe_content_replaced(content, size);
    }
    for (size_t i = 0; i < count && !err; i++) {
        struct lethe_inode *inode = inodes[i];

        if (inode->gone || !lethe_id_equal(&inode->row_content, id)) {
            continue;
        }
        inode->row_size = size;
        if (lethe_id_equal(&inode->content_id, id)) {
            inode->size = size;
            inode->no_blocks = inode->no_blocks || !inode->content;
            changed(context, inode->ino);
        }
        lethe_inode_dirty(tree, inode, true, inode->working);
    }
    lethe_inode_unlock_all(inodes, count);
out:
    for (size_t i = 0; i < count; i++) {
        if (inodes[i]) {
            lethe_inode_put(tree, inodes[i]);
        }
    }
    return err;
}
