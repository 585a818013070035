/* SPDX-License-Identifier: MIT */
/* Packets of gdb's protocol: framing, numbers, escapes. */
#include "unit.h"

#include <stdlib.h>

#include "debug/gdb_packet.h"

/* The event that the last byte gives. */
static enum gdb_event feed(struct gdb_reader *r, const char *bytes)
{
    enum gdb_event event = GDB_NOTHING;
    while (*bytes)
        event = gdb_read_byte(r, (uint8_t)*bytes++);
    return event;
}

static void packets_are_framed(void **state)
{
    struct gdb_reader r = {0};
    assert_int_equal(feed(&r, "+$m0,4#fd"), GDB_PACKET);
    assert_string_equal(r.data, "m0,4");
    assert_int_equal(feed(&r, "$m0,4#fe"), GDB_DAMAGED);
    assert_int_equal(feed(&r, "$#00"), GDB_PACKET);
    assert_int_equal(r.len, 0);
    assert_int_equal(feed(&r, "\x03"), GDB_BREAK);
    assert_int_equal(feed(&r, "$a\x03"), GDB_NOTHING); /* inside a packet it is data */
    assert_int_equal(feed(&r, "#64"), GDB_PACKET);
    assert_int_equal(feed(&r, "$a#6x"), GDB_DAMAGED);
    assert_int_equal(feed(&r, "$a#x"), GDB_DAMAGED);
    assert_int_equal(feed(&r, "--+garbage#00"), GDB_NOTHING);
}

static void long_packets_are_refused(void **state)
{
    struct gdb_reader r = {0};
    gdb_read_byte(&r, '$');
    for (unsigned i = 0; i < GDB_PACKET_MAX; i++)
        gdb_read_byte(&r, 0);
    assert_int_equal(feed(&r, "#00"), GDB_PACKET);
    gdb_read_byte(&r, '$');
    for (unsigned i = 0; i < GDB_PACKET_MAX + 1; i++)
        gdb_read_byte(&r, 0);
    assert_int_equal(feed(&r, "#00"), GDB_DAMAGED);
    assert_int_equal(feed(&r, "$g#67"), GDB_PACKET);
}

static void numbers(void **state)
{
    const char *at = "1aF,";
    uint64_t x;
    uint8_t bytes[2];
    assert_true(gdb_parse_number(&at, &x));
    assert_int_equal(x, 0x1af);
    assert_int_equal(*at, ',');
    assert_false(gdb_parse_number(&at, &x));
    at = "11112222333344445";
    assert_false(gdb_parse_number(&at, &x));
    at = "0aF";
    assert_false(gdb_parse_hex(&at, bytes, 2));
    at = "0aFf1";
    assert_true(gdb_parse_hex(&at, bytes, 2));
    assert_int_equal(bytes[0], 0x0a);
    assert_int_equal(bytes[1], 0xff);
}

static void binary_goes_both_ways(void **state)
{
    uint8_t all[256], back[256];
    struct gdb_writer w;
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    gdb_begin(&w);
    gdb_binary(&w, all, sizeof all);
    assert_int_equal(w.len, 1 + 256 + 4); /* # $ } * are escaped */
    assert_true(gdb_parse_binary(w.data + 1, w.len - 1, back, sizeof back));
    assert_memory_equal(all, back, sizeof all);
    assert_false(gdb_parse_binary(w.data + 1, w.len - 1, back, sizeof back - 1));
    assert_false(gdb_parse_binary("ab}", 3, back, 3));
    assert_false(gdb_parse_binary("ab", 2, back, 3));
}

static void what_is_written_can_be_read(void **state)
{
    struct gdb_writer w;
    struct gdb_reader r = {0};
    enum gdb_event event = GDB_NOTHING;
    gdb_begin(&w);
    gdb_text(&w, "T05");
    gdb_number(&w, 0);
    gdb_number(&w, UINT64_C(0xfedcba9876543210));
    gdb_hex(&w, "\xff", 1);
    gdb_end(&w);
    for (unsigned i = 0; i < w.len; i++)
        event = gdb_read_byte(&r, (uint8_t)w.data[i]);
    assert_int_equal(event, GDB_PACKET);
    assert_string_equal(r.data, "T050fedcba9876543210ff");
    gdb_begin(&w);
    for (unsigned i = 0; i < 2 * GDB_PACKET_MAX; i++)
        gdb_text(&w, "x"); /* what does not fit is cut */
    assert_int_equal(gdb_room(&w), 0);
    gdb_end(&w);
    assert_in_range(w.len, GDB_PACKET_MAX, sizeof w.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_are_framed),
        cmocka_unit_test(long_packets_are_refused),
        cmocka_unit_test(numbers),
        cmocka_unit_test(binary_goes_both_ways),
        cmocka_unit_test(what_is_written_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
