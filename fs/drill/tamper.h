/* SPDX-License-Identifier: MIT */
/*
 * Tampering: changes to a copy of the vault (see copy.h), and a judge of what a device would make of each. A
 * change is a function that draws what it needs from t->random, makes it through drill_tamper_set, and so
 * marks the objects whose pieces are read again. LETHE_ERR_NOT_FOUND: this vault has nothing to make that
 * change of (no pack, one key slot).
 */
#ifndef LETHE_FS_DRILL_TAMPER_H
#define LETHE_FS_DRILL_TAMPER_H

#include "fs/drill/copy.h"
#include "fs/drill/drill.h"
#include "fs/drill/owner.h"
#include "fs/vault/journal.h"

#define DRILL_TOUCHED 16

struct drill_tamper {
    struct drill *drill;
    const struct drill_owner *owner;
    struct drill_copy *vault, *second; /* second: of the second store in fidelity split, else NULL */
    struct drill_random random;
    struct lethe_head seen;
    uint8_t tree[32];      /* digest of the tree as it is */
    bool pair_kept;        /* the vault holds a copy of the pair for new artifacts */
    bool device_back;      /* the change at hand told the device something older */
    struct lethe_db *told; /* a device's memory of the newest epoch and nothing else */
    struct lethe_buf a, b;
    struct drill_object *objects; /* of the vault, then of the second store */
    size_t count, in_vault;
    size_t structural_count, *structural; /* indices of objects that no piece lies in */
    struct lethe_buf foreign;             /* vault.json of another vault, which the thief made himself */
    /* What the change at hand touched. */
    struct lethe_id touched[DRILL_TOUCHED];
    size_t touched_count;
    char first[LETHE_STORE_KEY_MAX + 1]; /* for the report */
};

enum drill_outcome { DRILL_DETECTED, DRILL_WITHOUT_EFFECT, DRILL_UNDETECTED };

/* The objects, the tree as it is, and the device that the judge plays. */
enum lethe_err drill_tamper_prepare(struct drill_tamper *t) LETHE_MUST_CHECK;
/* The key's bytes in the copy that holds it; bytes NULL: it is gone. */
enum lethe_err drill_tamper_set(struct drill_tamper *t, const char *key, const uint8_t *bytes,
                                size_t len) LETHE_MUST_CHECK;
enum lethe_err drill_tamper_get(struct drill_tamper *t, const char *key,
                                struct lethe_buf *out) LETHE_MUST_CHECK;
/* An object by chance; few among many, those that no piece lies in get a third. Of the same folder, another
 * if there is. */
const struct drill_object *drill_tamper_pick(struct drill_tamper *t);
const struct drill_object *drill_tamper_like(struct drill_tamper *t, const struct drill_object *like);
/* What the device that the judge plays remembers as the newest epoch: until it is told otherwise, the one
 * that is. */
enum lethe_err drill_tamper_remember(struct drill_tamper *t, const struct lethe_head *head) LETHE_MUST_CHECK;
/* The vault as the copy has it, with its owner's keys. */
enum lethe_err drill_tamper_open(struct drill_tamper *t, struct lethe_vault **out) LETHE_MUST_CHECK;

/*
 * As a device judges a vault that it has seen before: vault.json and its MAC, the head against the history
 * that was seen, the whole chain and tree, the kept pair, and every piece of every touched object. Detected
 * when one of these is refused; without effect when all come out as before, to the byte; undetected
 * otherwise.
 */
enum lethe_err drill_tamper_judge(struct drill_tamper *t, enum drill_outcome *outcome) LETHE_MUST_CHECK;

/* The changes, by what they are of; how: an index into the names. */
#define DRILL_OBJECT_CHANGES 19
#define DRILL_PIECE_CHANGES 5
#define DRILL_HISTORY_CHANGES 13
#define DRILL_SETTINGS_CHANGES 19
extern const char *const drill_object_changes[DRILL_OBJECT_CHANGES];
extern const char *const drill_piece_changes[DRILL_PIECE_CHANGES];
extern const char *const drill_history_changes[DRILL_HISTORY_CHANGES];
extern const char *const drill_settings_changes[DRILL_SETTINGS_CHANGES];
enum lethe_err drill_change_object(struct drill_tamper *t, size_t how) LETHE_MUST_CHECK;
enum lethe_err drill_change_piece(struct drill_tamper *t, size_t how) LETHE_MUST_CHECK;
enum lethe_err drill_change_history(struct drill_tamper *t, size_t how) LETHE_MUST_CHECK;
enum lethe_err drill_change_settings(struct drill_tamper *t, size_t how) LETHE_MUST_CHECK;

#endif
