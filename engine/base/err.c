/* SPDX-License-Identifier: MIT */
#include "lethe/err.h"

#include <errno.h>

const char *lethe_err_str(enum lethe_err err)
{
    switch (err) {
    case LETHE_OK:
        return "done";
    case LETHE_ERR_NOMEM:
        return "out of memory";
    case LETHE_ERR_ARG:
        return "invalid argument";
    case LETHE_ERR_IO:
        return "input/output error";
    case LETHE_ERR_NOSPACE:
        return "no space left";
    case LETHE_ERR_FORMAT:
        return "malformed data";
    case LETHE_ERR_VERSION:
        return "written by a newer version of lethefs";
    case LETHE_ERR_UNSUPPORTED:
        return "not supported";
    case LETHE_ERR_INTEGRITY:
        return "integrity violation";
    case LETHE_ERR_KEY:
        return "wrong passphrase or key";
    case LETHE_ERR_NOT_FOUND:
        return "not found";
    case LETHE_ERR_EXISTS:
        return "already exists";
    case LETHE_ERR_CONFLICT:
        return "changed by another device";
    case LETHE_ERR_BUSY:
        return "in use by another process";
    case LETHE_ERR_UNREACHABLE:
        return "backend unreachable";
    case LETHE_ERR_DENIED:
        return "permission denied";
    case LETHE_ERR_ABSENT:
        return "not on this device";
    case LETHE_ERR_DIFFERS:
        return "the reconstruction differs from the original";
    case LETHE_ERR_CANCELLED:
        return "cancelled";
    }
    return "unknown error";
}

enum lethe_err lethe_err_from_errno(int error_number)
{
    switch (error_number) {
    case ENOMEM:
        return LETHE_ERR_NOMEM;
    case EINVAL:
    case ENAMETOOLONG:
        return LETHE_ERR_ARG;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LETHE_ERR_NOSPACE;
    case ENOENT:
    case ENOTDIR:
        return LETHE_ERR_NOT_FOUND;
    case EEXIST:
        return LETHE_ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return LETHE_ERR_DENIED;
    case EBUSY:
    case EWOULDBLOCK:
        return LETHE_ERR_BUSY;
    default:
        return LETHE_ERR_IO;
    }
}
