/* SPDX-License-Identifier: MIT */
/*
 * What a commit and a cut do with the tree, both under the exclusive gate: nobody changes anything meanwhile,
 * though readers go on. Prepare writes dirty inodes into their rows, live views into the table working. A cut
 * then walks through working, which names every live view that differs from its row, whether its inode is in
 * memory or not.
 */
#include <errno.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

#define AT_ONCE 256

/* The inode is locked. */
static enum lethe_err write_rows(struct lethe_tree *tree, struct lethe_inode *inode)
{
    enum lethe_err err = LETHE_OK;
    bool orphan = inode->nlink == 0;

    if (inode->gone || inode->broken) {
        inode->row_dirty = inode->work_dirty = false;
        return LETHE_OK;
    }
    lethe_db_lock(tree->db);
    if (inode->row_dirty) {
        err = lethe_row_update(tree->db, inode);
        inode->row_dirty = err != LETHE_OK;
    }
    if (!err && ((inode->work_dirty && inode->working) || (orphan && !inode->work_stored))) {
        err = lethe_row_work_store(tree->db, inode);
        inode->work_stored |= err == LETHE_OK;
    }
    if (!err) {
        inode->work_dirty = false;
    }
    atomic_fetch_add(&tree->rows_written, 1);
    lethe_db_unlock(tree->db);
    return err;
}

/* All rows are written: what is sealed or to be sealed, and that none of them names, has died. */
static enum lethe_err release_unnamed(struct lethe_tree *tree)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db,
                             "INSERT INTO dead(content, epoch) SELECT id, ?1 FROM"
                             " (SELECT id FROM content UNION SELECT content FROM local WHERE state = 1) WHERE id NOT IN"
                             " (SELECT content FROM inode WHERE content IS NOT NULL"
                             " UNION SELECT content FROM working WHERE content IS NOT NULL"
                             " UNION SELECT content FROM dead)",
                             &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)lethe_contents_next_epoch(tree->options.contents));
        err = lethe_db_run(tree->db, statement);
    }
    lethe_db_unlock(tree->db);
    return err;
}

enum lethe_err lethe_tree_prepare(struct lethe_tree *tree)
{
    struct lethe_inode *list;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&tree->cache);
    list = tree->dirty;
    tree->dirty = NULL;
    pthread_mutex_unlock(&tree->cache);
    while (list) {
        struct lethe_inode *inode = list;

        list = inode->dirty_next;
        pthread_mutex_lock(&inode->lock);
        if (!err) {
            err = write_rows(tree, inode);
        }
        if (!err && inode->opens == 0) {
            lethe_inode_drop_content(inode);
        }
        pthread_mutex_lock(&tree->cache);
        if (err) {
            inode->dirty_next = tree->dirty;
            tree->dirty = inode;
        } else {
            inode->dirty_next = NULL;
            inode->in_dirty = false;
        }
        pthread_mutex_unlock(&tree->cache);
        pthread_mutex_unlock(&inode->lock);
        if (!err) {
            lethe_inode_put(tree, inode);
        }
    }
    /* A commit does not wait for this. */
    if (!err && atomic_exchange(&tree->unreleased, false) && release_unnamed(tree)) {
        atomic_store(&tree->unreleased, true);
    }
    return err;
}

/* Whether the first bytes are those of a picture; bytes that are not here were not written: it may be one. */
static bool is_picture(struct lethe_content *content)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff};
    struct lethe_absent absent;
    uint8_t head[8];
    size_t got = 0;
    enum lethe_err err = lethe_content_read(content, 0, head, sizeof(head), &got, &absent);

    if (err) {
        return err == LETHE_ERR_ABSENT;
    }
    return (got >= sizeof(jpeg) && memcmp(head, jpeg, sizeof(jpeg)) == 0) ||
           (got >= sizeof(png) && memcmp(head, png, sizeof(png)) == 0);
}

/* The inode is locked and has a live view. */
static bool must_wait(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_content *content)
{
    return inode->writers > 0 && !inode->settled && content &&
           tree->monotonic() - inode->first_write < LETHE_TREE_DEFER_NS && is_picture(content);
}

/* The inode is locked. */
static enum lethe_err cut_one(struct lethe_tree *tree, struct lethe_inode *inode, uint64_t epoch, bool force,
                              size_t *deferred)
{
    struct lethe_content *content = NULL;
    struct lethe_id old = inode->row_content;
    uint64_t old_size = inode->row_size, size = inode->row_size;
    int64_t mtime = inode->row_mtime, ctime = inode->row_ctime;
    enum lethe_err err = LETHE_OK;
    int error;

    if (inode->gone || inode->nlink == 0 || !inode->working) {
        return LETHE_OK; /* what has no name shall not reach the vault */
    }
    error = lethe_inode_content(tree, inode, &content);
    if (error) {
        return lethe_err_from_errno(-error);
    }
    if (!force && must_wait(tree, inode, content)) {
        (*deferred)++;
        return LETHE_OK;
    }
    if (content && lethe_content_state(content) == LETHE_CONTENT_MUTABLE) {
        err = lethe_content_freeze(content, epoch);
        if (err) {
            return err;
        }
    }
    inode->row_content = inode->content_id;
    inode->row_size = inode->size;
    inode->row_mtime = inode->mtime;
    inode->row_ctime = inode->ctime;
    lethe_db_lock(tree->db);
    err = lethe_db_begin(tree->db);
    if (!err) {
        err = lethe_row_update(tree->db, inode);
        if (!err) {
            err = lethe_row_work_delete(tree->db, inode->ino);
        }
        err = lethe_row_end(tree->db, err);
    }
    lethe_db_unlock(tree->db);
    if (err) {
        inode->row_content = old;
        inode->row_size = size;
        inode->row_mtime = mtime;
        inode->row_ctime = ctime;
        return err;
    }
    inode->working = inode->work_stored = inode->work_dirty = inode->row_dirty = false;
    inode->settled = false;
    if (!lethe_id_equal(&old, &inode->content_id)) {
        lethe_tree_abandon(tree, &old, old_size);
    }
    if (inode->opens == 0) {
        lethe_inode_drop_content(inode);
    }
    return LETHE_OK;
}

static enum lethe_err next_working(struct lethe_tree *tree, uint64_t after, uint64_t inos[AT_ONCE],
                                   size_t *count)
{
    sqlite3_stmt *statement;
    enum lethe_err err;
    bool row = true;

    *count = 0;
    lethe_db_lock(tree->db);
    err = lethe_db_statement(tree->db, "SELECT ino FROM working WHERE ino > ?1 ORDER BY ino LIMIT 256",
                             &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)after);
        while (!err && row && *count < AT_ONCE) {
            err = lethe_db_step(tree->db, statement, &row);
            if (!err && row) {
                inos[(*count)++] = (uint64_t)sqlite3_column_int64(statement, 0);
            }
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(tree->db);
    return err;
}

enum lethe_err lethe_tree_cut(struct lethe_tree *tree, uint64_t epoch, bool force, size_t *deferred)
{
    uint64_t inos[AT_ONCE], after = 0;
    size_t count;

    *deferred = 0;
    do {
        enum lethe_err err = next_working(tree, after, inos, &count);

        if (err) {
            return err;
        }
        for (size_t i = 0; i < count; i++) {
            struct lethe_inode *inode;
            int error = lethe_inode_acquire(tree, inos[i], &inode);

            after = inos[i];
            if (error) {
                return lethe_err_from_errno(-error);
            }
            err = cut_one(tree, inode, epoch, force, deferred);
            lethe_inode_release(tree, inode);
            if (err) {
                return err;
            }
        }
    } while (count == AT_ONCE);
    return LETHE_OK;
}
