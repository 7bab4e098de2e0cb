/* SPDX-License-Identifier: MIT */
/* The one place where the project's errors become errno values, for programs that work in the mount. */
#ifndef LETHE_FS_ERRNO_H
#define LETHE_FS_ERRNO_H

#include "lethe/err.h"

/* A positive errno value; 0 for LETHE_OK. */
int lethe_errno(enum lethe_err err);
/*
 * The same for what happened to a file's bytes: a program that reads or writes expects EIO, ENOSPC, ENOMEM or
 * EINTR, and would take ENOENT or EACCES of the backend for something that it did wrong itself.
 */
int lethe_errno_of_bytes(enum lethe_err err);

#endif
