/* SPDX-License-Identifier: MIT */
#include "fs/vault/restore.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "lethe/codec.h"
#include "lethe/log.h"

#define SEGMENT_MAX (4u << 20)

const struct lethe_piece *lethe_restore_find(const struct lethe_record *record, enum lethe_piece_kind kind)
{
    for (size_t i = 0; i < record->count; i++) {
        if (record->pieces[i].kind == kind) {
            return &record->pieces[i];
        }
    }
    return NULL;
}

enum lethe_err lethe_restore_segment(enum lethe_piece_kind kind, const uint8_t *payload, size_t len, uint64_t length,
                                     struct lethe_buf *out)
{
    size_t start = out->len;
    size_t got;
    enum lethe_err err;

    if (length > SEGMENT_MAX) {
        return LETHE_ERR_FORMAT;
    }
    if (kind == LETHE_PIECE_RAW) {
        if (len != length) {
            return LETHE_ERR_FORMAT;
        }
        lethe_buf_put(out, payload, len);
        return lethe_buf_status(out);
    }
    err = lethe_buf_reserve(out, (size_t)length); /* also for nothing: no arithmetic on NULL */
    if (!err) {
        err = lethe_buf_resize(out, start + (size_t)length);
    }
    if (err) {
        return err;
    }
    got = ZSTD_decompress(out->data + start, (size_t)length, payload, len);
    if (ZSTD_isError(got) || got != length) {
        out->len = start;
        return LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

enum lethe_err lethe_restore_piece(struct lethe_vault *vault, const struct lethe_piece *piece, struct lethe_buf *out)
{
    struct lethe_buf payload = {0};
    enum lethe_err err = lethe_vault_get(vault, piece->object_kind, &piece->object, &piece->origin, piece->position,
                                         piece->offset, piece->stored, &payload);

    if (err) {
        goto out;
    }
    if (piece->kind == LETHE_PIECE_RAW || piece->kind == LETHE_PIECE_ZSTD) {
        err = lethe_restore_segment(piece->kind, payload.data, payload.len, piece->length, out);
    } else {
        lethe_buf_put(out, payload.data, payload.len);
        err = lethe_buf_status(out);
    }
out:
    lethe_buf_release(&payload);
    return err;
}

/* Whether b lies right behind a in one pack. */
static bool adjoins(const struct lethe_piece *a, const struct lethe_piece *b)
{
    return a->object_kind == LETHE_OBJECT_PACK && b->object_kind == LETHE_OBJECT_PACK &&
           lethe_id_equal(&a->object, &b->object) && a->position == a->offset && b->position == b->offset &&
           a->stored <= UINT64_MAX - a->offset &&
           a->offset + a->stored == b->offset && a->stored <= UINT64_MAX - b->stored;
}

enum lethe_err lethe_restore_fetch(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_restore_parts *parts)
{
    static const enum lethe_piece_kind kinds[3] = {LETHE_PIECE_ARTIFACT, LETHE_PIECE_RESIDUAL, LETHE_PIECE_RECIPE};
    const struct lethe_piece *pieces[3];
    enum lethe_err err = LETHE_OK;

    for (int i = 0; i < 3; i++) {
        pieces[i] = lethe_restore_find(record, kinds[i]);
        /* Without a residual it is the Decrypter's own picture. */
        if (!pieces[i] && kinds[i] != LETHE_PIECE_RESIDUAL) {
            return LETHE_ERR_FORMAT;
        }
    }
    err = lethe_restore_piece(vault, pieces[0], &parts->payloads[0]);
    if (!err && !pieces[1]) {
        err = lethe_restore_piece(vault, pieces[2], &parts->payloads[2]);
    } else if (!err && adjoins(pieces[1], pieces[2])) {
        err = lethe_vault_get_neighbours(vault, &pieces[1]->object, &pieces[1]->origin, pieces[1]->offset,
                                         pieces[1]->stored, &pieces[2]->origin, pieces[2]->stored,
                                         &parts->payloads[1], &parts->payloads[2]);
    } else if (!err) {
        err = lethe_restore_piece(vault, pieces[1], &parts->payloads[1]);
        err = err ? err : lethe_restore_piece(vault, pieces[2], &parts->payloads[2]);
    }
    return err;
}

void lethe_restore_parts_release(struct lethe_restore_parts *parts)
{
    for (int i = 0; i < 3; i++) {
        lethe_buf_release(&parts->payloads[i]);
    }
}

enum lethe_err lethe_restore_assemble(struct lethe_vault *vault, const struct lethe_record *record,
                                      const struct lethe_restore_parts *parts, struct lethe_pool *pool,
                                      struct lethe_buf *out)
{
    const struct lethe_buf *payloads = parts->payloads;
    const struct lethe_pair *pair;
    size_t start = out->len;
    enum lethe_err err = lethe_vault_pair(vault, &record->pair, &pair);

    if (!err) {
        err = lethe_photo_restore(pair, payloads[0].data, payloads[0].len, payloads[1].data, payloads[1].len,
                                  payloads[2].data, payloads[2].len, &lethe_image_limits_default, pool,
                                  (size_t)record->size, out);
    }
    if (!err && out->len - start != record->size) {
        out->len = start;
        err = LETHE_ERR_FORMAT;
    }
    return err;
}

enum lethe_err lethe_restore_photo(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_pool *pool, struct lethe_buf *out)
{
    struct lethe_restore_parts parts = {0};
    enum lethe_err err = lethe_restore_fetch(vault, record, &parts);

    if (!err) {
        err = lethe_restore_assemble(vault, record, &parts, pool, out);
    }
    lethe_restore_parts_release(&parts);
    return err;
}

enum lethe_err lethe_restore_alone(struct lethe_vault *vault, const struct lethe_record *record,
                                   struct lethe_pool *pool, struct lethe_buf *out)
{
    const struct lethe_piece *piece = lethe_restore_find(record, LETHE_PIECE_ARTIFACT);
    struct lethe_buf artifact = {0};
    const struct lethe_pair *pair;
    size_t start = out->len;
    enum lethe_err err = piece ? lethe_restore_piece(vault, piece, &artifact) : LETHE_ERR_FORMAT;

    err = err ? err : lethe_vault_pair(vault, &record->pair, &pair);
    err = err ? err
              : lethe_artifact_file(pair, artifact.data, artifact.len, &lethe_image_limits_default, pool, out);
    if (!err && out->len - start != record->alone) {
        out->len = start;
        err = LETHE_ERR_FORMAT;
    }
    lethe_buf_release(&artifact);
    return err;
}

/* A content that some thread is bringing. */
struct flight {
    struct lethe_id content;
    struct flight *next;
};

struct lethe_restorer {
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_pool *pool;
    bool degraded;
    pthread_mutex_t lock;
    pthread_cond_t landed;
    struct flight *flights; /* guarded by lock */
};

enum lethe_err lethe_restorer_new(struct lethe_vault *vault, struct lethe_db *db, struct lethe_contents *contents,
                                  struct lethe_committer *committer, struct lethe_pool *pool,
                                  struct lethe_restorer **out)
{
    struct lethe_restorer *restorer = calloc(1, sizeof *restorer);

    *out = restorer;
    if (!restorer) {
        return LETHE_ERR_NOMEM;
    }
    restorer->vault = vault;
    restorer->db = db;
    restorer->contents = contents;
    restorer->committer = committer;
    restorer->pool = pool;
    pthread_mutex_init(&restorer->lock, NULL);
    pthread_cond_init(&restorer->landed, NULL);
    return LETHE_OK;
}

void lethe_restorer_degrade(struct lethe_restorer *restorer)
{
    restorer->degraded = true;
}

void lethe_restorer_free(struct lethe_restorer *restorer)
{
    if (restorer) {
        pthread_cond_destroy(&restorer->landed);
        pthread_mutex_destroy(&restorer->lock);
        free(restorer);
    }
}

/*
 * Into the cache, or, where that has no room (it may be full of what is not in the vault yet, which only reading lets
 * go there), into memory for the one who asked. Empties bytes.
 */
static enum lethe_err fill(struct lethe_restorer *restorer, struct lethe_content *content, uint64_t offset,
                           struct lethe_buf *bytes)
{
    enum lethe_err err;

    if (bytes->len == 0) {
        return LETHE_OK;
    }
    if (restorer->committer) {
        lethe_gate_enter(restorer->committer);
    }
    err = lethe_content_fill(content, offset, bytes->data, bytes->len);
    if (restorer->committer) {
        lethe_gate_leave(restorer->committer, true);
    }
    if (err && err != LETHE_ERR_ARG) {
        uint8_t *data;
        size_t len;

        lethe_buf_take(bytes, &data, &len);
        err = lethe_content_lend(content, offset, data, len);
    }
    lethe_buf_reset(bytes);
    return err;
}

/* One run of zeros between segments; zeros become holes in the store. */
static enum lethe_err fill_zeros(struct lethe_restorer *restorer, struct lethe_content *content, uint64_t from,
                                 uint64_t to)
{
    struct lethe_buf zeros = {0};
    enum lethe_err err = LETHE_OK;

    while (from < to && !err) {
        uint64_t len = to - from < SEGMENT_MAX ? to - from : SEGMENT_MAX;

        err = lethe_buf_resize(&zeros, (size_t)len);
        if (!err) {
            err = fill(restorer, content, from, &zeros);
        }
        from += len;
    }
    lethe_buf_release(&zeros);
    return err;
}

/* Brings the segments that touch [from, to), and the zeros between them. */
static enum lethe_err bring_segments(struct lethe_restorer *restorer, struct lethe_content *content,
                                     const struct lethe_record *record, uint64_t from, uint64_t to)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = LETHE_OK;
    uint64_t at = from;

    for (size_t i = 0; i < record->count && !err; i++) {
        const struct lethe_piece *piece = &record->pieces[i];
        uint64_t end = piece->start + piece->length;

        if (end <= from || piece->start >= to) {
            continue;
        }
        err = fill_zeros(restorer, content, at, piece->start);
        if (!err) {
            lethe_buf_reset(&bytes);
            err = lethe_restore_piece(restorer->vault, piece, &bytes);
        }
        if (!err) {
            err = fill(restorer, content, piece->start, &bytes);
        }
        at = end;
    }
    if (!err) {
        err = fill_zeros(restorer, content, at, to);
    }
    lethe_buf_release(&bytes);
    return err;
}

static enum lethe_err bring(struct lethe_restorer *restorer, const struct lethe_absent *absent)
{
    struct lethe_record record = {0};
    struct lethe_content *content = NULL;
    struct lethe_buf bytes = {0};
    enum lethe_err err = lethe_record_load(restorer->db, &absent->content, &record);

    if (err) {
        lethe_log(LETHE_LOG_ERROR, "a file's content is named but not recorded in the vault: %s", lethe_err_str(err));
        return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
    }
    err = lethe_content_get(restorer->contents, &absent->content, record.size, &content);
    if (err) {
        goto out;
    }
    if (record.kind == LETHE_RECORD_PHOTO) {
        err = restorer->degraded ? lethe_restore_alone(restorer->vault, &record, restorer->pool, &bytes)
                                 : lethe_restore_photo(restorer->vault, &record, restorer->pool, &bytes);
        if (!err) {
            err = fill(restorer, content, 0, &bytes);
        }
    } else {
        uint64_t to = absent->offset + absent->length;

        to = (to + LETHE_BLOCK_BYTES - 1) / LETHE_BLOCK_BYTES * LETHE_BLOCK_BYTES;
        err = bring_segments(restorer, content, &record, absent->offset, to < record.size ? to : record.size);
    }
    if (err == LETHE_ERR_FORMAT || err == LETHE_ERR_UNSUPPORTED) {
        err = LETHE_ERR_INTEGRITY;
    }
out:
    lethe_content_put(content);
    lethe_record_release(&record);
    lethe_buf_release(&bytes);
    return err;
}

enum lethe_err lethe_restorer_hydrate(struct lethe_restorer *restorer, const struct lethe_absent *absent)
{
    struct flight mine = {.content = absent->content};
    struct flight **at;
    bool waited = false;
    enum lethe_err err;

    pthread_mutex_lock(&restorer->lock);
    for (struct flight *flight = restorer->flights; flight;) {
        if (lethe_id_equal(&flight->content, &mine.content)) {
            pthread_cond_wait(&restorer->landed, &restorer->lock);
            waited = true;
            flight = restorer->flights;
        } else {
            flight = flight->next;
        }
    }
    if (waited) { /* the caller looks again: the other thread may have brought what it needs */
        pthread_mutex_unlock(&restorer->lock);
        return LETHE_OK;
    }
    mine.next = restorer->flights;
    restorer->flights = &mine;
    pthread_mutex_unlock(&restorer->lock);

    err = bring(restorer, absent);

    pthread_mutex_lock(&restorer->lock);
    for (at = &restorer->flights; *at != &mine; at = &(*at)->next) {
    }
    *at = mine.next;
    pthread_cond_broadcast(&restorer->landed);
    pthread_mutex_unlock(&restorer->lock);
    return err;
}
