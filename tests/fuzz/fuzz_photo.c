/* SPDX-License-Identifier: MIT */
/*
 * The three parts of a photo, hostile: u8 choice, then for a restore two u16 lengths (artifact, residual) and
 * the parts one after the other. The residual's check of the artifact is made to fit, so that the fuzzer gets
 * past it; so is the pair's id.
 */
#include <stdlib.h>
#include <string.h>

#include "lethe/check.h"
#include "lethe/codec.h"

#define MOST 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bind(const struct lethe_pair *pair, uint8_t *artifact, size_t artifact_len, uint8_t *residual,
                 size_t residual_len)
{
    struct lethe_id id;
    bool found = false;

    if (lethe_artifact_pair(artifact, artifact_len, &id) == LETHE_OK) {
        for (size_t i = 0; i + sizeof id.bytes <= artifact_len && !found; i++) {
            if (memcmp(artifact + i, id.bytes, sizeof id.bytes) == 0) {
                memcpy(artifact + i, lethe_pair_id(pair)->bytes, sizeof id.bytes);
                found = true;
            }
        }
    }
    if (residual_len >= 10) {
        lethe_set_u64(residual + 2, lethe_check64(artifact, artifact_len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lethe_image_limits limits = {1u << 14, 1u << 20, 0};
    const struct lethe_pair *pair = lethe_pair_shipped(0);
    size_t artifact_len, residual_len;
    struct lethe_buf out = {0};
    struct lethe_raster picture;
    uint8_t *copy;

    if (size < 5 || !pair) {
        return 0;
    }
    if (data[0] & 1) {
        struct lethe_photo *photo;
        enum lethe_reason reason;

        if (lethe_photo_parse(data + 1, size - 1, &limits, &photo, &reason) == LETHE_OK) {
            lethe_photo_free(photo);
        }
        return 0;
    }
    artifact_len = lethe_get_u16(data + 1) % (size - 4);
    residual_len = lethe_get_u16(data + 3) % (size - 4 - artifact_len);
    copy = malloc(size);
    if (!copy) {
        return 0;
    }
    memcpy(copy, data + 5, size - 5);
    bind(pair, copy, artifact_len, copy + artifact_len, residual_len);
    if (lethe_photo_restore(pair, copy, artifact_len, copy + artifact_len, residual_len,
                            copy + artifact_len + residual_len, size - 5 - artifact_len - residual_len,
                            &limits, NULL, MOST, &out) == LETHE_OK &&
        out.len > MOST) {
        abort();
    }
    if (lethe_artifact_picture(pair, copy, artifact_len, &limits, NULL, &picture) == LETHE_OK) {
        lethe_raster_release(&picture);
    }
    lethe_buf_release(&out);
    free(copy);
    return 0;
}
