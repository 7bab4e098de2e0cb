/* SPDX-License-Identifier: MIT */
#include "fs/mount/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/mount/control_private.h"
#include "fs/mount/status.h"
#include "fs/vault/gc.h"
#include "fs/vault/watch.h"
#include "lethe/log.h"

#define CONNECTIONS 16
#define REQUEST_MAX 256
#define PROGRESS_MS 200
#define QUIET_MS 1000 /* a store that says nothing for so long is said not to answer, while it is waited for */
#define GC_SYNC_MS 60000
#define SEND_SECONDS 5 /* for a client that does not read */

struct lethe_control {
    struct lethe_session *session;
    int listener;
    int stop; /* eventfd: readable once the control ends */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned running; /* guarded by lock */
    atomic_bool stopping;
};

struct connection {
    struct lethe_control *control;
    int fd;
};

static bool stopping(const struct lethe_control *control)
{
    struct pollfd poller = {.fd = control->stop, .events = POLLIN};

    return poll(&poller, 1, 0) > 0;
}

static bool send_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t done = send(fd, at, len, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        at += done;
        len -= (size_t)done;
    }
    return true;
}

/* Sends and frees object as one line. */
static bool send_object(int fd, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    bool sent = text && send_all(fd, text, strlen(text)) && send_all(fd, "\n", 1);

    free(text);
    json_decref(object);
    return sent;
}

static void finish(int fd, json_t *object, enum lethe_err err)
{
    if (!object) {
        object = json_object();
    }
    (void)json_object_set_new(object, "err", json_integer(err));
    (void)send_object(fd, object);
}

static json_t *progress_object(struct lethe_session *session)
{
    struct lethe_publisher_status status;
    struct lethe_watch_status watch = {0};
    json_t *object = json_object();
    enum lethe_err why;

    lethe_publisher_status(session->publisher, &status);
    (void)json_object_set_new(object, "progress", json_true());
    (void)json_object_set_new(object, "total", json_integer((json_int_t)status.sealing_total));
    (void)json_object_set_new(object, "done", json_integer((json_int_t)status.sealing_done));
    (void)json_object_set_new(object, "bytes", json_integer((json_int_t)status.original_bytes));
    if (session->watch) { /* it knows at the first failure, the publisher only when all tries have failed */
        lethe_watch_status(session->watch, &watch);
    }
    why = watch.away ? watch.why : watch.quiet_ms >= QUIET_MS ? LETHE_ERR_UNREACHABLE : status.last_error;
    (void)json_object_set_new(object, "last_error", why ? json_string(lethe_err_str(why)) : json_null());
    return object;
}

/* Tells progress meanwhile. A client that goes away gives its place free; the publisher goes on. */
static void answer_sync(struct connection *connection, uint64_t timeout_ms)
{
    struct lethe_publisher *publisher = connection->control->session->publisher;
    uint64_t waited = 0, ticket;
    enum lethe_err err;

    if (!publisher) { /* read-only: nothing is ever pending */
        finish(connection->fd, NULL, LETHE_OK);
        return;
    }
    ticket = lethe_publisher_ask(publisher);
    while ((err = lethe_publisher_await(publisher, ticket, PROGRESS_MS)) == LETHE_ERR_BUSY) {
        waited += PROGRESS_MS;
        if (timeout_ms && waited >= timeout_ms) {
            err = LETHE_ERR_UNREACHABLE;
            break;
        }
        if (!send_object(connection->fd, progress_object(connection->control->session))) {
            return;
        }
    }
    finish(connection->fd, NULL, err);
}

static void answer(struct connection *connection, char *request)
{
    struct lethe_session *session = connection->control->session;
    char word[LETHE_CONTROL_WORD];
    uint64_t argument;
    json_t *object = NULL;
    enum lethe_err err = LETHE_ERR_ARG;

    if (!lethe_control_parse(request, word, &argument)) {
        finish(connection->fd, NULL, err);
        return;
    }
    if (strcmp(word, "status") == 0) {
        /* What was done a moment ago counts, too. */
        if (session->publisher && lethe_commit_wait(session->committer)) {
            lethe_log(LETHE_LOG_WARN, "status is asked for while changes cannot be made durable");
        }
        object = lethe_status_session(session);
        (void)json_object_set_new(object, "pid", json_integer(getpid()));
        finish(connection->fd, object, LETHE_OK);
    } else if (strcmp(word, "sync") == 0) {
        answer_sync(connection, argument);
    } else if (strcmp(word, "verify") == 0) {
        if (session->publisher) {
            lethe_publisher_verify(session->publisher);
        }
        answer_sync(connection, argument);
    } else if (strcmp(word, "inspect") == 0) {
        err = lethe_status_file(session, argument, &object);
        finish(connection->fd, object, err);
    } else if (strcmp(word, "preview") == 0 || strcmp(word, "artifact") == 0) {
        struct lethe_buf png = {0};

        err = strcmp(word, "preview") == 0 ? lethe_status_preview(session, argument, &png)
                                           : lethe_status_artifact(session, argument, &png);
        object = json_object();
        (void)json_object_set_new(object, "bytes", json_integer((json_int_t)(err ? 0 : png.len)));
        finish(connection->fd, object, err);
        if (!err) {
            (void)send_all(connection->fd, png.data, png.len);
        }
        lethe_buf_release(&png);
    } else if (strcmp(word, "gc") == 0 && strchr(request, ' ')) { /* a forgotten number must not mean "keep nothing" */
        struct lethe_gc_result result = {0};

        struct lethe_gc_options options = {.vault = session->vault,
                                           .db = session->db,
                                           .committer = session->committer,
                                           .keep_seconds = argument > INT64_MAX ? INT64_MAX : (int64_t)argument,
                                           .stop = &connection->control->stopping};

        err = lethe_gc_run(&options, &result);
        if (err == LETHE_ERR_INTEGRITY && session->publisher) { /* a journal that this device can mend */
            lethe_publisher_verify(session->publisher);
            err = lethe_publisher_sync(session->publisher, GC_SYNC_MS);
            err = err ? err : lethe_gc_run(&options, &result);
        }
        object = json_object();
        (void)json_object_set_new(object, "objects", json_integer((json_int_t)result.objects));
        (void)json_object_set_new(object, "bytes_freed", json_integer((json_int_t)result.bytes));
        (void)json_object_set_new(object, "broken", json_boolean(result.broken));
        finish(connection->fd, object, err);
    } else {
        finish(connection->fd, NULL, err);
    }
}

/* Reads a line, at most REQUEST_MAX, for at most five seconds. */
static bool read_request(int fd, char *out)
{
    size_t len = 0;

    while (len < REQUEST_MAX - 1) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};

        if (poll(&poller, 1, 5000) <= 0 || read(fd, out + len, 1) != 1) {
            return false;
        }
        if (out[len] == '\n') {
            out[len] = '\0';
            return true;
        }
        len++;
    }
    return false;
}

static void *connection_main(void *argument)
{
    struct connection *connection = argument;
    struct lethe_control *control = connection->control;
    char request[REQUEST_MAX];

    if (read_request(connection->fd, request)) {
        answer(connection, request);
    }
    close(connection->fd);
    free(connection);
    pthread_mutex_lock(&control->lock);
    control->running--;
    pthread_cond_broadcast(&control->idle);
    pthread_mutex_unlock(&control->lock);
    return NULL;
}

/* Only the owner of the mount, and root, may ask. */
static bool allowed(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && (peer.uid == geteuid() || peer.uid == 0);
}

static void take(struct lethe_control *control, int fd)
{
    struct connection *connection = allowed(fd) ? calloc(1, sizeof *connection) : NULL;
    pthread_t thread;
    bool room;

    if (!connection) {
        close(fd);
        return;
    }
    connection->control = control;
    connection->fd = fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = SEND_SECONDS}, sizeof(struct timeval));
    pthread_mutex_lock(&control->lock);
    room = control->running < CONNECTIONS;
    control->running += room;
    pthread_mutex_unlock(&control->lock);
    if (room && !pthread_create(&thread, NULL, connection_main, connection)) {
        pthread_detach(thread);
        return;
    }
    finish(fd, NULL, LETHE_ERR_BUSY);
    close(fd);
    free(connection);
    if (room) {
        pthread_mutex_lock(&control->lock);
        control->running--;
        pthread_mutex_unlock(&control->lock);
    }
}

static void *listen_main(void *argument)
{
    struct lethe_control *control = argument;

    for (;;) {
        struct pollfd pollers[2] = {{.fd = control->listener, .events = POLLIN}, {.fd = control->stop, .events = POLLIN}};
        int fd;

        if (poll(pollers, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (stopping(control)) {
            break;
        }
        fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            take(control, fd);
        }
    }
    return NULL;
}

/* Binds state_dir/control by way of the folder's descriptor: a socket's path may be too long for sockaddr_un. */
static enum lethe_err bind_socket(const char *state_dir, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    enum lethe_err err = LETHE_OK;
    int folder = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    lethe_control_address(&address, state_dir, folder);
    if (folder < 0 || fd < 0 || (unlinkat(folder, LETHE_CONTROL_NAME, 0) && errno != ENOENT) ||
        bind(fd, (struct sockaddr *)&address, sizeof address) || fchmodat(folder, LETHE_CONTROL_NAME, 0600, 0) ||
        listen(fd, CONNECTIONS)) {
        lethe_log(LETHE_LOG_ERROR, "the control socket in %s cannot be made: %s", state_dir, strerror(errno));
        err = lethe_err_from_errno(errno);
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

enum lethe_err lethe_control_new(struct lethe_session *session, struct lethe_control **out)
{
    struct lethe_control *control = calloc(1, sizeof *control);
    enum lethe_err err;

    *out = NULL;
    if (!control) {
        return LETHE_ERR_NOMEM;
    }
    control->session = session;
    control->stop = eventfd(0, EFD_CLOEXEC);
    err = control->stop < 0 ? LETHE_ERR_NOMEM : bind_socket(session->state_dir, &control->listener);
    if (err) {
        goto out;
    }
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->idle, NULL);
    if (pthread_create(&control->thread, NULL, listen_main, control)) {
        pthread_cond_destroy(&control->idle);
        pthread_mutex_destroy(&control->lock);
        close(control->listener);
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    *out = control;
    return LETHE_OK;
out:
    if (control->stop >= 0) {
        close(control->stop);
    }
    free(control);
    return err;
}

void lethe_control_hide(struct lethe_control *control)
{
    char path[4096];

    if (control) {
        snprintf(path, sizeof path, "%s/%s", control->session->state_dir, LETHE_CONTROL_NAME);
        unlink(path);
    }
}

void lethe_control_free(struct lethe_control *control)
{
    uint64_t one = 1;

    if (!control) {
        return;
    }
    atomic_store(&control->stopping, true);
    if (write(control->stop, &one, sizeof one) < 0) {
        lethe_log(LETHE_LOG_ERROR, "an event could not be told: %s", strerror(errno));
    }
    pthread_join(control->thread, NULL);
    if (control->session->publisher) {
        lethe_publisher_stop(control->session->publisher); /* a sync would wait for a vault that is away */
    }
    pthread_mutex_lock(&control->lock);
    while (control->running > 0) {
        pthread_cond_wait(&control->idle, &control->lock);
    }
    pthread_mutex_unlock(&control->lock);
    close(control->listener);
    close(control->stop);
    lethe_control_hide(control);
    pthread_cond_destroy(&control->idle);
    pthread_mutex_destroy(&control->lock);
    free(control);
}
