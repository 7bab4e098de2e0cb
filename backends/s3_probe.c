/* SPDX-License-Identifier: MIT */
/*
 * Conditional writes differ: AWS wants the ETag of If-Match quoted, as RFC 9110 has it; RADOS Gateway
 * compares it with the bare one; Swift answers 501; and a store that ignores what it does not know would let
 * two devices overwrite each other's head. So before the first replace an object of our own below tmp/ is
 * written under each condition in turn, and only what was seen to be refused when it must be, and done when
 * it may be, is relied on. What lies on the way may repeat a request: then the second is refused by the first's effect, and
 * its answer is the one that comes. So a store is not said to have no conditions for refusals alone before that was seen
 * several times.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backends/s3.h"
#include "lethe/log.h"

#define OTHER_ETAG "00000000000000000000000000000000"
#define TRIES 4

struct probe {
    struct lethe_s3 *s3;
    struct lethe_http_response *response;
    char key[64];
    uint8_t body; /* another one for each write, so that ETags differ */
};

enum outcome { DONE, REFUSED, ABSENT };

/* Writes under a condition. What else the store may answer is an error, or "it knows no conditions". */
static enum lethe_err try_put(struct probe *probe, const char *condition, const char *value,
                              enum outcome *out)
{
    const struct lethe_s3_call call = {.method = "PUT",
                                       .key = probe->key,
                                       .condition = condition,
                                       .condition_value = value,
                                       .body = &probe->body,
                                       .body_len = 1};
    enum lethe_err err;

    probe->body++;
    err = lethe_s3_send(probe->s3, &call, probe->response);
    if (err) {
        return err;
    }
    if (probe->response->sends > 1 || probe->response->status == 409) {
        return LETHE_ERR_UNREACHABLE; /* which of them was refused, nobody knows */
    }
    if (probe->response->status >= 200 && probe->response->status <= 299) {
        *out = DONE;
    } else {
        *out = probe->response->status == 412 ? REFUSED : ABSENT;
    }
    return LETHE_OK;
}

/* *sure is false when another try may end better. */
static enum lethe_err try_all(struct probe *probe, enum lethe_s3_conditions *out, bool *sure)
{
    static const enum lethe_s3_conditions forms[] = {LETHE_S3_CONDITIONS_QUOTED,
                                                     LETHE_S3_CONDITIONS_UNQUOTED};
    struct lethe_store_version version;
    enum outcome outcome;
    enum lethe_err err = try_put(probe, "if-none-match", "*", &outcome);

    *out = LETHE_S3_CONDITIONS_NONE;
    *sure = true;
    if (err || outcome == ABSENT) {
        atomic_store(&probe->s3->no_create_only, !err);
        return err;
    }
    if (outcome == REFUSED) { /* for a key that nobody has ever written */
        *sure = false;
        return LETHE_OK;
    }
    err = lethe_s3_version(probe->response->etag, &version);
    if (err) {
        return LETHE_OK; /* nothing to compare with */
    }
    err = try_put(probe, "if-none-match", "*", &outcome);
    if (err || outcome != REFUSED) {
        atomic_store(&probe->s3->no_create_only, !err);
        return err;
    }
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char text[LETHE_S3_CONDITION_SIZE];

        lethe_s3_condition(forms[i], OTHER_ETAG, text);
        err = try_put(probe, "if-match", text, &outcome);
        if (err || outcome != REFUSED) {
            return err;
        }
        lethe_s3_condition(forms[i], version.text, text);
        err = try_put(probe, "if-match", text, &outcome);
        if (err) {
            return err;
        }
        if (outcome == DONE) {
            *out = forms[i];
            return LETHE_OK;
        }
        if (outcome != REFUSED) {
            return LETHE_OK;
        }
    }
    *sure = false;
    return LETHE_OK;
}

/* With an object of its own, which is removed again. */
static enum lethe_err try_once(struct probe *probe, enum lethe_s3_conditions *out, bool *sure)
{
    struct lethe_s3_call clean = {.method = "DELETE", .key = probe->key};
    uint8_t name[16];
    char hex[2 * sizeof name + 1];
    enum lethe_err err;

    if (getrandom(name, sizeof name, 0) != (ssize_t)sizeof name) {
        return LETHE_ERR_NOMEM;
    }
    lethe_hex(name, sizeof name, hex);
    snprintf(probe->key, sizeof probe->key, "tmp/probe-%s", hex);
    err = try_all(probe, out, sure);
    if (lethe_s3_send(probe->s3, &clean, probe->response)) {
        lethe_log(LETHE_LOG_DEBUG, "an object of one byte could not be removed");
    }
    return err;
}

enum lethe_err lethe_s3_probe(struct lethe_s3 *s3, enum lethe_s3_conditions *out)
{
    struct probe probe = {.s3 = s3};
    bool sure = false;
    enum lethe_err err = LETHE_OK;

    pthread_mutex_lock(&s3->probing);
    *out = (enum lethe_s3_conditions)atomic_load(&s3->conditions);
    if (*out != LETHE_S3_CONDITIONS_UNKNOWN) {
        goto out;
    }
    probe.response = malloc(sizeof *probe.response);
    if (!probe.response) {
        err = LETHE_ERR_NOMEM;
        goto out;
    }
    for (unsigned i = 0; i < TRIES && !err && !sure; i++) {
        err = try_once(&probe, out, &sure);
    }
    if (!err) {
        atomic_store(&s3->conditions, (int)*out);
        if (*out == LETHE_S3_CONDITIONS_NONE) {
            lethe_log(LETHE_LOG_DEBUG, "the store of bucket %s has no conditional writes",
                      s3->place.bucket);
        }
    }
out:
    pthread_mutex_unlock(&s3->probing);
    free(probe.response);
    return err;
}
