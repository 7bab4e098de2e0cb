/* SPDX-License-Identifier: MIT */
/* The publisher's thread, and the control socket in front of it: waiting, failing, and ending while others
 * wait. */
#include "vault_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "fs/mount/control.h"

static enum lethe_err open_publishing(struct fixture *fixture)
{
    struct lethe_session_options options = fixture_options(fixture);

    options.publish = true;
    options.epoch_ms = 3600000;
    return lethe_session_open(&options, &fixture->session);
}

static void make(struct fixture *fixture)
{
    fixture_make(fixture);
    assert_int_equal(fixture_init(fixture), LETHE_OK);
    assert_int_equal(open_publishing(fixture), LETHE_OK);
    fixture_patch(fixture, "file", 0, "some bytes");
}

static void test_sync(void **state)
{
    struct fixture fixture;
    char *expected;

    (void)state;
    make(&fixture);
    expected = fixture_describe(fixture.session);
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 0), LETHE_OK);
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 0), LETHE_OK);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    free(expected);
    fixture_remove(&fixture);
}

static void *sync_main(void *argument)
{
    static enum lethe_err result;
    struct fixture *fixture = argument;

    result = lethe_publisher_sync(fixture->session->publisher, 0);
    return &result;
}

static void wait_for_error(struct fixture *fixture)
{
    struct lethe_publisher_status status;

    do {
        (void)sched_yield();
        lethe_publisher_status(fixture->session->publisher, &status);
    } while (!status.last_error);
}

static void test_stop_while_waiting(void **state)
{
    struct fixture fixture;
    pthread_t thread;
    void *result;

    (void)state;
    make(&fixture);
    fixture_arm(&fixture, TROUBLE_FAIL_ON, 1);
    assert_int_equal(pthread_create(&thread, NULL, sync_main, &fixture), 0);
    wait_for_error(&fixture);
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 1), LETHE_ERR_UNREACHABLE);
    lethe_publisher_stop(fixture.session->publisher);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal(*(enum lethe_err *)result, LETHE_ERR_CANCELLED);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_remove(&fixture);
}

static void send_request(struct fixture *fixture, const char *text, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(snprintf(address.sun_path, sizeof address.sun_path, "%s/control",
                         fixture->session->state_dir) < (int)sizeof address.sun_path);
    *fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(*fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(*fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void *call_main(void *argument)
{
    static enum lethe_err result;
    struct fixture *fixture = argument;
    json_t *answer = NULL;

    do { /* a client that went away holds its place until the next progress */
        result = lethe_control_call_state(fixture->session->state_dir, "sync 0", NULL, NULL, &answer, NULL);
        json_decref(answer);
    } while (result == LETHE_ERR_BUSY);
    return &result;
}

static void test_control(void **state)
{
    static const char *const garbage[] = {"\n",          " \n",
                                          "gc\n",        "gc -1\n",
                                          "gc 1x\n",     "sync 99999999999999999999\n",
                                          "nothing 1\n", "inspect 18446744073709551615\n",
                                          "preview 0\n", "statusstatusstatusstatusstatus\n"};
    struct lethe_control *control;
    struct fixture fixture;
    char byte;
    pthread_t thread;
    void *result;
    int fd;

    (void)state;
    make(&fixture);
    assert_int_equal(lethe_control_new(fixture.session, &control), LETHE_OK);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        char answer[256] = "";
        size_t len = 0;

        send_request(&fixture, garbage[i], &fd);
        while (len < sizeof answer - 1 && read(fd, answer + len, 1) == 1) {
            len++;
        }
        assert_non_null(strstr(answer, "\"err\":"));
        assert_null(strstr(answer, "\"err\":0"));
        close(fd);
    }
    /* Clients that went away, more than there are places: each gives its place free. */
    fixture_arm(&fixture, TROUBLE_FAIL_ON, 1);
    for (unsigned i = 0; i < 40; i++) {
        json_t *answer = NULL;
        enum lethe_err err;

        send_request(&fixture, "sync 0\n", &fd);
        if (i % 2) {
            assert_int_equal(read(fd, &byte, 1), 1);
        }
        close(fd);
        do {
            err = lethe_control_call_state(fixture.session->state_dir, "status", NULL, NULL, &answer, NULL);
            json_decref(answer);
            answer = NULL;
        } while (err == LETHE_ERR_BUSY);
        assert_int_equal(err, LETHE_OK);
    }
    wait_for_error(&fixture);
    assert_int_equal(pthread_create(&thread, NULL, call_main, &fixture), 0);
    send_request(&fixture, "sync 0\n", &fd);
    assert_int_equal(read(fd, &byte, 1), 1); /* progress: it waits */
    lethe_control_free(control);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_true(*(enum lethe_err *)result == LETHE_ERR_CANCELLED ||
                *(enum lethe_err *)result == LETHE_ERR_UNREACHABLE);
    close(fd);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_remove(&fixture);
}

struct overtaking {
    struct fixture *fixture;
    uint64_t ticket; /* 0: it did not happen */
};

/* Called before the answer of any one call: when that is of an epoch on its way to the head, the next is sealed meanwhile. */
static void overtake(void *context)
{
    struct overtaking *overtaking = context;
    struct lethe_session *session = overtaking->fixture->session;

    if (fixture_number(session, "SELECT count(*) FROM epoch WHERE state < 2") != 1 ||
        fixture_number(session, "SELECT count(*) FROM local WHERE state = 1") != 0) {
        return; /* of one that is being sealed */
    }
    fixture_patch(overtaking->fixture, "second", 0, "more bytes");
    overtaking->ticket = lethe_publisher_ask(session->publisher);
    while (fixture_number(session, "SELECT count(*) FROM epoch WHERE state < 2") < 2 ||
           fixture_number(session, "SELECT count(*) FROM local WHERE state = 1") > 0) {
        (void)sched_yield();
    }
}

/* Whether there was such a call. */
static bool overtake_at(enum trouble_kind kind, unsigned nth, unsigned *overtaken)
{
    struct overtaking overtaking = {0};
    struct fixture fixture;
    char *expected;
    bool hit;

    make(&fixture);
    overtaking.fixture = &fixture;
    fixture_arm(&fixture, kind, nth);
    fixture.trouble.meanwhile_context = &overtaking;
    fixture.trouble.meanwhile = overtake;
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 0), LETHE_OK);
    pthread_mutex_lock(&fixture.trouble.lock);
    hit = fixture.trouble.hit;
    pthread_mutex_unlock(&fixture.trouble.lock);
    fixture_arm(&fixture, TROUBLE_NONE, 0);
    *overtaken += overtaking.ticket > 0;
    if (overtaking.ticket > 0) {
        assert_int_equal(lethe_publisher_await(fixture.session->publisher, overtaking.ticket, 600000), LETHE_OK);
        assert_int_equal(fixture_number(fixture.session, "SELECT count(*) FROM epoch WHERE state < 2"), 0);
    }
    expected = fixture_describe(fixture.session);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    fixture_assert_recovers(&fixture, expected);
    free(expected);
    fixture_remove(&fixture);
    return hit;
}

/* The process ends while one epoch is on its way and the next is sealed. */
static bool crash_at(unsigned nth, unsigned *overtaken)
{
    struct fixture fixture;
    char *expected;
    pid_t child;
    int status;

    fixture_make(&fixture);
    assert_int_equal(fixture_init(&fixture), LETHE_OK);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct overtaking overtaking = {.fixture = &fixture};

        if (open_publishing(&fixture)) {
            _exit(1);
        }
        fixture_patch(&fixture, "file", 0, "some bytes");
        fixture_arm(&fixture, TROUBLE_CRASH_AFTER, nth);
        fixture.trouble.meanwhile_context = &overtaking;
        fixture.trouble.meanwhile = overtake;
        _exit(lethe_publisher_sync(fixture.session->publisher, 0) ? 2 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FIXTURE_CRASHED));
    assert_int_equal(open_publishing(&fixture), LETHE_OK);
    *overtaken += fixture_number(fixture.session, "SELECT count(*) FROM epoch WHERE state < 2") == 2;
    expected = fixture_describe(fixture.session);
    assert_int_equal(lethe_publisher_sync(fixture.session->publisher, 0), LETHE_OK);
    assert_int_equal(lethe_session_close(fixture.session), LETHE_OK);
    fixture_assert_vault(&fixture, LETHE_SESSION_NEWEST, expected);
    fixture_assert_recovers(&fixture, expected);
    free(expected);
    fixture_remove(&fixture);
    return WEXITSTATUS(status) == FIXTURE_CRASHED;
}

static void test_overtaken(void **state)
{
    unsigned answered = 0, lost = 0, crashed = 0;

    (void)state;
    for (unsigned nth = 1; overtake_at(TROUBLE_NONE, nth, &answered); nth++) {
    }
    for (unsigned nth = 1; overtake_at(TROUBLE_LOST, nth, &lost); nth++) {
    }
    for (unsigned nth = 1; crash_at(nth, &crashed); nth++) {
    }
    assert_true(answered >= 3 && lost >= 3 && crashed >= 3); /* the segment, and looking at and moving the head */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overtaken),
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_stop_while_waiting),
        cmocka_unit_test(test_control),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
