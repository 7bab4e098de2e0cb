/* SPDX-License-Identifier: MIT */
#include "fs/vault/pack.h"

#include <stdlib.h>

struct member {
    struct lethe_record *record;
    size_t start; /* of the payload in plain */
    size_t len;
};

struct lethe_pack {
    struct lethe_vault *vault;
    lethe_pack_done done;
    void *context;
    struct lethe_buf plain; /* the payloads, one after the other */
    struct member *members;
    size_t count, room;
};

enum lethe_err lethe_pack_new(struct lethe_vault *vault, lethe_pack_done done, void *context, struct lethe_pack **out)
{
    struct lethe_pack *pack = calloc(1, sizeof *pack);

    *out = pack;
    if (!pack) {
        return LETHE_ERR_NOMEM;
    }
    pack->vault = vault;
    pack->done = done;
    pack->context = context;
    return LETHE_OK;
}

static void free_record(struct lethe_record *record)
{
    if (record) {
        lethe_record_release(record);
        free(record);
    }
}

static void empty(struct lethe_pack *pack)
{
    for (size_t i = 0; i < pack->count; i++) {
        free_record(pack->members[i].record);
    }
    pack->count = 0;
    lethe_buf_reset(&pack->plain);
}

void lethe_pack_free(struct lethe_pack *pack)
{
    if (pack) {
        empty(pack);
        free(pack->members);
        lethe_buf_release(&pack->plain);
        free(pack);
    }
}

enum lethe_err lethe_pack_add(struct lethe_pack *pack, struct lethe_record *record, const struct lethe_piece *piece,
                              const uint8_t *payload, size_t len)
{
    struct member member = {.record = record, .start = pack->plain.len, .len = len};
    enum lethe_err err = lethe_record_add(record, piece);

    if (err) {
        goto out;
    }
    if (pack->count == pack->room) {
        size_t room = pack->room ? pack->room * 2 : 64;
        struct member *members = reallocarray(pack->members, room, sizeof *members);

        if (!members) {
            err = LETHE_ERR_NOMEM;
            goto out;
        }
        pack->members = members;
        pack->room = room;
    }
    lethe_buf_put(&pack->plain, payload, len);
    err = lethe_buf_status(&pack->plain);
    if (err) {
        pack->plain.failed = false;
        goto out;
    }
    pack->members[pack->count++] = member;
    return LETHE_OK;
out:
    free_record(record);
    return err;
}

size_t lethe_pack_size(const struct lethe_pack *pack)
{
    return pack->plain.len + pack->count * LETHE_SEAL_OVERHEAD;
}

static enum lethe_err seal_members(struct lethe_pack *pack, const struct lethe_id *id, struct lethe_buf *sealed)
{
    enum lethe_err err = LETHE_OK;
    uint64_t padded;

    for (size_t i = 0; i < pack->count && !err; i++) {
        const struct member *member = &pack->members[i];
        struct lethe_piece *piece = &member->record->pieces[member->record->count - 1];

        piece->object = *id;
        piece->object_kind = LETHE_OBJECT_PACK;
        piece->offset = sealed->len;
        piece->position = sealed->len;
        piece->origin = member->record->content;
        err = lethe_vault_seal(pack->vault, LETHE_OBJECT_PACK, id, &piece->origin, piece->position,
                               pack->plain.data + member->start, member->len, sealed);
        piece->stored = sealed->len - piece->offset;
    }
    if (err) {
        return err;
    }
    padded = lethe_padme(sealed->len + LETHE_SEAL_OVERHEAD);
    {
        struct lethe_buf zeros = {0};

        err = lethe_buf_resize(&zeros, (size_t)(padded - sealed->len - LETHE_SEAL_OVERHEAD));
        if (!err) {
            err = lethe_vault_seal(pack->vault, LETHE_OBJECT_PACK, id, NULL, sealed->len, zeros.data, zeros.len,
                                   sealed);
        }
        lethe_buf_release(&zeros);
    }
    for (size_t i = 0; i < pack->count; i++) {
        struct lethe_record *record = pack->members[i].record;

        record->pieces[record->count - 1].object_size = sealed->len;
    }
    return err;
}

enum lethe_err lethe_pack_flush(struct lethe_pack *pack, uint64_t *stored)
{
    struct lethe_buf sealed = {0};
    struct lethe_id id;
    enum lethe_err err;

    *stored = 0;
    if (pack->count == 0) {
        return LETHE_OK;
    }
    lethe_vault_new_id(&id);
    err = seal_members(pack, &id, &sealed);
    if (!err) {
        err = lethe_vault_put(pack->vault, LETHE_OBJECT_PACK, &id, sealed.data, sealed.len);
    }
    if (!err) {
        *stored = sealed.len;
    }
    for (size_t i = 0; i < pack->count; i++) {
        struct lethe_record *record = pack->members[i].record;
        enum lethe_err one = pack->done(pack->context, record, err);

        pack->members[i].record = NULL; /* done took it */
        err = err ? err : one;
    }
    empty(pack);
    lethe_buf_release(&sealed);
    return err;
}
