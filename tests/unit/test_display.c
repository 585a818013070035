/* SPDX-License-Identifier: MIT */
/* Typing at a display, its text as UTF-8, keys of terminals and of VNC clients. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/term_keys.h"
#include "backend/vnc.h"
#include "ring3/clock.h"
#include "ring3/display.h"

struct desk {
    struct display d;
    struct clock *clock;
    char trace[4096]; /* "1e+ 1e- " */
    unsigned room;    /* movements that the keyboard still takes */
    unsigned asked;
    struct display_text text;
};

static bool key(void *opaque, unsigned code, bool down)
{
    struct desk *k = opaque;
    size_t n = strlen(k->trace);
    k->asked++;
    if (!k->room)
        return false;
    k->room--;
    snprintf(k->trace + n, sizeof k->trace - n, "%x%c ", code, down ? '+' : '-');
    return true;
}

static bool text_of(void *opaque, struct display_text *t)
{
    struct desk *k = opaque;
    *t = k->text;
    return t->rows != 0;
}

static struct desk *new_desk(void)
{
    static const struct display_ops ops = {.text = text_of};
    struct desk *k = calloc(1, sizeof *k);
    assert_non_null(k);
    k->clock = clock_new(CLOCK_VIRTUAL, NULL);
    k->room = UINT32_MAX;
    k->d = (struct display){.ops = &ops, .opaque = k, .key = key, .input_opaque = k};
    k->d.typist = display_typist_new(&k->d, k->clock, NULL);
    assert_non_null(k->d.typist);
    return k;
}

static void free_desk(struct desk *k)
{
    display_typist_free(k->d.typist);
    clock_free(k->clock);
    free(k);
}

/* What a second brings. */
static const char *second(struct desk *k)
{
    static char copy[sizeof k->trace];
    clock_advance(k->clock, NS_PER_SEC);
    memcpy(copy, k->trace, sizeof copy);
    k->trace[0] = 0;
    return copy;
}

static const char *typed(struct desk *k, const char *keys)
{
    assert_int_equal(display_type(&k->d, keys, NULL), 0);
    return second(k);
}

static void types_text_and_names(void **state)
{
    struct desk *k = new_desk();
    assert_string_equal(typed(k, "a1"), "1e+ 1e- 2+ 2- ");
    assert_string_equal(typed(k, "A"), "2a+ 1e+ 1e- 2a- ");
    assert_string_equal(typed(k, "\n\t \x1b"), "1c+ 1c- f+ f- 39+ 39- 1+ 1- ");
    assert_string_equal(typed(k, "<ctrl-alt-del>"), "1d+ 38+ e053+ e053- 38- 1d- ");
    assert_string_equal(typed(k, "<F12><Up>"), "58+ 58- e048+ e048- ");
    assert_string_equal(typed(k, "<lt>>"), "2a+ 33+ 33- 2a- 2a+ 34+ 34- 2a- ");
    assert_string_equal(typed(k, "<alt-minus>-"), "38+ c+ c- 38- c+ c- ");
    assert_string_equal(typed(k, "<pause>"), "e11d+ e11d- ");
    /* Every printable character has a key. */
    for (char c = ' '; c < 0x7f; c++) {
        char one[] = {c, 0};
        assert_true(c == '<' || strlen(typed(k, one)) > 0);
    }
    free_desk(k);
}

static void refuses_what_has_no_key(void **state)
{
    static const char *const bad[] = {"ok<nokey>", "<",           "<>",
                                      "<enter",    "<a-b-c-d-e>", "caf\xc3\xa9",
                                      "<-a>",      "\x02",        "<ctrl-aaaaaaaaaaaaaaaaaa>"};
    struct desk *k = new_desk();
    struct err e;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(display_type(&k->d, bad[i], &e), -EINVAL);
        assert_string_equal(e.id, "bad-keys");
        assert_string_equal(second(k), ""); /* nothing of it */
    }
    struct display none = {0};
    assert_int_equal(display_type(&none, "a", &e), -ENODATA);
    assert_false(display_key(&none, 1, true));
    free_desk(k);
}

/* A keyboard without room is asked ever more seldom, and nothing is lost. */
static void waits_for_room(void **state)
{
    struct desk *k = new_desk();
    k->room = 3;
    assert_string_equal(typed(k, "abc"), "1e+ 1e- 30+ ");
    for (unsigned i = 0; i < 9; i++)
        assert_string_equal(second(k), "");
    assert_in_range(k->asked, 10, 40);
    k->room = 100;
    assert_string_equal(second(k), "30- 2e+ 2e- ");
    assert_int_equal(clock_next_deadline(k->clock), TIMER_NEVER); /* idle costs nothing */
    free_desk(k);
}

static void ring_is_bounded(void **state)
{
    struct desk *k = new_desk();
    struct err e;
    char text[1001];
    unsigned n = 0;
    memset(text, 'x', 1000);
    text[1000] = 0;
    k->room = 0;
    while (display_type(&k->d, text, &e) == 0)
        n++;
    assert_int_equal(n, 2); /* 4,096 movements */
    assert_string_equal(e.id, "keys-wait");
    while (display_key(&k->d, 0x1e, true))
        n++;
    assert_int_equal(n, 2 + 96);
    free_desk(k);
}

static void screen_as_text(void **state)
{
    struct desk *k = new_desk();
    char *text;
    struct err e;
    assert_int_equal(display_text(&k->d, &text, &e), -ENODATA);
    assert_null(text);
    static const char cells[] = "a\xe1\x03 \0   ";
    k->text.columns = 4;
    k->text.rows = 2;
    for (unsigned i = 0; i < 8; i++)
        k->text.cells[i].character = (uint8_t)cells[i];
    assert_int_equal(display_text(&k->d, &text, &e), 0);
    assert_string_equal(text, "a\xc3\x9f\xe2\x99\xa5\n\n");
    free(text);
    k->text.columns = DISPLAY_MAX_COLUMNS; /* the largest screen, all of three bytes */
    k->text.rows = DISPLAY_MAX_ROWS;
    memset(k->text.cells, 0xdb, sizeof k->text.cells);
    assert_int_equal(display_text(&k->d, &text, &e), 0);
    assert_int_equal(strlen(text), DISPLAY_MAX_CELLS * 3 + DISPLAY_MAX_ROWS);
    free(text);
    free_desk(k);
}

static void terminal_keys(void **state)
{
    static const struct {
        const char *bytes, *keys;
    } cases[] = {
        {"ab", "<a><b>"},
        {"\r\t\x7f", "<enter><tab><backspace>"},
        {"\x1b", "<esc>"},
        {"\x1b[A\x1bOB", "<up><down>"},
        {"\x1b[24~\x1bOP\x1b[[E", "<f12><f1><f5>"},
        {"\x1b[1;5C!", "<!>"}, /* a sequence without a name is dropped whole */
        {"\x1bx", "<alt-x>"},
        {"\x1b\x1b[A", "<esc><up>"},
        {"<->", "<lt><minus><gt>"},
        {"\x03", "<ctrl-c>"},
        {"\xc3\xa9z", "<z>"},
        {"\x1b[", "<alt-[>"},
    };
    char keys[32 * TERM_KEYS_MAX + 1];
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        term_keys(cases[i].bytes, strlen(cases[i].bytes), keys);
        assert_string_equal(keys, cases[i].keys);
    }
    /* Whatever comes, it fits, and can be typed. */
    struct desk *k = new_desk();
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            char bytes[] = {'\x1b', (char)a, (char)b};
            term_keys(bytes, 3, keys);
            assert_in_range(strlen(keys), 0, 3 * TERM_KEYS_MAX);
            assert_int_equal(display_type(&k->d, keys, NULL), 0);
            clock_advance(k->clock, NS_PER_SEC);
            k->trace[0] = 0;
        }
    free_desk(k);
}

static void vnc_keys(void **state)
{
    assert_int_equal(vnc_key('a'), 0x1e);
    assert_int_equal(vnc_key('A'), 0x1e); /* shift is a key of its own */
    assert_int_equal(vnc_key('!'), 0x02);
    assert_int_equal(vnc_key(0xff0d), 0x1c);
    assert_int_equal(vnc_key(0xffc7), 0x44);
    assert_int_equal(vnc_key(0xffc9), 0x58);
    assert_int_equal(vnc_key(0xff52), 0xe048);
    assert_int_equal(vnc_key(0xffb5), 0x4c);
    assert_int_equal(vnc_key(0xff13), DISPLAY_KEY_PAUSE);
    assert_int_equal(vnc_key(0), 0);
    assert_int_equal(vnc_key(0x7f), 0);
    assert_int_equal(vnc_key(0x01000000u + 'a'), 0);
    assert_int_equal(vnc_key(0xffffffffu), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_text_and_names),
        cmocka_unit_test(refuses_what_has_no_key),
        cmocka_unit_test(waits_for_room),
        cmocka_unit_test(ring_is_bounded),
        cmocka_unit_test(screen_as_text),
        cmocka_unit_test(terminal_keys),
        cmocka_unit_test(vnc_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
