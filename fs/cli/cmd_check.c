/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/control.h"
#include "fs/mount/session.h"
#include "fs/vault/check.h"
#include "fs/vault/gc.h"
#include "lethe/log.h"

#define FOR_EVER ((int64_t)200 * 365 * 86400)
#define DEPTH_MAX 4096
#define SYNC_MS 60000

struct checking {
    pthread_mutex_t lock;
    json_t *faults; /* strings as the check gave them; guarded by lock */
    struct lethe_progress progress;
};

/* The database is locked by the check meanwhile: paths are looked up afterwards. */
static void on_fault(void *context, const char *line)
{
    struct checking *checking = context;

    pthread_mutex_lock(&checking->lock);
    (void)json_array_append_new(checking->faults, json_string(line));
    pthread_mutex_unlock(&checking->lock);
}

/* What is logged meanwhile names the objects that are damaged: it belongs to the faults. */
static void on_log(void *context, enum lethe_log_level level, const char *text)
{
    if (level == LETHE_LOG_ERROR) {
        on_fault(context, text);
    } else if (level == LETHE_LOG_WARN) { /* of the line to the store, not of what it holds */
        fprintf(stderr, "lethefs: %s\n", text);
    }
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct checking *checking = context;

    lethe_progress_update(&checking->progress, done, total);
}

/* Appends the path of an inode, by the first name that leads to it; false when none does. */
static bool find_path(struct lethe_db *db, int64_t ino, unsigned depth, struct lethe_buf *out)
{
    struct lethe_buf name = {0};
    sqlite3_stmt *statement;
    int64_t parent = 0;
    bool row = false;

    if (ino == 1 || depth == DEPTH_MAX) {
        return ino == 1;
    }
    lethe_db_lock(db);
    if (!lethe_db_statement(db, "SELECT parent, name FROM dentry WHERE ino = ? LIMIT 1", &statement)) {
        sqlite3_bind_int64(statement, 1, ino);
        if (!lethe_db_step(db, statement, &row) && row) {
            parent = sqlite3_column_int64(statement, 0);
            lethe_buf_put(&name, sqlite3_column_blob(statement, 1),
                          (size_t)sqlite3_column_bytes(statement, 1));
            sqlite3_reset(statement);
        }
    }
    lethe_db_unlock(db);
    row = row && find_path(db, parent, depth + 1, out);
    if (row) {
        lethe_buf_put_u8(out, '/');
        lethe_buf_put(out, name.data, name.len);
    }
    lethe_buf_release(&name);
    return row;
}

/* Faults that name an inode get its path as well, when it has one and that is text. */
static json_t *name_faults(struct lethe_db *db, const json_t *lines)
{
    json_t *faults = json_array();
    const json_t *line;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        json_t *fault = json_pack("{s:s}", "fault", json_string_value(line));
        struct lethe_buf path = {0};
        long long ino;

        if (db && sscanf(json_string_value(line), "inode %lld", &ino) == 1) {
            (void)json_object_set_new(fault, "inode", json_integer(ino));
            if (find_path(db, ino, 0, &path)) {
                json_t *text = json_stringn((const char *)path.data, path.len);

                if (text) {
                    (void)json_object_set_new(fault, "path", text);
                }
            }
        }
        (void)json_array_append_new(faults, fault);
        lethe_buf_release(&path);
    }
    return faults;
}

/*
 * What can be repaired without guessing: objects that nothing names. A damaged object has no second copy in
 * the vault; the remedy is a copy of the vault, or the file itself, stored again.
 */
static enum lethe_err remove_strays(const char *location, const struct lethe_cli_access *access,
                                    struct lethe_gc_result *result)
{
    struct lethe_session *session = NULL;
    enum lethe_err err = lethe_cli_session(location, access, LETHE_CLI_PRESENT, &session), closing;

    if (err) {
        return err;
    }
    struct lethe_gc_options options = {.vault = session->vault,
                                       .db = session->db,
                                       .committer = session->committer,
                                       .keep_seconds = FOR_EVER,
                                       .leave_packs = true};

    err = lethe_gc_run(&options, result);
    closing = lethe_session_close(session);
    err = err ? err : closing;
    if (err) {
        (void)lethe_cli_fail(err, "%s: strays could not be removed: %s", location, lethe_err_str(err));
    }
    return err;
}

/*
 * A rollback: the vault's history on its own is as good as it was then, but this device has seen more of it. The mount on
 * it knows, or its database. Both are no part of the vault: what ails them is said by others.
 */
static enum lethe_err compare_known(const struct lethe_session *session, struct checking *checking)
{
    struct lethe_db *db = NULL;
    struct lethe_head head;
    json_t *answer = NULL;
    size_t before = json_array_size(checking->faults);
    uint64_t known = 0;
    char path[4096], line[256];
    int lock = -1;
    enum lethe_err err, result = LETHE_OK;

    (void)!lethe_control_call_state(session->state_dir, "status", NULL, NULL, &answer, NULL);
    if (answer) {
        known = (uint64_t)json_integer_value(json_object_get(answer, "epoch"));
        json_decref(answer);
        err = lethe_head_get(session->vault, &head, NULL);
        if (!err && head.epoch < known && lethe_vault_binding(session->vault) != LETHE_BINDING_OURS) {
            snprintf(line, sizeof line, "the vault was rolled back or replaced: it shows epoch %llu, this device has seen"
                     " epoch %llu", (unsigned long long)head.epoch, (unsigned long long)known);
            on_fault(checking, line);
            err = LETHE_ERR_INTEGRITY;
        }
        return err;
    }
    snprintf(path, sizeof path, "%s/meta", session->state_dir);
    err = lethe_session_lock(session->state_dir, &lock);
    err = err ? err : lethe_db_open(path, session->device_root, false, &db);
    if (!err) {
        result = lethe_publisher_check(session->vault, db, false);
        result = result == LETHE_ERR_CONFLICT ? LETHE_OK : result; /* another device has gone on */
    }
    lethe_db_close(db);
    if (lock >= 0) {
        close(lock);
    }
    while (!result && json_array_size(checking->faults) > before) {
        (void)json_array_remove(checking->faults, before);
    }
    return result;
}

/* All that can be looked at: *opened tells whether the tree could be read. *faults receives what was found. */
static enum lethe_err look(const char *location, const struct lethe_cli_access *access, bool deep,
                           struct lethe_check_result *result, json_t **faults, bool *opened)
{
    struct checking checking = {.lock = PTHREAD_MUTEX_INITIALIZER, .faults = json_array()};
    struct lethe_session *session = NULL;
    enum lethe_err err, known;

    *result = (struct lethe_check_result){0};
    lethe_log_set_sink(on_log, &checking);
    err = lethe_cli_session(location, access, LETHE_CLI_PUBLISHED, &session);
    *opened = !err;
    if (!err) {
        struct lethe_check_options check = {.vault = session->vault,
                                            .db = session->db,
                                            .pool = session->pool,
                                            .deep = deep,
                                            .fault = on_fault,
                                            .progress = on_progress,
                                            .context = &checking};

        known = compare_known(session, &checking);
        lethe_progress_start(&checking.progress, "checking");
        err = lethe_check_run(&check, result);
        lethe_progress_end(&checking.progress);
        result->tree_faults += known == LETHE_ERR_INTEGRITY;
        err = err ? err : known;
    } else {
        result->tree_faults = json_array_size(checking.faults);
    }
    lethe_log_set_sink(NULL, NULL);
    *faults = name_faults(session ? session->db : NULL, checking.faults);
    if (err && err != LETHE_ERR_INTEGRITY) {
        size_t i;
        const json_t *line;

        json_array_foreach(checking.faults, i, line) /* they say what kept it from looking */
        {
            lethe_log(LETHE_LOG_ERROR, "%s", json_string_value(line));
        }
    }
    json_decref(checking.faults);
    if (lethe_session_close(session) && !err) {
        err = LETHE_ERR_IO;
    }
    return err;
}

/* The journal, written anew by the mount of this device, or from what it knows. Errors have been said. */
static enum lethe_err mend_journal(const char *location, const struct lethe_cli_access *access)
{
    struct lethe_session *session = NULL;
    json_t *answer = NULL;
    char *state_dir = NULL;
    enum lethe_err err = lethe_cli_state_dir(location, access, &state_dir), closing;

    err = err ? err : lethe_control_call_state(state_dir, "verify 0", NULL, NULL, &answer, NULL);
    free(state_dir);
    if (answer) {
        json_decref(answer);
    } else {
        err = lethe_cli_session(location, access, LETHE_CLI_PRESENT, &session);
        if (err) {
            return err;
        }
        lethe_publisher_verify(session->publisher);
        err = lethe_publisher_sync(session->publisher, SYNC_MS);
        closing = lethe_session_close(session);
        err = err ? err : closing;
    }
    if (err) {
        (void)lethe_cli_fail(err, "%s: its journal could not be written anew: %s", location, lethe_err_str(err));
    }
    return err;
}

static void print_faults(const json_t *faults)
{
    const json_t *fault;
    size_t i;

    json_array_foreach(faults, i, fault)
    {
        const char *path = json_string_value(json_object_get(fault, "path"));

        printf("fault: %s%s%s\n", json_string_value(json_object_get(fault, "fault")), path ? ": " : "",
               path ? path : "");
    }
}

int lethe_cmd_check(int argc, char **argv)
{
    struct lethe_cli_access access = {0};
    const char *args[1];
    bool deep = false, repair = false, json = false;
    const struct lethe_option options[] = {
        {"deep", LETHE_OPTION_FLAG, &deep, 0, 0, "decode and authenticate every byte"},
        {"repair", LETHE_OPTION_FLAG, &repair, 0, 0, "also remove what cut-off uploads left behind"},
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_RATE_OPTIONS(access.store),
        LETHE_CLI_RESIDUALS_OPTIONS(access.residuals, access.residuals_store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "check",
                                          .usage = "VAULT [OPTION]...",
                                          .about = "Verifies a vault as a new device would see it.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    struct lethe_check_result result = {0};
    struct lethe_gc_result strays = {0};
    json_t *faults = NULL;
    bool opened, mended = false;
    char text[32];
    size_t count;
    enum lethe_err err, repairing = LETHE_OK;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    err = look(args[0], &access, deep, &result, &faults, &opened);
    if (err == LETHE_ERR_INTEGRITY && !opened && repair && !mend_journal(args[0], &access)) {
        json_decref(faults);
        err = look(args[0], &access, deep, &result, &faults, &opened);
        mended = opened;
    }
    if (err && err != LETHE_ERR_INTEGRITY) {
        json_decref(faults);
        return opened ? lethe_cli_fail(err, "%s could not be checked: %s", args[0], lethe_err_str(err))
                      : lethe_exit_code(err);
    }
    if (repair && opened && !mended) { /* what leads to the damage stays, for a copy of the vault may mend it */
        repairing = remove_strays(args[0], &access, &strays);
    }
    code = lethe_exit_code(err ? err : repairing);
    if (json) {
        json_t *object =
            json_pack("{s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "ok", err == LETHE_OK, "deep", deep, "readable",
                      opened,
                      "files", (json_int_t)result.files, "objects", (json_int_t)result.objects, "bytes",
                      (json_int_t)result.bytes, "damaged", (json_int_t)result.damaged, "tree_faults",
                      (json_int_t)result.tree_faults, "faults", faults);

        if (repair && object) {
            (void)json_object_set_new(object, "journal_mended", json_boolean(mended));
            (void)json_object_set_new(object, "strays_removed", json_integer((json_int_t)strays.objects));
            (void)json_object_set_new(object, "not_repaired",
                                      json_integer((json_int_t)(result.damaged + result.tree_faults)));
        }
        return lethe_cli_print_json(object, code);
    }
    print_faults(faults);
    json_decref(faults);
    if (!opened) {
        fflush(stdout);
        return lethe_cli_fail(LETHE_ERR_INTEGRITY, "%s is damaged where its history is kept: nothing else could be looked"
                              " at", args[0]);
    }
    if (mended) {
        printf("the journal was damaged, and is written anew from this device: past moments before that are lost\n");
    }
    printf("%" PRIu64 " files, %" PRIu64 " objects, %s: ", result.files, result.objects,
           lethe_cli_bytes(result.bytes, text));
    if (err) {
        printf("%" PRIu64 " damaged, %" PRIu64 " faults in the tree\n", result.damaged, result.tree_faults);
    } else {
        printf("all is well%s\n", deep ? "" : " (names and sizes; --deep reads every byte)");
    }
    if (repair && !repairing) {
        printf("%" PRIu64 " strays removed, %s\n", strays.objects, lethe_cli_bytes(strays.bytes, text));
    }
    if (err && repair) {
        printf("not repaired: what is damaged in the vault has no second copy there; restore those objects "
               "from a copy"
               " of the vault, or store the files again\n");
    }
    fflush(stdout);
    if (err) {
        return lethe_cli_fail(LETHE_ERR_INTEGRITY, "%s is damaged: what is not listed is intact%s", args[0],
                              deep ? "" : " as far as names and sizes tell; see --deep");
    }
    return code;
}
