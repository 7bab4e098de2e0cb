/* SPDX-License-Identifier: MIT */
/* A vault in a store without conditional writes: one device writes, others are refused until one takes over. */
#include "vault_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "fs/cli/keys.h"
#include "tests/long.h"

static void add(struct fixture *fixture, const char *name, unsigned seed)
{
    struct lethe_buf bytes = {0};

    fixture_noise(seed, &bytes, 3000);
    fixture_put(fixture, name, &bytes);
    lethe_buf_release(&bytes);
}

static void make_vault(struct fixture *fixture, bool no_conditions)
{
    fixture_make(fixture);
    fixture->trouble.no_conditions = no_conditions;
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(fixture_open(fixture), LETHE_OK);
    add(fixture, "first", 1);
    assert_int_equal(fixture_publish(fixture), LETHE_OK);
}

/* As a mount for writing would, with its publisher; and closes again. */
static enum lethe_err mount_for_writing(struct fixture *fixture, bool take_over)
{
    struct lethe_session_options options = fixture_options(fixture);
    struct lethe_session *session = NULL;
    enum lethe_err err;

    options.publish = true;
    options.take_over = take_over;
    err = lethe_session_open(&options, &session);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    return err;
}

/* Another device, which shares the vault with the first. */
static void another_device(const struct fixture *first, struct fixture *second)
{
    *second = *first;
    snprintf(second->state, sizeof second->state, "%s/state-2", first->folder);
    snprintf(second->cache, sizeof second->cache, "%s/cache-2", first->folder);
    second->session = NULL;
    second->sealer = NULL;
    assert_int_equal(fixture_recover(second, second->state), LETHE_OK);
}

static void read_key(struct fixture *fixture, const char *key, struct lethe_buf *out)
{
    struct lethe_store *store;

    assert_int_equal(lethe_store_open(fixture->vault, false, &store), LETHE_OK);
    lethe_buf_reset(out);
    assert_int_equal(lethe_store_get(store, key, 0, UINT64_MAX, out, NULL), LETHE_OK);
    lethe_store_close(store);
}

static void write_key(struct fixture *fixture, const char *key, const struct lethe_buf *bytes)
{
    struct lethe_store_version version;
    struct lethe_buf now = {0};
    struct lethe_store *store;

    assert_int_equal(lethe_store_open(fixture->vault, false, &store), LETHE_OK);
    assert_int_equal(lethe_store_get(store, key, 0, UINT64_MAX, &now, &version), LETHE_OK);
    assert_int_equal(lethe_store_replace(store, key, bytes->data, bytes->len, &version, NULL), LETHE_OK);
    lethe_store_close(store);
    lethe_buf_release(&now);
}

static void read_head(struct fixture *fixture, struct lethe_buf *out)
{
    read_key(fixture, "head", out);
}

static void write_head(struct fixture *fixture, const struct lethe_buf *bytes)
{
    write_key(fixture, "head", bytes);
}

static void others_are_refused(void **state)
{
    struct fixture first, second;
    char *expected;

    (void)state;
    make_vault(&first, true);
    assert_int_equal(lethe_vault_binding(first.session->vault), LETHE_BINDING_OURS);
    expected = fixture_describe(first.session);
    fixture_close(&first);
    assert_int_equal(mount_for_writing(&first, false), LETHE_OK);

    another_device(&first, &second);
    assert_int_equal(mount_for_writing(&second, false), LETHE_ERR_BUSY);
    fixture_assert_vault(&second, LETHE_SESSION_NEWEST, expected);
    assert_int_equal(fixture_open(&second), LETHE_OK); /* to read */
    assert_int_equal(lethe_vault_binding(second.session->vault), LETHE_BINDING_OTHERS);
    fixture_close(&second);

    assert_int_equal(mount_for_writing(&second, true), LETHE_OK);
    assert_int_equal(mount_for_writing(&second, false), LETHE_OK);
    assert_int_equal(mount_for_writing(&first, false), LETHE_ERR_BUSY);
    assert_int_equal(fixture_open(&second), LETHE_OK);
    add(&second, "second", 2);
    assert_int_equal(fixture_publish(&second), LETHE_OK);
    free(expected);
    expected = fixture_describe(second.session);
    fixture_close(&second);

    /* The first knows less now: it may not take over what it has not seen. */
    assert_int_equal(mount_for_writing(&first, true), LETHE_ERR_CONFLICT);
    assert_int_equal(fixture_recover(&first, first.state), LETHE_OK);
    assert_int_equal(mount_for_writing(&first, false), LETHE_ERR_BUSY);
    assert_int_equal(mount_for_writing(&first, true), LETHE_OK);
    assert_int_equal(mount_for_writing(&second, false), LETHE_ERR_BUSY);
    fixture_assert_vault(&first, LETHE_SESSION_NEWEST, expected);
    free(expected);
    fixture_remove(&first);
}

static void a_mount_that_was_taken_over_stops(void **state)
{
    struct lethe_gc_result result;
    struct fixture first, second;
    char *expected;

    (void)state;
    make_vault(&first, true);
    expected = fixture_describe(first.session);
    another_device(&first, &second);
    assert_int_equal(mount_for_writing(&second, true), LETHE_OK);
    add(&first, "too late", 3);
    assert_int_equal(fixture_publish(&first), LETHE_ERR_CONFLICT);
    assert_int_equal(lethe_gc_run(&(struct lethe_gc_options){.vault = first.session->vault,
                                                             .db = first.session->db,
                                                             .committer = first.session->committer},
                                  &result),
                     LETHE_ERR_BUSY);
    fixture_close(&first);
    fixture_assert_vault(&second, LETHE_SESSION_NEWEST, expected);
    free(expected);
    fixture_remove(&first);
}

static void late_writes_are_mended(void **state)
{
    struct lethe_gc_result result;
    struct lethe_buf old = {0}, newest = {0}, found = {0};
    struct fixture fixture;
    char *expected;

    (void)state;
    make_vault(&fixture, true);
    read_head(&fixture, &old);
    add(&fixture, "second", 2);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    read_head(&fixture, &newest);

    /* While it is mounted: nothing is collected, and the next epoch goes on from the newest. */
    write_head(&fixture, &old);
    assert_int_equal(lethe_gc_run(&(struct lethe_gc_options){.vault = fixture.session->vault,
                                                             .db = fixture.session->db,
                                                             .committer = fixture.session->committer},
                                  &result),
                     LETHE_ERR_UNREACHABLE);
    add(&fixture, "third", 3);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    expected = fixture_describe(fixture.session);
    fixture_close(&fixture);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);

    /* Between two mounts. One that only reads leaves it. */
    write_head(&fixture, &newest);
    assert_int_equal(fixture_open(&fixture), LETHE_OK);
    fixture_close(&fixture);
    read_head(&fixture, &found);
    assert_int_equal(found.len, newest.len);
    assert_memory_equal(found.data, newest.data, newest.len);
    assert_int_equal(mount_for_writing(&fixture, false), LETHE_OK);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);

    /* An older vault as a whole is no late write: a head moved on from there would name a segment that is not there. */
    write_head(&fixture, &newest);
    fixture_run("rm %s/j/0000000000000003-*", fixture.vault);
    assert_int_equal(mount_for_writing(&fixture, false), LETHE_ERR_INTEGRITY);
    read_head(&fixture, &found);
    assert_memory_equal(found.data, newest.data, newest.len);
    free(expected);
    lethe_buf_release(&old);
    lethe_buf_release(&newest);
    lethe_buf_release(&found);
    fixture_remove(&fixture);
}

/* In a store with conditional writes the same is a violation. */
static void rollback_is_told_elsewhere(void **state)
{
    struct lethe_buf old = {0};
    struct fixture fixture;

    (void)state;
    make_vault(&fixture, false);
    assert_int_equal(lethe_vault_binding(fixture.session->vault), LETHE_BINDING_NONE);
    read_head(&fixture, &old);
    add(&fixture, "second", 2);
    assert_int_equal(fixture_publish(&fixture), LETHE_OK);
    fixture_close(&fixture);
    write_head(&fixture, &old);
    assert_int_equal(mount_for_writing(&fixture, false), LETHE_ERR_INTEGRITY);
    lethe_buf_release(&old);
    fixture_remove(&fixture);
}

static void vaults_move_between_stores(void **state)
{
    struct fixture first, second;

    (void)state;
    make_vault(&first, false);
    fixture_close(&first);
    first.trouble.no_conditions = true;
    assert_int_equal(fixture_open(&first), LETHE_OK);
    add(&first, "second", 2);
    assert_int_equal(fixture_publish(&first), LETHE_ERR_UNSUPPORTED);
    fixture_close(&first);
    assert_int_equal(mount_for_writing(&first, true), LETHE_OK);
    assert_int_equal(fixture_open(&first), LETHE_OK);
    assert_int_equal(lethe_vault_binding(first.session->vault), LETHE_BINDING_OURS);
    assert_int_equal(fixture_publish(&first), LETHE_OK);
    fixture_close(&first);

    /* Back: it stays bound, works, and is free once somebody takes it over. */
    first.trouble.no_conditions = false;
    assert_int_equal(fixture_open(&first), LETHE_OK);
    add(&first, "third", 3);
    assert_int_equal(fixture_publish(&first), LETHE_OK);
    fixture_close(&first);
    another_device(&first, &second);
    assert_int_equal(mount_for_writing(&second, false), LETHE_ERR_BUSY);
    assert_int_equal(mount_for_writing(&second, true), LETHE_OK);
    assert_int_equal(mount_for_writing(&first, false), LETHE_OK);
    fixture_remove(&first);
}

/* Each call of a publication fails in turn, in one way (LETHE_LONG: in each); then it is done again. */
static void faults_lose_nothing(void **state)
{
    static const enum trouble_kind kinds[] = {TROUBLE_FAIL, TROUBLE_FAIL_ON, TROUBLE_LOST, TROUBLE_LOST_ON};
    const unsigned ways = test_is_long() ? 4 : 1;
    struct fixture fixture;
    bool hit = true;

    (void)state;
    make_vault(&fixture, true);
    for (unsigned step = ways; hit; step++) {
        char *expected, name[32];

        snprintf(name, sizeof name, "file %u", step % 8);
        add(&fixture, name, step);
        fixture_arm(&fixture, kinds[step % 4], step / ways);
        if (fixture_publish(&fixture)) {
            assert_true(fixture.trouble.hit);
        }
        hit = fixture.trouble.hit;
        fixture_arm(&fixture, TROUBLE_NONE, 0);
        assert_int_equal(fixture_publish(&fixture), LETHE_OK);
        expected = fixture_describe(fixture.session);
        fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
        free(expected);
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static enum lethe_err mount_with(struct fixture *fixture, const char *passphrase)
{
    struct lethe_session_options options = fixture_options(fixture);
    struct lethe_session *session = NULL;
    enum lethe_err err;

    options.publish = true;
    options.passphrase = passphrase;
    options.passphrase_len = strlen(passphrase);
    err = lethe_session_open(&options, &session);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    return err;
}

/* The PUT of an earlier vault.json arrives after that of a later one, or somebody puts it there. */
static void a_late_vault_json_is_mended(void **state)
{
    struct lethe_buf old = {0}, newest = {0}, found = {0};
    struct lethe_cli_secret fresh = {.text = (char[]){"another"}, .len = 7};
    struct lethe_cli_access access = {0};
    struct fixture fixture, second;
    struct lethe_keys keys;
    struct lethe_id slot;
    char passfile[96];

    (void)state;
    make_vault(&fixture, true);
    fixture_close(&fixture);
    snprintf(passfile, sizeof passfile, "%s/pass", fixture.folder);
    fixture_run("printf '%%s' '%s' >%s", FIXTURE_PASS, passfile);
    access.passfile = passfile;
    access.state_dir = fixture.state;

    /* The passphrase stays good: mended by the mount that meets it. */
    read_key(&fixture, "vault.json", &old);
    assert_int_equal(lethe_keys_open(fixture.vault, &access, &keys), LETHE_OK);
    assert_int_equal(lethe_keys_add(&keys, &fresh, 16, "second", &slot), LETHE_OK);
    assert_int_equal(lethe_keys_write(&keys, &fresh), LETHE_OK);
    lethe_keys_release(&keys);
    read_key(&fixture, "vault.json", &newest);
    write_key(&fixture, "vault.json", &old);
    assert_int_equal(lethe_keys_open(fixture.vault, &access, &keys), LETHE_ERR_INTEGRITY);
    assert_int_equal(fixture_open(&fixture), LETHE_ERR_INTEGRITY); /* to read: nothing is written, nothing believed */
    assert_int_equal(mount_with(&fixture, "another"), LETHE_ERR_KEY); /* which the earlier one does not know */
    assert_int_equal(mount_with(&fixture, FIXTURE_PASS), LETHE_OK);
    read_key(&fixture, "vault.json", &found);
    assert_int_equal(found.len, newest.len);
    assert_memory_equal(found.data, newest.data, newest.len);
    assert_int_equal(mount_with(&fixture, "another"), LETHE_OK);

    /* The passphrase was taken away: the earlier file lets its holder mend, and no further. */
    write_key(&fixture, "vault.json", &newest);
    old = (lethe_buf_release(&old), newest);
    newest = (struct lethe_buf){0};
    assert_int_equal(lethe_keys_open(fixture.vault, &access, &keys), LETHE_OK);
    assert_int_equal(lethe_keys_own_slot(&keys), LETHE_OK);
    assert_int_equal(lethe_vault_file_slot_remove(keys.file, &keys.slot), LETHE_OK);
    assert_int_equal(lethe_keys_write(&keys, &fresh), LETHE_OK);
    lethe_keys_release(&keys);
    read_key(&fixture, "vault.json", &newest);
    write_key(&fixture, "vault.json", &old);
    assert_int_equal(mount_with(&fixture, FIXTURE_PASS), LETHE_ERR_KEY);
    read_key(&fixture, "vault.json", &found);
    assert_int_equal(found.len, newest.len);
    assert_memory_equal(found.data, newest.data, newest.len);
    assert_int_equal(mount_with(&fixture, FIXTURE_PASS), LETHE_ERR_KEY);
    assert_int_equal(mount_with(&fixture, "another"), LETHE_OK);

    /* Who is not the writer mends nothing. */
    write_key(&fixture, "vault.json", &newest);
    second = fixture;
    snprintf(second.state, sizeof second.state, "%s/state-2", fixture.folder);
    fixture_run("cp -r %s %s && rm %s/*/writer", fixture.state, second.state, second.state);
    write_key(&fixture, "vault.json", &old);
    assert_int_equal(mount_with(&second, FIXTURE_PASS), LETHE_ERR_INTEGRITY);
    read_key(&fixture, "vault.json", &found);
    assert_memory_equal(found.data, old.data, old.len);
    lethe_buf_release(&old);
    lethe_buf_release(&newest);
    lethe_buf_release(&found);
    fixture_remove(&fixture);
}

/* A mount that stays, for those who ask at the control socket whether to wait for it: it answers. */
struct stays {
    int listener;
    pthread_t thread;
};

static void *answer_all(void *context)
{
    const struct stays *stays = context;
    int fd;

    while ((fd = accept(stays->listener, NULL, NULL)) >= 0) {
        (void)!send(fd, "{}\n", 3, MSG_NOSIGNAL); /* who has lost patience asks again */
        close(fd);
    }
    return NULL;
}

static void stays_begin(struct stays *stays, const char *state_dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(snprintf(address.sun_path, sizeof address.sun_path, "%s/control", state_dir) <
                (int)sizeof address.sun_path);
    stays->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stays->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(stays->listener, 4), 0);
    assert_int_equal(pthread_create(&stays->thread, NULL, answer_all, stays), 0);
}

static void stays_end(struct stays *stays)
{
    assert_int_equal(shutdown(stays->listener, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(stays->thread, NULL), 0);
    close(stays->listener);
}

/* Key commands move the head, too: not beside a mount, and not elsewhere. */
static void keys_need_the_device(void **state)
{
    struct fixture first, second;
    struct lethe_cli_access access = {0};
    struct lethe_session_options options;
    struct lethe_session *session = NULL;
    struct lethe_keys keys;
    struct stays stays;
    char passfile[96];

    (void)state;
    make_vault(&first, true);
    stays_begin(&stays, first.session->state_dir);
    fixture_close(&first);
    snprintf(passfile, sizeof passfile, "%s/pass", first.folder);
    fixture_run("printf '%%s' '%s' >%s", FIXTURE_PASS, passfile);
    access.passfile = passfile;
    access.state_dir = first.state;
    assert_int_equal(lethe_keys_open(first.vault, &access, &keys), LETHE_OK);
    options = fixture_options(&first);
    options.publish = true;
    assert_int_equal(lethe_session_open(&options, &session), LETHE_ERR_BUSY);
    lethe_keys_release(&keys);
    assert_int_equal(lethe_session_open(&options, &session), LETHE_OK);
    assert_int_equal(lethe_keys_open(first.vault, &access, &keys), LETHE_ERR_BUSY);
    assert_int_equal(lethe_session_close(session), LETHE_OK);
    stays_end(&stays);
    another_device(&first, &second);
    access.state_dir = second.state;
    assert_int_equal(lethe_keys_open(first.vault, &access, &keys), LETHE_ERR_BUSY);
    fixture_remove(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(a_mount_that_was_taken_over_stops),
        cmocka_unit_test(late_writes_are_mended),
        cmocka_unit_test(rollback_is_told_elsewhere),
        cmocka_unit_test(vaults_move_between_stores),
        cmocka_unit_test(faults_lose_nothing),
        cmocka_unit_test(keys_need_the_device),
        cmocka_unit_test(a_late_vault_json_is_mended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
