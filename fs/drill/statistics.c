/* SPDX-License-Identifier: MIT */
/*
 * Can the objects of the bucket be told from noise? Artifacts as the pixels of their pictures, other objects as they
 * are, and pairs of equal size xored, which cancels whatever fixed field or reused key stream they would share.
 */
#include <stdio.h>
#include <string.h>

#include "fs/drill/drill.h"
#include "fs/drill/noise.h"
#include "lethe/codec.h"

#define SAMPLES 200
#define BYTES_MAX (1u << 20)
#define LENGTH_BYTES 8

/*
 * Whether bytes begin as an artifact's payload that was never sealed, bare or with a length before it; then anybody
 * has the picture.
 */
static bool unsealed(const uint8_t *bytes, size_t len)
{
    static const size_t starts[] = {0, LETHE_NONCE_BYTES};
    struct lethe_id pair;

    if (!lethe_artifact_pair(bytes, len, &pair)) {
        return true;
    }
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        size_t at = starts[i] + LENGTH_BYTES;

        if (len > at) {
            uint64_t inner = lethe_get_u64(bytes + starts[i]);

            if (inner <= len - at && !lethe_artifact_pair(bytes + at, (size_t)inner, &pair)) {
                return true;
            }
        }
    }
    return false;
}

struct sample {
    struct lethe_buf bytes; /* of the one before, for xor */
    struct drill_noise noise, xored;
};

static enum lethe_err add(struct drill *drill, struct sample *sample, const uint8_t *bytes, size_t len, size_t width)
{
    enum lethe_err err = drill_noise_add(&sample->noise, bytes, len, width, &drill->random);

    if (!err && sample->bytes.len == len) {
        for (size_t i = 0; i < len; i++) {
            sample->bytes.data[i] ^= bytes[i];
        }
        err = drill_noise_add(&sample->xored, sample->bytes.data, len, width, &drill->random);
    }
    lethe_buf_reset(&sample->bytes);
    lethe_buf_put(&sample->bytes, bytes, len);
    return err ? err : lethe_buf_status(&sample->bytes);
}

/* Objects whose keys begin with prefix, evenly over the bucket, in the order of their sizes within neighbours. */
static enum lethe_err look(struct drill *drill, const char *prefix, struct sample *sample, size_t *bare, size_t *odd)
{
    struct lethe_buf object = {0}, pixels = {0};
    size_t all = 0, taken = 0, seen = 0;
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < drill->count; i++) {
        all += strncmp(drill->objects[i].key, prefix, strlen(prefix)) == 0;
    }
    for (size_t i = 0; i < drill->count && !err; i++) {
        if (strncmp(drill->objects[i].key, prefix, strlen(prefix)) != 0) {
            continue;
        }
        seen++;
        if (all > SAMPLES && seen * SAMPLES / all == (seen - 1) * SAMPLES / all) {
            continue;
        }
        drill_progress(drill, prefix[0] == 'a' ? "artifacts" : "objects", taken++, all < SAMPLES ? all : SAMPLES);
        lethe_buf_reset(&object);
        lethe_buf_reset(&pixels);
        err = lethe_store_get(drill->store, drill->objects[i].key, 0, prefix[0] == 'a' ? UINT64_MAX : BYTES_MAX, &object,
                              NULL);
        if (err == LETHE_ERR_NOT_FOUND) {
            err = LETHE_OK;
            continue;
        }
        if (err) {
            break;
        }
        if (prefix[0] != 'a') {
            err = add(drill, sample, object.data, object.len, 0);
        } else if (!lethe_noise_png_unwrap(object.data, object.len, &pixels)) {
            *bare += unsealed(pixels.data, pixels.len);
            err = add(drill, sample, pixels.data, pixels.len, lethe_get_u32be(object.data + 16));
        } else {
            ++*odd;
            err = drill_noise_add(&sample->noise, object.data, object.len, 0, &drill->random);
        }
    }
    lethe_buf_release(&object);
    lethe_buf_release(&pixels);
    return err;
}

enum lethe_err drill_statistics(struct drill *drill)
{
    static const char *const prefixes[2] = {"a/", "o/"}, *const names[2] = {"artifacts", "others"};
    json_t *statistics = json_object();
    size_t bare = 0, odd = 0;
    char detail[160];
    enum lethe_err err = LETHE_OK;

    for (int i = 0; i < 2 && !err; i++) {
        struct sample sample = {0};
        bool told, told_xored;
        json_t *one;

        err = look(drill, prefixes[i], &sample, &bare, &odd);
        one = drill_noise_json(&sample.noise, &told);
        (void)json_object_set_new(one, "xored", drill_noise_json(&sample.xored, &told_xored));
        (void)json_object_set_new(one, "told_from_noise", json_boolean(told || told_xored));
        (void)json_object_set_new(statistics, names[i], one);
        if (told || told_xored) {
            snprintf(detail, sizeof detail, "%s can be told from random bytes%s", names[i],
                     told ? "" : " when two of one size are xored");
            drill_weakness(drill, "no noise", detail);
        }
        drill_noise_release(&sample.noise);
        drill_noise_release(&sample.xored);
        lethe_buf_release(&sample.bytes);
    }
    if (bare) {
        snprintf(detail, sizeof detail, "%zu artifacts of the sample are not sealed: whoever has them has the pictures",
                 bare);
        drill_weakness(drill, "unsealed artifact", detail);
    }
    if (odd) {
        snprintf(detail, sizeof detail, "%zu artifacts of the sample are not the canonical picture of their bytes", odd);
        drill_weakness(drill, "wrapping", detail);
    }
    (void)json_object_set_new(drill->report, "statistics", statistics);
    return err;
}
