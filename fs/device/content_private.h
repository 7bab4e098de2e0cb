/* SPDX-License-Identifier: MIT */
/*
 * What the files content*.c share. Read the top of content.c first: layout, invariants, locks.
 */
#ifndef LETHE_FS_DEVICE_CONTENT_PRIVATE_H
#define LETHE_FS_DEVICE_CONTENT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/device/arena.h"
#include "fs/device/content.h"
#include "fs/device/slots.h"

#define BLOCK ((uint64_t)LETHE_BLOCK_BYTES)
#define UNIT                                                                                                 \
    4096u /* sealed lengths are multiples: a file system would fill the rest of its block with zeros */
#define BATCH 16u /* blocks sealed or opened in one go */

enum { ARENA_STATE = 0, ARENA_CACHE = 1 };
enum { KIND_NONE = 0, KIND_HOLE = 1, KIND_SLOT = 2, KIND_ABSENT = 3 };

/* One block of a chunk map; a slot of the cache arena is always of its present generation. */
struct lethe_entry {
    uint8_t kind, arena;
    uint16_t length; /* sealed bytes; what lies behind them reads as zeros */
    uint32_t slot;
    uint64_t sequence;
    uint8_t tag[LETHE_TAG_BYTES];
};

struct lethe_chunk {
    struct lethe_content *content;
    uint64_t idx;
    /* content lock */
    struct lethe_entry *entries; /* NULL: every entry is of kind uniform */
    uint8_t **buffers;           /* NULL or 64: plaintext newer than the entry */
    unsigned buffered;
    uint8_t uniform;
    /* store lock; dirty is set under the content lock too */
    bool dirty; /* differs from its row */
    unsigned pins;
    struct lethe_chunk *hash_next;
    struct lethe_chunk *lru_previous, *lru_next;   /* only while clean and without pins */
    struct lethe_chunk *mate_previous, *mate_next; /* chunks of one content */
};

struct lethe_content {
    struct lethe_contents *store;
    struct lethe_id id;
    pthread_rwlock_t lock;

    /* content lock */
    enum lethe_content_state state;
    struct lethe_content *base; /* owned reference; itself always vaulted */
    uint64_t limit; /* blocks below it that have no entry come from base or vault; others are holes */
    uint64_t epoch;
    uint64_t data;    /* blocks that are no holes, those that come from base or vault among them */
    uint64_t cached;  /* blocks in the cache arena */
    uint64_t move_at; /* vaulted: chunks below it have no slot of arena 0 */
    bool dead;        /* listed in the table dead; a mutable one is with the next prepare */

    atomic_bool gone;      /* abandoned or dropped: no rows are written; set under the content lock */
    _Atomic uint64_t size; /* written under the content lock */
    _Atomic uint64_t used; /* the clock at the last use */
    _Atomic uint64_t used_stored;
    atomic_uint buffered; /* blocks in buffers; written under the content lock */

    /* store lock */
    unsigned refs;
    unsigned children; /* contents in memory whose base this is */
    bool moving;       /* in the store's list, which holds a reference */
    bool listed, buffer_listed;
    struct lethe_content *hash_next;
    struct lethe_content *dirty_previous, *dirty_next;   /* listed: holds a reference */
    struct lethe_content *buffer_previous, *buffer_next; /* buffer_listed */
    struct lethe_content *moving_next;
    struct lethe_content *idle_previous, *idle_next; /* refs == 0 */
    struct lethe_chunk *chunks;
};

/* Plaintext of written blocks: locked where the limit allows, never dumped, wiped when released. */
struct lethe_pool;
struct lethe_pool *lethe_pool_of_blocks(size_t most);
void lethe_blocks_free(struct lethe_pool *pool);
uint8_t *lethe_block_new(struct lethe_pool *pool); /* not cleared; NULL when memory is out */
void lethe_block_release(struct lethe_pool *pool, uint8_t *block);
size_t lethe_blocks_in_use(struct lethe_pool *pool);
size_t lethe_blocks_most(const struct lethe_pool *pool);

#define CONTENT_BUCKETS 4096u
#define CHUNK_BUCKETS 8192u
#define SCRATCHES 4u

struct lethe_contents {
    struct lethe_db *db;
    struct lethe_secret *key;
    struct lethe_arena *arenas[2];
    struct lethe_pool *pool;
    uint64_t limit, reserve;
    uint32_t generation; /* of the cache arena */
    char *database_path, *log_path;
    struct lethe_spares *spares;

    /* Sequences: the mount's number in the upper 24 bits. salts has one for each mount so far. */
    uint8_t (*salts)[16];
    size_t mounts;
    _Atomic uint64_t sequence;

    /* Whoever changes maps holds it shared; prepare holds it alone. */
    pthread_rwlock_t maps;

    _Atomic uint64_t clock;
    uint64_t clock_floor; /* what was last used before it lost its cached blocks with the cache folder */
    _Atomic uint64_t writes, synced; /* arena 0 */
    atomic_bool sync_failed;

    pthread_mutex_t lock; /* the store lock, for all that follows */
    pthread_cond_t moved;
    struct lethe_slots *slots[2];
    uint8_t *scratch[SCRATCHES]; /* ciphertext on its way */
    unsigned scratch_count;
    struct lethe_content *contents[CONTENT_BUCKETS];
    struct lethe_chunk *chunks[CHUNK_BUCKETS];
    struct lethe_chunk *lru_oldest, *lru_newest;
    size_t lru_count, lru_full; /* clean chunks; those of them that have entries */
    struct lethe_content *dirty_first, *dirty_last;
    struct lethe_content *buffer_first, *buffer_last;
    struct lethe_content *moving_first, *moving_last;
    struct lethe_content *idle_first, *idle_last;
    size_t idle_count;
    uint64_t reserved; /* bytes */
    uint64_t beside;   /* bytes of others in the cache folder */
    void (*give_way)(void *context, uint64_t bytes);
    void *give_way_context;
    uint64_t database; /* bytes, as last looked up */
    uint64_t disk;     /* bytes that the disk of the state can give, as looked up then, less a reserve for metadata */
    uint64_t lacking;  /* bytes that the reserve was short of */
    uint64_t promised; /* bytes of the disk given away since, and those that were not written yet when it was looked up */
    unsigned database_age;
    uint64_t progress; /* something moved */
    uint64_t wakes;    /* something may have come free */
    uint64_t evict_cursor;
    uint64_t next_epoch;
    bool (*pressure)(void *context);
    void *pressure_context;
    bool hold_moves;
    uint64_t written, plenty_at; /* bytes since the last cut; and how many are told of, 0: none */
    void (*plenty)(void *context);
    void *plenty_context;
    struct lethe_lent *lent; /* newest first */
    atomic_bool lending;     /* there may be one; no lock */
};

/* --- content_seal.c --- */

void lethe_block_seal(const struct lethe_contents *store, uint64_t sequence, const uint8_t *plain, size_t len,
                      uint8_t *cipher, uint8_t tag[LETHE_TAG_BYTES]);
/* In place. After LETHE_ERR_INTEGRITY nothing readable is left. */
enum lethe_err lethe_block_open(const struct lethe_contents *store, const struct lethe_entry *entry,
                                uint8_t *bytes) LETHE_MUST_CHECK;

/* --- content_io.c: blocks in and out of slots --- */

/*
 * Seals count (at most BATCH) blocks into fresh slots of arena and writes them; entries are complete on
 * success, and no slot is taken on failure. Lengths are multiples of UNIT.
 */
enum lethe_err lethe_blocks_put(struct lethe_contents *store, unsigned arena, const uint8_t *const *blocks,
                                const uint16_t *lengths, size_t count,
                                struct lethe_entry *entries) LETHE_MUST_CHECK;
/* Seals count > 0 whole blocks, neighbours in memory, into fresh slots of arena 0, all or none. */
enum lethe_err lethe_blocks_put_run(struct lethe_contents *store, const uint8_t *bytes, size_t count,
                                    struct lethe_entry *entries) LETHE_MUST_CHECK;
/* Copies the sealed bytes of count (at most BATCH) entries of one arena to fresh slots of arena, all or none.
 */
enum lethe_err lethe_blocks_move(struct lethe_contents *store, const struct lethe_entry *from, size_t count,
                                 unsigned arena, struct lethe_entry *to) LETHE_MUST_CHECK;
/* Reads and opens one block into 16 KiB. ABSENT instead of INTEGRITY for the cache arena. */
enum lethe_err lethe_block_get(struct lethe_contents *store, const struct lethe_entry *entry,
                               uint8_t *out) LETHE_MUST_CHECK;
/* The same; LETHE_ERR_BUSY and unread instead of waiting for the disk. */
enum lethe_err lethe_block_get_at_once(struct lethe_contents *store, const struct lethe_entry *entry, uint8_t *out,
                                       struct lethe_unread *unread) LETHE_MUST_CHECK;
/* Reads and opens count whole blocks of neighbouring slots; *bad is the index of the one that failed. */
enum lethe_err lethe_blocks_get(struct lethe_contents *store, const struct lethe_entry *entries, size_t count,
                                uint8_t *out, size_t *bad) LETHE_MUST_CHECK;
/* Drops the slots of entries of kind KIND_SLOT; takes the store lock. */
void lethe_entries_drop(struct lethe_contents *store, const struct lethe_entry *entries, size_t count);
/* Makes what was written to arena 0 durable. */
enum lethe_err lethe_blocks_sync(struct lethe_contents *store) LETHE_MUST_CHECK;
/*
 * After a sync that failed, the system takes pages that never reached the disk for clean: writes every slot
 * again that no commit names, so that the next sync is worth something. Maps lock held alone.
 */
enum lethe_err lethe_blocks_rewrite(struct lethe_contents *store) LETHE_MUST_CHECK;
/* Sealed length for len bytes of a block. */
uint16_t lethe_sealed_length(uint64_t len);

/* --- content_map.c: chunk maps --- */

/* Finds or loads a chunk (a missing row is a chunk of KIND_NONE) and keeps it in memory until unpinned. */
enum lethe_err lethe_map_pin(struct lethe_content *content, uint64_t idx,
                             struct lethe_chunk **out) LETHE_MUST_CHECK;
void lethe_map_unpin(struct lethe_chunk *chunk); /* NULL does nothing */
/* Memory for entries and buffers, so that what follows cannot fail. Content lock held for writing. */
enum lethe_err lethe_map_writable(struct lethe_chunk *chunk, bool buffers) LETHE_MUST_CHECK;
struct lethe_entry lethe_map_entry(const struct lethe_chunk *chunk, unsigned i);
uint8_t *lethe_map_buffer(const struct lethe_chunk *chunk, unsigned i);
/*
 * Replaces entry i of a writable chunk, frees its buffer, keeps the counts, marks the chunk dirty; the old
 * entry goes to *old, whose slot the caller drops. What has no own blocks is written as KIND_NONE.
 */
void lethe_map_set(struct lethe_chunk *chunk, unsigned i, const struct lethe_entry *entry,
                   struct lethe_entry *old);
/* Makes every entry of the chunk of this kind (no slots may be left in it). */
void lethe_map_fill_kind(struct lethe_chunk *chunk, uint8_t kind);
/* Puts a buffer above entry i; a buffer that is there already is released. */
void lethe_map_set_buffer(struct lethe_chunk *chunk, unsigned i, uint8_t *buffer);
/* The next chunk at from or later that has a row or lies in memory. */
enum lethe_err lethe_map_next(struct lethe_content *content, uint64_t from, bool *found,
                              uint64_t *idx) LETHE_MUST_CHECK;
/* Writes the row of a dirty chunk into the transaction. Under the gate only. */
enum lethe_err lethe_map_store(struct lethe_chunk *chunk) LETHE_MUST_CHECK;
/* Forgets what is in memory of a content. Store lock held; no pins. */
void lethe_map_forget(struct lethe_content *content);
bool lethe_block_is_data(const struct lethe_chunk *chunk, unsigned i);

static inline uint64_t blocks_of(uint64_t size)
{
    return size / BLOCK + (size % BLOCK != 0);
}

/* --- content_rows.c --- */

/* Database lock held. *found is false when there is no row; base is its id or zero. */
enum lethe_err lethe_content_row_load(struct lethe_content *content, bool *found, struct lethe_id *base) LETHE_MUST_CHECK;
enum lethe_err lethe_content_row_store(struct lethe_content *content) LETHE_MUST_CHECK;
enum lethe_err lethe_content_rows_delete(struct lethe_content *content) LETHE_MUST_CHECK;

/* --- content_refs.c: life of contents --- */

void lethe_content_free(struct lethe_content *content); /* in no list any more */
void lethe_content_touch(struct lethe_content *content);
void lethe_content_mark(struct lethe_content *content); /* its row or maps changed; takes the store lock */
void lethe_content_put_locked(struct lethe_content *content);
struct lethe_content *lethe_content_find_locked(struct lethe_contents *store, const struct lethe_id *id);
void lethe_content_set_base(struct lethe_content *content,
                            struct lethe_content *base); /* takes a reference */

/* --- content_read.c --- */

struct lethe_bad_block { /* a cached block whose tag failed: to be forgotten once the locks are released */
    struct lethe_content *content; /* owned reference or NULL */
    uint64_t block, sequence;
};
/* Where a change in part stops, and why. */
struct lethe_obstacle {
    struct lethe_absent *absent; /* LETHE_ERR_ABSENT; NULL: nobody asks */
    struct lethe_unread *unread; /* LETHE_ERR_BUSY; NULL: wait for the disk */
    struct lethe_bad_block bad;
};
/* Loads block into 16 KiB. Content lock held. */
enum lethe_err lethe_content_load_block(struct lethe_content *content, struct lethe_chunk *chunk,
                                        uint64_t block, uint8_t *out,
                                        struct lethe_obstacle *obstacle) LETHE_MUST_CHECK;
/* No locks held. */
void lethe_content_forget_bad(struct lethe_bad_block *bad);

/* --- content_write.c --- */

/* Seals at most max buffered blocks of a content. Maps shared or alone, content lock held for writing. */
enum lethe_err lethe_content_seal_buffers(struct lethe_content *content, size_t max) LETHE_MUST_CHECK;
/* Frees blocks [first, end) and below limit of them; end UINT64_MAX: to the end of the content. Under the
 * gate. */
enum lethe_err lethe_content_cut(struct lethe_content *content, uint64_t first,
                                 uint64_t end) LETHE_MUST_CHECK;
/* Seals buffers of whoever has some until the pool is below its bound. No locks held. */
enum lethe_err lethe_contents_relieve(struct lethe_contents *store) LETHE_MUST_CHECK;

/* --- content_space.c --- */

uint64_t lethe_contents_taken(struct lethe_contents *store); /* store lock held */
/*
 * Room for up to count more slots of the cache arena, evicting others than except when it must: returns how
 * many are reserved for the caller, who gives them back after taking slots. Maps lock held shared, no content
 * lock needed.
 */
uint64_t lethe_contents_room(struct lethe_contents *store, uint64_t count,
                             const struct lethe_content *except);
void lethe_contents_room_back(struct lethe_contents *store, uint64_t count);
/* Whether moves to the cache arena can wait. */
bool lethe_contents_moves_wait(struct lethe_contents *store);
void lethe_contents_trim(struct lethe_contents *store, uint64_t keep);
/* The cache makes way where the database grew, or others filled the disk. No locks held. Whether it did. */
bool lethe_contents_shrink(struct lethe_contents *store);
void lethe_contents_look_up_database(struct lethe_contents *store); /* store lock held */

/* --- content_lend.c --- */

/* Copies len bytes if all of them were lent; false when not. Takes the store lock. */
bool lethe_lent_copy(struct lethe_contents *store, const struct lethe_id *content, uint64_t offset, uint8_t *out,
                     size_t len);
/* Each second: what nobody came for goes. */
void lethe_lent_tick(struct lethe_contents *store);
void lethe_lent_release(struct lethe_contents *store);

/* --- content_evict.c --- */

/* Drops up to want cached blocks of a content; how many it had. Content lock held for writing. */
uint64_t lethe_content_evict(struct lethe_content *content, uint64_t want);
/* Drops cached blocks, least recently used contents first, until count slots came free; how many did. */
uint64_t lethe_contents_evict(struct lethe_contents *store, uint64_t count,
                              const struct lethe_content *except);

/* --- content_cache.c --- */

/* Puts a vaulted content whose blocks still lie in arena 0 on the list of those to move. Store lock held. */
void lethe_content_list_moving(struct lethe_content *content);
/* Moves blocks of vaulted contents to the cache arena, a bounded number of them. No locks held. */
enum lethe_err lethe_contents_move(struct lethe_contents *store) LETHE_MUST_CHECK;
/* Frees all that a content has and forgets its rows. Maps shared, content lock held for writing, under the
 * gate. */
enum lethe_err lethe_content_discard(struct lethe_content *content) LETHE_MUST_CHECK;
/* Of a mutable content that nothing names and that could not be discarded (memory, disk): a sweep does it later. */
void lethe_content_doom(struct lethe_content *content);
/* Lists it in the table dead. */
enum lethe_err lethe_content_list_dead(struct lethe_content *content) LETHE_MUST_CHECK;

#endif
