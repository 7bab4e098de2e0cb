/* SPDX-License-Identifier: MIT */
/* The files of the fault test, and which versions each of them may hold. */
#ifndef LETHE_TESTS_FAULT_VERSIONS_H
#define LETHE_TESTS_FAULT_VERSIONS_H

#include "tests/unit/vault_fixture.h"

#define NAMES 6
#define VERSIONS 12
#define FILE_BYTES 40000u
#define ABSENT UINT32_MAX /* as a version */
#define EMPTY 0u

/* A version of a file is the seed of its bytes. From base on, each of the versions may be what is there. */
struct known {
    const char *name;
    uint32_t versions[VERSIONS];
    bool done[VERSIONS]; /* the call that makes it succeeded */
    unsigned count, base;
};

struct model {
    struct known files[NAMES];
};

enum { OLD, TEXT, PHOTO, GONE, SAVE, NEW };

static uint8_t photo[32768];
static size_t photo_len;

static inline size_t version_bytes(uint32_t version, uint8_t out[FILE_BYTES])
{
    uint64_t seed = version;

    if (version == EMPTY) {
        return 0;
    }
    if (version == 999) {
        memcpy(out, photo, photo_len);
        return photo_len;
    }
    for (size_t i = 0; i < FILE_BYTES; i++) {
        out[i] = (uint8_t)fixture_random(&seed);
    }
    return FILE_BYTES - version % 7 * 1000;
}

static inline unsigned note(struct model *model, int which, uint32_t version)
{
    struct known *known = &model->files[which];

    assert_true(known->count < VERSIONS);
    known->versions[known->count] = version;
    known->done[known->count] = false;
    return known->count++;
}

static inline void settle(struct model *model, int which, unsigned version, bool done)
{
    model->files[which].done[version] = done;
}

/* A commit: of each file the last version that was made, or one that may have been made since. */
static inline void acknowledged(struct model *model)
{
    for (int i = 0; i < NAMES; i++) {
        struct known *known = &model->files[i];

        for (unsigned v = known->base; v < known->count; v++) {
            known->base = known->done[v] ? v : known->base;
        }
    }
}

/* The device was closed without a commit that succeeded: what came since the last one may be there or not. */
static inline void unsettle(struct model *model)
{
    for (int i = 0; i < NAMES; i++) {
        for (unsigned v = model->files[i].base + 1; v < model->files[i].count; v++) {
            model->files[i].done[v] = false;
        }
    }
}

/* The version that these bytes are, from low on; ABSENT - 1: none. */
static inline uint32_t version_of(const struct known *known, const uint8_t *bytes, size_t len)
{
    static uint8_t wanted[FILE_BYTES];

    for (unsigned v = known->base; v < known->count; v++) {
        if (known->versions[v] != ABSENT && version_bytes(known->versions[v], wanted) == len &&
            memcmp(wanted, bytes, len) == 0) {
            return known->versions[v];
        }
    }
    return ABSENT - 1;
}

#endif
