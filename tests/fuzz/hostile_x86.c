/* SPDX-License-Identifier: MIT */
/* A malicious guest kernel: random machine state, random descriptor and page tables, random code
 * at every privilege level and in every mode. Nothing it does may harm the monitor (Popek and
 * Goldberg's resource control): every run returns, the processor's invariants hold, memory
 * outside guest RAM is untouched (run it under ASan to see that, too).
 *
 *     hostile_x86 [SEED [RUNS]]       a failing run names its seed; run that seed alone with RUNS 1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/x86/mmu.h"

#define RAM_BYTES    (2 * MIB)
#define DEFAULT_RUNS 500
#define SLICES       4
#define SLICE        1500 /* instructions */

struct machine {
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
    struct vcpu *vcpu;
};

/* xorshift64*: small, repeatable, good enough to pick bytes. */
static uint64_t next(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * UINT64_C(2685821657736338717);
}
static uint32_t below(uint64_t *s, uint32_t n)
{
    return (uint32_t)(next(s) >> 32) % n;
}

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

static void random_state(struct machine *m, uint64_t *s)
{
    struct x86_vcpu *v = x86_of(m->vcpu);
    gpa_t gdt = 0x10000, idt = 0x20000, dir = 0x30000;
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

static const char *broken_invariant(const struct machine *m)
{
    const struct x86_vcpu *v = x86_of(m->vcpu);
    for (unsigned r = 0; r <= X86_GPR_ZERO; r++)
        if (v->gpr[r] >> 32)
            return "a register is wider than 32 bits";
    if (v->gpr[X86_GPR_ZERO])
        return "the zero register is not zero";
    if (v->eip >> 32)
        return "eip is wider than 32 bits";
    if (!(v->eflags & FL_FIXED) || (v->eflags & (FL_ARITH | FL_IF | FL_DF)))
        return "eflags holds what it must not";
    if ((v->if_flag & ~FL_IF) || (v->df_flag & ~FL_DF))
        return "a flag of its own holds something else";
    if (v->attn_mask != x86_attn_mask(v->if_flag))
        return "the mask of attention is stale";
    if (v->cpl > 3 || ((v->eflags & FL_VM) && v->cpl != 3))
        return "impossible privilege level";
    if (v->user != (v->cpl == 3) || v->tlb != v->tlb_sets[v->user])
        return "derived privilege is stale";
    if (v->fpu.live)
        return "the host's FPU still holds guest state";
    return NULL;
}

static int run_one(struct machine *m, uint64_t seed)
{
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    fill_memory(m, &s);
    random_state(m, &s);
    for (unsigned i = 0; i < SLICES; i++) {
        struct vm_exit x = {0};
        m->vcpu->isa->interpret(m->vcpu, SLICE, &x);
        const char *broken = broken_invariant(m);
        if (broken) {
            printf("FAIL seed %llu: %s\n", (unsigned long long)seed, broken);
            m->vcpu->isa->post_mortem(m->vcpu, stdout);
            return 1;
        }
        if (x.kind == EXIT_SHUTDOWN || x.kind == EXIT_UNSUPPORTED)
            return 0;
        if (x.kind == EXIT_HALT) /* an interrupt comes */
            x86_set_eflags(x86_of(m->vcpu), x86_get_eflags(x86_of(m->vcpu)) | FL_IF);
    }
    return 0;
}

static int ack(void *opaque)
{
    return (int)below(opaque, 256);
}

static bool build(struct machine *m, uint64_t *irq_seed, struct err *e)
{
    m->log = (struct log){LOG_ERROR, 2};
    m->mem = phys_new(RAM_BYTES, e);
    m->mmio = bus_new("mmio", PHYS_LIMIT, e);
    m->pio = bus_new("pio", 0x10000, e);
    m->clock = clock_new(CLOCK_VIRTUAL, e);
    if (!m->mem || !m->mmio || !m->pio || !m->clock ||
        phys_map_ram(m->mem, 0, 0, RAM_BYTES - 64 * KIB, e) < 0 ||
        phys_map_rom(m->mem, RAM_BYTES - 64 * KIB, RAM_BYTES - 64 * KIB, 64 * KIB, e) < 0)
        return false;
    struct vcpu_wiring w = {m->mem, m->mmio, m->pio, m->clock, &m->log};
    m->vcpu = x86_isa.vcpu_new(&w, 0, e);
    if (!m->vcpu)
        return false;
    m->vcpu->intc = (struct intc){ack, irq_seed};
    return true;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, irq_seed = 1;
    unsigned long runs = argc > 2 ? strtoul(argv[2], NULL, 0) : DEFAULT_RUNS, failed = 0;
    struct machine m = {0};
    struct err e = {0};
    if (!build(&m, &irq_seed, &e)) {
        fprintf(stderr, "hostile_x86: %s\n", e.text);
        return 1;
    }
    for (uint64_t seed = first; seed < first + runs; seed++) {
        if (seed % 3 == 0)
            vcpu_attend(m.vcpu, ATTN_INTERRUPT);
        else
            vcpu_unattend(m.vcpu, ATTN_INTERRUPT);
        failed += (unsigned long)run_one(&m, seed);
    }
    printf("%llu instructions, %llu exceptions, %llu interrupts\n",
           (unsigned long long)m.vcpu->stats.instructions,
           (unsigned long long)m.vcpu->stats.exits[EXIT_EXCEPTION],
           (unsigned long long)m.vcpu->stats.exits[EXIT_INTERRUPT]);
    printf("%lu passed, %lu failed\n", runs - failed, failed);
    m.vcpu->isa->vcpu_free(m.vcpu);
    clock_free(m.clock);
    bus_free(m.pio);
    bus_free(m.mmio);
    phys_free(m.mem);
    return failed != 0;
}
