/* SPDX-License-Identifier: MIT */
/*
 * The breach drill: the vault is stolen (read, and never written) and attacked with everything that is known;
 * what came of it is one JSON object, of which the HTML report is a view. Each attack is a file of its own
 * that adds its figures under a key of the report; a weakness is added by name. Chance comes from the seed
 * alone, but for what the vault itself was sealed with.
 *
 * Not thread-safe; the attacks use the pool inside.
 */
#ifndef LETHE_FS_DRILL_DRILL_H
#define LETHE_FS_DRILL_DRILL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/drill/stats.h"
#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/model.h"
#include "lethe/pool.h"
#include "lethe/seal.h"
#include "lethe/store.h"

/* What the thief has besides the bucket. Each of the first three has what the one before it has. */
enum drill_leak { DRILL_LEAK_NONE, DRILL_LEAK_KEYS, DRILL_LEAK_MODEL, DRILL_LEAK_DEVICE };

struct drill_options {
    const char *location;
    struct lethe_store_options store; /* how to reach it; read_only is set by the drill */
    enum drill_leak leak;
    const char *pairs_dir; /* photos that the thief has from elsewhere; NULL: none */
    const char
        *originals_dir; /* the tree as it was before fidelity lossy, to judge thieves by; NULL: not at hand */
    uint64_t seed;
    uint64_t mutations; /* of the tampering, with DRILL_LEAK_KEYS and above */
    /* With DRILL_LEAK_KEYS and above: what the owner knows. */
    const char *passphrase;
    size_t passphrase_len;
    const char *state_root, *cache_root; /* NULL: the usual ones */
    /* What is being done, and how far that is. May be NULL. */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
    void *context;
};

struct drill_object {
    char key[LETHE_STORE_KEY_MAX + 1];
    uint64_t size;
    int64_t modified;
};

struct drill {
    const struct drill_options *options;
    struct lethe_store *store; /* read-only */
    struct lethe_vault_file *file;
    struct lethe_pool *pool;
    struct drill_random random;
    struct drill_object *objects; /* all of the bucket, in the order of their keys */
    size_t count;
    json_t *report;
    json_t *weaknesses; /* an array inside report */
};

struct drill_owner;
struct drill_photos;
struct drill_show;

/*
 * Steals and attacks the vault at options->location. *report receives the drill's report, owned by the
 * caller; its "ok" is false when a weakness was found or a control survived. show (may be NULL) receives the
 * pictures for the page. Errors have been said: LETHE_ERR_UNREACHABLE, LETHE_ERR_KEY, ...
 */
enum lethe_err drill_run(const struct drill_options *options, struct drill_show *show,
                         json_t **report) LETHE_MUST_CHECK;

/* --- what the attacks share (drill.c) --- */

void drill_progress(const struct drill *drill, const char *what, uint64_t done, uint64_t total);
/* Names a weakness once; further ones of that name are counted. detail: one sentence. */
void drill_weakness(struct drill *drill, const char *name, const char *detail);
json_t *drill_interval_json(const struct drill_interval *interval);
/* The chance of the seed as the engine takes it. */
struct lethe_random drill_engine_random(struct drill_random *random);

/*
 * When all attacks are done (verdict.c): report.adversaries, for each one that was played {name, holds,
 * verdict, figures}: whether what is claimed against it held (null: nothing is claimed), one sentence for its
 * owner, and what it rests on; and report.ok.
 */
void drill_judge(struct drill *drill);

/* --- the attacks --- */

/* Lists the bucket; what names, sizes, times, nonces and vault.json tell: report.inventory, report.key_slots.
 */
enum lethe_err drill_inventory(struct drill *drill) LETHE_MUST_CHECK;
/* Whether objects can be told from noise: report.statistics. */
enum lethe_err drill_statistics(struct drill *drill) LETHE_MUST_CHECK;
/* The sealing on its own, on drawn pictures: same twice, one pixel changed, flat against busy:
 * report.sealing. */
enum lethe_err drill_sealing(struct drill *drill) LETHE_MUST_CHECK;
/* The sealing again: are sealed artifacts of two photos told from each other? report.photo_a_or_b. */
enum lethe_err drill_apart(struct drill *drill) LETHE_MUST_CHECK;
/* The cipher open: surrogate Decrypters at every strength: report.keys_leaked. show may be NULL. */
enum lethe_err drill_leaked(struct drill *drill, const struct drill_photos *photos,
                            struct drill_show *show) LETHE_MUST_CHECK;
/* What one guess of the passphrase costs, measured: report.guessing. */
enum lethe_err drill_guessing(struct drill *drill) LETHE_MUST_CHECK;
/*
 * What is stored, as what, and why not as a photo: report.contents; by kind: report.outside_the_encrypter; and how many
 * artifacts there are of one picture: report.keys_leaked.kept_artifacts. After drill_leaked.
 */
enum lethe_err drill_exact(struct drill *drill, const struct drill_owner *owner) LETHE_MUST_CHECK;
/* The model pairs in the vault, opened without the device secret: report.pairs. */
enum lethe_err drill_pairs(struct drill *drill, const struct drill_owner *owner) LETHE_MUST_CHECK;
/* options->mutations changes to a copy of the vault, and whether a device notices: report.tampering. */
enum lethe_err drill_tampering(struct drill *drill, const struct drill_owner *owner) LETHE_MUST_CHECK;
/* State and cache of this vault on this device, searched for plaintext: report.device. */
enum lethe_err drill_device(struct drill *drill) LETHE_MUST_CHECK;
/* The same attacks on what must not survive them: report.controls. A control that survives is a weakness. */
enum lethe_err drill_controls(struct drill *drill) LETHE_MUST_CHECK;

#endif
