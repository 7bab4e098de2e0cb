/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int lethe_exit_code(enum lethe_err err)
{
    switch (err) {
    case LETHE_OK:
        return LETHE_EXIT_DONE;
    case LETHE_ERR_ARG:
        return LETHE_EXIT_USAGE;
    case LETHE_ERR_KEY:
        return LETHE_EXIT_KEY;
    case LETHE_ERR_INTEGRITY:
        return LETHE_EXIT_INTEGRITY;
    case LETHE_ERR_UNREACHABLE:
        return LETHE_EXIT_UNREACHABLE;
    case LETHE_ERR_BUSY:
    case LETHE_ERR_CONFLICT:
        return LETHE_EXIT_BUSY;
    case LETHE_ERR_NOMEM:
    case LETHE_ERR_IO:
    case LETHE_ERR_NOSPACE:
    case LETHE_ERR_FORMAT:
    case LETHE_ERR_VERSION:
    case LETHE_ERR_UNSUPPORTED:
    case LETHE_ERR_NOT_FOUND:
    case LETHE_ERR_EXISTS:
    case LETHE_ERR_DENIED:
    case LETHE_ERR_ABSENT:
    case LETHE_ERR_DIFFERS:
    case LETHE_ERR_CANCELLED:
        return LETHE_EXIT_FAILED;
    }
    return LETHE_EXIT_FAILED;
}

static void say(const char *format, va_list args)
{
    fputs("lethefs: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int lethe_cli_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    return LETHE_EXIT_USAGE;
}

int lethe_cli_fail(enum lethe_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    return lethe_exit_code(err);
}

static void print_help(const struct lethe_command *command)
{
    printf("usage: lethefs %s %s\n%s\n", command->name, command->usage, command->about);
    for (const struct lethe_option *option = command->options; option->name; option++) {
        char left[64];
        const char *help = option->help;
        size_t word = option->kind == LETHE_OPTION_FLAG ? 0 : strcspn(help, " ");

        snprintf(left, sizeof left, "%s%s%s%.*s", strlen(option->name) == 1 ? "-" : "--", option->name,
                 word ? " " : "", (int)word, help);
        help += word + (word > 0);
        printf("  %-26s %s\n", left, help);
    }
    printf("  %-26s %s\n", "--help", "show this and exit");
}

enum lethe_err lethe_cli_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    unsigned long long number;
    const char *unit;
    char *end;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno) {
        return LETHE_ERR_ARG;
    }
    if (*end) {
        unsigned shift;

        unit = strchr(units, *end);
        if (!unit || (end[1] && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "B") != 0)) {
            return LETHE_ERR_ARG;
        }
        shift = 10 * (unsigned)(unit - units + 1);
        if (number > UINT64_MAX >> shift) {
            return LETHE_ERR_ARG;
        }
        number <<= shift;
    }
    *out = number;
    return LETHE_OK;
}

static int set_value(const struct lethe_option *option, const char *value)
{
    switch (option->kind) {
    case LETHE_OPTION_FLAG:
        *(bool *)option->target = true;
        return -1;
    case LETHE_OPTION_TEXT:
        *(const char **)option->target = value;
        return -1;
    case LETHE_OPTION_NUMBER: {
        char *end;
        unsigned long long number;

        errno = 0;
        number = strtoull(value, &end, 10);
        if (value[0] < '0' || value[0] > '9' || *end || errno || number < option->min || number > option->max) {
            return lethe_cli_usage("--%s takes a number from %llu to %llu, not '%s'", option->name,
                                   (unsigned long long)option->min, (unsigned long long)option->max, value);
        }
        *(uint64_t *)option->target = number;
        return -1;
    }
    case LETHE_OPTION_SIZE:
        if (lethe_cli_size(value, option->target)) {
            return lethe_cli_usage("--%s takes a size such as 512M or 20G, not '%s'", option->name, value);
        }
        return -1;
    case LETHE_OPTION_LIST: {
        struct lethe_cli_list *list = option->target;

        if (list->count == sizeof list->values / sizeof *list->values) {
            return lethe_cli_usage("--%s was given too many values", option->name);
        }
        list->values[list->count++] = value;
        return -1;
    }
    }
    return LETHE_EXIT_USAGE;
}

/* The option that argument names; *value points behind its '=' when it has one. */
static const struct lethe_option *find(const struct lethe_command *command, const char *argument, const char **value)
{
    size_t dashes = argument[1] == '-' ? 2 : 1;
    const char *name = argument + dashes;
    size_t len = strcspn(name, "=");

    *value = name[len] ? name + len + 1 : NULL;
    for (const struct lethe_option *option = command->options; option->name; option++) {
        if (strlen(option->name) == len && strncmp(option->name, name, len) == 0 && (len == 1) == (dashes == 1)) {
            return option;
        }
    }
    return NULL;
}

int lethe_cli_parse(const struct lethe_command *command, int argc, char **argv, const char **args, size_t *count)
{
    bool only_args = false;

    *count = 0;
    for (int i = 1; i < argc; i++) {
        const struct lethe_option *option;
        const char *value;
        int code;

        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = true;
            continue;
        }
        if (only_args || argv[i][0] != '-' || argv[i][1] == '\0') {
            if (*count == command->max_args) {
                return lethe_cli_usage("%s: '%s' is one argument too many; see 'lethefs %s --help'", command->name,
                                       argv[i], command->name);
            }
            args[(*count)++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(command);
            return LETHE_EXIT_DONE;
        }
        option = find(command, argv[i], &value);
        if (!option) {
            return lethe_cli_usage("%s: unknown option '%s'; see 'lethefs %s --help'", command->name, argv[i],
                                   command->name);
        }
        if (option->kind == LETHE_OPTION_FLAG && value) {
            return lethe_cli_usage("%s: %s takes no value", command->name, argv[i]);
        }
        if (option->kind != LETHE_OPTION_FLAG && !value) {
            if (i + 1 == argc) {
                return lethe_cli_usage("%s: %s needs a value", command->name, argv[i]);
            }
            value = argv[++i];
        }
        code = set_value(option, value);
        while (code < 0 && option->kind == LETHE_OPTION_LIST && i + 1 < argc && argv[i + 1][0] != '-') {
            code = set_value(option, argv[++i]);
        }
        if (code >= 0) {
            return code;
        }
    }
    if (*count < command->min_args) {
        return lethe_cli_usage("usage: lethefs %s %s", command->name, command->usage);
    }
    return -1;
}
