/* SPDX-License-Identifier: MIT */
/*
 * Sealed objects. First byte 0: any bytes, which nobody sealed, are refused. 1 or 2: an authentic padded body
 * or picture with anything inside is refused, or the one that sealing makes of its content. The layout is
 * written down again here, from lethefs-format(5).
 */
#include <stdlib.h>
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANY, PADDED, PICTURE };

static const struct lethe_object_name name = {.kind = LETHE_OBJECT_ARTIFACT, .vault = {{1}}, .id = {{2}}};

static struct lethe_secret *root;

static void seal_body(unsigned shape, const uint8_t *body, size_t len, struct lethe_buf *out)
{
    const uint8_t kind = (uint8_t)name.kind;
    const struct lethe_part parts[3] = {{name.vault.bytes, 16}, {&kind, 1}, {name.id.bytes, 16}};
    uint8_t key[LETHE_KEY_BYTES], associated[64] = {1, 0, 0, 0, kind, (uint8_t)shape};

    memcpy(associated + 8, name.vault.bytes, 16);
    memcpy(associated + 24, name.id.bytes, 16);
    if (lethe_buf_resize(out, len + LETHE_SEAL_OVERHEAD)) {
        abort();
    }
    lethe_subkey(lethe_secret_bytes(root), "lethefs object v1", parts, 3, key);
    lethe_aead_seal(key, out->data, associated, sizeof associated, body, len, out->data + LETHE_NONCE_BYTES);
}

static enum lethe_err open_object(unsigned shape, const uint8_t *sealed, size_t len, struct lethe_buf *out)
{
    return shape == PICTURE ? lethe_artifact_open(root, &name, sealed, len, out)
                            : lethe_object_open(root, &name, shape == PADDED, sealed, len, out);
}

static void fill_zero(void *context, void *out, size_t len)
{
    (void)context;
    memset(out, 0, len);
}

/* Both have a nonce of zeros: sealed again, an opened content gives the same bytes. */
static void try_body(unsigned shape, const uint8_t *body, size_t len)
{
    static const struct lethe_random zeros = {fill_zero, NULL};
    struct lethe_buf sealed = {0}, picture = {0}, out = {0}, again = {0};
    const struct lethe_buf *object = &sealed;
    enum lethe_err err;

    seal_body(shape, body, len, &sealed);
    if (shape == PICTURE) {
        if (lethe_noise_png_wrap(sealed.data, sealed.len, &picture)) {
            goto out; /* no picture has this size */
        }
        object = &picture;
    }
    err = open_object(shape, object->data, object->len, &out);
    if (err) {
        if (err != LETHE_ERR_INTEGRITY || out.len != 0) {
            abort();
        }
        goto out;
    }
    err = shape == PICTURE ? lethe_artifact_seal(root, &name, out.data, out.len, &zeros, &again)
                           : lethe_object_seal(root, &name, true, out.data, out.len, &zeros, &again);
    if (err || again.len != object->len || memcmp(again.data, object->data, again.len) != 0) {
        abort();
    }
out:
    lethe_buf_release(&sealed);
    lethe_buf_release(&picture);
    lethe_buf_release(&out);
    lethe_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[LETHE_KEY_BYTES] = {9};
    struct lethe_buf out = {0};

    if (!root && (lethe_seal_start() || lethe_secret_new(key, &root))) {
        abort();
    }
    if (size < 1) {
        return 0;
    }
    if (data[0] % 3 != ANY) {
        try_body(data[0] % 3, data + 1, size - 1);
        return 0;
    }
    for (unsigned shape = ANY; shape <= PICTURE; shape++) {
        if (open_object(shape, data + 1, size - 1, &out) != LETHE_ERR_INTEGRITY || out.len != 0) {
            abort();
        }
    }
    lethe_buf_release(&out);
    return 0;
}
