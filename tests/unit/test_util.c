/* SPDX-License-Identifier: MIT */
/* err and log. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "ring3/err.h"
#include "ring3/log.h"

static void err_keeps_number_id_and_text(void **state)
{
    struct err e = {0};
    assert_int_equal(err_set(&e, ENOENT, "kernel-missing", "no file %s", "x"), -ENOENT);
    assert_int_equal(e.errnum, ENOENT);
    assert_string_equal(e.id, "kernel-missing");
    assert_string_equal(e.text, "no file x");
    assert_int_equal(err_wrap(&e, "loading %d", 7), -ENOENT);
    assert_string_equal(e.text, "loading 7: no file x");
}

static void err_cuts_long_text(void **state)
{
    struct err e = {0};
    char big[2000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = 0;
    err_set(&e, EINVAL, "id", "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    err_wrap(&e, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_int_equal(err_set(NULL, EINVAL, "id", "x"), -EINVAL);
}

static void guest_warnings_are_limited(void **state)
{
    int p[2];
    assert_int_equal(pipe(p), 0);
    struct log l = {LOG_WARN, p[1]};
    struct log_limit limit = {0};
    for (int i = 0; i < 100; i++)
        log_guest(&l, &limit, "noise", "line %d", i);
    log_line(&l, LOG_INFO, "quiet", "dropped");
    close(p[1]);
    char buf[65536];
    ssize_t n, total = 0;
    while ((n = read(p[0], buf + total, sizeof buf - (size_t)total)) > 0)
        total += n;
    close(p[0]);
    int lines = 0;
    for (ssize_t i = 0; i < total; i++)
        lines += buf[i] == '\n';
    assert_in_range(lines, LOG_LIMIT_BURST, 2 * LOG_LIMIT_BURST); /* a second may turn over */
    assert_memory_equal(buf, "ring3: warning [noise] line 0\n", 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_keeps_number_id_and_text),
        cmocka_unit_test(err_cuts_long_text),
        cmocka_unit_test(guest_warnings_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
