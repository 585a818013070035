/* SPDX-License-Identifier: MIT */
/* Shadow RAM of the i440FX: what each attribute shows, in which piece (datasheet 290549, tables 3
 * and 4), through reset and restore. */
#include "dev_rig.h"

#include "ring3/devices/i440fx.h"

#define ROM_BYTES     (128 * KIB)
#define ROM_START     0xe0000u
#define PIECE_BASE(i) (0xc0000u + (i)*0x4000u)

struct bridge {
    struct rig *rig;
    struct device *north;
    uint64_t rom;
    struct {
        uint64_t gpa, len;
    } last; /* range that watchers were told of last */
    unsigned remaps;
    struct wp_watcher watcher;
};

static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct bridge *b = opaque;
    b->last.gpa = gpa;
    b->last.len = len;
    b->remaps++;
}

/* RAM piece i holds i, ROM piece i holds 0x80 + i. */
static struct bridge *bridge_new(void)
{
    struct bridge *b = calloc(1, sizeof *b);
    struct rig *r = b->rig = rig_new();
    struct phys *mem = r->host.mem = phys_new(2 * MIB, NULL);
    struct i440fx_config c = {.mem = mem};

    assert_int_equal(phys_extra(mem, ROM_BYTES, &b->rom, NULL), 0);
    assert_int_equal(phys_map_ram(mem, 0, 0, 2 * MIB, NULL), 0);
    assert_int_equal(phys_map_rom(mem, 0xfffe0000, b->rom, ROM_BYTES, NULL), 0);
    for (unsigned i = 0; i < I440FX_PIECES; i++) {
        uint8_t ram = (uint8_t)i, rom = (uint8_t)(0x80 + i);
        phys_load(mem, PIECE_BASE(i), &ram, 1);
        if (PIECE_BASE(i) < ROM_START)
            continue;
        uint64_t at = PIECE_BASE(i) - ROM_START;
        phys_load(mem, 0xfffe0000 + at, &rom, 1);
        c.behind[i] = (struct i440fx_behind){PHYS_ROM, b->rom + at};
    }
    r->d = pci_host_new(&r->host, rig_line(r, 0), NULL);
    b->watcher = (struct wp_watcher){.remapped = remapped, .opaque = b};
    wp_watch(mem, &b->watcher);
    b->north = i440fx_new(pci_host_of(r->d), &c, NULL);
    assert_non_null(b->north);
    return b;
}

static void bridge_free(struct bridge *b)
{
    struct phys *mem = b->rig->host.mem;
    b->north->ops->free(b->north);
    wp_unwatch(mem, &b->watcher);
    rig_free(b->rig);
    phys_free(mem);
    free(b);
}

static void config(struct bridge *b, unsigned at, unsigned value)
{
    bus_write(b->rig->host.pio, 0xcf8, 4, 0x80000000u | (at & 0xfc));
    bus_write(b->rig->host.pio, 0xcfc + (at & 3), 1, value);
}

/* What piece i shows: R RAM, r RAM that cannot be written, O ROM, - nothing. */
static char shows(struct bridge *b, unsigned i)
{
    uint8_t byte;
    struct phys_page p = phys_page(b->rig->host.mem, (gpfn_t){PIECE_BASE(i) >> PAGE_SHIFT});
    struct phys_page last =
        phys_page(b->rig->host.mem, (gpfn_t){(PIECE_BASE(i) >> PAGE_SHIFT) + 3});
    assert_int_equal(p.kind, last.kind);
    if (p.kind == PHYS_NONE)
        return '-';
    assert_ptr_equal(last.host, p.host + 3 * PAGE_BYTES);
    assert_int_equal(phys_read(b->rig->host.mem, PIECE_BASE(i), &byte, 1), 0);
    if (byte == 0x80 + i && p.kind == PHYS_ROM)
        return 'O';
    assert_int_equal(byte, i);
    return p.kind == PHYS_RAM ? 'R' : 'r';
}

static const char *map(struct bridge *b)
{
    static char text[I440FX_PIECES + 1];
    for (unsigned i = 0; i < I440FX_PIECES; i++)
        text[i] = shows(b, i);
    return text;
}

#define AT_RESET "--------OOOOOOOO"

static void each_attribute_has_its_place(void **state)
{
    static const struct {
        unsigned at, value;
        const char *map;
    } cases[] = {
        {0x59, 0x10, "--------OOOOrrrr"}, {0x59, 0x30, "--------OOOORRRR"},
        {0x59, 0x20, "--------OOOOOOOO"}, {0x59, 0x03, "--------OOOOOOOO"},
        {0x5a, 0x03, "R-------OOOOOOOO"}, {0x5a, 0x10, "-r------OOOOOOOO"},
        {0x5b, 0x33, "--RR----OOOOOOOO"}, {0x5c, 0x11, "----rr--OOOOOOOO"},
        {0x5d, 0x31, "------rROOOOOOOO"}, {0x5e, 0x03, "--------ROOOOOOO"},
        {0x5e, 0x30, "--------OROOOOOO"}, {0x5f, 0x13, "--------OORrOOOO"},
        {0x5f, 0x22, "--------OOOOOOOO"}, {0x5f, 0xcc, "--------OOOOOOOO"},
        {0x60, 0xff, "--------OOOOOOOO"}, {0x58, 0xff, "--------OOOOOOOO"},
    };
    struct bridge *b = bridge_new();
    assert_string_equal(map(b), AT_RESET);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        config(b, cases[i].at, cases[i].value);
        assert_string_equal(map(b), cases[i].map);
        config(b, cases[i].at, 0);
        assert_string_equal(map(b), AT_RESET);
    }
    bridge_free(b);
}

/* Watchers hear of what changes and of nothing else: each costs translated code. */
static void watchers_hear_of_changes(void **state)
{
    struct bridge *b = bridge_new();
    b->remaps = 0;
    config(b, 0x5a, 0x30);
    assert_int_equal(b->remaps, 1);
    assert_int_equal(b->last.gpa, 0xc4000);
    assert_int_equal(b->last.len, 0x4000);
    config(b, 0x5a, 0x30);
    config(b, 0x04, 0x06);
    config(b, 0x72, 0x4a);
    assert_int_equal(b->remaps, 1);
    /* All at once, as firmware does. */
    bus_write(b->rig->host.pio, 0xcf8, 4, 0x8000005c);
    bus_write(b->rig->host.pio, 0xcfc, 4, 0x33333333);
    assert_string_equal(map(b), "-R--RRRRRRRROOOO");
    assert_int_equal(b->remaps, 9);
    bridge_free(b);
}

static void both_views_keep_their_bytes(void **state)
{
    struct bridge *b = bridge_new();
    struct phys *mem = b->rig->host.mem;
    uint8_t byte = 0x55;
    config(b, 0x59, 0x30);
    assert_int_equal(phys_write(mem, 0xf0001, &byte, 1), 0);
    config(b, 0x59, 0x10);
    assert_int_not_equal(phys_write(mem, 0xf0001, &byte, 1), 0);
    phys_read(mem, 0xf0001, &byte, 1);
    assert_int_equal(byte, 0x55);
    config(b, 0x59, 0x00);
    phys_read(mem, 0xf0001, &byte, 1);
    assert_int_equal(byte, 0);
    phys_read(mem, 0xffff0001, &byte, 1);
    assert_int_equal(byte, 0);
    bridge_free(b);
}

static void reset_and_restore_follow_the_registers(void **state)
{
    struct bridge *b = bridge_new(), *other = bridge_new();
    config(b, 0x59, 0x30);
    config(b, 0x5e, 0x13);
    assert_string_equal(map(b), "--------RrOORRRR");
    rig_copy_state(other->north, b->north);
    assert_string_equal(map(other), "--------RrOORRRR");
    b->north->ops->reset(b->north);
    assert_string_equal(map(b), AT_RESET);
    bridge_free(b);
    bridge_free(other);
}

static void seabios_knows_the_machine(void **state)
{
    struct bridge *b = bridge_new();
    bus_write(b->rig->host.pio, 0xcf8, 4, 0x8000002c);
    assert_int_equal(bus_read(b->rig->host.pio, 0xcfc, 4), 0x11001af4);
    bridge_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_attribute_has_its_place),
        cmocka_unit_test(watchers_hear_of_changes),
        cmocka_unit_test(both_views_keep_their_bytes),
        cmocka_unit_test(reset_and_restore_follow_the_registers),
        cmocka_unit_test(seabios_knows_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
