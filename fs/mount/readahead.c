/* SPDX-License-Identifier: MIT */
/*
 * Requests tell of reads in a small queue (a full one forgets); one thread, the scout, thinks about them: it knows the
 * order of a few directories and the position in a few files, and begins flights of the restorer. Everything from the
 * orders on belongs to the scout alone.
 */
#include "fs/mount/readahead.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT (4u << 20)
#define STEP_BITS 20           /* a read is told when it begins a file, or enters another MiB of it */
#define EVENTS 64u
#define CREDITS 64u            /* reads in a row without an absence before it goes to sleep */
#define DIRECTORIES 4u
#define ENTRIES_MAX 200000u    /* of a directory */
#define NEAR 8u                /* a step of so many entries still counts as the next one */
#define FILES_AHEAD 32u
#define STREAMS 8u
#define SEGMENTS_AHEAD 8u
#define BUDGET_MAX (128ull << 20)

struct event {
    uint64_t ino, offset, len;
};

/* One order of a directory's files, and how far along it a program is. */
struct order {
    uint64_t *inos;
    size_t at;       /* index of the file read last; count before the first */
    size_t reach;    /* index up to which files have been looked after */
    unsigned streak; /* steps in this order */
};

struct directory {
    uint64_t ino;
    struct order orders[2]; /* of the listing; of the names */
    size_t count;
    uint64_t loaded, used; /* by the count of events */
};

struct stream {
    uint64_t ino;
    uint64_t next;  /* offset behind the read told last */
    uint64_t reach; /* segment up to which was fetched */
    unsigned window; /* segments */
    uint64_t used;
};

/* Fetched, or on its way, and not read yet. */
struct guess {
    uint64_t ino, size;
};

struct lethe_readahead {
    struct lethe_tree *tree;
    struct lethe_contents *contents;
    struct lethe_restorer *restorer;
    pthread_t thread;
    atomic_uint credits;
    atomic_uint_fast64_t asked; /* hydrations seen */
    atomic_uint_fast64_t recent[DIRECTORIES];
    atomic_uint newest;

    pthread_mutex_t lock; /* guards the next five */
    pthread_cond_t moved;
    struct event events[EVENTS];
    size_t first, count;
    bool stop, thinking;

    uint64_t clock; /* events thought about */
    struct directory directories[DIRECTORIES];
    struct stream streams[STREAMS];
    struct guess guesses[FILES_AHEAD * 2];
    size_t guess_count;
    uint64_t guessed; /* bytes */
};

/* --- told by requests --- */

void lethe_readahead_directory(struct lethe_readahead *readahead, uint64_t ino)
{
    unsigned newest;

    if (!readahead) {
        return;
    }
    newest = atomic_load(&readahead->newest);
    if (atomic_load(&readahead->recent[newest % DIRECTORIES]) != ino) {
        newest = atomic_fetch_add(&readahead->newest, 1) + 1;
        atomic_store(&readahead->recent[newest % DIRECTORIES], ino);
    }
}

static bool awake(struct lethe_readahead *readahead)
{
    uint64_t asked = lethe_restorer_asked(readahead->restorer);

    if (atomic_load(&readahead->asked) != asked) {
        atomic_store(&readahead->asked, asked);
        atomic_store(&readahead->credits, CREDITS);
    }
    return atomic_load(&readahead->credits) > 0;
}

bool lethe_readahead_read(struct lethe_readahead *readahead, uint64_t ino, uint64_t offset, uint64_t len)
{
    if (!readahead || (offset != 0 && offset >> STEP_BITS == (offset + len) >> STEP_BITS) || !awake(readahead)) {
        return false;
    }
    pthread_mutex_lock(&readahead->lock);
    if (readahead->count < EVENTS) {
        readahead->events[(readahead->first + readahead->count++) % EVENTS] =
            (struct event){.ino = ino, .offset = offset, .len = len};
        pthread_cond_broadcast(&readahead->moved);
    }
    pthread_mutex_unlock(&readahead->lock);
    return true;
}

/* --- what was guessed --- */

static void forget_guesses(struct lethe_readahead *readahead)
{
    readahead->guess_count = 0;
    readahead->guessed = 0;
}

/* Whether the file had been guessed; it no longer counts. */
static bool take_guess(struct lethe_readahead *readahead, uint64_t ino)
{
    for (size_t i = 0; i < readahead->guess_count; i++) {
        if (readahead->guesses[i].ino == ino) {
            readahead->guessed -= readahead->guesses[i].size;
            readahead->guesses[i] = readahead->guesses[--readahead->guess_count];
            return true;
        }
    }
    return false;
}

/* Whether so many bytes more may come ahead. */
static bool affordable(struct lethe_readahead *readahead, uint64_t size)
{
    struct lethe_contents_usage usage;
    uint64_t budget;

    lethe_contents_usage(readahead->contents, &usage);
    budget = usage.limit / 8 < BUDGET_MAX ? usage.limit / 8 : BUDGET_MAX;
    return size <= budget && readahead->guessed <= budget - size && usage.free + usage.cached >= 2 * budget;
}

/* --- files one after the other --- */

static void release(struct directory *directory)
{
    free(directory->orders[0].inos);
    free(directory->orders[1].inos);
    *directory = (struct directory){0};
}

/* A listing as it comes. */
struct listing {
    struct entry {
        uint64_t ino;
        size_t name; /* offset in names, then pointer's worth of it */
        const char *text;
    } *entries;
    size_t count, room;
    struct lethe_buf names;
    bool failed;
};

static bool list_one(void *context, const struct lethe_dirent *entry, const struct stat *attr)
{
    struct listing *listing = context;

    (void)attr;
    if (!S_ISREG(entry->type)) {
        return true;
    }
    if (listing->count == listing->room) {
        size_t room = listing->room ? listing->room * 2 : 256;
        void *grown = room <= 2 * ENTRIES_MAX ? reallocarray(listing->entries, room, sizeof *listing->entries) : NULL;

        if (!grown) {
            listing->failed = true;
            return false;
        }
        listing->entries = grown;
        listing->room = room;
    }
    listing->entries[listing->count++] = (struct entry){.ino = entry->ino, .name = listing->names.len};
    lethe_buf_put(&listing->names, entry->name, strlen(entry->name) + 1);
    return listing->count < ENTRIES_MAX;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->text, ((const struct entry *)b)->text);
}

/* The inode numbers of the entries as they stand. NULL when there is no memory. */
static uint64_t *numbers(const struct listing *listing)
{
    uint64_t *inos = reallocarray(NULL, listing->count ? listing->count : 1, sizeof *inos);

    for (size_t i = 0; inos && i < listing->count; i++) {
        inos[i] = listing->entries[i].ino;
    }
    return inos;
}

static void load(struct lethe_readahead *readahead, struct directory *directory, uint64_t ino)
{
    struct listing listing = {0};

    release(directory);
    directory->ino = ino;
    directory->loaded = directory->used = readahead->clock;
    if (lethe_tree_readdir(readahead->tree, ino, 0, false, list_one, &listing) || listing.failed ||
        lethe_buf_status(&listing.names)) {
        goto out;
    }
    directory->orders[0].inos = numbers(&listing);
    for (size_t i = 0; i < listing.count; i++) {
        listing.entries[i].text = (const char *)listing.names.data + listing.entries[i].name;
    }
    if (listing.count) {
        qsort(listing.entries, listing.count, sizeof *listing.entries, by_name);
    }
    directory->orders[1].inos = numbers(&listing);
    if (directory->orders[0].inos && directory->orders[1].inos) {
        directory->count = directory->orders[0].at = directory->orders[1].at = listing.count;
    }
out:
    free(listing.entries);
    lethe_buf_release(&listing.names);
}

/* The file's place in the order, sought first where it is likely; count when it has none. */
static size_t place(const struct directory *directory, const struct order *order, uint64_t ino)
{
    for (size_t i = order->at; i < directory->count && i <= order->at + NEAR; i++) {
        if (order->inos[i] == ino) {
            return i;
        }
    }
    for (size_t i = 0; i < directory->count; i++) {
        if (order->inos[i] == ino) {
            return i;
        }
    }
    return directory->count;
}

/* The directory that holds the file, among those known and those that were touched lately. */
static struct directory *directory_of(struct lethe_readahead *readahead, uint64_t ino)
{
    struct directory *oldest = &readahead->directories[0];

    for (size_t i = 0; i < DIRECTORIES; i++) {
        struct directory *directory = &readahead->directories[i];

        if (directory->count && place(directory, &directory->orders[0], ino) < directory->count) {
            directory->used = readahead->clock;
            return directory;
        }
        oldest = directory->used < oldest->used ? directory : oldest;
    }
    for (size_t i = 0; i < DIRECTORIES; i++) {
        uint64_t recent = atomic_load(&readahead->recent[(atomic_load(&readahead->newest) - i) % DIRECTORIES]);
        struct directory *known = NULL;

        for (size_t k = 0; k < DIRECTORIES; k++) {
            if (readahead->directories[k].ino == recent) {
                known = &readahead->directories[k];
            }
        }
        /* A known one is read anew when files may have come, but not for every file of another directory. */
        if (recent == 0 || (known && readahead->clock - known->loaded < 16 + known->count / 8)) {
            continue;
        }
        known = known ? known : oldest;
        load(readahead, known, recent);
        if (known->count && place(known, &known->orders[0], ino) < known->count) {
            return known;
        }
    }
    return NULL;
}

/* Begins the files behind this place. Returns whether one was absent. */
static bool fetch_files(struct lethe_readahead *readahead, const struct directory *directory, struct order *order)
{
    unsigned window = order->streak < 4 ? 2u << order->streak : FILES_AHEAD;
    size_t end = directory->count - order->at > window ? order->at + window : directory->count - 1;
    bool absent = false;

    if (order->reach < order->at || order->reach > end) {
        order->reach = order->at;
    }
    while (order->reach < end) {
        uint64_t ino = order->inos[order->reach + 1], size;
        enum lethe_ahead ahead = LETHE_AHEAD_HERE;
        struct lethe_id content;

        if (!lethe_tree_content(readahead->tree, ino, &content, &size) && size > 0) {
            uint64_t takes = size < SEGMENT ? size : SEGMENT;

            if (readahead->guess_count == sizeof readahead->guesses / sizeof *readahead->guesses ||
                !affordable(readahead, takes)) {
                return absent;
            }
            ahead = lethe_restorer_ahead(readahead->restorer, &content, size, 0);
            if (ahead == LETHE_AHEAD_BEGUN) {
                readahead->guesses[readahead->guess_count++] = (struct guess){.ino = ino, .size = takes};
                readahead->guessed += takes;
                absent = true;
            }
        }
        if (ahead == LETHE_AHEAD_LATER) {
            return true;
        }
        order->reach++;
    }
    return absent;
}

static bool on_file(struct lethe_readahead *readahead, uint64_t ino)
{
    struct directory *directory = directory_of(readahead, ino);
    bool guessed = take_guess(readahead, ino);
    struct order *best;

    if (!directory) {
        return guessed;
    }
    for (int i = 0; i < 2; i++) {
        struct order *order = &directory->orders[i];
        size_t at = place(directory, order, ino);

        if (at > order->at && at <= order->at + NEAR) { /* before the first, at is never beyond */
            order->streak++;
        } else if (at != order->at) {
            order->streak = 0;
        }
        order->at = at;
    }
    best = &directory->orders[directory->orders[1].streak > directory->orders[0].streak];
    if (best->streak == 0) {
        forget_guesses(readahead);
        return guessed;
    }
    return fetch_files(readahead, directory, best) || guessed;
}

/* --- one file from front to back --- */

static bool on_stream(struct lethe_readahead *readahead, const struct event *event)
{
    struct stream *stream = &readahead->streams[0];
    uint64_t segment = (event->offset + event->len) / SEGMENT, size;
    struct lethe_id content;
    bool absent = false;

    for (size_t i = 0; i < STREAMS; i++) {
        if (readahead->streams[i].ino == event->ino) {
            stream = &readahead->streams[i];
            break;
        }
        stream = readahead->streams[i].used < stream->used ? &readahead->streams[i] : stream;
    }
    if (stream->ino != event->ino || event->offset > stream->next + SEGMENT / 2 || event->offset == 0) {
        *stream = (struct stream){.ino = event->ino, .reach = segment};
    } else if (segment > stream->next / SEGMENT || stream->window == 0) {
        stream->window = stream->window ? stream->window * 2 : 1;
        stream->window = stream->window < SEGMENTS_AHEAD ? stream->window : SEGMENTS_AHEAD;
    }
    stream->next = event->offset + event->len > stream->next ? event->offset + event->len : stream->next;
    stream->used = readahead->clock;
    if (stream->window == 0 || lethe_tree_content(readahead->tree, event->ino, &content, &size)) {
        return false;
    }
    stream->reach = stream->reach < segment ? segment : stream->reach;
    while (stream->reach < segment + stream->window && (stream->reach + 1) * SEGMENT < size) {
        enum lethe_ahead ahead;

        if (!affordable(readahead, SEGMENT * (uint64_t)stream->window)) {
            break;
        }
        ahead = lethe_restorer_ahead(readahead->restorer, &content, size, (stream->reach + 1) * SEGMENT);
        absent |= ahead != LETHE_AHEAD_HERE;
        if (ahead == LETHE_AHEAD_LATER) {
            break;
        }
        stream->reach++;
    }
    return absent;
}

/* --- the scout --- */

static void think(struct lethe_readahead *readahead, const struct event *event)
{
    bool useful;
    unsigned credits;

    readahead->clock++;
    useful = on_stream(readahead, event);
    if (event->offset == 0) {
        useful |= on_file(readahead, event->ino);
    }
    if (useful) {
        atomic_store(&readahead->credits, CREDITS);
        return;
    }
    credits = atomic_load(&readahead->credits);
    if (credits > 0) {
        atomic_store(&readahead->credits, credits - 1);
    }
}

static void *scout(void *argument)
{
    struct lethe_readahead *readahead = argument;

    pthread_mutex_lock(&readahead->lock);
    while (!readahead->stop) {
        struct event event;

        if (readahead->count == 0) {
            pthread_cond_wait(&readahead->moved, &readahead->lock);
            continue;
        }
        event = readahead->events[readahead->first];
        readahead->first = (readahead->first + 1) % EVENTS;
        readahead->count--;
        readahead->thinking = true;
        pthread_mutex_unlock(&readahead->lock);
        think(readahead, &event);
        pthread_mutex_lock(&readahead->lock);
        readahead->thinking = false;
        pthread_cond_broadcast(&readahead->moved);
    }
    pthread_mutex_unlock(&readahead->lock);
    return NULL;
}

void lethe_readahead_settle(struct lethe_readahead *readahead)
{
    pthread_mutex_lock(&readahead->lock);
    while (readahead->count > 0 || readahead->thinking) {
        pthread_cond_wait(&readahead->moved, &readahead->lock);
    }
    pthread_mutex_unlock(&readahead->lock);
}

enum lethe_err lethe_readahead_new(struct lethe_tree *tree, struct lethe_contents *contents,
                                   struct lethe_restorer *restorer, struct lethe_readahead **out)
{
    struct lethe_readahead *readahead = calloc(1, sizeof *readahead);

    *out = NULL;
    if (!readahead) {
        return LETHE_ERR_NOMEM;
    }
    readahead->tree = tree;
    readahead->contents = contents;
    readahead->restorer = restorer;
    pthread_mutex_init(&readahead->lock, NULL);
    pthread_cond_init(&readahead->moved, NULL);
    if (pthread_create(&readahead->thread, NULL, scout, readahead)) {
        pthread_cond_destroy(&readahead->moved);
        pthread_mutex_destroy(&readahead->lock);
        free(readahead);
        return LETHE_ERR_NOMEM;
    }
    *out = readahead;
    return LETHE_OK;
}

void lethe_readahead_free(struct lethe_readahead *readahead)
{
    if (!readahead) {
        return;
    }
    pthread_mutex_lock(&readahead->lock);
    readahead->stop = true;
    pthread_cond_broadcast(&readahead->moved);
    pthread_mutex_unlock(&readahead->lock);
    pthread_join(readahead->thread, NULL);
    for (size_t i = 0; i < DIRECTORIES; i++) {
        release(&readahead->directories[i]);
    }
    pthread_cond_destroy(&readahead->moved);
    pthread_mutex_destroy(&readahead->lock);
    free(readahead);
}
