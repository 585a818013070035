/* SPDX-License-Identifier: MIT */
/* ELF32 executables (System V ABI, gABI chapters 4 and 5). On i386 PT_LOAD segments go to their
 * physical addresses, and an entry point given as a virtual address is converted. On MIPS kernels
 * run where they are linked to: in KSEG0 or KSEG1, which show physical memory (MD00090, 4.3), so
 * the virtual address says where a segment goes; linkers put that into p_paddr, too, or what it is
 * physically.
 *
 * Left out: relocation (ET_DYN), sections and symbols, big-endian files (no board runs them). */
#include "boot/loader.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PHNUM_MAX 128 /* far more than any kernel has; bounds the work a corrupt file causes */

#define KSEG0        0x80000000u
#define KSEG_END     0xc0000000u /* of KSEG1; mapped addresses from here on, as below KSEG0 */
#define KSEG_ADDRESS 0x1fffffffu /* the physical address in one of either */

static const struct machine {
    uint16_t machine;
    uint8_t order; /* ELFDATA2LSB, ELFDATA2MSB; 0: any */
    const char *name;
    enum guest_arch arch;
} machines[] = {
    {EM_386, ELFDATA2LSB, "i386", ARCH_I386},
    {EM_MIPS, ELFDATA2LSB, "little-endian MIPS", ARCH_MIPSEL},
    {EM_MIPS, ELFDATA2MSB, "big-endian MIPS", ARCH_MIPS},
    {EM_X86_64, 0, "x86-64", ARCH_UNKNOWN},
    {EM_ARM, 0, "ARM", ARCH_UNKNOWN},
    {EM_AARCH64, 0, "64-bit ARM", ARCH_UNKNOWN},
    {EM_PPC, 0, "PowerPC", ARCH_UNKNOWN},
    {EM_PPC64, 0, "64-bit PowerPC", ARCH_UNKNOWN},
    {EM_RISCV, 0, "RISC-V", ARCH_UNKNOWN},
    {EM_SPARC, 0, "SPARC", ARCH_UNKNOWN},
    {EM_SPARCV9, 0, "64-bit SPARC", ARCH_UNKNOWN},
    {EM_S390, 0, "IBM S/390", ARCH_UNKNOWN},
    {EM_68K, 0, "Motorola 68000", ARCH_UNKNOWN},
    {EM_SH, 0, "SuperH", ARCH_UNKNOWN},
    {EM_IA_64, 0, "Itanium", ARCH_UNKNOWN},
    {EM_ALPHA, 0, "Alpha", ARCH_UNKNOWN},
    {EM_PARISC, 0, "PA-RISC", ARCH_UNKNOWN},
};

bool elf_is(const struct loading *l)
{
    return l->head_bytes >= SELFMAG && !memcmp(l->head, ELFMAG, SELFMAG);
}

/* e_machine in the file's own byte order, and its row, if there is one. */
static const struct machine *find_machine(const struct loading *l, unsigned *number)
{
    uint8_t order = l->head[EI_DATA];
    const uint8_t *at = l->head + offsetof(Elf32_Ehdr, e_machine);

    *number = order == ELFDATA2MSB ? (unsigned)at[0] << 8 | at[1] : get16(at);
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        if (machines[i].machine == *number && (!machines[i].order || machines[i].order == order))
            return &machines[i];
    return NULL;
}

enum guest_arch elf_arch(const struct loading *l)
{
    unsigned number;
    const struct machine *m = find_machine(l, &number);

    return m ? m->arch : ARCH_UNKNOWN;
}

static int check_machine(const struct loading *l, struct err *e)
{
    unsigned number, order = l->head[EI_DATA];
    const struct machine *m = find_machine(l, &number);
    const char *runs = boot_arch_name(l->req->arch);

    if (order != ELFDATA2LSB && order != ELFDATA2MSB)
        return image_err(&l->kernel, ENOEXEC, "format", e, "ELF file of byte order %u", order);
    if (m && m->arch == l->req->arch)
        return 0;
    if (m)
        return image_err(&l->kernel, ENOEXEC, number == EM_X86_64 ? "64bit" : "format", e,
                         "ELF file for %s; this machine runs %s kernels", m->name, runs);
    return image_err(&l->kernel, ENOEXEC, "format", e,
                     "ELF file for machine type %u; this machine runs %s kernels", number, runs);
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
    unsigned class = h->e_ident[EI_CLASS];
    int r = check_machine(l, e);
    if (r < 0)
        return r;
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

/* Where in guest memory a segment goes. */
static int place_segment(const struct loading *l, const Elf32_Phdr *ph, uint64_t *start,
                         struct err *e)
{
    if (l->req->arch == ARCH_I386) {
        *start = ph->p_paddr;
        return 0;
    }
    if (ph->p_vaddr < KSEG0 || ph->p_vaddr >= KSEG_END)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "linked to run at 0x%x, a mapped address; this machine starts kernels "
                         "linked to unmapped ones, 0x80000000 to 0xbfffffff",
                         ph->p_vaddr);
    *start = ph->p_vaddr & KSEG_ADDRESS;
    return 0;
}

static int load_segment(struct loading *l, const Elf32_Phdr *ph, struct err *e)
{
    uint64_t start = 0;
    struct boot_plan *plan = l->plan;
    int r = place_segment(l, ph, &start, e);
    if (r < 0)
        return r;
    uint64_t end = start + ph->p_memsz;

    if (ph->p_filesz > ph->p_memsz)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF segment at 0x%x has more bytes in the file (%u) than in memory (%u)",
                         ph->p_vaddr, ph->p_filesz, ph->p_memsz);
    if (ph->p_offset > l->kernel.bytes || ph->p_filesz > l->kernel.bytes - ph->p_offset)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "p_offset and p_filesz of an ELF segment say %" PRIu64
                         " bytes, the file has %" PRIu64,
                         (uint64_t)ph->p_offset + ph->p_filesz, l->kernel.bytes);
    r = boot_check_ram(l, start, end, e);
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
            entry_physical = l->req->arch == ARCH_I386;
    }
    if (r < 0)
        return r;
    if (!entry_virtual && !entry_physical)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "ELF entry point 0x%x lies in no loaded segment", h.e_entry);
    l->plan->entry = entry_virtual && l->req->arch == ARCH_I386 ? entry : h.e_entry;
    return 0;
}
