/* SPDX-License-Identifier: MIT */
/*
 * Signature V4 against the examples that Amazon publishes ("Signature Calculations for the Authorization
 * Header", Amazon S3 API Reference; "aws-sig-v4-test-suite", AWS General Reference), and credentials from the
 * environment and files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/credentials.h"
#include "backends/sigv4.h"
#include "backends/sigv4_sodium.h"
#include "lethe/log.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WELCOME "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static char logged[1024];

static void keep_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
}

static void check(const struct lethe_sigv4 *request, const char *access, const char *secret,
                  const char *expected)
{
    struct lethe_buf out = {0};

    assert_int_equal(lethe_sigv4_sign(request, access, secret, &out), LETHE_OK);
    lethe_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data, expected);
    lethe_buf_release(&out);
}

#define S3_ACCESS "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_SCOPE "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
#define S3_HOST                                                                                              \
    {                                                                                                        \
        "host", "examplebucket.s3.amazonaws.com"                                                             \
    }
#define S3_DATE                                                                                              \
    {                                                                                                        \
        "x-amz-date", "20130524T000000Z"                                                                     \
    }

static void examples_of_s3(void **state)
{
    static const struct lethe_sigv4_header get[] = {
        S3_HOST, {"range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}, S3_DATE};
    static const struct lethe_sigv4_header put[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                                    S3_HOST,
                                                    {"x-amz-content-sha256", WELCOME},
                                                    S3_DATE,
                                                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    static const struct lethe_sigv4_header list[] = {S3_HOST, {"x-amz-content-sha256", EMPTY}, S3_DATE};
    struct lethe_sigv4 request = {.method = "GET",
                                  .path = "/test.txt",
                                  .query = "",
                                  .headers = get,
                                  .header_count = 4,
                                  .payload = EMPTY,
                                  .date = "20130524T000000Z",
                                  .region = "us-east-1",
                                  .service = "s3"};

    (void)state;
    check(&request, S3_ACCESS, S3_SECRET,
          S3_SCOPE "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                   "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    request.method = "PUT";
    request.path = "/test%24file.text";
    request.headers = put;
    request.header_count = 5;
    request.payload = WELCOME;
    check(&request, S3_ACCESS, S3_SECRET,
          S3_SCOPE "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
                   "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    request.method = "GET";
    request.path = "/";
    request.query = "lifecycle=";
    request.headers = list;
    request.header_count = 3;
    request.payload = EMPTY;
    check(&request, S3_ACCESS, S3_SECRET,
          S3_SCOPE "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                   "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    request.query = "max-keys=2&prefix=J";
    check(&request, S3_ACCESS, S3_SECRET,
          S3_SCOPE "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                   "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void vanilla_of_the_suite(void **state)
{
    static const struct lethe_sigv4_header headers[] = {{"host", "example.amazonaws.com"},
                                                        {"x-amz-date", "20150830T123600Z"}};
    const struct lethe_sigv4 request = {.method = "GET",
                                        .path = "/",
                                        .query = "",
                                        .headers = headers,
                                        .header_count = 2,
                                        .payload = EMPTY,
                                        .date = "20150830T123600Z",
                                        .region = "us-east-1",
                                        .service = "service"};

    (void)state;
    check(&request, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
          "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
          "SignedHeaders=host;x-amz-date,"
          "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

static void dates_and_encoding(void **state)
{
    char date[LETHE_SIGV4_DATE_SIZE];
    struct lethe_buf out = {0};

    (void)state;
    assert_int_equal(lethe_sigv4_date(1440938160, date), LETHE_OK);
    assert_string_equal(date, "20150830T123600Z");
    assert_int_equal(lethe_sigv4_date(0, date), LETHE_OK);
    assert_string_equal(date, "19700101T000000Z");
    assert_int_equal(lethe_sigv4_date(-1, date), LETHE_ERR_ARG);
    assert_int_equal(lethe_sigv4_date(INT64_MAX, date), LETHE_ERR_ARG);
    lethe_sigv4_encode("a b/\xc3\xa9~-._+=%", true, &out);
    lethe_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data, "a%20b/%C3%A9~-._%2B%3D%25");
    lethe_buf_reset(&out);
    lethe_sigv4_encode("a/b", false, &out);
    lethe_buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.data, "a%2Fb");
    lethe_buf_release(&out);
}

static const char file[] = "# mine\r\n"
                           "[default]\r\n"
                           "aws_access_key_id = FIRST\r\n"
                           "aws_secret_access_key=one=and/more+\n"
                           "\n"
                           "[ other ]\n"
                           "[other]\n"
                           "aws_access_key_id = SECOND\n"
                           "  nested = yes\n"
                           "aws_secret_access_key = two\n"
                           "aws_session_token = token\n"
                           "no value\n";

static void profiles_are_found(void **state)
{
    struct lethe_credentials *credentials = lethe_sigv4_secret_alloc(sizeof *credentials);
    static const char config[] =
        "[profile other]\nregion = eu-west-1\naws_access_key_id = THIRD\n"
        "[default]\nregion = x\ns3 =\n  endpoint_url = http://no\nendpoint_url = http://yes\n";
    int found;

    (void)state;
    assert_non_null(credentials);
    assert_int_equal(lethe_credentials_parse(file, sizeof file - 1, "default", 0, credentials, &found),
                     LETHE_OK);
    assert_true(found);
    assert_string_equal(credentials->access, "FIRST");
    assert_string_equal(credentials->secret, "one=and/more+");
    assert_string_equal(credentials->token, "");
    assert_int_equal(lethe_credentials_parse(config, sizeof config - 1, "default", 1, credentials, &found),
                     LETHE_OK);
    assert_true(found);
    assert_string_equal(credentials->region, "x");
    assert_string_equal(credentials->endpoint, "http://yes");
    memset(credentials, 0, sizeof *credentials);
    assert_int_equal(lethe_credentials_parse(file, sizeof file - 1, "other", 0, credentials, &found),
                     LETHE_OK);
    assert_true(found);
    assert_string_equal(credentials->access, "SECOND");
    assert_string_equal(credentials->token, "token");
    assert_int_equal(lethe_credentials_parse(config, sizeof config - 1, "other", 1, credentials, &found),
                     LETHE_OK);
    assert_string_equal(credentials->region, "eu-west-1");
    assert_string_equal(credentials->access, "SECOND"); /* a key and its secret come from one place */
    assert_int_equal(lethe_credentials_parse(file, sizeof file - 1, "third", 0, credentials, &found),
                     LETHE_OK);
    assert_false(found);
    assert_int_equal(lethe_credentials_parse("[", 1, "", 0, credentials, &found), LETHE_OK);
    lethe_credentials_free(credentials);
}

static void too_long_is_refused(void **state)
{
    struct lethe_credentials *credentials = lethe_sigv4_secret_alloc(sizeof *credentials);
    char text[600];
    int found, len = snprintf(text, sizeof text, "[default]\naws_access_key_id = %0400d\n", 1);

    (void)state;
    assert_non_null(credentials);
    assert_int_equal(lethe_credentials_parse(text, (size_t)len, "default", 0, credentials, &found),
                     LETHE_ERR_FORMAT);
    lethe_credentials_free(credentials);
}

static void clear(void)
{
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID",          "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",   "AWS_REGION",
        "AWS_DEFAULT_REGION",         "AWS_PROFILE",           "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",        "AWS_CA_BUNDLE",         "CURL_CA_BUNDLE",      "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("HOME", "/nonexistent", 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

static const struct lethe_credentials_source nowhere = {NULL, NULL};

static void environment_wins(void **state)
{
    char path[] = "/tmp/lethe-credentials-XXXXXX";
    struct lethe_credentials_source source = {NULL, NULL};
    struct lethe_credentials *credentials;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file, sizeof file - 1), sizeof file - 1);
    close(fd);
    clear();
    lethe_log_set_sink(keep_log, NULL);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_ERR_KEY);
    assert_null(credentials);
    assert_non_null(strstr(logged, "AWS_ACCESS_KEY_ID"));
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_OK);
    assert_string_equal(credentials->access, "FIRST");
    lethe_credentials_free(credentials);
    setenv("AWS_PROFILE", "nobody", 1);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_ERR_KEY);
    assert_non_null(strstr(logged, "nobody"));
    setenv("AWS_PROFILE", "other", 1);
    setenv("AWS_DEFAULT_REGION", "eu-north-1", 1);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_OK);
    assert_string_equal(credentials->access, "SECOND");
    assert_string_equal(credentials->token, "token");
    assert_string_equal(credentials->region, "eu-north-1");
    lethe_credentials_free(credentials);
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_ERR_KEY);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    assert_int_equal(lethe_credentials_load(&nowhere, &credentials), LETHE_OK);
    assert_string_equal(credentials->access, "ENV");
    assert_string_equal(credentials->secret, "secret");
    assert_string_equal(credentials->token, ""); /* not that of the file */
    lethe_credentials_free(credentials);

    /* What a person says wins over the environment. */
    source.profile = (char[]){"other"};
    assert_int_equal(lethe_credentials_load(&source, &credentials), LETHE_OK);
    assert_string_equal(credentials->access, "SECOND");
    lethe_credentials_free(credentials);
    source = (struct lethe_credentials_source){.file = path};
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    unsetenv("AWS_PROFILE");
    assert_int_equal(lethe_credentials_load(&source, &credentials), LETHE_OK);
    assert_string_equal(credentials->access, "FIRST");
    lethe_credentials_free(credentials);
    source.file = (char[]){"/nonexistent/file"};
    assert_int_equal(lethe_credentials_load(&source, &credentials), LETHE_ERR_KEY);
    assert_non_null(strstr(logged, "/nonexistent/file"));
    lethe_log_set_sink(NULL, NULL);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_s3),      cmocka_unit_test(vanilla_of_the_suite),
        cmocka_unit_test(dates_and_encoding),  cmocka_unit_test(profiles_are_found),
        cmocka_unit_test(too_long_is_refused), cmocka_unit_test(environment_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
