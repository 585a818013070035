/* SPDX-License-Identifier: MIT */
/* Firmware configuration device, as SeaBIOS and Linux's qemu_fw_cfg use it. */
#include "dev_rig.h"

#include <errno.h>

#include "ring3/devices/fw_cfg.h"

#define REQUEST 0x1000u
#define BUFFER  0x2000u
#define ROM     0x8000u
#define HOLE    0xa0000u

static struct rig *new_rig(void)
{
    struct rig *r = rig_new();
    r->host.mem = phys_new(MIB, NULL);
    assert_int_equal(phys_map_ram(r->host.mem, 0, 0, ROM, NULL), 0);
    assert_int_equal(phys_map_rom(r->host.mem, ROM, ROM, 0x1000, NULL), 0);
    assert_int_equal(phys_map_ram(r->host.mem, ROM + 0x1000, ROM + 0x1000, 0x10000, NULL), 0);
    r->d = fw_cfg_new(&r->host, NULL);
    assert_non_null(r->d);
    return r;
}

static void free_rig(struct rig *r)
{
    struct phys *mem = r->host.mem;
    rig_free(r);
    phys_free(mem);
}

static void take(struct rig *r, unsigned key, void *to, size_t n)
{
    bus_write(r->host.pio, 0x510, 2, key);
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = in8(r, 0x511);
}

static uint32_t be(const uint8_t *p, unsigned n)
{
    uint32_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

static void put_be(uint8_t *p, uint64_t v, unsigned n)
{
    while (n--)
        *p++ = (uint8_t)(v >> 8 * n);
}

/* Returns the control word that the device left. */
static uint32_t request(struct rig *r, uint32_t control, uint32_t len, uint64_t gpa)
{
    uint8_t p[16];
    put_be(p, control, 4);
    put_be(p + 4, len, 4);
    put_be(p + 8, gpa, 8);
    phys_write(r->host.mem, REQUEST, p, sizeof p);
    bus_write(r->host.pio, 0x514, 4, 0);
    bus_write(r->host.pio, 0x518, 4, __builtin_bswap32(REQUEST));
    phys_read(r->host.mem, REQUEST, p, 4);
    return be(p, 4);
}

static void drivers_recognise_it(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[8];
    take(r, 0, b, 5);
    assert_memory_equal(b, "QEMU\0", 5); /* zeros behind the end */
    take(r, 1, b, 4);
    assert_memory_equal(b, "\3\0\0\0", 4);
    assert_int_equal(bus_read(r->host.pio, 0x514, 4), __builtin_bswap32(0x51454d55));
    assert_int_equal(bus_read(r->host.pio, 0x518, 4), __builtin_bswap32(0x20434647));
    free_rig(r);
}

static void files_are_in_the_directory(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[256];
    assert_int_equal(fw_cfg_add_file(r->d, "etc/one", "11", 2, NULL), 0);
    assert_int_equal(fw_cfg_add_file(r->d, "genroms/two.rom", "222", 3, NULL), 0);
    take(r, 0x19, b, 4 + 3 * 64);
    assert_int_equal(be(b, 4), 2);
    assert_int_equal(be(b + 4, 4), 2);
    assert_string_equal((char *)b + 4 + 8, "etc/one");
    assert_int_equal(be(b + 68, 4), 3);
    assert_string_equal((char *)b + 68 + 8, "genroms/two.rom");
    assert_int_equal(be(b + 132, 4), 0);
    uint32_t key = be(b + 72, 2);
    take(r, key, b, 4);
    assert_memory_equal(b, "222\0", 4);
    take(r, key, b, 1);
    assert_int_equal(b[0], '2'); /* selecting starts over */
    free_rig(r);
}

static void absent_items_are_empty(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[3] = {1, 1, 1};
    take(r, 0x77, b, 3);
    assert_memory_equal(b, "\0\0\0", 3);
    bus_write(r->host.pio, 0x510, 1, 0); /* half a selector selects nothing */
    assert_int_equal(in8(r, 0x511), 0);
    assert_int_equal(in8(r, 0x510), 0);
    free_rig(r);
}

static void requests_in_memory(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[12];
    memset(b, 0xee, sizeof b);
    phys_write(r->host.mem, BUFFER, b, sizeof b);
    assert_int_equal(fw_cfg_add(r->d, 0x8001, "abcdefgh", 8, NULL), 0);
    /* select and read, then skip, then read on beyond the end */
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, 3, BUFFER), 0);
    assert_int_equal(request(r, 4, 2, 0), 0);
    assert_int_equal(request(r, 2, 6, BUFFER + 3), 0);
    phys_read(r->host.mem, BUFFER, b, sizeof b);
    assert_memory_equal(b, "abcfgh\0\0\0\xee\xee\xee", 12);
    assert_int_equal(request(r, 2, 0, BUFFER), 0);
    assert_int_equal(request(r, 0x8001u << 16 | 8, 0, 0), 0);
    assert_int_equal(in8(r, 0x511), 'a');
    free_rig(r);
}

static void bad_requests_fail(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[4] = "wxyz";
    r->log.level = LOG_ERROR;
    assert_int_equal(fw_cfg_add(r->d, 0x8001, "abcdefgh", 8, NULL), 0);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, 8, ROM), 1);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, 8, ROM - 4), 1);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, 8, HOLE), 1);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, UINT32_MAX, BUFFER), 1);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 2, 8, UINT64_MAX - 3), 1);
    phys_write(r->host.mem, BUFFER, b, 4);
    assert_int_equal(request(r, 0x8001u << 16 | 8 | 16, 4, BUFFER), 1); /* no item is writable */
    take(r, 0x8001, b, 1);
    assert_int_equal(b[0], 'a');
    phys_read(r->host.mem, ROM, b, 4);
    assert_memory_equal(b, "\0\0\0\0", 4);
    /* Positions do not wrap. */
    assert_int_equal(request(r, 4, UINT32_MAX, 0), 0);
    assert_int_equal(request(r, 4, UINT32_MAX, 0), 0);
    assert_int_equal(in8(r, 0x511), 0);
    /* A request that is nowhere. */
    bus_write(r->host.pio, 0x518, 4, __builtin_bswap32(HOLE));
    bus_write(r->host.pio, 0x514, 4, UINT32_MAX);
    bus_write(r->host.pio, 0x518, 4, UINT32_MAX);
    free_rig(r);
}

static void upper_half_of_the_address_is_used_once(void **state)
{
    struct rig *r = new_rig();
    uint8_t b[4];
    r->log.level = LOG_ERROR;
    bus_write(r->host.pio, 0x514, 4, __builtin_bswap32(1)); /* 4 GiB and more: nothing there */
    put_be(b, 0x00010008, 4);                               /* select item 1 */
    phys_write(r->host.mem, REQUEST, b, 4);
    bus_write(r->host.pio, 0x518, 4, __builtin_bswap32(REQUEST));
    assert_int_equal(in8(r, 0x511), 0);
    bus_write(r->host.pio, 0x518, 4, __builtin_bswap32(REQUEST));
    assert_int_equal(in8(r, 0x511), 3);
    free_rig(r);
}

static void count_up(void *opaque, uint8_t *bytes, size_t len)
{
    unsigned *n = opaque;
    assert_int_equal(len, 2);
    bytes[0] = (uint8_t)++ * n;
}

static void made_items_are_made_when_selected(void **state)
{
    struct rig *r = new_rig();
    unsigned n = 0;
    uint8_t b[2];
    assert_int_equal(fw_cfg_add_made(r->d, 0x8002, 2, count_up, &n, NULL), 0);
    assert_int_equal(n, 0);
    take(r, 0x8002, b, 2);
    assert_int_equal(b[0], 1);
    assert_int_equal(request(r, 0x8002u << 16 | 8 | 2, 1, BUFFER), 0);
    phys_read(r->host.mem, BUFFER, b, 1);
    assert_int_equal(b[0], 2);
    assert_int_equal(request(r, 2, 1, BUFFER), 0);
    assert_int_equal(n, 2);
    assert_int_equal(fw_cfg_add_made(r->d, 0x8003, 65, count_up, &n, NULL), -ENOSPC);
    free_rig(r);
}

/* Making may have effects (it may load a kernel), so a restored machine does not make again. */
static void what_was_made_is_state(void **state)
{
    struct rig *a = new_rig(), *b = new_rig();
    unsigned n = 0, other = 70;
    uint8_t byte;
    assert_int_equal(fw_cfg_add_made(a->d, 0x8002, 2, count_up, &n, NULL), 0);
    assert_int_equal(fw_cfg_add_made(b->d, 0x8002, 2, count_up, &other, NULL), 0);
    take(a, 0x8002, &byte, 0);
    rig_copy_state(b->d, a->d);
    assert_int_equal(other, 70);
    assert_int_equal(in8(b, 0x511), 1);
    free_rig(a);
    free_rig(b);
}

static void room_is_limited(void **state)
{
    struct rig *r = new_rig();
    struct err e = {0};
    char name[80];
    unsigned n = 0;
    assert_int_equal(fw_cfg_add(r->d, 0, "x", 1, &e), -EEXIST);
    assert_int_equal(fw_cfg_add(r->d, 0x8000, "x", 64 * MIB, &e), -ENOSPC);
    memset(name, 'n', sizeof name);
    name[56] = 0;
    assert_int_equal(fw_cfg_add_file(r->d, name, "x", 1, &e), -ENOSPC);
    name[55] = 0;
    assert_int_equal(fw_cfg_add_file(r->d, name, "x", 1, &e), 0);
    do {
        snprintf(name, sizeof name, "file%u", n++);
    } while (n < 1000 && fw_cfg_add_file(r->d, name, "x", 1, &e) == 0);
    assert_string_equal(e.id, "fw-cfg");
    assert_in_range(n, 30, 100);
    free_rig(r);
}

static struct device *make(struct rig *r)
{
    struct device *d;
    /* One memory for all benches: requests are compared by what they leave. */
    r->host.mem = phys_new(MIB, NULL);
    phys_map_ram(r->host.mem, 0, 0, 0x10000, NULL);
    d = fw_cfg_new(&r->host, NULL);
    fw_cfg_add(d, 2, "0123456789abcdef", 16, NULL);
    fw_cfg_add_file(d, "etc/file", "contents", 8, NULL);
    return d;
}

static void random_accesses(void **state)
{
    struct rig *r = rig_new();
    uint64_t seed = 5;
    r->log.level = LOG_ERROR;
    r->d = make(r);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t x = rig_random(&seed);
        unsigned port = 0x50c + x % 20, size = 1u << (x >> 8) % 3;
        uint32_t value = (uint32_t)(x >> 32);
        uint8_t word[4];
        put_be(word, value & 0x3f001f, 4);
        phys_write(r->host.mem, (x >> 12 & 0xfffc), word, 4);
        if (x >> 11 & 1)
            value = __builtin_bswap32(value & 0xfffc);
        if (x >> 10 & 1)
            bus_write(r->host.pio, port & ~(size - 1), size, value);
        else
            bus_read(r->host.pio, port & ~(size - 1), size);
    }
    uint8_t b[8];
    take(r, 2, b, 8);
    assert_memory_equal(b, "01234567", 8);
    free_rig(r);
}

static void state_moves_to_a_twin(void **state)
{
    struct rig *a = rig_new(), *b = rig_new();
    uint8_t byte;
    a->d = make(a);
    b->d = make(b);
    take(a, 0x20, &byte, 1);
    rig_copy_state(b->d, a->d);
    assert_int_equal(in8(b, 0x511), 'o');
    a->d->ops->reset(a->d);
    assert_int_equal(in8(a, 0x511), 0);
    free_rig(a);
    free_rig(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_recognise_it),
        cmocka_unit_test(files_are_in_the_directory),
        cmocka_unit_test(absent_items_are_empty),
        cmocka_unit_test(requests_in_memory),
        cmocka_unit_test(bad_requests_fail),
        cmocka_unit_test(upper_half_of_the_address_is_used_once),
        cmocka_unit_test(made_items_are_made_when_selected),
        cmocka_unit_test(what_was_made_is_state),
        cmocka_unit_test(room_is_limited),
        cmocka_unit_test(random_accesses),
        cmocka_unit_test(state_moves_to_a_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
