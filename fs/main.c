/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/cli/cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"init", lethe_cmd_init, "make a vault"},
    {"mount", lethe_cmd_mount, "show a vault as a folder"},
    {"umount", lethe_cmd_umount, "take the folder away"},
    {"sync", lethe_cmd_sync, "wait until everything is in the vault"},
    {"status", lethe_cmd_status, "what is pending, published, cached"},
    {"inspect", lethe_cmd_inspect, "how one file lies in the vault"},
    {"check", lethe_cmd_check, "verify a vault"},
    {"gc", lethe_cmd_gc, "remove what no kept epoch needs"},
    {"passwd", lethe_cmd_passwd, "change the passphrase"},
    {"recover", lethe_cmd_recover, "make a vault known to this device"},
    {"key", lethe_cmd_key, "add, list and remove key slots"},
    {"model", lethe_cmd_model, "add, list and export model pairs"},
    {"drill", lethe_cmd_drill, "attack a vault as a thief would, and report"},
    {"train", lethe_cmd_train, "fit a model pair to photos"},
    {"bench", lethe_cmd_bench, "measure the engine on pictures"},
    {"encrypt", lethe_cmd_encrypt, "the engine alone: a photo to artifact and residual"},
    {"decrypt", lethe_cmd_decrypt, "the engine alone: back to the photo"},
};

static void print_help(void)
{
    printf("usage: lethefs COMMAND [ARGUMENT]...\nA photo vault: an ordinary folder whose photos lie "
           "elsewhere as"
           " noise.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        printf("  %-10s %s\n", commands[i].name, commands[i].about);
    }
    printf("\n'lethefs COMMAND --help' and lethefs(1) tell more.\n");
}

/*
 * mount(8) runs "lethefs VAULT MOUNTPOINT -o ..." for a line of type fuse.lethefs in fstab: no command, but a
 * URL, a path, or a folder.
 */
static bool is_vault(const char *word)
{
    struct stat stat_buf;

    return word[0] != '-' && (strchr(word, '/') || (!stat(word, &stat_buf) && S_ISDIR(stat_buf.st_mode)));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return lethe_cli_usage("no command; see 'lethefs --help'");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        return LETHE_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("lethefs %s\n", LETHE_VERSION);
        return LETHE_EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 2 && is_vault(argv[1])) {
        return lethe_cmd_mount(argc, argv);
    }
    return lethe_cli_usage("unknown command '%s'; see 'lethefs --help'", argv[1]);
}
