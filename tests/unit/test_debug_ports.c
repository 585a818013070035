/* SPDX-License-Identifier: MIT */
/* Debug-exit and debug console ports. */
#include "dev_rig.h"

#include <unistd.h>

#include "ring3/devices/debug_exit.h"
#include "ring3/devices/debugcon.h"

static void on_exit_code(void *opaque, unsigned code)
{
    char text[16];
    snprintf(text, sizeof text, "%u ", code);
    rig_note(opaque, text);
}

static void exit_codes_of_every_width(void **state)
{
    struct rig *r = rig_new();
    r->d = debug_exit_new(&r->host, on_exit_code, r, NULL);
    assert_non_null(r->d);
    bus_write(r->host.pio, 0xf4, 1, 0);
    bus_write(r->host.pio, 0xf4, 1, 119);
    bus_write(r->host.pio, 0xf4, 2, 42);
    bus_write(r->host.pio, 0xf4, 4, 7);
    assert_string_equal(rig_trace(r), "0 119 42 7 ");
    bus_write(r->host.pio, 0xf4, 1, 120);
    bus_write(r->host.pio, 0xf4, 2, 0x100);
    bus_write(r->host.pio, 0xf4, 4, 0x80000001);
    assert_string_equal(rig_trace(r), "119 119 119 ");
    bus_write(r->host.pio, 0xf5, 1, 1); /* not the port */
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(bus_read(r->host.pio, 0xf4, 4), 0);
    struct err e = {0};
    assert_null(debug_exit_new(&r->host, on_exit_code, r, &e));
    assert_string_equal(e.id, "bus-overlap");
    rig_free(r);
}

static void large_code_is_warned_about(void **state)
{
    struct rig *r = rig_new();
    int p[2];
    char text[256] = "";
    assert_int_equal(pipe(p), 0);
    r->log = (struct log){LOG_WARN, p[1]};
    r->d = debug_exit_new(&r->host, on_exit_code, r, NULL);
    bus_write(r->host.pio, 0xf4, 4, 1000);
    assert_true(read(p[0], text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "[debug-exit]"));
    assert_non_null(strstr(text, "1000"));
    close(p[0]);
    close(p[1]);
    rig_free(r);
}

static void console_bytes_reach_the_backend(void **state)
{
    struct rig *r = rig_new();
    r->d = debugcon_new(&r->host, &r->chr, NULL);
    assert_non_null(r->d);
    assert_int_equal(in8(r, 0xe9), 0xe9);
    out8(r, 0xe9, 'h');
    out8(r, 0xe9, 'i');
    r->congested = true;
    out8(r, 0xe9, '!'); /* lost */
    r->congested = false;
    bus_write(r->host.pio, 0xe9, 2, 'Z' << 8 | '.'); /* the second byte goes to port 0xea */
    assert_string_equal(r->sent, "hi.");
    assert_null(debugcon_new(&r->host, &r->chr, NULL));
    rig_free(r);
}

static void console_without_backend(void **state)
{
    struct rig *r = rig_new();
    r->d = debugcon_new(&r->host, NULL, NULL);
    out8(r, 0xe9, 'x');
    assert_int_equal(in8(r, 0xe9), 0xe9);
    assert_int_equal(r->sent_len, 0);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_of_every_width),
        cmocka_unit_test(large_code_is_warned_about),
        cmocka_unit_test(console_bytes_reach_the_backend),
        cmocka_unit_test(console_without_backend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
