/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PASSPHRASE_MAX 4096
#define ROOM (PASSPHRASE_MAX + 2) /* a newline and one byte too many are noticed */

void lethe_cli_secret_free(struct lethe_cli_secret *secret)
{
    if (secret->text) {
        explicit_bzero(secret->text, ROOM);
        munlock(secret->text, ROOM);
        munmap(secret->text, ROOM);
    }
    *secret = (struct lethe_cli_secret){0};
}

static enum lethe_err allocate(struct lethe_cli_secret *secret)
{
    void *text = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (text == MAP_FAILED) {
        return LETHE_ERR_NOMEM;
    }
    (void)mlock(text, ROOM); /* the limit may be tiny; the page is short-lived and kept from dumps */
    (void)madvise(text, ROOM, MADV_DONTDUMP);
    *secret = (struct lethe_cli_secret){.text = text};
    return LETHE_OK;
}

static enum lethe_err read_all(int fd, struct lethe_cli_secret *secret)
{
    while (secret->len < ROOM) {
        ssize_t got = read(fd, secret->text + secret->len, ROOM - secret->len);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return LETHE_ERR_IO;
        }
        if (got == 0) {
            break;
        }
        secret->len += (size_t)got;
    }
    return LETHE_OK;
}

/* Strips one trailing newline and checks the length. */
static enum lethe_err trim(struct lethe_cli_secret *secret, const char *prompt, const char *where)
{
    if (secret->len > 0 && secret->text[secret->len - 1] == '\n') {
        secret->len--;
    }
    if (secret->len == 0 || secret->len > PASSPHRASE_MAX) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "%s: %s gives %s", prompt, where,
                             secret->len ? "more than 4096 bytes" : "nothing");
        return LETHE_ERR_ARG;
    }
    return LETHE_OK;
}

static enum lethe_err from_file(const char *path, const char *prompt, struct lethe_cli_secret *secret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum lethe_err err;

    if (fd < 0) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "%s: the file %s cannot be opened: %s", prompt, path, strerror(errno));
        return LETHE_ERR_ARG;
    }
    err = read_all(fd, secret);
    close(fd);
    if (err) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "%s: the file %s cannot be read", prompt, path);
        return LETHE_ERR_ARG;
    }
    return trim(secret, prompt, path);
}

static enum lethe_err from_command(const char *command, struct lethe_cli_secret *secret)
{
    int pipes[2], status;
    enum lethe_err err;
    pid_t child;

    if (pipe2(pipes, O_CLOEXEC)) {
        return LETHE_ERR_IO;
    }
    child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    err = child < 0 ? LETHE_ERR_NOMEM : read_all(pipes[0], secret);
    close(pipes[0]);
    if (child > 0 && (waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) && !err) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "the command of --extpass failed");
        err = LETHE_ERR_ARG;
    }
    return err ? err : trim(secret, "Passphrase", "the command of --extpass");
}

static enum lethe_err from_terminal(const char *prompt, struct lethe_cli_secret *secret)
{
    struct termios before, quiet;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    enum lethe_err err = LETHE_OK;
    char c = 0;

    if (fd < 0 || tcgetattr(fd, &before)) {
        if (fd >= 0) {
            close(fd);
        }
        (void)lethe_cli_fail(LETHE_ERR_ARG, "%s: there is no terminal to ask for it: give it in a file, see --help", prompt);
        return LETHE_ERR_ARG;
    }
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(fd, TCSAFLUSH, &quiet);
    dprintf(fd, "%s: ", prompt);
    while (secret->len < ROOM && read(fd, &c, 1) == 1 && c != '\n') {
        secret->text[secret->len++] = c;
    }
    tcsetattr(fd, TCSAFLUSH, &before);
    dprintf(fd, "\n");
    if (secret->len == 0 || secret->len > PASSPHRASE_MAX) {
        err = trim(secret, prompt, "the terminal");
    }
    close(fd);
    return err;
}

enum lethe_err lethe_cli_passphrase(const char *passfile, const char *extpass, const char *prompt, bool confirm,
                                    struct lethe_cli_secret *out)
{
    struct lethe_cli_secret again = {0};
    enum lethe_err err;

    *out = (struct lethe_cli_secret){0};
    if (passfile && extpass) {
        (void)lethe_cli_fail(LETHE_ERR_ARG, "give --passfile or --extpass, not both");
        return LETHE_ERR_ARG;
    }
    err = allocate(out);
    if (err) {
        return err;
    }
    if (passfile) {
        err = from_file(passfile, prompt, out);
    } else if (extpass) {
        err = from_command(extpass, out);
    } else {
        err = from_terminal(prompt, out);
        if (!err && confirm) {
            err = allocate(&again);
            err = err ? err : from_terminal("The same again", &again);
            if (!err && (again.len != out->len || memcmp(again.text, out->text, out->len) != 0)) {
                (void)lethe_cli_fail(LETHE_ERR_ARG, "the two passphrases differ: nothing was done");
                err = LETHE_ERR_ARG;
            }
        }
    }
    lethe_cli_secret_free(&again);
    if (err) {
        lethe_cli_secret_free(out);
    }
    return err;
}
