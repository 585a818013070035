/* SPDX-License-Identifier: MIT */
/* i8042: controller commands, the probes of Linux's i8042, atkbd and psmouse, key translation.
 * Lines of the bench: 1 keyboard, 12 mouse, 2 A20, 3 reset. */
#include "dev_rig.h"

#include "ring3/devices/i8042.h"

enum { DATA = 0x60, CMD = 0x64, STATUS = 0x64 };

static struct device *make(struct rig *r)
{
    struct i8042_lines lines = {rig_line(r, 1), rig_line(r, 12), rig_line(r, 2), rig_line(r, 3)};
    return i8042_new(&r->host, &lines, NULL);
}

static struct rig *new_kbc(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    assert_string_equal(rig_trace(r), "+2 "); /* A20 is on */
    return r;
}

static void command(struct rig *r, unsigned c)
{
    out8(r, CMD, c);
}

static void command_with(struct rig *r, unsigned c, unsigned argument)
{
    out8(r, CMD, c);
    out8(r, DATA, argument);
}

static unsigned config(struct rig *r)
{
    command(r, 0x20);
    return in8(r, DATA);
}

/* All bytes that wait, in hexadecimal; those of the mouse with an m in front. */
static const char *drain(struct rig *r)
{
    static char text[256];
    size_t n = 0;
    text[0] = 0;
    for (unsigned i = 0; i < 64 && (in8(r, STATUS) & 1); i++) {
        bool mouse = in8(r, STATUS) & 0x20;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%02x ", mouse ? "m" : "", in8(r, DATA));
    }
    return text;
}

static const char *to_keyboard(struct rig *r, unsigned byte)
{
    out8(r, DATA, byte);
    return drain(r);
}

static const char *to_mouse(struct rig *r, unsigned byte)
{
    command_with(r, 0xd4, byte);
    return drain(r);
}

static void controller_commands(void **state)
{
    struct rig *r = new_kbc();
    assert_int_equal(in8(r, STATUS), 0x14);
    command(r, 0xaa);
    assert_int_equal(in8(r, STATUS), 0x1d);
    assert_int_equal(in8(r, DATA), 0x55);
    assert_int_equal(in8(r, DATA), 0x55); /* an empty buffer shows its last byte */
    command(r, 0xab);
    assert_string_equal(drain(r), "00 ");
    command(r, 0xa9);
    assert_string_equal(drain(r), "00 ");
    assert_int_equal(config(r), 0x65);
    command(r, 0xad);
    assert_int_equal(config(r), 0x75);
    command(r, 0xae);
    command(r, 0xa8);
    assert_int_equal(config(r), 0x45);
    command(r, 0xa7);
    assert_int_equal(config(r), 0x65);
    command_with(r, 0x60, 0x43);
    assert_int_equal(in8(r, STATUS), 0x10); /* data was last, system flag off */
    assert_int_equal(config(r), 0x43);
    command_with(r, 0x7f, 0x99);
    command(r, 0x3f);
    assert_string_equal(drain(r), "99 ");
    command(r, 0xc0);
    assert_string_equal(drain(r), "80 ");
    command(r, 0xe0);
    assert_string_equal(drain(r), "00 ");
    rig_free(r);
}

static void a20_and_reset_lines(void **state)
{
    struct rig *r = new_kbc();
    command_with(r, 0xd1, 0xdd);
    assert_string_equal(rig_trace(r), "-2 ");
    command(r, 0xdf);
    assert_string_equal(rig_trace(r), "+2 ");
    command(r, 0xdd);
    assert_string_equal(rig_trace(r), "-2 ");
    command_with(r, 0xd1, 0xdf);
    command(r, 0xd0);
    assert_int_equal(in8(r, DATA), 0xcf);
    rig_trace(r);
    command(r, 0xff); /* pulses nothing */
    assert_string_equal(rig_trace(r), "");
    command(r, 0xfe);
    assert_string_equal(rig_trace(r), "+3 -3 ");
    command_with(r, 0xd1, 0xde);
    assert_string_equal(rig_trace(r), "+3 -3 ");
    rig_free(r);
}

static void linux_finds_the_mouse_port(void **state)
{
    struct rig *r = new_kbc();
    command_with(r, 0x60, 0x30); /* everything off */
    command_with(r, 0xd3, 0x5a);
    assert_int_equal(in8(r, STATUS) & 0x21, 0x21);
    assert_string_equal(drain(r), "m5a ");
    command(r, 0xa7);
    assert_int_equal(config(r) & 0x20, 0x20);
    command(r, 0xa8);
    assert_int_equal(config(r) & 0x20, 0);
    command_with(r, 0x60, 0x12);
    rig_trace(r);
    command_with(r, 0xd3, 0xa5); /* does the mouse interrupt work? */
    assert_string_equal(rig_trace(r), "+12 ");
    assert_string_equal(drain(r), "ma5 ");
    assert_string_equal(rig_trace(r), "-12 ");
    command_with(r, 0xd3, 0xa5);
    command_with(r, 0xd3, 0xa6); /* unread, but a new edge */
    assert_string_equal(rig_trace(r), "+12 -12 +12 ");
    command(r, 0xd0);
    assert_int_equal(in8(r, DATA), 0xa6);
    assert_int_equal(in8(r, DATA), 0xef);     /* the output port saw the full buffer */
    const uint8_t mux[] = {0xf0, 0x56, 0xa4}; /* not multiplexed: all come back */
    for (unsigned i = 0; i < 3; i++) {
        command_with(r, 0xd3, mux[i]);
        assert_int_equal(in8(r, DATA), mux[i]);
    }
    command_with(r, 0xd2, 0x77); /* never translated */
    assert_string_equal(drain(r), "77 ");
    rig_free(r);
}

static void keyboard_commands(void **state)
{
    struct rig *r = new_kbc();
    assert_string_equal(to_keyboard(r, 0xf2), "fa ab 41 "); /* translated */
    command_with(r, 0x60, 0x05);
    assert_string_equal(to_keyboard(r, 0xff), "fa aa ");
    assert_string_equal(to_keyboard(r, 0xf2), "fa ab 83 ");
    assert_string_equal(to_keyboard(r, 0xee), "ee ");
    assert_string_equal(to_keyboard(r, 0xed), "fa ");
    assert_string_equal(to_keyboard(r, 0x02), "fa ");
    assert_string_equal(to_keyboard(r, 0xf3), "fa ");
    assert_string_equal(to_keyboard(r, 0x00), "fa ");
    assert_string_equal(to_keyboard(r, 0xf0), "fa ");
    assert_string_equal(to_keyboard(r, 0x00), "fa 02 ");
    assert_string_equal(to_keyboard(r, 0xfe), "02 ");
    assert_string_equal(to_keyboard(r, 0xf0), "fa ");
    assert_string_equal(to_keyboard(r, 0x03), "fe ");
    assert_string_equal(to_keyboard(r, 0xf5), "fa ");
    assert_false(i8042_key(r->d, (const uint8_t *)"\x1c", 1));
    assert_string_equal(to_keyboard(r, 0xf4), "fa ");
    assert_true(i8042_key(r->d, (const uint8_t *)"\x1c", 1));
    assert_string_equal(drain(r), "1c ");
    assert_string_equal(to_keyboard(r, 0x12), "fe ");
    assert_string_equal(to_keyboard(r, 0xed), "fa ");
    assert_string_equal(to_keyboard(r, 0xf4), "fa "); /* a command instead of the argument */
    rig_free(r);
}

static void keys_are_translated_and_interrupt(void **state)
{
    struct rig *r = new_kbc();
    const uint8_t a[] = {0x1c, 0xf0, 0x1c}, up[] = {0xe0, 0x75, 0xe0, 0xf0, 0x75};
    const uint8_t f7[] = {0x83, 0xf0, 0x83};
    assert_true(i8042_key(r->d, a, sizeof a));
    assert_string_equal(rig_trace(r), "+1 ");
    assert_int_equal(in8(r, DATA), 0x1e);
    assert_string_equal(rig_trace(r), "-1 +1 "); /* the next byte is a new edge */
    assert_int_equal(in8(r, DATA), 0x9e);
    assert_string_equal(rig_trace(r), "-1 ");
    assert_true(i8042_key(r->d, up, sizeof up));
    assert_string_equal(drain(r), "e0 48 e0 c8 ");
    assert_true(i8042_key(r->d, f7, sizeof f7));
    assert_string_equal(drain(r), "41 c1 ");
    command_with(r, 0x60, 0x01); /* no translation */
    assert_true(i8042_key(r->d, up, sizeof up));
    assert_string_equal(drain(r), "e0 75 e0 f0 75 ");
    to_keyboard(r, 0xf0);
    to_keyboard(r, 0x01); /* the keyboard itself speaks set 1 */
    assert_true(i8042_key(r->d, up, sizeof up));
    assert_string_equal(drain(r), "e0 48 e0 c8 ");
    command_with(r, 0x60, 0x11); /* interface off: keys wait */
    assert_true(i8042_key(r->d, a, sizeof a));
    assert_string_equal(drain(r), "");
    command(r, 0xae);
    assert_string_equal(drain(r), "1e 9e ");
    rig_free(r);
}

static void full_keyboard_refuses(void **state)
{
    struct rig *r = new_kbc();
    const uint8_t keys[17] = {0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c};
    assert_false(i8042_key(r->d, keys, 17));
    assert_true(i8042_key(r->d, keys, 6)); /* one of them moves to the output byte */
    assert_true(i8042_key(r->d, keys, 11));
    assert_false(i8042_key(r->d, keys, 1));
    in8(r, DATA);
    assert_true(i8042_key(r->d, keys, 1));
    rig_free(r);
}

static void psmouse_probe(void **state)
{
    struct rig *r = new_kbc();
    command_with(r, 0x60, 0x47);
    assert_string_equal(to_mouse(r, 0xf2), "mfa m00 ");
    assert_string_equal(to_mouse(r, 0xff), "mfa maa m00 ");
    to_mouse(r, 0xf3);
    to_mouse(r, 80); /* a rate alone is no knock */
    assert_string_equal(to_mouse(r, 0xf2), "mfa m00 ");
    const uint8_t wheel[] = {200, 100, 80}, buttons[] = {200, 200, 80};
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(to_mouse(r, 0xf3), "mfa ");
        assert_string_equal(to_mouse(r, wheel[i]), "mfa ");
    }
    assert_string_equal(to_mouse(r, 0xf2), "mfa m03 ");
    for (unsigned i = 0; i < 3; i++) {
        to_mouse(r, 0xf3);
        to_mouse(r, buttons[i]);
    }
    assert_string_equal(to_mouse(r, 0xf2), "mfa m04 ");
    to_mouse(r, 0xe8);
    to_mouse(r, 3);
    to_mouse(r, 0xe7);
    assert_string_equal(to_mouse(r, 0xe9), "mfa m10 m03 m50 ");
    assert_string_equal(to_mouse(r, 0xe6), "mfa ");
    assert_string_equal(to_mouse(r, 0xf4), "mfa ");
    assert_string_equal(to_mouse(r, 0xe9), "mfa m20 m03 m50 ");
    assert_string_equal(to_mouse(r, 0xbb), "mfe ");
    assert_string_equal(to_mouse(r, 0xee), "mfa ");
    assert_string_equal(to_mouse(r, 0xf4), "mf4 "); /* wrap */
    assert_string_equal(to_mouse(r, 0xec), "mfa ");
    assert_string_equal(to_mouse(r, 0xf6), "mfa ");
    assert_string_equal(to_mouse(r, 0xe9), "mfa m00 m02 m64 ");
    rig_free(r);
}

static void mouse_movement(void **state)
{
    struct rig *r = new_kbc();
    command_with(r, 0x60, 0x47);
    assert_false(i8042_mouse(r->d, 1, 1, 0, 0));
    to_mouse(r, 0xf4);
    rig_trace(r);
    assert_true(i8042_mouse(r->d, 5, -3, 0, I8042_LEFT));
    assert_string_equal(rig_trace(r), "+12 ");
    assert_string_equal(drain(r), "m29 m05 mfd ");
    assert_true(i8042_mouse(r->d, -1000000, 0, 0, 0));
    assert_string_equal(drain(r), "m18 m01 m00 ");
    unsigned taken = 0;
    while (i8042_mouse(r->d, 1, 0, 0, 0))
        taken++;
    assert_in_range(taken, 4, 6); /* bounded */
    to_mouse(r, 0xf0);            /* remote mode: only on request */
    assert_true(i8042_mouse(r->d, 7, 8, 0, I8042_RIGHT));
    assert_string_equal(drain(r), "");
    assert_string_equal(to_mouse(r, 0xeb), "mfa m0a m07 m08 ");
    assert_string_equal(to_mouse(r, 0xeb), "mfa m0a m00 m00 ");
    assert_string_equal(to_mouse(r, 0xe9), "mfa m61 m02 m64 ");
    assert_string_equal(to_mouse(r, 0xea), "mfa ");
    assert_string_equal(to_mouse(r, 0xe9), "mfa m21 m02 m64 ");
    const uint8_t wheel[] = {200, 100, 80};
    for (unsigned i = 0; i < 3; i++) {
        to_mouse(r, 0xf3);
        to_mouse(r, wheel[i]);
    }
    assert_true(i8042_mouse(r->d, 0, 0, -1, 0));
    assert_string_equal(drain(r), "m08 m00 m00 mff ");
    assert_true(i8042_mouse(r->d, 0, 0, 0, 0));
    assert_string_equal(drain(r), "m08 m00 m00 m00 ");
    rig_free(r);
}

static void reset_forgets(void **state)
{
    struct rig *r = new_kbc();
    assert_true(i8042_key(r->d, (const uint8_t *)"\x1c\x1c", 2));
    command_with(r, 0x60, 0x47);
    to_mouse(r, 0xf4);
    command_with(r, 0xd1, 0xdd);
    out8(r, DATA, 0xed);
    i8042_key(r->d, (const uint8_t *)"\x1c", 1);
    rig_trace(r);
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "+2 -1 ");
    assert_string_equal(drain(r), "");
    assert_int_equal(config(r), 0x65);
    assert_false(i8042_mouse(r->d, 1, 1, 0, 0));
    assert_string_equal(to_keyboard(r, 0x02), "fe "); /* not the argument of LEDs */
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    uint8_t codes[4];
    memcpy(codes, &random, sizeof codes);
    if (random >> 40 & 1)
        return i8042_key(r->d, codes, random >> 32 & 3);
    return i8042_mouse(r->d, (int32_t)random, (int32_t)(random >> 8), (int8_t)codes[1],
                       (unsigned)(random >> 32));
}

static void survives_anything(void **state)
{
    const uint16_t ports[] = {DATA, CMD};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 1000, poke});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controller_commands),
        cmocka_unit_test(a20_and_reset_lines),
        cmocka_unit_test(linux_finds_the_mouse_port),
        cmocka_unit_test(keyboard_commands),
        cmocka_unit_test(keys_are_translated_and_interrupt),
        cmocka_unit_test(full_keyboard_refuses),
        cmocka_unit_test(psmouse_probe),
        cmocka_unit_test(mouse_movement),
        cmocka_unit_test(reset_forgets),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
