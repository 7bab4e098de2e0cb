/* SPDX-License-Identifier: MIT */
/* Access control lists: what passes the check can be used, and inheriting and chmod leave a valid list. */
#include <stdlib.h>
#include <string.h>

#include "fs/tree/acl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool extended, still;
    uint8_t *list;
    mode_t mode, given;

    /* The first two bytes are a mode. */
    if (size < 2 || !lethe_acl_check(data + 2, size - 2)) {
        return 0;
    }
    given = (mode_t)(data[0] | data[1] << 8) & 07777;
    list = malloc(size - 2);
    if (!list) {
        return 0;
    }
    memcpy(list, data + 2, size - 2);
    mode = lethe_acl_inherit(list, size - 2, given, &extended);
    if ((mode & ~given) != 0 || !lethe_acl_check(list, size - 2) ||
        lethe_acl_mode(list, size - 2, mode, &still) != mode || still != extended) {
        abort();
    }
    lethe_acl_chmod(list, size - 2, given);
    if (!lethe_acl_check(list, size - 2) || lethe_acl_mode(list, size - 2, given, &still) != given) {
        abort();
    }
    free(list);
    return 0;
}
