/* SPDX-License-Identifier: MIT */
/* The DMA controllers: registers, terminal count, modes, pages (Intel data sheet 231466). */
#include "dev_rig.h"

#include "ring3/devices/i8237.h"

#define RAM (2 * MIB)

static struct rig *new_rig(void)
{
    struct rig *r = rig_new();
    r->host.mem = phys_new(RAM, NULL);
    assert_int_equal(phys_map_ram(r->host.mem, 0, 0, RAM, NULL), 0);
    r->d = i8237_new(&r->host, NULL);
    assert_non_null(r->d);
    return r;
}

static void free_rig(struct rig *r)
{
    struct phys *mem = r->host.mem;
    rig_free(r);
    phys_free(mem);
}

/* As a driver does for channel 2: mask, mode, flip-flop, address, count, page, unmask. */
static void program(struct rig *r, unsigned mode, uint32_t at, unsigned count)
{
    out8(r, 0x0a, 4 | 2);
    out8(r, 0x0b, mode | 2);
    out8(r, 0x0c, 0);
    out8(r, 0x04, at & 0xff);
    out8(r, 0x04, at >> 8 & 0xff);
    out8(r, 0x05, count & 0xff);
    out8(r, 0x05, count >> 8);
    out8(r, 0x81, at >> 16);
    out8(r, 0x0a, 2);
}

static unsigned move(struct rig *r, unsigned channel, enum i8237_direction way, void *p, unsigned n,
                     bool want_tc)
{
    bool tc;
    unsigned done = i8237_move(r->d, channel, way, p, n, &tc);
    assert_int_equal(tc, want_tc);
    return done;
}

static uint16_t read16(struct rig *r, unsigned port)
{
    out8(r, 0x0c, 0);
    uint16_t low = in8(r, port);
    return (uint16_t)(low | in8(r, port) << 8);
}

static void moves_up_to_the_terminal_count(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[1024], seen[1024];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 512, false), 0); /* masked since reset */
    program(r, 0x44, 0x18000, 999);
    assert_int_equal(move(r, 2, I8237_FROM_MEMORY, data, 512, false), 0); /* the other way */
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 512, false), 512);
    assert_int_equal(read16(r, 4), 0x8200);
    assert_int_equal(read16(r, 5), 487);
    assert_int_equal(in8(r, 8) & 0x0f, 0);
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data + 512, 512, true), 488);
    assert_int_equal(read16(r, 5), 0xffff);
    phys_read(r->host.mem, 0x18000, seen, 1000);
    assert_memory_equal(seen, data, 1000);
    assert_int_equal(in8(r, 8) & 0x0f, 4);
    assert_int_equal(in8(r, 8) & 0x0f, 0); /* reading clears it */
    assert_int_equal(in8(r, 0x0f), 0xff);  /* masked again */
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 1, false), 0);
    free_rig(r);
}

static void reload_starts_over(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[16] = "0123456789abcde", seen[16];
    program(r, 0x58, 0x12345, 7); /* from memory, reload */
    phys_write(r->host.mem, 0x12345, data, 8);
    assert_int_equal(move(r, 2, I8237_FROM_MEMORY, seen, 16, true), 8);
    assert_int_equal(move(r, 2, I8237_FROM_MEMORY, seen + 8, 8, true), 8);
    assert_memory_equal(seen, "0123456701234567", 16);
    free_rig(r);
}

static void addresses_wrap_in_their_page(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[4] = {1, 2, 3, 4}, seen[2];
    program(r, 0x44, 0x1fffe, 3);
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 4, true), 4);
    phys_read(r->host.mem, 0x1fffe, seen, 2);
    assert_memory_equal(seen, data, 2);
    phys_read(r->host.mem, 0x10000, seen, 2);
    assert_memory_equal(seen, data + 2, 2);
    program(r, 0x64, 0x10001, 3); /* downwards */
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 4, true), 4);
    phys_read(r->host.mem, 0x10000, seen, 2);
    assert_memory_equal(seen, ((uint8_t[]){2, 1}), 2);
    phys_read(r->host.mem, 0x1fffe, seen, 2);
    assert_memory_equal(seen, ((uint8_t[]){4, 3}), 2);
    free_rig(r);
}

static void verify_touches_no_memory(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[8] = "verified", seen[8] = {0};
    program(r, 0x40, 0x8000, 7);
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 8, true), 8);
    phys_read(r->host.mem, 0x8000, seen, 8);
    assert_memory_equal(seen, "\0\0\0\0\0\0\0\0", 8);
    program(r, 0xc4, 0x8000, 7); /* cascade: nothing */
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 8, false), 0);
    free_rig(r);
}

static void word_channels_count_words(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[8] = "wordword", seen[8];
    out8(r, 0xd6, 0x44 | 1); /* channel 5 */
    out8(r, 0xd8, 0);
    out8(r, 0xc4, 0x00); /* word 0x2000 is byte 0x4000 */
    out8(r, 0xc4, 0x20);
    out8(r, 0xc6, 2);
    out8(r, 0xc6, 0);
    out8(r, 0x8b, 0x05); /* bit 0 does not count */
    out8(r, 0xd4, 1);
    assert_int_equal(move(r, 5, I8237_TO_MEMORY, data, 3, false), 2);
    assert_int_equal(move(r, 5, I8237_TO_MEMORY, data + 2, 6, true), 4);
    phys_read(r->host.mem, 0x44000, seen, 6);
    assert_memory_equal(seen, "wordwo", 6);
    assert_int_equal(in8(r, 0xd0) & 0x0f, 2);
    free_rig(r);
}

static void memory_that_is_none(void **state)
{
    struct rig *r = new_rig();
    uint8_t data[4] = {1, 2, 3, 4};
    program(r, 0x48, 0xff0000, 3);
    assert_int_equal(move(r, 2, I8237_FROM_MEMORY, data, 4, true), 4);
    assert_memory_equal(data, "\xff\xff\xff\xff", 4);
    program(r, 0x44, 0xff0000, 3);
    assert_int_equal(move(r, 2, I8237_TO_MEMORY, data, 4, true), 4);
    free_rig(r);
}

static void on_ready(void *opaque)
{
    rig_note(opaque, "ready ");
}

static void a_device_waits_for_its_channel(void **state)
{
    struct rig *r = new_rig();
    i8237_attach(r->d, 2, on_ready, r);
    program(r, 0x44, 0x8000, 7);
    assert_string_equal(rig_trace(r), ""); /* it has not asked */
    out8(r, 0x0a, 4 | 2);
    i8237_request(r->d, 2, true);
    assert_int_equal(in8(r, 8), 0x40);
    out8(r, 0x0a, 2);
    assert_string_equal(rig_trace(r), "ready ");
    out8(r, 0x08, 4); /* controller off, on */
    assert_string_equal(rig_trace(r), "");
    out8(r, 0x08, 0);
    assert_string_equal(rig_trace(r), "ready ");
    out8(r, 0x0f, 0x0f);
    i8237_request(r->d, 2, false);
    out8(r, 0x0e, 0);
    assert_string_equal(rig_trace(r), "");
    free_rig(r);
}

/* ---- twins ---- */

static struct phys *shared_mem;

static struct device *make(struct rig *r)
{
    r->host.mem = shared_mem;
    return i8237_new(&r->host, NULL);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    uint8_t data[64] = {0};
    bool tc;
    unsigned n = i8237_move(r->d, random & 7, random >> 3 & 1, data, random >> 8 & 63, &tc);
    return n | (uint64_t)tc << 32 | (uint64_t)data[0] << 40;
}

static void state_table_is_complete(void **state)
{
    static const uint16_t ports[] = {0x00, 0x01, 0x04, 0x05, 0x08, 0x0a, 0x0b, 0x0c,
                                     0x0d, 0x0e, 0x0f, 0x81, 0x83, 0x87, 0x8b, 0xc4,
                                     0xc6, 0xd0, 0xd4, 0xd6, 0xd8, 0xde};
    struct rig_fuzz f = {make, ports, ARRAY_LEN(ports), 1000, poke};
    shared_mem = phys_new(RAM, NULL);
    assert_int_equal(phys_map_ram(shared_mem, 0, 0, RAM, NULL), 0);
    rig_fuzz(&f);
    phys_free(shared_mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_up_to_the_terminal_count),
        cmocka_unit_test(reload_starts_over),
        cmocka_unit_test(addresses_wrap_in_their_page),
        cmocka_unit_test(verify_touches_no_memory),
        cmocka_unit_test(word_channels_count_words),
        cmocka_unit_test(memory_that_is_none),
        cmocka_unit_test(a_device_waits_for_its_channel),
        cmocka_unit_test(state_table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
