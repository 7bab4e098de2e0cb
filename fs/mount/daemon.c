/* SPDX-License-Identifier: MIT */
/*
 * Threads do not survive a fork, so the child opens everything; the parent only waits for one byte on a pipe: the
 * error code of the child's start.
 */
#include "fs/mount/daemon.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "fs/mount/control.h"
#include "fs/mount/fuse.h"
#include "fs/mount/passer.h"
#include "fs/mount/plain.h"
#include "fs/mount/status.h"
#include "fs/place.h"
#include "fs/vault/watch.h"
#include "lethe/log.h"

#define LOOK_MS 200
#define LEAVE_S 3
#define FILE_BYTES 512u /* of the database, about: row, name and index of a small file */
#define LAST_SYNC_MS 60000

struct daemon {
    const struct lethe_daemon_options *options;
    struct lethe_session *session;
    struct lethe_fuse *fuse;
    struct lethe_readahead *readahead;
    struct lethe_passer *passer; /* with cache=plain, where it can be */
    struct lethe_plain *plain;
    struct lethe_control *control;
    int ready; /* write end of the parent's pipe, or -1 */
};

static struct lethe_fuse *signalled; /* for the signal handler alone */

static void on_signal(int number)
{
    (void)number;
    if (signalled) {
        lethe_fuse_stop(signalled);
    }
}

static void catch_signals(struct lethe_fuse *fuse)
{
    struct sigaction action = {.sa_handler = on_signal};

    signalled = fuse;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Nothing of this process may reach a disk: no core dumps, no ptrace by the same user, a word about open swap. */
static void harden(void)
{
    struct rlimit none = {0, 0};
    char line[256];
    FILE *swaps;

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    swaps = fopen("/proc/swaps", "re");
    if (!swaps) {
        return;
    }
    if (fgets(line, sizeof line, swaps)) { /* the heading */
        while (fgets(line, sizeof line, swaps)) {
            if (strncmp(line, "/dev/dm-", 8) != 0 && strncmp(line, "/dev/zram", 9) != 0) {
                lethe_log(LETHE_LOG_WARN, "swap may not be encrypted: photos in memory could be written to it; encrypt"
                          " it or turn it off");
                break;
            }
        }
    }
    fclose(swaps);
}

/*
 * Large buffers go back to the system when they are freed. glibc would learn from the first of several MiB to keep such
 * in the arenas of its threads, where a file that is larger than the cache left 270 MiB behind.
 */
static void bound_memory(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

static void to_syslog(void *context, enum lethe_log_level level, const char *text)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

    (void)context;
    syslog(priorities[level], "%s", text);
}

/* The tree answers: tell the parent, and leave its terminal. */
static void on_ready(void *context)
{
    struct daemon *daemon = context;
    uint8_t fine = LETHE_OK;
    int null;

    if (daemon->ready < 0) {
        return;
    }
    openlog("lethefs", LOG_PID, LOG_USER);
    lethe_log_set_sink(to_syslog, NULL);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    if (chdir("/")) {
        lethe_log(LETHE_LOG_WARN, "the working folder stays busy: %s", strerror(errno));
    }
    if (write(daemon->ready, &fine, 1) != 1) {
        lethe_log(LETHE_LOG_WARN, "the mount command has gone: %s", strerror(errno));
    }
    close(daemon->ready);
    daemon->ready = -1;
}

static enum lethe_err virtual_xattr(void *context, uint64_t ino, const char *name, struct lethe_buf *out)
{
    struct daemon *daemon = context;
    const char *state, *kind;
    char text[32];
    double psnr;
    enum lethe_err err;

    if (strcmp(name, "pid") == 0) { /* umount waits for this process to end */
        snprintf(text, sizeof text, "%ld", (long)getpid());
        lethe_buf_put(out, text, strlen(text));
        return lethe_buf_status(out);
    }
    if (strcmp(name, "control") == 0) {
        if (!daemon->control) { /* a mount of the past: the folder's socket would be another mount's */
            return LETHE_ERR_NOT_FOUND;
        }
        lethe_buf_put(out, daemon->session->state_dir, strlen(daemon->session->state_dir));
        return lethe_buf_status(out);
    }
    if (strcmp(name, "state") != 0 && strcmp(name, "kind") != 0 && strcmp(name, "psnr") != 0) {
        return LETHE_ERR_NOT_FOUND;
    }
    err = lethe_status_words(daemon->session, ino, &state, &kind, &psnr);
    if (err) {
        return err;
    }
    if (strcmp(name, "psnr") == 0) {
        if (psnr < 0) {
            return LETHE_ERR_NOT_FOUND;
        }
        snprintf(text, sizeof text, "%.2f", psnr);
        lethe_buf_put(out, text, strlen(text));
    } else {
        const char *word = strcmp(name, "state") == 0 ? state : kind;

        lethe_buf_put(out, word, strlen(word));
    }
    return lethe_buf_status(out);
}

/*
 * For fsync of a mount with sync=vault: as long as the upload takes, while the store answers. A program that was
 * interrupted does not wait, and none waits for a store that has been away for the timeout of reads.
 */
static enum lethe_err sync_vault(void *context)
{
    struct daemon *daemon = context;
    struct lethe_publisher *publisher = daemon->session->publisher;
    unsigned timeout = daemon->options->session.timeout_ms ? daemon->options->session.timeout_ms : LETHE_TIMEOUT_MS;
    struct lethe_watch_status store;
    uint64_t ticket;
    enum lethe_err err;

    if (!publisher) {
        return LETHE_OK;
    }
    ticket = lethe_publisher_ask(publisher);
    while ((err = lethe_publisher_await(publisher, ticket, LOOK_MS)) == LETHE_ERR_BUSY) {
        if (lethe_fuse_interrupted()) {
            return LETHE_ERR_CANCELLED;
        }
        lethe_watch_status(daemon->session->watch, &store);
        if (store.away && store.away_ms >= timeout) {
            return LETHE_ERR_UNREACHABLE;
        }
    }
    return err;
}

static void stop_publisher(void *context)
{
    struct daemon *daemon = context;

    /* Of what has no state folder any more, the vault's copy is the only one there will be. */
    if (daemon->session->publisher && lethe_commit_is_in_vain(daemon->session->committer)) {
        (void)!lethe_publisher_sync(daemon->session->publisher, LAST_SYNC_MS);
    }
    if (daemon->session->publisher) {
        lethe_publisher_stop(daemon->session->publisher);
    }
    lethe_restorer_stop(daemon->session->restorer);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/*
 * What a vault in a folder can still take; UINT64_MAX where that is not known (a bucket), or where it is away, as then
 * this device takes what is written.
 */
static uint64_t room_in_vault(struct lethe_session *session)
{
    const char *path = lethe_place_path(session->location);
    struct lethe_watch_status store;
    struct statvfs disk;

    lethe_watch_status(session->watch, &store);
    if (path[0] != '/' || store.away || statvfs(path, &disk)) {
        return UINT64_MAX;
    }
    return (uint64_t)disk.f_bavail * disk.f_frsize;
}

/*
 * Free is what can be written at once, whatever becomes of the vault meanwhile: room below the cache's limit and on its
 * disk, where clean cache makes way, and no more than the vault's disk has for it once all that waits is there. (More than
 * that can be written, but then writers wait for uploads.) Taken is what must stay on this device. A file takes some
 * hundred bytes of the database, which shares the room.
 */
static void fill_statfs(void *context, struct statvfs *out)
{
    struct daemon *daemon = context;
    struct lethe_contents_usage usage;
    struct lethe_tree_counts counts;
    uint64_t room = room_in_vault(daemon->session), free, taken;

    lethe_contents_usage(daemon->session->contents, &usage);
    lethe_tree_count(daemon->session->tree, &counts);
    room = room > usage.dirty ? room - usage.dirty : 0;
    free = least(usage.free + usage.cached, room);
    taken = usage.dirty + usage.database + usage.reserve;
    out->f_bsize = LETHE_BLOCK_BYTES;
    out->f_frsize = LETHE_BLOCK_BYTES;
    out->f_bfree = out->f_bavail = free / LETHE_BLOCK_BYTES;
    out->f_blocks = least(usage.limit, taken + free) / LETHE_BLOCK_BYTES;
    out->f_ffree = out->f_favail = free / FILE_BYTES;
    out->f_files = counts.inodes + out->f_ffree;
    out->f_namemax = 255;
}

static void forget_cached(void *context, uint64_t ino)
{
    struct daemon *daemon = context;

    lethe_fuse_invalidate(daemon->fuse, ino);
}

/* The session, and all that has threads of its own. */
static enum lethe_err open_all(struct daemon *daemon)
{
    const struct lethe_daemon_options *options = daemon->options;
    struct lethe_session_options session = options->session;
    enum lethe_err err;

    session.interrupted = lethe_fuse_interrupted;
    session.persistent = true;
    session.verify = LETHE_VERIFY_QUICKLY;
    err = lethe_session_open(&session, &daemon->session);
    explicit_bzero((void *)(uintptr_t)options->session.passphrase, options->session.passphrase_len);
    if (!err && options->session.at == INT64_MAX) {
        err = lethe_control_new(daemon->session, &daemon->control);
    }
    if (!err && !options->no_readahead) {
        err = lethe_readahead_new(daemon->session->tree, daemon->session->contents, daemon->session->restorer,
                                  &daemon->readahead);
    }
    if (!err && daemon->passer) {
        err = lethe_plain_new(daemon->session->tree, daemon->session->contents, daemon->passer,
                              daemon->session->state_dir, daemon->session->cache_dir, &daemon->plain);
    }
    return err;
}

/* Threads inherit what the one that starts them may do. */
static void *open_renounced(void *argument)
{
    struct daemon *daemon = argument;
    enum lethe_err err = lethe_passer_renounce();

    return (void *)(uintptr_t)(err ? err : open_all(daemon));
}

/*
 * With a helper that keeps CAP_SYS_ADMIN, nothing of this process does but this thread, until it has mounted: opening is
 * left to another.
 */
static enum lethe_err open_apart(struct daemon *daemon)
{
    pthread_t thread;
    void *result;

    if (pthread_create(&thread, NULL, open_renounced, daemon)) {
        return LETHE_ERR_NOMEM;
    }
    pthread_join(thread, &result);
    return (enum lethe_err)(uintptr_t)result;
}

static enum lethe_err start_passer(struct daemon *daemon)
{
    const struct lethe_daemon_options *options = daemon->options;
    enum lethe_err err = lethe_passer_new(options->mountpoint, options->session.passphrase,
                                          options->session.passphrase_len, daemon->ready, &daemon->passer);

    if (err == LETHE_ERR_DENIED) {
        lethe_log(LETHE_LOG_WARN, "cache=plain needs CAP_SYS_ADMIN (mount as root): going on with ordinary reads");
        err = LETHE_OK;
    }
    return err;
}

static enum lethe_err serve(struct daemon *daemon)
{
    const struct lethe_daemon_options *options = daemon->options;
    struct lethe_fuse_options fuse = {
        .mountpoint = options->mountpoint,
        .source = options->session.location,
        .read_only = options->read_only || options->session.at != INT64_MAX,
        .allow_other = options->allow_other,
        .more = options->more,
        .sync_vault = options->sync_vault,
        .virtual_xattr = virtual_xattr,
        .sync = sync_vault,
        .statfs = fill_statfs,
        .stopping = stop_publisher,
        .context = daemon,
    };
    enum lethe_err err = LETHE_OK;

    if (options->plain && !options->read_only) {
        lethe_log(LETHE_LOG_WARN, "cache=plain is for read-only mounts (-o ro): going on with ordinary reads");
    } else if (options->plain) {
        err = start_passer(daemon);
    }
    err = err ? err : daemon->passer ? open_apart(daemon) : open_all(daemon);
    if (err) {
        return err;
    }
    fuse.tree = daemon->session->tree;
    fuse.write_through = lethe_vault_settings(daemon->session->vault)->fidelity == LETHE_FIDELITY_LOSSY;
    fuse.contents = daemon->session->contents;
    fuse.committer = daemon->session->committer;
    fuse.readahead = daemon->readahead;
    fuse.plain = daemon->plain;
    fuse.passer = daemon->passer;
    err = lethe_fuse_mount(&fuse, &daemon->fuse);
    if (!err && daemon->passer) {
        err = lethe_passer_renounce();
    }
    if (!err) {
        catch_signals(daemon->fuse);
        daemon->session->changed_context = daemon;
        atomic_store(&daemon->session->changed, forget_cached);
        err = lethe_fuse_serve(daemon->fuse, on_ready, daemon);
        signalled = NULL;
        atomic_store(&daemon->session->changed, NULL);
        if (daemon->passer) {
            lethe_passer_unmount(daemon->passer);
        }
        lethe_fuse_unmount(daemon->fuse);
    }
    return err;
}

static void *leave(void *argument)
{
    const struct timespec patience = {.tv_sec = LEAVE_S};

    (void)argument;
    nanosleep(&patience, NULL);
    lethe_log(LETHE_LOG_WARN, "the vault's store does not answer: what is not in the vault yet stays on this device"
                              " until the next mount");
    _exit(0);
}

/*
 * Requests to a store that does not answer may take minutes to give up. Everything is made durable here first, and the
 * rest could be cut off at any point, like a kill: so it is, when it takes long.
 */
static void leave_in_time(struct lethe_session *session)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (lethe_commit_wait(session->committer)) {
        return; /* said when the session is closed */
    }
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    (void)!pthread_create(&thread, &detached, leave, NULL);
    pthread_attr_destroy(&detached);
}

static enum lethe_err run(struct daemon *daemon)
{
    enum lethe_err err, closing;

    harden();
    err = serve(daemon);
    lethe_control_hide(daemon->control); /* who mounts again waits for us from now on */
    if (daemon->session && daemon->options->session.at == INT64_MAX) { /* one of the past has a folder to remove */
        leave_in_time(daemon->session);
    }
    lethe_plain_free(daemon->plain);
    lethe_passer_free(daemon->passer);
    lethe_readahead_free(daemon->readahead);
    lethe_control_free(daemon->control);
    closing = lethe_session_close(daemon->session);
    if (closing) {
        lethe_log(LETHE_LOG_ERROR, "the last changes could not be made durable on this device: %s",
                  lethe_err_str(closing));
    }
    return err ? err : closing;
}

enum lethe_err lethe_daemon_run(const struct lethe_daemon_options *options)
{
    struct daemon daemon = {.options = options, .ready = -1};
    uint8_t code = LETHE_ERR_IO;
    int pipes[2];
    ssize_t got;
    pid_t child;

    bound_memory();
    if (options->foreground) {
        return run(&daemon);
    }
    if (pipe2(pipes, O_CLOEXEC)) {
        lethe_log(LETHE_LOG_ERROR, "no pipe to the mount's own process: %s", strerror(errno));
        return LETHE_ERR_IO;
    }
    child = fork();
    if (child < 0) {
        lethe_log(LETHE_LOG_ERROR, "no process for the mount: %s: see 'ulimit -u'", strerror(errno));
        close(pipes[0]);
        close(pipes[1]);
        return LETHE_ERR_NOMEM;
    }
    if (child == 0) {
        enum lethe_err err;

        close(pipes[0]);
        setsid();
        daemon.ready = pipes[1];
        err = run(&daemon);
        if (daemon.ready >= 0) {
            code = (uint8_t)err;
            if (write(daemon.ready, &code, 1) != 1) {
                _exit(1);
            }
        }
        _exit(err ? 1 : 0);
    }
    close(pipes[1]);
    while ((got = read(pipes[0], &code, 1)) < 0 && errno == EINTR) {
    }
    close(pipes[0]);
    if (code) {
        int status = 0;

        waitpid(child, &status, 0);
        if (got != 1) { /* it had no time for a word */
            lethe_log(LETHE_LOG_ERROR, "the mount's own process ended before the tree answered (%s %d): try again",
                      WIFSIGNALED(status) ? "signal" : "status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
    return (enum lethe_err)code;
}
