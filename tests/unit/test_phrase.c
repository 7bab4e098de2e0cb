/* SPDX-License-Identifier: MIT */
/* The recovery phrase: what people do to it is forgiven, what changes it is refused. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lethe/seal.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int start(void **unused)
{
    (void)unused;
    return lethe_seal_start() == LETHE_OK ? 0 : -1;
}

static struct lethe_secret *make_secret(uint8_t step)
{
    uint8_t bytes[LETHE_KEY_BYTES];
    struct lethe_secret *secret;

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * step + 200);
    }
    assert_int_equal(lethe_secret_new(bytes, &secret), LETHE_OK);
    return secret;
}

static void read_equal(const char *text, const struct lethe_secret *secret)
{
    struct lethe_secret *read;

    assert_int_equal(lethe_phrase_read(text, strlen(text), &read), LETHE_OK);
    assert_memory_equal(lethe_secret_bytes(read), lethe_secret_bytes(secret), LETHE_KEY_BYTES);
    lethe_secret_free(read);
}

static void read_refused(const char *text, size_t len)
{
    struct lethe_secret *read;

    assert_int_equal(lethe_phrase_read(text, len, &read), LETHE_ERR_FORMAT);
    assert_null(read);
}

static void round_trip(void **unused)
{
    (void)unused;
    for (int step = 0; step < 50; step++) {
        struct lethe_secret *secret = make_secret((uint8_t)step);
        char phrase[LETHE_PHRASE_MAX];

        lethe_phrase_write(secret, phrase);
        assert_int_equal(strlen(phrase), 69);
        read_equal(phrase, secret);
        lethe_secret_free(secret);
    }
}

static void layout_is_fixed(void **unused)
{
    static const uint8_t zeros[LETHE_KEY_BYTES];
    struct lethe_secret *secret;
    char phrase[LETHE_PHRASE_MAX];

    (void)unused;
    assert_int_equal(lethe_secret_new(zeros, &secret), LETHE_OK);
    lethe_phrase_write(secret, phrase);
    assert_string_equal(phrase, "0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0007-G9NH");
    lethe_secret_free(secret);
}

static void habits_are_forgiven(void **unused)
{
    struct lethe_secret *secret = make_secret(7);
    char phrase[LETHE_PHRASE_MAX], typed[4 * LETHE_PHRASE_MAX];
    size_t at = 0;

    (void)unused;
    lethe_phrase_write(secret, phrase);
    for (size_t i = 0; phrase[i]; i++) {
        char c = (char)tolower((unsigned char)phrase[i]);

        if (c == '-') {
            c = i % 2 ? ' ' : '\n';
        } else if (c == '0') {
            c = i % 2 ? 'o' : 'O';
        } else if (c == '1') {
            c = i % 3 == 0 ? 'i' : i % 3 == 1 ? 'l' : 'L';
        }
        typed[at++] = c;
        if (i % 5 == 0) {
            typed[at++] = i % 10 ? '\t' : '-';
        }
    }
    memcpy(typed + at, "\r\n", 3);
    read_equal(typed, secret);
    lethe_secret_free(secret);
}

static void typos_are_refused(void **unused)
{
    struct lethe_secret *secret = make_secret(3);
    char phrase[LETHE_PHRASE_MAX], typed[LETHE_PHRASE_MAX];
    size_t len;

    (void)unused;
    lethe_phrase_write(secret, phrase);
    len = strlen(phrase);
    for (size_t i = 0; i < len; i++) {
        if (phrase[i] == '-') {
            continue;
        }
        memcpy(typed, phrase, sizeof typed);
        for (size_t c = 0; alphabet[c]; c++) {
            typed[i] = alphabet[c];
            if (typed[i] != phrase[i]) {
                read_refused(typed, len);
            }
        }
        typed[i] = 'U';
        read_refused(typed, len);
        typed[i] = '\0';
        read_refused(typed, len);
        typed[i] = '-';
        read_refused(typed, len); /* one too few */
        for (size_t j = i + 1; j < len; j++) {
            memcpy(typed, phrase, sizeof typed);
            typed[i] = phrase[j];
            typed[j] = phrase[i];
            if (typed[i] != typed[j] && phrase[j] != '-') {
                read_refused(typed, len);
            }
        }
    }
    memcpy(typed, phrase, sizeof typed);
    typed[len] = '0';
    read_refused(typed, len + 1);
    read_refused("", 0);
    lethe_secret_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(layout_is_fixed),
        cmocka_unit_test(habits_are_forgiven),
        cmocka_unit_test(typos_are_refused),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
