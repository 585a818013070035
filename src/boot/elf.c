/* SPDX-License-Identifier: MIT */
/* ELF32 i386 executables (System V ABI, gABI chapters 4 and 5): PT_LOAD segments go to their
 * physical addresses; an entry point given as a virtual address is converted.
 *
 * Left out: relocation (ET_DYN), sections and symbols. */
#include "boot/loader.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PHNUM_MAX 128 /* far more than any kernel has; bounds the work a corrupt file causes */

static const struct {
    uint16_t machine;
    const char *name;
} machines[] = {
    {EM_X86_64, "x86-64"},      {EM_MIPS, "MIPS"},          {EM_ARM, "ARM"},
    {EM_AARCH64, "64-bit ARM"}, {EM_PPC, "PowerPC"},        {EM_PPC64, "64-bit PowerPC"},
    {EM_RISCV, "RISC-V"},       {EM_SPARC, "SPARC"},        {EM_SPARCV9, "64-bit SPARC"},
    {EM_S390, "IBM S/390"},     {EM_68K, "Motorola 68000"}, {EM_SH, "SuperH"},
    {EM_IA_64, "Itanium"},      {EM_ALPHA, "Alpha"},        {EM_PARISC, "PA-RISC"},
};

bool elf_is(const struct loading *l)
{
    return l->head_bytes >= SELFMAG && !memcmp(l->head, ELFMAG, SELFMAG);
}

static int wrong_machine(const struct loading *l, unsigned machine, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        if (machines[i].machine == machine)
            return image_err(&l->kernel, ENOEXEC, machine == EM_X86_64 ? "64bit" : "format", e,
                             "ELF file for %s; this machine runs i386 kernels", machines[i].name);
    return image_err(&l->kernel, ENOEXEC, "format", e,
                     "ELF file for machine type %u; this machine runs i386 kernels", machine);
}

static const char *type_name(unsigned type)
{
    switch (type) {
    case ET_REL:
        return "an object file or module";
    case ET_DYN:
        return "position-independent";
    case ET_CORE:
        return "a core dump";
    default:
        return "of unknown type";
    }
}

/* The header fields that decide whether we can load this at all. */
static int check_header(const struct loading *l, Elf32_Ehdr *h, struct err *e)
{
    memcpy(h, l->head, sizeof *h);
    if (l->head_bytes < sizeof *h)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "ELF header needs %zu bytes, the file has %" PRIu64, sizeof *h,
                         l->kernel.bytes);
    unsigned class = h->e_ident[EI_CLASS], order = h->e_ident[EI_DATA];
    if (order != ELFDATA2LSB) {
        unsigned big = (unsigned)l->head[18] << 8 | l->head[19]; /* e_machine, big-endian */
        return order == ELFDATA2MSB ? wrong_machine(l, big, e)
                                    : image_err(&l->kernel, ENOEXEC, "format", e,
                                                "ELF file of byte order %u", order);
    }
    if (h->e_machine != EM_386)
        return wrong_machine(l, h->e_machine, e);
    if (class != ELFCLASS32)
        return image_err(&l->kernel, ENOEXEC, "64bit", e, "ELF file of class %u, not ELF32", class);
    if (h->e_type != ET_EXEC)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF file is %s, not an executable (type %u)", type_name(h->e_type),
                         h->e_type);
    if (h->e_phentsize != sizeof(Elf32_Phdr) || h->e_phnum < 1 || h->e_phnum > PHNUM_MAX)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF program header table of %u entries of %u bytes", h->e_phnum,
                         h->e_phentsize);
    return 0;
}

static int load_segment(struct loading *l, const Elf32_Phdr *ph, struct err *e)
{
    uint64_t start = ph->p_paddr, end = start + ph->p_memsz;
    struct boot_plan *plan = l->plan;

    if (ph->p_filesz > ph->p_memsz)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF segment at 0x%x has more bytes in the file (%u) than in memory (%u)",
                         ph->p_paddr, ph->p_filesz, ph->p_memsz);
    if (ph->p_offset > l->kernel.bytes || ph->p_filesz > l->kernel.bytes - ph->p_offset)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "p_offset and p_filesz of an ELF segment say %" PRIu64
                         " bytes, the file has %" PRIu64,
                         (uint64_t)ph->p_offset + ph->p_filesz, l->kernel.bytes);
    int r = boot_check_ram(l, start, end, e);
    if (r == 0)
        r = image_load(&l->kernel, ph->p_offset, ph->p_filesz, l->req->mem, start, e);
    if (r < 0)
        return r;
    if (phys_zero(l->req->mem, start + ph->p_filesz, ph->p_memsz - ph->p_filesz) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM behind the memory map at 0x%" PRIx64,
                       start);
    if (plan->kernel_start == plan->kernel_end)
        plan->kernel_start = start, plan->kernel_end = end;
    if (start < plan->kernel_start)
        plan->kernel_start = start;
    if (end > plan->kernel_end)
        plan->kernel_end = end;
    return 0;
}

int elf_load(struct loading *l, struct err *e)
{
    Elf32_Ehdr h;
    Elf32_Phdr ph;
    bool entry_virtual = false, entry_physical = false;
    uint32_t entry = 0;

    int r = check_header(l, &h, e);
    for (unsigned i = 0; r == 0 && i < h.e_phnum; i++) {
        r = image_read(&l->kernel, h.e_phoff + (uint64_t)i * sizeof ph, &ph, sizeof ph, e);
        if (r < 0 || ph.p_type != PT_LOAD || !ph.p_memsz)
            continue;
        r = load_segment(l, &ph, e);
        if (!entry_virtual && h.e_entry - ph.p_vaddr < ph.p_memsz) {
            entry_virtual = true;
            entry = h.e_entry - ph.p_vaddr + ph.p_paddr;
        }
        if (h.e_entry - ph.p_paddr < ph.p_memsz)
            entry_physical = true;
    }
    if (r < 0)
        return r;
    if (!entry_virtual && !entry_physical)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF entry point 0x%x lies in no loaded segment", h.e_entry);
    l->plan->eip = entry_virtual ? entry : h.e_entry;
    return 0;
}
