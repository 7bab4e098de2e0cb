/* SPDX-License-Identifier: MIT */
#include "fs/drill/copy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change {
    char key[LETHE_STORE_KEY_MAX + 1];
    uint8_t *bytes; /* NULL: gone */
    size_t len;
};

struct drill_copy {
    struct lethe_store *base;
    struct change *changes;
    size_t count, room;
    enum drill_lie lie;
    char liar[LETHE_STORE_KEY_MAX + 1]; /* the key that is hidden, or made up */
};

struct view {
    struct lethe_store store;
    struct drill_copy *copy;
};

static struct drill_copy *copy_of(struct lethe_store *store)
{
    return ((struct view *)store)->copy;
}

static const struct change *change_of(const struct drill_copy *copy, const char *key)
{
    for (size_t i = 0; i < copy->count; i++) {
        if (strcmp(copy->changes[i].key, key) == 0) {
            return &copy->changes[i];
        }
    }
    return NULL;
}

static enum lethe_err view_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                               struct lethe_buf *out, struct lethe_store_version *version)
{
    const struct change *change = change_of(copy_of(store), key);
    size_t start, count;

    if (!change) {
        return lethe_store_get(copy_of(store)->base, key, offset, len, out, version);
    }
    if (!change->bytes) {
        return LETHE_ERR_NOT_FOUND;
    }
    start = offset < change->len ? (size_t)offset : change->len;
    count = len < change->len - start ? (size_t)len : change->len - start;
    lethe_buf_put(out, change->bytes + start, count);
    if (version) {
        snprintf(version->text, sizeof version->text, "changed");
    }
    return lethe_buf_status(out);
}

static enum lethe_err view_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct lethe_store_stat stat;

    if (lethe_store_stat(store, key, &stat) == LETHE_OK) {
        return LETHE_ERR_EXISTS;
    }
    return drill_copy_set(copy_of(store), key, bytes, len);
}

static enum lethe_err view_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                   size_t len, const struct lethe_store_version *expected,
                                   struct lethe_store_version *version)
{
    (void)expected;
    (void)version;
    return drill_copy_set(copy_of(store), key, bytes, len);
}

static enum lethe_err view_remove(struct lethe_store *store, const char *key)
{
    return drill_copy_set(copy_of(store), key, NULL, 0);
}

static enum lethe_err view_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct drill_copy *copy = copy_of(store);
    const struct change *change = change_of(copy, key);
    enum lethe_err err = LETHE_OK;

    if (!change) {
        err = lethe_store_stat(copy->base, key, out);
    } else if (!change->bytes) {
        return LETHE_ERR_NOT_FOUND;
    } else {
        *out = (struct lethe_store_stat){.size = change->len};
    }
    if (!err && copy->lie == DRILL_LIE_SIZES) {
        out->size++;
    }
    return err;
}

struct listing {
    struct lethe_store *store;
    enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat);
    void *context;
};

static enum lethe_err tell(const struct listing *listing, const char *key,
                           const struct lethe_store_stat *stat)
{
    const struct drill_copy *copy = copy_of(listing->store);
    struct lethe_store_stat told = *stat;

    if (copy->lie == DRILL_LIE_HIDE && strcmp(key, copy->liar) == 0) {
        return LETHE_OK;
    }
    told.size += copy->lie == DRILL_LIE_SIZES;
    return listing->each(listing->context, key, &told);
}

static enum lethe_err list_base(void *context, const char *key, const struct lethe_store_stat *stat)
{
    const struct listing *listing = context;

    return change_of(copy_of(listing->store), key) ? LETHE_OK : tell(listing, key, stat);
}

static enum lethe_err view_list(struct lethe_store *store, const char *prefix,
                                enum lethe_err (*each)(void *context, const char *key,
                                                       const struct lethe_store_stat *stat),
                                void *context)
{
    struct listing listing = {store, each, context};
    const struct lethe_store_stat made_up = {.size = 1};
    struct drill_copy *copy = copy_of(store);
    enum lethe_err err = lethe_store_list(copy->base, prefix, list_base, &listing);

    for (size_t i = 0; i < copy->count && !err; i++) {
        const struct lethe_store_stat stat = {.size = copy->changes[i].len};

        if (copy->changes[i].bytes && strncmp(copy->changes[i].key, prefix, strlen(prefix)) == 0) {
            err = tell(&listing, copy->changes[i].key, &stat);
        }
    }
    if (!err && copy->lie == DRILL_LIE_MADE_UP && strncmp(copy->liar, prefix, strlen(prefix)) == 0) {
        err = tell(&listing, copy->liar, &made_up);
    }
    return err;
}

static void view_close(struct lethe_store *store)
{
    free(store);
}

static const struct lethe_store_ops view_ops = {.get = view_get,
                                                .put = view_put,
                                                .replace = view_replace,
                                                .remove = view_remove,
                                                .list = view_list,
                                                .stat = view_stat,
                                                .close = view_close};

enum lethe_err drill_copy_new(struct lethe_store *base, struct drill_copy **out)
{
    *out = NULL;
    if (!lethe_store_is_read_only(base)) {
        return LETHE_ERR_DENIED;
    }
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return LETHE_ERR_NOMEM;
    }
    (*out)->base = base;
    return LETHE_OK;
}

void drill_copy_free(struct drill_copy *copy)
{
    if (copy) {
        drill_copy_reset(copy);
        free(copy->changes);
        free(copy);
    }
}

enum lethe_err drill_copy_store(struct drill_copy *copy, struct lethe_store **out)
{
    struct view *view = calloc(1, sizeof *view);

    *out = NULL;
    if (!view) {
        return LETHE_ERR_NOMEM;
    }
    view->store.ops = &view_ops;
    view->copy = copy;
    *out = &view->store;
    return LETHE_OK;
}

void drill_copy_reset(struct drill_copy *copy)
{
    for (size_t i = 0; i < copy->count; i++) {
        free(copy->changes[i].bytes);
    }
    copy->count = 0;
    copy->lie = DRILL_LIE_NONE;
}

enum lethe_err drill_copy_set(struct drill_copy *copy, const char *key, const uint8_t *bytes, size_t len)
{
    struct change *change = NULL;
    uint8_t *own = NULL;

    for (size_t i = 0; i < copy->count; i++) {
        if (strcmp(copy->changes[i].key, key) == 0) {
            change = &copy->changes[i];
        }
    }
    if (!change && copy->count == copy->room) {
        struct change *grown = realloc(copy->changes, (copy->room + 16) * sizeof *grown);

        if (!grown) {
            return LETHE_ERR_NOMEM;
        }
        copy->changes = grown;
        copy->room += 16;
    }
    if (bytes) {
        own = malloc(len ? len : 1);
        if (!own) {
            return LETHE_ERR_NOMEM;
        }
        memcpy(own, bytes, len);
    }
    if (!change) {
        change = &copy->changes[copy->count++];
        snprintf(change->key, sizeof change->key, "%s", key);
    } else {
        free(change->bytes);
    }
    change->bytes = own;
    change->len = len;
    return LETHE_OK;
}

enum lethe_err drill_copy_get(struct drill_copy *copy, const char *key, struct lethe_buf *out)
{
    struct view view = {.store = {.ops = &view_ops}, .copy = copy};

    lethe_buf_reset(out);
    return lethe_store_get(&view.store, key, 0, UINT64_MAX, out, NULL);
}

void drill_copy_lie(struct drill_copy *copy, enum drill_lie lie, const char *key)
{
    copy->lie = lie;
    snprintf(copy->liar, sizeof copy->liar, "%s", key);
}
