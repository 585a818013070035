/* SPDX-License-Identifier: MIT */
/* ACPI tables (ACPI Specification 2.0, chapter 5): RSDP (version 1), RSDT, FADT (revision 3, for
 * its reset register), FACS, DSDT. The DSDT in ASL:
 *
 *   Scope (\) { Name (_S5, Package {0, 0, 0, 0}) }
 *   Scope (\_SB) {
 *     Device (PCI0) { _HID PNP0A03, _CRS: bus 0, ports, memory; _PRT: fixed interrupts
 *       Device (ISA_) { _ADR 0x00010000
 *         Device (RTC_) (KBD_) (MOU_) (COM1) (FDC0) ... } } }
 *
 * and, where the machine has them, MADT (APICs) and HPET. Left out: processors and C-states,
 * general-purpose events. */
#include "boot/acpi_tables.h"

#include <errno.h>
#include <string.h>

#include "boot/aml.h"
#include "ring3/devices/acpi_pm.h"
#include "ring3/devices/hpet.h"
#include "ring3/devices/ioapic.h"
#include "ring3/devices/lapic.h"
#include "ring3/devices/pci.h"

#define OEM_ID        "RING3 "
#define OEM_TABLE     "RING3PC "
#define HEADER_BYTES  36
#define FACS_BYTES    64
#define FADT_BYTES    244
#define FADT_REVISION 3

/* Places within the area; the FACS must be 64-byte aligned. */
enum {
    AT_RSDP = 0x00,
    AT_RSDT = 0x20,
    AT_FACS = 0x80,
    AT_FADT = 0x100,
    AT_MADT = 0x200,
    AT_HPET = 0x2c0,
    AT_DSDT = 0x300,
};
_Static_assert(ACPI_BLOCK_BYTES <= ACPI_TABLES_BYTES, "tables fit");

/* FADT fields. */
enum {
    FADT_FACS = 36,
    FADT_DSDT = 40,
    FADT_SCI_INT = 46,
    FADT_SMI_CMD = 48,
    FADT_ACPI_ENABLE = 52,
    FADT_ACPI_DISABLE = 53,
    FADT_PM1A_EVT = 56,
    FADT_PM1A_CNT = 64,
    FADT_PM_TMR = 76,
    FADT_PM1_EVT_LEN = 88,
    FADT_PM1_CNT_LEN = 89,
    FADT_PM_TMR_LEN = 91,
    FADT_C2_LATENCY = 96,
    FADT_C3_LATENCY = 98,
    FADT_CENTURY = 108,
    FADT_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_X_DSDT = 140,
    FADT_X_PM1A_EVT = 148,
    FADT_X_PM1A_CNT = 172,
    FADT_X_PM_TMR = 208,
};
#define ARCH_LEGACY_DEVICES  0x01
#define ARCH_8042            0x02
#define ARCH_NO_VGA          0x04
#define ARCH_NO_RTC          0x20
#define FLAG_WBINVD          (1u << 0)
#define FLAG_C1              (1u << 2)
#define FLAG_NO_SLEEP_BUTTON (1u << 5) /* the power button is fixed hardware: bit 4 clear */
#define FLAG_NO_RTC_WAKE     (1u << 6)
#define FLAG_RESET           (1u << 10)
#define NO_C2                101  /* microseconds; above 100 means absent */
#define NO_C3                1001 /* above 1000 */
#define RTC_CENTURY          0x32 /* CMOS index */

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* The byte that makes the sum of all n bytes 0. */
static uint8_t checksum(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;

    while (n--)
        sum += *p++;
    return (uint8_t)-sum;
}

static void header(struct acpi_block *b, unsigned at, const char *signature, uint32_t bytes,
                   uint8_t revision)
{
    uint8_t *p = b->bytes + at;

    memcpy(p, signature, 4);
    put(p + 4, bytes, 4);
    p[8] = revision;
    memcpy(p + 10, OEM_ID, 6);
    memcpy(p + 16, OEM_TABLE, 8);
    put(p + 24, 1, 4);
    memcpy(p + 28, "RNG3", 4);
    put(p + 32, 1, 4);
    p[ACPI_TABLE_SUM] = checksum(p, bytes);
    if (b->tables == ACPI_MAX_TABLES)
        BUG("too many ACPI tables");
    b->table[b->tables++] = (struct acpi_table){(uint16_t)at, (uint16_t)bytes};
}

/* At offset `at`: the address of what is at offset `to`. */
static void pointer(struct acpi_block *b, unsigned at, unsigned bytes, unsigned to)
{
    put(b->bytes + at, (uint64_t)b->base + to, bytes);
    if (b->pointers == ACPI_MAX_POINTERS)
        BUG("too many pointers in ACPI tables");
    b->pointer[b->pointers++] = (struct acpi_pointer){(uint16_t)at, (uint8_t)bytes};
}

/* Generic address structure: a port of the given width. */
static void port_address(uint8_t *p, uint16_t port, unsigned bits)
{
    p[0] = 1; /* system I/O */
    p[1] = (uint8_t)bits;
    p[3] = (uint8_t)(bits == 8 ? 1 : bits == 16 ? 2 : 3); /* access size */
    put(p + 4, port, 8);
}

static void build_rsdp(struct acpi_block *b)
{
    uint8_t *p = b->bytes + AT_RSDP;

    memcpy(p, "RSD PTR ", 8);
    memcpy(p + 9, OEM_ID, 6);
    pointer(b, AT_RSDP + 16, 4, AT_RSDT);
    p[ACPI_RSDP_SUM] = checksum(p, ACPI_RSDP_BYTES);
}

static void build_rsdt(struct acpi_block *b, const struct acpi_config *c)
{
    unsigned at = AT_RSDT + HEADER_BYTES;

    pointer(b, at, 4, AT_FADT); /* FACS and DSDT hang off the FADT */
    if (c->chips & ACPI_HAS_APIC)
        pointer(b, at += 4, 4, AT_MADT);
    if (c->chips & ACPI_HAS_HPET)
        pointer(b, at += 4, 4, AT_HPET);
    header(b, AT_RSDT, "RSDT", at + 4 - AT_RSDT, 1);
}

static void build_facs(uint8_t *p)
{
    memcpy(p, "FACS", 4);
    put(p + 4, FACS_BYTES, 4);
    p[32] = 1; /* version */
}

static void build_fadt(struct acpi_block *b, const struct acpi_config *c)
{
    uint8_t *p = b->bytes + AT_FADT;
    unsigned arch = ARCH_LEGACY_DEVICES;

    if (c->chips & (ACPI_HAS_KEYBOARD | ACPI_HAS_MOUSE))
        arch |= ARCH_8042;
    if (!(c->chips & ACPI_HAS_VGA))
        arch |= ARCH_NO_VGA;
    if (!(c->chips & ACPI_HAS_RTC))
        arch |= ARCH_NO_RTC;
    pointer(b, AT_FADT + FADT_FACS, 4, AT_FACS); /* its 64-bit twin must then be 0 */
    pointer(b, AT_FADT + FADT_DSDT, 4, AT_DSDT);
    put(p + FADT_SCI_INT, ACPI_SCI_IRQ, 2);
    put(p + FADT_SMI_CMD, ACPI_SMI_PORT, 4);
    p[FADT_ACPI_ENABLE] = ACPI_SMI_ENABLE;
    p[FADT_ACPI_DISABLE] = ACPI_SMI_DISABLE;
    put(p + FADT_PM1A_EVT, ACPI_PM_BASE + ACPI_PM1_EVENT, 4);
    put(p + FADT_PM1A_CNT, ACPI_PM_BASE + ACPI_PM1_CONTROL, 4);
    put(p + FADT_PM_TMR, ACPI_PM_BASE + ACPI_PM_TIMER, 4);
    p[FADT_PM1_EVT_LEN] = 4;
    p[FADT_PM1_CNT_LEN] = 2;
    p[FADT_PM_TMR_LEN] = 4;
    put(p + FADT_C2_LATENCY, NO_C2, 2);
    put(p + FADT_C3_LATENCY, NO_C3, 2);
    p[FADT_CENTURY] = c->chips & ACPI_HAS_RTC ? RTC_CENTURY : 0;
    put(p + FADT_BOOT_ARCH, arch, 2);
    put(p + FADT_FLAGS,
        FLAG_WBINVD | FLAG_C1 | FLAG_NO_SLEEP_BUTTON | FLAG_NO_RTC_WAKE | FLAG_RESET, 4);
    port_address(p + FADT_RESET_REG, PCI_RESET_PORT, 8);
    p[FADT_RESET_VALUE] = PCI_RESET_VALUE;
    pointer(b, AT_FADT + FADT_X_DSDT, 8, AT_DSDT);
    port_address(p + FADT_X_PM1A_EVT, ACPI_PM_BASE + ACPI_PM1_EVENT, 32);
    port_address(p + FADT_X_PM1A_CNT, ACPI_PM_BASE + ACPI_PM1_CONTROL, 16);
    port_address(p + FADT_X_PM_TMR, ACPI_PM_BASE + ACPI_PM_TIMER, 32);
    header(b, AT_FADT, "FACP", FADT_BYTES, FADT_REVISION);
}

/* ---- MADT and HPET --------------------------------------------------------------------------- */

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4 };
#define MADT_HEADER   44
#define MADT_PCAT     1u /* there are 8259s as well */
#define CONFORMS      0u
#define LEVEL_HIGH    0xdu
#define HPET_BYTES    56
#define HPET_MIN_TICK 128 /* in periodic mode: 1.28 us */

/* ISA interrupt `irq` is input `pin` of the I/O APIC. */
static uint8_t *put_override(uint8_t *p, unsigned irq, unsigned pin, unsigned flags)
{
    p[0] = MADT_OVERRIDE;
    p[1] = 10;
    p[3] = (uint8_t)irq;
    put(p + 4, pin, 4);
    put(p + 8, flags, 2);
    return p + 10;
}

static void build_madt(struct acpi_block *b, const struct acpi_config *c)
{
    uint8_t *start = b->bytes + AT_MADT, *p = start + MADT_HEADER;

    put(start + 36, LAPIC_BASE, 4);
    put(start + 40, MADT_PCAT, 4);
    memcpy(p, (uint8_t[8]){MADT_LAPIC, 8, 0, 0, 1}, 8); /* processor 0, APIC 0, enabled */
    p += 8;
    memcpy(p, (uint8_t[4]){MADT_IOAPIC, 12}, 4);
    put(p + 4, IOAPIC_BASE, 4);
    put(p + 8, 0, 4); /* its first global interrupt */
    p += 12;
    p = put_override(p, 0, 2, CONFORMS);
    for (unsigned irq = 3; irq < 16; irq++) /* levels: ACPI's and PCI's */
        if (irq == ACPI_SCI_IRQ || memchr(c->pirq, (int)irq, sizeof c->pirq))
            p = put_override(p, irq, irq, LEVEL_HIGH);
    memcpy(p, (uint8_t[6]){MADT_LAPIC_NMI, 6, 0xff, 0, 0, 1}, 6); /* LINT1 of all */
    p += 6;
    header(b, AT_MADT, "APIC", (uint32_t)(p - start), 1);
}

static void build_hpet(struct acpi_block *b)
{
    uint8_t *p = b->bytes + AT_HPET;

    put(p + 36, HPET_ID, 4);
    put(p + 44, HPET_BASE, 8); /* generic address: memory, width not said */
    put(p + 53, HPET_MIN_TICK, 2);
    header(b, AT_HPET, "HPET", HPET_BYTES, 1);
}

/* ---- DSDT ------------------------------------------------------------------------------------ */

static const struct chip {
    unsigned flag;
    const char *name, *id;
    struct {
        uint16_t port;
        uint8_t len;
    } io[2];
    uint8_t irq, dma; /* dma: bits per channel */
} chips[] = {
    {ACPI_HAS_RTC, "RTC_", "PNP0B00", {{0x70, 2}}, 8},
    {ACPI_HAS_KEYBOARD, "KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, 1},
    {ACPI_HAS_MOUSE, "MOU_", "PNP0F13", {{0}}, 12},
    {ACPI_HAS_COM1, "COM1", "PNP0501", {{0x3f8, 8}}, 4},
    {ACPI_HAS_FLOPPY, "FDC0", "PNP0700", {{0x3f0, 6}, {0x3f7, 1}}, 6, 1 << 2},
};

static void put_chips(struct aml *a, const struct acpi_config *c)
{
    size_t isa = aml_begin_device(a, "ISA_");

    aml_name(a, "_ADR");
    aml_int(a, 0x00010000); /* device 1, function 0 */
    for (size_t i = 0; i < ARRAY_LEN(chips); i++) {
        if (!(c->chips & chips[i].flag))
            continue;
        size_t device = aml_begin_device(a, chips[i].name);
        aml_name(a, "_HID");
        aml_eisa_id(a, chips[i].id);
        aml_name(a, "_CRS");
        size_t resources = aml_begin_resources(a);
        for (size_t n = 0; n < ARRAY_LEN(chips[i].io) && chips[i].io[n].len; n++)
            aml_res_io(a, chips[i].io[n].port, chips[i].io[n].len);
        aml_res_irq(a, chips[i].irq);
        if (chips[i].dma)
            aml_res_dma(a, chips[i].dma);
        aml_end_resources(a, resources);
        aml_end(a, device);
    }
    aml_end(a, isa);
}

/* _PRT: Package {device << 16 | 0xffff, pin, 0, interrupt} for each pin of devices 1 to 31. */
static void put_routing(struct aml *a, const struct acpi_config *c)
{
    if (!c->pirq[0] || !c->pirq[1] || !c->pirq[2] || !c->pirq[3])
        return;
    aml_name(a, "_PRT");
    size_t table = aml_begin_package(a, 31 * 4);
    for (unsigned device = 1; device < 32; device++)
        for (unsigned pin = 0; pin < 4; pin++) {
            size_t row = aml_begin_package(a, 4);
            aml_int(a, device << 16 | 0xffff);
            aml_int(a, pin);
            aml_int(a, 0);
            aml_int(a, c->pirq[pci_pirq_of(device, pin + 1)]);
            aml_end(a, row);
        }
    aml_end(a, table);
}

static void put_pci(struct aml *a, const struct acpi_config *c)
{
    size_t pci = aml_begin_device(a, "PCI0");

    aml_name(a, "_HID");
    aml_eisa_id(a, "PNP0A03"); /* no _ADR beside a _HID; the root bus is 0 by default */
    aml_name(a, "_CRS");
    size_t resources = aml_begin_resources(a);
    aml_res_bus_numbers(a, 0, 0);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0x0000, 0x0cf7);
    aml_res_io_window(a, 0x0d00, 0xffff);
    aml_res_memory_window(a, 0xa0000, 0xbffff); /* VGA */
    if (c->pci_end > c->pci_start)
        aml_res_memory_window(a, (uint32_t)c->pci_start, (uint32_t)(c->pci_end - 1));
    aml_end_resources(a, resources);
    put_routing(a, c);
    put_chips(a, c);
    aml_end(a, pci);
}

static int build_dsdt(struct acpi_block *b, const struct acpi_config *c)
{
    struct aml a = {
        .p = b->bytes + AT_DSDT, .used = HEADER_BYTES, .room = ACPI_BLOCK_BYTES - AT_DSDT};

    aml_name(&a, "_S5_");
    size_t s5 = aml_begin_package(&a, 4);
    aml_int(&a, ACPI_S5_TYPE); /* for PM1a */
    aml_int(&a, ACPI_S5_TYPE); /* for PM1b, which does not exist */
    aml_int(&a, 0);
    aml_int(&a, 0);
    aml_end(&a, s5);
    size_t sb = aml_begin_scope(&a, "\\_SB_");
    put_pci(&a, c);
    aml_end(&a, sb);
    if (a.full)
        return -ENOSPC;
    header(b, AT_DSDT, "DSDT", (uint32_t)a.used, 1); /* revision 1: integers have 32 bits */
    return 0;
}

void acpi_tables_build(struct acpi_block *b, uint32_t base, const struct acpi_config *c)
{
    *b = (struct acpi_block){.base = base};
    build_rsdp(b);
    build_rsdt(b, c);
    build_facs(b->bytes + AT_FACS);
    build_fadt(b, c);
    if (c->chips & ACPI_HAS_APIC)
        build_madt(b, c);
    if (c->chips & ACPI_HAS_HPET)
        build_hpet(b);
    if (build_dsdt(b, c) < 0)
        BUG("the DSDT does not fit");
}

int acpi_tables_load(struct phys *mem, const struct acpi_config *c, struct err *e)
{
    struct acpi_block b;

    acpi_tables_build(&b, ACPI_TABLES_GPA, c);
    if (phys_load(mem, ACPI_TABLES_GPA, b.bytes, sizeof b.bytes) < 0)
        return err_set(e, EINVAL, "memory-map", "no memory at 0x%x for the ACPI tables",
                       ACPI_TABLES_GPA);
    return 0;
}
