/* SPDX-License-Identifier: MIT */
/*
 * The life of a tree: opening (root, orphans of the last run), numbers for inodes and entries, removal of
 * what has no name any more. Numbers are never used twice: blocks of them are reserved in the table config
 * ahead of use, in the same transaction as the rows that use them.
 */
#include "fs/tree/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"
#include "lethe/log.h"

#define LRU_MAX 20000u
#define NUMBERS_AT_ONCE 4096u
#define FIRST_COOKIE 3u
#define KEY_INO "tree.next_ino"
#define KEY_COOKIE "tree.next_cookie"

int64_t lethe_tree_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void lethe_tree_enter(struct lethe_tree *tree)
{
    if (tree->options.committer) {
        lethe_gate_enter(tree->options.committer);
    }
}

void lethe_tree_leave(struct lethe_tree *tree, bool changed)
{
    if (tree->options.committer) {
        lethe_gate_leave(tree->options.committer, changed);
    }
}

bool lethe_tree_writable(const struct lethe_tree *tree)
{
    return tree->options.committer != NULL;
}

static int next_number(struct lethe_tree *tree, const char *key, uint64_t *next, uint64_t *end, uint64_t *out)
{
    enum lethe_err err = LETHE_OK;

    if (*next >= *end) {
        lethe_db_lock(tree->db);
        err = lethe_db_set_int(tree->db, key, (int64_t)(*next + NUMBERS_AT_ONCE));
        lethe_db_unlock(tree->db);
        if (err) {
            return -lethe_errno_of_bytes(err);
        }
        *end = *next + NUMBERS_AT_ONCE;
    }
    *out = (*next)++;
    return 0;
}

void lethe_tree_counted(struct lethe_tree *tree, int more)
{
    if (tree->inodes >= 0) {
        tree->inodes += more;
    }
}

int lethe_tree_next_ino(struct lethe_tree *tree, uint64_t *out)
{
    return next_number(tree, KEY_INO, &tree->next_ino, &tree->end_ino, out);
}

int lethe_tree_next_cookie(struct lethe_tree *tree, uint64_t *out)
{
    return next_number(tree, KEY_COOKIE, &tree->next_cookie, &tree->end_cookie, out);
}

void lethe_tree_abandon(struct lethe_tree *tree, const struct lethe_id *id, uint64_t size)
{
    struct lethe_content *content = NULL;
    enum lethe_err err;

    if (lethe_id_is_zero(id)) {
        return;
    }
    err = lethe_content_get(tree->options.contents, id, size, &content);
    if (!err) {
        err = lethe_content_abandon(content);
    }
    if (err) {
        lethe_log(LETHE_LOG_WARN,
                  "a file version that nothing names could not be released: %s; it is tried again at"
                  " the next commit",
                  lethe_err_str(err));
        atomic_store(&tree->unreleased, true);
    }
    lethe_content_put(content);
}

int lethe_tree_reclaim(struct lethe_tree *tree, struct lethe_inode *inode)
{
    enum lethe_err err;

    lethe_db_lock(tree->db);
    err = lethe_db_begin(tree->db);
    if (!err) {
        err = lethe_row_delete(tree->db, inode->ino);
        err = lethe_row_end(tree->db, err);
    }
    if (!err) {
        lethe_tree_counted(tree, -1);
    }
    lethe_db_unlock(tree->db);
    if (err) {
        return -lethe_errno_of_bytes(err);
    }
    lethe_content_put(inode->content);
    inode->content = NULL;
    lethe_tree_abandon(tree, &inode->content_id, inode->size);
    if (!lethe_id_equal(&inode->row_content, &inode->content_id)) {
        lethe_tree_abandon(tree, &inode->row_content, inode->row_size);
    }
    inode->content_id = inode->row_content = (struct lethe_id){0};
    lethe_inode_mark_gone(tree, inode);
    return 0;
}

/* The first row of a query for one number. */
static enum lethe_err query_number(struct lethe_db *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db, sql, &statement);
    bool row = false;

    if (!err) {
        err = lethe_db_step(db, statement, &row);
        if (!err && row) {
            *out = sqlite3_column_int64(statement, 0);
        }
        sqlite3_reset(statement);
    }
    return err;
}

/* The database is locked. */
static enum lethe_err open_numbers(struct lethe_tree *tree, bool *fresh)
{
    int64_t ino, cookie, top = 0;
    enum lethe_err err = lethe_db_get_int(tree->db, KEY_INO, 0, &ino);

    if (!err) {
        err = lethe_db_get_int(tree->db, KEY_COOKIE, 0, &cookie);
    }
    if (!err) {
        err = query_number(tree->db, "SELECT max(ino) FROM inode", &top);
    }
    if (err) {
        return err;
    }
    *fresh = ino <= 0 || cookie <= 0; /* a new vault, or a new device: the table config does not travel */
    if (*fresh) {
        cookie = 0;
        err = query_number(tree->db, "SELECT max(cookie) FROM dentry", &cookie);
        if (err) {
            return err;
        }
        cookie = cookie < FIRST_COOKIE ? FIRST_COOKIE : cookie + 1;
    }
    ino = ino > top ? ino : top + 1;
    ino = ino <= LETHE_TREE_ROOT ? LETHE_TREE_ROOT + 1 : ino;
    tree->next_ino = tree->end_ino = (uint64_t)ino;
    tree->next_cookie = tree->end_cookie = (uint64_t)cookie;
    return LETHE_OK;
}

/* The database is locked. */
static enum lethe_err make_root(struct lethe_tree *tree, const struct lethe_owner *owner, bool *made)
{
    struct lethe_inode root = {
        .ino = LETHE_TREE_ROOT, .mode = S_IFDIR | 0755, .nlink = 2, .rdev = LETHE_TREE_ROOT};
    int64_t there = 0;
    enum lethe_err err = query_number(tree->db, "SELECT count(*) FROM (SELECT 1 FROM inode LIMIT 1)", &there);

    *made = false;
    if (err || there) {
        return err;
    }
    root.uid = owner->uid;
    root.gid = owner->gid;
    root.atime = root.row_mtime = root.row_ctime = lethe_tree_now();
    *made = true;
    return lethe_row_insert(tree->db, &root, NULL);
}

#define ORPHANS_AT_ONCE 256
static const char orphans_of_last_run[] =
    "SELECT i.ino FROM working w JOIN inode i ON i.ino = w.ino WHERE i.nlink = 0 LIMIT 256";
static const char orphans_of_journal[] = "SELECT ino FROM inode WHERE nlink = 0 LIMIT 256";

/* In the gate. */
static enum lethe_err remove_orphans(struct lethe_tree *tree, const char *sql)
{
    uint64_t inos[ORPHANS_AT_ONCE];
    size_t count;

    do {
        sqlite3_stmt *statement;
        enum lethe_err err;
        bool row = true;

        count = 0;
        lethe_db_lock(tree->db);
        err = lethe_db_statement(tree->db, sql, &statement);
        while (!err && row && count < ORPHANS_AT_ONCE) {
            err = lethe_db_step(tree->db, statement, &row);
            if (!err && row) {
                inos[count++] = (uint64_t)sqlite3_column_int64(statement, 0);
            }
        }
        if (!err) {
            sqlite3_reset(statement);
        }
        lethe_db_unlock(tree->db);
        if (err) {
            return err;
        }
        for (size_t i = 0; i < count; i++) {
            struct lethe_inode *inode;
            int error = lethe_inode_acquire(tree, inos[i], &inode);

            if (!error) {
                error = lethe_tree_reclaim(tree, inode);
                lethe_inode_release(tree, inode);
                lethe_tree_forget(tree, inos[i], 1);
            }
            if (error) {
                return lethe_err_from_errno(-error);
            }
        }
    } while (count == ORPHANS_AT_ONCE);
    return LETHE_OK;
}

/*
 * The root stays in memory, so that a mount whose database cannot be read any more still says what it is: umount looks
 * before it takes it away. Without a row there is none: nothing was ever written.
 */
static enum lethe_err keep_root(struct lethe_tree *tree)
{
    struct lethe_inode *root;
    int error = lethe_inode_acquire(tree, LETHE_TREE_ROOT, &root);

    if (!error) {
        lethe_inode_unlock(root); /* the reference goes with the tree */
    }
    return !error || error == -ESTALE ? LETHE_OK : error == -ENOMEM ? LETHE_ERR_NOMEM : LETHE_ERR_IO;
}

enum lethe_err lethe_tree_open(const struct lethe_tree_options *options, const struct lethe_owner *owner,
                               struct lethe_tree **out)
{
    struct lethe_tree *tree = calloc(1, sizeof(*tree));
    bool fresh = false, made = false;
    enum lethe_err err;

    *out = NULL;
    if (!tree) {
        return LETHE_ERR_NOMEM;
    }
    tree->options = *options;
    tree->db = options->db;
    tree->inodes = -1;
    tree->monotonic = monotonic_now;
    pthread_mutex_init(&tree->names, NULL);
    pthread_mutex_init(&tree->cache, NULL);
    if (lethe_inode_cache_init(tree, LRU_MAX)) {
        lethe_tree_close(tree);
        return LETHE_ERR_NOMEM;
    }
    lethe_tree_enter(tree);
    lethe_db_lock(tree->db);
    err = open_numbers(tree, &fresh);
    if (!err && lethe_tree_writable(tree)) {
        err = make_root(tree, owner, &made);
    }
    lethe_db_unlock(tree->db);
    err = err ? err : lethe_xattr_open(tree);
    if (!err && lethe_tree_writable(tree)) {
        err = remove_orphans(tree, orphans_of_last_run);
    }
    if (!err && lethe_tree_writable(tree) && fresh && !made) {
        err = remove_orphans(tree, orphans_of_journal);
    }
    err = err ? err : keep_root(tree);
    lethe_tree_leave(tree, true);
    if (err) {
        lethe_tree_close(tree);
        return err;
    }
    *out = tree;
    return LETHE_OK;
}

void lethe_tree_close(struct lethe_tree *tree)
{
    if (!tree) {
        return;
    }
    while (tree->files) {
        struct lethe_file *file = tree->files; /* open when the mount ended */

        tree->files = file->next;
        free(file);
    }
    lethe_inode_cache_release(tree);
    pthread_mutex_destroy(&tree->cache);
    pthread_mutex_destroy(&tree->names);
    free(tree);
}

void lethe_tree_count(struct lethe_tree *tree, struct lethe_tree_counts *out)
{
    *out = (struct lethe_tree_counts){0};
    lethe_db_lock(tree->db);
    /* Once: it goes through the whole table, and programs ask for statfs again and again. */
    if (tree->inodes < 0 && query_number(tree->db, "SELECT count(*) FROM inode", &tree->inodes)) {
        tree->inodes = -1;
    }
    out->inodes = tree->inodes < 0 ? 0 : (uint64_t)tree->inodes;
    lethe_db_unlock(tree->db);
    pthread_mutex_lock(&tree->cache);
    out->open_files = tree->open_files;
    pthread_mutex_unlock(&tree->cache);
}

int lethe_tree_content(struct lethe_tree *tree, uint64_t ino, struct lethe_id *content, uint64_t *size)
{
    struct lethe_inode *inode;
    int error = lethe_inode_acquire(tree, ino, &inode);

    if (error) {
        return error;
    }
    *content = inode->content_id;
    *size = inode->size;
    lethe_inode_release(tree, inode);
    return 0;
}
