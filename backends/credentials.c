/* SPDX-License-Identifier: MIT */
/*
 * What the environment says wins over what files say; a key and its secret always come from one place.
 * Secrets are read into secret memory and nowhere else.
 */
#include "backends/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sigv4_sodium.h"
#include "lethe/log.h"

#define FILE_MAX (256u << 10)

struct field {
    const char *name;
    size_t offset, size;
};

#define FIELD(name, member)                                                                                  \
    {                                                                                                        \
        name, offsetof(struct lethe_credentials, member), sizeof((struct lethe_credentials *)NULL)->member   \
    }

static const struct field fields[] = {
    FIELD("aws_access_key_id", access), FIELD("aws_secret_access_key", secret),
    FIELD("aws_session_token", token),  FIELD("region", region),
    FIELD("endpoint_url", endpoint),    FIELD("ca_bundle", ca_file),
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && blank((*text)[0])) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && blank((*text)[*len - 1])) {
        (*len)--;
    }
}

static bool same(const char *text, size_t len, const char *other)
{
    return strlen(other) == len && memcmp(text, other, len) == 0;
}

/* Whether the inside of a section's brackets names the profile. */
static bool names(const char *text, size_t len, const char *profile, int config)
{
    if (config && len > 8 && memcmp(text, "profile", 7) == 0 && blank(text[7])) {
        text += 8;
        len -= 8;
        trim(&text, &len);
        return same(text, len, profile);
    }
    return (!config || strcmp(profile, "default") == 0) && same(text, len, profile);
}

/* One "name = value" of the wanted section. */
static enum lethe_err assign(const char *text, size_t len, const struct lethe_credentials *before,
                             struct lethe_credentials *credentials)
{
    const char *equals = memchr(text, '=', len), *value;
    size_t name_len, value_len;

    if (!equals) {
        return LETHE_OK;
    }
    name_len = (size_t)(equals - text);
    value = equals + 1;
    value_len = len - name_len - 1;
    trim(&text, &name_len);
    trim(&value, &value_len);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char *to = (char *)credentials + fields[i].offset;

        if (!same(text, name_len, fields[i].name) || ((const char *)before)[fields[i].offset] != '\0' ||
            (i < 3 && before->access[0] != '\0')) {
            continue;
        }
        if (value_len >= fields[i].size || memchr(value, '\0', value_len)) {
            return LETHE_ERR_FORMAT;
        }
        memcpy(to, value, value_len);
        to[value_len] = '\0';
    }
    return LETHE_OK;
}

enum lethe_err lethe_credentials_parse(const char *text, size_t len, const char *profile, int config,
                                       struct lethe_credentials *credentials, int *found)
{
    struct lethe_credentials *before = lethe_sigv4_secret_alloc(sizeof *before);
    enum lethe_err err = LETHE_OK;
    bool inside = false;

    *found = 0;
    if (!before) {
        return LETHE_ERR_NOMEM;
    }
    *before = *credentials;
    while (len > 0 && !err) {
        const char *end = memchr(text, '\n', len), *line = text;
        size_t line_len = end ? (size_t)(end - text) : len;
        bool nested = line_len > 0 && blank(line[0]); /* "s3 =" and its like have lines below them, set in */

        len -= line_len + (end ? 1 : 0);
        text += line_len + (end ? 1 : 0);
        trim(&line, &line_len);
        if (line_len == 0 || line[0] == '#' || line[0] == ';' || nested) {
            continue;
        }
        if (line[0] == '[') {
            inside =
                line[line_len - 1] == ']' && line_len > 2 && names(line + 1, line_len - 2, profile, config);
            *found |= inside;
        } else if (inside) {
            err = assign(line, line_len, before, credentials);
        }
    }
    lethe_sigv4_secret_free(before);
    return err;
}

/* The first of the variables that is set and not empty. */
static const char *variable(const char *name, const char *other)
{
    const char *value = getenv(name);

    if ((!value || !*value) && other) {
        value = getenv(other);
    }
    return value && *value ? value : NULL;
}

static enum lethe_err take(const char *value, char *to, size_t size, const char *name)
{
    if (!value) {
        return LETHE_OK;
    }
    if (strlen(value) >= size) {
        lethe_log(LETHE_LOG_ERROR, "the environment's %s is too long", name);
        return LETHE_ERR_ARG;
    }
    strcpy(to, value);
    return LETHE_OK;
}

static enum lethe_err from_environment(const struct lethe_credentials_source *source,
                                       struct lethe_credentials *credentials)
{
    const char *access = variable("AWS_ACCESS_KEY_ID", NULL),
               *secret = variable("AWS_SECRET_ACCESS_KEY", NULL);
    enum lethe_err err = LETHE_OK;

    if (source->file || source->profile) {
        access = secret = NULL;
    }
    if (!access != !secret) {
        lethe_log(LETHE_LOG_ERROR, "AWS_%s is set and AWS_%s is not: set both, or neither",
                  access ? "ACCESS_KEY_ID" : "SECRET_ACCESS_KEY",
                  access ? "SECRET_ACCESS_KEY" : "ACCESS_KEY_ID");
        return LETHE_ERR_KEY;
    }
    if (access) {
        err = take(access, credentials->access, sizeof credentials->access, "AWS_ACCESS_KEY_ID");
        err = err ? err
                  : take(secret, credentials->secret, sizeof credentials->secret, "AWS_SECRET_ACCESS_KEY");
        err = err ? err
                  : take(variable("AWS_SESSION_TOKEN", NULL), credentials->token, sizeof credentials->token,
                         "AWS_SESSION_TOKEN");
    }
    err = err ? err
              : take(variable("AWS_REGION", "AWS_DEFAULT_REGION"), credentials->region,
                     sizeof credentials->region, "AWS_REGION");
    err = err ? err
              : take(variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), credentials->endpoint,
                     sizeof credentials->endpoint, "AWS_ENDPOINT_URL");
    return err ? err
               : take(variable("AWS_CA_BUNDLE", "CURL_CA_BUNDLE"), credentials->ca_file,
                      sizeof credentials->ca_file, "AWS_CA_BUNDLE");
}

/* Reads a file of at most FILE_MAX bytes, whole, into secret memory. An absent one is LETHE_ERR_NOT_FOUND. */
static enum lethe_err read_file(const char *path, char **out, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    enum lethe_err err = LETHE_OK;
    char *text = NULL;
    ssize_t got = 1;

    *out = NULL;
    *len = 0;
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return LETHE_ERR_NOT_FOUND;
        }
        err = lethe_err_from_errno(errno);
        lethe_log(LETHE_LOG_ERROR, "%s cannot be read: %s", path, strerror(errno));
        return err;
    }
    text = lethe_sigv4_secret_alloc(FILE_MAX);
    err = text ? LETHE_OK : LETHE_ERR_NOMEM;
    while (!err && got > 0 && *len < FILE_MAX) {
        got = read(fd, text + *len, FILE_MAX - *len);
        if (got > 0) {
            *len += (size_t)got;
        } else if (got < 0 && errno == EINTR) {
            got = 1;
        } else if (got < 0) {
            err = lethe_err_from_errno(errno);
            lethe_log(LETHE_LOG_ERROR, "%s cannot be read: %s", path, strerror(errno));
        }
    }
    if (!err && *len == FILE_MAX) {
        err = LETHE_ERR_FORMAT;
        lethe_log(LETHE_LOG_ERROR, "%s is too large to be a file of credentials", path);
    }
    close(fd);
    if (err) {
        lethe_sigv4_secret_free(text);
        return err;
    }
    *out = text;
    return LETHE_OK;
}

/* The file that was named, or the one below the home folder. Only the first must be there. */
static enum lethe_err from_file(const char *named, const char *below_home, const char *profile, int config,
                                bool must, struct lethe_credentials *credentials, bool *found)
{
    const char *home = variable("HOME", NULL);
    char path[PATH_MAX], *text;
    int here, length;
    size_t len;
    enum lethe_err err;

    if (!named && !home) {
        return LETHE_OK;
    }
    length = named ? snprintf(path, sizeof path, "%s", named)
                   : snprintf(path, sizeof path, "%s/%s", home, below_home);
    if (length < 0 || (size_t)length >= sizeof path) {
        return LETHE_ERR_ARG;
    }
    err = read_file(path, &text, &len);
    if (err == LETHE_ERR_NOT_FOUND && must) {
        lethe_log(LETHE_LOG_ERROR, "there is no file of credentials %s: check --credentials", path);
        return LETHE_ERR_KEY;
    }
    if (err) {
        return err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
    }
    err = lethe_credentials_parse(text, len, profile, config, credentials, &here);
    if (err == LETHE_ERR_FORMAT) {
        lethe_log(LETHE_LOG_ERROR, "%s holds a value that is too long", path);
    }
    *found |= here;
    lethe_sigv4_secret_free(text);
    return err;
}

enum lethe_err lethe_credentials_load(const struct lethe_credentials_source *source,
                                      struct lethe_credentials **out)
{
    struct lethe_credentials *credentials = lethe_sigv4_secret_alloc(sizeof *credentials);
    const char *asked = source->profile ? source->profile : variable("AWS_PROFILE", "AWS_DEFAULT_PROFILE");
    const char *file = source->file ? source->file : variable("AWS_SHARED_CREDENTIALS_FILE", NULL);
    const char *profile = asked ? asked : "default";
    bool found = false;
    enum lethe_err err;

    *out = NULL;
    if (!credentials) {
        return LETHE_ERR_NOMEM;
    }
    err = from_environment(source, credentials);
    err = err ? err
              : from_file(file, ".aws/credentials", profile, 0, source->file != NULL, credentials, &found);
    err = err ? err
              : from_file(variable("AWS_CONFIG_FILE", NULL), ".aws/config", profile, 1, false, credentials,
                          &found);
    if (!err && credentials->access[0] == '\0' && !asked && !source->file) {
        err = lethe_credentials_metadata(credentials);
        err = err == LETHE_ERR_NOT_FOUND ? LETHE_OK : err;
    }
    if (!err && (credentials->access[0] == '\0' || credentials->secret[0] == '\0')) {
        if (asked && !found) {
            lethe_log(LETHE_LOG_ERROR, "there is no profile %s in %s: check --profile or AWS_PROFILE",
                      profile, file ? file : "~/.aws/credentials");
        } else {
            lethe_log(LETHE_LOG_ERROR, "there are no credentials for the store: set AWS_ACCESS_KEY_ID and "
                                       "AWS_SECRET_ACCESS_KEY, or write them to ~/.aws/credentials");
        }
        err = LETHE_ERR_KEY;
    }
    if (err) {
        lethe_credentials_free(credentials);
        return err;
    }
    *out = credentials;
    return LETHE_OK;
}

void lethe_credentials_free(struct lethe_credentials *credentials)
{
    lethe_sigv4_secret_free(credentials);
}
