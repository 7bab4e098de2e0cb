/* SPDX-License-Identifier: MIT */
/* What the files of the directory backend share; dir.c says how the folder is laid out. */
#ifndef LETHE_BACKENDS_DIR_H
#define LETHE_BACKENDS_DIR_H

#include <pthread.h>
#include <stdatomic.h>

#include "lethe/store.h"

#define LETHE_DIR_TMP "tmp"
#define LETHE_DIR_DIGITS 20
#define LETHE_DIR_KNOWN 1024

struct lethe_dir {
    struct lethe_store base;
    char *root;       /* absolute */
    atomic_bool tmp;  /* tmp/ was there once: its absence now means that the disk is away */
    atomic_bool away; /* the root was reported as away; reported again only after it was back */
    pthread_mutex_t
        replacing; /* one replace of this process at a time: fewer races, not the proof of anything */
    pthread_mutex_t lock;
    uint64_t
        known[LETHE_DIR_KNOWN]; /* guarded by lock: hashes of folders whose own entry is durable; 0 is free */
};

/* dir.c: as lethe_store_dir_open, but leaves the folder as it is: nothing is swept. */
enum lethe_err lethe_dir_open_untouched(const char *path, struct lethe_store **out) LETHE_MUST_CHECK;

/* dir_files.c */

/* Logs what the system said, once for an absence, and gives the error for it. errno value e is not 0. */
enum lethe_err lethe_dir_error(struct lethe_dir *dir, int e, const char *doing) LETHE_MUST_CHECK;
/* A descriptor of the root. LETHE_ERR_UNREACHABLE when it is not there. */
enum lethe_err lethe_dir_root(struct lethe_dir *dir, int *fd) LETHE_MUST_CHECK;
/* What a missing file means: LETHE_ERR_NOT_FOUND, or LETHE_ERR_UNREACHABLE when the whole vault is away. */
enum lethe_err lethe_dir_missing(struct lethe_dir *dir, int root) LETHE_MUST_CHECK;
/*
 * Opens the folder that holds key, following no link; *name is the last part. create: makes what is missing,
 * and every folder on the way is durable on return. LETHE_ERR_NOT_FOUND as lethe_dir_missing.
 */
enum lethe_err lethe_dir_parent(struct lethe_dir *dir, int root, const char *key, bool create, int *fd,
                                const char **name) LETHE_MUST_CHECK;
/* Opens a regular file for reading, following no link. A missing one is LETHE_ERR_NOT_FOUND. */
enum lethe_err lethe_dir_open_file(struct lethe_dir *dir, int at, const char *name, int *fd) LETHE_MUST_CHECK;
/* Appends at most len bytes from offset on. */
enum lethe_err lethe_dir_read(struct lethe_dir *dir, int fd, uint64_t offset, uint64_t len,
                              struct lethe_buf *out) LETHE_MUST_CHECK;
/* Writes the bytes durably to a temporary file and gives it the name, create-only: LETHE_ERR_EXISTS. */
enum lethe_err lethe_dir_publish(struct lethe_dir *dir, int root, int at, const char *name,
                                 const uint8_t *bytes, size_t len) LETHE_MUST_CHECK;
enum lethe_err lethe_dir_fsync(struct lethe_dir *dir, int fd) LETHE_MUST_CHECK;
/* A second, plain name for a version, for people; best effort. */
void lethe_dir_show(struct lethe_dir *dir, int root, const char *versioned, const char *key);
/* Removes temporary files that are older than a day; best effort. */
void lethe_dir_sweep(int root);

/* dir_versions.c */

struct lethe_dir_versions {
    uint64_t *numbers; /* ascending */
    size_t count;
    size_t cap;
    bool plain; /* the plain name is there too */
};

/* Whether name is a key, a dot and LETHE_DIR_DIGITS digits; then the length of the key and the number. */
bool lethe_dir_version_parse(const char *name, size_t *key_len, uint64_t *number);
void lethe_dir_version_name(const char *key, uint64_t number, char out[LETHE_STORE_KEY_MAX + 32]);
enum lethe_err lethe_dir_versions(struct lethe_dir *dir, int root, const char *key,
                                  struct lethe_dir_versions *out) LETHE_MUST_CHECK;
void lethe_dir_versions_release(struct lethe_dir_versions *versions);
/* Opens the current version; the plain file is number 0 and counts only when no other is there. */
enum lethe_err lethe_dir_current(struct lethe_dir *dir, int root, const char *key, int *fd,
                                 uint64_t *number) LETHE_MUST_CHECK;

/* dir_list.c */
enum lethe_err lethe_dir_list(struct lethe_store *store, const char *prefix,
                              enum lethe_err (*each)(void *context, const char *key,
                                                     const struct lethe_store_stat *stat),
                              void *context) LETHE_MUST_CHECK;

#endif
