/* SPDX-License-Identifier: MIT */
/* What recorder.c writes down and replay.c reads. */
#ifndef LETHE_TESTS_CRASH_RECORDER_PRIVATE_H
#define LETHE_TESTS_CRASH_RECORDER_PRIVATE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

#endif
