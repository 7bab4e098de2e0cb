/* SPDX-License-Identifier: MIT */
/*
 * What people and programs type: the first byte chooses between a recovery phrase, a size, a duration, a
 * moment, a key of the store, a request to the daemon, and a command line (arguments end in zero bytes).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cli/cli.h"
#include "fs/mount/control_private.h"
#include "lethe/log.h"
#include "lethe/seal.h"
#include "lethe/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_phrase(const char *text, size_t len)
{
    char phrase[LETHE_PHRASE_MAX];
    struct lethe_secret *first, *second;

    if (lethe_phrase_read(text, len, &first)) {
        return;
    }
    lethe_phrase_write(first, phrase);
    if (lethe_phrase_read(phrase, strlen(phrase), &second) ||
        memcmp(lethe_secret_bytes(first), lethe_secret_bytes(second), LETHE_KEY_BYTES) != 0) {
        abort();
    }
    lethe_secret_free(first);
    lethe_secret_free(second);
}

static void try_key(const char *key)
{
    if (!lethe_store_key_valid(key)) {
        return;
    }
    if (strlen(key) > LETHE_STORE_KEY_MAX ||
        strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789./-") != strlen(key)) {
        abort();
    }
    for (const char *part = key; part; part = strchr(part, '/')) {
        size_t len;

        part += part != key; /* behind the slash */
        len = strcspn(part, "/");
        if (len == 0 || (len <= 2 && strncmp(part, "..", len) == 0)) {
            abort();
        }
    }
}

static void try_request(char *line)
{
    char word[LETHE_CONTROL_WORD];
    uint64_t argument;

    if (lethe_control_parse(line, word, &argument) && strlen(word) >= sizeof word) {
        abort();
    }
}

static void try_arguments(char *text, size_t len)
{
    static bool flag;
    static const char *words, *args[4];
    static uint64_t number, bytes;
    static struct lethe_cli_list list;
    static const struct lethe_option options[] = {
        {"flag", LETHE_OPTION_FLAG, &flag, 0, 0, "a flag"},
        {"text", LETHE_OPTION_TEXT, &words, 0, 0, "TEXT a text"},
        {"o", LETHE_OPTION_TEXT, &words, 0, 0, "TEXT a text"},
        {"number", LETHE_OPTION_NUMBER, &number, 3, 900, "N a number"},
        {"size", LETHE_OPTION_SIZE, &bytes, 0, 0, "SIZE a size"},
        {"list", LETHE_OPTION_LIST, &list, 0, 0, "WORD... some words"},
        LETHE_CLI_OPTIONS_END,
    };
    static const struct lethe_command command = {"test", "ARGS", "a test", 1, 4, options};
    char name[] = "test";
    char *argv[400] = {name};
    int argc = 1;
    size_t count = 0;

    for (size_t at = 0; at < len && argc < 399; at += strlen(text + at) + 1) {
        argv[argc++] = text + at;
    }
    number = 3;
    list.count = 0;
    if (lethe_cli_parse(&command, argc, argv, args, &count) == -1 &&
        (count < 1 || count > 4 || number < 3 || number > 900 ||
         list.count > sizeof list.values / sizeof *list.values)) {
        abort();
    }
}

static void be_quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static void start(void)
{
    /* libFuzzer and the sanitizers write to the descriptor. */
    stderr = fopen("/dev/null", "w");
    stdout = fopen("/dev/null", "w");
    lethe_log_set_sink(be_quiet, NULL);
    if (!stderr || !stdout || lethe_seal_start()) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    char *text;
    uint64_t bytes;
    int64_t moment;

    if (!started) {
        start();
        started = true;
    }
    if (size < 1) {
        return 0;
    }
    text = malloc(size);
    if (!text) {
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 7) {
    case 0:
        try_phrase(text, size - 1);
        break;
    case 1:
        (void)!lethe_cli_size(text, &bytes);
        break;
    case 2:
        if (lethe_cli_duration(text, &moment) == LETHE_OK && moment < 0) {
            abort();
        }
        break;
    case 3:
        (void)!lethe_cli_time(text, &moment);
        break;
    case 4:
        try_key(text);
        break;
    case 5:
        try_request(text);
        break;
    default:
        try_arguments(text, size - 1);
        break;
    }
    free(text);
    return 0;
}
