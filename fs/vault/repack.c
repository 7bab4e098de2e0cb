/* SPDX-License-Identifier: MIT */
#include "fs/vault/repack.h"

#include <stdlib.h>
#include <string.h>

#include "fs/vault/pack.h"
#include "fs/vault/publisher.h"
#include "lethe/log.h"

#define LEAST (64u << 10)           /* what is smaller is no loss */
#define MOST (2 * LETHE_PACK_BYTES) /* no pack of ours is larger */

/* A member on its way from one pack to another. */
struct member {
    struct lethe_id from;
    uint64_t offset, stored, position;
    struct lethe_record record; /* of one piece: where it is then */
    enum lethe_err err;
};

struct repack {
    struct lethe_vault *vault;
    struct lethe_db *db;
    struct lethe_committer *committer;
    struct lethe_uploads *uploads;
    struct lethe_pack *pack;
    struct member **members; /* those in the pack */
    size_t count, room;
};

static void member_done(void *owner, enum lethe_err err, size_t stored)
{
    struct member *member = owner;

    (void)stored;
    member->err = err;
}

static void member_free(struct member *member)
{
    if (member) {
        lethe_record_release(&member->record);
        free(member);
    }
}

static void forget_members(struct repack *repack)
{
    for (size_t i = 0; i < repack->count; i++) {
        member_free(repack->members[i]);
    }
    repack->count = 0;
}

/* The first pack behind *id of which less than half is in use; *found is false at the end. */
static enum lethe_err next_pack(struct lethe_db *db, struct lethe_id *id, uint64_t *size, bool *found)
{
    sqlite3_stmt *statement;
    enum lethe_err err;

    *found = false;
    lethe_db_lock(db);
    err = lethe_db_statement(
        db,
        "SELECT id, size FROM object WHERE id > ? AND kind = ? AND refs > 0 AND size >= ? AND"
        " (SELECT sum(stored) FROM (SELECT DISTINCT offset, stored FROM piece"
        " WHERE piece.object = object.id)) * 2 < size ORDER BY id LIMIT 1",
        &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, id);
        sqlite3_bind_int(statement, 2, LETHE_OBJECT_PACK);
        sqlite3_bind_int64(statement, 3, LEAST);
        err = lethe_db_step(db, statement, found);
    }
    if (!err && *found) {
        if (!lethe_db_column_id(statement, 0, id)) {
            err = LETHE_ERR_INTEGRITY;
        }
        *size = (uint64_t)sqlite3_column_int64(statement, 1);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return err;
}

/* The next member of the pack behind offset after. LETHE_ERR_NOT_FOUND at the end. */
static enum lethe_err next_member(struct lethe_db *db, const struct lethe_id *from, int64_t after,
                                  struct member **out)
{
    struct member *member = calloc(1, sizeof *member);
    sqlite3_stmt *statement;
    bool row = false;
    enum lethe_err err;

    *out = NULL;
    if (!member) {
        return LETHE_ERR_NOMEM;
    }
    member->from = *from;
    lethe_db_lock(db);
    err = lethe_db_statement(
        db,
        "SELECT offset, stored, origin, position FROM piece WHERE object = ? AND offset > ?"
        " ORDER BY offset LIMIT 1",
        &statement);
    if (!err) {
        lethe_db_bind_id(statement, 1, from);
        sqlite3_bind_int64(statement, 2, after);
        err = lethe_db_step(db, statement, &row);
    }
    if (!err && row) {
        member->offset = (uint64_t)sqlite3_column_int64(statement, 0);
        member->stored = (uint64_t)sqlite3_column_int64(statement, 1);
        member->position = (uint64_t)sqlite3_column_int64(statement, 3);
        err = lethe_db_column_id(statement, 2, &member->record.content) ? LETHE_OK : LETHE_ERR_INTEGRITY;
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    err = err ? err : row ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    if (err) {
        member_free(member);
        return err;
    }
    *out = member;
    return LETHE_OK;
}

/* One statement: ?1 old object, ?2 old offset, ?3 new object, ?4 offset, ?5 stored, ?6 size, ?7 number, ?8
 * kind. */
static enum lethe_err run(struct lethe_db *db, const char *sql, const struct member *member, int64_t number)
{
    const struct lethe_piece *piece = &member->record.pieces[0];
    sqlite3_stmt *statement;
    enum lethe_err err = lethe_db_statement(db, sql, &statement);

    if (err) {
        return err;
    }
    lethe_db_bind_id(statement, 1, &member->from);
    sqlite3_bind_int64(statement, 2, (int64_t)member->offset);
    lethe_db_bind_id(statement, 3, &piece->object);
    sqlite3_bind_int64(statement, 4, (int64_t)piece->offset);
    sqlite3_bind_int64(statement, 5, (int64_t)piece->stored);
    sqlite3_bind_int64(statement, 6, (int64_t)piece->object_size);
    sqlite3_bind_int64(statement, 7, number);
    sqlite3_bind_int(statement, 8, LETHE_OBJECT_PACK);
    return lethe_db_run(db, statement);
}

/* In a transaction: pieces of other contents may have come and gone since the member was looked at. */
static enum lethe_err move_rows(struct lethe_db *db, const struct member *member, uint64_t dead)
{
    static const char *const move = "UPDATE piece SET object = ?3, offset = ?4, stored = ?5, position = ?4"
                                    " WHERE object = ?1 AND offset = ?2";
    static const char *const steps[] = {
        "UPDATE object SET refs = refs - ?7 WHERE id = ?1",
        "INSERT INTO object(id, kind, size, refs, dead) VALUES(?3, ?8, ?6, ?7, 0)"
        " ON CONFLICT(id) DO UPDATE SET refs = refs + ?7, dead = CASE WHEN refs + ?7 > 0 THEN 0 ELSE dead END",
    };
    static const char *const bury =
        "UPDATE object SET dead = ?7 WHERE id IN (?1, ?3) AND refs <= 0 AND dead = 0";
    int64_t moved;
    enum lethe_err err = run(db, move, member, 0);

    moved = err ? 0 : sqlite3_changes(lethe_db_handle(db));
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !err; i++) {
        err = run(db, steps[i], member, moved);
    }
    return err ? err : run(db, bury, member, (int64_t)dead);
}

/* The rows of all members in one commit. */
static enum lethe_err commit(struct repack *repack)
{
    struct lethe_db *db = repack->db;
    int64_t epoch = 0;
    enum lethe_err err, end;

    lethe_gate_enter(repack->committer);
    lethe_db_lock(db);
    err = lethe_db_get_int(db, LETHE_CONFIG_EPOCH, 0, &epoch);
    err = err ? err : lethe_db_begin(db);
    if (!err) {
        for (size_t i = 0; i < repack->count && !err; i++) {
            /* The next epoch may be published without these rows; the one after it has them. */
            err = move_rows(db, repack->members[i], (uint64_t)epoch + 2);
        }
        end = lethe_db_end(db, !err);
        err = err ? err : end;
    }
    lethe_db_unlock(db);
    lethe_gate_leave(repack->committer, true);
    return err;
}

/* What is in the pack into the vault, and then the rows. */
static enum lethe_err flush(struct repack *repack)
{
    struct lethe_pack *full = repack->pack;
    enum lethe_err err = lethe_pack_new(repack->vault, member_done, &repack->pack);

    if (err) {
        repack->pack = full;
        return err;
    }
    lethe_pack_flush(full, repack->uploads); /* with one upload at a time it is done on return */
    for (size_t i = 0; i < repack->count && !err; i++) {
        err = repack->members[i]->err;
    }
    if (!err && repack->count > 0) {
        err = commit(repack);
    }
    forget_members(repack);
    return err;
}

/* Takes member. */
static enum lethe_err add(struct repack *repack, struct member *member, const struct lethe_buf *object)
{
    const struct lethe_piece piece = {.kind = LETHE_PIECE_RAW};
    struct lethe_buf plain = {0};
    enum lethe_err err = LETHE_OK;

    if (repack->count == repack->room) {
        size_t room = repack->room ? repack->room * 2 : 64;
        struct member **members = reallocarray(repack->members, room, sizeof(struct member *));

        err = members ? LETHE_OK : LETHE_ERR_NOMEM;
        repack->members = members ? members : repack->members;
        repack->room = members ? room : repack->room;
    }
    if (!err && (member->offset > object->len || member->stored > object->len - member->offset)) {
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        err = lethe_vault_unseal(repack->vault, LETHE_OBJECT_PACK, &member->from, &member->record.content,
                                 member->position, object->data + member->offset, (size_t)member->stored,
                                 &plain);
    }
    if (!err) {
        err = lethe_pack_add(repack->pack, member, &member->record, &piece, plain.data, plain.len);
    }
    lethe_buf_release(&plain);
    if (err) {
        member_free(member);
        return err;
    }
    repack->members[repack->count++] = member;
    return lethe_pack_size(repack->pack) >= LETHE_PACK_BYTES ? flush(repack) : LETHE_OK;
}

/* The live members of one pack, which is fetched whole. */
static enum lethe_err empty_pack(struct repack *repack, const struct lethe_id *from, uint64_t size)
{
    struct lethe_store *store = lethe_vault_store_of(repack->vault, LETHE_OBJECT_PACK);
    struct lethe_buf object = {0};
    char key[LETHE_STORE_KEY_MAX + 1];
    int64_t after = -1;
    enum lethe_err err = size <= MOST ? LETHE_OK : LETHE_ERR_INTEGRITY;

    lethe_vault_object_key(LETHE_OBJECT_PACK, from, key);
    if (!err) {
        err = store ? lethe_store_get(store, key, 0, size, &object, NULL) : LETHE_ERR_UNREACHABLE;
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
    }
    while (!err) {
        struct member *member;

        err = next_member(repack->db, from, after, &member);
        if (!err) {
            after = (int64_t)member->offset;
            err = add(repack, member, &object);
        }
    }
    lethe_buf_release(&object);
    return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
}

enum lethe_err lethe_repack(struct lethe_vault *vault, struct lethe_db *db, struct lethe_committer *committer,
                            const atomic_bool *stop)
{
    struct repack repack = {.vault = vault, .db = db, .committer = committer};
    struct lethe_id id = {{0}};
    uint64_t size = 0;
    bool found = true;
    enum lethe_err err = lethe_uploads_new(vault, 1, &repack.uploads);

    err = err ? err : lethe_pack_new(vault, member_done, &repack.pack);
    while (!err && !(stop && atomic_load(stop)) && !(err = next_pack(db, &id, &size, &found)) && found) {
        err = empty_pack(&repack, &id, size);
        if (err == LETHE_ERR_INTEGRITY) { /* for check to judge: what it holds stays where it is */
            lethe_log(LETHE_LOG_WARN, "a damaged pack is left as it is: run 'lethefs check --deep'");
            err = LETHE_OK;
        }
    }
    err = err ? err : flush(&repack);
    lethe_pack_free(repack.pack);
    forget_members(&repack);
    lethe_uploads_free(repack.uploads);
    free(repack.members);
    return err;
}
