/* SPDX-License-Identifier: MIT */
/* Faults while an event is being delivered (Intel SDM vol. 3A 6.15, interrupt 8, table 6-5): which
 * pairs become a double fault and which are served one after the other, error codes with the EXT
 * bit, double faults through interrupt and task gates, inner stacks that cannot be used. The triple
 * fault is fault3.c. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"then-np-br", "EXT is never set"},
    {"then-np-ud", "EXT is never set"},
    {"then-np-nm", "EXT is never set"},
    {"then-np-ac", "alignment is not checked"},
    {"then-stack-ac", "alignment is not checked"},
    {"ss-ss1-not-present", "raises #TS"},
    {"ss-new-stack-*", "segment limits are not checked"},
    {NULL, NULL},
};

#define NOWHERE 0xc0000000u /* not mapped */

static u8 data[64] __attribute__((aligned(16)));
static struct tss on_df __attribute__((aligned(16))), on_pf __attribute__((aligned(16)));
static u8 df_stack[1024] __attribute__((aligned(16))), pf_stack[1024] __attribute__((aligned(16)));

FRAG(f_div0, "div %ecx");
FRAG(f_int3, "int3");
FRAG(f_into, "into");
FRAG(f_int90, "int $0x90");
FRAG(f_bound, "bound %eax, (%edi)");
FRAG(f_ud2, "ud2");
FRAG(f_fnop, "fnop");
FRAG(f_mov_ds, "mov %eax, %ds");
FRAG(f_mov_ss, "mov %eax, %ss");
FRAG(f_load, "mov 1(%edi), %eax");
FRAG(f_load_nowhere, "mov 0xc0000000, %eax");
FRAG(h_nop, "nop");
FRAG(h_df, "pop %eax; mov $8, %ebx");
FRAG(h_pf, "pop %eax; mov $14, %ebx");

/* Every way to a first event at ring 3. */
struct first {
    const char *np, *stack; /* check names */
    const char *code;
    u8 vector;
    bool doubles; /* contributory, or a page fault */
    bool software;
    u32 eax, eflags, cr0;
};

static const struct first firsts[] = {
    {"then-np-de", "then-stack-de", f_div0, 0, true, false, 1, 0, 0},
    {"then-np-bp", "then-stack-bp", f_int3, 3, false, true, 0, 0, 0},
    {"then-np-of", "then-stack-of", f_into, 4, false, true, 0, OF, 0},
    {"then-np-br", "then-stack-br", f_bound, 5, false, false, 99, 0, 0},
    {"then-np-ud", "then-stack-ud", f_ud2, 6, false, false, 0, 0, 0},
    {"then-np-nm", "then-stack-nm", f_fnop, 7, false, false, 0, 0, 8},
    {"then-np-ts", "then-stack-ts", f_int90, 10, true, false, 0, 0, 0},
    {"then-np-np", "then-stack-np", f_mov_ds, 11, true, false, T_SEL | 3, 0, 0},
    {"then-np-ss", "then-stack-ss", f_mov_ss, 12, true, false, T_SEL | 3, 0, 0},
    {"then-np-gp", "then-stack-gp", f_mov_ds, 13, true, false, 0xfff8, 0, 0},
    {"then-np-pf", "then-stack-pf", f_load_nowhere, 14, true, false, 0, 0, 0},
    {"then-np-ac", "then-stack-ac", f_load, 17, false, false, 0, AC, 0x40000},
};

static void break_gate(u8 vector)
{
    idt_set(vector, idt[vector] & ~0x800000000000ull);
}

static struct cpu provoke(const struct first *f)
{
    struct cpu c = cpu_make(3, f->code);

    gdt_set(T_SEL, desc(0, 0xfffff, 0xc72)); /* not present, DPL 3 */
    c.eax = f->eax;
    c.edi = (u32)data;
    c.eflags |= f->eflags;
    write_cr0(read_cr0() | f->cr0);
    cpu_run(&c);
    write_cr0(read_cr0() & ~(f->cr0 | 8));
    return c;
}

/* The second fault is a gate that is not present. */
static void then_not_present(const struct first *f)
{
    break_gate(f->vector);
    struct cpu c = provoke(f);
    idt_reset(f->vector);
    if (f->doubles)
        check_fault(f->np, &c, 8, 0, f->code);
    else
        check_fault(f->np, &c, 11, f->vector * 8u + 2 + !f->software, f->code);
    check_eq("..frame-cs", c.cs, U_CODE);
}

/* The second is a page fault on the inner stack. That stack serves no handler, so both #PF and #DF
 * are tasks here; only after a page fault may it be the double fault. */
static void then_no_stack(const struct first *f)
{
    bool twice = f->vector == 14;

    tss_make(&on_df, h_df, (u32)df_stack + sizeof(df_stack));
    tss_make(&on_pf, h_pf, (u32)pf_stack + sizeof(pf_stack));
    gdt_tss(T_SEL + 8, &on_df);
    gdt_tss(T_SEL + 16, &on_pf);
    idt_set(8, gate(T_SEL + 8, 0, 0x85));
    if (!twice)
        idt_set(14, gate(T_SEL + 16, 0, 0x85));
    tss.esp0 = NOWHERE + 0x1000;
    struct cpu c = provoke(f);
    tss.esp0 = (u32)trap_stack_top;
    tss_restore();
    idt_reset(8);
    idt_reset(14);
    bool saved = tss.eip == (u32)f->code && tss.cs == U_CODE && tss.ss == U_DATA;
    check_eq(f->stack, c.vector == DONE && saved ? c.ebx : 0xbad0000 | c.vector, twice ? 8 : 14);
    check_eq("..error", c.eax, twice ? 0 : 2);
    check_eq("..cr2", read_cr2(), NOWHERE + 0xffc);
}

/* The IDT's own page is missing for vectors up to 13, but there for 14: entry 14 starts a page. */
static u32 pt[1024] __attribute__((aligned(4096)));
static u8 idt_pages[2][4096] __attribute__((aligned(4096)));

static void idt_page_missing(void)
{
    struct dtr d = {255 * 8 + 7, 0x40001000 - 14 * 8};

    memcpy((u8 *)idt_pages + 4096 - 14 * 8, idt, sizeof(idt));
    pt[0] = 0;
    pt[1] = (u32)idt_pages[1] | 3;
    page_dir[0x40000000 >> 22] = (u32)pt | 7;
    write_cr3((u32)page_dir);
    lidt(&d);
    struct cpu c = run(3, f_ud2);
    lidt(&idtr);
    check_fault("idt-page-missing", &c, 14, 0, f_ud2);
    check_eq("idt-page-missing-cr2", c.cr2, d.base + 6 * 8);
    lidt(&d);
    c = cpu_make(3, f_mov_ds);
    c.eax = 0xfff8;
    cpu_run(&c);
    lidt(&idtr);
    check_fault("idt-page-missing-gp", &c, 14, 0, f_mov_ds);
    check_eq("idt-page-missing-gp-cr2", c.cr2, d.base + 13 * 8);
    page_dir[0x40000000 >> 22] = 0;
}

/* ---- inner stacks that cannot be loaded: #TS or #SS, reported from the instruction ----------- */

static void bad_stacks(void)
{
    struct cpu c;

    tss.ss1 = U_DATA; /* wrong DPL for ring 1 */
    tss.esp1 = (u32)pf_stack + sizeof(pf_stack);
    idt_set(0x90, gate(R1_CODE & ~3, (u32)h_nop, 0xee));
    c = run(3, f_int90);
    check_fault("ts-ss1-wrong-dpl", &c, 10, U_DATA & ~3, f_int90);
    tss.ss1 = 0;
    c = run(3, f_int90);
    check_fault("ts-ss1-null", &c, 10, 0, f_int90);
    tss.ss1 = 0xfff9;
    c = run(3, f_int90);
    check_fault("ts-ss1-beyond-gdt", &c, 10, 0xfff8, f_int90);
    gdt_set(T_SEL, desc(0, 0xfffff, 0xc33)); /* DPL 1, not present */
    tss.ss1 = T_SEL | 1;
    c = run(3, f_int90);
    check_fault("ss-ss1-not-present", &c, 12, T_SEL, f_int90);
    gdt_seg(T_SEL, 0, 0xfff, 0xb3);
    tss.esp1 = 0x2000;
    c = run(3, f_int90);
    check("ss-new-stack-limit", c.vector == 12 && c.eip == (u32)f_int90);
    check_eq("ss-new-stack-esp-kept", c.esp, (u32)frag_stack_top);
    idt_reset(0x90);
}

static void double_fault_task(void)
{
    struct cpu c = cpu_make(3, f_load_nowhere);

    tss_make(&on_df, h_df, (u32)df_stack + sizeof(df_stack));
    gdt_tss(T_SEL + 8, &on_df);
    idt_set(8, gate(T_SEL + 8, 0, 0x85));
    tss.esp0 = NOWHERE + 0x1000;
    c.eax = 0x77;
    c.eflags |= IF;
    cpu_run(&c);
    check_eq("df-task-entered", c.vector, DONE);
    check_eq("df-task-stack", c.esp, (u32)df_stack + sizeof(df_stack));
    check_eq("df-task-link", on_df.link & 0xffff, TSS_SEL);
    check_eq("df-task-saved-eax", tss.eax, 0x77);
    check_eq("df-task-saved-if", tss.eflags & IF, IF);
    check("df-task-nt-ts", (c.eflags & NT) && (read_cr0() & 8));
    asm volatile("clts");
    tss.esp0 = (u32)trap_stack_top;
    tss_restore();
    idt_reset(8);
}

void test_main(void)
{
    bad_stacks();
    paging_on();
    page_dir[NOWHERE >> 22] = 0;
    write_cr3((u32)page_dir);
    idt_set(0x90, gate(R1_CODE & ~3, (u32)h_nop, 0xee));
    tss.ss1 = 0; /* INT 90h is a #TS now */
    for (size_t i = 0; i < sizeof(firsts) / sizeof(*firsts); i++) {
        then_not_present(&firsts[i]);
        then_no_stack(&firsts[i]);
    }
    double_fault_task();
    idt_page_missing();
}
