/* SPDX-License-Identifier: MIT */
#include "fs/vault/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "fs/vault/publish.h"
#include "fs/vault/record.h"
#include "lethe/log.h"

#define DEFAULT_INTERVAL_MS 5000
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define VERIFY_MS 10000 /* after so long, looking at the journal makes way for what is asked for */

struct lethe_publisher {
    struct lethe_publisher_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;  /* for the thread */
    pthread_cond_t moved; /* for those who wait in sync */
    bool met, refused; /* options.meet: it went well, or never will */
    bool stop;
    bool pressed, suggested;
    bool retry;        /* the back-off ends here */
    enum lethe_publisher_verify verify; /* what is still to be looked at */
    bool away;         /* the store did not answer to that */
    int64_t verify_since; /* when looking began; the thread's own */
    bool holds;        /* moves to the cache arena; the thread's own */
    uint64_t asked;    /* syncs asked for */
    uint64_t answered; /* the highest of them that is in the vault */
    uint64_t failed;   /* the highest of them that the last error concerns */
    struct lethe_publisher_status status;
};

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec after_ms(int64_t ms)
{
    int64_t at = clock_ms(CLOCK_MONOTONIC) + ms;

    return (struct timespec){.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
}

/* Whether a cut would find something: a changed tree, or files with a live view of their own. */
static bool has_activity(struct lethe_db *db)
{
    sqlite3_stmt *statement;
    int64_t from = 0;
    bool row = false;
    enum lethe_err err;

    lethe_db_lock(db);
    err = lethe_db_get_int(db, LETHE_CONFIG_TREE_SEQ, 0, &from);
    if (!err) {
        err = lethe_db_statement(db,
                                 "SELECT 1 WHERE EXISTS(SELECT 1 FROM changeset WHERE seq > ? AND tree IS NOT NULL)"
                                 " OR EXISTS(SELECT 1 FROM working)",
                                 &statement);
    }
    if (!err) {
        sqlite3_bind_int64(statement, 1, from);
        err = lethe_db_step(db, statement, &row);
        sqlite3_reset(statement);
    }
    lethe_db_unlock(db);
    return !err && row;
}

static bool many_bytes(const struct lethe_publisher *publisher)
{
    struct lethe_contents_usage usage;
    uint64_t limit = publisher->options.cut_bytes;

    lethe_contents_usage(publisher->options.contents, &usage);
    return usage.dirty >= (limit ? limit : usage.limit / 4);
}

static void count_damaged(struct lethe_publisher *publisher)
{
    uint64_t damaged;

    if (!lethe_record_count_damaged(publisher->options.db, &damaged)) {
        pthread_mutex_lock(&publisher->lock);
        publisher->status.damaged = damaged;
        pthread_mutex_unlock(&publisher->lock);
    }
}

/* Whether there is time to look at the journal. */
static bool may_look(void *context)
{
    struct lethe_publisher *publisher = context;
    bool go_on, waited;

    pthread_mutex_lock(&publisher->lock);
    waited = publisher->asked != publisher->answered || publisher->pressed || publisher->suggested;
    go_on = !publisher->stop && !(waited && publisher->verify != LETHE_VERIFY_FULLY &&
                                  clock_ms(CLOCK_MONOTONIC) - publisher->verify_since > VERIFY_MS);
    pthread_mutex_unlock(&publisher->lock);
    return go_on;
}

/* With the lock held, which is given away meanwhile. */
static void look_at_journal(struct lethe_publisher *publisher)
{
    enum lethe_publisher_verify verify = publisher->verify;
    enum lethe_err err;

    if (publisher->verify_since == 0) {
        publisher->verify_since = clock_ms(CLOCK_MONOTONIC);
    }
    pthread_mutex_unlock(&publisher->lock);
    err = lethe_epoch_verify(&publisher->options, verify == LETHE_VERIFY_FULLY, may_look, publisher);
    if (err == LETHE_ERR_INTEGRITY) {
        lethe_log(LETHE_LOG_WARN, "the vault's journal is damaged: the tree is written anew from what this device knows;"
                  " past moments before that are lost");
    }
    pthread_mutex_lock(&publisher->lock);
    if (err == LETHE_ERR_CANCELLED) {
        return; /* once more when there is time */
    }
    publisher->away = err == LETHE_ERR_UNREACHABLE;
    if (publisher->verify == verify && !publisher->away) {
        publisher->verify = LETHE_VERIFY_NOT;
    }
    if (err == LETHE_ERR_INTEGRITY) {
        publisher->status.journal_damaged = true;
        publisher->suggested = true;
    }
}

static bool wants_look(const struct lethe_publisher *publisher)
{
    return publisher->verify && !publisher->status.stopped && publisher->met && !publisher->away;
}

/*
 * Gets to know the vault, once, and looks at its journal where that is wanted: before anything is published, so that
 * what is asked for after lethe_publisher_verify is answered with the journal whole. With the lock held, which is
 * given away meanwhile.
 */
static enum lethe_err meet(struct lethe_publisher *publisher)
{
    if (!publisher->met) {
        enum lethe_err err;

        pthread_mutex_unlock(&publisher->lock);
        err = publisher->options.meet(publisher->options.context);
        pthread_mutex_lock(&publisher->lock);
        publisher->met = !err;
        publisher->refused = err && err != LETHE_ERR_UNREACHABLE && err != LETHE_ERR_CANCELLED && err != LETHE_ERR_NOMEM;
        if (err) {
            return err;
        }
    }
    if (wants_look(publisher)) {
        look_at_journal(publisher);
    }
    return LETHE_OK;
}

/* The tree's state is in the vault up to a cut that came after `asked` was read. */
static enum lethe_err publish_once(struct lethe_publisher *publisher, bool force, bool *cut_made)
{
    struct lethe_epoch epoch;
    bool anew = publisher->status.journal_damaged; /* this thread's own, but for who reads it */
    enum lethe_err err;

    *cut_made = false;
    err = lethe_epoch_pending(publisher->options.db, &epoch);
    if (err == LETHE_ERR_NOT_FOUND) {
        err = anew ? lethe_epoch_cut_anew(&publisher->options, force, &epoch)
                   : lethe_epoch_cut(&publisher->options, force, &epoch);
        *cut_made = err == LETHE_OK || err == LETHE_ERR_NOT_FOUND;
        if (err == LETHE_ERR_NOT_FOUND) {
            count_damaged(publisher);
            return LETHE_OK; /* nothing to publish: the vault is up to date */
        }
    }
    if (!err) {
        bool whole = epoch.snapshot != NULL; /* which publication takes */

        err = lethe_epoch_publish(&publisher->options, &epoch);
        if (!err) {
            count_damaged(publisher);
            pthread_mutex_lock(&publisher->lock);
            if (anew && whole) {
                publisher->status.journal_damaged = false;
                publisher->status.mended = epoch.n;
            }
            publisher->status.epoch = epoch.n;
            publisher->status.epoch_time = epoch.time;
            pthread_mutex_unlock(&publisher->lock);
        }
        lethe_epoch_release(&epoch);
    }
    return err;
}

static void note_result(struct lethe_publisher *publisher, enum lethe_err err)
{
    struct lethe_publisher_status *status = &publisher->status;

    if (err && !status->last_error) {
        status->error_since = clock_ms(CLOCK_REALTIME) * 1000000;
        if (err != LETHE_ERR_CANCELLED && err != LETHE_ERR_CONFLICT) {
            lethe_log(LETHE_LOG_WARN, "the vault cannot be brought up to date: %s; everything stays on this device"
                      " and is tried again", lethe_err_str(err));
        }
    }
    status->last_error = err;
    if (err == LETHE_ERR_CONFLICT || publisher->refused) {
        status->stopped = true;
    }
}

/* With the lock held. What is in the vault moves to the cache when nothing else is to be done, or space is low. */
static void let_moves(struct lethe_publisher *publisher, bool now)
{
    if (publisher->holds == now) {
        publisher->holds = !now;
        lethe_contents_hold_moves(publisher->options.contents, !now);
        if (now) {
            lethe_commit_due(publisher->options.committer);
        }
    }
}

static void *thread_main(void *argument)
{
    struct lethe_publisher *publisher = argument;
    unsigned interval = publisher->options.interval_ms ? publisher->options.interval_ms : DEFAULT_INTERVAL_MS;
    int64_t last_cut = clock_ms(CLOCK_MONOTONIC);
    unsigned backoff = 0;

    pthread_mutex_lock(&publisher->lock);
    while (!publisher->stop) {
        struct timespec until;
        uint64_t asked;
        bool pressed, suggested, due, cut_made;
        enum lethe_err err;

        if (wants_look(publisher)) {
            look_at_journal(publisher);
            if (publisher->stop) {
                break;
            }
        }
        until = after_ms(backoff ? backoff : 1000);
        asked = publisher->asked;
        pressed = publisher->pressed;
        suggested = publisher->suggested || publisher->status.journal_damaged;

        if (publisher->status.stopped || (asked == publisher->answered && !pressed && !suggested) || backoff) {
            /* A sync that was asked for while backing off is tried at once, once. */
            if (publisher->status.stopped || backoff == 0 || (asked == publisher->failed && !publisher->retry)) {
                let_moves(publisher, true);
                pthread_cond_timedwait(&publisher->wake, &publisher->lock, &until);
                if (publisher->stop) {
                    break;
                }
            }
            asked = publisher->asked;
            pressed = publisher->pressed;
            suggested = publisher->suggested || publisher->status.journal_damaged;
        }
        publisher->retry = false;
        if (publisher->status.stopped) {
            publisher->failed = asked;
            pthread_cond_broadcast(&publisher->moved);
            continue;
        }
        pthread_mutex_unlock(&publisher->lock);
        due = asked != publisher->answered || pressed || suggested || backoff || !publisher->met ||
              (clock_ms(CLOCK_MONOTONIC) - last_cut >= interval && has_activity(publisher->options.db)) ||
              many_bytes(publisher);
        if (!due) {
            pthread_mutex_lock(&publisher->lock);
            continue;
        }
        pthread_mutex_lock(&publisher->lock);
        publisher->pressed = publisher->suggested = false;
        publisher->status.busy = true;
        let_moves(publisher, false);
        cut_made = false;
        err = meet(publisher);
        if (!err) {
            bool force = asked != publisher->answered || pressed;

            pthread_mutex_unlock(&publisher->lock);
            err = publish_once(publisher, force, &cut_made);
            pthread_mutex_lock(&publisher->lock);
        }
        publisher->status.busy = false;
        note_result(publisher, err);
        if (err) {
            publisher->failed = asked;
            backoff = backoff ? backoff * 2 : BACKOFF_MIN_MS;
            backoff = backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff;
        } else {
            backoff = 0;
            last_cut = clock_ms(CLOCK_MONOTONIC);
            if (cut_made) { /* only a cut made after `asked` was read answers it */
                publisher->answered = asked;
            }
        }
        pthread_cond_broadcast(&publisher->moved);
    }
    pthread_mutex_unlock(&publisher->lock);
    return NULL;
}

enum lethe_err lethe_publisher_new(const struct lethe_publisher_options *options, struct lethe_publisher **out)
{
    struct lethe_publisher *publisher = calloc(1, sizeof *publisher);
    pthread_condattr_t monotonic;
    int64_t epoch = 0;
    enum lethe_err err;

    *out = NULL;
    if (!publisher) {
        return LETHE_ERR_NOMEM;
    }
    publisher->options = *options;
    publisher->met = options->meet == NULL;
    publisher->verify = options->verify;
    lethe_db_lock(options->db);
    err = lethe_db_get_int(options->db, LETHE_CONFIG_EPOCH, 0, &epoch);
    err = err ? err : lethe_db_get_int(options->db, LETHE_CONFIG_TIME, 0, &publisher->status.epoch_time);
    lethe_db_unlock(options->db);
    if (err) {
        free(publisher);
        return err;
    }
    publisher->status.epoch = (uint64_t)epoch;
    pthread_mutex_init(&publisher->lock, NULL);
    count_damaged(publisher);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&publisher->wake, &monotonic);
    pthread_cond_init(&publisher->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&publisher->thread, NULL, thread_main, publisher)) {
        pthread_cond_destroy(&publisher->wake);
        pthread_cond_destroy(&publisher->moved);
        pthread_mutex_destroy(&publisher->lock);
        free(publisher);
        return LETHE_ERR_NOMEM;
    }
    *out = publisher;
    return LETHE_OK;
}

void lethe_publisher_stop(struct lethe_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->stop = true;
    pthread_cond_broadcast(&publisher->wake);
    pthread_cond_broadcast(&publisher->moved);
    pthread_mutex_unlock(&publisher->lock);
    lethe_sealer_cancel(publisher->options.sealer, true);
}

void lethe_publisher_free(struct lethe_publisher *publisher)
{
    if (!publisher) {
        return;
    }
    lethe_publisher_stop(publisher);
    pthread_join(publisher->thread, NULL);
    pthread_cond_destroy(&publisher->wake);
    pthread_cond_destroy(&publisher->moved);
    pthread_mutex_destroy(&publisher->lock);
    free(publisher);
}

uint64_t lethe_publisher_ask(struct lethe_publisher *publisher)
{
    uint64_t ticket;

    pthread_mutex_lock(&publisher->lock);
    ticket = ++publisher->asked;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
    return ticket;
}

/* With the lock held: LETHE_ERR_BUSY while there is no answer. */
static enum lethe_err answer_to(const struct lethe_publisher *publisher, uint64_t ticket)
{
    enum lethe_err last = publisher->status.last_error;

    if (publisher->answered >= ticket) {
        return publisher->status.damaged > 0 ? LETHE_ERR_INTEGRITY : LETHE_OK;
    }
    if (publisher->stop) {
        return LETHE_ERR_CANCELLED;
    }
    if (publisher->failed >= ticket && last && last != LETHE_ERR_UNREACHABLE) {
        return last == LETHE_ERR_BUSY ? LETHE_ERR_IO : last; /* BUSY says something else here */
    }
    return LETHE_ERR_BUSY;
}

enum lethe_err lethe_publisher_await(struct lethe_publisher *publisher, uint64_t ticket, unsigned ms)
{
    struct timespec until = after_ms(ms);
    enum lethe_err err;
    int timed = 0;

    pthread_mutex_lock(&publisher->lock);
    while ((err = answer_to(publisher, ticket)) == LETHE_ERR_BUSY && timed != ETIMEDOUT) {
        timed = pthread_cond_timedwait(&publisher->moved, &publisher->lock, &until);
    }
    pthread_mutex_unlock(&publisher->lock);
    return err;
}

enum lethe_err lethe_publisher_sync(struct lethe_publisher *publisher, unsigned timeout_ms)
{
    uint64_t ticket = lethe_publisher_ask(publisher);
    int64_t end = clock_ms(CLOCK_MONOTONIC) + timeout_ms;
    enum lethe_err err;

    do {
        int64_t left = timeout_ms ? end - clock_ms(CLOCK_MONOTONIC) : 60000;

        err = lethe_publisher_await(publisher, ticket, left > 0 ? (unsigned)left : 0);
    } while (err == LETHE_ERR_BUSY && (!timeout_ms || clock_ms(CLOCK_MONOTONIC) < end));
    return err == LETHE_ERR_BUSY ? LETHE_ERR_UNREACHABLE : err;
}

void lethe_publisher_verify(struct lethe_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->verify = LETHE_VERIFY_FULLY;
    publisher->away = false;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
}

void lethe_publisher_retry(struct lethe_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->retry = true;
    publisher->away = false;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
}

void lethe_publisher_press(struct lethe_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->pressed = true;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
}

void lethe_publisher_suggest(struct lethe_publisher *publisher)
{
    pthread_mutex_lock(&publisher->lock);
    publisher->suggested = true;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
}

void lethe_publisher_status(struct lethe_publisher *publisher, struct lethe_publisher_status *out)
{
    struct lethe_sealer_progress progress;

    lethe_sealer_progress(publisher->options.sealer, &progress);
    pthread_mutex_lock(&publisher->lock);
    *out = publisher->status;
    pthread_mutex_unlock(&publisher->lock);
    out->sealing_total = progress.total;
    out->sealing_done = progress.done;
    out->original_bytes = progress.bytes;
    out->stored_bytes = progress.stored;
}
