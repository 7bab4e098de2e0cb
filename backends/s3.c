/* SPDX-License-Identifier: MIT */
/*
 * A bucket as a vault. Objects are written with If-None-Match: *, so that none is ever overwritten; the few
 * replaceable ones (keys without "/") with If-Match, in the form that the store was seen to honour
 * (s3_probe.c). An object's version is its ETag: it names the bytes, so that an object that was replaced by
 * others and then by its first bytes again has its first version. Ours are sealed under fresh nonces and
 * never are the same twice.
 *
 * A request whose first sending met a dead connection may have had its effect before the second: a refusal of
 * the second is then no answer, but LETHE_ERR_UNREACHABLE, "unknown whether it happened".
 *
 * Threads: any number; see s3.h for the locks.
 */
#include "backends/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/log.h"

#define OBJECT_MAX (UINT64_C(5) << 30) /* what one PUT may carry */

static struct lethe_s3 *s3_of(struct lethe_store *store)
{
    return (struct lethe_s3 *)store;
}

static bool replaceable(const char *key)
{
    return strchr(key, '/') == NULL;
}

bool lethe_s3_reserved(const char *key)
{
    return strcmp(key, "tmp") == 0 || strncmp(key, "tmp/", 4) == 0;
}

static bool success(const struct lethe_http_response *response)
{
    return response->status >= 200 && response->status <= 299;
}

/* An answer that the request does not allow. */
static enum lethe_err odd(const char *what, const struct lethe_http_response *response)
{
    lethe_log(LETHE_LOG_ERROR, "the store answers %d to a %s (request %s)", response->status, what,
              response->request_id[0] ? response->request_id : "unknown");
    return LETHE_ERR_IO;
}

enum lethe_err lethe_s3_version(const char *etag, struct lethe_store_version *out)
{
    size_t len = strlen(etag);

    if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
        etag++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof out->text) {
        return LETHE_ERR_FORMAT;
    }
    memcpy(out->text, etag, len);
    out->text[len] = '\0';
    return LETHE_OK;
}

void lethe_s3_condition(enum lethe_s3_conditions conditions, const char *version,
                        char out[LETHE_S3_CONDITION_SIZE])
{
    snprintf(out, LETHE_S3_CONDITION_SIZE, conditions == LETHE_S3_CONDITIONS_QUOTED ? "\"%s\"" : "%s",
             version);
}

/* *found is false when there is no such object. */
static enum lethe_err head(struct lethe_s3 *s3, const char *key, struct lethe_http_response *response,
                           bool *found)
{
    const struct lethe_s3_call call = {.method = "HEAD", .key = key};
    enum lethe_err err = lethe_s3_send(s3, &call, response);

    *found = !err && success(response);
    return err ? err : success(response) || response->status == 404 ? LETHE_OK : odd("HEAD", response);
}

static enum lethe_err take_version(const struct lethe_http_response *response,
                                   struct lethe_store_version *version)
{
    if (lethe_s3_version(response->etag, version)) {
        lethe_log(LETHE_LOG_ERROR, "the store gives an object no ETag, or one that is too long");
        return LETHE_ERR_IO;
    }
    return LETHE_OK;
}

/* What a get that can bring no bytes still has to find out. */
static enum lethe_err get_nothing(struct lethe_s3 *s3, const char *key, struct lethe_http_response *response,
                                  struct lethe_store_version *version)
{
    bool found;
    enum lethe_err err = head(s3, key, response, &found);

    if (err) {
        return err;
    }
    if (!found) {
        return LETHE_ERR_NOT_FOUND;
    }
    return version ? take_version(response, version) : LETHE_OK;
}

/* Whether a 206 holds what was asked for, and all of it that it says it does. */
static bool range_holds(const struct lethe_http_response *response, uint64_t offset, uint64_t got)
{
    return response->has_range && response->first == offset && response->last - response->first + 1 == got;
}

static enum lethe_err s3_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                             struct lethe_buf *out, struct lethe_store_version *version)
{
    struct lethe_s3 *s3 = s3_of(store);
    struct lethe_s3_call call = {.method = "GET", .key = key, .out = out, .skip = offset};
    struct lethe_http_response *response;
    char range[64];
    size_t start = out->len;
    enum lethe_err err;

    if (lethe_s3_reserved(key)) {
        return LETHE_ERR_NOT_FOUND;
    }
    response = malloc(sizeof *response);
    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    if (len == 0 || offset >= OBJECT_MAX) {
        err = get_nothing(s3, key, response, version);
        goto out;
    }
    call.out_max = len < OBJECT_MAX ? len : OBJECT_MAX;
    if (offset > 0 || len < OBJECT_MAX) {
        call.range = range;
        call.window = true; /* a store may answer with the whole */
        if (len < OBJECT_MAX) {
            snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)offset,
                     (unsigned long long)(offset + len - 1));
        } else {
            snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)offset);
        }
    }
    err = lethe_s3_send(s3, &call, response);
    if (err) {
        goto out;
    }
    if (response->status == 404) {
        err = LETHE_ERR_NOT_FOUND;
    } else if (response->status == 416) { /* it is there, and ends before offset */
        err = version ? get_nothing(s3, key, response, version) : LETHE_OK;
    } else if (response->status == 206 && call.range && !range_holds(response, offset, out->len - start)) {
        lethe_log(LETHE_LOG_WARN, "the store answers with another range than it was asked for");
        err = LETHE_ERR_UNREACHABLE;
    } else if (response->status == 200 || (response->status == 206 && call.range)) {
        err = version ? take_version(response, version) : LETHE_OK;
    } else {
        err = odd("GET", response);
    }
out:
    free(response);
    return err;
}

/* PUT under a condition (or none). LETHE_OK: the status is 2xx, 404, 412 or 501. */
static enum lethe_err send_put(struct lethe_s3 *s3, const char *key, const uint8_t *bytes, size_t len,
                               const char *condition, const char *value, struct lethe_http_response *response)
{
    const struct lethe_s3_call call = {.method = "PUT",
                                       .key = key,
                                       .condition = condition,
                                       .condition_value = value,
                                       .body = bytes,
                                       .body_len = len};
    enum lethe_err err = lethe_s3_send(s3, &call, response);

    if (err) {
        return err;
    }
    if (response->status == 409) {
        return LETHE_ERR_UNREACHABLE; /* another write is under way: AWS asks to try again */
    }
    if (response->status == 412 && response->sends > 1) {
        return LETHE_ERR_UNREACHABLE;
    }
    return success(response) || response->status == 404 || response->status == 412 || response->status == 501
               ? LETHE_OK
               : odd("PUT", response);
}

static enum lethe_err s3_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct lethe_s3 *s3 = s3_of(store);
    enum lethe_s3_conditions conditions;
    struct lethe_http_response *response;
    bool found = false;
    enum lethe_err err = LETHE_OK;

    if (lethe_s3_reserved(key) || len > OBJECT_MAX) {
        return LETHE_ERR_ARG;
    }
    /* Two may want the same replaceable key: there a store that ignores the condition must be known. */
    if (replaceable(key)) {
        err = lethe_s3_probe(s3, &conditions);
    }
    response = err ? NULL : malloc(sizeof *response);
    if (!response) {
        return err ? err : LETHE_ERR_NOMEM;
    }
    if (!atomic_load(&s3->no_create_only)) {
        err = send_put(s3, key, bytes, len, "if-none-match", "*", response);
        if (err || response->status != 501) {
            goto out;
        }
        atomic_store(&s3->no_create_only, true);
    }
    err = head(s3, key, response, &found);
    if (!err && found) {
        err = LETHE_ERR_EXISTS;
    }
    err = err ? err : send_put(s3, key, bytes, len, NULL, NULL, response);
out:
    if (!err && response->status == 412) {
        err = LETHE_ERR_EXISTS;
    } else if (!err && !success(response)) {
        err = odd("PUT", response);
    }
    free(response);
    return err;
}

static enum lethe_err s3_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                 const struct lethe_store_version *expected,
                                 struct lethe_store_version *version)
{
    struct lethe_s3 *s3 = s3_of(store);
    struct lethe_http_response *response;
    enum lethe_s3_conditions conditions;
    char value[LETHE_S3_CONDITION_SIZE];
    enum lethe_err err;

    if (!replaceable(key) || lethe_s3_reserved(key) || len > OBJECT_MAX) {
        return LETHE_ERR_ARG;
    }
    if (strpbrk(expected->text, "\"\r\n")) {
        return LETHE_ERR_CONFLICT; /* no version of ours */
    }
    err = lethe_s3_probe(s3, &conditions);
    if (err) {
        return err;
    }
    if (conditions == LETHE_S3_CONDITIONS_NONE) {
        return LETHE_ERR_UNSUPPORTED;
    }
    response = malloc(sizeof *response);
    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    if (expected->text[0] == '\0') {
        err = send_put(s3, key, bytes, len, "if-none-match", "*", response);
    } else {
        lethe_s3_condition(conditions, expected->text, value);
        err = send_put(s3, key, bytes, len, "if-match", value, response);
    }
    if (!err && (response->status == 412 || (response->status == 404 && expected->text[0]))) {
        err = LETHE_ERR_CONFLICT; /* 404: it is not there, so not in that version */
    } else if (!err && !success(response)) {
        err = odd("PUT", response);
    } else if (!err && lethe_s3_version(response->etag, version)) {
        err = LETHE_ERR_UNREACHABLE; /* done, and under a version that only reading back tells */
    }
    free(response);
    return err;
}

static enum lethe_err s3_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                   size_t len)
{
    struct lethe_s3 *s3 = s3_of(store);
    enum lethe_s3_conditions conditions;
    struct lethe_http_response *response;
    enum lethe_err err;

    if (!replaceable(key) || lethe_s3_reserved(key) || len > OBJECT_MAX) {
        return LETHE_ERR_ARG;
    }
    err = lethe_s3_probe(s3, &conditions);
    if (err) {
        return err;
    }
    if (conditions != LETHE_S3_CONDITIONS_NONE) {
        return LETHE_ERR_UNSUPPORTED;
    }
    response = malloc(sizeof *response);
    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    err = send_put(s3, key, bytes, len, NULL, NULL, response);
    if (!err && !success(response)) {
        err = odd("PUT", response);
    }
    free(response);
    return err;
}

static enum lethe_err s3_remove(struct lethe_store *store, const char *key)
{
    const struct lethe_s3_call call = {.method = "DELETE", .key = key};
    struct lethe_http_response *response;
    enum lethe_err err;

    if (lethe_s3_reserved(key)) {
        return LETHE_ERR_ARG;
    }
    response = malloc(sizeof *response);
    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    err = lethe_s3_send(s3_of(store), &call, response);
    if (!err && !success(response) && response->status != 404) {
        err = response->status == 409 ? LETHE_ERR_UNREACHABLE : odd("DELETE", response);
    }
    free(response);
    return err;
}

static enum lethe_err s3_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct lethe_http_response *response;
    bool found;
    enum lethe_err err;

    if (lethe_s3_reserved(key)) {
        return LETHE_ERR_NOT_FOUND;
    }
    response = malloc(sizeof *response);
    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    err = head(s3_of(store), key, response, &found);
    if (!err && !found) {
        err = LETHE_ERR_NOT_FOUND;
    } else if (!err && response->content_length < 0) {
        err = odd("HEAD, without a length,", response);
    }
    if (!err) {
        *out = (struct lethe_store_stat){.size = (uint64_t)response->content_length,
                                         .modified = response->last_modified};
    }
    free(response);
    return err;
}

static unsigned s3_quiet_ms(struct lethe_store *store)
{
    return lethe_http_quiet_ms(s3_of(store)->http);
}

static void s3_close(struct lethe_store *store)
{
    struct lethe_s3 *s3 = s3_of(store);

    lethe_http_free(s3->http);
    lethe_credentials_free(s3->credentials);
    free(s3->source.file);
    free(s3->source.profile);
    pthread_mutex_destroy(&s3->probing);
    pthread_rwlock_destroy(&s3->lock);
    free(s3);
}

static const struct lethe_store_ops s3_ops = {
    .get = s3_get,
    .put = s3_put,
    .replace = s3_replace,
    .overwrite = s3_overwrite,
    .remove = s3_remove,
    .list = lethe_s3_list,
    .stat = s3_stat,
    .quiet_ms = s3_quiet_ms,
    .close = s3_close,
};

/* Asks for one byte of vault.json, for the sake of the errors. */
static enum lethe_err greet(struct lethe_s3 *s3)
{
    const struct lethe_s3_call call = {.method = "GET", .key = "vault.json", .range = "bytes=0-0"};
    struct lethe_http_response *response = malloc(sizeof *response);
    enum lethe_err err;

    if (!response) {
        return LETHE_ERR_NOMEM;
    }
    response->status = 0;
    err = lethe_s3_send(s3, &call, response);
    if (err == LETHE_ERR_UNREACHABLE) {
        err = response->status == 404 ? LETHE_ERR_NOT_FOUND : LETHE_OK;
    }
    free(response);
    return err;
}

/* An absolute path, so that a daemon finds the file again from another folder. NULL stays NULL. */
static enum lethe_err keep_path(const char *path, char **out)
{
    if (!path) {
        return LETHE_OK;
    }
    *out = realpath(path, NULL);
    *out = *out ? *out : strdup(path);
    return *out ? LETHE_OK : LETHE_ERR_NOMEM;
}

static enum lethe_err keep_source(struct lethe_s3 *s3, const struct lethe_store_options *options)
{
    enum lethe_err err = keep_path(options->credentials, &s3->source.file);

    if (!err && options->profile) {
        s3->source.profile = strdup(options->profile);
        err = s3->source.profile ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    return err;
}

enum lethe_err lethe_s3_open(const char *location, const struct lethe_store_options *options,
                             struct lethe_store **out)
{
    struct lethe_store_options all = options ? *options : (struct lethe_store_options){0};
    struct lethe_http_options http = {.timeout_ms = all.timeout_ms, .in_flight = (unsigned)all.in_flight};
    struct lethe_s3 *s3 = calloc(1, sizeof *s3);
    enum lethe_err err;

    *out = NULL;
    if (!s3) {
        return LETHE_ERR_NOMEM;
    }
    s3->base.ops = &s3_ops;
    pthread_rwlock_init(&s3->lock, NULL);
    pthread_mutex_init(&s3->probing, NULL);
    err = keep_source(s3, &all);
    err = err ? err : lethe_s3_place_parse(location, &all, &s3->place); /* said before what is missing in files */
    err = err ? err : lethe_credentials_load(&s3->source, &s3->credentials);
    if (!err) {
        all.endpoint = all.endpoint ? all.endpoint : s3->credentials->endpoint;
        all.region = all.region ? all.region : s3->credentials->region;
        err = lethe_s3_place_parse(location, &all, &s3->place);
        lethe_s3_plan_renewal(s3);
    }
    if (!err) {
        http.ca_file = all.ca_file ? all.ca_file : s3->credentials->ca_file;
        err = lethe_http_new(&http, &s3->http);
    }
    err = err ? err : greet(s3);
    if (err) {
        s3_close(&s3->base);
        return err == LETHE_ERR_DENIED || err == LETHE_ERR_NOT_FOUND ? LETHE_ERR_UNREACHABLE : err;
    }
    *out = &s3->base;
    return LETHE_OK;
}
