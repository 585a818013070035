/* SPDX-License-Identifier: MIT */
/* Firmware on the pc board: SeaBIOS as Debian's package seabios has it.
 *
 *   4 GiB - size   the whole image, ROM
 *   0xe0000        its last 128 KiB while shadow RAM is off (i440fx); firmware copies itself into
 *                  shadow RAM and runs there
 *
 * The machine describes itself through fw_cfg: memory, ACPI tables with the script that places
 * them, choices of the boot menu. The order in which drives are tried is in CMOS memory, where
 * SeaBIOS looks for it on virtual machines: three digits, 1 floppy, 2 disk, 3 CD, 4 option ROM.
 * A kernel of the command line is such a ROM (boot/kernel_rom.h). */
#include "board/pc_firmware.h"

#include <string.h>

#include "board/pc_display.h"
#include "boot/acpi_loader.h"
#include "boot/bios.h"
#include "boot/kernel_rom.h"
#include "ring3/devices/fw_cfg.h"
#include "ring3/devices/mc146818.h"
#include "ring3/devices/ns16550.h"

#define TAIL_MAX (128 * KIB)

/* CMOS memory as SeaBIOS reads it. */
#define CMOS_BOOT_THIRD  0x38 /* bits 7..4 */
#define CMOS_TRANSLATION 0x39 /* of IDE disks, two bits each */
#define CMOS_BOOT_FIRST  0x3d /* bits 3..0; second: bits 7..4 */
#define TRANSLATE_LBA    0x55 /* 63 sectors, as many heads as needed: four disks */

#define BOOT_ROM 4

#define E820_BYTES 20

bool pc_has_firmware(const struct pc *pc)
{
    return pc->vm->config.firmware || !pc->vm->config.kernel;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int load_bios(struct pc *pc, const struct image *img, struct i440fx_config *c, struct err *e)
{
    uint64_t offset, bytes = img->bytes, tail = bytes < TAIL_MAX ? bytes : TAIL_MAX;
    gpa_t top = PHYS_LIMIT - bytes;
    int r = phys_extra(pc->vm->mem, bytes, &offset, e);

    if (r == 0)
        r = phys_map_rom(pc->vm->mem, top, offset, bytes, e);
    if (r == 0)
        r = image_load(img, 0, bytes, pc->vm->mem, top, e);
    for (unsigned i = 0; i < I440FX_PIECES; i++) {
        uint64_t below = (I440FX_PIECES - i) * I440FX_PIECE_BYTES; /* bytes to 1 MiB */
        if (below <= tail)
            c->behind[i] = (struct i440fx_behind){PHYS_ROM, offset + bytes - below};
    }
    return r;
}

int pc_firmware_memory(struct pc *pc, struct i440fx_config *c, struct err *e)
{
    char path[BIOS_PATH_MAX];
    struct image img;

    *c = (struct i440fx_config){.mem = pc->vm->mem};
    if (!pc_has_firmware(pc)) { /* what pc_boot.c puts there looks like ROM */
        for (unsigned i = 0; i < I440FX_PIECES; i++)
            c->behind[i] = (struct i440fx_behind){PHYS_ROM, I440FX_SHADOW_GPA +
                                                                i * (uint64_t)I440FX_PIECE_BYTES};
        return 0;
    }
    int r = bios_open(pc->vm->config.bios, path, &img, e);
    if (r < 0)
        return r;
    r = load_bios(pc, &img, c, e);
    image_close(&img);
    return r;
}

/* ---- what firmware is told ------------------------------------------------------------------- */

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static int add_number(struct pc *pc, const char *name, uint64_t value, struct err *e)
{
    uint8_t bytes[8];

    put(bytes, value, sizeof bytes);
    return fw_cfg_add_file(pc->fw_cfg, name, bytes, sizeof bytes, e);
}

static int tell_memory(struct pc *pc, struct err *e)
{
    uint64_t ram = pc->vm->config.ram_bytes;
    uint8_t size[8], cpus[2] = {1, 0}, e820[E820_BYTES] = {0};
    int r;

    put(size, ram, sizeof size);
    put(e820 + 8, ram, 8); /* from 0; firmware itself makes the holes below 1 MiB */
    put(e820 + 16, E820_RAM, 4);
    r = fw_cfg_add(pc->fw_cfg, FW_CFG_RAM_SIZE, size, sizeof size, e);
    if (r == 0)
        r = fw_cfg_add(pc->fw_cfg, FW_CFG_CPUS, cpus, sizeof cpus, e);
    if (r == 0)
        r = fw_cfg_add(pc->fw_cfg, FW_CFG_MAX_CPUS, cpus, sizeof cpus, e);
    if (r == 0)
        r = fw_cfg_add_file(pc->fw_cfg, "etc/e820", e820, sizeof e820, e);
    return r;
}

static int tell_acpi(struct pc *pc, struct err *e)
{
    struct acpi_config c;
    struct acpi_files f;
    int r;

    pc_acpi_config(pc, &c);
    acpi_files_build(&f, &c);
    r = fw_cfg_add_file(pc->fw_cfg, ACPI_FILE_TABLES, f.tables, sizeof f.tables, e);
    if (r == 0)
        r = fw_cfg_add_file(pc->fw_cfg, ACPI_FILE_RSDP, f.rsdp, sizeof f.rsdp, e);
    if (r == 0)
        r = fw_cfg_add_file(pc->fw_cfg, ACPI_FILE_SCRIPT, f.script, f.script_bytes, e);
    return r;
}

/* No waiting for a key unless somebody wants a menu, no restart when nothing can be started; what
 * the BIOS prints goes to the first serial port, too, unless somebody looks at the screen. */
static int tell_choices(struct pc *pc, struct err *e)
{
    int r = add_number(pc, "etc/show-boot-menu", pc->vm->config.boot_menu, e);

    if (r == 0)
        r = add_number(pc, "etc/boot-fail-wait", UINT32_MAX, e);
    if (r == 0 && !pc->vm->config.display)
        r = add_number(pc, "etc/sercon-port", NS16550_COM1_BASE, e);
    return r;
}

/* ---- a kernel that firmware starts ----------------------------------------------------------- */

static int load_kernel(struct pc *pc, const struct boot_e820 *map, size_t count,
                       struct boot_plan *plan, struct err *e)
{
    const struct vm_config *c = &pc->vm->config;
    struct boot_request req = {.kernel = c->kernel,
                               .initrd = c->initrd,
                               .append = c->append,
                               .text_screen = pc->vga,
                               .bios = true,
                               .mem = pc->vm->mem,
                               .map = map,
                               .map_count = count};
    return boot_load(&req, plan, e);
}

/* The option ROM wants the kernel. Any other code of the guest may ask as well: it then loads the
 * kernel over itself. */
static void kernel_wanted(void *opaque, uint8_t *bytes, size_t len)
{
    struct pc *pc = opaque;
    struct boot_e820 map[KERNEL_ROM_MAX];
    struct boot_plan plan;
    struct err e = {0};

    memset(bytes, 0, len);
    int count = kernel_rom_map(pc->vm->mem, map);
    if (count < 0)
        vm_stop(pc->vm, VM_EXIT_FAILURE, "firmware-map",
                "the firmware's memory map is not one of this machine, so the kernel has no place");
    else if (load_kernel(pc, map, (size_t)count, &plan, &e) < 0)
        vm_stop(pc->vm, VM_EXIT_FAILURE, e.id, "%s", e.text);
    else
        kernel_rom_plan(&plan, bytes);
}

/* Load it once before the machine runs, so that a kernel that does not work is an error at once. */
static int try_kernel(struct pc *pc, struct err *e)
{
    uint64_t ram = pc->vm->config.ram_bytes;
    struct boot_e820 map[2] = {{0, PC_LOW_END, E820_RAM}, {MIB, ram - MIB, E820_RAM}};
    struct boot_plan plan;
    int r = load_kernel(pc, map, ram > MIB ? 2 : 1, &plan, e);

    phys_zero(pc->vm->mem, 0, PC_LOW_END);
    if (ram > MIB)
        phys_zero(pc->vm->mem, MIB, ram - MIB);
    return r;
}

static int offer_kernel(struct pc *pc, struct err *e)
{
    uint8_t rom[KERNEL_ROM_BYTES];
    int r = try_kernel(pc, e);

    kernel_rom_build(rom);
    if (r == 0)
        r = fw_cfg_add_made(pc->fw_cfg, KERNEL_ROM_ITEM, PLAN_BYTES, kernel_wanted, pc, e);
    if (r == 0)
        r = fw_cfg_add_file(pc->fw_cfg, KERNEL_ROM_NAME, rom, sizeof rom, e);
    return r;
}

int pc_firmware_build(struct pc *pc, struct err *e)
{
    if (!pc_has_firmware(pc))
        return 0;
    pc->fw_cfg = fw_cfg_new(&pc->host, e);
    if (!pc->fw_cfg)
        return -e->errnum;
    vm_add_device(pc->vm, pc->fw_cfg);
    int r = tell_memory(pc, e);
    if (r == 0)
        r = tell_acpi(pc, e);
    if (r == 0)
        r = tell_choices(pc, e);
    if (r == 0)
        r = pc_bootorder_tell(pc, e);
    if (r == 0)
        r = pc_smbios_tell(pc, e);
    if (r == 0)
        r = pc_display_rom(pc, e);
    if (r == 0 && pc->vm->config.kernel)
        r = offer_kernel(pc, e);
    return r;
}

/* ---- start ----------------------------------------------------------------------------------- */

static void set_boot_order(struct pc *pc)
{
    static const uint8_t digit[] = {
        [BOOT_NONE] = 0, [BOOT_FLOPPY] = 1, [BOOT_DISK] = 2, [BOOT_CDROM] = 3};
    const enum boot_device *order = pc_boot_devices(pc);

    if (pc->vm->config.kernel) { /* it was named, so it comes first */
        mc146818_set_cmos(pc->rtc, CMOS_BOOT_FIRST, BOOT_ROM);
        mc146818_set_cmos(pc->rtc, CMOS_BOOT_THIRD, 0);
        return;
    }

    mc146818_set_cmos(pc->rtc, CMOS_BOOT_FIRST, (uint8_t)(digit[order[0]] | digit[order[1]] << 4));
    mc146818_set_cmos(pc->rtc, CMOS_BOOT_THIRD, (uint8_t)(digit[order[2]] << 4));
}

void pc_firmware_start(struct pc *pc)
{
    mc146818_set_memory(pc->rtc, pc->vm->config.ram_bytes);
    mc146818_set_cmos(pc->rtc, CMOS_TRANSLATION, TRANSLATE_LBA);
    set_boot_order(pc);
    x86_set_a20(pc->cpu, true); /* the reset vector is above it */
}
