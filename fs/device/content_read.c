/* SPDX-License-Identifier: MIT */
/* Reading: whole blocks are opened in the caller's memory; blocks that a content has none of come from its
 * base. */
#include "fs/device/content_private.h"

#include <string.h>

/* Where the bytes of a block come from. */
struct source {
    enum { FROM_BUFFER, FROM_ZEROS, FROM_SLOT, FROM_NOWHERE } kind;
    struct lethe_content *content; /* whose slot, or who lacks it */
    uint8_t *buffer;
    struct lethe_entry entry;
};

/* The chunk of the base that goes with the chunk at hand. */
struct base_chunk {
    struct lethe_chunk *chunk;
};

/* Content lock held; with a base its lock is held too. */
static enum lethe_err look_up(struct lethe_content *content, struct lethe_chunk *chunk, uint64_t block,
                              struct base_chunk *below, struct source *out)
{
    unsigned i = block % LETHE_CHUNK_BLOCKS;
    enum lethe_err err;

    out->content = content;
    out->buffer = lethe_map_buffer(chunk, i);
    out->entry = lethe_map_entry(chunk, i);
    if (out->buffer) {
        out->kind = FROM_BUFFER;
        return LETHE_OK;
    }
    if (out->entry.kind == KIND_NONE && block < content->limit && content->base) {
        struct lethe_content *base = content->base;

        if (!below->chunk || below->chunk->idx != chunk->idx) {
            lethe_map_unpin(below->chunk);
            below->chunk = NULL;
            err = lethe_map_pin(base, chunk->idx, &below->chunk);
            if (err) {
                return err;
            }
        }
        out->content = base;
        out->entry = lethe_map_entry(below->chunk, i);
        if (out->entry.kind == KIND_NONE) {
            out->entry.kind = block < base->limit ? KIND_ABSENT : KIND_HOLE;
        }
    } else if (out->entry.kind == KIND_NONE) {
        out->entry.kind = block < content->limit ? KIND_ABSENT : KIND_HOLE;
    }
    switch (out->entry.kind) {
    case KIND_SLOT:
        out->kind = FROM_SLOT;
        break;
    case KIND_HOLE:
        out->kind = FROM_ZEROS;
        break;
    default:
        out->kind = FROM_NOWHERE;
        break;
    }
    return LETHE_OK;
}

static void lock_base(struct lethe_content *content)
{
    if (content->base) {
        pthread_rwlock_rdlock(&content->base->lock);
    }
}

static void unlock_base(struct lethe_content *content)
{
    if (content->base) {
        pthread_rwlock_unlock(&content->base->lock);
    }
}

static void remember_bad(struct lethe_bad_block *bad, struct lethe_content *content, uint64_t block,
                         uint64_t sequence)
{
    if (!bad->content) {
        bad->content = lethe_content_ref(content);
        bad->block = block;
        bad->sequence = sequence;
    }
}

void lethe_content_forget_bad(struct lethe_bad_block *bad)
{
    struct lethe_content *content = bad->content;
    struct lethe_contents *store;
    struct lethe_chunk *chunk = NULL;
    struct lethe_entry old = {0}, none = {.kind = KIND_ABSENT};
    unsigned i = bad->block % LETHE_CHUNK_BLOCKS;

    if (!content) {
        return;
    }
    store = content->store;
    pthread_rwlock_rdlock(&store->maps);
    pthread_rwlock_wrlock(&content->lock);
    if (content->state == LETHE_CONTENT_VAULTED && !content->gone &&
        lethe_map_pin(content, bad->block / LETHE_CHUNK_BLOCKS, &chunk) == LETHE_OK) {
        struct lethe_entry entry = lethe_map_entry(chunk, i);

        if (entry.kind == KIND_SLOT && entry.sequence == bad->sequence &&
            lethe_map_writable(chunk, false) == LETHE_OK) {
            lethe_map_set(chunk, i, &none, &old);
            lethe_entries_drop(store, &old, 1);
            lethe_content_mark(content);
        }
    }
    lethe_map_unpin(chunk);
    pthread_rwlock_unlock(&content->lock);
    pthread_rwlock_unlock(&store->maps);
    lethe_content_put(content);
    bad->content = NULL;
}

static void set_absent(struct lethe_absent *absent, const struct lethe_content *content, uint64_t block)
{
    if (absent) {
        absent->content = content->id;
        absent->offset = block * BLOCK;
        absent->length = BLOCK;
    }
}

/* Whether these bytes of one block were lent; behind a content's end follow zeros, which nobody lends. */
static bool lent_bytes(struct lethe_content *content, uint64_t offset, uint8_t *out, size_t len)
{
    uint64_t size = atomic_load(&content->size);
    size_t there = size <= offset ? 0 : size - offset < len ? (size_t)(size - offset) : len;

    if (offset / BLOCK * BLOCK >= size ||
        (there > 0 && !lethe_lent_copy(content->store, &content->id, offset, out, there))) {
        return false;
    }
    memset(out + there, 0, len - there);
    return true;
}

enum lethe_err lethe_content_load_block(struct lethe_content *content, struct lethe_chunk *chunk,
                                        uint64_t block, uint8_t *out, struct lethe_obstacle *obstacle)
{
    struct base_chunk below = {NULL};
    struct source source;
    enum lethe_err err;

    lock_base(content);
    err = look_up(content, chunk, block, &below, &source);
    if (!err) {
        switch (source.kind) {
        case FROM_BUFFER:
            memcpy(out, source.buffer, BLOCK);
            break;
        case FROM_ZEROS:
            memset(out, 0, BLOCK);
            break;
        case FROM_SLOT:
            err = obstacle->unread
                      ? lethe_block_get_at_once(content->store, &source.entry, out, obstacle->unread)
                      : lethe_block_get(content->store, &source.entry, out);
            if (err == LETHE_ERR_ABSENT) {
                remember_bad(&obstacle->bad, source.content, block, source.entry.sequence);
            }
            break;
        case FROM_NOWHERE:
            err = LETHE_ERR_ABSENT;
            break;
        }
    }
    if (err == LETHE_ERR_ABSENT && lent_bytes(source.content, block * BLOCK, out, BLOCK)) {
        err = LETHE_OK;
    }
    if (err == LETHE_ERR_ABSENT) {
        set_absent(obstacle->absent, source.content, block);
    }
    lethe_map_unpin(below.chunk);
    unlock_base(content);
    return err;
}

/* Neighbouring slots of whole blocks that one read brings. */
struct run {
    struct lethe_entry entries[BATCH];
    struct lethe_content *content;
    uint64_t block;
    size_t count;
    uint8_t *out;
};

static enum lethe_err finish_run(struct lethe_contents *store, struct run *run, struct lethe_absent *absent,
                                 struct lethe_bad_block *bad)
{
    size_t failed = 0;
    enum lethe_err err = LETHE_OK;

    if (run->count > 0) {
        err = lethe_blocks_get(store, run->entries, run->count, run->out, &failed);
        if (err == LETHE_ERR_ABSENT) {
            set_absent(absent, run->content, run->block + failed);
            remember_bad(bad, run->content, run->block + failed, run->entries[failed].sequence);
        }
    }
    run->count = 0;
    return err;
}

static bool joins(const struct run *run, const struct source *source)
{
    return run->count > 0 && run->count < BATCH && run->content == source->content &&
           run->entries[0].arena == source->entry.arena &&
           run->entries[0].slot + run->count == source->entry.slot;
}

/* len > 0 and inside the size; locks held. */
static enum lethe_err read_range(struct lethe_content *content, uint64_t offset, uint8_t *out, size_t len,
                                 struct lethe_absent *absent, struct lethe_bad_block *bad)
{
    struct lethe_contents *store = content->store;
    struct lethe_chunk *chunk = NULL;
    struct base_chunk below = {NULL};
    struct run run = {.count = 0};
    uint8_t *scratch = NULL;
    bool missing = false;
    enum lethe_err err = LETHE_OK;

    while (len > 0 && !err) {
        uint64_t block = offset / BLOCK;
        size_t within = offset % BLOCK, n = len < BLOCK - within ? len : BLOCK - within;
        struct source source;

        if (!chunk || chunk->idx != block / LETHE_CHUNK_BLOCKS) {
            lethe_map_unpin(chunk);
            chunk = NULL;
            err = lethe_map_pin(content, block / LETHE_CHUNK_BLOCKS, &chunk);
            if (err) {
                break;
            }
        }
        err = look_up(content, chunk, block, &below, &source);
        if (err) {
            break;
        }
        if (missing) {
            /* Only how far the gap goes is of interest now. */
            if (source.kind != FROM_NOWHERE || !lethe_id_equal(&absent->content, &source.content->id)) {
                break;
            }
            absent->length += BLOCK;
        } else if (source.kind == FROM_SLOT && n == BLOCK && source.entry.length == BLOCK) {
            if (!joins(&run, &source)) {
                err = finish_run(store, &run, absent, bad);
                run.content = source.content;
                run.block = block;
                run.out = out;
            }
            run.entries[run.count++] = source.entry;
        } else {
            err = finish_run(store, &run, absent, bad);
            if (err) {
                break;
            }
            switch (source.kind) {
            case FROM_BUFFER:
                memcpy(out, source.buffer + within, n);
                break;
            case FROM_ZEROS:
                memset(out, 0, n);
                break;
            case FROM_SLOT:
                if (!scratch) {
                    scratch = lethe_block_new(store->pool);
                }
                err = scratch ? lethe_block_get(store, &source.entry, scratch) : LETHE_ERR_NOMEM;
                if (!err) {
                    memcpy(out, scratch + within, n);
                } else if (err == LETHE_ERR_ABSENT) {
                    set_absent(absent, source.content, block);
                    remember_bad(bad, source.content, block, source.entry.sequence);
                }
                break;
            case FROM_NOWHERE:
                if (!lent_bytes(source.content, offset, out, n)) {
                    set_absent(absent, source.content, block);
                    missing = true;
                }
                break;
            }
        }
        out += n;
        offset += n;
        len -= n;
    }
    if (!err) {
        err = finish_run(store, &run, absent, bad);
    }
    if (!err && missing) {
        err = LETHE_ERR_ABSENT;
    }
    lethe_map_unpin(chunk);
    lethe_map_unpin(below.chunk);
    lethe_block_release(store->pool, scratch);
    return err;
}

enum lethe_err lethe_content_read(struct lethe_content *content, uint64_t offset, void *buffer, size_t len,
                                  size_t *got, struct lethe_absent *absent)
{
    struct lethe_bad_block bad = {NULL, 0, 0};
    struct lethe_contents *store = content->store;
    struct lethe_absent ignored;
    enum lethe_err err = LETHE_OK;
    uint64_t size;

    *got = 0;
    lethe_content_touch(content);
    pthread_rwlock_rdlock(&content->lock);
    size = atomic_load(&content->size);
    if (content->gone) {
        err = LETHE_ERR_NOT_FOUND; /* nothing is left of it: what looks like holes never was its bytes */
    } else if (offset < size && len > 0) {
        if (len > size - offset) {
            len = (size_t)(size - offset);
        }
        if (content->state != LETHE_CONTENT_VAULTED ||
            !lethe_lent_copy(store, &content->id, offset, buffer, len)) {
            if (content->base) {
                lethe_content_touch(content->base);
            }
            lock_base(content);
            err = read_range(content, offset, buffer, len, absent ? absent : &ignored, &bad);
            unlock_base(content);
        }
        if (!err) {
            *got = len;
        }
    }
    pthread_rwlock_unlock(&content->lock);
    lethe_content_forget_bad(&bad);
    return err;
}

/* Whether blocks from *block on up to end are data or not; moves *block to the first that is as wanted. */
static enum lethe_err seek_block(struct lethe_content *content, bool data, uint64_t *block, uint64_t end)
{
    struct base_chunk below = {NULL};
    struct lethe_chunk *chunk = NULL;
    enum lethe_err err = LETHE_OK;

    while (*block < end) {
        uint64_t idx = *block / LETHE_CHUNK_BLOCKS;
        struct source source;

        /* Chunks that nothing is known of are all alike: holes from the limit on, absent below it without a
         * base. */
        if (*block % LETHE_CHUNK_BLOCKS == 0 && (*block >= content->limit || !content->base)) {
            uint64_t next = idx, stop = end;
            bool found;

            err = lethe_map_next(content, idx, &found, &next);
            if (err) {
                break;
            }
            if (found && next < UINT64_MAX / LETHE_CHUNK_BLOCKS && next * LETHE_CHUNK_BLOCKS < stop) {
                stop = next * LETHE_CHUNK_BLOCKS;
            }
            if (*block < content->limit && stop > content->limit) {
                stop = content->limit;
            }
            if (stop > *block) {
                if (data == (*block < content->limit)) {
                    break;
                }
                *block = stop;
                continue;
            }
        }
        if (!chunk || chunk->idx != idx) {
            lethe_map_unpin(chunk);
            chunk = NULL;
            err = lethe_map_pin(content, idx, &chunk);
            if (err) {
                break;
            }
        }
        err = look_up(content, chunk, *block, &below, &source);
        if (err || (source.kind != FROM_ZEROS) == data) {
            break;
        }
        (*block)++;
    }
    lethe_map_unpin(chunk);
    lethe_map_unpin(below.chunk);
    return err;
}

enum lethe_err lethe_content_seek(struct lethe_content *content, uint64_t offset, bool data, uint64_t *out)
{
    enum lethe_err err;
    uint64_t size, block = offset / BLOCK, end;

    pthread_rwlock_rdlock(&content->lock);
    size = atomic_load(&content->size);
    end = size / BLOCK + (size % BLOCK != 0);
    if (offset >= size) {
        err = LETHE_ERR_NOT_FOUND;
    } else {
        lock_base(content);
        err = seek_block(content, data, &block, end);
        unlock_base(content);
    }
    pthread_rwlock_unlock(&content->lock);
    if (err) {
        return err;
    }
    if (block >= end) {
        if (data) {
            return LETHE_ERR_NOT_FOUND;
        }
        *out = size;
        return LETHE_OK;
    }
    *out = block * BLOCK > offset ? block * BLOCK : offset;
    return LETHE_OK;
}

uint64_t lethe_content_blocks512(struct lethe_content *content)
{
    uint64_t data, size, holes;

    pthread_rwlock_rdlock(&content->lock);
    data = content->data;
    size = atomic_load(&content->size);
    if (content->base) {
        /* What comes from the base counts as data; take its holes off, as if none of them was written over.
         */
        lock_base(content);
        holes = atomic_load(&content->base->size) / BLOCK;
        holes = holes > content->base->data ? holes - content->base->data : 0;
        holes = holes < content->limit ? holes : content->limit;
        data = data > holes ? data - holes : 0;
        unlock_base(content);
    }
    pthread_rwlock_unlock(&content->lock);
    /* A dense file takes what its size says, like on ext4; not a whole last block of ours. */
    if (data >= size / BLOCK + (size % BLOCK != 0)) {
        return (size + 4095) / 4096 * 8;
    }
    return data * (BLOCK / 512);
}

bool lethe_content_same_as_base(struct lethe_content *content, uint64_t offset, uint64_t len,
                                struct lethe_id *base)
{
    uint64_t block = offset / BLOCK, end;
    struct lethe_chunk *chunk = NULL;
    bool same;

    pthread_rwlock_rdlock(&content->lock);
    same = content->base && len > 0 && offset <= LETHE_CONTENT_MAX && len <= LETHE_CONTENT_MAX;
    end = same ? (offset + len + BLOCK - 1) / BLOCK : block;
    same = same && end <= content->limit;
    if (same) {
        *base = content->base->id;
    }
    while (same && block < end) {
        uint64_t next;
        bool found;

        if (!chunk || chunk->idx != block / LETHE_CHUNK_BLOCKS) {
            lethe_map_unpin(chunk);
            chunk = NULL;
            same = lethe_map_next(content, block / LETHE_CHUNK_BLOCKS, &found, &next) == LETHE_OK;
            if (!same || !found || next >= (end + LETHE_CHUNK_BLOCKS - 1) / LETHE_CHUNK_BLOCKS) {
                break;
            }
            if (next != block / LETHE_CHUNK_BLOCKS) {
                block = next * LETHE_CHUNK_BLOCKS;
            }
            same = lethe_map_pin(content, next, &chunk) == LETHE_OK;
            continue;
        }
        same = !lethe_map_buffer(chunk, block % LETHE_CHUNK_BLOCKS) &&
               lethe_map_entry(chunk, block % LETHE_CHUNK_BLOCKS).kind == KIND_NONE;
        block++;
    }
    lethe_map_unpin(chunk);
    pthread_rwlock_unlock(&content->lock);
    return same;
}
