/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "fs/file.h"
#include "fs/mount/session.h"
#include "fs/vault/journal.h"
#include "lethe/model.h"

#define MODEL_MAX (64u << 20)

struct model_options {
    struct lethe_cli_access access;
    bool keep_current, json;
};

static enum lethe_err make_current(struct lethe_session *session, const struct lethe_id *id)
{
    enum lethe_err err;

    lethe_db_lock(session->db);
    err = lethe_db_set_blob(session->db, LETHE_CONFIG_PAIR, id, sizeof *id);
    lethe_db_unlock(session->db);
    return err;
}

static int add(const char *location, const char *path, const struct model_options *options)
{
    struct lethe_session *session = NULL;
    struct lethe_buf bytes = {0};
    struct lethe_id id;
    char hex[33];
    enum lethe_err closing, err = lethe_file_read(path, MODEL_MAX, &bytes);

    if (err) {
        lethe_buf_release(&bytes);
        return lethe_cli_fail(LETHE_ERR_ARG, "the model %s cannot be read: %s", path, lethe_err_str(err));
    }
    err = lethe_cli_session(location, &options->access, LETHE_CLI_PRESENT, &session);
    if (err) {
        lethe_buf_release(&bytes);
        return lethe_exit_code(err);
    }
    err = lethe_vault_pair_add(session->vault, bytes.data, bytes.len, &id);
    if (err == LETHE_ERR_FORMAT || err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_VERSION) {
        (void)lethe_cli_fail(err, "%s is no model pair that this lethefs can use: %s", path,
                             lethe_err_str(err));
        goto out;
    }
    err = err ? err : lethe_vault_pair_record(session->vault, session->db, &id);
    if (!err && !options->keep_current) {
        err = make_current(session, &id);
    }
    err = err ? err : lethe_commit_wait(session->committer);
    err = err ? err : lethe_publisher_sync(session->publisher, 60000);
    if (err) {
        (void)lethe_cli_fail(err, "%s: the pair cannot be added: %s", location, lethe_err_str(err));
    }
out:
    closing = lethe_session_close(session);
    lethe_buf_release(&bytes);
    if (!err && !closing) {
        lethe_hex(id.bytes, sizeof id.bytes, hex);
        printf("%s\n", hex);
    }
    return lethe_exit_code(err ? err : closing);
}

static int export(const char *location, const char *text, const char *path,
                  const struct model_options *options)
{
    struct lethe_session *session = NULL;
    const struct lethe_pair *pair;
    struct lethe_id id;
    enum lethe_err err = lethe_unhex(text, strlen(text), id.bytes, sizeof id.bytes);

    if (err) {
        return lethe_cli_usage("model: '%s' is no id of a model pair: 'lethefs model list' shows them", text);
    }
    err = lethe_cli_session(location, &options->access, LETHE_CLI_PUBLISHED, &session);
    if (!err) {
        err = lethe_vault_pair(session->vault, &id, &pair); /* says when it is nowhere */
        if (!err) {
            size_t len;
            const uint8_t *bytes = lethe_pair_bytes(pair, &len);

            err = lethe_file_write_output(path, bytes, len, 0600);
            if (err) {
                (void)lethe_cli_fail(err, "%s cannot be written: %s", path, lethe_err_str(err));
            }
        }
        if (lethe_session_close(session) && !err) {
            err = LETHE_ERR_IO;
        }
    }
    return lethe_exit_code(err);
}

/* One entry a pair; where it was seen is added up. */
static json_t *entry_of(json_t *pairs, const struct lethe_id *id)
{
    json_t *entry;
    char hex[33];

    lethe_hex(id->bytes, sizeof id->bytes, hex);
    entry = json_object_get(pairs, hex);
    if (!entry) {
        entry = json_pack("{s:s, s:b, s:b, s:b, s:i}", "id", hex, "current", 0, "shipped", 0, "on_device", 0,
                          "photos", 0);
        (void)json_object_set_new(pairs, hex, entry);
    }
    return entry;
}

static void add_used(struct lethe_session *session, json_t *pairs)
{
    sqlite3_stmt *statement;
    bool row;

    lethe_db_lock(session->db);
    if (!lethe_db_statement(session->db, "SELECT pair, count(*) FROM content WHERE kind = 1 GROUP BY pair",
                            &statement)) {
        while (!lethe_db_step(session->db, statement, &row) && row) {
            struct lethe_id id;

            if (sqlite3_column_bytes(statement, 0) == (int)sizeof id) {
                memcpy(&id, sqlite3_column_blob(statement, 0), sizeof id);
                (void)json_object_set_new(entry_of(pairs, &id), "photos",
                                          json_integer(sqlite3_column_int64(statement, 1)));
            }
        }
    }
    lethe_db_unlock(session->db);
}

static void add_device(const struct lethe_session *session, json_t *pairs)
{
    struct dirent *file;
    char path[4096];
    DIR *folder;

    snprintf(path, sizeof path, "%s/pairs", session->state_dir);
    folder = opendir(path);
    while (folder && (file = readdir(folder))) {
        struct lethe_id id;

        if (!lethe_unhex(file->d_name, strlen(file->d_name), id.bytes, sizeof id.bytes)) {
            (void)json_object_set_new(entry_of(pairs, &id), "on_device", json_true());
        }
    }
    if (folder) {
        closedir(folder);
    }
}

static json_t *gather(struct lethe_session *session, const struct lethe_head *head)
{
    json_t *pairs = json_object(), *list = json_array(), *entry;
    const struct lethe_pair *pair;
    const char *key;

    (void)json_object_set_new(entry_of(pairs, &head->pair), "current", json_true());
    add_used(session, pairs);
    add_device(session, pairs);
    for (unsigned i = 0; (pair = lethe_pair_shipped(i)); i++) {
        (void)json_object_set_new(entry_of(pairs, lethe_pair_id(pair)), "shipped", json_true());
    }
    json_object_foreach(pairs, key, entry)
    {
        (void)json_array_append(list, entry);
    }
    json_decref(pairs);
    return list;
}

static int list_pairs(const char *location, const struct model_options *options)
{
    struct lethe_session *session = NULL;
    struct lethe_head head;
    json_t *list = NULL, *entry;
    size_t i;
    enum lethe_err err = lethe_cli_session(location, &options->access, LETHE_CLI_PUBLISHED, &session);

    err = err ? err : lethe_head_get(session->vault, &head, NULL);
    if (!err) {
        list = gather(session, &head);
    }
    if (lethe_session_close(session) && !err) {
        err = LETHE_ERR_IO;
    }
    if (err) {
        json_decref(list);
        return lethe_exit_code(err);
    }
    if (options->json) {
        return lethe_cli_print_json(json_pack("{s:o}", "pairs", list), LETHE_EXIT_DONE);
    }
    json_array_foreach(list, i, entry)
    {
        printf("%s  %lld photos%s%s%s\n", json_string_value(json_object_get(entry, "id")),
               (long long)json_integer_value(json_object_get(entry, "photos")),
               json_is_true(json_object_get(entry, "current")) ? ", for new photos" : "",
               json_is_true(json_object_get(entry, "shipped")) ? ", shipped with lethefs" : "",
               json_is_true(json_object_get(entry, "on_device")) ? ", on this device" : "");
    }
    json_decref(list);
    return LETHE_EXIT_DONE;
}

int lethe_cmd_model(int argc, char **argv)
{
    struct model_options words = {0};
    const char *args[4] = {0};
    const struct lethe_option options[] = {
        {"keep-current", LETHE_OPTION_FLAG, &words.keep_current, 0, 0, "add without using it for new photos"},
        {"json", LETHE_OPTION_FLAG, &words.json, 0, 0, "list as one JSON object"},
        LETHE_CLI_PASS_OPTIONS(words.access),
        LETHE_CLI_STATE_OPTION(words.access),
        LETHE_CLI_STORE_OPTIONS("", words.access.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "model",
        .usage = "add VAULT FILE | list VAULT | export VAULT ID FILE [OPTION]...",
        .about = "Adds, lists and exports model pairs.",
        .min_args = 2,
        .max_args = 4,
        .options = options};
    size_t count;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (strcmp(args[0], "add") == 0 && count == 3) {
        return add(args[1], args[2], &words);
    }
    if (strcmp(args[0], "list") == 0 && count == 2) {
        return list_pairs(args[1], &words);
    }
    if (strcmp(args[0], "export") == 0 && count == 4) {
        return export(args[1], args[2], args[3], &words);
    }
    return lethe_cli_usage("usage: lethefs model %s", command.usage);
}
