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
#define BACKOFF_PRESSED_MS 1000 /* while somebody waits for room */
#define VERIFY_MS 10000 /* after so long, looking at the journal makes way for what is asked for */

/*
 * An epoch whose contents are in the vault, on its way into the journal and the head while the next one is cut and sealed.
 * The publisher's thread alone starts it and lands it.
 */
struct flight {
    struct lethe_publisher *publisher;
    bool under_way;
    struct lethe_epoch epoch; /* the flight's own until it is done */
    uint64_t asked;           /* the syncs that it answers */
    bool whole;               /* it comes with a snapshot, */
    bool anew;                /* which mends the journal */
    pthread_t thread;
    bool done; /* guarded by the publisher's lock */
    enum lethe_err err; /* once done */
};

struct lethe_publisher {
    struct lethe_publisher_options options;
    struct flight flight;
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
    if (wants_look(publisher) && !publisher->flight.under_way) {
        look_at_journal(publisher);
    }
    return LETHE_OK;
}

/* What is true once the epoch is published. Without the lock. */
static enum lethe_err settle_down(struct lethe_publisher *publisher, const struct lethe_epoch *epoch, bool mended,
                                  uint64_t asked)
{
    enum lethe_err err = lethe_epoch_sweep(&publisher->options, epoch->n);

    if (err) {
        return err;
    }
    count_damaged(publisher);
    pthread_mutex_lock(&publisher->lock);
    if (mended) {
        publisher->status.journal_damaged = false;
        publisher->status.mended = epoch->n;
    }
    publisher->status.epoch = epoch->n;
    publisher->status.epoch_time = epoch->time;
    publisher->answered = asked > publisher->answered ? asked : publisher->answered;
    pthread_mutex_unlock(&publisher->lock);
    return LETHE_OK;
}

static void *fly(void *argument)
{
    struct flight *flight = argument;
    struct lethe_publisher *publisher = flight->publisher;
    enum lethe_err err = lethe_epoch_conclude(&publisher->options, &flight->epoch);

    pthread_mutex_lock(&publisher->lock);
    flight->err = err;
    flight->done = true;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
    return NULL;
}

/* Waits for what is on its way, if anything is. Without the lock. */
static enum lethe_err land(struct lethe_publisher *publisher)
{
    struct flight *flight = &publisher->flight;
    enum lethe_err err;

    if (!flight->under_way) {
        return LETHE_OK;
    }
    pthread_join(flight->thread, NULL);
    flight->under_way = false;
    err = flight->err ? flight->err : settle_down(publisher, &flight->epoch, flight->anew, flight->asked);
    lethe_epoch_release(&flight->epoch);
    return err;
}

/* Takes the sealed epoch the rest of its way. Without the lock; nothing else is on its way. */
static enum lethe_err take_off(struct lethe_publisher *publisher, struct lethe_epoch *epoch, bool anew, uint64_t asked)
{
    struct flight *flight = &publisher->flight;
    enum lethe_err err;

    *flight = (struct flight){.publisher = publisher, .epoch = *epoch, .asked = asked, .whole = epoch->snapshot != NULL};
    flight->anew = anew && flight->whole;
    *epoch = (struct lethe_epoch){0};
    if (pthread_create(&flight->thread, NULL, fly, flight) == 0) {
        flight->under_way = true;
        return LETHE_OK;
    }
    err = lethe_epoch_conclude(&publisher->options, &flight->epoch);
    err = err ? err : settle_down(publisher, &flight->epoch, flight->anew, asked);
    lethe_epoch_release(&flight->epoch);
    return err;
}

/* Nothing has changed since the last cut: all is in the vault once what is on its way is. */
static enum lethe_err confirm(struct lethe_publisher *publisher, uint64_t asked)
{
    enum lethe_err err = land(publisher);

    if (!err) {
        count_damaged(publisher);
        pthread_mutex_lock(&publisher->lock);
        publisher->answered = asked;
        pthread_mutex_unlock(&publisher->lock);
    }
    return err;
}

/*
 * An epoch that is pending, or else a new cut, which comes after `asked` was read and so answers it, is sealed and sent on
 * its way. An error may be that of the epoch before it. Without the lock.
 */
static enum lethe_err publish_once(struct lethe_publisher *publisher, bool force, uint64_t asked)
{
    struct flight *flight = &publisher->flight;
    bool anew = publisher->status.journal_damaged; /* this thread's own, but for who reads it */
    struct lethe_epoch epoch = {0};
    enum lethe_err err = LETHE_OK, before;

    if (anew || flight->whole) {
        err = land(publisher);
        anew = publisher->status.journal_damaged;
    }
    if (!err) {
        err = lethe_epoch_pending(publisher->options.db, flight->under_way ? flight->epoch.n : 0, &epoch);
    }
    if (!err) {
        asked = 0; /* it was cut before */
    } else if (err == LETHE_ERR_NOT_FOUND) {
        err = anew ? lethe_epoch_cut_anew(&publisher->options, force, &epoch)
                   : lethe_epoch_cut(&publisher->options, force, &epoch);
        if (err == LETHE_ERR_NOT_FOUND) {
            return confirm(publisher, asked);
        }
    }
    err = err ? err : lethe_epoch_seal(&publisher->options, &epoch);
    before = land(publisher);
    err = before ? before : err;
    err = err ? err : take_off(publisher, &epoch, anew, asked);
    lethe_epoch_release(&epoch);
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

/* With the lock held. Whether there are syncs that no cut has taken up. */
static bool is_asked(const struct lethe_publisher *publisher, uint64_t asked)
{
    const struct flight *flight = &publisher->flight;

    return asked != publisher->answered && !(flight->under_way && flight->asked == asked);
}

/* With the lock held. */
static bool is_suggested(const struct lethe_publisher *publisher)
{
    const struct flight *flight = &publisher->flight;

    return publisher->suggested || (publisher->status.journal_damaged && !(flight->under_way && flight->anew));
}

/* With the lock held. Until the back-off ends, or there is what was not tried yet. */
static void back_off(struct lethe_publisher *publisher, unsigned ms)
{
    const struct flight *flight = &publisher->flight;
    int64_t from = clock_ms(CLOCK_MONOTONIC), at = from;

    while (!publisher->stop && !publisher->retry && publisher->asked == publisher->failed &&
           !(flight->under_way && flight->done)) {
        int64_t left = (publisher->pressed && ms > BACKOFF_PRESSED_MS ? BACKOFF_PRESSED_MS : ms) - (at - from);
        struct timespec until = after_ms(left);

        if (left <= 0) {
            return;
        }
        pthread_cond_timedwait(&publisher->wake, &publisher->lock, &until);
        at = clock_ms(CLOCK_MONOTONIC);
    }
}

/* With the lock held. Until there may be something to do; the stop and what has landed are others' to see. */
static void rest(struct lethe_publisher *publisher, unsigned backoff)
{
    const struct flight *flight = &publisher->flight;
    struct timespec until = after_ms(backoff ? backoff : 1000);
    bool idle = !is_asked(publisher, publisher->asked) && !publisher->pressed && !is_suggested(publisher);

    /* A sync that was asked for while backing off is tried at once, once. */
    if (publisher->status.stopped || (backoff == 0 && idle) ||
        (backoff && publisher->asked == publisher->failed && !publisher->retry)) {
        if (flight->under_way && flight->done) {
            return;
        }
        if (!flight->under_way) {
            let_moves(publisher, true);
        }
        if (backoff && !publisher->status.stopped) {
            back_off(publisher, backoff);
        } else {
            pthread_cond_timedwait(&publisher->wake, &publisher->lock, &until);
        }
    }
}

/* With the lock held. */
static void note_error(struct lethe_publisher *publisher, enum lethe_err err, uint64_t asked, unsigned *backoff)
{
    note_result(publisher, err);
    publisher->failed = asked;
    *backoff = *backoff ? *backoff * 2 : BACKOFF_MIN_MS;
    *backoff = *backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : *backoff;
}

static void *thread_main(void *argument)
{
    struct lethe_publisher *publisher = argument;
    unsigned interval = publisher->options.interval_ms ? publisher->options.interval_ms : DEFAULT_INTERVAL_MS;
    int64_t last_cut = clock_ms(CLOCK_MONOTONIC);
    unsigned backoff = 0;

    pthread_mutex_lock(&publisher->lock);
    while (!publisher->stop) {
        uint64_t asked;
        bool due, force, landed;
        enum lethe_err err;

        if (wants_look(publisher) && !publisher->flight.under_way) {
            look_at_journal(publisher);
            if (publisher->stop) {
                break;
            }
        }
        rest(publisher, backoff);
        if (publisher->stop) {
            break;
        }
        asked = publisher->asked;
        publisher->retry = false;
        if (publisher->status.stopped) {
            publisher->failed = asked;
            pthread_cond_broadcast(&publisher->moved);
            continue;
        }
        force = is_asked(publisher, asked) || publisher->pressed;
        due = force || is_suggested(publisher) || backoff || !publisher->met;
        landed = publisher->flight.under_way && (publisher->flight.done || wants_look(publisher));
        pthread_mutex_unlock(&publisher->lock);
        due = due ||
              (clock_ms(CLOCK_MONOTONIC) - last_cut >= interval && has_activity(publisher->options.db)) ||
              many_bytes(publisher);
        err = landed ? land(publisher) : LETHE_OK;
        pthread_mutex_lock(&publisher->lock);
        if (!landed && !due) {
            continue;
        }
        if (due && !err) {
            publisher->pressed = publisher->suggested = false;
            publisher->status.busy = true;
            let_moves(publisher, false);
            err = meet(publisher);
            if (!err) {
                pthread_mutex_unlock(&publisher->lock);
                err = publish_once(publisher, force, asked);
                pthread_mutex_lock(&publisher->lock);
                last_cut = clock_ms(CLOCK_MONOTONIC);
            }
        }
        publisher->status.busy = publisher->flight.under_way;
        if (err) {
            note_error(publisher, err, asked, &backoff);
        } else {
            backoff = 0;
            if (!publisher->flight.under_way) {
                note_result(publisher, LETHE_OK);
            }
        }
        pthread_cond_broadcast(&publisher->moved);
    }
    pthread_mutex_unlock(&publisher->lock);
    (void)!land(publisher); /* else the device goes on from there at the next mount */
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

bool lethe_publisher_press(struct lethe_publisher *publisher)
{
    struct lethe_sealer_progress progress;
    bool well;

    lethe_sealer_progress(publisher->options.sealer, &progress);
    pthread_mutex_lock(&publisher->lock);
    publisher->pressed = true;
    well = publisher->status.busy && !publisher->status.last_error;
    pthread_cond_broadcast(&publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
    return well && progress.done < progress.total;
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
