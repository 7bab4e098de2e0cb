/* SPDX-License-Identifier: MIT */
/* A vault with a few objects in memory, whose keys a fuzzer has: what it parses behind the seal can be
 * anything. */
#ifndef LETHE_FUZZ_MEMORY_VAULT_H
#define LETHE_FUZZ_MEMORY_VAULT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/vault/vault.h"
#include "lethe/log.h"

#define MEMORY_OBJECTS 4

struct memory_store {
    struct lethe_store store;
    char keys[MEMORY_OBJECTS][LETHE_STORE_KEY_MAX + 1];
    struct lethe_buf objects[MEMORY_OBJECTS];
    size_t count;
};

static inline enum lethe_err memory_get(struct lethe_store *store, const char *key, uint64_t offset,
                                        uint64_t len, struct lethe_buf *out,
                                        struct lethe_store_version *version)
{
    const struct memory_store *memory = (const struct memory_store *)store;

    if (version) {
        memset(version, 0, sizeof *version);
    }
    for (size_t i = 0; i < memory->count; i++) {
        if (strcmp(memory->keys[i], key) == 0) {
            uint64_t size = memory->objects[i].len;
            uint64_t start = offset < size ? offset : size;

            lethe_buf_put(out, memory->objects[i].data + start,
                          (size_t)(len < size - start ? len : size - start));
            return lethe_buf_status(out);
        }
    }
    return LETHE_ERR_NOT_FOUND;
}

static inline enum lethe_err memory_put(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                        size_t len)
{
    struct memory_store *memory = (struct memory_store *)store;

    if (memory->count == MEMORY_OBJECTS) {
        return LETHE_ERR_NOSPACE;
    }
    strcpy(memory->keys[memory->count], key);
    lethe_buf_put(&memory->objects[memory->count++], bytes, len);
    return LETHE_OK;
}

static inline void memory_clear(struct memory_store *memory)
{
    for (size_t i = 0; i < memory->count; i++) {
        lethe_buf_release(&memory->objects[i]);
    }
    memory->count = 0;
}

static inline void memory_close(struct lethe_store *store)
{
    memory_clear((struct memory_store *)store);
}

static inline void memory_quiet(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

/* One a process; it lives until its end. */
static inline struct memory_store *memory_vault(struct lethe_vault **out)
{
    static const struct lethe_store_ops ops = {.get = memory_get, .put = memory_put, .close = memory_close};
    static struct memory_store memory = {.store = {.ops = &ops}};
    static const struct lethe_vault_settings settings = {.id = {{1}}, .strength = 2};
    static const struct lethe_kdf_cost cost = {.memory_mib = 16, .passes = 1};
    static const uint8_t json_hash[32], bytes[LETHE_KEY_BYTES] = {2};
    struct lethe_vault_file *file;
    struct lethe_secret *device, *master;

    lethe_log_set_sink(memory_quiet, NULL);
    if (lethe_seal_start() || lethe_secret_new(bytes, &device) ||
        lethe_vault_file_new(&settings, &cost, "phrase", 6, device, lethe_random_system(), &file, &master) ||
        lethe_vault_new(&memory.store, file, json_hash, master, device, NULL, out)) {
        abort();
    }
    return &memory;
}

#endif
