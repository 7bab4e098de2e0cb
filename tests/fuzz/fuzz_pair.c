/* SPDX-License-Identifier: MIT */
/*
 * Patches of the shipped pair (three bytes of place, one of value), under a valid hash: it is refused, or
 * restores any latents without harm.
 */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct lethe_pair *pair;
    struct lethe_latents latents;
    struct lethe_ycc picture;
    size_t size;
    const uint8_t *shipped = lethe_pair_bytes(lethe_pair_shipped(0), &size);
    uint8_t *file = malloc(size);

    if (!file) {
        return 0;
    }
    memcpy(file, shipped, size);
    for (size_t i = 0; i + 4 <= len; i += 4) {
        file[(bytes[i] | (size_t)bytes[i + 1] << 8 | (size_t)bytes[i + 2] << 16) % size] = bytes[i + 3];
    }
    crypto_generichash(file + size - 32, 32, file, size - 32, NULL, 0);
    if (!lethe_pair_parse(file, size, &pair)) {
        if (lethe_latents_init(&latents, 24, 16, (unsigned)len % LETHE_RATES)) {
            abort();
        }
        for (size_t i = 0; i < 6 * (size_t)LETHE_LATENTS; i++) {
            latents.values[i] = (int8_t)(len ? bytes[i % len] : 0);
        }
        if (lethe_decrypter_run(pair, &latents, NULL, &picture)) {
            abort();
        }
        lethe_ycc_release(&picture);
        lethe_latents_release(&latents);
    }
    lethe_pair_free(pair);
    free(file);
    return 0;
}
