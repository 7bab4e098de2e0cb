/* SPDX-License-Identifier: MIT */
/*
 * What a process does to the files below one folder: recorded, made to fail, and replayed as a crash would
 * have left it. The program that links recorder.c has the C library's calls on files replaced by its own, for
 * the libraries that it uses too (SQLite); no sync reaches the disk, so it also runs fast.
 *
 * Recording. Calls are made and recorded one at a time, whatever thread they come from: operation i had ended
 * before operation i + 1 began. A crash at k leaves what the first k operations promise. After a run,
 * rec_complete compares the folder with what was recorded, so that no call can be missed in silence.
 *
 * What a crash leaves (enum rec_crash): a killed process loses nothing. A power cut loses of each file any
 * 512-byte sectors, truncations and holes since its last sync, and of each folder any changes of names since
 * its own; a name's own changes stay in their order, and a rename or link is whole or not at all. REC_ORDERED
 * keeps the changes of names and sizes of all files in one order, as a journal does.
 */
#ifndef LETHE_TESTS_CRASH_RECORDER_H
#define LETHE_TESTS_CRASH_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rec_crash {
    REC_KILLED,      /* the last write may be cut short */
    REC_ORDERED,     /* a journal: a prefix of names and sizes, any sectors */
    REC_NAMES_FIRST, /* every change of names is there, and no data that was not synced */
    REC_DATA_FIRST,  /* all data, no change of names that was not synced */
    REC_LEAST,       /* what was synced, nothing else */
    REC_ANY,         /* any of it */
    REC_CRASHES
};

/* Records from now on what happens below folder (no trailing slash). */
void rec_start(const char *folder);
void rec_stop(void);
/* The number of operations recorded so far. */
size_t rec_count(void);
/* Whether operation i changed something (or was a sync). For choosing crashes: those just behind a sync tell
 * most. */
bool rec_is_sync(size_t i);
/* Whether the folder is byte for byte what was recorded; says on stderr where not. */
bool rec_complete(void);
/* Writes what a crash after the first k operations leaves into the folder out, which is made. */
void rec_crash(size_t k, enum rec_crash how, uint64_t seed, const char *out);
void rec_forget(void);

/* --- faults --- */

enum rec_fault {
    REC_FAULT_EIO,
    REC_FAULT_ENOSPC, /* of what writes or makes; else EIO */
    REC_FAULT_TORN,  /* of a write: half of it is made, then EIO; a failed sync loses what it should have kept
                      */
    REC_FAULT_SHORT, /* a read or write of half; no error */
    REC_FAULT_EINTR, /* of reads and writes */
    REC_FAULT_SYNC,  /* of a sync, the only calls that are counted then: what it should have kept is lost */
    REC_FAULTS
};

/* The nth call from now on below folder fails (1 is the next; 0: none), and all later ones when on. */
void rec_fault(const char *folder, uint64_t nth, enum rec_fault fault, bool on);
/* Whether it was met. Ends it. */
bool rec_fault_met(void);

#endif
