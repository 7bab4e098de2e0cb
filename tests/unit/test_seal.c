/* SPDX-License-Identifier: MIT */
/* Secrets, sealed objects and noise pictures: what is opened is what was sealed, and any difference is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sodium.h>

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

static const uint8_t key_bytes[LETHE_KEY_BYTES] = {1, 2, 3};

static struct lethe_secret *make_secret(uint8_t first)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {first, 2, 3};
    struct lethe_secret *secret;

    assert_int_equal(lethe_secret_new(bytes, &secret), LETHE_OK);
    return secret;
}

static struct lethe_object_name make_name(enum lethe_object_kind kind)
{
    struct lethe_object_name name = {.kind = kind, .position = 77};

    memset(name.vault.bytes, 0x11, 16);
    memset(name.id.bytes, 0x22, 16);
    memset(name.content.bytes, 0x33, 16);
    return name;
}

static int start(void **unused)
{
    (void)unused;
    return lethe_seal_start() == LETHE_OK ? 0 : -1;
}

static void hash_is_blake2b(void **unused)
{
    /* BLAKE2b-256 of the empty string and of "abc", as published with the function. */
    char text[65];
    uint8_t digest[32];

    (void)unused;
    lethe_hash("", 0, digest);
    lethe_hex(digest, 32, text);
    assert_string_equal(text, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    lethe_hash("abc", 3, digest);
    lethe_hex(digest, 32, text);
    assert_string_equal(text, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

/* Long messages go to another library than short ones: the bytes must not tell, and neither opens what was changed. */
static void ciphers_agree(void **unused)
{
    static uint8_t plain[70000], sealed[70000], other[70000], back[70000];
    static const size_t lengths[] = {0, 1, 1023, 1024, 1025, 4096, 16384, 16385, 70000};
    uint8_t nonce[LETHE_NONCE_BYTES], aad[33], tag[LETHE_TAG_BYTES], other_tag[LETHE_TAG_BYTES];
    const struct lethe_random *random = lethe_random_system();

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t len = lengths[i];

        random->fill(random->context, plain, len);
        random->fill(random->context, nonce, sizeof nonce);
        random->fill(random->context, aad, sizeof aad);
        lethe_aead_seal_apart(key_bytes, nonce, aad, sizeof aad, plain, len, sealed, tag);
        assert_int_equal(crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
                             other, other_tag, NULL, plain, len, aad, sizeof aad, NULL, nonce, key_bytes),
                         0);
        assert_memory_equal(sealed, other, len);
        assert_memory_equal(tag, other_tag, sizeof tag);
        memcpy(back, sealed, len);
        assert_int_equal(lethe_aead_open_apart(key_bytes, nonce, aad, sizeof aad, back, len, tag, back), LETHE_OK);
        assert_memory_equal(back, plain, len);
        memcpy(back, sealed, len);
        tag[15] ^= 1;
        assert_int_equal(lethe_aead_open_apart(key_bytes, nonce, aad, sizeof aad, back, len, tag, back),
                         LETHE_ERR_INTEGRITY);
        assert_true(len < 16 || memcmp(back, plain, len) != 0);
        tag[15] ^= 1;
        aad[32] ^= 1;
        assert_int_equal(lethe_aead_open_apart(key_bytes, nonce, aad, sizeof aad, sealed, len, tag, back),
                         LETHE_ERR_INTEGRITY);
        aad[32] ^= 1;
        if (len > 0) {
            sealed[len - 1] ^= 0x80;
            assert_int_equal(lethe_aead_open_apart(key_bytes, nonce, aad, sizeof aad, sealed, len, tag, back),
                             LETHE_ERR_INTEGRITY);
        }
    }
}

static void secrets_derive(void **unused)
{
    struct lethe_secret *a = make_secret(1), *b = make_secret(9), *one, *two, *three, *four;

    (void)unused;
    assert_memory_equal(lethe_secret_bytes(a), key_bytes, sizeof key_bytes);
    assert_int_equal(lethe_secret_derive(a, "label", "x", 1, &one), LETHE_OK);
    assert_int_equal(lethe_secret_derive(a, "label", "x", 1, &two), LETHE_OK);
    assert_memory_equal(lethe_secret_bytes(one), lethe_secret_bytes(two), LETHE_KEY_BYTES);
    lethe_secret_free(two);
    /* The boundary between label and context is part of the message. */
    assert_int_equal(lethe_secret_derive(a, "labelx", "", 0, &two), LETHE_OK);
    assert_memory_not_equal(lethe_secret_bytes(one), lethe_secret_bytes(two), LETHE_KEY_BYTES);
    assert_int_equal(lethe_secret_combine(a, b, "label", &three), LETHE_OK);
    assert_int_equal(lethe_secret_derive(a, "label", lethe_secret_bytes(b), LETHE_KEY_BYTES, &four),
                     LETHE_OK);
    assert_memory_not_equal(lethe_secret_bytes(three), lethe_secret_bytes(four), LETHE_KEY_BYTES);
    lethe_secret_free(four);
    assert_int_equal(lethe_secret_combine(b, a, "label", &four), LETHE_OK);
    assert_memory_not_equal(lethe_secret_bytes(three), lethe_secret_bytes(four), LETHE_KEY_BYTES);
    lethe_secret_free(four);
    assert_int_equal(lethe_secret_derive(a, "", "x", 1, &four), LETHE_ERR_ARG);
    assert_null(four);
    assert_int_equal(lethe_secret_random(lethe_random_system(), &four), LETHE_OK);
    assert_memory_not_equal(lethe_secret_bytes(three), lethe_secret_bytes(four), LETHE_KEY_BYTES);
    lethe_secret_free(one);
    lethe_secret_free(two);
    lethe_secret_free(three);
    lethe_secret_free(four);
    lethe_secret_free(a);
    lethe_secret_free(b);
    lethe_secret_free(NULL);
}

static void padme_lengths(void **unused)
{
    static const uint64_t pairs[][2] = {
        {0, 0},   {1, 1},     {2, 2},       {8, 8},       {9, 10},
        {15, 16}, {100, 104}, {1000, 1024}, {1025, 1088}, {1u << 20, 1u << 20}};

    (void)unused;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(lethe_padme(pairs[i][0]), pairs[i][1]);
    }
    for (uint64_t len = 1; len < 300000; len++) {
        uint64_t padded = lethe_padme(len);

        assert_true(padded >= len && (padded - len) * 100 <= len * 12);
        assert_int_equal(lethe_padme(padded), padded);
    }
    assert_int_equal(lethe_padme(UINT64_MAX), UINT64_MAX);
}

static void objects_round_trip(void **unused)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 100, 1000, 16384, 65536, 1000003};
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_SEGMENT);

    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *plain = malloc(sizes[i] + 1);

        assert_non_null(plain);
        for (size_t j = 0; j < sizes[i]; j++) {
            plain[j] = (uint8_t)(j * 31 + i);
        }
        for (int padded = 0; padded < 2; padded++) {
            struct lethe_buf sealed = {0}, opened = {0};

            lethe_buf_put(&sealed, "head", 4);
            lethe_buf_put(&opened, "kept", 4);
            assert_int_equal(
                lethe_object_seal(root, &name, padded, plain, sizes[i], lethe_random_system(), &sealed),
                LETHE_OK);
            assert_int_equal(sealed.len - 4, lethe_object_sealed_size(sizes[i], padded));
            assert_int_equal(lethe_object_open(root, &name, padded, sealed.data + 4, sealed.len - 4, &opened),
                             LETHE_OK);
            assert_int_equal(opened.len, 4 + sizes[i]);
            assert_memory_equal(opened.data, "kept", 4);
            assert_memory_equal(opened.data + 4, plain, sizes[i]);
            assert_int_equal(
                lethe_object_open(root, &name, !padded, sealed.data + 4, sealed.len - 4, &opened),
                LETHE_ERR_INTEGRITY);
            assert_int_equal(opened.len, 4 + sizes[i]);
            lethe_buf_release(&sealed);
            lethe_buf_release(&opened);
        }
        free(plain);
    }
    lethe_secret_free(root);
}

static void every_flip_of_an_object_is_refused(void **unused)
{
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_HEAD);
    struct lethe_buf sealed = {0}, opened = {0};

    (void)unused;
    assert_int_equal(lethe_object_seal(root, &name, true, (const uint8_t *)"a photograph", 12,
                                       lethe_random_system(), &sealed),
                     LETHE_OK);
    for (size_t i = 0; i < sealed.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            sealed.data[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(lethe_object_open(root, &name, true, sealed.data, sealed.len, &opened),
                             LETHE_ERR_INTEGRITY);
            sealed.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    for (size_t len = 0; len < sealed.len; len++) {
        assert_int_equal(lethe_object_open(root, &name, true, sealed.data, len, &opened),
                         LETHE_ERR_INTEGRITY);
    }
    assert_int_equal(opened.len, 0);
    assert_int_equal(lethe_object_open(root, &name, true, sealed.data, sealed.len, &opened), LETHE_OK);
    lethe_buf_release(&sealed);
    lethe_buf_release(&opened);
    lethe_secret_free(root);
}

static void every_part_of_the_name_counts(void **unused)
{
    struct lethe_secret *root = make_secret(1), *other = make_secret(2);
    const struct lethe_object_name good = make_name(LETHE_OBJECT_RESIDUAL);
    struct lethe_object_name name;
    struct lethe_buf sealed = {0}, opened = {0};

    (void)unused;
    assert_int_equal(
        lethe_object_seal(root, &good, false, (const uint8_t *)"x", 1, lethe_random_system(), &sealed),
        LETHE_OK);
    for (int kind = 1; kind <= 9; kind++) {
        name = good;
        name.kind = (enum lethe_object_kind)kind;
        assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened),
                         kind == (int)good.kind ? LETHE_OK : LETHE_ERR_INTEGRITY);
    }
    for (size_t i = 0; i < 16; i++) {
        name = good;
        name.vault.bytes[i] ^= 1;
        assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened),
                         LETHE_ERR_INTEGRITY);
        name = good;
        name.id.bytes[i] ^= 1;
        assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened),
                         LETHE_ERR_INTEGRITY);
        name = good;
        name.content.bytes[i] ^= 1;
        assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened),
                         LETHE_ERR_INTEGRITY);
    }
    for (int bit = 0; bit < 64; bit++) {
        name = good;
        name.position ^= UINT64_C(1) << bit;
        assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened),
                         LETHE_ERR_INTEGRITY);
    }
    assert_int_equal(lethe_object_open(other, &good, false, sealed.data, sealed.len, &opened),
                     LETHE_ERR_INTEGRITY);
    name = good;
    name.kind = (enum lethe_object_kind)0;
    assert_int_equal(lethe_object_open(root, &name, false, sealed.data, sealed.len, &opened), LETHE_ERR_ARG);
    lethe_buf_release(&sealed);
    lethe_buf_release(&opened);
    lethe_secret_free(root);
    lethe_secret_free(other);
}

static void equal_contents_share_nothing(void **unused)
{
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_ARTIFACT);
    static const uint8_t plain[4000];
    struct lethe_buf one = {0}, two = {0};
    size_t run = 0, longest = 0;

    (void)unused;
    assert_int_equal(lethe_object_seal(root, &name, true, plain, sizeof plain, lethe_random_system(), &one),
                     LETHE_OK);
    assert_int_equal(lethe_object_seal(root, &name, true, plain, sizeof plain, lethe_random_system(), &two),
                     LETHE_OK);
    assert_int_equal(one.len, two.len);
    for (size_t i = 0; i < one.len; i++) {
        run = one.data[i] == two.data[i] ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    assert_true(longest < 8); /* by chance: once in 2^52 runs of this test */
    lethe_buf_release(&one);
    lethe_buf_release(&two);
    lethe_secret_free(root);
}

static void sealed_bytes_are_uniform(void **unused)
{
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_ARTIFACT);
    uint8_t *plain = calloc(1, 400000);
    struct lethe_buf png = {0}, pixels = {0};
    uint64_t counts[256] = {0}, squares = 0;
    uint64_t statistic;

    (void)unused;
    assert_non_null(plain);
    assert_int_equal(lethe_artifact_seal(root, &name, plain, 400000, lethe_random_system(), &png), LETHE_OK);
    assert_int_equal(lethe_noise_png_unwrap(png.data, png.len, &pixels), LETHE_OK);
    for (size_t i = 0; i < pixels.len; i++) {
        counts[pixels.data[i]]++;
    }
    for (int i = 0; i < 256; i++) {
        squares += counts[i] * counts[i];
    }
    /* Chi-square with 255 degrees of freedom: mean 255, standard deviation 22.6; the bounds are 8 of them
     * away. */
    statistic = squares * 256 / pixels.len - pixels.len;
    assert_in_range(statistic, 75, 436);
    free(plain);
    lethe_buf_release(&png);
    lethe_buf_release(&pixels);
    lethe_secret_free(root);
}

static void pictures_have_one_form(void **unused)
{
    (void)unused;
    assert_int_equal(lethe_noise_png_capacity(0), 3);
    assert_int_equal(lethe_noise_png_capacity(3), 3);
    assert_int_equal(lethe_noise_png_capacity(4), 6);
    assert_int_equal(lethe_noise_png_capacity((UINT64_C(1) << 30) + 1), 0);
    assert_int_equal(lethe_noise_png_capacity(UINT64_MAX), 0);
    for (uint64_t len = 1; len < 200000; len += 1 + len / 50) {
        uint64_t capacity = lethe_noise_png_capacity(len);

        assert_true(capacity >= len && capacity - len < 3 * 260);
        assert_int_equal(lethe_noise_png_capacity(capacity), capacity);
    }
    for (uint64_t len = 1; len < 200000; len = len * 3 + 1) {
        uint64_t capacity = lethe_noise_png_capacity(len);
        uint8_t *bytes = malloc((size_t)capacity);
        struct lethe_buf png = {0}, back = {0};

        assert_non_null(bytes);
        lethe_random_system()->fill(NULL, bytes, (size_t)capacity);
        assert_int_equal(lethe_noise_png_wrap(bytes, (size_t)capacity, &png), LETHE_OK);
        assert_int_equal(lethe_noise_png_unwrap(png.data, png.len, &back), LETHE_OK);
        assert_int_equal(back.len, capacity);
        assert_memory_equal(back.data, bytes, (size_t)capacity);
        assert_int_equal(lethe_noise_png_wrap(bytes, (size_t)capacity - 1, &png), LETHE_ERR_ARG);
        free(bytes);
        lethe_buf_release(&png);
        lethe_buf_release(&back);
    }
}

static void every_flip_of_an_artifact_is_refused(void **unused)
{
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_ARTIFACT);
    struct lethe_buf png = {0}, opened = {0};

    (void)unused;
    assert_int_equal(
        lethe_artifact_seal(root, &name, (const uint8_t *)"latents", 7, lethe_random_system(), &png),
        LETHE_OK);
    assert_int_equal(lethe_artifact_open(root, &name, png.data, png.len, &opened), LETHE_OK);
    assert_int_equal(opened.len, 7);
    assert_memory_equal(opened.data, "latents", 7);
    for (size_t i = 0; i < png.len; i++) {
        for (int value = 1; value < 256; value++) {
            png.data[i] ^= (uint8_t)value;
            assert_int_equal(lethe_artifact_open(root, &name, png.data, png.len, &opened),
                             LETHE_ERR_INTEGRITY);
            png.data[i] ^= (uint8_t)value;
        }
    }
    for (size_t len = 0; len < png.len; len++) {
        assert_int_equal(lethe_artifact_open(root, &name, png.data, len, &opened), LETHE_ERR_INTEGRITY);
    }
    lethe_buf_put_u8(&png, 0);
    assert_int_equal(lethe_artifact_open(root, &name, png.data, png.len, &opened), LETHE_ERR_INTEGRITY);
    assert_int_equal(opened.len, 7);
    lethe_buf_release(&png);
    lethe_buf_release(&opened);
    lethe_secret_free(root);
}

/* Lengths with one Padmé length give one size of picture. */
static void the_picture_tells_only_the_padded_length(void **unused)
{
    struct lethe_secret *root = make_secret(1);
    struct lethe_object_name name = make_name(LETHE_OBJECT_ARTIFACT);
    static const uint8_t plain[3000];
    uint64_t padded = 0;
    size_t size = 0;

    (void)unused;
    for (size_t len = 0; len < sizeof plain; len += 7) {
        struct lethe_buf png = {0}, opened = {0};

        assert_int_equal(lethe_artifact_seal(root, &name, plain, len, lethe_random_system(), &png), LETHE_OK);
        if (lethe_padme(8 + len) == padded) {
            assert_int_equal(png.len, size);
        }
        padded = lethe_padme(8 + len);
        size = png.len;
        assert_int_equal(lethe_artifact_open(root, &name, png.data, png.len, &opened), LETHE_OK);
        assert_int_equal(opened.len, len);
        lethe_buf_release(&png);
        lethe_buf_release(&opened);
    }
    lethe_secret_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_is_blake2b),
        cmocka_unit_test(ciphers_agree),
        cmocka_unit_test(secrets_derive),
        cmocka_unit_test(padme_lengths),
        cmocka_unit_test(objects_round_trip),
        cmocka_unit_test(every_flip_of_an_object_is_refused),
        cmocka_unit_test(every_part_of_the_name_counts),
        cmocka_unit_test(equal_contents_share_nothing),
        cmocka_unit_test(sealed_bytes_are_uniform),
        cmocka_unit_test(pictures_have_one_form),
        cmocka_unit_test(every_flip_of_an_artifact_is_refused),
        cmocka_unit_test(the_picture_tells_only_the_padded_length),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
