/* SPDX-License-Identifier: MIT */
/*
 * A whole vault with a device in a temporary folder, without FUSE and without the publisher's thread: a test
 * makes each step itself, through a backend that can be told to fail or to end the process at its Nth call.
 */
#ifndef LETHE_TESTS_VAULT_FIXTURE_H
#define LETHE_TESTS_VAULT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/device/slots.h"
#include "fs/mount/session.h"
#include "fs/mount/setup.h"
#include "fs/vault/check.h"
#include "fs/vault/gc.h"
#include "fs/vault/journal.h"
#include "fs/vault/publish.h"
#include "lethe/image.h"
#include "lethe/log.h"

#define FIXTURE_PASS "correct horse"
#define FIXTURE_PATIENT_MS 3600000 /* a machine that has other work does not make a test fail */
#define FIXTURE_CRASHED 42 /* exit status of a process that the backend ended */

/* --- a backend that fails as it is told --- */

enum trouble_kind {
    TROUBLE_NONE,
    TROUBLE_FAIL,         /* the call is not made and fails */
    TROUBLE_FAIL_ON,      /* so do all later ones */
    TROUBLE_LOST,         /* the call is made, and fails all the same */
    TROUBLE_LOST_ON,      /* that, and all later ones fail */
    TROUBLE_CRASH_BEFORE, /* the process ends before it is made */
    TROUBLE_CRASH_AFTER,
};

struct trouble {
    pthread_mutex_t lock;
    enum trouble_kind kind;
    enum lethe_err error;
    unsigned nth; /* the call that is hit; 0: none */
    unsigned calls;
    bool hit;
    bool no_conditions; /* the backend has no conditional writes */
    void (*meanwhile)(void *context); /* is called once, before the answer of the call that is hit */
    void *meanwhile_context;
};

struct trouble_store {
    struct lethe_store base;
    struct lethe_store *inner;
    struct trouble *trouble;
};

static inline struct trouble_store *trouble_of(struct lethe_store *store)
{
    return (struct trouble_store *)store;
}

static inline bool trouble_here(struct trouble *trouble, bool after)
{
    bool here;

    pthread_mutex_lock(&trouble->lock);
    if (!after) {
        trouble->calls++;
    }
    here = trouble->nth && (trouble->calls == trouble->nth ||
                            (trouble->kind == TROUBLE_FAIL_ON && trouble->calls > trouble->nth) ||
                            (trouble->kind == TROUBLE_LOST_ON && trouble->calls > trouble->nth && !after));
    trouble->hit |= here;
    pthread_mutex_unlock(&trouble->lock);
    return here;
}

static inline enum lethe_err trouble_before(struct lethe_store *store)
{
    struct trouble *trouble = trouble_of(store)->trouble;

    if (!trouble_here(trouble, false)) {
        return LETHE_OK;
    }
    if (trouble->kind == TROUBLE_CRASH_BEFORE) {
        _exit(FIXTURE_CRASHED);
    }
    if (trouble->kind == TROUBLE_LOST_ON) {
        return trouble->calls > trouble->nth ? trouble->error : LETHE_OK;
    }
    return trouble->kind == TROUBLE_FAIL || trouble->kind == TROUBLE_FAIL_ON ? trouble->error : LETHE_OK;
}

static inline enum lethe_err trouble_after(struct lethe_store *store, enum lethe_err err)
{
    struct trouble *trouble = trouble_of(store)->trouble;

    if (!trouble_here(trouble, true)) {
        return err;
    }
    if (trouble->meanwhile) {
        void (*meanwhile)(void *) = trouble->meanwhile;

        trouble->meanwhile = NULL;
        meanwhile(trouble->meanwhile_context);
    }
    if (trouble->kind == TROUBLE_CRASH_AFTER) {
        _exit(FIXTURE_CRASHED);
    }
    return trouble->kind == TROUBLE_LOST || trouble->kind == TROUBLE_LOST_ON ? LETHE_ERR_UNREACHABLE : err;
}

static inline enum lethe_err trouble_get(struct lethe_store *store, const char *key, uint64_t offset,
                                         uint64_t len, struct lethe_buf *out,
                                         struct lethe_store_version *version)
{
    size_t before = out->len;
    enum lethe_err err = trouble_before(store);

    if (!err) {
        err = trouble_after(store, lethe_store_get(trouble_of(store)->inner, key, offset, len, out, version));
        if (err) {
            out->len = before;
        }
    }
    return err;
}

static inline enum lethe_err trouble_put(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                         size_t len)
{
    enum lethe_err err = trouble_before(store);

    return err ? err : trouble_after(store, lethe_store_put(trouble_of(store)->inner, key, bytes, len));
}

static inline enum lethe_err trouble_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                             size_t len, const struct lethe_store_version *expected,
                                             struct lethe_store_version *version)
{
    enum lethe_err err = trouble_before(store);

    return err ? err
               : trouble_after(store, lethe_store_replace(trouble_of(store)->inner, key, bytes, len, expected,
                                                          version));
}

static inline enum lethe_err trouble_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                               size_t len)
{
    enum lethe_err err = trouble_before(store);

    return err ? err : trouble_after(store, lethe_store_overwrite(trouble_of(store)->inner, key, bytes, len));
}

static inline enum lethe_err trouble_remove(struct lethe_store *store, const char *key)
{
    enum lethe_err err = trouble_before(store);

    return err ? err : trouble_after(store, lethe_store_remove(trouble_of(store)->inner, key));
}

static inline enum lethe_err trouble_list(struct lethe_store *store, const char *prefix,
                                          enum lethe_err (*each)(void *context, const char *key,
                                                                 const struct lethe_store_stat *stat),
                                          void *context)
{
    enum lethe_err err = trouble_before(store);

    return err ? err
               : trouble_after(store, lethe_store_list(trouble_of(store)->inner, prefix, each, context));
}

static inline enum lethe_err trouble_stat(struct lethe_store *store, const char *key,
                                          struct lethe_store_stat *out)
{
    enum lethe_err err = trouble_before(store);

    return err ? err : trouble_after(store, lethe_store_stat(trouble_of(store)->inner, key, out));
}

static inline void trouble_close(struct lethe_store *store)
{
    lethe_store_close(trouble_of(store)->inner);
    free(store);
}

static inline struct lethe_store *trouble_decorate(void *context, struct lethe_store *inner)
{
    static const struct lethe_store_ops ops = {
        .get = trouble_get,
        .put = trouble_put,
        .replace = trouble_replace,
        .overwrite = trouble_overwrite,
        .remove = trouble_remove,
        .list = trouble_list,
        .stat = trouble_stat,
        .close = trouble_close,
    };
    struct trouble_store *store = calloc(1, sizeof *store);

    assert_non_null(store);
    if (((struct trouble *)context)->no_conditions) {
        const struct lethe_fault_plan plan = {.no_conditions = true};

        assert_int_equal(lethe_store_fault_new(inner, &plan, &inner), LETHE_OK);
    }
    *store = (struct trouble_store){.base = {.ops = &ops}, .inner = inner, .trouble = context};
    return &store->base;
}

/* --- folders --- */

struct fixture {
    char folder[64], vault[96], state[96], cache[96], phrase[LETHE_PHRASE_MAX];
    char second[96];
    enum lethe_fidelity fidelity; /* set between make and init */
    unsigned timeout_ms;          /* for reads of what the vault has; 0: the default */
    struct trouble trouble;
    struct lethe_session *session;
    struct lethe_sealer *sealer;
    struct lethe_publisher_options publisher;
};

static inline void fixture_run(const char *format, ...)
{
    char command[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

static inline void fixture_make_in(struct fixture *fixture, const char *parent)
{
    *fixture =
        (struct fixture){.trouble = {.lock = PTHREAD_MUTEX_INITIALIZER, .error = LETHE_ERR_UNREACHABLE}};
    snprintf(fixture->folder, sizeof fixture->folder, "%s/lethe-vault-XXXXXX", parent);
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->vault, sizeof fixture->vault, "%s/vault", fixture->folder);
    snprintf(fixture->state, sizeof fixture->state, "%s/state", fixture->folder);
    snprintf(fixture->cache, sizeof fixture->cache, "%s/cache", fixture->folder);
    snprintf(fixture->second, sizeof fixture->second, "%s/second", fixture->folder);
}

static inline void fixture_make(struct fixture *fixture)
{
    fixture_make_in(fixture, "/tmp");
}

static inline void fixture_remove(struct fixture *fixture)
{
    fixture_run("chmod -R u+rwX %s && rm -rf %s", fixture->folder, fixture->folder);
}

/* Keeps vault and device as they are now, and brings them back. */
static inline void fixture_save(const struct fixture *fixture)
{
    fixture_run("cd %s && rm -rf saved && mkdir saved && cp -a vault state cache saved/", fixture->folder);
}

static inline void fixture_load(const struct fixture *fixture)
{
    fixture_run("cd %s && rm -rf vault state cache && cp -a saved/vault saved/state saved/cache .",
                fixture->folder);
}

static inline void fixture_arm(struct fixture *fixture, enum trouble_kind kind, unsigned nth)
{
    pthread_mutex_lock(&fixture->trouble.lock);
    fixture->trouble.kind = kind;
    fixture->trouble.nth = nth;
    fixture->trouble.calls = 0;
    fixture->trouble.hit = false;
    pthread_mutex_unlock(&fixture->trouble.lock);
}

/* --- setup --- */

static inline enum lethe_err fixture_keep(void *context, const char *phrase)
{
    struct fixture *fixture = context;

    snprintf(fixture->phrase, sizeof fixture->phrase, "%s", phrase);
    return LETHE_OK;
}

static inline enum lethe_err fixture_init(struct fixture *fixture)
{
    struct lethe_init_options options = {
        .location = fixture->vault,
        .state_root = fixture->state,
        .fidelity = fixture->fidelity,
        .residuals = fixture->fidelity == LETHE_FIDELITY_SPLIT ? fixture->second : NULL,
        .strength = 2,
        .cost = {.memory_mib = 16, .passes = 1},
        .pairs_in_vault = true,
        .passphrase = FIXTURE_PASS,
        .passphrase_len = sizeof FIXTURE_PASS - 1,
        .decorate = trouble_decorate,
        .decorate_context = &fixture->trouble,
    };

    return lethe_setup_init(&options, fixture_keep, fixture);
}

/* Into the state folder state_root, which may be another device's. */
static inline enum lethe_err fixture_recover(struct fixture *fixture, const char *state_root)
{
    struct lethe_secret *device = NULL;
    char *aside = NULL;
    enum lethe_err err;

    assert_int_equal(lethe_phrase_read(fixture->phrase, strlen(fixture->phrase), &device), LETHE_OK);
    err = lethe_setup_recover(&(struct lethe_recover_options){.location = fixture->vault,
                                                              .state_root = state_root,
                                                              .passphrase = FIXTURE_PASS,
                                                              .passphrase_len = sizeof FIXTURE_PASS - 1,
                                                              .device = device,
                                                              .decorate = trouble_decorate,
                                                              .decorate_context = &fixture->trouble},
                              &aside);
    free(aside);
    lethe_secret_free(device);
    return err;
}

static inline struct lethe_session_options fixture_options(struct fixture *fixture)
{
    return (struct lethe_session_options){
        .location = fixture->vault,
        .state_root = fixture->state,
        .cache_root = fixture->cache,
        .passphrase = FIXTURE_PASS,
        .passphrase_len = sizeof FIXTURE_PASS - 1,
        .effort = LETHE_EFFORT_FAST,
        .at = INT64_MAX,
        .owner = {.uid = 1000, .gid = 100},
        .residuals = fixture->fidelity == LETHE_FIDELITY_SPLIT ? fixture->second : NULL,
        .timeout_ms = fixture->timeout_ms,
        .decorate = trouble_decorate,
        .decorate_context = &fixture->trouble,
    };
}

static inline struct lethe_sealer_options fixture_sealer_options(const struct fixture *fixture)
{
    const struct lethe_session *session = fixture->session;

    return (struct lethe_sealer_options){.vault = session->vault,
                                         .db = session->db,
                                         .contents = session->contents,
                                         .committer = session->committer,
                                         .restorer = session->restorer,
                                         .pool = session->pool,
                                         .pair = lethe_pair_shipped(0),
                                         .strength = 2,
                                         .fidelity = fixture->fidelity,
                                         .tree = session->tree,
                                         .effort = LETHE_EFFORT_FAST,
                                         .workers = 1,
                                         .uploads = 1};
}

static inline int64_t fixture_number(struct lethe_session *session, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value;

    lethe_db_lock(session->db);
    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(session->db), sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    lethe_db_unlock(session->db);
    return value;
}

/* The sealer, and the options with which a test runs the publisher's steps. */
static inline void fixture_ready(struct fixture *fixture)
{
    struct lethe_session *session = fixture->session;
    struct lethe_sealer_options sealer = fixture_sealer_options(fixture);
    int64_t epoch = 0, cut;

    lethe_db_lock(session->db);
    assert_int_equal(lethe_db_get_int(session->db, LETHE_CONFIG_EPOCH, 0, &epoch), LETHE_OK);
    lethe_db_unlock(session->db);
    cut = fixture_number(session, "SELECT coalesce(max(n), 0) FROM epoch");
    epoch = cut > epoch ? cut : epoch;
    lethe_contents_set_next_epoch(session->contents, (uint64_t)epoch + 1);
    if (fixture->fidelity == LETHE_FIDELITY_LOSSY) {
        assert_int_equal(lethe_tree_index_contents(session->tree), LETHE_OK);
    }
    assert_int_equal(lethe_sealer_new(&sealer, &fixture->sealer), LETHE_OK);
    fixture->publisher = (struct lethe_publisher_options){.vault = session->vault,
                                                          .db = session->db,
                                                          .contents = session->contents,
                                                          .committer = session->committer,
                                                          .tree = session->tree,
                                                          .sealer = fixture->sealer};
}

static inline enum lethe_err fixture_open(struct fixture *fixture)
{
    struct lethe_session_options options = fixture_options(fixture);
    enum lethe_err err = lethe_session_open(&options, &fixture->session);

    if (!err) {
        fixture_ready(fixture);
    }
    return err;
}

static inline void fixture_close(struct fixture *fixture)
{
    lethe_sealer_free(fixture->sealer);
    fixture->sealer = NULL;
    assert_int_equal(lethe_session_close(fixture->session), LETHE_OK);
    fixture->session = NULL;
}

/* What the publisher's thread does: what is pending, and then, once, a new cut. */
static inline enum lethe_err fixture_publish(struct fixture *fixture)
{
    struct lethe_epoch epoch;
    bool cut = false;
    enum lethe_err err;

    do {
        err = lethe_epoch_pending(fixture->session->db, 0, &epoch);
        if (err == LETHE_ERR_NOT_FOUND) {
            cut = true;
            err = lethe_epoch_cut(&fixture->publisher, true, &epoch);
            if (err == LETHE_ERR_NOT_FOUND) {
                return LETHE_OK;
            }
        }
        if (!err) {
            err = lethe_epoch_publish(&fixture->publisher, &epoch);
            lethe_epoch_release(&epoch);
        }
    } while (!err && !cut);
    return err;
}

/* --- files --- */

static inline uint32_t fixture_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

static inline void fixture_noise(uint64_t seed, struct lethe_buf *out, size_t len)
{
    lethe_buf_reset(out);
    for (size_t i = 0; i < len; i++) {
        lethe_buf_put_u8(out, (uint8_t)fixture_random(&seed));
    }
    assert_int_equal(lethe_buf_status(out), LETHE_OK);
}

/* A PNG that the codec takes: smooth, with a little grain. trailer bytes behind it leave the pixels as they
 * are. */
static inline void fixture_photo(uint64_t seed, unsigned size, size_t trailer, struct lethe_buf *out)
{
    struct lethe_raster raster;

    lethe_buf_reset(out);
    assert_int_equal(lethe_raster_init(&raster, size, size, 3, 8), LETHE_OK);
    for (unsigned c = 0; c < 3; c++) {
        unsigned fx = 1 + fixture_random(&seed) % 5, fy = 1 + fixture_random(&seed) % 5;

        for (unsigned y = 0; y < size; y++) {
            for (unsigned x = 0; x < size; x++) {
                unsigned v = (x * fx + y * fy) / 4 % 512;

                v = v < 256 ? v : 511 - v;
                v = v * 7 / 8 + 12 + fixture_random(&seed) % 8;
                raster.planes[c][y * size + x] = (uint16_t)(v > 255 ? 255 : v);
            }
        }
    }
    assert_int_equal(lethe_png_write(&raster, 6, out), LETHE_OK);
    lethe_raster_release(&raster);
    for (size_t i = 0; i < trailer; i++) {
        lethe_buf_put_u8(out, (uint8_t)i);
    }
    assert_int_equal(lethe_buf_status(out), LETHE_OK);
}

static inline struct lethe_file *fixture_file(struct fixture *fixture, const char *name, int flags)
{
    static const struct lethe_owner owner = {.uid = 1000, .gid = 100};
    struct lethe_tree *tree = fixture->session->tree;
    struct lethe_file *file = NULL;
    struct stat attr;

    if (lethe_tree_lookup(tree, 1, name, &attr) == -ENOENT) {
        assert_int_equal(lethe_tree_mknod(tree, 1, name, S_IFREG | 0644, 0, &owner, &attr), 0);
    }
    assert_int_equal(lethe_tree_open_file(tree, attr.st_ino, flags, &file), 0);
    lethe_tree_forget(tree, attr.st_ino, 1);
    return file;
}

/* Writes the file anew. */
static inline void fixture_put(struct fixture *fixture, const char *name, const struct lethe_buf *bytes)
{
    struct lethe_file *file = fixture_file(fixture, name, O_RDWR | O_TRUNC);

    for (size_t at = 0; at < bytes->len; at += 131072) {
        size_t n = bytes->len - at < 131072 ? bytes->len - at : 131072;

        assert_int_equal(lethe_tree_write(file, at, bytes->data + at, n, false), 0);
    }
    lethe_tree_release_file(file);
}

/* Overwrites a part. */
static inline void fixture_patch(struct fixture *fixture, const char *name, uint64_t offset, const char *text)
{
    struct lethe_file *file = fixture_file(fixture, name, O_RDWR);

    assert_int_equal(lethe_tree_write(file, offset, text, strlen(text), false), 0);
    lethe_tree_release_file(file);
}

/* Text of the whole tree: names, attributes, hashes of all bytes. Directories below the root are not entered.
 */
struct fixture_listing {
    char names[64][256];
    size_t count;
};

static inline bool fixture_list_one(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct fixture_listing *listing = context;

    (void)attr;
    if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
        assert_true(listing->count < 64);
        snprintf(listing->names[listing->count++], sizeof listing->names[0], "%s", entry->name);
    }
    return true;
}

static inline int fixture_compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void fixture_describe_file(struct lethe_tree *tree, const struct stat *attr,
                                         struct lethe_buf *out)
{
    struct lethe_file *file = NULL;
    uint8_t *bytes = calloc(1, (size_t)attr->st_size + 1), hash[32];
    char hex[65];

    assert_non_null(bytes);
    assert_int_equal(lethe_tree_open_file(tree, attr->st_ino, O_RDONLY, &file), 0);
    for (size_t at = 0, got = 1; at < (size_t)attr->st_size && got > 0; at += got) {
        size_t n = (size_t)attr->st_size - at < 131072 ? (size_t)attr->st_size - at : 131072;
        int error = lethe_tree_read(file, at, bytes + at, n, &got);

        if (error) {
            lethe_buf_put(out, " unreadable", 11);
            break;
        }
    }
    lethe_tree_release_file(file);
    lethe_hash(bytes, (size_t)attr->st_size, hash);
    lethe_hex(hash, 32, hex);
    lethe_buf_put(out, " ", 1);
    lethe_buf_put(out, hex, 16);
    free(bytes);
}

/* The caller frees it. */
static inline char *fixture_describe(struct lethe_session *session)
{
    struct fixture_listing listing = {.count = 0};
    struct lethe_buf out = {0};

    assert_int_equal(lethe_tree_readdir(session->tree, 1, 0, false, fixture_list_one, &listing), 0);
    qsort(listing.names, listing.count, sizeof listing.names[0], fixture_compare_names);
    for (size_t i = 0; i < listing.count; i++) {
        char line[512], list[256] = "", *target = NULL;
        size_t needed = 0;
        struct stat attr;

        assert_int_equal(lethe_tree_lookup(session->tree, 1, listing.names[i], &attr), 0);
        assert_int_equal(lethe_tree_listxattr(session->tree, attr.st_ino, list, sizeof list, &needed), 0);
        snprintf(line, sizeof line, "%s %o %d %lld %lld.%09ld %s", listing.names[i], attr.st_mode,
                 (int)attr.st_nlink, (long long)attr.st_size, (long long)attr.st_mtim.tv_sec,
                 attr.st_mtim.tv_nsec, list);
        lethe_buf_put(&out, line, strlen(line));
        if (S_ISREG(attr.st_mode)) {
            fixture_describe_file(session->tree, &attr, &out);
        } else if (S_ISLNK(attr.st_mode)) {
            assert_int_equal(lethe_tree_readlink(session->tree, attr.st_ino, &target), 0);
            lethe_buf_put(&out, " -> ", 4);
            lethe_buf_put(&out, target, strlen(target));
            free(target);
        }
        lethe_buf_put(&out, "\n", 1);
        lethe_tree_forget(session->tree, attr.st_ino, 1);
    }
    lethe_buf_put_u8(&out, 0);
    assert_int_equal(lethe_buf_status(&out), LETHE_OK);
    return (char *)out.data;
}

/* --- what must hold --- */

static inline void fixture_fault(void *context, const char *line)
{
    (void)context;
    print_error("check: %s\n", line);
}

/* One number of the database. */
/* Every object counts the pieces that lie in it; pairs count one for themselves. */
static inline void fixture_assert_refs(struct lethe_session *session)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM object o WHERE kind != %d AND refs != (SELECT count(*) FROM piece WHERE "
             "object = o.id)",
             (int)LETHE_OBJECT_PAIR);
    assert_int_equal(fixture_number(session, sql), 0);
    assert_int_equal(fixture_number(session,
                                    "SELECT count(*) FROM piece p LEFT JOIN object o ON o.id = p.object"
                                    " WHERE o.id IS NULL OR o.dead != 0"),
                     0);
    assert_int_equal(
        fixture_number(session, "SELECT count(*) FROM inode i JOIN dead d ON d.content = i.content"), 0);
    assert_int_equal(fixture_number(session,
                                    "SELECT count(*) FROM content c WHERE NOT EXISTS(SELECT 1 FROM inode"
                                    " WHERE content = c.id) AND NOT EXISTS(SELECT 1 FROM dead WHERE content ="
                                    " c.id) AND NOT EXISTS(SELECT 1 FROM working WHERE content = c.id)"),
                     0);
}

#define FIXTURE_SLOTS 8192u

static inline void fixture_count_maps(struct lethe_session *session, uint32_t counts[FIXTURE_SLOTS])
{
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(session->db), "SELECT map FROM chunk WHERE idx >= 0", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const uint8_t *map = sqlite3_column_blob(statement, 0);
        int len = sqlite3_column_bytes(statement, 0);

        for (int at = 0; len > 1 && at < len; at += 36) {
            if (map[at] == 2 && map[at + 1] == 0) { /* a slot of the state folder */
                assert_true(lethe_get_u32(map + at + 8) < FIXTURE_SLOTS);
                counts[lethe_get_u32(map + at + 8)]++;
            }
        }
    }
    sqlite3_finalize(statement);
}

static inline void fixture_compare_slots(struct lethe_session *session, uint32_t counts[FIXTURE_SLOTS])
{
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(lethe_db_handle(session->db), "SELECT grp, refs FROM slots WHERE arena = 0", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const uint8_t *refs = sqlite3_column_blob(statement, 1);
        size_t len = (size_t)sqlite3_column_bytes(statement, 1), first, width = len ? refs[0] : 1;

        first = (size_t)sqlite3_column_int64(statement, 0) * LETHE_SLOTS_GROUP;
        for (size_t i = 0; 1 + (i + 1) * width <= len; i++) {
            uint32_t stored = width == 1 ? refs[1 + i] : lethe_get_u16(refs + 1 + 2 * i);

            assert_true(first + i < FIXTURE_SLOTS);
            assert_int_equal(stored, counts[first + i]);
            counts[first + i] = 0;
        }
    }
    sqlite3_finalize(statement);
    for (size_t i = 0; i < FIXTURE_SLOTS; i++) {
        assert_int_equal(counts[i], 0);
    }
}

/* Every slot of the only copies counts the blocks that lie in it: no space is lost, none is given away twice. */
static inline void fixture_assert_slots(struct lethe_session *session)
{
    uint32_t *counts = calloc(FIXTURE_SLOTS, sizeof *counts);

    assert_non_null(counts);
    assert_int_equal(lethe_commit_wait(session->committer), LETHE_OK);
    lethe_gate_enter(session->committer);
    lethe_db_lock(session->db);
    fixture_count_maps(session, counts);
    fixture_compare_slots(session, counts);
    lethe_db_unlock(session->db);
    lethe_gate_leave(session->committer, false);
    free(counts);
}

/* The vault alone, replayed: check --deep finds nothing, and the tree is the one expected. */
static inline void fixture_assert_vault(struct fixture *fixture, int64_t at, const char *expected)
{
    struct lethe_session_options options = fixture_options(fixture);
    struct lethe_session *session = NULL;
    struct lethe_check_result result;
    char *found;

    options.at = at;
    assert_int_equal(lethe_session_open(&options, &session), LETHE_OK);
    assert_int_equal(lethe_check_run(&(struct lethe_check_options){.vault = session->vault,
                                                                   .db = session->db,
                                                                   .pool = session->pool,
                                                                   .deep = true,
                                                                   .fault = fixture_fault},
                                     &result),
                     LETHE_OK);
    found = fixture_describe(session);
    assert_string_equal(found, expected);
    free(found);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
}

/* Another device recovers from the vault, sees the tree expected, and can go on from there. */
static inline void fixture_assert_recovers(struct fixture *fixture, const char *expected)
{
    struct fixture other = *fixture;
    char *found;

    fixture_run("cd %s && rm -rf other && mkdir other && cp -a vault other/", fixture->folder);
    snprintf(other.vault, sizeof other.vault, "%s/other/vault", fixture->folder);
    snprintf(other.state, sizeof other.state, "%s/other/state", fixture->folder);
    snprintf(other.cache, sizeof other.cache, "%s/other/cache", fixture->folder);
    other.session = NULL;
    other.sealer = NULL;
    assert_int_equal(fixture_recover(&other, other.state), LETHE_OK);
    assert_int_equal(fixture_open(&other), LETHE_OK);
    found = fixture_describe(other.session);
    assert_string_equal(found, expected);
    free(found);
    fixture_assert_refs(other.session);
    fixture_patch(&other, "after recovery", 0, "still writable");
    assert_int_equal(fixture_publish(&other), LETHE_OK);
    fixture_assert_refs(other.session);
    found = fixture_describe(other.session);
    fixture_close(&other);
    fixture_assert_vault(&other, LETHE_SESSION_NEWEST, found);
    free(found);
}

#endif
