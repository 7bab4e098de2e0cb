/* SPDX-License-Identifier: MIT */
#include "fs/drill/show.h"

#include <stdio.h>
#include <string.h>

#include "fs/drill/picture.h"
#include "fs/drill/show_private.h"

static const char style[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>lethefs: breach drill</title>\n<style>\n"
    ":root{--ink:#1d1f21;--soft:#5b6166;--paper:#fbfaf7;--card:#fff;--line:#dedbd3;--good:#1b6e3c;--bad:#"
    "a3241b;"
    "--c0:#1b5fa8;--c1:#b3541e;--c2:#2e7d4f;--c3:#7a3b93}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a3a8ac;--paper:#17181a;--card:#202225;"
    "--line:#36393d;--good:#6fcf97;--bad:#ff8a80;--c0:#7db7f0;--c1:#f0a36b;--c2:#7fd3a2;--c3:#cf9be6}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;padding:clamp(1rem,4vw,3rem);background:var(--paper);color:var(--ink);"
    "font:1.0625rem/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n"
    "main{max-width:72rem;margin:0 auto}\n"
    "h1{font-size:clamp(1.6rem,4vw,2.3rem);line-height:1.2;margin:0 0 .75rem}\n"
    "h2{font-size:1.3rem;line-height:1.3;margin:0 0 .75rem}\nh3{font-size:1rem;margin:1rem 0 .5rem}\n"
    "p{max-width:46rem;margin:.5rem 0}\n"
    "section{margin:2.5rem 0 0;padding-top:1.75rem;border-top:1px solid var(--line)}\n"
    ".lead{font-size:1.25rem;line-height:1.4;font-weight:600;margin:.5rem 0}\n"
    ".soft{color:var(--soft);font-size:.95rem}\n.good{color:var(--good)}\n.bad{color:var(--bad)}\n"
    ".path{overflow-wrap:anywhere}\n"
    ".verdicts{list-style:none;margin:0;padding:0;display:grid;gap:.75rem;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr))}\n"
    ".verdicts li{background:var(--card);border:1px solid var(--line);border-left:.3rem solid var(--soft);"
    "border-radius:.5rem;padding:.75rem 1rem}\n"
    ".verdicts li.holds{border-left-color:var(--good)}\n.verdicts li.broken{border-left-color:var(--bad)}\n"
    ".verdicts b{display:block;font-size:.95rem}\n.verdicts small{display:block;color:var(--soft);"
    "font-size:.875rem;line-height:1.45;margin-top:.35rem}\n"
    ".row{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(44%,9.5rem),1fr));gap:.75rem;"
    "margin:0 0 1.5rem;align-items:stretch}\n"
    "figure{margin:0;background:var(--card);border:1px solid "
    "var(--line);border-radius:.5rem;overflow:hidden}\n"
    "figure "
    "img{display:block;width:100%;aspect-ratio:1;object-fit:cover}\nimg.noise{image-rendering:pixelated}\n"
    "figcaption{padding:.5rem .75rem .6rem;font-size:.875rem;line-height:1.35;color:var(--soft)}\n"
    "figcaption b{display:block;color:var(--ink);font-variant-numeric:tabular-nums}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}\n"
    ".plot figcaption{color:var(--ink);font-weight:600;font-size:.95rem;padding:.75rem 1rem 0}\n"
    "svg{display:block;width:100%;height:auto}\nsvg text{fill:var(--ink);font:13px system-ui,sans-serif}\n"
    "svg text.axis{fill:var(--soft)}\n"
    "details{background:var(--card);border:1px solid var(--line);border-radius:.5rem;margin:.5rem "
    "0;padding:0 1rem}\n"
    "summary{cursor:pointer;padding:.7rem 0;font-weight:600}\ndetails[open]{padding-bottom:1rem}\n"
    ".parts{display:flex;flex-wrap:wrap;gap:0 2.5rem;align-items:flex-start}\n.part{max-width:100%}\n"
    ".wide{overflow-x:auto;max-width:100%}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.3rem .9rem .3rem 0;border-bottom:1px solid "
    "var(--line);text-align:left;vertical-align:top}\n"
    "th{font-weight:600}\n.n{text-align:right}\n"
    "</style>\n</head>\n<body>\n<main>\n";

static const char vault_title[] = "in the vault";

struct lethe_raster *drill_show_column(struct drill_show *show, const char *title)
{
    if (show->count < DRILL_COLUMNS) {
        show->columns[show->count++].title = title;
    }
    for (size_t i = 0; i < DRILL_SHOWN; i++) {
        lethe_raster_release(&show->columns[show->count - 1].pictures[i]);
    }
    return show->columns[show->count - 1].pictures;
}

struct lethe_raster *drill_show_vault(struct drill_show *show)
{
    return drill_show_column(show, vault_title);
}

void drill_show_release(struct drill_show *show)
{
    for (size_t c = 0; c < show->count; c++) {
        for (size_t i = 0; i < DRILL_SHOWN; i++) {
            lethe_raster_release(&show->columns[c].pictures[i]);
        }
    }
    show->count = 0;
}

void drill_show_text(struct lethe_buf *out, const char *text)
{
    for (; text && *text; text++) {
        if (strchr("<>&\"'", *text)) {
            lethe_buf_print(out, "&#%d;", *text);
        } else if ((unsigned char)*text < 32) {
            lethe_buf_put_u8(out, '?');
        } else {
            lethe_buf_put_u8(out, (uint8_t)*text);
        }
    }
}

const char *drill_show_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* RFC 4648, section 4. */
static void say_base64(struct lethe_buf *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;

        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? bytes[i + 2] : 0;
        lethe_buf_put_u8(out, (uint8_t)digits[group >> 18]);
        lethe_buf_put_u8(out, (uint8_t)digits[group >> 12 & 63]);
        lethe_buf_put_u8(out, i + 1 < len ? (uint8_t)digits[group >> 6 & 63] : '=');
        lethe_buf_put_u8(out, i + 2 < len ? (uint8_t)digits[group & 63] : '=');
    }
}

/* One picture under its title and, against the first of its row, its PSNR. */
static enum lethe_err say_picture(const struct drill_show *show, size_t column, size_t i,
                                  struct lethe_buf *out)
{
    const struct lethe_raster *picture = &show->columns[column].pictures[i],
                              *first = &show->columns[0].pictures[i];
    bool noise = show->columns[column].title == vault_title;
    struct lethe_buf png = {0};
    enum lethe_err err = lethe_png_write(picture, 6, &png);

    lethe_buf_print(out, "<figure><img%s alt=\"%s\" src=\"data:image/png;base64,",
                    noise ? " class=\"noise\"" : "", show->columns[column].title);
    say_base64(out, png.data, png.len);
    lethe_buf_print(out, "\"><figcaption>");
    if (noise) {
        lethe_buf_print(out, "<b>noise</b>");
    } else if (column > 0 && picture->width == first->width && picture->height == first->height) {
        lethe_buf_print(out, "<b>%.1f dB</b>", drill_picture_psnr(first, picture));
    }
    lethe_buf_print(out, "%s</figcaption></figure>\n", show->columns[column].title);
    lethe_buf_release(&png);
    return err;
}

static enum lethe_err say_pictures(const struct drill_show *show, struct lethe_buf *out)
{
    enum lethe_err err = LETHE_OK;

    if (show->count == 0) {
        return LETHE_OK;
    }
    lethe_buf_print(
        out,
        "<section>\n<h2>The same photos, as each of them sees them</h2>\n<p class=\"soft\">The middle of"
        " photos that no thief knew before, at the strength of this vault, and how near each comes to the"
        " first picture. Without the keys there is only the noise.</p>\n");
    for (size_t i = 0; i < DRILL_SHOWN && !err; i++) {
        if (!show->columns[0].pictures[i].width) {
            continue;
        }
        lethe_buf_print(out, "<div class=\"row\">\n");
        for (size_t c = 0; c < show->count && !err; c++) {
            if (show->columns[c].pictures[i].width) {
                err = say_picture(show, c, i, out);
            }
        }
        lethe_buf_print(out, "</div>\n");
    }
    lethe_buf_print(out, "</section>\n");
    return err;
}

/* Who an adversary is, to who owns the vault. */
static const char *who(const char *name)
{
    static const char *const names[][2] = {
        {"bucket alone", "Who steals the vault"},
        {"bucket and passphrase", "Who steals the vault and knows the passphrase"},
        {"bucket and keys", "Who has the vault and its keys, or breaks the cipher"},
        {"bucket, keys and model pair", "Who has the vault, its keys and the model pair"},
        {"unmounted device alone", "Who steals the device, unmounted"},
        {"who changes the vault", "Who changes the vault"},
        {"bucket and unmounted device", "Who steals both the vault and the device"},
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i][0], name) == 0) {
            return names[i][1];
        }
    }
    return name;
}

static void say_verdicts(const json_t *report, struct lethe_buf *out)
{
    const json_t *item;
    size_t i;

    lethe_buf_print(out, "<section>\n<h2>What each of them gets</h2>\n<ul class=\"verdicts\">\n");
    json_array_foreach(json_object_get(report, "adversaries"), i, item)
    {
        const json_t *holds = json_object_get(item, "holds");
        bool good = json_is_true(holds), bad = json_is_false(holds);

        lethe_buf_print(out, "<li class=\"%s\"><b class=\"%s\">%s ",
                        good  ? "holds"
                        : bad ? "broken"
                              : "none",
                        good  ? "good"
                        : bad ? "bad"
                              : "soft",
                        good  ? "&#10003;"
                        : bad ? "&#10007;"
                              : "&#8211;");
        drill_show_text(out, who(drill_show_string(item, "name")));
        lethe_buf_print(out, "</b>");
        drill_show_text(out, drill_show_string(item, "verdict"));
        lethe_buf_print(out, "<small>");
        drill_show_text(out, drill_show_string(item, "figures"));
        lethe_buf_print(out, "</small></li>\n");
    }
    lethe_buf_print(out, "</ul>\n<p class=\"soft\">&#10003; what lethefs claims holds. &#10007; it does not. "
                         "&#8211; nothing is"
                         " claimed: this is what such a thief has.</p>\n</section>\n");
}

static void say_head(const json_t *report, struct lethe_buf *out)
{
    const json_t *weaknesses = json_object_get(report, "weaknesses"), *item;
    const json_t *inventory = json_object_get(report, "inventory");
    size_t i, count = json_array_size(weaknesses);

    lethe_buf_print(out, "<h1>What a stolen vault is worth</h1>\n");
    if (count == 0) {
        lethe_buf_print(
            out, "<p class=\"lead good\">No weakness was found: whoever steals this vault has noise.</p>\n");
    } else {
        lethe_buf_print(out, "<p class=\"lead bad\">%zu weakness%s found.</p>\n", count,
                        count == 1 ? " was" : "es were");
    }
    json_array_foreach(weaknesses, i, item)
    {
        lethe_buf_print(out, "<p class=\"bad\"><b>");
        drill_show_text(out, drill_show_string(item, "name"));
        lethe_buf_print(out, "</b>: ");
        drill_show_text(out, drill_show_string(item, "detail"));
        lethe_buf_print(out, "</p>\n");
    }
    lethe_buf_print(out, "<p class=\"soft\">A breach drill of <b class=\"path\">");
    drill_show_text(out, drill_show_string(report, "vault"));
    lethe_buf_print(out,
                    "</b> (%s, strength %lld, %lld objects): the vault was read as a thief would read it, "
                    "and attacked with"
                    " what is known. Nothing in it was changed.</p>\n",
                    drill_show_string(inventory, "fidelity"),
                    json_integer_value(json_object_get(inventory, "strength")),
                    json_integer_value(json_object_get(inventory, "objects")));
}

enum lethe_err drill_show_page(const struct drill_show *show, const json_t *report, struct lethe_buf *out)
{
    enum lethe_err err;

    lethe_buf_put(out, style, sizeof style - 1);
    say_head(report, out);
    say_verdicts(report, out);
    err = say_pictures(show, out);
    drill_show_plots(report, out);
    drill_show_tables(report, out);
    lethe_buf_print(
        out,
        "<p class=\"soft\">lethefs %s, seed %lld, leak: %s. Intervals are of 95 %%: Wilson's for "
        "shares, Hanley and McNeil's for the AUC of a known photo, bootstrap for PSNR; those about chance, "
        "of Mann and Whitney, are so for all together.</p>\n</main>\n</body>\n</html>\n",
        drill_show_string(report, "version"), json_integer_value(json_object_get(report, "seed")),
        drill_show_string(report, "leak"));
    return err ? err : lethe_buf_status(out);
}
