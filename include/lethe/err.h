/* SPDX-License-Identifier: MIT */
/*
 * Errors. One enumeration for the whole project: zero is success, and every function that can fail returns it
 * and must be checked. EIO could not tell "the tag is wrong" from "the format is newer" from "try again".
 * fs/errno.c alone maps it to errno, and fs/exit.c to the exit codes of the command line.
 */
#ifndef LETHE_ERR_H
#define LETHE_ERR_H

enum lethe_err {
    LETHE_OK = 0,
    LETHE_ERR_NOMEM,       /* memory, or a limit set on it, is exhausted */
    LETHE_ERR_ARG,         /* the caller's (or user's) argument is out of range */
    LETHE_ERR_IO,          /* the operating system refused a read or write (errno was logged) */
    LETHE_ERR_NOSPACE,     /* no room: disk, quota or cache limit */
    LETHE_ERR_FORMAT,      /* bytes that do not parse */
    LETHE_ERR_VERSION,     /* a format version newer than this program */
    LETHE_ERR_UNSUPPORTED, /* well formed, but something that this code has no way to do */
    LETHE_ERR_INTEGRITY,   /* a tag, hash, length or history that must match does not */
    LETHE_ERR_KEY,         /* wrong passphrase, device secret or key */
    LETHE_ERR_NOT_FOUND,   /* no such object, row or file */
    LETHE_ERR_EXISTS,      /* create-only, and it is there already */
    LETHE_ERR_CONFLICT,    /* a conditional write found another version; or the head was moved by another device */
    LETHE_ERR_BUSY,        /* locked by another process */
    LETHE_ERR_UNREACHABLE, /* the backend does not answer; trying again later may help */
    LETHE_ERR_DENIED,      /* the backend or the system refuses permission */
    LETHE_ERR_ABSENT,      /* the bytes are not on this device (they are in the vault) */
    LETHE_ERR_DIFFERS,     /* a reconstruction is not equal to the original */
    LETHE_ERR_CANCELLED,   /* stopped on request */
};

#define LETHE_MUST_CHECK __attribute__((warn_unused_result))

/* A short English sentence fragment for err, static storage; never NULL. */
const char *lethe_err_str(enum lethe_err err);

/* The error that stands for the system's errno value; LETHE_ERR_IO for what has no own name. Never LETHE_OK. */
enum lethe_err lethe_err_from_errno(int error_number);

#endif
