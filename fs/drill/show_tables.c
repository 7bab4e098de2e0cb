/* SPDX-License-Identifier: MIT */
/* All figures of the report as tables, whatever it holds; each part under a sentence that says what was
 * asked. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/drill/show_private.h"

static const struct {
    const char *key, *title, *about;
} parts[] = {
    {"inventory", "What names, sizes and times tell", "Without a key: what any reader of the bucket sees."},
    {"key_slots", "The key slots", "What one guess of a passphrase costs, as vault.json says."},
    {"statistics", "Objects against noise",
     "An AUC of 0.5 is a coin: the objects cannot be told from random bytes. Xored: two of one size "
     "together."},
    {"sealing", "One photo twice, one pixel changed, flat against busy",
     "Sealed artifacts beside each other. NPCR and UACI must lie where two noise pictures do."},
    {"photo_a_or_b", "Photo A or photo B?",
     "Whether sealed artifacts tell which of two known photos they are of."},
    {"controls", "The same attacks on what must not survive them",
     "An attack that fails here would say nothing when it fails on the vault."},
    {"sizes", "Who has a photo's file: do sizes give it away?",
     "Rank 1: the right objects come first among all."},
    {"keys_leaked", "With the keys: what thieves make of artifacts",
     "Each thief's pictures of photos that he never saw, against the photos; and how many are recognised "
     "among all."},
    {"pairs", "The model pairs in the vault", "Their key is made of the master key and the device secret."},
    {"guessing", "The price of the passphrase",
     "One guess after the other, as the vault itself would take it."},
    {"device", "The device at rest", "State and cache, searched for anything readable."},
    {"tampering", "Changes to a copy",
     "Each is noticed, or makes no difference to a single byte that is read."},
    {"contents", "What is stored as what", "And why not as a photo."},
    {"outside_the_encrypter", "What never went through the Encrypter",
     "To the byte where it lies, for who has the keys."},
};

static void say_key(struct lethe_buf *out, const char *key)
{
    for (; *key; key++) {
        lethe_buf_put_u8(out, *key == '_' ? ' ' : (uint8_t)*key);
    }
}

static bool is_time(const char *key)
{
    return strcmp(key, "first") == 0 || strcmp(key, "last") == 0 || strcmp(key, "created") == 0;
}

static bool is_interval(const json_t *value)
{
    return json_object_get(value, "low") && json_object_size(value) == 3;
}

static void say_number(struct lethe_buf *out, double v)
{
    lethe_buf_print(out, fabs(v) >= 100 ? "%.1f" : fabs(v) >= 0.001 || v == 0 ? "%.4g" : "%.2e", v);
}

static void say_value(struct lethe_buf *out, const char *key, const json_t *value)
{
    const char *inner_key;
    json_t *inner;

    if (json_is_string(value)) {
        drill_show_text(out, json_string_value(value));
    } else if (json_is_real(value)) {
        say_number(out, json_real_value(value));
    } else if (json_is_integer(value) && is_time(key) && json_integer_value(value) > 0) {
        time_t time = (time_t)json_integer_value(value);
        struct tm parts_of_time;
        char text[32] = "";

        if (gmtime_r(&time, &parts_of_time)) {
            strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts_of_time);
        }
        lethe_buf_print(out, "%s", text);
    } else if (json_is_integer(value)) {
        lethe_buf_print(out, "%lld", json_integer_value(value));
    } else if (json_is_boolean(value)) {
        lethe_buf_print(out, json_is_true(value) ? "yes" : "no");
    } else if (is_interval(value)) {
        lethe_buf_print(out, "%.4g [%.4g, %.4g]", json_real_value(json_object_get(value, "value")),
                        json_real_value(json_object_get(value, "low")),
                        json_real_value(json_object_get(value, "high")));
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, inner_key, inner)
        {
            say_key(out, inner_key);
            lethe_buf_print(out, " ");
            if (json_is_array(inner)) {
                lethe_buf_print(out, "%zu", json_array_size(inner));
            } else {
                say_value(out, inner_key, inner);
            }
            lethe_buf_print(out, "; ");
        }
    } else {
        lethe_buf_print(out, "&#8211;");
    }
}

static void say_rows(struct lethe_buf *out, const json_t *rows)
{
    const json_t *row;
    const char *key;
    json_t *value;
    size_t i;

    lethe_buf_print(out, "<div class=\"wide\"><table>\n<thead><tr>");
    json_object_foreach(json_array_get(rows, 0), key, value)
    {
        lethe_buf_print(out, json_is_number(value) ? "<th class=\"n\">" : "<th>");
        say_key(out, key);
        lethe_buf_print(out, "</th>");
    }
    lethe_buf_print(out, "</tr></thead>\n<tbody>\n");
    json_array_foreach(rows, i, row)
    {
        lethe_buf_print(out, "<tr>");
        json_object_foreach((json_t *)(uintptr_t)row, key, value)
        {
            lethe_buf_print(out, json_is_number(value) ? "<td class=\"n\">" : "<td>");
            say_value(out, key, value);
            lethe_buf_print(out, "</td>");
        }
        lethe_buf_print(out, "</tr>\n");
    }
    lethe_buf_print(out, "</tbody></table></div>\n");
}

static void say_object(struct lethe_buf *out, const json_t *object)
{
    const char *key;
    json_t *value;
    bool open = false;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_array(value) || (json_is_object(value) && !is_interval(value))) {
            continue;
        }
        if (!open) {
            lethe_buf_print(out, "<div class=\"wide\"><table><tbody>\n");
            open = true;
        }
        lethe_buf_print(out, "<tr><th>");
        say_key(out, key);
        lethe_buf_print(out, "</th><td class=\"n\">");
        say_value(out, key, value);
        lethe_buf_print(out, "</td></tr>\n");
    }
    if (open) {
        lethe_buf_print(out, "</tbody></table></div>\n");
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool rows = json_is_array(value) && json_is_object(json_array_get(value, 0));

        if (!rows && !(json_is_object(value) && !is_interval(value))) {
            continue;
        }
        lethe_buf_print(out, "<div class=\"part\"><h3>");
        say_key(out, key);
        lethe_buf_print(out, "</h3>\n");
        if (rows) {
            say_rows(out, value);
        } else {
            say_object(out, value);
        }
        lethe_buf_print(out, "</div>\n");
    }
}

void drill_show_tables(const json_t *report, struct lethe_buf *out)
{
    lethe_buf_print(out, "<section>\n<h2>All figures</h2>\n");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const json_t *part = json_object_get(report, parts[i].key);

        if (!json_is_object(part) && json_array_size(part) == 0) {
            continue;
        }
        lethe_buf_print(out,
                        "<details><summary>%s</summary>\n<p class=\"soft\">%s</p>\n<div class=\"parts\">\n",
                        parts[i].title, parts[i].about);
        if (json_is_object(part)) {
            say_object(out, part);
        } else {
            say_rows(out, part);
        }
        lethe_buf_print(out, "</div>\n</details>\n");
    }
    lethe_buf_print(out, "</section>\n");
}
