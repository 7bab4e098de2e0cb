/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/cli/report.h"
#include "fs/file.h"

#define PATHS_MAX 256

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "?";
}

/* What the daemon knows of one file; an exit code. */
static int look(const char *path, json_t **out)
{
    struct stat stat_buf;
    char request[64];
    int code;

    if (stat(path, &stat_buf)) {
        return lethe_cli_fail(errno == ENOENT || errno == ENOTDIR ? LETHE_ERR_ARG : LETHE_ERR_IO, "%s: %s",
                              path, strerror(errno));
    }
    if (!S_ISREG(stat_buf.st_mode)) {
        return lethe_cli_fail(LETHE_ERR_ARG, "%s is no regular file: only files have content to inspect",
                              path);
    }
    snprintf(request, sizeof request, "inspect %" PRIu64, (uint64_t)stat_buf.st_ino);
    code = lethe_cli_ask(path, request, out, NULL);
    if (!code) {
        json_t *name = json_string(path);

        /* A name that is no text cannot stand in JSON. */
        (void)json_object_set_new(*out, "path", name ? name : json_null());
        (void)json_object_set_new(*out, "inode", json_integer((json_int_t)stat_buf.st_ino));
    }
    return code;
}

static void print_file(const char *path, const json_t *file)
{
    const json_t *objects = json_object_get(file, "objects"), *object;
    const char *reason = json_string_value(json_object_get(file, "reason"));
    uint64_t size = number(file, "size"), stored = number(file, "stored");
    char text[32], other[32];
    size_t i;

    printf("%s\n", path);
    printf("  state      %s\n", text_of(file, "state"));
    printf("  fidelity   %s\n", text_of(file, "fidelity"));
    printf("  kind       %s%s%s%s\n", text_of(file, "kind"), reason ? " (" : "", reason ? reason : "",
           reason ? ")" : "");
    printf("  size       %s, %s in the vault", lethe_cli_bytes(size, text), lethe_cli_bytes(stored, other));
    if (size) {
        printf(" (%.3f)", (double)stored / (double)size);
    }
    putchar('\n');
    if (json_object_get(file, "width")) {
        printf("  picture    %" PRIu64 " x %" PRIu64 " pixels\n", number(file, "width"),
               number(file, "height"));
        printf("  artifact   %.2f dB PSNR alone; %.3f bits per pixel kept, ",
               json_real_value(json_object_get(file, "psnr")),
               json_real_value(json_object_get(file, "artifact_bits_per_pixel")));
        if (json_is_null(json_object_get(file, "withheld_bits_per_pixel"))) {
            printf("the rest is gone\n");
        } else {
            printf("%.3f withheld\n", json_real_value(json_object_get(file, "withheld_bits_per_pixel")));
        }
        printf("  pair       %s\n", text_of(file, "pair"));
    }
    json_array_foreach(objects, i, object)
    {
        printf("  %-10s %s, %s\n", text_of(object, "kind"), text_of(object, "object"),
               lethe_cli_bytes(number(object, "stored"), text));
    }
}

/* Adds one file to the report; an exit code. */
static int add_to_report(struct lethe_buf *page, const char *path, const json_t *file)
{
    static const char *const words[] = {"artifact", "preview"};
    struct lethe_buf pictures[2] = {{0}, {0}};
    bool photo = strcmp(text_of(file, "kind"), "artifact") == 0;
    char request[64];
    int code = LETHE_EXIT_DONE;

    for (int i = 0; i < 2 && photo && !code; i++) {
        json_t *answer = NULL;

        snprintf(request, sizeof request, "%s %" PRIu64, words[i], number(file, "inode"));
        code = lethe_cli_ask(path, request, &answer, &pictures[i]);
        json_decref(answer);
    }
    if (!code) {
        code = lethe_exit_code(lethe_report_add(page, path, file, &pictures[0], &pictures[1]));
    }
    lethe_buf_release(&pictures[0]);
    lethe_buf_release(&pictures[1]);
    return code;
}

int lethe_cmd_inspect(int argc, char **argv)
{
    const char *html = NULL, *args[PATHS_MAX];
    bool json = false;
    const struct lethe_option options[] = {
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        {"html", LETHE_OPTION_TEXT, &html, 0, 0, "FILE write a report: original, in the vault, restored"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "inspect",
                                          .usage = "PATH... [OPTION]...",
                                          .about = "Tells how a file lies in the vault.",
                                          .min_args = 1,
                                          .max_args = PATHS_MAX,
                                          .options = options};
    json_t *files = json_array();
    struct lethe_buf page = {0};
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        goto out;
    }
    lethe_report_begin(&page, count);
    for (size_t i = 0; i < count; i++) {
        json_t *file = NULL;

        code = look(args[i], &file);
        if (!code && html) {
            code = add_to_report(&page, args[i], file);
        }
        if (code) {
            json_decref(file);
            goto out;
        }
        if (!json) {
            print_file(args[i], file);
        }
        (void)json_array_append_new(files, file);
    }
    lethe_report_end(&page);
    if (html) {
        err = lethe_buf_status(&page);
        err = err ? err : lethe_file_write_output(html, page.data, page.len, 0600);
        if (err) {
            code = lethe_cli_fail(err, "the report %s cannot be written: %s", html, lethe_err_str(err));
            goto out;
        }
    }
    if (json && count == 1) {
        code = lethe_cli_print_json(json_incref(json_array_get(files, 0)), LETHE_EXIT_DONE);
    } else if (json) {
        code = lethe_cli_print_json(json_pack("{s:O}", "files", files), LETHE_EXIT_DONE);
    }
out:
    json_decref(files);
    lethe_buf_release(&page);
    return code;
}
