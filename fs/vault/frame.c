/* SPDX-License-Identifier: MIT */
#include "fs/vault/frame.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/vault/ahead.h"

#define ZSTD_LEVEL 6
#define PART_BYTES 24 /* of a part in a list: id and stored size */

enum lethe_err lethe_frame_pack(const struct lethe_buf *raw, struct lethe_buf *out)
{
    size_t bound = ZSTD_compressBound(raw->len);
    struct lethe_buf again = {0};
    size_t start, got, whole = out->len;
    enum lethe_err err;

    if (raw->len > LETHE_FRAME_MAX) {
        return LETHE_ERR_NOMEM;
    }
    lethe_buf_put_u32(out, (uint32_t)raw->len);
    start = out->len;
    err = lethe_buf_resize(out, start + bound);
    if (err) {
        return err;
    }
    got = ZSTD_compress(out->data + start, bound, raw->data, raw->len, ZSTD_LEVEL);
    if (ZSTD_isError(got)) {
        return LETHE_ERR_NOMEM;
    }
    out->len = start + got;
    err = lethe_frame_unpack(out->data + whole, out->len - whole, &again);
    if (!err && memcmp(again.data, raw->data, raw->len) != 0) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&again);
    return err;
}

enum lethe_err lethe_frame_unpack(const uint8_t *payload, size_t len, struct lethe_buf *out)
{
    struct lethe_reader reader;
    unsigned long long claimed;
    uint32_t raw;
    size_t got;
    enum lethe_err err;

    lethe_buf_reset(out);
    lethe_reader_init(&reader, payload, len);
    raw = lethe_read_u32(&reader);
    if (reader.bad || raw > LETHE_FRAME_MAX) {
        return LETHE_ERR_FORMAT;
    }
    claimed = ZSTD_getFrameContentSize(reader.at, lethe_reader_left(&reader));
    if (claimed != raw && claimed != ZSTD_CONTENTSIZE_UNKNOWN) { /* before any memory is taken */
        return LETHE_ERR_FORMAT;
    }
    err = lethe_buf_resize(out, raw);
    if (err) {
        return err;
    }
    got = ZSTD_decompress(out->data, raw, reader.at, lethe_reader_left(&reader));
    return ZSTD_isError(got) || got != raw ? LETHE_ERR_FORMAT : LETHE_OK;
}

enum lethe_err lethe_frame_put(struct lethe_vault *vault, enum lethe_object_kind kind,
                               const struct lethe_id *owner, uint64_t index, const struct lethe_buf *payload,
                               struct lethe_segment_part **parts, size_t *count, uint64_t *bytes)
{
    struct lethe_segment_part *list = reallocarray(*parts, *count + 1, sizeof *list);
    struct lethe_buf sealed = {0};
    struct lethe_id id;
    enum lethe_err err;

    if (!list) {
        return LETHE_ERR_NOMEM;
    }
    *parts = list;
    lethe_vault_new_id(&id);
    err = lethe_vault_seal(vault, kind, &id, owner, index, payload->data, payload->len, &sealed);
    if (!err) {
        err = lethe_vault_put(vault, kind, &id, sealed.data, sealed.len);
    }
    if (!err) {
        list[*count] = (struct lethe_segment_part){.id = id, .stored = sealed.len};
        ++*count;
        *bytes += sealed.len;
    }
    lethe_buf_release(&sealed);
    return err;
}

struct lethe_frame_reader {
    struct lethe_vault *vault;
    const struct lethe_frame_ref *refs;
    struct lethe_ahead *ahead;
    size_t next;
};

static enum lethe_err fetch_part(void *context, size_t index, struct lethe_buf *out)
{
    const struct lethe_frame_reader *reader = context;
    const struct lethe_frame_ref *ref = &reader->refs[index];

    return lethe_vault_get(reader->vault, ref->kind, &ref->part.id, &ref->owner, ref->index, 0, ref->part.stored, out);
}

enum lethe_err lethe_frame_reader_new(struct lethe_vault *vault, const struct lethe_frame_ref *refs, size_t count,
                                      struct lethe_frame_reader **out)
{
    struct lethe_frame_reader *reader = calloc(1, sizeof *reader);
    uint64_t *costs = calloc(count ? count : 1, sizeof *costs);
    enum lethe_err err = reader && costs ? LETHE_OK : LETHE_ERR_NOMEM;

    *out = NULL;
    if (!err) {
        reader->vault = vault;
        reader->refs = refs;
        for (size_t i = 0; i < count; i++) {
            costs[i] = refs[i].part.stored;
        }
        err = lethe_ahead_new(fetch_part, reader, costs, count, &reader->ahead);
    }
    free(costs);
    if (err) {
        free(reader);
        return err;
    }
    *out = reader;
    return LETHE_OK;
}

enum lethe_err lethe_frame_reader_next(struct lethe_frame_reader *reader, struct lethe_buf *out)
{
    struct lethe_buf payload = {0};
    enum lethe_err err = lethe_ahead_take(reader->ahead, reader->next++, &payload);

    lethe_buf_reset(out);
    err = err ? err : lethe_frame_unpack(payload.data, payload.len, out);
    lethe_buf_release(&payload);
    return err;
}

void lethe_frame_reader_free(struct lethe_frame_reader *reader)
{
    if (reader) {
        lethe_ahead_free(reader->ahead);
        free(reader);
    }
}

void lethe_frame_list_write(struct lethe_buf *out, const struct lethe_segment_part *parts, size_t count)
{
    lethe_buf_put_varint(out, count);
    for (size_t i = 0; i < count; i++) {
        lethe_buf_put(out, parts[i].id.bytes, sizeof parts[i].id.bytes);
        lethe_buf_put_u64(out, parts[i].stored);
    }
}

enum lethe_err lethe_frame_list_read(struct lethe_reader *reader, struct lethe_segment_part **parts,
                                     size_t *count)
{
    uint64_t n = lethe_read_varint(reader);
    struct lethe_segment_part *list;

    *parts = NULL;
    *count = 0;
    if (reader->bad || n > lethe_reader_left(reader) / PART_BYTES) {
        reader->bad = true;
        return LETHE_ERR_FORMAT;
    }
    if (n == 0) {
        return LETHE_OK;
    }
    list = calloc((size_t)n, sizeof *list);
    if (!list) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        lethe_read_bytes(reader, list[i].id.bytes, sizeof list[i].id.bytes);
        list[i].stored = lethe_read_u64(reader);
    }
    *parts = list;
    *count = (size_t)n;
    return LETHE_OK;
}
