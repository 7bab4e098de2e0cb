/* SPDX-License-Identifier: MIT */
/* vault.json and the head that names it: a writer that was cut off in between, an old file put back. */
#include "vault_fixture.h"

#include "lethe/store.h"

/* Writes vault.json anew, as a key command does, and stops before the head. */
static void write_keys(struct fixture *fixture)
{
    struct lethe_store_version version, next;
    struct lethe_vault_file *file = NULL;
    struct lethe_secret *device = NULL, *master = NULL;
    struct lethe_store *store = NULL;
    struct lethe_buf json = {0};
    uint8_t hash[32];

    assert_int_equal(lethe_store_open(fixture->vault, false, &store), LETHE_OK);
    assert_int_equal(lethe_session_vault_file(store, fixture->vault, &file, hash, &version), LETHE_OK);
    assert_int_equal(lethe_phrase_read(fixture->phrase, strlen(fixture->phrase), &device), LETHE_OK);
    assert_int_equal(lethe_vault_file_unlock(file, FIXTURE_PASS, sizeof FIXTURE_PASS - 1, device, &master),
                     LETHE_OK);
    assert_int_equal(lethe_vault_file_write(file, master, &json), LETHE_OK);
    assert_int_equal(lethe_store_replace(store, "vault.json", json.data, json.len, &version, &next),
                     LETHE_OK);
    lethe_buf_release(&json);
    lethe_vault_file_free(file);
    lethe_secret_free(master);
    lethe_secret_free(device);
    lethe_store_close(store);
}

/* Puts bytes in the place of vault.json, as somebody does who owns the backend. */
static void put_back(struct fixture *fixture, const struct lethe_buf *json)
{
    struct lethe_store_version version, next;
    struct lethe_store *store = NULL;
    struct lethe_buf now = {0};

    assert_int_equal(lethe_store_open(fixture->vault, false, &store), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "vault.json", 0, UINT64_MAX, &now, &version), LETHE_OK);
    assert_int_equal(lethe_store_replace(store, "vault.json", json->data, json->len, &version, &next),
                     LETHE_OK);
    lethe_buf_release(&now);
    lethe_store_close(store);
}

static void test_rollback(void **state)
{
    struct lethe_store *store = NULL;
    struct lethe_buf first = {0}, second = {0};
    struct fixture fixture;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(lethe_store_open(fixture.vault, false, &store), LETHE_OK);
    assert_int_equal(lethe_store_get(store, "vault.json", 0, UINT64_MAX, &first, NULL), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_patch(&fixture, "one", 0, "bytes");
    write_keys(&fixture); /* beside the mount, and cut off before the head */
    fixture_patch(&fixture, "two", 0, "bytes");
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    /* The newer file opens, and the next publication makes the head name it. */
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_patch(&fixture, "three", 0, "bytes");
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    assert_int_equal(lethe_store_get(store, "vault.json", 0, UINT64_MAX, &second, NULL), LETHE_OK);
    put_back(&fixture, &first);
    assert_int_equal(fixture_open(&fixture), LETHE_ERR_INTEGRITY);
    assert_int_equal(fixture_recover(&fixture, fixture.state), LETHE_ERR_INTEGRITY);
    put_back(&fixture, &second);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_close(&fixture);
    lethe_buf_release(&first);
    lethe_buf_release(&second);
    lethe_store_close(store);
    fixture_remove(&fixture);
}

/* The whole vault as it was some epochs ago, or one that went on elsewhere. */
static void test_history_of_others(void **state)
{
    struct fixture fixture, other;

    (void)state;
    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_patch(&fixture, "one", 0, "bytes");
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_run("cp -a %s %s.old", fixture.vault, fixture.vault);
    fixture_patch(&fixture, "two", 0, "bytes");
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    fixture_run("mv %s %s.new && mv %s.old %s", fixture.vault, fixture.vault, fixture.vault, fixture.vault);
    assert_int_equal(fixture_open(&fixture), LETHE_ERR_INTEGRITY);
    /* Another device takes the old one for the present and publishes: a different second epoch. */
    other = fixture;
    snprintf(other.state, sizeof other.state, "%s/state2", fixture.folder);
    snprintf(other.cache, sizeof other.cache, "%s/cache2", fixture.folder);
    assert_int_equal(fixture_recover(&other, other.state), LETHE_OK);
    assert_int_equal(fixture_open(&other), LETHE_OK);
    fixture_patch(&other, "another two", 0, "bytes");
    assert_int_equal(fixture_publish(&other), LETHE_OK);
    assert_int_equal(fixture_open(&fixture), LETHE_ERR_INTEGRITY);
    fixture_patch(&other, "another three", 0, "bytes");
    assert_int_equal(fixture_publish(&other), LETHE_OK);
    fixture_close(&other);
    assert_int_equal(fixture_open(&fixture), LETHE_ERR_CONFLICT);
    fixture_run("rm -rf %s && mv %s.new %s", fixture.vault, fixture.vault, fixture.vault);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_history_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
