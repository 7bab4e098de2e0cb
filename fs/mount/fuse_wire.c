/* SPDX-License-Identifier: MIT */
/*
 * What releases of libfuse before 3.17 know nothing of, done on the raw messages, as <linux/fuse.h> defines them, through
 * the custom I/O functions of libfuse 3.14 and later.
 *
 * FUSE_HANDLE_KILLPRIV_V2. Without it the kernel asks for the attribute security.capability before every
 * write; with it, a flag in write, open, create and setattr requests tells when set-id bits must be cleared,
 * and doing so is ours.
 *
 * FUSE_PASSTHROUGH. The kernel does reads of a file on another one, whose number is in the reply to its open.
 *
 * FUSE_TMPFILE. libfuse would say that there is no such request; it is handed to it as one that it knows.
 */
#include "fs/mount/fuse_internal.h"

#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lethe/log.h"

static atomic_bool agreed, passthrough_offered, passthrough_wanted;
static _Thread_local bool kills, tmpfile_wanted;
static _Thread_local int32_t passed;

/* Of <linux/fuse.h> since Linux 6.9. */
#define PASSTHROUGH_FLAG2 (1u << 5)
#define OPEN_PASSTHROUGH (1u << 7)

bool lethe_fuse_wire_killpriv(void)
{
    return atomic_load_explicit(&agreed, memory_order_relaxed);
}

bool lethe_fuse_wire_ask_passthrough(void)
{
    atomic_store(&passthrough_wanted, atomic_load(&passthrough_offered));
    return atomic_load(&passthrough_wanted);
}

void lethe_fuse_wire_pass(int32_t number)
{
    passed = number;
}

bool lethe_fuse_wire_kills(void)
{
    return kills;
}

bool lethe_fuse_wire_tmpfile(void)
{
    return tmpfile_wanted;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 14) && defined(FUSE_HANDLE_KILLPRIV_V2)

static atomic_uint_fast64_t init_unique;

static uint32_t field(const uint8_t *message, size_t len, size_t offset)
{
    uint32_t value = 0;

    offset += sizeof(struct fuse_in_header);
    if (offset + sizeof(value) <= len) {
        memcpy(&value, message + offset, sizeof(value));
    }
    return value;
}

static void look(uint8_t *message, size_t len)
{
    struct fuse_in_header header;

    kills = tmpfile_wanted = false;
    if (len < sizeof(header)) {
        return;
    }
    memcpy(&header, message, sizeof(header));
    switch (header.opcode) {
    case FUSE_INIT:
        if (field(message, len, offsetof(struct fuse_init_in, flags)) & FUSE_HANDLE_KILLPRIV_V2) {
            atomic_store(&init_unique, header.unique);
        }
        if (field(message, len, offsetof(struct fuse_init_in, flags)) & FUSE_INIT_EXT) {
            atomic_store(&passthrough_offered,
                         field(message, len, offsetof(struct fuse_init_in, flags2)) & PASSTHROUGH_FLAG2);
        }
        break;
    case FUSE_WRITE:
        kills = field(message, len, offsetof(struct fuse_write_in, write_flags)) & FUSE_WRITE_KILL_SUIDGID;
        break;
    case FUSE_OPEN:
        kills = field(message, len, offsetof(struct fuse_open_in, open_flags)) & FUSE_OPEN_KILL_SUIDGID;
        break;
    case FUSE_CREATE:
        kills = field(message, len, offsetof(struct fuse_create_in, open_flags)) & FUSE_OPEN_KILL_SUIDGID;
        break;
    case FUSE_TMPFILE:
        /* Laid out and answered like FUSE_CREATE, for the name "/", which no file can have. */
        tmpfile_wanted = true;
        header.opcode = FUSE_CREATE;
        memcpy(message, &header, sizeof(header));
        break;
    case FUSE_SETATTR:
        kills = field(message, len, offsetof(struct fuse_setattr_in, valid)) & FATTR_KILL_SUIDGID;
        break;
    default: /* the other requests carry no such flag */
        break;
    }
}

/* The fields backing_id and max_stack_depth, which older headers have no names for. */
#define BACKING_ID_AT (offsetof(struct fuse_open_out, open_flags) + sizeof(uint32_t))
#define STACK_DEPTH_AT (offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t))

static ssize_t wire_read(int fd, void *buffer, size_t len, void *context)
{
    ssize_t got = read(fd, buffer, len);

    (void)context;
    if (got > 0) {
        look(buffer, (size_t)got);
    }
    return got;
}

/* The reply to an open. */
static ssize_t write_passed(int fd, struct iovec *parts, int count)
{
    struct fuse_open_out open;
    struct iovec own[2];
    int32_t number = passed;

    passed = 0;
    if (count != 2 || parts[1].iov_len != sizeof(open)) {
        return writev(fd, parts, count);
    }
    memcpy(&open, parts[1].iov_base, sizeof(open));
    open.open_flags = OPEN_PASSTHROUGH; /* goes with no other flag of ours */
    memcpy((uint8_t *)&open + BACKING_ID_AT, &number, sizeof(number));
    own[0] = parts[0];
    own[1] = (struct iovec){.iov_base = &open, .iov_len = sizeof(open)};
    return writev(fd, own, 2);
}

static ssize_t wire_writev(int fd, struct iovec *parts, int count, void *context)
{
    struct fuse_out_header header;
    const uint32_t depth = 1; /* the copies lie on a file system that stands on none */
    struct fuse_init_out init;
    struct iovec own[2];

    (void)context;
    if (passed) {
        return write_passed(fd, parts, count);
    }
    if (atomic_load_explicit(&agreed, memory_order_relaxed) || count != 2 ||
        parts[0].iov_len != sizeof(header)) {
        return writev(fd, parts, count);
    }
    memcpy(&header, parts[0].iov_base, sizeof(header));
    if (header.error || header.unique == 0 || header.unique != atomic_load(&init_unique) ||
        parts[1].iov_len < offsetof(struct fuse_init_out, max_background) ||
        parts[1].iov_len > sizeof(init)) {
        return writev(fd, parts, count);
    }
    memset(&init, 0, sizeof(init));
    memcpy(&init, parts[1].iov_base, parts[1].iov_len);
    init.flags |= FUSE_HANDLE_KILLPRIV_V2;
    if (atomic_load(&passthrough_wanted) && parts[1].iov_len == sizeof(init)) {
        init.flags |= FUSE_INIT_EXT;
        init.flags2 |= PASSTHROUGH_FLAG2;
        memcpy((uint8_t *)&init + STACK_DEPTH_AT, &depth, sizeof(depth));
    }
    own[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
    own[1] = (struct iovec){.iov_base = &init, .iov_len = parts[1].iov_len};
    atomic_store(&agreed, true);
    return writev(fd, own, 2);
}

void lethe_fuse_wire_install(struct fuse_session *session)
{
    static const struct fuse_custom_io io = {.read = wire_read, .writev = wire_writev};

    atomic_store(&agreed, false);
    atomic_store(&init_unique, 0);
    atomic_store(&passthrough_offered, false);
    atomic_store(&passthrough_wanted, false);
    if (fuse_session_custom_io(session, &io, fuse_session_fd(session))) {
        lethe_log(LETHE_LOG_WARN, "libfuse refuses custom I/O functions; small writes will be slower");
    }
}

#else

void lethe_fuse_wire_install(struct fuse_session *session)
{
    (void)session;
}

#endif
