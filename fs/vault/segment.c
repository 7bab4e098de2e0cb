/* SPDX-License-Identifier: MIT */
/* Journal segments. A record of the body: u8 table set (1 tree, 2 vault), varint sequence number, block changeset. */
#define SQLITE_ENABLE_SESSION 1
#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#include "fs/vault/changeset.h"
#include "fs/vault/frame.h"

#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

#define SEGMENT_FORMAT 1
#define SET_TREE 1
#define SET_VAULT 2
#define SEGMENT_OBJECT_MAX (64u << 20)

void lethe_segment_release(struct lethe_segment *segment)
{
    free(segment->parts);
    *segment = (struct lethe_segment){0};
}

static void chain_next(const uint8_t previous[32], const struct lethe_buf *sealed, uint8_t out[32])
{
    uint8_t both[64];

    memcpy(both, previous, 32);
    lethe_hash(sealed->data, sealed->len, both + 32);
    lethe_hash(both, sizeof both, out);
}

/* What is being collected into parts. */
struct body {
    struct lethe_vault *vault;
    struct lethe_segment *segment;
    const struct lethe_id *id;
    struct lethe_buf raw;
    struct lethe_buf payload;
    uint64_t *bytes;
};

static enum lethe_err flush_part(struct body *body)
{
    enum lethe_err err = lethe_buf_status(&body->raw);

    if (err || body->raw.len == 0) {
        return err;
    }
    lethe_buf_reset(&body->payload);
    err = lethe_frame_pack(&body->raw, &body->payload);
    if (!err) {
        err = lethe_frame_put(body->vault, LETHE_OBJECT_JOURNAL, body->id, body->segment->count + 1, &body->payload,
                              &body->segment->parts, &body->segment->count, body->bytes);
    }
    lethe_buf_reset(&body->raw);
    return err;
}

/* Reads the next changeset after *seq into raw; *found is false at the end. The lock is held only meanwhile. */
static enum lethe_err next_changeset(struct lethe_db *db, uint64_t *seq, uint64_t last, const struct body *range,
                                     uint64_t tree_from, uint64_t vault_from, struct lethe_buf *raw, bool *found)
{
    uint64_t cut = range->segment->cut_seq, published = range->segment->pub_seq;
    sqlite3_stmt *statement;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_statement(
        db, "SELECT seq, tree, vault FROM changeset WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1", &statement);
    if (err) {
        goto out;
    }
    sqlite3_bind_int64(statement, 1, (int64_t)*seq);
    sqlite3_bind_int64(statement, 2, (int64_t)last);
    err = lethe_db_step(db, statement, found);
    if (err || !*found) {
        goto out;
    }
    *seq = (uint64_t)sqlite3_column_int64(statement, 0);
    for (int set = SET_TREE; set <= SET_VAULT; set++) {
        const void *bytes = sqlite3_column_blob(statement, set);
        size_t len = (size_t)sqlite3_column_bytes(statement, set);
        bool wanted = set == SET_TREE ? *seq > tree_from && *seq <= cut : *seq > vault_from && *seq <= published;

        if (wanted && len > 0) {
            lethe_buf_put_u8(raw, (uint8_t)set);
            lethe_buf_put_varint(raw, *seq);
            lethe_buf_put_block(raw, bytes, len);
        }
    }
    sqlite3_reset(statement);
out:
    lethe_db_unlock(db);
    return err;
}

static void write_header(struct lethe_buf *out, const struct lethe_segment *segment)
{
    lethe_buf_put_u8(out, SEGMENT_FORMAT);
    lethe_buf_put_u64(out, segment->epoch);
    lethe_buf_put_u64(out, (uint64_t)segment->time);
    lethe_buf_put_u64(out, segment->cut_seq);
    lethe_buf_put_u64(out, segment->pub_seq);
    lethe_buf_put(out, segment->previous.bytes, sizeof segment->previous.bytes);
    lethe_buf_put(out, segment->previous_chain, sizeof segment->previous_chain);
    lethe_buf_put_u64(out, segment->snapshot.epoch);
    lethe_buf_put_u64(out, segment->snapshot.seq);
    lethe_buf_put(out, segment->snapshot.id.bytes, sizeof segment->snapshot.id.bytes);
    lethe_frame_list_write(out, segment->parts, segment->count);
}

static enum lethe_err read_header(const uint8_t *bytes, size_t len, struct lethe_segment *segment)
{
    struct lethe_reader reader;
    uint8_t format;
    enum lethe_err err;

    lethe_reader_init(&reader, bytes, len);
    format = lethe_read_u8(&reader);
    if (!reader.bad && format != SEGMENT_FORMAT) {
        return format > SEGMENT_FORMAT ? LETHE_ERR_VERSION : LETHE_ERR_FORMAT;
    }
    segment->epoch = lethe_read_u64(&reader);
    segment->time = (int64_t)lethe_read_u64(&reader);
    segment->cut_seq = lethe_read_u64(&reader);
    segment->pub_seq = lethe_read_u64(&reader);
    lethe_read_bytes(&reader, segment->previous.bytes, sizeof segment->previous.bytes);
    lethe_read_bytes(&reader, segment->previous_chain, sizeof segment->previous_chain);
    segment->snapshot.epoch = lethe_read_u64(&reader);
    segment->snapshot.seq = lethe_read_u64(&reader);
    lethe_read_bytes(&reader, segment->snapshot.id.bytes, sizeof segment->snapshot.id.bytes);
    err = lethe_frame_list_read(&reader, &segment->parts, &segment->count);
    return err ? err : lethe_reader_status(&reader, true);
}

enum lethe_err lethe_segment_put(struct lethe_vault *vault, struct lethe_db *db, struct lethe_segment *segment,
                                 uint64_t tree_from, uint64_t vault_from, const struct lethe_id *id, uint8_t chain[32],
                                 uint64_t *bytes)
{
    struct body body = {.vault = vault, .segment = segment, .id = id, .bytes = bytes};
    uint64_t seq = tree_from < vault_from ? tree_from : vault_from;
    uint64_t last = segment->cut_seq > segment->pub_seq ? segment->cut_seq : segment->pub_seq;
    struct lethe_buf header = {0}, sealed = {0};
    char key[LETHE_STORE_KEY_MAX + 1];
    enum lethe_err err;
    bool found = true;

    *bytes = 0;
    do {
        err = next_changeset(db, &seq, last, &body, tree_from, vault_from, &body.raw, &found);
        if (!err && (body.raw.len >= LETHE_FRAME_BYTES || !found)) {
            err = flush_part(&body);
        }
    } while (!err && found);
    if (!err) {
        write_header(&header, segment);
        err = lethe_buf_status(&header);
    }
    if (!err) {
        err = lethe_vault_seal(vault, LETHE_OBJECT_JOURNAL, id, NULL, segment->epoch, header.data, header.len, &sealed);
    }
    if (!err) {
        lethe_vault_journal_key(segment->epoch, id, key);
        err = lethe_store_put(lethe_vault_store(vault), key, sealed.data, sealed.len);
    }
    if (!err) {
        *bytes += sealed.len;
        chain_next(segment->previous_chain, &sealed, chain);
    }
    lethe_buf_release(&body.raw);
    lethe_buf_release(&body.payload);
    lethe_buf_release(&header);
    lethe_buf_release(&sealed);
    return err;
}

enum lethe_err lethe_segment_fetch(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id, uint64_t most,
                                   struct lethe_buf *sealed)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    enum lethe_err err;

    most = most < SEGMENT_OBJECT_MAX ? most : SEGMENT_OBJECT_MAX;
    lethe_vault_journal_key(epoch, id, key);
    err = lethe_store_get(lethe_vault_store(vault), key, 0, most + 1, sealed, NULL);
    return err ? err : sealed->len > most ? LETHE_ERR_FORMAT : LETHE_OK;
}

enum lethe_err lethe_segment_open(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id,
                                  const uint8_t chain[32], const struct lethe_buf *sealed, struct lethe_segment *out)
{
    struct lethe_buf header = {0};
    char key[LETHE_STORE_KEY_MAX + 1];
    uint8_t hash[32];
    enum lethe_err err;

    *out = (struct lethe_segment){0};
    err = lethe_vault_unseal(vault, LETHE_OBJECT_JOURNAL, id, NULL, epoch, sealed->data, sealed->len, &header);
    if (!err) {
        err = read_header(header.data, header.len, out);
    }
    if (!err) {
        chain_next(out->previous_chain, sealed, hash);
        err = out->epoch == epoch && memcmp(hash, chain, sizeof hash) == 0 ? LETHE_OK : LETHE_ERR_INTEGRITY;
    }
    if (err) {
        if (err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_FORMAT) {
            lethe_vault_journal_key(epoch, id, key);
            lethe_log(LETHE_LOG_ERROR, "journal segment %s is missing, damaged or out of its place: " LETHE_JOURNAL_REMEDY,
                      key);
            err = LETHE_ERR_INTEGRITY;
        }
        lethe_segment_release(out);
    }
    lethe_buf_release(&header);
    return err;
}

enum lethe_err lethe_segment_get(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id,
                                 const uint8_t chain[32], struct lethe_segment *out)
{
    struct lethe_buf sealed = {0};
    enum lethe_err err = lethe_segment_fetch(vault, epoch, id, UINT64_MAX, &sealed);

    *out = (struct lethe_segment){0};
    if (!err || err == LETHE_ERR_NOT_FOUND || err == LETHE_ERR_FORMAT) { /* an absent one is a damaged one */
        err = lethe_segment_open(vault, epoch, id, chain, &sealed, out);
    }
    lethe_buf_release(&sealed);
    return err;
}

enum lethe_err lethe_segment_stat(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_store_stat stat;

    lethe_vault_journal_key(epoch, id, key);
    return lethe_store_stat(lethe_vault_store(vault), key, &stat);
}

bool lethe_segment_is_missing(struct lethe_vault *vault, uint64_t epoch, const struct lethe_id *id)
{
    return lethe_segment_stat(vault, epoch, id) == LETHE_ERR_NOT_FOUND;
}

static int refuse_conflict(void *context, int conflict, sqlite3_changeset_iter *iterator)
{
    (void)context;
    (void)conflict;
    (void)iterator;
    return SQLITE_CHANGESET_ABORT;
}

static int only_journaled(void *context, const char *table)
{
    const char *const *names = context;

    for (; *names; names++) {
        if (strcmp(*names, table) == 0) {
            return 1;
        }
    }
    return 0;
}

static enum lethe_err apply_records(struct lethe_db *db, const struct lethe_buf *raw, uint64_t after)
{
    static const char *const tree[] = {"inode", "dentry", "xattr", NULL};
    static const char *const vault[] = {"content", "piece", "object", NULL};
    struct lethe_reader reader;
    enum lethe_err err = LETHE_OK;

    lethe_reader_init(&reader, raw->data, raw->len);
    while (!err && !reader.bad && lethe_reader_left(&reader) > 0) {
        uint8_t set = lethe_read_u8(&reader);
        uint64_t seq = lethe_read_varint(&reader);
        size_t len;
        const uint8_t *bytes = lethe_read_block(&reader, &len);
        int result;

        if (reader.bad || (set != SET_TREE && set != SET_VAULT) || len > INT32_MAX) {
            return LETHE_ERR_INTEGRITY;
        }
        if (seq <= after) {
            continue;
        }
        err = lethe_changeset_check(bytes, len);
        if (err) {
            break;
        }
        result = sqlite3changeset_apply(lethe_db_handle(db), (int)len, (void *)(uintptr_t)bytes, only_journaled,
                                        refuse_conflict, (void *)(uintptr_t)(set == SET_TREE ? tree : vault));
        if (result != SQLITE_OK) {
            err = result == SQLITE_ABORT || result == SQLITE_CORRUPT || result == SQLITE_SCHEMA
                      ? LETHE_ERR_INTEGRITY
                      : lethe_db_error(db, result);
        }
    }
    return err ? err : reader.bad ? LETHE_ERR_INTEGRITY : LETHE_OK;
}

enum lethe_err lethe_segment_apply(struct lethe_db *db, const struct lethe_segment *segment,
                                   struct lethe_frame_reader *parts, uint64_t after)
{
    struct lethe_buf raw = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < segment->count && !err; i++) {
        err = lethe_frame_reader_next(parts, &raw); /* which says what is missing or damaged */
        if (err) {
            break;
        }
        lethe_db_lock(db);
        err = apply_records(db, &raw, after);
        err = err ? err : lethe_db_commit(db); /* a transaction lives in memory, and a history may be long */
        lethe_db_unlock(db);
        if (err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_FORMAT) {
            lethe_log(LETHE_LOG_ERROR, "journal segment of epoch %llu does not fit the history before it: "
                      LETHE_JOURNAL_REMEDY, (unsigned long long)segment->epoch);
        }
    }
    lethe_buf_release(&raw);
    return err == LETHE_ERR_FORMAT ? LETHE_ERR_INTEGRITY : err;
}
