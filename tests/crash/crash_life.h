/* SPDX-License-Identifier: MIT */
/*
 * A life of a device: random work of one thread on a tree, with every moment of the tree written down. The
 * tree after a crash must be one of these moments, not older than the last that was made durable; what is in
 * the vault is a moment that was published. In a vault of fidelity lossy a picture is known by its width and height
 * alone: its bytes, size and ctime change when it is sealed.
 */
#ifndef LETHE_TESTS_CRASH_LIFE_H
#define LETHE_TESTS_CRASH_LIFE_H

#include "tests/crash/recorder.h"
#include "tests/unit/vault_fixture.h"

#include "lethe/codec.h"

#include <linux/falloc.h>
#include <linux/fs.h>

struct moment {
    char *text;   /* of the whole tree */
    size_t begun; /* operations recorded before what made it was called */
};

/* One epoch or more. */
struct published {
    size_t begun, done; /* operations recorded before and after; done is SIZE_MAX while it is under way */
    size_t first, last; /* the moments that may have been cut */
    char *text;         /* instead: a moment of an earlier life */
};

/* What is known of the bytes of inodes, at ino % LIFE_HASHES. */
#define LIFE_HASHES 256
#define LIFE_PUBLISHED 1024
struct life_hash {
    uint64_t ino, hash;
    bool picture; /* of a lossy vault: hash is (width << 32 | height) */
};

struct life {
    struct fixture *fixture;
    uint64_t seed;
    struct moment *moments;
    size_t count, room;
    size_t *durable; /* pairs: from this number of operations on, that moment is durable */
    size_t durable_count;
    struct published published[LIFE_PUBLISHED];
    size_t published_count;
    pthread_mutex_t lock; /* guards count, moments and published while the publisher runs */
    pthread_t publisher;  /* publishes again and again beside the work, when there is one */
    bool concurrent, stop;
    struct life_hash hashes[LIFE_HASHES];
    unsigned photos;
};

/* --- the tree as text --- */

struct life_entry {
    char name[64];
    uint64_t ino;
};

struct life_listing {
    struct life_entry entries[128];
    size_t count;
};

static inline bool life_list_one(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct life_listing *listing = context;

    (void)attr;
    if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
        assert_true(listing->count < 128 && strlen(entry->name) < 64);
        strcpy(listing->entries[listing->count].name, entry->name);
        listing->entries[listing->count++].ino = entry->ino;
    }
    return true;
}

static inline int life_compare(const void *a, const void *b)
{
    return strcmp(((const struct life_entry *)a)->name, ((const struct life_entry *)b)->name);
}

static bool life_lossy; /* the vault's fidelity */

static inline bool life_is_picture(const uint8_t *bytes, size_t size, uint64_t *hash)
{
    struct lethe_photo *photo = NULL;
    enum lethe_reason reason;
    bool is = life_lossy && !lethe_photo_parse(bytes, size, &lethe_image_limits_default, &photo, &reason);

    if (is) {
        *hash = (uint64_t)lethe_photo_info(photo)->width << 32 | lethe_photo_info(photo)->height;
    }
    lethe_photo_free(photo);
    return is;
}

static inline struct life_hash life_hash_of(struct lethe_tree *tree, const struct stat *attr)
{
    struct life_hash known = {.ino = attr->st_ino};
    struct lethe_file *file = NULL;
    size_t size = (size_t)attr->st_size, at = 0, got = 1;
    uint8_t *bytes = malloc(size + 1), digest[32];
    int error = lethe_tree_open_file(tree, attr->st_ino, O_RDONLY, &file);

    assert_non_null(bytes);
    while (!error && at < size && got > 0) {
        error = lethe_tree_read(file, at, bytes + at, size - at, &got);
        at += error ? 0 : got;
    }
    if (!error && at == size) {
        known.picture = life_is_picture(bytes, size, &known.hash);
        if (!known.picture) {
            lethe_hash(bytes, size, digest);
            memcpy(&known.hash, digest, sizeof known.hash);
            known.hash |= 1;
        }
    }
    if (file) {
        lethe_tree_release_file(file);
    }
    free(bytes);
    return known;
}

/* hashes: those that are known; NULL: reads everything. 0 as the hash of a file says that it cannot be read.
 */
static inline void life_walk(struct lethe_tree *tree, uint64_t ino, const char *path,
                             struct life_hash *hashes, struct lethe_buf *out)
{
    struct life_listing *listing = calloc(1, sizeof *listing);

    assert_non_null(listing);
    assert_int_equal(lethe_tree_readdir(tree, ino, 0, false, life_list_one, listing), 0);
    qsort(listing->entries, listing->count, sizeof listing->entries[0], life_compare);
    for (size_t i = 0; i < listing->count; i++) {
        char line[512], below[256], value[64] = "", *target = NULL;
        size_t needed = 0;
        struct life_hash hash = {0};
        struct stat attr;

        assert_int_equal(lethe_tree_lookup(tree, ino, listing->entries[i].name, &attr), 0);
        assert_int_equal(attr.st_ino, listing->entries[i].ino);
        if (S_ISREG(attr.st_mode)) {
            struct life_hash *known = hashes ? &hashes[attr.st_ino % LIFE_HASHES] : NULL;

            hash = known && known->ino == attr.st_ino ? *known : life_hash_of(tree, &attr);
            if (known) {
                *known = hash;
            }
            if (hash.picture) {
                attr.st_size = 0;
                attr.st_ctim = (struct timespec){0};
            }
        } else if (S_ISLNK(attr.st_mode)) {
            assert_int_equal(lethe_tree_readlink(tree, attr.st_ino, &target), 0);
        }
        (void)lethe_tree_getxattr(tree, attr.st_ino, "user.note", value, sizeof value - 1, &needed);
        snprintf(below, sizeof below, "%s/%s", path, listing->entries[i].name);
        snprintf(line, sizeof line, "%s %llu %o %d %lld %lld.%09ld %lld.%09ld %016llx %s%s\n", below,
                 (unsigned long long)attr.st_ino, attr.st_mode, (int)attr.st_nlink, (long long)attr.st_size,
                 (long long)attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec, (long long)attr.st_ctim.tv_sec,
                 attr.st_ctim.tv_nsec, (unsigned long long)hash.hash, value, target ? target : "");
        free(target);
        lethe_buf_put(out, line, strlen(line));
        if (S_ISDIR(attr.st_mode)) {
            life_walk(tree, attr.st_ino, below, hashes, out);
        }
        lethe_tree_forget(tree, attr.st_ino, 1);
    }
    free(listing);
}

/* The caller frees it. */
static inline char *life_text(struct lethe_tree *tree, struct life_hash *hashes)
{
    struct lethe_buf out = {0};

    life_walk(tree, 1, "", hashes, &out);
    lethe_buf_put_u8(&out, 0);
    assert_int_equal(lethe_buf_status(&out), LETHE_OK);
    return (char *)out.data;
}

/* --- moments --- */

static inline struct lethe_tree *life_tree(struct life *life)
{
    return life->fixture->session->tree;
}

/* What was done since begun changed the bytes of ino (0: none). */
static inline void life_note(struct life *life, size_t begun, uint64_t ino)
{
    char *text;

    if (life->hashes[ino % LIFE_HASHES].ino == ino) {
        life->hashes[ino % LIFE_HASHES].ino = 0;
    }
    text = life_text(life_tree(life), life->hashes);
    if (life->count > 0 && strcmp(life->moments[life->count - 1].text, text) == 0) {
        free(text);
        return;
    }
    pthread_mutex_lock(&life->lock);
    if (life->count == life->room) {
        life->room = life->room ? 2 * life->room : 256;
        life->moments = realloc(life->moments, life->room * sizeof *life->moments);
        life->durable = realloc(life->durable, 4 * life->room * sizeof *life->durable);
        assert_true(life->moments && life->durable);
    }
    life->moments[life->count++] = (struct moment){.text = text, .begun = begun};
    pthread_mutex_unlock(&life->lock);
}

static inline void life_durable(struct life *life)
{
    assert_true(life->durable_count + 2 <= 4 * life->room);
    life->durable[life->durable_count++] = rec_count();
    life->durable[life->durable_count++] = life->count - 1;
}

static inline void life_release(struct life *life)
{
    for (size_t i = 0; i < life->count; i++) {
        free(life->moments[i].text);
    }
    for (size_t i = 0; i < life->published_count; i++) {
        free(life->published[i].text);
    }
    free(life->moments);
    free(life->durable);
    free(life);
}

/* --- work --- */

static inline uint32_t life_random(struct life *life, uint32_t n)
{
    return fixture_random(&life->seed) % n;
}

static const struct lethe_owner life_owner = {.uid = 1000, .gid = 100};

/* Some folder, and some name that may be there or not. */
static inline uint64_t life_folder(struct life *life)
{
    static const char *const names[] = {"", "", "d0", "d1"};
    const char *name = names[life_random(life, 4)];
    struct stat attr;

    if (!*name || lethe_tree_lookup(life_tree(life), 1, name, &attr) != 0) {
        return 1;
    }
    lethe_tree_forget(life_tree(life), attr.st_ino, 1);
    return S_ISDIR(attr.st_mode) ? attr.st_ino : 1;
}

static inline const char *life_name(struct life *life, char out[16])
{
    uint32_t which = life_random(life, 14);

    if (which < 2) {
        snprintf(out, 16, "d%u", which);
    } else if (which < 5) {
        snprintf(out, 16, "p%u.png", which);
    } else {
        snprintf(out, 16, "f%u", which);
    }
    return out;
}

/* The regular file of that name, made when there is nothing; NULL when it is something else. */
static inline struct lethe_file *life_open(struct life *life, uint64_t folder, const char *name, int flags,
                                           uint64_t *ino)
{
    struct lethe_tree *tree = life_tree(life);
    struct lethe_file *file = NULL;
    size_t begun = rec_count();
    struct stat attr;

    if (lethe_tree_lookup(tree, folder, name, &attr) == -ENOENT) {
        assert_int_equal(lethe_tree_mknod(tree, folder, name, S_IFREG | 0644, 0, &life_owner, &attr), 0);
        life_note(life, begun, attr.st_ino);
    }
    *ino = attr.st_ino;
    if (S_ISREG(attr.st_mode)) {
        begun = rec_count();
        assert_int_equal(lethe_tree_open_file(tree, attr.st_ino, flags, &file), 0);
        if (flags & O_TRUNC) {
            life_note(life, begun, attr.st_ino);
        }
    }
    lethe_tree_forget(tree, attr.st_ino, 1);
    return file;
}

static inline void life_close(struct life *life, struct lethe_file *file, bool fsync)
{
    size_t begun = rec_count();

    if (fsync) {
        assert_int_equal(lethe_tree_fsync(file), 0);
        life_durable(life);
    }
    lethe_tree_release_file(file);
    life_note(life, begun, UINT64_MAX);
}

static inline void life_write(struct life *life, struct lethe_file *file, uint64_t ino, uint64_t offset,
                              const uint8_t *bytes, size_t len)
{
    size_t begun = rec_count();

    assert_int_equal(lethe_tree_write(file, offset, bytes, len, life_random(life, 8) == 0), 0);
    life_note(life, begun, ino);
}

static inline void life_change_bytes(struct life *life, uint32_t what)
{
    struct lethe_buf noise = {0};
    char name[16];
    uint64_t folder = life_folder(life), ino;
    struct lethe_file *file = life_open(life, folder, life_name(life, name), O_RDWR, &ino);
    size_t begun;

    if (!file) {
        return;
    }
    fixture_noise(life->seed, &noise, 1 + life_random(life, life_random(life, 3) ? 9000 : 90000));
    begun = rec_count();
    if (what < 6) {
        life_write(life, file, ino, life_random(life, 100000), noise.data, noise.len);
    } else if (what == 6) {
        struct stat want = {.st_size = (off_t)life_random(life, 120000)}, attr;

        assert_int_equal(lethe_tree_setattr(life_tree(life), ino, LETHE_SET_SIZE, &want, &attr), 0);
        life_note(life, begun, ino);
    } else if (what == 7) {
        int mode = life_random(life, 2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0;

        (void)lethe_tree_fallocate(file, mode, life_random(life, 90000), 1 + life_random(life, 60000));
        life_note(life, begun, ino);
    } else {
        struct lethe_file *from;
        uint64_t from_ino, done;

        from = life_open(life, life_folder(life), life_name(life, name), O_RDONLY, &from_ino);
        begun = rec_count();
        if (from && from_ino != ino) {
            (void)lethe_tree_copy(from, life_random(life, 3) * 16384ull, file,
                                  life_random(life, 3) * 16384ull, 1 + life_random(life, 80000), &done);
            life_note(life, begun, ino);
        }
        if (from) {
            life_close(life, from, false);
        }
    }
    life_close(life, file, life_random(life, 6) == 0);
    lethe_buf_release(&noise);
}

static inline void life_change_names(struct life *life, uint32_t what)
{
    static const unsigned flags[] = {0, 0, 0, RENAME_EXCHANGE, RENAME_NOREPLACE};
    struct lethe_tree *tree = life_tree(life);
    char name[16], other[16];
    uint64_t folder = life_folder(life), to = life_folder(life);
    size_t begun;
    struct stat attr;

    life_name(life, name);
    life_name(life, other);
    begun = rec_count();
    switch (what) {
    case 0:
    case 1:
    case 2:
        (void)lethe_tree_rename(tree, folder, name, to, other, flags[life_random(life, 5)]);
        break;
    case 3:
        (void)lethe_tree_unlink(tree, folder, name);
        break;
    case 4:
        if (lethe_tree_lookup(tree, folder, name, &attr) == 0) {
            uint64_t ino = attr.st_ino;

            if (S_ISREG(attr.st_mode) && lethe_tree_link(tree, ino, to, other, &attr) == 0) {
                lethe_tree_forget(tree, ino, 1);
            }
            lethe_tree_forget(tree, ino, 1);
        }
        break;
    case 5:
        if (lethe_tree_symlink(tree, other, folder, name, &life_owner, &attr) == 0) {
            lethe_tree_forget(tree, attr.st_ino, 1);
        }
        break;
    case 6:
        if (lethe_tree_mkdir(tree, 1, life_random(life, 2) ? "d0" : "d1", 0755, &life_owner, &attr) == 0) {
            lethe_tree_forget(tree, attr.st_ino, 1);
        }
        break;
    case 7:
        (void)lethe_tree_rmdir(tree, 1, life_random(life, 2) ? "d0" : "d1");
        break;
    default:
        if (lethe_tree_lookup(tree, folder, name, &attr) == 0) {
            uint64_t ino = attr.st_ino;
            struct stat want = {.st_mode = life_random(life, 512)}, result;
            char value[32];

            snprintf(value, sizeof value, "note%u", life_random(life, 1000));
            if (!S_ISREG(attr.st_mode)) {
                (void)lethe_tree_removexattr(tree, ino, "user.note");
            } else if (what == 8) {
                (void)lethe_tree_setattr(tree, ino, LETHE_SET_MODE, &want, &result);
            } else {
                (void)lethe_tree_setxattr(tree, ino, "user.note", value, strlen(value), 0);
            }
            lethe_tree_forget(tree, ino, 1);
        }
    }
    life_note(life, begun, UINT64_MAX);
}

/* As editors save: beside it, durable, and renamed over it. */
static inline void life_save(struct life *life)
{
    char name[16];
    uint64_t folder = life_folder(life), ino;
    struct lethe_buf bytes = {0};
    struct lethe_file *file = life_open(life, folder, "save.tmp", O_RDWR | O_TRUNC, &ino);
    size_t begun;

    life_name(life, name);
    if (!file) {
        return;
    }
    if (name[0] == 'p' && life->photos < 12) {
        life->photos++;
        fixture_photo(life_random(life, 1u << 30), 40 + life_random(life, 40), life_random(life, 3) * 10,
                      &bytes);
    } else {
        fixture_noise(life->seed, &bytes, 1 + life_random(life, 40000));
    }
    life_write(life, file, ino, 0, bytes.data, bytes.len / 2);
    life_write(life, file, ino, bytes.len / 2, bytes.data + bytes.len / 2, bytes.len - bytes.len / 2);
    life_close(life, file, true);
    begun = rec_count();
    if (lethe_tree_rename(life_tree(life), folder, "save.tmp", folder, name, 0) != 0) {
        (void)lethe_tree_unlink(life_tree(life), folder, "save.tmp");
    }
    life_note(life, begun, UINT64_MAX);
    lethe_buf_release(&bytes);
}

/* What is cut is the last moment, or the one that is being made. */
static inline void life_publish(struct life *life)
{
    struct published *published = NULL;
    enum lethe_err err;

    pthread_mutex_lock(&life->lock);
    if (life->published_count < LIFE_PUBLISHED) {
        published = &life->published[life->published_count++];
        *published = (struct published){
            .begun = rec_count(), .done = SIZE_MAX, .first = life->count - 1, .last = SIZE_MAX};
    }
    pthread_mutex_unlock(&life->lock);
    if (!published) {
        return;
    }
    err = fixture_publish(life->fixture);
    if (err) {
        print_error("publishing fails: %s\n", lethe_err_str(err));
        abort(); /* perhaps not in the thread of the test */
    }
    pthread_mutex_lock(&life->lock);
    published->last = life->count; /* may be a moment that was not written down yet */
    published->done = rec_count();
    pthread_mutex_unlock(&life->lock);
}

static inline void *life_publish_beside(void *context)
{
    struct life *life = context;

    while (!__atomic_load_n(&life->stop, __ATOMIC_ACQUIRE)) {
        life_publish(life);
    }
    return NULL;
}

static inline void life_open_device(struct life *life)
{
    size_t begun = rec_count();

    assert_int_equal(fixture_open(life->fixture), LETHE_OK);
    life_note(life, begun, UINT64_MAX);
    if (life->concurrent) {
        life->stop = false;
        assert_int_equal(pthread_create(&life->publisher, NULL, life_publish_beside, life), 0);
    }
}

static inline void life_close_device(struct life *life)
{
    if (life->concurrent) {
        __atomic_store_n(&life->stop, true, __ATOMIC_RELEASE);
        assert_int_equal(pthread_join(life->publisher, NULL), 0);
    }
    fixture_close(life->fixture);
    life_durable(life);
}

static inline void life_step(struct life *life)
{
    uint32_t what = life_random(life, 64);
    struct lethe_gc_result result;

    if (what < 26) {
        life_change_bytes(life, what % 9);
    } else if (what < 50) {
        life_change_names(life, what % 10);
    } else if (what < 57) {
        life_save(life);
    } else if (what < 59) {
        assert_int_equal(lethe_commit_wait(life->fixture->session->committer), LETHE_OK);
        life_durable(life);
    } else if (what < 62 && !life->concurrent) {
        size_t begun = rec_count();

        life_publish(life);
        life_note(life, begun, UINT64_MAX);
        life_durable(life);
    } else if (what <= 62) {
        struct lethe_session *session = life->fixture->session;

        assert_int_equal(lethe_gc_run(&(struct lethe_gc_options){.vault = session->vault,
                                                                 .db = session->db,
                                                                 .committer = session->committer},
                                      &result),
                         LETHE_OK);
    } else {
        life_close_device(life);
        life_open_device(life);
    }
}

#endif
