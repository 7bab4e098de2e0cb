/* SPDX-License-Identifier: MIT */
/*
 * Tampering with the past: journal segments out of their order, left out or put in, and the vault, or parts
 * of it, as they were before. Heads are sealed with the owner's keys, for a thief could have kept them.
 */
#include <stdio.h>
#include <string.h>

#include "fs/drill/tamper.h"

enum change {
    SWAP,
    DUPLICATE,
    DROP_NEWEST,
    DROP_OLDEST,
    OLDER_AS_NEWEST,
    INJECT,
    SWAP_PARTS,
    HEAD_BACK,
    VAULT_BACK,
    SETTINGS_BACK,
    FORK,
    LONGER_FORK,
    DEVICE_BACK
};
const char *const drill_history_changes[DRILL_HISTORY_CHANGES] = {"swap two journal segments",
                                                                  "duplicate a journal segment",
                                                                  "drop the newest journal segment",
                                                                  "drop the oldest journal segment",
                                                                  "an older journal segment as the newest",
                                                                  "inject a journal segment",
                                                                  "swap journal or snapshot parts",
                                                                  "roll back the head",
                                                                  "roll back the whole vault",
                                                                  "roll back vault.json",
                                                                  "a fork of equal length",
                                                                  "a longer fork",
                                                                  "roll back the device"};

/* The journal segments, in the order of their epochs: the first of them in t->objects, and how many. */
static const struct drill_object *segments(const struct drill_tamper *t, size_t *count)
{
    const struct drill_object *first = NULL;

    *count = 0;
    for (size_t i = 0; i < t->in_vault; i++) {
        if (t->objects[i].key[0] == 'j') {
            first = first ? first : &t->objects[i];
            ++*count;
        }
    }
    return first;
}

static enum lethe_err over(struct drill_tamper *t, const char *from, const char *to)
{
    enum lethe_err err = drill_tamper_get(t, from, &t->a);

    return err ? err : drill_tamper_set(t, to, t->a.data, t->a.len);
}

static enum lethe_err swap(struct drill_tamper *t, const char *one, const char *two)
{
    enum lethe_err err = drill_tamper_get(t, one, &t->a);

    err = err ? err : drill_tamper_get(t, two, &t->b);
    err = err ? err : drill_tamper_set(t, one, t->b.data, t->b.len);
    return err ? err : drill_tamper_set(t, two, t->a.data, t->a.len);
}

static enum lethe_err change_journal(struct drill_tamper *t, enum change how)
{
    char key[LETHE_STORE_KEY_MAX + 1], hex[33];
    const struct drill_object *first;
    uint8_t id[16];
    size_t count, one, two;

    first = segments(t, &count);
    if (count < 2) {
        return LETHE_ERR_NOT_FOUND;
    }
    /* The chain is walked from the head back to a snapshot: most of what matters is new. */
    one = drill_below(&t->random, 2) ? count - 1 : drill_below(&t->random, count);
    two = drill_below(&t->random, count - 1);
    two += two >= one;
    switch (how) {
    case SWAP:
        return swap(t, first[one].key, first[two].key);
    case DUPLICATE:
        return over(t, first[two].key, first[one].key);
    case DROP_NEWEST:
        return drill_tamper_set(t, first[count - 1].key, NULL, 0);
    case DROP_OLDEST:
        return drill_tamper_set(t, first[0].key, NULL, 0);
    case OLDER_AS_NEWEST:
        return over(t, first[drill_below(&t->random, count - 1)].key, first[count - 1].key);
    default: /* INJECT: of the epoch after the newest, as another device might publish */
        drill_fill(&t->random, id, sizeof id);
        lethe_hex(id, sizeof id, hex);
        snprintf(key, sizeof key, "j/%016llx-%s", (unsigned long long)t->seen.epoch + 1, hex);
        return over(t, first[one].key, key);
    }
}

static enum lethe_err swap_parts(struct drill_tamper *t)
{
    const struct drill_object *found[2] = {NULL, NULL};
    size_t start = drill_below(&t->random, t->structural_count);

    for (size_t i = 0; i < t->structural_count && !found[1]; i++) {
        const struct drill_object *object = &t->objects[t->structural[(start + i) % t->structural_count]];

        if (object->key[0] == 'o') {
            found[found[0] != NULL] = object;
        }
    }
    return found[1] ? swap(t, found[0]->key, found[1]->key) : LETHE_ERR_NOT_FOUND;
}

/* Puts the head in the place of the one that was seen. */
static enum lethe_err move(struct drill_tamper *t, const struct lethe_head *head)
{
    const struct lethe_store_version any = {{0}};
    struct lethe_vault *vault = NULL;
    enum lethe_err err = drill_tamper_open(t, &vault);

    err = err ? err : lethe_head_move(vault, head, &any, NULL);
    lethe_vault_free(vault);
    return err;
}

/* The head of one to three epochs before; with the whole vault, what came since is gone too. */
static enum lethe_err roll_back(struct drill_tamper *t, bool whole)
{
    struct lethe_head head = t->seen;
    struct lethe_segment segment = {0};
    enum lethe_err err = LETHE_OK;

    for (size_t back = 1 + drill_below(&t->random, 3); back > 0 && head.epoch > 0 && !err; back--) {
        err = lethe_segment_get(t->owner->vault, head.epoch, &head.segment, head.chain, &segment);
        if (err == LETHE_ERR_INTEGRITY &&
            head.epoch < t->seen.epoch) { /* collected: as far back as the vault goes */
            err = LETHE_OK;
            break;
        }
        for (size_t i = 0; i < segment.count && whole && !err; i++) {
            char key[LETHE_STORE_KEY_MAX + 1];

            lethe_vault_object_key(LETHE_OBJECT_JOURNAL, &segment.parts[i].id, key);
            err = drill_tamper_set(t, key, NULL, 0);
        }
        if (whole && !err) {
            char key[LETHE_STORE_KEY_MAX + 1];

            lethe_vault_journal_key(head.epoch, &head.segment, key);
            err = drill_tamper_set(t, key, NULL, 0);
        }
        head.epoch--;
        head.segment = segment.previous;
        memcpy(head.chain, segment.previous_chain, sizeof head.chain);
        lethe_segment_release(&segment);
        segment = (struct lethe_segment){0};
    }
    lethe_segment_release(&segment);
    return err ? err : move(t, &head);
}

/* The device's state as it was an epoch before, beside the vault of today. */
static enum lethe_err device_back(struct drill_tamper *t)
{
    struct lethe_head head = t->seen;
    struct lethe_segment newest = {0};
    enum lethe_err err =
        head.epoch == 0 ? LETHE_ERR_NOT_FOUND
                        : lethe_segment_get(t->owner->vault, head.epoch, &head.segment, head.chain, &newest);

    if (!err) {
        head.epoch--;
        memcpy(head.chain, newest.previous_chain, sizeof head.chain);
        err = drill_tamper_remember(t, &head);
        t->device_back = true;
    }
    lethe_segment_release(&newest);
    return err;
}

/* vault.json as it is, under a head that names a newer one: what is left when a change of passphrase is put
 * back. */
static enum lethe_err settings_back(struct drill_tamper *t)
{
    struct lethe_head head = t->seen;

    head.generation = lethe_vault_generation(t->owner->vault) + 1;
    drill_fill(&t->random, head.json_hash, sizeof head.json_hash);
    return move(t, &head);
}

/* Another history from the epoch before the newest on: an empty epoch in the newest's place, and one more on
 * it. */
static enum lethe_err fork_off(struct drill_tamper *t, bool longer)
{
    struct lethe_segment newest = {0};
    struct lethe_head head = t->seen;
    struct lethe_vault *vault = NULL;
    uint64_t bytes;
    enum lethe_err err = head.epoch == 0 ? LETHE_ERR_NOT_FOUND : drill_tamper_open(t, &vault);

    err = err ? err : lethe_segment_get(t->owner->vault, head.epoch, &head.segment, head.chain, &newest);
    for (int i = 0; i <= (int)longer && !err; i++) {
        struct lethe_segment made = {.epoch = newest.epoch + (uint64_t)i,
                                     .time = newest.time + 1,
                                     .cut_seq = newest.cut_seq,
                                     .pub_seq = newest.pub_seq,
                                     .previous = i ? head.segment : newest.previous,
                                     .snapshot = newest.snapshot};

        memcpy(made.previous_chain, i ? head.chain : newest.previous_chain, sizeof made.previous_chain);
        head.epoch = made.epoch;
        drill_fill(&t->random, head.segment.bytes, sizeof head.segment.bytes);
        err = lethe_segment_put(vault, t->owner->db, &made, newest.cut_seq, newest.pub_seq, &head.segment,
                                head.chain, &bytes);
        lethe_segment_release(&made);
    }
    lethe_segment_release(&newest);
    lethe_vault_free(vault);
    return err ? err : move(t, &head);
}

enum lethe_err drill_change_history(struct drill_tamper *t, size_t how)
{
    switch ((enum change)how) {
    case SWAP_PARTS:
        return swap_parts(t);
    case HEAD_BACK:
    case VAULT_BACK:
        return roll_back(t, how == VAULT_BACK);
    case SETTINGS_BACK:
        return settings_back(t);
    case DEVICE_BACK:
        return device_back(t);
    case FORK:
    case LONGER_FORK:
        return fork_off(t, how == LONGER_FORK);
    default:
        return change_journal(t, (enum change)how);
    }
}
