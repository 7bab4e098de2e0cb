/* SPDX-License-Identifier: MIT */
/*
 * A process that works in a mount through the kernel, with its page cache and writeback, and writes down in
 * shared memory what it does to a few paths: files written anew, in part, behind their end, through a
 * mapping, cut, with holes, copied in part, saved beside and renamed over what is open, with a second name,
 * exchanged; and one that two threads write and cut at a time. Before and after each call it asks how much
 * was recorded so far.
 */
#ifndef LETHE_TESTS_CRASH_FUSE_LIFE_H
#define LETHE_TESTS_CRASH_FUSE_LIFE_H

#include "tests/unit/vault_fixture.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#define PATHS 10
#define EVENTS 700
#define ROOM 65536u
#define BLOCK 4096u
#define STEPS 60
#define NEVER SIZE_MAX

static const char *const paths[PATHS] = {"f0", "f1",   "f2",   "f3",     "f4",
                                         "f5", "d/f6", "d/f7", "p0.png", "d/p1.png"};

/* What a call makes of a path. */
struct event {
    int path;
    bool absent;
    bool torn;  /* until it is durable: its bytes need not have reached the daemon, or only some of them */
    bool mixed; /* and any single byte may be one of those before, or zero */
    size_t begun, done; /* operations recorded before and after */
    size_t durable;     /* operations recorded when it had been synced */
    size_t size;
    uint8_t bytes[ROOM];
};

/* Shared by the two processes. */
struct work {
    struct event events[EVENTS];
    size_t count;
    uint64_t seed;
    char mountpoint[128];
};

static struct work *work;
static int asks[2], answers[2]; /* pipes: how many operations have been recorded? */

/* Of the process that works: which file a path names, 0 for none; paths with one number are names of one
 * file. */
static unsigned file_at[PATHS], files_made;

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        _exit(1);
    }
}

static size_t recorded(void)
{
    size_t count;

    must(write(asks[1], "?", 1) == 1, "ask");
    must(read(answers[0], &count, sizeof count) == (ssize_t)sizeof count, "be answered");
    return count;
}

static uint32_t chance(uint32_t n)
{
    return fixture_random(&work->seed) % n;
}

static const char *at(int path)
{
    static char full[2][256];
    static int turn;

    turn = !turn;
    snprintf(full[turn], sizeof full[turn], "%s/%s", work->mountpoint, path < 0 ? "" : paths[path]);
    return full[turn];
}

/* --- what is written down --- */

static struct event *latest(int path)
{
    for (size_t i = work->count; i-- > 0;) {
        if (work->events[i].path == path) {
            return &work->events[i];
        }
    }
    return NULL;
}

/* What the path names is as whole on the device as in the page cache. */
static bool is_whole(int path)
{
    const struct event *event = latest(path);

    return file_at[path] && (!event->torn || event->durable != NEVER);
}

static struct event *begin(int path)
{
    struct event *event = &work->events[work->count++];

    must(work->count <= EVENTS, "room for events");
    *event =
        (struct event){.path = path, .absent = true, .begun = recorded(), .done = NEVER, .durable = NEVER};
    return event;
}

/* The path gets what another one had before. */
static struct event *begin_as(int path, const struct event *before)
{
    struct event *event = begin(path);

    memcpy(event->bytes, before->bytes, before->size);
    event->size = before->size;
    event->absent = before->absent;
    return event;
}

/* A change of a file's bytes: an event for each name that it has. */
struct change {
    struct event *events[PATHS];
    int count;
};

/* mixed: it may be made before older bytes come. */
static struct change change_begin(unsigned file, bool mixed)
{
    struct change change = {.count = 0};

    for (int path = 0; path < PATHS; path++) {
        if (file && file_at[path] == file) {
            const struct event *before = latest(path);
            struct event *event = before ? begin_as(path, before) : begin(path);

            event->absent = false;
            event->torn = true;
            event->mixed = mixed;
            change.events[change.count++] = event;
        }
    }
    return change;
}

/* All names have the bytes that were set for the first. */
static void change_spread(const struct change *change)
{
    for (int i = 1; i < change->count; i++) {
        memcpy(change->events[i]->bytes, change->events[0]->bytes, change->events[0]->size);
        change->events[i]->size = change->events[0]->size;
    }
}

static void change_done(const struct change *change)
{
    size_t now = recorded();

    for (int i = 0; i < change->count; i++) {
        change->events[i]->done = now;
    }
}

/* What was done to names, and to nothing but names, is durable with any sync that succeeds. */
static void synced(void)
{
    size_t now = recorded();

    for (size_t i = 0; i < work->count; i++) {
        struct event *event = &work->events[i];

        if (!event->torn && event->done != NEVER && event->durable == NEVER) {
            event->durable = now;
        }
    }
}

/* The recorder's fsync would not ask the kernel. */
static void sync_one(int fd)
{
    must(syscall(SYS_fsync, fd) == 0, "fsync");
}

/* fsync, perhaps: all of the file is durable then. */
static void finish(int fd, const struct change *change)
{
    change_done(change);
    if (chance(2)) {
        size_t now;

        sync_one(fd);
        now = recorded();
        for (int i = 0; i < change->count; i++) {
            change->events[i]->durable = now;
        }
        synced();
    }
    close(fd);
}

/* --- bytes --- */

static void fill(struct event *event)
{
    struct lethe_buf bytes = {0};

    if (strstr(paths[event->path], ".png")) {
        fixture_photo(chance(1u << 30), 40 + chance(40), chance(2) * 10, &bytes);
    } else {
        fixture_noise(work->seed, &bytes, 1 + chance(ROOM - 1));
    }
    event->size = bytes.len < ROOM ? bytes.len : ROOM;
    memcpy(event->bytes, bytes.data, event->size);
    event->absent = false;
    lethe_buf_release(&bytes);
}

/* In parts. No block is written by two of them: it would be half new while it waits for the second. */
static void write_all(int fd, const uint8_t *bytes, size_t len, size_t offset)
{
    while (len > 0) {
        size_t end = (offset + chance((uint32_t)len)) / BLOCK * BLOCK + BLOCK;
        ssize_t done = pwrite(fd, bytes, end - offset < len ? end - offset : len, (off_t)offset);

        must(done > 0, "write");
        bytes += done;
        offset += (size_t)done;
        len -= (size_t)done;
    }
}

static int open_again(int path, int flags)
{
    int fd = open(at(path), O_RDWR | flags);

    must(fd >= 0, "open");
    return fd;
}

static void write_anew(int path)
{
    struct change change;
    int fd;

    file_at[path] = file_at[path] ? file_at[path] : ++files_made;
    /* It is empty in between, and so may a crash find it. */
    change = change_begin(file_at[path], false);
    change.events[0]->size = 0;
    change_spread(&change);
    fd = open(at(path), O_RDWR | O_CREAT | O_TRUNC, 0644);
    must(fd >= 0, "open");
    change_done(&change);
    change = change_begin(file_at[path], false);
    fill(change.events[0]);
    change_spread(&change);
    write_all(fd, change.events[0]->bytes, change.events[0]->size, 0);
    finish(fd, &change);
}

/* Other bytes for a part, which is chosen. */
static void scribble(struct event *event, size_t *offset, size_t *len)
{
    *offset = chance((uint32_t)event->size);
    *len = 1 + chance((uint32_t)(event->size - *offset));
    for (size_t i = *offset; i < *offset + *len; i++) {
        event->bytes[i] = (uint8_t)chance(256);
    }
}

static void overwrite(int path)
{
    struct change change = change_begin(file_at[path], false);
    struct event *event = change.events[0];
    size_t offset, len;
    int fd = open_again(path, 0);

    if (event->size > 0) {
        scribble(event, &offset, &len);
        change_spread(&change);
        write_all(fd, event->bytes + offset, len, offset);
    }
    finish(fd, &change);
}

static void append(int path)
{
    struct change change = change_begin(file_at[path], false);
    struct event *event = change.events[0];
    size_t before = event->size, len = chance((uint32_t)(ROOM - before) + 1);
    int fd = open_again(path, O_APPEND);

    for (size_t i = before; i < before + len; i++) {
        event->bytes[i] = (uint8_t)chance(256);
    }
    event->size = before + len;
    change_spread(&change);
    write_all(fd, event->bytes + before, len, before);
    finish(fd, &change);
}

static void write_mapped(int path)
{
    struct change change = change_begin(file_at[path], true);
    struct event *event = change.events[0];
    size_t offset, len;
    int fd = open_again(path, 0);

    if (event->size > 0) {
        uint8_t *map = mmap(NULL, event->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        must(map != MAP_FAILED, "mmap");
        scribble(event, &offset, &len);
        change_spread(&change);
        memcpy(map + offset, event->bytes + offset, len);
        if (chance(2)) {
            must(msync(map, event->size, MS_SYNC) == 0, "msync");
        }
        must(munmap(map, event->size) == 0, "munmap");
    }
    finish(fd, &change);
}

static void resize(struct event *event, size_t size)
{
    if (size > event->size) {
        memset(event->bytes + event->size, 0, size - event->size);
    }
    event->size = size;
}

static void truncate_file(int path)
{
    struct change change = change_begin(file_at[path], !is_whole(path));
    struct event *event = change.events[0];
    int fd = open_again(path, 0);

    resize(event, chance(ROOM));
    change_spread(&change);
    must(ftruncate(fd, (off_t)event->size) == 0, "ftruncate");
    finish(fd, &change);
}

/* A hole, or room that may lie behind the end. */
static void allocate(int path)
{
    struct change change = change_begin(file_at[path], !is_whole(path));
    struct event *event = change.events[0];
    size_t offset = chance(ROOM - 1), end = offset + 1 + chance((uint32_t)(ROOM - 1 - offset));
    bool hole = chance(3);
    int fd = open_again(path, 0);

    if (hole && offset < event->size) {
        memset(event->bytes + offset, 0, (end < event->size ? end : event->size) - offset);
    } else if (!hole && end > event->size) {
        resize(event, end);
    }
    change_spread(&change);
    must(fallocate(fd, hole ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0, (off_t)offset,
                   (off_t)(end - offset)) == 0,
         "fallocate");
    finish(fd, &change);
}

/* Whole blocks are shared. */
static void copy_part(int path, int from)
{
    const struct event *source = latest(from);
    size_t offset = source->size > 16384 ? chance(2) * 16384 : 0, len = source->size - offset;
    struct change change;
    int fd, from_fd;

    if (file_at[from] == file_at[path] || len == 0) {
        return;
    }
    change = change_begin(file_at[path], !is_whole(path));
    fd = open_again(path, 0);
    from_fd = open_again(from, 0);
    if (offset + len > change.events[0]->size) {
        resize(change.events[0], offset + len);
    }
    memcpy(change.events[0]->bytes + offset, source->bytes + offset, len);
    change_spread(&change);
    for (size_t end = offset + len; offset < end;) {
        loff_t in = (loff_t)offset, out = (loff_t)offset;
        ssize_t done = copy_file_range(from_fd, &in, fd, &out, end - offset, 0);

        must(done > 0, "copy_file_range");
        offset += (size_t)done;
    }
    close(from_fd);
    finish(fd, &change);
}

struct cutter {
    int fd;
    uint64_t seed;
};

static void *cut_again_and_again(void *context)
{
    struct cutter *cutter = context;

    for (int i = 0; i < 12; i++) {
        must(ftruncate(cutter->fd, fixture_random(&cutter->seed) % ROOM) == 0, "ftruncate");
    }
    return NULL;
}

/* One thread writes while another one truncates: what has come of it is asked of the kernel. */
static void race(int path)
{
    struct change change = change_begin(file_at[path], true);
    int fd = open_again(path, 0);
    struct cutter cutter = {.fd = fd, .seed = work->seed};
    pthread_t thread;
    ssize_t got;

    fill(change.events[0]);
    change.events[0]->size = ROOM; /* what is not written is zero */
    change_spread(&change);
    must(pthread_create(&thread, NULL, cut_again_and_again, &cutter) == 0, "thread");
    write_all(fd, change.events[0]->bytes, ROOM, 0);
    must(pthread_join(thread, NULL) == 0, "join");
    change_done(&change);
    change = change_begin(file_at[path], true);
    got = pread(fd, change.events[0]->bytes, ROOM, 0);
    must(got >= 0, "read");
    change.events[0]->size = (size_t)got;
    change_spread(&change);
    finish(fd, &change);
}

/* --- names --- */

/* As editors save; perhaps over a file that is open, and written to behind its back. */
static void save(int path)
{
    unsigned before = file_at[path];
    char name[280];
    struct event *event;
    int fd, old = before && chance(2) ? open_again(path, 0) : -1;

    snprintf(name, sizeof name, "%s.tmp", at(path));
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    must(fd >= 0, "open");
    event = begin(path);
    fill(event);
    write_all(fd, event->bytes, event->size, 0);
    sync_one(fd);
    close(fd);
    synced();
    must(rename(name, at(path)) == 0, "rename");
    event->done = recorded();
    file_at[path] = ++files_made;
    if (old >= 0) {
        struct change change = change_begin(before, false); /* other names that it has */
        uint8_t bytes[5000];

        memset(bytes, (int)chance(256), sizeof bytes);
        for (int i = 0; i < change.count; i++) {
            memcpy(change.events[i]->bytes, bytes, sizeof bytes);
            change.events[i]->size =
                change.events[i]->size > sizeof bytes ? change.events[i]->size : sizeof bytes;
        }
        write_all(old, bytes, sizeof bytes, 0);
        finish(old, &change);
    }
}

static void move(int from, int to, bool exchange)
{
    const struct event *mine = latest(from), *other = latest(to);
    struct event *here, *there;
    unsigned file = file_at[from];

    if (!is_whole(from) || (exchange && !is_whole(to)) || file == file_at[to]) {
        return;
    }
    here = exchange ? begin_as(from, other) : begin(from);
    there = begin_as(to, mine);
    must(syscall(SYS_renameat2, AT_FDCWD, at(from), AT_FDCWD, at(to), exchange ? RENAME_EXCHANGE : 0) == 0,
         "rename");
    here->done = there->done = recorded();
    file_at[from] = exchange ? file_at[to] : 0;
    file_at[to] = file;
}

static void delete (int path)
{
    struct event *event = begin(path);

    must(unlink(at(path)) == 0, "unlink");
    event->done = recorded();
    file_at[path] = 0;
}

static void link_file(int path, int to)
{
    struct event *event;

    if (is_whole(path) && !file_at[to]) {
        event = begin_as(to, latest(path));
        must(link(at(path), at(to)) == 0, "link");
        event->done = recorded();
        file_at[to] = file_at[path];
    }
}

static void sync_folder(void)
{
    int fd = open(at(-1), O_RDONLY | O_DIRECTORY);

    must(fd >= 0, "open");
    sync_one(fd);
    close(fd);
    synced();
}

/* What a program sees is what was done. */
static void look(int path)
{
    static uint8_t bytes[ROOM + 1];
    const struct event *event = latest(path);
    int fd = open(at(path), O_RDONLY);
    struct stat attr;
    nlink_t names = 0;

    if (!file_at[path]) {
        must(fd < 0 && errno == ENOENT, "a file that was taken away is there");
        return;
    }
    for (int i = 0; i < PATHS; i++) {
        names += file_at[i] == file_at[path];
    }
    must(fd >= 0 && fstat(fd, &attr) == 0, "look");
    must(attr.st_nlink == names, "another number of names");
    must(attr.st_size == (off_t)event->size && pread(fd, bytes, sizeof bytes, 0) == (ssize_t)event->size,
         "another size");
    must(memcmp(bytes, event->bytes, event->size) == 0, "other bytes");
    close(fd);
}

static void live_step(void)
{
    uint32_t what = chance(40);
    int path = (int)chance(PATHS), other = (int)chance(PATHS);

    if (what < 7 || (what < 27 && !file_at[path])) {
        write_anew(path);
    } else if (what < 11) {
        overwrite(path);
    } else if (what < 13) {
        append(path);
    } else if (what < 16) {
        write_mapped(path);
    } else if (what < 19) {
        truncate_file(path);
    } else if (what < 22) {
        allocate(path);
    } else if (what < 25 && file_at[other]) {
        copy_part(path, other);
    } else if (what < 27) {
        race(path);
    } else if (what < 33) {
        save(path);
    } else if (what < 35) {
        move(path, other, what == 34);
    } else if (what < 37) {
        link_file(path, other);
    } else if (what < 38 && file_at[path]) {
        delete (path);
    } else {
        sync_folder();
    }
    look(path);
    look(other);
}

/* Ends the process. */
static void live(void)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct statfs about;
    char folder[160];

    while (statfs(work->mountpoint, &about) != 0 || about.f_type != FUSE_SUPER_MAGIC) {
        nanosleep(&nap, NULL); /* the mount is under way */
    }
    snprintf(folder, sizeof folder, "%s/d", work->mountpoint);
    must(mkdir(folder, 0755) == 0, "mkdir");
    sync_folder();
    for (unsigned i = 0; i < STEPS; i++) {
        live_step();
    }
    must(umount2(work->mountpoint, 0) == 0, "umount");
    _exit(0);
}

#endif
