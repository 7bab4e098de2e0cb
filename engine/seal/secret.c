/* SPDX-License-Identifier: MIT */
/*
 * Secrets in locked memory, and the derivation of one from another.
 *
 *   derive(parent, label, context)  = BLAKE2b-256(key: parent, u8 length of label | label | context)
 *   combine(a, b, label)            = BLAKE2b-256(key: a, u8 0 | u8 length of label | label | b)
 *
 * A label is never empty, so no derived secret is ever a combined one. Labels that begin with "lethefs
 * object" and "lethefs slot" belong to object.c and slot.c. A secret is constant from its making to its end:
 * threads share it.
 */
#include <assert.h>
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

struct lethe_secret {
    uint8_t bytes[LETHE_KEY_BYTES];
};

static const struct lethe_random system_random = {lethe_system_random, NULL};

enum lethe_err lethe_seal_start(void)
{
    return lethe_sodium_start();
}

const struct lethe_random *lethe_random_system(void)
{
    return &system_random;
}

enum lethe_err lethe_secret_new(const uint8_t bytes[LETHE_KEY_BYTES], struct lethe_secret **out)
{
    struct lethe_secret *secret = lethe_locked_alloc(sizeof *secret);

    *out = NULL;
    if (!secret) {
        return LETHE_ERR_NOMEM;
    }
    memcpy(secret->bytes, bytes, sizeof secret->bytes);
    *out = secret;
    return LETHE_OK;
}

enum lethe_err lethe_secret_random(const struct lethe_random *random, struct lethe_secret **out)
{
    struct lethe_secret *secret = lethe_locked_alloc(sizeof *secret);

    *out = NULL;
    if (!secret) {
        return LETHE_ERR_NOMEM;
    }
    random->fill(random->context, secret->bytes, sizeof secret->bytes);
    *out = secret;
    return LETHE_OK;
}

void lethe_secret_free(struct lethe_secret *secret)
{
    lethe_locked_free(secret);
}

const uint8_t *lethe_secret_bytes(const struct lethe_secret *secret)
{
    return secret->bytes;
}

void lethe_subkey(const uint8_t key[LETHE_KEY_BYTES], const char *label, const struct lethe_part *parts,
                  size_t count, uint8_t out[LETHE_KEY_BYTES])
{
    size_t label_len = strlen(label);
    uint8_t label_byte = (uint8_t)label_len;
    struct lethe_part all[2 + LETHE_SUBKEY_PARTS] = {{&label_byte, 1}, {label, label_len}};

    assert(label_len > 0 && label_len <= 255 && count <= LETHE_SUBKEY_PARTS);
    for (size_t i = 0; i < count; i++) {
        all[2 + i] = parts[i];
    }
    lethe_blake2b(key, all, 2 + count, out);
}

enum lethe_err lethe_secret_derive(const struct lethe_secret *parent, const char *label, const void *context,
                                   size_t context_len, struct lethe_secret **out)
{
    struct lethe_secret *secret;
    struct lethe_part part = {context, context_len};

    *out = NULL;
    if (label[0] == '\0' || strlen(label) > 255) {
        return LETHE_ERR_ARG;
    }
    secret = lethe_locked_alloc(sizeof *secret);
    if (!secret) {
        return LETHE_ERR_NOMEM;
    }
    lethe_subkey(parent->bytes, label, &part, 1, secret->bytes);
    *out = secret;
    return LETHE_OK;
}

enum lethe_err lethe_secret_combine(const struct lethe_secret *a, const struct lethe_secret *b,
                                    const char *label, struct lethe_secret **out)
{
    struct lethe_secret *secret;
    size_t label_len = strlen(label);
    uint8_t head[2] = {0, (uint8_t)label_len};
    struct lethe_part parts[3] = {{head, 2}, {label, label_len}, {b->bytes, sizeof b->bytes}};

    *out = NULL;
    if (label_len == 0 || label_len > 255) {
        return LETHE_ERR_ARG;
    }
    secret = lethe_locked_alloc(sizeof *secret);
    if (!secret) {
        return LETHE_ERR_NOMEM;
    }
    lethe_blake2b(a->bytes, parts, 3, secret->bytes);
    *out = secret;
    return LETHE_OK;
}

void lethe_hash(const void *bytes, size_t len, uint8_t out[32])
{
    struct lethe_part part = {bytes, len};

    lethe_blake2b(NULL, &part, 1, out);
}
