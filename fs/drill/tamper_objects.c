/* SPDX-License-Identifier: MIT */
/* Tampering with objects: their bytes, their places, and what listings say of them. */
#include <stdio.h>
#include <string.h>

#include "fs/drill/tamper.h"
#include "lethe/seal.h"

enum change {
    FLIP,
    ZERO,
    CUT_AT_BOUNDARY,
    CUT,
    DROP_HEAD,
    DROP_TAIL,
    EXTEND,
    DUPLICATE,
    REORDER,
    NOISE,
    EMPTY, /* of its bytes */
    SWAP,
    REPLACE,
    OLDER,
    REMOVE,
    INJECT,
    HIDE,
    SIZES,
    MADE_UP
};
const char *const drill_object_changes[DRILL_OBJECT_CHANGES] = {"flip a bit",
                                                                "zero some bytes",
                                                                "truncate at a boundary",
                                                                "truncate anywhere",
                                                                "drop the head",
                                                                "drop the tail",
                                                                "extend",
                                                                "duplicate the bytes",
                                                                "reorder halves",
                                                                "random bytes",
                                                                "empty",
                                                                "swap two objects",
                                                                "replace by another",
                                                                "roll back one object",
                                                                "remove",
                                                                "inject an object",
                                                                "leave out of listings",
                                                                "lie about sizes",
                                                                "make up in listings"};

#define UNIT 4096 /* what file systems and protocols cut at */

/* Where an object may end in itself: its nonce, the start of its tag, a unit of the store. */
static size_t boundary(struct drill_tamper *t, size_t len)
{
    size_t units = (len - 1) / UNIT, choice = drill_below(&t->random, units + 2);

    return choice == 0   ? (len > LETHE_NONCE_BYTES ? LETHE_NONCE_BYTES : 0)
           : choice == 1 ? (len > LETHE_TAG_BYTES ? len - LETHE_TAG_BYTES : 0)
                         : (choice - 1) * UNIT;
}

/* Of the bytes in t->a, at least one. */
static enum lethe_err edit(struct drill_tamper *t, enum change how)
{
    struct lethe_buf *x = &t->a;
    size_t len = x->len, at = drill_below(&t->random, len), few = len < 64 ? len : 64;
    enum lethe_err err = LETHE_OK;

    switch (how) {
    case FLIP:
        x->data[at] ^= (uint8_t)(1u << drill_below(&t->random, 8));
        break;
    case ZERO:
        memset(x->data + at, 0, len - at < 64 ? len - at : 64);
        break;
    case CUT_AT_BOUNDARY:
        x->len = boundary(t, len);
        break;
    case CUT:
        x->len = at;
        break;
    case DROP_HEAD:
        few = 1 + drill_below(&t->random, few);
        memmove(x->data, x->data + few, len - few);
        x->len = len - few;
        break;
    case DROP_TAIL:
        x->len = len - 1 - drill_below(&t->random, few);
        break;
    case EXTEND:
        err = lethe_buf_resize(x, len + 1 + drill_below(&t->random, UNIT));
        if (!err && drill_below(&t->random, 2)) { /* by noise, or by whatever the buffer holds: zeros */
            drill_fill(&t->random, x->data + len, x->len - len);
        }
        break;
    case DUPLICATE:
        err = lethe_buf_resize(x, 2 * len);
        if (!err) {
            memcpy(x->data + len, x->data, len);
        }
        break;
    case REORDER:
        for (size_t i = 0, half = len / 2; i < half; i++) {
            uint8_t swap = x->data[i];

            x->data[i] = x->data[len - half + i];
            x->data[len - half + i] = swap;
        }
        break;
    case NOISE:
        drill_fill(&t->random, x->data, len);
        break;
    default:
        x->len = 0;
        break;
    }
    return err;
}

/* One of its folder that came before it, where the store tells when; else any other. */
static const struct drill_object *older(struct drill_tamper *t, const struct drill_object *one)
{
    const struct drill_object *other = drill_tamper_like(t, one);

    for (int i = 0; i < 50 && other->modified >= one->modified; i++) {
        other = drill_tamper_like(t, one);
    }
    return other;
}

enum lethe_err drill_change_object(struct drill_tamper *t, size_t how)
{
    const struct drill_object *one = drill_tamper_pick(t), *other = drill_tamper_like(t, one);
    char key[LETHE_STORE_KEY_MAX + 1], hex[33];
    uint8_t id[16];
    enum lethe_err err = drill_tamper_get(t, one->key, &t->a);

    drill_fill(&t->random, id, sizeof id);
    lethe_hex(id, sizeof id, hex);
    snprintf(key, sizeof key, "o/%.2s/%s", hex, hex);
    if (err) {
        return err;
    }
    if (how < SWAP) {
        err = t->a.len ? edit(t, (enum change)how) : LETHE_OK;
        return err ? err : drill_tamper_set(t, one->key, t->a.len ? t->a.data : id, t->a.len);
    }
    switch ((enum change)how) {
    case SWAP:
        err = drill_tamper_get(t, other->key, &t->b);
        err = err ? err : drill_tamper_set(t, one->key, t->b.data, t->b.len);
        return err ? err : drill_tamper_set(t, other->key, t->a.data, t->a.len);
    case OLDER:
        other = older(t, one);
        /* fall through */
    case REPLACE:
        err = drill_tamper_get(t, other->key, &t->b);
        return err ? err : drill_tamper_set(t, one->key, t->b.data, t->b.len);
    case REMOVE:
        return drill_tamper_set(t, one->key, NULL, 0);
    case INJECT:
        return drill_tamper_set(t, key, t->a.data, t->a.len);
    case HIDE:
        drill_copy_lie(t->vault, DRILL_LIE_HIDE, one->key);
        if (t->second) {
            drill_copy_lie(t->second, DRILL_LIE_HIDE, one->key);
        }
        return LETHE_OK;
    case SIZES:
        drill_copy_lie(t->vault, DRILL_LIE_SIZES, "");
        if (t->second) {
            drill_copy_lie(t->second, DRILL_LIE_SIZES, "");
        }
        return LETHE_OK;
    default: /* MADE_UP: an object, or a segment of the next epoch */
        if (drill_below(&t->random, 2)) {
            snprintf(key, sizeof key, "j/%016llx-%s", (unsigned long long)t->seen.epoch + 1, hex);
        }
        drill_copy_lie(t->vault, DRILL_LIE_MADE_UP, key);
        return LETHE_OK;
    }
}
