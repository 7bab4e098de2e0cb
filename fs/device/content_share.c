/* SPDX-License-Identifier: MIT */
/* Contents that share blocks: clones, and ranges copied from one to another. Only slots of arena 0 are
 * shared. */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

#define STEP_BLOCKS LETHE_CHUNK_BLOCKS

/* One more reference to a slot of arena 0, or a copy of it where its count is full. */
static enum lethe_err share(struct lethe_contents *store, const struct lethe_entry *from,
                            struct lethe_entry *to)
{
    enum lethe_err err;

    *to = *from;
    if (from->kind != KIND_SLOT) {
        return LETHE_OK;
    }
    pthread_mutex_lock(&store->lock);
    err = lethe_slots_share(store->slots[from->arena], from->slot);
    pthread_mutex_unlock(&store->lock);
    if (err == LETHE_ERR_UNSUPPORTED) {
        err = lethe_blocks_move(store, from, 1, ARENA_STATE, to);
    }
    return err == LETHE_ERR_FORMAT ? LETHE_ERR_INTEGRITY : err;
}

static enum lethe_err clone_chunk(struct lethe_content *from, uint64_t idx, struct lethe_content *to)
{
    struct lethe_chunk *source = NULL, *target = NULL;
    struct lethe_entry ignored;
    enum lethe_err err = lethe_map_pin(from, idx, &source);

    if (!err) {
        err = lethe_map_pin(to, idx, &target);
    }
    if (!err) {
        err = lethe_map_writable(target, false);
    }
    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS && !err; i++) {
        struct lethe_entry entry = lethe_map_entry(source, i), mine;

        err = share(from->store, &entry, &mine);
        if (!err) {
            lethe_map_set(target, i, &mine, &ignored);
        }
    }
    if (!err && !source->entries) {
        lethe_map_fill_kind(target, source->uniform);
    }
    /* Written now, so that cloning a large file takes no memory. */
    if (!err) {
        err = lethe_map_store(target);
    }
    lethe_map_unpin(source);
    lethe_map_unpin(target);
    return err;
}

static enum lethe_err clone_maps(struct lethe_content *from, struct lethe_content *to)
{
    enum lethe_err err = lethe_content_seal_buffers(from, SIZE_MAX);
    uint64_t idx = 0;
    bool found;

    for (; !err; idx++) {
        err = lethe_map_next(from, idx, &found, &idx);
        if (err || !found) {
            break;
        }
        err = clone_chunk(from, idx, to);
    }
    return err;
}

enum lethe_err lethe_content_clone(struct lethe_content *from, struct lethe_content **out)
{
    struct lethe_contents *store = from->store;
    struct lethe_content *to;
    enum lethe_err err = lethe_content_new(store, &to);

    *out = NULL;
    if (err) {
        return err;
    }
    pthread_rwlock_rdlock(&store->maps);
    /* The newer one first, as with a content and its base. */
    pthread_rwlock_wrlock(&to->lock);
    pthread_rwlock_wrlock(&from->lock);
    atomic_store(&to->size, atomic_load(&from->size));
    if (from->state == LETHE_CONTENT_VAULTED) {
        /* Its blocks may go at any time; the vault has them, so it is enough to name it. */
        to->limit = to->data = blocks_of(atomic_load(&from->size));
        if (to->limit > 0) {
            lethe_content_set_base(to, from);
        }
    } else {
        to->limit = to->data = from->limit;
        if (from->base) {
            lethe_content_set_base(to, from->base);
        }
        err = clone_maps(from, to);
    }
    if (err && lethe_content_discard(to) != LETHE_OK) {
        lethe_content_doom(to);
    }
    pthread_rwlock_unlock(&from->lock);
    pthread_rwlock_unlock(&to->lock);
    pthread_rwlock_unlock(&store->maps);
    lethe_content_mark(to);
    if (err) {
        lethe_content_put(to);
        return err;
    }
    *out = to;
    return LETHE_OK;
}

/* --- copying ranges --- */

/* References to blocks [block, block + count) of one chunk; *ok is false when one of them cannot be shared.
 */
static enum lethe_err grab(struct lethe_content *from, uint64_t block, size_t count,
                           struct lethe_entry *entries, bool *ok)
{
    struct lethe_contents *store = from->store;
    struct lethe_chunk *chunk = NULL;
    size_t done = 0;
    enum lethe_err err;

    *ok = true;
    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&from->lock);
    err = lethe_map_pin(from, block / LETHE_CHUNK_BLOCKS, &chunk);
    if (!err && chunk->buffered > 0) {
        err = lethe_content_seal_buffers(from, SIZE_MAX);
    }
    while (!err && *ok && done < count) {
        struct lethe_entry entry = lethe_map_entry(chunk, (block + done) % LETHE_CHUNK_BLOCKS);

        if (entry.kind == KIND_NONE && block + done >= from->limit) {
            entry.kind = KIND_HOLE;
        }
        *ok = entry.kind == KIND_HOLE || (entry.kind == KIND_SLOT && entry.arena == ARENA_STATE);
        if (*ok) {
            err = share(store, &entry, &entries[done]);
            done += !err;
        }
    }
    lethe_map_unpin(chunk);
    lethe_content_mark(from);
    pthread_rwlock_unlock(&from->lock);
    pthread_rwlock_unlock(&store->maps);
    if (err || !*ok) {
        lethe_entries_drop(store, entries, done);
    }
    return err;
}

/* Puts grabbed blocks in place; on failure none of them. */
static enum lethe_err place(struct lethe_content *to, uint64_t block, size_t count,
                            const struct lethe_entry *entries, uint64_t end)
{
    struct lethe_contents *store = to->store;
    struct lethe_entry old[STEP_BLOCKS];
    struct lethe_chunk *chunk = NULL;
    enum lethe_err err = LETHE_OK;

    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&to->lock);
    if (to->state != LETHE_CONTENT_MUTABLE || to->gone) {
        err = LETHE_ERR_ARG;
    }
    if (!err) {
        err = lethe_map_pin(to, block / LETHE_CHUNK_BLOCKS, &chunk);
    }
    if (!err) {
        err = lethe_map_writable(chunk, false);
    }
    if (!err) {
        for (size_t i = 0; i < count; i++) {
            lethe_map_set(chunk, (block + i) % LETHE_CHUNK_BLOCKS, &entries[i], &old[i]);
        }
        lethe_entries_drop(store, old, count);
        if (end > atomic_load(&to->size)) {
            atomic_store(&to->size, end);
        }
        lethe_content_mark(to);
    }
    lethe_map_unpin(chunk);
    pthread_rwlock_unlock(&to->lock);
    pthread_rwlock_unlock(&store->maps);
    if (err) {
        lethe_entries_drop(store, entries, count);
    }
    return err;
}

static enum lethe_err copy_bytes(struct lethe_content *from, uint64_t from_offset, struct lethe_content *to,
                                 uint64_t to_offset, uint64_t len, struct lethe_absent *absent)
{
    struct lethe_contents *store = from->store;
    uint8_t *block = lethe_block_new(store->pool);
    enum lethe_err err = block ? LETHE_OK : LETHE_ERR_NOMEM;

    while (len > 0 && !err) {
        size_t n = len < BLOCK - to_offset % BLOCK ? (size_t)len : (size_t)(BLOCK - to_offset % BLOCK), got;

        err = lethe_content_read(from, from_offset, block, n, &got, absent);
        if (!err && got < n) {
            memset(block + got, 0, n - got); /* it was shortened meanwhile */
        }
        if (!err) {
            err = lethe_content_write(to, to_offset, block, n, absent);
        }
        from_offset += n;
        to_offset += n;
        len -= n;
    }
    lethe_block_release(store->pool, block);
    return err;
}

/* How many bytes from here on may be shared as whole blocks; 0 when bytes must be copied. */
static uint64_t shareable(struct lethe_content *from, uint64_t from_offset, struct lethe_content *to,
                          uint64_t to_offset, uint64_t len)
{
    uint64_t from_size = lethe_content_size(from), to_size = lethe_content_size(to);
    uint64_t from_left = (LETHE_CHUNK_BLOCKS - from_offset / BLOCK % LETHE_CHUNK_BLOCKS) * BLOCK;
    uint64_t to_left = (LETHE_CHUNK_BLOCKS - to_offset / BLOCK % LETHE_CHUNK_BLOCKS) * BLOCK;

    if (from_offset % BLOCK || to_offset % BLOCK) {
        return 0;
    }
    len = len < from_left ? len : from_left;
    len = len < to_left ? len : to_left;
    /* The last block in part: only when it is the last of both, so that zeros follow. */
    return from_offset + len == from_size && to_offset + len >= to_size ? len : len - len % BLOCK;
}

enum lethe_err lethe_content_copy(struct lethe_content *from, uint64_t from_offset, struct lethe_content *to,
                                  uint64_t to_offset, uint64_t len, uint64_t *done,
                                  struct lethe_absent *absent)
{
    struct lethe_entry entries[STEP_BLOCKS];
    uint64_t size = lethe_content_size(from);
    enum lethe_err err = LETHE_OK;

    *done = 0;
    if (from_offset >= size) {
        return LETHE_OK;
    }
    len = len < size - from_offset ? len : size - from_offset;
    if (to_offset > LETHE_CONTENT_MAX || len > LETHE_CONTENT_MAX - to_offset ||
        (from == to && from_offset < to_offset + len && to_offset < from_offset + len)) {
        return LETHE_ERR_ARG;
    }
    if (lethe_content_state(to) != LETHE_CONTENT_MUTABLE) {
        return LETHE_ERR_ARG;
    }
    while (*done < len && !err) {
        uint64_t source = from_offset + *done, target = to_offset + *done, left = len - *done;
        uint64_t n = shareable(from, source, to, target, left);
        bool ok = false;

        if (n > 0) {
            size_t count = (size_t)blocks_of(n);

            err = grab(from, source / BLOCK, count, entries, &ok);
            if (!err && ok) {
                err = place(to, target / BLOCK, count, entries, target + n);
            }
        }
        if (!err && !ok) {
            uint64_t step = BLOCK - target % BLOCK;

            n = left < step ? left : step;
            err = copy_bytes(from, source, to, target, n, absent);
        }
        if (!err) {
            *done += n;
        }
    }
    return *done > 0 && err != LETHE_ERR_ABSENT ? LETHE_OK : err;
}
