/* SPDX-License-Identifier: MIT */
#include "fs/vault/pack.h"

#include <stdlib.h>

struct member {
    void *owner;
    struct lethe_record *record;
    size_t piece; /* index in record */
    size_t start; /* of the payload in plain */
    size_t len;
};

struct lethe_pack {
    struct lethe_vault *vault;
    lethe_pack_done done;
    struct lethe_buf plain; /* the payloads, one after the other */
    struct member *members;
    size_t count, room;
};

enum lethe_err lethe_pack_new(struct lethe_vault *vault, lethe_pack_done done, struct lethe_pack **out)
{
    struct lethe_pack *pack = calloc(1, sizeof *pack);

    *out = pack;
    if (!pack) {
        return LETHE_ERR_NOMEM;
    }
    pack->vault = vault;
    pack->done = done;
    return LETHE_OK;
}

/* Tells every member, and frees the pack. What no member takes of stored, the last one does. */
static void finish(struct lethe_pack *pack, enum lethe_err err, size_t stored)
{
    for (size_t i = 0; i < pack->count; i++) {
        const struct member *member = &pack->members[i];
        size_t own = stored ? (size_t)member->record->pieces[member->piece].stored : 0;

        stored -= own;
        pack->done(member->owner, err, i + 1 < pack->count ? own : own + stored);
    }
    free(pack->members);
    lethe_buf_release(&pack->plain);
    free(pack);
}

void lethe_pack_free(struct lethe_pack *pack)
{
    if (pack) {
        finish(pack, LETHE_ERR_CANCELLED, 0);
    }
}

enum lethe_err lethe_pack_add(struct lethe_pack *pack, void *owner, struct lethe_record *record,
                              const struct lethe_piece *piece, const uint8_t *payload, size_t len)
{
    struct member member = {
        .owner = owner, .record = record, .piece = record->count, .start = pack->plain.len, .len = len};
    enum lethe_err err;

    if (pack->count == pack->room) {
        size_t room = pack->room ? pack->room * 2 : 64;
        struct member *members = reallocarray(pack->members, room, sizeof *members);

        if (!members) {
            return LETHE_ERR_NOMEM;
        }
        pack->members = members;
        pack->room = room;
    }
    lethe_buf_put(&pack->plain, payload, len);
    err = lethe_buf_status(&pack->plain);
    if (err) {
        pack->plain.failed = false;
        return err;
    }
    err = lethe_record_add(record, piece);
    if (err) {
        pack->plain.len = member.start;
        return err;
    }
    pack->members[pack->count++] = member;
    return LETHE_OK;
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
        struct lethe_piece *piece = &member->record->pieces[member->piece];

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
        pack->members[i].record->pieces[pack->members[i].piece].object_size = sealed->len;
    }
    return err;
}

static void put_done(void *context, enum lethe_err err, size_t stored)
{
    finish(context, err, stored);
}

void lethe_pack_flush(struct lethe_pack *pack, struct lethe_uploads *uploads)
{
    struct lethe_buf sealed = {0};
    struct lethe_id id;
    enum lethe_err err;

    if (pack->count == 0) {
        finish(pack, LETHE_OK, 0);
        return;
    }
    lethe_vault_new_id(&id);
    err = seal_members(pack, &id, &sealed);
    lethe_buf_release(&pack->plain);
    if (err) {
        lethe_buf_release(&sealed);
        finish(pack, err, 0);
        return;
    }
    lethe_uploads_put(uploads, LETHE_OBJECT_PACK, &id, &sealed, put_done, pack);
}
