/* SPDX-License-Identifier: MIT */
/* What every backend shares: the form of keys, checked before any implementation sees one, and the dispatch.
 */
#include "lethe/store.h"

#include <string.h>

static bool part_valid(const char *part, size_t len)
{
    if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = part[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-')) {
            return false;
        }
    }
    return true;
}

bool lethe_store_key_valid(const char *key)
{
    if (strnlen(key, LETHE_STORE_KEY_MAX + 1) > LETHE_STORE_KEY_MAX) {
        return false;
    }
    for (;;) {
        size_t len = strcspn(key, "/");

        if (!part_valid(key, len)) {
            return false;
        }
        if (key[len] == '\0') {
            return true;
        }
        key += len + 1;
    }
}

enum lethe_err lethe_store_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                               struct lethe_buf *out, struct lethe_store_version *version)
{
    size_t start = out->len;
    enum lethe_err err;

    if (version) {
        version->text[0] = '\0';
    }
    if (!lethe_store_key_valid(key)) {
        return LETHE_ERR_ARG;
    }
    err = store->ops->get(store, key, offset, len, out, version);
    if (err) {
        out->len = start;
    }
    return err;
}

enum lethe_err lethe_store_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    return lethe_store_key_valid(key) ? store->ops->put(store, key, bytes, len) : LETHE_ERR_ARG;
}

enum lethe_err lethe_store_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                   size_t len, const struct lethe_store_version *expected,
                                   struct lethe_store_version *version)
{
    struct lethe_store_version made = {{0}};
    enum lethe_err err;

    if (!lethe_store_key_valid(key) || !memchr(expected->text, '\0', sizeof expected->text)) {
        return LETHE_ERR_ARG;
    }
    err = store->ops->replace(store, key, bytes, len, expected, &made);
    if (!err && version) {
        *version = made;
    }
    return err;
}

enum lethe_err lethe_store_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                     size_t len)
{
    if (!lethe_store_key_valid(key)) {
        return LETHE_ERR_ARG;
    }
    return store->ops->overwrite ? store->ops->overwrite(store, key, bytes, len) : LETHE_ERR_UNSUPPORTED;
}

enum lethe_err lethe_store_remove(struct lethe_store *store, const char *key)
{
    return lethe_store_key_valid(key) ? store->ops->remove(store, key) : LETHE_ERR_ARG;
}

enum lethe_err lethe_store_list(struct lethe_store *store, const char *prefix,
                                enum lethe_err (*each)(void *context, const char *key,
                                                       const struct lethe_store_stat *stat),
                                void *context)
{
    return store->ops->list(store, prefix, each, context);
}

enum lethe_err lethe_store_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    return lethe_store_key_valid(key) ? store->ops->stat(store, key, out) : LETHE_ERR_ARG;
}

unsigned lethe_store_quiet_ms(struct lethe_store *store)
{
    return store->ops->quiet_ms ? store->ops->quiet_ms(store) : 0;
}

void lethe_store_hurry(struct lethe_store *store)
{
    if (store->ops->hurry) {
        store->ops->hurry(store);
    }
}

void lethe_store_close(struct lethe_store *store)
{
    if (store) {
        store->ops->close(store);
    }
}
