/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

int lethe_cmd_sync(int argc, char **argv)
{
    const char *timeout = "15s", *args[1];
    const struct lethe_option options[] = {
        {"timeout", LETHE_OPTION_TEXT, &timeout, 0, 0,
         "DURATION wait for a vault that does not answer (15s; 0: for ever)"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "sync",
                                          .usage = "PATH [OPTION]...",
                                          .about = "Returns once everything in the mount is in the vault.",
                                          .min_args = 1,
                                          .max_args = 1,
                                          .options = options};
    int64_t patience;
    size_t count;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (lethe_cli_duration(timeout, &patience)) {
        return lethe_cli_usage("sync: --timeout takes a duration such as 90s or 5m, not '%s'", timeout);
    }
    return lethe_cli_sync(args[0], patience);
}
