/* SPDX-License-Identifier: MIT */
/* The pc board's stand-in for firmware: what a BIOS leaves behind in memory and chips, then the
 * kernel, then the processor as the loader's plan wants it (boot/boot.h).
 *
 * BIOS leftovers: the two words of the BIOS data area that kernels look at (extended data area
 * and base memory size), CMOS memory sizes, trigger modes of the interrupt controller (PCI and
 * ACPI interrupts are levels), ACPI tables, and A20 on. Left out: interrupt vectors and
 * services; what calls them needs real firmware. */
#include "board/pc_firmware.h"

#include "board/pc_display.h"
#include "boot/acpi_tables.h"
#include "isa/x86/trap.h"
#include "ring3/devices/acpi_pm.h"
#include "ring3/devices/mc146818.h"

#define BDA_EBDA_SEGMENT 0x40eu
#define BDA_BASE_KIB     0x413u
#define BDA_VIDEO        0x449u
#define CMOS_EQUIPMENT   0x14u
#define EQUIPMENT_FPU    0x02u
#define EQUIPMENT_MOUSE  0x04u
#define PORT_ELCR_HIGH   0x4d1u

/* Memory as the BIOS would report it (INT 15h AX=E820h). Returns the number of entries. */
static size_t make_memory_map(uint64_t ram, struct boot_e820 map[4])
{
    size_t n = 0;
    map[n++] = (struct boot_e820){0, PC_EBDA, E820_RAM};
    map[n++] = (struct boot_e820){PC_EBDA, PC_LOW_END - PC_EBDA, E820_RESERVED};
    map[n++] = (struct boot_e820){PC_ROM_START, PC_HIGH_START - PC_ROM_START, E820_RESERVED};
    if (ram > PC_HIGH_START)
        map[n++] = (struct boot_e820){PC_HIGH_START, ram - PC_HIGH_START, E820_RAM};
    return n;
}

void pc_acpi_config(const struct pc *pc, struct acpi_config *c)
{
    *c = (struct acpi_config){
        .chips = ACPI_HAS_RTC | ACPI_HAS_KEYBOARD | ACPI_HAS_MOUSE | ACPI_HAS_COM1 | ACPI_HAS_APIC |
                 ACPI_HAS_HPET,
        .pirq = {PC_PIRQ_A, PC_PIRQ_B, PC_PIRQ_C, PC_PIRQ_D},
        .pci_start = PC_MAX_RAM,
        .pci_end = PC_PCI_END,
    };
    if (pc->fdc)
        c->chips |= ACPI_HAS_FLOPPY;
}

/* Mode 3, 80 columns, 4 KiB a page, cursor of lines 13 and 14, CRTC at 3d4. */
static const uint8_t bda_video[0x465 - BDA_VIDEO] = {
    [0x00] = 3, [0x01] = 80, [0x04] = 0x10, [0x17] = 14, [0x18] = 13, [0x1a] = 0xd4, [0x1b] = 3};

static int leave_bios_traces(struct pc *pc, struct err *e)
{
    struct vm *vm = pc->vm;
    uint16_t ebda = PC_EBDA >> 4, base_kib = PC_EBDA / KIB;
    uint8_t ebda_kib = (PC_LOW_END - PC_EBDA) / KIB;
    uint16_t level =
        1u << ACPI_SCI_IRQ | 1u << PC_PIRQ_A | 1u << PC_PIRQ_B | 1u << PC_PIRQ_C | 1u << PC_PIRQ_D;
    phys_write(vm->mem, BDA_EBDA_SEGMENT, &ebda, sizeof ebda);
    phys_write(vm->mem, BDA_BASE_KIB, &base_kib, sizeof base_kib);
    phys_write(vm->mem, PC_EBDA, &ebda_kib, sizeof ebda_kib);
    if (pc->vga)
        phys_write(vm->mem, BDA_VIDEO, bda_video, sizeof bda_video);
    mc146818_set_memory(pc->rtc, vm->config.ram_bytes);
    mc146818_set_cmos(pc->rtc, CMOS_EQUIPMENT,
                      EQUIPMENT_FPU | EQUIPMENT_MOUSE | pc_floppy_equipment(pc));
    bus_write(vm->pio, PORT_ELCR_HIGH, 1, level >> 8);
    x86_set_a20(pc->cpu, true);
    struct acpi_config acpi;
    pc_acpi_config(pc, &acpi);
    return acpi_tables_load(vm->mem, &acpi, e);
}

static void start_processor(struct x86_vcpu *v, const struct boot_plan *p)
{
    /* base 0, limit 4 GiB, DPL 0, accessed: execute/read code, read/write data */
    const uint32_t lo = 0x0000ffff, code_hi = 0x00cf9b00, data_hi = 0x00cf9300;
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = p->gpr[i];
    v->eip = p->entry;
    v->cr0 = CR0_PE | CR0_ET;
    v->gdtr = (struct x86_dtr){p->gdt_base, p->gdt_limit};
    for (enum x86_sreg s = X86_ES; s <= X86_GS; s++) {
        x86_seg_from_desc(&v->seg[s], lo, s == X86_CS ? code_hi : data_hi);
        v->seg[s].sel = s == X86_CS ? p->cs_sel : p->ds_sel;
    }
    x86_set_eflags(v, FL_FIXED);
    x86_set_cpl(v, 0);
    x86_update_mode(v); /* of all segments */
}

int pc_boot(struct pc *pc, struct err *e)
{
    const struct vm_config *c = &pc->vm->config;
    struct boot_e820 map[4];
    struct boot_request req = {.kernel = c->kernel,
                               .initrd = c->initrd,
                               .append = c->append,
                               .text_screen = pc->vga,
                               .mem = pc->vm->mem,
                               .map = map,
                               .map_count = make_memory_map(c->ram_bytes, map)};
    struct boot_plan plan;
    if (c->restoring)
        return 0;
    if (pc_has_firmware(pc)) {
        pc_firmware_start(pc);
        return 0;
    }
    int r = leave_bios_traces(pc, e);
    pc_display_boot(pc);
    if (r == 0)
        r = boot_load(&req, &plan, e);
    if (r == 0)
        start_processor(pc->cpu, &plan);
    return r;
}
