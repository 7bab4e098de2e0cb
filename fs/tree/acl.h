/* SPDX-License-Identifier: MIT */
/*
 * POSIX access control lists in the form of the attributes system.posix_acl_access and system.posix_acl_default: a
 * little-endian u32 of 2, then entries of tag (u16), permissions (u16) and id (u32), in the order of acl(5) (Linux:
 * include/uapi/linux/posix_acl_xattr.h). The rules are those of POSIX 1003.1e draft 17, sections 23.1.5 and 23.1.6.
 * Pure: no locks, no I/O. Every function but lethe_acl_check wants a list that passed it.
 */
#ifndef LETHE_FS_TREE_ACL_H
#define LETHE_FS_TREE_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define LETHE_ACL_ACCESS "system.posix_acl_access"
#define LETHE_ACL_DEFAULT "system.posix_acl_default"

/* Whether the name is one of the two. */
bool lethe_acl_is(const char *name);
/* Whether these bytes are a whole and valid list. */
bool lethe_acl_check(const uint8_t *acl, size_t len);
/* The mode of a file with this access list. *extended: the list says more than a mode can. */
mode_t lethe_acl_mode(const uint8_t *acl, size_t len, mode_t mode, bool *extended);
/* chmod: brings the list in line with the mode. */
void lethe_acl_chmod(uint8_t *acl, size_t len, mode_t mode);
/* Makes a default list the access list of something made with this mode, and returns what the mode becomes. */
mode_t lethe_acl_inherit(uint8_t *acl, size_t len, mode_t mode, bool *extended);

#endif
