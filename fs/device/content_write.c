/* SPDX-License-Identifier: MIT */
/*
 * Changing a mutable content. Whole blocks are sealed at once into fresh slots; a block that is written in
 * part waits as plaintext in a buffer, above its entry, until a flush, a commit or want of memory seals it.
 */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

/* --- buffers --- */

static void unlist_buffers(struct lethe_content *content)
{
    struct lethe_contents *store = content->store;

    pthread_mutex_lock(&store->lock);
    if (content->buffer_listed && atomic_load(&content->buffered) == 0) {
        *(content->buffer_previous ? &content->buffer_previous->buffer_next : &store->buffer_first) =
            content->buffer_next;
        *(content->buffer_next ? &content->buffer_next->buffer_previous : &store->buffer_last) =
            content->buffer_previous;
        content->buffer_previous = content->buffer_next = NULL;
        content->buffer_listed = false;
    }
    pthread_mutex_unlock(&store->lock);
}

static enum lethe_err seal_batch(struct lethe_chunk *chunk, const unsigned *which, size_t count)
{
    struct lethe_content *content = chunk->content;
    const uint8_t *blocks[BATCH] = {NULL};
    uint16_t lengths[BATCH] = {0};
    struct lethe_entry fresh[BATCH], old[BATCH];
    uint64_t size = atomic_load(&content->size);
    enum lethe_err err;

    for (size_t n = 0; n < count; n++) {
        uint64_t start = (chunk->idx * LETHE_CHUNK_BLOCKS + which[n]) * BLOCK;

        blocks[n] = chunk->buffers[which[n]];
        lengths[n] = lethe_sealed_length(size > start ? size - start : 0);
    }
    err = lethe_blocks_put(content->store, ARENA_STATE, blocks, lengths, count, fresh);
    if (err) {
        return err;
    }
    for (size_t n = 0; n < count; n++) {
        lethe_map_set(chunk, which[n], &fresh[n], &old[n]);
    }
    lethe_entries_drop(content->store, old, count);
    return LETHE_OK;
}

static enum lethe_err seal_chunk(struct lethe_chunk *chunk, size_t max, size_t *done)
{
    unsigned which[BATCH];
    size_t count = 0;
    enum lethe_err err = lethe_map_writable(chunk, true);

    for (unsigned i = 0; i < LETHE_CHUNK_BLOCKS && !err && *done < max; i++) {
        if (chunk->buffers[i]) {
            which[count++] = i;
            (*done)++;
        }
        if (count == BATCH) {
            err = seal_batch(chunk, which, count);
            count = 0;
        }
    }
    return !err && count > 0 ? seal_batch(chunk, which, count) : err;
}

enum lethe_err lethe_content_seal_buffers(struct lethe_content *content, size_t max)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err = LETHE_OK;
    size_t done = 0;

    while (atomic_load(&content->buffered) > 0 && done < max && !err) {
        struct lethe_chunk *chunk;

        pthread_mutex_lock(&store->lock);
        /* Chunks with buffers are dirty, so none of them goes away meanwhile. */
        for (chunk = content->chunks; chunk && chunk->buffered == 0; chunk = chunk->mate_next) {
        }
        pthread_mutex_unlock(&store->lock);
        if (!chunk) {
            break;
        }
        err = seal_chunk(chunk, max, &done);
    }
    unlist_buffers(content);
    return err;
}

enum lethe_err lethe_contents_relieve(struct lethe_contents *store)
{
    enum lethe_err err = LETHE_OK;
    size_t most = lethe_blocks_most(store->pool);

    for (unsigned round = 0; round < 64 && lethe_blocks_in_use(store->pool) > most; round++) {
        struct lethe_content *content;

        pthread_mutex_lock(&store->lock);
        content = store->buffer_first;
        if (content) {
            content->refs++;
            if (content != store->buffer_last) { /* the next one is another's turn */
                store->buffer_first = content->buffer_next;
                store->buffer_first->buffer_previous = NULL;
                content->buffer_previous = store->buffer_last;
                content->buffer_next = NULL;
                store->buffer_last->buffer_next = content;
                store->buffer_last = content;
            }
        }
        pthread_mutex_unlock(&store->lock);
        if (!content) {
            break;
        }
        pthread_rwlock_rdlock(&store->maps);
        pthread_rwlock_wrlock(&content->lock);
        err = lethe_content_seal_buffers(content, 4 * BATCH);
        pthread_rwlock_unlock(&content->lock);
        pthread_rwlock_unlock(&store->maps);
        lethe_content_put(content);
        if (err) {
            break;
        }
    }
    return err;
}

/* --- cutting --- */

/* Takes the entries [from, to) of a chunk away: none is left of them, or holes where kind says so. */
static enum lethe_err cut_chunk(struct lethe_chunk *chunk, unsigned from, unsigned to, uint8_t kind,
                                uint64_t counted_below)
{
    struct lethe_content *content = chunk->content;
    struct lethe_entry old[LETHE_CHUNK_BLOCKS], value = {.kind = kind};
    unsigned same = 1;
    enum lethe_err err;

    if (!chunk->entries && !chunk->buffered && chunk->uniform == kind) {
        return LETHE_OK;
    }
    err = lethe_map_writable(chunk, false);
    if (err) {
        return err;
    }
    for (unsigned i = from; i < to; i++) {
        /* The caller took every block below the old limit out of the count, as if the chunk had none of its
         * own. */
        if (chunk->idx * LETHE_CHUNK_BLOCKS + i < counted_below &&
            (lethe_map_buffer(chunk, i) || chunk->entries[i].kind != KIND_NONE)) {
            content->data++;
        }
        lethe_map_set(chunk, i, &value, &old[i]);
    }
    lethe_entries_drop(content->store, old + from, to - from);
    while (same < LETHE_CHUNK_BLOCKS && chunk->entries[same].kind == chunk->entries[0].kind) {
        same++;
    }
    if (same == LETHE_CHUNK_BLOCKS && chunk->entries[0].kind != KIND_SLOT) {
        lethe_map_fill_kind(chunk, chunk->entries[0].kind);
    }
    return chunk->buffered == 0 ? lethe_map_store(chunk) : LETHE_OK;
}

enum lethe_err lethe_content_cut(struct lethe_content *content, uint64_t first, uint64_t end)
{
    uint64_t idx = first / LETHE_CHUNK_BLOCKS, counted = 0;
    bool tail = end == UINT64_MAX, found = true;
    enum lethe_err err = LETHE_OK;

    if (tail && content->limit > first) {
        counted = content->limit;
        content->data -= content->limit - first;
        content->limit = first;
    }
    while (!err && idx < (end - 1) / LETHE_CHUNK_BLOCKS + 1) {
        struct lethe_chunk *chunk;
        unsigned from, to;

        /* From the limit on what has no row is a hole already. */
        if (idx * LETHE_CHUNK_BLOCKS >= content->limit) {
            err = lethe_map_next(content, idx, &found, &idx);
            if (err || !found || idx >= (end - 1) / LETHE_CHUNK_BLOCKS + 1) {
                break;
            }
        }
        err = lethe_map_pin(content, idx, &chunk);
        if (err) {
            break;
        }
        from = idx == first / LETHE_CHUNK_BLOCKS ? first % LETHE_CHUNK_BLOCKS : 0;
        to = idx == (end - 1) / LETHE_CHUNK_BLOCKS ? (end - 1) % LETHE_CHUNK_BLOCKS + 1 : LETHE_CHUNK_BLOCKS;
        err = cut_chunk(chunk, from, to, tail ? KIND_NONE : KIND_HOLE, counted);
        lethe_map_unpin(chunk);
        idx++;
    }
    unlist_buffers(content);
    return err;
}

/* --- a block that is changed in part --- */

struct edge {
    struct lethe_chunk *chunk; /* pinned */
    unsigned i;
    uint8_t *
        fresh; /* a buffer of its own, not yet in the chunk; NULL: the chunk has one already, or needs none */
};

/* Has the bytes of block ready to be changed; blank: all that matters of it is overwritten. */
static enum lethe_err edge_open(struct lethe_content *content, uint64_t block, bool blank, struct edge *edge,
                                struct lethe_obstacle *obstacle)
{
    struct lethe_contents *store = content->store;
    enum lethe_err err = lethe_map_pin(content, block / LETHE_CHUNK_BLOCKS, &edge->chunk);

    edge->i = block % LETHE_CHUNK_BLOCKS;
    if (!err) {
        err = lethe_map_writable(edge->chunk, true);
    }
    if (err || edge->chunk->buffers[edge->i]) {
        return err;
    }
    edge->fresh = lethe_block_new(store->pool);
    if (!edge->fresh) {
        return LETHE_ERR_NOMEM;
    }
    if (blank || !lethe_block_is_data(edge->chunk, edge->i)) {
        memset(edge->fresh, 0, BLOCK);
        return LETHE_OK;
    }
    return lethe_content_load_block(content, edge->chunk, block, edge->fresh, obstacle);
}

static uint8_t *edge_bytes(struct edge *edge)
{
    if (edge->fresh) {
        lethe_map_set_buffer(edge->chunk, edge->i, edge->fresh);
        edge->fresh = NULL;
    }
    edge->chunk->dirty = true;
    return edge->chunk->buffers[edge->i];
}

static void edge_close(struct lethe_contents *store, struct edge *edge)
{
    lethe_block_release(store->pool, edge->fresh);
    lethe_map_unpin(edge->chunk);
    *edge = (struct edge){NULL, 0, NULL};
}

/* --- writing --- */

/* The blocks that a write covers wholly: [*first, *end). */
static void whole_blocks(uint64_t offset, size_t len, uint64_t *first, uint64_t *end)
{
    *first = (offset + BLOCK - 1) / BLOCK;
    *end = (offset + len) / BLOCK;
    *end = *end > *first ? *end : *first;
}

enum lethe_err lethe_content_seal_ahead(struct lethe_contents *store, uint64_t offset, const void *bytes, size_t len,
                                        struct lethe_sealed_ahead *out)
{
    uint64_t first, end;
    struct lethe_entry *entries;
    enum lethe_err err;

    *out = (struct lethe_sealed_ahead){NULL, 0};
    if (offset > LETHE_CONTENT_MAX || len > LETHE_CONTENT_MAX - offset) {
        return LETHE_ERR_ARG;
    }
    whole_blocks(offset, len, &first, &end);
    if (end == first) {
        return LETHE_OK;
    }
    entries = calloc((size_t)(end - first), sizeof *entries);
    if (!entries) {
        return LETHE_ERR_NOMEM;
    }
    err = lethe_blocks_put_run(store, (const uint8_t *)bytes + (first * BLOCK - offset), (size_t)(end - first), entries);
    if (err) {
        free(entries);
        return err;
    }
    *out = (struct lethe_sealed_ahead){entries, (size_t)(end - first)};
    return LETHE_OK;
}

void lethe_content_unseal_ahead(struct lethe_contents *store, struct lethe_sealed_ahead *ahead)
{
    if (ahead->entries) {
        lethe_entries_drop(store, ahead->entries, ahead->count);
        free(ahead->entries);
    }
    *ahead = (struct lethe_sealed_ahead){NULL, 0};
}

/* Pins the chunks of blocks [first, first + count) and makes them writable. */
static enum lethe_err pin_chunks(struct lethe_content *content, uint64_t first, size_t count,
                                 struct lethe_chunk ***out, size_t *out_count)
{
    uint64_t idx = first / LETHE_CHUNK_BLOCKS;
    size_t n = (size_t)((first + count - 1) / LETHE_CHUNK_BLOCKS - idx) + 1;
    struct lethe_chunk **chunks = calloc(n, sizeof *chunks);
    enum lethe_err err = chunks ? LETHE_OK : LETHE_ERR_NOMEM;

    for (size_t c = 0; c < n && !err; c++) {
        err = lethe_map_pin(content, idx + c, &chunks[c]);
        if (!err) {
            err = lethe_map_writable(chunks[c], false);
        }
    }
    *out = chunks;
    *out_count = chunks ? n : 0;
    return err;
}

/* ahead: what seal_ahead made of the same bytes, taken over on success; or NULL. */
static enum lethe_err write_whole(struct lethe_content *content, uint64_t first, const uint8_t *bytes,
                                  size_t count, struct lethe_sealed_ahead *ahead)
{
    struct lethe_contents *store = content->store;
    struct lethe_chunk **chunks = NULL;
    struct lethe_entry *fresh = calloc(2 * count, sizeof *fresh);
    size_t chunk_count = 0;
    enum lethe_err err = fresh ? LETHE_OK : LETHE_ERR_NOMEM;

    if (!err) {
        err = pin_chunks(content, first, count, &chunks, &chunk_count);
    }
    if (!err && ahead && ahead->count == count) {
        memcpy(fresh, ahead->entries, count * sizeof *fresh);
        free(ahead->entries);
        *ahead = (struct lethe_sealed_ahead){NULL, 0};
    } else if (!err) {
        err = lethe_blocks_put_run(store, bytes, count, fresh);
    }
    if (!err) {
        for (size_t n = 0; n < count; n++) {
            uint64_t block = first + n;

            lethe_map_set(chunks[block / LETHE_CHUNK_BLOCKS - first / LETHE_CHUNK_BLOCKS],
                          block % LETHE_CHUNK_BLOCKS, &fresh[n], &fresh[count + n]);
        }
        lethe_entries_drop(store, fresh + count, count);
    }
    for (size_t c = 0; c < chunk_count; c++) {
        lethe_map_unpin(chunks[c]);
    }
    free(chunks);
    free(fresh);
    return err;
}

/* The part of block that [offset, end) covers is not all that matters of it. */
static bool is_partial(uint64_t block, uint64_t offset, uint64_t end)
{
    return offset > block * BLOCK || end < (block + 1) * BLOCK;
}

static enum lethe_err write_locked(struct lethe_content *content, uint64_t offset, const uint8_t *bytes,
                                   size_t len, struct lethe_obstacle *obstacle, struct lethe_sealed_ahead *ahead)
{
    uint64_t end = offset + len, size = atomic_load(&content->size);
    uint64_t block[2] = {offset / BLOCK, (end - 1) / BLOCK};
    bool partial[2] = {is_partial(block[0], offset, end),
                       block[1] > block[0] && is_partial(block[1], offset, end)};
    uint64_t first = block[0] + partial[0],
             last = block[1] + !(partial[1] || (partial[0] && block[0] == block[1]));
    struct edge edges[2] = {{NULL, 0, NULL}, {NULL, 0, NULL}};
    enum lethe_err err = LETHE_OK;

    for (unsigned e = 0; e < 2 && !err; e++) {
        if (partial[e]) {
            bool blank = offset <= block[e] * BLOCK && end >= size;

            err = edge_open(content, block[e], blank, &edges[e], obstacle);
        }
    }
    if (!err && last > first) {
        err = write_whole(content, first, bytes + (first * BLOCK - offset), (size_t)(last - first), ahead);
    }
    for (unsigned e = 0; e < 2 && !err; e++) {
        if (partial[e]) {
            uint64_t start = block[e] * BLOCK, from = offset > start ? offset - start : 0;
            uint64_t to = end < start + BLOCK ? end - start : BLOCK;

            memcpy(edge_bytes(&edges[e]) + from, bytes + (start + from - offset), to - from);
        }
    }
    if (!err && end > size) {
        atomic_store(&content->size, end);
    }
    edge_close(content->store, &edges[0]);
    edge_close(content->store, &edges[1]);
    return err;
}

/* Locks for a change of a mutable content; LETHE_ERR_ARG (and no locks) when it is not. */
static enum lethe_err lock_mutable(struct lethe_content *content)
{
    pthread_rwlock_rdlock(&content->store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (content->state != LETHE_CONTENT_MUTABLE || content->gone) {
        pthread_rwlock_unlock(&content->lock);
        pthread_rwlock_unlock(&content->store->maps);
        return LETHE_ERR_ARG;
    }
    return LETHE_OK;
}

static void unlock_changed(struct lethe_content *content)
{
    if (content->base && content->limit == 0) {
        lethe_content_set_base(content, NULL);
    }
    lethe_content_mark(content);
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&content->store->maps);
}

enum lethe_err lethe_content_write_at_once(struct lethe_content *content, uint64_t offset, const void *bytes,
                                           size_t len, struct lethe_absent *absent, struct lethe_unread *unread,
                                           struct lethe_sealed_ahead *ahead)
{
    struct lethe_obstacle obstacle = {.absent = absent, .unread = unread};
    enum lethe_err err;

    if (len == 0) {
        return LETHE_OK;
    }
    if (offset > LETHE_CONTENT_MAX || len > LETHE_CONTENT_MAX - offset) {
        return LETHE_ERR_ARG;
    }
    err = lethe_contents_relieve(content->store);
    if (!err) {
        err = lock_mutable(content);
    }
    if (err) {
        return err;
    }
    err = write_locked(content, offset, bytes, len, &obstacle, ahead);
    unlock_changed(content);
    lethe_content_forget_bad(&obstacle.bad);
    return err;
}

enum lethe_err lethe_content_write(struct lethe_content *content, uint64_t offset, const void *bytes,
                                   size_t len, struct lethe_absent *absent)
{
    return lethe_content_write_at_once(content, offset, bytes, len, absent, NULL, NULL);
}

/* Zeros the bytes [from, to) of a block, if it has any. */
static enum lethe_err edge_open_for_zeros(struct lethe_content *content, uint64_t block, uint64_t from,
                                          struct edge *edge, struct lethe_obstacle *obstacle)
{
    struct lethe_entry entry;
    enum lethe_err err = lethe_map_pin(content, block / LETHE_CHUNK_BLOCKS, &edge->chunk);
    bool needed;

    if (err) {
        return err;
    }
    entry = lethe_map_entry(edge->chunk, block % LETHE_CHUNK_BLOCKS);
    needed = lethe_block_is_data(edge->chunk, block % LETHE_CHUNK_BLOCKS) &&
             (lethe_map_buffer(edge->chunk, block % LETHE_CHUNK_BLOCKS) || entry.kind != KIND_SLOT ||
              entry.length > from);
    lethe_map_unpin(edge->chunk);
    edge->chunk = NULL;
    return needed ? edge_open(content, block, false, edge, obstacle) : LETHE_OK;
}

static void edge_zero(struct edge *edge, uint64_t from, uint64_t to)
{
    if (edge->chunk) {
        memset(edge_bytes(edge) + from, 0, to - from);
    }
}

enum lethe_err lethe_content_resize(struct lethe_content *content, uint64_t size, struct lethe_absent *absent)
{
    struct lethe_obstacle obstacle = {.absent = absent};
    struct edge edge = {NULL, 0, NULL};
    enum lethe_err err;

    if (size > LETHE_CONTENT_MAX) {
        return LETHE_ERR_ARG;
    }
    err = lock_mutable(content);
    if (err) {
        return err;
    }
    if (size < atomic_load(&content->size)) {
        if (size % BLOCK) {
            err = edge_open_for_zeros(content, size / BLOCK, size % BLOCK, &edge, &obstacle);
        }
        if (!err) {
            edge_zero(&edge, size % BLOCK, BLOCK);
            err = lethe_content_cut(content, blocks_of(size), UINT64_MAX);
        }
        edge_close(content->store, &edge);
    }
    if (!err) {
        atomic_store(&content->size, size);
    }
    unlock_changed(content);
    lethe_content_forget_bad(&obstacle.bad);
    return err;
}

static enum lethe_err punch_locked(struct lethe_content *content, uint64_t offset, uint64_t end,
                                   struct lethe_obstacle *obstacle)
{
    uint64_t size = atomic_load(&content->size), first = blocks_of(offset), last = end / BLOCK;
    struct edge head = {NULL, 0, NULL}, tail = {NULL, 0, NULL};
    bool one = offset / BLOCK == end / BLOCK, to_end = end >= size;
    enum lethe_err err = LETHE_OK;

    if (to_end) {
        /* What is behind the size is zeros anyway. */
        end = blocks_of(size) * BLOCK;
        last = end / BLOCK;
        one = false;
    }
    if (offset % BLOCK) {
        err = edge_open_for_zeros(content, offset / BLOCK, offset % BLOCK, &head, obstacle);
    }
    if (!err && end % BLOCK && !(one && offset % BLOCK)) {
        err = edge_open_for_zeros(content, end / BLOCK, 0, &tail, obstacle);
    }
    if (!err) {
        edge_zero(&head, offset % BLOCK, one ? end % BLOCK : BLOCK);
        edge_zero(&tail, 0, end % BLOCK);
        if (first < last) {
            err = lethe_content_cut(content, first, to_end ? UINT64_MAX : last);
        }
    }
    edge_close(content->store, &head);
    edge_close(content->store, &tail);
    return err;
}

enum lethe_err lethe_content_punch(struct lethe_content *content, uint64_t offset, uint64_t len,
                                   struct lethe_absent *absent)
{
    struct lethe_obstacle obstacle = {.absent = absent};
    enum lethe_err err;
    uint64_t size;

    err = lock_mutable(content);
    if (err) {
        return err;
    }
    size = atomic_load(&content->size);
    if (offset < size && len > 0) {
        err = punch_locked(content, offset, len > size - offset ? size : offset + len, &obstacle);
    }
    unlock_changed(content);
    lethe_content_forget_bad(&obstacle.bad);
    return err;
}
