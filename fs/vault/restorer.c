/* SPDX-License-Identifier: MIT */
/*
 * Threads: flights run in detached threads, bounded in number; those ahead of need are fewer, and only so many of them
 * use the processor at once. restorer->lock guards the list of flights and everything in them but what the thread of a
 * flight alone touches; nothing is called while it is held.
 */
#include "fs/vault/restorer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/spares.h"
#include "fs/vault/restore.h"
#include "fs/vault/watch.h"
#include "lethe/log.h"

#define SEGMENT (4u << 20)
#define FLIGHTS 64u  /* at once */
#define AHEAD 16u    /* of these, ahead of being asked for */
#define WAITERS 96u  /* beyond, nobody waits for a store that is away */
#define LOOK_MS 200  /* between looks at what nobody signals: interruption, the store's health */

/* Under way: the part of a content that a key names. */
struct flight {
    struct lethe_restorer *restorer;
    struct lethe_id content;
    uint64_t from, to;    /* of a content in segments */
    uint64_t segment;     /* the key; 0 for contents that come whole */
    uint64_t ready;       /* what lies before this offset, from the beginning of the flight's part, can be read already */
    bool urgent;          /* somebody waits */
    bool ahead;           /* begun before anybody did */
    bool done;
    enum lethe_err err;
    unsigned references;
    struct flight *next;  /* while it is not done */
};

struct lethe_restorer {
    struct lethe_restorer_options options;
    unsigned decoders; /* flights ahead that may use the processor at once */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct flight *flights;
    unsigned threads, ahead, decoding, waiters;
    bool stop;
    struct lethe_restorer_status status; /* but asked */
    atomic_uint_fast64_t asked;
};

enum lethe_err lethe_restorer_new(const struct lethe_restorer_options *options, struct lethe_restorer **out)
{
    struct lethe_restorer *restorer = calloc(1, sizeof *restorer);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_condattr_t monotonic;

    *out = restorer;
    if (!restorer) {
        return LETHE_ERR_NOMEM;
    }
    restorer->options = *options;
    restorer->options.timeout_ms = options->timeout_ms ? options->timeout_ms : LETHE_TIMEOUT_MS;
    restorer->decoders = online < 1 ? 1 : (unsigned)online;
    pthread_mutex_init(&restorer->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&restorer->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return LETHE_OK;
}

void lethe_restorer_stop(struct lethe_restorer *restorer)
{
    pthread_mutex_lock(&restorer->lock);
    restorer->stop = true;
    pthread_cond_broadcast(&restorer->moved);
    pthread_mutex_unlock(&restorer->lock);
}

void lethe_restorer_drain(struct lethe_restorer *restorer)
{
    lethe_restorer_stop(restorer);
    pthread_mutex_lock(&restorer->lock);
    while (restorer->threads > 0) {
        pthread_cond_wait(&restorer->moved, &restorer->lock);
    }
    pthread_mutex_unlock(&restorer->lock);
}

void lethe_restorer_free(struct lethe_restorer *restorer)
{
    if (restorer) {
        lethe_restorer_drain(restorer);
        pthread_cond_destroy(&restorer->moved);
        pthread_mutex_destroy(&restorer->lock);
        free(restorer);
    }
}

/* Of the stores together: one that is away is enough. */
static struct lethe_watch_status health_of(const struct lethe_restorer *restorer)
{
    struct lethe_watch_status health = {0}, second = {0};

    if (restorer->options.watch) {
        lethe_watch_status(restorer->options.watch, &health);
    }
    if (restorer->options.second) {
        lethe_watch_status(restorer->options.second, &second);
    }
    health.answers += second.answers;
    health.failures += second.failures;
    health.away |= second.away;
    health.away_ms = health.away_ms > second.away_ms ? health.away_ms : second.away_ms;
    return health;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- one flight --- */

static bool is_urgent(struct flight *flight)
{
    bool urgent;

    pthread_mutex_lock(&flight->restorer->lock);
    urgent = flight->urgent;
    pthread_mutex_unlock(&flight->restorer->lock);
    return urgent;
}

static enum lethe_err cache(struct flight *flight, struct lethe_content *content, uint64_t offset,
                            const uint8_t *bytes, size_t len)
{
    struct lethe_committer *committer = flight->restorer->options.committer;
    enum lethe_err err;

    if (committer) {
        lethe_gate_enter(committer);
    }
    err = lethe_content_fill(content, offset, bytes, len);
    if (committer) {
        lethe_gate_leave(committer, true);
    }
    return err;
}

/* What is there up to this offset goes to who waits for it. */
static void note_ready(struct flight *flight, uint64_t ready)
{
    pthread_mutex_lock(&flight->restorer->lock);
    flight->ready = ready;
    pthread_cond_broadcast(&flight->restorer->moved);
    pthread_mutex_unlock(&flight->restorer->lock);
}

/*
 * Lends the bytes to who waits for them, and meanwhile puts them into the cache; where that has no room (it may be full of
 * what is not in the vault yet, which only reading lets go there), they stay lent if somebody does wait. Empties bytes.
 */
static enum lethe_err fill(struct flight *flight, struct lethe_content *content, uint64_t offset,
                           struct lethe_buf *bytes)
{
    struct lethe_lent *lent;
    const uint8_t *data;
    size_t len;
    enum lethe_err err, filled;

    if (bytes->len == 0) {
        return LETHE_OK;
    }
    err = lethe_content_lend(content, offset, bytes, &lent);
    if (err) {
        return err;
    }
    data = lethe_lent_bytes(lent, &len);
    if (offset <= flight->from || offset <= flight->ready) { /* no gap before it; nobody else changes either */
        note_ready(flight, offset + len);
    }
    filled = cache(flight, content, offset, data, len);
    if (filled && filled != LETHE_ERR_ARG && is_urgent(flight)) {
        lethe_content_lent(content, lent, false, true);
        return LETHE_OK;
    }
    lethe_content_lent(content, lent, !filled, !filled);
    return filled;
}

/* One run of zeros between segments; zeros become holes in the store. */
static enum lethe_err fill_zeros(struct flight *flight, struct lethe_content *content, uint64_t from, uint64_t to)
{
    struct lethe_buf zeros = {0};
    enum lethe_err err = LETHE_OK;

    while (from < to && !err) {
        uint64_t len = to - from < SEGMENT ? to - from : SEGMENT;

        err = lethe_buf_resize(&zeros, (size_t)len);
        if (!err) {
            err = fill(flight, content, from, &zeros);
        }
        from += len;
    }
    lethe_buf_release(&zeros);
    return err;
}

/* Brings the pieces that touch the flight's range, and the zeros between them. */
static enum lethe_err bring_segments(struct flight *flight, struct lethe_content *content,
                                     const struct lethe_record *record)
{
    struct lethe_spares *spares = lethe_contents_spares(flight->restorer->options.contents);
    struct lethe_buf bytes = {0};
    enum lethe_err err = LETHE_OK;
    uint64_t at = flight->from;

    for (size_t i = 0; i < record->count && !err; i++) {
        const struct lethe_piece *piece = &record->pieces[i];
        uint64_t end = piece->start + piece->length;

        if (end <= flight->from || piece->start >= flight->to) {
            continue;
        }
        err = fill_zeros(flight, content, at, piece->start);
        if (!err) {
            lethe_spares_take(spares, &bytes);
            err = lethe_restore_piece(flight->restorer->options.vault, piece, &bytes);
        }
        if (!err) {
            err = fill(flight, content, piece->start, &bytes);
        }
        lethe_spares_give(spares, &bytes);
        at = end;
    }
    if (!err) {
        err = fill_zeros(flight, content, at, flight->to);
    }
    return err;
}

/* A turn at the processor: at once for what somebody waits for. Returns whether one of the turns was taken. */
static bool take_turn(struct flight *flight)
{
    struct lethe_restorer *restorer = flight->restorer;
    bool taken;

    pthread_mutex_lock(&restorer->lock);
    while (!flight->urgent && !restorer->stop && restorer->decoding >= restorer->decoders) {
        pthread_cond_wait(&restorer->moved, &restorer->lock);
    }
    taken = !flight->urgent;
    restorer->decoding += taken;
    pthread_mutex_unlock(&restorer->lock);
    return taken;
}

static void give_turn(struct lethe_restorer *restorer)
{
    pthread_mutex_lock(&restorer->lock);
    restorer->decoding--;
    pthread_cond_broadcast(&restorer->moved);
    pthread_mutex_unlock(&restorer->lock);
}

/* A photo on its way into the store. */
struct arrival {
    struct flight *flight;
    struct lethe_content *content;
    uint64_t stored; /* bytes from its beginning, in whole blocks */
};

/* What is there of a photo goes to who waits for it, while the rest is decoded. What finds no room waits for the rest. */
static void on_ready(void *context, const uint8_t *bytes, size_t len)
{
    struct arrival *arrival = context;
    struct lethe_restorer *restorer = arrival->flight->restorer;
    uint64_t whole = len / LETHE_BLOCK_BYTES * LETHE_BLOCK_BYTES;

    if (whole <= arrival->stored ||
        cache(arrival->flight, arrival->content, arrival->stored, bytes + arrival->stored,
              (size_t)(whole - arrival->stored))) {
        return;
    }
    pthread_mutex_lock(&restorer->lock);
    restorer->status.early += arrival->stored == 0;
    pthread_mutex_unlock(&restorer->lock);
    note_ready(arrival->flight, whole);
    arrival->stored = whole;
}

static enum lethe_err bring_photo(struct flight *flight, struct lethe_content *content,
                                  const struct lethe_record *record)
{
    const struct lethe_restorer_options *options = &flight->restorer->options;
    struct lethe_restore_parts parts = {0};
    struct arrival arrival = {.flight = flight, .content = content};
    const struct lethe_photo_watch watch = {on_ready, &arrival};
    struct lethe_buf bytes = {0};
    enum lethe_err err = options->degraded ? lethe_restore_alone(options->vault, record, options->pool, &bytes)
                                           : lethe_restore_fetch(options->vault, record, &parts);

    if (!err && !options->degraded) {
        bool turn = take_turn(flight);

        err = lethe_restore_assemble(options->vault, record, &parts, options->pool, &watch, &bytes);
        if (turn) {
            give_turn(flight->restorer);
        }
    }
    if (!err) { /* what is stored already is skipped there */
        err = fill(flight, content, 0, &bytes);
    }
    lethe_restore_parts_release(&parts);
    lethe_buf_release(&bytes);
    return err;
}

/* Whether the content's pieces lie elsewhere by now: what a collection moved, it may have removed where it was. */
static bool has_moved(struct lethe_db *db, const struct lethe_record *record)
{
    struct lethe_record now = {0};
    bool moved;

    if (lethe_record_load(db, &record->content, &now)) {
        return false;
    }
    moved = now.count != record->count;
    for (size_t i = 0; i < record->count && !moved; i++) {
        moved = !lethe_id_equal(&now.pieces[i].object, &record->pieces[i].object);
    }
    lethe_record_release(&now);
    return moved;
}

static enum lethe_err bring_once(struct flight *flight, bool *moved)
{
    const struct lethe_restorer_options *options = &flight->restorer->options;
    struct lethe_record record = {0};
    struct lethe_content *content = NULL;
    enum lethe_err err = lethe_record_load(options->db, &flight->content, &record);

    *moved = false;
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "a file's content is named but not recorded in the vault: %s", lethe_err_str(err));
        return err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_INTEGRITY : err;
    }
    err = lethe_content_get(options->contents, &flight->content, record.size, &content);
    if (!err) {
        flight->to = flight->to < record.size ? flight->to : record.size;
        err = record.kind == LETHE_RECORD_PHOTO ? bring_photo(flight, content, &record)
                                                : bring_segments(flight, content, &record);
    }
    if (err == LETHE_ERR_FORMAT || err == LETHE_ERR_UNSUPPORTED) {
        err = LETHE_ERR_INTEGRITY;
    }
    *moved = err == LETHE_ERR_INTEGRITY && has_moved(options->db, &record);
    lethe_content_put(content);
    lethe_record_release(&record);
    return err;
}

static enum lethe_err bring(struct flight *flight)
{
    bool moved;
    enum lethe_err err = bring_once(flight, &moved);

    return moved ? bring_once(flight, &moved) : err;
}

/* --- flights --- all with the lock held --- */

static void unref(struct flight *flight)
{
    if (--flight->references == 0) {
        free(flight);
    }
}

static void *fly(void *argument)
{
    struct flight *flight = argument;
    struct lethe_restorer *restorer = flight->restorer;
    enum lethe_err err = bring(flight);

    pthread_mutex_lock(&restorer->lock);
    for (struct flight **at = &restorer->flights; *at; at = &(*at)->next) {
        if (*at == flight) {
            *at = flight->next;
            break;
        }
    }
    flight->done = true;
    flight->err = err;
    restorer->threads--;
    restorer->ahead -= flight->ahead;
    unref(flight);
    pthread_cond_broadcast(&restorer->moved);
    pthread_mutex_unlock(&restorer->lock);
    return NULL;
}

static struct flight *find(struct lethe_restorer *restorer, const struct lethe_id *content, uint64_t segment)
{
    struct flight *flight = restorer->flights;

    while (flight && (flight->segment != segment || !lethe_id_equal(&flight->content, content))) {
        flight = flight->next;
    }
    return flight;
}

/* The new flight has one reference more, the caller's, unless it is ahead. NULL: no memory, or no thread. */
static struct flight *start(struct lethe_restorer *restorer, const struct lethe_id *content, uint64_t segment,
                            uint64_t from, bool ahead)
{
    struct flight *flight = malloc(sizeof *flight);
    pthread_attr_t detached;
    pthread_t thread;
    int failed;

    if (!flight) {
        return NULL;
    }
    *flight = (struct flight){.restorer = restorer,
                              .content = *content,
                              .segment = segment,
                              .from = from,
                              .to = (from / SEGMENT + 1) * SEGMENT,
                              .urgent = !ahead,
                              .ahead = ahead,
                              .references = ahead ? 1 : 2,
                              .next = restorer->flights};
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &detached, fly, flight);
    pthread_attr_destroy(&detached);
    if (failed) {
        free(flight);
        return NULL;
    }
    restorer->flights = flight;
    restorer->threads++;
    restorer->ahead += ahead;
    return flight;
}

/* --- waiting --- */

/* What a hydration waits with. */
struct wait {
    struct lethe_restorer *restorer;
    uint64_t deadline; /* ms */
    uint64_t answers, failures; /* of the store, when the wait began */
    bool away;         /* and whether it had been away for as long as one waits */
};

/* Whether to go on waiting; LETHE_OK is yes. Without the lock. */
static enum lethe_err patience(const struct wait *wait)
{
    const struct lethe_restorer_options *options = &wait->restorer->options;
    struct lethe_watch_status health;

    if (options->interrupted && options->interrupted()) {
        return LETHE_ERR_CANCELLED;
    }
    if (now_ms() >= wait->deadline) {
        if (options->watch && !options->second) { /* of two, nobody knows which kept silent */
            lethe_watch_waited(options->watch, wait->answers, options->timeout_ms);
        }
        return LETHE_ERR_UNREACHABLE;
    }
    if (wait->away) {
        health = health_of(wait->restorer);
        if (health.away && health.failures > wait->failures) {
            return LETHE_ERR_UNREACHABLE; /* tried once more, in vain */
        }
    }
    return LETHE_OK;
}

/* Waits for something to move, or until it is time to look around. The lock is held, but for the look. */
static enum lethe_err look_around(struct wait *wait)
{
    struct lethe_restorer *restorer = wait->restorer;
    uint64_t now = now_ms(), look = now + LOOK_MS, at = look < wait->deadline ? look : wait->deadline;
    struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};
    enum lethe_err err;

    if (pthread_cond_timedwait(&restorer->moved, &restorer->lock, &until) != ETIMEDOUT) {
        return LETHE_OK;
    }
    pthread_mutex_unlock(&restorer->lock);
    err = patience(wait);
    pthread_mutex_lock(&restorer->lock);
    return err;
}

static void begin_wait(struct lethe_restorer *restorer, struct wait *wait)
{
    struct lethe_watch_status health = health_of(restorer);

    *wait = (struct wait){.restorer = restorer,
                          .deadline = now_ms() + restorer->options.timeout_ms,
                          .answers = health.answers,
                          .failures = health.failures,
                          .away = health.away && health.away_ms >= restorer->options.timeout_ms};
}

/* Until the byte at offset is there. The lock is held. */
static enum lethe_err wait_for(struct wait *wait, const struct lethe_id *content, uint64_t segment, uint64_t from,
                               uint64_t offset)
{
    struct lethe_restorer *restorer = wait->restorer;
    struct flight *flight = NULL;
    bool joined = false, gone = false; /* gone: it was there before, and is not */
    enum lethe_err err = LETHE_OK;

    while (!err) {
        if (restorer->stop) {
            err = LETHE_ERR_UNREACHABLE;
            break;
        }
        if (!flight && (flight = find(restorer, content, segment)) != NULL) {
            joined = true;
            gone = flight->ready > offset;
            restorer->status.joined += flight->ahead && !flight->urgent;
            flight->references++;
            flight->urgent = true;
            pthread_cond_broadcast(&restorer->moved);
        } else if (!flight && restorer->threads < FLIGHTS) {
            flight = start(restorer, content, segment, from, false);
            joined = gone = false;
            if (!flight) {
                err = LETHE_ERR_NOMEM;
                break;
            }
        }
        if (flight && !flight->done && !gone && flight->ready > offset) {
            break;
        }
        if (flight && flight->done) {
            enum lethe_err result = flight->err;

            unref(flight);
            flight = NULL;
            /* One that others began may have failed for what it was begun for: it is tried again for this. */
            if (!result || (!joined && (result != LETHE_ERR_UNREACHABLE || !restorer->options.persistent))) {
                return result;
            }
            pthread_mutex_unlock(&restorer->lock);
            err = patience(wait);
            pthread_mutex_lock(&restorer->lock);
        }
        if (!err) {
            err = look_around(wait);
        }
    }
    if (flight) {
        unref(flight);
    }
    return err;
}

/* What is fetched together: the whole of it, or the segment that holds the offset. */
static enum lethe_err key_of(struct lethe_restorer *restorer, const struct lethe_id *content, uint64_t offset,
                             uint64_t *segment, uint64_t *from)
{
    enum lethe_record_kind kind;
    enum lethe_err err = lethe_record_kind(restorer->options.db, content, &kind);

    if (err == LETHE_ERR_NOT_FOUND) {
        lethe_log(LETHE_LOG_ERROR, "a file's content is named but not recorded in the vault");
        return LETHE_ERR_INTEGRITY;
    }
    *segment = kind == LETHE_RECORD_SEGMENTS ? offset / SEGMENT : 0;
    *from = kind == LETHE_RECORD_SEGMENTS ? offset / LETHE_BLOCK_BYTES * LETHE_BLOCK_BYTES : 0;
    return err;
}

enum lethe_err lethe_restorer_hydrate(struct lethe_restorer *restorer, const struct lethe_absent *absent)
{
    struct wait wait;
    uint64_t segment, from;
    enum lethe_err err = key_of(restorer, &absent->content, absent->offset, &segment, &from);

    if (err) {
        return err;
    }
    atomic_fetch_add(&restorer->asked, 1);
    begin_wait(restorer, &wait);
    pthread_mutex_lock(&restorer->lock);
    if (restorer->waiters >= WAITERS && wait.away) {
        pthread_mutex_unlock(&restorer->lock);
        return LETHE_ERR_UNREACHABLE;
    }
    restorer->waiters++;
    err = wait_for(&wait, &absent->content, segment, from, absent->offset);
    restorer->waiters--;
    pthread_mutex_unlock(&restorer->lock);
    return err;
}

/* Whether the byte at offset is not on this device. */
static bool is_absent(struct lethe_restorer *restorer, const struct lethe_id *id, uint64_t size, uint64_t offset)
{
    struct lethe_content *content;
    struct lethe_absent absent;
    uint8_t byte;
    size_t got;
    bool is;

    if (offset >= size || lethe_content_get(restorer->options.contents, id, size, &content)) {
        return false;
    }
    is = lethe_content_read(content, offset, &byte, 1, &got, &absent) == LETHE_ERR_ABSENT &&
         lethe_id_equal(&absent.content, id);
    lethe_content_put(content);
    return is;
}

enum lethe_ahead lethe_restorer_ahead(struct lethe_restorer *restorer, const struct lethe_id *content, uint64_t size,
                                      uint64_t offset)
{
    enum lethe_ahead result = LETHE_AHEAD_LATER;
    uint64_t segment, from;

    if (!is_absent(restorer, content, size, offset)) {
        return LETHE_AHEAD_HERE;
    }
    if (health_of(restorer).away || key_of(restorer, content, offset, &segment, &from)) {
        return LETHE_AHEAD_LATER;
    }
    pthread_mutex_lock(&restorer->lock);
    if (find(restorer, content, segment)) {
        result = LETHE_AHEAD_HERE;
    } else if (!restorer->stop && restorer->ahead < AHEAD && restorer->threads < FLIGHTS &&
               start(restorer, content, segment, from, true)) {
        result = LETHE_AHEAD_BEGUN;
        restorer->status.ahead++;
    }
    pthread_mutex_unlock(&restorer->lock);
    return result;
}

void lethe_restorer_status(struct lethe_restorer *restorer, struct lethe_restorer_status *out)
{
    pthread_mutex_lock(&restorer->lock);
    *out = restorer->status;
    pthread_mutex_unlock(&restorer->lock);
    out->asked = lethe_restorer_asked(restorer);
}

uint64_t lethe_restorer_asked(struct lethe_restorer *restorer)
{
    return atomic_load(&restorer->asked);
}
