/* SPDX-License-Identifier: MIT */
/*
 * A session: one vault opened on this device, with everything that works on it. The mount runs in one; the commands
 * that need the keys or the tree (check, gc, passwd, recover, ...) open one for themselves when no mount holds it.
 * Closing commits what is open and stops all threads.
 */
#ifndef LETHE_FS_MOUNT_SESSION_H
#define LETHE_FS_MOUNT_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/tree/tree.h"
#include "fs/vault/publisher.h"
#include "fs/vault/restorer.h"
#include "fs/vault/sealer.h"
#include "fs/vault/vault.h"

/* A moment for at: the newest published epoch, replayed beside whatever is mounted (INT64_MAX is the device's own). */
#define LETHE_SESSION_NEWEST (INT64_MAX - 1)

/*
 * Whether a vault in a bucket is opened from what the device keeps of it (fs/mount/known.h) where it does not answer: the
 * publisher then compares it with what this device saw before it does anything. FORGET: no, and nothing is kept any more.
 */
enum lethe_session_offline { LETHE_OFFLINE_LEAVE, LETHE_OFFLINE_FORGET, LETHE_OFFLINE_KEEP };

struct lethe_session_options {
    const char *location;     /* of the vault */
    struct lethe_store_options store;
    const char *state_root;   /* NULL: $XDG_STATE_HOME/lethefs, or ~/.local/state/lethefs */
    const char *cache_root;   /* NULL: $XDG_CACHE_HOME/lethefs, or ~/.cache/lethefs */
    const char *passphrase;   /* borrowed during open only */
    size_t passphrase_len;
    uint64_t cache_size;      /* bytes; 0: 10 GiB, or a tenth of the disk when that is less */
    enum lethe_effort effort;
    unsigned epoch_ms;        /* 0: the default */
    unsigned timeout_ms;      /* how long a read waits for the vault; 0: 60 s */
    bool persistent;          /* a read for which the vault does not answer is tried again until then */
    bool (*interrupted)(void); /* see fs/vault/restorer.h; may be NULL */
    bool no_atime;            /* reading changes no access times, */
    bool no_dir_atime;        /* no folder's, */
    bool strict_atime;        /* or all, rather than as by relatime */
    bool publish;             /* start the publisher (a mount for writing) */
    bool diverged;            /* without publish: also a state that does not go on to what the vault shows */
    enum lethe_publisher_verify verify; /* what it looks at first */
    enum lethe_session_offline offline;
    bool take_over;           /* with publish: bind the vault to this device, where its store demands that */
    int64_t at;               /* a past moment, nanoseconds since 1970: read-only; INT64_MAX: the present */
    struct lethe_owner owner; /* of a new root directory */
    const char *residuals;    /* the second store of fidelity split; NULL: where this device remembers it */
    struct lethe_store_options residuals_store;
    bool degraded;            /* fidelity split, read-only, beside whatever is mounted: photos from artifacts alone */
    /* Puts another store around the backend (and takes it over); NULL: none. For tests that make it fail. */
    struct lethe_store *(*decorate)(void *context, struct lethe_store *store);
    void *decorate_context;
};

struct lethe_session {
    char *location;  /* of the vault, absolute */
    char *state_dir; /* of this vault on this device */
    char *cache_dir;
    char *scratch_dir; /* of a session in the past, removed at the end; else NULL */
    int lock_fd;       /* flock on state_dir/lock */
    bool unseen;       /* opened without the vault */
    struct lethe_vault *vault;
    struct lethe_store *watch; /* of the vault's store (fs/vault/watch.h), owned by it */
    struct lethe_store *second_watch; /* the same of the second store; NULL: there is none */
    char *second_location;            /* NULL: there is none, or it is not known here */
    struct lethe_secret *device_root; /* subkey of the master key for database and blocks */
    struct lethe_db *db;
    struct lethe_contents *contents;
    struct lethe_committer *committer;
    struct lethe_pool *pool;         /* for who waits: readers, status */
    struct lethe_pool *sealing_pool; /* with the priority of the sealer's threads */
    struct lethe_restorer *restorer;
    struct lethe_sealer *sealer;
    struct lethe_tree *tree;
    struct lethe_publisher *publisher; /* NULL when not publishing */
    /* Set by the mount while it serves: the bytes of this inode are others now (fidelity lossy). */
    void (*_Atomic changed)(void *context, uint64_t ino);
    void *changed_context; /* set before changed */
};

/*
 * Opens all of it. Errors have been logged in one line that names the remedy: LETHE_ERR_UNREACHABLE (no such vault, or
 * it does not answer), LETHE_ERR_KEY (passphrase, or no device secret here), LETHE_ERR_INTEGRITY, LETHE_ERR_CONFLICT
 * and LETHE_ERR_BUSY (locked by a mount, or bound to another device), ...
 */
enum lethe_err lethe_session_open(const struct lethe_session_options *options, struct lethe_session **out)
    LETHE_MUST_CHECK;
/* Commits and frees; the result of the last commit. NULL is fine. */
enum lethe_err lethe_session_close(struct lethe_session *session);

/* --- pieces that init and recover share (fs/mount/setup.c) --- */

/* What the name of a state that recover set aside has behind the vault's id, before the time. */
#define LETHE_SESSION_ASIDE ".before-"
/*
 * state_root or cache_root with its default, joined with the vault's id; *out is freed by the caller. A state_root that is
 * a state of the vault which was set aside is taken as it is: such a one is opened without publishing alone.
 */
enum lethe_err lethe_session_folder(const char *root, bool cache, const struct lethe_id *vault, char **out)
    LETHE_MUST_CHECK;
/* LETHE_ERR_ARG, logged, when the folder of state or cache lies in the vault: whoever steals that would have both. */
enum lethe_err lethe_session_apart(const char *folder, const char *location) LETHE_MUST_CHECK;
/* How long a command tries again before it says that a store does not answer. */
#define LETHE_SESSION_PATIENCE_MS 3000
/* Gets and parses vault.json, patiently. LETHE_ERR_UNREACHABLE when there is none; logged. */
enum lethe_err lethe_session_vault_file(struct lethe_store *store, const char *location, struct lethe_vault_file **file,
                                        uint8_t json_hash[32], struct lethe_store_version *version) LETHE_MUST_CHECK;
/*
 * vault.json must be the one that the head names, or a newer one whose writer was cut off before the head:
 * LETHE_ERR_INTEGRITY, logged.
 */
enum lethe_err lethe_session_check_file(struct lethe_vault *vault) LETHE_MUST_CHECK;
/* flock on state_dir/lock; LETHE_ERR_BUSY. */
enum lethe_err lethe_session_lock(const char *state_dir, int *fd) LETHE_MUST_CHECK;
enum lethe_err lethe_session_device_root(const struct lethe_secret *master, const struct lethe_id *vault,
                                         struct lethe_secret **out) LETHE_MUST_CHECK;
/* state_dir/writer: who this device is to a vault that is bound to one. Made when it is not there; no secret. */
enum lethe_err lethe_session_writer(const char *state_dir, struct lethe_id *out) LETHE_MUST_CHECK;
/* state_dir/device-secret. */
enum lethe_err lethe_session_device_secret(const char *state_dir, struct lethe_secret **out) LETHE_MUST_CHECK;

#endif
