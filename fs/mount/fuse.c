/* SPDX-License-Identifier: MIT */
/*
 * The FUSE session: mounting, and threads that serve. The loop is our own rather than libfuse's so that the
 * number of threads is bounded, and so that lethe_fuse_stop works from a signal handler in any thread: it
 * writes to an eventfd that lethe_fuse_serve waits on, which then cancels the threads where they wait for
 * requests (and nowhere else).
 */
#include "fs/mount/fuse_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lethe/log.h"

#define INTERRUPT SIGRTMIN

static void log_libfuse(enum fuse_log_level level, const char *format, va_list arguments)
{
    char text[512];
    size_t len;

    vsnprintf(text, sizeof(text), format, arguments);
    len = strlen(text);
    while (len > 0 && text[len - 1] == '\n') {
        text[--len] = '\0';
    }
    lethe_log(level <= FUSE_LOG_ERR       ? LETHE_LOG_ERROR
              : level == FUSE_LOG_WARNING ? LETHE_LOG_WARN
                                          : LETHE_LOG_DEBUG,
              "%s", text);
}

/* An option's value inside a comma-separated list. */
static void put_escaped(struct lethe_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == ',' || *text == '\\') {
            lethe_buf_put_u8(out, '\\');
        }
        lethe_buf_put_u8(out, (uint8_t)*text);
    }
}

static enum lethe_err build_arguments(const struct lethe_fuse_options *options, struct fuse_args *args)
{
    static const char fixed[] = ",subtype=lethefs,default_permissions,max_read=1048576";
    struct lethe_buf text = {0};
    enum lethe_err err;

    lethe_buf_put(&text, "fsname=", 7);
    put_escaped(&text, options->source);
    lethe_buf_put(&text, fixed, sizeof(fixed) - 1);
    if (options->allow_other) {
        lethe_buf_put(&text, ",allow_other", 12);
    }
    if (options->read_only) {
        lethe_buf_put(&text, ",ro", 3);
    }
    if (options->more && options->more[0]) {
        lethe_buf_put(&text, ",", 1);
        lethe_buf_put(&text, options->more, strlen(options->more));
    }
    lethe_buf_put_u8(&text, 0);
    err = lethe_buf_status(&text);
    if (!err && (fuse_opt_add_arg(args, "lethefs") || fuse_opt_add_arg(args, "-o") ||
                 fuse_opt_add_arg(args, (const char *)text.data))) {
        err = LETHE_ERR_NOMEM;
    }
    lethe_buf_release(&text);
    return err;
}

/* libfuse tells little about why a mount fails. */
static enum lethe_err check_mountpoint(const char *path)
{
    struct stat attr;
    int fd;

    if (stat(path, &attr)) {
        lethe_log(LETHE_LOG_ERROR, "mount point %s: %s", path, strerror(errno));
        return errno == ENOTCONN ? LETHE_ERR_BUSY : lethe_err_from_errno(errno);
    }
    if (!S_ISDIR(attr.st_mode)) {
        lethe_log(LETHE_LOG_ERROR, "mount point %s is not a directory", path);
        return LETHE_ERR_NOT_FOUND;
    }
    fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        lethe_log(LETHE_LOG_ERROR, "/dev/fuse: %s; load the kernel module fuse, or ask for access to it",
                  strerror(errno));
        return LETHE_ERR_DENIED;
    }
    close(fd);
    return LETHE_OK;
}

/* A setting of the kernel's for this mount, which root alone may change: nothing is lost where that is not allowed. */
static void set_in_kernel(const struct lethe_fuse *fuse, const char *name, unsigned value)
{
    char path[80], text[16];
    int fd, len = snprintf(text, sizeof(text), "%u\n", value);
    ssize_t done;

    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", fuse->device_major, fuse->device_minor, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        done = write(fd, text, (size_t)len);
        (void)done;
        close(fd);
    }
}

/*
 * The kernel reads ahead by 128 KiB, and so asks for no more at once; with more, a file is read by requests of
 * LETHE_FUSE_MAX_IO, the next of which is on its way while one is answered. And it lets the written pages of a FUSE mount
 * take a hundredth of what it allows to all, so that writers soon wait for each other's turn; a tenth leaves the sealing
 * enough to go on with, and the disks below, to which the sealed bytes go, all the rest.
 */
static void set_up_kernel(const struct lethe_fuse *fuse)
{
    set_in_kernel(fuse, "read_ahead_kb", LETHE_FUSE_READ_AHEAD / 1024);
    set_in_kernel(fuse, "max_ratio", LETHE_FUSE_DIRTY_PERCENT);
}

/* Asks nobody: no thread serves as yet. */
static void look_up_device(struct lethe_fuse *fuse, const char *mountpoint)
{
    struct statx attr;

    if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC, STATX_TYPE, &attr) == 0) {
        fuse->device_major = attr.stx_dev_major;
        fuse->device_minor = attr.stx_dev_minor;
        fuse->device_known = true;
    }
}

enum lethe_err lethe_fuse_mount(const struct lethe_fuse_options *options, struct lethe_fuse **out)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct lethe_fuse *fuse = NULL;
    enum lethe_err err = check_mountpoint(options->mountpoint);

    *out = NULL;
    if (err) {
        return err;
    }
    fuse = calloc(1, sizeof(*fuse));
    if (!fuse) {
        return LETHE_ERR_NOMEM;
    }
    fuse->options = *options;
    fuse->options.mountpoint = fuse->options.source = fuse->options.more = NULL;
    pthread_mutex_init(&fuse->lock, NULL);
    pthread_mutex_init(&fuse->write_back, NULL);
    fuse->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fuse->wake < 0) {
        err = LETHE_ERR_IO;
        goto out;
    }
    fuse_set_log_func(log_libfuse);
    err = build_arguments(options, &args);
    if (err) {
        goto out;
    }
    fuse->session = fuse_session_new(&args, &lethe_fuse_ops, sizeof(lethe_fuse_ops), fuse);
    if (!fuse->session) {
        lethe_log(LETHE_LOG_ERROR, "FUSE refuses these mount options");
        err = LETHE_ERR_ARG;
        goto out;
    }
    errno = 0;
    if (fuse_session_mount(fuse->session, options->mountpoint)) {
        err = errno == EBUSY ? LETHE_ERR_BUSY : LETHE_ERR_DENIED;
        lethe_log(LETHE_LOG_ERROR, "cannot mount on %s: %s", options->mountpoint,
                  errno ? strerror(errno) : "see the line before");
        goto out;
    }
    fuse->mounted = true;
    look_up_device(fuse, options->mountpoint);
    lethe_fuse_wire_install(fuse->session);
    if (options->passer) {
        err = lethe_passer_connect(options->passer, fuse_session_fd(fuse->session));
        if (err) {
            lethe_log(LETHE_LOG_ERROR, "the helper process of cache=plain does not answer: mount without it");
            goto out;
        }
    }
    *out = fuse;
    fuse = NULL;
out:
    fuse_opt_free_args(&args);
    lethe_fuse_unmount(fuse);
    return err;
}

static void *work(void *argument);

/* lock is held. */
static bool start_worker(struct lethe_fuse *fuse)
{
    for (unsigned i = 0; i < LETHE_FUSE_THREADS; i++) {
        struct lethe_fuse_worker *worker = &fuse->workers[i];

        if (worker->state == LETHE_WORKER_RUNNING) {
            continue;
        }
        if (worker->state == LETHE_WORKER_ENDED) {
            pthread_join(worker->thread, NULL);
            worker->state = LETHE_WORKER_NONE;
        }
        worker->fuse = fuse;
        if (pthread_create(&worker->thread, NULL, work, worker)) {
            return false;
        }
        worker->state = LETHE_WORKER_RUNNING;
        fuse->running++;
        fuse->idle++;
        return true;
    }
    return false;
}

static void wake_up(struct lethe_fuse *fuse)
{
    const uint64_t one = 1;
    ssize_t written = write(fuse->wake, &one, sizeof(one));

    (void)written; /* a full counter wakes as well */
}

static void free_buffers(struct lethe_fuse_worker *worker)
{
    free(worker->request.mem);
    free(worker->scratch);
    worker->request = (struct fuse_buf){0};
    worker->scratch = NULL;
}

/*
 * Whether a thread that has nothing to do shall end. One at a time: where requests come in bursts, a thread that ended
 * after each would be made again for the next. lock is held.
 */
static bool is_spare(struct lethe_fuse *fuse)
{
    struct timespec now;
    int64_t ms;

    if (fuse->idle <= LETHE_FUSE_IDLE_THREADS || fuse->stopping) {
        return false;
    }
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (ms - fuse->retired < LETHE_FUSE_RETIRE_MS) {
        return false;
    }
    fuse->retired = ms;
    return true;
}

/* One request. false: the thread shall end. */
static bool serve_one(struct lethe_fuse_worker *worker)
{
    struct lethe_fuse *fuse = worker->fuse;
    int got;
    bool stay = true, first;

    atomic_store(&worker->receiving, true);
    got = atomic_load(&fuse->stopped) ? -ENODEV : fuse_session_receive_buf(fuse->session, &worker->request);
    atomic_store(&worker->receiving, false);
    if (got == -EINTR || got == -EAGAIN) {
        return true;
    }
    pthread_mutex_lock(&fuse->lock);
    if (got <= 0) {
        if (got < 0 && got != -ENODEV && !fuse->stopping) {
            fuse->result = LETHE_ERR_IO;
            lethe_log(LETHE_LOG_ERROR, "FUSE requests cannot be read any more: %s", strerror(-got));
        }
        pthread_mutex_unlock(&fuse->lock);
        wake_up(fuse);
        return false;
    }
    fuse->idle--;
    if (fuse->idle == 0 && fuse->running < LETHE_FUSE_THREADS && !fuse->stopping) {
        start_worker(fuse); /* without a new one, those there are go on */
    }
    pthread_mutex_unlock(&fuse->lock);

    fuse_session_process_buf(fuse->session, &worker->request);

    pthread_mutex_lock(&fuse->lock);
    first = !fuse->greeted;
    fuse->greeted = true;
    fuse->idle++;
    if (is_spare(fuse)) {
        stay = false;
        fuse->idle--;
        fuse->running--;
        free_buffers(worker);
        worker->state = LETHE_WORKER_ENDED;
    }
    pthread_mutex_unlock(&fuse->lock);
    if (first && fuse->device_known) {
        set_up_kernel(fuse); /* the answer to the first request of all would have undone it */
    }
    return stay;
}

static _Thread_local struct lethe_fuse_worker *current;
static _Thread_local fuse_req_t serving;

void lethe_fuse_serving(fuse_req_t req)
{
    serving = req;
}

bool lethe_fuse_interrupted(void)
{
    return serving && fuse_req_interrupted(serving);
}

static void *work(void *argument)
{
    struct lethe_fuse_worker *worker = argument;
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, INTERRUPT);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    current = worker;
    while (serve_one(worker)) {
    }
    return NULL;
}

void *lethe_fuse_scratch(void)
{
    if (!current) {
        return NULL;
    }
    if (!current->scratch) {
        current->scratch = malloc(LETHE_FUSE_MAX_IO);
    }
    return current->scratch;
}

static void do_nothing(int number)
{
    (void)number;
}

/* Interrupts its wait for a request, again and again, as it may be about to wait; lets a request be finished.
 */
static void end_worker(struct lethe_fuse_worker *worker)
{
    for (;;) {
        struct timespec until;

        if (atomic_load(&worker->receiving)) {
            pthread_kill(worker->thread, INTERRUPT);
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 5000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(worker->thread, NULL, &until) == 0) {
            return;
        }
    }
}

enum lethe_err lethe_fuse_serve(struct lethe_fuse *fuse, void (*ready)(void *context), void *context)
{
    struct pollfd wake = {.fd = fuse->wake, .events = POLLIN};
    struct sigaction interrupt = {.sa_handler = do_nothing}, before;
    sigset_t all, old;
    bool started;

    fuse->ready = ready;
    fuse->ready_context = context;
    fuse->result = LETHE_OK;
    /* Without SA_RESTART, so that a read ends. All other signals are for the caller's thread. */
    sigaction(INTERRUPT, &interrupt, &before);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_mutex_lock(&fuse->lock);
    started = start_worker(fuse);
    pthread_mutex_unlock(&fuse->lock);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!started) {
        sigaction(INTERRUPT, &before, NULL);
        return LETHE_ERR_NOMEM;
    }
    while (poll(&wake, 1, -1) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&fuse->lock);
    fuse->stopping = true;
    pthread_mutex_unlock(&fuse->lock);
    atomic_store(&fuse->stopped, true);
    fuse_session_exit(fuse->session);
    if (fuse->options.stopping) {
        fuse->options.stopping(fuse->options.context);
    }
    for (unsigned i = 0; i < LETHE_FUSE_THREADS; i++) {
        struct lethe_fuse_worker *worker = &fuse->workers[i];

        /* From here on no thread starts or retires. */
        if (worker->state != LETHE_WORKER_NONE) {
            end_worker(worker);
            free_buffers(worker);
        }
        worker->state = LETHE_WORKER_NONE;
    }
    sigaction(INTERRUPT, &before, NULL);
    return fuse->result;
}

void lethe_fuse_stop(struct lethe_fuse *fuse)
{
    int saved = errno;

    wake_up(fuse);
    errno = saved;
}

void lethe_fuse_invalidate(struct lethe_fuse *fuse, uint64_t ino)
{
    int error = fuse_lowlevel_notify_inval_inode(fuse->session, ino, 0, 0);

    /* ENOENT: the kernel does not know the inode, so it caches nothing of it. */
    if (error && error != -ENOENT) {
        lethe_log(LETHE_LOG_WARN, "the kernel could not drop cached bytes: %s", strerror(-error));
    }
}

void lethe_fuse_unmount(struct lethe_fuse *fuse)
{
    if (!fuse) {
        return;
    }
    if (fuse->session) {
        if (fuse->mounted) {
            fuse_session_unmount(fuse->session);
        }
        fuse_session_destroy(fuse->session);
    }
    if (fuse->wake >= 0) {
        close(fuse->wake);
    }
    pthread_mutex_destroy(&fuse->write_back);
    pthread_mutex_destroy(&fuse->lock);
    free(fuse);
}
