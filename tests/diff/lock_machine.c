/* SPDX-License-Identifier: MIT */
/* lock_random's machines: see lock_machine.h. Memory, tables and registers are set up from outside
 * before each program; only pages that have changed are written again, so that code and views
 * made for earlier programs stay as they would in a real guest. */
#include "lock_machine.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "encodings.h"
#include "engine/dbt/dbt.h"
#include "engine/engines.h"
#include "host/fault.h"
#include "isa/x86/fpu.h"
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

#define RAM_BYTES   (2 * MIB)
#define P_TABLES    0x10000u
#define DEVICE_GPA  0x40000000u
#define K_VECTORS   (LOCK_INTERRUPT + 1)
#define FREE_BUDGET 4000000u

#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_NX (1ull << 63)

/* Physical pages, in an order that leaves none beside its neighbour. */
enum frame { DATA1 = 4, CODE0, RO, DATA0, SAVE, CODE1, STACK1, STACK0, FRAMES };
_Static_assert(FRAMES * 0x1000 == LOCK_COMPARED, "all frames are compared");

/* ---- address spaces ---------------------------------------------------------------------------
 */

enum right { NONE, READ, WRITE, OTHER /* write, but for the other privilege */, DEVICE };

struct page {
    uint32_t lin;
    enum frame frame;
    enum right right;
};

static const struct page plain[] = {
    {OR_CODE, CODE0, READ},    {OR_CODE + 0x1000, CODE1, READ},
    {OR_DATA, DATA0, WRITE},   {OR_DATA + 0x1000, DATA1, WRITE},
    {OR_RO, RO, READ},         {OR_SAVE, SAVE, WRITE},
    {OR_STACK, STACK0, WRITE}, {OR_STACK + 0x1000, STACK1, WRITE},
};

/* What is different from that. `foreign`: every page but the code belongs to the other privilege
 * (at CPL 0: user pages, which a kernel may access; at CPL 3 nothing works). */
static const struct {
    const char *name;
    bool pae, foreign;
    struct page page[2]; /* lin 0: none */
} spaces[] = {
    {"plain", false, false, {{0}}},
    {"PAE, data not executable", true, false, {{0}}},
    {"second data page: device", false, false, {{OR_DATA + 0x1000, DATA1, DEVICE}}},
    {"first data page: device", false, false, {{OR_DATA, DATA0, DEVICE}}},
    {"second data page: absent", false, false, {{OR_DATA + 0x1000, DATA1, NONE}}},
    {"second data page: other privilege", false, false, {{OR_DATA + 0x1000, DATA1, OTHER}}},
    {"second data page: read-only", true, false, {{OR_DATA + 0x1000, DATA1, READ}}},
    {"both data pages one", false, false, {{OR_DATA + 0x1000, DATA0, WRITE}}},
    {"second data page: code",
     false,
     false,
     {{OR_DATA + 0x1000, CODE1, WRITE}, {OR_DATA, CODE0, WRITE}}},
    {"code writable", false, false, {{OR_CODE, CODE0, WRITE}, {OR_CODE + 0x1000, CODE1, WRITE}}},
    {"second code page: absent", false, false, {{OR_CODE + 0x1000, CODE1, NONE}}},
    {"both code pages one", false, false, {{OR_CODE + 0x1000, CODE0, READ}}},
    {"lower stack page: absent", false, false, {{OR_STACK, STACK0, NONE}}},
    {"lower stack page: device", false, false, {{OR_STACK, STACK0, DEVICE}}},
    {"all data: other privilege", false, true, {{0}}},
    {"read-only data: other privilege", false, true, {{OR_DATA + 0x1000, DATA1, READ}}},
};

unsigned lock_spaces(void)
{
    return ARRAY_LEN(spaces);
}

const char *lock_space_name(unsigned space)
{
    return spaces[space].name;
}

/* What a space has instead of a page of the plain one. */
static const struct page *page_of(unsigned space, const struct page *p)
{
    for (unsigned o = 0; o < ARRAY_LEN(spaces[space].page); o++)
        if (spaces[space].page[o].lin == p->lin)
            return &spaces[space].page[o];
    return p;
}

/* Page tables in the making. */
struct tables {
    struct lock_machine *m;
    bool pae;
    uint32_t root, next;
};

static uint64_t get(struct lock_machine *m, gpa_t a, unsigned size)
{
    uint64_t x = 0;
    phys_read(m->mem, a, &x, size);
    return x;
}

static void put(struct lock_machine *m, gpa_t a, uint64_t x, unsigned size)
{
    phys_write(m->mem, a, &x, size);
}

static void map(struct tables *t, uint32_t lin, uint64_t entry)
{
    unsigned size = t->pae ? 8 : 4;
    gpa_t pde = t->pae ? t->root + 0x1000 * (1 + (lin >> 30)) + (lin >> 21 & 511) * 8
                       : t->root + (lin >> 22) * 4;
    if (!(get(t->m, pde, size) & PTE_P)) {
        put(t->m, pde, t->next | PTE_P | PTE_W | PTE_U, size);
        t->next += 0x1000;
    }
    gpa_t table = get(t->m, pde, size) & ~UINT64_C(0xfff);
    put(t->m, table + (t->pae ? lin >> 12 & 511 : lin >> 12 & 1023) * size, entry, size);
}

static uint64_t entry_of(const struct page *p, bool user, bool nx)
{
    uint64_t frame = p->right == DEVICE ? DEVICE_GPA : (uint64_t)p->frame << 12;
    if (p->right == OTHER)
        user = !user;
    return p->right == NONE ? 0
                            : frame | PTE_P | (p->right != READ ? PTE_W : 0) | (user ? PTE_U : 0) |
                                  (nx ? PTE_NX : 0);
}

static bool is_code(uint32_t lin)
{
    return lin - OR_CODE < OR_CODE_BYTES;
}

static int build_space(struct lock_machine *m, unsigned n, uint32_t *next, struct err *e)
{
    unsigned i = n / 2;
    bool user = n & 1;
    struct tables t = {m, spaces[i].pae, *next, *next + (spaces[i].pae ? 0x5000 : 0x1000)};
    for (unsigned k = 0; t.pae && k < 4; k++)
        put(m, t.root + 8 * k, (t.root + 0x1000 * (1 + k)) | PTE_P, 8);
    for (uint32_t k = 0; k < LOCK_K_BYTES; k += 0x1000)
        map(&t, LOCK_K + k, k | PTE_P | PTE_W);
    for (unsigned k = 0; k < ARRAY_LEN(plain); k++) {
        const struct page *p = page_of(i, &plain[k]);
        bool other = spaces[i].foreign && !is_code(p->lin);
        map(&t, p->lin, entry_of(p, user != other, t.pae && !is_code(p->lin)));
    }
    m->space[n].root = m->space[n].tables = t.root;
    m->space[n].bytes = t.next - t.root;
    m->space[n].contents = malloc(m->space[n].bytes);
    if (!m->space[n].contents || t.next > RAM_BYTES)
        return err_set(e, ENOMEM, "lock-memory", "no memory for page tables");
    phys_read(m->mem, t.root, m->space[n].contents, m->space[n].bytes);
    *next = t.next;
    return 0;
}

/* ---- the supervisor area ----------------------------------------------------------------------
 */

static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned type)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | UINT64_C(0xc) << 52 | (uint64_t)(base >> 24) << 56;
}

static void build_supervisor(struct lock_machine *m)
{
    const uint64_t gdt[LOCK_GDT_BYTES / 8] = {
        [LOCK_SEL_CODE0 / 8] = descriptor(0, 0xfffff, 0x9b),
        [LOCK_SEL_DATA0 / 8] = descriptor(0, 0xfffff, 0x93),
        [LOCK_SEL_TSS / 8] = descriptor(LOCK_K_TSS, 0x67, 0x8b) & ~(UINT64_C(0xc) << 52),
        [LOCK_SEL_CODE3 / 8] = descriptor(0, 0xfffff, 0xfb),
        [LOCK_SEL_DATA3 / 8] = descriptor(0, 0xfffff, 0xf3),
        [LOCK_SEL_FS / 8] = descriptor(OR_DATA, 0xfffff, 0xf3),
        [LOCK_SEL_GS / 8] = descriptor(OR_DATA - 0xc000, 0xfffff, 0xf3),
        [LOCK_SEL_SMALL / 8] = descriptor(OR_DATA, 0, 0xf2),
    };
    const uint32_t stack[2] = {LOCK_K_STACK, LOCK_SEL_DATA0};
    phys_write(m->mem, LOCK_K_GDT - LOCK_K, gdt, sizeof gdt);
    phys_write(m->mem, LOCK_K_TSS - LOCK_K + 4, stack, sizeof stack);
    put(m, LOCK_K_TSS - LOCK_K + 0x66, 0x68, 2); /* no I/O bitmap */
    for (uint32_t n = 0; n < K_VECTORS; n++) {
        uint64_t handler = LOCK_K_HANDLERS + 4 * n;
        put(m, handler - LOCK_K, n == LOCK_INTERRUPT ? 0xcf : 0xf4, 1); /* iret, hlt */
        put(m, LOCK_K_IDT - LOCK_K + 8 * n,
            (handler & 0xffff) | LOCK_SEL_CODE0 << 16 | UINT64_C(0xee00) << 32 |
                handler >> 16 << 48,
            8);
    }
}

static void set_seg(struct lock_machine *m, enum x86_sreg s, uint16_t sel)
{
    uint64_t d = get(m, LOCK_K_GDT - LOCK_K + (sel & ~7u), 8);
    x86_seg_from_desc(&m->v->seg[s], (uint32_t)d, (uint32_t)(d >> 32));
    m->v->seg[s].sel = sel;
}

static void build_segments(struct lock_machine *m)
{
    static const uint16_t sel[2][6] = {
        {LOCK_SEL_DATA0, LOCK_SEL_CODE0, LOCK_SEL_DATA0, LOCK_SEL_DATA0, LOCK_SEL_FS, LOCK_SEL_GS},
        {LOCK_SEL_DATA3, LOCK_SEL_CODE3, LOCK_SEL_DATA3, LOCK_SEL_DATA3, LOCK_SEL_FS, LOCK_SEL_GS}};
    struct x86_vcpu *v = m->v;
    v->cr0 |= CR0_PE;
    v->gdtr = (struct x86_dtr){LOCK_K_GDT, LOCK_GDT_BYTES - 1};
    v->idtr = (struct x86_dtr){LOCK_K_IDT, 8 * K_VECTORS - 1};
    set_seg(m, X86_TR, LOCK_SEL_TSS);
    for (unsigned u = 0; u < 2; u++) {
        for (enum x86_sreg s = X86_ES; s <= X86_GS; s++)
            set_seg(m, s, sel[u][s]);
        memcpy(m->seg[u], v->seg, sizeof m->seg[u]);
    }
}

/* ---- devices ----------------------------------------------------------------------------------
 */

static void note_io(struct lock_machine *m, uint64_t offset, unsigned size, uint64_t value)
{
    m->io.count++;
    m->io.digest = or_mix(m->io.digest + offset) + value + size;
}

/* Another answer each time: a read that happens twice shows. */
static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct lock_machine *m = opaque;
    note_io(m, offset, size, 0);
    return or_mix(m->io.digest);
}

static void device_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    note_io(opaque, offset | UINT64_C(1) << 32, size, value);
}

static int acknowledge(void *opaque)
{
    struct lock_machine *m = opaque;
    if (!m->interrupt)
        return -1;
    m->interrupt = false;
    vcpu_unattend(m->vcpu, ATTN_INTERRUPT);
    return LOCK_INTERRUPT;
}

/* ---- a program --------------------------------------------------------------------------------
 */

/* Where a linear address is in memory, be it mapped or not. */
static uint8_t *memory_at(uint8_t *memory, unsigned space, uint32_t lin)
{
    for (unsigned i = 0; i < ARRAY_LEN(plain); i++) {
        const struct page *p = page_of(space, &plain[i]);
        if (lin - p->lin < 0x1000)
            return memory + p->frame * 0x1000 + (lin - p->lin);
    }
    return NULL;
}

static void place(uint8_t *memory, unsigned space, uint32_t lin, const void *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *at = memory_at(memory, space, lin + i);
        if (at)
            *at = ((const uint8_t *)bytes)[i];
    }
}

static void restore(struct lock_machine *m, gpa_t gpa, const uint8_t *want, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 0x1000) {
        const uint8_t *now = phys_page(m->mem, (gpfn_t){(gpa + i) >> 12}).host;
        if (memcmp(now, want + i, 0x1000))
            phys_write(m->mem, gpa + i, want + i, 0x1000);
    }
}

static void load_memory(struct lock_machine *m, const struct lock_program *p)
{
    uint8_t memory[LOCK_COMPARED];
    memcpy(memory, m->base, sizeof memory);
    place(memory, p->space, p->at, p->code, p->len);
    for (unsigned i = 0; i < p->c.patches; i++)
        place(memory, p->space, p->c.patch[i].addr, &p->c.patch[i].value, p->c.patch[i].size);
    restore(m, 0, memory, sizeof memory);
    for (unsigned n = 0; p->retable && n < 2 * lock_spaces(); n++)
        restore(m, m->space[n].tables, m->space[n].contents, m->space[n].bytes);
}

static void load_control(struct lock_machine *m, const struct lock_program *p)
{
    struct x86_vcpu *v = m->v;
    bool pae = spaces[p->space].pae;
    uint32_t cr0 = p->cr0 | CR0_PG, cr4 = p->cr4 | (pae ? CR4_PAE : 0);
    uint32_t root = m->space[2 * p->space + (p->cpl == 3)].root;
    bool same = cr0 == v->cr0 && cr4 == v->cr4 && root == v->cr3 && !p->flush && !p->retable;
    v->cr0 = cr0;
    v->cr4 = cr4;
    v->cr3 = root;
    v->efer = pae ? EFER_NXE : 0;
    if (pae)
        x86_load_pdptes(v, root);
    if (!same)
        x86_tlb_flush(v, false);
}

void lock_machine_load(struct lock_machine *m, const struct lock_program *p)
{
    struct x86_vcpu *v = m->v;
    x86_fpu_park(v);
    load_memory(m, p);
    load_control(m, p);
    memcpy(v->seg, m->seg[p->cpl == 3], sizeof v->seg);
    for (unsigned n = 0; n < 8; n++)
        v->gpr[n] = p->c.init.gpr[n];
    v->eip = p->at;
    v->cpl = p->cpl;
    v->cr2 = 0;
    v->dr[6] = DR6_FIXED;
    v->dr6_pending = 0;
    v->delivering = -1;
    v->delivering_external = false;
    v->shadow_until = UINT64_MAX;
    atomic_store(&m->vcpu->attention, 0);
    x86_set_eflags(v, p->c.init.eflags);
    x86_update_mode(v);
    memcpy(&v->fx, &p->c.init.fx, sizeof p->c.init.fx);
    m->io = (struct lock_io){0};
    m->interrupt = p->interrupt;
    if (p->interrupt)
        vcpu_attend(m->vcpu, ATTN_INTERRUPT);
    m->fault_base = lock_faults(m->vcpu);
    m->start = lock_place(m->vcpu);
}

void lock_machine_run(struct lock_machine *m, struct vm_exit *x)
{
    struct err e;
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    if (m->engine->ops == &interp_engine) {
        m->vcpu->isa->interpret(m->vcpu, FREE_BUDGET, x);
        return;
    }
    /* Several engines take turns on this thread: give this one its signal handler and GS base. */
    syscall(SYS_arch_prctl, ARCH_SET_GS, m->v->gen.gs_current);
    if (host_fault_enter(dbt_on_host_fault, m->vcpu->engine_state, &e) == 0)
        m->engine->ops->run(m->vcpu, x);
}

#define ENTRY_ACCESSED 0x20

/* Engines may mark pages accessed early, as processors do. Which of several accesses comes first is
 * the processor's choice, too: when one faults, the other's page may have been marked. */
static bool only_accessed(const struct lock_program *p, uint8_t x, uint8_t y)
{
    return (x ^ y) == ENTRY_ACCESSED && ((y & ENTRY_ACCESSED) || lock_several_accesses(p));
}

/* Part of what an instruction stored says where the FPU last ran. That goes to OR_SAVE. */
static bool ignored(const struct lock_program *p, uint32_t at, uint8_t x, uint8_t y)
{
    if (at >= P_TABLES)
        return only_accessed(p, x, y);
    uint32_t lin = OR_SAVE + at - SAVE * 0x1000;
    for (unsigned i = 0; i < p->c.ignores; i++)
        if (lin - p->c.ignore[i].addr < p->c.ignore[i].size)
            return true;
    return false;
}

static bool same_range(const struct lock_machine *a, const struct lock_machine *b,
                       const struct lock_program *p, uint32_t from, uint32_t bytes, FILE *out)
{
    const uint8_t *x = phys_page(a->mem, (gpfn_t){from >> 12}).host;
    const uint8_t *y = phys_page(b->mem, (gpfn_t){from >> 12}).host;
    unsigned count = 0;
    if (!memcmp(x, y, bytes))
        return true;
    for (uint32_t i = 0; i < bytes; i++) {
        if (x[i] == y[i] || ignored(p, from + i, x[i], y[i]))
            continue;
        if (out && count++ < 32)
            fprintf(out, "    physical %06x   %02x %02x\n", from + i, x[i], y[i]);
        if (!out)
            return false;
    }
    return count == 0;
}

bool lock_machine_same_memory(const struct lock_machine *a, const struct lock_machine *b,
                              const struct lock_program *p, bool *marked, FILE *out)
{
    unsigned n = 2 * p->space + (p->cpl == 3);
    uint32_t tables = a->space[n].tables, bytes = a->space[n].bytes;
    bool io = a->io.count == b->io.count && a->io.digest == b->io.digest;
    if (out && !io)
        fprintf(out, "    devices saw %llu and %llu accesses, digests %llx and %llx\n",
                (unsigned long long)a->io.count, (unsigned long long)b->io.count,
                (unsigned long long)a->io.digest, (unsigned long long)b->io.digest);
    bool memory = same_range(a, b, p, 0, LOCK_COMPARED, out);
    *marked |= memcmp(phys_page(a->mem, (gpfn_t){tables >> 12}).host,
                      phys_page(b->mem, (gpfn_t){tables >> 12}).host, bytes) != 0;
    return same_range(a, b, p, tables, bytes, out) && memory && io;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int build_parts(struct lock_machine *m, struct err *e)
{
    static const struct io_ops device = {device_read, device_write, 1, 8};
    if (!(m->mem = phys_new(RAM_BYTES, e)) || phys_map_ram(m->mem, 0, 0, RAM_BYTES, e) ||
        !(m->mmio = bus_new("mmio", PHYS_LIMIT, e)) || !(m->pio = bus_new("pio", 65536, e)) ||
        !(m->clock = clock_new(CLOCK_VIRTUAL, e)) ||
        bus_map(m->mmio, DEVICE_GPA, 0x1000, &device, m, "device", e) ||
        bus_map(m->pio, 0, 65536, &device, m, "ports", e))
        return -e->errnum;
    const struct vcpu_wiring w = {m->mem, m->mmio, m->pio, m->clock, &m->log};
    if (!(m->vcpu = x86_isa.vcpu_new(&w, 0, e)))
        return -e->errnum;
    m->v = x86_of(m->vcpu);
    m->vcpu->intc = (struct intc){acknowledge, m};
    x86_isa.reset(m->vcpu);
    return 0;
}

static int build_memory(struct lock_machine *m, const struct or_image *image,
                        const uint8_t ro[OR_RO_BYTES], struct err *e)
{
    uint32_t next = P_TABLES;
    build_supervisor(m);
    phys_read(m->mem, 0, m->base, LOCK_COMPARED);
    memset(m->base + CODE0 * 0x1000, 0xcc, 0x1000);
    memset(m->base + CODE1 * 0x1000, 0xcc, 0x1000);
    place(m->base, 0, OR_DATA, image->data, sizeof image->data);
    place(m->base, 0, OR_SAVE, image->save, sizeof image->save);
    place(m->base, 0, OR_STACK, image->stack, sizeof image->stack);
    place(m->base, 0, OR_RO, ro, OR_RO_BYTES);
    for (unsigned n = 0; n < 2 * lock_spaces(); n++)
        if (build_space(m, n, &next, e))
            return -e->errnum;
    build_segments(m);
    return 0;
}

int lock_machine_new(const struct lock_engine *engine, const struct or_image *image,
                     const uint8_t ro[OR_RO_BYTES], struct lock_machine **out, struct err *e)
{
    struct lock_machine *m = calloc(1, sizeof *m);
    *out = m;
    if (!m)
        return err_set(e, ENOMEM, "lock-memory", "no memory");
    m->engine = engine;
    m->log = (struct log){LOG_INFO, 1};
    m->base = calloc(1, LOCK_COMPARED);
    m->space = calloc(2 * lock_spaces(), sizeof *m->space);
    if (!m->base || !m->space)
        return err_set(e, ENOMEM, "lock-memory", "no memory");
    int r = build_parts(m, e);
    if (r == 0)
        r = build_memory(m, image, ro, e);
    if (r == 0)
        r = engine->ops->attach(m->vcpu, &engine->dbt, e);
    if (r)
        m->engine = NULL;
    return r;
}

void lock_machine_free(struct lock_machine *m)
{
    if (!m)
        return;
    if (m->engine && m->vcpu)
        m->engine->ops->detach(m->vcpu);
    if (m->vcpu)
        x86_isa.vcpu_free(m->vcpu);
    if (m->clock)
        clock_free(m->clock);
    if (m->pio)
        bus_free(m->pio);
    if (m->mmio)
        bus_free(m->mmio);
    if (m->mem)
        phys_free(m->mem);
    for (unsigned n = 0; m->space && n < 2 * lock_spaces(); n++)
        free(m->space[n].contents);
    free(m->space);
    free(m->base);
    free(m);
}
