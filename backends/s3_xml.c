/* SPDX-License-Identifier: MIT */
#include "backends/s3_xml.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct walk {
    const char *at, *end;
    char path[LETHE_XML_PATH_MAX];
    size_t path_len;
    char text[LETHE_XML_TEXT_MAX];
    size_t text_len;
    bool closed; /* the root element */
    enum lethe_err (*each)(void *context, const char *path, const char *text);
    void *context;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static enum lethe_err put(struct walk *walk, const char *bytes, size_t len)
{
    if (walk->path_len == 0) {
        return blank(bytes[0]) ? LETHE_OK : LETHE_ERR_FORMAT; /* outside the root */
    }
    if (len >= sizeof walk->text - walk->text_len) {
        return LETHE_ERR_FORMAT;
    }
    memcpy(walk->text + walk->text_len, bytes, len);
    walk->text_len += len;
    return LETHE_OK;
}

/* UTF-8 (RFC 3629). */
static enum lethe_err put_point(struct walk *walk, uint32_t point)
{
    char bytes[4];

    if (point == 0 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return LETHE_ERR_FORMAT;
    }
    if (point < 0x80) {
        bytes[0] = (char)point;
        return put(walk, bytes, 1);
    }
    if (point < 0x800) {
        bytes[0] = (char)(0xc0 | point >> 6);
        bytes[1] = (char)(0x80 | (point & 63));
        return put(walk, bytes, 2);
    }
    if (point < 0x10000) {
        bytes[0] = (char)(0xe0 | point >> 12);
        bytes[1] = (char)(0x80 | (point >> 6 & 63));
        bytes[2] = (char)(0x80 | (point & 63));
        return put(walk, bytes, 3);
    }
    bytes[0] = (char)(0xf0 | point >> 18);
    bytes[1] = (char)(0x80 | (point >> 12 & 63));
    bytes[2] = (char)(0x80 | (point >> 6 & 63));
    bytes[3] = (char)(0x80 | (point & 63));
    return put(walk, bytes, 4);
}

static enum lethe_err number(struct walk *walk, const char *digits, size_t len)
{
    bool hex = len > 0 && digits[0] == 'x';
    uint32_t point = 0;

    digits += hex;
    len -= hex;
    if (len == 0 || len > 8) {
        return LETHE_ERR_FORMAT;
    }
    for (size_t i = 0; i < len; i++) {
        char c = digits[i];
        uint32_t digit = 16;

        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (hex && c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a' + 10);
        } else if (hex && c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A' + 10);
        }
        if (digit > 15 || point > 0x10ffff) {
            return LETHE_ERR_FORMAT;
        }
        point = point * (hex ? 16 : 10) + digit;
    }
    return put_point(walk, point);
}

/* at is behind the "&". */
static enum lethe_err reference(struct walk *walk)
{
    static const struct {
        const char *name;
        char c;
    } named[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    size_t left = (size_t)(walk->end - walk->at);
    const char *name = walk->at, *semicolon = memchr(name, ';', left < 12 ? left : 12);
    size_t len = semicolon ? (size_t)(semicolon - name) : 0;

    if (len == 0) {
        return LETHE_ERR_FORMAT;
    }
    walk->at = semicolon + 1;
    if (name[0] == '#') {
        return number(walk, name + 1, len - 1);
    }
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (strlen(named[i].name) == len && memcmp(named[i].name, name, len) == 0) {
            return put(walk, &named[i].c, 1);
        }
    }
    return LETHE_ERR_FORMAT;
}

static enum lethe_err close_element(struct walk *walk)
{
    enum lethe_err err;

    walk->text[walk->text_len] = '\0';
    err = walk->each(walk->context, walk->path, walk->text);
    while (walk->path_len > 0 && walk->path[walk->path_len - 1] != '/') {
        walk->path_len--;
    }
    walk->path_len -= walk->path_len > 0;
    walk->path[walk->path_len] = '\0';
    walk->text_len = 0;
    walk->closed = walk->path_len == 0;
    return err;
}

static size_t take_name(struct walk *walk, const char **name)
{
    *name = walk->at;
    while (walk->at < walk->end && name_char(*walk->at)) {
        walk->at++;
    }
    return (size_t)(walk->at - *name);
}

/* at is behind the "</". */
static enum lethe_err end_tag(struct walk *walk)
{
    const char *name, *own;
    size_t len = take_name(walk, &name);

    while (walk->at < walk->end && blank(*walk->at)) {
        walk->at++;
    }
    if (walk->at == walk->end || *walk->at++ != '>' || walk->path_len == 0) {
        return LETHE_ERR_FORMAT;
    }
    own = memrchr(walk->path, '/', walk->path_len);
    own = own ? own + 1 : walk->path;
    if (strlen(own) != len || memcmp(own, name, len) != 0) {
        return LETHE_ERR_FORMAT;
    }
    return close_element(walk);
}

/* at is behind the "<". */
static enum lethe_err start_tag(struct walk *walk)
{
    const char *name;
    size_t len = take_name(walk, &name);
    char quote = 0;
    bool slash = false;

    if (len == 0 || walk->closed || len + 2 > sizeof walk->path - walk->path_len) {
        return LETHE_ERR_FORMAT;
    }
    for (;; walk->at++) {
        if (walk->at == walk->end || (*walk->at == '<')) {
            return LETHE_ERR_FORMAT;
        }
        if (quote) {
            quote = *walk->at == quote ? 0 : quote;
            continue;
        }
        if (*walk->at == '>') {
            break;
        }
        slash = *walk->at == '/';
        if (*walk->at == '"' || *walk->at == '\'') {
            quote = *walk->at;
        }
    }
    walk->at++;
    if (walk->path_len > 0) {
        walk->path[walk->path_len++] = '/';
    }
    memcpy(walk->path + walk->path_len, name, len);
    walk->path_len += len;
    walk->path[walk->path_len] = '\0';
    walk->text_len = 0;
    return slash ? close_element(walk) : LETHE_OK;
}

/* at is behind the "<?". */
static enum lethe_err declaration(struct walk *walk)
{
    const char *close = memmem(walk->at, (size_t)(walk->end - walk->at), "?>", 2);

    if (!close || walk->path_len > 0) {
        return LETHE_ERR_FORMAT;
    }
    walk->at = close + 2;
    return LETHE_OK;
}

enum lethe_err lethe_xml_walk(const void *bytes, size_t len,
                              enum lethe_err (*each)(void *context, const char *path, const char *text),
                              void *context)
{
    struct walk walk = {.at = bytes, .each = each, .context = context};
    enum lethe_err err = LETHE_OK;

    if (len == 0) {
        return LETHE_ERR_FORMAT;
    }
    walk.end = walk.at + len;
    while (walk.at < walk.end && !err) {
        char c = *walk.at++;

        if (c == '\0') {
            err = LETHE_ERR_FORMAT;
        } else if (c == '&') {
            err = reference(&walk);
        } else if (c != '<') {
            err = put(&walk, &c, 1);
        } else if (walk.at < walk.end && *walk.at == '/') {
            walk.at++;
            err = end_tag(&walk);
        } else if (walk.at < walk.end && *walk.at == '?') {
            walk.at++;
            err = declaration(&walk);
        } else {
            err = start_tag(&walk);
        }
    }
    return err ? err : walk.closed ? LETHE_OK : LETHE_ERR_FORMAT;
}
