/* SPDX-License-Identifier: MIT */
#include "fs/mount/status.h"

#include <stdlib.h>
#include <string.h>

#include "fs/vault/restore.h"
#include "fs/vault/watch.h"
#include "lethe/codec.h"

static const char *const fidelity_names[] = {"exact", "split", "lossy"};
static const char *const state_names[] = {"dirty", "sealing", "vaulted", "damaged"};
#define DAMAGED 3 /* beyond enum lethe_content_state: some of its bytes are lost */
static const char *const kind_names[] = {"segments", "artifact", "packed"};
static const char *const piece_names[] = {"?", "artifact", "residual", "recipe", "segment", "segment",
                                          "lost"};

static void put(json_t *object, const char *key, json_t *value)
{
    /* Steals value; a failure leaves the key out, and jansson has no memory then anyway. */
    (void)json_object_set_new(object, key, value);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Rows of (integer, count, bytes) into an object under the names that name gives. */
static void put_counts(struct lethe_session *session, json_t *object, const char *sql, const char *(*name)(int))
{
    sqlite3_stmt *statement;
    bool row;

    lethe_db_lock(session->db);
    if (!lethe_db_statement(session->db, sql, &statement)) {
        while (!lethe_db_step(session->db, statement, &row) && row) {
            json_t *entry = json_object();

            put(entry, "files", json_integer(sqlite3_column_int64(statement, 1)));
            put(entry, "bytes", json_integer(sqlite3_column_int64(statement, 2)));
            put(object, name(sqlite3_column_int(statement, 0)), entry);
        }
    }
    lethe_db_unlock(session->db);
}

static const char *name_of_state(int state)
{
    return state >= 0 && state < 3 ? state_names[state] : "?";
}

static const char *name_of_kind(int kind)
{
    return kind >= 0 && kind < 3 ? kind_names[kind] : "?";
}

static const char *name_of_reason(int reason)
{
    return lethe_reason_name(reason >= 0 && reason < LETHE_REASON_COUNT ? (enum lethe_reason)reason
                                                                        : LETHE_REASON_MALFORMED);
}

static int64_t query_one(struct lethe_session *session, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = 0;
    bool row = false;

    lethe_db_lock(session->db);
    if (!lethe_db_statement(session->db, sql, &statement)) {
        if (!lethe_db_step(session->db, statement, &row) && row) {
            value = sqlite3_column_int64(statement, 0);
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(session->db);
    return value;
}

static void put_publisher(struct lethe_session *session, json_t *object)
{
    struct lethe_publisher_status status;
    json_t *pending = json_object();

    lethe_publisher_status(session->publisher, &status);
    put(object, "epoch", number(status.epoch));
    put(object, "epoch_time", json_integer(status.epoch_time));
    put(pending, "files", json_integer(query_one(session, "SELECT count(*) FROM local WHERE state < 2")));
    put(pending, "bytes", json_integer(query_one(session, "SELECT coalesce(sum(size), 0) FROM local WHERE state < 2")));
    put(pending, "changes",
        json_integer(query_one(session, "SELECT count(*) FROM changeset WHERE tree IS NOT NULL AND seq >"
                                        " (SELECT value FROM config WHERE key = 'tree_seq')")));
    put(pending, "busy", json_boolean(status.busy));
    put(pending, "sealing_total", number(status.sealing_total));
    put(pending, "sealing_done", number(status.sealing_done));
    put(object, "pending", pending);
    put(object, "sealed_bytes", number(status.original_bytes));
    put(object, "stored_bytes", number(status.stored_bytes));
    put(object, "stopped", json_boolean(status.stopped));
    put(object, "damaged", number(status.damaged));
    put(object, "journal_damaged", json_boolean(status.journal_damaged));
    put(object, "journal_mended", status.mended ? number(status.mended) : json_null());
    put(object, "last_error", status.last_error ? json_string(lethe_err_str(status.last_error)) : json_null());
    put(object, "error_since", status.last_error ? json_integer(status.error_since) : json_null());
}

/* A store: whether it answers, since when not and why, and the requests made since the vault was opened. */
static void put_store(json_t *object, const char *name, struct lethe_store *watch, const char *location)
{
    struct lethe_watch_status status;
    json_t *store = json_object(), *requests = json_object();

    lethe_watch_status(watch, &status);
    if (location) {
        put(store, "location", json_string(location));
    }
    put(store, "away", json_boolean(status.away));
    put(store, "away_since", status.away ? json_integer(status.since) : json_null());
    put(store, "why", status.away ? json_string(lethe_err_str(status.why)) : json_null());
    put(requests, "get", number(status.gets));
    put(requests, "put", number(status.puts));
    put(requests, "replace", number(status.replaces));
    put(requests, "remove", number(status.removes));
    put(requests, "list", number(status.lists));
    put(requests, "stat", number(status.stats));
    put(store, "requests", requests);
    put(store, "bytes_in", number(status.bytes_in));
    put(store, "bytes_out", number(status.bytes_out));
    put(object, name, store);
}

/* Reads that waited for the vault, and what came before it was asked for. */
static void put_reads(struct lethe_session *session, json_t *object)
{
    struct lethe_restorer_status status;
    json_t *reads = json_object();

    lethe_restorer_status(session->restorer, &status);
    put(reads, "asked", number(status.asked));
    put(reads, "ahead", number(status.ahead));
    put(reads, "joined", number(status.joined));
    put(object, "reads", reads);
}

json_t *lethe_status_session(struct lethe_session *session)
{
    static const char *const binding[] = {NULL, "this device", "another device"};
    const struct lethe_vault_settings *settings = lethe_vault_settings(session->vault);
    json_t *object = json_object();
    json_t *cache = json_object(), *stored = json_object(), *states = json_object(), *segments = json_object();
    struct lethe_contents_usage usage;
    struct lethe_tree_counts counts;
    bool damaged;
    char hex[33];

    lethe_hex(settings->id.bytes, sizeof settings->id.bytes, hex);
    put(object, "vault", json_string(hex));
    put(object, "version", json_string(LETHE_VERSION));
    put(object, "fidelity", json_string(fidelity_names[settings->fidelity]));
    put(object, "strength", json_integer((json_int_t)settings->strength));
    put(object, "pairs_in_vault", json_boolean(settings->pairs_in_vault));
    put(object, "location", json_string(session->location));
    put(object, "state_dir", json_string(session->state_dir));
    put_store(object, "store", session->watch, NULL);
    put_reads(session, object);
    if (session->second_watch) {
        put_store(object, "second_store", session->second_watch, session->second_location);
    }
    if (session->publisher) {
        put_publisher(session, object);
    } else {
        put(object, "epoch", json_integer(query_one(session, "SELECT value FROM config WHERE key = 'epoch'")));
    }
    put(object, "bound_to", binding[lethe_vault_binding(session->vault)]
                                ? json_string(binding[lethe_vault_binding(session->vault)])
                                : json_null());
    lethe_db_lock(session->db);
    damaged = lethe_db_damaged(session->db);
    lethe_db_unlock(session->db);
    put(object, "database_damaged", json_boolean(damaged));
    lethe_tree_count(session->tree, &counts);
    put(object, "inodes", number(counts.inodes));
    put(object, "open_files", number(counts.open_files));
    lethe_contents_usage(session->contents, &usage);
    put(cache, "limit", number(usage.limit));
    put(cache, "dirty", number(usage.dirty));
    put(cache, "cached", number(usage.cached));
    put(cache, "database", number(usage.database));
    put(cache, "free", number(usage.free));
    put(object, "cache", cache);
    put_counts(session, states, "SELECT state, count(*), coalesce(sum(size), 0) FROM local GROUP BY state",
               name_of_state);
    put(object, "states", states);
    put_counts(session, stored, "SELECT kind, count(*), coalesce(sum(size), 0) FROM content GROUP BY kind",
               name_of_kind);
    put(object, "stored", stored);
    /* Pictures that the Encrypter did not take: all reasons but "no picture at all" (1). */
    put_counts(session, segments,
               "SELECT reason, count(*), coalesce(sum(size), 0) FROM content WHERE reason > 1 GROUP BY reason",
               name_of_reason);
    put(object, "pictures_as_segments", segments);
    put(object, "objects", json_integer(query_one(session, "SELECT count(*) FROM object")));
    put(object, "object_bytes", json_integer(query_one(session, "SELECT coalesce(sum(size), 0) FROM object")));
    return object;
}

/*
 * The state of a content that the vault has no record of: frozen, or mutable (which the device may have no row for
 * before the next commit).
 */
static enum lethe_content_state unrecorded_state(struct lethe_session *session, const struct lethe_id *content)
{
    enum lethe_content_state state = LETHE_CONTENT_MUTABLE;
    sqlite3_stmt *statement;
    bool row = false;

    lethe_db_lock(session->db);
    if (!lethe_db_statement(session->db, "SELECT 1 FROM local WHERE content = ? AND state = 1", &statement)) {
        sqlite3_bind_blob(statement, 1, content->bytes, sizeof content->bytes, SQLITE_STATIC);
        if (!lethe_db_step(session->db, statement, &row) && row) {
            state = LETHE_CONTENT_FROZEN;
        }
        sqlite3_reset(statement);
    }
    lethe_db_unlock(session->db);
    return state;
}

static enum lethe_err load(struct lethe_session *session, uint64_t ino, uint64_t *size, struct lethe_id *content,
                           int *state, struct lethe_record *record, bool *recorded)
{
    enum lethe_err err;
    int result = lethe_tree_content(session->tree, ino, content, size);

    *recorded = false;
    *record = (struct lethe_record){0};
    if (result) {
        return lethe_err_from_errno(-result);
    }
    if (lethe_id_is_zero(content)) {
        *state = LETHE_CONTENT_VAULTED;
        return LETHE_OK;
    }
    err = lethe_record_load(session->db, content, record);
    if (err == LETHE_ERR_NOT_FOUND) {
        *state = unrecorded_state(session, content);
        return LETHE_OK;
    }
    *state = lethe_record_is_damaged(record) ? DAMAGED : LETHE_CONTENT_VAULTED;
    *recorded = !err;
    return err;
}

static double record_psnr(const struct lethe_record *record)
{
    struct lethe_photo_quality quality = {.squared_error = record->error, .samples = record->samples};

    return lethe_quality_psnr(&quality);
}

enum lethe_err lethe_status_words(struct lethe_session *session, uint64_t ino, const char **state, const char **kind,
                                  double *psnr)
{
    struct lethe_record record;
    int content_state;
    struct lethe_id content;
    uint64_t size;
    bool recorded;
    enum lethe_err err = load(session, ino, &size, &content, &content_state, &record, &recorded);

    if (err) {
        return err;
    }
    *state = state_names[content_state];
    *kind = recorded ? kind_names[record.kind] : "none";
    *psnr = recorded && record.kind == LETHE_RECORD_PHOTO ? record_psnr(&record) : -1;
    lethe_record_release(&record);
    return LETHE_OK;
}

static json_t *describe_piece(const struct lethe_piece *piece)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    json_t *entry = json_object();

    lethe_vault_object_key(piece->object_kind, &piece->object, key);
    put(entry, "kind", json_string(piece_names[piece->kind <= LETHE_PIECE_LOST ? piece->kind : 0]));
    put(entry, "object", json_string(key));
    put(entry, "offset", number(piece->offset));
    put(entry, "stored", number(piece->stored));
    put(entry, "start", number(piece->start));
    put(entry, "length", number(piece->length));
    return entry;
}

enum lethe_err lethe_status_file(struct lethe_session *session, uint64_t ino, json_t **out)
{
    struct lethe_record record;
    int state;
    struct lethe_id content;
    json_t *object, *objects;
    uint64_t size, stored = 0;
    bool recorded;
    char hex[33];
    enum lethe_err err = load(session, ino, &size, &content, &state, &record, &recorded);

    *out = NULL;
    if (err) {
        return err;
    }
    object = json_object();
    objects = json_array();
    lethe_hex(content.bytes, sizeof content.bytes, hex);
    put(object, "content", json_string(hex));
    put(object, "fidelity", json_string(fidelity_names[lethe_vault_settings(session->vault)->fidelity]));
    put(object, "size", number(size));
    put(object, "state", json_string(state_names[state]));
    put(object, "kind", json_string(recorded ? kind_names[record.kind] : "none"));
    for (size_t i = 0; i < record.count; i++) {
        stored += record.pieces[i].stored;
        (void)json_array_append_new(objects, describe_piece(&record.pieces[i]));
    }
    put(object, "stored", number(stored));
    put(object, "objects", objects);
    if (recorded && record.kind == LETHE_RECORD_PHOTO) {
        const struct lethe_piece *artifact = lethe_restore_find(&record, LETHE_PIECE_ARTIFACT);
        double pixels = (double)record.width * record.height;
        double kept = artifact && pixels > 0 ? 8.0 * (double)artifact->stored / pixels : 0;

        lethe_hex(record.pair.bytes, sizeof record.pair.bytes, hex);
        put(object, "pair", json_string(hex));
        put(object, "width", number(record.width));
        put(object, "height", number(record.height));
        put(object, "psnr", json_real(record_psnr(&record)));
        put(object, "artifact_bits_per_pixel", json_real(kept));
        /* Without a residual the rest is gone, and how much that was with it. */
        put(object, "withheld_bits_per_pixel",
            lethe_restore_find(&record, LETHE_PIECE_RESIDUAL)
                ? json_real(pixels > 0 ? 8.0 * (double)record.size / pixels - kept : 0)
                : json_null());
    } else if (recorded) {
        put(object, "reason", json_string(lethe_reason_name(record.reason)));
    }
    lethe_record_release(&record);
    *out = object;
    return LETHE_OK;
}

enum lethe_err lethe_status_artifact(struct lethe_session *session, uint64_t ino, struct lethe_buf *out)
{
    char key[LETHE_STORE_KEY_MAX + 1];
    struct lethe_record record;
    int state;
    const struct lethe_piece *piece = NULL;
    struct lethe_id content;
    uint64_t size;
    bool recorded;
    enum lethe_err err = load(session, ino, &size, &content, &state, &record, &recorded);

    if (!err && recorded) {
        piece = lethe_restore_find(&record, LETHE_PIECE_ARTIFACT);
    }
    if (!err && !piece) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (!err) {
        lethe_vault_object_key(piece->object_kind, &piece->object, key);
        err = lethe_store_get(lethe_vault_store(session->vault), key, 0, UINT64_MAX, out, NULL);
    }
    lethe_record_release(&record);
    return err;
}

enum lethe_err lethe_status_preview(struct lethe_session *session, uint64_t ino, struct lethe_buf *out)
{
    struct lethe_record record;
    int state;
    struct lethe_raster raster = {0};
    struct lethe_buf artifact = {0};
    const struct lethe_pair *pair;
    const struct lethe_piece *piece;
    struct lethe_id content;
    uint64_t size;
    bool recorded;
    enum lethe_err err = load(session, ino, &size, &content, &state, &record, &recorded);

    if (!err && (!recorded || record.kind != LETHE_RECORD_PHOTO)) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (!err) {
        piece = lethe_restore_find(&record, LETHE_PIECE_ARTIFACT);
        err = piece ? lethe_restore_piece(session->vault, piece, &artifact) : LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        err = lethe_vault_pair(session->vault, &record.pair, &pair);
    }
    if (!err) {
        err = lethe_artifact_picture(pair, artifact.data, artifact.len, &lethe_image_limits_default, session->pool,
                                     &raster);
    }
    if (!err) {
        err = lethe_png_write(&raster, 6, out);
    }
    lethe_raster_release(&raster);
    lethe_buf_release(&artifact);
    lethe_record_release(&record);
    return err;
}
