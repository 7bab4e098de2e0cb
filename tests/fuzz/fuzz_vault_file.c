/* SPDX-License-Identifier: MIT */
/* vault.json from a stranger: parsed or refused; what parses never passes for authentic. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lethe/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[LETHE_KEY_BYTES] = {1};
    static struct lethe_secret *master;
    struct lethe_vault_file *file;
    struct lethe_slot_info info;

    if (!master && (lethe_seal_start() || lethe_secret_new(key, &master))) {
        abort();
    }
    if (lethe_vault_file_parse(data, size, &file)) {
        return 0;
    }
    for (size_t i = 0; i < lethe_vault_file_slots(file); i++) {
        if (lethe_vault_file_slot(file, i, &info) || info.cost.memory_mib < 16 || info.cost.passes < 1) {
            abort();
        }
    }
    if (lethe_vault_file_verify(file, master) != LETHE_ERR_INTEGRITY) {
        abort();
    }
    lethe_vault_file_free(file);
    return 0;
}
