/* SPDX-License-Identifier: MIT */
/*
 * One request: its address, its headers, its signature; and what the answer's errors mean ("Error responses",
 * Amazon S3 API Reference, and what RADOS Gateway and Swift say instead).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/s3.h"
#include "backends/s3_xml.h"
#include "backends/sigv4.h"
#include "backends/sigv4_sodium.h"
#include "lethe/log.h"

#define HEADERS_MAX 10
#define SKEW_SEEN_S                                                                                          \
    240 /* stores refuse requests that are 15 minutes off; their clock is taken from here on */

#define RENEW_BEFORE_S 300
#define RENEW_AGAIN_S 30 /* after a renewal that brought nothing new */

enum cause {
    CAUSE_SIGNATURE,
    CAUSE_ACCESS_KEY,
    CAUSE_EXPIRED,
    CAUSE_DENIED,
    CAUSE_BUCKET,
    CAUSE_REGION,
    CAUSE_BUSY,
    CAUSE_QUOTA,
    CAUSE_OTHER,
};

__attribute__((format(printf, 4, 5))) static void say(struct lethe_s3 *s3, enum cause cause,
                                                      enum lethe_log_level level, const char *format, ...)
{
    char text[512];
    va_list args;

    if (atomic_fetch_or(&s3->said, 1u << cause) & 1u << cause) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lethe_log(level, "%s", text);
}

/* A request as it goes over the line. */
struct wire {
    struct lethe_buf path;  /* encoded */
    struct lethe_buf url;   /* ended by a zero */
    struct lethe_buf lines; /* header lines, each ended by a zero */
    size_t starts[HEADERS_MAX];
    size_t count;
};

static void put_text(struct lethe_buf *buf, const char *text)
{
    lethe_buf_put(buf, text, strlen(text));
}

static void wire_release(struct wire *wire)
{
    if (wire->lines.len > 0) {
        lethe_sigv4_wipe(wire->lines.data, wire->lines.len); /* a session's token */
    }
    lethe_buf_release(&wire->path);
    lethe_buf_release(&wire->url);
    lethe_buf_release(&wire->lines);
}

static void put_line(struct wire *wire, const char *name, const char *value)
{
    wire->starts[wire->count++] = wire->lines.len;
    put_text(&wire->lines, name);
    put_text(&wire->lines, ":");
    if (value[0]) {
        put_text(&wire->lines, " ");
        put_text(&wire->lines, value);
    }
    lethe_buf_put_u8(&wire->lines, 0);
}

static void put_address(const struct lethe_s3 *s3, const struct lethe_s3_call *call, struct wire *wire)
{
    put_text(&wire->path, s3->place.base);
    if (call->key || s3->place.base[0] == '\0') {
        put_text(&wire->path, "/");
    }
    if (call->key) {
        lethe_sigv4_encode(s3->place.prefix, true, &wire->path);
        lethe_sigv4_encode(call->key, true, &wire->path);
    }
    put_text(&wire->url, s3->place.tls ? "https://" : "http://");
    put_text(&wire->url, s3->place.host);
    lethe_buf_put(&wire->url, wire->path.data, wire->path.len);
    if (call->query) {
        put_text(&wire->url, "?");
        put_text(&wire->url, call->query);
    }
    lethe_buf_put_u8(&wire->url, 0);
    lethe_buf_put_u8(&wire->path, 0);
}

/*
 * A digest of the body costs us and the store more time than sending it, so it is left out where the line
 * guards it (TLS) or there is no line (loopback). What we store is sealed anyway; the digest makes the store
 * refuse at once what would else be found damaged when it is read.
 */
static void digest(const struct lethe_s3 *s3, const struct lethe_s3_call *call,
                   char out[2 * LETHE_SIGV4_HASH_BYTES + 1])
{
    uint8_t hash[LETHE_SIGV4_HASH_BYTES];

    if (!s3->place.bare && call->body_len > 0) {
        strcpy(out, LETHE_SIGV4_UNSIGNED);
        return;
    }
    lethe_sigv4_sha256(call->body_len > 0 ? call->body : (const uint8_t *)"", call->body_len, hash);
    lethe_hex(hash, sizeof hash, out);
}

static enum lethe_err put_headers(struct lethe_s3 *s3, const struct lethe_s3_call *call, const char *payload,
                                  struct wire *wire)
{
    struct lethe_sigv4_header headers[HEADERS_MAX];
    struct lethe_sigv4 sign = {.method = call->method,
                               .path = (const char *)wire->path.data,
                               .query = call->query ? call->query : "",
                               .headers = headers,
                               .payload = payload,
                               .region = s3->place.region,
                               .service = "s3"};
    char date[LETHE_SIGV4_DATE_SIZE];
    struct lethe_buf value = {0};
    size_t count = 0;
    enum lethe_err err = lethe_sigv4_date((int64_t)time(NULL) + atomic_load(&s3->skew), date);

    if (err) {
        return err;
    }
    sign.date = date;
    headers[count++] = (struct lethe_sigv4_header){"host", s3->place.host};
    if (call->condition) {
        headers[count++] = (struct lethe_sigv4_header){call->condition, call->condition_value};
    }
    if (call->range) {
        headers[count++] = (struct lethe_sigv4_header){"range", call->range};
    }
    headers[count++] = (struct lethe_sigv4_header){"x-amz-content-sha256", payload};
    headers[count++] = (struct lethe_sigv4_header){"x-amz-date", date};
    pthread_rwlock_rdlock(&s3->lock);
    if (s3->credentials->token[0]) {
        headers[count++] = (struct lethe_sigv4_header){"x-amz-security-token", s3->credentials->token};
    }
    sign.header_count = count;
    err = lethe_sigv4_sign(&sign, s3->credentials->access, s3->credentials->secret, &value);
    for (size_t i = 0; i < count && !err; i++) {
        put_line(wire, headers[i].name, headers[i].value);
    }
    pthread_rwlock_unlock(&s3->lock);
    lethe_buf_put_u8(&value, 0);
    err = err ? err : lethe_buf_status(&value);
    if (!err) {
        put_line(wire, "authorization", (const char *)value.data);
        put_line(wire, "expect", ""); /* no round trip before a body */
        err = lethe_buf_status(&wire->lines);
    }
    lethe_buf_release(&value);
    return err;
}

static enum lethe_err send_once(struct lethe_s3 *s3, const struct lethe_s3_call *call, const char *payload,
                                struct lethe_http_response *response)
{
    struct wire wire = {0};
    const char *lines[HEADERS_MAX];
    struct lethe_http_request request = {.method = call->method,
                                         .headers = lines,
                                         .body = call->body,
                                         .body_len = call->body_len,
                                         .out = call->out,
                                         .out_max = call->out_max,
                                         .window = call->window,
                                         .skip = call->skip};
    enum lethe_err err;

    put_address(s3, call, &wire);
    err = lethe_buf_status(&wire.url);
    err = err ? err : lethe_buf_status(&wire.path);
    err = err ? err : put_headers(s3, call, payload, &wire);
    if (!err) {
        request.url = (const char *)wire.url.data;
        request.header_count = wire.count;
        for (size_t i = 0; i < wire.count; i++) {
            lines[i] = (const char *)wire.lines.data + wire.starts[i];
        }
        err = lethe_http_send(s3->http, &request, response);
    }
    wire_release(&wire);
    return err;
}

static void copy(char *to, size_t size, const char *text)
{
    size_t len = strlen(text);

    if (len < size) {
        memcpy(to, text, len + 1);
        for (char *at = to; *at; at++) {
            *at = *at < ' ' || *at > '~' ? '?' : *at; /* it will be logged */
        }
    }
}

static enum lethe_err take_error(void *context, const char *path, const char *text)
{
    struct lethe_s3_error *error = context;

    if (strcmp(path, "Error/Code") == 0) {
        copy(error->code, sizeof error->code, text);
    } else if (strcmp(path, "Error/Message") == 0) {
        copy(error->message, sizeof error->message, text);
    } else if (strcmp(path, "Error/Region") == 0) {
        copy(error->region, sizeof error->region, text);
    }
    return LETHE_OK;
}

void lethe_s3_error_parse(const void *bytes, size_t len, struct lethe_s3_error *out)
{
    memset(out, 0, sizeof *out);
    if (lethe_xml_walk(bytes, len, take_error, out)) {
        return; /* what was read before the fault may still help */
    }
}

static bool one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++) {
        if (strcmp(code, *codes) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes the store's clock where ours is off. Whether anything changed. */
static bool mend_clock(struct lethe_s3 *s3, const struct lethe_http_response *response)
{
    static atomic_bool said; /* a command may open a store more than once */
    int64_t ours = (int64_t)time(NULL), skew = atomic_load(&s3->skew), off;

    if (response->date <= 0) {
        return false;
    }
    off = response->date - (ours + skew);
    if (off < SKEW_SEEN_S && off > -SKEW_SEEN_S) {
        return false;
    }
    atomic_store(&s3->skew, response->date - ours);
    if (!atomic_exchange(&said, true)) {
        lethe_log(LETHE_LOG_WARN,
                  "this device's clock and the store's differ by %lld seconds: requests carry the store's time; "
                  "set the clock",
                  (long long)(response->date - ours));
    }
    return true;
}

void lethe_s3_plan_renewal(struct lethe_s3 *s3)
{
    int64_t expires = s3->credentials->expires;

    atomic_store(&s3->renew_at, expires ? expires - RENEW_BEFORE_S : 0);
}

/* Looks for newer credentials. Whether there were any. */
static bool mend_credentials(struct lethe_s3 *s3)
{
    struct lethe_credentials *fresh, *stale = NULL;

    if (lethe_credentials_load(&s3->source, &fresh)) {
        return false;
    }
    pthread_rwlock_wrlock(&s3->lock);
    if (strcmp(fresh->access, s3->credentials->access) != 0 ||
        strcmp(fresh->secret, s3->credentials->secret) != 0 ||
        strcmp(fresh->token, s3->credentials->token) != 0) {
        stale = s3->credentials;
        s3->credentials = fresh;
        lethe_s3_plan_renewal(s3);
    }
    pthread_rwlock_unlock(&s3->lock);
    lethe_credentials_free(stale ? stale : fresh);
    return stale != NULL;
}

/* Ahead of their end, by one thread at a time; the others go on with what there is. */
static void renew_in_time(struct lethe_s3 *s3)
{
    long long at = atomic_load(&s3->renew_at), now = (long long)time(NULL);

    if (at != 0 && now >= at && atomic_compare_exchange_strong(&s3->renew_at, &at, now + RENEW_AGAIN_S)) {
        (void)mend_credentials(s3); /* else those at hand are tried until they are refused */
    }
}

static enum lethe_err judge_refusal(struct lethe_s3 *s3, const struct lethe_http_response *response,
                                    const struct lethe_s3_error *error, bool *again)
{
    static const char *const expired[] = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired",
                                          "RequestExpired", NULL};
    static const char *const unknown[] = {"InvalidAccessKeyId", "InvalidClientTokenId",
                                          "UnrecognizedClientException", NULL};

    *again = mend_clock(s3, response);
    if (strcmp(error->code, "RequestTimeTooSkewed") == 0) {
        return LETHE_ERR_UNREACHABLE; /* tried again with the store's time; else it cannot be helped now */
    }
    if (one_of(error->code, expired) || one_of(error->code, unknown)) {
        *again |= mend_credentials(s3);
    }
    if (*again) {
        return LETHE_ERR_KEY;
    }
    if (one_of(error->code, expired)) {
        say(s3, CAUSE_EXPIRED, LETHE_LOG_ERROR, "the credentials for bucket %s have expired (%s): renew them",
            s3->place.bucket, error->code);
        return LETHE_ERR_KEY;
    }
    if (one_of(error->code, unknown)) {
        say(s3, CAUSE_ACCESS_KEY, LETHE_LOG_ERROR,
            "the store knows no such access key: check AWS_ACCESS_KEY_ID or ~/.aws/credentials, and the "
            "endpoint");
        return LETHE_ERR_KEY;
    }
    if (strcmp(error->code, "SignatureDoesNotMatch") == 0) {
        say(s3, CAUSE_SIGNATURE, LETHE_LOG_ERROR,
            "the store refuses the secret key: check AWS_SECRET_ACCESS_KEY or ~/.aws/credentials");
        return LETHE_ERR_KEY;
    }
    if (strcmp(error->code, "QuotaExceeded") == 0) {
        say(s3, CAUSE_QUOTA, LETHE_LOG_ERROR, "bucket %s has reached its quota", s3->place.bucket);
        return LETHE_ERR_NOSPACE;
    }
    say(s3, CAUSE_DENIED, LETHE_LOG_ERROR,
        "the store denies access to bucket %s (%s): give these credentials permission to get, put, delete "
        "and list",
        s3->place.bucket, error->code[0] ? error->code : "no reason given");
    return LETHE_ERR_KEY;
}

static enum lethe_err judge_region(struct lethe_s3 *s3, const struct lethe_http_response *response,
                                   const struct lethe_s3_error *error)
{
    const char *region = response->region[0] ? response->region : error->region;

    if (region[0]) {
        say(s3, CAUSE_REGION, LETHE_LOG_ERROR,
            "bucket %s is in region %s, not in %s: give --region %s, or set AWS_REGION", s3->place.bucket,
            region, s3->place.region, region);
    } else {
        say(s3, CAUSE_REGION, LETHE_LOG_ERROR,
            "bucket %s is elsewhere (%d %s): check --endpoint and --region", s3->place.bucket,
            response->status, error->code);
    }
    return LETHE_ERR_DENIED;
}

static enum lethe_err judge(struct lethe_s3 *s3, const struct lethe_http_response *response, bool *again)
{
    static const char *const elsewhere[] = {"AuthorizationHeaderMalformed", "PermanentRedirect",
                                            "IllegalLocationConstraintException", NULL};
    static const char *const passing[] = {"RequestTimeout", "IncompleteBody", "BadDigest",
                                          "XAmzContentSHA256Mismatch", NULL};
    static const char *const token[] = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", NULL};
    struct lethe_s3_error error;
    int status = response->status;

    *again = false;
    if ((status >= 200 && status <= 299) || status == 304 || status == 409 || status == 412 ||
        status == 416 || status == 501) {
        return LETHE_OK;
    }
    lethe_s3_error_parse(response->error, response->error_len, &error);
    if (status == 404) {
        if (strcmp(error.code, "NoSuchBucket") != 0) {
            return LETHE_OK;
        }
        say(s3, CAUSE_BUCKET, LETHE_LOG_ERROR,
            "there is no bucket %s at %s: make it, or check the name and --endpoint", s3->place.bucket,
            s3->place.host);
        return LETHE_ERR_UNREACHABLE;
    }
    if (status == 301 || status == 302 || status == 307 || status == 308 || one_of(error.code, elsewhere)) {
        return judge_region(s3, response, &error);
    }
    if (status == 401 || status == 403 || (status == 400 && one_of(error.code, token))) {
        return judge_refusal(s3, response, &error, again);
    }
    if (status == 507) {
        say(s3, CAUSE_QUOTA, LETHE_LOG_ERROR, "the store of bucket %s is full", s3->place.bucket);
        return LETHE_ERR_NOSPACE;
    }
    if (status == 408 || status == 429 || status >= 500 || one_of(error.code, passing)) {
        say(s3, CAUSE_BUSY, LETHE_LOG_WARN, "the store %s answers %d %s: it is busy or failing; try again later",
            s3->place.host, status, error.code);
        return LETHE_ERR_UNREACHABLE;
    }
    if (error.code[0] == '\0') { /* no words of S3 */
        say(s3, CAUSE_OTHER, LETHE_LOG_ERROR,
            "%s answers %d as no S3 service would: check --endpoint (%s)", s3->place.host, status,
            s3->place.tls ? "host and port" : "host and port; https:// where the service wants TLS");
        return LETHE_ERR_DENIED;
    }
    say(s3, CAUSE_OTHER, LETHE_LOG_ERROR, "the store refuses a request: %d %s %s", status, error.code,
        error.message);
    return LETHE_ERR_IO;
}

/* A HEAD is refused without a word: asks again with a GET, whose answer says why. */
static bool wordless(const struct lethe_s3_call *call, int status)
{
    return strcmp(call->method, "HEAD") == 0 &&
           (status == 301 || status == 307 || status == 400 || status == 403);
}

enum lethe_err lethe_s3_send(struct lethe_s3 *s3, const struct lethe_s3_call *call,
                             struct lethe_http_response *response)
{
    char payload[2 * LETHE_SIGV4_HASH_BYTES + 1];
    struct lethe_s3_call asking = *call;
    bool again = true;
    enum lethe_err err = LETHE_OK;

    digest(s3, call, payload);
    renew_in_time(s3);
    for (int i = 0; i < 2 && again; i++) {
        err = send_once(s3, call, payload, response);
        if (err) {
            return err;
        }
        if (wordless(call, response->status)) {
            struct lethe_http_response *answer = malloc(sizeof *answer);

            if (!answer) {
                return LETHE_ERR_NOMEM;
            }
            asking.method = "GET";
            asking.range = "bytes=0-0";
            err = send_once(s3, &asking, payload, answer);
            err = err ? err : judge(s3, answer, &again);
            if (!err && answer->status < 300) {
                err = LETHE_ERR_KEY; /* may get, may not look */
            }
            free(answer);
        } else {
            err = judge(s3, response, &again);
        }
    }
    return err;
}
