/* SPDX-License-Identifier: MIT */
/*
 * The S3 backend against a store that fails as told: dialects, faults, refusals, clocks, listings. Nothing
 * here asserts a time; the one silence is ended by the client's own limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/retry.h"
#include "backends/s3.h"
#include "backends/s3_xml.h"
#include "lethe/log.h"
#include "s3_fake.h"

#define OBJECT "abcdefghijklmnopqrstuvwxyz"
#define OBJECT_LEN 26

struct fixture {
    struct fake fake;
    struct lethe_store *store;
    char endpoint[64];
    char log[4096]; /* all lines since setup */
};

static void keep_log(void *context, enum lethe_log_level level, const char *text)
{
    struct fixture *fixture = context;
    size_t len = strlen(fixture->log);

    (void)level;
    snprintf(fixture->log + len, sizeof fixture->log - len, "%s\n", text);
}

static enum lethe_err open_store(struct fixture *fixture, const char *location, unsigned timeout_ms)
{
    const struct lethe_store_options options = {
        .endpoint = fixture->endpoint, .in_flight = 8, .timeout_ms = timeout_ms};

    return lethe_store_open_with(location, true, &options, &fixture->store);
}

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static int setup_nothing(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    setenv("AWS_ACCESS_KEY_ID", "access", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("HOME", "/nonexistent", 1);
    setenv("no_proxy", "127.0.0.1", 1);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    fake_start(&fixture->fake);
    snprintf(fixture->endpoint, sizeof fixture->endpoint, "http://127.0.0.1:%u", fixture->fake.port);
    lethe_log_set_sink(keep_log, fixture);
    *state = fixture;
    return 0;
}

static int setup(void **state)
{
    struct fixture *fixture;

    setup_nothing(state);
    fixture = *state;
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of(OBJECT), OBJECT_LEN), LETHE_OK);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    lethe_store_close(fixture->store);
    fake_stop(&fixture->fake);
    lethe_log_set_sink(NULL, NULL);
    free(fixture);
    return 0;
}

static void expect_bytes(struct fixture *fixture, uint64_t offset, uint64_t len, const char *expected)
{
    struct lethe_buf buf = {0};

    assert_int_equal(lethe_store_get(fixture->store, "o/00/x", offset, len, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, strlen(expected));
    if (buf.len > 0) {
        assert_memory_equal(buf.data, expected, buf.len);
    }
    lethe_buf_release(&buf);
}

static void ranges(struct fixture *fixture)
{
    expect_bytes(fixture, 0, UINT64_MAX, OBJECT);
    expect_bytes(fixture, 2, 3, "cde");
    expect_bytes(fixture, 0, 2, "ab");
    expect_bytes(fixture, 24, 50, "yz");
    expect_bytes(fixture, 24, UINT64_MAX, "yz");
    expect_bytes(fixture, 26, 1, "");
    expect_bytes(fixture, UINT64_MAX, UINT64_MAX, "");
    expect_bytes(fixture, 5, 0, "");
}

static void ranges_come_as_asked(void **state)
{
    struct fixture *fixture = *state;

    ranges(fixture);
    fixture->fake.dialect = FAKE_IGNORES_RANGES;
    ranges(fixture);
}

static void replaces(struct fixture *fixture, enum lethe_s3_conditions expected)
{
    struct lethe_store_version first = {{0}}, second = {{0}};
    const struct lethe_store_version none = {{0}};
    struct lethe_s3 *s3 = (struct lethe_s3 *)fixture->store;

    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, &first), LETHE_OK);
    assert_int_equal(atomic_load(&s3->conditions), expected);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("2"), 1, &first, &second),
                     LETHE_OK);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("3"), 1, &first, &second),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_overwrite(fixture->store, "head", bytes_of("4"), 1), LETHE_ERR_UNSUPPORTED);
    assert_int_equal(lethe_store_remove(fixture->store, "head"), LETHE_OK);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("3"), 1, &second, &second),
                     LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_store_replace(fixture->store, "o/00/x", bytes_of("3"), 1, &none, NULL),
                     LETHE_ERR_ARG);
}

static size_t objects(struct fake *fake)
{
    size_t count = 0;

    for (size_t i = 0; i < FAKE_OBJECTS; i++) {
        count += fake->objects[i].key[0] != '\0';
    }
    return count;
}

static void etags_quoted(void **state)
{
    struct fixture *fixture = *state;

    replaces(fixture, LETHE_S3_CONDITIONS_QUOTED);
    assert_int_equal(objects(&fixture->fake), 1); /* the probe's is gone */
}

static void etags_bare(void **state)
{
    struct fixture *fixture = *state;

    fixture->fake.dialect = FAKE_UNQUOTED;
    replaces(fixture, LETHE_S3_CONDITIONS_UNQUOTED);
}

static void without_conditions(struct fixture *fixture, enum fake_dialect dialect)
{
    const struct lethe_store_version none = {{0}};
    struct lethe_buf buf = {0};

    fixture->fake.dialect = dialect;
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, NULL),
                     LETHE_ERR_UNSUPPORTED);
    assert_int_equal(atomic_load(&((struct lethe_s3 *)fixture->store)->conditions), LETHE_S3_CONDITIONS_NONE);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/y", bytes_of("1"), 1), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/y", bytes_of("2"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_put(fixture->store, "vault.json", bytes_of("2"), 1), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "vault.json", bytes_of("2"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_overwrite(fixture->store, "vault.json", bytes_of("33"), 2), LETHE_OK);
    assert_int_equal(lethe_store_get(fixture->store, "vault.json", 0, UINT64_MAX, &buf, NULL), LETHE_OK);
    assert_int_equal(buf.len, 2);
    assert_int_equal(lethe_store_overwrite(fixture->store, "o/00/x", bytes_of("33"), 2), LETHE_ERR_ARG);
    lethe_buf_release(&buf);
}

static void conditions_refused(void **state)
{
    without_conditions(*state, FAKE_WITHOUT_CONDITIONS);
}

static void conditions_ignored(void **state)
{
    without_conditions(*state, FAKE_IGNORES_CONDITIONS);
}

static void reads_fail_whole(void **state)
{
    static const struct {
        enum fake_fault fault;
        uint64_t offset, len;
        unsigned times;
        enum lethe_err err;
    } cases[] = {
        {FAKE_RESET, 0, UINT64_MAX, 2,
         LETHE_ERR_UNREACHABLE}, /* twice: libcurl tries a kept connection again */
        {FAKE_HALF_BODY, 0, UINT64_MAX, 1, LETHE_ERR_UNREACHABLE},
        {FAKE_HALF_BODY, 2, 10, 1, LETHE_ERR_UNREACHABLE},
        {FAKE_NO_LENGTH, 0, UINT64_MAX, 1, LETHE_ERR_UNREACHABLE},
        {FAKE_SHORT_RANGE, 2, 10, 1, LETHE_ERR_UNREACHABLE},
        {FAKE_OTHER_RANGE, 2, 10, 1, LETHE_ERR_UNREACHABLE},
        {FAKE_LONG_BODY, 2, 10, 1, LETHE_ERR_INTEGRITY},
        {FAKE_GARBAGE, 0, UINT64_MAX, 2, LETHE_ERR_UNREACHABLE},
    };
    struct fixture *fixture = *state;
    struct lethe_buf buf = {0};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_plan(&fixture->fake, cases[i].fault, 0, cases[i].times);
        assert_int_equal(lethe_store_get(fixture->store, "o/00/x", cases[i].offset, cases[i].len, &buf, NULL),
                         cases[i].err);
        assert_int_equal(buf.len, 0);
        fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
        expect_bytes(fixture, 0, UINT64_MAX, OBJECT);
    }
    lethe_buf_release(&buf);
}

/* libcurl sends a request again when a kept connection turns out to be dead: the refusal of the second is no
 * answer. */
static void lost_answers_are_not_refusals(void **state)
{
    const struct lethe_store_version none = {{0}};
    struct lethe_store_version version = {{0}}, found = {{0}};
    struct fixture *fixture = *state;
    struct lethe_buf buf = {0};

    fake_plan(&fixture->fake, FAKE_LOST_ANSWER, 0, 1);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/lost", bytes_of("1"), 1), LETHE_ERR_UNREACHABLE);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/lost", bytes_of("1"), 1), LETHE_ERR_EXISTS);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, &version),
                     LETHE_OK);
    fake_plan(&fixture->fake, FAKE_LOST_ANSWER, 0, 1);
    assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("2"), 1, &version, &version),
                     LETHE_ERR_UNREACHABLE);
    assert_int_equal(lethe_store_get(fixture->store, "head", 0, 2, &buf, &found), LETHE_OK);
    assert_memory_equal(buf.data, "2", 1);
    assert_string_not_equal(found.text, version.text);
    lethe_buf_release(&buf);
}

/* Whatever request of the probe is lost, it says so, and the next attempt settles it. */
static void probing_survives_faults(void **state)
{
    static const enum fake_fault faults[] = {FAKE_RESET, FAKE_LOST_ANSWER};
    const struct lethe_store_version none = {{0}};
    struct fixture *fixture = *state;
    struct lethe_s3 *s3 = (struct lethe_s3 *)fixture->store;

    fixture->fake.dialect = FAKE_UNQUOTED;
    for (size_t i = 0; i < 2; i++) {
        for (unsigned after = 0; after < 7; after++) {
            enum lethe_err err;

            atomic_store(&s3->conditions, LETHE_S3_CONDITIONS_UNKNOWN);
            fake_plan(&fixture->fake, faults[i], after, 2);
            err = lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, NULL);
            assert_true(err == LETHE_OK || err == LETHE_ERR_UNREACHABLE);
            fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
            assert_int_equal(lethe_store_remove(fixture->store, "head"), LETHE_OK);
            assert_int_equal(lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, NULL),
                             LETHE_OK);
            assert_int_equal(atomic_load(&s3->conditions), LETHE_S3_CONDITIONS_UNQUOTED);
            assert_int_equal(lethe_store_remove(fixture->store, "head"), LETHE_OK);
        }
    }
}

/* An answer that ends among its headers is none: what it lacks may be what matters. */
static void headers_come_whole(void **state)
{
    static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"0123456789abcdef\"\r\n\r\n";
    struct fixture *fixture = *state;
    struct lethe_store_stat stat;
    struct lethe_store_version version = {{0}};
    struct lethe_buf buf = {0};
    char cut[sizeof whole];

    for (size_t len = 1; len < sizeof whole - 1; len++) {
        memcpy(cut, whole, len);
        cut[len] = '\0';
        fake_say(&fixture->fake, cut);
        fake_plan(&fixture->fake, FAKE_CUT_ANSWER, 0, 100);
        assert_int_equal(lethe_store_get(fixture->store, "o/00/x", 0, UINT64_MAX, &buf, &version), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_stat(fixture->store, "o/00/x", &stat), LETHE_ERR_UNREACHABLE);
        assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of("1"), 1), LETHE_ERR_UNREACHABLE);
        fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
    }
    fake_say(&fixture->fake, whole);
    fake_plan(&fixture->fake, FAKE_CUT_ANSWER, 0, 1);
    assert_int_equal(lethe_store_get(fixture->store, "o/00/x", 0, UINT64_MAX, &buf, &version), LETHE_OK);
    assert_string_equal(version.text, "0123456789abcdef");
    lethe_buf_release(&buf);
}

/* A request that arrives twice is refused by its own effect: that says nothing of the store. */
static void probing_survives_repetition(void **state)
{
    const struct lethe_store_version none = {{0}};
    struct fixture *fixture = *state;
    struct lethe_s3 *s3 = (struct lethe_s3 *)fixture->store;

    for (int dialect = 0; dialect < 2; dialect++) {
        fixture->fake.dialect = dialect ? FAKE_UNQUOTED : FAKE_QUOTED;
        for (unsigned after = 0; after < 6; after++) {
            atomic_store(&s3->conditions, LETHE_S3_CONDITIONS_UNKNOWN);
            fake_plan(&fixture->fake, FAKE_REPEATED, after, 1);
            /* The fake closes the connection then, which may take the next request with it. */
            for (int i = 0; i < 4 && atomic_load(&s3->conditions) == LETHE_S3_CONDITIONS_UNKNOWN; i++) {
                (void)!lethe_store_replace(fixture->store, "head", bytes_of("1"), 1, &none, NULL);
            }
            fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
            assert_int_equal(atomic_load(&s3->conditions),
                             dialect ? LETHE_S3_CONDITIONS_UNQUOTED : LETHE_S3_CONDITIONS_QUOTED);
            assert_false(atomic_load(&s3->no_create_only));
            assert_int_equal(lethe_store_remove(fixture->store, "head"), LETHE_OK);
        }
    }
}

#define ERROR(status, code, more)                                                                            \
    "HTTP/1.1 " status "\r\nContent-Length: 120\r\n" more "\r\n"                                             \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>" code "</Code>"

/* Ends the body of ERROR at its length, so that the macro needs no counting. */
static const char *padded(const char *answer, char out[1024])
{
    static const char end[] = "</Error>";
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    size_t len = strlen(body);

    assert_true(len + sizeof end - 1 <= 120);
    snprintf(out, 1024, "%s%*s%s", answer, (int)(120 - len - (sizeof end - 1)), "", end);
    return out;
}

static void refusals_have_names(void **state)
{
    static const struct {
        const char *answer;
        enum lethe_err err;
        const char *said;
    } cases[] = {
        {ERROR("403 Forbidden", "SignatureDoesNotMatch", ""), LETHE_ERR_KEY, "AWS_SECRET_ACCESS_KEY"},
        {ERROR("403 Forbidden", "InvalidAccessKeyId", ""), LETHE_ERR_KEY, "AWS_ACCESS_KEY_ID"},
        {ERROR("400 Bad Request", "ExpiredToken", ""), LETHE_ERR_KEY, "expired"},
        {ERROR("403 Forbidden", "AccessDenied", ""), LETHE_ERR_KEY, "permission"},
        {ERROR("301 Moved Permanently", "PermanentRedirect", "x-amz-bucket-region: eu-west-1\r\n"),
         LETHE_ERR_DENIED, "eu-west-1"},
        {ERROR("400 Bad Request", "AuthorizationHeaderMalformed", "x-amz-bucket-region: eu-west-3\r\n"),
         LETHE_ERR_DENIED, "eu-west-3"},
        {ERROR("403 Forbidden", "QuotaExceeded", ""), LETHE_ERR_NOSPACE, "quota"},
        {ERROR("404 Not Found", "NoSuchBucket", ""), LETHE_ERR_UNREACHABLE, "no bucket"},
        {ERROR("404 Not Found", "NoSuchKey", ""), LETHE_ERR_NOT_FOUND, ""},
        {ERROR("500 Internal Server Error", "InternalError", ""), LETHE_ERR_UNREACHABLE, ""},
        {ERROR("503 Slow Down", "SlowDown", ""), LETHE_ERR_UNREACHABLE, ""},
        {ERROR("429 Too Many Requests", "SlowDown", "Retry-After: 0\r\n"), LETHE_ERR_UNREACHABLE, ""},
        {ERROR("400 Bad Request", "RequestTimeout", ""), LETHE_ERR_UNREACHABLE, ""},
        {ERROR("400 Bad Request", "InvalidRequest", ""), LETHE_ERR_IO, "InvalidRequest"},
    };
    struct fixture *fixture = *state;
    struct lethe_s3 *s3 = (struct lethe_s3 *)fixture->store;
    struct lethe_buf buf = {0};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lethe_store_stat stat;
        char answer[1024];

        fake_say(&fixture->fake, padded(cases[i].answer, answer));
        fixture->log[0] = '\0';
        atomic_store(&s3->said, 0);
        fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
        assert_int_equal(lethe_store_get(fixture->store, "o/00/x", 0, 1, &buf, NULL), cases[i].err);
        assert_non_null(strstr(fixture->log, cases[i].said));
        /* A HEAD is answered without a body: the cause is asked for. */
        if (strstr(cases[i].answer, "403") || strstr(cases[i].answer, "400")) {
            char head[1024];

            snprintf(head, sizeof head, "%.*s\r\n\r\n", (int)(strstr(answer, "\r\n\r\n") - answer), answer);
            atomic_store(&s3->said, 0);
            fixture->log[0] = '\0';
            fake_say(&fixture->fake, head);
            fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
            assert_int_equal(lethe_store_stat(fixture->store, "o/00/x", &stat), LETHE_ERR_KEY);
        }
    }
    lethe_buf_release(&buf);
}

static void absent_bucket_at_opening(void **state)
{
    struct fixture *fixture = *state;
    char answer[1024];

    fake_say(&fixture->fake, padded(ERROR("404 Not Found", "NoSuchBucket", ""), answer));
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_ERR_UNREACHABLE);
    assert_null(fixture->store);
    fake_say(&fixture->fake, padded(ERROR("403 Forbidden", "AccessDenied", ""), answer));
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_ERR_KEY);
    assert_null(fixture->store);
    /* A store that is away may come back. */
    fake_plan(&fixture->fake, FAKE_RESET, 0, 1);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/x", bytes_of("1"), 1), LETHE_OK);
}

static void busy_stores_get_less(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_http *http = ((struct lethe_s3 *)fixture->store)->http;
    struct lethe_buf buf = {0};
    char answer[1024];

    assert_int_equal(lethe_http_limit(http), 8);
    fake_say(&fixture->fake, padded(ERROR("503 Slow Down", "SlowDown", "Retry-After: 0\r\n"), answer));
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
    assert_int_equal(lethe_store_get(fixture->store, "o/00/x", 0, 1, &buf, NULL), LETHE_ERR_UNREACHABLE);
    assert_int_equal(lethe_http_limit(http), 4);
    for (int i = 0; i < 40; i++) {
        expect_bytes(fixture, 0, UINT64_MAX, OBJECT);
    }
    assert_int_equal(lethe_http_limit(http), 8);
    lethe_buf_release(&buf);
}

static void clocks_are_mended(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_s3 *s3 = (struct lethe_s3 *)fixture->store;
    char date[64], text[256], answer[1024], value[2048];
    time_t theirs = time(NULL) + 3 * 86400;
    struct tm tm;

    gmtime_r(&theirs, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(text, sizeof text,
             "HTTP/1.1 403 Forbidden\r\nContent-Length: 120\r\nDate: %s\r\n\r\n<Error><Code>%s</Code>", date,
             "RequestTimeTooSkewed");
    fake_say(&fixture->fake, padded(text, answer));
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, 1);
    expect_bytes(fixture, 0, UINT64_MAX, OBJECT);
    assert_non_null(strstr(fixture->log, "clock"));
    assert_in_range(atomic_load(&s3->skew), 3 * 86400 - 60, 3 * 86400 + 60);
    strftime(date, sizeof date, "%Y%m%d", &tm);
    assert_non_null(fake_header(fixture->fake.last, "x-amz-date", value));
    assert_memory_equal(value, date, 8);
    /* The same again is not believed twice. */
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, 9);
    assert_int_equal(lethe_store_remove(fixture->store, "o/00/x"), LETHE_ERR_UNREACHABLE);
    fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
}

static void silence_ends(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_buf buf = {0};

    lethe_store_close(fixture->store);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 100), LETHE_OK);
    fake_plan(&fixture->fake, FAKE_SILENCE, 0, 1);
    assert_int_equal(lethe_store_get(fixture->store, "o/00/x", 0, 1, &buf, NULL), LETHE_ERR_UNREACHABLE);
    assert_non_null(strstr(fixture->log, "does not answer"));
    lethe_buf_release(&buf);
}

struct listing {
    char keys[32][64];
    size_t count;
    uint64_t bytes;
};

static enum lethe_err collect(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct listing *listing = context;

    assert_true(listing->count < 32 && strlen(key) < 64);
    assert_int_equal(stat->modified, 1255369830);
    strcpy(listing->keys[listing->count++], key);
    listing->bytes += stat->size;
    return LETHE_OK;
}

static void pages_are_joined(void **state)
{
    struct fixture *fixture = *state;
    struct listing listing = {0};

    for (int i = 0; i < 10; i++) {
        char key[32];

        snprintf(key, sizeof key, "o/01/%d", i);
        assert_int_equal(lethe_store_put(fixture->store, key, bytes_of("12"), 2), LETHE_OK);
    }
    strcpy(fake_find(&fixture->fake, "")->key, "prefix/No Key");
    strcpy(fake_find(&fixture->fake, "")->key, "prefix/tmp/probe-1");
    strcpy(fake_find(&fixture->fake, "")->key, "prefixo/01/other");
    assert_int_equal(lethe_store_list(fixture->store, "o/01/", collect, &listing), LETHE_OK);
    assert_int_equal(listing.count, 10);
    assert_int_equal(listing.bytes, 20);
    listing.count = 0;
    /* A page that is lost is asked for again. */
    fake_plan(&fixture->fake, FAKE_RESET, 2, 3);
    assert_int_equal(lethe_store_list(fixture->store, "", collect, &listing), LETHE_OK);
    assert_int_equal(listing.count, 11);
    for (size_t i = 1; i < 11; i++) {
        assert_true(strcmp(listing.keys[i - 1], listing.keys[i]) < 0);
    }
    fake_plan(&fixture->fake, FAKE_RESET, 0, 2);
    assert_int_equal(lethe_store_list(fixture->store, "", collect, &listing), LETHE_ERR_UNREACHABLE);
}

static void lists_end(void **state)
{
    static const char *const bodies[] = {
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
        "</ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Key>prefix/a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>prefix/a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult>",
        "<html><body>Sign in to the hotel's network</body></html>",
        "",
    };
    struct fixture *fixture = *state;
    struct listing listing = {0};

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char answer[1024];

        snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(bodies[i]),
                 bodies[i]);
        fake_say(&fixture->fake, answer);
        fake_plan(&fixture->fake, FAKE_ANSWER, 0, 100);
        assert_int_equal(lethe_store_list(fixture->store, "", collect, &listing), LETHE_ERR_FORMAT);
        fake_plan(&fixture->fake, FAKE_NONE, 0, 0);
    }
    assert_int_equal(listing.count, 0);
}

static void what_goes_over_the_line(void **state)
{
    struct fixture *fixture = *state;
    char value[2048], host[64];

    setenv("AWS_SESSION_TOKEN", "a token", 1);
    assert_int_equal(open_store(fixture, "s3://bucket/my photos/\xc3\xa9t\xc3\xa9+/", 0), LETHE_OK);
    assert_int_equal(lethe_store_put(fixture->store, "o/00/x.png", bytes_of("1"), 1), LETHE_OK);
    assert_ptr_equal(
        strstr(fixture->fake.last, "PUT /bucket/my%20photos/%C3%A9t%C3%A9%2B/o/00/x.png HTTP/1.1\r\n"),
        fixture->fake.last);
    assert_string_equal(fake_header(fixture->fake.last, "x-amz-security-token", value), "a token");
    assert_string_equal(fake_header(fixture->fake.last, "if-none-match", value), "*");
    snprintf(host, sizeof host, "127.0.0.1:%u", fixture->fake.port);
    assert_string_equal(fake_header(fixture->fake.last, "host", value), host);
    assert_string_equal(fake_header(fixture->fake.last, "x-amz-content-sha256", value), "UNSIGNED-PAYLOAD");
    ((struct lethe_s3 *)fixture->store)->place.bare = true; /* as if it were far away */
    assert_int_equal(lethe_store_put(fixture->store, "o/00/y.png", bytes_of("1"), 1), LETHE_OK);
    assert_string_equal(fake_header(fixture->fake.last, "x-amz-content-sha256", value),
                        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"); /* of "1" */
    assert_non_null(fake_header(fixture->fake.last, "authorization", value));
    assert_non_null(strstr(value, "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;"
                                  "x-amz-security-token,"));
    assert_null(fake_header(fixture->fake.last, "expect", value));
}

#define KEYS(access, expires)                                                                                \
    "{\"Code\" : \"Success\",\n \"AccessKeyId\":\"" access "\",\"SecretAccessKey\":\"s\\/cret\",\"Token\":"   \
    "\"tok\",\"Expiration\":\"" expires "\"}"

static void answer_keys(struct fixture *fixture, const char *json, unsigned times)
{
    char answer[1024];

    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
    fake_say(&fixture->fake, answer);
    fake_plan(&fixture->fake, FAKE_ANSWER, 0, times);
}

static void forget_keys(void)
{
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
}

/* A container's endpoint gives keys that expire; they are renewed before that, and the old ones serve meanwhile. */
static void containers_give_keys(void **state)
{
    struct fixture *fixture = *state;
    char url[128], value[2048];
    struct lethe_store_stat stat;

    forget_keys();
    snprintf(url, sizeof url, "%s/creds", fixture->endpoint);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in", 1);
    answer_keys(fixture, KEYS("OLD", "2009-10-12T17:50:30Z"), 2); /* at once, and again as they are over */
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_OK);
    assert_int_equal(fixture->fake.requests, 3);
    assert_non_null(strstr(fake_header(fixture->fake.last, "authorization", value), "Credential=OLD/"));
    assert_string_equal(fake_header(fixture->fake.last, "x-amz-security-token", value), "tok");

    atomic_store(&((struct lethe_s3 *)fixture->store)->renew_at, 1);
    answer_keys(fixture, KEYS("NEW", "2999-10-12T17:50:30Z"), 1);
    assert_int_equal(lethe_store_stat(fixture->store, "o/00/y", &stat), LETHE_ERR_NOT_FOUND);
    assert_non_null(strstr(fake_header(fixture->fake.last, "authorization", value), "Credential=NEW/"));
    assert_true(atomic_load(&((struct lethe_s3 *)fixture->store)->renew_at) > 1);
    lethe_store_close(fixture->store);
    fixture->store = NULL;

    answer_keys(fixture, "{}", 1);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_ERR_KEY);
    assert_string_equal(fake_header(fixture->fake.last, "authorization", value), "let me in");
    assert_non_null(strstr(fixture->log, "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/creds", 1); /* no token goes there */
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_ERR_KEY);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
}

/* The fake keeps what is put below any eight characters: so it can be an instance's service, too. */
static void store_metadata(struct fixture *fixture, const char *name, const char *text)
{
    struct lethe_http_response *response = calloc(1, sizeof *response);
    const struct lethe_http_options options = {.in_flight = 1};
    struct lethe_http *http;
    char url[256];
    struct lethe_http_request request = {
        .method = "PUT", .url = url, .body = bytes_of(text), .body_len = strlen(text)};

    assert_non_null(response);
    snprintf(url, sizeof url, "%s/latest/meta-data/iam/security-credentials/%s", fixture->endpoint, name);
    assert_int_equal(lethe_http_new(&options, &http), LETHE_OK);
    assert_int_equal(lethe_http_send(http, &request, response), LETHE_OK);
    assert_int_equal(response->status, 200);
    lethe_http_free(http);
    free(response);
}

static void instances_give_keys(void **state)
{
    struct fixture *fixture = *state;
    char value[2048];

    forget_keys();
    unsetenv("AWS_EC2_METADATA_DISABLED");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", fixture->endpoint, 1);
    store_metadata(fixture, "", "the-role\nanother");
    store_metadata(fixture, "the-role", KEYS("ROLE", "2999-10-12T17:50:30Z"));
    answer_keys(fixture, "a-token", 1);
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_OK);
    assert_non_null(strstr(fake_header(fixture->fake.last, "authorization", value), "Credential=ROLE/"));
    lethe_store_close(fixture->store);
    fixture->store = NULL;
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    fixture->log[0] = '\0';
    assert_int_equal(open_store(fixture, "s3://bucket/prefix", 0), LETHE_ERR_KEY);
    assert_non_null(strstr(fixture->log, "no credentials"));
    unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
}

static void keys_in_json(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "{}",
                                      "[]",
                                      "{\"AccessKeyId\":\"a\"}",
                                      "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\"",
                                      "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"b\",}",
                                      "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":7}",
                                      "{\"AccessKeyId\":\"a\\u0041\",\"SecretAccessKey\":\"b\"}",
                                      "{\"AccessKeyId\":\"a\r\",\"SecretAccessKey\":\"b\"}"};
    struct lethe_credentials *credentials = calloc(1, sizeof *credentials);
    static const char good[] = KEYS("A", "2009-10-12T17:50:30Z");
    char text[400], large[320];

    (void)state;
    assert_non_null(credentials);
    assert_int_equal(lethe_credentials_json(good, sizeof good - 1, credentials), LETHE_OK);
    assert_string_equal(credentials->access, "A");
    assert_string_equal(credentials->secret, "s/cret");
    assert_string_equal(credentials->token, "tok");
    assert_int_equal(credentials->expires, 1255369830);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(credentials, 0, sizeof *credentials);
        assert_int_equal(lethe_credentials_json(bad[i], strlen(bad[i]), credentials), LETHE_ERR_FORMAT);
    }
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    snprintf(text, sizeof text, "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"b\"}", large);
    assert_int_equal(lethe_credentials_json(text, strlen(text), credentials), LETHE_ERR_FORMAT);
    free(credentials);
}

static void connections_are_kept(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 50; i++) {
        expect_bytes(fixture, 0, UINT64_MAX, OBJECT);
    }
    assert_int_equal(fixture->fake.connections, 1);
}

static uint64_t clock_now(void *context)
{
    return *(uint64_t *)context;
}

static void clock_wait(void *context, uint64_t ms)
{
    *(uint64_t *)context += ms;
}

static uint64_t clock_random(void *context)
{
    return *(uint64_t *)context * 0x9e3779b97f4a7c15U >> 7;
}

/* One request in five fails; whoever retries loses nothing, doubles nothing, and is never told what is not
 * so. */
static void nothing_is_lost_in_the_noise(void **state)
{
    struct fixture *fixture = *state;
    struct lethe_store_version version = {{0}}, found;
    struct lethe_store *store;
    struct lethe_buf buf = {0};
    uint64_t now = 0, seed = 1;
    const struct lethe_retry_clock clock = {.now_ms = clock_now, .wait_ms = clock_wait, .random = clock_random, .context = &now};

    if (getenv("SEED")) {
        seed = strtoull(getenv("SEED"), NULL, 10);
    }
    print_message("seed %llu\n", (unsigned long long)seed);
    fake_say(&fixture->fake, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(lethe_store_retry_new_with(fixture->store, 100000000, &clock, &store), LETHE_OK);
    fixture->store = store;
    pthread_mutex_lock(&fixture->fake.lock);
    fixture->fake.random = seed | 1;
    fixture->fake.permille = 200;
    pthread_mutex_unlock(&fixture->fake.lock);
    for (unsigned i = 0; i < 500; i++) {
        char key[32], text[32];
        size_t len;

        snprintf(key, sizeof key, "o/%02x/object", i % 32);
        len = (size_t)snprintf(text, sizeof text, "version %u of it", i);
        assert_int_equal(lethe_store_remove(store, key), LETHE_OK);
        assert_int_equal(lethe_store_put(store, key, bytes_of(text), len), LETHE_OK);
        assert_int_equal(lethe_store_put(store, key, bytes_of("other"), 5), LETHE_ERR_EXISTS);
        lethe_buf_reset(&buf);
        assert_int_equal(lethe_store_get(store, key, 3, 100, &buf, NULL), LETHE_OK);
        assert_int_equal(buf.len, len - 3);
        assert_memory_equal(buf.data, text + 3, buf.len);
        assert_int_equal(lethe_store_replace(store, "head", bytes_of(text), len, &version, &found), LETHE_OK);
        assert_string_not_equal(found.text, version.text);
        version = found;
        lethe_buf_reset(&buf);
        assert_int_equal(lethe_store_get(store, "head", 0, UINT64_MAX, &buf, &found), LETHE_OK);
        assert_int_equal(buf.len, len);
        assert_memory_equal(buf.data, text, len);
        assert_string_equal(found.text, version.text);
    }
    pthread_mutex_lock(&fixture->fake.lock);
    fixture->fake.permille = 0;
    pthread_mutex_unlock(&fixture->fake.lock);
    lethe_buf_release(&buf);
}

static enum lethe_err place_of(const char *location, const char *endpoint, const char *region,
                               struct lethe_s3_place *place)
{
    const struct lethe_store_options options = {.endpoint = endpoint, .region = region};

    return lethe_s3_place_parse(location, &options, place);
}

static void places(void **state)
{
    struct lethe_s3_place place;

    (void)state;
    assert_int_equal(place_of("s3://bucket/a/b/", NULL, NULL, &place), LETHE_OK);
    assert_true(place.tls);
    assert_string_equal(place.host, "bucket.s3.us-east-1.amazonaws.com");
    assert_string_equal(place.base, "");
    assert_string_equal(place.prefix, "a/b/");
    assert_int_equal(place_of("s3://buck.et", NULL, "eu-west-1", &place), LETHE_OK);
    assert_string_equal(place.host, "s3.eu-west-1.amazonaws.com");
    assert_string_equal(place.base, "/buck.et");
    assert_string_equal(place.prefix, "");
    assert_int_equal(place_of("s3://bucket//x", "https://Example.org:443/", "r", &place),
                     LETHE_OK);
    assert_string_equal(place.host, "example.org");
    assert_string_equal(place.prefix, "x/");
    assert_int_equal(place_of("s3://bucket", "http://[::1]:9000", "r", &place), LETHE_OK);
    assert_false(place.tls);
    assert_string_equal(place.host, "[::1]:9000");
    assert_false(place.bare);
    assert_int_equal(place_of("s3://bucket", "http://127.0.0.1:9000", "r", &place), LETHE_OK);
    assert_false(place.bare);
    assert_int_equal(place_of("s3://bucket", "http://127.0.0.1.example.org", "r", &place),
                     LETHE_OK);
    assert_true(place.bare);
    assert_int_equal(place_of("s3://bucket", "http://10.0.0.1:9000", "r", &place), LETHE_OK);
    assert_true(place.bare);
    assert_int_equal(place_of("s3://bucket", "https://10.0.0.1:9000", "r", &place), LETHE_OK);
    assert_false(place.bare);
    assert_int_equal(place_of("s3://", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://ab", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://-bucket", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket/a/../b", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket/a//b", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket/a\nb", NULL, NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket", "host:9000", NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket", "http://", NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket", "http://a@b", NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket", "http://host/path", NULL, &place), LETHE_ERR_ARG);
    assert_int_equal(place_of("s3://bucket", NULL, "a/b", &place), LETHE_ERR_ARG);
}

static void styles(void **state)
{
    static const struct {
        const char *location, *endpoint;
        bool path, host;
        const char *want_host, *want_base; /* NULL: refused */
    } cases[] = {
        {"s3://bucket", NULL, false, false, "bucket.s3.us-east-1.amazonaws.com", ""},
        {"s3://bucket", NULL, true, false, "s3.us-east-1.amazonaws.com", "/bucket"},
        {"s3://buck.et", NULL, false, false, "s3.us-east-1.amazonaws.com", "/buck.et"},
        {"s3://buck.et", NULL, false, true, "s3.us-east-1.amazonaws.com", "/buck.et"},
        {"s3://bucket", "https://example.org:9000", false, false, "example.org:9000", "/bucket"},
        {"s3://bucket", "https://example.org:9000", false, true, "bucket.example.org:9000", ""},
        {"s3://buck.et", "http://example.org", false, true, "buck.et.example.org", ""},
        {"s3://buck.et", "https://example.org", false, true, NULL, NULL},
        {"s3://Bucket", "http://example.org", false, true, NULL, NULL},
        {"s3://bucket", "http://127.0.0.1:9000", false, true, NULL, NULL},
        {"s3://bucket", "http://[::1]", false, true, NULL, NULL},
        {"s3://bucket", "http://example.org", true, true, NULL, NULL},
    };
    struct lethe_s3_place place;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct lethe_store_options options = {
            .endpoint = cases[i].endpoint, .path_style = cases[i].path, .host_style = cases[i].host};
        enum lethe_err err = lethe_s3_place_parse(cases[i].location, &options, &place);

        assert_int_equal(err, cases[i].want_host ? LETHE_OK : LETHE_ERR_ARG);
        if (!err) {
            assert_string_equal(place.host, cases[i].want_host);
            assert_string_equal(place.base, cases[i].want_base);
        }
    }
}

static enum lethe_err write_down(void *context, const char *path, const char *text)
{
    char *out = context;

    sprintf(out + strlen(out), "%s=%s;", path, text);
    return LETHE_OK;
}

static void xml_is_strict(void **state)
{
    static const char good[] =
        "<?xml version=\"1.0\"?>\n<a x='>'><b>1 &lt;&#65;&#xe9;</b><c/><d ></d ></a>\n";
    static const char *const bad[] = {"",
                                      " ",
                                      "x",
                                      "<a>",
                                      "<a></b>",
                                      "</a>",
                                      "<a></a><b></b>",
                                      "<a></a>x",
                                      "<a>&none;</a>",
                                      "<a>&amp</a>",
                                      "<a>&#0;</a>",
                                      "<a>&#xd800;</a>",
                                      "<a>&#99999999;</a>",
                                      "<a>&#;</a>",
                                      "<a>&#x;</a>",
                                      "<!DOCTYPE a><a></a>",
                                      "<a><!-- x --></a>",
                                      "<a><![CDATA[x]]></a>",
                                      "<a",
                                      "<a x=\"",
                                      "<a x=\">\"",
                                      "<",
                                      "<a></a",
                                      "<?xml",
                                      "<a><?x?></a>"};
    char out[4096] = "", deep[2048] = "";

    (void)state;
    assert_int_equal(lethe_xml_walk(good, sizeof good - 1, write_down, out), LETHE_OK);
    assert_string_equal(out, "a/b=1 <A\xc3\xa9;a/c=;a/d=;a=;");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        out[0] = '\0';
        assert_int_equal(lethe_xml_walk(bad[i], strlen(bad[i]), write_down, out), LETHE_ERR_FORMAT);
    }
    for (int i = 0; i < 500; i++) {
        strcat(deep, "<a>");
    }
    assert_int_equal(lethe_xml_walk(deep, strlen(deep), write_down, out), LETHE_ERR_FORMAT);
    assert_int_equal(lethe_s3_time("2009-10-12T17:50:30.000Z"), 1255369830);
    assert_int_equal(lethe_s3_time("2009-10-12T17:50"), 0);
    assert_int_equal(lethe_s3_time(""), 0);
    assert_int_equal(lethe_s3_time("2009-13-12T17:50:30.000Z"), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ranges_come_as_asked),
        TEST(etags_quoted),
        TEST(etags_bare),
        TEST(conditions_refused),
        TEST(conditions_ignored),
        TEST(reads_fail_whole),
        TEST(lost_answers_are_not_refusals),
        TEST(probing_survives_faults),
        TEST(probing_survives_repetition),
        TEST(headers_come_whole),
        TEST(refusals_have_names),
        cmocka_unit_test_setup_teardown(absent_bucket_at_opening, setup_nothing, teardown),
        TEST(busy_stores_get_less),
        TEST(clocks_are_mended),
        TEST(silence_ends),
        TEST(pages_are_joined),
        TEST(lists_end),
        cmocka_unit_test_setup_teardown(what_goes_over_the_line, setup_nothing, teardown),
        cmocka_unit_test_setup_teardown(containers_give_keys, setup_nothing, teardown),
        cmocka_unit_test_setup_teardown(instances_give_keys, setup_nothing, teardown),
        cmocka_unit_test_setup_teardown(keys_in_json, setup_nothing, teardown),
        TEST(connections_are_kept),
        TEST(nothing_is_lost_in_the_noise),
        cmocka_unit_test_setup_teardown(places, setup_nothing, teardown),
        cmocka_unit_test_setup_teardown(styles, setup_nothing, teardown),
        cmocka_unit_test_setup_teardown(xml_is_strict, setup_nothing, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
