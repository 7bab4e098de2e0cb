/* SPDX-License-Identifier: MIT */
/* Every error of the project has an errno value that a program can understand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/errno.h"

static void maps_every_error(void **unused)
{
    (void)unused;
    assert_int_equal(lethe_errno(LETHE_OK), 0);
    assert_int_equal(lethe_errno_of_bytes(LETHE_OK), 0);
    for (int err = LETHE_ERR_NOMEM; err <= LETHE_ERR_CANCELLED; err++) {
        assert_true(lethe_errno((enum lethe_err)err) > 0);
        assert_true(lethe_errno_of_bytes((enum lethe_err)err) > 0);
    }
    assert_int_equal(lethe_errno(LETHE_ERR_NOSPACE), ENOSPC);
    assert_int_equal(lethe_errno(LETHE_ERR_NOT_FOUND), ENOENT);
    assert_int_equal(lethe_errno(LETHE_ERR_INTEGRITY), EIO);
}

static void hides_the_backend_from_readers(void **unused)
{
    (void)unused;
    assert_int_equal(lethe_errno_of_bytes(LETHE_ERR_NOT_FOUND), EIO);
    assert_int_equal(lethe_errno_of_bytes(LETHE_ERR_DENIED), EIO);
    assert_int_equal(lethe_errno_of_bytes(LETHE_ERR_UNREACHABLE), EIO);
    assert_int_equal(lethe_errno_of_bytes(LETHE_ERR_NOSPACE), ENOSPC);
    assert_int_equal(lethe_errno_of_bytes(LETHE_ERR_NOMEM), ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_every_error),
        cmocka_unit_test(hides_the_backend_from_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
