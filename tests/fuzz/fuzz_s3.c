/* SPDX-License-Identifier: MIT */
/*
 * What an S3 store answers and what the user's files say: the first byte chooses between a listing, an error,
 * a profile, and a location with its endpoint and region (each ended by a zero).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/s3.h"
#include "backends/sigv4_sodium.h"
#include "lethe/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static enum lethe_err count(void *context, const char *key, const struct lethe_store_stat *stat)
{
    size_t *left = context;

    (void)stat;
    if (strlen(key) > 4096) {
        abort();
    }
    return (*left)-- > 0 ? LETHE_OK : LETHE_ERR_CANCELLED;
}

static void try_listing(const uint8_t *data, size_t size)
{
    struct lethe_s3_page page;
    size_t left = 1000;
    enum lethe_err err = lethe_s3_page_parse(data, size, count, &left, &page);

    if (err != LETHE_OK && err != LETHE_ERR_FORMAT && err != LETHE_ERR_CANCELLED) {
        abort();
    }
    if (!err && page.truncated && page.next[0] == '\0') {
        abort();
    }
}

static void try_error(const uint8_t *data, size_t size)
{
    struct lethe_s3_error error;

    lethe_s3_error_parse(data, size, &error);
    for (const char *at = error.message; *at; at++) {
        if (*at < ' ' || *at > '~') {
            abort();
        }
    }
}

static void try_profile(const uint8_t *data, size_t size)
{
    struct lethe_credentials *credentials = lethe_sigv4_secret_alloc(sizeof *credentials);
    int found;

    if (!credentials) {
        return;
    }
    for (int config = 0; config < 2; config++) {
        enum lethe_err err =
            lethe_credentials_parse((const char *)data, size, "default", config, credentials, &found);

        if (err != LETHE_OK && err != LETHE_ERR_FORMAT) {
            abort();
        }
    }
    (void)!lethe_credentials_json((const char *)data, size, credentials);
    if (memchr(credentials->secret, '\0', sizeof credentials->secret) == NULL) {
        abort();
    }
    lethe_credentials_free(credentials);
}

static void try_place(const uint8_t *data, size_t size)
{
    char text[4096 + 8] = "s3://", *endpoint, *region;
    struct lethe_store_options options = {.path_style = size % 3 == 1, .host_style = size % 3 == 2};
    size_t len = size < 4096 ? size : 4096;
    struct lethe_s3_place place;

    memcpy(text + 5, data, len);
    endpoint = text + 5 + strlen(text + 5);
    endpoint += endpoint < text + 5 + len;
    region = endpoint + strlen(endpoint);
    region += region < text + 5 + len;
    options.endpoint = endpoint;
    options.region = region;
    if (lethe_s3_place_parse(text, &options, &place)) {
        return;
    }
    if (place.host[0] == '\0' || place.region[0] == '\0' || strpbrk(place.host, "/@\r\n ") ||
        strpbrk(place.base, "\r\n ?#%") || strpbrk(place.prefix, "\r\n") || strstr(place.prefix, "//")) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lethe_log_set_sink(drop_log, NULL);
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        try_listing(data + 1, size - 1);
        break;
    case 1:
        try_error(data + 1, size - 1);
        break;
    case 2:
        try_profile(data + 1, size - 1);
        break;
    default:
        try_place(data + 1, size - 1);
        break;
    }
    return 0;
}
