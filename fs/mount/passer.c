/* SPDX-License-Identifier: MIT */
#include "fs/mount/passer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of <linux/fuse.h> since Linux 6.9. */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

enum { CONNECT, REGISTER, UNREGISTER, UNMOUNT };

struct request {
    uint32_t what;
    int32_t number;
};

struct lethe_passer {
    pthread_mutex_t lock; /* one request at a time */
    int socket;
};

static int change_capability(bool drop, bool *had)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    const uint32_t bit = 1u << CAP_SYS_ADMIN;

    if (syscall(SYS_capget, &header, data)) {
        return -1;
    }
    *had = data[0].effective & bit;
    if (!drop) {
        return 0;
    }
    data[0].effective &= ~bit;
    data[0].permitted &= ~bit;
    data[0].inheritable &= ~bit;
    return (int)syscall(SYS_capset, &header, data);
}

enum lethe_err lethe_passer_renounce(void)
{
    bool had;

    return change_capability(true, &had) ? LETHE_ERR_DENIED : LETHE_OK;
}

static bool is_mounted(int fuse_fd)
{
    struct pollfd state = {.fd = fuse_fd};

    return fuse_fd >= 0 && poll(&state, 1, 0) >= 0 && !(state.revents & POLLERR);
}

/* file: what came with the request, or -1; closed by the caller unless it is taken into *fuse_fd. */
static int32_t serve(const struct request *request, int *file, int *fuse_fd, const char *mountpoint)
{
    struct backing_map map = {.fd = *file};
    uint32_t number = (uint32_t)request->number;
    int done = -1;

    errno = EINVAL;
    switch (request->what) {
    case CONNECT:
        if (*fuse_fd < 0 && *file >= 0) {
            *fuse_fd = *file;
            *file = -1;
            done = 0;
        }
        break;
    case REGISTER:
        done = *file >= 0 ? ioctl(*fuse_fd, BACKING_OPEN, &map) : -1;
        break;
    case UNREGISTER:
        done = ioctl(*fuse_fd, BACKING_CLOSE, &number);
        break;
    case UNMOUNT:
        done = is_mounted(*fuse_fd) ? umount2(mountpoint, MNT_DETACH) : 0;
        break;
    default:
        break;
    }
    return done < 0 ? -errno : done;
}

/* One message, with a file or without. false: the other end is gone. */
static bool receive(int socket, void *bytes, size_t len, int *file)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    struct iovec part = {.iov_base = bytes, .iov_len = len};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header;
    ssize_t got;

    while ((got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *file = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(file, CMSG_DATA(header), sizeof *file);
    }
    return got == (ssize_t)len;
}

static bool transmit(int socket, const void *bytes, size_t len, int file)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t put;

    if (file >= 0) {
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof file)};
        memcpy(CMSG_DATA(&control.header), &file, sizeof file);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    while ((put = sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
    }
    return put == (ssize_t)len;
}

static void help(int socket, const char *mountpoint)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), fuse_fd = -1, file;
    struct request request;
    bool more = true;

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    signal(SIGINT, SIG_IGN); /* the daemon's end is ours */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (chdir("/")) {
        _exit(1);
    }
    while (more && receive(socket, &request, sizeof request, &file)) {
        int32_t answer = serve(&request, &file, &fuse_fd, mountpoint);

        if (file >= 0) {
            close(file);
        }
        more = transmit(socket, &answer, sizeof answer, -1);
    }
    _exit(0);
}

enum lethe_err lethe_passer_new(const char *mountpoint, const char *secret, size_t len, int also,
                                struct lethe_passer **out)
{
    struct lethe_passer *passer = NULL;
    int sockets[2] = {-1, -1};
    bool able = false;
    pid_t child;

    *out = NULL;
    if (change_capability(false, &able) || !able) {
        return LETHE_ERR_DENIED;
    }
    passer = calloc(1, sizeof *passer);
    if (!passer) {
        return LETHE_ERR_NOMEM;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) {
        free(passer);
        return LETHE_ERR_IO;
    }
    child = fork();
    if (child == 0) {
        close(sockets[0]);
        if (also >= 0) {
            close(also);
        }
        explicit_bzero((void *)(uintptr_t)secret, len);
        setsid();
        /* The child of a child: nobody has to wait for it. */
        child = fork();
        if (child != 0) {
            _exit(child < 0);
        }
        help(sockets[1], mountpoint);
    }
    close(sockets[1]);
    if (child < 0) {
        close(sockets[0]);
        free(passer);
        return LETHE_ERR_NOMEM;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    pthread_mutex_init(&passer->lock, NULL);
    passer->socket = sockets[0];
    *out = passer;
    return LETHE_OK;
}

void lethe_passer_free(struct lethe_passer *passer)
{
    if (passer) {
        close(passer->socket);
        pthread_mutex_destroy(&passer->lock);
        free(passer);
    }
}

static int32_t ask(struct lethe_passer *passer, uint32_t what, int32_t number, int file)
{
    const struct request request = {.what = what, .number = number};
    int32_t answer = -EPIPE;
    int none;

    pthread_mutex_lock(&passer->lock);
    if (!transmit(passer->socket, &request, sizeof request, file) ||
        !receive(passer->socket, &answer, sizeof answer, &none)) {
        answer = -EPIPE;
    }
    pthread_mutex_unlock(&passer->lock);
    return answer;
}

enum lethe_err lethe_passer_connect(struct lethe_passer *passer, int fuse_fd)
{
    return ask(passer, CONNECT, 0, fuse_fd) ? LETHE_ERR_IO : LETHE_OK;
}

int32_t lethe_passer_register(struct lethe_passer *passer, int fd)
{
    int32_t number = ask(passer, REGISTER, 0, fd);

    return number ? number : -EINVAL;
}

void lethe_passer_unregister(struct lethe_passer *passer, int32_t number)
{
    (void)ask(passer, UNREGISTER, number, -1);
}

void lethe_passer_unmount(struct lethe_passer *passer)
{
    (void)ask(passer, UNMOUNT, 0, -1);
}
