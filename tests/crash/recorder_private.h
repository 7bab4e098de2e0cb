/* SPDX-License-Identifier: MIT */
/* What recorder.c writes down for recorder_calls.c, and replay.c reads. */
#ifndef LETHE_TESTS_CRASH_RECORDER_PRIVATE_H
#define LETHE_TESTS_CRASH_RECORDER_PRIVATE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define REC_NONE UINT32_MAX

enum rec_kind {
    REC_WRITE,
    REC_TRUNCATE,
    REC_PUNCH,
    REC_SYNC,
    REC_NAME,
    REC_UNNAME,
    REC_RENAME,
    REC_EXCHANGE
};

struct rec_op {
    enum rec_kind kind;
    bool lost;       /* a write that a failed sync has thrown away: it may never reach the disk */
    uint32_t file;   /* also of a sync (file or folder) and of a name: what it names; not of REC_EXCHANGE */
    uint32_t key;    /* of REC_NAME, REC_UNNAME; of REC_RENAME the old name */
    uint32_t key2;   /* of REC_RENAME the new one; of REC_EXCHANGE the other */
    uint64_t offset; /* of REC_TRUNCATE the size */
    size_t len;
    uint8_t *data;
};

/* Number 0 is the folder that is recorded. */
struct rec_file {
    bool folder;
    bool alive; /* dev and ino are its own */
    dev_t dev;
    ino_t ino;
    uint8_t *base; /* its bytes when recording began, all of them durable */
    size_t base_size;
};

struct rec_key {
    uint32_t folder;
    char *name;
    uint32_t base; /* what it named when recording began, or REC_NONE */
};

extern struct rec {
    bool recording;
    char folder[PATH_MAX];
    struct rec_op *ops;
    size_t op_count, op_room;
    struct rec_file *files;
    uint32_t file_count, file_room;
    struct rec_key *keys;
    uint32_t key_count, key_room;
} rec;

/* Held over every call that is recorded or may fail; guards rec. */
extern pthread_mutex_t rec_lock;

/* Ends the process when a call cannot be followed. */
void rec_need(bool condition);
uint32_t rec_new_file(bool folder);
/* One number for each (folder, name). */
uint32_t rec_key(uint32_t folder, const char *name);
/* bytes: op.len of them are copied, or NULL. */
void rec_append(struct rec_op op, const void *bytes);
/* The recorded file, or REC_NONE. */
uint32_t rec_file_of(const struct stat *stat);
uint32_t rec_file_of_fd(int fd);
void rec_bind_file(uint32_t file, const struct stat *stat);
/* The folder of a path, and its last part; REC_NONE when it is not ours. */
uint32_t rec_folder_of(int at, const char *path, const char **name);

/* recorder_faults.c: whether this call is the one that fails. */
bool rec_fault_armed(void);
bool rec_hit_fd(int fd);
bool rec_hit_sync(int fd);
bool rec_hit_path(int at, const char *path);
int rec_failure(bool writes);
/* Reads and writes: how much of len to do, or -1 and *error. */
ssize_t rec_share(int fd, size_t len, bool writes, int *error);

#endif
