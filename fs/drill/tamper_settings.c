/* SPDX-License-Identifier: MIT */
/* Tampering with vault.json, as text, by somebody without the key: each field, and the key slots as wholes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/drill/tamper.h"
#include "lethe/seal.h"

#define SLOTS 16
#define SLOT_START "\n    {"
#define SLOT_END "\n    }"

enum change {
    SALT,
    WRAPPED,
    COMMITMENT,
    SLOT_ID,
    LABEL,
    MEMORY,
    PASSES,
    BEYOND, /* in one slot */
    VERSION,
    GENERATION,
    ID,
    MAC,
    FIDELITY,
    STRENGTH,
    PAIRS,
    SWAP_SLOTS,
    SLOT_TWICE,
    REMOVE_SLOT,
    FOREIGN_SLOT
};
const char *const drill_settings_changes[DRILL_SETTINGS_CHANGES] = {"another salt",
                                                                    "another wrapped key",
                                                                    "another commitment",
                                                                    "another slot id",
                                                                    "another label",
                                                                    "cheaper memory",
                                                                    "fewer passes",
                                                                    "costs out of bounds",
                                                                    "another version",
                                                                    "another generation",
                                                                    "another vault id",
                                                                    "another MAC",
                                                                    "another fidelity",
                                                                    "another strength",
                                                                    "other place of pairs",
                                                                    "swap two key slots",
                                                                    "a key slot twice",
                                                                    "remove a key slot",
                                                                    "a key slot of somebody else"};
static const char *const fields[] = {
    "\"salt\": ",       "\"wrapped\": ", "\"commitment\": ", "\"id\": ",       "\"label\": ",
    "\"memory_mib\": ", "\"passes\": ",  "\"memory_mib\": ", "\"version\": ",  "\"generation\": ",
    "\"id\": ",         "\"mac\": ",     "\"fidelity\": ",   "\"strength\": ", "\"pairs\": "};

struct span {
    size_t start, end;
};

static const char *find(const struct lethe_buf *text, size_t from, const char *what)
{
    return from < text->len ? memmem(text->data + from, text->len - from, what, strlen(what)) : NULL;
}

/* The key slots, each from its line end to its closing brace. */
static size_t slots_of(const struct lethe_buf *json, struct span slots[SLOTS])
{
    size_t count = 0, at = 0;
    const char *start, *end;

    while (count < SLOTS && (start = find(json, at, SLOT_START)) &&
           (end = find(json, (size_t)(start - (const char *)json->data) + 1, SLOT_END))) {
        slots[count].start = (size_t)(start - (const char *)json->data);
        at = slots[count++].end = (size_t)(end - (const char *)json->data) + strlen(SLOT_END);
    }
    return count;
}

/* Appends a range of from to out. */
static void copy(struct lethe_buf *out, const struct lethe_buf *from, size_t start, size_t end)
{
    lethe_buf_put(out, from->data + start, end - start);
}

/* Another value for the one at [start, end): other digits in a string, or a number. */
static void draw_value(struct drill_tamper *t, enum change how, const char *old, size_t len,
                       struct lethe_buf *out)
{
    static const char *const fidelities[] = {"exact", "split", "lossy"};
    uint64_t value = strtoull(old, NULL, 10);
    size_t at;

    switch (how) {
    case MEMORY:
        lethe_buf_print(out, "%" PRIu64,
                        value > 16 ? 16 + drill_below(&t->random, (size_t)value - 16) : value - 1);
        return;
    case PASSES:
        lethe_buf_print(out, "%" PRIu64,
                        value > 1 ? 1 + drill_below(&t->random, (size_t)value - 1) : value - 1);
        return;
    case BEYOND:
        lethe_buf_print(out, "%s", drill_below(&t->random, 2) ? "0" : "4294967295");
        return;
    case VERSION:
    case GENERATION:
    case STRENGTH:
        lethe_buf_print(out, "%" PRIu64, drill_below(&t->random, 2) && value ? value - 1 : value + 1);
        return;
    case FIDELITY:
        at = drill_below(&t->random, 3);
        at = len > 2 && strncmp(old + 1, fidelities[at], 5) == 0 ? (at + 1) % 3 : at;
        lethe_buf_print(out, "\"%s\"", fidelities[at]);
        return;
    case PAIRS:
        lethe_buf_print(out, "%s", old[1] == 'v' ? "\"device\"" : "\"vault\"");
        return;
    case LABEL:
        lethe_buf_print(out, "\"another label\"");
        return;
    default: /* digits */
        lethe_buf_put(out, old, len);
        at = out->len - len + 1 + drill_below(&t->random, len > 2 ? len - 2 : 1);
        out->data[at] = out->data[at] == '1' ? '2' : '1';
        return;
    }
}

/* json, in t->a, with one field rewritten; of a slot within its span. */
static enum lethe_err change_field(struct drill_tamper *t, enum change how)
{
    struct lethe_buf out = {0};
    struct span slots[SLOTS];
    size_t count = slots_of(&t->a, slots), from = 0, start, end;
    const char *at;
    enum lethe_err err;

    if (count == 0) {
        return LETHE_ERR_NOT_FOUND;
    }
    if (how <= BEYOND) {
        from = slots[drill_below(&t->random, count)].start;
    } else if (how == MAC) {
        from = slots[count - 1].end;
    }
    at = find(&t->a, from, fields[how]);
    if (!at) {
        return LETHE_ERR_NOT_FOUND;
    }
    start = (size_t)(at - (const char *)t->a.data) + strlen(fields[how]);
    end = start;
    if (t->a.data[end] == '"') {
        for (end++; end < t->a.len && t->a.data[end] != '"'; end++) {
            end += t->a.data[end] == '\\';
        }
        end += end < t->a.len;
    } else {
        end += strspn((const char *)t->a.data + end, "0123456789"); /* ends: the text does in "}" */
    }
    if (end > t->a.len) {
        return LETHE_ERR_NOT_FOUND;
    }
    copy(&out, &t->a, 0, start);
    draw_value(t, how, (const char *)t->a.data + start, end - start, &out);
    copy(&out, &t->a, end, t->a.len);
    err = lethe_buf_status(&out);
    err = err ? err : drill_tamper_set(t, "vault.json", out.data, out.len);
    lethe_buf_release(&out);
    return err;
}

/* vault.json of a vault that the thief made, so that his passphrase opens his slot. */
static enum lethe_err make_foreign(struct drill_tamper *t)
{
    static const struct lethe_kdf_cost cost = {16, 1};
    struct lethe_vault_settings settings = *lethe_vault_settings(t->owner->vault);
    struct lethe_secret *device = NULL, *master = NULL;
    struct lethe_vault_file *file = NULL;
    enum lethe_err err = lethe_secret_random(lethe_random_system(), &device);

    err = err ? err
              : lethe_vault_file_new(&settings, &cost, "mine", 4, device, lethe_random_system(), &file,
                                     &master);
    err = err ? err : lethe_vault_file_write(file, master, &t->foreign);
    lethe_vault_file_free(file);
    lethe_secret_free(device);
    lethe_secret_free(master);
    return err;
}

static enum lethe_err change_slots(struct drill_tamper *t, enum change how)
{
    struct lethe_buf out = {0};
    struct span slots[SLOTS], theirs[SLOTS];
    size_t count = slots_of(&t->a, slots), one, two, rest;
    enum lethe_err err = how == FOREIGN_SLOT && t->foreign.len == 0 ? make_foreign(t) : LETHE_OK;

    if (err || count == 0 || (how == SWAP_SLOTS && count < 2) ||
        (how == FOREIGN_SLOT && slots_of(&t->foreign, theirs) == 0)) {
        return err ? err : LETHE_ERR_NOT_FOUND;
    }
    one = drill_below(&t->random, count);
    two = how == SWAP_SLOTS ? (one + 1 + drill_below(&t->random, count - 1)) % count : one;
    if (one > two) {
        size_t swap = one;

        one = two;
        two = swap;
    }
    rest = slots[two].end;
    copy(&out, &t->a, 0, slots[one].start);
    switch (how) {
    case SWAP_SLOTS:
        copy(&out, &t->a, slots[two].start, slots[two].end);
        copy(&out, &t->a, slots[one].end, slots[two].start);
        copy(&out, &t->a, slots[one].start, slots[one].end);
        break;
    case SLOT_TWICE:
        copy(&out, &t->a, slots[one].start, slots[one].end);
        lethe_buf_print(&out, ",");
        copy(&out, &t->a, slots[one].start, slots[one].end);
        break;
    case FOREIGN_SLOT: /* beside the others, or in the place of one */
        if (drill_below(&t->random, 2)) {
            copy(&out, &t->a, slots[one].start, slots[one].end);
            lethe_buf_print(&out, ",");
        }
        copy(&out, &t->foreign, theirs[0].start, theirs[0].end);
        break;
    default: /* REMOVE_SLOT: and the comma behind it, or before it */
        if (one + 1 < count) {
            rest = slots[one + 1].start;
        } else if (count > 1) {
            out.len = slots[one - 1].end;
        }
        break;
    }
    copy(&out, &t->a, rest, t->a.len);
    err = lethe_buf_status(&out);
    err = err ? err : drill_tamper_set(t, "vault.json", out.data, out.len);
    lethe_buf_release(&out);
    return err;
}

enum lethe_err drill_change_settings(struct drill_tamper *t, size_t how)
{
    enum lethe_err err = drill_tamper_get(t, "vault.json", &t->a);

    return err                ? err
           : how < SWAP_SLOTS ? change_field(t, (enum change)how)
                              : change_slots(t, (enum change)how);
}
