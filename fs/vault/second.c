/* SPDX-License-Identifier: MIT */
/*
 * Three layers: the door, which opens the store behind it when it is first asked; the watch and the retries of every
 * store; and the outermost, which stops retrying a store that has been away for long. Lock: door.lock guards inner
 * until it is set; it never changes after.
 */
#include "fs/vault/second.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/vault/watch.h"
#include "lethe/log.h"

#define MARKER "second"
#define MARKER_MAX 128
#define PATIENCE_MS 5000
#define LOCATION_MAX 4096

static void marker_text(const struct lethe_id *id, char out[MARKER_MAX])
{
    char hex[33];

    lethe_hex(id->bytes, sizeof id->bytes, hex);
    snprintf(out, MARKER_MAX, "lethefs second store %s\n", hex);
}

/* --- the door --- */

struct door {
    struct lethe_store base;
    char *location;
    struct lethe_store_options options;
    struct lethe_id id;
    pthread_mutex_t lock;
    struct lethe_store *inner; /* NULL until it was reached, and its marker found right */
    time_t tried;              /* when it was not there: not again in the same second, each try may log a line */
    bool told;                 /* one log line is enough */
};

static enum lethe_err check_marker(struct door *door, struct lethe_store *store)
{
    struct lethe_buf bytes = {0};
    char expected[MARKER_MAX];
    enum lethe_err err = lethe_store_get(store, MARKER, 0, MARKER_MAX, &bytes, NULL);

    marker_text(&door->id, expected);
    if (!err && (bytes.len != strlen(expected) || memcmp(bytes.data, expected, bytes.len) != 0)) {
        err = LETHE_ERR_CONFLICT;
    }
    lethe_buf_release(&bytes);
    return err;
}

static enum lethe_err enter(struct door *door, struct lethe_store **out)
{
    struct lethe_store *store = NULL;
    time_t now = time(NULL);
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&door->lock);
    if (!door->inner && door->tried == now) {
        err = LETHE_ERR_UNREACHABLE;
    } else if (!door->inner) {
        door->tried = now;
        err = door->location ? lethe_store_open_with(door->location, false, &door->options, &store)
                             : LETHE_ERR_NOT_FOUND;
        err = err ? err : check_marker(door, store);
        if (!err) {
            door->inner = store;
            store = NULL;
        } else if (!door->told) {
            door->told = true;
            lethe_log(LETHE_LOG_WARN, "%s",
                      !door->location             ? "this device does not know where the second store is: give"
                                                    " --residuals STORE when mounting"
                      : err == LETHE_ERR_CONFLICT ? "the second store is another vault's: give the right one with"
                                                    " --residuals STORE"
                      : err == LETHE_ERR_NOT_FOUND
                          ? "the second store is not where it was (is the disk there?): its files cannot be read, and"
                            " nothing is published until it is"
                          : "the second store does not answer: its files cannot be read, and nothing is published until"
                            " it does");
        }
        lethe_store_close(store);
    }
    *out = door->inner;
    pthread_mutex_unlock(&door->lock);
    return err ? LETHE_ERR_UNREACHABLE : LETHE_OK;
}

static enum lethe_err door_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                               struct lethe_buf *out, struct lethe_store_version *version)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_get(store, key, offset, len, out, version);
}

static enum lethe_err door_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_put(store, key, bytes, len);
}

static enum lethe_err door_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                   const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_replace(store, key, bytes, len, expected, version);
}

static enum lethe_err door_remove(struct lethe_store *store, const char *key)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_remove(store, key);
}

static enum lethe_err door_list(struct lethe_store *store, const char *prefix,
                                enum lethe_err (*each)(void *context, const char *key,
                                                       const struct lethe_store_stat *stat),
                                void *context)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_list(store, prefix, each, context);
}

static enum lethe_err door_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    enum lethe_err err = enter((struct door *)store, &store);

    return err ? err : lethe_store_stat(store, key, out);
}

static void door_hurry(struct lethe_store *store)
{
    struct door *door = (struct door *)store;

    pthread_mutex_lock(&door->lock);
    if (door->inner) {
        lethe_store_hurry(door->inner);
    }
    pthread_mutex_unlock(&door->lock);
}

static void door_close(struct lethe_store *store)
{
    struct door *door = (struct door *)store;

    lethe_store_close(door->inner);
    pthread_mutex_destroy(&door->lock);
    free(door->location);
    free(door);
}

static const struct lethe_store_ops door_ops = {
    .get = door_get,
    .put = door_put,
    .replace = door_replace,
    .remove = door_remove,
    .list = door_list,
    .stat = door_stat,
    .hurry = door_hurry,
    .close = door_close,
};

static enum lethe_err door_new(const char *location, const struct lethe_store_options *options,
                               const struct lethe_id *id, struct lethe_store **out)
{
    struct door *door = calloc(1, sizeof *door);

    *out = NULL;
    if (!door) {
        return LETHE_ERR_NOMEM;
    }
    door->base.ops = &door_ops;
    door->options = *options;
    door->id = *id;
    pthread_mutex_init(&door->lock, NULL);
    if (location && !(door->location = strdup(location))) {
        door_close(&door->base);
        return LETHE_ERR_NOMEM;
    }
    *out = &door->base;
    return LETHE_OK;
}

/* --- the outermost --- */

struct second {
    struct lethe_store base;
    struct lethe_store *patient; /* retries over watch; owns it */
    struct lethe_store *watch;
};

static struct lethe_store *way(struct lethe_store *store)
{
    struct second *second = (struct second *)store;
    struct lethe_watch_status status;

    lethe_watch_status(second->watch, &status);
    return status.away && status.away_ms >= PATIENCE_MS ? second->watch : second->patient;
}

static enum lethe_err second_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                 struct lethe_buf *out, struct lethe_store_version *version)
{
    return lethe_store_get(way(store), key, offset, len, out, version);
}

static enum lethe_err second_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    return lethe_store_put(way(store), key, bytes, len);
}

static enum lethe_err second_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                     const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    return lethe_store_replace(way(store), key, bytes, len, expected, version);
}

static enum lethe_err second_remove(struct lethe_store *store, const char *key)
{
    return lethe_store_remove(way(store), key);
}

static enum lethe_err second_list(struct lethe_store *store, const char *prefix,
                                  enum lethe_err (*each)(void *context, const char *key,
                                                         const struct lethe_store_stat *stat),
                                  void *context)
{
    return lethe_store_list(way(store), prefix, each, context);
}

static enum lethe_err second_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    return lethe_store_stat(way(store), key, out);
}

static void second_hurry(struct lethe_store *store)
{
    lethe_store_hurry(((struct second *)store)->patient);
}

static void second_close(struct lethe_store *store)
{
    struct second *second = (struct second *)store;

    lethe_store_close(second->patient);
    free(second);
}

static const struct lethe_store_ops second_ops = {
    .get = second_get,
    .put = second_put,
    .replace = second_replace,
    .remove = second_remove,
    .list = second_list,
    .stat = second_stat,
    .hurry = second_hurry,
    .close = second_close,
};

enum lethe_err lethe_second_new(const char *location, const struct lethe_store_options *options,
                                const struct lethe_id *id, struct lethe_store **out, struct lethe_store **watch)
{
    struct second *second = calloc(1, sizeof *second);
    struct lethe_store *door = NULL;
    enum lethe_err err = second ? door_new(location, options, id, &door) : LETHE_ERR_NOMEM;

    *out = *watch = NULL;
    err = err ? err : lethe_watch_new(door, &second->watch);
    err = err ? err : lethe_store_retry_new(second->watch, PATIENCE_MS, &second->patient);
    if (err) {
        free(second);
        return err;
    }
    second->base.ops = &second_ops;
    *out = &second->base;
    *watch = second->watch;
    return LETHE_OK;
}

/* --- its first day --- */

static enum lethe_err found_one(void *context, const char *key, const struct lethe_store_stat *stat)
{
    (void)context;
    (void)key;
    (void)stat;
    return LETHE_ERR_EXISTS;
}

enum lethe_err lethe_second_init(const char *location, const struct lethe_store_options *options,
                                 const struct lethe_id *id)
{
    struct lethe_store *store = NULL;
    struct lethe_store_version version = {""};
    struct lethe_buf there = {0};
    char text[MARKER_MAX];
    enum lethe_err err = lethe_store_open_with(location, true, options, &store);

    if (err) {
        lethe_log(LETHE_LOG_ERROR, "the second store %s cannot be made: %s", location, lethe_err_str(err));
        return err;
    }
    err = lethe_store_get(store, MARKER, 0, MARKER_MAX, &there, &version);
    if (err == LETHE_ERR_NOT_FOUND) {
        version = (struct lethe_store_version){""};
        err = LETHE_OK;
    }
    /* A marker alone is what an init left that was cut off: it makes way. */
    if (!err) {
        err = lethe_store_list(store, "o/", found_one, NULL);
    }
    if (!err) {
        marker_text(id, text);
        err = lethe_store_replace(store, MARKER, (const uint8_t *)text, strlen(text), &version, &version);
    }
    if (err == LETHE_ERR_EXISTS) {
        lethe_log(LETHE_LOG_ERROR, "%s already holds a vault's objects: choose another place for the residuals",
                  location);
    } else if (err) {
        lethe_log(LETHE_LOG_ERROR, "the second store %s cannot be made: %s", location, lethe_err_str(err));
    }
    lethe_buf_release(&there);
    lethe_store_close(store);
    return err;
}

/* --- where it is --- */

static struct lethe_object_name place_name(const struct lethe_vault *vault)
{
    return (struct lethe_object_name){.kind = LETHE_OBJECT_DEVICE,
                                      .vault = lethe_vault_settings(vault)->id,
                                      .id = lethe_vault_settings(vault)->second};
}

enum lethe_err lethe_second_remember(const struct lethe_vault *vault, const char *state_dir, const char *location)
{
    struct lethe_object_name name = place_name(vault);
    struct lethe_buf sealed = {0};
    char path[4096];
    enum lethe_err err = lethe_object_seal(lethe_vault_master(vault), &name, true, (const uint8_t *)location,
                                           strlen(location), lethe_random_system(), &sealed);

    snprintf(path, sizeof path, "%s/second", state_dir);
    if (!err) {
        err = lethe_file_write_durably(path, sealed.data, sealed.len, 0600);
    }
    lethe_buf_release(&sealed);
    return err;
}

enum lethe_err lethe_second_recall(const struct lethe_vault *vault, const char *state_dir, char **location)
{
    struct lethe_object_name name = place_name(vault);
    struct lethe_buf sealed = {0}, text = {0};
    char path[4096];
    enum lethe_err err;

    *location = NULL;
    snprintf(path, sizeof path, "%s/second", state_dir);
    err = lethe_file_read(path, 2 * LOCATION_MAX, &sealed);
    err = err ? err : lethe_object_open(lethe_vault_master(vault), &name, true, sealed.data, sealed.len, &text);
    if (!err && !(*location = strndup((const char *)text.data, text.len))) {
        err = LETHE_ERR_NOMEM;
    }
    lethe_buf_release(&sealed);
    lethe_buf_release(&text);
    return err;
}

enum lethe_err lethe_second_absolute(const char *location, char **out)
{
    char here[PATH_MAX];
    char *real;

    *out = NULL;
    if (strstr(location, "://")) {
        *out = strdup(location);
        return *out ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    real = realpath(location, NULL);
    if (real) {
        *out = real;
        return LETHE_OK;
    }
    if (location[0] == '/') {
        *out = strdup(location);
        return *out ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    if (!getcwd(here, sizeof here)) {
        return lethe_err_from_errno(errno);
    }
    if (asprintf(out, "%s/%s", here, location) < 0) {
        *out = NULL;
        return LETHE_ERR_NOMEM;
    }
    return LETHE_OK;
}
