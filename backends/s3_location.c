/* SPDX-License-Identifier: MIT */
/* From s3://bucket/prefix, an endpoint and a region to the names that requests carry. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/s3.h"
#include "lethe/log.h"

static bool bucket_valid(const char *name, size_t len)
{
    if (len < 3 || len > 63) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (i > 0 && (c == '.' || c == '-' || c == '_')))) {
            return false;
        }
    }
    return true;
}

static bool host_valid(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = host[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '-' || c == '_' || c == ':' || c == '[' || c == ']')) {
            return false;
        }
    }
    return len > 0;
}

/* "a/b/" of "a/b", "a/b/" and "/a/b". Parts that a path would resolve are refused, as are control characters.
 */
static bool take_prefix(const char *text, struct lethe_s3_place *place)
{
    size_t len = strlen(text);

    while (len > 0 && text[len - 1] == '/') {
        len--;
    }
    if (len == 0) {
        return true;
    }
    if (len + 2 > sizeof place->prefix) {
        return false;
    }
    memcpy(place->prefix, text, len);
    memcpy(place->prefix + len, "/", 2);
    for (const char *part = place->prefix; *part;) {
        size_t part_len = strcspn(part, "/");

        if (part_len == 0 || (part_len == 1 && part[0] == '.') ||
            (part_len == 2 && part[0] == '.' && part[1] == '.')) {
            return false;
        }
        for (size_t i = 0; i < part_len; i++) {
            if ((unsigned char)part[i] < ' ' || part[i] == 127) {
                return false;
            }
        }
        part += part_len + 1;
    }
    return true;
}

/* "https://host[:port][/]" */
static bool take_endpoint(const char *endpoint, struct lethe_s3_place *place)
{
    const char *host, *port;
    size_t len;

    if (strncasecmp(endpoint, "https://", 8) == 0) {
        place->tls = true;
        host = endpoint + 8;
    } else if (strncasecmp(endpoint, "http://", 7) == 0) {
        host = endpoint + 7;
    } else {
        return false;
    }
    len = strcspn(host, "/");
    if (len >= sizeof place->host || !host_valid(host, len) || host[len + strspn(host + len, "/")] != '\0') {
        return false;
    }
    memcpy(place->host, host, len);
    place->host[len] = '\0';
    for (char *at = place->host; *at; at++) {
        *at = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
    }
    /* A scheme's own port does not stand in the Host header, which is signed. */
    port = strrchr(place->host, ':');
    if (port && strcmp(port, place->tls ? ":443" : ":80") == 0) {
        place->host[port - place->host] = '\0';
    }
    return place->host[0] != '\0';
}

static bool loopback(const char *host)
{
    size_t len = strcspn(host, ":");

    if (strncmp(host, "[::1]", 5) == 0) {
        return true;
    }
    return (len == 9 && memcmp(host, "localhost", 9) == 0) ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == len);
}

static bool region_valid(const char *region)
{
    return region[0] != '\0' && strlen(region) < sizeof((struct lethe_s3_place *)NULL)->region &&
           strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
               strlen(region);
}

/* A certificate for *.s3 does not cover a name with dots, nor a host name capitals. */
static bool host_style_fits(const struct lethe_s3_place *place)
{
    return strspn(place->bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(place->bucket);
}

/* Puts the bucket before the host's name. A name with dots does where no certificate has to fit. */
static bool take_host_style(struct lethe_s3_place *place)
{
    char host[sizeof place->host];
    bool address = place->host[0] == '[' || strspn(place->host, "0123456789.:") == strlen(place->host);
    size_t len = strlen(place->bucket);

    if (address || (place->tls && !host_style_fits(place)) || len + 1 + strlen(place->host) >= sizeof host) {
        return false;
    }
    strcpy(host, place->host);
    for (size_t i = 0; i < len; i++) {
        char c = place->bucket[i];

        if (c == '_' || (c >= 'A' && c <= 'Z')) {
            return false;
        }
    }
    memcpy(place->host, place->bucket, len);
    place->host[len] = '.';
    strcpy(place->host + len + 1, host);
    return true;
}

enum lethe_err lethe_s3_place_parse(const char *location, const struct lethe_store_options *options,
                                    struct lethe_s3_place *out)
{
    const char *endpoint = options->endpoint, *region = options->region;
    struct lethe_s3_place place = {0};
    bool in_host = options->host_style;
    const char *bucket = location + 5;
    size_t len = strcspn(bucket, "/");

    if (!bucket_valid(bucket, len)) {
        lethe_log(LETHE_LOG_ERROR, "%s names no bucket: write s3://bucket/prefix", location);
        return LETHE_ERR_ARG;
    }
    memcpy(place.bucket, bucket, len);
    if (!take_prefix(bucket + len + strspn(bucket + len, "/"), &place)) {
        lethe_log(LETHE_LOG_ERROR, "%s: the prefix has an empty part, . or .., or is too long", location);
        return LETHE_ERR_ARG;
    }
    region = region && region[0] ? region : "us-east-1";
    if (!region_valid(region)) {
        lethe_log(LETHE_LOG_ERROR, "%s is no region", region);
        return LETHE_ERR_ARG;
    }
    strcpy(place.region, region);
    if (endpoint && endpoint[0]) {
        if (!take_endpoint(endpoint, &place)) {
            lethe_log(LETHE_LOG_ERROR, "%s is no endpoint: write http://host:port or https://host", endpoint);
            return LETHE_ERR_ARG;
        }
    } else {
        const char *domain = strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";

        place.tls = true;
        snprintf(place.host, sizeof place.host, "s3.%s.%s", region, domain);
        in_host = !options->path_style && host_style_fits(&place); /* else the path serves, whatever was asked */
    }
    if (options->path_style && options->host_style) {
        lethe_log(LETHE_LOG_ERROR, "--path-style and --host-style exclude each other: give one of them");
        return LETHE_ERR_ARG;
    }
    if (in_host ? !take_host_style(&place)
                : snprintf(place.base, sizeof place.base, "/%s", place.bucket) >= (int)sizeof place.base) {
        lethe_log(LETHE_LOG_ERROR,
                  "bucket %s cannot stand in the host name of %s: leave --host-style out", place.bucket,
                  place.host);
        return LETHE_ERR_ARG;
    }
    place.bare = !place.tls && !loopback(place.host);
    *out = place;
    return LETHE_OK;
}
