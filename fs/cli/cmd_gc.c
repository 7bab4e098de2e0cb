/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/mount/control.h"
#include "fs/mount/session.h"
#include "fs/vault/gc.h"

/* In a session of this command's own; the rows of what went are published at once. */
static enum lethe_err collect(const char *location, const struct lethe_cli_access *access, int64_t keep,
                              unsigned patience_ms, struct lethe_gc_result *result)
{
    struct lethe_session *session = NULL;
    enum lethe_err err = lethe_cli_session(location, access, LETHE_CLI_PRESENT, &session), closing;

    if (err) {
        return err;
    }
    struct lethe_gc_options options = {
        .vault = session->vault, .db = session->db, .committer = session->committer, .keep_seconds = keep};

    err = lethe_publisher_sync(session->publisher, patience_ms);
    if (!err) {
        err = lethe_gc_run(&options, result);
    }
    if (err == LETHE_ERR_INTEGRITY) { /* a journal that this device can mend */
        lethe_publisher_verify(session->publisher);
        err = lethe_publisher_sync(session->publisher, patience_ms);
        err = err ? err : lethe_gc_run(&options, result);
    }
    if (!err) {
        err = lethe_publisher_sync(session->publisher, patience_ms);
    }
    closing = lethe_session_close(session);
    err = err ? err : closing;
    if (err) {
        (void)lethe_cli_fail(err, "%s: garbage could not be collected: %s", location, lethe_err_str(err));
    }
    return err;
}

/* By the mount of this device, when there is one. LETHE_ERR_NOT_FOUND when there is none. */
static enum lethe_err ask_mount(const char *location, const struct lethe_cli_access *access, int64_t keep,
                                struct lethe_gc_result *result)
{
    json_t *answer = NULL;
    char *state_dir = NULL;
    char request[64];
    enum lethe_err err = lethe_cli_state_dir(location, access, &state_dir);

    if (err) {
        return err;
    }
    snprintf(request, sizeof request, "gc %" PRId64, keep);
    err = lethe_control_call_state(state_dir, request, NULL, NULL, &answer, NULL);
    free(state_dir);
    if (!answer) {
        return LETHE_ERR_NOT_FOUND;
    }
    result->objects = (uint64_t)json_integer_value(json_object_get(answer, "objects"));
    result->bytes = (uint64_t)json_integer_value(json_object_get(answer, "bytes_freed"));
    result->broken = json_is_true(json_object_get(answer, "broken"));
    json_decref(answer);
    if (err) {
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
        (void)lethe_cli_fail(err, "%s: garbage could not be collected: %s", location, lethe_err_str(err));
    }
    return err;
}

int lethe_cmd_gc(int argc, char **argv)
{
    struct lethe_cli_access access = {0};
    const char *keep = "30d", *timeout = "15s", *args[1];
    bool json = false;
    const struct lethe_option options[] = {
        {"keep", LETHE_OPTION_TEXT, &keep, 0, 0, "DURATION epochs younger than this stay mountable (30d)"},
        {"timeout", LETHE_OPTION_TEXT, &timeout, 0, 0,
         "DURATION wait for a vault that does not answer (15s; 0: for ever)"},
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        LETHE_CLI_PASS_OPTIONS(access),
        LETHE_CLI_STATE_OPTION(access),
        LETHE_CLI_STORE_OPTIONS("", access.store),
        LETHE_CLI_RESIDUALS_OPTIONS(access.residuals, access.residuals_store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "gc",
                                          .usage = "VAULT [OPTION]...",
                                          .about = "Removes what no kept epoch needs.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    struct lethe_gc_result result = {0};
    int64_t seconds, patience;
    char text[32];
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (lethe_cli_duration(keep, &seconds)) {
        return lethe_cli_usage("gc: --keep takes a duration such as 30d or 12h, not '%s'", keep);
    }
    if (lethe_cli_duration(timeout, &patience) || patience > 86400) {
        return lethe_cli_usage("gc: --timeout takes a duration of at most 1d, such as 90s or 5m, not '%s'", timeout);
    }
    err = ask_mount(args[0], &access, seconds, &result);
    if (err == LETHE_ERR_NOT_FOUND) {
        err = collect(args[0], &access, seconds, (unsigned)patience * 1000, &result);
    }
    if (err) {
        return lethe_exit_code(err);
    }
    if (json) {
        return lethe_cli_print_json(
            json_pack("{s:I, s:I, s:b}", "objects", (json_int_t)result.objects, "bytes", (json_int_t)result.bytes,
                      "broken", result.broken),
            LETHE_EXIT_DONE);
    }
    if (result.broken) {
        printf("the history that is to be kept is damaged: nothing is collected; 'lethefs gc --keep 0s' gives the past"
               " up\n");
    }
    printf("%" PRIu64 " objects removed, %s\n", result.objects, lethe_cli_bytes(result.bytes, text));
    return LETHE_EXIT_DONE;
}
