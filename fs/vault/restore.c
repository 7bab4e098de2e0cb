/* SPDX-License-Identifier: MIT */
#include "fs/vault/restore.h"

#include <string.h>
#include <zstd.h>

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
    size_t start = out->len;
    enum lethe_err err;

    if (piece->kind == LETHE_PIECE_LOST) {
        lethe_log(LETHE_LOG_WARN, "a file lost bytes on a device before they were in the vault: they cannot be read");
        return LETHE_ERR_INTEGRITY;
    }
    err = lethe_vault_get(vault, piece->object_kind, &piece->object, &piece->origin, piece->position,
                                         piece->offset, piece->stored, piece->kind == LETHE_PIECE_ZSTD ? &payload : out);

    if (!err && piece->kind == LETHE_PIECE_ZSTD) {
        err = lethe_restore_segment(piece->kind, payload.data, payload.len, piece->length, out);
    } else if (!err && piece->kind == LETHE_PIECE_RAW &&
               (piece->length > SEGMENT_MAX || out->len - start != piece->length)) {
        out->len = start;
        err = LETHE_ERR_FORMAT;
    }
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
                                      const struct lethe_photo_watch *watch, struct lethe_buf *out)
{
    const struct lethe_buf *payloads = parts->payloads;
    const struct lethe_pair *pair;
    size_t start = out->len;
    enum lethe_err err = lethe_vault_pair(vault, &record->pair, &pair);

    if (!err) {
        err = lethe_photo_restore_watched(pair, payloads[0].data, payloads[0].len, payloads[1].data,
                                          payloads[1].len, payloads[2].data, payloads[2].len,
                                          &lethe_image_limits_default, pool, watch, (size_t)record->size, out);
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
        err = lethe_restore_assemble(vault, record, &parts, pool, NULL, out);
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
