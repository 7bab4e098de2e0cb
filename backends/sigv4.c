/* SPDX-License-Identifier: MIT */
#include "backends/sigv4.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backends/sigv4_sodium.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

static void put_text(struct lethe_buf *buf, const char *text)
{
    lethe_buf_put(buf, text, strlen(text));
}

enum lethe_err lethe_sigv4_date(int64_t seconds, char out[LETHE_SIGV4_DATE_SIZE])
{
    time_t now = (time_t)seconds;
    struct tm tm;

    if (seconds < 0 || seconds > INT64_C(253402300799) || !gmtime_r(&now, &tm) ||
        strftime(out, LETHE_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) != LETHE_SIGV4_DATE_SIZE - 1) {
        return LETHE_ERR_ARG;
    }
    return LETHE_OK;
}

void lethe_sigv4_encode(const char *text, bool slashes, struct lethe_buf *out)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
            c == '.' || c == '_' || c == '~' || (c == '/' && slashes)) {
            lethe_buf_put_u8(out, c);
        } else {
            const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};

            lethe_buf_put(out, escaped, sizeof escaped);
        }
    }
}

/* Without spaces at the ends, and runs of them as one. */
static void put_value(struct lethe_buf *buf, const char *value)
{
    bool space = false, begun = false;

    for (; *value; value++) {
        if (*value == ' ' || *value == '\t') {
            space = begun;
            continue;
        }
        if (space) {
            lethe_buf_put_u8(buf, ' ');
        }
        lethe_buf_put_u8(buf, (uint8_t)*value);
        space = false;
        begun = true;
    }
}

static void put_names(struct lethe_buf *buf, const struct lethe_sigv4 *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        assert(i == 0 || strcmp(request->headers[i - 1].name, request->headers[i].name) < 0);
        if (i > 0) {
            lethe_buf_put_u8(buf, ';');
        }
        put_text(buf, request->headers[i].name);
    }
}

static void put_canonical(struct lethe_buf *buf, const struct lethe_sigv4 *request)
{
    put_text(buf, request->method);
    lethe_buf_put_u8(buf, '\n');
    put_text(buf, request->path);
    lethe_buf_put_u8(buf, '\n');
    put_text(buf, request->query);
    lethe_buf_put_u8(buf, '\n');
    for (size_t i = 0; i < request->header_count; i++) {
        put_text(buf, request->headers[i].name);
        lethe_buf_put_u8(buf, ':');
        put_value(buf, request->headers[i].value);
        lethe_buf_put_u8(buf, '\n');
    }
    lethe_buf_put_u8(buf, '\n');
    put_names(buf, request);
    lethe_buf_put_u8(buf, '\n');
    put_text(buf, request->payload);
}

/* The day, region and service as they stand in the scope. */
static void put_scope(struct lethe_buf *buf, const struct lethe_sigv4 *request)
{
    lethe_buf_put(buf, request->date, 8);
    lethe_buf_put_u8(buf, '/');
    put_text(buf, request->region);
    lethe_buf_put_u8(buf, '/');
    put_text(buf, request->service);
    put_text(buf, "/aws4_request");
}

static enum lethe_err signing_key(const struct lethe_sigv4 *request, const char *secret,
                                  uint8_t key[LETHE_SIGV4_HASH_BYTES])
{
    char first[4 + sizeof((struct lethe_credentials *)NULL)->secret];
    int length = snprintf(first, sizeof first, "AWS4%s", secret);

    if (length < 0 || (size_t)length >= sizeof first) {
        lethe_sigv4_wipe(first, sizeof first);
        return LETHE_ERR_ARG;
    }
    lethe_sigv4_hmac((const uint8_t *)first, (size_t)length, request->date, 8, key);
    lethe_sigv4_wipe(first, sizeof first);
    lethe_sigv4_hmac(key, LETHE_SIGV4_HASH_BYTES, request->region, strlen(request->region), key);
    lethe_sigv4_hmac(key, LETHE_SIGV4_HASH_BYTES, request->service, strlen(request->service), key);
    lethe_sigv4_hmac(key, LETHE_SIGV4_HASH_BYTES, "aws4_request", 12, key);
    return LETHE_OK;
}

enum lethe_err lethe_sigv4_sign(const struct lethe_sigv4 *request, const char *access, const char *secret,
                                struct lethe_buf *out)
{
    uint8_t digest[LETHE_SIGV4_HASH_BYTES], key[LETHE_SIGV4_HASH_BYTES];
    char hex[2 * LETHE_SIGV4_HASH_BYTES + 1];
    struct lethe_buf text = {0};
    enum lethe_err err;

    put_canonical(&text, request);
    err = lethe_buf_status(&text);
    if (err) {
        goto out;
    }
    lethe_sigv4_sha256(text.data, text.len, digest);
    lethe_hex(digest, sizeof digest, hex);
    lethe_buf_reset(&text);
    put_text(&text, ALGORITHM "\n");
    put_text(&text, request->date);
    lethe_buf_put_u8(&text, '\n');
    put_scope(&text, request);
    lethe_buf_put_u8(&text, '\n');
    put_text(&text, hex);
    err = lethe_buf_status(&text);
    err = err ? err : signing_key(request, secret, key);
    if (err) {
        goto out;
    }
    lethe_sigv4_hmac(key, sizeof key, text.data, text.len, digest);
    lethe_sigv4_wipe(key, sizeof key);
    lethe_hex(digest, sizeof digest, hex);
    put_text(out, ALGORITHM " Credential=");
    put_text(out, access);
    lethe_buf_put_u8(out, '/');
    put_scope(out, request);
    put_text(out, ",SignedHeaders=");
    put_names(out, request);
    put_text(out, ",Signature=");
    put_text(out, hex);
    err = lethe_buf_status(out);
out:
    lethe_buf_release(&text);
    return err;
}
