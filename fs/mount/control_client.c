/* SPDX-License-Identifier: MIT */
#include "fs/mount/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/mount/control_private.h"

#define LINE_MAX_BYTES (16u << 20)
#define ANSWER_MS 500

static enum lethe_err connect_to(const char *state_dir, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    enum lethe_err err = LETHE_OK;
    int folder = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    lethe_control_address(&address, state_dir, folder);
    if (folder < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        err = errno == EACCES || errno == EPERM ? LETHE_ERR_DENIED : LETHE_ERR_UNREACHABLE;
    }
    if (folder >= 0) {
        close(folder);
    }
    if (err && fd >= 0) {
        close(fd);
        fd = -1;
    }
    *out = fd;
    return err;
}

/* Reads the answer into objects, line by line, and the bytes that follow the last. */
static enum lethe_err read_answer(int fd, void (*progress)(void *, const json_t *), void *context, json_t **answer,
                                  struct lethe_buf *extra)
{
    struct lethe_buf text = {0};
    enum lethe_err err = LETHE_ERR_UNREACHABLE;
    bool last = false;

    while (text.len < LINE_MAX_BYTES + (last ? (64u << 20) : 0)) {
        uint8_t bytes[65536];
        ssize_t got = read(fd, bytes, sizeof bytes);
        uint8_t *newline;

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        lethe_buf_put(&text, bytes, (size_t)got);
        while (!last && text.len && (newline = memchr(text.data, '\n', text.len))) {
            size_t len = (size_t)(newline - text.data) + 1;
            json_t *object = json_loadb((const char *)text.data, len, 0, NULL);

            memmove(text.data, text.data + len, text.len - len);
            text.len -= len;
            if (json_is_true(json_object_get(object, "progress"))) {
                if (progress) {
                    progress(context, object);
                }
                json_decref(object);
            } else if (object) {
                err = (enum lethe_err)json_integer_value(json_object_get(object, "err"));
                *answer = object;
                last = true;
            }
        }
    }
    if (last && extra && text.len > 0) {
        lethe_buf_put(extra, text.data, text.len);
        if (!err) {
            err = lethe_buf_status(extra);
        }
    }
    lethe_buf_release(&text);
    return err;
}

enum lethe_err lethe_control_call_state(const char *state_dir, const char *request,
                                        void (*progress)(void *, const json_t *), void *context, json_t **answer,
                                        struct lethe_buf *extra)
{
    size_t len = strlen(request);
    int fd;
    enum lethe_err err = connect_to(state_dir, &fd);

    *answer = NULL;
    if (err) {
        return err;
    }
    /* Who has no place for us answers at once and closes, before all of this is sent: the answer is there. */
    if (send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len) {
        (void)!send(fd, "\n", 1, MSG_NOSIGNAL);
    }
    err = read_answer(fd, progress, context, answer, extra);
    close(fd);
    return err;
}

bool lethe_control_answers(const char *state_dir)
{
    const struct timeval patience = {.tv_usec = ANSWER_MS * 1000};
    bool answered = false;
    char byte;
    int fd;

    if (connect_to(state_dir, &fd)) {
        return false;
    }
    if (!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)) {
        (void)!send(fd, "status\n", 7, MSG_NOSIGNAL);
        answered = recv(fd, &byte, 1, 0) == 1;
    }
    close(fd);
    return answered;
}

enum lethe_err lethe_control_call(const char *path, const char *request, void (*progress)(void *, const json_t *),
                                  void *context, json_t **answer, struct lethe_buf *extra)
{
    char state_dir[4096];
    ssize_t len = getxattr(path, "user.lethefs.control", state_dir, sizeof state_dir - 1);

    *answer = NULL;
    if (len < 0) {
        return errno == EACCES ? LETHE_ERR_DENIED : LETHE_ERR_NOT_FOUND;
    }
    state_dir[len] = '\0';
    return lethe_control_call_state(state_dir, request, progress, context, answer, extra);
}
