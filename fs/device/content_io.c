/* SPDX-License-Identifier: MIT */
/* Blocks in and out of slots. No lock is held over file I/O here but what the caller holds (a content's). */
#include "fs/device/content_private.h"

#include <stdlib.h>
#include <string.h>

uint16_t lethe_sealed_length(uint64_t len)
{
    if (len >= BLOCK) {
        return (uint16_t)BLOCK;
    }
    return len == 0 ? (uint16_t)UNIT : (uint16_t)((len + UNIT - 1) / UNIT * UNIT);
}

/* BATCH blocks for ciphertext; a few are kept, so that the system need not clear fresh pages for each write.
 */
static uint8_t *scratch_take(struct lethe_contents *store)
{
    uint8_t *scratch = NULL;

    pthread_mutex_lock(&store->lock);
    if (store->scratch_count > 0) {
        scratch = store->scratch[--store->scratch_count];
    }
    pthread_mutex_unlock(&store->lock);
    return scratch ? scratch : malloc(BATCH * BLOCK);
}

static void scratch_back(struct lethe_contents *store, uint8_t *scratch)
{
    pthread_mutex_lock(&store->lock);
    if (store->scratch_count < SCRATCHES) {
        store->scratch[store->scratch_count++] = scratch;
        scratch = NULL;
    }
    pthread_mutex_unlock(&store->lock);
    free(scratch);
}

void lethe_entries_drop(struct lethe_contents *store, const struct lethe_entry *entries, size_t count)
{
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == KIND_SLOT) {
            lethe_slots_drop(store->slots[entries[i].arena], entries[i].slot);
        }
    }
    pthread_mutex_unlock(&store->lock);
}

/* Slots for all entries, or for none of them. */
static enum lethe_err take_slots(struct lethe_contents *store, unsigned arena, size_t count,
                                 struct lethe_entry *entries)
{
    enum lethe_err err = LETHE_OK;
    size_t done = 0;

    pthread_mutex_lock(&store->lock);
    while (done < count) {
        uint32_t first, n;

        err = lethe_slots_take(store->slots[arena], (uint32_t)(count - done), &first, &n);
        if (err) {
            break;
        }
        for (uint32_t i = 0; i < n; i++, done++) {
            entries[done] =
                (struct lethe_entry){.kind = KIND_SLOT, .arena = (uint8_t)arena, .slot = first + i};
        }
    }
    for (size_t i = 0; err && i < done; i++) {
        lethe_slots_drop(store->slots[arena], entries[i].slot);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

/* Seals at most BATCH blocks into slots that were taken. */
static enum lethe_err fill_slots(struct lethe_contents *store, unsigned arena, const uint8_t *const *blocks,
                                 const uint16_t *lengths, size_t count, struct lethe_entry *entries, uint8_t *cipher)
{
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < count; i++) {
        entries[i].sequence = atomic_fetch_add(&store->sequence, 1);
        entries[i].length = lengths[i];
        lethe_block_seal(store, entries[i].sequence, blocks[i], lengths[i], cipher + i * BLOCK,
                         entries[i].tag);
    }
    for (size_t i = 0, n; i < count && !err; i += n) {
        for (n = 1;
             i + n < count && entries[i + n].slot == entries[i].slot + n && lengths[i + n - 1] == BLOCK;
             n++) {
        }
        err = lethe_arena_write(store->arenas[arena], entries[i].slot, cipher + i * BLOCK,
                                (n - 1) * BLOCK + lengths[i + n - 1]);
    }
    if (arena == ARENA_STATE) {
        atomic_fetch_add(&store->writes, 1);
    }
    return err;
}

enum lethe_err lethe_blocks_put(struct lethe_contents *store, unsigned arena, const uint8_t *const *blocks,
                                const uint16_t *lengths, size_t count, struct lethe_entry *entries)
{
    uint8_t *cipher;
    enum lethe_err err;

    if (count == 0 || count > BATCH) {
        return LETHE_ERR_ARG;
    }
    cipher = scratch_take(store);
    if (!cipher) {
        return LETHE_ERR_NOMEM;
    }
    err = take_slots(store, arena, count, entries);
    if (err) {
        scratch_back(store, cipher);
        return err;
    }
    err = fill_slots(store, arena, blocks, lengths, count, entries, cipher);
    scratch_back(store, cipher);
    if (err) {
        lethe_entries_drop(store, entries, count);
    }
    return err;
}

enum lethe_err lethe_blocks_put_run(struct lethe_contents *store, const uint8_t *bytes, size_t count,
                                    struct lethe_entry *entries)
{
    const uint8_t *blocks[BATCH];
    uint16_t lengths[BATCH];
    uint8_t *cipher = scratch_take(store);
    enum lethe_err err;

    if (!cipher) {
        return LETHE_ERR_NOMEM;
    }
    /* All at once: others write at the same time, and a file is read faster where its slots are neighbours. */
    err = take_slots(store, ARENA_STATE, count, entries);
    if (err) {
        scratch_back(store, cipher);
        return err;
    }
    for (size_t done = 0, n; done < count && !err; done += n) {
        n = count - done < BATCH ? count - done : BATCH;
        for (size_t i = 0; i < n; i++) {
            blocks[i] = bytes + (done + i) * BLOCK;
            lengths[i] = (uint16_t)BLOCK;
        }
        err = fill_slots(store, ARENA_STATE, blocks, lengths, n, entries + done, cipher);
    }
    scratch_back(store, cipher);
    if (err) {
        lethe_entries_drop(store, entries, count);
    }
    return err;
}

static bool neighbours(const struct lethe_entry *entries, size_t i, size_t n)
{
    return entries[i + n].slot == entries[i].slot + n && entries[i + n - 1].length == BLOCK;
}

enum lethe_err lethe_blocks_move(struct lethe_contents *store, const struct lethe_entry *from, size_t count,
                                 unsigned arena, struct lethe_entry *to)
{
    uint8_t *cipher;
    enum lethe_err err;

    if (count == 0 || count > BATCH) {
        return LETHE_ERR_ARG;
    }
    cipher = scratch_take(store);
    if (!cipher) {
        return LETHE_ERR_NOMEM;
    }
    err = take_slots(store, arena, count, to);
    if (err) {
        scratch_back(store, cipher);
        return err;
    }
    for (size_t i = 0, n; i < count && !err; i += n) {
        for (n = 1; i + n < count && neighbours(from, i, n); n++) {
        }
        err = lethe_arena_read(store->arenas[from[i].arena], from[i].slot, cipher + i * BLOCK,
                               (n - 1) * BLOCK + from[i + n - 1].length);
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = to[i].slot;

        to[i] = from[i];
        to[i].arena = (uint8_t)arena;
        to[i].slot = slot;
    }
    for (size_t i = 0, n; i < count && !err; i += n) {
        for (n = 1; i + n < count && neighbours(to, i, n); n++) {
        }
        err = lethe_arena_write(store->arenas[arena], to[i].slot, cipher + i * BLOCK,
                                (n - 1) * BLOCK + to[i + n - 1].length);
    }
    if (arena == ARENA_STATE) {
        atomic_fetch_add(&store->writes, 1);
    }
    scratch_back(store, cipher);
    if (err) {
        lethe_entries_drop(store, to, count);
    }
    return err;
}

static enum lethe_err failure(unsigned arena, enum lethe_err err)
{
    if (arena == ARENA_CACHE) {
        return LETHE_ERR_ABSENT; /* the vault has it */
    }
    return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
}

/* err: of reading. */
static enum lethe_err opened(struct lethe_contents *store, const struct lethe_entry *entry, uint8_t *out,
                             enum lethe_err err)
{
    if (!err) {
        err = lethe_block_open(store, entry, out);
    }
    if (err) {
        return failure(entry->arena, err);
    }
    memset(out + entry->length, 0, BLOCK - entry->length);
    return LETHE_OK;
}

enum lethe_err lethe_block_get(struct lethe_contents *store, const struct lethe_entry *entry, uint8_t *out)
{
    return opened(store, entry, out,
                  lethe_arena_read(store->arenas[entry->arena], entry->slot, out, entry->length));
}

enum lethe_err lethe_block_get_at_once(struct lethe_contents *store, const struct lethe_entry *entry, uint8_t *out,
                                       struct lethe_unread *unread)
{
    enum lethe_err err = lethe_arena_read_cached(store->arenas[entry->arena], entry->slot, out, entry->length);

    if (err == LETHE_ERR_BUSY) {
        *unread = (struct lethe_unread){entry->arena, entry->slot, entry->length};
        return err;
    }
    return opened(store, entry, out, err);
}

void lethe_contents_fetch(struct lethe_contents *store, const struct lethe_unread *unread)
{
    uint8_t sealed[LETHE_BLOCK_BYTES];

    if (unread->len <= sizeof sealed) {
        (void)!lethe_arena_read(store->arenas[unread->arena], unread->slot, sealed, unread->len);
    }
}

enum lethe_err lethe_blocks_get(struct lethe_contents *store, const struct lethe_entry *entries, size_t count,
                                uint8_t *out, size_t *bad)
{
    enum lethe_err err =
        lethe_arena_read(store->arenas[entries[0].arena], entries[0].slot, out, count * BLOCK);

    if (err && count > 1) {
        /* One of them is past the end, or unreadable: find out which. */
        for (size_t i = 0; i < count; i++) {
            err = lethe_block_get(store, &entries[i], out + i * BLOCK);
            if (err) {
                *bad = i;
                return err;
            }
        }
        return LETHE_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (!err) {
            err = lethe_block_open(store, &entries[i], out + i * BLOCK);
        }
        if (err) {
            *bad = i;
            return failure(entries[i].arena, err);
        }
    }
    return LETHE_OK;
}

enum lethe_err lethe_blocks_rewrite(struct lethe_contents *store)
{
    uint8_t bytes[LETHE_BLOCK_BYTES];
    uint32_t *slots = NULL;
    size_t count = 0;
    enum lethe_err err;

    pthread_mutex_lock(&store->lock);
    err = lethe_slots_unnamed(store->slots[ARENA_STATE], &slots, &count);
    pthread_mutex_unlock(&store->lock);
    for (size_t i = 0; i < count && !err; i++) {
        size_t len = LETHE_BLOCK_BYTES;

        /* The last slot of the file may be short. */
        do {
            err = lethe_arena_read(store->arenas[ARENA_STATE], slots[i], bytes, len);
            len -= err == LETHE_ERR_NOT_FOUND ? UNIT : 0;
        } while (err == LETHE_ERR_NOT_FOUND && len > 0);
        if (!err) {
            err = lethe_arena_write(store->arenas[ARENA_STATE], slots[i], bytes, len);
        }
    }
    free(slots);
    atomic_fetch_add(&store->writes, 1);
    return err;
}

enum lethe_err lethe_blocks_sync(struct lethe_contents *store)
{
    uint64_t writes = atomic_load(&store->writes);
    enum lethe_err err;

    if (writes == atomic_load(&store->synced)) {
        return LETHE_OK;
    }
    err = lethe_arena_sync(store->arenas[ARENA_STATE]);
    if (err) {
        atomic_store(&store->sync_failed, true);
        return err;
    }
    atomic_store(&store->synced, writes);
    return LETHE_OK;
}
