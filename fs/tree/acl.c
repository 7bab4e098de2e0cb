/* SPDX-License-Identifier: MIT */
#include "fs/tree/acl.h"

#include <string.h>

#include "lethe/bytes.h"

#define HEADER 4u
#define ENTRY 8u
#define VERSION 2u
#define NO_ID UINT32_MAX

/* In the order in which a list holds them. */
enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static uint16_t tag_of(const uint8_t *entry)
{
    return lethe_get_u16(entry);
}

static mode_t perm_of(const uint8_t *entry)
{
    return lethe_get_u16(entry + 2);
}

static void set_perm(uint8_t *entry, mode_t perm)
{
    lethe_set_u16(entry + 2, (uint16_t)(perm & 7));
}

bool lethe_acl_is(const char *name)
{
    return strcmp(name, LETHE_ACL_ACCESS) == 0 || strcmp(name, LETHE_ACL_DEFAULT) == 0;
}

bool lethe_acl_check(const uint8_t *acl, size_t len)
{
    unsigned seen = 0, last = 0;

    if (len < HEADER || (len - HEADER) % ENTRY != 0 || lethe_get_u32(acl) != VERSION) {
        return false;
    }
    for (size_t at = HEADER; at < len; at += ENTRY) {
        unsigned tag = tag_of(acl + at);
        bool named = tag == USER || tag == GROUP;

        if (tag == 0 || tag > OTHER || (tag & (tag - 1)) != 0 || tag < last || (!named && tag == last) ||
            perm_of(acl + at) > 7 || (named && lethe_get_u32(acl + at + 4) == NO_ID)) {
            return false;
        }
        last = tag;
        seen |= tag;
    }
    /* The three of the mode always; a mask where there are named entries. */
    return (seen & (USER_OBJ | GROUP_OBJ | OTHER)) == (USER_OBJ | GROUP_OBJ | OTHER) &&
           (!(seen & (USER | GROUP)) || (seen & MASK));
}

/* The entry with this tag, or NULL. */
static const uint8_t *find(const uint8_t *acl, size_t len, uint16_t tag)
{
    for (size_t at = HEADER; at < len; at += ENTRY) {
        if (tag_of(acl + at) == tag) {
            return acl + at;
        }
    }
    return NULL;
}

static uint8_t *find_to_change(uint8_t *acl, size_t len, uint16_t tag)
{
    const uint8_t *found = find(acl, len, tag);

    return found ? acl + (found - acl) : NULL;
}

/* What the group bits of a mode stand for: the mask where there is one. */
static uint16_t group_class(const uint8_t *acl, size_t len)
{
    return find(acl, len, MASK) ? MASK : GROUP_OBJ;
}

mode_t lethe_acl_mode(const uint8_t *acl, size_t len, mode_t mode, bool *extended)
{
    *extended = len > HEADER + 3 * ENTRY;
    return (mode & ~(mode_t)0777) | perm_of(find(acl, len, USER_OBJ)) << 6 |
           perm_of(find(acl, len, group_class(acl, len))) << 3 | perm_of(find(acl, len, OTHER));
}

void lethe_acl_chmod(uint8_t *acl, size_t len, mode_t mode)
{
    set_perm(find_to_change(acl, len, USER_OBJ), mode >> 6);
    set_perm(find_to_change(acl, len, group_class(acl, len)), mode >> 3);
    set_perm(find_to_change(acl, len, OTHER), mode);
}

mode_t lethe_acl_inherit(uint8_t *acl, size_t len, mode_t mode, bool *extended)
{
    /* Each class may do what the list and the mode of the call both allow. */
    lethe_acl_chmod(acl, len, mode & lethe_acl_mode(acl, len, 0, extended));
    return lethe_acl_mode(acl, len, mode, extended);
}
