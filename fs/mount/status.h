/* SPDX-License-Identifier: MIT */
/* What status and inspect tell, as JSON objects (jansson, owned by the caller; NULL when memory ran out). */
#ifndef LETHE_FS_MOUNT_STATUS_H
#define LETHE_FS_MOUNT_STATUS_H

#include <jansson.h>

#include "fs/mount/session.h"

/* Pending, published epoch, cache, counts by state and by how contents are stored, last error. */
json_t *lethe_status_session(struct lethe_session *session);
/* One file: state, kind, objects with sizes, PSNR of the artifact alone, bits a pixel kept and withheld. */
enum lethe_err lethe_status_file(struct lethe_session *session, uint64_t ino, json_t **out) LETHE_MUST_CHECK;
/* "dirty", "sealing" or "vaulted"; "artifact", "segments", "packed" or "none" (not in the vault yet, or empty). */
enum lethe_err lethe_status_words(struct lethe_session *session, uint64_t ino, const char **state, const char **kind,
                                  double *psnr) LETHE_MUST_CHECK;
/* The artifact of a photo as it lies in the vault, a PNG; appended to out. */
enum lethe_err lethe_status_artifact(struct lethe_session *session, uint64_t ino, struct lethe_buf *out)
    LETHE_MUST_CHECK;
/* The Decrypter's picture of a photo in the vault, as a PNG; appended to out. */
enum lethe_err lethe_status_preview(struct lethe_session *session, uint64_t ino, struct lethe_buf *out)
    LETHE_MUST_CHECK;

#endif
