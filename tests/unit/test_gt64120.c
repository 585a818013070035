/* SPDX-License-Identifier: MIT */
/* GT-64120: where registers and windows are, configuration cycles as Linux' Malta code makes them,
 * interrupts, both byte orders. Line 0 of the bench is the interrupt output. */
#include "dev_rig.h"

#include "ring3/devices/gt64120.h"

#define MOVED 0x1be00000u /* where Malta's firmware puts the registers */
#define SLOT  11u

struct bench {
    struct rig *r;
    struct device *pci;
    struct pci_func card;
    unsigned iacks;
};

static uint64_t echo_read(void *opaque, uint64_t offset, unsigned size)
{
    return (uintptr_t)opaque + offset;
}

static void echo_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct rig *r = opaque;
    char text[40];
    snprintf(text, sizeof text, "%u:%lx=%lx ", size, (unsigned long)offset, (unsigned long)value);
    rig_note(r, text);
}

static const struct io_ops port_ops = {echo_read, echo_write, 1, 4};

static int iack(void *opaque)
{
    rig_note(opaque, "iack ");
    return 0x29;
}

static struct device *make_order(struct rig *r, bool big)
{
    struct gt64120_config c = {big, rig_line(r, 0), iack, r};
    struct err e;
    struct device *d = gt64120_new(&r->host, &c, &e);
    if (!d)
        fail_msg("%s", e.text);
    struct dev_host h = gt64120_pci_host(d);
    r->parent = pci_bus_new(&h, 1, NULL);
    assert_int_equal(gt64120_connect(d, pci_host_of(r->parent), NULL), 0);
    return d;
}

static struct device *make(struct rig *r)
{
    return make_order(r, false);
}

static struct bench *new_bench(bool big)
{
    struct bench *b = calloc(1, sizeof *b);
    b->r = rig_new();
    b->r->d = make_order(b->r, big);
    pci_func_init(&b->card, "card", 0x1022, 0x2000, 0x020000, 0x40);
    pci_func_bar(&b->card, 0, true, 32, &port_ops, b->r);
    pci_func_bar(&b->card, 1, false, 4096, &port_ops, b->r);
    pci_add(pci_host_of(b->r->parent), &b->card, SLOT, 0, NULL);
    return b;
}

static void free_bench(struct bench *b)
{
    pci_remove(&b->card);
    rig_free(b->r);
    free(b);
}

static uint32_t get(struct bench *b, uint32_t at)
{
    return (uint32_t)bus_read(b->r->host.mmio, at, 4);
}
static void put(struct bench *b, uint32_t at, uint32_t value)
{
    bus_write(b->r->host.mmio, at, 4, value);
}
static const char *at(struct bench *b, uint32_t address)
{
    const char *name = bus_name_at(b->r->host.mmio, address);
    return name ? name : "";
}

/* What firmware does. */
static void start(struct bench *b)
{
    static const uint32_t writes[][2] = {
        {GT64120_RESET_BASE + GT_INTERNAL_SPACE, MOVED >> 21},
        {MOVED + GT_PCI0_IO_LOW, 0x18000000 >> 21},
        {MOVED + GT_PCI0_IO_HIGH, 0x18000000 >> 21 & 0x7f},
        {MOVED + GT_PCI0_IO_REMAP, 0},
        {MOVED + GT_PCI0_MEM0_LOW, 0x10000000 >> 21},
        {MOVED + GT_PCI0_MEM0_HIGH, 0x17ffffff >> 21 & 0x7f},
        {MOVED + GT_PCI0_MEM1_LOW, 0x18200000 >> 21},
        {MOVED + GT_PCI0_MEM1_HIGH, 0x1bdfffff >> 21 & 0x7f},
    };
    for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
        put(b, writes[i][0], writes[i][1]);
}

static void registers_move(void **state)
{
    struct bench *b = new_bench(false);
    assert_int_equal(get(b, GT64120_RESET_BASE + GT_INTERNAL_SPACE), 0xa0);
    assert_string_equal(at(b, GT64120_RESET_BASE), "gt64120");
    put(b, GT64120_RESET_BASE + GT_INTERNAL_SPACE, 0xdf);
    assert_string_equal(at(b, GT64120_RESET_BASE), "");
    assert_int_equal(get(b, MOVED + GT_INTERNAL_SPACE), 0xdf);
    assert_int_equal(get(b, MOVED + 0x1000 + GT_INTERNAL_SPACE), 0xdf); /* repeats */
    bus_map(b->r->host.mmio, 0x1fc00010, 4, &port_ops, b->r, "revision", NULL);
    put(b, MOVED + GT_INTERNAL_SPACE, 0xfe); /* taken: the guest can still reach them */
    assert_string_equal(at(b, MOVED), "gt64120");
    b->r->d->ops->reset(b->r->d);
    assert_string_equal(at(b, MOVED), "");
    assert_int_equal(get(b, GT64120_RESET_BASE + GT_INTERNAL_SPACE), 0xa0);
    free_bench(b);
}

static void windows_show_pci(void **state)
{
    struct bench *b = new_bench(false);
    bus_map(b->r->host.pio, 0x70, 2, &port_ops, b->r, "rtc", NULL);
    start(b);
    assert_string_equal(at(b, 0x17ffffff), "gt-pci-mem0");
    assert_string_equal(at(b, 0x18000000), "gt-pci-io");
    assert_string_equal(at(b, 0x181fffff), "gt-pci-io");
    assert_string_equal(at(b, 0x18200000), "gt-pci-mem1");
    assert_string_equal(at(b, 0x1bdfffff), "gt-pci-mem1");
    assert_string_equal(at(b, 0x1be00000), "gt64120");
    assert_string_equal(at(b, 0x12000000), "gt-pci-mem0"); /* not the place after reset */
    bus_write(b->r->host.mmio, 0x18000071, 1, 0x5a);
    bus_write(b->r->host.mmio, 0x18000070, 2, 0x1234);
    assert_string_equal(rig_trace(b->r), "1:1=5a 2:0=1234 ");
    assert_int_equal(get(b, 0x18010070), UINT32_MAX); /* no port has more than 16 bits */

    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | SLOT << 11 | 0x14);
    put(b, MOVED + GT_PCI0_DATA, 0x10001000);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | SLOT << 11 | PCI_COMMAND);
    put(b, MOVED + GT_PCI0_DATA, PCI_COMMAND_MEMORY);
    put(b, 0x10001ffc, 0x11223344);
    put(b, 0x10002000, 1);
    assert_string_equal(rig_trace(b->r), "4:ffc=11223344 ");
    /* Another address on PCI: bits above those in which the ends differ. */
    put(b, MOVED + GT_PCI0_MEM1_REMAP, 0x10000000 >> 21);
    put(b, 0x1a001000, 7);
    assert_string_equal(rig_trace(b->r), "");
    put(b, MOVED + GT_PCI0_MEM0_REMAP, 0x20000000 >> 21);
    put(b, 0x10001ffc, 1);
    assert_string_equal(rig_trace(b->r), "");
    put(b, MOVED + GT_PCI0_MEM0_LOW, 0x10000000 >> 21); /* sets remap, too */
    put(b, 0x10001ffc, 2);
    assert_string_equal(rig_trace(b->r), "4:ffc=2 ");
    put(b, MOVED + GT_PCI0_IO_HIGH, 0x3f); /* below the start: off */
    assert_string_equal(at(b, 0x18000000), "");
    free_bench(b);
}

static void remapping_keeps_what_differs(void **state)
{
    struct bench *b = new_bench(false);
    start(b);
    bus_map(gt64120_pci_host(b->r->d).mmio, 0x42000000, 16, &port_ops, b->r, "far", NULL);
    put(b, MOVED + GT_PCI0_MEM1_LOW, 0x02000000 >> 21); /* 0x02000000 to 0x07ffffff */
    put(b, MOVED + GT_PCI0_MEM1_HIGH, 0x07ffffff >> 21);
    put(b, MOVED + GT_PCI0_MEM1_REMAP, 0x40000000 >> 21);
    put(b, 0x02000004, 3);
    assert_string_equal(rig_trace(b->r), "4:4=3 ");
    free_bench(b);
}

static void configuration_cycles(void **state)
{
    struct bench *b = new_bench(false);
    start(b);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000);
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), 0x462011ab);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | SLOT << 11);
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), 0x20001022);
    assert_int_equal(bus_read(b->r->host.mmio, MOVED + GT_PCI0_DATA + 2, 2), 0x2000);
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), 0);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | 12 << 11);
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), UINT32_MAX);
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), GT_CAUSE_MASTER_0);
    put(b, MOVED + GT_INT_CAUSE, ~GT_CAUSE_MASTER_0);
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), 0);
    put(b, MOVED + GT_PCI0_DATA, 0); /* nobody there to be written */
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), GT_CAUSE_MASTER_0);
    put(b, MOVED + GT_INT_CAUSE, 0);
    put(b, MOVED + GT_PCI0_ADDRESS, 12 << 11); /* not enabled: no cycle */
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), UINT32_MAX);
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), 0);
    free_bench(b);
}

static void data_is_swapped_on_demand(void **state)
{
    struct bench *b = new_bench(false);
    start(b);
    put(b, MOVED + GT_PCI0_COMMAND, 0);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000);
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), 0x462011ab); /* the chip itself never */
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | SLOT << 11);
    assert_int_equal(get(b, MOVED + GT_PCI0_DATA), 0x22100020);
    assert_int_equal(bus_read(b->r->host.mmio, MOVED + GT_PCI0_DATA, 2), 0x0020);
    assert_int_equal(bus_read(b->r->host.mmio, MOVED + GT_PCI0_DATA + 3, 1), 0x22);
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | SLOT << 11 | PCI_INT_LINE);
    bus_write(b->r->host.mmio, MOVED + GT_PCI0_DATA + 3, 1, 0x5a);
    assert_int_equal(b->card.config[PCI_INT_LINE], 0x5a);
    put(b, MOVED + GT_PCI0_DATA, 0x77000000);
    assert_int_equal(b->card.config[PCI_INT_LINE], 0x77);
    free_bench(b);
    /* The other strapping: registers in big-endian order, as such a processor reads them. */
    b = new_bench(true);
    assert_int_equal(get(b, GT64120_RESET_BASE + GT_INTERNAL_SPACE), 0xa0000000);
    assert_int_equal(get(b, GT64120_RESET_BASE + GT_PCI0_COMMAND), 0);
    put(b, GT64120_RESET_BASE + GT_PCI0_ADDRESS, __builtin_bswap32(0x80000000 | SLOT << 11));
    assert_int_equal(get(b, GT64120_RESET_BASE + GT_PCI0_DATA), 0x20001022);
    free_bench(b);
}

static void interrupts(void **state)
{
    struct bench *b = new_bench(false);
    start(b);
    assert_int_equal(get(b, MOVED + GT_PCI0_IACK), 0x29);
    assert_string_equal(rig_trace(b->r), "iack ");
    put(b, MOVED + GT_PCI0_ADDRESS, 0x80000000 | 12 << 11);
    get(b, MOVED + GT_PCI0_DATA);
    assert_string_equal(rig_trace(b->r), "");
    put(b, MOVED + GT_INT_MASK, GT_CAUSE_MASTER_0);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(get(b, MOVED + GT_INT_CAUSE), GT_CAUSE_MASTER_0 | 1);
    put(b, MOVED + GT_INT_CAUSE, 0);
    assert_string_equal(rig_trace(b->r), "-0 ");
    get(b, MOVED + GT_PCI0_DATA);
    assert_string_equal(rig_trace(b->r), "+0 ");
    b->r->d->ops->reset(b->r->d);
    assert_string_equal(rig_trace(b->r), "-0 ");
    free_bench(b);
}

static void partial_writes_keep_the_rest(void **state)
{
    struct bench *b = new_bench(false);
    put(b, GT64120_RESET_BASE + 0x448, 0x11223344);
    bus_write(b->r->host.mmio, GT64120_RESET_BASE + 0x44a, 2, 0x5566);
    assert_int_equal(get(b, GT64120_RESET_BASE + 0x448), 0x55663344);
    put(b, GT64120_RESET_BASE + 0xd00, 0x11223344); /* no register */
    assert_int_equal(get(b, GT64120_RESET_BASE + 0xd00), 0);
    free_bench(b);
}

/* Registers somewhere else, and back. */
static uint64_t poke(struct rig *r, uint64_t random)
{
    uint32_t to = (uint32_t)(random & 0x7ff);
    bus_write(r->host.mmio, GT64120_RESET_BASE + GT_INTERNAL_SPACE, 4, to);
    uint64_t seen = bus_read(r->host.mmio, ((uint64_t)to << 21) + GT_INTERNAL_SPACE, 4);
    bus_write(r->host.mmio, ((uint64_t)to << 21) + GT_INTERNAL_SPACE, 4, 0xa0);
    return seen;
}

static void random_accesses_and_snapshots(void **state)
{
    static const uint16_t registers[] = {
        0x000,
        0x008,
        GT_PCI0_IO_LOW,
        GT_PCI0_IO_HIGH,
        GT_PCI0_MEM0_LOW,
        GT_PCI0_MEM0_HIGH,
        GT_PCI0_MEM1_LOW,
        GT_PCI0_MEM1_HIGH,
        GT_PCI0_IO_REMAP,
        GT_PCI0_MEM0_REMAP,
        GT_PCI0_MEM1_REMAP,
        GT_PCI0_COMMAND,
        GT_INT_CAUSE,
        GT_INT_MASK,
        GT_PCI0_IACK,
        GT_PCI0_ADDRESS,
        GT_PCI0_DATA,
        0x448,
        0xc24,
        0xffc,
    };
    static const struct rig_fuzz f = {make, registers, ARRAY_LEN(registers),
                                      1000, poke,      GT64120_RESET_BASE};
    rig_fuzz(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_move),
        cmocka_unit_test(windows_show_pci),
        cmocka_unit_test(remapping_keeps_what_differs),
        cmocka_unit_test(configuration_cycles),
        cmocka_unit_test(data_is_swapped_on_demand),
        cmocka_unit_test(interrupts),
        cmocka_unit_test(partial_writes_keep_the_rest),
        cmocka_unit_test(random_accesses_and_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
