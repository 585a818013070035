/* SPDX-License-Identifier: MIT */
/* MIPS kernels that a monitor such as YAMON starts (YAMON User's Manual MD00008, "go"; Linux,
 * arch/mips/fw): an ELF32 file is entered at its entry point with
 *
 *   a0  number of arguments    a1  their addresses
 *   a2  the environment: addresses of a name, its value, and so on; 0 at the end
 *   a3  bytes of RAM in KSEG0
 *
 * all addresses in KSEG0. Argument 0 is the program's name and argument 1 the whole command line:
 * Linux puts them together with blanks between, anyhow. An initrd is told by two words in front of
 * it, rd_start= and rd_size=.
 *
 *   0x2000   argument list, environment list, strings     the kernel, wherever it is linked to
 *   initrd   as high as it fits in the RAM at 0, clear of the place where kernels unpack themselves
 *
 * Left out: functions of the monitor that programs may call (Linux does not). */
#include "boot/loader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KSEG0       0x80000000u
#define OWN_START   0x2000u
#define OWN_BYTES   0x4000u
#define LISTS_BYTES 0x400u
#define CMDLINE_MAX 4095 /* COMMAND_LINE_SIZE of Linux on MIPS, less the NUL */

/* What goes to OWN_START. */
struct block {
    uint8_t bytes[OWN_BYTES];
    uint32_t list, text; /* offsets of what is free */
};

static uint32_t address_of(uint32_t offset)
{
    return KSEG0 | (OWN_START + offset);
}

static void add_word(struct block *b, uint32_t value)
{
    put32(b->bytes + b->list, value);
    b->list += 4;
}

/* A string, and its address in the list; false: no room. */
static bool add_string(struct block *b, const char *text)
{
    size_t n = strlen(text) + 1;

    if (n > OWN_BYTES - b->text || b->list + 8 > LISTS_BYTES)
        return false;
    memcpy(b->bytes + b->text, text, n);
    add_word(b, address_of(b->text));
    b->text += (uint32_t)n;
    return true;
}

static bool add_environment(const struct boot_request *req, struct block *b)
{
    bool fits = true;

    for (const struct boot_variable *v = req->environment; v->name && fits; v++)
        fits = add_string(b, v->name) && add_string(b, v->value);
    add_word(b, 0);
    return fits;
}

static int make_cmdline(const struct loading *l, char text[CMDLINE_MAX + 1], struct err *e)
{
    const struct boot_plan *plan = l->plan;
    const char *append = l->req->append ? l->req->append : "";
    char initrd[64] = "";

    if (plan->initrd_bytes)
        snprintf(initrd, sizeof initrd, "rd_start=0x%x rd_size=%llu ",
                 KSEG0 | (unsigned)plan->initrd_start, (unsigned long long)plan->initrd_bytes);
    int n = snprintf(text, CMDLINE_MAX + 1, "%s%s", initrd, append);
    if (n <= CMDLINE_MAX)
        return 0;
    return err_set(e, E2BIG, "cmdline-too-long",
                   "the kernel command line has %zu bytes, this kernel takes at most %zu",
                   strlen(append), CMDLINE_MAX - strlen(initrd));
}

static int put_block(struct loading *l, uint64_t low_bytes, struct err *e)
{
    char cmdline[CMDLINE_MAX + 1];
    struct block b = {.text = LISTS_BYTES};
    uint32_t *a = l->plan->argument;
    int r = make_cmdline(l, cmdline, e);

    if (r < 0)
        return r;
    a[0] = 2;
    a[1] = address_of(b.list);
    bool fits = add_string(&b, "kernel") && add_string(&b, cmdline);
    add_word(&b, 0);
    a[2] = address_of(b.list);
    a[3] = (uint32_t)low_bytes;
    if (!fits || !add_environment(l->req, &b))
        return err_set(e, E2BIG, "boot-environment", "the boot environment is too large");
    if (phys_load(l->req->mem, OWN_START, b.bytes, sizeof b.bytes) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM behind the memory map at 0x%x", OWN_START);
    return 0;
}

static uint64_t low_ram(const struct boot_request *req)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < req->map_count; i++)
        if (req->map[i].type == E820_RAM && !req->map[i].base)
            bytes = req->map[i].len;
    return bytes;
}

int yamon_load(struct loading *l, struct err *e)
{
    uint64_t low = low_ram(l->req);

    l->plan->format = "ELF";
    if (low < MIB)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0 for boot data");
    l->own_start = OWN_START;
    l->own_end = OWN_START + OWN_BYTES;
    int r = elf_load(l, e);
    if (r == 0)
        r = boot_load_initrd(l, l->plan->kernel_end, low, true, e);
    return r == 0 ? put_block(l, low, e) : r;
}
