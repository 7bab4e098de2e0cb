/* SPDX-License-Identifier: MIT */
/* vault.json: two secrets open it, nothing else does, and no value of it can be changed unseen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lethe/log.h"
#include "lethe/seal.h"

static const struct lethe_kdf_cost cheap = {16, 1};

static void drop_log(void *context, enum lethe_log_level level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static int start(void **unused)
{
    (void)unused;
    lethe_log_set_sink(drop_log, NULL);
    return lethe_seal_start() == LETHE_OK ? 0 : -1;
}

static struct lethe_secret *make_secret(uint8_t first)
{
    uint8_t bytes[LETHE_KEY_BYTES] = {first, 5};
    struct lethe_secret *secret;

    assert_int_equal(lethe_secret_new(bytes, &secret), LETHE_OK);
    return secret;
}

static struct lethe_vault_settings make_settings(void)
{
    struct lethe_vault_settings settings = {
        .fidelity = LETHE_FIDELITY_SPLIT, .strength = 2, .pairs_in_vault = true, .created = 1700000000};

    memset(settings.id.bytes, 0xa1, 16);
    memset(settings.second.bytes, 0xb2, 16);
    return settings;
}

static struct lethe_vault_file *make_file(const struct lethe_secret *device, struct lethe_secret **master)
{
    struct lethe_vault_settings settings = make_settings();
    struct lethe_vault_file *file;

    assert_int_equal(
        lethe_vault_file_new(&settings, &cheap, "secret", 6, device, lethe_random_system(), &file, master),
        LETHE_OK);
    return file;
}

static struct lethe_vault_file *reread(struct lethe_vault_file *file, const struct lethe_secret *master,
                                       struct lethe_buf *json)
{
    struct lethe_vault_file *read;

    lethe_buf_reset(json);
    assert_int_equal(lethe_vault_file_write(file, master, json), LETHE_OK);
    assert_int_equal(lethe_vault_file_parse(json->data, json->len, &read), LETHE_OK);
    return read;
}

static enum lethe_err unlock(const struct lethe_vault_file *file, const char *passphrase,
                             const struct lethe_secret *device)
{
    struct lethe_secret *master;
    enum lethe_err err = lethe_vault_file_unlock(file, passphrase, strlen(passphrase), device, &master);

    assert_true((err == LETHE_OK) == (master != NULL));
    lethe_secret_free(master);
    return err;
}

static void both_secrets_are_needed(void **unused)
{
    struct lethe_secret *device = make_secret(1), *other = make_secret(2), *master, *again;
    struct lethe_vault_file *file = make_file(device, &master), *read;
    const struct lethe_vault_settings *settings;
    struct lethe_buf json = {0};

    (void)unused;
    assert_int_equal(lethe_vault_file_generation(file), 0);
    read = reread(file, master, &json);
    assert_int_equal(lethe_vault_file_generation(file), 1);
    assert_int_equal(lethe_vault_file_generation(read), 1);
    settings = lethe_vault_file_settings(read);
    assert_int_equal(settings->fidelity, LETHE_FIDELITY_SPLIT);
    assert_int_equal(settings->strength, 2);
    assert_true(settings->pairs_in_vault);
    assert_int_equal(settings->created, 1700000000);
    assert_int_equal(settings->second.bytes[3], 0xb2);
    assert_int_equal(lethe_vault_file_unlock(read, "secret", 6, device, &again), LETHE_OK);
    assert_memory_equal(lethe_secret_bytes(again), lethe_secret_bytes(master), LETHE_KEY_BYTES);
    assert_int_equal(lethe_vault_file_verify(read, again), LETHE_OK);
    assert_int_equal(lethe_vault_file_verify(read, other), LETHE_ERR_INTEGRITY);
    assert_int_equal(unlock(read, "Secret", device), LETHE_ERR_KEY);
    assert_int_equal(unlock(read, "secret", other), LETHE_ERR_KEY);
    assert_int_equal(unlock(read, "", device), LETHE_ERR_KEY);
    assert_int_equal(lethe_vault_file_write(read, other, &json), LETHE_ERR_INTEGRITY);
    lethe_buf_release(&json);
    lethe_vault_file_free(file);
    lethe_vault_file_free(read);
    lethe_secret_free(device);
    lethe_secret_free(other);
    lethe_secret_free(master);
    lethe_secret_free(again);
}

static void slots_come_and_go(void **unused)
{
    struct lethe_secret *device = make_secret(1), *second = make_secret(2), *master;
    struct lethe_vault_file *file = make_file(device, &master), *read;
    struct lethe_buf json = {0};
    struct lethe_slot_info info;
    struct lethe_id first, added, found;

    (void)unused;
    assert_int_equal(lethe_vault_file_slot_find(file, "secret", 6, device, &first), LETHE_OK);
    assert_int_equal(lethe_vault_file_slot_remove(file, &first), LETHE_ERR_ARG);
    assert_int_equal(
        lethe_vault_file_slot_add(file, second, &cheap, "new", 3, device, "x", lethe_random_system(), &added),
        LETHE_ERR_INTEGRITY); /* that is not the master key */
    assert_int_equal(lethe_vault_file_slot_add(file, master, &cheap, "new", 3, second,
                                               "the \"other\" \\ device", lethe_random_system(), &added),
                     LETHE_OK);
    assert_int_equal(lethe_vault_file_slot_date(file, &added, 1800000000), LETHE_OK);
    assert_int_equal(lethe_vault_file_slots(file), 2);
    read = reread(file, master, &json);
    assert_int_equal(unlock(read, "secret", device), LETHE_OK);
    assert_int_equal(unlock(read, "new", second), LETHE_OK);
    assert_int_equal(unlock(read, "new", device), LETHE_ERR_KEY);
    assert_int_equal(lethe_vault_file_slot_find(read, "new", 3, second, &found), LETHE_OK);
    assert_true(lethe_id_equal(&found, &added));
    assert_int_equal(lethe_vault_file_slot(read, 1, &info), LETHE_OK);
    assert_string_equal(info.label, "the \"other\" \\ device");
    assert_int_equal(info.created, 1800000000);
    assert_int_equal(info.cost.memory_mib, 16);
    assert_int_equal(lethe_vault_file_slot(read, 2, &info), LETHE_ERR_NOT_FOUND);
    /* A passphrase is changed by adding and removing: the old one no longer opens, here and once written. */
    assert_int_equal(lethe_vault_file_slot_remove(read, &first), LETHE_OK);
    assert_int_equal(lethe_vault_file_slot_remove(read, &first), LETHE_ERR_NOT_FOUND);
    assert_int_equal(unlock(read, "secret", device), LETHE_ERR_KEY);
    assert_int_equal(unlock(read, "new", second), LETHE_OK);
    lethe_vault_file_free(file);
    file = reread(read, master, &json);
    assert_int_equal(lethe_vault_file_generation(file), 2);
    assert_int_equal(unlock(file, "secret", device), LETHE_ERR_KEY);
    assert_int_equal(unlock(file, "new", second), LETHE_OK);
    while (lethe_vault_file_slots(file) < 16) {
        assert_int_equal(lethe_vault_file_slot_add(file, master, &cheap, "n", 1, second, "",
                                                   lethe_random_system(), &added),
                         LETHE_OK);
    }
    assert_int_equal(
        lethe_vault_file_slot_add(file, master, &cheap, "n", 1, second, "", lethe_random_system(), &added),
        LETHE_ERR_ARG);
    lethe_vault_file_free(read);
    read = reread(file, master, &json);
    assert_int_equal(lethe_vault_file_slots(read), 16);
    lethe_buf_release(&json);
    lethe_vault_file_free(file);
    lethe_vault_file_free(read);
    lethe_secret_free(device);
    lethe_secret_free(second);
    lethe_secret_free(master);
}

static void costs_have_floors_and_caps(void **unused)
{
    static const struct lethe_kdf_cost bad[] = {{15, 1},  {4097, 1}, {16, 0},
                                                {16, 17}, {0, 0},    {UINT32_MAX, 1}};
    struct lethe_vault_settings settings = make_settings();
    struct lethe_secret *device = make_secret(1), *master;
    struct lethe_vault_file *file;

    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(lethe_vault_file_new(&settings, &bad[i], "secret", 6, device, lethe_random_system(),
                                              &file, &master),
                         LETHE_ERR_ARG);
        assert_null(file);
        assert_null(master);
    }
    assert_int_equal(
        lethe_vault_file_new(&settings, &cheap, "", 0, device, lethe_random_system(), &file, &master),
        LETHE_ERR_ARG);
    settings.strength = 4;
    assert_int_equal(
        lethe_vault_file_new(&settings, &cheap, "secret", 6, device, lethe_random_system(), &file, &master),
        LETHE_ERR_ARG);
    lethe_secret_free(device);
}

/* Every byte of the text changed in every way that a digit or letter can be: refused, or the MAC tells. */
static void every_changed_byte_is_noticed(void **unused)
{
    static const uint8_t values[] = "0123456789abcdefABF\" \n,:{}[]-.\\\0\x80\xff";
    struct lethe_secret *device = make_secret(1), *master;
    struct lethe_vault_file *file = make_file(device, &master), *read;
    struct lethe_buf json = {0}, out = {0};
    struct lethe_id added;
    size_t parsed = 0;

    (void)unused;
    assert_int_equal(lethe_vault_file_slot_add(file, master, &cheap, "new", 3, device, "phone",
                                               lethe_random_system(), &added),
                     LETHE_OK);
    read = reread(file, master, &json);
    lethe_vault_file_free(read);
    for (size_t i = 0; i < json.len; i++) {
        uint8_t kept = json.data[i];

        for (size_t v = 0; v < sizeof values; v++) {
            enum lethe_err err;

            if (values[v] == kept) {
                continue;
            }
            json.data[i] = values[v];
            err = lethe_vault_file_parse(json.data, json.len, &read);
            assert_true(err == LETHE_ERR_FORMAT || err == LETHE_ERR_VERSION || err == LETHE_OK);
            if (!err) {
                parsed++;
                assert_int_equal(lethe_vault_file_verify(read, master), LETHE_ERR_INTEGRITY);
                assert_int_equal(lethe_vault_file_write(read, master, &out), LETHE_ERR_INTEGRITY);
                assert_int_equal(out.len, 0);
            }
            lethe_vault_file_free(read);
        }
        json.data[i] = kept;
    }
    assert_true(parsed > 1000); /* the digits of ids, salts, keys and the MAC */
    for (size_t len = 0; len < json.len; len++) {
        assert_int_equal(lethe_vault_file_parse(json.data, len, &read), LETHE_ERR_FORMAT);
    }
    lethe_buf_release(&json);
    lethe_buf_release(&out);
    lethe_vault_file_free(file);
    lethe_secret_free(device);
    lethe_secret_free(master);
}

/* What an attacker would write, in well-formed text: unlocking says so. */
static void tampering_is_told_at_unlock(void **unused)
{
    static const char *const edits[][2] = {
        {"\"fidelity\": \"split\"", "\"fidelity\": \"exact\""},
        {"\"fidelity\": \"split\"", "\"fidelity\": \"lossy\""},
        {"\"strength\": 2", "\"strength\": 0"},
        {"\"pairs\": \"vault\"", "\"pairs\": \"device\""},
        {"\"generation\": 1", "\"generation\": 9"},
        {"\"created\": 1700000000", "\"created\": 1700000001"},
        {"\"label\": \"first\"", "\"label\": \"other\""},
        {"\"second\": \"b2", "\"second\": \"b3"},
    };
    struct lethe_secret *device = make_secret(1), *master;
    struct lethe_vault_file *file = make_file(device, &master), *read;
    struct lethe_buf json = {0};

    (void)unused;
    read = reread(file, master, &json);
    lethe_vault_file_free(read);
    lethe_buf_put_u8(&json, 0);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        char *found = strstr((char *)json.data, edits[i][0]), text[8192];

        assert_non_null(found);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(found - (char *)json.data), (char *)json.data,
                 edits[i][1], found + strlen(edits[i][0]));
        assert_int_equal(lethe_vault_file_parse((uint8_t *)text, strlen(text), &read), LETHE_OK);
        assert_int_equal(unlock(read, "secret", device), LETHE_ERR_INTEGRITY);
        lethe_vault_file_free(read);
    }
    lethe_buf_release(&json);
    lethe_vault_file_free(file);
    lethe_secret_free(device);
    lethe_secret_free(master);
}

static void hostile_text_is_refused(void **unused)
{
    static const struct {
        const char *text;
        enum lethe_err err;
    } cases[] = {
        {"", LETHE_ERR_FORMAT},
        {"{}", LETHE_ERR_FORMAT},
        {"[]", LETHE_ERR_FORMAT},
        {"null", LETHE_ERR_FORMAT},
        {"{\"format\": \"lethefs-vault\", \"version\": 2, \"new\": []}", LETHE_ERR_VERSION},
        {"{\"format\": \"lethefs-vault\", \"version\": 1}", LETHE_ERR_FORMAT},
        {"{\"format\": \"lethefs-vault\", \"version\": 0}", LETHE_ERR_FORMAT},
        {"{\"format\": \"lethefs-vault\", \"version\": 2, \"version\": 1}", LETHE_ERR_FORMAT},
        {"{\"format\": \"other\", \"version\": 2}", LETHE_ERR_FORMAT},
        {"{\"format\": \"lethefs-vault\", \"version\": 99999999999999999999999}", LETHE_ERR_FORMAT},
    };
    struct lethe_vault_file *file;
    char *deep;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(lethe_vault_file_parse((const uint8_t *)cases[i].text, strlen(cases[i].text), &file),
                         cases[i].err);
        assert_null(file);
    }
    deep = malloc(70000);
    assert_non_null(deep);
    memset(deep, '[', 70000);
    assert_int_equal(lethe_vault_file_parse((uint8_t *)deep, 65536, &file), LETHE_ERR_FORMAT);
    assert_int_equal(lethe_vault_file_parse((uint8_t *)deep, 70000, &file), LETHE_ERR_FORMAT);
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_secrets_are_needed),     cmocka_unit_test(slots_come_and_go),
        cmocka_unit_test(costs_have_floors_and_caps),  cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(tampering_is_told_at_unlock), cmocka_unit_test(hostile_text_is_refused),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
