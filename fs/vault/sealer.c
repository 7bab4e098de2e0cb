/* SPDX-License-Identifier: MIT */
#include "fs/vault/sealer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "fs/spares.h"
#include "fs/vault/pack.h"
#include "fs/vault/restore.h"
#include "lethe/codec.h"
#include "lethe/log.h"

#define SEGMENT (4u << 20)
#define SMALL (256u << 10)      /* contents up to this size go into packs */
#define PHOTO_MAX (512u << 20)  /* files beyond are segments: a photo is held in memory whole */
#define FETCHES 64u             /* of older bytes for one segment */
#define ZSTD_LEVEL 3
#define PATIENCE 3              /* runs in which a disk may give errors on reading */
#define PUT_RELIED_ON_SECONDS (12 * 3600)
#define KEPT_MAX (64u << 20)    /* bytes of replaced files that wait in memory to be cached */

struct lethe_sealer {
    struct lethe_sealer_options options;
    struct lethe_uploads *uploads;
    pthread_mutex_t lock; /* guards pack and the queue */
    struct lethe_pack *pack;
    struct lethe_id *queue;
    size_t count, next;
    enum lethe_err failed; /* the first error that stops the run; guarded by lock */
    atomic_bool unread;  /* the disk of this device gave an error in this run */
    atomic_uint patience; /* runs that may still end so, before what cannot be read counts as lost */
    atomic_bool cancel;
    atomic_uint_fast64_t total, done, bytes, stored;
    atomic_uint_fast64_t kept; /* bytes of files in records that wait for their puts */
};

/*
 * A content on its way to the vault. Every put that its record waits for holds a reference, and so does the job that
 * makes them; the last to go records it. Its pieces are the job's until that gives it to a pack, then the pack's until
 * it is sealed, and only read after.
 */
struct deed {
    struct lethe_sealer *sealer;
    struct lethe_record record;
    atomic_uint references;
    atomic_int err; /* the first */
};

/* The memory of a worker, used for one content after the other. */
struct scratch {
    uint8_t *segment; /* SEGMENT bytes, or NULL */
    struct lethe_buf compressed, opened;
    ZSTD_CCtx *zstd; /* its tables are large, too */
};

/* What a worker holds while it seals one content. */
struct job {
    struct lethe_sealer *sealer;
    struct scratch *scratch;
    struct lethe_content *content;
    struct deed *deed;
    struct lethe_record *record; /* of deed */
    uint64_t size;
    bool unreadable; /* what read_range could not read will never be there */
};

/* The files whose bytes a record replaced. */
struct changes {
    uint64_t inos[16];
    size_t count;
};

static void note_change(void *context, uint64_t ino)
{
    struct changes *changes = context;

    if (changes->count < sizeof changes->inos / sizeof *changes->inos) {
        changes->inos[changes->count++] = ino;
    }
}

/* Into the cache what would have to be fetched otherwise, and the word to who caches the old bytes. */
static void after_replacing(struct lethe_sealer *sealer, struct lethe_content *content, const struct lethe_record *record,
                            const struct changes *changes)
{
    if (record->file.len > 0) {
        lethe_gate_enter(sealer->options.committer);
        (void)!lethe_content_fill(content, 0, record->file.data, record->file.len); /* else it is brought when read */
        lethe_gate_leave(sealer->options.committer, true);
    }
    for (size_t i = 0; i < changes->count && sealer->options.changed; i++) {
        sealer->options.changed(sealer->options.context, changes->inos[i]);
    }
}

/* The record into the database and the content to its vaulted state, in one commit. */
static enum lethe_err finish(struct lethe_sealer *sealer, const struct lethe_record *record)
{
    struct lethe_content *content = NULL;
    struct changes changes = {.count = 0};
    enum lethe_err err;

    err = lethe_content_get(sealer->options.contents, &record->content, record->size, &content);
    if (!err) {
        lethe_gate_enter(sealer->options.committer);
        err = lethe_record_store(sealer->options.db, record);
        if (!err && record->replaced) {
            err = lethe_tree_replace(sealer->options.tree, content, record->size, note_change, &changes);
        } else if (!err) {
            /* What can be read of a damaged content is kept here for as long as a file names it. */
            err = lethe_record_is_damaged(record) ? LETHE_OK : lethe_content_vaulted(content);
        }
        lethe_gate_leave(sealer->options.committer, true);
        if (!err && record->replaced) {
            after_replacing(sealer, content, record, &changes);
        }
        lethe_content_put(content);
    }
    if (!err) {
        atomic_fetch_add(&sealer->done, 1);
        atomic_fetch_add(&sealer->bytes, record->size);
        lethe_contents_progress(sealer->options.contents);
    }
    return err;
}

/* What has gone wrong ends the run, and what waits to be put. */
static void fail(struct lethe_sealer *sealer, enum lethe_err err)
{
    pthread_mutex_lock(&sealer->lock);
    if (!sealer->failed) {
        sealer->failed = err;
    }
    pthread_mutex_unlock(&sealer->lock);
    lethe_uploads_cancel(sealer->uploads, true);
}

static struct deed *deed_ref(struct deed *deed)
{
    atomic_fetch_add(&deed->references, 1);
    return deed;
}

/* Gives a reference back, with the error of what it was held for. */
static void deed_put(struct deed *deed, enum lethe_err err)
{
    int none = LETHE_OK;

    if (err) {
        (void)atomic_compare_exchange_strong(&deed->err, &none, (int)err);
    }
    if (atomic_fetch_sub(&deed->references, 1) > 1) {
        return;
    }
    err = (enum lethe_err)atomic_load(&deed->err);
    if (!err) {
        err = finish(deed->sealer, &deed->record);
    }
    if (err) {
        fail(deed->sealer, err);
    }
    atomic_fetch_sub(&deed->sealer->kept, deed->record.file.len);
    lethe_record_release(&deed->record);
    free(deed);
}

static void object_done(void *context, enum lethe_err err, size_t stored)
{
    struct deed *deed = context;

    atomic_fetch_add(&deed->sealer->stored, stored);
    if (!err) {
        lethe_contents_moving(deed->sealer->options.contents);
    }
    deed_put(deed, err);
}

/* A segment of several on its way: a run that breaks off need not put it again. */
struct segment_put {
    struct deed *deed;
    struct lethe_piece piece;
};

static void segment_done(void *context, enum lethe_err err, size_t stored)
{
    struct segment_put *put = context;
    struct deed *deed = put->deed;
    const struct lethe_sealer_options *options = &deed->sealer->options;

    if (!err) {
        lethe_gate_enter(options->committer);
        (void)!lethe_record_note(options->db, &deed->record.content, &put->piece); /* else it is put again */
        lethe_gate_leave(options->committer, true);
    }
    free(put);
    object_done(deed, err, stored);
}

/* Puts the pack when it has at least this size, with a fresh one in its place. */
static enum lethe_err flush_pack(struct lethe_sealer *sealer, size_t least)
{
    struct lethe_pack *full = NULL, *fresh = NULL;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&sealer->lock);
    if (lethe_pack_size(sealer->pack) >= least) {
        err = lethe_pack_new(sealer->options.vault, object_done, &fresh);
    }
    if (fresh) {
        full = sealer->pack;
        sealer->pack = fresh;
    }
    pthread_mutex_unlock(&sealer->lock);
    if (full) {
        lethe_pack_flush(full, sealer->uploads);
    }
    return err;
}

/* One piece for a pack. */
struct member {
    struct lethe_piece piece;
    const uint8_t *payload;
    size_t len;
};

/* The last pieces of the job's record go into a pack, side by side. Nothing may be added to the record after. */
static enum lethe_err pack_members(struct job *job, const struct member *members, size_t count)
{
    struct lethe_sealer *sealer = job->sealer;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&sealer->lock);
    for (size_t i = 0; i < count && !err; i++) {
        err = lethe_pack_add(sealer->pack, deed_ref(job->deed), job->record, &members[i].piece, members[i].payload,
                             members[i].len);
        if (err) {
            atomic_fetch_sub(&job->deed->references, 1);
        }
    }
    pthread_mutex_unlock(&sealer->lock);
    return err ? err : flush_pack(sealer, LETHE_PACK_BYTES);
}

/*
 * Reads [offset, offset + len) of the frozen content, bringing what lies in the vault's older version. What was brought
 * may go again before it is read, but not for ever: then there must be a fault.
 */
static enum lethe_err read_range(struct job *job, uint64_t offset, uint8_t *out, size_t len)
{
    unsigned fetches = 0;
    size_t done = 0;

    while (done < len) {
        struct lethe_absent absent;
        size_t got = 0;
        enum lethe_err err = lethe_content_read(job->content, offset + done, out + done, len - done, &got, &absent);

        if (err == LETHE_ERR_ABSENT) {
            err = fetches++ < FETCHES ? lethe_restorer_hydrate(job->sealer->options.restorer, &absent) : LETHE_ERR_BUSY;
            if (!err) {
                continue;
            }
        } else if (err == LETHE_ERR_IO) {
            atomic_store(&job->sealer->unread, true);
            job->unreadable = atomic_load(&job->sealer->patience) == 0;
        }
        if (err) {
            job->unreadable |= err == LETHE_ERR_INTEGRITY;
            return err;
        }
        if (got == 0) {
            return LETHE_ERR_IO;
        }
        done += got;
    }
    return LETHE_OK;
}

/* zstd when it saves at least a sixteenth; *payload then points into compressed. */
static enum lethe_err compress(struct scratch *scratch, const uint8_t *bytes, size_t len,
                               struct lethe_buf *compressed, enum lethe_piece_kind *kind, const uint8_t **payload,
                               size_t *payload_len)
{
    size_t bound = ZSTD_compressBound(len);
    enum lethe_err err;
    size_t got;

    *kind = LETHE_PIECE_RAW;
    *payload = bytes;
    *payload_len = len;
    lethe_buf_reset(compressed);
    err = lethe_buf_reserve(compressed, bound);
    if (!err && !scratch->zstd && !(scratch->zstd = ZSTD_createCCtx())) {
        err = LETHE_ERR_NOMEM;
    }
    if (err) {
        return err;
    }
    got = ZSTD_compressCCtx(scratch->zstd, compressed->data, bound, bytes, len, ZSTD_LEVEL);
    if (!ZSTD_isError(got) && got < len - len / 16) {
        *kind = LETHE_PIECE_ZSTD;
        *payload = compressed->data;
        *payload_len = got;
    }
    return LETHE_OK;
}

/* Seals payload as an object of its own, which is put meanwhile; the piece is added to the record. */
static enum lethe_err put_object(struct job *job, enum lethe_object_kind kind, uint64_t position,
                                 const uint8_t *payload, size_t len, struct lethe_piece *piece)
{
    struct lethe_buf sealed;
    enum lethe_err err;

    lethe_spares_take(lethe_vault_spares(job->sealer->options.vault), &sealed);
    lethe_vault_new_id(&piece->object);
    piece->object_kind = kind;
    piece->origin = job->record->content;
    piece->position = position;
    err = lethe_vault_seal_with(job->sealer->options.vault, kind, &piece->object, &piece->origin, position, payload, len,
                                &job->scratch->opened, &sealed);
    if (!err) {
        piece->stored = sealed.len;
        piece->object_size = sealed.len;
        err = lethe_record_add(job->record, piece);
    }
    if (!err && kind == LETHE_OBJECT_SEGMENT && job->size > SEGMENT && piece->kind != LETHE_PIECE_LOST) {
        struct segment_put *put = malloc(sizeof *put);

        err = put ? LETHE_OK : LETHE_ERR_NOMEM;
        if (put) {
            *put = (struct segment_put){.deed = deed_ref(job->deed), .piece = *piece};
            lethe_uploads_put(job->sealer->uploads, kind, &piece->object, &sealed, segment_done, put);
        }
    } else if (!err) {
        lethe_uploads_put(job->sealer->uploads, kind, &piece->object, &sealed, object_done, deed_ref(job->deed));
    }
    lethe_buf_release(&sealed);
    return err;
}

/*
 * One content that the device cannot read shall not keep all others from the vault: what can be read of it is stored,
 * and that the rest is lost.
 */
static enum lethe_err seal_lost(struct job *job, struct lethe_piece *piece)
{
    if (!lethe_record_is_damaged(job->record)) {
        lethe_log(LETHE_LOG_ERROR,
                  "inode %llu: some of its bytes on this device are damaged: the rest goes to the vault without them;"
                  " delete the file, or replace it by a copy from elsewhere",
                  (unsigned long long)lethe_record_inode(job->sealer->options.db, &job->record->content));
    }
    piece->kind = LETHE_PIECE_LOST;
    return put_object(job, LETHE_OBJECT_SEGMENT, piece->start / SEGMENT, NULL, 0, piece);
}

static enum lethe_err seal_segment(struct job *job, uint64_t start, size_t len)
{
    uint8_t *bytes = job->scratch->segment;
    struct lethe_piece piece = {.start = start, .length = len};
    struct lethe_buf again = {0};
    const uint8_t *payload;
    size_t payload_len;
    enum lethe_err err = read_range(job, start, bytes, len);

    if (err && job->unreadable) {
        return seal_lost(job, &piece);
    }
    if (!err) {
        err = compress(job->scratch, bytes, len, &job->scratch->compressed, &piece.kind, &payload, &payload_len);
    }
    if (!err && piece.kind == LETHE_PIECE_ZSTD) {
        err = lethe_restore_segment(piece.kind, payload, payload_len, len, &again);
        if (!err && memcmp(again.data, bytes, len) != 0) {
            err = LETHE_ERR_DIFFERS;
        }
        if (err == LETHE_ERR_FORMAT || err == LETHE_ERR_DIFFERS) { /* a broken compressor: keep the bytes */
            lethe_log(LETHE_LOG_WARN, "the compressor did not give back a segment: it is stored uncompressed");
            piece.kind = LETHE_PIECE_RAW;
            payload = bytes;
            payload_len = len;
            err = LETHE_OK;
        }
    }
    if (!err) {
        err = put_object(job, LETHE_OBJECT_SEGMENT, start / SEGMENT, payload, payload_len, &piece);
    }
    lethe_buf_release(&again);
    return err;
}

/* The piece of the version before for this range, when nothing in it was written since. */
static const struct lethe_piece *unchanged(struct job *job, uint64_t start, uint64_t len, struct lethe_record *before,
                                           bool *loaded)
{
    struct lethe_id base;

    if (!lethe_content_same_as_base(job->content, start, len, &base)) {
        return NULL;
    }
    if (!*loaded) {
        *loaded = true;
        if (lethe_record_load(job->sealer->options.db, &base, before)) {
            return NULL;
        }
    }
    for (size_t i = 0; i < before->count; i++) {
        const struct lethe_piece *piece = &before->pieces[i];

        if (piece->start == start && piece->length == len && piece->object_kind == LETHE_OBJECT_SEGMENT) {
            return piece;
        }
    }
    return NULL;
}

/*
 * The segment of a run that broke off, if it is in the vault still: another device's collection takes what no epoch names
 * after a day (gc.c), so what is half as old is not relied on.
 */
static bool was_put(struct job *job, uint64_t start, uint64_t len, struct lethe_piece *piece)
{
    struct lethe_vault *vault = job->sealer->options.vault;
    struct lethe_store *store = lethe_vault_store_of(vault, LETHE_OBJECT_SEGMENT);
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_store_stat stat;

    if (job->size <= SEGMENT || !store ||
        lethe_record_noted(job->sealer->options.db, &job->record->content, start, len, piece)) {
        return false;
    }
    piece->position = start / SEGMENT;
    lethe_vault_object_key(LETHE_OBJECT_SEGMENT, &piece->object, key);
    return !lethe_store_stat(store, key, &stat) && stat.size == piece->stored &&
           stat.modified > (int64_t)time(NULL) - PUT_RELIED_ON_SECONDS;
}

static enum lethe_err seal_segments(struct job *job)
{
    struct lethe_record before = {0};
    enum lethe_err err = LETHE_OK;
    bool loaded = false;

    if (!job->scratch->segment) {
        job->scratch->segment = malloc(SEGMENT);
        err = job->scratch->segment ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    for (uint64_t start = 0; start < job->size && !err; start += SEGMENT) {
        uint64_t len = job->size - start < SEGMENT ? job->size - start : SEGMENT;
        const struct lethe_piece *old;
        struct lethe_piece put;
        uint64_t data;

        if (atomic_load(&job->sealer->cancel)) {
            err = LETHE_ERR_CANCELLED;
            break;
        }
        err = lethe_content_seek(job->content, start, true, &data);
        if (err == LETHE_ERR_NOT_FOUND) { /* nothing but a hole up to the end */
            err = LETHE_OK;
            break;
        }
        if (err || data >= start + len) {
            start = err ? start : data / SEGMENT * SEGMENT - SEGMENT;
            continue;
        }
        old = unchanged(job, start, len, &before, &loaded);
        if (old) {
            err = lethe_record_add(job->record, old);
        } else if (was_put(job, start, len, &put)) {
            err = lethe_record_add(job->record, &put);
        } else {
            err = seal_segment(job, start, (size_t)len);
        }
    }
    lethe_record_release(&before);
    return err;
}

static enum lethe_err seal_small(struct job *job, const uint8_t *bytes)
{
    struct lethe_buf compressed = {0};
    struct member member = {.piece = {.length = job->size}};
    enum lethe_err err = compress(job->scratch, bytes, (size_t)job->size, &compressed, &member.piece.kind,
                                  &member.payload, &member.len);

    if (!err) {
        job->record->kind = LETHE_RECORD_PACKED;
        err = pack_members(job, &member, 1);
    }
    lethe_buf_release(&compressed);
    return err;
}

/* Restores from the payloads and compares with the file. */
static enum lethe_err prove(struct job *job, const struct lethe_pair *pair, const uint8_t *file,
                            const struct lethe_buf *artifact, const struct lethe_buf *residual, const uint8_t *recipe,
                            size_t recipe_len)
{
    struct lethe_buf again = {0};
    enum lethe_err err =
        lethe_photo_restore(pair, artifact->data, artifact->len, residual->data, residual->len, recipe, recipe_len,
                            &lethe_image_limits_default, job->sealer->options.pool, (size_t)job->size, &again);

    if (!err && (again.len != job->size || memcmp(again.data, file, again.len) != 0)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&again);
    return err;
}

static void describe(struct lethe_record *record, const struct lethe_photo_info *info,
                     const struct lethe_photo_quality *quality, const struct lethe_id *pair)
{
    record->kind = LETHE_RECORD_PHOTO;
    record->has_photo = true;
    memcpy(record->digest, info->digest, sizeof record->digest);
    record->width = info->width;
    record->height = info->height;
    record->error = quality->squared_error;
    record->samples = quality->samples;
    record->pair = *pair;
}

/* How large the artifact's picture is as a file. */
static enum lethe_err measure_alone(struct job *job, const struct lethe_pair *pair, const struct lethe_buf *artifact)
{
    struct lethe_buf alone = {0};
    enum lethe_err err = lethe_artifact_file(pair, artifact->data, artifact->len, &lethe_image_limits_default,
                                             job->sealer->options.pool, &alone);

    job->record->alone = alone.len;
    lethe_buf_release(&alone);
    return err;
}

/* The artifact of an older version, sealed anew only when what it takes to look at it has changed. */
static enum lethe_err add_turned(struct job *job, const uint8_t *file, const struct lethe_photo *photo,
                                 const struct lethe_pair *pair, const struct lethe_piece *old, uint64_t alone,
                                 struct lethe_buf *artifact)
{
    struct lethe_piece piece = {.kind = LETHE_PIECE_ARTIFACT};
    struct lethe_buf before = {0};
    enum lethe_err err;

    lethe_buf_put(&before, artifact->data, artifact->len);
    err = lethe_buf_status(&before);
    if (!err) {
        err = lethe_photo_view(photo, file, (size_t)job->size, artifact);
    }
    if (!err && before.len == artifact->len && memcmp(before.data, artifact->data, before.len) == 0) {
        job->record->alone = alone;
        err = lethe_record_add(job->record, old);
    } else if (!err) {
        err = measure_alone(job, pair, artifact);
        err = err ? err : put_object(job, LETHE_OBJECT_ARTIFACT, 0, artifact->data, artifact->len, &piece);
    }
    lethe_buf_release(&before);
    return err;
}

/*
 * A rewrite that left the pixels as they were: the artifact and the residual of the version before serve it, once they
 * have been fetched and proven. *served is false when there is no such version, or it cannot be had just now; the job
 * is then as it was.
 */
static enum lethe_err seal_rewrite(struct job *job, const uint8_t *file, const struct lethe_photo *photo, bool *served)
{
    struct lethe_sealer *sealer = job->sealer;
    struct lethe_record before = {0};
    struct lethe_buf artifact = {0}, residual = {0};
    const struct lethe_piece *pieces[2];
    const struct lethe_pair *pair;
    const uint8_t *recipe;
    size_t recipe_len;
    enum lethe_err err = lethe_record_find_replaced(sealer->options.db, lethe_photo_info(photo)->digest, &before);

    *served = false;
    if (err) {
        return LETHE_OK;
    }
    recipe = lethe_photo_recipe(photo, &recipe_len);
    pieces[0] = lethe_restore_find(&before, LETHE_PIECE_ARTIFACT);
    pieces[1] = lethe_restore_find(&before, LETHE_PIECE_RESIDUAL);
    if (!pieces[0] || !pieces[1] || lethe_restore_piece(sealer->options.vault, pieces[0], &artifact) ||
        lethe_restore_piece(sealer->options.vault, pieces[1], &residual) ||
        lethe_vault_pair(sealer->options.vault, &before.pair, &pair) ||
        prove(job, pair, file, &artifact, &residual, recipe, recipe_len)) {
        goto out;
    }
    *served = true;
    describe(job->record, lethe_photo_info(photo),
             &(struct lethe_photo_quality){.squared_error = before.error, .samples = before.samples}, &before.pair);
    err = sealer->options.fidelity == LETHE_FIDELITY_SPLIT
              ? add_turned(job, file, photo, pair, pieces[0], before.alone, &artifact)
              : lethe_record_add(job->record, pieces[0]);
    if (!err) {
        err = lethe_record_add(job->record, pieces[1]);
    }
    if (!err) {
        const struct member member = {.piece = {.kind = LETHE_PIECE_RECIPE}, .payload = recipe, .len = recipe_len};

        err = pack_members(job, &member, 1);
    }
out:
    lethe_record_release(&before);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    return err;
}

/* What the file would cost as a file. */
static enum lethe_err plain_cost(struct scratch *scratch, const uint8_t *file, size_t len, uint64_t *out)
{
    struct lethe_buf compressed = {0};
    enum lethe_piece_kind kind;
    const uint8_t *payload;
    size_t payload_len;
    enum lethe_err err = compress(scratch, file, len, &compressed, &kind, &payload, &payload_len);

    *out = payload_len;
    lethe_buf_release(&compressed);
    return err;
}

/* The recipe goes into a pack, and a small residual with it: padding and a request of its own would cost it much. */
static enum lethe_err put_residual(struct job *job, const struct lethe_buf *residual, const uint8_t *recipe,
                                   size_t recipe_len)
{
    struct member members[2] = {
        {.piece = {.kind = LETHE_PIECE_RESIDUAL}, .payload = residual->data, .len = residual->len},
        {.piece = {.kind = LETHE_PIECE_RECIPE}, .payload = recipe, .len = recipe_len},
    };
    bool small = residual->len <= LETHE_PACK_PIECE_MAX;
    enum lethe_err err = LETHE_OK;

    if (!small) {
        err = put_object(job, LETHE_OBJECT_RESIDUAL, 0, residual->data, residual->len, &members[0].piece);
    }
    return err ? err : pack_members(job, small ? members : members + 1, small ? 2 : 1);
}

/* The artifact of any photo that has these very pixels, so that what was lossy once does not lose again. */
static enum lethe_err find_artifact(struct job *job, const struct lethe_photo *photo, struct lethe_record *before,
                                    struct lethe_buf *artifact, const struct lethe_pair **pair)
{
    struct lethe_sealer *sealer = job->sealer;
    const struct lethe_piece *piece;
    enum lethe_err err =
        lethe_record_find_photo(sealer->options.db, lethe_photo_info(photo)->digest, before);

    if (err) {
        return err;
    }
    piece = lethe_restore_find(before, LETHE_PIECE_ARTIFACT);
    err = piece ? lethe_restore_piece(sealer->options.vault, piece, artifact) : LETHE_ERR_NOT_FOUND;
    return err ? err : lethe_vault_pair(sealer->options.vault, &before->pair, pair);
}

/* Parses the file that takes the photo's place, and proves that artifact and recipe give it. */
static enum lethe_err prove_lossy(struct job *job, const struct lethe_pair *pair, const struct lethe_buf *artifact,
                                  const struct lethe_buf *lossy, struct lethe_photo **photo)
{
    struct lethe_buf again = {0};
    enum lethe_reason reason;
    const uint8_t *recipe;
    size_t recipe_len;
    enum lethe_err err = lethe_photo_parse(lossy->data, lossy->len, &lethe_image_limits_default, photo, &reason);

    if (!err) {
        recipe = lethe_photo_recipe(*photo, &recipe_len);
        err = lethe_photo_restore(pair, artifact->data, artifact->len, NULL, 0, recipe, recipe_len,
                                  &lethe_image_limits_default, job->sealer->options.pool, lossy->len, &again);
    }
    if (!err && (again.len != lossy->len || memcmp(again.data, lossy->data, again.len) != 0)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&again);
    return err;
}

/*
 * The photo becomes the Decrypter's picture. A picture that is one already, copied or with other metadata, keeps its
 * artifact and so its pixels.
 */
static enum lethe_err seal_lossy(struct job *job, const uint8_t *file, const struct lethe_photo *photo,
                                 enum lethe_reason *reason, bool *served)
{
    const struct lethe_sealer_options *options = &job->sealer->options;
    const struct lethe_pair *pair = options->pair;
    struct lethe_record before = {0};
    struct lethe_buf artifact = {0}, lossy = {0};
    struct lethe_photo_quality quality = {0};
    struct lethe_photo *second = NULL;
    struct lethe_piece piece = {.kind = LETHE_PIECE_ARTIFACT};
    const uint8_t *recipe;
    size_t recipe_len;
    enum lethe_err err = find_artifact(job, photo, &before, &artifact, &pair);
    bool known = !err;

    if (err == LETHE_ERR_UNREACHABLE) {
        goto out;
    }
    if (known) {
        quality = (struct lethe_photo_quality){.squared_error = before.error, .samples = before.samples};
    } else {
        pair = options->pair;
        lethe_buf_reset(&artifact);
        err = lethe_photo_encrypt(photo, pair, options->strength, lethe_random_system(), options->pool, &artifact);
        err = err ? err : lethe_photo_measure(photo, pair, artifact.data, artifact.len, options->pool, &quality);
    }
    if (!err) {
        err = lethe_photo_degrade(photo, file, (size_t)job->size, pair, artifact.data, artifact.len, options->pool,
                                  &lossy);
    }
    if (!err) {
        err = prove_lossy(job, pair, &artifact, &lossy, &second);
    }
    if (err) { /* about this file alone, which is stored as it is */
        *reason = err == LETHE_ERR_NOMEM         ? LETHE_REASON_TOO_LARGE
                  : err == LETHE_ERR_UNSUPPORTED ? LETHE_REASON_KIND
                                                 : LETHE_REASON_DIFFERS;
        err = LETHE_OK;
        goto out;
    }
    *served = true;
    describe(job->record, lethe_photo_info(second), &quality, lethe_pair_id(pair));
    if (known) {
        err = lethe_record_add(job->record, lethe_restore_find(&before, LETHE_PIECE_ARTIFACT));
    } else {
        err = put_object(job, LETHE_OBJECT_ARTIFACT, 0, artifact.data, artifact.len, &piece);
    }
    if (!err) {
        recipe = lethe_photo_recipe(second, &recipe_len);
        job->record->size = lossy.len;
        job->record->replaced = lossy.len != job->size || memcmp(lossy.data, file, lossy.len) != 0;
        if (job->record->replaced && atomic_fetch_add(&job->sealer->kept, lossy.len) + lossy.len <= KEPT_MAX) {
            job->record->file = lossy;
            lossy = (struct lethe_buf){0};
        } else if (job->record->replaced) {
            atomic_fetch_sub(&job->sealer->kept, lossy.len);
        }
        err = pack_members(job, &(struct member){.piece = {.kind = LETHE_PIECE_RECIPE}, .payload = recipe,
                                                 .len = recipe_len}, 1);
    }
out:
    lethe_photo_free(second);
    lethe_record_release(&before);
    lethe_buf_release(&artifact);
    lethe_buf_release(&lossy);
    return err;
}

/* *served is false, *reason says why and the job is as it was when the file is to be stored as what it is. */
static enum lethe_err seal_photo(struct job *job, const uint8_t *file, enum lethe_reason *reason, bool *served)
{
    const struct lethe_sealer_options *options = &job->sealer->options;
    struct lethe_buf artifact = {0}, residual = {0};
    struct lethe_photo_quality quality = {0};
    struct lethe_photo_coding how;
    struct lethe_photo *photo = NULL;
    struct lethe_piece piece;
    const uint8_t *recipe;
    size_t recipe_len;
    uint64_t plain;
    bool split = options->fidelity == LETHE_FIDELITY_SPLIT;
    enum lethe_err err = options->fidelity == LETHE_FIDELITY_LOSSY
                             ? lethe_photo_parse(file, (size_t)job->size, &lethe_image_limits_default, &photo, reason)
                             : lethe_photo_parse_to_encode(file, (size_t)job->size, &lethe_image_limits_default,
                                                           options->pool, &photo, reason);

    *served = false;
    if (err) {
        *reason = err == LETHE_ERR_NOMEM ? LETHE_REASON_TOO_LARGE : *reason;
        err = LETHE_OK;
        goto out;
    }
    if (options->fidelity == LETHE_FIDELITY_LOSSY) {
        err = seal_lossy(job, file, photo, reason, served);
        goto out;
    }
    err = seal_rewrite(job, file, photo, served);
    if (err || *served) {
        goto out;
    }
    how = (struct lethe_photo_coding){.strength = options->strength,
                                      .rate = split ? lethe_pair_rate(options->pair, options->strength)
                                                    : lethe_photo_exact_rate(photo, options->pair, options->strength),
                                      .effort = options->effort,
                                      .view = split,
                                      .random = lethe_random_system()};
    err = lethe_photo_encode(photo, file, (size_t)job->size, options->pair, &how, options->pool, &artifact, &residual,
                             &quality);
    recipe = lethe_photo_recipe(photo, &recipe_len);
    if (!err && split) { /* whatever it costs */
        err = measure_alone(job, options->pair, &artifact);
        plain = UINT64_MAX;
    } else if (!err) {
        err = plain_cost(job->scratch, file, (size_t)job->size, &plain);
    }
    /* Sealing pads each of the three by the same share as the file itself: compare before it. */
    if (!err && artifact.len + residual.len + recipe_len + 2 * LETHE_SEAL_OVERHEAD >= plain) {
        *reason = LETHE_REASON_COST;
        goto out;
    }
    if (err) { /* the codec works in memory alone: whatever it says is about this file, which is stored all the same */
        *reason = err == LETHE_ERR_NOMEM ? LETHE_REASON_TOO_LARGE : LETHE_REASON_DIFFERS;
        err = LETHE_OK;
        goto out;
    }
    *served = true;
    describe(job->record, lethe_photo_info(photo), &quality, lethe_pair_id(options->pair));
    piece = (struct lethe_piece){.kind = LETHE_PIECE_ARTIFACT};
    err = put_object(job, LETHE_OBJECT_ARTIFACT, 0, artifact.data, artifact.len, &piece);
    if (!err) {
        err = put_residual(job, &residual, recipe, recipe_len);
    }
out:
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    return err;
}

static bool looks_like_picture(const uint8_t *head, size_t len)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

    return (len >= 3 && head[0] == 0xff && head[1] == 0xd8 && head[2] == 0xff) ||
           (len >= 8 && memcmp(head, png, sizeof png) == 0);
}

static enum lethe_err seal_bytes(struct job *job)
{
    enum lethe_reason reason = LETHE_REASON_NO_PICTURE;
    uint8_t head[8] = {0};
    uint8_t *file = NULL;
    enum lethe_err err;

    if (job->size > 0) {
        err = read_range(job, 0, head, job->size < sizeof head ? (size_t)job->size : sizeof head);
        if (err) {
            return err;
        }
    }
    if (looks_like_picture(head, (size_t)job->size) && job->size > PHOTO_MAX) {
        reason = LETHE_REASON_TOO_LARGE;
    } else if (looks_like_picture(head, (size_t)job->size) || (job->size > 0 && job->size <= SMALL)) {
        file = malloc((size_t)job->size);
        err = file ? read_range(job, 0, file, (size_t)job->size) : LETHE_ERR_NOMEM;
        if (!err && looks_like_picture(head, (size_t)job->size)) {
            bool served;

            err = seal_photo(job, file, &reason, &served);
            if (err || served) {
                goto out;
            }
        }
        if (err) {
            goto out;
        }
    }
    job->record->reason = reason;
    if (file && job->size <= SMALL) {
        err = seal_small(job, file);
        goto out;
    }
    free(file);
    return seal_segments(job);
out:
    free(file);
    return err;
}

/* Recorded, and then the power went; or damaged, and so not to be vaulted. */
static enum lethe_err vault_recorded(struct job *job, const struct lethe_id *id)
{
    struct lethe_record record = {0};
    enum lethe_err err = lethe_record_load(job->sealer->options.db, id, &record);

    if (!err && !lethe_record_is_damaged(&record)) {
        lethe_gate_enter(job->sealer->options.committer);
        err = lethe_content_vaulted(job->content);
        lethe_gate_leave(job->sealer->options.committer, true);
    }
    lethe_record_release(&record);
    return err;
}

static enum lethe_err seal_one(struct lethe_sealer *sealer, const struct lethe_id *id, struct scratch *scratch)
{
    struct job job = {.sealer = sealer, .scratch = scratch};
    enum lethe_err err = lethe_content_get(sealer->options.contents, id, 0, &job.content);

    if (err) {
        return err;
    }
    if (lethe_content_state(job.content) != LETHE_CONTENT_FROZEN) {
        goto out; /* sealed in the meantime */
    }
    if (lethe_record_exists(sealer->options.db, id)) {
        err = vault_recorded(&job, id);
        goto out;
    }
    job.size = lethe_content_size(job.content);
    job.deed = calloc(1, sizeof *job.deed);
    if (!job.deed) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    job.deed->sealer = sealer;
    atomic_init(&job.deed->references, 1);
    job.record = &job.deed->record;
    job.record->content = *id;
    job.record->size = job.size;
    err = seal_bytes(&job);
    if (err && job.unreadable && job.record->count == 0) {
        err = seal_segments(&job);
    }
    deed_put(job.deed, err);
out:
    lethe_content_put(job.content);
    return err;
}

static void work(struct lethe_sealer *sealer)
{
    struct scratch scratch = {0};

    pthread_mutex_lock(&sealer->lock);
    while (!sealer->failed && sealer->next < sealer->count) {
        struct lethe_id id = sealer->queue[sealer->next++];
        enum lethe_err err;

        pthread_mutex_unlock(&sealer->lock);
        err = atomic_load(&sealer->cancel) ? LETHE_ERR_CANCELLED : seal_one(sealer, &id, &scratch);
        if (err) {
            fail(sealer, err);
        }
        pthread_mutex_lock(&sealer->lock);
    }
    pthread_mutex_unlock(&sealer->lock);
    free(scratch.segment);
    lethe_buf_release(&scratch.compressed);
    lethe_buf_release(&scratch.opened);
    ZSTD_freeCCtx(scratch.zstd);
}

static void *worker(void *argument)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + LETHE_SEALER_NICE);
    work(argument);
    return NULL;
}

static enum lethe_err load_queue(struct lethe_sealer *sealer, uint64_t epoch)
{
    struct lethe_db *db = sealer->options.db;
    sqlite3_stmt *statement;
    size_t room = 0;
    bool row;
    enum lethe_err err;

    free(sealer->queue);
    sealer->queue = NULL;
    sealer->count = 0;
    sealer->next = 0;
    lethe_db_lock(db);
    err = lethe_db_statement(db, "SELECT content FROM local WHERE state = 1 AND epoch <= ?", &statement);
    if (!err) {
        sqlite3_bind_int64(statement, 1, (int64_t)epoch);
    }
    while (!err && !(err = lethe_db_step(db, statement, &row)) && row) {
        if (sealer->count == room) {
            struct lethe_id *queue;

            room = room ? room * 2 : 256;
            queue = reallocarray(sealer->queue, room, sizeof *queue);
            if (!queue) {
                err = LETHE_ERR_NOMEM;
                sqlite3_reset(statement);
                break;
            }
            sealer->queue = queue;
        }
        if (sqlite3_column_bytes(statement, 0) == (int)sizeof *sealer->queue) {
            memcpy(sealer->queue[sealer->count++].bytes, sqlite3_column_blob(statement, 0), sizeof *sealer->queue);
        }
    }
    lethe_db_unlock(db);
    atomic_store(&sealer->total, sealer->count);
    atomic_store(&sealer->done, 0);
    return err;
}

enum lethe_err lethe_sealer_new(const struct lethe_sealer_options *options, struct lethe_sealer **out)
{
    struct lethe_sealer *sealer = calloc(1, sizeof *sealer);
    enum lethe_err err;

    *out = NULL;
    if (!sealer) {
        return LETHE_ERR_NOMEM;
    }
    sealer->options = *options;
    atomic_init(&sealer->patience, PATIENCE);
    if (sealer->options.workers == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        sealer->options.workers = online < 1 ? 1 : online > 64 ? 64 : (unsigned)online;
    }
    pthread_mutex_init(&sealer->lock, NULL);
    err = lethe_uploads_new(options->vault, options->uploads, &sealer->uploads);
    err = err ? err : lethe_pack_new(options->vault, object_done, &sealer->pack);
    if (err) {
        lethe_sealer_free(sealer);
        return err;
    }
    *out = sealer;
    return LETHE_OK;
}

void lethe_sealer_free(struct lethe_sealer *sealer)
{
    if (sealer) {
        lethe_pack_free(sealer->pack);
        lethe_uploads_free(sealer->uploads);
        pthread_mutex_destroy(&sealer->lock);
        free(sealer->queue);
        free(sealer);
    }
}

enum lethe_err lethe_sealer_run(struct lethe_sealer *sealer, uint64_t epoch)
{
    pthread_t threads[64];
    unsigned started = 0;
    enum lethe_err err = load_queue(sealer, epoch);

    if (err) {
        return err;
    }
    sealer->failed = LETHE_OK;
    atomic_store(&sealer->unread, false);
    lethe_uploads_cancel(sealer->uploads, atomic_load(&sealer->cancel));
    while (started < sealer->options.workers && started < sealer->count && started < 64 &&
           !pthread_create(&threads[started], NULL, worker, sealer)) {
        started++;
    }
    if (started == 0) {
        work(sealer);
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    err = flush_pack(sealer, 1);
    lethe_uploads_wait(sealer->uploads);
    if (!atomic_load(&sealer->unread)) {
        atomic_store(&sealer->patience, PATIENCE);
    } else if (atomic_load(&sealer->patience) > 0) {
        atomic_fetch_sub(&sealer->patience, 1);
    }
    return sealer->failed ? sealer->failed : err;
}

void lethe_sealer_cancel(struct lethe_sealer *sealer, bool cancel)
{
    atomic_store(&sealer->cancel, cancel);
    lethe_uploads_cancel(sealer->uploads, cancel);
}

void lethe_sealer_progress(struct lethe_sealer *sealer, struct lethe_sealer_progress *out)
{
    out->total = atomic_load(&sealer->total);
    out->done = atomic_load(&sealer->done);
    out->bytes = atomic_load(&sealer->bytes);
    out->stored = atomic_load(&sealer->stored);
}
