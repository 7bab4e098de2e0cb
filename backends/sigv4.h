/* SPDX-License-Identifier: MIT */
/*
 * AWS Signature Version 4 ("Authenticating Requests: Using the Authorization Header", Amazon S3 API
 * Reference). Our own rather than libcurl's: that one changed how it writes queries and headers between 7.88
 * and 8.x, and takes the time from the clock, which may be wrong.
 */
#ifndef LETHE_BACKENDS_SIGV4_H
#define LETHE_BACKENDS_SIGV4_H

#include <stddef.h>
#include <stdint.h>

#include "backends/credentials.h"
#include "lethe/bytes.h"

#define LETHE_SIGV4_DATE_SIZE 17 /* 20150830T123600Z */
#define LETHE_SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct lethe_sigv4_header {
    const char *name; /* lower case */
    const char *value;
};

struct lethe_sigv4 {
    const char *method;
    const char *path;  /* percent-encoded, as it goes over the line */
    const char *query; /* percent-encoded, sorted by name, every name with its "="; "" is none */
    const struct lethe_sigv4_header *headers; /* all that are signed, sorted by name, host among them */
    size_t header_count;
    const char *payload; /* the digest of the body in hexadecimal, or LETHE_SIGV4_UNSIGNED */
    const char *date;    /* as lethe_sigv4_date writes it */
    const char *region;
    const char *service;
};

/* seconds since 1970, in UTC. LETHE_ERR_ARG outside the years 1970 to 9999. */
enum lethe_err lethe_sigv4_date(int64_t seconds, char out[LETHE_SIGV4_DATE_SIZE]) LETHE_MUST_CHECK;

/* Appends the value of the Authorization header (no zero at the end). LETHE_ERR_NOMEM. */
enum lethe_err lethe_sigv4_sign(const struct lethe_sigv4 *request, const char *access, const char *secret,
                                struct lethe_buf *out) LETHE_MUST_CHECK;

/* Appends text with every byte but [A-Za-z0-9-._~] (and "/" where slashes is set) as %XX. */
void lethe_sigv4_encode(const char *text, bool slashes, struct lethe_buf *out);

#endif
