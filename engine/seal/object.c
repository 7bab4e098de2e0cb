/* SPDX-License-Identifier: MIT */
/*
 * Sealed objects.
 *
 *   object     = nonce[24] | ciphertext | tag[16]                    XChaCha20-Poly1305 (IETF)
 *   key        = BLAKE2b-256(key: root, u8 17 | "lethefs object v1" | vault[16] | u8 kind | id[16])
 *   associated = u32 format version (1) | u8 kind | u8 shape | u16 zero |
 *                vault[16] | id[16] | content[16] | u64 position     64 bytes, little-endian
 *   shape      = 0 plain:    the plaintext is the content
 *                1 padded:   the plaintext is body(Padmé(8 + len))
 *                2 picture:  the plaintext is body(C - 40), C the capacity of the smallest picture that holds
 *                            Padmé(8 + len) + 40 bytes (see noise_png.c)
 *   body(n)    = u64 len | content[len] | zeros up to n bytes in all
 *
 * A reader MUST refuse an object whose size is not the one that its inner length gives, or whose padding is
 * not zero. So a content has exactly one padded form, and the visible size depends on nothing but Padmé(8 +
 * len). Keys of single objects live on the stack for the length of one call, and are wiped.
 */
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

#define OBJECT_FORMAT 1
#define AAD_BYTES 64
#define LENGTH_BYTES 8
/* Far beyond any object (segments have 4 MiB): sizes below it never overflow any sum made here. */
#define CONTENT_MAX (UINT64_C(1) << 40)

enum shape { SHAPE_PLAIN = 0, SHAPE_PADDED = 1, SHAPE_PICTURE = 2 };

/* The plaintext's size, everything inside the seal counted. */
static uint64_t body_size(uint64_t len, enum shape shape)
{
    switch (shape) {
    case SHAPE_PLAIN:
        break;
    case SHAPE_PADDED:
        return lethe_padme(LENGTH_BYTES + len);
    case SHAPE_PICTURE:
        return lethe_noise_png_capacity(lethe_padme(LENGTH_BYTES + len) + LETHE_SEAL_OVERHEAD) -
               LETHE_SEAL_OVERHEAD;
    }
    return len;
}

static void object_key(const struct lethe_secret *root, const struct lethe_object_name *name,
                       uint8_t key[LETHE_KEY_BYTES])
{
    uint8_t kind = (uint8_t)name->kind;
    const struct lethe_part parts[3] = {
        {name->vault.bytes, sizeof name->vault.bytes}, {&kind, 1}, {name->id.bytes, sizeof name->id.bytes}};

    lethe_subkey(lethe_secret_bytes(root), "lethefs object v1", parts, 3, key);
}

static void associated_data(const struct lethe_object_name *name, enum shape shape, uint8_t aad[AAD_BYTES])
{
    lethe_set_u32(aad, OBJECT_FORMAT);
    aad[4] = (uint8_t)name->kind;
    aad[5] = (uint8_t)shape;
    lethe_set_u16(aad + 6, 0);
    memcpy(aad + 8, name->vault.bytes, 16);
    memcpy(aad + 24, name->id.bytes, 16);
    memcpy(aad + 40, name->content.bytes, 16);
    lethe_set_u64(aad + 56, name->position);
}

static bool kind_valid(enum lethe_object_kind kind)
{
    return (int)kind >= 1 && (int)kind <= 255;
}

static enum lethe_err seal(const struct lethe_secret *root, const struct lethe_object_name *name,
                           enum shape shape, const uint8_t *plaintext, size_t len,
                           const struct lethe_random *random, struct lethe_buf *out)
{
    uint8_t key[LETHE_KEY_BYTES], aad[AAD_BYTES];
    uint64_t body;
    uint8_t *nonce, *at;
    size_t start = out->len;
    enum lethe_err err;

    if (!kind_valid(name->kind) || len > CONTENT_MAX) {
        return LETHE_ERR_ARG;
    }
    body = body_size(len, shape);
    if (body > SIZE_MAX - LETHE_SEAL_OVERHEAD) {
        return LETHE_ERR_ARG;
    }
    err = lethe_buf_reserve(out, (size_t)body + LETHE_SEAL_OVERHEAD);
    if (err) {
        return err;
    }
    nonce = out->data + start;
    at = nonce + LETHE_NONCE_BYTES;
    random->fill(random->context, nonce, LETHE_NONCE_BYTES);
    if (shape == SHAPE_PLAIN) {
        if (len > 0) {
            memcpy(at, plaintext, len);
        }
    } else {
        lethe_set_u64(at, len);
        if (len > 0) {
            memcpy(at + LENGTH_BYTES, plaintext, len);
        }
        memset(at + LENGTH_BYTES + len, 0, (size_t)body - LENGTH_BYTES - len);
    }
    object_key(root, name, key);
    associated_data(name, shape, aad);
    lethe_aead_seal(key, nonce, aad, sizeof aad, at, (size_t)body, at);
    lethe_wipe(key, sizeof key);
    out->len = start + (size_t)body + LETHE_SEAL_OVERHEAD;
    return LETHE_OK;
}

/* Whether an authenticated body has the one form that its length allows. */
static bool body_valid(const uint8_t *body, size_t size, enum shape shape)
{
    uint64_t len;
    uint8_t rest = 0;

    if (size < LENGTH_BYTES) {
        return false;
    }
    len = lethe_get_u64(body);
    if (len > size - LENGTH_BYTES || body_size(len, shape) != size) {
        return false;
    }
    for (size_t i = LENGTH_BYTES + (size_t)len; i < size; i++) {
        rest |= body[i];
    }
    return rest == 0;
}

static enum lethe_err open_sealed(const struct lethe_secret *root, const struct lethe_object_name *name,
                                  enum shape shape, const uint8_t *sealed, size_t len, struct lethe_buf *out)
{
    uint8_t key[LETHE_KEY_BYTES], aad[AAD_BYTES];
    size_t start = out->len, body, content;
    uint8_t *at;
    enum lethe_err err;

    if (!kind_valid(name->kind)) {
        return LETHE_ERR_ARG;
    }
    if (len < LETHE_SEAL_OVERHEAD) {
        return LETHE_ERR_INTEGRITY;
    }
    body = len - LETHE_SEAL_OVERHEAD;
    err = lethe_buf_reserve(out, body);
    if (err) {
        return err;
    }
    at = out->data + start;
    object_key(root, name, key);
    associated_data(name, shape, aad);
    err = lethe_aead_open(key, sealed, aad, sizeof aad, sealed + LETHE_NONCE_BYTES, len - LETHE_NONCE_BYTES,
                          at);
    lethe_wipe(key, sizeof key);
    if (err) {
        return err;
    }
    if (shape == SHAPE_PLAIN) {
        out->len = start + body;
        return LETHE_OK;
    }
    if (!body_valid(at, body, shape)) {
        lethe_wipe(at, body);
        return LETHE_ERR_INTEGRITY;
    }
    content = (size_t)lethe_get_u64(at);
    memmove(at, at + LENGTH_BYTES, content);
    out->len = start + content;
    return LETHE_OK;
}

enum lethe_err lethe_object_seal(const struct lethe_secret *root, const struct lethe_object_name *name,
                                 bool padded, const uint8_t *plaintext, size_t len,
                                 const struct lethe_random *random, struct lethe_buf *out)
{
    return seal(root, name, padded ? SHAPE_PADDED : SHAPE_PLAIN, plaintext, len, random, out);
}

enum lethe_err lethe_object_open(const struct lethe_secret *root, const struct lethe_object_name *name,
                                 bool padded, const uint8_t *sealed, size_t len, struct lethe_buf *out)
{
    return open_sealed(root, name, padded ? SHAPE_PADDED : SHAPE_PLAIN, sealed, len, out);
}

uint64_t lethe_object_sealed_size(uint64_t len, bool padded)
{
    uint64_t body =
        len > UINT64_MAX - LENGTH_BYTES ? UINT64_MAX : body_size(len, padded ? SHAPE_PADDED : SHAPE_PLAIN);

    return body > UINT64_MAX - LETHE_SEAL_OVERHEAD ? UINT64_MAX : body + LETHE_SEAL_OVERHEAD;
}

enum lethe_err lethe_artifact_seal(const struct lethe_secret *root, const struct lethe_object_name *name,
                                   const uint8_t *plaintext, size_t len, const struct lethe_random *random,
                                   struct lethe_buf *out)
{
    struct lethe_buf sealed = {0};
    enum lethe_err err;

    if (lethe_noise_png_capacity(lethe_padme(LENGTH_BYTES + (uint64_t)len) + LETHE_SEAL_OVERHEAD) == 0) {
        return LETHE_ERR_ARG; /* no picture is that large */
    }
    err = seal(root, name, SHAPE_PICTURE, plaintext, len, random, &sealed);
    if (!err) {
        err = lethe_noise_png_wrap(sealed.data, sealed.len, out);
    }
    lethe_buf_release(&sealed);
    return err;
}

enum lethe_err lethe_artifact_open(const struct lethe_secret *root, const struct lethe_object_name *name,
                                   const uint8_t *png, size_t len, struct lethe_buf *out)
{
    struct lethe_buf sealed = {0};
    enum lethe_err err;

    err = lethe_noise_png_unwrap(png, len, &sealed);
    if (!err) {
        err = open_sealed(root, name, SHAPE_PICTURE, sealed.data, sealed.len, out);
    }
    lethe_buf_release(&sealed);
    return err;
}
