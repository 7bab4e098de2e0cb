/* SPDX-License-Identifier: MIT */
/* A store that cannot be written through: for whoever must leave a vault as it is. */
#include <stdlib.h>

#include "lethe/store.h"

struct read_only {
    struct lethe_store base;
    struct lethe_store *inner;
};

static struct lethe_store *inner_of(struct lethe_store *store)
{
    return ((struct read_only *)store)->inner;
}

static enum lethe_err read_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                               struct lethe_buf *out, struct lethe_store_version *version)
{
    return lethe_store_get(inner_of(store), key, offset, len, out, version);
}

static enum lethe_err read_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    (void)store;
    (void)key;
    (void)bytes;
    (void)len;
    return LETHE_ERR_DENIED;
}

static enum lethe_err read_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                   size_t len, const struct lethe_store_version *expected,
                                   struct lethe_store_version *version)
{
    (void)expected;
    (void)version;
    return read_put(store, key, bytes, len);
}

static enum lethe_err read_remove(struct lethe_store *store, const char *key)
{
    return read_put(store, key, NULL, 0);
}

static enum lethe_err read_list(struct lethe_store *store, const char *prefix,
                                enum lethe_err (*each)(void *context, const char *key,
                                                       const struct lethe_store_stat *stat),
                                void *context)
{
    return lethe_store_list(inner_of(store), prefix, each, context);
}

static enum lethe_err read_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    return lethe_store_stat(inner_of(store), key, out);
}

static void read_close(struct lethe_store *store)
{
    lethe_store_close(inner_of(store));
    free(store);
}

static const struct lethe_store_ops read_only_ops = {.get = read_get,
                                                     .put = read_put,
                                                     .replace = read_replace,
                                                     .remove = read_remove,
                                                     .list = read_list,
                                                     .stat = read_stat,
                                                     .close = read_close};

enum lethe_err lethe_store_read_only_new(struct lethe_store *inner, struct lethe_store **out)
{
    struct read_only *store = calloc(1, sizeof *store);

    *out = NULL;
    if (!store) {
        lethe_store_close(inner);
        return LETHE_ERR_NOMEM;
    }
    store->base.ops = &read_only_ops;
    store->inner = inner;
    *out = &store->base;
    return LETHE_OK;
}

bool lethe_store_is_read_only(const struct lethe_store *store)
{
    return store->ops == &read_only_ops;
}
