/* SPDX-License-Identifier: MIT */
/* ListObjectsV2, page after page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/s3.h"
#include "backends/s3_xml.h"
#include "backends/sigv4.h"
#include "lethe/log.h"

#define PAGE_MAX (16u << 20) /* bytes; 1000 keys of 1024 characters, all escaped, are far less */
#define PAGES_MAX (1u << 20) /* a store that never ends its listing */
#define PAGE_TRIES 4 /* of a page after the first: whoever retries the whole could report keys twice */

struct reading {
    struct lethe_s3_page *page;
    enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat);
    void *context;
    char key[LETHE_XML_TEXT_MAX];
    struct lethe_store_stat stat;
    bool has_key, has_size;
};

static bool number(const char *text, size_t len, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || value > (UINT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *out = value;
    return len > 0;
}

int64_t lethe_s3_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00";
    uint64_t parts[6];
    static const size_t starts[] = {0, 5, 8, 11, 14, 17};
    struct tm tm = {0};
    time_t time;

    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i]) {
            return 0;
        }
    }
    for (size_t i = 0; i < 6; i++) {
        if (!number(text + starts[i], i == 0 ? 4 : 2, &parts[i])) {
            return 0;
        }
    }
    if (parts[0] < 1970 || parts[1] < 1 || parts[1] > 12 || parts[2] < 1 || parts[2] > 31 || parts[3] > 23 ||
        parts[4] > 59 || parts[5] > 60) {
        return 0;
    }
    tm.tm_year = (int)parts[0] - 1900;
    tm.tm_mon = (int)parts[1] - 1;
    tm.tm_mday = (int)parts[2];
    tm.tm_hour = (int)parts[3];
    tm.tm_min = (int)parts[4];
    tm.tm_sec = (int)parts[5];
    time = timegm(&tm);
    return time > 0 ? (int64_t)time : 0;
}

static enum lethe_err take(void *context, const char *path, const char *text)
{
    struct reading *reading = context;

    if (strncmp(path, "ListBucketResult/", 17) != 0) {
        return strcmp(path, "ListBucketResult") == 0 ? LETHE_OK : LETHE_ERR_FORMAT;
    }
    path += 17;
    if (strcmp(path, "IsTruncated") == 0) {
        reading->page->truncated = strcmp(text, "true") == 0;
    } else if (strcmp(path, "NextContinuationToken") == 0) {
        if (strlen(text) >= sizeof reading->page->next) {
            return LETHE_ERR_FORMAT;
        }
        strcpy(reading->page->next, text);
    } else if (strcmp(path, "Contents/Key") == 0) {
        strcpy(reading->key, text);
        reading->has_key = true;
    } else if (strcmp(path, "Contents/Size") == 0) {
        reading->has_size = number(text, strlen(text), &reading->stat.size);
    } else if (strcmp(path, "Contents/LastModified") == 0) {
        reading->stat.modified = lethe_s3_time(text);
    } else if (strcmp(path, "Contents") == 0) {
        struct lethe_store_stat stat = reading->stat;
        bool good = reading->has_key && reading->has_size;

        reading->has_key = reading->has_size = false;
        memset(&reading->stat, 0, sizeof reading->stat);
        reading->page->count++;
        return good ? reading->each(reading->context, reading->key, &stat) : LETHE_ERR_FORMAT;
    }
    return LETHE_OK;
}

enum lethe_err lethe_s3_page_parse(const void *bytes, size_t len,
                                   enum lethe_err (*each)(void *context, const char *key,
                                                          const struct lethe_store_stat *stat),
                                   void *context, struct lethe_s3_page *page)
{
    struct reading reading = {.page = page, .each = each, .context = context};
    enum lethe_err err;

    memset(page, 0, sizeof *page);
    err = lethe_xml_walk(bytes, len, take, &reading);
    if (!err && page->truncated && page->next[0] == '\0') {
        err = LETHE_ERR_FORMAT;
    }
    return err;
}

struct listing {
    const struct lethe_s3 *s3;
    enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat);
    void *context;
    enum lethe_err stopped; /* what each returned, which must not be taken for a fault of the page */
};

/* Passes on the keys that are ours, without the prefix. */
static enum lethe_err pass(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct listing *listing = context;
    const char *prefix = listing->s3->place.prefix;
    size_t len = strlen(prefix);

    if (strncmp(key, prefix, len) != 0 || !lethe_store_key_valid(key + len) || lethe_s3_reserved(key + len)) {
        return LETHE_OK;
    }
    listing->stopped = listing->each(listing->context, key + len, stat);
    return listing->stopped;
}

static void put_text(struct lethe_buf *buf, const char *text)
{
    lethe_buf_put(buf, text, strlen(text));
}

static enum lethe_err get_page(struct lethe_s3 *s3, const char *prefix, const char *token,
                               struct lethe_buf *out)
{
    struct lethe_http_response *response = malloc(sizeof *response);
    struct lethe_buf query = {0};
    struct lethe_s3_call call = {.method = "GET", .out = out, .out_max = PAGE_MAX};
    enum lethe_err err;

    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    if (token[0]) {
        put_text(&query, "continuation-token=");
        lethe_sigv4_encode(token, false, &query);
        put_text(&query, "&");
    }
    put_text(&query, "list-type=2&max-keys=1000&prefix=");
    lethe_sigv4_encode(s3->place.prefix, false, &query);
    lethe_sigv4_encode(prefix, false, &query);
    lethe_buf_put_u8(&query, 0);
    err = lethe_buf_status(&query);
    if (!err) {
        call.query = (const char *)query.data;
        err = lethe_s3_send(s3, &call, response);
    }
    if (!err && response->status != 200) {
        lethe_log(LETHE_LOG_ERROR, "the store cannot list bucket %s: %d", s3->place.bucket, response->status);
        err = LETHE_ERR_IO;
    }
    lethe_buf_release(&query);
    free(response);
    return err;
}

enum lethe_err lethe_s3_list(struct lethe_store *store, const char *prefix,
                             enum lethe_err (*each)(void *context, const char *key,
                                                    const struct lethe_store_stat *stat),
                             void *context)
{
    struct lethe_s3 *s3 = (struct lethe_s3 *)store;
    struct listing listing = {.s3 = s3, .each = each, .context = context};
    struct lethe_s3_page *page = calloc(1, sizeof *page);
    char token[sizeof page->next] = "";
    struct lethe_buf bytes = {0};
    enum lethe_err err = page ? LETHE_OK : LETHE_ERR_NOMEM;
    unsigned pages = 0;

    while (!err) {
        for (int i = 0; i < (pages == 0 ? 1 : PAGE_TRIES); i++) {
            lethe_buf_reset(&bytes);
            err = get_page(s3, prefix, token, &bytes);
            if (err != LETHE_ERR_UNREACHABLE) {
                break;
            }
        }
        if (err) {
            break;
        }
        err = lethe_s3_page_parse(bytes.data, bytes.len, pass, &listing, page);
        if (err && !listing.stopped) {
            if (err == LETHE_ERR_FORMAT) {
                lethe_log(LETHE_LOG_ERROR, "the store's list of bucket %s cannot be read", s3->place.bucket);
            }
            break;
        }
        if (err || !page->truncated) {
            break;
        }
        if (strcmp(token, page->next) == 0 || ++pages == PAGES_MAX) {
            lethe_log(LETHE_LOG_ERROR, "the store's list of bucket %s does not end", s3->place.bucket);
            err = LETHE_ERR_FORMAT;
            break;
        }
        strcpy(token, page->next);
    }
    lethe_buf_release(&bytes);
    free(page);
    return err;
}
