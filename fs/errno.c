/* SPDX-License-Identifier: MIT */
#include "fs/errno.h"

#include <errno.h>

int lethe_errno(enum lethe_err err)
{
    switch (err) {
    case LETHE_OK:
        return 0;
    case LETHE_ERR_NOMEM:
        return ENOMEM;
    case LETHE_ERR_ARG:
        return EINVAL;
    case LETHE_ERR_NOSPACE:
        return ENOSPC;
    case LETHE_ERR_UNSUPPORTED:
        return EOPNOTSUPP;
    case LETHE_ERR_NOT_FOUND:
        return ENOENT;
    case LETHE_ERR_EXISTS:
        return EEXIST;
    case LETHE_ERR_BUSY:
        return EBUSY;
    case LETHE_ERR_DENIED:
        return EACCES;
    case LETHE_ERR_CANCELLED:
        return EINTR;
    case LETHE_ERR_IO:
    case LETHE_ERR_FORMAT:
    case LETHE_ERR_VERSION:
    case LETHE_ERR_INTEGRITY:
    case LETHE_ERR_KEY:
    case LETHE_ERR_CONFLICT:
    case LETHE_ERR_UNREACHABLE:
    case LETHE_ERR_ABSENT:
    case LETHE_ERR_DIFFERS:
        return EIO;
    }
    return EIO; /* a value outside the enumeration */
}

int lethe_errno_of_bytes(enum lethe_err err)
{
    int number = lethe_errno(err);

    switch (number) {
    case 0:
    case ENOMEM:
    case ENOSPC:
    case EINTR:
        return number;
    default:
        return EIO;
    }
}
