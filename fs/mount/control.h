/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a mount, state_dir/control (mode 0600): how status, sync, inspect and umount --wait talk to the
 * daemon. A client finds it by the extended attribute user.lethefs.control of any path in the mount.
 *
 * One request a connection, one line: "status", "sync TIMEOUT_MS", "inspect INO", "artifact INO",
 * "preview INO", "gc KEEP_SECONDS", "verify TIMEOUT_MS" (the whole journal, then as sync).
 * The answer is JSON objects, one a line. All but the last have "progress": true. The last has "err" (enum lethe_err)
 * and, for artifact and preview, "bytes": that many bytes follow.
 */
#ifndef LETHE_FS_MOUNT_CONTROL_H
#define LETHE_FS_MOUNT_CONTROL_H

#include <jansson.h>

#include "fs/mount/session.h"

struct lethe_control;

/* Serves in a thread of its own, and one for each connection (at most 16). */
enum lethe_err lethe_control_new(struct lethe_session *session, struct lethe_control **out) LETHE_MUST_CHECK;
/* Takes the socket's name away, as who is about to leave does; NULL is nothing. */
void lethe_control_hide(struct lethe_control *control);
/* Stops the publisher, so that a running sync ends with LETHE_ERR_CANCELLED, and removes the socket. */
void lethe_control_free(struct lethe_control *control);

/*
 * The client's side. path: anything inside a mount. LETHE_ERR_NOT_FOUND when it is in no lethefs mount,
 * LETHE_ERR_UNREACHABLE when the daemon does not answer. progress (may be NULL) is called for each progress object.
 * *answer is the last object, owned by the caller; extra (may be NULL) receives the bytes behind it. The "err" of the
 * answer is returned.
 */
enum lethe_err lethe_control_call(const char *path, const char *request,
                                  void (*progress)(void *context, const json_t *object), void *context,
                                  json_t **answer, struct lethe_buf *extra) LETHE_MUST_CHECK;
/* The same with the state folder already known. */
enum lethe_err lethe_control_call_state(const char *state_dir, const char *request,
                                        void (*progress)(void *context, const json_t *object), void *context,
                                        json_t **answer, struct lethe_buf *extra) LETHE_MUST_CHECK;
/* Whether anybody answers soon. One that was killed leaves its socket behind. */
bool lethe_control_answers(const char *state_dir);

#endif
