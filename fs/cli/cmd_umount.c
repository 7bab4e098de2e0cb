/* SPDX-License-Identifier: MIT */
/*
 * Takes a mount away, and returns only once its daemon has ended: then everything is durable on this device.
 */
#include "fs/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define FSTYPE "fuse.lethefs"
#define BUSY_NAPS 10 /* of a tenth of a second */

/* The folder's full name. A dead mount cannot be entered, so that its parent is resolved. */
static bool resolve(const char *path, char out[4096])
{
    char folder[4096], name[4096], full[4096];

    if (realpath(path, out)) {
        return true;
    }
    if (errno != ENOTCONN || strlen(path) >= sizeof folder) {
        return false;
    }
    strcpy(folder, path);
    strcpy(name, path);
    return realpath(dirname(folder), full) &&
           snprintf(out, 4096, "%s/%s", strcmp(full, "/") == 0 ? "" : full, basename(name)) < 4096;
}

/* Octal escapes of mountinfo, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
            from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Whether the topmost mount at this place is one of ours. */
static bool is_ours(const char *place)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    bool ours = false;

    while (mounts && getline(&line, &room, mounts) > 0) {
        char *at = line, *type = strstr(line, " - ");

        for (unsigned i = 0; i < 4 && at; i++) {
            at = strchr(at, ' ');
            at = at ? at + 1 : NULL;
        }
        if (!at || !type) {
            continue;
        }
        at[strcspn(at, " ")] = '\0';
        unescape(at);
        if (strcmp(at, place) == 0) {
            ours = strncmp(type + 3, FSTYPE " ", sizeof FSTYPE) == 0;
        }
    }
    free(line);
    if (mounts) {
        fclose(mounts);
    }
    return ours;
}

/* The daemon of the mount, as a descriptor that can be polled; -1 when it is not to be told. */
static int daemon_of(const char *path, bool *dead)
{
    char text[32] = "";
    ssize_t len = getxattr(path, "user.lethefs.pid", text, sizeof text - 1);
    long pid;

    *dead = len < 0 && errno == ENOTCONN;
    pid = len > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;
}

/* fusermount3 is what may unmount for a user. What it has to say is read, since its exit status says nothing.
 */
static enum lethe_err unmount_as_user(const char *path, bool lazy)
{
    char *arguments[] = {(char *)(uintptr_t) "fusermount3", (char *)(uintptr_t)(lazy ? "-uz" : "-u"),
                         (char *)(uintptr_t) "--", (char *)(uintptr_t)path, NULL};
    posix_spawn_file_actions_t actions;
    char said[512] = "";
    size_t len = 0;
    int pipes[2], status = 0, failed;
    pid_t child;

    if (pipe2(pipes, O_CLOEXEC)) {
        return LETHE_ERR_IO;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDERR_FILENO);
    failed = posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    while (!failed && len < sizeof said - 1) {
        ssize_t got = read(pipes[0], said + len, sizeof said - 1 - len);

        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    close(pipes[0]);
    if (failed) {
        (void)lethe_cli_fail(LETHE_ERR_IO, "fusermount3 cannot be run (%s): install the package fuse3",
                             strerror(failed));
        return LETHE_ERR_IO;
    }
    said[len] = '\0';
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return LETHE_OK;
    }
    if (strstr(said, "busy")) {
        return LETHE_ERR_BUSY;
    }
    said[strcspn(said, "\n")] = '\0';
    (void)lethe_cli_fail(LETHE_ERR_DENIED, "%s cannot be unmounted: %s", path,
                         *said ? said : "fusermount3 failed");
    return LETHE_ERR_DENIED;
}

static enum lethe_err unmount(const char *path, bool lazy)
{
    if (geteuid() == 0) {
        if (!umount2(path, (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW)) {
            return LETHE_OK;
        }
        if (errno == EBUSY) {
            return LETHE_ERR_BUSY;
        }
        if (errno != EPERM) {
            (void)lethe_cli_fail(LETHE_ERR_IO, "%s cannot be unmounted: %s", path, strerror(errno));
            return LETHE_ERR_IO;
        }
    }
    return unmount_as_user(path, lazy);
}

/* Whoever passes through the folder, as find and file managers do, makes it busy for that moment. */
static enum lethe_err unmount_patiently(const char *path, bool lazy)
{
    const struct timespec nap = {.tv_nsec = 100000000};
    enum lethe_err err;

    for (unsigned naps = 0; (err = unmount(path, lazy)) == LETHE_ERR_BUSY && naps < BUSY_NAPS; naps++) {
        nanosleep(&nap, NULL);
    }
    return err;
}

static void wait_for(int daemon)
{
    struct pollfd poller = {.fd = daemon, .events = POLLIN};

    while (poll(&poller, 1, -1) < 0 && errno == EINTR) {
    }
}

int lethe_cmd_umount(int argc, char **argv)
{
    const char *timeout = "15s", *args[1];
    bool wait = false, dead;
    const struct lethe_option options[] = {
        {"wait", LETHE_OPTION_FLAG, &wait, 0, 0, "bring everything to the vault first"},
        {"timeout", LETHE_OPTION_TEXT, &timeout, 0, 0,
         "DURATION wait for a vault that does not answer (15s; 0: for ever)"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "umount",
        .usage = "MOUNTPOINT [OPTION]...",
        .about = "Takes the folder away; everything is then durable on this device.",
        .min_args = 1,
        .max_args = 1,
        .options = options};
    char place[4096];
    int64_t patience;
    size_t count;
    int daemon;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (lethe_cli_duration(timeout, &patience)) {
        return lethe_cli_usage("umount: --timeout takes a duration such as 90s or 5m, not '%s'", timeout);
    }
    if (!resolve(args[0], place)) {
        return lethe_cli_fail(LETHE_ERR_IO, "%s: %s", args[0], strerror(errno));
    }
    if (!is_ours(place)) {
        return lethe_cli_fail(LETHE_ERR_IO, "%s is no mount of lethefs: see 'findmnt -t " FSTYPE "'",
                              args[0]);
    }
    daemon = daemon_of(place, &dead);
    if (!dead && wait && getxattr(place, "user.lethefs.control", NULL, 0) >= 0) {
        code = lethe_cli_sync(place, patience);
        if (code) {
            goto out;
        }
    } else if (!dead) {
        err = lethe_cli_flush(place);
        if (err) {
            code = lethe_cli_fail(err, "%s: what programs wrote last cannot be stored: %s; it stays mounted ('lethefs status' tells"
                                  " what is wrong; 'umount -l' gives up what could not be stored)",
                                  args[0], lethe_err_str(err));
            goto out;
        }
    }
    err = unmount_patiently(place, dead);
    if (err == LETHE_ERR_BUSY) {
        code =
            lethe_cli_fail(err,
                           "%s is in use: close the programs that work in it (fuser -vm shows them), then try"
                           " again",
                           args[0]);
        goto out;
    }
    code = lethe_exit_code(err);
    if (!err && dead) {
        /* Unmounted as asked; but what --wait promises did not happen. */
        code = lethe_cli_fail(
            wait ? LETHE_ERR_IO : LETHE_OK,
            "%s: the daemon had ended before; what it had made durable is there at the next mount", args[0]);
    }
    if (!err && daemon >= 0) {
        wait_for(daemon);
    }
out:
    if (daemon >= 0) {
        close(daemon);
    }
    return code < 0 ? LETHE_EXIT_DONE : code;
}
