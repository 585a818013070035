/* SPDX-License-Identifier: MIT */
/* The interpreter's side: one x86 processor in protected mode, PAE paging with NX, at CPL 3, in
 * the address space of oracle.h. A small supervisor area (K_BASE) holds GDT, IDT, TSS, a stack
 * and one hlt per vector: the exception that ends a case is delivered there for real, and the
 * outcome is read from its stack frame. The area's address is one that random pointers hardly
 * ever hit. */
#include <errno.h>
#include <stdlib.h>

#include "isa/x86/fpu.h"
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"
#include "oracle.h"

#define RAM_BYTES (1 * MIB)
#define BUDGET    4000000 /* instructions and iterations in a case that does not end */

/* Linear addresses of the supervisor area; also the physical ones minus K_BASE. */
#define K_BASE     0x7a5c0000u
#define K_BYTES    0x3000u
#define K_GDT      (K_BASE + 0x1000)
#define K_TSS      (K_BASE + 0x1200)
#define K_IDT      (K_BASE + 0x1400)
#define K_HANDLERS (K_BASE + 0x1800) /* a hlt every 4 bytes */
#define K_STACK    (K_BASE + 0x3000) /* its end */
#define K_VECTORS  32

/* Physical addresses. */
#define P_PDPT   0x3000u
#define P_DIRS   0x4000u  /* four page directories */
#define P_TABLES 0x8000u  /* page tables, as needed */
#define P_PAGES  0x20000u /* the user pages, as needed */

#define PTE_P  1ull
#define PTE_W  2ull
#define PTE_U  4ull
#define PTE_NX (1ull << 63)

struct or_interp {
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
    struct vcpu *vcpu;
    const struct or_image *base;
    uint32_t next_table, next_page;
    struct x86_seg seg[OR_MODES][X86_SREGS]; /* at the start of each case */
    gpa_t code, data, save, stack;
};

/* ---- the address space ----------------------------------------------------------------------- */

static uint64_t get64(struct or_interp *i, gpa_t a)
{
    uint64_t x = 0;
    phys_read(i->mem, a, &x, 8);
    return x;
}

static void put64(struct or_interp *i, gpa_t a, uint64_t x)
{
    phys_write(i->mem, a, &x, 8);
}

static void map_page(struct or_interp *i, uint32_t lin, gpa_t gpa, uint64_t flags)
{
    gpa_t pde = P_DIRS + (lin >> 30) * 0x1000 + (lin >> 21 & 511) * 8;
    if (!(get64(i, pde) & PTE_P)) {
        put64(i, pde, i->next_table | PTE_P | PTE_W | PTE_U);
        i->next_table += 0x1000;
    }
    gpa_t table = get64(i, pde) & ~0xfffull;
    put64(i, table + (lin >> 12 & 511) * 8, gpa | flags | PTE_P);
}

/* User pages, physically contiguous. */
static gpa_t map_user(struct or_interp *i, uint32_t lin, uint32_t bytes, uint64_t flags)
{
    gpa_t start = i->next_page;
    for (uint32_t n = 0; n < bytes; n += 0x1000, i->next_page += 0x1000)
        map_page(i, lin + n, i->next_page, flags | PTE_U);
    return start;
}

static void build_tables(struct or_interp *i, const uint8_t ro[OR_RO_BYTES])
{
    i->next_table = P_TABLES;
    i->next_page = P_PAGES;
    for (unsigned n = 0; n < 4; n++)
        put64(i, P_PDPT + 8 * n, (P_DIRS + 0x1000 * n) | PTE_P);
    for (uint32_t n = 0; n < K_BYTES; n += 0x1000)
        map_page(i, K_BASE + n, n, PTE_W);
    i->code = map_user(i, OR_CODE, OR_CODE_BYTES, 0);
    i->data = map_user(i, OR_DATA, OR_DATA_BYTES, PTE_W | PTE_NX);
    i->save = map_user(i, OR_SAVE, OR_SAVE_BYTES, PTE_W | PTE_NX);
    i->stack = map_user(i, OR_STACK, OR_STACK_BYTES, PTE_W | PTE_NX);
    phys_write(i->mem, map_user(i, OR_RO, OR_RO_BYTES, PTE_NX), ro, OR_RO_BYTES);

    uint8_t int3[OR_CODE_BYTES];
    memset(int3, 0xcc, sizeof(int3));
    phys_write(i->mem, i->code, int3, sizeof(int3));
}

static void build_supervisor(struct or_interp *i)
{
    static const uint64_t gdt[] = {
        0,
        UINT64_C(0x00cf9b000000ffff), /* 08: code, CPL 0 */
        UINT64_C(0x00cf93000000ffff), /* 10: data, CPL 0 */
        0,                            /* 18: TSS, below */
        UINT64_C(0x00cffb000000ffff), /* 23: code, CPL 3 */
        UINT64_C(0x00cff3000000ffff), /* 2b: data, CPL 3 */
    };
    uint64_t tss = K_TSS;
    uint32_t stack[2] = {K_STACK, 0x10}; /* ESP0, SS0 */
    uint16_t no_io_bitmap = 0x68;        /* beyond the limit */

    phys_write(i->mem, K_GDT - K_BASE, gdt, sizeof(gdt));
    put64(i, K_GDT - K_BASE + 0x18,
          0x67 | (tss & 0xffffff) << 16 | UINT64_C(0x8b) << 40 | (tss >> 24) << 56);
    phys_write(i->mem, K_TSS - K_BASE + 4, stack, sizeof(stack));
    phys_write(i->mem, K_TSS - K_BASE + 0x66, &no_io_bitmap, 2);
    for (uint32_t n = 0; n < K_VECTORS; n++) {
        uint64_t handler = K_HANDLERS + 4 * n;
        uint8_t hlt = 0xf4;
        phys_write(i->mem, handler - K_BASE, &hlt, 1);
        put64(i, K_IDT - K_BASE + 8 * n,
              (handler & 0xffff) | 0x08 << 16 | UINT64_C(0xee00) << 32 | handler >> 16 << 48);
    }
}

static void set_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel, uint64_t desc)
{
    x86_seg_from_desc(&v->seg[s], (uint32_t)desc, (uint32_t)(desc >> 32));
    v->seg[s].sel = sel;
    x86_seg_changed(v, s);
}

static uint64_t descriptor(const struct or_seg *s)
{
    static const uint64_t type[] = {0xf3, 0xf1, 0xf7, 0xfb};
    bool pages = s->limit >= MIB;
    uint64_t limit = pages ? s->limit >> 12 : s->limit, base = s->base;
    return (limit & 0xffff) | (limit >> 16) << 48 | (base & 0xffffff) << 16 | (base >> 24) << 56 |
           type[s->kind] << 40 | (uint64_t)s->big << 54 | (uint64_t)pages << 55;
}

static void enter_protected_mode(struct or_interp *i)
{
    struct x86_vcpu *v = x86_of(i->vcpu);

    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    v->efer = EFER_NXE;
    v->cr3 = P_PDPT;
    x86_load_pdptes(v, v->cr3);
    v->gdtr = (struct x86_dtr){K_GDT, 0x2f};
    v->idtr = (struct x86_dtr){K_IDT, 8 * K_VECTORS - 1};
    v->cpl = 3;
    set_seg(v, X86_TR, 0x18, get64(i, K_GDT - K_BASE + 0x18));
    x86_tlb_flush(v, false);
    for (unsigned m = 0; m < OR_MODES; m++) {
        for (enum x86_sreg s = X86_ES; s <= X86_GS; s++)
            set_seg(v, s, or_modes[m].seg[s].sel, descriptor(&or_modes[m].seg[s]));
        x86_update_mode(v);
        memcpy(i->seg[m], v->seg, sizeof(i->seg[m]));
    }
}

/* ---- one case --------------------------------------------------------------------------- */

static void load_case(struct or_interp *i, const struct or_case *c, struct or_image *scratch)
{
    struct x86_vcpu *v = x86_of(i->vcpu);

    *scratch = *i->base;
    or_apply_patches(scratch, c);
    phys_write(i->mem, i->data, scratch->data, OR_DATA_BYTES);
    phys_write(i->mem, i->save, scratch->save, OR_SAVE_BYTES);
    phys_write(i->mem, i->stack, scratch->stack, OR_STACK_BYTES);

    memcpy(v->seg, i->seg[c->mode], sizeof(v->seg));
    v->cpl = 3;
    for (unsigned n = 0; n < 8; n++)
        v->gpr[n] = c->init.gpr[n];
    v->eip = c->init.eip;
    x86_set_eflags(v, c->init.eflags);
    x86_update_mode(v);
    v->delivering = -1;
    v->dr6_pending = 0;
    memcpy(&v->fx, &c->init.fx, sizeof(c->init.fx));
}

/* What the exception's stack frame says. */
static void read_frame(struct or_interp *i, const struct vm_exit *x, struct or_state *s)
{
    struct x86_vcpu *v = x86_of(i->vcpu);
    uint32_t frame[6], esp = x86_r32(v, X86_ESP), slot = ((uint32_t)v->eip - 1 - K_HANDLERS) / 4;

    if (x->kind != EXIT_HALT || slot >= K_VECTORS || esp - K_BASE > K_BYTES - 20) {
        s->vector = x->kind == EXIT_ATTENTION ? OR_VECTOR_HANG : 0x100u + x->kind;
        s->eip = (uint32_t)v->eip;
        s->eflags = x86_get_eflags(v);
        return;
    }
    bool has_error = K_STACK - esp == 24;
    s->vector = slot;
    phys_read(i->mem, esp - K_BASE, frame, has_error ? 24 : 20);
    const uint32_t *f = frame + has_error;
    s->error = has_error ? frame[0] : 0;
    s->eip = f[0];
    s->eflags = f[2];
    s->gpr[X86_ESP] = f[3];
    s->cr2 = s->vector == X86_PF ? v->cr2 : 0;
    /* The supervisor area is invisible on the other side. */
    if (s->vector == X86_PF && s->cr2 - K_BASE < K_BYTES)
        s->error &= ~1u;
}

void or_interp_run(struct or_interp *i, const struct or_case *c, struct or_result *r)
{
    struct x86_vcpu *v = x86_of(i->vcpu);
    uint32_t offset = c->code_addr - OR_CODE;
    uint32_t len = c->code_len < OR_CODE_BYTES - offset ? c->code_len : OR_CODE_BYTES - offset;
    uint8_t int3[OR_MAX_CODE];
    struct vm_exit x = {0};

    load_case(i, c, &r->image);
    phys_write(i->mem, i->code + offset, c->code, len);
    i->vcpu->isa->interpret(i->vcpu, BUDGET, &x);
    x86_fpu_park(v);

    memset(int3, 0xcc, sizeof(int3));
    phys_write(i->mem, i->code + offset, int3, len);
    memset(&r->state, 0, sizeof(r->state));
    for (unsigned n = 0; n < 8; n++)
        r->state.gpr[n] = (uint32_t)v->gpr[n];
    memcpy(&r->state.fx, &v->fx, sizeof(r->state.fx));
    read_frame(i, &x, &r->state);
    phys_read(i->mem, i->data, r->image.data, OR_DATA_BYTES);
    phys_read(i->mem, i->save, r->image.save, OR_SAVE_BYTES);
    phys_read(i->mem, i->stack, r->image.stack, OR_STACK_BYTES);
}

/* ---- life ------------------------------------------------------------------------------- */

int or_interp_new(const struct or_image *base, const uint8_t ro[OR_RO_BYTES],
                  struct or_interp **out, struct err *e)
{
    struct or_interp *i = calloc(1, sizeof(*i));

    *out = i;
    if (!i)
        return err_set(e, ENOMEM, "oracle-memory", "no memory");
    i->base = base;
    i->log = (struct log){LOG_ERROR, 2};
    if (!(i->mem = phys_new(RAM_BYTES, e)) || phys_map_ram(i->mem, 0, 0, RAM_BYTES, e) ||
        !(i->mmio = bus_new("mmio", PHYS_LIMIT, e)) || !(i->pio = bus_new("pio", 65536, e)) ||
        !(i->clock = clock_new(CLOCK_VIRTUAL, e)))
        return -e->errnum;
    const struct vcpu_wiring w = {i->mem, i->mmio, i->pio, i->clock, &i->log};
    if (!(i->vcpu = x86_isa.vcpu_new(&w, 0, e)))
        return -e->errnum;
    x86_isa.reset(i->vcpu);
    build_tables(i, ro);
    build_supervisor(i);
    enter_protected_mode(i);
    return 0;
}

void or_interp_free(struct or_interp *i)
{
    if (!i)
        return;
    if (i->vcpu)
        x86_isa.vcpu_free(i->vcpu);
    if (i->clock)
        clock_free(i->clock);
    if (i->pio)
        bus_free(i->pio);
    if (i->mmio)
        bus_free(i->mmio);
    if (i->mem)
        phys_free(i->mem);
    free(i);
}
