/* SPDX-License-Identifier: MIT */
/* hostile_x86's malicious kernel: random bytes with a few promising ones among them as memory,
 * descriptors, gates, page tables and registers. hostile_flatten() makes of it what the translator
 * takes: flat segments, and a GDT in which many selectors are. */
#include <string.h>

#include "hostile.h"

#define GDT 0x10000u
#define IDT 0x20000u

/* Beginnings of instructions that change the machine; plain random bytes seldom hit them. */
static const struct {
    uint8_t n, bytes[4];
} seeds[] = {
    {3, {0x0f, 0x22, 0xc0}},
    {3, {0x0f, 0x22, 0xd8}},
    {3, {0x0f, 0x22, 0xe0}}, /* mov crN, eax */
    {3, {0x0f, 0x23, 0xf8}},
    {2, {0x0f, 0x30}},
    {2, {0x0f, 0x32}}, /* dr7, msr */
    {3, {0x0f, 0x01, 0x15}},
    {3, {0x0f, 0x01, 0x1d}},
    {3, {0x0f, 0x01, 0x38}}, /* lgdt lidt invlpg */
    {3, {0x0f, 0x00, 0xd0}},
    {3, {0x0f, 0x00, 0xd8}},
    {3, {0x0f, 0x01, 0xf0}}, /* lldt ltr lmsw */
    {1, {0xcf}},
    {1, {0x9d}},
    {1, {0xcb}}, /* iret popf retf */
    {1, {0xea}},
    {1, {0x9a}},
    {2, {0xff, 0x2d}}, /* far transfers */
    {2, {0x8e, 0xd8}},
    {2, {0x8e, 0xd0}},
    {1, {0x07}}, /* segment loads */
    {1, {0xcd}},
    {1, {0xcc}},
    {1, {0xf1}}, /* int */
    {2, {0xf3, 0xa5}},
    {2, {0xf3, 0xaa}},
    {2, {0xf3, 0x6c}}, /* rep */
    {3, {0x0f, 0xae, 0x08}},
    {2, {0xdd, 0x20}},
    {2, {0xdd, 0x30}}, /* fpu state */
    {3, {0x0f, 0xae, 0x10}},
    {2, {0x0f, 0x34}},
    {2, {0x0f, 0x35}}, /* mxcsr sysenter */
    {2, {0xe4, 0x20}},
    {1, {0xee}},
    {1, {0xfb}}, /* ports, sti */
};

static void fill_memory(struct machine *m, uint64_t *s)
{
    uint8_t page[4096];
    for (gpa_t at = 0; at < RAM_BYTES; at += sizeof page) {
        for (unsigned i = 0; i < sizeof page; i += 8) {
            uint64_t x = next(s);
            memcpy(page + i, &x, 8);
        }
        for (unsigned i = 0; i < 200; i++) {
            unsigned k = below(s, ARRAY_LEN(seeds)), at_byte = below(s, sizeof page - 4);
            memcpy(page + at_byte, seeds[k].bytes, seeds[k].n);
        }
        phys_load(m->mem, at, page, sizeof page);
    }
}

/* Descriptors with random types whose bases lie in RAM, so that transfers get somewhere. */
static void fill_descriptors(struct machine *m, uint64_t *s, gpa_t table, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t base = below(s, 2) ? 0 : below(s, RAM_BYTES), limit = below(s, 1 << 20);
        uint32_t attr = below(s, 256) | (below(s, 8) ? 0x80 : 0), flags = below(s, 16);
        uint32_t d[2] = {(limit & 0xffff) | base << 16, (base >> 16 & 0xff) | attr << 8 |
                                                            (limit & 0xf0000) | flags << 20 |
                                                            (base & 0xff000000)};
        phys_load(m->mem, table + i * 8, d, sizeof d);
    }
}

static void fill_gates(struct machine *m, uint64_t *s, gpa_t table, unsigned n)
{
    static const uint8_t types[] = {0x8e, 0x8f, 0x86, 0x87, 0x85, 0xee, 0x0e};
    for (unsigned i = 0; i < n; i++) {
        uint32_t offset = below(s, RAM_BYTES);
        uint32_t d[2] = {(offset & 0xffff) | below(s, 64) << 19,
                         (uint32_t)types[below(s, ARRAY_LEN(types))] << 8 | (offset & 0xffff0000)};
        phys_load(m->mem, table + i * 8, d, sizeof d);
    }
}

static void fill_page_tables(struct machine *m, uint64_t *s, gpa_t dir, bool pae)
{
    unsigned width = pae ? 8 : 4;
    for (unsigned i = 0; i < PAGE_BYTES / width * 4; i++) {
        uint64_t e = (below(s, RAM_BYTES) & 0xfffff000) | below(s, 512) | (below(s, 6) ? 1 : 0);
        if (below(s, 64) == 0)
            e = next(s);
        phys_load(m->mem, dir + i * width, &e, width);
    }
}

void hostile_wild(struct machine *m, uint64_t *s)
{
    struct x86_vcpu *v = x86_of(m->vcpu);
    gpa_t gdt = GDT, idt = IDT, dir = 0x30000;
    fill_memory(m, s);
    bool protected = below(s, 4), paging = protected && below(s, 2), pae = below(s, 2);
    fill_descriptors(m, s, gdt, 64);
    fill_gates(m, s, idt, 256);
    fill_page_tables(m, s, dir, pae);
    m->vcpu->isa->reset(m->vcpu);
    for (unsigned r = 0; r < 8; r++)
        v->gpr[r] = below(s, 2) ? below(s, RAM_BYTES) : (uint32_t)next(s);
    v->gdtr = (struct x86_dtr){gdt, 64 * 8 - 1};
    v->idtr = (struct x86_dtr){protected ? idt : 0, (uint16_t)(protected ? 2047 : 1023)};
    for (unsigned i = 0; i < X86_SREGS; i++) {
        v->seg[i].sel = (uint16_t)(below(s, 64) * 8);
        v->seg[i].base = protected && below(s, 3) ? 0 : below(s, 0x10000) << 4;
        v->seg[i].limit = protected ? UINT32_MAX : 0xffff;
        v->seg[i].attr = (uint16_t)(i == X86_CS ? 0xc09b : 0xc093);
        if (!protected)
            v->seg[i].attr &= 0xff;
    }
    v->seg[X86_LDTR] = (struct x86_seg){.base = gdt, .limit = 511, .attr = 0x82};
    v->seg[X86_TR] = (struct x86_seg){.base = below(s, RAM_BYTES), .limit = 0x2067, .attr = 0x8b};
    v->cr0 = CR0_ET | (protected ? CR0_PE : 0) | (below(s, 2) ? CR0_WP : 0) |
             (below(s, 2) ? CR0_AM : 0) | (below(s, 2) ? CR0_NE : 0);
    v->cr4 = (below(s, 2) ? CR4_PSE | CR4_PGE : 0) | (below(s, 2) ? CR4_OSFXSR : 0) |
             (pae ? CR4_PAE : 0);
    v->cr3 = (uint32_t)dir;
    for (unsigned i = 0; i < 4; i++)
        v->pdpte[i] = (dir + i * PAGE_BYTES) | 1;
    v->cr0 |= paging ? CR0_PG : 0;
    if (protected) {
        v->cpl = (uint8_t)(below(s, 3) ? 0 : below(s, 4));
        if (below(s, 8) == 0) {
            v->cpl = 3;
            v->eflags |= FL_VM;
        }
    }
    uint32_t flags = (uint32_t)next(s);
    v->eflags |= flags & (FL_IOPL | FL_NT | FL_AC);
    v->if_flag = flags & FL_IF;
    v->df_flag = flags & FL_DF;
    if (below(s, 16) == 0)
        v->dr[7] = DR7_FIXED | (uint32_t)(next(s) & 0xffff23ff);
    v->eip = below(s, protected ? RAM_BYTES : 0x10000);
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void set_flat(struct machine *m, enum x86_sreg s, unsigned index)
{
    struct x86_vcpu *v = x86_of(m->vcpu);
    uint32_t d[2];
    phys_read(m->mem, GDT + index * 8, d, sizeof d);
    x86_seg_from_desc(&v->seg[s], d[0], d[1]);
    v->seg[s].sel = (uint16_t)(index * 8 + v->cpl);
}

/* GDT entries 8k to 8k+3 become code and data for CPL 0, code and data for CPL 3; gates lead there
 * more often than not. */
void hostile_flatten(struct machine *m, uint64_t *s)
{
    static const uint8_t types[] = {0x9b, 0x93, 0xfb, 0xf3};
    struct x86_vcpu *v = x86_of(m->vcpu);
    if (!(v->cr0 & CR0_PE) || (v->eflags & FL_VM))
        return;
    for (unsigned i = 0; i < 64; i++) {
        const uint32_t d[2] = {0xffff, 0xcf0000 | (uint32_t)types[i & 3] << 8};
        if (!(i & 4))
            phys_load(m->mem, GDT + i * 8, d, sizeof d);
    }
    for (unsigned i = 0; i < 256; i++) {
        uint16_t sel = (uint16_t)(below(s, 8) * 64);
        if (below(s, 4))
            phys_load(m->mem, IDT + i * 8 + 2, &sel, sizeof sel);
    }
    v->cpl = below(s, 2) ? 0 : 3;
    for (enum x86_sreg r = X86_ES; r <= X86_GS; r++)
        set_flat(m, r, (v->cpl ? 2 : 0) + (r != X86_CS));
    v->cr0 &= ~CR0_AM;
    x86_update_mode(v);
}
