/* SPDX-License-Identifier: MIT */
/* Hardware task switches (Intel SDM vol. 3A ch. 7): by far jump, far call, task gates in the GDT
 * and IDT, and back by IRET; nested and busy rules; what is saved and loaded; faults before and
 * after the switch. Task switches to v8086 tasks are in v86.c, double faults through a task gate in
 * events.c. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"task-gate-to-ldt", "raises #TS"},
    {"new-fs-limit", "segment limits are not checked"},
    {"new-eip-beyond-limit", "the fault is reported in the old task"},
    {"new-ss-not-present", "not #SS"},
    {"new-ds-beyond-gdt", "the fault is reported in the old task"},
    {"new-es-not-present", "the fault is reported in the old task"},
    {"t-flag-*", "the T flag is ignored"},
    {NULL, NULL},
};

#define TA    (T_SEL + 0)  /* TSS of task a */
#define TB    (T_SEL + 8)  /* TSS of task b */
#define TGATE (T_SEL + 16) /* task gate to a */
#define TX    (T_SEL + 24) /* scratch */

static struct tss a __attribute__((aligned(16))), b __attribute__((aligned(16)));
static u8 stack_a[1024] __attribute__((aligned(16))), stack_b[1024] __attribute__((aligned(16)));
static u64 ldt[4] __attribute__((aligned(8)));
static u16 tss16[22] __attribute__((aligned(16)));
static struct {
    u32 offset;
    u16 sel;
} __attribute__((packed)) far_to;

FRAG(f_ljmp, "ljmp *(%edi)");
FRAG(f_lcall, "lcall *(%edi); f_lcall_back: nop; pushf; pop %eax; str %ebx");
LABEL(f_lcall_back);
FRAG(f_int90, "int $0x90; f_int90_back: nop; pushf; pop %eax");
LABEL(f_int90_back);
FRAG(f_iret, "iret");
FRAG(t_stop, "nop");
FRAG(t_iret, "incl t_count; iret; incl t_count; iret");
FRAG(t_error, "pop t_popped; movl $f_int90_back, tss+32; iret"); /* returns elsewhere */
FRAG(t_nest, "lcall *far_b; t_nest_back: iret");
FRAG(t_fs, "movl %fs:0xfd, %eax");
FRAG(t_pop, "pop %eax");
u32 t_count, t_popped;
struct {
    u32 offset;
    u16 sel;
} __attribute__((packed)) far_b = {0, TB};

static u32 busy(u16 sel)
{
    return (u32)(gdt[sel >> 3] >> 41) & 1;
}

static void fresh(void)
{
    tss_restore();
    tss.link = 0;
    tss_make(&a, t_stop, (u32)stack_a + sizeof(stack_a));
    tss_make(&b, t_stop, (u32)stack_b + sizeof(stack_b));
    gdt_tss(TA, &a);
    gdt_tss(TB, &b);
    gdt_set(TGATE, gate(TA, 0, 0xe5));
    asm volatile("clts");
}

static struct cpu to(unsigned ring, const void *code, u16 sel)
{
    struct cpu c = cpu_make(ring, code);

    far_to.offset = 0xdeadbeef; /* ignored */
    far_to.sel = sel;
    c.eax = 0xa0, c.ecx = 0xc0, c.edx = 0xd0, c.ebx = 0xb0, c.ebp = 0xe0, c.esi = 0x50;
    c.edi = (u32)&far_to;
    cpu_run(&c);
    return c;
}

static u16 tr(void)
{
    u16 x;
    asm volatile("str %0" : "=r"(x));
    return x;
}

static void jump(void)
{
    struct cpu c;

    fresh();
    a.eax = 1, a.ecx = 2, a.edx = 3, a.ebx = 4, a.ebp = 5, a.esi = 6, a.edi = 7;
    a.eflags = 2 | CF | DF;
    a.fs = U_DATA, a.gs = 0;
    c = to(0, f_ljmp, TA);
    check_fault("jmp-enters", &c, DONE, 0, t_stop + 3);
    check("jmp-loads-registers", c.eax == 1 && c.ecx == 2 && c.edx == 3 && c.ebx == 4 &&
                                     c.ebp == 5 && c.esi == 6 && c.edi == 7);
    check_eq("jmp-loads-flags", c.eflags & (CF | DF | NT), CF | DF);
    check("jmp-loads-segments", c.cs == K_CODE && c.ds == K_DATA && c.fs == U_DATA && c.gs == 0);
    check_eq("jmp-loads-esp", c.esp, (u32)stack_a + sizeof(stack_a));
    check_eq("jmp-tr", tr(), TA);
    check("jmp-busy-bits", !busy(TSS_SEL) && busy(TA));
    check_eq("jmp-sets-ts", read_cr0() & 8, 8);
    check("jmp-saves-registers", tss.eax == 0xa0 && tss.ecx == 0xc0 && tss.edx == 0xd0 &&
                                     tss.ebx == 0xb0 && tss.ebp == 0xe0 && tss.esi == 0x50 &&
                                     tss.edi == (u32)&far_to);
    check_eq("jmp-saves-eip-behind", tss.eip, (u32)f_ljmp + 2);
    check("jmp-saves-segments", tss.cs == K_CODE && tss.ss == K_DATA && tss.ds == K_DATA &&
                                    tss.esp == (u32)frag_stack_top);
    check_eq("jmp-no-link", a.link & 0xffff, 0);

    fresh();
    c = to(0, f_ljmp, TGATE);
    check("jmp-gate", c.vector == DONE && tr() == TA);
    fresh();
    c = to(3, f_ljmp, TGATE | 3);
    check("jmp-gate-ring3-to-ring0-task", c.vector == DONE && c.cs == K_CODE && tr() == TA);
    check("jmp-gate-saves-ring3", tss.cs == U_CODE && tss.ss == U_DATA);
    fresh();
    a.cs = U_CODE, a.ss = a.ds = a.es = a.fs = a.gs = U_DATA;
    c = to(0, f_ljmp, TA);
    check("jmp-to-ring3-task", c.vector == DONE && c.cs == U_CODE && c.ss == U_DATA);
    fresh();
}

static void call_and_return(void)
{
    struct cpu c;

    fresh();
    t_count = 0;
    a.eip = (u32)t_iret;
    c = to(0, f_lcall, TA);
    check_eq("call-ran-task", t_count, 1);
    check_fault("call-iret-returns", &c, DONE, 0, f_lcall_back + 8);
    check_eq("call-back-nt-clear", c.eax & NT, 0);
    check_eq("call-back-tr", c.ebx & 0xffff, TSS_SEL);
    check_eq("call-link", a.link & 0xffff, TSS_SEL);
    check("call-busy-after", busy(TSS_SEL) && !busy(TA));
    check_eq("call-saved-nt-clear", a.eflags & NT, 0);
    check_eq("call-task-eip-behind-iret", a.eip, (u32)t_iret + 7);
    c = to(0, f_lcall, TA); /* the task goes on behind its IRET */
    check_eq("call-again-resumes", t_count, 2);
    check_done("call-again-done", &c);

    fresh();
    c = to(0, f_lcall, TA); /* stop inside */
    check("call-nt-and-both-busy", (c.eflags & NT) && busy(TSS_SEL) && busy(TA));
    check_eq("call-keeps-caller-nt-out", tss.eflags & NT, 0);
    /* A busy task cannot be jumped to or called. */
    fresh();
    gdt_set(TA, gdt[TA >> 3] | 2ull << 40);
    c = to(0, f_ljmp, TA);
    check_fault("jmp-busy", &c, 13, TA, f_ljmp);
    c = to(0, f_lcall, TA);
    check_fault("call-busy", &c, 13, TA, f_lcall);
    c = to(0, f_ljmp, TGATE);
    check_fault("jmp-gate-busy", &c, 13, TA, f_ljmp);
    c = to(0, f_lcall, TSS_SEL);
    check_fault("call-self", &c, 13, TSS_SEL, f_lcall);

    fresh();
    a.eip = (u32)t_nest;
    b.eip = (u32)t_iret;
    t_count = 0;
    c = to(0, f_lcall, TA);
    check("nested-calls", c.vector == DONE && t_count == 1 && tr() == TSS_SEL);
    check("nested-links", (b.link & 0xffff) == TA && (a.link & 0xffff) == TSS_SEL);
    check("nested-not-busy", !busy(TA) && !busy(TB));
}

static void interrupts(void)
{
    struct cpu c;

    fresh();
    t_count = 0;
    a.eip = (u32)t_iret;
    idt_set(0x90, gate(TA, 0, 0xe5));
    c = to(3, f_int90, 0);
    check("int-task-gate", c.vector == DONE && t_count == 1 && c.cs == U_CODE);
    check_eq("int-task-gate-saved-eip", tss.eip, (u32)f_int90_back);
    idt_reset(0x90);

    /* With an error code, on the new task's stack. */
    fresh();
    t_popped = 0x5555;
    a.eip = (u32)t_error;
    idt_set(13, gate(TA, 0, 0x85));
    c = to(0, f_ljmp, 0xfff8);
    check_eq("gp-task-gate-error-code", t_popped, 0xfff8);
    check("gp-task-gate-returns", c.vector == DONE && tr() == TSS_SEL);
    idt_reset(13);
}

static void bad_selectors(void)
{
    struct cpu c;

    fresh();
    gdt_set(TX, gdt[TA >> 3] & ~(0x80ull << 40));
    c = to(0, f_ljmp, TX);
    check_fault("tss-not-present", &c, 11, TX, f_ljmp);
    gdt_set(TX, gate(TA, 0, 0x65));
    c = to(0, f_ljmp, TX);
    check_fault("task-gate-not-present", &c, 11, TX, f_ljmp);
    gdt_set(TX, gate(TA, 0, 0x85));
    c = to(3, f_ljmp, TX);
    check_fault("task-gate-dpl", &c, 13, TX, f_ljmp);
    c = to(3, f_ljmp, TA);
    check_fault("tss-dpl", &c, 13, TA, f_ljmp);
    gdt_set(TX, gate(K_DATA, 0, 0xe5));
    c = to(0, f_ljmp, TX);
    check_fault("task-gate-to-data", &c, 13, K_DATA, f_ljmp);
    gdt_set(TX, gate(4, 0, 0xe5)); /* a TSS cannot be in the LDT */
    c = to(0, f_ljmp, TX);
    check_fault("task-gate-to-ldt", &c, 13, 4, f_ljmp);
    gdt_set(TX, desc((u32)&a, 0x66, 0x089));
    c = to(0, f_ljmp, TX);
    check_fault("tss-too-small", &c, 10, TX, f_ljmp);
    check_eq("refused-switch-keeps-tr", tr(), TSS_SEL);
    /* IRET with NT goes by the link. */
    tss.link = TA; /* not busy */
    c = cpu_make(0, f_iret);
    c.eflags |= NT;
    cpu_run(&c);
    check_fault("iret-nt-link-not-busy", &c, 10, TA, f_iret);
    tss.link = K_DATA;
    c = cpu_make(0, f_iret);
    c.eflags |= NT;
    cpu_run(&c);
    check_fault("iret-nt-link-no-tss", &c, 10, K_DATA, f_iret);
    tss.link = 4;
    c = cpu_make(0, f_iret);
    c.eflags |= NT;
    cpu_run(&c);
    check_fault("iret-nt-link-ldt", &c, 10, 4, f_iret);
    fresh();
}

/* The new task has no usable stack yet, so a second task takes the fault: it sees the error code,
 * and its link names the new task. */
static void broken_stack(const char *name, u8 vector, u32 error, u32 *field, u32 value)
{
    fresh();
    *field = value;
    b.eip = (u32)t_pop;
    idt_set(vector, gate(TB, 0, 0x85));
    struct cpu c = to(0, f_ljmp, TA);
    check(name, c.vector == DONE && c.eax == error && (b.link & 0xffff) == TA && tr() == TB);
    idt_reset(vector);
}

/* Faults found after the switch belong to the new task: its eip, its TR. */
static void bad_contents(void)
{
    struct cpu c;

    u16 missing = TX;

    gdt_set(missing, desc(0, 0xfffff, 0xc13));
    broken_stack("new-cs-null", 10, 0, &a.cs, 0);
    broken_stack("new-cs-data", 10, K_DATA, &a.cs, K_DATA);
    gdt_set(TX + 8, desc(0, 0xfffff, 0xc1b));
    broken_stack("new-cs-not-present", 11, TX + 8, &a.cs, TX + 8);
    broken_stack("new-ss-null", 10, 0, &a.ss, 0);
    broken_stack("new-ss-wrong-dpl", 10, U_DATA & ~3, &a.ss, U_DATA);
    broken_stack("new-ss-not-present", 12, missing, &a.ss, missing);
    broken_stack("new-ldt-no-ldt", 10, K_DATA, &a.ldt, K_DATA);
    fresh();
    a.ds = 0xfff8;
    c = to(0, f_ljmp, TA);
    check_fault("new-ds-beyond-gdt", &c, 10, 0xfff8, t_stop);
    check_eq("new-ds-fault-in-new-task", tr(), TA);
    fresh();
    gdt_set(TX, desc(0, 0xfffff, 0xc13));
    a.es = TX;
    c = to(0, f_ljmp, TA);
    check_fault("new-es-not-present", &c, 11, TX, t_stop);
    fresh();
    ldt[1] = desc(0, 0xfffff, D_DATA0);
    gdt_set(LDT_SEL, desc((u32)ldt, sizeof(ldt) - 1, 0x082));
    a.ldt = LDT_SEL;
    a.gs = 0x0c;
    c = to(0, f_ljmp, TA);
    u16 now;
    asm volatile("sldt %0" : "=m"(now));
    check("new-ldt-used", c.vector == DONE && c.gs == 0x0c && now == LDT_SEL);
    lldt(0);
    fresh();
    gdt_seg(TX, 0, 0xff, 0x93); /* the new limit holds at once */
    a.fs = TX;
    a.eip = (u32)t_fs;
    c = to(0, f_ljmp, TA);
    check_fault("new-fs-limit", &c, 13, 0, t_fs);
    fresh();
    gdt_seg(TX, (u32)t_stop, 0xff, 0x9b);
    a.cs = TX;
    a.eip = 0x100;
    c = to(0, f_ljmp, TA);
    check_fault("new-eip-beyond-limit", &c, 13, 0, (void *)0x100);
    check_eq("new-eip-beyond-limit-tr", tr(), TA);
    fresh();
    write_dr7(0x5ff); /* local enables go, global ones stay */
    to(0, f_ljmp, TA);
    check_eq("dr7-local-bits-cleared", read_dr7() & 0xff, 0xaa);
    write_dr7(0x400);
    write_dr6(0xffff0ff0);
    fresh();
    a.trap = 1; /* T flag: a debug trap before the first instruction */
    write_dr6(0xffff0ff0);
    c = to(0, f_ljmp, TA);
    check_fault("t-flag-traps", &c, 1, 0, t_stop);
    check_eq("t-flag-dr6-bt", read_dr6() & 0x8000, 0x8000);
    write_dr6(0xffff0ff0);
    fresh();
}

static void sixteen(void)
{
    struct cpu c;

    /* A 286 TSS: 44 bytes of words. The task runs in a 16-bit segment based at its code. */
    fresh();
    memset(tss16, 0, sizeof(tss16));
    gdt_set(TX, desc((u32)tss16, 43, 0x081));
    gdt_set(TX + 8, desc((u32)t_stop, 0xffff, D_CODE0));
    gdt_set(TX + 16, desc((u32)stack_a, 0xffff, 0x093));
    tss16[7] = 0;        /* ip */
    tss16[8] = 2 | CF;   /* flags */
    tss16[9] = 0x1111;   /* ax */
    tss16[10] = 0x2222;  /* cx */
    tss16[13] = 0x400;   /* sp */
    tss16[17] = K_DATA;  /* es */
    tss16[18] = TX + 8;  /* cs */
    tss16[19] = TX + 16; /* ss */
    tss16[20] = K_DATA;  /* ds */
    c = to(0, f_ljmp, TX);
    check("tss16-enters", c.vector == DONE && (c.eax & 0xffff) == 0x1111 &&
                              (c.ecx & 0xffff) == 0x2222 && c.cs == TX + 8 && (c.eflags & CF));
    check("tss16-null-fs-gs", c.fs == 0 && c.gs == 0);
    check_eq("tss16-sp", c.esp & 0xffff, 0x400);
    fresh();
}

/* Paging: CR3 is part of the task. */
static u32 other_dir[1024] __attribute__((aligned(4096)));
static u64 pd[2][512] __attribute__((aligned(4096)));
static u64 pdpt[2][4] __attribute__((aligned(32)));

static void address_space(void)
{
    struct cpu c;

    fresh();
    paging_on();
    memcpy(other_dir, page_dir, sizeof(other_dir));
    tss.cr3 = (u32)page_dir;
    a.cr3 = (u32)other_dir;
    c = to(0, f_ljmp, TA);
    check("cr3-loaded", c.vector == DONE && read_cr3() == (u32)other_dir);
    check_eq("cr3-not-saved", tss.cr3, (u32)page_dir);
    write_cr3((u32)page_dir);
    paging_off();
    fresh();

    /* With PAE the four top entries come along: entry 1 differs. */
    for (u32 k = 0; k < 512; k++)
        pd[0][k] = (k << 21) | 0x87, pd[1][k] = ((k + 2) << 21) | 0x87;
    pdpt[0][0] = pdpt[1][0] = (u32)pd[0] | 1;
    pdpt[0][1] = (u32)pd[0] | 1;
    pdpt[1][1] = (u32)pd[1] | 1;
    poke(0x600000, 0x61);
    poke(0xa00000, 0xa1);
    write_cr4(read_cr4() | 0x20);
    write_cr3((u32)pdpt[0]);
    write_cr0(read_cr0() | 0x80000000);
    u32 before = peek(0x40600000);
    tss.cr3 = (u32)pdpt[0];
    a.cr3 = (u32)pdpt[1];
    to(0, f_ljmp, TA);
    u32 after = peek(0x40600000);
    write_cr0(read_cr0() & ~0x80000000u);
    write_cr4(read_cr4() & ~0x20u);
    check_eq("pae-before", before, 0x61);
    check_eq("pae-entries-loaded", after, 0xa1);
    fresh();
}

void test_main(void)
{
    jump();
    call_and_return();
    interrupts();
    bad_selectors();
    bad_contents();
    sixteen();
    address_space();
}
