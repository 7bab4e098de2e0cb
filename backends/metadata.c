/* SPDX-License-Identifier: MIT */
/*
 * Credentials that a machine or a container is given: from the endpoint that AWS_CONTAINER_CREDENTIALS_* name (ECS task
 * roles, EKS pod identities: "Container credential provider", AWS SDKs and Tools Reference Guide), else from a cloud
 * instance's metadata service, version 2 ("Use the Instance Metadata Service to access instance metadata", Amazon EC2
 * User Guide). Asked directly, never through a proxy, and not for long: most machines have neither.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/credentials.h"
#include "backends/http.h"
#include "backends/s3.h"
#include "backends/sigv4_sodium.h"
#include "lethe/log.h"

#define TIMEOUT_MS 1000
#define ANSWER_MAX (64u << 10)
#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define INSTANCE_ROLES "/latest/meta-data/iam/security-credentials/"
#define URL_MAX 2048
#define LINE_MAX 8300

struct json {
    const char *at, *end;
};

static bool json_char(struct json *json, char c)
{
    while (json->at < json->end && strchr(" \t\r\n", *json->at) && *json->at) {
        json->at++;
    }
    if (json->at == json->end || *json->at != c) {
        return false;
    }
    json->at++;
    return true;
}

/* A string into to; one that does not fit, or holds what no key does (escapes but of / \ and "), is false. */
static bool json_string(struct json *json, char *to, size_t size)
{
    size_t len = 0;

    if (!json_char(json, '"')) {
        return false;
    }
    while (json->at < json->end && *json->at != '"') {
        char c = *json->at++;

        if (c == '\\') {
            if (json->at == json->end || !strchr("/\\\"", *json->at)) {
                return false;
            }
            c = *json->at++;
        }
        if ((unsigned char)c < ' ' || len + 1 >= size) {
            return false;
        }
        to[len++] = c;
    }
    to[len] = '\0';
    return json_char(json, '"');
}

enum lethe_err lethe_credentials_json(const char *text, size_t len, struct lethe_credentials *credentials)
{
    struct json json = {text, text + len};
    char name[64], *value = lethe_sigv4_secret_alloc(sizeof credentials->token);
    enum lethe_err err = LETHE_ERR_FORMAT;
    bool more;

    if (!value) {
        return LETHE_ERR_NOMEM;
    }
    if (!json_char(&json, '{')) {
        goto out;
    }
    do {
        const struct {
            const char *name;
            char *to;
            size_t size;
        } fields[] = {{"AccessKeyId", credentials->access, sizeof credentials->access},
                      {"SecretAccessKey", credentials->secret, sizeof credentials->secret},
                      {"Token", credentials->token, sizeof credentials->token}};

        if (!json_string(&json, name, sizeof name) || !json_char(&json, ':') ||
            !json_string(&json, value, sizeof credentials->token)) {
            goto out;
        }
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (strcmp(name, fields[i].name) == 0) {
                if (strlen(value) >= fields[i].size) {
                    goto out;
                }
                strcpy(fields[i].to, value);
            }
        }
        if (strcmp(name, "Expiration") == 0) {
            credentials->expires = lethe_s3_time(value);
        }
        more = json_char(&json, ',');
    } while (more);
    if (json_char(&json, '}') && credentials->access[0] && credentials->secret[0]) {
        err = LETHE_OK;
    }
out:
    lethe_sigv4_secret_free(value);
    return err;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static void wipe(struct lethe_buf *buf)
{
    if (buf->data) {
        lethe_sigv4_wipe(buf->data, buf->cap);
    }
    lethe_buf_release(buf);
}

/* One request with at most one header line. The answer's body, ended by a zero that does not count. */
static enum lethe_err ask(struct lethe_http *http, const char *method, const char *url, const char *line,
                          struct lethe_buf *out)
{
    struct lethe_http_request request = {.method = method,
                                         .url = url,
                                         .headers = &line,
                                         .header_count = line ? 1 : 0,
                                         .body = (const uint8_t *)"",
                                         .out = out,
                                         .out_max = ANSWER_MAX};
    struct lethe_http_response *response = malloc(sizeof *response);
    enum lethe_err err = response ? lethe_http_send(http, &request, response) : LETHE_ERR_NOMEM;

    if (!err && response->status != 200) {
        err = response->status == 404 ? LETHE_ERR_NOT_FOUND : LETHE_ERR_UNREACHABLE;
    }
    if (!err) {
        lethe_buf_put_u8(out, 0);
        err = lethe_buf_status(out);
        out->len -= err ? 0 : 1;
    }
    free(response);
    return err;
}

static enum lethe_err take(const struct lethe_buf *answer, struct lethe_credentials *credentials)
{
    return lethe_credentials_json((const char *)answer->data, answer->len, credentials);
}

/* The container's token, from the variable or from a file that is renewed. "" is none. */
static enum lethe_err container_line(char *line, size_t size)
{
    const char *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    const char *path = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    enum lethe_err err = LETHE_OK;
    size_t len;
    FILE *file;

    len = (size_t)snprintf(line, size, "Authorization: %s", token ? token : "");
    if (path) {
        file = fopen(path, "re");
        if (!file) {
            return LETHE_ERR_NOT_FOUND;
        }
        len = 15 + fread(line + 15, 1, size - 16, file);
        err = ferror(file) ? LETHE_ERR_IO : LETHE_OK;
        fclose(file);
        while (len > 15 && strchr("\r\n", line[len - 1])) {
            len--;
        }
        line[len] = '\0';
    }
    if (len + 1 >= size || strlen(line) != len || strpbrk(line, "\r\n")) {
        return LETHE_ERR_FORMAT;
    }
    line[token || path ? len : 0] = '\0';
    return err;
}

static enum lethe_err from_container(struct lethe_http *http, const char *relative, const char *full,
                                     struct lethe_credentials *credentials)
{
    char url[URL_MAX], *line = lethe_sigv4_secret_alloc(LINE_MAX);
    struct lethe_buf answer = {0};
    enum lethe_err err = line ? container_line(line, LINE_MAX) : LETHE_ERR_NOMEM;

    if (!err && snprintf(url, sizeof url, "%s%s", relative ? CONTAINER_HOST : "", relative ? relative : full) >=
                    (int)sizeof url) {
        err = LETHE_ERR_ARG;
    }
    err = err ? err : ask(http, "GET", url, line[0] ? line : NULL, &answer);
    err = err ? err : take(&answer, credentials);
    wipe(&answer);
    lethe_sigv4_secret_free(line);
    return err;
}

static enum lethe_err from_instance(struct lethe_http *http, struct lethe_credentials *credentials)
{
    const char *host = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    char url[URL_MAX], *line = lethe_sigv4_secret_alloc(LINE_MAX);
    struct lethe_buf answer = {0};
    size_t host_len;
    enum lethe_err err = line ? LETHE_OK : LETHE_ERR_NOMEM;

    host = host ? host : INSTANCE_HOST;
    host_len = strlen(host) - (host[strlen(host) - 1] == '/');
    if (!err && host_len + 1200 > sizeof url) {
        err = LETHE_ERR_ARG;
    }
    if (!err) {
        snprintf(url, sizeof url, "%.*s/latest/api/token", (int)host_len, host);
        err = ask(http, "PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 300", &answer);
    }
    if (!err && (answer.len == 0 || answer.len > 4096 || strcspn((char *)answer.data, "\r\n") != answer.len)) {
        err = LETHE_ERR_FORMAT;
    }
    if (!err) {
        snprintf(line, LINE_MAX, "X-aws-ec2-metadata-token: %s", (const char *)answer.data);
        lethe_buf_reset(&answer);
        snprintf(url, sizeof url, "%.*s" INSTANCE_ROLES, (int)host_len, host);
        err = ask(http, "GET", url, line, &answer);
    }
    if (!err) { /* the first of the roles; names have letters, digits and +=,.@_- */
        size_t role = strcspn((char *)answer.data, "\r\n");

        if (role == 0 || role > 1000 || strcspn((char *)answer.data, " \t?#%/") < role) {
            err = LETHE_ERR_FORMAT;
        } else {
            snprintf(url, sizeof url, "%.*s" INSTANCE_ROLES "%.*s", (int)host_len, host, (int)role,
                     (const char *)answer.data);
            lethe_buf_reset(&answer);
            err = ask(http, "GET", url, line, &answer);
        }
    }
    err = err ? err : take(&answer, credentials);
    wipe(&answer);
    lethe_sigv4_secret_free(line);
    return err;
}

/* Without TLS a token goes to this machine alone, or to where the container services are. */
static bool endpoint_allowed(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23",
                                        "[fd00:ec2::23]"};
    size_t len;

    if (strncasecmp(url, "https://", 8) == 0) {
        return true;
    }
    if (strncasecmp(url, "http://", 7) != 0) {
        return false;
    }
    url += 7;
    len = url[0] == '[' ? strcspn(url, "]") + 1 : strcspn(url, ":/?#");
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        if (strlen(hosts[i]) == len && strncasecmp(url, hosts[i], len) == 0 && strchr(":/", url[len])) {
            return true;
        }
    }
    return false;
}

enum lethe_err lethe_credentials_metadata(struct lethe_credentials *credentials)
{
    const struct lethe_http_options options = {.in_flight = 1, .timeout_ms = TIMEOUT_MS, .nearby = true};
    const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *disabled = variable("AWS_EC2_METADATA_DISABLED");
    struct lethe_http *http;
    enum lethe_err err;

    if (!relative && !full && disabled && strcasecmp(disabled, "true") == 0) {
        return LETHE_ERR_NOT_FOUND;
    }
    err = lethe_http_new(&options, &http);
    if (err) {
        return err;
    }
    if (relative || full) {
        err = relative || endpoint_allowed(full) ? from_container(http, relative, full, credentials)
                                                 : LETHE_ERR_ARG;
        if (err) {
            lethe_log(LETHE_LOG_ERROR,
                      "the container's endpoint gives no credentials: check AWS_CONTAINER_CREDENTIALS_%s_URI",
                      relative ? "RELATIVE" : "FULL");
            err = LETHE_ERR_KEY;
        }
    } else if (from_instance(http, credentials)) {
        err = LETHE_ERR_NOT_FOUND; /* most machines are no instance with a role */
    }
    lethe_http_free(http);
    return err;
}
