/* SPDX-License-Identifier: MIT */
/*
 * Group commit.
 *
 * The gate is a read-write lock that prefers its writer: once a commit asks for it, new operations wait, so
 * that a commit is never starved. One commit runs at a time (running). A commit covers the tickets that were
 * drawn before it took the gate; lethe_commit_wait draws a ticket, and whoever finds no commit running does
 * the next one for all. When it fails, each of the others tries again and so gets its own answer.
 *
 * Order: lethe_contents_flush without the gate; the gate alone; hooks.prepare; extra; lethe_contents_prepare;
 * lethe_db_commit under the database lock; the gate is let go; lethe_contents_committed.
 *
 * Lock order: gate, then the locks of contents and database. mutex is a leaf: nothing is called while it is
 * held.
 */
#include "fs/device/commit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "fs/device/db_private.h"
#include "lethe/log.h"

#define PERIOD_SECONDS 1
/* Pages in memory beyond which a commit is due at once, and beyond which operations wait for one. */
#define LOAD_DUE (LETHE_DB_CACHE_BYTES + (8u << 20))
#define LOAD_WAIT (LETHE_DB_CACHE_BYTES + (32u << 20))

struct lethe_committer {
    struct lethe_db *db;
    struct lethe_contents *contents;
    pthread_rwlock_t gate;
    pthread_t thread;

    pthread_mutex_t mutex; /* guards the rest but the atomics */
    pthread_cond_t due;    /* the thread: stop, early */
    pthread_cond_t done;   /* waiters: a commit has ended */
    struct lethe_commit_hooks hooks;
    uint64_t drawn;   /* the newest ticket */
    uint64_t covered; /* tickets up to this one are durable */
    bool running;
    bool stop;
    bool early;
    atomic_bool changed; /* since the last commit took the gate */
    atomic_bool warned;  /* the thread has logged that it cannot commit */
    atomic_bool told;    /* it was logged that the files are gone */
};

/* --- one commit --- */

struct extra {
    enum lethe_err (*call)(void *context);
    void *context;
    enum lethe_err err;
};

static bool is_damaged(const struct lethe_committer *committer)
{
    bool damaged;

    lethe_db_lock(committer->db);
    damaged = lethe_db_damaged(committer->db);
    lethe_db_unlock(committer->db);
    return damaged;
}

/* running is ours. *covers: the newest ticket that the commit stands for. */
static enum lethe_err commit_alone(struct lethe_committer *committer, const struct lethe_commit_hooks *hooks,
                                   struct extra *extra, uint64_t *covers)
{
    bool changed;
    enum lethe_err err = lethe_contents_flush(committer->contents);

    if (err) {
        return err;
    }
    pthread_rwlock_wrlock(&committer->gate);
    pthread_mutex_lock(&committer->mutex);
    *covers = committer->drawn;
    pthread_mutex_unlock(&committer->mutex);
    changed = atomic_exchange(&committer->changed, false);
    lethe_db_lock(committer->db);
    lethe_db_set_committing(committer->db, true);
    lethe_db_unlock(committer->db);
    if (hooks->prepare) {
        err = hooks->prepare(hooks->context);
    }
    if (!err && extra) {
        extra->err = extra->call(extra->context);
    }
    if (!err) {
        err = lethe_contents_prepare(committer->contents);
    }
    lethe_db_lock(committer->db);
    if (!err) {
        err = lethe_db_commit(committer->db);
    }
    lethe_db_set_committing(committer->db, false);
    lethe_db_unlock(committer->db);
    if (err && (changed || !is_damaged(committer))) {
        atomic_store(&committer->changed, true);
    }
    pthread_rwlock_unlock(&committer->gate);
    if (!err) {
        lethe_contents_committed(committer->contents);
    }
    return err;
}

/* With mutex held, and held again on return; it is let go in between. Waits for its turn. */
static enum lethe_err commit_in_turn(struct lethe_committer *committer, struct extra *extra)
{
    struct lethe_commit_hooks hooks;
    enum lethe_err err;
    uint64_t covers = 0;

    while (committer->running) {
        pthread_cond_wait(&committer->done, &committer->mutex);
    }
    committer->running = true;
    hooks = committer->hooks;
    pthread_mutex_unlock(&committer->mutex);
    err = commit_alone(committer, &hooks, extra, &covers);
    pthread_mutex_lock(&committer->mutex);
    committer->running = false;
    if (!err && committer->covered < covers) {
        committer->covered = covers;
    }
    pthread_cond_broadcast(&committer->done);
    return err;
}

enum lethe_err lethe_commit_wait(struct lethe_committer *committer)
{
    enum lethe_err err = LETHE_OK;
    uint64_t ticket;

    pthread_mutex_lock(&committer->mutex);
    ticket = ++committer->drawn;
    while (committer->running && committer->covered < ticket) {
        pthread_cond_wait(&committer->done, &committer->mutex);
    }
    if (committer->covered < ticket) {
        err = commit_in_turn(committer, NULL);
    }
    pthread_mutex_unlock(&committer->mutex);
    return err;
}

bool lethe_commit_is_in_vain(struct lethe_committer *committer)
{
    if (!lethe_db_is_gone(committer->db) && !lethe_contents_are_gone(committer->contents)) {
        return false;
    }
    if (!atomic_exchange(&committer->told, true)) {
        lethe_log(LETHE_LOG_ERROR, "the state folder of this mount was deleted: what is written lasts until the mount ends,"
                                   " and goes to the vault before; unmount, then run 'lethefs recover'");
    }
    return true;
}

enum lethe_err lethe_commit_promise(struct lethe_committer *committer)
{
    enum lethe_err err = lethe_commit_wait(committer);

    /* A damaged database takes nothing more. What it took before is as durable as it was, and it may be unmounted. */
    if (err && is_damaged(committer) && !atomic_load(&committer->changed)) {
        err = LETHE_OK;
    }
    return !err && lethe_commit_is_in_vain(committer) ? LETHE_ERR_IO : err;
}

enum lethe_err lethe_commit_with(struct lethe_committer *committer, enum lethe_err (*extra)(void *context),
                                 void *context)
{
    struct extra work = {.call = extra, .context = context};
    enum lethe_err err;

    pthread_mutex_lock(&committer->mutex);
    committer->drawn++;
    err = commit_in_turn(committer, extra ? &work : NULL);
    pthread_mutex_unlock(&committer->mutex);
    return err ? err : work.err;
}

/* --- the gate --- */

void lethe_gate_enter(struct lethe_committer *committer)
{
    if (lethe_db_load(committer->db) > LOAD_WAIT) {
        /* The transaction lives in memory. Should the commit fail, the database refuses what needs more. */
        (void)!lethe_commit_wait(committer);
    }
    pthread_rwlock_rdlock(&committer->gate);
}

static void hurry(struct lethe_committer *committer)
{
    pthread_mutex_lock(&committer->mutex);
    committer->early = true;
    pthread_cond_signal(&committer->due);
    pthread_mutex_unlock(&committer->mutex);
}

void lethe_gate_leave(struct lethe_committer *committer, bool changed)
{
    if (changed) {
        atomic_store(&committer->changed, true);
    }
    pthread_rwlock_unlock(&committer->gate);
    if (changed && lethe_db_load(committer->db) > LOAD_DUE) {
        hurry(committer);
    }
}

void lethe_commit_due(struct lethe_committer *committer)
{
    atomic_store(&committer->changed, true);
}

void lethe_commit_early(struct lethe_committer *committer)
{
    lethe_commit_due(committer);
    if (!atomic_load(&committer->warned)) {
        hurry(committer);
    }
}

/* --- the thread --- */

static void wait_period(struct lethe_committer *committer)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PERIOD_SECONDS;
    while (!committer->stop && !committer->early) {
        if (pthread_cond_timedwait(&committer->due, &committer->mutex, &until) != 0) {
            break;
        }
    }
    committer->early = false;
}

static void *commit_periodically(void *context)
{
    struct lethe_committer *committer = context;

    pthread_mutex_lock(&committer->mutex);
    while (!committer->stop) {
        enum lethe_err err = LETHE_OK;
        bool due;

        wait_period(committer);
        if (!committer->stop) {
            pthread_mutex_unlock(&committer->mutex);
            (void)lethe_contents_tidy(committer->contents); /* the rest in a second */
            (void)lethe_commit_is_in_vain(committer);
            pthread_mutex_lock(&committer->mutex);
        }
        due = !committer->stop && atomic_load(&committer->changed);
        if (due) {
            err = commit_in_turn(committer, NULL);
        }
        if (err && !atomic_exchange(&committer->warned, true)) {
            lethe_log(LETHE_LOG_ERROR, "changes cannot be made durable: %s", lethe_err_str(err));
        } else if (due && !err) {
            atomic_store(&committer->warned, false);
        }
    }
    pthread_mutex_unlock(&committer->mutex);
    return NULL;
}

static void release(struct lethe_committer *committer)
{
    pthread_cond_destroy(&committer->done);
    pthread_cond_destroy(&committer->due);
    pthread_mutex_destroy(&committer->mutex);
    pthread_rwlock_destroy(&committer->gate);
    free(committer);
}

enum lethe_err lethe_committer_new(struct lethe_db *db, struct lethe_contents *contents,
                                   struct lethe_committer **out)
{
    struct lethe_committer *committer = calloc(1, sizeof *committer);
    pthread_rwlockattr_t gate;
    pthread_condattr_t clock;

    *out = NULL;
    if (!committer) {
        return LETHE_ERR_NOMEM;
    }
    committer->db = db;
    committer->contents = contents;
    pthread_rwlockattr_init(&gate);
    pthread_rwlockattr_setkind_np(&gate, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&committer->gate, &gate);
    pthread_rwlockattr_destroy(&gate);
    pthread_mutex_init(&committer->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&committer->due, &clock);
    pthread_condattr_destroy(&clock);
    pthread_cond_init(&committer->done, NULL);
    if (pthread_create(&committer->thread, NULL, commit_periodically, committer) != 0) {
        lethe_log(LETHE_LOG_ERROR, "cannot start the commit thread");
        release(committer);
        return LETHE_ERR_NOMEM;
    }
    *out = committer;
    return LETHE_OK;
}

enum lethe_err lethe_committer_close(struct lethe_committer *committer)
{
    enum lethe_err err;

    if (!committer) {
        return LETHE_OK;
    }
    pthread_mutex_lock(&committer->mutex);
    committer->stop = true;
    pthread_cond_signal(&committer->due);
    pthread_mutex_unlock(&committer->mutex);
    pthread_join(committer->thread, NULL);
    err = lethe_commit_promise(committer);
    release(committer);
    return err;
}

void lethe_committer_set_hooks(struct lethe_committer *committer, const struct lethe_commit_hooks *hooks)
{
    pthread_mutex_lock(&committer->mutex);
    committer->hooks = *hooks;
    pthread_mutex_unlock(&committer->mutex);
}
