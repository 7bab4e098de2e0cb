/* SPDX-License-Identifier: MIT */
/* What the files of the S3 backend share. */
#ifndef LETHE_BACKENDS_S3_H
#define LETHE_BACKENDS_S3_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/credentials.h"
#include "backends/http.h"
#include "lethe/store.h"

/* Where a bucket is. */
struct lethe_s3_place {
    bool tls;
    bool bare;      /* neither TLS nor loopback: nothing but a digest guards what is sent */
    char host[512]; /* with the port, unless it is the scheme's own; with the bucket where it is part of it */
    char base[80];  /* "/bucket", or "" where it is part of the host */
    char bucket[64];
    char prefix[1024]; /* "" or "some/where/"; not encoded */
    char region[64];
};

/* How the store takes If-Match, once somebody has tried. */
enum lethe_s3_conditions {
    LETHE_S3_CONDITIONS_UNKNOWN,
    LETHE_S3_CONDITIONS_QUOTED,   /* as RFC 9110 has it, and AWS */
    LETHE_S3_CONDITIONS_UNQUOTED, /* the bare ETag: RADOS Gateway */
    LETHE_S3_CONDITIONS_NONE,     /* it refuses or ignores them */
};

struct lethe_s3 {
    struct lethe_store base;
    struct lethe_s3_place place;
    struct lethe_http *http;
    pthread_rwlock_t lock;                 /* guards credentials */
    struct lethe_credentials *credentials; /* replaced when they expire */
    struct lethe_credentials_source source;
    atomic_llong renew_at;                 /* seconds since 1970: when newer ones are looked for; 0: never */
    pthread_mutex_t probing;               /* held while conditions are tried out */
    atomic_int conditions;                 /* enum lethe_s3_conditions */
    atomic_bool no_create_only;            /* the store answered 501 to If-None-Match */
    atomic_llong skew;                     /* the store's clock less ours, in seconds */
    atomic_uint said;                      /* causes that were logged, a bit each */
};

struct lethe_s3_call {
    const char *method;
    const char *key;       /* NULL: the bucket itself */
    const char *query;     /* encoded, sorted; NULL: none */
    const char *range;     /* "bytes=0-9"; NULL: none */
    const char *condition; /* "If-Match" or "If-None-Match"; NULL: none */
    const char *condition_value;
    const uint8_t *body;
    size_t body_len;
    struct lethe_buf *out;
    uint64_t out_max;
    bool window;
    uint64_t skip;
};

/*
 * Signs and sends. LETHE_OK: response->status is 2xx, 304, 409, 412, 416 or 501, or 404 of an object;
 * everything else has become an error: LETHE_ERR_UNREACHABLE, LETHE_ERR_KEY (or no permission), LETHE_ERR_DENIED,
 * LETHE_ERR_NOT_FOUND (no such bucket) and those of lethe_http_send. The cause is logged once. A wrong clock
 * and expired credentials are mended, and tried once more.
 */
enum lethe_err lethe_s3_send(struct lethe_s3 *s3, const struct lethe_s3_call *call,
                             struct lethe_http_response *response) LETHE_MUST_CHECK;

/* Fills in the place from "s3://bucket/prefix" and endpoint, region and style. LETHE_ERR_ARG after a line in
 * the log. */
enum lethe_err lethe_s3_place_parse(const char *location, const struct lethe_store_options *options,
                                    struct lethe_s3_place *out) LETHE_MUST_CHECK;

/* Notes when credentials that expire have to be renewed. */
void lethe_s3_plan_renewal(struct lethe_s3 *s3);

#define LETHE_S3_CONDITION_SIZE (LETHE_STORE_VERSION_MAX + 2)

/* What If-Match carries for a version. */
void lethe_s3_condition(enum lethe_s3_conditions conditions, const char *version,
                        char out[LETHE_S3_CONDITION_SIZE]);

/* Finds out how the store takes conditional writes, unless that is known. */
enum lethe_err lethe_s3_probe(struct lethe_s3 *s3, enum lethe_s3_conditions *out) LETHE_MUST_CHECK;

enum lethe_err lethe_s3_list(struct lethe_store *store, const char *prefix,
                             enum lethe_err (*each)(void *context, const char *key,
                                                    const struct lethe_store_stat *stat),
                             void *context) LETHE_MUST_CHECK;

/* One page of a listing, as ListObjectsV2 answers it. Hostile bytes give LETHE_ERR_FORMAT. */
struct lethe_s3_page {
    bool truncated;
    char next[LETHE_HTTP_ERROR_MAX]; /* the token of the next page */
    size_t count;
};
enum lethe_err lethe_s3_page_parse(const void *bytes, size_t len,
                                   enum lethe_err (*each)(void *context, const char *key,
                                                          const struct lethe_store_stat *stat),
                                   void *context, struct lethe_s3_page *page) LETHE_MUST_CHECK;

/* "2009-10-12T17:50:30.000Z" in seconds since 1970; 0 when it is not of that form. */
int64_t lethe_s3_time(const char *text);

/* The code of an error's body ("" when there is none), and the region that it names. */
struct lethe_s3_error {
    char code[64];
    char message[256];
    char region[64];
};
void lethe_s3_error_parse(const void *bytes, size_t len, struct lethe_s3_error *out);

/* Opens "s3://..."; see lethe_store_open_with. */
enum lethe_err lethe_s3_open(const char *location, const struct lethe_store_options *options,
                             struct lethe_store **out) LETHE_MUST_CHECK;

/* Keys that this backend uses itself: those below tmp/. */
bool lethe_s3_reserved(const char *key);

/* The bare text of an ETag, without its quotes. LETHE_ERR_FORMAT when it is too long or there is none. */
enum lethe_err lethe_s3_version(const char *etag, struct lethe_store_version *out) LETHE_MUST_CHECK;

#endif
