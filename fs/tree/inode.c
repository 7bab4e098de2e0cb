/* SPDX-License-Identifier: MIT */
/*
 * The inodes in memory: a hash by number, reference counts, and a bounded list of clean ones that nobody
 * holds, least recently used first. Dirty ones are held by the list for prepare, gone ones until the kernel
 * forgets them. Locks: see internal.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/errno.h"
#include "fs/tree/internal.h"

#define HASH_SIZE 32768u

static size_t slot_of(const struct lethe_tree *tree, uint64_t ino)
{
    return (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 32) & (tree->hash_size - 1);
}

static void inode_free(struct lethe_inode *inode)
{
    if (!inode) {
        return;
    }
    lethe_content_put(inode->content);
    free(inode->target);
    pthread_mutex_destroy(&inode->lock);
    free(inode);
}

int lethe_inode_cache_init(struct lethe_tree *tree, size_t lru_max)
{
    tree->hash_size = HASH_SIZE;
    tree->lru_max = lru_max;
    tree->hash = calloc(tree->hash_size, sizeof(*tree->hash));
    return tree->hash ? 0 : -ENOMEM;
}

void lethe_inode_cache_release(struct lethe_tree *tree)
{
    for (size_t i = 0; tree->hash && i < tree->hash_size; i++) {
        while (tree->hash[i]) {
            struct lethe_inode *inode = tree->hash[i];

            tree->hash[i] = inode->hash_next;
            inode_free(inode);
        }
    }
    free(tree->hash);
    tree->hash = NULL;
}

/* All of these: cache is locked. */
static struct lethe_inode *find(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode = tree->hash[slot_of(tree, ino)];

    while (inode && inode->ino != ino) {
        inode = inode->hash_next;
    }
    return inode;
}

static void hash_insert(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_inode **head = &tree->hash[slot_of(tree, inode->ino)];

    inode->hash_next = *head;
    *head = inode;
    inode->hashed = true;
    tree->hash_count++;
}

static void hash_remove(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_inode **at = &tree->hash[slot_of(tree, inode->ino)];

    while (*at != inode) {
        at = &(*at)->hash_next;
    }
    *at = inode->hash_next;
    inode->hashed = false;
    tree->hash_count--;
}

static void lru_remove(struct lethe_tree *tree, struct lethe_inode *inode)
{
    if (!inode->in_lru) {
        return;
    }
    *(inode->lru_prev ? &inode->lru_prev->lru_next : &tree->lru_head) = inode->lru_next;
    *(inode->lru_next ? &inode->lru_next->lru_prev : &tree->lru_tail) = inode->lru_prev;
    inode->lru_prev = inode->lru_next = NULL;
    inode->in_lru = false;
    tree->lru_count--;
}

static void lru_append(struct lethe_tree *tree, struct lethe_inode *inode)
{
    inode->lru_prev = tree->lru_tail;
    inode->lru_next = NULL;
    *(tree->lru_tail ? &tree->lru_tail->lru_next : &tree->lru_head) = inode;
    tree->lru_tail = inode;
    inode->in_lru = true;
    tree->lru_count++;
}

/* Takes one reference; what must be freed afterwards, outside the lock, is returned. */
static struct lethe_inode *put_locked(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_inode *victim = NULL;

    assert(inode->refs > 0);
    if (--inode->refs > 0) {
        return NULL;
    }
    if (!inode->hashed) {
        return inode;
    }
    if (inode->pinned) {
        return NULL;
    }
    lru_append(tree, inode);
    if (tree->lru_count > tree->lru_max) {
        victim = tree->lru_head;
        lru_remove(tree, victim);
        hash_remove(tree, victim);
    }
    return victim;
}

static struct lethe_inode *inode_alloc(uint64_t ino)
{
    struct lethe_inode *inode = calloc(1, sizeof(*inode));

    if (!inode) {
        return NULL;
    }
    if (pthread_mutex_init(&inode->lock, NULL)) {
        free(inode);
        return NULL;
    }
    inode->ino = ino;
    inode->refs = 1;
    inode->no_blocks = true;
    return inode;
}

static struct lethe_inode *ref_locked(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode = find(tree, ino);

    if (inode) {
        lru_remove(tree, inode);
        inode->refs++;
    }
    return inode;
}

struct lethe_inode *lethe_inode_ref(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode;

    pthread_mutex_lock(&tree->cache);
    inode = ref_locked(tree, ino);
    if (!inode) {
        inode = inode_alloc(ino);
        if (inode) {
            hash_insert(tree, inode);
        }
    }
    pthread_mutex_unlock(&tree->cache);
    return inode;
}

struct lethe_inode *lethe_inode_peek(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode;

    pthread_mutex_lock(&tree->cache);
    inode = ref_locked(tree, ino);
    pthread_mutex_unlock(&tree->cache);
    return inode;
}

void lethe_inode_put(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_inode *victim;

    if (!inode) {
        return;
    }
    pthread_mutex_lock(&tree->cache);
    victim = put_locked(tree, inode);
    pthread_mutex_unlock(&tree->cache);
    inode_free(victim);
}

static void load(struct lethe_tree *tree, struct lethe_inode *inode)
{
    struct lethe_row row;
    enum lethe_err err = lethe_row_load(tree->db, inode->ino, &row);

    if (err) {
        /* Numbers are never used again, but an I/O error may pass: the next one shall try anew. */
        lethe_inode_fail(tree, inode, err == LETHE_ERR_NOT_FOUND ? -ESTALE : -lethe_errno_of_bytes(err));
        return;
    }
    inode->mode = row.mode;
    inode->uid = row.uid;
    inode->gid = row.gid;
    inode->nlink = row.nlink;
    inode->rdev = row.rdev;
    inode->atime = row.atime;
    inode->row_size = row.size;
    inode->row_mtime = row.mtime;
    inode->row_ctime = row.ctime;
    inode->row_content = row.content;
    inode->working = row.working;
    inode->work_stored = row.working;
    inode->settled = row.working; /* it is not open, or it was before a restart */
    inode->size = row.working ? row.live_size : row.size;
    inode->mtime = row.working ? row.live_mtime : row.mtime;
    inode->ctime = row.working ? row.live_ctime : row.ctime;
    inode->content_id = row.working ? row.live_content : row.content;
    inode->loaded = true;
}

int lethe_inode_lock(struct lethe_tree *tree, struct lethe_inode *inode)
{
    int error;

    pthread_mutex_lock(&inode->lock);
    if (!inode->loaded && !inode->broken) {
        load(tree, inode);
    }
    error = inode->broken;
    if (error) {
        pthread_mutex_unlock(&inode->lock);
    }
    return error;
}

void lethe_inode_unlock(struct lethe_inode *inode)
{
    pthread_mutex_unlock(&inode->lock);
}

int lethe_inode_acquire(struct lethe_tree *tree, uint64_t ino, struct lethe_inode **out)
{
    struct lethe_inode *inode = lethe_inode_ref(tree, ino);
    int error;

    *out = NULL;
    if (!inode) {
        return -ENOMEM;
    }
    error = lethe_inode_lock(tree, inode);
    if (error) {
        lethe_inode_put(tree, inode);
        return error;
    }
    *out = inode;
    return 0;
}

void lethe_inode_release(struct lethe_tree *tree, struct lethe_inode *inode)
{
    if (inode) {
        lethe_inode_unlock(inode);
        lethe_inode_put(tree, inode);
    }
}

int lethe_inode_lock_all(struct lethe_tree *tree, struct lethe_inode **inodes, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t k = i; k > 0; k--) {
            uint64_t a = inodes[k - 1] ? inodes[k - 1]->ino : UINT64_MAX;
            uint64_t b = inodes[k] ? inodes[k]->ino : UINT64_MAX;
            struct lethe_inode *swap = inodes[k];

            if (a <= b) {
                break;
            }
            inodes[k] = inodes[k - 1];
            inodes[k - 1] = swap;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int error;

        if (!inodes[i] || (i > 0 && inodes[i] == inodes[i - 1])) {
            continue;
        }
        error = lethe_inode_lock(tree, inodes[i]);
        if (error) {
            lethe_inode_unlock_all(inodes, i);
            return error;
        }
    }
    return 0;
}

void lethe_inode_unlock_all(struct lethe_inode **inodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (inodes[i] && (i == 0 || inodes[i] != inodes[i - 1])) {
            lethe_inode_unlock(inodes[i]);
        }
    }
}

struct lethe_inode *lethe_inode_new(struct lethe_tree *tree, uint64_t ino)
{
    struct lethe_inode *inode = inode_alloc(ino);

    if (!inode) {
        return NULL;
    }
    pthread_mutex_lock(&inode->lock);
    inode->loaded = true;
    pthread_mutex_lock(&tree->cache);
    hash_insert(tree, inode);
    pthread_mutex_unlock(&tree->cache);
    return inode;
}

void lethe_inode_fail(struct lethe_tree *tree, struct lethe_inode *inode, int error)
{
    inode->broken = error;
    pthread_mutex_lock(&tree->cache);
    if (inode->hashed) {
        hash_remove(tree, inode);
    }
    pthread_mutex_unlock(&tree->cache);
}

void lethe_inode_mark_gone(struct lethe_tree *tree, struct lethe_inode *inode)
{
    inode->gone = true;
    inode->working = inode->work_stored = inode->row_dirty = inode->work_dirty = false;
    pthread_mutex_lock(&tree->cache);
    if (inode->forgotten) {
        if (inode->hashed) {
            hash_remove(tree, inode);
        }
    } else {
        inode->pinned = true;
    }
    pthread_mutex_unlock(&tree->cache);
}

void lethe_inode_mark_orphan(struct lethe_tree *tree, struct lethe_inode *inode)
{
    pthread_mutex_lock(&tree->cache);
    inode->orphan = true;
    pthread_mutex_unlock(&tree->cache);
}

void lethe_inode_revive(struct lethe_tree *tree, struct lethe_inode *inode)
{
    pthread_mutex_lock(&tree->cache);
    inode->orphan = false;
    pthread_mutex_unlock(&tree->cache);
    if (!inode->working) {
        inode->working = true;
        inode->first_write = tree->monotonic();
    }
    lethe_inode_dirty(tree, inode, true, true);
}

void lethe_tree_forget(struct lethe_tree *tree, uint64_t ino, uint64_t count)
{
    struct lethe_inode *inode, *victim = NULL;

    /*
     * The kernel forgets an inode with all its references at once (the few single ones, after a race, are of
     * inodes that still have names). Only gone inodes need it: all others can be had from their rows at any
     * time, so no counts are kept, and a million looked-up inodes cost nothing here.
     */
    (void)count;
    pthread_mutex_lock(&tree->cache);
    inode = find(tree, ino);
    if (inode && inode->pinned) {
        inode->pinned = false;
        hash_remove(tree, inode);
        if (inode->refs == 0) {
            victim = inode;
        }
    } else if (inode && inode->orphan) {
        inode->forgotten = true; /* the release of its last open file is under way */
    }
    pthread_mutex_unlock(&tree->cache);
    inode_free(victim);
}

void lethe_inode_dirty(struct lethe_tree *tree, struct lethe_inode *inode, bool row, bool work)
{
    if (inode->gone) {
        return; /* a change of something that has no row: seen until it is forgotten */
    }
    inode->row_dirty |= row;
    inode->work_dirty |= work;
    pthread_mutex_lock(&tree->cache);
    if (!inode->in_dirty) {
        inode->in_dirty = true;
        inode->refs++;
        inode->dirty_next = tree->dirty;
        tree->dirty = inode;
    }
    pthread_mutex_unlock(&tree->cache);
}

int lethe_inode_content(struct lethe_tree *tree, struct lethe_inode *inode, struct lethe_content **out)
{
    enum lethe_err err;

    if (!inode->content && !lethe_id_is_zero(&inode->content_id)) {
        err = lethe_content_get(tree->options.contents, &inode->content_id, inode->size, &inode->content);
        if (err) {
            inode->content = NULL;
            return -lethe_errno_of_bytes(err);
        }
    }
    *out = inode->content;
    return 0;
}

void lethe_inode_drop_content(struct lethe_inode *inode)
{
    if (inode->content) {
        inode->blocks = lethe_content_blocks512(inode->content);
        inode->no_blocks = false;
        lethe_content_put(inode->content);
        inode->content = NULL;
    }
}
