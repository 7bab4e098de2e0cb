/* SPDX-License-Identifier: MIT */
/*
 * The bytes of the format, fixed for good: with known secrets and counted instead of random bytes, everything
 * sealed has these hashes (BLAKE2b-256). A decoder written from the layouts alone read them all, but for what
 * lies behind Argon2id. Never edit one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lethe/seal.h"

static void count_up(void *context, void *out, size_t len)
{
    uint8_t *next = context, *bytes = out;

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (*next)++;
    }
}

static void check(const struct lethe_buf *buf, size_t len, const char *expected)
{
    uint8_t digest[32];
    char text[65];

    assert_int_equal(buf->len, len);
    lethe_hash(buf->data, buf->len, digest);
    lethe_hex(digest, sizeof digest, text);
    assert_string_equal(text, expected);
}

static struct lethe_secret *root_secret(void)
{
    uint8_t bytes[LETHE_KEY_BYTES];
    struct lethe_secret *root;

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(0x80 + i);
    }
    assert_int_equal(lethe_secret_new(bytes, &root), LETHE_OK);
    return root;
}

static void objects(void **unused)
{
    static const uint8_t plain[] = "a photograph";
    struct lethe_object_name name = {.kind = LETHE_OBJECT_SEGMENT, .position = 0x0102030405060708};
    struct lethe_secret *root = root_secret();
    struct lethe_buf buf = {0};
    uint8_t next = 0;
    const struct lethe_random random = {count_up, &next};

    (void)unused;
    memset(name.vault.bytes, 0x11, 16);
    memset(name.id.bytes, 0x22, 16);
    memset(name.content.bytes, 0x33, 16);
    assert_int_equal(lethe_object_seal(root, &name, false, plain, 12, &random, &buf), LETHE_OK);
    check(&buf, 52, "bcd4ba3a9fcb2820efe93aca96ec067d3585fa0aa41acffe6965a98b56e0e389");
    next = 0;
    lethe_buf_reset(&buf);
    assert_int_equal(lethe_object_seal(root, &name, true, plain, 12, &random, &buf), LETHE_OK);
    check(&buf, 60, "32e105dadb556498eabb76f97a3c671c4901ee32255a790e445879e16a76ee8b");
    next = 0;
    lethe_buf_reset(&buf);
    name.kind = LETHE_OBJECT_ARTIFACT;
    assert_int_equal(lethe_artifact_seal(root, &name, plain, 12, &random, &buf), LETHE_OK);
    check(&buf, 132, "0bbaee5bb89d007e1543df3f391e94824cbab534f8aec3a559426f3c9bc06cfe");
    lethe_buf_release(&buf);
    lethe_secret_free(root);
}

static void vault_json(void **unused)
{
    struct lethe_vault_settings settings = {
        .fidelity = LETHE_FIDELITY_SPLIT, .strength = 3, .pairs_in_vault = true, .created = 1700000000};
    const struct lethe_kdf_cost cost = {16, 1};
    struct lethe_secret *root = root_secret(), *master;
    struct lethe_vault_file *file;
    struct lethe_buf buf = {0};
    uint8_t next = 0;
    const struct lethe_random random = {count_up, &next};

    (void)unused;
    memset(settings.id.bytes, 0x11, 16);
    memset(settings.second.bytes, 0x44, 16);
    assert_int_equal(
        lethe_vault_file_new(&settings, &cost, "correct horse", 13, root, &random, &file, &master), LETHE_OK);
    assert_int_equal(lethe_vault_file_write(file, master, &buf), LETHE_OK);
    check(&buf, 822, "19003e5048272373a9feaec793190b8aa976ea51fa2d49f38c733f5f3c1cf9ff");
    lethe_vault_file_free(file);
    lethe_buf_release(&buf);
    lethe_secret_free(master);
    lethe_secret_free(root);
}

static int start(void **unused)
{
    (void)unused;
    return lethe_seal_start() == LETHE_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(objects), cmocka_unit_test(vault_json)};

    return cmocka_run_group_tests(tests, start, NULL);
}
