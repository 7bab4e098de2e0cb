/* SPDX-License-Identifier: MIT */
/*
 * HTTP requests from many threads at once. Each request borrows a libcurl handle, with the connection it
 * keeps alive, from a pool; the pool bounds how many are under way and lends the last one returned first, so
 * that few connections stay warm. (One libcurl multi handle in a thread of its own would share connections
 * better only over HTTP/2, which object stores do not speak, and costs two thread switches for every small
 * object.)
 *
 * Every wait ends: for a place in the pool, connecting (10 s), silence (30 s), and slowness (the time allowed
 * grows with the bytes that have moved). An answer of 429 or 503 halves the number under way and holds
 * requests back for as long as its Retry-After asks; successes raise it again, one by one.
 */
#ifndef LETHE_BACKENDS_HTTP_H
#define LETHE_BACKENDS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"

#define LETHE_HTTP_ERROR_MAX 4096

struct lethe_http;

struct lethe_http_options {
    unsigned in_flight;  /* 0: 32 */
    unsigned timeout_ms; /* for a place in the pool, and for a request that moves few bytes; 0: 60 s */
    const char *ca_file; /* NULL or "": the system's */
    bool nearby;         /* a service of this machine or container: no proxy, and no word when it is not there */
};

struct lethe_http_request {
    const char *method;         /* "GET", "HEAD", "PUT" or "DELETE" */
    const char *url;            /* percent-encoded */
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    const uint8_t *body; /* of a PUT */
    size_t body_len;
    /* Where the body of a 2xx answer is appended; NULL: dropped. More than out_max bytes are an error, */
    struct lethe_buf *out;
    uint64_t out_max;
    /* but of a 200 the first skip bytes, and those after the next out_max, are dropped if this is set. */
    bool window;
    uint64_t skip;
};

struct lethe_http_response {
    int status;
    unsigned sends; /* how often the request was begun: more than once, and an earlier one may have had its
                       effect */
    char etag[128];
    char region[64];        /* x-amz-bucket-region */
    char request_id[64];    /* x-amz-request-id */
    int64_t date;           /* seconds since 1970; 0: not said */
    int64_t last_modified;  /* likewise */
    int64_t content_length; /* -1: not said */
    bool has_range;         /* of Content-Range: bytes first-last/total */
    uint64_t first, last;
    unsigned retry_after_s;
    uint8_t error[LETHE_HTTP_ERROR_MAX]; /* the beginning of the body when the status is not 2xx */
    size_t error_len;
};

enum lethe_err lethe_http_new(const struct lethe_http_options *options,
                              struct lethe_http **out) LETHE_MUST_CHECK;
/* No request may be under way. NULL does nothing. */
void lethe_http_free(struct lethe_http *http);

/*
 * Sends one request and takes its whole answer. LETHE_OK: there is one, whatever its status.
 * LETHE_ERR_UNREACHABLE: there is none, or a part only; LETHE_ERR_DENIED: the server's certificate is not
 * trusted; LETHE_ERR_NOMEM; LETHE_ERR_ARG: the URL is none; LETHE_ERR_INTEGRITY: more bytes than out_max. One
 * line is logged when a server ceases to answer. On failure out is as it was.
 */
enum lethe_err lethe_http_send(struct lethe_http *http, const struct lethe_http_request *request,
                               struct lethe_http_response *response) LETHE_MUST_CHECK;

/* For how long nothing has been heard of the server while requests are under way; 0 when none is. */
unsigned lethe_http_quiet_ms(struct lethe_http *http);

/* How many requests may be under way now. For tests. */
unsigned lethe_http_limit(struct lethe_http *http);

#endif
