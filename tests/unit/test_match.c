/* SPDX-License-Identifier: MIT */
/* cli/match.c: --expect and --fail-on. */
#include "unit.h"

#include <errno.h>

#include "cli/match.h"

static struct matcher *make(const char *first, const char *second, const char *fail_on)
{
    struct err e = {0};
    struct matcher *m = matcher_new(&e);
    assert_non_null(m);
    if (first)
        assert_int_equal(matcher_expect(m, first, &e), 0);
    if (second)
        assert_int_equal(matcher_expect(m, second, &e), 0);
    if (fail_on)
        assert_int_equal(matcher_fail_on(m, fail_on, &e), 0);
    return m;
}

static enum match_result feed(struct matcher *m, const char *text)
{
    return matcher_feed(m, (const uint8_t *)text, strlen(text));
}

static void prompt_without_newline_matches_as_it_grows(void **state)
{
    struct matcher *m = make("^host login: $", NULL, NULL);
    assert_int_equal(feed(m, "boot\r\nho"), MATCH_NONE);
    assert_int_equal(feed(m, "st login: "), MATCH_NONE); /* the line may go on: no $ yet */
    assert_int_equal(feed(m, "\r\n"), MATCH_EXPECTED);
    matcher_free(m);
    m = make("login:", NULL, NULL);
    assert_int_equal(feed(m, "boot\r\nhost log"), MATCH_NONE);
    assert_int_equal(feed(m, "in:"), MATCH_EXPECTED);
    assert_int_equal(feed(m, "more"), MATCH_EXPECTED);
    matcher_free(m);
}

static void patterns_match_in_order(void **state)
{
    struct matcher *m = make("two", "one", NULL);
    assert_int_equal(feed(m, "one\n"), MATCH_NONE);
    assert_string_equal(matcher_pattern(m), "two");
    assert_int_equal(feed(m, "two\n"), MATCH_NONE);
    assert_string_equal(matcher_pattern(m), "one");
    assert_int_equal(feed(m, "one\n"), MATCH_EXPECTED);
    matcher_free(m);
}

static void next_pattern_starts_behind_the_match(void **state)
{
    struct matcher *m = make("a+", "a", NULL);
    assert_int_equal(feed(m, "xaaa"), MATCH_NONE); /* a+ took them all */
    assert_int_equal(feed(m, "\n"), MATCH_NONE);
    assert_int_equal(feed(m, "a"), MATCH_EXPECTED);
    matcher_free(m);
    m = make("ok", "^done", NULL);
    assert_int_equal(feed(m, "okdone\n"), MATCH_NONE); /* ^ is the line's beginning only */
    assert_int_equal(feed(m, "done\n"), MATCH_EXPECTED);
    matcher_free(m);
    m = make("one", "two", NULL);
    assert_int_equal(feed(m, "one two"), MATCH_EXPECTED);
    matcher_free(m);
}

static void failure_wins_in_its_line(void **state)
{
    struct matcher *m = make("login", NULL, "panic|BUG");
    assert_int_equal(feed(m, "Kernel panic, no login\n"), MATCH_FAILED);
    assert_string_equal(matcher_pattern(m), "panic|BUG");
    matcher_free(m);
    m = make("login", NULL, "panic");
    assert_int_equal(feed(m, "login\npanic\n"), MATCH_EXPECTED);
    matcher_free(m);
}

static void nothing_expected_is_never_met(void **state)
{
    struct matcher *m = make(NULL, NULL, "panic");
    assert_int_equal(feed(m, "hello\n"), MATCH_NONE);
    assert_null(matcher_pattern(m));
    matcher_free(m);
}

/* Lines far beyond the buffer: the match may lie anywhere, also over the point of the cut, and ^
 * must not match at the cut. */
static void endless_lines(void **state)
{
    for (unsigned before = 4000; before < 4200; before++) {
        struct matcher *m = make("needle", NULL, "^x");
        uint8_t line[4300];
        memset(line, 'x', sizeof line);
        line[0] = 'y';
        memcpy(line + before, "needle", 6);
        assert_int_equal(matcher_feed(m, line, sizeof line), MATCH_EXPECTED);
        matcher_free(m);
    }
}

static void binary_noise(void **state)
{
    struct matcher *m = make("e.d", NULL, NULL);
    uint8_t noise[1000];
    for (unsigned i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i % 32 == 10 ? 0 : i % 32);
    assert_int_equal(matcher_feed(m, noise, sizeof noise), MATCH_NONE);
    assert_int_equal(feed(m, "end"), MATCH_EXPECTED);
    matcher_free(m);
}

static void bad_pattern_is_explained(void **state)
{
    struct err e = {0};
    struct matcher *m = matcher_new(&e);
    assert_int_equal(matcher_expect(m, "a(b", &e), -EINVAL);
    assert_string_equal(e.id, "bad-regex");
    assert_non_null(strstr(e.text, "a(b"));
    matcher_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_without_newline_matches_as_it_grows),
        cmocka_unit_test(patterns_match_in_order),
        cmocka_unit_test(next_pattern_starts_behind_the_match),
        cmocka_unit_test(failure_wins_in_its_line),
        cmocka_unit_test(nothing_expected_is_never_met),
        cmocka_unit_test(endless_lines),
        cmocka_unit_test(binary_noise),
        cmocka_unit_test(bad_pattern_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
