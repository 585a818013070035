/* SPDX-License-Identifier: MIT */
/* PCI host, its functions, the i440FX and PIIX4. Lines of the bench: 0-15 the ISA interrupts (in
 * router tests) or 0-3 PIRQA-D; 13 is the reset line. */
#include "dev_rig.h"

#include <errno.h>

#include "ring3/devices/i440fx.h"
#include "ring3/devices/pci.h"
#include "ring3/devices/piix4.h"

#define RESET_LINE 13

/* A chip with a 32-byte I/O BAR, a 4 KiB memory BAR and an interrupt pin. */
struct card {
    struct pci_func func;
    unsigned written; /* config_written calls */
    unsigned offset, size;
};

static uint64_t card_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xc0 + offset;
}

static const struct io_ops card_io = {card_read, NULL, 1, 1};

static void card_written(struct pci_func *f, unsigned offset, unsigned size)
{
    struct card *c = container_of(f, struct card, func);
    c->written++;
    c->offset = offset;
    c->size = size;
}

static void card_init(struct card *c)
{
    memset(c, 0, sizeof *c);
    pci_func_init(&c->func, "card", 0x1234, 0x5678, 0x020000, 9);
    pci_func_bar(&c->func, 0, true, 32, &card_io, c);
    pci_func_bar(&c->func, 1, false, 4096, &card_io, c);
    c->func.config[PCI_INT_PIN] = 1;
    c->func.config_written = card_written;
}

static struct rig *new_host(void)
{
    struct rig *r = rig_new();
    struct irq_line pirq[4] = {rig_line(r, 0), rig_line(r, 1), rig_line(r, 2), rig_line(r, 3)};
    r->d = pci_host_new(&r->host, rig_line(r, RESET_LINE), NULL);
    assert_non_null(r->d);
    pci_set_pirq(pci_host_of(r->d), pirq);
    return r;
}

static void select_function(struct rig *r, unsigned device, unsigned function, unsigned at)
{
    bus_write(r->host.pio, 0xcf8, 4, 0x80000000u | device << 11 | function << 8 | (at & 0xfc));
}

static uint32_t cfg_read(struct rig *r, unsigned device, unsigned function, unsigned at,
                         unsigned size)
{
    select_function(r, device, function, at);
    return (uint32_t)bus_read(r->host.pio, 0xcfc + (at & 3), size);
}

static void cfg_write(struct rig *r, unsigned device, unsigned function, unsigned at, unsigned size,
                      uint32_t value)
{
    select_function(r, device, function, at);
    bus_write(r->host.pio, 0xcfc + (at & 3), size, value);
}

/* A host bridge over 1 MiB of memory; the caller frees what is left in *mem after it. */
static struct device *new_north(struct rig *r, struct phys **mem, struct err *e)
{
    if (!*mem)
        *mem = phys_new(MIB, NULL);
    return i440fx_new(pci_host_of(r->d), &(struct i440fx_config){.mem = *mem}, e);
}

static void mechanism_1_selects_functions(void **state)
{
    struct rig *r = new_host();
    struct card c;
    card_init(&c);
    assert_int_equal(pci_add(pci_host_of(r->d), &c.func, 3, 0, NULL), 0);
    bus_write(r->host.pio, 0xcf8, 4, 0xffffffff);
    assert_int_equal(bus_read(r->host.pio, 0xcf8, 4), 0x80fffffc);
    assert_int_equal(cfg_read(r, 3, 0, PCI_VENDOR, 4), 0x56781234);
    assert_int_equal(cfg_read(r, 3, 0, PCI_DEVICE, 2), 0x5678);
    assert_int_equal(cfg_read(r, 3, 0, PCI_CLASS + 1, 1), 0x02);
    assert_int_equal(cfg_read(r, 3, 0, PCI_REVISION, 1), 9);
    assert_int_equal(cfg_read(r, 3, 1, 0, 4), 0xffffffff);
    assert_int_equal(cfg_read(r, 4, 0, 0, 2), 0xffff);
    bus_write(r->host.pio, 0xcf8, 4, 0x80000000u | 1 << 16 | 3 << 11); /* bus 1 */
    assert_int_equal(bus_read(r->host.pio, 0xcfc, 4), 0xffffffff);
    bus_write(r->host.pio, 0xcf8, 4, 3 << 11); /* not enabled */
    assert_int_equal(bus_read(r->host.pio, 0xcfc, 4), 0xffffffff);
    bus_write(r->host.pio, 0xcfc, 4, 0);
    bus_write(r->host.pio, 0xcf8, 2, 0x1234); /* only dwords reach the address register */
    assert_int_equal(bus_read(r->host.pio, 0xcf8, 4), 3 << 11);
    assert_int_equal(c.written, 0);
    pci_remove(&c.func);
    assert_int_equal(cfg_read(r, 3, 0, 0, 4), 0xffffffff);
    rig_free(r);
}

static void places_are_checked(void **state)
{
    struct rig *r = new_host();
    struct pci_host *p = pci_host_of(r->d);
    struct card a, b;
    struct err e = {0};
    card_init(&a);
    card_init(&b);
    assert_int_equal(pci_add(p, &a.func, 31, 7, &e), 0);
    assert_int_equal(pci_add(p, &b.func, 31, 7, &e), -EEXIST);
    assert_string_equal(e.id, "pci-slot");
    assert_int_equal(pci_add(p, &b.func, 32, 0, &e), -EINVAL);
    assert_int_equal(pci_add(p, &b.func, 0, 8, &e), -EINVAL);
    pci_remove(&b.func); /* was never added: no effect */
    assert_int_equal(cfg_read(r, 31, 7, 0, 2), 0x1234);
    pci_remove(&a.func);
    assert_null(pci_host_new(&r->host, (struct irq_line){0}, &e));
    rig_free(r);
}

static void write_masks_hold(void **state)
{
    struct rig *r = new_host();
    struct card c;
    card_init(&c);
    c.func.config[0x40] = 0xf0;
    c.func.writable[0x40] = 0x0f;
    c.func.config[0x41] = 0xff;
    c.func.write_clear[0x41] = 0x81;
    c.func.config[PCI_STATUS + 1] = 0xf9;
    pci_add(pci_host_of(r->d), &c.func, 3, 0, NULL);
    cfg_write(r, 3, 0, PCI_VENDOR, 4, 0);
    assert_int_equal(cfg_read(r, 3, 0, PCI_VENDOR, 4), 0x56781234);
    assert_int_equal(c.written, 1);
    cfg_write(r, 3, 0, 0x40, 2, 0x0305);
    assert_int_equal(c.offset, 0x40);
    assert_int_equal(c.size, 2);
    assert_int_equal(cfg_read(r, 3, 0, 0x40, 4), 0xfef5);
    cfg_write(r, 3, 0, 0x41, 1, 0x80);
    assert_int_equal(cfg_read(r, 3, 0, 0x40, 2), 0x7ef5);
    cfg_write(r, 3, 0, PCI_STATUS, 2, 0x4000);
    assert_int_equal(cfg_read(r, 3, 0, PCI_STATUS, 2), 0xb900);
    cfg_write(r, 3, 0, PCI_INT_LINE, 2, 0xff0b);
    assert_int_equal(cfg_read(r, 3, 0, PCI_INT_LINE, 2), 0x010b); /* the pin is fixed */
    pci_func_reset(&c.func);
    assert_int_equal(cfg_read(r, 3, 0, 0x40, 2), 0xfff0);
    pci_remove(&c.func);
    rig_free(r);
}

static void bars_are_sized_and_moved(void **state)
{
    struct rig *r = new_host();
    struct bus *pio = r->host.pio, *mmio = r->host.mmio;
    struct card c;
    card_init(&c);
    pci_add(pci_host_of(r->d), &c.func, 3, 0, NULL);
    cfg_write(r, 3, 0, PCI_BAR0, 4, 0xffffffff);
    cfg_write(r, 3, 0, PCI_BAR0 + 4, 4, 0xffffffff);
    cfg_write(r, 3, 0, PCI_BAR0 + 8, 4, 0xffffffff);
    assert_int_equal(cfg_read(r, 3, 0, PCI_BAR0, 4), 0xffffffe1);
    assert_int_equal(cfg_read(r, 3, 0, PCI_BAR0 + 4, 4), 0xfffff000);
    assert_int_equal(cfg_read(r, 3, 0, PCI_BAR0 + 8, 4), 0);

    cfg_write(r, 3, 0, PCI_BAR0, 4, 0xc000);
    cfg_write(r, 3, 0, PCI_BAR0 + 4, 4, 0xe0001000);
    assert_int_equal(bus_read(pio, 0xc001, 1), 0xff); /* decoding is off */
    cfg_write(r, 3, 0, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(bus_read(pio, 0xc001, 1), 0xc1);
    assert_int_equal(bus_read(mmio, 0xe0001002, 1), 0xff);
    cfg_write(r, 3, 0, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    assert_int_equal(bus_read(mmio, 0xe0001002, 1), 0xc2);
    assert_string_equal(bus_name_at(mmio, 0xe0001000), "card");

    cfg_write(r, 3, 0, PCI_BAR0 + 5, 1, 0x30); /* a byte of the address */
    assert_int_equal(bus_read(mmio, 0xe0001002, 1), 0xff);
    assert_int_equal(bus_read(mmio, 0xe0003002, 1), 0xc2);
    /* Sizing with decoding on, and places where nothing can be. */
    static const uint32_t nowhere[] = {0xffffffff, 0, 0x10000};
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
        cfg_write(r, 3, 0, PCI_BAR0, 4, nowhere[i]);
        assert_int_equal(bus_read(pio, 0xc001, 1), 0xff);
        assert_null(bus_name_at(pio, 0xffff));
        assert_null(bus_name_at(pio, 0));
    }
    cfg_write(r, 3, 0, PCI_BAR0, 4, 0xce0); /* reaches over the PCI ports: refused */
    assert_int_equal(bus_read(pio, 0xce1, 1), 0xff);
    cfg_write(r, 3, 0, PCI_BAR0, 4, 0xc020);
    assert_int_equal(bus_read(pio, 0xc021, 1), 0xc1);

    uint8_t saved[PCI_CONFIG_BYTES];
    memcpy(saved, c.func.config, sizeof saved);
    pci_func_reset(&c.func);
    assert_int_equal(bus_read(pio, 0xc021, 1), 0xff);
    memcpy(c.func.config, saved, sizeof saved);
    pci_func_restored(&c.func);
    assert_int_equal(bus_read(pio, 0xc021, 1), 0xc1);
    pci_remove(&c.func);
    assert_null(bus_name_at(pio, 0xc020));
    assert_null(bus_name_at(mmio, 0xe0003000));
    rig_free(r);
}

static void bar_over_another_device_is_refused(void **state)
{
    struct rig *r = new_host();
    struct card c;
    card_init(&c);
    pci_add(pci_host_of(r->d), &c.func, 3, 0, NULL);
    assert_int_equal(bus_map(r->host.pio, 0x3f8, 8, &card_io, NULL, "com1", NULL), 0);
    cfg_write(r, 3, 0, PCI_COMMAND, 2, PCI_COMMAND_IO);
    cfg_write(r, 3, 0, PCI_BAR0, 4, 0x3e0);
    assert_string_equal(bus_name_at(r->host.pio, 0x3f8), "com1");
    assert_null(bus_name_at(r->host.pio, 0x3e0));
    cfg_write(r, 3, 0, PCI_BAR0, 4, 0x4e0);
    assert_string_equal(bus_name_at(r->host.pio, 0x4e0), "card");
    assert_string_equal(bus_name_at(r->host.pio, 0x3f8), "com1");
    pci_remove(&c.func);
    rig_free(r);
}

static void pins_are_ored_per_line(void **state)
{
    struct rig *r = new_host();
    struct card a, b;
    card_init(&a);
    card_init(&b);
    b.func.config[PCI_INT_PIN] = 2;
    pci_add(pci_host_of(r->d), &a.func, 4, 0, NULL); /* pin A of 4 and pin B of 3: PIRQD */
    pci_add(pci_host_of(r->d), &b.func, 3, 0, NULL);
    pci_intx(&a.func, 1);
    assert_string_equal(rig_trace(r), "+3 ");
    pci_intx(&a.func, 1);
    pci_intx(&b.func, 1);
    pci_intx(&a.func, 0);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(cfg_read(r, 3, 0, PCI_STATUS, 2), PCI_STATUS_INTX);
    assert_int_equal(cfg_read(r, 4, 0, PCI_STATUS, 2), 0);
    pci_intx(&b.func, 0);
    assert_string_equal(rig_trace(r), "-3 ");

    pci_intx(&b.func, 1);
    assert_string_equal(rig_trace(r), "+3 ");
    cfg_write(r, 3, 0, PCI_COMMAND, 2, PCI_COMMAND_INTX_OFF);
    assert_string_equal(rig_trace(r), "-3 ");
    assert_int_equal(cfg_read(r, 3, 0, PCI_STATUS, 2), PCI_STATUS_INTX);
    cfg_write(r, 3, 0, PCI_COMMAND, 2, 0);
    assert_string_equal(rig_trace(r), "+3 ");
    pci_func_reset(&b.func);
    assert_string_equal(rig_trace(r), "-3 ");
    a.func.config[PCI_INT_PIN] = 0; /* a function without a pin */
    pci_intx(&a.func, 1);
    assert_string_equal(rig_trace(r), "");
    pci_intx(&a.func, 0);
    pci_remove(&a.func);
    pci_remove(&b.func);
    rig_free(r);
}

/* A bus of a host bridge that has ways of its own, as Malta's. */
static void bus_without_ports(void **state)
{
    struct rig *r = rig_new();
    struct irq_line pirq[4] = {rig_line(r, 0), rig_line(r, 1), rig_line(r, 2), rig_line(r, 3)};
    struct card a, b;
    uint32_t value = 1;
    r->d = pci_bus_new(&r->host, 1, NULL);
    struct pci_host *pci = pci_host_of(r->d);
    pci_set_pirq(pci, pirq);
    assert_null(bus_name_at(r->host.pio, 0xcf8));
    assert_null(bus_name_at(r->host.pio, 0xcfc));
    card_init(&a);
    card_init(&b);
    pci_add(pci, &b.func, 18, 5, NULL);
    assert_int_equal(b.func.config[PCI_HEADER_TYPE], 0);
    pci_add(pci, &a.func, 18, 0, NULL);
    assert_int_equal(b.func.config[PCI_HEADER_TYPE], 0);
    assert_int_equal(a.func.config[PCI_HEADER_TYPE], PCI_HEADER_MULTIFUNCTION);
    pci_func_reset(&a.func);
    assert_true(pci_config_read(pci, 18 << 11 | PCI_HEADER_TYPE, 2, 1, &value));
    assert_int_equal(value, PCI_HEADER_MULTIFUNCTION);
    assert_true(pci_config_read(pci, 18 << 11 | 5 << 8, 0, 4, &value));
    assert_int_equal(value, 0x56781234);
    assert_false(pci_config_read(pci, 18 << 11 | 6 << 8, 0, 2, &value));
    assert_int_equal(value, 0xffff);
    assert_false(pci_config_read(pci, 1 << 16 | 18 << 11, 0, 4, &value)); /* bus 1 */
    assert_true(pci_config_write(pci, 18 << 11 | PCI_INT_LINE, 0, 1, 0x5a));
    assert_false(pci_config_write(pci, 19 << 11 | PCI_INT_LINE, 0, 1, 0x5a));
    assert_int_equal(a.func.config[PCI_INT_LINE], 0x5a);
    pci_intx(&a.func, 1); /* 18 + 1 + 1 */
    assert_string_equal(rig_trace(r), "+0 ");
    pci_config_write(pci, 18 << 11 | PCI_BAR0, 0, 4, 0x1000);
    pci_config_write(pci, 18 << 11 | PCI_COMMAND, 0, 2, PCI_COMMAND_IO);
    assert_string_equal(bus_name_at(r->host.pio, 0x1000), "card");
    pci_remove(&b.func);
    r->d->ops->free(r->d); /* before its function */
    r->d = NULL;
    assert_string_equal(rig_trace(r), "-0 ");
    assert_null(bus_name_at(r->host.pio, 0x1000));
    pci_remove(&a.func);
    rig_free(r);
}

static void pm_moved(void *opaque, uint16_t port)
{
    char text[16];
    snprintf(text, sizeof text, "pm=%x ", port);
    rig_note(opaque, text);
}

static void power_management_moves(void **state)
{
    struct rig *r = new_host();
    struct piix4_wiring w = {.pm_base = 0x600, .slot = 10, .pm_moved = pm_moved, .opaque = r};
    struct device *south = piix4_new(pci_host_of(r->d), &w, NULL);
    assert_string_equal(rig_trace(r), "pm=600 ");
    assert_int_equal(cfg_read(r, 10, 0, 0, 4), 0x71108086);
    cfg_write(r, 10, 3, 0x40, 2, 0x103f);
    assert_string_equal(rig_trace(r), "pm=1000 ");
    assert_int_equal(cfg_read(r, 10, 3, 0x40, 4), 0x1001);
    cfg_write(r, 10, 3, 0x80, 1, 0);
    assert_string_equal(rig_trace(r), "pm=0 ");
    cfg_write(r, 10, 3, 0x44, 4, 0x12345678);
    assert_string_equal(rig_trace(r), "");
    south->ops->reset(south);
    assert_string_equal(rig_trace(r), "pm=600 ");
    south->ops->free(south);
    rig_free(r);
}

static void reset_control_pulses_the_line(void **state)
{
    struct rig *r = new_host();
    out8(r, 0xcf9, 0x02);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(in8(r, 0xcf9), 0x02);
    out8(r, 0xcf9, 0x06);
    assert_string_equal(rig_trace(r), "+13 -13 ");
    out8(r, 0xcf9, 0x06); /* no rising edge of bit 2 */
    assert_string_equal(rig_trace(r), "");
    out8(r, 0xcf9, 0x00);
    out8(r, 0xcf9, 0x0e);
    assert_string_equal(rig_trace(r), "+13 -13 ");
    assert_int_equal(bus_read(r->host.pio, 0xcf8, 4), 0); /* the address was left alone */
    select_function(r, 1, 0, 0);
    r->d->ops->reset(r->d);
    assert_int_equal(in8(r, 0xcf9), 0);
    assert_int_equal(bus_read(r->host.pio, 0xcf8, 4), 0);
    rig_free(r);
}

static void chipset_identity(void **state)
{
    struct rig *r = new_host();
    struct piix4_wiring w = {.pm_base = 0x600};
    struct phys *mem = NULL;
    struct device *north = new_north(r, &mem, NULL);
    struct device *south = piix4_new(pci_host_of(r->d), &w, NULL);
    assert_non_null(north);
    assert_non_null(south);
    assert_int_equal(cfg_read(r, 0, 0, 0, 4), 0x12378086);
    assert_int_equal(cfg_read(r, 0, 0, PCI_CLASS, 2), 0x0600);
    assert_int_equal(cfg_read(r, 1, 0, 0, 4), 0x71108086);
    assert_int_equal(cfg_read(r, 1, 0, PCI_CLASS, 2), 0x0601);
    assert_int_equal(cfg_read(r, 1, 0, PCI_HEADER_TYPE, 1), 0x80);
    assert_int_equal(cfg_read(r, 1, 3, 0, 4), 0x71138086);
    assert_int_equal(cfg_read(r, 1, 3, PCI_CLASS, 2), 0x0680);
    assert_int_equal(cfg_read(r, 1, 3, 0x40, 4), 0x601);
    cfg_write(r, 0, 0, 0x59, 1, 0xff);
    assert_int_equal(cfg_read(r, 0, 0, 0x59, 1), 0x30);
    north->ops->reset(north);
    assert_int_equal(cfg_read(r, 0, 0, 0x59, 1), 0);
    struct err e = {0};
    assert_null(new_north(r, &mem, &e));
    assert_null(piix4_new(pci_host_of(r->d), &w, &e));
    assert_int_equal(cfg_read(r, 1, 0, 0, 4), 0x71108086);
    south->ops->free(south);
    north->ops->free(north);
    phys_free(mem);
    assert_int_equal(cfg_read(r, 1, 3, 0, 4), 0xffffffff);
    rig_free(r);
}

static void piix4_routes_interrupts(void **state)
{
    struct rig *r = new_host();
    struct piix4_wiring w = {.route = {10, 11, 5, 0}, .pm_base = 0x600};
    for (unsigned n = 0; n < 16; n++)
        w.isa[n] = rig_line(r, n);
    struct device *south = piix4_new(pci_host_of(r->d), &w, NULL);
    assert_non_null(south);
    struct card a, b;
    card_init(&a);
    card_init(&b);
    pci_add(pci_host_of(r->d), &a.func, 5, 0, NULL); /* PIRQA */
    pci_add(pci_host_of(r->d), &b.func, 6, 0, NULL); /* PIRQB */
    assert_int_equal(cfg_read(r, 1, 0, 0x60, 4), 0x80050b0a);

    pci_intx(&a.func, 1);
    pci_intx(&b.func, 1);
    assert_string_equal(rig_trace(r), "+10 +11 ");
    cfg_write(r, 1, 0, 0x61, 1, 10); /* both on 10 */
    assert_string_equal(rig_trace(r), "-11 ");
    pci_intx(&a.func, 0);
    assert_string_equal(rig_trace(r), "");
    pci_intx(&b.func, 0);
    assert_string_equal(rig_trace(r), "-10 ");
    pci_intx(&b.func, 1);
    assert_string_equal(rig_trace(r), "+10 ");
    cfg_write(r, 1, 0, 0x61, 1, 0x8a); /* off */
    assert_string_equal(rig_trace(r), "-10 ");
    cfg_write(r, 1, 0, 0x60, 4, 0x00000200); /* 0 and 2 are no PCI interrupts */
    assert_string_equal(rig_trace(r), "");
    cfg_write(r, 1, 0, 0x60, 2, 0x0500 | 0x7f);
    assert_int_equal(cfg_read(r, 1, 0, 0x60, 1), 0x0f);
    assert_string_equal(rig_trace(r), "+5 ");
    pci_func_reset(&b.func);
    assert_string_equal(rig_trace(r), "-5 ");
    south->ops->reset(south);
    assert_int_equal(cfg_read(r, 1, 0, 0x60, 4), 0x80050b0a);
    pci_intx(&b.func, 1);
    assert_string_equal(rig_trace(r), "+11 ");
    pci_remove(&a.func);
    pci_remove(&b.func);
    assert_string_equal(rig_trace(r), "-11 ");
    south->ops->free(south);
    rig_free(r);
}

/* Whatever a guest writes: read-only bytes stay, nothing but a BAR moves, reset undoes it all. */
static void random_configuration_is_survived(void **state)
{
    struct rig *r = new_host();
    struct piix4_wiring w = {.route = {10, 10, 11, 11}, .pm_base = 0x600};
    struct phys *mem = NULL;
    struct device *north = new_north(r, &mem, NULL);
    struct device *south = piix4_new(pci_host_of(r->d), &w, NULL);
    static const uint8_t devfns[] = {0x00, 0x08, 0x0b, 0x18, 0x20};
    struct card c[2];
    uint64_t seed = 11;
    unsigned mapped = 0;

    r->log.level = LOG_ERROR;
    for (unsigned i = 0; i < 2; i++) {
        card_init(&c[i]);
        pci_add(pci_host_of(r->d), &c[i].func, 3 + i, 0, NULL);
    }
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t x = rig_random(&seed);
        unsigned devfn = devfns[x % 5], at = x >> 8 & (x >> 24 & 3 ? 0x17 : 0x7f),
                 size = 1u << (x >> 16 & 3) % 3;
        uint32_t value = (uint32_t)(x >> 32);
        if (x >> 20 & 1) /* places where a BAR may collide with its neighbour */
            value &= 0x3063u >> 8 * (at & 3 & ~(size - 1));
        cfg_write(r, devfn >> 3, devfn & 7, at & ~(size - 1), size, value);
        if (x >> 21 & 1)
            pci_intx(&c[x >> 22 & 1].func, x >> 23 & 1);
        mapped += c[0].func.bar[0].mapped && c[1].func.bar[0].mapped;
    }
    assert_true(mapped > 1000);
    assert_int_equal(cfg_read(r, 0, 0, 0, 4), 0x12378086);
    assert_int_equal(cfg_read(r, 3, 0, 0, 4), 0x56781234);
    assert_int_equal(cfg_read(r, 1, 3, 0x40, 4), 0x601);
    pci_remove(&c[0].func);
    pci_remove(&c[1].func);
    for (unsigned port = 0; port < 0x10000; port++)
        assert_true((bus_name_at(r->host.pio, port) != NULL) == (port >= 0xcf8 && port <= 0xcff));
    for (unsigned n = 0; n < 16; n++)
        assert_int_equal(r->level[n], 0);
    south->ops->free(south);
    north->ops->free(north);
    phys_free(mem);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanism_1_selects_functions),
        cmocka_unit_test(places_are_checked),
        cmocka_unit_test(write_masks_hold),
        cmocka_unit_test(bars_are_sized_and_moved),
        cmocka_unit_test(bar_over_another_device_is_refused),
        cmocka_unit_test(pins_are_ored_per_line),
        cmocka_unit_test(bus_without_ports),
        cmocka_unit_test(power_management_moves),
        cmocka_unit_test(reset_control_pulses_the_line),
        cmocka_unit_test(chipset_identity),
        cmocka_unit_test(piix4_routes_interrupts),
        cmocka_unit_test(random_configuration_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
